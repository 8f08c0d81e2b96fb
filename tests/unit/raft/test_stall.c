/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaders whose disk stands still (raft/stall.h). To raft a full disk is the same: writes that do not
 * complete.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/log.h"
#include "tests/unit/raft/scene.h"

static struct cluster C;

static bool another_leads(struct cluster *c)
{
	struct node *n = cluster_leader(c);
	return n != NULL && n != &c->nodes[0];
}

static bool nobody_leads_here(struct cluster *c)
{
	return !c->nodes[0].cell->leading;
}

/* Stops the leader's disk in front of an entry. */
static void stand_still(void)
{
	C.nodes[0].disk.held = true;
	node_put(&C.nodes[0], 10);
}

static bool ends_equal(void)
{
	C.watch = NULL;
	C.nodes[0].disk.held = false;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 10000));
	for (unsigned i = 0; i < C.o.nodes; i++)
		if (C.nodes[i].cell->leading)
			SCENE_NEEDS(scene_put(&C, i, 10));
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 10000));
	return true;
}

/* ---- by hand-over --------------------------------------------------------------------------- */

static bool hands_over(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	stand_still();
	cluster_run(&C, 1800);
	SCENE_NEEDS(C.nodes[0].cell->leading); /* it may yet move */
	SCENE_NEEDS(cluster_until(&C, another_leads, 500)); /* no election timeout is waited for */
	SCENE_NEEDS(scene_put(&C, cluster_leader(&C)->i, 10));
	/* Nobody comes back to it as long as it stands still. */
	cluster_run(&C, 30000);
	SCENE_NEEDS(another_leads(&C) && scene_put(&C, cluster_leader(&C)->i, 10));
	return scene_end(&C, ends_equal());
}

static void test_a_leader_that_stands_still_hands_over(void **state)
{
	(void)state;
	scene_needs(hands_over, (struct rules_off){.r13_gives_up = true});
}

/* ---- by silence ----------------------------------------------------------------------------- */

/* The others do not get the last entry: nobody can be handed over to. */
static bool lose_entries_of_0(struct cluster *c, struct node *from, struct node *to,
	const struct wire *w, size_t n)
{
	(void)c;
	(void)to;
	(void)n;
	return from->i == 0 && ((w->kind == WIRE_APPEND && w->n > 0) || w->kind == WIRE_TIMEOUT_NOW);
}

static bool falls_silent(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	C.watch = lose_entries_of_0;
	stand_still();
	/* 2 s until it is noticed, 1 to 2 s until the others miss it, an election. */
	SCENE_NEEDS(cluster_until(&C, another_leads, 6000));
	SCENE_NEEDS(scene_put(&C, cluster_leader(&C)->i, 10));
	SCENE_NEEDS(cluster_until(&C, nobody_leads_here, 3000));
	cluster_run(&C, 10000);
	SCENE_NEEDS(another_leads(&C) && nobody_leads_here(&C));
	return scene_end(&C, ends_equal());
}

static void test_a_leader_without_an_heir_falls_silent(void **state)
{
	(void)state;
	scene_needs(falls_silent, (struct rules_off){.r13_gives_up = true});
}

static bool lose_timeout_now(struct cluster *c, struct node *from, struct node *to,
	const struct wire *w, size_t n)
{
	(void)c;
	(void)from;
	(void)to;
	(void)n;
	return w->kind == WIRE_TIMEOUT_NOW;
}

static bool hand_over_fails(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	C.watch = lose_timeout_now;
	stand_still();
	SCENE_NEEDS(cluster_until(&C, another_leads, 7000));
	SCENE_NEEDS(scene_put(&C, cluster_leader(&C)->i, 10));
	return scene_end(&C, ends_equal());
}

static void test_a_hand_over_that_fails_is_followed_by_silence(void **state)
{
	(void)state;
	scene_needs(hand_over_fails, (struct rules_off){.r13_gives_up = true});
}

/* ---- what a silent leader does not hear ------------------------------------------------------ */

/* From its first part on, what node 2 is to install waits for its disk. */
static bool hold_the_install(struct cluster *c, struct node *from, struct node *to,
	const struct wire *w, size_t n)
{
	if (to->i == 2 && w->kind == WIRE_INSTALL)
		to->disk.held = true;
	return c->nodes[0].disk.held && lose_entries_of_0(c, from, to, w, n);
}

static bool is_installing(struct cluster *c)
{
	return c->nodes[2].disk.held;
}

/* A snapshot is installed while the leader is silent, whose disk moves before it gives up: it leads
 * on, and the member gets what follows. */
static bool installed_in_silence(const struct rules_off *off)
{
	struct cluster_options o = scene_options(3, 3, off);
	o.snapshot_entries = 10;
	o.trailing_entries = 4;
	cluster_init(&C, &o);
	SCENE_NEEDS(scene_lead(&C, 0));
	uint64_t term = C.nodes[0].cell->term;
	node_crash(&C.nodes[2], false);
	for (unsigned i = 0; i < 50; i++)
		SCENE_NEEDS(scene_put(&C, 0, 10));
	C.watch = hold_the_install;
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, is_installing, 5000));
	stand_still();
	cluster_run(&C, 2300);
	SCENE_NEEDS(C.installs == 0);
	C.watch = NULL;
	C.nodes[2].disk.held = false;
	cluster_run(&C, 100);
	SCENE_NEEDS(C.installs == 1 && C.nodes[0].cell->leading);
	C.nodes[0].disk.held = false;
	cluster_run(&C, 1000);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 5000));
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term && C.installs == 1);
	return scene_end(&C, ends_equal());
}

static void test_a_silent_leader_hears_later_of_an_install(void **state)
{
	(void)state;
	assert_true(scene_holds(installed_in_silence, NULL));
}

/* ---- where it must not ---------------------------------------------------------------------- */

/* Short stalls, one after the other, and then one that ends while it is being given up. */
static bool moves_in_time(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	uint64_t term = C.nodes[0].cell->term;
	for (unsigned i = 0; i < 5; i++) {
		stand_still();
		cluster_run(&C, 1500);
		C.nodes[0].disk.held = false;
		SCENE_NEEDS(scene_put(&C, 0, 10));
	}
	C.watch = lose_entries_of_0;
	stand_still();
	cluster_run(&C, 2300);
	C.nodes[0].disk.held = false;
	C.watch = NULL;
	SCENE_NEEDS(scene_put(&C, 0, 10));
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	return scene_end(&C, ends_equal());
}

static void test_a_leader_whose_disk_moves_in_time_stays(void **state)
{
	(void)state;
	assert_true(scene_holds(moves_in_time, NULL));
}

/* It leads all the while, and what was proposed is confirmed in the end. */
static bool waits(unsigned nodes, unsigned voters, const struct rules_off *off)
{
	scene_begin(&C, nodes, voters, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	uint64_t term = C.nodes[0].cell->term, before = C.n_confirmed;
	stand_still();
	cluster_run(&C, 60000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	SCENE_NEEDS(C.n_confirmed == before);
	C.nodes[0].disk.held = false;
	cluster_run(&C, 1000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.n_confirmed == before + 1);
	return scene_end(&C, true);
}

static bool one_of_one(const struct rules_off *off)
{
	return waits(1, 1, off);
}

static bool one_of_two(const struct rules_off *off)
{
	return waits(2, 2, off);
}

static bool one_of_three_alone(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	node_crash(&C.nodes[1], false);
	cluster_run(&C, 3000);
	uint64_t term = C.nodes[0].cell->term;
	stand_still();
	cluster_run(&C, 30000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	/* With the third one back there are two who can do without it. */
	node_start(&C.nodes[1]);
	SCENE_NEEDS(cluster_until(&C, another_leads, 10000));
	return scene_end(&C, ends_equal());
}

static void test_a_leader_that_nobody_can_replace_waits(void **state)
{
	(void)state;
	assert_true(scene_holds(one_of_one, NULL));
	assert_true(scene_holds(one_of_two, NULL));
	assert_true(scene_holds(one_of_three_alone, NULL));
}

/* ---- a follower ----------------------------------------------------------------------------- */

static size_t bytes_of(const struct list *requests)
{
	size_t n = 0;
	LIST_EACH(node, requests)
	{
		const struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		for (unsigned i = 0; req->op == STORE_OP_APPEND && i < req->u.append.n; i++)
			n += req->u.append.entries[i].n;
	}
	return n;
}

/* What it has yet to write is bounded, whatever the others commit; then it catches up. */
static bool follower_stands_still(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0) && scene_put(&C, 0, 10));
	struct sim_disk *d = &C.nodes[2].disk;
	d->held = true;
	size_t most = 0;
	for (unsigned i = 0; i < 200; i++) {
		SCENE_NEEDS(scene_put(&C, 0, 100 * 1024));
		size_t n = bytes_of(&d->queued) + bytes_of(&d->writing);
		most = n > most ? n : most;
	}
	cluster_run(&C, 5000);
	SCENE_NEEDS(bytes_of(&d->queued) + bytes_of(&d->writing) <= most);
	SCENE_NEEDS(most > 1024 * 1024 && most < 6 * 1024 * 1024);
	d->held = false;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, C.nodes[0].cell->leading);
}

static void test_a_follower_that_stands_still_takes_no_more(void **state)
{
	(void)state;
	assert_true(scene_holds(follower_stands_still, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_leader_that_stands_still_hands_over),
		cmocka_unit_test(test_a_leader_without_an_heir_falls_silent),
		cmocka_unit_test(test_a_hand_over_that_fails_is_followed_by_silence),
		cmocka_unit_test(test_a_silent_leader_hears_later_of_an_install),
		cmocka_unit_test(test_a_leader_whose_disk_moves_in_time_stays),
		cmocka_unit_test(test_a_leader_that_nobody_can_replace_waits),
		cmocka_unit_test(test_a_follower_that_stands_still_takes_no_more),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

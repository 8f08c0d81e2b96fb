/* SPDX-License-Identifier: Apache-2.0
 *
 * Members that are far away, or behind a link that takes less than comes: node 2, while the majority is
 * near.
 */
#include <stdio.h>
#include <stdlib.h>

#include "raft/group_priv.h"
#include "tests/unit/raft/scene.h"

enum {
	FAR_US = 50000, /* each way */
	ENTRY = 100,
};

static struct cluster C;

static void begin(unsigned voters, const struct rules_off *off)
{
	struct cluster_options o = scene_options(3, voters, off);
	o.delay_min_us = o.delay_max_us = 100;
	o.disk_min_us = o.disk_max_us = 100;
	o.snapshot_entries = 0; /* as the product */
	o.laggard_bytes = 1024 * 1024;
	cluster_init(&C, &o);
	for (unsigned i = 0; i < 2; i++)
		C.far_us[i][2] = C.far_us[2][i] = FAR_US;
}

/* What was seen while entries came one by one, as quickly as they are confirmed. */
static struct {
	uint64_t entries;
	uint64_t lack;     /* entries that node 2 lacked at most */
	size_t log, waits; /* bytes that node 0 had at most, in the log and for links */
	unsigned stepless; /* times that node 2 was not in step, of 100 a second */
} seen;

static bool is_in_step(unsigned node)
{
	struct group_member_state m[NODES_MAX];
	unsigned n = group_members(C.nodes[0].cell->group, m, NODES_MAX);
	for (unsigned i = 0; i < n; i++)
		if (m[i].node == node + 1)
			return m[i].in_step;
	return false;
}

static void note(const struct cell *leader)
{
	const struct group *g = leader->group;
	const struct cell *far = C.nodes[2].cell;
	uint64_t lack = far != NULL ? leader->last - far->last : 0;
	seen.lack = lack > seen.lack ? lack : seen.lack;
	seen.log = g->fsm.log_bytes > seen.log ? g->fsm.log_bytes : seen.log;
	seen.waits = g->groups->waiting > seen.waits ? g->groups->waiting : seen.waits;
	if (C.sim.now_us / 100 % 100 == 0)
		seen.stepless += !is_in_step(2);
}

static void load(uint64_t ms)
{
	struct cell *leader = C.nodes[0].cell;
	uint64_t before = C.n_confirmed, until = C.sim.now_us + ms * 1000;
	memset(&seen, 0, sizeof seen);
	while (C.sim.now_us < until && leader->leading && !C.failed) {
		if (!leader->group->proposed)
			node_put(&C.nodes[0], ENTRY);
		sim_until(&C.sim, C.sim.now_us + 100);
		note(leader);
	}
	seen.entries = C.n_confirmed - before;
	if (getenv("SCENE_VERBOSE") != NULL)
		fprintf(stderr, "entries %u lack %u log %zu waits %zu stepless %u installs %u\n",
			(unsigned)seen.entries, (unsigned)seen.lack, seen.log, seen.waits, seen.stepless,
			(unsigned)C.installs);
}

/* ---- steady load ---------------------------------------------------------------------------- */

/* Its link breaks now and then, when hundreds of entries are under way. */
static bool what_is_under_way_stays_in_the_log(const struct rules_off *off)
{
	begin(3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	uint64_t term = group_term(C.nodes[0].cell->group);
	load(2000);
	uint64_t each_second = seen.entries / 2;
	SCENE_NEEDS(each_second > 3000);
	for (unsigned i = 0; i < 5; i++) {
		load(3000);
		SCENE_NEEDS(seen.entries > each_second * 3 * 9 / 10);
		SCENE_NEEDS(seen.lack > 150 && seen.lack < 450);
		SCENE_NEEDS(seen.log < 2 * 1024 * 1024 && seen.stepless == 0);
		cluster_break_link(&C, 0, 2);
		load(2000);
		SCENE_NEEDS(seen.lack > 300);
	}
	SCENE_NEEDS(C.installs == 0 && group_term(C.nodes[0].cell->group) == term);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 2000));
	return scene_end(&C, true);
}

static void test_what_is_under_way_stays_in_the_log(void **state)
{
	(void)state;
	scene_needs(what_is_under_way_stays_in_the_log, (struct rules_off){.under_way_stays = true});
}

static struct {
	bool over;
	int status;
} asked;

static void on_done(void *arg, int status)
{
	(void)arg;
	asked.over = true;
	asked.status = status;
}

/* It never has all that the leader has. */
static bool a_far_standby_is_promoted(const struct rules_off *off)
{
	begin(2, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	load(1000);
	node_new_member(&C.nodes[2]);
	struct group *g = C.nodes[0].cell->group;
	struct group_member m = {.id = C.nodes[2].raft_id, .node = C.nodes[2].id};
	asked.over = false;
	SCENE_NEEDS(group_add_standby(g, &m, on_done, NULL) == 0);
	load(2000);
	SCENE_NEEDS(asked.over && asked.status == 0 && is_in_step(2) && seen.lack > 100);
	asked.over = false;
	SCENE_NEEDS(group_promote(g, m.id, on_done, NULL) == 0);
	load(2000);
	SCENE_NEEDS(asked.over && asked.status == 0 && seen.lack > 100 && seen.stepless == 0);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 2000));
	return scene_end(&C, true);
}

static void test_a_far_standby_is_promoted(void **state)
{
	(void)state;
	assert_true(scene_holds(a_far_standby_is_promoted, NULL));
}

/* ---- a thin link ---------------------------------------------------------------------------- */

/* A fifth of what comes fits. The others go on as before, what waits is bounded, and when no more comes
 * the member has all soon. The later line bounds what waits itself. */
static bool what_waits_for_a_thin_link_is_bounded(const struct rules_off *off)
{
	begin(3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	uint64_t term = group_term(C.nodes[0].cell->group);
	load(2000);
	uint64_t each_second = seen.entries / 2;
	C.thin[0][2] = 150;
	load(60000);
	SCENE_NEEDS(seen.entries > each_second * 60 * 9 / 10);
	SCENE_NEEDS(seen.stepless > 1000);
	SCENE_NEEDS(seen.log < 8 * 1024 * 1024 && seen.waits < 8 * 1024 * 1024);
	SCENE_NEEDS(C.installs < 40);
	load(60000);
	SCENE_NEEDS(seen.log < 8 * 1024 * 1024 && seen.waits < 8 * 1024 * 1024);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 60000));
	SCENE_NEEDS(C.installs > 0 && C.installs < 80);
	SCENE_NEEDS(group_term(C.nodes[0].cell->group) == term);
	return scene_end(&C, true);
}

static void test_what_waits_for_a_thin_link_is_bounded(void **state)
{
	(void)state;
	scene_needs_with_015(
		what_waits_for_a_thin_link_is_bounded, (struct rules_off){.waiting_bounded = true});
}

/* What thousands of groups have for one link is little of each, and far too much. */
static bool what_waits_of_many_groups_is_bounded(const struct rules_off *off)
{
	enum { ROOM = 512 * 1024, LARGE = 1000, MANY = 300 };
	struct cluster_options o = scene_options(3, 3, off);
	o.snapshot_entries = 50;
	o.trailing_entries = 10;
	o.laggard_bytes = ROOM;
	cluster_init(&C, &o);
	SCENE_NEEDS(scene_lead(&C, 0));
	struct groups *groups = C.nodes[0].groups;
	cluster_full_link(&C, 0, 2, true);
	groups->waiting += ROOM; /* of others */
	for (unsigned i = 0; i < MANY; i++)
		SCENE_NEEDS(scene_put(&C, 0, LARGE));
	cluster_run(&C, 5000);
	SCENE_NEEDS(groups->waiting > ROOM + MANY * LARGE); /* for one such as this it is worth waiting */
	for (unsigned i = 0; i < MANY; i++)
		SCENE_NEEDS(scene_put(&C, 0, LARGE));
	cluster_run(&C, 5000);
	SCENE_NEEDS(groups->waiting < ROOM + MANY * LARGE);
	groups->waiting -= ROOM;
	cluster_full_link(&C, 0, 2, false);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 60000));
	return scene_end(&C, true);
}

static void test_what_waits_of_many_groups_is_bounded(void **state)
{
	(void)state;
	assert_true(scene_holds(what_waits_of_many_groups_is_bounded, NULL));
}

/* A link that has too much refuses what is not urgent, here most of it. What was given up with that is not
 * waiting any more. */
static bool what_a_link_refuses_waits_no_more(const struct rules_off *off)
{
	begin(3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	C.thin[0][2] = 150;
	C.refuse_permille[0][2] = 700;
	load(20000);
	SCENE_NEEDS(seen.waits > 0);
	C.thin[0][2] = 0;
	C.refuse_permille[0][2] = 0;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 60000));
	cluster_run(&C, 2000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].groups->waiting == 0);
	return scene_end(&C, true);
}

static void test_what_a_link_refuses_waits_no_more(void **state)
{
	(void)state;
	assert_true(scene_holds(what_a_link_refuses_waits_no_more, NULL));
}

/* ---- elections ------------------------------------------------------------------------------ */

/* All are 100 ms apart, and of the messages some are late and some are lost: nobody doubts the leader. */
static bool a_far_leader_stays(const struct rules_off *off)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct cluster_options o = scene_options(3, 3, off);
		o.seed = seed;
		o.delay_min_us = 90000;
		o.delay_max_us = 110000;
		o.loss_permille = 20;
		o.snapshot_entries = 0;
		cluster_init(&C, &o);
		SCENE_NEEDS(cluster_until(&C, scene_has_leader, 20000));
		cluster_run(&C, 2000);
		struct node *leader = cluster_leader(&C);
		SCENE_NEEDS(leader != NULL);
		uint64_t term = group_term(leader->cell->group);
		for (unsigned i = 0; i < 600; i++) {
			node_put(leader, ENTRY);
			cluster_run(&C, 1000);
			SCENE_NEEDS(cluster_leader(&C) == leader && group_term(leader->cell->group) == term);
		}
		SCENE_NEEDS(C.installs == 0);
		SCENE_NEEDS(cluster_until(&C, scene_is_equal, 5000));
		if (!scene_end(&C, true))
			return false;
	}
	return true;
}

static void test_a_far_leader_stays(void **state)
{
	(void)state;
	assert_true(scene_holds(a_far_leader_stays, NULL));
}

/* ---- a leader far from all dies ------------------------------------------------------------- */

enum { DEATHS = 40 };

/* Of each death the time until another one leads, in ms. */
static struct {
	uint64_t ms[DEATHS];
	unsigned n;
	unsigned split; /* of them, ones with more than one term */
} deaths;

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* The process ends, and its links with it; or (silent) its machine falls silent, and links bear that longer than
 * groups. */
static bool one_death(unsigned nodes, uint64_t way_us, uint64_t seed, bool silent, const struct rules_off *off)
{
	struct cluster_options o = scene_options(nodes, nodes, off);
	o.seed = seed;
	o.delay_min_us = 50;
	o.delay_max_us = 50 + way_us / 10;
	o.snapshot_entries = 0;
	cluster_init(&C, &o);
	for (unsigned i = 0; i < nodes; i++)
		for (unsigned k = 0; k < nodes; k++)
			C.far_us[i][k] = i != k ? way_us : 0;
	SCENE_NEEDS(scene_lead(&C, seed % nodes));
	SCENE_NEEDS(scene_put(&C, seed % nodes, ENTRY));
	cluster_run(&C, 2000 + seed * 37 % 300);
	struct node *leader = cluster_leader(&C);
	uint64_t died_us = C.sim.now_us, term = group_term(leader->cell->group);
	for (unsigned k = 0; silent && k < nodes; k++)
		C.cut[leader->i][k] = C.cut[k][leader->i] = true;
	if (!silent)
		node_crash(leader, false);
	struct node *next;
	while ((next = cluster_leader(&C)) == NULL || next == leader) {
		SCENE_NEEDS(C.sim.now_us < died_us + 60000000);
		cluster_run(&C, 1);
	}
	deaths.ms[deaths.n++] = (C.sim.now_us - died_us) / 1000;
	deaths.split += group_term(next->cell->group) > term + 1;
	return scene_end(&C, true);
}

static bool see_deaths(unsigned nodes, uint64_t way_us, bool silent, const struct rules_off *off)
{
	memset(&deaths, 0, sizeof deaths);
	for (unsigned i = 1; i <= DEATHS; i++)
		if (!one_death(nodes, way_us, i, silent, off))
			return false;
	qsort(deaths.ms, deaths.n, sizeof deaths.ms[0], by_size);
	if (getenv("SCENE_VERBOSE") != NULL)
		fprintf(stderr, "%u nodes, %3u ms each way, %s: median %4u ms, 90 of 100 within %4u, worst %4u; %u split\n",
			nodes, (unsigned)way_us / 1000, silent ? "silent" : "gone  ",
			(unsigned)deaths.ms[DEATHS / 2], (unsigned)deaths.ms[DEATHS * 9 / 10], (unsigned)deaths.ms[DEATHS - 1],
			deaths.split);
	return true;
}

static bool votes_are_not_split(const struct rules_off *off)
{
	static const uint64_t ways_us[] = {0, 20000, 100000};
	for (unsigned nodes = 3; nodes <= 5; nodes += 2)
		for (unsigned silent = 0; silent < 2; silent++)
			for (unsigned i = 0; i < 3; i++)
				SCENE_NEEDS(see_deaths(nodes, ways_us[i], silent, off) && deaths.split <= 1);
	return true;
}

static void test_votes_are_not_split(void **state)
{
	(void)state;
	scene_needs(votes_are_not_split, (struct rules_off){.apart = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_under_way_stays_in_the_log),
		cmocka_unit_test(test_a_far_standby_is_promoted),
		cmocka_unit_test(test_what_waits_for_a_thin_link_is_bounded),
		cmocka_unit_test(test_what_waits_of_many_groups_is_bounded),
		cmocka_unit_test(test_what_a_link_refuses_waits_no_more),
		cmocka_unit_test(test_a_far_leader_stays),
		cmocka_unit_test(test_votes_are_not_split),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

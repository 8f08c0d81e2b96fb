/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of several members: joining, promotion, removal, hand-over, a member that lost its log,
 * and groups at rest.
 */
#include <stdio.h>
#include <stdlib.h>

#include "raft/group_priv.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/unit/raft/scene.h"

static struct cluster C;

static void begin(
	unsigned nodes, unsigned voters, unsigned freeze_after_ms, const struct rules_off *off)
{
	struct cluster_options o = scene_options(nodes, voters, off);
	o.snapshot_entries = 10;
	o.trailing_entries = 4;
	o.freeze_after_ms = freeze_after_ms;
	cluster_init(&C, &o);
}

static uint64_t parts_sent; /* of snapshots */

static bool count_parts(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c, (void)from, (void)to, (void)n;
	parts_sent += w->kind == WIRE_INSTALL_ENTRIES;
	return false;
}

static bool streams(struct cluster *c)
{
	(void)c;
	return parts_sent > 3;
}

static void on_done(void *arg, int status)
{
	*(int *)arg = status;
}

/* Runs until the request that sets *status is over. */
static int outcome(int rv, const int *status)
{
	if (rv != 0)
		return rv;
	for (unsigned i = 0; i < C.o.nodes; i++)
		node_turn(&C.nodes[i]);
	for (unsigned t = 0; t < 20000 && *status == 1; t++)
		cluster_run(&C, 1);
	return *status;
}

static int add(unsigned at, unsigned i)
{
	int status = 1;
	node_new_member(&C.nodes[i]);
	return outcome(
		group_add_standby(C.nodes[at].cell->group,
			&(struct group_member){.id = C.nodes[i].raft_id, .node = C.nodes[i].id},
			on_done, &status),
		&status);
}

static int promote(unsigned at, uint64_t id)
{
	int status = 1;
	return outcome(group_promote(C.nodes[at].cell->group, id, on_done, &status), &status);
}

static int demote(unsigned at, uint64_t id)
{
	int status = 1;
	return outcome(group_demote(C.nodes[at].cell->group, id, on_done, &status), &status);
}

static int drop(unsigned at, uint64_t id)
{
	int status = 1;
	return outcome(group_remove(C.nodes[at].cell->group, id, on_done, &status), &status);
}

static struct group_member_state state_of(unsigned at, uint64_t id)
{
	struct group_member_state m[16];
	unsigned n = group_members(C.nodes[at].cell->group, m, 16);
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i];
	return (struct group_member_state){0};
}

static bool put_some(unsigned at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!scene_put(&C, at, 10))
			return false;
	return true;
}

/* ---- joining -------------------------------------------------------------------------------- */

/* A member that is removed while it gets a snapshot gets no more of it, and leaves nothing of it. It
 * may be added again, under its name, as it has never voted. */
static bool copy_ends_with_the_removal(const struct rules_off *off)
{
	int status = 1;
	parts_sent = 0;
	begin(3, 2, 0, off);
	C.watch = count_parts;
	SCENE_NEEDS(scene_lead(&C, 0));
	for (unsigned i = 0; i < 80; i++)
		SCENE_NEEDS(scene_put(&C, 0, 100 * 1024));
	C.nodes[2].disk.min_us = C.nodes[2].disk.max_us = 20000;
	SCENE_NEEDS(add(0, 2) == 0);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	SCENE_NEEDS(state_of(0, C.nodes[2].raft_id).installing);
	SCENE_NEEDS(drop(0, C.nodes[2].raft_id) == 0);
	uint64_t parts = parts_sent;
	cluster_run(&C, 2000);
	SCENE_NEEDS(parts_sent <= parts + 16 && C.installs == 0);
	parts = parts_sent;
	cluster_run(&C, 5000);
	SCENE_NEEDS(parts_sent == parts);
	uint64_t id = C.nodes[2].raft_id;
	struct group_member again = {.id = id, .node = C.nodes[2].id};
	SCENE_NEEDS(outcome(group_add_standby(C.nodes[0].cell->group, &again, on_done, &status),
			    &status) == 0);
	SCENE_NEEDS(promote(0, id) == 0);
	SCENE_NEEDS(put_some(0, 10));
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(scene_lead(&C, 2)); /* it has a clock again */
	return scene_end(&C, true);
}

static void test_copy_ends_with_the_removal(void **state)
{
	(void)state;
	assert_true(scene_holds(copy_ends_with_the_removal, NULL));
}

static bool standby_joins_and_votes(const struct rules_off *off)
{
	begin(4, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 50));
	SCENE_NEEDS(add(0, 3) == 0);
	uint64_t id = C.nodes[3].raft_id;
	SCENE_NEEDS(!state_of(0, id).voter && !state_of(0, id).spare);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 3000));
	SCENE_NEEDS(C.nodes[3].cell->restores == 1); /* the log's beginning is gone */
	cluster_check_entries(&C, 50);
	SCENE_NEEDS(promote(0, id) == 0);
	SCENE_NEEDS(state_of(0, id).voter && state_of(0, id).lag == 0);
	SCENE_NEEDS(state_of(0, id).node == 4);
	/* It counts: two of four are not enough, three are. */
	node_crash(&C.nodes[1], false);
	SCENE_NEEDS(put_some(0, 5));
	node_crash(&C.nodes[2], false);
	cluster_run(&C, 100);
	SCENE_NEEDS(!scene_put(&C, 0, 0));
	node_start(&C.nodes[1]);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 10000));
	return scene_end(&C, true);
}

static void test_a_standby_joins_catches_up_and_is_promoted(void **state)
{
	(void)state;
	assert_true(scene_holds(standby_joins_and_votes, NULL));
}

static bool sole_voter_gets_company(const struct rules_off *off)
{
	begin(3, 1, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 30));
	SCENE_NEEDS(add(0, 1) == 0 && promote(0, C.nodes[1].raft_id) == 0);
	SCENE_NEEDS(add(0, 2) == 0 && promote(0, C.nodes[2].raft_id) == 0);
	SCENE_NEEDS(put_some(0, 5));
	node_crash(&C.nodes[0], false);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 10000));
	SCENE_NEEDS(put_some(cluster_leader(&C)->i, 5));
	node_start(&C.nodes[0]);
	return scene_end(&C, cluster_until(&C, scene_is_equal, 5000));
}

static void test_a_group_of_one_grows_to_three(void **state)
{
	(void)state;
	assert_true(scene_holds(sole_voter_gets_company, NULL));
}

static bool large_member_is_installed_under_load(const struct rules_off *off)
{
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	for (unsigned i = 0; i < 40; i++)
		SCENE_NEEDS(scene_put(&C, 0, 150 * 1024));
	node_start(&C.nodes[2]);
	uint64_t before = C.n_confirmed;
	for (unsigned t = 0; t < 1500; t++) {
		node_put(&C.nodes[0], 10);
		cluster_run(&C, 1);
	}
	SCENE_NEEDS(C.n_confirmed - before > 1400); /* nobody waited for it */
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 3000));
	SCENE_NEEDS(C.nodes[2].cell->restores > 0);
	cluster_check_entries(&C, 50);
	return scene_end(&C, true);
}

static void test_a_lagging_member_is_installed_while_commands_go_on(void **state)
{
	(void)state;
	assert_true(scene_holds(large_member_is_installed_under_load, NULL));
}

/* ---- leaving -------------------------------------------------------------------------------- */

static bool members_leave(const struct rules_off *off)
{
	begin(4, 4, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(drop(0, 1) == GROUP_SELF);
	SCENE_NEEDS(drop(0, 99) == GROUP_NO_MEMBER);
	SCENE_NEEDS(drop(1, 1) == GROUP_NOT_LEADER);
	SCENE_NEEDS(demote(0, 4) == 0 && !state_of(0, 4).voter);
	SCENE_NEEDS(promote(0, 4) == 0);
	SCENE_NEEDS(drop(0, 4) == 0);
	cluster_run(&C, 100);
	SCENE_NEEDS(C.nodes[3].cell->removed && state_of(0, 4).id == 0);
	SCENE_NEEDS(drop(0, 4) == GROUP_NO_MEMBER);
	/* One who was not reached by its removal is told when it asks for votes. */
	cluster_isolate(&C, 2, true);
	cluster_run(&C, 100);
	SCENE_NEEDS(drop(0, 3) == 0);
	SCENE_NEEDS(!C.nodes[2].cell->removed);
	cluster_heal(&C);
	cluster_run(&C, 6000);
	SCENE_NEEDS(C.nodes[2].cell->removed);
	SCENE_NEEDS(cluster_leader(&C) != NULL && put_some(cluster_leader(&C)->i, 3));
	return scene_end(&C, true);
}

static void test_members_leave_and_learn_of_it(void **state)
{
	(void)state;
	assert_true(scene_holds(members_leave, NULL));
}

/* It has the entry that removes node 1, and that is not durable, when that stands for election. */
static bool last_member_leads_again(const struct rules_off *off)
{
	int status = 1;
	begin(2, 2, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	struct group *g = C.nodes[0].cell->group;
	uint64_t term = group_term(g);
	C.nodes[0].disk.held = true;
	SCENE_NEEDS(group_remove(g, 2, on_done, &status) == 0);
	cluster_run(&C, 100);
	cluster_forge(&C.nodes[1], &C.nodes[0],
		&(struct wire){.kind = WIRE_VOTE,
			.group = THE_GROUP,
			.from = 2,
			.to = 1,
			.term = term + 3,
			.flags = WIRE_DISRUPT},
		slice_make(NULL, 0), slice_make(NULL, 0));
	cluster_run(&C, 100);
	SCENE_NEEDS(!C.nodes[0].cell->leading);
	cluster_isolate(&C, 1, true);
	C.nodes[0].disk.held = false;
	cluster_run(&C, 3000);
	SCENE_NEEDS(C.nodes[0].cell->leading && group_term(g) > term + 3);
	SCENE_NEEDS(put_some(0, 3));
	return scene_end(&C, true);
}

static void test_the_last_member_leads_whoever_has_disturbed_it(void **state)
{
	(void)state;
	assert_true(scene_holds(last_member_leads_again, NULL));
}

static bool no_change_beyond_a_majority(const struct rules_off *off)
{
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	cluster_run(&C, 4000);
	SCENE_NEEDS(scene_lead(&C, 0));
	/* Without node 1 only the dead one would be left beside the leader. */
	SCENE_NEEDS(drop(0, 2) == GROUP_NO_QUORUM);
	SCENE_NEEDS(drop(0, 3) == 0);
	SCENE_NEEDS(put_some(0, 3));
	return scene_end(&C, true);
}

static void test_no_change_leaves_a_group_without_a_majority(void **state)
{
	(void)state;
	assert_true(scene_holds(no_change_beyond_a_majority, NULL));
}

static bool transfer_to_the_dead_fails(const struct rules_off *off)
{
	int status = 1;
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_isolate(&C, 1, true);
	cluster_run(&C, 10);
	SCENE_NEEDS(outcome(group_transfer(C.nodes[0].cell->group, 2, on_done, &status), &status) ==
		    GROUP_TIMEOUT);
	SCENE_NEEDS(scene_put(&C, 0, 0)); /* it leads on */
	cluster_heal(&C);
	cluster_run(&C, 500);
	status = 1;
	SCENE_NEEDS(
		outcome(group_transfer(C.nodes[0].cell->group, 0, on_done, &status), &status) == 0);
	cluster_run(&C, 300);
	SCENE_NEEDS(!C.nodes[0].cell->leading && cluster_leader(&C) != NULL);
	return scene_end(&C, true);
}

static void test_a_hand_over_succeeds_or_the_leader_goes_on(void **state)
{
	(void)state;
	assert_true(scene_holds(transfer_to_the_dead_fails, NULL));
}

/* Told so long after it was cut off, it gives the hand-over up as a leader, or steps down first and hears of no leader. */
static bool hands_over_cut_off(unsigned ms)
{
	int status = 1;
	begin(3, 3, 0, NULL);
	SCENE_NEEDS(scene_lead(&C, 0) && put_some(0, 3));
	cluster_isolate(&C, 0, true);
	cluster_run(&C, ms);
	bool led = C.nodes[0].cell->leading;
	int rc = outcome(group_transfer(C.nodes[0].cell->group, 2, on_done, &status), &status);
	SCENE_NEEDS(led ? rc == GROUP_TIMEOUT : rc != 1);
	cluster_run(&C, 2000);
	return scene_end(&C, !C.nodes[0].cell->leading);
}

static bool cut_off_leader_hands_over(const struct rules_off *off)
{
	(void)off;
	for (unsigned ms = 0; ms <= 2000; ms += 50)
		SCENE_NEEDS(hands_over_cut_off(ms));
	return true;
}

static void test_a_hand_over_ends_where_nobody_is_heard(void **state)
{
	(void)state;
	assert_true(scene_holds(cut_off_leader_hands_over, NULL));
}

/* Node 0 does not hear whom it has voted for. */
static bool leader_is_unheard(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c, (void)n;
	return from->i == 1 && to->i == 0 && w->kind == WIRE_APPEND;
}

static bool heir_removes_the_former_leader(const struct rules_off *off)
{
	int status = 1;
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	C.watch = leader_is_unheard;
	SCENE_NEEDS(group_transfer(C.nodes[0].cell->group, 2, on_done, &status) == 0);
	for (unsigned t = 0; t < 500 && !C.nodes[1].cell->leading; t++)
		cluster_run(&C, 1);
	SCENE_NEEDS(drop(1, 1) == 0);
	cluster_run(&C, 3000);
	SCENE_NEEDS(C.nodes[0].cell->removed && status != 1);
	return scene_end(&C, true);
}

static void test_a_hand_over_ends_with_the_members_removal(void **state)
{
	(void)state;
	assert_true(scene_holds(heir_removes_the_former_leader, NULL));
}

/* ---- amnesia -------------------------------------------------------------------------------- */

static bool forgetful_member_is_a_new_one(const struct rules_off *off)
{
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 30));
	uint64_t former = C.nodes[2].raft_id;
	node_wipe(&C.nodes[2]);
	node_start(&C.nodes[2]);
	uint64_t now = C.nodes[2].raft_id;
	SCENE_NEEDS(now != former);
	SCENE_NEEDS(put_some(0, 5));
	cluster_run(&C, 1000);
	/* What is sent to the former member is not for this one. */
	SCENE_NEEDS(C.nodes[2].received > 0 && group_applied(C.nodes[2].cell->group) == 0);
	SCENE_NEEDS(drop(0, former) == 0);
	SCENE_NEEDS(add(0, 2) == 0 && promote(0, now) == 0);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 3000));
	node_crash(&C.nodes[1], false);
	SCENE_NEEDS(put_some(0, 3)); /* its vote counts */
	return scene_end(&C, true);
}

/* Its node is linked, and what was known of it says that it has caught up or soon will. */
static bool forgotten_standby_is_not_waited_for(unsigned behind, const struct rules_off *off)
{
	begin(3, 2, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 30) && add(0, 2) == 0);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 3000));
	uint64_t former = C.nodes[2].raft_id;
	node_wipe(&C.nodes[2]);
	node_start(&C.nodes[2]);
	cluster_run(&C, 3000);
	SCENE_NEEDS(put_some(0, behind));
	SCENE_NEEDS(promote(0, former) == GROUP_TIMEOUT);
	SCENE_NEEDS(drop(0, former) == 0);
	SCENE_NEEDS(add(0, 2) == 0 && promote(0, C.nodes[2].raft_id) == 0);
	return scene_end(&C, true);
}

static bool near_one_is_not_waited_for(const struct rules_off *off)
{
	return forgotten_standby_is_not_waited_for(0, off);
}

static bool far_one_is_not_waited_for(const struct rules_off *off)
{
	return forgotten_standby_is_not_waited_for(50, off);
}

static void test_a_promotion_does_not_wait_for_a_standby_that_is_gone(void **state)
{
	(void)state;
	assert_true(scene_holds(near_one_is_not_waited_for, NULL));
	assert_true(scene_holds(far_one_is_not_waited_for, NULL));
}

static void test_a_member_that_lost_its_log_comes_back_under_a_new_id(void **state)
{
	(void)state;
	assert_true(scene_holds(forgetful_member_is_a_new_one, NULL));
}

/* ---- at rest -------------------------------------------------------------------------------- */

enum { REST = 500 };

static uint64_t all_sent(void)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < C.o.nodes; i++)
		n += C.nodes[i].sent;
	return n;
}

static bool rests(unsigned nodes, const struct rules_off *off)
{
	begin(nodes, 3, REST, off);
	return scene_lead(&C, 0) && put_some(0, 5) && cluster_until(&C, scene_is_frozen, 10000);
}

static bool resting_costs_nothing(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	uint64_t term = C.nodes[0].cell->term;
	uint64_t sent = all_sent();
	cluster_run(&C, 60000);
	SCENE_NEEDS(all_sent() == sent);
	SCENE_NEEDS(scene_put(&C, 0, 0));
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	SCENE_NEEDS(cluster_until(&C, scene_is_frozen, 10000));
	return scene_end(&C, C.nodes[0].cell->term == term && cluster_converged(&C));
}

static void test_a_group_at_rest_sends_nothing_and_wakes_in_its_term(void **state)
{
	(void)state;
	scene_needs(resting_costs_nothing, (struct rules_off){.freeze_asks = true});
}

static bool leader_of_resting_group_dies(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	node_crash(&C.nodes[0], false);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 8000));
	SCENE_NEEDS(put_some(cluster_leader(&C)->i, 3));
	node_start(&C.nodes[0]);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 5000));
	return scene_end(&C, cluster_until(&C, scene_is_frozen, 10000));
}

static void test_a_resting_group_notices_that_its_leaders_node_is_gone(void **state)
{
	(void)state;
	scene_needs(leader_of_resting_group_dies, (struct rules_off){.thaw_on_link = true});
}

static bool leads_no_more(struct cluster *c)
{
	return !c->nodes[0].cell->leading;
}

static bool leader_at_rest_is_left_alone(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	node_crash(&C.nodes[1], false);
	cluster_run(&C, 5000);
	SCENE_NEEDS(C.nodes[0].cell->leading);
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(cluster_until(&C, leads_no_more, 8000));
	node_start(&C.nodes[1]);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 8000));
	SCENE_NEEDS(put_some(cluster_leader(&C)->i, 3));
	return scene_end(&C, cluster_until(&C, scene_is_equal, 5000));
}

static void test_a_leader_at_rest_notices_that_it_is_alone(void **state)
{
	(void)state;
	scene_needs(leader_at_rest_is_left_alone, (struct rules_off){.thaw_on_link = true});
}

/* So fast that nobody misses it: only its incarnation tells. */
static bool leader_of_resting_group_restarts(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	node_crash(&C.nodes[0], false);
	node_start(&C.nodes[0]);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 10000));
	return scene_end(&C, put_some(cluster_leader(&C)->i, 3));
}

static void test_a_resting_group_notices_that_its_leaders_node_restarted(void **state)
{
	(void)state;
	assert_true(scene_holds(leader_of_resting_group_restarts, NULL));
}

static bool follower_of_resting_group_restarts(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	uint64_t term = C.nodes[0].cell->term;
	node_crash(&C.nodes[2], false);
	cluster_run(&C, 20000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 5000));
	SCENE_NEEDS(cluster_until(&C, scene_is_frozen, 10000));
	return scene_end(&C, C.nodes[0].cell->term == term);
}

static void test_a_resting_group_takes_a_follower_back_without_an_election(void **state)
{
	(void)state;
	assert_true(scene_holds(follower_of_resting_group_restarts, NULL));
}

static bool rests_without_a_dead_member(const struct rules_off *off)
{
	begin(3, 3, REST, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 5));
	SCENE_NEEDS(cluster_until(&C, scene_is_frozen, 15000));
	node_start(&C.nodes[2]);
	return scene_end(&C, cluster_until(&C, scene_is_equal, 8000));
}

static void test_a_group_rests_without_a_dead_member_and_wakes_for_it(void **state)
{
	(void)state;
	assert_true(scene_holds(rests_without_a_dead_member, NULL));
}

static bool working_group_does_not_rest(const struct rules_off *off)
{
	begin(3, 3, REST, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	for (unsigned i = 0; i < 50; i++) {
		SCENE_NEEDS(scene_put(&C, 0, 0));
		cluster_run(&C, 100);
		for (unsigned k = 0; k < 3; k++)
			SCENE_NEEDS(!group_frozen(C.nodes[k].cell->group));
	}
	return scene_end(&C, true);
}

static void test_a_working_group_does_not_rest(void **state)
{
	(void)state;
	assert_true(scene_holds(working_group_does_not_rest, NULL));
}

static bool a_change_wakes(const struct rules_off *off)
{
	SCENE_NEEDS(rests(4, off));
	SCENE_NEEDS(add(0, 3) == 0);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 3000));
	return scene_end(&C, cluster_until(&C, scene_is_frozen, 10000));
}

static void test_a_change_of_members_wakes_a_resting_group(void **state)
{
	(void)state;
	assert_true(scene_holds(a_change_wakes, NULL));
}

/* ---- elections without waiting -------------------------------------------------------------- */

static bool new_group_is_led_at_once(const struct rules_off *off)
{
	struct cluster_options o = scene_options(3, 3, off);
	o.preferred = 2;
	cluster_init(&C, &o);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 200));
	return scene_end(&C, cluster_leader(&C)->i == 1);
}

static void test_a_new_group_is_led_by_the_preferred_member_at_once(void **state)
{
	(void)state;
	assert_true(scene_holds(new_group_is_led_at_once, NULL));
}

static bool lost_leader_is_replaced_soon(bool resting, const struct rules_off *off)
{
	if (resting) {
		SCENE_NEEDS(rests(3, off));
	} else {
		begin(3, 3, 0, off);
		SCENE_NEEDS(scene_lead(&C, 0) && put_some(0, 5));
	}
	node_crash(&C.nodes[0], false);
	return scene_end(&C, cluster_until(&C, scene_has_leader, 450));
}

static bool lost_leader_is_replaced(const struct rules_off *off)
{
	return lost_leader_is_replaced_soon(false, off);
}

static bool lost_leader_at_rest_is_replaced(const struct rules_off *off)
{
	return lost_leader_is_replaced_soon(true, off);
}

static void test_a_leader_whose_node_is_lost_is_replaced_within_half_a_second(void **state)
{
	(void)state;
	assert_true(scene_holds(lost_leader_is_replaced, NULL));
	assert_true(scene_holds(lost_leader_at_rest_is_replaced, NULL));
}

/* One follower cannot reach the leader, the other one can: whoever asks it for a vote gets none, also
 * if all were at rest. */
static bool leader_survives_a_lost_link(const struct rules_off *off)
{
	SCENE_NEEDS(rests(3, off));
	uint64_t term = C.nodes[0].cell->term;
	cluster_cut(&C, 0, 1, true);
	cluster_cut(&C, 1, 0, true);
	cluster_run(&C, 20000);
	SCENE_NEEDS(C.nodes[0].cell->leading && C.nodes[0].cell->term == term);
	cluster_heal(&C);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 10000));
	return scene_end(&C, C.nodes[0].cell->term == term);
}

static void test_a_leader_that_lost_one_link_of_two_stays(void **state)
{
	(void)state;
	assert_true(scene_holds(leader_survives_a_lost_link, NULL));
}

static bool leads_at_2(struct cluster *c)
{
	return c->nodes[2].cell->leading;
}

static bool follows_at_0(struct cluster *c)
{
	return !c->nodes[0].cell->leading;
}

/* It stands for election at once, as if its leader handed over. */
static void wants_to_lead(unsigned i)
{
	struct group *leader = cluster_leader(&C)->cell->group;
	struct raft *r = &leader->raft;
	cluster_forge(cluster_leader(&C), &C.nodes[i],
		&(struct wire){.kind = WIRE_TIMEOUT_NOW,
			.group = THE_GROUP,
			.from = leader->self,
			.to = C.nodes[i].raft_id,
			.term = libraft_term(r),
			.last = raft_last_index(r),
			.last_term = terms_of(&leader->io.terms, raft_last_index(r))},
		slice_make(NULL, 0), slice_make(NULL, 0));
}

/* A third one is elected before the hand-over has come to anything, and hands over to the former leader. */
static bool leader_gets_back_what_it_would_hand_over(const struct rules_off *off)
{
	int status = 1;
	begin(3, 3, 0, off);
	SCENE_NEEDS(scene_lead(&C, 0) && put_some(0, 3));
	cluster_isolate(&C, 1, true);
	SCENE_NEEDS(put_some(0, 3)); /* so node 2 wins */
	cluster_isolate(&C, 1, false);
	cluster_isolate(&C, 0, true);
	wants_to_lead(2);
	SCENE_NEEDS(cluster_until(&C, leads_at_2, 10000) && C.nodes[0].cell->leading);
	SCENE_NEEDS(group_transfer(C.nodes[0].cell->group, 2, on_done, &status) == 0);
	node_turn(&C.nodes[0]);
	cluster_isolate(&C, 0, false);
	SCENE_NEEDS(cluster_until(&C, follows_at_0, 500));
	SCENE_NEEDS(scene_lead(&C, 0) && put_some(0, 3) && status != 1);
	return scene_end(&C, cluster_until(&C, scene_is_equal, 10000));
}

static void test_a_leader_gets_back_what_it_would_hand_over(void **state)
{
	(void)state;
	assert_true(scene_holds(leader_gets_back_what_it_would_hand_over, NULL));
}

/* ---- one of two survives -------------------------------------------------------------------- */

static bool leads_at_0(struct cluster *c)
{
	return c->nodes[0].cell != NULL && c->nodes[0].cell->leading;
}

/* The member of node 1 is lost while it has entries that nobody confirmed, node 0 none of them. Node 0 goes on
 * alone with all that was confirmed; a new member joins node 1's log, whose end is replaced. */
static bool survivor_goes_on(unsigned leader, unsigned tail)
{
	int status = 1;
	begin(2, 2, 0, NULL);
	SCENE_NEEDS(scene_lead(&C, leader));
	SCENE_NEEDS(put_some(leader, 7));
	uint64_t confirmed = C.n_confirmed;
	cluster_isolate(&C, 0, true);
	for (unsigned i = 0; i < tail; i++) {
		node_put(&C.nodes[leader], 10);
		node_turn(&C.nodes[leader]);
		cluster_run(&C, 5);
	}
	cluster_run(&C, 100);
	SCENE_NEEDS(C.n_confirmed == confirmed);
	node_crash(&C.nodes[1], false);
	node_crash(&C.nodes[0], false);
	C.nodes[0].alone = true;
	node_inherit(&C.nodes[1]);
	node_start(&C.nodes[0]);
	SCENE_NEEDS(cluster_until(&C, leads_at_0, 5000));
	SCENE_NEEDS(put_some(0, 3));
	cluster_heal(&C);
	node_start(&C.nodes[1]);
	cluster_run(&C, 3000);
	/* It has no vote, and says nothing. */
	SCENE_NEEDS(leads_at_0(&C) && put_some(0, 1));
	SCENE_NEEDS(outcome(group_add_standby(C.nodes[0].cell->group,
				    &(struct group_member){.id = C.nodes[1].raft_id,
					    .node = C.nodes[1].id},
				    on_done, &status),
			    &status) == 0);
	SCENE_NEEDS(promote(0, C.nodes[1].raft_id) == 0);
	SCENE_NEEDS(put_some(0, 5));
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 5000));
	/* Each has everything: the other one is elected as any voter. */
	SCENE_NEEDS(scene_lead(&C, 1) && put_some(1, 2));
	return scene_end(&C, cluster_until(&C, scene_is_equal, 5000));
}

static bool leads_at_1(struct cluster *c)
{
	return c->nodes[1].cell != NULL && c->nodes[1].cell->leading;
}

/* Node 0 goes on alone, is given up, and node 1 goes on with what it has: no entry of the one looks like one of
 * the other. */
static bool histories_share_no_term(const struct rules_off *off)
{
	(void)off;
	begin(2, 2, 0, NULL);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 7));
	node_crash(&C.nodes[1], false);
	node_crash(&C.nodes[0], false);
	C.nodes[0].alone = true;
	node_start(&C.nodes[0]);
	SCENE_NEEDS(cluster_until(&C, leads_at_0, 5000));
	uint64_t term = group_term(C.nodes[0].cell->group);
	node_crash(&C.nodes[0], false);
	C.nodes[1].alone = C.nodes[1].apart = true;
	node_start(&C.nodes[1]);
	SCENE_NEEDS(cluster_until(&C, leads_at_1, 5000));
	return scene_end(&C, group_term(C.nodes[1].cell->group) > term + 1000);
}

static void test_who_goes_on_apart_shares_no_term(void **state)
{
	(void)state;
	assert_true(scene_holds(histories_share_no_term, NULL));
}

static bool a_follower_survives(const struct rules_off *off)
{
	(void)off;
	return survivor_goes_on(1, 12);
}

static bool a_leader_survives(const struct rules_off *off)
{
	(void)off;
	return survivor_goes_on(0, 6);
}

static bool a_quiet_one_survives(const struct rules_off *off)
{
	(void)off;
	return survivor_goes_on(1, 0);
}

static void test_of_two_members_one_survives(void **state)
{
	(void)state;
	assert_true(scene_holds(a_follower_survives, NULL));
	assert_true(scene_holds(a_leader_survives, NULL));
	assert_true(scene_holds(a_quiet_one_survives, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_goes_on_apart_shares_no_term),
		cmocka_unit_test(test_copy_ends_with_the_removal),
		cmocka_unit_test(test_a_new_group_is_led_by_the_preferred_member_at_once),
		cmocka_unit_test(
			test_a_leader_whose_node_is_lost_is_replaced_within_half_a_second),
		cmocka_unit_test(test_a_leader_that_lost_one_link_of_two_stays),
		cmocka_unit_test(test_a_standby_joins_catches_up_and_is_promoted),
		cmocka_unit_test(test_a_group_of_one_grows_to_three),
		cmocka_unit_test(test_a_lagging_member_is_installed_while_commands_go_on),
		cmocka_unit_test(test_members_leave_and_learn_of_it),
		cmocka_unit_test(test_the_last_member_leads_whoever_has_disturbed_it),
		cmocka_unit_test(test_no_change_leaves_a_group_without_a_majority),
		cmocka_unit_test(test_a_hand_over_succeeds_or_the_leader_goes_on),
		cmocka_unit_test(test_a_hand_over_ends_where_nobody_is_heard),
		cmocka_unit_test(test_a_hand_over_ends_with_the_members_removal),
		cmocka_unit_test(test_a_member_that_lost_its_log_comes_back_under_a_new_id),
		cmocka_unit_test(test_a_promotion_does_not_wait_for_a_standby_that_is_gone),
		cmocka_unit_test(test_a_group_at_rest_sends_nothing_and_wakes_in_its_term),
		cmocka_unit_test(test_a_resting_group_notices_that_its_leaders_node_is_gone),
		cmocka_unit_test(test_a_leader_at_rest_notices_that_it_is_alone),
		cmocka_unit_test(test_a_resting_group_notices_that_its_leaders_node_restarted),
		cmocka_unit_test(test_a_resting_group_takes_a_follower_back_without_an_election),
		cmocka_unit_test(test_a_group_rests_without_a_dead_member_and_wakes_for_it),
		cmocka_unit_test(test_a_working_group_does_not_rest),
		cmocka_unit_test(test_a_change_of_members_wakes_a_resting_group),
		cmocka_unit_test(test_a_leader_gets_back_what_it_would_hand_over),
		cmocka_unit_test(test_of_two_members_one_survives),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

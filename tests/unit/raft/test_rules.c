/* SPDX-License-Identifier: Apache-2.0
 *
 * Each rule of raft/README.md in the scenario that it is there for: with it the promise holds,
 * without it it is seen to break. Where libraft 0.22 keeps the promise itself, it is seen to hold
 * there without the rule.
 */
#include <stdio.h>
#include <stdlib.h>

#include "raft/configuration.h"
#include "raft/libraft.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/unit/raft/scene.h"

/* One cluster at a time. */
static struct cluster C;

static void break_links(unsigned i)
{
	cluster_isolate(&C, i, true);
	for (unsigned k = 0; k < C.o.nodes; k++)
		if (k != i)
			cluster_break_link(&C, i, k);
}

/* Several voters agree in the end, with commands going on. */
static bool converges(unsigned ms)
{
	for (unsigned t = 0; t < ms / 500 && !C.failed; t++) {
		struct node *leader = cluster_leader(&C);
		if (leader != NULL && t % 4 == 0)
			node_put(leader, 0);
		cluster_run(&C, 500);
		if (t % 4 == 3 && cluster_converged(&C))
			return true;
	}
	return false;
}

/* ---- R1 ------------------------------------------------------------------------------------- */

/* Node 0 has a tail of its own; node 1 leads, and its entries do not reach node 0, but its
 * heartbeats do. Node 2 is cut off, so nothing may be confirmed. */
static bool lose_entries_to_0(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)n;
	return from->i == 1 && to->i == 0 && w->kind == WIRE_APPEND && w->n > 0;
}

static bool stale_tail_with(const struct rules_off *off)
{
	struct rules_off o = off != NULL ? *off : (struct rules_off){0};
	o.r3_one = true; /* or a tail of several entries could not come about */
	scene_begin(&C, 3, 3, &o);
	SCENE_NEEDS(scene_lead(&C, 0));
	for (int i = 0; i < 5; i++)
		SCENE_NEEDS(scene_put(&C, 0, 0));
	break_links(0);
	for (int i = 0; i < 6; i++) {
		node_put(&C.nodes[0], 0);
		cluster_run(&C, 3);
	}
	cluster_run(&C, 3000);
	SCENE_NEEDS(scene_lead(&C, 1));
	C.watch = lose_entries_to_0;
	cluster_isolate(&C, 0, false);
	cluster_run(&C, 300);
	cluster_cut(&C, 1, 2, true);
	cluster_cut(&C, 2, 1, true);
	uint64_t confirmed = C.n_confirmed;
	if (C.nodes[1].cell->leading)
		node_put(&C.nodes[1], 0);
	cluster_run(&C, 800);
	bool held = C.n_confirmed == confirmed;
	C.watch = NULL;
	cluster_heal(&C);
	node_crash(&C.nodes[1], false);
	cluster_run(&C, 4000);
	node_start(&C.nodes[1]);
	return scene_end(&C, converges(10000) && held);
}

static void test_an_answer_claims_no_more_than_its_request_covered(void **state)
{
	(void)state;
	scene_needs_with_015(stale_tail_with, (struct rules_off){.r1_clamp = true});
}

static void test_what_was_cut_off_is_not_called_committed(void **state)
{
	(void)state;
	scene_needs_with_015(stale_tail_with, (struct rules_off){.split_commit = true});
}

/* ---- R2 ------------------------------------------------------------------------------------- */

/* A new leader's application is told only when all that was ever committed is applied there. */
static bool acts_on_a_complete_state(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	for (int i = 0; i < 20; i++) {
		SCENE_NEEDS(scene_put(&C, 0, 0));
		/* The followers have the entry and do not know yet that it is committed. */
		uint64_t last = C.max_index;
		node_crash(&C.nodes[0], false);
		for (unsigned t = 0; t < 8000 && cluster_leader(&C) == NULL; t++)
			cluster_run(&C, 1);
		struct node *leader = cluster_leader(&C);
		SCENE_NEEDS(leader != NULL);
		SCENE_NEEDS(leader->cell->last >= last);
		node_start(&C.nodes[0]);
		SCENE_NEEDS(scene_lead(&C, 0));
	}
	return scene_end(&C, true);
}

static void test_a_new_leader_acts_once_its_barrier_is_committed(void **state)
{
	(void)state;
	scene_needs(acts_on_a_complete_state,
		(struct rules_off){.r2_barrier = true, .r2_withhold = true});
}

static unsigned early;

/* Counts appends of a leader whose disk has stored nothing of its term. */
static bool count_early(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)to;
	(void)n;
	early += w->kind == WIRE_APPEND && from->disk.held;
	return false;
}

static bool withholds(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	node_crash(&C.nodes[0], false);
	/* Whoever wins stores its vote, and then nothing more. */
	for (unsigned t = 0; t < 8000 && !C.failed; t++) {
		cluster_run(&C, 1);
		for (unsigned i = 1; i < 3; i++) {
			struct group_member_state m[4];
			if (group_leader(C.nodes[i].cell->group) == C.nodes[i].raft_id &&
				group_members(C.nodes[i].cell->group, m, 4) == 3 &&
				!C.nodes[i].disk.held && !C.nodes[i].cell->leading) {
				C.nodes[i].disk.held = true;
				C.watch = count_early;
			}
		}
		if (C.watch != NULL)
			break;
	}
	SCENE_NEEDS(C.watch != NULL);
	cluster_run(&C, 600);
	bool held = early == 0;
	for (unsigned i = 1; i < 3; i++)
		C.nodes[i].disk.held = false;
	node_start(&C.nodes[0]);
	return scene_end(&C, converges(10000) && held);
}

static void test_nothing_of_a_term_is_sent_before_an_entry_of_it_is_durable(void **state)
{
	(void)state;
	if (LIBRAFT_LAYERED)
		skip(); /* it counts for entries of its own term only: nothing is withheld */
	scene_needs(withholds, (struct rules_off){.r2_withhold = true});
}

/* ---- R3 ------------------------------------------------------------------------------------- */

static bool commits_under_load(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 500);
	uint64_t before = C.n_confirmed;
	for (unsigned ms = 0; ms < 2000; ms++) {
		node_put(&C.nodes[0], 0);
		cluster_run(&C, 1);
	}
	return scene_end(&C, C.n_confirmed - before > 1900);
}

static void test_commands_commit_while_they_keep_coming(void **state)
{
	(void)state;
	scene_needs_with_015(commits_under_load, (struct rules_off){.r3_one = true});
}

/* ---- R4 ------------------------------------------------------------------------------------- */

/* The leader's disk fails it for a while. */
static bool survives_a_failing_disk(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	C.nodes[0].disk.stalled_us = C.sim.now_us + 700000;
	for (int i = 0; i < 5; i++) {
		node_put(&C.nodes[0], 0);
		cluster_run(&C, 300);
	}
	return scene_end(&C, converges(10000));
}

static void test_a_failing_append_is_never_seen_by_raft(void **state)
{
	(void)state;
	scene_needs_with_015(survives_a_failing_disk, (struct rules_off){.r4_never_fails = true});
}

/* ---- R5 ------------------------------------------------------------------------------------- */

static void on_done(void *arg, int status)
{
	*(int *)arg = status;
}

static bool add_standby(unsigned at, unsigned i)
{
	struct node *n = &C.nodes[i];
	int status = 1;
	node_new_member(n);
	if (group_add_standby(C.nodes[at].cell->group,
		    &(struct group_member){.id = n->raft_id, .node = n->id}, on_done, &status) != 0)
		return false;
	node_turn(&C.nodes[at]);
	for (unsigned t = 0; t < 5000 && status == 1; t++)
		cluster_run(&C, 1);
	return status == 0;
}

static bool sole_voter_with_standby(const struct rules_off *off)
{
	scene_begin(&C, 2, 1, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 200);
	SCENE_NEEDS(add_standby(0, 1));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 300);
	/* The standby gets an entry that the voter loses. */
	C.nodes[0].disk.held = true;
	node_put(&C.nodes[0], 0);
	cluster_run(&C, 50);
	node_crash(&C.nodes[0], false);
	node_start(&C.nodes[0]);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_put(&C.nodes[0], 0);
	return scene_end(&C, converges(5000));
}

static void test_a_sole_voter_starts_in_a_new_term(void **state)
{
	(void)state;
	scene_needs(sole_voter_with_standby, (struct rules_off){.r5_new_term = true});
}

/* ---- R6 ------------------------------------------------------------------------------------- */

/* Node 2 takes many snapshots, node 1 none. Node 1 begins to lead while node 2 is cut off, so that
 * it probes it from the beginning. */
static bool probes_from_the_beginning(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	C.o.trailing_entries = 2;
	C.nodes[2].snapshot_entries = 5;
	node_crash(&C.nodes[2], false);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(scene_lead(&C, 0));
	for (int i = 0; i < 60; i++)
		SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 300);
	SCENE_NEEDS(C.nodes[2].cell->snapshots > 3);
	cluster_cut(&C, 1, 2, true);
	SCENE_NEEDS(scene_lead(&C, 1));
	for (int i = 0; i < 10; i++) {
		cluster_run(&C, 400); /* until the link breaks, with what is in it */
		if (!C.nodes[1].cell->leading)
			SCENE_NEEDS(scene_lead(&C, 1));
	}
	cluster_heal(&C);
	return scene_end(&C, converges(10000));
}

static void test_a_compacted_follower_is_reached_by_a_low_probe(void **state)
{
	(void)state;
	scene_needs_with_015(probes_from_the_beginning, (struct rules_off){.r6_anchor = true});
}

/* ---- R7 ------------------------------------------------------------------------------------- */

static bool replicates(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	for (int i = 0; i < 10; i++)
		SCENE_NEEDS(scene_put(&C, 0, 100));
	return scene_end(&C, converges(5000));
}

static void test_results_are_never_refused(void **state)
{
	(void)state;
	scene_needs(replicates, (struct rules_off){.r7_never_refuses = true});
}

/* ---- R8 ------------------------------------------------------------------------------------- */

static unsigned votes_asked;

static bool count_votes(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)to;
	(void)n;
	votes_asked += w->kind == WIRE_VOTE && from->disk.held;
	return false;
}

static bool no_candidate_while_writing(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	C.nodes[2].disk.held = true;
	SCENE_NEEDS(scene_put(&C, 0, 0)); /* node 2 cannot store it */
	C.watch = count_votes;
	node_crash(&C.nodes[0], false);
	cluster_run(&C, 5000);
	bool held = votes_asked == 0;
	C.nodes[2].disk.held = false;
	node_start(&C.nodes[0]);
	return scene_end(&C, converges(10000) && held);
}

static void test_a_follower_that_writes_is_no_candidate(void **state)
{
	(void)state;
	scene_needs_with_015(no_candidate_while_writing, (struct rules_off){.r8_no_tick = true});
}

/* ---- R9 ------------------------------------------------------------------------------------- */

static bool transfers(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_lead(&C, 1));
	SCENE_NEEDS(scene_lead(&C, 2));
	return scene_end(&C, converges(5000));
}

static void test_leadership_is_handed_over(void **state)
{
	(void)state;
	scene_needs_with_015(transfers, (struct rules_off){.r9_copy = true});
}

/* ---- R10 ------------------------------------------------------------------------------------ */

/* Members that the stored snapshot of node i names. */
static unsigned members_in_snapshot(unsigned i)
{
	struct node *n = &C.nodes[i];
	struct store_log *log = sim_disk_open(&n->disk, &n->port, THE_GROUP);
	struct store_load load;
	struct raft_configuration conf;
	unsigned members = 0;
	if (store_log_load(log, &load) == 0 && load.has_snapshot &&
		configuration_decode(&conf, buf_slice(&load.snapshot_conf)) == 0) {
		members = conf.n;
		raft_configuration_close(&conf);
	}
	store_load_done(&load);
	store_log_close(log);
	return members;
}

/* A change reaches one follower and cannot be committed; commands before it are committed there. */
static bool snapshots_hold_committed_members(const struct rules_off *off)
{
	scene_begin(&C, 4, 3, off);
	for (unsigned i = 0; i < 3; i++) {
		C.nodes[i].snapshot_entries = 1;
		node_crash(&C.nodes[i], false);
		node_start(&C.nodes[i]);
	}
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 300);
	int status = 1;
	node_new_member(&C.nodes[3]);
	/* The command is committed here; the followers learn of that with the change. */
	node_put(&C.nodes[0], 0);
	group_add_standby(C.nodes[0].cell->group,
		&(struct group_member){.id = C.nodes[3].raft_id, .node = 4}, on_done, &status);
	for (unsigned t = 0; t < 100; t++) {
		struct group_member_state m[8];
		node_turn(&C.nodes[0]);
		if (group_members(C.nodes[0].cell->group, m, 8) == 4)
			break;
		cluster_run(&C, 1);
	}
	/* Now the change is on its way: its answers are lost. */
	cluster_cut(&C, 1, 0, true);
	cluster_cut(&C, 2, 0, true);
	bool held = true;
	for (unsigned t = 0; t < 200; t++) {
		cluster_run(&C, 1);
		held = held && members_in_snapshot(1) <= 3 && members_in_snapshot(2) <= 3;
	}
	cluster_heal(&C);
	return scene_end(&C, converges(10000) && held);
}

static void test_snapshots_hold_no_uncommitted_configuration(void **state)
{
	(void)state;
	scene_needs_with_015(snapshots_hold_committed_members, (struct rules_off){.r10_busy = true});
}

/* A leader that is cut off changes members; the others go on without; it comes back. `restarts`:
 * and it was restarted meanwhile. */
static bool rolls_back(const struct rules_off *off, bool restarts)
{
	struct group_member_state m[8];
	scene_begin(&C, 4, 3, off);
	C.o.trailing_entries = 1;
	for (unsigned i = 0; i < 3; i++) {
		C.nodes[i].snapshot_entries = 4;
		node_crash(&C.nodes[i], false);
		node_start(&C.nodes[i]);
	}
	SCENE_NEEDS(scene_lead(&C, 0));
	for (int i = 0; i < 12; i++)
		SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 200);
	node_new_member(&C.nodes[3]);
	cluster_isolate(&C, 0, true);
	int status = 1;
	SCENE_NEEDS(group_add_standby(C.nodes[0].cell->group,
			    &(struct group_member){.id = C.nodes[3].raft_id, .node = 4}, on_done,
			    &status) == 0);
	node_turn(&C.nodes[0]);
	cluster_run(&C, 20);
	SCENE_NEEDS(group_members(C.nodes[0].cell->group, m, 8) == 4);
	if (restarts) {
		node_crash(&C.nodes[0], false);
		node_start(&C.nodes[0]);
	}
	cluster_run(&C, 4000);
	struct node *leader = cluster_leader(&C);
	SCENE_NEEDS(leader != NULL && leader->i != 0);
	SCENE_NEEDS(scene_put(&C, leader->i, 0));
	cluster_heal(&C);
	bool equal = converges(10000);
	return scene_end(&C, equal && group_members(C.nodes[0].cell->group, m, 8) == 3);
}

static bool rolls_back_running(const struct rules_off *off)
{
	return rolls_back(off, false);
}

static void test_a_configuration_is_rolled_back_without_its_predecessors_entry(void **state)
{
	(void)state;
	scene_needs_with_015(rolls_back_running, (struct rules_off){.r10_rollback = true});
}

static bool rolls_back_restarted(const struct rules_off *off)
{
	return rolls_back(off, true);
}

static void test_a_configuration_is_rolled_back_after_a_restart(void **state)
{
	(void)state;
	assert_true(scene_holds(rolls_back_restarted, NULL));
}

/* ---- R11 ------------------------------------------------------------------------------------ */

/* The entry that makes node 1 a voter is on node 0 alone when that stops leading. */
static bool promotion_stops_halfway(const struct rules_off *off)
{
	scene_begin(&C, 2, 1, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 200);
	SCENE_NEEDS(add_standby(0, 1));
	cluster_run(&C, 300);
	cluster_cut(&C, 0, 1, true);
	int status = 1;
	SCENE_NEEDS(
		group_promote(C.nodes[0].cell->group, C.nodes[1].raft_id, on_done, &status) == 0);
	node_turn(&C.nodes[0]);
	cluster_run(&C, 6000);
	SCENE_NEEDS(cluster_leader(&C) == NULL);
	cluster_heal(&C);
	return scene_end(&C, converges(15000));
}

static void test_a_member_votes_whatever_its_own_configuration_says(void **state)
{
	(void)state;
	scene_needs(promotion_stops_halfway, (struct rules_off){.r11_votes = true});
}

/* ---- R14 ------------------------------------------------------------------------------------ */

/* The entry that makes node 1 a standby is on node 1, and lost on node 0, which led. */
static bool demotion_is_lost_on_the_leader(const struct rules_off *off)
{
	scene_begin(&C, 2, 2, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 300);
	C.nodes[0].disk.held = true;
	int status = 1;
	SCENE_NEEDS(
		group_demote(C.nodes[0].cell->group, C.nodes[1].raft_id, on_done, &status) == 0);
	node_turn(&C.nodes[0]);
	cluster_run(&C, 300); /* the later line sends it with a heartbeat */
	struct group_member_state m[8];
	SCENE_NEEDS(group_members(C.nodes[1].cell->group, m, 8) == 2 && !m[1].voter);
	node_crash(&C.nodes[0], false);
	C.nodes[0].disk.held = false;
	node_start(&C.nodes[0]);
	bool equal = converges(15000);
	return scene_end(&C, equal && group_members(C.nodes[1].cell->group, m, 8) == 2 && m[1].voter);
}

static void test_what_was_never_counted_refuses_nobody(void **state)
{
	(void)state;
	scene_needs(demotion_is_lost_on_the_leader, (struct rules_off){.r14_vouches = true});
}

/* The same among three, where node 2 lacks what was committed before: it must not win. */
static bool demoted_member_vouches_for_what_it_had(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 300);
	cluster_isolate(&C, 2, true);
	SCENE_NEEDS(scene_put(&C, 0, 0)); /* on 0 and 1, and committed */
	cluster_cut(&C, 1, 0, true);      /* its answers are lost */
	int status = 1;
	SCENE_NEEDS(
		group_demote(C.nodes[0].cell->group, C.nodes[1].raft_id, on_done, &status) == 0);
	node_turn(&C.nodes[0]);
	cluster_run(&C, 50);
	struct group_member_state m[8];
	SCENE_NEEDS(group_members(C.nodes[1].cell->group, m, 8) == 3 && !m[1].voter);
	node_crash(&C.nodes[0], false);
	cluster_heal(&C);
	/* Node 2 lacks the command, and is the only one who would campaign. */
	cluster_run(&C, 6000);
	bool none = cluster_leader(&C) == NULL;
	node_start(&C.nodes[0]);
	return scene_end(&C, none && converges(15000));
}

static void test_what_a_member_got_as_a_voter_still_counts(void **state)
{
	(void)state;
	assert_true(scene_holds(demoted_member_vouches_for_what_it_had, NULL));
}

/* ---- hard-state barrier --------------------------------------------------------------------- */

static unsigned promised;

static bool count_votes_given(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)to;
	(void)n;
	bool given =
		w->kind == WIRE_VOTED && (w->flags & WIRE_GRANTED) && (w->flags & WIRE_REAL_VOTE);
	bool to_itself = w->kind == WIRE_VOTE && !(w->flags & WIRE_PRE_VOTE);
	promised += from->disk.held && (given || to_itself);
	return false;
}

static bool votes_when_durable(const struct rules_off *off)
{
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(scene_put(&C, 0, 0));
	cluster_run(&C, 300);
	C.watch = count_votes_given;
	C.nodes[1].disk.held = true;
	node_crash(&C.nodes[0], false);
	cluster_run(&C, 6000);
	bool held = promised == 0 && cluster_leader(&C) == NULL;
	C.nodes[1].disk.held = false;
	node_start(&C.nodes[0]);
	return scene_end(&C, converges(10000) && held);
}

static void test_no_vote_leaves_before_it_is_durable(void **state)
{
	(void)state;
	scene_needs(votes_when_durable, (struct rules_off){.hard_barrier = true});
}

/* ---- large appends -------------------------------------------------------------------------- */

static size_t largest, sent_to_2;

static bool measure(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)from;
	if (w->kind == WIRE_APPEND && n > largest)
		largest = n;
	if (w->kind == WIRE_APPEND && to->i == 2)
		sent_to_2 += n;
	return false;
}

static bool large_appends_are_cut(const struct rules_off *off)
{
	enum { BULK = 40, EACH = 100 * 1024 };
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 500);
	node_crash(&C.nodes[2], false);
	cluster_run(&C, 100); /* that is known */
	for (int i = 0; i < BULK; i++)
		SCENE_NEEDS(scene_put(&C, 0, EACH));
	C.watch = measure;
	largest = sent_to_2 = 0;
	C.o.delay_min_us = C.o.delay_max_us = 200000; /* a far one */
	node_start(&C.nodes[2]);
	cluster_run(&C, 6000);
	bool held = largest < 600 * 1024 && sent_to_2 < 2 * BULK * EACH;
	return scene_end(&C, C.nodes[2].cell->last == C.max_index && held);
}

static void test_large_appends_are_cut_and_not_repeated(void **state)
{
	(void)state;
	scene_needs(large_appends_are_cut, (struct rules_off){.split = true});
}

/* The leader is about to send what node 2 lacks. */
static bool fill_the_link(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	if (from->i == 2 && w->kind == WIRE_APPENDED && w->rejected != 0)
		cluster_full_link(c, 0, 2, true);
	return measure(c, from, to, w, n);
}

static bool a_slow_link_gets_no_repeats(const struct rules_off *off)
{
	enum { EACH = 100 * 1024 };
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 500);
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(scene_put(&C, 0, EACH));
	C.watch = fill_the_link;
	largest = sent_to_2 = 0;
	node_start(&C.nodes[2]);
	cluster_run(&C, 3000);
	SCENE_NEEDS(C.full[0][2] || LIBRAFT_LAYERED); /* which does not ask first */
	C.watch = measure;
	cluster_full_link(&C, 0, 2, false);
	bool held = converges(10000) && sent_to_2 > EACH && sent_to_2 < 2 * EACH;
	return scene_end(&C, held);
}

static void test_what_waits_for_the_link_is_not_repeated(void **state)
{
	(void)state;
	assert_true(scene_holds(a_slow_link_gets_no_repeats, NULL));
}

static bool first_is_lost;

/* A message with entries, then the link to node 2 takes nothing for a while. */
static bool crawl(struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	bool large = w->kind == WIRE_APPEND && w->n > 0 && to->i == 2;
	measure(c, from, to, w, n);
	if (large)
		cluster_full_link(c, from->i, to->i, true);
	bool lost = large && first_is_lost;
	first_is_lost &= !large;
	return lost;
}

/* All that was sent behind the message that is lost is refused, one after the other. */
static bool a_slow_link_gets_over_refusals(const struct rules_off *off)
{
	enum { BULK = 40, EACH = 100 * 1024, SLOTS = 60, SLOT_MS = 150 };
	scene_begin(&C, 3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	cluster_run(&C, 500);
	node_crash(&C.nodes[2], false);
	for (int i = 0; i < BULK; i++)
		SCENE_NEEDS(scene_put(&C, 0, EACH));
	C.watch = crawl;
	C.o.delay_min_us = C.o.delay_max_us = 100000;
	sent_to_2 = 0;
	first_is_lost = true;
	node_start(&C.nodes[2]);
	for (int i = 0; i < SLOTS; i++) {
		cluster_run(&C, SLOT_MS);
		cluster_full_link(&C, 0, 2, false);
	}
	bool held = C.nodes[2].cell->last == C.max_index && sent_to_2 < 2 * BULK * EACH;
	return scene_end(&C, held);
}

static void test_what_waits_for_the_link_is_superseded_by_a_refusal(void **state)
{
	(void)state;
	assert_true(scene_holds(a_slow_link_gets_over_refusals, NULL));
}

/* ---- install of an idle group --------------------------------------------------------------- */

static unsigned installs;

static bool count_installs(
	struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	(void)from;
	(void)to;
	(void)n;
	installs += w->kind == WIRE_INSTALL;
	return false;
}

static bool idle_group_installs_once(const struct rules_off *off)
{
	scene_begin(&C, 4, 3, off);
	C.o.trailing_entries = 1;
	for (unsigned i = 0; i < 3; i++) {
		C.nodes[i].snapshot_entries = 1; /* the snapshot's index is the last one */
		node_crash(&C.nodes[i], false);
		node_start(&C.nodes[i]);
	}
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	cluster_run(&C, 100);
	for (int i = 0; i < 40; i++)
		SCENE_NEEDS(scene_put(&C, 0, 300 * 1024));
	cluster_run(&C, 300);
	C.watch = count_installs;
	C.o.delay_min_us = C.o.delay_max_us = 150000;
	node_start(&C.nodes[2]);
	cluster_run(&C, 8000);
	bool held = installs == 1 && C.nodes[2].cell->restores > 0 &&
		    C.nodes[2].cell->last == C.max_index;
	cluster_check_entries(&C, 50);
	return scene_end(&C, held);
}

static void test_an_idle_group_sends_its_snapshot_once(void **state)
{
	(void)state;
	scene_needs_with_015(idle_group_installs_once, (struct rules_off){.mask_rejected = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_claims_no_more_than_its_request_covered),
		cmocka_unit_test(test_what_was_cut_off_is_not_called_committed),
		cmocka_unit_test(test_a_new_leader_acts_once_its_barrier_is_committed),
		cmocka_unit_test(test_nothing_of_a_term_is_sent_before_an_entry_of_it_is_durable),
		cmocka_unit_test(test_commands_commit_while_they_keep_coming),
		cmocka_unit_test(test_a_failing_append_is_never_seen_by_raft),
		cmocka_unit_test(test_a_sole_voter_starts_in_a_new_term),
		cmocka_unit_test(test_a_compacted_follower_is_reached_by_a_low_probe),
		cmocka_unit_test(test_results_are_never_refused),
		cmocka_unit_test(test_a_follower_that_writes_is_no_candidate),
		cmocka_unit_test(test_leadership_is_handed_over),
		cmocka_unit_test(test_snapshots_hold_no_uncommitted_configuration),
		cmocka_unit_test(
			test_a_configuration_is_rolled_back_without_its_predecessors_entry),
		cmocka_unit_test(test_a_configuration_is_rolled_back_after_a_restart),
		cmocka_unit_test(test_a_member_votes_whatever_its_own_configuration_says),
		cmocka_unit_test(test_what_was_never_counted_refuses_nobody),
		cmocka_unit_test(test_what_a_member_got_as_a_voter_still_counts),
		cmocka_unit_test(test_no_vote_leaves_before_it_is_durable),
		cmocka_unit_test(test_large_appends_are_cut_and_not_repeated),
		cmocka_unit_test(test_what_waits_for_the_link_is_not_repeated),
		cmocka_unit_test(test_what_waits_for_the_link_is_superseded_by_a_refusal),
		cmocka_unit_test(test_an_idle_group_sends_its_snapshot_once),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Members that break their word, or whose memory does: what they say is ignored or refused, whoever
 * hears it stays what it was, and the group goes on. Each kind of message is shown to count when it
 * is in order.
 */
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "raft/group_priv.h"
#include "src/base/log.h"
#include "tests/unit/raft/scene.h"

enum { STATE_MAX = 1 << 20 };

static struct cluster C;
static const struct slice NOTHING;

static void begin(void)
{
	struct cluster_options o = scene_options(3, 3, NULL);
	o.snapshot_entries = 10;
	o.trailing_entries = 4;
	o.state_max = STATE_MAX;
	cluster_init(&C, &o);
}

static struct group *member(unsigned i)
{
	return C.nodes[i].cell->group;
}

/* Node 0 leads, 20 entries are committed everywhere. */
static bool agree(void)
{
	SCENE_NEEDS(scene_lead(&C, 0));
	for (unsigned i = 0; i < 20; i++)
		SCENE_NEEDS(scene_put(&C, 0, 10));
	return cluster_until(&C, scene_is_equal, 5000);
}

/* As before: the same leader, the same term, everybody equal. */
static bool goes_on(uint64_t term)
{
	SCENE_NEEDS(member(0)->leading && group_term(member(0)) == term);
	SCENE_NEEDS(scene_put(&C, 0, 10));
	return cluster_until(&C, scene_is_equal, 20000);
}

static struct wire message(enum wire_kind kind, unsigned from, unsigned to, uint64_t term)
{
	return (struct wire){
		.kind = kind,
		.group = THE_GROUP,
		.from = C.nodes[from].raft_id,
		.to = C.nodes[to].raft_id,
		.term = term,
	};
}

/* ---- entries -------------------------------------------------------------------------------- */

static void forge_append(unsigned from, unsigned to, uint64_t term, uint64_t prev, uint64_t prev_term,
	uint64_t entry_term)
{
	struct wire w = message(WIRE_APPEND, from, to, term);
	uint8_t list[WIRE_ENTRY], bytes[32] = {0};
	w.prev_index = prev;
	w.prev_term = prev_term;
	w.commit = prev;
	w.n = entry_term != 0;
	wire_encode_entry(list, &(struct wire_entry){
					.number = entry_term, .n = sizeof bytes, .type = RAFT_COMMAND});
	cluster_forge(&C.nodes[from], &C.nodes[to], &w, w.n > 0 ? slice_make(list, sizeof list) : NOTHING,
		w.n > 0 ? slice_make(bytes, sizeof bytes) : NOTHING);
}

static bool another_leader_in_the_same_term(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0)), last = group_applied(member(0));
	forge_append(1, 0, term, last, term, 0);
	forge_append(1, 0, term, last, term, term);
	forge_append(1, 0, term, last - 1, term, term);
	SCENE_NEEDS(goes_on(term));
	return scene_end(&C, true);
}

static bool other_entries_than_committed_ones(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0)), last = group_applied(member(2));
	forge_append(1, 2, term + 1, last - 1, term, term + 1); /* in the place of the last one */
	forge_append(1, 2, term + 1, last, term + 1, 0);        /* the last one is another */
	SCENE_NEEDS(group_applied(member(2)) == last);
	SCENE_NEEDS(goes_on(term));
	return scene_end(&C, true);
}

static bool a_later_leader_counts(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0)), last = group_applied(member(2));
	forge_append(1, 2, term + 1, last, term, 0);
	bool counts = member(2)->term_raft == term + 1;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true) && counts;
}

/* How often the log says it. */
static unsigned count_lines(int log, const char *text)
{
	char all[65536];
	unsigned n = 0;
	ssize_t got = pread(log, all, sizeof all - 1, 0);
	all[got > 0 ? got : 0] = '\0';
	for (const char *at = all; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

/* A leader that repeats what cannot be, for a minute and a half. */
static bool a_complaint_a_minute(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0)), last = group_applied(member(2));
	int log = memfd_create("log", 0);
	log_set_level(LOG_ERROR);
	SCENE_NEEDS(dup2(log, STDERR_FILENO) == STDERR_FILENO);
	for (unsigned i = 0; i < 900; i++) {
		forge_append(1, 2, term + 1, last - 1, term, term + 1);
		cluster_run(&C, 100);
	}
	SCENE_NEEDS(count_lines(log, "entries that cannot be") == 2);
	SCENE_NEEDS(goes_on(term));
	return scene_end(&C, true);
}

static void test_complaints_of_impossible_entries_are_few(void **state)
{
	(void)state;
	assert_true(scene_holds(a_complaint_a_minute, NULL));
}

static void test_there_is_one_leader_in_a_term(void **state)
{
	(void)state;
	assert_true(scene_holds(another_leader_in_the_same_term, NULL));
}

static void test_what_is_committed_stays(void **state)
{
	(void)state;
	assert_true(scene_holds(other_entries_than_committed_ones, NULL));
	assert_true(scene_holds(a_later_leader_counts, NULL));
}

/* ---- votes ---------------------------------------------------------------------------------- */

/* Node 0 is cut off and asks for votes; whether it takes these for granted, first when it asks whether
 * it would get them. */
static bool is_elected_by(unsigned would, unsigned does)
{
	bool elected = false;
	cluster_isolate(&C, 0, true);
	for (unsigned i = 0; i < 100 && !elected; i++) {
		cluster_run(&C, 100);
		uint64_t term = libraft_term(&member(0)->raft);
		for (unsigned k = 0; k < 4; k++) { /* a pre-vote asks about the next term */
			struct wire w = message(WIRE_VOTED, 1, 0, term + k % 2);
			if (raft_state(&member(0)->raft) == RAFT_LEADER)
				break; /* it has not noticed yet */
			w.flags = WIRE_GRANTED | (k < 2 ? would : does);
			cluster_forge(&C.nodes[1], &C.nodes[0], &w, NOTHING, NOTHING);
			elected |= raft_state(&member(0)->raft) == RAFT_LEADER;
		}
	}
	return elected;
}

static bool votes_without_a_label(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	SCENE_NEEDS(!is_elected_by(0, WIRE_REAL_VOTE) && !is_elected_by(WIRE_PRE_VOTE, 0));
	cluster_heal(&C);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 20000));
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(goes_on(group_term(member(0))));
	return scene_end(&C, true);
}

static bool votes_with_labels(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	bool elected = is_elected_by(WIRE_PRE_VOTE, WIRE_REAL_VOTE);
	cluster_done(&C); /* two may lead in a term after that */
	return elected;
}

static void test_a_vote_says_what_it_answers(void **state)
{
	(void)state;
	assert_true(scene_holds(votes_without_a_label, NULL));
	assert_true(scene_holds(votes_with_labels, NULL));
}

/* ---- snapshots ------------------------------------------------------------------------------ */

/* The numbers of a snapshot for node 2 in order: behind what it has, by a leader of a later term. */
static struct wire announcement(uint64_t stream)
{
	uint64_t term = group_term(member(0)) + 1;
	struct wire w = message(WIRE_INSTALL, 1, 2, term);
	w.stream = stream;
	w.index = group_applied(member(2)) + 10;
	w.index_term = term;
	w.conf_index = 1;
	w.data_n = 32; /* an empty state */
	return w;
}

static void forge_snapshot(const struct wire *w)
{
	struct raft_configuration conf;
	struct raft_buffer b;
	uint8_t state[32] = {0};
	struct node *from = &C.nodes[1], *to = &C.nodes[2];
	raft_configuration_init(&conf);
	for (unsigned i = 0; i < 3; i++) {
		char address[24];
		snprintf(address, sizeof address, "%u", i + 1);
		raft_configuration_add(&conf, C.nodes[i].raft_id, address, RAFT_VOTER);
	}
	assert_int_equal(raft_configuration_encode(&conf, &b), 0);
	raft_configuration_close(&conf);
	if (w->to == C.nodes[0].raft_id)
		to = &C.nodes[0];
	cluster_forge(from, to, w, NOTHING, slice_make(b.base, b.len));
	raft_free(b.base);
	struct wire part = *w;
	part.kind = WIRE_INSTALL_STATE;
	part.part = 0;
	cluster_forge(from, to, &part, NOTHING, slice_make(state, sizeof state));
	cluster_run(&C, 20);
}

static bool snapshots_that_cannot_be(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0));
	for (unsigned k = 0; k < 8; k++) {
		struct wire w = announcement(100 + k);
		w.index = k == 0 ? 0 : w.index;
		w.index_term = k == 1 ? 0 : k == 2 ? w.term + 1 : w.index_term;
		w.conf_index = k == 3 ? 0 : k == 4 ? w.index + 1 : w.conf_index;
		if (k == 5)
			w.index = group_applied(member(2)); /* committed, in another term */
		if (k == 6)
			w.entries_n = w.index + 1;
		if (k == 7) { /* to the leader, in its own term */
			w.to = C.nodes[0].raft_id;
			w.term = w.index_term = term;
		}
		forge_snapshot(&w);
		SCENE_NEEDS(C.installs == 0);
		SCENE_NEEDS(member(2)->installs.in == NULL && member(0)->installs.in == NULL);
	}
	SCENE_NEEDS(goes_on(term));
	return scene_end(&C, true);
}

static bool one_that_can_be(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	struct wire w = announcement(100);
	forge_snapshot(&w);
	bool taken = C.installs == 1;
	cluster_done(&C); /* it holds a state that never was */
	return taken;
}

static void test_snapshots_have_numbers_that_fit(void **state)
{
	(void)state;
	assert_true(scene_holds(snapshots_that_cannot_be, NULL));
	assert_true(scene_holds(one_that_can_be, NULL));
}

static bool a_state_that_is_too_large(const struct rules_off *off)
{
	(void)off;
	begin();
	SCENE_NEEDS(agree());
	uint64_t term = group_term(member(0));
	struct wire w = announcement(100);
	w.data_n = STATE_MAX + 1;
	cluster_forge(&C.nodes[1], &C.nodes[2], &w, NOTHING, NOTHING);
	SCENE_NEEDS(member(2)->installs.in == NULL);
	w.stream++;
	w.data_n = STATE_MAX;
	cluster_forge(&C.nodes[1], &C.nodes[2], &w, NOTHING, NOTHING);
	SCENE_NEEDS(member(2)->installs.in != NULL);
	SCENE_NEEDS(goes_on(term));
	return scene_end(&C, true);
}

static void test_a_state_has_a_limit(void **state)
{
	(void)state;
	assert_true(scene_holds(a_state_that_is_too_large, NULL));
}

/* ---- a state that arrives whole, and is none ------------------------------------------------- */

static void spoil_states(struct cluster *c, struct node *to, uint8_t *p, size_t n)
{
	struct wire w;
	unsigned *spoiled = c->watch_arg;
	if (to->i != 2 || wire_decode(&w, slice_make(p, n)) != 0 || w.kind != WIRE_INSTALL_STATE)
		return;
	p[w.bytes.p - p + 24] ^= 1; /* how much there is */
	(*spoiled)++;
}

static bool a_spoiled_state(const struct rules_off *off)
{
	(void)off;
	unsigned spoiled = 0;
	begin();
	SCENE_NEEDS(agree());
	uint64_t last = C.nodes[2].cell->last;
	node_crash(&C.nodes[2], false);
	for (unsigned i = 0; i < 40; i++)
		SCENE_NEEDS(scene_put(&C, 0, 10));
	C.spoil = spoil_states;
	C.watch_arg = &spoiled;
	node_start(&C.nodes[2]);
	cluster_run(&C, 20000);
	SCENE_NEEDS(spoiled > 1 && C.installs == 0); /* it is tried again */
	SCENE_NEEDS(C.nodes[2].up && C.nodes[2].cell->last == last);
	SCENE_NEEDS(scene_put(&C, 0, 10)); /* the others go on */
	node_crash(&C.nodes[2], false);    /* and it has what it had */
	node_start(&C.nodes[2]);
	SCENE_NEEDS(C.nodes[2].cell->last == last);
	C.spoil = NULL;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(C.installs == 1);
	return scene_end(&C, true);
}

static void test_a_state_that_is_none_is_refused_and_the_old_one_kept(void **state)
{
	(void)state;
	assert_true(scene_holds(a_spoiled_state, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_is_one_leader_in_a_term),
		cmocka_unit_test(test_what_is_committed_stays),
		cmocka_unit_test(test_complaints_of_impossible_entries_are_few),
		cmocka_unit_test(test_a_vote_says_what_it_answers),
		cmocka_unit_test(test_snapshots_have_numbers_that_fit),
		cmocka_unit_test(test_a_state_has_a_limit),
		cmocka_unit_test(test_a_state_that_is_none_is_refused_and_the_old_one_kept),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

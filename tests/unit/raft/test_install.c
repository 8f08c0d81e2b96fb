/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing a member up by a snapshot (raft/install.h): in bounded memory, whatever the disks do, and
 * in one step, whenever it crashes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "raft/group_priv.h"
#include "raft/install.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/unit/raft/scene.h"

static struct cluster C;

static void begin(unsigned nodes, unsigned voters, const struct rules_off *off)
{
	struct cluster_options o = scene_options(nodes, voters, off);
	o.snapshot_entries = 10;
	o.trailing_entries = 4;
	cluster_init(&C, &o);
}

static bool put_some(unsigned at, unsigned n, size_t padding)
{
	for (unsigned i = 0; i < n; i++)
		if (!scene_put(&C, at, padding))
			return false;
	return true;
}

/* ---- crashes -------------------------------------------------------------------------------- */

static unsigned writes_under_way(const struct node *n)
{
	unsigned k = 0;
	LIST_EACH(node, &n->disk.writing)
	k++;
	return k;
}

/* A crash at any moment of an install leaves the member as it was, or with all of the snapshot. */
static bool crash_in_an_install(const struct rules_off *off)
{
	unsigned before = 0, after = 0, staging = 0;
	begin(3, 3, off);
	C.o.half_commits = true;
	C.nodes[2].disk.min_us = C.nodes[2].disk.max_us = 3000;
	SCENE_NEEDS(scene_lead(&C, 0));
	for (unsigned at = 1; at < 240; at++) {
		struct node *n = &C.nodes[2];
		node_crash(n, false);
		SCENE_NEEDS(put_some(0, 40, 10));
		node_start(n);
		uint64_t last = n->cell->last, max = C.max_index;
		cluster_run(&C, at);
		staging += writes_under_way(n) > 1;
		node_crash(n, true);
		node_start(n);
		SCENE_NEEDS(!C.failed && n->cell != NULL);
		before += n->cell->last == last;
		after += n->cell->last == max;
		SCENE_NEEDS(n->cell->last == last || n->cell->last == max);
		cluster_run(&C, 2000);
		SCENE_NEEDS(cluster_converged(&C));
	}
	SCENE_NEEDS(before > 0 && after > 0 && staging > 0);
	return scene_end(&C, true);
}

static void test_a_crash_in_an_install_leaves_a_member(void **state)
{
	(void)state;
	assert_true(scene_holds(crash_in_an_install, NULL));
}

/* ---- memory --------------------------------------------------------------------------------- */

/* What the streams to node 2 have sent, as their acks have it. */
static struct {
	uint64_t stream;
	unsigned streams;
	uint64_t parts, acked;
	size_t bytes[64]; /* by part */
	size_t ahead, most;
	size_t all;
} flow;

static bool follow(struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)c;
	if (to->i == 2 && w->kind == WIRE_INSTALL && w->stream != flow.stream) {
		unsigned streams = flow.streams + 1;
		memset(&flow, 0, sizeof flow);
		flow.stream = w->stream;
		flow.streams = streams;
	}
	if (to->i == 2 && (w->kind == WIRE_INSTALL_STATE || w->kind == WIRE_INSTALL_ENTRIES) &&
		w->part == flow.parts) {
		flow.bytes[flow.parts++ % 64] = n;
		flow.all += n;
		flow.ahead += n;
		flow.most = flow.ahead > flow.most ? flow.ahead : flow.most;
	}
	if (from->i == 2 && w->kind == WIRE_INSTALL_ACK && w->stream == flow.stream)
		for (; flow.acked < w->part; flow.acked++)
			flow.ahead -= flow.bytes[flow.acked % 64];
	return false;
}

static bool streams(struct cluster *c)
{
	(void)c;
	return flow.parts > 3;
}

/* 900 KiB entries, of which more than the leader may read ahead are needed. While the member's disk
 * does nothing the leader waits, goes on serving, and keeps what it has yet to send. */
static bool a_stalled_disk_stops_the_stream(const struct rules_off *off)
{
	enum { ENTRY = 900 * 1024 };
	memset(&flow, 0, sizeof flow);
	begin(3, 3, off);
	C.watch = follow;
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 50, ENTRY));
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	unsigned begun = flow.streams; /* one may have met the link of before the crash */
	C.nodes[2].disk.held = true;
	cluster_run(&C, 100);
	uint64_t parts = flow.parts;
	SCENE_NEEDS(put_some(0, 30, 10)); /* most of the old ones are released now */
	cluster_run(&C, 20000);
	SCENE_NEEDS(flow.parts == parts);
	SCENE_NEEDS(scene_put(&C, 0, 10));
	C.nodes[2].disk.held = false;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(flow.streams == begun && C.installs == 1);
	SCENE_NEEDS(flow.all > 2 * INSTALL_BYTES_AHEAD);
	SCENE_NEEDS(flow.most < INSTALL_BYTES_AHEAD + INSTALL_PART_BYTES + ENTRY);
	cluster_check_entries(&C, 50);
	return scene_end(&C, true);
}

static void test_a_stream_reads_ahead_so_far_and_no_further(void **state)
{
	(void)state;
	assert_true(scene_holds(a_stalled_disk_stops_the_stream, NULL));
}

/* ---- load ----------------------------------------------------------------------------------- */

/* A member that is brought up while entries go on to come, more of them than the leader keeps behind
 * its snapshots. It gets one snapshot, and from there on it follows. */
static bool the_log_waits_for_who_was_brought_up(const struct rules_off *off)
{
	begin(3, 3, off);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 50, 100 * 1024));
	C.nodes[2].disk.min_us = C.nodes[2].disk.max_us = 20000;
	node_start(&C.nodes[2]);
	for (unsigned i = 0; i < 3000; i++) {
		node_put(&C.nodes[0], 10);
		cluster_run(&C, 2);
	}
	SCENE_NEEDS(C.nodes[2].cell->last + 50 > C.nodes[0].cell->last);
	SCENE_NEEDS(C.nodes[0].cell->snapshots > 2);
	SCENE_NEEDS(C.installs == 1);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_the_log_waits_for_who_was_brought_up(void **state)
{
	(void)state;
	scene_needs_with_015(
		the_log_waits_for_who_was_brought_up, (struct rules_off){.laggards_stay = true});
}

/* ---- the log -------------------------------------------------------------------------------- */

enum { ROOM = 64 * 1024 }; /* of log for members that lag */

static void begin_in_little_room(size_t room)
{
	struct cluster_options o = scene_options(3, 3, NULL);
	o.snapshot_entries = 10;
	o.trailing_entries = 4;
	o.laggard_bytes = room;
	cluster_init(&C, &o);
}

static const struct group_fsm *log_of(unsigned i)
{
	return &C.nodes[i].cell->group->fsm;
}

/* So many entries, one each `ms`; the most that the leader's log had meanwhile. */
static size_t most_log(unsigned n, size_t padding, unsigned ms)
{
	size_t most = 0;
	for (unsigned i = 0; i < n && C.nodes[0].cell->leading; i++) {
		node_put(&C.nodes[0], padding);
		cluster_run(&C, ms);
		if (log_of(0)->log_bytes > most)
			most = log_of(0)->log_bytes;
	}
	return most;
}

/* Node 2 is brought up, and `tail` entries of a few bytes come meanwhile. */
static bool bring_up(unsigned tail, unsigned entries, size_t padding)
{
	memset(&flow, 0, sizeof flow);
	C.watch = follow;
	if (!scene_lead(&C, 0))
		return false;
	node_crash(&C.nodes[2], false);
	if (!put_some(0, entries, padding))
		return false;
	node_start(&C.nodes[2]);
	if (!cluster_until(&C, streams, 5000))
		return false;
	C.nodes[2].disk.held = true;
	most_log(tail, 10, 4);
	C.nodes[2].disk.held = false;
	return true;
}

static bool was_brought_up(struct cluster *c)
{
	return c->installs == 1;
}

/* What node 2 says to have, all the time: an entry more each half second than comes meanwhile. */
static struct {
	uint64_t last;
	uint64_t since_us;
} slow;

static void acknowledge_slowly(struct cluster *c, struct node *to, uint8_t *p, size_t n)
{
	struct wire w;
	uint64_t more = (c->sim.now_us - slow.since_us) / 500000 + (c->max_index - slow.last);
	(void)to;
	if (wire_decode(&w, slice_make(p, n)) != 0 || w.kind != WIRE_APPENDED || w.from != 3 || w.rejected != 0)
		return;
	if (w.last + 400 > slow.last + more)
		w.last = slow.last + more - 400;
	wire_encode(p, &w, 0);
}

/* It gains on the leader, but will be near in minutes only. */
static bool a_slow_member_has_so_much_log(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	SCENE_NEEDS(bring_up(450, 50, 100 * 1024));
	slow.last = C.max_index;
	slow.since_us = C.sim.now_us;
	C.spoil = acknowledge_slowly;
	SCENE_NEEDS(cluster_until(&C, was_brought_up, 5000));
	SCENE_NEEDS(log_of(0)->log_bytes > ROOM && log_of(0)->log_bytes < 2 * ROOM); /* the tail */
	SCENE_NEEDS(most_log(1000, 4096, 50) < 8 * ROOM + 8192);
	C.spoil = NULL;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_a_slow_member_has_so_much_log(void **state)
{
	(void)state;
	assert_true(scene_holds(a_slow_member_has_so_much_log, NULL));
}

/* A tail that is longer than all limits is waited for all the same: there would be as long a one behind
 * the next snapshot. */
static bool a_long_tail_has_its_room(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(1024);
	SCENE_NEEDS(bring_up(600, 50, 100 * 1024));
	SCENE_NEEDS(cluster_until(&C, was_brought_up, 5000));
	SCENE_NEEDS(log_of(0)->log_bytes > 32 * 1024);
	C.nodes[2].disk.min_us = C.nodes[2].disk.max_us = 100000;
	most_log(500, 10, 5);
	SCENE_NEEDS(C.nodes[2].cell->last + 50 > C.nodes[0].cell->last);
	SCENE_NEEDS(C.installs == 1 && flow.streams == 1);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_a_long_tail_has_its_room(void **state)
{
	(void)state;
	assert_true(scene_holds(a_long_tail_has_its_room, NULL));
}

/* Its disk stands still in the middle of a stream, and it says so all the time. */
static bool a_stream_that_stands_still_has_so_much_log(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	memset(&flow, 0, sizeof flow);
	C.watch = follow;
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 50, 100 * 1024));
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	C.nodes[2].disk.held = true;
	size_t all = 1000 * 4096;
	SCENE_NEEDS(all > 2 * INSTALL_BYTES_AHEAD);
	SCENE_NEEDS(most_log(1000, 4096, 20) < INSTALL_BYTES_AHEAD + 4 * ROOM + 100 * 1024);
	C.nodes[2].disk.held = false;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(C.installs == 1);
	return scene_end(&C, true);
}

static void test_a_stream_that_stands_still_has_so_much_log(void **state)
{
	(void)state;
	assert_true(scene_holds(a_stream_that_stands_still_has_so_much_log, NULL));
}

/* All groups together have too much. */
static bool a_worker_has_so_much_log(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room((size_t)1 << 40);
	SCENE_NEEDS(scene_lead(&C, 0));
	SCENE_NEEDS(put_some(0, 5, 10));
	C.nodes[2].disk.held = true;
	size_t most = most_log(90, 1 << 20, 5);
	SCENE_NEEDS(most > LOG_BUDGET_MAX - (2 << 20) && most < LOG_BUDGET_MAX + (2 << 20));
	C.nodes[2].disk.held = false;
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_a_worker_has_so_much_log(void **state)
{
	(void)state;
	assert_true(scene_holds(a_worker_has_so_much_log, NULL));
}

static bool has_little_log(struct cluster *c)
{
	(void)c;
	return log_of(0)->log_entries < 10;
}

/* Nothing comes after what a member was waited for. */
static bool the_log_goes_at_rest(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	SCENE_NEEDS(scene_lead(&C, 0));
	C.nodes[2].disk.held = true;
	SCENE_NEEDS(put_some(0, 40, 10));
	SCENE_NEEDS(!has_little_log(&C));
	C.nodes[2].disk.held = false;
	SCENE_NEEDS(cluster_until(&C, has_little_log, 5000));
	SCENE_NEEDS(C.installs == 0);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_the_log_goes_at_rest(void **state)
{
	(void)state;
	assert_true(scene_holds(the_log_goes_at_rest, NULL));
}

/* ---- pauses --------------------------------------------------------------------------------- */

static struct {
	struct group other; /* stands for one that is closed by what a stream's next part brings about */
	bool closed;
} pauses;

static bool close_the_other(struct cluster *c, struct node *from, struct node *to, const struct wire *w,
	size_t n)
{
	(void)c;
	(void)to;
	(void)n;
	bool part = from->i == 0 && (w->kind == WIRE_INSTALL_STATE || w->kind == WIRE_INSTALL_ENTRIES);
	if (part && !list_empty(&pauses.other.paced)) {
		list_remove(&pauses.other.paced);
		pauses.closed = true;
	}
	return false;
}

static bool a_group_may_be_closed_while_streams_go_on(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	list_init(&pauses.other.paced);
	install_init(&pauses.other);
	C.watch = close_the_other;
	SCENE_NEEDS(scene_lead(&C, 0));
	pauses.other.groups = C.nodes[0].groups;
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 50, 100 * 1024));
	node_start(&C.nodes[2]);
	alarm(300); /* it would go on for ever */
	for (unsigned t = 0; t < 5000 && !pauses.closed; t++) {
		struct list *paced = &C.nodes[0].groups->paced;
		if (!list_empty(paced) && list_empty(&pauses.other.paced))
			list_push_back(paced, &pauses.other.paced); /* behind the one that streams */
		cluster_run(&C, 1);
	}
	SCENE_NEEDS(pauses.closed);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_a_group_may_be_closed_while_streams_go_on(void **state)
{
	(void)state;
	assert_true(scene_holds(a_group_may_be_closed_while_streams_go_on, NULL));
}

static struct {
	unsigned parts;
	bool paused;
} early;

static bool count_parts(struct cluster *c, struct node *from, struct node *to, const struct wire *w, size_t n)
{
	(void)from;
	(void)to;
	(void)n;
	early.parts += w->kind == WIRE_INSTALL_ENTRIES;
	early.paused = early.paused || !list_empty(&c->nodes[0].groups->paced);
	return false;
}

static bool serves(struct cluster *c)
{
	early.paused = early.paused || !list_empty(&c->nodes[0].groups->paced);
	return group_leading(c->nodes[0].cell->group);
}

/* Two of three have died; who leads then serves nobody before the third has its state. */
static bool nobody_is_spared_while_all_wait(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	memset(&early, 0, sizeof early);
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 100, 100 * 1024));
	node_crash(&C.nodes[1], false);
	node_crash(&C.nodes[0], false);
	C.watch = count_parts;
	node_start(&C.nodes[0]);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, serves, 20000));
	SCENE_NEEDS(early.parts > 5 && !early.paused);
	node_start(&C.nodes[1]);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	return scene_end(&C, true);
}

static void test_nobody_is_spared_while_all_wait(void **state)
{
	(void)state;
	assert_true(scene_holds(nobody_is_spared_while_all_wait, NULL));
}

/* ---- who is there --------------------------------------------------------------------------- */

static bool answers_get_lost(struct cluster *c, struct node *from, struct node *to, const struct wire *w,
	size_t n)
{
	follow(c, from, to, w, n);
	return from->i == 2 && w->kind == WIRE_APPENDED;
}

/* Heartbeats may wait behind the stream. */
static bool who_takes_parts_is_there(const struct rules_off *off)
{
	(void)off;
	begin_in_little_room(ROOM);
	memset(&flow, 0, sizeof flow);
	C.watch = follow;
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 50, 100 * 1024));
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	C.watch = answers_get_lost;
	C.nodes[2].disk.held = true;
	cluster_run(&C, 5000);
	SCENE_NEEDS(C.installs == 0 && group_net_alive(C.nodes[0].cell->group, C.nodes[2].raft_id));
	return scene_end(&C, true);
}

static void test_who_takes_parts_is_there(void **state)
{
	(void)state;
	assert_true(scene_holds(who_takes_parts_is_there, NULL));
}

/* ---- a busy link ---------------------------------------------------------------------------- */

/* In the middle of a stream the link is busy with others for longer than a member may be silent. */
static bool a_stream_waits_for_its_link(const struct rules_off *off)
{
	memset(&flow, 0, sizeof flow);
	begin(3, 3, off);
	C.watch = follow;
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 40, 900 * 1024));
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	unsigned begun = flow.streams;
	for (unsigned i = 0; i < 3; i++) {
		cluster_full_link(&C, 0, 2, true);
		cluster_run(&C, 10000);
		cluster_full_link(&C, 0, 2, false);
		cluster_run(&C, 20);
	}
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(flow.streams == begun && C.installs == 1);
	return scene_end(&C, true);
}

static void test_a_stream_waits_for_its_link(void **state)
{
	(void)state;
	scene_needs(a_stream_waits_for_its_link, (struct rules_off){.streams_wait = true});
}

/* ---- leftovers ------------------------------------------------------------------------------ */

static unsigned logs_on_disk(const struct node *n)
{
	unsigned k = 0;
	LIST_EACH(node, &n->disk.media)
	k++;
	return k;
}

static bool leader_dies_in_an_install(const struct rules_off *off)
{
	memset(&flow, 0, sizeof flow);
	begin(3, 3, off);
	C.watch = follow;
	SCENE_NEEDS(scene_lead(&C, 0));
	node_crash(&C.nodes[2], false);
	SCENE_NEEDS(put_some(0, 40, 900 * 1024));
	node_start(&C.nodes[2]);
	SCENE_NEEDS(cluster_until(&C, streams, 5000));
	node_crash(&C.nodes[0], false);
	SCENE_NEEDS(cluster_until(&C, scene_has_leader, 20000));
	node_start(&C.nodes[0]);
	SCENE_NEEDS(cluster_until(&C, scene_is_equal, 20000));
	SCENE_NEEDS(flow.streams >= 2);
	node_crash(&C.nodes[2], false);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(logs_on_disk(&C.nodes[2]) == 1);
	cluster_check_entries(&C, 50);
	return scene_end(&C, true);
}

static void test_a_stream_that_breaks_off_is_replaced(void **state)
{
	(void)state;
	assert_true(scene_holds(leader_dies_in_an_install, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_crash_in_an_install_leaves_a_member),
		cmocka_unit_test(test_a_stream_reads_ahead_so_far_and_no_further),
		cmocka_unit_test(test_the_log_waits_for_who_was_brought_up),
		cmocka_unit_test(test_a_slow_member_has_so_much_log),
		cmocka_unit_test(test_a_long_tail_has_its_room),
		cmocka_unit_test(test_a_stream_that_stands_still_has_so_much_log),
		cmocka_unit_test(test_a_worker_has_so_much_log),
		cmocka_unit_test(test_the_log_goes_at_rest),
		cmocka_unit_test(test_a_group_may_be_closed_while_streams_go_on),
		cmocka_unit_test(test_nobody_is_spared_while_all_wait),
		cmocka_unit_test(test_who_takes_parts_is_there),
		cmocka_unit_test(test_a_stream_waits_for_its_link),
		cmocka_unit_test(test_a_stream_that_breaks_off_is_replaced),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

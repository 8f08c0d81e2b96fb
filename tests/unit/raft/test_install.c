/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing a member up by a snapshot (raft/install.h): in bounded memory, whatever the disks do, and
 * in one step, whenever it crashes.
 */
#include <stdio.h>
#include <stdlib.h>

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

static bool end(bool held)
{
	held = held && !C.failed;
	if (C.failed && getenv("SCENE_VERBOSE") != NULL)
		fprintf(stderr, "%s\n", C.why);
	cluster_done(&C);
	return held;
}

static bool put_some(unsigned at, unsigned n, size_t padding)
{
	for (unsigned i = 0; i < n; i++)
		if (!scene_put(&C, at, padding))
			return false;
	return true;
}

static bool is_equal(struct cluster *c)
{
	return cluster_converged(c);
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
	return end(true);
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
	SCENE_NEEDS(cluster_until(&C, is_equal, 20000));
	SCENE_NEEDS(flow.streams == begun && C.installs == 1);
	SCENE_NEEDS(flow.all > 2 * INSTALL_BYTES_AHEAD);
	SCENE_NEEDS(flow.most < INSTALL_BYTES_AHEAD + INSTALL_PART_BYTES + ENTRY);
	cluster_check_entries(&C, 50);
	return end(true);
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
	SCENE_NEEDS(cluster_until(&C, is_equal, 20000));
	return end(true);
}

static void test_the_log_waits_for_who_was_brought_up(void **state)
{
	(void)state;
	scene_needs(the_log_waits_for_who_was_brought_up, (struct rules_off){.laggards_stay = true});
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
	SCENE_NEEDS(cluster_until(&C, is_equal, 20000));
	SCENE_NEEDS(flow.streams >= 2);
	node_crash(&C.nodes[2], false);
	node_start(&C.nodes[2]);
	SCENE_NEEDS(logs_on_disk(&C.nodes[2]) == 1);
	cluster_check_entries(&C, 50);
	return end(true);
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
		cmocka_unit_test(test_a_stream_that_breaks_off_is_replaced),
	};
	log_set_level(LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

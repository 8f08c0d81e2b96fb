/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups over the real store (LMDB and its writer thread).
 */
#include "tests/unit/raft/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CACHE = 1024 * 1024 };

struct node {
	char dir[64];
	struct store *store;
	struct world w;
};

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sh(const char *fmt, const char *a, const char *b)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd, fmt, a, b);
	assert_int_equal(system(cmd), 0);
}

static void node_open(struct node *n, size_t cache_bytes)
{
	char err[256] = "";
	if (store_open(&n->store, n->dir, NULL, err, sizeof err) != 0)
		fail_msg("%s", err);
	world_init(&n->w, NULL, n->store, cache_bytes);
}

static void node_make(struct node *n)
{
	strcpy(n->dir, "/tmp/warren-test-raft-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	node_open(n, CACHE);
}

static void node_close(struct node *n)
{
	world_done(&n->w);
	store_close(n->store);
}

static void node_remove(struct node *n)
{
	sh("rm -rf %s%s", n->dir, "");
}

static bool is_leading(void *arg)
{
	return ((struct toy *)arg)->leading;
}

static bool is_idle(void *arg)
{
	return group_backlog(((struct toy *)arg)->group) == 0;
}

static void toy_run(struct toy *t, struct node *n, uint64_t id)
{
	toy_open(t, &n->w, id);
	world_until(&n->w, is_leading, t);
}

static void put_entries(struct toy *t, int from, int to, size_t size)
{
	for (int i = from; i < to; i++) {
		toy_put_number(t, i, size);
		world_until(t->world, is_idle, t);
	}
}

static void test_a_restart_applies_the_same_sequence(void **state)
{
	(void)state;
	struct node n;
	struct toy a, b;
	node_make(&n);
	toy_run(&a, &n, 7);
	put_entries(&a, 0, 50, 100);
	toy_end(&a);
	node_close(&n);

	node_open(&n, CACHE);
	toy_run(&b, &n, 7);
	assert_int_equal(b.term, 2);
	assert_int_equal(b.entries, 50);
	assert_int_equal(b.last_index, 51);
	assert_true(a.hash == b.hash);
	put_entries(&b, 50, 51, 100);
	assert_int_equal(b.last_index, 52);
	toy_end(&b);
	node_close(&n);
	node_remove(&n);
}

static void test_a_restart_from_a_snapshot_finds_what_is_live(void **state)
{
	(void)state;
	struct node n;
	struct toy a, b;
	struct blob *blob;
	const uint8_t *p;
	size_t size;
	node_make(&n);
	toy_run(&a, &n, 7);
	put_entries(&a, 0, 30, 100 * 1024);
	for (uint64_t i = 2; i <= 31; i++)
		if (i % 3 != 0)
			toy_release(&a, i);
	put_entries(&a, 30, 60, 100 * 1024);
	assert_true(a.snapshots_done >= 5);
	toy_end(&a);
	node_close(&n);

	node_open(&n, 0); /* no cache */
	toy_run(&b, &n, 7);
	assert_int_equal(b.restores, 1);
	assert_int_equal(b.entries, 60);
	assert_true(a.hash == b.hash);
	for (uint64_t i = 2; i <= 61; i++) {
		int rv = group_fetch(b.group, i, &blob, &p, &size);
		if (i <= 31 && i % 3 != 0) {
			assert_int_equal(rv, STORE_NOTFOUND);
			continue;
		}
		assert_int_equal(rv, 0);
		assert_int_equal(size, 16 + 4 + 100 * 1024);
		assert_int_equal(p[20], i - 2);
		blob_unref(blob);
	}
	toy_end(&b);
	node_close(&n);
	node_remove(&n);
}

/* Rule R5. */
static void test_a_lost_tail_is_written_anew_in_a_new_term(void **state)
{
	(void)state;
	struct node n, crashed;
	struct toy a, b;
	node_make(&n);
	toy_run(&a, &n, 7);
	put_entries(&a, 0, 7, 100);
	strcpy(crashed.dir, n.dir);
	strcat(crashed.dir, "-crashed");
	sh("cp -r %s %s", n.dir, crashed.dir); /* nothing is being written */
	put_entries(&a, 7, 8, 100);
	assert_int_equal(a.term, 1);
	toy_end(&a);
	node_close(&n);
	node_remove(&n);

	node_open(&crashed, CACHE);
	toy_run(&b, &crashed, 7);
	assert_int_equal(b.term, 2);
	assert_int_equal(b.entries, 7);
	put_entries(&b, 8, 9, 100);
	assert_int_equal(b.last_index, 9); /* the same index as the lost one */
	toy_end(&b);
	struct store_log *log = store_log_open(&crashed.w.port, 7);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_int_equal(load.term, 2);
	assert_int_equal(load.n_entries, 9);
	assert_int_equal(load.entries[7].term, 1);
	assert_int_equal(load.entries[8].term, 2);
	store_load_done(&load);
	store_log_close(log);
	node_close(&crashed);
	node_remove(&crashed);
}

static void test_a_dropped_group_is_gone(void **state)
{
	(void)state;
	struct node n;
	struct toy a;
	node_make(&n);
	toy_run(&a, &n, 7);
	put_entries(&a, 0, 5, 100);
	toy_close(&a, true);
	toy_end(&a);
	toy_run(&a, &n, 7);
	assert_int_equal(a.term, 1);
	assert_int_equal(a.entries, 0);
	toy_close(&a, true);
	toy_end(&a);
	node_close(&n);
	node_remove(&n);
}

enum { N = 2000 };

static bool all_lead(void *arg)
{
	struct toy *t = arg;
	for (int i = 0; i < N; i++)
		if (!t[i].leading)
			return false;
	return true;
}

static bool all_idle(void *arg)
{
	struct toy *t = arg;
	for (int i = 0; i < N; i++)
		if (group_backlog(t[i].group) != 0)
			return false;
	return true;
}

static bool all_closed(void *arg)
{
	struct toy *t = arg;
	for (int i = 0; i < N; i++)
		if (!t[i].closed)
			return false;
	return true;
}

static void close_all(struct toy *t, struct node *n)
{
	for (int i = 0; i < N; i++)
		toy_close(&t[i], false);
	world_until(&n->w, all_closed, t);
	for (int i = 0; i < N; i++)
		toy_free(&t[i]);
	node_close(n);
}

static void test_many_groups_start_write_and_start_again(void **state)
{
	(void)state;
	struct node n;
	struct toy *t = mem_zalloc(N * sizeof *t);
	uint64_t hash[N];
	node_make(&n);
	double start = seconds();
	size_t before = heap_in_use();
	for (int i = 0; i < N; i++)
		toy_open(&t[i], &n.w, i + 1);
	world_until(&n.w, all_lead, t);
	print_message("%d durable groups: new in %.0f ms", N, (seconds() - start) * 1e3);
	for (int k = 0; k < 5; k++) {
		for (int i = 0; i < N; i++)
			toy_put_number(&t[i], i * k, 50);
		world_until(&n.w, all_idle, t);
	}
	print_message(", %zu bytes each with 5 entries", (heap_in_use() - before) / N);
	for (int i = 0; i < N; i++)
		hash[i] = t[i].hash;
	close_all(t, &n);
	node_open(&n, CACHE);
	start = seconds();
	for (int i = 0; i < N; i++)
		toy_open(&t[i], &n.w, i + 1);
	world_until(&n.w, all_lead, t);
	print_message(", again in %.0f ms\n", (seconds() - start) * 1e3);
	for (int i = 0; i < N; i++) {
		assert_true(t[i].hash == hash[i]);
		assert_int_equal(t[i].entries, 5);
		assert_int_equal(t[i].term, 2);
	}
	close_all(t, &n);
	node_remove(&n);
	mem_free(t);
}

static bool has_room(void *arg)
{
	struct toy *t = arg;
	return group_backlog(t->group) < t->backlog;
}

static void measure(struct node *n, const char *what, size_t size, int per_turn, double for_seconds)
{
	struct toy t;
	toy_run(&t, n, 1000 + size + per_turn);
	t.keeps = false;
	t.backlog = (size_t)per_turn * size;
	struct store_stats before, after;
	store_stats(n->store, &before);
	double start = seconds();
	uint64_t i = 0;
	while (seconds() - start < for_seconds) {
		while (has_room(&t))
			toy_put_number(&t, i++, size);
		world_until(&n->w, has_room, &t);
	}
	world_until(&n->w, is_idle, &t);
	double took = seconds() - start;
	store_stats(n->store, &after);
	uint64_t commits = after.commits - before.commits;
	print_message("%s: %.0f commands/s, %.1f MB/s, %.0f entries/s, %.2f ms each, %.2f commits "
		      "each of %.2f ms\n",
		what, i / took, i * size / took / 1e6, t.entries / took, took * 1e3 / t.entries,
		(double)commits / t.entries, (after.commit_ns - before.commit_ns) / 1e6 / commits);
	toy_close(&t, true);
	toy_end(&t);
}

static void test_speed_of_one_group(void **state)
{
	(void)state;
	struct node n;
	node_make(&n);
	measure(&n, "alone, 100 B", 100, 1, 1);
	measure(&n, "64 KiB ahead, 100 B", 100, 650, 1);
	measure(&n, "1 MiB ahead, 1000 B", 1000, 1000, 1);
	measure(&n, "4 MiB ahead, 1000 B", 1000, 4000, 1);
	node_close(&n);
	node_remove(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_restart_applies_the_same_sequence),
		cmocka_unit_test(test_a_restart_from_a_snapshot_finds_what_is_live),
		cmocka_unit_test(test_a_lost_tail_is_written_anew_in_a_new_term),
		cmocka_unit_test(test_a_dropped_group_is_gone),
		cmocka_unit_test(test_many_groups_start_write_and_start_again),
		cmocka_unit_test(test_speed_of_one_group),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

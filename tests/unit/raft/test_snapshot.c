/* SPDX-License-Identifier: Apache-2.0
 *
 * What stays in memory: snapshots by bytes and by entries, the worker's bound over all groups, and
 * thousands of groups at rest.
 */
#include "tests/unit/raft/world.h"

#include <stdio.h>
#include <time.h>

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t raised(size_t before)
{
	size_t now = heap_in_use();
	return now > before ? now - before : 0;
}

static void test_200000_tiny_entries_leave_a_bounded_log(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	world_init(&w, NULL, NULL, 0);
	toy_open(&t, &w, 7);
	t.keeps = false;
	world_turn(&w);
	size_t before = heap_in_use();
	size_t top = 0;
	double start = seconds();
	for (int i = 0; i < 200000; i++) {
		toy_put_number(&t, i, 32);
		world_turn(&w);
		if (i % 97 == 0 && raised(before) > top)
			top = raised(before);
	}
	print_message("tiny entries: %.0f/s, %u snapshots, at most %zu KiB\n",
		200000 / (seconds() - start), t.snapshots, top / 1024);
	assert_int_equal(t.entries, 200000);
	assert_int_equal(t.snapshots, t.snapshots_done);
	assert_true(t.snapshots >= 200000 / 260);
	assert_true(t.snapshots <= 200000 / 240);
	assert_true(top < 256 * 1024);
	toy_end(&t);
	world_done(&w);
}

static void test_large_entries_leave_a_bounded_log(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	world_init(&w, NULL, NULL, 0);
	toy_open(&t, &w, 7);
	t.keeps = false;
	world_turn(&w);
	size_t before = heap_in_use();
	size_t top = 0;
	for (int i = 0; i < 2000; i++) {
		toy_put_number(&t, i, 100 * 1024);
		world_turn(&w);
		if (raised(before) > top)
			top = raised(before);
	}
	print_message("100 KiB entries: %u snapshots, at most %zu KiB\n", t.snapshots, top / 1024);
	assert_true(t.snapshots >= 2000 / 12);
	assert_true(top < 2 * 1024 * 1024);
	toy_end(&t);
	world_done(&w);
}

static void test_a_large_state_is_written_less_often(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	world_init(&w, NULL, NULL, 0);
	toy_open(&t, &w, 7);
	t.keeps = false;
	t.state_pad = 1024 * 1024;
	world_turn(&w);
	size_t bytes = 0;
	for (int i = 0; i < 50000; i++) {
		toy_put_number(&t, i, 1024);
		bytes += 1024 + 20 + 128;
		world_turn(&w);
	}
	/* The first comes early, when nobody knows its size. */
	assert_true(t.snapshots >= 10);
	assert_true((t.snapshots - 1) * 4 * t.state_pad <= bytes);
	toy_end(&t);
	world_done(&w);
}

static void test_many_groups_that_rest_with_full_logs_are_bounded_together(void **state)
{
	(void)state;
	enum { N = 500 };
	struct world w;
	struct toy *t = mem_zalloc(N * sizeof *t);
	world_init(&w, NULL, NULL, 0);
	for (int i = 0; i < N; i++) {
		toy_open(&t[i], &w, i + 1);
		t[i].keeps = false;
	}
	world_turn(&w);
	size_t before = heap_in_use();
	for (int i = 0; i < N; i++) {
		for (int k = 0; k < 4; k++) {
			toy_put_number(&t[i], k, 100 * 1024);
			world_turn(&w);
		}
	}
	unsigned snapshots = 0;
	for (int i = 0; i < N; i++)
		snapshots += t[i].snapshots;
	/* 200 MB went in, no group alone had reason for a snapshot. Resting groups keep their last.
	 */
	print_message(
		"%u groups: %u snapshots, %zu KiB in logs\n", N, snapshots, raised(before) / 1024);
	assert_true(snapshots > N / 2 && snapshots < N);
	assert_true(raised(before) < 80 * 1024 * 1024);
	toy_put_number(&t[0], 1, 10); /* and it goes on */
	world_turn(&w);
	assert_int_equal(t[0].entries, 5);
	for (int i = 0; i < N; i++)
		toy_end(&t[i]);
	world_done(&w);
	mem_free(t);
}

/* The newest entry stays in libraft's log even when a snapshot covers it. */
static void test_large_last_entries_are_bounded_together(void **state)
{
	(void)state;
	enum { N = 150 };
	struct world w;
	struct toy *t = mem_zalloc(N * sizeof *t);
	world_init(&w, NULL, NULL, 0);
	for (int i = 0; i < N; i++) {
		toy_open(&t[i], &w, i + 1);
		t[i].keeps = false;
	}
	world_turn(&w);
	size_t before = heap_in_use();
	for (int i = 0; i < N; i++) {
		toy_put_number(&t[i], i, 1200 * 1024);
		world_turn(&w);
		assert_true(t[i].snapshots_done >= 1);
	}
	print_message(
		"%u groups, last entry of 1200 KiB: %zu KiB in logs\n", N, raised(before) / 1024);
	assert_true(raised(before) < 70 * 1024 * 1024);
	for (int i = 0; i < N; i++)
		toy_end(&t[i]);
	world_done(&w);
	mem_free(t);
}

/* What groups cost at rest: just opened, and after each has had `entries` entries. */
static void rest(struct disk *d, int entries, size_t *ret_per_group)
{
	enum { N = 10000 };
	struct world w;
	struct toy *t = mem_zalloc(N * sizeof *t);
	world_init(&w, d, NULL, 0);
	size_t before = heap_in_use();
	double start = seconds();
	for (int i = 0; i < N; i++) {
		toy_open(&t[i], &w, i + 1);
		t[i].keeps = false;
	}
	world_turn(&w);
	double opened = seconds();
	for (int k = 0; k < entries; k++) {
		for (int i = 0; i < N; i++)
			toy_put_number(&t[i], k, 32);
		world_turn(&w);
	}
	*ret_per_group = raised(before) / N;
	print_message("%d groups, %d entries each, %s: opened in %.0f ms, %zu bytes per group\n", N,
		entries, d != NULL ? "disk" : "memory log", (opened - start) * 1e3, *ret_per_group);
	for (int i = 0; i < N; i++) {
		assert_true(t[i].leading);
		assert_int_equal(t[i].entries, entries);
		toy_close(&t[i], false);
	}
	world_turn(&w);
	for (int i = 0; i < N; i++)
		toy_free(&t[i]);
	world_done(&w);
	mem_free(t);
}

static void test_10000_groups_open_rest_and_close(void **state)
{
	(void)state;
	size_t per_group;
	rest(NULL, 0, &per_group);
	assert_true(per_group < 13 * 1024);
	rest(NULL, 10, &per_group);
	assert_true(per_group < 16 * 1024);
}

static void test_groups_that_were_busy_rest_small(void **state)
{
	(void)state;
	size_t per_group;
	rest(NULL, 300, &per_group);
	assert_true(per_group < 40 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_200000_tiny_entries_leave_a_bounded_log),
		cmocka_unit_test(test_large_entries_leave_a_bounded_log),
		cmocka_unit_test(test_a_large_state_is_written_less_often),
		cmocka_unit_test(test_many_groups_that_rest_with_full_logs_are_bounded_together),
		cmocka_unit_test(test_large_last_entries_are_bounded_together),
		cmocka_unit_test(test_10000_groups_open_rest_and_close),
		cmocka_unit_test(test_groups_that_were_busy_rest_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

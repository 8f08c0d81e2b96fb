/* SPDX-License-Identifier: Apache-2.0
 *
 * A group of one over a memory log, and over a disk that commits when told.
 */
#include "tests/unit/raft/world.h"

enum { CACHE = 1024 * 1024 };

static void test_a_new_group_leads_in_term_1_once_its_configuration_is_stored(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	world_init(&w, NULL, NULL, CACHE);
	toy_open(&t, &w, 7);
	assert_ptr_equal(groups_find(w.groups, 7), t.group);
	assert_null(groups_find(w.groups, 8));
	assert_false(t.leading);
	assert_false(group_leading(t.group));
	world_turn(&w);
	assert_true(t.leading);
	assert_true(group_leading(t.group));
	assert_int_equal(group_id(t.group), 7);
	assert_int_equal(t.term, 1);
	assert_int_equal(group_term(t.group), 1);
	assert_int_equal(group_applied(t.group), 1); /* the configuration */
	assert_int_equal(t.entries, 0);
	toy_end(&t);
	world_done(&w);
}

static void test_a_batch_filled_before_leading_waits(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	w.hold = true;
	toy_open(&t, &w, 7);
	toy_put(&t, "early", 5);
	world_turn(&w);
	assert_false(t.leading);
	assert_int_equal(t.entries, 0);
	assert_int_equal(group_backlog(t.group), GROUP_ENTRY_HEADER + 4 + 5);
	w.hold = false;
	world_turn(&w);
	assert_true(t.leading);
	assert_int_equal(t.entries, 1);
	assert_int_equal(t.sections, 1);
	assert_int_equal(t.last_index, 2);
	assert_int_equal(group_backlog(t.group), 0);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_turns_sections_become_one_entry_in_order(void **state)
{
	(void)state;
	struct world w;
	struct toy t, u;
	world_init(&w, NULL, NULL, CACHE);
	toy_open(&t, &w, 1);
	toy_open(&u, &w, 2);
	world_turn(&w);
	for (int i = 0; i < 100; i++) {
		toy_put_number(&t, i, 8);
		toy_put_number(&u, i, 8);
	}
	world_turn(&w);
	assert_int_equal(t.entries, 1);
	assert_int_equal(t.sections, 100);
	assert_int_equal(t.seals, 1);
	assert_int_equal(t.first_stamp_bad, 0);
	assert_true(t.hash == u.hash);
	toy_put_number(&t, 1, 8);
	toy_put_number(&t, 2, 8);
	toy_put_number(&u, 2, 8);
	toy_put_number(&u, 1, 8);
	world_turn(&w);
	assert_int_equal(t.entries, 2);
	assert_true(t.hash != u.hash);
	toy_end(&t);
	toy_end(&u);
	world_done(&w);
}

static void test_one_entry_is_under_way_and_the_rest_gathers(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	w.hold = true;
	for (int i = 0; i < 50; i++) {
		toy_put_number(&t, i, 8);
		world_turn(&w);
		assert_int_equal(t.seals, 1); /* only the first */
		assert_int_equal(t.entries, 0);
	}
	assert_int_equal(group_backlog(t.group), (16 + 12) + (16 + 49 * 12));
	assert_int_equal(disk_commit(&d, 1), 1);
	assert_int_equal(disk_commit(&d, 1), 0); /* nothing else was submitted */
	world_turn(&w);
	assert_int_equal(t.entries, 1);
	assert_int_equal(t.sections, 1);
	assert_int_equal(t.seals, 2);
	w.hold = false;
	world_turn(&w);
	assert_int_equal(t.entries, 2);
	assert_int_equal(t.sections, 50);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_full_batches_follow_one_another(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	for (int i = 0; i < 3; i++)
		toy_put_number(&t, i, 200 * 1024);  /* two fit */
	toy_put_number(&t, 3, 3 * GROUP_BATCH_MAX); /* alone */
	toy_put_number(&t, 4, 100);
	assert_int_equal(group_backlog(t.group),
		4 * GROUP_ENTRY_HEADER + 5 * 4 + 600 * 1024 + 3 * GROUP_BATCH_MAX + 100);
	world_turn(&w);
	assert_int_equal(t.sections, 5);
	assert_int_equal(t.entries, 4);
	struct disk_log *l = disk_find(&d, 7);
	assert_int_equal(l->entries[1].n, 16 + 2 * (4 + 200 * 1024));
	assert_int_equal(l->entries[2].n, 16 + 4 + 200 * 1024);
	assert_int_equal(l->entries[3].n, 16 + 4 + 3 * GROUP_BATCH_MAX);
	assert_int_equal(l->entries[4].n, 16 + 4 + 100);
	assert_int_equal(group_backlog(t.group), 0);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_an_entry_is_fetched_from_memory_while_recent_then_from_the_store(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	disk_init(&d);
	world_init(&w, &d, NULL, 64 * 1024);
	toy_open(&t, &w, 7);
	world_turn(&w);
	for (int i = 0; i < 100; i++) {
		toy_put_number(&t, i, 1000);
		world_turn(&w);
	}
	assert_int_equal(group_fetch(t.group, 101, &blob, &p, &n), 0);
	assert_int_equal(d.fetched, 0);
	assert_int_equal(n, 16 + 4 + 1000);
	assert_int_equal(p[20], 99);
	blob_unref(blob);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(group_fetch(t.group, 2, &blob, &p, &n), 0);
		assert_int_equal(d.fetched, 1); /* the second time from memory */
		assert_int_equal(p[20], 0);
		blob_unref(blob);
	}
	assert_int_equal(group_fetch(t.group, 102, &blob, &p, &n), STORE_NOTFOUND);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_release_above_the_snapshot_waits_for_the_next(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, 0);
	toy_open(&t, &w, 7);
	world_turn(&w);
	for (int i = 0; i < 10; i++) {
		toy_put_number(&t, i, 300 * 1024);
		world_turn(&w);
	}
	struct disk_log *l = disk_find(&d, 7);
	uint64_t snapshot = l->snapshot_index;
	assert_true(snapshot > 2 && snapshot < 11);
	assert_non_null(l->entries[2].p); /* live, so kept below the snapshot */
	toy_release(&t, 3);
	assert_int_equal(d.released, 1);
	assert_null(l->entries[2].p);
	toy_release(&t, 11);
	assert_int_equal(d.released, 1);
	assert_non_null(l->entries[10].p);
	for (int i = 0; i < 10; i++) {
		toy_put_number(&t, i, 300 * 1024);
		world_turn(&w);
	}
	assert_true(l->snapshot_index > snapshot);
	assert_null(l->entries[10].p);
	assert_non_null(l->entries[9].p);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_close_lets_writes_finish_and_drops_what_was_not_proposed(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	w.hold = true;
	toy_put(&t, "under way", 9);
	world_turn(&w);
	toy_put(&t, "too late", 8);
	toy_close(&t, false);
	assert_null(groups_find(w.groups, 7));
	assert_int_equal(groups_count(w.groups), 1);
	world_turn(&w);
	assert_false(t.closed);
	w.hold = false;
	world_turn(&w);
	assert_true(t.closed);
	assert_int_equal(t.entries, 1);
	assert_int_equal(t.sections, 1);
	assert_int_equal(groups_count(w.groups), 0);
	assert_int_equal(disk_find(&d, 7)->n, 2);
	toy_free(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_group_can_be_closed_before_it_has_started(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	for (int held = 0; held < 2; held++) {
		w.hold = held;
		toy_open(&t, &w, 7);
		toy_put(&t, "never", 5);
		world_turn(&w);
		toy_close(&t, false);
		toy_close(&t, false); /* once more does nothing */
		w.hold = false;
		world_turn(&w);
		assert_true(t.closed);
		toy_free(&t);
	}
	assert_int_equal(t.leads, 0);
	world_done(&w);
	disk_done(&d);
}

static void test_a_dropped_group_is_forgotten(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	toy_put(&t, "x", 1);
	world_turn(&w);
	w.hold = true;
	toy_put(&t, "y", 1);
	world_turn(&w);
	toy_close(&t, true);
	world_turn(&w);
	assert_non_null(disk_find(&d, 7));
	w.hold = false;
	world_turn(&w);
	assert_true(t.closed);
	assert_null(disk_find(&d, 7));
	toy_free(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_the_same_id_can_be_opened_again_in_memory(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	world_init(&w, NULL, NULL, CACHE);
	for (int i = 0; i < 3; i++) {
		toy_open(&t, &w, 7);
		world_turn(&w);
		assert_int_equal(group_fetch(t.group, 2, &blob, &p, &n), STORE_NOTFOUND);
		toy_put_number(&t, i, 8);
		world_turn(&w);
		assert_int_equal(group_fetch(t.group, 2, &blob, &p, &n), 0);
		assert_int_equal(p[20], i);
		blob_unref(blob);
		toy_end(&t);
	}
	world_done(&w);
}

static void close_inside(struct toy *t)
{
	group_close(t->group, false);
}

static void test_a_group_can_be_closed_from_its_callbacks(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);

	toy_open(&t, &w, 7);
	t.on_leading = close_inside;
	toy_put(&t, "never", 5);
	world_turn(&w);
	assert_true(t.closed);
	assert_int_equal(t.leads, 1);
	assert_int_equal(t.entries, 0);
	toy_free(&t);

	toy_open(&t, &w, 7);
	t.on_snapshot_done = close_inside;
	world_turn(&w);
	toy_put_number(&t, 1, 2 * 1024 * 1024);
	world_turn(&w);
	assert_true(t.closed);
	assert_int_equal(t.entries, 1);
	assert_int_equal(t.snapshots_done, 1);
	toy_free(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_close_waits_for_a_snapshot_under_way(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	w.hold = true;
	toy_put_number(&t, 1, 2 * 1024 * 1024);
	world_turn(&w);
	toy_close(&t, false);
	assert_int_equal(disk_commit(&d, 1), 1); /* the entry: its apply takes a snapshot */
	world_turn(&w);
	assert_int_equal(t.snapshots, 1);
	assert_false(t.closed);
	w.hold = false;
	world_turn(&w);
	assert_int_equal(t.snapshots_done, 1);
	assert_true(t.closed);
	toy_free(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_entries_go_on_while_a_snapshot_is_under_way(void **state)
{
	(void)state;
	struct disk d;
	struct world w;
	struct toy t;
	disk_init(&d);
	world_init(&w, &d, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	w.hold = true;
	toy_put_number(&t, 1, 2 * 1024 * 1024);
	world_turn(&w);
	toy_put_number(&t, 2, 2 * 1024 * 1024);
	disk_commit(&d, 1);
	world_turn(&w); /* entry 2 is submitted behind the snapshot */
	assert_int_equal(t.snapshots, 1);
	toy_put_number(&t, 3, 10);
	disk_commit(&d, 2);
	world_turn(&w);
	assert_int_equal(t.snapshots_done, 1);
	assert_int_equal(t.snapshots, 2); /* the one that entry 2 made due */
	w.hold = false;
	world_turn(&w);
	assert_int_equal(t.entries, 3);
	assert_int_equal(t.snapshots_done, 2);
	toy_end(&t);
	world_done(&w);
	disk_done(&d);
}

static void test_a_block_outlives_its_group(void **state)
{
	(void)state;
	struct world w;
	struct toy t;
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	world_init(&w, NULL, NULL, CACHE);
	toy_open(&t, &w, 7);
	world_turn(&w);
	toy_put(&t, "kept", 4);
	world_turn(&w);
	assert_int_equal(group_fetch(t.group, 2, &blob, &p, &n), 0);
	toy_end(&t);
	world_done(&w);
	assert_memory_equal(p + 20, "kept", 4);
	blob_unref(blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_new_group_leads_in_term_1_once_its_configuration_is_stored),
		cmocka_unit_test(test_a_batch_filled_before_leading_waits),
		cmocka_unit_test(test_a_turns_sections_become_one_entry_in_order),
		cmocka_unit_test(test_one_entry_is_under_way_and_the_rest_gathers),
		cmocka_unit_test(test_full_batches_follow_one_another),
		cmocka_unit_test(
			test_an_entry_is_fetched_from_memory_while_recent_then_from_the_store),
		cmocka_unit_test(test_a_release_above_the_snapshot_waits_for_the_next),
		cmocka_unit_test(test_a_close_lets_writes_finish_and_drops_what_was_not_proposed),
		cmocka_unit_test(test_a_group_can_be_closed_before_it_has_started),
		cmocka_unit_test(test_a_dropped_group_is_forgotten),
		cmocka_unit_test(test_the_same_id_can_be_opened_again_in_memory),
		cmocka_unit_test(test_a_group_can_be_closed_from_its_callbacks),
		cmocka_unit_test(test_a_close_waits_for_a_snapshot_under_way),
		cmocka_unit_test(test_entries_go_on_while_a_snapshot_is_under_way),
		cmocka_unit_test(test_a_block_outlives_its_group),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

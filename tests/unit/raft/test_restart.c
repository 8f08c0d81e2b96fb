/* SPDX-License-Identifier: Apache-2.0
 *
 * What a group finds when it starts again: over a disk whose crash copies are exact.
 */
#include "tests/unit/raft/world.h"

#include "raft/libraft.h"

enum { CACHE = 1024 * 1024 };

struct node {
	struct disk *d;
	struct world w;
	struct toy t;
};

static void node_start(struct node *n, struct disk *d)
{
	n->d = d;
	world_init(&n->w, d, NULL, CACHE);
	toy_open(&n->t, &n->w, 7);
	world_turn(&n->w);
}

static void node_stop(struct node *n)
{
	toy_end(&n->t);
	world_done(&n->w);
}

static void put_entries(struct node *n, int from, int to, size_t size)
{
	for (int i = from; i < to; i++) {
		toy_put_number(&n->t, i, size);
		world_turn(&n->w);
	}
}

static void test_a_restart_applies_the_same_sequence(void **state)
{
	(void)state;
	struct disk d;
	struct node a, b;
	disk_init(&d);
	node_start(&a, &d);
	put_entries(&a, 0, 20, 100);
	assert_int_equal(a.t.snapshots, 0);
	node_stop(&a);
	node_start(&b, &d);
	assert_true(b.t.leading);
	assert_int_equal(b.t.entries, 20);
	assert_int_equal(b.t.last_index, 21);
	assert_true(b.t.hash == a.t.hash);
	put_entries(&b, 20, 21, 100);
	assert_int_equal(b.t.last_index, 22);
	node_stop(&b);
	disk_done(&d);
}

/* Rule R5. */
static void test_a_lost_tail_is_written_anew_in_a_new_term(void **state)
{
	(void)state;
	struct disk d, crashed;
	struct node a, b;
	disk_init(&d);
	node_start(&a, &d);
	put_entries(&a, 0, 7, 100);
	disk_clone(&crashed, &d); /* what the crash leaves */
	put_entries(&a, 7, 8, 100);
	node_stop(&a);

	b.d = &crashed;
	world_init(&b.w, &crashed, NULL, CACHE);
	b.w.hold = true;
	toy_open(&b.t, &b.w, 7);
	world_turn(&b.w);
	/* It may not start before the term is durable. */
	assert_int_equal(b.t.leads, 0);
	assert_int_equal(b.t.entries, 0);
	assert_int_equal(disk_find(&crashed, 7)->term, 1);
	b.w.hold = false;
	world_turn(&b.w);
	assert_int_equal(disk_find(&crashed, 7)->term, 2);
	assert_int_equal(disk_find(&crashed, 7)->vote, 0);
	assert_true(b.t.leading);
	assert_int_equal(b.t.term, 2);
	assert_int_equal(b.t.entries, 7);
	put_entries(&b, 8, 9, 100);
	const struct disk_entry *first = &disk_find(&d, 7)->entries[8];
	const struct disk_entry *second = &disk_find(&crashed, 7)->entries[8];
	assert_int_equal(first->term, 1);
	assert_int_equal(second->term, 2);
	node_stop(&b);
	disk_done(&d);
	disk_done(&crashed);
}

static void test_every_restart_has_a_new_term(void **state)
{
	(void)state;
	struct disk d;
	struct node n;
	disk_init(&d);
	for (unsigned i = 0; i < 5; i++) {
		node_start(&n, &d);
		assert_int_equal(n.t.term, i + 1);
		assert_int_equal(n.t.entries, i);
		put_entries(&n, i, i + 1, 10);
		node_stop(&n);
	}
	disk_done(&d);
}

static void test_a_crash_between_hard_state_and_first_entry_starts_over(void **state)
{
	(void)state;
	struct disk d, crashed;
	struct node a, b;
	disk_init(&d);
	a.d = &d;
	world_init(&a.w, &d, NULL, CACHE);
	a.w.hold = true;
	toy_open(&a.t, &a.w, 7);
	assert_int_equal(disk_commit(&d, 1), 1);
	disk_clone(&crashed, &d);
	a.w.hold = false;
	world_turn(&a.w);
	assert_true(a.t.leading);
	node_stop(&a);
	node_start(&b, &crashed);
	assert_true(b.t.leading);
	assert_int_equal(b.t.term, 1);
	put_entries(&b, 0, 1, 10);
	assert_int_equal(b.t.last_index, 2);
	node_stop(&b);
	disk_done(&d);
	disk_done(&crashed);
}

static void test_a_snapshot_is_restored_with_what_is_live_below_it(void **state)
{
	(void)state;
	struct disk d;
	struct node a, b;
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	disk_init(&d);
	node_start(&a, &d);
	put_entries(&a, 0, 20, 300 * 1024);
	for (uint64_t i = 2; i <= 21; i++)
		if (i % 3 != 0)
			toy_release(&a.t, i);
	put_entries(&a, 20, 39, 300 * 1024);
	struct disk_log *l = disk_find(&d, 7);
	uint64_t snapshot = l->snapshot_index;
	assert_true(snapshot > 21 && snapshot < 40);
	toy_release(&a.t, 22); /* the snapshot calls it live; replay releases it once more */
	node_stop(&a);

	d.retained = 0;
	node_start(&b, &d);
	assert_int_equal(b.t.restores, 1);
	assert_true(b.t.leading);
	assert_int_equal(b.t.entries, 39);
	assert_true(b.t.hash == a.t.hash);
	assert_int_equal(b.t.last_index, 40);
	assert_int_equal(b.t.term, 2);
	assert_true(d.retained >= 7);
	assert_int_equal(group_fetch(b.t.group, 3, &blob, &p, &n), 0);
	assert_int_equal(p[20], 1);
	blob_unref(blob);
	assert_int_equal(group_fetch(b.t.group, 4, &blob, &p, &n), STORE_NOTFOUND);
	toy_release(&b.t, 22);
	assert_int_equal(group_fetch(b.t.group, 22, &blob, &p, &n), STORE_NOTFOUND);
	put_entries(&b, 39, 50, 300 * 1024); /* and snapshots go on */
	assert_true(l->snapshot_index > snapshot);
	node_stop(&b);
	node_start(&a, &d);
	assert_true(a.t.hash == b.t.hash);
	node_stop(&a);
	disk_done(&d);
}

static void test_a_snapshot_at_the_logs_end_restores_without_entries(void **state)
{
	(void)state;
	struct disk d, crashed;
	struct node a, b;
	disk_init(&d);
	node_start(&a, &d);
	put_entries(&a, 0, 1, 2 * 1024 * 1024);
	struct disk_log *l = disk_find(&d, 7);
	assert_int_equal(l->snapshot_index, 2);
	assert_int_equal(l->n, 2);
	disk_clone(&crashed, &d);
	node_stop(&a);
	node_start(&b, &crashed);
	assert_true(b.t.leading);
	assert_int_equal(b.t.entries, 1);
	assert_true(b.t.hash == a.t.hash);
	put_entries(&b, 1, 2, 10);
	assert_int_equal(b.t.last_index, 3);
	node_stop(&b);
	disk_done(&d);
	disk_done(&crashed);
}

static void refused(struct disk *d, bool refuse)
{
	struct world w;
	struct toy t = {.refuses = refuse};
	world_init(&w, d, NULL, CACHE);
	assert_int_equal(toy_try_open(&t, &w, 7), STORE_DAMAGED);
	assert_int_equal(groups_count(w.groups), 0);
	assert_null(t.group);
	world_done(&w);
}

static void test_what_cannot_be_a_raft_log_is_refused(void **state)
{
	(void)state;
	struct disk d;
	struct node a;
	disk_init(&d);
	node_start(&a, &d);
	put_entries(&a, 0, 5, 10);
	node_stop(&a);
	struct disk_log *l = disk_find(&d, 7);
	l->entries[0].type = RAFT_COMMAND;
	refused(&d, false);
	l->entries[0].type = RAFT_CHANGE;
	l->entries[0].p[0] = 2; /* format of the configuration */
	refused(&d, false);
	l->entries[0].p[0] = 1;
	l->entries[3].term = 2; /* beyond the hard state */
	refused(&d, false);
	l->entries[3].term = 0;
	refused(&d, false);
	l->entries[3].term = 1;
	node_start(&a, &d);
	assert_int_equal(a.t.entries, 5);
	put_entries(&a, 5, 6, 2 * 1024 * 1024);
	node_stop(&a);
	refused(&d, true); /* the application says so */
	disk_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_restart_applies_the_same_sequence),
		cmocka_unit_test(test_a_lost_tail_is_written_anew_in_a_new_term),
		cmocka_unit_test(test_every_restart_has_a_new_term),
		cmocka_unit_test(test_a_crash_between_hard_state_and_first_entry_starts_over),
		cmocka_unit_test(test_a_snapshot_is_restored_with_what_is_live_below_it),
		cmocka_unit_test(test_a_snapshot_at_the_logs_end_restores_without_entries),
		cmocka_unit_test(test_what_cannot_be_a_raft_log_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

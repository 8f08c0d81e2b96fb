/* SPDX-License-Identifier: Apache-2.0
 *
 * What a log promises, whichever backend keeps it: each test runs over both.
 */
#include "tests/unit/storage/rig.h"

#include "src/base/mem.h"

static int on_memory(void **state)
{
	struct rig *r = MEM_NEW(struct rig);
	rig_init_memory(r);
	*state = r;
	return 0;
}

static int on_disk(void **state)
{
	struct rig *r = MEM_NEW(struct rig);
	rig_init_disk(r);
	*state = r;
	return 0;
}

static int done(void **state)
{
	struct rig *r = *state;
	rig_done(r);
	if (r->dir[0] == 0)
		assert_false(store_port_ready(&r->port));
	mem_free(r);
	return 0;
}

static void a_new_log_is_empty(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_false(load.exists);
	assert_false(load.has_snapshot);
	assert_int_equal(load.n_entries, 0);
	assert_int_equal(load.first, 1);
	store_load_done(&load);
	store_log_close(log);
}

static void hard_state_is_the_last_one_written(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_hard(*state, log, 3, 1);
	do_hard(*state, log, 4, 0);
	check_load(log, 4, 0, 0, 0, 0);
	store_log_close(log);
}

static void appended_entries_are_loaded_and_fetched(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_append(*state, log, 1, 3, 5, 100);
	do_append(*state, log, 4, 1, 6, 100);
	check_load(log, 0, 0, 0, 4, 100);
	assert_true(has_entry(log, 1, 5, 100));
	assert_true(has_entry(log, 3, 5, 100));
	assert_true(has_entry(log, 4, 6, 100));
	assert_false(has_entry(log, 5, 6, 100));
	assert_false(has_entry(log, 0, 6, 100));
	store_log_close(log);
}

static void entries_of_any_size_are_kept(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 4096, 65512, 65513, 70000, 1 << 20, 5 << 20};
	struct store_log *log = rig_log(*state, 7);
	unsigned n = sizeof sizes / sizeof sizes[0];
	for (unsigned i = 0; i < n; i++)
		do_append(*state, log, 1 + i, 1, 1, sizes[i]);
	for (unsigned i = 0; i < n; i++)
		assert_true(has_entry(log, 1 + i, 1, sizes[i]));
	store_log_close(log);
}

struct order {
	struct rig_req q[50];
	unsigned completed;
	unsigned next; /* the one that must complete next */
};

static struct order *order; /* of the running test */

static void in_order(struct store_req *req)
{
	assert_ptr_equal(req, &order->q[order->next].req);
	order->next++;
}

static void requests_complete_in_order_and_never_inside_the_call(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	struct order o = {0};
	order = &o;
	for (unsigned i = 0; i < 50; i++) {
		append_submit(log, &o.q[i], 1 + i, 1, 1, 10);
		o.q[i].req.done = in_order;
		assert_int_equal(o.next, 0);
		if (i % 7 == 0)
			store_port_flush(&r->port);
	}
	while (o.next < 50)
		rig_poll(r);
	store_log_close(log);
}

static void truncation_removes_the_end(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_append(*state, log, 1, 10, 1, 50);
	do_truncate(*state, log, 6);
	check_load(log, 0, 0, 0, 5, 50);
	assert_true(has_entry(log, 5, 1, 50));
	assert_false(has_entry(log, 6, 1, 50));
	do_append(*state, log, 6, 2, 2, 50);
	check_load(log, 0, 0, 0, 7, 50);
	assert_true(has_entry(log, 6, 2, 50));
	do_truncate(*state, log, 1);
	check_load(log, 0, 0, 0, 0, 50);
	store_log_close(log);
}

static void appending_over_entries_truncates_them(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_append(*state, log, 1, 10, 1, 50);
	do_append(*state, log, 4, 2, 2, 50);
	check_load(log, 0, 0, 0, 5, 50);
	assert_true(has_entry(log, 3, 1, 50));
	assert_true(has_entry(log, 4, 2, 50));
	assert_false(has_entry(log, 6, 1, 50));
	store_log_close(log);
}

static void one_turn_may_append_truncate_and_append_again(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	struct rig_req a, b, c, d;
	append_submit(log, &a, 1, 10, 1, 50);
	rig_req_init(&b);
	store_log_truncate(log, &b.req, 8);
	append_submit(log, &c, 8, 5, 2, 50);
	append_submit(log, &d, 3, 1, 3, 50);
	rig_wait(r, &d);
	assert_true(a.done && b.done && c.done);
	check_load(log, 0, 0, 0, 3, 50);
	assert_true(has_entry(log, 2, 1, 50));
	assert_true(has_entry(log, 3, 3, 50));
	store_log_close(log);
}

static void a_snapshot_keeps_only_what_lives(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	const struct store_range live[] = {{2, 3}, {6, 6}};
	do_append(*state, log, 1, 10, 1, 50);
	do_snapshot(*state, log, 7, 1, live, 2);
	check_load(log, 0, 0, 7, 10, 50);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(has_entry(log, i, 1, 50), i == 2 || i == 3 || i == 6 || i > 7);
	store_log_release(log, 3);
	store_log_release(log, 3);
	do_hard(*state, log, 1, 1);
	assert_false(has_entry(log, 3, 1, 50));
	assert_true(has_entry(log, 2, 1, 50));
	store_log_close(log);
}

static void a_later_snapshot_leaves_earlier_live_entries_alone(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	const struct store_range first[] = {{2, 2}}, second[] = {{9, 9}};
	do_append(*state, log, 1, 10, 1, 50);
	do_snapshot(*state, log, 5, 1, first, 1);
	do_snapshot(*state, log, 10, 1, second, 1);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(has_entry(log, i, 1, 50), i == 2 || i == 9);
	check_load(log, 0, 0, 10, 10, 50);
	do_append(*state, log, 11, 1, 1, 50);
	check_load(log, 0, 0, 10, 11, 50);
	store_log_close(log);
}

static void a_release_does_not_overtake_a_snapshot(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	const struct store_range live[] = {{1, 10}}, later[] = {{11, 20}};
	struct rig_req a, b;
	do_append(r, log, 1, 20, 1, 50);
	do_snapshot(r, log, 10, 1, live, 1);
	store_log_release(log, 5);
	rig_req_init(&a);
	a.req.u.snapshot.index = 20;
	a.req.u.snapshot.live = (struct store_range *)(uintptr_t)later;
	a.req.u.snapshot.n_live = 1;
	store_log_snapshot(log, &a.req);
	store_log_release(log, 15);
	rig_req_init(&b);
	store_log_hard(log, &b.req, 1, 1);
	rig_wait(r, &b);
	for (uint64_t i = 1; i <= 20; i++)
		assert_int_equal(has_entry(log, i, 1, 50), i != 5 && i != 15);
	store_log_close(log);
}

static void an_installed_snapshot_replaces_the_log(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_hard(*state, log, 8, 2);
	do_append(*state, log, 1, 10, 1, 50);
	log = do_install(*state, log, 5, 3);
	for (uint64_t i = 1; i <= 10; i++)
		assert_false(has_entry(log, i, 1, 50));
	check_load(log, 8, 2, 5, 5, 50);
	do_append(*state, log, 6, 2, 3, 50);
	log = do_install(*state, log, 100, 3);
	check_load(log, 8, 2, 100, 100, 50);
	do_append(*state, log, 101, 2, 3, 50);
	check_load(log, 8, 2, 100, 102, 50);
	store_log_close(log);
}

static void a_staged_log_takes_the_place_of_the_own_one(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	do_hard(r, log, 8, 2);
	do_append(r, log, 1, 10, 1, 50);
	struct store_log *staged = store_log_stage(log);
	do_append(r, staged, 3, 2, 5, 60);
	do_append(r, log, 11, 1, 2, 50); /* the group goes on */
	do_append(r, staged, 90, 1, 5, 60);
	do_hard(r, log, 9, 4);
	check_load(log, 9, 4, 0, 11, 50);
	assert_true(has_entry(log, 3, 1, 50));
	assert_true(has_entry(staged, 3, 5, 60));
	do_switch(r, log, staged, 100, 5);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(has_entry(staged, i, 5, 60), i == 3 || i == 4 || i == 90);
	check_load(staged, 9, 4, 100, 100, 60);
	do_append(r, staged, 101, 2, 9, 60);
	do_hard(r, staged, 10, 0);
	store_log_release(staged, 4);
	do_truncate(r, staged, 102);
	check_load(staged, 10, 0, 100, 101, 60);
	assert_true(has_entry(staged, 90, 5, 60));
	assert_false(has_entry(staged, 4, 5, 60));
	store_log_close(staged);
}

static void what_was_staged_can_be_given_up(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	do_append(r, log, 1, 10, 1, 50);
	for (unsigned i = 0; i < 3; i++) {
		struct store_log *staged = store_log_stage(log);
		do_append(r, staged, 5, 3, 5 + i, 60);
		do_drop(r, staged);
		store_log_close(staged);
	}
	struct store_log *staged = store_log_stage(log);
	do_append(r, staged, 7, 1, 9, 60);
	assert_false(has_entry(staged, 5, 5, 60));
	check_load(log, 0, 0, 0, 10, 50);
	do_switch(r, log, staged, 8, 9);
	check_load(staged, 0, 0, 8, 8, 60);
	assert_false(has_entry(staged, 6, 5, 60));
	assert_true(has_entry(staged, 7, 9, 60));
	do_drop(r, staged);
	store_log_close(staged);
}

static void a_group_may_be_staged_again_and_again(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	do_append(r, log, 1, 10, 1, 50);
	for (uint64_t i = 1; i <= 5; i++) {
		struct store_log *staged = store_log_stage(log);
		do_append(r, staged, 10 * i, 3, i + 1, 50);
		do_switch(r, log, staged, 10 * i + 5, i + 1);
		log = staged;
		do_append(r, log, 10 * i + 6, 1, i + 1, 50);
		for (uint64_t k = 1; k < 100; k++)
			assert_int_equal(has_entry(log, k, i + 1, 50),
				(k >= 10 * i && k < 10 * i + 3) || k == 10 * i + 6);
	}
	store_log_close(log);
}

static void a_snapshot_is_read_back(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 7);
	struct rig_req q;
	size_t n = 3 << 20;
	uint8_t *data = mem_alloc(n);
	entry_fill(data, n, 1, 2, 3);
	do_append(r, log, 1, 4, 9, 50);
	rig_req_init(&q);
	q.req.u.snapshot.index = 4;
	q.req.u.snapshot.term = 9;
	q.req.u.snapshot.conf_index = 2;
	q.req.u.snapshot.conf = slice_str("members");
	q.req.u.snapshot.data = slice_make(data, n);
	store_log_snapshot(log, &q.req);
	rig_wait(r, &q);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_true(load.has_snapshot);
	assert_int_equal(load.snapshot_index, 4);
	assert_int_equal(load.snapshot_term, 9);
	assert_int_equal(load.snapshot_conf_index, 2);
	assert_true(slice_is(buf_slice(&load.snapshot_conf), "members"));
	assert_true(slice_eq(buf_slice(&load.snapshot_data), slice_make(data, n)));
	store_load_done(&load);
	mem_free(data);
	store_log_close(log);
}

static void retaining_ends_what_is_not_named(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	const struct store_range live[] = {{1, 5}}, kept[] = {{1, 1}, {4, 9}};
	do_append(*state, log, 1, 7, 1, 50);
	do_snapshot(*state, log, 5, 1, live, 1);
	store_log_retain(log, kept, 2);
	do_hard(*state, log, 1, 1);
	for (uint64_t i = 1; i <= 7; i++)
		assert_int_equal(has_entry(log, i, 1, 50), i == 1 || i >= 4);
	store_log_close(log);
}

static void a_dropped_group_is_gone_and_may_be_made_anew(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	do_hard(*state, log, 8, 2);
	do_append(*state, log, 1, 10, 1, 50);
	do_drop(*state, log);
	store_log_close(log);
	log = rig_log(*state, 7);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_false(load.exists);
	assert_int_equal(load.n_entries, 0);
	store_load_done(&load);
	do_append(*state, log, 1, 2, 2, 50);
	check_load(log, 0, 0, 0, 2, 50);
	assert_false(has_entry(log, 5, 1, 50));
	store_log_close(log);
}

static void groups_do_not_disturb_each_other(void **state)
{
	struct rig *r = *state;
	enum { GROUPS = 50 };
	struct store_log *logs[GROUPS];
	struct rig_req q[GROUPS];
	for (unsigned g = 0; g < GROUPS; g++)
		logs[g] = rig_log(r, g == 0 ? 0 : STORE_GROUP_END - g);
	for (unsigned turn = 0; turn < 5; turn++) {
		for (unsigned g = 0; g < GROUPS; g++)
			append_submit(logs[g], &q[g], 1 + turn * 3, 3, turn, 30 + g);
		for (unsigned g = 0; g < GROUPS; g++)
			rig_wait(r, &q[g]);
	}
	do_truncate(r, logs[3], 1);
	for (unsigned g = 0; g < GROUPS; g++) {
		check_load(logs[g], 0, 0, 0, g == 3 ? 0 : 15, 30 + g);
		store_log_close(logs[g]);
	}
}

static void a_fetched_entry_outlives_its_log(void **state)
{
	struct store_log *log = rig_log(*state, 7);
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	do_append(*state, log, 1, 1, 1, 50);
	assert_int_equal(store_log_fetch(log, 1, &blob, &p, &n), 0);
	store_log_close(log);
	assert_true(entry_is(p, n, 7, 1, 1));
	blob_unref(blob);
}

static void every_error_has_a_text(void **state)
{
	(void)state;
	for (int e = STORE_NOTFOUND; e <= STORE_OK; e++)
		assert_string_not_equal(store_strerror(e), "unknown error");
	assert_string_equal(store_strerror(-99), "unknown error");
}

#define BOTH(test)                                                                                 \
	{#test " (memory)", test, on_memory, done, NULL},                                          \
	{                                                                                          \
		#test " (disk)", test, on_disk, done, NULL                                         \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_new_log_is_empty),
		BOTH(hard_state_is_the_last_one_written),
		BOTH(appended_entries_are_loaded_and_fetched),
		BOTH(entries_of_any_size_are_kept),
		BOTH(requests_complete_in_order_and_never_inside_the_call),
		BOTH(truncation_removes_the_end),
		BOTH(appending_over_entries_truncates_them),
		BOTH(one_turn_may_append_truncate_and_append_again),
		BOTH(a_snapshot_keeps_only_what_lives),
		BOTH(a_later_snapshot_leaves_earlier_live_entries_alone),
		BOTH(a_release_does_not_overtake_a_snapshot),
		BOTH(an_installed_snapshot_replaces_the_log),
		BOTH(a_staged_log_takes_the_place_of_the_own_one),
		BOTH(what_was_staged_can_be_given_up),
		BOTH(a_group_may_be_staged_again_and_again),
		BOTH(a_snapshot_is_read_back),
		BOTH(retaining_ends_what_is_not_named),
		BOTH(a_dropped_group_is_gone_and_may_be_made_anew),
		BOTH(groups_do_not_disturb_each_other),
		BOTH(a_fetched_entry_outlives_its_log),
		cmocka_unit_test(every_error_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

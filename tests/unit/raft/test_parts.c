/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts that a group is made of, each alone.
 */
#include "tests/unit/raft/world.h"

#include "raft/configuration.h"
#include "raft/entry_cache.h"
#include "raft/heap.h"
#include "raft/log_budget.h"
#include "raft/pace.h"

/* ---- heap ---- */

static void test_libraft_frees_by_letting_go_of_a_block(void **state)
{
	(void)state;
	uint8_t *p = raft_malloc(10);
	struct blob *b = blob_ref(blob_of(p));
	p[9] = 42;
	raft_free(p);
	assert_int_equal(b->data[9], 42);
	blob_unref(b);
	raft_free(NULL);

	p = raft_realloc(NULL, 4);
	memcpy(p, "abcd", 4);
	p = raft_realloc(p, 100000);
	assert_memory_equal(p, "abcd", 4);
	assert_true(blob_of(p)->cap >= 100000);
	raft_free(p);

	p = raft_calloc(100, 7);
	for (int i = 0; i < 700; i++)
		assert_int_equal(p[i], 0);
	raft_free(p);
	assert_null(raft_calloc(SIZE_MAX / 2, 3));

	for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
		p = raft_aligned_alloc(alignment, 8192);
		assert_int_equal((uintptr_t)p % alignment, 0);
		memset(p, 1, 8192);
		raft_aligned_free(alignment, p);
	}
}

/* ---- batch ---- */

static void test_a_batch_starts_with_an_empty_header_and_grows(void **state)
{
	(void)state;
	struct batch b = {0};
	uint8_t *p = batch_put(&b, 0);
	assert_int_equal(b.n, GROUP_ENTRY_HEADER);
	assert_ptr_equal(p, b.blob->data + GROUP_ENTRY_HEADER);
	for (int i = 0; i < GROUP_ENTRY_HEADER; i++)
		assert_int_equal(b.blob->data[i], 0);
	assert_true(b.blob->cap <= 1024);
	for (uint32_t i = 0; i < 100000; i++)
		store_u32le(batch_put(&b, 4), i);
	assert_int_equal(b.n, GROUP_ENTRY_HEADER + 400000);
	for (uint32_t i = 0; i < 100000; i++)
		assert_int_equal(load_u32le(b.blob->data + GROUP_ENTRY_HEADER + 4 * i), i);
	assert_true(b.blob->cap < 2 * b.n);
	blob_unref(b.blob);

	b = (struct batch){0};
	batch_put(&b, 5000000);
	assert_int_equal(b.n, GROUP_ENTRY_HEADER + 5000000);
	assert_true(b.blob->cap >= b.n);
	blob_unref(b.blob);
}

/* ---- configuration ---- */

static void test_configurations_survive_libraft_and_back(void **state)
{
	(void)state;
	struct raft_configuration conf, back;
	struct raft_buffer bytes;
	raft_configuration_init(&conf);
	assert_int_equal(raft_configuration_add(&conf, 3, "three", RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_add(&conf, UINT64_MAX, "", RAFT_STANDBY), 0);
	assert_int_equal(raft_configuration_add(&conf, 9, "a longer address:5672", RAFT_SPARE), 0);
	assert_true(configuration_sole_voter(&conf, 3));
	assert_false(configuration_sole_voter(&conf, 9));
	assert_int_equal(raft_configuration_encode(&conf, &bytes), 0);
	assert_int_equal(configuration_decode(&back, slice_make(bytes.base, bytes.len)), 0);
	assert_int_equal(back.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(back.servers[i].id == conf.servers[i].id);
		assert_string_equal(back.servers[i].address, conf.servers[i].address);
		assert_int_equal(back.servers[i].role, conf.servers[i].role);
	}
	raft_configuration_close(&back);

	/* 8 bytes of padding at most: every shorter prefix must fail, none may read beyond. */
	for (size_t n = 0; n < bytes.len; n++) {
		uint8_t *exact = mem_alloc(n);
		memcpy(exact, bytes.base, n);
		int rv = configuration_decode(&back, slice_make(exact, n));
		if (rv == 0)
			raft_configuration_close(&back);
		assert_true(rv == -1 || n + 8 > bytes.len);
		mem_free(exact);
	}
	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t *p = bytes.base;
		p[i] ^= 0xff;
		if (configuration_decode(&back, slice_make(p, bytes.len)) == 0)
			raft_configuration_close(&back);
		p[i] ^= 0xff;
	}

	assert_int_equal(raft_configuration_add(&conf, 4, "four", RAFT_VOTER), 0);
	assert_false(configuration_sole_voter(&conf, 3));
	raft_free(bytes.base);
	raft_configuration_close(&conf);
}

/* ---- entry cache ---- */

enum { SLOT = 1000 };

static void put(struct entry_cache *c, struct list *owner, uint64_t index)
{
	struct blob *b = blob_new(SLOT);
	store_u64le(b->data, index);
	entry_cache_put(c, owner, index, &(struct entry_bytes){.blob = b, .p = b->data, .n = SLOT});
	blob_unref(b);
}

static bool has(struct entry_cache *c, struct list *owner, uint64_t index)
{
	struct entry_bytes e;
	if (!entry_cache_get(c, owner, index, &e))
		return false;
	assert_int_equal(load_u64le(e.p), index);
	assert_int_equal(e.n, SLOT);
	return true;
}

static void test_the_cache_drops_the_oldest_unless_asked_for(void **state)
{
	(void)state;
	struct entry_cache c;
	struct list a, b;
	list_init(&a);
	list_init(&b);
	entry_cache_init(&c, 12 * 1024); /* ten entries and their slots */
	put(&c, &a, 1);
	size_t cost = c.bytes;
	assert_true(cost > SLOT && cost < SLOT + 200);
	for (uint64_t i = 2; i <= 10; i++)
		put(&c, &a, i);
	assert_true(has(&c, &a, 1));
	for (uint64_t i = 1; i <= 5; i++)
		put(&c, &b, i);
	assert_true(c.bytes <= c.bytes_max);
	assert_true(has(&c, &a, 1)); /* had been asked for */
	assert_false(has(&c, &a, 2));
	assert_false(has(&c, &a, 3));
	assert_true(has(&c, &a, 10));
	assert_true(has(&c, &b, 5));
	assert_false(has(&c, &b, 6));
	entry_cache_drop_owner(&c, &a);
	assert_true(list_empty(&a));
	assert_int_equal(c.bytes, 5 * cost);
	entry_cache_drop(&c, &b, 1);
	entry_cache_drop(&c, &b, 1);
	assert_int_equal(c.bytes, 4 * cost);
	put(&c, &b, 2); /* replaces */
	assert_int_equal(c.bytes, 4 * cost);
	entry_cache_done(&c);
	assert_int_equal(c.bytes, 0);
	assert_true(list_empty(&b));
}

static void test_the_cache_refuses_what_is_larger_than_itself(void **state)
{
	(void)state;
	struct entry_cache c;
	struct list a;
	list_init(&a);
	entry_cache_init(&c, 0);
	put(&c, &a, 1);
	assert_false(has(&c, &a, 1));
	entry_cache_done(&c);
	entry_cache_init(&c, 1500);
	put(&c, &a, 1);
	put(&c, &a, 2);
	assert_false(has(&c, &a, 1));
	assert_true(has(&c, &a, 2));
	assert_true(has(&c, &a, 2));
	put(&c, &a, 3); /* the second chance ends, too */
	assert_true(has(&c, &a, 3));
	entry_cache_done(&c);
}

/* ---- log budget ---- */

static void test_the_budget_asks_who_grew_heavy_first(void **state)
{
	(void)state;
	struct log_budget b;
	struct log_share light, first, second;
	log_budget_init(&b);
	log_share_init(&light);
	log_share_init(&first);
	log_share_init(&second);
	log_budget_add(&b, &light, 100);
	log_budget_add(&b, &first, LOG_BUDGET_HEAVY);
	log_budget_add(&b, &second, LOG_BUDGET_MAX - LOG_BUDGET_HEAVY - 100);
	assert_null(log_budget_excess(&b)); /* exactly full */
	log_budget_add(&b, &second, 1);
	assert_ptr_equal(log_budget_excess(&b), &first);
	assert_null(log_budget_excess(&b));
	log_budget_add(&b, &first, 10);
	log_budget_add(&b, &second, LOG_BUDGET_HEAVY);
	assert_ptr_equal(log_budget_excess(&b), &second);
	assert_null(log_budget_excess(&b));
	assert_int_equal(b.bytes, 110);
	log_budget_clear(&b, &first);
	log_budget_clear(&b, &light);
	log_budget_clear(&b, &light);
	assert_int_equal(b.bytes, 0);
}

/* ---- pace ---- */

static unsigned burst_of(struct pace *p, uint64_t took, size_t sent, size_t gathered)
{
	pace_begin(p, 1000);
	return pace_end(p, 1000 + took, sent, gathered);
}

static void test_a_copy_spares_others_twice_as_long_as_its_bursts_take(void **state)
{
	(void)state;
	struct pace p;
	pace_init(&p);
	assert_int_equal(burst_of(&p, 5, 1 << 20, 0), 10);
	assert_int_equal(burst_of(&p, 0, 1 << 20, 0), 0);
	assert_int_equal(burst_of(&p, 5000, 1 << 20, 0), PACE_PAUSE_MAX_MS);
}

static void test_what_gathers_shortens_the_pauses_little_by_little(void **state)
{
	(void)state;
	const size_t sent = (size_t)1 << 30;
	struct pace p;
	pace_init(&p);
	unsigned before = burst_of(&p, 20, sent, 0);
	for (size_t gathered = 0; gathered < PACE_GATHERED_MAX; gathered += 1 << 20) {
		unsigned pause = burst_of(&p, 20, sent, gathered);
		assert_in_range(pause, before > 1 ? before - 1 : 1, before);
		before = pause;
	}
	assert_int_equal(before, 1);
	assert_int_equal(burst_of(&p, 20, sent, PACE_GATHERED_MAX), 0);
	assert_int_equal(p.burst, PACE_BURST_HURRY);
}

static void test_a_copy_hurries_that_would_never_end(void **state)
{
	(void)state;
	struct pace p;
	pace_init(&p);
	assert_int_not_equal(burst_of(&p, 40, 8 << 20, 2 << 20), 0);
	assert_int_equal(p.burst, 2 * PACE_BURST_LEAST);
	assert_int_equal(burst_of(&p, 40, 8 << 20, (2 << 20) + 1), 0);
	assert_int_equal(p.burst, PACE_BURST_HURRY);
	burst_of(&p, 40, 64 << 20, 2 << 20);
	burst_of(&p, 40, 64 << 20, 2 << 20);
	assert_int_equal(p.burst, PACE_BURST_MOST);
}

static void test_bursts_are_small_where_the_disk_is_slow(void **state)
{
	(void)state;
	struct pace p;
	pace_init(&p);
	for (int i = 0; i < 10; i++)
		burst_of(&p, 100, 1 << 20, 0); /* far away, but not slow */
	assert_int_equal(p.burst, PACE_BURST_MOST);
	burst_of(&p, 109, 1 << 20, 0);
	assert_int_equal(p.burst, PACE_BURST_MOST / 2);
	for (int i = 0; i < 10; i++)
		burst_of(&p, 109, 1 << 20, 0);
	assert_int_equal(p.burst, PACE_BURST_LEAST);
}

/* One that was lucky long ago says nothing of today. */
static void test_the_quickest_burst_is_one_of_late(void **state)
{
	(void)state;
	struct pace p;
	pace_init(&p);
	burst_of(&p, 1, 1 << 20, 0);
	for (int i = 0; i < 10; i++)
		burst_of(&p, 30, 1 << 20, 0);
	assert_int_equal(p.burst, PACE_BURST_LEAST);
	for (int i = 0; i < 300; i++)
		burst_of(&p, 30, 1 << 20, 0);
	assert_int_equal(p.burst, PACE_BURST_MOST);
}

static int install_heap(void **state)
{
	(void)state;
	groups_global_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libraft_frees_by_letting_go_of_a_block),
		cmocka_unit_test(test_a_batch_starts_with_an_empty_header_and_grows),
		cmocka_unit_test(test_configurations_survive_libraft_and_back),
		cmocka_unit_test(test_the_cache_drops_the_oldest_unless_asked_for),
		cmocka_unit_test(test_the_cache_refuses_what_is_larger_than_itself),
		cmocka_unit_test(test_the_budget_asks_who_grew_heavy_first),
		cmocka_unit_test(test_a_copy_spares_others_twice_as_long_as_its_bursts_take),
		cmocka_unit_test(test_what_gathers_shortens_the_pauses_little_by_little),
		cmocka_unit_test(test_a_copy_hurries_that_would_never_end),
		cmocka_unit_test(test_bursts_are_small_where_the_disk_is_slow),
		cmocka_unit_test(test_the_quickest_burst_is_one_of_late),
	};
	return cmocka_run_group_tests(tests, install_heap, NULL);
}

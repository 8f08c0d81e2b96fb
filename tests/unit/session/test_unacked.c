/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "src/session/unacked.h"

static void tags_in_order_are_found_and_taken_once(void **state)
{
	struct unacked u = {0};
	struct unacked_item item;
	(void)state;
	for (uint64_t tag = 1; tag <= 1000; tag++)
		unacked_add(&u, tag, NULL, tag * 7);
	for (uint64_t tag = 1; tag <= 1000; tag++) {
		assert_true(unacked_take(&u, tag, &item));
		assert_int_equal(item.number, tag * 7);
		assert_false(unacked_take(&u, tag, &item));
	}
	assert_int_equal(u.n, 0);
	unacked_done(&u);
}

static void tag_0_is_never_outstanding(void **state)
{
	struct unacked u = {0};
	struct unacked_item item;
	(void)state;
	assert_false(unacked_take(&u, 0, &item));
	unacked_add(&u, 1, NULL, 1);
	assert_false(unacked_take(&u, 0, &item));
	unacked_done(&u);
}

static void multiple_takes_the_lowest_first_and_stops_at_its_tag(void **state)
{
	struct unacked u = {0};
	struct unacked_item item;
	(void)state;
	for (uint64_t tag = 1; tag <= 10; tag++)
		unacked_add(&u, tag, NULL, tag);
	assert_true(unacked_take(&u, 3, &item));
	uint64_t expected[] = {1, 2, 4, 5};
	for (size_t i = 0; i < 4; i++) {
		assert_true(unacked_take_lowest(&u, 5, &item));
		assert_int_equal(item.tag, expected[i]);
	}
	assert_false(unacked_take_lowest(&u, 5, &item));
	assert_int_equal(u.n, 5);
	unacked_done(&u);
}

/* One delivery that is never settled must not make the table grow with those that pass. */
static void memory_follows_the_number_outstanding(void **state)
{
	struct unacked u = {0};
	struct unacked_item item;
	(void)state;
	unacked_add(&u, 1, NULL, 1);
	for (uint64_t tag = 2; tag <= 1000000; tag++) {
		unacked_add(&u, tag, NULL, tag);
		assert_true(unacked_take(&u, tag, &item));
	}
	assert_true(u.cap <= 64);
	assert_true(unacked_take_lowest(&u, UINT64_MAX, &item));
	assert_int_equal(item.tag, 1);
	unacked_done(&u);
}

static void what_is_restored_is_outstanding_again(void **state)
{
	struct unacked u = {0};
	struct unacked_item one, two, item;
	(void)state;
	unacked_add(&u, 1, NULL, 1);
	unacked_add(&u, 2, NULL, 2);
	assert_true(unacked_take(&u, 1, &one));
	assert_true(unacked_take(&u, 2, &two));
	unacked_restore(&u, &two);
	unacked_restore(&u, &one);
	assert_true(unacked_take_lowest(&u, UINT64_MAX, &item));
	assert_int_equal(item.tag, 1);
	assert_true(unacked_take(&u, 2, &item));
	unacked_done(&u);
}

/* Against a plain array, with a printed seed. */
static void random_use_agrees_with_a_plain_array(void **state)
{
	enum { TAGS = 4000 };
	static uint8_t out[TAGS + 1];
	struct unacked u = {0};
	struct unacked_item item;
	uint64_t next = 1;
	unsigned seed = (unsigned)time(NULL);
	(void)state;
	print_message("seed %u\n", seed);
	while (next <= TAGS) {
		unsigned what = (unsigned)rand_r(&seed) % 4;
		if (what < 2) {
			unacked_add(&u, next, NULL, next);
			out[next++] = 1;
		} else if (what == 2) {
			uint64_t tag = (unsigned)rand_r(&seed) % (next + 3);
			bool there = tag < next && out[tag];
			assert_int_equal(unacked_take(&u, tag, &item), there);
			if (there)
				out[tag] = 0;
		} else {
			uint64_t upto = (unsigned)rand_r(&seed) % next;
			uint64_t lowest = 1;
			while (lowest < next && !out[lowest])
				lowest++;
			bool there = lowest < next && lowest <= upto;
			assert_int_equal(unacked_take_lowest(&u, upto, &item), there);
			if (there) {
				assert_int_equal(item.tag, lowest);
				out[lowest] = 0;
			}
		}
	}
	unacked_done(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_in_order_are_found_and_taken_once),
		cmocka_unit_test(tag_0_is_never_outstanding),
		cmocka_unit_test(multiple_takes_the_lowest_first_and_stops_at_its_tag),
		cmocka_unit_test(memory_follows_the_number_outstanding),
		cmocka_unit_test(what_is_restored_is_outstanding_again),
		cmocka_unit_test(random_use_agrees_with_a_plain_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

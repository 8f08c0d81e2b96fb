/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "src/perf/histogram.h"

static int setup(void **state)
{
	struct histogram *h = malloc(sizeof *h);
	histogram_reset(h);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void test_empty(void **state)
{
	struct histogram *h = *state;
	assert_int_equal(histogram_percentile(h, 50), 0);
	assert_int_equal(histogram_min(h), 0);
	assert_true(histogram_mean(h) == 0);
}

static void test_every_value_has_a_bucket_that_is_close(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int off = -1; off <= 1; off++) {
			uint64_t v = ((uint64_t)1 << bit) + (uint64_t)off;
			unsigned b = histogram_bucket(v);
			assert_in_range(b, 0, HISTOGRAM_BUCKETS - 1);
			uint64_t top = histogram_bucket_top(b);
			assert_true(top >= v);
			assert_true(top - v <= v / HISTOGRAM_STEPS);
		}
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
	assert_true(histogram_bucket_top(HISTOGRAM_BUCKETS - 1) == UINT64_MAX);
}

static void test_buckets_follow_one_another(void **state)
{
	(void)state;
	for (unsigned b = 0; b + 1 < HISTOGRAM_BUCKETS; b++) {
		uint64_t top = histogram_bucket_top(b);
		assert_int_equal(histogram_bucket(top), b);
		assert_int_equal(histogram_bucket(top + 1), b + 1);
	}
}

static void test_small_values_are_exact(void **state)
{
	struct histogram *h = *state;
	for (uint64_t v = 1; v <= 100; v++)
		histogram_record(h, v);
	assert_int_equal(histogram_percentile(h, 0), 1);
	assert_int_equal(histogram_percentile(h, 1), 1);
	assert_int_equal(histogram_percentile(h, 50), 50);
	assert_int_equal(histogram_percentile(h, 50.5), 51);
	assert_int_equal(histogram_percentile(h, 99), 99);
	assert_int_equal(histogram_percentile(h, 99.9), 100);
	assert_int_equal(histogram_percentile(h, 100), 100);
	assert_int_equal(histogram_min(h), 1);
	assert_int_equal(h->max, 100);
	assert_true(histogram_mean(h) == 50.5);
}

static void test_rank_is_not_rounded_up(void **state)
{
	struct histogram *h = *state;
	for (unsigned i = 0; i < 999; i++)
		histogram_record(h, 1);
	histogram_record(h, 1000000);
	assert_int_equal(histogram_percentile(h, 99.9), 1);
	assert_int_equal(histogram_percentile(h, 99.99), 1000000);
}

static void test_percentiles_of_many_values(void **state)
{
	struct histogram *h = *state;
	const uint64_t n = 200000;
	for (uint64_t v = 1; v <= n; v++)
		histogram_record(h, v * 1000);
	for (unsigned percent = 1; percent <= 99; percent++) {
		double exact = (double)n * 1000 * percent / 100;
		double got = (double)histogram_percentile(h, percent);
		assert_true(got >= exact && got <= exact * (1 + 1.0 / HISTOGRAM_STEPS));
	}
}

static void test_no_percentile_exceeds_the_maximum(void **state)
{
	struct histogram *h = *state;
	histogram_record(h, 1000001);
	assert_int_equal(histogram_percentile(h, 50), 1000001);
	assert_int_equal(histogram_percentile(h, 100), 1000001);
}

static void test_merge(void **state)
{
	struct histogram *h = *state, *other = malloc(sizeof *other);
	histogram_reset(other);
	histogram_merge(h, other);
	assert_int_equal(h->count, 0);
	for (uint64_t v = 1; v <= 10; v++)
		histogram_record(other, v);
	histogram_record(h, 5000);
	histogram_merge(h, other);
	assert_int_equal(h->count, 11);
	assert_int_equal(histogram_min(h), 1);
	assert_int_equal(h->max, 5000);
	assert_int_equal(histogram_percentile(h, 50), 6);
	free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test(test_every_value_has_a_bucket_that_is_close),
		cmocka_unit_test(test_buckets_follow_one_another),
		cmocka_unit_test_setup_teardown(test_small_values_are_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rank_is_not_rounded_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_percentiles_of_many_values, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_no_percentile_exceeds_the_maximum, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

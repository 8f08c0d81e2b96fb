/* SPDX-License-Identifier: Apache-2.0
 *
 * The books of --verify find what is wrong: a verifier that cannot fail is worth nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/perf/verify.h"

enum { RUN = 7, SIZE = 100, COPIES = 2 };

struct books {
	struct verify v;
	struct verify_track track;
};

static int setup(void **state)
{
	static struct books b;
	b = (struct books){0};
	verify_init(&b.v, RUN, COPIES, 1);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct books *b = *state;
	verify_done(&b->v);
	verify_track_done(&b->track);
	return 0;
}

static bool receive_flagged(
	struct books *b, unsigned copy, uint64_t sequence, uint32_t flags, bool redelivered)
{
	uint8_t body[SIZE];
	struct stamp out = {.run = RUN, .producer = 3, .sequence = sequence, .flags = flags}, in;
	stamp_put_long(body, sizeof body, &out);
	enum stamp_kind kind = stamp_read(slice_make(body, sizeof body), true, &in);
	return verify_received(&b->v, &b->track, copy, kind, &in, redelivered);
}

static bool receive(struct books *b, unsigned copy, uint64_t sequence)
{
	return receive_flagged(b, copy, sequence, 0, false);
}

static void publish(struct books *b, uint64_t sequence, bool confirmed)
{
	verify_published(&b->v, 3, sequence, false);
	if (confirmed)
		verify_confirmed(&b->v, 3, sequence);
}

static struct verify_result conclude(struct books *b)
{
	struct verify_result r;
	verify_conclude(&b->v, &r);
	return r;
}

static void test_all_is_well(void **state)
{
	struct books *b = *state;
	for (uint64_t i = 1; i <= 1000; i++) {
		publish(b, i, true);
		for (unsigned copy = 0; copy < COPIES; copy++) {
			verify_track_done(&b->track);
			assert_true(receive(b, copy, i));
		}
	}
	struct verify_result r = conclude(b);
	assert_int_equal(r.missing_confirmed + r.missing_published + r.holes, 0);
	assert_int_equal(b->v.unique, 1000 * COPIES);
	assert_int_equal(b->v.duplicates + b->v.out_of_order + b->v.corrupt, 0);
}

static void test_missing_in_one_queue(void **state)
{
	struct books *b = *state;
	publish(b, 1, true);
	publish(b, 2, false);
	receive(b, 0, 1);
	receive(b, 0, 2);
	assert_int_equal(conclude(b).missing_confirmed, 1);
	assert_int_equal(conclude(b).missing_published, 2);
	assert_int_equal(conclude(b).holes, 2);
	receive(b, 1, 2);
	receive(b, 1, 1);
	assert_int_equal(conclude(b).missing_confirmed, 0);
	assert_int_equal(b->v.out_of_order, 1);
}

static void test_returned_is_not_missing(void **state)
{
	struct books *b = *state;
	publish(b, 1, true);
	uint8_t body[SIZE];
	stamp_put_long(
		body, sizeof body, &(struct stamp){.run = RUN, .producer = 3, .sequence = 1});
	verify_returned(&b->v, slice_make(body, sizeof body));
	assert_int_equal(conclude(b).missing_confirmed, 0);
	assert_int_equal(conclude(b).missing_published, 0);
}

static void test_duplicates(void **state)
{
	struct books *b = *state;
	receive(b, 0, 1);
	receive(b, 0, 1);
	assert_int_equal(b->v.unexplained, 1);
	receive_flagged(b, 0, 1, 0, true);
	receive_flagged(b, 0, 1, STAMP_AGAIN, false);
	assert_int_equal(b->v.duplicates, 3);
	assert_int_equal(b->v.unexplained, 1);
	verify_published(&b->v, 3, 2, true);
	receive_flagged(b, 0, 2, STAMP_AGAIN, false);
	receive(b, 0, 2);
	assert_int_equal(b->v.duplicates, 4);
	assert_int_equal(b->v.unexplained, 1);
	verify_interrupted(&b->v, &b->track);
	receive(b, 0, 1);
	assert_int_equal(b->v.unexplained, 1);
	assert_int_equal(b->v.out_of_order, 0);
}

static void test_order(void **state)
{
	struct books *b = *state;
	receive(b, 0, 1);
	receive(b, 0, 5);
	receive_flagged(b, 0, 2, 0, true);
	receive_flagged(b, 0, 3, STAMP_AGAIN, false);
	assert_int_equal(b->v.out_of_order, 0);
	receive(b, 0, 4);
	assert_int_equal(b->v.out_of_order, 1);
	receive(b, 0, 6);
	assert_int_equal(b->v.out_of_order, 1);
}

static void test_every_damaged_octet_is_found(void **state)
{
	struct books *b = *state;
	uint8_t body[SIZE];
	struct stamp s;
	for (size_t n = STAMP_LONG; n <= SIZE; n++) {
		for (size_t at = 4; at < n; at++) {
			stamp_put_long(body, n, &(struct stamp){.run = RUN, .sequence = 1});
			body[at] ^= 0x10;
			enum stamp_kind kind = stamp_read(slice_make(body, n), true, &s);
			assert_int_equal(kind, STAMP_CORRUPT);
		}
	}
	assert_false(verify_received(&b->v, &b->track, 0, STAMP_CORRUPT, &s, false));
	assert_int_equal(b->v.corrupt, 1);
	stamp_put_long(body, SIZE, &(struct stamp){.run = RUN});
	assert_int_equal(stamp_read(slice_make(body, SIZE - 1), true, &s), STAMP_CORRUPT);
	assert_int_equal(stamp_read(slice_make(body, STAMP_LONG - 1), true, &s), STAMP_CORRUPT);
	assert_int_equal(stamp_read(slice_make(body, STAMP_SHORT - 1), true, &s), STAMP_NONE);
}

static void test_other_runs_are_foreign(void **state)
{
	struct books *b = *state;
	struct stamp s = {.run = RUN + 1, .sequence = 1};
	assert_false(verify_received(&b->v, &b->track, 0, STAMP_WHOLE, &s, false));
	s.run = RUN;
	s.producer = VERIFY_PRODUCERS_MAX;
	assert_false(verify_received(&b->v, &b->track, 0, STAMP_WHOLE, &s, false));
	assert_false(verify_received(&b->v, &b->track, 0, STAMP_NONE, &s, false));
	assert_int_equal(b->v.unique, 0);
	b->v.run = 0;
	s = (struct stamp){.run = 99, .sequence = 1};
	assert_true(verify_received(&b->v, &b->track, 0, STAMP_WHOLE, &s, false));
	assert_int_equal(b->v.run, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_is_well, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_in_one_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_returned_is_not_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_damaged_octet_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_runs_are_foreign, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

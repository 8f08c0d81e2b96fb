/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "src/session/tally.h"

static void a_name_has_one_count_of_each_kind(void **state)
{
	(void)state;
	struct tally *t = tally_new();
	struct tally_count *a = tally_of(t, TALLY_VHOST, slice_str("a"));
	struct tally_count *user = tally_of(t, TALLY_USER, slice_str("a"));
	struct tally_count *none = tally_of(t, TALLY_VHOST, slice_str(""));
	assert_ptr_not_equal(a, user);
	assert_ptr_not_equal(a, none);
	assert_ptr_equal(tally_of(t, TALLY_VHOST, slice_str("a")), a);
	assert_ptr_equal(tally_of(t, TALLY_USER, slice_str("a")), user);
	tally_free(t);
}

static void a_limit_holds(void **state)
{
	(void)state;
	struct tally *t = tally_new();
	struct tally_count *a = tally_of(t, TALLY_USER, slice_str("a"));
	assert_false(tally_take(&a->connections, 0));
	assert_true(tally_take(&a->connections, 2));
	assert_true(tally_take(&a->connections, 2));
	assert_false(tally_take(&a->connections, 2));
	assert_true(tally_take(&a->channels, 1));
	tally_give(&a->connections);
	assert_true(tally_take(&a->connections, 2));
	assert_true(tally_take(&a->connections, -1));
	assert_int_equal(a->connections, 3);
	tally_free(t);
}

enum { THREADS = 4, NAMES = 200, LIMIT = 300 };

static void *take_them(void *arg)
{
	struct tally *t = arg;
	uintptr_t taken = 0;
	for (int i = 0; i < NAMES; i++) {
		char name[8];
		snprintf(name, sizeof name, "%d", i);
		tally_take(&tally_of(t, TALLY_VHOST, slice_str(name))->connections, -1);
		taken += tally_take(&tally_of(t, TALLY_USER, slice_str("u"))->connections, LIMIT);
	}
	return (void *)taken;
}

static void threads_count_together(void **state)
{
	(void)state;
	struct tally *t = tally_new();
	pthread_t threads[THREADS];
	uintptr_t taken = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_them, t), 0);
	for (int i = 0; i < THREADS; i++) {
		void *mine;
		pthread_join(threads[i], &mine);
		taken += (uintptr_t)mine;
	}
	assert_int_equal(taken, LIMIT);
	for (int i = 0; i < NAMES; i++) {
		char name[8];
		snprintf(name, sizeof name, "%d", i);
		assert_int_equal(
			tally_of(t, TALLY_VHOST, slice_str(name))->connections, THREADS);
	}
	tally_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_has_one_count_of_each_kind),
		cmocka_unit_test(a_limit_holds),
		cmocka_unit_test(threads_count_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

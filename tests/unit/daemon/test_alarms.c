/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "src/base/mem.h"
#include "src/daemon/alarms.h"

static void an_alarm_is_raised_above_the_limit_and_cleared_a_little_below(void **state)
{
	struct alarms a = {.memory_bytes = 3200, .disk_free_bytes = 0};
	(void)state;
	assert_int_equal(alarms_judge(&a, 3200, 0, false), SESSION_ALARM_NONE);
	assert_int_equal(alarms_judge(&a, 3201, 0, false), SESSION_ALARM_MEMORY);
	a.raised = SESSION_ALARM_MEMORY;
	assert_int_equal(alarms_judge(&a, 3200, 0, false), SESSION_ALARM_MEMORY);
	assert_int_equal(alarms_judge(&a, 3100, 0, false), SESSION_ALARM_NONE);
}

static void disk_space_is_judged_the_other_way_round(void **state)
{
	struct alarms a = {.memory_bytes = UINT64_MAX, .disk_free_bytes = 3200};
	(void)state;
	assert_int_equal(alarms_judge(&a, 1 << 30, 3200, false), SESSION_ALARM_NONE);
	assert_int_equal(alarms_judge(&a, 1 << 30, 3199, false), SESSION_ALARM_DISK);
	a.raised = SESSION_ALARM_DISK;
	assert_int_equal(alarms_judge(&a, 1 << 30, 3299, false), SESSION_ALARM_DISK);
	assert_int_equal(alarms_judge(&a, 1 << 30, 3300, false), SESSION_ALARM_NONE);
}

static void a_store_that_cannot_write_is_a_disk_alarm_whatever_is_free(void **state)
{
	struct alarms a = {.memory_bytes = 1, .disk_free_bytes = 1};
	(void)state;
	assert_int_equal(alarms_judge(&a, 0, UINT64_MAX, true), SESSION_ALARM_DISK);
	assert_int_equal(alarms_judge(&a, 2, UINT64_MAX, true), SESSION_ALARM_BOTH);
}

static void a_disk_limit_of_0_is_none_and_a_watermark_of_0_always_an_alarm(void **state)
{
	struct alarms a = {0};
	(void)state;
	assert_int_equal(alarms_judge(&a, 1, 0, false), SESSION_ALARM_MEMORY);
	a.raised = SESSION_ALARM_MEMORY;
	assert_int_equal(alarms_judge(&a, 1, 0, false), SESSION_ALARM_MEMORY);
}

static void an_amount_is_bytes_or_a_share(void **state)
{
	(void)state;
	assert_int_equal(alarms_amount(&(struct config_amount){.bytes = 7}, 1000), 7);
	assert_int_equal(
		alarms_amount(&(struct config_amount){.relative = true, .share = 0.4}, 1000), 400);
}

static void alarms_of_other_nodes_come_and_go(void **state)
{
	struct worker w;
	struct alarms a = {.raised = SESSION_ALARM_DISK};
	(void)state;
	assert_false(alarms_of_other(&a, 7, SESSION_ALARM_MEMORY)); /* it does not run */
	worker_init(&w, 0);
	a.timer = timer_new(&w, NULL, NULL);
	assert_false(alarms_of_other(&a, 7, SESSION_ALARM_NONE));
	assert_true(alarms_of_other(&a, 7, SESSION_ALARM_MEMORY));
	assert_false(alarms_of_other(&a, 7, SESSION_ALARM_MEMORY));
	assert_true(alarms_of_other(&a, 8, SESSION_ALARM_MEMORY));
	assert_int_equal(alarms_everywhere(&a), SESSION_ALARM_BOTH);
	assert_true(alarms_of_other(&a, 7, SESSION_ALARM_NONE));
	assert_false(alarms_of_other(&a, 7, SESSION_ALARM_NONE));
	assert_int_equal(alarms_everywhere(&a), SESSION_ALARM_BOTH);
	assert_true(alarms_of_other(&a, 8, (enum session_alarm)0xf0)); /* a newer node's */
	assert_int_equal(a.n_others, 0);
	assert_int_equal(alarms_everywhere(&a), SESSION_ALARM_DISK);
	timer_free(a.timer);
	mem_free(a.others);
	worker_stop(&w);
	worker_run(&w);
	worker_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_alarm_is_raised_above_the_limit_and_cleared_a_little_below),
		cmocka_unit_test(alarms_of_other_nodes_come_and_go),
		cmocka_unit_test(disk_space_is_judged_the_other_way_round),
		cmocka_unit_test(a_store_that_cannot_write_is_a_disk_alarm_whatever_is_free),
		cmocka_unit_test(a_disk_limit_of_0_is_none_and_a_watermark_of_0_always_an_alarm),
		cmocka_unit_test(an_amount_is_bytes_or_a_share),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

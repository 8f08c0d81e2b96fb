/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is waited for before a client is told that something is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/cluster/echoes.h"

enum { A = 11, B = 12, WORKERS = 2 };

static int setup(void **state)
{
	static struct echoes e;
	echoes_init(&e, WORKERS);
	*state = &e;
	return 0;
}

static int teardown(void **state)
{
	echoes_done(*state);
	return 0;
}

static void nobody_is_waited_for_alone(void **state)
{
	struct echoes *e = *state;
	assert_false(echoes_wanted(e));
	echoes_apply(e, 0, 3, 10);
	assert_int_equal(echoes_settled(e, 0), 3);
	assert_int_equal(echoes_settled(e, 1), 0);
	assert_true(echoes_patience_ms(e, 10) < 0);
}

static void the_slowest_decides(void **state)
{
	struct echoes *e = *state;
	echoes_link_up(e, A);
	echoes_link_up(e, B);
	assert_true(echoes_wanted(e));
	echoes_hear(e, A, 0, 2, 9); /* it may be there first */
	echoes_apply(e, 0, 3, 10);
	assert_int_equal(echoes_settled(e, 0), 0);
	echoes_hear(e, B, 0, 3, 11);
	assert_int_equal(echoes_settled(e, 0), 2);
	echoes_hear(e, A, 1, 7, 11); /* of another worker's */
	echoes_hear(e, A, 0, 1, 11); /* an old one */
	assert_int_equal(echoes_settled(e, 0), 2);
	echoes_hear(e, A, 0, 3, 12);
	assert_int_equal(echoes_settled(e, 0), 3);
	assert_true(echoes_patience_ms(e, 12) < 0);
}

static void who_has_gone_is_not_waited_for(void **state)
{
	struct echoes *e = *state;
	echoes_apply(e, 0, 3, 10);
	echoes_link_up(e, A); /* what was before is no matter of its */
	assert_int_equal(echoes_settled(e, 0), 3);
	echoes_link_up(e, B);
	echoes_apply(e, 0, 5, 10);
	echoes_hear(e, A, 0, 5, 11);
	echoes_link_up(e, B);
	assert_int_equal(echoes_settled(e, 0), 3);
	echoes_link_down(e, B);
	echoes_link_down(e, B);
	assert_int_equal(echoes_settled(e, 0), 5);
	echoes_hear(e, B, 0, 9, 12);
	echoes_hear(e, A, WORKERS, 9, 12);
	assert_int_equal(echoes_settled(e, 0), 5);
}

static void who_is_silent_is_waited_for_once(void **state)
{
	struct echoes *e = *state;
	echoes_link_up(e, A);
	echoes_link_up(e, B);
	echoes_apply(e, 0, 1, 1000);
	echoes_hear(e, A, 0, 1, 1001);
	assert_int_equal(echoes_patience_ms(e, 1001), ECHOES_PATIENCE_MS - 1);
	/* What others do does not give it more time. */
	echoes_apply(e, 0, 2, 1050);
	echoes_hear(e, A, 0, 2, 1051);
	echoes_expire(e, 999 + ECHOES_PATIENCE_MS);
	assert_int_equal(echoes_settled(e, 0), 0);
	assert_int_equal(echoes_patience_ms(e, 1000 + ECHOES_PATIENCE_MS), 0);
	echoes_expire(e, 1000 + ECHOES_PATIENCE_MS);
	assert_int_equal(echoes_settled(e, 0), 2);
	assert_true(echoes_patience_ms(e, 2000) < 0);
	echoes_apply(e, 1, 1, 3000);
	assert_int_equal(echoes_settled(e, 1), 0);
	echoes_hear(e, A, 1, 1, 3001);
	assert_int_equal(echoes_settled(e, 1), 1);
	/* Until it has caught up. */
	echoes_hear(e, B, 0, 2, 4000);
	echoes_apply(e, 0, 3, 4000);
	echoes_hear(e, A, 0, 3, 4000);
	assert_int_equal(echoes_settled(e, 0), 3);
	echoes_hear(e, B, 1, 1, 4001);
	echoes_hear(e, B, 0, 3, 4001);
	echoes_apply(e, 0, 4, 5000);
	echoes_hear(e, A, 0, 4, 5001);
	assert_int_equal(echoes_settled(e, 0), 3);
}

/* On a long link it gets on, one command after the other, and is never up to date. */
static void who_gets_on_has_its_time_anew(void **state)
{
	struct echoes *e = *state;
	echoes_link_up(e, A);
	uint64_t now = 1000;
	for (uint64_t seq = 1; seq < 20; seq++, now += ECHOES_PATIENCE_MS - 1) {
		echoes_apply(e, 0, seq + 1, now);
		echoes_expire(e, now);
		assert_int_equal(echoes_settled(e, 0), seq - 1);
		echoes_hear(e, A, 0, seq, now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_is_waited_for_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(the_slowest_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(who_has_gone_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_silent_is_waited_for_once, setup, teardown),
		cmocka_unit_test_setup_teardown(who_gets_on_has_its_time_anew, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

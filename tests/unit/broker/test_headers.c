/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/broker/fixture.h"

/* Binds queue q with what `args` has and frees it. */
static void bind_args(struct broker *b, struct buf *args)
{
	struct broker_binding_spec s = binding_spec("amq.headers", BROKER_TO_QUEUE, "q", "");
	s.arguments = buf_slice(args);
	assert_int_equal(bind_spec(b, s).code, BROKER_OK);
	buf_done(args);
}

/* Does a message with these headers reach q? Frees them. */
static bool reaches(struct broker *b, struct buf *headers)
{
	struct broker_route r = {0};
	broker_route_begin(b, &r);
	broker_route(b, exchange(b, "amq.headers"), NONE, buf_slice(headers), &r);
	bool hit = r.n == 1;
	broker_route_done(&r);
	buf_done(headers);
	return hit;
}

static struct buf two(const char *k1, const char *v1, const char *k2, const char *v2)
{
	struct buf t = BUF_EMPTY;
	if (k1 != NULL)
		amqp_table_put_string(&t, k1, slice_str(v1));
	if (k2 != NULL)
		amqp_table_put_string(&t, k2, slice_str(v2));
	return t;
}

static struct buf pattern(const char *x_match)
{
	struct buf t = two("a", "1", "b", "2");
	if (x_match != NULL)
		amqp_table_put_string(&t, "x-match", slice_str(x_match));
	amqp_table_put_string(&t, "x-c", S("3"));
	return t;
}

static bool reaches_two(
	struct broker *b, const char *k1, const char *v1, const char *k2, const char *v2)
{
	struct buf t = two(k1, v1, k2, v2);
	return reaches(b, &t);
}

static int setup_queue(void **state)
{
	setup(state);
	declare_queue(*state, "q");
	return 0;
}

static void all_wants_every_pair_without_x(void **state)
{
	struct broker *b = *state;
	struct buf p = pattern(NULL);
	bind_args(b, &p);
	assert_true(reaches_two(b, "a", "1", "b", "2"));
	assert_true(reaches_two(b, "b", "2", "a", "1"));
	assert_false(reaches_two(b, "a", "1", "b", "3"));
	assert_false(reaches_two(b, "a", "1", NULL, NULL));
	assert_false(reaches_two(b, NULL, NULL, NULL, NULL));
}

static void any_wants_one_pair_without_x(void **state)
{
	struct broker *b = *state;
	struct buf p = pattern("any");
	bind_args(b, &p);
	assert_true(reaches_two(b, "a", "1", "z", "2"));
	assert_true(reaches_two(b, "a", "x", "b", "2"));
	assert_false(reaches_two(b, "a", "2", "b", "1"));
	assert_false(reaches_two(b, "x-c", "3", NULL, NULL));
}

static void all_with_x_wants_x_too(void **state)
{
	struct broker *b = *state;
	struct buf p = pattern("all-with-x"), h = two("a", "1", "b", "2");
	bind_args(b, &p);
	assert_false(reaches_two(b, "a", "1", "b", "2"));
	amqp_table_put_string(&h, "x-c", S("3"));
	assert_true(reaches(b, &h));
}

static void any_with_x_is_content_with_x(void **state)
{
	struct broker *b = *state;
	struct buf p = pattern("any-with-x");
	bind_args(b, &p);
	assert_true(reaches_two(b, "x-c", "3", NULL, NULL));
	assert_false(reaches_two(b, "x-match", "any-with-x", "x-c", "4"));
}

static void void_asks_for_presence(void **state)
{
	struct broker *b = *state;
	struct buf p = BUF_EMPTY, h = BUF_EMPTY;
	amqp_table_put_void(&p, "a");
	bind_args(b, &p);
	assert_true(reaches_two(b, "a", "whatever", NULL, NULL));
	amqp_table_put_int(&h, "a", 5);
	assert_true(reaches(b, &h));
	assert_false(reaches_two(b, "b", "", NULL, NULL));
}

static void integers_are_one_class(void **state)
{
	struct broker *b = *state;
	struct buf p = BUF_EMPTY, h = BUF_EMPTY;
	amqp_table_put_int(&p, "a", 10);
	bind_args(b, &p);
	amqp_table_put_long(&h, "a", 10);
	assert_true(reaches(b, &h));
	amqp_table_put_long(&h, "a", 11);
	assert_false(reaches(b, &h));
	assert_false(reaches_two(b, "a", "10", NULL, NULL));
}

static void no_pairs_are_all_but_not_any(void **state)
{
	struct broker *b = *state;
	struct buf all = BUF_EMPTY;
	bind_args(b, &all);
	assert_true(reaches_two(b, NULL, NULL, NULL, NULL));
	assert_true(reaches_two(b, "a", "1", NULL, NULL));
	delete_queue(b, queue(b, "q")->group);
	declare_queue(b, "q");
	struct buf any = two("x-match", "any", NULL, NULL);
	bind_args(b, &any);
	assert_false(reaches_two(b, NULL, NULL, NULL, NULL));
	assert_false(reaches_two(b, "a", "1", NULL, NULL));
}

static void x_match_is_checked(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		bool good;
	} cases[] = {{"all", true}, {"any", true}, {"all-with-x", true}, {"any-with-x", true},
		{"some", false}, {"", false}, {"ALL", false}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf t = two("x-match", cases[i].value, NULL, NULL);
		assert_int_equal(broker_binding_check_headers(buf_slice(&t)), cases[i].good);
		buf_done(&t);
	}
	struct buf t = BUF_EMPTY;
	assert_true(broker_binding_check_headers(buf_slice(&t)));
	amqp_table_put_int(&t, "x-match", 1);
	assert_false(broker_binding_check_headers(buf_slice(&t)));
	buf_done(&t);
}

/* Enough to need the sort; the first of equal keys counts. */
static void many_headers_are_found(void **state)
{
	struct broker *b = *state;
	struct dice d = dice_new(__func__);
	for (int round = 0; round < 200; round++) {
		struct buf p = BUF_EMPTY, h = BUF_EMPTY;
		uint32_t n = 1 + roll(&d, 200), wanted = roll(&d, n);
		char key[16], value[16];
		/* 7919 is prime: the first n numbers run through all keys, the next n again. */
		for (uint32_t i = 0; i < 2 * n; i++) {
			snprintf(key, sizeof key, "%u", i * 7919 % n);
			snprintf(value, sizeof value, i < n ? "v" : "late");
			amqp_table_put_string(&h, key, slice_str(value));
		}
		snprintf(key, sizeof key, "%u", wanted);
		bool bad = roll(&d, 2);
		amqp_table_put_string(&p, key, slice_str(bad ? "late" : "v"));
		struct buf copy = BUF_EMPTY;
		buf_put_slice(&copy, buf_slice(&p));
		bind_args(b, &p);
		assert_int_equal(reaches(b, &h), !bad);
		struct broker_binding_spec s =
			binding_spec("amq.headers", BROKER_TO_QUEUE, "q", "");
		s.arguments = buf_slice(&copy);
		assert_int_equal(unbind_spec(b, s).code, BROKER_OK);
		buf_done(&copy);
		assert_int_equal(b->n_bindings, 0);
	}
}

static void malformed_headers_do_no_harm(void **state)
{
	struct broker *b = *state;
	struct dice d = dice_new(__func__);
	struct buf p = pattern("any");
	bind_args(b, &p);
	for (int i = 0; i < 5000; i++) {
		struct buf h = two("a", "1", "b", "2");
		amqp_table_put_long(&h, "c", 1);
		h.p[roll(&d, (uint32_t)h.n)] = (uint8_t)roll(&d, 256);
		h.n = roll(&d, (uint32_t)h.n + 1);
		reaches(b, &h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			all_wants_every_pair_without_x, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(
			any_wants_one_pair_without_x, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(all_with_x_wants_x_too, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(
			any_with_x_is_content_with_x, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(void_asks_for_presence, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(integers_are_one_class, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(
			no_pairs_are_all_but_not_any, setup_queue, teardown),
		cmocka_unit_test(x_match_is_checked),
		cmocka_unit_test_setup_teardown(many_headers_are_found, setup_queue, teardown),
		cmocka_unit_test_setup_teardown(
			malformed_headers_do_no_harm, setup_queue, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/broker/fixture.h"

/* The names of the queues reached, sorted, as "a b c". Static. */
static const char *names_of(const struct broker_route *r)
{
	static char text[1024];
	char sorted[64][16];
	for (size_t i = 0; i < r->n; i++)
		snprintf(sorted[i], sizeof sorted[i], "%.*s", SLICE_FMT(r->queues[i]->name));
	qsort(sorted, r->n, sizeof sorted[0], (int (*)(const void *, const void *))strcmp);
	*text = '\0';
	for (size_t i = 0; i < r->n; i++) {
		strcat(text, i == 0 ? "" : " ");
		strcat(text, sorted[i]);
	}
	return text;
}

static const char *route(struct broker *b, const char *source, const char *key)
{
	struct broker_route r = {0};
	broker_route_begin(b, &r);
	broker_route(b, exchange(b, source), slice_str(key), NONE, &r);
	const char *names = names_of(&r);
	broker_route_done(&r);
	return names;
}

static void declare_queues(struct broker *b, const char *names)
{
	for (char name[2] = {0}; *names != '\0'; names++) {
		name[0] = *names;
		assert_non_null(declare_queue(b, name));
	}
}

static void the_default_exchange_knows_queues_by_name(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "ab");
	assert_string_equal(route(b, "", "a"), "a");
	assert_string_equal(route(b, "", "c"), "");
	assert_string_equal(route(b, "", ""), "");
	delete_queue(b, queue(b, "a")->group);
	assert_string_equal(route(b, "", "a"), "");
}

static void direct_wants_the_key(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "abc");
	bind_queue(b, "amq.direct", "a", "k");
	bind_queue(b, "amq.direct", "b", "k");
	bind_queue(b, "amq.direct", "c", "");
	assert_string_equal(route(b, "amq.direct", "k"), "a b");
	assert_string_equal(route(b, "amq.direct", ""), "c");
	assert_string_equal(route(b, "amq.direct", "K"), "");
	unbind_queue(b, "amq.direct", "a", "k");
	assert_string_equal(route(b, "amq.direct", "k"), "b");
	unbind_queue(b, "amq.direct", "b", "k");
	assert_string_equal(route(b, "amq.direct", "k"), "");
}

static void fanout_ignores_it(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "abc");
	assert_string_equal(route(b, "amq.fanout", "k"), "");
	bind_queue(b, "amq.fanout", "a", "k");
	bind_queue(b, "amq.fanout", "a", "l");
	bind_queue(b, "amq.fanout", "c", "");
	assert_string_equal(route(b, "amq.fanout", "x"), "a c");
	unbind_queue(b, "amq.fanout", "a", "k");
	assert_string_equal(route(b, "amq.fanout", "x"), "a c");
	unbind_queue(b, "amq.fanout", "a", "l");
	assert_string_equal(route(b, "amq.fanout", "x"), "c");
}

static void a_queue_bound_twice_is_there_once(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "a");
	bind_queue(b, "amq.topic", "a", "#");
	bind_queue(b, "amq.topic", "a", "k.*");
	bind_queue(b, "amq.topic", "a", "*.l");
	assert_string_equal(route(b, "amq.topic", "k.l"), "a");
}

static void bindings_between_exchanges_are_followed(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "abc");
	declare_exchange(b, "f", BROKER_EXCHANGE_FANOUT);
	declare_exchange(b, "t", BROKER_EXCHANGE_TOPIC);
	bind_exchange(b, "f", "t", "");
	bind_exchange(b, "f", "amq.direct", "");
	bind_queue(b, "t", "a", "k.#");
	bind_queue(b, "amq.direct", "b", "k");
	bind_queue(b, "amq.direct", "a", "k");
	bind_queue(b, "f", "c", "");
	assert_string_equal(route(b, "f", "k"), "a b c");
	assert_string_equal(route(b, "f", "k.x"), "a c");
	assert_string_equal(route(b, "f", "x"), "c");
}

static void a_cycle_of_exchanges_ends(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "ab");
	declare_exchange(b, "f", BROKER_EXCHANGE_FANOUT);
	declare_exchange(b, "g", BROKER_EXCHANGE_FANOUT);
	bind_exchange(b, "f", "f", "");
	bind_exchange(b, "f", "g", "");
	bind_exchange(b, "g", "f", "");
	bind_queue(b, "f", "a", "");
	bind_queue(b, "g", "b", "");
	assert_string_equal(route(b, "f", ""), "a b");
	assert_string_equal(route(b, "g", ""), "a b");
}

static struct broker_exchange *declare_with_alternate(
	struct broker *b, const char *name, enum broker_exchange_type type, const char *alternate)
{
	struct buf args = BUF_EMPTY;
	amqp_table_put_string(&args, "alternate-exchange", slice_str(alternate));
	struct broker_exchange *x = declare_exchange_spec(
		b, name, (struct broker_exchange_spec){.type = type, .arguments = buf_slice(&args)})
					    .exchange;
	buf_done(&args);
	return x;
}

static void an_alternate_exchange_gets_what_matches_nothing(void **state)
{
	struct broker *b = *state;
	declare_queues(b, "abc");
	declare_with_alternate(b, "x", BROKER_EXCHANGE_DIRECT, "y");
	declare_with_alternate(b, "loop", BROKER_EXCHANGE_DIRECT, "loop");
	bind_queue(b, "x", "a", "k");
	assert_string_equal(route(b, "x", "other"), ""); /* no y yet */
	declare_with_alternate(b, "y", BROKER_EXCHANGE_DIRECT, "amq.fanout");
	bind_queue(b, "y", "b", "l");
	bind_queue(b, "amq.fanout", "c", "");
	assert_string_equal(route(b, "x", "k"), "a");
	assert_string_equal(route(b, "x", "l"), "b");
	assert_string_equal(route(b, "x", "m"), "c");
	assert_string_equal(route(b, "loop", "m"), "");
	/* Also on the way: the alternate of a destination. */
	bind_exchange(b, "amq.direct", "x", "m");
	bind_queue(b, "amq.direct", "a", "m");
	assert_string_equal(route(b, "amq.direct", "m"), "a c");
	/* A matching binding counts even if it leads nowhere. */
	declare_exchange(b, "void", BROKER_EXCHANGE_FANOUT);
	bind_exchange(b, "x", "void", "n");
	assert_string_equal(route(b, "x", "n"), "");
}

static void several_keys_give_one_copy_per_queue(void **state)
{
	struct broker *b = *state;
	struct broker_route r = {0};
	const struct slice keys[] = {S("k"), S("l"), S("nothing")};
	declare_queues(b, "abc");
	declare_with_alternate(b, "x", BROKER_EXCHANGE_DIRECT, "amq.fanout");
	bind_queue(b, "x", "a", "k");
	bind_queue(b, "x", "a", "l");
	bind_queue(b, "x", "b", "l");
	bind_queue(b, "amq.fanout", "c", "");

	broker_route_begin(b, &r);
	broker_route_keys(b, exchange(b, "x"), keys, 3, NONE, &r);
	assert_string_equal(names_of(&r), "a b");
	broker_route_begin(b, &r);
	broker_route_keys(b, exchange(b, "x"), keys + 2, 1, NONE, &r);
	assert_string_equal(names_of(&r), "c");

	/* One after the other: the alternate exchange sees the third. */
	broker_route_begin(b, &r);
	for (int i = 0; i < 3; i++)
		broker_route(b, exchange(b, "x"), keys[i], NONE, &r);
	assert_string_equal(names_of(&r), "a b c");
	broker_route_done(&r);
}

static void the_version_grows_when_routes_may_change(void **state)
{
	struct broker *b = *state;
	uint64_t v = b->version;
#define GROWS(what)                          \
	do {                                 \
		what;                        \
		assert_true(b->version > v); \
		v = b->version;              \
	} while (0)
	GROWS(declare_queue(b, "q"));
	GROWS(declare_exchange(b, "x", BROKER_EXCHANGE_DIRECT));
	GROWS(bind_queue(b, "x", "q", "k"));
	bind_queue(b, "x", "q", "k");
	declare_queue(b, "q");
	assert_true(b->version == v);
	GROWS(unbind_queue(b, "x", "q", "k"));
	GROWS(delete_exchange(b, "x", false));
	GROWS(delete_queue(b, queue(b, "q")->group));
	uint64_t a = b->auth_version;
	struct buf c = BUF_EMPTY;
	broker_put_add_user(&c, S("u"), NONE, BROKER_PASSWORD_SHA256, NONE);
	apply(b, &c);
	assert_true(b->version == v);
	assert_true(b->auth_version > a);
#undef GROWS
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_default_exchange_knows_queues_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(direct_wants_the_key, setup, teardown),
		cmocka_unit_test_setup_teardown(fanout_ignores_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_queue_bound_twice_is_there_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			bindings_between_exchanges_are_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cycle_of_exchanges_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_alternate_exchange_gets_what_matches_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(
			several_keys_give_one_copy_per_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_version_grows_when_routes_may_change, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

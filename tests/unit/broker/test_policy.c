/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/broker/fixture.h"

/* A policy with one number in it. */
static struct broker_result put_number_in(struct broker *b, enum broker_policy_kind kind,
	const char *name, const char *pattern, int64_t priority, const char *key, int64_t number,
	enum broker_apply_to to)
{
	struct buf d = BUF_EMPTY;
	amqp_table_put_long(&d, key, number);
	struct broker_result r = set_policy(b, kind, name,
		&(struct broker_policy_spec){.pattern = slice_str(pattern),
			.apply_to = to,
			.priority = priority,
			.definition = buf_slice(&d)});
	buf_done(&d);
	return r;
}

static void put_number(struct broker *b, const char *name, const char *pattern, int64_t priority,
	const char *key, int64_t number)
{
	assert_int_equal(put_number_in(b, BROKER_POLICY_USER, name, pattern, priority, key, number,
				 BROKER_APPLY_TO_ALL)
				 .code,
		BROKER_OK);
}

static void put_string(struct broker *b, const char *name, const char *pattern, const char *key,
	const char *value)
{
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, key, slice_str(value));
	struct broker_result r = set_policy(b, BROKER_POLICY_USER, name,
		&(struct broker_policy_spec){
			.pattern = slice_str(pattern), .definition = buf_slice(&d)});
	assert_int_equal(r.code, BROKER_OK);
	buf_done(&d);
}

static int64_t number_of(const struct broker_queue *q, const char *key)
{
	struct amqp_value v;
	return broker_effective_get(q->effective, key, &v) ? v.u.i : -1;
}

static void assert_policy(const struct broker_queue *q, const char *name)
{
	const struct broker_policy *p = q->effective != NULL ? q->effective->policy : NULL;
	if (name == NULL) {
		assert_null(p);
		return;
	}
	assert_non_null(p);
	assert_true(slice_is(p->name, name));
}

static struct broker_queue *declare_typed(struct broker *b, const char *name, const char *type)
{
	struct buf a = BUF_EMPTY;
	amqp_table_put_string(&a, "x-queue-type", slice_str(type));
	struct broker_queue *q = declare_queue_spec(b, name,
		(struct broker_queue_spec){.durable = true, .arguments = buf_slice(&a)})
					 .queue;
	buf_done(&a);
	return q;
}

static void the_highest_priority_that_matches_applies(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "orders.eu");
	put_number(b, "low", "^orders", 1, "max-length", 1);
	put_number(b, "high", "eu", 5, "max-length", 5);
	put_number(b, "other", "^invoices", 9, "max-length", 9);
	assert_policy(q, "high");
	assert_int_equal(number_of(q, "max-length"), 5);
	/* The same for what is declared later. */
	assert_policy(declare_queue(b, "orders.us"), "low");
	assert_policy(declare_queue(b, "new.eu"), "high");
	assert_policy(declare_queue(b, "invoices"), "other");
	assert_policy(declare_queue(b, "none"), NULL);
	assert_int_equal(clear_policy(b, BROKER_POLICY_USER, "high").code, BROKER_OK);
	assert_policy(q, "low");
	assert_policy(queue(b, "new.eu"), NULL);
	assert_int_equal(clear_policy(b, BROKER_POLICY_USER, "high").code, BROKER_NOT_FOUND);
}

static void of_equal_priorities_the_first_name_applies(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "q");
	put_number(b, "b", "", 0, "max-length", 1);
	assert_policy(q, "b");
	put_number(b, "a", "", 0, "max-length", 2);
	assert_policy(q, "a");
	put_number(b, "ab", "", 0, "max-length", 3);
	assert_policy(q, "a");
	assert_policy(declare_queue(b, "r"), "a");
	assert_true(slice_is(broker_policy_at(root(b), BROKER_POLICY_USER, 0)->name, "a"));
	assert_true(slice_is(broker_policy_at(root(b), BROKER_POLICY_USER, 1)->name, "ab"));
	assert_true(slice_is(broker_policy_at(root(b), BROKER_POLICY_USER, 2)->name, "b"));
	assert_null(broker_policy_at(root(b), BROKER_POLICY_USER, 3));
}

static void a_changed_policy_is_matched_anew(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "q"), *r = declare_queue(b, "r");
	put_number(b, "p", "q", 5, "max-length", 1);
	put_number(b, "rest", "", 3, "max-length", 3);
	put_number(b, "p", "r", 5, "max-length", 2);
	assert_policy(q, "rest");
	assert_policy(r, "p");
	assert_int_equal(number_of(r, "max-length"), 2);
	put_number(b, "p", "r", 1, "max-length", 2);
	assert_policy(r, "rest");
	put_number(b, "rest", "r", 0, "max-length", 4);
	assert_policy(q, NULL);
	assert_policy(r, "p");
	put_number(b, "p", "(", 1, "max-length", 2);
	assert_policy(r, "rest");
}

static void policies_are_for_what_they_are_applied_to(void **state)
{
	struct broker *b = *state;
	static const bool takes[BROKER_APPLY_TO_VALUES][4] = {
		[BROKER_APPLY_TO_ALL] = {true, true, true, true},
		[BROKER_APPLY_TO_QUEUES] = {true, true, true, false},
		[BROKER_APPLY_TO_EXCHANGES] = {false, false, false, true},
		[BROKER_APPLY_TO_CLASSIC_QUEUES] = {true, false, false, false},
		[BROKER_APPLY_TO_QUORUM_QUEUES] = {false, true, false, false},
		[BROKER_APPLY_TO_STREAMS] = {false, false, true, false},
	};
	struct broker_queue *classic = declare_queue(b, "a");
	struct broker_queue *quorum = declare_typed(b, "b", "quorum");
	struct broker_queue *stream = declare_typed(b, "c", "stream");
	struct broker_exchange *x = declare_exchange(b, "d", BROKER_EXCHANGE_DIRECT);
	for (int to = 0; to < BROKER_APPLY_TO_VALUES; to++) {
		put_number_in(b, BROKER_POLICY_USER, "p", "", 0, "max-length", 1, to);
		assert_int_equal(classic->effective != NULL, takes[to][0]);
		assert_int_equal(quorum->effective != NULL, takes[to][1]);
		assert_int_equal(stream->effective != NULL, takes[to][2]);
		assert_int_equal(x->effective != NULL, takes[to][3]);
	}
}

static void a_policy_with_a_foreign_key_is_not_for_the_type(void **state)
{
	struct broker *b = *state;
	struct broker_queue *classic = declare_queue(b, "a");
	struct broker_queue *quorum = declare_typed(b, "b", "quorum");
	put_number(b, "rest", "", 0, "max-length", 1);
	put_string(b, "ha", "", "ha-mode", "all");
	assert_policy(classic, "ha");
	assert_policy(quorum, "rest");
	put_string(b, "age", "", "max-age", "1D");
	assert_policy(classic, "ha");
	assert_policy(quorum, "rest");
	put_number(b, "alimit", "", 0, "delivery-limit", 1);
	assert_policy(classic, "alimit");
	assert_policy(quorum, "alimit");
}

static void an_operator_policy_makes_it_stricter(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "q");
	put_number(b, "p", "", 0, "max-length", 100);
	put_number_in(b, BROKER_POLICY_OPERATOR, "o", "", 0, "max-length", 10, BROKER_APPLY_TO_ALL);
	assert_int_equal(number_of(q, "max-length"), 10);
	assert_policy(q, "p");
	assert_true(slice_is(q->effective->operator_policy->name, "o"));
	put_number_in(b, BROKER_POLICY_OPERATOR, "o", "", 0, "max-length", 500, BROKER_APPLY_TO_ALL);
	assert_int_equal(number_of(q, "max-length"), 100);
	put_number_in(b, BROKER_POLICY_OPERATOR, "o", "", 0, "message-ttl", 7, BROKER_APPLY_TO_ALL);
	assert_int_equal(number_of(q, "max-length"), 100);
	assert_int_equal(number_of(q, "message-ttl"), 7);
	clear_policy(b, BROKER_POLICY_USER, "p");
	assert_int_equal(number_of(q, "max-length"), -1);
	assert_int_equal(number_of(q, "message-ttl"), 7);
	clear_policy(b, BROKER_POLICY_OPERATOR, "o");
	assert_null(q->effective);
}

static void of_two_ha_modes_that_with_more_copies_holds(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "q");
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, "ha-mode", S("exactly"));
	amqp_table_put_long(&d, "ha-params", 3);
	struct broker_policy_spec s = {.definition = buf_slice(&d)};
	set_policy(b, BROKER_POLICY_OPERATOR, "o", &s);
	assert_int_equal(q->effective->ha_mode, BROKER_HA_EXACTLY);
	buf_clear(&d);
	amqp_table_put_string(&d, "ha-mode", S("exactly"));
	amqp_table_put_long(&d, "ha-params", 2);
	s.definition = buf_slice(&d);
	set_policy(b, BROKER_POLICY_USER, "p", &s);
	assert_int_equal(q->effective->ha_count, 3);
	put_string(b, "p", "", "ha-mode", "all");
	assert_int_equal(q->effective->ha_mode, BROKER_HA_ALL);
	buf_done(&d);
}

static void objects_with_the_same_policies_share_what_these_say(void **state)
{
	struct broker *b = *state;
	put_number(b, "p", "", 0, "max-length", 1);
	struct broker_queue *q = declare_queue(b, "q"), *r = declare_queue(b, "r");
	assert_ptr_equal(q->effective, r->effective);
	put_number_in(b, BROKER_POLICY_OPERATOR, "o", "r", 0, "max-length", 1, BROKER_APPLY_TO_ALL);
	assert_ptr_not_equal(q->effective, r->effective);
	clear_policy(b, BROKER_POLICY_OPERATOR, "o");
	assert_ptr_equal(q->effective, r->effective);
	clear_policy(b, BROKER_POLICY_USER, "p");
	assert_true(list_empty(&root(b)->effectives));
}

/* ---- the watch ---- */

struct seen {
	unsigned n;
	const struct broker_queue *last;
};

static void on_changed(void *arg, struct broker_queue *q)
{
	struct seen *s = arg;
	s->n++;
	s->last = q;
}

static void the_watch_is_told_of_queues_whose_policy_changed(void **state)
{
	(void)state;
	struct seen seen = {0};
	const struct broker_watch watch = {.arg = &seen, .queue_changed = on_changed};
	struct broker *b = broker_new(&watch);
	add_vhost(b, "/");
	declare_queue(b, "other");
	const struct broker_queue *q = declare_queue(b, "q");
	put_number(b, "p", "^q", 0, "max-length", 1);
	assert_int_equal(seen.n, 1);
	assert_ptr_equal(seen.last, q);
	/* The same again. */
	put_number(b, "p", "^q", 0, "max-length", 1);
	assert_int_equal(seen.n, 1);
	put_number(b, "p", "^q", 0, "max-length", 2);
	assert_int_equal(seen.n, 2);
	/* Comes after one that applies. */
	put_number(b, "z", "^q", 0, "max-length", 3);
	assert_int_equal(seen.n, 2);
	clear_policy(b, BROKER_POLICY_USER, "z");
	assert_int_equal(seen.n, 2);
	clear_policy(b, BROKER_POLICY_USER, "p");
	assert_int_equal(seen.n, 3);
	broker_free(b);
}

/* ---- exchanges ---- */

static size_t routed(struct broker *b, const char *exchange_name)
{
	struct broker_route r = {0};
	broker_route_begin(b, &r);
	broker_route(b, exchange(b, exchange_name), S("nowhere"), NONE, &r);
	size_t n = r.n;
	broker_route_done(&r);
	return n;
}

static void an_alternate_exchange_comes_by_policy(void **state)
{
	struct broker *b = *state;
	declare_queue(b, "lost");
	declare_exchange(b, "dump", BROKER_EXCHANGE_FANOUT);
	bind_queue(b, "dump", "lost", "");
	declare_exchange(b, "x", BROKER_EXCHANGE_DIRECT);
	assert_int_equal(routed(b, "x"), 0);
	uint64_t version = b->version;
	put_string(b, "ae", "^x$", "alternate-exchange", "dump");
	assert_true(b->version > version);
	assert_int_equal(routed(b, "x"), 1);
	version = b->version;
	put_string(b, "unrelated", "^y$", "alternate-exchange", "dump");
	assert_true(b->version == version);
	clear_policy(b, BROKER_POLICY_USER, "ae");
	assert_int_equal(routed(b, "x"), 0);
}

static void an_argument_comes_before_a_policy(void **state)
{
	struct broker *b = *state;
	struct buf a = BUF_EMPTY;
	amqp_table_put_string(&a, "alternate-exchange", S("mine"));
	struct broker_exchange *x = declare_exchange_spec(b, "x",
		(struct broker_exchange_spec){.durable = true, .arguments = buf_slice(&a)})
					    .exchange;
	put_string(b, "ae", "", "alternate-exchange", "theirs");
	assert_true(slice_is(x->alternate, "mine"));
	assert_true(slice_is(declare_exchange(b, "y", BROKER_EXCHANGE_DIRECT)->alternate, "theirs"));
	buf_done(&a);
}

/* ---- odd ones ---- */

static void a_policy_needs_a_vhost_and_a_name(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	const struct broker_policy_spec s = {.definition = NONE};
	broker_put_set_policy(&c, S("absent"), S("p"), BROKER_POLICY_USER, &s);
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
	assert_int_equal(set_policy(b, BROKER_POLICY_USER, "", &s).code, BROKER_BAD_NAME);
}

static void a_definition_has_a_bounded_number_of_keys(void **state)
{
	struct broker *b = *state;
	struct buf d = BUF_EMPTY;
	char key[16];
	for (int i = 0; i < 101; i++) {
		snprintf(key, sizeof key, "k%d", i);
		amqp_table_put_int(&d, key, i);
	}
	const struct broker_policy_spec s = {.definition = buf_slice(&d)};
	assert_int_equal(set_policy(b, BROKER_POLICY_USER, "p", &s).code, BROKER_MALFORMED);
	buf_done(&d);
}

static void policies_go_with_their_vhost(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	put_number(b, "p", "", 0, "max-length", 1);
	put_number_in(b, BROKER_POLICY_OPERATOR, "o", "", 0, "max-length", 1, BROKER_APPLY_TO_ALL);
	declare_queue(b, "q");
	broker_put_delete_vhost(&c, S("/"));
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	add_vhost(b, "/");
	assert_null(declare_queue(b, "q")->effective);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_highest_priority_that_matches_applies),
		TEST(of_equal_priorities_the_first_name_applies),
		TEST(a_changed_policy_is_matched_anew),
		TEST(policies_are_for_what_they_are_applied_to),
		TEST(a_policy_with_a_foreign_key_is_not_for_the_type),
		TEST(an_operator_policy_makes_it_stricter),
		TEST(of_two_ha_modes_that_with_more_copies_holds),
		TEST(objects_with_the_same_policies_share_what_these_say),
		TEST(the_watch_is_told_of_queues_whose_policy_changed),
		TEST(an_alternate_exchange_comes_by_policy),
		TEST(an_argument_comes_before_a_policy),
		TEST(a_policy_needs_a_vhost_and_a_name),
		TEST(a_definition_has_a_bounded_number_of_keys),
		TEST(policies_go_with_their_vhost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

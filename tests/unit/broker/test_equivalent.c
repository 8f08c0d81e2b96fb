/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/equivalent.h"
#include "tests/unit/broker/fixture.h"

static char text[512];

static void queue_says(struct broker *b, struct broker_queue_spec declared, const char *expected)
{
	*text = '\0';
	bool same = broker_queue_equivalent(queue(b, "q"), &declared, text, sizeof text);
	assert_string_equal(text, expected);
	assert_int_equal(same, *expected == '\0');
}

static void exchange_says(
	struct broker *b, struct broker_exchange_spec declared, const char *expected)
{
	*text = '\0';
	bool same = broker_exchange_equivalent(exchange(b, "x"), &declared, text, sizeof text);
	assert_string_equal(text, expected);
	assert_int_equal(same, *expected == '\0');
}

static void properties_of_a_queue(void **state)
{
	struct broker *b = *state;
	struct broker_queue_spec s = {.durable = true};
	declare_queue_spec(b, "q", s);
	queue_says(b, s, "");
	s.created_ms = 5;
	s.home_node = 7;
	queue_says(b, s, "");
	s.durable = false;
	queue_says(b, s,
		"inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but "
		"current is 'true'");
	s.durable = s.auto_delete = true;
	queue_says(b, s,
		"inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received 'true' but "
		"current is 'false'");
}

static void arguments_of_a_queue(void **state)
{
	struct broker *b = *state;
	struct buf none = BUF_EMPTY, args = BUF_EMPTY, other = BUF_EMPTY;
	struct broker_queue_spec s = {.durable = true};
	declare_queue_spec(b, "q", s);
	amqp_table_put_int(&args, "x-max-length", 10);
	s.arguments = buf_slice(&args);
	queue_says(b, s,
		"inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value "
		"'10' of type 'signedint' but current is none");

	delete_queue(b, 1);
	declare_queue_spec(b, "q", s);
	queue_says(b, s, "");
	s.arguments = buf_slice(&none);
	queue_says(b, s,
		"inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but "
		"current is the value '10' of type 'signedint'");
	amqp_table_put_long(&other, "x-max-length", 10); /* another width, and an unknown one */
	amqp_table_put_string(&other, "x-of-my-own", S("v"));
	s.arguments = buf_slice(&other);
	queue_says(b, s, "");
	buf_clear(&other);
	amqp_table_put_long(&other, "x-max-length", 11);
	s.arguments = buf_slice(&other);
	queue_says(b, s,
		"inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received '11' but "
		"current is '10'");
	buf_done(&args);
	buf_done(&other);
}

static void a_missing_queue_type_is_classic(void **state)
{
	struct broker *b = *state;
	struct buf args = BUF_EMPTY;
	struct broker_queue_spec s = {.durable = true};
	declare_queue_spec(b, "q", s);
	amqp_table_put_string(&args, "x-queue-type", S("classic"));
	s.arguments = buf_slice(&args);
	queue_says(b, s, "");
	buf_clear(&args);
	amqp_table_put_string(&args, "x-queue-type", S("quorum"));
	s.arguments = buf_slice(&args);
	queue_says(b, s,
		"inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value "
		"'quorum' of type 'longstr' but current is none");
	buf_done(&args);
}

static void properties_of_an_exchange(void **state)
{
	struct broker *b = *state;
	struct buf args = BUF_EMPTY;
	struct broker_exchange_spec s = {.type = BROKER_EXCHANGE_TOPIC, .durable = true};
	declare_exchange_spec(b, "x", s);
	exchange_says(b, s, "");
	s.type = BROKER_EXCHANGE_DIRECT;
	exchange_says(b, s,
		"inequivalent arg 'type' for exchange 'x' in vhost '/': received 'direct' but "
		"current is 'topic'");
	s.type = BROKER_EXCHANGE_TOPIC;
	s.durable = false;
	exchange_says(b, s,
		"inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'false' but "
		"current is 'true'");
	s.durable = s.auto_delete = true;
	exchange_says(b, s,
		"inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': received 'true' but "
		"current is 'false'");
	s.auto_delete = false;
	s.internal = true;
	exchange_says(b, s,
		"inequivalent arg 'internal' for exchange 'x' in vhost '/': received 'true' but "
		"current is 'false'");
	s.internal = false;
	amqp_table_put_int(&args, "other", 1);
	s.arguments = buf_slice(&args);
	exchange_says(b, s, "");
	amqp_table_put_string(&args, "alternate-exchange", S("y"));
	s.arguments = buf_slice(&args);
	exchange_says(b, s,
		"inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received the "
		"value 'y' of type 'longstr' but current is none");
	buf_done(&args);
}

static void a_long_text_is_cut(void **state)
{
	struct broker *b = *state;
	char small[8];
	declare_queue(b, "q");
	const struct broker_queue_spec s = {0};
	assert_false(broker_queue_equivalent(queue(b, "q"), &s, small, sizeof small));
	assert_string_equal(small, "inequiv");
}

static void types_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < BROKER_EXCHANGE_TYPES; i++) {
		enum broker_exchange_type t;
		assert_true(broker_exchange_type_of(
			slice_str(broker_exchange_type_name((enum broker_exchange_type)i)), &t));
		assert_int_equal(t, i);
	}
	for (int i = 0; i <= BROKER_QUEUE_STREAM; i++) {
		enum broker_queue_type t;
		assert_true(broker_queue_type_of(
			slice_str(broker_queue_type_name((enum broker_queue_type)i)), &t));
		assert_int_equal(t, i);
	}
	enum broker_exchange_type x;
	enum broker_queue_type q;
	assert_false(broker_exchange_type_of(S("x-random"), &x));
	assert_false(broker_queue_type_of(S("lazy"), &q));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(properties_of_a_queue),
		TEST(arguments_of_a_queue),
		TEST(a_missing_queue_type_is_classic),
		TEST(properties_of_an_exchange),
		TEST(a_long_text_is_cut),
		cmocka_unit_test(types_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

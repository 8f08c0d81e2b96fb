/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts are those of RabbitMQ 3.10.8, as its own validators gave them for these definitions.
 */
#include "src/broker/definition.h"
#include "src/broker/policy_check.h"
#include "tests/unit/broker/fixture.h"

struct outcome {
	bool ok;
	struct broker_policy_spec spec;
	struct buf table, why;
};

static struct outcome check(struct policy_text text)
{
	struct outcome o = {0};
	o.ok = policy_check(&text, &o.spec, &o.table, &o.why);
	buf_put_u8(&o.why, '\0');
	return o;
}

static void outcome_done(struct outcome *o)
{
	buf_done(&o->table);
	buf_done(&o->why);
}

static void assert_refused(struct policy_text text, const char *why)
{
	struct outcome o = check(text);
	assert_false(o.ok);
	assert_string_equal((const char *)o.why.p, why);
	outcome_done(&o);
}

static struct policy_text definition(enum broker_policy_kind kind, const char *json)
{
	return (struct policy_text){
		.kind = kind, .name = S("p"), .pattern = S(".*"), .definition = slice_str(json)};
}

static const struct {
	const char *json, *why;
} refusals[] = {
	{"{}", "no policy provided"},
	{"[1,2]", "definition must be a dictionary: [1,2]"},
	{"{\"message-ttl\":\"often\"}", "<<\"often\">> is not a valid message TTL"},
	{"{\"message-ttl\":-1}", "-1 is not a valid message TTL"},
	{"{\"expires\":0}", "0 is not a valid queue expiry"},
	{"{\"max-length\":true}", "true is not a valid maximum length"},
	{"{\"max-length-bytes\":null}", "null is not a valid maximum length in bytes"},
	{"{\"max-in-memory-length\":[1,2]}", "[1,2] is not a valid maximum memory in bytes"},
	{"{\"max-in-memory-bytes\":{\"a\":1}}",
		"#{<<\"a\">> => 1} is not a valid maximum memory in bytes"},
	{"{\"overflow\":\"drop\"}", "<<\"drop\">> is not a valid overflow value"},
	{"{\"queue-mode\":\"eager\"}", "<<\"eager\">> is not a valid queue-mode value"},
	{"{\"queue-version\":3}", "3 is not a valid queue-version value"},
	{"{\"delivery-limit\":-5}", "-5 is not a valid delivery limit"},
	{"{\"dead-letter-exchange\":5}", "5 is not a valid dead letter exchange name"},
	{"{\"dead-letter-routing-key\":false}", "false is not a valid dead letter routing key"},
	{"{\"dead-letter-strategy\":\"never\"}",
		"<<\"never\">> is not a valid dead letter strategy"},
	{"{\"alternate-exchange\":[\"x\"]}",
		"[<<\"x\">>] is not a valid alternate exchange name"},
	{"{\"queue-leader-locator\":\"left\"}",
		"<<\"left\">> is not a valid queue leader locator value"},
	{"{\"queue-master-locator\":\"left\"}", "<<\"left\">> invalid queue-master-locator value"},
	{"{\"initial-cluster-size\":\"3\"}", "<<\"3\">> is not a valid cluster size"},
	{"{\"max-age\":\"5x\"}", "<<\"5x\">> is not a valid max age"},
	{"{\"max-age\":\"0s\"}", "<<\"0s\">> is not a valid max age"},
	{"{\"stream-max-segment-size-bytes\":3000000001}",
		"3000000001 is not a valid segment size"},
	{"{\"ha-params\":2}", "ha-mode must be specified to specify ha-params, ha-sync-mode or "
			      "ha-promote-on-shutdown"},
	{"{\"ha-mode\":\"most\"}", "<<\"most\">> is not a valid ha-mode value"},
	{"{\"ha-mode\":5}", "5 is not a valid ha-mode value"},
	{"{\"ha-mode\":\"all\",\"ha-params\":2}", "ha-mode=\"all\" does not take parameters"},
	{"{\"ha-mode\":\"exactly\"}", "ha-mode=\"exactly\" takes an integer, none given"},
	{"{\"ha-mode\":\"exactly\",\"ha-params\":\"2\"}",
		"ha-mode=\"exactly\" takes an integer, <<\"2\">> given"},
	{"{\"ha-mode\":\"exactly\",\"ha-params\":0}",
		"ha-mode=\"exactly\" takes an integer, 0 given"},
	{"{\"ha-mode\":\"nodes\"}", "ha-mode=\"nodes\" takes a list, none given"},
	{"{\"ha-mode\":\"nodes\",\"ha-params\":[]}", "ha-mode=\"nodes\" list must be non-empty"},
	{"{\"ha-mode\":\"nodes\",\"ha-params\":[\"a@b\",1]}",
		"ha-mode=\"nodes\" takes a list of strings, [1] was not a string"},
	{"{\"ha-mode\":\"nodes\",\"ha-params\":\"a@b\"}",
		"ha-mode=\"nodes\" takes a list, <<\"a@b\">> given"},
	{"{\"ha-mode\":\"all\",\"ha-sync-mode\":\"sometimes\"}",
		"ha-sync-mode must be \"manual\" or \"automatic\", got <<\"sometimes\">>"},
	{"{\"ha-mode\":\"all\",\"ha-sync-batch-size\":0}",
		"ha-sync-batch-size takes an integer greater than 0, 0 given"},
	{"{\"ha-mode\":\"all\",\"ha-promote-on-shutdown\":\"never\"}",
		"ha-promote-on-shutdown must be \"always\" or \"when-synced\", got <<\"never\">>"},
	{"{\"ha-mode\":\"all\",\"ha-promote-on-failure\":true}",
		"ha-promote-on-failure must be \"always\" or \"when-synced\", got true"},
	/* One of several. */
	{"{\"max-length\":\"a\",\"expires\":\"b\"}", "<<\"b\">> is not a valid queue expiry"},
	{"{\"ha-sync-mode\":\"automatic\",\"message-ttl\":\"x\"}",
		"<<\"x\">> is not a valid message TTL"},
	{"{\"message-ttl\":\"x\",\"queue-master-locator\":\"left\",\"ha-params\":2}",
		"<<\"left\">> invalid queue-master-locator value"},
	{"{\"message-ttl\":\"x\",\"unknown\":1}", "<<\"x\">> is not a valid message TTL"},
	/* Terms. */
	{"{\"message-ttl\":\"\"}", "<<>> is not a valid message TTL"},
	{"{\"message-ttl\":\"a\\\"b\\\\c\\nd\"}",
		"<<\"a\\\"b\\\\c\\nd\">> is not a valid message TTL"},
	{"{\"message-ttl\":\"\\u00e4\"}", "<<\"\xc3\x83\xc2\xa4\">> is not a valid message TTL"},
	{"{\"message-ttl\":[97,98]}", "\"ab\" is not a valid message TTL"},
	{"{\"message-ttl\":[]}", "[] is not a valid message TTL"},
	{"{\"message-ttl\":{}}", "#{} is not a valid message TTL"},
	{"{\"message-ttl\":1.5}", "1.5 is not a valid message TTL"},
	{"{\"message-ttl\":0.1}", "0.1 is not a valid message TTL"},
	{"{\"message-ttl\":0.001}", "0.001 is not a valid message TTL"},
	{"{\"message-ttl\":0.00001}", "1.0e-5 is not a valid message TTL"},
	{"{\"message-ttl\":-2.5e-7}", "-2.5e-7 is not a valid message TTL"},
	{"{\"message-ttl\":100.0}", "100.0 is not a valid message TTL"},
	{"{\"message-ttl\":1000.0}", "1.0e3 is not a valid message TTL"},
	{"{\"message-ttl\":1234567.0}", "1234567.0 is not a valid message TTL"},
	{"{\"message-ttl\":123456789012.5}", "123456789012.5 is not a valid message TTL"},
	{"{\"message-ttl\":1.5e10}", "1.5e10 is not a valid message TTL"},
	{"{\"message-ttl\":1e30}", "1.0e30 is not a valid message TTL"},
};

static void what_is_wrong_is_refused_in_rabbitmqs_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		char why[300];
		snprintf(why, sizeof why, "Validation failed\n\n%s", refusals[i].why);
		assert_refused(definition(BROKER_POLICY_USER, refusals[i].json), why);
	}
}

static void unknown_keys_are_refused(void **state)
{
	(void)state;
	assert_refused(definition(BROKER_POLICY_USER, "{\"another\":\"x\",\"unknown\":1}"),
		"Validation failed\n\n[{<<\"another\">>,<<\"x\">>},{<<\"unknown\">>,1}] are not "
		"recognised policy settings");
	assert_refused(definition(BROKER_POLICY_OPERATOR, "{\"overflow\":\"nonsense\"}"),
		"Validation failed\n\n[{<<\"overflow\">>,<<\"nonsense\">>}] are not recognised "
		"policy settings");
	assert_refused(definition(BROKER_POLICY_OPERATOR, "{\"ha-promote-on-failure\":\"always\"}"),
		"Validation failed\n\n[{<<\"ha-promote-on-failure\">>,<<\"always\">>}] are not "
		"recognised policy settings");
}

static void what_is_no_json_is_refused(void **state)
{
	(void)state;
	struct outcome o = check(definition(BROKER_POLICY_USER, "{\"message-ttl\":"));
	assert_false(o.ok);
	assert_memory_equal(o.why.p, "JSON decoding error. Reason: ", 29);
	outcome_done(&o);
	assert_refused(
		definition(BROKER_POLICY_USER, "{\"max-length\":1,\"max-length\":2}"),
		"Validation failed\n\n[<<\"max-length\">>] duplicate keys not allowed");
}

static void all_faults_of_a_policy_are_told(void **state)
{
	(void)state;
	struct policy_text text = definition(BROKER_POLICY_USER, "{\"expires\":0}");
	text.apply_to = S("everything");
	text.pattern = S("(");
	assert_refused(text,
		"Validation failed\n\n"
		"0 is not a valid queue expiry\n"
		"apply-to 'everything' unrecognised; should be 'queues', 'exchanges' or 'all'\n"
		"pattern should be regular expression but is invalid: "
		"{\"missing closing parenthesis\",1}");
}

static void a_good_definition_becomes_a_table(void **state)
{
	(void)state;
	struct policy_text text = definition(BROKER_POLICY_USER,
		"{\"message-ttl\":60000,\"ha-mode\":\"nodes\",\"ha-params\":[\"a@b\",\"c@d\"]}");
	text.apply_to = S("queues");
	struct outcome o = check(text);
	assert_true(o.ok);
	assert_int_equal(o.why.n, 1);
	assert_int_equal(o.spec.apply_to, BROKER_APPLY_TO_QUEUES);
	assert_true(slice_eq(o.spec.pattern, S(".*")));
	assert_true(amqp_table_check(o.spec.definition));
	json_t *json = definition_of_table(o.spec.definition);
	char *printed = json_dumps(json, JSON_COMPACT);
	/* Sorted, as RabbitMQ lists it. */
	assert_string_equal(printed, "{\"ha-mode\":\"nodes\",\"ha-params\":[\"a@b\",\"c@d\"],"
				     "\"message-ttl\":60000}");
	free(printed);
	json_decref(json);
	outcome_done(&o);
}

static void good_definitions_are_taken(void **state)
{
	(void)state;
	static const char *const good[] = {
		"{\"ha-mode\":\"all\",\"ha-sync-mode\":\"automatic\"}",
		"{\"ha-mode\":\"exactly\",\"ha-params\":2,\"ha-sync-batch-size\":100}",
		"{\"max-age\":\"7D\"}",
		"{\"federation-upstream-set\":\"all\"}",
		"{\"queue-mode\":\"lazy\",\"queue-version\":2,\"overflow\":\"reject-publish\"}",
		"{\"queue-master-locator\":\"min-masters\",\"delivery-limit\":0}",
		"{\"dead-letter-exchange\":\"\",\"dead-letter-routing-key\":\"k\"}",
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct outcome o = check(definition(BROKER_POLICY_USER, good[i]));
		assert_true(o.ok);
		outcome_done(&o);
	}
	struct outcome o = check(definition(
		BROKER_POLICY_OPERATOR, "{\"max-length\":5,\"ha-mode\":\"all\"}"));
	assert_true(o.ok);
	outcome_done(&o);
}

static void tables_become_json(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	amqp_table_put_bool(&b, "yes", true);
	amqp_table_put_double(&b, "half", 0.5);
	amqp_table_put_void(&b, "nothing");
	amqp_table_put_string(&b, "latin", S("a\xe4"));
	size_t mark = amqp_table_begin_table(&b, "inner");
	amqp_table_put_int(&b, "one", 1);
	amqp_table_end(&b, mark);
	json_t *json = definition_of_table(buf_slice(&b));
	char *printed = json_dumps(json, JSON_COMPACT);
	assert_string_equal(printed, "{\"yes\":true,\"half\":0.5,\"nothing\":null,"
				     "\"latin\":\"a\xef\xbf\xbd\",\"inner\":{\"one\":1}}");
	free(printed);
	json_decref(json);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_refused_in_rabbitmqs_words),
		cmocka_unit_test(unknown_keys_are_refused),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(all_faults_of_a_policy_are_told),
		cmocka_unit_test(a_good_definition_becomes_a_table),
		cmocka_unit_test(good_definitions_are_taken),
		cmocka_unit_test(tables_become_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

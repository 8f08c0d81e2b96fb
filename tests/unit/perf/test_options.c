/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/perf/options.h"
#include "src/perf/pattern.h"

enum { ARGS_MAX = 24 };

struct parsed {
	struct options o;
	char err[200];
	int rc;
};

/* `line` is split at spaces; valid until the next call. */
static struct parsed *parse(const char *line)
{
	static struct parsed p;
	static char words[512];
	static char *argv[ARGS_MAX + 1];
	int argc = 1;
	argv[0] = "warren-perf";
	strncpy(words, line, sizeof words - 1);
	for (char *w = strtok(words, " "); w != NULL && argc < ARGS_MAX; w = strtok(NULL, " "))
		argv[argc++] = w;
	p.rc = options_parse(&p.o, argc, argv, p.err, sizeof p.err);
	return &p;
}

static void refused(const char *line, const char *text)
{
	struct parsed *p = parse(line);
	assert_int_equal(p->rc, -1);
	if (strstr(p->err, text) == NULL)
		fail_msg("'%s' says: %s", line, p->err);
	options_done(&p->o);
}

static void test_defaults(void **state)
{
	(void)state;
	struct parsed *p = parse("");
	assert_int_equal(p->rc, 0);
	assert_int_equal(p->o.mode, MODE_BOTH);
	assert_int_equal(p->o.uris, 1);
	assert_string_equal(p->o.uri[0].host, "127.0.0.1");
	assert_string_equal(p->o.uri[0].port, "5672");
	assert_string_equal(p->o.uri[0].user, "guest");
	assert_string_equal(p->o.uri[0].password, "guest");
	assert_string_equal(p->o.uri[0].vhost, "/");
	assert_string_equal(p->o.queue, "perf");
	assert_string_equal(p->o.routing_key, "perf");
	assert_string_equal(p->o.exchange, "");
	assert_int_equal(p->o.producers, 1);
	assert_int_equal(p->o.consumers, 1);
	assert_int_equal(p->o.sizes.max, 16);
	assert_true(p->o.seconds == 10);
	assert_false(p->o.copies_all);
	options_done(&p->o);
}

static void test_forms_of_an_argument(void **state)
{
	(void)state;
	struct parsed *p = parse("--rate=12.5 --messages 1000000 --confirm=20 --persistent");
	assert_int_equal(p->rc, 0);
	assert_true(p->o.rate == 12.5);
	assert_int_equal(p->o.messages, 1000000);
	assert_int_equal(p->o.confirm, 20);
	assert_true(p->o.persistent);
	assert_true(p->o.seconds == 0);
	options_done(&p->o);
}

static void test_uris(void **state)
{
	(void)state;
	struct parsed *p =
		parse("--uri amqp://a:b%40c@h1:1/v%2fw,amqp://h2 --uri amqp://u@[::1]:3/");
	assert_int_equal(p->rc, 0);
	assert_int_equal(p->o.uris, 3);
	assert_string_equal(p->o.uri[0].user, "a");
	assert_string_equal(p->o.uri[0].password, "b@c");
	assert_string_equal(p->o.uri[0].host, "h1");
	assert_string_equal(p->o.uri[0].port, "1");
	assert_string_equal(p->o.uri[0].vhost, "v/w");
	assert_string_equal(p->o.uri[1].host, "h2");
	assert_string_equal(p->o.uri[1].user, "guest");
	assert_string_equal(p->o.uri[2].host, "::1");
	assert_string_equal(p->o.uri[2].port, "3");
	assert_string_equal(p->o.uri[2].user, "u");
	assert_string_equal(p->o.uri[2].vhost, "/");
	options_done(&p->o);
}

static void test_bad_uris(void **state)
{
	(void)state;
	const char *const bad[] = {"amqps://h", "h:5672", "amqp://h:0", "amqp://h:65536",
		"amqp://h:", "amqp://h:5x", "amqp://[::1", "amqp://[::1]5", "amqp://%4",
		"amqp://%zz@h", "amqp://%00@h", "amqp://h/a/b", "amqp://h/a?b=c", "amqp://h?b=c"};
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char line[64];
		snprintf(line, sizeof line, "--uri %s", bad[i]);
		refused(line, "is not of the form");
	}
}

static void test_sizes(void **state)
{
	(void)state;
	struct parsed *p = parse("--size 16:90,1k-4k:9,1m");
	assert_int_equal(p->rc, 0);
	assert_int_equal(p->o.sizes.parts, 3);
	assert_int_equal(p->o.sizes.min, 16);
	assert_int_equal(p->o.sizes.max, 1 << 20);
	unsigned small = 0, middle = 0, large = 0;
	for (uint64_t i = 0; i < 100; i++) {
		uint32_t n = sizes_pick(&p->o.sizes, i);
		small += n == 16;
		middle += n >= 1024 && n <= 4096;
		large += n == 1 << 20;
	}
	assert_int_equal(small, 90);
	assert_int_equal(middle, 9);
	assert_int_equal(large, 1);
	options_done(&p->o);
	const char *const bad[] = {"x", "1-", "-1", "5-4", "1:0", "1,", "1::2", "600m", "1k2",
		"1:2000000", "99999999999999999999"};
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char line[64];
		snprintf(line, sizeof line, "--size %s", bad[i]);
		refused(line, "--size");
	}
}

static void test_range_reaches_both_ends(void **state)
{
	(void)state;
	struct sizes s;
	assert_int_equal(sizes_parse(&s, "5-8"), 0);
	unsigned seen[4] = {0};
	for (uint64_t i = 0; i < 400; i++) {
		uint32_t n = sizes_pick(&s, i);
		assert_in_range(n, 5, 8);
		seen[n - 5]++;
	}
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(seen[i], 50, 150);
}

static void test_arguments(void **state)
{
	(void)state;
	struct parsed *p = parse("--queue-arguments a=5,b=true,c=text,d=s:5,e=d:1.5,f=,g=i:-1");
	assert_int_equal(p->rc, 0);
	struct slice table = buf_slice(&p->o.queue_arguments);
	assert_true(amqp_table_check(table));
	assert_int_equal(amqp_table_count(table), 7);
	struct amqp_value v;
	assert_true(amqp_table_get(table, "a", &v) && amqp_value_is_int(&v) && v.u.i == 5);
	assert_true(amqp_table_get(table, "b", &v) && v.type == 't' && v.u.b);
	assert_true(amqp_table_get(table, "c", &v) && amqp_value_is_string(&v, "text"));
	assert_true(amqp_table_get(table, "d", &v) && amqp_value_is_string(&v, "5"));
	assert_true(amqp_table_get(table, "e", &v) && v.type == 'd' && v.u.d == 1.5);
	assert_true(amqp_table_get(table, "f", &v) && amqp_value_is_string(&v, ""));
	assert_true(amqp_table_get(table, "g", &v) && v.u.i == -1);
	options_done(&p->o);
	refused("--queue-arguments x", "x: is not KEY=VALUE");
	refused("--headers a=1,=2", "=2: is not KEY=VALUE");
	refused("--headers a=i:x", "a=i:x: is not KEY=VALUE");
}

static void test_names_of_several_queues(void **state)
{
	(void)state;
	struct parsed *p = parse("--queues 3");
	assert_string_equal(p->o.queue, "perf-%i");
	options_done(&p->o);
	p = parse("--queues 3 --queue q --exchange e --routing-key k.%i");
	assert_string_equal(p->o.queue, "q-%i");
	assert_string_equal(p->o.binding_key, "k.%i");
	assert_false(p->o.copies_all);
	options_done(&p->o);
	char *name = pattern_expand("a%i-100%%-%i", 7);
	assert_string_equal(name, "a7-100%-7");
	mem_free(name);
	refused("--queue a%d", "--queue");
	refused("--queue a%", "--queue");
}

static void test_one_key_for_all_queues_makes_copies(void **state)
{
	(void)state;
	const struct {
		const char *line;
		bool all;
	} cases[] = {
		{"--queues 2 --exchange e --routing-key k", true},
		{"--queues 2 --exchange e --exchange-type fanout", true},
		{"--queues 2 --exchange amq.fanout", true},
		{"--queues 1 --exchange amq.fanout", false},
		{"--queues 2 --exchange e --exchange-type x-consistent-hash --routing-key k",
			false},
		{"--queues 2 --exchange e --routing-key k --binding-key b.%i", false},
		{"--queues 2 --exchange e --routing-key k --binding-key # --all-queues", true},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct parsed *p = parse(cases[i].line);
		assert_int_equal(p->rc, 0);
		assert_int_equal(p->o.copies_all, cases[i].all);
		options_done(&p->o);
	}
}

static void test_modes(void **state)
{
	(void)state;
	struct parsed *p = parse("--mode publish --producers 4");
	assert_int_equal(p->o.mode, MODE_PUBLISH);
	assert_int_equal(p->o.producers, 4);
	assert_int_equal(p->o.consumers, 0);
	options_done(&p->o);
	p = parse("--mode consume");
	assert_int_equal(p->o.producers, 0);
	assert_true(p->o.seconds == 0);
	options_done(&p->o);
	p = parse("--producers 0 --consumers 0 --idle-connections 5");
	assert_int_equal(p->o.mode, MODE_IDLE);
	options_done(&p->o);
	refused("--mode idle", "--mode");
	refused("--consumers 0", "--mode");
}

static void test_priority(void **state)
{
	(void)state;
	struct parsed *p = parse("--priority 2-9");
	assert_int_equal(p->rc, 0);
	assert_true(p->o.has_priority);
	assert_int_equal(p->o.priority_min, 2);
	assert_int_equal(p->o.priority_max, 9);
	options_done(&p->o);
	refused("--priority 9-2", "--priority");
	refused("--priority 256", "--priority");
	refused("--priority x", "--priority");
}

static void test_help_ends_parsing(void **state)
{
	(void)state;
	struct parsed *p = parse("--help --nonsense");
	assert_int_equal(p->rc, 0);
	assert_int_equal(p->o.action, OPTIONS_HELP);
	options_done(&p->o);
	p = parse("--version");
	assert_int_equal(p->o.action, OPTIONS_VERSION);
	options_done(&p->o);
}

static void test_mistakes(void **state)
{
	(void)state;
	refused("word", "unexpected argument");
	refused("--nothing", "unknown option");
	refused("--rat 5", "unknown option");
	refused("--rate", "needs an argument");
	refused("--persistent=1", "takes no argument");
	refused("--rate x", "'x' is not a value for it");
	refused("--rate -1", "--rate");
	refused("--rate nan", "--rate");
	refused("--producers 1.5", "--producers");
	refused("--producers 65536", "--producers");
	refused("--messages 0", "--messages");
	refused("--queues 0", "--queues");
	refused("--prefetch 10 --ack-every 11", "--ack-every");
	refused("--verify --size 39", "--verify");
	refused("--exchange-type topic", "--exchange-type");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_forms_of_an_argument),
		cmocka_unit_test(test_uris),
		cmocka_unit_test(test_bad_uris),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_range_reaches_both_ends),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_names_of_several_queues),
		cmocka_unit_test(test_one_key_for_all_queues_makes_copies),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_help_ends_parsing),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "src/daemon/options.h"

enum { ARGS_MAX = 16 };

struct parsed {
	struct options o;
	char err[200];
	int rc;
};

/* `line` is split at spaces; it stays valid until the next call. */
static struct parsed parse(const char *line)
{
	static char words[512];
	char *argv[ARGS_MAX + 1] = {"warrend"};
	int argc = 1;
	strncpy(words, line, sizeof words - 1);
	for (char *w = strtok(words, " "); w != NULL && argc < ARGS_MAX; w = strtok(NULL, " "))
		argv[argc++] = w;
	struct parsed p = {0};
	p.rc = options_parse(&p.o, argc, argv, p.err, sizeof p.err);
	return p;
}

static void test_no_options_run_a_node(void **state)
{
	(void)state;
	struct parsed p = parse("");
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.o.action, OPTIONS_RUN);
	assert_null(p.o.config_path);
	assert_null(p.o.data_dir);
	assert_null(p.o.node_name);
	assert_int_equal(p.o.settings_n, 0);
	options_done(&p.o);
}

static void test_all_options(void **state)
{
	(void)state;
	struct parsed p =
		parse("-c w.conf -d dir -n rabbit@host-1.example -s a=1 -s b=2 --set c=3");
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.o.config_path, "w.conf");
	assert_string_equal(p.o.data_dir, "dir");
	assert_string_equal(p.o.node_name, "rabbit@host-1.example");
	assert_int_equal(p.o.settings_n, 3);
	assert_string_equal(p.o.settings[0], "a=1");
	assert_string_equal(p.o.settings[2], "c=3");
	options_done(&p.o);
}

static void test_actions(void **state)
{
	(void)state;
	assert_int_equal(parse("--version").o.action, OPTIONS_VERSION);
	assert_int_equal(parse("--help").o.action, OPTIONS_HELP);
	struct parsed p = parse("--check-store dir");
	assert_int_equal(p.o.action, OPTIONS_CHECK_STORE);
	assert_string_equal(p.o.data_dir, "dir");
}

static void test_faults_are_named(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
		{"-x", "-x: unknown option (see --help)"},
		{"--frobnicate", "--frobnicate: unknown option (see --help)"},
		{"-d", "-d: needs an argument (see --help)"},
		{"--check-store", "--check-store: needs an argument (see --help)"},
		{"start", "start: unexpected argument (see --help)"},
		{"-n rabbit", "rabbit: is not a node name NAME@HOST (see --help)"},
		{"-n @host", "@host: is not a node name NAME@HOST (see --help)"},
		{"-n a@", "a@: is not a node name NAME@HOST (see --help)"},
		{"-n a@b@c", "a@b@c: is not a node name NAME@HOST (see --help)"},
		{"-n a/b@c", "a/b@c: is not a node name NAME@HOST (see --help)"},
		{"-s foo", "-s foo: is not KEY=VALUE (see --help)"},
		{"-s foo=", "-s foo: is not KEY=VALUE (see --help)"},
		{"-s a=1 -s default,pass=secret", "-s default,pass: is not KEY=VALUE (see --help)"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct parsed p = parse(cases[i][0]);
		assert_int_equal(p.rc, -1);
		assert_string_equal(p.err, cases[i][1]);
		options_done(&p.o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_options_run_a_node),
		cmocka_unit_test(test_all_options),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_faults_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

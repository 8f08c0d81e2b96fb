/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

enum {
	OPT_PRIORITY = 256,
	OPT_APPLY_TO,
	OPT_RAM,
	OPT_DISC,
	OPT_OFFLINE,
	OPT_ONLINE,
	OPT_LOCAL,
	OPT_NO_HEADERS,
	OPT_LIMIT,
	OPT_GLOBAL,
	OPT_DESCRIPTION,
	OPT_TAGS,
	OPT_QUEUE_TYPE,
	OPT_FORMATTER,
	OPT_COOKIE_FILE,
	OPT_CACERTFILE,
	OPT_CERTFILE,
	OPT_KEYFILE,
	OPT_FORCE,
	OPT_QUEUE_PATTERN,
	OPT_VHOST_PATTERN,
	OPT_USER,
	OPT_ERRORS_ONLY,
	OPT_UNIT,
	OPT_QUEUE_TIMEOUT,
	OPT_NO_QUIET,
	OPT_IDEMPOTENT,
	OPT_WAIT,
	OPT_NO_WAIT,
	OPT_LIST,
	OPT_VERSION,
	OPT_DELAY,
	OPT_IGNORED,
	OPT_IGNORED_VALUE,
};

enum { TIMEOUT_MAX_S = 1000 * 1000 * 1000 };

static const struct option long_options[] = {
	{"node", required_argument, NULL, 'n'},
	{"vhost", required_argument, NULL, 'p'},
	{"quiet", no_argument, NULL, 'q'},
	{"silent", no_argument, NULL, 's'},
	{"timeout", required_argument, NULL, 't'},
	{"longnames", no_argument, NULL, 'l'},
	{"help", no_argument, NULL, '?'},
	{"version", no_argument, NULL, OPT_VERSION},
	{"formatter", required_argument, NULL, OPT_FORMATTER},
	{"priority", required_argument, NULL, OPT_PRIORITY},
	{"apply-to", required_argument, NULL, OPT_APPLY_TO},
	{"ram", no_argument, NULL, OPT_RAM},
	{"disc", no_argument, NULL, OPT_DISC},
	{"disk", no_argument, NULL, OPT_DISC},
	{"offline", no_argument, NULL, OPT_OFFLINE},
	{"online", no_argument, NULL, OPT_ONLINE},
	{"local", no_argument, NULL, OPT_LOCAL},
	{"no-table-headers", no_argument, NULL, OPT_NO_HEADERS},
	{"if-unused", no_argument, NULL, 'u'},
	{"if-empty", no_argument, NULL, 'e'},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{"user", required_argument, NULL, OPT_USER},
	{"errors-only", no_argument, NULL, OPT_ERRORS_ONLY},
	{"unit", required_argument, NULL, OPT_UNIT},
	{"pid", required_argument, NULL, 'P'},
	{"queue-timeout", required_argument, NULL, OPT_QUEUE_TIMEOUT},
	{"all", no_argument, NULL, 'a'},
	{"idempotent", no_argument, NULL, OPT_IDEMPOTENT},
	{"wait", no_argument, NULL, OPT_WAIT},
	{"no-wait", no_argument, NULL, OPT_NO_WAIT},
	{"list-commands", no_argument, NULL, OPT_LIST},
	{"global", no_argument, NULL, OPT_GLOBAL},
	{"description", required_argument, NULL, OPT_DESCRIPTION},
	{"tags", required_argument, NULL, OPT_TAGS},
	{"default-queue-type", required_argument, NULL, OPT_QUEUE_TYPE},
	{"cookie-file", required_argument, NULL, OPT_COOKIE_FILE},
	{"cacertfile", required_argument, NULL, OPT_CACERTFILE},
	{"certfile", required_argument, NULL, OPT_CERTFILE},
	{"keyfile", required_argument, NULL, OPT_KEYFILE},
	{"force", no_argument, NULL, OPT_FORCE},
	{"queue-pattern", required_argument, NULL, OPT_QUEUE_PATTERN},
	{"vhost-pattern", required_argument, NULL, OPT_VHOST_PATTERN},
	{"per-connection-delay", required_argument, NULL, OPT_DELAY},
	{"no-color", no_argument, NULL, OPT_IGNORED},
	{"no-quiet", no_argument, NULL, OPT_NO_QUIET},
	{"no-silent", no_argument, NULL, OPT_NO_QUIET},
	{"print-stacktrace", no_argument, NULL, OPT_IGNORED},
	{"rabbitmq-home", required_argument, NULL, OPT_IGNORED_VALUE},
	{"mnesia-dir", required_argument, NULL, OPT_IGNORED_VALUE},
	{"plugins-dir", required_argument, NULL, OPT_IGNORED_VALUE},
	{"enabled-plugins-file", required_argument, NULL, OPT_IGNORED_VALUE},
	{"aliases-file", required_argument, NULL, OPT_IGNORED_VALUE},
	{NULL, 0, NULL, 0},
};

static const struct {
	unsigned kind;
	const char *name;
} names[] = {
	{OPTION_VHOST, "--vhost"},
	{OPTION_PRIORITY, "--priority"},
	{OPTION_APPLY_TO, "--apply-to"},
	{OPTION_NODE_TYPE, "--ram"},
	{OPTION_OFFLINE, "--offline"},
	{OPTION_ONLINE, "--online"},
	{OPTION_LOCAL, "--local"},
	{OPTION_HEADERS, "--no-table-headers"},
	{OPTION_IF_UNUSED, "--if-unused"},
	{OPTION_IF_EMPTY, "--if-empty"},
	{OPTION_LIMIT, "--limit"},
	{OPTION_GLOBAL, "--global"},
	{OPTION_VHOST_ATTRIBUTES, "--description"},
	{OPTION_FORCE, "--force"},
	{OPTION_PATTERNS, "--queue-pattern"},
	{OPTION_USER, "--user"},
	{OPTION_ERRORS_ONLY, "--errors-only"},
	{OPTION_UNIT, "--unit"},
	{OPTION_PID, "--pid"},
	{OPTION_QUEUE_TIMEOUT, "--queue-timeout"},
	{OPTION_ALL, "--all"},
	{OPTION_IDEMPOTENT, "--idempotent"},
	{OPTION_WAIT, "--wait"},
	{OPTION_LIST, "--list-commands"},
};

const char *options_name(unsigned kinds)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((kinds & names[i].kind) != 0)
			return names[i].name;
	return "";
}

static bool take_format(struct options *o, const char *name)
{
	static const char *const formats[] = {[FORMAT_TABLE] = "table",
		[FORMAT_PRETTY] = "pretty_table",
		[FORMAT_CSV] = "csv",
		[FORMAT_JSON] = "json"};
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(name, formats[i]) == 0) {
			o->format = (enum format)i;
			o->format_given = true;
			return true;
		}
	return false;
}

static bool take_timeout(struct options *o, const char *text)
{
	char *end;
	double s = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !(s >= 0 && s <= TIMEOUT_MAX_S))
		return false;
	o->timeout_s = s;
	o->no_time = s == 0;
	return true;
}

static void given(struct options *o, enum option_kind kind)
{
	o->given |= kind;
}

static bool take_flag(struct options *o, int option)
{
	switch (option) {
	case OPT_RAM:
	case OPT_DISC:
		o->two_types |= o->node_type != NULL && (option == OPT_RAM) != (strcmp(o->node_type, "ram") == 0);
		o->node_type = option == OPT_RAM ? "ram" : "disc";
		given(o, OPTION_NODE_TYPE);
		return true;
	case OPT_OFFLINE:
		o->offline = true;
		given(o, OPTION_OFFLINE);
		return true;
	case OPT_ONLINE:
		o->online = true;
		given(o, OPTION_ONLINE);
		return true;
	case OPT_LOCAL:
		o->local = true;
		given(o, OPTION_LOCAL);
		return true;
	case OPT_NO_HEADERS:
		o->no_headers = true;
		given(o, OPTION_HEADERS);
		return true;
	case 'u':
		o->if_unused = true;
		given(o, OPTION_IF_UNUSED);
		return true;
	case 'e':
		o->if_empty = true;
		given(o, OPTION_IF_EMPTY);
		return true;
	case OPT_GLOBAL:
		o->global = true;
		given(o, OPTION_GLOBAL);
		return true;
	case OPT_ERRORS_ONLY:
		o->errors_only = true;
		given(o, OPTION_ERRORS_ONLY);
		return true;
	case 'a':
		given(o, OPTION_ALL);
		return true;
	case OPT_IDEMPOTENT:
		o->idempotent = true;
		given(o, OPTION_IDEMPOTENT);
		return true;
	case OPT_WAIT:
	case OPT_NO_WAIT:
		o->no_wait = option == OPT_NO_WAIT;
		given(o, OPTION_WAIT);
		return true;
	case OPT_LIST:
		given(o, OPTION_LIST);
		return true;
	case OPT_FORCE:
		o->force = true;
		given(o, OPTION_FORCE);
		return true;
	default:
		return false;
	}
}

static bool take_value(struct options *o, int option, const char *value)
{
	static const struct {
		int option;
		size_t at;
		unsigned kind;
	} values[] = {
		{'p', offsetof(struct options, vhost), OPTION_VHOST},
		{OPT_PRIORITY, offsetof(struct options, priority), OPTION_PRIORITY},
		{OPT_APPLY_TO, offsetof(struct options, apply_to), OPTION_APPLY_TO},
		{OPT_LIMIT, offsetof(struct options, limit), OPTION_LIMIT},
		{OPT_DESCRIPTION, offsetof(struct options, description), OPTION_VHOST_ATTRIBUTES},
		{OPT_TAGS, offsetof(struct options, tags), OPTION_VHOST_ATTRIBUTES},
		{OPT_QUEUE_TYPE, offsetof(struct options, default_queue_type),
			OPTION_VHOST_ATTRIBUTES},
		{OPT_QUEUE_PATTERN, offsetof(struct options, queue_pattern), OPTION_PATTERNS},
		{OPT_VHOST_PATTERN, offsetof(struct options, vhost_pattern), OPTION_PATTERNS},
		{OPT_USER, offsetof(struct options, user), OPTION_USER},
		{OPT_UNIT, offsetof(struct options, unit), OPTION_UNIT},
		{'P', offsetof(struct options, pid), OPTION_PID},
		{OPT_QUEUE_TIMEOUT, offsetof(struct options, queue_timeout), OPTION_QUEUE_TIMEOUT},
		{OPT_COOKIE_FILE, offsetof(struct options, cookie_file), 0},
		{OPT_CACERTFILE, offsetof(struct options, cacertfile), 0},
		{OPT_CERTFILE, offsetof(struct options, certfile), 0},
		{OPT_KEYFILE, offsetof(struct options, keyfile), 0},
		{'n', offsetof(struct options, node), 0},
	};
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		if (values[i].option == option) {
			*(const char **)((char *)o + values[i].at) = value;
			o->given |= values[i].kind;
			return true;
		}
	return false;
}

static bool is_integer(const char *text)
{
	text += *text == '-' || *text == '+';
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* 0; -1: the value is wrong. */
static int take(struct options *o, int option, const char *value)
{
	switch (option) {
	case 'q':
		o->quiet = true;
		return 0;
	case 's':
		o->silent = o->quiet = true;
		return 0;
	case OPT_NO_QUIET:
		o->silent = o->quiet = false;
		return 0;
	case '?':
		o->help = true;
		return 0;
	case OPT_VERSION: /* as the verb; scripts ask either way */
		o->verb = "version";
		return 0;
	case 'l':
	case OPT_IGNORED:
	case OPT_IGNORED_VALUE:
		return 0;
	case 't':
		return take_timeout(o, value) ? 0 : -1;
	case OPT_FORMATTER:
		return take_format(o, value) ? 0 : -1;
	case OPT_LIMIT:
	case OPT_PRIORITY:
	case OPT_DELAY:
		return is_integer(value) && take_value(o, option, value) ? 0 : -1;
	default:
		return take_flag(o, option) || take_value(o, option, value) ? 0 : -1;
	}
}

int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n)
{
	*o = (struct options){0};
	o->args = mem_zalloc((size_t)argc * sizeof *o->args + 1);
	opterr = 0;
	optind = 1;
	for (;;) {
		int at = optind;
		int option = getopt_long(argc, argv, "-:n:p:qst:lueaP:", long_options, NULL);
		if (option == -1)
			break;
		if (option == 1) { /* not an option */
			if (o->verb == NULL)
				o->verb = optarg;
			else
				o->args[o->n_args++] = optarg;
			continue;
		}
		bool question = strcmp(argv[at], "-?") == 0 || strcmp(argv[at], "--help") == 0;
		if (option == ':') {
			snprintf(err, err_n, "option %s needs a value", argv[at]);
			return -1;
		}
		if (option == '?' && !question) {
			snprintf(err, err_n, "Invalid options for this command:\n%s : ", argv[at]);
			return -1;
		}
		if (take(o, option, optarg) != 0) {
			snprintf(err, err_n, "Invalid options for this command:\n%.*s : %s%s",
				(int)strcspn(argv[at], "="), argv[at], optarg,
				option == OPT_FORMATTER
					? "\nThe formatters are table, pretty_table, csv and json"
					: "");
			return -1;
		}
	}
	while (optind < argc) /* behind "--" */
		o->args[o->n_args++] = argv[optind++];
	return 0;
}

void options_done(struct options *o)
{
	mem_free(o->args);
	o->args = NULL;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Usage, help, the version, and what a shell's completion asks for.
 */
#include <stdio.h>
#include <string.h>

#include "src/ctl/likeness.h"
#include "src/ctl/verb.h"

/* As RabbitMQ's tools have it. */
static const double LIKENESS_LEAST = 0.77;

static const char general[] =
	"General options\n\n"
	"  -n, --node NAME@HOST    the node to talk to (default: warren@ and this host's name)\n"
	"  -p, --vhost NAME        the virtual host, for verbs that concern one (default: /)\n"
	"  -t, --timeout SECONDS   how long to wait for the answer\n"
	"  -q, --quiet             no informational lines\n"
	"  -s, --silent            nor a header above rows\n"
	"      --formatter FORMAT  table, pretty_table, csv or json\n"
	"  -l, --longnames         accepted and without effect\n"
	"  -?, --help              help on the verb\n";

static const struct {
	unsigned kind;
	const char *usage;
} options[] = {
	{OPTION_VHOST, "[--vhost <vhost>]"},
	{OPTION_PRIORITY, "[--priority <priority>]"},
	{OPTION_APPLY_TO, "[--apply-to <apply-to>]"},
	{OPTION_NODE_TYPE, "[--disc|--ram]"},
	{OPTION_OFFLINE, "[--offline]"},
	{OPTION_ONLINE, "[--online]"},
	{OPTION_LOCAL, "[--local]"},
	{OPTION_HEADERS, "[--no-table-headers]"},
	{OPTION_IF_UNUSED, "[--if-unused|-u]"},
	{OPTION_IF_EMPTY, "[--if-empty|-e]"},
	{OPTION_LIMIT, "[--limit <limit>]"},
	{OPTION_GLOBAL, "[--global]"},
	{OPTION_VHOST_ATTRIBUTES,
		"[--description <description>] [--tags \"<tag1>,<tag2>,...\"] "
		"[--default-queue-type <quorum|classic|stream>]"},
	{OPTION_FORCE, "[--force]"},
	{OPTION_ERRORS_ONLY, "[--errors-only]"},
	{OPTION_UNIT, "[--unit <bytes|mb|gb>]"},
	{OPTION_PID, "[--pid|-P <pid>]"},
	{OPTION_QUEUE_TIMEOUT, "[--queue-timeout <milliseconds>]"},
	{OPTION_ALL, "[--all|-a]"},
	{OPTION_USER, "[--user <username>]"},
	{OPTION_IDEMPOTENT, "[--idempotent]"},
	{OPTION_WAIT, "[--no-wait]"},
	{OPTION_LIST, "[--list-commands]"},
	{OPTION_PATTERNS, "[--vhost-pattern <pattern>] [--queue-pattern <pattern>]"},
};

static void put_usage(FILE *f, const struct ctl *c, const struct ctl_verb *v)
{
	fprintf(f, "Usage\n\n%s [--node <node>] [--quiet] %s", c->program, v->name);
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if ((v->accepts & options[i].kind) != 0)
			fprintf(f, " %s", options[i].usage);
	fprintf(f, "%s%s\n", v->arguments[0] != '\0' ? " " : "", v->arguments);
}

void help_usage(const struct ctl *c, const struct ctl_verb *v)
{
	put_usage(stderr, c, v);
}

static bool group_is_new(unsigned at)
{
	for (unsigned i = 0; i < at; i++)
		if (strcmp(verb_at(i)->group, verb_at(at)->group) == 0)
			return false;
	return true;
}

static void list_commands(void)
{
	const struct ctl_verb *v;
	for (unsigned i = 0; (v = verb_at(i)) != NULL; i++) {
		if (!group_is_new(i))
			continue;
		printf("\n%s:\n\n", v->group);
		for (unsigned k = i; verb_at(k) != NULL; k++)
			if (strcmp(verb_at(k)->group, v->group) == 0)
				printf("   %-29s %s\n", verb_at(k)->name, verb_at(k)->summary);
	}
}

void help_all(const struct ctl *c)
{
	printf("Usage\n\n%s [--node <node>] [--timeout <timeout>] [--quiet] <command> [<command "
	       "options>]\n\nAvailable commands:\n",
		c->program);
	list_commands();
	printf("\nUse '%s help <command>' to learn more about a specific command\n", c->program);
}

/* The verb that is most like what was typed, if any is like it at all. */
static const char *nearest(const char *name)
{
	const struct ctl_verb *v;
	const char *best = NULL;
	double most = 0;
	for (unsigned i = 0; (v = verb_at(i)) != NULL; i++) {
		double likeness = likeness_of(v->name, name);
		if (likeness <= most || likeness < LIKENESS_LEAST)
			continue;
		most = likeness;
		best = v->name;
	}
	return best;
}

void help_unknown(const struct ctl *c, const char *name)
{
	const char *meant = nearest(name);
	fprintf(stderr, "\nCommand '%s' not found. \n", name);
	if (meant != NULL)
		fprintf(stderr, "Did you mean '%s'? \n", meant);
	fprintf(stderr, "\nUse '%s help' to see all commands\n", c->program);
}

static int help(struct ctl *c)
{
	const char *name = ctl_arg(c, 0);
	const struct ctl_verb *v = name != NULL ? verb_find(name) : NULL;
	if (name == NULL) {
		if ((c->options.given & OPTION_LIST) != 0)
			list_commands();
		else
			help_all(c);
		return CTL_OK;
	}
	if (v == NULL) {
		help_unknown(c, name);
		return CTL_USAGE;
	}
	put_usage(stdout, c, v);
	printf("\n%s\n\n%s", v->summary, general);
	return CTL_OK;
}

static int version(struct ctl *c)
{
	if (c->options.format == FORMAT_JSON)
		return print_result_json(json_pack("{sssss{ss}}", "node", c->node, "result", "ok", "value", "version",
			PACKAGE_VERSION));
	puts(c->options.format == FORMAT_CSV ? "\"version\"\n\"" PACKAGE_VERSION "\"" : PACKAGE_VERSION);
	return CTL_OK;
}

/* The names that begin as given: for completion. */
static int autocomplete(struct ctl *c)
{
	const char *begin = ctl_arg(c, 0) != NULL ? ctl_arg(c, 0) : "";
	const struct ctl_verb *v;
	for (unsigned i = 0; (v = verb_at(i)) != NULL; i++)
		if (strncmp(v->name, begin, strlen(begin)) == 0)
			puts(v->name);
	return CTL_OK;
}

const struct ctl_verb verbs_help[] = {
	{"autocomplete", "Help", "[<string>]", "Prints the commands that begin so", 0, 1, 0,
		autocomplete},
	{"help", "Help", "[<command>]", "Displays usage information for a command", 0, 1, OPTION_LIST,
		help},
	{"version", "Help", "", "Displays the version of this tool", 0, 0, 0, version},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

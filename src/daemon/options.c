/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/options.h"

#include <ctype.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/daemon/config.h"

enum {
	NODE_NAME_MAX = 255, /* it is a short string in many places */
	OPT_CHECK_STORE = 256,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"data", required_argument, NULL, 'd'},
	{"node", required_argument, NULL, 'n'},
	{"set", required_argument, NULL, 's'},
	{"check-store", required_argument, NULL, OPT_CHECK_STORE},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static bool all_of(const char *p, size_t n, const char *also)
{
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)p[i]) && (p[i] == '\0' || !strchr(also, p[i])))
			return false;
	}
	return n > 0;
}

static bool node_name_valid(const char *name)
{
	const char *at = strchr(name, '@');
	return at != NULL && strlen(name) <= NODE_NAME_MAX &&
	       all_of(name, (size_t)(at - name), "_-") && all_of(at + 1, strlen(at + 1), "_-.:");
}

static void settings_add(struct options *o, const char *pair)
{
	o->settings = mem_realloc(o->settings, (o->settings_n + 1) * sizeof o->settings[0]);
	o->settings[o->settings_n++] = pair;
}

/* Returns whether the option is fine. */
static bool take(struct options *o, int option, const char *arg)
{
	switch (option) {
	case 'c':
		o->config_path = arg;
		return true;
	case 'd':
		o->data_dir = arg;
		return true;
	case 'n':
		o->node_name = arg;
		return true;
	case 's':
		settings_add(o, arg);
		return true;
	case OPT_CHECK_STORE:
		o->action = OPTIONS_CHECK_STORE;
		o->data_dir = arg;
		return true;
	case OPT_VERSION:
		o->action = OPTIONS_VERSION;
		return true;
	case OPT_HELP:
		o->action = OPTIONS_HELP;
		return true;
	default:
		return false;
	}
}

static int fail(char *err, size_t n, const char *what, const char *arg)
{
	snprintf(err, n, "%s: %s (see --help)", arg, what);
	return -1;
}

/* Without what may be a password. */
static int fail_setting(char *err, size_t n, const char *pair)
{
	snprintf(err, n, "-s %.*s: is not KEY=VALUE (see --help)", (int)strcspn(pair, "="), pair);
	return -1;
}

int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n)
{
	*o = (struct options){0};
	optind = 0; /* a test parses more than once */
	opterr = 0;
	for (;;) {
		int option = getopt_long(argc, argv, "+:c:d:n:s:", long_options, NULL);
		if (option == -1)
			break;
		if (option == ':')
			return fail(err, err_n, "needs an argument", argv[optind - 1]);
		if (!take(o, option, optarg))
			return fail(err, err_n, "unknown option", argv[optind - 1]);
	}
	if (optind < argc)
		return fail(err, err_n, "unexpected argument", argv[optind]);
	if (o->node_name != NULL && !node_name_valid(o->node_name))
		return fail(err, err_n, "is not a node name NAME@HOST", o->node_name);
	for (size_t i = 0; i < o->settings_n; i++)
		if (!config_pair_valid(o->settings[i]))
			return fail_setting(err, err_n, o->settings[i]);
	return 0;
}

void options_done(struct options *o)
{
	mem_free(o->settings);
	*o = (struct options){0};
}

void options_print_help(FILE *to)
{
	fputs("Usage: warrend [OPTION]...\n"
	      "Run a node of the Warren message broker.\n"
	      "\n"
	      "  -c, --config FILE       read this configuration file, or a directory's *.conf\n"
	      "  -d, --data DIR          keep the node's data in this directory\n"
	      "  -n, --node NAME@HOST    the node's name in its cluster\n"
	      "  -s, --set KEY=VALUE     set a configuration key, over the files; repeatable\n"
	      "      --check-store DIR   check the data in this directory and exit\n"
	      "      --version           print the version and exit\n"
	      "      --help              print this text and exit\n",
		to);
}

void options_print_version(FILE *to)
{
	fputs("warrend " PACKAGE_VERSION "\n", to);
}

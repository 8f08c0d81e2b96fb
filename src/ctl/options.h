/* SPDX-License-Identifier: Apache-2.0
 *
 * warrenctl's command line: options anywhere, a verb, its arguments.
 */
#ifndef WARREN_CTL_OPTIONS_H
#define WARREN_CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum format { FORMAT_TABLE, FORMAT_PRETTY, FORMAT_CSV, FORMAT_JSON };

/* Options that only some verbs accept, as bits of ctl_verb.accepts. */
enum option_kind {
	OPTION_VHOST = 1 << 0,      /* -p, --vhost */
	OPTION_PRIORITY = 1 << 1,   /* --priority */
	OPTION_APPLY_TO = 1 << 2,   /* --apply-to */
	OPTION_NODE_TYPE = 1 << 3,  /* --ram, --disc, --disk */
	OPTION_OFFLINE = 1 << 4,    /* --offline */
	OPTION_ONLINE = 1 << 5,     /* --online */
	OPTION_LOCAL = 1 << 6,      /* --local */
	OPTION_HEADERS = 1 << 7,    /* --no-table-headers */
	OPTION_IF_UNUSED = 1 << 8,  /* -u, --if-unused */
	OPTION_IF_EMPTY = 1 << 9,   /* -e, --if-empty */
	OPTION_LIMIT = 1 << 10,     /* --limit */
	OPTION_GLOBAL = 1 << 11,    /* --global */
	OPTION_VHOST_ATTRIBUTES = 1 << 12, /* --description, --tags, --default-queue-type */
	OPTION_FORCE = 1 << 13,     /* --force */
	OPTION_PATTERNS = 1 << 14,  /* --queue-pattern, --vhost-pattern */
	OPTION_USER = 1 << 15,      /* --user */
	OPTION_ERRORS_ONLY = 1 << 16, /* --errors-only */
	OPTION_UNIT = 1 << 17,      /* --unit */
	OPTION_PID = 1 << 18,       /* -P, --pid */
	OPTION_QUEUE_TIMEOUT = 1 << 19, /* --queue-timeout */
	OPTION_ALL = 1 << 20,       /* -a, --all */
	OPTION_IDEMPOTENT = 1 << 21, /* --idempotent */
	OPTION_WAIT = 1 << 22,      /* --wait, --no-wait */
	OPTION_LIST = 1 << 23,      /* --list-commands */
};

struct options {
	const char *node; /* NULL: the default one of this host */
	const char *vhost, *priority, *apply_to, *node_type, *limit;
	const char *description, *tags, *default_queue_type;
	const char *user, *queue_pattern, *vhost_pattern, *unit, *pid, *queue_timeout;
	const char *cookie_file, *cacertfile, *certfile, *keyfile;
	bool quiet, silent, help, offline, online, local, no_headers, if_unused, if_empty, global;
	bool force, errors_only, idempotent, no_wait;
	bool two_types; /* --ram and --disc, both */
	bool format_given;
	double timeout_s; /* 0: the verb's own */
	bool no_time;     /* -t 0: nothing is waited for */
	enum format format;
	unsigned given; /* option_kind bits that were used */
	const char *verb; /* NULL: none */
	const char **args;
	unsigned n_args;
};

/* Reads argv; 0, or -1 with a sentence in err. options_done() in both cases. */
int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n);
void options_done(struct options *o);
/* The first given option among `kinds`, as it is written: "--ram". */
const char *options_name(unsigned kinds);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * warrend's command line. Strings are lent by argv.
 */
#ifndef WARREN_DAEMON_OPTIONS_H
#define WARREN_DAEMON_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

enum options_action { OPTIONS_RUN, OPTIONS_CHECK_STORE, OPTIONS_VERSION, OPTIONS_HELP };

struct options {
	enum options_action action;
	const char *config_path; /* -c FILE; NULL: not given */
	const char *data_dir;    /* -d DIR; with OPTIONS_CHECK_STORE the directory to check */
	const char *node_name;   /* -n NAME@HOST, checked; NULL: not given */
	const char **settings;   /* -s KEY=VALUE, in order; the array is owned */
	size_t settings_n;
};

/* 0, or -1 with one line in `err`. options_done() in either case. */
int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n);
void options_done(struct options *o);

void options_print_help(FILE *to);
void options_print_version(FILE *to);

#endif

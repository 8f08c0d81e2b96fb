/* SPDX-License-Identifier: Apache-2.0
 *
 * warren-perf: load and measurements for an AMQP 0-9-1 broker.
 */
#include <signal.h>
#include <sys/resource.h>

#include "src/perf/load.h"

enum { STATUS_USAGE = 64 };

/* A descriptor per connection: as many as we may have. */
static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	struct options o;
	char err[400];
	int status = RESULT_OK;
	signal(SIGPIPE, SIG_IGN);
	if (options_parse(&o, argc, argv, err, sizeof err) != 0) {
		fprintf(stderr, "warren-perf: %s\n", err);
		status = STATUS_USAGE;
	} else if (o.action == OPTIONS_HELP) {
		options_print_help(stdout);
	} else if (o.action == OPTIONS_VERSION) {
		options_print_version(stdout);
	} else {
		raise_descriptors();
		status = (int)load_run(&o);
	}
	options_done(&o);
	return status;
}

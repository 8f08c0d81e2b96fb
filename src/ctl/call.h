/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to a node. Blocks.
 */
#ifndef WARREN_CTL_CALL_H
#define WARREN_CTL_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "src/ctl/remote.h"

/* Exit statuses, RabbitMQ's (and sysexits'). */
enum ctl_exit {
	CTL_OK = 0,
	CTL_USAGE = 64,
	CTL_DATA = 65,
	CTL_NO_USER = 67,
	CTL_UNAVAILABLE = 69,
	CTL_SOFTWARE = 70,
	CTL_TIMEOUT = 75,
	CTL_CONFIG = 78,
};

struct call {
	const char *node;   /* name@host, or name@host:port */
	struct remote_proof proof; /* for a node elsewhere */
	double timeout_s;   /* 0: none */
	bool no_time;       /* it is over already: nothing is asked */
	/* The outcome. */
	bool elsewhere;     /* it was not asked through a socket of this machine */
	json_t *result;     /* of a call that went well; a reference of the caller's */
	char missing[1024]; /* likewise: nodes whose part of it is missing, a line each, and why */
	char error[32];     /* the API's word, or "unreachable", "timeout" */
	char message[4096];
};

/* Sends { verb, args } and waits for the reply. `args` is taken over and may be NULL. 0, or -1 with
 * error and message. */
int call(struct call *c, const char *verb, json_t *args);
/* The exit status that belongs to the error. */
enum ctl_exit call_exit(const struct call *c);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The lives of the cluster's nodes as a shard has seen them in the metadata's table: notices which have
 * ended. A life is a node's incarnation; it ends when the node is down, up again, or forgotten.
 */
#ifndef WARREN_DAEMON_LIVES_H
#define WARREN_DAEMON_LIVES_H

#include "src/broker/broker.h"

struct life {
	uint16_t number;
	uint64_t ended; /* incarnations up to this one */
};

struct lives {
	struct life *seen;
	size_t n;
};

/* Calls `ended` for each node of which more lives have ended since the last call: those up to
 * `incarnation`. */
void lives_look(struct lives *l, const struct broker *b,
	void (*ended)(void *arg, uint16_t node, uint32_t incarnation), void *arg);
void lives_done(struct lives *l);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Peer discovery: a node without any data asks the nodes that its configuration names, round by round,
 * until it is a member of their cluster or is to found it (src/cluster/discovery.h says which). Worker 0.
 */
#ifndef WARREN_MANAGE_FORMATION_H
#define WARREN_MANAGE_FORMATION_H

#include "src/cluster/links.h"
#include "src/cluster/membership.h"

struct formation;

enum formation_end {
	FORMATION_FOUND, /* this node is to found the cluster */
	FORMATION_JOIN,  /* it is a member: `members`, which the callee takes over */
	FORMATION_FAIL,  /* all rounds are over; `why` */
};

struct formation_config {
	struct worker *worker;
	struct links *links;
	uint64_t id;                /* this node's; likewise the next three */
	const char *name, *address;
	enum broker_node_type type;
	unsigned port;              /* of nodes that are named without one */
	/* The nodes as "name@host[:port]"; or, if not NULL, a host whose addresses they are. */
	const char *const *peers;
	size_t n_peers;
	const char *host;
	unsigned expected;    /* nodes that must be there before one founds */
	unsigned interval_ms; /* from the end of a round to the next one */
	unsigned rounds;      /* 0: as many as it takes */
	/* Once, never from inside formation_new(); the formation is gone. */
	void (*done)(void *arg, enum formation_end how, struct membership *members, const char *why);
	void *arg;
};

/* `config` and what it points to are the owner's until the end. */
struct formation *formation_new(const struct formation_config *config);
/* done() will not be called; NULL is fine. */
void formation_cancel(struct formation *f);
/* What the last round has come to, or "". Valid until the loop turns. */
const char *formation_text(const struct formation *f);

#endif

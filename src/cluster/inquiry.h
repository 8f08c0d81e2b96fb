/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to another node, over a CONTROL connection of its own, and the reply: what a node needs
 * of nodes that it has no link to. The other end is src/cluster/caller.h. Worker 0.
 */
#ifndef WARREN_CLUSTER_INQUIRY_H
#define WARREN_CLUSTER_INQUIRY_H

#include "src/cluster/link.h"

struct inquiry;

enum {
	INQUIRY_REPLY_MAX = 16 * 1024 * 1024,
	INQUIRY_DIAL_MS = 3000, /* to find and connect to all of the node's addresses */
};

struct inquiry_config {
	struct worker *worker;
	const struct handshake_identity *self; /* copied */
	const struct handshake_key *key;       /* kept by the owner until it is over */
	const struct link_limits *limits;      /* copied */
	struct ssl_ctx_st *const *tls; /* looked at when the connection stands; NULL there: none */
	const char *address;                   /* "host:port" */
	const char *name;      /* who is meant to be there; NULL: whoever is. Copied */
	uint64_t node;         /* for inquiries_end_of(); 0: none */
	struct slice request;  /* copied */
	unsigned timeout_ms;   /* for all of it; connecting has INQUIRY_DIAL_MS at most */
	/* The reply, valid inside the call; or `why` not, one sentence without the node's name. Once,
	 * never from inside inquiry_new(). */
	void (*done)(void *arg, struct slice reply, const char *why);
	void *arg;
};

/* Gone after done(). `inquiries` is a list of its owner in which it is as long as it lives. */
struct inquiry *inquiry_new(const struct inquiry_config *config, struct list *inquiries);
/* Ends all of a list, or all to a node: done() with a `why`. Their memory goes with the loop's turns. */
void inquiries_end(struct list *inquiries, const char *why);
void inquiries_end_of(struct list *inquiries, uint64_t node, const char *why);

#endif

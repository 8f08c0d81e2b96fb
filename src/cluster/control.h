/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls over a CONTROL connection, whose other end has proved that it knows the cookie: a tool, or
 * a node that wants to join.
 *
 *   request, reply := n u32 (little endian) | n octets
 *
 * One request at a time per connection: the next one is not looked at before the reply is given.
 * Worker 0.
 */
#ifndef WARREN_CLUSTER_CONTROL_H
#define WARREN_CLUSTER_CONTROL_H

#include "src/cluster/link.h"

enum { CONTROL_REQUEST_MAX = 16 * 1024 * 1024 };

struct control;

/* A request that is not answered yet. */
struct control_call {
	struct slice request;                  /* a copy, valid until the reply */
	const struct handshake_identity *from; /* as the caller says, likewise */
	struct control *control;               /* NULL: nobody waits for the reply any more */
};

/* Takes a request; control_reply() is due, from any callback on worker 0 or at once. */
typedef void control_fn(void *arg, struct control_call *call);

/* Ends the call. `reply` is copied. */
void control_reply(struct control_call *call, struct slice reply);

/* ---- for src/cluster/links.c ---- */

/* The calls of a connection that is up. */
struct control *control_new(struct link *l, control_fn *call, void *arg);
/* As link_owner.octets. */
size_t control_octets(struct control *c, const uint8_t *p, size_t n);
/* The link is ending. */
void control_free(struct control *c);

#endif

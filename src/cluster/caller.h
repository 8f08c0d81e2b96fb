/* SPDX-License-Identifier: Apache-2.0
 *
 * The other end of a CONTROL connection, which has proved that it knows the cookie: a tool, or a
 * node that wants to join. It sends requests, framed as on the control socket:
 *
 *   request, reply := n u32, big endian | n octets
 *
 * One at a time per connection: the next one is not looked at before the reply is given. Worker 0.
 */
#ifndef WARREN_CLUSTER_CALLER_H
#define WARREN_CLUSTER_CALLER_H

#include "src/cluster/link.h"

enum { CALLER_REQUEST_MAX = 16 * 1024 * 1024 };

struct caller;

/* A request that is not answered yet. */
struct caller_request {
	struct slice octets;                   /* a copy, valid until the reply */
	const struct handshake_identity *from; /* as the caller says, likewise */
	struct caller *caller;                 /* NULL: nobody waits for the reply any more */
};

/* Takes a request; caller_reply() is due, from any callback on worker 0 or at once. */
typedef void caller_fn(void *arg, struct caller_request *r);

/* Ends the request. `reply` is copied. */
void caller_reply(struct caller_request *r, struct slice reply);

/* ---- for src/cluster/links.c ---- */

/* Of a connection that is up. */
struct caller *caller_new(struct link *l, caller_fn *call, void *arg);
/* As link_owner.octets. */
size_t caller_octets(struct caller *c, const uint8_t *p, size_t n);
/* The link is ending. */
void caller_free(struct caller *c);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Which queues a message goes to. Handles bindings between exchanges (each exchange is visited
 * once), the default exchange, and alternate exchanges: RabbitMQ's rule is that an exchange that
 * has no matching binding for any of the message's keys hands the message to its alternate.
 *
 * No memory is allocated once the arrays of a struct broker_route have grown to what is needed.
 */
#ifndef WARREN_BROKER_ROUTE_H
#define WARREN_BROKER_ROUTE_H

#include "src/base/bytes.h"

struct broker;
struct broker_exchange;
struct broker_queue;
struct broker_topic_node;
struct broker_header;

/* Reused from call to call; start with a zeroed one. */
struct broker_route {
	struct broker_queue **queues; /* the result: distinct queues, in no particular order */
	size_t n;

	/* Below: route.c and match_*.c only. */
	size_t cap;
	uint64_t mark;  /* queues with this mark are in the result */
	uint64_t visit; /* exchanges with this mark have been visited by this call */
	struct broker_exchange **exchanges; /* to be visited */
	size_t n_exchanges, exchanges_cap;
	struct broker_topic_node *
		*nodes[2]; /* topic: places reached in the trie, before and after */
	size_t nodes_cap[2];
	struct broker_header *headers; /* headers: the message's, decoded */
	size_t n_headers, headers_cap;
	bool headers_decoded;
};

/* Frees the arrays; the struct may be used again. */
void broker_route_done(struct broker_route *r);

/* Starts a new, empty set of queues. Only one set per broker is open at a time: what begins later
 * takes the marks away from what began before. */
void broker_route_begin(struct broker *b, struct broker_route *r);

/* Adds the queues that a message with this key reaches from the exchange. `headers` is the
 * message's header table without its length (empty if it has none; a malformed one matches up to
 * where it is malformed). */
void broker_route(struct broker *b, struct broker_exchange *x, struct slice key,
	struct slice headers, struct broker_route *r);

/* The same for several keys at once: the routing key, then those of CC and BCC. Not the same as
 * several calls: an alternate exchange is used only if none of the keys matches. */
void broker_route_keys(struct broker *b, struct broker_exchange *x, const struct slice *keys,
	size_t n_keys, struct slice headers, struct broker_route *r);

/* ---- for match_*.c only ---- */

/* Make room for at least one more queue, exchange to visit, place in the trie. */
void broker_route_grow(struct broker_route *r);
void broker_route_grow_exchanges(struct broker_route *r);
void broker_route_grow_nodes(struct broker_route *r, int side);

#endif

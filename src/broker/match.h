/* SPDX-License-Identifier: Apache-2.0
 *
 * What an exchange type has to do: keep an index of the exchange's bindings and find the matching
 * ones. One match_<type>.c per type.
 */
#ifndef WARREN_BROKER_MATCH_H
#define WARREN_BROKER_MATCH_H

#include "src/broker/binding.h"
#include "src/broker/exchange.h"
#include "src/broker/queue.h"
#include "src/broker/route.h"

struct broker_match_ops {
	/* Does not look at the routing key: one call is enough for all keys of a message. */
	bool keyless;
	struct broker_matcher *(*create)(void); /* `ops` is filled in by the caller */
	/* There are no bindings in it any more. */
	void (*destroy)(struct broker_matcher *m);
	void (*add)(struct broker_matcher *m, struct broker_binding *bi);
	void (*remove)(struct broker_matcher *m, struct broker_binding *bi);
	/* Calls broker_route_hit() for the matching bindings; false if there are none. */
	bool (*route)(struct broker_matcher *m, struct slice key, struct slice headers,
		struct broker_route *r);
};

/* First member of the types' own structs. */
struct broker_matcher {
	const struct broker_match_ops *ops;
};

extern const struct broker_match_ops broker_match_direct;
extern const struct broker_match_ops broker_match_fanout;
extern const struct broker_match_ops broker_match_topic;
extern const struct broker_match_ops broker_match_headers;

/* Never fails. */
const struct broker_match_ops *broker_match_ops_of(enum broker_exchange_type type);

/* Bindings that match together. The queue is repeated here so that routing to many queues does not
 * have to read the bindings. */
struct broker_hop {
	struct broker_queue *queue; /* NULL: to an exchange */
	struct broker_binding *binding;
};

struct broker_binding_set {
	struct broker_hop *hops;
	size_t n, cap;
};

void broker_binding_set_add(struct broker_binding_set *set, struct broker_binding *bi);
/* From the set it is in. */
void broker_binding_set_remove(struct broker_binding *bi);

static inline void broker_route_hit_exchange(struct broker_route *r, struct broker_exchange *x)
{
	if (x->mark == r->visit)
		return;
	x->mark = r->visit;
	if (r->n_exchanges == r->exchanges_cap)
		broker_route_grow_exchanges(r);
	r->exchanges[r->n_exchanges++] = x;
}

static inline void broker_route_hit_queue(struct broker_route *r, struct broker_queue *q)
{
	if (q->mark == r->mark)
		return;
	q->mark = r->mark;
	if (r->n == r->cap)
		broker_route_grow(r);
	r->queues[r->n++] = q;
}

static inline void broker_route_hit(struct broker_route *r, const struct broker_hop *hop)
{
	if (hop->queue != NULL)
		broker_route_hit_queue(r, hop->queue);
	else
		broker_route_hit_exchange(r, hop->binding->exchange);
}

static inline void broker_route_hit_all(
	struct broker_route *r, const struct broker_binding_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		broker_route_hit(r, &set->hops[i]);
}

#endif

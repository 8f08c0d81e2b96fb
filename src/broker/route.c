/* SPDX-License-Identifier: Apache-2.0
 *
 * A work list of exchanges: the first one, then those that bindings or alternate exchanges lead to.
 * Marks keep each queue from being in the result twice and each exchange from being visited twice,
 * which also ends cycles. Marks come from one counter of the broker and are never used again, so
 * nothing has to be wiped.
 */
#include "src/broker/route.h"

#include "src/base/mem.h"
#include "src/broker/broker.h"
#include "src/broker/match.h"

void broker_route_done(struct broker_route *r)
{
	mem_free(r->queues);
	mem_free(r->exchanges);
	mem_free(r->nodes[0]);
	mem_free(r->nodes[1]);
	mem_free(r->headers);
	*r = (struct broker_route){0};
}

static void *grow(void *p, size_t *cap, size_t size)
{
	*cap = *cap == 0 ? 16 : 2 * *cap;
	return mem_realloc(p, *cap * size);
}

void broker_route_grow(struct broker_route *r)
{
	r->queues = grow(r->queues, &r->cap, sizeof *r->queues);
}

void broker_route_grow_exchanges(struct broker_route *r)
{
	r->exchanges = grow(r->exchanges, &r->exchanges_cap, sizeof *r->exchanges);
}

void broker_route_grow_nodes(struct broker_route *r, int side)
{
	r->nodes[side] = grow(r->nodes[side], &r->nodes_cap[side], sizeof *r->nodes[side]);
}

void broker_route_begin(struct broker *b, struct broker_route *r)
{
	r->n = 0;
	r->mark = ++b->route_mark;
}

/* The default exchange is bound to every queue by its name, without stored bindings. */
static bool visit_default(const struct broker_vhost *v, struct slice key, struct broker_route *r)
{
	struct broker_queue *q = broker_queue_find(v, key);
	if (q == NULL)
		return false;
	broker_route_hit_queue(r, q);
	return true;
}

struct message {
	const struct slice *keys;
	size_t n_keys;
	struct slice headers;
};

/* False if no binding matches. */
static bool visit(struct broker_exchange *x, const struct message *msg, struct broker_route *r)
{
	struct broker_matcher *m = x->matcher;
	size_t n = m->ops->keyless && msg->n_keys > 1 ? 1 : msg->n_keys;
	bool hit = false;
	for (size_t i = 0; i < n; i++) {
		if (x == x->vhost->default_exchange)
			hit |= visit_default(x->vhost, msg->keys[i], r);
		else
			hit |= m->ops->route(m, msg->keys[i], msg->headers, r);
	}
	return hit;
}

static void hit_alternate(const struct broker_exchange *x, struct broker_route *r)
{
	struct broker_exchange *alternate = broker_exchange_find(x->vhost, x->alternate);
	if (alternate != NULL)
		broker_route_hit_exchange(r, alternate);
}

void broker_route_keys(struct broker *b, struct broker_exchange *x, const struct slice *keys,
	size_t n_keys, struct slice headers, struct broker_route *r)
{
	const struct message msg = {keys, n_keys, headers};
	r->visit = ++b->route_mark;
	r->headers_decoded = false;
	r->n_exchanges = 0;
	broker_route_hit_exchange(r, x);
	while (r->n_exchanges > 0) {
		x = r->exchanges[--r->n_exchanges];
		if (!visit(x, &msg, r) && x->alternate.n > 0)
			hit_alternate(x, r);
	}
}

void broker_route(struct broker *b, struct broker_exchange *x, struct slice key,
	struct slice headers, struct broker_route *r)
{
	broker_route_keys(b, x, &key, 1, headers, r);
}

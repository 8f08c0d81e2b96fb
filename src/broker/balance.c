/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/balance.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/pattern.h"

/* ---- choosing ---- */

static bool is_chosen(struct broker *b, const struct broker_choice *c, const void *vhosts,
	const void *queues, const struct broker_queue *q)
{
	return broker_queue_is_replicated(q) &&
	       (q->type == BROKER_QUEUE_QUORUM ? c->quorum : c->classic) &&
	       (c->vhost_pattern.n == 0 || broker_pattern_matches(b, vhosts, q->vhost->name)) &&
	       (c->queue_pattern.n == 0 || broker_pattern_matches(b, queues, q->name));
}

static int compare_groups(const void *a, const void *b)
{
	uint64_t x = (*(struct broker_queue *const *)a)->group,
		 y = (*(struct broker_queue *const *)b)->group;
	return x < y ? -1 : x > y;
}

struct broker_queue **broker_choose(struct broker *b, const struct broker_choice *c, size_t *ret_n)
{
	struct broker_queue **ret = mem_alloc((b->n_queues + 1) * sizeof(*ret));
	void *vhosts = broker_pattern_compile(c->vhost_pattern);
	void *queues = broker_pattern_compile(c->queue_pattern);
	*ret_n = 0;
	for (struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		if (is_chosen(b, c, vhosts, queues, q))
			ret[(*ret_n)++] = q;
	qsort(ret, *ret_n, sizeof(*ret), compare_groups);
	broker_pattern_free(vhosts);
	broker_pattern_free(queues);
	return ret;
}

/* ---- balancing ---- */

/* A chosen queue and where it is to be led. */
struct place {
	struct broker_queue *q;
	const struct broker_member *at; /* NULL: by nobody who serves */
	size_t *load;                   /* of the node; NULL likewise */
};

struct loads {
	const struct broker *b;
	size_t *n; /* by the node's place in the table */
};

static size_t *load_of(const struct loads *l, const struct broker_queue *q,
	const struct broker_member *m)
{
	for (size_t i = 0; i < l->b->n_nodes; i++)
		if (l->b->nodes[i]->number == m->node)
			return broker_member_votes(q, m) && broker_node_serves(l->b->nodes[i])
				       ? &l->n[i]
				       : NULL;
	return NULL;
}

/* To the node that leads least, if that makes it more even; true if it moves. */
static bool improve(const struct loads *l, struct place *p)
{
	const struct broker_member *best = NULL;
	size_t *best_load = NULL;
	for (size_t i = 0; i < p->q->n_members; i++) {
		size_t *load = load_of(l, p->q, &p->q->members[i]);
		if (load != NULL && (best == NULL || *load < *best_load)) {
			best = &p->q->members[i];
			best_load = load;
		}
	}
	if (best == NULL || (p->load != NULL && *p->load < *best_load + 2))
		return false;
	if (p->load != NULL)
		--*p->load;
	++*best_load;
	p->at = best;
	p->load = best_load;
	return true;
}

static struct broker_moves moves_of(const struct place *places, size_t n)
{
	struct broker_moves ret = {mem_alloc((n + 1) * sizeof *ret.p), 0};
	for (size_t i = 0; i < n; i++)
		if (places[i].at != NULL && places[i].at != &places[i].q->members[0])
			ret.p[ret.n++] = (struct broker_preference){
				places[i].q->group, places[i].at->id};
	return ret;
}

struct broker_moves broker_balance(struct broker *b, const struct broker_choice *c)
{
	size_t n;
	struct broker_queue **queues = broker_choose(b, c, &n);
	struct place *places = mem_zalloc((n + 1) * sizeof *places);
	struct loads l = {b, mem_zalloc((b->n_nodes + 1) * sizeof *l.n)};
	for (size_t i = 0; i < n; i++) {
		struct place *p = &places[i];
		p->q = queues[i];
		if (p->q->n_members > 0 && (p->load = load_of(&l, p->q, &p->q->members[0])) != NULL) {
			p->at = &p->q->members[0];
			++*p->load;
		}
	}
	/* Each move makes the sum of the loads' squares smaller, so there is an end. */
	for (bool moved = true; moved;) {
		moved = false;
		for (size_t i = 0; i < n; i++)
			moved |= improve(&l, &places[i]);
	}
	struct broker_moves ret = moves_of(places, n);
	mem_free(queues);
	mem_free(places);
	mem_free(l.n);
	return ret;
}

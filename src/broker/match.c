/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/match.h"

#include "src/base/mem.h"

const struct broker_match_ops *broker_match_ops_of(enum broker_exchange_type type)
{
	switch (type) {
	case BROKER_EXCHANGE_FANOUT:
		return &broker_match_fanout;
	case BROKER_EXCHANGE_TOPIC:
		return &broker_match_topic;
	case BROKER_EXCHANGE_HEADERS:
		return &broker_match_headers;
	case BROKER_EXCHANGE_DIRECT:
	case BROKER_EXCHANGE_TYPES:
		break;
	}
	return &broker_match_direct;
}

static void resize(struct broker_binding_set *set, size_t cap)
{
	set->hops = mem_realloc(set->hops, cap * sizeof *set->hops);
	set->cap = cap;
}

void broker_binding_set_add(struct broker_binding_set *set, struct broker_binding *bi)
{
	/* Most keys of a direct exchange have one binding. */
	if (set->n == set->cap)
		resize(set, set->cap == 0 ? 1 : 2 * set->cap);
	bi->set = set;
	bi->slot = set->n;
	set->hops[set->n++] = (struct broker_hop){bi->queue, bi};
}

void broker_binding_set_remove(struct broker_binding *bi)
{
	struct broker_binding_set *set = bi->set;
	set->hops[bi->slot] = set->hops[--set->n];
	set->hops[bi->slot].binding->slot = bi->slot;
	bi->set = NULL;
	if (set->n == 0) {
		mem_free(set->hops);
		*set = (struct broker_binding_set){0};
	} else if (set->n < set->cap / 4) {
		resize(set, set->cap / 2);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/groups.h"

#include <assert.h>

#include "raft/group_priv.h"
#include "raft/heap.h"

void groups_global_init(void)
{
	heap_install();
}

struct groups *groups_new(const struct groups_config *config)
{
	struct groups *gs = MEM_NEW(struct groups);
	gs->config = *config;
	list_init(&gs->dirty);
	list_init(&gs->closable);
	entry_cache_init(&gs->cache, config->cache_bytes);
	log_budget_init(&gs->log_budget);
	return gs;
}

void groups_free(struct groups *gs)
{
	assert(gs->by_id == NULL);
	entry_cache_done(&gs->cache);
	mem_free(gs);
}

struct group *groups_find(struct groups *gs, uint64_t id)
{
	struct group *g;
	HASH_FIND(hh, gs->by_id, &id, sizeof id, g);
	return g != NULL && g->phase <= GROUP_RUNNING ? g : NULL;
}

static void bound_logs(struct groups *gs)
{
	struct log_share *share;
	while ((share = log_budget_excess(&gs->log_budget)) != NULL) {
		struct group *g = LIST_ENTRY(share, struct group, fsm.share);
		group_fsm_want_snapshot(g);
		group_want_barrier(g);
	}
}

static bool propose_dirty(struct groups *gs)
{
	bool any = false;
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->dirty);
	while ((node = list_pop(&due)) != NULL)
		any |= group_propose(LIST_ENTRY(node, struct group, dirty));
	return any;
}

static bool finish_closing(struct groups *gs)
{
	bool any = false;
	struct list *node;
	while ((node = list_pop(&gs->closable)) != NULL) {
		group_finish(LIST_ENTRY(node, struct group, closable));
		any = true;
	}
	return any;
}

bool groups_flush(struct groups *gs)
{
	bound_logs(gs);
	bool any = propose_dirty(gs);
	any |= finish_closing(gs);
	return any;
}

unsigned groups_tick(struct groups *gs)
{
	/* Sole voters have nobody to hear from and nobody to beat for. */
	(void)gs;
	return 0;
}

unsigned groups_count(const struct groups *gs)
{
	return HASH_COUNT(gs->by_id);
}

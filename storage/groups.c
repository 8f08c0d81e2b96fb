/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/groups.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/staging.h"

void store_groups_init(struct groups *gs)
{
	pthread_mutex_init(&gs->lock, NULL);
	gs->table = NULL;
	gs->existing = 0;
}

static void group_state_free(struct group_state *g)
{
	index_done(&g->index);
	pthread_mutex_destroy(&g->lock);
	mem_free(g);
}

void store_groups_done(struct groups *gs)
{
	struct group_state *g, *next;
	HASH_ITER(hh, gs->table, g, next) {
		HASH_DEL(gs->table, g);
		group_state_free(g);
	}
	pthread_mutex_destroy(&gs->lock);
}

struct group_state *store_groups_find(struct groups *gs, uint64_t id)
{
	struct group_state *g;
	pthread_mutex_lock(&gs->lock);
	HASH_FIND(hh, gs->table, &id, sizeof id, g);
	pthread_mutex_unlock(&gs->lock);
	return g;
}

static struct group_state *find_or_add_locked(struct groups *gs, uint64_t id)
{
	struct group_state *g;
	HASH_FIND(hh, gs->table, &id, sizeof id, g);
	if (g != NULL)
		return g;
	g = MEM_NEW(struct group_state);
	g->id = id;
	pthread_mutex_init(&g->lock, NULL);
	HASH_ADD(hh, gs->table, id, sizeof g->id, g);
	return g;
}

struct group_state *store_groups_find_or_add(struct groups *gs, uint64_t id)
{
	pthread_mutex_lock(&gs->lock);
	struct group_state *g = find_or_add_locked(gs, id);
	pthread_mutex_unlock(&gs->lock);
	return g;
}

struct group_state *store_groups_open(struct groups *gs, uint64_t group)
{
	uint64_t twin = staging_twin(group);
	struct group_state *g;
	pthread_mutex_lock(&gs->lock);
	HASH_FIND(hh, gs->table, &twin, sizeof twin, g);
	if (g == NULL || g->staged)
		g = find_or_add_locked(gs, group);
	g->staged = false; /* a former one, of a group that is made anew */
	g->opened++;
	pthread_mutex_unlock(&gs->lock);
	return g;
}

struct group_state *store_groups_open_log(struct groups *gs, uint64_t id)
{
	pthread_mutex_lock(&gs->lock);
	struct group_state *g = find_or_add_locked(gs, id);
	g->opened++;
	pthread_mutex_unlock(&gs->lock);
	return g;
}

struct group_state *store_groups_stage(struct groups *gs, const struct group_state *own)
{
	pthread_mutex_lock(&gs->lock);
	struct group_state *g = find_or_add_locked(gs, staging_twin(own->id));
	g->staged = true;
	g->opened++;
	pthread_mutex_unlock(&gs->lock);
	return g;
}

struct group_state *store_groups_switch(struct groups *gs, struct group_state *staged)
{
	pthread_mutex_lock(&gs->lock);
	struct group_state *own = find_or_add_locked(gs, staging_twin(staged->id));
	own->staged = true;
	staged->staged = false;
	pthread_mutex_unlock(&gs->lock);
	return own;
}

void store_groups_close(struct groups *gs, struct group_state *g)
{
	pthread_mutex_lock(&gs->lock);
	assert(g->opened > 0);
	g->opened--;
	if (g->opened == 0 && !g->exists) {
		assert(index_empty(&g->index));
		HASH_DEL(gs->table, g);
		group_state_free(g);
	}
	pthread_mutex_unlock(&gs->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/group_inbox.h"
#include "raft/groups.h"

#include <assert.h>

#include "raft/group_priv.h"
#include "raft/heap.h"
#include "src/base/log.h"

enum { HEARTBEAT_MS = 100, ELECTION_MS = 1000 };

/* A node that is or was linked. */
struct node_link {
	uint64_t node;
	uint64_t incarnation;
	unsigned round_trip_ms;
	bool up;
	UT_hash_handle hh;
};

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
	list_init(&gs->ticking);
	list_init(&gs->thawing);
	list_init(&gs->hasty);
	list_init(&gs->paced);
	list_init(&gs->todo);
	list_init(&gs->undeliverable);
	entry_cache_init(&gs->cache, config->cache_bytes);
	log_budget_init(&gs->log_budget);
	return gs;
}

static bool return_undeliverable(struct groups *gs)
{
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->undeliverable);
	bool any = !list_empty(&due);
	while ((node = list_pop(&due)) != NULL) {
		struct net_message *m = LIST_ENTRY(node, struct net_message, link);
		m->done(m, true);
	}
	return any;
}

void groups_free(struct groups *gs)
{
	assert(gs->by_id == NULL);
	return_undeliverable(gs);
	entry_cache_done(&gs->cache);
	struct node_link *l, *next;
	HASH_ITER(hh, gs->links, l, next)
	{
		HASH_DEL(gs->links, l);
		mem_free(l);
	}
	mem_free(gs);
}

/* ---- what the groups ask of it -------------------------------------------------------------- */

uint64_t groups_now(const struct groups *gs)
{
	return gs->config.now_ms(gs->config.arg);
}

unsigned groups_election_ms(const struct groups *gs)
{
	return gs->config.election_ms != 0 ? gs->config.election_ms : ELECTION_MS;
}

unsigned groups_heartbeat_ms(const struct groups *gs)
{
	return gs->config.heartbeat_ms != 0 ? gs->config.heartbeat_ms : HEARTBEAT_MS;
}

unsigned groups_stall_ms(const struct groups *gs)
{
	return gs->config.stall_ms != 0 ? gs->config.stall_ms : 2 * groups_election_ms(gs);
}

static struct node_link *find_link(const struct groups *gs, uint64_t node)
{
	struct node_link *l;
	HASH_FIND(hh, gs->links, &node, sizeof node, l);
	return l;
}

bool groups_linked(const struct groups *gs, uint64_t node)
{
	const struct node_link *l = find_link(gs, node);
	return l != NULL && l->up;
}

unsigned groups_round_trip_ms(const struct groups *gs, uint64_t node)
{
	const struct node_link *l = find_link(gs, node);
	return l != NULL ? l->round_trip_ms : 0;
}

/* ---- turns ---------------------------------------------------------------------------------- */

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
		group_fsm_press(g);
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

static bool do_todo(struct groups *gs)
{
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->todo);
	bool any = !list_empty(&due);
	while ((node = list_pop(&due)) != NULL)
		group_do(LIST_ENTRY(node, struct group, todo));
	return any;
}

bool groups_flush(struct groups *gs)
{
	bound_logs(gs);
	bool any = return_undeliverable(gs);
	any |= do_todo(gs);
	any |= propose_dirty(gs);
	any |= finish_closing(gs);
	return any;
}

/* ---- time ----------------------------------------------------------------------------------- */

static unsigned thaw_due(struct groups *gs)
{
	uint64_t now = groups_now(gs);
	unsigned n = 0;
	LIST_EACH_SAFE(node, &gs->thawing)
	{
		struct group *g = LIST_ENTRY(node, struct group, thaw);
		if (now >= g->freeze.thaw_ms)
			freeze_thaw(g);
		else
			n++;
	}
	return n;
}

void groups_pace(struct group *g)
{
	if (g->phase == GROUP_RUNNING && list_empty(&g->paced))
		list_push_back(&g->groups->paced, &g->paced);
}

unsigned groups_resume(struct groups *gs)
{
	unsigned next = 0;
	struct list due; /* from which whoever is called may take others: group_close() */
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->paced);
	while ((node = list_pop(&due)) != NULL) {
		struct group *g = LIST_ENTRY(node, struct group, paced);
		unsigned ms = install_resume(g);
		group_settle(g);
		if (ms != 0)
			groups_pace(g);
		if (ms != 0 && (next == 0 || ms < next))
			next = ms;
	}
	return next;
}

unsigned groups_tick(struct groups *gs)
{
	groups_resume(gs);
	/* Groups that are alone have nobody to hear from and nobody to beat for. */
	unsigned n = thaw_due(gs) + haste_tick(gs);
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->ticking);
	while ((node = list_pop(&due)) != NULL) {
		list_push_back(&gs->ticking, node);
		group_tick(LIST_ENTRY(node, struct group, ticking));
		n++;
	}
	return n;
}

bool groups_need_clock(const struct groups *gs)
{
	return !list_empty(&gs->ticking) || !list_empty(&gs->thawing) ||
	       !list_empty(&gs->hasty);
}

/* ---- other nodes ---------------------------------------------------------------------------- */

int groups_receive(struct groups *gs, uint64_t node, struct blob *blob, const uint8_t *p, size_t n)
{
	struct wire w;
	int rv = wire_decode(&w, slice_make(p, n));
	if (rv == WIRE_UNKNOWN_VERSION)
		log_error("raft", "a message of version %d arrived; this node knows version %d",
			p[0], WIRE_VERSION);
	if (rv == WIRE_UNKNOWN_KIND)
		return 0; /* from a newer node: as if it was lost */
	if (rv != WIRE_OK)
		return -1;
	struct group *g = groups_find(gs, w.group);
	/* Whoever lost its log has another id now; what was meant for the former one is not for it.
	 */
	if (g == NULL || g->phase != GROUP_RUNNING || w.to != g->self || w.from == g->self)
		return 0;
	group_inbox_receive(g, node, &w, blob);
	return 0;
}

/* The node's return concerns those who follow a leader there, and a leader that rested without a
 * member there. */
static bool concerns(const struct group *g, uint64_t node)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	uint64_t leader = group_leader(g);
	for (unsigned i = 0; c != NULL && i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		if (member_node(s->id, s->address) == node &&
			(g->leading_raft || s->id == leader))
			return true;
	}
	return false;
}

static void thaw_concerned(struct groups *gs, uint64_t node)
{
	struct group *g, *next;
	HASH_ITER(hh, gs->by_id, g, next)
	{
		if (g->freeze.frozen && concerns(g, node) && RULE(g, thaw_on_link))
			freeze_thaw_soon(g);
	}
}

void groups_link_up(struct groups *gs, uint64_t node, uint64_t incarnation)
{
	struct node_link *l = find_link(gs, node);
	if (l == NULL) {
		l = MEM_NEW(struct node_link);
		l->node = node;
		HASH_ADD(hh, gs->links, node, sizeof l->node, l);
	}
	if (l->up && l->incarnation != incarnation)
		groups_link_down(gs, node);
	l->up = true;
	l->incarnation = incarnation;
	l->round_trip_ms = 0;
	thaw_concerned(gs, node);
	haste_link_up(gs);
}

void groups_link_round_trip(struct groups *gs, uint64_t node, unsigned ms)
{
	struct node_link *l = find_link(gs, node);
	if (l != NULL)
		l->round_trip_ms = ms;
}

void groups_link_down(struct groups *gs, uint64_t node)
{
	struct node_link *l = find_link(gs, node);
	if (l == NULL || !l->up)
		return;
	l->up = false;
	struct group *g, *next;
	HASH_ITER(hh, gs->by_id, g, next)
	{
		if (g->phase != GROUP_RUNNING)
			continue;
		group_net_link_down(g, node);
		freeze_link_down(g);
	}
	haste_link_down(gs, node);
}

unsigned groups_count(const struct groups *gs)
{
	return HASH_COUNT(gs->by_id);
}

const struct group_net *groups_net(const struct groups *gs)
{
	return gs->config.net;
}

size_t groups_cached(const struct groups *gs)
{
	return gs->cache.bytes;
}

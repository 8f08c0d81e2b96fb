/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/haste.h"

#include "raft/group_priv.h"

/* Over what time the followers that lost their leader campaign: long enough that usually one has won
 * before the next one tries, and that the disk is not asked for thousands of votes at once. */
enum {
	SPREAD_MS = 200,
	SPREAD_GROUPS = 2, /* so many more groups make it longer by 1 ms */
	SPREAD_MAX_MS = 3000,
	SOON_MS = 10,
};

void haste_init(struct group *g, const struct group_spec *spec)
{
	list_init(&g->haste.link);
	g->haste.preferred = spec->n_members > 1 ? spec->preferred : 0;
}

/* ---- campaigning ---------------------------------------------------------------------------- */

static void move_clock(struct group *g)
{
	freeze_thaw(g);
	/* Behind by less than nothing: the clock is a difference, and may run ahead. */
	g->freeze.paused_ms -= 2 * (uint64_t)groups_election_ms(g->groups);
}

static bool has_leader(const struct group *g)
{
	return g->leading_raft || (group_leader(g) != 0 && !group_net_leader_lost(g));
}

static bool is_wanted(const struct group *g)
{
	return g->phase == GROUP_RUNNING && !has_leader(g) &&
	       libraft_term(&g->raft) == g->haste.term;
}

/* False: a write is under way that must end first. */
static bool campaign(struct group *g)
{
	if (!is_wanted(g))
		return true;
	if (!group_may_tick(g))
		return false;
	move_clock(g);
	group_tick(g);
	return true;
}

static void campaign_at(struct group *g, uint64_t at_ms)
{
	g->haste.at_ms = at_ms;
	if (list_empty(&g->haste.link))
		list_push_back(&g->groups->hasty, &g->haste.link);
}

unsigned haste_tick(struct groups *gs)
{
	uint64_t now = groups_now(gs);
	unsigned n = 0;
	struct list due; /* as in groups_resume() */
	struct list *node;
	list_init(&due);
	list_move_all(&due, &gs->hasty);
	while ((node = list_pop(&due)) != NULL) {
		struct group *g = LIST_ENTRY(node, struct group, haste.link);
		if (now >= g->haste.at_ms && campaign(g))
			continue;
		list_push_back(&gs->hasty, node);
		n++;
	}
	return n;
}

void haste_do(struct group *g)
{
	if (!g->haste.now)
		return;
	g->haste.now = false;
	if (!campaign(g))
		campaign_at(g, groups_now(g->groups) + SOON_MS);
}

/* ---- new groups ----------------------------------------------------------------------------- */

static void campaign_now(struct group *g)
{
	g->haste.now = true;
	group_todo(g);
}

static void tell_preferred(struct group *g)
{
	const struct raft_server *s = confs_find(&g->io.confs, g->haste.preferred);
	struct wire w = {
		.kind = WIRE_HERE,
		.group = g->id,
		.from = g->self,
		.to = g->haste.preferred,
		.term = libraft_term(&g->raft),
	};
	if (s == NULL)
		return;
	uint64_t node = member_node(s->id, s->address);
	if (groups_linked(g->groups, node))
		group_net_post(g, node, &w, slice_make(NULL, 0), NULL, 0);
}

void haste_started(struct group *g)
{
	if (!g->haste.born || g->haste.preferred == 0)
		return;
	g->haste.term = libraft_term(&g->raft);
	if (g->haste.preferred == g->self)
		campaign_now(g);
	else
		tell_preferred(g);
}

void haste_receive(struct group *g)
{
	if (g->haste.born && g->haste.preferred == g->self && is_wanted(g))
		campaign_now(g);
}

void haste_link_up(struct groups *gs)
{
	struct group *g, *next;
	HASH_ITER(hh, gs->by_id, g, next)
	{
		if (!g->haste.born || !is_wanted(g))
			continue;
		if (g->haste.preferred == g->self)
			campaign_now(g);
		else if (g->haste.preferred != 0)
			tell_preferred(g);
	}
}

/* ---- lost leaders --------------------------------------------------------------------------- */

/* Which of those that may be elected, without the one `but`, this member is, and of how many. The
 * first one is another one in each group, so that not all leaders end up on one node. */
static unsigned rank(const struct group *g, uint64_t but, unsigned *ret_n)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	unsigned own = 0, n = 0;
	for (unsigned i = 0; c != NULL && i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		if (s->role != RAFT_VOTER || s->id == but)
			continue;
		if (s->id == g->self)
			own = n;
		n++;
	}
	*ret_n = n > 0 ? n : 1;
	return (own + (unsigned)(g->id % *ret_n)) % *ret_n;
}

/* The longest way to another one that may be elected, and back, in ms. */
static unsigned round_trip(const struct group *g, uint64_t but)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	unsigned longest = 0;
	for (unsigned i = 0; c != NULL && RULE(g, apart) && i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		if (s->role != RAFT_VOTER || s->id == but || s->id == g->self)
			continue;
		unsigned ms = groups_round_trip_ms(g->groups, member_node(s->id, s->address));
		longest = ms > longest ? ms : longest;
	}
	unsigned most = groups_election_ms(g->groups);
	return longest < most ? longest : most;
}

static bool is_concerned(const struct group *g, uint64_t node)
{
	if (g->phase != GROUP_RUNNING || g->leading_raft)
		return false;
	return group_net_leader_node(g) == node && RULE(g, thaw_on_link);
}

/* 0 to n - 1, the same for all members of the group. */
static unsigned place(const struct group *g, unsigned n)
{
	uint64_t x = (g->id + libraft_term(&g->raft)) * 0x9e3779b97f4a7c15u;
	return (unsigned)((x >> 32) % n);
}

static void leader_lost(struct group *g, unsigned spread)
{
	uint64_t leader = group_leader(g);
	unsigned n;
	unsigned mine = rank(g, leader, &n);
	unsigned part = spread / n > 0 ? spread / n : 1;
	unsigned delay = SOON_MS + place(g, part) + mine * (part + round_trip(g, leader));
	g->haste.term = libraft_term(&g->raft);
	campaign_at(g, groups_now(g->groups) + delay);
}

void haste_link_down(struct groups *gs, uint64_t node)
{
	struct group *g, *next;
	unsigned n = 0;
	HASH_ITER(hh, gs->by_id, g, next)
	n += is_concerned(g, node);
	unsigned spread = SPREAD_MS + n / SPREAD_GROUPS;
	if (spread > SPREAD_MAX_MS)
		spread = SPREAD_MAX_MS;
	HASH_ITER(hh, gs->by_id, g, next)
	{
		if (is_concerned(g, node))
			leader_lost(g, spread);
	}
}

/* ---- silent leaders ------------------------------------------------------------------------- */

static unsigned timeout_of(const struct group *g, unsigned min, unsigned max)
{
	unsigned n = 1, mine = 0, apart = round_trip(g, 0);
	if (apart > 0)
		mine = rank(g, 0, &n);
	unsigned part = (max - min) / n;
	if (part < 2)
		return min;
	/* Where that does not fit chance decides the rest. */
	unsigned open = apart < part / 2 ? part - apart : part / 2;
	return min + mine * part + g->haste.chance % open;
}

int haste_draw(struct group *g, int min, int max)
{
	const struct groups_config *config = &g->groups->config;
	if (max <= min)
		return min;
	g->haste.chance = config->random(config->arg);
	return (int)timeout_of(g, (unsigned)min, (unsigned)max);
}

void haste_be_patient(struct group *g)
{
	unsigned ms = groups_election_ms(g->groups);
	if (RULE(g, apart))
		libraft_set_patience(&g->raft, timeout_of(g, ms, 2 * ms));
}

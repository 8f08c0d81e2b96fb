/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/freeze.h"

#include "raft/group_priv.h"

uint64_t freeze_clock(const struct group *g)
{
	uint64_t now = g->freeze.frozen ? g->freeze.since_ms : groups_now(g->groups);
	return now - g->freeze.paused_ms;
}

static void freeze(struct group *g)
{
	g->freeze.frozen = true;
	g->freeze.since_ms = groups_now(g->groups);
	g->freeze.asked_ms = 0;
	install_give_up(g); /* a leader that rests sends nothing more */
	list_remove(&g->ticking);
}

void freeze_thaw(struct group *g)
{
	struct freeze *f = &g->freeze;
	uint64_t now = groups_now(g->groups);
	if (!f->frozen)
		return;
	f->quiet_ms = now;
	f->frozen = false;
	f->paused_ms += now - f->since_ms;
	if (f->thawing)
		list_remove(&g->thaw);
	f->thawing = false;
	group_tick_begins(g);
}

void freeze_thaw_soon(struct group *g)
{
	struct groups *gs = g->groups;
	if (!g->freeze.frozen || g->freeze.thawing)
		return;
	g->freeze.thawing = true;
	g->freeze.thaw_ms =
		groups_now(gs) + gs->config.random(gs->config.arg) % groups_election_ms(gs);
	list_push_back(&gs->thawing, &g->thaw);
}

/* Who leads must be able to lose that. */
void freeze_link_down(struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	unsigned voters = 0, there = 0;
	if (!g->freeze.frozen || !g->leading_raft || !RULE(g, thaw_on_link))
		return;
	for (unsigned i = 0; c != NULL && i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		bool linked = s->id == g->self || groups_linked(g->groups, member_node(s->id, s->address));
		voters += s->role == RAFT_VOTER;
		there += s->role == RAFT_VOTER && linked;
	}
	if (2 * there <= voters)
		freeze_thaw_soon(g);
}

/* Nothing is under way and everything is applied. */
static bool at_rest(const struct group *g, uint64_t last)
{
	return g->phase == GROUP_RUNNING && g->io.writes == 0 && g->io.terms.last == last &&
	       libraft_commit(&g->raft) == last && g->fsm.applied == last &&
	       list_empty(&g->net.inbox) && list_empty(&g->net.held);
}

/* A member that is linked and could not be asked to stop. */
static bool lags(const struct group *g, const struct raft_server *s)
{
	const struct peer *p = group_net_peer((struct group *)g, s->id);
	if (!groups_linked(g->groups, member_node(s->id, s->address)))
		return false; /* its node's return thaws */
	return p == NULL || p->match != g->io.terms.last || p->install != NULL ||
	       !list_empty(&p->appends);
}

static bool is_quiet(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	if (!g->leading || g->proposed || group_has_work(g) || g->change.step != CHANGE_NONE ||
		g->transfer.on || !at_rest(g, g->io.terms.last))
		return false;
	for (unsigned i = 0; i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		if (s->id != g->self && s->role != RAFT_SPARE && lags(g, s))
			return false;
	}
	return true;
}

/* All that are linked have stopped, and with us they are a majority of the voters. */
static bool all_stopped(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	unsigned voters = 0, stopped = 0;
	for (unsigned i = 0; i < c->conf.n; i++) {
		const struct raft_server *s = &c->conf.servers[i];
		const struct peer *p = group_net_peer((struct group *)g, s->id);
		bool self = s->id == g->self;
		bool has = self || (p != NULL && p->frozen);
		if (!has && s->role != RAFT_SPARE &&
			groups_linked(g->groups, member_node(s->id, s->address)))
			return false;
		voters += s->role == RAFT_VOTER;
		stopped += s->role == RAFT_VOTER && has;
	}
	return stopped > voters / 2;
}

static void ask(struct group *g)
{
	struct wire w = {
		.kind = WIRE_FREEZE,
		.group = g->id,
		.from = g->self,
		.term = libraft_term(&g->raft),
		.last = g->io.terms.last,
		.last_term = terms_of(&g->io.terms, g->io.terms.last),
	};
	g->freeze.asked_ms = groups_now(g->groups);
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		p->frozen = false;
		w.to = p->id;
		if (groups_linked(g->groups, p->node))
			group_net_post(g, p->node, &w, slice_make(NULL, 0), NULL, 0);
	}
}

bool freeze_tick(struct group *g)
{
	struct freeze *f = &g->freeze;
	const struct groups_config *c = &g->groups->config;
	uint64_t now = groups_now(g->groups);
	uint64_t after = c->freeze_after_ms;
	if (after == 0 || !is_quiet(g)) {
		f->quiet_ms = now;
		f->asked_ms = 0;
		return true;
	}
	if (f->asked_ms != 0) {
		/* No heartbeat now, which would thaw who has stopped already. */
		if (now - f->asked_ms < 3 * (uint64_t)groups_heartbeat_ms(g->groups))
			return false;
		f->asked_ms = 0;
		f->quiet_ms = now;
		return true;
	}
	if (now - f->quiet_ms < after)
		return true;
	if (!RULE(g, freeze_asks)) {
		freeze(g);
		return false;
	}
	ask(g);
	return false;
}

static uint64_t leader_of(const struct group *g)
{
	raft_id id;
	const char *address;
	raft_leader((struct raft *)&g->raft, &id, &address);
	return id;
}

static void asked_to_stop(struct group *g, uint64_t node, const struct wire *w)
{
	if (raft_state(&g->raft) != RAFT_FOLLOWER || w->term != libraft_term(&g->raft) ||
		leader_of(g) != w->from || !at_rest(g, w->last) ||
		terms_of(&g->io.terms, w->last) != w->last_term) {
		freeze_thaw(g);
		return;
	}
	if (!g->freeze.frozen)
		freeze(g);
	struct wire answer = {
		.kind = WIRE_FROZEN,
		.group = g->id,
		.from = g->self,
		.to = w->from,
		.term = w->term,
		.last = w->last,
	};
	group_net_post(g, node, &answer, slice_make(NULL, 0), NULL, 0);
}

static void has_stopped(struct group *g, const struct wire *w)
{
	struct peer *p = group_net_peer(g, w->from);
	if (p == NULL || g->freeze.frozen || g->freeze.asked_ms == 0 || !g->leading ||
		w->term != libraft_term(&g->raft) || w->last != g->io.terms.last)
		return;
	p->frozen = true;
	if (is_quiet(g) && all_stopped(g))
		freeze(g);
}

void freeze_receive(struct group *g, uint64_t node, const struct wire *w)
{
	if (w->kind == WIRE_FREEZE)
		asked_to_stop(g, node, w);
	else
		has_stopped(g, w);
}

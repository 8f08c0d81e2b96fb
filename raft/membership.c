/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/membership.h"

#include <inttypes.h>

#include "raft/group_priv.h"
#include "src/base/log.h"

static const struct raft_configuration *newest(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	return c != NULL ? &c->conf : NULL;
}

static bool configuration_committed(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	return c == NULL || c->index <= libraft_commit(&g->raft);
}

/* ---- asking --------------------------------------------------------------------------------- */

unsigned group_members(const struct group *g, struct group_member_state *ret, unsigned max)
{
	const struct raft_configuration *conf = newest(g);
	unsigned n = conf != NULL ? conf->n : 0;
	for (unsigned i = 0; i < n && i < max; i++) {
		const struct raft_server *s = &conf->servers[i];
		const struct peer *p = group_net_peer((struct group *)g, s->id);
		bool self = s->id == g->self;
		ret[i] = (struct group_member_state){
			.id = s->id,
			.node = member_node(s->id, s->address),
			.voter = s->role == RAFT_VOTER,
			.spare = s->role == RAFT_SPARE,
			.match = self        ? libraft_stored(&g->raft)
				 : p != NULL ? p->match
					     : 0,
			.installing = p != NULL && p->install != NULL,
		};
		ret[i].lag = g->io.terms.last > ret[i].match ? g->io.terms.last - ret[i].match : 0;
		ret[i].in_step = self || (p != NULL && group_net_in_step((struct group *)g, p));
	}
	return n;
}

uint64_t group_leader(const struct group *g)
{
	raft_id id = 0;
	const char *address;
	if (g->started)
		raft_leader((struct raft *)&g->raft, &id, &address);
	return id;
}

/* ---- changes -------------------------------------------------------------------------------- */

static int begin_change(struct group *g, enum change_step step, uint64_t id, uint64_t node,
	group_done done, void *arg)
{
	if (!g->leading)
		return GROUP_NOT_LEADER;
	if (g->change.step != CHANGE_NONE || g->transfer.on)
		return GROUP_BUSY;
	g->change = (struct change){.step = step,
		.id = id,
		.node = node,
		.began_ms = groups_now(g->groups),
		.done = done,
		.arg = arg};
	freeze_thaw(g);
	group_todo(g);
	return 0;
}

int group_add_standby(
	struct group *g, const struct group_member *member, group_done done, void *arg)
{
	uint64_t node = member->node != 0 ? member->node : member->id;
	return begin_change(g, CHANGE_ADD, member->id, node, done, arg);
}

static int change_member(
	struct group *g, enum change_step step, uint64_t id, group_done done, void *arg)
{
	const struct raft_server *s = g->leading ? conf_find(newest(g), id) : NULL;
	if (g->leading && s == NULL)
		return GROUP_NO_MEMBER;
	uint64_t node = s != NULL ? member_node(id, s->address) : 0;
	return begin_change(g, step, id, node, done, arg);
}

int group_promote(struct group *g, uint64_t id, group_done done, void *arg)
{
	return change_member(g, CHANGE_PROMOTE, id, done, arg);
}

int group_demote(struct group *g, uint64_t id, group_done done, void *arg)
{
	return id == g->self ? GROUP_SELF : change_member(g, CHANGE_DEMOTE, id, done, arg);
}

int group_remove(struct group *g, uint64_t id, group_done done, void *arg)
{
	return id == g->self ? GROUP_SELF : change_member(g, CHANGE_REMOVE, id, done, arg);
}

static void change_over(struct group *g, int status)
{
	g->change.step = CHANGE_OVER;
	g->change.in_raft = false;
	g->change.status = status;
	group_todo(g);
}

static int status_of(int rv)
{
	switch (rv) {
	case 0:
		return 0;
	case RAFT_NOTLEADER:
		return GROUP_NOT_LEADER;
	case RAFT_NOCONNECTION:
		return GROUP_TIMEOUT;
	case RAFT_BADID:
	case RAFT_NOTFOUND:
		return GROUP_NO_MEMBER;
	default:
		return GROUP_UNKNOWN;
	}
}

static void tell_removed(struct group *g, uint64_t id, uint64_t node)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	struct wire w = {
		.kind = WIRE_REMOVED,
		.group = g->id,
		.from = g->self,
		.to = id,
		.term = libraft_term(&g->raft),
		.index = c->index,
	};
	group_net_post(g, node, &w, slice_make(NULL, 0), NULL, 0);
}

static int role_of(struct group *g, uint64_t id)
{
	const struct raft_server *s = conf_find(newest(g), id);
	return s != NULL ? s->role : -1;
}

static void change_ended(struct group *g, int status)
{
	struct change *c = &g->change;
	c->in_raft = false;
	if (status != 0) {
		change_over(g, status_of(status));
	} else if (c->step == CHANGE_ADD) {
		c->step = CHANGE_ADD_ROLE;
		group_todo(g);
	} else if (c->step == CHANGE_PROMOTE && role_of(g, c->id) != RAFT_VOTER) {
		group_todo(g); /* it was a spare and is a standby now */
	} else {
		if (c->step == CHANGE_REMOVE) {
			tell_removed(g, c->id, c->node);
			install_gone(g, c->id);
		}
		change_over(g, 0);
	}
}

/* A standby that does not answer is not waited for, whatever its node does: in the memory of a node that
 * has started anew it is gone. */
static void look_at_standby(struct group *g)
{
	const struct change *c = &g->change;
	if (c->step == CHANGE_PROMOTE && !c->in_raft && g->leading && !group_net_alive(g, c->id) &&
		groups_now(g->groups) - c->began_ms >= 2 * (uint64_t)groups_election_ms(g->groups))
		change_over(g, GROUP_TIMEOUT);
}

/* Like a proposal's, a change's end is seen and not told (group.c). */
static void look_at_change(struct group *g)
{
	const struct change *c = &g->change;
	uint64_t index = c->in_raft ? confs_newest(&g->io.confs)->index : 0;
	if (!c->in_raft)
		return;
	if (!g->leading_raft || g->term_raft != c->term)
		change_ended(g, RAFT_LEADERSHIPLOST);
	else if (index > c->since && g->fsm.applied >= index)
		change_ended(g, 0);
	else if (index == c->since && !libraft_promoting(&g->raft))
		change_ended(g, RAFT_NOCONNECTION); /* it did not keep up */
}

static bool caught_up(struct group *g, uint64_t id)
{
	const struct peer *p = group_net_peer(g, id);
	/* It knows that it is a member, or it would not vote if the promotion did not reach it. */
	return group_net_alive(g, id) && p->install == NULL && p->match >= confs_newest(&g->io.confs)->index &&
	       group_net_in_step(g, p);
}

static int submit_change(struct group *g)
{
	struct change *c = &g->change;
	char address[MEMBER_ADDRESS];
	int role = role_of(g, c->id);
	c->req = (struct raft_change){0};
	c->term = g->term_raft;
	c->since = confs_newest(&g->io.confs)->index;
	switch (c->step) {
	case CHANGE_ADD:
		member_address(address, c->id, c->node);
		return raft_add(&g->raft, &c->req, c->id, address, NULL);
	case CHANGE_ADD_ROLE:
	case CHANGE_DEMOTE:
		return raft_assign(&g->raft, &c->req, c->id, RAFT_STANDBY, NULL);
	case CHANGE_PROMOTE:
		if (role == RAFT_SPARE)
			return raft_assign(&g->raft, &c->req, c->id, RAFT_STANDBY, NULL);
		return raft_assign(&g->raft, &c->req, c->id, RAFT_VOTER, NULL);
	case CHANGE_REMOVE:
		return raft_remove(&g->raft, &c->req, c->id, NULL);
	case CHANGE_NONE:
	case CHANGE_OVER:
		break;
	}
	return RAFT_INVALID;
}

/* Without voter `id`: those who are left and answer are a majority. Otherwise the change itself
 * could not be committed, nor anything after it. */
static bool may_go(struct group *g, uint64_t id)
{
	const struct raft_configuration *conf = newest(g);
	unsigned voters = 0, alive = 0;
	for (unsigned i = 0; i < conf->n; i++) {
		const struct raft_server *s = &conf->servers[i];
		if (s->role != RAFT_VOTER || s->id == id)
			continue;
		voters++;
		alive += s->id == g->self || group_net_alive(g, s->id);
	}
	return alive > voters / 2;
}

/* It is so already: asked twice, or after an attempt whose end was not learnt. */
static bool already(struct group *g)
{
	int role = role_of(g, g->change.id);
	switch (g->change.step) {
	case CHANGE_ADD_ROLE:
		return role == RAFT_STANDBY || role == RAFT_VOTER;
	case CHANGE_PROMOTE:
		return role == RAFT_VOTER;
	case CHANGE_DEMOTE:
		return role == RAFT_STANDBY;
	case CHANGE_REMOVE:
		return role == -1;
	default:
		return false;
	}
}

/* An addition that did not get to its second step. */
static bool is_spare(struct group *g)
{
	return g->change.step == CHANGE_PROMOTE && role_of(g, g->change.id) == RAFT_SPARE;
}

static bool change_is_due(struct group *g)
{
	const struct change *c = &g->change;
	if (c->step == CHANGE_OVER)
		return true;
	if (c->step == CHANGE_NONE || c->in_raft)
		return false;
	if (!g->leading)
		return true;
	return !g->proposed && configuration_committed(g) &&
	       (c->step != CHANGE_PROMOTE || is_spare(g) || caught_up(g, c->id));
}

static void do_change(struct group *g)
{
	struct change *c = &g->change;
	if (!change_is_due(g))
		return;
	if (c->step == CHANGE_OVER) {
		struct change over = *c;
		c->step = CHANGE_NONE;
		if (over.done != NULL)
			over.done(over.arg, over.status);
		if (group_has_work(g))
			group_dirty(g);
		return;
	}
	if (!g->leading) {
		change_over(g, c->step == CHANGE_ADD_ROLE ? GROUP_UNKNOWN : GROUP_NOT_LEADER);
		return;
	}
	if (c->step == CHANGE_ADD && role_of(g, c->id) != -1)
		c->step = CHANGE_ADD_ROLE;
	if (already(g)) {
		change_over(g, 0);
		return;
	}
	if ((c->step == CHANGE_REMOVE || c->step == CHANGE_DEMOTE) && !may_go(g, c->id)) {
		change_over(g, GROUP_NO_QUORUM);
		return;
	}
	c->in_raft = true;
	int rv = submit_change(g);
	if (rv != 0)
		change_over(g, status_of(rv));
	group_settle(g);
}

/* ---- transfer ------------------------------------------------------------------------------- */

/* The voter that has most, of those who answer. */
static uint64_t best_heir(struct group *g)
{
	const struct raft_configuration *conf = newest(g);
	const struct peer *best = NULL;
	for (unsigned i = 0; i < conf->n; i++) {
		const struct peer *p = group_net_peer(g, conf->servers[i].id);
		if (p == NULL || conf->servers[i].role != RAFT_VOTER || !group_net_alive(g, p->id))
			continue;
		if (best == NULL || p->match > best->match)
			best = p;
	}
	return best != NULL ? best->id : 0;
}

int group_transfer(struct group *g, uint64_t id, group_done done, void *arg)
{
	if (!g->leading)
		return GROUP_NOT_LEADER;
	if (g->transfer.on || g->change.step != CHANGE_NONE)
		return GROUP_BUSY;
	if (id == 0)
		id = best_heir(g);
	if (id == 0 || id == g->self || role_of(g, id) != RAFT_VOTER)
		return GROUP_NO_MEMBER;
	g->transfer = (struct transfer){.on = true, .id = id, .done = done, .arg = arg};
	freeze_thaw(g);
	group_todo(g);
	return 0;
}

bool membership_sole_voter(const struct group *g)
{
	const struct raft_configuration *conf = newest(g);
	unsigned own = 0, voters = 0;
	for (unsigned i = 0; conf != NULL && i < conf->n; i++) {
		voters += conf->servers[i].role == RAFT_VOTER;
		own += conf->servers[i].role == RAFT_VOTER && conf->servers[i].id == g->self;
	}
	return own == 1 && voters == 1;
}

bool membership_others_elect(struct group *g)
{
	const struct raft_configuration *conf = newest(g);
	unsigned voters = 0, alive = 0;
	for (unsigned i = 0; i < conf->n; i++) {
		const struct raft_server *s = &conf->servers[i];
		voters += s->role == RAFT_VOTER;
		alive += s->role == RAFT_VOTER && s->id != g->self && group_net_alive(g, s->id);
	}
	return alive > voters / 2;
}

bool membership_hand_over(struct group *g)
{
	uint64_t id = best_heir(g);
	const struct peer *p = group_net_peer(g, id);
	if (p == NULL || p->match != g->io.terms.last)
		return false;
	if (!g->transfer.on && group_transfer(g, id, NULL, NULL) != 0)
		return false;
	g->transfer.at_once = true;
	group_todo(g);
	return true;
}

/* The later line gives a transfer up as a leader only; whoever has followed since waits for another one, which
 * it may never hear of. */
static bool heir_is_unheard(const struct group *g)
{
	uint64_t since = groups_now(g->groups) - g->transfer.began_ms;
	return LIBRAFT_LAYERED && !g->leading_raft && since >= groups_election_ms(g->groups);
}

/* raft gives up when it is ticked, which who is removed is not any more. */
static void look_at_transfer(struct group *g)
{
	bool goes_on = libraft_transferring(&g->raft) && g->removed == NOT_REMOVED && !heir_is_unheard(g);
	if (!g->transfer.in_raft || goes_on)
		return;
	g->transfer.in_raft = false;
	g->transfer.over = true;
	group_todo(g);
}

static bool transfer_is_due(const struct group *g)
{
	const struct transfer *t = &g->transfer;
	return t->on &&
	       (t->over || (!t->in_raft && (!g->proposed || !g->leading || t->at_once)));
}

static void do_transfer(struct group *g)
{
	struct transfer *t = &g->transfer;
	if (!transfer_is_due(g))
		return;
	if (!t->over && g->leading) {
		t->req = (struct raft_transfer){0};
		t->in_raft = true;
		t->began_ms = groups_now(g->groups);
		if (raft_transfer(&g->raft, &t->req, t->id, NULL) == 0) {
			group_settle(g);
			return;
		}
		t->in_raft = false;
	}
	struct transfer over = *t;
	t->on = false;
	if (over.done != NULL)
		over.done(over.arg, group_leader(g) == over.id ? 0 : GROUP_TIMEOUT);
	if (group_has_work(g))
		group_dirty(g);
}

/* ---- removed -------------------------------------------------------------------------------- */

bool membership_refuses(struct group *g, uint64_t node, const struct wire *w)
{
	if (!g->leading || !configuration_committed(g) || conf_find(newest(g), w->from) != NULL)
		return false;
	tell_removed(g, w->from, node);
	return true;
}

/* What is being staged for it has no end any more. */
static void removed(struct group *g, uint64_t index)
{
	if (g->removed != NOT_REMOVED)
		return;
	g->removed = REMOVED_UNTOLD;
	g->removed_at = index;
	install_give_up(g);
	group_todo(g);
}

void membership_removed(struct group *g, const struct wire *w)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	bool newer = c != NULL && c->index > w->index && conf_find(&c->conf, g->self) != NULL;
	if (w->term >= libraft_term(&g->raft) && !newer)
		removed(g, w->index);
}

/* A member that applies its own removal knows without being told. A new one has not been in the
 * configurations before its own; one that was removed may be added again. */
static void look_for_self(struct group *g)
{
	const struct conf_at *c = confs_at(&g->io.confs, g->fsm.applied);
	if (c == NULL || c->index == g->looked_at)
		return;
	g->looked_at = c->index;
	bool in = conf_find(&c->conf, g->self) != NULL;
	if (g->was_member && !in)
		removed(g, c->index);
	if (in && c->index > g->removed_at)
		g->removed = NOT_REMOVED;
	g->was_member = g->was_member || in;
}

/* ---- turns ---------------------------------------------------------------------------------- */

void membership_settle(struct group *g)
{
	look_for_self(g);
	look_at_change(g);
	look_at_standby(g);
	look_at_transfer(g);
	if (change_is_due(g) || transfer_is_due(g))
		group_todo(g);
}

void membership_caught_up(struct group *g)
{
	if (g->change.step == CHANGE_PROMOTE && change_is_due(g))
		group_todo(g);
}

void membership_link_down(struct group *g, uint64_t node)
{
	const struct change *c = &g->change;
	if (c->step == CHANGE_PROMOTE && !c->in_raft && c->node == node)
		change_over(g, GROUP_TIMEOUT);
}

void membership_do(struct group *g)
{
	if (g->removed == REMOVED_UNTOLD) {
		g->removed = REMOVED_TOLD;
		if (g->app->removed != NULL)
			g->app->removed(g->arg);
		if (g->phase != GROUP_RUNNING)
			return;
	}
	do_change(g);
	do_transfer(g);
}

void membership_close(struct group *g)
{
	struct change c = g->change;
	struct transfer t = g->transfer;
	g->change.step = CHANGE_NONE;
	g->transfer.on = false;
	if (c.step != CHANGE_NONE && c.done != NULL)
		c.done(c.arg, c.step == CHANGE_OVER ? c.status : GROUP_UNKNOWN);
	if (t.on && t.done != NULL)
		t.done(t.arg, GROUP_UNKNOWN);
}

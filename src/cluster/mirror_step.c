/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/mirrors_priv.h"

#include "src/base/log.h"
#include "src/broker/command.h"

enum {
	LONG_QUEUE = 4096,  /* messages: the members get them one after the other */
	ASK_AGAIN_MS = 300, /* what could not be asked for is asked again, and while a standby catches up */
	UNHEARD_MS = 1000,  /* after a proposal */
	EMPTYING_MS = 5000, /* while an old message may be left */
	LOST_MS = 10000,    /* without a leader, and a majority is lost: there will be none */
	WATCH_MS = 1000,    /* until that is looked at again */
};

/* ---- looking ---- */

static const struct group_member_state *in_raft(const struct view *v, uint64_t id)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->raft[i].id == id)
			return &v->raft[i];
	return NULL;
}

static uint64_t node_id(const struct view *v, const struct broker_member *m)
{
	const struct broker_node *n = broker_node_by_number(v->q->vhost->broker, m->node);
	return n != NULL ? n->id : 0;
}

static bool reaches(const struct mirrors *ms, uint64_t node)
{
	return node == ms->config.self || (node != 0 && ms->config.linked(ms->config.arg, node));
}

static const struct broker_node *node_of(const struct mirrors *ms, uint64_t node)
{
	return broker_node_find(ms->config.broker, node);
}

/* In the life that can be reached: a newer one has none of what was in memory, and waiting for that to catch up
 * has no end. */
static bool is_up(const struct mirrors *ms, uint64_t node)
{
	const struct broker_node *n = node_of(ms, node);
	return n != NULL && n->up &&
	       (node == ms->config.self || ms->config.linked(ms->config.arg, node) == n->incarnation);
}

bool view_look(struct mirrors *ms, uint64_t group, struct view *v)
{
	v->q = broker_queue_by_group(ms->config.broker, group);
	v->group = queue_hosts_group(ms->config.hosts, group);
	if (v->q == NULL || v->group == NULL)
		return false;
	v->self = queue_hosts_member(ms->config.hosts, group);
	v->n = group_members(v->group, v->raft, BROKER_MEMBERS_MAX);
	if (v->n > BROKER_MEMBERS_MAX)
		v->n = BROKER_MEMBERS_MAX;
	return true;
}

/* ---- steps of who leads ---- */

static const struct step settled = {SETTLED, 0};

static struct step asked(struct mirror *m, int rv)
{
	if (rv != 0)
		return (struct step){WAIT, ASK_AGAIN_MS};
	m->busy = true;
	m->all->busy++;
	return (struct step){BUSY, 0};
}

/* One that this node's copy of the metadata does not know yet has come, not gone. */
static bool is_going(const struct view *v, uint64_t id)
{
	const struct broker_member *m = broker_member_find(v->q, id);
	return m != NULL ? m->state == BROKER_MEMBER_LEAVING
			 : id < v->q->vhost->broker->next_member;
}

/* It leaves a node that has another member by now, and hosts that one when it has gone. (One in memory
 * was of an earlier life of the node.) */
static bool is_replaced(const struct view *v, uint64_t id)
{
	const struct broker_member *m = broker_member_find(v->q, id);
	return m != NULL && m->state == BROKER_MEMBER_LEAVING &&
	       broker_member_on(v->q, m->node) != NULL;
}

/* Or out of the group, as a leader has said. */
static bool is_lost(const struct view *v, uint64_t id)
{
	const struct broker_member *m = broker_member_find(v->q, id);
	return m != NULL ? m->lost : is_going(v, id);
}

/* In the order in which those who are to go are removed. */
enum going {
	GOING_LOST,  /* it does not answer: its node is away, or has dropped it with its row */
	GOING_WAITED_FOR,
	GOING_LATER, /* it can answer, and nothing waits for its going */
};

static enum going how_it_goes(
	const struct mirrors *ms, const struct view *v, const struct group_member_state *r)
{
	if (!reaches(ms, r->node) || broker_member_find(v->q, r->id) == NULL)
		return GOING_LOST;
	return is_replaced(v, r->id) || is_lost(v, r->id) ? GOING_WAITED_FOR : GOING_LATER;
}

static struct step remove_going(struct mirror *m, const struct view *v, enum going how)
{
	for (unsigned i = 0; i < v->n; i++) {
		const struct group_member_state *r = &v->raft[i];
		if (r->id != v->self && is_going(v, r->id) && how_it_goes(m->all, v, r) == how)
			return asked(m, group_remove(v->group, r->id, mirror_on_done, m));
	}
	return settled;
}

static void propose(struct mirrors *ms, struct buf *command)
{
	ms->config.propose(ms->config.arg, buf_slice(command));
	buf_done(command);
}

static struct step tell(struct mirror *m, const struct view *v)
{
	bool any = false;
	for (unsigned i = 0; i < v->q->n_members; i++) {
		const struct broker_member *row = &v->q->members[i];
		const struct group_member_state *r = in_raft(v, row->id);
		struct buf b = BUF_EMPTY;
		if (row->state == BROKER_MEMBER_LEAVING && r == NULL)
			broker_put_member_gone(&b, v->q->group, row->id, group_term(v->group), v->self);
		else if (row->state == BROKER_MEMBER_JOINING && r != NULL && r->voter)
			broker_put_member_promoted(&b, v->q->group, row->id);
		else
			continue;
		propose(m->all, &b);
		any = true;
	}
	return any ? (struct step){WAIT, UNHEARD_MS} : settled;
}

static bool is_to_be_synchronised(const struct mirror *m, const struct view *v)
{
	struct amqp_value value;
	struct machine_counts n = {0};
	if (m->wish == SYNC || v->q->type == BROKER_QUEUE_QUORUM)
		return true;
	if (m->wish == AS_CONFIGURED &&
		broker_effective_get(v->q->effective, "ha-sync-mode", &value) &&
		value.type == 'S' && slice_is(value.u.s, "automatic"))
		return true;
	queue_hosts_counts(m->all->config.hosts, v->q->group, &n);
	return n.ready + n.unacked == 0;
}

/* A long queue goes to one member after the other: the next one votes, and those who publish need
 * not wait for a disk that is busy with a copy. */
static bool is_copying(const struct mirror *m, const struct view *v)
{
	struct machine_counts n = {0};
	queue_hosts_counts(m->all->config.hosts, v->q->group, &n);
	for (unsigned i = 0; n.ready + n.unacked > LONG_QUEUE && i < v->n; i++) {
		const struct group_member_state *r = &v->raft[i];
		if (r->id != v->self && !is_going(v, r->id) && reaches(m->all, r->node) &&
			!r->in_step)
			return true;
	}
	return false;
}

/* Who would vote waits for an operator, or for the end of what was there before it; not who has most of
 * it. */
static bool is_to_be_added(const struct mirror *m, const struct view *v,
	const struct broker_member *row)
{
	return row->state != BROKER_MEMBER_JOINING || row->heir || !broker_member_may_vote(v->q, row) ||
	       is_to_be_synchronised(m, v);
}

static struct step add(struct mirror *m, const struct view *v)
{
	struct step ret = settled;
	for (unsigned i = 0; i < v->q->n_members; i++) {
		const struct broker_member *row = &v->q->members[i];
		const struct group_member_state *r = in_raft(v, row->id);
		uint64_t node = node_id(v, row);
		if (row->state == BROKER_MEMBER_LEAVING || (r != NULL && !r->spare) ||
			!reaches(m->all, node))
			continue;
		struct group_member member = {.id = row->id, .node = node};
		if (!is_to_be_added(m, v, row))
			ret = (struct step){WAIT, EMPTYING_MS};
		else if (is_copying(m, v))
			return (struct step){WAIT, ASK_AGAIN_MS};
		else
			return asked(m, group_add_standby(v->group, &member, mirror_on_done, m));
	}
	return ret;
}

static unsigned count_voters(const struct view *v)
{
	unsigned n = 0;
	for (unsigned i = 0; i < v->n; i++)
		n += v->raft[i].voter;
	return n;
}

/* The metadata are asked first: with a vote that they do not know of, a member that is lost could commit what
 * the survivor has not (docs/architecture.md, "Two voters"). */
static struct step choose(struct mirror *m, const struct view *v, const struct broker_member *row)
{
	struct buf b = BUF_EMPTY;
	broker_put_member_chosen(&b, v->q->group, row->id, group_term(v->group));
	propose(m->all, &b);
	return (struct step){WAIT, UNHEARD_MS};
}

/* The members that are to vote and do not yet. */
static struct step promote(struct mirror *m, const struct view *v)
{
	struct step ret = settled;
	for (unsigned i = 0; i < v->q->n_members && !broker_queue_has_lost(v->q); i++) {
		const struct broker_member *row = &v->q->members[i];
		const struct group_member_state *r = in_raft(v, row->id);
		if (row->state == BROKER_MEMBER_LEAVING || r == NULL || r->voter || r->spare ||
			!broker_member_may_vote(v->q, row) || !reaches(m->all, r->node))
			continue;
		if (!is_up(m->all, r->node) || !r->in_step)
			ret = (struct step){WAIT, ASK_AGAIN_MS};
		else if (row->chosen != group_term(v->group))
			ret = choose(m, v, row);
		else
			return asked(m, group_promote(v->group, r->id, mirror_on_done, m));
	}
	return ret;
}

/* What an operator has cancelled: members that were to vote and have not got as far. */
static struct step withdraw(struct mirror *m, const struct view *v)
{
	for (unsigned i = 0; m->wish == CANCEL && i < v->q->n_members; i++) {
		const struct broker_member *row = &v->q->members[i];
		const struct group_member_state *r = in_raft(v, row->id);
		if (row->state == BROKER_MEMBER_JOINING && r != NULL && !r->voter &&
			!is_to_be_synchronised(m, v) && broker_member_may_vote(v->q, row))
			return asked(m, group_remove(v->group, r->id, mirror_on_done, m));
	}
	return settled;
}

/* Both go on side by side. */
static struct step bring_up(struct mirror *m, const struct view *v)
{
	struct step p = promote(m, v);
	struct step a = p.outcome == BUSY ? settled : add(m, v);
	return a.outcome == BUSY || p.outcome == SETTLED ? a : p;
}

static bool is_drained(const struct view *v, const struct broker_member *m)
{
	const struct broker_node *n = broker_node_by_number(v->q->vhost->broker, m->node);
	return n != NULL && n->drained;
}

/* Another member that could lead at once, or NULL. */
static const struct group_member_state *heir(
	const struct mirrors *ms, const struct view *v, const struct broker_member *m)
{
	const struct group_member_state *r = in_raft(v, m->id);
	bool fits = m->id != v->self && m->state != BROKER_MEMBER_LEAVING && r != NULL &&
		    r->voter && !is_drained(v, m) && reaches(ms, r->node);
	return fits ? r : NULL;
}

/* To a member that could lead: another one in each group, so that a node's queues do not all end up
 * on one other. */
static struct step hand_over(struct mirror *m, const struct view *v)
{
	uint64_t heirs[BROKER_MEMBERS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < v->q->n_members; i++)
		if (heir(m->all, v, &v->q->members[i]) != NULL)
			heirs[n++] = v->q->members[i].id;
	if (n == 0)
		return (struct step){WAIT, ASK_AGAIN_MS};
	return asked(m, group_transfer(v->group, heirs[m->group % n], mirror_on_done, m));
}

/* Whom an operator prefers has nothing to wait for. */
static void note_first(struct mirror *m, uint64_t first)
{
	if (m->first != 0 && m->first != first)
		m->home_ms = 0;
	m->first = first;
}

static struct step go_home(struct mirror *m, const struct view *v)
{
	const struct broker_member *first = &v->q->members[0];
	const struct group_member_state *r = heir(m->all, v, first);
	uint64_t now = m->all->config.worker->now_ms;
	note_first(m, first->id);
	if (r == NULL || m->all->home_scan_ms != 0)
		return settled; /* or looked at again when a node has been linked for a while */
	if (now < m->home_ms)
		return (struct step){WAIT, (unsigned)(m->home_ms - now)};
	if (!r->in_step)
		return (struct step){WAIT, ASK_AGAIN_MS};
	m->home_ms = now + MIRRORS_HOME_MS;
	return asked(m, group_transfer(v->group, r->id, mirror_on_done, m));
}

/* This node is in maintenance. */
static bool leads_drained(const struct view *v)
{
	const struct broker_member *m = broker_member_find(v->q, v->self);
	return m != NULL && is_drained(v, m);
}

static bool has_heir(const struct mirrors *ms, const struct view *v)
{
	for (unsigned i = 0; i < v->q->n_members; i++)
		if (heir(ms, v, &v->q->members[i]) != NULL)
			return true;
	return false;
}

/* Nobody to hand over to: looked at again when a node is linked. */
static struct step evade(struct mirror *m, const struct view *v)
{
	return has_heir(m->all, v) ? hand_over(m, v) : settled;
}

bool mirrors_misplaced(struct mirrors *ms, uint64_t group)
{
	struct view v;
	if (!queue_hosts_leads(ms->config.hosts, group) || !view_look(ms, group, &v) ||
		v.q->n_members == 0)
		return false;
	return leads_drained(&v) ? has_heir(ms, &v) : heir(ms, &v, &v.q->members[0]) != NULL;
}

static struct step next_step(struct mirror *m, const struct view *v)
{
	struct step s = remove_going(m, v, GOING_LOST);
	if (s.outcome == SETTLED)
		s = remove_going(m, v, GOING_WAITED_FOR);
	if (s.outcome != SETTLED)
		return s;
	if (is_replaced(v, v->self) && (s = hand_over(m, v)).outcome == BUSY)
		return s;
	struct step told = tell(m, v);
	s = withdraw(m, v);
	if (s.outcome == SETTLED)
		s = bring_up(m, v);
	if (s.outcome == SETTLED)
		s = remove_going(m, v, GOING_LATER);
	if (s.outcome == SETTLED && is_going(v, v->self))
		s = hand_over(m, v);
	if (s.outcome == SETTLED)
		s = told;
	if (s.outcome != SETTLED)
		return s;
	return leads_drained(v) ? evade(m, v) : go_home(m, v);
}

/* Once each: who cannot be handed over is left to the others' election. */
static struct step leave(struct mirror *m, const struct view *v)
{
	if (m->home_ms == UINT64_MAX)
		return settled;
	m->home_ms = UINT64_MAX;
	struct step s = hand_over(m, v);
	return s.outcome == WAIT ? settled : s;
}

bool mirror_keeps_wish(const struct mirror *m, const struct view *v)
{
	for (unsigned i = 0; m->wish != AS_CONFIGURED && i < v->q->n_members; i++)
		if (v->q->members[i].state == BROKER_MEMBER_JOINING &&
			broker_member_may_vote(v->q, &v->q->members[i]))
			return true;
	return false;
}

/* ---- where another one leads, or nobody ---- */

/* So many voters are lost, with what they had in memory, that the others never agree on anything. */
static bool has_lost_majority(const struct view *v)
{
	unsigned voters = 0, lost = 0;
	if (!broker_queue_in_memory(v->q))
		return false;
	for (unsigned i = 0; i < v->n; i++) {
		voters += v->raft[i].voter;
		lost += v->raft[i].voter && is_going(v, v->raft[i].id);
	}
	return voters > 0 && 2 * lost >= voters;
}

/* As the metadata says. */
static bool is_survivor(const struct view *v)
{
	const struct broker_member *own = broker_member_find(v->q, v->self);
	return own != NULL && broker_member_survives(v->q, own);
}

/* This one survives the group's other voters, and none of them leads any more. */
static bool is_bereaved(const struct mirrors *ms, const struct view *v)
{
	uint64_t leader = group_leader(v->group);
	bool any = false;
	if (!is_survivor(v))
		return false;
	for (unsigned i = 0; i < v->n; i++) {
		const struct group_member_state *r = &v->raft[i];
		if (!r->voter || r->id == v->self)
			continue;
		if (!is_lost(v, r->id) || ((leader == r->id || leader == v->self) && reaches(ms, r->node)))
			return false;
		any = true;
	}
	return any;
}

/* The group begins anew with this member (hosting.c). While a lost one still leads, which may be called
 * down and live, it serves. */
static struct step go_alone(struct mirror *m, const struct view *v)
{
	struct mirrors *ms = m->all;
	if (!is_survivor(v))
		return settled; /* until the row changes */
	if (is_bereaved(ms, v))
		ms->config.reopen(ms->config.arg, m->group);
	return (struct step){WAIT, ASK_AGAIN_MS};
}

/* It leads, and something waits for a lost one's acknowledgement, as that one's removal would. */
static bool is_stuck(const struct mirrors *ms, const struct view *v)
{
	bool waits = false;
	for (unsigned i = 0; i < v->n; i++)
		waits |= v->raft[i].voter && v->raft[i].lag > 0 && is_lost(v, v->raft[i].id);
	return waits && is_bereaved(ms, v);
}

/* A queue that is not durable goes with the majority of its members. (Some that leave may live yet: then
 * there is a leader.) */
static struct step watch(struct mirror *m, const struct view *v)
{
	uint64_t now = m->all->config.worker->now_ms;
	struct buf b = BUF_EMPTY;
	if (!has_lost_majority(v))
		return settled;
	if (group_led(v->group))
		m->leaderless_ms = 0;
	else if (m->leaderless_ms == 0)
		m->leaderless_ms = now;
	if (m->leaderless_ms == 0 || now - m->leaderless_ms < LOST_MS)
		return (struct step){WAIT, WATCH_MS};
	log_warning("queue", "queue '%.*s' in vhost '%.*s' is not durable, and most of its mirrors are "
			     "lost: it is deleted",
		SLICE_FMT(v->q->name), SLICE_FMT(v->q->vhost->name));
	broker_put_delete_queue(&b, m->group);
	propose(m->all, &b);
	return (struct step){WAIT, LOST_MS};
}

/* ---- what is next ---- */

struct step mirror_next(struct mirror *m, const struct view *v)
{
	if (!queue_hosts_leads(m->all->config.hosts, m->group))
		return broker_queue_has_lost(v->q) ? go_alone(m, v) : watch(m, v);
	m->leaderless_ms = 0;
	if (is_stuck(m->all, v))
		return go_alone(m, v);
	return m->all->leaving ? leave(m, v) : next_step(m, v);
}

bool view_counts_on_us(const struct mirrors *ms, const struct view *v)
{
	bool self = false, other = false;
	if (broker_member_find(v->q, v->self) == NULL)
		return false; /* it is out of the group: members that have gone are not told by raft */
	for (unsigned i = 0; i < v->n; i++) {
		self |= v->raft[i].voter && v->raft[i].node == ms->config.self;
		other |= v->raft[i].voter && v->raft[i].node != ms->config.self && is_up(ms, v->raft[i].node);
	}
	return self && other && count_voters(v) == 2;
}

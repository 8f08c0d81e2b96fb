/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/roster.h"

#include <inttypes.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/loop/timer.h"

enum {
	LOOK_MS = 100,        /* while something is due by time */
	AWAY_MS = 500,        /* a look that comes so much too late: this node has been away itself */
	CHANGE_AGAIN_MS = 500, /* after a change of members that failed */
	LEAVE_LOOK_MS = 10,
	LEAVE_MS = 5000, /* a step of leaving takes no longer; it takes milliseconds */
	MEMBERS_MAX = 256,
	NODES_MAX = 256,
};

/* A node: of the table, or remembered, or only linked. */
struct known {
	uint64_t node;
	char *name, *address; /* as the links have them; NULL: they do not know it */
	bool in_table;
	bool remembered;      /* what is known of it may be newer than a table that is catching up */
	bool linked;
	uint64_t incarnation; /* of the link, or of the last one */
	bool broke;           /* the last link was closed, not silent */
	uint64_t unlinked_ms; /* since; counts anew with each leadership */
	uint64_t told_down;   /* incarnation for which NODE_DOWN was proposed in this leadership */
	uint64_t down_ms;     /* since when the table says so, as far as was seen; 0: it does not */
	bool replaced;        /* REPLACE_MEMBERS was proposed for it */
	bool forgotten;       /* FORGET_NODE was proposed for it */
};

struct roster {
	struct roster_config config;
	struct catalog_home *home;
	struct timer *timer;
	bool timing;
	uint64_t due_ms;     /* timing: when the next look is due */
	bool leading;
	bool alone;          /* the others are not forgotten yet */
	bool parting;        /* leading: it may have to be said again who is there */
	uint64_t unparted;   /* the broker's, when that was looked at */
	bool told_up;        /* NODE_UP of this incarnation was proposed */
	bool declared;       /* declared_down() was called */
	bool (*leaves)(struct roster *m); /* leaving: what is waited for, while true; or NULL */
	bool left;           /* it has begun to leave */
	bool transferring;   /* group 0's leadership */
	void (*leave_done)(void *arg);
	void *leave_arg;
	uint64_t leave_until_ms;
	bool changing;       /* a change of group 0's members is under way */
	uint64_t change_ms;  /* not before */
	struct known *known;
	size_t n_known;
};

static uint64_t now_ms(const struct roster *m)
{
	return m->config.worker->now_ms;
}

static struct broker *the_broker(const struct roster *m)
{
	return catalog_broker(m->config.catalog);
}

static void propose(struct roster *m, struct buf *command)
{
	catalog_propose(m->config.catalog, buf_slice(command), NULL);
	buf_done(command);
}

/* ---- who is known --------------------------------------------------------------------------- */

static struct known *known_find(const struct roster *m, uint64_t node)
{
	for (size_t i = 0; i < m->n_known; i++)
		if (m->known[i].node == node)
			return &m->known[i];
	return NULL;
}

static struct known *known_get(struct roster *m, uint64_t node)
{
	struct known *k = known_find(m, node);
	if (k != NULL)
		return k;
	m->known = mem_realloc(m->known, (m->n_known + 1) * sizeof *m->known);
	k = &m->known[m->n_known++];
	*k = (struct known){.node = node, .unlinked_ms = now_ms(m)};
	return k;
}

static bool is_text(const char *have, struct slice want)
{
	return have != NULL && slice_eq(slice_str(have), want);
}

static void known_set(struct roster *m, struct known *k, struct slice name, struct slice address)
{
	if (is_text(k->name, name) && is_text(k->address, address))
		return;
	mem_free(k->name);
	mem_free(k->address);
	k->name = mem_printf("%.*s", SLICE_FMT(name));
	k->address = mem_printf("%.*s", SLICE_FMT(address));
	links_set_peer(m->config.links, k->node, k->name, k->address);
}

static void known_forget(struct roster *m, struct known *k)
{
	links_forget_peer(m->config.links, k->node);
	mem_free(k->name);
	mem_free(k->address);
	*k = m->known[--m->n_known];
}

void roster_remember(
	struct roster *m, uint64_t node, const char *name, const char *address)
{
	if (node == m->config.node)
		return;
	struct known *k = known_get(m, node);
	k->remembered = true;
	known_set(m, k, slice_str(name), slice_str(address));
}

static void look_at_down(struct roster *m, struct known *k, const struct broker_node *n)
{
	if (n->up) {
		/* Members on other nodes may not have been replaced, since there was none that votes. */
		for (size_t i = 0; i < m->n_known && k->down_ms != 0; i++)
			m->known[i].replaced = false;
		k->down_ms = 0;
	} else if (k->down_ms == 0) {
		k->down_ms = now_ms(m);
	}
}

/* The state has come to where this start of the node is known; it is no past one. */
static bool is_current(const struct roster *m)
{
	const struct broker_node *n = broker_node_find(the_broker(m), m->config.node);
	return n != NULL && n->incarnation >= m->config.incarnation;
}

/* The links' peers are the nodes of the table; without a table, those remembered. */
static void look_at_table(struct roster *m)
{
	const struct broker *b = the_broker(m);
	bool current = is_current(m);
	if (current && b->n_nodes == 1)
		m->alone = false;
	if (b->n_nodes == 0 || m->alone)
		return;
	links_set_cluster(m->config.links, b->cluster_id);
	for (size_t i = 0; i < m->n_known; i++)
		m->known[i].in_table = false;
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (n->id == m->config.node)
			continue;
		struct known *k = known_get(m, n->id);
		k->in_table = true;
		if (current || !k->remembered)
			known_set(m, k, n->name, n->address);
		look_at_down(m, k, n);
	}
	/* An older state does not know those yet through whom the rest of it comes. */
	if (!current)
		return;
	for (size_t i = m->n_known; i > 0; i--)
		if (!m->known[i - 1].in_table)
			known_forget(m, &m->known[i - 1]);
}

/* ---- this node ------------------------------------------------------------------------------ */

static void on_told_up(struct catalog_request *r, const struct broker_result *result)
{
	if (result->code != BROKER_OK && result->code != BROKER_UNAVAILABLE)
		log_error("cluster", "this node cannot be up in the cluster: %s",
			broker_code_text(result->code));
	mem_free(r);
}

static void tell_up(struct roster *m)
{
	struct buf b = BUF_EMPTY;
	struct catalog_request *r = MEM_NEW(struct catalog_request);
	r->done = on_told_up;
	m->told_up = true;
	broker_put_node_up(&b, m->config.node, m->config.incarnation, slice_str(m->config.name),
		slice_str(m->config.address));
	catalog_propose(m->config.catalog, buf_slice(&b), r);
	buf_done(&b);
}

static void look_at_self(struct roster *m)
{
	const struct broker_node *n = broker_node_find(the_broker(m), m->config.node);
	if (n == NULL)
		return;
	if (n->incarnation < m->config.incarnation) {
		if (!m->told_up && (!m->alone || m->leading))
			tell_up(m);
	} else if ((n->incarnation > m->config.incarnation || !n->up) && !m->declared && !m->left) {
		m->declared = true;
		m->config.declared_down(m->config.arg);
	}
}

/* ---- who is lost ---------------------------------------------------------------------------- */

static void forget(struct roster *m, const struct broker_node *n)
{
	struct buf b = BUF_EMPTY;
	log_warning("cluster", "node %.*s is forgotten: it was given up", SLICE_FMT(n->name));
	broker_put_forget_node(&b, n->id);
	propose(m, &b);
}

/* With everything committed that this node has. */
static void forget_all_others(struct roster *m)
{
	const struct broker *b = the_broker(m);
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		struct buf down = BUF_EMPTY;
		if (n->id == m->config.node)
			continue;
		broker_put_node_down(&down, n->id, n->incarnation, NULL, 0);
		propose(m, &down);
		forget(m, n);
	}
}

static void look_at_lost(struct roster *m)
{
	for (size_t i = 0; i < m->n_known && is_current(m); i++) {
		struct known *k = &m->known[i];
		const struct broker_node *n = broker_node_find(the_broker(m), k->node);
		if (n == NULL || n->up || k->linked || k->forgotten ||
			!m->config.lost(m->config.arg, k->node))
			continue;
		k->forgotten = true;
		forget(m, n);
	}
}

/* ---- the leader: who is down ---------------------------------------------------------------- */

struct refused {
	uint64_t node;
	bool yes;
};

static void find_refused(void *arg, const struct links_peer *p)
{
	struct refused *r = arg;
	if (p->id == r->node)
		r->yes = p->refused;
}

/* Nobody listens there: the process that the link was to has ended. */
static bool is_dead(const struct roster *m, const struct known *k)
{
	struct refused r = {.node = k->node};
	if (k->broke)
		links_each_peer(m->config.links, find_refused, &r);
	return r.yes;
}

static bool is_linked(const struct roster *m, uint64_t node)
{
	const struct known *k = known_find(m, node);
	return k != NULL && k->linked;
}

/* Who is up by the table, and not linked: the next moment it may be down, too. */
struct absent {
	uint64_t nodes[NODES_MAX];
	uint16_t n; /* or BROKER_ALL_ABSENT */
};

static void find_absent(const struct roster *m, const struct broker_node *down, struct absent *ret)
{
	const struct broker *b = the_broker(m);
	ret->n = 0;
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *x = b->nodes[i];
		if (x == down || !x->up || x->id == m->config.node || is_linked(m, x->id))
			continue;
		if (ret->n == NODES_MAX) {
			ret->n = BROKER_ALL_ABSENT;
			return;
		}
		ret->nodes[ret->n++] = x->id;
	}
}

static void propose_down(struct roster *m, const struct broker_node *down)
{
	struct buf c = BUF_EMPTY;
	struct absent a;
	find_absent(m, down, &a);
	broker_put_node_down(&c, down->id, down->incarnation, a.nodes, a.n);
	propose(m, &c);
}

static void tell_down(struct roster *m, struct known *k, const struct broker_node *n)
{
	k->told_down = n->incarnation;
	log_warning("cluster", "node %.*s is down", SLICE_FMT(n->name));
	propose_down(m, n);
}

static bool would_part(const struct roster *m, const struct absent *a)
{
	struct buf nodes = BUF_EMPTY;
	bool all = a->n == BROKER_ALL_ABSENT;
	for (unsigned i = 0; !all && i < a->n; i++)
		buf_put_u64le(&nodes, a->nodes[i]);
	bool would = broker_members_would_part(
		the_broker(m), &(struct broker_parting){.all_absent = all, .absent = buf_slice(&nodes)});
	buf_done(&nodes);
	return would;
}

/* Who was absent and is linked may go on without those that are down, or forgotten meanwhile. That is said by news
 * that end nothing: nobody is up in incarnation 0. */
static void look_at_parting(struct roster *m)
{
	uint64_t unparted = the_broker(m)->unparted;
	struct buf c = BUF_EMPTY;
	struct absent a;
	if (!m->parting && unparted == m->unparted)
		return;
	m->parting = false;
	m->unparted = unparted;
	find_absent(m, NULL, &a);
	if (broker_node_find(the_broker(m), m->config.node) == NULL || !would_part(m, &a))
		return;
	broker_put_node_down(&c, m->config.node, 0, a.nodes, a.n);
	propose(m, &c);
}

/* Returns whether time alone may change something. */
static bool look_at_links(struct roster *m)
{
	const struct broker *b = the_broker(m);
	bool waits = false;
	for (size_t i = 0; i < m->n_known; i++) {
		struct known *k = &m->known[i];
		const struct broker_node *n = broker_node_find(b, k->node);
		if (n == NULL || !n->up || k->linked || k->told_down == n->incarnation)
			continue;
		if (now_ms(m) - k->unlinked_ms >= m->config.down_ms || is_dead(m, k)) {
			tell_down(m, k, n);
		} else {
			waits = true;
		}
	}
	look_at_parting(m);
	return waits;
}

static bool look_at_long_down(struct roster *m)
{
	bool waits = false;
	for (size_t i = 0; i < m->n_known; i++) {
		struct known *k = &m->known[i];
		if (k->down_ms == 0 || k->replaced || broker_node_find(the_broker(m), k->node) == NULL)
			continue;
		waits = true;
		if (now_ms(m) - k->down_ms < m->config.replace_ms)
			continue;
		struct buf b = BUF_EMPTY;
		k->replaced = true;
		broker_put_replace_members(&b, k->node);
		propose(m, &b);
	}
	return waits;
}

/* ---- the leader: group 0's members ---------------------------------------------------------- */

uint64_t roster_member_id(uint64_t node, uint64_t incarnation, bool ram)
{
	if (!ram)
		return node;
	/* splitmix64 */
	uint64_t z = node + incarnation * 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return z != 0 ? z : 1;
}

/* The id that the node's member is to have; 0: it cannot be known now. */
static uint64_t wanted_id(const struct roster *m, const struct broker_node *n)
{
	bool ram = n->type == BROKER_NODE_RAM;
	const struct known *k = known_find(m, n->id);
	uint64_t incarnation = n->id == m->config.node ? m->config.incarnation
			       : k != NULL && k->linked ? k->incarnation
							: 0;
	return ram && incarnation == 0 ? 0 : roster_member_id(n->id, incarnation, ram);
}

static void on_changed(void *arg, int status)
{
	struct roster *m = arg;
	m->changing = false;
	if (status != 0)
		m->change_ms = now_ms(m) + CHANGE_AGAIN_MS;
	roster_applied(m);
}

/* What is to be done to group 0's members next. */
struct step {
	enum { STEP_NONE, STEP_REMOVE, STEP_DEMOTE, STEP_ADD, STEP_PROMOTE, STEP_WAIT } what;
	struct group_member member;
};

static struct step step_out(
	const struct roster *m, const struct group_member_state *ms, unsigned n)
{
	const struct broker *b = the_broker(m);
	for (unsigned i = 0; i < n; i++) {
		const struct broker_node *node = broker_node_find(b, ms[i].node);
		uint64_t id = node != NULL ? wanted_id(m, node) : 0;
		if (ms[i].node == m->config.node)
			continue;
		if (node == NULL || (id != 0 && id != ms[i].id))
			return (struct step){STEP_REMOVE, {.id = ms[i].id, .node = ms[i].node}};
	}
	return (struct step){STEP_NONE, {0}};
}

/* The node is down by its own word, and its link still stands. */
static bool takes_leave(const struct roster *m, uint64_t node)
{
	const struct broker_node *n = broker_node_find(the_broker(m), node);
	const struct known *k = known_find(m, node);
	return n != NULL && k != NULL && k->linked && !n->up && n->incarnation == k->incarnation;
}

static unsigned count_voters(const struct group_member_state *ms, unsigned n)
{
	unsigned voters = 0;
	for (unsigned i = 0; i < n; i++)
		voters += ms[i].voter;
	return voters;
}

/* Of two voters one takes leave: this one is to be a majority by itself, until the other is back. */
static struct step step_aside(
	const struct roster *m, const struct group_member_state *ms, unsigned n)
{
	for (unsigned i = 0; i < n && count_voters(ms, n) == 2; i++)
		if (ms[i].voter && ms[i].node != m->config.node && takes_leave(m, ms[i].node))
			return (struct step){STEP_DEMOTE, {.id = ms[i].id, .node = ms[i].node}};
	return (struct step){STEP_NONE, {0}};
}

static const struct group_member_state *state_of(
	const struct group_member_state *ms, unsigned n, uint64_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (ms[i].id == id)
			return &ms[i];
	return NULL;
}

static struct step step_in(
	const struct roster *m, const struct group_member_state *ms, unsigned n)
{
	const struct broker *b = the_broker(m);
	struct step next = {STEP_NONE, {0}};
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *node = b->nodes[i];
		uint64_t id = wanted_id(m, node);
		const struct group_member_state *s = state_of(ms, n, id);
		struct group_member member = {.id = id, .node = node->id};
		if (id == 0 || !is_linked(m, node->id))
			continue;
		if (s == NULL || s->spare)
			return (struct step){STEP_ADD, member};
		if (s->voter || node->type == BROKER_NODE_RAM)
			continue;
		/* A promotion that is asked for waits until it can be done, and holds up all others. */
		if (node->up && s->in_step)
			return (struct step){STEP_PROMOTE, member};
		next.what = STEP_WAIT;
	}
	return next;
}

static struct step next_step(const struct roster *m)
{
	struct group_member_state ms[MEMBERS_MAX];
	unsigned n = group_members(catalog_home_group(m->home), ms, MEMBERS_MAX);
	if (n > MEMBERS_MAX)
		n = MEMBERS_MAX;
	struct step s = step_out(m, ms, n);
	if (s.what == STEP_NONE)
		s = step_aside(m, ms, n);
	return s.what != STEP_NONE ? s : step_in(m, ms, n);
}

static int begin_step(struct roster *m, const struct step *s)
{
	struct group *g = catalog_home_group(m->home);
	switch (s->what) {
	case STEP_REMOVE:
		return group_remove(g, s->member.id, on_changed, m);
	case STEP_DEMOTE:
		return group_demote(g, s->member.id, on_changed, m);
	case STEP_ADD:
		return group_add_standby(g, &s->member, on_changed, m);
	default:
		return group_promote(g, s->member.id, on_changed, m);
	}
}

static bool look_at_members(struct roster *m)
{
	struct step s = {STEP_NONE, {0}};
	if (m->home != NULL && !m->changing)
		s = next_step(m);
	if (s.what == STEP_NONE || s.what == STEP_WAIT)
		return s.what == STEP_WAIT;
	if (now_ms(m) < m->change_ms)
		return true;
	m->changing = begin_step(m, &s) == 0;
	if (!m->changing)
		m->change_ms = now_ms(m) + CHANGE_AGAIN_MS;
	return !m->changing;
}

/* ---- looking -------------------------------------------------------------------------------- */

/* The process stood still, or its machine did: what came meanwhile has yet to be read, the links of others and
 * whom they have made leader among it. Nobody is called down for that time. */
static void mind_absence(struct roster *m)
{
	uint64_t now = now_ms(m);
	if (!m->timing || now < m->due_ms + AWAY_MS)
		return;
	for (size_t i = 0; i < m->n_known; i++) {
		struct known *k = &m->known[i];
		uint64_t since = k->unlinked_ms + (now - m->due_ms);
		k->unlinked_ms = since < now ? since : now;
	}
	m->due_ms = now;
}

static void look(struct roster *m)
{
	bool again = false;
	mind_absence(m);
	look_at_table(m);
	look_at_self(m);
	look_at_lost(m);
	if (m->leading) {
		again |= look_at_links(m);
		again |= look_at_long_down(m);
		again |= look_at_members(m);
	}
	if (!again || m->timing)
		return;
	m->timing = true;
	m->due_ms = now_ms(m) + LOOK_MS;
	timer_set(m->timer, LOOK_MS);
}

/* ---- leaving -------------------------------------------------------------------------------- */

static bool is_not_told_down(struct roster *m)
{
	const struct broker_node *n = broker_node_find(the_broker(m), m->config.node);
	return n != NULL && n->up && n->incarnation == m->config.incarnation;
}

static void on_transferred(void *arg, int status)
{
	struct roster *m = arg;
	(void)status;
	m->transferring = false;
}

/* Whether another voter is there that could go on. */
static bool has_heir(const struct roster *m, const struct group_member_state *ms, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct broker_node *node = broker_node_find(the_broker(m), ms[i].node);
		if (ms[i].voter && ms[i].node != m->config.node && node != NULL && node->up &&
			is_linked(m, node->id))
			return true;
	}
	return false;
}

static bool is_counted_on(struct roster *m)
{
	struct group_member_state ms[MEMBERS_MAX];
	struct group *g = catalog_home_group(m->home);
	unsigned n = group_members(g, ms, MEMBERS_MAX);
	if (n > MEMBERS_MAX)
		n = MEMBERS_MAX;
	if (m->transferring)
		return true;
	if (!has_heir(m, ms, n))
		return false;
	if (group_leading(g)) {
		m->transferring = group_transfer(g, 0, on_transferred, m) == 0;
		return true;
	}
	for (unsigned i = 0; i < n; i++)
		if (ms[i].node == m->config.node && ms[i].voter)
			return count_voters(ms, n) == 2;
	return false;
}

/* What is waited for has come, or is not waited for any longer. */
static void look_at_leaving(struct roster *m)
{
	if (m->leaves == NULL)
		return;
	if (m->home != NULL && now_ms(m) < m->leave_until_ms && m->leaves(m)) {
		timer_set(m->timer, LEAVE_LOOK_MS);
		m->timing = true;
		return;
	}
	m->leaves = NULL;
	m->leave_done(m->leave_arg);
}

static void begin_leaving(struct roster *m, bool (*leaves)(struct roster *m), void (*done)(void *arg),
	void *arg)
{
	m->left = true;
	m->leaves = leaves;
	m->leave_done = done;
	m->leave_arg = arg;
	m->leave_until_ms = now_ms(m) + LEAVE_MS;
	m->timing = true;
	timer_set(m->timer, 0);
}

void roster_leave(struct roster *m, void (*done)(void *arg), void *arg)
{
	bool others = m->home != NULL && the_broker(m)->n_nodes > 1 &&
		      catalog_leader(m->config.catalog) != 0;
	begin_leaving(m, is_not_told_down, done, arg);
	if (!others || !is_not_told_down(m)) {
		m->leave_until_ms = now_ms(m);
		return;
	}
	propose_down(m, broker_node_find(the_broker(m), m->config.node));
}

void roster_hand_over(struct roster *m, void (*done)(void *arg), void *arg)
{
	bool told = !is_not_told_down(m);
	begin_leaving(m, is_counted_on, done, arg);
	if (!told)
		m->leave_until_ms = now_ms(m); /* nobody would know why */
}

static void on_timer(void *arg)
{
	struct roster *m = arg;
	mind_absence(m);
	m->timing = false;
	roster_applied(m);
	look_at_leaving(m);
}

void roster_applied(struct roster *m)
{
	if (m->home != NULL)
		look(m);
}

void roster_leading(struct roster *m, bool yes)
{
	m->leading = yes;
	m->change_ms = 0;
	m->parting = yes;
	if (!yes)
		return;
	log_info("cluster", "%s leads the metadata", m->config.name);
	for (size_t i = 0; i < m->n_known; i++) {
		m->known[i].unlinked_ms = now_ms(m);
		m->known[i].told_down = 0;
		m->known[i].replaced = false;
		if (m->known[i].down_ms != 0)
			m->known[i].down_ms = now_ms(m);
	}
	if (the_broker(m)->n_nodes == 0)
		tell_up(m); /* the first node of a new cluster */
	if (m->alone)
		forget_all_others(m);
	roster_applied(m);
}

void roster_link_up(struct roster *m, uint64_t node, uint64_t incarnation)
{
	struct known *k = known_get(m, node);
	const struct broker_node *n = broker_node_find(the_broker(m), node);
	k->linked = true;
	k->incarnation = incarnation;
	m->parting |= m->leading && n != NULL && n->up && n->incarnation == incarnation;
	m->config.found(m->config.arg, node);
	roster_applied(m);
}

void roster_link_down(struct roster *m, uint64_t node, enum link_end why)
{
	struct known *k = known_find(m, node);
	if (k == NULL)
		return; /* forgotten */
	k->linked = false;
	k->broke = why == LINK_CLOSED;
	k->unlinked_ms = now_ms(m);
	roster_applied(m);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct roster *roster_new(const struct roster_config *config)
{
	struct roster *m = MEM_NEW(struct roster);
	m->config = *config;
	m->config.name = mem_strdup(config->name);
	m->config.address = mem_strdup(config->address);
	m->timer = timer_new(config->worker, on_timer, m);
	m->alone = config->alone;
	return m;
}

void roster_set_home(struct roster *m, struct catalog_home *home)
{
	m->home = home;
	if (home == NULL) {
		m->leading = false;
		timer_stop(m->timer);
	} else {
		look(m);
	}
}

void roster_free(struct roster *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n_known; i++) {
		mem_free(m->known[i].name);
		mem_free(m->known[i].address);
	}
	mem_free(m->known);
	mem_free((void *)(uintptr_t)m->config.name);
	mem_free((void *)(uintptr_t)m->config.address);
	timer_free(m->timer);
	mem_free(m);
}

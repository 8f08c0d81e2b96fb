/* SPDX-License-Identifier: Apache-2.0
 *
 * Placing is: collect the nodes that shall have a member (`struct wanted`), then compare with the
 * members that are there. Everything here has to come out the same on all nodes: nodes are walked in
 * the order of joining, queues in the order of their groups, and draws are hashes of the group.
 */
#include "src/broker/member.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"

enum { QUORUM_MEMBERS = 3 };

/* ---- lookup ---- */

struct broker_member *broker_member_find(const struct broker_queue *q, uint64_t id)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (q->members[i].id == id)
			return &q->members[i];
	return NULL;
}

struct broker_member *broker_member_on(const struct broker_queue *q, uint16_t node)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (q->members[i].node == node && q->members[i].state != BROKER_MEMBER_LEAVING)
			return &q->members[i];
	return NULL;
}

bool broker_queue_in_memory(const struct broker_queue *q)
{
	return !q->spec.durable || q->spec.exclusive;
}

bool broker_member_may_vote(const struct broker_queue *q, const struct broker_member *m)
{
	return !m->memory || broker_queue_in_memory(q);
}

const char *broker_member_state_name(enum broker_member_state state)
{
	static const char *const names[BROKER_MEMBER_STATES] = {
		[BROKER_MEMBER_INITIAL] = "initial",
		[BROKER_MEMBER_JOINING] = "joining",
		[BROKER_MEMBER_VOTER] = "voter",
		[BROKER_MEMBER_LEAVING] = "leaving",
	};
	return (unsigned)state < BROKER_MEMBER_STATES ? names[state] : "unknown";
}

bool broker_locator_of(struct slice name, enum broker_locator *ret)
{
	static const struct {
		const char *word;
		enum broker_locator locator;
	} words[] = {
		{"client-local", BROKER_LOCATOR_CLIENT_LOCAL},
		{"min-masters", BROKER_LOCATOR_MIN_MASTERS},
		{"balanced", BROKER_LOCATOR_MIN_MASTERS},
		{"least-leaders", BROKER_LOCATOR_MIN_MASTERS},
		{"random", BROKER_LOCATOR_RANDOM},
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (!slice_is(name, words[i].word))
			continue;
		*ret = words[i].locator;
		return true;
	}
	return false;
}

bool broker_member_votes(const struct broker_queue *q, const struct broker_member *m)
{
	return (m->state == BROKER_MEMBER_INITIAL || m->state == BROKER_MEMBER_VOTER) &&
	       broker_member_may_vote(q, m);
}

bool broker_queue_has_lost(const struct broker_queue *q)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (q->members[i].lost)
			return true;
	return false;
}

bool broker_member_survives(const struct broker_queue *q, const struct broker_member *m)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (&q->members[i] != m && broker_member_votes(q, &q->members[i]))
			return false;
	return broker_member_votes(q, m) && broker_queue_has_lost(q);
}

bool broker_member_inherits(const struct broker_queue *q, const struct broker_member *m)
{
	return m->heir && broker_member_survives(q, m);
}

bool broker_queue_is_replicated(const struct broker_queue *q)
{
	return !q->spec.exclusive &&
	       (q->type == BROKER_QUEUE_QUORUM ||
		       (q->effective != NULL && q->effective->ha_mode != BROKER_HA_NONE));
}

static const struct broker_node *node_of(
	const struct broker_queue *q, const struct broker_member *m)
{
	return broker_node_by_number(q->vhost->broker, m->node);
}

/* Where the log of a member on the node has to be. */
static bool in_memory_on(const struct broker_queue *q, const struct broker_node *n)
{
	return broker_queue_in_memory(q) || n->type == BROKER_NODE_RAM;
}

bool broker_member_could_vote(const struct broker_queue *q, const struct broker_node *n)
{
	return broker_queue_in_memory(q) ? n->up : n->type == BROKER_NODE_DISC;
}

/* ---- what is wanted ---- */

/* How many, or where. */
struct mode {
	enum broker_ha_mode ha; /* BROKER_HA_NONE: one */
	size_t count;           /* of BROKER_HA_EXACTLY */
	bool voters_only;       /* no standbys on RAM nodes */
	bool replaces;          /* those on a node that has long been down may be replaced */
};

static struct mode mode_of(const struct broker_queue *q)
{
	struct amqp_value v;
	const struct broker_effective *e = q->effective;
	if (q->spec.exclusive)
		return (struct mode){.ha = BROKER_HA_NONE};
	if (q->type == BROKER_QUEUE_QUORUM) {
		bool given = amqp_table_get(
				     q->spec.arguments, "x-quorum-initial-group-size", &v) &&
			     amqp_value_is_int(&v) && v.u.i > 0;
		return (struct mode){.ha = BROKER_HA_EXACTLY,
			.count = given ? (size_t)v.u.i : QUORUM_MEMBERS,
			.voters_only = true};
	}
	if (e == NULL)
		return (struct mode){.ha = BROKER_HA_NONE};
	return (struct mode){.ha = e->ha_mode,
		.count = e->ha_count,
		.replaces = e->ha_mode == BROKER_HA_EXACTLY};
}

struct wanted {
	const struct broker_node *nodes[BROKER_MEMBERS_MAX];
	size_t n;
};

static bool wants(const struct wanted *w, const struct broker_node *n)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->nodes[i] == n)
			return true;
	return false;
}

static void want(struct wanted *w, const struct broker_node *n)
{
	if (n != NULL && w->n < BROKER_MEMBERS_MAX && !wants(w, n))
		w->nodes[w->n++] = n;
}

static uint64_t draw(uint64_t group, uint64_t salt)
{
	/* splitmix64 */
	uint64_t z = group * 0x9e3779b97f4a7c15u + salt;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* What a new member's node has to be like. */
struct demand {
	bool voter; /* a member there could vote; else: a standby in memory could be there */
	bool up;
};

static bool meets(const struct broker_queue *q, const struct broker_node *n, struct demand d)
{
	if (d.voter)
		return broker_member_could_vote(q, n) && n->up == d.up;
	return !broker_member_could_vote(q, n) && n->up;
}

/* Of the nodes not wanted yet that meet the demand, the one with the fewest members; or NULL. */
static const struct broker_node *emptiest(const struct broker_queue *q, const struct wanted *w,
	const struct broker_node *avoid, struct demand d)
{
	const struct broker *b = q->vhost->broker;
	const struct broker_node *best = NULL;
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (n == avoid || wants(w, n) || !meets(q, n, d))
			continue;
		if (best == NULL || n->n_members < best->n_members ||
			(n->n_members == best->n_members &&
				draw(q->group, n->number) < draw(q->group, best->number)))
			best = n;
	}
	return best;
}

static void fill(const struct broker_queue *q, struct wanted *w, size_t count,
	const struct broker_node *avoid, struct demand d)
{
	const struct broker_node *n;
	while (w->n < count && (n = emptiest(q, w, avoid, d)) != NULL)
		want(w, n);
}

/* Members that vote or will, where they are: those that vote first, of each those whose node is up. */
static void keep(const struct broker_queue *q, struct wanted *w, size_t count,
	const struct broker_node *avoid)
{
	for (int rank = 0; rank < 4; rank++) {
		bool voting = rank < 2, up = rank % 2 == 0;
		for (size_t i = 0; i < q->n_members && w->n < count; i++) {
			const struct broker_member *m = &q->members[i];
			const struct broker_node *n = node_of(q, m);
			if (m->state != BROKER_MEMBER_LEAVING && n != NULL && n != avoid &&
				n->up == up && broker_member_votes(q, m) == voting && broker_member_could_vote(q, n) &&
				m->memory == in_memory_on(q, n))
				want(w, n);
		}
	}
}

/* Whoever is not leaving. */
static void keep_any(const struct broker_queue *q, struct wanted *w, size_t count)
{
	for (size_t i = 0; i < q->n_members && w->n < count; i++)
		if (q->members[i].state != BROKER_MEMBER_LEAVING)
			want(w, node_of(q, &q->members[i]));
}

static void want_count(const struct broker_queue *q, struct wanted *w, const struct mode *mode,
	const struct broker_node *avoid)
{
	keep(q, w, mode->count, avoid);
	fill(q, w, mode->count, avoid, (struct demand){.voter = true, .up = true});
	if (avoid != NULL && broker_member_on(q, avoid->number) != NULL && w->n < mode->count)
		want(w, avoid);
	if (!broker_queue_in_memory(q))
		fill(q, w, mode->count, NULL, (struct demand){.voter = true, .up = false});
	if (mode->voters_only)
		return;
	keep_any(q, w, mode->count);
	fill(q, w, mode->count, NULL, (struct demand){.voter = false});
}

static void want_named(const struct broker_queue *q, struct wanted *w)
{
	struct reader r = reader_of(q->effective->ha_nodes);
	struct amqp_value v;
	while (amqp_array_next(&r, &v))
		if (v.type == 'S')
			want(w, broker_node_by_name(q->vhost->broker, v.u.s));
}

static void want_all(const struct broker_queue *q, struct wanted *w)
{
	const struct broker *b = q->vhost->broker;
	for (size_t i = 0; i < b->n_nodes; i++)
		want(w, b->nodes[i]);
}

static bool any_could_vote(const struct broker_queue *q, const struct wanted *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (broker_member_could_vote(q, w->nodes[i]))
			return true;
	return false;
}

/* ---- the first leader ---- */

static enum broker_locator locator_of(const struct broker_queue *q)
{
	static const char *const arguments[] = {
		"x-queue-master-locator", "x-queue-leader-locator"};
	static const char *const keys[] = {"queue-master-locator", "queue-leader-locator"};
	struct amqp_value v;
	enum broker_locator ret = q->spec.locator;
	for (size_t i = 0; i < 2; i++)
		if (amqp_table_get(q->spec.arguments, arguments[i], &v) && v.type == 'S' &&
			broker_locator_of(v.u.s, &ret))
			return ret;
	for (size_t i = 0; i < 2; i++)
		if (broker_effective_get(q->effective, keys[i], &v) && v.type == 'S' &&
			broker_locator_of(v.u.s, &ret))
			return ret;
	return ret;
}

/* Is the node one where the queue may be led? */
static bool may_lead(
	const struct broker_queue *q, const struct wanted *among, const struct broker_node *n)
{
	return broker_member_could_vote(q, n) && (among == NULL || wants(among, n));
}

static const struct broker_node *least_leading(
	const struct broker_queue *q, const struct wanted *among, bool up)
{
	const struct broker *b = q->vhost->broker;
	const struct broker_node *best = NULL;
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (broker_node_serves(n) == up && may_lead(q, among, n) &&
			(best == NULL || n->n_leaders < best->n_leaders))
			best = n;
	}
	return best;
}

static const struct broker_node *drawn(const struct broker_queue *q, const struct wanted *among)
{
	const struct broker *b = q->vhost->broker;
	const struct broker_node *best = NULL;
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (broker_node_serves(n) && may_lead(q, among, n) &&
			(best == NULL ||
				draw(q->group, ~n->id) < draw(q->group, ~best->id)))
			best = n;
	}
	return best;
}

/* For a queue without members; `among` may be NULL for all nodes. NULL if no node will do. */
static const struct broker_node *locate(const struct broker_queue *q, const struct wanted *among)
{
	const struct broker_node *n = broker_node_find(q->vhost->broker,
		q->spec.exclusive ? q->spec.owner.node : q->spec.home_node);
	enum broker_locator locator =
		q->spec.exclusive ? BROKER_LOCATOR_CLIENT_LOCAL : locator_of(q);
	if (locator == BROKER_LOCATOR_CLIENT_LOCAL && n != NULL && broker_node_serves(n) &&
		may_lead(q, among, n))
		return n;
	n = locator == BROKER_LOCATOR_RANDOM ? drawn(q, among) : least_leading(q, among, true);
	return n != NULL ? n : least_leading(q, among, false);
}

/* Moves a node that is wanted, or shall be, to the front. */
static void want_first(struct wanted *w, const struct broker_node *n)
{
	if (n == NULL)
		return;
	want(w, n);
	size_t at = 0;
	while (at < w->n && w->nodes[at] != n)
		at++;
	if (at == w->n)
		at--; /* there are too many: it takes the last one's place */
	for (; at > 0; at--)
		w->nodes[at] = w->nodes[at - 1];
	w->nodes[0] = n;
}

static void collect(
	const struct broker_queue *q, struct wanted *w, const struct broker_node *avoid)
{
	struct mode mode = mode_of(q);
	bool fresh = q->n_members == 0;
	w->n = 0;
	if (q->by_hand && !fresh) {
		keep_any(q, w, BROKER_MEMBERS_MAX);
		return;
	}
	if (mode.ha == BROKER_HA_NODES)
		want_named(q, w);
	if (mode.ha == BROKER_HA_ALL)
		want_all(q, w);
	/* What is asked for leaves it without a member that votes: one there has to be. */
	if (mode.ha == BROKER_HA_NONE || (mode.ha == BROKER_HA_NODES && !any_could_vote(q, w))) {
		if (!fresh)
			keep(q, w, w->n + 1, NULL);
		mode = (struct mode){.ha = BROKER_HA_NONE};
	}
	if (fresh)
		want_first(w, locate(q, mode.ha == BROKER_HA_NODES ? w : NULL));
	if (mode.ha == BROKER_HA_EXACTLY)
		want_count(q, w, &mode, mode.replaces ? avoid : NULL);
	else if (mode.ha == BROKER_HA_NONE && !any_could_vote(q, w))
		want(w, locate(q, NULL));
}

/* ---- changing members ---- */

/* What the nodes count of it. */
static void count(const struct broker_queue *q, int by)
{
	for (size_t i = 0; i < q->n_members; i++) {
		struct broker_node *n =
			broker_node_by_number(q->vhost->broker, q->members[i].node);
		if (n == NULL)
			continue;
		if (q->members[i].state != BROKER_MEMBER_LEAVING)
			n->n_members += (size_t)by;
		if (i == 0)
			n->n_leaders += (size_t)by;
	}
}

static void append(struct broker_queue *q, const struct broker_member *m)
{
	q->members = mem_realloc(q->members, (q->n_members + 1u) * sizeof(*q->members));
	q->members[q->n_members++] = *m;
}

static void add(struct broker_queue *q, const struct broker_node *n, enum broker_member_state state)
{
	struct broker *b = q->vhost->broker;
	append(q, &(struct broker_member){.id = b->next_member++,
			  .chosen = state == BROKER_MEMBER_INITIAL,
			  .node = n->number,
			  .state = (uint8_t)state,
			  .memory = in_memory_on(q, n)});
	broker_row_touch(b, &b->row);
}

static bool is_wanted(
	const struct broker_queue *q, const struct wanted *w, const struct broker_member *m)
{
	const struct broker_node *n = node_of(q, m);
	return n != NULL && wants(w, n) && m->memory == in_memory_on(q, n);
}

/* Some member votes that is wanted, and can: while its node is down the others may be all that there is. */
static bool stands(const struct broker_queue *q, const struct wanted *w)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (broker_member_votes(q, &q->members[i]) && is_wanted(q, w, &q->members[i]) &&
			node_of(q, &q->members[i])->up)
			return true;
	return false;
}

/* Those that are not wanted leave, but for those that vote as long as no other one does. */
static bool dismiss(struct broker_queue *q, const struct wanted *w)
{
	bool changed = false, standing = stands(q, w);
	for (size_t i = 0; i < q->n_members; i++) {
		struct broker_member *m = &q->members[i];
		if (m->state == BROKER_MEMBER_LEAVING || is_wanted(q, w, m) ||
			(broker_member_votes(q, m) && !standing))
			continue;
		m->state = BROKER_MEMBER_LEAVING;
		changed = true;
	}
	return changed;
}

static bool engage(struct broker_queue *q, const struct wanted *w)
{
	bool changed = false, fresh = q->n_members == 0;
	for (size_t i = 0; i < w->n && q->n_members < BROKER_MEMBERS_MAX; i++) {
		const struct broker_node *n = w->nodes[i];
		bool lives = n->up || !in_memory_on(q, n);
		if (!lives || broker_member_on(q, n->number) != NULL)
			continue;
		/* Nodes that are down would be missing at the first election. */
		bool initial = fresh && broker_member_could_vote(q, n) && (n->up || q->n_members == 0);
		add(q, n, initial ? BROKER_MEMBER_INITIAL : BROKER_MEMBER_JOINING);
		changed = true;
	}
	for (size_t i = 0; fresh && broker_members_initial(q) > 1 && i < q->n_members; i++)
		q->members[i].unproven = q->members[i].state == BROKER_MEMBER_INITIAL;
	return changed;
}

static void put_first(struct broker_queue *q, size_t at)
{
	struct broker_member m = q->members[at];
	for (; at > 0; at--)
		q->members[at] = q->members[at - 1];
	q->members[0] = m;
}

/* The first place is that of a member that can lead. */
static void put_leader_first(struct broker_queue *q)
{
	size_t at = 0;
	while (at < q->n_members && !broker_member_votes(q, &q->members[at]))
		at++;
	if (at < q->n_members)
		put_first(q, at);
}

unsigned broker_members_initial(const struct broker_queue *q)
{
	unsigned n = 0;
	for (size_t i = 0; i < q->n_members; i++)
		n += q->members[i].state == BROKER_MEMBER_INITIAL;
	return n;
}

/* The row is to be written, and who opens a member of a queue that has begun knows that the first
 * configuration is not the present one. */
static void reshape(struct broker_queue *q)
{
	q->reshaped = q->begun;
	broker_row_touch(q->vhost->broker, &q->row);
}

bool broker_members_place(struct broker_queue *q, const struct broker_node *avoid)
{
	struct broker *b = q->vhost->broker;
	struct wanted w;
	if (b->loading || b->n_nodes == 0)
		return false;
	count(q, -1);
	collect(q, &w, avoid);
	bool changed = dismiss(q, &w);
	changed |= engage(q, &w);
	if (changed) {
		put_leader_first(q);
		reshape(q);
	}
	count(q, 1);
	return changed;
}

void broker_members_place_all(struct broker *b, const struct broker_node *avoid)
{
	for (struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		if (broker_members_place(q, avoid))
			broker_queue_changed(q);
}

bool broker_member_choose(struct broker_queue *q, struct broker_member *m, uint64_t term)
{
	if (m->state == BROKER_MEMBER_LEAVING || !broker_member_may_vote(q, m) || term < m->chosen ||
		broker_queue_has_lost(q))
		return false;
	if (term == m->chosen)
		return true;
	m->chosen = term;
	broker_row_touch(q->vhost->broker, &q->row);
	broker_queue_changed(q);
	return true;
}

void broker_member_promote(struct broker_queue *q, struct broker_member *m)
{
	count(q, -1);
	m->state = BROKER_MEMBER_VOTER;
	m->heir = m->unproven = false;
	if (m->chosen == 0)
		m->chosen = 1;
	if (m->first) {
		m->first = false;
		put_first(q, (size_t)(m - q->members));
	}
	count(q, 1);
	reshape(q);
	broker_members_place(q, NULL);
	broker_queue_changed(q);
}

/* Who the members are stays as it is, so the first configuration is still good. */
void broker_member_prefer(struct broker_queue *q, struct broker_member *m)
{
	bool pending = false;
	for (size_t i = 0; i < q->n_members; i++) {
		pending |= q->members[i].first;
		q->members[i].first = false;
	}
	if (m == q->members && !pending)
		return;
	count(q, -1);
	put_first(q, (size_t)(m - q->members));
	count(q, 1);
	broker_row_touch(q->vhost->broker, &q->row);
	broker_queue_changed(q);
}

static void chosen(struct broker_queue *q)
{
	put_leader_first(q);
	count(q, 1);
	q->by_hand = true;
	reshape(q);
	broker_queue_changed(q);
}

void broker_member_add(struct broker_queue *q, const struct broker_node *n)
{
	count(q, -1);
	add(q, n, BROKER_MEMBER_JOINING);
	chosen(q);
}

void broker_member_dismiss(struct broker_queue *q, struct broker_member *m)
{
	count(q, -1);
	m->state = BROKER_MEMBER_LEAVING;
	chosen(q);
}

void broker_member_load(struct broker_queue *q, const struct broker_member *m)
{
	count(q, -1);
	append(q, m);
	count(q, 1);
}

void broker_members_copy(struct broker_queue *q, const struct broker_queue *from)
{
	size_t n = from->n_members * sizeof *from->members;
	mem_free(q->members);
	q->members = n > 0 ? mem_dup(from->members, n) : NULL;
	q->n_members = from->n_members;
}

void broker_members_recount(struct broker *b)
{
	for (size_t i = 0; i < b->n_nodes; i++)
		b->nodes[i]->n_members = b->nodes[i]->n_leaders = 0;
	for (struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		count(q, 1);
}

void broker_members_done(struct broker_queue *q)
{
	count(q, -1);
	mem_free(q->members);
	q->members = NULL;
	q->n_members = 0;
}

/* ---- losing a node ---- */

static bool lose(struct broker_queue *q, uint16_t node, bool memory_only)
{
	bool changed = false;
	count(q, -1);
	for (size_t i = 0; i < q->n_members; i++) {
		struct broker_member *m = &q->members[i];
		if (m->node != node || m->state == BROKER_MEMBER_LEAVING ||
			(memory_only && !m->memory))
			continue;
		m->state = BROKER_MEMBER_LEAVING;
		changed = true;
	}
	if (changed) {
		put_leader_first(q);
		reshape(q);
	}
	count(q, 1);
	return changed;
}

/* The other one, if the group's voters are these two and no others, or that one alone: whoever else is there has no
 * vote. */
static const struct broker_member *other_of_two(
	const struct broker_queue *q, const struct broker_member *m)
{
	const struct broker_member *other = NULL;
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_member *x = &q->members[i];
		if (x == m || x->chosen == 0)
			continue;
		if (other != NULL || !broker_member_votes(q, x))
			return NULL;
		other = x;
	}
	return other;
}

/* Who would go on without it; or NULL. */
static const struct broker_member *survivor_of(const struct broker_queue *q, const struct broker_member *m)
{
	if (m->chosen == 0 || m->lost || !broker_member_may_vote(q, m) || q->n_members >= BROKER_MEMBERS_MAX)
		return NULL;
	const struct broker_member *other = other_of_two(q, m);
	const struct broker_node *n = other != NULL ? node_of(q, other) : NULL;
	return n != NULL && n->up ? other : NULL;
}

bool broker_member_is_survived(const struct broker_queue *q, const struct broker_member *m)
{
	return m != NULL && survivor_of(q, m) != NULL;
}

/* In place of one that voted, whose log it begins with: on a node that keeps logs on disk still. `m` is worth nothing
 * then. */
static void add_heir(struct broker_queue *q, const struct broker_member *m)
{
	const struct broker_node *n = node_of(q, m);
	bool first = m == q->members, unproven = m->unproven;
	if (m->memory || n == NULL || in_memory_on(q, n))
		return;
	add(q, n, BROKER_MEMBER_JOINING);
	struct broker_member *heir = &q->members[q->n_members - 1];
	heir->heir = true;
	heir->first = first;
	heir->unproven = unproven;
}

static void part(struct broker_queue *q, struct broker_member *m)
{
	bool voted = broker_member_votes(q, m);
	count(q, -1);
	m->state = BROKER_MEMBER_LEAVING;
	m->lost = true;
	if (voted)
		add_heir(q, m);
	put_leader_first(q);
	reshape(q);
	count(q, 1);
	broker_queue_changed(q);
}

/* Its process has ended, or what it does is worth nothing any more. */
static bool is_over(const struct broker_queue *q, const struct broker_member *m, const struct broker_parting *p)
{
	const struct broker_node *n = node_of(q, m);
	return n == NULL || !n->up || (m->memory && n == p->ended);
}

static bool is_absent(const struct broker_parting *p, const struct broker_node *n)
{
	struct reader r = reader_of(p->absent);
	while (reader_left(&r) > 0)
		if (get_u64le(&r) == n->id)
			return true;
	return false;
}

/* Who is absent may be up: then that is said again, and it survives. But where the other one's log was in memory
 * nobody has to be waited for. */
static bool is_parted(const struct broker_queue *q, const struct broker_member *m, const struct broker_parting *p)
{
	const struct broker_member *other = is_over(q, m, p) ? survivor_of(q, m) : NULL;
	const struct broker_node *n = other != NULL ? node_of(q, other) : NULL;
	if (n == NULL)
		return false;
	if (m->memory)
		return n != p->ended;
	return p->there != NULL ? n == p->there : !p->all_absent && !is_absent(p, n);
}

/* The one that is lost, or NULL. */
static struct broker_member *parted(const struct broker_queue *q, const struct broker_parting *p)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (is_parted(q, &q->members[i], p))
			return &q->members[i];
	return NULL;
}

static void part_queue(struct broker_queue *q, const struct broker_parting *p)
{
	struct broker_member *lost = parted(q, p);
	if (lost != NULL)
		part(q, lost);
	else if (parted(q, &(struct broker_parting){0}) != NULL)
		q->vhost->broker->unparted++;
}

bool broker_members_would_part(const struct broker *b, const struct broker_parting *p)
{
	for (const struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		if (parted(q, p) != NULL)
			return true;
	return false;
}

void broker_members_part(struct broker *b, const struct broker_parting *p)
{
	for (struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		part_queue(q, p);
}

/* Two may be left, one of which was called down while there were more. The other one is there if it is the one that
 * leads, and says so; the one that is down may have said it before. */
static void part_rest(struct broker_queue *q, uint64_t by)
{
	const struct broker_member *speaker = broker_member_find(q, by);
	const struct broker_node *n =
		speaker != NULL && broker_member_votes(q, speaker) ? node_of(q, speaker) : NULL;
	part_queue(q, &(struct broker_parting){.there = n, .all_absent = n == NULL});
}

void broker_member_remove(struct broker_queue *q, struct broker_member *m, uint64_t by)
{
	count(q, -1);
	size_t at = (size_t)(m - q->members);
	q->n_members--;
	for (; at < q->n_members; at++)
		q->members[at] = q->members[at + 1];
	put_leader_first(q);
	count(q, 1);
	reshape(q);
	broker_queue_changed(q);
	part_rest(q, by);
}

static bool has_voter(const struct broker_queue *q)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (broker_member_votes(q, &q->members[i]))
			return true;
	return false;
}

/* Whose log is what a lost member has left; if there is no other, one that has been replaced, or that has voted, and has
 * not gone. */
static struct broker_member *heir_of(const struct broker_queue *q)
{
	struct broker_member *leaving = NULL;
	for (size_t i = 0; i < q->n_members; i++) {
		struct broker_member *m = &q->members[i];
		if ((!m->heir && m->chosen == 0) || m->lost || m->memory || node_of(q, m) == NULL)
			continue;
		if (m->heir && m->state == BROKER_MEMBER_JOINING)
			return m;
		leaving = m;
	}
	return leaving;
}

/* The survivor's node is forgotten. What the lost one's log holds is what there is: its heir goes on with that,
 * and alone: what others have copied from the survivor is not of this history. */
static bool inherit(struct broker_queue *q)
{
	struct broker_member *heir = heir_of(q);
	if (heir == NULL)
		return false;
	count(q, -1);
	for (size_t i = 0; i < q->n_members; i++) {
		struct broker_member *m = &q->members[i];
		if (m == heir || !broker_member_may_vote(q, m))
			continue;
		m->lost |= m->state == BROKER_MEMBER_LEAVING;
		m->state = BROKER_MEMBER_LEAVING;
		m->chosen = 1;
	}
	heir->state = BROKER_MEMBER_VOTER;
	heir->heir = true;
	heir->chosen = 1;
	put_leader_first(q);
	reshape(q);
	count(q, 1);
	return true;
}

void broker_members_lose(struct broker *b, uint16_t node, bool memory_only)
{
	for (struct broker_queue *q = b->queues_by_group, *next; q != NULL; q = next) {
		next = q->hh_group.next;
		bool changed = lose(q, node, memory_only);
		if (changed && !has_voter(q) && (memory_only || !inherit(q))) {
			broker_queue_delete(q);
			continue;
		}
		changed |= broker_members_place(q, NULL);
		if (changed)
			broker_queue_changed(q);
	}
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes, and the members of queues on them.
 */
#include "src/broker/apply.h"
#include "src/broker/codec.h"
#include "src/broker/command.h"

/* ---- what ends with a node's incarnation ---- */

static bool is_past(const struct broker *b, uint64_t node, uint64_t incarnation)
{
	const struct broker_node *n = broker_node_find(b, node);
	if (n == NULL)
		return b->n_nodes > 0;
	return !n->up || incarnation < n->incarnation;
}

bool apply_is_over(const struct broker *b, const struct broker_queue_spec *s)
{
	if (s->exclusive && is_past(b, s->owner.node, s->owner.incarnation))
		return true;
	return !s->durable && is_past(b, s->home_node, s->home_incarnation);
}

/* Exclusive queues whose connection is gone. What is in memory otherwise goes with its members. */
static void delete_queues_of_past_owners(struct broker *b)
{
	for (struct broker_queue *q = b->queues_by_group, *next; q != NULL; q = next) {
		next = q->hh_group.next;
		const struct broker_connection_id *owner = &q->spec.owner;
		if (q->spec.exclusive && is_past(b, owner->node, owner->incarnation))
			broker_queue_delete(q);
	}
}

/* No node is left that was there before: what lives as long as some node does is over. */
static void delete_transient_exchanges(struct broker *b)
{
	for (struct broker_exchange *x = b->exchanges_by_number, *next; x != NULL; x = next) {
		next = x->hh_number.next;
		if (!x->spec.durable)
			broker_exchange_delete(x);
	}
}

/* ---- nodes ---- */

/* NULL if there is none, which is refused. */
static struct broker_node *find_node(struct broker *b, uint64_t id, struct broker_result *ret)
{
	struct broker_node *n = broker_node_find(b, id);
	if (n == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_NODE);
	return n;
}

static bool labels_ok(struct broker *b, uint64_t id, struct slice name, struct slice address,
	struct broker_result *ret)
{
	const struct broker_node *other = broker_node_by_name(b, name);
	if (!apply_name_ok(name, ret, BROKER_NODE))
		return false;
	if (address.n > BROKER_NAME_MAX)
		return apply_refuse(ret, BROKER_BAD_NAME, BROKER_NODE);
	return other == NULL || other->id == id ||
	       apply_refuse(ret, BROKER_NAME_TAKEN, BROKER_NODE);
}

static struct broker_node *new_node(struct broker *b, uint64_t id, enum broker_node_type type,
	struct slice name, struct slice address)
{
	broker_row_touch(b, &b->row);
	return broker_node_new(b, id, b->next_node++, type, name, address);
}

/* The node that a NODE_UP tells of; the first one makes the table. */
static struct broker_node *known_node(struct broker *b, uint64_t id, uint64_t incarnation,
	struct slice name, struct slice address, struct broker_result *ret)
{
	if (b->n_nodes > 0 && find_node(b, id, ret) == NULL)
		return NULL;
	if (!labels_ok(b, id, name, address, ret))
		return NULL;
	if (b->n_nodes == 0 && b->next_node == 0) {
		apply_refuse(ret, BROKER_FULL, BROKER_NODE);
		return NULL;
	}
	if (b->n_nodes > 0)
		return broker_node_find(b, id);
	if (b->cluster_id == 0)
		b->cluster_id = broker_cluster_id(id, incarnation);
	return new_node(b, id, BROKER_NODE_DISC, name, address);
}

static void begin_incarnation(struct broker_node *n, uint64_t incarnation)
{
	struct broker *b = n->broker;
	n->up = false;
	bool alone = broker_nodes_up(b) == 0;
	n->up = true;
	n->incarnation = incarnation;
	broker_row_touch(b, &n->row);
	broker_node_set_drained(n, false);
	delete_queues_of_past_owners(b);
	broker_members_part(b, &(struct broker_parting){.ended = n, .there = n});
	broker_members_lose(b, n->number, true);
	if (alone)
		delete_transient_exchanges(b);
}

void apply_node_up(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r), incarnation = get_u64le(r);
	struct slice name = broker_get_name(r), address = broker_get_name(r);
	if (incarnation == 0) /* that of a node that was never up */
		reader_fail(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_node *n = known_node(b, id, incarnation, name, address, ret);
	ret->node = n;
	if (n == NULL || incarnation <= n->incarnation)
		return;
	broker_node_set(n, name, address);
	begin_incarnation(n, incarnation);
}

static bool end_incarnation(struct broker *b, struct broker_node *n, uint64_t incarnation)
{
	if (!n->up || incarnation != n->incarnation)
		return false;
	n->up = false;
	broker_row_touch(b, &n->row);
	delete_queues_of_past_owners(b);
	return true;
}

/* Who is absent and was to survive is asked about again when it is back, also in old news. */
void apply_node_down(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r), incarnation = get_u64le(r);
	struct broker_parting p = {0};
	unsigned n_absent = get_u16le(r);
	p.all_absent = n_absent == BROKER_ALL_ABSENT;
	p.absent = get_slice(r, p.all_absent ? 0 : n_absent * sizeof(uint64_t));
	struct broker_node *n = apply_decoded(r, ret) ? find_node(b, id, ret) : NULL;
	if (n == NULL)
		return;
	if (end_incarnation(b, n, incarnation))
		p.ended = n;
	broker_members_part(b, &p);
	if (p.ended != NULL)
		broker_members_lose(b, n->number, true);
}

void apply_join_node(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r);
	struct slice name = broker_get_name(r), address = broker_get_name(r);
	enum broker_node_type type = broker_get_enum(r, BROKER_NODE_TYPES);
	if (!apply_decoded(r, ret))
		return;
	ret->node = broker_node_find(b, id);
	if (ret->node != NULL) {
		apply_refuse(ret, BROKER_EXISTS, BROKER_NODE);
	} else if (!labels_ok(b, id, name, address, ret)) {
		return;
	} else if (b->n_nodes == 0) {
		apply_refuse(ret, BROKER_REFUSED, BROKER_NODE);
	} else if (b->next_node == 0) {
		apply_refuse(ret, BROKER_FULL, BROKER_NODE);
	} else {
		ret->node = new_node(b, id, type, name, address);
		broker_members_place_all(b, NULL);
	}
}

/* The node may lose what it is by: it is down, and another disc node is there. */
static bool may_yield(const struct broker_node *n, struct broker_result *ret)
{
	if (n->up)
		return apply_refuse(ret, BROKER_RUNNING, BROKER_NODE);
	if (n->type == BROKER_NODE_DISC && broker_nodes_of_type(n->broker, BROKER_NODE_DISC) == 1)
		return apply_refuse(ret, BROKER_LAST_DISC, BROKER_NODE);
	return true;
}

void apply_forget_node(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r);
	struct broker_node *n = apply_decoded(r, ret) ? find_node(b, id, ret) : NULL;
	if (n == NULL || !may_yield(n, ret))
		return;
	uint16_t number = n->number;
	broker_node_delete(n);
	delete_queues_of_past_owners(b);
	broker_members_lose(b, number, false);
}

void apply_set_node_type(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r);
	enum broker_node_type type = broker_get_enum(r, BROKER_NODE_TYPES);
	struct broker_node *n = apply_decoded(r, ret) ? find_node(b, id, ret) : NULL;
	if (n == NULL)
		return;
	if (n->type == type) {
		apply_refuse(ret, BROKER_UNCHANGED, BROKER_NODE);
		return;
	}
	if (!may_yield(n, ret))
		return;
	n->type = type;
	broker_row_touch(b, &n->row);
	broker_members_place_all(b, NULL);
}

/* ---- members ---- */

/* The member that the command begins with. */
struct addressed {
	uint64_t group, id;
};

static struct addressed get_addressed(struct reader *r)
{
	struct addressed a = {.group = get_u64le(r)};
	a.id = get_u64le(r);
	return a;
}

/* When all of the command is read. */
static struct broker_member *find_member(struct broker *b, struct reader *r, struct addressed a,
	struct broker_queue **ret_queue, struct broker_result *ret)
{
	if (!apply_decoded(r, ret))
		return NULL;
	*ret_queue = broker_queue_by_group(b, a.group);
	if (*ret_queue == NULL) {
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_QUEUE);
		return NULL;
	}
	struct broker_member *m = broker_member_find(*ret_queue, a.id);
	if (m == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_MEMBER);
	return m;
}

void apply_member_chosen(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct broker_queue *q;
	struct addressed a = get_addressed(r);
	uint64_t term = get_u64le(r);
	struct broker_member *m = find_member(b, r, a, &q, ret);
	if (m != NULL && !broker_member_choose(q, m, term))
		apply_refuse(ret, BROKER_REFUSED, BROKER_MEMBER);
}

void apply_member_promoted(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct broker_queue *q;
	struct broker_member *m = find_member(b, r, get_addressed(r), &q, ret);
	if (m != NULL && m->state == BROKER_MEMBER_JOINING && broker_member_may_vote(q, m))
		broker_member_promote(q, m);
}

/* A leader of an older term cannot know that it has not been promoted since. */
void apply_member_gone(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct broker_queue *q;
	struct addressed a = get_addressed(r);
	uint64_t term = get_u64le(r), by = get_u64le(r);
	struct broker_member *m = find_member(b, r, a, &q, ret);
	if (m == NULL)
		return;
	if (m->state != BROKER_MEMBER_LEAVING || term < m->chosen)
		apply_refuse(ret, BROKER_REFUSED, BROKER_MEMBER);
	else
		broker_member_remove(q, m, by);
}

void apply_replace_members(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r);
	struct broker_node *n = apply_decoded(r, ret) ? find_node(b, id, ret) : NULL;
	if (n == NULL)
		return;
	if (n->up)
		apply_refuse(ret, BROKER_RUNNING, BROKER_NODE);
	else
		broker_members_place_all(b, n);
}

/* ---- by an operator's hand ---- */

void apply_set_drained(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t id = get_u64le(r);
	bool drained = broker_get_enum(r, 2) == 1;
	struct broker_node *n = apply_decoded(r, ret) ? find_node(b, id, ret) : NULL;
	if (n != NULL)
		broker_node_set_drained(n, drained);
}

static bool prefer(struct broker_queue *q, uint64_t id, struct broker_result *ret)
{
	struct broker_member *m = broker_member_find(q, id);
	if (m == NULL)
		return apply_refuse(ret, BROKER_NOT_FOUND, BROKER_MEMBER);
	if (!broker_member_votes(q, m))
		return apply_refuse(ret, BROKER_REFUSED, BROKER_MEMBER);
	broker_member_prefer(q, m);
	return true;
}

static bool add_member(
	struct broker_queue *q, const struct broker_node *n, struct broker_result *ret)
{
	if (q->type != BROKER_QUEUE_QUORUM || q->spec.exclusive)
		return apply_refuse(ret, BROKER_REFUSED, BROKER_QUEUE);
	if (broker_member_on(q, n->number) != NULL)
		return true;
	if (!broker_member_could_vote(q, n))
		return apply_refuse(ret, BROKER_REFUSED, BROKER_NODE);
	if (q->n_members >= BROKER_MEMBERS_MAX)
		return apply_refuse(ret, BROKER_FULL, BROKER_MEMBER);
	broker_member_add(q, n);
	return true;
}

static bool is_last(const struct broker_queue *q, const struct broker_member *m)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (&q->members[i] != m && broker_member_votes(q, &q->members[i]))
			return false;
	return true;
}

static bool delete_member(
	struct broker_queue *q, const struct broker_node *n, struct broker_result *ret)
{
	struct broker_member *m = broker_member_on(q, n->number);
	if (q->type != BROKER_QUEUE_QUORUM)
		return apply_refuse(ret, BROKER_REFUSED, BROKER_QUEUE);
	if (m == NULL)
		return true;
	if (is_last(q, m))
		return apply_refuse(ret, BROKER_LAST_MEMBER, BROKER_MEMBER);
	broker_member_dismiss(q, m);
	return true;
}

/* Of several queues; what cannot be done to one is no reason to leave the others. */
struct tally {
	unsigned done;
	struct broker_result first; /* refusal */
};

static void count(struct tally *t, bool done, const struct broker_result *r)
{
	t->done += done;
	if (!done && t->first.code == BROKER_OK)
		t->first = *r;
}

static void conclude(const struct tally *t, struct broker_result *ret)
{
	*ret = t->done > 0 ? (struct broker_result){.code = BROKER_OK} : t->first;
}

/* Their number, and so many octets for each, and nothing else. */
static bool holds_items(struct reader *r, size_t octets, struct broker_result *ret)
{
	uint64_t n = get_u32le(r);
	return (!r->bad && reader_left(r) == n * octets) ||
	       apply_refuse(ret, BROKER_MALFORMED, BROKER_NOTHING);
}

static struct broker_queue *next_queue(
	struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct broker_queue *q = broker_queue_by_group(b, get_u64le(r));
	if (q == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_QUEUE);
	return q;
}

void apply_prefer_leaders(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct tally t = {0};
	if (!holds_items(r, 16, ret))
		return;
	while (reader_left(r) > 0) {
		struct broker_queue *q = next_queue(b, r, ret);
		uint64_t member = get_u64le(r);
		count(&t, q != NULL && prefer(q, member, ret), ret);
	}
	conclude(&t, ret);
}

static void change_members(struct broker *b, struct reader *r, struct broker_result *ret,
	bool (*change)(struct broker_queue *q, const struct broker_node *n, struct broker_result *ret))
{
	struct tally t = {0};
	uint64_t id = get_u64le(r);
	struct broker_node *n = holds_items(r, 8, ret) ? find_node(b, id, ret) : NULL;
	if (n == NULL)
		return;
	while (reader_left(r) > 0) {
		struct broker_queue *q = next_queue(b, r, ret);
		count(&t, q != NULL && change(q, n, ret), ret);
	}
	conclude(&t, ret);
}

void apply_add_members(struct broker *b, struct reader *r, struct broker_result *ret)
{
	change_members(b, r, ret, add_member);
}

void apply_delete_members(struct broker *b, struct reader *r, struct broker_result *ret)
{
	change_members(b, r, ret, delete_member);
}

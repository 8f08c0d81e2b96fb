/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes are loaded into a broker of their own first, which checks them. Then the two states' rows
 * are walked side by side. Children have greater kinds than what they refer to: what goes does so from
 * the last row to the first, what comes from the first to the last.
 */
#include "src/broker/whole.h"

#include "src/base/mem.h"
#include "src/broker/codec.h"
#include "src/broker/proposer.h"
#include "src/broker/rows.h"

enum { VERSION = 1 };

#define ENTITY(row_, type) LIST_ENTRY(row_, type, row)

/* ---- bytes ---- */

static void put_row(void *arg, struct slice key, struct slice value)
{
	struct buf *out = arg;
	buf_put_slice(out, key);
	broker_put_long(out, value);
}

void broker_whole(struct broker *b, struct buf *out)
{
	buf_put_bytes(out, "WRNM", 4);
	buf_put_u32le(out, VERSION);
	broker_all_rows(b, put_row, out);
}

/* NULL if they are malformed. */
static struct broker *load(struct slice whole)
{
	struct broker *b = broker_new(NULL);
	struct reader r = reader_of(whole);
	bool ok = slice_is(get_slice(&r, 4), "WRNM") && get_u32le(&r) == VERSION;
	while (ok && reader_left(&r) > 0) {
		struct slice key = get_slice(&r, BROKER_ROW_KEY_SIZE);
		struct slice value = broker_get_long(&r);
		ok = !r.bad && broker_load_row(b, key, value);
	}
	/* The first row has the counters, without which no other is loaded. */
	if (ok && b->row.stored)
		return b;
	broker_free(b);
	return NULL;
}

/* ---- comparing ---- */

static bool value_eq(const struct broker_row *a, const struct broker_row *b)
{
	struct buf x = BUF_EMPTY, y = BUF_EMPTY;
	broker_put_row(&x, a);
	broker_put_row(&y, b);
	bool eq = slice_eq(buf_slice(&x), buf_slice(&y));
	buf_done(&x);
	buf_done(&y);
	return eq;
}

static uint64_t number_of(const struct broker_vhost *v)
{
	return v != NULL ? v->row.number : 0;
}

static bool queue_is_same(const struct broker_queue *a, const struct broker_queue *b)
{
	struct buf x = BUF_EMPTY, y = BUF_EMPTY;
	broker_put_queue_spec(&x, &a->spec);
	broker_put_queue_spec(&y, &b->spec);
	bool same = slice_eq(a->name, b->name) && number_of(a->vhost) == number_of(b->vhost) &&
		    slice_eq(buf_slice(&x), buf_slice(&y));
	buf_done(&x);
	buf_done(&y);
	return same;
}

static bool permission_is_same(const struct broker_permission *a, const struct broker_permission *b)
{
	return a->user->row.number == b->user->row.number &&
	       number_of(a->vhost) == number_of(b->vhost);
}

static bool policy_is_same(const struct broker_policy *a, const struct broker_policy *b)
{
	return number_of(a->vhost) == number_of(b->vhost) && a->kind == b->kind &&
	       slice_eq(a->name, b->name);
}

static bool parameter_is_same(const struct broker_parameter *a, const struct broker_parameter *b)
{
	return number_of(a->vhost) == number_of(b->vhost) && slice_eq(a->component, b->component) &&
	       slice_eq(a->name, b->name);
}

static bool topic_permission_is_same(
	const struct broker_topic_permission *a, const struct broker_topic_permission *b)
{
	return a->user->row.number == b->user->row.number &&
	       number_of(a->vhost) == number_of(b->vhost) && slice_eq(a->exchange, b->exchange);
}

static bool is_of_cluster(const struct broker *a, const struct broker *b)
{
	return a->cluster_id == 0 || a->cluster_id == b->cluster_id;
}

#define BOTH(type) ENTITY(a, struct type), ENTITY(b, struct type)

/* Two rows with the same key are of the same entity, maybe changed. */
static bool is_same(const struct broker_row *a, const struct broker_row *b)
{
	switch ((enum broker_row_kind)a->kind) {
	case BROKER_ROW_GLOBAL:
		return is_of_cluster(BOTH(broker)) &&
		       ENTITY(a, struct broker)->next_group <= ENTITY(b, struct broker)->next_group &&
		       ENTITY(a, struct broker)->next_number <=
			       ENTITY(b, struct broker)->next_number;
	case BROKER_ROW_VHOST:
		return slice_eq(ENTITY(a, struct broker_vhost)->name,
			ENTITY(b, struct broker_vhost)->name);
	case BROKER_ROW_EXCHANGE:
	case BROKER_ROW_BINDING:
		return value_eq(a, b);
	case BROKER_ROW_QUEUE:
		return queue_is_same(BOTH(broker_queue));
	case BROKER_ROW_USER:
		return slice_eq(
			ENTITY(a, struct broker_user)->name, ENTITY(b, struct broker_user)->name);
	case BROKER_ROW_PERMISSION:
		return permission_is_same(BOTH(broker_permission));
	case BROKER_ROW_POLICY:
		return policy_is_same(BOTH(broker_policy));
	case BROKER_ROW_PARAMETER:
		return parameter_is_same(BOTH(broker_parameter));
	case BROKER_ROW_TOPIC_PERMISSION:
		return topic_permission_is_same(BOTH(broker_topic_permission));
	case BROKER_ROW_NODE: /* with another number, if it was forgotten and came back */
	case BROKER_ROW_PROPOSER:
		return true;
	}
	return false;
}

/* The rows of both, side by side: one of the two is NULL where the other state has no such row. */
struct pair {
	const struct broker_row *mine, *theirs;
};

struct pairs {
	struct pair *p;
	size_t n;
};

static struct pairs pair_up(const struct broker_rows *mine, const struct broker_rows *theirs)
{
	struct pairs ret = {mem_alloc((mine->n + theirs->n) * sizeof(struct pair)), 0};
	size_t i = 0, k = 0;
	while (i < mine->n || k < theirs->n) {
		int order = i == mine->n     ? 1
			    : k == theirs->n ? -1
					     : broker_row_order(mine->p[i], theirs->p[k]);
		struct pair *pair = &ret.p[ret.n++];
		pair->mine = order <= 0 ? mine->p[i++] : NULL;
		pair->theirs = order >= 0 ? theirs->p[k++] : NULL;
	}
	return ret;
}

static bool is_lineage(const struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->n; i++) {
		const struct pair *p = &pairs->p[i];
		if (p->mine != NULL && p->theirs != NULL && !is_same(p->mine, p->theirs))
			return false;
	}
	return true;
}

/* ---- changing ---- */

static void delete_all(struct broker *b)
{
	while (b->users != NULL)
		broker_user_delete(b->users);
	while (b->vhosts != NULL)
		broker_vhost_delete(b->vhosts);
	while (broker_parameter_first_global(b) != NULL)
		broker_parameter_delete(broker_parameter_first_global(b));
	while (b->n_nodes > 0)
		broker_node_delete(b->nodes[0]);
	while (b->n_proposers > 0)
		broker_proposer_delete(b, b->proposers[0]);
}

static void delete_entity(struct broker *b, const struct broker_row *r)
{
	switch ((enum broker_row_kind)r->kind) {
	case BROKER_ROW_GLOBAL:
		break;
	case BROKER_ROW_NODE:
		broker_node_delete(ENTITY(r, struct broker_node));
		break;
	case BROKER_ROW_VHOST:
		broker_vhost_delete(ENTITY(r, struct broker_vhost));
		break;
	case BROKER_ROW_EXCHANGE:
		broker_exchange_delete(ENTITY(r, struct broker_exchange));
		break;
	case BROKER_ROW_QUEUE:
		broker_queue_delete(ENTITY(r, struct broker_queue));
		break;
	case BROKER_ROW_BINDING:
		broker_binding_delete(ENTITY(r, struct broker_binding));
		break;
	case BROKER_ROW_USER:
		broker_user_delete(ENTITY(r, struct broker_user));
		break;
	case BROKER_ROW_PERMISSION:
		broker_permission_delete(ENTITY(r, struct broker_permission));
		break;
	case BROKER_ROW_POLICY:
		broker_policy_delete(ENTITY(r, struct broker_policy));
		break;
	case BROKER_ROW_PARAMETER:
		broker_parameter_delete(ENTITY(r, struct broker_parameter));
		break;
	case BROKER_ROW_TOPIC_PERMISSION:
		broker_topic_permission_delete(ENTITY(r, struct broker_topic_permission));
		break;
	case BROKER_ROW_PROPOSER:
		broker_proposer_delete(b, ENTITY(r, struct broker_proposer));
		break;
	}
}

static void renew_global(struct broker *b, const struct broker *from)
{
	broker_set_cluster_name(b, from->cluster_name);
	b->cluster_id = from->cluster_id;
	b->next_group = from->next_group;
	b->next_number = from->next_number;
	b->next_member = from->next_member;
	b->next_node = from->next_node;
}

static void renew_node(struct broker_node *n, const struct broker_node *from)
{
	broker_node_set(n, from->name, from->address);
	broker_node_set_number(n, from->number);
	n->type = from->type;
	broker_node_set_drained(n, from->drained);
	n->up = from->up;
	n->incarnation = from->incarnation;
	broker_row_touch(n->broker, &n->row);
}

static void renew_user(struct broker_user *u, const struct broker_user *from)
{
	broker_user_set_password(u, from->hash, from->algorithm);
	broker_user_set_tags(u, from->tags);
	broker_user_set_limits(u, &from->limits);
}

static void renew_vhost(struct broker_vhost *v, const struct broker_vhost *from)
{
	broker_vhost_set_metadata(v, from->description, from->tags, from->default_queue_type);
	broker_vhost_set_limits(v, &from->limits);
}

static void renew_queue(struct broker_queue *q, const struct broker_queue *from)
{
	broker_members_copy(q, from);
	q->reshaped = from->reshaped;
	q->by_hand = from->by_hand;
	if (from->begun && !q->begun)
		broker_queue_begin(q);
	broker_row_touch(q->vhost->broker, &q->row);
}

/* They are the same entity. */
static void renew(struct broker *broker, const struct broker_row *a, const struct broker_row *b)
{
	switch ((enum broker_row_kind)a->kind) {
	case BROKER_ROW_GLOBAL:
		renew_global(BOTH(broker));
		break;
	case BROKER_ROW_NODE:
		renew_node(BOTH(broker_node));
		break;
	case BROKER_ROW_VHOST:
		renew_vhost(BOTH(broker_vhost));
		break;
	case BROKER_ROW_QUEUE:
		renew_queue(BOTH(broker_queue));
		break;
	case BROKER_ROW_USER:
		renew_user(BOTH(broker_user));
		break;
	case BROKER_ROW_PERMISSION:
		broker_permission_set(ENTITY(a, struct broker_permission),
			ENTITY(b, struct broker_permission)->pattern);
		break;
	case BROKER_ROW_POLICY:
		broker_policy_set(ENTITY(a, struct broker_policy),
			&ENTITY(b, struct broker_policy)->spec);
		break;
	case BROKER_ROW_PARAMETER:
		broker_parameter_set(ENTITY(a, struct broker_parameter),
			ENTITY(b, struct broker_parameter)->value);
		break;
	case BROKER_ROW_TOPIC_PERMISSION:
		broker_topic_permission_set(ENTITY(a, struct broker_topic_permission),
			ENTITY(b, struct broker_topic_permission)->pattern);
		break;
	case BROKER_ROW_PROPOSER:
		broker_proposer_copy(broker, BOTH(broker_proposer));
		break;
	case BROKER_ROW_EXCHANGE:
	case BROKER_ROW_BINDING:
		break; /* never change */
	}
}

static void add(struct broker *b, const struct broker_row *r)
{
	struct buf value = BUF_EMPTY;
	uint8_t key[BROKER_ROW_KEY_SIZE];
	broker_put_row_key(key, r);
	broker_put_row(&value, r);
	/* It was loaded once, and nothing here is in its way. */
	if (!broker_load_row(b, slice_make(key, sizeof key), buf_slice(&value)))
		abort();
	buf_done(&value);
}

/* The store has not yet what was added. */
static void make_dirty(struct broker *b, const struct pairs *pairs)
{
	struct broker_rows now = broker_rows_of(b);
	for (size_t i = 0, k = 0; i < pairs->n; i++) {
		if (pairs->p[i].mine != NULL || pairs->p[i].theirs == NULL)
			continue;
		while (broker_row_order(now.p[k], pairs->p[i].theirs) < 0)
			k++;
		struct broker_row *r = (struct broker_row *)now.p[k];
		r->stored = false;
		broker_row_touch(b, r);
	}
	mem_free(now.p);
}

static void walk(struct broker *b, const struct pairs *pairs)
{
	for (size_t i = pairs->n; i-- > 0;)
		if (pairs->p[i].theirs == NULL)
			delete_entity(b, pairs->p[i].mine);
	/* What changes may make room for what comes: a node that has given up its name. */
	for (size_t i = 0; i < pairs->n; i++) {
		const struct pair *p = &pairs->p[i];
		if (p->mine != NULL && p->theirs != NULL && !value_eq(p->mine, p->theirs))
			renew(b, p->mine, p->theirs);
	}
	for (size_t i = 0; i < pairs->n; i++)
		if (pairs->p[i].mine == NULL)
			add(b, pairs->p[i].theirs);
	make_dirty(b, pairs);
}

static struct pairs pairs_of(const struct broker *mine, const struct broker *theirs)
{
	struct broker_rows a = broker_rows_of(mine), b = broker_rows_of(theirs);
	struct pairs ret = pair_up(&a, &b);
	mem_free(a.p);
	mem_free(b.p);
	return ret;
}

static void tell_changes(struct broker *b)
{
	for (struct broker_queue *q = b->queues_by_group; q != NULL; q = q->hh_group.next)
		broker_queue_changed(q);
}

bool broker_become(struct broker *b, struct slice whole)
{
	struct broker *other = load(whole);
	if (other == NULL)
		return false;
	struct pairs pairs = pairs_of(b, other);
	b->loading = true;
	if (!is_lineage(&pairs)) {
		mem_free(pairs.p);
		delete_all(b);
		pairs = pairs_of(b, other);
	}
	walk(b, &pairs);
	mem_free(pairs.p);
	broker_free(other);
	/* What lost its last binding has gone already, or has got another one. */
	while (list_pop(&b->doomed) != NULL)
		;
	broker_members_recount(b);
	b->version++;
	b->auth_version++;
	b->loading = false;
	tell_changes(b);
	return true;
}

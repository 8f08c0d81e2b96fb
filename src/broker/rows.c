/* SPDX-License-Identifier: Apache-2.0
 *
 * Values, each after a version (7; 6 is the same with no member that is unproven, 5 with no other flag of a member than memory,
 * 4 without drained and by hand, too):
 *
 *   global      cluster-id:64 next-group:64 next-number:64 next-member:64 next-node:16 cluster-name:name
 *   node        number:16 type:8 up:8 (1: up, 2: drained) incarnation:64 name:name address:name
 *   vhost       name:name description:long tags:long default-queue-type:name max-connections:64
 *               max-queues:64
 *   exchange    vhost-number:64 name:name type:8 flags:8 arguments:long
 *   queue       vhost-number:64 name:name flags:8 owner-node:64 owner-incarnation:64
 *               owner-serial:64 home-node:64 home-incarnation:64 created-ms:64 arguments:long
 *               begun:8 (1: begun, 2: reshaped, 4: by hand) members:8 { id:64 node:16 state:8
 *               flags:8 (1: memory, 2: lost, 4: heir, 8: chosen follows, 16: first, 32: unproven)
 *               [chosen:64] }*
 *   binding     source-number:64 kind:8 destination-number:64 key:name arguments:long
 *   user        name:name hash:long algorithm:8 tags:long max-connections:64 max-channels:64
 *   permission  user-number:64 vhost-number:64 configure:long write:long read:long
 *   policy      vhost-number:64 kind:8 name:name pattern:long apply-to:8 priority:64
 *               definition:long
 *   parameter   vhost-number:64 (0: global) component:name name:name value:long
 *   topic permission  user-number:64 vhost-number:64 exchange:name write:long read:long
 *   proposer    last-sequence:64 n:32 n * (code:8 resource:8 of:8 number:64)
 *
 * Rows come from a checksummed store, but also from other nodes and from disks that lie: loading
 * checks them as applying checks commands, and that what they refer to is there.
 */
#include "src/broker/rows.h"

#include "src/broker/codec.h"
#include "src/broker/hash.h"
#include "src/broker/proposer.h"

enum { VERSION = 7, OLDEST_VERSION = 4, CHOSEN_VERSION = 6 };

/* ---- from the state ---- */

#define ENTITY(row_, type) LIST_ENTRY(row_, type, row)

static void put_global(struct buf *out, const struct broker *b)
{
	buf_put_u64le(out, b->cluster_id);
	buf_put_u64le(out, b->next_group);
	buf_put_u64le(out, b->next_number);
	buf_put_u64le(out, b->next_member);
	buf_put_u16le(out, b->next_node);
	broker_put_name(out, b->cluster_name);
}

static void put_node(struct buf *out, const struct broker_node *n)
{
	buf_put_u16le(out, n->number);
	buf_put_u8(out, (uint8_t)n->type);
	buf_put_u8(out, (uint8_t)(n->up | n->drained << 1));
	buf_put_u64le(out, n->incarnation);
	broker_put_name(out, n->name);
	broker_put_name(out, n->address);
}

static void put_vhost(struct buf *out, const struct broker_vhost *v)
{
	broker_put_name(out, v->name);
	broker_put_long(out, v->description);
	broker_put_long(out, v->tags);
	broker_put_name(out, v->default_queue_type);
	buf_put_u64le(out, (uint64_t)v->limits.max_connections);
	buf_put_u64le(out, (uint64_t)v->limits.max_queues);
}

static void put_exchange(struct buf *out, const struct broker_exchange *x)
{
	buf_put_u64le(out, x->vhost->row.number);
	broker_put_name(out, x->name);
	broker_put_exchange_spec(out, &x->spec);
}

/* What is not written. */
static uint64_t usually_chosen(const struct broker_member *m)
{
	return m->state != BROKER_MEMBER_JOINING;
}

static void put_member(struct buf *out, const struct broker_member *m)
{
	bool chosen = m->chosen != usually_chosen(m);
	buf_put_u64le(out, m->id);
	buf_put_u16le(out, m->node);
	buf_put_u8(out, m->state);
	buf_put_u8(out, (uint8_t)(m->memory | m->lost << 1 | m->heir << 2 | chosen << 3 | m->first << 4 |
				     m->unproven << 5));
	if (chosen)
		buf_put_u64le(out, m->chosen);
}

static void put_queue(struct buf *out, const struct broker_queue *q)
{
	buf_put_u64le(out, q->vhost->row.number);
	broker_put_name(out, q->name);
	broker_put_queue_spec(out, &q->spec);
	buf_put_u8(out, (uint8_t)(q->begun | q->reshaped << 1 | q->by_hand << 2));
	buf_put_u8(out, q->n_members);
	for (size_t i = 0; i < q->n_members; i++)
		put_member(out, &q->members[i]);
}

static void put_binding(struct buf *out, const struct broker_binding *bi)
{
	buf_put_u64le(out, bi->source->row.number);
	buf_put_u8(out, (uint8_t)bi->kind);
	buf_put_u64le(
		out, bi->kind == BROKER_TO_QUEUE ? bi->queue->group : bi->exchange->row.number);
	broker_put_name(out, bi->key);
	broker_put_long(out, bi->arguments);
}

static void put_user(struct buf *out, const struct broker_user *u)
{
	broker_put_name(out, u->name);
	broker_put_long(out, u->hash);
	buf_put_u8(out, (uint8_t)u->algorithm);
	broker_put_long(out, u->tags);
	buf_put_u64le(out, (uint64_t)u->limits.max_connections);
	buf_put_u64le(out, (uint64_t)u->limits.max_channels);
}

static void put_permission(struct buf *out, const struct broker_permission *p)
{
	buf_put_u64le(out, p->user->row.number);
	buf_put_u64le(out, p->vhost->row.number);
	for (int i = 0; i < BROKER_RIGHTS; i++)
		broker_put_long(out, p->pattern[i]);
}

static void put_policy(struct buf *out, const struct broker_policy *p)
{
	buf_put_u64le(out, p->vhost->row.number);
	buf_put_u8(out, (uint8_t)p->kind);
	broker_put_name(out, p->name);
	broker_put_policy_spec(out, &p->spec);
}

static void put_parameter(struct buf *out, const struct broker_parameter *p)
{
	buf_put_u64le(out, p->vhost != NULL ? p->vhost->row.number : 0);
	broker_put_name(out, p->component);
	broker_put_name(out, p->name);
	broker_put_long(out, p->value);
}

static void put_topic_permission(struct buf *out, const struct broker_topic_permission *p)
{
	buf_put_u64le(out, p->user->row.number);
	buf_put_u64le(out, p->vhost->row.number);
	broker_put_name(out, p->exchange);
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++)
		broker_put_long(out, p->pattern[i]);
}

void broker_put_row(struct buf *out, const struct broker_row *r)
{
	buf_put_u8(out, VERSION);
	switch ((enum broker_row_kind)r->kind) {
	case BROKER_ROW_GLOBAL:
		put_global(out, ENTITY(r, struct broker));
		break;
	case BROKER_ROW_NODE:
		put_node(out, ENTITY(r, struct broker_node));
		break;
	case BROKER_ROW_VHOST:
		put_vhost(out, ENTITY(r, struct broker_vhost));
		break;
	case BROKER_ROW_EXCHANGE:
		put_exchange(out, ENTITY(r, struct broker_exchange));
		break;
	case BROKER_ROW_QUEUE:
		put_queue(out, ENTITY(r, struct broker_queue));
		break;
	case BROKER_ROW_BINDING:
		put_binding(out, ENTITY(r, struct broker_binding));
		break;
	case BROKER_ROW_USER:
		put_user(out, ENTITY(r, struct broker_user));
		break;
	case BROKER_ROW_PERMISSION:
		put_permission(out, ENTITY(r, struct broker_permission));
		break;
	case BROKER_ROW_POLICY:
		put_policy(out, ENTITY(r, struct broker_policy));
		break;
	case BROKER_ROW_PARAMETER:
		put_parameter(out, ENTITY(r, struct broker_parameter));
		break;
	case BROKER_ROW_TOPIC_PERMISSION:
		put_topic_permission(out, ENTITY(r, struct broker_topic_permission));
		break;
	case BROKER_ROW_PROPOSER:
		broker_put_proposer(out, ENTITY(r, struct broker_proposer));
		break;
	}
}

void broker_put_row_key(uint8_t key[BROKER_ROW_KEY_SIZE], const struct broker_row *r)
{
	key[0] = r->kind;
	store_u64be(key + 1, r->number);
}

static void tell(const struct broker_row *r, struct buf *scratch, broker_row_cb each, void *arg)
{
	uint8_t key[BROKER_ROW_KEY_SIZE];
	broker_put_row_key(key, r);
	buf_clear(scratch);
	broker_put_row(scratch, r);
	each(arg, slice_make(key, sizeof key), buf_slice(scratch));
}

void broker_dirty_rows(struct broker *b, broker_row_cb each, void *arg)
{
	struct buf scratch = BUF_EMPTY;
	for (size_t i = 0; i < b->n_rows_deleted; i++)
		each(arg, slice_make(b->rows_deleted[i], BROKER_ROW_KEY_SIZE), slice_make(NULL, 0));
	LIST_EACH(node, &b->rows_dirty)
	tell(LIST_ENTRY(node, struct broker_row, dirty), &scratch, each, arg);
	buf_done(&scratch);
}

void broker_rows_clean(struct broker *b)
{
	struct list *node;
	while ((node = list_pop(&b->rows_dirty)) != NULL)
		LIST_ENTRY(node, struct broker_row, dirty)->stored = true;
	mem_free(b->rows_deleted);
	b->rows_deleted = NULL;
	b->n_rows_deleted = b->rows_deleted_cap = 0;
}

/* ---- all of them ---- */

struct collection {
	const struct broker_row **rows;
	size_t n, cap;
};

static void collect(struct collection *c, const struct broker_row *r)
{
	if (c->n == c->cap) {
		c->cap = c->cap == 0 ? 64 : 2 * c->cap;
		c->rows = mem_realloc(c->rows, c->cap * sizeof *c->rows);
	}
	c->rows[c->n++] = r;
}

static void collect_exchange(struct collection *c, const struct broker_exchange *x)
{
	if (x != x->vhost->default_exchange)
		collect(c, &x->row);
	for (const struct broker_binding *bi = broker_binding_first_from(x); bi != NULL;
		bi = broker_binding_next_from(x, bi))
		collect(c, &bi->row);
}

static void collect_vhost(struct collection *c, const struct broker_vhost *v)
{
	collect(c, &v->row);
	for (const struct broker_exchange *x = v->exchanges; x != NULL; x = x->hh.next)
		collect_exchange(c, x);
	for (const struct broker_queue *q = v->queues; q != NULL; q = q->hh.next)
		collect(c, &q->row);
	for (int kind = 0; kind < BROKER_POLICY_KINDS; kind++)
		for (size_t i = 0; i < v->n_policies[kind]; i++)
			collect(c, &v->policies[kind][i]->row);
	for (const struct broker_parameter *p = broker_parameter_first(v); p != NULL;
		p = broker_parameter_next(p))
		collect(c, &p->row);
}

static void collect_user(struct collection *c, const struct broker_user *u)
{
	collect(c, &u->row);
	for (const struct broker_permission *p = u->permissions; p != NULL; p = p->hh.next)
		collect(c, &p->row);
	for (const struct broker_topic_permission *p = broker_topic_permission_first_of_user(u);
		p != NULL; p = broker_topic_permission_next_of_user(u, p))
		collect(c, &p->row);
}

int broker_row_order(const struct broker_row *x, const struct broker_row *y)
{
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int compare_rows(const void *a, const void *b)
{
	return broker_row_order(
		*(const struct broker_row *const *)a, *(const struct broker_row *const *)b);
}

static void collect_all(struct collection *c, const struct broker *b)
{
	collect(c, &b->row);
	for (size_t i = 0; i < b->n_nodes; i++)
		collect(c, &b->nodes[i]->row);
	for (const struct broker_parameter *p = broker_parameter_first_global(b); p != NULL;
		p = broker_parameter_next(p))
		collect(c, &p->row);
	for (const struct broker_vhost *v = b->vhosts; v != NULL; v = v->hh.next)
		collect_vhost(c, v);
	for (const struct broker_user *u = b->users; u != NULL; u = u->hh.next)
		collect_user(c, u);
	for (size_t i = 0; i < b->n_proposers; i++)
		collect(c, &b->proposers[i]->row);
	qsort(c->rows, c->n, sizeof *c->rows, compare_rows);
}

struct broker_rows broker_rows_of(const struct broker *b)
{
	struct collection c = {0};
	collect_all(&c, b);
	return (struct broker_rows){c.rows, c.n};
}

void broker_all_rows(struct broker *b, broker_row_cb each, void *arg)
{
	struct collection c = {0};
	struct buf scratch = BUF_EMPTY;
	collect_all(&c, b);
	for (size_t i = 0; i < c.n; i++)
		tell(c.rows[i], &scratch, each, arg);
	buf_done(&scratch);
	mem_free(c.rows);
}

/* With their lengths, so that no two sequences of rows read the same. */
static void digest_row(void *arg, struct slice key, struct slice value)
{
	XXH3_state_t *state = arg;
	uint8_t n[4];
	store_u32le(n, (uint32_t)value.n);
	XXH3_64bits_update(state, key.p, key.n);
	XXH3_64bits_update(state, n, sizeof n);
	XXH3_64bits_update(state, value.p, value.n);
}

uint64_t broker_digest(struct broker *b)
{
	XXH3_state_t state;
	XXH3_64bits_reset(&state);
	broker_all_rows(b, digest_row, &state);
	return XXH3_64bits_digest(&state);
}

/* ---- to the state ---- */

static bool name_ok(struct slice name)
{
	return name.n > 0 && name.n <= BROKER_NAME_MAX;
}

/* The row is what the store has. */
static bool loaded(struct broker_row *r)
{
	list_remove(&r->dirty);
	r->stored = true;
	return true;
}

/* Numbers are given out in order, so a row's is below the counter, which is the first row. */
static bool number_ok(const struct broker *b, uint64_t number)
{
	return number > 0 && number < b->next_number;
}

static bool load_global(struct broker *b, uint64_t number, struct reader *r)
{
	uint64_t cluster_id = get_u64le(r);
	uint64_t next_group = get_u64le(r), next_number = get_u64le(r), next_member = get_u64le(r);
	uint16_t next_node = get_u16le(r);
	struct slice cluster_name = broker_get_name(r);
	if (!reader_finished(r) || number != 0 || b->row.stored || next_group == 0 ||
		next_number == 0 || next_member == 0 || cluster_name.n > BROKER_NAME_MAX)
		return false;
	broker_set_cluster_name(b, cluster_name);
	b->cluster_id = cluster_id;
	b->next_group = next_group;
	b->next_number = next_number;
	b->next_member = next_member;
	b->next_node = next_node;
	return loaded(&b->row);
}

/* A number that a node has, or had. next_node is 0 when all have been given out. */
static bool node_number_ok(const struct broker *b, uint16_t number)
{
	return number > 0 && number <= (uint16_t)(b->next_node - 1);
}

static bool load_node(struct broker *b, uint64_t number, struct reader *r)
{
	uint16_t node_number = get_u16le(r);
	enum broker_node_type type = broker_get_enum(r, BROKER_NODE_TYPES);
	unsigned state = broker_get_enum(r, 4);
	uint64_t incarnation = get_u64le(r);
	struct slice name = broker_get_name(r), address = broker_get_name(r);
	if (!reader_finished(r) || !node_number_ok(b, node_number) || !name_ok(name) || address.n > BROKER_NAME_MAX ||
		broker_node_find(b, number) != NULL ||
		broker_node_by_number(b, node_number) != NULL ||
		broker_node_by_name(b, name) != NULL)
		return false;
	struct broker_node *n = broker_node_new(b, number, node_number, type, name, address);
	n->up = state & 1;
	n->drained = state & 2;
	n->incarnation = incarnation;
	return loaded(&n->row);
}

static bool load_vhost(struct broker *b, uint64_t number, struct reader *r)
{
	struct slice name = broker_get_name(r);
	struct slice description = broker_get_long(r);
	struct slice tags = broker_get_long(r);
	struct slice default_queue_type = broker_get_name(r);
	struct broker_vhost_limits limits;
	limits.max_connections = (int64_t)get_u64le(r);
	limits.max_queues = (int64_t)get_u64le(r);
	if (!reader_finished(r) || !number_ok(b, number) || !name_ok(name) ||
		broker_vhost_find(b, name) != NULL || broker_vhost_by_number(b, number) != NULL)
		return false;
	struct broker_vhost *v =
		broker_vhost_new(b, number, name, description, tags, default_queue_type);
	v->limits = limits;
	return loaded(&v->row);
}

static bool load_exchange(struct broker *b, uint64_t number, struct reader *r)
{
	struct broker_vhost *v = broker_vhost_by_number(b, get_u64le(r));
	struct slice name = broker_get_name(r);
	struct broker_exchange_spec spec;
	broker_get_exchange_spec(r, &spec);
	if (!reader_finished(r) || !number_ok(b, number) || v == NULL || !name_ok(name) ||
		broker_exchange_find(v, name) != NULL ||
		broker_exchange_by_number(b, number) != NULL)
		return false;
	return loaded(&broker_exchange_new(v, number, name, &spec)->row);
}

static bool member_ok(const struct broker_queue *q, const struct broker_member *m)
{
	const struct broker *b = q->vhost->broker;
	bool strange = m->heir || (m->lost && !broker_queue_in_memory(q));
	if ((m->lost && m->state != BROKER_MEMBER_LEAVING) || (m->memory && strange))
		return false;
	if (m->id == 0 || m->id >= b->next_member || !node_number_ok(b, m->node) ||
		broker_member_find(q, m->id) != NULL)
		return false;
	return m->state == BROKER_MEMBER_LEAVING ||
	       (broker_node_by_number(b, m->node) != NULL && broker_member_on(q, m->node) == NULL);
}

/* What is not written: before there was anything to be written about it, members that join may have been given
 * a vote. */
static uint64_t chosen_unwritten(const struct broker_member *m, uint8_t version)
{
	return version < CHOSEN_VERSION ? 1 : usually_chosen(m);
}

/* Reads the members into the queue; false if they are malformed. */
static bool load_members(struct broker_queue *q, uint8_t version, struct reader *r)
{
	for (uint8_t n = get_u8(r); n > 0; n--) {
		struct broker_member m = {.id = get_u64le(r)};
		m.node = get_u16le(r);
		m.state = broker_get_enum(r, BROKER_MEMBER_STATES);
		unsigned flags = broker_get_enum(r, 64);
		m.chosen = flags & 8 ? get_u64le(r) : chosen_unwritten(&m, version);
		m.memory = flags & 1;
		m.lost = flags & 2;
		m.heir = flags & 4;
		m.first = flags & 16;
		m.unproven = flags & 32;
		if (r->bad || !member_ok(q, &m))
			return false;
		broker_member_load(q, &m);
	}
	return reader_finished(r);
}

static bool load_queue(struct broker *b, uint64_t group, uint8_t version, struct reader *r)
{
	struct broker_vhost *v = broker_vhost_by_number(b, get_u64le(r));
	struct slice name = broker_get_name(r);
	struct broker_queue_spec spec;
	broker_get_queue_spec(r, &spec);
	unsigned life = broker_get_enum(r, 8);
	if (r->bad || group == 0 || group >= b->next_group || v == NULL || !name_ok(name) ||
		broker_queue_find(v, name) != NULL || broker_queue_by_group(b, group) != NULL)
		return false;
	struct broker_queue *q = broker_queue_new(v, group, name, &spec);
	q->begun = life & 1;
	q->reshaped = life & 2;
	q->by_hand = life & 4;
	loaded(&q->row);
	if (!load_members(q, version, r))
		return false;
	broker_queue_enter(q);
	return true;
}

/* The destination, if it is in the source's vhost. */
static void *destination_by_number(const struct broker *b, const struct broker_exchange *source,
	enum broker_destination kind, uint64_t number)
{
	if (kind == BROKER_TO_QUEUE) {
		struct broker_queue *q = broker_queue_by_group(b, number);
		return q != NULL && q->vhost == source->vhost ? q : NULL;
	}
	struct broker_exchange *x = broker_exchange_by_number(b, number);
	return x != NULL && x->vhost == source->vhost ? x : NULL;
}

/* That no two bindings have one number is the store's doing: its keys are unique. */
static bool load_binding(struct broker *b, uint64_t number, struct reader *r)
{
	struct broker_exchange *source = broker_exchange_by_number(b, get_u64le(r));
	enum broker_destination kind = broker_get_enum(r, 2);
	uint64_t to = get_u64le(r);
	struct slice key = broker_get_name(r);
	struct slice arguments = broker_get_table(r);
	if (!reader_finished(r) || !number_ok(b, number) || source == NULL ||
		key.n > BROKER_NAME_MAX)
		return false;
	void *destination = destination_by_number(b, source, kind, to);
	if (destination == NULL ||
		broker_binding_find(source, kind, destination, key, arguments) != NULL)
		return false;
	return loaded(&broker_binding_new(source, number, kind, destination, key, arguments)->row);
}

static bool load_user(struct broker *b, uint64_t number, struct reader *r)
{
	struct slice name = broker_get_name(r);
	struct slice hash = broker_get_long(r);
	enum broker_password_algorithm algorithm = broker_get_enum(r, BROKER_PASSWORD_ALGORITHMS);
	struct slice tags = broker_get_long(r);
	struct broker_user_limits limits;
	limits.max_connections = (int64_t)get_u64le(r);
	limits.max_channels = (int64_t)get_u64le(r);
	if (!reader_finished(r) || !number_ok(b, number) || !name_ok(name) ||
		broker_user_find(b, name) != NULL || broker_user_by_number(b, number) != NULL)
		return false;
	struct broker_user *u = broker_user_new(b, number, name, hash, algorithm, tags);
	u->limits = limits;
	return loaded(&u->row);
}

static bool load_permission(struct broker *b, uint64_t number, struct reader *r)
{
	struct broker_user *u = broker_user_by_number(b, get_u64le(r));
	struct broker_vhost *v = broker_vhost_by_number(b, get_u64le(r));
	struct slice pattern[BROKER_RIGHTS];
	for (int i = 0; i < BROKER_RIGHTS; i++)
		pattern[i] = broker_get_long(r);
	if (!reader_finished(r) || !number_ok(b, number) || u == NULL || v == NULL ||
		broker_permission_find(u, v) != NULL)
		return false;
	struct broker_permission *p = broker_permission_new(u, v, number);
	broker_permission_set(p, pattern);
	return loaded(&p->row);
}

static bool load_proposer(struct broker *b, uint64_t id, struct reader *r)
{
	return broker_load_proposer(b, id, r) && loaded(&broker_proposer_find(b, id)->row);
}

static bool load_policy(struct broker *b, uint64_t number, struct reader *r)
{
	struct broker_vhost *v = broker_vhost_by_number(b, get_u64le(r));
	enum broker_policy_kind kind = broker_get_enum(r, BROKER_POLICY_KINDS);
	struct slice name = broker_get_name(r);
	struct broker_policy_spec spec;
	broker_get_policy_spec(r, &spec);
	if (!reader_finished(r) || !number_ok(b, number) || v == NULL || !name_ok(name) ||
		broker_policy_find(v, kind, name) != NULL)
		return false;
	return loaded(&broker_policy_new(v, number, kind, name, &spec)->row);
}

static bool load_parameter(struct broker *b, uint64_t number, struct reader *r)
{
	uint64_t vhost = get_u64le(r);
	struct broker_vhost *v = vhost != 0 ? broker_vhost_by_number(b, vhost) : NULL;
	struct slice component = broker_get_name(r), name = broker_get_name(r);
	struct slice value = broker_get_long(r);
	if (!reader_finished(r) || !number_ok(b, number) || !name_ok(name))
		return false;
	if (vhost != 0 ? v == NULL || !name_ok(component) ||
				 broker_parameter_find(v, component, name) != NULL
		       : component.n > 0 || broker_parameter_find_global(b, name) != NULL)
		return false;
	return loaded(&broker_parameter_new(b, v, number, component, name, value)->row);
}

static bool load_topic_permission(struct broker *b, uint64_t number, struct reader *r)
{
	struct broker_user *u = broker_user_by_number(b, get_u64le(r));
	struct broker_vhost *v = broker_vhost_by_number(b, get_u64le(r));
	struct slice exchange = broker_get_name(r);
	struct slice pattern[BROKER_TOPIC_RIGHTS];
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++)
		pattern[i] = broker_get_long(r);
	if (!reader_finished(r) || !number_ok(b, number) || u == NULL || v == NULL ||
		!name_ok(exchange) || broker_topic_permission_find(u, v, exchange) != NULL)
		return false;
	struct broker_topic_permission *p = broker_topic_permission_new(u, v, number, exchange);
	broker_topic_permission_set(p, pattern);
	return loaded(&p->row);
}

static bool load_row(struct broker *b, struct slice key, struct slice value)
{
	if (key.n != BROKER_ROW_KEY_SIZE || value.n == 0 || value.p[0] < OLDEST_VERSION ||
		value.p[0] > VERSION)
		return false;
	uint64_t number = load_u64be(key.p + 1);
	struct reader r = reader_make(value.p + 1, value.n - 1);
	switch ((enum broker_row_kind)key.p[0]) {
	case BROKER_ROW_GLOBAL:
		return load_global(b, number, &r);
	case BROKER_ROW_NODE:
		return load_node(b, number, &r);
	case BROKER_ROW_VHOST:
		return load_vhost(b, number, &r);
	case BROKER_ROW_EXCHANGE:
		return load_exchange(b, number, &r);
	case BROKER_ROW_QUEUE:
		return load_queue(b, number, value.p[0], &r);
	case BROKER_ROW_BINDING:
		return load_binding(b, number, &r);
	case BROKER_ROW_USER:
		return load_user(b, number, &r);
	case BROKER_ROW_PERMISSION:
		return load_permission(b, number, &r);
	case BROKER_ROW_POLICY:
		return load_policy(b, number, &r);
	case BROKER_ROW_PARAMETER:
		return load_parameter(b, number, &r);
	case BROKER_ROW_TOPIC_PERMISSION:
		return load_topic_permission(b, number, &r);
	case BROKER_ROW_PROPOSER:
		return load_proposer(b, number, &r);
	}
	return false;
}

bool broker_load_row(struct broker *b, struct slice key, struct slice value)
{
	bool was = b->loading;
	b->loading = true;
	bool ok = load_row(b, key, value);
	b->loading = was;
	return ok;
}

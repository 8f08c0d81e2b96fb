/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands become changes. Every function decodes its whole command, then checks it against the
 * state, then changes the state: a command that is refused has changed nothing.
 *
 * What a function decides may depend on the command and the state only, never on the node: no
 * clock, no randomness, no order of a hash table, no version of a library.
 */
#include "src/broker/apply.h"

#include "src/broker/codec.h"
#include "src/broker/command.h"

bool apply_refuse(struct broker_result *ret, enum broker_code code, enum broker_resource resource)
{
	ret->code = code;
	ret->resource = resource;
	return false;
}

bool apply_decoded(const struct reader *r, struct broker_result *ret)
{
	return reader_finished(r) || apply_refuse(ret, BROKER_MALFORMED, BROKER_NOTHING);
}

bool apply_name_ok(struct slice name, struct broker_result *ret, enum broker_resource resource)
{
	return (name.n > 0 && name.n <= BROKER_NAME_MAX) ||
	       apply_refuse(ret, BROKER_BAD_NAME, resource);
}

struct broker_vhost *apply_vhost(struct broker *b, struct slice name, struct broker_result *ret)
{
	struct broker_vhost *v = broker_vhost_find(b, name);
	if (v == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_VHOST);
	return v;
}

struct broker_user *apply_user(struct broker *b, struct slice name, struct broker_result *ret)
{
	struct broker_user *u = broker_user_find(b, name);
	if (u == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_USER);
	return u;
}

static void add_vhost(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct slice description = broker_get_long(r);
	struct slice tags = broker_get_long(r);
	struct slice default_queue_type = broker_get_name(r);
	if (!apply_decoded(r, ret) || !apply_name_ok(name, ret, BROKER_VHOST))
		return;
	if (broker_vhost_find(b, name) != NULL) {
		apply_refuse(ret, BROKER_EXISTS, BROKER_VHOST);
		return;
	}
	broker_vhost_populate(broker_vhost_new(
		b, broker_next_number(b), name, description, tags, default_queue_type));
}

static void delete_vhost(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_vhost *v = apply_vhost(b, name, ret);
	if (v != NULL)
		broker_vhost_delete(v);
}

static void add_user(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct slice hash = broker_get_long(r);
	enum broker_password_algorithm algorithm = broker_get_enum(r, BROKER_PASSWORD_ALGORITHMS);
	struct slice tags = broker_get_long(r);
	if (!apply_decoded(r, ret) || !apply_name_ok(name, ret, BROKER_USER))
		return;
	if (broker_user_find(b, name) != NULL)
		apply_refuse(ret, BROKER_EXISTS, BROKER_USER);
	else
		broker_user_new(b, broker_next_number(b), name, hash, algorithm, tags);
}

static void delete_user(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_user *u = apply_user(b, name, ret);
	if (u != NULL)
		broker_user_delete(u);
}

static void change_password(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct slice hash = broker_get_long(r);
	enum broker_password_algorithm algorithm = broker_get_enum(r, BROKER_PASSWORD_ALGORITHMS);
	if (!apply_decoded(r, ret))
		return;
	struct broker_user *u = apply_user(b, name, ret);
	if (u != NULL)
		broker_user_set_password(u, hash, algorithm);
}

static void set_tags(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct slice tags = broker_get_long(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_user *u = apply_user(b, name, ret);
	if (u != NULL)
		broker_user_set_tags(u, tags);
}

static void set_permissions(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice user = broker_get_name(r), vhost = broker_get_name(r);
	struct slice pattern[BROKER_RIGHTS];
	for (int i = 0; i < BROKER_RIGHTS; i++)
		pattern[i] = broker_get_long(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_user *u = apply_user(b, user, ret);
	struct broker_vhost *v = u != NULL ? apply_vhost(b, vhost, ret) : NULL;
	if (v == NULL)
		return;
	struct broker_permission *p = broker_permission_find(u, v);
	if (p == NULL)
		p = broker_permission_new(u, v, broker_next_number(b));
	broker_permission_set(p, pattern);
}

static void clear_permissions(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice user = broker_get_name(r), vhost = broker_get_name(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_user *u = apply_user(b, user, ret);
	struct broker_vhost *v = u != NULL ? apply_vhost(b, vhost, ret) : NULL;
	struct broker_permission *p = v != NULL ? broker_permission_find(u, v) : NULL;
	if (p != NULL)
		broker_permission_delete(p);
}

static void declare_exchange(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost = broker_get_name(r), name = broker_get_name(r);
	struct broker_exchange_spec spec;
	broker_get_exchange_spec(r, &spec);
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, vhost, ret) : NULL;
	if (v == NULL)
		return;
	ret->exchange = broker_exchange_find(v, name);
	if (ret->exchange != NULL)
		apply_refuse(ret, BROKER_EXISTS, BROKER_EXCHANGE);
	else if (apply_name_ok(name, ret, BROKER_EXCHANGE))
		ret->exchange = broker_exchange_new(v, broker_next_number(b), name, &spec);
}

static void delete_exchange(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost = broker_get_name(r), name = broker_get_name(r);
	bool if_unused = broker_get_enum(r, 2) == 1;
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, vhost, ret) : NULL;
	if (v == NULL)
		return;
	struct broker_exchange *x = broker_exchange_find(v, name);
	if (x == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_EXCHANGE);
	else if (broker_exchange_is_system(x))
		apply_refuse(ret, BROKER_REFUSED, BROKER_EXCHANGE);
	else if (if_unused && x->bindings != NULL)
		apply_refuse(ret, BROKER_IN_USE, BROKER_EXCHANGE);
	else
		broker_exchange_delete(x);
}

/* What the names of a binding stand for. */
struct ends {
	struct broker_exchange *source;
	enum broker_destination kind;
	void *destination;
	struct slice key;
	struct slice arguments;
};

static void *find_destination(const struct broker_vhost *v, const struct broker_binding_spec *s)
{
	if (s->kind == BROKER_TO_QUEUE)
		return broker_queue_find(v, s->destination);
	return broker_exchange_find(v, s->destination);
}

static bool is_default(const struct broker_exchange *x)
{
	return x == x->vhost->default_exchange;
}

/* RabbitMQ names the source first if both are missing. */
static bool find_ends(struct broker *b, const struct broker_binding_spec *s, struct ends *ends,
	struct broker_result *ret)
{
	struct broker_vhost *v = apply_vhost(b, s->vhost, ret);
	if (v == NULL)
		return false;
	bool to_queue = s->kind == BROKER_TO_QUEUE;
	enum broker_resource destination = to_queue ? BROKER_QUEUE : BROKER_DESTINATION;
	ends->source = broker_exchange_find(v, s->source);
	if (ends->source == NULL)
		return apply_refuse(ret, BROKER_NOT_FOUND, BROKER_EXCHANGE);
	ends->destination = find_destination(v, s);
	if (ends->destination == NULL)
		return apply_refuse(ret, BROKER_NOT_FOUND, destination);
	if (is_default(ends->source))
		return apply_refuse(ret, BROKER_REFUSED, BROKER_EXCHANGE);
	if (!to_queue && is_default(ends->destination))
		return apply_refuse(ret, BROKER_REFUSED, BROKER_DESTINATION);
	return true;
}

static bool get_ends(
	struct broker *b, struct reader *r, struct ends *ends, struct broker_result *ret)
{
	struct broker_binding_spec s;
	s.vhost = broker_get_name(r);
	s.source = broker_get_name(r);
	s.kind = broker_get_enum(r, 2);
	s.destination = broker_get_name(r);
	s.key = broker_get_name(r);
	s.arguments = broker_get_table(r);
	ends->kind = s.kind;
	ends->key = s.key;
	ends->arguments = s.arguments;
	if (!apply_decoded(r, ret) || !find_ends(b, &s, ends, ret))
		return false;
	return s.key.n <= BROKER_NAME_MAX || apply_refuse(ret, BROKER_BAD_NAME, BROKER_NOTHING);
}

static struct broker_binding *find_binding(const struct ends *e)
{
	return broker_binding_find(e->source, e->kind, e->destination, e->key, e->arguments);
}

static void bind(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct ends e;
	if (!get_ends(b, r, &e, ret))
		return;
	if (find_binding(&e) != NULL)
		apply_refuse(ret, BROKER_EXISTS, BROKER_NOTHING);
	else
		broker_binding_new(
			e.source, broker_next_number(b), e.kind, e.destination, e.key, e.arguments);
}

static void unbind(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct ends e;
	struct broker_binding *bi = get_ends(b, r, &e, ret) ? find_binding(&e) : NULL;
	if (bi != NULL)
		broker_binding_delete(bi);
}

static struct broker_queue *new_queue(
	struct broker_vhost *v, struct slice name, const struct broker_queue_spec *spec)
{
	struct broker *b = v->broker;
	broker_row_touch(b, &b->row);
	struct broker_queue *q = broker_queue_new(v, b->next_group++, name, spec);
	broker_members_place(q, NULL);
	q->begun = broker_members_initial(q) > 1;
	broker_queue_enter(q);
	return q;
}

static bool has_room(const struct broker_vhost *v, struct broker_result *ret)
{
	if (broker_limit_allows(v->limits.max_queues, v->n_queues))
		return true;
	ret->limit = (uint64_t)v->limits.max_queues;
	return apply_refuse(ret, BROKER_LIMIT, BROKER_QUEUE);
}

static void declare_queue(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost = broker_get_name(r), name = broker_get_name(r);
	struct broker_queue_spec spec;
	broker_get_queue_spec(r, &spec);
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, vhost, ret) : NULL;
	if (v == NULL)
		return;
	ret->queue = broker_queue_find(v, name);
	if (ret->queue != NULL)
		apply_refuse(ret, BROKER_EXISTS, BROKER_QUEUE);
	else if (apply_is_over(b, &spec))
		apply_refuse(ret, BROKER_STALE, BROKER_QUEUE);
	else if (apply_name_ok(name, ret, BROKER_QUEUE) && has_room(v, ret))
		ret->queue = new_queue(v, name, &spec);
	if (ret->queue != NULL)
		ret->group = ret->queue->group;
}

static void delete_queue(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t group = get_u64le(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_queue *q = broker_queue_by_group(b, group);
	if (q == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_QUEUE);
	else
		broker_queue_delete(q);
}

static void begin_queue(struct broker *b, struct reader *r, struct broker_result *ret)
{
	uint64_t group = get_u64le(r);
	if (!apply_decoded(r, ret))
		return;
	struct broker_queue *q = broker_queue_by_group(b, group);
	if (q == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_QUEUE);
	else if (!q->begun)
		broker_queue_begin(q);
}

static void set_cluster_name(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	if (apply_decoded(r, ret) && apply_name_ok(name, ret, BROKER_NOTHING))
		broker_set_cluster_name(b, name);
}

typedef void (*command_fn)(struct broker *b, struct reader *r, struct broker_result *ret);

/* By number. */
static const command_fn commands[] = {
	[BROKER_ADD_VHOST] = add_vhost,
	[BROKER_DELETE_VHOST] = delete_vhost,
	[BROKER_ADD_USER] = add_user,
	[BROKER_DELETE_USER] = delete_user,
	[BROKER_CHANGE_PASSWORD] = change_password,
	[BROKER_SET_TAGS] = set_tags,
	[BROKER_SET_PERMISSIONS] = set_permissions,
	[BROKER_CLEAR_PERMISSIONS] = clear_permissions,
	[BROKER_DECLARE_EXCHANGE] = declare_exchange,
	[BROKER_DELETE_EXCHANGE] = delete_exchange,
	[BROKER_BIND] = bind,
	[BROKER_UNBIND] = unbind,
	[BROKER_DECLARE_QUEUE] = declare_queue,
	[BROKER_DELETE_QUEUE] = delete_queue,
	[BROKER_SET_CLUSTER_NAME] = set_cluster_name,
	[BROKER_NODE_UP] = apply_node_up,
	[BROKER_BEGIN_QUEUE] = begin_queue,
	[BROKER_SET_POLICY] = apply_set_policy,
	[BROKER_CLEAR_POLICY] = apply_clear_policy,
	[BROKER_SET_PARAMETER] = apply_set_parameter,
	[BROKER_CLEAR_PARAMETER] = apply_clear_parameter,
	[BROKER_SET_VHOST_LIMITS] = apply_set_vhost_limits,
	[BROKER_SET_USER_LIMITS] = apply_set_user_limits,
	[BROKER_SET_TOPIC_PERMISSIONS] = apply_set_topic_permissions,
	[BROKER_CLEAR_TOPIC_PERMISSIONS] = apply_clear_topic_permissions,
	[BROKER_SET_VHOST_METADATA] = apply_set_vhost_metadata,
	[BROKER_JOIN_NODE] = apply_join_node,
	[BROKER_FORGET_NODE] = apply_forget_node,
	[BROKER_NODE_DOWN] = apply_node_down,
	[BROKER_SET_NODE_TYPE] = apply_set_node_type,
	[BROKER_MEMBER_PROMOTED] = apply_member_promoted,
	[BROKER_MEMBER_GONE] = apply_member_gone,
	[BROKER_REPLACE_MEMBERS] = apply_replace_members,
	[BROKER_SET_DRAINED] = apply_set_drained,
	[BROKER_PREFER_LEADERS] = apply_prefer_leaders,
	[BROKER_ADD_MEMBERS] = apply_add_members,
	[BROKER_DELETE_MEMBERS] = apply_delete_members,
	[BROKER_MEMBER_CHOSEN] = apply_member_chosen,
};

static command_fn find_command(uint16_t number, uint8_t version)
{
	bool known = version == 1 && number < sizeof commands / sizeof *commands;
	return known ? commands[number] : NULL;
}

void broker_apply(struct broker *b, struct slice command, struct broker_result *ret)
{
	*ret = (struct broker_result){.code = BROKER_OK};
	struct reader r = reader_of(command);
	uint16_t number = get_u16le(&r);
	uint8_t version = get_u8(&r);
	command_fn fn = find_command(number, version);
	if (r.bad)
		apply_refuse(ret, BROKER_MALFORMED, BROKER_NOTHING);
	else if (fn == NULL)
		apply_refuse(ret, BROKER_UNKNOWN, BROKER_NOTHING);
	else
		fn(b, &r, ret);
	broker_exchange_reap(b);
}

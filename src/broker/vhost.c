/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/vhost.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"

struct broker_vhost *broker_vhost_find(const struct broker *b, struct slice name)
{
	struct broker_vhost *v;
	HASH_FIND(hh, b->vhosts, name.p, (unsigned)name.n, v);
	return v;
}

struct broker_vhost *broker_vhost_by_number(const struct broker *b, uint64_t number)
{
	struct broker_vhost *v;
	HASH_FIND(hh_number, b->vhosts_by_number, &number, sizeof number, v);
	return v;
}

struct broker_vhost *broker_vhost_first(const struct broker *b)
{
	return b->vhosts;
}

struct broker_vhost *broker_vhost_next(const struct broker_vhost *v)
{
	return v->hh.next;
}

static void create_default_exchange(struct broker_vhost *v)
{
	const struct broker_exchange_spec spec = {.type = BROKER_EXCHANGE_DIRECT, .durable = true};
	v->default_exchange = broker_exchange_new(v, 0, slice_make("", 0), &spec);
}

struct broker_vhost *broker_vhost_new(struct broker *b, uint64_t number, struct slice name,
	struct slice description, struct slice tags, struct slice default_queue_type)
{
	struct broker_vhost *v = MEM_NEW(struct broker_vhost);
	v->broker = b;
	v->name = broker_own(name);
	v->description = broker_own(description);
	v->tags = broker_own(tags);
	v->default_queue_type = broker_own(default_queue_type);
	v->limits = (struct broker_vhost_limits){BROKER_LIMIT_NONE, BROKER_LIMIT_NONE};
	list_init(&v->permissions);
	list_init(&v->topic_permissions);
	list_init(&v->parameters);
	list_init(&v->effectives);
	broker_row_init(b, &v->row, BROKER_ROW_VHOST, number);
	HASH_ADD_KEYPTR(hh, b->vhosts, v->name.p, (unsigned)v->name.n, v);
	HASH_ADD(hh_number, b->vhosts_by_number, row.number, sizeof number, v);
	b->n_vhosts++;
	if (b->watch.vhost_added != NULL)
		b->watch.vhost_added(b->watch.arg, v);
	create_default_exchange(v);
	return v;
}

static const struct {
	const char *name;
	enum broker_exchange_type type;
	bool internal;
} predeclared[] = {
	{"amq.direct", BROKER_EXCHANGE_DIRECT, false},
	{"amq.fanout", BROKER_EXCHANGE_FANOUT, false},
	{"amq.topic", BROKER_EXCHANGE_TOPIC, false},
	{"amq.headers", BROKER_EXCHANGE_HEADERS, false},
	{"amq.match", BROKER_EXCHANGE_HEADERS, false},
	{"amq.rabbitmq.trace", BROKER_EXCHANGE_TOPIC, true},
};

void broker_vhost_populate(struct broker_vhost *v)
{
	for (size_t i = 0; i < sizeof predeclared / sizeof *predeclared; i++) {
		const struct broker_exchange_spec spec = {.type = predeclared[i].type,
			.durable = true,
			.internal = predeclared[i].internal};
		broker_exchange_new(
			v, broker_next_number(v->broker), slice_str(predeclared[i].name), &spec);
	}
}

void broker_vhost_set_metadata(struct broker_vhost *v, struct slice description, struct slice tags,
	struct slice default_queue_type)
{
	broker_disown(&v->description);
	broker_disown(&v->tags);
	broker_disown(&v->default_queue_type);
	v->description = broker_own(description);
	v->tags = broker_own(tags);
	v->default_queue_type = broker_own(default_queue_type);
	broker_row_touch(v->broker, &v->row);
}

void broker_vhost_set_limits(struct broker_vhost *v, const struct broker_vhost_limits *limits)
{
	v->limits = *limits;
	broker_row_touch(v->broker, &v->row);
}

/* Queues and exchanges before the policies that they have. */
static void delete_contents(struct broker_vhost *v)
{
	while (!list_empty(&v->topic_permissions))
		broker_topic_permission_delete(LIST_ENTRY(v->topic_permissions.next,
			struct broker_topic_permission, by_vhost));
	while (!list_empty(&v->parameters))
		broker_parameter_delete(
			LIST_ENTRY(v->parameters.next, struct broker_parameter, link));
	while (!list_empty(&v->permissions))
		broker_permission_delete(
			LIST_ENTRY(v->permissions.next, struct broker_permission, by_vhost));
	while (v->queues != NULL)
		broker_queue_delete(v->queues);
	while (v->exchanges != NULL)
		broker_exchange_delete(v->exchanges);
	for (int kind = 0; kind < BROKER_POLICY_KINDS; kind++)
		while (v->n_policies[kind] > 0)
			broker_policy_delete(v->policies[kind][v->n_policies[kind] - 1]);
}

void broker_vhost_delete(struct broker_vhost *v)
{
	struct broker *b = v->broker;
	delete_contents(v);
	HASH_DELETE(hh, b->vhosts, v);
	HASH_DELETE(hh_number, b->vhosts_by_number, v);
	b->n_vhosts--;
	b->version++;
	b->auth_version++;
	broker_row_gone(b, &v->row);
	if (b->watch.vhost_deleted != NULL)
		b->watch.vhost_deleted(b->watch.arg, v);
	broker_disown(&v->name);
	broker_disown(&v->description);
	broker_disown(&v->tags);
	broker_disown(&v->default_queue_type);
	for (int kind = 0; kind < BROKER_POLICY_KINDS; kind++)
		mem_free(v->policies[kind]);
	mem_free(v);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/queue.h"

#include "src/amqp/table.h"
#include "src/broker/broker.h"
#include "src/broker/hash.h"

static const char *const type_names[] = {
	[BROKER_QUEUE_CLASSIC] = "classic",
	[BROKER_QUEUE_QUORUM] = "quorum",
	[BROKER_QUEUE_STREAM] = "stream",
};

#define N_TYPES (sizeof type_names / sizeof *type_names)

const char *broker_queue_type_name(enum broker_queue_type type)
{
	return (size_t)type < N_TYPES ? type_names[type] : "unknown";
}

bool broker_queue_type_of(struct slice name, enum broker_queue_type *ret)
{
	for (size_t i = 0; i < N_TYPES; i++) {
		if (!slice_is(name, type_names[i]))
			continue;
		*ret = (enum broker_queue_type)i;
		return true;
	}
	return false;
}

struct broker_queue *broker_queue_find(const struct broker_vhost *v, struct slice name)
{
	struct broker_queue *q;
	HASH_FIND(hh, v->queues, name.p, (unsigned)name.n, q);
	return q;
}

struct broker_queue *broker_queue_by_group(const struct broker *b, uint64_t group)
{
	struct broker_queue *q;
	HASH_FIND(hh_group, b->queues_by_group, &group, sizeof group, q);
	return q;
}

struct broker_queue *broker_queue_first(const struct broker_vhost *v)
{
	return v->queues;
}

struct broker_queue *broker_queue_next(const struct broker_queue *q)
{
	return q->hh.next;
}

static enum broker_queue_type type_in(struct slice arguments)
{
	struct amqp_value v;
	enum broker_queue_type type = BROKER_QUEUE_CLASSIC;
	if (amqp_table_get(arguments, "x-queue-type", &v) && v.type == 'S')
		broker_queue_type_of(v.u.s, &type);
	return type;
}

static void enter(struct broker *b, struct broker_queue *q)
{
	HASH_ADD_KEYPTR(hh, q->vhost->queues, q->name.p, (unsigned)q->name.n, q);
	HASH_ADD(hh_group, b->queues_by_group, group, sizeof q->group, q);
	q->vhost->n_queues++;
	b->n_queues++;
	b->version++;
}

static void leave(struct broker *b, struct broker_queue *q)
{
	HASH_DELETE(hh, q->vhost->queues, q);
	HASH_DELETE(hh_group, b->queues_by_group, q);
	q->vhost->n_queues--;
	b->n_queues--;
	b->version++;
}

struct broker_queue *broker_queue_new(struct broker_vhost *v, uint64_t group, struct slice name,
	const struct broker_queue_spec *spec)
{
	struct broker *b = v->broker;
	struct broker_queue *q = MEM_NEW(struct broker_queue);
	q->vhost = v;
	q->name = broker_own(name);
	q->group = group;
	q->spec = *spec;
	q->spec.arguments = broker_own(spec->arguments);
	q->type = type_in(q->spec.arguments);
	list_init(&q->destinations);
	broker_row_init(b, &q->row, BROKER_ROW_QUEUE, group);
	enter(b, q);
	broker_policy_enter_queue(q);
	return q;
}

void broker_queue_enter(struct broker_queue *q)
{
	struct broker *b = q->vhost->broker;
	if (b->watch.queue_added != NULL)
		b->watch.queue_added(b->watch.arg, q);
}

void broker_queue_begin(struct broker_queue *q)
{
	struct broker *b = q->vhost->broker;
	q->begun = true;
	broker_row_touch(b, &q->row);
	if (b->watch.queue_begun != NULL)
		b->watch.queue_begun(b->watch.arg, q);
}

void broker_queue_delete(struct broker_queue *q)
{
	struct broker *b = q->vhost->broker;
	while (!list_empty(&q->destinations))
		broker_binding_delete(
			LIST_ENTRY(q->destinations.next, struct broker_binding, by_destination));
	leave(b, q);
	broker_row_gone(b, &q->row);
	if (b->watch.queue_deleted != NULL)
		b->watch.queue_deleted(b->watch.arg, q);
	broker_members_done(q);
	broker_effective_unref(q->effective);
	broker_disown(&q->name);
	broker_disown(&q->spec.arguments);
	mem_free(q);
}

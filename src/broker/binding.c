/* SPDX-License-Identifier: Apache-2.0
 *
 * The identity of a binding, within its source, is also where its key and arguments live:
 *
 *   kind:8 destination-number:64 key-length:8 key arguments
 */
#include "src/broker/binding.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"
#include "src/broker/match.h"

#define IDENTITY_HEAD (1 + 8 + 1)

static uint64_t destination_number(enum broker_destination kind, const void *destination)
{
	return kind == BROKER_TO_QUEUE ? ((const struct broker_queue *)destination)->group
				       : ((const struct broker_exchange *)destination)->row.number;
}

/* Made in memory that the caller frees with broker_disown(). The key is a short string. */
static struct slice identity_new(enum broker_destination kind, const void *destination,
	struct slice key, struct slice arguments)
{
	size_t n = IDENTITY_HEAD + key.n + arguments.n;
	uint8_t *p = mem_alloc(n);
	p[0] = (uint8_t)kind;
	store_u64le(p + 1, destination_number(kind, destination));
	p[9] = (uint8_t)key.n;
	if (key.n > 0)
		memcpy(p + IDENTITY_HEAD, key.p, key.n);
	if (arguments.n > 0)
		memcpy(p + IDENTITY_HEAD + key.n, arguments.p, arguments.n);
	return slice_make(p, n);
}

struct slice broker_binding_destination_name(const struct broker_binding *bi)
{
	return bi->kind == BROKER_TO_QUEUE ? bi->queue->name : bi->exchange->name;
}

struct broker_binding *broker_binding_find(const struct broker_exchange *source,
	enum broker_destination kind, const void *destination, struct slice key,
	struct slice arguments)
{
	if (key.n > BROKER_NAME_MAX)
		return NULL;
	struct slice identity = identity_new(kind, destination, key, arguments);
	struct broker_binding *bi;
	HASH_FIND(hh, source->bindings, identity.p, (unsigned)identity.n, bi);
	broker_disown(&identity);
	return bi;
}

struct broker_binding *broker_binding_first_from(const struct broker_exchange *x)
{
	return x->bindings;
}

struct broker_binding *broker_binding_next_from(
	const struct broker_exchange *x, const struct broker_binding *bi)
{
	(void)x;
	return bi->hh.next;
}

static struct broker_binding *at(const struct list *head, struct list *node)
{
	return node == head ? NULL : LIST_ENTRY(node, struct broker_binding, by_destination);
}

struct broker_binding *broker_binding_first_to_queue(const struct broker_queue *q)
{
	return at(&q->destinations, q->destinations.next);
}

struct broker_binding *broker_binding_next_to_queue(
	const struct broker_queue *q, const struct broker_binding *bi)
{
	return at(&q->destinations, bi->by_destination.next);
}

struct broker_binding *broker_binding_first_to_exchange(const struct broker_exchange *x)
{
	return at(&x->destinations, x->destinations.next);
}

struct broker_binding *broker_binding_next_to_exchange(
	const struct broker_exchange *x, const struct broker_binding *bi)
{
	return at(&x->destinations, bi->by_destination.next);
}

static void enter(struct broker_binding *bi)
{
	struct broker_vhost *v = bi->source->vhost;
	HASH_ADD_KEYPTR(hh, bi->source->bindings, bi->identity.p, (unsigned)bi->identity.n, bi);
	bi->source->matcher->ops->add(bi->source->matcher, bi);
	if (bi->kind == BROKER_TO_QUEUE) {
		list_push_back(&bi->queue->destinations, &bi->by_destination);
		bi->queue->n_destinations++;
	} else {
		list_push_back(&bi->exchange->destinations, &bi->by_destination);
	}
	v->n_bindings++;
	v->broker->n_bindings++;
	v->broker->version++;
}

static void leave(struct broker_binding *bi)
{
	struct broker_vhost *v = bi->source->vhost;
	HASH_DEL(bi->source->bindings, bi);
	bi->source->matcher->ops->remove(bi->source->matcher, bi);
	list_remove(&bi->by_destination);
	if (bi->kind == BROKER_TO_QUEUE)
		bi->queue->n_destinations--;
	v->n_bindings--;
	v->broker->n_bindings--;
	v->broker->version++;
}

struct broker_binding *broker_binding_new(struct broker_exchange *source, uint64_t number,
	enum broker_destination kind, void *destination, struct slice key, struct slice arguments)
{
	struct broker_binding *bi = MEM_NEW(struct broker_binding);
	bi->source = source;
	bi->kind = kind;
	bi->queue = kind == BROKER_TO_QUEUE ? destination : NULL;
	bi->exchange = kind == BROKER_TO_EXCHANGE ? destination : NULL;
	bi->identity = identity_new(kind, destination, key, arguments);
	bi->key = slice_make(bi->identity.p + IDENTITY_HEAD, key.n);
	bi->arguments = slice_make(bi->key.p + key.n, arguments.n);
	broker_row_init(source->vhost->broker, &bi->row, BROKER_ROW_BINDING, number);
	enter(bi);
	return bi;
}

/* "auto_delete exchange goes when its last binding as source goes." */
static void doom_unused(struct broker_exchange *x)
{
	if (x->spec.auto_delete && x->bindings == NULL && list_empty(&x->doomed))
		list_push_back(&x->vhost->broker->doomed, &x->doomed);
}

void broker_binding_delete(struct broker_binding *bi)
{
	leave(bi);
	doom_unused(bi->source);
	broker_row_gone(bi->source->vhost->broker, &bi->row);
	broker_disown(&bi->identity);
	mem_free(bi);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/consumer.h"

#include "src/amqp/props.h"
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/session/leave.h"

/* A delivery that waits until the channel is below its prefetch. */
struct held {
	struct list link;
	struct consumer *consumer;
	struct queue_delivery delivery; /* holds a reference to the blob */
};

static void consumer_deliver(struct queue_consumer *q, const struct queue_delivery *d);
static void consumer_cancelled(struct queue_consumer *q);

/* What RabbitMQ's quorum queues do and its classic ones do not. */
static bool consumer_counts(const struct channel *ch, uint64_t group)
{
	const struct broker_queue *q = broker_queue_by_group(channel_env(ch)->broker, group);
	return q != NULL && q->type == BROKER_QUEUE_QUORUM;
}

static uint32_t consumer_window(unsigned others)
{
	uint32_t window = CONSUMER_WINDOW / (1 + others / CONSUMERS_FEW);
	return window > CONSUMER_WINDOW_LEAST ? window : CONSUMER_WINDOW_LEAST;
}

struct consumer *consumer_new(struct channel *ch, struct slice tag, uint64_t group, bool no_ack)
{
	struct consumer *c = MEM_NEW(struct consumer);
	c->channel = ch;
	c->tag = slice_make(mem_dup(tag.p, tag.n), tag.n);
	c->group = group;
	c->no_ack = no_ack;
	c->counts = consumer_counts(ch, group);
	c->queue.no = queue_clients_number(channel_env(ch)->clients);
	c->queue.deliver = consumer_deliver;
	c->queue.cancelled = consumer_cancelled;
	c->window = consumer_window(ch->conn->n_consumers++);
	c->credit_bytes = c->window;
	list_init(&c->queue.settling);
	list_init(&c->link);
	if (tag.n > 0) {
		c->named = true;
		HASH_ADD_KEYPTR(hh, ch->consumers, c->tag.p, c->tag.n, c);
	} else {
		list_push_back(&ch->getters, &c->link);
	}
	return c;
}

static void consumer_unlink(struct consumer *c)
{
	if (c->named)
		HASH_DEL(c->channel->consumers, c);
	c->named = false;
	list_remove(&c->link);
}

static void consumer_end(struct consumer *c, struct queue_request *r)
{
	consumer_unlink(c);
	queue_cancel(&c->queue, true, r);
	c->channel->conn->n_consumers--;
	mem_free((void *)c->tag.p);
	mem_free((void *)c->arguments.p);
	mem_free(c);
}

void consumer_free(struct consumer *c)
{
	consumer_end(c, NULL);
}

void consumer_leave(struct consumer *c)
{
	bool attached = c->queue.client != NULL;
	consumer_end(c, attached ? leave_cancel(c->channel->conn, c->group) : NULL);
}

struct consumer *consumer_find(struct channel *ch, struct slice tag)
{
	struct consumer *c;
	HASH_FIND(hh, ch->consumers, tag.p, tag.n, c);
	return c;
}

void consumer_retire(struct consumer *c)
{
	struct channel *ch = c->channel;
	consumer_unlink(c);
	if (c->unacked == 0)
		consumer_free(c);
	else
		list_push_back(&ch->getters, &c->link);
}

/* A getter stays; a retired consumer, too, is in that list but has a tag. */
void consumer_settled(struct consumer *c)
{
	c->unacked--;
	bool over = !c->named && (c->tag.n > 0 || c->queue.client == NULL);
	if (c->unacked == 0 && over)
		consumer_free(c);
}

struct consumer *consumer_getter(struct channel *ch, struct queue_client *qc, uint64_t group)
{
	LIST_EACH(node, &ch->getters)
	{
		struct consumer *c = LIST_ENTRY(node, struct consumer, link);
		if (c->group == group && c->tag.n == 0 && c->queue.client != NULL)
			return c;
	}
	struct consumer *c = consumer_new(ch, slice_make(NULL, 0), group, false);
	queue_attach(qc, &c->queue,
		&(struct command_attach){.consumer = c->queue.no, .flags = ATTACH_GET}, NULL);
	return c;
}

/* ---- deliveries ---- */

static uint64_t consumer_tag_delivery(struct consumer *c, uint64_t number, bool no_ack)
{
	uint64_t tag = ++c->channel->next_tag;
	if (!no_ack)
		unacked_add(&c->channel->unacked, tag, c, number);
	return tag;
}

/* The properties with x-delivery-count, in the environment's scratch buffer. */
static struct slice consumer_counted_props(const struct consumer *c, const struct queue_delivery *d)
{
	struct buf *out = &channel_env(c->channel)->scratch;
	struct buf headers = BUF_EMPTY;
	struct amqp_props props;
	if (amqp_props_decode(d->message.props, &props) != 0)
		return d->message.props;
	struct reader r = reader_of(props.headers);
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v))
		if (!slice_is(key, "x-delivery-count"))
			amqp_table_put_value(&headers, key, &v);
	amqp_table_put_long(&headers, "x-delivery-count", d->returns);
	props.headers = buf_slice(&headers);
	props.flags |= AMQP_PROP_HEADERS;
	buf_clear(out);
	amqp_props_encode(out, &props);
	buf_done(&headers);
	return buf_slice(out);
}

static void consumer_put_content(struct consumer *c, const struct queue_delivery *d)
{
	struct channel *ch = c->channel;
	struct slice props = d->message.props;
	if (c->counts && d->returns > 0)
		props = consumer_counted_props(c, d);
	amqp_put_content(connection_out(ch->conn), ch->number, ch->conn->frame_max,
		AMQP_CLASS_BASIC, props, d->message.body);
}

static void consumer_send(struct consumer *c, const struct queue_delivery *d)
{
	struct channel *ch = c->channel;
	struct buf *out = connection_out(ch->conn);
	uint64_t tag = consumer_tag_delivery(c, d->number, c->no_ack);
	amqp_put_deliver(out, ch->number, c->tag, tag, d->returns > 0, d->message.envelope);
	consumer_put_content(c, d);
}

static bool consumer_must_hold(const struct consumer *c)
{
	const struct channel *ch = c->channel;
	return !c->no_ack && ch->global_prefetch != 0 && ch->unacked.n >= ch->global_prefetch;
}

static void consumer_deliver(struct queue_consumer *q, const struct queue_delivery *d)
{
	struct consumer *c = (struct consumer *)q;
	if (c->channel->closing || c->channel->conn->state != CONNECTION_OPEN)
		return;
	c->delivered_bytes += d->message.body.n + CREDIT_OVERHEAD;
	if (!c->no_ack)
		c->unacked++;
	if (consumer_must_hold(c)) {
		struct held *h = MEM_NEW(struct held);
		h->consumer = c;
		h->delivery = *d;
		blob_ref(d->blob);
		list_push_back(&c->channel->held, &h->link);
		return;
	}
	consumer_send(c, d);
	consumer_top_up(c);
}

void consumer_got(struct consumer *c, const struct queue_delivery *d, bool no_ack, uint32_t left)
{
	struct channel *ch = c->channel;
	struct buf *out = connection_out(ch->conn);
	if (!no_ack)
		c->unacked++;
	uint64_t tag = consumer_tag_delivery(c, d->number, no_ack);
	amqp_put_get_ok(out, ch->number, tag, d->returns > 0, d->message.envelope, left);
	consumer_put_content(c, d);
}

void consumer_top_up(struct consumer *c)
{
	if (c->credit_bytes > c->delivered_bytes + c->window / 2)
		return;
	if (stream_pending(c->channel->conn->stream) > STREAM_LOW)
		return; /* again when it has drained */
	c->credit_bytes = c->delivered_bytes + c->window;
	queue_credit(&c->queue, c->credit_bytes);
}

static uint32_t smaller_limit(uint32_t a, uint32_t b)
{
	if (a == 0 || b == 0)
		return a | b;
	return a < b ? a : b;
}

/* The channel's limit is kept here, not by the queues; each still sends no more than that. */
uint32_t consumer_prefetch(const struct consumer *c)
{
	return c->no_ack ? 0 : smaller_limit(c->prefetch, c->channel->global_prefetch);
}

void consumers_limit(struct channel *ch, uint32_t before)
{
	struct consumer *c, *next;
	HASH_ITER(hh, ch->consumers, c, next)
	{
		uint32_t now = consumer_prefetch(c);
		if (!c->no_ack && now != smaller_limit(c->prefetch, before))
			queue_prefetch(&c->queue, now);
	}
	consumer_release_held(ch);
}

static struct held *held_pop(struct channel *ch)
{
	struct list *node = list_pop(&ch->held);
	return node != NULL ? LIST_ENTRY(node, struct held, link) : NULL;
}

static void held_free(struct held *h)
{
	blob_unref(h->delivery.blob);
	mem_free(h);
}

void consumer_release_held(struct channel *ch)
{
	while (!list_empty(&ch->held) &&
		(ch->global_prefetch == 0 || ch->unacked.n < ch->global_prefetch)) {
		struct held *h = held_pop(ch);
		consumer_send(h->consumer, &h->delivery);
		consumer_top_up(h->consumer);
		held_free(h);
	}
}

void consumer_drop_held(struct channel *ch)
{
	struct held *h;
	while ((h = held_pop(ch)) != NULL)
		held_free(h);
}

void consumer_requeue_held(struct channel *ch, struct consumer *of)
{
	LIST_EACH_SAFE(node, &ch->held)
	{
		struct held *h = LIST_ENTRY(node, struct held, link);
		struct consumer *c = h->consumer;
		if (of != NULL && c != of)
			continue;
		list_remove(&h->link);
		queue_settle(&c->queue, h->delivery.number, h->delivery.number, SETTLE_REQUEUE);
		held_free(h);
		if (c == of)
			c->unacked--;
		else
			consumer_settled(c);
	}
}

/* The queue was deleted. What the consumer holds can still be settled, without effect. */
static void consumer_cancelled(struct queue_consumer *q)
{
	struct consumer *c = (struct consumer *)q;
	struct channel *ch = c->channel;
	consumer_requeue_held(ch, c); /* without effect but that they go */
	if (!c->named) {
		if (c->unacked == 0)
			consumer_free(c); /* a getter */
		return;
	}
	if (ch->conn->can_cancel_notify && !ch->closing && ch->conn->state == CONNECTION_OPEN) {
		struct amqp_method m = {.id = AMQP_BASIC_CANCEL};
		m.u.basic_cancel.consumer_tag = c->tag;
		m.u.basic_cancel.nowait = true;
		channel_send(ch, &m);
	}
	consumer_retire(c);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Class basic (AMQP 0-9-1 section 1.8): qos, consuming, getting and settling. Publishing is in
 * publish.c.
 */
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/session/channel.h"
#include "src/session/consumer.h"
#include "src/session/names.h"
#include "src/session/publish.h"
#include "src/session/reply_to.h"
#include "src/session/tx.h"

/* ---- qos ---- */

static void on_qos(struct channel *ch, const struct amqp_basic_qos *m)
{
	if (m->prefetch_size != 0) {
		channel_error(ch, 540, AMQP_BASIC_QOS, "prefetch_size!=0 (%u)", m->prefetch_size);
		return;
	}
	if (m->global) {
		uint32_t before = ch->global_prefetch;
		ch->global_prefetch = m->prefetch_count;
		consumers_limit(ch, before);
	} else {
		ch->prefetch = m->prefetch_count;
	}
	channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_QOS_OK});
}

/* ---- consume ---- */

static bool consume_priority(
	struct channel *ch, const struct broker_queue *q, struct slice arguments, int32_t *ret)
{
	struct amqp_value v;
	*ret = 0;
	if (!amqp_table_get(arguments, "x-priority", &v))
		return true;
	if (!amqp_value_is_int(&v)) {
		channel_error(ch, 406, AMQP_BASIC_CONSUME,
			"invalid arg 'x-priority' for queue '%.*s' in vhost '%.*s': "
			"{unacceptable_type,%s}",
			SLICE_FMT(q->name), SLICE_FMT(q->vhost->name),
			amqp_value_type_name(v.type));
		return false;
	}
	*ret = v.u.i > INT32_MAX ? INT32_MAX : v.u.i < INT32_MIN ? INT32_MIN : (int32_t)v.u.i;
	return true;
}

static void on_attached(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	struct consumer *c = op->consumer;
	(void)d;
	if (a->status == MACHINE_OK) {
		if (!op->nowait)
			channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_CONSUME_OK,
						 .u.basic_consume_ok.consumer_tag = c->tag});
		channel_op_end(op);
		return;
	}
	consumer_free(c);
	if (a->status == MACHINE_EXCLUSIVE)
		channel_error(ch, 403, op->method, "queue '%.*s' in vhost '%.*s' in exclusive use",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost));
	else
		channel_queue_failed(ch, op->method, op->name, a->status);
	channel_op_end(op);
}

static bool consume_ends_at_failover(struct slice arguments)
{
	struct amqp_value v;
	return amqp_table_get(arguments, "x-cancel-on-ha-failover", &v) && v.type == 't' && v.u.b;
}

static void on_consume(struct channel *ch, const struct amqp_basic_consume *m)
{
	struct session_env *env = channel_env(ch);
	struct broker_queue *q;
	char room[NAME_MAX_OCTETS];
	struct slice tag = m->consumer_tag;
	if (reply_to_is_queue(m->queue)) {
		reply_to_consume(ch, m);
		return;
	}
	if (!channel_queue(ch, AMQP_BASIC_CONSUME, m->queue, &q) ||
		!channel_may(ch, AMQP_BASIC_CONSUME, BROKER_READ, "queue", q->name))
		return;
	if (tag.n == 0)
		tag = name_generate("amq.ctag-", env->random, env->arg, room);
	if (consumer_find(ch, tag) != NULL ||
		(ch->reply_tag.p != NULL && slice_eq(ch->reply_tag, tag))) {
		channel_error(ch, 530, AMQP_BASIC_CONSUME, "attempt to reuse consumer tag '%.*s'",
			SLICE_FMT(tag));
		return;
	}
	int32_t priority;
	if (!consume_priority(ch, q, m->arguments, &priority))
		return;
	if (HASH_COUNT(ch->consumers) >= CHANNEL_CONSUMERS_MAX) {
		channel_error(ch, 530, AMQP_BASIC_CONSUME,
			"reached maximum (%d) of consumers per channel", CHANNEL_CONSUMERS_MAX);
		return;
	}
	struct consumer *c = consumer_new(ch, tag, q->group, m->no_ack);
	c->prefetch = ch->prefetch;
	c->exclusive = m->exclusive;
	if (m->arguments.n > 0)
		c->arguments = slice_make(mem_dup(m->arguments.p, m->arguments.n), m->arguments.n);
	c->queue.ends_at_failover = consume_ends_at_failover(m->arguments);
	struct channel_op *op = channel_op_begin(ch, AMQP_BASIC_CONSUME, q->name);
	op->nowait = m->nowait;
	op->consumer = c;
	struct command_attach attach = {
		.consumer = c->queue.no,
		.flags = (uint8_t)((m->no_ack ? ATTACH_NO_ACK : 0) |
				   (m->exclusive ? ATTACH_EXCLUSIVE : 0)),
		.priority = priority,
		.prefetch = consumer_prefetch(c),
		.credit_bytes = c->credit_bytes,
		.tag = c->tag,
	};
	queue_attach(channel_client(ch, q), &c->queue, &attach, channel_op_queue(op, on_attached));
}

static void send_cancel_ok(struct channel *ch, struct slice tag, bool nowait)
{
	if (!nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_CANCEL_OK,
					 .u.basic_cancel_ok.consumer_tag = tag});
}

static void on_undefined(struct channel_op *op, const struct broker_result *result)
{
	(void)result; /* not found: somebody else was first, which is fine */
	send_cancel_ok(op->channel, op->name, op->nowait);
	channel_op_end(op);
}

/* The queue has gone with its last consumer: who hears of the cancel finds it undefined, through any node. (That
 * this one knows already does not say that all do.) */
static bool cancel_undefines(struct channel_op *op, const struct machine_answer *a)
{
	struct session_env *env = channel_env(op->channel);
	if (a->status != MACHINE_GONE)
		return false;
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, op->number);
	catalog_propose(env->catalog, buf_slice(&b), channel_op_catalog(op, on_undefined));
	buf_done(&b);
	return true;
}

/* What was on its way to the consumer has arrived before this. */
static void on_cancelled(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	struct consumer *c = consumer_find(ch, op->name);
	(void)d;
	if (c != NULL) {
		consumer_requeue_held(ch, c);
		consumer_retire(c);
	}
	if (cancel_undefines(op, a))
		return;
	send_cancel_ok(ch, op->name, op->nowait);
	channel_op_end(op);
}

static void on_cancel(struct channel *ch, const struct amqp_basic_cancel *m)
{
	struct consumer *c = consumer_find(ch, m->consumer_tag);
	if (c == NULL) {
		reply_to_cancel(ch, m->consumer_tag);
		send_cancel_ok(ch, m->consumer_tag, m->nowait);
		return;
	}
	struct channel_op *op = channel_op_begin(ch, AMQP_BASIC_CANCEL, m->consumer_tag);
	op->nowait = m->nowait;
	op->number = c->group;
	queue_cancel(&c->queue, false, channel_op_queue(op, on_cancelled));
}

/* ---- get ---- */

static void on_got(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	bool no_ack = op->number != 0;
	if (a->status == MACHINE_OK && d != NULL)
		consumer_got(op->consumer, d, no_ack,
			a->messages > UINT32_MAX ? UINT32_MAX : (uint32_t)a->messages);
	else if (a->status == MACHINE_OK || a->status == MACHINE_EMPTY)
		channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_GET_EMPTY});
	else if (a->status == MACHINE_SINGLE_ACTIVE)
		channel_error(ch, 405, op->method,
			"cannot obtain access to locked queue '%.*s' in vhost '%.*s'. basic.get "
			"operations are not supported by queues with single active consumer",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost));
	else
		channel_queue_failed(ch, op->method, op->name, a->status);
	channel_op_end(op);
}

static void on_get(struct channel *ch, const struct amqp_basic_get *m)
{
	struct broker_queue *q;
	if (!channel_queue(ch, AMQP_BASIC_GET, m->queue, &q) ||
		!channel_may(ch, AMQP_BASIC_GET, BROKER_READ, "queue", q->name))
		return;
	struct channel_op *op = channel_op_begin(ch, AMQP_BASIC_GET, q->name);
	op->number = m->no_ack;
	op->consumer = consumer_getter(ch, channel_client(ch, q), q->group);
	queue_get(&op->consumer->queue, m->no_ack, channel_op_queue(op, on_got));
}

/* ---- settling ---- */

static void settle_item(
	struct channel *ch, const struct unacked_item *item, enum settle_outcome outcome)
{
	if (ch->mode == CHANNEL_TX) {
		tx_settle(ch->tx, item, outcome);
		return;
	}
	queue_settle(&item->consumer->queue, item->number, item->number, outcome);
	consumer_settled(item->consumer);
}

static void settle(struct channel *ch, uint32_t method, uint64_t tag, bool multiple,
	enum settle_outcome outcome)
{
	struct unacked_item item;
	if (!multiple) {
		if (!unacked_take(&ch->unacked, tag, &item)) {
			channel_error(
				ch, 406, method, "unknown delivery tag %lu", (unsigned long)tag);
			return;
		}
		settle_item(ch, &item, outcome);
	} else {
		/* Tag 0 means all there are, also none (1.8.3.13). */
		uint64_t upto = tag == 0 ? UINT64_MAX : tag;
		if (tag != 0 && !unacked_has(&ch->unacked, tag)) {
			channel_error(
				ch, 406, method, "unknown delivery tag %lu", (unsigned long)tag);
			return;
		}
		while (unacked_take_lowest(&ch->unacked, upto, &item))
			settle_item(ch, &item, outcome);
	}
	if (!list_empty(&ch->held))
		consumer_release_held(ch);
}

static void on_nack(struct channel *ch, const struct amqp_basic_nack *m)
{
	settle(ch, AMQP_BASIC_NACK, m->delivery_tag, m->multiple,
		m->requeue ? SETTLE_REQUEUE : SETTLE_REJECT);
}

static void on_reject(struct channel *ch, const struct amqp_basic_reject *m)
{
	settle(ch, AMQP_BASIC_REJECT, m->delivery_tag, false,
		m->requeue ? SETTLE_REQUEUE : SETTLE_REJECT);
}

static void on_recover(struct channel *ch, uint32_t method, bool requeue)
{
	struct unacked_item item;
	if (!requeue) {
		channel_error(ch, 540, method, "requeue=false");
		return;
	}
	while (unacked_take_lowest(&ch->unacked, UINT64_MAX, &item)) {
		queue_settle(&item.consumer->queue, item.number, item.number, SETTLE_REQUEUE);
		consumer_settled(item.consumer);
	}
	consumer_requeue_held(ch, NULL);
	if (method == AMQP_BASIC_RECOVER)
		channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_RECOVER_OK});
}

void on_basic_method(struct channel *ch, const struct amqp_method *m)
{
	switch (m->id) {
	case AMQP_BASIC_PUBLISH:
		publish_begin(ch, &m->u.basic_publish);
		break;
	case AMQP_BASIC_ACK:
		settle(ch, m->id, m->u.basic_ack.delivery_tag, m->u.basic_ack.multiple, SETTLE_ACK);
		break;
	case AMQP_BASIC_NACK:
		on_nack(ch, &m->u.basic_nack);
		break;
	case AMQP_BASIC_REJECT:
		on_reject(ch, &m->u.basic_reject);
		break;
	case AMQP_BASIC_QOS:
		on_qos(ch, &m->u.basic_qos);
		break;
	case AMQP_BASIC_CONSUME:
		on_consume(ch, &m->u.basic_consume);
		break;
	case AMQP_BASIC_CANCEL:
		on_cancel(ch, &m->u.basic_cancel);
		break;
	case AMQP_BASIC_CANCEL_OK:
		break;
	case AMQP_BASIC_GET:
		on_get(ch, &m->u.basic_get);
		break;
	case AMQP_BASIC_RECOVER:
		on_recover(ch, m->id, m->u.basic_recover.requeue);
		break;
	case AMQP_BASIC_RECOVER_ASYNC:
		on_recover(ch, m->id, m->u.basic_recover_async.requeue);
		break;
	default:
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
		break;
	}
}

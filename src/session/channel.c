/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/channel.h"

#include <assert.h>
#include <stdarg.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/session/confirm.h"
#include "src/session/consumer.h"
#include "src/session/leave.h"
#include "src/session/names.h"
#include "src/session/publish.h"
#include "src/session/reply_to.h"
#include "src/session/tx.h"

struct session_env *channel_env(const struct channel *ch)
{
	return ch->conn->env;
}

struct channel *channel_new(struct connection *c, uint16_t number)
{
	struct channel *ch = MEM_NEW(struct channel);
	ch->conn = c;
	ch->number = number;
	list_init(&ch->mid_content);
	list_init(&ch->getters);
	list_init(&ch->held);
	list_init(&ch->requester);
	connection_add_channel(c, ch);
	channel_send(ch, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN_OK});
	return ch;
}

/* Consumers go, and what was delivered and not settled returns to the queues. */
static void channel_release(struct channel *ch)
{
	if (ch->op != NULL) {
		ch->op->channel = NULL;
		ch->op = NULL;
		connection_idle(ch->conn);
	}
	consumer_drop_held(ch);
	struct consumer *c, *next;
	HASH_ITER(hh, ch->consumers, c, next)
	consumer_leave(c);
	while (!list_empty(&ch->getters))
		consumer_leave(LIST_ENTRY(ch->getters.next, struct consumer, link));
	unacked_done(&ch->unacked);
	confirm_free(ch->confirm);
	ch->confirm = NULL;
	reply_to_forget(ch);
	tx_free(ch->tx);
	ch->tx = NULL;
	content_done(&ch->content);
	list_remove(&ch->mid_content);
}

void channel_free(struct channel *ch)
{
	channel_release(ch);
	connection_remove_channel(ch->conn, ch);
	mem_free(ch->route);
	mem_free((void *)ch->last_queue.p);
	mem_free(ch);
}

void channel_send(struct channel *ch, const struct amqp_method *m)
{
	if (ch->conn->state == CONNECTION_OPEN)
		connection_send(ch->conn, ch->number, m);
}

void channel_error(struct channel *ch, int code, uint32_t method, const char *fmt, ...)
{
	char text[AMQP_REPLY_TEXT_MAX + 1];
	va_list ap;
	va_start(ap, fmt);
	struct slice reply = amqp_reply_vtext(text, code, fmt, ap);
	va_end(ap);
	if (amqp_reply_is_hard(code)) {
		/* The text has its name in front already. */
		const char *dash = strstr(text, " - ");
		connection_error(ch->conn, code, method, "%s", dash != NULL ? dash + 3 : text);
		return;
	}
	if (ch->closing)
		return;
	log_error("channel", "channel %u of connection (%s): %d %.*s", ch->number,
		stream_name(ch->conn->stream), code, SLICE_FMT(reply));
	if (ch->conn->state == CONNECTION_OPEN)
		channel_flush(ch);
	struct amqp_method m = {.id = AMQP_CHANNEL_CLOSE};
	m.u.channel_close.reply_code = (uint16_t)code;
	m.u.channel_close.reply_text = reply;
	m.u.channel_close.class_id = amqp_method_class(method);
	m.u.channel_close.method_id = amqp_method_number(method);
	struct connection *c = ch->conn;
	leave_begin(c);
	if (c->state == CONNECTION_OPEN)
		leave_say(c, ch->number, &m);
	ch->closing = true;
	channel_release(ch);
	leave_end(c);
}

void channel_flush(struct channel *ch)
{
	if (ch->confirm != NULL && !ch->closing)
		confirm_flush(ch->confirm, stream_out(ch->conn->stream), ch->number);
}

void channel_drained(struct channel *ch)
{
	struct consumer *c, *next;
	HASH_ITER(hh, ch->consumers, c, next)
	consumer_top_up(c);
}

/* ---- methods ---- */

static void channel_dispatch(struct channel *ch, const struct amqp_method *m)
{
	switch (amqp_method_class(m->id)) {
	case AMQP_CLASS_CHANNEL:
		on_channel_method(ch, m);
		break;
	case AMQP_CLASS_ACCESS:
		channel_send(ch, &(struct amqp_method){.id = AMQP_ACCESS_REQUEST_OK,
					 .u.access_request_ok.ticket = 1});
		break;
	case AMQP_CLASS_EXCHANGE:
		on_exchange_method(ch, m);
		break;
	case AMQP_CLASS_QUEUE:
		on_queue_method(ch, m);
		break;
	case AMQP_CLASS_BASIC:
		on_basic_method(ch, m);
		break;
	case AMQP_CLASS_CONFIRM:
		on_confirm_method(ch, m);
		break;
	case AMQP_CLASS_TX:
		on_tx_method(ch, m);
		break;
	default:
		connection_error(ch->conn, 503, m->id, "unexpected method '%s' on channel %u",
			amqp_method_name(m->id), ch->number);
		break;
	}
}

void channel_on_method(struct channel *ch, const struct amqp_method *m)
{
	if (ch->closing && m->id != AMQP_CHANNEL_CLOSE && m->id != AMQP_CHANNEL_CLOSE_OK)
		return;
	if (ch->content.expect != CONTENT_NONE) {
		connection_error(ch->conn, 505, m->id,
			"expected content header for class 60, got non content header frame "
			"instead");
		return;
	}
	channel_dispatch(ch, m);
}

static void on_close(struct channel *ch)
{
	struct connection *c = ch->conn;
	leave_begin(c);
	leave_say(c, ch->number, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
	channel_free(ch);
	leave_end(c);
}

void on_channel_method(struct channel *ch, const struct amqp_method *m)
{
	switch (m->id) {
	case AMQP_CHANNEL_FLOW:
		if (!m->u.channel_flow.active)
			channel_error(ch, 540, m->id, "active=false");
		else
			channel_send(ch, &(struct amqp_method){.id = AMQP_CHANNEL_FLOW_OK,
						 .u.channel_flow_ok.active = true});
		break;
	case AMQP_CHANNEL_FLOW_OK:
		break;
	case AMQP_CHANNEL_CLOSE:
		if (!ch->closing)
			channel_flush(ch);
		on_close(ch);
		break;
	case AMQP_CHANNEL_CLOSE_OK:
		if (ch->closing)
			channel_free(ch);
		break;
	default:
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
		break;
	}
}

/* ---- operations ---- */

static void op_free(struct channel_op *op)
{
	buf_done(&op->bytes);
	mem_free((void *)op->name.p);
	mem_free(op);
}

static void op_queue_done(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel_op *op = (struct channel_op *)r;
	if (op->channel == NULL)
		op_free(op);
	else
		op->queue_done(op, a, d);
}

static void op_catalog_done(struct catalog_request *r, const struct broker_result *result)
{
	struct channel_op *op =
		(struct channel_op *)((char *)r - offsetof(struct channel_op, catalog));
	if (op->channel != NULL) {
		op->catalog_done(op, result);
		return;
	}
	if (op->orphaned != NULL)
		op->orphaned(op, result);
	op_free(op);
}

/* The operation stays until its answer comes: what it has begun may take effect yet, and is to be undone
 * then. */
static void op_unavailable(struct catalog_request *r)
{
	struct channel_op *op =
		(struct channel_op *)((char *)r - offsetof(struct channel_op, catalog));
	unsigned reachable, nodes;
	if (op->channel == NULL)
		return;
	catalog_reachable(op->env->catalog, &reachable, &nodes);
	channel_error(op->channel, 541, op->method,
		"no majority of the cluster's nodes can be reached: %u of %u are running or "
		"reachable from node '%s'",
		reachable, nodes, op->env->limits->node_name);
}

struct channel_op *channel_op_begin(struct channel *ch, uint32_t method, struct slice name)
{
	static_assert(offsetof(struct channel_op, queue) == 0, "op_queue_done casts");
	assert(ch->op == NULL);
	struct channel_op *op = MEM_NEW(struct channel_op);
	op->channel = ch;
	op->env = channel_env(ch);
	op->method = method;
	op->name = slice_make(mem_dup(name.p, name.n), name.n);
	ch->op = op;
	connection_busy(ch->conn);
	return op;
}

void channel_op_end(struct channel_op *op)
{
	struct channel *ch = op->channel;
	if (ch != NULL) {
		ch->op = NULL;
		connection_idle(ch->conn);
	}
	op_free(op);
}

struct queue_request *channel_op_queue(
	struct channel_op *op, void (*done)(struct channel_op *op, const struct machine_answer *a,
				       const struct queue_delivery *d))
{
	op->queue_done = done;
	op->queue.done = op_queue_done;
	return &op->queue;
}

struct catalog_request *channel_op_catalog(struct channel_op *op,
	void (*done)(struct channel_op *op, const struct broker_result *result))
{
	op->catalog_done = done;
	op->catalog.done = op_catalog_done;
	op->catalog.unavailable = op_unavailable;
	op->catalog.everywhere = true;
	return &op->catalog;
}

/* ---- shared rules ---- */

bool channel_vhost(struct channel *ch, uint32_t method, struct broker_vhost **ret)
{
	*ret = connection_vhost(ch->conn);
	if (*ret != NULL && connection_user(ch->conn) != NULL)
		return true;
	connection_error(ch->conn, 530, method, "vhost %.*s not found", SLICE_FMT(ch->conn->vhost));
	return false;
}

static const char *const right_words[] = {"configure", "write", "read"};

bool channel_may(struct channel *ch, uint32_t method, enum broker_right right, const char *kind,
	struct slice name)
{
	struct broker_vhost *v;
	if (!channel_vhost(ch, method, &v))
		return false;
	struct slice asked = name;
	if (name.n == 0 && strcmp(kind, "exchange") == 0)
		asked = slice_str("amq.default");
	if (broker_may(channel_env(ch)->broker, connection_user(ch->conn), v, right, asked))
		return true;
	channel_error(ch, 403, method,
		"%s access to %s '%.*s' in vhost '%.*s' refused for user '%.*s'",
		right_words[right], kind, SLICE_FMT(asked), SLICE_FMT(v->name),
		SLICE_FMT(ch->conn->user));
	return false;
}

bool channel_may_topic(struct channel *ch, uint32_t method, enum broker_right right,
	const struct broker_exchange *x, struct slice key)
{
	if (broker_may_topic(channel_env(ch)->broker, connection_user(ch->conn), x, right, key))
		return true;
	channel_error(ch, 403, method,
		"%s access to topic '%.*s' in exchange '%.*s' in vhost '%.*s' refused for user "
		"'%.*s'",
		right_words[right], SLICE_FMT(key), SLICE_FMT(x->name), SLICE_FMT(x->vhost->name),
		SLICE_FMT(ch->conn->user));
	return false;
}

void channel_no_queue(struct channel *ch, uint32_t method, struct slice name)
{
	channel_error(ch, 404, method, "no queue '%.*s' in vhost '%.*s'", SLICE_FMT(name),
		SLICE_FMT(ch->conn->vhost));
}

static const struct broker_node *first_node(const struct broker_queue *q)
{
	return q->n_members > 0 ? broker_node_by_number(q->vhost->broker, q->members[0].node)
				: NULL;
}

/* Nobody serves it: it is on another node only, most of its members are, or its log is damaged. */
static void queue_unavailable(struct channel *ch, uint32_t method, struct slice name)
{
	struct broker_vhost *v = broker_vhost_find(channel_env(ch)->broker, ch->conn->vhost);
	const struct broker_queue *q = v != NULL ? broker_queue_find(v, name) : NULL;
	const struct broker_node *home = q != NULL ? first_node(q) : NULL;
	if (q != NULL && q->n_members > 1)
		channel_error(ch, 404, method,
			"queue '%.*s' in vhost '%.*s' has no leader: most of its members are down or "
			"inaccessible",
			SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
	else if (home != NULL && home->id != channel_env(ch)->node_id)
		channel_error(ch, 404, method,
			"home node '%.*s' of durable queue '%.*s' in vhost '%.*s' is down or "
			"inaccessible",
			SLICE_FMT(home->name), SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
	else
		channel_error(ch, 404, method,
			"queue '%.*s' in vhost '%.*s' has crashed and failed to restart",
			SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
}

void channel_queue_failed(
	struct channel *ch, uint32_t method, struct slice name, enum machine_status status)
{
	if (status == MACHINE_UNAVAILABLE)
		queue_unavailable(ch, method, name);
	else
		channel_no_queue(ch, method, name);
}

bool channel_unlocked(struct channel *ch, uint32_t method, const struct broker_queue *q)
{
	if (!q->spec.exclusive || broker_connection_id_eq(q->spec.owner, connection_id(ch->conn)))
		return true;
	channel_error(ch, 405, method,
		"cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could "
		"be "
		"originally declared on another connection or the exclusive property value does "
		"not "
		"match that of the original declaration.",
		SLICE_FMT(q->name), SLICE_FMT(q->vhost->name));
	return false;
}

bool channel_queue(
	struct channel *ch, uint32_t method, struct slice name, struct broker_queue **ret)
{
	struct broker_vhost *v;
	if (!channel_vhost(ch, method, &v))
		return false;
	char room[NAME_MAX_OCTETS];
	name = name_clean(name, room);
	if (name.n == 0) {
		name = ch->last_queue;
		if (name.n == 0) {
			channel_error(ch, 404, method, "no previously declared queue");
			return false;
		}
	}
	*ret = broker_queue_find(v, name);
	if (*ret == NULL) {
		channel_no_queue(ch, method, name);
		return false;
	}
	return channel_unlocked(ch, method, *ret);
}

struct queue_client *channel_client(struct channel *ch, const struct broker_queue *q)
{
	return queue_clients_get(channel_env(ch)->clients, q->group);
}

bool channel_queue_is_fresh(const struct channel *ch, const struct broker_queue *q)
{
	const struct broker_node *home = first_node(q);
	return broker_queue_is_fresh(q) && (home == NULL || home->up) &&
	       !queue_clients_has(channel_env(ch)->clients, q->group);
}

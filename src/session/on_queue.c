/* SPDX-License-Identifier: Apache-2.0
 *
 * Class queue (AMQP 0-9-1 section 1.7).
 *
 * Declaring: what exists is compared here, on this worker's copy, and then asked for its counts;
 * what does not is proposed to the catalog. If somebody else's declaration came first, it is
 * compared all over again. Deleting: the queue itself decides (if_unused, if_empty), then its
 * definition goes.
 */
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/equivalent.h"
#include "src/session/arguments.h"
#include "src/session/bindings.h"
#include "src/session/channel.h"
#include "src/session/names.h"
#include "src/session/reply_to.h"

enum { TEXT_MAX = 512 };

static void set_last_queue(struct channel *ch, struct slice name)
{
	if (slice_eq(ch->last_queue, name))
		return;
	mem_free((void *)ch->last_queue.p);
	ch->last_queue = slice_make(mem_dup(name.p, name.n), name.n);
}

static void send_declare_ok(
	struct channel *ch, bool nowait, struct slice name, uint64_t messages, uint32_t consumers)
{
	struct amqp_method m = {.id = AMQP_QUEUE_DECLARE_OK};
	set_last_queue(ch, name);
	if (nowait)
		return;
	m.u.queue_declare_ok.queue = name;
	m.u.queue_declare_ok.message_count =
		messages > UINT32_MAX ? UINT32_MAX : (uint32_t)messages;
	m.u.queue_declare_ok.consumer_count = consumers;
	channel_send(ch, &m);
}

/* ---- declare ---- */

static void declare_instead(struct channel_op *op);
static void propose_kept(struct channel_op *op);

static void on_status(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	(void)d;
	if (a->status == MACHINE_GONE && op->bytes.n > 0) {
		declare_instead(op);
		return;
	}
	if (a->status != MACHINE_OK)
		channel_queue_failed(ch, op->method, op->name, a->status);
	else
		send_declare_ok(ch, op->nowait, op->name, a->messages, a->consumers);
	channel_op_end(op);
}

/* The spec and behind it its arguments. */
static void keep_spec(struct channel_op *op, const struct broker_queue_spec *spec)
{
	buf_put_bytes(&op->bytes, spec, sizeof *spec);
	buf_put_slice(&op->bytes, spec->arguments);
}

static struct broker_queue_spec kept_spec(const struct channel_op *op)
{
	struct broker_queue_spec spec;
	memcpy(&spec, op->bytes.p, sizeof spec);
	spec.arguments.p = op->bytes.p + sizeof spec;
	return spec;
}

/* `spec` is what was declared, NULL if passively. */
static void ask_status(struct channel *ch, const struct broker_queue *q,
	const struct broker_queue_spec *spec, bool nowait)
{
	if (channel_queue_is_fresh(ch, q)) {
		send_declare_ok(ch, nowait, q->name, 0, 0);
		return;
	}
	struct channel_op *op = channel_op_begin(ch, AMQP_QUEUE_DECLARE, q->name);
	op->nowait = nowait;
	op->number = q->group;
	if (spec != NULL)
		keep_spec(op, spec);
	queue_status(channel_client(ch, q), spec != NULL, channel_op_queue(op, on_status));
}

static void declare_existing(struct channel *ch, const struct broker_queue *q,
	const struct broker_queue_spec *spec, bool nowait)
{
	char text[TEXT_MAX];
	if (!channel_unlocked(ch, AMQP_QUEUE_DECLARE, q))
		return;
	if (spec->exclusive && !q->spec.exclusive) {
		channel_error(ch, 405, AMQP_QUEUE_DECLARE,
			"cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It "
			"could be originally declared on another connection or the exclusive "
			"property "
			"value does not match that of the original declaration.",
			SLICE_FMT(q->name), SLICE_FMT(q->vhost->name));
		return;
	}
	if (!broker_queue_equivalent(q, spec, text, sizeof text)) {
		channel_error(ch, 406, AMQP_QUEUE_DECLARE, "%s", text);
		return;
	}
	ask_status(ch, q, spec, nowait);
}

static void on_declared(struct channel_op *op, const struct broker_result *result)
{
	struct channel *ch = op->channel;
	struct broker_queue_spec spec = kept_spec(op);
	if (result->code == BROKER_OK) {
		if (spec.exclusive)
			connection_own(ch->conn, result->group);
		send_declare_ok(ch, op->nowait, op->name, 0, 0);
	} else if (result->code == BROKER_LIMIT) {
		channel_error(ch, 406, op->method,
			"cannot declare queue '%.*s': queue limit in vhost '%.*s' (%llu) is "
			"reached",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost),
			(unsigned long long)result->limit);
	} else if (result->code != BROKER_EXISTS) {
		channel_error(ch, result->code == BROKER_NOT_FOUND ? 404 : 541, op->method,
			"queue '%.*s' could not be declared: %s", SLICE_FMT(op->name),
			broker_code_text(result->code));
	}
	bool nowait = op->nowait;
	if (result->code != BROKER_EXISTS) {
		channel_op_end(op);
		return;
	}
	if (result->queue == NULL) { /* and is gone since */
		propose_kept(op);
		return;
	}
	/* Keep what the comparison needs beyond the operation. */
	struct buf bytes = op->bytes;
	op->bytes = BUF_EMPTY;
	channel_op_end(op);
	declare_existing(ch, result->queue, &spec, nowait);
	buf_done(&bytes);
}

/* The declarer is gone: an exclusive queue of its connection must not stay. */
static void on_declared_for_nobody(struct channel_op *op, const struct broker_result *result)
{
	if (result->code != BROKER_OK || !kept_spec(op).exclusive)
		return;
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, result->group);
	catalog_propose(op->env->catalog, buf_slice(&b), NULL);
	buf_done(&b);
}

static void propose_kept(struct channel_op *op)
{
	struct broker_queue_spec spec = kept_spec(op);
	struct buf b = BUF_EMPTY;
	op->orphaned = on_declared_for_nobody;
	broker_put_declare_queue(&b, op->channel->conn->vhost, op->name, &spec);
	catalog_propose(op->env->catalog, buf_slice(&b), channel_op_catalog(op, on_declared));
	buf_done(&b);
}

static void propose_declare(
	struct channel *ch, struct slice name, const struct broker_queue_spec *spec, bool nowait)
{
	struct channel_op *op = channel_op_begin(ch, AMQP_QUEUE_DECLARE, name);
	op->nowait = nowait;
	keep_spec(op, spec);
	propose_kept(op);
}

/* The queue that was found is on its way out: finishes that and declares a new one. */
static void declare_instead(struct channel_op *op)
{
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, op->number);
	catalog_propose(op->env->catalog, buf_slice(&b), NULL);
	buf_done(&b);
	propose_kept(op);
}

/* Dead lettering needs read on the queue and write on the exchange it goes to. */
static bool may_dead_letter(struct channel *ch, struct slice name, struct slice arguments)
{
	struct amqp_value v;
	if (!amqp_table_get(arguments, "x-dead-letter-exchange", &v) || v.type != 'S')
		return true;
	return channel_may(ch, AMQP_QUEUE_DECLARE, BROKER_READ, "queue", name) &&
	       channel_may(ch, AMQP_QUEUE_DECLARE, BROKER_WRITE, "exchange", v.u.s);
}

static bool check_arguments(struct channel *ch, struct slice name, struct slice arguments)
{
	const char *key = arguments_foreign(arguments);
	char text[TEXT_MAX];
	if (key != NULL) {
		struct amqp_value v;
		bool named = amqp_table_get(arguments, "x-queue-type", &v) && v.type == 'S';
		struct slice type = named ? v.u.s : slice_str("classic");
		channel_error(ch, 406, AMQP_QUEUE_DECLARE,
			"invalid arg '%s' for queue '%.*s' in vhost '%.*s' of queue type %.*s", key,
			SLICE_FMT(name), SLICE_FMT(ch->conn->vhost), SLICE_FMT(type));
		return false;
	}
	if (arguments_check_queue(arguments, &key, text, sizeof text))
		return true;
	channel_error(ch, 406, AMQP_QUEUE_DECLARE,
		"invalid arg '%s' for queue '%.*s' in vhost '%.*s': %s", key, SLICE_FMT(name),
		SLICE_FMT(ch->conn->vhost), text);
	return false;
}

static enum broker_locator locator_for(struct channel *ch, struct slice arguments)
{
	const struct session_limits *l = channel_env(ch)->limits;
	struct amqp_value v;
	bool quorum = amqp_table_get(arguments, "x-queue-type", &v) &&
		      amqp_value_is_string(&v, "quorum");
	return quorum ? l->leader_locator : l->master_locator;
}

static void declare_new(
	struct channel *ch, struct slice name, const struct amqp_queue_declare *m, bool generated)
{
	struct session_env *env = channel_env(ch);
	struct broker_queue_spec spec = {
		.durable = m->durable,
		.exclusive = m->exclusive,
		.auto_delete = m->auto_delete,
		.locator = locator_for(ch, m->arguments),
		.home_node = env->node_id,
		.home_incarnation = env->incarnation,
		.created_ms = env->worker->wall_ms,
		.arguments = m->arguments,
	};
	if (m->exclusive)
		spec.owner = connection_id(ch->conn);
	struct broker_vhost *v;
	if (!channel_vhost(ch, AMQP_QUEUE_DECLARE, &v) ||
		!channel_may(ch, AMQP_QUEUE_DECLARE, BROKER_CONFIGURE, "queue", name))
		return;
	struct broker_queue *q = broker_queue_find(v, name);
	if (q != NULL) {
		declare_existing(ch, q, &spec, m->nowait);
		return;
	}
	if (!generated && name_is_reserved(name)) {
		channel_error(ch, 403, AMQP_QUEUE_DECLARE,
			"queue name '%.*s' contains reserved prefix 'amq.*'", SLICE_FMT(name));
		return;
	}
	if (check_arguments(ch, name, m->arguments) && may_dead_letter(ch, name, m->arguments))
		propose_declare(ch, name, &spec, m->nowait);
}

static void declare_passive(
	struct channel *ch, struct slice name, const struct amqp_queue_declare *m)
{
	struct broker_queue *q;
	if (reply_to_is_queue(name) || reply_to_is_address(name))
		reply_to_declare(ch, name, m->nowait);
	else if (channel_queue(ch, AMQP_QUEUE_DECLARE, name, &q))
		ask_status(ch, q, NULL, m->nowait);
}

static void on_declare(struct channel *ch, const struct amqp_queue_declare *m)
{
	struct session_env *env = channel_env(ch);
	char room[NAME_MAX_OCTETS];
	struct slice name = name_clean(m->queue, room);
	if (m->passive) {
		declare_passive(ch, name, m);
		return;
	}
	if (name.n > 0) {
		declare_new(ch, name, m, false);
		return;
	}
	name = name_generate("amq.gen-", env->random, env->arg, room);
	declare_new(ch, name, m, true);
}

/* ---- bind ---- */

static void on_bind(struct channel *ch, const struct amqp_queue_bind *m)
{
	/* Without queue and key, the key is the last queue's name, too (1.7.2.3). */
	struct slice key = m->routing_key;
	if (m->queue.n == 0 && key.n == 0)
		key = ch->last_queue;
	bindings_change(ch, &(struct bindings_change){
				    .method = AMQP_QUEUE_BIND,
				    .answer = AMQP_QUEUE_BIND_OK,
				    .nowait = m->nowait,
				    .spec = {.source = m->exchange,
					    .kind = BROKER_TO_QUEUE,
					    .destination = m->queue,
					    .key = key,
					    .arguments = m->arguments},
			    });
}

static void on_unbind(struct channel *ch, const struct amqp_queue_unbind *m)
{
	struct slice key = m->routing_key;
	if (m->queue.n == 0 && key.n == 0)
		key = ch->last_queue;
	bindings_change(ch, &(struct bindings_change){
				    .method = AMQP_QUEUE_UNBIND,
				    .answer = AMQP_QUEUE_UNBIND_OK,
				    .remove = true,
				    .spec = {.source = m->exchange,
					    .kind = BROKER_TO_QUEUE,
					    .destination = m->queue,
					    .key = key,
					    .arguments = m->arguments},
			    });
}

/* ---- purge ---- */

static uint32_t count32(uint64_t n)
{
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void on_purged(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	(void)d;
	if (a->status != MACHINE_OK)
		channel_queue_failed(ch, op->method, op->name, a->status);
	else if (!op->nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_QUEUE_PURGE_OK,
					 .u.queue_purge_ok.message_count = count32(a->messages)});
	channel_op_end(op);
}

static void on_purge(struct channel *ch, const struct amqp_queue_purge *m)
{
	struct broker_queue *q;
	if (!channel_queue(ch, AMQP_QUEUE_PURGE, m->queue, &q) ||
		!channel_may(ch, AMQP_QUEUE_PURGE, BROKER_READ, "queue", q->name))
		return;
	struct channel_op *op = channel_op_begin(ch, AMQP_QUEUE_PURGE, q->name);
	op->nowait = m->nowait;
	queue_purge(channel_client(ch, q), channel_op_queue(op, on_purged));
}

/* ---- delete ---- */

static void send_delete_ok(struct channel *ch, bool nowait, uint64_t messages)
{
	if (!nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_QUEUE_DELETE_OK,
					 .u.queue_delete_ok.message_count = count32(messages)});
}

static void on_undefined(struct channel_op *op, const struct broker_result *result)
{
	uint64_t messages;
	(void)result; /* not found: somebody else deleted it, which is fine */
	memcpy(&messages, op->bytes.p, sizeof messages);
	connection_disown(op->channel->conn, op->number);
	send_delete_ok(op->channel, op->nowait, messages);
	channel_op_end(op);
}

static void undefine(struct channel_op *op, uint64_t messages)
{
	buf_put_bytes(&op->bytes, &messages, sizeof messages);
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, op->number);
	catalog_propose(op->env->catalog, buf_slice(&b), channel_op_catalog(op, on_undefined));
	buf_done(&b);
}

static void on_delete_answer(
	struct channel_op *op, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct channel *ch = op->channel;
	(void)d;
	if (a->status == MACHINE_IN_USE || a->status == MACHINE_NOT_EMPTY) {
		channel_error(ch, 406, op->method, "queue '%.*s' in vhost '%.*s' %s",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost),
			a->status == MACHINE_IN_USE ? "in use" : "not empty");
		channel_op_end(op);
		return;
	}
	/* Gone already, or served by nobody: its definition goes all the same. */
	undefine(op, a->status == MACHINE_OK ? a->messages : 0);
}

static void on_delete(struct channel *ch, const struct amqp_queue_delete *m)
{
	struct broker_vhost *v;
	if (!channel_vhost(ch, AMQP_QUEUE_DELETE, &v))
		return;
	char room[NAME_MAX_OCTETS];
	struct slice name = name_clean(m->queue, room);
	if (name.n == 0)
		name = ch->last_queue;
	if (name.n == 0) {
		channel_error(ch, 404, AMQP_QUEUE_DELETE, "no previously declared queue");
		return;
	}
	if (!channel_may(ch, AMQP_QUEUE_DELETE, BROKER_CONFIGURE, "queue", name))
		return;
	struct broker_queue *q = broker_queue_find(v, name);
	if (q == NULL) {
		send_delete_ok(ch, m->nowait, 0);
		return;
	}
	if (!channel_unlocked(ch, AMQP_QUEUE_DELETE, q))
		return;
	struct channel_op *op = channel_op_begin(ch, AMQP_QUEUE_DELETE, q->name);
	op->nowait = m->nowait;
	op->number = q->group;
	/* With a condition the queue itself has to say, since its first use may be under way. */
	if (channel_queue_is_fresh(ch, q) && !m->if_unused && !m->if_empty)
		undefine(op, 0);
	else
		queue_delete(channel_client(ch, q), m->if_unused, m->if_empty,
			channel_op_queue(op, on_delete_answer));
}

void on_queue_method(struct channel *ch, const struct amqp_method *m)
{
	switch (m->id) {
	case AMQP_QUEUE_DECLARE:
		on_declare(ch, &m->u.queue_declare);
		break;
	case AMQP_QUEUE_BIND:
		on_bind(ch, &m->u.queue_bind);
		break;
	case AMQP_QUEUE_UNBIND:
		on_unbind(ch, &m->u.queue_unbind);
		break;
	case AMQP_QUEUE_PURGE:
		on_purge(ch, &m->u.queue_purge);
		break;
	case AMQP_QUEUE_DELETE:
		on_delete(ch, &m->u.queue_delete);
		break;
	default:
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
		break;
	}
}

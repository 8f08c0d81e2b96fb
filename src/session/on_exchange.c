/* SPDX-License-Identifier: Apache-2.0
 *
 * Class exchange (AMQP 0-9-1 section 1.6, and RabbitMQ's bindings between exchanges).
 */
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/equivalent.h"
#include "src/session/bindings.h"
#include "src/session/channel.h"
#include "src/session/names.h"

enum { TEXT_MAX = 512 };

static void no_exchange(struct channel *ch, uint32_t method, struct slice name)
{
	channel_error(ch, 404, method, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(name),
		SLICE_FMT(ch->conn->vhost));
}

static void send_declare_ok(struct channel *ch, bool nowait)
{
	if (!nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_EXCHANGE_DECLARE_OK});
}

static bool same_exchange(struct channel *ch, const struct broker_exchange *x,
	const struct broker_exchange_spec *spec)
{
	char text[TEXT_MAX];
	if (broker_exchange_equivalent(x, spec, text, sizeof text))
		return true;
	channel_error(ch, 406, AMQP_EXCHANGE_DECLARE, "%s", text);
	return false;
}

static void propose_kept(struct channel_op *op);

/* Found by somebody else's declaration meanwhile: compare with that, if it is still there. */
static void on_declared(struct channel_op *op, const struct broker_result *result)
{
	struct channel *ch = op->channel;
	const struct broker_exchange_spec *spec = (const void *)op->bytes.p;
	if (result->code == BROKER_EXISTS && result->exchange == NULL) {
		propose_kept(op);
		return;
	}
	if (result->code == BROKER_OK ||
		(result->code == BROKER_EXISTS && same_exchange(ch, result->exchange, spec)))
		send_declare_ok(ch, op->nowait);
	else if (result->code != BROKER_EXISTS)
		channel_error(ch, 541, op->method, "exchange could not be declared: %s",
			broker_code_text(result->code));
	channel_op_end(op);
}

static void propose_kept(struct channel_op *op)
{
	struct buf b = BUF_EMPTY;
	broker_put_declare_exchange(
		&b, op->channel->conn->vhost, op->name, (const void *)op->bytes.p);
	catalog_propose(op->env->catalog, buf_slice(&b), channel_op_catalog(op, on_declared));
	buf_done(&b);
}

static void propose_declare(
	struct channel *ch, struct slice name, const struct broker_exchange_spec *spec, bool nowait)
{
	struct channel_op *op = channel_op_begin(ch, AMQP_EXCHANGE_DECLARE, name);
	op->nowait = nowait;
	/* The spec and behind it its arguments, for on_declared(). */
	struct broker_exchange_spec kept = *spec;
	buf_reserve(&op->bytes, sizeof kept + spec->arguments.n);
	kept.arguments.p = op->bytes.p + sizeof kept;
	buf_put_bytes(&op->bytes, &kept, sizeof kept);
	buf_put_slice(&op->bytes, spec->arguments);
	propose_kept(op);
}

static void declare_passive(struct channel *ch, struct broker_vhost *v, struct slice name,
	const struct amqp_exchange_declare *m)
{
	if (broker_exchange_find(v, name) == NULL)
		no_exchange(ch, AMQP_EXCHANGE_DECLARE, name);
	else
		send_declare_ok(ch, m->nowait);
}

/* Declaring one with an alternate needs read on it and write on the alternate. */
static bool may_use_alternate(struct channel *ch, struct slice name, struct slice arguments)
{
	struct amqp_value v;
	if (!amqp_table_get(arguments, "alternate-exchange", &v))
		return true;
	if (v.type != 'S') {
		channel_error(ch, 406, AMQP_EXCHANGE_DECLARE,
			"invalid type '%s' for arg 'alternate-exchange' in exchange '%.*s' in "
			"vhost "
			"'%.*s'",
			amqp_value_type_name(v.type), SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
		return false;
	}
	return channel_may(ch, AMQP_EXCHANGE_DECLARE, BROKER_READ, "exchange", name) &&
	       channel_may(ch, AMQP_EXCHANGE_DECLARE, BROKER_WRITE, "exchange", v.u.s);
}

static void on_declare(struct channel *ch, const struct amqp_exchange_declare *m)
{
	struct broker_vhost *v;
	char room[NAME_MAX_OCTETS];
	struct slice name = name_clean(m->exchange, room);
	struct broker_exchange_spec spec = {
		.durable = m->durable,
		.auto_delete = m->auto_delete,
		.internal = m->internal,
		.arguments = m->arguments,
	};
	if (!channel_vhost(ch, AMQP_EXCHANGE_DECLARE, &v))
		return;
	if (m->passive) {
		declare_passive(ch, v, name, m);
		return;
	}
	if (name.n == 0) {
		channel_error(ch, 403, AMQP_EXCHANGE_DECLARE,
			"operation not permitted on the default exchange");
		return;
	}
	if (!broker_exchange_type_of(m->type, &spec.type)) {
		channel_error(ch, 406, AMQP_EXCHANGE_DECLARE, "unknown exchange type '%.*s'",
			SLICE_FMT(m->type));
		return;
	}
	if (!channel_may(ch, AMQP_EXCHANGE_DECLARE, BROKER_CONFIGURE, "exchange", name))
		return;
	struct broker_exchange *x = broker_exchange_find(v, name);
	if (x != NULL) {
		if (same_exchange(ch, x, &spec))
			send_declare_ok(ch, m->nowait);
		return;
	}
	if (name_is_reserved(name)) {
		channel_error(ch, 403, AMQP_EXCHANGE_DECLARE,
			"exchange name '%.*s' contains reserved prefix 'amq.*'", SLICE_FMT(name));
		return;
	}
	if (may_use_alternate(ch, name, m->arguments))
		propose_declare(ch, name, &spec, m->nowait);
}

static void on_deleted(struct channel_op *op, const struct broker_result *result)
{
	struct channel *ch = op->channel;
	if (result->code == BROKER_IN_USE)
		channel_error(ch, 406, op->method, "exchange '%.*s' in vhost '%.*s' in use",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost));
	else if (!op->nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_EXCHANGE_DELETE_OK});
	channel_op_end(op);
}

static void on_delete(struct channel *ch, const struct amqp_exchange_delete *m)
{
	char room[NAME_MAX_OCTETS];
	struct slice name = name_clean(m->exchange, room);
	if (name.n == 0) {
		channel_error(ch, 403, AMQP_EXCHANGE_DELETE,
			"operation not permitted on the default exchange");
		return;
	}
	if (name_is_reserved(name)) {
		channel_error(ch, 403, AMQP_EXCHANGE_DELETE,
			"deletion of system exchange '%.*s' in vhost '%.*s' not allowed",
			SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
		return;
	}
	if (!channel_may(ch, AMQP_EXCHANGE_DELETE, BROKER_CONFIGURE, "exchange", name))
		return;
	struct channel_op *op = channel_op_begin(ch, AMQP_EXCHANGE_DELETE, name);
	struct buf b = BUF_EMPTY;
	op->nowait = m->nowait;
	broker_put_delete_exchange(&b, ch->conn->vhost, name, m->if_unused);
	catalog_propose(
		channel_env(ch)->catalog, buf_slice(&b), channel_op_catalog(op, on_deleted));
	buf_done(&b);
}

static void on_bind(struct channel *ch, const struct amqp_exchange_bind *m)
{
	bindings_change(ch, &(struct bindings_change){
				    .method = AMQP_EXCHANGE_BIND,
				    .answer = AMQP_EXCHANGE_BIND_OK,
				    .nowait = m->nowait,
				    .spec = {.source = m->source,
					    .kind = BROKER_TO_EXCHANGE,
					    .destination = m->destination,
					    .key = m->routing_key,
					    .arguments = m->arguments},
			    });
}

static void on_unbind(struct channel *ch, const struct amqp_exchange_unbind *m)
{
	bindings_change(ch, &(struct bindings_change){
				    .method = AMQP_EXCHANGE_UNBIND,
				    .answer = AMQP_EXCHANGE_UNBIND_OK,
				    .nowait = m->nowait,
				    .remove = true,
				    .spec = {.source = m->source,
					    .kind = BROKER_TO_EXCHANGE,
					    .destination = m->destination,
					    .key = m->routing_key,
					    .arguments = m->arguments},
			    });
}

void on_exchange_method(struct channel *ch, const struct amqp_method *m)
{
	switch (m->id) {
	case AMQP_EXCHANGE_DECLARE:
		on_declare(ch, &m->u.exchange_declare);
		break;
	case AMQP_EXCHANGE_DELETE:
		on_delete(ch, &m->u.exchange_delete);
		break;
	case AMQP_EXCHANGE_BIND:
		on_bind(ch, &m->u.exchange_bind);
		break;
	case AMQP_EXCHANGE_UNBIND:
		on_unbind(ch, &m->u.exchange_unbind);
		break;
	default:
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
		break;
	}
}

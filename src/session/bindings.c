/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/bindings.h"

#include "src/session/names.h"

static void bindings_not_found(struct channel *ch, const struct bindings_change *c,
	const struct broker_binding_spec *s, enum broker_resource what)
{
	bool queue = what == BROKER_QUEUE;
	struct slice name = what == BROKER_EXCHANGE ? s->source : s->destination;
	channel_error(ch, 404, c->method, "no %s '%.*s' in vhost '%.*s'",
		queue ? "queue" : "exchange", SLICE_FMT(name), SLICE_FMT(ch->conn->vhost));
}

/* The resource is gone since it was checked; which one, the result says. */
static void bindings_done(struct channel_op *op, const struct broker_result *result)
{
	struct channel *ch = op->channel;
	bool unbound = op->number == AMQP_QUEUE_UNBIND_OK || op->number == AMQP_EXCHANGE_UNBIND_OK;
	if (result->code == BROKER_NOT_FOUND && !unbound)
		channel_error(ch, 404, op->method, "no %s '%.*s' in vhost '%.*s'",
			result->resource == BROKER_QUEUE ? "queue" : "exchange",
			SLICE_FMT(op->name), SLICE_FMT(ch->conn->vhost));
	else if (result->code == BROKER_OK || result->code == BROKER_EXISTS || unbound) {
		if (!op->nowait)
			channel_send(ch, &(struct amqp_method){.id = (uint32_t)op->number});
	} else
		channel_error(
			ch, 403, op->method, "operation not permitted on the default exchange");
	channel_op_end(op);
}

static bool bindings_destination(
	struct channel *ch, const struct bindings_change *c, struct broker_binding_spec *s)
{
	struct broker_vhost *v;
	if (!channel_vhost(ch, c->method, &v))
		return false;
	if (s->kind == BROKER_TO_QUEUE) {
		struct broker_queue *q;
		if (!channel_queue(ch, c->method, s->destination, &q))
			return false;
		s->destination = q->name;
		return channel_may(ch, c->method, BROKER_WRITE, "queue", q->name);
	}
	if (s->destination.n == 0)
		return true; /* refused below */
	if (broker_exchange_find(v, s->destination) == NULL) {
		bindings_not_found(ch, c, s, BROKER_DESTINATION);
		return false;
	}
	return channel_may(ch, c->method, BROKER_WRITE, "exchange", s->destination);
}

static bool bindings_source(
	struct channel *ch, const struct bindings_change *c, const struct broker_binding_spec *s)
{
	struct broker_vhost *v;
	if (s->source.n == 0 || (s->kind == BROKER_TO_EXCHANGE && s->destination.n == 0)) {
		channel_error(
			ch, 403, c->method, "operation not permitted on the default exchange");
		return false;
	}
	if (!channel_vhost(ch, c->method, &v))
		return false;
	struct broker_exchange *x = broker_exchange_find(v, s->source);
	if (x == NULL && c->remove)
		return true; /* nothing to remove, which is fine */
	if (x == NULL) {
		bindings_not_found(ch, c, s, BROKER_EXCHANGE);
		return false;
	}
	if (!channel_may(ch, c->method, BROKER_READ, "exchange", s->source) ||
		!channel_may_topic(ch, c->method, BROKER_READ, x, s->key))
		return false;
	if (c->remove || x->spec.type != BROKER_EXCHANGE_HEADERS ||
		broker_binding_check_headers(s->arguments))
		return true;
	channel_error(ch, 406, c->method,
		"Invalid x-match field value; expected all, any, all-with-x or any-with-x");
	return false;
}

void bindings_change(struct channel *ch, const struct bindings_change *c)
{
	struct broker_binding_spec spec = c->spec;
	char source[NAME_MAX_OCTETS], destination[NAME_MAX_OCTETS];
	spec.vhost = ch->conn->vhost;
	spec.source = name_clean(spec.source, source);
	spec.destination = name_clean(spec.destination, destination);
	if (!bindings_destination(ch, c, &spec) || !bindings_source(ch, c, &spec))
		return;
	struct channel_op *op = channel_op_begin(ch, c->method, spec.source);
	op->nowait = c->nowait;
	op->number = c->answer;
	struct buf b = BUF_EMPTY;
	if (c->remove)
		broker_put_unbind(&b, &spec);
	else
		broker_put_bind(&b, &spec);
	catalog_propose(
		channel_env(ch)->catalog, buf_slice(&b), channel_op_catalog(op, bindings_done));
	buf_done(&b);
}

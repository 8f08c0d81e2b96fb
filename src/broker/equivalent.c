/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/equivalent.h"

#include <stdio.h>

#include "src/amqp/table.h"
#include "src/amqp/text.h"
#include "src/broker/vhost.h"

/* What is compared, and where its explanation goes. */
struct comparison {
	const char *what; /* "queue", "exchange" */
	struct slice name;
	struct slice vhost;
	char *text;
	size_t cap;
};

static bool differ(
	const struct comparison *c, const char *argument, const char *received, const char *current)
{
	struct amqp_text t = amqp_text_make(c->text, c->cap);
	amqp_text_printf(&t, "inequivalent arg '%s' for %s '", argument, c->what);
	amqp_text_add_string(&t, c->name);
	amqp_text_printf(&t, "' in vhost '");
	amqp_text_add_string(&t, c->vhost);
	amqp_text_printf(&t, "': received %s but current is %s", received, current);
	return false;
}

static bool same_word(
	const struct comparison *c, const char *argument, const char *received, const char *current)
{
	char r[32], k[32];
	if (strcmp(received, current) == 0)
		return true;
	snprintf(r, sizeof r, "'%s'", received);
	snprintf(k, sizeof k, "'%s'", current);
	return differ(c, argument, r, k);
}

static bool same_bool(const struct comparison *c, const char *argument, bool received, bool current)
{
	return same_word(c, argument, received ? "true" : "false", current ? "true" : "false");
}

/* An absent argument and the default that it stands for are the same. */
static bool is_default(const char *argument, const struct amqp_value *v)
{
	return strcmp(argument, "x-queue-type") == 0 &&
	       (v == NULL || amqp_value_is_string(v, "classic"));
}

static bool same_argument(const struct comparison *c, const char *argument, struct slice received,
	struct slice current)
{
	struct amqp_value received_value, current_value;
	char received_text[256], current_text[256];
	const struct amqp_value *r =
		amqp_table_get(received, argument, &received_value) ? &received_value : NULL;
	const struct amqp_value *k =
		amqp_table_get(current, argument, &current_value) ? &current_value : NULL;
	if (amqp_value_equal(r, k) || (is_default(argument, r) && is_default(argument, k)))
		return true;
	amqp_value_describe(received_text, sizeof received_text, r, k);
	amqp_value_describe(current_text, sizeof current_text, k, r);
	return differ(c, argument, received_text, current_text);
}

/* RabbitMQ compares them in this order (rabbit_amqqueue:declare_args/0, then the stream's). */
static const char *const queue_arguments[] = {
	"x-expires",
	"x-message-ttl",
	"x-dead-letter-exchange",
	"x-dead-letter-routing-key",
	"x-dead-letter-strategy",
	"x-max-length",
	"x-max-length-bytes",
	"x-max-in-memory-length",
	"x-max-in-memory-bytes",
	"x-max-priority",
	"x-overflow",
	"x-queue-mode",
	"x-queue-version",
	"x-single-active-consumer",
	"x-queue-type",
	"x-quorum-initial-group-size",
	"x-delivery-limit",
	"x-max-age",
	"x-stream-max-segment-size-bytes",
	"x-initial-cluster-size",
	"x-queue-leader-locator",
	"x-queue-master-locator",
};

bool broker_queue_equivalent(const struct broker_queue *q, const struct broker_queue_spec *declared,
	char *text, size_t cap)
{
	const struct comparison c = {"queue", q->name, q->vhost->name, text, cap};
	if (!same_bool(&c, "durable", declared->durable, q->spec.durable) ||
		!same_bool(&c, "auto_delete", declared->auto_delete, q->spec.auto_delete))
		return false;
	for (size_t i = 0; i < sizeof queue_arguments / sizeof *queue_arguments; i++) {
		if (!same_argument(&c, queue_arguments[i], declared->arguments, q->spec.arguments))
			return false;
	}
	return true;
}

bool broker_exchange_equivalent(const struct broker_exchange *x,
	const struct broker_exchange_spec *declared, char *text, size_t cap)
{
	const struct comparison c = {"exchange", x->name, x->vhost->name, text, cap};
	return same_word(&c, "type", broker_exchange_type_name(declared->type),
		       broker_exchange_type_name(x->spec.type)) &&
	       same_bool(&c, "durable", declared->durable, x->spec.durable) &&
	       same_bool(&c, "auto_delete", declared->auto_delete, x->spec.auto_delete) &&
	       same_bool(&c, "internal", declared->internal, x->spec.internal) &&
	       same_argument(&c, "alternate-exchange", declared->arguments, x->spec.arguments);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/arguments.h"

#include <stdio.h>

#include "src/amqp/table.h"

struct arguments_rule {
	const char *key;
	/* Writes the reason into text if the value is refused. */
	bool (*check)(struct slice all, const struct amqp_value *v, char *text, size_t cap);
};

static bool refuse_type(const struct amqp_value *v, char *text, size_t cap)
{
	snprintf(text, cap, "{unacceptable_type,%s}", amqp_value_type_name(v->type));
	return false;
}

static bool check_count(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	(void)all;
	if (!amqp_value_is_int(v)) {
		snprintf(text, cap, "\"expected integer, got %s\"", amqp_value_type_name(v->type));
		return false;
	}
	if (v->u.i >= 0)
		return true;
	snprintf(text, cap, "{value_negative,%lld}", (long long)v->u.i);
	return false;
}

/* -1 switches it off. */
static bool check_limit(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	if (amqp_value_is_int(v) && v->u.i == -1)
		return true;
	return check_count(all, v, text, cap);
}

static bool check_ms(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	if (!check_count(all, v, text, cap))
		return false;
	if (v->u.i <= ARGUMENTS_MS_MAX)
		return true;
	snprintf(text, cap, "{value_too_large,%lld}", (long long)v->u.i);
	return false;
}

static bool check_expires(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	if (!check_ms(all, v, text, cap))
		return false;
	if (v->u.i > 0)
		return true;
	snprintf(text, cap, "{value_zero,0}");
	return false;
}

static bool check_priority(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	if (!check_count(all, v, text, cap))
		return false;
	if (v->u.i <= 255)
		return true;
	snprintf(text, cap, "{max_value_exceeded,%lld}", (long long)v->u.i);
	return false;
}

static bool check_string(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	(void)all;
	return v->type == 'S' || refuse_type(v, text, cap);
}

static bool check_dlx_key(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	struct amqp_value dlx;
	if (!check_string(all, v, text, cap))
		return false;
	if (amqp_table_get(all, "x-dead-letter-exchange", &dlx))
		return true;
	snprintf(text, cap, "routing_key_but_no_dlx_defined");
	return false;
}

static bool one_of(const struct amqp_value *v, const char *const *words)
{
	for (; *words != NULL; words++)
		if (amqp_value_is_string(v, *words))
			return true;
	return false;
}

static bool check_overflow(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	static const char *const words[] = {
		"drop-head", "reject-publish", "reject-publish-dlx", NULL};
	if (!check_string(all, v, text, cap))
		return false;
	snprintf(text, cap, "invalid_overflow");
	return one_of(v, words);
}

static bool check_mode(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	static const char *const words[] = {"default", "lazy", NULL};
	if (!check_string(all, v, text, cap))
		return false;
	snprintf(text, cap, "invalid_queue_mode");
	return one_of(v, words);
}

static bool check_strategy(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	static const char *const words[] = {"at-most-once", "at-least-once", NULL};
	if (!check_string(all, v, text, cap))
		return false;
	snprintf(text, cap, "invalid_dlx_strategy");
	return one_of(v, words);
}

static bool check_type(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	static const char *const words[] = {"classic", "quorum", NULL};
	if (!check_string(all, v, text, cap))
		return false;
	snprintf(text, cap, "\"unsupported queue type '%.*s'\"", SLICE_FMT(v->u.s));
	return one_of(v, words);
}

static bool check_bool(struct slice all, const struct amqp_value *v, char *text, size_t cap)
{
	(void)all;
	return v->type == 't' || refuse_type(v, text, cap);
}

static const struct arguments_rule rules[] = {
	{"x-expires", check_expires},
	{"x-message-ttl", check_ms},
	{"x-dead-letter-exchange", check_string},
	{"x-dead-letter-routing-key", check_dlx_key},
	{"x-dead-letter-strategy", check_strategy},
	{"x-max-length", check_count},
	{"x-max-length-bytes", check_count},
	{"x-max-in-memory-length", check_count},
	{"x-max-in-memory-bytes", check_count},
	{"x-max-priority", check_priority},
	{"x-overflow", check_overflow},
	{"x-queue-mode", check_mode},
	{"x-queue-type", check_type},
	{"x-queue-version", check_count},
	{"x-single-active-consumer", check_bool},
	{"x-delivery-limit", check_limit},
	{"x-quorum-initial-group-size", check_count},
	{"x-queue-master-locator", check_string},
	{"x-queue-leader-locator", check_string},
};

bool arguments_check_queue(struct slice arguments, const char **key, char *text, size_t cap)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		struct amqp_value v;
		if (!amqp_table_get(arguments, rules[i].key, &v))
			continue;
		*key = rules[i].key;
		if (!rules[i].check(arguments, &v, text, cap))
			return false;
	}
	return true;
}

const char *arguments_foreign(struct slice arguments)
{
	static const char *const keys[] = {"x-max-age", "x-stream-max-segment-size-bytes",
		"x-stream-filter-size-bytes", "x-initial-cluster-size"};
	struct amqp_value v;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (amqp_table_get(arguments, keys[i], &v))
			return keys[i];
	return NULL;
}

/* Keys of policies are those of arguments without "x-". */
enum { PREFIX = 2 };

static uint64_t count_in(bool found, const struct amqp_value *v)
{
	return found && amqp_value_is_int(v) && v->u.i >= 0 ? (uint64_t)v->u.i : CONFIG_NONE;
}

static uint64_t get_count(const struct broker_queue *q, const char *key)
{
	struct amqp_value v;
	uint64_t own = count_in(amqp_table_get(q->spec.arguments, key, &v), &v);
	uint64_t given = count_in(broker_effective_get(q->effective, key + PREFIX, &v), &v);
	return own < given ? own : given;
}

static bool get_string(const struct broker_queue *q, const char *key, struct slice *ret)
{
	struct amqp_value v;
	if (!(amqp_table_get(q->spec.arguments, key, &v) && v.type == 'S') &&
		!(broker_effective_get(q->effective, key + PREFIX, &v) && v.type == 'S'))
		return false;
	*ret = v.u.s;
	return true;
}

static enum overflow get_overflow(const struct broker_queue *q)
{
	struct slice word;
	if (!get_string(q, "x-overflow", &word))
		return OVERFLOW_DROP_HEAD;
	if (slice_is(word, "reject-publish"))
		return OVERFLOW_REJECT;
	return slice_is(word, "reject-publish-dlx") ? OVERFLOW_REJECT_DLX : OVERFLOW_DROP_HEAD;
}

bool arguments_single_active(const struct broker_queue *q)
{
	struct amqp_value v;
	return amqp_table_get(q->spec.arguments, "x-single-active-consumer", &v) && v.type == 't' &&
	       v.u.b;
}

void arguments_queue_config(const struct broker_queue *q, struct queue_config *ret)
{
	struct slice a = q->spec.arguments;
	struct amqp_value v;
	uint64_t priority = count_in(amqp_table_get(a, "x-max-priority", &v), &v);
	*ret = (struct queue_config){
		.message_ttl_ms = get_count(q, "x-message-ttl"),
		.expires_ms = get_count(q, "x-expires"),
		.max_length = get_count(q, "x-max-length"),
		.max_bytes = get_count(q, "x-max-length-bytes"),
		.delivery_limit = get_count(q, "x-delivery-limit"),
		.overflow = (uint8_t)get_overflow(q),
		.max_priority = priority == CONFIG_NONE ? 0 : (uint8_t)priority,
		.single_active = arguments_single_active(q),
		.auto_delete = q->spec.auto_delete,
	};
	ret->dead_letter = get_string(q, "x-dead-letter-exchange", &ret->dlx);
	ret->dead_letter_key = get_string(q, "x-dead-letter-routing-key", &ret->dlx_key);
}

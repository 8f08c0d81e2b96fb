/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/effective.h"

#include "src/base/buf.h"
#include "src/broker/broker.h"
#include "src/broker/hash.h"

bool broker_effective_get(
	const struct broker_effective *e, const char *key, struct amqp_value *ret)
{
	return e != NULL && amqp_table_get(e->definition, key, ret);
}

static bool find(struct slice table, struct slice key, struct amqp_value *ret)
{
	struct reader r = reader_of(table);
	struct slice k;
	while (amqp_table_next(&r, &k, ret))
		if (slice_eq(k, key))
			return true;
	return false;
}

struct ha {
	enum broker_ha_mode mode;
	uint32_t count;
	struct slice nodes;
};

static struct ha ha_in(struct slice definition)
{
	struct amqp_value mode, params;
	struct ha ret = {.mode = BROKER_HA_NONE};
	if (!amqp_table_get(definition, "ha-mode", &mode))
		return ret;
	bool given = amqp_table_get(definition, "ha-params", &params);
	if (amqp_value_is_string(&mode, "all")) {
		ret.mode = BROKER_HA_ALL;
	} else if (amqp_value_is_string(&mode, "exactly") && given && amqp_value_is_int(&params) &&
		   params.u.i > 0) {
		ret.mode = BROKER_HA_EXACTLY;
		ret.count = params.u.i > UINT32_MAX ? UINT32_MAX : (uint32_t)params.u.i;
	} else if (amqp_value_is_string(&mode, "nodes") && given && params.type == 'A') {
		ret.mode = BROKER_HA_NODES;
		ret.nodes = params.u.s;
	}
	return ret;
}

static int rank(enum broker_ha_mode mode)
{
	return mode == BROKER_HA_ALL       ? 3
	       : mode == BROKER_HA_EXACTLY ? 2
	       : mode == BROKER_HA_NODES   ? 1
					   : 0;
}

/* More copies are stricter: all, then a number of them, then a list. */
static bool holds_more(const struct ha *a, const struct ha *b)
{
	if (rank(a->mode) != rank(b->mode))
		return rank(a->mode) > rank(b->mode);
	return a->mode == BROKER_HA_EXACTLY ? a->count > b->count
					    : a->mode == BROKER_HA_NODES && a->nodes.n > b->nodes.n;
}

/* Which of two values for a key holds. */
static bool policy_holds(struct slice key, const struct amqp_value *of_policy,
	const struct amqp_value *of_operator, bool policy_has_more)
{
	if (slice_is(key, "ha-mode") || slice_is(key, "ha-params"))
		return policy_has_more;
	return amqp_value_is_int(of_policy) && amqp_value_is_int(of_operator) &&
	       of_policy->u.i < of_operator->u.i;
}

static void merge(struct buf *out, struct slice policy, struct slice operator_policy)
{
	struct slice key;
	struct amqp_value v, other;
	struct ha ha = ha_in(policy), operator_ha = ha_in(operator_policy);
	bool more = holds_more(&ha, &operator_ha);
	for (struct reader r = reader_of(policy); amqp_table_next(&r, &key, &v);) {
		bool both = find(operator_policy, key, &other);
		amqp_table_put_value(
			out, key, !both || policy_holds(key, &v, &other, more) ? &v : &other);
	}
	for (struct reader r = reader_of(operator_policy); amqp_table_next(&r, &key, &v);)
		if (!find(policy, key, &other))
			amqp_table_put_value(out, key, &v);
}

static struct slice definition_of(const struct broker_policy *p)
{
	return p != NULL ? p->spec.definition : slice_make("", 0);
}

static struct broker_effective *create(struct broker_vhost *v, const struct broker_policy *policy,
	const struct broker_policy *operator_policy)
{
	struct broker_effective *e = MEM_NEW(struct broker_effective);
	struct buf merged = BUF_EMPTY;
	e->policy = policy;
	e->operator_policy = operator_policy;
	merge(&merged, definition_of(policy), definition_of(operator_policy));
	e->definition = broker_own(buf_slice(&merged));
	buf_done(&merged);
	struct ha ha = ha_in(e->definition);
	e->ha_mode = ha.mode;
	e->ha_count = ha.count;
	e->ha_nodes = ha.nodes;
	list_push_back(&v->effectives, &e->link);
	return e;
}

static struct broker_effective *known(const struct broker_vhost *v,
	const struct broker_policy *policy, const struct broker_policy *operator_policy)
{
	LIST_EACH(node, &v->effectives)
	{
		struct broker_effective *e = LIST_ENTRY(node, struct broker_effective, link);
		if (!e->stale && e->policy == policy && e->operator_policy == operator_policy)
			return e;
	}
	return NULL;
}

struct broker_effective *broker_effective_of(struct broker_vhost *v,
	const struct broker_policy *policy, const struct broker_policy *operator_policy)
{
	if (policy == NULL && operator_policy == NULL)
		return NULL;
	struct broker_effective *e = known(v, policy, operator_policy);
	if (e == NULL)
		e = create(v, policy, operator_policy);
	e->refs++;
	return e;
}

void broker_effective_unref(struct broker_effective *e)
{
	if (e == NULL || --e->refs > 0)
		return;
	list_remove(&e->link);
	broker_disown(&e->definition);
	mem_free(e);
}

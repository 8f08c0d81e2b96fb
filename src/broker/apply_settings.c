/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies, parameters, limits, topic permissions.
 */
#include "src/broker/apply.h"
#include "src/broker/codec.h"

void apply_set_policy(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost = broker_get_name(r), name = broker_get_name(r);
	enum broker_policy_kind kind = broker_get_enum(r, BROKER_POLICY_KINDS);
	struct broker_policy_spec spec;
	broker_get_policy_spec(r, &spec);
	if (!apply_decoded(r, ret))
		return;
	struct broker_vhost *v = apply_vhost(b, vhost, ret);
	if (v == NULL || !apply_name_ok(name, ret, BROKER_POLICY))
		return;
	struct broker_policy *p = broker_policy_find(v, kind, name);
	if (p != NULL)
		broker_policy_set(p, &spec);
	else
		broker_policy_new(v, broker_next_number(b), kind, name, &spec);
}

void apply_clear_policy(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost = broker_get_name(r), name = broker_get_name(r);
	enum broker_policy_kind kind = broker_get_enum(r, BROKER_POLICY_KINDS);
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, vhost, ret) : NULL;
	if (v == NULL)
		return;
	struct broker_policy *p = broker_policy_find(v, kind, name);
	if (p == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_POLICY);
	else
		broker_policy_delete(p);
}

/* Which parameter a command means. */
struct parameter {
	struct broker_vhost *vhost; /* NULL: global */
	struct slice component, name;
	struct broker_parameter *found;
};

/* Without its value. */
static void get_parameter(struct reader *r, struct slice *vhost, struct parameter *ret)
{
	*vhost = broker_get_name(r);
	ret->component = broker_get_name(r);
	ret->name = broker_get_name(r);
	/* Neither or both. */
	if ((vhost->n == 0) != (ret->component.n == 0))
		reader_fail(r);
}

static bool find_parameter(
	struct broker *b, struct slice vhost, struct parameter *p, struct broker_result *ret)
{
	p->vhost = NULL;
	if (vhost.n > 0) {
		p->vhost = apply_vhost(b, vhost, ret);
		if (p->vhost == NULL)
			return false;
		p->found = broker_parameter_find(p->vhost, p->component, p->name);
	} else {
		p->found = broker_parameter_find_global(b, p->name);
	}
	return true;
}

void apply_set_parameter(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost;
	struct parameter p;
	get_parameter(r, &vhost, &p);
	struct slice value = broker_get_long(r);
	if (!apply_decoded(r, ret) || !find_parameter(b, vhost, &p, ret) ||
		!apply_name_ok(p.name, ret, BROKER_PARAMETER) ||
		(p.vhost != NULL && !apply_name_ok(p.component, ret, BROKER_PARAMETER)))
		return;
	if (p.found != NULL)
		broker_parameter_set(p.found, value);
	else
		broker_parameter_new(
			b, p.vhost, broker_next_number(b), p.component, p.name, value);
}

void apply_clear_parameter(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice vhost;
	struct parameter p;
	get_parameter(r, &vhost, &p);
	if (!apply_decoded(r, ret) || !find_parameter(b, vhost, &p, ret))
		return;
	if (p.found == NULL)
		apply_refuse(ret, BROKER_NOT_FOUND, BROKER_PARAMETER);
	else
		broker_parameter_delete(p.found);
}

static int64_t get_limit(struct reader *r)
{
	return (int64_t)get_u64le(r);
}

void apply_set_vhost_limits(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct broker_vhost_limits set;
	set.max_connections = get_limit(r);
	set.max_queues = get_limit(r);
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, name, ret) : NULL;
	if (v == NULL)
		return;
	set.max_connections = broker_limit_after(v->limits.max_connections, set.max_connections);
	set.max_queues = broker_limit_after(v->limits.max_queues, set.max_queues);
	broker_vhost_set_limits(v, &set);
}

void apply_set_user_limits(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct broker_user_limits set;
	set.max_connections = get_limit(r);
	set.max_channels = get_limit(r);
	struct broker_user *u = apply_decoded(r, ret) ? apply_user(b, name, ret) : NULL;
	if (u == NULL)
		return;
	set.max_connections = broker_limit_after(u->limits.max_connections, set.max_connections);
	set.max_channels = broker_limit_after(u->limits.max_channels, set.max_channels);
	broker_user_set_limits(u, &set);
}

/* Whom a topic permission is for. */
struct topic_permission {
	struct slice user_name, vhost_name, exchange;
	struct broker_user *user;
	struct broker_vhost *vhost;
};

static void get_topic_permission(struct reader *r, struct topic_permission *ret)
{
	ret->user_name = broker_get_name(r);
	ret->vhost_name = broker_get_name(r);
	ret->exchange = broker_get_name(r);
}

static bool find_subject(
	struct broker *b, struct topic_permission *t, struct broker_result *ret)
{
	t->user = apply_user(b, t->user_name, ret);
	t->vhost = t->user != NULL ? apply_vhost(b, t->vhost_name, ret) : NULL;
	return t->vhost != NULL;
}

void apply_set_topic_permissions(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct topic_permission t;
	struct slice pattern[BROKER_TOPIC_RIGHTS];
	get_topic_permission(r, &t);
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++)
		pattern[i] = broker_get_long(r);
	if (!apply_decoded(r, ret) || !find_subject(b, &t, ret) ||
		!apply_name_ok(t.exchange, ret, BROKER_EXCHANGE))
		return;
	struct broker_topic_permission *p =
		broker_topic_permission_find(t.user, t.vhost, t.exchange);
	if (p == NULL)
		p = broker_topic_permission_new(
			t.user, t.vhost, broker_next_number(b), t.exchange);
	broker_topic_permission_set(p, pattern);
}

void apply_clear_topic_permissions(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct topic_permission t;
	get_topic_permission(r, &t);
	if (!apply_decoded(r, ret) || !find_subject(b, &t, ret))
		return;
	struct broker_topic_permission *p, *next;
	for (p = broker_topic_permission_first_of_user(t.user); p != NULL; p = next) {
		next = broker_topic_permission_next_of_user(t.user, p);
		if (p->vhost == t.vhost &&
			(t.exchange.n == 0 || slice_eq(p->exchange, t.exchange)))
			broker_topic_permission_delete(p);
	}
}

void apply_set_vhost_metadata(struct broker *b, struct reader *r, struct broker_result *ret)
{
	struct slice name = broker_get_name(r);
	struct slice description = broker_get_long(r);
	struct slice tags = broker_get_long(r);
	struct slice default_queue_type = broker_get_name(r);
	struct broker_vhost *v = apply_decoded(r, ret) ? apply_vhost(b, name, ret) : NULL;
	if (v != NULL)
		broker_vhost_set_metadata(v, description, tags, default_queue_type);
}

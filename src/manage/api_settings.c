/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime parameters, limits of vhosts and users, topic permissions, metadata of vhosts.
 */
#include <stdlib.h>

#include "src/broker/command.h"
#include "src/broker/definition.h"
#include "src/manage/api.h"
#include "src/manage/json.h"

static const char *arg(const struct api_call *c, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(c->args, key));
	return text != NULL ? text : otherwise;
}

static void on_set(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->code == BROKER_NOT_FOUND && r->resource == BROKER_VHOST)
		api_fail(c, API_NOT_FOUND, "Virtual host '%s' does not exist",
			arg(c, "vhost", "/"));
	else if (r->code == BROKER_NOT_FOUND && r->resource == BROKER_USER)
		api_fail(c, API_NOT_FOUND, "User \"%s\" does not exist", arg(c, "user", ""));
	else if (r->code == BROKER_NOT_FOUND)
		api_fail(c, API_NOT_FOUND, "Parameter does not exist");
	else
		api_fail(c, API_BAD_REQUEST, "a name has 1 to %d octets", BROKER_NAME_MAX);
}

/* The text as JSON; NULL after having ended the call. */
static json_t *parse(struct api_call *c, const char *text)
{
	json_error_t error;
	json_t *v = json_loads(text, JSON_DECODE_ANY, &error);
	if (v == NULL)
		api_fail(c, API_BAD_REQUEST, "JSON decoding error. Reason: %s", error.text);
	return v;
}

/* ---- parameters ---- */

static void propose_parameter(
	struct api_call *c, struct slice vhost, struct slice component, const char *value)
{
	struct buf b = BUF_EMPTY;
	struct slice name = slice_str(arg(c, "name", ""));
	json_t *json = value != NULL ? parse(c, value) : NULL;
	if (value != NULL && json == NULL)
		return;
	json_decref(json);
	if (value != NULL)
		broker_put_set_parameter(&b, vhost, component, name, slice_str(value));
	else
		broker_put_clear_parameter(&b, vhost, component, name);
	api_propose(c, &b, on_set);
}

static void set_global_parameter(struct api_call *c)
{
	const char *name, *value;
	if (api_args(c, "{ss,ss}", "name", &name, "value", &value))
		propose_parameter(c, slice_str(""), slice_str(""), value);
}

static void clear_global_parameter(struct api_call *c)
{
	const char *name;
	if (api_args(c, "{ss}", "name", &name))
		propose_parameter(c, slice_str(""), slice_str(""), NULL);
}

static json_t *parameter_row(const struct broker_parameter *p)
{
	json_t *row = json_pack(
		"{soso}", "name", json_of_slice(p->name), "value", json_of_slice(p->value));
	if (p->vhost != NULL) {
		json_object_set_new(row, "vhost", json_of_slice(p->vhost->name));
		json_object_set_new(row, "component", json_of_slice(p->component));
	}
	return row;
}

static json_t *parameter_rows(const struct broker_parameter *p)
{
	json_t *rows = json_array();
	for (; p != NULL; p = broker_parameter_next(p))
		json_array_append_new(rows, parameter_row(p));
	return rows;
}

static void list_parameters(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	if (v != NULL)
		api_ok(c, parameter_rows(broker_parameter_first(v)));
}

static void list_global_parameters(struct api_call *c)
{
	api_ok(c, parameter_rows(broker_parameter_first_global(api_broker(c))));
}

/* ---- limits ---- */

enum { LIMITS = 2 };

struct limit_names {
	const char *parameter; /* what RabbitMQ calls them all */
	const char *names[LIMITS];
};

static const struct limit_names vhost_limits = {"limits", {"max-connections", "max-queues"}};
static const struct limit_names user_limits = {"user-limits", {"max-connections", "max-channels"}};

static int limit_of(const struct limit_names *n, const char *name)
{
	int i = 0;
	while (i < LIMITS && strcmp(name, n->names[i]) != 0)
		i++;
	return i;
}

/* Ends the call; false. The texts are RabbitMQ's. */
static bool refuse_limit(struct api_call *c, const struct limit_names *n, const char *key, json_t *v)
{
	struct buf b = BUF_EMPTY;
	bool known = key != NULL && limit_of(n, key) < LIMITS;
	definition_put_term(&b, v);
	if (key == NULL)
		api_fail(c, API_BAD_REQUEST, "Validation failed\n\n%s not a list %.*s",
			n->parameter, SLICE_FMT(buf_slice(&b)));
	else if (known)
		api_fail(c, API_BAD_REQUEST,
			"Validation failed\n\n%s should be a number, actually was %.*s", key,
			SLICE_FMT(buf_slice(&b)));
	else
		api_fail(c, API_BAD_REQUEST,
			"Validation failed\n\nUnrecognised terms [{<<\"%s\">>,%.*s}] in %s", key,
			SLICE_FMT(buf_slice(&b)), n->parameter);
	buf_done(&b);
	return false;
}

static bool read_object(
	struct api_call *c, const struct limit_names *n, json_t *limits, int64_t ret[LIMITS])
{
	const char *key;
	json_t *v;
	if (!json_is_object(limits))
		return refuse_limit(c, n, NULL, limits);
	json_object_foreach(limits, key, v)
	{
		int i = limit_of(n, key);
		if (i == LIMITS || !json_is_integer(v))
			return refuse_limit(c, n, key, v);
		ret[i] = json_integer_value(v) < 0 ? -1 : json_integer_value(v);
	}
	return true;
}

/* {"max-queues": 10}; what is not named becomes `otherwise`. Ends the call and returns false if there
 * is anything else in it. */
static bool read_limits(struct api_call *c, const struct limit_names *n, int64_t otherwise,
	int64_t ret[LIMITS])
{
	json_t *limits = parse(c, arg(c, "definition", "{}"));
	for (int i = 0; i < LIMITS; i++)
		ret[i] = otherwise;
	bool ok = limits != NULL && read_object(c, n, limits, ret);
	json_decref(limits);
	return ok;
}

static void propose_vhost_limits(struct api_call *c, const int64_t set[LIMITS])
{
	struct buf b = BUF_EMPTY;
	broker_put_set_vhost_limits(&b, slice_str(arg(c, "vhost", "/")),
		&(struct broker_vhost_limits){set[0], set[1]});
	api_propose(c, &b, on_set);
}

static void propose_user_limits(struct api_call *c, const int64_t set[LIMITS])
{
	struct buf b = BUF_EMPTY;
	broker_put_set_user_limits(
		&b, slice_str(arg(c, "user", "")), &(struct broker_user_limits){set[0], set[1]});
	api_propose(c, &b, on_set);
}

static void set_vhost_limits(struct api_call *c)
{
	int64_t set[LIMITS];
	if (read_limits(c, &vhost_limits, BROKER_LIMIT_NONE, set))
		propose_vhost_limits(c, set);
}

static void set_user_limits(struct api_call *c)
{
	int64_t set[LIMITS];
	if (read_limits(c, &user_limits, BROKER_LIMIT_KEEP, set))
		propose_user_limits(c, set);
}

/* The limit called args.limit, or all of them ("all", or nothing). */
static bool limits_to_clear(struct api_call *c, const struct limit_names *n, int64_t ret[LIMITS])
{
	const char *limit = arg(c, "limit", "all");
	bool all = strcmp(limit, "all") == 0, any = all;
	for (int i = 0; i < LIMITS; i++) {
		bool clear = all || strcmp(limit, n->names[i]) == 0;
		ret[i] = clear ? BROKER_LIMIT_NONE : BROKER_LIMIT_KEEP;
		any |= clear;
	}
	if (!any)
		api_fail(c, API_BAD_REQUEST, "there is no limit called '%s'", limit);
	return any;
}

static void clear_vhost_limits(struct api_call *c)
{
	int64_t set[LIMITS];
	const struct broker_vhost *v = api_vhost(c);
	if (v == NULL || !limits_to_clear(c, &vhost_limits, set))
		return;
	if (v->limits.max_connections == BROKER_LIMIT_NONE && v->limits.max_queues == BROKER_LIMIT_NONE)
		api_fail(c, API_NOT_FOUND, "Parameter does not exist");
	else
		propose_vhost_limits(c, set);
}

static void clear_user_limits(struct api_call *c)
{
	int64_t set[LIMITS];
	if (limits_to_clear(c, &user_limits, set))
		propose_user_limits(c, set);
}

/* -- as parameters, too -- */

/* What other verbs set is not a parameter here. */
static bool may_be_set(struct api_call *c, const char *component)
{
	if (strcmp(component, "policy") != 0 && strcmp(component, "operator_policy") != 0)
		return true;
	api_fail(c, API_BAD_REQUEST, "policies may not be set using this method");
	return false;
}

static bool is_vhost_limits(const char *component, const char *name)
{
	return strcmp(component, "vhost-limits") == 0 && strcmp(name, "limits") == 0;
}

static void set_parameter(struct api_call *c)
{
	const char *component, *name, *value;
	if (!api_args(c, "{ss,ss,ss}", "component", &component, "name", &name, "value", &value) ||
		!may_be_set(c, component))
		return;
	if (is_vhost_limits(component, name)) {
		json_object_set(c->args, "definition", json_object_get(c->args, "value"));
		set_vhost_limits(c);
		return;
	}
	propose_parameter(c, slice_str(arg(c, "vhost", "/")), slice_str(component), value);
}

static void clear_parameter(struct api_call *c)
{
	const char *component, *name;
	if (!api_args(c, "{ss,ss}", "component", &component, "name", &name))
		return;
	if (is_vhost_limits(component, name))
		clear_vhost_limits(c);
	else
		propose_parameter(c, slice_str(arg(c, "vhost", "/")), slice_str(component), NULL);
}

/* As JSON inside a string; NULL if none is set. */
static json_t *limits_text(const struct limit_names *n, int64_t first, int64_t second)
{
	const int64_t values[LIMITS] = {first, second};
	json_t *limits = json_object();
	for (int i = 0; i < LIMITS; i++)
		if (values[i] != BROKER_LIMIT_NONE)
			json_object_set_new(limits, n->names[i], json_integer(values[i]));
	bool any = json_object_size(limits) > 0;
	char *text = any ? json_dumps(limits, JSON_COMPACT) : NULL;
	json_t *ret = any ? json_string(text) : NULL;
	free(text);
	json_decref(limits);
	return ret;
}

static void put_limits(json_t *rows, const char *of, struct slice name, json_t *text)
{
	if (text != NULL)
		json_array_append_new(
			rows, json_pack("{soso}", of, json_of_slice(name), "limits", text));
}

static void put_vhost_limits(json_t *rows, const struct broker_vhost *v)
{
	put_limits(rows, "vhost", v->name,
		limits_text(&vhost_limits, v->limits.max_connections, v->limits.max_queues));
}

static void put_user_limits(json_t *rows, const struct broker_user *u)
{
	put_limits(rows, "user", u->name,
		limits_text(&user_limits, u->limits.max_connections, u->limits.max_channels));
}

/* Of one vhost, or of all with args.global. */
static void list_vhost_limits(struct api_call *c)
{
	bool global = json_is_true(json_object_get(c->args, "global"));
	struct broker_vhost *v = global ? broker_vhost_first(api_broker(c)) : api_vhost(c);
	if (v == NULL && !global)
		return;
	json_t *rows = json_array();
	for (; v != NULL; v = global ? broker_vhost_next(v) : NULL)
		put_vhost_limits(rows, v);
	api_ok(c, rows);
}

/* Of args.user, or of all. */
static void list_user_limits(struct api_call *c)
{
	struct broker *b = api_broker(c);
	const char *name = arg(c, "user", NULL);
	struct broker_user *u =
		name != NULL ? broker_user_find(b, slice_str(name)) : broker_user_first(b);
	if (name != NULL && u == NULL) {
		api_fail(c, API_NOT_FOUND, "User \"%s\" does not exist", name);
		return;
	}
	json_t *rows = json_array();
	for (; u != NULL; u = name == NULL ? broker_user_next(u) : NULL)
		put_user_limits(rows, u);
	api_ok(c, rows);
}

/* ---- topic permissions ---- */

static bool pattern_fits(struct api_call *c, const char *pattern)
{
	char why[256];
	if (broker_pattern_check(slice_str(pattern), why, sizeof why))
		return true;
	api_fail(c, API_BAD_REQUEST, "Invalid regular expression \"%s\": %s", pattern, why);
	return false;
}

static void set_topic_permissions(struct api_call *c)
{
	const char *user, *exchange, *write, *read;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss,ss,ss,ss}", "user", &user, "exchange", &exchange, "write", &write,
		    "read", &read) ||
		!pattern_fits(c, write) || !pattern_fits(c, read))
		return;
	broker_put_set_topic_permissions(&b, slice_str(user), slice_str(arg(c, "vhost", "/")),
		slice_str(exchange), slice_str(write), slice_str(read));
	api_propose(c, &b, on_set);
}

static void clear_topic_permissions(struct api_call *c)
{
	const char *user;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss}", "user", &user))
		return;
	broker_put_clear_topic_permissions(&b, slice_str(user), slice_str(arg(c, "vhost", "/")),
		slice_str(arg(c, "exchange", "")));
	api_propose(c, &b, on_set);
}

static json_t *topic_row(const struct broker_topic_permission *p)
{
	return json_pack("{sososososo}", "user", json_of_slice(p->user->name), "vhost",
		json_of_slice(p->vhost->name), "exchange", json_of_slice(p->exchange), "write",
		json_of_slice(p->pattern[BROKER_TOPIC_WRITE]), "read",
		json_of_slice(p->pattern[BROKER_TOPIC_READ]));
}

static void list_topic_permissions(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	if (v == NULL)
		return;
	json_t *rows = json_array();
	const struct broker_topic_permission *p = broker_topic_permission_first_of_vhost(v);
	for (; p != NULL; p = broker_topic_permission_next_of_vhost(v, p))
		json_array_append_new(rows, topic_row(p));
	api_ok(c, rows);
}

static void list_user_topic_permissions(struct api_call *c)
{
	const char *user;
	if (!api_args(c, "{ss}", "user", &user))
		return;
	struct broker_user *u = broker_user_find(api_broker(c), slice_str(user));
	if (u == NULL) {
		api_fail(c, API_NOT_FOUND, "User \"%s\" does not exist", user);
		return;
	}
	json_t *rows = json_array();
	const struct broker_topic_permission *p = broker_topic_permission_first_of_user(u);
	for (; p != NULL; p = broker_topic_permission_next_of_user(u, p))
		json_array_append_new(rows, topic_row(p));
	api_ok(c, rows);
}

/* ---- virtual hosts ---- */

/* What is not given stays. */
static void update_vhost_metadata(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	struct buf b = BUF_EMPTY;
	if (v == NULL)
		return;
	const char *description = arg(c, "description", NULL), *tags = arg(c, "tags", NULL);
	const char *type = arg(c, "default_queue_type", NULL);
	if (type != NULL && !api_queue_type(c, slice_str(type)))
		return;
	broker_put_set_vhost_metadata(&b, v->name,
		description != NULL ? slice_str(description) : v->description,
		tags != NULL ? slice_str(tags) : v->tags,
		type != NULL ? slice_str(type) : v->default_queue_type);
	api_propose(c, &b, on_set);
}

const struct api_verb api_settings_verbs[] = {
	{"set_parameter", set_parameter, false},
	{"clear_parameter", clear_parameter, false},
	{"list_parameters", list_parameters, false},
	{"set_global_parameter", set_global_parameter, false},
	{"clear_global_parameter", clear_global_parameter, false},
	{"list_global_parameters", list_global_parameters, false},
	{"set_vhost_limits", set_vhost_limits, false},
	{"clear_vhost_limits", clear_vhost_limits, false},
	{"list_vhost_limits", list_vhost_limits, false},
	{"set_user_limits", set_user_limits, false},
	{"clear_user_limits", clear_user_limits, false},
	{"list_user_limits", list_user_limits, false},
	{"set_topic_permissions", set_topic_permissions, false},
	{"clear_topic_permissions", clear_topic_permissions, false},
	{"list_topic_permissions", list_topic_permissions, false},
	{"list_user_topic_permissions", list_user_topic_permissions, false},
	{"update_vhost_metadata", update_vhost_metadata, false},
	{NULL, NULL, false},
};

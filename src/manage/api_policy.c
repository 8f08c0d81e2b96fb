/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies and operator policies.
 */
#include <errno.h>
#include <stdlib.h>

#include "src/base/log.h"
#include "src/broker/command.h"
#include "src/broker/definition.h"
#include "src/broker/policy_check.h"
#include "src/manage/api.h"
#include "src/manage/json.h"

/* ---- setting and clearing ---- */

static void on_changed(struct api_call *c, const struct broker_result *r)
{
	const char *vhost = json_string_value(json_object_get(c->args, "vhost"));
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->resource == BROKER_VHOST)
		api_fail(c, API_NOT_FOUND, "Virtual host '%s' does not exist",
			vhost != NULL ? vhost : "/");
	else if (r->code == BROKER_NOT_FOUND)
		api_fail(c, API_NOT_FOUND, "Parameter does not exist");
	else
		api_fail(c, API_BAD_REQUEST, "a policy's name has 1 to %d octets", BROKER_NAME_MAX);
}

/* Keys that would mean losing messages: they are kept, and change nothing. */
static json_t *warning_of(const json_t *args)
{
	static const char *const keys[] = {"ha-promote-on-failure", "ha-promote-on-shutdown"};
	const char *text = json_string_value(json_object_get(args, "definition"));
	json_t *definition = text != NULL ? json_loads(text, 0, NULL) : NULL;
	json_t *ret = NULL;
	for (size_t i = 0; ret == NULL && i < sizeof keys / sizeof *keys; i++) {
		const char *value = json_string_value(json_object_get(definition, keys[i]));
		if (value != NULL && strcmp(value, "always") == 0)
			ret = json_pack("{so}", "warning",
				json_sprintf("%s \"always\" is accepted and has no effect: a mirror that "
					     "lacks confirmed messages is never promoted",
					keys[i]));
	}
	json_decref(definition);
	return ret;
}

static void on_set(struct api_call *c, const struct broker_result *r)
{
	json_t *warning = r->code == BROKER_OK ? warning_of(c->args) : NULL;
	if (warning == NULL) {
		on_changed(c, r);
		return;
	}
	log_warning("policy", "policy '%s': %s",
		json_string_value(json_object_get(c->args, "name")),
		json_string_value(json_object_get(warning, "warning")));
	api_ok(c, warning);
}

/* A number, or the text of one; nothing: 0. */
static bool read_priority(struct api_call *c, int64_t *ret)
{
	json_t *v = json_object_get(c->args, "priority");
	const char *text = json_string_value(v);
	char *end = NULL;
	*ret = json_integer_value(v);
	errno = 0;
	if (v == NULL || json_is_integer(v))
		return true;
	if (text != NULL)
		*ret = strtoll(text, &end, 10);
	bool is_number = text != NULL && *text != '\0' && *end == '\0';
	if (is_number && errno != ERANGE)
		return true;
	api_fail(c, API_BAD_REQUEST, "<<\"%s\">> priority %s", text != NULL ? text : "",
		is_number ? "is out of range" : "must be a number");
	return false;
}

static struct slice text_or(const char *p, const char *otherwise)
{
	return slice_str(p != NULL ? p : otherwise);
}

static void set(struct api_call *c, enum broker_policy_kind kind)
{
	const char *vhost = NULL, *name, *pattern, *apply_to = NULL, *definition;
	struct broker_policy_spec spec;
	struct buf command = BUF_EMPTY, table = BUF_EMPTY, why = BUF_EMPTY;
	if (!api_args(c, "{s?s,ss,ss,s?s,ss}", "vhost", &vhost, "name", &name, "pattern", &pattern,
		    "apply_to", &apply_to, "definition", &definition) ||
		!read_priority(c, &spec.priority))
		return;
	const struct policy_text text = {kind, slice_str(name), slice_str(pattern),
		text_or(apply_to, ""), slice_str(definition)};
	if (policy_check(&text, &spec, &table, &why)) {
		broker_put_set_policy(&command, text_or(vhost, "/"), text.name, kind, &spec);
		api_propose(c, &command, on_set);
	} else {
		api_fail(c, API_BAD_REQUEST, "%.*s", SLICE_FMT(buf_slice(&why)));
	}
	buf_done(&table);
	buf_done(&why);
}

static void clear(struct api_call *c, enum broker_policy_kind kind)
{
	const char *vhost = NULL, *name;
	struct buf command = BUF_EMPTY;
	if (!api_args(c, "{s?s,ss}", "vhost", &vhost, "name", &name))
		return;
	broker_put_clear_policy(&command, text_or(vhost, "/"), slice_str(name), kind);
	api_propose(c, &command, on_changed);
}

static void set_policy(struct api_call *c)
{
	set(c, BROKER_POLICY_USER);
}

static void set_operator_policy(struct api_call *c)
{
	set(c, BROKER_POLICY_OPERATOR);
}

static void clear_policy(struct api_call *c)
{
	clear(c, BROKER_POLICY_USER);
}

static void clear_operator_policy(struct api_call *c)
{
	clear(c, BROKER_POLICY_OPERATOR);
}

/* ---- lists ---- */

/* The definition is JSON inside a string, as RabbitMQ's tools show it. */
static json_t *row_of(const struct broker_policy *p)
{
	json_t *definition = definition_of_table(p->spec.definition);
	char *text = json_dumps(definition, JSON_COMPACT);
	json_t *row = json_pack("{sososossss*sI}", "vhost", json_of_slice(p->vhost->name), "name",
		json_of_slice(p->name), "pattern", json_of_slice(p->spec.pattern), "apply-to",
		broker_apply_to_name(p->spec.apply_to), "definition", text, "priority",
		(json_int_t)p->spec.priority);
	free(text);
	json_decref(definition);
	return row;
}

static void list(struct api_call *c, enum broker_policy_kind kind)
{
	struct broker_vhost *v = api_vhost(c);
	if (v == NULL)
		return;
	json_t *rows = json_array();
	const struct broker_policy *p;
	for (size_t i = 0; (p = broker_policy_at(v, kind, i)) != NULL; i++)
		json_array_append_new(rows, row_of(p));
	api_ok(c, rows);
}

static void list_policies(struct api_call *c)
{
	list(c, BROKER_POLICY_USER);
}

static void list_operator_policies(struct api_call *c)
{
	list(c, BROKER_POLICY_OPERATOR);
}

const struct api_verb api_policy_verbs[] = {
	{"set_policy", set_policy, false},
	{"clear_policy", clear_policy, false},
	{"list_policies", list_policies, false},
	{"set_operator_policy", set_operator_policy, false},
	{"clear_operator_policy", clear_operator_policy, false},
	{"list_operator_policies", list_operator_policies, false},
	{NULL, NULL, false},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies and operator policies.
 */
#include <stdio.h>

#include "src/ctl/verb.h"

enum { CHANGE_S = 60 };

static int set(struct ctl *c, const char *verb, const char *what)
{
	const struct options *o = &c->options;
	const char *priority = o->priority != NULL ? o->priority : "0";
	ctl_say(c,
		"Setting %s \"%s\" for pattern \"%s\" to \"%s\" with priority \"%s\" for vhost "
		"\"%s\" ...",
		what, ctl_arg(c, 0), ctl_arg(c, 1), ctl_arg(c, 2), priority, ctl_vhost(c));
	json_t *r;
	int status = ctl_call(c, verb,
		json_pack("{ssssssssssss*}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0),
			"pattern", ctl_arg(c, 1), "definition", ctl_arg(c, 2), "priority", priority,
			"apply_to", o->apply_to),
		CHANGE_S, &r);
	if (status != CTL_OK)
		return status;
	const char *warning = json_string_value(json_object_get(r, "warning"));
	if (warning != NULL)
		fprintf(stderr, "Warning:\n%s\n", warning);
	json_decref(r);
	return ctl_done(c);
}

static int clear(struct ctl *c, const char *verb, const char *what)
{
	ctl_say(c, "Clearing %s \"%s\" on vhost \"%s\" ...", what, ctl_arg(c, 0), ctl_vhost(c));
	return ctl_do(
		c, verb, json_pack("{ssss}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0)));
}

static int list(struct ctl *c, const char *verb, const char *what)
{
	static const char *const columns[] = {
		"vhost", "name", "pattern", "apply-to", "definition", "priority"};
	ctl_say(c, "Listing %s for vhost \"%s\" ...", what, ctl_vhost(c));
	return ctl_list(c, verb, json_pack("{ss}", "vhost", ctl_vhost(c)), columns,
		sizeof columns / sizeof *columns);
}

static int set_policy(struct ctl *c)
{
	return set(c, "set_policy", "policy");
}

static int set_operator_policy(struct ctl *c)
{
	return set(c, "set_operator_policy", "operator policy override");
}

static int clear_policy(struct ctl *c)
{
	return clear(c, "clear_policy", "policy");
}

static int clear_operator_policy(struct ctl *c)
{
	return clear(c, "clear_operator_policy", "operator policy");
}

static int list_policies(struct ctl *c)
{
	return list(c, "list_policies", "policies");
}

static int list_operator_policies(struct ctl *c)
{
	return list(c, "list_operator_policies", "operator policy overrides");
}

enum { SETTING = OPTION_VHOST | OPTION_PRIORITY | OPTION_APPLY_TO };

const struct ctl_verb verbs_policy[] = {
	{"clear_operator_policy", "Policies", "<name>", "Takes an operator policy away", 1, 1,
		OPTION_VHOST, clear_operator_policy},
	{"clear_policy", "Policies", "<name>", "Takes a policy away", 1, 1, OPTION_VHOST,
		clear_policy},
	{"list_operator_policies", "Policies", "", "Lists operator policies of a virtual host", 0, 0,
		OPTION_VHOST | OPTION_HEADERS, list_operator_policies},
	{"list_policies", "Policies", "", "Lists policies of a virtual host", 0, 0,
		OPTION_VHOST | OPTION_HEADERS, list_policies},
	{"set_operator_policy", "Policies", "<name> <pattern> <definition>",
		"Sets an operator policy: limits that no policy can exceed", 3, 3, SETTING,
		set_operator_policy},
	{"set_policy", "Policies", "<name> <pattern> <definition>",
		"Sets a policy: properties of all queues and exchanges whose names match", 3, 3,
		SETTING, set_policy},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

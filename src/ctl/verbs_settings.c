/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime parameters, limits of vhosts and users, topic permissions, metadata of vhosts.
 */
#include <string.h>

#include "src/ctl/verb.h"

enum { CALL_S = 60 };

static json_t *in_vhost(const struct ctl *c)
{
	return json_pack("{ss}", "vhost", ctl_vhost(c));
}

/* ---- parameters ---- */

static int set_parameter(struct ctl *c)
{
	ctl_say(c, "Setting runtime parameter \"%s\" for component \"%s\" to \"%s\" in vhost \"%s\" ...",
		ctl_arg(c, 1), ctl_arg(c, 0), ctl_arg(c, 2), ctl_vhost(c));
	return ctl_do(c, "set_parameter",
		json_pack("{ssssssss}", "vhost", ctl_vhost(c), "component", ctl_arg(c, 0), "name",
			ctl_arg(c, 1), "value", ctl_arg(c, 2)));
}

static int clear_parameter(struct ctl *c)
{
	ctl_say(c, "Clearing runtime parameter \"%s\" for component \"%s\" on vhost \"%s\" ...",
		ctl_arg(c, 1), ctl_arg(c, 0), ctl_vhost(c));
	return ctl_do(c, "clear_parameter",
		json_pack("{ssssss}", "vhost", ctl_vhost(c), "component", ctl_arg(c, 0), "name",
			ctl_arg(c, 1)));
}

static int list_parameters(struct ctl *c)
{
	static const char *const columns[] = {"component", "name", "value"};
	ctl_say(c, "Listing runtime parameters for vhost \"%s\" ...", ctl_vhost(c));
	return ctl_list(c, "list_parameters", in_vhost(c), columns, 3);
}

static int set_global_parameter(struct ctl *c)
{
	ctl_say(c, "Setting global runtime parameter \"%s\" to \"%s\" ...", ctl_arg(c, 0),
		ctl_arg(c, 1));
	return ctl_do(c, "set_global_parameter",
		json_pack("{ssss}", "name", ctl_arg(c, 0), "value", ctl_arg(c, 1)));
}

static int clear_global_parameter(struct ctl *c)
{
	ctl_say(c, "Clearing global runtime parameter \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "clear_global_parameter", json_pack("{ss}", "name", ctl_arg(c, 0)));
}

static int list_global_parameters(struct ctl *c)
{
	static const char *const columns[] = {"name", "value"};
	ctl_say(c, "Listing global runtime parameters ...");
	return ctl_list(c, "list_global_parameters", NULL, columns, 2);
}

/* ---- limits ---- */

static int set_vhost_limits(struct ctl *c)
{
	ctl_say(c, "Setting vhost limits to \"%s\" for vhost \"%s\" ...", ctl_arg(c, 0),
		ctl_vhost(c));
	return ctl_do(c, "set_vhost_limits",
		json_pack("{ssss}", "vhost", ctl_vhost(c), "definition", ctl_arg(c, 0)));
}

static int clear_vhost_limits(struct ctl *c)
{
	ctl_say(c, "Clearing vhost \"%s\" limits ...", ctl_vhost(c));
	return ctl_do(c, "clear_vhost_limits", in_vhost(c));
}

/* Those of one virtual host or user are no row: the text alone, or `none`. */
static int list_one(struct ctl *c, const char *verb, json_t *args, const char *none)
{
	json_t *rows;
	int status = ctl_call(c, verb, args, CALL_S, &rows);
	if (status != CTL_OK)
		return status;
	const char *text = json_string_value(json_object_get(json_array_get(rows, 0), "limits"));
	text = text != NULL ? text : none;
	if (c->options.format == FORMAT_JSON)
		print_result_json(json_pack("{ssssss}", "node", c->node, "result", "ok", "value", text));
	else if (text[0] != '\0')
		puts(text);
	json_decref(rows);
	return CTL_OK;
}

static int list_vhost_limits(struct ctl *c)
{
	static const char *const columns[] = {"vhost", "limits"};
	if (c->options.global) {
		ctl_say(c, "Listing limits for all vhosts ...");
		return ctl_list(c, "list_vhost_limits", json_pack("{sb}", "global", 1), columns, 2);
	}
	ctl_say(c, "Listing limits for vhost \"%s\" ...", ctl_vhost(c));
	return list_one(c, "list_vhost_limits", in_vhost(c), "");
}

static int set_user_limits(struct ctl *c)
{
	ctl_say(c, "Setting user limits to \"%s\" for user \"%s\" ...", ctl_arg(c, 1),
		ctl_arg(c, 0));
	return ctl_do(c, "set_user_limits",
		json_pack("{ssss}", "user", ctl_arg(c, 0), "definition", ctl_arg(c, 1)));
}

static int clear_user_limits(struct ctl *c)
{
	if (strcmp(ctl_arg(c, 1), "all") == 0)
		ctl_say(c, "Clearing all limits for user \"%s\" ...", ctl_arg(c, 0));
	else
		ctl_say(c, "Clearing \"%s\" limit for user \"%s\" ...", ctl_arg(c, 1),
			ctl_arg(c, 0));
	return ctl_do(c, "clear_user_limits",
		json_pack("{ssss}", "user", ctl_arg(c, 0), "limit", ctl_arg(c, 1)));
}

static int list_user_limits(struct ctl *c)
{
	static const char *const columns[] = {"user", "limits"};
	const char *user = c->options.user;
	if (user == NULL) {
		ctl_say(c, "Listing limits for all users ...");
		return ctl_list(c, "list_user_limits", NULL, columns, 2);
	}
	ctl_say(c, "Listing limits for user \"%s\" ...", user);
	return list_one(c, "list_user_limits", json_pack("{ss}", "user", user), "{}");
}

/* ---- topic permissions ---- */

static int set_topic_permissions(struct ctl *c)
{
	ctl_say(c, "Setting topic permissions on \"%s\" for user \"%s\" in vhost \"%s\" ...",
		ctl_arg(c, 1), ctl_arg(c, 0), ctl_vhost(c));
	return ctl_do(c, "set_topic_permissions",
		json_pack("{ssssssssss}", "vhost", ctl_vhost(c), "user", ctl_arg(c, 0), "exchange",
			ctl_arg(c, 1), "write", ctl_arg(c, 2), "read", ctl_arg(c, 3)));
}

static int clear_topic_permissions(struct ctl *c)
{
	const char *exchange = ctl_arg(c, 1);
	if (exchange != NULL)
		ctl_say(c, "Clearing topic permissions on \"%s\" for user \"%s\" in vhost \"%s\" ...",
			exchange, ctl_arg(c, 0), ctl_vhost(c));
	else
		ctl_say(c, "Clearing topic permissions for user \"%s\" in vhost \"%s\" ...",
			ctl_arg(c, 0), ctl_vhost(c));
	return ctl_do(c, "clear_topic_permissions",
		json_pack("{ssssss*}", "vhost", ctl_vhost(c), "user", ctl_arg(c, 0), "exchange",
			exchange));
}

static int list_topic_permissions(struct ctl *c)
{
	static const char *const columns[] = {"user", "exchange", "write", "read"};
	ctl_say(c, "Listing topic permissions for vhost \"%s\" ...", ctl_vhost(c));
	return ctl_list(c, "list_topic_permissions", in_vhost(c), columns, 4);
}

static int list_user_topic_permissions(struct ctl *c)
{
	static const char *const columns[] = {"vhost", "exchange", "write", "read"};
	ctl_say(c, "Listing topic permissions for user \"%s\" ...", ctl_arg(c, 0));
	return ctl_list(c, "list_user_topic_permissions", json_pack("{ss}", "user", ctl_arg(c, 0)),
		columns, 4);
}

/* ---- virtual hosts ---- */

static int update_vhost_metadata(struct ctl *c)
{
	const struct options *o = &c->options;
	ctl_say(c, "Updating metadata of vhost \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "update_vhost_metadata",
		json_pack("{ssss*ss*ss*}", "vhost", ctl_arg(c, 0), "description", o->description,
			"tags", o->tags, "default_queue_type", o->default_queue_type));
}

const struct ctl_verb verbs_settings[] = {
	{"clear_global_parameter", "Parameters", "<name>", "Takes a global runtime parameter away", 1,
		1, 0, clear_global_parameter},
	{"clear_parameter", "Parameters", "<component> <name>", "Takes a runtime parameter away", 2,
		2, OPTION_VHOST, clear_parameter},
	{"list_global_parameters", "Parameters", "", "Lists global runtime parameters", 0, 0,
		OPTION_HEADERS, list_global_parameters},
	{"list_parameters", "Parameters", "", "Lists runtime parameters of a virtual host", 0, 0,
		OPTION_VHOST | OPTION_HEADERS, list_parameters},
	{"set_global_parameter", "Parameters", "<name> <value>", "Sets a global runtime parameter",
		2, 2, 0, set_global_parameter},
	{"set_parameter", "Parameters", "<component> <name> <value>",
		"Sets a runtime parameter, which the broker keeps and does not look into", 3, 3,
		OPTION_VHOST, set_parameter},
	{"clear_user_limits", "Users", "<username> <limit>|all", "Takes limits of a user away", 2,
		2, 0, clear_user_limits},
	{"list_user_limits", "Users", "", "Lists the limits of a user (--user), or of all", 0, 0,
		OPTION_USER | OPTION_GLOBAL | OPTION_HEADERS, list_user_limits},
	{"set_user_limits", "Users", "<username> <definition>",
		"Sets limits of a user: {\"max-connections\": 10, \"max-channels\": 100}", 2, 2, 0,
		set_user_limits},
	{"clear_topic_permissions", "Access Control", "<username> [<exchange>]",
		"Takes a user's topic permissions away", 1, 2, OPTION_VHOST,
		clear_topic_permissions},
	{"list_topic_permissions", "Access Control", "", "Lists topic permissions in a virtual host",
		0, 0, OPTION_VHOST | OPTION_HEADERS, list_topic_permissions},
	{"list_user_topic_permissions", "Access Control", "<username>",
		"Lists topic permissions of a user", 1, 1, OPTION_HEADERS,
		list_user_topic_permissions},
	{"set_topic_permissions", "Access Control", "<username> <exchange> <write> <read>",
		"Sets which routing keys a user may publish with and bind by", 4, 4, OPTION_VHOST,
		set_topic_permissions},
	{"clear_vhost_limits", "Virtual hosts", "", "Takes the limits of a virtual host away", 0, 0,
		OPTION_VHOST, clear_vhost_limits},
	{"list_vhost_limits", "Virtual hosts", "", "Lists the limits of a virtual host, or of all",
		0, 0, OPTION_VHOST | OPTION_GLOBAL | OPTION_HEADERS, list_vhost_limits},
	{"set_vhost_limits", "Virtual hosts", "<definition>",
		"Sets limits of a virtual host: {\"max-connections\": 100, \"max-queues\": 50}", 1,
		1, OPTION_VHOST, set_vhost_limits},
	{"update_vhost_metadata", "Virtual hosts", "<vhost>",
		"Changes description, tags or default queue type", 1, 1, OPTION_VHOST_ATTRIBUTES,
		update_vhost_metadata},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists, and what is done to queues and connections.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/ctl/print.h"
#include "src/ctl/verb.h"

enum { COLUMNS_MAX = 64, CALL_S = 60, QUEUE_TIMEOUT_S = 15 };

/* A list: which columns there are, and which are shown unless others are asked for. */
struct listing {
	const char *verb;
	const char *banner; /* with `end`, the vhost's name comes between them */
	const char *end;
	const char *known;  /* " a b c " */
	const char *const *shown;
	unsigned n_shown;
};

/* 0 and the rows, a reference; else an exit status, after having told the error. */
typedef int rows_fn(struct ctl *c, json_t **ret);

#define SHOWN(...)                     \
	(const char *const[]){__VA_ARGS__}, \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)

static bool is_known(const struct listing *l, const char *column)
{
	size_t n = strlen(column);
	for (const char *at = l->known; (at = strstr(at, column)) != NULL; at += n)
		if (at[-1] == ' ' && at[n] == ' ')
			return true;
	return false;
}

/* All arguments in one string, for strtok(): "a b,c" may be one or several. */
static char *join_arguments(const struct ctl *c)
{
	struct buf b = BUF_EMPTY;
	for (unsigned i = 0; i < c->options.n_args; i++) {
		buf_put_slice(&b, slice_str(c->options.args[i]));
		buf_put_u8(&b, ' ');
	}
	buf_put_u8(&b, '\0');
	return (char *)b.p;
}

static unsigned split_columns(char *text, const char *columns[COLUMNS_MAX])
{
	unsigned n = 0;
	for (char *at = strtok(text, ", \t"); at != NULL && n < COLUMNS_MAX;
		at = strtok(NULL, ", \t"))
		columns[n++] = at;
	return n;
}

static int list_columns(
	struct ctl *c, const struct listing *l, rows_fn *rows_of, json_t *args, char *text)
{
	const char *columns[COLUMNS_MAX];
	unsigned n = split_columns(text, columns);
	for (unsigned i = 0; i < n; i++)
		if (!is_known(l, columns[i])) {
			json_decref(args);
			return ctl_misuse(c, "Info key(s) %s are not supported", columns[i]);
		}
	ctl_say(c, "%s%s%s", l->banner, l->end != NULL ? ctl_vhost(c) : "",
		l->end != NULL ? l->end : "");
	const char *const *shown = n > 0 ? columns : l->shown;
	unsigned n_shown = n > 0 ? n : l->n_shown;
	if (rows_of == NULL)
		return ctl_list(c, l->verb, args, shown, n_shown);
	json_t *rows;
	int status = rows_of(c, &rows);
	if (status != CTL_OK)
		return status;
	print_rows(rows, shown, n_shown, c->options.format,
		!c->options.silent && !c->options.no_headers);
	json_decref(rows);
	return CTL_OK;
}

/* `rows_of` NULL: the rows of the verb. */
static int list_of(struct ctl *c, const struct listing *l, rows_fn *rows_of, json_t *args)
{
	char *text = join_arguments(c);
	int status = list_columns(c, l, rows_of, args, text);
	mem_free(text);
	return status;
}

static int list(struct ctl *c, const struct listing *l, json_t *args)
{
	return list_of(c, l, NULL, args);
}

static json_t *in_vhost(const struct ctl *c)
{
	return json_pack("{ss}", "vhost", ctl_vhost(c));
}

/* ---- lists ---- */

static int list_users(struct ctl *c)
{
	const char *const columns[] = {"user", "tags"};
	ctl_say(c, "Listing users ...");
	return ctl_list(c, "list_users", NULL, columns, 2);
}

static int list_vhosts(struct ctl *c)
{
	const struct listing l = {"list_vhosts", "Listing vhosts ...", NULL,
		" name tracing description tags default_queue_type cluster_state ", SHOWN("name")};
	return list(c, &l, NULL);
}

static int list_feature_flags(struct ctl *c)
{
	const struct listing l = {"list_feature_flags", "Listing feature flags ...", NULL,
		" name state stability provided_by desc doc_url ", SHOWN("name", "state")};
	return list(c, &l, NULL);
}

static int list_permissions(struct ctl *c)
{
	const char *const columns[] = {"user", "configure", "write", "read"};
	ctl_say(c, "Listing permissions for vhost \"%s\" ...", ctl_vhost(c));
	return ctl_list(c, "list_permissions", in_vhost(c), columns, 4);
}

static int list_user_permissions(struct ctl *c)
{
	const char *const columns[] = {"vhost", "configure", "write", "read"};
	ctl_say(c, "Listing permissions for user \"%s\" ...", ctl_arg(c, 0));
	return ctl_list(c, "list_user_permissions", json_pack("{ss}", "user", ctl_arg(c, 0)),
		columns, 4);
}

/* It costs a look at each queue's first message. */
static bool asks_for_heads(const struct ctl *c)
{
	for (unsigned i = 0; i < c->options.n_args; i++)
		if (strstr(c->options.args[i], "head_message_timestamp") != NULL)
			return true;
	return false;
}

static int list_queues(struct ctl *c)
{
	const struct listing l = {"list_queues",
		"Listing queues for vhost ", " ...",
		" name durable auto_delete arguments policy operator_policy effective_policy_definition "
		"pid owner_pid exclusive exclusive_consumer_pid exclusive_consumer_tag messages_ready "
		"messages_unacknowledged messages messages_ready_ram messages_unacknowledged_ram "
		"messages_ram messages_persistent message_bytes message_bytes_ready "
		"message_bytes_unacknowledged message_bytes_ram message_bytes_persistent "
		"head_message_timestamp disk_reads disk_writes consumers consumer_utilisation "
		"consumer_capacity memory state type leader members online slave_pids "
		"synchronised_slave_pids mirror_pids synchronised_mirror_pids single_active_consumer_pid "
		"single_active_consumer_tag ",
		SHOWN("name", "messages")};
	if (!c->options.silent)
		ctl_say(c, "Timeout: %.1f seconds ...",
			c->options.timeout_s > 0 ? c->options.timeout_s : 60.0);
	json_t *args = in_vhost(c);
	json_object_set_new(args, "online", json_boolean(c->options.online));
	json_object_set_new(args, "offline", json_boolean(c->options.offline));
	json_object_set_new(args, "led_here", json_boolean(c->options.local));
	json_object_set_new(args, "head", json_boolean(asks_for_heads(c)));
	return list(c, &l, args);
}

/* ---- queues that nobody leads ---- */

/* The node's name ends c->node, or a port follows. */
static bool has_member_here(const struct ctl *c, const json_t *row)
{
	size_t i, n = strcspn(c->node, ":");
	json_t *member;
	json_array_foreach(json_object_get(row, "members"), i, member)
	{
		if (json_string_length(member) == n &&
			memcmp(json_string_value(member), c->node, n) == 0)
			return true;
	}
	return false;
}

/* Those that nobody is known to lead now, as call.result. As ctl_try(). */
static int led_by_nobody(struct ctl *c, struct call *call)
{
	json_t *args = json_pack("{sssb}", "vhost", ctl_vhost(c), "offline", true);
	if (ctl_try(c, call, "list_queues", args, CALL_S) != 0)
		return -1;
	json_t *rows = call->result;
	for (size_t i = json_array_size(rows); i-- > 0;) {
		json_t *row = json_array_get(rows, i);
		json_object_set(row, "recoverable_slaves", json_object_get(row, "members"));
		if (c->options.local && !has_member_here(c, row))
			json_array_remove(rows, i);
	}
	return 0;
}

/* Elections pass: a queue that is led again before the timeout is over has answered. */
static int unresponsive_queues(struct ctl *c, json_t **ret)
{
	const char *text = c->options.queue_timeout;
	double s = text != NULL ? strtod(text, NULL) / 1000 : QUEUE_TIMEOUT_S;
	double until = ctl_now_s() + s;
	struct call call;
	for (;; ctl_nap()) {
		if (led_by_nobody(c, &call) != 0)
			return ctl_error(c, call_exit(&call), "%s", call.message);
		if (json_array_size(call.result) == 0 || ctl_now_s() >= until)
			break;
		json_decref(call.result);
	}
	fputs(call.missing, stderr);
	*ret = call.result;
	return CTL_OK;
}

static int list_unresponsive_queues(struct ctl *c)
{
	const struct listing l = {NULL, "Listing unresponsive queues for vhost ", " ...",
		" name durable auto_delete arguments pid recoverable_slaves ", SHOWN("name")};
	const char *text = c->options.queue_timeout;
	if (text != NULL && (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0'))
		return ctl_misuse(c, "Invalid options for this command:\n--queue-timeout : %s", text);
	return list_of(c, &l, unresponsive_queues, NULL);
}

static int list_exchanges(struct ctl *c)
{
	const struct listing l = {"list_exchanges",
		"Listing exchanges for vhost ", " ...",
		" name type durable auto_delete internal arguments policy ", SHOWN("name", "type")};
	return list(c, &l, in_vhost(c));
}

static int list_bindings(struct ctl *c)
{
	const struct listing l = {"list_bindings",
		"Listing bindings for vhost ", "...",
		" source_name source_kind destination_name destination_kind routing_key arguments ",
		SHOWN("source_name", "source_kind", "destination_name", "destination_kind",
			"routing_key", "arguments")};
	return list(c, &l, in_vhost(c));
}

static int list_connections(struct ctl *c)
{
	const struct listing l = {"list_connections", "Listing connections ...", NULL,
		" pid name port host peer_port peer_host ssl ssl_protocol ssl_key_exchange ssl_cipher "
		"ssl_hash peer_cert_subject peer_cert_issuer peer_cert_validity state channels protocol "
		"auth_mechanism user vhost timeout frame_max channel_max client_properties "
		"user_provided_name node recv_oct recv_cnt send_oct send_cnt send_pend connected_at ",
		SHOWN("user", "peer_host", "peer_port", "state")};
	return list(c, &l, NULL);
}

static int list_channels(struct ctl *c)
{
	const struct listing l = {"list_channels", "Listing channels ...", NULL,
		" pid connection name number user vhost node transactional confirm consumer_count "
		"messages_unacknowledged messages_uncommitted acks_uncommitted messages_unconfirmed "
		"prefetch_count global_prefetch_count ",
		SHOWN("pid", "user", "consumer_count", "messages_unacknowledged")};
	return list(c, &l, NULL);
}

static int list_consumers(struct ctl *c)
{
	const struct listing l = {"list_consumers",
		"Listing consumers in vhost ", " ...",
		" queue_name channel_pid consumer_tag ack_required prefetch_count active "
		"activity_status arguments ",
		SHOWN("queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count",
			"active", "arguments")};
	return list(c, &l, in_vhost(c));
}

/* ---- queues ---- */

static json_t *a_queue(const struct ctl *c)
{
	return json_pack("{ssss}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0));
}

static int purge_queue(struct ctl *c)
{
	struct call call;
	ctl_say(c, "Purging queue '%s' in vhost '%s' ...", ctl_arg(c, 0), ctl_vhost(c));
	if (ctl_try(c, &call, "purge_queue", a_queue(c), 60) == 0) {
		json_decref(call.result);
		return ctl_done(c);
	}
	bool none = strcmp(call.error, "not_found") == 0;
	return ctl_error(c, none ? CTL_UNAVAILABLE : call_exit(&call), "%s",
		none ? "not_found" : call.message);
}

/* RabbitMQ's words and status for what has no mirrors. */
static int synchronise(struct ctl *c, const char *verb)
{
	struct call call;
	if (ctl_try(c, &call, verb, a_queue(c), 60) == 0) {
		json_decref(call.result);
		return ctl_done(c);
	}
	bool known = ctl_lacks_queue(&call) || strcmp(call.error, "refused") == 0;
	return ctl_error(c, known ? CTL_UNAVAILABLE : call_exit(&call), "%s", ctl_reason(&call));
}

static int sync_queue(struct ctl *c)
{
	ctl_say(c, "Synchronising queue '%s' in vhost '%s' ...", ctl_arg(c, 0), ctl_vhost(c));
	return synchronise(c, "sync_queue");
}

static int cancel_sync_queue(struct ctl *c)
{
	ctl_say(c, "Stopping synchronising queue '%s' in vhost '%s' ...", ctl_arg(c, 0),
		ctl_vhost(c));
	return synchronise(c, "cancel_sync_queue");
}

static int delete_queue(struct ctl *c)
{
	struct call call;
	if (ctl_arg(c, 0)[0] == '\0')
		return ctl_bad_argument(c, "queue name cannot be an empty string");
	json_t *args = a_queue(c);
	json_object_set_new(args, "if_unused", json_boolean(c->options.if_unused));
	json_object_set_new(args, "if_empty", json_boolean(c->options.if_empty));
	ctl_say(c, "Deleting queue '%s' on vhost '%s' ...", ctl_arg(c, 0), ctl_vhost(c));
	if (ctl_try(c, &call, "delete_queue", args, 60) != 0) {
		bool known = strcmp(call.error, "not_found") == 0 ||
			     strcmp(call.error, "refused") == 0;
		return ctl_error(c, known ? CTL_USAGE : call_exit(&call), "%s", call.message);
	}
	ctl_say(c, "Queue was successfully deleted with %lld ready messages",
		json_integer_value(json_object_get(call.result, "messages")));
	json_decref(call.result);
	return ctl_done(c);
}

/* ---- connections ---- */

/* As list_connections shows a pid: <node.1.2.3>. */
static bool is_pid(const char *text)
{
	const char *at = strchr(text, '@');
	size_t n = strlen(text);
	return text[0] == '<' && at != NULL && n > 0 && text[n - 1] == '>' && strchr(at, '.') != NULL;
}

/* Who has gone meanwhile is closed; a name, or what is neither, is a mistake if there is nobody of it. */
static int close_connection(struct ctl *c)
{
	struct call call;
	const char *pid = ctl_arg(c, 0);
	ctl_say(c, "Closing connection %s, reason: %s...", pid, ctl_arg(c, 1));
	json_t *args = json_pack("{ssss}", "pid", pid, "reason", ctl_arg(c, 1));
	if (ctl_try(c, &call, "close_connection", args, CALL_S) == 0) {
		fputs(call.missing, stderr);
		json_decref(call.result);
		return ctl_done(c);
	}
	if (strcmp(call.error, "not_found") == 0 && is_pid(pid))
		return ctl_done(c);
	return ctl_error(c, call_exit(&call), "%s", call.message);
}

static int close_several(struct ctl *c, json_t *args)
{
	json_t *rows;
	if (c->options.limit != NULL)
		json_object_set_new(args, "limit", json_integer(strtol(c->options.limit, NULL, 10)));
	int status = ctl_call(c, "close_all_connections", args, 60, &rows);
	if (status != CTL_OK)
		return status;
	ctl_say(c, "Closed %lu connections", (unsigned long)json_array_size(rows));
	json_decref(rows);
	return ctl_done(c);
}

static int close_all_connections(struct ctl *c)
{
	if (c->options.global)
		ctl_say(c, "Closing all connections to node %s, reason: %s...", c->node,
			ctl_arg(c, 0));
	else
		ctl_say(c, "Closing all connections in vhost %s, reason: %s...", ctl_vhost(c),
			ctl_arg(c, 0));
	json_t *args = json_pack("{ss}", "reason", ctl_arg(c, 0));
	if (!c->options.global)
		json_object_set_new(args, "vhost", json_string(ctl_vhost(c)));
	return close_several(c, args);
}

static int close_all_user_connections(struct ctl *c)
{
	ctl_say(c, "Closing connections of user %s, reason: %s...", ctl_arg(c, 0), ctl_arg(c, 1));
	return close_several(
		c, json_pack("{ssss}", "user", ctl_arg(c, 0), "reason", ctl_arg(c, 1)));
}

#define LISTS "Monitoring, observability and health checks"

const struct ctl_verb verbs_list[] = {
	{"list_users", "Users", "", "Lists users and their tags", 0, 0, OPTION_HEADERS, list_users},
	{"list_feature_flags", "Feature flags", "[<column> ...]", "Lists feature flags", 0, VERB_ANY,
		OPTION_HEADERS, list_feature_flags},
	{"list_permissions", "Access Control", "", "Lists permissions in a virtual host", 0, 0,
		OPTION_VHOST | OPTION_HEADERS, list_permissions},
	{"list_user_permissions", "Access Control", "<username>",
		"Lists permissions of a user in all virtual hosts", 1, 1, OPTION_HEADERS,
		list_user_permissions},
	{"list_vhosts", "Access Control", "[<column> ...]", "Lists virtual hosts", 0, VERB_ANY,
		OPTION_HEADERS, list_vhosts},
	{"list_bindings", LISTS, "[<column> ...]", "Lists bindings in a virtual host", 0, VERB_ANY,
		OPTION_VHOST | OPTION_HEADERS, list_bindings},
	{"list_channels", LISTS, "[<column> ...]", "Lists channels", 0, VERB_ANY, OPTION_HEADERS,
		list_channels},
	{"list_connections", LISTS, "[<column> ...]", "Lists connections", 0, VERB_ANY,
		OPTION_HEADERS, list_connections},
	{"list_consumers", LISTS, "[<column> ...]", "Lists consumers in a virtual host", 0,
		VERB_ANY, OPTION_VHOST | OPTION_HEADERS, list_consumers},
	{"list_exchanges", LISTS, "[<column> ...]", "Lists exchanges in a virtual host", 0,
		VERB_ANY, OPTION_VHOST | OPTION_HEADERS, list_exchanges},
	{"list_queues", LISTS, "[<column> ...]", "Lists queues in a virtual host", 0, VERB_ANY,
		OPTION_VHOST | OPTION_HEADERS | OPTION_ONLINE | OPTION_OFFLINE | OPTION_LOCAL,
		list_queues},
	{"list_unresponsive_queues", LISTS, "[<column> ...]",
		"Lists queues that nobody leads for so long (15 s)", 0, VERB_ANY,
		OPTION_VHOST | OPTION_HEADERS | OPTION_LOCAL | OPTION_QUEUE_TIMEOUT,
		list_unresponsive_queues},
	{"delete_queue", "Queues", "<queue>", "Deletes a queue", 1, 1,
		OPTION_VHOST | OPTION_IF_UNUSED | OPTION_IF_EMPTY, delete_queue},
	{"sync_queue", "Queues", "<queue>", "Lets a queue's unsynchronised mirrors catch up", 1, 1,
		OPTION_VHOST, sync_queue},
	{"cancel_sync_queue", "Queues", "<queue>", "Ends what sync_queue has begun", 1, 1, OPTION_VHOST,
		cancel_sync_queue},
	{"purge_queue", "Queues", "<queue>", "Removes all ready messages of a queue", 1, 1,
		OPTION_VHOST, purge_queue},
	{"close_all_connections", "Operations", "<explanation>",
		"Closes the connections of a virtual host, or all", 1, 1,
		OPTION_VHOST | OPTION_GLOBAL | OPTION_LIMIT, close_all_connections},
	{"close_all_user_connections", "Operations", "<username> <explanation>",
		"Closes the connections of a user", 2, 2, 0, close_all_user_connections},
	{"close_connection", "Operations", "<connection> <explanation>",
		"Closes a connection, named by its pid or name", 2, 2, 0, close_connection},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

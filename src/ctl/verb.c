/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/verb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/ctl/print.h"

enum { TIMEOUT_S = 60, POLL_S = 5 };

#define LEN(array) (sizeof(array) / sizeof *(array))

static const struct ctl_verb *const tables[] = {
	verbs_help, verbs_node, verbs_cluster, verbs_replica, verbs_access, verbs_policy,
	verbs_settings, verbs_health, verbs_tune, verbs_wait, verbs_list};

const struct ctl_verb *verb_at(unsigned i)
{
	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const struct ctl_verb *v = tables[t]; v->name != NULL; v++)
			if (i-- == 0)
				return v;
	return NULL;
}

const struct ctl_verb *verb_find(const char *name)
{
	const struct ctl_verb *v;
	for (unsigned i = 0; (v = verb_at(i)) != NULL; i++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

const char *ctl_arg(const struct ctl *c, unsigned i)
{
	return i < c->options.n_args ? c->options.args[i] : NULL;
}

const char *ctl_vhost(const struct ctl *c)
{
	return c->options.vhost != NULL ? c->options.vhost : "/";
}

void ctl_say(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;
	if (c->options.quiet || c->options.format == FORMAT_CSV ||
		c->options.format == FORMAT_JSON)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout); /* what follows may take its time */
}

int ctl_error(const struct ctl *c, int status, const char *fmt, ...)
{
	va_list ap;
	(void)c;
	fflush(stdout);
	fputs("Error:\n", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int ctl_found(const struct ctl *c, int status, json_t *found, const char *fmt, ...)
{
	FILE *to = status == CTL_OK ? stdout : stderr;
	va_list ap;
	va_start(ap, fmt);
	char *line = mem_vprintf(fmt, ap), *json = NULL;
	va_end(ap);
	if (found == NULL)
		found = json_pack("{sn}", "message");
	if (json_is_null(json_object_get(found, "message")))
		json_object_set_new(found, "message", json_string(line));
	if (c->options.format == FORMAT_JSON)
		json = json_dumps(found, JSON_COMPACT);
	fflush(stdout);
	fprintf(to, "%s\n", json != NULL ? json : line);
	free(json);
	mem_free(line);
	json_decref(found);
	return status;
}

static int misuse(const struct ctl *c, int status, const char *fmt, va_list ap)
{
	fflush(stdout);
	fputs("Error (argument validation): ", stderr);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\nArguments given:\n\t%s", c->verb->name);
	for (unsigned i = 0; i < c->options.n_args; i++)
		fprintf(stderr, " %s", c->options.args[i]);
	fputs("\n\n", stderr);
	help_usage(c, c->verb);
	return status;
}

int ctl_misuse(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int status = misuse(c, CTL_USAGE, fmt, ap);
	va_end(ap);
	return status;
}

static int bad(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int status = misuse(c, CTL_DATA, fmt, ap);
	va_end(ap);
	return status;
}

int ctl_bad_argument(const struct ctl *c, const char *why)
{
	return why != NULL ? bad(c, "Bad argument: %s", why) : bad(c, "Bad argument.");
}

int ctl_try(struct ctl *c, struct call *call_, const char *verb, json_t *args, double timeout_s)
{
	*call_ = (struct call){.node = c->node,
		.proof = {c->options.cookie_file, c->options.cacertfile, c->options.certfile,
			c->options.keyfile},
		.timeout_s = c->options.timeout_s > 0 || c->options.no_time ? c->options.timeout_s : timeout_s,
		.no_time = c->options.no_time};
	return call(call_, verb, args);
}

int ctl_poll(struct ctl *c, struct call *call_, const char *verb, json_t *args)
{
	struct ctl once = *c;
	once.options.no_time = false;
	if (!(once.options.timeout_s > 0 && once.options.timeout_s < POLL_S))
		once.options.timeout_s = POLL_S;
	return ctl_try(&once, call_, verb, args, POLL_S);
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* RabbitMQ's: for a user who is not there, and for a virtual host, but for some verbs that do not tell either from
 * anything else. */
static int exit_status(const struct ctl *c, const struct call *call)
{
	static const char *const without_user[] = {"clear_password", "clear_user_limits", "list_user_limits",
		"list_user_permissions", "list_user_topic_permissions", "set_user_limits"};
	static const char *const without_vhost[] = {"clear_operator_policy", "clear_parameter", "clear_permissions",
		"clear_policy", "clear_topic_permissions", "clear_vhost_limits", "set_parameter", "set_permissions",
		"set_topic_permissions"};
	const char *name = c->verb->name;
	if (strcmp(call->error, "not_found") != 0)
		return call_exit(call);
	if (strncmp(call->message, "User ", 5) == 0 && !is_among(name, without_user, LEN(without_user)))
		return CTL_NO_USER;
	if (strncmp(call->message, "Virtual host ", 13) == 0 &&
		!is_among(name, without_vhost, LEN(without_vhost)))
		return CTL_DATA;
	return call_exit(call);
}

int ctl_call(struct ctl *c, const char *verb, json_t *args, double timeout_s, json_t **ret)
{
	struct call call_;
	if (ctl_try(c, &call_, verb, args, timeout_s) != 0)
		return ctl_error(c, exit_status(c, &call_), "%s", call_.message);
	fputs(call_.missing, stderr);
	if (ret != NULL)
		*ret = call_.result;
	else
		json_decref(call_.result);
	return CTL_OK;
}

bool ctl_lacks_queue(const struct call *call)
{
	return strcmp(call->error, "not_found") == 0 && (strncmp(call->message, "Queue ", 6) == 0 ||
								strncmp(call->message, "Virtual host ", 13) == 0);
}

const char *ctl_reason(const struct call *call)
{
	return ctl_lacks_queue(call) ? "not_found" : call->message;
}

int ctl_done(const struct ctl *c)
{
	if (c->options.format == FORMAT_JSON)
		print_result_json(json_pack("{ssss}", "node", c->node, "result", "ok"));
	return CTL_OK;
}

int ctl_do(struct ctl *c, const char *verb, json_t *args)
{
	int status = ctl_call(c, verb, args, TIMEOUT_S, NULL);
	return status == CTL_OK ? ctl_done(c) : status;
}

int ctl_list(struct ctl *c, const char *verb, json_t *args, const char *const *columns, unsigned n)
{
	json_t *rows;
	int status = ctl_call(c, verb, args, TIMEOUT_S, &rows);
	if (status != CTL_OK)
		return status;
	print_rows(rows, columns, n, c->options.format,
		!c->options.silent && !c->options.no_headers);
	json_decref(rows);
	return CTL_OK;
}

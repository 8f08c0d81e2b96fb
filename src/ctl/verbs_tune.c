/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator changes in a node that runs, until it starts again (limits of the alarms: until its app does): those, the log,
 * memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/size.h"
#include "src/ctl/verb.h"

enum { CALL_S = 60, SHARE_MAX = 100 };

/* ---- limits ---- */

static bool is_number(const char *text, double *ret)
{
	char *end;
	*ret = strtod(text, &end);
	return end != text && *end == '\0' && *ret == *ret;
}

/* The form with a word before the number has two arguments, the other one has one. 0, or an exit status after having
 * told what is wrong. */
static int check_form(const struct ctl *c, bool with_word)
{
	if (with_word && c->options.n_args < 2)
		return ctl_misuse(c, "not enough arguments.");
	if (!with_word && c->options.n_args > 1)
		return ctl_misuse(c, "too many arguments.");
	return CTL_OK;
}

static int set_memory_bytes(struct ctl *c)
{
	const char *text = ctl_arg(c, 1);
	size_t digits = strspn(text, "0123456789");
	uint64_t bytes;
	if (digits == 0)
		return ctl_bad_argument(c, NULL);
	if (text[digits] == '.')
		return ctl_bad_argument(c, "The threshold should be an integer.");
	if (!size_parse(text, &bytes))
		return ctl_bad_argument(c, "Invalid units.");
	ctl_say(c, "Setting memory threshold on %s to %s bytes ...", c->node, text);
	return ctl_do(c, "set_memory_limit", json_pack("{sI}", "bytes", (json_int_t)bytes));
}

static int set_memory_share(struct ctl *c)
{
	double share;
	if (!is_number(ctl_arg(c, 0), &share))
		return ctl_bad_argument(c, NULL);
	if (share < 0 || share > 1)
		return ctl_bad_argument(c, "The threshold should be a fraction between 0.0 and 1.0");
	ctl_say(c, "Setting memory threshold on %s to %s ...", c->node, ctl_arg(c, 0));
	return ctl_do(c, "set_memory_limit", json_pack("{sf}", "share", share));
}

static int set_vm_memory_high_watermark(struct ctl *c)
{
	bool absolute = strcmp(ctl_arg(c, 0), "absolute") == 0;
	int status = check_form(c, absolute);
	if (status != CTL_OK)
		return status;
	return absolute ? set_memory_bytes(c) : set_memory_share(c);
}

static int set_disk_free_limit(struct ctl *c)
{
	bool relative = strcmp(ctl_arg(c, 0), "mem_relative") == 0;
	int status = check_form(c, relative);
	double share;
	uint64_t bytes;
	if (status != CTL_OK)
		return status;
	if (relative) {
		if (!is_number(ctl_arg(c, 1), &share) || share < 0 || share > SHARE_MAX)
			return ctl_bad_argument(c, NULL);
		ctl_say(c, "Setting disk free limit on %s to %s times the total RAM ...", c->node,
			ctl_arg(c, 1));
		return ctl_do(c, "set_disk_limit", json_pack("{sf}", "share", share));
	}
	if (!size_parse(ctl_arg(c, 0), &bytes))
		return ctl_bad_argument(c, NULL);
	ctl_say(c, "Setting disk free limit on %s to %s bytes ...", c->node, ctl_arg(c, 0));
	return ctl_do(c, "set_disk_limit", json_pack("{sI}", "bytes", (json_int_t)bytes));
}

/* ---- the log ---- */

/* RabbitMQ's status for a level that is none. */
static int set_log_level(struct ctl *c)
{
	struct call call;
	if (ctl_try(c, &call, "set_log_level", json_pack("{ss}", "level", ctl_arg(c, 0)), CALL_S) != 0)
		return ctl_error(c,
			strcmp(call.error, "bad_request") == 0 ? CTL_UNAVAILABLE : call_exit(&call),
			"%s", call.message);
	json_decref(call.result);
	ctl_say(c, "Setting log level to \"%s\" ...", ctl_arg(c, 0));
	return ctl_done(c);
}

static int rotate_logs(struct ctl *c)
{
	json_t *r;
	int status = ctl_call(c, "rotate_logs", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	const char *file = json_string_value(json_object_get(r, "file"));
	if (file != NULL)
		ctl_say(c, "Node %s has opened its log file %s anew", c->node, file);
	else
		ctl_say(c,
			"Node %s writes its log to standard error, which is no file: there is nothing to "
			"rotate",
			c->node);
	json_decref(r);
	return CTL_OK;
}

static int log_location(struct ctl *c)
{
	json_t *r, *file;
	size_t i;
	ctl_say(c, "Log file location(s) on node %s ...", c->node);
	int status = ctl_call(c, "status", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	if (c->options.format == FORMAT_JSON)
		print_result_json(json_pack("{sssOss}", "node_name", c->node, "paths", json_object_get(r, "log_files"),
			"result", "ok"));
	else
		json_array_foreach(json_object_get(r, "log_files"), i, file) puts(json_string_value(file));
	json_decref(r);
	return CTL_OK;
}

/* ---- memory ---- */

static int force_gc(struct ctl *c)
{
	ctl_say(c, "Will ask node %s to give memory that is free back to the system", c->node);
	return ctl_do(c, "force_gc", NULL);
}

#define CONFIGURATION "Configuration and Environment"

const struct ctl_verb verbs_tune[] = {
	{"set_disk_free_limit", CONFIGURATION, "<disk_limit> | mem_relative <fraction>",
		"Sets the disk_free_limit setting, until its app starts again", 1, 2, 0,
		set_disk_free_limit},
	{"set_log_level", CONFIGURATION, "<log_level>",
		"Sets the log level, until the node starts again", 1, 1, 0, set_log_level},
	{"set_vm_memory_high_watermark", CONFIGURATION, "<fraction> | absolute <value>",
		"Sets the vm_memory_high_watermark setting, until its app starts again", 1, 2, 0,
		set_vm_memory_high_watermark},
	{"log_location", CONFIGURATION, "", "Shows where the node's log goes", 0, 0, OPTION_ALL,
		log_location},
	{"rotate_logs", "Nodes", "", "Opens the log's file anew, if it is one", 0, 0, 0, rotate_logs},
	{"force_gc", "Operations", "", "Gives memory that is free back to the system", 0, 0, 0,
		force_gc},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

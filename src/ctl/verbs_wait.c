/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits for a node on this machine that somebody has just started, as long as its process is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/ctl/verb.h"

enum { WAIT_S = 10, PID_TEXT = 64 };

static double given_s(const struct ctl *c)
{
	return c->options.timeout_s > 0 || c->options.no_time ? c->options.timeout_s : WAIT_S;
}

static int timed_out(const struct ctl *c)
{
	return ctl_error(c, CTL_TIMEOUT, "operation wait on node %s timed out. Timeout value used: %g s",
		c->node, given_s(c));
}

/* What is no number of a process is 0. */
static pid_t pid_of(const char *text)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	while (*end == '\n' || *end == ' ')
		end++;
	return errno == 0 && *end == '\0' && n > 0 && n == (pid_t)n ? (pid_t)n : 0;
}

/* A file that is not there, or empty, may yet be written: false. Else *ret is a pid, or 0. */
static bool read_pid(const char *path, pid_t *ret)
{
	char text[PID_TEXT] = "";
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return false;
	bool any = fgets(text, sizeof text, f) != NULL;
	fclose(f);
	*ret = pid_of(text);
	return any;
}

static int wait_for_file(struct ctl *c, const char *path, double until, pid_t *ret)
{
	ctl_say(c, "Waiting for pid file '%s' to appear", path);
	for (; !read_pid(path, ret); ctl_nap())
		if (ctl_now_s() > until)
			return timed_out(c);
	if (*ret == 0)
		return ctl_error(c, CTL_UNAVAILABLE, "garbage_in_pid_file: %s", path);
	ctl_say(c, "pid is %d", (int)*ret);
	return CTL_OK;
}

enum state { SILENT, STARTING, READY, STOPPED };

static enum state ask(struct ctl *c)
{
	struct call call;
	if (ctl_poll(c, &call, "ping", NULL) != 0)
		return SILENT;
	const char *app = json_string_value(json_object_get(call.result, "app"));
	enum state state = json_is_true(json_object_get(call.result, "ready")) ? READY
			   : app != NULL && strcmp(app, "starting") == 0      ? STARTING
									      : STOPPED;
	json_decref(call.result);
	return state;
}

static int wait_for_node(struct ctl *c, pid_t pid, double until)
{
	enum state state = SILENT, before;
	ctl_say(c, "Waiting for node '%s' to answer while OS process '%d' is running", c->node, (int)pid);
	for (;; ctl_nap()) {
		if (!ctl_runs(pid))
			return ctl_error(c, CTL_UNAVAILABLE, "process_not_running");
		before = state;
		state = ask(c);
		if (state != SILENT && before == SILENT)
			ctl_say(c, "Waiting for application 'warren' to start on node '%s'", c->node);
		if (state == READY)
			break;
		if (state == STOPPED)
			return ctl_error(c, CTL_UNAVAILABLE, "warren_is_not_running");
		if (ctl_now_s() > until)
			return timed_out(c);
	}
	ctl_say(c, "Application 'warren' is running on node '%s'", c->node);
	return CTL_OK;
}

static int wait_(struct ctl *c)
{
	const char *path = ctl_arg(c, 0), *text = c->options.pid;
	double until = ctl_now_s() + given_s(c);
	pid_t pid = text != NULL ? pid_of(text) : 0;
	if (path == NULL && text == NULL)
		return ctl_misuse(c, "\"No pid or pidfile specified\"");
	if (path != NULL && text != NULL)
		return ctl_misuse(c, "\"Cannot specify both pid and pidfile\"");
	if (text != NULL && pid == 0)
		return ctl_misuse(c, "Invalid options for this command:\n--pid : %s", text);
	int status = path != NULL ? wait_for_file(c, path, until, &pid) : CTL_OK;
	return status == CTL_OK ? wait_for_node(c, pid, until) : status;
}

const struct ctl_verb verbs_wait[] = {
	{"wait", "Nodes", "[<pidfile>]",
		"Waits until the node serves clients, as long as its process runs (10 s)", 0, 1,
		OPTION_PID, wait_},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * The node, and the cluster it is in.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "src/base/mem.h"
#include "src/ctl/print.h"
#include "src/ctl/verb.h"

enum { POLL_MS = 100, REAL_DIGITS = 15, PING_S = 60 };
static const double WAIT_S = 300;

void ctl_nap(void)
{
	nanosleep(&(struct timespec){0, POLL_MS * 1000000L}, NULL);
}

/* Its parent has not asked how it has ended. */
static bool has_ended(pid_t pid)
{
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false; /* nothing is known */
	const char *name_end = fgets(line, sizeof line, f) != NULL ? strrchr(line, ')') : NULL;
	fclose(f);
	return name_end != NULL && (strncmp(name_end, ") Z", 3) == 0 || strncmp(name_end, ") X", 3) == 0);
}

bool ctl_runs(pid_t pid)
{
	return (kill(pid, 0) == 0 || errno == EPERM) && !has_ended(pid);
}

double ctl_now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double ctl_deadline_s(const struct ctl *c)
{
	bool given = c->options.timeout_s > 0 || c->options.no_time;
	return ctl_now_s() + (given ? c->options.timeout_s : WAIT_S);
}

int print_result_json(json_t *result)
{
	char *text = json_dumps(result, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS));
	puts(text);
	free(text);
	json_decref(result);
	return CTL_OK;
}

const struct ctl_unit *ctl_unit(const struct ctl *c)
{
	static const struct ctl_unit units[] = {{"gb", 1e9}, {"mb", 1e6}, {"bytes", 1}};
	const char *wanted = c->options.unit != NULL ? c->options.unit : units[0].name;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcasecmp(units[i].name, wanted) == 0)
			return &units[i];
	ctl_misuse(c, "unit '%s' is not supported. Please use one of: bytes, mb, gb", wanted);
	return NULL;
}

/* ---- ping, await ---- */

static int ping(struct ctl *c)
{
	struct call call;
	bool given = c->options.timeout_s > 0 || c->options.no_time;
	int ms = (int)((given ? c->options.timeout_s : PING_S) * 1000);
	ctl_say(c, "Will ping %s. This only checks that the process runs and can be asked. Timeout: %d ms.", c->node, ms);
	if (ctl_try(c, &call, "ping", NULL, PING_S) == 0) {
		json_decref(call.result);
		return ctl_found(c, CTL_OK, NULL, "Ping succeeded");
	}
	if (strcmp(call.error, "timeout") == 0)
		return ctl_error(c, CTL_UNAVAILABLE, "Failed to connect and authenticate to %s in %d ms", c->node, ms);
	return ctl_error(c, call_exit(&call), "%s", call.message);
}

/* What the node waits for while it starts: NULL, or a sentence that is to be freed. */
static char *waits_for(struct ctl *c)
{
	struct call call;
	const char *waits = NULL;
	if (ctl_poll(c, &call, "ping", NULL) != 0)
		return NULL;
	json_unpack(call.result, "{s?s}", "waits", &waits);
	char *ret = waits != NULL ? mem_strdup(waits) : NULL;
	json_decref(call.result);
	return ret;
}

static int start_timed_out(struct ctl *c)
{
	char *waits = waits_for(c);
	int status = ctl_error(c, CTL_TIMEOUT, "operation %s on node %s timed out%s%s", c->verb->name, c->node,
		waits != NULL ? ". " : "", waits != NULL ? waits : "");
	mem_free(waits);
	return status;
}

/* Sets `ret` if there is nothing to wait for any more. `begun`: the app was starting, and has failed if it is
 * stopped now. */
static bool startup_is_over(struct ctl *c, bool begun, int *ret)
{
	struct call call;
	const char *refused = NULL, *app = "";
	if (ctl_poll(c, &call, "ping", NULL) != 0)
		return false;
	json_unpack(call.result, "{s?ss?s}", "refused", &refused, "app", &app);
	bool ready = json_is_true(json_object_get(call.result, "ready"));
	bool stopped = begun && strcmp(app, "stopped") == 0;
	bool over = ready || refused != NULL || stopped;
	*ret = CTL_OK;
	if (over && !ready)
		*ret = ctl_error(c, CTL_UNAVAILABLE, "node %s: %s", c->node,
			refused != NULL ? refused : "its app was stopped before it had started");
	json_decref(call.result);
	return over;
}

static int await_start(struct ctl *c, bool begun, double until)
{
	int status;
	while (!startup_is_over(c, begun, &status)) {
		if (ctl_now_s() > until)
			return start_timed_out(c);
		ctl_nap();
	}
	return status == CTL_OK ? ctl_done(c) : status;
}

int ctl_await_start(struct ctl *c, double until)
{
	char *waits = waits_for(c);
	if (waits != NULL)
		ctl_say(c, "%s", waits);
	mem_free(waits);
	return await_start(c, true, until);
}

static int await_startup(struct ctl *c)
{
	return await_start(c, false, ctl_deadline_s(c));
}

/* ---- status ---- */

void print_alarms(const json_t *alarms)
{
	size_t i;
	json_t *a;
	printf("\nAlarms\n\n");
	if (json_array_size(alarms) == 0)
		puts("(none)");
	json_array_foreach((json_t *)alarms, i, a)
		printf("%s alarm on node %s\n",
			strcmp(json_string_value(json_object_get(a, "resource")), "disk") == 0
				? "Free disk space"
				: "Memory",
			json_string_value(json_object_get(a, "node")));
}

void print_listeners(const json_t *listeners, bool nodes)
{
	size_t i;
	json_t *l;
	json_array_foreach((json_t *)listeners, i, l)
	{
		const char *node = "", *host = "", *protocol = "", *purpose = "";
		int port = 0;
		json_unpack(l, "{s?ss?ss?ss?ss?i}", "node", &node, "interface", &host, "protocol",
			&protocol, "purpose", &purpose, "port", &port);
		if (nodes)
			printf("Node: %s, interface: ", node);
		else
			printf("Interface: ");
		printf("%s, port: %d, protocol: %s, purpose: %s\n", host, port, protocol, purpose);
	}
}

/* As RabbitMQ rounds: 0.05, 12.3457, 1.0. */
static void print_size(const json_t *bytes, const struct ctl_unit *unit)
{
	char text[64];
	double n = (double)json_integer_value(bytes) / unit->bytes;
	int at = snprintf(text, sizeof text, unit->bytes > 1 ? "%.4f" : "%.0f", n);
	while (strchr(text, '.') != NULL && text[at - 1] == '0' && text[at - 2] != '.')
		text[--at] = '\0';
	printf("%s %s", text, unit->name);
}

static void print_amount(const char *label, const json_t *bytes, const struct ctl_unit *unit)
{
	if (bytes == NULL)
		return;
	printf("%s: ", label);
	print_size(bytes, unit);
	puts("");
}

static void print_memory_and_disk(const json_t *r, const struct ctl_unit *unit)
{
	const json_t *limit = json_object_get(r, "vm_memory_high_watermark_limit");
	const json_t *setting = json_object_get(r, "vm_memory_high_watermark_setting");
	const json_t *share = json_object_get(setting, "relative");
	const json_t *total = json_object_get(json_object_get(r, "memory"), "total");
	puts("\nMemory\n");
	print_amount("Total memory used", json_object_get(total, "rss"), unit);
	puts("Calculation strategy: rss");
	if (limit == NULL)
		return; /* the app does not run */
	printf("Memory high watermark setting: ");
	if (share != NULL)
		printf("%g of available memory", json_number_value(share));
	else
		print_size(limit, unit);
	print_amount(", computed to", limit, unit);
	puts("\nFree Disk Space\n");
	print_amount("Low free disk space watermark", json_object_get(r, "disk_free_limit"), unit);
	print_amount("Free disk space", json_object_get(r, "disk_free"), unit);
}

static int status(struct ctl *c)
{
	const struct ctl_unit *unit = ctl_unit(c);
	if (unit == NULL)
		return CTL_USAGE;
	json_t *r;
	json_int_t pid = 0, uptime = 0, queues = 0, vhosts = 0;
	const char *version = "", *dir = "";
	int rc = ctl_call(c, "status", NULL, 60, &r);
	if (rc != CTL_OK)
		return rc;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(r);
	ctl_say(c, "Status of node %s ...", c->node);
	json_unpack(r, "{s?Is?Is?ss?ss?Is?I}", "pid", &pid, "uptime_s", &uptime, "version",
		&version, "data_dir", &dir, "queues", &queues, "vhosts", &vhosts);
	printf("Runtime\n\nOS PID: %lld\nOS: Linux\nUptime (seconds): %lld\n"
	       "Is under maintenance?: %s\nWarren version: %s\nNode name: %s\n",
		(long long)pid, (long long)uptime,
		json_is_true(json_object_get(r, "is_under_maintenance")) ? "true" : "false", version,
		c->node);
	printf("Is serving clients?: %s\n",
		json_is_true(json_object_get(r, "ready")) ? "true" : "false");
	printf("\nData directory\n\nNode data directory: %s\n", dir);
	printf("\nLog file(s)\n\n * %s\n",
		json_string_value(json_array_get(json_object_get(r, "log_files"), 0)));
	print_alarms(json_object_get(r, "alarms"));
	print_memory_and_disk(r, unit);
	printf("\nTotals\n\nQueue count: %lld\nVirtual host count: %lld\n", (long long)queues,
		(long long)vhosts);
	printf("\nListeners\n\n");
	print_listeners(json_object_get(r, "listeners"), false);
	json_decref(r);
	return CTL_OK;
}

/* ---- certificates ---- */

static int reload_certificates(struct ctl *c)
{
	ctl_say(c, "Node %s reads its certificates again ...", c->node);
	return ctl_do(c, "reload_certificates", NULL);
}

/* There is no Erlang here, but scripts that renew certificates know this one. */
static int eval(struct ctl *c)
{
	if (strcmp(ctl_arg(c, 0), "ssl:clear_pem_cache().") != 0)
		return ctl_misuse(c, "the only expression that is known here is ssl:clear_pem_cache().");
	int status = ctl_call(c, "reload_certificates", NULL, 60, NULL);
	if (status == CTL_OK)
		puts("ok");
	return status;
}

/* ---- listeners ---- */

static int suspend_listeners(struct ctl *c)
{
	ctl_say(c, "Will suspend client connection listeners on node %s. The node will no longer accept "
		   "client connections!",
		c->node);
	return ctl_do(c, "suspend_listeners", NULL);
}

static int resume_listeners(struct ctl *c)
{
	ctl_say(c, "Will resume client connection listeners on node %s. The node will now accept client "
		   "connections",
		c->node);
	return ctl_do(c, "resume_listeners", NULL);
}

/* ---- memory ---- */

static void print_memory(json_t *kinds, double unit, const char *name)
{
	const char *kind;
	json_t *of;
	json_object_foreach(kinds, kind, of)
	{
		double bytes = (double)json_integer_value(json_object_get(of, "bytes"));
		double percentage = json_real_value(json_object_get(of, "percentage"));
		if (unit > 1)
			printf("%s: %.4f %s (%.2f%%)\n", kind, bytes / unit, name, percentage);
		else
			printf("%s: %.0f %s (%.2f%%)\n", kind, bytes, name, percentage);
	}
}

static int memory_breakdown(struct ctl *c)
{
	json_t *r;
	const struct ctl_unit *unit = ctl_unit(c);
	if (unit == NULL)
		return CTL_USAGE;
	int status = ctl_call(c, "memory_breakdown", NULL, 60, &r);
	if (status != CTL_OK)
		return status;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(r);
	ctl_say(c, "Reporting memory breakdown on node %s...", c->node);
	print_memory(r, unit->bytes, unit->name);
	json_decref(r);
	return CTL_OK;
}

/* ---- all at once ---- */

/* Another verb with its output, behind an empty line. */
static int part(const struct ctl *c, const char *verb, const char *vhost, const char *columns)
{
	struct ctl of = *c;
	of.verb = verb_find(verb);
	of.options.vhost = vhost;
	of.options.args = &columns;
	of.options.n_args = columns != NULL ? 1 : 0;
	of.options.format = FORMAT_TABLE;
	puts("");
	return of.verb->run(&of);
}

static int part_of_vhost(const struct ctl *c, const char *vhost)
{
	static const char *const parts[][2] = {
		{"list_queues", "name,type,durable,policy,state,leader,members,online,synchronised_slave_pids,"
				"messages_ready,messages_unacknowledged,message_bytes,consumers,memory"},
		{"list_exchanges", "name,type,durable,auto_delete,internal,policy"},
		{"list_bindings", NULL},
		{"list_consumers", NULL},
		{"list_permissions", NULL},
		{"list_policies", NULL},
		{"list_operator_policies", NULL},
		{"list_vhost_limits", NULL},
	};
	int status = CTL_OK;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		int rc = part(c, parts[i][0], vhost, parts[i][1]);
		status = status == CTL_OK ? rc : status;
	}
	return status;
}

static int part_of_all_vhosts(struct ctl *c)
{
	json_t *vhosts, *v;
	size_t i;
	int status = ctl_call(c, "list_vhosts", NULL, 60, &vhosts);
	if (status != CTL_OK)
		return status;
	json_array_foreach(vhosts, i, v)
	{
		int rc = part_of_vhost(c, json_string_value(json_object_get(v, "name")));
		status = status == CTL_OK ? rc : status;
	}
	json_decref(vhosts);
	return status;
}

/* What is asked for when something is wrong: no secrets are in it. The first status that is none of success. */
static int report(struct ctl *c)
{
	static const char *const parts[][2] = {
		{"status", NULL},
		{"cluster_status", NULL},
		{"memory_breakdown", NULL},
		{"environment", NULL},
		{"list_users", NULL},
		{"list_vhosts", "name,description,tags,default_queue_type"},
		{"list_connections",
			"pid,node,name,user,vhost,state,channels,send_pend,recv_oct,send_oct,connected_at"},
		{"list_channels", "pid,user,vhost,consumer_count,messages_unacknowledged,messages_unconfirmed,"
				  "messages_uncommitted,prefetch_count,confirm,transactional"},
	};
	int status = CTL_OK;
	ctl_say(c, "Reporting server status of node %s ...", c->node);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		int rc = part(c, parts[i][0], NULL, parts[i][1]);
		status = status == CTL_OK ? rc : status;
	}
	int rc = part_of_all_vhosts(c);
	return status == CTL_OK ? rc : status;
}

/* ---- the end ---- */

static int await_end(struct ctl *c, pid_t pid, double until)
{
	for (; pid > 0 && ctl_runs(pid); ctl_nap())
		if (ctl_now_s() > until)
			return ctl_error(c, CTL_TIMEOUT, "process %d has not ended yet", (int)pid);
	return CTL_OK;
}

/* 0 and the number of the process that ends; else an exit status, after having told the error. */
static int ask_to_end(struct ctl *c, pid_t *ret)
{
	struct call call;
	if (ctl_try(c, &call, "stop", NULL, 60) == 0) {
		*ret = (pid_t)json_integer_value(json_object_get(call.result, "pid"));
		json_decref(call.result);
		return CTL_OK;
	}
	*ret = 0;
	if (c->options.idempotent && strcmp(call.error, "unreachable") == 0)
		return ctl_found(c, CTL_OK, NULL, "Node %s is no longer running", c->node);
	return ctl_error(c, call_exit(&call), "%s", call.message);
}

/* The number of a process of another machine says nothing here. */
static int only_here(struct ctl *c, const char *instead)
{
	struct call call;
	if (ctl_try(c, &call, "ping", NULL, 60) != 0)
		return CTL_OK; /* whoever asks it to stop hears why */
	json_decref(call.result);
	if (!call.elsewhere)
		return CTL_OK;
	return ctl_error(c, CTL_USAGE, "The end of a process can only be waited for on its machine, and node %s is elsewhere. %s",
		c->node, instead);
}

static int end_and_wait(struct ctl *c, double until, const char *instead)
{
	pid_t pid;
	int status = only_here(c, instead);
	if (status == CTL_OK)
		status = ask_to_end(c, &pid);
	return status == CTL_OK ? await_end(c, pid, until) : status;
}

/* With a file of the process's number RabbitMQ waits for its end; the node knows its number. */
static int stop(struct ctl *c)
{
	pid_t pid;
	ctl_say(c, "Stopping and halting node %s ...", c->node);
	if (ctl_arg(c, 0) == NULL)
		return ask_to_end(c, &pid);
	return end_and_wait(c, ctl_deadline_s(c), "Without a file it is stopped all the same.");
}

static int shutdown_node(struct ctl *c)
{
	pid_t pid;
	ctl_say(c, "Shutting down node %s ...", c->node);
	if (c->options.no_wait)
		return ask_to_end(c, &pid);
	return end_and_wait(c, ctl_deadline_s(c), "With --no-wait it is shut down all the same.");
}

const struct ctl_verb verbs_node[] = {
	{"await_startup", "Nodes", "", "Waits until the node serves clients", 0, 0, 0,
		await_startup},
	{"shutdown", "Nodes", "", "Stops the node and waits for the end of its process", 0, 0,
		OPTION_WAIT, shutdown_node},
	{"stop", "Nodes", "[<pidfile>]",
		"Stops the node; with a file of its pid, waits for the end of its process", 0, 1,
		OPTION_IDEMPOTENT, stop},
	{"reload_certificates", "Operations", "",
		"Reads the certificates and keys of TLS again, for new connections", 0, 0, 0,
		reload_certificates},
	{"resume_listeners", "Operations", "", "Lets new clients in again", 0, 0, 0, resume_listeners},
	{"suspend_listeners", "Operations", "",
		"Lets no new clients in; those that are connected stay", 0, 0, 0, suspend_listeners},
	{"memory_breakdown", "Monitoring, observability and health checks", "",
		"Where the node's memory is, as far as that is counted", 0, 0, OPTION_UNIT,
		memory_breakdown},
	{"report", "Monitoring, observability and health checks", "",
		"Everything that the node says of itself, the cluster and all virtual hosts", 0, 0, 0, report},
	{"eval", "Operations", "<expression>",
		"reload_certificates for scripts: the only expression is ssl:clear_pem_cache().", 1, 1, 0, eval},
	{"ping", "Monitoring, observability and health checks", "",
		"Checks that the node's process runs and can be asked", 0, 0, 0, ping},
	{"status", "Monitoring, observability and health checks", "", "Displays a node's status",
		0, 0, OPTION_UNIT, status},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

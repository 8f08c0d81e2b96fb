/* SPDX-License-Identifier: Apache-2.0
 *
 * Health checks and what is asked about a node: the verbs of rabbitmq-diagnostics.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/ctl/print.h"
#include "src/ctl/verb.h"

enum { CALL_S = 60, HEALTH_S = 70, CONNECT_S = 5, PORT_TEXT = 8 };

/* A node whose app is stopped answers, but its alarms and listeners are nothing that a check could call good. 0, or
 * an exit status after having told that. */
static int require_app(struct ctl *c)
{
	return ctl_call(c, "list_feature_flags", NULL, CALL_S, NULL);
}

/* ---- does it run ---- */

/* "running", "booting", "stopped"; NULL after an error, in *status. */
static const char *app_state(struct ctl *c, int *status)
{
	json_t *r;
	*status = ctl_call(c, "ping", NULL, CALL_S, &r);
	if (*status != CTL_OK)
		return NULL;
	const char *app = json_string_value(json_object_get(r, "app"));
	const char *known = app == NULL			       ? "stopped"
			    : strcmp(app, "running") == 0      ? "running"
			    : strcmp(app, "starting") == 0     ? "booting"
							       : "stopped";
	json_decref(r);
	return known;
}

#define RUNS "Warren on node %s is fully booted and running"
#define RUNS_NOT \
	"Warren on node %s is not running or has not fully booted yet (check with is_booting)"

static int check_running(struct ctl *c)
{
	int status;
	ctl_say(c, "Checking if Warren is running on node %s ...", c->node);
	const char *state = app_state(c, &status);
	if (state == NULL)
		return status;
	if (strcmp(state, "running") != 0)
		return ctl_error(c, CTL_UNAVAILABLE, RUNS_NOT, c->node);
	return ctl_found(c, CTL_OK, NULL, RUNS, c->node);
}

/* "message" is the line. */
static json_t *answer(bool result)
{
	return json_pack("{snsb}", "message", "result", result);
}

static int is_running(struct ctl *c)
{
	int status;
	ctl_say(c, "Asking node %s for its status ...", c->node);
	const char *state = app_state(c, &status);
	if (state == NULL)
		return status;
	if (strcmp(state, "running") == 0)
		return ctl_found(c, CTL_OK, answer(true), RUNS, c->node);
	return ctl_found(c, CTL_OK, answer(false), RUNS_NOT, c->node);
}

static int is_booting(struct ctl *c)
{
	int status;
	ctl_say(c, "Asking node %s for its boot status ...", c->node);
	const char *state = app_state(c, &status);
	if (state == NULL)
		return status;
	if (strcmp(state, "booting") == 0)
		return ctl_found(c, CTL_OK, answer(true), "Warren on node %s is booting", c->node);
	return ctl_found(c, CTL_OK, answer(false),
		"Warren on node %s is fully booted (check with is_running), stopped or has not started "
		"booting yet",
		c->node);
}

static int server_version(struct ctl *c)
{
	json_t *r;
	ctl_say(c, "Asking node %s for its Warren version...", c->node);
	int status = ctl_call(c, "status", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	const char *version = json_string_value(json_object_get(r, "version"));
	ctl_found(c, CTL_OK, json_pack("{ssss}", "result", "ok", "value", version), "%s", version);
	json_decref(r);
	return CTL_OK;
}

/* ---- alarms ---- */

/* This node's, and those of others. */
struct alarms {
	json_t *local, *global; /* as RabbitMQ writes them */
};

static void alarms_free(struct alarms *a)
{
	json_decref(a->local);
	json_decref(a->global);
}

static json_t *alarm_line(const json_t *alarm)
{
	const char *resource = json_string_value(json_object_get(alarm, "resource"));
	return json_sprintf("%s alarm on node %s",
		strcmp(resource, "disk") == 0 ? "Free disk space" : "Memory",
		json_string_value(json_object_get(alarm, "node")));
}

/* The name in c->node, which may end with a port. */
static bool is_own(const struct ctl *c, const char *name)
{
	size_t n = strlen(name);
	return strncmp(c->node, name, n) == 0 && (c->node[n] == '\0' || c->node[n] == ':');
}

/* Those that are known on the node, or of all nodes. An exit status; alarms_free() if that is CTL_OK. */
static int alarms_ask(struct ctl *c, bool local, struct alarms *ret)
{
	json_t *r, *a;
	size_t i;
	int status = require_app(c);
	if (status == CTL_OK)
		status = ctl_call(c, local ? "status" : "cluster_status", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	*ret = (struct alarms){json_array(), json_array()};
	json_array_foreach(json_object_get(r, "alarms"), i, a)
	{
		bool own = is_own(c, json_string_value(json_object_get(a, "node")));
		if (own || !local)
			json_array_append_new(own ? ret->local : ret->global, alarm_line(a));
	}
	json_decref(r);
	return CTL_OK;
}

static bool alarms_none(const struct alarms *a)
{
	return json_array_size(a->local) + json_array_size(a->global) == 0;
}

static void print_lines(FILE *to, const json_t *lines)
{
	size_t i;
	json_t *line;
	json_array_foreach((json_t *)lines, i, line) fprintf(to, "%s\n", json_string_value(line));
}

static json_t *found_ok(void)
{
	return json_pack("{ss}", "result", "ok");
}

#define NO_ALARMS "Node %s reported no alarms, local or clusterwide"

static json_t *alarms_json(const struct alarms *a, const char *result)
{
	return json_pack("{sOsOsnss}", "global", a->global, "local", a->local, "message", "result", result);
}

static int alarms(struct ctl *c)
{
	struct alarms a;
	ctl_say(c, "Asking node %s to report any known resource alarms ...", c->node);
	int status = alarms_ask(c, false, &a);
	if (status != CTL_OK)
		return status;
	if (alarms_none(&a)) {
		ctl_found(c, CTL_OK,
			json_pack("{s[]ssss}", "alarms", "node", c->node, "result", "ok"), NO_ALARMS,
			c->node);
	} else if (c->options.format == FORMAT_JSON) {
		ctl_found(c, CTL_OK, alarms_json(&a, "ok"), "Node %s reported alarms", c->node);
	} else {
		print_lines(stdout, a.local);
		print_lines(stdout, a.global);
	}
	alarms_free(&a);
	return CTL_OK;
}

/* RabbitMQ says nothing at all with --silent. */
static void tell_none(const struct ctl *c, bool local)
{
	if (c->options.silent)
		return;
	ctl_found(c, CTL_OK, found_ok(), local ? "Node %s reported no local alarms" : NO_ALARMS,
		c->node);
}

static void tell_some(const struct ctl *c, bool local, const struct alarms *a)
{
	if (c->options.format == FORMAT_JSON) {
		json_t *json = alarms_json(a, "error");
		if (local)
			json_object_del(json, "global");
		ctl_found(c, CTL_UNAVAILABLE, json, "Node %s reported %salarms", c->node,
			local ? "local " : "");
	} else if (!c->options.silent) {
		fflush(stdout);
		fputs(local ? "Error:\n" : "", stderr);
		print_lines(stderr, a->local);
		print_lines(stderr, a->global);
	}
}

static int check(struct ctl *c, bool local)
{
	struct alarms a;
	ctl_say(c, "Asking node %s to report any local resource alarms ...", c->node);
	int status = alarms_ask(c, local, &a);
	if (status != CTL_OK)
		return status;
	if (alarms_none(&a)) {
		tell_none(c, local);
	} else {
		tell_some(c, local, &a);
		status = CTL_UNAVAILABLE;
	}
	alarms_free(&a);
	return status;
}

static int check_alarms(struct ctl *c)
{
	return check(c, false);
}

static int check_local_alarms(struct ctl *c)
{
	return check(c, true);
}

/* ---- listeners ---- */

static json_t *listeners_of(struct ctl *c, int *status)
{
	json_t *r;
	*status = require_app(c);
	if (*status == CTL_OK)
		*status = ctl_call(c, "status", NULL, CALL_S, &r);
	if (*status != CTL_OK)
		return NULL;
	json_t *listeners = json_incref(json_object_get(r, "listeners"));
	json_decref(r);
	return listeners;
}

static int listeners(struct ctl *c)
{
	int status;
	ctl_say(c, "Asking node %s to report its protocol listeners ...", c->node);
	json_t *all = listeners_of(c, &status);
	if (all == NULL)
		return status;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(json_pack(
			"{sossss}", "listeners", all, "node", c->node, "result", "ok"));
	print_listeners(all, false);
	json_decref(all);
	return CTL_OK;
}

/* "5672, 25672", or the protocols; of all listeners. */
static char *join(json_t *all, const char *key)
{
	struct buf b = BUF_EMPTY;
	size_t i;
	json_t *l;
	json_array_foreach(all, i, l)
	{
		char *text = print_value(json_object_get(l, key));
		if (i > 0)
			buf_put_bytes(&b, ", ", 2);
		buf_put_slice(&b, slice_str(text));
		mem_free(text);
	}
	buf_put_u8(&b, '\0');
	return (char *)b.p;
}

/* The same as an array. */
static json_t *values(json_t *all, const char *key)
{
	json_t *list = json_array(), *l;
	size_t i;
	json_array_foreach(all, i, l) json_array_append(list, json_object_get(l, key));
	return list;
}

/* One of the listeners has the value. */
static bool has(json_t *all, const char *key, const char *value)
{
	size_t i;
	json_t *l;
	bool found = false;
	json_array_foreach(all, i, l)
	{
		char *text = print_value(json_object_get(l, key));
		found |= strcmp(text, value) == 0;
		mem_free(text);
	}
	return found;
}

static int check_port_listener(struct ctl *c)
{
	int status;
	const char *port = ctl_arg(c, 0);
	if (port[0] == '\0' || port[strspn(port, "0123456789")] != '\0')
		return ctl_bad_argument(c, "Argument must be a positive integer");
	ctl_say(c, "Asking node %s if there's an active listener on port %s ...", c->node, port);
	json_t *all = listeners_of(c, &status);
	if (all == NULL)
		return status;
	char *ports = join(all, "port");
	if (has(all, "port", port))
		status = ctl_found(c, CTL_OK,
			json_pack("{ssssss}", "node", c->node, "port", port, "result", "ok"),
			"A listener for port %s is running on node %s.", port, c->node);
	else
		status = ctl_found(c, CTL_UNAVAILABLE,
			json_pack("{sOsssoss}", "listeners", all, "missing", port, "ports",
				values(all, "port"), "result", "error"),
			"No listener for port %s is active on node %s. Found listeners that use the "
			"following ports: %s",
			port, c->node, ports);
	mem_free(ports);
	json_decref(all);
	return status;
}

static int check_protocol_listener(struct ctl *c)
{
	int status;
	const char *protocol = ctl_arg(c, 0);
	ctl_say(c, "Asking node %s if there's an active listener for protocol %s ...", c->node,
		protocol);
	json_t *all = listeners_of(c, &status);
	if (all == NULL)
		return status;
	char *protocols = join(all, "protocol");
	if (has(all, "protocol", protocol))
		status = ctl_found(c, CTL_OK,
			json_pack("{ssssss}", "node", c->node, "protocol", protocol, "result", "ok"),
			"A listener for protocol %s is running on node %s.", protocol, c->node);
	else
		status = ctl_found(c, CTL_UNAVAILABLE,
			json_pack("{sOsssoss}", "listeners", all, "missing", protocol, "protocols",
				values(all, "protocol"), "result", "error"),
			"Error:\nNo listener for protocol %s is active on node %s. Found listeners for "
			"the following protocols: %s",
			protocol, c->node, protocols);
	mem_free(protocols);
	json_decref(all);
	return status;
}

static bool connects(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *a;
	struct timeval patience = {CONNECT_S, 0};
	bool done = false;
	if (getaddrinfo(host, port, &hints, &all) != 0)
		return false;
	for (a = all; a != NULL && !done; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		done = connect(fd, a->ai_addr, a->ai_addrlen) == 0;
		close(fd);
	}
	freeaddrinfo(all);
	return done;
}

/* At the listener's address, or if that is all of them, at the host in the node's name. */
static bool listener_connects(const struct ctl *c, json_t *l)
{
	const char *host = json_string_value(json_object_get(l, "interface"));
	const char *at = strchr(c->node, '@');
	char port[PORT_TEXT], name[256], bare[256];
	snprintf(port, sizeof port, "%d", (int)json_integer_value(json_object_get(l, "port")));
	snprintf(name, sizeof name, "%s", at != NULL ? at + 1 : c->node);
	name[strcspn(name, ":")] = '\0';
	if (host == NULL || strcmp(host, "[::]") == 0 || strcmp(host, "0.0.0.0") == 0)
		return connects(name, port);
	snprintf(bare, sizeof bare, "%s", host[0] == '[' ? host + 1 : host);
	bare[strcspn(bare, "]")] = '\0';
	return connects(bare, port);
}

static int check_port_connectivity(struct ctl *c)
{
	int status;
	size_t i;
	ctl_say(c, "Testing TCP connections to all active listeners on node %s ...", c->node);
	json_t *all = listeners_of(c, &status), *l, *bad = json_array();
	if (all == NULL) {
		json_decref(bad);
		return status;
	}
	json_array_foreach(all, i, l) if (!listener_connects(c, l)) json_array_append(bad, l);
	bool good = json_array_size(bad) == 0;
	char *ports = join(good ? all : bad, "port");
	if (good)
		status = ctl_found(c, CTL_OK,
			json_pack("{sOssss}", "listeners", all, "node", c->node, "result", "ok"),
			"Successfully connected to ports %s on node %s.", ports, c->node);
	else
		status = ctl_found(c, CTL_UNAVAILABLE,
			json_pack("{sOssss}", "failures", bad, "node", c->node, "result", "error"),
			"Error:\nConnection failures on node %s: ports %s", c->node, ports);
	mem_free(ports);
	json_decref(all);
	json_decref(bad);
	return status;
}

/* ---- deprecated ---- */

/* Every worker of every node that runs is asked for what it has, in one virtual host after the other. */
static int ask_everybody(struct ctl *c)
{
	json_t *vhosts, *v;
	size_t i;
	int status = ctl_call(c, "list_channels", NULL, HEALTH_S, NULL);
	if (status == CTL_OK)
		status = ctl_call(c, "list_vhosts", NULL, HEALTH_S, &vhosts);
	if (status != CTL_OK)
		return status;
	json_array_foreach(vhosts, i, v)
	{
		if (status == CTL_OK)
			status = ctl_call(c, "list_queues",
				json_pack("{sO}", "vhost", json_object_get(v, "name")), HEALTH_S, NULL);
	}
	json_decref(vhosts);
	return status;
}

/* "{resource_limit,memory,warren@host}", of all. */
static char *alarm_terms(const json_t *alarms)
{
	struct buf b = BUF_EMPTY;
	size_t i;
	json_t *a;
	json_array_foreach((json_t *)alarms, i, a)
	{
		char *text = mem_printf("%s{resource_limit,%s,%s}", i > 0 ? "," : "",
			json_string_value(json_object_get(a, "resource")),
			json_string_value(json_object_get(a, "node")));
		buf_put_slice(&b, slice_str(text));
		mem_free(text);
	}
	buf_put_u8(&b, '\0');
	return (char *)b.p;
}

/* 0, or an exit status after having told that the node is in a minority, or anything else. */
static int require_majority(struct ctl *c)
{
	json_t *r;
	int status = ctl_call(c, "critical_queues", json_pack("{ss}", "type", "all"), HEALTH_S, &r);
	if (status != CTL_OK)
		return status;
	if (json_is_true(json_object_get(r, "minority")))
		status = ctl_error(c, CTL_SOFTWARE,
			"Error: health check failed. Message: the node does not reach a majority of the cluster's disk nodes");
	json_decref(r);
	return status;
}

static int node_health_check(struct ctl *c)
{
	json_t *r;
	ctl_say(c,
		"This command is DEPRECATED.\n"
		"It performs intrusive, opinionated health checks and requires a fully booted node.\n"
		"Use check_running, check_local_alarms and the other checks instead\n"
		"Timeout: %d seconds ...\nChecking health of node %s ...",
		c->options.timeout_s > 0 ? (int)c->options.timeout_s : HEALTH_S, c->node);
	int status = ask_everybody(c);
	if (status == CTL_OK)
		status = require_majority(c);
	if (status == CTL_OK)
		status = ctl_call(c, "cluster_status", NULL, HEALTH_S, &r);
	if (status != CTL_OK)
		return status;
	char *terms = alarm_terms(json_object_get(r, "alarms"));
	json_decref(r);
	status = terms[0] == '\0'
			 ? ctl_found(c, CTL_OK, NULL, "Health check passed")
			 : ctl_error(c, CTL_SOFTWARE,
				   "Error: health check failed. Message: resource alarm(s) in effect:[%s]",
				   terms);
	mem_free(terms);
	return status;
}

/* ---- virtual hosts, the configuration, feature flags ---- */

static int check_virtual_hosts(struct ctl *c)
{
	ctl_say(c, "Checking if all vhosts are running on node %s ...", c->node);
	int status = ctl_call(c, "list_vhosts", NULL, CALL_S, NULL);
	if (status == CTL_OK && !c->options.silent)
		ctl_found(c, CTL_OK, found_ok(), "Node %s reported all vhosts as running", c->node);
	return status;
}

static int environment(struct ctl *c)
{
	json_t *r, *app, *value;
	const char *name, *key, *end = "";
	int status = ctl_call(c, "environment", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(r);
	ctl_say(c, "Application environment of node %s ...", c->node);
	json_object_foreach(r, name, app)
	{
		printf("[{%s,\n     [", name);
		json_object_foreach(app, key, value)
		{
			printf("%s{\"%s\",\"%s\"}", end, key, json_string_value(value));
			end = ",\n      ";
		}
		puts("]}]");
	}
	json_decref(r);
	return CTL_OK;
}

static int enable_feature_flag(struct ctl *c)
{
	struct call call;
	if (ctl_arg(c, 0)[0] == '\0')
		return ctl_bad_argument(c, "feature flag (or group) name cannot be an empty string");
	if (strcmp(ctl_arg(c, 0), "all") == 0)
		ctl_say(c, "Enabling all feature flags ...");
	else
		ctl_say(c, "Enabling feature flag \"%s\" ...", ctl_arg(c, 0));
	if (ctl_try(c, &call, "enable_feature_flag", json_pack("{ss}", "name", ctl_arg(c, 0)),
		    CALL_S) != 0)
		return ctl_error(c,
			strcmp(call.error, "bad_request") == 0 ? CTL_USAGE : call_exit(&call), "%s",
			call.message);
	json_decref(call.result);
	return ctl_done(c);
}

#define CHECKS "Monitoring, observability and health checks"

const struct ctl_verb verbs_health[] = {
	{"alarms", CHECKS, "", "Lists resource alarms of all nodes", 0, 0, 0, alarms},
	{"check_alarms", CHECKS, "", "Fails if a node of the cluster has an alarm", 0, 0, 0,
		check_alarms},
	{"check_local_alarms", CHECKS, "", "Fails if the node has an alarm", 0, 0, 0,
		check_local_alarms},
	{"check_port_connectivity", CHECKS, "", "Fails if a listener cannot be connected to", 0, 0, 0,
		check_port_connectivity},
	{"check_port_listener", CHECKS, "<port>", "Fails if nothing listens on the port", 1, 1, 0,
		check_port_listener},
	{"check_protocol_listener", CHECKS, "<protocol>", "Fails if no listener has the protocol", 1,
		1, 0, check_protocol_listener},
	{"check_running", CHECKS, "", "Fails if the node does not serve clients", 0, 0, 0,
		check_running},
	{"check_virtual_hosts", CHECKS, "", "Fails if a virtual host is not available", 0, 0, 0,
		check_virtual_hosts},
	{"node_health_check", "Deprecated", "",
		"Fails if the node does not answer all questions or is in a minority, or a node has an alarm", 0, 0, 0,
		node_health_check},
	{"is_booting", CHECKS, "", "Says whether the app is starting", 0, 0, 0, is_booting},
	{"is_running", CHECKS, "", "Says whether the node serves clients", 0, 0, 0, is_running},
	{"listeners", CHECKS, "", "Lists the node's listeners", 0, 0, 0, listeners},
	{"server_version", CHECKS, "", "Displays the node's version", 0, 0, 0, server_version},
	{"environment", "Configuration and Environment", "", "Displays the node's configuration", 0, 0,
		0, environment},
	{"enable_feature_flag", "Feature flags", "<flag | all>",
		"Succeeds if there is such a flag: all are enabled", 1, 1, 0, enable_feature_flag},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

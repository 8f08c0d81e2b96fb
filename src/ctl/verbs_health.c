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

enum { CALL_S = 60, CONNECT_S = 5, PORT_TEXT = 8 };

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

static int tell_running(struct ctl *c)
{
	int status;
	const char *state = app_state(c, &status);
	if (state == NULL)
		return status;
	bool runs = strcmp(state, "running") == 0;
	printf(runs ? "Warren on node %s is fully booted and running\n"
		    : "Warren on node %s is not running or has not fully booted yet (check with "
		      "is_booting)\n",
		c->node);
	return runs ? CTL_OK : CTL_UNAVAILABLE;
}

static int check_running(struct ctl *c)
{
	ctl_say(c, "Checking if Warren is running on node %s ...", c->node);
	return tell_running(c);
}

static int is_running(struct ctl *c)
{
	ctl_say(c, "Asking node %s for its status ...", c->node);
	int status = tell_running(c);
	return status == CTL_UNAVAILABLE ? CTL_OK : status;
}

static int is_booting(struct ctl *c)
{
	int status;
	ctl_say(c, "Asking node %s for its boot status ...", c->node);
	const char *state = app_state(c, &status);
	if (state == NULL)
		return status;
	printf(strcmp(state, "booting") == 0
			? "Warren on node %s is booting\n"
			: "Warren on node %s is fully booted (check with is_running), stopped or has "
			  "not started booting yet\n",
		c->node);
	return CTL_OK;
}

static int server_version(struct ctl *c)
{
	json_t *r;
	ctl_say(c, "Asking node %s for its Warren version...", c->node);
	int status = ctl_call(c, "status", NULL, CALL_S, &r);
	if (status != CTL_OK)
		return status;
	puts(json_string_value(json_object_get(r, "version")));
	json_decref(r);
	return CTL_OK;
}

/* ---- alarms ---- */

/* What status lists are also those of other nodes, which hold this one's publishers, too. */
static json_t *alarms_on(const json_t *alarms, json_t *node)
{
	json_t *own = json_array();
	for (size_t i = 0; i < json_array_size(alarms); i++)
		if (json_equal(json_object_get(json_array_get(alarms, i), "node"), node))
			json_array_append(own, json_array_get(alarms, i));
	return own;
}

/* Those of this node, or of all; NULL after an error. */
static json_t *alarms_of(struct ctl *c, bool local, int *status)
{
	json_t *r;
	*status = ctl_call(c, local ? "status" : "cluster_status", NULL, CALL_S, &r);
	if (*status != CTL_OK)
		return NULL;
	json_t *alarms = json_object_get(r, "alarms");
	alarms = local ? alarms_on(alarms, json_object_get(r, "node")) : json_incref(alarms);
	json_decref(r);
	return alarms;
}

static int tell_alarms(struct ctl *c, bool local, int bad)
{
	int status;
	size_t i;
	json_t *alarms = alarms_of(c, local, &status), *a;
	if (alarms == NULL)
		return status;
	if (json_array_size(alarms) == 0)
		ctl_say(c, local ? "Node %s reported no local alarms"
				 : "Node %s reported no alarms, local or clusterwide", c->node);
	else
		printf("Node %s reported alarms:\n\n", c->node);
	json_array_foreach(alarms, i, a)
		printf("%s alarm on node %s\n",
			strcmp(json_string_value(json_object_get(a, "resource")), "disk") == 0
				? "Free disk space"
				: "Memory",
			json_string_value(json_object_get(a, "node")));
	status = json_array_size(alarms) == 0 ? CTL_OK : bad;
	json_decref(alarms);
	return status;
}

static int alarms(struct ctl *c)
{
	ctl_say(c, "Asking node %s to report any known resource alarms ...", c->node);
	return tell_alarms(c, false, CTL_OK);
}

static int check_alarms(struct ctl *c)
{
	ctl_say(c, "Asking node %s to report any local resource alarms ...", c->node);
	return tell_alarms(c, false, CTL_UNAVAILABLE);
}

static int check_local_alarms(struct ctl *c)
{
	ctl_say(c, "Asking node %s to report any local resource alarms ...", c->node);
	return tell_alarms(c, true, CTL_UNAVAILABLE);
}

/* ---- listeners ---- */

static json_t *listeners_of(struct ctl *c, int *status)
{
	json_t *r;
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
	size_t i;
	ctl_say(c, "Asking node %s to report its protocol listeners ...", c->node);
	json_t *all = listeners_of(c, &status), *l;
	if (all == NULL)
		return status;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(json_pack(
			"{sosssss}", "listeners", all, "node", c->node, "result", "ok"));
	json_array_foreach(all, i, l)
	{
		const char *host = "", *protocol = "", *purpose = "";
		int port = 0;
		json_unpack(l, "{s?ss?ss?ss?i}", "interface", &host, "protocol", &protocol,
			"purpose", &purpose, "port", &port);
		printf("Interface: %s, port: %d, protocol: %s, purpose: %s\n", host, port, protocol,
			purpose);
	}
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
	ctl_say(c, "Asking node %s if there's an active listener on port %s ...", c->node, port);
	json_t *all = listeners_of(c, &status);
	if (all == NULL)
		return status;
	char *ports = join(all, "port");
	bool found = has(all, "port", port);
	if (found)
		ctl_say(c, "A listener for port %s is running on node %s.", port, c->node);
	else
		printf("No listener for port %s is active on node %s. Found listeners that use the "
		       "following ports: %s\n",
			port, c->node, ports);
	mem_free(ports);
	json_decref(all);
	return found ? CTL_OK : CTL_UNAVAILABLE;
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
	bool found = has(all, "protocol", protocol);
	if (found)
		ctl_say(c, "A listener for protocol %s is running on node %s.", protocol, c->node);
	else
		ctl_error(c, 0,
			"No listener for protocol %s is active on node %s. Found listeners for the "
			"following protocols: %s",
			protocol, c->node, protocols);
	mem_free(protocols);
	json_decref(all);
	return found ? CTL_OK : CTL_UNAVAILABLE;
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
		ctl_say(c, "Successfully connected to ports %s on node %s.", ports, c->node);
	else
		ctl_error(c, 0, "Connection failures on node %s: ports %s", c->node, ports);
	mem_free(ports);
	json_decref(all);
	json_decref(bad);
	return good ? CTL_OK : CTL_UNAVAILABLE;
}

/* ---- virtual hosts, the configuration, feature flags ---- */

static int check_virtual_hosts(struct ctl *c)
{
	ctl_say(c, "Checking if all vhosts are running on node %s ...", c->node);
	int status = ctl_do(c, "list_vhosts", NULL);
	if (status == CTL_OK)
		ctl_say(c, "Node %s reported all vhosts as running", c->node);
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

static int list_feature_flags(struct ctl *c)
{
	static const char *const columns[] = {"name", "state"};
	ctl_say(c, "Listing feature flags ...");
	return ctl_list(c, "list_feature_flags", NULL, columns, 2);
}

static int enable_feature_flag(struct ctl *c)
{
	struct call call;
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
	return CTL_OK;
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
	{"is_booting", CHECKS, "", "Says whether the app is starting", 0, 0, 0, is_booting},
	{"is_running", CHECKS, "", "Says whether the node serves clients", 0, 0, 0, is_running},
	{"listeners", CHECKS, "", "Lists the node's listeners", 0, 0, 0, listeners},
	{"server_version", CHECKS, "", "Displays the node's version", 0, 0, 0, server_version},
	{"environment", "Configuration and Environment", "", "Displays the node's configuration", 0, 0,
		0, environment},
	{"enable_feature_flag", "Feature flags", "<flag | all>",
		"Succeeds if there is such a flag: all are enabled", 1, 1, 0, enable_feature_flag},
	{"list_feature_flags", "Feature flags", "", "Lists feature flags", 0, 0, OPTION_HEADERS,
		list_feature_flags},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * The node within its cluster: the app down and up, joining, leaving, who is in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/ctl/verb.h"

enum { CHANGE_S = 120, AWAY_MAX = 1024 };

/* ---- the app ---- */

static int start_app(struct ctl *c)
{
	struct call call;
	double until = ctl_deadline_s(c);
	ctl_say(c, "Starting node %s ...", c->node);
	/* What takes longer is waited for, with a word about what for; also what somebody else has begun, if only the
	 * process itself. */
	int rc = c->options.no_time ? ctl_try(c, &call, "start_app", NULL, 0) : ctl_poll(c, &call, "start_app", NULL);
	if (rc == 0) {
		json_decref(call.result);
		return ctl_done(c);
	}
	bool begun = strcmp(call.error, "timeout") == 0 || strcmp(call.error, "starting") == 0;
	return begun ? ctl_await_start(c, until) : ctl_error(c, call_exit(&call), "%s", call.message);
}

static int stop_app(struct ctl *c)
{
	ctl_say(c, "Stopping warren application on node %s ...", c->node);
	return ctl_do(c, "stop_app", NULL);
}

/* ---- membership ---- */

/* The first argument is the node itself, maybe with a port. */
static bool names_itself(const struct ctl *c)
{
	const char *name = ctl_arg(c, 0);
	size_t n = strcspn(c->node, ":");
	return name != NULL && strcspn(name, ":") == n && memcmp(name, c->node, n) == 0;
}

/* RabbitMQ has another status for a node that is to join itself, and for one that cannot forget others now. */
static int change_status(const struct ctl *c, const struct call *call)
{
	if (strcmp(call->error, "refused") == 0 && names_itself(c) &&
		strcmp(c->verb->name, "forget_cluster_node") != 0)
		return CTL_SOFTWARE;
	return strcmp(call->error, "not_ready") == 0 ? CTL_UNAVAILABLE : call_exit(call);
}

/* What was said instead of having been done is printed, too. */
static int change(struct ctl *c, const char *verb, json_t *args)
{
	struct call call;
	if (ctl_try(c, &call, verb, args, CHANGE_S) != 0)
		return ctl_error(c, change_status(c, &call), "%s%s", call.message,
			strcmp(call.error, "not_ready") == 0
				? " While it is stopped, --offline removes a node that will not come back."
				: "");
	if (json_is_string(call.result))
		ctl_found(c, CTL_OK, NULL, "%s", json_string_value(call.result));
	else
		ctl_done(c);
	json_decref(call.result);
	return CTL_OK;
}

static int join_cluster(struct ctl *c)
{
	const char *type = c->options.node_type != NULL ? c->options.node_type : "disc";
	if (c->options.two_types)
		return ctl_bad_argument(c, "The node type must be either disc or ram.");
	ctl_say(c, "Clustering node %s with %s", c->node, ctl_arg(c, 0));
	return change(c, "join_cluster", json_pack("{ssss}", "node", ctl_arg(c, 0), "type", type));
}

static int change_cluster_node_type(struct ctl *c)
{
	const char *type = ctl_arg(c, 0);
	if (strcmp(type, "disc") != 0 && strcmp(type, "disk") != 0 && strcmp(type, "ram") != 0)
		return ctl_bad_argument(c, "The node type must be either disc or ram.");
	ctl_say(c, "Turning %s into a %s node", c->node, type);
	return change(c, "change_cluster_node_type", json_pack("{ss}", "type", type));
}

static int reset(struct ctl *c)
{
	ctl_say(c, "Resetting node %s ...", c->node);
	return change(c, "reset", NULL);
}

static int force_reset(struct ctl *c)
{
	ctl_say(c, "Forcefully resetting node %s ...", c->node);
	return change(c, "force_reset", NULL);
}

static int forget_cluster_node(struct ctl *c)
{
	const char *verb = c->options.offline ? "forget_offline" : "forget_cluster_node";
	ctl_say(c, "Removing node %s from the cluster%s", ctl_arg(c, 0),
		c->options.offline ? ". Warning: what only it had is lost" : "");
	return change(c, verb,
		json_pack("{sssb}", "node", ctl_arg(c, 0), "force", c->options.force));
}

static int force_boot(struct ctl *c)
{
	ctl_say(c, "Forcing node %s to start without the others", c->node);
	return change(c, "force_boot", json_pack("{sb}", "force", c->options.force));
}

static int update_cluster_nodes(struct ctl *c)
{
	ctl_say(c, "Will seed %s from %s on next start", c->node, ctl_arg(c, 0));
	return change(c, "update_cluster_nodes", json_pack("{ss}", "node", ctl_arg(c, 0)));
}

/* A name is a label, which the node brings along when it starts. */
static int rename_cluster_node(struct ctl *c)
{
	if (c->options.n_args % 2 != 0)
		return ctl_bad_argument(c, "Argument list should contain even number of nodes");
	ctl_say(c, "Renaming cluster nodes: ");
	for (unsigned i = 0; i < c->options.n_args; i += 2)
		ctl_say(c, " %s -> %s ", ctl_arg(c, i), ctl_arg(c, i + 1));
	ctl_say(c, "There is nothing to be done before: start each node by its new name (-n), and the "
		   "cluster takes it over.");
	return ctl_done(c);
}

/* ---- who is in it ---- */

/* Nothing if there are none. */
static void print_lines(const char *title, const json_t *nodes)
{
	size_t i;
	json_t *n;
	if (json_array_size(nodes) == 0)
		return;
	printf("\n%s\n\n", title);
	json_array_foreach((json_t *)nodes, i, n) puts(json_string_value(n));
}

static void print_maintenance(json_t *statuses)
{
	const char *node;
	json_t *status;
	printf("\nMaintenance status\n\n");
	if (json_object_size(statuses) == 0)
		puts("(none)");
	json_object_foreach(statuses, node, status)
		printf("Node: %s, status: %s\n", node, json_string_value(status));
}

static void print_versions(json_t *versions)
{
	const char *node;
	json_t *version;
	printf("\nVersions\n\n");
	json_object_foreach(versions, node, version)
		printf("%s: Warren %s\n", node,
			json_string_value(json_object_get(version, "rabbitmq_version")));
}

static void print_partitions(json_t *by_node)
{
	const char *node, *sign;
	json_t *others, *other;
	size_t i;
	printf("\nNetwork Partitions\n\n");
	if (json_object_size(by_node) == 0)
		puts("(none)");
	json_object_foreach(by_node, node, others)
	{
		printf("Node %s cannot communicate with ", node);
		sign = "";
		json_array_foreach(others, i, other)
		{
			printf("%s%s", sign, json_string_value(other));
			sign = ", ";
		}
		puts("");
	}
}

static void print_all_listeners(json_t *by_node)
{
	const char *node;
	json_t *listeners;
	printf("\nListeners\n\n");
	json_object_foreach(by_node, node, listeners) print_listeners(listeners, true);
}

static void print_flags(const json_t *flags)
{
	size_t i;
	json_t *f;
	printf("\nFeature flags\n\n");
	json_array_foreach((json_t *)flags, i, f)
		printf("Flag: %s, state: %s\n", json_string_value(json_object_get(f, "name")),
			json_string_value(json_object_get(f, "state")));
}

static int cluster_status(struct ctl *c)
{
	json_t *r;
	int rc = ctl_call(c, "cluster_status", NULL, 60, &r);
	if (rc != CTL_OK)
		return rc;
	if (c->options.format == FORMAT_JSON)
		return print_result_json(r);
	ctl_say(c, "Cluster status of node %s ...", c->node);
	printf("Basics\n\nCluster name: %s\n",
		json_string_value(json_object_get(r, "cluster_name")));
	print_lines("Disk Nodes", json_object_get(r, "disk_nodes"));
	print_lines("RAM Nodes", json_object_get(r, "ram_nodes"));
	print_lines("Running Nodes", json_object_get(r, "running_nodes"));
	print_versions(json_object_get(r, "versions"));
	print_maintenance(json_object_get(r, "maintenance_status"));
	print_alarms(json_object_get(r, "alarms"));
	print_partitions(json_object_get(r, "partitions"));
	print_lines("Warnings", json_object_get(r, "warnings"));
	print_all_listeners(json_object_get(r, "listeners"));
	print_flags(json_object_get(r, "feature_flags"));
	json_decref(r);
	return CTL_OK;
}

static int set_cluster_name(struct ctl *c)
{
	ctl_say(c, "Setting cluster name to %s ...", ctl_arg(c, 0));
	return ctl_do(c, "set_cluster_name", json_pack("{ss}", "name", ctl_arg(c, 0)));
}

/* How many run; who does not is written to `away`, with why. */
static long count_up(const json_t *nodes, char away[AWAY_MAX])
{
	size_t i, n = 0;
	json_t *row;
	long up = 0;
	away[0] = '\0';
	json_array_foreach((json_t *)nodes, i, row)
	{
		const char *name = "", *state = "";
		json_unpack(row, "{s?ss?s}", "name", &name, "state", &state);
		if (strcmp(state, "up") == 0)
			up++;
		else if (n < AWAY_MAX)
			n += (size_t)snprintf(away + n, AWAY_MAX - n, "%s%s is %s", n > 0 ? ", " : "", name, state);
	}
	return up;
}

static int await_online_nodes(struct ctl *c)
{
	char *end, away[AWAY_MAX] = "";
	bool asked = false;
	long n = strtol(ctl_arg(c, 0), &end, 10);
	if (*end != '\0' || n < 1)
		return ctl_bad_argument(c, "Argument must be a positive integer");
	ctl_say(c, "Will wait for at least %ld nodes to join the cluster of %s. Timeout: %d seconds.", n,
		c->node, (int)(ctl_deadline_s(c) - ctl_now_s() + 0.5));
	for (double until = ctl_deadline_s(c);; ctl_nap()) {
		struct call call;
		if (asked && ctl_now_s() > until)
			break;
		asked = true;
		if (ctl_poll(c, &call, "cluster_nodes", json_pack("{sb}", "ask", true)) != 0)
			continue;
		long running = count_up(json_object_get(call.result, "nodes"), away);
		json_decref(call.result);
		if (running >= n)
			return ctl_done(c);
	}
	return ctl_error(c, CTL_SOFTWARE,
		"Error: timed out while waiting. Not enough nodes joined %s's cluster.%s%s", c->node,
		away[0] != '\0' ? "\n" : "", away);
}

#define CLUSTER "Cluster"

const struct ctl_verb verbs_cluster[] = {
	{"start_app", "Nodes", "", "Starts what serves clients, in a running node", 0, 0, 0,
		start_app},
	{"stop_app", "Nodes", "", "Stops what serves clients; the node's process stays", 0, 0, 0,
		stop_app},
	{"reset", "Nodes", "", "Leaves the cluster and deletes everything", 0, 0, 0, reset},
	{"force_reset", "Nodes", "", "Deletes everything without telling the cluster", 0, 0, 0,
		force_reset},
	{"await_online_nodes", CLUSTER, "<count>", "Waits until so many nodes of the cluster run", 1, 1,
		0, await_online_nodes},
	{"change_cluster_node_type", CLUSTER, "<disc | ram>", "Changes what the node keeps on disk", 1,
		1, 0, change_cluster_node_type},
	{"cluster_status", CLUSTER, "", "Displays the nodes of the cluster", 0, 0, 0, cluster_status},
	{"force_boot", CLUSTER, "",
		"The next start_app gives all other nodes up: what only they had is lost", 0, 0,
		OPTION_FORCE, force_boot},
	{"forget_cluster_node", CLUSTER, "<existing_cluster_member_node>",
		"Removes a node that is stopped from the cluster", 1, 1,
		OPTION_OFFLINE | OPTION_FORCE, forget_cluster_node},
	{"join_cluster", CLUSTER, "<existing_cluster_member>[:<port>]",
		"Makes the node a member of the cluster that another node is in", 1, 1,
		OPTION_NODE_TYPE, join_cluster},
	{"rename_cluster_node", CLUSTER, "<oldnode1> <newnode1> [oldnode2] [newnode2] ...",
		"Succeeds: a node that is started by another name is renamed by that", 2, VERB_ANY, 0, rename_cluster_node},
	{"update_cluster_nodes", CLUSTER, "<seed_node>[:<port>]",
		"Learns from a member where the others are now", 1, 1, 0, update_cluster_nodes},
	{"set_cluster_name", "Configuration and Environment", "<name>", "Names the cluster", 1, 1, 0,
		set_cluster_name},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

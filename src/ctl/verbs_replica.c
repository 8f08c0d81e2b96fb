/* SPDX-License-Identifier: Apache-2.0
 *
 * Members and leaders of queues, and maintenance of a node: the verbs of rabbitmq-queues and
 * rabbitmq-upgrade.
 */
#include <stdio.h>
#include <string.h>

#include "src/ctl/print.h"
#include "src/ctl/verb.h"

enum { CHANGE_S = 120, SETTLE_S = 15, POLL_S = 20, LINE_MAX_OCTETS = 1024 };

#define ALONE "Node %s seems to be the only one in a single node cluster, the check does not apply"

#define LEN(array) (sizeof(array) / sizeof *(array))

/* ---- calling ---- */

/* What a node refuses is 69 with these verbs, as with RabbitMQ's. */
static int refusal(const struct ctl *c, const struct call *call)
{
	static const char *const words[] = {"refused", "not_found", "bad_request"};
	for (size_t i = 0; i < LEN(words); i++)
		if (strcmp(call->error, words[i]) == 0)
			return ctl_error(c, CTL_UNAVAILABLE, "%s", ctl_reason(call));
	return ctl_error(c, call_exit(call), "%s", call->message);
}

/* 0 and the result, a reference; else an exit status, after having told the error. */
static int ask(struct ctl *c, const char *verb, json_t *args, json_t **ret)
{
	struct call call;
	if (ctl_try(c, &call, verb, args, CHANGE_S) != 0)
		return refusal(c, &call);
	*ret = call.result;
	return CTL_OK;
}

static int act(struct ctl *c, const char *verb, json_t *args)
{
	json_t *r;
	int status = ask(c, verb, args, &r);
	if (status == CTL_OK)
		json_decref(r);
	return status;
}

static int finish(const struct ctl *c, int status)
{
	return status == CTL_OK ? ctl_done(c) : status;
}

/* For people in a frame, unless another format is asked for. */
static int show(struct ctl *c, json_t *rows, const char *const *columns, unsigned n)
{
	enum format format = c->options.format_given ? c->options.format : FORMAT_PRETTY;
	print_rows(rows, columns, n, format, !c->options.silent);
	json_decref(rows);
	return CTL_OK;
}

/* ---- members ---- */

static json_t *queue_and_node(const struct ctl *c)
{
	return json_pack("{ssssss}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0), "node",
		ctl_arg(c, 1));
}

static int add_member(struct ctl *c)
{
	ctl_say(c, "Adding a replica for queue %s on node %s...", ctl_arg(c, 0), ctl_arg(c, 1));
	return finish(c, act(c, "add_member", queue_and_node(c)));
}

static int delete_member(struct ctl *c)
{
	ctl_say(c, "Removing a replica of queue %s on node %s...", ctl_arg(c, 0), ctl_arg(c, 1));
	return finish(c, act(c, "delete_member", queue_and_node(c)));
}

static json_t *patterns(const struct ctl *c)
{
	return json_pack("{ss*ss*}", "vhost_pattern", c->options.vhost_pattern, "queue_pattern",
		c->options.queue_pattern);
}

static void drop_good(json_t *rows)
{
	for (size_t i = json_array_size(rows); i-- > 0;) {
		json_t *result = json_object_get(json_array_get(rows, i), "result");
		if (strcmp(json_string_value(result), "ok") == 0)
			json_array_remove(rows, i);
	}
}

static int change_many(struct ctl *c, const char *verb, json_t *args)
{
	static const char *const columns[] = {"vhost", "name", "size", "result"};
	json_t *rows;
	int status = ask(c, verb, args, &rows);
	if (status != CTL_OK)
		return status;
	if (c->options.errors_only)
		drop_good(rows);
	print_rows(rows, columns, LEN(columns), c->options.format, !c->options.silent);
	json_decref(rows);
	return CTL_OK;
}

static int grow(struct ctl *c)
{
	const char *strategy = ctl_arg(c, 1);
	bool all = strcmp(strategy, "all") == 0;
	if (!all && strcmp(strategy, "even") != 0)
		return ctl_misuse(c, "\"strategy '%s' is not recognised.\"", strategy);
	ctl_say(c, "Growing %s quorum queues on %s...", all ? "all" : "even", ctl_arg(c, 0));
	json_t *args = patterns(c);
	json_object_set_new(args, "node", json_string(ctl_arg(c, 0)));
	json_object_set_new(args, "strategy", json_string(strategy));
	return change_many(c, "grow", args);
}

static int shrink(struct ctl *c)
{
	ctl_say(c, "Shrinking quorum queues on %s...", ctl_arg(c, 0));
	return change_many(c, "shrink", json_pack("{ss}", "node", ctl_arg(c, 0)));
}

static int quorum_status(struct ctl *c)
{
	static const char *const columns[] = {"Node Name", "Raft State", "Log Index",
		"Commit Index", "Snapshot Index", "Term", "Machine Version"};
	json_t *rows;
	ctl_say(c, "Status of quorum queue %s on node %s ...", ctl_arg(c, 0), c->node);
	int status = ask(c, "quorum_status",
		json_pack("{ssss}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0)), &rows);
	return status == CTL_OK ? show(c, rows, columns, LEN(columns)) : status;
}

/* ---- leaders ---- */

/* So many queues are led elsewhere than they should be; -1: not known. */
static long misplaced(struct ctl *c, bool here)
{
	struct call call;
	if (ctl_try(c, &call, "misplaced_leaders", json_pack("{sb}", "local", here), POLL_S) != 0)
		return -1;
	long n = (long)json_array_size(call.result);
	json_decref(call.result);
	return n;
}

/* Until none is, or it takes too long; how many are left. */
static long settle(struct ctl *c, bool here, double until_s)
{
	long n = misplaced(c, here);
	while (n != 0 && ctl_now_s() < until_s) {
		ctl_nap();
		n = misplaced(c, here);
	}
	return n;
}

static bool leads(struct ctl *c, const char *node)
{
	struct call call;
	size_t i;
	json_t *row;
	bool yes = false;
	if (ctl_try(c, &call, "quorum_status",
		    json_pack("{ssss}", "vhost", ctl_vhost(c), "name", ctl_arg(c, 0)), POLL_S) != 0)
		return false;
	json_array_foreach(call.result, i, row)
	{
		const char *name = "", *state = "";
		json_unpack(row, "{s?ss?s}", "Node Name", &name, "Raft State", &state);
		yes |= strcmp(state, "leader") == 0 && strcmp(name, node) == 0;
	}
	json_decref(call.result);
	return yes;
}

static double settled_by_s(const struct ctl *c)
{
	return ctl_now_s() + (c->options.timeout_s > 0 ? c->options.timeout_s : SETTLE_S);
}

static int transfer_leadership(struct ctl *c)
{
	const char *node = ctl_arg(c, 1);
	double until = settled_by_s(c);
	ctl_say(c, "Transferring leadership of queue %s to node %s...", ctl_arg(c, 0), node);
	int status = act(c, "transfer_leadership", queue_and_node(c));
	if (status != CTL_OK)
		return status;
	while (!leads(c, node)) {
		if (ctl_now_s() > until)
			return ctl_error(c, CTL_TIMEOUT,
				"%s does not lead the queue yet: it does as soon as its member there has "
				"caught up",
				node);
		ctl_nap();
	}
	return ctl_done(c);
}

/* 0 and a row per node, a reference; else an exit status, after having told the error. */
static int rebalance_queues(struct ctl *c, const char *type, json_t **rows)
{
	double until = settled_by_s(c);
	json_t *args = patterns(c);
	json_object_set_new(args, "type", json_string(type));
	int status = ask(c, "rebalance", args, rows);
	if (status == CTL_OK)
		settle(c, false, until);
	return status;
}

static int rebalance(struct ctl *c)
{
	static const char *const columns[] = {"Node name", "Number of quorum queues",
		"Number of replicated classic queues"};
	const char *type = ctl_arg(c, 0);
	json_t *rows;
	bool all = strcmp(type, "all") == 0;
	if (all || strcmp(type, "classic") == 0 || strcmp(type, "quorum") == 0)
		ctl_say(c, "Re-balancing leaders of %s queues...",
			all ? "all replicated" : type);
	int status = rebalance_queues(c, type, &rows);
	return status == CTL_OK ? show(c, rows, columns, LEN(columns)) : status;
}

static int post_upgrade(struct ctl *c)
{
	json_t *rows;
	ctl_say(c, "Executing post upgrade tasks...\nRebalancing queue masters...");
	int status = rebalance_queues(c, "all", &rows);
	if (status == CTL_OK)
		json_decref(rows);
	return finish(c, status);
}

/* ---- maintenance ---- */

static int drain(struct ctl *c)
{
	ctl_say(c,
		"Will put node %s into maintenance mode. The node will no longer serve any client "
		"traffic!",
		c->node);
	double until = ctl_now_s() + (c->options.timeout_s > 0 ? c->options.timeout_s : CHANGE_S);
	int status = act(c, "drain", NULL);
	if (status != CTL_OK)
		return status;
	long left = settle(c, true, until);
	if (left == 0)
		return ctl_done(c);
	return ctl_error(c, CTL_TIMEOUT,
		"the node is in maintenance, but %ld queues that others could lead are led there yet",
		left);
}

static int revive(struct ctl *c)
{
	ctl_say(c,
		"Will put node %s back into regular operating mode. The node will again serve client "
		"traffic and host primary queue replicas.",
		c->node);
	return finish(c, act(c, "revive", NULL));
}

/* ---- majorities ---- */

/* What would be without a majority; an array of rows, or NULL after an error (in *status), or if this is
 * the only node (CTL_OK). *minority: the node is in one already. */
static json_t *critical(struct ctl *c, const char *type, bool *minority, int *status)
{
	json_t *r, *rows = NULL;
	*minority = false;
	*status = ask(c, "critical_queues", json_pack("{ss}", "type", type), &r);
	if (*status != CTL_OK)
		return NULL;
	if (json_integer_value(json_object_get(r, "nodes")) > 1) {
		rows = json_incref(json_object_get(r, "queues"));
		*minority = json_is_true(json_object_get(r, "minority"));
	}
	json_decref(r);
	return rows;
}

static int tell_safe(const struct ctl *c, const char *line)
{
	return c->options.silent ? CTL_OK : ctl_found(c, CTL_OK, json_pack("{snss}", "message", "result", "ok"), "%s", line);
}

/* A line on standard error per queue, or all of them as JSON. */
static int tell_critical(const struct ctl *c, json_t *rows, bool minority, const char *bad)
{
	size_t i;
	json_t *row;
	if (c->options.silent)
		return CTL_UNAVAILABLE;
	if (c->options.format == FORMAT_JSON)
		return ctl_found(c, CTL_UNAVAILABLE, json_pack("{snsOsbss}", "message", "queues", rows, "minority", minority,
			"result", "error"), "Node %s is critical, or in a minority", c->node);
	fflush(stdout);
	if (minority)
		fprintf(stderr, "node %s is in a minority: it does not reach a majority of the cluster's disk nodes\n",
			c->node);
	json_array_foreach(rows, i, row)
	{
		const char *vhost = "", *name = "";
		json_unpack(row, "{s?ss?s}", "vhost", &vhost, "name", &name);
		fprintf(stderr, bad, name, vhost, c->node);
		fputc('\n', stderr);
	}
	return CTL_UNAVAILABLE;
}

static int check_critical(struct ctl *c, const char *type, const char *good, const char *bad)
{
	int status;
	bool minority;
	char line[LINE_MAX_OCTETS];
	json_t *rows = critical(c, type, &minority, &status);
	if (rows == NULL && status != CTL_OK)
		return status;
	bool safe = rows == NULL || (json_array_size(rows) == 0 && !minority);
	snprintf(line, sizeof line, rows == NULL ? ALONE : good, c->node);
	status = safe ? tell_safe(c, line) : tell_critical(c, rows, minority, bad);
	json_decref(rows);
	return status;
}

static int check_quorum(struct ctl *c)
{
	ctl_say(c, "Checking if node %s is critical for quorum of any quorum queues ...", c->node);
	return check_critical(c, "quorum", "Node %s reported no quorum queues with minimum quorum",
		"queue '%s' in vhost '%s' would lose quorum if node %s is stopped");
}

static int check_mirrors(struct ctl *c)
{
	ctl_say(c,
		"Checking if node %s is critical for data safety of any classic mirrored queues ...",
		c->node);
	return check_critical(c, "classic",
		"Node %s reported no classic mirrored queues without online synchronised mirrors",
		"classic mirrored queue '%s' in vhost '%s' would lose its majority of synchronised "
		"replicas if node %s is stopped");
}

static int await_safe(struct ctl *c, const char *type, const char *in_vain)
{
	double until = ctl_now_s() + (c->options.timeout_s > 0 ? c->options.timeout_s : CHANGE_S);
	for (;;) {
		int status;
		bool minority;
		json_t *rows = critical(c, type, &minority, &status);
		size_t n = json_array_size(rows);
		json_decref(rows);
		if (status != CTL_OK || (n == 0 && !minority))
			return finish(c, status);
		if (ctl_now_s() > until)
			return ctl_error(c, CTL_UNAVAILABLE, "time is up, %s", in_vain);
		ctl_nap();
	}
}

static int await_quorum(struct ctl *c)
{
	ctl_say(c,
		"Will wait for a quorum + 1 of nodes to be online for all quorum queues for %d "
		"seconds...",
		c->options.timeout_s > 0 ? (int)c->options.timeout_s : CHANGE_S);
	return await_safe(c, "quorum",
		"no quorum + 1 online replicas came online for at least some quorum queues");
}

static int await_mirror(struct ctl *c)
{
	ctl_say(c,
		"Will wait for a synchronised mirror be online for all classic mirrored queues for %d "
		"seconds...",
		c->options.timeout_s > 0 ? (int)c->options.timeout_s : CHANGE_S);
	return await_safe(c, "classic",
		"no synchronised mirror came online for at least some classic mirrored queues");
}

#define REPLICATION "Replication"
#define CHECKS "Monitoring, observability and health checks"

const struct ctl_verb verbs_replica[] = {
	{"grow", "Cluster", "<node> <all | even>",
		"Gives quorum queues a member on a node: all that match, or those with an even number", 2,
		2, OPTION_PATTERNS | OPTION_ERRORS_ONLY, grow},
	{"shrink", "Cluster", "<node>", "Takes the members of quorum queues on a node away", 1, 1,
		OPTION_ERRORS_ONLY, shrink},
	{"rebalance", "Cluster", "<all | classic | quorum>",
		"Spreads the leaders of replicated queues evenly over the nodes", 1, 1, OPTION_PATTERNS,
		rebalance},
	{"add_member", REPLICATION, "<queue> <node>", "Gives a quorum queue a member on a node", 2, 2,
		OPTION_VHOST, add_member},
	{"delete_member", REPLICATION, "<queue> <node>",
		"Takes the member of a quorum queue on a node away", 2, 2, OPTION_VHOST, delete_member},
	{"transfer_leadership", REPLICATION, "<queue> <node>",
		"Lets a queue be led on a node, now and whenever the node is up", 2, 2, OPTION_VHOST,
		transfer_leadership},
	{"drain", "Operations", "",
		"Puts the node into maintenance: no clients, and queues are led elsewhere", 0, 0, 0,
		drain},
	{"revive", "Operations", "", "Ends the node's maintenance", 0, 0, 0, revive},
	{"post_upgrade", "Operations", "", "Rebalances all queues, as after a rolling upgrade", 0, 0, 0,
		post_upgrade},
	{"quorum_status", CHECKS, "<queue>", "Displays the members of a queue as they see themselves", 1,
		1, OPTION_VHOST, quorum_status},
	{"check_if_node_is_quorum_critical", CHECKS, "",
		"Fails if quorum queues would be without a majority if the node stopped", 0, 0, 0,
		check_quorum},
	{"check_if_node_is_mirror_sync_critical", CHECKS, "",
		"Fails if mirrored queues would be without a majority if the node stopped", 0, 0, 0,
		check_mirrors},
	{"await_online_quorum_plus_one", CHECKS, "",
		"Waits until no quorum queue needs the node for its majority", 0, 0, 0, await_quorum},
	{"await_online_synchronized_mirror", CHECKS, "",
		"Waits until no mirrored queue needs the node for its majority", 0, 0, 0,
		await_mirror},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * The node itself and the cluster it is in.
 */
#include <unistd.h>

#include "src/base/buf.h"
#include "src/broker/command.h"
#include "src/manage/api.h"
#include "src/manage/json.h"

static void ping(struct api_call *c)
{
	api_ok(c, json_pack("{sssb}", "node", api_node(c)->name, "ready", api_ready(c)));
}

static const char *alarm_name(enum session_alarm a)
{
	return a == SESSION_ALARM_DISK ? "disk" : "memory";
}

static json_t *alarms(struct api_call *c)
{
	static const enum session_alarm all[] = {SESSION_ALARM_MEMORY, SESSION_ALARM_DISK};
	const struct api_node *node = api_node(c);
	json_t *list = json_array();
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if ((node->shards[0].env->alarm & all[i]) != 0)
			json_array_append_new(list, json_pack("{ssss}", "node", node->name,
							    "resource", alarm_name(all[i])));
	return list;
}

static json_t *listeners(const struct api_node *node)
{
	json_t *list = json_array();
	struct api_listener l;
	for (unsigned i = 0; node->listener(node->arg, i, &l); i++)
		json_array_append_new(list,
			json_pack("{sssssisssb}", "node", node->name, "interface",
				l.host != NULL ? l.host : "[::]", "port", (int)l.port, "protocol",
				l.protocol, "tls", 0));
	return list;
}

static void status(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	struct broker *b = api_broker(c);
	uint64_t now = node->shards[0].worker->wall_ms;
	json_t *r = json_pack("{sssisIsssssb}", "node", node->name, "pid", (int)getpid(),
		"uptime_s", (json_int_t)((now - node->started_ms) / 1000), "version",
		PACKAGE_VERSION, "data_dir", node->data_dir, "ready", api_ready(c));
	json_object_set_new(r, "alarms", alarms(c));
	json_object_set_new(r, "listeners", listeners(node));
	json_object_set_new(r, "queues", json_integer(b != NULL ? (json_int_t)b->n_queues : 0));
	json_object_set_new(r, "vhosts", json_integer(b != NULL ? (json_int_t)b->n_vhosts : 0));
	json_object_set_new(r, "incarnation",
		json_integer((json_int_t)node->shards[0].env->incarnation));
	api_ok(c, r);
}

static void cluster_status(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	struct broker *b = api_broker(c);
	json_t *name = b != NULL && b->cluster_name.n > 0 ? json_of_slice(b->cluster_name)
					     : json_string(node->name);
	json_t *r = json_pack("{sos[s]s[]s[]}", "cluster_name", name, "disk_nodes", node->name,
		"ram_nodes", "running_nodes");
	if (api_ready(c))
		json_array_append_new(
			json_object_get(r, "running_nodes"), json_string(node->name));
	json_object_set_new(r, "versions", json_pack("{ss}", node->name, PACKAGE_VERSION));
	json_object_set_new(r, "alarms", alarms(c));
	json_object_set_new(r, "listeners", listeners(node));
	json_object_set_new(r, "partitions", json_object());
	api_ok(c, r);
}

static void set_cluster_name(struct api_call *c)
{
	const char *name;
	size_t n;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%}", "name", &name, &n))
		return;
	broker_put_set_cluster_name(&b, slice_make(name, n));
	api_propose(c, &b, NULL);
}

/* The answer is on its way before the end begins: the control socket is closed last. */
static void stop(struct api_call *c)
{
	const struct api_node node = *api_node(c);
	api_ok(c, json_pack("{si}", "pid", (int)getpid()));
	node.stop(node.arg);
}

const struct api_verb api_node_verbs[] = {
	{"ping", ping, true},
	{"status", status, true},
	{"cluster_status", cluster_status, true},
	{"set_cluster_name", set_cluster_name, false},
	{"stop", stop, true},
	{NULL, NULL, false},
};

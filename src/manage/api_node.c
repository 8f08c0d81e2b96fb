/* SPDX-License-Identifier: Apache-2.0
 *
 * The node itself and the cluster it is in.
 */
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/manage/api.h"
#include "src/manage/json.h"
#include "src/manage/remote.h"
#include "src/manage/warnings.h"

enum {
	ERR_MAX = 512,
	SUMMARY_MS = 5000, /* for a node's part of cluster_status; a frozen one loses its link before, most likely */
};

static void ping(struct api_call *c)
{
	static const char *const states[] = {
		[API_APP_STOPPED] = "stopped",
		[API_APP_STARTING] = "starting",
		[API_APP_RUNNING] = "running",
		[API_APP_STOPPING] = "stopping",
	};
	const struct api_node *node = api_node(c);
	bool final;
	char *trouble = node->trouble(node->arg, &final);
	json_t *r = json_pack("{sssbss}", "node", node->name, "ready", api_ready(c), "app",
		states[node->app(node->arg)]);
	if (trouble != NULL) {
		json_object_set_new(r, final ? "refused" : "waits", json_of_slice(slice_str(trouble)));
		mem_free(trouble);
	}
	api_ok(c, r);
}

static const char *alarm_name(enum session_alarm a)
{
	return a == SESSION_ALARM_DISK ? "disk" : "memory";
}

static json_t *name_of(struct api_call *c, uint64_t id)
{
	const struct api_node *node = api_node(c);
	const struct broker *b = api_broker(c);
	const struct broker_node *n = b != NULL ? broker_node_find(b, id) : NULL;
	if (n == NULL || id == node->id(node->arg))
		return json_string(node->name);
	return json_of_slice(n->name);
}

static void alarms_add(json_t *list, struct api_call *c, uint64_t of, enum session_alarm raised)
{
	static const enum session_alarm all[] = {SESSION_ALARM_MEMORY, SESSION_ALARM_DISK};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if ((raised & all[i]) != 0)
			json_array_append_new(list, json_pack("{soss}", "node", name_of(c, of),
							    "resource", alarm_name(all[i])));
}

/* Of this node, or with those of others that hold up publishers here, too. */
static json_t *alarms(struct api_call *c, bool of_others)
{
	const struct api_node *node = api_node(c);
	json_t *list = json_array();
	enum session_alarm raised;
	uint64_t of;
	for (size_t i = 0; (i == 0 || of_others) && node->alarms(node->arg, i, &of, &raised); i++)
		alarms_add(list, c, of, raised);
	return list;
}

static json_t *listeners(const struct api_node *node)
{
	json_t *list = json_array();
	struct api_listener l;
	for (unsigned i = 0; node->listener(node->arg, i, &l); i++)
		json_array_append_new(list,
			json_pack("{sssssissss}", "node", node->name, "interface",
				l.host != NULL ? l.host : "[::]", "port", (int)l.port, "protocol",
				l.protocol, "purpose", l.purpose));
	return list;
}

/* The node whose member of group 0 leads. */
static json_t *metadata_leader(struct api_call *c)
{
	struct catalog *catalog = api_node(c)->shards[0].env->catalog;
	struct broker *b = api_broker(c);
	const struct broker_node *n =
		b != NULL ? broker_node_find(b, catalog_leader(catalog)) : NULL;
	return n != NULL ? json_of_slice(n->name) : json_null();
}

static bool is_drained(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	const struct broker *b = api_broker(c);
	const struct broker_node *n = b != NULL ? broker_node_find(b, node->id(node->arg)) : NULL;
	return n != NULL && n->drained;
}

/* RabbitMQ's names; a free disk of which nothing is known is not told. */
static void put_limits(struct api_call *c, json_t *r)
{
	const struct api_node *node = api_node(c);
	struct api_limit memory, disk;
	uint64_t free = node->disk_free(node->data_dir);
	node->limit(node->arg, SESSION_ALARM_MEMORY, &memory);
	node->limit(node->arg, SESSION_ALARM_DISK, &disk);
	json_object_set_new(r, "vm_memory_high_watermark_limit", json_integer((json_int_t)memory.bytes));
	json_object_set_new(r, "vm_memory_high_watermark_setting",
		memory.relative ? json_pack("{sf}", "relative", memory.share)
				: json_pack("{sI}", "absolute", (json_int_t)memory.bytes));
	json_object_set_new(r, "disk_free_limit", json_integer((json_int_t)disk.bytes));
	if (free != UINT64_MAX)
		json_object_set_new(r, "disk_free", json_integer((json_int_t)free));
}

static void status(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	struct broker *b = api_broker(c);
	uint64_t now = node->shards[0].worker->wall_ms;
	json_t *r = json_pack("{sssisIsssssb}", "node", node->name, "pid", (int)getpid(),
		"uptime_s", (json_int_t)((now - node->started_ms) / 1000), "version",
		PACKAGE_VERSION, "data_dir", node->data_dir, "ready", api_ready(c));
	json_object_set_new(r, "is_under_maintenance", json_boolean(is_drained(c)));
	json_object_set_new(r, "alarms", alarms(c, true));
	json_object_set_new(r, "memory",
		json_pack("{sss{sI}}", "strategy", "rss", "total", "rss", (json_int_t)node->memory()));
	json_object_set_new(r, "log_files",
		json_pack("[s]", log_file() != NULL ? log_file() : "<stderr>"));
	if (api_ready(c))
		put_limits(c, r);
	json_object_set_new(r, "listeners", listeners(node));
	json_object_set_new(r, "queues", json_integer(b != NULL ? (json_int_t)b->n_queues : 0));
	json_object_set_new(r, "vhosts", json_integer(b != NULL ? (json_int_t)b->n_vhosts : 0));
	json_object_set_new(r, "incarnation",
		json_integer((json_int_t)node->shards[0].env->incarnation));
	json_object_set_new(r, "metadata_leader", metadata_leader(c));
	api_ok(c, r);
}

/* ---- feature flags ---- */

/* RabbitMQ's, of what is here, too. Nodes of one cluster are of one series, so all have all. */
static const struct {
	const char *name, *description;
} flags[] = {
	{"implicit_default_bindings",
		"Default bindings are now implicit, instead of being stored in the database"},
	{"maintenance_mode_status", "Maintenance mode status"},
	{"quorum_queue", "Support queues of type `quorum`"},
	{"user_limits", "Configure connection and channel limits for a user"},
	{"virtual_host_metadata", "Virtual host metadata (description, tags, etc)"},
};

static json_t *feature_flags(void)
{
	json_t *list = json_array();
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		json_array_append_new(list,
			json_pack("{ssssssssssss}", "name", flags[i].name, "state", "enabled", "desc",
				flags[i].description, "stability", "stable", "provided_by",
				"warren", "doc_url", ""));
	return list;
}

static void list_feature_flags(struct api_call *c)
{
	api_ok(c, feature_flags());
}

/* They all are. */
static void enable_feature_flag(struct api_call *c)
{
	const char *name;
	if (!api_args(c, "{ss}", "name", &name))
		return;
	bool known = strcmp(name, "all") == 0;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		known |= strcmp(name, flags[i].name) == 0;
	if (known)
		api_ok(c, NULL);
	else
		api_fail(c, API_BAD_REQUEST, "This feature flag is not supported by node %s",
			api_node(c)->name);
}

/* ---- the configuration ---- */

static void put_setting(void *to, const char *key, const char *value)
{
	json_object_set_new(to, key, json_of_slice(slice_str(value)));
}

static void environment(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	json_t *settings = json_object();
	node->settings(node->arg, put_setting, settings);
	api_ok(c, json_pack("{so}", "warren", settings));
}

/* ---- the cluster ---- */

/* What other nodes want to know of this one. */
static json_t *summary(struct api_call *c)
{
	return json_pack("{sssoso}", "version", PACKAGE_VERSION, "alarms", alarms(c, false), "listeners",
		listeners(api_node(c)));
}

static void node_summary(struct api_call *c)
{
	api_ok(c, summary(c));
}

/* Waits for the summaries of the nodes that run. */
struct survey {
	struct api_call *call;
	json_t *result;
	unsigned waiting;
};

struct question {
	struct survey *survey;
	char *name;
};

static void survey_add(json_t *result, const char *name, json_t *of_node)
{
	const char *version = "";
	json_unpack(of_node, "{s?s}", "version", &version);
	json_object_set_new(json_object_get(result, "versions"), name,
		json_pack("{ssssss}", "rabbitmq_name", "Warren", "rabbitmq_version", version,
			"erlang_version", ""));
	json_array_extend(
		json_object_get(result, "alarms"), json_object_get(of_node, "alarms"));
	json_object_set(json_object_get(result, "listeners"), name,
		json_object_get(of_node, "listeners"));
}

static void survey_answered(struct survey *s)
{
	if (--s->waiting > 0)
		return;
	struct api_call *c = s->call;
	json_t *result = s->result;
	mem_free(s);
	json_object_set_new(result, "warnings", warnings_now(c));
	api_ok(c, result);
}

static void survey_miss(struct survey *s, const char *name)
{
	const char *own = api_node(s->call)->name;
	json_t *by_node = json_object_get(s->result, "partitions");
	if (json_object_get(by_node, own) == NULL)
		json_object_set_new(by_node, own, json_array());
	json_array_append_new(json_object_get(by_node, own), json_of_slice(slice_str(name)));
}

/* It ran when it was asked, and has fallen silent. If it has been called down meanwhile nobody misses it. */
static void survey_lost(struct survey *s, const char *name)
{
	const struct broker *b = api_broker(s->call);
	const struct broker_node *n = b != NULL ? broker_node_by_name(b, slice_str(name)) : NULL;
	json_t *running = json_object_get(s->result, "running_nodes"), *other;
	size_t i;
	json_array_foreach(running, i, other)
		if (strcmp(json_string_value(other), name) == 0)
			break;
	json_array_remove(running, i);
	if (n != NULL && n->up)
		survey_miss(s, name);
}

static void on_summary(void *arg, json_t *reply, const char *why)
{
	struct question *q = arg;
	(void)why;
	if (json_is_true(json_object_get(reply, "ok")))
		survey_add(q->survey->result, q->name, json_object_get(reply, "result"));
	else
		survey_lost(q->survey, q->name);
	survey_answered(q->survey);
	mem_free(q->name);
	mem_free(q);
}

static void ask_node(struct survey *s, const struct broker_node *n)
{
	struct question *q = MEM_NEW(struct question);
	q->survey = s;
	q->name = mem_printf("%.*s", SLICE_FMT(n->name));
	s->waiting++;
	remote_look(api_node(s->call)->links, n, "node_summary", SUMMARY_MS, on_summary, q);
}

static void add_name(json_t *result, const char *list, struct slice name)
{
	json_array_append_new(json_object_get(result, list), json_of_slice(name));
}

static void add_node(json_t *result, enum broker_node_type type, struct slice name)
{
	add_name(result, type == BROKER_NODE_RAM ? "ram_nodes" : "disk_nodes", name);
}

static void add_maintenance(json_t *result, const struct broker_node *n)
{
	char *name = mem_printf("%.*s", SLICE_FMT(n->name));
	json_object_set_new(json_object_get(result, "maintenance_status"), name,
		json_string(n->drained ? "marked for maintenance" : "not under maintenance"));
	mem_free(name);
}

/* As this node sees it: who is up in the table, and not within its reach, may run behind a cut network, or be
 * dead and not called down yet. */
static void survey_table(struct survey *s, const struct broker *b)
{
	const struct api_node *node = api_node(s->call);
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		add_node(s->result, n->type, n->name);
		add_maintenance(s->result, n);
		if (!n->up)
			continue;
		if (!warnings_reaches(s->call, n)) {
			char *name = mem_printf("%.*s", SLICE_FMT(n->name));
			survey_miss(s, name);
			mem_free(name);
			continue;
		}
		add_name(s->result, "running_nodes", n->name);
		if (n->id != node->id(node->arg))
			ask_node(s, n);
	}
}

/* While the app is stopped: as far as is remembered. */
static void survey_membership(struct survey *s)
{
	const struct api_node *node = api_node(s->call);
	const struct membership *r = node->membership(node->arg);
	if (r->n_nodes == 0)
		add_node(s->result, BROKER_NODE_DISC, slice_str(node->name));
	for (size_t i = 0; i < r->n_nodes; i++)
		add_node(s->result, r->nodes[i].type, slice_str(r->nodes[i].name));
}

/* As long as nobody has given it a name, it is called after its first node. */
static json_t *cluster_name(const struct api_node *node, const struct broker *b)
{
	if (b != NULL && b->cluster_name.n > 0)
		return json_of_slice(b->cluster_name);
	if (b != NULL && b->n_nodes > 0)
		return json_of_slice(b->nodes[0]->name);
	return json_string(node->name);
}

static void cluster_status(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	const struct broker *b = api_broker(c);
	struct survey *s = MEM_NEW(struct survey);
	s->call = c;
	s->waiting = 1;
	s->result = json_pack("{sos[]s[]s[]s{}s[]s{}s{}s{}s[]so}", "cluster_name",
		cluster_name(node, b),
		"disk_nodes", "ram_nodes", "running_nodes", "versions", "alarms", "listeners",
		"partitions", "maintenance_status", "warnings", "feature_flags", feature_flags());
	json_t *own = summary(c);
	survey_add(s->result, node->name, own);
	json_decref(own);
	if (api_ready(c))
		survey_table(s, b);
	else
		survey_membership(s);
	survey_answered(s);
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

static void reload_certificates(struct api_call *c)
{
	const struct api_node *node = api_node(c);
	char err[ERR_MAX];
	if (node->renew_tls(node->arg, err, sizeof err) == 0)
		api_ok(c, NULL);
	else
		api_fail(c, API_REFUSED, "%s; the certificates that were read before are used on", err);
}

static void accept_clients(struct api_call *c, bool yes)
{
	const struct api_node *node = api_node(c);
	char err[ERR_MAX];
	if (node->accept(node->arg, yes, err, sizeof err) == 0)
		api_ok(c, NULL);
	else
		api_fail(c, API_REFUSED, "%s", err);
}

static void suspend_listeners(struct api_call *c)
{
	accept_clients(c, false);
}

static void resume_listeners(struct api_call *c)
{
	accept_clients(c, true);
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
	{"node_summary", node_summary, true},
	{"set_cluster_name", set_cluster_name, false},
	{"list_feature_flags", list_feature_flags, false},
	{"enable_feature_flag", enable_feature_flag, false},
	{"environment", environment, true},
	{"reload_certificates", reload_certificates, true},
	{"suspend_listeners", suspend_listeners, false},
	{"resume_listeners", resume_listeners, false},
	{"stop", stop, true},
	{NULL, NULL, false},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Exchanges, bindings and queues.
 */
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/definition.h"
#include "src/manage/api.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"
#include "src/manage/spread.h"

/* ---- exchanges ---- */

/* Empty if none applies. */
static json_t *policy_name(const struct broker_effective *e)
{
	return json_of_slice(
		e != NULL && e->policy != NULL ? e->policy->name : slice_make("", 0));
}

static void put_effective(json_t *row, const struct broker_effective *e)
{
	if (e == NULL)
		return;
	if (e->operator_policy != NULL)
		json_object_set_new(
			row, "operator_policy", json_of_slice(e->operator_policy->name));
	json_object_set_new(
		row, "effective_policy_definition", definition_of_table(e->definition));
}

static void list_exchanges(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	if (v == NULL)
		return;
	json_t *rows = json_array();
	for (struct broker_exchange *x = broker_exchange_first(v); x != NULL;
		x = broker_exchange_next(x))
		json_array_append_new(rows,
			json_pack("{sosssbsbsbsoso}", "name", json_of_slice(x->name), "type",
				broker_exchange_type_name(x->spec.type), "durable",
				x->spec.durable, "auto_delete", x->spec.auto_delete, "internal",
				x->spec.internal, "arguments", json_of_table(x->spec.arguments),
				"policy", policy_name(x->effective)));
	api_ok(c, rows);
}

/* ---- bindings ---- */

static json_t *binding_row(struct slice source, struct slice destination, const char *kind,
	struct slice key, struct slice arguments)
{
	return json_pack("{sosssosssoso}", "source_name", json_of_slice(source), "source_kind",
		"exchange", "destination_name", json_of_slice(destination), "destination_kind",
		kind, "routing_key", json_of_slice(key), "arguments", json_of_table(arguments));
}

static void put_bindings(json_t *rows, struct broker_exchange *x)
{
	for (struct broker_binding *bi = broker_binding_first_from(x); bi != NULL;
		bi = broker_binding_next_from(x, bi))
		json_array_append_new(rows,
			binding_row(x->name, broker_binding_destination_name(bi),
				bi->kind == BROKER_TO_QUEUE ? "queue" : "exchange", bi->key,
				bi->arguments));
}

static void list_bindings(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	struct slice none = slice_make(NULL, 0);
	if (v == NULL)
		return;
	json_t *rows = json_array();
	for (struct broker_queue *q = broker_queue_first(v); q != NULL; q = broker_queue_next(q))
		json_array_append_new(rows, binding_row(none, q->name, "queue", q->name, none));
	for (struct broker_exchange *x = broker_exchange_first(v); x != NULL;
		x = broker_exchange_next(x))
		put_bindings(rows, x);
	api_ok(c, rows);
}

/* ---- queues ---- */

/* Each message of a durable queue is on disk, whatever its delivery mode. */
static void put_persistent(json_t *row, const struct broker_queue *q, const struct machine_counts *n)
{
	bool kept = !broker_queue_in_memory(q);
	json_object_set_new(row, "messages_persistent",
		json_integer(kept ? (json_int_t)(n->ready + n->unacked) : 0));
	json_object_set_new(row, "message_bytes_persistent",
		json_integer(kept ? (json_int_t)(n->ready_bytes + n->unacked_bytes) : 0));
}

static void put_counts(json_t *row, const struct broker_queue *q, const struct machine_counts *n)
{
	put_persistent(row, q, n);
	json_object_set_new(row, "messages_ready", json_integer((json_int_t)n->ready));
	json_object_set_new(row, "messages_unacknowledged", json_integer((json_int_t)n->unacked));
	json_object_set_new(row, "messages", json_integer((json_int_t)(n->ready + n->unacked)));
	json_object_set_new(
		row, "message_bytes_ready", json_integer((json_int_t)n->ready_bytes));
	json_object_set_new(row, "message_bytes_unacknowledged",
		json_integer((json_int_t)n->unacked_bytes));
	json_object_set_new(row, "message_bytes",
		json_integer((json_int_t)(n->ready_bytes + n->unacked_bytes)));
	json_object_set_new(row, "consumers", json_integer(n->consumers));
}

/* ---- members ---- */

/* Entries that a mirror may lack and be in step all the same: what is on its way to it. */
enum { IN_STEP = 64, MEMBERS_MAX = BROKER_MEMBERS_MAX };

static json_t *member_pid(const struct broker_queue *q, const struct broker_node *n)
{
	char *name = mem_printf("%.*s", SLICE_FMT(n->name));
	json_t *pid = json_of_pid(name, n->incarnation, q->group, 0);
	mem_free(name);
	return pid;
}

static bool is_in_step(const struct broker_queue *q, const struct broker_member *m,
	const struct group_member_state *states, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (states[i].id == m->id)
			return (states[i].voter || !broker_member_may_vote(q, m)) &&
			       !states[i].spare && !states[i].installing &&
			       states[i].lag <= IN_STEP;
	return false;
}

/* The node that the member's queue is on; NULL if it is leaving. */
static const struct broker_node *node_of(
	const struct broker_queue *q, const struct broker_member *m)
{
	return m->state != BROKER_MEMBER_LEAVING
		       ? broker_node_by_number(q->vhost->broker, m->node)
		       : NULL;
}

static bool is_mirrored(const struct broker_queue *q)
{
	return q->effective != NULL && q->effective->ha_mode != BROKER_HA_NONE;
}

/* Of a queue that this worker leads (`group`), or that nobody is known to lead. */
static void put_members(json_t *row, const struct broker_queue *q, struct group *group,
	const struct broker_node *leader)
{
	struct group_member_state states[MEMBERS_MAX];
	unsigned n = group != NULL ? group_members(group, states, MEMBERS_MAX) : 0;
	json_t *members = json_array(), *online = json_array(), *mirrors = json_array(),
	       *in_step = json_array();
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *at = node_of(q, m);
		if (at == NULL)
			continue;
		json_array_append_new(members, json_of_slice(at->name));
		if (at->up)
			json_array_append_new(online, json_of_slice(at->name));
		if (at == leader || !at->up)
			continue;
		json_array_append_new(mirrors, member_pid(q, at));
		if (is_in_step(q, m, states, n < MEMBERS_MAX ? n : MEMBERS_MAX))
			json_array_append_new(in_step, member_pid(q, at));
	}
	json_object_set_new(row, "members", members);
	json_object_set_new(row, "online", online);
	if (is_mirrored(q)) {
		json_object_set(row, "slave_pids", mirrors);
		json_object_set(row, "mirror_pids", mirrors);
		json_object_set(row, "synchronised_slave_pids", in_step);
		json_object_set(row, "synchronised_mirror_pids", in_step);
	}
	json_decref(mirrors);
	json_decref(in_step);
}

/* ---- rows ---- */

/* What the definition says. */
static json_t *queue_row(const struct broker_queue *q)
{
	json_t *row = json_pack("{sIsosbsbsososb}", "group", (json_int_t)q->group, "name",
		json_of_slice(q->name), "durable", q->spec.durable, "auto_delete",
		q->spec.auto_delete, "arguments", json_of_table(q->spec.arguments), "policy",
		policy_name(q->effective), "exclusive", q->spec.exclusive);
	put_effective(row, q->effective);
	json_object_set_new(row, "type", json_string(broker_queue_type_name(q->type)));
	const struct broker_node *owner =
		broker_node_find(q->vhost->broker, q->spec.owner.node);
	if (q->spec.exclusive && owner != NULL) {
		char *name = mem_printf("%.*s", SLICE_FMT(owner->name));
		json_object_set_new(row, "owner_pid",
			json_of_pid(name, q->spec.owner.incarnation, q->spec.owner.serial, 0));
		mem_free(name);
	}
	return row;
}

static void put_leader(json_t *row, const struct broker_queue *q, const struct broker_node *n)
{
	if (n == NULL)
		return;
	json_object_set_new(row, "leader", json_of_slice(n->name));
	json_object_set_new(row, "pid", member_pid(q, n));
}

/* Of a queue that is led on this worker. */
static json_t *led_row(const struct api_shard *s, const struct api_node *node,
	const struct broker_queue *q)
{
	struct machine_counts counts;
	json_t *row = queue_row(q);
	const struct broker_node *self =
		broker_node_find(q->vhost->broker, node->id(node->arg));
	put_leader(row, q, self);
	put_members(row, q, queue_hosts_group(s->hosts, q->group), self);
	json_object_set_new(row, "state", json_string("running"));
	if (queue_hosts_counts(s->hosts, q->group, &counts))
		put_counts(row, q, &counts);
	return row;
}

/* Of one that nobody leads: it has not been used yet and nothing is in it, or it is down. */
static json_t *other_row(const struct broker_queue *q)
{
	json_t *row = queue_row(q);
	const struct broker_node *first =
		q->n_members > 0 ? node_of(q, &q->members[0]) : NULL;
	put_leader(row, q, first);
	put_members(row, q, NULL, first);
	bool unused = !q->begun && (first == NULL || first->up);
	json_object_set_new(row, "state", json_string(unused ? "running" : "down"));
	if (unused)
		put_counts(row, q, &(struct machine_counts){0});
	return row;
}

static struct broker_vhost *vhost_of(struct broker *b, const json_t *args)
{
	const char *vhost = json_string_value(json_object_get(args, "vhost"));
	return broker_vhost_find(b, slice_str(vhost != NULL ? vhost : "/"));
}

static void collect_queues(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	struct broker_vhost *v = vhost_of(s->env->broker, args);
	unsigned no = (unsigned)(s - node->shards);
	if (v == NULL)
		return;
	for (struct broker_queue *q = broker_queue_first(v); q != NULL; q = broker_queue_next(q))
		if (q->group % node->n_shards == no && queue_hosts_leads(s->hosts, q->group))
			json_array_append_new(rows, led_row(s, node, q));
}

struct led {
	json_int_t group;
	json_t *row;
};

static int compare_led(const void *a, const void *b)
{
	json_int_t x = ((const struct led *)a)->group, y = ((const struct led *)b)->group;
	return x < y ? -1 : x > y;
}

/* list_queues --online, --offline. */
static bool is_asked_for(const json_t *row, const json_t *args)
{
	bool down = strcmp(json_string_value(json_object_get(row, "state")), "down") == 0;
	bool online = json_is_true(json_object_get(args, "online"));
	bool offline = json_is_true(json_object_get(args, "offline"));
	return online == offline || (down ? offline : online);
}

/* All queues in the order of the metadata. Two nodes that say that they lead one: the later row. */
static void on_all_queues(struct api_call *c, json_t *rows)
{
	size_t n = json_array_size(rows);
	struct led *led = mem_zalloc((n + 1) * sizeof *led);
	json_t *all = json_array();
	struct broker *b = api_broker(c);
	struct broker_vhost *v = b != NULL ? vhost_of(b, c->args) : NULL;
	for (size_t i = 0; i < n; i++) {
		json_t *row = json_array_get(rows, i);
		led[i] = (struct led){json_integer_value(json_object_get(row, "group")), row};
	}
	qsort(led, n, sizeof *led, compare_led);
	for (struct broker_queue *q = v != NULL ? broker_queue_first(v) : NULL; q != NULL;
		q = broker_queue_next(q)) {
		struct led key = {.group = (json_int_t)q->group};
		const struct led *found = bsearch(&key, led, n, sizeof *led, compare_led);
		json_t *row = found != NULL ? json_incref(found->row) : other_row(q);
		if (is_asked_for(row, c->args))
			json_array_append(all, row);
		json_decref(row);
	}
	mem_free(led);
	json_decref(rows);
	api_ok(c, all);
}

static void on_own_queues(struct api_call *c, json_t *rows)
{
	spread(c, "list_queues", rows, on_all_queues);
}

static void list_queues(struct api_call *c)
{
	gather(c, collect_queues, on_own_queues);
}

/* The queue that the arguments name; ends the call and returns NULL if there is none. */
static struct broker_queue *queue_named(struct api_call *c)
{
	const char *name;
	size_t n;
	struct broker_vhost *v = api_vhost(c);
	if (v == NULL || !api_args(c, "{ss%}", "name", &name, &n))
		return NULL;
	struct broker_queue *q = broker_queue_find(v, slice_make(name, n));
	if (q == NULL)
		api_fail(c, API_NOT_FOUND, "Queue not found");
	return q;
}

static struct queue_client *client_of(struct api_call *c, const struct broker_queue *q)
{
	return queue_clients_get(api_node(c)->shards[0].env->clients, q->group);
}

static void on_answered(struct api_call *c, const struct machine_answer *a)
{
	switch (a->status) {
	case MACHINE_OK:
		api_ok(c, json_pack("{sI}", "messages", (json_int_t)a->messages));
		break;
	case MACHINE_IN_USE:
		api_fail(c, API_REFUSED, "Queue is in use");
		break;
	case MACHINE_NOT_EMPTY:
		api_fail(c, API_REFUSED, "Queue is not empty");
		break;
	case MACHINE_GONE:
		api_fail(c, API_NOT_FOUND, "Queue not found");
		break;
	default:
		api_fail(c, API_UNAVAILABLE, "the queue is not available now");
		break;
	}
}

static void purge_queue(struct api_call *c)
{
	struct broker_queue *q = queue_named(c);
	if (q != NULL)
		queue_purge(client_of(c, q), api_queue_request(c, on_answered));
}

/* ---- synchronising ---- */

/* On the worker that leads the queue. */
static void sync_here(const struct api_shard *s, const json_t *args, json_t *rows, bool wanted)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	struct broker_vhost *v = vhost_of(s->env->broker, args);
	struct broker_queue *q = v != NULL ? broker_queue_find(v, slice_str(name)) : NULL;
	if (q == NULL || !queue_hosts_leads(s->hosts, q->group))
		return;
	mirrors_sync(s->mirrors, q->group, wanted);
	json_array_append_new(rows, json_true());
}

static void collect_sync(const struct api_shard *s, const struct api_node *node, const json_t *args,
	json_t *rows)
{
	(void)node;
	sync_here(s, args, rows, true);
}

static void collect_cancel(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	(void)node;
	sync_here(s, args, rows, false);
}

static void on_synced(struct api_call *c, json_t *rows)
{
	bool done = json_array_size(rows) > 0;
	json_decref(rows);
	if (done)
		api_ok(c, NULL);
	else
		api_fail(c, API_UNAVAILABLE, "the queue is not available now");
}

static void on_own_sync(struct api_call *c, json_t *rows)
{
	spread(c, "sync_queue", rows, on_synced);
}

static void on_own_cancel(struct api_call *c, json_t *rows)
{
	spread(c, "cancel_sync_queue", rows, on_synced);
}

/* Ends the call and returns false if there is no such queue, or it has no mirrors. */
static bool names_mirrored(struct api_call *c)
{
	struct broker_queue *q = queue_named(c);
	if (q == NULL)
		return false;
	if (is_mirrored(q))
		return true;
	api_fail(c, API_REFUSED, "%s",
		q->type == BROKER_QUEUE_QUORUM ? "quorum_queue_not_supported" : "not_mirrored");
	return false;
}

static void sync_queue(struct api_call *c)
{
	if (names_mirrored(c))
		gather(c, collect_sync, on_own_sync);
}

static void cancel_sync_queue(struct api_call *c)
{
	if (names_mirrored(c))
		gather(c, collect_cancel, on_own_cancel);
}

/* ---- deleting ---- */

static void on_definition_deleted(struct api_call *c, const struct broker_result *r)
{
	(void)r; /* not found: somebody else deleted it, which is fine */
	api_ok(c, json_incref(json_object_get(c->args, "answer")));
}

/* The queue has ended; now its definition goes. */
static void on_queue_deleted(struct api_call *c, const struct machine_answer *a)
{
	struct buf b = BUF_EMPTY;
	if (a->status != MACHINE_OK) {
		on_answered(c, a);
		return;
	}
	json_object_set_new(
		c->args, "answer", json_pack("{sI}", "messages", (json_int_t)a->messages));
	broker_put_delete_queue(&b,
		(uint64_t)json_integer_value(json_object_get(c->args, "group")));
	api_propose(c, &b, on_definition_deleted);
}

static void delete_queue(struct api_call *c)
{
	int if_unused = 0, if_empty = 0;
	struct broker_queue *q = queue_named(c);
	if (q == NULL ||
		!api_args(c, "{s?bs?b}", "if_unused", &if_unused, "if_empty", &if_empty))
		return;
	json_object_set_new(c->args, "group", json_integer((json_int_t)q->group));
	queue_delete(client_of(c, q), if_unused, if_empty,
		api_queue_request(c, on_queue_deleted));
}

const struct api_verb api_topology_verbs[] = {
	{"list_exchanges", list_exchanges, false},
	{"list_bindings", list_bindings, false},
	{"list_queues", list_queues, false},
	{"purge_queue", purge_queue, false},
	{"sync_queue", sync_queue, false},
	{"cancel_sync_queue", cancel_sync_queue, false},
	{"delete_queue", delete_queue, false},
	{NULL, NULL, false},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Exchanges, bindings and queues.
 */
#include "src/base/buf.h"
#include "src/broker/command.h"
#include "src/broker/definition.h"
#include "src/manage/api.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"

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

static void put_counts(json_t *row, const struct machine_counts *n)
{
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

static json_t *queue_row(
	const struct api_shard *s, const struct api_node *node, const struct broker_queue *q)
{
	struct machine_counts counts;
	bool here = queue_hosts_counts(s->hosts, q->group, &counts);
	json_t *row = json_pack("{sosbsbsososb}", "name", json_of_slice(q->name), "durable",
		q->spec.durable, "auto_delete", q->spec.auto_delete, "arguments",
		json_of_table(q->spec.arguments), "policy", policy_name(q->effective), "exclusive",
		q->spec.exclusive);
	put_effective(row, q->effective);
	json_object_set_new(row, "type", json_string(broker_queue_type_name(q->type)));
	json_object_set_new(
		row, "pid", json_of_pid(node->name, s->env->incarnation, q->group, 0));
	if (q->spec.exclusive)
		json_object_set_new(row, "owner_pid",
			json_of_pid(node->name, q->spec.owner.incarnation, q->spec.owner.serial,
				0));
	/* A queue that nobody has used yet has no group, and nothing in it. */
	if (!here && !q->begun) {
		counts = (struct machine_counts){0};
		here = true;
	}
	json_object_set_new(row, "state", json_string(here ? "running" : "down"));
	json_object_set_new(row, "leader", json_string(node->name));
	json_object_set_new(row, "members", json_pack("[s]", node->name));
	json_object_set_new(row, "online", here ? json_pack("[s]", node->name) : json_array());
	if (here)
		put_counts(row, &counts);
	return row;
}

static void collect_queues(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	const char *vhost = json_string_value(json_object_get(args, "vhost"));
	struct broker_vhost *v =
		broker_vhost_find(s->env->broker, slice_str(vhost != NULL ? vhost : "/"));
	unsigned no = (unsigned)(s - node->shards);
	if (v == NULL)
		return;
	for (struct broker_queue *q = broker_queue_first(v); q != NULL; q = broker_queue_next(q))
		if (q->group % node->n_shards == no)
			json_array_append_new(rows, queue_row(s, node, q));
}

static void list_queues(struct api_call *c)
{
	gather(c, collect_queues, NULL);
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
	{"delete_queue", delete_queue, false},
	{NULL, NULL, false},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * Exchanges and bindings, and what is done to queues.
 */
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/broker/command.h"
#include "src/manage/api.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"
#include "src/manage/spread.h"

enum { REACH_MS = 1000 }; /* without a majority of a queue's members, before that is told */

/* ---- exchanges ---- */

/* In a virtual host that is not there is nothing, as in RabbitMQ's lists. */
static void list_exchanges(struct api_call *c)
{
	struct broker_vhost *v = gather_vhost(api_broker(c), c->args);
	json_t *rows = json_array();
	for (struct broker_exchange *x = v != NULL ? broker_exchange_first(v) : NULL; x != NULL;
		x = broker_exchange_next(x))
		json_array_append_new(rows,
			json_pack("{sosssbsbsbsoso}", "name", json_of_slice(x->name), "type",
				broker_exchange_type_name(x->spec.type), "durable",
				x->spec.durable, "auto_delete", x->spec.auto_delete, "internal",
				x->spec.internal, "arguments", json_of_table(x->spec.arguments),
				"policy", json_of_policy(x->effective)));
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
	struct broker_vhost *v = gather_vhost(api_broker(c), c->args);
	struct slice none = slice_make(NULL, 0);
	json_t *rows = json_array();
	if (v == NULL) {
		api_ok(c, rows);
		return;
	}
	for (struct broker_queue *q = broker_queue_first(v); q != NULL; q = broker_queue_next(q))
		json_array_append_new(rows, binding_row(none, q->name, "queue", q->name, none));
	for (struct broker_exchange *x = broker_exchange_first(v); x != NULL;
		x = broker_exchange_next(x))
		put_bindings(rows, x);
	api_ok(c, rows);
}

/* ---- queues ---- */

static struct queue_client *client_of(struct api_call *c, const struct broker_queue *q)
{
	return queue_clients_get(api_node(c)->shards[0].env->clients, q->group);
}

/* NULL: there is none, or the app has stopped. */
static struct broker_queue *queue_named(const struct api_call *c)
{
	struct broker *b = api_broker(c);
	return b != NULL ? gather_queue(b, c->args) : NULL;
}

static void on_unavailable(struct api_call *c)
{
	const struct broker_queue *q = queue_named(c);
	if (q != NULL && api_lacks_majority(c, q))
		api_fail_without_majority(c, q, "it is not known whether this was done");
	else
		api_fail(c, API_UNAVAILABLE, "the queue is not available now");
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
		on_unavailable(c);
		break;
	}
}

/* Nobody can serve the queue; that is so for a while, as a link may come back. Sets until_ms, which is 0 before. */
static bool is_out_of_reach(struct api_call *c, const struct broker_queue *q)
{
	uint64_t now = api_node(c)->shards[0].worker->now_ms;
	if (!api_lacks_majority(c, q))
		c->until_ms = 0;
	else if (c->until_ms == 0)
		c->until_ms = now + REACH_MS;
	return c->until_ms != 0 && now >= c->until_ms;
}

/* While the answer is waited for: whoever could give it may be gone. */
static void watch(struct api_call *c)
{
	const struct broker_queue *q = queue_named(c);
	if (list_empty(&c->queue.link))
		return; /* it has come */
	if (q != NULL && is_out_of_reach(c, q))
		api_fail_without_majority(c, q, "it is not known whether this will be done");
	else
		api_again(c, watch);
}

/* The queue args.name if it can be asked. NULL: the call has ended, or will be tried again. */
static struct broker_queue *queue_in_reach(struct api_call *c, void (*again)(struct api_call *c))
{
	struct broker_queue *q = api_queue(c);
	if (q == NULL)
		return NULL;
	if (is_out_of_reach(c, q))
		api_fail_without_majority(c, q, "nothing was done");
	else if (c->until_ms != 0)
		api_again(c, again);
	else
		return q;
	return NULL;
}

static void purge_queue(struct api_call *c)
{
	struct broker_queue *q = queue_in_reach(c, purge_queue);
	if (q == NULL)
		return;
	queue_purge(client_of(c, q), api_queue_request(c, on_answered));
	api_again(c, watch);
}

/* ---- synchronising ---- */

/* All members hear of it, as any may lead before it is done; one has to lead now. */
static void sync_here(const struct api_shard *s, const json_t *args, json_t *rows, bool wanted)
{
	struct broker_queue *q = gather_queue(s->env->broker, args);
	if (q == NULL)
		return;
	mirrors_sync(s->mirrors, q->group, wanted);
	if (queue_hosts_leads(s->hosts, q->group))
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
	const struct broker_queue *q = queue_named(c);
	/* What nobody has used yet is led by nobody, and is the same everywhere. */
	bool done = json_array_size(rows) > 0 || (q != NULL && !q->begun);
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

/* Ends the call and returns NULL if there is no such queue, or its members are not a policy's. */
static struct broker_queue *classic_queue(struct api_call *c)
{
	struct broker_queue *q = api_queue(c);
	if (q == NULL || q->type != BROKER_QUEUE_QUORUM)
		return q;
	api_fail(c, API_REFUSED, "quorum_queue_not_supported");
	return NULL;
}

static void sync_queue(struct api_call *c)
{
	struct broker_queue *q = classic_queue(c);
	if (q == NULL)
		return;
	if (broker_effective_mirrors(q->effective))
		gather(c, collect_sync, on_own_sync);
	else
		api_fail(c, API_REFUSED, "not_mirrored");
}

/* What has no mirrors is not being synchronised either. */
static void cancel_sync_queue(struct api_call *c)
{
	struct broker_queue *q = classic_queue(c);
	if (q == NULL)
		return;
	if (broker_effective_mirrors(q->effective))
		gather(c, collect_cancel, on_own_cancel);
	else
		api_ok(c, NULL);
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
	c->begun = true;
	json_object_set_new(
		c->args, "answer", json_pack("{sI}", "messages", (json_int_t)a->messages));
	broker_put_delete_queue(&b,
		(uint64_t)json_integer_value(json_object_get(c->args, "group")));
	api_propose(c, &b, on_definition_deleted);
}

/* Without the metadata the definition would stay behind. */
static void delete_queue(struct api_call *c)
{
	int if_unused = 0, if_empty = 0;
	struct broker_queue *q = queue_in_reach(c, delete_queue);
	if (q == NULL || api_fails_in_minority(c) ||
		!api_args(c, "{s?bs?b}", "if_unused", &if_unused, "if_empty", &if_empty))
		return;
	json_object_set_new(c->args, "group", json_integer((json_int_t)q->group));
	queue_delete(client_of(c, q), if_unused, if_empty,
		api_queue_request(c, on_queue_deleted));
	api_again(c, watch);
}

const struct api_verb api_topology_verbs[] = {
	{"list_exchanges", list_exchanges, false},
	{"list_bindings", list_bindings, false},
	{"purge_queue", purge_queue, false},
	{"sync_queue", sync_queue, false},
	{"cancel_sync_queue", cancel_sync_queue, false},
	{"delete_queue", delete_queue, false},
	{NULL, NULL, false},
};

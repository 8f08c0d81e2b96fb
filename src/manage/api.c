/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/broker/member.h"
#include "src/loop/timer.h"
#include "src/manage/json.h"
#include "src/manage/remote.h"

enum { MESSAGE_MAX = 1024, AGAIN_MS = 100 };

struct api {
	struct api_node node;
	struct list waiting; /* struct api_call.waiting: for the metadata or a queue */
	uint64_t n_changes;  /* commands that change the membership, until now */
	const char *changer; /* the last of them; NULL: none */
};

static const struct api_verb *const tables[] = {
	api_access_verbs, api_policy_verbs, api_settings_verbs, api_topology_verbs,
	api_queue_verbs, api_traffic_verbs, api_node_verbs, api_cluster_verbs, api_member_verbs,
	api_replica_verbs, api_memory_verbs, api_tune_verbs};

static const char *const error_names[] = {
	[API_BAD_REQUEST] = "bad_request",
	[API_UNKNOWN_VERB] = "unknown_verb",
	[API_NOT_FOUND] = "not_found",
	[API_EXISTS] = "exists",
	[API_REFUSED] = "refused",
	[API_UNAVAILABLE] = "unavailable",
	[API_NOT_READY] = "not_ready",
	[API_RUNNING] = "running",
	[API_STARTING] = "starting",
};

struct api *api_new(const struct api_node *node)
{
	struct api *a = MEM_NEW(struct api);
	a->node = *node;
	list_init(&a->waiting);
	return a;
}

void api_free(struct api *a)
{
	mem_free(a);
}

const struct api_node *api_node(const struct api_call *c)
{
	return &c->api->node;
}

bool api_ready(const struct api_call *c)
{
	const struct api_node *n = api_node(c);
	return n->app(n->arg) == API_APP_RUNNING;
}

struct broker *api_broker(const struct api_call *c)
{
	return c->api->node.shards[0].env->broker;
}

/* ---- the end of a call ---- */

static void call_end(struct api_call *c, json_t *reply)
{
	void (*done)(void *arg, json_t *reply) = c->done;
	void *arg = c->arg;
	list_remove(&c->waiting);
	list_remove(&c->catalog.link);
	list_remove(&c->queue.link);
	if (c->timer != NULL)
		timer_free(c->timer);
	if (c->missing != NULL)
		json_object_set_new(reply, "missing", c->missing);
	if (c->unsure)
		json_object_set_new(reply, "unsure", json_true());
	json_decref(c->args);
	mem_free(c);
	done(arg, reply);
}

void api_ok(struct api_call *c, json_t *result)
{
	call_end(c, json_pack("{sbso}", "ok", 1, "result",
			    result != NULL ? result : json_true()));
}

void api_fail(struct api_call *c, enum api_error code, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	json_t *reply = json_pack("{sbss}", "ok", 0, "error", error_names[code]);
	json_object_set_new(reply, "message",
		json_of_slice(slice_make(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1)));
	call_end(c, reply);
}

void api_pass(struct api_call *c, const char *who, const json_t *reply)
{
	const char *error = error_names[API_UNAVAILABLE], *message = "";
	json_unpack((json_t *)reply, "{s?ss?s}", "error", &error, "message", &message);
	if (strcmp(error, error_names[API_NOT_READY]) == 0)
		error = error_names[API_UNAVAILABLE]; /* it is not this node's app that is missing */
	char *text = mem_printf("%s%s", who, message);
	json_t *own = json_pack("{sbss}", "ok", 0, "error", error);
	json_object_set_new(own, "message", json_of_slice(slice_str(text)));
	mem_free(text);
	call_end(c, own);
}

bool api_args(struct api_call *c, const char *format, ...)
{
	json_error_t error;
	va_list ap;
	va_start(ap, format);
	int rc = json_vunpack_ex(c->args, &error, 0, format, ap);
	va_end(ap);
	if (rc != 0)
		api_fail(c, API_BAD_REQUEST, "%s", error.text);
	return rc == 0;
}

struct broker_vhost *api_vhost(struct api_call *c)
{
	const char *name = "/";
	size_t n = 1;
	if (!api_args(c, "{s?s%}", "vhost", &name, &n))
		return NULL;
	struct broker_vhost *v = broker_vhost_find(api_broker(c), slice_make(name, n));
	if (v == NULL)
		api_fail(c, API_NOT_FOUND, "Virtual host '%s' does not exist", name);
	return v;
}

struct broker_queue *api_queue(struct api_call *c)
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

bool api_queue_type(struct api_call *c, struct slice name)
{
	enum broker_queue_type type;
	if (name.n == 0 || broker_queue_type_of(name, &type))
		return true;
	api_fail(c, API_BAD_REQUEST, "invalid_queue_type");
	return false;
}

void api_note_missing(struct api_call *c, const char *node, const char *why)
{
	json_t *row = json_object();
	json_object_set_new(row, "node", json_of_slice(slice_str(node)));
	json_object_set_new(row, "why", json_of_slice(slice_str(why)));
	if (c->missing == NULL)
		c->missing = json_array();
	json_array_append_new(c->missing, row);
}

/* ---- one change of membership at a time ---- */

uint64_t api_supersede(struct api_call *c, const char *verb)
{
	c->api->changer = verb;
	return ++c->api->n_changes;
}

const char *api_superseded(const struct api_call *c, uint64_t number)
{
	return c->api->n_changes != number ? c->api->changer : NULL;
}

/* ---- waiting ---- */

static void call_wait(struct api_call *c)
{
	list_remove(&c->waiting);
	list_push_back(&c->api->waiting, &c->waiting);
}

static void call_on_time(void *arg)
{
	struct api_call *c = arg;
	c->again(c);
}

void api_again(struct api_call *c, void (*again)(struct api_call *c))
{
	c->again = again;
	if (c->timer == NULL)
		c->timer = timer_new(api_node(c)->shards[0].worker, call_on_time, c);
	timer_set(c->timer, AGAIN_MS);
	call_wait(c);
}

void api_abandon(struct api *a)
{
	while (!list_empty(&a->waiting)) {
		struct api_call *c = LIST_ENTRY(a->waiting.next, struct api_call, waiting);
		c->unsure = true;
		api_fail(c, API_UNAVAILABLE,
			"node %s has stopped serving clients meanwhile: it is not known whether this "
			"was done",
			a->node.name);
	}
}

static void call_on_result(struct catalog_request *r, const struct broker_result *result)
{
	struct api_call *c = (struct api_call *)((char *)r - offsetof(struct api_call, catalog));
	c->begun = c->begun || result->code == BROKER_OK;
	if (c->applied != NULL)
		c->applied(c, result);
	else if (result->code == BROKER_OK)
		api_ok(c, NULL);
	else
		api_fail(c, result->code == BROKER_NOT_FOUND ? API_NOT_FOUND : API_REFUSED,
			"not done: %s", broker_code_text(result->code));
}

/* ---- without a majority ---- */

/* Of some nodes: how many there are, how many of them can be reached, and the names of the others. */
struct reach {
	unsigned nodes, reached;
	struct buf away;
};

static void reach_count(struct reach *r, const struct api_call *c, const struct broker_node *n)
{
	const struct api_node *node = api_node(c);
	r->nodes++;
	if (n->id == node->id(node->arg) || links_linked(node->links, n->id)) {
		r->reached++;
		return;
	}
	buf_put_slice(&r->away, slice_str(r->away.n > 0 ? ", " : " (not reached: "));
	buf_put_slice(&r->away, n->name);
}

/* In the words that clients hear, and who is missing. Ends the call. */
static void reach_fail(struct reach *r, struct api_call *c, const char *whose, const char *consequence)
{
	buf_put_slice(&r->away, slice_str(r->away.n > 0 ? ")" : ""));
	api_fail(c, API_UNAVAILABLE,
		"no majority of %s can be reached: %u of %u are running or reachable from node '%s'%.*s; %s", whose,
		r->reached, r->nodes, api_node(c)->name, SLICE_FMT(buf_slice(&r->away)), consequence);
	buf_done(&r->away);
}

static void call_in_minority(struct api_call *c, const char *consequence)
{
	const struct broker *b = api_broker(c);
	struct reach r = {0, 0, BUF_EMPTY};
	for (size_t i = 0; i < b->n_nodes; i++)
		reach_count(&r, c, b->nodes[i]);
	reach_fail(&r, c, "the cluster's nodes", consequence);
}

/* The nodes whose members vote. False: the queue can be served, as far as that depends on them. */
static bool reach_of_queue(struct reach *r, const struct api_call *c, const struct broker_queue *q)
{
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *n = broker_node_by_number(q->vhost->broker, m->node);
		if (n == NULL || !broker_member_votes(q, m))
			continue;
		unsigned before = r->reached;
		reach_count(r, c, n);
		if (r->reached > before && broker_member_survives(q, m))
			return false; /* it is a majority by itself */
	}
	return 2 * r->reached <= r->nodes && r->nodes > 0;
}

bool api_lacks_majority(const struct api_call *c, const struct broker_queue *q)
{
	struct reach r = {0, 0, BUF_EMPTY};
	bool lacks = reach_of_queue(&r, c, q);
	buf_done(&r.away);
	return lacks;
}

void api_fail_without_majority(struct api_call *c, const struct broker_queue *q, const char *consequence)
{
	struct reach r = {0, 0, BUF_EMPTY};
	char *whose = mem_printf("the nodes of queue '%.*s' in vhost '%.*s'", SLICE_FMT(q->name),
		SLICE_FMT(q->vhost->name));
	reach_of_queue(&r, c, q);
	reach_fail(&r, c, whose, consequence);
	mem_free(whose);
}

/* ---- the metadata, and queues ---- */

static void call_on_unavailable(struct catalog_request *r)
{
	struct api_call *c = (struct api_call *)((char *)r - offsetof(struct api_call, catalog));
	c->unsure = true;
	call_in_minority(c, "it is not known whether this will be done");
}

bool api_fails_in_minority(struct api_call *c)
{
	bool yes = catalog_in_minority(api_node(c)->shards[0].env->catalog);
	if (yes)
		call_in_minority(c, c->begun ? "only a part was done" : "nothing was done");
	return yes;
}

void api_propose(struct api_call *c, struct buf *command,
	void (*applied)(struct api_call *c, const struct broker_result *result))
{
	struct catalog *catalog = api_node(c)->shards[0].env->catalog;
	c->applied = applied;
	c->catalog.done = call_on_result;
	c->catalog.unavailable = call_on_unavailable;
	c->catalog.hasty = true;
	c->catalog.everywhere = true;
	if (!api_fails_in_minority(c)) {
		call_wait(c);
		catalog_propose(catalog, buf_slice(command), &c->catalog);
	}
	buf_done(command);
}

static void call_on_answer(struct queue_request *r, const struct machine_answer *a,
	const struct queue_delivery *d)
{
	struct api_call *c = (struct api_call *)((char *)r - offsetof(struct api_call, queue));
	(void)d;
	c->answered(c, a);
}

struct queue_request *api_queue_request(
	struct api_call *c, void (*answered)(struct api_call *c, const struct machine_answer *a))
{
	c->answered = answered;
	c->queue.done = call_on_answer;
	call_wait(c);
	return &c->queue;
}

/* ---- requests ---- */

static const struct api_verb *verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct api_verb *v = tables[i]; v->name != NULL; v++)
			if (strcmp(v->name, name) == 0)
				return v;
	return NULL;
}

/* RabbitMQ's sense: its tools say that the app does not run there. */
static const char *why_not_ready(const struct api_node *n)
{
	switch (n->app(n->arg)) {
	case API_APP_STOPPED:
		return "this command requires the 'warren' app to be running on the target node. "
		       "Start it with 'warrenctl start_app'.";
	case API_APP_STOPPING:
		return "the 'warren' app on the target node is being stopped";
	default:
		return "the 'warren' app on the target node is starting and does not serve clients "
		       "yet. Wait for it with 'warrenctl await_startup'.";
	}
}

void api_request(
	struct api *a, json_t *request, void (*done)(void *arg, json_t *reply), void *arg)
{
	struct api_call *c = MEM_NEW(struct api_call);
	const char *name = json_string_value(json_object_get(request, "verb"));
	json_t *args = json_object_get(request, "args");
	c->api = a;
	list_init(&c->waiting);
	list_init(&c->catalog.link);
	list_init(&c->queue.link);
	c->args = json_is_object(args) ? json_incref(args) : json_object();
	c->done = done;
	c->arg = arg;
	if (name == NULL) {
		api_fail(c, API_BAD_REQUEST, "a request is an object with a \"verb\"");
		return;
	}
	const struct api_verb *verb = verb_find(name);
	if (verb == NULL)
		api_fail(c, API_UNKNOWN_VERB, "this node does not know '%s'", name);
	else if (!verb->always && !api_ready(c))
		api_fail(c, API_NOT_READY, "%s", why_not_ready(&a->node));
	else
		verb->run(c);
}

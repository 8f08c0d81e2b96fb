/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_clients.h"

#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"

enum { AGAIN_US = 200000, HELD_MAX = 256, BODY_HEAD = 8 };

/* A delivery that is not acknowledged yet. */
struct held {
	uint64_t number; /* of the delivery */
	uint32_t publisher, message;
};

struct sim_client {
	struct list link;
	struct sim_clients *all;
	struct sim_node *node;
	uint64_t life; /* of the node */
	unsigned shard, queue;
	bool consumes;
	/* a publisher */
	struct queue_publisher pub;
	uint32_t no, window, open;
	/* a consumer */
	struct queue_consumer con;
	struct queue_request attach;
	bool attached;
	bool over; /* is_over() has been true */
	unsigned prefetch;
	uint64_t last; /* number of the last delivery */
	struct held held[HELD_MAX];
	unsigned n_held;
	uint32_t *orders, n_orders; /* by publisher: its last message that came anew to this consumer */
	struct list settles; /* struct settle */
	bool unanswered; /* the attach */
};

/* Acknowledgements whose effect is to be heard of. */
struct settle {
	struct queue_publisher base;
	struct list link;
	struct sim_client *client;
	unsigned n;
	struct held what[];
};

void sim_queue_name(char *buf, size_t n, unsigned queue)
{
	snprintf(buf, n, "q%u", queue);
}

struct broker_queue *sim_queue_find(struct sim_node *n, unsigned queue)
{
	char name[16];
	struct broker_vhost *v = broker_vhost_find(sim_node_broker(n), slice_str("/"));
	sim_queue_name(name, sizeof name, queue);
	return v != NULL ? broker_queue_find(v, slice_str(name)) : NULL;
}

static bool lives(const struct sim_client *c)
{
	return sim_node_lives(c->node, c->life);
}

static struct promises *promises_of(struct sim_client *c)
{
	return &c->all->world->promises;
}

static struct sim *sim_of(struct sim_client *c)
{
	return &c->all->world->sim;
}

static struct shard *shard_of(struct sim_client *c)
{
	return sim_node_shard(c->node, c->shard);
}

/* The queue's client on this shard, or NULL if it cannot be used now. */
static struct queue_client *queue_of(struct sim_client *c)
{
	struct shard *s = shard_of(c);
	if (!sim_node_serves(c->node) || !s->open)
		return NULL;
	const struct broker_queue *q = sim_queue_find(c->node, c->queue);
	return q != NULL ? queue_clients_get(s->clients, q->group) : NULL;
}

static struct sim_client *client_new(
	struct sim_clients *all, struct sim_node *n, unsigned queue)
{
	struct sim_client *c = MEM_NEW(struct sim_client);
	c->all = all;
	c->node = n;
	c->life = n->life;
	c->shard = (unsigned)sim_random(&all->world->sim) % n->workers;
	c->queue = queue;
	list_init(&c->settles);
	list_push_back(&all->all, &c->link);
	return c;
}

/* ---- publishing ---- */

static void on_answered(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct sim_client *c = LIST_ENTRY(p, struct sim_client, pub);
	if (!lives(c))
		return;
	c->open--;
	promise_answered(promises_of(c), c->no, (uint32_t)tag, refused);
}

static void publish(struct sim_client *c, struct queue_client *qc)
{
	uint32_t number = promise_message(promises_of(c), c->no);
	size_t n = BODY_HEAD + sim_random(sim_of(c)) % (c->all->body_max + 1);
	uint8_t *body = mem_alloc(n);
	memset(body, (int)number, n);
	store_u32le(body, c->no);
	store_u32le(body + 4, number);
	struct message m = {.flags = ENQUEUE_PERSISTENT,
		.expiration_ms = ENQUEUE_NO_EXPIRATION,
		.envelope = slice_make("\0\1q", 3),
		.props = slice_make("\0\0", 2),
		.body = slice_make(body, n)};
	c->open++;
	queue_publish(qc, &m, &c->pub, number);
	mem_free(body);
	worker_wake(&shard_of(c)->worker);
}

static void publish_some(void *arg, uint64_t number)
{
	struct sim_client *c = arg;
	(void)number;
	if (!lives(c) || c->all->no_more)
		return;
	struct queue_client *qc = queue_of(c);
	for (unsigned n = 1 + sim_random(sim_of(c)) % 4; qc != NULL && n > 0; n--)
		if (c->open < c->window && !queue_full(qc))
			publish(c, qc);
	sim_after(sim_of(c), sim_between(sim_of(c), 500, c->all->pause_us), publish_some, c, 0);
}

void sim_publisher_new(struct sim_clients *all, struct sim_node *n, unsigned queue, unsigned window)
{
	struct sim_client *c = client_new(all, n, queue);
	c->pub.settled = on_answered;
	c->window = window;
	c->no = promise_publisher(promises_of(c), queue);
	sim_after(sim_of(c), 0, publish_some, c, 0);
}

/* ---- consuming ---- */

static void on_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct settle *s = LIST_ENTRY(p, struct settle, base);
	struct sim_client *c = s->client;
	(void)tag;
	for (unsigned i = 0; lives(c) && !refused && i < s->n; i++)
		promise_settled(promises_of(c), s->what[i].publisher, s->what[i].message);
	list_remove(&s->link);
	mem_free(s);
}

static void notify(struct sim_client *c, unsigned n)
{
	struct settle *s = mem_alloc(sizeof *s + n * sizeof *s->what);
	*s = (struct settle){.base.settled = on_settled, .client = c, .n = n};
	memcpy(s->what, c->held, n * sizeof *s->what);
	if (!queue_settle_notify(&c->con, &s->base)) {
		mem_free(s);
		return;
	}
	list_push_back(&c->settles, &s->link);
}

/* The first n of what is held. */
static void settle(struct sim_client *c, unsigned n, enum settle_outcome outcome)
{
	if (n == 0)
		return;
	queue_settle(&c->con, c->held[0].number, c->held[n - 1].number, outcome);
	if (outcome == SETTLE_ACK) {
		for (unsigned i = 0; i < n; i++)
			promise_taken(promises_of(c), c->held[i].publisher, c->held[i].message);
		if (sim_chance(sim_of(c), 50))
			notify(c, n);
	}
	c->n_held -= n;
	memmove(c->held, c->held + n, c->n_held * sizeof *c->held);
	worker_wake(&shard_of(c)->worker);
}

static void check_order(struct sim_client *c, const struct held *h)
{
	if (h->publisher >= c->n_orders) {
		uint32_t n = h->publisher + 16;
		c->orders = mem_realloc(c->orders, n * sizeof *c->orders);
		memset(c->orders + c->n_orders, 0, (n - c->n_orders) * sizeof *c->orders);
		c->n_orders = n;
	}
	if (h->message < c->orders[h->publisher])
		promise_broken(promises_of(c), "message %u of publisher %u comes behind %u",
			h->message, h->publisher, c->orders[h->publisher]);
	c->orders[h->publisher] = h->message;
}

/* Somebody knows that the node's life is over: what still arrives was given to others meanwhile. */
static bool is_over(const struct sim_client *c)
{
	const struct sim_world *w = c->all->world;
	const struct store_identity *id = &c->node->node.identity;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		struct sim_node *n = &c->all->world->nodes[i];
		const struct broker_node *b =
			sim_node_serves(n) ? broker_node_find(sim_node_broker(n), id->node_id) : NULL;
		if (b != NULL && (b->incarnation > id->incarnation ||
				       (b->incarnation == id->incarnation && !b->up)))
			return true;
	}
	return false;
}

static void on_deliver(struct queue_consumer *q, const struct queue_delivery *d)
{
	struct sim_client *c = LIST_ENTRY(q, struct sim_client, con);
	c->over = c->over || !lives(c) || is_over(c);
	if (c->over)
		return;
	if (d->number != c->last + 1)
		promise_broken(promises_of(c), "delivery %lu follows %lu, to consumer %u of q%u at %s",
			(unsigned long)d->number, (unsigned long)c->last, c->con.no, c->queue,
			c->node->name);
	c->last = d->number;
	if (d->message.body.n < BODY_HEAD || c->n_held == HELD_MAX) {
		promise_broken(promises_of(c), "a delivery that nobody sent, or beyond the prefetch");
		return;
	}
	struct held h = {d->number, load_u32le(d->message.body.p), load_u32le(d->message.body.p + 4)};
	promise_came(promises_of(c), h.publisher, h.message, d->returns);
	if (!promises_of(c)->failed && d->returns == 0 &&
		!promise_given_up(promises_of(c), h.publisher, h.message))
		check_order(c, &h);
	c->held[c->n_held++] = h;
}

static void on_cancelled(struct queue_consumer *q)
{
	struct sim_client *c = LIST_ENTRY(q, struct sim_client, con);
	world_trace(c->all->world, "%s q%u consumer %u: cancelled, held %u", c->node->name, c->queue,
		c->con.no, c->n_held);
	c->attached = false;
	c->n_held = 0;
}

static void on_attached(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct sim_client *c = LIST_ENTRY(r, struct sim_client, attach);
	(void)d;
	c->unanswered = false;
	world_trace(c->all->world, "%s q%u consumer %u: attach answered %u", c->node->name, c->queue,
		c->con.no, a->status);
	if (a->status != MACHINE_OK)
		c->attached = c->con.client != NULL;
}

static void attach(struct sim_client *c)
{
	struct queue_client *qc = queue_of(c);
	if (qc == NULL || c->unanswered)
		return;
	c->con = (struct queue_consumer){.no = queue_clients_number(shard_of(c)->clients),
		.deliver = on_deliver,
		.cancelled = on_cancelled};
	c->attach = (struct queue_request){.done = on_attached};
	c->last = 0;
	c->n_held = 0;
	c->attached = c->unanswered = true;
	world_trace(c->all->world, "%s q%u consumer %u attaches", c->node->name, c->queue, c->con.no);
	queue_attach(qc, &c->con,
		&(struct command_attach){.consumer = c->con.no,
			.prefetch = c->prefetch,
			.credit_bytes = UINT64_MAX,
			.tag = slice_str("t")},
		&c->attach);
	worker_wake(&shard_of(c)->worker);
}

static void consume_some(void *arg, uint64_t number)
{
	struct sim_client *c = arg;
	struct sim *s = sim_of(c);
	(void)number;
	if (!lives(c))
		return;
	uint64_t again = sim_between(s, 1000, 40000);
	if (c->node->stopping || c->node->node.app.state != APP_UP) {
		again = AGAIN_US;
	} else if (!c->attached) {
		attach(c);
		again = AGAIN_US;
	} else if (!c->all->gentle && !c->unanswered && sim_chance(s, 1)) {
		world_trace(c->all->world, "%s q%u consumer %u cancels, held %u", c->node->name,
			c->queue, c->con.no, c->n_held);
		queue_cancel(&c->con, true, NULL);
		c->attached = false;
		worker_wake(&shard_of(c)->worker);
	} else {
		bool back = !c->all->gentle && sim_chance(s, 5);
		settle(c, c->n_held > 0 ? (unsigned)sim_between(s, 1, c->n_held) : 0,
			back ? SETTLE_REQUEUE : SETTLE_ACK);
	}
	sim_after(s, again, consume_some, c, 0);
}

void sim_consumer_new(struct sim_clients *all, struct sim_node *n, unsigned queue, unsigned prefetch)
{
	struct sim_client *c = client_new(all, n, queue);
	c->consumes = true;
	c->prefetch = prefetch < HELD_MAX ? prefetch : HELD_MAX;
	sim_after(sim_of(c), 0, consume_some, c, 0);
}

/* ---- life ---- */

unsigned sim_clients_unanswered(const struct sim_clients *all, char *why, size_t why_n)
{
	unsigned n = 0;
	LIST_EACH(node, &all->all)
	{
		const struct sim_client *c = LIST_ENTRY(node, struct sim_client, link);
		if (!lives(c) || c->open == 0)
			continue;
		n += c->open;
		snprintf(why, why_n, "%u publishes are not answered, of publisher %u to q%u at %s, worker %u",
			n, c->no, c->queue, c->node->name, c->shard);
	}
	return n;
}

void sim_clients_begin(struct sim_clients *c, struct sim_world *w)
{
	*c = (struct sim_clients){.world = w, .pause_us = 30000, .body_max = 200};
	list_init(&c->all);
}

void sim_clients_end(struct sim_clients *all)
{
	struct list *node, *at;
	while ((node = list_pop(&all->all)) != NULL) {
		struct sim_client *c = LIST_ENTRY(node, struct sim_client, link);
		while ((at = list_pop(&c->settles)) != NULL)
			mem_free(LIST_ENTRY(at, struct settle, link));
		mem_free(c->orders);
		mem_free(c);
	}
}

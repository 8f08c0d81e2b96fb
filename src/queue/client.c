/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/client_priv.h"

#include <assert.h>

#include "src/base/mem.h"

enum {
	SECTION_MAX = 512 * 1024, /* a longer section is sent before the turn ends */
	OUT_FIRST = 1024,
};

/* ---- registry ---- */

struct queue_clients *queue_clients_new(
	uint64_t client_id, uint64_t self, const struct queue_border *border)
{
	struct queue_clients *qs = MEM_NEW(struct queue_clients);
	qs->id = client_id;
	qs->self = self;
	list_init(&qs->seeking);
	list_init(&qs->untold);
	qs->border = *border;
	list_init(&qs->dirty);
	list_init(&qs->waiters);
	return qs;
}

void queue_clients_set_id(struct queue_clients *qs, uint64_t client_id)
{
	qs->id = client_id;
}

uint64_t queue_clients_id(const struct queue_clients *qs)
{
	return qs->id;
}

uint32_t queue_clients_number(struct queue_clients *qs)
{
	return ++qs->next_no;
}

size_t queue_clients_backlog(const struct queue_clients *qs)
{
	return qs->backlog;
}

bool queue_clients_has(struct queue_clients *qs, uint64_t group)
{
	return clients_find(qs, group) != NULL;
}

struct queue_client *queue_clients_get(struct queue_clients *qs, uint64_t group)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc != NULL)
		return qc;
	qc = MEM_NEW(struct queue_client);
	qc->group = group;
	qc->all = qs;
	qc->next_seq = 1;
	qc->fresh = true;
	list_init(&qc->seeking);
	list_init(&qc->untold);
	list_init(&qc->dirty);
	list_init(&qc->settling);
	list_init(&qc->requests);
	list_init(&qc->waiters);
	HASH_ADD(hh, qs->by_group, group, sizeof qc->group, qc);
	return qc;
}

void client_detach(struct queue_client *qc, struct attached *a)
{
	struct queue_consumer *c = a->consumer;
	HASH_DEL(qc->consumers, a);
	if (qc->last == a)
		qc->last = NULL;
	mem_free(a);
	list_remove(&c->settling);
	c->settle_to = 0;
	c->client = NULL;
}

void client_forget_sents(struct queue_client *qc)
{
	while (ring_n(&qc->sents) > 0) {
		blob_unref(sent_ring_at(&qc->sents, qc->sents.first)->blob);
		sent_ring_pop(&qc->sents);
	}
}

void client_free(struct queue_client *qc)
{
	struct queue_clients *qs = qc->all;
	struct attached *a, *next;
	HASH_ITER(hh, qc->consumers, a, next)
	client_detach(qc, a);
	while (!list_empty(&qc->waiters))
		queue_unwait(LIST_ENTRY(qc->waiters.next, struct queue_waiter, link));
	HASH_DEL(qs->by_group, qc);
	if (qs->last == qc)
		qs->last = NULL;
	qs->backlog -= qc->backlog;
	list_remove(&qc->dirty);
	list_remove(&qc->seeking);
	list_remove(&qc->untold);
	blob_unref(qc->out);
	client_forget_sents(qc);
	ring_done(&qc->waits);
	ring_done(&qc->sents);
	ring_done(&qc->partings);
	buf_done(&qc->orphans);
	mem_free(qc);
}

void queue_clients_free(struct queue_clients *qs)
{
	struct queue_client *qc, *next;
	HASH_ITER(hh, qs->by_group, qc, next)
	client_free(qc);
	mem_free(qs);
}

/* ---- collecting a section ---- */

static void client_send(struct queue_client *qc)
{
	if (qc->out_count == 0)
		return;
	struct blob *blob = qc->out;
	size_t n = qc->out_n;
	uint64_t first = qc->next_seq - qc->out_count;
	command_put_section_header(blob->data + COMMAND_ENTRY_HEADER, qc->all->id, first, qc->heard,
		qc->out_count, (uint32_t)(n - OUT_FRONT));
	/* The estimate follows the load up at once and down slowly. */
	qc->out_hint = n > qc->out_hint ? n : (qc->out_hint + n) / 2;
	if (blob->cap > n + n / 4 + OUT_FIRST)
		blob = blob_grow(blob, n);
	qc->out = NULL;
	qc->out_n = 0;
	qc->out_count = 0;
	if (qc->untold_seq <= qc->heard)
		list_remove(&qc->untold);
	*sent_ring_push(&qc->sents) = (struct sent){qc->next_seq - 1, n, blob};
	if (qc->fresh && qc->state != CLIENT_FOLLOWING)
		client_begin(qc);
	if (qc->state != CLIENT_SEEKING) /* also behind a resume that is not answered yet */
		qc->all->border.submit(
			qc->all->border.arg, qc->group, qc->leader, blob_ref(blob), n);
	else if (list_empty(&qc->seeking))
		client_lose(qc);
}

/* Room for one command of n bytes, which takes the next sequence. */
static uint8_t *client_put(struct queue_client *qc, size_t n)
{
	if (qc->out_count > 0 && qc->out_n + n > SECTION_MAX)
		client_send(qc);
	if (qc->out == NULL) {
		size_t cap = qc->out_hint > OUT_FIRST ? qc->out_hint : OUT_FIRST;
		if (cap < OUT_FRONT + n)
			cap = OUT_FRONT + n;
		qc->out = blob_new(cap);
		qc->out_n = OUT_FRONT;
	} else if (qc->out_n + n > qc->out->cap) {
		size_t cap = qc->out->cap * 2;
		qc->out = blob_grow(qc->out, cap > qc->out_n + n ? cap : qc->out_n + n);
	}
	if (list_empty(&qc->dirty))
		list_push_back(&qc->all->dirty, &qc->dirty);
	uint8_t *p = qc->out->data + qc->out_n;
	qc->out_n += n;
	qc->out_count++;
	qc->next_seq++;
	qc->backlog += n;
	qc->all->backlog += n;
	return p;
}

static void consumer_write_settle(struct queue_consumer *c)
{
	struct buf b = BUF_EMPTY;
	command_put_settle(&b, &(struct command_settle){.consumer = c->no,
				       .outcome = (uint8_t)c->settle_outcome,
				       .from = c->settle_from,
				       .to = c->settle_to});
	memcpy(client_put(c->client, b.n), b.p, b.n);
	buf_done(&b);
	c->settle_to = 0;
	list_remove(&c->settling);
}

static void client_write_settles(struct queue_client *qc)
{
	while (!list_empty(&qc->settling))
		consumer_write_settle(
			LIST_ENTRY(qc->settling.next, struct queue_consumer, settling));
}

void client_command(struct queue_client *qc, struct buf *b, struct queue_request *r)
{
	client_write_settles(qc);
	memcpy(client_put(qc, b->n), b->p, b->n);
	buf_done(b);
	if (r != NULL) {
		r->seq = qc->next_seq - 1;
		list_push_back(&qc->requests, &r->link);
	}
}

bool queue_clients_flush(struct queue_clients *qs)
{
	if (list_empty(&qs->dirty))
		return false;
	struct list *node;
	while ((node = list_pop(&qs->dirty)) != NULL) {
		struct queue_client *qc = LIST_ENTRY(node, struct queue_client, dirty);
		client_write_settles(qc);
		list_remove(&qc->dirty);
		client_send(qc);
	}
	clients_ask(qs);
	return true;
}

/* ---- commands ---- */

void queue_publish(
	struct queue_client *qc, const struct message *m, struct queue_publisher *pub, uint64_t tag)
{
	command_put_enqueue(client_put(qc, command_enqueue_size(m)), m);
	if (pub != NULL) {
		*wait_ring_push(&qc->waits) = (struct wait){qc->next_seq - 1, pub, tag, false};
	}
}

bool queue_full(const struct queue_client *qc)
{
	return qc->backlog > QUEUE_CLIENT_WINDOW || queue_clients_full(qc->all);
}

bool queue_clients_full(const struct queue_clients *qs)
{
	return qs->backlog > QUEUE_CLIENTS_WINDOW;
}

void queue_clients_wait(struct queue_clients *qs, struct queue_waiter *w)
{
	list_push_back(&qs->waiters, &w->link);
}

void queue_wait(struct queue_client *qc, struct queue_waiter *w)
{
	bool own = qc->backlog > QUEUE_CLIENT_WINDOW;
	w->client = qc;
	list_push_back(own ? &qc->waiters : &qc->all->waiters, &w->link);
}

void queue_unwait(struct queue_waiter *w)
{
	list_remove(&w->link);
	w->client = NULL;
}

void queue_attach(struct queue_client *qc, struct queue_consumer *c,
	const struct command_attach *attach, struct queue_request *r)
{
	assert(c->client == NULL && attach->consumer == c->no);
	struct attached *a = MEM_NEW(struct attached);
	a->no = c->no;
	a->pushed = (attach->flags & ATTACH_GET) == 0;
	a->consumer = c;
	HASH_ADD(hh, qc->consumers, no, sizeof a->no, a);
	c->client = qc;
	c->settle_to = 0;
	list_init(&c->settling);
	struct buf b = BUF_EMPTY;
	command_put_attach(&b, attach);
	client_command(qc, &b, r);
	a->seq = qc->next_seq - 1;
}

static bool consumer_extends(
	const struct queue_consumer *c, uint64_t from, uint64_t to, enum settle_outcome outcome)
{
	return c->settle_to != 0 && c->settle_outcome == outcome &&
	       (from == c->settle_to + 1 || to + 1 == c->settle_from);
}

void queue_settle(struct queue_consumer *c, uint64_t from, uint64_t to, enum settle_outcome outcome)
{
	struct queue_client *qc = c->client;
	if (qc == NULL)
		return;
	if (consumer_extends(c, from, to, outcome)) {
		if (from == c->settle_to + 1)
			c->settle_to = to;
		else
			c->settle_from = from;
		return;
	}
	if (c->settle_to != 0)
		consumer_write_settle(c);
	c->settle_from = from;
	c->settle_to = to;
	c->settle_outcome = outcome;
	list_push_back(&qc->settling, &c->settling);
	if (list_empty(&qc->dirty))
		list_push_back(&qc->all->dirty, &qc->dirty);
}

bool queue_settle_notify(struct queue_consumer *c, struct queue_publisher *pub)
{
	struct queue_client *qc = c->client;
	if (qc == NULL)
		return false;
	if (c->settle_to != 0)
		consumer_write_settle(c);
	*wait_ring_push(&qc->waits) = (struct wait){qc->next_seq - 1, pub, 0, false};
	return true;
}

void queue_credit(struct queue_consumer *c, uint64_t credit_bytes)
{
	if (c->client == NULL)
		return;
	struct buf b = BUF_EMPTY;
	command_put_credit(&b, &(struct command_credit){c->no, credit_bytes});
	client_command(c->client, &b, NULL);
}

void queue_prefetch(struct queue_consumer *c, uint32_t prefetch)
{
	if (c->client == NULL)
		return;
	struct buf b = BUF_EMPTY;
	command_put_prefetch(&b, &(struct command_prefetch){c->no, prefetch});
	client_command(c->client, &b, NULL);
}

void queue_cancel(struct queue_consumer *c, bool requeue, struct queue_request *r)
{
	struct queue_client *qc = c->client;
	if (qc == NULL)
		return;
	struct buf b = BUF_EMPTY;
	command_put_cancel(&b, &(struct command_cancel){c->no, requeue});
	client_command(qc, &b, r);
	c->ends_at_failover = false; /* it ends already */
	if (!requeue)
		return;
	*parting_ring_push(&qc->partings) = (struct parting){qc->next_seq - 1, c->no};
	client_detach(qc, client_attached(qc, c->no));
}

void queue_get(struct queue_consumer *c, bool no_ack, struct queue_request *r)
{
	struct buf b = BUF_EMPTY;
	command_put_get(&b, &(struct command_get){c->no, no_ack});
	r->no_ack = no_ack;
	client_command(c->client, &b, r);
}

void queue_purge(struct queue_client *qc, struct queue_request *r)
{
	struct buf b = BUF_EMPTY;
	command_put_purge(&b);
	client_command(qc, &b, r);
}

void queue_delete(struct queue_client *qc, bool if_unused, bool if_empty, struct queue_request *r)
{
	struct buf b = BUF_EMPTY;
	command_put_delete(&b, &(struct command_delete){if_unused, if_empty});
	client_command(qc, &b, r);
}

void queue_status(struct queue_client *qc, bool touch, struct queue_request *r)
{
	struct buf b = BUF_EMPTY;
	command_put_status(&b, &(struct command_status){touch});
	client_command(qc, &b, r);
}

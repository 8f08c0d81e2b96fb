/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of what a client has sent: deliveries, answers, refusals; it is applied; or it is given
 * up, and whoever waits for it is told.
 */
#include "src/queue/client_priv.h"

#include "src/base/mem.h"

/* The client, if it follows that node: what others say is old, or will be said again. */
static struct queue_client *clients_follower(
	struct queue_clients *qs, uint64_t from, uint64_t group)
{
	struct queue_client *qc = clients_find(qs, group);
	return qc != NULL && qc->state == CLIENT_FOLLOWING && qc->leader == from ? qc : NULL;
}

void queue_clients_deliver(struct queue_clients *qs, uint64_t from, uint64_t group,
	uint32_t consumer, const struct queue_delivery *d)
{
	struct queue_client *qc = clients_follower(qs, from, group);
	struct attached *a = qc != NULL ? client_attached(qc, consumer) : NULL;
	/* Deliveries may cross a cancel; the leader returns them when it applies that. */
	if (a == NULL || d->number <= a->last)
		return;
	a->last = d->number;
	a->consumer->deliver(a->consumer, d);
}

static void client_answer(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	list_remove(&r->link);
	r->done(r, a, d);
}

/* Answers come in order: a request that was passed over is answered nevermore. */
static void client_answer_skipped(struct queue_client *qc, uint64_t seq)
{
	while (!list_empty(&qc->requests)) {
		struct queue_request *r = LIST_ENTRY(qc->requests.next, struct queue_request, link);
		if (r->seq >= seq)
			break;
		struct machine_answer a = {
			.client = qc->all->id, .seq = r->seq, .status = MACHINE_UNAVAILABLE};
		client_answer(r, &a, NULL);
	}
}

void queue_clients_answer(struct queue_clients *qs, uint64_t from, uint64_t group,
	const struct machine_answer *a, const struct queue_delivery *d)
{
	struct queue_client *qc = clients_follower(qs, from, group);
	if (qc == NULL || list_empty(&qc->requests))
		return;
	client_answer_skipped(qc, a->seq);
	if (list_empty(&qc->requests))
		return;
	struct queue_request *r = LIST_ENTRY(qc->requests.next, struct queue_request, link);
	if (r->seq != a->seq)
		return;
	if (r->no_ack && d != NULL) {
		qc->untold_seq = a->seq;
		list_remove(&qc->untold);
		list_push_back(&qs->untold, &qc->untold);
	}
	client_answer(r, a, d);
}

void queue_clients_refused(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t seq)
{
	struct queue_client *qc = clients_follower(qs, from, group);
	if (qc == NULL)
		return;
	uint64_t lo = qc->waits.first, hi = qc->waits.end;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		if (wait_ring_at(&qc->waits, mid)->seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == qc->waits.end)
		return;
	struct wait *w = wait_ring_at(&qc->waits, lo);
	if (w->seq == seq)
		w->refused = true;
}

static void client_settle_waits(struct queue_client *qc, uint64_t seq)
{
	while (ring_n(&qc->waits) > 0) {
		struct wait w = *wait_ring_at(&qc->waits, qc->waits.first);
		if (w.seq > seq)
			break;
		wait_ring_pop(&qc->waits);
		w.pub->settled(w.pub, w.tag, w.refused);
	}
}

static void wake_all(struct list *waiters)
{
	struct list ready;
	struct list *node;
	list_init(&ready);
	list_move_all(&ready, waiters);
	while ((node = list_pop(&ready)) != NULL) {
		struct queue_waiter *w = LIST_ENTRY(node, struct queue_waiter, link);
		w->client = NULL;
		w->ready(w);
	}
}

/* Those that this client held, and those that all together held. Who is woken looks again. */
static void client_wake_waiters(struct queue_client *qc)
{
	if (qc->backlog <= QUEUE_CLIENT_WINDOW / 2)
		wake_all(&qc->waiters);
	if (qc->all->backlog <= QUEUE_CLIENTS_WINDOW / 2)
		wake_all(&qc->all->waiters);
}

/* What was given up is passed over by now. */
static void client_forget_given_up(struct queue_client *qc, uint64_t seq)
{
	if (seq >= qc->skip_to)
		qc->skip_from = 0;
	if (qc->orphans_seq != 0 && seq >= qc->orphans_seq)
		buf_done(&qc->orphans);
	if (seq >= qc->rewound)
		qc->rewound = 0;
}

/* Their cancelling is applied. */
static void client_part(struct queue_client *qc, uint64_t seq)
{
	while (ring_n(&qc->partings) > 0 &&
		parting_ring_at(&qc->partings, qc->partings.first)->seq <= seq)
		parting_ring_pop(&qc->partings);
}

void queue_clients_applied(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t seq)
{
	struct queue_client *qc = clients_follower(qs, from, group);
	if (qc == NULL)
		return;
	client_forget_given_up(qc, seq);
	client_part(qc, seq);
	qc->heard = seq;
	qc->served = from;
	client_settle_waits(qc, seq);
	while (ring_n(&qc->sents) > 0) {
		struct sent s = *sent_ring_at(&qc->sents, qc->sents.first);
		if (s.last_seq > seq)
			break;
		sent_ring_pop(&qc->sents);
		blob_unref(s.blob);
		qc->backlog -= s.bytes - OUT_FRONT;
		qs->backlog -= s.bytes - OUT_FRONT;
	}
	client_wake_waiters(qc);
}

static void client_cancelled(struct queue_client *qc, struct attached *a)
{
	struct queue_consumer *c = a->consumer;
	client_detach(qc, a);
	c->cancelled(c);
}

void queue_clients_cancelled(
	struct queue_clients *qs, uint64_t from, uint64_t group, uint32_t consumer)
{
	struct queue_client *qc = clients_follower(qs, from, group);
	struct attached *a = qc != NULL ? client_attached(qc, consumer) : NULL;
	if (a != NULL)
		client_cancelled(qc, a);
}

/* ---- given up ---- */

void client_cancel_orphans(struct queue_client *qc)
{
	struct reader r = reader_of(buf_slice(&qc->orphans));
	if (qc->orphans_seq != 0)
		return;
	while (reader_left(&r) > 0) {
		struct buf b = BUF_EMPTY;
		command_put_cancel(&b, &(struct command_cancel){get_u32le(&r), true});
		client_command(qc, &b, NULL);
		qc->orphans_seq = qc->next_seq - 1;
	}
}

/* Those that are there now; who is told may ask more. */
static void client_answer_all(struct queue_client *qc, enum machine_status status)
{
	struct list all;
	struct list *node;
	list_init(&all);
	list_move_all(&all, &qc->requests);
	while ((node = list_pop(&all)) != NULL) {
		struct queue_request *r = LIST_ENTRY(node, struct queue_request, link);
		struct machine_answer a = {.client = qc->all->id, .seq = r->seq, .status = status};
		r->done(r, &a, NULL);
	}
}

static void client_refuse_waits(struct queue_client *qc)
{
	for (uint64_t at = qc->waits.first; at < qc->waits.end; at++)
		wait_ring_at(&qc->waits, at)->refused = true;
}

static void client_drop_backlog(struct queue_client *qc)
{
	qc->all->backlog -= qc->backlog;
	qc->backlog = 0;
	client_forget_sents(qc);
	blob_unref(qc->out);
	qc->out = NULL;
	qc->out_n = 0;
	qc->out_count = 0;
	list_remove(&qc->dirty);
}

static bool client_is_awaited(const struct queue_client *qc)
{
	return ring_n(&qc->waits) > 0 || !list_empty(&qc->requests) || qc->consumers != NULL;
}

/* The queue is gone: ends everything outstanding and the client itself. */
static void client_end(struct queue_client *qc)
{
	/* Who is told may ask more, as a channel does that closes: that has its answer, too. */
	while (client_is_awaited(qc)) {
		client_settle_waits(qc, UINT64_MAX);
		client_answer_all(qc, MACHINE_GONE);
		while (qc->consumers != NULL)
			client_cancelled(qc, qc->consumers);
	}
	client_drop_backlog(qc);
	client_wake_waiters(qc);
	client_free(qc);
}

/* Publishes that were under way are confirmed: their queue is deleted, as somebody wished. */
void queue_clients_gone(struct queue_clients *qs, uint64_t group)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc != NULL)
		client_end(qc);
}

/* Whether a leader has seen what is given up here is not known. So it never comes (`skip`), and what
 * may have been attached by it is cancelled; likewise what was to be cancelled by it. */
static void client_give_up(struct queue_client *qc)
{
	struct attached *a, *next;
	if (qc->skip_from == 0)
		qc->skip_from = qc->heard + 1;
	qc->skip_to = qc->next_seq - 1;
	if (qc->skip_to < qc->skip_from)
		qc->skip_from = 0;
	HASH_ITER(hh, qc->consumers, a, next)
	buf_put_u32le(&qc->orphans, a->no);
	for (; ring_n(&qc->partings) > 0; parting_ring_pop(&qc->partings))
		buf_put_u32le(&qc->orphans,
			parting_ring_at(&qc->partings, qc->partings.first)->no);
	qc->orphans_seq = 0;
	qc->fresh = false;
	client_drop_backlog(qc);
}

/* Before whoever is told attaches anew. */
static void client_cancel_all(struct queue_client *qc)
{
	struct buf b = BUF_EMPTY;
	command_put_cancel(&b, &(struct command_cancel){CONSUMER_ALL, true});
	client_command(qc, &b, NULL);
	qc->rewound = qc->next_seq - 1;
}

void client_unavailable(struct queue_client *qc)
{
	uint64_t last = qc->next_seq - 1; /* who is told may go on with more */
	client_lose(qc);
	list_remove(&qc->seeking); /* until something is wanted of it, or a node comes */
	client_give_up(qc);
	if (qc->rewound != 0)
		client_cancel_all(qc);
	client_refuse_waits(qc);
	client_settle_waits(qc, last);
	client_answer_all(qc, MACHINE_UNAVAILABLE);
	while (qc->consumers != NULL)
		client_cancelled(qc, qc->consumers);
	client_wake_waiters(qc);
}

void client_rewind(struct queue_client *qc, uint64_t last)
{
	client_drop_backlog(qc);
	qc->next_seq++; /* so that there is something to pass over, and to hear of */
	qc->skip_from = last + 1;
	qc->rewound = qc->next_seq;
	client_unavailable(qc);
}

void queue_clients_unavailable(struct queue_clients *qs, uint64_t from, uint64_t group)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc != NULL && qc->leader == from)
		client_unavailable(qc);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom a client sends its sections to. It follows a leader, or asks somebody who may lead to resume,
 * or seeks one; see the picture in client.h.
 */
#include "src/queue/client_priv.h"

#include "src/queue/resume.h"

enum {
	/* Hints that are followed at once. Two nodes that each take the other for the leader would send a client to and
	 * fro, with all that it has under way, as fast as the network can; beyond this it waits for a tick. */
	MOVES_MAX = 3,
	RESUME_TICKS = QUEUE_RESUME_MS / QUEUE_SEEK_MS,
	PATIENCE_TICKS = QUEUE_PATIENCE_MS / QUEUE_SEEK_MS,
};

void client_lose(struct queue_client *qc)
{
	struct queue_clients *qs = qc->all;
	if (qc->state == CLIENT_FOLLOWING || list_empty(&qc->seeking)) {
		qc->tries = 0;
		qc->ticks = 0;
	}
	qc->state = CLIENT_SEEKING;
	qc->leader = 0;
	qc->asked = false;
	if (list_empty(&qc->seeking))
		list_push_back(&qs->seeking, &qc->seeking);
}

/* Who was asked does not lead: somebody is asked after a while. */
static void client_ask_later(struct queue_client *qc)
{
	client_lose(qc);
	qc->asked = true;
	qc->waiting = 0;
}

static void client_follow(struct queue_client *qc, uint64_t node)
{
	qc->state = CLIENT_FOLLOWING;
	qc->leader = node;
	qc->fresh = false;
	list_remove(&qc->seeking);
}

static void client_put_resume(struct queue_client *qc, struct buf *b)
{
	struct attached *a, *next;
	uint32_t n = 0;
	HASH_ITER(hh, qc->consumers, a, next)
	n += a->pushed;
	resume_put(b, ++qc->attempt, qc->all->id, n);
	HASH_ITER(hh, qc->consumers, a, next)
	if (a->pushed)
		resume_put_consumer(b, a->no, a->last);
}

static struct blob *blob_copy(const uint8_t *p, size_t n)
{
	struct blob *blob = blob_new(n);
	memcpy(blob->data, p, n);
	return blob;
}

/* A section without commands: the sequences that it counts are to be passed over. */
static void client_send_empty(struct queue_client *qc, uint64_t first, uint32_t count)
{
	const struct queue_border *to = &qc->all->border;
	struct blob *blob = blob_new(OUT_FRONT);
	command_put_section_header(
		blob->data + COMMAND_ENTRY_HEADER, qc->all->id, first, qc->heard, count, 0);
	to->submit(to->arg, qc->group, qc->leader, blob, OUT_FRONT);
}

/* After a rewind that may be all that this client ever sent. */
static void client_send_skip(struct queue_client *qc)
{
	for (uint64_t from = qc->skip_from; from != 0 && from <= qc->skip_to;) {
		uint32_t n = command_section_covers(from, qc->skip_to);
		client_send_empty(qc, from, n);
		from += n;
	}
}

/* A block that was once given away may be somebody's batch by now: what goes again is a copy. */
static void client_resume(struct queue_client *qc, uint64_t node)
{
	const struct queue_border *to = &qc->all->border;
	struct buf b = BUF_EMPTY;
	if (qc->state == CLIENT_FOLLOWING)
		client_lose(qc);
	qc->state = CLIENT_RESUMING;
	qc->leader = node;
	qc->asked = true;
	qc->waiting = 0;
	qc->fresh = false;
	client_put_resume(qc, &b);
	bool sent = to->resume(to->arg, qc->group, node, blob_copy(b.p, b.n), b.n);
	buf_done(&b);
	if (!sent) {
		/* Somebody still believes in a leader that is gone: nobody would answer. */
		client_lose(qc);
		qc->asked = true;
		return;
	}
	client_send_skip(qc);
	for (uint64_t at = qc->sents.first; at < qc->sents.end; at++) {
		const struct sent *s = sent_ring_at(&qc->sents, at);
		to->submit(to->arg, qc->group, node, blob_copy(s->blob->data, s->bytes), s->bytes);
	}
}

static void client_try(struct queue_client *qc)
{
	const struct queue_border *to = &qc->all->border;
	uint64_t node = to->route(to->arg, qc->group, qc->tries++);
	qc->asked = true;
	qc->waiting = 0;
	if (node == QUEUE_NOWHERE)
		client_unavailable(qc);
	else if (node != 0)
		client_resume(qc, node);
}

static bool client_wants_leader(const struct queue_client *qc)
{
	return ring_n(&qc->sents) > 0 || qc->consumers != NULL || !list_empty(&qc->requests) ||
	       qc->out_count > 0 || qc->orphans.n > 0;
}

void client_begin(struct queue_client *qc)
{
	const struct queue_border *to = &qc->all->border;
	uint64_t node = to->route(to->arg, qc->group, 0);
	if (node != 0 && node != QUEUE_NOWHERE)
		client_follow(qc, node);
	else
		client_lose(qc);
}

void clients_ask(struct queue_clients *qs)
{
	LIST_EACH_SAFE(node, &qs->seeking)
	{
		struct queue_client *qc = LIST_ENTRY(node, struct queue_client, seeking);
		if (!qc->asked)
			client_try(qc);
	}
}

/* ---- time and links ---- */

static void client_tick(struct queue_client *qc)
{
	qc->waiting++;
	qc->moves = 0;
	if (++qc->ticks >= PATIENCE_TICKS)
		client_unavailable(qc);
	else if (qc->state == CLIENT_SEEKING || qc->waiting >= RESUME_TICKS)
		client_try(qc);
}

/* What a get without acknowledgement has brought is settled by the next section, and nobody may send one. Who has no
 * leader, or has something under way, tells it with that. */
static void clients_tell(struct queue_clients *qs)
{
	LIST_EACH_SAFE(node, &qs->untold)
	{
		struct queue_client *qc = LIST_ENTRY(node, struct queue_client, untold);
		if (qc->state == CLIENT_FOLLOWING && (qc->out_count > 0 || ring_n(&qc->sents) > 0))
			continue;
		list_remove(&qc->untold);
		if (qc->state == CLIENT_FOLLOWING)
			client_send_empty(qc, qc->next_seq, 0);
	}
}

bool queue_clients_tick(struct queue_clients *qs)
{
	clients_tell(qs);
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &qs->seeking);
	while ((node = list_pop(&due)) != NULL) {
		struct queue_client *qc = LIST_ENTRY(node, struct queue_client, seeking);
		list_push_back(&qs->seeking, &qc->seeking);
		client_tick(qc);
	}
	return queue_clients_seek(qs);
}

bool queue_clients_seek(const struct queue_clients *qs)
{
	return !list_empty(&qs->seeking) || !list_empty(&qs->untold);
}

void queue_clients_link_up(struct queue_clients *qs, uint64_t node)
{
	struct queue_client *qc, *next;
	(void)node;
	HASH_ITER(hh, qs->by_group, qc, next)
	{
		if (qc->state != CLIENT_SEEKING || !client_wants_leader(qc))
			continue;
		client_lose(qc);
		client_try(qc);
	}
}

void queue_clients_link_down(struct queue_clients *qs, uint64_t node)
{
	struct queue_client *qc, *next;
	HASH_ITER(hh, qs->by_group, qc, next)
	{
		if (qc->leader != node || node == qs->self)
			continue;
		client_lose(qc);
		if (client_wants_leader(qc))
			client_try(qc);
		else
			list_remove(&qc->seeking);
	}
}

/* ---- what hosts say ---- */

void queue_clients_moved(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t to)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc == NULL || qc->leader != from)
		return;
	/* While resuming, what came before the resume is answered like that. */
	if (to == from && qc->state != CLIENT_FOLLOWING)
		return;
	if (to == from && qc->resent != qc->heard + 1) {
		qc->resent = qc->heard + 1;
		client_resume(qc, from);
		return;
	}
	client_ask_later(qc);
	/* Who wants it once more, and nothing was applied, gets it later. */
	if (to != 0 && to != from && qc->moves++ < MOVES_MAX)
		client_resume(qc, to);
}

void queue_clients_led(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t term)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc == NULL || term <= qc->term || qc->fresh)
		return;
	qc->term = term;
	client_resume(qc, from);
}

static struct attached *client_fragile(const struct queue_client *qc)
{
	struct attached *a, *next;
	HASH_ITER(hh, qc->consumers, a, next)
	if (a->consumer->ends_at_failover && a->seq <= qc->heard)
		return a;
	return NULL;
}

/* Another node leads: there are consumers that do not want to go on there. What they hold returns. */
static void client_end_fragile(struct queue_client *qc)
{
	struct attached *a;
	while ((a = client_fragile(qc)) != NULL) {
		struct queue_consumer *c = a->consumer;
		queue_cancel(c, true, NULL);
		c->cancelled(c);
	}
}

/* The first that the leader may not have: of what is sent again to it. */
static uint64_t client_first(const struct queue_client *qc)
{
	return qc->skip_from != 0 ? qc->skip_from : qc->heard + 1;
}

void queue_clients_resumed(struct queue_clients *qs, uint64_t from, uint64_t group,
	uint32_t attempt, uint64_t term, uint64_t last)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc == NULL || qc->state != CLIENT_RESUMING || qc->leader != from ||
		qc->attempt != attempt)
		return;
	/* It has not heard yet that another one leads: what it has not got is not lost. */
	if (term < qc->term) {
		client_ask_later(qc);
		return;
	}
	qc->term = term;
	if (last < client_first(qc) - 1) {
		client_rewind(qc, last);
		return;
	}
	client_follow(qc, from);
	qc->moves = 0;
	client_cancel_orphans(qc);
	if (qc->served != 0 && qc->served != from)
		client_end_fragile(qc);
	qc->served = from;
}

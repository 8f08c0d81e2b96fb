/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/client.h"

#include <assert.h>
#include <uthash.h>

#include "src/base/mem.h"
#include "src/queue/resume.h"
#include "src/queue/ring.h"

enum {
	SECTION_MAX = 512 * 1024, /* a longer section is sent before the turn ends */
	OUT_FIRST = 1024,
	/* Hints that are followed at once. Two nodes that each take the other for the leader would send a client to and
	 * fro, with all that it has under way, as fast as the network can; beyond this it waits for a tick. */
	MOVES_MAX = 3,
	RESUME_TICKS = QUEUE_RESUME_MS / QUEUE_SEEK_MS,
	PATIENCE_TICKS = QUEUE_PATIENCE_MS / QUEUE_SEEK_MS,
};

/* Who wants to know when `seq` is applied. */
struct wait {
	uint64_t seq;
	struct queue_publisher *pub;
	uint64_t tag;
	bool refused;
};

/* A section that is not applied yet: to be sent again to the next leader. */
struct sent {
	uint64_t last_seq;
	size_t bytes;
	struct blob *blob;
};

/* A consumer that its session has forgotten: `seq` is of its cancelling, which is not applied yet. */
struct parting {
	uint64_t seq;
	uint32_t no;
};

RING_OF(wait)
RING_OF(sent)
RING_OF(parting)

struct attached {
	uint32_t no;
	bool pushed;   /* no getter: its deliveries come by themselves */
	uint64_t last; /* number of the last delivery */
	uint64_t seq;  /* of the command that attached it */
	struct queue_consumer *consumer;
	UT_hash_handle hh;
};

enum client_state {
	CLIENT_SEEKING,   /* nobody known; sections are only kept */
	CLIENT_RESUMING,  /* `leader` was sent all again and has not answered */
	CLIENT_FOLLOWING, /* `leader` gets sections as they come */
};

struct queue_client {
	uint64_t group;
	struct queue_clients *all;
	UT_hash_handle hh;
	enum client_state state;
	bool fresh;       /* has sent nothing to nobody: there is nothing to resume */
	bool asked;       /* seeking, and has tried in this turn or before */
	unsigned tries;   /* since the leader was lost */
	unsigned ticks;   /* likewise */
	unsigned waiting; /* ticks since the last try */
	unsigned moves;   /* hints that were followed since the last tick, or since one led to the leader */
	uint64_t leader;  /* node; 0: unknown */
	uint64_t served;  /* node that has applied the last section; 0: none yet */
	uint64_t term;    /* of the newest leader heard of */
	uint32_t attempt; /* number of the last resume */
	uint64_t resent;  /* `heard` when the leader wanted to have all again, and 1; 0: it did not */
	struct list seeking; /* in queue_clients.seeking unless following */
	struct list untold;  /* in queue_clients.untold while the leader keeps for it what it has got ... */
	uint64_t untold_seq; /* ... as far as this */
	/* Commands [skip_from, skip_to] were given up and never come; 0: none. */
	uint64_t skip_from, skip_to;
	/* Consumers that were given up with them, u32 each, and the sequence by which their
	 * cancelling is applied; 0: it waits for a leader. */
	struct buf orphans;
	uint64_t orphans_seq;
	uint64_t rewound; /* the sequence by which all consumers before it are cancelled; 0: it is applied */
	uint64_t next_seq;
	uint64_t heard; /* everything up to here is known to be applied */
	/* The section being collected. */
	struct blob *out;
	size_t out_n;
	size_t out_hint; /* size of the last one: the next begins with that capacity */
	uint32_t out_count;
	struct list dirty;
	struct list settling; /* consumers with a range not yet written */
	struct ring waits;    /* struct wait, by seq */
	struct ring sents;    /* struct sent, by seq */
	struct ring partings; /* struct parting, by seq */
	size_t backlog;
	struct list requests; /* struct queue_request, by seq */
	struct attached *consumers;
	struct attached *last; /* of the last delivery */
	struct list waiters;
};

struct queue_clients {
	uint64_t id;
	uint64_t self; /* own node */
	struct list seeking; /* struct queue_client.seeking */
	struct list untold;
	struct queue_border border;
	struct queue_client *by_group;
	struct queue_client *last; /* last found */
	struct list dirty;
	size_t backlog;
	struct list waiters; /* for the window of all clients */
	uint32_t next_no;
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

static struct queue_client *clients_find(struct queue_clients *qs, uint64_t group)
{
	if (qs->last != NULL && qs->last->group == group)
		return qs->last;
	struct queue_client *qc;
	HASH_FIND(hh, qs->by_group, &group, sizeof group, qc);
	if (qc != NULL)
		qs->last = qc;
	return qc;
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

static void client_detach(struct queue_client *qc, struct attached *a)
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

static struct attached *client_attached(struct queue_client *qc, uint32_t no)
{
	if (qc->last != NULL && qc->last->no == no)
		return qc->last;
	struct attached *a;
	HASH_FIND(hh, qc->consumers, &no, sizeof no, a);
	if (a != NULL)
		qc->last = a;
	return a;
}

static void client_forget_sents(struct queue_client *qc)
{
	while (ring_n(&qc->sents) > 0) {
		blob_unref(sent_ring_at(&qc->sents, qc->sents.first)->blob);
		sent_ring_pop(&qc->sents);
	}
}

static void client_free(struct queue_client *qc)
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

/* ---- the leader ---- */

enum { OUT_FRONT = COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER };

static void client_lose(struct queue_client *qc)
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

static void client_unavailable(struct queue_client *qc);

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

/* The first time there is nothing to resume: whoever is most likely gets the sections at once. */
static void client_begin(struct queue_client *qc)
{
	const struct queue_border *to = &qc->all->border;
	uint64_t node = to->route(to->arg, qc->group, 0);
	if (node != 0 && node != QUEUE_NOWHERE)
		client_follow(qc, node);
	else
		client_lose(qc);
}

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

/* Appends a command built in `b`, behind the settles that came before it. */
static void client_command(struct queue_client *qc, struct buf *b, struct queue_request *r)
{
	client_write_settles(qc);
	memcpy(client_put(qc, b->n), b->p, b->n);
	buf_done(b);
	if (r != NULL) {
		r->seq = qc->next_seq - 1;
		list_push_back(&qc->requests, &r->link);
	}
}

/* Those that have lost their leader in this turn, or found none. */
static void clients_ask(struct queue_clients *qs)
{
	LIST_EACH_SAFE(node, &qs->seeking)
	{
		struct queue_client *qc = LIST_ENTRY(node, struct queue_client, seeking);
		if (!qc->asked)
			client_try(qc);
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

/* ---- events ---- */

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

/* Consumers may have been attached by what was given up. */
static void client_cancel_orphans(struct queue_client *qc)
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

static void client_unavailable(struct queue_client *qc)
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

/* The first that the leader may not have: of what is sent again to it. */
static uint64_t client_first(const struct queue_client *qc)
{
	return qc->skip_from != 0 ? qc->skip_from : qc->heard + 1;
}

/* What was applied is not: an operator has given up who had it. The queue goes on from `last`, and what it knows of
 * this client's consumers is not theirs: some may have ended long ago, and would hold messages for nobody. */
static void client_rewind(struct queue_client *qc, uint64_t last)
{
	client_drop_backlog(qc);
	qc->next_seq++; /* so that there is something to pass over, and to hear of */
	qc->skip_from = last + 1;
	qc->rewound = qc->next_seq;
	client_unavailable(qc);
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

void queue_clients_unavailable(struct queue_clients *qs, uint64_t from, uint64_t group)
{
	struct queue_client *qc = clients_find(qs, group);
	if (qc != NULL && qc->leader == from)
		client_unavailable(qc);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/event.h"

#include <assert.h>

#include "src/base/mem.h"

/* As octets numbers are never used again. */
enum event_type {
	EVENT_DELIVER = 1,
	EVENT_ANSWER = 2,
	EVENT_REFUSED = 3,
	EVENT_APPLIED = 4,
	EVENT_CANCELLED = 5,
	EVENT_UNAVAILABLE = 6,
	EVENT_MOVED = 7,
	EVENT_LED = 8,
	EVENT_RESUMED = 9,
	EVENT_GONE = 10,
};

enum {
	EVENT_HEAD = 16,
	DELIVERY_SIZE = 20,  /* consumer u32 | number u64 | returns u32 | message bytes u32 */
	ANSWER_SIZE = 24,    /* seq u64 | messages u64 | consumers u32 | type, status, has, 0 u8 */
	EVENTS_FIRST = 4096, /* octets of a first block */
};

struct event {
	enum event_type type;
	bool has_message;
	uint32_t attempt;
	uint64_t group;
	uint64_t last;  /* of resumed */
	uint64_t value; /* seq of refused and applied, node of moved, term of led and resumed */
	struct machine_delivery delivery;
	struct machine_answer answer;
	struct event_message at;
};

struct event_mail {
	struct mail mail;
	struct queue_clients *to;
	uint64_t from;
	struct event *events;
	size_t n, cap;
	/* Entries held, one reference each however many events point into it in a row. */
	struct blob **held;
	size_t n_held, held_cap;
	/* Instead of the above: octets. */
	bool octets;
	struct blob *blob;
	size_t blob_n;
};

/* ---- to the clients ---- */

static void event_run(struct queue_clients *to, uint64_t from, const struct event *e,
	const struct queue_delivery *d)
{
	switch (e->type) {
	case EVENT_DELIVER:
		if (d != NULL)
			queue_clients_deliver(to, from, e->group, e->delivery.consumer, d);
		break;
	case EVENT_ANSWER:
		queue_clients_answer(to, from, e->group, &e->answer, d);
		break;
	case EVENT_REFUSED:
		queue_clients_refused(to, from, e->group, e->value);
		break;
	case EVENT_APPLIED:
		queue_clients_applied(to, from, e->group, e->value);
		break;
	case EVENT_CANCELLED:
		queue_clients_cancelled(to, from, e->group, e->delivery.consumer);
		break;
	case EVENT_UNAVAILABLE:
		queue_clients_unavailable(to, from, e->group);
		break;
	case EVENT_MOVED:
		queue_clients_moved(to, from, e->group, e->value);
		break;
	case EVENT_LED:
		queue_clients_led(to, from, e->group, e->value);
		break;
	case EVENT_RESUMED:
		queue_clients_resumed(to, from, e->group, e->attempt, e->value, e->last);
		break;
	case EVENT_GONE:
		queue_clients_gone(to, e->group);
		break;
	}
}

void event_mail_run(struct event_mail *em)
{
	for (size_t i = 0; i < em->n; i++) {
		const struct event *e = &em->events[i];
		struct queue_delivery d;
		bool ok = e->has_message && event_delivery(&d, &e->delivery, &e->at);
		event_run(em->to, em->from, e, ok ? &d : NULL);
	}
	for (size_t i = 0; i < em->n_held; i++)
		blob_unref(em->held[i]);
	mem_free(em->held);
	mem_free(em->events);
	mem_free(em);
}

static void event_mail_deliver(struct mail *m, struct worker *w)
{
	(void)w;
	event_mail_run((struct event_mail *)m);
}

struct event_mail *event_mail_new(struct queue_clients *to, uint64_t from)
{
	struct event_mail *em = MEM_NEW(struct event_mail);
	em->mail.deliver = event_mail_deliver;
	em->to = to;
	em->from = from;
	return em;
}

void event_mail_post(struct event_mail *em, struct worker *to)
{
	assert(!em->octets);
	worker_post(to, &em->mail);
}

/* ---- octets ---- */

struct event_mail *event_mail_new_octets(void)
{
	struct event_mail *em = MEM_NEW(struct event_mail);
	em->octets = true;
	return em;
}

struct blob *event_mail_octets(struct event_mail *em, size_t *ret_n)
{
	struct blob *blob = em->blob;
	*ret_n = em->blob_n;
	mem_free(em);
	return blob;
}

/* Room for an event with n octets behind its head. */
static uint8_t *octets_put(
	struct event_mail *em, enum event_type type, uint64_t group, size_t n)
{
	size_t need = em->blob_n + EVENT_HEAD + n;
	if (em->blob == NULL) {
		em->blob = blob_new(need > EVENTS_FIRST ? need : EVENTS_FIRST);
	} else if (em->blob->cap < need) {
		size_t cap = em->blob->cap * 2;
		em->blob = blob_grow(em->blob, cap > need ? cap : need);
	}
	uint8_t *p = em->blob->data + em->blob_n;
	em->blob_n = need;
	store_u32le(p, type);
	store_u32le(p + 4, (uint32_t)n);
	store_u64le(p + 8, group);
	return p + EVENT_HEAD;
}

static void octets_put_value(
	struct event_mail *em, enum event_type type, uint64_t group, uint64_t value)
{
	store_u64le(octets_put(em, type, group, 8), value);
}

/* The enqueue command as it is in the entry; 0 octets: it is not there. */
static struct slice command_at(const struct event_message *at)
{
	if (at->offset > at->n || at->n - at->offset < COMMAND_HEADER)
		return slice_make(NULL, 0);
	const uint8_t *p = at->p + at->offset;
	size_t n = COMMAND_HEADER + (size_t)load_u32le(p + 4);
	return n <= at->n - at->offset ? slice_make(p, n) : slice_make(NULL, 0);
}

static uint8_t *octets_put_delivery(
	uint8_t *p, const struct machine_delivery *d, struct slice command)
{
	store_u32le(p, d->consumer);
	store_u64le(p + 4, d->number);
	store_u32le(p + 12, d->returns);
	store_u32le(p + 16, (uint32_t)command.n);
	memcpy(p + DELIVERY_SIZE, command.p, command.n);
	return p + DELIVERY_SIZE + command.n;
}

static void octets_put_answer(struct event_mail *em, uint64_t group,
	const struct machine_answer *a, const struct event_message *at)
{
	struct slice command = slice_make(NULL, 0);
	if (a->delivery != NULL && at != NULL)
		command = command_at(at);
	bool has = command.n > 0;
	uint8_t *p = octets_put(
		em, EVENT_ANSWER, group, ANSWER_SIZE + (has ? DELIVERY_SIZE + command.n : 0));
	store_u64le(p, a->seq);
	store_u64le(p + 8, a->messages);
	store_u32le(p + 16, a->consumers);
	p[20] = (uint8_t)a->type;
	p[21] = (uint8_t)a->status;
	p[22] = has;
	p[23] = 0;
	if (has)
		octets_put_delivery(p + ANSWER_SIZE, a->delivery, command);
}

/* A delivery's fields, and its message. `offset` of it is inside the octets at `base`. */
static bool octets_get_delivery(struct reader *r, struct blob *blob, struct machine_delivery *ret,
	struct queue_delivery *d)
{
	ret->consumer = get_u32le(r);
	ret->number = get_u64le(r);
	ret->returns = get_u32le(r);
	struct slice command = get_slice(r, get_u32le(r));
	if (r->bad)
		return false;
	struct event_message at = {blob, command.p, command.n, 0};
	return event_delivery(d, ret, &at);
}

static bool octets_get_answer(
	struct reader *r, struct blob *blob, struct event *e, struct queue_delivery *d)
{
	e->answer.seq = get_u64le(r);
	e->answer.messages = get_u64le(r);
	e->answer.consumers = get_u32le(r);
	e->answer.type = (enum command_type)get_u8(r);
	e->answer.status = (enum machine_status)get_u8(r);
	e->has_message = get_u8(r) != 0;
	get_u8(r);
	return !e->has_message || octets_get_delivery(r, blob, &e->delivery, d);
}

/* Fills in what the type has. */
static bool octets_get(
	struct reader *r, struct blob *blob, struct event *e, struct queue_delivery *d)
{
	switch (e->type) {
	case EVENT_DELIVER:
		e->has_message = true;
		return octets_get_delivery(r, blob, &e->delivery, d);
	case EVENT_ANSWER:
		return octets_get_answer(r, blob, e, d);
	case EVENT_REFUSED:
	case EVENT_APPLIED:
	case EVENT_MOVED:
	case EVENT_LED:
		e->value = get_u64le(r);
		break;
	case EVENT_CANCELLED:
		e->delivery.consumer = get_u32le(r);
		break;
	case EVENT_RESUMED:
		e->value = get_u64le(r);
		e->attempt = get_u32le(r);
		e->last = get_u64le(r);
		break;
	case EVENT_UNAVAILABLE:
		break;
	default:
		return false;
	}
	return !r->bad;
}

bool event_receive(
	struct queue_clients *to, uint64_t from, struct blob *blob, const uint8_t *p, size_t n)
{
	struct reader r = reader_make(p, n);
	while (reader_left(&r) > 0) {
		struct event e = {.type = (enum event_type)get_u32le(&r)};
		struct queue_delivery d;
		uint32_t size = get_u32le(&r);
		e.group = get_u64le(&r);
		struct reader body = reader_of(get_slice(&r, size));
		if (r.bad || !octets_get(&body, blob, &e, &d))
			return false;
		event_run(to, from, &e, e.has_message ? &d : NULL);
	}
	return true;
}

/* ---- appending ---- */

static struct event *event_new(struct event_mail *em, enum event_type type, uint64_t group)
{
	if (em->n == em->cap) {
		em->cap = em->cap ? em->cap * 2 : 8;
		em->events = mem_realloc(em->events, em->cap * sizeof *em->events);
	}
	struct event *e = &em->events[em->n++];
	memset(e, 0, sizeof *e);
	e->type = type;
	e->group = group;
	return e;
}

static void event_hold(struct event_mail *em, struct blob *blob)
{
	if (em->n_held > 0 && em->held[em->n_held - 1] == blob)
		return;
	if (em->n_held == em->held_cap) {
		em->held_cap = em->held_cap ? em->held_cap * 2 : 8;
		em->held = mem_realloc(em->held, em->held_cap * sizeof *em->held);
	}
	em->held[em->n_held++] = blob_ref(blob);
}

static void event_set_message(
	struct event_mail *em, struct event *e, const struct event_message *at)
{
	e->has_message = true;
	e->at = *at;
	event_hold(em, at->blob);
}

static void event_put_value(
	struct event_mail *em, enum event_type type, uint64_t group, uint64_t value)
{
	if (em->octets)
		octets_put_value(em, type, group, value);
	else
		event_new(em, type, group)->value = value;
}

void event_put_deliver(struct event_mail *em, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at)
{
	if (em->octets) {
		struct slice command = command_at(at);
		octets_put_delivery(
			octets_put(em, EVENT_DELIVER, group, DELIVERY_SIZE + command.n), d, command);
		return;
	}
	struct event *e = event_new(em, EVENT_DELIVER, group);
	e->delivery = *d;
	event_set_message(em, e, at);
}

void event_put_answer(struct event_mail *em, uint64_t group, const struct machine_answer *a,
	const struct event_message *at)
{
	if (em->octets) {
		octets_put_answer(em, group, a, at);
		return;
	}
	struct event *e = event_new(em, EVENT_ANSWER, group);
	e->answer = *a;
	e->answer.delivery = NULL;
	if (a->delivery != NULL && at != NULL) {
		e->delivery = *a->delivery;
		event_set_message(em, e, at);
	}
}

void event_put_refused(struct event_mail *em, uint64_t group, uint64_t seq)
{
	event_put_value(em, EVENT_REFUSED, group, seq);
}

void event_put_applied(struct event_mail *em, uint64_t group, uint64_t seq)
{
	event_put_value(em, EVENT_APPLIED, group, seq);
}

void event_put_moved(struct event_mail *em, uint64_t group, uint64_t to)
{
	event_put_value(em, EVENT_MOVED, group, to);
}

void event_put_led(struct event_mail *em, uint64_t group, uint64_t term)
{
	event_put_value(em, EVENT_LED, group, term);
}

void event_put_resumed(
	struct event_mail *em, uint64_t group, uint32_t attempt, uint64_t term, uint64_t last)
{
	if (em->octets) {
		uint8_t *p = octets_put(em, EVENT_RESUMED, group, 20);
		store_u64le(p, term);
		store_u32le(p + 8, attempt);
		store_u64le(p + 12, last);
		return;
	}
	struct event *e = event_new(em, EVENT_RESUMED, group);
	e->value = term;
	e->attempt = attempt;
	e->last = last;
}

void event_put_cancelled(struct event_mail *em, uint64_t group, uint32_t consumer)
{
	if (em->octets)
		store_u32le(octets_put(em, EVENT_CANCELLED, group, 4), consumer);
	else
		event_new(em, EVENT_CANCELLED, group)->delivery.consumer = consumer;
}

void event_put_gone(struct event_mail *em, uint64_t group)
{
	assert(!em->octets);
	event_new(em, EVENT_GONE, group);
}

void event_put_unavailable(struct event_mail *em, uint64_t group)
{
	if (em->octets)
		octets_put(em, EVENT_UNAVAILABLE, group, 0);
	else
		event_new(em, EVENT_UNAVAILABLE, group);
}

bool event_delivery(struct queue_delivery *ret, const struct machine_delivery *d,
	const struct event_message *at)
{
	ret->number = d->number;
	ret->returns = d->returns;
	ret->blob = at->blob;
	return command_message_at(at->p, at->n, at->offset, &ret->message) == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/event.h"

#include "src/base/mem.h"

enum event_type {
	EVENT_DELIVER,
	EVENT_ANSWER,
	EVENT_REFUSED,
	EVENT_APPLIED,
	EVENT_CANCELLED,
	EVENT_GONE,
	EVENT_UNAVAILABLE,
};

struct event {
	enum event_type type;
	bool has_message;
	uint64_t group;
	struct machine_delivery delivery;
	struct machine_answer answer; /* seq also of refused and applied */
	struct event_message at;
};

struct event_mail {
	struct mail mail;
	struct queue_clients *to;
	struct event *events;
	size_t n, cap;
	/* Entries held, one reference each however many events point into it in a row. */
	struct blob **held;
	size_t n_held, held_cap;
};

static void event_run(struct queue_clients *to, const struct event *e)
{
	struct queue_delivery d;
	bool ok = e->has_message && event_delivery(&d, &e->delivery, &e->at);
	switch (e->type) {
	case EVENT_DELIVER:
		if (ok)
			queue_clients_deliver(to, e->group, e->delivery.consumer, &d);
		break;
	case EVENT_ANSWER:
		queue_clients_answer(to, e->group, &e->answer, ok ? &d : NULL);
		break;
	case EVENT_REFUSED:
		queue_clients_refused(to, e->group, e->answer.seq);
		break;
	case EVENT_APPLIED:
		queue_clients_applied(to, e->group, e->answer.seq);
		break;
	case EVENT_CANCELLED:
		queue_clients_cancelled(to, e->group, e->delivery.consumer);
		break;
	case EVENT_GONE:
		queue_clients_gone(to, e->group);
		break;
	case EVENT_UNAVAILABLE:
		queue_clients_unavailable(to, e->group);
		break;
	}
}

static void event_mail_deliver(struct mail *m, struct worker *w)
{
	(void)w;
	struct event_mail *em = (struct event_mail *)m;
	for (size_t i = 0; i < em->n; i++)
		event_run(em->to, &em->events[i]);
	for (size_t i = 0; i < em->n_held; i++)
		blob_unref(em->held[i]);
	mem_free(em->held);
	mem_free(em->events);
	mem_free(em);
}

struct event_mail *event_mail_new(struct queue_clients *to)
{
	struct event_mail *em = MEM_NEW(struct event_mail);
	em->mail.deliver = event_mail_deliver;
	em->to = to;
	return em;
}

void event_mail_post(struct event_mail *em, struct worker *to)
{
	worker_post(to, &em->mail);
}

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

void event_put_deliver(struct event_mail *em, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at)
{
	struct event *e = event_new(em, EVENT_DELIVER, group);
	e->delivery = *d;
	event_set_message(em, e, at);
}

void event_put_answer(struct event_mail *em, uint64_t group, const struct machine_answer *a,
	const struct event_message *at)
{
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
	event_new(em, EVENT_REFUSED, group)->answer.seq = seq;
}

void event_put_applied(struct event_mail *em, uint64_t group, uint64_t seq)
{
	event_new(em, EVENT_APPLIED, group)->answer.seq = seq;
}

void event_put_cancelled(struct event_mail *em, uint64_t group, uint32_t consumer)
{
	event_new(em, EVENT_CANCELLED, group)->delivery.consumer = consumer;
}

void event_put_gone(struct event_mail *em, uint64_t group)
{
	event_new(em, EVENT_GONE, group);
}

void event_put_unavailable(struct event_mail *em, uint64_t group)
{
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

/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue as one would explain it: plain lists, scanned from the front, nothing kept that can be
 * counted. The machine must do exactly what this does.
 */
#ifndef WARREN_TESTS_UNIT_QUEUE_MODEL_H
#define WARREN_TESTS_UNIT_QUEUE_MODEL_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/queue/machine.h"

enum {
	MODEL_MESSAGES = 20000,
	MODEL_CONSUMERS = 64,
	MODEL_CLIENTS = 64,
	MODEL_WINDOW = 256,
	MODEL_LEVELS = 8
};

enum model_state { MODEL_READY, MODEL_OUT, MODEL_DEAD, MODEL_GONE };

struct model_message {
	uint64_t index, stamp_ms;
	uint32_t offset, body_n, expiration_ms, returns;
	unsigned level;
	enum model_state state;
	size_t holder; /* consumer's place in the list, if MODEL_OUT */
	uint64_t number;
};

struct model_consumer {
	uint64_t client;
	struct command_attach a;
	bool cancelled, waits, forgotten;
	uint64_t delivered_bytes, last_number;
	uint64_t turn; /* the smaller, the earlier */
};

struct model_death {
	uint64_t seq, stamp_ms;
	enum death reason;
	bool sent;
};

struct model_outcome {
	struct machine_answer a; /* type COMMAND_ENQUEUE: refused */
	uint64_t number;
	uint32_t consumer;
	bool no_ack, heard;
};

enum { MODEL_OUTCOMES = 8192 };

struct model {
	struct queue_config config;
	uint64_t index, stamp_ms, used_ms, clock;
	bool gone;
	struct model_message messages[MODEL_MESSAGES]; /* by sequence, from 1 */
	uint64_t messages_n;
	uint64_t first_alive; /* all before are MODEL_GONE: only for speed */
	struct model_consumer consumers[MODEL_CONSUMERS * 64];
	size_t consumers_n;
	long active; /* place of the single active consumer, or -1 */
	struct model_death deaths[MODEL_MESSAGES];
	size_t deaths_n;
	struct {
		uint64_t client, last;
		bool known, told;
	} clients[MODEL_CLIENTS];
	struct model_outcome outcomes[MODEL_OUTCOMES];
	size_t outcomes_n;
	struct machine_counts counts;
	struct buf effects;
};

__attribute__((format(printf, 2, 3))) static void model_say(struct buf *b, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_put_bytes(b, text, (size_t)n);
	buf_put_u8(b, '\n');
}

/* ---- the effects' text, for machine and model ---- */

#define LU(x) ((unsigned long)(x))

static void text_deliver(void *arg, const struct machine_delivery *d)
{
	model_say(arg, "deliver %lx/%u #%lu %lu@%u %u again %u", LU(d->client), d->consumer,
		LU(d->number), LU(d->index), d->offset, d->body_n, d->returns);
}

static void text_answer(void *arg, const struct machine_answer *a)
{
	model_say(arg, "answer %lx:%lu %d %d, %lu, %u", LU(a->client), LU(a->seq), a->type,
		a->status, LU(a->messages), a->consumers);
	if (a->delivery != NULL)
		text_deliver(arg, a->delivery);
}

static void text_refused(void *arg, uint64_t client, uint64_t seq)
{
	model_say(arg, "refused %lx:%lu", LU(client), LU(seq));
}

static void text_applied(void *arg, uint64_t client, uint64_t seq)
{
	model_say(arg, "applied %lx:%lu", LU(client), LU(seq));
}

static void text_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	model_say(arg, "cancelled %lx/%u", LU(client), consumer);
}

static void text_dead(void *arg, const struct machine_dead *d)
{
	model_say(arg, "dead %lu %lu@%u %d %lu", LU(d->seq), LU(d->index), d->offset, d->reason,
		LU(d->stamp_ms));
}

static void text_release(void *arg, uint64_t index)
{
	model_say(arg, "release %lu", LU(index));
}

static void text_ended(void *arg, bool expired)
{
	model_say(arg, "ended %d", expired);
}

static const struct machine_sink text_sink = {text_deliver, text_answer, text_refused, text_applied,
	text_cancelled, text_dead, text_release, text_ended};

/* ---- messages ---- */

static struct model_message *model_at(struct model *m, uint64_t seq)
{
	return &m->messages[seq];
}

static bool model_alive(const struct model_message *x)
{
	return x->state != MODEL_GONE;
}

#define MODEL_EACH(m, seq) for (uint64_t seq = (m)->first_alive; seq <= (m)->messages_n; seq++)

static void model_skip_gone(struct model *m)
{
	while (m->first_alive <= m->messages_n && !model_alive(model_at(m, m->first_alive)))
		m->first_alive++;
}

static uint64_t model_count(struct model *m, enum model_state state, uint64_t *ret_bytes)
{
	uint64_t n = 0;
	*ret_bytes = 0;
	MODEL_EACH(m, seq)
	{
		if (model_at(m, seq)->state != state)
			continue;
		n++;
		*ret_bytes += model_at(m, seq)->body_n;
	}
	return n;
}

static uint64_t model_ready(struct model *m)
{
	uint64_t bytes;
	return model_count(m, MODEL_READY, &bytes);
}

/* First ready message of a level, or of the highest level (level < 0); 0: none. */
static uint64_t model_head(struct model *m, int level)
{
	uint64_t best = 0;
	MODEL_EACH(m, seq)
	{
		struct model_message *x = model_at(m, seq);
		if (x->state != MODEL_READY || (level >= 0 && (int)x->level != level))
			continue;
		if (best == 0 || x->level > model_at(m, best)->level)
			best = seq;
	}
	return best;
}

static uint64_t model_deadline_of(struct model *m, uint64_t seq)
{
	struct model_message *x = model_at(m, seq);
	uint64_t ttl = m->config.message_ttl_ms;
	if (x->expiration_ms != ENQUEUE_NO_EXPIRATION && x->expiration_ms < ttl)
		ttl = x->expiration_ms;
	return ttl == CONFIG_NONE || ttl > UINT64_MAX - x->stamp_ms ? UINT64_MAX
								    : x->stamp_ms + ttl;
}

static void model_kill(struct model *m, uint64_t seq)
{
	uint64_t index = model_at(m, seq)->index;
	model_at(m, seq)->state = MODEL_GONE;
	if (index == m->index)
		return;
	MODEL_EACH(m, other)
	{
		if (model_alive(model_at(m, other)) && model_at(m, other)->index == index)
			return;
	}
	text_release(&m->effects, index);
}

static void model_send_death(struct model *m, struct model_death *d)
{
	struct model_message *x = model_at(m, d->seq);
	d->sent = true;
	text_dead(&m->effects,
		&(struct machine_dead){d->seq, x->index, x->offset, d->reason, d->stamp_ms});
}

static void model_send_deaths(struct model *m)
{
	for (size_t i = 0; i < m->deaths_n && i < MODEL_WINDOW; i++) {
		if (!m->deaths[i].sent)
			model_send_death(m, &m->deaths[i]);
	}
}

static void model_die(struct model *m, uint64_t seq, enum death reason)
{
	m->counts.dropped++;
	if (!m->config.dead_letter) {
		model_kill(m, seq);
		return;
	}
	model_at(m, seq)->state = MODEL_DEAD;
	m->deaths[m->deaths_n++] = (struct model_death){seq, m->stamp_ms, reason, false};
	model_send_deaths(m);
}

static void model_dead_done(struct model *m, uint64_t seq)
{
	for (size_t i = 0; i < m->deaths_n && i < MODEL_WINDOW; i++) {
		if (m->deaths[i].seq != seq)
			continue;
		m->deaths_n--;
		memmove(&m->deaths[i], &m->deaths[i + 1], (m->deaths_n - i) * sizeof m->deaths[0]);
		model_kill(m, seq);
		model_send_deaths(m);
		return;
	}
}

/* ---- consumers ---- */

static bool model_pushed(const struct model_consumer *c)
{
	return !c->forgotten && !c->cancelled && !(c->a.flags & ATTACH_GET);
}

static uint64_t model_unsettled(struct model *m, size_t i)
{
	uint64_t n = 0;
	MODEL_EACH(m, seq)
	n += model_at(m, seq)->state == MODEL_OUT && model_at(m, seq)->holder == i;
	return n;
}

static bool model_could_wait(struct model *m, size_t i)
{
	struct model_consumer *c = &m->consumers[i];
	if (!model_pushed(c) || c->delivered_bytes >= c->a.credit_bytes)
		return false;
	if (c->a.prefetch != 0 && model_unsettled(m, i) >= c->a.prefetch)
		return false;
	return !m->config.single_active || m->active == (long)i;
}

static uint32_t model_attached(const struct model *m)
{
	uint32_t n = 0;
	for (size_t i = 0; i < m->consumers_n; i++)
		n += model_pushed(&m->consumers[i]);
	return n;
}

/* Chooses the active consumer if there is none, and lines up those who have begun to wait. */
static void model_refresh(struct model *m)
{
	if (!m->config.single_active || (m->active >= 0 && !model_pushed(&m->consumers[m->active])))
		m->active = -1;
	if (m->config.single_active && m->active < 0) {
		for (size_t i = 0; i < m->consumers_n; i++) {
			if (model_pushed(&m->consumers[i]) &&
				(m->active < 0 || m->consumers[i].a.priority >
							  m->consumers[m->active].a.priority))
				m->active = (long)i;
		}
	}
	for (size_t i = 0; i < m->consumers_n; i++) {
		struct model_consumer *c = &m->consumers[i];
		bool waits = model_could_wait(m, i);
		if (waits && !c->waits)
			c->turn = ++m->clock;
		c->waits = waits;
	}
}

static long model_next(struct model *m)
{
	long best = -1;
	for (size_t i = 0; i < m->consumers_n; i++) {
		struct model_consumer *c = &m->consumers[i];
		if (!c->waits)
			continue;
		struct model_consumer *b = best >= 0 ? &m->consumers[best] : NULL;
		if (b == NULL || c->a.priority > b->a.priority ||
			(c->a.priority == b->a.priority && c->turn < b->turn))
			best = (long)i;
	}
	return best;
}

static long model_find(struct model *m, uint64_t client, uint32_t consumer)
{
	for (size_t i = 0; i < m->consumers_n; i++) {
		struct model_consumer *c = &m->consumers[i];
		if (!c->forgotten && c->client == client && c->a.consumer == consumer)
			return (long)i;
	}
	return -1;
}

/* ---- delivering ---- */

static void model_forget_heard(struct model *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->outcomes_n; i++)
		if (!m->outcomes[i].heard)
			m->outcomes[n++] = m->outcomes[i];
	m->outcomes_n = n;
}

static void model_keep(struct model *m, const struct model_outcome *o)
{
	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		if (m->clients[i].client != o->a.client || !m->clients[i].known ||
			o->a.client == 0)
			continue;
		if (m->outcomes_n == MODEL_OUTCOMES)
			model_forget_heard(m);
		if (m->outcomes_n == MODEL_OUTCOMES)
			abort();
		m->outcomes[m->outcomes_n++] = *o;
	}
}

static void model_refused(struct model *m, uint64_t client, uint64_t seq)
{
	model_keep(m, &(struct model_outcome){
			      .a = {.client = client, .seq = seq, .type = COMMAND_ENQUEUE}});
	text_refused(&m->effects, client, seq);
}

/* The unsettled delivery of that number to the consumer, as it was. */
static bool model_handed(struct model *m, size_t i, uint64_t number, struct machine_delivery *ret)
{
	const struct model_consumer *c = &m->consumers[i];
	MODEL_EACH(m, seq)
	{
		const struct model_message *x = model_at(m, seq);
		if (x->state != MODEL_OUT || x->holder != i || x->number != number)
			continue;
		*ret = (struct machine_delivery){c->client, c->a.consumer, number, x->index,
			x->offset, x->body_n, x->returns};
		return true;
	}
	return false;
}

static struct machine_delivery model_hand(struct model *m, uint64_t seq, size_t i)
{
	struct model_message *x = model_at(m, seq);
	struct model_consumer *c = &m->consumers[i];
	c->delivered_bytes += x->body_n + CREDIT_OVERHEAD;
	m->counts.delivered++;
	m->counts.redelivered += x->returns > 0;
	x->state = MODEL_OUT;
	x->holder = i;
	x->number = ++c->last_number;
	return (struct machine_delivery){
		c->client, c->a.consumer, x->number, x->index, x->offset, x->body_n, x->returns};
}

static void model_expire(struct model *m)
{
	for (int level = 0; level < MODEL_LEVELS; level++) {
		uint64_t seq;
		while ((seq = model_head(m, level)) != 0 &&
			model_deadline_of(m, seq) <= m->stamp_ms)
			model_die(m, seq, DEATH_EXPIRED);
		if (level >= m->config.max_priority && model_head(m, -1) == 0)
			break;
	}
}

static bool model_over(struct model *m, uint64_t more, uint64_t more_bytes)
{
	uint64_t bytes;
	uint64_t n = model_count(m, MODEL_READY, &bytes);
	return n + more > m->config.max_length || bytes + more_bytes > m->config.max_bytes;
}

static void model_pump(struct model *m)
{
	long i;
	uint64_t seq;
	while ((seq = model_head(m, -1)) != 0 && (i = model_next(m)) >= 0) {
		if (model_deadline_of(m, seq) <= m->stamp_ms &&
			model_at(m, seq)->index != m->index) {
			model_die(m, seq, DEATH_EXPIRED);
			continue;
		}
		struct machine_delivery d = model_hand(m, seq, (size_t)i);
		text_deliver(&m->effects, &d);
		if ((m->consumers[i].a.flags & ATTACH_NO_ACK) != 0)
			model_kill(m, seq);
		m->consumers[i].turn = ++m->clock;
		model_refresh(m);
	}
	model_expire(m);
	while (m->config.overflow == OVERFLOW_DROP_HEAD && model_head(m, -1) != 0 &&
		model_over(m, 0, 0))
		model_die(m, model_head(m, -1), DEATH_MAXLEN);
	model_skip_gone(m);
}

static uint64_t model_append(struct model *m, const struct message *msg, uint32_t offset)
{
	uint64_t seq = ++m->messages_n;
	*model_at(m, seq) = (struct model_message){.index = m->index,
		.stamp_ms = m->stamp_ms,
		.offset = offset,
		.body_n = (uint32_t)msg->body.n,
		.expiration_ms = msg->expiration_ms,
		.level = msg->level < m->config.max_priority ? msg->level : m->config.max_priority};
	return seq;
}

static void model_enqueue(
	struct model *m, uint64_t client, uint64_t seq, const struct message *msg, uint32_t offset)
{
	bool full = model_over(m, 1, msg->body.n);
	if (full || (model_ready(m) == 0 && model_next(m) >= 0 &&
			    (m->consumers[model_next(m)].a.flags & ATTACH_NO_ACK) != 0)) {
		if (model_ready(m) > 0 || full)
			model_pump(m);
		if (m->config.overflow != OVERFLOW_DROP_HEAD && model_next(m) < 0 &&
			model_over(m, 1, msg->body.n)) {
			model_refused(m, client, seq);
			if (m->config.overflow == OVERFLOW_REJECT_DLX && m->config.dead_letter)
				model_die(m, model_append(m, msg, offset), DEATH_MAXLEN);
			return;
		}
		m->counts.published++;
		model_append(m, msg, offset);
		model_pump(m);
		return;
	}
	m->counts.published++;
	model_append(m, msg, offset);
}

/* ---- commands ---- */

static void model_answer(struct model *m, uint64_t client, uint64_t seq, enum command_type type,
	enum machine_status status, uint64_t messages)
{
	bool counted = type == COMMAND_STATUS || type == COMMAND_DELETE;
	struct machine_answer a = {
		client, seq, type, status, messages, counted ? model_attached(m) : 0, NULL};
	model_keep(m, &(struct model_outcome){.a = a});
	text_answer(&m->effects, &a);
}

static void model_wipe(struct model *m)
{
	m->gone = true;
	MODEL_EACH(m, seq)
	model_at(m, seq)->state = MODEL_GONE;
	m->deaths_n = 0;
	m->consumers_n = 0;
	m->active = -1;
}

static void model_end(struct model *m, bool expired)
{
	model_wipe(m);
	text_ended(&m->effects, expired);
}

static void model_settle(struct model *m, size_t i, const struct command_settle *s)
{
	/* In order of number: sequences may come in any order. */
	for (;;) {
		uint64_t best = 0;
		MODEL_EACH(m, seq)
		{
			struct model_message *x = model_at(m, seq);
			if (x->state != MODEL_OUT || x->holder != i || x->number < s->from ||
				x->number > s->to)
				continue;
			if (best == 0 || x->number < model_at(m, best)->number)
				best = seq;
		}
		if (best == 0)
			return;
		struct model_message *x = model_at(m, best);
		if (s->outcome == SETTLE_ACK) {
			m->counts.acked++;
			model_kill(m, best);
		} else if (s->outcome == SETTLE_REJECT) {
			model_die(m, best, DEATH_REJECTED);
		} else if (++x->returns > m->config.delivery_limit) {
			model_die(m, best, DEATH_DELIVERY_LIMIT);
		} else {
			x->state = MODEL_READY;
		}
	}
}

static void model_leave(struct model *m, size_t i, bool requeue)
{
	m->consumers[i].cancelled = true;
	if (requeue)
		model_settle(m, i, &(struct command_settle){0, SETTLE_REQUEUE, 0, UINT64_MAX});
	if (model_unsettled(m, i) == 0)
		m->consumers[i].forgotten = true;
}

static void model_left(struct model *m, uint32_t before)
{
	if (before == 0 || model_attached(m) > 0)
		return;
	m->used_ms = m->stamp_ms;
	if (m->config.auto_delete)
		model_end(m, false);
}

static bool model_excluded(struct model *m, uint8_t flags)
{
	if ((flags & ATTACH_GET) != 0)
		return false;
	if ((flags & ATTACH_EXCLUSIVE) != 0 && (m->config.single_active || model_attached(m) > 0))
		return true;
	for (size_t i = 0; i < m->consumers_n; i++) {
		if (model_pushed(&m->consumers[i]) &&
			(m->consumers[i].a.flags & ATTACH_EXCLUSIVE) != 0)
			return true;
	}
	return false;
}

static void model_attach(
	struct model *m, uint64_t client, uint64_t seq, const struct command_attach *a)
{
	enum machine_status status = MACHINE_OK;
	m->used_ms = m->stamp_ms;
	if (model_find(m, client, a->consumer) < 0) {
		if (model_excluded(m, a->flags))
			status = MACHINE_EXCLUSIVE;
		else
			m->consumers[m->consumers_n++] =
				(struct model_consumer){.client = client, .a = *a};
	}
	model_answer(m, client, seq, COMMAND_ATTACH, status, 0);
}

static void model_cancel(
	struct model *m, uint64_t client, uint64_t seq, const struct command_cancel *c)
{
	uint32_t before = model_attached(m);
	long i = model_find(m, client, c->consumer);
	for (size_t k = 0; c->consumer == CONSUMER_ALL && k < m->consumers_n; k++)
		if (!m->consumers[k].forgotten && m->consumers[k].client == client)
			model_leave(m, k, true);
	if (c->consumer != CONSUMER_ALL && i >= 0)
		model_leave(m, (size_t)i, c->requeue);
	model_left(m, before);
	model_answer(m, client, seq, COMMAND_CANCEL, m->gone ? MACHINE_GONE : MACHINE_OK, 0);
}

/* What this client's gets without acks have taken is settled when it has heard. */
static void model_hear(struct model *m, uint64_t client, uint64_t heard)
{
	for (size_t i = 0; i < m->outcomes_n; i++) {
		struct model_outcome *o = &m->outcomes[i];
		if (o->heard || o->a.client != client || o->a.seq > heard)
			continue;
		o->heard = true;
		long of = o->no_ack ? model_find(m, client, o->consumer) : -1;
		if (of < 0)
			continue;
		model_settle(m, (size_t)of,
			&(struct command_settle){
				o->consumer, SETTLE_ACK, o->number, o->number});
		if (m->consumers[of].cancelled && model_unsettled(m, (size_t)of) == 0)
			m->consumers[of].forgotten = true;
	}
}

static void model_answer_again(struct model *m, uint64_t client, uint64_t seq)
{
	for (size_t i = 0; i < m->outcomes_n; i++) {
		const struct model_outcome *o = &m->outcomes[i];
		if (o->heard || o->a.client != client || o->a.seq != seq)
			continue;
		if (o->a.type == COMMAND_ENQUEUE) {
			text_refused(&m->effects, client, seq);
			continue;
		}
		struct machine_answer a = o->a;
		struct machine_delivery d;
		long of = o->number != 0 ? model_find(m, client, o->consumer) : -1;
		a.delivery = of >= 0 && model_handed(m, (size_t)of, o->number, &d) ? &d : NULL;
		text_answer(&m->effects, &a);
	}
}

static bool model_is_down(uint64_t client, const struct command_client_down *c)
{
	if (!c->node)
		return client == c->client;
	return client_id_node(client) == client_id_node(c->client) &&
	       client_id_incarnation(client) <= client_id_incarnation(c->client);
}

static void model_client_down(struct model *m, const struct command_client_down *c)
{
	uint32_t before = model_attached(m);
	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		if (!model_is_down(m->clients[i].client, c))
			continue;
		model_hear(m, m->clients[i].client, UINT64_MAX);
		m->clients[i].known = false;
	}
	for (size_t i = 0; i < m->consumers_n; i++) {
		if (!m->consumers[i].forgotten && model_is_down(m->consumers[i].client, c))
			model_leave(m, i, true);
	}
	if (!m->gone)
		model_left(m, before);
}

static void model_get(struct model *m, uint64_t client, uint64_t seq, const struct command_get *c)
{
	m->used_ms = m->stamp_ms;
	model_pump(m);
	long i = model_find(m, client, c->consumer);
	if (m->config.single_active) {
		model_answer(m, client, seq, COMMAND_GET, MACHINE_SINGLE_ACTIVE, 0);
		return;
	}
	uint64_t head = model_head(m, -1);
	if (i < 0 || !(m->consumers[i].a.flags & ATTACH_GET) || m->consumers[i].cancelled ||
		head == 0) {
		model_answer(m, client, seq, COMMAND_GET, MACHINE_EMPTY, model_ready(m));
		return;
	}
	struct machine_delivery d = model_hand(m, head, (size_t)i);
	struct machine_answer a = {
		client, seq, COMMAND_GET, MACHINE_OK, model_ready(m), 0, &d};
	model_keep(m, &(struct model_outcome){a, d.number, c->consumer, c->no_ack, false});
	text_answer(&m->effects, &a);
}

static void model_purge(struct model *m, uint64_t client, uint64_t seq)
{
	model_pump(m);
	uint64_t n = model_ready(m);
	uint64_t head;
	while ((head = model_head(m, -1)) != 0)
		model_kill(m, head);
	model_answer(m, client, seq, COMMAND_PURGE, MACHINE_OK, n);
}

static void model_delete(
	struct model *m, uint64_t client, uint64_t seq, const struct command_delete *c)
{
	model_pump(m);
	enum machine_status status = MACHINE_OK;
	if (c->if_empty && model_ready(m) > 0)
		status = MACHINE_NOT_EMPTY;
	else if (c->if_unused && model_attached(m) > 0)
		status = MACHINE_IN_USE;
	model_answer(m, client, seq, COMMAND_DELETE, status, model_ready(m));
	if (status != MACHINE_OK)
		return;
	for (size_t i = 0; i < m->consumers_n; i++) {
		if (model_pushed(&m->consumers[i]))
			text_cancelled(
				&m->effects, m->consumers[i].client, m->consumers[i].a.consumer);
	}
	model_wipe(m);
}

static void model_command_gone(
	struct model *m, uint64_t client, uint64_t seq, const struct command *c)
{
	if (c->type == COMMAND_CLIENT_DOWN)
		model_client_down(m, &c->u.client_down);
	else if (c->type == COMMAND_ATTACH || c->type == COMMAND_CANCEL || c->type == COMMAND_GET ||
		 c->type == COMMAND_PURGE || c->type == COMMAND_DELETE || c->type == COMMAND_STATUS)
		model_answer(m, client, seq, c->type, MACHINE_GONE, 0);
}

static void model_command(struct model *m, uint64_t client, uint64_t seq, const struct command *c)
{
	long i;
	if (m->gone) {
		model_command_gone(m, client, seq, c);
		return;
	}
	switch (c->type) {
	case COMMAND_ENQUEUE:
		model_enqueue(m, client, seq, &c->u.enqueue, c->offset);
		break;
	case COMMAND_ATTACH:
		model_attach(m, client, seq, &c->u.attach);
		break;
	case COMMAND_CANCEL:
		model_cancel(m, client, seq, &c->u.cancel);
		break;
	case COMMAND_CREDIT:
		i = model_find(m, client, c->u.credit.consumer);
		if (i >= 0 && m->consumers[i].a.credit_bytes < c->u.credit.credit_bytes)
			m->consumers[i].a.credit_bytes = c->u.credit.credit_bytes;
		break;
	case COMMAND_PREFETCH:
		i = model_find(m, client, c->u.prefetch.consumer);
		if (i >= 0)
			m->consumers[i].a.prefetch = c->u.prefetch.prefetch;
		break;
	case COMMAND_SETTLE:
		i = model_find(m, client, c->u.settle.consumer);
		if (i < 0)
			break;
		model_settle(m, (size_t)i, &c->u.settle);
		if (m->consumers[i].cancelled && model_unsettled(m, (size_t)i) == 0)
			m->consumers[i].forgotten = true;
		break;
	case COMMAND_GET:
		model_get(m, client, seq, &c->u.get);
		break;
	case COMMAND_PURGE:
		model_purge(m, client, seq);
		break;
	case COMMAND_DELETE:
		model_delete(m, client, seq, &c->u.del);
		break;
	case COMMAND_STATUS:
		if (c->u.status.touch)
			m->used_ms = m->stamp_ms;
		model_pump(m);
		model_answer(m, client, seq, COMMAND_STATUS, MACHINE_OK, model_ready(m));
		break;
	case COMMAND_CONFIG:
		if (m->config.expires_ms != c->u.config.expires_ms)
			m->used_ms = m->stamp_ms;
		m->config = c->u.config;
		break;
	case COMMAND_TIME:
		break;
	case COMMAND_CLIENT_DOWN:
		model_client_down(m, &c->u.client_down);
		break;
	case COMMAND_DEAD_DONE:
		model_dead_done(m, c->u.dead_done);
		break;
	}
	model_refresh(m);
	model_skip_gone(m);
}

/* ---- entries ---- */

static size_t model_client_place(struct model *m, uint64_t client)
{
	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		if (m->clients[i].client == client)
			return i;
		if (m->clients[i].client == 0) {
			m->clients[i].client = client;
			return i;
		}
	}
	abort();
}

static bool model_section(struct model *m, const uint8_t *entry, struct section *s)
{
	struct command c;
	uint32_t n = 0;
	size_t place = s->client != 0 ? model_client_place(m, s->client) : 0;
	uint64_t last = s->client != 0 && m->clients[place].known ? m->clients[place].last : 0;
	if (s->client != 0) {
		if (!m->clients[place].known)
			m->clients[place].last = 0;
		m->clients[place].known = true;
		if (s->first_seq > m->clients[place].last + 1)
			return true; /* it has overtaken a lost one */
		model_hear(m, s->client, s->heard);
		if (s->count > 0 && reader_left(&s->commands) == 0) { /* given up */
			uint64_t end = s->first_seq + s->count - 1;
			if (m->clients[place].last < end)
				m->clients[place].last = end;
			return true;
		}
	}
	while (n < s->count && command_next(s, entry, &c)) {
		uint64_t seq = s->first_seq + n++;
		if (s->client == 0 || seq > last)
			model_command(m, s->client, seq, &c);
		else
			model_answer_again(m, s->client, seq);
	}
	uint64_t seen = n > 0 ? s->first_seq + n - 1 : 0;
	if (s->client != 0) {
		if (!m->clients[place].known || m->clients[place].last < seen)
			m->clients[place].last = seen;
		m->clients[place].known = true;
	}
	return n == s->count && reader_left(&s->commands) == 0;
}

static uint64_t model_expires_at(const struct model *m)
{
	if (m->gone || model_attached(m) > 0 || m->config.expires_ms == CONFIG_NONE)
		return UINT64_MAX;
	return m->used_ms + m->config.expires_ms;
}

static void model_finish(struct model *m)
{
	if (m->gone)
		return;
	model_pump(m);
	if (model_expires_at(m) <= m->stamp_ms) {
		model_end(m, true);
		return;
	}
	MODEL_EACH(m, seq)
	{
		if (model_alive(model_at(m, seq)) && model_at(m, seq)->index == m->index)
			return;
	}
	text_release(&m->effects, m->index);
}

static void model_tell(struct model *m, struct reader r)
{
	struct section s;
	for (size_t i = 0; i < MODEL_CLIENTS; i++)
		m->clients[i].told = false;
	while (command_section_next(&r, &s)) {
		size_t i = s.client != 0 ? model_client_place(m, s.client) : MODEL_CLIENTS;
		if (i == MODEL_CLIENTS || !m->clients[i].known || m->clients[i].told)
			continue;
		m->clients[i].told = true;
		text_applied(&m->effects, s.client, m->clients[i].last);
	}
}

static int model_apply(struct model *m, uint64_t index, const uint8_t *p, size_t n)
{
	struct reader r = reader_make(p, n);
	uint64_t stamp_ms;
	if (command_entry_begin(&r, &stamp_ms) != 0)
		return -1;
	m->index = index;
	if (stamp_ms > m->stamp_ms)
		m->stamp_ms = stamp_ms;
	struct reader sections = r;
	struct section s;
	bool ok = true;
	while (command_section_next(&sections, &s))
		ok &= model_section(m, p, &s);
	model_finish(m);
	model_tell(m, r);
	return ok && !sections.bad ? 0 : -1;
}

static uint64_t model_deadline(struct model *m)
{
	uint64_t first = model_expires_at(m);
	for (int level = 0; level < MODEL_LEVELS; level++) {
		uint64_t seq = model_head(m, level);
		if (seq != 0 && model_deadline_of(m, seq) < first)
			first = model_deadline_of(m, seq);
	}
	return first;
}

static struct machine_counts model_counts(struct model *m)
{
	struct machine_counts c = m->counts;
	uint64_t dead_bytes;
	c.ready = model_count(m, MODEL_READY, &c.ready_bytes);
	c.unacked = model_count(m, MODEL_OUT, &c.unacked_bytes);
	c.dead = model_count(m, MODEL_DEAD, &dead_bytes);
	c.consumers = model_attached(m);
	return c;
}

static struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof *m);
	m->config = (struct queue_config){CONFIG_NONE, CONFIG_NONE, CONFIG_NONE, CONFIG_NONE,
		CONFIG_NONE, 0, 0, 0, 0, 0, 0, {NULL, 0}, {NULL, 0}};
	m->first_alive = 1;
	m->active = -1;
	return m;
}

static void model_free(struct model *m)
{
	buf_done(&m->effects);
	free(m);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a message:
 *
 *              enqueue ------> (delivered at once to a consumer that does not ack: never stored)
 *                 |
 *                 v     take                    ack
 *               ready ------------> checked out -----------> gone
 *                 | ^                 |  |  |                 ^
 *                 | +--- requeue -----+  |  | reject, or too  | done, or no
 *                 |                      |  | many returns    | dead letter exchange
 *                 +-- expired, dropped --+--+---------------> dead
 *
 * Expiry. A message expires when it is the head of its lane, and only there, as in RabbitMQ; one
 * difference: every priority's head expires, where RabbitMQ's expired low priorities wait until the
 * higher ones are empty. A message is not expired before the first pump after its enqueue, so that
 * a TTL of 0 means: a waiting consumer or nobody.
 *
 * Limits. They count ready messages that no consumer could have taken: an enqueue that would break
 * one pumps first. Drop-head drops the head of the queue, that is of the *highest* priority that
 * has ready messages: RabbitMQ's priority queue drops what it would deliver next.
 */
#include "src/queue/machine_priv.h"

/* A ready message that is on its way to a consumer. */
struct taken {
	struct lane_place place;
	unsigned level;
	struct run_item item;
};

/* ---- gone, dead ---- */

static void kill_mask(struct machine *m, unsigned level, uint64_t pos, uint64_t mask)
{
	struct lane *l = machine_lane(m, level);
	uint64_t index = run_ring_at(&l->runs, pos)->index;
	if (lane_kill(l, pos, mask) && entries_remove(&m->entries, index))
		m->sink->release(m->arg, index);
}

static void kill_seq(struct machine *m, unsigned level, uint64_t seq)
{
	struct lane_place p;
	if (lane_find(machine_lane(m, level), seq, &p))
		kill_mask(m, level, p.pos, UINT64_C(1) << p.i);
}

static void emit_dead(struct machine *m, const struct dead_range *d)
{
	struct lane_place p;
	if (!lane_find(machine_lane(m, d->level), d->seq, &p))
		return;
	m->sink->dead(m->arg, &(struct machine_dead){
				      .seq = d->seq,
				      .index = p.run->index,
				      .offset = run_item(p.run, p.i).offset,
				      .reason = d->reason,
				      .stamp_ms = d->stamp_ms,
			      });
}

static void send_dead(struct machine *m)
{
	const struct dead_range *d;
	while ((d = dead_send(&m->dead)) != NULL)
		emit_dead(m, d);
}

/* Messages of one run, no longer ready or checked out, die. */
static void die_mask(struct machine *m, unsigned level, const struct lane_place *p, uint64_t mask,
	enum death reason)
{
	uint64_t n = (uint64_t)__builtin_popcountll(mask);
	m->counts.dropped += n;
	if (!m->config.dead_letter) {
		kill_mask(m, level, p->pos, mask);
		return;
	}
	m->counts.dead += n;
	for (; mask != 0; mask &= mask - 1) {
		uint64_t seq = p->run->first_seq + (uint64_t)__builtin_ctzll(mask);
		dead_push(&m->dead,
			&(struct dead_range){seq, m->stamp_ms, 1, (uint16_t)level, reason});
	}
	send_dead(m);
}

void machine_dead_done(struct machine *m, uint64_t seq)
{
	struct dead_range d;
	if (!dead_settle(&m->dead, seq, &d))
		return;
	m->counts.dead--;
	kill_seq(m, d.level, seq);
	send_dead(m);
}

void machine_resume(struct machine *m, const struct machine_sink *sink, void *arg)
{
	m->sink = sink;
	m->arg = arg;
	for (unsigned i = 0; i < m->dead.out_n; i++)
		emit_dead(m, &m->dead.out[i]);
}

void machine_dead_again(struct machine *m, uint64_t seq, const struct machine_sink *sink, void *arg)
{
	m->sink = sink;
	m->arg = arg;
	for (unsigned i = 0; i < m->dead.out_n; i++)
		if (m->dead.out[i].seq == seq)
			emit_dead(m, &m->dead.out[i]);
}

/* ---- heads ---- */

/* There are ready messages. */
static unsigned top_level(struct machine *m)
{
	while (lane_ready(&m->lanes[m->top]) == 0)
		m->top--;
	return m->top;
}

static uint64_t deadline_ms(const struct machine *m, const struct lane_place *p)
{
	return run_deadline_ms(p->run, p->i, m->config.message_ttl_ms);
}

/* The part of the head's run, from the head on, that is past its deadline like the head is. */
static uint64_t expired_mask(
	const struct machine *m, const struct lane *l, const struct lane_place *head)
{
	uint64_t mask = lane_head_mask(l, head, UINT64_MAX);
	if (head->run->items_cap == 0)
		return mask;
	for (uint64_t rest = mask; rest != 0; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctzll(rest);
		if (run_deadline_ms(head->run, i, m->config.message_ttl_ms) > m->stamp_ms)
			return mask & ~run_bits_from(i);
	}
	return mask;
}

/* Ready messages at the head of a lane leave it to die, or without a trace. */
static void drop_head(struct machine *m, unsigned level, const struct lane_place *head,
	uint64_t mask, const enum death *reason)
{
	m->counts.ready -= (uint64_t)__builtin_popcountll(mask);
	m->counts.ready_bytes -= run_bytes(head->run, mask);
	lane_take_mask(&m->lanes[level], head, mask);
	if (reason != NULL)
		die_mask(m, level, head, mask, *reason);
	else
		kill_mask(m, level, head->pos, mask);
}

/* Whether the head was there before this entry and is past its deadline. */
static bool is_overdue(const struct machine *m, const struct lane_place *head)
{
	return head->run->index != m->index && deadline_ms(m, head) <= m->stamp_ms;
}

static void expire_head(struct machine *m, unsigned level, const struct lane_place *head)
{
	static const enum death expired = DEATH_EXPIRED;
	drop_head(m, level, head, expired_mask(m, &m->lanes[level], head), &expired);
}

static void expire_heads(struct machine *m)
{
	for (unsigned level = 0; level < m->lanes_n; level++) {
		struct lane *l = &m->lanes[level];
		while (lane_ready(l) > 0) {
			struct lane_place head = lane_head(l);
			if (deadline_ms(m, &head) > m->stamp_ms)
				break;
			expire_head(m, level, &head);
		}
	}
}

uint64_t machine_heads_deadline_ms(struct machine *m)
{
	uint64_t first_ms = UINT64_MAX;
	for (unsigned level = 0; level < m->lanes_n; level++) {
		if (lane_ready(&m->lanes[level]) == 0)
			continue;
		struct lane_place head = lane_head(&m->lanes[level]);
		uint64_t at_ms = deadline_ms(m, &head);
		if (at_ms < first_ms)
			first_ms = at_ms;
	}
	return first_ms;
}

bool machine_head(const struct machine *m, uint64_t *ret_index, uint32_t *ret_offset)
{
	struct machine *mine = (struct machine *)m; /* cursors move over what is not ready */
	if (m->counts.ready == 0)
		return false;
	struct lane_place head = lane_head(&mine->lanes[top_level(mine)]);
	*ret_index = head.run->index;
	*ret_offset = run_item(head.run, head.i).offset;
	return true;
}

void machine_purge(struct machine *m)
{
	while (m->counts.ready > 0) {
		unsigned level = top_level(m);
		struct lane_place head = lane_head(&m->lanes[level]);
		uint64_t mask = lane_head_mask(&m->lanes[level], &head, UINT64_MAX);
		drop_head(m, level, &head, mask, NULL);
	}
}

/* ---- limits ---- */

static bool over_limits(const struct machine *m, uint64_t ready, uint64_t ready_bytes)
{
	return ready > m->config.max_length || ready_bytes > m->config.max_bytes;
}

static void enforce_limits(struct machine *m)
{
	static const enum death maxlen = DEATH_MAXLEN;
	if (m->config.overflow != OVERFLOW_DROP_HEAD)
		return;
	while (m->counts.ready > 0 && over_limits(m, m->counts.ready, m->counts.ready_bytes)) {
		unsigned level = top_level(m);
		struct lane_place head = lane_head(&m->lanes[level]);
		uint64_t over = 1;
		if (m->counts.ready > m->config.max_length)
			over = m->counts.ready - m->config.max_length;
		uint64_t mask = lane_head_mask(&m->lanes[level], &head, over);
		drop_head(m, level, &head, mask, &maxlen);
	}
}

/* ---- delivering ---- */

static void take(
	struct machine *m, unsigned level, const struct lane_place *head, struct taken *ret)
{
	ret->place = *head;
	ret->level = level;
	ret->item = run_item(head->run, head->i);
	lane_take(&m->lanes[level], head);
	m->counts.ready--;
	m->counts.ready_bytes -= ret->item.body_n;
}

/* Counts a delivery to the consumer, and describes it. */
static struct machine_delivery delivery(struct machine *m, struct consumer *c, uint64_t index,
	const struct run_item *item, uint32_t returns)
{
	m->counts.delivered++;
	m->counts.redelivered += returns > 0;
	return (struct machine_delivery){
		.client = c->key.client,
		.consumer = (uint32_t)c->key.consumer,
		.number = consumer_count(c, item->body_n),
		.index = index,
		.offset = item->offset,
		.body_n = item->body_n,
		.returns = returns,
	};
}

static struct machine_delivery delivery_of_taken(
	struct machine *m, struct consumer *c, const struct taken *t)
{
	return delivery(m, c, t->place.run->index, &t->item, t->place.returns);
}

static void check_out(struct machine *m, struct consumer *c, const struct taken *t)
{
	m->counts.unacked++;
	m->counts.unacked_bytes += t->item.body_n;
	checkout_add(&c->checkout, &(struct unsettled){
					   .number = c->last_number,
					   .seq = lane_seq(&t->place),
					   .returns = t->place.returns,
					   .level = (uint16_t)t->level,
				   });
}

static void push_to(struct machine *m, struct consumer *c, const struct taken *t)
{
	struct machine_delivery d = delivery_of_taken(m, c, t);
	m->sink->deliver(m->arg, &d);
	if ((c->flags & ATTACH_NO_ACK) != 0)
		kill_mask(m, t->level, t->place.pos, UINT64_C(1) << t->place.i);
	else
		check_out(m, c, t);
	consumers_turn(&m->consumers, c);
}

static void deliver_ready(struct machine *m)
{
	struct consumer *c;
	while (m->counts.ready > 0 && (c = consumers_next(&m->consumers)) != NULL) {
		unsigned level = top_level(m);
		struct lane_place head = lane_head(&m->lanes[level]);
		if (is_overdue(m, &head)) {
			expire_head(m, level, &head);
			continue;
		}
		struct taken t;
		take(m, level, &head, &t);
		push_to(m, c, &t);
	}
}

void machine_pump(struct machine *m)
{
	deliver_ready(m);
	expire_heads(m);
	enforce_limits(m);
}

/* Without acks, too, the message is checked out until the client has heard of it: see forget() in
 * machine.c. */
bool machine_get(struct machine *m, uint64_t client, uint64_t seq, struct consumer *c, bool no_ack)
{
	if (m->counts.ready == 0)
		return false;
	unsigned level = top_level(m);
	struct lane_place head = lane_head(&m->lanes[level]);
	struct taken t;
	take(m, level, &head, &t);
	struct machine_delivery d = delivery_of_taken(m, c, &t);
	check_out(m, c, &t);
	machine_answer(m,
		&(struct machine_answer){
			.client = client,
			.seq = seq,
			.type = COMMAND_GET,
			.status = MACHINE_OK,
			.messages = m->counts.ready,
			.delivery = &d,
		},
		(uint32_t)c->key.consumer, no_ack);
	return true;
}

/* ---- enqueueing ---- */

static void append(struct machine *m, struct lane *l, const struct run_item *item)
{
	if (lane_append(l, m->next_seq++, m->index, m->stamp_ms, item))
		entries_add(&m->entries);
	m->counts.ready++;
	m->counts.ready_bytes += item->body_n;
}

static void append_ready(struct machine *m, uint8_t level, const struct run_item *item)
{
	if (level > m->config.max_priority)
		level = m->config.max_priority;
	if (level > m->top)
		m->top = level;
	m->counts.published++;
	append(m, &m->lanes[level], item);
}

/* Refused with overflow reject-publish-dlx: dead before it was ever ready. */
static void append_dead(struct machine *m, const struct run_item *item)
{
	struct lane *l = &m->refused;
	append(m, l, item);
	struct lane_place p = lane_head(l);
	lane_take(l, &p);
	m->counts.ready--;
	m->counts.ready_bytes -= item->body_n;
	die_mask(m, LEVEL_REFUSED, &p, UINT64_C(1) << p.i, DEATH_MAXLEN);
}

static void refuse(struct machine *m, uint64_t client, uint64_t seq, const struct run_item *item)
{
	machine_refused(m, client, seq);
	if (m->config.overflow == OVERFLOW_REJECT_DLX && m->config.dead_letter)
		append_dead(m, item);
}

/* An enqueue that finds the queue full. */
static void enqueue_over(struct machine *m, uint64_t client, uint64_t seq, uint8_t level,
	const struct run_item *item)
{
	machine_pump(m);
	bool waits = consumers_next(&m->consumers) != NULL; /* then nothing is ready */
	if (m->config.overflow != OVERFLOW_DROP_HEAD && !waits &&
		over_limits(m, m->counts.ready + 1, m->counts.ready_bytes + item->body_n)) {
		refuse(m, client, seq, item);
		return;
	}
	append_ready(m, level, item);
	machine_pump(m);
}

void machine_enqueue(struct machine *m, uint64_t client, uint64_t seq, uint32_t offset,
	const struct message *msg)
{
	struct run_item item = {offset, (uint32_t)msg->body.n, msg->expiration_ms};
	struct consumer *c;
	if (m->counts.ready == 0 && (c = consumers_next(&m->consumers)) != NULL &&
		(c->flags & ATTACH_NO_ACK) != 0) {
		m->next_seq++;
		m->counts.published++;
		struct machine_delivery d = delivery(m, c, m->index, &item, 0);
		m->sink->deliver(m->arg, &d);
		consumers_turn(&m->consumers, c);
	} else if (over_limits(m, m->counts.ready + 1, m->counts.ready_bytes + item.body_n)) {
		enqueue_over(m, client, seq, msg->level, &item);
	} else {
		append_ready(m, msg->level, &item);
	}
}

/* ---- settling ---- */

static void give_back(struct machine *m, const struct unsettled *u, const struct lane_place *p)
{
	uint32_t returns = u->returns < UINT32_MAX ? u->returns + 1 : u->returns;
	if (returns > m->config.delivery_limit) {
		die_mask(m, u->level, p, UINT64_C(1) << p->i, DEATH_DELIVERY_LIMIT);
		return;
	}
	if (u->level > m->top)
		m->top = u->level;
	lane_return(&m->lanes[u->level], u->seq, returns);
	m->counts.ready++;
	m->counts.ready_bytes += run_body_n(p->run, p->i);
}

static void settle_one(struct machine *m, const struct unsettled *u, enum settle_outcome outcome)
{
	struct lane_place p;
	if (!lane_find(&m->lanes[u->level], u->seq, &p))
		return;
	m->counts.unacked--;
	m->counts.unacked_bytes -= run_body_n(p.run, p.i);
	switch (outcome) {
	case SETTLE_ACK:
		m->counts.acked++;
		kill_mask(m, u->level, p.pos, UINT64_C(1) << p.i);
		break;
	case SETTLE_REQUEUE:
		give_back(m, u, &p);
		break;
	case SETTLE_REJECT:
		die_mask(m, u->level, &p, UINT64_C(1) << p.i, DEATH_REJECTED);
		break;
	}
}

void machine_settle(struct machine *m, struct consumer *c, uint64_t from, uint64_t to,
	enum settle_outcome outcome)
{
	struct ring *r = &c->checkout.ring;
	for (uint64_t pos = checkout_seek(&c->checkout, from); pos < r->end; pos++) {
		struct unsettled *u = unsettled_ring_at(r, pos);
		if (u->number > to)
			break;
		if (u->seq == 0)
			continue;
		settle_one(m, u, outcome);
		checkout_settle(&c->checkout, u);
	}
	checkout_tidy(&c->checkout);
	consumers_refresh(&m->consumers, c);
}

static bool delivery_again(struct machine *m, const struct consumer *c, const struct unsettled *u,
	struct machine_delivery *ret)
{
	struct lane_place p;
	if (u->seq == 0 || !lane_find(&m->lanes[u->level], u->seq, &p))
		return false;
	struct run_item item = run_item(p.run, p.i);
	*ret = (struct machine_delivery){
		.client = c->key.client,
		.consumer = (uint32_t)c->key.consumer,
		.number = u->number,
		.index = p.run->index,
		.offset = item.offset,
		.body_n = item.body_n,
		.returns = u->returns,
	};
	return true;
}

bool machine_delivery_again(struct machine *m, uint64_t client, uint32_t consumer, uint64_t number,
	struct machine_delivery *ret)
{
	struct consumer *c = consumers_find(&m->consumers, client, consumer);
	if (c == NULL)
		return false;
	uint64_t pos = checkout_seek(&c->checkout, number);
	if (pos == c->checkout.ring.end)
		return false;
	const struct unsettled *u = unsettled_ring_at(&c->checkout.ring, pos);
	return u->number == number && delivery_again(m, c, u, ret);
}

void machine_redeliver(struct machine *m, uint64_t client, uint32_t consumer, uint64_t after,
	const struct machine_sink *sink, void *arg)
{
	struct consumer *c = consumers_find(&m->consumers, client, consumer);
	if (c == NULL || after == UINT64_MAX)
		return;
	const struct ring *r = &c->checkout.ring;
	for (uint64_t pos = checkout_seek(&c->checkout, after + 1); pos < r->end; pos++) {
		struct machine_delivery d;
		if (delivery_again(m, c, unsettled_ring_at(r, pos), &d))
			sink->deliver(arg, &d);
	}
}

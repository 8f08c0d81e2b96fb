/* SPDX-License-Identifier: Apache-2.0
 *
 * An entry, step by step: its stamp becomes the time; each section's commands are applied in order,
 * without those that the client had applied before; then ready messages go to consumers, heads
 * expire and limits act (machine_pump()); the entry is released if no live message is in it; and
 * each client is told how far it is applied. Of a malformed section what is in front of the bad place is
 * applied, then the next section, as far as there are any, so that the invariants hold.
 */
#include "src/queue/machine.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/queue/machine_priv.h"

/* ---- init, wipe, free ---- */

void machine_reserve_lanes(struct machine *m, unsigned max_priority)
{
	if (max_priority < m->lanes_n)
		return;
	m->lanes = mem_realloc(m->lanes, (max_priority + 1) * sizeof *m->lanes);
	memset(m->lanes + m->lanes_n, 0, (max_priority + 1 - m->lanes_n) * sizeof *m->lanes);
	m->lanes_n = max_priority + 1;
}

struct machine *machine_new(void)
{
	struct machine *m = MEM_NEW(struct machine);
	m->next_seq = 1;
	m->config.message_ttl_ms = CONFIG_NONE;
	m->config.expires_ms = CONFIG_NONE;
	m->config.max_length = CONFIG_NONE;
	m->config.max_bytes = CONFIG_NONE;
	m->config.delivery_limit = CONFIG_NONE;
	consumers_init(&m->consumers);
	machine_reserve_lanes(m, 0);
	return m;
}

void machine_wipe(struct machine *m)
{
	m->gone = true;
	for (unsigned level = 0; level < m->lanes_n; level++)
		lane_done(&m->lanes[level]);
	lane_done(&m->refused);
	entries_done(&m->entries);
	consumers_done(&m->consumers);
	dead_done(&m->dead);
	m->top = 0;
	m->counts.ready = m->counts.ready_bytes = 0;
	m->counts.unacked = m->counts.unacked_bytes = 0;
	m->counts.dead = 0;
}

void machine_free(struct machine *m)
{
	if (m == NULL)
		return;
	machine_wipe(m);
	publishers_done(&m->publishers);
	mem_free(m->lanes);
	buf_done(&m->names);
	mem_free(m);
}

/* ---- answers ---- */

/* The client knows this outcome, or never will: what a get without acks has taken is settled. */
static void forget(struct machine *m, uint64_t client, const struct outcome *o)
{
	if (!o->no_ack || o->number == 0)
		return;
	struct consumer *c = consumers_find(&m->consumers, client, o->consumer);
	if (c == NULL)
		return;
	machine_settle(m, c, o->number, o->number, SETTLE_ACK);
	if (c->cancelled && checkout_n(&c->checkout) == 0)
		consumers_forget(&m->consumers, c);
}

static void hear(struct machine *m, struct publisher *p, uint64_t heard)
{
	struct outcome o;
	while (publisher_heard(p, heard, &o))
		forget(m, p->client, &o);
}

static void keep(struct machine *m, uint64_t client, const struct outcome *o)
{
	struct publisher *p = publishers_find(&m->publishers, client);
	if (p == NULL)
		return; /* the leader itself, or a client that this section has ended */
	struct outcome first;
	if (publisher_outcomes(p) == OUTCOMES_MAX && publisher_heard(p, UINT64_MAX, &first))
		forget(m, client, &first);
	publisher_keep(p, o);
}

void machine_answer(
	struct machine *m, const struct machine_answer *a, uint32_t consumer, bool no_ack)
{
	keep(m, a->client, &(struct outcome){
				   .seq = a->seq,
				   .messages = a->messages,
				   .number = a->delivery != NULL ? a->delivery->number : 0,
				   .consumer = consumer,
				   .consumers = a->consumers,
				   .type = (uint8_t)a->type,
				   .status = (uint8_t)a->status,
				   .no_ack = no_ack,
			   });
	m->sink->answer(m->arg, a);
}

void machine_refused(struct machine *m, uint64_t client, uint64_t seq)
{
	keep(m, client, &(struct outcome){.seq = seq, .messages = 1, .type = COMMAND_ENQUEUE});
	m->sink->refused(m->arg, client, seq);
}

/* A command that has been applied before: its outcome once more. */
static void answer_again(struct machine *m, uint64_t client, uint64_t seq)
{
	const struct publisher *p = publishers_find(&m->publishers, client);
	const struct outcome *o = p != NULL ? publisher_outcome(p, seq) : NULL;
	if (o == NULL)
		return;
	if (o->type == COMMAND_ENQUEUE) {
		m->sink->refused(m->arg, client, seq);
		return;
	}
	struct machine_delivery d;
	bool has = o->number != 0 &&
		   machine_delivery_again(m, client, o->consumer, o->number, &d);
	m->sink->answer(m->arg, &(struct machine_answer){
					.client = client,
					.seq = seq,
					.type = o->type,
					.status = o->status,
					.messages = o->messages,
					.consumers = o->consumers,
					.delivery = has ? &d : NULL,
				});
}

/* With counts if ok to tell: status and delete are answered with what is there. */
static void answer(struct machine *m, uint64_t client, uint64_t seq, enum command_type type,
	enum machine_status status, uint64_t messages)
{
	bool counted = type == COMMAND_STATUS || type == COMMAND_DELETE;
	machine_answer(m,
		&(struct machine_answer){
			.client = client,
			.seq = seq,
			.type = type,
			.status = status,
			.messages = messages,
			.consumers = counted ? m->consumers.attached : 0,
		},
		0, false);
}

/* ---- the end of the queue ---- */

static void emit_cancelled(struct machine *m)
{
	LIST_EACH(node, &m->consumers.all)
	{
		const struct consumer *c = LIST_ENTRY(node, struct consumer, all);
		if (consumer_is_pushed(c) && !c->cancelled)
			m->sink->cancelled(m->arg, c->key.client, (uint32_t)c->key.consumer);
	}
}

/* Either way nobody consumes: there is none to be told. */
static void end(struct machine *m, bool expired)
{
	machine_wipe(m);
	m->sink->ended(m->arg, expired);
}

static void apply_delete(
	struct machine *m, uint64_t client, uint64_t seq, const struct command_delete *c)
{
	machine_pump(m);
	/* In RabbitMQ's order. */
	enum machine_status status = MACHINE_OK;
	if (c->if_empty && m->counts.ready > 0)
		status = MACHINE_NOT_EMPTY;
	else if (c->if_unused && m->consumers.attached > 0)
		status = MACHINE_IN_USE;
	answer(m, client, seq, COMMAND_DELETE, status, m->counts.ready);
	if (status != MACHINE_OK)
		return;
	emit_cancelled(m);
	machine_wipe(m);
}

static uint64_t expires_at_ms(const struct machine *m)
{
	if (m->gone || m->consumers.attached > 0 || m->config.expires_ms > UINT64_MAX - m->used_ms)
		return UINT64_MAX;
	return m->used_ms + m->config.expires_ms;
}

/* ---- consumers ---- */

static void apply_attach(
	struct machine *m, uint64_t client, uint64_t seq, const struct command_attach *c)
{
	enum machine_status status = MACHINE_OK;
	m->used_ms = m->stamp_ms;
	if (consumers_find(&m->consumers, client, c->consumer) != NULL)
		status = MACHINE_OK; /* sent again */
	else if (consumers_exclude(&m->consumers, c->flags))
		status = MACHINE_EXCLUSIVE;
	else
		consumers_attach(&m->consumers, client, c);
	answer(m, client, seq, COMMAND_ATTACH, status, 0);
}

/* After consumers left, of whom `before` had been attached. */
static void consumers_left(struct machine *m, uint32_t before)
{
	if (before == 0 || m->consumers.attached > 0)
		return;
	m->used_ms = m->stamp_ms;
	if (m->config.auto_delete)
		end(m, false);
}

static void leave(struct machine *m, struct consumer *c, bool requeue)
{
	consumers_cancel(&m->consumers, c);
	if (requeue)
		machine_settle(m, c, 0, UINT64_MAX, SETTLE_REQUEUE);
	if (checkout_n(&c->checkout) == 0)
		consumers_forget(&m->consumers, c);
}

static void leave_all(struct machine *m, uint64_t from, uint64_t to)
{
	LIST_EACH_SAFE(node, &m->consumers.all)
	{
		struct consumer *found = LIST_ENTRY(node, struct consumer, all);
		if (found->key.client >= from && found->key.client <= to)
			leave(m, found, true);
	}
}

static void apply_cancel(
	struct machine *m, uint64_t client, uint64_t seq, const struct command_cancel *c)
{
	uint32_t before = m->consumers.attached;
	struct consumer *found = consumers_find(&m->consumers, client, c->consumer);
	if (c->consumer == CONSUMER_ALL)
		leave_all(m, client, client);
	else if (found != NULL)
		leave(m, found, c->requeue);
	consumers_left(m, before);
	answer(m, client, seq, COMMAND_CANCEL, m->gone ? MACHINE_GONE : MACHINE_OK, 0);
}

static void apply_credit(struct machine *m, uint64_t client, const struct command_credit *c)
{
	struct consumer *found = consumers_find(&m->consumers, client, c->consumer);
	if (found == NULL || found->credit_bytes >= c->credit_bytes)
		return;
	found->credit_bytes = c->credit_bytes;
	consumers_refresh(&m->consumers, found);
}

static void apply_prefetch(struct machine *m, uint64_t client, const struct command_prefetch *c)
{
	struct consumer *found = consumers_find(&m->consumers, client, c->consumer);
	if (found == NULL)
		return;
	found->prefetch = c->prefetch;
	consumers_refresh(&m->consumers, found);
}

static void apply_settle(struct machine *m, uint64_t client, const struct command_settle *c)
{
	struct consumer *found = consumers_find(&m->consumers, client, c->consumer);
	if (found == NULL)
		return;
	machine_settle(m, found, c->from, c->to, c->outcome);
	if (found->cancelled && checkout_n(&found->checkout) == 0)
		consumers_forget(&m->consumers, found);
}

/* The clients a CLIENT_DOWN means: [*ret_from, *ret_to]. Ids sort by node, then incarnation. */
static void clients_down(const struct command_client_down *c, uint64_t *ret_from, uint64_t *ret_to)
{
	*ret_from = *ret_to = c->client;
	if (!c->node)
		return;
	*ret_from = client_id_make(client_id_node(c->client), 0, 0);
	*ret_to = client_id_make(
		client_id_node(c->client), client_id_incarnation(c->client), UINT16_MAX);
}

static void apply_client_down(struct machine *m, const struct command_client_down *c)
{
	uint32_t before = m->consumers.attached;
	uint64_t from, to;
	clients_down(c, &from, &to);
	for (size_t i = 0; i < m->publishers.n; i++) {
		struct publisher *p = &m->publishers.a[i];
		if (p->client >= from && p->client <= to)
			hear(m, p, UINT64_MAX);
	}
	publishers_forget(&m->publishers, from, to);
	leave_all(m, from, to);
	if (!m->gone)
		consumers_left(m, before);
}

/* ---- the queue ---- */

static void apply_get(struct machine *m, uint64_t client, uint64_t seq, const struct command_get *c)
{
	m->used_ms = m->stamp_ms;
	machine_pump(m);
	struct consumer *found = consumers_find(&m->consumers, client, c->consumer);
	if (m->config.single_active) {
		answer(m, client, seq, COMMAND_GET, MACHINE_SINGLE_ACTIVE, 0);
		return;
	}
	if (found != NULL && !consumer_is_pushed(found) && !found->cancelled &&
		machine_get(m, client, seq, found, c->no_ack))
		return;
	answer(m, client, seq, COMMAND_GET, MACHINE_EMPTY, m->counts.ready);
}

static void apply_purge(struct machine *m, uint64_t client, uint64_t seq)
{
	machine_pump(m);
	uint64_t n = m->counts.ready;
	machine_purge(m);
	answer(m, client, seq, COMMAND_PURGE, MACHINE_OK, n);
}

static void apply_status(
	struct machine *m, uint64_t client, uint64_t seq, const struct command_status *c)
{
	if (c->touch)
		m->used_ms = m->stamp_ms;
	machine_pump(m);
	answer(m, client, seq, COMMAND_STATUS, MACHINE_OK, m->counts.ready);
}

void machine_configure(struct machine *m, const struct queue_config *c)
{
	if (m->config.expires_ms != c->expires_ms)
		m->used_ms = m->stamp_ms;
	m->config = *c;
	buf_clear(&m->names);
	buf_reserve(&m->names, 1); /* an address, even for no names */
	buf_put_slice(&m->names, c->dlx);
	buf_put_slice(&m->names, c->dlx_key);
	m->config.dlx = slice_make(m->names.p, c->dlx.n);
	m->config.dlx_key = slice_make(m->names.p + c->dlx.n, c->dlx_key.n);
	machine_reserve_lanes(m, c->max_priority);
	consumers_set_single_active(&m->consumers, c->single_active);
}

/* ---- entries ---- */

/* An enqueue is dropped and not refused: whoever deleted the queue did not want what was still on its
 * way to it, and a publisher is told the same as of a message that reaches no queue. */
static void apply_when_gone(
	struct machine *m, uint64_t client, uint64_t seq, const struct command *c)
{
	switch (c->type) {
	case COMMAND_ATTACH:
	case COMMAND_CANCEL:
	case COMMAND_GET:
	case COMMAND_PURGE:
	case COMMAND_DELETE:
	case COMMAND_STATUS:
		answer(m, client, seq, c->type, MACHINE_GONE, 0);
		break;
	case COMMAND_CLIENT_DOWN:
		apply_client_down(m, &c->u.client_down);
		break;
	default:
		break;
	}
}

static void apply_command(struct machine *m, uint64_t client, uint64_t seq, const struct command *c)
{
	switch (c->type) {
	case COMMAND_ENQUEUE:
		machine_enqueue(m, client, seq, c->offset, &c->u.enqueue);
		break;
	case COMMAND_ATTACH:
		apply_attach(m, client, seq, &c->u.attach);
		break;
	case COMMAND_CANCEL:
		apply_cancel(m, client, seq, &c->u.cancel);
		break;
	case COMMAND_CREDIT:
		apply_credit(m, client, &c->u.credit);
		break;
	case COMMAND_PREFETCH:
		apply_prefetch(m, client, &c->u.prefetch);
		break;
	case COMMAND_SETTLE:
		apply_settle(m, client, &c->u.settle);
		break;
	case COMMAND_GET:
		apply_get(m, client, seq, &c->u.get);
		break;
	case COMMAND_PURGE:
		apply_purge(m, client, seq);
		break;
	case COMMAND_DELETE:
		apply_delete(m, client, seq, &c->u.del);
		break;
	case COMMAND_STATUS:
		apply_status(m, client, seq, &c->u.status);
		break;
	case COMMAND_CONFIG:
		machine_configure(m, &c->u.config);
		break;
	case COMMAND_TIME:
		break;
	case COMMAND_CLIENT_DOWN:
		apply_client_down(m, &c->u.client_down);
		break;
	case COMMAND_DEAD_DONE:
		machine_dead_done(m, c->u.dead_done);
		break;
	}
}

/* Applies the commands with sequences above `last`; -1 if malformed. *ret_n: commands seen. */
static int apply_commands(
	struct machine *m, const uint8_t *entry, struct section *s, uint64_t last, uint32_t *ret_n)
{
	struct command c;
	uint32_t n = 0;
	while (n < s->count && command_next(s, entry, &c)) {
		uint64_t seq = s->first_seq + n++;
		if (s->client != 0 && seq <= last)
			answer_again(m, s->client, seq);
		else if (m->gone)
			apply_when_gone(m, s->client, seq, &c);
		else
			apply_command(m, s->client, seq, &c);
	}
	*ret_n = n;
	return n < s->count || reader_left(&s->commands) > 0 ? -1 : 0;
}

/* A section behind a gap has overtaken one that was lost with a leader: its client sends both again.
 * One without commands says that those which it counts will never come. */
static int apply_section(struct machine *m, const uint8_t *entry, struct section *s)
{
	if (s->first_seq > UINT64_MAX - s->count)
		return -1;
	uint64_t last = 0;
	uint32_t n;
	if (s->client != 0) {
		publishers_raise(&m->publishers, s->client, 0);
		struct publisher *p = publishers_find(&m->publishers, s->client);
		last = p->last_seq;
		if (s->first_seq > last + 1)
			return 0;
		hear(m, p, s->heard);
		if (s->count > 0 && reader_left(&s->commands) == 0) {
			publishers_raise(&m->publishers, s->client, s->first_seq + s->count - 1);
			return 0;
		}
	}
	int rc = apply_commands(m, entry, s, last, &n);
	if (s->client != 0)
		publishers_raise(&m->publishers, s->client, n > 0 ? s->first_seq + n - 1 : 0);
	return rc;
}

/* What one client has sent wrong is no reason to lose what others have sent. */
static int apply_sections(struct machine *m, const uint8_t *entry, struct reader r)
{
	struct section s;
	int rc = 0;
	while (command_section_next(&r, &s)) {
		if (apply_section(m, entry, &s) != 0)
			rc = -1;
	}
	return r.bad ? -1 : rc;
}

/* Tells each client of the entry once, in the order of their first sections. */
static void tell_applied(struct machine *m, struct reader r)
{
	struct section s;
	while (command_section_next(&r, &s)) {
		struct publisher *p = publishers_find(&m->publishers, s.client);
		if (p == NULL || p->told_index == m->index)
			continue;
		p->told_index = m->index;
		m->sink->applied(m->arg, p->client, p->last_seq);
	}
}

static void finish(struct machine *m)
{
	if (m->gone)
		return;
	machine_pump(m);
	if (expires_at_ms(m) <= m->stamp_ms)
		end(m, true);
	else if (entries_end(&m->entries))
		m->sink->release(m->arg, m->index);
}

int machine_apply(struct machine *m, uint64_t index, const uint8_t *p, size_t n,
	const struct machine_sink *sink, void *arg)
{
	struct reader r = reader_make(p, n);
	uint64_t stamp_ms;
	if (index <= m->index || command_entry_begin(&r, &stamp_ms) != 0 || stamp_ms >= STAMP_END)
		return -1;
	m->sink = sink;
	m->arg = arg;
	m->index = index;
	if (m->stamp_ms < stamp_ms)
		m->stamp_ms = stamp_ms;
	if (!m->gone)
		entries_begin(&m->entries, index);
	int rc = apply_sections(m, p, r);
	finish(m);
	tell_applied(m, r);
	return rc;
}

/* ---- reading ---- */

uint64_t machine_deadline(const struct machine *m)
{
	uint64_t expires_ms = expires_at_ms(m);
	/* Finding a head moves cursors over what is not ready: a cache, so to say. */
	uint64_t heads_ms = machine_heads_deadline_ms((struct machine *)m);
	return expires_ms < heads_ms ? expires_ms : heads_ms;
}

uint64_t machine_stamp(const struct machine *m)
{
	return m->stamp_ms;
}

void machine_counts(const struct machine *m, struct machine_counts *ret)
{
	*ret = m->counts;
	ret->consumers = m->consumers.attached;
	ret->waiting = m->consumers.waiting;
}

bool machine_holder(const struct machine *m, struct machine_holder *ret)
{
	const struct consumer *c = consumers_holder(&m->consumers);
	if (c == NULL)
		return false;
	*ret = (struct machine_holder){.client = c->key.client,
		.consumer = (uint32_t)c->key.consumer,
		.exclusive = (c->flags & ATTACH_EXCLUSIVE) != 0,
		.tag = slice_make(c->tag, c->tag_n)};
	return true;
}

static size_t lane_memory(const struct lane *l)
{
	return l->runs.cap * sizeof(struct run) + l->returned_cap * sizeof *l->returned;
}

static size_t consumers_memory(const struct consumers *cs)
{
	size_t n = 0;
	LIST_EACH(node, &cs->all)
	{
		const struct consumer *c = LIST_ENTRY(node, struct consumer, all);
		n += sizeof *c + c->tag_n + c->checkout.ring.cap * sizeof(struct unsettled);
	}
	return n;
}

static size_t publishers_memory(const struct publishers *p)
{
	size_t n = p->cap * sizeof *p->a;
	for (size_t i = 0; i < p->n; i++)
		n += p->a[i].cap * sizeof *p->a[i].outcomes;
	return n;
}

size_t machine_memory(const struct machine *m)
{
	size_t n = sizeof *m + m->names.cap + m->lanes_n * sizeof *m->lanes;
	for (unsigned level = 0; level < m->lanes_n; level++)
		n += lane_memory(&m->lanes[level]);
	return n + lane_memory(&m->refused) + m->entries.ring.cap * sizeof(struct entry) +
	       m->dead.waiting.cap * sizeof(struct dead_range) +
	       m->dead.out_cap * sizeof *m->dead.out + consumers_memory(&m->consumers) +
	       publishers_memory(&m->publishers);
}

const struct queue_config *machine_config(const struct machine *m)
{
	return &m->config;
}

bool machine_gone(const struct machine *m)
{
	return m->gone;
}

uint64_t machine_last_seq(const struct machine *m, uint64_t client)
{
	const struct publisher *p = publishers_find(&m->publishers, client);
	return p != NULL ? p->last_seq : 0;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void machine_each_client(
	const struct machine *m, void (*each)(void *arg, uint64_t client), void *arg)
{
	struct buf ids = BUF_EMPTY;
	for (size_t i = 0; i < m->publishers.n; i++)
		buf_put_u64le(&ids, m->publishers.a[i].client);
	LIST_EACH(node, &m->consumers.all)
	buf_put_u64le(&ids, LIST_ENTRY(node, struct consumer, all)->key.client);
	size_t n = ids.n / sizeof(uint64_t);
	uint64_t *a = (uint64_t *)ids.p;
	if (n > 0)
		qsort(a, n, sizeof *a, compare_u64);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || a[i] != a[i - 1])
			each(arg, a[i]);
	}
	buf_done(&ids);
}

void machine_live(const struct machine *m, uint64_t after, struct buf *out)
{
	const struct ring *r = &m->entries.ring;
	uint64_t range[2] = {0, 0}; /* no entry has index 0 */
	for (uint64_t pos = r->first; pos < r->end; pos++) {
		const struct entry *e = entry_ring_at(r, pos);
		if (e->runs == 0 || e->index <= after)
			continue;
		if (range[0] != 0 && e->index == range[1] + 1) {
			range[1]++;
			continue;
		}
		if (range[0] != 0)
			buf_put_bytes(out, range, sizeof range);
		range[0] = range[1] = e->index;
	}
	if (range[0] != 0)
		buf_put_bytes(out, range, sizeof range);
}

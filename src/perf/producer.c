/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/producer.h"

#include "src/amqp/frame.h"
#include "src/base/mem.h"
#include "src/perf/connection.h"
#include "src/perf/mix.h"

enum {
	TURN_OCTETS = 64 * 1024, /* published by one producer in one turn */
	CLOCK_EVERY = 32,        /* messages between two looks at the clock */
};

#define NS_PER_S 1e9

static void on_job(struct turn_job *job);
static void on_due(struct pacer_slot *s);
static const struct channel_user channel_user;

void producer_init(struct producer *p, struct env *env, uint32_t no)
{
	*p = (struct producer){.env = env, .no = no, .pace = {.due = on_due}};
	channel_init(&p->channel, &channel_user, p);
	turn_job_init(&p->job, on_job);
	unconfirmed_init(&p->unconfirmed);
}

void producer_done(struct producer *p)
{
	turn_forget(&p->job);
	pacer_clear(p->env->pacer, &p->pace);
	channel_done(&p->channel);
	unconfirmed_done(&p->unconfirmed);
	mem_free(p->again);
	buf_done(&p->scratch);
}

/* --- when --- */

/* When message k (from 0) is due: producers take turns within an interval, and times are rounded up
 * to a grid so that many messages share one wake-up. */
static uint64_t due_at(const struct producer *p, uint64_t k)
{
	const struct options *o = p->env->options;
	double shift = (double)p->no / o->producers;
	uint64_t after = (uint64_t)(((double)k + shift) * (NS_PER_S / o->rate));
	uint64_t grid = (uint64_t)o->tick_us * 1000;
	return p->start_ns + (after + grid - 1) / grid * grid;
}

static bool window_full(const struct producer *p)
{
	uint32_t window = p->env->options->confirm;
	return window > 0 && p->unconfirmed.open >= window;
}

/* Messages that were due by `now` and have not been published. */
static uint64_t overdue(const struct producer *p, uint64_t now_ns)
{
	uint64_t k = p->published;
	while (k < p->limit && due_at(p, k) < now_ns)
		k++;
	return k - p->published;
}

/* --- one message --- */

static void write_body(const struct producer *p, uint8_t *body, uint32_t size,
	const struct unconfirmed_entry *e, bool again)
{
	const struct env *env = p->env;
	if (env->verify != NULL) {
		struct stamp s = {
			.due_ns = e->due_ns,
			.sequence = e->sequence,
			.run = env->run,
			.producer = p->no,
			.flags = again ? STAMP_AGAIN : 0,
		};
		stamp_put_long(body, size, &s);
		return;
	}
	if (size < STAMP_SHORT) {
		memcpy(body, env->filler, size);
		return;
	}
	stamp_put_short(body, env->run, e->due_ns);
	if (size > STAMP_SHORT)
		memcpy(body + STAMP_SHORT, env->filler, size - STAMP_SHORT);
}

static void put_body(struct producer *p, struct buf *out, uint32_t size,
	const struct unconfirmed_entry *e, bool again)
{
	uint32_t frame_max = p->channel.connection->frame_max;
	if (frame_max != 0 && size > frame_max - AMQP_FRAME_OVERHEAD) {
		buf_clear(&p->scratch);
		write_body(p, buf_put(&p->scratch, size), size, e, again);
		amqp_put_body(out, p->channel.id, frame_max, buf_slice(&p->scratch));
	} else if (size > 0) {
		uint8_t *frame = buf_put(out, size + AMQP_FRAME_OVERHEAD);
		amqp_frame_prefix(frame, AMQP_FRAME_BODY, p->channel.id, size);
		write_body(p, frame + AMQP_FRAME_PREFIX, size, e, again);
		frame[AMQP_FRAME_PREFIX + size] = AMQP_FRAME_END;
	}
}

/* All about the message follows from its number, so that it can be made again. */
static void publish(struct producer *p, struct buf *out, const struct unconfirmed_entry *e,
	bool again, uint64_t now_ns)
{
	struct env *env = p->env;
	const struct options *o = env->options;
	uint32_t size = o->sizes.min;
	if (size != o->sizes.max)
		size = sizes_pick(&o->sizes, mix_message(p->no, e->sequence, MIX_SIZE));
	uint64_t random = 0;
	if (env->envelopes.priorities > 1)
		random = mix_message(p->no, e->sequence, MIX_PRIORITY);
	uint64_t key = o->spread ? p->no + e->sequence : p->no;
	key = o->queues > 1 ? key % o->queues : 0;
	envelope_put(
		envelopes_pick(&env->envelopes, (unsigned)key, random), out, p->channel.id, size);
	put_body(p, out, size, e, again);
	if (o->confirm > 0)
		unconfirmed_push(&p->unconfirmed, e->sequence, e->due_ns);
	if (env->verify != NULL)
		verify_published(env->verify, p->no, e->sequence, again);
	tally_published(env->tally, size, now_ns);
}

/* --- as many as may be --- */

/* What to publish next; false if there is nothing (yet). */
static bool next_message(
	struct producer *p, uint64_t now_ns, struct unconfirmed_entry *ret, bool *ret_again)
{
	*ret_again = p->again_at < p->again_n;
	if (*ret_again) {
		*ret = p->again[p->again_at];
		return true;
	}
	if (p->published >= p->limit)
		return false;
	uint64_t due = p->env->options->rate > 0 ? due_at(p, p->published) : now_ns;
	if (due > now_ns) {
		pacer_set(p->env->pacer, &p->pace, due);
		return false;
	}
	*ret = (struct unconfirmed_entry){p->published + 1, due};
	return true;
}

/* Publishes until something stops it, and makes sure that it is called again: by the pacer, by a
 * confirm, by writable(), or, after its share of the turn, in the next turn. */
static void on_job(struct turn_job *job)
{
	struct producer *p = LIST_ENTRY(job, struct producer, job);
	if (!channel_room(&p->channel))
		return;
	struct buf *out = channel_out(&p->channel);
	size_t end = out->n + TURN_OCTETS;
	uint64_t now = 0;
	for (unsigned i = 0; !window_full(p) && channel_room(&p->channel); i++) {
		struct unconfirmed_entry e;
		bool again;
		if (i % CLOCK_EVERY == 0)
			now = uv_hrtime();
		if (!next_message(p, now, &e, &again))
			return;
		publish(p, out, &e, again, now);
		if (again)
			p->again_at++;
		else
			p->published++;
		if (out->n >= end) {
			turn_schedule(p->env->turn, &p->job);
			return;
		}
	}
}

static void wake(struct producer *p)
{
	turn_schedule(p->env->turn, &p->job);
}

static void on_due(struct pacer_slot *s)
{
	wake(LIST_ENTRY(s, struct producer, pace));
}

/* --- the channel --- */

static void on_opened(void *arg)
{
	struct producer *p = arg;
	if (p->env->options->confirm == 0)
		channel_ready(&p->channel);
	else
		channel_send(&p->channel, &(struct amqp_method){.id = AMQP_CONFIRM_SELECT});
	wake(p);
}

static void on_method(void *arg, const struct amqp_method *m)
{
	struct producer *p = arg;
	if (m->id != AMQP_CONFIRM_SELECT_OK || p->channel.state != CHANNEL_SETTING_UP)
		return;
	channel_ready(&p->channel);
	wake(p);
}

static void on_delivered(void *arg, const struct delivery *d)
{
	(void)arg, (void)d;
}

static void on_returned(void *arg, const struct delivery *d)
{
	struct producer *p = arg;
	p->env->tally->now.returned++;
	journal_note(p->env->journal, JOURNAL_RETURN,
		"producer %u: basic.return: %u %.*s, exchange '%.*s', routing key '%.*s'", p->no,
		d->reply_code, SLICE_FMT(d->reply_text), SLICE_FMT(d->exchange),
		SLICE_FMT(d->routing_key));
	if (p->env->verify != NULL)
		verify_returned(p->env->verify, d->body);
}

struct confirm {
	struct producer *producer;
	uint64_t now_ns;
};

static void confirmed_one(void *arg, const struct unconfirmed_entry *e)
{
	struct confirm *c = arg;
	struct env *env = c->producer->env;
	tally_confirmed(env->tally, e->due_ns, c->now_ns);
	if (env->verify != NULL)
		verify_confirmed(env->verify, c->producer->no, e->sequence);
}

static void nacked_one(void *arg, const struct unconfirmed_entry *e)
{
	(void)e;
	struct confirm *c = arg;
	c->producer->env->tally->now.nacked++;
}

static void on_confirmed(void *arg, uint64_t number, bool multiple, bool nack, uint64_t now_ns)
{
	struct producer *p = arg;
	struct confirm c = {p, now_ns};
	unconfirmed_settle(
		&p->unconfirmed, number, multiple, nack ? nacked_one : confirmed_one, &c);
	wake(p);
}

static void on_writable(void *arg)
{
	wake(arg);
}

struct collection {
	struct unconfirmed_entry *v;
	size_t n;
};

static void collect(void *arg, const struct unconfirmed_entry *e)
{
	struct collection *c = arg;
	c->v[c->n++] = *e;
}

/* What was not confirmed comes first, then what was still to be published again. */
static void on_lost(void *arg)
{
	struct producer *p = arg;
	size_t left = p->again_n - p->again_at;
	struct collection c = {
		mem_alloc((p->unconfirmed.open + left) * sizeof(struct unconfirmed_entry)), 0};
	unconfirmed_restart(&p->unconfirmed, collect, &c);
	if (left > 0)
		memcpy(c.v + c.n, p->again + p->again_at, left * sizeof c.v[0]);
	mem_free(p->again);
	p->again = c.v;
	p->again_n = c.n + left;
	p->again_at = 0;
	pacer_clear(p->env->pacer, &p->pace);
}

static const struct channel_user channel_user = {
	on_opened,
	on_method,
	on_delivered,
	on_returned,
	on_confirmed,
	on_writable,
	on_lost,
};

/* --- from outside --- */

void producer_start(struct producer *p, uint64_t limit, uint64_t now_ns)
{
	p->start_ns = now_ns;
	p->limit = limit;
	wake(p);
}

void producer_stop(struct producer *p, uint64_t now_ns)
{
	uint64_t due = p->env->options->rate > 0 ? overdue(p, now_ns) : 0;
	p->limit = p->published + due;
}

void producer_abandon(struct producer *p)
{
	p->env->tally->due_unsent += p->limit - p->published;
	p->limit = p->published;
}

bool producer_finished(const struct producer *p)
{
	return p->published >= p->limit;
}

bool producer_settled(const struct producer *p)
{
	return p->unconfirmed.open == 0 && p->again_at == p->again_n && producer_finished(p);
}

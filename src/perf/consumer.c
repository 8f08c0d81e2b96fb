/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/consumer.h"

#include <stdio.h>

#include "src/amqp/frame.h"
#include "src/base/mem.h"
#include "src/perf/connection.h"
#include "src/perf/topology.h"

static const struct channel_user channel_user;

void consumer_init(struct consumer *c, struct env *env, const struct topology *t, unsigned no)
{
	const struct options *o = env->options;
	*c = (struct consumer){.env = env, .topology = t, .no = no};
	channel_init(&c->channel, &channel_user, c);
	unsigned n = no < o->queues ? (o->queues - no - 1) / o->consumers + 1 : 1;
	c->subscriptions = mem_zalloc(n * sizeof c->subscriptions[0]);
	for (unsigned i = 0; i < n; i++)
		c->subscriptions[i].queue = (no + i * o->consumers) % o->queues;
	c->subscriptions_n = n;
}

void consumer_done(struct consumer *c)
{
	channel_done(&c->channel);
	for (unsigned i = 0; i < c->subscriptions_n; i++)
		verify_track_done(&c->subscriptions[i].track);
	mem_free(c->subscriptions);
}

/* --- setting up --- */

static void put_qos(struct consumer *c)
{
	struct amqp_method m = {.id = AMQP_BASIC_QOS};
	m.u.basic_qos.prefetch_count = (uint16_t)c->env->options->prefetch;
	channel_send(&c->channel, &m);
	c->replies++;
}

static void put_consume(struct consumer *c, unsigned i)
{
	const struct options *o = c->env->options;
	char tag[16];
	snprintf(tag, sizeof tag, "%u", i);
	char *queue = topology_queue_name(c->topology, c->subscriptions[i].queue);
	struct amqp_method m = {.id = AMQP_BASIC_CONSUME};
	m.u.basic_consume.queue = slice_str(queue);
	m.u.basic_consume.consumer_tag = slice_str(tag);
	m.u.basic_consume.no_ack = o->ack_every == 0;
	m.u.basic_consume.arguments = buf_slice(&o->consumer_arguments);
	channel_send(&c->channel, &m);
	mem_free(queue);
	c->replies++;
}

static void on_opened(void *arg)
{
	struct consumer *c = arg;
	c->replies = 0;
	c->unacked = 0;
	if (c->env->options->prefetch > 0 && c->env->options->ack_every > 0)
		put_qos(c);
	for (unsigned i = 0; i < c->subscriptions_n; i++) {
		/* A queue that is not durable may have gone with its broker. */
		if (c->was_ready)
			c->replies += topology_put_queue(
				c->topology, &c->channel, c->subscriptions[i].queue);
		put_consume(c, i);
	}
}

static void on_cancel(struct consumer *c, struct slice tag)
{
	if (c->stopped)
		return;
	journal_note(c->env->journal, JOURNAL_CANCEL, "consumer %u: basic.cancel of '%.*s'", c->no,
		SLICE_FMT(tag));
	channel_restart(&c->channel);
}

static void on_method(void *arg, const struct amqp_method *m)
{
	struct consumer *c = arg;
	if (m->id == AMQP_BASIC_CANCEL) {
		on_cancel(c, m->u.basic_cancel.consumer_tag);
		return;
	}
	if (c->channel.state != CHANNEL_SETTING_UP || c->replies == 0 || --c->replies > 0)
		return;
	c->was_ready = true;
	channel_ready(&c->channel);
}

/* --- messages --- */

static struct subscription *find(const struct consumer *c, struct slice tag)
{
	unsigned i = 0;
	for (size_t k = 0; k < tag.n && k < 9; k++)
		i = i * 10 + (unsigned)(tag.p[k] - '0');
	return i < c->subscriptions_n ? &c->subscriptions[i] : NULL;
}

/* Whether the message is one of those that this run is about. */
static bool look_at(struct consumer *c, struct subscription *s, const struct delivery *d)
{
	struct env *env = c->env;
	struct stamp stamp;
	enum stamp_kind kind = stamp_read(d->body, env->verify != NULL, &stamp);
	bool ours = kind != STAMP_NONE && (env->run == 0 || stamp.run == env->run);
	if (env->verify != NULL) {
		unsigned copy = env->options->copies_all ? s->queue : 0;
		ours = verify_received(env->verify, &s->track, copy, kind, &stamp, d->redelivered);
	}
	if (ours)
		tally_latency(env->tally, &env->tally->delivery, stamp.due_ns, d->now_ns);
	/* Too small for a stamp: there is no telling. */
	return ours || (kind == STAMP_NONE && d->body.n < STAMP_SHORT);
}

static void acknowledge(struct consumer *c)
{
	if (c->unacked == 0)
		return;
	amqp_put_basic_ack(channel_out(&c->channel), c->channel.id, c->last, c->unacked > 1);
	c->unacked = 0;
}

static void on_delivered(void *arg, const struct delivery *d)
{
	struct consumer *c = arg;
	const struct options *o = c->env->options;
	struct tally *t = c->env->tally;
	struct subscription *s = find(c, d->tag);
	bool enough = o->mode == MODE_CONSUME && o->messages > 0 && t->now.received >= o->messages;
	if (c->stopped || s == NULL || enough)
		return;
	tally_received(t, d->body.n, d->redelivered, d->now_ns);
	if (!look_at(c, s, d))
		t->now.foreign++;
	c->last = d->number;
	if (o->ack_every > 0 && ++c->unacked >= o->ack_every)
		acknowledge(c);
}

/* --- the rest --- */

static void on_returned(void *arg, const struct delivery *d)
{
	(void)arg, (void)d;
}

static void on_confirmed(void *arg, uint64_t number, bool multiple, bool nack, uint64_t now_ns)
{
	(void)arg, (void)number, (void)multiple, (void)nack, (void)now_ns;
}

static void on_writable(void *arg)
{
	(void)arg;
}

static void on_lost(void *arg)
{
	struct consumer *c = arg;
	c->unacked = 0;
	if (c->env->verify == NULL)
		return;
	for (unsigned i = 0; i < c->subscriptions_n; i++)
		verify_interrupted(c->env->verify, &c->subscriptions[i].track);
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

void consumer_stop(struct consumer *c)
{
	if (!c->stopped && c->channel.state == CHANNEL_READY)
		acknowledge(c);
	c->stopped = true;
}

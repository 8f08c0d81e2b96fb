/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/topology.h"

#include "src/base/mem.h"
#include "src/perf/connection.h"
#include "src/perf/pattern.h"

static const struct channel_user channel_user;

void topology_init(struct topology *t, const struct options *o)
{
	*t = (struct topology){.options = o};
	channel_init(&t->channel, &channel_user, t);
}

void topology_done(struct topology *t)
{
	channel_done(&t->channel);
}

char *topology_queue_name(const struct topology *t, unsigned i)
{
	return pattern_expand(t->options->queue, i);
}

/* While consuming alone the queues are somebody else's. */
static bool declares(const struct options *o)
{
	return !o->no_declare && o->mode != MODE_CONSUME && o->mode != MODE_IDLE;
}

/* --- methods --- */

static void put_exchange(struct topology *t)
{
	const struct options *o = t->options;
	struct amqp_method m = {.id = AMQP_EXCHANGE_DECLARE};
	m.u.exchange_declare.exchange = slice_str(o->exchange);
	m.u.exchange_declare.type = slice_str(o->exchange_type);
	m.u.exchange_declare.durable = !o->transient;
	channel_send(&t->channel, &m);
	t->replies++;
}

static void put_declare(
	const struct topology *t, struct channel *ch, const char *name, bool passive)
{
	const struct options *o = t->options;
	struct amqp_method m = {.id = AMQP_QUEUE_DECLARE};
	m.u.queue_declare.queue = slice_str(name);
	m.u.queue_declare.passive = passive;
	if (!passive) {
		m.u.queue_declare.durable = !o->transient;
		m.u.queue_declare.auto_delete = o->auto_delete;
		m.u.queue_declare.arguments = buf_slice(&o->queue_arguments);
	}
	channel_send(ch, &m);
}

static void put_bind(const struct topology *t, struct channel *ch, const char *name, unsigned i)
{
	const struct options *o = t->options;
	char *key = pattern_expand(o->binding_key, i);
	struct amqp_method m = {.id = AMQP_QUEUE_BIND};
	m.u.queue_bind.queue = slice_str(name);
	m.u.queue_bind.exchange = slice_str(o->exchange);
	m.u.queue_bind.routing_key = slice_str(key);
	m.u.queue_bind.arguments = buf_slice(&o->binding_arguments);
	channel_send(ch, &m);
	mem_free(key);
}

unsigned topology_put_queue(const struct topology *t, struct channel *ch, unsigned i)
{
	if (!declares(t->options))
		return 0;
	char *name = topology_queue_name(t, i);
	bool bound = *t->options->exchange != '\0';
	put_declare(t, ch, name, false);
	if (bound)
		put_bind(t, ch, name, i);
	mem_free(name);
	return bound ? 2 : 1;
}

static void put_existing(struct topology *t, unsigned i)
{
	char *name = topology_queue_name(t, i);
	put_declare(t, &t->channel, name, true);
	mem_free(name);
	t->replies++;
}

static void put_purge(struct topology *t, unsigned i)
{
	char *name = topology_queue_name(t, i);
	struct amqp_method m = {.id = AMQP_QUEUE_PURGE};
	m.u.queue_purge.queue = slice_str(name);
	channel_send(&t->channel, &m);
	mem_free(name);
	t->replies++;
}

static void put_queue_delete(struct topology *t, unsigned i)
{
	char *name = topology_queue_name(t, i);
	struct amqp_method m = {.id = AMQP_QUEUE_DELETE};
	m.u.queue_delete.queue = slice_str(name);
	channel_send(&t->channel, &m);
	mem_free(name);
	t->replies++;
}

static void put_exchange_delete(struct topology *t)
{
	struct amqp_method m = {.id = AMQP_EXCHANGE_DELETE};
	m.u.exchange_delete.exchange = slice_str(t->options->exchange);
	channel_send(&t->channel, &m);
	t->replies++;
}

/* --- phases --- */

static void declare_all(struct topology *t)
{
	const struct options *o = t->options;
	if (declares(o) && o->exchange_type != NULL)
		put_exchange(t);
	for (unsigned i = 0; i < o->queues; i++) {
		if (declares(o))
			t->replies += topology_put_queue(t, &t->channel, i);
		else if (o->mode == MODE_CONSUME)
			put_existing(t, i);
		if (o->purge)
			put_purge(t, i);
	}
}

static void delete_all(struct topology *t)
{
	const struct options *o = t->options;
	if (!declares(o) || o->keep)
		return;
	for (unsigned i = 0; i < o->queues; i++)
		put_queue_delete(t, i);
	if (o->exchange_type != NULL)
		put_exchange_delete(t);
}

static void proceed(struct topology *t)
{
	if (t->replies > 0)
		return;
	if (t->phase == TOPOLOGY_DECLARING)
		t->phase = TOPOLOGY_DECLARED;
	else if (t->phase == TOPOLOGY_DELETING)
		t->phase = TOPOLOGY_DELETED;
	if (t->channel.state == CHANNEL_SETTING_UP)
		channel_ready(&t->channel);
}

void topology_delete(struct topology *t)
{
	t->phase = TOPOLOGY_DELETING;
	if (t->channel.state != CHANNEL_READY)
		return;
	delete_all(t);
	proceed(t);
}

/* --- the channel --- */

static void on_opened(void *arg)
{
	struct topology *t = arg;
	t->replies = 0;
	t->messages = 0;
	if (t->phase == TOPOLOGY_DECLARING)
		declare_all(t);
	else if (t->phase == TOPOLOGY_DELETING)
		delete_all(t);
	proceed(t);
}

static void on_method(void *arg, const struct amqp_method *m)
{
	struct topology *t = arg;
	if (t->replies == 0)
		return;
	t->replies--;
	if (m->id == AMQP_QUEUE_DECLARE_OK)
		t->messages += m->u.queue_declare_ok.message_count;
	proceed(t);
}

static void on_content(void *arg, const struct delivery *d)
{
	(void)arg, (void)d;
}

static void on_confirmed(void *arg, uint64_t number, bool multiple, bool nack, uint64_t now_ns)
{
	(void)arg, (void)number, (void)multiple, (void)nack, (void)now_ns;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static const struct channel_user channel_user = {
	on_opened,
	on_method,
	on_content,
	on_content,
	on_confirmed,
	on_nothing,
	on_nothing,
};

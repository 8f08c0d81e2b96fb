/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/connection.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/session/channel.h"
#include "src/session/leave.h"
#include "src/session/reply_to.h"
#include "src/session/room.h"
#include "src/session/tally.h"

enum {
	CLOSE_LINGER_MS = 3000, /* to write what is pending when the socket is closed */
	CLOSING_MAX_MS = 10000, /* to answer connection.close */
	STOPPING_MAX_MS = 2000, /* likewise, while the node stops */
	OUT_LIMIT = 16 << 20,   /* pending output beyond which no more input is taken */
};

static const struct stream_owner connection_stream;

/* ---- output ---- */

struct buf *connection_out(struct connection *c)
{
	if (list_empty(&c->dirty))
		list_push_back(&c->env->dirty, &c->dirty);
	return stream_out(c->stream);
}

void connection_send(struct connection *c, uint16_t channel, const struct amqp_method *m)
{
	if (c->state != CONNECTION_DEAD)
		amqp_method_encode(connection_out(c), channel, m);
}

/* May end in the connection being shut. */
static void connection_flush(struct connection *c)
{
	if (c->state == CONNECTION_DEAD)
		return;
	if (c->state == CONNECTION_OPEN)
		for (unsigned i = 0; i < c->n_slots; i++)
			if (c->channels[i] != NULL)
				channel_flush(c->channels[i]);
	if (c->release_due)
		connection_release(c);
	if (c->shut_due) {
		c->shut_due = false;
		connection_shut(c);
		return;
	}
	stream_flush(c->stream);
}

bool session_env_flush(struct session_env *env)
{
	bool any = room_flush(env) || !list_empty(&env->dirty);
	struct list *node;
	while ((node = list_pop(&env->dirty)) != NULL)
		connection_flush(LIST_ENTRY(node, struct connection, dirty));
	return any;
}

/* ---- what holds up the input ---- */

static bool connection_held(const struct connection *c)
{
	return c->busy > 0 || c->waiting || c->blocked || c->leave != NULL || c->spread != NULL ||
	       c->state == CONNECTION_DEAD ||
	       stream_pending(c->stream) > OUT_LIMIT;
}

void connection_check_input(struct connection *c)
{
	if (c->state == CONNECTION_DEAD)
		return;
	if (connection_held(c))
		stream_pause(c->stream);
	else
		stream_resume(c->stream);
}

void connection_busy(struct connection *c)
{
	c->busy++;
	connection_check_input(c);
}

void connection_idle(struct connection *c)
{
	c->busy--;
	connection_check_input(c);
}

static void connection_on_room(struct queue_waiter *w)
{
	struct connection *c =
		(struct connection *)((char *)w - offsetof(struct connection, waiter));
	c->waiting = false;
	connection_check_input(c);
}

void connection_wait(struct connection *c, struct queue_client *qc)
{
	if (c->waiting)
		return;
	c->waiting = true;
	queue_wait(qc, &c->waiter);
	connection_check_input(c);
}

/* ---- ends ---- */

void connection_enter(struct connection *c, enum connection_state state)
{
	/* The handshake has one time for all of it. */
	if (state == CONNECTION_GREETING || state >= CONNECTION_CLOSING)
		c->since_ms = c->env->worker->now_ms;
	c->state = state;
}

bool connection_count(struct connection *c, const struct broker_vhost *v, const struct broker_user *u)
{
	struct tally_count *of_vhost = tally_of(c->env->tally, TALLY_VHOST, v->name);
	struct tally_count *of_user = tally_of(c->env->tally, TALLY_USER, u->name);
	if (!tally_take(&of_vhost->connections, v->limits.max_connections)) {
		connection_error(c, 530, AMQP_CONNECTION_OPEN,
			"access to vhost '%.*s' refused for user '%.*s': connection limit (%lld) is "
			"reached",
			SLICE_FMT(v->name), SLICE_FMT(u->name),
			(long long)v->limits.max_connections);
		return false;
	}
	if (!tally_take(&of_user->connections, u->limits.max_connections)) {
		tally_give(&of_vhost->connections);
		connection_error(c, 530, AMQP_CONNECTION_OPEN,
			"connection refused for user '%.*s': user connection limit (%lld) is reached",
			SLICE_FMT(u->name), (long long)u->limits.max_connections);
		return false;
	}
	c->of_vhost = of_vhost;
	c->of_user = of_user;
	return true;
}

static void connection_uncount(struct connection *c)
{
	if (c->of_vhost == NULL)
		return;
	tally_give(&c->of_vhost->connections);
	tally_give(&c->of_user->connections);
	c->of_vhost = c->of_user = NULL;
}

void connection_release(struct connection *c)
{
	bool due = c->release_due; /* connection_error() began the leave */
	if (!due)
		leave_begin(c);
	c->release_due = false;
	c->blocked = false;
	queue_unwait(&c->waiter);
	c->waiting = false;
	for (unsigned i = 0; i < c->n_slots; i++)
		if (c->channels[i] != NULL)
			channel_free(c->channels[i]);
	spread_drop(c);
	for (size_t i = 0; i < c->n_exclusive; i++)
		leave_delete(c, c->exclusive[i]);
	c->n_exclusive = 0;
	connection_uncount(c);
	connection_check_input(c);
	leave_end(c);
}

static void connection_end(struct connection *c, unsigned linger_ms)
{
	if (c->state == CONNECTION_DEAD)
		return;
	c->shut_due = false;
	connection_flush(c);
	leave_hurry(c);
	list_remove(&c->dirty);
	connection_enter(c, CONNECTION_DEAD);
	stream_close(c->stream, linger_ms);
}

void connection_shut(struct connection *c)
{
	connection_end(c, c->env->stopping ? STOPPING_MAX_MS : CLOSE_LINGER_MS);
}

void connection_error(struct connection *c, int code, uint32_t method, const char *fmt, ...)
{
	if (c->state == CONNECTION_CLOSING || c->state == CONNECTION_DEAD)
		return;
	char text[AMQP_REPLY_TEXT_MAX + 1];
	va_list ap;
	va_start(ap, fmt);
	struct slice reply = amqp_reply_vtext(text, code, fmt, ap);
	va_end(ap);
	log_error("connection", "closing AMQP connection (%s): %d %.*s", stream_name(c->stream),
		code, SLICE_FMT(reply));
	struct amqp_method m = {.id = AMQP_CONNECTION_CLOSE};
	m.u.connection_close.reply_code = (uint16_t)code;
	m.u.connection_close.reply_text = reply;
	m.u.connection_close.class_id = amqp_method_class(method);
	m.u.connection_close.method_id = amqp_method_number(method);
	leave_begin(c);
	leave_say(c, 0, &m);
	connection_out(c);
	/* The caller may be in the middle of a channel: it goes at the end of the turn. */
	c->release_due = true;
	/* Strangers are not waited for. */
	c->shut_due = c->state < CONNECTION_OPENING;
	connection_enter(c, CONNECTION_CLOSING);
}

static void connection_on_end(void *arg, const char *why)
{
	struct connection *c = arg;
	if (c->state < CONNECTION_CLOSING)
		log_warning("connection", "closing AMQP connection (%s): %s",
			stream_name(c->stream),
			why != NULL ? why : "client unexpectedly closed TCP connection");
	connection_release(c);
	connection_shut(c);
}

static void connection_destroy(struct connection *c)
{
	struct session_env *env = c->env;
	list_remove(&c->link);
	list_remove(&c->dirty);
	mem_free(c->channels);
	mem_free(c->exclusive);
	mem_free((void *)c->user.p);
	mem_free((void *)c->client_properties.p);
	mem_free((void *)c->vhost.p);
	mem_free(c);
	env->n_connections--;
	if (env->stopping && env->n_connections == 0)
		env->drained(env->arg);
}

static void connection_on_closed(void *arg)
{
	struct connection *c = arg;
	c->stream = NULL;
	connection_destroy(c);
}

/* ---- channels ---- */

struct channel *connection_channel(const struct connection *c, uint16_t number)
{
	return number < c->n_slots ? c->channels[number] : NULL;
}

bool connection_may_open_channel(struct connection *c)
{
	const struct broker_user *u = connection_user(c);
	int64_t limit = u != NULL ? u->limits.max_channels : BROKER_LIMIT_NONE;
	if (tally_take(&c->of_user->channels, limit))
		return true;
	connection_error(c, 530, AMQP_CHANNEL_OPEN,
		"number of channels opened for user '%.*s' has reached the maximum allowed user "
		"limit of (%lld)",
		SLICE_FMT(c->user), (long long)limit);
	return false;
}

void connection_add_channel(struct connection *c, struct channel *ch)
{
	if (ch->number >= c->n_slots) {
		unsigned n = c->n_slots ? c->n_slots * 2 : 4;
		if (n <= ch->number)
			n = ch->number + 1u;
		c->channels = mem_realloc(c->channels, n * sizeof *c->channels);
		memset(c->channels + c->n_slots, 0, (n - c->n_slots) * sizeof *c->channels);
		c->n_slots = n;
	}
	c->channels[ch->number] = ch;
	c->n_channels++;
}

void connection_remove_channel(struct connection *c, struct channel *ch)
{
	c->channels[ch->number] = NULL;
	c->n_channels--;
	tally_give(&c->of_user->channels);
}

void connection_own(struct connection *c, uint64_t group)
{
	c->exclusive = mem_realloc(c->exclusive, (c->n_exclusive + 1) * sizeof *c->exclusive);
	c->exclusive[c->n_exclusive++] = group;
}

void connection_disown(struct connection *c, uint64_t group)
{
	for (size_t i = 0; i < c->n_exclusive; i++)
		if (c->exclusive[i] == group) {
			c->exclusive[i] = c->exclusive[--c->n_exclusive];
			return;
		}
}

struct broker_connection_id connection_id(const struct connection *c)
{
	return (struct broker_connection_id){c->env->node_id, c->env->incarnation, c->serial};
}

struct broker_vhost *connection_vhost(const struct connection *c)
{
	return broker_vhost_find(c->env->broker, c->vhost);
}

struct broker_user *connection_user(const struct connection *c)
{
	return broker_user_find(c->env->broker, c->user);
}

/* ---- frames in ---- */

/* While closing, only close and close-ok count (2.2.4). */
static bool connection_closing_method(const struct amqp_method *m)
{
	return m->id == AMQP_CONNECTION_CLOSE || m->id == AMQP_CONNECTION_CLOSE_OK;
}

static void connection_method_on_channel(
	struct connection *c, const struct amqp_frame *f, const struct amqp_method *m)
{
	struct channel *ch = connection_channel(c, f->channel);
	if (m->id == AMQP_CHANNEL_OPEN) {
		if (ch != NULL)
			connection_error(c, 504, m->id, "second 'channel.open' seen");
		else if (c->channel_max != 0 && c->n_channels >= c->channel_max)
			connection_error(c, 530, m->id,
				"number of channels opened (%u) has reached the negotiated "
				"channel_max "
				"(%u)",
				c->n_channels, c->channel_max);
		else if (c->channel_max != 0 && f->channel > c->channel_max)
			connection_error(c, 504, m->id,
				"channel number %u is above the negotiated channel_max (%u)",
				f->channel, c->channel_max);
		else if (connection_may_open_channel(c))
			channel_new(c, f->channel);
		return;
	}
	if (ch == NULL) {
		/* What was on its way when a channel was closed by either side. */
		if (m->id == AMQP_CHANNEL_CLOSE_OK)
			return;
		connection_error(c, 504, m->id, "expected 'channel.open'");
		return;
	}
	channel_on_method(ch, m);
}

static void connection_on_method_frame(struct connection *c, const struct amqp_frame *f)
{
	struct amqp_method m;
	int code = amqp_method_decode(f->payload, &m);
	if (c->state == CONNECTION_CLOSING) {
		if (code == 0 && f->channel == 0 && connection_closing_method(&m))
			connection_on_method(c, &m);
		return;
	}
	if (code != 0) {
		char what[256];
		amqp_frame_describe(what, sizeof what, f);
		connection_error(c, code, m.id, "%s", what);
		return;
	}
	if (f->channel == 0)
		connection_on_method(c, &m);
	else if (c->state != CONNECTION_OPEN)
		connection_error(
			c, 504, m.id, "method on channel %u before connection.open", f->channel);
	else
		connection_method_on_channel(c, f, &m);
}

static void connection_unexpected_frame(struct connection *c, const struct amqp_frame *f)
{
	char what[256];
	amqp_frame_describe(what, sizeof what, f);
	connection_error(c, 505, 0, "%s", what);
}

static void connection_on_content_frame(struct connection *c, const struct amqp_frame *f)
{
	if (c->state == CONNECTION_CLOSING)
		return;
	struct channel *ch = connection_channel(c, f->channel);
	if (c->state != CONNECTION_OPEN || ch == NULL)
		connection_unexpected_frame(c, f);
	else if (f->type == AMQP_FRAME_HEADER)
		channel_on_header(ch, f);
	else
		channel_on_body(ch, f);
}

static void connection_on_frame(struct connection *c, const struct amqp_frame *f)
{
	switch (f->type) {
	case AMQP_FRAME_METHOD:
		connection_on_method_frame(c, f);
		break;
	case AMQP_FRAME_HEARTBEAT:
		if (f->channel != 0)
			connection_unexpected_frame(c, f);
		break;
	default:
		connection_on_content_frame(c, f);
		break;
	}
}

static size_t connection_on_greeting(struct connection *c, struct slice in)
{
	switch (amqp_greeting_parse(in)) {
	case AMQP_GREETING_MORE:
		return 0;
	case AMQP_GREETING_OK:
		connection_start(c);
		return AMQP_GREETING_SIZE;
	default:
		log_warning("connection", "closing AMQP connection (%s): not AMQP 0-9-1",
			stream_name(c->stream));
		buf_put_bytes(connection_out(c), AMQP_GREETING, AMQP_GREETING_SIZE);
		connection_shut(c);
		return in.n;
	}
}

static uint32_t connection_frame_limit(const struct connection *c)
{
	return c->state >= CONNECTION_OPENING ? c->frame_max : c->env->limits->initial_frame_max;
}

/* ---- alarms ---- */

static const char *const alarm_reasons[] = {
	[SESSION_ALARM_MEMORY] = "low on memory",
	[SESSION_ALARM_DISK] = "low on disk",
	[SESSION_ALARM_BOTH] = "low on memory & disk",
};

static void connection_tell_blocked(struct connection *c)
{
	if (!c->can_blocked || c->told_blocked || c->state != CONNECTION_OPEN)
		return;
	c->told_blocked = true;
	connection_send(c, 0,
		&(struct amqp_method){.id = AMQP_CONNECTION_BLOCKED,
			.u.connection_blocked.reason = slice_str(alarm_reasons[c->env->alarm])});
}

static void connection_tell_unblocked(struct connection *c)
{
	if (!c->told_blocked)
		return;
	c->told_blocked = false;
	if (c->state == CONNECTION_OPEN)
		connection_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_UNBLOCKED});
}

static bool frame_is_publish(const struct amqp_frame *f)
{
	return f->type == AMQP_FRAME_METHOD && f->payload.n >= 4 &&
	       load_u32be(f->payload.p) == AMQP_BASIC_PUBLISH;
}

/* While there is an alarm, the input stops in front of the first publish: acknowledgements and all
 * else before it are still taken, also on a connection that does both. */
static bool connection_blocks(struct connection *c, const struct amqp_frame *f)
{
	if (c->state != CONNECTION_OPEN || !frame_is_publish(f))
		return false;
	const struct channel *ch = connection_channel(c, f->channel);
	if (ch == NULL || ch->closing)
		return false;
	c->publishes = true;
	if (c->env->alarm == SESSION_ALARM_NONE)
		return false;
	c->blocked = true;
	connection_tell_blocked(c);
	return true;
}

void session_env_alarm(struct session_env *env, enum session_alarm alarm)
{
	env->alarm = alarm;
	LIST_EACH_SAFE(node, &env->connections)
	{
		struct connection *c = LIST_ENTRY(node, struct connection, link);
		if (alarm != SESSION_ALARM_NONE) {
			if (c->publishes)
				connection_tell_blocked(c);
			continue;
		}
		connection_tell_unblocked(c);
		c->blocked = false;
		connection_check_input(c);
	}
}

/* One frame; returns its size, or 0 to stop. */
static size_t connection_take_frame(struct connection *c, struct slice in)
{
	struct amqp_frame f;
	switch (amqp_frame_parse(in, connection_frame_limit(c), &f)) {
	case AMQP_FRAME_READY:
		if (connection_blocks(c, &f))
			return 0;
		connection_on_frame(c, &f);
		return f.size;
	case AMQP_FRAME_BAD: {
		char what[256];
		amqp_frame_explain(what, sizeof what, &f);
		if (c->state == CONNECTION_CLOSING)
			connection_shut(c);
		connection_error(c, 501, 0, "%s", what);
		/* The stream is out of step: nothing that follows can be a frame. */
		connection_shut(c);
		return in.n;
	}
	default:
		return 0;
	}
}

static void connection_keep_contents(struct connection *c)
{
	struct list *node;
	while ((node = list_pop(&c->mid_content)) != NULL)
		channel_keep_content(LIST_ENTRY(node, struct channel, mid_content));
}

static size_t connection_on_read(void *arg, const uint8_t *p, size_t n)
{
	struct connection *c = arg;
	size_t used = 0;
	if (c->state == CONNECTION_GREETING)
		used = connection_on_greeting(c, slice_make(p, n));
	while (used < n && c->state != CONNECTION_GREETING && !connection_held(c)) {
		size_t size = connection_take_frame(c, slice_make(p + used, n - used));
		if (size == 0)
			break;
		used += size;
	}
	connection_keep_contents(c);
	connection_check_input(c);
	return used;
}

static void connection_on_drained(void *arg)
{
	struct connection *c = arg;
	for (unsigned i = 0; i < c->n_slots; i++)
		if (c->channels[i] != NULL)
			channel_drained(c->channels[i]);
	connection_check_input(c);
}

static const struct stream_owner connection_stream = {
	.on_read = connection_on_read,
	.on_drained = connection_on_drained,
	.on_end = connection_on_end,
	.on_closed = connection_on_closed,
};

void connection_new(struct session_env *env, int fd)
{
	struct connection *c = MEM_NEW(struct connection);
	c->env = env;
	list_init(&c->dirty);
	list_init(&c->mid_content);
	list_init(&c->waiter.link);
	c->waiter.ready = connection_on_room;
	c->stream = stream_tcp_new(env->worker, fd, &connection_stream, c);
	if (c->stream == NULL) {
		mem_free(c);
		return;
	}
	c->serial = env->next_serial;
	env->next_serial += env->serial_step;
	env->n_connections++;
	list_push_back(&env->connections, &c->link);
	connection_enter(c, CONNECTION_GREETING);
	c->received_ms = c->sent_ms = env->worker->now_ms;
	c->connected_ms = env->worker->wall_ms;
	log_info("connection", "accepting AMQP connection (%s)", stream_name(c->stream));
	if (env->stopping || env->in_maintenance)
		connection_shut(c);
}

/* ---- time ---- */

static bool connection_handshaking(const struct connection *c)
{
	return c->state <= CONNECTION_OPENING;
}

/* Each side sends every half interval; the peer is dead after two missed intervals (4.2.7). */
static void connection_heartbeat(struct connection *c, uint64_t now)
{
	uint64_t interval = (uint64_t)c->heartbeat_s * 1000;
	if (stream_received(c->stream) != c->received_seen) {
		c->received_seen = stream_received(c->stream);
		c->received_ms = now;
	}
	if (stream_sent(c->stream) != c->sent_seen) {
		c->sent_seen = stream_sent(c->stream);
		c->sent_ms = now;
	}
	if (interval == 0 || c->state != CONNECTION_OPEN)
		return;
	/* We may not be reading: then the peer's silence is ours. */
	if (connection_held(c))
		c->received_ms = now;
	if (now - c->received_ms > 2 * interval) {
		log_error("connection",
			"closing AMQP connection (%s): missed heartbeats from client, timeout: %us",
			stream_name(c->stream), c->heartbeat_s);
		connection_release(c);
		connection_shut(c);
		return;
	}
	if (now - c->sent_ms >= interval / 2) {
		amqp_put_heartbeat(connection_out(c));
		c->sent_ms = now;
	}
}

/* A client that does not answer must not hold up the node's end: it has had its time. */
static void connection_check_closing(struct connection *c, uint64_t waited_ms)
{
	if (c->env->stopping && waited_ms >= STOPPING_MAX_MS)
		connection_end(c, 0);
	else if (waited_ms > CLOSING_MAX_MS)
		connection_shut(c);
}

static void connection_tick(struct connection *c)
{
	uint64_t now = c->env->worker->now_ms;
	if (c->state == CONNECTION_DEAD)
		return;
	if (connection_handshaking(c) && now - c->since_ms > c->env->limits->handshake_timeout_ms) {
		log_error("connection", "closing AMQP connection (%s): handshake_timeout",
			stream_name(c->stream));
		connection_shut(c);
	} else if (c->state == CONNECTION_CLOSING) {
		connection_check_closing(c, now - c->since_ms);
	} else {
		connection_heartbeat(c, now);
	}
}

void session_env_tick(struct session_env *env)
{
	reply_to_tick(env);
	LIST_EACH_SAFE(node, &env->connections)
	connection_tick(LIST_ENTRY(node, struct connection, link));
}

static unsigned close_all(struct session_env *env, const char *text)
{
	unsigned n = 0;
	LIST_EACH_SAFE(node, &env->connections)
	{
		struct connection *c = LIST_ENTRY(node, struct connection, link);
		n += c->state == CONNECTION_OPEN;
		if (c->state == CONNECTION_OPEN)
			connection_error(c, 320, 0, "%s", text);
		else if (c->state != CONNECTION_CLOSING)
			connection_shut(c);
	}
	return n;
}

unsigned session_env_maintenance(struct session_env *env, bool yes)
{
	env->in_maintenance = yes;
	return yes ? close_all(env, "Node was put into maintenance mode") : 0;
}

void session_env_stop(struct session_env *env)
{
	env->stopping = true;
	if (env->n_connections == 0)
		env->drained(env->arg);
	else
		close_all(env, "broker forced connection closure with reason 'shutdown'");
}

void session_env_done(struct session_env *env)
{
	reply_to_done(env);
	broker_route_done(&env->route);
	buf_done(&env->keys);
	buf_done(&env->scratch);
	buf_done(&env->request_props);
}

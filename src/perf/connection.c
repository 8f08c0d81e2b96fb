/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/connection.h"

#include "src/amqp/frame.h"
#include "src/base/mem.h"
#include "src/perf/handshake.h"

enum { SILENT_HEARTBEATS = 2 }; /* so many intervals without a byte: the broker is gone */

static void attempt(struct connection *c);

static const struct options *options_of(const struct connection *c)
{
	return c->env->options;
}

static const struct uri *uri_of(const struct connection *c)
{
	return &options_of(c)->uri[c->uri];
}

const char *connection_name(const struct connection *c)
{
	static char name[320];
	snprintf(name, sizeof name, "connection %u (%.255s:%s)", c->no, uri_of(c)->host,
		uri_of(c)->port);
	return name;
}

void connection_init(struct connection *c, struct connection_env *env, unsigned no)
{
	*c = (struct connection){.env = env, .no = no, .uri = no % env->options->uris};
	uv_timer_init(&env->turn->loop, &c->retry);
	c->retry.data = c;
}

void connection_done(struct connection *c)
{
	if (c->socket != NULL)
		socket_close(c->socket);
	c->socket = NULL;
	uv_close((uv_handle_t *)&c->retry, NULL);
	mem_free(c->channels);
}

void connection_add(struct connection *c, struct channel *ch)
{
	c->channels = mem_realloc(c->channels, (c->channels_n + 1) * sizeof c->channels[0]);
	c->channels[c->channels_n++] = ch;
	ch->connection = c;
	ch->id = (uint16_t)c->channels_n;
}

bool connection_room(struct connection *c)
{
	return c->state == CONNECTION_OPEN && !c->blocked && socket_room(c->socket);
}

/* --- losing it --- */

static void set_blocked(struct connection *c, bool blocked)
{
	if (c->blocked == blocked)
		return;
	c->blocked = blocked;
	c->env->blocked += blocked ? 1 : -1u;
}

static void set_down(struct connection *c, bool down)
{
	if (c->down == down)
		return;
	c->down = down;
	c->env->down += down ? 1 : -1u;
}

static void release(struct connection *c, enum connection_state next)
{
	set_down(c, next == CONNECTION_DOWN && c->was_open);
	c->state = next;
	set_blocked(c, false);
	uv_timer_stop(&c->retry);
	if (c->socket != NULL)
		socket_close(c->socket);
	c->socket = NULL;
	for (unsigned i = 0; i < c->channels_n; i++)
		channel_lost(c->channels[i]);
}

static void on_retry(uv_timer_t *timer)
{
	struct connection *c = timer->data;
	if (c->state == CONNECTION_DOWN) {
		attempt(c);
		return;
	}
	for (unsigned i = 0; i < c->channels_n && c->state == CONNECTION_OPEN; i++) {
		if (c->channels[i]->state == CHANNEL_DOWN)
			channel_open(c->channels[i]);
	}
}

/* While it was never open, each address gets one chance even without --reconnect. */
static bool try_again(const struct connection *c)
{
	return options_of(c)->reconnect || (!c->was_open && c->failures < options_of(c)->uris);
}

static void lose(struct connection *c, const char *why)
{
	if (c->state == CONNECTION_CLOSING || c->state == CONNECTION_GONE) {
		release(c, CONNECTION_GONE);
		return;
	}
	if (c->failures++ == 0 || !options_of(c)->reconnect)
		journal_note(c->env->journal, JOURNAL_LOST, "%s: %s", connection_name(c), why);
	bool again = try_again(c);
	release(c, again ? CONNECTION_DOWN : CONNECTION_GONE);
	if (again) {
		c->uri = (c->uri + 1) % options_of(c)->uris;
		uv_timer_start(&c->retry, on_retry, options_of(c)->reconnect_ms, 0);
	} else {
		c->env->broken(c->env->arg, c);
	}
}

static void protocol_error(struct connection *c, const char *what)
{
	char why[240];
	snprintf(why, sizeof why, "protocol error: %s", what);
	lose(c, why);
}

/* --- channels --- */

void connection_channel_ready(struct connection *c)
{
	for (unsigned i = 0; i < c->channels_n; i++) {
		if (c->channels[i]->state != CHANNEL_READY)
			return;
	}
	if (c->was_ready)
		return;
	c->was_ready = true;
	c->env->ready(c->env->arg, c);
}

void connection_channel_closed(struct connection *c)
{
	if (c->state != CONNECTION_OPEN)
		return;
	if (options_of(c)->reconnect)
		uv_timer_start(&c->retry, on_retry, options_of(c)->reconnect_ms, 0);
	else
		c->env->broken(c->env->arg, c);
}

static void tell_writable(struct connection *c)
{
	for (unsigned i = 0; i < c->channels_n; i++) {
		if (c->channels[i]->state == CHANNEL_READY)
			c->channels[i]->user->writable(c->channels[i]->arg);
	}
}

/* --- channel 0 --- */

static void say(struct connection *c, const struct amqp_method *m)
{
	amqp_method_encode(socket_out(c->socket), 0, m);
}

static void on_start(struct connection *c)
{
	char name[64];
	snprintf(name, sizeof name, "warren-perf %u", c->no);
	c->greeted = true;
	handshake_login(socket_out(c->socket), uri_of(c), name);
}

static void on_tune(struct connection *c, const struct amqp_connection_tune *m)
{
	struct handshake_terms terms = {
		.frame_max = options_of(c)->frame_max,
		.channel_max = c->channels_n,
		.heartbeat_s = options_of(c)->heartbeat_s,
	};
	if (!handshake_tune(socket_out(c->socket), uri_of(c), m, &terms)) {
		protocol_error(c, "the broker does not allow so many channels per connection");
		return;
	}
	c->tuned = true;
	c->frame_max = terms.frame_max;
	c->heartbeat_s = terms.heartbeat_s;
}

static void on_open_ok(struct connection *c)
{
	c->state = CONNECTION_OPEN;
	if (c->was_open) {
		set_down(c, false);
		journal_note(
			c->env->journal, JOURNAL_RECONNECTED, "%s: is back", connection_name(c));
	}
	c->was_open = true;
	c->failures = 0;
	for (unsigned i = 0; i < c->channels_n; i++)
		channel_open(c->channels[i]);
	if (c->channels_n == 0)
		connection_channel_ready(c);
}

static void on_close(struct connection *c, const struct amqp_connection_close *m)
{
	char why[400];
	snprintf(why, sizeof why, "connection.close: %u %.*s", m->reply_code,
		SLICE_FMT(m->reply_text));
	say(c, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE_OK});
	lose(c, why);
}

static void on_blocked(struct connection *c, struct slice reason)
{
	journal_note(c->env->journal, JOURNAL_BLOCKED, "%s: connection.blocked: %.*s",
		connection_name(c), SLICE_FMT(reason));
	set_blocked(c, true);
}

static void on_unblocked(struct connection *c)
{
	if (!c->blocked)
		return;
	set_blocked(c, false);
	fprintf(stderr, "warren-perf: %s: connection.unblocked\n", connection_name(c));
	tell_writable(c);
}

static void on_login_method(struct connection *c, const struct amqp_method *m)
{
	if (m->id == AMQP_CONNECTION_START && !c->greeted)
		on_start(c);
	else if (m->id == AMQP_CONNECTION_TUNE && c->greeted)
		on_tune(c, &m->u.connection_tune);
	else if (m->id == AMQP_CONNECTION_OPEN_OK && c->tuned)
		on_open_ok(c);
	else
		protocol_error(c, amqp_method_name(m->id));
}

static void on_method(struct connection *c, struct slice payload)
{
	struct amqp_method m;
	if (amqp_method_decode(payload, &m) != 0) {
		protocol_error(c, "a method that cannot be read");
		return;
	}
	switch (m.id) {
	case AMQP_CONNECTION_CLOSE:
		on_close(c, &m.u.connection_close);
		break;
	case AMQP_CONNECTION_CLOSE_OK:
		lose(c, "connection.close_ok");
		break;
	case AMQP_CONNECTION_BLOCKED:
		on_blocked(c, m.u.connection_blocked.reason);
		break;
	case AMQP_CONNECTION_UNBLOCKED:
		on_unblocked(c);
		break;
	default:
		if (c->state == CONNECTION_LOGIN)
			on_login_method(c, &m);
		else if (c->state == CONNECTION_OPEN)
			protocol_error(c, amqp_method_name(m.id));
	}
}

/* --- the socket --- */

static void on_frame(struct connection *c, const struct amqp_frame *f, uint64_t now_ns)
{
	if (f->type == AMQP_FRAME_HEARTBEAT)
		return;
	if (f->channel == 0 && f->type == AMQP_FRAME_METHOD) {
		on_method(c, f->payload);
		return;
	}
	if (c->state == CONNECTION_CLOSING)
		return;
	if (c->state != CONNECTION_OPEN || f->channel == 0 || f->channel > c->channels_n ||
		!channel_frame(c->channels[f->channel - 1], f, now_ns))
		protocol_error(c, "a frame out of place");
}

static void on_bad_frame(struct connection *c, struct slice in, const struct amqp_frame *f)
{
	char text[200];
	if (!c->greeted && in.p[0] == 'A')
		snprintf(text, sizeof text, "the broker speaks another version of AMQP");
	else
		amqp_frame_explain(text, sizeof text, f);
	protocol_error(c, text);
}

static size_t on_read(void *arg, struct slice in, uint64_t now_ns)
{
	struct connection *c = arg;
	const struct socket *socket = c->socket;
	struct amqp_frame f;
	size_t used = 0;
	while (c->socket == socket) {
		struct slice rest = slice_make(in.p + used, in.n - used);
		enum amqp_frame_result r = amqp_frame_parse(rest, c->frame_max, &f);
		if (r == AMQP_FRAME_MORE)
			break;
		if (r == AMQP_FRAME_BAD) {
			on_bad_frame(c, rest, &f);
			break;
		}
		used += f.size;
		on_frame(c, &f, now_ns);
	}
	return used;
}

static void on_connected(void *arg)
{
	struct connection *c = arg;
	c->state = CONNECTION_LOGIN;
	handshake_greet(socket_out(c->socket));
}

static void on_drained(void *arg)
{
	tell_writable(arg);
}

static void on_ended(void *arg, const char *why)
{
	lose(arg, why);
}

static const struct socket_owner socket_owner = {on_connected, on_read, on_drained, on_ended};

static void attempt(struct connection *c)
{
	c->state = CONNECTION_CONNECTING;
	c->greeted = false;
	c->tuned = false;
	c->frame_max = options_of(c)->frame_max;
	c->heartbeat_s = 0;
	c->sent_then = c->received_then = 0;
	c->silent_out_s = c->silent_in_s = 0;
	c->socket = socket_open(c->env->turn, &c->env->address[c->uri],
		options_of(c)->socket_buffer, &socket_owner, c);
}

/* --- from outside --- */

void connection_start(struct connection *c)
{
	attempt(c);
}

void connection_close(struct connection *c)
{
	/* A broker that blocks us does not read what we say. */
	if (c->state != CONNECTION_OPEN || c->blocked) {
		connection_abort(c);
		return;
	}
	uv_timer_stop(&c->retry);
	struct amqp_method m = {.id = AMQP_CONNECTION_CLOSE};
	m.u.connection_close.reply_code = 200;
	m.u.connection_close.reply_text = slice_str("goodbye");
	say(c, &m);
	c->state = CONNECTION_CLOSING;
}

void connection_abort(struct connection *c)
{
	if (c->state != CONNECTION_GONE)
		release(c, CONNECTION_GONE);
}

void connection_tick(struct connection *c)
{
	if (c->heartbeat_s == 0 || (c->state != CONNECTION_OPEN && c->state != CONNECTION_LOGIN))
		return;
	struct socket *s = c->socket;
	c->silent_out_s = s->sent == c->sent_then ? c->silent_out_s + 1 : 0;
	c->silent_in_s = s->received == c->received_then ? c->silent_in_s + 1 : 0;
	c->sent_then = s->sent;
	c->received_then = s->received;
	if (c->silent_in_s > SILENT_HEARTBEATS * c->heartbeat_s)
		lose(c, "no heartbeat from the broker");
	else if (c->silent_out_s * 2 >= c->heartbeat_s && socket_pending(s) == 0)
		amqp_put_heartbeat(socket_out(s));
}

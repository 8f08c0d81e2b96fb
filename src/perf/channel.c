/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/channel.h"

#include "src/amqp/frame.h"
#include "src/amqp/props.h"
#include "src/perf/connection.h"

void channel_init(struct channel *ch, const struct channel_user *user, void *arg)
{
	*ch = (struct channel){.user = user, .arg = arg};
}

void channel_done(struct channel *ch)
{
	buf_done(&ch->fields);
	buf_done(&ch->body);
}

/* --- out --- */

struct buf *channel_out(struct channel *ch)
{
	return socket_out(ch->connection->socket);
}

void channel_send(struct channel *ch, const struct amqp_method *m)
{
	amqp_method_encode(channel_out(ch), ch->id, m);
}

bool channel_room(struct channel *ch)
{
	return ch->state == CHANNEL_READY && !ch->paused && connection_room(ch->connection);
}

/* --- states --- */

void channel_open(struct channel *ch)
{
	ch->content = 0;
	ch->paused = false;
	ch->state = CHANNEL_OPENING;
	channel_send(ch, &(struct amqp_method){.id = AMQP_CHANNEL_OPEN});
}

void channel_ready(struct channel *ch)
{
	ch->state = CHANNEL_READY;
	connection_channel_ready(ch->connection);
}

void channel_lost(struct channel *ch)
{
	bool told = ch->state == CHANNEL_DOWN || ch->state == CHANNEL_LEAVING;
	ch->state = CHANNEL_DOWN;
	buf_clear(&ch->body);
	if (!told)
		ch->user->lost(ch->arg);
}

void channel_restart(struct channel *ch)
{
	if (ch->state == CHANNEL_DOWN || ch->state == CHANNEL_LEAVING)
		return;
	struct amqp_method m = {.id = AMQP_CHANNEL_CLOSE};
	m.u.channel_close.reply_code = 200;
	channel_send(ch, &m);
	channel_lost(ch);
	ch->state = CHANNEL_LEAVING;
}

static void on_close(struct channel *ch, const struct amqp_channel_close *m)
{
	struct connection *c = ch->connection;
	journal_note(c->env->journal, JOURNAL_CHANNEL, "%s: channel.close on channel %u: %u %.*s",
		connection_name(c), ch->id, m->reply_code, SLICE_FMT(m->reply_text));
	channel_send(ch, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
	channel_lost(ch);
	connection_channel_closed(c);
}

static void on_flow(struct channel *ch, bool active)
{
	struct amqp_method m = {.id = AMQP_CHANNEL_FLOW_OK};
	m.u.channel_flow_ok.active = active;
	channel_send(ch, &m);
	ch->paused = !active;
	if (active && ch->state == CHANNEL_READY)
		ch->user->writable(ch->arg);
}

/* --- contents --- */

static void begin_content(struct channel *ch, uint32_t id)
{
	ch->content = id;
	ch->has_header = false;
	buf_clear(&ch->body);
}

/* The method again, now that its content is complete. */
static bool finish(struct channel *ch, struct slice body, uint64_t now_ns)
{
	struct amqp_method m;
	if (amqp_method_decode(buf_slice(&ch->fields), &m) != 0)
		return false;
	struct delivery d = {.body = body, .now_ns = now_ns};
	ch->content = 0;
	if (m.id == AMQP_BASIC_DELIVER) {
		d.tag = m.u.basic_deliver.consumer_tag;
		d.number = m.u.basic_deliver.delivery_tag;
		d.redelivered = m.u.basic_deliver.redelivered;
		ch->user->delivered(ch->arg, &d);
		return true;
	}
	d.reply_code = m.u.basic_return.reply_code;
	d.reply_text = m.u.basic_return.reply_text;
	d.exchange = m.u.basic_return.exchange;
	d.routing_key = m.u.basic_return.routing_key;
	ch->user->returned(ch->arg, &d);
	return true;
}

static bool on_header(struct channel *ch, struct slice payload, uint64_t now_ns)
{
	struct amqp_header h;
	if (ch->content == 0 || ch->has_header || amqp_header_decode(payload, &h) != 0)
		return false;
	ch->has_header = true;
	ch->body_size = h.body_size;
	return h.body_size > 0 || finish(ch, slice_make("", 0), now_ns);
}

static bool on_body(struct channel *ch, struct slice part, uint64_t now_ns)
{
	if (ch->content == 0 || !ch->has_header || part.n > ch->body_size - ch->body.n)
		return false;
	if (part.n == ch->body_size)
		return finish(ch, part, now_ns);
	buf_put_slice(&ch->body, part);
	return ch->body.n < ch->body_size || finish(ch, buf_slice(&ch->body), now_ns);
}

/* --- methods --- */

static bool dispatch(struct channel *ch, const struct amqp_method *m)
{
	switch (m->id) {
	case AMQP_CHANNEL_OPEN_OK:
		if (ch->state != CHANNEL_OPENING)
			return false;
		ch->state = CHANNEL_SETTING_UP;
		ch->user->opened(ch->arg);
		return true;
	case AMQP_CHANNEL_CLOSE:
		on_close(ch, &m->u.channel_close);
		return true;
	case AMQP_CHANNEL_FLOW:
		on_flow(ch, m->u.channel_flow.active);
		return true;
	default:
		ch->user->method(ch->arg, m);
		return true;
	}
}

static void on_confirm(struct channel *ch, const struct amqp_method *m, uint64_t now_ns)
{
	if (m->id == AMQP_BASIC_ACK)
		ch->user->confirmed(ch->arg, m->u.basic_ack.delivery_tag, m->u.basic_ack.multiple,
			false, now_ns);
	else
		ch->user->confirmed(ch->arg, m->u.basic_nack.delivery_tag, m->u.basic_nack.multiple,
			true, now_ns);
}

static bool on_method(struct channel *ch, struct slice payload, uint64_t now_ns)
{
	uint32_t id = payload.n >= 4 ? load_u32be(payload.p) : 0;
	if (ch->content != 0)
		return false;
	if (id == AMQP_BASIC_DELIVER || id == AMQP_BASIC_RETURN) {
		begin_content(ch, id);
		buf_clear(&ch->fields);
		buf_put_slice(&ch->fields, payload);
		return true;
	}
	struct amqp_method m;
	if (amqp_method_decode(payload, &m) != 0)
		return false;
	if (id == AMQP_BASIC_ACK || id == AMQP_BASIC_NACK) {
		on_confirm(ch, &m, now_ns);
		return true;
	}
	return dispatch(ch, &m);
}

/* After our channel.close everything is dropped but the answer, and a channel.close that crossed
 * ours. */
static bool on_frame_leaving(struct channel *ch, const struct amqp_frame *f)
{
	uint32_t id =
		f->type == AMQP_FRAME_METHOD && f->payload.n >= 4 ? load_u32be(f->payload.p) : 0;
	if (id == AMQP_CHANNEL_CLOSE) {
		channel_send(ch, &(struct amqp_method){.id = AMQP_CHANNEL_CLOSE_OK});
	} else if (id == AMQP_CHANNEL_CLOSE_OK) {
		ch->state = CHANNEL_DOWN;
		connection_channel_closed(ch->connection);
	}
	return true;
}

bool channel_frame(struct channel *ch, const struct amqp_frame *f, uint64_t now_ns)
{
	if (ch->state == CHANNEL_LEAVING)
		return on_frame_leaving(ch, f);
	if (ch->state == CHANNEL_DOWN)
		return false;
	switch (f->type) {
	case AMQP_FRAME_METHOD:
		return on_method(ch, f->payload, now_ns);
	case AMQP_FRAME_HEADER:
		return on_header(ch, f->payload, now_ns);
	case AMQP_FRAME_BODY:
		return on_body(ch, f->payload, now_ns);
	default:
		return false;
	}
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * A publish in one read, the usual case, is never copied but into the queue's section: method,
 * properties and body are slices of the read buffer until then. Only a content that is cut by the
 * end of a read is kept, and only a body of several frames is put together first.
 */
#include "src/session/publish.h"

#include "src/amqp/props.h"
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/session/arguments.h"
#include "src/session/confirm.h"
#include "src/session/reply_to.h"
#include "src/session/room.h"
#include "src/session/tx.h"

/* ---- receiving the content ---- */

void content_done(struct channel_content *c)
{
	blob_unref(c->body);
	buf_done(&c->kept);
	*c = (struct channel_content){0};
}

/* Ready for the next one; `kept` keeps its memory. */
static void content_reset(struct channel_content *c)
{
	struct buf kept = c->kept;
	blob_unref(c->body);
	*c = (struct channel_content){.kept = kept};
}

static void content_in_place(struct channel *ch)
{
	if (list_empty(&ch->mid_content))
		list_push_back(&ch->conn->mid_content, &ch->mid_content);
}

void publish_begin(struct channel *ch, const struct amqp_basic_publish *m)
{
	struct channel_content *c = &ch->content;
	c->expect = CONTENT_HEADER;
	c->mandatory = m->mandatory;
	c->immediate = m->immediate;
	c->envelope = amqp_publish_names(m);
	content_in_place(ch);
}

static void publish_complete(struct channel *ch, struct slice body);

static struct slice slice_copy_into(struct buf *b, struct slice s)
{
	return slice_make(memcpy(buf_put(b, s.n), s.p, s.n), s.n);
}

void channel_keep_content(struct channel *ch)
{
	struct channel_content *c = &ch->content;
	if (c->expect == CONTENT_NONE)
		return;
	/* The envelope may be in the old one already, from a read before its header came. */
	struct buf kept = BUF_EMPTY;
	buf_reserve(&kept, c->envelope.n + c->props.n);
	c->envelope = slice_copy_into(&kept, c->envelope);
	if (c->props.n > 0)
		c->props = slice_copy_into(&kept, c->props);
	buf_done(&c->kept);
	c->kept = kept;
}

static void content_unexpected(struct channel *ch, const struct amqp_frame *f, const char *expected)
{
	(void)f;
	connection_error(ch->conn, 505, AMQP_BASIC_PUBLISH, "%s", expected);
}

void channel_on_header(struct channel *ch, const struct amqp_frame *f)
{
	struct channel_content *c = &ch->content;
	struct amqp_header h;
	if (ch->closing)
		return;
	if (c->expect != CONTENT_HEADER) {
		content_unexpected(ch, f,
			c->expect == CONTENT_NONE
				? "expected method frame, got non method frame instead"
				: "expected content body, got non content body frame instead");
		return;
	}
	int code = amqp_header_decode(f->payload, &h);
	if (code == 0 && h.class_id != AMQP_CLASS_BASIC) {
		content_unexpected(
			ch, f, "expected content header for class 60, got one for another class");
		return;
	}
	if (code == 0)
		code = amqp_props_check(h.props, NULL);
	if (code != 0) {
		connection_error(ch->conn, code, AMQP_BASIC_PUBLISH, "malformed content header");
		return;
	}
	uint64_t max = channel_env(ch)->limits->max_message_size;
	if (h.body_size > max) {
		content_reset(c);
		channel_error(ch, 406, AMQP_BASIC_PUBLISH,
			"message size %lu is larger than configured max size %lu",
			(unsigned long)h.body_size, (unsigned long)max);
		return;
	}
	c->props = h.props;
	c->body_size = h.body_size;
	c->expect = CONTENT_BODY;
	if (h.body_size == 0)
		publish_complete(ch, slice_make(NULL, 0));
	else if (list_empty(&ch->mid_content))
		content_in_place(ch);
}

void channel_on_body(struct channel *ch, const struct amqp_frame *f)
{
	struct channel_content *c = &ch->content;
	if (ch->closing)
		return;
	if (c->expect != CONTENT_BODY || f->payload.n > c->body_size - c->body_n) {
		content_unexpected(ch, f,
			c->expect == CONTENT_BODY
				? "content body is longer than its header says"
				: "expected content header, got non content header frame instead");
		return;
	}
	if (f->payload.n == c->body_size) {
		publish_complete(ch, f->payload);
		return;
	}
	if (c->body == NULL)
		c->body = blob_new(c->body_size);
	memcpy(c->body->data + c->body_n, f->payload.p, f->payload.n);
	c->body_n += f->payload.n;
	if (c->body_n == c->body_size)
		publish_complete(ch, slice_make(c->body->data, c->body_size));
}

/* ---- checks ---- */

/* `expiration` is a decimal number of milliseconds in a string. What is beyond 32 bits, 49 days, is kept
 * without end: late is better than early. */
static bool publish_expiration(struct channel *ch, struct slice text, uint32_t *ret)
{
	uint64_t ms = 0;
	size_t i = 0;
	bool negative = text.n > 1 && text.p[0] == '-';
	i += negative;
	while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && ms <= ARGUMENTS_MS_MAX)
		ms = ms * 10 + (text.p[i++] - '0');
	if (negative && i > 1 && i == text.n)
		channel_error(ch, 406, AMQP_BASIC_PUBLISH,
			"invalid expiration '%.*s': {value_negative,%.*s}", SLICE_FMT(text),
			SLICE_FMT(text));
	else if (i == negative)
		channel_error(ch, 406, AMQP_BASIC_PUBLISH, "invalid expiration '%.*s': no_integer",
			SLICE_FMT(text));
	else if (ms > ARGUMENTS_MS_MAX)
		channel_error(ch, 406, AMQP_BASIC_PUBLISH,
			"invalid expiration '%.*s': {value_too_large,%.*s}", SLICE_FMT(text),
			SLICE_FMT(text));
	else if (i < text.n)
		channel_error(ch, 406, AMQP_BASIC_PUBLISH,
			"invalid expiration '%.*s': {leftover_string,\"%.*s\"}", SLICE_FMT(text),
			(int)(text.n - i), (const char *)text.p + i);
	else {
		*ret = ms < UINT32_MAX ? (uint32_t)ms : ENQUEUE_NO_EXPIRATION;
		return true;
	}
	return false;
}

static bool publish_user_id(struct channel *ch, struct slice user_id)
{
	if (slice_eq(user_id, ch->conn->user))
		return true;
	struct broker_user *u = connection_user(ch->conn);
	if (u != NULL && broker_user_has_tag(u, "impersonator"))
		return true;
	channel_error(ch, 406, AMQP_BASIC_PUBLISH,
		"user_id property set to '%.*s' but authenticated user was '%.*s'",
		SLICE_FMT(user_id), SLICE_FMT(ch->conn->user));
	return false;
}

/* Fills in the message's own fields from its properties. */
static bool publish_read_props(struct channel *ch, const struct amqp_props *p, struct message *m)
{
	m->flags = p->delivery_mode == AMQP_DELIVERY_PERSISTENT ? ENQUEUE_PERSISTENT : 0;
	m->level = p->priority;
	m->expiration_ms = ENQUEUE_NO_EXPIRATION;
	if ((p->flags & AMQP_PROP_USER_ID) && !publish_user_id(ch, p->user_id))
		return false;
	return !(p->flags & AMQP_PROP_EXPIRATION) ||
	       publish_expiration(ch, p->expiration, &m->expiration_ms);
}

/* ---- routing ---- */

static bool publish_exchange(struct channel *ch, struct slice name, struct slice key,
	struct broker_exchange **ret)
{
	struct broker_vhost *v;
	if (!channel_vhost(ch, AMQP_BASIC_PUBLISH, &v))
		return false;
	struct broker_exchange *x = broker_exchange_find(v, name);
	if (x == NULL) {
		channel_error(ch, 404, AMQP_BASIC_PUBLISH, "no exchange '%.*s' in vhost '%.*s'",
			SLICE_FMT(name), SLICE_FMT(v->name));
		return false;
	}
	if (!channel_may(ch, AMQP_BASIC_PUBLISH, BROKER_WRITE, "exchange", name))
		return false;
	if (x->spec.internal) {
		channel_error(ch, 403, AMQP_BASIC_PUBLISH,
			"cannot publish to internal exchange '%.*s' in vhost '%.*s'",
			SLICE_FMT(name), SLICE_FMT(v->name));
		return false;
	}
	*ret = x;
	return channel_may_topic(ch, AMQP_BASIC_PUBLISH, BROKER_WRITE, x, key);
}

/* A route may be used again if it depends on nothing but exchange and key. */
static bool exchange_route_is_fixed(const struct broker_exchange *x)
{
	if (x->spec.type == BROKER_EXCHANGE_HEADERS || x->alternate.n > 0)
		return false;
	for (struct broker_binding *b = broker_binding_first_from(x); b != NULL;
		b = broker_binding_next_from(x, b))
		if (b->kind == BROKER_TO_EXCHANGE)
			return false;
	return true;
}

static void route_keep(struct channel *ch, struct slice envelope, const struct broker_route *r)
{
	struct broker *b = channel_env(ch)->broker;
	if (r->n > CHANNEL_ROUTE_MAX || envelope.n > CHANNEL_ENVELOPE_MAX)
		return;
	if (ch->route == NULL)
		ch->route = MEM_NEW(struct channel_route);
	struct channel_route *kept = ch->route;
	kept->version = b->version;
	kept->auth_version = b->auth_version;
	kept->envelope_n = envelope.n;
	memcpy(kept->envelope, envelope.p, envelope.n);
	kept->n = (unsigned)r->n;
	for (size_t i = 0; i < r->n; i++)
		kept->groups[i] = r->queues[i]->group;
}

static const struct channel_route *route_kept(const struct channel *ch, struct slice envelope)
{
	const struct channel_route *r = ch->route;
	const struct broker *b = channel_env(ch)->broker;
	if (r == NULL || r->version != b->version || r->auth_version != b->auth_version ||
		r->envelope_n != envelope.n || memcmp(r->envelope, envelope.p, envelope.n) != 0)
		return NULL;
	return r;
}

/* ---- handing over ---- */

static void publish_return(struct channel *ch, const struct message *m)
{
	struct buf *out = connection_out(ch->conn);
	amqp_put_return(out, ch->number, AMQP_REPLY_NO_ROUTE,
		slice_str(amqp_reply_name(AMQP_REPLY_NO_ROUTE)), m->envelope);
	amqp_put_content(out, ch->number, ch->conn->frame_max, AMQP_CLASS_BASIC, m->props, m->body);
}

static void publish_to(struct channel *ch, const uint64_t *groups, unsigned n,
	const struct message *m, bool mandatory)
{
	if (n == 0 && mandatory)
		publish_return(ch, m);
	if (ch->mode == CHANNEL_TX) {
		tx_publish(ch->tx, groups, n, m);
		return;
	}
	struct queue_publisher *pub = NULL;
	uint64_t number = 0;
	if (ch->mode == CHANNEL_CONFIRM) {
		number = confirm_begin(ch->confirm, n);
		pub = confirm_publisher(ch->confirm);
	}
	spread_publish(ch->conn, groups, n, m, pub, number);
}

/* ---- CC and BCC (RabbitMQ's sender-selected distribution) ---- */

struct publish_keys {
	struct buf *keys; /* struct slice; the first is the routing key */
	bool has_bcc;
};

static bool publish_add_keys(
	struct channel *ch, struct slice headers, const char *name, struct publish_keys *k)
{
	struct amqp_value v, item;
	if (!amqp_table_get(headers, name, &v))
		return true;
	if (v.type != 'A') {
		channel_error(ch, 406, AMQP_BASIC_PUBLISH,
			"invalid message: {unacceptable_type_in_header,\"%s\",%s}", name,
			amqp_value_type_name(v.type));
		return false;
	}
	struct reader r = reader_of(v.u.s);
	while (amqp_array_next(&r, &item)) {
		if (item.type == 'S')
			buf_put_bytes(k->keys, &item.u.s, sizeof item.u.s);
	}
	return true;
}

static bool publish_collect_keys(
	struct channel *ch, struct slice headers, struct slice key, struct publish_keys *k)
{
	struct amqp_value v;
	buf_clear(k->keys);
	buf_put_bytes(k->keys, &key, sizeof key);
	k->has_bcc = headers.n > 0 && amqp_table_get(headers, "BCC", &v);
	return headers.n == 0 ||
	       (publish_add_keys(ch, headers, "CC", k) && publish_add_keys(ch, headers, "BCC", k));
}

/* The properties without the BCC header, in the environment's scratch buffer. */
static struct slice publish_without_bcc(struct channel *ch, struct amqp_props props)
{
	struct buf headers = BUF_EMPTY;
	struct reader r = reader_of(props.headers);
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v))
		if (!slice_is(key, "BCC"))
			amqp_table_put_value(&headers, key, &v);
	props.headers = buf_slice(&headers);
	struct buf *out = &channel_env(ch)->scratch;
	buf_clear(out);
	amqp_props_encode(out, &props);
	buf_done(&headers);
	return buf_slice(out);
}

/* ---- complete ---- */

static void publish_routed(struct channel *ch, struct message *m, const struct amqp_props *props)
{
	struct session_env *env = channel_env(ch);
	struct broker_exchange *x;
	struct slice name, key;
	struct publish_keys keys = {.keys = &env->keys};
	message_names(m, &name, &key);
	if (!publish_exchange(ch, name, key, &x) ||
		!publish_collect_keys(ch, props->headers, key, &keys))
		return;
	size_t n_keys = keys.keys->n / sizeof(struct slice);
	broker_route_begin(env->broker, &env->route);
	broker_route_keys(env->broker, x, (const struct slice *)keys.keys->p, n_keys,
		props->headers, &env->route);
	if (n_keys == 1 && exchange_route_is_fixed(x))
		route_keep(ch, m->envelope, &env->route);
	if (keys.has_bcc)
		m->props = publish_without_bcc(ch, *props);
	size_t n = env->route.n;
	uint64_t few[CHANNEL_ROUTE_MAX];
	uint64_t *groups = n <= CHANNEL_ROUTE_MAX ? few : mem_alloc(n * sizeof *groups);
	for (size_t i = 0; i < n; i++)
		groups[i] = env->route.queues[i]->group;
	publish_to(ch, groups, (unsigned)n, m, ch->content.mandatory);
	if (groups != few)
		mem_free(groups);
}

static bool props_have_keys(const struct amqp_props *p)
{
	struct amqp_value v;
	return p->headers.n > 0 &&
	       (amqp_table_get(p->headers, "CC", &v) || amqp_table_get(p->headers, "BCC", &v));
}

/* A publish to a direct reply-to address on the default exchange; false if it is none. */
static bool publish_reply(struct channel *ch, const struct message *m)
{
	struct slice exchange, key;
	message_names(m, &exchange, &key);
	if (exchange.n > 0 || !reply_to_is_address(key))
		return false;
	bool sent = reply_to_send(ch, key, m);
	publish_to(ch, NULL, 0, m, ch->content.mandatory && !sent);
	return true;
}

static void publish_message(struct channel *ch, struct slice body)
{
	struct channel_content *c = &ch->content;
	struct message m = {.envelope = c->envelope, .props = c->props, .body = body};
	struct amqp_props props;
	if (c->immediate) {
		channel_error(ch, 540, AMQP_BASIC_PUBLISH, "immediate=true");
		return;
	}
	if (amqp_props_decode(c->props, &props) != 0 || !publish_read_props(ch, &props, &m))
		return;
	if (!reply_to_request(ch, &props, &m) || publish_reply(ch, &m))
		return;
	const struct channel_route *kept = route_kept(ch, m.envelope);
	if (kept != NULL && !props_have_keys(&props))
		publish_to(ch, kept->groups, kept->n, &m, c->mandatory);
	else
		publish_routed(ch, &m, &props);
}

static void publish_complete(struct channel *ch, struct slice body)
{
	publish_message(ch, body);
	if (!ch->closing && ch->conn->state == CONNECTION_OPEN) {
		content_reset(&ch->content);
		list_remove(&ch->mid_content);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/props.h"

#include "src/amqp/frame.h"
#include "src/amqp/reply.h"
#include "src/amqp/table.h"

/* The lowest two bits: one names no property, the other says that a further flag word follows,
 * which basic with its 14 properties never needs. */
#define UNKNOWN_FLAGS 0x0003

#define HEADER_FIXED 12

int amqp_header_decode(struct slice payload, struct amqp_header *out)
{
	if (payload.n < HEADER_FIXED)
		return AMQP_REPLY_FRAME_ERROR;
	out->class_id = load_u16be(payload.p);
	out->body_size = load_u64be(payload.p + 4);
	out->props = slice_make(payload.p + HEADER_FIXED, payload.n - HEADER_FIXED);
	return load_u16be(payload.p + 2) == 0 ? 0 : AMQP_REPLY_UNEXPECTED_FRAME;
}

static struct slice get_shortstr(struct reader *r)
{
	return get_slice(r, get_u8(r));
}

static struct slice get_longstr(struct reader *r)
{
	return get_slice(r, get_u32be(r));
}

/* The values in the order of their flags, which is that of the wire. */
static void decode_values(struct reader *r, struct amqp_props *p)
{
	if (p->flags & AMQP_PROP_CONTENT_TYPE)
		p->content_type = get_shortstr(r);
	if (p->flags & AMQP_PROP_CONTENT_ENCODING)
		p->content_encoding = get_shortstr(r);
	if (p->flags & AMQP_PROP_HEADERS)
		p->headers = get_longstr(r);
	if (p->flags & AMQP_PROP_DELIVERY_MODE)
		p->delivery_mode = get_u8(r);
	if (p->flags & AMQP_PROP_PRIORITY)
		p->priority = get_u8(r);
	if (p->flags & AMQP_PROP_CORRELATION_ID)
		p->correlation_id = get_shortstr(r);
	if (p->flags & AMQP_PROP_REPLY_TO)
		p->reply_to = get_shortstr(r);
	if (p->flags & AMQP_PROP_EXPIRATION)
		p->expiration = get_shortstr(r);
	if (p->flags & AMQP_PROP_MESSAGE_ID)
		p->message_id = get_shortstr(r);
	if (p->flags & AMQP_PROP_TIMESTAMP)
		p->timestamp = get_u64be(r);
	if (p->flags & AMQP_PROP_TYPE)
		p->type = get_shortstr(r);
	if (p->flags & AMQP_PROP_USER_ID)
		p->user_id = get_shortstr(r);
	if (p->flags & AMQP_PROP_APP_ID)
		p->app_id = get_shortstr(r);
	if (p->flags & AMQP_PROP_CLUSTER_ID)
		p->cluster_id = get_shortstr(r);
}

int amqp_props_decode(struct slice raw, struct amqp_props *out)
{
	struct reader r = reader_of(raw);
	memset(out, 0, sizeof *out);
	out->flags = get_u16be(&r);
	if (out->flags & UNKNOWN_FLAGS)
		return AMQP_REPLY_SYNTAX_ERROR;
	decode_values(&r, out);
	return r.bad || reader_left(&r) > 0 ? AMQP_REPLY_SYNTAX_ERROR : 0;
}

int amqp_props_check(struct slice raw, struct amqp_props *out)
{
	struct amqp_props p;
	int e = amqp_props_decode(raw, &p);
	if (e == 0 && !amqp_table_check(p.headers))
		e = AMQP_REPLY_SYNTAX_ERROR;
	if (out != NULL)
		*out = p;
	return e;
}

void amqp_props_encode(struct buf *b, const struct amqp_props *p)
{
	uint16_t flags = p->flags & (uint16_t)~UNKNOWN_FLAGS;
	buf_put_u16be(b, flags);
	if (flags & AMQP_PROP_CONTENT_TYPE)
		amqp_put_shortstr(b, p->content_type);
	if (flags & AMQP_PROP_CONTENT_ENCODING)
		amqp_put_shortstr(b, p->content_encoding);
	if (flags & AMQP_PROP_HEADERS)
		amqp_put_longstr(b, p->headers);
	if (flags & AMQP_PROP_DELIVERY_MODE)
		buf_put_u8(b, p->delivery_mode);
	if (flags & AMQP_PROP_PRIORITY)
		buf_put_u8(b, p->priority);
	if (flags & AMQP_PROP_CORRELATION_ID)
		amqp_put_shortstr(b, p->correlation_id);
	if (flags & AMQP_PROP_REPLY_TO)
		amqp_put_shortstr(b, p->reply_to);
	if (flags & AMQP_PROP_EXPIRATION)
		amqp_put_shortstr(b, p->expiration);
	if (flags & AMQP_PROP_MESSAGE_ID)
		amqp_put_shortstr(b, p->message_id);
	if (flags & AMQP_PROP_TIMESTAMP)
		buf_put_u64be(b, p->timestamp);
	if (flags & AMQP_PROP_TYPE)
		amqp_put_shortstr(b, p->type);
	if (flags & AMQP_PROP_USER_ID)
		amqp_put_shortstr(b, p->user_id);
	if (flags & AMQP_PROP_APP_ID)
		amqp_put_shortstr(b, p->app_id);
	if (flags & AMQP_PROP_CLUSTER_ID)
		amqp_put_shortstr(b, p->cluster_id);
}

/* ---- single properties ---- */

static void skip(struct reader *r, unsigned flag)
{
	switch (flag) {
	case AMQP_PROP_HEADERS:
		get_longstr(r);
		break;
	case AMQP_PROP_DELIVERY_MODE:
	case AMQP_PROP_PRIORITY:
		get_bytes(r, 1);
		break;
	case AMQP_PROP_TIMESTAMP:
		get_bytes(r, 8);
		break;
	default:
		get_shortstr(r);
	}
}

/* Sets r to the value of the property, false if it is not there. */
static bool seek(struct slice raw, unsigned flag, struct reader *r)
{
	*r = reader_of(raw);
	unsigned flags = get_u16be(r);
	if ((flags & flag) == 0)
		return false;
	unsigned before = flags & ~(flag * 2 - 1);
	while (before != 0) {
		unsigned first = 1u << (31 - __builtin_clz(before));
		skip(r, first);
		before &= ~first;
	}
	return true;
}

static uint8_t seek_u8(struct slice raw, unsigned flag)
{
	struct reader r;
	return seek(raw, flag, &r) ? get_u8(&r) : 0;
}

static struct slice seek_shortstr(struct slice raw, unsigned flag)
{
	struct reader r;
	return seek(raw, flag, &r) ? get_shortstr(&r) : slice_make(NULL, 0);
}

uint8_t amqp_props_delivery_mode(struct slice raw)
{
	return seek_u8(raw, AMQP_PROP_DELIVERY_MODE);
}

uint8_t amqp_props_priority(struct slice raw)
{
	return seek_u8(raw, AMQP_PROP_PRIORITY);
}

struct slice amqp_props_headers(struct slice raw)
{
	struct reader r;
	return seek(raw, AMQP_PROP_HEADERS, &r) ? get_longstr(&r) : slice_make(NULL, 0);
}

struct slice amqp_props_reply_to(struct slice raw)
{
	return seek_shortstr(raw, AMQP_PROP_REPLY_TO);
}

struct slice amqp_props_expiration(struct slice raw)
{
	return seek_shortstr(raw, AMQP_PROP_EXPIRATION);
}

struct slice amqp_props_user_id(struct slice raw)
{
	return seek_shortstr(raw, AMQP_PROP_USER_ID);
}

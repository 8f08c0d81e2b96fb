/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/method.h"

#include "src/amqp/frame.h"
#include "src/amqp/reply.h"
#include "src/amqp/table.h"
#include "src/amqp/text.h"

/* ---- decoding: one function per method, made from method.def ---- */

struct decoder {
	struct reader r;
	uint8_t bits;      /* the octet that the current run of bits shares */
	uint8_t bits_used; /* of it; 0 when the next bit starts an octet */
	bool want_utf8;
	bool bad_utf8;
	bool bad_table;
};

static bool decode_bit(struct decoder *d)
{
	if (d->bits_used == 0)
		d->bits = get_u8(&d->r);
	bool v = d->bits >> d->bits_used & 1;
	d->bits_used = (d->bits_used + 1) % 8;
	return v;
}

/* Every other field ends a run of bits. */
static struct reader *decode_next(struct decoder *d)
{
	d->bits_used = 0;
	return &d->r;
}

static struct slice decode_shortstr(struct decoder *d)
{
	struct reader *r = decode_next(d);
	struct slice s = get_slice(r, get_u8(r));
	if (d->want_utf8 && !amqp_text_is_utf8(s))
		d->bad_utf8 = true;
	return s;
}

static struct slice decode_longstr(struct decoder *d)
{
	struct reader *r = decode_next(d);
	return get_slice(r, get_u32be(r));
}

static struct slice decode_table(struct decoder *d)
{
	struct slice s = decode_longstr(d);
	if (!amqp_table_check(s))
		d->bad_table = true;
	return s;
}

#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	static void decode_##name(struct decoder *d, struct amqp_##name *m)   \
	{                                                                     \
		(void)m;                                                      \
		d->want_utf8 = !content;                                      \
		fields                                                        \
	}
#define AMQP_OCTET(f) m->f = get_u8(decode_next(d));
#define AMQP_SHORT(f) m->f = get_u16be(decode_next(d));
#define AMQP_LONG(f) m->f = get_u32be(decode_next(d));
#define AMQP_LONGLONG(f) m->f = get_u64be(decode_next(d));
#define AMQP_BIT(f) m->f = decode_bit(d);
#define AMQP_SHORTSTR(f) m->f = decode_shortstr(d);
#define AMQP_LONGSTR(f) m->f = decode_longstr(d);
#define AMQP_TABLE(f) m->f = decode_table(d);
#include "src/amqp/method.def"

static int decode_any(struct slice payload, struct amqp_method *out)
{
	struct decoder d = {.r = reader_make(payload.p + 4, payload.n - 4)};
	switch (out->id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		decode_##name(&d, &out->u.name);                              \
		break;
#include "src/amqp/method.def"
	default:
		return AMQP_REPLY_COMMAND_INVALID;
	}
	if (d.r.bad || d.bad_utf8 || reader_left(&d.r) > 0)
		return AMQP_REPLY_FRAME_ERROR;
	return d.bad_table ? AMQP_REPLY_SYNTAX_ERROR : 0;
}

/* ---- the hot ones by hand: the lengths are checked once, then everything is read straight ---- */

/* class:16 method:16 ticket:16 shortstr shortstr bits:8 */
static int decode_publish(struct slice payload, struct amqp_basic_publish *m)
{
	const uint8_t *p = payload.p;
	const size_t fixed = 9;
	if (payload.n < fixed || payload.n < fixed + p[6])
		return AMQP_REPLY_FRAME_ERROR;
	m->ticket = load_u16be(p + 4);
	m->exchange = slice_make(p + 7, p[6]);
	const uint8_t *key = p + 7 + m->exchange.n;
	m->routing_key = slice_make(key + 1, key[0]);
	if (payload.n != fixed + m->exchange.n + m->routing_key.n)
		return AMQP_REPLY_FRAME_ERROR;
	uint8_t bits = p[payload.n - 1];
	m->mandatory = bits & 1;
	m->immediate = bits >> 1 & 1;
	return 0;
}

/* class:16 method:16 tag:64 bits:8 */
#define SETTLEMENT_SIZE 13

static int decode_ack(struct slice payload, struct amqp_basic_ack *m)
{
	if (payload.n != SETTLEMENT_SIZE)
		return AMQP_REPLY_FRAME_ERROR;
	m->delivery_tag = load_u64be(payload.p + 4);
	m->multiple = payload.p[12] & 1;
	return 0;
}

static int decode_nack(struct slice payload, struct amqp_basic_nack *m)
{
	if (payload.n != SETTLEMENT_SIZE)
		return AMQP_REPLY_FRAME_ERROR;
	m->delivery_tag = load_u64be(payload.p + 4);
	m->multiple = payload.p[12] & 1;
	m->requeue = payload.p[12] >> 1 & 1;
	return 0;
}

static int decode_reject(struct slice payload, struct amqp_basic_reject *m)
{
	if (payload.n != SETTLEMENT_SIZE)
		return AMQP_REPLY_FRAME_ERROR;
	m->delivery_tag = load_u64be(payload.p + 4);
	m->requeue = payload.p[12] & 1;
	return 0;
}

int amqp_method_decode(struct slice payload, struct amqp_method *out)
{
	out->id = 0;
	if (payload.n < 4)
		return AMQP_REPLY_FRAME_ERROR;
	out->id = load_u32be(payload.p);
	switch (out->id) {
	case AMQP_BASIC_PUBLISH:
		return decode_publish(payload, &out->u.basic_publish);
	case AMQP_BASIC_ACK:
		return decode_ack(payload, &out->u.basic_ack);
	case AMQP_BASIC_NACK:
		return decode_nack(payload, &out->u.basic_nack);
	case AMQP_BASIC_REJECT:
		return decode_reject(payload, &out->u.basic_reject);
	default:
		return decode_any(payload, out);
	}
}

/* ---- encoding, likewise from method.def ---- */

struct encoder {
	struct buf *b;
	uint8_t bits_used;
};

static void encode_bit(struct encoder *e, bool v)
{
	if (e->bits_used == 0)
		buf_put_u8(e->b, 0);
	e->b->p[e->b->n - 1] |= (uint8_t)((unsigned)v << e->bits_used);
	e->bits_used = (e->bits_used + 1) % 8;
}

static struct buf *encode_next(struct encoder *e)
{
	e->bits_used = 0;
	return e->b;
}

#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields)     \
	static void encode_##name(struct encoder *e, const struct amqp_##name *m) \
	{                                                                         \
		(void)e;                                                          \
		(void)m;                                                          \
		fields                                                            \
	}
#define AMQP_OCTET(f) buf_put_u8(encode_next(e), m->f);
#define AMQP_SHORT(f) buf_put_u16be(encode_next(e), m->f);
#define AMQP_LONG(f) buf_put_u32be(encode_next(e), m->f);
#define AMQP_LONGLONG(f) buf_put_u64be(encode_next(e), m->f);
#define AMQP_BIT(f) encode_bit(e, m->f);
#define AMQP_SHORTSTR(f) amqp_put_shortstr(encode_next(e), m->f);
#define AMQP_LONGSTR(f) amqp_put_longstr(encode_next(e), m->f);
#define AMQP_TABLE(f) amqp_put_longstr(encode_next(e), m->f);
#include "src/amqp/method.def"

void amqp_method_encode(struct buf *b, uint16_t channel, const struct amqp_method *m)
{
	size_t mark = amqp_frame_begin_method(b, channel, m->id);
	struct encoder e = {.b = b};
	switch (m->id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		encode_##name(&e, &m->u.name);                                \
		break;
#include "src/amqp/method.def"
	}
	amqp_frame_end(b, mark);
}

/* ---- facts ---- */

const char *amqp_method_name(uint32_t id)
{
	switch (id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		return dotted;
#include "src/amqp/method.def"
	}
	return "unknown";
}

bool amqp_method_has_content(uint32_t id)
{
	switch (id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		return content;
#include "src/amqp/method.def"
	}
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/frame.h"

#include "src/amqp/method.h"
#include "src/amqp/text.h"

/* ---- reading ---- */

enum amqp_greeting amqp_greeting_parse(struct slice in)
{
	/* Clients of 0-9 say AMQP 1 1 0 9; what they speak is served as 0-9-1. */
	static const char old[] = "AMQP\x01\x01\x00\x09";
	size_t n = in.n < AMQP_GREETING_SIZE ? in.n : AMQP_GREETING_SIZE;
	if (n == 0)
		return AMQP_GREETING_MORE;
	if (memcmp(in.p, AMQP_GREETING, n) != 0 && memcmp(in.p, old, n) != 0)
		return AMQP_GREETING_OTHER;
	return n == AMQP_GREETING_SIZE ? AMQP_GREETING_OK : AMQP_GREETING_MORE;
}

static enum amqp_frame_result bad(struct amqp_frame *frame, enum amqp_frame_fault fault)
{
	frame->fault = (uint8_t)fault;
	return AMQP_FRAME_BAD;
}

static bool is_known_type(uint8_t type)
{
	return (type >= AMQP_FRAME_METHOD && type <= AMQP_FRAME_BODY) ||
	       type == AMQP_FRAME_HEARTBEAT;
}

enum amqp_frame_result amqp_frame_parse(
	struct slice in, uint32_t frame_max, struct amqp_frame *frame)
{
	frame->fault = AMQP_FRAME_OK;
	if (in.n < AMQP_FRAME_PREFIX) {
		frame->size = AMQP_FRAME_PREFIX;
		return AMQP_FRAME_MORE;
	}
	frame->type = in.p[0];
	frame->channel = load_u16be(in.p + 1);
	frame->payload_size = load_u32be(in.p + 3);
	frame->frame_max = frame_max;
	frame->size = (size_t)frame->payload_size + AMQP_FRAME_OVERHEAD;
	frame->payload = slice_make(in.p + AMQP_FRAME_PREFIX, 0);
	if (frame_max != 0 && frame->size > (size_t)frame_max + AMQP_FRAME_FUDGE)
		return bad(frame, AMQP_FRAME_TOO_LARGE);
	if (in.n < frame->size)
		return AMQP_FRAME_MORE;
	frame->payload.n = frame->payload_size;
	frame->end = in.p[frame->size - 1];
	if (frame->end != AMQP_FRAME_END)
		return bad(frame, AMQP_FRAME_BAD_END);
	if (!is_known_type(frame->type))
		return bad(frame, AMQP_FRAME_UNKNOWN_TYPE);
	return AMQP_FRAME_READY;
}

static void describe(struct amqp_text *t, const struct amqp_frame *frame)
{
	const size_t shown = 16;
	bool all = frame->payload.n <= shown;
	amqp_text_printf(t, "type %u, %s octets = ", frame->type, all ? "all" : "first 16");
	amqp_text_add_binary(t, slice_make(frame->payload.p, all ? frame->payload.n : shown));
}

void amqp_frame_describe(char *out, size_t cap, const struct amqp_frame *frame)
{
	struct amqp_text t = amqp_text_make(out, cap);
	describe(&t, frame);
}

void amqp_frame_explain(char *out, size_t cap, const struct amqp_frame *frame)
{
	struct amqp_text t = amqp_text_make(out, cap);
	describe(&t, frame);
	switch ((enum amqp_frame_fault)frame->fault) {
	case AMQP_FRAME_TOO_LARGE:
		amqp_text_printf(&t, ": {frame_too_large,%u,%u}", frame->payload_size,
			frame->frame_max - AMQP_FRAME_OVERHEAD);
		break;
	case AMQP_FRAME_BAD_END:
		amqp_text_printf(&t, ": {invalid_frame_end_marker,%u}", frame->end);
		break;
	case AMQP_FRAME_UNKNOWN_TYPE:
		amqp_text_printf(&t, ": unknown_frame");
		break;
	case AMQP_FRAME_OK:
		break;
	}
}

/* ---- writing ---- */

size_t amqp_frame_begin(struct buf *b, uint8_t type, uint16_t channel)
{
	size_t mark = b->n;
	amqp_frame_prefix(buf_put(b, AMQP_FRAME_PREFIX), type, channel, 0);
	return mark;
}

size_t amqp_frame_begin_method(struct buf *b, uint16_t channel, uint32_t method_id)
{
	size_t mark = amqp_frame_begin(b, AMQP_FRAME_METHOD, channel);
	buf_put_u32be(b, method_id);
	return mark;
}

void amqp_frame_end(struct buf *b, size_t mark)
{
	store_u32be(b->p + mark + 3, (uint32_t)(b->n - mark - AMQP_FRAME_PREFIX));
	buf_put_u8(b, AMQP_FRAME_END);
}

/* A whole frame's room in one step: the prefix and the end are written, the payload is returned. */
static inline uint8_t *put_frame(struct buf *b, uint8_t type, uint16_t channel, size_t payload_size)
{
	uint8_t *p = buf_put(b, payload_size + AMQP_FRAME_OVERHEAD);
	amqp_frame_prefix(p, type, channel, (uint32_t)payload_size);
	p[AMQP_FRAME_PREFIX + payload_size] = AMQP_FRAME_END;
	return p + AMQP_FRAME_PREFIX;
}

static inline uint8_t *put_method(struct buf *b, uint16_t channel, uint32_t id, size_t fields_size)
{
	uint8_t *p = put_frame(b, AMQP_FRAME_METHOD, channel, 4 + fields_size);
	store_u32be(p, id);
	return p + 4;
}

static inline uint8_t *write_slice(uint8_t *p, struct slice s)
{
	size_t n = s.n;
	/* Told that n <= 255, gcc copies with `rep movs`, which takes several times a call's time.
	 */
	__asm__("" : "+r"(n));
	if (n > 0)
		memcpy(p, s.p, n);
	return p + n;
}

static uint8_t *write_shortstr(uint8_t *p, struct slice s)
{
	*p = (uint8_t)s.n;
	return write_slice(p + 1, s);
}

static struct slice cut_shortstr(struct slice s)
{
	return slice_make(s.p, s.n < 255 ? s.n : 255);
}

void amqp_put_shortstr(struct buf *b, struct slice s)
{
	struct slice cut = cut_shortstr(s);
	write_shortstr(buf_put(b, 1 + cut.n), cut);
}

void amqp_put_heartbeat(struct buf *b)
{
	put_frame(b, AMQP_FRAME_HEARTBEAT, 0, 0);
}

void amqp_put_header(
	struct buf *b, uint16_t channel, uint16_t class_id, uint64_t body_size, struct slice props)
{
	uint8_t *p = put_frame(b, AMQP_FRAME_HEADER, channel, 12 + props.n);
	store_u16be(p, class_id);
	store_u16be(p + 2, 0); /* weight */
	store_u64be(p + 4, body_size);
	write_slice(p + 12, props);
}

static size_t body_room(uint32_t frame_max, size_t body_size)
{
	if (frame_max == 0)
		return body_size < UINT32_MAX ? body_size : UINT32_MAX;
	return (frame_max > AMQP_FRAME_OVERHEAD ? frame_max : AMQP_FRAME_MIN) - AMQP_FRAME_OVERHEAD;
}

void amqp_put_body(struct buf *b, uint16_t channel, uint32_t frame_max, struct slice body)
{
	size_t room = body_room(frame_max, body.n);
	if (body.n > room)
		buf_reserve(b, body.n + (body.n / room + 1) * AMQP_FRAME_OVERHEAD);
	while (body.n > 0) {
		size_t n = body.n < room ? body.n : room;
		memcpy(put_frame(b, AMQP_FRAME_BODY, channel, n), body.p, n);
		body = slice_make(body.p + n, body.n - n);
	}
}

void amqp_put_content(struct buf *b, uint16_t channel, uint32_t frame_max, uint16_t class_id,
	struct slice props, struct slice body)
{
	amqp_put_header(b, channel, class_id, body.n, props);
	amqp_put_body(b, channel, frame_max, body);
}

void amqp_put_deliver(struct buf *b, uint16_t channel, struct slice consumer_tag,
	uint64_t delivery_tag, bool redelivered, struct slice exchange_and_key)
{
	struct slice tag = cut_shortstr(consumer_tag);
	size_t size = 1 + tag.n + 8 + 1 + exchange_and_key.n;
	uint8_t *p = put_method(b, channel, AMQP_BASIC_DELIVER, size);
	p = write_shortstr(p, tag);
	store_u64be(p, delivery_tag);
	p[8] = redelivered;
	write_slice(p + 9, exchange_and_key);
}

void amqp_put_get_ok(struct buf *b, uint16_t channel, uint64_t delivery_tag, bool redelivered,
	struct slice exchange_and_key, uint32_t message_count)
{
	size_t size = 8 + 1 + exchange_and_key.n + 4;
	uint8_t *p = put_method(b, channel, AMQP_BASIC_GET_OK, size);
	store_u64be(p, delivery_tag);
	p[8] = redelivered;
	p = write_slice(p + 9, exchange_and_key);
	store_u32be(p, message_count);
}

void amqp_put_return(struct buf *b, uint16_t channel, uint16_t reply_code, struct slice reply_text,
	struct slice exchange_and_key)
{
	struct slice text = cut_shortstr(reply_text);
	size_t size = 2 + 1 + text.n + exchange_and_key.n;
	uint8_t *p = put_method(b, channel, AMQP_BASIC_RETURN, size);
	store_u16be(p, reply_code);
	p = write_shortstr(p + 2, text);
	write_slice(p, exchange_and_key);
}

void amqp_put_basic_ack(struct buf *b, uint16_t channel, uint64_t delivery_tag, bool multiple)
{
	uint8_t *p = put_method(b, channel, AMQP_BASIC_ACK, 9);
	store_u64be(p, delivery_tag);
	p[8] = multiple;
}

void amqp_put_basic_nack(
	struct buf *b, uint16_t channel, uint64_t delivery_tag, bool multiple, bool requeue)
{
	uint8_t *p = put_method(b, channel, AMQP_BASIC_NACK, 9);
	store_u64be(p, delivery_tag);
	p[8] = (uint8_t)((unsigned)multiple | (unsigned)requeue << 1);
}

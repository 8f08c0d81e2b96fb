/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/amqp/props.c, content headers and the properties in them.
 *
 *   input := the payload of a header frame
 *
 * Invariants:
 *  - the results are 0 or the documented reply codes; check() accepts what decode() does, but for
 *    the headers, which it looks into;
 *  - what decoded and is encoded again is the same octets;
 *  - each getter of a single property says what the full decoding says, and nothing if that fails.
 */
#include "src/amqp/frame.h"
#include "src/amqp/props.h"
#include "src/amqp/reply.h"
#include "src/amqp/table.h"
#include "tests/fuzz/fuzz.h"

static void check_getters(struct slice raw, const struct amqp_props *p)
{
	CHECK(amqp_props_delivery_mode(raw) == p->delivery_mode);
	CHECK(amqp_props_priority(raw) == p->priority);
	CHECK(slice_eq(amqp_props_headers(raw), p->headers));
	CHECK(slice_eq(amqp_props_reply_to(raw), p->reply_to));
	CHECK(slice_eq(amqp_props_expiration(raw), p->expiration));
	CHECK(slice_eq(amqp_props_user_id(raw), p->user_id));
	CHECK(amqp_props_is_persistent(raw) == (p->delivery_mode == AMQP_DELIVERY_PERSISTENT));
	CHECK(amqp_props_has(raw, AMQP_PROP_HEADERS) == ((p->flags & AMQP_PROP_HEADERS) != 0));
}

/* Getters skip what they are not asked for, so they may find something in front of the fault; it
 * has to lie within the properties all the same. */
static void check_within(struct slice raw, struct slice s)
{
	CHECK(s.n == 0 || (s.p >= raw.p && s.p + s.n <= raw.p + raw.n));
}

static void check_bad(struct slice raw)
{
	amqp_props_delivery_mode(raw);
	amqp_props_priority(raw);
	check_within(raw, amqp_props_headers(raw));
	check_within(raw, amqp_props_reply_to(raw));
	check_within(raw, amqp_props_expiration(raw));
	check_within(raw, amqp_props_user_id(raw));
}

static void check_props(struct slice raw)
{
	struct amqp_props p, q;
	int code = amqp_props_decode(raw, &p);
	int checked = amqp_props_check(raw, &q);
	CHECK(code == 0 || code == AMQP_REPLY_SYNTAX_ERROR);
	CHECK(checked == 0 || checked == AMQP_REPLY_SYNTAX_ERROR);
	CHECK(amqp_props_check(raw, NULL) == checked);
	if (code != 0) {
		CHECK(checked != 0);
		check_bad(raw);
		return;
	}
	CHECK((checked == 0) == amqp_table_check(p.headers));
	check_getters(raw, &p);
	struct buf b = BUF_EMPTY;
	amqp_props_encode(&b, &p);
	CHECK(slice_eq(buf_slice(&b), raw));
	buf_done(&b);
}

static void check_header(struct slice payload, const struct amqp_header *h)
{
	struct buf b = BUF_EMPTY;
	struct amqp_frame f;
	amqp_put_header(&b, 3, h->class_id, h->body_size, h->props);
	CHECK(amqp_frame_parse(buf_slice(&b), 0, &f) == AMQP_FRAME_READY);
	CHECK(f.type == AMQP_FRAME_HEADER && slice_eq(f.payload, payload));
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice payload = fuzz_exact(slice_make(data, size));
	struct amqp_header h;
	int code = amqp_header_decode(payload, &h);
	CHECK(code == 0 || code == AMQP_REPLY_FRAME_ERROR || code == AMQP_REPLY_UNEXPECTED_FRAME);
	if (code == 0) {
		check_header(payload, &h);
		struct slice raw = fuzz_exact(h.props);
		check_props(raw);
		fuzz_free(raw);
	}
	fuzz_free(payload);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/amqp/method.c, decoding and encoding the payload of method frames.
 *
 *   input := payload
 *
 * Invariants:
 *  - the result is 0 or one of the documented reply codes, and the id is that of the payload;
 *  - what decoded and is encoded again has the size of the original, decodes, and encodes to the
 *    same octets: encoding and decoding lose nothing;
 *  - the names of a basic.publish are where amqp_publish_names() says.
 */
#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/reply.h"
#include "tests/fuzz/fuzz.h"

static struct slice payload_of(const struct buf *b, uint16_t channel)
{
	struct amqp_frame f;
	CHECK(amqp_frame_parse(buf_slice(b), 0, &f) == AMQP_FRAME_READY);
	CHECK(f.size == b->n && f.type == AMQP_FRAME_METHOD && f.channel == channel);
	return f.payload;
}

static void check_round_trip(struct slice payload, const struct amqp_method *m)
{
	struct buf first = BUF_EMPTY, second = BUF_EMPTY;
	struct amqp_method again;
	amqp_method_encode(&first, 7, m);
	struct slice encoded = fuzz_exact(payload_of(&first, 7));
	/* Unused bits may differ, nothing else. */
	CHECK(encoded.n == payload.n);
	CHECK(amqp_method_decode(encoded, &again) == 0 && again.id == m->id);
	amqp_method_encode(&second, 7, &again);
	CHECK(slice_eq(buf_slice(&first), buf_slice(&second)));
	fuzz_free(encoded);
	buf_done(&first);
	buf_done(&second);
}

static void check_publish(struct slice payload, const struct amqp_basic_publish *m)
{
	struct slice names = amqp_publish_names(m);
	CHECK(names.p >= payload.p && names.p + names.n <= payload.p + payload.n);
	CHECK(names.p[0] == m->exchange.n && names.p[1 + m->exchange.n] == m->routing_key.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice payload = fuzz_exact(slice_make(data, size));
	struct amqp_method m;
	int code = amqp_method_decode(payload, &m);
	CHECK(code == 0 || code == AMQP_REPLY_FRAME_ERROR || code == AMQP_REPLY_SYNTAX_ERROR ||
		code == AMQP_REPLY_COMMAND_INVALID);
	CHECK(m.id == (size >= 4 ? load_u32be(data) : 0));
	CHECK(amqp_method_name(m.id) != NULL);
	if (code == 0) {
		CHECK(strcmp(amqp_method_name(m.id), "unknown") != 0);
		check_round_trip(payload, &m);
		if (m.id == AMQP_BASIC_PUBLISH)
			check_publish(payload, &m.u.basic_publish);
	}
	fuzz_free(payload);
	return 0;
}

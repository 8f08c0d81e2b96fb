/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames: the incremental parser, its refusals, and every encoder's bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/props.h"
#include "src/base/mem.h"

#define LITERAL(s) slice_make(s, sizeof(s) - 1)

/* ---- greeting ---- */

static void the_greeting_is_recognised_octet_by_octet(void **state)
{
	(void)state;
	for (size_t n = 0; n < AMQP_GREETING_SIZE; n++)
		assert_int_equal(
			amqp_greeting_parse(slice_make(AMQP_GREETING, n)), AMQP_GREETING_MORE);
	assert_int_equal(amqp_greeting_parse(LITERAL(AMQP_GREETING)), AMQP_GREETING_OK);
	assert_int_equal(amqp_greeting_parse(LITERAL(AMQP_GREETING "\1\0")), AMQP_GREETING_OK);
}

static void the_greeting_of_0_9_is_served_too(void **state)
{
	(void)state;
	assert_int_equal(amqp_greeting_parse(LITERAL("AMQP\1\1\0\x09")), AMQP_GREETING_OK);
}

static void other_protocols_are_refused_as_soon_as_they_show(void **state)
{
	(void)state;
	assert_int_equal(amqp_greeting_parse(slice_str("G")), AMQP_GREETING_OTHER);
	assert_int_equal(amqp_greeting_parse(slice_str("AMQQ")), AMQP_GREETING_OTHER);
	assert_int_equal(amqp_greeting_parse(LITERAL("AMQP\0\1\0\0")), AMQP_GREETING_OTHER);
	assert_int_equal(amqp_greeting_parse(LITERAL("AMQP\3\1\0\0")), AMQP_GREETING_OTHER);
	assert_int_equal(amqp_greeting_parse(LITERAL("AMQP\1\1\0\x0A")), AMQP_GREETING_OTHER);
}

/* ---- parsing ---- */

static const char ack_frame[] = "\1\0\7\0\0\0\x0D\0\x3C\0\x50\0\0\0\0\0\0\0\5\0\xCE";

static void a_frame_is_needed_whole(void **state)
{
	(void)state;
	size_t size = sizeof ack_frame - 1;
	struct amqp_frame f;
	for (size_t n = 0; n < size; n++) {
		uint8_t *copy = mem_dup(ack_frame, n);
		enum amqp_frame_result r = amqp_frame_parse(slice_make(copy, n), 4096, &f);
		assert_int_equal(r, AMQP_FRAME_MORE);
		assert_int_equal(f.size, n < AMQP_FRAME_PREFIX ? AMQP_FRAME_PREFIX : size);
		mem_free(copy);
	}
	assert_int_equal(amqp_frame_parse(slice_make(ack_frame, size), 4096, &f), AMQP_FRAME_READY);
	assert_int_equal(f.type, AMQP_FRAME_METHOD);
	assert_int_equal(f.channel, 7);
	assert_int_equal(f.size, size);
	assert_int_equal(f.payload.n, 13);
	assert_ptr_equal(f.payload.p, ack_frame + 7);
}

static void frames_follow_one_another(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_frame f;
	amqp_put_heartbeat(&b);
	amqp_put_basic_ack(&b, 7, 5, false);
	amqp_put_heartbeat(&b);
	struct slice in = buf_slice(&b);
	int count = 0;
	while (amqp_frame_parse(in, 4096, &f) == AMQP_FRAME_READY) {
		in = slice_make(in.p + f.size, in.n - f.size);
		count++;
	}
	assert_int_equal(count, 3);
	assert_int_equal(in.n, 0);
	buf_done(&b);
}

static void assert_explained(const struct amqp_frame *f, const char *expected)
{
	char text[256];
	amqp_frame_explain(text, sizeof text, f);
	assert_string_equal(text, expected);
}

static void a_frame_above_the_limit_is_refused_by_its_prefix(void **state)
{
	(void)state;
	struct amqp_frame f;
	struct slice in = LITERAL("\2\0\1\0\3\x0D\x5B");
	assert_int_equal(amqp_frame_parse(in, 131072, &f), AMQP_FRAME_BAD);
	assert_int_equal(f.fault, AMQP_FRAME_TOO_LARGE);
	assert_explained(&f, "type 2, all octets = <<>>: {frame_too_large,200027,131064}");
	assert_int_equal(amqp_frame_parse(in, 0, &f), AMQP_FRAME_MORE);
}

static void another_protocols_bytes_are_a_frame_too_large(void **state)
{
	(void)state;
	struct amqp_frame f;
	assert_int_equal(amqp_frame_parse(LITERAL("AMQP\0\0\x09\1"), 131072, &f), AMQP_FRAME_BAD);
	assert_explained(&f, "type 65, all octets = <<>>: {frame_too_large,1342177289,131064}");
}

static void the_limit_is_exact_with_the_tolerance_for_the_overhead(void **state)
{
	(void)state;
	struct amqp_frame f;
	/* payloads of 4096 and 4097 octets against a frame_max of 4096 */
	assert_int_equal(amqp_frame_parse(LITERAL("\3\0\1\0\0\x10\0"), 4096, &f), AMQP_FRAME_MORE);
	assert_int_equal(amqp_frame_parse(LITERAL("\3\0\1\0\0\x10\1"), 4096, &f), AMQP_FRAME_BAD);
}

static void the_largest_size_does_not_overflow(void **state)
{
	(void)state;
	struct amqp_frame f;
	struct slice in = LITERAL("\3\0\1\xFF\xFF\xFF\xFF\xCE");
	assert_int_equal(amqp_frame_parse(in, UINT32_MAX, &f), AMQP_FRAME_MORE);
	assert_int_equal(amqp_frame_parse(in, UINT32_MAX - 8, &f), AMQP_FRAME_BAD);
	assert_int_equal(amqp_frame_parse(in, 0, &f), AMQP_FRAME_MORE);
	assert_true(f.size == (size_t)UINT32_MAX + 8);
}

static void a_wrong_end_octet_is_refused(void **state)
{
	(void)state;
	struct amqp_frame f;
	assert_int_equal(
		amqp_frame_parse(LITERAL("\3\0\1\0\0\0\2hi\xCD"), 4096, &f), AMQP_FRAME_BAD);
	assert_int_equal(f.fault, AMQP_FRAME_BAD_END);
	assert_explained(&f, "type 3, all octets = <<\"hi\">>: {invalid_frame_end_marker,205}");
}

static void an_unknown_type_is_refused(void **state)
{
	(void)state;
	struct amqp_frame f;
	assert_int_equal(
		amqp_frame_parse(LITERAL("\x63\0\1\0\0\0\3\1\2\3\xCE"), 4096, &f), AMQP_FRAME_BAD);
	assert_explained(&f, "type 99, all octets = <<1,2,3>>: unknown_frame");
	static const uint8_t others[] = {0, 4, 5, 6, 7, 9, 255};
	for (size_t i = 0; i < sizeof others; i++) {
		uint8_t p[8] = {others[i], 0, 0, 0, 0, 0, 0, AMQP_FRAME_END};
		assert_int_equal(amqp_frame_parse(slice_make(p, 8), 4096, &f), AMQP_FRAME_BAD);
	}
}

static void a_description_shows_sixteen_octets(void **state)
{
	(void)state;
	struct amqp_frame f;
	char text[256], little[12];
	struct slice in = LITERAL("\2\0\1\0\0\0\x12\"abc\\\nghijklmnopqr\xCE");
	assert_int_equal(amqp_frame_parse(in, 4096, &f), AMQP_FRAME_READY);
	amqp_frame_describe(text, sizeof text, &f);
	assert_string_equal(text, "type 2, first 16 octets = <<\"\\\"abc\\\\\\nghijklmnop\">>");
	amqp_frame_describe(little, sizeof little, &f);
	assert_string_equal(little, "type 2, fir");
}

/* ---- writing ---- */

static void assert_bytes(struct buf *b, struct slice expected)
{
	assert_int_equal(b->n, expected.n);
	assert_memory_equal(b->p, expected.p, expected.n);
	buf_done(b);
}

static void a_heartbeat_has_its_bytes(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	amqp_put_heartbeat(&b);
	assert_bytes(&b, LITERAL("\x08\0\0\0\0\0\0\xCE"));
}

static void an_ack_has_its_bytes(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	amqp_put_basic_ack(&b, 7, 5, false);
	assert_bytes(&b, LITERAL(ack_frame));
}

static void a_frame_may_be_built_piece_by_piece(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	size_t mark = amqp_frame_begin_method(&b, 1, AMQP_CHANNEL_FLOW_OK);
	buf_put_u8(&b, 1);
	amqp_frame_end(&b, mark);
	assert_bytes(&b, LITERAL("\1\0\1\0\0\0\5\0\x14\0\x15\1\xCE"));
}

static void content_has_its_bytes(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct slice props = LITERAL("\x10\0\2");
	amqp_put_content(&b, 3, 4096, AMQP_CLASS_BASIC, props, slice_str("hello"));
	assert_bytes(&b, LITERAL("\2\0\3\0\0\0\x0F\0\x3C\0\0\0\0\0\0\0\0\0\5\x10\0\2\xCE"
				 "\3\0\3\0\0\0\5hello\xCE"));
}

static void an_empty_body_has_no_frame(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	amqp_put_body(&b, 1, 4096, slice_make(NULL, 0));
	assert_int_equal(b.n, 0);
	amqp_put_body(&b, 1, 0, slice_make(NULL, 0));
	assert_int_equal(b.n, 0);
}

/* Takes body frames apart again and returns how many there were. */
static int assert_body(const struct buf *b, uint32_t frame_max, struct slice body)
{
	struct slice in = buf_slice(b);
	struct amqp_frame f;
	int count = 0;
	while (in.n > 0) {
		assert_int_equal(amqp_frame_parse(in, frame_max, &f), AMQP_FRAME_READY);
		assert_int_equal(f.type, AMQP_FRAME_BODY);
		assert_true(frame_max == 0 || f.size <= frame_max);
		assert_true(f.payload.n > 0 && f.payload.n <= body.n);
		assert_memory_equal(f.payload.p, body.p, f.payload.n);
		body = slice_make(body.p + f.payload.n, body.n - f.payload.n);
		in = slice_make(in.p + f.size, in.n - f.size);
		count++;
	}
	assert_int_equal(body.n, 0);
	return count;
}

static void a_body_is_split_by_frame_max(void **state)
{
	(void)state;
	static const struct {
		uint32_t frame_max;
		size_t size;
		int frames;
	} cases[] = {
		{4096, 1, 1},
		{4096, 4087, 1},
		{4096, 4088, 1},
		{4096, 4089, 2},
		{4096, 8176, 2},
		{4096, 8177, 3},
		{9, 20, 20},
		{8, 4089, 2}, /* no room for a payload: taken as AMQP_FRAME_MIN */
		{0, 100000, 1},
		{131072, 100000, 1},
	};
	uint8_t *body = mem_alloc(100000);
	for (size_t i = 0; i < 100000; i++)
		body[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf b = BUF_EMPTY;
		struct slice s = slice_make(body, cases[i].size);
		uint32_t max = cases[i].frame_max;
		amqp_put_body(&b, 1, max, s);
		assert_int_equal(assert_body(&b, max == 8 ? 4096 : max, s), cases[i].frames);
		buf_done(&b);
	}
	mem_free(body);
}

/* ---- the fast encoders say what the general one says ---- */

static void assert_same(struct buf *fast, const struct amqp_method *m)
{
	struct buf slow = BUF_EMPTY;
	amqp_method_encode(&slow, 9, m);
	assert_bytes(fast, buf_slice(&slow));
	buf_done(&slow);
}

static void deliver_is_encoded_as_usual(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_BASIC_DELIVER};
	m.u.basic_deliver = (struct amqp_basic_deliver){
		slice_str("ctag"), 1234567890123, true, slice_str("amq.topic"), slice_str("a.b")};
	amqp_put_deliver(&b, 9, slice_str("ctag"), 1234567890123, true,
		slice_str("\x09"
			  "amq.topic\3a.b"));
	assert_same(&b, &m);
}

static void deliver_with_empty_names_is_encoded_as_usual(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_BASIC_DELIVER};
	amqp_put_deliver(&b, 9, slice_make(NULL, 0), 0, false, LITERAL("\0\0"));
	assert_same(&b, &m);
}

static void get_ok_is_encoded_as_usual(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_BASIC_GET_OK};
	m.u.basic_get_ok =
		(struct amqp_basic_get_ok){7, true, slice_str("ex"), slice_str("key"), 77};
	amqp_put_get_ok(&b, 9, 7, true, slice_str("\2ex\3key"), 77);
	assert_same(&b, &m);
}

static void return_is_encoded_as_usual(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_BASIC_RETURN};
	m.u.basic_return = (struct amqp_basic_return){
		312, slice_str("NO_ROUTE"), slice_str("ex"), slice_str("key")};
	amqp_put_return(&b, 9, 312, slice_str("NO_ROUTE"), slice_str("\2ex\3key"));
	assert_same(&b, &m);
}

static void confirms_are_encoded_as_usual(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 4; bits++) {
		struct buf b = BUF_EMPTY;
		bool multiple = bits & 1, requeue = bits >> 1;
		struct amqp_method m = {.id = AMQP_BASIC_ACK};
		m.u.basic_ack = (struct amqp_basic_ack){UINT64_MAX, multiple};
		amqp_put_basic_ack(&b, 9, UINT64_MAX, multiple);
		assert_same(&b, &m);
		m.id = AMQP_BASIC_NACK;
		m.u.basic_nack = (struct amqp_basic_nack){8, multiple, requeue};
		amqp_put_basic_nack(&b, 9, 8, multiple, requeue);
		assert_same(&b, &m);
	}
}

static void strings_carry_their_lengths(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	amqp_put_shortstr(&b, slice_str("ab"));
	amqp_put_longstr(&b, slice_str("cd"));
	amqp_put_shortstr(&b, slice_make(NULL, 0));
	assert_bytes(&b, LITERAL("\2ab\0\0\0\2cd\0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_greeting_is_recognised_octet_by_octet),
		cmocka_unit_test(the_greeting_of_0_9_is_served_too),
		cmocka_unit_test(other_protocols_are_refused_as_soon_as_they_show),
		cmocka_unit_test(a_frame_is_needed_whole),
		cmocka_unit_test(frames_follow_one_another),
		cmocka_unit_test(a_frame_above_the_limit_is_refused_by_its_prefix),
		cmocka_unit_test(another_protocols_bytes_are_a_frame_too_large),
		cmocka_unit_test(the_limit_is_exact_with_the_tolerance_for_the_overhead),
		cmocka_unit_test(the_largest_size_does_not_overflow),
		cmocka_unit_test(a_wrong_end_octet_is_refused),
		cmocka_unit_test(an_unknown_type_is_refused),
		cmocka_unit_test(a_description_shows_sixteen_octets),
		cmocka_unit_test(a_heartbeat_has_its_bytes),
		cmocka_unit_test(an_ack_has_its_bytes),
		cmocka_unit_test(a_frame_may_be_built_piece_by_piece),
		cmocka_unit_test(content_has_its_bytes),
		cmocka_unit_test(an_empty_body_has_no_frame),
		cmocka_unit_test(a_body_is_split_by_frame_max),
		cmocka_unit_test(deliver_is_encoded_as_usual),
		cmocka_unit_test(deliver_with_empty_names_is_encoded_as_usual),
		cmocka_unit_test(get_ok_is_encoded_as_usual),
		cmocka_unit_test(return_is_encoded_as_usual),
		cmocka_unit_test(confirms_are_encoded_as_usual),
		cmocka_unit_test(strings_carry_their_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The content header and the properties of class basic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/amqp/props.h"
#include "src/amqp/reply.h"
#include "src/base/mem.h"

#define LITERAL(s) slice_make(s, sizeof(s) - 1)

#define ALL_FLAGS 0xFFFC

static struct amqp_props all_props(void)
{
	return (struct amqp_props){
		.flags = ALL_FLAGS,
		.content_type = slice_str("text"),
		.content_encoding = slice_str("gzip"),
		.headers = slice_str("\1kV"),
		.delivery_mode = 2,
		.priority = 7,
		.correlation_id = slice_str("corr"),
		.reply_to = slice_str("reply"),
		.expiration = slice_str("6000"),
		.message_id = slice_str("id"),
		.timestamp = 1577836800,
		.type = slice_str("kind"),
		.user_id = slice_str("guest"),
		.app_id = slice_str("app"),
		.cluster_id = slice_str("c"),
	};
}

static void assert_slice(struct slice a, struct slice b)
{
	assert_true(slice_eq(a, b));
}

static void assert_props(const struct amqp_props *a, const struct amqp_props *b)
{
	assert_int_equal(a->flags, b->flags);
	assert_slice(a->content_type, b->content_type);
	assert_slice(a->content_encoding, b->content_encoding);
	assert_slice(a->headers, b->headers);
	assert_int_equal(a->delivery_mode, b->delivery_mode);
	assert_int_equal(a->priority, b->priority);
	assert_slice(a->correlation_id, b->correlation_id);
	assert_slice(a->reply_to, b->reply_to);
	assert_slice(a->expiration, b->expiration);
	assert_slice(a->message_id, b->message_id);
	assert_true(a->timestamp == b->timestamp);
	assert_slice(a->type, b->type);
	assert_slice(a->user_id, b->user_id);
	assert_slice(a->app_id, b->app_id);
	assert_slice(a->cluster_id, b->cluster_id);
}

/* Takes away what the flags do not name. */
static struct amqp_props only(struct amqp_props p, uint16_t flags)
{
	struct amqp_props none = {0};
	p.flags = flags;
#define KEEP(flag, field)      \
	if (!(flags & (flag))) \
		p.field = none.field;
	KEEP(AMQP_PROP_CONTENT_TYPE, content_type)
	KEEP(AMQP_PROP_CONTENT_ENCODING, content_encoding)
	KEEP(AMQP_PROP_HEADERS, headers)
	KEEP(AMQP_PROP_DELIVERY_MODE, delivery_mode)
	KEEP(AMQP_PROP_PRIORITY, priority)
	KEEP(AMQP_PROP_CORRELATION_ID, correlation_id)
	KEEP(AMQP_PROP_REPLY_TO, reply_to)
	KEEP(AMQP_PROP_EXPIRATION, expiration)
	KEEP(AMQP_PROP_MESSAGE_ID, message_id)
	KEEP(AMQP_PROP_TIMESTAMP, timestamp)
	KEEP(AMQP_PROP_TYPE, type)
	KEEP(AMQP_PROP_USER_ID, user_id)
	KEEP(AMQP_PROP_APP_ID, app_id)
	KEEP(AMQP_PROP_CLUSTER_ID, cluster_id)
#undef KEEP
	return p;
}

/* ---- content header ---- */

static void a_header_is_taken_apart(void **state)
{
	(void)state;
	struct amqp_header h;
	struct slice payload = LITERAL("\0\x3C\0\0\0\0\0\0\0\0\1\2\x10\0\2");
	assert_int_equal(amqp_header_decode(payload, &h), 0);
	assert_int_equal(h.class_id, 60);
	assert_int_equal(h.body_size, 258);
	assert_slice(h.props, LITERAL("\x10\0\2"));
}

static void a_short_header_is_a_frame_error(void **state)
{
	(void)state;
	struct amqp_header h;
	for (size_t n = 0; n < 12; n++) {
		uint8_t *copy = mem_zalloc(n);
		int e = amqp_header_decode(slice_make(copy, n), &h);
		assert_int_equal(e, AMQP_REPLY_FRAME_ERROR);
		mem_free(copy);
	}
}

static void a_header_with_weight_is_unexpected(void **state)
{
	(void)state;
	struct amqp_header h;
	struct slice payload = LITERAL("\0\x3C\0\1\0\0\0\0\0\0\0\0\0\0");
	assert_int_equal(amqp_header_decode(payload, &h), AMQP_REPLY_UNEXPECTED_FRAME);
}

/* ---- properties ---- */

static void all_properties_are_decoded(void **state)
{
	(void)state;
	struct slice raw = LITERAL("\xFF\xFC\4text\4gzip\0\0\0\3\1kV\2\7\4corr\5reply\0046000\2id"
				   "\0\0\0\0\x5E\x0B\xE1\0\4kind\5guest\3app\1c");
	struct amqp_props expected = all_props(), p;
	assert_int_equal(amqp_props_check(raw, &p), 0);
	assert_props(&p, &expected);
}

static void no_properties_are_two_octets(void **state)
{
	(void)state;
	struct amqp_props none = {0}, p;
	struct buf b = BUF_EMPTY;
	assert_int_equal(amqp_props_check(LITERAL("\0\0"), &p), 0);
	assert_props(&p, &none);
	amqp_props_encode(&b, &none);
	assert_slice(buf_slice(&b), LITERAL("\0\0"));
	buf_done(&b);
}

static void assert_getters(struct slice raw, const struct amqp_props *p)
{
	assert_int_equal(amqp_props_delivery_mode(raw), p->delivery_mode);
	assert_int_equal(amqp_props_priority(raw), p->priority);
	assert_slice(amqp_props_headers(raw), p->headers);
	assert_slice(amqp_props_reply_to(raw), p->reply_to);
	assert_slice(amqp_props_expiration(raw), p->expiration);
	assert_slice(amqp_props_user_id(raw), p->user_id);
	assert_int_equal(amqp_props_has(raw, AMQP_PROP_TYPE), (p->flags & AMQP_PROP_TYPE) != 0);
	assert_int_equal(amqp_props_is_persistent(raw), p->delivery_mode == 2);
}

static void every_combination_survives_the_round_trip(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	for (unsigned flags = 0; flags <= ALL_FLAGS; flags += 4) {
		struct amqp_props in = only(all_props(), (uint16_t)flags), out;
		buf_clear(&b);
		amqp_props_encode(&b, &in);
		assert_int_equal(amqp_props_check(buf_slice(&b), &out), 0);
		assert_props(&in, &out);
		assert_getters(buf_slice(&b), &in);
	}
	buf_done(&b);
}

static int check_copy(struct slice raw)
{
	uint8_t *copy = mem_dup(raw.p, raw.n);
	struct slice s = slice_make(copy, raw.n);
	int e = amqp_props_check(s, NULL);
	/* Nothing to compare with, but the sanitizer watches. */
	amqp_props_delivery_mode(s);
	amqp_props_priority(s);
	amqp_props_headers(s);
	amqp_props_reply_to(s);
	amqp_props_expiration(s);
	amqp_props_user_id(s);
	mem_free(copy);
	return e;
}

static void every_truncation_is_a_syntax_error(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_props all = all_props();
	amqp_props_encode(&b, &all);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(check_copy(slice_make(b.p, n)), AMQP_REPLY_SYNTAX_ERROR);
	assert_int_equal(check_copy(buf_slice(&b)), 0);
	buf_put_u8(&b, 0);
	assert_int_equal(check_copy(buf_slice(&b)), AMQP_REPLY_SYNTAX_ERROR);
	buf_done(&b);
}

static void flags_without_a_property_are_refused(void **state)
{
	(void)state;
	struct amqp_props p;
	assert_int_equal(amqp_props_decode(LITERAL("\0\1\0\0"), &p), AMQP_REPLY_SYNTAX_ERROR);
	assert_int_equal(amqp_props_decode(LITERAL("\0\2"), &p), AMQP_REPLY_SYNTAX_ERROR);
}

static void malformed_headers_are_found_by_the_check_only(void **state)
{
	(void)state;
	struct amqp_props p;
	struct slice raw = LITERAL("\x20\0\0\0\0\3\1kZ");
	assert_int_equal(amqp_props_decode(raw, &p), 0);
	assert_int_equal(amqp_props_check(raw, &p), AMQP_REPLY_SYNTAX_ERROR);
}

static void flipped_octets_do_no_harm(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_props all = all_props();
	uint32_t x = 1;
	for (int i = 0; i < 20000; i++) {
		buf_clear(&b);
		amqp_props_encode(&b, &all);
		for (int flips = 0; flips < 1 + i % 3; flips++) {
			x = x * 1664525 + 1013904223;
			b.p[(x >> 8) % b.n] = (uint8_t)(x >> 24);
		}
		int e = check_copy(buf_slice(&b));
		assert_true(e == 0 || e == AMQP_REPLY_SYNTAX_ERROR);
	}
	buf_done(&b);
}

static void absent_properties_are_empty(void **state)
{
	(void)state;
	struct slice raw = LITERAL("\0\0");
	assert_int_equal(amqp_props_delivery_mode(raw), 0);
	assert_int_equal(amqp_props_headers(raw).n, 0);
	assert_false(amqp_props_has(raw, AMQP_PROP_HEADERS));
	assert_false(amqp_props_has(LITERAL("\xFF"), AMQP_PROP_HEADERS));
	assert_int_equal(amqp_props_priority(LITERAL("\x08")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_is_taken_apart),
		cmocka_unit_test(a_short_header_is_a_frame_error),
		cmocka_unit_test(a_header_with_weight_is_unexpected),
		cmocka_unit_test(all_properties_are_decoded),
		cmocka_unit_test(no_properties_are_two_octets),
		cmocka_unit_test(every_combination_survives_the_round_trip),
		cmocka_unit_test(every_truncation_is_a_syntax_error),
		cmocka_unit_test(flags_without_a_property_are_refused),
		cmocka_unit_test(malformed_headers_are_found_by_the_check_only),
		cmocka_unit_test(flipped_octets_do_no_harm),
		cmocka_unit_test(absent_properties_are_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

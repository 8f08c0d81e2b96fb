/* SPDX-License-Identifier: Apache-2.0
 *
 * Reply codes, and reply texts that fit into a short string.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/amqp/reply.h"
#include "src/amqp/text.h"

static void codes_have_names(void **state)
{
	(void)state;
	assert_int_equal(AMQP_REPLY_NOT_FOUND, 404);
	assert_string_equal(amqp_reply_name(404), "NOT_FOUND");
	assert_string_equal(amqp_reply_name(312), "NO_ROUTE");
	assert_string_equal(amqp_reply_name(320), "CONNECTION_FORCED");
	assert_string_equal(amqp_reply_name(999), "INTERNAL_ERROR");
}

static void codes_end_a_channel_or_a_connection(void **state)
{
	(void)state;
	static const int soft[] = {200, 311, 312, 313, 403, 404, 405, 406};
	static const int hard[] = {320, 402, 501, 502, 503, 504, 505, 506, 530, 540, 541, 7};
	for (size_t i = 0; i < sizeof soft / sizeof *soft; i++)
		assert_false(amqp_reply_is_hard(soft[i]));
	for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
		assert_true(amqp_reply_is_hard(hard[i]));
}

static void a_text_is_the_name_and_the_explanation(void **state)
{
	(void)state;
	char out[AMQP_REPLY_TEXT_MAX + 1];
	struct slice s = amqp_reply_text(out, 404, "no queue '%s' in vhost '/'", "q");
	assert_true(slice_is(s, "NOT_FOUND - no queue 'q' in vhost '/'"));
	assert_ptr_equal(s.p, out);
	assert_string_equal(out, "NOT_FOUND - no queue 'q' in vhost '/'");
}

/* A text of n octets: "NOT_FOUND - " and filling. */
static struct slice text_of(char *out, size_t n, const char *last)
{
	char fill[400];
	memset(fill, 'x', sizeof fill);
	return amqp_reply_text(out, 404, "%.*s%s", (int)(n - 12 - strlen(last)), fill, last);
}

static void a_text_of_255_octets_is_whole(void **state)
{
	(void)state;
	char out[AMQP_REPLY_TEXT_MAX + 1];
	struct slice s = text_of(out, 255, "!");
	assert_int_equal(s.n, 255);
	assert_int_equal(out[254], '!');
}

static void a_longer_text_is_cut_to_255_with_dots(void **state)
{
	(void)state;
	char out[AMQP_REPLY_TEXT_MAX + 1];
	for (size_t n = 256; n < 300; n++) {
		struct slice s = text_of(out, n, "!");
		assert_int_equal(s.n, 255);
		assert_memory_equal(out + 251, "x...", 5);
	}
}

static void a_cut_never_splits_a_character(void **state)
{
	(void)state;
	char out[AMQP_REPLY_TEXT_MAX + 1];
	for (size_t n = 240; n < 300; n++) {
		struct slice s = text_of(out, n, "\xF0\x9F\x90\xB0\xE2\x82\xAC\xC3\xBC");
		assert_true(s.n <= 255);
		assert_true(amqp_text_is_utf8(s));
		if (n > 255)
			assert_true(s.n >= 252);
	}
}

static void utf8_is_told_from_other_octets(void **state)
{
	(void)state;
	static const char *const good[] = {"", "plain ascii, longer than eight", "\xC3\xBC",
		"\xE2\x82\xAC", "\xF0\x9F\x90\xB0", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "\x7F"};
	static const char *const bad[] = {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x80\x80",
		"\xE2\x82", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
		"\xF5\x80\x80\x80", "\xFF", "12345678\xC3", "\xC3(", "\xE2\x82("};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(amqp_text_is_utf8(slice_str(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(amqp_text_is_utf8(slice_str(bad[i])));
}

static void strings_of_peers_are_made_harmless(void **state)
{
	(void)state;
	char out[16];
	struct amqp_text t = amqp_text_make(out, sizeof out);
	amqp_text_add_string(&t, slice_make("a\0b\xFF", 4));
	amqp_text_add_string(&t, slice_str("\xC3\xBC"));
	assert_string_equal(out, "a?b?\xC3\xBC");
	amqp_text_add_string(&t, slice_str("0123456789abcdef"));
	assert_string_equal(out, "a?b?\xC3\xBC"
				 "012345678");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_have_names),
		cmocka_unit_test(codes_end_a_channel_or_a_connection),
		cmocka_unit_test(a_text_is_the_name_and_the_explanation),
		cmocka_unit_test(a_text_of_255_octets_is_whole),
		cmocka_unit_test(a_longer_text_is_cut_to_255_with_dots),
		cmocka_unit_test(a_cut_never_splits_a_character),
		cmocka_unit_test(utf8_is_told_from_other_octets),
		cmocka_unit_test(strings_of_peers_are_made_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

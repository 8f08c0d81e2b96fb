/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/session/confirm.h"

static int dirty_calls;

static void on_dirty(void *arg)
{
	(void)arg;
	dirty_calls++;
}

static struct confirm *begin(void)
{
	static int owner;
	dirty_calls = 0;
	return confirm_new(on_dirty, &owner);
}

static void settle(struct confirm *c, uint64_t number, bool refused)
{
	struct queue_publisher *p = confirm_publisher(c);
	p->settled(p, number, refused);
}

/* The next frame of `out` as text: "ack 3", "ack 3 multiple", "nack 2", "" at the end. */
static const char *next_frame(struct buf *out)
{
	static char text[64];
	struct amqp_frame f;
	struct amqp_method m;
	if (amqp_frame_parse(buf_slice(out), 0, &f) != AMQP_FRAME_READY)
		return "";
	assert_int_equal(amqp_method_decode(f.payload, &m), 0);
	assert_int_equal(f.channel, 7);
	bool nack = m.id == AMQP_BASIC_NACK;
	assert_true(nack || m.id == AMQP_BASIC_ACK);
	uint64_t tag = nack ? m.u.basic_nack.delivery_tag : m.u.basic_ack.delivery_tag;
	bool multiple = nack ? m.u.basic_nack.multiple : m.u.basic_ack.multiple;
	snprintf(text, sizeof text, "%s %lu%s", nack ? "nack" : "ack", (unsigned long)tag,
		multiple ? " multiple" : "");
	buf_consume(out, f.size);
	return text;
}

static void expect(struct confirm *c, const char *const *frames)
{
	struct buf out = BUF_EMPTY;
	confirm_flush(c, &out, 7);
	for (; *frames != NULL; frames++)
		assert_string_equal(next_frame(&out), *frames);
	assert_string_equal(next_frame(&out), "");
	buf_done(&out);
}

#define EXPECT(c, ...) expect(c, (const char *const[]){__VA_ARGS__, NULL})

static void a_turns_prefix_is_one_ack(void **state)
{
	struct confirm *c = begin();
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		confirm_begin(c, 1);
	settle(c, 1, false);
	assert_int_equal(dirty_calls, 1);
	settle(c, 2, false);
	settle(c, 3, false);
	assert_int_equal(dirty_calls, 1);
	EXPECT(c, "ack 3 multiple");
	settle(c, 4, false);
	assert_int_equal(dirty_calls, 2);
	EXPECT(c, "ack 4");
	settle(c, 5, false);
	confirm_free(c);
}

static void an_unroutable_publish_is_complete_at_once(void **state)
{
	struct confirm *c = begin();
	(void)state;
	confirm_begin(c, 0);
	EXPECT(c, "ack 1");
	confirm_free(c);
}

static void what_completes_behind_a_gap_does_not_wait(void **state)
{
	struct confirm *c = begin();
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		confirm_begin(c, 1);
	settle(c, 2, false);
	settle(c, 4, false);
	EXPECT(c, "ack 2", "ack 4");
	settle(c, 1, false);
	EXPECT(c, "ack 2 multiple");
	settle(c, 3, false);
	EXPECT(c, "ack 4 multiple");
	confirm_free(c);
}

static void every_queue_must_answer(void **state)
{
	struct confirm *c = begin();
	(void)state;
	confirm_begin(c, 3);
	settle(c, 1, false);
	settle(c, 1, false);
	assert_int_equal(dirty_calls, 0);
	settle(c, 1, false);
	EXPECT(c, "ack 1");
	confirm_free(c);
}

static void a_refusal_by_any_queue_is_a_nack_and_never_an_ack(void **state)
{
	struct confirm *c = begin();
	(void)state;
	confirm_begin(c, 2);
	confirm_begin(c, 1);
	settle(c, 1, true);
	settle(c, 1, false);
	EXPECT(c, "nack 1");
	settle(c, 2, false);
	EXPECT(c, "ack 2");
	confirm_free(c);
}

static void nacks_go_before_the_ack_that_spans_them(void **state)
{
	struct confirm *c = begin();
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		confirm_begin(c, 1);
	settle(c, 1, false);
	settle(c, 2, true);
	settle(c, 3, false);
	settle(c, 4, true);
	EXPECT(c, "nack 2", "nack 4", "ack 3 multiple");
	confirm_free(c);
}

static void outlives_its_channel_until_the_last_answer(void **state)
{
	struct confirm *c = begin();
	(void)state;
	confirm_begin(c, 1);
	confirm_begin(c, 1);
	confirm_free(c);
	settle(c, 1, false);
	settle(c, 2, false); /* frees; the address sanitizer watches */
	assert_int_equal(dirty_calls, 0);
}

static void many_outstanding_complete_in_any_order(void **state)
{
	enum { N = 10000 };
	struct confirm *c = begin();
	struct buf out = BUF_EMPTY;
	(void)state;
	for (unsigned i = 0; i < N; i++)
		confirm_begin(c, 1);
	for (unsigned i = N; i > 1; i--)
		settle(c, i, false);
	confirm_flush(c, &out, 7);
	buf_clear(&out);
	assert_int_equal(confirm_outstanding(c), N);
	settle(c, 1, false);
	assert_int_equal(confirm_outstanding(c), 0);
	buf_done(&out);
	EXPECT(c, "ack 10000 multiple");
	confirm_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_turns_prefix_is_one_ack),
		cmocka_unit_test(an_unroutable_publish_is_complete_at_once),
		cmocka_unit_test(what_completes_behind_a_gap_does_not_wait),
		cmocka_unit_test(every_queue_must_answer),
		cmocka_unit_test(a_refusal_by_any_queue_is_a_nack_and_never_an_ack),
		cmocka_unit_test(nacks_go_before_the_ack_that_spans_them),
		cmocka_unit_test(outlives_its_channel_until_the_last_answer),
		cmocka_unit_test(many_outstanding_complete_in_any_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

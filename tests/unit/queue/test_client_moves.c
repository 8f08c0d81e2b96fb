/* SPDX-License-Identifier: Apache-2.0
 *
 * A queue client, nodes that send it to one another, and the end of its queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/queue/client.h"

enum { GROUP = 5, SELF = 1, A = 2, B = 3, HINTS = 1000, HINTS_MAX = 3 };

struct outside {
	unsigned submits, resumes;
	uint64_t to; /* the last one */
	uint64_t first[8], end[8]; /* sequences of the sections submitted */
};

static void submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct outside *o = arg;
	const uint8_t *section = blob->data + COMMAND_ENTRY_HEADER;
	(void)group;
	(void)n;
	if (o->submits < 8) {
		o->first[o->submits] = load_u64le(section + 8);
		o->end[o->submits] = load_u64le(section + 8) + load_u32le(section + 24);
	}
	o->submits++;
	o->to = node;
	blob_unref(blob);
}

static bool resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct outside *o = arg;
	(void)group;
	(void)n;
	o->resumes++;
	o->to = node;
	blob_unref(blob);
	return true;
}

static uint64_t route(void *arg, uint64_t group, unsigned attempt)
{
	(void)arg;
	(void)group;
	(void)attempt;
	return A;
}

static void publish(struct queue_clients *qs, struct queue_publisher *pub, uint64_t tag)
{
	static const uint8_t names[] = {0, 0};
	struct message m = {.expiration_ms = ENQUEUE_NO_EXPIRATION, .envelope = slice_make(names, sizeof names)};
	queue_publish(queue_clients_get(qs, GROUP), &m, pub, tag);
	queue_clients_flush(qs);
}

static void begin(struct queue_clients **ret, struct outside *o)
{
	struct queue_border border = {.submit = submit, .resume = resume, .route = route, .arg = o};
	*ret = queue_clients_new(77, SELF, &border);
	publish(*ret, NULL, 0);
	assert_int_equal(o->submits, 1);
	assert_int_equal(o->to, A);
}

/* Each says that the other leads. */
static void hint_to_and_fro(struct queue_clients *qs)
{
	for (unsigned i = 0; i < HINTS; i++) {
		queue_clients_moved(qs, A, GROUP, B);
		queue_clients_moved(qs, B, GROUP, A);
	}
}

static void two_that_send_to_each_other_are_followed_at_a_pace(void **state)
{
	struct outside o = {0};
	struct queue_clients *qs;
	(void)state;
	begin(&qs, &o);
	hint_to_and_fro(qs);
	assert_int_equal(o.resumes, HINTS_MAX);
	assert_true(queue_clients_seek(qs));
	for (unsigned tick = 1; tick <= 10; tick++) {
		assert_true(queue_clients_tick(qs));
		hint_to_and_fro(qs);
		assert_true(o.resumes <= HINTS_MAX + tick * (HINTS_MAX + 1));
		assert_true(o.resumes > tick);
	}
	queue_clients_free(qs);
}

static void a_hint_that_was_right_is_followed_at_once_every_time(void **state)
{
	struct outside o = {0};
	struct queue_clients *qs;
	(void)state;
	begin(&qs, &o);
	for (unsigned i = 1; i <= 20; i++) {
		uint64_t from = o.to, to = from == A ? B : A;
		queue_clients_moved(qs, from, GROUP, to);
		assert_int_equal(o.resumes, i);
		assert_int_equal(o.to, to);
		queue_clients_resumed(qs, to, GROUP, i, i, UINT64_MAX - 1);
	}
	queue_clients_free(qs);
}

/* A channel that closes because its operation failed: it cancels its consumers meanwhile. */
struct closing_channel {
	struct queue_request operation, farewell;
	struct queue_consumer consumer;
	unsigned answered;
};

static void farewell_done(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct closing_channel *ch =
		(struct closing_channel *)((char *)r - offsetof(struct closing_channel, farewell));
	(void)d;
	assert_int_equal(a->status, MACHINE_GONE);
	ch->answered++;
}

static void operation_done(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct closing_channel *ch =
		(struct closing_channel *)((char *)r - offsetof(struct closing_channel, operation));
	(void)a;
	(void)d;
	queue_cancel(&ch->consumer, true, &ch->farewell);
}

static void who_asks_more_when_its_queue_ends_is_answered(void **state)
{
	struct outside o = {0};
	struct queue_clients *qs;
	struct closing_channel ch = {.operation.done = operation_done, .farewell.done = farewell_done};
	(void)state;
	begin(&qs, &o);
	ch.consumer.no = queue_clients_number(qs);
	queue_attach(queue_clients_get(qs, GROUP), &ch.consumer,
		&(struct command_attach){.consumer = ch.consumer.no}, &ch.operation);
	queue_clients_flush(qs);
	queue_clients_gone(qs, GROUP);
	assert_int_equal(ch.answered, 1);
	assert_null(ch.consumer.client);
	assert_false(queue_clients_has(qs, GROUP));
	assert_int_equal(queue_clients_backlog(qs), 0);
	queue_clients_free(qs);
}

struct heard {
	struct queue_publisher pub;
	struct queue_consumer consumer;
	uint64_t confirmed, refused;
	bool cancelled;
};

static void on_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct heard *h = (struct heard *)((char *)p - offsetof(struct heard, pub));
	*(refused ? &h->refused : &h->confirmed) |= UINT64_C(1) << tag;
}

static void on_cancelled(struct queue_consumer *c)
{
	((struct heard *)((char *)c - offsetof(struct heard, consumer)))->cancelled = true;
}

/* An operator has given up the node that had them: the next leader knows of the first of four sections. */
static void who_was_told_more_than_the_next_leader_has_begins_anew_there(void **state)
{
	struct outside o = {0};
	struct queue_clients *qs;
	struct heard h = {.pub.settled = on_settled, .consumer.cancelled = on_cancelled};
	(void)state;
	begin(&qs, &o);
	h.consumer.no = queue_clients_number(qs);
	queue_attach(queue_clients_get(qs, GROUP), &h.consumer,
		&(struct command_attach){.consumer = h.consumer.no}, NULL);
	queue_clients_flush(qs);
	publish(qs, &h.pub, 3);
	queue_clients_applied(qs, A, GROUP, 3);
	publish(qs, &h.pub, 4);
	assert_int_equal(h.confirmed, 1 << 3);
	queue_clients_led(qs, B, GROUP, 9);
	queue_clients_resumed(qs, B, GROUP, 1, 9, 1);
	assert_int_equal(h.refused, 1 << 4);
	assert_true(h.cancelled);
	/* Nothing is under way but that all consumers are over: B may know some that ended long ago. */
	struct buf cancel = BUF_EMPTY;
	command_put_cancel(&cancel, &(struct command_cancel){CONSUMER_ALL, true});
	assert_int_equal(queue_clients_backlog(qs), cancel.n);
	buf_done(&cancel);
	/* It passes over what was lost and what was given up, and is in step with the leader. */
	unsigned before = o.submits;
	publish(qs, &h.pub, 5);
	while (o.resumes < 2)
		queue_clients_tick(qs);
	assert_int_equal(o.submits, before + 2);
	assert_int_equal(o.first[before], 2);
	assert_int_equal(o.first[before + 1], o.end[before]);
	assert_true(o.end[before] > 5);
	queue_clients_resumed(qs, A, GROUP, 2, 9, 1);
	queue_clients_applied(qs, A, GROUP, o.end[before + 1] - 1);
	assert_int_equal(h.confirmed, 1 << 3 | 1 << 5);
	assert_int_equal(h.refused, 1 << 4);
	queue_clients_free(qs);
}

/* The link to B breaks, and A, which led before, has not heard of B: it has less, and nothing is lost. */
static void a_leader_of_an_older_term_is_not_believed(void **state)
{
	struct outside o = {0};
	struct queue_clients *qs;
	struct heard h = {.pub.settled = on_settled, .consumer.cancelled = on_cancelled};
	(void)state;
	begin(&qs, &o);
	h.consumer.no = queue_clients_number(qs);
	queue_attach(queue_clients_get(qs, GROUP), &h.consumer,
		&(struct command_attach){.consumer = h.consumer.no}, NULL);
	queue_clients_flush(qs);
	queue_clients_led(qs, B, GROUP, 9);
	queue_clients_resumed(qs, B, GROUP, 1, 9, 2);
	publish(qs, &h.pub, 3);
	queue_clients_applied(qs, B, GROUP, 3);
	publish(qs, &h.pub, 4);
	queue_clients_link_down(qs, B);
	assert_int_equal(o.to, A);
	assert_int_equal(o.resumes, 2);
	queue_clients_resumed(qs, A, GROUP, 2, 5, 2);
	assert_int_equal(h.refused, 0);
	assert_false(h.cancelled);
	/* Then A leads once more, with all that was applied. */
	while (o.resumes < 3)
		assert_true(queue_clients_tick(qs));
	queue_clients_resumed(qs, A, GROUP, 3, 10, 3);
	queue_clients_applied(qs, A, GROUP, 4);
	assert_int_equal(h.confirmed, 1 << 3 | 1 << 4);
	assert_int_equal(h.refused, 0);
	assert_false(h.cancelled);
	queue_clients_free(qs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_that_send_to_each_other_are_followed_at_a_pace),
		cmocka_unit_test(a_hint_that_was_right_is_followed_at_once_every_time),
		cmocka_unit_test(who_asks_more_when_its_queue_ends_is_answered),
		cmocka_unit_test(who_was_told_more_than_the_next_leader_has_begins_anew_there),
		cmocka_unit_test(a_leader_of_an_older_term_is_not_believed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

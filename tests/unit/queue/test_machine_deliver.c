/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets which message when: consumers, prefetch, credit, priorities, settling, gets.
 */
#include "tests/unit/queue/fixture.h"

static void enqueue_all(struct fixture *f, const char *bodies)
{
	for (; *bodies != '\0'; bodies++)
		enqueue(f, 9, (const char[]){*bodies, '\0'});
}

static void attach_with_priority(struct fixture *f, uint64_t client, int32_t priority)
{
	attach_as(f, client,
		&(struct command_attach){.consumer = 1,
			.priority = priority,
			.prefetch = 1,
			.credit_bytes = UINT64_MAX});
}

/* ---- order, prefetch and credit ---- */

static void a_consumer_gets_messages_in_the_order_of_their_enqueues(void **state)
{
	struct fixture *f = *state;
	enqueue_all(f, "abc");
	apply(f);
	assert_effects(f, "");
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "d");
	apply(f);
	assert_effects(
		f, "attach ok to 1; 1/1 gets a #1; 1/1 gets b #2; 1/1 gets c #3; 1/1 gets d #4");
	assert_int_equal(counts(f).unacked, 4);
	assert_int_equal(counts(f).unacked_bytes, 4);
}

static void a_consumer_without_acks_gets_a_message_that_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_NO_ACK, UNLIMITED);
	apply(f);
	enqueue(f, 2, "a");
	apply(f);
	assert_effects(f, "1/1 gets a #1");
	assert_notes(f, "release 2; applied 2:1");
	assert_int_equal(counts(f).unacked, 0);
	assert_int_equal(counts(f).delivered, 1);
}

static void prefetch_bounds_unsettled_deliveries(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 2);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; 1/1 gets b #2");
	settle(f, 1, 1, SETTLE_ACK, 2, 2);
	apply(f);
	assert_effects(f, "1/1 gets c #3");
	settle(f, 1, 1, SETTLE_ACK, 1, 3);
	apply(f);
	assert_effects(f, "1/1 gets d #4");
	assert_int_equal(counts(f).acked, 3);
}

static void prefetch_of_a_consumer_can_be_raised_and_lowered(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "abcdef");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1");
	prefetch(f, 1, 1, 3);
	apply(f);
	assert_effects(f, "1/1 gets b #2; 1/1 gets c #3");
	prefetch(f, 1, 1, 2);
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_effects(f, "");
	settle(f, 1, 1, SETTLE_ACK, 2, 2);
	apply(f);
	assert_effects(f, "1/1 gets d #4");
	prefetch(f, 1, 1, UNLIMITED);
	apply(f);
	assert_effects(f, "1/1 gets e #5; 1/1 gets f #6");
	prefetch(f, 1, 9, 1); /* nobody */
	apply(f);
	assert_effects(f, "");
}

static void without_acks_prefetch_does_not_count(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_NO_ACK, 1);
	enqueue_all(f, "ab");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; 1/1 gets b #2");
}

static void a_consumer_is_sent_messages_while_its_bytes_are_below_its_credit(void **state)
{
	struct fixture *f = *state;
	attach_as(f, 1, &(struct command_attach){.consumer = 1, .credit_bytes = CREDIT_OVERHEAD + 4});
	enqueue(f, 2, "abc");
	enqueue(f, 2, "def");
	enqueue(f, 2, "ghi");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets abc #1; 1/1 gets def #2");
	credit(f, 1, 1, 2 * (CREDIT_OVERHEAD + 3));
	apply(f);
	assert_effects(f, "");
	credit(f, 1, 1, 2 * (CREDIT_OVERHEAD + 3) + 1);
	apply(f);
	assert_effects(f, "1/1 gets ghi #3");
}

static void credit_does_not_shrink(void **state)
{
	struct fixture *f = *state;
	attach_as(f, 1, &(struct command_attach){.consumer = 1, .credit_bytes = 10});
	credit(f, 1, 1, 0);
	enqueue(f, 2, "a");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1");
}

/* ---- whose turn ---- */

static void consumers_take_turns(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	attach(f, 2, 1, 0, UNLIMITED);
	attach(f, 1, 2, 0, UNLIMITED);
	apply(f);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(f, "1/1 gets a #1; 2/1 gets b #1; 1/2 gets c #1; 1/1 gets d #2");
	enqueue_all(f, "e");
	apply(f);
	assert_effects(f, "2/1 gets e #2");
}

static void a_consumer_that_was_blocked_goes_to_the_end_of_the_line(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	attach(f, 2, 1, 0, 2);
	enqueue_all(f, "ab");
	apply(f);
	assert_effects(f, "attach ok to 1; attach ok to 2; 1/1 gets a #1; 2/1 gets b #1");
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	enqueue_all(f, "c");
	apply(f);
	assert_effects(f, "2/1 gets c #2");
}

static void a_higher_consumer_priority_is_served_first_while_it_has_credit(void **state)
{
	struct fixture *f = *state;
	attach_with_priority(f, 1, 0);
	attach_with_priority(f, 2, 5);
	attach_with_priority(f, 3, -5);
	apply(f);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(f, "2/1 gets a #1; 1/1 gets b #1; 3/1 gets c #1");
	settle(f, 3, 1, SETTLE_ACK, 1, 1);
	settle(f, 2, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_effects(f, "2/1 gets d #2");
}

static void higher_message_priorities_are_delivered_first(void **state)
{
	struct fixture *f = *state;
	f->config.max_priority = 2;
	configure(f);
	enqueue_all(f, "a");
	f->level = 2;
	enqueue_all(f, "b");
	f->level = 1;
	enqueue_all(f, "c");
	f->level = 9; /* clamped to 2 */
	enqueue_all(f, "d");
	f->level = 0;
	enqueue_all(f, "e");
	attach(f, 1, 1, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets b #1; 1/1 gets d #2; 1/1 gets c #3; "
			  "1/1 gets a #4; 1/1 gets e #5");
}

/* ---- settling ---- */

static void returned_messages_go_back_to_their_old_place(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 3);
	enqueue_all(f, "abcde");
	apply(f);
	cancel(f, 1, 1, false);
	settle(f, 1, 1, SETTLE_REQUEUE, 3, 3);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_int_equal(counts(f).ready, 4);
	attach(f, 2, 1, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 2; 2/1 gets a #1 again 1; 2/1 gets c #2 again 1; "
			  "2/1 gets d #3; 2/1 gets e #4");
	assert_int_equal(counts(f).redelivered, 2);
}

static void returns_are_counted_per_message(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "a");
	apply(f);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_effects(f, "1/1 gets a #2 again 1");
	settle(f, 1, 1, SETTLE_REQUEUE, 2, 2);
	apply(f);
	assert_effects(f, "1/1 gets a #3 again 2");
}

static void settling_twice_or_what_was_never_delivered_does_nothing(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "ab");
	apply(f);
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	settle(f, 1, 1, SETTLE_ACK, 5, 9);
	settle(f, 1, 1, SETTLE_ACK, 9, 5);
	settle(f, 1, 7, SETTLE_ACK, 1, 1);
	settle(f, 3, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_effects(f, "1/1 gets b #2");
	assert_int_equal(counts(f).unacked, 1);
	assert_int_equal(counts(f).acked, 1);
}

static void acks_out_of_order_leave_the_others_unsettled(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "abcdefgh");
	apply(f);
	for (uint64_t number = 8; number > 1; number -= 2)
		settle(f, 1, 1, SETTLE_ACK, number, number);
	apply(f);
	assert_int_equal(counts(f).unacked, 4);
	client_down(f, 1, false);
	apply(f);
	attach(f, 2, 1, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 2; 2/1 gets a #1 again 1; 2/1 gets c #2 again 1; "
			  "2/1 gets e #3 again 1; 2/1 gets g #4 again 1");
}

static void rejected_messages_are_gone(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "a");
	apply(f);
	settle(f, 1, 1, SETTLE_REJECT, 1, 1);
	apply(f);
	assert_effects(f, "");
	assert_notes(f, "release 1; release 2; applied 1:2");
	assert_int_equal(counts(f).dropped, 1);
}

/* ---- cancelling ---- */

static void a_cancelled_consumer_keeps_its_unsettled_deliveries(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "ab");
	apply(f);
	cancel(f, 1, 1, false);
	enqueue_all(f, "c");
	apply(f);
	assert_effects(f, "cancel ok to 1");
	assert_int_equal(counts(f).consumers, 0);
	assert_int_equal(counts(f).unacked, 2);
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	settle(f, 1, 1, SETTLE_REQUEUE, 2, 2);
	apply(f);
	assert_int_equal(counts(f).unacked, 0);
	assert_int_equal(counts(f).ready, 2);
}

static void cancelling_with_requeue_returns_them(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "ab");
	apply(f);
	attach(f, 2, 1, 0, UNLIMITED);
	cancel(f, 1, 1, true);
	apply(f);
	assert_effects(
		f, "attach ok to 2; cancel ok to 1; 2/1 gets a #1 again 1; 2/1 gets b #2 again 1");
}

static void cancelling_again_with_requeue_returns_what_was_kept(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "a");
	apply(f);
	cancel(f, 1, 1, false);
	cancel(f, 1, 1, true);
	apply(f);
	assert_effects(f, "cancel ok to 1; cancel ok to 1");
	assert_int_equal(counts(f).ready, 1);
}

static void cancelling_all_returns_what_the_client_has_and_no_other(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	attach(f, 1, 2, 0, 1);
	attach(f, 2, 1, 0, 1);
	enqueue_all(f, "abc");
	apply(f);
	assert_int_equal(counts(f).unacked, 3);
	cancel(f, 1, 1, false);
	cancel(f, 1, CONSUMER_ALL, true);
	apply(f);
	assert_int_equal(counts(f).unacked, 1);
	assert_int_equal(counts(f).ready, 2);
	assert_int_equal(counts(f).consumers, 1);
}

static void cancelling_an_unknown_consumer_is_fine(void **state)
{
	struct fixture *f = *state;
	cancel(f, 1, 1, true);
	apply(f);
	assert_effects(f, "cancel ok to 1");
}

static void attaching_again_changes_nothing(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	attach(f, 1, 1, 0, 5);
	enqueue_all(f, "ab");
	apply(f);
	assert_effects(f, "attach ok to 1; attach ok to 1; 1/1 gets a #1");
	assert_int_equal(counts(f).consumers, 1);
}

static void deliveries_can_be_asked_for_again(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "abcd");
	apply(f);
	settle(f, 1, 1, SETTLE_ACK, 3, 3);
	apply(f);
	machine_redeliver(f->m, 1, 1, 1, &fixture_sink, f);
	assert_effects(f, "1/1 gets b #2; 1/1 gets d #4");
	machine_redeliver(f->m, 1, 2, 0, &fixture_sink, f);
	machine_redeliver(f->m, 1, 1, UINT64_MAX, &fixture_sink, f);
	assert_effects(f, "1/1 gets b #2; 1/1 gets d #4");
}

/* ---- exclusive and single active consumers ---- */

static void an_exclusive_consumer_keeps_others_away(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_EXCLUSIVE, UNLIMITED);
	attach(f, 2, 1, 0, UNLIMITED);
	attach(f, 2, 2, ATTACH_GET, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 1; attach exclusive to 2; attach ok to 2");
	cancel(f, 1, 1, false);
	attach(f, 2, 3, 0, UNLIMITED);
	attach(f, 1, 2, ATTACH_EXCLUSIVE, UNLIMITED);
	apply(f);
	assert_effects(f, "cancel ok to 1; attach ok to 2; attach exclusive to 1");
}

static void an_exclusive_consumer_is_refused_with_a_single_active_one(void **state)
{
	struct fixture *f = *state;
	f->config.single_active = true;
	configure(f);
	attach(f, 1, 1, ATTACH_EXCLUSIVE, UNLIMITED);
	apply(f);
	assert_effects(f, "attach exclusive to 1");
}

static void the_first_consumer_stays_the_single_active_one(void **state)
{
	struct fixture *f = *state;
	f->config.single_active = true;
	configure(f);
	attach_with_priority(f, 1, 0);
	attach_with_priority(f, 2, 5);
	attach_with_priority(f, 3, 7);
	attach_with_priority(f, 4, 7);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(
		f, "attach ok to 1; attach ok to 2; attach ok to 3; attach ok to 4; 1/1 gets a #1");
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_effects(f, "1/1 gets b #2");
	/* Its unsettled delivery does not hold up the next, which is the first of the highest. */
	cancel(f, 1, 1, false);
	apply(f);
	assert_effects(f, "cancel ok to 1; 3/1 gets c #1");
	client_down(f, 3, false);
	apply(f);
	assert_effects(f, "4/1 gets c #1 again 1");
}

static void a_queue_may_stop_having_a_single_active_consumer_and_begin_again(void **state)
{
	struct fixture *f = *state;
	f->config.single_active = true;
	configure(f);
	attach_with_priority(f, 1, 0);
	attach_with_priority(f, 2, 0);
	enqueue_all(f, "abc");
	apply(f);
	f->config.single_active = false;
	configure(f);
	assert_effects(f, "2/1 gets b #1");
	f->config.single_active = true;
	settle(f, 2, 1, SETTLE_ACK, 1, 1);
	configure(f);
	assert_effects(f, ""); /* 1/1 is the one again, and has what it can hold */
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_effects(f, "1/1 gets c #2");
}

/* ---- get ---- */

static void a_get_takes_one_message_and_tells_how_many_are_left(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	enqueue_all(f, "abc");
	get(f, 1, 1, false);
	get(f, 1, 1, true);
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 got a #1; get ok to 1; 2 left; 1/1 got b #2; "
			  "get ok to 1; 1 left");
	assert_int_equal(counts(f).unacked, 2); /* b until 1 has heard of it */
	assert_int_equal(counts(f).consumers, 0);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 2);
	get(f, 1, 1, true);
	apply(f);
	assert_effects(f, "1/1 got a #3 again 1; get ok to 1; 1 left");
}

static void a_get_of_nothing_is_empty(void **state)
{
	struct fixture *f = *state;
	get(f, 1, 1, false);
	apply(f);
	assert_effects(f, "get empty to 1; 0 left");
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	get(f, 1, 1, false);
	apply(f);
	assert_effects(f, "attach ok to 1; get empty to 1; 0 left");
}

static void a_waiting_consumer_goes_before_a_get(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	attach(f, 2, 1, 0, 1);
	enqueue_all(f, "ab");
	get(f, 1, 1, false);
	apply(f);
	assert_effects(f, "attach ok to 1; attach ok to 2; 2/1 gets a #1; 1/1 got b #1; "
			  "get ok to 1; 0 left");
}

static void a_get_is_refused_with_a_single_active_consumer(void **state)
{
	struct fixture *f = *state;
	f->config.single_active = true;
	configure(f);
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	enqueue_all(f, "a");
	get(f, 1, 1, false);
	apply(f);
	assert_effects(f, "attach ok to 1; get single active to 1; 0 left");
}

static void a_get_by_a_consumer_that_has_messages_pushed_is_empty(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "ab");
	get(f, 1, 1, false);
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; get empty to 1; 1 left");
}

/* ---- purge, status ---- */

static void a_purge_removes_what_is_ready(void **state)
{
	struct fixture *f = *state;
	f->config.max_priority = 1;
	f->config.dead_letter = true;
	configure(f);
	attach(f, 1, 1, 0, 2);
	enqueue_all(f, "abcd");
	f->level = 1;
	enqueue_all(f, "ef");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets e #1; 1/1 gets f #2");
	cancel(f, 1, 1, false);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	purge(f, 2);
	apply(f);
	assert_effects(f, "cancel ok to 1; purge ok to 2; 5 left");
	assert_int_equal(counts(f).ready, 0);
	assert_int_equal(counts(f).ready_bytes, 0);
	assert_int_equal(counts(f).unacked, 1);
	status(f, 2, false);
	apply(f);
	assert_effects(f, "status ok to 2; 0 left; 0 consumers");
}

static void status_tells_ready_messages_and_consumers(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	attach(f, 1, 2, ATTACH_GET, 1);
	enqueue_all(f, "abc");
	status(f, 2, false);
	apply(f);
	assert_effects(f, "attach ok to 1; attach ok to 1; 1/1 gets a #1; status ok to 2; 2 left; "
			  "1 consumers");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_consumer_gets_messages_in_the_order_of_their_enqueues),
		STORY(a_consumer_without_acks_gets_a_message_that_leaves_no_trace),
		STORY(prefetch_bounds_unsettled_deliveries),
		STORY(prefetch_of_a_consumer_can_be_raised_and_lowered),
		STORY(without_acks_prefetch_does_not_count),
		STORY(a_consumer_is_sent_messages_while_its_bytes_are_below_its_credit),
		STORY(credit_does_not_shrink),
		STORY(consumers_take_turns),
		STORY(a_consumer_that_was_blocked_goes_to_the_end_of_the_line),
		STORY(a_higher_consumer_priority_is_served_first_while_it_has_credit),
		STORY(higher_message_priorities_are_delivered_first),
		STORY(returned_messages_go_back_to_their_old_place),
		STORY(returns_are_counted_per_message),
		STORY(settling_twice_or_what_was_never_delivered_does_nothing),
		STORY(acks_out_of_order_leave_the_others_unsettled),
		STORY(rejected_messages_are_gone),
		STORY(a_cancelled_consumer_keeps_its_unsettled_deliveries),
		STORY(cancelling_with_requeue_returns_them),
		STORY(cancelling_again_with_requeue_returns_what_was_kept),
		STORY(cancelling_all_returns_what_the_client_has_and_no_other),
		STORY(cancelling_an_unknown_consumer_is_fine),
		STORY(attaching_again_changes_nothing),
		STORY(deliveries_can_be_asked_for_again),
		STORY(an_exclusive_consumer_keeps_others_away),
		STORY(an_exclusive_consumer_is_refused_with_a_single_active_one),
		STORY(the_first_consumer_stays_the_single_active_one),
		STORY(a_queue_may_stop_having_a_single_active_consumer_and_begin_again),
		STORY(a_get_takes_one_message_and_tells_how_many_are_left),
		STORY(a_get_of_nothing_is_empty),
		STORY(a_waiting_consumer_goes_before_a_get),
		STORY(a_get_is_refused_with_a_single_active_consumer),
		STORY(a_get_by_a_consumer_that_has_messages_pushed_is_empty),
		STORY(a_purge_removes_what_is_ready),
		STORY(status_tells_ready_messages_and_consumers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

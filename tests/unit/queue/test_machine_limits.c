/* SPDX-License-Identifier: Apache-2.0
 *
 * How messages and queues end other than by an ack: time to live, limits, dead letters, expiry,
 * auto-delete, delete.
 */
#include "src/queue/dead.h"
#include "tests/unit/queue/fixture.h"

static void enqueue_all(struct fixture *f, const char *bodies)
{
	for (; *bodies != '\0'; bodies++)
		enqueue(f, 9, (const char[]){*bodies, '\0'});
}

/* With a dead letter exchange, so that deaths show. */
static void configure_dlx(struct fixture *f)
{
	f->config.dead_letter = true;
	f->config.dlx = slice_str("dlx");
	configure(f);
}

/* ---- time to live ---- */

static void a_message_expires_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 100;
	configure_dlx(f);
	enqueue_all(f, "ab");
	apply_at(f, 2000);
	assert_int_equal(machine_deadline(f->m), 2100);
	apply_at(f, 2099);
	assert_effects(f, "");
	apply_at(f, 2100);
	assert_effects(f, "dead a (1) expired at 2100; dead b (2) expired at 2100");
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
	assert_int_equal(counts(f).dropped, 2);
	assert_int_equal(counts(f).dead, 2);
}

static void the_smaller_of_the_queues_and_the_messages_ttl_wins(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 100;
	configure_dlx(f);
	f->expiration_ms = 50;
	enqueue_all(f, "a");
	f->expiration_ms = 500;
	enqueue_all(f, "b");
	apply(f);
	assert_int_equal(machine_deadline(f->m), 1050);
	apply_at(f, 1050);
	assert_effects(f, "dead a (1) expired at 1050");
	apply_at(f, 1100);
	assert_effects(f, "dead b (2) expired at 1100");
}

static void only_heads_expire(void **state)
{
	struct fixture *f = *state;
	configure_dlx(f);
	enqueue_all(f, "a");
	f->expiration_ms = 10;
	enqueue_all(f, "bc");
	apply(f);
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
	apply_at(f, 5000);
	assert_effects(f, "");
	assert_int_equal(counts(f).ready, 3);
	/* But an expired message is never delivered. */
	attach(f, 1, 1, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; dead b (2) expired at 5000; "
			  "dead c (3) expired at 5000");
}

static void the_head_of_every_priority_expires(void **state)
{
	struct fixture *f = *state;
	f->config.max_priority = 1;
	configure_dlx(f);
	f->level = 1;
	enqueue_all(f, "a");
	f->level = 0;
	f->expiration_ms = 10;
	enqueue_all(f, "b");
	apply(f);
	assert_int_equal(machine_deadline(f->m), 1010);
	apply_at(f, 1010);
	assert_effects(f, "dead b (2) expired at 1010");
}

static void ttl_0_is_at_once_or_never(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 0;
	configure_dlx(f);
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "ab");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; dead b (2) expired at 1000");
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_effects(f, "dead a (1) expired at 1000");
	attach(f, 2, 1, ATTACH_NO_ACK, UNLIMITED);
	apply(f);
	enqueue_all(f, "cd");
	apply(f);
	assert_effects(f, "1/1 gets c #2; 2/1 gets d #1");
}

static void returned_messages_keep_their_deadline(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 100;
	configure_dlx(f);
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "a");
	apply(f);
	cancel(f, 1, 1, false);
	apply_at(f, 1200);
	assert_effects(f, "cancel ok to 1"); /* checked out: it does not expire */
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_effects(f, "dead a (1) expired at 1200");
}

static void a_new_ttl_holds_for_messages_that_are_there(void **state)
{
	struct fixture *f = *state;
	configure_dlx(f);
	enqueue_all(f, "a");
	apply_at(f, 2000);
	f->config.message_ttl_ms = 500;
	configure(f);
	assert_int_equal(machine_deadline(f->m), 2500);
	f->config.message_ttl_ms = CONFIG_NONE;
	configure(f);
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
}

static void time_does_not_go_back(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 100;
	configure(f);
	apply_at(f, 5000);
	enqueue_all(f, "a");
	apply_at(f, 3000);
	assert_int_equal(machine_stamp(f->m), 5000);
	assert_int_equal(machine_deadline(f->m), 5100);
}

static void a_ttl_beyond_the_end_of_time_is_none(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = UINT64_MAX - 5;
	f->config.expires_ms = UINT64_MAX - 5;
	configure(f);
	enqueue_all(f, "a");
	apply(f);
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
}

/* ---- limits ---- */

static void drop_head_drops_the_oldest(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 2;
	configure_dlx(f);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(f, "dead a (1) maxlen at 1000; dead b (2) maxlen at 1000");
	assert_int_equal(counts(f).ready, 2);
	assert_int_equal(counts(f).published, 4);
}

static void drop_head_drops_the_highest_priority_first(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 2;
	f->config.max_priority = 1;
	configure_dlx(f);
	f->level = 1;
	enqueue_all(f, "a");
	f->level = 0;
	enqueue_all(f, "bc");
	apply(f);
	assert_effects(f, "dead a (1) maxlen at 1000");
}

static void max_bytes_counts_bodies(void **state)
{
	struct fixture *f = *state;
	f->config.max_bytes = 5;
	configure_dlx(f);
	enqueue(f, 1, "abc");
	enqueue(f, 1, "de");
	apply(f);
	assert_effects(f, "");
	enqueue(f, 1, "f");
	apply(f);
	assert_effects(f, "dead abc (1) maxlen at 1000");
	enqueue(f, 1, "too long");
	apply(f);
	assert_effects(f, "dead de (2) maxlen at 1000; dead f (3) maxlen at 1000; "
			  "dead too long (4) maxlen at 1000");
}

static void checked_out_messages_do_not_count(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 1;
	configure_dlx(f);
	attach(f, 1, 1, 0, 2);
	enqueue_all(f, "abc");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; 1/1 gets b #2");
	/* One that comes back does. */
	cancel(f, 1, 1, false);
	settle(f, 1, 1, SETTLE_REQUEUE, 2, 2);
	apply(f);
	assert_effects(f, "cancel ok to 1; dead b (2) maxlen at 1000");
}

static void what_a_consumer_can_take_does_not_count(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 0;
	f->config.overflow = OVERFLOW_REJECT;
	configure(f);
	attach(f, 1, 1, 0, 2);
	enqueue_all(f, "abc");
	apply(f);
	assert_effects(f, "attach ok to 1; 1/1 gets a #1; 1/1 gets b #2; refused 9:3");
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	enqueue_all(f, "d");
	apply(f);
	assert_effects(f, "1/1 gets d #3");
}

static void reject_publish_refuses_the_newest(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 2;
	f->config.overflow = OVERFLOW_REJECT;
	configure_dlx(f);
	enqueue_all(f, "abcd");
	apply(f);
	assert_effects(f, "refused 9:3; refused 9:4");
	assert_int_equal(counts(f).ready, 2);
	assert_int_equal(counts(f).published, 2);
}

static void reject_publish_dlx_also_dead_letters(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 1;
	f->config.overflow = OVERFLOW_REJECT_DLX;
	configure_dlx(f);
	enqueue_all(f, "a");
	apply(f);
	enqueue_all(f, "b");
	apply(f);
	assert_effects(f, "refused 9:2; dead b (2) maxlen at 1000");
	assert_notes(f, "applied 9:2"); /* the entry is needed */
	assert_int_equal(counts(f).dead, 1);
	assert_int_equal(counts(f).ready_bytes, 1);
	dead_is_done(f, 2);
	apply(f);
	assert_notes(f, "release 3; release 4");
	assert_int_equal(counts(f).dead, 0);
}

static void without_an_exchange_reject_publish_dlx_only_refuses(void **state)
{
	struct fixture *f = *state;
	f->config.max_length = 0;
	f->config.overflow = OVERFLOW_REJECT_DLX;
	configure(f);
	enqueue_all(f, "a");
	apply(f);
	assert_effects(f, "refused 9:1");
	assert_int_equal(counts(f).dead, 0);
}

static void a_smaller_limit_drops_at_once(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 200; i++)
		enqueue_all(f, "x");
	apply(f);
	f->config.max_length = 10;
	f->config.overflow = OVERFLOW_REJECT;
	configure(f);
	assert_int_equal(counts(f).ready, 200);
	f->config.overflow = OVERFLOW_DROP_HEAD;
	configure(f);
	assert_int_equal(counts(f).ready, 10);
	assert_int_equal(counts(f).dropped, 190);
}

/* ---- dead letters ---- */

static void without_an_exchange_dead_messages_are_gone(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 10;
	configure(f);
	enqueue_all(f, "abc");
	apply(f);
	apply_at(f, 2000);
	assert_effects(f, "");
	assert_notes(f, "release 2; release 3");
	assert_int_equal(counts(f).dropped, 3);
}

static void a_dead_letter_stays_until_it_is_done(void **state)
{
	struct fixture *f = *state;
	configure_dlx(f);
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "ab");
	apply(f);
	settle(f, 1, 1, SETTLE_REJECT, 1, 2);
	apply(f);
	assert_effects(f, "dead a (1) rejected at 1000; dead b (2) rejected at 1000");
	assert_int_equal(counts(f).dead, 2);
	assert_int_equal(counts(f).unacked, 0);
	dead_is_done(f, 2);
	dead_is_done(f, 2);
	dead_is_done(f, 77);
	apply(f);
	assert_notes(f, "release 4");
	dead_is_done(f, 1);
	apply(f);
	assert_notes(f, "release 2; release 5");
}

static void a_new_leader_learns_which_dead_letters_are_out(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 10;
	configure_dlx(f);
	enqueue_all(f, "ab");
	apply(f);
	apply_at(f, 1010);
	dead_is_done(f, 1);
	apply_at(f, 1500);
	assert_effects(f, "");
	machine_resume(f->m, &fixture_sink, f);
	assert_effects(f, "dead b (2) expired at 1010");
}

static void only_so_many_dead_letters_are_out_at_a_time(void **state)
{
	struct fixture *f = *state;
	f->config.message_ttl_ms = 10;
	configure_dlx(f);
	for (unsigned i = 0; i < DEAD_WINDOW + 3; i++) {
		char body[16];
		snprintf(body, sizeof body, "%u", i + 1);
		enqueue(f, 9, body);
	}
	apply(f);
	apply_at(f, 1010);
	assert_int_equal(counts(f).dead, DEAD_WINDOW + 3);
	dead_is_done(f, DEAD_WINDOW + 1); /* not out: nothing happens */
	apply(f);
	assert_effects(f, "");
	dead_is_done(f, 2);
	dead_is_done(f, 1);
	apply_at(f, 2000);
	assert_effects(f, "dead 257 (257) expired at 1010; dead 258 (258) expired at 1010");
	assert_int_equal(counts(f).dead, DEAD_WINDOW + 1);
}

static void returns_beyond_the_limit_are_deaths(void **state)
{
	struct fixture *f = *state;
	f->config.delivery_limit = 2;
	configure_dlx(f);
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "a");
	apply(f);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_effects(f, "1/1 gets a #2 again 1");
	attach(f, 2, 1, 0, UNLIMITED);
	cancel(f, 1, 1, true);
	apply(f);
	assert_effects(f, "attach ok to 2; cancel ok to 1; 2/1 gets a #1 again 2");
	client_down(f, 2, false);
	apply(f);
	assert_effects(f, "dead a (1) delivery limit at 1000");
}

static void a_delivery_limit_of_0_allows_no_return(void **state)
{
	struct fixture *f = *state;
	f->config.delivery_limit = 0;
	configure(f);
	attach(f, 1, 1, 0, UNLIMITED);
	enqueue_all(f, "a");
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1); /* not delivered yet */
	apply(f);
	settle(f, 1, 1, SETTLE_REQUEUE, 1, 1);
	apply(f);
	assert_effects(f, "");
	assert_int_equal(counts(f).dropped, 1);
}

/* ---- the queue's end ---- */

static void an_unused_queue_expires(void **state)
{
	struct fixture *f = *state;
	f->config.expires_ms = 100;
	configure(f);
	assert_int_equal(machine_deadline(f->m), 1100);
	enqueue_all(f, "a"); /* publishing is no use */
	apply_at(f, 1099);
	assert_effects(f, "");
	apply_at(f, 1100);
	assert_effects(f, "ended, expired");
	assert_notes(f, "");
	assert_true(machine_gone(f->m));
	assert_int_equal(counts(f).ready, 0);
	apply_at(f, 3000);
	assert_effects(f, "");
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
}

static void use_renews_the_lease(void **state)
{
	struct fixture *f = *state;
	f->config.expires_ms = 100;
	configure(f);
	status(f, 1, true);
	apply_at(f, 1050);
	assert_int_equal(machine_deadline(f->m), 1150);
	status(f, 1, false);
	apply_at(f, 1060);
	assert_int_equal(machine_deadline(f->m), 1150);
	get(f, 1, 1, false);
	apply_at(f, 1070);
	assert_int_equal(machine_deadline(f->m), 1170);
	attach(f, 1, 1, 0, UNLIMITED);
	apply_at(f, 1080);
	assert_int_equal(machine_deadline(f->m), UINT64_MAX);
	cancel(f, 1, 1, true);
	apply_at(f, 2000);
	assert_int_equal(machine_deadline(f->m), 2100);
}

static void a_consumer_for_gets_does_not_hold_the_queue(void **state)
{
	struct fixture *f = *state;
	f->config.expires_ms = 100;
	f->config.auto_delete = true;
	configure(f);
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	cancel(f, 1, 1, true);
	attach(f, 1, 2, ATTACH_GET, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 1; cancel ok to 1; attach ok to 1");
	apply_at(f, 1100);
	assert_effects(f, "ended, expired");
}

static void an_auto_delete_queue_ends_when_its_last_consumer_leaves(void **state)
{
	struct fixture *f = *state;
	f->config.auto_delete = true;
	configure(f);
	cancel(f, 1, 1, true);
	client_down(f, 3, false);
	apply(f);
	assert_effects(f, "cancel ok to 1"); /* never had one */
	attach(f, 1, 1, 0, UNLIMITED);
	attach(f, 1, 2, 0, UNLIMITED);
	enqueue_all(f, "a");
	apply(f);
	cancel(f, 1, 1, false);
	apply(f);
	assert_effects(f, "cancel ok to 1");
	cancel(f, 1, 2, false);
	enqueue_all(f, "b");
	attach(f, 1, 3, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "ended; cancel gone to 1; attach gone to 1");
}

static void an_auto_delete_queue_ends_when_its_clients_go_down(void **state)
{
	struct fixture *f = *state;
	f->config.auto_delete = true;
	configure(f);
	attach(f, 1, 1, 0, UNLIMITED);
	attach(f, 1, 2, 0, UNLIMITED);
	enqueue_all(f, "ab");
	apply(f);
	client_down(f, 1, false);
	apply(f);
	assert_effects(f, "ended");
}

static void a_deleted_queue_tells_its_consumers_and_is_gone(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	attach(f, 2, 1, 0, 1);
	attach(f, 2, 2, ATTACH_GET, 1);
	enqueue_all(f, "abc");
	apply(f);
	cancel(f, 2, 1, false);
	delete_queue(f, 3, false, false);
	enqueue_all(f, "d");
	attach(f, 1, 2, 0, 1);
	cancel(f, 1, 1, true);
	get(f, 2, 2, true);
	purge(f, 1);
	delete_queue(f, 1, false, false);
	status(f, 1, true);
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	credit(f, 1, 1, 1);
	dead_is_done(f, 1);
	client_down(f, 2, false);
	apply(f);
	assert_effects(f, "cancel ok to 2; delete ok to 3; 1 left; 1 consumers; cancelled 1/1; "
			  "attach gone to 1; cancel gone to 1; get gone to 2; 0 left; "
			  "purge gone to 1; 0 left; delete gone to 1; 0 left; 0 consumers; "
			  "status gone to 1; 0 left; 0 consumers");
	assert_notes(f, "applied 3:1; applied 9:4; applied 1:8");
	f->config.max_length = 1;
	configure(f);
	assert_effects(f, "");
	struct buf live = BUF_EMPTY;
	machine_live(f->m, 0, &live);
	assert_int_equal(live.n, 0);
}

static void a_delete_may_want_the_queue_empty_or_unused(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, 1);
	enqueue_all(f, "ab");
	delete_queue(f, 1, true, true);
	delete_queue(f, 1, true, false);
	purge(f, 1);
	delete_queue(f, 1, true, true);
	apply(f);
	assert_effects(f,
		"attach ok to 1; 1/1 gets a #1; delete not empty to 1; 1 left; 1 consumers; "
		"delete in use to 1; 1 left; 1 consumers; purge ok to 1; 1 left; "
		"delete in use to 1; 0 left; 1 consumers");
	cancel(f, 1, 1, true);
	purge(f, 1);
	delete_queue(f, 1, true, true);
	apply(f);
	assert_effects(
		f, "cancel ok to 1; purge ok to 1; 1 left; delete ok to 1; 0 left; 0 consumers");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_message_expires_at_its_deadline),
		STORY(the_smaller_of_the_queues_and_the_messages_ttl_wins),
		STORY(only_heads_expire),
		STORY(the_head_of_every_priority_expires),
		STORY(ttl_0_is_at_once_or_never),
		STORY(returned_messages_keep_their_deadline),
		STORY(a_new_ttl_holds_for_messages_that_are_there),
		STORY(time_does_not_go_back),
		STORY(a_ttl_beyond_the_end_of_time_is_none),
		STORY(drop_head_drops_the_oldest),
		STORY(drop_head_drops_the_highest_priority_first),
		STORY(max_bytes_counts_bodies),
		STORY(checked_out_messages_do_not_count),
		STORY(what_a_consumer_can_take_does_not_count),
		STORY(reject_publish_refuses_the_newest),
		STORY(reject_publish_dlx_also_dead_letters),
		STORY(without_an_exchange_reject_publish_dlx_only_refuses),
		STORY(a_smaller_limit_drops_at_once),
		STORY(without_an_exchange_dead_messages_are_gone),
		STORY(a_dead_letter_stays_until_it_is_done),
		STORY(a_new_leader_learns_which_dead_letters_are_out),
		STORY(only_so_many_dead_letters_are_out_at_a_time),
		STORY(returns_beyond_the_limit_are_deaths),
		STORY(a_delivery_limit_of_0_allows_no_return),
		STORY(an_unused_queue_expires),
		STORY(use_renews_the_lease),
		STORY(a_consumer_for_gets_does_not_hold_the_queue),
		STORY(an_auto_delete_queue_ends_when_its_last_consumer_leaves),
		STORY(an_auto_delete_queue_ends_when_its_clients_go_down),
		STORY(a_deleted_queue_tells_its_consumers_and_is_gone),
		STORY(a_delete_may_want_the_queue_empty_or_unused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries and sections: what is applied once, who is told, which entries are still needed, what
 * malformed bytes do.
 */
#include "tests/unit/queue/fixture.h"

/* A section of `n` enqueues of one body each, as sent by a client. */
static void section(struct fixture *f, uint64_t client, uint64_t first_seq, const char *bodies)
{
	size_t begin = fixture_section(f);
	for (const char *p = bodies; *p != '\0'; p++) {
		struct message m = {.expiration_ms = ENQUEUE_NO_EXPIRATION,
			.envelope = slice_make("\0\1k", 3),
			.props = slice_str(""),
			.body = slice_make(p, 1)};
		command_put_enqueue(buf_put(&f->entry, command_enqueue_size(&m)), &m);
	}
	command_put_section_header(f->entry.p + begin, client, first_seq, 0, (uint32_t)strlen(bodies),
		(uint32_t)(f->entry.n - begin - COMMAND_SECTION_HEADER));
}

static void consume(struct fixture *f)
{
	attach(f, 1, 1, ATTACH_NO_ACK, UNLIMITED);
	apply(f);
}

static uint64_t (*live_of(const struct fixture *f, uint64_t after, size_t *ret_n))[2]
{
	static uint64_t ranges[100][2];
	struct buf b = BUF_EMPTY;
	machine_live(f->m, after, &b);
	assert_true(b.n <= sizeof ranges);
	if (b.n > 0)
		memcpy(ranges, b.p, b.n);
	*ret_n = b.n / sizeof ranges[0];
	buf_done(&b);
	return ranges;
}

/* ---- applied once ---- */

static void a_repeated_section_does_nothing_but_is_told(void **state)
{
	struct fixture *f = *state;
	consume(f);
	section(f, 5, 1, "ab");
	apply(f);
	assert_effects(f, "1/1 gets a #1; 1/1 gets b #2");
	section(f, 5, 1, "ab");
	apply(f);
	assert_effects(f, "");
	assert_notes(f, "release 3; applied 5:2");
}

static void of_a_section_repeated_in_part_the_new_is_applied(void **state)
{
	struct fixture *f = *state;
	consume(f);
	section(f, 5, 1, "ab");
	apply(f);
	section(f, 5, 2, "bcd");
	apply(f);
	assert_effects(f, "1/1 gets c #3; 1/1 gets d #4");
	assert_notes(f, "release 3; applied 5:4");
}

/* The last entry's sections once more, as after a change of leader. */
static void apply_again(struct fixture *f)
{
	struct buf *last = &f->entries[f->index];
	buf_put_bytes(&f->entry, last->p + COMMAND_ENTRY_HEADER, last->n - COMMAND_ENTRY_HEADER);
	apply(f);
}

static void a_repeated_request_is_answered_as_it_was(void **state)
{
	struct fixture *f = *state;
	f->deaf = true;
	section(f, 5, 1, "abc");
	apply(f);
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	get(f, 1, 1, false);
	status(f, 2, true);
	get(f, 1, 1, true);
	purge(f, 2);
	get(f, 1, 1, false);
	cancel(f, 1, 1, false);
	static const char *const effects =
		"attach ok to 1; 1/1 got a #1; get ok to 1; 2 left; status ok to 2; 2 left; 0 "
		"consumers; 1/1 got b #2; get ok to 1; 1 left; purge ok to 2; 1 left; "
		"get empty to 1; 0 left; cancel ok to 1";
	apply(f);
	assert_effects(f, effects);
	section(f, 5, 4, "d"); /* changes nothing for what was answered */
	struct machine_counts before = counts(f);
	apply_again(f);
	assert_effects(f, effects);
	assert_int_equal(counts(f).ready, before.ready + 1);
	assert_int_equal(counts(f).unacked, before.unacked);
	f->deaf = false;
	status(f, 1, false); /* has heard of all */
	apply(f);
	assert_int_equal(counts(f).acked, 1);   /* b */
	assert_int_equal(counts(f).unacked, 1); /* a */
}

static void a_repeated_enqueue_is_refused_as_it_was(void **state)
{
	struct fixture *f = *state;
	f->deaf = true;
	f->config.max_length = 1;
	f->config.overflow = OVERFLOW_REJECT;
	configure(f);
	section(f, 5, 1, "abc");
	status(f, 1, false);
	apply(f);
	assert_effects(f, "refused 5:2; refused 5:3; status ok to 1; 1 left; 0 consumers");
	purge(f, 1);
	apply(f);
	section(f, 5, 1, "abcd"); /* there is room now */
	apply(f);
	assert_effects(f, "refused 5:2; refused 5:3");
	assert_int_equal(counts(f).ready, 1);
}

static void what_was_heard_is_not_answered_again(void **state)
{
	struct fixture *f = *state;
	status(f, 1, false);
	apply(f);
	uint64_t before = machine_digest(f->m);
	status(f, 1, false);
	apply(f);
	apply_again(f);
	assert_effects(f, "status ok to 1; 0 left; 0 consumers");
	f->seq[1] = 0; /* the first one again */
	status(f, 1, false);
	apply(f);
	assert_effects(f, "");
	assert_int_not_equal(machine_digest(f->m), before);
}

static void a_get_without_acks_settles_when_its_client_goes_down(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "ab");
	attach(f, 1, 1, ATTACH_GET, UNLIMITED);
	get(f, 1, 1, true);
	apply(f);
	client_down(f, 1, false);
	apply(f);
	assert_int_equal(counts(f).ready, 1);
	assert_int_equal(counts(f).acked, 1);
}

static void consecutive_refusals_are_one_outcome(void **state)
{
	struct fixture *f = *state;
	f->deaf = true;
	f->config.overflow = OVERFLOW_REJECT;
	f->config.max_length = 0;
	configure(f);
	section(f, 5, 1, "a");
	apply(f);
	struct buf small = BUF_EMPTY, large = BUF_EMPTY;
	machine_snapshot(f->m, &small);
	for (unsigned i = 0; i < 1000; i++) {
		section(f, 5, 2 + i, "a");
		apply(f);
	}
	machine_snapshot(f->m, &large);
	assert_true(large.n < small.n + 32);
	buf_done(&small);
	buf_done(&large);
}

static void what_comes_behind_a_gap_is_not_applied(void **state)
{
	struct fixture *f = *state;
	consume(f);
	section(f, 5, 1, "a");
	section(f, 5, 3, "c"); /* has overtaken 2 */
	apply(f);
	assert_effects(f, "1/1 gets a #1");
	assert_notes(f, "release 2; applied 5:1");
	section(f, 5, 2, "b");
	section(f, 5, 3, "c");
	apply(f);
	assert_effects(f, "1/1 gets b #2; 1/1 gets c #3");
	assert_notes(f, "release 3; applied 5:3");
}

static void what_a_client_has_given_up_is_passed_over(void **state)
{
	struct fixture *f = *state;
	consume(f);
	section(f, 5, 1, "a");
	size_t begin = fixture_section(f);
	command_put_section_header(f->entry.p + begin, 5, 1, 0, 3, 0); /* 1 came, 2 and 3 never */
	section(f, 5, 4, "d");
	apply(f);
	assert_effects(f, "1/1 gets a #1; 1/1 gets d #2");
	assert_notes(f, "release 2; applied 5:4");
}

static void the_leaders_own_commands_are_never_skipped(void **state)
{
	struct fixture *f = *state;
	consume(f);
	section(f, 0, 1, "a");
	section(f, 0, 1, "b");
	apply(f);
	assert_effects(f, "1/1 gets a #1; 1/1 gets b #2");
	assert_notes(f, "release 2");
}

static void each_client_is_told_once_per_entry(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "a");
	section(f, 3, 1, "b");
	section(f, 5, 2, "c");
	section(f, 4, 1, "");
	apply(f);
	assert_notes(f, "applied 5:2; applied 3:1; applied 4:0");
}

/* ---- clients that go down ---- */

static void a_client_that_goes_down_returns_what_it_held(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	section(f, 5, 1, "abc");
	apply(f);
	settle(f, 1, 1, SETTLE_ACK, 2, 2);
	client_down(f, 1, false);
	apply(f);
	assert_int_equal(counts(f).ready, 2);
	assert_int_equal(counts(f).consumers, 0);
	attach(f, 2, 1, 0, UNLIMITED);
	apply(f);
	assert_effects(f, "attach ok to 2; 2/1 gets a #1 again 1; 2/1 gets c #2 again 1");
}

static void a_client_that_goes_down_is_forgotten(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "a");
	apply(f);
	client_down(f, 5, false);
	section(f, 5, 1, "b");
	apply(f);
	assert_int_equal(counts(f).ready, 2);
	assert_notes(f, "applied 5:1");
}

static void a_node_goes_down_up_to_an_incarnation(void **state)
{
	struct fixture *f = *state;
	const uint64_t clients[] = {client_id_make(1, 9, 0), client_id_make(2, 3, 7),
		client_id_make(2, 4, 0), client_id_make(2, 4, UINT16_MAX), client_id_make(2, 5, 0),
		client_id_make(3, 1, 1)};
	for (size_t i = 0; i < 6; i++) {
		attach(f, clients[i], 1, 0, 1);
		section(f, clients[i], 2, "a");
	}
	apply(f);
	assert_int_equal(counts(f).unacked, 6);
	client_down(f, client_id_make(2, 4, 1), true);
	apply(f);
	assert_int_equal(counts(f).consumers, 3);
	assert_int_equal(counts(f).ready, 3);
}

static void each_client(void *arg, uint64_t client)
{
	say(arg, "%lu", (unsigned long)client);
}

static void clients_are_those_with_consumers_or_sequences(void **state)
{
	struct fixture *f = *state;
	section(f, 7, 1, "a");
	attach(f, 3, 1, ATTACH_GET, 1);
	attach(f, 3, 2, 0, 1);
	section(f, 5, 1, "b");
	apply(f);
	client_down(f, 5, false);
	apply(f);
	struct buf b = BUF_EMPTY;
	machine_each_client(f->m, each_client, &b);
	assert_text(&b, "3; 7");
	buf_done(&b);
}

/* ---- entries that are needed ---- */

static void an_entry_is_released_with_its_last_message(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, 0, UNLIMITED);
	section(f, 5, 1, "abc");
	apply(f);
	assert_notes(f, "applied 1:1; applied 5:3");
	settle(f, 1, 1, SETTLE_ACK, 2, 3);
	apply(f);
	assert_notes(f, "release 2; applied 1:2");
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_notes(f, "release 1; release 3; applied 1:3");
}

static void an_entry_without_live_messages_is_released_once_at_its_end(void **state)
{
	struct fixture *f = *state;
	attach(f, 1, 1, ATTACH_NO_ACK, UNLIMITED);
	section(f, 5, 1, "a");
	purge(f, 1);
	section(f, 5, 2, "b");
	apply(f);
	assert_notes(f, "release 1; applied 1:2; applied 5:2");
	status(f, 2, false);
	apply(f);
	assert_notes(f, "release 2; applied 2:1");
}

static void an_entry_in_several_lanes_is_released_with_the_last(void **state)
{
	struct fixture *f = *state;
	f->config.max_priority = 3;
	configure(f);
	for (f->level = 0; f->level <= 3; f->level++)
		enqueue(f, 9, "x");
	apply(f);
	attach(f, 1, 1, 0, UNLIMITED);
	apply(f);
	settle(f, 1, 1, SETTLE_ACK, 2, 4);
	apply(f);
	assert_notes(f, "release 4; applied 1:2");
	settle(f, 1, 1, SETTLE_ACK, 1, 1);
	apply(f);
	assert_notes(f, "release 2; release 5; applied 1:3");
}

static void live_entries_are_told_as_ranges(void **state)
{
	struct fixture *f = *state;
	size_t n;
	uint64_t(*ranges)[2] = live_of(f, 0, &n);
	assert_int_equal(n, 0);
	attach(f, 1, 1, 0, UNLIMITED);
	for (unsigned i = 0; i < 6; i++) {
		enqueue(f, 5, "a");
		apply(f);
	}
	settle(f, 1, 1, SETTLE_ACK, 3, 3);
	apply(f);
	ranges = live_of(f, 0, &n);
	assert_int_equal(n, 2);
	assert_int_equal(ranges[0][0], 1);
	assert_int_equal(ranges[0][1], 2);
	assert_int_equal(ranges[1][0], 4);
	assert_int_equal(ranges[1][1], 6);
	ranges = live_of(f, 4, &n);
	assert_int_equal(n, 1);
	assert_int_equal(ranges[0][0], 5);
	assert_int_equal(ranges[0][1], 6);
	live_of(f, 6, &n);
	assert_int_equal(n, 0);
}

/* ---- malformed entries ---- */

static int apply_bytes(struct fixture *f, uint64_t index, const uint8_t *p, size_t n)
{
	buf_clear(&f->effects);
	buf_clear(&f->notes);
	return machine_apply(f->m, index, p, n, &fixture_sink, f);
}

static void an_entry_of_another_version_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t before = machine_digest(f->m);
	section(f, 5, 1, "a");
	f->entry.p[0] = 9;
	assert_int_equal(apply_bytes(f, 1, f->entry.p, f->entry.n), -1);
	assert_int_equal(apply_bytes(f, 1, f->entry.p, 5), -1);
	command_put_entry_header(f->entry.p, UINT64_MAX); /* not a time */
	assert_int_equal(apply_bytes(f, 1, f->entry.p, f->entry.n), -1);
	assert_notes(f, "");
	assert_int_equal(machine_digest(f->m), before);
}

static void an_entry_is_not_applied_twice(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "a");
	assert_int_equal(apply_bytes(f, 3, f->entry.p, f->entry.n), 0);
	uint64_t before = machine_digest(f->m);
	assert_int_equal(apply_bytes(f, 3, f->entry.p, f->entry.n), -1);
	assert_int_equal(apply_bytes(f, 2, f->entry.p, f->entry.n), -1);
	assert_int_equal(machine_digest(f->m), before);
}

static void a_malformed_section_is_applied_up_to_the_bad_place(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "ab");
	size_t bad = f->entry.n;
	section(f, 6, 1, "c");
	section(f, 7, 1, "d");
	f->entry.p[bad + COMMAND_SECTION_HEADER] = 200; /* a command's type */
	assert_int_equal(apply_bytes(f, 1, f->entry.p, f->entry.n), -1);
	assert_int_equal(counts(f).ready, 3);
	assert_notes(f, "applied 5:2; applied 6:0; applied 7:1"); /* the others go on */
	f->entry.n = COMMAND_ENTRY_HEADER;
	section(f, 7, 2, "e");
	assert_int_equal(apply_bytes(f, 2, f->entry.p, f->entry.n), 0);
	assert_int_equal(counts(f).ready, 4);
}

static void a_wrong_count_is_malformed(void **state)
{
	struct fixture *f = *state;
	section(f, 5, 1, "ab");
	uint8_t *count = f->entry.p + COMMAND_ENTRY_HEADER + 24;
	store_u32le(count, 1);
	assert_int_equal(apply_bytes(f, 1, f->entry.p, f->entry.n), -1);
	assert_int_equal(counts(f).ready, 1);
	store_u32le(count, 3);
	assert_int_equal(apply_bytes(f, 2, f->entry.p, f->entry.n), -1);
	assert_int_equal(counts(f).ready, 2);
	store_u32le(count, 2);
	store_u64le(f->entry.p + COMMAND_ENTRY_HEADER + 8, UINT64_MAX - 1); /* first_seq */
	assert_int_equal(apply_bytes(f, 3, f->entry.p, f->entry.n), -1);
	assert_int_equal(counts(f).ready, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_repeated_section_does_nothing_but_is_told),
		STORY(of_a_section_repeated_in_part_the_new_is_applied),
		STORY(a_repeated_request_is_answered_as_it_was),
		STORY(a_repeated_enqueue_is_refused_as_it_was),
		STORY(what_was_heard_is_not_answered_again),
		STORY(a_get_without_acks_settles_when_its_client_goes_down),
		STORY(consecutive_refusals_are_one_outcome),
		STORY(what_comes_behind_a_gap_is_not_applied),
		STORY(what_a_client_has_given_up_is_passed_over),
		STORY(the_leaders_own_commands_are_never_skipped),
		STORY(each_client_is_told_once_per_entry),
		STORY(a_client_that_goes_down_returns_what_it_held),
		STORY(a_client_that_goes_down_is_forgotten),
		STORY(a_node_goes_down_up_to_an_incarnation),
		STORY(clients_are_those_with_consumers_or_sequences),
		STORY(an_entry_is_released_with_its_last_message),
		STORY(an_entry_without_live_messages_is_released_once_at_its_end),
		STORY(an_entry_in_several_lanes_is_released_with_the_last),
		STORY(live_entries_are_told_as_ranges),
		STORY(an_entry_of_another_version_changes_nothing),
		STORY(an_entry_is_not_applied_twice),
		STORY(a_malformed_section_is_applied_up_to_the_bad_place),
		STORY(a_wrong_count_is_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

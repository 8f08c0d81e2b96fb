/* SPDX-License-Identifier: Apache-2.0
 *
 * The state as bytes: small, canonical, and read with suspicion. And what the state costs in
 * memory. That restored machines go on like the original is tested by every other test of the
 * machine.
 */
#include <malloc.h>
#include <xxhash.h>

#include "tests/unit/queue/fixture.h"

static void on_delivery(void *arg, const struct machine_delivery *d)
{
	(void)d;
	++*(uint64_t *)arg;
}

static void on_answer(void *arg, const struct machine_answer *a)
{
	(void)arg, (void)a;
}

static void on_client(void *arg, uint64_t client, uint64_t seq)
{
	(void)arg, (void)client, (void)seq;
}

static void on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	(void)arg, (void)client, (void)consumer;
}

static void on_dead(void *arg, const struct machine_dead *d)
{
	(void)arg, (void)d;
}

static void on_release(void *arg, uint64_t index)
{
	(void)arg, (void)index;
}

static void on_ended(void *arg, bool expired)
{
	(void)arg, (void)expired;
}

static const struct machine_sink counting_sink = {
	on_delivery, on_answer, on_client, on_client, on_cancelled, on_dead, on_release, on_ended};

/* A queue that is fed without the fixture's double-checking. */
struct feed {
	struct machine *m;
	uint64_t index;
	uint64_t stamp_ms;
	uint64_t deliveries;
	struct buf entry;
	uint32_t commands;
	const char *props;
};

static void feed_open(struct feed *f)
{
	buf_clear(&f->entry);
	buf_put(&f->entry, COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER);
	f->commands = 0;
}

static void feed_init(struct feed *f)
{
	*f = (struct feed){.m = machine_new(), .stamp_ms = 1000, .props = ""};
	feed_open(f);
}

static void feed_done(struct feed *f)
{
	machine_free(f->m);
	buf_done(&f->entry);
}

static void feed_messages(struct feed *f, unsigned n, size_t body_n, size_t varying)
{
	static const uint8_t body[4096];
	for (unsigned i = 0; i < n; i++) {
		struct message m = {.expiration_ms = ENQUEUE_NO_EXPIRATION,
			.envelope = slice_make("\0\1k", 3),
			.props = slice_str(f->props),
			.body = slice_make(body, body_n + (varying ? i * i % varying : 0))};
		command_put_enqueue(buf_put(&f->entry, command_enqueue_size(&m)), &m);
	}
	f->commands += n;
}

static void feed_attach(struct feed *f, uint32_t prefetch)
{
	command_put_attach(&f->entry,
		&(struct command_attach){
			.consumer = 1, .prefetch = prefetch, .credit_bytes = UINT64_MAX});
	f->commands++;
}

static void feed_ack(struct feed *f, uint64_t from, uint64_t to)
{
	command_put_settle(&f->entry, &(struct command_settle){1, SETTLE_ACK, from, to});
	f->commands++;
}

static void feed_apply(struct feed *f)
{
	size_t head = COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER;
	command_put_entry_header(f->entry.p, f->stamp_ms);
	command_put_section_header(f->entry.p + COMMAND_ENTRY_HEADER, 0, 1, 0, f->commands,
		(uint32_t)(f->entry.n - head));
	assert_int_equal(machine_apply(f->m, ++f->index, f->entry.p, f->entry.n, &counting_sink,
				 &f->deliveries),
		0);
	feed_open(f);
}

static struct buf snapshot_of(const struct machine *m)
{
	struct buf b = BUF_EMPTY;
	machine_snapshot(m, &b);
	return b;
}

static size_t snapshot_size(const struct machine *m)
{
	struct buf b = snapshot_of(m);
	size_t n = b.n;
	buf_done(&b);
	return n;
}

/* ---- small ---- */

static void a_million_equal_messages_are_a_few_dozen_bytes(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	size_t before = snapshot_size(f.m);
	for (unsigned i = 0; i < 1000000; i++) {
		feed_messages(&f, 1, 100, 0);
		feed_apply(&f);
	}
	assert_in_range(snapshot_size(f.m), before, before + 60);
	machine_free(restored(f.m));
	feed_done(&f);
}

static void irregular_stamps_cost_a_byte_each(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	for (unsigned i = 0; i < 10000; i++) {
		f.stamp_ms += i * i % 13;
		feed_messages(&f, 20, 100, 0);
		feed_apply(&f);
	}
	assert_in_range(snapshot_size(f.m), 9000, 10500);
	machine_free(restored(f.m));
	feed_done(&f);
}

static void varying_sizes_cost_two_bytes_each(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	for (unsigned i = 0; i < 100; i++) {
		feed_messages(&f, 1000, 100, 1000);
		feed_apply(&f);
	}
	assert_in_range(snapshot_size(f.m), 50000, 201000);
	machine_free(restored(f.m));
	feed_done(&f);
}

/* ---- canonical ---- */

static void a_snapshot_does_not_depend_on_how_the_state_came_about(void **state)
{
	(void)state;
	/* Once with messages before and in between that are gone, once from their snapshot. */
	struct feed f;
	feed_init(&f);
	feed_messages(&f, 300, 10, 0);
	feed_attach(&f, 150);
	feed_apply(&f);
	for (uint64_t number = 1; number < 150; number++) {
		if (number % 3 != 0)
			feed_ack(&f, number, number);
	}
	feed_apply(&f);
	struct machine *copy = restored(f.m);
	struct buf x = snapshot_of(f.m);
	struct buf y = snapshot_of(copy);
	assert_true(slice_eq(buf_slice(&x), buf_slice(&y)));
	buf_done(&x);
	buf_done(&y);
	machine_free(copy);
	feed_done(&f);
}

/* Where runs in memory begin shows nowhere: blocks of a snapshot are cut by the messages alone. */
static void a_block_may_begin_within_a_run(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	feed_messages(&f, 1, 7, 0); /* shifts the runs */
	feed_messages(&f, 63, 5, 0);
	f.props = "longer properties"; /* the next run has another stride */
	feed_messages(&f, 64, 5, 0);
	feed_attach(&f, 1);
	feed_apply(&f);
	feed_ack(&f, 1, 1); /* and after a restore they begin elsewhere */
	feed_apply(&f);
	struct machine *copy = restored(f.m);
	machine_free(restored(copy));
	machine_free(copy);
	feed_done(&f);
}

/* Version 2, byte for byte. If this fails after a release, there must be a version 3 that reads 2. */
static void a_snapshot_is_what_version_2_says(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	feed_messages(&f, 3, 5, 0);
	feed_attach(&f, 2);
	feed_apply(&f);
	feed_ack(&f, 1, 1);
	feed_apply(&f);
	struct buf b = snapshot_of(f.m);
	static const uint8_t golden[] =
		"WRNQ\2\0"
		"\2\350\7\4\350\7"   /* index, stamp, next_seq, used */
		"\3\3\1\0\0"         /* published, delivered, acked, redelivered, dropped */
		"\12\0\0\0\56\0\0\0" /* config */
		"\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377"
		"\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377"
		"\377\377\377\377\377\377\377\377\0\0\0\0\0\0"
		"\0"                /* publishers */
		"\1\1\2\0"          /* lanes; lane 0: live, fresh */
		"\2\1\1\114\27\0\0" /* group: seq, index, n - 1, offset, distance, ... */
		"\240\37\24\0"      /* stamps; bodies: 5, 5 */
		"\0\0"              /* returned; no more lanes */
		"\1"                /* consumers */
		"\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\2"
		"\377\377\377\377\377\377\377\377\377\1\317\1\3\0"
		"\2\2\4\0\0\1\2" /* unsettled: 2 and 3 */
		"\0\0"           /* nobody active, nobody waits */
		"\0\0";          /* dead letters */
	assert_int_equal(b.n, sizeof golden - 1 + 8);
	assert_memory_equal(b.p, golden, sizeof golden - 1);
	buf_done(&b);
	feed_done(&f);
}

static void an_outcome_is_what_version_2_says(void **state)
{
	(void)state;
	struct buf entry = BUF_EMPTY;
	command_put_entry_header(buf_put(&entry, COMMAND_ENTRY_HEADER), 1000);
	buf_put(&entry, COMMAND_SECTION_HEADER);
	command_put_status(&entry, &(struct command_status){0});
	command_put_purge(&entry);
	command_put_section_header(entry.p + COMMAND_ENTRY_HEADER, 7, 300, 0, 2,
		2 * COMMAND_HEADER);
	struct machine *m = machine_new();
	struct buf before = BUF_EMPTY; /* 1 to 299 were given up */
	command_put_entry_header(buf_put(&before, COMMAND_ENTRY_HEADER), 1000);
	command_put_section_header(buf_put(&before, COMMAND_SECTION_HEADER), 7, 1, 0, 299, 0);
	assert_int_equal(machine_apply(m, 1, before.p, before.n, &counting_sink, NULL), 0);
	buf_done(&before);
	assert_int_equal(machine_apply(m, 2, entry.p, entry.n, &counting_sink, NULL), 0);
	struct buf b = snapshot_of(m);
	static const uint8_t golden[] =
		"\1\7\0\0\0\0\0\0\0\255\2"  /* one publisher: client, last_seq */
		"\2\254\2\11\0\0\0\0\0\0" /* outcomes: seq, type, status, no_ack, ... */
		"\1\7\0\0\0\0\0\0";
	size_t at = b.n - 8 - 7 - (sizeof golden - 1); /* before lanes, consumers, dead letters */
	assert_memory_equal(b.p + at, golden, sizeof golden - 1);
	machine_free(restored(m));
	machine_free(m);
	buf_done(&b);
	buf_done(&entry);
}

/* ---- suspicious ---- */

static void a_snapshot_that_was_cut_or_changed_is_refused(void **state)
{
	(void)state;
	struct feed f;
	feed_init(&f);
	feed_messages(&f, 10, 5, 3);
	feed_apply(&f);
	struct buf b = snapshot_of(f.m);
	for (size_t n = 0; n < b.n; n++) {
		struct machine *m = machine_new();
		assert_int_equal(machine_restore(m, slice_make(b.p, n), UINT64_MAX), -1);
		machine_free(m);
	}
	for (size_t i = 0; i < b.n * 8; i++) {
		struct machine *m = machine_new();
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(machine_restore(m, buf_slice(&b), UINT64_MAX), -1);
		b.p[i / 8] ^= (uint8_t)(1 << i % 8);
		machine_free(m);
	}
	buf_done(&b);
	feed_done(&f);
}

static int restore_within(struct slice snapshot, uint64_t memory_max)
{
	struct machine *m = machine_new();
	int rc = machine_restore(m, snapshot, memory_max);
	machine_free(m);
	return rc;
}

/* A few octets may stand for a million messages: the state's memory is what counts. */
static void a_snapshot_that_asks_for_more_memory_than_there_is_is_refused(void **state)
{
	(void)state;
	enum { MESSAGES = 50000, MIB = 1 << 20 };
	struct feed f;
	feed_init(&f);
	for (unsigned i = 0; i < MESSAGES; i++) { /* an entry each */
		feed_messages(&f, 1, 5, 0);
		feed_apply(&f);
	}
	struct buf b = snapshot_of(f.m);
	assert_true(b.n < 200);
	assert_int_equal(restore_within(buf_slice(&b), MIB), -1);
	assert_int_equal(restore_within(buf_slice(&b), 16 * MIB), 0);
	buf_done(&b);
	feed_attach(&f, 0); /* no limit: all are unsettled */
	feed_apply(&f);
	b = snapshot_of(f.m);
	assert_true(b.n < 300);
	assert_int_equal(restore_within(buf_slice(&b), 10 * MIB), -1);
	assert_int_equal(restore_within(buf_slice(&b), 16 * MIB), 0);
	buf_done(&b);
	feed_done(&f);
}

/* Two messages of one entry, the first at 40 with a body of 5, at 999 ms. */
static int restore_two(uint8_t offset, uint8_t stamp_step)
{
	static const uint8_t head[] =
		"WRNQ\2\0"
		"\1\350\7\3\350\7"   /* index, stamp, next_seq, used */
		"\2\0\0\0\0"         /* published, delivered, acked, redelivered, dropped */
		"\12\0\0\0\56\0\0\0" /* config */
		"\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377"
		"\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377"
		"\377\377\377\377\377\377\377\377\0\0\0\0\0\0"
		"\0"                     /* publishers */
		"\1\1\2\2"               /* lanes; lane 0: live, fresh */
		"\1\1\0\50\0\0\0"        /* group: seq, index, n - 1, offset, distance, ... */
		"\234\37\24";            /* stamp and body */
	static const uint8_t tail[] =
		"\24"       /* body */
		"\0\0"      /* returned; no more lanes */
		"\0\0\0"    /* no consumers */
		"\0\0";     /* dead letters */
	struct buf b = BUF_EMPTY;
	buf_put_bytes(&b, head, sizeof head - 1);
	buf_put_bytes(&b, (uint8_t[]){1, 0, 0, offset, 0, 10, 0, stamp_step}, 8);
	buf_put_bytes(&b, tail, sizeof tail - 1);
	buf_put_u64le(&b, XXH3_64bits(b.p, b.n));
	int rc = restore_within(buf_slice(&b), UINT64_MAX);
	buf_done(&b);
	return rc;
}

static void messages_of_an_entry_lie_behind_one_another(void **state)
{
	(void)state;
	assert_int_equal(restore_two(40 + 5 + COMMAND_HEADER + COMMAND_ENQUEUE_FIXED, 0), 0);
	assert_int_equal(restore_two(40 + 5 + COMMAND_HEADER + COMMAND_ENQUEUE_FIXED - 1, 0), -1);
	assert_int_equal(restore_two(10, 0), -1);
}

static void messages_of_an_entry_came_at_one_time(void **state)
{
	(void)state;
	assert_int_equal(restore_two(100, 0), 0);
	assert_int_equal(restore_two(100, 4), -1); /* a ms later */
}

static uint64_t random_state = 88172645463325252;

static uint64_t rnd(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state * 0x9e3779b97f4a7c15 >> 20) % n;
}

/* A queue with something of everything. */
static void make_rich(struct fixture *f)
{
	f->config.max_priority = 3;
	f->config.dead_letter = true;
	f->config.dlx = slice_str("dlx");
	f->config.max_length = 40;
	f->config.overflow = rnd(2) ? OVERFLOW_REJECT_DLX : OVERFLOW_DROP_HEAD;
	f->config.message_ttl_ms = 1000;
	f->config.single_active = rnd(3) == 0;
	configure(f);
	for (uint32_t i = 0; i < 5; i++)
		attach_as(f, 1 + i % 3,
			&(struct command_attach){.consumer = i,
				.priority = -(int32_t)(i % 2),
				.flags = i == 4 ? ATTACH_GET : 0,
				.prefetch = 5 + i,
				.credit_bytes = UINT64_MAX,
				.tag = slice_str("ctag")});
	for (unsigned round = 0; round < 8; round++) {
		for (uint64_t n = rnd(30); n > 0; n--) {
			f->level = (uint8_t)rnd(5);
			f->expiration_ms = rnd(3) ? ENQUEUE_NO_EXPIRATION : (uint32_t)rnd(50);
			enqueue(f, 1 + rnd(5), rnd(2) ? "body" : "b");
		}
		get(f, 2, 4, false);
		for (unsigned i = 0; i < 3; i++)
			settle(f, 1 + rnd(3), (uint32_t)rnd(5), (enum settle_outcome)rnd(3),
				rnd(10), rnd(20));
		apply_at(f, f->stamp_ms + rnd(30));
	}
}

/* Lets a machine that may be in a state that no history leads to do everything. */
static void exercise(struct machine *m, struct fixture *f)
{
	uint64_t deliveries = 0;
	struct machine_counts c;
	struct buf b = BUF_EMPTY;
	machine_resume(m, &counting_sink, &deliveries);
	machine_redeliver(m, 1, 0, 0, &counting_sink, &deliveries);
	for (uint64_t i = 1; i <= f->index; i++)
		(void)machine_apply(m, UINT32_MAX + i, f->entries[i].p, f->entries[i].n,
			&counting_sink, &deliveries);
	machine_snapshot(m, &b);
	machine_live(m, 0, &b);
	machine_counts(m, &c);
	(void)machine_deadline(m);
	buf_done(&b);
}

static void a_changed_snapshot_with_a_right_hash_never_crashes(void **state)
{
	(void)state;
	unsigned accepted = 0;
	for (unsigned round = 0; round < 60; round++) {
		struct fixture *f = mem_alloc(sizeof *f);
		fixture_init(f);
		make_rich(f);
		struct buf b = snapshot_of(f->m);
		for (unsigned i = 0; i < 200; i++) {
			struct buf bad = BUF_EMPTY;
			buf_put_slice(&bad, buf_slice(&b));
			for (uint64_t n = 1 + rnd(3); n > 0; n--)
				bad.p[rnd(bad.n - 8)] =
					rnd(2) ? (uint8_t)rnd(256) : (uint8_t)rnd(4);
			store_u64le(bad.p + bad.n - 8, XXH3_64bits(bad.p, bad.n - 8));
			struct machine *m = machine_new();
			if (machine_restore(m, buf_slice(&bad), UINT64_MAX) == 0) {
				accepted++;
				exercise(m, f);
			}
			machine_free(m);
			buf_done(&bad);
		}
		buf_done(&b);
		fixture_done(f);
		mem_free(f);
	}
	assert_true(accepted > 100); /* or this tests too little */
}

static void changed_entries_never_crash(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct fixture *f = mem_alloc(sizeof *f);
		fixture_init(f);
		make_rich(f);
		for (unsigned i = 0; i < 30; i++) {
			struct machine *m = machine_new();
			uint64_t deliveries = 0;
			for (uint64_t index = 1; index <= f->index; index++) {
				struct buf *e = &f->entries[index];
				size_t n = rnd(20) == 0 ? rnd(e->n) : e->n;
				uint8_t *p = mem_dup(e->p, n);
				for (uint64_t k = rnd(4); k > 0 && n > 0; k--)
					p[rnd(n)] = (uint8_t)rnd(rnd(2) ? 256 : 14);
				(void)machine_apply(m, index, p, n, &counting_sink, &deliveries);
				mem_free(p);
			}
			machine_free(restored(m));
			machine_free(m);
		}
		fixture_done(f);
		mem_free(f);
	}
}

/* ---- memory ---- */

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_IS_COUNTED 0
#endif
#endif
#ifndef HEAP_IS_COUNTED
#define HEAP_IS_COUNTED 1
#endif

static size_t heap_bytes(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static void a_backlog_of_a_million_is_two_megabytes(void **state)
{
	(void)state;
	if (!HEAP_IS_COUNTED)
		skip();
	struct feed f;
	feed_init(&f);
	feed_messages(&f, 64, 100, 0);
	feed_apply(&f);
	size_t before = heap_bytes();
	for (unsigned i = 0; i < 1000000 / 64; i++) {
		feed_messages(&f, 64, 100, 0);
		feed_apply(&f);
	}
	size_t used = heap_bytes() - before;
	print_message("1,000,000 ready messages in batches of 64: %zu bytes\n", used);
	assert_in_range(used, 0, 2 << 20);
	feed_done(&f);
}

static void old_unsettled_messages_cost_only_themselves(void **state)
{
	(void)state;
	if (!HEAP_IS_COUNTED)
		skip();
	struct feed f;
	feed_init(&f);
	feed_attach(&f, 0);
	feed_apply(&f);
	size_t before = heap_bytes();
	uint64_t acked = 0;
	for (unsigned i = 0; i < 100000; i++) {
		feed_messages(&f, 100, 100, 0);
		feed_apply(&f);
		/* All but one of a thousand. */
		feed_ack(&f, acked + (i % 10 == 0 ? 2 : 1), acked + 100);
		acked += 100;
	}
	feed_apply(&f);
	size_t used = heap_bytes() - before;
	struct machine_counts c;
	machine_counts(f.m, &c);
	print_message("%lu unsettled of %lu delivered: %zu bytes\n", (unsigned long)c.unacked,
		(unsigned long)c.delivered, used);
	assert_int_equal(c.unacked, 10000);
	assert_in_range(used, 0, 10000 * 400);
	feed_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_million_equal_messages_are_a_few_dozen_bytes),
		cmocka_unit_test(irregular_stamps_cost_a_byte_each),
		cmocka_unit_test(varying_sizes_cost_two_bytes_each),
		cmocka_unit_test(a_snapshot_does_not_depend_on_how_the_state_came_about),
		cmocka_unit_test(a_block_may_begin_within_a_run),
		cmocka_unit_test(a_snapshot_is_what_version_2_says),
		cmocka_unit_test(an_outcome_is_what_version_2_says),
		cmocka_unit_test(a_snapshot_that_was_cut_or_changed_is_refused),
		cmocka_unit_test(a_snapshot_that_asks_for_more_memory_than_there_is_is_refused),
		cmocka_unit_test(messages_of_an_entry_lie_behind_one_another),
		cmocka_unit_test(messages_of_an_entry_came_at_one_time),
		cmocka_unit_test(a_changed_snapshot_with_a_right_hash_never_crashes),
		cmocka_unit_test(changed_entries_never_crash),
		cmocka_unit_test(a_backlog_of_a_million_is_two_megabytes),
		cmocka_unit_test(old_unsettled_messages_cost_only_themselves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

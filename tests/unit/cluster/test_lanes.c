/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages through lanes_gather() and lanes_take() and back, without a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cluster/lanes.h"

enum { PARTS = 40 };

struct sent {
	struct parcel p;
	struct net_message m;
	struct net_part parts[PARTS];
	struct blob *blob;
	struct fixture *f;
	uint64_t no;
	bool done, lost;
	bool arrived;
};

struct fixture {
	struct lanes_out out;
	struct lanes_in in;
	struct sent sent[4096];
	unsigned n;
	unsigned arrived, done, lost;
	uint64_t order[4096]; /* numbers as they arrived */
	size_t wire;          /* octets written */
	size_t octets[LANES]; /* of them, by lane */
	size_t most_low;      /* of a write, in QUEUE and BULK */
	size_t chunk;
};

static uint8_t octet(uint64_t no, size_t i)
{
	return (uint8_t)(no * 7 + i * 13 + i / 255);
}

static void on_done(struct parcel *p, bool lost)
{
	struct sent *s = LIST_ENTRY(p, struct sent, p);
	assert_false(s->done);
	s->done = true;
	s->lost = lost;
	s->f->done++;
	s->f->lost += lost;
	blob_unref(s->blob);
}

/* A message of n octets (with the envelope) in `parts` parts and a head. */
static struct sent *send(struct fixture *f, enum lane lane, size_t n, unsigned parts)
{
	struct sent *s = &f->sent[f->n];
	*s = (struct sent){.f = f, .no = f->n++};
	size_t body = n - ENVELOPE_SIZE;
	s->blob = blob_new(body);
	for (size_t i = 0; i < body; i++)
		s->blob->data[i] = octet(s->no, i);
	size_t head = parts == 0 ? body : body % 41 < body ? body % 41 : 0, at = head;
	s->m.head = slice_make(s->blob->data, head);
	for (unsigned i = 0; i < parts; i++) {
		size_t size = i + 1 == parts ? body - at : (body - at) / 3;
		s->parts[i] = (struct net_part){s->blob, s->blob->data + at, size};
		at += size;
	}
	s->m.parts = s->parts;
	s->m.n_parts = parts;
	s->m.n = body;
	s->p = (struct parcel){.m = &s->m, .lane = lane, .done = on_done};
	envelope_put(s->p.envelope,
		&(struct envelope){
			.kind = ENVELOPE_RAFT, .worker = (uint16_t)lane, .group = s->no});
	lanes_put(&f->out, &s->p);
	return s;
}

static bool on_message(void *arg, enum lane lane, struct blob *blob, size_t n)
{
	struct fixture *f = arg;
	struct envelope e = {0};
	assert_true(envelope_get(&e, blob->data, n));
	assert_true(e.group < f->n);
	struct sent *s = &f->sent[e.group];
	assert_false(s->arrived);
	assert_int_equal(s->p.lane, lane);
	assert_int_equal(e.worker, lane);
	assert_int_equal(n, ENVELOPE_SIZE + s->m.n);
	for (size_t i = 0; i < s->m.n; i++)
		if (blob->data[ENVELOPE_SIZE + i] != octet(s->no, i))
			fail_msg("message %lu differs at %zu", (unsigned long)s->no, i);
	s->arrived = true;
	f->order[f->arrived++] = s->no;
	blob_unref(blob);
	return true;
}

static void arrive(struct fixture *f, struct buf *wire)
{
	size_t at = 0, have = 0;
	while (have < wire->n) {
		have += f->chunk < wire->n - have ? f->chunk : wire->n - have;
		at += lanes_take(&f->in, wire->p + at, have - at, on_message, f);
		assert_null(f->in.fault);
	}
	assert_int_equal(at, wire->n);
}

/* One write; false: there was nothing. */
static bool write_once(struct fixture *f)
{
	struct slice slices[LANES_SLICES_MAX];
	struct buf wire = BUF_EMPTY;
	size_t low = 0;
	unsigned n = lanes_gather(&f->out, slices);
	assert_true(n <= LANES_SLICES_MAX);
	for (unsigned i = 0; i < n; i++)
		buf_put_slice(&wire, slices[i]);
	for (size_t at = 0; at < wire.n; at += LANES_FRAME_HEAD + load_u32le(wire.p + at)) {
		size_t body = load_u32le(wire.p + at);
		assert_true(body <= LANES_FRAGMENT_MAX + 4);
		if (wire.p[at + 4] >= LANE_QUEUE)
			low += body;
		f->octets[wire.p[at + 4]] += body;
	}
	assert_true(wire.n <= LANES_WRITE_MAX + LANES_FRAGMENT_MAX + LANES_FRAMES_MAX * 12);
	f->most_low = low > f->most_low ? low : f->most_low;
	f->wire += wire.n;
	arrive(f, &wire);
	lanes_written(&f->out);
	buf_done(&wire);
	return n > 0;
}

static int setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);
	lanes_out_init(&f->out);
	lanes_in_init(&f->in);
	f->chunk = SIZE_MAX;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	lanes_lose(&f->out);
	lanes_in_done(&f->in);
	assert_int_equal(f->done, f->n);
	mem_free(f);
	return 0;
}

static void test_messages_of_all_sizes_arrive_whole(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = {16, 17, 18, 57, 1000, LANES_FRAGMENT_MAX - 1,
		LANES_FRAGMENT_MAX, LANES_FRAGMENT_MAX + 1, 3 * LANES_FRAGMENT_MAX, 1000003};
	static const unsigned parts[] = {0, 1, 2, 7, PARTS};
	static const size_t chunks[] = {SIZE_MAX, 1, 7, 65536};
	for (size_t c = 0; c < 4; c++) {
		f->chunk = chunks[c];
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (size_t k = 0; k < 5; k++)
				send(f, (enum lane)((i + k) % LANES), sizes[i], parts[k]);
		while (write_once(f))
			;
		assert_int_equal(f->arrived, f->n);
		assert_int_equal(f->done, f->n);
		assert_int_equal(f->lost, 0);
		assert_int_equal(f->out.waiting, 0);
	}
}

static void test_random_traffic_arrives_once_and_in_its_lanes_order(void **state)
{
	struct fixture *f = *state;
	srandom(5);
	while (f->n < 3000) {
		for (long k = random() % 8; k > 0 && f->n < 3000; k--)
			send(f, (enum lane)(random() % LANES),
				16 + (size_t)(random() % 20 == 0 ? random() % 300000
								 : random() % 300),
				(unsigned)(random() % PARTS));
		f->chunk = (size_t)(random() % 5000 + 1);
		write_once(f);
	}
	while (write_once(f))
		;
	assert_int_equal(f->arrived, f->n);
	for (int lane = 0; lane < LANES; lane++) {
		uint64_t last = 0;
		for (unsigned i = 0; i < f->arrived; i++) {
			if (f->sent[f->order[i]].p.lane != (enum lane)lane)
				continue;
			assert_true(f->order[i] >= last);
			last = f->order[i];
		}
	}
}

static void test_what_is_urgent_waits_for_one_fragment_at_most(void **state)
{
	struct fixture *f = *state;
	send(f, LANE_BULK, 50 << 20, 3);
	send(f, LANE_QUEUE, 50 << 20, 3);
	for (int i = 0; i < 20; i++)
		write_once(f);
	assert_true(f->most_low <= LANES_FRAGMENT_MAX + 2 * 4);
	struct sent *raft = send(f, LANE_RAFT, 500, 2);
	struct sent *call = send(f, LANE_URGENT, 500, 0);
	write_once(f);
	assert_true(raft->arrived && call->arrived);
	assert_int_equal(f->order[0], call->no);
	assert_int_equal(f->arrived, 2);
}

static void test_nobody_starves(void **state)
{
	struct fixture *f = *state;
	struct sent *bulk = send(f, LANE_BULK, 3 * LANES_FRAGMENT_MAX, 1);
	struct sent *section = send(f, LANE_QUEUE, 100, 1);
	size_t begun = f->wire;
	while (!bulk->arrived && f->n < 4000) {
		while (f->out.waiting < 2 * LANES_WRITE_MAX && f->n < 4000)
			send(f, LANE_URGENT, 50000, 1);
		write_once(f);
	}
	assert_true(section->arrived && bulk->arrived);
	/* Three fragments, and the section: each after LANES_PATIENCE, or two. */
	assert_true(f->wire - begun < 10 * (size_t)LANES_PATIENCE);
}

static size_t length(const struct list *parcels)
{
	size_t n = 0;
	LIST_EACH(node, parcels)
	n++;
	return n;
}

/* So many writes, while for each of the sizes that is not 0 messages of that size always wait. */
static void load(struct fixture *f, const size_t size[LANES], unsigned writes)
{
	memset(f->octets, 0, sizeof f->octets);
	for (unsigned k = 0; k < writes; k++) {
		for (enum lane i = 0; i < LANES; i++)
			while (size[i] > 0 && length(&f->out.lane[i].parcels) * size[i] < LANES_WRITE_MAX)
				send(f, i, size[i], 1);
		write_once(f);
	}
}

static void test_entries_and_client_traffic_have_fair_shares(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[][2] = {{50000, 50000}, {50000, 5000}, {5000, 50000}, {600000, 20000}};
	const size_t *n = f->octets;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		load(f, (size_t[LANES]){0, sizes[i][0], sizes[i][1], 0}, 10);
		assert_in_range(n[LANE_QUEUE] * 100 / (n[LANE_RAFT] + n[LANE_QUEUE]), 45, 55);
		load(f, (size_t[LANES]){0, sizes[i][0], sizes[i][1], 300000}, 10);
		size_t shared = n[LANE_RAFT] + n[LANE_QUEUE] + n[LANE_BULK];
		assert_true(n[LANE_RAFT] > shared / 3 && n[LANE_QUEUE] > shared / 3);
		assert_true(n[LANE_BULK] > shared / 20);
		while (write_once(f))
			;
	}
}

/* A lane that did not wait has nothing saved up, and need not wait for what others had meanwhile. */
static void test_who_did_not_wait_joins_in(void **state)
{
	struct fixture *f = *state;
	for (enum lane alone = LANE_RAFT; alone < LANES; alone++) {
		size_t size[LANES] = {0};
		size[alone] = 50000;
		load(f, size, 20);
		while (write_once(f))
			;
		load(f, (size_t[LANES]){0, 50000, 50000, 0}, 4);
		size_t raft = f->octets[LANE_RAFT], queue = f->octets[LANE_QUEUE];
		assert_true(raft > 4 * LANES_FRAGMENT_MAX && queue > 4 * LANES_FRAGMENT_MAX);
		assert_true(raft < queue + 2 * LANES_FRAGMENT_MAX && queue < raft + 2 * LANES_FRAGMENT_MAX);
		while (write_once(f))
			;
	}
}

static void test_more_parts_than_one_write_takes(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 3000 };
	struct net_part *parts = mem_zalloc(MANY * sizeof *parts);
	struct sent *s = send(f, LANE_RAFT, 16 + MANY * 3, 1);
	for (unsigned i = 0; i < MANY; i++)
		parts[i] = (struct net_part){s->blob, s->blob->data + 3 * i, 3};
	s->m.head = slice_make(NULL, 0);
	s->m.parts = parts;
	s->m.n_parts = MANY;
	unsigned writes = 0;
	while (write_once(f))
		writes++;
	assert_true(s->arrived);
	assert_true(writes >= MANY / LANES_SLICES_MAX);
	mem_free(parts);
}

static void test_a_broken_link_loses_what_was_not_written(void **state)
{
	struct fixture *f = *state;
	struct slice slices[LANES_SLICES_MAX];
	send(f, LANE_RAFT, 100, 1);
	write_once(f);
	send(f, LANE_RAFT, 100, 1);
	send(f, LANE_BULK, 10 << 20, 1);
	assert_true(lanes_gather(&f->out, slices) > 0);
	send(f, LANE_URGENT, 100, 1);
	lanes_lose(&f->out);
	assert_int_equal(f->done, 4);
	assert_int_equal(f->lost, 3);
	assert_int_equal(f->out.waiting, 0);
}

/* ---- hostile ---- */

static const char *fault_of(const uint8_t *p, size_t n)
{
	struct lanes_in in;
	lanes_in_init(&in);
	lanes_take(&in, p, n, on_message, NULL);
	const char *fault = in.fault;
	lanes_in_done(&in);
	return fault;
}

#define FRAME(...) fault_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_frames_that_make_no_sense_are_faults(void **state)
{
	(void)state;
	/* n, lane, flags, 0, octets */
	assert_non_null(FRAME(4, 0, 0, 0, LANES, 1, 0, 0));            /* no such lane */
	assert_non_null(FRAME(4, 0, 0, 0, 0, 8, 0, 0));                /* no such flag */
	assert_non_null(FRAME(4, 0, 0, 0, 0, 5, 0, 0));                /* goodbye and first */
	assert_non_null(FRAME(4, 0, 0, 0, 0, 1, 1, 0));                /* reserved */
	assert_non_null(FRAME(0, 0, 0, 0, 1, 0, 0, 0));                /* empty, no heartbeat */
	assert_non_null(FRAME(9, 0, 0, 0, 1, 0, 0, 0, 1));             /* without a beginning */
	assert_non_null(FRAME(4, 0, 0, 0, 1, 3, 0, 0, 16, 0, 0, 0));   /* nothing in it */
	assert_non_null(FRAME(5, 0, 0, 0, 1, 3, 0, 0, 15, 0, 0, 0));   /* no room for an envelope */
	assert_non_null(FRAME(5, 0, 0, 0, 1, 3, 0, 0, 16, 0, 0, 0));   /* last, but there is more */
	assert_non_null(FRAME(20, 0, 0, 0, 1, 1, 0, 0, 16, 0, 0, 0));  /* all of it, but not last */
	assert_non_null(FRAME(21, 0, 0, 0, 1, 3, 0, 0, 16, 0, 0, 0));  /* more than all */
	assert_non_null(FRAME(5, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0x40)); /* above the limit */
	assert_non_null(FRAME(5, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0));    /* frame above the limit */
	assert_non_null(FRAME(0, 1, 0, 0, 0, 4, 0, 0));                /* too long a goodbye */
	assert_non_null(FRAME(5, 0, 0, 0, 1, 1, 0, 0, 99, 0, 0, 0, 1, 5, 0, 0, 0, 1, 1, 0, 0, 99, 0,
		0, 0)); /* begins twice */
	assert_null(FRAME(5, 0, 0, 0, 1, 1, 0, 0, 99, 0, 0, 0, 1));
	assert_null(FRAME(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)); /* heartbeats */
}

static void test_goodbye_is_the_end_and_has_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct buf b = BUF_EMPTY;
	lanes_put_heartbeat(&b);
	lanes_put_goodbye(&b, "warren@a stops");
	size_t n = b.n;
	buf_put_bytes(&b, "what follows", 12);
	for (size_t have = 0; have < n; have++)
		assert_true(lanes_take(&(struct lanes_in){0}, b.p, have, on_message, f) <= 8);
	assert_int_equal(lanes_take(&f->in, b.p, b.n, on_message, f), n);
	assert_true(f->in.over);
	assert_string_equal(f->in.goodbye, "warren@a stops");
	buf_done(&b);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_messages_of_all_sizes_arrive_whole),
		TEST(test_random_traffic_arrives_once_and_in_its_lanes_order),
		TEST(test_what_is_urgent_waits_for_one_fragment_at_most),
		TEST(test_nobody_starves),
		TEST(test_entries_and_client_traffic_have_fair_shares),
		TEST(test_who_did_not_wait_joins_in),
		TEST(test_more_parts_than_one_write_takes),
		TEST(test_a_broken_link_loses_what_was_not_written),
		TEST(test_frames_that_make_no_sense_are_faults),
		TEST(test_goodbye_is_the_end_and_has_a_sentence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

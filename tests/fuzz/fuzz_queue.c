/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/queue's machine and the encoding of commands.
 *
 *   input := mode u8 | entries, or a snapshot
 *
 * mode 0..127: entry := stamp step u8 | section*; the entry's and sections' headers are made, the
 * commands in them are raw or built from few numbers, so that they meet each other.
 * mode 128..191: entry := size u16 | its octets as they are.
 * mode 192..255: a snapshot whose hash is made right, then entries as above.
 *
 * Invariants:
 *  - any octets can be applied or restored;
 *  - two machines with the same entries have the same result, effects, counts, digest, deadline,
 * also if one is replaced by a restored snapshot of the other now and then;
 *  - what is delivered, answered or dead names an enqueue command in an entry that was not
 * released; its body has the size told;
 *  - ready, unacked and dead messages lie in entries that machine_live() names;
 *  - a restored snapshot gives the same snapshot again.
 */
#include <xxhash.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/queue/machine.h"
#include "src/queue/machine_snapshot.h"
#include "storage/store.h"
#include "tests/fuzz/fuzz.h"

enum {
	ENTRIES_MAX = 32,
	COMMANDS_MAX = 200,
	REPLACED_MAX = 6,
	DIGEST_EACH = 8, /* entries; each replacement compares digests, too */
	MEMORY_MAX = 8 << 10, /* of the state that a snapshot in the input may ask for */
};

struct run {
	struct reader in;
	struct machine *a, *b; /* b is restored often */
	bool hostile;          /* the first state came from the input: its entries do not exist */
	uint64_t first;        /* index of entries[0] */
	struct slice entries[ENTRIES_MAX];
	bool released[ENTRIES_MAX];
	size_t n;
	bool second; /* b's turn: `released` is known already */
	uint64_t effects;
	uint64_t stamp_ms;
	uint64_t seq[4];
	unsigned commands, replaced;
};

/* ---- effects ---- */

static void note(struct run *r, const void *p, size_t n)
{
	r->effects = XXH3_64bits_withSeed(p, n, r->effects);
}

#define NOTE(r, ...) \
	note(r, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}))

/* The message at a place, or false if its entry is not of this run. */
static bool message_at(struct run *r, uint64_t index, uint32_t offset, struct message *ret)
{
	if (index < r->first || index >= r->first + r->n) {
		CHECK(r->hostile);
		return false;
	}
	size_t i = index - r->first;
	CHECK(r->second || !r->released[i]);
	bool ok = command_message_at(r->entries[i].p, r->entries[i].n, offset, ret) == 0;
	CHECK(ok || r->hostile);
	return ok;
}

static void note_delivery(struct run *r, const struct machine_delivery *d)
{
	struct message m;
	if (message_at(r, d->index, d->offset, &m))
		CHECK(r->hostile || m.body.n == d->body_n);
	NOTE(r, 1, d->client, d->consumer, d->number, d->index, d->offset, d->body_n, d->returns);
}

static void on_deliver(void *arg, const struct machine_delivery *d)
{
	note_delivery(arg, d);
}

static void on_answer(void *arg, const struct machine_answer *a)
{
	struct run *r = arg;
	CHECK((a->delivery != NULL) == (a->type == COMMAND_GET && a->status == MACHINE_OK));
	if (a->delivery != NULL)
		note_delivery(r, a->delivery);
	NOTE(r, 2, a->client, a->seq, a->type, a->status, a->messages, a->consumers);
}

static void on_refused(void *arg, uint64_t client, uint64_t seq)
{
	NOTE((struct run *)arg, 3, client, seq);
}

static void on_applied(void *arg, uint64_t client, uint64_t seq)
{
	NOTE((struct run *)arg, 4, client, seq);
}

static void on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	NOTE((struct run *)arg, 5, client, consumer);
}

static void on_dead(void *arg, const struct machine_dead *d)
{
	struct run *r = arg;
	struct message m;
	message_at(r, d->index, d->offset, &m);
	NOTE(r, 6, d->seq, d->index, d->offset, d->reason, d->stamp_ms);
}

static void on_release(void *arg, uint64_t index)
{
	struct run *r = arg;
	NOTE(r, 7, index);
	if (r->second || index < r->first)
		return;
	CHECK(index < r->first + r->n && !r->released[index - r->first]);
	r->released[index - r->first] = true;
}

static void on_ended(void *arg, bool expired)
{
	NOTE((struct run *)arg, 8, expired);
}

static const struct machine_sink sink = {
	on_deliver, on_answer, on_refused, on_applied, on_cancelled, on_dead, on_release, on_ended};

/* ---- invariants ---- */

static struct machine *restored(const struct machine *m)
{
	struct buf snapshot = BUF_EMPTY;
	machine_snapshot(m, &snapshot);
	struct slice exact = fuzz_exact(buf_slice(&snapshot));
	struct machine *copy = machine_new();
	CHECK(machine_restore(copy, exact, UINT64_MAX) == 0);
	CHECK(machine_digest(copy) == machine_digest(m));
	CHECK(machine_deadline(copy) == machine_deadline(m));
	fuzz_free(exact);
	buf_done(&snapshot);
	return copy;
}

static void check_live(const struct run *r)
{
	struct buf live = BUF_EMPTY;
	struct machine_counts c;
	machine_live(r->a, 0, &live);
	machine_counts(r->a, &c);
	const struct store_range *ranges = (const struct store_range *)live.p;
	size_t n = live.n / sizeof *ranges;
	CHECK((n == 0) == (c.ready + c.unacked + c.dead == 0));
	for (size_t i = 0; i < n; i++) {
		CHECK(ranges[i].from <= ranges[i].to);
		CHECK(i == 0 || ranges[i].from > ranges[i - 1].to);
		for (uint64_t k = ranges[i].from; !r->hostile && k <= ranges[i].to; k++)
			CHECK(k >= r->first && k < r->first + r->n && !r->released[k - r->first]);
	}
	buf_done(&live);
}

static void check_same(const struct run *r)
{
	struct machine_counts x, y;
	machine_counts(r->a, &x);
	machine_counts(r->b, &y);
	CHECK(memcmp(&x, &y, sizeof x) == 0);
	if (r->n % DIGEST_EACH == 0)
		CHECK(machine_digest(r->a) == machine_digest(r->b));
	CHECK(machine_deadline(r->a) == machine_deadline(r->b));
	CHECK(machine_gone(r->a) == machine_gone(r->b));
	CHECK(machine_stamp(r->a) == machine_stamp(r->b));
}

static void apply(struct run *r, struct slice entry)
{
	uint64_t index = r->first + r->n;
	r->entries[r->n++] = fuzz_exact(entry);
	struct slice e = r->entries[r->n - 1];
	r->second = false;
	r->effects = 0;
	int rc = machine_apply(r->a, index, e.p, e.n, &sink, r);
	uint64_t effects = r->effects;
	r->second = true;
	r->effects = 0;
	CHECK(machine_apply(r->b, index, e.p, e.n, &sink, r) == rc);
	CHECK(r->effects == effects && (rc == 0 || rc == -1));
	check_same(r);
}

/* What a client that lost its connection to the leader asks for. */
static void redeliver(struct run *r)
{
	uint64_t effects[2];
	for (int i = 0; i < 2; i++) {
		r->effects = 0;
		for (unsigned k = 0; k < 16; k++)
			machine_redeliver(i == 0 ? r->a : r->b, k / 4, k % 4, k, &sink, r);
		machine_resume(i == 0 ? r->a : r->b, &sink, r);
		effects[i] = r->effects;
	}
	CHECK(effects[0] == effects[1]);
}

static void replace(struct run *r)
{
	if (r->replaced == REPLACED_MAX)
		return;
	r->replaced++;
	machine_free(r->b);
	r->b = restored(r->a);
	r->second = false;
	redeliver(r);
	check_same(r);
	check_live(r);
}

/* ---- commands ---- */

static void put_enqueue(struct run *r, struct buf *b)
{
	uint8_t what = get_u8(&r->in);
	struct message m = {.flags = what & 1,
		.level = what & 2 ? get_u8(&r->in) : 0,
		.expiration_ms = what & 4 ? get_u8(&r->in) * 4u : ENQUEUE_NO_EXPIRATION,
		.envelope = slice_make("\0\1k", 3),
		.props = slice_make("\0\0", 2),
		.body = fuzz_take(&r->in, what >> 5)};
	command_put_enqueue(buf_put(b, command_enqueue_size(&m)), &m);
}

static void put_attach(struct run *r, struct buf *b)
{
	uint8_t what = get_u8(&r->in), credit = get_u8(&r->in);
	command_put_attach(b, &(struct command_attach){.consumer = what & 3,
				      .flags = what >> 2 & 7,
				      .priority = (what >> 5) - 3,
				      .prefetch = credit & 3,
				      .credit_bytes = credit < 200 ? credit * 8u : UINT64_MAX,
				      .tag = slice_str("tag")});
}

static void put_settle(struct run *r, struct buf *b)
{
	uint8_t what = get_u8(&r->in), from = get_u8(&r->in), n = get_u8(&r->in);
	command_put_settle(b, &(struct command_settle){.consumer = what & 3,
				      .outcome = (what >> 2) % 3,
				      .from = from,
				      .to = n == 255 ? UINT64_MAX : from + (uint64_t)n % 8});
}

static uint64_t some_limit(struct run *r, bool set)
{
	return set ? get_u8(&r->in) : CONFIG_NONE;
}

static void put_config(struct run *r, struct buf *b)
{
	uint8_t set = get_u8(&r->in), flags = get_u8(&r->in);
	struct queue_config c = {.single_active = flags & 1,
		.auto_delete = flags & 2,
		.dead_letter = flags & 4,
		.dead_letter_key = flags & 8,
		.overflow = (flags >> 4) % 3,
		.dlx = slice_str("dlx"),
		.dlx_key = slice_str("key")};
	c.message_ttl_ms = some_limit(r, set & 1);
	c.expires_ms = some_limit(r, set & 2);
	c.max_length = some_limit(r, set & 4);
	c.max_bytes = some_limit(r, set & 8);
	c.delivery_limit = some_limit(r, set & 16);
	c.max_priority = set & 64 ? 255 : set & 32 ? get_u8(&r->in) % 8 : 0;
	command_put_config(b, &c);
}

static void put_client_down(struct run *r, struct buf *b)
{
	uint8_t what = get_u8(&r->in);
	command_put_client_down(
		b, &(struct command_client_down){
			   .client = what & 128 ? client_id_make(0, 0, what & 3) : what & 3,
			   .node = what & 64});
}

static void put_raw(struct run *r, struct buf *b)
{
	uint8_t type = get_u8(&r->in), flags = get_u8(&r->in);
	struct slice payload = fuzz_take(&r->in, get_u8(&r->in));
	buf_put_u8(b, type);
	buf_put_u8(b, flags);
	buf_put_u16le(b, 0);
	buf_put_u32le(b, (uint32_t)payload.n);
	buf_put_slice(b, payload);
}

static void put_command(struct run *r, struct buf *b, uint8_t what)
{
	switch (what % 16) {
	case 0:
		put_raw(r, b);
		break;
	case 1:
		put_attach(r, b);
		break;
	case 2:
		put_settle(r, b);
		break;
	case 3:
		command_put_cancel(b, &(struct command_cancel){what >> 4 & 3, what & 64});
		break;
	case 4:
		command_put_credit(
			b, &(struct command_credit){what >> 4 & 3, get_u8(&r->in) * 64u});
		break;
	case 5:
		command_put_get(b, &(struct command_get){what >> 4 & 3, what & 64});
		break;
	case 6:
		command_put_purge(b);
		break;
	case 7:
		command_put_delete(b, &(struct command_delete){what & 16, what & 32});
		break;
	case 8:
		command_put_status(b, &(struct command_status){what & 16});
		break;
	case 9:
		put_config(r, b);
		break;
	case 10:
		command_put_time(b);
		break;
	case 11:
		put_client_down(r, b);
		break;
	case 12:
		command_put_dead_done(b, get_u8(&r->in));
		break;
	case 13:
		command_put_prefetch(b, &(struct command_prefetch){what >> 4 & 3, what >> 6});
		break;
	default:
		put_enqueue(r, b);
	}
}

static void put_section(struct run *r, struct buf *b)
{
	uint8_t head = get_u8(&r->in);
	uint64_t client = head & 3;
	size_t begin = b->n;
	uint32_t count = 1 + (head >> 2 & 7);
	buf_put(b, COMMAND_SECTION_HEADER);
	for (uint32_t i = 0; i < count; i++) {
		put_command(r, b, get_u8(&r->in));
		r->commands++;
	}
	/* A repeat now and then. */
	uint64_t first = head & 128 && r->seq[client] > 0 ? r->seq[client] : r->seq[client] + 1;
	r->seq[client] = first + count - 1;
	command_put_section_header(b->p + begin, client, first, head & 64 ? first - 1 : 0, count,
		(uint32_t)(b->n - begin - COMMAND_SECTION_HEADER));
}

static void made_entry(struct run *r)
{
	struct buf b = BUF_EMPTY;
	uint8_t step = get_u8(&r->in), sections = get_u8(&r->in);
	r->stamp_ms += step & 127;
	buf_put(&b, COMMAND_ENTRY_HEADER);
	command_put_entry_header(b.p, r->stamp_ms);
	for (unsigned i = 0; i <= sections % 4u && reader_left(&r->in) > 0; i++)
		put_section(r, &b);
	apply(r, buf_slice(&b));
	buf_done(&b);
	if (step & 128)
		replace(r);
}

static void raw_entry(struct run *r)
{
	uint16_t n = get_u16le(&r->in);
	apply(r, fuzz_take(&r->in, n & 0x7fff));
	if (n & 0x8000)
		replace(r);
}

/* ---- snapshots ---- */

/* Starts both machines from the snapshot in the input; false if it is none. */
static bool start_from_snapshot(struct run *r)
{
	struct buf b = BUF_EMPTY;
	uint16_t n = get_u16le(&r->in);
	buf_put_slice(&b, fuzz_take(&r->in, n));
	buf_put_u64le(&b, XXH3_64bits(b.p, b.n));
	struct slice exact = fuzz_exact(buf_slice(&b));
	bool ok = machine_restore(r->a, exact, MEMORY_MAX) == 0;
	fuzz_free(exact);
	buf_done(&b);
	if (!ok)
		return false;
	r->hostile = true;
	r->first = UINT64_C(1) << 40; /* above what it holds, or its indexes mean nothing */
	r->stamp_ms = machine_stamp(r->a);
	machine_free(r->b);
	r->b = restored(r->a);
	r->effects = 0;
	machine_resume(r->a, &sink, r);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = {.in = reader_make(data, size), .a = machine_new(), .b = machine_new()};
	uint8_t mode = get_u8(&r.in);
	r.first = 1;
	r.stamp_ms = 1000;
	bool go = mode < 192 || start_from_snapshot(&r);
	while (go && r.n < ENTRIES_MAX && r.commands < COMMANDS_MAX && reader_left(&r.in) > 0) {
		if (mode >= 128 && mode < 192)
			raw_entry(&r);
		else
			made_entry(&r);
	}
	if (go) {
		r.replaced = 0;
		replace(&r);
	}
	machine_free(r.a);
	machine_free(r.b);
	for (size_t i = 0; i < r.n; i++)
		fuzz_free(r.entries[i]);
	return 0;
}

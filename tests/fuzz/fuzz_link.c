/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: what other nodes' octets reach first, src/cluster/handshake.c and
 * src/cluster/lanes.c.
 *
 *   input := mode u8 | rest
 *   mode 0, 1   an acceptor, a dialler: cutting seed u8 | honest u16 | octets
 *               so many octets of an honest peer, then these; mode / 4 is the binding of the
 *               connection below: none, the same at both ends, another one at each
 *   mode 2      lanes: cutting seed u8 | octets
 *   mode 3      messages: { lane u8 | size u16 | parts u8 }*, through lanes and back
 *   mode 128..  the reply to an inquiry: cutting seed u8 | octets; the length, then JSON that is to name the
 *               members of a cluster (src/cluster/letter.h, src/manage/members.h)
 *
 * Invariants:
 *  - the same state, peer, answers and messages, however the octets are cut;
 *  - nothing is answered to garbage, and never more than three frames in all;
 *  - a handshake is done only if all of it was honest, and over the same connection; texts end within their arrays;
 *  - messages are whole, at least an envelope, and in their lane's order; a fault is final;
 *  - what is sent arrives;
 *  - a reply is whole or not there; members that are understood fit into the file `cluster`.
 */
#include "src/base/mem.h"
#include "src/cluster/handshake.h"
#include "src/cluster/lanes.h"
#include "src/cluster/letter.h"
#include "src/manage/members.h"
#include "tests/fuzz/fuzz.h"

enum { MESSAGES_MAX = 256, MESSAGE_MAX = 200 * 1000, REPLY_MAX = 1 << 16 };

/* ---- handshake ---- */

static struct handshake_key key;

static struct handshake_identity identity(uint64_t id, const char *name)
{
	struct handshake_identity i = {.version_min = 1,
		.version_max = 1,
		.kind = HANDSHAKE_LINK,
		.node_id = id,
		.incarnation = 3,
		.cluster_id = 4,
		.product = "0.1"};
	memcpy(i.name, name, strlen(name) + 1);
	return i;
}

/* Of the connection below, as an end sees it. */
enum binding { BINDING_NONE, BINDING_SAME, BINDING_OTHER, BINDINGS };

static void bind_to(struct handshake *h, enum binding binding, bool honest)
{
	uint8_t octets[HANDSHAKE_BINDING];
	memset(octets, binding == BINDING_OTHER && honest ? 8 : 7, sizeof octets);
	if (binding != BINDING_NONE)
		handshake_bind(h, slice_make(octets, sizeof octets));
}

static void begin(struct handshake *h, enum handshake_role role, struct buf *out)
{
	uint8_t nonce[HANDSHAKE_NONCE];
	struct handshake_identity id =
		role == HANDSHAKE_DIALLER ? identity(1, "warren@a") : identity(2, "warren@b");
	memset(nonce, role == HANDSHAKE_DIALLER ? 1 : 2, sizeof nonce);
	handshake_begin(h, role, &id, &key, nonce, out);
}

/* Takes what is there; returns how much was used. */
static size_t take(struct handshake *h, const uint8_t *p, size_t n, struct buf *out)
{
	size_t used = 0;
	for (;;) {
		used += handshake_take(h, p + used, n - used, out);
		CHECK(used <= n);
		if (h->state != HANDSHAKE_ASKS)
			return used;
		handshake_admit(h, out);
		if (h->state != HANDSHAKE_MORE)
			return used;
	}
}

/* What an honest dialler and acceptor say to each other. */
static void honest(struct buf said[2], enum binding binding)
{
	struct handshake h[2];
	size_t at[2] = {0, 0};
	for (int i = 0; i < 2; i++) {
		begin(&h[i], (enum handshake_role)i, &said[i]);
		bind_to(&h[i], binding, true);
	}
	for (int round = 0; round < 4; round++)
		for (int i = 0; i < 2; i++)
			if (h[i].state == HANDSHAKE_MORE)
				at[i] += take(
					&h[i], said[!i].p + at[i], said[!i].n - at[i], &said[i]);
	for (int i = 0; i < 2; i++) {
		CHECK(h[i].state == HANDSHAKE_DONE);
		handshake_done(&h[i]);
	}
}

struct outcome {
	struct handshake h;
	struct buf out;
	size_t used;
};

static struct outcome run_handshake(
	enum handshake_role role, enum binding binding, struct slice in, unsigned seed)
{
	struct outcome o = {.out = BUF_EMPTY};
	begin(&o.h, role, &o.out);
	bind_to(&o.h, binding, false);
	for (size_t have = 0; have < in.n && o.h.state == HANDSHAKE_MORE;) {
		size_t step =
			seed == 0 ? in.n : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 97;
		have += step < in.n - have ? step : in.n - have;
		struct slice exact = fuzz_exact(slice_make(in.p + o.used, have - o.used));
		o.used += take(&o.h, exact.p, exact.n, &o.out);
		fuzz_free(exact);
	}
	return o;
}

static void outcome_done(struct outcome *o)
{
	handshake_done(&o->h);
	buf_done(&o->out);
}

static void check_handshake(enum handshake_role role, enum binding binding, struct reader *r)
{
	struct buf said[2] = {BUF_EMPTY, BUF_EMPTY}, in = BUF_EMPTY;
	unsigned seed = get_u8(r) + 1u;
	size_t n = get_u16le(r);
	honest(said, binding);
	const struct buf *peer = &said[!role];
	n = n < peer->n ? n : peer->n;
	buf_put_bytes(&in, peer->p, n);
	buf_put_slice(&in, fuzz_take(r, 4096));
	struct outcome a = run_handshake(role, binding, buf_slice(&in), 0);
	struct outcome b = run_handshake(role, binding, buf_slice(&in), seed);
	CHECK(a.h.state == b.h.state && a.h.code == b.h.code && a.used == b.used);
	CHECK(strcmp(a.h.text, b.h.text) == 0 && slice_eq(buf_slice(&a.out), buf_slice(&b.out)));
	CHECK(memchr(a.h.text, 0, sizeof a.h.text) != NULL);
	CHECK(memchr(a.h.peer.name, 0, sizeof a.h.peer.name) != NULL);
	CHECK(memchr(a.h.peer.product, 0, sizeof a.h.peer.product) != NULL);
	CHECK(a.out.n <= 3 * HANDSHAKE_FRAME_MAX);
	if (a.h.state == HANDSHAKE_DONE)
		CHECK(binding != BINDING_OTHER && a.used == peer->n &&
			memcmp(in.p, peer->p, peer->n) == 0);
	if (a.h.state == HANDSHAKE_FAILED && a.h.code == HANDSHAKE_GARBAGE && n == 0 &&
		role == HANDSHAKE_ACCEPTOR && a.used == 0)
		CHECK(a.out.n == 0);
	outcome_done(&a);
	outcome_done(&b);
	buf_done(&in);
	buf_done(&said[0]);
	buf_done(&said[1]);
}

/* ---- lanes in ---- */

struct heard {
	struct buf all; /* lane, length and octets of every message */
	unsigned n;
};

static bool on_message(void *arg, enum lane lane, struct blob *blob, size_t n)
{
	struct heard *h = arg;
	CHECK(lane < LANES && n >= ENVELOPE_SIZE && n <= blob->cap);
	buf_put_u8(&h->all, (uint8_t)lane);
	buf_put_u32le(&h->all, (uint32_t)n);
	buf_put_bytes(&h->all, blob->data, n);
	h->n++;
	blob_unref(blob);
	return true;
}

static void run_lanes(struct lanes_in *in, struct heard *h, struct slice octets, unsigned seed)
{
	size_t used = 0;
	lanes_in_init(in);
	for (size_t have = 0; have < octets.n && in->fault == NULL && !in->over;) {
		size_t step =
			seed == 0 ? octets.n : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 300;
		have += step < octets.n - have ? step : octets.n - have;
		struct slice exact = fuzz_exact(slice_make(octets.p + used, have - used));
		used += lanes_take(in, exact.p, exact.n, on_message, h);
		fuzz_free(exact);
		CHECK(used <= have);
		/* What is left is a head that is not whole, or a goodbye. */
		CHECK(in->fault != NULL || in->over ||
			have - used < LANES_FRAME_HEAD + LANES_GOODBYE_MAX);
	}
}

static void check_lanes_in(struct reader *r)
{
	struct heard a = {.all = BUF_EMPTY}, b = {.all = BUF_EMPTY};
	struct lanes_in ia, ib;
	unsigned seed = get_u8(r) + 1u;
	struct slice octets = fuzz_take(r, SIZE_MAX);
	run_lanes(&ia, &a, octets, 0);
	run_lanes(&ib, &b, octets, seed);
	CHECK(a.n == b.n && slice_eq(buf_slice(&a.all), buf_slice(&b.all)));
	CHECK((ia.fault != NULL) == (ib.fault != NULL) && ia.over == ib.over);
	CHECK(strcmp(ia.goodbye, ib.goodbye) == 0);
	lanes_in_done(&ia);
	lanes_in_done(&ib);
	buf_done(&a.all);
	buf_done(&b.all);
}

/* ---- lanes out, and in again ---- */

struct message {
	struct parcel p;
	struct net_message m;
	struct net_part parts[8];
	bool done;
};

static struct message messages[MESSAGES_MAX];
static struct blob *source;
static unsigned sent;

static void on_done(struct parcel *p, bool lost)
{
	struct message *m = LIST_ENTRY(p, struct message, p);
	CHECK(!m->done && !lost);
	m->done = true;
}

static void put_message(struct lanes_out *out, struct reader *r)
{
	struct message *m = &messages[sent];
	unsigned lane = get_u8(r) % LANES;
	size_t n = (size_t)get_u16le(r) * 3, at = 0;
	unsigned parts = get_u8(r) % 9;
	*m = (struct message){.p = {.m = &m->m, .lane = (enum lane)lane, .done = on_done}};
	for (unsigned i = 0; i < parts; i++) {
		size_t size = i + 1 == parts ? n - at : (n - at) / (i + 2);
		m->parts[i] = (struct net_part){source, source->data + at, size};
		at += size;
	}
	if (parts == 0)
		m->m.head = slice_make(source->data, n);
	m->m.parts = m->parts;
	m->m.n_parts = parts;
	m->m.n = n;
	envelope_put(m->p.envelope,
		&(struct envelope){
			.kind = ENVELOPE_EVENTS, .worker = (uint16_t)lane, .group = sent++});
	lanes_put(out, &m->p);
}

static bool on_arrival(void *arg, enum lane lane, struct blob *blob, size_t n)
{
	uint64_t *last = arg;
	struct envelope e;
	CHECK(envelope_get(&e, blob->data, n) && e.group < sent && e.worker == lane);
	const struct message *m = &messages[e.group];
	CHECK(n == parcel_size(&m->p));
	CHECK(memcmp(blob->data + ENVELOPE_SIZE, source->data, m->m.n) == 0);
	CHECK(e.group + 1 > last[lane]);
	last[lane] = e.group + 1;
	last[LANES]++;
	blob_unref(blob);
	return true;
}

/* Stays from one input to the next. */
static void make_source(void)
{
	if (source != NULL)
		return;
	source = blob_new(MESSAGE_MAX);
	for (size_t i = 0; i < MESSAGE_MAX; i++)
		source->data[i] = (uint8_t)(i * 7 + i / 256);
}

static void check_round_trip(struct reader *r)
{
	static struct lanes_out out;
	struct lanes_in in;
	struct slice slices[LANES_SLICES_MAX];
	uint64_t last[LANES + 1] = {0};
	make_source();
	lanes_out_init(&out);
	lanes_in_init(&in);
	sent = 0;
	for (;;) {
		for (int i = 0; i < 3 && sent < MESSAGES_MAX && reader_left(r) > 0; i++)
			put_message(&out, r);
		unsigned n = lanes_gather(&out, slices);
		if (n == 0)
			break;
		struct buf wire = BUF_EMPTY;
		for (unsigned i = 0; i < n; i++)
			buf_put_slice(&wire, slices[i]);
		CHECK(lanes_take(&in, wire.p, wire.n, on_arrival, last) == wire.n);
		CHECK(in.fault == NULL);
		lanes_written(&out);
		buf_done(&wire);
	}
	CHECK(last[LANES] == sent && out.waiting == 0);
	for (unsigned i = 0; i < sent; i++)
		CHECK(messages[i].done);
	lanes_in_done(&in);
}

/* ---- replies ---- */

static enum letter run_reply(struct slice octets, unsigned seed, struct buf *ret)
{
	enum letter found = LETTER_MORE;
	for (size_t have = 0; have < octets.n && found == LETTER_MORE;) {
		struct slice letter;
		size_t step =
			seed == 0 ? octets.n : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 300;
		have += step < octets.n - have ? step : octets.n - have;
		struct slice exact = fuzz_exact(slice_make(octets.p, have));
		found = letter_get(exact.p, exact.n, REPLY_MAX, &letter);
		CHECK(found != LETTER_WHOLE || (letter.p == exact.p + LETTER_HEAD &&
						       letter.n <= exact.n - LETTER_HEAD));
		if (found == LETTER_WHOLE)
			buf_put_slice(ret, letter);
		fuzz_free(exact);
	}
	return found;
}

static void check_word(const char *text)
{
	CHECK(text[0] != '\0' && strlen(text) < 256 && strpbrk(text, " \n\r\t") == NULL);
}

static void check_members(const json_t *reply)
{
	struct membership m;
	if (!members_get(json_object_get(reply, "result"), BROKER_NODE_DISC, &m))
		return;
	CHECK(m.cluster_id != 0 && m.n_nodes > 0);
	for (size_t i = 0; i < m.n_nodes; i++) {
		CHECK(m.nodes[i].id != 0);
		check_word(m.nodes[i].name);
		check_word(m.nodes[i].address);
	}
	membership_done(&m);
}

static void check_reply(struct reader *r)
{
	struct buf a = BUF_EMPTY, b = BUF_EMPTY, again = BUF_EMPTY;
	unsigned seed = get_u8(r) + 1u;
	struct slice octets = fuzz_take(r, SIZE_MAX), letter;
	enum letter found = run_reply(octets, 0, &a);
	CHECK(found == run_reply(octets, seed, &b) && slice_eq(buf_slice(&a), buf_slice(&b)));
	if (found == LETTER_WHOLE) {
		letter_put(&again, buf_slice(&a));
		CHECK(letter_get(again.p, again.n, REPLY_MAX, &letter) == LETTER_WHOLE &&
			slice_eq(letter, buf_slice(&a)));
		json_t *reply = json_loadb((const char *)a.p, a.n, JSON_ALLOW_NUL, NULL);
		check_members(reply);
		json_decref(reply);
	}
	buf_done(&a);
	buf_done(&b);
	buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_make(data, size);
	handshake_key_make(&key, slice_str("cookie"));
	uint8_t mode = get_u8(&r);
	enum binding binding = mode / 4 % BINDINGS;
	if (mode >= 128) {
		check_reply(&r);
		return 0;
	}
	switch (mode % 4) {
	case 0:
		check_handshake(HANDSHAKE_ACCEPTOR, binding, &r);
		break;
	case 1:
		check_handshake(HANDSHAKE_DIALLER, binding, &r);
		break;
	case 2:
		check_lanes_in(&r);
		break;
	default:
		check_round_trip(&r);
	}
	return 0;
}

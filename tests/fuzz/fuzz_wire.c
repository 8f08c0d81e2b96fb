/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: raft/wire.c, and what a living group does with messages of a member that lies.
 *
 *   input := mode u8 | octets of one message, or messages
 *
 * mode 0..127: one message as it is.
 * mode 128..255: two members of three agree on something, the third is replaced by the input:
 *   message := to u8 | kind u8 | flags u8 | number*; then milliseconds pass
 *   number := u8, near what is true, or 255 and a u64
 *
 * Invariants:
 *  - a message that is understood is encoded to the same octets again, and its parts lie in it;
 *  - no member ends the process, whatever it is told: what cannot be is ignored;
 *  - what waits in a member stays within its limit (the fuzzer's own bound on memory).
 * That two honest members agree is not asked: the third may vote and answer as it likes.
 */
#include "raft/libraft.h"
#include "raft/wire.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/cluster.h"

enum { MESSAGES_MAX = 24, ENTRIES_MAX = 6, HOSTILE = 2, MESSAGE_MAX = 4096 };

/* ---- the format ---- */

static void check_entries(const struct wire *w)
{
	size_t sum = 0;
	for (unsigned i = 0; i < w->n; i++)
		sum += wire_entry_of(w, i).n;
	CHECK(w->n == 0 || sum == w->bytes.n);
}

static void one_message(struct slice all)
{
	struct slice s = fuzz_exact(all);
	struct wire w;
	uint8_t head[WIRE_FIXED_MAX];
	if (wire_decode(&w, s) == WIRE_OK) {
		size_t n = wire_encode(head, &w, w.list.n + w.bytes.n);
		CHECK(n + w.list.n + w.bytes.n == s.n);
		CHECK(w.bytes.n == 0 || (w.bytes.p >= s.p && w.bytes.p + w.bytes.n == s.p + s.n));
		struct wire again;
		uint8_t *copy = malloc(s.n);
		CHECK(copy != NULL);
		memcpy(copy, head, n);
		memcpy(copy + n, s.p + n, s.n - n);
		CHECK(wire_decode(&again, slice_make(copy, s.n)) == WIRE_OK);
		CHECK(again.kind == w.kind && again.term == w.term && again.n == w.n);
		free(copy);
		check_entries(&w);
	}
	fuzz_free(s);
}

/* ---- a living group ---- */

static struct cluster C;

static bool has_leader(struct cluster *c)
{
	return cluster_leader(c) != NULL;
}

static uint64_t number(struct reader *in, uint64_t near)
{
	unsigned v = get_u8(in);
	if (v == 255)
		return get_u64le(in);
	return near + v > 8 ? near + v - 8 : 0;
}

static void put_entries(struct reader *in, struct wire *w, struct buf *list, struct buf *bytes)
{
	unsigned n = get_u8(in) % (ENTRIES_MAX + 1);
	for (unsigned i = 0; i < n; i++) {
		uint8_t e[WIRE_ENTRY];
		struct wire_entry entry = {.number = number(in, w->kind == WIRE_APPEND ? w->term : w->index)};
		entry.type = get_u8(in) % 5;
		struct slice b = fuzz_take(in, get_u8(in));
		entry.n = (uint32_t)b.n;
		wire_encode_entry(e, &entry);
		buf_put_bytes(list, e, sizeof e);
		buf_put_slice(bytes, b);
	}
	w->n = n;
}

static void hostile_message(struct reader *in)
{
	struct node *to = &C.nodes[get_u8(in) % 2];
	if (!to->up || to->cell == NULL || to->cell->group == NULL)
		return;
	struct wire w = {.kind = 1 + get_u8(in) % 12, .flags = get_u8(in), .group = THE_GROUP};
	uint64_t last = group_applied(to->cell->group);
	struct buf list = BUF_EMPTY, bytes = BUF_EMPTY;
	w.from = C.nodes[HOSTILE].raft_id != 0 ? C.nodes[HOSTILE].raft_id : HOSTILE + 1;
	w.to = to->raft_id;
	w.term = number(in, group_term(to->cell->group));
	w.prev_index = w.last = w.index = number(in, last);
	w.prev_term = w.last_term = w.index_term = number(in, group_term(to->cell->group));
	w.commit = w.rejected = w.conf_index = number(in, last);
	w.stream = get_u8(in) % 4;
	w.part = number(in, 8) % 16;
	w.data_n = get_u8(in);
	w.entries_n = get_u8(in) % 8;
	if (w.kind == WIRE_APPEND || w.kind == WIRE_INSTALL_ENTRIES)
		put_entries(in, &w, &list, &bytes);
	else if (w.kind == WIRE_INSTALL || w.kind == WIRE_INSTALL_STATE)
		buf_put_slice(&bytes, fuzz_take(in, get_u8(in)));
	cluster_forge(&C.nodes[HOSTILE], to, &w, buf_slice(&list), buf_slice(&bytes));
	buf_done(&list);
	buf_done(&bytes);
	cluster_run(&C, get_u8(in));
}

static void living_group(struct reader *in)
{
	struct cluster_options o = {
		.seed = 1,
		.nodes = 3,
		.voters = 3,
		.delay_min_us = 1000,
		.delay_max_us = 1000,
		.disk_min_us = 1000,
		.disk_max_us = 3000,
		.snapshot_entries = 4,
		.trailing_entries = 2,
		.freeze_after_ms = 300,
	};
	cluster_init(&C, &o);
	cluster_until(&C, has_leader, 5000);
	node_crash(&C.nodes[HOSTILE], false);
	for (unsigned i = 0; i < MESSAGES_MAX && reader_left(in) > 0; i++) {
		struct node *leader = cluster_leader(&C);
		if (leader != NULL && leader->up && i % 2 == 0)
			node_put(leader, 0);
		hostile_message(in);
	}
	cluster_run(&C, 500);
	cluster_done(&C);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader in = reader_of(slice_make(data, size));
	log_set_level(LOG_NONE);
	if (size > MESSAGE_MAX)
		return 0;
	if (get_u8(&in) < 128)
		one_message(slice_make(in.p, reader_left(&in)));
	else
		living_group(&in);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The state as bytes. Numbers are varints unless a width is given.
 *
 *   snapshot   := "WRNQ" | version u8 | gone u8 | index | stamp | next_seq | used |
 *                 5 counts | config (a command) | publishers | lanes | consumers | dead | hash u64
 *   publishers := n, n x (client u64 | last_seq | n, n x outcome)
 *   outcome    := seq, as a step | type u8 | status u8 | no_ack u8 | messages | number | consumer |
 *                 consumers
 *   lanes      := lanes_n, (level + 1 | lane)*, 0                 LEVEL_REFUSED is the last level
 *   lane       := live | fresh | group* | returned
 *   returned   := n, n x (seq, as a step | returns)
 *   consumers  := n, n x consumer | active ordinal + 1, or 0 | n waiting, ordinals in order of turn
 *   consumer   := client u64 | consumer u32 | flags u8 | cancelled u8 | priority u32 | prefetch |
 *                 credit_bytes | delivered_bytes | last_number | tag_n | tag | unsettled
 *   unsettled  := n, rows of consecutive numbers until n are there
 *   row        := number, as a step | seq, as a step | level | returns | n - 1 |
 *                 if n > 1: step of seq
 *   dead       := out n, n x (seq, as a step | age | level | reason),
 *                 waiting n, n x (seq, as a step | age | level | reason | n - 1)
 *
 * The live messages of a lane are cut into blocks: consecutive sequences of one entry, with the
 * same expiration and the same distance between the end of one body and the next command. Blocks of
 * equal shape, equal distances apart, make a group:
 *
 *   group      := seq step | index step | n - 1 | offset | distance | expiration + 1, or 0 |
 *                 blocks - 1 | if more than one: seq step | index step |
 *                 stamps (one per block) and bodies (one per message), as steps
 *
 * So a million messages of the same size, one per entry, are a few dozen bytes. Nothing depends on
 * how the runs in memory are cut: blocks and groups are taken greedily from the messages alone,
 * thus equal states give equal bytes. Which messages before a lane's cursor are ready or not
 * follows from the other sections.
 */
#include "src/queue/machine.h"

#include <stdlib.h>
#include <xxhash.h>

#include "src/queue/machine_priv.h"
#include "src/queue/machine_snapshot.h"
#include "src/queue/varint.h"

/* ---- messages ---- */

struct block {
	uint64_t seq;
	uint64_t index;
	uint64_t stamp_ms;
	uint64_t n; /* 0: none yet */
	uint32_t offset;
	uint32_t expiration_ms;
	uint32_t distance; /* 0 while n == 1 */
	struct run_item last;
};

struct body_pair {
	uint64_t body_n;
	uint64_t n; /* times */
};

struct lane_writer {
	struct buf *out;
	struct block block; /* growing */
	struct block first; /* of the group */
	uint64_t blocks;    /* in the group */
	uint64_t seq_step;  /* from block to block */
	uint64_t index_step;
	uint64_t last_seq; /* last block's of the group */
	uint64_t last_index;
	uint64_t written_seq; /* last of what was written */
	uint64_t written_index;
	struct step_writer stamps; /* of the group's blocks */
	struct step_writer bodies; /* of the group's messages */
	struct buf pairs;          /* struct body_pair: the growing block's bodies */
};

static void add_body(struct lane_writer *w, uint32_t body_n, uint64_t n)
{
	struct body_pair *pairs = (struct body_pair *)w->pairs.p;
	size_t pairs_n = w->pairs.n / sizeof *pairs;
	if (pairs_n > 0 && pairs[pairs_n - 1].body_n == body_n)
		pairs[pairs_n - 1].n += n;
	else
		buf_put_bytes(&w->pairs, &(struct body_pair){body_n, n}, sizeof *pairs);
}

static void end_group(struct lane_writer *w)
{
	if (w->blocks == 0)
		return;
	put_varint(w->out, w->first.seq - w->written_seq);
	put_varint(w->out, w->first.index - w->written_index);
	put_varint(w->out, w->first.n - 1);
	put_varint(w->out, w->first.offset);
	put_varint(w->out, w->first.distance);
	put_varint(w->out, w->first.expiration_ms == ENQUEUE_NO_EXPIRATION
				   ? 0
				   : (uint64_t)w->first.expiration_ms + 1);
	put_varint(w->out, w->blocks - 1);
	if (w->blocks > 1) {
		put_varint(w->out, w->seq_step);
		put_varint(w->out, w->index_step);
	}
	step_end(&w->stamps);
	step_end(&w->bodies);
	buf_put_slice(w->out, buf_slice(&w->stamps.out));
	buf_put_slice(w->out, buf_slice(&w->bodies.out));
	w->written_seq = w->last_seq;
	w->written_index = w->last_index;
	w->blocks = 0;
}

static bool same_shape(const struct block *a, const struct block *b)
{
	return a->n == b->n && a->offset == b->offset && a->distance == b->distance &&
	       a->expiration_ms == b->expiration_ms;
}

/* Whether the block continues the group. The second block sets the steps. */
static bool joins_group(struct lane_writer *w)
{
	const struct block *b = &w->block;
	if (w->blocks == 0 || !same_shape(&w->first, b))
		return false;
	if (w->blocks == 1) {
		w->seq_step = b->seq - w->last_seq;
		w->index_step = b->index - w->last_index;
	}
	return b->seq - w->last_seq == w->seq_step && b->index - w->last_index == w->index_step;
}

static void end_block(struct lane_writer *w)
{
	if (w->block.n == 0)
		return;
	if (!joins_group(w)) {
		end_group(w);
		w->first = w->block;
		step_begin(&w->stamps, w->stamps.last);
		step_begin(&w->bodies, 0);
	}
	w->blocks++;
	w->last_seq = w->block.seq;
	w->last_index = w->block.index;
	step_add(&w->stamps, w->block.stamp_ms, 1);
	const struct body_pair *pairs = (const struct body_pair *)w->pairs.p;
	for (size_t i = 0; i < w->pairs.n / sizeof *pairs; i++)
		step_add(&w->bodies, pairs[i].body_n, pairs[i].n);
	buf_clear(&w->pairs);
	w->block.n = 0;
}

/* Whether the message continues the block. The second message sets the distance. */
static bool joins_block(struct block *b, uint64_t seq, uint64_t index, const struct run_item *item)
{
	if (b->n == 0 || seq != b->seq + b->n || index != b->index ||
		item->expiration_ms != b->expiration_ms)
		return false;
	uint32_t distance = item->offset - b->last.offset - b->last.body_n;
	if (b->n == 1)
		b->distance = distance;
	return distance == b->distance;
}

static void write_message(struct lane_writer *w, const struct run *r, unsigned i)
{
	struct run_item item = run_item(r, i);
	uint64_t seq = r->first_seq + i;
	if (!joins_block(&w->block, seq, r->index, &item)) {
		end_block(w);
		w->block = (struct block){.seq = seq,
			.index = r->index,
			.stamp_ms = r->stamp_ms,
			.offset = item.offset,
			.expiration_ms = item.expiration_ms};
	}
	w->block.n++;
	w->block.last = item;
	add_body(w, item.body_n, 1);
}

/* The same as write_message() for n consecutive messages of a uniform run, but at once. */
static void write_span(struct lane_writer *w, const struct run *r, unsigned i, unsigned n)
{
	uint32_t distance = r->u.uniform.stride - r->u.uniform.body_n;
	unsigned end = i + n;
	write_message(w, r, i++);
	if (i < end && w->block.n > 1 && w->block.distance != distance)
		write_message(w, r, i++);
	if (i == end)
		return;
	w->block.distance = distance;
	w->block.n += end - i;
	w->block.last = run_item(r, end - 1);
	add_body(w, r->u.uniform.body_n, end - i);
}

static void write_run(struct lane_writer *w, const struct run *r)
{
	for (uint64_t rest = r->live; rest != 0;) {
		unsigned i = (unsigned)__builtin_ctzll(rest);
		uint64_t gaps = ~rest & run_bits_from(i);
		unsigned end = gaps ? (unsigned)__builtin_ctzll(gaps) : RUN_MAX;
		if (r->items_cap == 0)
			write_span(w, r, i, end - i);
		else
			for (unsigned k = i; k < end; k++)
				write_message(w, r, k);
		rest &= run_bits_from(end);
	}
}

/* ---- lanes ---- */

static uint64_t lane_live(const struct lane *l)
{
	uint64_t n = 0;
	for (uint64_t pos = l->runs.first; pos < l->runs.end; pos++)
		n += (uint64_t)__builtin_popcountll(run_ring_at(&l->runs, pos)->live);
	return n;
}

static int compare_returned(const void *a, const void *b)
{
	const struct lane_returned *x = a;
	const struct lane_returned *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void write_returned(const struct lane *l, struct buf *out)
{
	put_varint(out, l->returned_n);
	if (l->returned_n == 0)
		return;
	struct buf sorted = BUF_EMPTY;
	buf_put_bytes(&sorted, l->returned, l->returned_n * sizeof *l->returned);
	struct lane_returned *a = (struct lane_returned *)sorted.p;
	qsort(a, l->returned_n, sizeof *a, compare_returned);
	uint64_t last = 0;
	for (uint32_t i = 0; i < l->returned_n; i++) {
		put_varint(out, a[i].seq - last);
		put_varint(out, a[i].returns);
		last = a[i].seq;
	}
	buf_done(&sorted);
}

static void write_lane(struct lane_writer *w, const struct lane *l, unsigned level)
{
	uint64_t live = lane_live(l);
	if (live == 0)
		return;
	put_varint(w->out, level + 1);
	put_varint(w->out, live);
	put_varint(w->out, l->fresh);
	w->written_seq = w->written_index = w->stamps.last = 0;
	for (uint64_t pos = l->runs.first; pos < l->runs.end; pos++)
		write_run(w, run_ring_at(&l->runs, pos));
	end_block(w);
	end_group(w);
	write_returned(l, w->out);
}

static void write_lanes(const struct machine *m, struct buf *out)
{
	struct lane_writer w = {.out = out};
	put_varint(out, m->lanes_n);
	for (unsigned level = 0; level < m->lanes_n; level++)
		write_lane(&w, &m->lanes[level], level);
	write_lane(&w, &m->refused, LEVEL_REFUSED);
	put_varint(out, 0);
	buf_done(&w.stamps.out);
	buf_done(&w.bodies.out);
	buf_done(&w.pairs);
}

/* ---- consumers ---- */

struct row {
	struct unsettled first;
	struct unsettled last;
	uint64_t n;
	uint64_t step; /* of seq, if n > 1 */
};

/* Whether u continues the row. The second one sets the step. */
static bool joins_row(struct row *row, const struct unsettled *u)
{
	if (row->n == 0 || u->number != row->last.number + 1 || u->level != row->last.level ||
		u->returns != row->last.returns)
		return false;
	uint64_t step = u->seq - row->last.seq;
	if (row->n == 1)
		row->step = step;
	return step == row->step;
}

static void write_row(const struct row *row, const struct unsettled *before, struct buf *out)
{
	if (row->n == 0)
		return;
	put_varint(out, row->first.number - before->number);
	put_varint(out, zigzag((int64_t)(row->first.seq - before->seq)));
	put_varint(out, row->first.level);
	put_varint(out, row->first.returns);
	put_varint(out, row->n - 1);
	if (row->n > 1)
		put_varint(out, zigzag((int64_t)row->step));
}

static void write_checkout(const struct checkout *c, struct buf *out)
{
	struct row row = {0};
	struct unsettled before = {0};
	put_varint(out, checkout_n(c));
	for (uint64_t pos = c->ring.first; pos < c->ring.end; pos++) {
		const struct unsettled *u = unsettled_ring_at(&c->ring, pos);
		if (u->seq == 0)
			continue;
		if (!joins_row(&row, u)) {
			write_row(&row, &before, out);
			if (row.n > 0)
				before = row.last;
			row = (struct row){.first = *u};
		}
		row.last = *u;
		row.n++;
	}
	write_row(&row, &before, out);
}

static void write_consumer(const struct consumer *c, struct buf *out)
{
	buf_put_u64le(out, c->key.client);
	buf_put_u32le(out, (uint32_t)c->key.consumer);
	buf_put_u8(out, c->flags);
	buf_put_u8(out, c->cancelled);
	buf_put_u32le(out, (uint32_t)c->priority);
	put_varint(out, c->prefetch);
	put_varint(out, c->credit_bytes);
	put_varint(out, c->delivered_bytes);
	put_varint(out, c->last_number);
	put_varint(out, c->tag_n);
	buf_put_bytes(out, c->tag, c->tag_n);
	write_checkout(&c->checkout, out);
}

/* Numbers the consumers by attach order, in `ordinal`, which is scratch. */
static void write_consumers(const struct machine *m, struct buf *out)
{
	const struct consumers *cs = &m->consumers;
	uint64_t n = 0;
	LIST_EACH(node, &cs->all)
	LIST_ENTRY(node, struct consumer, all)->ordinal = n++;
	put_varint(out, n);
	LIST_EACH(node, &cs->all)
	write_consumer(LIST_ENTRY(node, struct consumer, all), out);
	put_varint(out, cs->active != NULL ? cs->active->ordinal + 1 : 0);
	put_varint(out, cs->waiting);
	for (size_t i = 0; i < cs->levels_n; i++) {
		LIST_EACH(node, &cs->levels[i]->waiting)
		put_varint(out, LIST_ENTRY(node, struct consumer, turn)->ordinal);
	}
}

/* ---- the rest ---- */

/* All but its count. Returns the last sequence. */
static uint64_t write_dead(
	const struct machine *m, const struct dead_range *d, uint64_t last, struct buf *out)
{
	put_varint(out, zigzag((int64_t)(d->seq - last)));
	put_varint(out, m->stamp_ms - d->stamp_ms);
	put_varint(out, d->level);
	put_varint(out, d->reason);
	return d->seq + d->n - 1;
}

static void write_dead_letters(const struct machine *m, struct buf *out)
{
	const struct ring *waiting = &m->dead.waiting;
	uint64_t last = 0;
	put_varint(out, m->dead.out_n);
	for (unsigned i = 0; i < m->dead.out_n; i++)
		last = write_dead(m, &m->dead.out[i], last, out);
	put_varint(out, ring_n(waiting));
	for (uint64_t pos = waiting->first; pos < waiting->end; pos++) {
		const struct dead_range *d = dead_range_ring_at(waiting, pos);
		last = write_dead(m, d, last, out);
		put_varint(out, d->n - 1);
	}
}

static void write_outcomes(const struct publisher *p, struct buf *out)
{
	uint64_t last = 0;
	put_varint(out, publisher_outcomes(p));
	for (uint32_t i = p->begin; i < p->end; i++) {
		const struct outcome *o = &p->outcomes[i];
		put_varint(out, o->seq - last);
		buf_put_u8(out, o->type);
		buf_put_u8(out, o->status);
		buf_put_u8(out, o->no_ack);
		put_varint(out, o->messages);
		put_varint(out, o->number);
		put_varint(out, o->consumer);
		put_varint(out, o->consumers);
		last = o->seq;
	}
}

static void write_publishers(const struct machine *m, struct buf *out)
{
	put_varint(out, m->publishers.n);
	for (size_t i = 0; i < m->publishers.n; i++) {
		const struct publisher *p = &m->publishers.a[i];
		buf_put_u64le(out, p->client);
		put_varint(out, p->last_seq);
		write_outcomes(p, out);
	}
}

static void write_head(const struct machine *m, struct buf *out)
{
	buf_put_bytes(out, MACHINE_SNAPSHOT_MAGIC, 4);
	buf_put_u8(out, MACHINE_SNAPSHOT_VERSION);
	buf_put_u8(out, m->gone);
	put_varint(out, m->index);
	put_varint(out, m->stamp_ms);
	put_varint(out, m->next_seq);
	put_varint(out, m->used_ms);
	put_varint(out, m->counts.published);
	put_varint(out, m->counts.delivered);
	put_varint(out, m->counts.acked);
	put_varint(out, m->counts.redelivered);
	put_varint(out, m->counts.dropped);
	command_put_config(out, &m->config);
}

void machine_snapshot(const struct machine *m, struct buf *out)
{
	size_t begin = out->n;
	write_head(m, out);
	write_publishers(m, out);
	write_lanes(m, out);
	write_consumers(m, out);
	write_dead_letters(m, out);
	buf_put_u64le(out, XXH3_64bits(out->p + begin, out->n - begin));
}

uint64_t machine_digest(const struct machine *m)
{
	struct buf b = BUF_EMPTY;
	machine_snapshot(m, &b);
	uint64_t hash = XXH3_64bits(b.p, b.n);
	buf_done(&b);
	return hash;
}

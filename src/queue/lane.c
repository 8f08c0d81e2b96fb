/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/lane.h"

#include <string.h>

#include "src/base/mem.h"

void lane_done(struct lane *l)
{
	for (uint64_t pos = l->runs.first; pos < l->runs.end; pos++)
		run_done(run_ring_at(&l->runs, pos));
	ring_done(&l->runs);
	mem_free(l->returned);
	memset(l, 0, sizeof *l);
}

bool lane_append(struct lane *l, uint64_t seq, uint64_t index, uint64_t stamp_ms,
	const struct run_item *item)
{
	l->fresh++;
	if (ring_n(&l->runs) > 0) {
		struct run *last = run_ring_at(&l->runs, l->runs.end - 1);
		if (run_takes(last, index, seq)) {
			run_add(last, seq, item);
			return false;
		}
	}
	run_init(run_ring_push(&l->runs), seq, index, stamp_ms, item);
	return true;
}

/* ---- finding ---- */

static bool covers(const struct lane *l, uint64_t pos, uint64_t seq)
{
	if (pos < l->runs.first || pos >= l->runs.end)
		return false;
	const struct run *r = run_ring_at(&l->runs, pos);
	return seq >= r->first_seq && seq - r->first_seq < r->count;
}

/* The last run that begins at or before seq, or the first run. */
static uint64_t search(const struct lane *l, uint64_t seq)
{
	uint64_t low = l->runs.first;
	uint64_t high = l->runs.end;
	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;
		if (run_ring_at(&l->runs, mid)->first_seq <= seq)
			low = mid;
		else
			high = mid;
	}
	return low;
}

bool lane_find(struct lane *l, uint64_t seq, struct lane_place *ret)
{
	if (!covers(l, l->hint, seq)) {
		/* Settling goes forward: mostly it is the next one. */
		l->hint = covers(l, l->hint + 1, seq) ? l->hint + 1 : search(l, seq);
		if (!covers(l, l->hint, seq))
			return false;
	}
	struct run *r = run_ring_at(&l->runs, l->hint);
	unsigned i = (unsigned)(seq - r->first_seq);
	*ret = (struct lane_place){r, l->hint, i, 0};
	return r->live >> i & 1;
}

/* ---- the heap of returned messages ---- */

static void returned_push(struct lane *l, struct lane_returned e)
{
	if (l->returned_n == l->returned_cap) {
		l->returned_cap = l->returned_cap ? l->returned_cap * 2 : 8;
		l->returned = mem_realloc(l->returned, l->returned_cap * sizeof e);
	}
	uint32_t i = l->returned_n++;
	for (; i > 0 && l->returned[(i - 1) / 2].seq > e.seq; i = (i - 1) / 2)
		l->returned[i] = l->returned[(i - 1) / 2];
	l->returned[i] = e;
}

void lane_returned_pop(struct lane *l)
{
	struct lane_returned e = l->returned[--l->returned_n];
	uint32_t n = l->returned_n;
	uint32_t i = 0;
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= n)
			break;
		if (child + 1 < n && l->returned[child + 1].seq < l->returned[child].seq)
			child++;
		if (l->returned[child].seq >= e.seq)
			break;
		l->returned[i] = l->returned[child];
		i = child;
	}
	if (n > 0) {
		l->returned[i] = e;
		return;
	}
	mem_free(l->returned);
	l->returned = NULL;
	l->returned_cap = 0;
}

/* ---- the head ---- */

struct lane_place lane_head_elsewhere(struct lane *l)
{
	struct lane_place p;
	if (l->returned_n > 0) {
		lane_find(l, l->returned[0].seq, &p);
		p.returns = l->returned[0].returns;
		return p;
	}
	l->cursor++;
	l->cursor_i = 0;
	return lane_head(l);
}

uint64_t lane_head_mask(const struct lane *l, const struct lane_place *head, uint64_t n)
{
	if (l->returned_n > 0)
		return UINT64_C(1) << head->i;
	uint64_t mask = head->run->live & run_bits_from(head->i);
	if (n >= (uint64_t)__builtin_popcountll(mask))
		return mask;
	uint64_t some = 0;
	for (; n > 0; n--) {
		some |= mask & -mask;
		mask &= mask - 1;
	}
	return some;
}

void lane_take_mask(struct lane *l, const struct lane_place *head, uint64_t mask)
{
	if (l->returned_n > 0) {
		lane_returned_pop(l);
		return;
	}
	l->fresh -= (uint64_t)__builtin_popcountll(mask);
	l->cursor = head->pos;
	l->cursor_i = (uint32_t)(RUN_MAX - __builtin_clzll(mask));
}

void lane_return(struct lane *l, uint64_t seq, uint32_t returns)
{
	returned_push(l, (struct lane_returned){seq, returns});
}

/* ---- dying ---- */

static bool run_is_dead(const void *element)
{
	return ((const struct run *)element)->live == 0;
}

static void pop_dead(struct lane *l)
{
	while (ring_n(&l->runs) > 0 && run_is_dead(run_ring_at(&l->runs, l->runs.first))) {
		if (l->cursor <= l->runs.first) {
			l->cursor = l->runs.first + 1;
			l->cursor_i = 0;
		}
		l->runs.dead--;
		run_ring_pop(&l->runs);
	}
}

static void compact(struct lane *l)
{
	uint64_t before = 0;
	for (uint64_t pos = l->runs.first; pos < l->cursor && pos < l->runs.end; pos++)
		before += !run_is_dead(run_ring_at(&l->runs, pos));
	if (l->cursor >= l->runs.end || run_is_dead(run_ring_at(&l->runs, l->cursor)))
		l->cursor_i = 0;
	ring_compact(&l->runs, sizeof(struct run), run_is_dead);
	l->cursor = l->runs.first + before;
}

bool lane_kill(struct lane *l, uint64_t pos, uint64_t mask)
{
	struct run *r = run_ring_at(&l->runs, pos);
	r->live &= ~mask;
	if (r->live != 0)
		return false;
	run_done(r);
	l->runs.dead++;
	if (pos == l->runs.first)
		pop_dead(l);
	else if (ring_wants_compaction(&l->runs))
		compact(l);
	return true;
}

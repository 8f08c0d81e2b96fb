/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of one priority level: runs in order of sequence, and which of them are ready.
 *
 * Ready messages leave a lane only at its head (taken, expired, dropped) or all at once (purged).
 * So those that were never taken are everything from a cursor on, and those that came back lie
 * before it: a heap. Neither needs a mark per message. Live messages before the cursor that are not
 * in the heap are checked out or dead letters; the lane does not care which.
 *
 * Invariants:
 *   1. runs are sorted by first_seq and do not overlap; entry indexes do not decrease
 *   2. every live message at or after the cursor is ready and never was taken: `fresh` of them
 *   3. every sequence in `returned` is live and before the cursor
 */
#ifndef WARREN_QUEUE_LANE_H
#define WARREN_QUEUE_LANE_H

#include "src/queue/run.h"

struct lane_returned {
	uint64_t seq;
	uint32_t returns; /* how often it came back, >= 1 */
};

struct lane {
	struct ring runs;  /* of struct run; dead: live == 0 */
	uint64_t cursor;   /* position of the run with the next fresh message */
	uint32_t cursor_i; /* where to look on within that run */
	uint32_t returned_n;
	uint32_t returned_cap;
	struct lane_returned *returned; /* min-heap by sequence */
	uint64_t fresh;
	uint64_t hint; /* position of the run found last */
};

/* A message in a lane. `run` and `pos` are good until the lane changes. */
struct lane_place {
	struct run *run;
	uint64_t pos;
	unsigned i;
	uint32_t returns; /* of lane_head() only */
};

static inline uint64_t lane_ready(const struct lane *l)
{
	return l->fresh + l->returned_n;
}

static inline uint64_t lane_seq(const struct lane_place *p)
{
	return p->run->first_seq + p->i;
}

void lane_done(struct lane *l);

/* Appends a fresh message; sequences only grow. True if it began a new run. */
bool lane_append(struct lane *l, uint64_t seq, uint64_t index, uint64_t stamp_ms,
	const struct run_item *item);

/* The live message `seq`. */
bool lane_find(struct lane *l, uint64_t seq, struct lane_place *ret);

/* The first ready message; there is one. */
static inline struct lane_place lane_head(struct lane *l);
/* It is no longer ready (but lives). */
static inline void lane_take(struct lane *l, const struct lane_place *head);
/* The first n fresh messages of the head's run if the head is fresh; else the head alone. */
uint64_t lane_head_mask(const struct lane *l, const struct lane_place *head, uint64_t n);
void lane_take_mask(struct lane *l, const struct lane_place *head, uint64_t mask);
/* A taken message is ready again. */
void lane_return(struct lane *l, uint64_t seq, uint32_t returns);

/* The messages `mask` of a run are gone. True if the run is, too. */
bool lane_kill(struct lane *l, uint64_t pos, uint64_t mask);

/* ---- the above, inline: these run for every message ---- */

struct lane_place lane_head_elsewhere(struct lane *l); /* not in the cursor's run */
void lane_returned_pop(struct lane *l);

static inline struct lane_place lane_head(struct lane *l)
{
	if (__builtin_expect(l->returned_n > 0, 0))
		return lane_head_elsewhere(l);
	struct run *r = run_ring_at(&l->runs, l->cursor);
	uint64_t rest = r->live & run_bits_from(l->cursor_i);
	if (__builtin_expect(rest == 0, 0))
		return lane_head_elsewhere(l);
	return (struct lane_place){r, l->cursor, (unsigned)__builtin_ctzll(rest), 0};
}

static inline void lane_take(struct lane *l, const struct lane_place *head)
{
	if (__builtin_expect(l->returned_n > 0, 0)) {
		lane_returned_pop(l);
		return;
	}
	l->fresh--;
	l->cursor = head->pos;
	l->cursor_i = head->i + 1;
}

#endif

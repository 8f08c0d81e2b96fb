/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers of 1 to 10 bytes, 7 bits each, low bits first; and sequences of numbers as (step, how
 * often) pairs: a long row of equal numbers, or of numbers a fixed step apart, is a few bytes.
 */
#ifndef WARREN_QUEUE_VARINT_H
#define WARREN_QUEUE_VARINT_H

#include "src/base/buf.h"

void put_varint(struct buf *b, uint64_t v);
/* Fails the reader on what put_varint() would not have written. */
uint64_t get_varint(struct reader *r);

/* Small for small negative numbers, too. */
static inline uint64_t zigzag(int64_t v)
{
	return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1 ^ -(v & 1));
}

/* Writes numbers below 2^62. Pairs are step << 1 (once) or step << 1 | 1, count - 2. */
struct step_writer {
	struct buf out;
	uint64_t last;
	uint64_t step; /* zigzag */
	uint64_t n;    /* steps not yet written */
};

/* Begins again after `last`; the memory stays. */
void step_begin(struct step_writer *w, uint64_t last);
/* Writes what is pending: out is complete. */
void step_end(struct step_writer *w);
void step_write_pending(struct step_writer *w);

static inline void step_add_many(struct step_writer *w, uint64_t step, uint64_t n)
{
	if (w->n > 0 && w->step != step) {
		step_write_pending(w);
		w->n = 0;
	}
	w->step = step;
	w->n += n;
}

/* Adds v, n times. */
static inline void step_add(struct step_writer *w, uint64_t v, uint64_t n)
{
	step_add_many(w, zigzag((int64_t)(v - w->last)), 1);
	if (n > 1)
		step_add_many(w, 0, n - 1);
	w->last = v;
}

struct step_reader {
	uint64_t last;
	uint64_t step;
	uint64_t n; /* steps not yet taken */
};

/* The next number. */
uint64_t step_next(struct step_reader *s, struct reader *r);

#endif

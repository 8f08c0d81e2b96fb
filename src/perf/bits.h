/* SPDX-License-Identifier: Apache-2.0
 *
 * A growing set of small numbers, one bit each: which sequence numbers have been seen. One thread.
 */
#ifndef WARREN_PERF_BITS_H
#define WARREN_PERF_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
	uint64_t *words; /* NULL while cap == 0 */
	size_t cap;      /* words */
	uint64_t count;  /* members */
};

void bits_done(struct bits *b);

/* Adds a member; returns whether it already was one. */
bool bits_add(struct bits *b, uint64_t member);
bool bits_has(const struct bits *b, uint64_t member);

/* How many are in `all` but neither in `seen` nor in `excused`. */
uint64_t bits_missing(const struct bits *all, const struct bits *seen, const struct bits *excused);

#endif

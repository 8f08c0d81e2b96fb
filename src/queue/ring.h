/* SPDX-License-Identifier: Apache-2.0
 *
 * A ring of equal elements named by positions: pushed at the end, popped at the front. A position
 * stays an element's name until ring_compact() closes the gaps of dead elements.
 *
 * The machine's tables (runs, entries, checked-out messages, pending dead letters) are rings sorted
 * by a key that only grows; elements die anywhere and are dropped at the front at once, elsewhere
 * when they are more than half. So a table costs memory for what lives in it, however old that is.
 */
#ifndef WARREN_QUEUE_RING_H
#define WARREN_QUEUE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RING_DEAD_MIN = 32 }; /* fewer dead elements than this are not worth compacting */

struct ring {
	void *p;        /* cap elements; NULL while cap == 0 */
	uint64_t first; /* positions [first, end) are in use */
	uint64_t end;
	uint64_t cap;   /* a power of two, or 0 */
	uint64_t dead;  /* elements in use whose owner counts them as dead */
};

void ring_done(struct ring *r);
/* Makes the ring twice as large. */
void ring_grow(struct ring *r, size_t size);
/* Gives memory back if the ring is nearly empty. Elements may move, positions stay. */
void ring_shrink(struct ring *r, size_t size);
/* Drops all elements for which dead() holds; the others take positions from `first` on. */
void ring_compact(struct ring *r, size_t size, bool (*dead)(const void *element));

static inline uint64_t ring_n(const struct ring *r)
{
	return r->end - r->first;
}

static inline bool ring_wants_compaction(const struct ring *r)
{
	return r->dead > RING_DEAD_MIN && r->dead > ring_n(r) / 2;
}

/* Typed access: RING_OF(run) defines run_ring_at(), run_ring_push() and run_ring_pop() over struct
 * run. Push returns the new element, uninitialised. */
#define RING_OF(name)                                                                              \
	static inline struct name *name##_ring_at(const struct ring *r, uint64_t pos)              \
	{                                                                                          \
		return (struct name *)r->p + (pos & (r->cap - 1));                                 \
	}                                                                                          \
	static inline struct name *name##_ring_push(struct ring *r)                                \
	{                                                                                          \
		if (__builtin_expect(ring_n(r) == r->cap, 0))                                      \
			ring_grow(r, sizeof(struct name));                                         \
		return name##_ring_at(r, r->end++);                                                \
	}                                                                                          \
	static inline void name##_ring_pop(struct ring *r)                                         \
	{                                                                                          \
		r->first++;                                                                        \
		if (__builtin_expect(ring_n(r) < r->cap / 8, 0))                                   \
			ring_shrink(r, sizeof(struct name));                                       \
	}

#endif

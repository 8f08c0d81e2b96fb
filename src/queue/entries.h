/* SPDX-License-Identifier: Apache-2.0
 *
 * Which entries are still needed: those with live runs, by index. The entry being applied is held
 * by one extra count, so that it is released once, at its end.
 */
#ifndef WARREN_QUEUE_ENTRIES_H
#define WARREN_QUEUE_ENTRIES_H

#include "src/queue/ring.h"

struct entry {
	uint64_t index;
	uint32_t runs; /* live ones; 0: dead */
};

RING_OF(entry)

struct entries {
	struct ring ring; /* of struct entry, sorted by index */
	uint64_t hint;    /* position found last */
};

static inline void entries_done(struct entries *e)
{
	ring_done(&e->ring);
}

/* Appends an entry, larger than all, with one count. */
static inline void entries_begin(struct entries *e, uint64_t index)
{
	*entry_ring_push(&e->ring) = (struct entry){index, 1};
}

/* One more run in the last entry. */
static inline void entries_add(struct entries *e)
{
	entry_ring_at(&e->ring, e->ring.end - 1)->runs++;
}

/* Takes back the count of entries_begin(); it is the last entry. True if no run is in it: the entry
 * is forgotten. */
static inline bool entries_end(struct entries *e)
{
	if (--entry_ring_at(&e->ring, e->ring.end - 1)->runs > 0)
		return false;
	e->ring.end--;
	return true;
}

/* One run less. True if it was the last one: the entry is forgotten. */
bool entries_remove(struct entries *e, uint64_t index);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/entries.h"

#include <assert.h>

static bool is_at(const struct entries *e, uint64_t pos, uint64_t index)
{
	return pos >= e->ring.first && pos < e->ring.end &&
	       entry_ring_at(&e->ring, pos)->index == index;
}

/* The entry is there. */
static uint64_t find(const struct entries *e, uint64_t index)
{
	if (is_at(e, e->hint, index))
		return e->hint;
	if (is_at(e, e->hint + 1, index))
		return e->hint + 1;
	uint64_t low = e->ring.first;
	uint64_t high = e->ring.end;
	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;
		if (entry_ring_at(&e->ring, mid)->index <= index)
			low = mid;
		else
			high = mid;
	}
	assert(is_at(e, low, index));
	return low;
}

static bool is_dead(const void *element)
{
	return ((const struct entry *)element)->runs == 0;
}

bool entries_remove(struct entries *e, uint64_t index)
{
	e->hint = find(e, index);
	if (--entry_ring_at(&e->ring, e->hint)->runs > 0)
		return false;
	e->ring.dead++;
	while (ring_n(&e->ring) > 0 && is_dead(entry_ring_at(&e->ring, e->ring.first))) {
		e->ring.dead--;
		entry_ring_pop(&e->ring);
	}
	if (ring_wants_compaction(&e->ring))
		ring_compact(&e->ring, sizeof(struct entry), is_dead);
	return true;
}

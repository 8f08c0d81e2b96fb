/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/ring.h"

#include <string.h>

#include "src/base/mem.h"

enum { RING_FIRST = 4, RING_KEEP = 16 /* a ring of this size is never shrunk */ };

static uint8_t *at(const struct ring *r, size_t size, uint64_t pos)
{
	return (uint8_t *)r->p + (pos & (r->cap - 1)) * size;
}

static void move_to(struct ring *r, size_t size, uint64_t cap)
{
	struct ring to = {mem_alloc(cap * size), r->first, r->end, cap, r->dead};
	for (uint64_t pos = r->first; pos < r->end; pos++)
		memcpy(at(&to, size, pos), at(r, size, pos), size);
	mem_free(r->p);
	*r = to;
}

void ring_done(struct ring *r)
{
	mem_free(r->p);
	*r = (struct ring){0};
}

void ring_grow(struct ring *r, size_t size)
{
	move_to(r, size, r->cap ? r->cap * 2 : RING_FIRST);
}

void ring_shrink(struct ring *r, size_t size)
{
	if (r->cap <= RING_KEEP)
		return;
	uint64_t cap = r->cap / 2;
	while (cap > RING_KEEP && ring_n(r) < cap / 4)
		cap /= 2;
	move_to(r, size, cap);
}

void ring_compact(struct ring *r, size_t size, bool (*dead)(const void *element))
{
	uint64_t to = r->first;
	for (uint64_t pos = r->first; pos < r->end; pos++) {
		if (dead(at(r, size, pos)))
			continue;
		if (to != pos)
			memcpy(at(r, size, to), at(r, size, pos), size);
		to++;
	}
	r->end = to;
	r->dead = 0;
	if (ring_n(r) < r->cap / 8)
		ring_shrink(r, size);
}

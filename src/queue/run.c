/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/run.h"

#include "src/base/mem.h"

_Static_assert(sizeof(struct run) <= 64, "a run is a cache line");

enum { ITEMS_FIRST = 4 };

void run_init(
	struct run *r, uint64_t seq, uint64_t index, uint64_t stamp_ms, const struct run_item *item)
{
	*r = (struct run){
		.first_seq = seq,
		.index = index,
		.stamp_ms = stamp_ms,
		.live = 1,
		.u.uniform = {0, item->body_n},
		.first_offset = item->offset,
		.expiration_ms = item->expiration_ms,
		.count = 1,
	};
}

void run_done(struct run *r)
{
	if (r->items_cap)
		mem_free(r->u.items);
	r->items_cap = 0;
}

static void items_reserve(struct run *r, unsigned n)
{
	unsigned cap = r->items_cap;
	while (cap < n)
		cap *= 2;
	if (cap == r->items_cap)
		return;
	r->u.items = mem_realloc(r->u.items, cap * sizeof *r->u.items);
	r->items_cap = (uint8_t)cap;
}

static void become_mixed(struct run *r)
{
	unsigned cap = ITEMS_FIRST;
	while (cap < r->count)
		cap *= 2;
	struct run_item *items = mem_alloc(cap * sizeof *items);
	for (unsigned i = 0; i < r->count; i++)
		items[i] = run_item(r, i);
	r->u.items = items;
	r->items_cap = (uint8_t)cap;
}

/* Whether the run stays uniform with `item` as message i. The second message sets the stride. */
static bool stays_uniform(struct run *r, unsigned i, const struct run_item *item)
{
	if (item->body_n != r->u.uniform.body_n || item->expiration_ms != r->expiration_ms)
		return false;
	uint32_t ahead = item->offset - r->first_offset;
	if (r->count > 1)
		return ahead == i * r->u.uniform.stride;
	if (ahead % i != 0)
		return false;
	r->u.uniform.stride = ahead / i;
	return true;
}

void run_add(struct run *r, uint64_t seq, const struct run_item *item)
{
	unsigned i = (unsigned)(seq - r->first_seq);
	if (r->items_cap == 0 && !stays_uniform(r, i, item))
		become_mixed(r);
	if (r->items_cap) {
		items_reserve(r, i + 1);
		r->u.items[i] = *item;
	}
	r->live |= UINT64_C(1) << i;
	r->count = (uint8_t)(i + 1);
}

uint64_t run_bytes(const struct run *r, uint64_t mask)
{
	if (r->items_cap == 0)
		return (uint64_t)__builtin_popcountll(mask) * r->u.uniform.body_n;
	uint64_t n = 0;
	for (; mask != 0; mask &= mask - 1)
		n += r->u.items[__builtin_ctzll(mask)].body_n;
	return n;
}

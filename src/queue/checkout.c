/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/checkout.h"

uint64_t checkout_seek(const struct checkout *c, uint64_t number)
{
	const struct ring *r = &c->ring;
	if (ring_n(r) == 0 || number <= unsettled_ring_at(r, r->first)->number)
		return r->first;
	uint64_t ahead = number - unsettled_ring_at(r, r->first)->number;
	if (ahead < ring_n(r) && unsettled_ring_at(r, r->first + ahead)->number == number)
		return r->first + ahead;
	uint64_t low = r->first; /* its number is below */
	uint64_t high = r->end;  /* it, if there, is not */
	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;
		if (unsettled_ring_at(r, mid)->number < number)
			low = mid;
		else
			high = mid;
	}
	return high;
}

static bool is_settled(const void *element)
{
	return ((const struct unsettled *)element)->seq == 0;
}

void checkout_tidy(struct checkout *c)
{
	struct ring *r = &c->ring;
	while (ring_n(r) > 0 && is_settled(unsettled_ring_at(r, r->first))) {
		r->dead--;
		unsettled_ring_pop(r);
	}
	if (ring_wants_compaction(r))
		ring_compact(r, sizeof(struct unsettled), is_settled);
}

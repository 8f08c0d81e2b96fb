/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/dead.h"

#include <string.h>

#include "src/base/mem.h"

void dead_done(struct dead *d)
{
	mem_free(d->out);
	ring_done(&d->waiting);
	memset(d, 0, sizeof *d);
}

static bool continues(const struct dead_range *a, const struct dead_range *b)
{
	return a->seq + a->n == b->seq && a->stamp_ms == b->stamp_ms && a->level == b->level &&
	       a->reason == b->reason;
}

void dead_push(struct dead *d, const struct dead_range *r)
{
	if (ring_n(&d->waiting) > 0) {
		struct dead_range *last = dead_range_ring_at(&d->waiting, d->waiting.end - 1);
		if (continues(last, r)) {
			last->n += r->n;
			return;
		}
	}
	*dead_range_ring_push(&d->waiting) = *r;
}

static void out_reserve(struct dead *d)
{
	if (d->out_n < d->out_cap)
		return;
	d->out_cap = d->out_cap ? d->out_cap * 2 : 8;
	d->out = mem_realloc(d->out, d->out_cap * sizeof *d->out);
}

const struct dead_range *dead_send(struct dead *d)
{
	if (d->out_n == DEAD_WINDOW || ring_n(&d->waiting) == 0)
		return NULL;
	out_reserve(d);
	struct dead_range *first = dead_range_ring_at(&d->waiting, d->waiting.first);
	struct dead_range *out = &d->out[d->out_n++];
	*out = *first;
	out->n = 1;
	first->seq++;
	if (--first->n == 0)
		dead_range_ring_pop(&d->waiting);
	return out;
}

bool dead_settle(struct dead *d, uint64_t seq, struct dead_range *ret)
{
	for (unsigned i = 0; i < d->out_n; i++) {
		if (d->out[i].seq != seq)
			continue;
		*ret = d->out[i];
		d->out_n--;
		memmove(d->out + i, d->out + i + 1, (d->out_n - i) * sizeof *d->out);
		return true;
	}
	return false;
}

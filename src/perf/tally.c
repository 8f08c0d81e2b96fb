/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/tally.h"

#define NS_PER_S 1e9

static void latency_init(struct latency *l)
{
	histogram_reset(&l->all);
	histogram_reset(&l->interval);
}

static void latency_next(struct latency *l)
{
	if (l->interval.count == 0)
		return;
	histogram_merge(&l->all, &l->interval);
	histogram_reset(&l->interval);
}

void tally_init(struct tally *t)
{
	*t = (struct tally){.begin_ns = UINT64_MAX, .end_ns = UINT64_MAX};
	latency_init(&t->confirm);
	latency_init(&t->delivery);
}

void tally_begin(struct tally *t, uint64_t now_ns)
{
	t->begin = t->now;
	t->begin_ns = now_ns;
	for (unsigned e = 0; e < TALLY_EVENTS; e++)
		t->last_ns[e] = now_ns;
}

void tally_end(struct tally *t, uint64_t now_ns, bool idle_counts)
{
	if (t->begin_ns == UINT64_MAX)
		tally_begin(t, now_ns);
	if (t->end_ns != UINT64_MAX)
		return;
	t->end = t->now;
	t->end_ns = now_ns;
	for (unsigned e = 0; e < TALLY_EVENTS && idle_counts; e++) {
		if (now_ns - t->last_ns[e] > t->gap_ns[e])
			t->gap_ns[e] = now_ns - t->last_ns[e];
	}
}

void tally_next_interval(struct tally *t)
{
	latency_next(&t->confirm);
	latency_next(&t->delivery);
}

uint64_t tally_progress(const struct tally *t)
{
	const struct counts *c = &t->now;
	return c->published + c->confirmed + c->nacked + c->received;
}

double tally_seconds(const struct tally *t, enum tally_event e, bool by_last)
{
	uint64_t end = by_last ? t->last_ns[e] : t->end_ns;
	return end > t->begin_ns ? (double)(end - t->begin_ns) / NS_PER_S : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/histogram.h"

#include <math.h>
#include <string.h>

void histogram_reset(struct histogram *h)
{
	memset(h, 0, sizeof *h);
	h->min = UINT64_MAX;
}

uint64_t histogram_bucket_top(unsigned bucket)
{
	if (bucket < 2 * HISTOGRAM_STEPS)
		return bucket;
	unsigned shift = (bucket >> HISTOGRAM_BITS) - 1;
	uint64_t step = (bucket & (HISTOGRAM_STEPS - 1)) + HISTOGRAM_STEPS;
	return (step << shift) + ((uint64_t)1 << shift) - 1;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (from->count == 0)
		return;
	unsigned last = histogram_bucket(from->max);
	for (unsigned i = histogram_bucket(from->min); i <= last; i++)
		to->bucket[i] += from->bucket[i];
	to->count += from->count;
	to->sum += from->sum;
	if (from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
	if (h->count == 0)
		return 0;
	/* The nearest rank; the little bit less keeps 99.9 % of 1000 from becoming 1000. */
	double wanted = ceil(percent / 100 * (double)h->count - 1e-9);
	uint64_t rank = wanted > 1 ? (uint64_t)wanted : 1;
	uint64_t seen = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank) {
			uint64_t top = histogram_bucket_top(i);
			return top < h->max ? top : h->max;
		}
	}
	return h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->count > 0 ? h->sum / (double)h->count : 0;
}

uint64_t histogram_min(const struct histogram *h)
{
	return h->count > 0 ? h->min : 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * A histogram of latencies in nanoseconds with log-linear buckets, after the idea of HdrHistogram:
 * each power of two is cut into HISTOGRAM_STEPS equal buckets, so that every value up to 2^63 has a
 * place, recording is a few instructions, and no value is off by more than 1 / HISTOGRAM_STEPS
 * (0.8 %). Values below 2 * HISTOGRAM_STEPS are exact. One thread.
 */
#ifndef WARREN_PERF_HISTOGRAM_H
#define WARREN_PERF_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
	HISTOGRAM_BITS = 7,
	HISTOGRAM_STEPS = 1 << HISTOGRAM_BITS,
	/* one row of steps for the values below 2^BITS, one for each higher power of two */
	HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) * HISTOGRAM_STEPS,
};

struct histogram {
	uint64_t count;
	uint64_t min; /* UINT64_MAX while empty */
	uint64_t max;
	double sum;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* Empties it; also how it begins. */
void histogram_reset(struct histogram *h);

/* Which bucket a value falls into, and the largest value of a bucket. */
static inline unsigned histogram_bucket(uint64_t value)
{
	if (value < HISTOGRAM_STEPS)
		return (unsigned)value;
	unsigned shift = 63u - HISTOGRAM_BITS - (unsigned)__builtin_clzll(value);
	return (shift << HISTOGRAM_BITS) + (unsigned)(value >> shift);
}
uint64_t histogram_bucket_top(unsigned bucket);

static inline void histogram_record(struct histogram *h, uint64_t value)
{
	h->bucket[histogram_bucket(value)]++;
	h->count++;
	h->sum += (double)value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

/* Adds everything in `from` to `to`. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The value that `percent` % (0..100) of the recorded ones do not exceed: the top of its bucket,
 * but never more than the largest recorded. 0 while empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

/* 0 while empty. */
double histogram_mean(const struct histogram *h);
uint64_t histogram_min(const struct histogram *h);

#endif

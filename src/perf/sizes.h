/* SPDX-License-Identifier: Apache-2.0
 *
 * How large messages are: "1024", a range "100-2000" in which every size is as likely as another,
 * or a distribution of either with weights, "16:90,1k-4k:9,1m:1". k and m are 1024 and 1024 * 1024.
 * Pure.
 */
#ifndef WARREN_PERF_SIZES_H
#define WARREN_PERF_SIZES_H

#include <stdint.h>

enum {
	SIZES_PARTS_MAX = 32,
	SIZES_LARGEST = 512 * 1024 * 1024,
	SIZES_WEIGHT_MAX = 1000000,
};

struct sizes_part {
	uint32_t min; /* octets */
	uint32_t max;
	uint32_t weight;
};

struct sizes {
	struct sizes_part part[SIZES_PARTS_MAX];
	unsigned parts;
	uint32_t weight; /* of all parts */
	uint32_t min;    /* over all parts */
	uint32_t max;
};

/* 0, or -1 if the text is none of the above. */
int sizes_parse(struct sizes *s, const char *text);

/* The size that belongs to this random number. */
uint32_t sizes_pick(const struct sizes *s, uint64_t random);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Octets with their length in front, 32 bits, big endian: what CONTROL connections carry, each way. Pure.
 */
#ifndef WARREN_CLUSTER_LETTER_H
#define WARREN_CLUSTER_LETTER_H

#include "src/base/buf.h"

enum { LETTER_HEAD = 4 };

enum letter { LETTER_MORE, LETTER_WHOLE, LETTER_TOO_LONG };

/* What the octets (p, n) begin with: one of at most `max` octets. LETTER_WHOLE: *ret points into them, and
 * LETTER_HEAD + ret->n of them are used. */
static inline enum letter letter_get(const uint8_t *p, size_t n, size_t max, struct slice *ret)
{
	if (n < LETTER_HEAD)
		return LETTER_MORE;
	size_t size = load_u32be(p);
	if (size > max)
		return LETTER_TOO_LONG;
	if (n - LETTER_HEAD < size)
		return LETTER_MORE;
	*ret = slice_make(p + LETTER_HEAD, size);
	return LETTER_WHOLE;
}

static inline void letter_put(struct buf *out, struct slice octets)
{
	buf_put_u32be(out, (uint32_t)octets.n);
	buf_put_slice(out, octets);
}

#endif

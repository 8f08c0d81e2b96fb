/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/stamp.h"

#include "src/perf/mix.h"

enum { AT_PRODUCER = 16, AT_FLAGS = 20, AT_SEQUENCE = 24, AT_CHECKSUM = 32 };

static uint64_t fold(uint64_t h, const uint8_t *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		h = (h ^ load_u64le(p)) * 0x9fb21c651e98df25u;
		h ^= h >> 32;
	}
	uint8_t rest[8] = {0};
	memcpy(rest, p, n);
	return mix64(h ^ load_u64le(rest) ^ n);
}

static uint64_t checksum(const uint8_t *body, size_t n)
{
	uint64_t h = fold(n, body, AT_CHECKSUM);
	return fold(h, body + STAMP_LONG, n - STAMP_LONG);
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (; n >= 8; p += 8, n -= 8) {
		store_u64le(p, seed);
		seed = seed * 6364136223846793005u + 1442695040888963407u;
	}
	for (; n > 0; n--, seed >>= 8)
		*p++ = (uint8_t)seed;
}

void stamp_put_long(uint8_t *body, size_t n, const struct stamp *s)
{
	memcpy(body, "WPRV", 4);
	store_u32le(body + 4, s->run);
	store_u64le(body + 8, s->due_ns);
	store_u32le(body + AT_PRODUCER, s->producer);
	store_u32le(body + AT_FLAGS, s->flags);
	store_u64le(body + AT_SEQUENCE, s->sequence);
	fill(body + STAMP_LONG, n - STAMP_LONG,
		mix_message(s->producer, s->sequence, MIX_FILLER) ^ s->run);
	store_u64le(body + AT_CHECKSUM, checksum(body, n));
}

static enum stamp_kind read_long(struct slice body, struct stamp *ret)
{
	if (body.n < STAMP_LONG || load_u64le(body.p + AT_CHECKSUM) != checksum(body.p, body.n))
		return STAMP_CORRUPT;
	ret->producer = load_u32le(body.p + AT_PRODUCER);
	ret->flags = load_u32le(body.p + AT_FLAGS);
	ret->sequence = load_u64le(body.p + AT_SEQUENCE);
	return STAMP_WHOLE;
}

enum stamp_kind stamp_read(struct slice body, bool check, struct stamp *ret)
{
	if (body.n < STAMP_SHORT || memcmp(body.p, "WPR", 3) != 0)
		return STAMP_NONE;
	*ret = (struct stamp){.run = load_u32le(body.p + 4), .due_ns = load_u64le(body.p + 8)};
	if (body.p[3] == 'F')
		return STAMP_TIMED;
	if (body.p[3] != 'V')
		return STAMP_NONE;
	return check ? read_long(body, ret) : STAMP_TIMED;
}

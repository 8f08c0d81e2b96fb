/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/directory.h"

#include <assert.h>
#include <xxhash.h>

#include "storage/store.h"

enum { DIRECTORY_VERSION = 1 };

/* Any mix will do: a different entry must have a different seed. */
uint64_t entry_checksum(uint64_t group, uint64_t index, uint64_t term, const void *p, size_t n)
{
	uint64_t seed = group * 0x9e3779b97f4a7c15u;
	seed = (seed ^ index) * 0xc2b2ae3d27d4eb4fu;
	seed = (seed ^ term) * 0x165667b19e3779f9u;
	return XXH3_64bits_withSeed(p, n, seed);
}

static int check_header(struct slice value, char kind, size_t least)
{
	if (value.n < least || value.p[0] != (uint8_t)kind)
		return STORE_DAMAGED;
	if (value.p[1] > DIRECTORY_VERSION)
		return STORE_NEWER;
	return value.p[1] == DIRECTORY_VERSION ? STORE_OK : STORE_DAMAGED;
}

static void put_header(uint8_t *out, char kind, uint32_t n)
{
	out[0] = (uint8_t)kind;
	out[1] = DIRECTORY_VERSION;
	store_u16le(out + 2, 0);
	store_u32le(out + 4, n);
}

void record_encode_header(uint8_t out[RECORD_HEADER], uint32_t n)
{
	put_header(out, 'L', n);
}

int record_check_header(struct slice value, uint32_t n)
{
	int rc = check_header(value, 'L', RECORD_HEADER);
	if (rc != 0)
		return rc;
	return load_u32le(value.p + 4) == n ? STORE_OK : STORE_DAMAGED;
}

void directory_begin(struct buf *b, uint32_t n, uint64_t record_bytes)
{
	assert(b->n == 0);
	buf_reserve(b, DIRECTORY_HEADER + (size_t)n * DIRECTORY_SLOT + DIRECTORY_TRAILER);
	put_header(buf_put(b, 8), 'D', n);
	buf_put_u64le(b, record_bytes);
}

void directory_add(struct buf *b, const struct slot *s)
{
	uint8_t *p = buf_put(b, DIRECTORY_SLOT);
	store_u64le(p, s->group);
	store_u64le(p + 8, s->index);
	store_u64le(p + 16, s->term);
	store_u64le(p + 24, s->checksum);
	store_u32le(p + 32, s->length);
	store_u16le(p + 36, s->type);
	store_u16le(p + 38, s->flags);
}

void directory_seal(struct buf *b, uint64_t number)
{
	buf_put_u64le(b, XXH3_64bits_withSeed(b->p, b->n, number));
}

static void slot_decode(const uint8_t *p, struct slot *s)
{
	s->group = load_u64le(p);
	s->index = load_u64le(p + 8);
	s->term = load_u64le(p + 16);
	s->checksum = load_u64le(p + 24);
	s->length = load_u32le(p + 32);
	s->type = load_u16le(p + 36);
	s->flags = load_u16le(p + 38);
}

static bool lengths_add_up(const struct directory *d)
{
	uint64_t sum = RECORD_HEADER;
	for (uint32_t i = 0; i < d->n; i++)
		sum += load_u32le(d->slots.p + (size_t)i * DIRECTORY_SLOT + 32);
	return sum == d->record_bytes && sum <= UINT32_MAX;
}

int directory_open(struct directory *d, struct slice value, uint64_t number)
{
	int rc = check_header(value, 'D', DIRECTORY_HEADER + DIRECTORY_TRAILER);
	if (rc != 0)
		return rc;
	size_t sealed = value.n - DIRECTORY_TRAILER;
	uint64_t sum = XXH3_64bits_withSeed(value.p, sealed, number);
	d->n = load_u32le(value.p + 4);
	d->record_bytes = load_u64le(value.p + 8);
	d->offset = RECORD_HEADER;
	if (sum != load_u64le(value.p + sealed) ||
		sealed - DIRECTORY_HEADER != (uint64_t)d->n * DIRECTORY_SLOT)
		return STORE_DAMAGED;
	d->slots = reader_make(value.p + DIRECTORY_HEADER, sealed - DIRECTORY_HEADER);
	return lengths_add_up(d) ? STORE_OK : STORE_DAMAGED;
}

bool directory_next(struct directory *d, struct slot *ret_slot)
{
	const uint8_t *p = get_bytes(&d->slots, DIRECTORY_SLOT);
	if (p == NULL)
		return false;
	slot_decode(p, ret_slot);
	ret_slot->offset = (uint32_t)d->offset;
	d->offset += ret_slot->length;
	return true;
}

void directory_unseal(struct buf *b)
{
	assert(b->n >= DIRECTORY_HEADER + DIRECTORY_TRAILER);
	b->n -= DIRECTORY_TRAILER;
}

void directory_mark(struct buf *b, uint32_t slot, uint16_t flags)
{
	size_t at = DIRECTORY_HEADER + (size_t)slot * DIRECTORY_SLOT;
	assert(at + DIRECTORY_SLOT <= b->n);
	uint8_t *p = b->p + at + 38;
	store_u16le(p, load_u16le(p) | flags);
}

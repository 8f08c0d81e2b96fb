/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/format.h"

#include <assert.h>
#include <xxhash.h>

static const char META_MAGIC[6] = {'W', 'a', 'r', 'r', 'e', 'n'};

enum { VALUE_VERSION = 1, HARD_STAGED = 1 };

/* The 8 bytes that values start with; `extra` is the u32 in them. */
static void value_header(uint8_t *out, char kind, uint32_t extra)
{
	out[0] = (uint8_t)kind;
	out[1] = VALUE_VERSION;
	store_u16le(out + 2, 0);
	store_u32le(out + 4, extra);
}

static int value_check_header(struct slice value, char kind, size_t least)
{
	if (value.n < 2 || value.p[0] != (uint8_t)kind)
		return STORE_DAMAGED;
	if (value.p[1] > VALUE_VERSION)
		return STORE_NEWER;
	if (value.p[1] == 0 || value.n < least)
		return STORE_DAMAGED;
	return STORE_OK;
}

/* Appends the checksum of the n bytes before it. */
static void value_seal(uint8_t *out, size_t n, uint64_t seed)
{
	store_u64le(out + n, XXH3_64bits_withSeed(out, n, seed));
}

static bool value_sealed(const uint8_t *p, size_t n, uint64_t seed)
{
	return load_u64le(p + n) == XXH3_64bits_withSeed(p, n, seed);
}

void meta_encode(uint8_t out[META_BYTES], const struct store_identity *id, uint64_t generation)
{
	memcpy(out, META_MAGIC, sizeof META_MAGIC);
	store_u16le(out + 6, FORMAT_NEWEST);
	store_u64le(out + 8, id->node_id);
	store_u64le(out + 16, id->incarnation);
	store_u64le(out + 24, generation);
	value_seal(out, META_BYTES - 8, 0);
}

int meta_decode(struct slice value, struct store_identity *ret_id, uint64_t *ret_generation,
	unsigned *ret_format)
{
	/* A later format may look different behind its number. */
	if (value.n < 8 || memcmp(value.p, META_MAGIC, sizeof META_MAGIC) != 0)
		return STORE_DAMAGED;
	*ret_format = load_u16le(value.p + 6);
	if (*ret_format > FORMAT_NEWEST)
		return STORE_NEWER;
	size_t n = *ret_format < FORMAT_JOURNAL ? META_BYTES - 8 : META_BYTES;
	if (*ret_format == 0 || value.n != n || !value_sealed(value.p, n - 8, 0))
		return STORE_DAMAGED;
	*ret_generation = *ret_format < FORMAT_JOURNAL ? 0 : load_u64le(value.p + 24);
	ret_id->node_id = load_u64le(value.p + 8);
	ret_id->incarnation = load_u64le(value.p + 16);
	return STORE_OK;
}

void hard_encode(uint8_t out[HARD_BYTES], uint64_t log, const struct hard_row *row)
{
	value_header(out, 'H', row->staged ? HARD_STAGED : 0);
	store_u64le(out + 8, row->term);
	store_u64le(out + 16, row->vote);
	store_u64le(out + 24, row->since);
	value_seal(out, 32, log);
}

int hard_decode(struct slice value, uint64_t log, struct hard_row *ret_row)
{
	int rc = value_check_header(value, 'H', HARD_BYTES);
	if (rc != 0)
		return rc;
	if (value.n != HARD_BYTES || !value_sealed(value.p, 32, log))
		return STORE_DAMAGED;
	*ret_row = (struct hard_row){
		.term = load_u64le(value.p + 8),
		.vote = load_u64le(value.p + 16),
		.since = load_u64le(value.p + 24),
		.staged = (load_u32le(value.p + 4) & HARD_STAGED) != 0,
	};
	return STORE_OK;
}

size_t snap_bytes(const struct snap_row *row)
{
	return SNAP_HEADER + row->conf.n + row->data.n;
}

static void snap_put(uint8_t *to, struct slice from)
{
	if (from.n > 0)
		memcpy(to, from.p, from.n);
}

void snap_encode(uint8_t *out, uint64_t log, const struct snap_row *row)
{
	assert(row->conf.n <= UINT32_MAX);
	snap_put(out + SNAP_HEADER, row->conf);
	snap_put(out + SNAP_HEADER + row->conf.n, row->data);
	value_header(out, 'S', (uint32_t)row->conf.n);
	store_u64le(out + 8, row->index);
	store_u64le(out + 16, row->term);
	store_u64le(out + 24, row->conf_index);
	store_u64le(out + 32, row->data.n);
	store_u64le(out + 40,
		XXH3_64bits_withSeed(out + SNAP_HEADER, row->conf.n + row->data.n, log));
	value_seal(out, 48, log);
}

int snap_decode_header(struct slice value, uint64_t log, struct snap_row *ret_row)
{
	int rc = value_check_header(value, 'S', SNAP_HEADER);
	if (rc != 0)
		return rc;
	if (!value_sealed(value.p, 48, log))
		return STORE_DAMAGED;
	uint64_t conf_n = load_u32le(value.p + 4);
	uint64_t data_n = load_u64le(value.p + 32);
	uint64_t rest = value.n - SNAP_HEADER;
	if (conf_n > rest || data_n != rest - conf_n)
		return STORE_DAMAGED;
	*ret_row = (struct snap_row){
		.index = load_u64le(value.p + 8),
		.term = load_u64le(value.p + 16),
		.conf_index = load_u64le(value.p + 24),
		.conf = slice_make(value.p + SNAP_HEADER, conf_n),
		.data = slice_make(value.p + SNAP_HEADER + conf_n, data_n),
	};
	return STORE_OK;
}

int snap_decode(struct slice value, uint64_t log, struct snap_row *ret_row)
{
	struct snap_row row;
	int rc = snap_decode_header(value, log, &row);
	if (rc != 0)
		return rc;
	uint64_t sum = XXH3_64bits_withSeed(value.p + SNAP_HEADER, value.n - SNAP_HEADER, log);
	if (sum != load_u64le(value.p + 40))
		return STORE_DAMAGED;
	*ret_row = row;
	return STORE_OK;
}

static uint64_t row_checksum(struct slice key, struct slice value)
{
	return XXH3_64bits_withSeed(value.p, value.n, XXH3_64bits(key.p, key.n));
}

void row_encode(uint8_t *out, struct slice key, struct slice value)
{
	if (value.n > 0)
		memcpy(out + ROW_HEADER, value.p, value.n);
	value_header(out, 'R', 0);
	store_u64le(out + 8, row_checksum(key, slice_make(out + ROW_HEADER, value.n)));
}

int row_decode(struct slice stored, struct slice key, struct slice *ret_value)
{
	int rc = value_check_header(stored, 'R', ROW_HEADER);
	if (rc != 0)
		return rc;
	struct slice value = slice_make(stored.p + ROW_HEADER, stored.n - ROW_HEADER);
	/* The header is not under the checksum, but there is nothing else in it. */
	if (load_u16le(stored.p + 2) != 0 || load_u32le(stored.p + 4) != 0 ||
		load_u64le(stored.p + 8) != row_checksum(key, value))
		return STORE_DAMAGED;
	*ret_value = value;
	return STORE_OK;
}

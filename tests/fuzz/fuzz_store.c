/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: storage/format.c and storage/directory.c, the values of the store as read from a
 * disk.
 *
 *   input := what u8 | seal u8 | key u64 | value        the upper half of `what` are octets of a
 *                                                       row's key
 *
 * Few mutations would get past a checksum, so with `seal` odd it is made right before decoding.
 *
 * Invariants:
 *  - a decoder says 0, NEWER or DAMAGED, reads nothing beside the value, and gives slices within
 * it;
 *  - what decoded and is encoded again decodes to the same;
 *  - with a wrong key, or a changed octet under the checksum, it does not decode;
 *  - a directory that opens has as many slots as it says, and their lengths add up.
 */
#include <xxhash.h>

#include "src/base/buf.h"
#include "storage/directory.h"
#include "storage/format.h"
#include "tests/fuzz/fuzz.h"

static int known(int rc)
{
	CHECK(rc == STORE_OK || rc == STORE_NEWER || rc == STORE_DAMAGED);
	return rc;
}

static void seal(uint8_t *p, size_t n, size_t at, uint64_t seed)
{
	if (n >= at + 8)
		store_u64le(p + at, XXH3_64bits_withSeed(p, at, seed));
}

static void check_within(struct slice value, struct slice s)
{
	CHECK(s.n == 0 || (s.p >= value.p && s.p + s.n <= value.p + value.n));
}

static void fuzz_meta(uint8_t *p, size_t n, bool sealed)
{
	struct store_identity id, again;
	unsigned format;
	uint64_t generation, generation_again;
	uint8_t out[META_BYTES];
	if (sealed)
		seal(p, n, n < META_BYTES ? 24 : 32, 0);
	if (known(meta_decode(slice_make(p, n), &id, &generation, &format)) != STORE_OK)
		return;
	CHECK(format >= 1 && format <= FORMAT_NEWEST);
	CHECK(n == (format < FORMAT_JOURNAL ? META_BYTES - 8 : META_BYTES));
	meta_encode(out, &id, generation);
	CHECK(meta_decode(slice_make(out, sizeof out), &again, &generation_again, &format) == STORE_OK);
	CHECK(again.node_id == id.node_id && again.incarnation == id.incarnation);
	CHECK(generation_again == generation);
	p[9] ^= 1;
	CHECK(meta_decode(slice_make(p, n), &id, &generation, &format) == STORE_DAMAGED);
}

static void fuzz_hard(uint8_t *p, size_t n, bool sealed, uint64_t group)
{
	struct hard_row row, again;
	uint8_t out[HARD_BYTES];
	if (sealed)
		seal(p, n, 32, group);
	if (known(hard_decode(slice_make(p, n), group, &row)) != STORE_OK)
		return;
	hard_encode(out, group, &row);
	CHECK(hard_decode(slice_make(out, sizeof out), group, &again) == STORE_OK);
	CHECK(again.term == row.term && again.vote == row.vote && again.since == row.since);
	CHECK(hard_decode(slice_make(p, n), group + 1, &again) == STORE_DAMAGED);
	p[8] ^= 1;
	CHECK(hard_decode(slice_make(p, n), group, &again) == STORE_DAMAGED);
}

static void fuzz_snap(uint8_t *p, size_t n, bool sealed, uint64_t group)
{
	struct snap_row row, head, again;
	if (sealed && n >= SNAP_HEADER) {
		store_u64le(p + 40, XXH3_64bits_withSeed(p + SNAP_HEADER, n - SNAP_HEADER, group));
		seal(p, n, 48, group);
	}
	struct slice value = slice_make(p, n);
	int rc = known(snap_decode_header(value, group, &head));
	int whole = known(snap_decode(value, group, &row));
	CHECK(rc == STORE_OK || whole == rc);
	if (rc == STORE_OK)
		check_within(value, head.data);
	if (whole != STORE_OK)
		return;
	check_within(value, row.conf);
	check_within(value, row.data);
	struct buf out = BUF_EMPTY;
	CHECK(snap_bytes(&row) == n);
	snap_encode(buf_put(&out, n), group, &row);
	CHECK(snap_decode(buf_slice(&out), group, &again) == STORE_OK);
	CHECK(again.index == row.index && again.term == row.term);
	CHECK(again.conf_index == row.conf_index);
	CHECK(slice_eq(again.conf, row.conf) && slice_eq(again.data, row.data));
	CHECK(snap_decode(value, group + 1, &again) == STORE_DAMAGED);
	if (n > SNAP_HEADER) {
		p[n - 1] ^= 1;
		CHECK(snap_decode(value, group, &again) == STORE_DAMAGED);
	}
	buf_done(&out);
}

static void fuzz_row(uint8_t *p, size_t n, bool sealed, struct slice key)
{
	struct slice value, again;
	if (sealed && n >= ROW_HEADER)
		store_u64le(p + 8, XXH3_64bits_withSeed(p + ROW_HEADER, n - ROW_HEADER,
					   XXH3_64bits(key.p, key.n)));
	struct slice stored = slice_make(p, n);
	if (known(row_decode(stored, key, &value)) != STORE_OK)
		return;
	check_within(stored, value);
	CHECK(value.n == n - ROW_HEADER);
	struct buf out = BUF_EMPTY;
	row_encode(buf_put(&out, n), key, value);
	CHECK(row_decode(buf_slice(&out), key, &again) == STORE_OK && slice_eq(value, again));
	CHECK(slice_eq(buf_slice(&out), stored));
	CHECK(row_decode(stored, slice_make(key.p, key.n - 1), &again) == STORE_DAMAGED);
	buf_done(&out);
}

static void check_slots(struct directory *d)
{
	struct slot s;
	uint32_t n = 0;
	uint64_t at = RECORD_HEADER;
	while (directory_next(d, &s)) {
		CHECK(s.offset == at);
		at += s.length;
		n++;
	}
	CHECK(n == d->n && at == d->record_bytes);
}

static void check_marked(struct slice value, uint64_t number, uint32_t slot)
{
	struct directory d;
	struct slot s;
	struct buf b = BUF_EMPTY;
	buf_put_slice(&b, value);
	directory_unseal(&b);
	directory_mark(&b, slot, DIRECTORY_TRUNCATED);
	directory_seal(&b, number);
	CHECK(directory_open(&d, buf_slice(&b), number) == STORE_OK);
	for (uint32_t i = 0; i <= slot; i++)
		CHECK(directory_next(&d, &s));
	CHECK((s.flags & DIRECTORY_TRUNCATED) != 0);
	buf_done(&b);
}

static void fuzz_directory(uint8_t *p, size_t n, bool sealed, uint64_t number)
{
	struct directory d;
	if (sealed && n >= DIRECTORY_TRAILER)
		seal(p, n, n - DIRECTORY_TRAILER, number);
	struct slice value = slice_make(p, n);
	if (known(directory_open(&d, value, number)) != STORE_OK)
		return;
	uint32_t slots = d.n;
	CHECK(n == DIRECTORY_HEADER + (size_t)slots * DIRECTORY_SLOT + DIRECTORY_TRAILER);
	check_slots(&d);
	if (slots > 0)
		check_marked(value, number, (uint32_t)number % slots);
	CHECK(directory_open(&d, value, number + 1) == STORE_DAMAGED);
}

static void fuzz_record(uint8_t *p, size_t n, uint64_t entries)
{
	uint8_t out[RECORD_HEADER];
	known(record_check_header(slice_make(p, n), (uint32_t)entries));
	record_encode_header(out, (uint32_t)entries);
	CHECK(record_check_header(slice_make(out, sizeof out), (uint32_t)entries) == STORE_OK);
	CHECK(record_check_header(slice_make(out, sizeof out), (uint32_t)entries + 1) ==
		STORE_DAMAGED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_make(data, size);
	uint8_t what = get_u8(&r);
	bool sealed = get_u8(&r) & 1;
	uint64_t key = get_u64le(&r);
	struct slice row_key = get_slice(&r, 1 + what / 16);
	if (r.bad)
		return 0;
	struct slice value = fuzz_exact(slice_make(r.p, reader_left(&r)));
	uint8_t *p = (uint8_t *)value.p;
	switch (what % 16) {
	case 0:
		fuzz_meta(p, value.n, sealed);
		break;
	case 1:
		fuzz_hard(p, value.n, sealed, key);
		break;
	case 2:
		fuzz_snap(p, value.n, sealed, key);
		break;
	case 3:
		fuzz_row(p, value.n, sealed, row_key);
		break;
	case 4:
		fuzz_directory(p, value.n, sealed, key);
		break;
	default:
		fuzz_record(p, value.n, key);
	}
	fuzz_free(value);
	return 0;
}

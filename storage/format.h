/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of every value in the store but the records (storage/directory.h). Little endian, no
 * padding, each with a kind, a version and a checksum (XXH3, 64 bits) that is seeded with the key, so
 * that a value that turns up under another key is noticed, too.
 *
 *   meta   key "store"     0 "Warren"  6 u16 format  8 u64 node id  16 u64 incarnation
 *                          24 u64 generation of the journal  32 u64 checksum of the 32 bytes before
 *                          (format 1: no generation, since there was no journal)
 *
 *   hard   key u64 log     0 'H'  1 version  2 u16 0  4 u32 flags  8 u64 term  16 u64 vote  24 u64 since
 *                          32 u64 checksum of the 32 bytes before
 *
 *   snap   key u64 log     0 'S'  1 version  2 u16 0  4 u32 conf bytes  8 u64 index  16 u64 term
 *                          24 u64 conf index  32 u64 data bytes  40 u64 checksum of conf and data
 *                          48 u64 checksum of the 48 bytes before  56 conf, data
 *
 *   row    key 1-500 bytes 0 'R'  1 version  2 u16 0  4 u32 0  8 u64 checksum of the value
 *                          16 value
 *
 * A log's number is its group's, or that with the highest bit set: a group has one, and another while
 * that is staged beside it (storage/staging.h), which is what flag 1 of the hard row says.
 *
 * A log exists when its hard row does. `since`: its entries in records with a smaller number are
 * dead, whatever their directory says; it was dropped and made anew.
 *
 * The format number in `meta` is raised by every change that an older program must not touch; the
 * version byte of a value tells the variants of that value apart.
 */
#ifndef WARREN_STORAGE_FORMAT_H
#define WARREN_STORAGE_FORMAT_H

#include <stdint.h>

#include "src/base/bytes.h"
#include "storage/store.h"

enum {
	FORMAT_NEWEST = 2, /* the newest format of a store that this program knows */
	FORMAT_JOURNAL = 2, /* the first with a journal (storage/journal.h) */
	META_BYTES = 40,
	HARD_BYTES = 40,
	SNAP_HEADER = 56,
	ROW_HEADER = 16,
};

struct hard_row {
	uint64_t term;
	uint64_t vote;
	uint64_t since;
	bool staged; /* not the group's log, as yet */
};

struct snap_row {
	uint64_t index;
	uint64_t term;
	uint64_t conf_index;
	struct slice conf;
	struct slice data;
};

/* All decoders return 0, STORE_NEWER or STORE_DAMAGED; slices point into the value given. Encoders write the whole of a
 * fixed size, or snap_bytes(). Checksums of a log's values are seeded with its number, `log`. */

void meta_encode(uint8_t out[META_BYTES], const struct store_identity *id, uint64_t generation);
/* *ret_format is set also for STORE_NEWER. The generation is 0 in format 1. */
int meta_decode(struct slice value, struct store_identity *ret_id, uint64_t *ret_generation,
	unsigned *ret_format);

void hard_encode(uint8_t out[HARD_BYTES], uint64_t log, const struct hard_row *row);
int hard_decode(struct slice value, uint64_t log, struct hard_row *ret_row);

size_t snap_bytes(const struct snap_row *row);
void snap_encode(uint8_t *out, uint64_t log, const struct snap_row *row);
int snap_decode(struct slice value, uint64_t log, struct snap_row *ret_row);
/* Without reading (and checking) conf and data: start-up touches one page of each snapshot. */
int snap_decode_header(struct slice value, uint64_t log, struct snap_row *ret_row);

void row_encode(uint8_t *out, struct slice key, struct slice value); /* ROW_HEADER + value.n bytes */
int row_decode(struct slice stored, struct slice key, struct slice *ret_value);

#endif

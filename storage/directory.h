/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a record: what entries of all groups one commit wrote, and the directory that says
 * what they are. Both are stored under the record's number, in two tables, so that start-up reads
 * directories and not bodies.
 *
 *   log    key u64 number  0 'L'  1 version  2 u16 0  4 u32 entries
 *                          8 bytes of the entries, one behind the other
 *
 *   dir    key u64 number  0 'D'  1 version  2 u16 0  4 u32 entries  8 u64 bytes of the log value
 *                          16 slot, slot, ...
 *                          u64 checksum of all before, seeded with the number
 *
 *   slot                   0 u64 group  8 u64 index  16 u64 term  24 u64 checksum of the bytes
 *                          32 u32 length  36 u16 type  38 u16 flags
 *
 * Where an entry's bytes start is not stored: the lengths before it say so.
 *
 * Flags. MOVED: copied forward by the cleaner; says nothing about the entries after it.
 * TRUNCATED: removed from its log later (set in place, in the transaction that removes it). Without
 * it an entry of an old term would be back after a restart once the record of the entry that took
 * its place is gone.
 */
#ifndef WARREN_STORAGE_DIRECTORY_H
#define WARREN_STORAGE_DIRECTORY_H

#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/bytes.h"

enum {
	RECORD_HEADER = 8,
	DIRECTORY_HEADER = 16,
	DIRECTORY_SLOT = 40,
	DIRECTORY_TRAILER = 8,
};

enum directory_flag {
	DIRECTORY_MOVED = 1,
	DIRECTORY_TRUNCATED = 2,
};

struct slot {
	uint64_t group;
	uint64_t index;
	uint64_t term;
	uint64_t checksum;
	uint32_t offset; /* of the bytes, in the log value; not stored */
	uint32_t length;
	uint16_t type;
	uint16_t flags;
};

/* A directory being read. */
struct directory {
	struct reader slots;
	uint32_t n;            /* entries */
	uint64_t record_bytes; /* of the log value */
	uint64_t offset;       /* of the next entry */
};

/* Checksum of an entry's bytes, seeded with what the entry is. */
uint64_t entry_checksum(uint64_t group, uint64_t index, uint64_t term, const void *p, size_t n);

/* Bytes of both values of a record with n entries and so many bytes of them. */
static inline uint64_t record_footprint(uint32_t n, uint64_t bytes)
{
	return RECORD_HEADER + bytes + DIRECTORY_HEADER + (uint64_t)n * DIRECTORY_SLOT +
		DIRECTORY_TRAILER;
}

void record_encode_header(uint8_t out[RECORD_HEADER], uint32_t n);
/* 0, STORE_NEWER or STORE_DAMAGED. */
int record_check_header(struct slice value, uint32_t n);

/* Starts a directory in an empty buffer; then add n slots, then seal. */
void directory_begin(struct buf *b, uint32_t n, uint64_t record_bytes);
void directory_add(struct buf *b, const struct slot *s);
void directory_seal(struct buf *b, uint64_t number);

/* Opens a stored directory: 0, STORE_NEWER or STORE_DAMAGED. */
int directory_open(struct directory *d, struct slice value, uint64_t number);
/* The next slot; false at the end. The lengths add up to record_bytes: directory_open() has looked. */
bool directory_next(struct directory *d, struct slot *ret_slot);
/* Sets flags of a slot in a copy of a stored directory, which has to be sealed anew. */
void directory_mark(struct buf *b, uint32_t slot, uint16_t flags);
/* Takes the seal off, for directory_seal() to put it back. */
void directory_unseal(struct buf *b);

#endif

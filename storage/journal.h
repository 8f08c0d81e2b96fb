/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal: what makes small requests durable with one write and one sync. DIR/journal is a file
 * of fixed size, written in full when it is made, so that writing over it changes nothing of the
 * file system and a sync writes these bytes and no others. It holds requests, not pages: what a
 * round has in its journal the round has planned, too (storage/round.h), and a later commit of the
 * round carries it out in LMDB, if it still matters by then.
 *
 *   0     header: 0 "WarrenJ" 0  8 u16 version  10 u16 0  12 u32 bytes of the file  16 u64 node id
 *                 24 u64 salt    32 u64 checksum of the 32 bytes before
 *   4096  record, record, ...    each at the next multiple of 4096, so that no write touches a block
 *                                in which something durable is
 *
 *   record  0 'J'  1 version  2 u16 0  4 u32 bytes of the operations  8 u64 generation
 *           16 u64 number  24 u64 checksum of the operations and the 24 bytes before  32 operations
 *
 *   operation  0 kind  1 0  2 u16 0  4 u32 entries  8 u64 log (storage/format.h), then for
 *              'H'  hard state:     u64 term  u64 vote
 *              'A'  append:         u64 first, for each entry: u64 term  u32 length  u16 type  u16 0
 *                                   bytes
 *              'T'  truncation:     u64 index
 *              'D'  drop:           nothing
 *
 * Snapshots, and all that concerns a staged log (storage/staging.h), are not for the journal.
 *
 * Little endian; checksums (XXH3) are seeded with the salt, a random number that nobody is told, so
 * that no message's body can be taken for a record.
 *
 * Generations. LMDB holds the generation (storage/format.h, meta). A commit raises it if anything
 * was written to the journal since the last, and the journal begins anew behind its header. So the
 * records that count are those of LMDB's generation, numbered 0, 1, 2 and so on from the first place
 * on. A record is written when the one before is durable. Hence, of what is found at start:
 *
 *   the first record that does not fit,      the end: a write that a crash cut short was never
 *   and none of this generation behind it    confirmed. (Damage to the very last record cannot be
 *                                            told from that.)
 *   the same, and one behind it              damage: it was durable once. The store does not open
 *   a record of a later generation           data.mdb is older than the journal: not files of one
 *                                            moment. The store does not open
 *   records of earlier generations           are in LMDB already
 */
#ifndef WARREN_STORAGE_JOURNAL_H
#define WARREN_STORAGE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/list.h"
#include "storage/store.h"

enum {
	JOURNAL_VERSION = 1,
	JOURNAL_BLOCK = 4096,
	JOURNAL_BYTES = 4 << 20,  /* of a new file */
	JOURNAL_SMALL = 32 << 10, /* of operations; more is better written once, by LMDB */
	JOURNAL_HEADER = 40,
	JOURNAL_RECORD = 32,
};

struct journal {
	int fd; /* -1: closed */
	uint32_t bytes; /* of the file */
	uint64_t salt;
	uint64_t generation; /* of the records that are written */
	uint64_t number;     /* of the next record */
	uint64_t at;         /* offset of the next record */
	bool used;           /* there may be something of this generation in the file */
	bool direct;         /* past the page cache, where the file system can do that */
	bool direct_tried;
	struct buf record; /* being made: JOURNAL_SMALL octets, aligned to JOURNAL_BLOCK */
};

/* A request that was found, with operands as for the function of its name in storage/store.h. All of
 * it belongs to the journal, and is gone after the call. 0 or an error, which ends the reading. */
typedef int (*journal_each)(void *arg, uint64_t log, struct store_req *req);

/* Makes the file, or makes it anew, durably. 0 or an errno. */
int journal_create(struct journal *j, const char *dir, uint64_t node_id);
/* STORE_OK, STORE_NOTFOUND (no file), STORE_NEWER, STORE_DAMAGED (also: of another store), or
 * STORE_IO. `writable` as the caller needs it. */
int journal_open(struct journal *j, const char *dir, uint64_t node_id, bool writable);
void journal_close(struct journal *j);
/* JOURNAL_HEADER bytes. */
void journal_header_encode(uint8_t *out, const struct journal *j, uint64_t node_id);

/* Passes on what counts, in order, and takes the place behind it as the one to go on at. STORE_OK,
 * what `each` returned, STORE_DAMAGED or STORE_IO with *ret_why, a static text. */
int journal_read(struct journal *j, uint64_t generation, journal_each each, void *arg,
	const char **ret_why);

/* Whether the requests (struct store_req in a list) can be made durable by a record. */
bool journal_takes(const struct journal *j, const struct list *requests);
/* Makes them durable. 0, ENOSPC or EDQUOT if the file system has to find blocks for that (nothing is
 * promised then), or another errno after which nothing is known of the file. */
int journal_write(struct journal *j, const struct list *requests);
/* LMDB has committed all that was written, with this generation. */
void journal_restart(struct journal *j, uint64_t generation);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of records: what each holds, and how much of it lives. Belongs to the writer thread.
 * Of a record that has a live entry others read, under its log's lock, `number`, and under
 * `packed_lock` in addition what is behind `packed`; the writer changes that under packed_lock.
 *
 * Invariants:
 *  1. `all` is sorted by number.
 *  2. A record is in `dead` exactly if it is not being written (packed == NULL) and live == 0.
 *  3. The totals are the sums over `all`.
 */
#ifndef WARREN_STORAGE_RECORDS_H
#define WARREN_STORAGE_RECORDS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/list.h"

struct packed;

struct record {
	struct list link;      /* records.all */
	struct list dead_link; /* records.dead, or alone */
	uint64_t number;       /* key in the tables log and dir; never changes */
	uint64_t footprint;    /* bytes of both values */
	uint64_t live_bytes;   /* bytes of the entries that are needed */
	uint32_t live;         /* entries that are needed */
	uint32_t count;        /* entries in the directory */
	struct packed *packed; /* until it is in LMDB */
};

struct records {
	pthread_mutex_t packed_lock;
	struct list all;
	struct list dead;
	struct list *cursor; /* where the cleaner looks next, in `all` */
	uint64_t n;
	uint64_t footprint;
	uint64_t live;
	uint64_t live_bytes;
	uint64_t dead_footprint; /* of the records in `dead` */
	uint64_t next;           /* number of the next record */
};

void records_init(struct records *rs);
void records_done(struct records *rs);
/* A new last record, nothing in it yet. */
struct record *records_add(struct records *rs, uint64_t number);
/* Says what the record's values measure, once that is known. */
void records_size(struct records *rs, struct record *r, uint32_t count, uint64_t footprint);
void records_entry_lives(struct records *rs, struct record *r, uint32_t length);
void records_entry_dies(struct records *rs, struct record *r, uint32_t length);
/* A record without live entries may be deleted. */
void records_bury(struct records *rs, struct record *r);
/* Deleted. */
void records_remove(struct records *rs, struct record *r);

/* What live entries would measure if nothing else were stored. Counting their slots, too, keeps a
 * record full of tiny entries from looking half empty. */
uint64_t record_live_footprint(const struct record *r);
uint64_t records_live_footprint(const struct records *rs);

#endif

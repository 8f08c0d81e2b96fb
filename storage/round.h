/* SPDX-License-Identifier: Apache-2.0
 *
 * What the writer does with one transaction: planned first, then carried out.
 *
 *   plan     requests in order -> changes to tables, entries packed into records; the groups'
 *            indexes and the record table change already                 (storage/plan.c, cleaner.c)
 *   journal  small requests are durable by now and go back; the round goes on with more planning
 *            (storage/journal.h)
 *   commit   one LMDB transaction with the changes, repeated until the disk takes it (commit.c)
 *   finish   moved entries are found at their new place, requests go back
 *
 * So a round is one commit, but may be many steps of planning and journal. Until the commit an entry
 * is read from where the request had it (packed_entry.blob). A record in which nothing lives any
 * more when it is due is not written at all.
 *
 * Planning once and committing as often as it takes is what makes a full disk harmless: nothing in
 * memory has to be undone. The indexes may run ahead of the disk since nobody asks for an entry
 * whose append has not completed; an entry that the cleaner moves stays at its old place until the
 * copy is committed, and the old record stays for one more commit.
 */
#ifndef WARREN_STORAGE_ROUND_H
#define WARREN_STORAGE_ROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/env.h"
#include "storage/groups.h"
#include "storage/records.h"

/* Where a round cuts records: one batch of 64 KiB and its headers fit, and with LMDB's page header
 * and the record's own the bytes fill 17 whole pages. Larger records are no faster, smaller ones
 * die sooner. */
enum {
	ROUND_RECORD_BYTES = 17 * 4096 - 16 - 8,
	ROUND_RECORD_ENTRIES = 1024,
};

struct packed_entry {
	uint64_t group;
	uint64_t index;
	uint64_t term;
	uint64_t checksum;
	struct blob *blob; /* holds the bytes; the entry has a reference */
	const uint8_t *p;
	struct group_state *mover; /* if the cleaner moves it: its group ... */
	struct record *from;       /* ... and where it was; else NULL */
	uint32_t length;
	uint16_t type;
	uint16_t flags; /* enum directory_flag */
};

/* A record being written. */
struct packed {
	struct list link; /* round.packed */
	struct record *record;
	struct packed_entry *entries;
	uint32_t n;
	uint32_t cap;
	uint64_t bytes;
};

enum change_kind {
	CHANGE_HARD,      /* key group: put hard row */
	CHANGE_GONE,      /* key group: delete hard row and snapshot */
	CHANGE_SNAPSHOT,  /* key group: put snapshot and rows */
	CHANGE_RECORD,    /* key record: put both values */
	CHANGE_TRUNCATED, /* key record: mark a slot of the directory */
	CHANGE_DELETE,    /* key record: delete both values */
	CHANGE_NOTHING,   /* a commit for its own sake (storage/reclaim.h) */
};

struct change {
	enum change_kind kind;
	uint64_t key;
	union {
		struct hard_row hard;
		const struct store_req *snapshot;
		struct packed *packed;
		uint32_t slot;
	} u;
};

struct round {
	struct records *records;
	struct groups *groups;
	struct list requests; /* struct store_req and notes, in order */
	struct list packed;
	struct packed *open; /* the last one, while entries may be added */
	struct change *changes; /* carried out in this order */
	size_t n_changes;
	size_t cap_changes;
	struct list doomed;   /* dead records that this round deletes */
	size_t bytes; /* of entries and snapshots, roughly what the transaction will write */
	uint64_t moved_bytes;
};

void round_init(struct round *r, struct records *records, struct groups *groups);
void round_done(struct round *r);
struct change *round_change(struct round *r, enum change_kind kind, uint64_t key);
/* Adds an entry to the open record, which may be cut before. Takes a reference to its blob. Tells
 * where it will be. */
void round_pack(struct round *r, const struct packed_entry *e, struct index_entry *ret_place);
/* Ends the open record: what is packed next gets a larger record number. */
void round_cut(struct round *r);
/* The number of the record that the next entry goes to. */
uint64_t round_number(const struct round *r);
/* True if LMDB does not have yet what was planned. */
bool round_pending(const struct round *r);
/* False for a record that nobody needs any more: it need not be written. */
bool packed_is_needed(const struct packed *p);
/* Before a step plans anything: chooses records that are dead by now, to be deleted if the step ends with a
 * commit. They died in the round's steps before, or before the round; what dies in this step waits. */
void round_doom(struct round *r);
/* They will be deleted, since there will be a commit / will have to wait. */
void round_delete(struct round *r);
void round_spare(struct round *r);
/* After the commit: moved entries are at their new place, deleted records forgotten. The requests
 * are the caller's to complete; then the round is empty for the next. */
void round_finish(struct round *r);

#endif

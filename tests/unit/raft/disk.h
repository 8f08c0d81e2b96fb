/* SPDX-License-Identifier: Apache-2.0
 *
 * A store backend for tests: a disk that holds what was committed, and commits when the test says
 * so. It checks what the real ones rely on (consecutive indexes, terms in order, order of
 * requests).
 */
#ifndef WARREN_TESTS_RAFT_DISK_H
#define WARREN_TESTS_RAFT_DISK_H

#include "storage/store.h"

struct disk {
	struct list logs;   /* struct disk_log */
	struct list queued; /* struct store_req, not carried out */
	unsigned released;  /* calls of store_log_release() */
	unsigned retained;  /* ranges given to store_log_retain() */
	unsigned fetched;   /* entries read back */
};

struct disk_entry {
	uint64_t term;
	uint16_t type;
	uint8_t *p; /* NULL: not needed any more */
	size_t n;
};

/* One group's part of the disk; outlives the store_log. */
struct disk_log {
	struct list link;
	struct disk *disk;
	uint64_t group;
	bool exists, has_snapshot;
	uint64_t term, vote;
	uint64_t snapshot_index, snapshot_term, snapshot_conf_index;
	struct buf conf, data;
	unsigned snapshots;
	struct disk_entry *entries; /* entries[i] has index i + 1 */
	size_t n;
};

void disk_init(struct disk *d);
void disk_done(struct disk *d);
/* What would be found after a crash now. */
void disk_clone(struct disk *ret, const struct disk *d);
struct store_log *disk_log_open(struct disk *d, struct store_port *port, uint64_t group);
/* Carries out at most `max` queued requests; they complete with store_port_poll(). */
unsigned disk_commit(struct disk *d, unsigned max);
struct disk_log *disk_find(struct disk *d, uint64_t group);

#endif

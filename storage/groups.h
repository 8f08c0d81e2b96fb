/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store knows of each log, whether it is open or not. A group has one, or two while another
 * is staged (storage/staging.h).
 *
 * Who may touch what:
 *  - everything but `opened` and `staged` belongs to the writer, which changes `index`, `exists`,
 *    `hard` and `snapshot_index` under `lock`; the owner of an open log reads them under `lock`. The
 *    writer reads its own without.
 *  - the table and `opened` are guarded by groups.lock, and so are changes of `staged`.
 * Lock order: groups.lock and group_state.lock are never held together; records.packed_lock may be
 * taken with group_state.lock held.
 *
 * A state is in the table while the group exists, or has entries, or a log of it is open or was
 * closed and the writer does not know yet.
 */
#ifndef WARREN_STORAGE_GROUPS_H
#define WARREN_STORAGE_GROUPS_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "storage/format.h"
#include "storage/index.h"

struct group_state {
	uint64_t id;            /* of the log */
	_Atomic bool staged;    /* it is not the group's own */
	pthread_mutex_t lock;
	struct index index;     /* `at` is a struct record */
	bool exists;            /* has a hard row */
	struct hard_row hard;   /* its content */
	uint64_t snapshot_index; /* of the newest snapshot; 0 without one */
	unsigned opened;        /* logs not closed, as far as the writer knows */
	UT_hash_handle hh;
};

struct groups {
	pthread_mutex_t lock;
	struct group_state *table;
	uint64_t existing; /* writer: groups whose own log has a hard row */
};

void store_groups_init(struct groups *gs);
void store_groups_done(struct groups *gs);
/* NULL if it is not there. */
struct group_state *store_groups_find(struct groups *gs, uint64_t id);
struct group_state *store_groups_find_or_add(struct groups *gs, uint64_t id);
/* The group's own log: found or added, and counted as opened. Any thread. */
struct group_state *store_groups_open(struct groups *gs, uint64_t group);
/* The log of that number, for the start: found or added, and counted as opened. */
struct group_state *store_groups_open_log(struct groups *gs, uint64_t id);
/* The one beside the group's own: found or added as staged, and counted as opened. Any thread. */
struct group_state *store_groups_stage(struct groups *gs, const struct group_state *own);
/* Writer: the staged log is the group's own from now on. Returns the former one, which is staged. */
struct group_state *store_groups_switch(struct groups *gs, struct group_state *staged);
/* Writer: undoes store_groups_open(); the state goes if nothing is left of the group. */
void store_groups_close(struct groups *gs, struct group_state *g);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Two logs of one group, in the same tables: its own, and one that is staged beside it
 * (store_log_stage()). They have different numbers, and records, directories and the cleaner know
 * nothing else of it.
 *
 *   group 7      log 7              hard row, snapshot, entries            the group's log
 *                log 7 | 1<<63      hard row (flag: staged), entries       staged
 *
 *   switch:      log 7              rows deleted: its entries are orphans
 *                log 7 | 1<<63      hard row (no flag), snapshot           the group's log
 *
 * The next one is staged as log 7, and so on: what a switch writes does not depend on how much was
 * staged. Staged hard rows that a start finds are leftovers: they are deleted, and with them their
 * entries are orphans.
 */
#ifndef WARREN_STORAGE_STAGING_H
#define WARREN_STORAGE_STAGING_H

#include <lmdb.h>
#include <stdint.h>

#include "storage/store.h"

/* The number of the log beside this one. */
static inline uint64_t staging_twin(uint64_t log)
{
	return log ^ STORE_GROUP_END;
}

static inline uint64_t staging_group(uint64_t log)
{
	return log & ~STORE_GROUP_END;
}

/* Start: deletes what was staged and not switched to. 0 or LMDB's error; a row that cannot be
 * understood is left to the scan. */
int staging_forget(MDB_txn *txn, MDB_dbi hard);

#endif

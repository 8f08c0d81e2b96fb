/* SPDX-License-Identifier: Apache-2.0
 *
 * An open log in LMDB: the owner's handle on a group_state.
 */
#ifndef WARREN_STORAGE_LMDB_LOG_H
#define WARREN_STORAGE_LMDB_LOG_H

#include "storage/groups.h"
#include "storage/note.h"
#include "storage/store.h"

struct lmdb_log {
	struct store_log base;
	struct group_state *group;
	/* Releases submitted since the last other request and the last flush, in one note that is in
	 * port->submitted; NULL or out of date if the port was flushed since. */
	struct note *releases;
	uint64_t releases_flush; /* outbox.flushes when it was made */
};

struct group_state *lmdb_log_group(struct store_log *log);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries that were applied or fetched last, of all groups of a worker, so that consumers close
 * behind their publishers are served without reading the store. Bounded by bytes. What raft's log
 * holds in memory as well is the same block and costs only the slot.
 *
 * Oldest out first, with a second chance for what was asked for meanwhile. An owner (a group) drops
 * single entries as soon as it needs them no more, which keeps the rest longer.
 */
#ifndef WARREN_RAFT_ENTRY_CACHE_H
#define WARREN_RAFT_ENTRY_CACHE_H

#include "src/base/blob.h"
#include "src/base/list.h"

struct cached_entry;

struct entry_cache {
	struct cached_entry *by_key; /* uthash by owner and index */
	struct list order;           /* struct cached_entry, oldest first */
	size_t bytes;                /* of all entries with their slots, never above bytes_max */
	size_t bytes_max;
};

/* What an entry's bytes are: inside `blob`, not necessarily at its start. */
struct entry_bytes {
	struct blob *blob;
	const uint8_t *p;
	size_t n;
};

void entry_cache_init(struct entry_cache *c, size_t bytes_max);
void entry_cache_done(struct entry_cache *c);

/* Keeps entry `index` of the owner whose list of cached entries is `owner`; takes a reference of
 * its own. An entry under the same index is replaced. */
void entry_cache_put(
	struct entry_cache *c, struct list *owner, uint64_t index, const struct entry_bytes *e);
/* True and *ret_e, without a reference, if it is there. */
bool entry_cache_get(
	struct entry_cache *c, struct list *owner, uint64_t index, struct entry_bytes *ret_e);
/* It is fine if it is not there. */
void entry_cache_drop(struct entry_cache *c, struct list *owner, uint64_t index);
void entry_cache_drop_owner(struct entry_cache *c, struct list *owner);

#endif

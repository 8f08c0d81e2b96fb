/* SPDX-License-Identifier: Apache-2.0
 *
 * libraft's heap, made of struct blob: raft_malloc() is blob_new(), raft_free() is blob_unref().
 *
 * Hence the bytes of an entry are one counted block that raft's log, the storage writer, the entry
 * cache and deliveries on any thread share without a copy, whoever lets go of it last. It also
 * means that bytes handed to raft_apply() must start at blob->data: blob_of() finds the block from
 * there.
 *
 * The exception is the table that every group begins with: zero_tables.h.
 */
#ifndef WARREN_RAFT_HEAP_H
#define WARREN_RAFT_HEAP_H

/* Once per process, before any other use of libraft. */
void heap_install(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of one log that are needed, by index, and where each one's bytes are. Both backends
 * use it. A plain data structure: who shares it between threads locks around it.
 *
 *   e[head]                                e[n-1]
 *   | 3 | 4 | - | 9 | 10 | - | - | 14 | 15 | 16 |      '-': dead, `at` is NULL
 *     live entries below the snapshot  ^ snapshot 13; above it no gaps
 *
 * Invariants:
 *  1. `index` rises strictly from e[head] to e[n-1], dead ones included.
 *  2. The first and the last entry are not dead.
 *  3. At most half of the entries are dead (but a few always may be), so memory follows what lives.
 */
#ifndef WARREN_STORAGE_INDEX_H
#define WARREN_STORAGE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/store.h"

struct index_entry {
	uint64_t index;
	uint64_t term;
	uint64_t checksum; /* of the bytes (LMDB) */
	void *at;          /* struct record (LMDB) or struct blob (memory); NULL: dead */
	uint32_t offset;   /* first byte within it */
	uint32_t length;
	uint32_t slot; /* position in the record's directory (LMDB) */
	uint16_t type;
};

struct index {
	struct index_entry *e;
	size_t head; /* first used */
	size_t n;    /* end of the used ones */
	size_t cap;
	size_t dead; /* dead ones between head and n */
};

/* Told of an entry that dies, just before it does. */
typedef void (*index_dies)(void *arg, const struct index_entry *e);

/* An index of zeroes is empty. */
void index_done(struct index *ix);

static inline bool index_empty(const struct index *ix)
{
	return ix->head == ix->n;
}

/* 0 if empty. */
static inline uint64_t index_last(const struct index *ix)
{
	return index_empty(ix) ? 0 : ix->e[ix->n - 1].index;
}

static inline size_t index_count(const struct index *ix)
{
	return ix->n - ix->head - ix->dead;
}

/* The position of the first entry, dead ones included, at or above `index`; ix->n if none is. */
size_t index_from(const struct index *ix, uint64_t index);
/* The live entry, or NULL. Valid until the index changes. */
struct index_entry *index_find(const struct index *ix, uint64_t index);
/* Adds behind the last. */
void index_push(struct index *ix, const struct index_entry *e);
/* Adds anywhere, for the start-up scan; index_sort() before any other use. Of several entries with
 * the same index the one pushed last wins, the others die. */
void index_push_unsorted(struct index *ix, const struct index_entry *e);
void index_sort(struct index *ix, index_dies dies, void *arg);
/* Ends entry `index`; false if it is not there. */
bool index_drop(struct index *ix, uint64_t index, index_dies dies, void *arg);
/* Ends all entries at or above `from`. */
void index_truncate(struct index *ix, uint64_t from, index_dies dies, void *arg);
/* Ends the entries in [from, to] that are in none of the n sorted ranges. */
void index_keep(struct index *ix, uint64_t from, uint64_t to, const struct store_range *live,
	unsigned n, index_dies dies, void *arg);

#endif

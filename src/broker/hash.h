/* SPDX-License-Identifier: Apache-2.0
 *
 * uthash as this folder uses it: our memory, XXH3, keys that may be empty. Included by .c files
 * only; whoever is outside src/broker walks the tables with the *_first and *_next functions.
 *
 * Also the copies that entities own of the slices they are given.
 */
#ifndef WARREN_BROKER_HASH_H
#define WARREN_BROKER_HASH_H

#define XXH_INLINE_ALL
#include <uthash.h>
#include <xxhash.h>

#include "src/base/bytes.h"
#include "src/base/mem.h"

#undef uthash_malloc
#undef uthash_free
#undef HASH_FUNCTION
#undef HASH_KEYCMP
#undef HASH_INITIAL_NUM_BUCKETS
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define uthash_malloc(size) mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#define HASH_FUNCTION(key, n, hash) (hash) = (unsigned)XXH3_64bits((key), (n))
#define HASH_KEYCMP(a, b, n) ((n) == 0 ? 0 : memcmp((a), (b), (n)))
/* Most exchanges have few bindings, most vhosts few queues. */
#define HASH_INITIAL_NUM_BUCKETS 4U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 2U

/* A copy, to be given back with broker_disown(). Never has a NULL pointer. */
static inline struct slice broker_own(struct slice s)
{
	return s.n == 0 ? slice_make("", 0) : slice_make(mem_dup(s.p, s.n), s.n);
}

static inline void broker_disown(struct slice *s)
{
	if (s->n > 0)
		mem_free((void *)(uintptr_t)s->p);
	*s = slice_make("", 0);
}

#endif

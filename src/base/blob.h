/* SPDX-License-Identifier: Apache-2.0
 *
 * A counted block of bytes: how one copy of an entry is shared by libraft's log, the storage
 * writer, the entry cache, and deliveries on any thread. The counter is atomic; the bytes are
 * written by one owner before the block is shared and never after.
 *
 * blob_of() finds the block from the pointer to its first byte, which is what libraft holds: its
 * heap (raft/heap.c) is made of blobs, so raft_free() is blob_unref().
 */
#ifndef WARREN_BASE_BLOB_H
#define WARREN_BASE_BLOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
	_Atomic uint32_t refs;
	uint32_t magic; /* BLOB_MAGIC while alive, checked by blob_of() */
	size_t cap;     /* bytes behind `data` */
	_Alignas(16) uint8_t data[];
};

#define BLOB_MAGIC 0x626f6c62u

/* A new block with one reference and uninitialised bytes. */
struct blob *blob_new(size_t cap);

/* May move; only while the caller holds the only reference. */
struct blob *blob_grow(struct blob *b, size_t cap);

static inline struct blob *blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

/* Somebody else holds a reference, too. */
static inline bool blob_is_shared(struct blob *b)
{
	return atomic_load_explicit(&b->refs, memory_order_acquire) > 1;
}

/* NULL is fine. The last reference frees. */
void blob_unref(struct blob *b);

/* The block whose data starts at p. */
struct blob *blob_of(const void *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/blob.h"

#include <assert.h>

#include "src/base/mem.h"

struct blob *blob_new(size_t cap)
{
	struct blob *b = mem_alloc(sizeof *b + cap);
	atomic_init(&b->refs, 1);
	b->magic = BLOB_MAGIC;
	b->cap = cap;
	return b;
}

struct blob *blob_grow(struct blob *b, size_t cap)
{
	assert(atomic_load_explicit(&b->refs, memory_order_relaxed) == 1);
	b = mem_realloc(b, sizeof *b + cap);
	b->cap = cap;
	return b;
}

void blob_unref(struct blob *b)
{
	if (b == NULL)
		return;
	if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	b->magic = 0;
	mem_free(b);
}

struct blob *blob_of(const void *p)
{
	struct blob *b = (struct blob *)((uintptr_t)p - offsetof(struct blob, data));
	assert(b->magic == BLOB_MAGIC);
	return b;
}

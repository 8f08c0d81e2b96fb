/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/heap.h"

#include <raft.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "raft/zero_tables.h"
#include "src/base/blob.h"

static void *heap_malloc(void *data, size_t n)
{
	(void)data;
	return blob_new(n)->data;
}

static void heap_free(void *data, void *p)
{
	(void)data;
	if (p == NULL)
		return;
	if (zero_tables_has(p))
		zero_tables_free(p);
	else
		blob_unref(blob_of(p));
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
	size_t n;
	if (__builtin_mul_overflow(count, size, &n))
		return NULL;
	void *table = n == ZERO_TABLE_BYTES ? zero_tables_alloc() : NULL;
	return table != NULL ? table : memset(heap_malloc(data, n), 0, n);
}

static void *heap_realloc(void *data, void *p, size_t n)
{
	if (p == NULL)
		return heap_malloc(data, n);
	if (zero_tables_has(p)) {
		void *to = heap_malloc(data, n);
		memcpy(to, p, n < ZERO_TABLE_BYTES ? n : ZERO_TABLE_BYTES);
		zero_tables_free(p);
		return to;
	}
	return blob_grow(blob_of(p), n)->data;
}

/* Only libraft's own uv I/O asks for more alignment than a blob has; we do not use it, but a
 * program that links the library may. The library says at free what alignment it asked for. */
static void *heap_aligned_alloc(void *data, size_t alignment, size_t n)
{
	if (alignment <= _Alignof(struct blob))
		return heap_malloc(data, n);
	void *p;
	return posix_memalign(&p, alignment, n) == 0 ? p : NULL;
}

static void heap_aligned_free(void *data, size_t alignment, void *p)
{
	if (alignment <= _Alignof(struct blob))
		heap_free(data, p);
	else
		free(p);
}

void heap_install(void)
{
	static struct raft_heap heap = {
		.malloc = heap_malloc,
		.free = heap_free,
		.calloc = heap_calloc,
		.realloc = heap_realloc,
		.aligned_alloc = heap_aligned_alloc,
		.aligned_free = heap_aligned_free,
	};
	raft_heap_set(&heap);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/zero_tables.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "src/base/mem.h"

enum { TABLES_MAX = 256 * 1024 }; /* 2 GiB of address space */

static struct {
	pthread_mutex_t lock;
	_Atomic uintptr_t base; /* 0: not reserved yet; 1: cannot be */
	uint32_t used;          /* tables ever given out */
	uint32_t *free;         /* numbers of those that came back */
	uint32_t n_free, cap_free;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uintptr_t reserve(void)
{
	uintptr_t base = atomic_load_explicit(&all.base, memory_order_relaxed);
	if (base != 0)
		return base;
	void *p = mmap(NULL, (size_t)TABLES_MAX * ZERO_TABLE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED)
		madvise(p, (size_t)TABLES_MAX * ZERO_TABLE_BYTES, MADV_NOHUGEPAGE);
	base = p != MAP_FAILED ? (uintptr_t)p : 1;
	atomic_store_explicit(&all.base, base, memory_order_release);
	return base;
}

void *zero_tables_alloc(void)
{
	void *p = NULL;
	pthread_mutex_lock(&all.lock);
	uintptr_t base = reserve();
	if (base != 1 && all.n_free > 0)
		p = (void *)(base + (size_t)all.free[--all.n_free] * ZERO_TABLE_BYTES);
	else if (base != 1 && all.used < TABLES_MAX)
		p = (void *)(base + (size_t)all.used++ * ZERO_TABLE_BYTES);
	pthread_mutex_unlock(&all.lock);
	return p;
}

static void put_back(uint32_t number)
{
	pthread_mutex_lock(&all.lock);
	if (all.n_free == all.cap_free) {
		all.cap_free = all.cap_free != 0 ? all.cap_free * 2 : 64;
		all.free = mem_realloc(all.free, all.cap_free * sizeof *all.free);
	}
	all.free[all.n_free++] = number;
	pthread_mutex_unlock(&all.lock);
}

bool zero_tables_has(const void *p)
{
	uintptr_t base = atomic_load_explicit(&all.base, memory_order_acquire);
	return base > 1 && (uintptr_t)p - base < (size_t)TABLES_MAX * ZERO_TABLE_BYTES;
}

void zero_tables_free(void *p)
{
	uintptr_t base = atomic_load_explicit(&all.base, memory_order_relaxed);
	/* Private memory without a file reads as zeroes after this. If not, it is not used again. */
	if (madvise(p, ZERO_TABLE_BYTES, MADV_DONTNEED) == 0)
		put_back((uint32_t)(((uintptr_t)p - base) / ZERO_TABLE_BYTES));
}

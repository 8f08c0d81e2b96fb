/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

enum {
	INDEX_FIRST = 2,       /* entries allocated at first */
	INDEX_DEAD_ALLOWED = 64 /* so many dead ones are never worth a compaction */
};

void index_done(struct index *ix)
{
	mem_free(ix->e);
	*ix = (struct index){0};
}

size_t index_from(const struct index *ix, uint64_t index)
{
	size_t low = ix->head, high = ix->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (ix->e[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct index_entry *index_find(const struct index *ix, uint64_t index)
{
	size_t i = index_from(ix, index);
	if (i == ix->n || ix->e[i].index != index || ix->e[i].at == NULL)
		return NULL;
	return &ix->e[i];
}

/* Moves what lives to the front. */
static void index_compact(struct index *ix)
{
	size_t to = 0;
	for (size_t i = ix->head; i < ix->n; i++)
		if (ix->e[i].at != NULL)
			ix->e[to++] = ix->e[i];
	ix->head = 0;
	ix->n = to;
	ix->dead = 0;
}

static void index_shrink(struct index *ix)
{
	if (ix->cap <= INDEX_FIRST || ix->n * 4 > ix->cap)
		return;
	ix->cap = ix->n * 2 > INDEX_FIRST ? ix->n * 2 : INDEX_FIRST;
	ix->e = mem_realloc(ix->e, ix->cap * sizeof *ix->e);
}

/* Restores invariants 2 and 3. */
static void index_tidy(struct index *ix)
{
	while (ix->n > ix->head && ix->e[ix->n - 1].at == NULL)
		ix->n--, ix->dead--;
	while (ix->head < ix->n && ix->e[ix->head].at == NULL)
		ix->head++, ix->dead--;
	size_t unused = ix->head + ix->dead;
	if (!index_empty(ix) && (unused <= INDEX_DEAD_ALLOWED || unused * 2 <= ix->n))
		return;
	index_compact(ix);
	index_shrink(ix);
}

static void index_room(struct index *ix)
{
	if (ix->n < ix->cap)
		return;
	ix->cap = ix->cap == 0 ? INDEX_FIRST : ix->cap * 2;
	ix->e = mem_realloc(ix->e, ix->cap * sizeof *ix->e);
}

void index_push(struct index *ix, const struct index_entry *e)
{
	assert(e->at != NULL);
	assert(index_empty(ix) || e->index > index_last(ix));
	index_room(ix);
	ix->e[ix->n++] = *e;
}

void index_push_unsorted(struct index *ix, const struct index_entry *e)
{
	index_room(ix);
	ix->e[ix->n++] = *e;
}

static bool index_sorted(const struct index *ix)
{
	for (size_t i = ix->head + 1; i < ix->n; i++)
		if (ix->e[i - 1].index >= ix->e[i].index)
			return false;
	return true;
}

/* Stable merge of two sorted runs; the order of pushing decides between equal ones. */
static void index_merge(struct index_entry *a, size_t n_a, size_t n, struct index_entry *space)
{
	size_t i = 0, j = n_a, k = 0;
	while (i < n_a && j < n)
		space[k++] = a[j].index < a[i].index ? a[j++] : a[i++];
	while (i < n_a)
		space[k++] = a[i++];
	while (j < n)
		space[k++] = a[j++];
	memcpy(a, space, n * sizeof *a);
}

static void index_merge_sort(struct index_entry *a, size_t n, struct index_entry *space)
{
	if (n < 2)
		return;
	size_t half = n / 2;
	index_merge_sort(a, half, space);
	index_merge_sort(a + half, n - half, space);
	if (a[half].index <= a[half - 1].index)
		index_merge(a, half, n, space);
}

static void index_die(struct index *ix, struct index_entry *e, index_dies dies, void *arg)
{
	dies(arg, e);
	e->at = NULL;
	ix->dead++;
}

void index_sort(struct index *ix, index_dies dies, void *arg)
{
	if (index_sorted(ix))
		return;
	size_t n = ix->n - ix->head;
	struct index_entry *space = mem_alloc(n * sizeof *space);
	index_merge_sort(ix->e + ix->head, n, space);
	mem_free(space);
	for (size_t i = ix->head + 1; i < ix->n; i++)
		if (ix->e[i - 1].index == ix->e[i].index)
			index_die(ix, &ix->e[i - 1], dies, arg);
	/* Not index_tidy(): equal neighbours must not survive, invariant 1. */
	index_compact(ix);
}

bool index_drop(struct index *ix, uint64_t index, index_dies dies, void *arg)
{
	struct index_entry *e = index_find(ix, index);
	if (e == NULL)
		return false;
	index_die(ix, e, dies, arg);
	index_tidy(ix);
	return true;
}

void index_truncate(struct index *ix, uint64_t from, index_dies dies, void *arg)
{
	for (size_t i = index_from(ix, from); i < ix->n; i++)
		if (ix->e[i].at != NULL)
			index_die(ix, &ix->e[i], dies, arg);
	index_tidy(ix);
}

void index_keep(struct index *ix, uint64_t from, uint64_t to, const struct store_range *live,
	unsigned n, index_dies dies, void *arg)
{
	unsigned r = 0;
	for (size_t i = index_from(ix, from); i < ix->n && ix->e[i].index <= to; i++) {
		struct index_entry *e = &ix->e[i];
		while (r < n && live[r].to < e->index)
			r++;
		bool kept = r < n && live[r].from <= e->index;
		if (!kept && e->at != NULL)
			index_die(ix, e, dies, arg);
	}
	index_tidy(ix);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/terms.h"

#include <string.h>

#include "src/base/mem.h"

void terms_done(struct terms *t)
{
	mem_free(t->run);
	*t = (struct terms){0};
}

static void begin_run(struct terms *t, uint64_t from, uint64_t term)
{
	if (t->n == t->cap) {
		t->cap = t->cap > 0 ? 2 * t->cap : 2;
		t->run = mem_realloc(t->run, t->cap * sizeof *t->run);
	}
	t->run[t->n++] = (struct term_run){.from = from, .term = term};
}

void terms_reset(struct terms *t, uint64_t index, uint64_t term)
{
	t->n = 0;
	t->last = index;
	if (index > 0)
		begin_run(t, index, term);
}

void terms_push(struct terms *t, uint64_t term)
{
	t->last++;
	if (t->n == 0 || t->run[t->n - 1].term != term)
		begin_run(t, t->last, term);
}

void terms_truncate(struct terms *t, uint64_t index)
{
	if (index > t->last)
		return;
	t->last = index - 1;
	while (t->n > 0 && t->run[t->n - 1].from >= index)
		t->n--;
}

void terms_trim(struct terms *t, uint64_t index)
{
	unsigned k = 0;
	while (k + 1 < t->n && t->run[k + 1].from <= index)
		k++;
	if (k > 0)
		memmove(t->run, t->run + k, (t->n - k) * sizeof *t->run);
	t->n -= k;
	if (t->n > 0 && t->run[0].from < index)
		t->run[0].from = index;
}

uint64_t terms_of(const struct terms *t, uint64_t index)
{
	if (index > t->last)
		return 0;
	for (unsigned i = t->n; i > 0; i--)
		if (t->run[i - 1].from <= index)
			return t->run[i - 1].term;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/publishers.h"

#include <string.h>

#include "src/base/mem.h"

void publishers_done(struct publishers *p)
{
	mem_free(p->a);
	*p = (struct publishers){0};
}

/* Number of clients below `client`. */
static size_t rank(const struct publishers *p, uint64_t client)
{
	size_t low = 0;
	size_t high = p->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (p->a[mid].client < client)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct publisher *publishers_find(const struct publishers *p, uint64_t client)
{
	size_t i = rank(p, client);
	return i < p->n && p->a[i].client == client ? &p->a[i] : NULL;
}

void publishers_raise(struct publishers *p, uint64_t client, uint64_t seq)
{
	size_t i = rank(p, client);
	if (i < p->n && p->a[i].client == client) {
		if (p->a[i].last_seq < seq)
			p->a[i].last_seq = seq;
		return;
	}
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 4;
		p->a = mem_realloc(p->a, p->cap * sizeof *p->a);
	}
	memmove(p->a + i + 1, p->a + i, (p->n - i) * sizeof *p->a);
	p->n++;
	p->a[i] = (struct publisher){client, seq, 0};
}

void publishers_forget(struct publishers *p, uint64_t from, uint64_t to)
{
	size_t begin = rank(p, from);
	size_t end = to == UINT64_MAX ? p->n : rank(p, to + 1);
	if (begin >= end)
		return;
	memmove(p->a + begin, p->a + end, (p->n - end) * sizeof *p->a);
	p->n -= end - begin;
}

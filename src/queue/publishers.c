/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/publishers.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/queue/command.h"

void publishers_done(struct publishers *p)
{
	for (size_t i = 0; i < p->n; i++)
		mem_free(p->a[i].outcomes);
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
	p->a[i] = (struct publisher){.client = client, .last_seq = seq};
}

void publishers_forget(struct publishers *p, uint64_t from, uint64_t to)
{
	size_t begin = rank(p, from);
	size_t end = to == UINT64_MAX ? p->n : rank(p, to + 1);
	if (begin >= end)
		return;
	for (size_t i = begin; i < end; i++)
		mem_free(p->a[i].outcomes);
	memmove(p->a + begin, p->a + end, (p->n - end) * sizeof *p->a);
	p->n -= end - begin;
}

/* ---- outcomes ---- */

static uint64_t outcome_last(const struct outcome *o)
{
	return o->type == COMMAND_ENQUEUE ? o->seq + o->messages - 1 : o->seq;
}

static void outcomes_reserve(struct publisher *p)
{
	if (p->end < p->cap)
		return;
	uint32_t n = publisher_outcomes(p);
	if (p->begin > n) { /* more room in front than is needed */
		memmove(p->outcomes, p->outcomes + p->begin, n * sizeof *p->outcomes);
		p->begin = 0;
		p->end = n;
		return;
	}
	p->cap = p->cap ? p->cap * 2 : 1;
	p->outcomes = mem_realloc(p->outcomes, p->cap * sizeof *p->outcomes);
}

void publisher_keep(struct publisher *p, const struct outcome *o)
{
	struct outcome *last = p->end > p->begin ? &p->outcomes[p->end - 1] : NULL;
	if (last != NULL && o->type == COMMAND_ENQUEUE && last->type == COMMAND_ENQUEUE &&
		outcome_last(last) + 1 == o->seq) {
		last->messages += o->messages;
		return;
	}
	outcomes_reserve(p);
	p->outcomes[p->end++] = *o;
}

const struct outcome *publisher_outcome(const struct publisher *p, uint64_t seq)
{
	uint32_t low = p->begin;
	uint32_t high = p->end;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (outcome_last(&p->outcomes[mid]) < seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->end && p->outcomes[low].seq <= seq ? &p->outcomes[low] : NULL;
}

bool publisher_heard(struct publisher *p, uint64_t heard, struct outcome *ret)
{
	if (p->begin == p->end || outcome_last(&p->outcomes[p->begin]) > heard)
		return false;
	*ret = p->outcomes[p->begin++];
	if (p->begin == p->end) {
		mem_free(p->outcomes);
		p->outcomes = NULL;
		p->begin = p->end = p->cap = 0;
	}
	return true;
}

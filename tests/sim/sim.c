/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include "src/base/mem.h"

void sim_init(struct sim *s, uint64_t seed)
{
	*s = (struct sim){.random = seed * 0x9e3779b97f4a7c15u + 0x1234567, .now_us = 1000000};
	for (int i = 0; i < 8; i++)
		sim_random(s);
}

void sim_done(struct sim *s)
{
	mem_free(s->heap);
	s->heap = NULL;
}

/* splitmix64 */
uint64_t sim_random(struct sim *s)
{
	uint64_t z = (s->random += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to)
{
	return from + sim_random(s) % (to - from + 1);
}

bool sim_chance(struct sim *s, unsigned percent)
{
	return sim_random(s) % 100 < percent;
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void sim_after(struct sim *s, uint64_t us, void (*run)(void *arg, uint64_t number), void *arg,
	uint64_t number)
{
	if (s->n == s->cap) {
		s->cap = s->cap > 0 ? 2 * s->cap : 256;
		s->heap = mem_realloc(s->heap, s->cap * sizeof *s->heap);
	}
	struct sim_event e = {
		.at_us = s->now_us + us, .seq = s->seq++, .run = run, .arg = arg, .number = number};
	size_t i = s->n++;
	while (i > 0 && before(&e, &s->heap[(i - 1) / 2])) {
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = e;
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event first = s->heap[0];
	struct sim_event last = s->heap[--s->n];
	size_t i = 0;
	for (;;) {
		size_t k = 2 * i + 1;
		if (k >= s->n)
			break;
		if (k + 1 < s->n && before(&s->heap[k + 1], &s->heap[k]))
			k++;
		if (!before(&s->heap[k], &last))
			break;
		s->heap[i] = s->heap[k];
		i = k;
	}
	s->heap[i] = last;
	return first;
}

void sim_until(struct sim *s, uint64_t us)
{
	while (s->n > 0 && s->heap[0].at_us <= us) {
		struct sim_event e = pop(s);
		s->now_us = e.at_us;
		s->events++;
		e.run(e.arg, e.number);
	}
	s->now_us = us;
}

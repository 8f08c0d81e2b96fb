/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/lives.h"

#include "src/base/mem.h"

static struct life *life_get(struct lives *l, uint16_t number)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->seen[i].number == number)
			return &l->seen[i];
	l->seen = mem_realloc(l->seen, (l->n + 1) * sizeof *l->seen);
	l->seen[l->n] = (struct life){.number = number};
	return &l->seen[l->n++];
}

static uint64_t ended_of(const struct broker_node *n)
{
	return n->up ? n->incarnation - 1 : n->incarnation;
}

void lives_look(struct lives *l, const struct broker *b,
	void (*ended)(void *arg, uint16_t node, uint32_t incarnation), void *arg)
{
	for (size_t i = 0; i < b->n_nodes; i++) {
		uint64_t now = ended_of(b->nodes[i]);
		struct life *seen = life_get(l, b->nodes[i]->number);
		if (now <= seen->ended)
			continue;
		seen->ended = now;
		ended(arg, seen->number, (uint32_t)now);
	}
	for (size_t i = l->n; i > 0; i--) {
		struct life seen = l->seen[i - 1];
		if (broker_node_by_number(b, seen.number) != NULL)
			continue;
		l->seen[i - 1] = l->seen[--l->n];
		ended(arg, seen.number, UINT32_MAX);
	}
}

void lives_done(struct lives *l)
{
	mem_free(l->seen);
	*l = (struct lives){0};
}

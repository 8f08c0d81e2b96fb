/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/echoes.h"

#include <stddef.h>
#include <string.h>

#include "src/base/mem.h"

struct echoes_node {
	uint64_t node;
	bool late;
	uint64_t since_ms; /* it is waited for, and got no further; 0: it is not */
	uint64_t *heard;   /* by worker */
};

void echoes_init(struct echoes *e, unsigned n_workers)
{
	*e = (struct echoes){.n_workers = n_workers};
	e->applied = mem_zalloc(n_workers * sizeof *e->applied);
}

void echoes_done(struct echoes *e)
{
	while (e->n_nodes > 0)
		echoes_link_down(e, e->nodes[0].node);
	mem_free(e->nodes);
	mem_free(e->applied);
}

static struct echoes_node *find(struct echoes *e, uint64_t node)
{
	for (unsigned i = 0; i < e->n_nodes; i++)
		if (e->nodes[i].node == node)
			return &e->nodes[i];
	return NULL;
}

static bool has_all(const struct echoes *e, const struct echoes_node *n)
{
	for (unsigned w = 0; w < e->n_workers; w++)
		if (n->heard[w] < e->applied[w])
			return false;
	return true;
}

static void look(const struct echoes *e, struct echoes_node *n, uint64_t now)
{
	if (n->late || has_all(e, n))
		n->since_ms = 0;
	else if (n->since_ms == 0)
		n->since_ms = now > 0 ? now : 1;
}

void echoes_link_up(struct echoes *e, uint64_t node)
{
	if (find(e, node) != NULL)
		return;
	e->nodes = mem_realloc(e->nodes, (e->n_nodes + 1) * sizeof *e->nodes);
	struct echoes_node *n = &e->nodes[e->n_nodes++];
	*n = (struct echoes_node){.node = node, .heard = mem_zalloc(e->n_workers * sizeof *n->heard)};
	memcpy(n->heard, e->applied, e->n_workers * sizeof *n->heard);
}

void echoes_link_down(struct echoes *e, uint64_t node)
{
	struct echoes_node *n = find(e, node);
	if (n == NULL)
		return;
	mem_free(n->heard);
	*n = e->nodes[--e->n_nodes];
}

bool echoes_wanted(const struct echoes *e)
{
	for (unsigned i = 0; i < e->n_nodes; i++)
		if (!e->nodes[i].late)
			return true;
	return false;
}

void echoes_apply(struct echoes *e, unsigned worker, uint64_t seq, uint64_t now)
{
	if (seq > e->applied[worker])
		e->applied[worker] = seq;
	for (unsigned i = 0; i < e->n_nodes; i++)
		look(e, &e->nodes[i], now);
}

void echoes_hear(struct echoes *e, uint64_t node, unsigned worker, uint64_t seq, uint64_t now)
{
	struct echoes_node *n = find(e, node);
	if (n == NULL || worker >= e->n_workers || seq <= n->heard[worker])
		return;
	n->heard[worker] = seq;
	if (n->late && has_all(e, n))
		n->late = false;
	n->since_ms = 0; /* who gets on has its time anew */
	look(e, n, now);
}

uint64_t echoes_settled(const struct echoes *e, unsigned worker)
{
	uint64_t least = e->applied[worker];
	for (unsigned i = 0; i < e->n_nodes; i++)
		if (!e->nodes[i].late && e->nodes[i].heard[worker] < least)
			least = e->nodes[i].heard[worker];
	return least;
}

int echoes_patience_ms(const struct echoes *e, uint64_t now)
{
	uint64_t since = UINT64_MAX;
	for (unsigned i = 0; i < e->n_nodes; i++)
		if (e->nodes[i].since_ms != 0 && e->nodes[i].since_ms < since)
			since = e->nodes[i].since_ms;
	if (since == UINT64_MAX)
		return -1;
	return since + ECHOES_PATIENCE_MS > now ? (int)(since + ECHOES_PATIENCE_MS - now) : 0;
}

void echoes_expire(struct echoes *e, uint64_t now)
{
	for (unsigned i = 0; i < e->n_nodes; i++) {
		struct echoes_node *n = &e->nodes[i];
		n->late = n->late || (n->since_ms != 0 && now >= n->since_ms + ECHOES_PATIENCE_MS);
		look(e, n, now);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/node.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"

/* Nodes are few: the table is an array that is walked. */

struct broker_node *broker_node_find(const struct broker *b, uint64_t id)
{
	for (size_t i = 0; i < b->n_nodes; i++)
		if (b->nodes[i]->id == id)
			return b->nodes[i];
	return NULL;
}

struct broker_node *broker_node_by_number(const struct broker *b, uint16_t number)
{
	for (size_t i = 0; i < b->n_nodes; i++)
		if (b->nodes[i]->number == number)
			return b->nodes[i];
	return NULL;
}

struct broker_node *broker_node_by_name(const struct broker *b, struct slice name)
{
	for (size_t i = 0; i < b->n_nodes; i++)
		if (slice_eq(b->nodes[i]->name, name))
			return b->nodes[i];
	return NULL;
}

size_t broker_nodes_of_type(const struct broker *b, enum broker_node_type type)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n_nodes; i++)
		n += b->nodes[i]->type == type;
	return n;
}

size_t broker_nodes_up(const struct broker *b)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n_nodes; i++)
		n += b->nodes[i]->up;
	return n;
}

bool broker_node_serves(const struct broker_node *n)
{
	return n->up && !n->drained;
}

uint64_t broker_node_incarnation(const struct broker *b, uint64_t node)
{
	const struct broker_node *n = broker_node_find(b, node);
	return n == NULL ? 0 : n->incarnation;
}

const char *broker_node_type_name(enum broker_node_type type)
{
	return type == BROKER_NODE_RAM ? "ram" : "disc";
}

/* Into the table, which has room for it. */
static void enter(struct broker_node *n)
{
	struct broker *b = n->broker;
	size_t at = b->n_nodes++;
	for (; at > 0 && b->nodes[at - 1]->number > n->number; at--)
		b->nodes[at] = b->nodes[at - 1];
	b->nodes[at] = n;
}

static void leave(struct broker_node *n)
{
	struct broker *b = n->broker;
	size_t at = 0;
	while (b->nodes[at] != n)
		at++;
	b->n_nodes--;
	for (; at < b->n_nodes; at++)
		b->nodes[at] = b->nodes[at + 1];
}

struct broker_node *broker_node_new(struct broker *b, uint64_t id, uint16_t number,
	enum broker_node_type type, struct slice name, struct slice address)
{
	struct broker_node *n = MEM_NEW(struct broker_node);
	n->broker = b;
	n->id = id;
	n->number = number;
	n->type = type;
	n->name = broker_own(name);
	n->address = broker_own(address);
	broker_row_init(b, &n->row, BROKER_ROW_NODE, id);
	b->nodes = mem_realloc(b->nodes, (b->n_nodes + 1) * sizeof(*b->nodes));
	enter(n);
	return n;
}

void broker_node_set(struct broker_node *n, struct slice name, struct slice address)
{
	if (slice_eq(n->name, name) && slice_eq(n->address, address))
		return;
	broker_disown(&n->name);
	broker_disown(&n->address);
	n->name = broker_own(name);
	n->address = broker_own(address);
	broker_row_touch(n->broker, &n->row);
}

void broker_node_set_drained(struct broker_node *n, bool drained)
{
	struct broker *b = n->broker;
	if (n->drained == drained)
		return;
	n->drained = drained;
	broker_row_touch(b, &n->row);
	if (b->watch.node_drained != NULL)
		b->watch.node_drained(b->watch.arg, n);
}

void broker_node_set_number(struct broker_node *n, uint16_t number)
{
	if (n->number == number)
		return;
	leave(n);
	n->number = number;
	enter(n);
	broker_row_touch(n->broker, &n->row);
}

void broker_node_delete(struct broker_node *n)
{
	leave(n);
	broker_row_gone(n->broker, &n->row);
	broker_disown(&n->name);
	broker_disown(&n->address);
	mem_free(n);
}

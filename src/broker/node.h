/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster's nodes as the metadata knows them. The first one comes by NODE_UP into an empty
 * table, the others by JOIN_NODE; a node that is not in the table is no member.
 */
#ifndef WARREN_BROKER_NODE_H
#define WARREN_BROKER_NODE_H

#include "src/base/bytes.h"
#include "src/broker/row.h"

struct broker;

/* In commands and rows; never reused. */
enum broker_node_type { BROKER_NODE_DISC = 0, BROKER_NODE_RAM = 1, BROKER_NODE_TYPES };

/* Read only for everyone outside src/broker. Stable while the node is in the table. */
struct broker_node {
	struct broker *broker;
	uint64_t id;     /* random, of its store */
	uint16_t number; /* in client ids and members; from 1, never given to another node */
	bool up;         /* by the last NODE_UP or NODE_DOWN */
	enum broker_node_type type;
	bool drained; /* in maintenance: leads nothing that others could; until it is revived, or up anew */
	uint64_t incarnation; /* the newest that NODE_UP has told of; 0: was never up */
	struct slice name;    /* owned: "warren@host"; a label, but of one node only */
	struct slice address; /* owned: "host:port" of its cluster listener */

	/* What the rows of queues say, kept for placing members. */
	size_t n_members; /* without those that are leaving */
	size_t n_leaders; /* those that come first in their queue */

	struct broker_row row;
};

/* NULL if it is not in the table. */
struct broker_node *broker_node_find(const struct broker *b, uint64_t id);
struct broker_node *broker_node_by_number(const struct broker *b, uint16_t number);
struct broker_node *broker_node_by_name(const struct broker *b, struct slice name);

/* All of them are broker.nodes[0 .. n_nodes - 1], in the order of joining. These count. */
size_t broker_nodes_of_type(const struct broker *b, enum broker_node_type type);
size_t broker_nodes_up(const struct broker *b);

/* It is up and not in maintenance. */
bool broker_node_serves(const struct broker_node *n);

/* The newest known incarnation of a node; 0 if none. */
uint64_t broker_node_incarnation(const struct broker *b, uint64_t node);

/* "disc", "ram"; static. */
const char *broker_node_type_name(enum broker_node_type type);

/* ---- for apply*.c and rows*.c only ---- */

/* Id and number must be free. Strings are copied. */
struct broker_node *broker_node_new(struct broker *b, uint64_t id, uint16_t number,
	enum broker_node_type type, struct slice name, struct slice address);
void broker_node_set(struct broker_node *n, struct slice name, struct slice address);
/* Tells the watch if it was not so already. */
void broker_node_set_drained(struct broker_node *n, bool drained);
void broker_node_set_number(struct broker_node *n, uint16_t number);
void broker_node_delete(struct broker_node *n);

#endif

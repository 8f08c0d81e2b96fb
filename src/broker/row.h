/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes an entity a row of the store: its number, and whether the store has its present value.
 * Embedded by every entity; only rows.c and the entities' own files touch it.
 *
 * Rows are keyed by kind and number, never by name: two names of 255 octets do not fit into a key
 * of LMDB (511), and numbers come from the state, so they are the same on every node.
 */
#ifndef WARREN_BROKER_ROW_H
#define WARREN_BROKER_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/list.h"

/* On disk; never reused. The order is the order of loading: what a row refers to comes first. */
enum broker_row_kind {
	BROKER_ROW_GLOBAL = 1, /* counters and the cluster's name; number 0 */
	BROKER_ROW_NODE = 2,   /* number: node id */
	BROKER_ROW_VHOST = 3,
	BROKER_ROW_EXCHANGE = 4,
	BROKER_ROW_QUEUE = 5, /* number: group id */
	BROKER_ROW_BINDING = 6,
	BROKER_ROW_USER = 7,
	BROKER_ROW_PERMISSION = 8,
	BROKER_ROW_POLICY = 9,
	BROKER_ROW_PARAMETER = 10,
	BROKER_ROW_TOPIC_PERMISSION = 11,
	BROKER_ROW_PROPOSER = 32, /* number: its id */
};

struct broker_row {
	struct list dirty; /* in broker.rows_dirty while the store's value is old */
	uint64_t number;
	uint8_t kind;
	bool stored; /* the store has some value, so a deletion must be told */
};

struct broker;

/* A new row, dirty at once. */
void broker_row_init(
	struct broker *b, struct broker_row *r, enum broker_row_kind kind, uint64_t number);
/* Its value has changed. */
void broker_row_touch(struct broker *b, struct broker_row *r);
/* Its entity is being deleted. */
void broker_row_gone(struct broker *b, struct broker_row *r);

#endif

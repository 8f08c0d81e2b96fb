/* SPDX-License-Identifier: Apache-2.0
 *
 * The membership: what a node must know to find its cluster again, in the file `cluster` of its data
 * directory. There is none where a node has never been in a cluster with others.
 *
 *   warren cluster 1                    the format's version
 *   id 0123456789abcdef                 of the cluster
 *   type disc                           this node's; or ram
 *   node 89abcdef01234567 disc w1@host host:25672      every member as far as is known, in the
 *   ...                                                order of joining; this node, too
 *   node ... lost                                      an operator has given it up
 *
 * Read before there is metadata, and kept in step with the metadata's table of nodes. Complete and on the disk, or
 * as it was before. Blocks.
 */
#ifndef WARREN_CLUSTER_MEMBERSHIP_H
#define WARREN_CLUSTER_MEMBERSHIP_H

#include "src/broker/node.h"

#define MEMBERSHIP_NAME "cluster" /* in the data directory */

struct membership_node {
	uint64_t id;
	enum broker_node_type type;
	char *name, *address; /* owned */
	bool lost;            /* an operator has given it up: it is to be forgotten */
};

struct membership {
	uint64_t cluster_id; /* 0: there is none */
	enum broker_node_type type;
	struct membership_node *nodes;
	size_t n_nodes;
};

/* An empty one. */
void membership_done(struct membership *r);
/* Strings are copied. */
void membership_add(struct membership *r, uint64_t id, enum broker_node_type type, struct slice name,
	struct slice address);
/* NULL if there is none. */
const struct membership_node *membership_find(const struct membership *r, uint64_t id);
const struct membership_node *membership_named(const struct membership *r, const char *name);
/* The metadata's table, with this node's type from it; empty if this node is not in it, or is alone. */
void membership_of(struct membership *ret, const struct broker *b, uint64_t self);
bool membership_equal(const struct membership *a, const struct membership *b); /* but for who is lost */
/* There are other members, and all of them are lost. */
bool membership_alone(const struct membership *r, uint64_t self);

/* Reads the file; without one *ret is empty. 0, or -1 with one line in `err`. */
int membership_read(struct membership *ret, const char *dir, char *err, size_t err_n);
/* Writes it; one without a cluster removes it. 0 or -1 as above. */
int membership_write(const struct membership *r, const char *dir, char *err, size_t err_n);

#endif

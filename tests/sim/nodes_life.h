/* SPDX-License-Identifier: Apache-2.0
 *
 * A life of a cluster of whole nodes: queues of all kinds, clients on each node that serves, and what
 * must be true when all is well again.
 */
#ifndef WARREN_TESTS_NODES_LIFE_H
#define WARREN_TESTS_NODES_LIFE_H

#include "tests/sim/sim_clients.h"

/* The queues of each life, by their numbers; others come and go. */
enum {
	QUEUE_ALL,       /* durable, mirrored on all nodes */
	QUEUE_TWO,       /* durable, on two nodes */
	QUEUE_ONE,       /* durable, on one node */
	QUEUE_QUORUM,    /* a quorum queue of three */
	QUEUE_TRANSIENT, /* not durable, on all nodes */
	QUEUES_KEPT,
	QUEUES = QUEUES_KEPT + 4,
};

struct nodes_life {
	struct sim_world world;
	struct sim_clients clients;
	uint64_t tended[SIM_NODES]; /* lives of nodes that have got their clients */
	unsigned publishers, consumers; /* per node and queue, in percent */
	unsigned queues;                /* that clients use */
	bool remembers; /* of the queue that is not durable some member is always there: what was confirmed has to come */
	bool deleted[QUEUES];
	bool declared[QUEUES]; /* somebody was told so */
};

/* Forms a cluster with its policies and queues; false if that failed. */
bool life_begin(struct nodes_life *l, const struct sim_world_options *o, unsigned n_ram);
void life_end(struct nodes_life *l);
/* Gives each node that serves its clients, from now on. */
void life_tend(struct nodes_life *l);

void life_declare(struct nodes_life *l, struct sim_node *n, unsigned queue);
void life_delete(struct nodes_life *l, struct sim_node *n, unsigned queue);
/* "all", "exactly" with a number, or NULL: no mirrors. */
void life_mirror(struct nodes_life *l, struct sim_node *n, unsigned queue, const char *mode, unsigned count,
	bool automatic);

/* One that serves, by chance; or NULL. */
struct sim_node *life_some(struct nodes_life *l);
/* The node that leads the queue, or NULL. */
struct sim_node *life_leader(struct nodes_life *l, unsigned queue);
/* Says who the members are of a queue that nobody leads. */
void life_describe(struct nodes_life *l, unsigned queue, char *why, size_t n);
/* A node that has a member of the queue by the metadata, other than this one; or NULL. */
struct sim_node *life_member(struct nodes_life *l, unsigned queue, const struct sim_node *but);
/* Members of the queue's group that vote, as its leader and the metadata know. */
unsigned life_voters(struct nodes_life *l, unsigned queue);
bool life_failed(const struct nodes_life *l);
/* In which all that was published goes over one of the links, if nothing else does. */
uint64_t life_copy_ms(const struct nodes_life *l);
/* Every node serves and has the same metadata, by which all are up, and the members of each queue that is
 * kept follow one leader; else `why` not. */
bool life_agrees(struct nodes_life *l, char *why, size_t n);

/* Everything is repaired and started; within a bounded time all is well: every node serves, the
 * metadata is the same everywhere, members are what the metadata says, what was confirmed has come,
 * everybody is answered, and groups rest. */
void life_heal(struct nodes_life *l);
void life_check_well(struct nodes_life *l);

#endif

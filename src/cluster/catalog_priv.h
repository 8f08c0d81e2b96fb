/* SPDX-License-Identifier: Apache-2.0
 *
 * What catalog.c (a worker's copy) and catalog_home.c (group 0 on worker 0) know of each other.
 */
#ifndef WARREN_CLUSTER_CATALOG_PRIV_H
#define WARREN_CLUSTER_CATALOG_PRIV_H

#include "src/cluster/catalog.h"

struct catalog {
	struct catalog_config config;
	struct broker *broker;
	struct catalog *const *all;
	unsigned n_all;
	struct catalog_home *home; /* of the catalog on the home's worker; else NULL */
	struct buf out;            /* commands not yet sent, behind room for a section's header */
	uint32_t out_count;
	uint64_t next_seq;
	uint64_t applied;     /* the last command that has its effect here */
	uint64_t heard;       /* the last one that is answered, and all before it */
	bool holds;           /* those that are to have effect everywhere are answered by catalog_release() */
	struct list requests; /* by seq */
	unsigned reachable, nodes; /* when it was last found that nobody leads */
};

/* Posted to each catalog but the home's own, and delivered in order. */
typedef void catalog_take_fn(struct catalog *c, const uint8_t *p, size_t n);

/* An entry of group 0, header and all. */
catalog_take_fn catalog_apply;
/* The same, and other nodes are waited for. */
catalog_take_fn catalog_apply_held;
/* A whole state, as broker_whole() makes it. It has been found good. */
catalog_take_fn catalog_restore;
/* To all catalogs but the first one, which is the caller's: they take it, none of them before all have
 * it in their mailbox. `blob` is borrowed. */
void catalog_tell(struct catalog *const *all, unsigned n_all, struct blob *blob, const uint8_t *p,
	size_t n, catalog_take_fn *take);
/* To one: all nodes that are waited for have its commands up to `seq`. */
void catalog_tell_settled(struct catalog *c, uint64_t seq);
/* To all: nobody leads; so many of so many nodes can be reached. `hasty`: only those hear it who are. */
void catalog_tell_unavailable(struct catalog *const *all, unsigned n_all, unsigned reachable, unsigned nodes,
	bool hasty);

/* The home: a section of a worker of this node. The bytes are copied. */
void home_take_own(struct catalog_home *h, const uint8_t *p, size_t n);
/* As catalog_leader() and catalog_in_minority(). */
uint64_t home_leader(const struct catalog_home *h);
bool home_in_minority(const struct catalog_home *h);
/* Each round of the turn on worker 0. */
void home_look(struct catalog_home *h);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What the other nodes have applied of what this node's workers have proposed. A client that was told
 * that something is there may look for it through any node, so it is told when all nodes that are
 * linked have it. A node that is silent is waited for once, and then not before it has caught up.
 *
 * Pure. Times are milliseconds of any clock that does not go back. Commands of a worker are numbered from 1.
 */
#ifndef WARREN_CLUSTER_ECHOES_H
#define WARREN_CLUSTER_ECHOES_H

#include <stdbool.h>
#include <stdint.h>

enum { ECHOES_PATIENCE_MS = 1000 }; /* a busy machine or disk stands still for some 100 ms now and then */

struct echoes_node;

struct echoes {
	unsigned n_workers;
	uint64_t *applied; /* here, by worker */
	struct echoes_node *nodes;
	unsigned n_nodes;
};

void echoes_init(struct echoes *e, unsigned n_workers);
void echoes_done(struct echoes *e);
/* A link to the node stands; it has all that was applied here before, or will not be waited for. */
void echoes_link_up(struct echoes *e, uint64_t node);
void echoes_link_down(struct echoes *e, uint64_t node);
/* Somebody would be waited for. */
bool echoes_wanted(const struct echoes *e);
/* The worker's commands up to seq are applied here. */
void echoes_apply(struct echoes *e, unsigned worker, uint64_t seq, uint64_t now);
/* They are there. */
void echoes_hear(struct echoes *e, uint64_t node, unsigned worker, uint64_t seq, uint64_t now);
/* Those up to which everybody who is waited for has all. */
uint64_t echoes_settled(const struct echoes *e, unsigned worker);
/* The time until echoes_expire() has something to do; negative: never. */
int echoes_patience_ms(const struct echoes *e, uint64_t now);
/* Who has let wait for too long is not waited for any more. */
void echoes_expire(struct echoes *e, uint64_t now);

#endif

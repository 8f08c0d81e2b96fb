/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry of a worker's groups: finds them by id, proposes their batches at the end of a turn,
 * ticks those that need a clock, and bounds the memory of cached entries.
 */
#ifndef WARREN_RAFT_GROUPS_H
#define WARREN_RAFT_GROUPS_H

#include "raft/group.h"

struct groups_config {
	struct store_port *port;
	uint64_t (*now_ms)(void *arg); /* monotonic, cached once per loop turn: a plain load */
	uint32_t (*random)(void *arg);
	void *arg;
	size_t cache_bytes; /* entries kept in memory for consumers that are close behind */
};

/* Installs the heap under libraft; once per process, before any group and any thread. */
void groups_global_init(void);

struct groups *groups_new(const struct groups_config *config);
/* All groups closed: groups_count() is 0. */
void groups_free(struct groups *gs);
/* NULL also while the group is closing. */
struct group *groups_find(struct groups *gs, uint64_t id);
/* Proposes the batches of dirty groups and takes leave of closed ones; returns whether anything was
 * done. End of a turn, before store_port_flush(). */
bool groups_flush(struct groups *gs);
/* Lets time pass for the groups that need a clock; returns how many do (0: no timer needed). */
unsigned groups_tick(struct groups *gs);
unsigned groups_count(const struct groups *gs);

#endif

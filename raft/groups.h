/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry of a worker's groups: finds them by id, proposes their batches at the end of a turn,
 * ticks those that need a clock, and bounds the memory of cached entries.
 */
#ifndef WARREN_RAFT_GROUPS_H
#define WARREN_RAFT_GROUPS_H

#include "raft/group.h"
#include "raft/net.h"

struct rules_off;

struct groups_config {
	struct store_port *port;
	uint64_t (*now_ms)(void *arg); /* monotonic, cached once per loop turn: a plain load */
	uint32_t (*random)(void *arg);
	void *arg;
	size_t cache_bytes; /* entries kept in memory for consumers that are close behind */
	/* For groups of several members; all may be 0 without such. */
	const struct group_net *net;
	unsigned heartbeat_ms; /* 0: 100 */
	unsigned election_ms;  /* 0: 1000. Elections begin 1 to 2 times that after the last sign */
	/* A leader whose writes stand still for so long makes way: raft/stall.h. Beyond what a disk
	 * under load takes for a commit. 0: twice election_ms */
	unsigned stall_ms;
	unsigned freeze_after_ms;          /* a group without work rests after that; 0: never */
	unsigned snapshot_entries;         /* entries after which a snapshot is worth it; 0: 240 */
	unsigned trailing_entries;         /* at most so many stay in memory behind it; 0: 192 */
	size_t laggard_bytes; /* of log for a member that lags; 0: 64 MiB. raft/group_fsm.c */
	uint64_t state_max; /* bytes of a state that another member may send; 0: no limit */
	const struct rules_off *rules_off; /* tests only: raft/rules.h */
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
/* Lets time pass for the groups that need a clock; returns how many do (0: no timer needed until
 * the next message, request or event). To be called every heartbeat_ms or twice as often. */
unsigned groups_tick(struct groups *gs);
/* Snapshots that stream to other members and have paused go on if it is time. The ms until the next
 * one is to, 0: none pauses. End of a turn; to be called again then, groups_tick() does it, too. */
unsigned groups_resume(struct groups *gs);
/* Octets of entries that are kept for consumers, with what that takes. */
size_t groups_cached(const struct groups *gs);
/* Whether any group needs a clock now: groups_tick() is to be called from now on. Cheap. */
bool groups_need_clock(const struct groups *gs);
/* A message that a link has brought from `node`: n bytes at p, inside `blob`, of which references
 * are taken where more than a look is needed (a block of its own for each large message is best).
 * 0, or -1 if it cannot be understood: the link is worth nothing. What is for no group or for a
 * former member of this node is ignored. */
int groups_receive(struct groups *gs, uint64_t node, struct blob *blob, const uint8_t *p, size_t n);
/* A link to the node stands from now on; another incarnation than before is a node that has
 * restarted. Without a call nobody is linked. */
void groups_link_up(struct groups *gs, uint64_t node, uint64_t incarnation);
/* A message to the node and the answer take so many ms, as its link knows: candidates keep so far apart (raft/haste.h).
 * To be called after groups_link_up(), and again when that changes; 0, without a call, is unknown. */
void groups_link_round_trip(struct groups *gs, uint64_t node, unsigned ms);
/* It is gone, whatever it had not sent is lost (messages' done() may come before or after). */
void groups_link_down(struct groups *gs, uint64_t node);
unsigned groups_count(const struct groups *gs);
const struct group_net *groups_net(const struct groups *gs); /* as configured */

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Quiescence: a group in which nothing happens stops its clock on all members and sends nothing.
 * libraft takes its time from us and its ticks from us, so a group that gets neither stands still
 * as if no time passed, and goes on where it stopped.
 *
 *   leader: all is committed, applied and known to be stored by all    --FREEZE-->  followers
 *   follower: I have just that, and you lead                           <--FROZEN--  (stops)
 *   leader: all who are linked have stopped                            (stops)
 *
 * It thaws on any message for the group, any request here, the loss of the link to the leader's
 * node or a new incarnation of that (a follower with a known leader refuses its vote, so all must
 * notice), and, on a leader, when a member's node is linked again or most voters' are not any more. Node-wide events are spread over
 * an election timeout.
 */
#ifndef WARREN_RAFT_FREEZE_H
#define WARREN_RAFT_FREEZE_H

#include "raft/group.h"
#include "raft/wire.h"

struct freeze {
	bool frozen;
	bool thawing;       /* thaws at thaw_ms: in groups.thawing */
	uint64_t since_ms;  /* frozen since */
	uint64_t paused_ms; /* by how much the group's clock is behind */
	uint64_t quiet_ms;  /* leader: when it was last not quiet */
	uint64_t asked_ms;  /* leader: when the others were asked; 0: not */
	uint64_t thaw_ms;
};

/* The group's clock. */
uint64_t freeze_clock(const struct group *g);
/* Every tick of a group that runs: whether libraft is to be ticked now. */
bool freeze_tick(struct group *g);
void freeze_receive(struct group *g, uint64_t node, const struct wire *w);
/* Something is going on: at once. */
void freeze_thaw(struct group *g);
/* The same, within an election timeout. */
void freeze_thaw_soon(struct group *g);
/* A link is down. */
void freeze_link_down(struct group *g);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Leadership is tied to writes that complete: a leader whose disk stands still, be it broken, far too
 * slow or full, commits nothing, but its heartbeats would keep the others from electing one that
 * does. When its oldest write has been under way for groups_config.stall_ms, and the voters that
 * answer are a majority without it, it gives up:
 *
 *   1. a voter that has all of its log is asked to take over (once, at most an election timeout)
 *   2. it falls silent: nothing is sent as leader, no answers are heard; libraft gives leadership up
 *      without contact to a majority, and the others elect when they have heard nothing for a while
 *
 * Its writes stay pending, as always. If they move before it has lost leadership it goes on, and
 * libraft is told then which snapshots were installed meanwhile (install.c). A member that nobody
 * could replace just waits: a sole voter, or one of two.
 */
#ifndef WARREN_RAFT_STALL_H
#define WARREN_RAFT_STALL_H

#include <stdbool.h>
#include <stdint.h>

struct group;

struct stall {
	uint64_t moved_ms; /* writes: when the last one completed, or the first was submitted since */
	bool asked;        /* step 1 was taken */
	bool silent;       /* step 2 */
};

/* A write is submitted while none was under way, or one has completed. */
void stall_moves(struct group *g);
/* Every tick of a group that runs, before libraft's. */
void stall_tick(struct group *g);

#endif

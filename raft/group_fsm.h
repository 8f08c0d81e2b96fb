/* SPDX-License-Identifier: Apache-2.0
 *
 * libraft's raft_fsm over a group_app: committed entries go up, and when enough of them has
 * gathered in libraft's log a snapshot is taken.
 *
 * raft sees only a descriptor of a snapshot; the state itself stays here until group_io has stored
 * it.
 */
#ifndef WARREN_RAFT_GROUP_FSM_H
#define WARREN_RAFT_GROUP_FSM_H

#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/log_budget.h"

/* A snapshot that is being stored: what app->snapshot() said. */
struct fsm_snapshot {
	struct buf data;
	struct buf live; /* struct store_range */
	struct buf rows; /* struct store_row */
};

struct group_fsm {
	struct raft_fsm raft;
	uint64_t applied;           /* index of the last entry that is applied */
	uint64_t command;           /* of the last command that is */
	uint64_t snapshot_index;    /* of the newest snapshot submitted to the store */
	size_t snapshot_bytes;      /* size of the newest snapshot */
	size_t log_bytes;           /* gathered in libraft's log since that was taken */
	size_t last_bytes;          /* what the last applied command takes in that log */
	unsigned log_entries;       /* the same, counted */
	struct log_share share;     /* in groups.log_budget */
	bool wanted;                /* a snapshot is due */
	bool pressed;               /* ... and no member that lags is a reason to wait */
	struct fsm_snapshot *taken; /* from fsm->snapshot to fsm->snapshot_finalize */
	struct raft_buffer buf;     /* the descriptor */
};

void group_fsm_init(struct group *g);
/* Between raft_init() and raft_start(). */
void group_fsm_configure(struct group *g);
void group_fsm_done(struct group *g);
/* Restores the application from what was loaded. 0 or -1. */
int group_fsm_restore(struct group *g, uint64_t index, struct slice data);
/* After every call into raft. */
void group_fsm_settle(struct group *g);
/* With the next entry applied a snapshot is taken, unless members that lag need the log. */
void group_fsm_want_snapshot(struct group *g);
/* The same soon, whoever lags: what the groups have is too much. */
void group_fsm_press(struct group *g);
/* Every tick: a snapshot that was put off is taken though nothing comes any more. */
void group_fsm_tick(struct group *g);
/* Bytes that may wait for links of all groups of the worker together, when the log has let them go. */
size_t group_fsm_room_for_waiting(const struct group *g);
/* Bytes that the log may have while a snapshot streams, whatever that has sent so far. */
size_t group_fsm_room_for_stream(const struct group *g);
/* Bytes that it may have now that a member has got a snapshot, until that has the rest. */
size_t group_fsm_room_for_brought(const struct group *g);

#endif

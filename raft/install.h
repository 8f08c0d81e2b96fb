/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing a member up by a snapshot. libraft sees a descriptor of one byte; the state, and the
 * entries that are still needed, stream beside it in bounded parts while the group goes on.
 *
 *   leader                                   lagging member
 *   raft: snapshot_get -> app's state now
 *   raft: InstallSnapshot ->  INSTALL  --->  begins to stage
 *                        STATE, ENTRIES --->  stages, answers each part (the window)
 *                                            all there: raft gets InstallSnapshot
 *                                            -> raft: snapshot_put(0): written, restored
 *   raft is answered      <--- ACK done      and told of its result
 *
 * While a snapshot streams the leader takes none itself and keeps the entries it promised.
 *
 * Staged parts are held in memory. The switch is a row of writes (the store has no single one for
 * state and entries); all but the last carry a mark in place of the state, so a member that crashed
 * in between knows at its start that its log is gone: it has to come back under a new id.
 */
#ifndef WARREN_RAFT_INSTALL_H
#define WARREN_RAFT_INSTALL_H

#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/wire.h"

struct peer;
struct install_in;

struct installs {
	struct list out;       /* struct install_out */
	struct list gets;      /* struct install_get: raft waits for a descriptor */
	struct buf deferred;   /* u64 indexes that were released while streaming */
	struct install_in *in; /* what is being staged or written */
	uint64_t streams;      /* made so far: part of a stream's number */
};

void install_init(struct group *g);
/* raft_io.snapshot_get; raft is called back from install_do(). */
int install_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
void install_do(struct group *g);
/* raft sends InstallSnapshot. 0 or RAFT_NOCONNECTION. */
int install_send(struct group *g, struct peer *p, struct raft_io_send *req,
	const struct raft_install_snapshot *args, raft_io_send_cb cb);
void install_acked(struct group *g, uint64_t node, const struct wire *w);
void install_receive(struct group *g, uint64_t node, const struct wire *w, struct blob *blob);
/* raft_io.snapshot_put of what install_receive() has given to raft. */
void install_put(struct group *g, struct raft_io_snapshot_put *req,
	const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
/* A write has ended: what is staged may be given to raft now. */
void install_unblock(struct group *g);
/* Every tick of a group that runs: gives up streams that stand still. */
void install_tick(struct group *g);
void install_link_down(struct group *g, struct peer *p);
/* This member leads no more. */
void install_not_leading(struct group *g);
void install_cancel(struct group *g);
void install_done(struct group *g);
/* Streams are under way. */
bool install_streams(const struct group *g);
/* True if the release of an entry has to wait for the end of a stream; it is taken note of. */
bool install_defers(struct group *g, uint64_t index);
/* The state of an install that was cut short by a crash. */
bool install_is_mark(struct slice data);
/* fsm->restore after an install: the state that was staged. */
struct slice install_state(const struct group *g);

#endif

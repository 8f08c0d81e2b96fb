/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing a member up by a snapshot. libraft sees a descriptor of one byte; the state, and the
 * entries that are still needed, stream beside it in bounded parts while the group goes on.
 *
 *   leader                                   lagging member
 *   raft: snapshot_get -> app's state now
 *   raft: InstallSnapshot ->  INSTALL  --->  begins to stage
 *                        STATE, ENTRIES --->  stages: entries go to a log beside the group's own
 *                              <--- ACK part  so far it is durable
 *                                            all there: raft gets InstallSnapshot
 *                                            -> raft: snapshot_put(0): switched to, restored
 *   raft is answered      <--- ACK done      and told of its result
 *
 * The parts go in bursts, each as large and as soon as raft/pace.h says.
 *
 * Memory: the leader reads ahead of the acks by INSTALL_PARTS_AHEAD parts and INSTALL_BYTES_AHEAD
 * bytes, so neither side, nor the link between, ever holds more entries than that (and one that is
 * larger by itself). The state is held as a whole, as it is wherever the application has it, and may
 * be no larger than groups_config.state_max.
 *
 * What a member sends is not believed: what does not fit its announcement, or what is committed here,
 * or a state that the application does not accept, is refused before anything is given up for it. The
 * member stays what it was, and says who sent that.
 *
 * While a snapshot streams the leader takes none itself, so its log gathers what is proposed
 * meanwhile (which the member needs next), and entries that it has yet to read are kept.
 *
 * A crash finds the member as it was, or with all of the snapshot: the switch is one transaction
 * (storage/staging.h). What was staged goes at the next start, with the next snapshot, when the group
 * comes to rest, or after a minute without a part.
 */
#ifndef WARREN_RAFT_INSTALL_H
#define WARREN_RAFT_INSTALL_H

#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/pace.h"
#include "raft/wire.h"

enum {
	INSTALL_PART_BYTES = 64 * 1024, /* of a message; a larger entry goes alone */
	INSTALL_PART_ENTRIES = 256,     /* likewise */
	INSTALL_PARTS_AHEAD = 16,       /* sent, and not known to be durable there */
	INSTALL_BYTES_AHEAD = PACE_BURST_HURRY,
};

struct peer;
struct install_in;

/* A group's: what it sends as a leader, and what it receives as a member that lags. On the thread of its worker. */
struct installs {
	struct list out;        /* struct install_out */
	struct list gets;       /* struct install_get: raft waits for a descriptor */
	struct buf deferred;    /* struct store_range: released while a stream needs them */
	struct install_in *in;  /* what is being staged or switched to */
	bool complained;        /* of one that was refused ... */
	uint64_t complained_ms; /* ... then */
	uint64_t streams;       /* made so far: part of a stream's number */
};

/* ---- the leader's side (install_out.c) ---- */

void install_init(struct group *g);
void install_done(struct group *g);
/* raft_io.snapshot_get; raft is called back from install_do(). 0. */
int install_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
void install_do(struct group *g);
/* The group closes: what raft waits for is answered now. */
void install_cancel(struct group *g);
/* raft sends InstallSnapshot. 0: `cb` says what came of it; or RAFT_NOCONNECTION. */
int install_send(struct group *g, struct peer *p, struct raft_io_send *req,
	const struct raft_install_snapshot *args, raft_io_send_cb cb);
void install_acked(struct group *g, uint64_t node, const struct wire *w);
/* Streams whose pause is over go on. The ms until the next one is to, 0: none pauses. */
unsigned install_resume(struct group *g);
/* Every tick of a group that runs: gives up streams that stand still. */
void install_out_tick(struct group *g);
void install_link_down(struct group *g, struct peer *p);
/* The member is none any more. */
void install_gone(struct group *g, uint64_t id);
/* This member leads no more. */
void install_not_leading(struct group *g);
/* Streams are under way. */
bool install_streams(const struct group *g);
/* The same, once those are given up that are too slow for what gathers meanwhile. */
bool install_needs_log(struct group *g);
/* True if the release of an entry has to wait for the end of streams; it is taken note of. */
bool install_defers(struct group *g, uint64_t index);

/* ---- the lagging member's side (install_in.c) ---- */

/* A message of a stream; `blob`, into which w's slices point, is the caller's. */
void install_receive(struct group *g, uint64_t node, const struct wire *w, struct blob *blob);
/* A write has ended: what is staged may be given to raft now. */
void install_unblock(struct group *g);
/* raft_io.snapshot_put of what install_receive() has given to raft. */
void install_put(struct group *g, struct raft_io_snapshot_put *req,
	const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
/* fsm->restore after an install: the state that was staged; valid until it returns. */
struct slice install_state(const struct group *g);
/* Every tick of a group that runs: drops what is staged and comes no further. */
void install_in_tick(struct group *g);
/* What is staged is not worth waiting for, unless raft has it already: the group closes or rests. */
void install_give_up(struct group *g);

#endif

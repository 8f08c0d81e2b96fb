/* SPDX-License-Identifier: Apache-2.0
 *
 * Carries out what the metadata wants of the members of queues. For each queue that is led on this
 * worker it compares raft's members with the row's, and takes the next step, one at a time:
 *
 *   leaving, and its node is not linked   remove it, so that it counts for no majority
 *   leaving, and its node has another     likewise: that one is hosted when it has gone
 *   leaving, and lost                     likewise: until that nobody is promoted
 *   leaving, and no member any more       propose MEMBER_GONE
 *   joining, not a member                 add it as a standby, which begins to copy: at once if
 *                                         the queue is to be synchronised (ha-sync-mode automatic, a
 *                                         quorum queue, mirrors_sync()), else when nothing is left
 *                                         that was there before it; one after the other if the queue
 *                                         is long
 *   joining, and it votes                 propose MEMBER_PROMOTED
 *   joining, and may vote                 promote it as soon as it has everything: propose
 *                                         MEMBER_CHOSEN, and go on when that has come back
 *   the operator has cancelled            remove who does not vote yet
 *   leaving                               remove it; if it is the leader itself, hand over first
 *   led elsewhere than at its first
 *   member's, which has been back a while hand over
 *   led here, and this node is in maintenance  hand over; nobody hands over to such a node
 *
 * Where it is not led: the survivor of two voters (broker_member_survives()) begins anew without the other, if
 * that leads no more. A queue in memory whose group has lost most of its voters, has no survivor, and no leader for
 * 10 s, is deleted.
 *
 * It looks at a queue when something happens to it (its row changes, it begins to be led here, a step
 * ends, a node is linked), and again later only while there is something to wait for. Not more than
 * MIRRORS_BUSY_MAX steps are under way.
 *
 * A worker's own, on its thread. Nothing calls back from inside the call that caused it.
 */
#ifndef WARREN_CLUSTER_MIRRORS_H
#define WARREN_CLUSTER_MIRRORS_H

#include "src/broker/broker.h"
#include "src/queue/host.h"

struct mirrors;

enum {
	MIRRORS_BUSY_MAX = 16,
	MIRRORS_HOME_MS = 5000, /* a leader stays that long where it is, and a node is back */
};

struct mirrors_config {
	struct worker *worker;
	struct queue_hosts *hosts;
	const struct broker *broker; /* this worker's copy */
	uint64_t self;               /* id of this node */
	uint64_t (*linked)(void *arg, uint64_t node); /* the incarnation that a link is to; 0: there is none */
	void (*propose)(void *arg, struct slice command); /* to group 0; copied */
	/* Closes the queue's member and opens it again, as the row says. The view of it is worth nothing then. */
	void (*reopen)(void *arg, uint64_t group);
	void *arg;
};

struct mirrors *mirrors_new(const struct mirrors_config *config);
/* All hosts closed. */
void mirrors_free(struct mirrors *ms);

/* The queue's row or group has changed, or it is hosted from now on. Cheap. */
void mirrors_look(struct mirrors *ms, uint64_t group);
/* This node leads the queue from now on. */
void mirrors_led(struct mirrors *ms, uint64_t group);
/* A node can be reached. */
void mirrors_link_up(struct mirrors *ms);
/* The metadata calls a node down that was up. */
void mirrors_node_down(struct mirrors *ms);
/* A node is in maintenance from now on, or not any more. Cheap; looks at nothing yet. */
void mirrors_drained(struct mirrors *ms);
/* The queue is led here, and not where it is best: at its first member's, if that can be reached and is
 * not in maintenance; or this node is. False if there is nobody to hand over to. */
bool mirrors_misplaced(struct mirrors *ms, uint64_t group);
/* End of the turn; returns whether anything was done. */
bool mirrors_flush(struct mirrors *ms);

/* An operator wants the queue copied to its mirrors, or not any more: a copy under way ends. To be told to all
 * members: whoever leads carries it out, until no mirror is left that does not vote, or the node stops. */
void mirrors_sync(struct mirrors *ms, uint64_t group, bool wanted);
/* Hands over all that is led here and could be led elsewhere, and waits, if the metadata calls this node
 * down, until queues of two voters go on without it; then done(), also if some could not
 * be, or it takes longer than some seconds. Only once: nothing is handed back after it. */
void mirrors_leave(struct mirrors *ms, void (*done)(void *arg), void *arg);

#endif

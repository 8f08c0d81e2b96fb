/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a group's members, one at a time, and the hand-over of leadership.
 *
 *   add      raft_add (spare) -> raft_assign (standby)
 *   promote  wait until it has caught up by our own measure, while it answers -> raft_assign (voter)
 *   demote   raft_assign (standby)
 *   remove   raft_remove -> "you are removed" to it; never the leader itself, which transfers first
 *
 * A change waits until no entry is under way, so that R3 holds for its entry, too. Whoever lost its
 * log comes back under a new id: add the new one, remove the old one.
 */
#ifndef WARREN_RAFT_MEMBERSHIP_H
#define WARREN_RAFT_MEMBERSHIP_H

#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/wire.h"

enum change_step {
	CHANGE_NONE,
	CHANGE_ADD,
	CHANGE_ADD_ROLE,
	CHANGE_PROMOTE,
	CHANGE_DEMOTE,
	CHANGE_REMOVE,
	CHANGE_OVER, /* done() is to be called */
};

struct change {
	enum change_step step;
	uint64_t id;
	uint64_t node;
	uint64_t began_ms;
	bool in_raft;   /* raft has the request */
	uint64_t term;  /* since this term */
	uint64_t since; /* and this configuration's index */
	int status;
	group_done done;
	void *arg;
	struct raft_change req;
};

struct transfer {
	bool on;
	uint64_t began_ms; /* in_raft: since when */
	bool in_raft;
	bool at_once; /* the entry under way is not waited for */
	bool over; /* done() is to be called */
	uint64_t id;
	group_done done;
	void *arg;
	struct raft_transfer req;
};

/* After every call into raft. */
void membership_settle(struct group *g);
/* From groups_flush(): takes the next step. */
void membership_do(struct group *g);
/* Nobody waits for a standby to catch up whose node cannot be reached. */
void membership_link_down(struct group *g, uint64_t node);
/* A member's match rose. */
void membership_caught_up(struct group *g);
/* By the newest configuration nobody else votes. */
bool membership_sole_voter(const struct group *g);
/* Leading: the other voters that answer are a majority even without the vote of this one. */
bool membership_others_elect(struct group *g);
/* Leading, and no write completes: hands over, without waiting for one, to a voter that has all there
 * is here. False if there is none, or a change of members is under way. */
bool membership_hand_over(struct group *g);
/* The group is closed. */
void membership_close(struct group *g);
/* True for a vote request of one who is no member: told so instead. */
bool membership_refuses(struct group *g, uint64_t node, const struct wire *w);
/* The leader says that this member is removed. */
void membership_removed(struct group *g, const struct wire *w);

#endif

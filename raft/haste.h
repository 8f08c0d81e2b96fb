/* SPDX-License-Identifier: Apache-2.0
 *
 * Elections that nobody needs to wait for. A follower waits an election timeout because it cannot
 * know whether its leader is gone. Two times it does know:
 *
 *   - the link to the leader's node is down. The followers campaign one after another within a
 *     short time, the longer the more groups are concerned. Those whose link to the leader stands
 *     refuse their votes (group_inbox.c), so that a leader who lost one link of several stays.
 *   - the group is new: the member that is to lead first campaigns as soon as it has started, and
 *     again when another one says that it has, too (WIRE_HERE).
 *
 * Votes are split if one campaigns before it has heard of the other. So each member has a rank among those that may
 * be elected, the same whoever asks, and who campaigns later does so later by the longest round trip to any of the
 * others: within one of them it is asked twice, for the vote and before that whether it would give it. The same
 * goes for those that nothing but the silence of their leader tells: the range of their timeouts is cut into
 * parts by rank.
 *
 * To campaign is to move the group's clock ahead by what the timeout may be at most. Everything
 * else, pre-vote included, is libraft's.
 */
#ifndef WARREN_RAFT_HASTE_H
#define WARREN_RAFT_HASTE_H

#include "raft/group.h"

struct haste {
	struct list link;   /* in groups.hasty: until at_ms */
	uint64_t at_ms;
	uint64_t term;      /* the campaign is for the term after this one, or for none */
	uint64_t preferred; /* the member that leads first; 0: nobody in particular */
	uint32_t chance;    /* as last drawn */
	bool born;          /* the log was empty, and the first configuration has others, too */
	bool now;           /* from groups_flush() */
};

void haste_init(struct group *g, const struct group_spec *spec);
/* The group has started. */
void haste_started(struct group *g);
/* Another member of the new group has. */
void haste_receive(struct group *g);
/* A node can be reached: a new group may be waiting for just that. */
void haste_link_up(struct groups *gs);
/* The link to a node is down: those who follow a leader there do not wait for it. */
void haste_link_down(struct groups *gs, uint64_t node);
/* An election timeout of min to max ms is drawn. */
int haste_draw(struct group *g, int min, int max);
/* Before a tick: what a follower has drawn, by who has votes and how far they are now. */
void haste_be_patient(struct group *g);
/* Every tick; returns how many groups wait for their time. */
unsigned haste_tick(struct groups *gs);
/* From groups_flush(). */
void haste_do(struct group *g);

#endif

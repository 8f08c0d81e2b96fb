/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of queues: which nodes have a replica of a queue's group. What is wanted follows from
 * the queue's effective policy and the table of nodes, and is computed while a command is applied;
 * what has been reached is told by the queue's leader with MEMBER_PROMOTED and MEMBER_GONE.
 *
 *   mode       wanted                                                 by
 *   one        one node, chosen by the locator                        nothing said
 *   all        every node                                             ha-mode all
 *   exactly    n nodes, or as many as there are                       ha-mode exactly; a quorum queue:
 *              x-quorum-initial-group-size, 3 if not given
 *   nodes      those of the named ones that are in the table,         ha-mode nodes
 *              if none is: as "one"
 *
 * An exclusive queue has its one member on the node of its owner. The log of a member is on disk, or
 * in memory for a queue that is not durable or is exclusive (all members, they vote) and for a
 * durable queue's member on a RAM node (a standby that never votes). A durable queue has always a
 * member on disk, whatever its policy says. A member in memory lives as long as its node's
 * incarnation: it is given when the node is up and leaves when it is down.
 *
 * Of two members that vote one may be lost: its node is called down, while the other's is up, or comes back. It leaves,
 * and never counts again. If its log is on disk another member joins on its node, which begins with that log.
 * So that the metadata know who might have a vote in the group, its leader asks for it (MEMBER_CHOSEN) before
 * it promotes a member. docs/architecture.md, "Two voters", has the reasons.
 *
 * Operators may have chosen the members of a quorum queue (broker_queue.by_hand): from then on it wants
 * those that it has, and no others.
 *
 * Members that are there are kept as far as possible. Those on nodes that are not wanted any more
 * leave when one that is wanted votes.
 */
#ifndef WARREN_BROKER_MEMBER_H
#define WARREN_BROKER_MEMBER_H

#include "src/base/bytes.h"

struct broker;
struct broker_node;
struct broker_queue;

/* In rows; never reused. */
enum broker_member_state {
	BROKER_MEMBER_INITIAL = 0, /* of the group's first configuration, all with empty logs; votes */
	BROKER_MEMBER_JOINING = 1, /* added later: opens without configuration, waits for the leader */
	BROKER_MEMBER_VOTER = 2,   /* was joining and has been promoted */
	BROKER_MEMBER_LEAVING = 3, /* the leader is to remove it, then to propose MEMBER_GONE */
	BROKER_MEMBER_STATES
};

struct broker_member {
	uint64_t id;   /* the raft id; never used again, in any queue */
	uint64_t chosen; /* the newest of the group's terms whose leader was allowed to give it a vote; 1: it
			  * is of the first configuration; 0: nobody was, so it has none */
	uint16_t node; /* its number; of one that is leaving, maybe of a node forgotten */
	uint8_t state; /* enum broker_member_state */
	bool memory;   /* its log is in memory */
	bool lost;     /* leaving: it was one of two, and the other one goes on without it */
	bool heir;     /* its log is what the lost member on its node has left; of one that votes: all that there is */
	bool first;    /* that was the first one, and so is this when it votes */
	bool unproven; /* of a first configuration with others (or an heir of one): its log may never have been begun */
};

/* At most so many. */
#define BROKER_MEMBERS_MAX 255

/* The queue's members are q->members[0 .. n_members - 1]. The first one is where its leader is
 * best: where it was declared to be, who came next when that one left, or whom an operator prefers. A queue has no member only
 * while the table of nodes is empty. */

/* The member with this id, or NULL. */
struct broker_member *broker_member_find(const struct broker_queue *q, uint64_t id);
/* The member on a node that is not leaving, or NULL. */
struct broker_member *broker_member_on(const struct broker_queue *q, uint16_t node);
/* It may vote, or will when it has been promoted: every member but a durable queue's in memory. */
bool broker_member_may_vote(const struct broker_queue *q, const struct broker_member *m);
/* It votes in the group, as far as is known here. */
bool broker_member_votes(const struct broker_queue *q, const struct broker_member *m);
/* The queue is meant to have members on several nodes: a quorum queue, or mirrored by policy. */
bool broker_queue_is_replicated(const struct broker_queue *q);
/* "initial", "joining", "voter", "leaving"; static. */
const char *broker_member_state_name(enum broker_member_state state);

/* One of the members is lost, and not out of the group yet. */
bool broker_queue_has_lost(const struct broker_queue *q);
/* It has all that was ever confirmed, and is to go on without the other one, which is lost. */
bool broker_member_survives(const struct broker_queue *q, const struct broker_member *m);

/* It survives though another one went on without it, whose node is forgotten: the group may have another history. */
bool broker_member_inherits(const struct broker_queue *q, const struct broker_member *m);

/* It is one of two, and the other one would survive it if its node were called down now. `m` may be NULL. */
bool broker_member_is_survived(const struct broker_queue *q, const struct broker_member *m);

/* The members' logs are in memory, all of them. */
bool broker_queue_in_memory(const struct broker_queue *q);

/* In commands and rows; never reused. Where a queue's first leader shall be. */
enum broker_locator {
	BROKER_LOCATOR_CLIENT_LOCAL = 0, /* the declaring node */
	BROKER_LOCATOR_MIN_MASTERS = 1,  /* the node that has fewest; also "balanced", "least-leaders" */
	BROKER_LOCATOR_RANDOM = 2,
	BROKER_LOCATORS
};

/* False if there is no such word. */
bool broker_locator_of(struct slice name, enum broker_locator *ret);

/* ---- for apply*.c, rows*.c, policy.c, queue.c only ---- */

/* How many are of the first configuration. */
unsigned broker_members_initial(const struct broker_queue *q);
/* Makes the queue's members those that are wanted; `avoid` is a node (or NULL) that keeps none if
 * another can take its place. True if anything changed; the watch is not told. */
bool broker_members_place(struct broker_queue *q, const struct broker_node *avoid);
/* The same for all queues, telling the watch of those that changed. */
void broker_members_place_all(struct broker *b, const struct broker_node *avoid);
/* The leader of this term of the group may give the member a vote, unless it is leaving, there is a newer
 * leader, or a lost member is not out of the group; returns whether it may. Tells the watch. */
bool broker_member_choose(struct broker_queue *q, struct broker_member *m, uint64_t term);
/* A joining member votes from now on. Places the others anew; tells the watch. */
void broker_member_promote(struct broker_queue *q, struct broker_member *m);
/* The queue's leader is best there, from now on; tells the watch. The member votes. */
void broker_member_prefer(struct broker_queue *q, struct broker_member *m);
/* By hand: a member on that node / no member there, which is not the last that votes. Tell the watch. */
void broker_member_add(struct broker_queue *q, const struct broker_node *n);
void broker_member_dismiss(struct broker_queue *q, struct broker_member *m);
/* Could a member on the node vote? */
bool broker_member_could_vote(const struct broker_queue *q, const struct broker_node *n);
/* It is no member any more, as the queue's leader says, whose member is `by`; of two that are left one may be lost, if
 * the other one is that. Tells the watch. */
void broker_member_remove(struct broker_queue *q, struct broker_member *m, uint64_t by);
/* What a NODE_UP, a NODE_DOWN or a MEMBER_GONE says about who goes on without whom. */
struct broker_parting {
	const struct broker_node *ended; /* an incarnation of it is over; NULL: none that was not already */
	const struct broker_node *there; /* this one is, and nothing is said of others; NULL: all that are up, but: */
	bool all_absent;
	struct slice absent;             /* ids, u64 each, of nodes that may be up or not */
};
/* Of two members that vote, one on a node that is down is lost, if the other's is there. Tells the watch. */
void broker_members_part(struct broker *b, const struct broker_parting *p);
/* Whether that would change anything. */
bool broker_members_would_part(const struct broker *b, const struct broker_parting *p);
/* A node's members in memory are gone with its incarnation, or all of them with the node: they are
 * leaving, and queues that are left without a voting member are deleted. All others are placed anew,
 * by what the table of nodes says now; tells the watch of those that changed. */
void broker_members_lose(struct broker *b, uint16_t node, bool memory_only);
/* A member as a row has it. */
void broker_member_load(struct broker_queue *q, const struct broker_member *m);
/* The members that another state's same queue has, in place of its own; counted by
 * broker_members_recount(). */
void broker_members_copy(struct broker_queue *q, const struct broker_queue *from);
void broker_members_recount(struct broker *b);
/* The queue is being deleted: its nodes count it no longer. */
void broker_members_done(struct broker_queue *q);

#endif

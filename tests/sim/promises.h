/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker: stands between each group and its state machine (struct group_app), and between queues
 * and their clients, and knows what was promised.
 *
 *   groups    an index holds the same entry on whoever applies it, whenever; the state after an index
 *             is the same on all members, also where it came as a snapshot; at most one member acts as
 *             leader in a term
 *   messages  what was confirmed comes, unless its queue was deleted; nothing comes anew twice (without
 *             being marked as redelivered), or after its acknowledgement was applied. That messages
 *             of one publisher come in its order, and deliveries to a consumer are numbered without a
 *             gap, is for the clients to see (sim_clients.c)
 */
#ifndef WARREN_TESTS_SIM_PROMISES_H
#define WARREN_TESTS_SIM_PROMISES_H

#include "raft/groups.h"
#include "src/base/list.h"

struct sim_world;
struct sim_node;

/* What is known of a group's index. */
struct promised_entry {
	uint64_t entry;  /* hash; 0: nobody has applied it */
	uint64_t digest; /* of the state after it; 0: not looked at */
};

struct promised_leader {
	uint64_t term, who;
};

struct promised_group {
	struct list link;
	uint64_t id;
	struct promised_entry *entries;
	size_t n_entries;
	uint64_t last; /* index applied anywhere */
	struct promised_leader *leaders; /* of each term that had one */
	size_t n_leaders;
};

/* One message of a publisher. */
struct promised_message {
	bool confirmed, refused;
	bool came;    /* at least once */
	bool fresh;   /* it came without being a redelivery */
	bool taken;   /* somebody has acknowledged it */
	bool settled; /* that was applied */
};

/* One publisher to one queue. */
struct promised_publisher {
	uint32_t queue;
	struct promised_message *messages; /* by number, from 1 */
	uint32_t n, cap;
	uint32_t given_up; /* of those up to this one nothing is promised */
};

struct promises {
	struct sim_world *world;
	struct list groups;
	struct promised_publisher *publishers;
	uint32_t n_publishers;
	bool failed;
	char why[1024];
	uint64_t applied, compared, digests, compared_digests, restored; /* how much was looked at */
	uint64_t published, confirmed, came, redelivered;
};

void promises_begin(struct promises *p, struct sim_world *w);
void promises_end(struct promises *p);
void promise_broken(struct promises *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A publisher's number. */
uint32_t promise_publisher(struct promises *p, uint32_t queue);
/* The number of its next message. */
uint32_t promise_message(struct promises *p, uint32_t publisher);
void promise_answered(struct promises *p, uint32_t publisher, uint32_t number, bool refused);
void promise_came(struct promises *p, uint32_t publisher, uint32_t number, uint32_t returns);
void promise_taken(struct promises *p, uint32_t publisher, uint32_t number);
void promise_settled(struct promises *p, uint32_t publisher, uint32_t number);
/* An operator says that the group goes on with what one of its members has left: only its terms are still one
 * history. Of the messages that were sent to a queue so far, whatever was confirmed, nothing is promised any more; of
 * those that are sent from now on all is. */
void promises_forget_group(struct promises *p, uint64_t group);
void promises_give_up(struct promises *p, uint32_t queue, uint64_t group);
bool promise_given_up(const struct promises *p, uint32_t publisher, uint32_t number);
/* How many of a queue's confirmed messages nobody has acknowledged; *ret_which says one of them. */
uint64_t promises_open(const struct promises *p, uint32_t queue, uint64_t *ret_which);

#endif

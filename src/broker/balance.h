/* SPDX-License-Identifier: Apache-2.0
 *
 * Which queues' leaders to move so that the nodes lead about as many each. Looks only: a command
 * (PREFER_LEADERS) does it.
 */
#ifndef WARREN_BROKER_BALANCE_H
#define WARREN_BROKER_BALANCE_H

#include "src/broker/broker.h"
#include "src/broker/command.h"

/* Of which replicated queues. */
struct broker_choice {
	bool classic, quorum;
	struct slice vhost_pattern, queue_pattern; /* unanchored; empty: all */
};

struct broker_moves {
	struct broker_preference *p; /* for mem_free() */
	size_t n;
};

/* The queues that are chosen, in the order of their groups; a pattern that does not compile chooses none.
 * For mem_free(). */
struct broker_queue **broker_choose(struct broker *b, const struct broker_choice *c, size_t *ret_n);
/* Counts only the chosen queues, and moves only to members that vote, on nodes that are up and not in
 * maintenance. A queue that is best led by another kind of node counts for nobody, and is moved. */
struct broker_moves broker_balance(struct broker *b, const struct broker_choice *c);

#endif

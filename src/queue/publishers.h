/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes a repeated section do nothing, and be answered as it was: the last sequence applied of
 * each client, and the outcomes that it has not heard of yet. Sorted by client. Clients are workers
 * of nodes, so there are dozens; outcomes are mostly one or none.
 */
#ifndef WARREN_QUEUE_PUBLISHERS_H
#define WARREN_QUEUE_PUBLISHERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a client's outcomes that are kept; the oldest is given up for one more. A client has less under
 * way. */
enum { OUTCOMES_MAX = 65536 };

/* The answer to a request, or enqueues that were refused. */
struct outcome {
	uint64_t seq;
	uint64_t messages; /* of the answer; enqueues: how many, consecutive */
	uint64_t number;   /* of the delivery that a get took; 0: none */
	uint32_t consumer; /* the getter */
	uint32_t consumers;
	uint8_t type;   /* enum command_type */
	uint8_t status; /* enum machine_status */
	bool no_ack;    /* the delivery is settled as soon as the client has heard of it */
};

struct publisher {
	uint64_t client;
	uint64_t last_seq;
	uint64_t told_index;      /* entry at whose end it was told last; not part of the state */
	struct outcome *outcomes; /* [begin, end), by seq */
	uint32_t begin, end, cap;
};

struct publishers {
	struct publisher *a;
	size_t n;
	size_t cap;
};

void publishers_done(struct publishers *p);
/* Or NULL. */
struct publisher *publishers_find(const struct publishers *p, uint64_t client);
/* Everything up to seq is applied; never goes back. */
void publishers_raise(struct publishers *p, uint64_t client, uint64_t seq);
/* Forgets those in [from, to]. */
void publishers_forget(struct publishers *p, uint64_t from, uint64_t to);

static inline uint32_t publisher_outcomes(const struct publisher *p)
{
	return p->end - p->begin;
}

/* Keeps an outcome, of a larger sequence than all; there are less than OUTCOMES_MAX. */
void publisher_keep(struct publisher *p, const struct outcome *o);
/* The outcome of a sequence, or NULL. */
const struct outcome *publisher_outcome(const struct publisher *p, uint64_t seq);
/* Takes out the first outcome if it ends at or before `heard`; false if it does not. */
bool publisher_heard(struct publisher *p, uint64_t heard, struct outcome *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The books of --verify: per producer, which sequence numbers were published, confirmed, published
 * again, returned, and received from each queue that should have them. One thread.
 *
 * A confirmed message must have been received. A second copy is explained if the broker says that
 * it is redelivered, if we published it again, or if a consumer has lost its connection before:
 * what it had not acknowledged comes again, and a broker that crashed does not know that it was
 * delivered. Within one subscription a producer's messages of one priority that are neither
 * redelivered nor published again arrive in order.
 */
#ifndef WARREN_PERF_VERIFY_H
#define WARREN_PERF_VERIFY_H

#include "src/perf/bits.h"
#include "src/perf/stamp.h"

enum { VERIFY_PRODUCERS_MAX = 65536 };

/* The order within one subscription. */
struct verify_track {
	uint64_t *last; /* by producer and priority: the highest sequence received in order */
	size_t n;
};

/* One producer's messages. */
struct ledger {
	uint64_t published; /* highest sequence */
	uint64_t highest;   /* received */
	struct bits confirmed;
	struct bits again;
	struct bits returned;
	struct bits *received; /* [copies] */
};

struct verify {
	uint32_t run;    /* 0: the first message decides */
	unsigned copies; /* queues that each message reaches */
	unsigned priorities;
	struct ledger *ledgers;
	unsigned n;
	uint64_t unique;      /* received, not counting further copies */
	uint64_t duplicates;  /* further copies */
	uint64_t unexplained; /* of the duplicates */
	uint64_t out_of_order;
	uint64_t corrupt;
	uint64_t again; /* received that are marked as published again */
	bool lost;      /* a consumer was interrupted */
};

/* What is wrong in the end. */
struct verify_result {
	uint64_t missing_confirmed; /* confirmed, not returned, and not received */
	uint64_t
		missing_published; /* published, not returned, and not received; confirmed or not */
	uint64_t holes;            /* not received, and below one that was */
};

/* `priorities` is how many the messages have. */
void verify_init(struct verify *v, uint32_t run, unsigned copies, unsigned priorities);
void verify_done(struct verify *v);
void verify_track_done(struct verify_track *t);

/* The producer's side. */
void verify_published(struct verify *v, uint32_t producer, uint64_t sequence, bool again);
void verify_confirmed(struct verify *v, uint32_t producer, uint64_t sequence);
void verify_returned(struct verify *v, struct slice body);

/* The consumer's side: what stamp_read() said about a message from queue copy `copy`. Returns
 * whether it is one of this run's. */
bool verify_received(struct verify *v, struct verify_track *t, unsigned copy, enum stamp_kind kind,
	const struct stamp *s, bool redelivered);

/* The subscription was interrupted; its order begins anew. */
void verify_interrupted(struct verify *v, struct verify_track *t);

void verify_conclude(const struct verify *v, struct verify_result *ret);

#endif

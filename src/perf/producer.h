/* SPDX-License-Identifier: Apache-2.0
 *
 * A producer: publishes on its channel as fast as its rate, its window of unconfirmed messages and
 * the socket allow, and on a new channel again what the old one had not confirmed.
 *
 * With a rate, message k is due at a time that is fixed from the start, and latency counts from
 * there whatever keeps the message from being sent: a stall shows in every message that it delays.
 */
#ifndef WARREN_PERF_PRODUCER_H
#define WARREN_PERF_PRODUCER_H

#include "src/perf/channel.h"
#include "src/perf/env.h"
#include "src/perf/unconfirmed.h"

struct producer {
	struct env *env;
	uint32_t no;
	struct channel channel;
	struct turn_job job;    /* publishes */
	struct pacer_slot pace; /* the next message's due time */
	uint64_t start_ns;
	uint64_t limit;     /* messages to publish in all */
	uint64_t published; /* so far, each counted once */
	struct unconfirmed unconfirmed;
	struct unconfirmed_entry *again; /* to be published again, in order */
	size_t again_n;
	size_t again_at;    /* the first that is not yet */
	struct buf scratch; /* a body that needs several frames */
};

void producer_init(struct producer *p, struct env *env, uint32_t no);
/* The channel is down. */
void producer_done(struct producer *p);

/* Begins to publish up to `limit` messages (UINT64_MAX: no end). */
void producer_start(struct producer *p, uint64_t limit, uint64_t now_ns);
/* No more messages fall due; what is due, or must be published again, still is. */
void producer_stop(struct producer *p, uint64_t now_ns);

/* Gives up what is due and not published. */
void producer_abandon(struct producer *p);

/* All of its messages have been published. */
bool producer_finished(const struct producer *p);
/* And nothing is unconfirmed or to be published again. */
bool producer_settled(const struct producer *p);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A consumer: reads its share of the queues on one channel and acknowledges every N-th message.
 * Consumer j of C reads queue j mod Q, and with fewer consumers than queues also j + C, j + 2C, ...
 */
#ifndef WARREN_PERF_CONSUMER_H
#define WARREN_PERF_CONSUMER_H

#include "src/perf/channel.h"
#include "src/perf/env.h"

struct topology;

/* The consumer tag of subscription i is "i" in decimal. */
struct subscription {
	unsigned queue;
	struct verify_track track;
};

struct consumer {
	struct env *env;
	const struct topology *topology;
	unsigned no;
	struct channel channel;
	struct subscription *subscriptions;
	unsigned subscriptions_n;
	unsigned replies; /* that are to come before it is ready */
	uint64_t last;    /* delivery tag of the last message counted */
	uint32_t unacked;
	bool was_ready; /* ever; then a new channel declares its queues again */
	bool stopped;
};

void consumer_init(struct consumer *c, struct env *env, const struct topology *t, unsigned no);
void consumer_done(struct consumer *c);

/* Acknowledges what it has counted, and from now on ignores what still comes. */
void consumer_stop(struct consumer *c);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages that a channel has published and the broker has not confirmed: a ring by delivery
 * number (1, 2, ... on each opening of the channel), which may be settled in any order. Pure.
 */
#ifndef WARREN_PERF_UNCONFIRMED_H
#define WARREN_PERF_UNCONFIRMED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unconfirmed_entry {
	uint64_t sequence; /* the producer's number of the message; 0: settled */
	uint64_t due_ns;
};

/* Entry of number i is ring[i & (cap - 1)] for first <= i < next; that of `first` is not settled.
 */
struct unconfirmed {
	struct unconfirmed_entry *ring;
	size_t cap; /* a power of two, or 0 */
	uint64_t first;
	uint64_t next;
	size_t open; /* not settled */
};

void unconfirmed_init(struct unconfirmed *u);
void unconfirmed_done(struct unconfirmed *u);

/* Adds the message that is published next. */
void unconfirmed_push(struct unconfirmed *u, uint64_t sequence, uint64_t due_ns);

/* Settles `number`, with `multiple` all up to it (0: all), and calls settled() for each of them.
 * What is settled already or was never published is passed over. */
void unconfirmed_settle(struct unconfirmed *u, uint64_t number, bool multiple,
	void (*settled)(void *arg, const struct unconfirmed_entry *e), void *arg);

/* The channel is gone: settles all, calling settled() in order, and begins again at 1. */
void unconfirmed_restart(struct unconfirmed *u,
	void (*settled)(void *arg, const struct unconfirmed_entry *e), void *arg);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A consumer's unsettled deliveries, by number. Numbers are dense until settled out of order, so a
 * delivery is mostly found where it must be if nothing was compacted away, else by binary search.
 */
#ifndef WARREN_QUEUE_CHECKOUT_H
#define WARREN_QUEUE_CHECKOUT_H

#include "src/queue/ring.h"

struct unsettled {
	uint64_t number;
	uint64_t seq;     /* of the message; 0: settled */
	uint32_t returns; /* how often it had come back before this delivery */
	uint16_t level;
};

RING_OF(unsettled)

struct checkout {
	struct ring ring; /* of struct unsettled, sorted by number */
};

static inline void checkout_done(struct checkout *c)
{
	ring_done(&c->ring);
}

static inline uint64_t checkout_n(const struct checkout *c)
{
	return ring_n(&c->ring) - c->ring.dead;
}

/* Appends a delivery; its number is larger than all. */
static inline void checkout_add(struct checkout *c, const struct unsettled *u)
{
	*unsettled_ring_push(&c->ring) = *u;
}

/* The position of the first delivery, settled or not, numbered >= number; or the end. */
uint64_t checkout_seek(const struct checkout *c, uint64_t number);

/* Marks the delivery at a position as settled. Positions stay until checkout_tidy(). */
static inline void checkout_settle(struct checkout *c, struct unsettled *u)
{
	u->seq = 0;
	c->ring.dead++;
}

/* Forgets what is settled, when it is worth it. */
void checkout_tidy(struct checkout *c);

#endif

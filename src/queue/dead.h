/* SPDX-License-Identifier: Apache-2.0
 *
 * Dead letters in order of death. The first DEAD_WINDOW are out (the host was told and publishes
 * them); the others wait, as ranges, so that a million messages that expire together are small.
 *
 * Invariant: fewer than DEAD_WINDOW are out only if none waits.
 */
#ifndef WARREN_QUEUE_DEAD_H
#define WARREN_QUEUE_DEAD_H

#include "src/queue/machine.h"
#include "src/queue/ring.h"

enum { DEAD_WINDOW = 256 };

/* Messages seq, seq + 1, ... of one lane that died of one reason at one time. */
struct dead_range {
	uint64_t seq;
	uint64_t stamp_ms;
	uint64_t n;
	uint16_t level;
	uint8_t reason; /* enum death */
};

RING_OF(dead_range)

struct dead {
	struct dead_range *out; /* n == 1 each */
	unsigned out_n;
	unsigned out_cap;
	struct ring waiting; /* of struct dead_range */
};

void dead_done(struct dead *d);
/* Appends a range to those that wait. */
void dead_push(struct dead *d, const struct dead_range *r);
/* Moves the first that waits out, if one waits and there is room; it, or NULL. */
const struct dead_range *dead_send(struct dead *d);
/* Removes the one that is out with that sequence. False if there is none. */
bool dead_settle(struct dead *d, uint64_t seq, struct dead_range *ret);

#endif

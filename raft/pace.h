/* SPDX-License-Identifier: Apache-2.0
 *
 * The pace of a copy that streams to another member beside everybody's work: in bursts, the next one
 * when the last is durable there and twice as much time again has passed, and small ones where that takes
 * long for others need the disk, too. Two thirds of the time these have it to themselves; the more the log
 * of the copied group gathers meanwhile, which has to go over as well, the less. A copy that is not
 * much faster than what gathers would never end: then nobody is spared.
 *
 * Pure. Times are milliseconds of any clock that does not go back.
 */
#ifndef WARREN_RAFT_PACE_H
#define WARREN_RAFT_PACE_H

#include <stddef.h>
#include <stdint.h>

enum {
	PACE_BURST_LEAST = 64 * 1024,
	PACE_BURST_MOST = 256 * 1024, /* while others are spared: they wait for no more than that */
	PACE_BURST_HURRY = 1024 * 1024,
	PACE_PAUSE_MAX_MS = 50,
	PACE_GATHERED_MAX = 48 << 20, /* less than the log that is kept for a member that lags */
};

struct pace {
	size_t burst;      /* bytes that go at once, PACE_BURST_LEAST to PACE_BURST_HURRY */
	uint64_t begun_ms; /* of the burst under way */
	uint64_t least_ms; /* that the quickest has taken: the way there and back is part of it */
	uint64_t least_of_late_ms;
	unsigned bursts; /* that least_of_late_ms knows */
};

void pace_init(struct pace *p);

void pace_begin(struct pace *p, uint64_t now);

/* What the burst under way brought is durable at the other. Sent: bytes in all so far. Gathered: bytes that
 * the log has gathered since the copy began. Returns the ms until the next burst; 0: at once. */
unsigned pace_end(struct pace *p, uint64_t now, size_t sent, size_t gathered);

/* Instead of pace_end() while nobody can use the group before it is copied: no pause. */
void pace_hurry(struct pace *p);

#endif

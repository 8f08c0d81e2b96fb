/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a member takes to have what the leader sends it, disk and way back included. On a long
 * link a member that misses nothing lacks at any moment what is under way, which may be thousands
 * of entries: whether it keeps up is a matter of time, not of their number.
 *
 * One entry after the other is timed. Pure; times are milliseconds of any clock that does not go back.
 */
#ifndef WARREN_RAFT_DELAY_H
#define WARREN_RAFT_DELAY_H

#include <stdbool.h>
#include <stdint.h>

/* All 0: nothing is known yet. */
struct delay {
	uint64_t index;    /* of the entry that is timed; 0: none is */
	uint64_t begun_ms; /* it was to be sent then */
	bool known;        /* one was answered */
	uint64_t ms;       /* that it took */
};

/* Entries up to `last` are to be sent now. */
void delay_send(struct delay *d, uint64_t last, uint64_t now);
/* The member has all up to `match`. */
void delay_answer(struct delay *d, uint64_t match, uint64_t now);
/* It keeps up: the last one timed took no longer than that, nor does the one under way. */
bool delay_within(const struct delay *d, uint64_t ms, uint64_t now);

#endif

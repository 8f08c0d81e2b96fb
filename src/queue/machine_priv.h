/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine's state, shared by its files:
 *
 *   machine.c           entries, sections and commands: who asked for what
 *   machine_message.c   what happens to messages: queued, delivered, settled, dead
 *   machine_snapshot.c  the state as bytes
 *   machine_restore.c   and back
 *
 * Invariants, between commands:
 *   1. a live message is in exactly one lane, and is exactly one of: ready; in one consumer's
 *      checkout; in `dead`. Messages in the lane `refused` are always the last.
 *   2. an entry is in `entries` if and only if it holds a live message (or is being applied)
 *   3. counts agree with 1
 * and between entries:
 *   4. no consumer waits while a message is ready; no ready head is past its deadline; the
 *      limits hold, with overflow drop-head
 */
#ifndef WARREN_QUEUE_MACHINE_PRIV_H
#define WARREN_QUEUE_MACHINE_PRIV_H

#include "src/queue/consumer.h"
#include "src/queue/dead.h"
#include "src/queue/entries.h"
#include "src/queue/lane.h"
#include "src/queue/machine.h"
#include "src/queue/publishers.h"

enum {
	LEVELS_MAX = 256,
	LEVEL_REFUSED = LEVELS_MAX, /* names machine.refused */
};

/* A stamp at or above is malformed: sums of stamps and times stay far from wrapping. */
#define STAMP_END (UINT64_C(1) << 62)

struct machine {
	struct queue_config config; /* its slices point into names */
	struct buf names;
	uint64_t index;    /* last entry applied, or being applied */
	uint64_t stamp_ms; /* largest so far */
	uint64_t next_seq; /* of the next message; from 1 */
	uint64_t used_ms;  /* stamp of the last use, for x-expires */
	bool gone;
	struct machine_counts counts; /* .consumers is not kept here */
	struct lane *lanes;           /* by level: 0 .. lanes_n - 1 */
	unsigned lanes_n;             /* largest max_priority ever + 1 */
	unsigned top;                 /* no lane above has ready messages */
	struct lane refused;          /* by overflow reject-publish-dlx: dead from the start */
	struct entries entries;
	struct consumers consumers;
	struct dead dead;
	struct publishers publishers;
	const struct machine_sink *sink; /* during calls that have one */
	void *arg;
};

/* Everything but what names the clients: the queue is deleted. */
void machine_wipe(struct machine *m);
/* Copies what the slices point to. */
void machine_configure(struct machine *m, const struct queue_config *c);
/* Makes lanes for levels up to max_priority; those that are there stay. */
void machine_reserve_lanes(struct machine *m, unsigned max_priority);

static inline struct lane *machine_lane(struct machine *m, unsigned level)
{
	return level == LEVEL_REFUSED ? &m->refused : &m->lanes[level];
}

/* Emits an answer and keeps it until the client has heard of it; so the two below. `consumer` and
 * `no_ack` are of a get. */
void machine_answer(
	struct machine *m, const struct machine_answer *a, uint32_t consumer, bool no_ack);
void machine_refused(struct machine *m, uint64_t client, uint64_t seq);

/* An enqueue: its message is delivered, queued, or refused. */
void machine_enqueue(struct machine *m, uint64_t client, uint64_t seq, uint32_t offset,
	const struct message *msg);
/* Delivers to waiting consumers, then lets expire, then enforces the limits. */
void machine_pump(struct machine *m);
/* Answers a get with the first ready message; false, and no answer, if there is none. */
bool machine_get(struct machine *m, uint64_t client, uint64_t seq, struct consumer *c, bool no_ack);
/* Settles the consumer's unsettled deliveries in [from, to]. */
void machine_settle(struct machine *m, struct consumer *c, uint64_t from, uint64_t to,
	enum settle_outcome outcome);
/* Removes all ready messages. */
void machine_purge(struct machine *m);
/* Describes an unsettled delivery as it was; false if there is none of that number. */
bool machine_delivery_again(struct machine *m, uint64_t client, uint32_t consumer, uint64_t number,
	struct machine_delivery *ret);
void machine_dead_done(struct machine *m, uint64_t seq);
/* When the first head expires; UINT64_MAX: never. */
uint64_t machine_heads_deadline_ms(struct machine *m);

#endif

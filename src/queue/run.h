/* SPDX-License-Identifier: Apache-2.0
 *
 * Up to 64 messages that came in one entry and went to one lane, in a cache line. Message i has the
 * sequence first_seq + i. Sequences in between that went to other lanes, or are gone, are dead
 * bits.
 *
 * A run is uniform (same body size and expiration, offsets a fixed stride apart) or mixed, when it
 * owns an array with each message's numbers.
 */
#ifndef WARREN_QUEUE_RUN_H
#define WARREN_QUEUE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "src/queue/command.h"
#include "src/queue/ring.h"

enum { RUN_MAX = 64 };

struct run_item {
	uint32_t offset; /* of the enqueue command in its entry */
	uint32_t body_n;
	uint32_t expiration_ms; /* or ENQUEUE_NO_EXPIRATION */
};

struct run {
	uint64_t first_seq;
	uint64_t index; /* the entry */
	uint64_t stamp_ms;
	uint64_t live; /* bit i: message i is ready, checked out, or a dead letter on its way */
	union {
		struct {
			uint32_t stride;
			uint32_t body_n;
		} uniform;
		struct run_item *items; /* mixed: items_cap of them */
	} u;
	uint32_t first_offset;  /* uniform */
	uint32_t expiration_ms; /* uniform */
	uint8_t count;          /* message numbers 0 .. count - 1 are in use; >= 1 */
	uint8_t items_cap;      /* 0: uniform */
};

RING_OF(run)

/* Bits from i on. */
static inline uint64_t run_bits_from(unsigned i)
{
	return i < RUN_MAX ? UINT64_MAX << i : 0;
}

static inline struct run_item run_item(const struct run *r, unsigned i)
{
	if (r->items_cap)
		return r->u.items[i];
	return (struct run_item){
		r->first_offset + i * r->u.uniform.stride, r->u.uniform.body_n, r->expiration_ms};
}

static inline uint32_t run_body_n(const struct run *r, unsigned i)
{
	return r->items_cap ? r->u.items[i].body_n : r->u.uniform.body_n;
}

static inline uint32_t run_expiration_ms(const struct run *r, unsigned i)
{
	return r->items_cap ? r->u.items[i].expiration_ms : r->expiration_ms;
}

/* When message i expires; UINT64_MAX: never. */
static inline uint64_t run_deadline_ms(const struct run *r, unsigned i, uint64_t queue_ttl_ms)
{
	uint64_t ttl_ms = queue_ttl_ms;
	uint32_t own_ms = run_expiration_ms(r, i);
	if (own_ms != ENQUEUE_NO_EXPIRATION && own_ms < ttl_ms)
		ttl_ms = own_ms;
	return ttl_ms > UINT64_MAX - r->stamp_ms ? UINT64_MAX : r->stamp_ms + ttl_ms;
}

/* Whether a message may join: an open, live run of the same entry, with a number in reach. */
static inline bool run_takes(const struct run *r, uint64_t index, uint64_t seq)
{
	return r->index == index && r->live != 0 && seq - r->first_seq < RUN_MAX;
}

/* Begins a run with one message. */
void run_init(struct run *r, uint64_t seq, uint64_t index, uint64_t stamp_ms,
	const struct run_item *item);
void run_done(struct run *r);
/* Adds a message that run_takes(); its sequence is larger than any in the run. */
void run_add(struct run *r, uint64_t seq, const struct run_item *item);
/* Body bytes of the messages in the mask, all of which are in use. */
uint64_t run_bytes(const struct run *r, uint64_t mask);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumers, and whose turn it is. A consumer *waits* while it could be sent a message: attached to
 * have messages pushed, active if the queue has a single active consumer, and with prefetch and
 * credit left. Those that wait stand in a queue per priority; after each delivery a consumer goes
 * to the end of its queue. Blocked consumers cost nothing.
 *
 * A consumer that is cancelled with deliveries unsettled stays as a ghost until they are settled.
 */
#ifndef WARREN_QUEUE_CONSUMER_H
#define WARREN_QUEUE_CONSUMER_H

#include <uthash.h>

#include "src/base/list.h"
#include "src/queue/checkout.h"
#include "src/queue/command.h"

struct consumer_key {
	uint64_t client;
	uint64_t consumer; /* 32 bits; wide so that the key has no padding */
};

struct consumer {
	struct consumer_key key;
	struct list all;  /* in consumers.all */
	struct list turn; /* in its level's waiting, or alone */
	uint8_t flags;    /* ATTACH_* */
	bool cancelled;
	bool waits;
	int32_t priority;
	uint32_t prefetch;
	uint64_t credit_bytes;
	uint64_t delivered_bytes;
	uint64_t last_number;
	struct checkout checkout;
	uint8_t *tag;
	size_t tag_n;
	uint64_t ordinal; /* scratch of whoever numbers consumers */
	UT_hash_handle hh;
};

struct consumer_level {
	int32_t priority;
	uint32_t n; /* consumers of this priority that have messages pushed */
	struct list waiting;
};

struct consumers {
	struct consumer *by_key;
	struct list all;         /* in order of attaching */
	struct consumer *last;   /* found last */
	struct consumer *active; /* the single active one, or NULL */
	uint32_t attached;       /* having messages pushed and not cancelled */
	uint32_t waiting;        /* that wait */
	bool single_active;
	struct consumer_level **levels; /* highest priority first */
	size_t levels_n;
	size_t top; /* no level before this one has anybody waiting */
};

void consumers_init(struct consumers *cs);
void consumers_done(struct consumers *cs);

struct consumer *consumers_find(struct consumers *cs, uint64_t client, uint32_t consumer);
/* A new consumer; (client, consumer) is not there yet. */
struct consumer *consumers_attach(
	struct consumers *cs, uint64_t client, const struct command_attach *a);
/* Whether an attach with these flags would break an exclusive one, or be one beside others. */
bool consumers_exclude(const struct consumers *cs, uint8_t flags);
/* The one that nobody may be beside, or the single active one; NULL: there is none. */
const struct consumer *consumers_holder(const struct consumers *cs);
/* Nothing more is pushed to it; the next becomes active if it was. Once more is fine. */
void consumers_cancel(struct consumers *cs, struct consumer *c);
/* Forgets a cancelled consumer. */
void consumers_forget(struct consumers *cs, struct consumer *c);
void consumers_set_single_active(struct consumers *cs, bool single_active);

/* To be called after any change of what makes it wait. */
void consumers_refresh(struct consumers *cs, struct consumer *c);
bool consumers_could_wait(const struct consumers *cs, const struct consumer *c);

/* Whose turn it is, or NULL. */
struct consumer *consumers_next(struct consumers *cs);
/* A message of body_n bytes goes to it: its number. */
static inline uint64_t consumer_count(struct consumer *c, uint32_t body_n)
{
	c->delivered_bytes += (uint64_t)body_n + CREDIT_OVERHEAD;
	return ++c->last_number;
}
/* Ends the turn of consumers_next()'s. */
void consumers_turn(struct consumers *cs, struct consumer *c);

static inline bool consumer_is_pushed(const struct consumer *c)
{
	return !(c->flags & ATTACH_GET);
}

#endif

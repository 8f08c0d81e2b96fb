/* SPDX-License-Identifier: Apache-2.0
 *
 * A consumer of a channel, and the nameless one by which basic.get takes messages of one queue.
 */
#ifndef WARREN_SESSION_CONSUMER_H
#define WARREN_SESSION_CONSUMER_H

#include "src/session/channel.h"

/* Bytes that a queue may send a consumer ahead of the socket. Consumers of one connection share a
 * window once they are more than a few: a client that does not read must not cost more the more
 * consumers it has. */
enum { CONSUMER_WINDOW = 1 << 20, CONSUMER_WINDOW_LEAST = 8 << 10, CONSUMERS_FEW = 16 };

struct consumer {
	struct queue_consumer queue;
	struct channel *channel;
	UT_hash_handle hh; /* in channel.consumers by tag */
	struct list link;  /* in channel.getters */
	struct slice tag;  /* owned; empty for a getter */
	struct slice arguments; /* owned; a field table without its length, as basic.consume had it */
	uint64_t group;
	bool no_ack;
	bool exclusive;
	bool counts;      /* its queue's redeliveries carry x-delivery-count */
	bool named;       /* in channel.consumers */
	uint32_t prefetch; /* its own limit; 0: none */
	uint32_t unacked; /* its deliveries in channel.unacked and channel.held */
	uint32_t window;
	uint64_t delivered_bytes, credit_bytes; /* as struct command_credit counts */
};

/* Not yet attached. */
struct consumer *consumer_new(struct channel *ch, struct slice tag, uint64_t group, bool no_ack);
/* Takes it off its channel and queue (what it holds returns) and frees it. */
void consumer_free(struct consumer *c);
/* Likewise, within the connection's leave, which waits until the queue has heard of it. */
void consumer_leave(struct consumer *c);
struct consumer *consumer_find(struct channel *ch, struct slice tag);
/* It has no name any more; it goes when its last delivery is settled. */
void consumer_retire(struct consumer *c);
/* One of its deliveries was settled. May free a retired consumer. */
void consumer_settled(struct consumer *c);
/* The channel's getter for a queue, attached at first use. */
struct consumer *consumer_getter(struct channel *ch, struct queue_client *qc, uint64_t group);
/* Sends basic.get-ok with a message taken by a getter. */
void consumer_got(struct consumer *c, const struct queue_delivery *d, bool no_ack, uint32_t left);
/* The socket has room: lets the queue send more. */
void consumer_top_up(struct consumer *c);
/* Most that its queue may have outstanding to it: its own limit or its channel's. */
uint32_t consumer_prefetch(const struct consumer *c);
/* The channel's limit has changed from `before`: its consumers' queues are told. */
void consumers_limit(struct channel *ch, uint32_t before);
/* Deliveries held back by the channel's prefetch may go. */
void consumer_release_held(struct channel *ch);
/* Drops held deliveries of the channel (which is going). */
void consumer_drop_held(struct channel *ch);
/* Takes held deliveries of a consumer (NULL: of all) out and settles them as requeued. `of` stays,
 * also if it has none left. */
void consumer_requeue_held(struct channel *ch, struct consumer *of);

#endif

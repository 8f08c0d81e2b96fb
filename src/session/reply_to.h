/* SPDX-License-Identifier: Apache-2.0
 *
 * Direct reply-to (RabbitMQ's extension): a requester consumes from the pseudo-queue
 * "amq.rabbitmq.reply-to" and publishes requests with that as reply_to; the broker puts a name of
 * its own in its place, and whoever publishes to that name on the default exchange reaches the
 * requester's channel without any queue.
 *
 *   amq.rabbitmq.reply-to.NODE.WORKER.ID     in hexadecimal; ID is never used again by the node
 *
 * A reply to a channel of another worker goes there by mail, to one of another node over the link:
 *
 *   SESSION_REPLY    := id u64 | an enqueue command
 *   SESSION_QUESTION := id u64 | worker u16, question u32: of whoever asks
 *   SESSION_ANSWER   := question u32 | found u8                          little endian
 *
 * It is sent at most once: lost with the link, and where too much waits for a slow one.
 */
#ifndef WARREN_SESSION_REPLY_TO_H
#define WARREN_SESSION_REPLY_TO_H

#include "src/amqp/props.h"
#include "src/session/channel.h"

#define REPLY_TO_QUEUE "amq.rabbitmq.reply-to"

/* "amq.rabbitmq.reply-to" itself / a name made from it. */
bool reply_to_is_queue(struct slice name);
bool reply_to_is_address(struct slice name);

/* basic.consume of the pseudo-queue. */
void reply_to_consume(struct channel *ch, const struct amqp_basic_consume *m);
/* The tag is that of the channel's reply consumer: it is gone when this returns true. */
bool reply_to_cancel(struct channel *ch, struct slice tag);
/* The channel goes. */
void reply_to_forget(struct channel *ch);
/* queue.declare, passive, of the pseudo-queue or an address: whether the requester lives. */
void reply_to_declare(struct channel *ch, struct slice name, bool nowait);
/* Replaces a request's reply_to in `props` (the text is valid until the next request) and m->props.
 * False after an error closed the channel. */
bool reply_to_request(struct channel *ch, struct amqp_props *props, struct message *m);
/* Sends a reply to an address. Dropped, as without a requester, while that does not read what it
 * has. False if there can be no such requester, or no link leads to its node. */
bool reply_to_send(struct channel *ch, struct slice address, const struct message *m);

/* What another node has told this worker. False: it cannot be understood. */
bool reply_to_receive(struct session_env *env, uint64_t node, uint32_t word, struct slice octets);
/* The node answers no more. */
void reply_to_link_down(struct session_env *env, uint64_t node);
/* Once a second: who has not answered for long is not waited for. */
void reply_to_tick(struct session_env *env);
/* Nobody answers any more. */
void reply_to_done(struct session_env *env);

#endif

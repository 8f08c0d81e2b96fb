/* SPDX-License-Identifier: Apache-2.0
 *
 * Direct reply-to (RabbitMQ's extension): a requester consumes from the pseudo-queue
 * "amq.rabbitmq.reply-to" and publishes requests with that as reply_to; the broker puts a name of
 * its own in its place, and whoever publishes to that name on the default exchange reaches the
 * requester's channel without any queue.
 *
 *   amq.rabbitmq.reply-to.WORKER.ID     both in hexadecimal; ID is never used again by the node
 *
 * A reply to a channel of another worker goes there by mail.
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
 * has. False if there can be no such requester. */
bool reply_to_send(struct channel *ch, struct slice address, const struct message *m);

#endif

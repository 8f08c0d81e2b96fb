/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking leave. A channel or connection that ends gives back what it holds, and is told that it is
 * closed only when its queues know: when every cancel is applied, when queues that ended with their
 * last consumer are undefined, and when exclusive queues are deleted. So whatever a client does
 * elsewhere afterwards finds them so, as with RabbitMQ, whose channels wait for their queues.
 *
 * A connection has at most one leave at a time and takes no input meanwhile; one that is shut does
 * not wait for it.
 */
#ifndef WARREN_SESSION_LEAVE_H
#define WARREN_SESSION_LEAVE_H

#include "src/amqp/method.h"
#include "src/session/connection.h"

/* Begins the connection's leave, or joins the one under way. leave_end() follows. */
void leave_begin(struct connection *c);
/* The method follows when all is answered. */
void leave_say(struct connection *c, uint16_t channel, const struct amqp_method *m);
/* The connection is shut behind that. */
void leave_shut(struct connection *c);
/* Nothing more will be asked by whoever began. May end the leave, and shut the connection. */
void leave_end(struct connection *c);

/* Between begin and end: a request to be passed with a queue's cancel; it is waited for. */
struct queue_request *leave_cancel(struct connection *c, uint64_t group);
/* Undefines a queue and waits for that. */
void leave_delete(struct connection *c, uint64_t group);

/* What is to be said is said now, and nothing is waited for: the connection is shut. */
void leave_hurry(struct connection *c);

#endif

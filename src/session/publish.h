/* SPDX-License-Identifier: Apache-2.0
 *
 * Publishing: from a complete content to commands for the queues it is routed to.
 */
#ifndef WARREN_SESSION_PUBLISH_H
#define WARREN_SESSION_PUBLISH_H

#include "src/session/channel.h"

/* A basic.publish method has arrived: expects its header. */
void publish_begin(struct channel *ch, const struct amqp_basic_publish *m);
/* Frees what an incomplete content holds. */
void content_done(struct channel_content *c);

#endif

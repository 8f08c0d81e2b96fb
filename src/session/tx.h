/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel's transaction: publishes and settles are kept until tx.commit, which sends them all and
 * is answered when every queue has applied its part. Atomic per queue and turn at best, as in
 * RabbitMQ.
 */
#ifndef WARREN_SESSION_TX_H
#define WARREN_SESSION_TX_H

#include "src/queue/client.h"
#include "src/session/unacked.h"

struct tx;
struct channel;

struct tx *tx_new(struct channel *ch);
/* The channel is gone. NULL is fine. */
void tx_free(struct tx *tx);
/* Keeps a publish that is routed to the queues of these groups; copies it. */
void tx_publish(struct tx *tx, const uint64_t *groups, unsigned n, const struct message *m);
/* Keeps a settle of one delivery. */
void tx_settle(struct tx *tx, const struct unacked_item *item, enum settle_outcome outcome);

/* What is kept: publishes, and settled deliveries. */
size_t tx_publishes(const struct tx *tx);
size_t tx_settles(const struct tx *tx);

#endif

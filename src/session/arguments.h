/* SPDX-License-Identifier: Apache-2.0
 *
 * The arguments of queues: which values are accepted, with RabbitMQ's texts for the others, and
 * what they mean to the queue machine. Arguments that belong to another type of queue are accepted,
 * too: every queue can do everything.
 */
#ifndef WARREN_SESSION_ARGUMENTS_H
#define WARREN_SESSION_ARGUMENTS_H

/* Longest TTL or expiry, in milliseconds: ten years, as in RabbitMQ. */
#define ARGUMENTS_MS_MAX INT64_C(315360000000)

#include "src/broker/broker.h"
#include "src/queue/command.h"

/* True if they are fine. Otherwise `key` is the argument at fault and `text` (cap octets) why. */
bool arguments_check_queue(struct slice arguments, const char **key, char *text, size_t cap);
/* An argument that no queue of ours takes (they belong to streams), or NULL. */
const char *arguments_foreign(struct slice arguments);
/* What a queue's declaration and its effective policy mean to its machine: of two numbers the smaller
 * one, of other values the argument's. Slices point into the queue or the policy: valid until the next
 * command of the broker. */
void arguments_queue_config(const struct broker_queue *q, struct queue_config *ret);

/* One consumer at a time is sent messages: x-single-active-consumer. */
bool arguments_single_active(const struct broker_queue *q);

#endif

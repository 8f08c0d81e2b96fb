/* SPDX-License-Identifier: Apache-2.0
 *
 * Publisher confirms of a channel. Each publish has a number from 1; it is complete when every
 * queue it was routed to has answered. Completed numbers are collected over a turn and sent as few
 * frames as possible: nacks one by one, the completed prefix as one ack with multiple, what
 * completed beyond a gap one by one, so that one slow queue holds up nobody else.
 *
 * Outlives its channel while queues still owe answers.
 */
#ifndef WARREN_SESSION_CONFIRM_H
#define WARREN_SESSION_CONFIRM_H

#include "src/queue/client.h"

struct confirm;

/* `dirty(arg)` is called when something can be sent and nothing could before. */
struct confirm *confirm_new(void (*dirty)(void *arg), void *arg);
/* The channel is gone; frees now or with the last answer. NULL is fine. */
void confirm_free(struct confirm *c);
/* The next publish, routed to `queues` queues; returns its number. 0 queues: complete at once. */
uint64_t confirm_begin(struct confirm *c, unsigned queues);
/* To pass to queue_publish() with the number as tag. */
struct queue_publisher *confirm_publisher(struct confirm *c);
/* Appends basic.ack and basic.nack frames for what has completed. */
void confirm_flush(struct confirm *c, struct buf *out, uint16_t channel);
/* Publishes not complete yet. */
uint64_t confirm_outstanding(const struct confirm *c);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Events of queue hosts on their way to the clients of another worker: one mail per turn and pair
 * of workers. A delivery carries no bytes but a reference to the entry that holds them.
 */
#ifndef WARREN_QUEUE_EVENT_H
#define WARREN_QUEUE_EVENT_H

#include "src/loop/worker.h"
#include "src/queue/client.h"

/* Where a message lies: an entry's bytes and the offset of the enqueue command in them. */
struct event_message {
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	uint32_t offset;
};

struct event_mail;

/* An empty mail for the clients of registry `to`. */
struct event_mail *event_mail_new(struct queue_clients *to);
/* Sends it; it is the receiver's. */
void event_mail_post(struct event_mail *em, struct worker *to);

/* Each appends an event. The mail takes references of its own. */
void event_put_deliver(struct event_mail *em, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at);
/* `at` is a get's message or NULL. */
void event_put_answer(struct event_mail *em, uint64_t group, const struct machine_answer *a,
	const struct event_message *at);
void event_put_refused(struct event_mail *em, uint64_t group, uint64_t seq);
void event_put_applied(struct event_mail *em, uint64_t group, uint64_t seq);
void event_put_cancelled(struct event_mail *em, uint64_t group, uint32_t consumer);
void event_put_gone(struct event_mail *em, uint64_t group);
void event_put_unavailable(struct event_mail *em, uint64_t group);

/* Builds what a session sees of a delivery; false if there is no message there. */
bool event_delivery(struct queue_delivery *ret, const struct machine_delivery *d,
	const struct event_message *at);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Events of a worker's hosts, each to the client that it is for: to one of this worker at once, to
 * one of another worker or node with the turn's mail. Who is of no living worker gets nothing.
 */
#ifndef WARREN_QUEUE_DISPATCH_H
#define WARREN_QUEUE_DISPATCH_H

#include "src/queue/event.h"

struct dispatch;

struct dispatch_config {
	uint64_t self;                 /* id of the own node */
	struct queue_clients *clients; /* this worker's */
	/* The worker of this node whose clients have this id (client_id_worker), and their
	 * registry: its pointer is only used on that worker's thread. NULL: none. */
	struct queue_clients *(*clients_of)(void *arg, uint64_t client, struct worker **ret_worker);
	/* The other node whose client it is, if there is a link to it; 0: none. May be NULL. */
	uint64_t (*node_of)(void *arg, uint64_t client);
	/* n octets for event_receive() on a worker of another node; takes the block over. */
	void (*send)(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n);
	void *arg;
};

struct dispatch *dispatch_new(const struct dispatch_config *config);
void dispatch_free(struct dispatch *o);
/* End of the turn: sends the mail; returns whether there was any. */
bool dispatch_flush(struct dispatch *o);
/* Is there anybody to get it? */
bool dispatch_reaches(struct dispatch *o, uint64_t client);

/* `at` is where the message lies; of an answer NULL if it has none. */
void dispatch_deliver(struct dispatch *o, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at);
void dispatch_answer(struct dispatch *o, uint64_t group, const struct machine_answer *a,
	const struct event_message *at);
void dispatch_refused(struct dispatch *o, uint64_t client, uint64_t group, uint64_t seq);
void dispatch_applied(struct dispatch *o, uint64_t client, uint64_t group, uint64_t seq);
void dispatch_cancelled(struct dispatch *o, uint64_t client, uint64_t group, uint32_t consumer);

/* These may answer what a client is in the middle of sending: they always go by mail. */
void dispatch_moved(struct dispatch *o, uint64_t client, uint64_t group, uint64_t to);
void dispatch_led(struct dispatch *o, uint64_t client, uint64_t group, uint64_t term);
void dispatch_resumed(
	struct dispatch *o, uint64_t client, uint64_t group, uint32_t attempt, uint64_t term, uint64_t last);
void dispatch_gone(struct dispatch *o, uint64_t client, uint64_t group);
void dispatch_unavailable(struct dispatch *o, uint64_t client, uint64_t group);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Events of queue hosts on their way to the clients of another worker: of this node, as one mail
 * per turn and pair of workers, in which a delivery carries no bytes but a reference to the entry
 * that holds them; or of another node, as octets, with the message's in them.
 *
 *   events := event*                                                        little endian
 *   event  := type u32 | n u32 | group u64 | n octets
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

/* An empty mail for the clients of registry `to`; `from` is the own node's id. */
struct event_mail *event_mail_new(struct queue_clients *to, uint64_t from);
/* One whose events are octets: for another node. */
struct event_mail *event_mail_new_octets(void);
/* Sends it; it is the receiver's. */
void event_mail_post(struct event_mail *em, struct worker *to);
/* Tells the clients now, on their thread, and frees the mail. */
void event_mail_run(struct event_mail *em);
/* Takes the octets out, as a block with one reference and how many there are, and frees the mail. */
struct blob *event_mail_octets(struct event_mail *em, size_t *ret_n);
/* Octets that came from `from`, in `blob`: tells the registry's clients. False: not understood. */
bool event_receive(struct queue_clients *to, uint64_t from, struct blob *blob, const uint8_t *p,
	size_t n);

/* Each appends an event. The mail takes references of its own. */
void event_put_deliver(struct event_mail *em, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at);
/* `at` is a get's message or NULL. */
void event_put_answer(struct event_mail *em, uint64_t group, const struct machine_answer *a,
	const struct event_message *at);
void event_put_refused(struct event_mail *em, uint64_t group, uint64_t seq);
void event_put_applied(struct event_mail *em, uint64_t group, uint64_t seq);
void event_put_cancelled(struct event_mail *em, uint64_t group, uint32_t consumer);
void event_put_moved(struct event_mail *em, uint64_t group, uint64_t to);
void event_put_led(struct event_mail *em, uint64_t group, uint64_t term);
void event_put_resumed(
	struct event_mail *em, uint64_t group, uint32_t attempt, uint64_t term, uint64_t last);
/* Never as octets: a node hears of it from the metadata. */
void event_put_gone(struct event_mail *em, uint64_t group);
void event_put_unavailable(struct event_mail *em, uint64_t group);

/* Builds what a session sees of a delivery; false if there is no message there. */
bool event_delivery(struct queue_delivery *ret, const struct machine_delivery *d,
	const struct event_message *at);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Dead lettering, RabbitMQ's way: a message that expired, was rejected, or fell out of a full queue
 * is published to the queue's dead letter exchange with its story in the x-death header. The queue
 * keeps it until every target has it, so that none is lost on the way; where the worker has no room for a copy
 * (QUEUE_CLIENTS_WINDOW) only its number is noted until there is.
 */
#ifndef WARREN_SESSION_DEAD_LETTER_H
#define WARREN_SESSION_DEAD_LETTER_H

#include "src/amqp/props.h"
#include "src/session/env.h"

struct dead_letters;

/* `done` tells a queue that one of its dead letters is dealt with; may be called from inside
 * dead_letters_publish(). `again` asks it for one that there was no room for; never from inside. */
struct dead_letters *dead_letters_new(struct session_env *env,
	void (*done)(void *arg, uint64_t group, uint64_t seq),
	void (*again)(void *arg, uint64_t group, uint64_t seq), void *arg);
/* What is under way is forgotten. */
void dead_letters_free(struct dead_letters *dl);
/* One that is on its way already is not sent twice. */
void dead_letters_publish(struct dead_letters *dl, uint64_t group,
	const struct queue_config *config, const struct machine_dead *d, const struct message *m);

/* ---- pure parts, for tests ---- */

/* One death of a message. */
struct death_event {
	struct slice queue;
	struct slice reason; /* "expired", ... */
	struct slice exchange;
	struct slice key;
	uint64_t time_s;
	bool keep_cc; /* routed by its own keys */
};

/* Appends the properties of the dead letter: x-death brought up to date, x-first-death-* and
 * x-last-death-* set, expiration removed, CC removed unless kept. */
void dead_letter_props(struct buf *out, const struct amqp_props *p, const struct death_event *e);
/* True if a message with these headers has been in the queue before without having been rejected
 * since: delivering it there would be a cycle without end. */
bool dead_letter_cycles(struct slice headers, struct slice queue);

#endif

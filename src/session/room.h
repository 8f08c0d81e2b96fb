/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for room. A message goes into a section of each of its queues, so one that many queues get
 * would be copied as often at one time. QUEUE_CLIENTS_WINDOW bounds that: who has more to send when it
 * is full waits here, and goes on at the end of a turn in which it has drained.
 */
#ifndef WARREN_SESSION_ROOM_H
#define WARREN_SESSION_ROOM_H

#include "src/session/connection.h"

struct room {
	struct queue_waiter waiter;
	struct list due; /* in session_env.due */
	struct session_env *env;
	void (*go_on)(struct room *r);
};

void room_init(struct room *r, struct session_env *env, void (*go_on)(struct room *r));
/* go_on() follows, unless room_leave() comes first. */
void room_wait(struct room *r);
void room_leave(struct room *r);
/* Lets those go on for whom there is room; returns whether there were any. */
bool room_flush(struct session_env *env);

/* ---- a message that goes on later ---- */

struct spread;

/* Sends the message to the queues and tells `pub` of each with `tag`. What does not fit is kept, once,
 * and holds up the connection's input until it is sent. */
void spread_publish(struct connection *c, const uint64_t *groups, unsigned n,
	const struct message *m, struct queue_publisher *pub, uint64_t tag);
/* Gives up the rest, which is told as settled: the connection is going, its channels are gone. */
void spread_drop(struct connection *c);

#endif

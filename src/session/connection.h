/* SPDX-License-Identifier: Apache-2.0
 *
 * An AMQP connection (AMQP 0-9-1 sections 2.2.4 and 4.2): handshake, frames in, channels,
 * heartbeat, and the ways it ends.
 *
 *   GREETING -> START -> TUNE -> OPENING -> OPEN -> CLOSING -> (gone)
 *
 * START waits for connection.start-ok (or secure-ok), TUNE for tune-ok, OPENING for open; CLOSING
 * has sent connection.close and waits for close-ok, dropping everything else.
 *
 * An operation that must be answered by a queue or by the catalog makes its channel busy; while a
 * channel is busy the connection takes no further frames, which keeps every channel's order.
 */
#ifndef WARREN_SESSION_CONNECTION_H
#define WARREN_SESSION_CONNECTION_H

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/reply.h"
#include "src/net/stream.h"
#include "src/session/env.h"

struct channel;
struct leave;
struct spread;

enum connection_state {
	CONNECTION_GREETING,
	CONNECTION_START,
	CONNECTION_TUNE,
	CONNECTION_OPENING,
	CONNECTION_OPEN,
	CONNECTION_CLOSING,
	CONNECTION_DEAD, /* stream closed; waits for on_closed */
};

struct connection {
	struct list link;
	struct list dirty;
	struct session_env *env;
	struct stream *stream;
	enum connection_state state;
	uint64_t serial; /* with node and incarnation: the connection's id */
	uint32_t frame_max;
	uint16_t channel_max;
	uint16_t heartbeat_s;
	/* Client's capabilities. */
	bool can_cancel_notify;
	bool can_auth_failure_close;
	bool can_blocked;
	struct slice client_properties; /* owned; a field table without its length */
	const char *mechanism;     /* by which it has logged in; static */
	uint64_t connected_ms;     /* wall clock */
	struct slice user;         /* owned */
	struct slice vhost;        /* owned */
	struct tally_count *of_vhost, *of_user; /* where it is counted; NULL while it is not */
	struct channel **channels; /* by number; NULL where there is none */
	unsigned n_slots, n_channels, n_consumers;
	bool release_due;  /* channels go at the end of the turn, */
	bool shut_due;     /* and then the socket */
	unsigned busy;     /* operations that hold up the input */
	bool publishes;    /* has published: is told of alarms */
	bool told_blocked; /* connection.blocked sent, unblocked not yet */
	bool blocked;      /* a publish is next in the input, and there is an alarm */
	bool waiting;      /* a queue's backlog holds up the input */
	struct queue_waiter waiter;
	struct list mid_content; /* struct channel.mid_content: content not complete */
	uint64_t *exclusive;     /* groups of exclusive queues owned */
	size_t n_exclusive;
	struct spread *spread;             /* a message of which more is to be sent, see room.h */
	struct leave *leave;               /* queues have yet to hear of an end; else NULL */
	uint64_t since_ms;                 /* of the state GREETING..OPENING, or CLOSING */
	uint64_t received_seen, sent_seen; /* at the last changes, for heartbeats */
	uint64_t received_ms, sent_ms;
	char name[64]; /* client's connection_name, if any */
};

/* A connection on an accepted socket; `fd` is taken over. */
void connection_new(struct session_env *env, int fd);

/* Where frames are appended; marks the connection for the turn's flush. */
struct buf *connection_out(struct connection *c);
void connection_send(struct connection *c, uint16_t channel, const struct amqp_method *m);
/* Ends the connection with connection.close. `method` is the id of the method that failed, or 0. */
void connection_error(struct connection *c, int code, uint32_t method, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* An operation began / ended. */
void connection_busy(struct connection *c);
void connection_idle(struct connection *c);
/* Reads on or pauses, as what holds up the input has changed. */
void connection_check_input(struct connection *c);
/* Publishers pause until the queue has caught up. */
void connection_wait(struct connection *c, struct queue_client *qc);
struct broker_connection_id connection_id(const struct connection *c);
/* NULL if they have been deleted meanwhile. */
struct broker_vhost *connection_vhost(const struct connection *c);
struct broker_user *connection_user(const struct connection *c);
/* Remembers an exclusive queue, to be deleted with the connection / forgets it. */
void connection_own(struct connection *c, uint64_t group);
void connection_disown(struct connection *c, uint64_t group);
struct channel *connection_channel(const struct connection *c, uint16_t number);
/* Counts the connection, or ends it with an error if vhost or user have as many as they may. */
bool connection_count(
	struct connection *c, const struct broker_vhost *v, const struct broker_user *u);
/* Counts one more channel, which connection_remove_channel() takes back, or ends the connection with
 * an error. */
bool connection_may_open_channel(struct connection *c);
/* Puts a channel into its slot / takes it out. */
void connection_add_channel(struct connection *c, struct channel *ch);
void connection_remove_channel(struct connection *c, struct channel *ch);

/* ---- for on_connection.c ---- */

void connection_enter(struct connection *c, enum connection_state state);
/* Tears down channels and exclusive queues; the socket stays. */
void connection_release(struct connection *c);
/* Closes the socket after what is pending has been written. */
void connection_shut(struct connection *c);
/* Sends connection.start. */
void connection_start(struct connection *c);
/* A method on channel 0. */
void connection_on_method(struct connection *c, const struct amqp_method *m);

#endif

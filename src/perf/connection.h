/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to one of the brokers and its channels: opens, logs in, hands frames to channels,
 * keeps the heartbeat, and comes back at the next address when it is lost and --reconnect says so.
 *
 *   DOWN -> CONNECTING -> LOGIN -> OPEN -> CLOSING -> GONE
 *     ^---- lost, with --reconnect ----'                ^-- lost, without
 */
#ifndef WARREN_PERF_CONNECTION_H
#define WARREN_PERF_CONNECTION_H

#include "src/perf/channel.h"
#include "src/perf/journal.h"
#include "src/perf/options.h"
#include "src/perf/socket.h"
#include "src/perf/turn.h"

/* What all connections share, and whom they tell. */
struct connection_env {
	struct turn *turn;
	const struct options *options;
	const struct sockaddr_storage *address; /* of options->uri[], alike */
	struct journal *journal;
	unsigned blocked; /* connections that the broker blocks now */
	unsigned down;    /* connections that were open and are not now */
	/* Open, and all of its channels are ready: the first time, not after a reconnect. */
	void (*ready)(void *arg, struct connection *c);
	/* Something ended that will not come back: the run cannot go on as asked. */
	void (*broken)(void *arg, struct connection *c);
	void *arg;
};

enum connection_state {
	CONNECTION_DOWN,
	CONNECTION_CONNECTING,
	CONNECTION_LOGIN,
	CONNECTION_OPEN,
	CONNECTION_CLOSING,
	CONNECTION_GONE,
};

struct connection {
	struct connection_env *env;
	unsigned no;  /* for names in messages, and which address is first */
	unsigned uri; /* index of the present address */
	enum connection_state state;
	struct socket *socket;     /* NULL in DOWN and GONE */
	uv_timer_t retry;          /* the next attempt, or channels to open again */
	struct channel **channels; /* by id - 1; the channels are their users' */
	unsigned channels_n;
	uint32_t frame_max;
	unsigned heartbeat_s; /* 0: none */
	uint64_t sent_then;   /* octets at the last tick */
	uint64_t received_then;
	unsigned silent_out_s;
	unsigned silent_in_s;
	unsigned failures; /* attempts since it was last open */
	bool greeted;      /* connection.start has come */
	bool tuned;        /* so has connection.tune */
	bool blocked;
	bool down;      /* counted in env->down */
	bool was_open;  /* ever */
	bool was_ready; /* ready() has been called */
};

void connection_init(struct connection *c, struct connection_env *env, unsigned no);
/* Only in DOWN or GONE, or when the loop has ended; the retry timer is closed on the loop. */
void connection_done(struct connection *c);

/* Adds a channel, before the start. */
void connection_add(struct connection *c, struct channel *ch);
void connection_start(struct connection *c);
/* Says goodbye; the state becomes GONE when the broker has answered or is not there. */
void connection_close(struct connection *c);
/* Ends it at once: GONE. */
void connection_abort(struct connection *c);

/* Once a second: heartbeats, and whether the broker still sends any. */
void connection_tick(struct connection *c);

/* May a channel publish? */
bool connection_room(struct connection *c);
/* "connection 3 (127.0.0.1:5672)"; valid until the next call. */
const char *connection_name(const struct connection *c);

/* For channels: one has become ready; one was closed and may be opened again after a while. */
void connection_channel_ready(struct connection *c);
void connection_channel_closed(struct connection *c);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * One AMQP channel of a connection, and its user: a producer, a consumer, or the topology. The
 * channel takes frames apart and tells its user; all calls are on the loop's thread.
 *
 *   DOWN --channel_open--> OPENING --open-ok--> SETTING_UP --channel_ready--> READY
 *     ^--- lost: connection gone, channel.close, or channel_restart() by way of LEAVING ---'
 */
#ifndef WARREN_PERF_CHANNEL_H
#define WARREN_PERF_CHANNEL_H

#include "src/amqp/method.h"
#include "src/base/buf.h"

struct connection;
struct channel;
struct amqp_frame;

/* A whole message that arrived. Valid within the call. */
struct delivery {
	struct slice tag;    /* the consumer's; basic.deliver only */
	uint64_t number;     /* delivery tag; basic.deliver only */
	bool redelivered;    /* basic.deliver only */
	uint16_t reply_code; /* basic.return only */
	struct slice reply_text;
	struct slice exchange;
	struct slice routing_key;
	struct slice body;
	uint64_t now_ns; /* when it was read */
};

struct channel_user {
	/* The channel is open: send what it takes to set up, then call channel_ready(). */
	void (*opened)(void *arg);
	/* Any method that is none of those below. */
	void (*method)(void *arg, const struct amqp_method *m);
	void (*delivered)(void *arg, const struct delivery *d);
	void (*returned)(void *arg, const struct delivery *d);
	/* basic.ack or basic.nack from the broker. */
	void (*confirmed)(void *arg, uint64_t number, bool multiple, bool nack, uint64_t now_ns);
	/* There is room again, or the broker lets go on. */
	void (*writable)(void *arg);
	/* The channel is gone; it may be opened again later. */
	void (*lost)(void *arg);
};

enum channel_state {
	CHANNEL_DOWN,
	CHANNEL_OPENING,
	CHANNEL_SETTING_UP,
	CHANNEL_READY,
	CHANNEL_LEAVING,
};

struct channel {
	struct connection *connection;
	uint16_t id;
	enum channel_state state;
	bool paused; /* channel.flow */
	const struct channel_user *user;
	void *arg;
	uint32_t content;  /* the method whose content is arriving; 0: none */
	struct buf fields; /* its fields, when they must outlive their frame */
	uint64_t body_size;
	bool has_header;
	struct buf body; /* the frames so far, if there are several */
};

void channel_init(struct channel *ch, const struct channel_user *user, void *arg);
void channel_done(struct channel *ch);

/* Sends channel.open. The connection is open. */
void channel_open(struct channel *ch);
/* The user has set up. */
void channel_ready(struct channel *ch);
/* Closes the channel so that it is opened again (or the run fails, without --reconnect). */
void channel_restart(struct channel *ch);
/* The connection is gone. */
void channel_lost(struct channel *ch);

/* Ready, not paused by the broker, and room in the socket; if not, writable() follows. */
bool channel_room(struct channel *ch);
/* Where to append frames; only unless the state is DOWN. */
struct buf *channel_out(struct channel *ch);
void channel_send(struct channel *ch, const struct amqp_method *m);

/* A frame of this channel; false if it is out of place. */
bool channel_frame(struct channel *ch, const struct amqp_frame *f, uint64_t now_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel: consumers, unsettled deliveries, the publish being received, confirms or a
 * transaction. The rules of each class of methods are in on_<class>.c.
 */
#ifndef WARREN_SESSION_CHANNEL_H
#define WARREN_SESSION_CHANNEL_H

#include "src/cluster/catalog.h"
#include "src/session/connection.h"
#include "src/session/unacked.h"

struct confirm;
struct consumer;
struct tx;

enum channel_mode { CHANNEL_NORMAL, CHANNEL_CONFIRM, CHANNEL_TX };

enum { CHANNEL_ROUTE_MAX = 8, CHANNEL_ENVELOPE_MAX = 512, CHANNEL_CONSUMERS_MAX = 16384 };

/* The last route, valid while the broker's versions are the same. */
struct channel_route {
	uint64_t version, auth_version;
	size_t envelope_n;
	uint8_t envelope[CHANNEL_ENVELOPE_MAX];
	unsigned n;
	uint64_t groups[CHANNEL_ROUTE_MAX];
};

/* A basic.publish whose content is being received (section 4.2.6). Until the end of a read the
 * slices point into the read buffer, then into `kept`. */
struct channel_content {
	enum { CONTENT_NONE, CONTENT_HEADER, CONTENT_BODY } expect;
	bool mandatory, immediate;
	struct slice envelope;
	struct slice props;
	uint64_t body_size;
	struct blob *body; /* body of several frames */
	uint64_t body_n;   /* octets received */
	struct buf kept;   /* envelope and props once the read buffer is gone */
};

struct channel {
	struct connection *conn;
	uint16_t number;
	bool closing; /* channel.close sent; only close and close-ok count */
	enum channel_mode mode;
	struct channel_content content;
	struct list mid_content;
	struct channel_route *route; /* made at the first publish */
	struct confirm *confirm;
	struct tx *tx;
	uint64_t next_tag; /* of deliveries */
	struct unacked unacked;
	uint32_t prefetch;          /* for new consumers */
	uint32_t global_prefetch;   /* for the channel; 0: none */
	struct consumer *consumers; /* uthash by tag */
	struct list
		getters;  /* struct consumer.link: basic.get's, and cancelled ones with unacked */
	struct list held; /* deliveries beyond global_prefetch */
	struct channel_op *op;   /* the one under way */
	struct slice last_queue; /* owned; name of the last declared queue */
	struct slice reply_tag; /* owned; consumer tag on the direct reply-to queue; p NULL: none */
	uint64_t reply_id;
	struct list requester; /* in session_env.requesters while reply_tag is set */
};

/* An operation that waits for a queue's or the catalog's answer. The channel is busy meanwhile; if
 * it goes away, `channel` becomes NULL and the answer is dropped. */
struct channel_op {
	struct queue_request queue;
	struct catalog_request catalog;
	struct channel *channel;
	struct session_env *env;
	uint32_t method; /* that it serves */
	bool nowait;
	void (*queue_done)(struct channel_op *op, const struct machine_answer *a,
		const struct queue_delivery *d);
	void (*catalog_done)(struct channel_op *op, const struct broker_result *result);
	/* Undoes what the catalog has done for a channel that is gone; may be NULL. */
	void (*orphaned)(struct channel_op *op, const struct broker_result *result);
	/* What the method needs later. */
	struct buf bytes;
	struct slice name;
	uint64_t number;
	struct consumer *consumer;
};

struct channel *channel_new(struct connection *c, uint16_t number);
/* Returns unsettled deliveries, forgets consumers. */
void channel_free(struct channel *ch);

/* What arrives on the channel; slices point into the read buffer, and are good for the call. Faults are answered: the channel
 * or its connection may be closing afterwards. channel.close and its answer free the channel. */
void channel_on_method(struct channel *ch, const struct amqp_method *m);
void channel_on_header(struct channel *ch, const struct amqp_frame *f);
void channel_on_body(struct channel *ch, const struct amqp_frame *f);
/* The read buffer is going: keeps what an incomplete content needs. */
void channel_keep_content(struct channel *ch);

/* Closes the channel with channel.close; a hard code closes the connection. */
void channel_error(struct channel *ch, int code, uint32_t method, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void channel_send(struct channel *ch, const struct amqp_method *m);

/* Begins an operation: busy until channel_op_end(). `name` is copied. */
struct channel_op *channel_op_begin(struct channel *ch, uint32_t method, struct slice name);
void channel_op_end(struct channel_op *op);
/* For passing to queue_*() and catalog_propose() with the done function set. */
struct queue_request *channel_op_queue(
	struct channel_op *op, void (*done)(struct channel_op *op, const struct machine_answer *a,
				       const struct queue_delivery *d));
struct catalog_request *channel_op_catalog(struct channel_op *op,
	void (*done)(struct channel_op *op, const struct broker_result *result));

struct session_env *channel_env(const struct channel *ch);
/* The connection's output has drained: consumers may be sent more. */
void channel_drained(struct channel *ch);
/* Sends confirms that the turn has collected. */
void channel_flush(struct channel *ch);

/* ---- rules shared by several classes; each returns false after closing the channel ---- */

/* The connection's vhost and user still exist. */
bool channel_vhost(struct channel *ch, uint32_t method, struct broker_vhost **ret);
/* The user has the right on the resource "queue" or "exchange" of this name. */
bool channel_may(struct channel *ch, uint32_t method, enum broker_right right, const char *kind,
	struct slice name);
/* The user may use this routing key with the exchange: write to publish, read to bind. */
bool channel_may_topic(struct channel *ch, uint32_t method, enum broker_right right,
	const struct broker_exchange *x, struct slice key);
/* An existing queue that this connection may use; an empty name means the last declared one. */
bool channel_queue(
	struct channel *ch, uint32_t method, struct slice name, struct broker_queue **ret);
/* Not locked by another connection's exclusiveness. */
bool channel_unlocked(struct channel *ch, uint32_t method, const struct broker_queue *q);
/* The queue's client on this worker. */
struct queue_client *channel_client(struct channel *ch, const struct broker_queue *q);
/* Nobody has used it, nor does anybody here just now: it is empty, which needs no asking. */
bool channel_queue_is_fresh(const struct channel *ch, const struct broker_queue *q);
/* 404 for a queue that went away while it was asked, or that nobody serves. */
void channel_no_queue(struct channel *ch, uint32_t method, struct slice name);
void channel_queue_failed(
	struct channel *ch, uint32_t method, struct slice name, enum machine_status status);

/* ---- classes ---- */

/* One class's methods, as channel_on_method() finds them; a fault is answered here. */
void on_channel_method(struct channel *ch, const struct amqp_method *m);
void on_exchange_method(struct channel *ch, const struct amqp_method *m);
void on_queue_method(struct channel *ch, const struct amqp_method *m);
void on_basic_method(struct channel *ch, const struct amqp_method *m);
void on_confirm_method(struct channel *ch, const struct amqp_method *m);
void on_tx_method(struct channel *ch, const struct amqp_method *m);

#endif

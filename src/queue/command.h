/* SPDX-License-Identifier: Apache-2.0
 *
 * What sessions ask of a queue, as bytes: the content of a queue group's Raft entries.
 *
 *   entry   := header section*
 *   header  := version u8 | kind u8 'Q' | 0 u16 | 0 u32 | stamp_ms u64          (16 bytes)
 *   section := client u64 | first_seq u64 | heard u64 | count u32 | bytes u32 | command*
 *                                                                               (32 bytes before)
 *   command := type u8 | flags u8 | level u8 | 0 u8 | bytes u32 | payload        (8 bytes before)
 *
 * All little endian; `bytes` counts what follows the field's own header. A section is what one queue
 * client appended during one turn; its commands have the sequences first_seq, first_seq + 1, ...
 * The machine remembers the last sequence applied per client and skips repeats, so a client may send
 * a section again after a change of leader; it is then answered again as it was. A section that
 * begins above the next expected sequence is not applied at all, and one with a count but no bytes
 * passes those sequences over: its client has given them up. `heard` says up to
 * which sequence the client knows the outcome: what was kept for that can be forgotten. Client 0 is the leader itself: never skipped.
 * The stamp is the leader's wall clock, made monotonic: the only time the machine knows.
 * Numbers of commands are never reused.
 */
#ifndef WARREN_QUEUE_COMMAND_H
#define WARREN_QUEUE_COMMAND_H

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/base/bytes.h"

enum {
	COMMAND_ENTRY_VERSION = 2,
	COMMAND_ENTRY_KIND = 'Q',
	COMMAND_ENTRY_HEADER = 16,
	COMMAND_SECTION_HEADER = 32,
	COMMAND_HEADER = 8,
	COMMAND_ENQUEUE_FIXED = 12, /* of an enqueue's payload, before the envelope */
};

enum command_type {
	COMMAND_ENQUEUE = 1,
	COMMAND_ATTACH = 2,
	COMMAND_CANCEL = 3,
	COMMAND_CREDIT = 4,
	COMMAND_SETTLE = 5,
	COMMAND_GET = 6,
	COMMAND_PURGE = 7,
	COMMAND_DELETE = 8,
	COMMAND_STATUS = 9,
	COMMAND_CONFIG = 10,
	COMMAND_TIME = 11,        /* only lets the stamp's time take effect */
	COMMAND_CLIENT_DOWN = 12, /* one client, or all of a node up to an incarnation */
	COMMAND_DEAD_DONE = 13,   /* dead letters have reached their targets, or have none */
	COMMAND_PREFETCH = 14,    /* of a consumer that is there */
};

/* Client ids: node 16 | incarnation 32 | worker 16 bits; never 0. */
static inline uint64_t client_id_make(uint16_t node, uint32_t incarnation, uint16_t worker)
{
	return (uint64_t)node << 48 | (uint64_t)incarnation << 16 | worker;
}

static inline uint16_t client_id_node(uint64_t id)
{
	return (uint16_t)(id >> 48);
}

static inline uint32_t client_id_incarnation(uint64_t id)
{
	return (uint32_t)(id >> 16);
}

static inline uint16_t client_id_worker(uint64_t id)
{
	return (uint16_t)id;
}

/* ---- the message ---- */

enum { ENQUEUE_PERSISTENT = 1 };
#define ENQUEUE_NO_EXPIRATION UINT32_MAX

/* An enqueue's payload: expiration_ms u32 | props_n u32 | envelope_n u16 | 0 u16 | envelope | props |
 * body. The envelope is the exchange and the routing key as two AMQP short strings, as basic.deliver
 * wants them; props are the raw content properties (flags and fields). */
struct message {
	uint8_t flags;          /* ENQUEUE_* */
	uint8_t level;          /* priority as published, unclamped; 0 if none */
	uint32_t expiration_ms; /* own expiration or ENQUEUE_NO_EXPIRATION */
	struct slice envelope;
	struct slice props;
	struct slice body;
};

/* The exchange and the routing key, inside the envelope. */
static inline void message_names(const struct message *m, struct slice *exchange, struct slice *key)
{
	const uint8_t *p = m->envelope.p;
	*exchange = slice_make(p + 1, p[0]);
	p += 1 + p[0];
	*key = slice_make(p + 1, p[0]);
}

/* Bytes that command_put_enqueue() will write. */
static inline size_t command_enqueue_size(const struct message *m)
{
	return COMMAND_HEADER + COMMAND_ENQUEUE_FIXED + m->envelope.n + m->props.n + m->body.n;
}

/* Writes the command at `p`, which has room for command_enqueue_size() bytes; returns its end. */
static inline uint8_t *command_put_enqueue(uint8_t *p, const struct message *m)
{
	p[0] = COMMAND_ENQUEUE;
	p[1] = m->flags;
	p[2] = m->level;
	p[3] = 0;
	store_u32le(p + 4, (uint32_t)(command_enqueue_size(m) - COMMAND_HEADER));
	store_u32le(p + 8, m->expiration_ms);
	store_u32le(p + 12, (uint32_t)m->props.n);
	store_u16le(p + 16, (uint16_t)m->envelope.n);
	store_u16le(p + 18, 0);
	p += COMMAND_HEADER + COMMAND_ENQUEUE_FIXED;
	if (m->envelope.n > 0)
		memcpy(p, m->envelope.p, m->envelope.n);
	p += m->envelope.n;
	if (m->props.n > 0)
		memcpy(p, m->props.p, m->props.n);
	p += m->props.n;
	if (m->body.n > 0)
		memcpy(p, m->body.p, m->body.n);
	return p + m->body.n;
}

/* The message whose enqueue command starts at `offset` of an entry's bytes (p, n). The slices point
 * into the entry. 0, or -1 if there is no such command. */
int command_message_at(const uint8_t *p, size_t n, uint32_t offset, struct message *ret);

/* ---- the other commands' payloads ---- */

enum { ATTACH_NO_ACK = 1, ATTACH_EXCLUSIVE = 2, ATTACH_GET = 4 /* for basic.get: nothing is pushed */ };

struct command_attach {
	uint32_t consumer; /* chosen by the client, unique among its consumers of this queue */
	uint8_t flags;
	int32_t priority;      /* x-priority */
	uint32_t prefetch;     /* most unsettled deliveries; 0: no limit */
	uint64_t credit_bytes; /* see command_credit */
	struct slice tag;      /* for listings */
};

/* A consumer is sent deliveries while the bytes delivered to it are below `credit_bytes`, a
 * cumulative count that its session raises as its socket drains. A delivery counts as its body plus
 * CREDIT_OVERHEAD, so that empty messages are bounded, too. */
enum { CREDIT_OVERHEAD = 64 };

struct command_credit {
	uint32_t consumer;
	uint64_t credit_bytes;
};

/* The consumer's limit of unsettled deliveries from now on, as in command_attach. */
struct command_prefetch {
	uint32_t consumer;
	uint32_t prefetch;
};

enum settle_outcome { SETTLE_ACK = 0, SETTLE_REQUEUE = 1, SETTLE_REJECT = 2 };

/* Deliveries to a consumer are numbered 1, 2, ...; settles those in [from, to] that are unsettled. */
struct command_settle {
	uint32_t consumer;
	uint8_t outcome;
	uint64_t from;
	uint64_t to;
};

enum { CONSUMER_ALL = 0 }; /* no consumer's number */

struct command_cancel {
	uint32_t consumer; /* CONSUMER_ALL: each of the client's, and all that they hold returns */
	bool requeue; /* also return its unsettled deliveries and forget it (its channel is gone);
		       * else they stay outstanding */
};

struct command_get {
	uint32_t consumer; /* one attached with ATTACH_GET */
	bool no_ack;
};

struct command_delete {
	bool if_unused;
	bool if_empty;
};

struct command_status {
	bool touch; /* counts as use for x-expires */
};

struct command_client_down {
	uint64_t client; /* one client; or, with `node`, all clients of client_id_node(client) whose
			  * incarnation is at most client_id_incarnation(client) */
	bool node;
};

enum overflow { OVERFLOW_DROP_HEAD = 0, OVERFLOW_REJECT = 1, OVERFLOW_REJECT_DLX = 2 };
#define CONFIG_NONE UINT64_MAX

/* The queue's effective properties: its arguments and policies merged. The first command of a queue. */
struct queue_config {
	uint64_t message_ttl_ms; /* or CONFIG_NONE, likewise below */
	uint64_t expires_ms;
	uint64_t max_length;
	uint64_t max_bytes;
	uint64_t delivery_limit;
	uint8_t overflow;
	uint8_t max_priority; /* 0: none */
	bool single_active;
	bool auto_delete;
	bool dead_letter;      /* a dead letter exchange is set */
	bool dead_letter_key;  /* a routing key of its own is set */
	struct slice dlx;      /* exchange name */
	struct slice dlx_key;
};

/* Encoders; each appends one whole command. */
void command_put_attach(struct buf *b, const struct command_attach *c);
void command_put_cancel(struct buf *b, const struct command_cancel *c);
void command_put_credit(struct buf *b, const struct command_credit *c);
void command_put_prefetch(struct buf *b, const struct command_prefetch *c);
void command_put_settle(struct buf *b, const struct command_settle *c);
void command_put_get(struct buf *b, const struct command_get *c);
void command_put_purge(struct buf *b);
void command_put_delete(struct buf *b, const struct command_delete *c);
void command_put_status(struct buf *b, const struct command_status *c);
void command_put_config(struct buf *b, const struct queue_config *c);
void command_put_time(struct buf *b);
void command_put_client_down(struct buf *b, const struct command_client_down *c);
void command_put_dead_done(struct buf *b, uint64_t seq); /* message sequence of the dead letter */

/* A decoded command; slices point into the entry. */
struct command {
	enum command_type type;
	uint32_t offset; /* of the command within the entry */
	union {
		struct message enqueue;
		struct command_attach attach;
		struct command_cancel cancel;
		struct command_credit credit;
		struct command_prefetch prefetch;
		struct command_settle settle;
		struct command_get get;
		struct command_delete del;
		struct command_status status;
		struct queue_config config;
		struct command_client_down client_down;
		uint64_t dead_done;
	} u;
};

struct section {
	uint64_t client;
	uint64_t first_seq;
	uint64_t heard;
	uint32_t count;
	struct reader commands;
};

/* Reads the entry's header. 0, or -1: not an entry of a version this program knows. */
int command_entry_begin(struct reader *r, uint64_t *ret_stamp_ms);
/* The next section; false at the end or if malformed (r->bad). */
bool command_section_next(struct reader *r, struct section *ret);
/* The next command of a section; `entry` is the entry's first byte. False likewise. */
bool command_next(struct section *s, const uint8_t *entry, struct command *ret);
/* Octets that came from elsewhere are one whole section of a client, with as many commands as it counts, or none:
 * to be asked before they are proposed. */
bool command_section_fits(struct slice s);

static inline void command_put_entry_header(uint8_t *p, uint64_t stamp_ms)
{
	memset(p, 0, COMMAND_ENTRY_HEADER);
	p[0] = COMMAND_ENTRY_VERSION;
	p[1] = COMMAND_ENTRY_KIND;
	store_u64le(p + 8, stamp_ms);
}

/* How many of the sequences [first, last] one section counts. */
static inline uint32_t command_section_covers(uint64_t first, uint64_t last)
{
	return last - first < UINT32_MAX ? (uint32_t)(last - first + 1) : UINT32_MAX;
}

static inline void command_put_section_header(uint8_t *p, uint64_t client, uint64_t first_seq,
	uint64_t heard, uint32_t count, uint32_t bytes)
{
	store_u64le(p, client);
	store_u64le(p + 8, first_seq);
	store_u64le(p + 16, heard);
	store_u32le(p + 24, count);
	store_u32le(p + 28, bytes);
}

#endif

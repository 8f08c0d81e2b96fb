/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames on the wire (AMQP 0-9-1 sections 2.3 and 4.2): taking them apart in place, and appending
 * them to a buffer. Pure; any thread.
 *
 *   type:8  channel:16  size:32  payload[size]  0xCE
 */
#ifndef WARREN_AMQP_FRAME_H
#define WARREN_AMQP_FRAME_H

#include "src/base/buf.h"

enum amqp_frame_type {
	AMQP_FRAME_METHOD = 1,
	AMQP_FRAME_HEADER = 2,
	AMQP_FRAME_BODY = 3,
	AMQP_FRAME_HEARTBEAT = 8,
};

#define AMQP_FRAME_END 0xCE
#define AMQP_FRAME_PREFIX 7u   /* octets before the payload */
#define AMQP_FRAME_OVERHEAD 8u /* octets around the payload */

/* The largest frame (with its overhead) before tuning, and the least that may be negotiated. */
#define AMQP_FRAME_MIN 4096u

/* Some clients count frame_max without the overhead; RabbitMQ tolerates that and so do we. */
#define AMQP_FRAME_FUDGE 8u

/* What a client says first, and what a server answers to anything else before it closes (4.2.2). */
#define AMQP_GREETING "AMQP\x00\x00\x09\x01"
#define AMQP_GREETING_SIZE 8u

enum amqp_greeting {
	AMQP_GREETING_MORE,  /* fewer than 8 octets, so far it may become one */
	AMQP_GREETING_OK,    /* 0-9-1, or 0-9 as old clients spell it; 8 octets are consumed */
	AMQP_GREETING_OTHER, /* another protocol or version */
};

/* Looks at the first octets of a connection. */
enum amqp_greeting amqp_greeting_parse(struct slice in);

enum amqp_frame_result {
	AMQP_FRAME_MORE,  /* not all there; frame->size says how much is needed, as far as known */
	AMQP_FRAME_READY, /* one frame; drop frame->size octets of the input when done with it */
	AMQP_FRAME_BAD,   /* 501 FRAME_ERROR; see amqp_frame_explain() */
};

enum amqp_frame_fault {
	AMQP_FRAME_OK,
	AMQP_FRAME_TOO_LARGE,    /* found as soon as the size is there */
	AMQP_FRAME_BAD_END,      /* no 0xCE behind the payload */
	AMQP_FRAME_UNKNOWN_TYPE, /* not one of enum amqp_frame_type */
};

struct amqp_frame {
	size_t size;           /* of the whole frame; 7 while its prefix is incomplete */
	struct slice payload;  /* borrowed from the input; empty when too large */
	uint32_t payload_size; /* as the peer claims it */
	uint32_t frame_max;    /* the limit that was applied */
	uint16_t channel;
	uint8_t type;
	uint8_t end;   /* the octet found at the frame's end */
	uint8_t fault; /* enum amqp_frame_fault */
};

/* Looks at the front of `in` for one frame of at most frame_max octets (0: no limit, bounded by the
 * 32-bit size; plus AMQP_FRAME_FUDGE). The input is neither copied nor changed. */
enum amqp_frame_result amqp_frame_parse(
	struct slice in, uint32_t frame_max, struct amqp_frame *frame);

/* The explanation of a bad frame in RabbitMQ's words, for the 501:
 *   "type 99, all octets = <<1,2,3>>: unknown_frame". Writes at most cap octets with the NUL. */
void amqp_frame_explain(char *out, size_t cap, const struct amqp_frame *frame);

/* The same without the fault, for 505 UNEXPECTED_FRAME on a well-formed frame:
 *   "type 2, first 16 octets = <<...>>". */
void amqp_frame_describe(char *out, size_t cap, const struct amqp_frame *frame);

/* Fills in the 7 octets before a payload, for those who gather frames themselves. */
static inline void amqp_frame_prefix(uint8_t *p, uint8_t type, uint16_t channel, uint32_t size)
{
	p[0] = type;
	store_u16be(p + 1, channel);
	store_u32be(p + 3, size);
}

/* Starts a frame whose payload the caller appends; returns the mark for amqp_frame_end(). */
size_t amqp_frame_begin(struct buf *b, uint8_t type, uint16_t channel);
/* Starts a method frame with its class and method id (enum amqp_method_id). */
size_t amqp_frame_begin_method(struct buf *b, uint16_t channel, uint32_t method_id);
/* Fills in the size and appends the end octet. */
void amqp_frame_end(struct buf *b, size_t mark);

/* Appends a heartbeat (4.2.7), always on channel 0. */
void amqp_put_heartbeat(struct buf *b);

/* Appends a content header frame (4.2.6.1). `props` are the raw property flags and values, as
 * struct amqp_header and amqp_props_encode() have them. It is one frame whatever frame_max is. */
void amqp_put_header(
	struct buf *b, uint16_t channel, uint16_t class_id, uint64_t body_size, struct slice props);

/* Appends body frames of at most frame_max octets each (0: no limit); none for an empty body. A
 * frame_max of 1..8 leaves no room for a payload and counts as AMQP_FRAME_MIN. */
void amqp_put_body(struct buf *b, uint16_t channel, uint32_t frame_max, struct slice body);

/* Content header and body in one go. */
void amqp_put_content(struct buf *b, uint16_t channel, uint32_t frame_max, uint16_t class_id,
	struct slice props, struct slice body);

/* The hot methods, each as one whole method frame; the content follows separately. Here
 * `exchange_and_key` is the two short strings back to back as basic.publish had them (each with its
 * length octet; see amqp_publish_names()); other short strings are cut at 255 octets. */
void amqp_put_deliver(struct buf *b, uint16_t channel, struct slice consumer_tag,
	uint64_t delivery_tag, bool redelivered, struct slice exchange_and_key);
void amqp_put_get_ok(struct buf *b, uint16_t channel, uint64_t delivery_tag, bool redelivered,
	struct slice exchange_and_key, uint32_t message_count);
void amqp_put_return(struct buf *b, uint16_t channel, uint16_t reply_code, struct slice reply_text,
	struct slice exchange_and_key);
void amqp_put_basic_ack(struct buf *b, uint16_t channel, uint64_t delivery_tag, bool multiple);
void amqp_put_basic_nack(
	struct buf *b, uint16_t channel, uint64_t delivery_tag, bool multiple, bool requeue);

/* Appends a short string: one length octet, then at most 255 octets (the rest is cut). */
void amqp_put_shortstr(struct buf *b, struct slice s);

/* Appends a long string: four length octets, then the octets. */
static inline void amqp_put_longstr(struct buf *b, struct slice s)
{
	buf_put_u32be(b, (uint32_t)s.n);
	buf_put_slice(b, s);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The content header and the properties of class basic (AMQP 0-9-1 sections 1.8.1 and 4.2.6.1). The
 * broker stores and forwards the properties raw (flags and values as they came); they are taken
 * apart only by whoever needs one. Pure; any thread.
 *
 *   class-id:16  weight:16 = 0  body-size:64  | flags:16  values of the flagged properties...
 *                                             '- the raw properties
 */
#ifndef WARREN_AMQP_PROPS_H
#define WARREN_AMQP_PROPS_H

#include "src/base/buf.h"

/* Property flags; the highest bit is the first value. */
enum amqp_prop {
	AMQP_PROP_CONTENT_TYPE = 1 << 15,
	AMQP_PROP_CONTENT_ENCODING = 1 << 14,
	AMQP_PROP_HEADERS = 1 << 13,
	AMQP_PROP_DELIVERY_MODE = 1 << 12,
	AMQP_PROP_PRIORITY = 1 << 11,
	AMQP_PROP_CORRELATION_ID = 1 << 10,
	AMQP_PROP_REPLY_TO = 1 << 9,
	AMQP_PROP_EXPIRATION = 1 << 8,
	AMQP_PROP_MESSAGE_ID = 1 << 7,
	AMQP_PROP_TIMESTAMP = 1 << 6,
	AMQP_PROP_TYPE = 1 << 5,
	AMQP_PROP_USER_ID = 1 << 4,
	AMQP_PROP_APP_ID = 1 << 3,
	AMQP_PROP_CLUSTER_ID = 1 << 2,
};

#define AMQP_DELIVERY_PERSISTENT 2

struct amqp_header {
	uint64_t body_size;
	struct slice props; /* raw: flags and values; borrowed */
	uint16_t class_id;
};

/* Absent properties are empty or zero; `flags` tells them from empty ones. */
struct amqp_props {
	uint16_t flags; /* enum amqp_prop */
	uint8_t delivery_mode;
	uint8_t priority;
	uint64_t timestamp; /* seconds since 1970 */
	struct slice content_type;
	struct slice content_encoding;
	struct slice headers; /* a table without its length, see src/amqp/table.h */
	struct slice correlation_id;
	struct slice reply_to;
	struct slice expiration;
	struct slice message_id;
	struct slice type;
	struct slice user_id;
	struct slice app_id;
	struct slice cluster_id;
};

/* Takes the payload of a header frame apart; out->props is borrowed from it and not looked at.
 * Returns 0, 501 FRAME_ERROR if it is too short, or 505 UNEXPECTED_FRAME for a weight other than 0.
 * That class and channel are the expected ones is up to the caller. */
int amqp_header_decode(struct slice payload, struct amqp_header *out);

/* Takes raw properties apart; slices are borrowed from `raw`. Returns 0 or 502 SYNTAX_ERROR: too
 * short, too long, an unknown flag or the continuation flag is set. The headers table is bounded,
 * but its inside is not checked. */
int amqp_props_decode(struct slice raw, struct amqp_props *out);

/* amqp_props_decode() and amqp_table_check() of the headers: what a broker does once with what a
 * publisher sent, so that everybody later may rely on it. `out` may be NULL. */
int amqp_props_check(struct slice raw, struct amqp_props *out);

/* Appends the raw form: flags and the values flagged in p->flags. Short strings are cut at 255. */
void amqp_props_encode(struct buf *b, const struct amqp_props *p);

/* Single properties straight from the raw form, skipping those in front. Absent (or malformed):
 * zero, or an empty slice. */
uint8_t amqp_props_delivery_mode(struct slice raw);
uint8_t amqp_props_priority(struct slice raw);
struct slice amqp_props_headers(struct slice raw);
struct slice amqp_props_reply_to(struct slice raw);
struct slice amqp_props_expiration(struct slice raw);
struct slice amqp_props_user_id(struct slice raw);

static inline bool amqp_props_has(struct slice raw, enum amqp_prop flag)
{
	return raw.n >= 2 && (load_u16be(raw.p) & flag) != 0;
}

static inline bool amqp_props_is_persistent(struct slice raw)
{
	return amqp_props_delivery_mode(raw) == AMQP_DELIVERY_PERSISTENT;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The methods of AMQP 0-9-1 and RabbitMQ's extensions: ids, one struct each, decoding and encoding
 * (AMQP 0-9-1 sections 1.3 and 4.2.4). All of it follows from method.def. Pure; any thread.
 *
 * A method frame's payload:  class-id:16  method-id:16  fields...
 * Successive bits share an octet, the first one in the lowest bit.
 */
#ifndef WARREN_AMQP_METHOD_H
#define WARREN_AMQP_METHOD_H

#include "src/base/buf.h"

#define AMQP_METHOD_ID(class_id, method_id) ((uint32_t)(class_id) << 16 | (uint32_t)(method_id))

/* AMQP_CLASS_BASIC = 60, ... */
enum amqp_class {
#define AMQP_CLASS(NAME, name, id) AMQP_CLASS_##NAME = id,
#include "src/amqp/method.def"
};

/* AMQP_BASIC_PUBLISH = 60 << 16 | 40, ... */
enum amqp_method_id {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	AMQP_##NAME = AMQP_METHOD_ID(class_id, method_id),
#include "src/amqp/method.def"
};

/* struct amqp_basic_publish { uint16_t ticket; struct slice exchange; ... bool immediate; }, ...
 * Tables are the encoded pairs without their length (read them with src/amqp/table.h). */
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	struct amqp_##name {                                                  \
		fields                                                        \
	};
#define AMQP_OCTET(f) uint8_t f;
#define AMQP_SHORT(f) uint16_t f;
#define AMQP_LONG(f) uint32_t f;
#define AMQP_LONGLONG(f) uint64_t f;
#define AMQP_BIT(f) bool f;
#define AMQP_SHORTSTR(f) struct slice f;
#define AMQP_LONGSTR(f) struct slice f;
#define AMQP_TABLE(f) struct slice f;
#include "src/amqp/method.def"

struct amqp_method {
	uint32_t id; /* enum amqp_method_id */
	union {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	struct amqp_##name name;
#include "src/amqp/method.def"
	} u; /* u.basic_publish, u.queue_declare, ... by id */
};

static inline uint16_t amqp_method_class(uint32_t id)
{
	return (uint16_t)(id >> 16);
}

static inline uint16_t amqp_method_number(uint32_t id)
{
	return (uint16_t)id;
}

/* Decodes the payload of a method frame. Strings and tables in `out` are borrowed from `payload`;
 * tables have passed amqp_table_check(), and short strings are UTF-8 except in the methods with
 * content, where RabbitMQ does not look for the sake of speed. Returns 0 or a reply code:
 *   501 FRAME_ERROR      fields end early, bytes are left over, a short string is not UTF-8
 *   502 SYNTAX_ERROR     a field table is malformed or nested deeper than AMQP_TABLE_DEPTH_MAX
 *   503 COMMAND_INVALID  no such class or method
 * out->id is set in every case in which the payload has one (else 0), so that connection.close can
 * name the method; the rest of `out` means something only on 0. */
int amqp_method_decode(struct slice payload, struct amqp_method *out);

/* Appends the whole method frame. Fields of the methods are copied; short strings must have at
 * most 255 octets (what is beyond is cut off). m->id must be known. */
void amqp_method_encode(struct buf *b, uint16_t channel, const struct amqp_method *m);

/* "basic.publish", "basic.recover_async", ... as RabbitMQ prints them; else "unknown". Static. */
const char *amqp_method_name(uint32_t id);

/* True if a content header and body follow: basic.publish, return, deliver, get_ok. */
bool amqp_method_has_content(uint32_t id);

/* Exchange and routing key of a decoded basic.publish as they lie in its payload, length octets
 * included: what amqp_put_deliver() and its like take. Borrowed like the fields themselves. */
static inline struct slice amqp_publish_names(const struct amqp_basic_publish *m)
{
	return slice_make(m->exchange.p - 1, m->exchange.n + m->routing_key.n + 2);
}

#endif

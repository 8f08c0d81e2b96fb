/* SPDX-License-Identifier: Apache-2.0
 *
 * Field tables and field arrays (AMQP 0-9-1 section 4.2.5 with RabbitMQ's errata), read in place
 * and written into a buffer. Pure; any thread; nothing allocates but appending to a buffer.
 *
 * A "table" below is the encoded pairs without the leading 32-bit length, an "array" likewise:
 *
 *   table:  { key-length:8 key type:8 value }*        array:  { type:8 value }*
 *
 *   t bool   b int8   B uint8   s int16   u uint16   I int32   i uint32   l,L int64   f float
 *   d double   D decimal   S long string   x binary   A array   T timestamp   F table   V void
 *
 * (RabbitMQ reads `L` as a signed 64-bit integer and writes it back as `l`.)
 */
#ifndef WARREN_AMQP_TABLE_H
#define WARREN_AMQP_TABLE_H

#include "src/base/buf.h"

/* How deep tables and arrays may be nested in one another; deeper ones are malformed. */
#define AMQP_TABLE_DEPTH_MAX 64

struct amqp_value {
	char type; /* one of "tbBsuIilLfdDSxATFV" */
	union {
		bool b;     /* t */
		int64_t i;  /* b B s u I i l L */
		uint64_t t; /* T: seconds since 1970 */
		float f;    /* f */
		double d;   /* d */
		struct {
			uint8_t scale;
			uint32_t value;
		} dec;          /* D */
		struct slice s; /* S x: the bytes; F A: the encoded inside; borrowed */
	} u;
};

/* True if the whole table (with all that is nested in it) is well formed. */
bool amqp_table_check(struct slice table);
/* The same for an array. */
bool amqp_array_check(struct slice array);

/* Reads the next pair of a table: start with reader_of(table), go on while it returns true. False
 * at the end, and then r->bad tells whether the table was malformed. What is nested is not looked
 * at. */
bool amqp_table_next(struct reader *r, struct slice *key, struct amqp_value *value);
/* The same for an array. */
bool amqp_array_next(struct reader *r, struct amqp_value *value);

/* Finds the first pair with this key; false if there is none (or the table is malformed before). */
bool amqp_table_get(struct slice table, const char *key, struct amqp_value *value);
/* The number of pairs. */
size_t amqp_table_count(struct slice table);

/* Shorthands for reading one value, false if it is of another class. */
static inline bool amqp_value_is_int(const struct amqp_value *v)
{
	return memchr("bBsuIilL", v->type, 8) != NULL;
}

static inline bool amqp_value_is_string(const struct amqp_value *v, const char *s)
{
	return v->type == 'S' && slice_is(v->u.s, s);
}

/* RabbitMQ's name of a type: "longstr", "signedint", "long", ...; "unknown" for no type. Static. */
const char *amqp_value_type_name(char type);

/* Equal as RabbitMQ compares arguments on redeclaration: all integers are one class, floats
 * another, everything else only equals its own type; tables and arrays in order, with exact types
 * inside.
 * NULL is an absent argument and equals only another one. */
bool amqp_value_equal(const struct amqp_value *a, const struct amqp_value *b);

/* Prints the bare value as RabbitMQ does in error texts: 10, text, [{<<"k">>,longstr,<<"v">>}].
 * Writes at most cap octets with the NUL (cap > 0), cutting the rest; returns the length. */
size_t amqp_value_print(char *out, size_t cap, const struct amqp_value *v);

/* Prints one side of "received R but current is C"; `other` is the other side, NULL means absent.
 *   v absent: none       other absent: the value '10' of type 'signedint'       both there: '10' */
size_t amqp_value_describe(
	char *out, size_t cap, const struct amqp_value *v, const struct amqp_value *other);

/* Building. begin appends a length to be filled in by end; the mark ties the two together. What is
 * appended in between are the pairs. Keys have at most 255 octets (the rest is cut). */
size_t amqp_table_begin(struct buf *b);
void amqp_table_end(struct buf *b, size_t mark);

void amqp_table_put_bool(struct buf *b, const char *key, bool v);
void amqp_table_put_int(struct buf *b, const char *key, int32_t v);   /* I */
void amqp_table_put_long(struct buf *b, const char *key, int64_t v);  /* l */
void amqp_table_put_double(struct buf *b, const char *key, double v); /* d */
void amqp_table_put_timestamp(struct buf *b, const char *key, uint64_t v);
void amqp_table_put_string(struct buf *b, const char *key, struct slice v); /* S */
void amqp_table_put_void(struct buf *b, const char *key);
/* Any value; nested tables and arrays are copied as they are. */
void amqp_table_put_value(struct buf *b, struct slice key, const struct amqp_value *v);
/* Nested table or array: append its contents, then amqp_table_end() with the returned mark. */
size_t amqp_table_begin_table(struct buf *b, const char *key);
size_t amqp_table_begin_array(struct buf *b, const char *key);

/* The elements of an array: with amqp_array_put_value() or these. */
void amqp_array_put_value(struct buf *b, const struct amqp_value *v);
void amqp_array_put_string(struct buf *b, struct slice v);
void amqp_array_put_long(struct buf *b, int64_t v);
size_t amqp_array_begin_table(struct buf *b);
size_t amqp_array_begin_array(struct buf *b);

#endif

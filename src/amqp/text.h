/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in a fixed array: appending to it, cutting silently what does not fit, and printing bytes
 * the way RabbitMQ's error texts show them. Pure; any thread.
 */
#ifndef WARREN_AMQP_TEXT_H
#define WARREN_AMQP_TEXT_H

#include "src/base/bytes.h"

struct amqp_text {
	char *out;  /* always ends in a NUL */
	size_t cap; /* with the NUL; at least 1 */
	size_t n;   /* without the NUL */
};

/* An empty text in out[cap]; cap > 0. The array stays the caller's. */
struct amqp_text amqp_text_make(char *out, size_t cap);

/* Append. */
void amqp_text_add(struct amqp_text *t, struct slice s);
void amqp_text_printf(struct amqp_text *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Appends a string that came from a peer: NULs, and every octet above 127 unless the whole string
 * is UTF-8, become '?'. */
void amqp_text_add_string(struct amqp_text *t, struct slice s);

/* Appends bytes as an Erlang term: <<>>, <<"text">> if printable, else <<1,2,3>>. */
void amqp_text_add_binary(struct amqp_text *t, struct slice s);

/* Appends a number in the shortest form that reads back the same: 1.5, 10.0, 1.0e23. */
void amqp_text_add_double(struct amqp_text *t, double v);

/* Valid UTF-8 (RFC 3629: shortest form, no surrogates). */
bool amqp_text_is_utf8(struct slice s);

/* The largest length <= max at which s can be cut without splitting a UTF-8 character. */
size_t amqp_text_cut(struct slice s, size_t max);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Reply codes and reply texts (AMQP 0-9-1 section 1.2): what connection.close, channel.close and
 * basic.return say. Pure; any thread.
 */
#ifndef WARREN_AMQP_REPLY_H
#define WARREN_AMQP_REPLY_H

#include <stdarg.h>

#include "src/base/bytes.h"

/* AMQP_REPLY_NOT_FOUND = 404, ... */
enum amqp_reply_code {
#define AMQP_REPLY(NAME, code, hard) AMQP_REPLY_##NAME = code,
#include "src/amqp/reply.def"
};

/* A reply text is a short string. */
#define AMQP_REPLY_TEXT_MAX 255

/* "NOT_FOUND", ...; for a code that is in no list "INTERNAL_ERROR". Static. */
const char *amqp_reply_name(int code);

/* True if the code ends the whole connection even when raised on a channel; also if unknown. */
bool amqp_reply_is_hard(int code);

/* Writes "NAME - explanation" with a NUL and returns it without the NUL: a slice into `out`. What
 * exceeds 255 octets is cut and ends in "..." as RabbitMQ does, never within a UTF-8 character.
 * (basic.return says the NAME alone: amqp_reply_name().) */
struct slice amqp_reply_text(char out[AMQP_REPLY_TEXT_MAX + 1], int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
struct slice amqp_reply_vtext(char out[AMQP_REPLY_TEXT_MAX + 1], int code, const char *fmt,
	va_list args) __attribute__((format(printf, 3, 0)));

#endif

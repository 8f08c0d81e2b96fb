/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/reply.h"

#include <stdio.h>

#include "src/amqp/text.h"

const char *amqp_reply_name(int code)
{
	switch (code) {
#define AMQP_REPLY(NAME, number, hard) \
	case number:                   \
		return #NAME;
#include "src/amqp/reply.def"
	}
	return "INTERNAL_ERROR";
}

bool amqp_reply_is_hard(int code)
{
	switch (code) {
#define AMQP_REPLY(NAME, number, hard) \
	case number:                   \
		return hard;
#include "src/amqp/reply.def"
	}
	return true;
}

struct slice amqp_reply_vtext(
	char out[AMQP_REPLY_TEXT_MAX + 1], int code, const char *fmt, va_list args)
{
	static const char dots[] = "...";
	size_t cap = AMQP_REPLY_TEXT_MAX + 1;
	size_t n = (size_t)snprintf(out, cap, "%s - ", amqp_reply_name(code));
	int more = vsnprintf(out + n, cap - n, fmt, args);
	n += more > 0 ? (size_t)more : 0;
	if (n <= AMQP_REPLY_TEXT_MAX)
		return slice_make(out, n);
	/* out[] holds the first 255 octets, so the cut can look one past the 252 it keeps. */
	n = amqp_text_cut(slice_make(out, AMQP_REPLY_TEXT_MAX), AMQP_REPLY_TEXT_MAX - 3);
	memcpy(out + n, dots, sizeof dots);
	return slice_make(out, n + 3);
}

struct slice amqp_reply_text(char out[AMQP_REPLY_TEXT_MAX + 1], int code, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	struct slice s = amqp_reply_vtext(out, code, fmt, args);
	va_end(args);
	return s;
}

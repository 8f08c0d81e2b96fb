/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct amqp_text amqp_text_make(char *out, size_t cap)
{
	out[0] = '\0';
	return (struct amqp_text){out, cap, 0};
}

void amqp_text_add(struct amqp_text *t, struct slice s)
{
	size_t room = t->cap - 1 - t->n;
	size_t n = s.n < room ? s.n : room;
	if (n > 0)
		memcpy(t->out + t->n, s.p, n);
	t->n += n;
	t->out[t->n] = '\0';
}

void amqp_text_printf(struct amqp_text *t, const char *fmt, ...)
{
	size_t room = t->cap - t->n;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(t->out + t->n, room, fmt, args);
	va_end(args);
	if (n > 0)
		t->n += (size_t)n < room ? (size_t)n : room - 1;
}

static void add_char(struct amqp_text *t, char c)
{
	amqp_text_add(t, slice_make(&c, 1));
}

void amqp_text_add_string(struct amqp_text *t, struct slice s)
{
	bool utf8 = amqp_text_is_utf8(s);
	for (size_t i = 0; i < s.n && t->n + 1 < t->cap; i++) {
		bool shown = s.p[i] != 0 && (utf8 || s.p[i] < 0x80);
		add_char(t, shown ? (char)s.p[i] : '?');
	}
}

/* Erlang prints a binary as a string only if all of it is printable. */
static bool is_printable(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		bool space = s.p[i] >= '\b' && s.p[i] <= '\r';
		if (!space && (s.p[i] < 32 || s.p[i] > 126))
			return false;
	}
	return s.n > 0;
}

static void add_quoted(struct amqp_text *t, struct slice s)
{
	for (size_t i = 0; i < s.n && t->n + 1 < t->cap; i++) {
		char c = (char)s.p[i];
		if (c >= '\b' && c <= '\r')
			amqp_text_printf(t, "\\%c", "btnvfr"[c - '\b']);
		else if (c == '"' || c == '\\')
			amqp_text_printf(t, "\\%c", c);
		else
			add_char(t, c);
	}
}

void amqp_text_add_binary(struct amqp_text *t, struct slice s)
{
	if (is_printable(s)) {
		amqp_text_printf(t, "<<\"");
		add_quoted(t, s);
		amqp_text_printf(t, "\">>");
		return;
	}
	amqp_text_printf(t, "<<");
	for (size_t i = 0; i < s.n && t->n + 1 < t->cap; i++)
		amqp_text_printf(t, "%s%u", i > 0 ? "," : "", s.p[i]);
	amqp_text_printf(t, ">>");
}

/* The least precision with which the number reads back as itself. */
static void shortest(char *out, size_t cap, double v)
{
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(out, cap, "%.*g", digits, v);
		if (strtod(out, NULL) == v)
			return;
	}
}

void amqp_text_add_double(struct amqp_text *t, double v)
{
	char s[40];
	if (!isfinite(v)) {
		amqp_text_printf(t, "%s", isnan(v) ? "nan" : v > 0 ? "infinity" : "-infinity");
		return;
	}
	/* %g would turn whole numbers such as 1e+01 into exponents earlier than Erlang does. */
	if (v == floor(v) && fabs(v) < 1e16) {
		amqp_text_printf(t, "%.1f", v);
		return;
	}
	shortest(s, sizeof s, v);
	char *e = strchr(s, 'e');
	if (e == NULL) {
		amqp_text_printf(t, "%s", s);
		return;
	}
	*e = '\0';
	amqp_text_printf(t, "%s%se%d", s, strchr(s, '.') != NULL ? "" : ".0", atoi(e + 1));
}

/* The number of octets of the UTF-8 character at p (of which n octets are there), 0 if invalid. */
static size_t utf8_char(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (len <= 1)
		return len;
	if (len > n || p[0] > 0xF4)
		return 0;
	uint32_t c = p[0] & (0xFFu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3F);
	}
	bool surrogate = c >= 0xD800 && c <= 0xDFFF;
	return c < least[len] || c > 0x10FFFF || surrogate ? 0 : len;
}

bool amqp_text_is_utf8(struct slice s)
{
	size_t i = 0;
	/* Names are ASCII nearly always: eight octets at a time. */
	while (s.n - i >= 8 && (load_u64le(s.p + i) & 0x8080808080808080u) == 0)
		i += 8;
	while (i < s.n) {
		size_t len = utf8_char(s.p + i, s.n - i);
		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

size_t amqp_text_cut(struct slice s, size_t max)
{
	if (s.n <= max)
		return s.n;
	size_t n = max;
	/* A UTF-8 character has at most three continuation octets; other bytes are cut anywhere. */
	while (n > 0 && max - n < 3 && (s.p[n] & 0xC0) == 0x80)
		n--;
	return (s.p[n] & 0xC0) == 0x80 ? max : n;
}

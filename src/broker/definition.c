/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/definition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"

enum { KEY_MAX = 255 };

/* ---- to tables ---- */

static bool put_pairs(struct buf *out, json_t *object, int depth);
static bool put_elements(struct buf *out, json_t *array, int depth);

static struct slice string_of(json_t *v)
{
	return slice_make(json_string_value(v), json_string_length(v));
}

/* A value that holds no others. */
static struct amqp_value scalar_of(json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return (struct amqp_value){.type = 'S', .u.s = string_of(v)};
	case JSON_INTEGER:
		return (struct amqp_value){.type = 'l', .u.i = json_integer_value(v)};
	case JSON_REAL:
		return (struct amqp_value){.type = 'd', .u.d = json_real_value(v)};
	case JSON_TRUE:
	case JSON_FALSE:
		return (struct amqp_value){.type = 't', .u.b = json_is_true(v)};
	default:
		return (struct amqp_value){.type = 'V'};
	}
}

static bool put_element(struct buf *out, json_t *v, int depth)
{
	if (!json_is_object(v) && !json_is_array(v)) {
		struct amqp_value scalar = scalar_of(v);
		amqp_array_put_value(out, &scalar);
		return true;
	}
	if (depth == AMQP_TABLE_DEPTH_MAX)
		return false;
	bool object = json_is_object(v);
	size_t mark = object ? amqp_array_begin_table(out) : amqp_array_begin_array(out);
	bool ok = object ? put_pairs(out, v, depth + 1) : put_elements(out, v, depth + 1);
	amqp_table_end(out, mark);
	return ok;
}

static bool put_elements(struct buf *out, json_t *array, int depth)
{
	size_t i;
	json_t *v;
	json_array_foreach(array, i, v)
	{
		if (!put_element(out, v, depth))
			return false;
	}
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* For mem_free(). */
static const char **sorted_keys(json_t *object)
{
	const char **keys = mem_alloc(json_object_size(object) * sizeof(*keys));
	const char *key;
	json_t *v;
	size_t n = 0;
	json_object_foreach(object, key, v) keys[n++] = key;
	qsort(keys, n, sizeof(*keys), by_text);
	return keys;
}

static bool put_pairs(struct buf *out, json_t *object, int depth)
{
	const char **keys = sorted_keys(object);
	bool ok = true;
	for (size_t i = 0, n = json_object_size(object); i < n && ok; i++) {
		size_t length = strlen(keys[i]);
		ok = length <= KEY_MAX;
		if (!ok)
			break;
		buf_put_u8(out, (uint8_t)length);
		buf_put_bytes(out, keys[i], length);
		ok = put_element(out, json_object_get(object, keys[i]), depth);
	}
	mem_free(keys);
	return ok;
}

bool definition_put_table(struct buf *out, json_t *object)
{
	size_t had = out->n;
	if (put_pairs(out, object, 1))
		return true;
	out->n = had;
	return false;
}

/* ---- from tables ---- */

/* The length of the UTF-8 character at the start, 0 if there is none. jansson checks it. */
static size_t character(struct slice s)
{
	for (size_t n = 1; n <= 4 && n <= s.n; n++) {
		json_t *v = json_stringn((const char *)s.p, n);
		if (v == NULL)
			continue;
		json_decref(v);
		return n;
	}
	return 0;
}

static json_t *string_in(struct slice s)
{
	json_t *v = json_stringn(s.n > 0 ? (const char *)s.p : "", s.n);
	if (v != NULL)
		return v;
	struct buf b = BUF_EMPTY;
	while (s.n > 0) {
		size_t n = character(s);
		if (n > 0)
			buf_put_bytes(&b, s.p, n);
		else
			buf_put_bytes(&b, "\xef\xbf\xbd", 3);
		n += n == 0;
		s = slice_make(s.p + n, s.n - n);
	}
	v = json_stringn((const char *)b.p, b.n);
	buf_done(&b);
	return v;
}

static json_t *number_in(double d)
{
	return isfinite(d) ? json_real(d) : json_null();
}

static json_t *value_in(const struct amqp_value *v)
{
	if (amqp_value_is_int(v))
		return json_integer(v->u.i);
	switch (v->type) {
	case 't':
		return json_boolean(v->u.b);
	case 'f':
		return number_in((double)v->u.f);
	case 'd':
		return number_in(v->u.d);
	case 'D':
		return number_in((double)(int32_t)v->u.dec.value / pow(10, v->u.dec.scale));
	case 'T':
		return json_integer((json_int_t)v->u.t);
	case 'S':
	case 'x':
		return string_in(v->u.s);
	case 'F':
		return definition_of_table(v->u.s);
	case 'A':
		return definition_of_array(v->u.s);
	default:
		return json_null();
	}
}

static void set(json_t *object, struct slice key, json_t *value)
{
	json_t *name = string_in(key);
	json_object_set_new(object, json_string_value(name), value);
	json_decref(name);
}

json_t *definition_of_table(struct slice table)
{
	json_t *object = json_object();
	struct slice key;
	struct amqp_value v;
	for (struct reader r = reader_of(table); amqp_table_next(&r, &key, &v);)
		set(object, key, value_in(&v));
	return object;
}

json_t *definition_of_array(struct slice array)
{
	json_t *ret = json_array();
	struct amqp_value v;
	for (struct reader r = reader_of(array); amqp_array_next(&r, &v);)
		json_array_append_new(ret, value_in(&v));
	return ret;
}

/* ---- as Erlang prints it ---- */

static void put_text(struct buf *out, const char *s)
{
	buf_put_slice(out, slice_str(s));
}

/* Octets are taken for Latin-1. */
static bool is_printable(unsigned c)
{
	return (c >= ' ' && c < 127) || (c >= 8 && c <= 13) || c == 27 || c >= 160;
}

static void put_character(struct buf *out, uint8_t c)
{
	static const char special[] = "\b\t\n\v\f\r\033\"\\";
	static const char letters[] = "btnvfre\"\\";
	const char *at = c != '\0' ? strchr(special, c) : NULL;
	if (at != NULL) {
		buf_put_u8(out, '\\');
		buf_put_u8(out, (uint8_t)letters[at - special]);
	} else if (c < 0x80) {
		buf_put_u8(out, c);
	} else {
		buf_put_u8(out, (uint8_t)(0xc0 | c >> 6));
		buf_put_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
	}
}

static void put_quoted(struct buf *out, const uint8_t *p, size_t n)
{
	buf_put_u8(out, '"');
	for (size_t i = 0; i < n; i++)
		put_character(out, p[i]);
	buf_put_u8(out, '"');
}

static void put_binary(struct buf *out, struct slice s)
{
	bool printable = s.n > 0;
	for (size_t i = 0; i < s.n; i++)
		printable &= is_printable(s.p[i]);
	put_text(out, "<<");
	if (printable)
		put_quoted(out, s.p, s.n);
	for (size_t i = 0; !printable && i < s.n; i++) {
		char text[8];
		snprintf(text, sizeof text, "%s%u", i > 0 ? "," : "", s.p[i]);
		put_text(out, text);
	}
	put_text(out, ">>");
}

enum { REAL_DIGITS_MAX = 17 };

/* The fewest digits that mean this number, without point or zeros at the end, and where the point
 * is: 0.123 * 10^place. */
static size_t digits_of(double d, char digits[REAL_DIGITS_MAX + 1], int *place)
{
	char text[40];
	int precision = 0;
	do
		snprintf(text, sizeof text, "%.*e", precision, d);
	while (strtod(text, NULL) != d && ++precision < REAL_DIGITS_MAX);
	size_t n = 0;
	for (const char *p = text; *p != 'e'; p++)
		if (*p != '.')
			digits[n++] = *p;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	digits[n] = '\0';
	*place = atoi(strchr(text, 'e') + 1) + 1;
	return n;
}

static void put_zeros(struct buf *out, int n)
{
	for (; n > 0; n--)
		buf_put_u8(out, '0');
}

/* Erlang writes an exponent where that is shorter. */
static void put_real(struct buf *out, double d)
{
	char digits[REAL_DIGITS_MAX + 1], exponent[16];
	int place, length = (int)digits_of(fabs(d), digits, &place);
	int cost = snprintf(exponent, sizeof exponent, "%d", place - 1) + (length == 1 ? 3 : 2);
	if (signbit(d))
		buf_put_u8(out, '-');
	if (place <= 0 && (place == 0 || 2 - place <= cost)) {
		put_text(out, "0.");
		put_zeros(out, -place);
		put_text(out, digits);
	} else if (place > 0 && place < length) {
		buf_put_bytes(out, digits, (size_t)place);
		buf_put_u8(out, '.');
		put_text(out, digits + place);
	} else if (place > 0 && place - length + 2 <= cost && fabs(d) < 9007199254740992.0) {
		put_text(out, digits);
		put_zeros(out, place - length);
		put_text(out, ".0");
	} else {
		buf_put_u8(out, (uint8_t)digits[0]);
		buf_put_u8(out, '.');
		put_text(out, length > 1 ? digits + 1 : "0");
		buf_put_u8(out, 'e');
		put_text(out, exponent);
	}
}

static bool is_character(json_t *v)
{
	json_int_t c = json_integer_value(v);
	return json_is_integer(v) && c >= 0 && c < 256 && is_printable((unsigned)c);
}

static void put_list(struct buf *out, json_t *array)
{
	size_t i, n = json_array_size(array);
	json_t *v;
	bool text = n > 0;
	struct buf characters = BUF_EMPTY;
	json_array_foreach(array, i, v)
	{
		text &= is_character(v);
		buf_put_u8(&characters, (uint8_t)json_integer_value(v));
	}
	if (text) {
		put_quoted(out, characters.p, characters.n);
		buf_done(&characters);
		return;
	}
	buf_done(&characters);
	buf_put_u8(out, '[');
	json_array_foreach(array, i, v)
	{
		if (i > 0)
			buf_put_u8(out, ',');
		definition_put_term(out, v);
	}
	buf_put_u8(out, ']');
}

static void put_map(struct buf *out, json_t *object)
{
	const char **keys = sorted_keys(object);
	put_text(out, "#{");
	for (size_t i = 0, n = json_object_size(object); i < n; i++) {
		if (i > 0)
			buf_put_u8(out, ',');
		put_binary(out, slice_str(keys[i]));
		put_text(out, " => ");
		definition_put_term(out, json_object_get(object, keys[i]));
	}
	buf_put_u8(out, '}');
	mem_free(keys);
}

void definition_put_term(struct buf *out, json_t *value)
{
	char text[32];
	switch (json_typeof(value)) {
	case JSON_STRING:
		put_binary(out, string_of(value));
		break;
	case JSON_INTEGER:
		snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
		put_text(out, text);
		break;
	case JSON_REAL:
		put_real(out, json_real_value(value));
		break;
	case JSON_ARRAY:
		put_list(out, value);
		break;
	case JSON_OBJECT:
		put_map(out, value);
		break;
	case JSON_TRUE:
		put_text(out, "true");
		break;
	case JSON_FALSE:
		put_text(out, "false");
		break;
	case JSON_NULL:
		put_text(out, "null");
		break;
	}
}

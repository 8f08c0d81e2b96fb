/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"

static void put_text(struct buf *b, const char *text)
{
	buf_put_bytes(b, text, strlen(text));
}

static void put_value(struct buf *b, const json_t *v, bool quoted);

/* What would break a line of a table, or do worse to a terminal, is written as an escape. */
static void put_string(struct buf *b, const json_t *v, bool quoted)
{
	const char *text = json_string_value(v), *end = text + json_string_length(v);
	if (quoted)
		put_text(b, "\"");
	for (; text < end; text++) {
		char escape[8];
		if ((unsigned char)*text >= ' ' && *text != '\\') {
			buf_put_u8(b, (uint8_t)*text);
			continue;
		}
		if (*text == '\\')
			snprintf(escape, sizeof escape, "\\\\");
		else
			snprintf(escape, sizeof escape, "\\%03o", (unsigned char)*text);
		put_text(b, escape);
	}
	if (quoted)
		put_text(b, "\"");
}

/* [key, type, value] of a field table. */
static bool is_pair(const json_t *v)
{
	return json_is_array(v) && json_array_size(v) == 3 &&
	       json_is_string(json_array_get(v, 0)) && json_is_string(json_array_get(v, 1));
}

static void put_pair(struct buf *b, const json_t *v)
{
	put_text(b, "{");
	put_string(b, json_array_get(v, 0), true);
	put_text(b, ",");
	put_value(b, json_array_get(v, 2), true);
	put_text(b, "}");
}

static void put_list(struct buf *b, const json_t *v)
{
	size_t i;
	json_t *item;
	put_text(b, "[");
	json_array_foreach((json_t *)v, i, item)
	{
		if (i > 0)
			put_text(b, is_pair(item) ? "," : ", ");
		if (is_pair(item))
			put_pair(b, item);
		else
			put_value(b, item, false);
	}
	put_text(b, "]");
}

static void put_object(struct buf *b, const json_t *v)
{
	const char *key, *comma = "";
	json_t *item;
	put_text(b, "[");
	json_object_foreach((json_t *)v, key, item)
	{
		put_text(b, comma);
		put_text(b, "{\"");
		put_text(b, key);
		put_text(b, "\",");
		put_value(b, item, true);
		put_text(b, "}");
		comma = ",";
	}
	put_text(b, "]");
}

static void put_value(struct buf *b, const json_t *v, bool quoted)
{
	char number[64];
	switch (v != NULL ? json_typeof(v) : JSON_NULL) {
	case JSON_STRING:
		put_string(b, v, quoted);
		break;
	case JSON_INTEGER:
		snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
		put_text(b, number);
		break;
	case JSON_REAL:
		snprintf(number, sizeof number, "%.17g", json_real_value(v));
		put_text(b, number);
		if (strpbrk(number, ".e") == NULL)
			put_text(b, ".0");
		break;
	case JSON_TRUE:
		put_text(b, "true");
		break;
	case JSON_FALSE:
		put_text(b, "false");
		break;
	case JSON_ARRAY:
		put_list(b, v);
		break;
	case JSON_OBJECT:
		put_object(b, v);
		break;
	default:
		break;
	}
}

char *print_value(const json_t *v)
{
	struct buf b = BUF_EMPTY;
	put_value(&b, v, false);
	buf_put_u8(&b, '\0');
	return (char *)b.p;
}

/* ---- tables ---- */

static void print_separated(const json_t *row, const char *const *columns, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char *text = print_value(json_object_get(row, columns[i]));
		printf("%s%s", i > 0 ? "\t" : "", text);
		mem_free(text);
	}
	putchar('\n');
}

static void print_table(
	const json_t *rows, const char *const *columns, unsigned n, bool headers)
{
	size_t at;
	json_t *row;
	if (json_array_size(rows) == 0)
		return;
	for (unsigned i = 0; headers && i < n; i++)
		printf("%s%s", columns[i], i + 1 < n ? "\t" : "\n");
	json_array_foreach((json_t *)rows, at, row) print_separated(row, columns, n);
}

static void print_csv_field(const char *text, bool last)
{
	putchar('"');
	for (; *text != '\0'; text++)
		printf("%s%c", *text == '"' ? "\"" : "", *text);
	fputs(last ? "\"\n" : "\",", stdout);
}

/* As RabbitMQ's: all is quoted, and the first line has the names, also with --silent. */
static void print_csv(const json_t *rows, const char *const *columns, unsigned n)
{
	size_t at;
	json_t *row;
	for (unsigned i = 0; i < n; i++)
		print_csv_field(columns[i], i + 1 == n);
	json_array_foreach((json_t *)rows, at, row)
	{
		for (unsigned i = 0; i < n; i++) {
			char *text = print_value(json_object_get(row, columns[i]));
			print_csv_field(text, i + 1 == n);
			mem_free(text);
		}
	}
}

/* ---- pretty ---- */

/* Characters, not octets. */
static unsigned width_of(const char *text)
{
	unsigned n = 0;
	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_rule(const unsigned *width, unsigned n, const char *left, const char *mid,
	const char *right)
{
	fputs(left, stdout);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < width[i] + 2; k++)
			fputs("\u2500", stdout);
		fputs(i + 1 < n ? mid : right, stdout);
	}
	putchar('\n');
}

static void print_cell(const char *text, unsigned width)
{
	printf("\u2502 %s%*s ", text, (int)(width - width_of(text)), "");
}

static void print_pretty(const json_t *rows, const char *const *columns, unsigned n)
{
	size_t n_rows = json_array_size(rows);
	char **cells = mem_zalloc((n_rows * n + 1) * sizeof *cells);
	unsigned *width = mem_zalloc((n + 1) * sizeof *width);
	for (unsigned i = 0; i < n; i++)
		width[i] = width_of(columns[i]);
	for (size_t k = 0; k < n_rows * n; k++) {
		const json_t *row = json_array_get(rows, k / n);
		cells[k] = print_value(json_object_get(row, columns[k % n]));
		unsigned w = width_of(cells[k]);
		width[k % n] = w > width[k % n] ? w : width[k % n];
	}
	print_rule(width, n, "\u250c", "\u252c", "\u2510");
	for (unsigned i = 0; i < n; i++)
		print_cell(columns[i], width[i]);
	puts("\u2502");
	for (size_t k = 0; k < n_rows * n; k++) {
		if (k % n == 0)
			print_rule(width, n, "\u251c", "\u253c", "\u2524");
		print_cell(cells[k], width[k % n]);
		if (k % n == n - 1)
			puts("\u2502");
		mem_free(cells[k]);
	}
	print_rule(width, n, "\u2514", "\u2534", "\u2518");
	mem_free(cells);
	mem_free(width);
}

/* ---- JSON ---- */

static void print_json(const json_t *rows, const char *const *columns, unsigned n)
{
	size_t at;
	json_t *row;
	puts("[");
	json_array_foreach((json_t *)rows, at, row)
	{
		json_t *chosen = json_object();
		for (unsigned i = 0; i < n; i++) {
			json_t *v = json_object_get(row, columns[i]);
			json_object_set_new(
				chosen, columns[i], v != NULL ? json_incref(v) : json_string(""));
		}
		char *text = json_dumps(chosen, JSON_COMPACT);
		printf("%s%s\n", at > 0 ? "," : "", text);
		free(text);
		json_decref(chosen);
	}
	puts("]");
}

void print_rows(const json_t *rows, const char *const *columns, unsigned n, enum format format,
	bool headers)
{
	switch (format) {
	case FORMAT_TABLE:
		print_table(rows, columns, n, headers);
		break;
	case FORMAT_PRETTY:
		print_pretty(rows, columns, n);
		break;
	case FORMAT_CSV:
		print_csv(rows, columns, n);
		break;
	case FORMAT_JSON:
		print_json(rows, columns, n);
		break;
	}
}

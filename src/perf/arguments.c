/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"

static bool put_integer(struct buf *b, const char *key, const char *value)
{
	char *end;
	errno = 0;
	long long v = strtoll(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0)
		return false;
	amqp_table_put_long(b, key, v);
	return true;
}

static bool put_double(struct buf *b, const char *key, const char *value)
{
	char *end;
	double v = strtod(value, &end);
	if (end == value || *end != '\0')
		return false;
	amqp_table_put_double(b, key, v);
	return true;
}

static bool put_boolean(struct buf *b, const char *key, const char *value)
{
	bool yes = strcmp(value, "true") == 0;
	if (!yes && strcmp(value, "false") != 0)
		return false;
	amqp_table_put_bool(b, key, yes);
	return true;
}

static bool put_string(struct buf *b, const char *key, const char *value)
{
	amqp_table_put_string(b, key, slice_str(value));
	return true;
}

static bool put_value(struct buf *b, const char *key, const char *value)
{
	if (value[0] != '\0' && value[1] == ':') {
		switch (value[0]) {
		case 's':
			return put_string(b, key, value + 2);
		case 'i':
			return put_integer(b, key, value + 2);
		case 'd':
			return put_double(b, key, value + 2);
		case 'b':
			return put_boolean(b, key, value + 2);
		}
	}
	return put_integer(b, key, value) || put_boolean(b, key, value) ||
	       put_string(b, key, value);
}

/* KEY=VALUE, which this function may write into */
static bool put_pair(struct buf *b, char *pair)
{
	char *equals = strchr(pair, '=');
	if (equals == NULL || equals == pair || equals - pair > 255)
		return false;
	*equals = '\0';
	bool ok = put_value(b, pair, equals + 1);
	*equals = '=';
	return ok;
}

int arguments_parse(struct buf *b, const char *text, char *err, size_t err_n)
{
	while (*text != '\0') {
		size_t n = strcspn(text, ",");
		char *pair = mem_dup(text, n + 1);
		pair[n] = '\0';
		bool ok = put_pair(b, pair);
		if (!ok)
			snprintf(err, err_n, "%s: is not KEY=VALUE", pair);
		mem_free(pair);
		if (!ok)
			return -1;
		text += n + (text[n] == ',');
	}
	return 0;
}

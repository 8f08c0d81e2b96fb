/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/json.h"

#include <inttypes.h>

static void quoted(struct json *j, const char *s)
{
	fputc('"', j->to);
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			fprintf(j->to, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			fprintf(j->to, "\\u%04x", c);
		else
			fputc(c, j->to);
	}
	fputc('"', j->to);
}

static void line(struct json *j)
{
	if (j->depth > 0)
		fprintf(j->to, "\n%*s", (int)(2 * j->depth), "");
}

static void begin(struct json *j, const char *key)
{
	if (j->begun)
		fputc(',', j->to);
	line(j);
	j->begun = true;
	if (key == NULL)
		return;
	quoted(j, key);
	fputs(": ", j->to);
}

void json_open(struct json *j, const char *key, char bracket)
{
	begin(j, key);
	fputc(bracket, j->to);
	j->depth++;
	j->begun = false;
}

void json_close(struct json *j, char bracket)
{
	j->depth--;
	if (j->begun)
		line(j);
	if (j->depth == 0 && j->begun)
		fputc('\n', j->to);
	fputc(bracket, j->to);
	if (j->depth == 0)
		fputc('\n', j->to);
	j->begun = true;
}

void json_text(struct json *j, const char *key, const char *value)
{
	begin(j, key);
	quoted(j, value);
}

void json_count(struct json *j, const char *key, uint64_t value)
{
	begin(j, key);
	fprintf(j->to, "%" PRIu64, value);
}

void json_real(struct json *j, const char *key, double value)
{
	begin(j, key);
	fprintf(j->to, "%.3f", value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	begin(j, key);
	fputs(value ? "true" : "false", j->to);
}

void json_null(struct json *j, const char *key)
{
	begin(j, key);
	fputs("null", j->to);
}

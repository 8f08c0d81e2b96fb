/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing one JSON document, indented, key by key. The caller keeps to the order of the calls.
 */
#ifndef WARREN_PERF_JSON_H
#define WARREN_PERF_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *to;
	unsigned depth;
	bool begun; /* something stands before in this object or array */
};

/* `key` NULL: an element of an array, or the document itself. */
void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);

void json_text(struct json *j, const char *key, const char *value);
void json_count(struct json *j, const char *key, uint64_t value);
void json_real(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows (an array of objects) on standard output, as RabbitMQ's tools print them.
 */
#ifndef WARREN_CTL_PRINT_H
#define WARREN_CTL_PRINT_H

#include <jansson.h>

#include "src/ctl/options.h"

/* `columns` of each row. With FORMAT_TABLE: tab separated, no header if there are no rows or
 * `headers` is false. */
void print_rows(const json_t *rows, const char *const *columns, unsigned n, enum format format,
	bool headers);
/* One value in Erlang's manner, as in a table: [{"k",1}], true, text. To a string that the caller
 * frees with mem_free(). */
char *print_value(const json_t *v);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Field tables from text: "x-queue-type=quorum,x-max-length=1000,x-single-active-consumer=true". A
 * value that reads as an integer or as true or false is one; a prefix says otherwise: s: string,
 * i: integer, d: double, b: boolean. There is no way to write a comma in a value. Pure.
 */
#ifndef WARREN_PERF_ARGUMENTS_H
#define WARREN_PERF_ARGUMENTS_H

#include "src/base/buf.h"

/* Appends the pairs, as src/amqp/table.h calls a table. 0, or -1 with one line in `err`. */
int arguments_parse(struct buf *b, const char *text, char *err, size_t err_n);

#endif

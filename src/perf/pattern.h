/* SPDX-License-Identifier: Apache-2.0
 *
 * Names with a number in them: "orders-%i" is orders-0, orders-1, ...; "%%" is a percent sign.
 * Pure.
 */
#ifndef WARREN_PERF_PATTERN_H
#define WARREN_PERF_PATTERN_H

#include <stdbool.h>

/* No other character after a percent sign, and short enough for any number. */
bool pattern_valid(const char *pattern);
/* The number matters: there is a "%i". */
bool pattern_varies(const char *pattern);
/* The name with this number; the caller frees it with mem_free(). */
char *pattern_expand(const char *pattern, unsigned number);

#endif

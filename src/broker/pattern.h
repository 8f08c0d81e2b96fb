/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions that operators write and names are matched with, unanchored. Inside this
 * folder only; others check one with broker_pattern_check() (user.h).
 */
#ifndef WARREN_BROKER_PATTERN_H
#define WARREN_BROKER_PATTERN_H

#include "src/base/bytes.h"

struct broker;

/* NULL if PCRE2 refuses it. */
void *broker_pattern_compile(struct slice pattern);
/* NULL is fine. */
void broker_pattern_free(void *code);
enum { PATTERN_WHY_MAX = 128 };
/* True if it compiles; otherwise `text` says why not and `where` at which octet. */
bool broker_pattern_fault(struct slice pattern, char text[PATTERN_WHY_MAX], size_t *where);
/* False if `code` is NULL, or it takes too long. */
bool broker_pattern_matches(struct broker *b, const void *code, struct slice name);

#endif

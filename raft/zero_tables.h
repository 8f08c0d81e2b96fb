/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of ZERO_TABLE_BYTES zeroes of which only the pages that are written take memory. That is
 * what libraft's table of references begins with in every group: 256 slots by entry index, of which
 * a group that rests has touched the first few.
 *
 * They come from one range of address space, so telling whose block a pointer is costs a
 * comparison. Any thread.
 */
#ifndef WARREN_RAFT_ZERO_TABLES_H
#define WARREN_RAFT_ZERO_TABLES_H

#include <stdbool.h>

enum { ZERO_TABLE_BYTES = 8192 };

/* NULL if there is none left, or no address space: use other memory then. */
void *zero_tables_alloc(void);
bool zero_tables_has(const void *p);
/* Gives the block back: zero_tables_has() it. */
void zero_tables_free(void *p);

#endif

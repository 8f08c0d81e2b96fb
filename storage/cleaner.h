/* SPDX-License-Identifier: Apache-2.0
 *
 * Log cleaning: copies what lives in mostly dead records forward, so that one needed entry does not
 * keep a record of many on disk, and disk use follows what lives.
 *
 *   before   | a - - - | - b - - | c d e f |          '-': dead
 *   plan     | a - - - | - b - - | c d e f | ... | a b |    copies, marked MOVED
 *   finish   | - - - - | - - - - | c d e f | ... | a b |    the index points to the copies
 *   next     deleted   deleted
 *
 * A crash between the first and the last step leaves both; the later copy counts.
 */
#ifndef WARREN_STORAGE_CLEANER_H
#define WARREN_STORAGE_CLEANER_H

#include "storage/round.h"
#include "storage/view.h"

struct cleaner {
	struct env *env;
	struct view view;
	uint64_t cleaned_bytes; /* copied since the start */
};

void cleaner_init(struct cleaner *c, struct env *env);
void cleaner_done(struct cleaner *c);
/* True if records occupy more than twice what lives, and a margin. */
bool cleaner_wanted(const struct records *rs);
/* Adds a bounded portion of copies to the round; after all requests, before the commit. */
void cleaner_plan(struct cleaner *c, struct round *r);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request means: the one place where the rules of a log are applied (storage/store.h, "Life
 * of an entry"). Turns requests into a round's changes.
 */
#ifndef WARREN_STORAGE_PLAN_H
#define WARREN_STORAGE_PLAN_H

#include "storage/round.h"

/* Adds a request or note of group g. Writer thread. */
void plan_request(struct round *r, struct group_state *g, struct store_req *req);
/* Roughly what carrying it out will write. */
size_t plan_request_bytes(const struct store_req *req);

#endif

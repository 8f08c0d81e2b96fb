/* SPDX-License-Identifier: Apache-2.0
 *
 * Start-up: rebuilds what is kept in memory from the tables hard, snap (headers only) and dir.
 * Bodies are not read. Directories are read in the order of their numbers, which is the order in
 * which things happened; of two copies of an entry the later one counts.
 */
#ifndef WARREN_STORAGE_SCAN_H
#define WARREN_STORAGE_SCAN_H

#include "storage/env.h"
#include "storage/groups.h"
#include "storage/records.h"

/* Fills the empty tables. 0 or a STORE_ error, with table and key in *err. */
int scan_store(struct env *env, struct groups *gs, struct records *rs, struct env_text err);

#endif

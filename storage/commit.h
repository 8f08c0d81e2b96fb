/* SPDX-License-Identifier: Apache-2.0
 *
 * Carries out a round's changes in one LMDB transaction.
 */
#ifndef WARREN_STORAGE_COMMIT_H
#define WARREN_STORAGE_COMMIT_H

#include "src/base/buf.h"
#include "storage/round.h"

/* 0: all of it is durable, and `generation` is that of the journal from here on. Else LMDB's error:
 * nothing of it is, and it may be tried again. `scratch` is memory to work in. */
int commit_round(struct env *env, const struct round *r, uint64_t generation, struct buf *scratch);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * How many connections and channels a virtual host or a user has on this node, for their limits.
 * Shared by all workers: any thread.
 */
#ifndef WARREN_SESSION_TALLY_H
#define WARREN_SESSION_TALLY_H

#include <stdatomic.h>

#include "src/base/bytes.h"

struct tally;

enum tally_kind { TALLY_VHOST, TALLY_USER };

/* Of one name; stays until the tally is freed. */
struct tally_count {
	_Atomic unsigned connections;
	_Atomic unsigned channels;
};

struct tally *tally_new(void);
/* Nobody counts any more. */
void tally_free(struct tally *t);

/* The counts of a name, which may be new. One entry is kept per name that ever had a connection. */
struct tally_count *tally_of(struct tally *t, enum tally_kind kind, struct slice name);

/* One more, unless there are `limit` already (negative: no limit). */
bool tally_take(_Atomic unsigned *count, int64_t limit);
/* One less. */
void tally_give(_Atomic unsigned *count);

#endif

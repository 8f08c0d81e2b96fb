/* SPDX-License-Identifier: Apache-2.0
 *
 * A node for fuzz_session.c: one worker, logs in memory, no sockets, no threads; wired as
 * src/daemon/shard.c and node.c do it. The clock stands still but for world_time().
 */
#ifndef WARREN_TESTS_FUZZ_SESSION_WORLD_H
#define WARREN_TESTS_FUZZ_SESSION_WORLD_H

#include "src/session/env.h"

enum { WORLD_NODE = 1 }; /* its id; there is a link to the next one, and none to the one after it */

struct world;

/* Serving, with vhost "/" and the user guest. */
struct world *world_new(void);
/* Closes everything in the order of a node's end and frees it; checks that nothing stays open. */
void world_end(struct world *w);
/* Runs turns until there is nothing to do. */
void world_turn(struct world *w);
/* Lets time pass; sessions get their tick each second. */
void world_time(struct world *w, uint64_t ms);
struct session_env *world_env(struct world *w);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Directed scenarios on the simulator's cluster. A scenario says whether what its rule promises
 * held; it runs in a process of its own, as without the rule it may well end in a crash.
 */
#ifndef WARREN_TESTS_RAFT_SCENE_H
#define WARREN_TESTS_RAFT_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "raft/wire.h"
#include "tests/sim/cluster.h"

typedef bool (*scenario)(const struct rules_off *off);

/* True: the scenario returned true and the checker had nothing to say. */
bool scene_holds(scenario s, const struct rules_off *off);
/* With all rules it holds, without the ones in `off` it does not. */
void scene_needs(scenario s, struct rules_off off);
/* The same for what libraft 0.22 got right: without the rules it holds there, and only there. */
void scene_needs_with_015(scenario s, struct rules_off off);

/* Quick and regular: messages take 1 ms, commits 1 ms. */
struct cluster_options scene_options(unsigned nodes, unsigned voters, const struct rules_off *off);

/* A cluster of these; for scene_end(). */
void scene_begin(struct cluster *c, unsigned nodes, unsigned voters, const struct rules_off *off);
/* Ends the cluster: true if `held`, and the checker had nothing to say. */
bool scene_end(struct cluster *c, bool held);

/* The scenario cannot go on: it did not hold. */
#define SCENE_NEEDS(condition)                                                                  \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			if (getenv("SCENE_VERBOSE") != NULL)                                    \
				fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return false;                                                           \
		}                                                                               \
	} while (0)

/* All members have the same, for cluster_until(). */
bool scene_is_equal(struct cluster *c);
bool scene_has_leader(struct cluster *c);
/* Makes node i lead; false if it does not come to that. */
bool scene_lead(struct cluster *c, unsigned i);
/* Proposes at node i and waits until it is confirmed. */
bool scene_put(struct cluster *c, unsigned i, size_t padding);
/* No member runs its clock. */
bool scene_is_frozen(struct cluster *c);

#endif

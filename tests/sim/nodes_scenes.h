/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenes: one fault each, on three nodes or more under load, at a moment that the seed decides. In the
 * end everything is repaired, and all must be well (nodes_life.h).
 */
#ifndef WARREN_TESTS_NODES_SCENES_H
#define WARREN_TESTS_NODES_SCENES_H

#include "tests/sim/nodes_life.h"

struct scene {
	const char *name;
	unsigned nodes, n_ram;
	void (*play)(struct nodes_life *l);
	bool discovers; /* nobody forms the cluster */
	unsigned workers; /* 0: as the seed decides */
};

extern const struct scene nodes_scenes[];
extern const unsigned n_nodes_scenes;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_stage.h"
#include "tests/sim/scenes.h"

static unsigned unled(struct nodes_life *l, unsigned from, unsigned to)
{
	unsigned n = 0;
	for (unsigned q = from; q < to; q++)
		n += life_leader(l, q) == NULL;
	return n;
}

/* Many queues that nobody uses cost no message; one node dies, and all are led again. */
void scene_idle(struct nodes_life *l)
{
	l->publishers = l->consumers = 0;
	for (unsigned q = QUEUES; q < QUEUES + MANY; q++) {
		life_mirror(l, stage_node(l, 0), q, "all", 0, true);
		life_declare(l, stage_node(l, q), q);
	}
	world_run(&l->world, 20000);
	stage_rest(l);
	uint64_t before = l->world.net.delivered;
	world_run(&l->world, 10000);
	if (l->world.net.delivered != before)
		promise_broken(&l->world.promises, "groups at rest have sent %lu messages",
			(unsigned long)(l->world.net.delivered - before));
	struct sim_node *n = stage_node(l, stage_any(l));
	sim_node_kill(n, sim_chance(stage_sim(l), 50));
	for (unsigned t = 0; t < 100 && unled(l, QUEUES, QUEUES + MANY) > 0; t++)
		world_run(&l->world, 100);
	if (unled(l, QUEUES, QUEUES + MANY) > 0)
		promise_broken(&l->world.promises, "%u of %u idle queues have no leader 10 s after a kill",
			unled(l, QUEUES, QUEUES + MANY), MANY);
}

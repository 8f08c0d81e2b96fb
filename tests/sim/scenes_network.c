/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_stage.h"
#include "tests/sim/scenes.h"

/* So long a fault lasts, one for each of three seeds. */
static uint64_t fault_ms(const struct nodes_life *l)
{
	static const uint64_t ms[] = {1000, 10000, 60000};
	return ms[l->world.o.seed % 3];
}

/* The node does not hear the others, or they do not hear it, or both. */
static void isolated(struct nodes_life *l, bool in, bool out)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	unsigned a = n != NULL && sim_chance(stage_sim(l), 50) ? n->i : stage_any(l);
	stage_while(l);
	stage_isolate(l, a, in, out, true);
	world_run(&l->world, fault_ms(l));
	stage_isolate(l, a, in, out, false);
	stage_expect_agreement(l, AGREE_MS);
}

void scene_cut_off(struct nodes_life *l)
{
	isolated(l, true, true);
}

void scene_unheard(struct nodes_life *l)
{
	isolated(l, false, true);
}

void scene_deaf(struct nodes_life *l)
{
	isolated(l, true, false);
}

/* Two do not reach each other, and both reach the others: each pair in turn. */
void scene_pairs(struct nodes_life *l)
{
	for (unsigned a = 0; a < l->world.o.nodes && !life_failed(l); a++) {
		unsigned b = (a + 1) % l->world.o.nodes;
		stage_while(l);
		sim_net_cut(&l->world.net, a, b, true);
		sim_net_cut(&l->world.net, b, a, true);
		world_run(&l->world, fault_ms(l));
		sim_net_cut(&l->world.net, a, b, false);
		sim_net_cut(&l->world.net, b, a, false);
		stage_expect_agreement(l, AGREE_MS);
	}
}

/* What a node sends is lost more often than what it gets, and takes longer or less long. */
void scene_lopsided(struct nodes_life *l)
{
	struct sim_way (*way)[SIM_HOSTS] = l->world.net.way;
	bool slow_out = sim_chance(stage_sim(l), 50);
	unsigned a = stage_any(l);
	stage_while(l);
	for (unsigned b = 0; b < l->world.o.nodes; b++) {
		way[a][b] = (struct sim_way){.loss_permille = 200, .delay_us = slow_out ? 200000 : 20000};
		way[b][a] = (struct sim_way){.loss_permille = 100, .delay_us = slow_out ? 20000 : 200000};
	}
	world_run(&l->world, fault_ms(l));
	for (unsigned b = 0; b < l->world.o.nodes; b++)
		way[a][b] = way[b][a] = (struct sim_way){0};
	stage_expect_agreement(l, AGREE_MS);
}

/* Each is heard by one of its neighbours only. */
void scene_ring(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes;
	stage_while(l);
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, true);
	world_run(&l->world, fault_ms(l));
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, false);
	stage_expect_agreement(l, AGREE_MS);
}

/* Links that are cut for moments, too short for anybody to give them up: what was under way waits, and comes in
 * its order. */
void scene_blinks(struct nodes_life *l)
{
	struct sim_net_options *o = &l->world.net.o, before = *o;
	unsigned n = l->world.o.nodes;
	o->delay_max_us = 60000;
	for (unsigned i = 0; i < 100 && !life_failed(l); i++) {
		unsigned a = stage_any(l), b = (a + 1 + stage_any(l) % (n - 1)) % n;
		world_run(&l->world, sim_between(stage_sim(l), 1, 100));
		sim_net_cut(&l->world.net, a, b, true);
		world_run(&l->world, sim_between(stage_sim(l), 1, 40));
		sim_net_cut(&l->world.net, a, b, false);
	}
	*o = before;
	stage_expect_led(l, QUEUE_ALL);
}

void scene_lossy(struct nodes_life *l)
{
	struct sim_net_options *o = &l->world.net.o, before = *o;
	o->loss_permille = 50;
	o->raft_permille = 100;
	o->delay_max_us = sim_between(stage_sim(l), 20000, 150000);
	world_run(&l->world, 8000);
	sim_node_kill(stage_node(l, stage_any(l)), false);
	world_run(&l->world, 4000);
	*o = before;
}

void scene_stalled(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	stage_while(l);
	if (n == NULL)
		return;
	n->box.disk.stalled_us = stage_sim(l)->now_us + 8000000;
	world_run(&l->world, 6000);
	if (life_leader(l, QUEUE_ALL) == NULL)
		promise_broken(&l->world.promises, "nobody leads q0 while a disk stands still");
	world_run(&l->world, 3000);
}

/* Nothing can be written on one node until somebody makes room. */
void scene_full_disk(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	stage_while(l);
	if (n == NULL)
		return;
	world_trace(&l->world, "the disk of %s is full", n->name);
	n->box.disk.held = true;
	world_run(&l->world, 6000);
	stage_expect_led(l, QUEUE_ALL);
	if (life_leader(l, QUEUE_ALL) == n)
		promise_broken(&l->world.promises, "who has a full disk leads q0");
	world_run(&l->world, 10000);
	n->box.disk.held = false;
	stage_expect_agreement(l, AGREE_MS);
}

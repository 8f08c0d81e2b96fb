/* SPDX-License-Identifier: Apache-2.0
 *
 * What scenes are played with: who is on the stage, what happens to them, and what is waited for. What does not
 * come in its time breaks a promise (promises.h).
 */
#ifndef WARREN_TESTS_NODES_STAGE_H
#define WARREN_TESTS_NODES_STAGE_H

#include "tests/sim/nodes_life.h"

enum {
	STAGE_WHILE_MS = 1500,
	LEADER_MS = 12000,  /* in which a queue has to have a leader again */
	SYNC_MS = 40000,    /* in which a mirror has to vote, and for the copy */
	DRAIN_MS = 300000,  /* in which consumers get what they can */
	REST_MS = 30000,    /* in which groups that nobody uses have to rest */
	AGREE_MS = 10000,   /* in which all agree again when a fault is over */
	START_MS = 30000,   /* the same when all have been started */
	STOP_MS = 40000,    /* in which a node ends that is told to */
	MANY = 150,         /* queues at rest */
	FEW = 20,           /* queues that are declared when a node has just gone */
};

struct stage_queue {
	struct nodes_life *life;
	unsigned queue;
	unsigned voters;
};

struct sim *stage_sim(struct nodes_life *l);
/* Node i, round and round. */
struct sim_node *stage_node(struct nodes_life *l, unsigned i);
/* The number of one, as the seed has it. */
unsigned stage_any(struct nodes_life *l);

/* ---- what happens ---- */

/* Under load, up to a moment. */
void stage_while(struct nodes_life *l);
/* Consumers get what there is, and then nothing happens any more. */
void stage_rest(struct nodes_life *l);
/* Some other node forgets this one, when it is down. */
void stage_forget(struct nodes_life *l, uint64_t id);
/* A queue is deleted. */
void stage_delete(struct nodes_life *l, unsigned queue);
/* Two nodes do not hear each other; or do again. */
void stage_cut(struct nodes_life *l, unsigned a, unsigned b, bool cut);
/* Node a does not hear the others, or they do not hear it, or both; or do again. */
void stage_isolate(struct nodes_life *l, unsigned a, bool in, bool out, bool cut);

/* ---- what is waited for ---- */

/* Conditions for world_until(), of a struct stage_queue. */
bool stage_is_led(struct sim_world *w, void *arg);
bool stage_has_voters(struct sim_world *w, void *arg);
void stage_expect_led(struct nodes_life *l, unsigned queue);
void stage_expect_voters(struct nodes_life *l, unsigned queue, unsigned voters);
/* Within so many ms, and what it takes to copy a queue. */
void stage_expect_agreement(struct nodes_life *l, uint64_t ms);
/* This node, or NULL: all. */
void stage_expect_down(struct nodes_life *l, struct sim_node *n);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_stage.h"
#include "tests/sim/scenes.h"

/* Of the queue that is mirrored everywhere the leader, again and again. */
void scene_kills(struct nodes_life *l)
{
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		stage_while(l);
		stage_expect_led(l, QUEUE_ALL);
		struct sim_node *n = life_leader(l, QUEUE_ALL);
		if (n == NULL)
			return;
		sim_node_kill(n, sim_chance(stage_sim(l), 50));
		stage_while(l);
		stage_expect_led(l, QUEUE_ALL);
		sim_node_start(n);
	}
}

/* Each node once. */
void scene_kills_in_turn(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++) {
		stage_while(l);
		sim_node_kill(stage_node(l, i), sim_chance(stage_sim(l), 50));
		stage_while(l);
		stage_expect_led(l, QUEUE_ALL);
		sim_node_start(stage_node(l, i));
		stage_expect_agreement(l, START_MS);
	}
}

/* Of whoever asks for a queue's length. */
static struct question {
	struct queue_request request;
	bool answered;
	enum machine_status status;
} question;

static void on_answer(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	(void)r;
	(void)d;
	question.answered = true;
	question.status = a->status;
}

static bool is_answered(struct sim_world *w, void *arg)
{
	(void)w;
	(void)arg;
	return question.answered;
}

/* A queue without mirrors on a node that is dead: elsewhere that is said at once (AMQP's 404), and when the
 * node is back all is there. */
void scene_home_down(struct nodes_life *l)
{
	stage_expect_led(l, QUEUE_ONE);
	struct sim_node *home = life_leader(l, QUEUE_ONE);
	stage_while(l);
	if (home == NULL)
		return;
	sim_node_kill(home, sim_chance(stage_sim(l), 50));
	world_run(&l->world, 2 * l->world.o.net.silence_ms);
	struct sim_node *n = stage_node(l, home->i + 1);
	struct shard *s = sim_node_shard(n, stage_any(l));
	question = (struct question){.request.done = on_answer};
	queue_status(queue_clients_get(s->clients, sim_queue_find(n, QUEUE_ONE)->group), false,
		&question.request);
	worker_wake(&s->worker);
	if (!world_until(&l->world, is_answered, NULL, 100) || question.status != MACHINE_UNAVAILABLE)
		promise_broken(&l->world.promises, "q%u is not said to be down with its node", QUEUE_ONE);
	stage_while(l);
	sim_node_start(home);
	stage_expect_agreement(l, START_MS);
}

/* Of the queue that has two mirrors the leader or another node dies, and the queue goes on; or the survivor
 * dies, too, as soon as the first one is back. */
void scene_two_mirrors(struct nodes_life *l)
{
	for (unsigned i = 0; i < 4 && !life_failed(l); i++) {
		stage_expect_led(l, QUEUE_TWO);
		stage_expect_voters(l, QUEUE_TWO, 2);
		stage_while(l);
		struct sim_node *n = life_leader(l, QUEUE_TWO);
		if (n == NULL || sim_chance(stage_sim(l), 50))
			n = stage_node(l, stage_any(l));
		if (sim_chance(stage_sim(l), 70))
			sim_node_kill(n, sim_chance(stage_sim(l), 50));
		else
			sim_node_stop(n);
		world_run(&l->world, sim_between(stage_sim(l), 1, 8000));
		stage_expect_led(l, QUEUE_TWO);
		for (unsigned t = 0; t < 300 && n->up; t++)
			world_run(&l->world, 100);
		sim_node_start(n);
		if (sim_chance(stage_sim(l), 50))
			continue;
		world_run(&l->world, sim_between(stage_sim(l), 1, 3000));
		struct sim_node *second = life_leader(l, QUEUE_TWO);
		if (second == NULL || second == n)
			continue;
		sim_node_kill(second, sim_chance(stage_sim(l), 50));
		stage_while(l);
		sim_node_start(second);
	}
}

/* Links of those two that have the queue with two mirrors are cut, so that one of them may be called down while it
 * lives, and lead, or be cut off from the metadata when the other one is called down; then one of them dies, or all. */
void scene_two_mirrors_cut(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes;
	for (unsigned i = 0; i < 4 && !life_failed(l); i++) {
		struct sim_node *leader = life_leader(l, QUEUE_TWO);
		unsigned a = leader != NULL ? leader->i : stage_any(l), b = stage_any(l);
		for (unsigned k = 0; k < n; k++)
			if (k != b && sim_chance(stage_sim(l), 50))
				stage_cut(l, sim_chance(stage_sim(l), 70) ? a : b, k, true);
		world_run(&l->world, sim_between(stage_sim(l), 500, 9000));
		bool all = sim_chance(stage_sim(l), 20);
		for (unsigned k = 0; k < n; k++)
			if (all || (k == (i % 2 != 0 ? a : b) && sim_chance(stage_sim(l), 70)))
				sim_node_kill(stage_node(l, k), sim_chance(stage_sim(l), 50));
		world_run(&l->world, sim_between(stage_sim(l), 1, 6000));
		bool mended = sim_chance(stage_sim(l), 50);
		for (unsigned k = 0; k < n; k++)
			for (unsigned m = 0; mended && m < k; m++)
				stage_cut(l, k, m, false);
		unsigned first = stage_any(l);
		for (unsigned k = 0; k < n; k++) {
			if (stage_node(l, first + k)->up)
				continue;
			sim_node_start(stage_node(l, first + k));
			world_run(&l->world, sim_between(stage_sim(l), 1, 4000));
		}
		for (unsigned k = 0; k < n; k++)
			for (unsigned m = 0; m < k; m++)
				stage_cut(l, k, m, false);
		stage_while(l);
	}
}

/* Both members' nodes die at a time, and one of them is back: the queue goes on, whichever it is. */
void scene_both_of_two(struct nodes_life *l)
{
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		struct stage_queue q = {.life = l, .queue = QUEUE_TWO};
		stage_expect_led(l, QUEUE_TWO);
		stage_expect_voters(l, QUEUE_TWO, 2);
		stage_while(l);
		struct sim_node *a = life_leader(l, QUEUE_TWO), *b = life_member(l, QUEUE_TWO, a);
		if (life_failed(l) || a == NULL || b == NULL)
			return;
		bool dark = sim_chance(stage_sim(l), 50), swap = sim_chance(stage_sim(l), 50);
		sim_node_kill(a, dark);
		sim_node_kill(b, dark);
		world_run(&l->world, sim_between(stage_sim(l), 1, 16000));
		sim_node_start(swap ? a : b);
		world_until(&l->world, stage_is_led, &q, START_MS);
		stage_expect_led(l, QUEUE_TWO);
		stage_while(l);
		sim_node_start(swap ? b : a);
	}
}

static bool is_of_two(struct sim_world *w, void *arg)
{
	struct sim_node *n = life_leader(arg, QUEUE_TRANSIENT);
	(void)w;
	return n != NULL && sim_queue_find(n, QUEUE_TRANSIENT)->n_members == 2;
}

/* A queue in memory on two nodes: they die or stop in turn, and it lives with what was in it as long as one of them
 * has it all. Two nodes alone have no metadata meanwhile. */
void scene_two_in_memory(struct nodes_life *l)
{
	l->remembers = true;
	life_mirror(l, stage_node(l, 0), QUEUE_TRANSIENT, "exactly", 2, true);
	if (!world_until(&l->world, is_of_two, l, SYNC_MS))
		promise_broken(&l->world.promises, "q%u has not two members", QUEUE_TRANSIENT);
	for (unsigned i = 0; i < 5 && !life_failed(l); i++) {
		stage_expect_led(l, QUEUE_TRANSIENT);
		stage_expect_voters(l, QUEUE_TRANSIENT, 2);
		stage_while(l);
		struct sim_node *n = life_leader(l, QUEUE_TRANSIENT);
		if (sim_chance(stage_sim(l), 50))
			n = life_member(l, QUEUE_TRANSIENT, n);
		if (life_failed(l) || n == NULL)
			return;
		if (sim_chance(stage_sim(l), 70))
			sim_node_kill(n, sim_chance(stage_sim(l), 50));
		else
			sim_node_stop(n);
		world_run(&l->world, sim_chance(stage_sim(l), 30) ? 1 : sim_between(stage_sim(l), 1, 15000));
		if (!n->up && l->world.o.nodes > 2)
			stage_expect_led(l, QUEUE_TRANSIENT);
		stage_expect_down(l, n);
		if (life_failed(l))
			return;
		sim_node_start(n);
		stage_expect_agreement(l, START_MS); /* that it has nothing */
	}
}

/* All are stopped, and started in each order there is of three. */
void scene_orders(struct nodes_life *l)
{
	for (unsigned k = 0; k < 6 && !life_failed(l); k++) {
		unsigned a = k % 3, b = (a + 1 + k / 3) % 3, first = stage_any(l);
		const unsigned order[] = {a, b, 3 - a - b};
		for (unsigned i = 0; i < 3; i++) {
			sim_node_stop(stage_node(l, first + i));
			if (sim_chance(stage_sim(l), 50))
				stage_while(l);
		}
		stage_expect_down(l, NULL);
		for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
			sim_node_start(stage_node(l, order[i]));
			stage_while(l);
		}
		stage_expect_agreement(l, START_MS);
	}
}

/* What was not committed is gone on all of them at once. */
void scene_power_loss(struct nodes_life *l)
{
	for (unsigned round = 0; round < 3; round++) {
		stage_while(l);
		for (unsigned i = 0; i < l->world.o.nodes; i++)
			sim_node_kill(stage_node(l, i), true);
		unsigned first = stage_any(l);
		for (unsigned i = 0; i < l->world.o.nodes; i++) {
			if (sim_chance(stage_sim(l), 50))
				world_run(&l->world, sim_between(stage_sim(l), 1, 3000));
			sim_node_start(stage_node(l, first + i));
		}
		stage_expect_led(l, QUEUE_ALL);
		stage_expect_agreement(l, START_MS);
	}
}

/* One after another, each waiting for the one before, as an upgrade does. */
void scene_rolling(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++) {
		struct sim_node *n = stage_node(l, i);
		sim_node_stop(n);
		stage_expect_down(l, n);
		if (life_failed(l))
			return;
		stage_expect_led(l, QUEUE_ALL);
		sim_node_start(n);
		world_run(&l->world, 1000);
		stage_expect_led(l, QUEUE_QUORUM);
	}
}

/* Queues come and go while nodes go down. */
void scene_deleted_while_stopping(struct nodes_life *l)
{
	for (unsigned i = 0; i < 6 && !life_failed(l); i++) {
		struct sim_node *n = stage_node(l, i), *via = stage_node(l, i + 1);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++) {
			life_mirror(l, via, q, "all", 0, true);
			life_declare(l, via, q);
		}
		world_run(&l->world, 1000);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++)
			sim_publisher_new(&l->clients, via, q, 5);
		stage_while(l);
		/* A log of an earlier start is one that is known. */
		sim_node_kill(n, false);
		stage_while(l);
		sim_node_start(n);
		world_run(&l->world, 3000);
		sim_node_stop(n);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++) {
			world_run(&l->world, sim_between(stage_sim(l), 1, 30));
			life_delete(l, via, q);
		}
		for (unsigned t = 0; t < 300 && n->up; t++)
			world_run(&l->world, 100);
		sim_node_start(n);
		world_run(&l->world, 2000);
	}
}

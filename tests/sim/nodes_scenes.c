/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_scenes.h"

#include <stdio.h>

#include "src/broker/command.h"

enum {
	A_WHILE_MS = 1500,
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

static struct sim *sim_of(struct nodes_life *l)
{
	return &l->world.sim;
}

static struct sim_node *node(struct nodes_life *l, unsigned i)
{
	return &l->world.nodes[i % l->world.o.nodes];
}

static unsigned any(struct nodes_life *l)
{
	return (unsigned)(sim_random(sim_of(l)) % l->world.o.nodes);
}

/* Under load, up to a moment. */
static void a_while(struct nodes_life *l)
{
	world_run(&l->world, sim_between(sim_of(l), 1, A_WHILE_MS));
}

struct queue_of {
	struct nodes_life *life;
	unsigned queue;
	unsigned voters;
};

static bool is_led(struct sim_world *w, void *arg)
{
	struct queue_of *q = arg;
	(void)w;
	return life_leader(q->life, q->queue) != NULL;
}

static bool has_voters(struct sim_world *w, void *arg)
{
	struct queue_of *q = arg;
	(void)w;
	return life_voters(q->life, q->queue) == q->voters;
}

static void expect_led(struct nodes_life *l, unsigned queue)
{
	struct queue_of q = {.life = l, .queue = queue};
	char why[512];
	if (world_until(&l->world, is_led, &q, LEADER_MS))
		return;
	life_describe(l, queue, why, sizeof why);
	promise_broken(&l->world.promises, "after %u ms %s", LEADER_MS, why);
}

static void expect_voters(struct nodes_life *l, unsigned queue, unsigned voters)
{
	struct queue_of q = {.life = l, .queue = queue, .voters = voters};
	if (!world_until(&l->world, has_voters, &q, SYNC_MS + life_copy_ms(l)))
		promise_broken(&l->world.promises, "q%u has %u voters, not %u", queue,
			life_voters(l, queue), voters);
}

struct agreement {
	struct nodes_life *life;
	char why[256];
};

static bool is_agreed(struct sim_world *w, void *arg)
{
	struct agreement *a = arg;
	(void)w;
	return life_agrees(a->life, a->why, sizeof a->why);
}

/* Whoever leads may have to copy a queue first to who was away, or there is no majority. */
static void expect_agreement(struct nodes_life *l, uint64_t ms)
{
	struct agreement a = {.life = l};
	ms += life_copy_ms(l);
	if (!world_until(&l->world, is_agreed, &a, ms))
		promise_broken(&l->world.promises, "no agreement after %lu ms: %s", (unsigned long)ms, a.why);
}

static bool all_are_down(struct sim_world *w, void *arg)
{
	const struct sim_node *one = arg;
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (w->nodes[i].up && (one == NULL || one == &w->nodes[i]))
			return false;
	return true;
}

/* This node, or NULL: all. */
static void expect_down(struct nodes_life *l, struct sim_node *n)
{
	if (!world_until(&l->world, all_are_down, n, STOP_MS))
		promise_broken(&l->world.promises, "a node does not end");
}

/* ---- processes that end ---- */

/* Of the queue that is mirrored everywhere the leader, again and again. */
static void kills(struct nodes_life *l)
{
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		a_while(l);
		expect_led(l, QUEUE_ALL);
		struct sim_node *n = life_leader(l, QUEUE_ALL);
		if (n == NULL)
			return;
		sim_node_kill(n, sim_chance(sim_of(l), 50));
		a_while(l);
		expect_led(l, QUEUE_ALL);
		sim_node_start(n);
	}
}

/* Each node once. */
static void kills_in_turn(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++) {
		a_while(l);
		sim_node_kill(node(l, i), sim_chance(sim_of(l), 50));
		a_while(l);
		expect_led(l, QUEUE_ALL);
		sim_node_start(node(l, i));
		expect_agreement(l, START_MS);
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
static void home_down(struct nodes_life *l)
{
	expect_led(l, QUEUE_ONE);
	struct sim_node *home = life_leader(l, QUEUE_ONE);
	a_while(l);
	if (home == NULL)
		return;
	sim_node_kill(home, sim_chance(sim_of(l), 50));
	world_run(&l->world, 2 * l->world.o.net.silence_ms);
	struct sim_node *n = node(l, home->i + 1);
	struct shard *s = sim_node_shard(n, any(l));
	question = (struct question){.request.done = on_answer};
	queue_status(queue_clients_get(s->clients, sim_queue_find(n, QUEUE_ONE)->group), false,
		&question.request);
	worker_wake(&s->worker);
	if (!world_until(&l->world, is_answered, NULL, 100) || question.status != MACHINE_UNAVAILABLE)
		promise_broken(&l->world.promises, "q%u is not said to be down with its node", QUEUE_ONE);
	a_while(l);
	sim_node_start(home);
	expect_agreement(l, START_MS);
}

/* Of the queue that has two mirrors the leader or another node dies, and the queue goes on; or the survivor
 * dies, too, as soon as the first one is back. */
static void two_mirrors(struct nodes_life *l)
{
	for (unsigned i = 0; i < 4 && !life_failed(l); i++) {
		expect_led(l, QUEUE_TWO);
		expect_voters(l, QUEUE_TWO, 2);
		a_while(l);
		struct sim_node *n = life_leader(l, QUEUE_TWO);
		if (n == NULL || sim_chance(sim_of(l), 50))
			n = node(l, any(l));
		if (sim_chance(sim_of(l), 70))
			sim_node_kill(n, sim_chance(sim_of(l), 50));
		else
			sim_node_stop(n);
		world_run(&l->world, sim_between(sim_of(l), 1, 8000));
		expect_led(l, QUEUE_TWO);
		for (unsigned t = 0; t < 300 && n->up; t++)
			world_run(&l->world, 100);
		sim_node_start(n);
		if (sim_chance(sim_of(l), 50))
			continue;
		world_run(&l->world, sim_between(sim_of(l), 1, 3000));
		struct sim_node *second = life_leader(l, QUEUE_TWO);
		if (second == NULL || second == n)
			continue;
		sim_node_kill(second, sim_chance(sim_of(l), 50));
		a_while(l);
		sim_node_start(second);
	}
}

static void cut_both(struct nodes_life *l, unsigned a, unsigned b, bool cut)
{
	if (a == b)
		return;
	sim_net_cut(&l->world.net, a, b, cut);
	sim_net_cut(&l->world.net, b, a, cut);
}

/* Links of those two that have the queue with two mirrors are cut, so that one of them may be called down while it
 * lives, and lead, or be cut off from the metadata when the other one is called down; then one of them dies, or all. */
static void two_mirrors_cut(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes;
	for (unsigned i = 0; i < 4 && !life_failed(l); i++) {
		struct sim_node *leader = life_leader(l, QUEUE_TWO);
		unsigned a = leader != NULL ? leader->i : any(l), b = any(l);
		for (unsigned k = 0; k < n; k++)
			if (k != b && sim_chance(sim_of(l), 50))
				cut_both(l, sim_chance(sim_of(l), 70) ? a : b, k, true);
		world_run(&l->world, sim_between(sim_of(l), 500, 9000));
		bool all = sim_chance(sim_of(l), 20);
		for (unsigned k = 0; k < n; k++)
			if (all || (k == (i % 2 != 0 ? a : b) && sim_chance(sim_of(l), 70)))
				sim_node_kill(node(l, k), sim_chance(sim_of(l), 50));
		world_run(&l->world, sim_between(sim_of(l), 1, 6000));
		bool mended = sim_chance(sim_of(l), 50);
		for (unsigned k = 0; k < n; k++)
			for (unsigned m = 0; mended && m < k; m++)
				cut_both(l, k, m, false);
		unsigned first = any(l);
		for (unsigned k = 0; k < n; k++) {
			if (node(l, first + k)->up)
				continue;
			sim_node_start(node(l, first + k));
			world_run(&l->world, sim_between(sim_of(l), 1, 4000));
		}
		for (unsigned k = 0; k < n; k++)
			for (unsigned m = 0; m < k; m++)
				cut_both(l, k, m, false);
		a_while(l);
	}
}

/* Both members' nodes die at a time, and one of them is back: the queue goes on, whichever it is. */
static void both_of_two(struct nodes_life *l)
{
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		struct queue_of q = {.life = l, .queue = QUEUE_TWO};
		expect_led(l, QUEUE_TWO);
		expect_voters(l, QUEUE_TWO, 2);
		a_while(l);
		struct sim_node *a = life_leader(l, QUEUE_TWO), *b = life_member(l, QUEUE_TWO, a);
		if (life_failed(l) || a == NULL || b == NULL)
			return;
		bool dark = sim_chance(sim_of(l), 50), swap = sim_chance(sim_of(l), 50);
		sim_node_kill(a, dark);
		sim_node_kill(b, dark);
		world_run(&l->world, sim_between(sim_of(l), 1, 16000));
		sim_node_start(swap ? a : b);
		world_until(&l->world, is_led, &q, START_MS);
		expect_led(l, QUEUE_TWO);
		a_while(l);
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
static void two_in_memory(struct nodes_life *l)
{
	l->remembers = true;
	life_mirror(l, node(l, 0), QUEUE_TRANSIENT, "exactly", 2, true);
	if (!world_until(&l->world, is_of_two, l, SYNC_MS))
		promise_broken(&l->world.promises, "q%u has not two members", QUEUE_TRANSIENT);
	for (unsigned i = 0; i < 5 && !life_failed(l); i++) {
		expect_led(l, QUEUE_TRANSIENT);
		expect_voters(l, QUEUE_TRANSIENT, 2);
		a_while(l);
		struct sim_node *n = life_leader(l, QUEUE_TRANSIENT);
		if (sim_chance(sim_of(l), 50))
			n = life_member(l, QUEUE_TRANSIENT, n);
		if (life_failed(l) || n == NULL)
			return;
		if (sim_chance(sim_of(l), 70))
			sim_node_kill(n, sim_chance(sim_of(l), 50));
		else
			sim_node_stop(n);
		world_run(&l->world, sim_chance(sim_of(l), 30) ? 1 : sim_between(sim_of(l), 1, 15000));
		if (!n->up && l->world.o.nodes > 2)
			expect_led(l, QUEUE_TRANSIENT);
		expect_down(l, n);
		if (life_failed(l))
			return;
		sim_node_start(n);
		expect_agreement(l, START_MS); /* that it has nothing */
	}
}

/* All are stopped, and started in each order there is of three. */
static void orders(struct nodes_life *l)
{
	for (unsigned k = 0; k < 6 && !life_failed(l); k++) {
		unsigned a = k % 3, b = (a + 1 + k / 3) % 3, first = any(l);
		const unsigned order[] = {a, b, 3 - a - b};
		for (unsigned i = 0; i < 3; i++) {
			sim_node_stop(node(l, first + i));
			if (sim_chance(sim_of(l), 50))
				a_while(l);
		}
		expect_down(l, NULL);
		for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
			sim_node_start(node(l, order[i]));
			a_while(l);
		}
		expect_agreement(l, START_MS);
	}
}

/* What was not committed is gone on all of them at once. */
static void power_loss(struct nodes_life *l)
{
	for (unsigned round = 0; round < 3; round++) {
		a_while(l);
		for (unsigned i = 0; i < l->world.o.nodes; i++)
			sim_node_kill(node(l, i), true);
		unsigned first = any(l);
		for (unsigned i = 0; i < l->world.o.nodes; i++) {
			if (sim_chance(sim_of(l), 50))
				world_run(&l->world, sim_between(sim_of(l), 1, 3000));
			sim_node_start(node(l, first + i));
		}
		expect_led(l, QUEUE_ALL);
		expect_agreement(l, START_MS);
	}
}

/* One after another, each waiting for the one before, as an upgrade does. */
static void rolling(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++) {
		struct sim_node *n = node(l, i);
		sim_node_stop(n);
		expect_down(l, n);
		if (life_failed(l))
			return;
		expect_led(l, QUEUE_ALL);
		sim_node_start(n);
		world_run(&l->world, 1000);
		expect_led(l, QUEUE_QUORUM);
	}
}

/* Queues come and go while nodes go down. */
static void deleted_while_stopping(struct nodes_life *l)
{
	for (unsigned i = 0; i < 6 && !life_failed(l); i++) {
		struct sim_node *n = node(l, i), *via = node(l, i + 1);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++) {
			life_mirror(l, via, q, "all", 0, true);
			life_declare(l, via, q);
		}
		world_run(&l->world, 1000);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++)
			sim_publisher_new(&l->clients, via, q, 5);
		a_while(l);
		/* A log of an earlier start is one that is known. */
		sim_node_kill(n, false);
		a_while(l);
		sim_node_start(n);
		world_run(&l->world, 3000);
		sim_node_stop(n);
		for (unsigned q = QUEUES_KEPT; q < QUEUES; q++) {
			world_run(&l->world, sim_between(sim_of(l), 1, 30));
			life_delete(l, via, q);
		}
		for (unsigned t = 0; t < 300 && n->up; t++)
			world_run(&l->world, 100);
		sim_node_start(n);
		world_run(&l->world, 2000);
	}
}

/* ---- links ---- */

static void isolate(struct nodes_life *l, unsigned a, bool in, bool out, bool cut)
{
	for (unsigned b = 0; b < l->world.o.nodes; b++) {
		if (a == b)
			continue;
		if (out)
			sim_net_cut(&l->world.net, a, b, cut);
		if (in)
			sim_net_cut(&l->world.net, b, a, cut);
	}
}

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
	unsigned a = n != NULL && sim_chance(sim_of(l), 50) ? n->i : any(l);
	a_while(l);
	isolate(l, a, in, out, true);
	world_run(&l->world, fault_ms(l));
	isolate(l, a, in, out, false);
	expect_agreement(l, AGREE_MS);
}

static void cut_off(struct nodes_life *l)
{
	isolated(l, true, true);
}

static void unheard(struct nodes_life *l)
{
	isolated(l, false, true);
}

static void deaf(struct nodes_life *l)
{
	isolated(l, true, false);
}

/* Two do not reach each other, and both reach the others: each pair in turn. */
static void pairs(struct nodes_life *l)
{
	for (unsigned a = 0; a < l->world.o.nodes && !life_failed(l); a++) {
		unsigned b = (a + 1) % l->world.o.nodes;
		a_while(l);
		sim_net_cut(&l->world.net, a, b, true);
		sim_net_cut(&l->world.net, b, a, true);
		world_run(&l->world, fault_ms(l));
		sim_net_cut(&l->world.net, a, b, false);
		sim_net_cut(&l->world.net, b, a, false);
		expect_agreement(l, AGREE_MS);
	}
}

/* What a node sends is lost more often than what it gets, and takes longer or less long. */
static void lopsided(struct nodes_life *l)
{
	struct sim_way (*way)[SIM_HOSTS] = l->world.net.way;
	bool slow_out = sim_chance(sim_of(l), 50);
	unsigned a = any(l);
	a_while(l);
	for (unsigned b = 0; b < l->world.o.nodes; b++) {
		way[a][b] = (struct sim_way){.loss_permille = 200, .delay_us = slow_out ? 200000 : 20000};
		way[b][a] = (struct sim_way){.loss_permille = 100, .delay_us = slow_out ? 20000 : 200000};
	}
	world_run(&l->world, fault_ms(l));
	for (unsigned b = 0; b < l->world.o.nodes; b++)
		way[a][b] = way[b][a] = (struct sim_way){0};
	expect_agreement(l, AGREE_MS);
}

/* Each is heard by one of its neighbours only. */
static void ring(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes;
	a_while(l);
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, true);
	world_run(&l->world, fault_ms(l));
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, false);
	expect_agreement(l, AGREE_MS);
}

/* Links that are cut for moments, too short for anybody to give them up: what was under way waits, and comes in
 * its order. */
static void blinks(struct nodes_life *l)
{
	struct sim_net_options *o = &l->world.net.o, before = *o;
	unsigned n = l->world.o.nodes;
	o->delay_max_us = 60000;
	for (unsigned i = 0; i < 100 && !life_failed(l); i++) {
		unsigned a = any(l), b = (a + 1 + any(l) % (n - 1)) % n;
		world_run(&l->world, sim_between(sim_of(l), 1, 100));
		sim_net_cut(&l->world.net, a, b, true);
		world_run(&l->world, sim_between(sim_of(l), 1, 40));
		sim_net_cut(&l->world.net, a, b, false);
	}
	*o = before;
	expect_led(l, QUEUE_ALL);
}

static void lossy(struct nodes_life *l)
{
	struct sim_net_options *o = &l->world.net.o, before = *o;
	o->loss_permille = 50;
	o->raft_permille = 100;
	o->delay_max_us = sim_between(sim_of(l), 20000, 150000);
	world_run(&l->world, 8000);
	sim_node_kill(node(l, any(l)), false);
	world_run(&l->world, 4000);
	*o = before;
}

/* ---- rest ---- */

struct restless {
	struct nodes_life *life;
	struct sim_node *node;
	struct shard *shard;
	char why[128];
};

static void look_for_restless(void *arg, uint64_t group, bool leads)
{
	struct restless *r = arg;
	struct group *g = queue_hosts_group(r->shard->hosts, group);
	struct group_member_state m;
	/* Who is alone has no clock. */
	if (g != NULL && group_members(g, &m, 1) > 1 && !group_frozen(g))
		snprintf(r->why, sizeof r->why, "group %lu at %s, which %s it, in term %lu",
			(unsigned long)group, r->node->name, leads ? "leads" : "does not lead",
			(unsigned long)group_term(g));
}

/* Else `why` says one of the groups of queues that do not. */
static bool all_rest(struct sim_world *w, void *arg)
{
	struct restless *r = arg;
	struct nodes_life *l = r->life;
	(void)w;
	r->why[0] = '\0';
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		for (unsigned k = 0; sim_node_serves(node(l, i)) && k < node(l, i)->node.n_shards; k++) {
			r->node = node(l, i);
			r->shard = sim_node_shard(node(l, i), k);
			queue_hosts_each(r->shard->hosts, look_for_restless, r);
		}
	return r->why[0] == '\0';
}

/* Nothing has been counted for a second. */
struct silence {
	uint64_t *count;
	uint64_t was, since_us;
};

static bool is_over(struct sim_world *w, void *arg)
{
	struct silence *s = arg;
	if (s->was != *s->count) {
		s->was = *s->count;
		s->since_us = w->sim.now_us;
	}
	return w->sim.now_us - s->since_us >= 1000000;
}

/* Consumers get what there is, and then nothing happens any more. */
static void come_to_rest(struct nodes_life *l)
{
	struct silence coming = {.count = &l->world.promises.came, .since_us = sim_of(l)->now_us};
	struct restless r = {.life = l};
	l->clients.no_more = l->clients.gentle = true;
	world_until(&l->world, is_over, &coming, DRAIN_MS);
	if (!world_until(&l->world, all_rest, &r, REST_MS))
		promise_broken(&l->world.promises, "%s, does not rest", r.why);
}

/* ---- disks ---- */

static bool is_forgotten(struct sim_world *w, void *arg)
{
	const uint64_t *id = arg;
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (sim_node_serves(&w->nodes[i]) &&
			broker_node_find(sim_node_broker(&w->nodes[i]), *id) != NULL)
			return false;
	return true;
}

static bool is_down(struct sim_world *w, void *arg)
{
	const uint64_t *id = arg;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		const struct broker_node *n =
			sim_node_serves(&w->nodes[i])
				? broker_node_find(sim_node_broker(&w->nodes[i]), *id)
				: NULL;
		if (n != NULL && n->up)
			return false;
	}
	return true;
}

static void forget(struct nodes_life *l, uint64_t id)
{
	struct buf b = BUF_EMPTY;
	bool down = world_until(&l->world, is_down, &id, 20000);
	struct sim_node *via = life_some(l);
	if (!down || via == NULL) {
		promise_broken(&l->world.promises, "a node that has no power does not count as down");
		return;
	}
	broker_put_forget_node(&b, id);
	sim_node_propose(via, &b);
	if (!world_until(&l->world, is_forgotten, &id, 20000))
		promise_broken(&l->world.promises, "a node is not forgotten");
}

/* The store is wiped: the node comes back as a new one of the same name. Queues that were there alone are
 * gone with it. */
static void wiped(struct nodes_life *l)
{
	struct sim_node *n = node(l, any(l));
	uint64_t id = n->box.identity.node_id;
	expect_voters(l, QUEUE_ALL, l->world.o.nodes);
	expect_voters(l, QUEUE_TWO, 2);
	expect_voters(l, QUEUE_QUORUM, 3);
	a_while(l);
	struct sim_node *alone = life_leader(l, QUEUE_ONE);
	sim_node_kill(n, sim_chance(sim_of(l), 50));
	if (alone == n || alone == NULL) {
		l->deleted[QUEUE_ONE] = true;
		l->declared[QUEUE_ONE] = false;
	}
	sim_node_wipe(n);
	world_run(&l->world, sim_between(sim_of(l), 1, 8000));
	expect_led(l, QUEUE_ALL);
	struct sim_node *via = life_some(l);
	if (l->deleted[QUEUE_ONE] && via != NULL)
		life_delete(l, via, QUEUE_ONE);
	forget(l, id);
	expect_voters(l, QUEUE_TWO, 2);
	via = life_some(l);
	if (life_failed(l) || via == NULL)
		return;
	sim_node_join(n, via, BROKER_NODE_DISC);
	sim_node_start(n);
	expect_voters(l, QUEUE_ALL, l->world.o.nodes);
	expect_voters(l, QUEUE_QUORUM, 3);
}

/* A node is down for so long that others take its place. */
static void replaced(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_QUORUM);
	a_while(l);
	if (n == NULL)
		return;
	sim_node_kill(n, true);
	world_run(&l->world, l->world.o.replace_ms + 8000);
	expect_voters(l, QUEUE_QUORUM, 3);
	sim_node_start(n);
}

static void stalled(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	a_while(l);
	if (n == NULL)
		return;
	n->box.disk.stalled_us = sim_of(l)->now_us + 8000000;
	world_run(&l->world, 6000);
	if (life_leader(l, QUEUE_ALL) == NULL)
		promise_broken(&l->world.promises, "nobody leads q0 while a disk stands still");
	world_run(&l->world, 3000);
}

/* Nothing can be written on one node until somebody makes room. */
static void full_disk(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	a_while(l);
	if (n == NULL)
		return;
	world_trace(&l->world, "the disk of %s is full", n->name);
	n->box.disk.held = true;
	world_run(&l->world, 6000);
	expect_led(l, QUEUE_ALL);
	if (life_leader(l, QUEUE_ALL) == n)
		promise_broken(&l->world.promises, "who has a full disk leads q0");
	world_run(&l->world, 10000);
	n->box.disk.held = false;
	expect_agreement(l, AGREE_MS);
}

/* ---- nodes that come and go ---- */

/* Every disc node has a vote in the queue that is mirrored everywhere. */
static void expect_all_vote(struct nodes_life *l)
{
	struct sim_node *n = life_some(l);
	unsigned all = 0;
	if (n != NULL)
		all = (unsigned)broker_nodes_of_type(sim_node_broker(n), BROKER_NODE_DISC);
	expect_voters(l, QUEUE_ALL, all);
}

static void without(struct nodes_life *l, unsigned queue)
{
	struct sim_node *via = life_some(l);
	l->deleted[queue] = true;
	l->declared[queue] = false;
	if (via != NULL)
		life_delete(l, via, queue);
}

/* The node comes as a new one, with nothing. */
static void come_anew(struct nodes_life *l, struct sim_node *n, enum broker_node_type type)
{
	struct sim_node *via = life_some(l);
	if (life_failed(l) || via == NULL)
		return;
	sim_node_wipe(n);
	sim_node_join(n, via, type);
	if (!life_failed(l))
		sim_node_start(n);
	expect_all_vote(l);
}

/* It leaves as it should, and comes again. */
static void renew(struct nodes_life *l, struct sim_node *n, enum broker_node_type type)
{
	uint64_t id = n->box.identity.node_id;
	if (life_leader(l, QUEUE_ONE) == n)
		without(l, QUEUE_ONE);
	expect_all_vote(l);
	a_while(l);
	sim_node_stop(n);
	expect_down(l, n);
	if (life_failed(l))
		return;
	forget(l, id);
	expect_all_vote(l);
	expect_voters(l, QUEUE_TWO, 2);
	a_while(l);
	come_anew(l, n, type);
	expect_agreement(l, AGREE_MS);
}

static void renewed(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		renew(l, node(l, i), BROKER_NODE_DISC);
}

/* A RAM node becomes a disc node, and back. */
static void retyped(struct nodes_life *l)
{
	struct sim_node *n = node(l, l->world.o.nodes - 1);
	renew(l, n, BROKER_NODE_DISC);
	a_while(l);
	if (!life_failed(l))
		renew(l, n, BROKER_NODE_RAM);
}

/* -- a change of membership that is cut short -- */

struct told {
	bool over, ok;
};

static void on_told(void *arg, json_t *reply)
{
	struct told *t = arg;
	t->over = true;
	t->ok = json_is_true(json_object_get(reply, "ok"));
	json_decref(reply);
}

static bool is_told(struct sim_world *w, void *arg)
{
	const struct told *t = arg;
	(void)w;
	return t->over;
}

/* An operator's command; whether it was done. What a node says that has died is heard by nobody. */
static bool tell(struct nodes_life *l, struct sim_node *n, const char *verb, json_t *args)
{
	struct told told = {false, false};
	json_t *request = json_pack("{ssso}", "verb", verb, "args", args);
	world_trace(&l->world, "%s is told: %s", n->name, verb);
	api_request(n->node.api, request, on_told, &told);
	worker_wake(&n->node.shards[0].worker);
	if (!world_until(&l->world, is_told, &told, STOP_MS))
		promise_broken(&l->world.promises, "%s does not answer", n->name);
	json_decref(request);
	return told.ok && n->up;
}

static bool is_dead_or_serves(struct sim_world *w, void *arg)
{
	const struct sim_node *n = arg;
	(void)w;
	return !n->up || sim_node_serves(n);
}

/* It died, perhaps dies again, and may not reach anybody for a while, in which it waits: it has nothing that it could
 * serve by itself. */
static void come_back_from_change(struct nodes_life *l, struct sim_node *n)
{
	n->die_at = (unsigned)sim_between(sim_of(l), 0, 8);
	bool alone = sim_chance(sim_of(l), 30);
	if (alone)
		isolate(l, n->i, true, true, true);
	if (!n->up)
		sim_node_start(n);
	world_until(&l->world, is_dead_or_serves, n, sim_between(sim_of(l), 1, 10000));
	if (alone && sim_node_serves(n))
		promise_broken(&l->world.promises, "%s serves by itself", n->name);
	if (alone)
		isolate(l, n->i, true, true, false);
	world_until(&l->world, is_dead_or_serves, n, sim_between(sim_of(l), 1, START_MS));
	n->die_at = 0;
	if (!n->up)
		sim_node_start(n);
	if (!world_until(&l->world, is_dead_or_serves, n, START_MS) || !sim_node_serves(n))
		promise_broken(&l->world.promises, "%s does not serve after a change of its membership", n->name);
}

/* As sim_node.die_at counts: when others have forgotten it; all that there is; and some time, whatever it is doing. */
enum { CHANGE_LEFT = 3, CHANGE_LOOKS = 14, CHANGE_NEVER, CHANGE_SOME_TIME, CHANGE_MOST_MS = 150 };

static void on_some_time(void *arg, uint64_t number)
{
	struct sim_node *n = arg;
	(void)number;
	sim_node_kill(n, sim_chance(&n->world->sim, 50));
}

static void let_die(struct nodes_life *l, struct sim_node *n, unsigned at)
{
	if (at == CHANGE_SOME_TIME)
		sim_after(sim_of(l), sim_between(sim_of(l), 0, CHANGE_MOST_MS * 1000), on_some_time, n, 0);
	else
		n->die_at = at;
}

/* Dies at that point on its way to be of this type, and is what it was, or what it was to be. */
static void change_type(struct nodes_life *l, struct sim_node *n, enum broker_node_type type, unsigned die_at)
{
	uint64_t id = n->box.identity.node_id;
	if (life_leader(l, QUEUE_ONE) == n)
		without(l, QUEUE_ONE);
	expect_all_vote(l);
	expect_voters(l, QUEUE_TWO, 2);
	if (life_failed(l) || !tell(l, n, "stop_app", json_object()))
		return;
	let_die(l, n, die_at);
	bool ok = tell(l, n, "change_cluster_node_type", json_pack("{ss}", "type", broker_node_type_name(type)));
	if (n->up && !ok)
		promise_broken(&l->world.promises, "%s lives, and does not change its type", n->name);
	if (n->up && !tell(l, n, "start_app", json_object()) && n->up)
		promise_broken(&l->world.promises, "%s does not start", n->name);
	if (die_at == CHANGE_SOME_TIME)
		world_run(&l->world, CHANGE_MOST_MS);
	if (!n->up)
		come_back_from_change(l, n);
	if (life_failed(l))
		return;
	const struct broker_node *own = broker_node_find(sim_node_broker(n), n->box.identity.node_id);
	bool is_new = n->box.identity.node_id != id;
	if (own == NULL || (own->type == type) != is_new || (die_at >= CHANGE_LEFT && die_at != CHANGE_SOME_TIME && !is_new))
		promise_broken(&l->world.promises, "%s is neither what it was nor what it was to be", n->name);
	expect_agreement(l, AGREE_MS);
}

static void change_to(struct nodes_life *l, enum broker_node_type type, unsigned die_at)
{
	struct sim_node *n = node(l, l->world.o.nodes - 1);
	const struct broker_node *own;
	do {
		a_while(l);
		if (!life_failed(l))
			change_type(l, n, type, die_at);
		own = life_failed(l) ? NULL : broker_node_find(sim_node_broker(n), n->box.identity.node_id);
		die_at = CHANGE_NEVER;
	} while (own != NULL && own->type != type);
}

/* A RAM node becomes a disc node, and back, and dies at each point of that. */
static void changed(struct nodes_life *l)
{
	for (unsigned k = 1; k <= CHANGE_SOME_TIME && !life_failed(l); k++) {
		change_to(l, BROKER_NODE_DISC, k);
		if (!life_failed(l))
			change_to(l, BROKER_NODE_RAM, k);
	}
}

/* All but one are gone for good, and it goes on with what it has: it had everything. It dies so often on the way. */
static void force_with(struct nodes_life *l, unsigned deaths)
{
	struct sim_node *n = node(l, any(l));
	expect_all_vote(l);
	a_while(l);
	come_to_rest(l);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (node(l, i) != n)
			sim_node_kill(node(l, i), true);
	world_run(&l->world, sim_between(sim_of(l), 1, 5000));
	sim_node_stop(n);
	expect_down(l, n);
	if (life_failed(l))
		return;
	sim_node_give_up_others(n);
	l->clients.no_more = l->clients.gentle = false;
	while (deaths-- > 0) {
		sim_node_start(n);
		world_run(&l->world, sim_between(sim_of(l), 1, 200));
		sim_node_kill(n, sim_chance(sim_of(l), 50));
	}
	sim_node_start(n);
	expect_led(l, QUEUE_ALL);
	expect_led(l, QUEUE_QUORUM);
	without(l, QUEUE_TWO);
	without(l, QUEUE_ONE);
	a_while(l);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (node(l, i) != n)
			come_anew(l, node(l, i), BROKER_NODE_DISC);
}

static void forced(struct nodes_life *l)
{
	force_with(l, 0);
}

static void forced_dying(struct nodes_life *l)
{
	force_with(l, 1 + (unsigned)sim_random(sim_of(l)) % 6);
}

/* All are gone but one, whose worker has stood still while others led its queue and gave another member a vote: it
 * goes on by itself, and soon knows of no others. */
static bool is_alone(struct sim_world *w, void *arg)
{
	struct queue_of *q = arg;
	struct sim_node *n = life_leader(q->life, q->queue);
	(void)w;
	return n != NULL && sim_queue_find(n, q->queue)->n_members == 1;
}

static void give_up_queue(struct nodes_life *l, unsigned queue)
{
	struct sim_node *n = life_some(l);
	const struct broker_queue *q = n != NULL ? sim_queue_find(n, queue) : NULL;
	if (q != NULL)
		promises_give_up(&l->world.promises, queue, q->group);
}

/* All lose their power at a time, and this one is all that is left. */
static void force(struct nodes_life *l, struct sim_node *n)
{
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (node(l, i) != n)
			sim_node_kill(node(l, i), true);
	for (unsigned q = 0; q < QUEUES + FEW; q++)
		give_up_queue(l, q);
	promises_forget_group(&l->world.promises, 0);
	sim_node_kill(n, true);
	sim_node_give_up_others(n);
	sim_node_start(n);
}

/* A queue on all nodes that is not on worker 0, which has the metadata. */
static unsigned declare_beside(struct nodes_life *l)
{
	for (unsigned q = QUEUES_KEPT; q < QUEUES; q++) {
		life_mirror(l, node(l, 0), q, "all", 0, true);
		life_declare(l, node(l, 0), q);
		world_run(&l->world, 500);
		const struct broker_queue *found = sim_queue_find(node(l, 0), q);
		if (found != NULL && found->group % l->world.o.workers != 0)
			return q;
	}
	return QUEUES;
}

/* Queues that had no member on the node that is left. */
static void without_others(struct nodes_life *l, struct sim_node *n)
{
	for (unsigned q = 0; q < QUEUES; q++)
		if (sim_node_serves(n) && sim_queue_find(n, q) == NULL) {
			l->deleted[q] = true;
			l->declared[q] = false;
		}
}

static void forced_behind(struct nodes_life *l)
{
	unsigned queue = declare_beside(l);
	struct queue_of q = {.life = l, .queue = queue};
	expect_all_vote(l);
	expect_led(l, queue);
	struct sim_node *leader = life_leader(l, queue);
	if (life_failed(l) || leader == NULL)
		return;
	struct sim_node *n = node(l, leader->i + 1), *renewed = node(l, leader->i + 2);
	uint64_t group = sim_queue_find(n, queue)->group;
	sim_loop_stall(&n->node.shards[group % n->node.n_shards].worker, sim_of(l)->now_us + 600000000);
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		expect_led(l, queue);
		leader = life_leader(l, queue);
		sim_node_kill(leader, false);
		expect_led(l, queue);
		sim_node_start(leader);
		world_run(&l->world, 2000);
	}
	expect_led(l, queue);
	uint64_t id = renewed->box.identity.node_id;
	sim_node_kill(renewed, false);
	forget(l, id);
	without(l, QUEUE_ONE);
	/* Others that are long are not copied to it before the worker goes on. */
	struct sim_node *via = life_some(l);
	sim_node_wipe(renewed);
	if (!life_failed(l) && via != NULL)
		sim_node_join(renewed, via, BROKER_NODE_DISC);
	if (life_failed(l) || via == NULL)
		return;
	sim_node_start(renewed);
	expect_voters(l, queue, l->world.o.nodes);
	if (!life_failed(l))
		force(l, n);
	if (!world_until(&l->world, is_alone, &q, LEADER_MS))
		promise_broken(&l->world.promises, "q%u is not alone with its only node", queue);
	without(l, QUEUE_TWO);
	without_others(l, n);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (node(l, i) != n)
			come_anew(l, node(l, i), BROKER_NODE_DISC);
}

/* Queues are declared everywhere while all lose their power, and one node is all that is left: it may have heard of a
 * queue, and not have begun its log. */
static void forced_early(struct nodes_life *l)
{
	struct sim_node *n = node(l, any(l));
	expect_all_vote(l);
	life_mirror(l, n, QUEUE_ONE, "all", 0, true);
	expect_voters(l, QUEUE_ONE, l->world.o.nodes);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_mirror(l, n, q, "all", 0, true);
	world_run(&l->world, 1000);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++) {
		life_declare(l, node(l, q), q);
		world_run(&l->world, 1 + q % 2);
	}
	force(l, n);
	expect_led(l, QUEUE_ALL);
	for (unsigned q = QUEUES; q < QUEUES + FEW && !life_failed(l); q++)
		if (sim_queue_find(n, q) != NULL)
			expect_led(l, q);
	without(l, QUEUE_TWO);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (node(l, i) != n)
			come_anew(l, node(l, i), BROKER_NODE_DISC);
}

/* ---- who has gone on alone is given up, too ---- */

/* Of a queue's two members one is lost, and the other one, which has gone on, is forgotten by an operator, while
 * the lost one is back or comes back: that has what it had. */
static void survivor_forgotten(struct nodes_life *l)
{
	without(l, QUEUE_ONE);
	expect_led(l, QUEUE_TWO);
	expect_voters(l, QUEUE_TWO, 2);
	a_while(l);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	if (sim_chance(sim_of(l), 50))
		lost = life_member(l, QUEUE_TWO, lost);
	if (life_failed(l) || lost == NULL)
		return;
	sim_node_kill(lost, sim_chance(sim_of(l), 50));
	struct sim_node *survivor = life_member(l, QUEUE_TWO, lost);
	expect_led(l, QUEUE_TWO);
	for (unsigned t = 0; t < 200 && life_voters(l, QUEUE_TWO) > 1; t++)
		world_run(&l->world, 100); /* it is called down */
	world_run(&l->world, sim_between(sim_of(l), 1, 3000));
	if (life_failed(l) || survivor == NULL)
		return;
	uint64_t id = survivor->box.identity.node_id;
	sim_node_kill(survivor, sim_chance(sim_of(l), 50));
	/* Of three, two are needed for the metadata. */
	if (l->world.o.nodes < 5 || sim_chance(sim_of(l), 50)) {
		world_run(&l->world, sim_between(sim_of(l), 1, 2000));
		sim_node_start(lost);
		world_run(&l->world, sim_between(sim_of(l), 1, 3000));
	}
	give_up_queue(l, QUEUE_TWO);
	forget(l, id);
	world_run(&l->world, sim_between(sim_of(l), 1, 2000));
	if (!lost->up)
		sim_node_start(lost);
	expect_led(l, QUEUE_TWO);
	expect_voters(l, QUEUE_TWO, 2);
	come_anew(l, survivor, BROKER_NODE_DISC);
	expect_agreement(l, START_MS);
}

/* Likewise, and the lost one has never begun its log: queues were declared when it had just gone. */
static void never_begun(struct nodes_life *l)
{
	struct sim_node *lost = node(l, any(l)), *survivor = node(l, lost->i + 1);
	uint64_t id = survivor->box.identity.node_id;
	unsigned queue = 0;
	without(l, QUEUE_ONE);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_mirror(l, survivor, q, "exactly", 2, true);
	expect_voters(l, QUEUE_TWO, 2);
	a_while(l);
	sim_node_kill(lost, true);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_declare(l, survivor, q);
	world_run(&l->world, 500);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		if (life_member(l, q, survivor) == lost)
			queue = q;
	if (queue == 0)
		return;
	expect_led(l, queue);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		give_up_queue(l, q);
	give_up_queue(l, QUEUE_TWO);
	sim_node_kill(survivor, true);
	forget(l, id);
	sim_node_start(lost);
	expect_led(l, queue);
	come_anew(l, survivor, BROKER_NODE_DISC);
	expect_led(l, queue);
}

/* Nobody is heard by this node, and it is not heard; or it is again. */
static void seclude(struct nodes_life *l, unsigned i, bool yes)
{
	for (unsigned k = 0; k < l->world.o.nodes; k++)
		if (k != i)
			cut_both(l, i, k, yes);
}

/* Of two members the one is called down while the other one's node is cut off, and forgotten before that is linked again. */
static void absent_forgotten(struct nodes_life *l)
{
	without(l, QUEUE_ONE);
	expect_led(l, QUEUE_TWO);
	expect_voters(l, QUEUE_TWO, 2);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	struct sim_node *other = lost != NULL ? life_member(l, QUEUE_TWO, lost) : NULL;
	if (life_failed(l) || other == NULL)
		return;
	uint64_t id = lost->box.identity.node_id;
	struct sim_node *via = node(l, 0);
	for (unsigned k = 0; via == lost || via == other; k++)
		via = node(l, k);
	struct buf gone = BUF_EMPTY;
	broker_put_forget_node(&gone, id);
	/* It is not called down itself, and the lost one at once: its port refuses. */
	seclude(l, other->i, true);
	world_run(&l->world, 3000);
	sim_node_kill(lost, false);
	world_run(&l->world, 1000);
	sim_node_propose(via, &gone);
	world_run(&l->world, 500);
	if (broker_node_find(sim_node_broker(via), id) != NULL)
		promise_broken(&l->world.promises, "a node that nobody can reach is not forgotten");
	seclude(l, other->i, false);
	expect_led(l, QUEUE_TWO);
	come_anew(l, lost, BROKER_NODE_DISC);
	expect_agreement(l, START_MS);
}

/* One of two members is killed, the other one's node is cut off for a while, from some of the others; the one that was
 * killed is forgotten in the end. */
static void cut_and_forget(struct nodes_life *l)
{
	without(l, QUEUE_ONE);
	for (unsigned i = 0; i < 2 && !life_failed(l); i++) {
		expect_led(l, QUEUE_TWO);
		expect_voters(l, QUEUE_TWO, 2);
		struct sim_node *leader = life_leader(l, QUEUE_TWO);
		struct sim_node *other = leader != NULL ? life_member(l, QUEUE_TWO, leader) : NULL;
		if (life_failed(l) || other == NULL)
			return;
		bool leads = sim_chance(sim_of(l), 50);
		struct sim_node *lost = leads ? leader : other, *left = leads ? other : leader;
		uint64_t id = lost->box.identity.node_id;
		sim_node_kill(lost, sim_chance(sim_of(l), 50));
		world_run(&l->world, sim_between(sim_of(l), 1, 9000));
		for (unsigned k = 0; k < l->world.o.nodes; k++)
			if (k != left->i && sim_chance(sim_of(l), 70))
				cut_both(l, left->i, k, true);
		world_run(&l->world, sim_between(sim_of(l), 1, 12000));
		seclude(l, left->i, false);
		world_run(&l->world, sim_between(sim_of(l), 1, 5000));
		forget(l, id);
		expect_led(l, QUEUE_TWO);
		come_anew(l, lost, BROKER_NODE_DISC);
		expect_agreement(l, START_MS);
	}
}

struct view_of {
	struct sim_node *via;
	uint64_t id;
};

static bool is_seen_down(struct sim_world *w, void *arg)
{
	struct view_of *v = arg;
	const struct broker_node *n = broker_node_find(sim_node_broker(v->via), v->id);
	(void)w;
	return n == NULL || !n->up;
}

/* A node leaves the cluster that had no time to say that it is down: who is asked to let it go says so, without
 * knowing who else is there, and forgets it (cluster_leave()). */
static void leaves_untold(struct nodes_life *l)
{
	without(l, QUEUE_ONE);
	expect_led(l, QUEUE_TWO);
	expect_voters(l, QUEUE_TWO, 2);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	if (lost != NULL && sim_chance(sim_of(l), 50))
		lost = life_member(l, QUEUE_TWO, lost);
	if (life_failed(l) || lost == NULL)
		return;
	struct sim_node *via = node(l, lost->i + 1 + any(l) % (l->world.o.nodes - 1));
	struct view_of v = {via, lost->box.identity.node_id};
	const struct broker_node *n = broker_node_find(sim_node_broker(via), v.id);
	struct buf down = BUF_EMPTY, gone = BUF_EMPTY;
	broker_put_node_down(&down, v.id, n->incarnation, NULL, BROKER_ALL_ABSENT);
	broker_put_forget_node(&gone, v.id);
	sim_node_kill(lost, false);
	sim_node_propose(via, &down);
	world_until(&l->world, is_seen_down, &v, AGREE_MS);
	sim_node_propose(via, &gone);
	world_run(&l->world, AGREE_MS);
	expect_led(l, QUEUE_TWO);
	come_anew(l, lost, BROKER_NODE_DISC);
	expect_agreement(l, START_MS);
}

/* The cluster has been found by its nodes. One loses its disk, and finds it again; others may be away then: it
 * waits until they are there, and founds none. */
static void discovered(struct nodes_life *l)
{
	struct sim_node *n = node(l, any(l));
	bool all = sim_chance(sim_of(l), 50);
	expect_agreement(l, START_MS);
	without(l, QUEUE_ONE);
	without(l, QUEUE_TWO);
	expect_all_vote(l);
	expect_voters(l, QUEUE_QUORUM, 3);
	a_while(l);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (all || node(l, i) == n)
			sim_node_kill(node(l, i), sim_chance(sim_of(l), 50));
	sim_node_wipe(n);
	sim_node_start(n);
	world_run(&l->world, 6000);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (!node(l, i)->up)
			sim_node_start(node(l, i));
	expect_agreement(l, 2 * START_MS);
	expect_all_vote(l);
}

/* ---- members ---- */

/* A queue with much in it gets mirrors while it works. */
static void big(struct nodes_life *l, bool cancelled)
{
	struct sim_node *n = node(l, 0);
	l->consumers = 0;
	/* A copy begins anew when a part of it is lost, and has no end if that is likely; a link loses none unless it is
	 * full. Nor has one that is slower than what is published. */
	l->world.net.o.raft_permille = 0;
	l->world.net.o.bytes_per_ms = 100000;
	l->clients.pause_us = 10000;
	l->clients.body_max = 4000;
	for (unsigned i = 0; i < 3; i++)
		sim_publisher_new(&l->clients, n, QUEUE_ONE, 60);
	world_run(&l->world, 4000);
	life_mirror(l, n, QUEUE_ONE, "all", 0, true);
	world_run(&l->world, cancelled ? sim_between(sim_of(l), 1, 300) : 3000);
	if (cancelled) {
		life_mirror(l, n, QUEUE_ONE, NULL, 0, false);
		world_run(&l->world, sim_between(sim_of(l), 1, 1000));
		life_mirror(l, n, QUEUE_ONE, "all", 0, true);
	}
	expect_voters(l, QUEUE_ONE, l->world.o.nodes);
	n = life_leader(l, QUEUE_ONE);
	if (n != NULL)
		sim_node_kill(n, false);
	expect_led(l, QUEUE_ONE);
}

static void mirror_added(struct nodes_life *l)
{
	big(l, false);
}

static void sync_cancelled(struct nodes_life *l)
{
	big(l, true);
}

/* The last node keeps everything in memory. */
static void ram_node(struct nodes_life *l)
{
	struct sim_node *ram = node(l, l->world.o.nodes - 1);
	for (unsigned i = 0; i < 2 && !life_failed(l); i++) {
		a_while(l);
		sim_node_kill(ram, sim_chance(sim_of(l), 50));
		a_while(l);
		sim_node_start(ram);
		a_while(l);
		sim_node_kill(node(l, i), false);
		a_while(l);
		sim_node_start(node(l, i));
	}
}

/* ---- many queues ---- */

static unsigned unled(struct nodes_life *l, unsigned from, unsigned to)
{
	unsigned n = 0;
	for (unsigned q = from; q < to; q++)
		n += life_leader(l, q) == NULL;
	return n;
}

/* Many queues that nobody uses cost no message; one node dies, and all are led again. */
static void idle(struct nodes_life *l)
{
	l->publishers = l->consumers = 0;
	for (unsigned q = QUEUES; q < QUEUES + MANY; q++) {
		life_mirror(l, node(l, 0), q, "all", 0, true);
		life_declare(l, node(l, q), q);
	}
	world_run(&l->world, 20000);
	come_to_rest(l);
	uint64_t before = l->world.net.delivered;
	world_run(&l->world, 10000);
	if (l->world.net.delivered != before)
		promise_broken(&l->world.promises, "groups at rest have sent %lu messages",
			(unsigned long)(l->world.net.delivered - before));
	struct sim_node *n = node(l, any(l));
	sim_node_kill(n, sim_chance(sim_of(l), 50));
	for (unsigned t = 0; t < 100 && unled(l, QUEUES, QUEUES + MANY) > 0; t++)
		world_run(&l->world, 100);
	if (unled(l, QUEUES, QUEUES + MANY) > 0)
		promise_broken(&l->world.promises, "%u of %u idle queues have no leader 10 s after a kill",
			unled(l, QUEUES, QUEUES + MANY), MANY);
}

/* ---- all ---- */

const struct scene nodes_scenes[] = {
	{"home_down", 3, 0, home_down, false, 0},
	{"kills", 3, 0, kills, false, 0},
	{"kills_in_turn", 3, 0, kills_in_turn, false, 0},
	{"kills_of_five", 5, 0, kills, false, 0},
	{"two_mirrors", 3, 0, two_mirrors, false, 0},
	{"two_mirrors_of_five", 5, 0, two_mirrors, false, 0},
	{"two_mirrors_cut", 3, 0, two_mirrors_cut, false, 0},
	{"two_mirrors_cut_of_four", 4, 0, two_mirrors_cut, false, 0},
	{"two_mirrors_cut_of_five", 5, 0, two_mirrors_cut, false, 0},
	{"both_of_two", 5, 0, both_of_two, false, 0},
	{"two_in_memory", 3, 0, two_in_memory, false, 0},
	{"two_in_memory_of_two", 2, 0, two_in_memory, false, 0},
	{"orders", 3, 0, orders, false, 0},
	{"power_loss", 3, 0, power_loss, false, 0},
	{"rolling", 3, 0, rolling, false, 0},
	{"deleted_while_stopping", 3, 0, deleted_while_stopping, false, 0},
	{"cut_off", 3, 0, cut_off, false, 0},
	{"unheard", 3, 0, unheard, false, 0},
	{"deaf", 3, 0, deaf, false, 0},
	{"ring", 3, 0, ring, false, 0},
	{"pairs", 3, 0, pairs, false, 0},
	{"lopsided", 3, 0, lopsided, false, 0},
	{"blinks", 3, 0, blinks, false, 0},
	{"lossy", 3, 0, lossy, false, 0},
	{"wiped", 3, 0, wiped, false, 0},
	{"replaced", 4, 0, replaced, false, 0},
	{"stalled", 3, 0, stalled, false, 0},
	{"full_disk", 3, 0, full_disk, false, 0},
	{"renewed", 3, 0, renewed, false, 0},
	{"retyped", 3, 1, retyped, false, 0},
	{"changed", 3, 1, changed, false, 0},
	{"forced", 3, 0, forced, false, 0},
	{"forced_dying", 3, 0, forced_dying, false, 0},
	{"forced_behind", 5, 0, forced_behind, false, 2},
	{"forced_early", 3, 0, forced_early, false, 0},
	{"survivor_forgotten", 5, 0, survivor_forgotten, false, 0},
	{"survivor_of_three_forgotten", 3, 0, survivor_forgotten, false, 0},
	{"never_begun", 5, 0, never_begun, false, 0},
	{"absent_forgotten", 5, 0, absent_forgotten, false, 0},
	{"cut_and_forget", 5, 0, cut_and_forget, false, 0},
	{"leaves_untold", 3, 0, leaves_untold, false, 0},
	{"discovered", 3, 0, discovered, true, 0},
	{"mirror_added", 3, 0, mirror_added, false, 0},
	{"sync_cancelled", 3, 0, sync_cancelled, false, 0},
	{"ram_node", 3, 1, ram_node, false, 0},
	{"idle", 3, 0, idle, false, 0},
};

const unsigned n_nodes_scenes = sizeof nodes_scenes / sizeof *nodes_scenes;

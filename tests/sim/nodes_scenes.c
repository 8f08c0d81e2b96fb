/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_scenes.h"

#include <stdio.h>

#include "src/broker/command.h"

enum {
	A_WHILE_MS = 1500,
	LEADER_MS = 12000,  /* in which a queue has to have a leader again */
	SYNC_MS = 40000,    /* in which a mirror has to vote */
	DRAIN_MS = 300000,  /* in which consumers get what they can */
	REST_MS = 30000,    /* in which groups that nobody uses have to rest */
	MANY = 150,         /* queues at rest */
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
	if (!world_until(&l->world, is_led, &q, LEADER_MS))
		promise_broken(&l->world.promises, "q%u has no leader after %u ms", queue, LEADER_MS);
}

static void expect_voters(struct nodes_life *l, unsigned queue, unsigned voters)
{
	struct queue_of q = {.life = l, .queue = queue, .voters = voters};
	if (!world_until(&l->world, has_voters, &q, SYNC_MS))
		promise_broken(&l->world.promises, "q%u has %u voters, not %u", queue,
			life_voters(l, queue), voters);
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

/* All are stopped in one order, and started in another. */
static void orders(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes, first = any(l), step = 1 + any(l) % (n - 1);
	for (unsigned i = 0; i < n; i++) {
		sim_node_stop(node(l, first + i));
		if (sim_chance(sim_of(l), 50))
			a_while(l);
	}
	world_run(&l->world, 15000);
	first = any(l);
	for (unsigned i = 0; i < n; i++) {
		struct sim_node *x = node(l, first + i * step);
		if (!x->up)
			sim_node_start(x);
		a_while(l);
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
	}
}

/* One after another, each waiting for the one before, as an upgrade does. */
static void rolling(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++) {
		struct sim_node *n = node(l, i);
		sim_node_stop(n);
		for (unsigned t = 0; t < 300 && n->up; t++)
			world_run(&l->world, 100);
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

static void cut_off(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_ALL);
	unsigned a = n != NULL ? n->i : 0;
	a_while(l);
	isolate(l, a, true, true, true);
	world_run(&l->world, sim_between(sim_of(l), 500, 9000));
	isolate(l, a, true, true, false);
	a_while(l);
	expect_led(l, QUEUE_ALL);
}

static void one_way(struct nodes_life *l)
{
	unsigned a = any(l);
	bool out = sim_chance(sim_of(l), 50);
	a_while(l);
	isolate(l, a, !out, out, true);
	world_run(&l->world, sim_between(sim_of(l), 500, 9000));
	isolate(l, a, !out, out, false);
	expect_led(l, QUEUE_ALL);
}

/* Each is heard by one of its neighbours only. */
static void ring(struct nodes_life *l)
{
	unsigned n = l->world.o.nodes;
	a_while(l);
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, true);
	world_run(&l->world, sim_between(sim_of(l), 500, 9000));
	for (unsigned a = 0; a < n; a++)
		sim_net_cut(&l->world.net, a, (a + 1) % n, false);
	expect_led(l, QUEUE_ALL);
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
	/* Of two members one is left: no majority, until somebody decides. */
	l->deleted[QUEUE_TWO] = true;
	l->declared[QUEUE_TWO] = false;
	sim_node_wipe(n);
	world_run(&l->world, sim_between(sim_of(l), 1, 8000));
	expect_led(l, QUEUE_ALL);
	for (unsigned q = QUEUE_TWO; q <= QUEUE_ONE; q++) {
		struct sim_node *via = life_some(l);
		if (l->deleted[q] && via != NULL)
			life_delete(l, via, q);
	}
	forget(l, id);
	struct sim_node *via = life_some(l);
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

/* ---- members ---- */

/* A queue with much in it gets mirrors while it works. */
static void big(struct nodes_life *l, bool cancelled)
{
	struct sim_node *n = node(l, 0);
	l->consumers = 0;
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
	l->clients.no_more = l->clients.gentle = true;
	/* Consumers get what there is. */
	struct silence coming = {.count = &l->world.promises.came, .since_us = sim_of(l)->now_us};
	world_until(&l->world, is_over, &coming, DRAIN_MS);
	struct restless r = {.life = l};
	if (!world_until(&l->world, all_rest, &r, REST_MS))
		promise_broken(&l->world.promises, "%s, does not rest", r.why);
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
	{"kills", 3, 0, kills},
	{"kills_of_five", 5, 0, kills},
	{"orders", 3, 0, orders},
	{"power_loss", 3, 0, power_loss},
	{"rolling", 3, 0, rolling},
	{"deleted_while_stopping", 3, 0, deleted_while_stopping},
	{"cut_off", 3, 0, cut_off},
	{"one_way", 3, 0, one_way},
	{"ring", 3, 0, ring},
	{"blinks", 3, 0, blinks},
	{"lossy", 3, 0, lossy},
	{"wiped", 3, 0, wiped},
	{"replaced", 4, 0, replaced},
	{"stalled", 3, 0, stalled},
	{"mirror_added", 3, 0, mirror_added},
	{"sync_cancelled", 3, 0, sync_cancelled},
	{"ram_node", 3, 1, ram_node},
	{"idle", 3, 0, idle},
};

const unsigned n_nodes_scenes = sizeof nodes_scenes / sizeof *nodes_scenes;

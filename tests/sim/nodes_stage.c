/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_stage.h"

#include "src/broker/command.h"

struct sim *stage_sim(struct nodes_life *l)
{
	return &l->world.sim;
}

struct sim_node *stage_node(struct nodes_life *l, unsigned i)
{
	return &l->world.nodes[i % l->world.o.nodes];
}

unsigned stage_any(struct nodes_life *l)
{
	return (unsigned)(sim_random(stage_sim(l)) % l->world.o.nodes);
}

/* Under load, up to a moment. */
void stage_while(struct nodes_life *l)
{
	world_run(&l->world, sim_between(stage_sim(l), 1, STAGE_WHILE_MS));
}

bool stage_is_led(struct sim_world *w, void *arg)
{
	struct stage_queue *q = arg;
	(void)w;
	return life_leader(q->life, q->queue) != NULL;
}

bool stage_has_voters(struct sim_world *w, void *arg)
{
	struct stage_queue *q = arg;
	(void)w;
	return life_voters(q->life, q->queue) == q->voters;
}

void stage_expect_led(struct nodes_life *l, unsigned queue)
{
	struct stage_queue q = {.life = l, .queue = queue};
	char why[512];
	if (world_until(&l->world, stage_is_led, &q, LEADER_MS))
		return;
	life_describe(l, queue, why, sizeof why);
	promise_broken(&l->world.promises, "after %u ms %s", LEADER_MS, why);
}

void stage_expect_voters(struct nodes_life *l, unsigned queue, unsigned voters)
{
	struct stage_queue q = {.life = l, .queue = queue, .voters = voters};
	if (!world_until(&l->world, stage_has_voters, &q, SYNC_MS + life_copy_ms(l)))
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
void stage_expect_agreement(struct nodes_life *l, uint64_t ms)
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
void stage_expect_down(struct nodes_life *l, struct sim_node *n)
{
	if (!world_until(&l->world, all_are_down, n, STOP_MS))
		promise_broken(&l->world.promises, "a node does not end");
}

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
		for (unsigned k = 0; sim_node_serves(stage_node(l, i)) && k < stage_node(l, i)->node.n_shards; k++) {
			r->node = stage_node(l, i);
			r->shard = sim_node_shard(stage_node(l, i), k);
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
void stage_rest(struct nodes_life *l)
{
	struct silence coming = {.count = &l->world.promises.came, .since_us = stage_sim(l)->now_us};
	struct restless r = {.life = l};
	l->clients.no_more = l->clients.gentle = true;
	world_until(&l->world, is_over, &coming, DRAIN_MS);
	if (!world_until(&l->world, all_rest, &r, REST_MS))
		promise_broken(&l->world.promises, "%s, does not rest", r.why);
}

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

void stage_forget(struct nodes_life *l, uint64_t id)
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

void stage_delete(struct nodes_life *l, unsigned queue)
{
	struct sim_node *via = life_some(l);
	l->deleted[queue] = true;
	l->declared[queue] = false;
	if (via != NULL)
		life_delete(l, via, queue);
}

void stage_cut(struct nodes_life *l, unsigned a, unsigned b, bool cut)
{
	if (a == b)
		return;
	sim_net_cut(&l->world.net, a, b, cut);
	sim_net_cut(&l->world.net, b, a, cut);
}

void stage_isolate(struct nodes_life *l, unsigned a, bool in, bool out, bool cut)
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

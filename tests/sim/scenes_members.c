/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "src/broker/command.h"
#include "tests/sim/nodes_stage.h"
#include "tests/sim/scenes.h"

/* The store is wiped: the node comes back as a new one of the same name. Queues that were there alone are
 * gone with it. */
void scene_wiped(struct nodes_life *l)
{
	struct sim_node *n = stage_node(l, stage_any(l));
	uint64_t id = n->box.identity.node_id;
	stage_expect_voters(l, QUEUE_ALL, l->world.o.nodes);
	stage_expect_voters(l, QUEUE_TWO, 2);
	stage_expect_voters(l, QUEUE_QUORUM, 3);
	stage_while(l);
	struct sim_node *alone = life_leader(l, QUEUE_ONE);
	sim_node_kill(n, sim_chance(stage_sim(l), 50));
	if (alone == n || alone == NULL) {
		l->deleted[QUEUE_ONE] = true;
		l->declared[QUEUE_ONE] = false;
	}
	sim_node_wipe(n);
	world_run(&l->world, sim_between(stage_sim(l), 1, 8000));
	stage_expect_led(l, QUEUE_ALL);
	struct sim_node *via = life_some(l);
	if (l->deleted[QUEUE_ONE] && via != NULL)
		life_delete(l, via, QUEUE_ONE);
	stage_forget(l, id);
	stage_expect_voters(l, QUEUE_TWO, 2);
	via = life_some(l);
	if (life_failed(l) || via == NULL)
		return;
	sim_node_join(n, via, BROKER_NODE_DISC);
	sim_node_start(n);
	stage_expect_voters(l, QUEUE_ALL, l->world.o.nodes);
	stage_expect_voters(l, QUEUE_QUORUM, 3);
}

/* A node is down for so long that others take its place. */
void scene_replaced(struct nodes_life *l)
{
	struct sim_node *n = life_leader(l, QUEUE_QUORUM);
	stage_while(l);
	if (n == NULL)
		return;
	sim_node_kill(n, true);
	world_run(&l->world, l->world.o.replace_ms + 8000);
	stage_expect_voters(l, QUEUE_QUORUM, 3);
	sim_node_start(n);
}

/* Every disc node has a vote in the queue that is mirrored everywhere. */
static void expect_all_vote(struct nodes_life *l)
{
	struct sim_node *n = life_some(l);
	unsigned all = 0;
	if (n != NULL)
		all = (unsigned)broker_nodes_of_type(sim_node_broker(n), BROKER_NODE_DISC);
	stage_expect_voters(l, QUEUE_ALL, all);
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
		stage_delete(l, QUEUE_ONE);
	expect_all_vote(l);
	stage_while(l);
	sim_node_stop(n);
	stage_expect_down(l, n);
	if (life_failed(l))
		return;
	stage_forget(l, id);
	expect_all_vote(l);
	stage_expect_voters(l, QUEUE_TWO, 2);
	stage_while(l);
	come_anew(l, n, type);
	stage_expect_agreement(l, AGREE_MS);
}

void scene_renewed(struct nodes_life *l)
{
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		renew(l, stage_node(l, i), BROKER_NODE_DISC);
}

/* A RAM node becomes a disc node, and back. */
void scene_retyped(struct nodes_life *l)
{
	struct sim_node *n = stage_node(l, l->world.o.nodes - 1);
	renew(l, n, BROKER_NODE_DISC);
	stage_while(l);
	if (!life_failed(l))
		renew(l, n, BROKER_NODE_RAM);
}

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
	n->die_at = (unsigned)sim_between(stage_sim(l), 0, 8);
	bool alone = sim_chance(stage_sim(l), 30);
	if (alone)
		stage_isolate(l, n->i, true, true, true);
	if (!n->up)
		sim_node_start(n);
	world_until(&l->world, is_dead_or_serves, n, sim_between(stage_sim(l), 1, 10000));
	if (alone && sim_node_serves(n))
		promise_broken(&l->world.promises, "%s serves by itself", n->name);
	if (alone)
		stage_isolate(l, n->i, true, true, false);
	world_until(&l->world, is_dead_or_serves, n, sim_between(stage_sim(l), 1, START_MS));
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
		sim_after(stage_sim(l), sim_between(stage_sim(l), 0, CHANGE_MOST_MS * 1000), on_some_time, n, 0);
	else
		n->die_at = at;
}

/* Dies at that point on its way to be of this type, and is what it was, or what it was to be. */
static void change_type(struct nodes_life *l, struct sim_node *n, enum broker_node_type type, unsigned die_at)
{
	uint64_t id = n->box.identity.node_id;
	if (life_leader(l, QUEUE_ONE) == n)
		stage_delete(l, QUEUE_ONE);
	expect_all_vote(l);
	stage_expect_voters(l, QUEUE_TWO, 2);
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
	stage_expect_agreement(l, AGREE_MS);
}

static void change_to(struct nodes_life *l, enum broker_node_type type, unsigned die_at)
{
	struct sim_node *n = stage_node(l, l->world.o.nodes - 1);
	const struct broker_node *own;
	do {
		stage_while(l);
		if (!life_failed(l))
			change_type(l, n, type, die_at);
		own = life_failed(l) ? NULL : broker_node_find(sim_node_broker(n), n->box.identity.node_id);
		die_at = CHANGE_NEVER;
	} while (own != NULL && own->type != type);
}

/* A RAM node becomes a disc node, and back, and dies at each point of that. */
void scene_changed(struct nodes_life *l)
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
	struct sim_node *n = stage_node(l, stage_any(l));
	expect_all_vote(l);
	stage_while(l);
	stage_rest(l);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (stage_node(l, i) != n)
			sim_node_kill(stage_node(l, i), true);
	world_run(&l->world, sim_between(stage_sim(l), 1, 5000));
	sim_node_stop(n);
	stage_expect_down(l, n);
	if (life_failed(l))
		return;
	sim_node_give_up_others(n);
	l->clients.no_more = l->clients.gentle = false;
	while (deaths-- > 0) {
		sim_node_start(n);
		world_run(&l->world, sim_between(stage_sim(l), 1, 200));
		sim_node_kill(n, sim_chance(stage_sim(l), 50));
	}
	sim_node_start(n);
	stage_expect_led(l, QUEUE_ALL);
	stage_expect_led(l, QUEUE_QUORUM);
	stage_delete(l, QUEUE_TWO);
	stage_delete(l, QUEUE_ONE);
	stage_while(l);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (stage_node(l, i) != n)
			come_anew(l, stage_node(l, i), BROKER_NODE_DISC);
}

void scene_forced(struct nodes_life *l)
{
	force_with(l, 0);
}

void scene_forced_dying(struct nodes_life *l)
{
	force_with(l, 1 + (unsigned)sim_random(stage_sim(l)) % 6);
}

/* All are gone but one, whose worker has stood still while others led its queue and gave another member a vote: it
 * goes on by itself, and soon knows of no others. */
static bool is_alone(struct sim_world *w, void *arg)
{
	struct stage_queue *q = arg;
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
		if (stage_node(l, i) != n)
			sim_node_kill(stage_node(l, i), true);
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
		life_mirror(l, stage_node(l, 0), q, "all", 0, true);
		life_declare(l, stage_node(l, 0), q);
		world_run(&l->world, 500);
		const struct broker_queue *found = sim_queue_find(stage_node(l, 0), q);
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

void scene_forced_behind(struct nodes_life *l)
{
	unsigned queue = declare_beside(l);
	struct stage_queue q = {.life = l, .queue = queue};
	expect_all_vote(l);
	stage_expect_led(l, queue);
	struct sim_node *leader = life_leader(l, queue);
	if (life_failed(l) || leader == NULL)
		return;
	struct sim_node *n = stage_node(l, leader->i + 1), *renewed = stage_node(l, leader->i + 2);
	uint64_t group = sim_queue_find(n, queue)->group;
	sim_loop_stall(&n->node.shards[group % n->node.n_shards].worker, stage_sim(l)->now_us + 600000000);
	for (unsigned i = 0; i < 3 && !life_failed(l); i++) {
		stage_expect_led(l, queue);
		leader = life_leader(l, queue);
		sim_node_kill(leader, false);
		stage_expect_led(l, queue);
		sim_node_start(leader);
		world_run(&l->world, 2000);
	}
	stage_expect_led(l, queue);
	uint64_t id = renewed->box.identity.node_id;
	sim_node_kill(renewed, false);
	stage_forget(l, id);
	stage_delete(l, QUEUE_ONE);
	/* Others that are long are not copied to it before the worker goes on. */
	struct sim_node *via = life_some(l);
	sim_node_wipe(renewed);
	if (!life_failed(l) && via != NULL)
		sim_node_join(renewed, via, BROKER_NODE_DISC);
	if (life_failed(l) || via == NULL)
		return;
	sim_node_start(renewed);
	stage_expect_voters(l, queue, l->world.o.nodes);
	if (!life_failed(l))
		force(l, n);
	if (!world_until(&l->world, is_alone, &q, LEADER_MS))
		promise_broken(&l->world.promises, "q%u is not alone with its only node", queue);
	stage_delete(l, QUEUE_TWO);
	without_others(l, n);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (stage_node(l, i) != n)
			come_anew(l, stage_node(l, i), BROKER_NODE_DISC);
}

/* Queues are declared everywhere while all lose their power, and one node is all that is left: it may have heard of a
 * queue, and not have begun its log. */
void scene_forced_early(struct nodes_life *l)
{
	struct sim_node *n = stage_node(l, stage_any(l));
	expect_all_vote(l);
	life_mirror(l, n, QUEUE_ONE, "all", 0, true);
	stage_expect_voters(l, QUEUE_ONE, l->world.o.nodes);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_mirror(l, n, q, "all", 0, true);
	world_run(&l->world, 1000);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++) {
		life_declare(l, stage_node(l, q), q);
		world_run(&l->world, 1 + q % 2);
	}
	force(l, n);
	stage_expect_led(l, QUEUE_ALL);
	for (unsigned q = QUEUES; q < QUEUES + FEW && !life_failed(l); q++)
		if (sim_queue_find(n, q) != NULL)
			stage_expect_led(l, q);
	stage_delete(l, QUEUE_TWO);
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		if (stage_node(l, i) != n)
			come_anew(l, stage_node(l, i), BROKER_NODE_DISC);
}

/* Of a queue's two members one is lost, and the other one, which has gone on, is forgotten by an operator, while
 * the lost one is back or comes back: that has what it had. */
void scene_survivor_forgotten(struct nodes_life *l)
{
	stage_delete(l, QUEUE_ONE);
	stage_expect_led(l, QUEUE_TWO);
	stage_expect_voters(l, QUEUE_TWO, 2);
	stage_while(l);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	if (sim_chance(stage_sim(l), 50))
		lost = life_member(l, QUEUE_TWO, lost);
	if (life_failed(l) || lost == NULL)
		return;
	sim_node_kill(lost, sim_chance(stage_sim(l), 50));
	struct sim_node *survivor = life_member(l, QUEUE_TWO, lost);
	stage_expect_led(l, QUEUE_TWO);
	for (unsigned t = 0; t < 200 && life_voters(l, QUEUE_TWO) > 1; t++)
		world_run(&l->world, 100); /* it is called down */
	world_run(&l->world, sim_between(stage_sim(l), 1, 3000));
	if (life_failed(l) || survivor == NULL)
		return;
	uint64_t id = survivor->box.identity.node_id;
	sim_node_kill(survivor, sim_chance(stage_sim(l), 50));
	/* Of three, two are needed for the metadata. */
	if (l->world.o.nodes < 5 || sim_chance(stage_sim(l), 50)) {
		world_run(&l->world, sim_between(stage_sim(l), 1, 2000));
		sim_node_start(lost);
		world_run(&l->world, sim_between(stage_sim(l), 1, 3000));
	}
	give_up_queue(l, QUEUE_TWO);
	stage_forget(l, id);
	world_run(&l->world, sim_between(stage_sim(l), 1, 2000));
	if (!lost->up)
		sim_node_start(lost);
	stage_expect_led(l, QUEUE_TWO);
	stage_expect_voters(l, QUEUE_TWO, 2);
	come_anew(l, survivor, BROKER_NODE_DISC);
	stage_expect_agreement(l, START_MS);
}

/* Likewise, and the lost one has never begun its log: queues were declared when it had just gone. */
void scene_never_begun(struct nodes_life *l)
{
	struct sim_node *lost = stage_node(l, stage_any(l)), *survivor = stage_node(l, lost->i + 1);
	uint64_t id = survivor->box.identity.node_id;
	unsigned queue = 0;
	stage_delete(l, QUEUE_ONE);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_mirror(l, survivor, q, "exactly", 2, true);
	stage_expect_voters(l, QUEUE_TWO, 2);
	stage_while(l);
	sim_node_kill(lost, true);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		life_declare(l, survivor, q);
	world_run(&l->world, 500);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		if (life_member(l, q, survivor) == lost)
			queue = q;
	if (queue == 0)
		return;
	stage_expect_led(l, queue);
	for (unsigned q = QUEUES; q < QUEUES + FEW; q++)
		give_up_queue(l, q);
	give_up_queue(l, QUEUE_TWO);
	sim_node_kill(survivor, true);
	stage_forget(l, id);
	sim_node_start(lost);
	stage_expect_led(l, queue);
	come_anew(l, survivor, BROKER_NODE_DISC);
	stage_expect_led(l, queue);
}

/* Nobody is heard by this node, and it is not heard; or it is again. */
static void seclude(struct nodes_life *l, unsigned i, bool yes)
{
	for (unsigned k = 0; k < l->world.o.nodes; k++)
		if (k != i)
			stage_cut(l, i, k, yes);
}

/* Of two members the one is called down while the other one's node is cut off, and forgotten before that is linked again. */
void scene_absent_forgotten(struct nodes_life *l)
{
	stage_delete(l, QUEUE_ONE);
	stage_expect_led(l, QUEUE_TWO);
	stage_expect_voters(l, QUEUE_TWO, 2);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	struct sim_node *other = lost != NULL ? life_member(l, QUEUE_TWO, lost) : NULL;
	if (life_failed(l) || other == NULL)
		return;
	uint64_t id = lost->box.identity.node_id;
	struct sim_node *via = stage_node(l, 0);
	for (unsigned k = 0; via == lost || via == other; k++)
		via = stage_node(l, k);
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
	stage_expect_led(l, QUEUE_TWO);
	come_anew(l, lost, BROKER_NODE_DISC);
	stage_expect_agreement(l, START_MS);
}

/* One of two members is killed, the other one's node is cut off for a while, from some of the others; the one that was
 * killed is forgotten in the end. */
void scene_cut_and_forget(struct nodes_life *l)
{
	stage_delete(l, QUEUE_ONE);
	for (unsigned i = 0; i < 2 && !life_failed(l); i++) {
		stage_expect_led(l, QUEUE_TWO);
		stage_expect_voters(l, QUEUE_TWO, 2);
		struct sim_node *leader = life_leader(l, QUEUE_TWO);
		struct sim_node *other = leader != NULL ? life_member(l, QUEUE_TWO, leader) : NULL;
		if (life_failed(l) || other == NULL)
			return;
		bool leads = sim_chance(stage_sim(l), 50);
		struct sim_node *lost = leads ? leader : other, *left = leads ? other : leader;
		uint64_t id = lost->box.identity.node_id;
		sim_node_kill(lost, sim_chance(stage_sim(l), 50));
		world_run(&l->world, sim_between(stage_sim(l), 1, 9000));
		for (unsigned k = 0; k < l->world.o.nodes; k++)
			if (k != left->i && sim_chance(stage_sim(l), 70))
				stage_cut(l, left->i, k, true);
		world_run(&l->world, sim_between(stage_sim(l), 1, 12000));
		seclude(l, left->i, false);
		world_run(&l->world, sim_between(stage_sim(l), 1, 5000));
		stage_forget(l, id);
		stage_expect_led(l, QUEUE_TWO);
		come_anew(l, lost, BROKER_NODE_DISC);
		stage_expect_agreement(l, START_MS);
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
void scene_leaves_untold(struct nodes_life *l)
{
	stage_delete(l, QUEUE_ONE);
	stage_expect_led(l, QUEUE_TWO);
	stage_expect_voters(l, QUEUE_TWO, 2);
	struct sim_node *lost = life_leader(l, QUEUE_TWO);
	if (lost != NULL && sim_chance(stage_sim(l), 50))
		lost = life_member(l, QUEUE_TWO, lost);
	if (life_failed(l) || lost == NULL)
		return;
	struct sim_node *via = stage_node(l, lost->i + 1 + stage_any(l) % (l->world.o.nodes - 1));
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
	stage_expect_led(l, QUEUE_TWO);
	come_anew(l, lost, BROKER_NODE_DISC);
	stage_expect_agreement(l, START_MS);
}

/* The cluster has been found by its nodes. One loses its disk, and finds it again; others may be away then: it
 * waits until they are there, and founds none. */
void scene_discovered(struct nodes_life *l)
{
	struct sim_node *n = stage_node(l, stage_any(l));
	bool all = sim_chance(stage_sim(l), 50);
	stage_expect_agreement(l, START_MS);
	stage_delete(l, QUEUE_ONE);
	stage_delete(l, QUEUE_TWO);
	expect_all_vote(l);
	stage_expect_voters(l, QUEUE_QUORUM, 3);
	stage_while(l);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (all || stage_node(l, i) == n)
			sim_node_kill(stage_node(l, i), sim_chance(stage_sim(l), 50));
	sim_node_wipe(n);
	sim_node_start(n);
	world_run(&l->world, 6000);
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (!stage_node(l, i)->up)
			sim_node_start(stage_node(l, i));
	stage_expect_agreement(l, 2 * START_MS);
	expect_all_vote(l);
}

/* A queue with much in it gets mirrors while it works. */
static void big(struct nodes_life *l, bool cancelled)
{
	struct sim_node *n = stage_node(l, 0);
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
	world_run(&l->world, cancelled ? sim_between(stage_sim(l), 1, 300) : 3000);
	if (cancelled) {
		life_mirror(l, n, QUEUE_ONE, NULL, 0, false);
		world_run(&l->world, sim_between(stage_sim(l), 1, 1000));
		life_mirror(l, n, QUEUE_ONE, "all", 0, true);
	}
	stage_expect_voters(l, QUEUE_ONE, l->world.o.nodes);
	n = life_leader(l, QUEUE_ONE);
	if (n != NULL)
		sim_node_kill(n, false);
	stage_expect_led(l, QUEUE_ONE);
}

void scene_mirror_added(struct nodes_life *l)
{
	big(l, false);
}

void scene_sync_cancelled(struct nodes_life *l)
{
	big(l, true);
}

/* The last node keeps everything in memory. */
void scene_ram_node(struct nodes_life *l)
{
	struct sim_node *ram = stage_node(l, l->world.o.nodes - 1);
	for (unsigned i = 0; i < 2 && !life_failed(l); i++) {
		stage_while(l);
		sim_node_kill(ram, sim_chance(stage_sim(l), 50));
		stage_while(l);
		sim_node_start(ram);
		stage_while(l);
		sim_node_kill(stage_node(l, i), false);
		stage_while(l);
		sim_node_start(stage_node(l, i));
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/nodes_life.h"

#include <stdio.h>
#include <string.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/whole.h"

enum {
	TEND_US = 300000,
	SERVE_MS = 60000,
	WELL_MS = 90000,
	WINDOW = 20,
	PREFETCH_MAX = 60,
};

bool life_failed(const struct nodes_life *l)
{
	return l->world.promises.failed;
}

static struct sim *sim_of(struct nodes_life *l)
{
	return &l->world.sim;
}

uint64_t life_copy_ms(const struct nodes_life *l)
{
	return l->world.promises.published * (l->clients.body_max / 2) / l->world.net.o.bytes_per_ms;
}

/* ---- definitions ---- */

struct declaration {
	struct catalog_request request;
	struct nodes_life *life;
	const struct sim_node *via;
	unsigned queue;
};

/* A process that was killed goes on outside of the world for a little: its word means nothing. */
static void on_declared(struct catalog_request *r, const struct broker_result *result)
{
	struct declaration *d = LIST_ENTRY(r, struct declaration, request);
	if (result->code == BROKER_OK && !d->via->ghost && d->queue < QUEUES && !d->life->deleted[d->queue])
		d->life->declared[d->queue] = true;
	mem_free(d);
}

void life_declare(struct nodes_life *l, struct sim_node *n, unsigned queue)
{
	struct buf b = BUF_EMPTY, arguments = BUF_EMPTY;
	char name[16];
	sim_queue_name(name, sizeof name, queue);
	if (queue == QUEUE_QUORUM)
		amqp_table_put_string(&arguments, "x-queue-type", slice_str("quorum"));
	const struct broker_queue_spec spec = {.durable = queue != QUEUE_TRANSIENT,
		.home_node = n->node.identity.node_id,
		.home_incarnation = n->node.identity.incarnation,
		.arguments = buf_slice(&arguments)};
	broker_put_declare_queue(&b, slice_str("/"), slice_str(name), &spec);
	struct declaration *d = MEM_NEW(struct declaration);
	*d = (struct declaration){.request.done = on_declared, .life = l, .via = n, .queue = queue};
	catalog_propose(n->node.catalogs[0], buf_slice(&b), &d->request);
	buf_done(&b);
	buf_done(&arguments);
}

void life_delete(struct nodes_life *l, struct sim_node *n, unsigned queue)
{
	struct broker_queue *q = sim_queue_find(n, queue);
	struct buf b = BUF_EMPTY;
	if (q == NULL)
		return;
	l->deleted[queue] = true;
	l->declared[queue] = false;
	broker_put_delete_queue(&b, q->group);
	sim_node_propose(n, &b);
}

void life_mirror(struct nodes_life *l, struct sim_node *n, unsigned queue, const char *mode, unsigned count,
	bool automatic)
{
	struct buf b = BUF_EMPTY, definition = BUF_EMPTY;
	char name[16], pattern[24];
	sim_queue_name(name, sizeof name, queue);
	snprintf(pattern, sizeof pattern, "^%s$", name);
	world_trace(&l->world, "%s is to be on %s %u%s", name, mode != NULL ? mode : "one", count,
		automatic ? ", automatic" : "");
	if (mode == NULL) {
		broker_put_clear_policy(&b, slice_str("/"), slice_str(name), BROKER_POLICY_USER);
		sim_node_propose(n, &b);
		return;
	}
	amqp_table_put_string(&definition, "ha-mode", slice_str(mode));
	if (strcmp(mode, "exactly") == 0)
		amqp_table_put_long(&definition, "ha-params", count);
	if (automatic)
		amqp_table_put_string(&definition, "ha-sync-mode", slice_str("automatic"));
	broker_put_set_policy(&b, slice_str("/"), slice_str(name), BROKER_POLICY_USER,
		&(struct broker_policy_spec){
			.pattern = slice_str(pattern), .definition = buf_slice(&definition)});
	buf_done(&definition);
	sim_node_propose(n, &b);
}

/* ---- who is there ---- */

struct sim_node *life_some(struct nodes_life *l)
{
	struct sim_node *ret = NULL;
	unsigned n = 0;
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		if (sim_node_serves(&l->world.nodes[i]) && sim_random(sim_of(l)) % ++n == 0)
			ret = &l->world.nodes[i];
	return ret;
}

/* The queue's host on a node, or NULL; *ret_group is the group. */
static struct queue_hosts *hosts_of(struct sim_node *n, unsigned queue, uint64_t *ret_group)
{
	if (!sim_node_serves(n))
		return NULL;
	const struct broker_queue *q = sim_queue_find(n, queue);
	*ret_group = q != NULL ? q->group : 0;
	return q != NULL ? n->node.shards[q->group % n->node.n_shards].hosts : NULL;
}

struct sim_node *life_leader(struct nodes_life *l, unsigned queue)
{
	for (unsigned i = 0; i < l->world.o.nodes; i++) {
		uint64_t group;
		struct queue_hosts *hs = hosts_of(&l->world.nodes[i], queue, &group);
		if (hs != NULL && queue_hosts_leads(hs, group))
			return &l->world.nodes[i];
	}
	return NULL;
}

struct sim_node *life_member(struct nodes_life *l, unsigned queue, const struct sim_node *but)
{
	struct sim_node *via = life_some(l);
	const struct broker_queue *q = via != NULL ? sim_queue_find(via, queue) : NULL;
	for (unsigned i = 0; q != NULL && i < l->world.o.nodes; i++) {
		struct sim_node *n = &l->world.nodes[i];
		const struct broker_node *row =
			broker_node_find(sim_node_broker(via), n->box.identity.node_id);
		if (n != but && row != NULL && broker_member_on(q, row->number) != NULL)
			return n;
	}
	return NULL;
}

unsigned life_voters(struct nodes_life *l, unsigned queue)
{
	struct sim_node *n = life_leader(l, queue);
	struct group_member_state m[BROKER_MEMBERS_MAX];
	uint64_t group;
	unsigned voters = 0;
	if (n == NULL)
		return 0;
	struct queue_hosts *hs = hosts_of(n, queue, &group);
	const struct broker_queue *q = sim_queue_find(n, queue);
	unsigned k = group_members(queue_hosts_group(hs, group), m, BROKER_MEMBERS_MAX);
	for (unsigned i = 0; i < k; i++) {
		const struct broker_member *row = broker_member_find(q, m[i].id);
		voters += m[i].voter && row != NULL &&
			  (row->state == BROKER_MEMBER_INITIAL || row->state == BROKER_MEMBER_VOTER);
	}
	return voters;
}

/* ---- clients ---- */

static void tend(struct nodes_life *l, struct sim_node *n)
{
	for (unsigned q = 0; q < l->queues; q++) {
		if (sim_random(sim_of(l)) % 100 < l->publishers)
			sim_publisher_new(&l->clients, n, q, WINDOW);
		if (sim_random(sim_of(l)) % 100 < l->consumers)
			sim_consumer_new(&l->clients, n, q,
				(unsigned)sim_between(sim_of(l), 1, PREFETCH_MAX));
	}
}

static void on_tend(void *arg, uint64_t number)
{
	struct nodes_life *l = arg;
	(void)number;
	for (unsigned i = 0; i < l->world.o.nodes; i++) {
		struct sim_node *n = &l->world.nodes[i];
		if (!sim_node_serves(n) || l->tended[i] == n->life)
			continue;
		l->tended[i] = n->life;
		tend(l, n);
	}
	sim_after(sim_of(l), TEND_US, on_tend, l, 0);
}

void life_tend(struct nodes_life *l)
{
	on_tend(l, 0);
}

/* ---- all is well ---- */

static bool all_serve(struct sim_world *w, void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (!sim_node_serves(&w->nodes[i]))
			return false;
	return true;
}

static bool is_same_metadata(struct nodes_life *l, char *why, size_t n)
{
	struct buf first = BUF_EMPTY, other = BUF_EMPTY;
	bool same = true;
	broker_whole(sim_node_broker(&l->world.nodes[0]), &first);
	for (unsigned i = 0; same && i < l->world.o.nodes; i++) {
		const struct node *x = &l->world.nodes[i].node;
		for (unsigned k = 0; same && k < x->n_shards; k++) {
			buf_clear(&other);
			broker_whole(catalog_broker(x->catalogs[k]), &other);
			same = slice_eq(buf_slice(&first), buf_slice(&other));
			if (!same)
				snprintf(why, n, "worker %u of n%u has other metadata than n0", k, i);
		}
	}
	buf_done(&first);
	buf_done(&other);
	return same;
}

static bool is_up_everywhere(struct nodes_life *l, char *why, size_t n)
{
	const struct broker *b = sim_node_broker(&l->world.nodes[0]);
	if (b->n_nodes != l->world.o.nodes) {
		snprintf(why, n, "%zu nodes are in the table", b->n_nodes);
		return false;
	}
	for (size_t i = 0; i < b->n_nodes; i++)
		if (!b->nodes[i]->up) {
			snprintf(why, n, "%.*s counts as down", SLICE_FMT(b->nodes[i]->name));
			return false;
		}
	return true;
}

static struct group *group_on(struct nodes_life *l, unsigned i, unsigned queue, uint64_t *ret_member)
{
	uint64_t group;
	struct queue_hosts *hs = hosts_of(&l->world.nodes[i], queue, &group);
	*ret_member = hs != NULL ? queue_hosts_member(hs, group) : 0;
	return hs != NULL ? queue_hosts_group(hs, group) : NULL;
}

static bool is_led_by_one(struct nodes_life *l, unsigned queue, char *why, size_t n)
{
	struct sim_node *leader = life_leader(l, queue);
	uint64_t id = 0, member;
	if (leader != NULL)
		group_on(l, leader->i, queue, &id);
	for (unsigned i = 0; i < l->world.o.nodes; i++) {
		struct group *g = group_on(l, i, queue, &member);
		if (g == NULL || (id != 0 && group_leader(g) == id))
			continue;
		snprintf(why, n, "q%u is led by %lu; n%u says: by %lu", queue, (unsigned long)id, i,
			(unsigned long)group_leader(g));
		return false;
	}
	return true;
}

void life_describe(struct nodes_life *l, unsigned queue, char *why, size_t n)
{
	struct sim_node *via = life_some(l);
	const struct broker_queue *q = via != NULL ? sim_queue_find(via, queue) : NULL;
	uint64_t id;
	size_t at = (size_t)snprintf(why, n, "q%u (group %lu) has no leader;", queue,
		q != NULL ? (unsigned long)q->group : 0ul);
	for (unsigned i = 0; q != NULL && i < q->n_members && at < n; i++)
		at += (size_t)snprintf(why + at, n - at, " %lu@%u %s%s%s",
			(unsigned long)q->members[i].id, q->members[i].node,
			broker_member_state_name(q->members[i].state),
			q->members[i].lost ? " lost" : q->members[i].heir ? " heir" : "",
			q->members[i].memory ? " in memory" : "");
	for (unsigned i = 0; i < l->world.o.nodes && at < n; i++) {
		struct group *g = group_on(l, i, queue, &id);
		if (g != NULL)
			at += (size_t)snprintf(why + at, n - at, "; n%u has %lu, term %lu, leader %lu", i,
				(unsigned long)id, (unsigned long)group_term(g),
				(unsigned long)group_leader(g));
	}
}

/* The members by the metadata are settled, and so says the group. */
static bool has_its_members(struct nodes_life *l, unsigned queue, char *why, size_t n)
{
	struct sim_node *leader = life_leader(l, queue);
	const struct broker_queue *q = sim_queue_find(&l->world.nodes[0], queue);
	struct group_member_state m[BROKER_MEMBERS_MAX];
	uint64_t group;
	if (q == NULL || (!q->begun && q->n_members == 1))
		return true;
	if (leader == NULL) {
		life_describe(l, queue, why, n);
		return false;
	}
	struct queue_hosts *hs = hosts_of(leader, queue, &group);
	unsigned k = group_members(queue_hosts_group(hs, group), m, BROKER_MEMBERS_MAX);
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_member *row = &q->members[i];
		bool found = false;
		for (unsigned j = 0; j < k; j++)
			found |= m[j].id == row->id && m[j].voter == broker_member_may_vote(q, row);
		if (row->state == BROKER_MEMBER_LEAVING || !found) {
			size_t at = (size_t)snprintf(why, n,
				"member %lu of q%u (group %lu, led by %s) is %s, and %s in the group:",
				(unsigned long)row->id, queue, (unsigned long)q->group, leader->name,
				broker_member_state_name(row->state), found ? "right" : "not right");
			for (unsigned j = 0; j < k && at < n; j++)
				at += (size_t)snprintf(why + at, n - at, " %lu%s%s", (unsigned long)m[j].id,
					m[j].voter ? "" : " standby", m[j].spare ? " spare" : "");
			for (unsigned j = 0; j < q->n_members && at < n; j++)
				at += (size_t)snprintf(why + at, n - at, ", %lu@%u %s%s",
					(unsigned long)q->members[j].id, q->members[j].node,
					broker_member_state_name(q->members[j].state),
					q->members[j].lost ? " lost" : q->members[j].heir ? " heir" : "");
			return false;
		}
	}
	if (k != q->n_members)
		snprintf(why, n, "q%u has %u members, and should have %u", queue, k, q->n_members);
	return k == q->n_members;
}

static void describe_open(struct nodes_life *l, unsigned queue, uint64_t open, uint64_t which,
	char *why, size_t n)
{
	struct sim_node *leader = life_leader(l, queue);
	struct machine_counts c = {0};
	uint64_t group;
	struct queue_hosts *hs = leader != NULL ? hosts_of(leader, queue, &group) : NULL;
	if (hs != NULL)
		queue_hosts_counts(hs, group, &c);
	snprintf(why, n,
		"%lu confirmed messages of q%u have not come, as message %u of publisher %u; %s has "
		"%lu ready, %lu unacknowledged, %u consumers",
		(unsigned long)open, queue, (unsigned)which, (unsigned)(which >> 32),
		leader != NULL ? leader->name : "nobody", (unsigned long)c.ready,
		(unsigned long)c.unacked, c.consumers);
}

/* The queue may be gone with what was in it. */
static bool may_be_gone(const struct nodes_life *l, unsigned queue)
{
	return l->deleted[queue] || (queue == QUEUE_TRANSIENT && !l->remembers);
}

static bool has_come(struct nodes_life *l, unsigned queue, char *why, size_t n)
{
	uint64_t which = 0, open = promises_open(&l->world.promises, queue, &which);
	if (open > 0 && !may_be_gone(l, queue))
		describe_open(l, queue, open, which, why, n);
	return open == 0 || may_be_gone(l, queue);
}

static bool is_there(struct nodes_life *l, unsigned queue, char *why, size_t n)
{
	for (unsigned i = 0; i < l->world.o.nodes; i++) {
		bool found = sim_queue_find(&l->world.nodes[i], queue) != NULL;
		if (found || !l->declared[queue] || may_be_gone(l, queue))
			continue;
		snprintf(why, n, "q%u was declared, and is not there", queue);
		return false;
	}
	return true;
}

static bool are_frozen(struct nodes_life *l, char *why, size_t n)
{
	for (unsigned i = 0; i < l->world.o.nodes; i++)
		for (unsigned k = 0; k < l->world.nodes[i].node.n_shards; k++) {
			struct groups *gs = l->world.nodes[i].node.shards[k].groups;
			if (!groups_need_clock(gs))
				continue;
			snprintf(why, n, "groups on worker %u of n%u do not rest", k, i);
			return false;
		}
	return true;
}

bool life_agrees(struct nodes_life *l, char *why, size_t n)
{
	bool agrees = all_serve(&l->world, NULL);
	if (!agrees)
		snprintf(why, n, "not all nodes serve");
	agrees = agrees && is_up_everywhere(l, why, n) && is_same_metadata(l, why, n);
	for (unsigned q = 0; agrees && q < QUEUES_KEPT; q++)
		agrees = is_led_by_one(l, q, why, n);
	return agrees;
}

struct hope {
	struct nodes_life *life;
	char why[512];
};

static bool is_well(struct sim_world *w, void *arg)
{
	struct hope *h = arg;
	struct nodes_life *l = h->life;
	bool well = all_serve(w, NULL);
	if (!well)
		snprintf(h->why, sizeof h->why, "not all nodes serve");
	well = well && is_up_everywhere(l, h->why, sizeof h->why) &&
	       is_same_metadata(l, h->why, sizeof h->why);
	for (unsigned q = 0; well && q < QUEUES; q++)
		well = is_there(l, q, h->why, sizeof h->why) &&
		       has_its_members(l, q, h->why, sizeof h->why) &&
		       has_come(l, q, h->why, sizeof h->why);
	well = well && sim_clients_unanswered(&l->clients, h->why, sizeof h->why) == 0;
	return well && are_frozen(l, h->why, sizeof h->why);
}

void life_heal(struct nodes_life *l)
{
	struct sim_world *w = &l->world;
	world_trace(w, "all is repaired");
	w->net.o.raft_permille = 0;
	for (unsigned a = 0; a < w->o.nodes; a++)
		for (unsigned b = 0; b < w->o.nodes; b++)
			if (w->net.cut[a][b])
				sim_net_cut(&w->net, a, b, false);
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (!w->nodes[i].up)
			sim_node_start(&w->nodes[i]);
	/* Some may be stopping. */
	for (uint64_t t = 0; t < SERVE_MS && !all_serve(w, NULL) && !life_failed(l); t += 100) {
		world_run(w, 100);
		for (unsigned i = 0; i < w->o.nodes; i++)
			if (!w->nodes[i].up)
				sim_node_start(&w->nodes[i]);
	}
	if (!all_serve(w, NULL))
		promise_broken(&w->promises, "not all nodes serve a minute after all was repaired");
}

void life_check_well(struct nodes_life *l)
{
	struct hope h = {.life = l};
	l->clients.no_more = l->clients.gentle = true;
	l->publishers = 0;
	l->consumers = 100; /* on each node that starts anew */
	l->queues = QUEUES;
	for (unsigned i = 0; i < l->world.o.nodes && !life_failed(l); i++)
		for (unsigned q = 0; q < QUEUES; q++)
			sim_consumer_new(&l->clients, &l->world.nodes[i], q, PREFETCH_MAX);
	if (!world_until(&l->world, is_well, &h, WELL_MS + life_copy_ms(l)) && !life_failed(l))
		promise_broken(&l->world.promises, "all is not well in the end: %s", h.why);
}

/* ---- life ---- */

bool life_begin(struct nodes_life *l, const struct sim_world_options *o, unsigned n_ram)
{
	*l = (struct nodes_life){.publishers = 50, .consumers = 50, .queues = QUEUES_KEPT};
	world_begin(&l->world, o);
	sim_clients_begin(&l->clients, &l->world);
	if (!(o->discovers ? world_discover(&l->world) : world_form(&l->world, n_ram))) {
		promise_broken(&l->world.promises, "the cluster does not form");
		return false;
	}
	struct sim_node *n = &l->world.nodes[0];
	life_mirror(l, n, QUEUE_ALL, "all", 0, true);
	life_mirror(l, n, QUEUE_TWO, "exactly", 2, true);
	life_mirror(l, n, QUEUE_TRANSIENT, "all", 0, true);
	for (unsigned q = 0; q < QUEUES_KEPT; q++)
		life_declare(l, &l->world.nodes[q % o->nodes], q);
	world_run(&l->world, 500);
	return true;
}

void life_end(struct nodes_life *l)
{
	world_end(&l->world);
	sim_clients_end(&l->clients);
}

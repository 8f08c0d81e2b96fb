/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/queue/nodes.h"

/* What is on its way over a link. */
struct packet {
	struct list link;
	uint64_t at_ms;
	enum { TO_GROUP, TO_HOST, TO_RESUME, TO_CLIENTS } what;
	struct blob *blob;
	size_t n;
};

uint32_t nodes_random(struct nodes *w)
{
	/* splitmix64 */
	uint64_t z = (w->random += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static unsigned node_of_id(uint64_t id)
{
	assert_in_range(id, NODE_ID, NODE_ID + NODES - 1);
	return (unsigned)(id - NODE_ID);
}

/* ---- links ---- */

static void post(struct test_node *from, uint64_t to, int what, struct blob *blob, size_t n)
{
	struct nodes *w = from->all;
	unsigned i = node_of_id(to);
	if (!w->linked[from->i][i]) {
		blob_unref(blob);
		return;
	}
	struct packet *p = MEM_NEW(struct packet);
	*p = (struct packet){.at_ms = w->now_ms + 1 + nodes_random(w) % 3,
		.what = what,
		.blob = blob,
		.n = n};
	list_push_back(&w->wires[from->i][i], &p->link);
}

static void packet_take(struct test_node *to, uint64_t from, struct packet *p)
{
	struct slice bytes = slice_make(p->blob->data, p->n);
	switch (p->what) {
	case TO_GROUP:
		assert_int_equal(groups_receive(to->groups, from, p->blob, bytes.p, bytes.n), 0);
		break;
	case TO_HOST:
		queue_hosts_submit(to->hosts, GROUP, p->blob, p->n);
		mem_free(p);
		return; /* which has the block */
	case TO_RESUME:
		assert_true(queue_hosts_resume(to->hosts, GROUP, bytes));
		break;
	case TO_CLIENTS:
		assert_true(event_receive(to->clients, from, p->blob, bytes.p, bytes.n));
		break;
	}
	blob_unref(p->blob);
	mem_free(p);
}

static void wire_deliver(struct nodes *w, unsigned a, unsigned b)
{
	while (!list_empty(&w->wires[a][b])) {
		struct packet *p = LIST_ENTRY(w->wires[a][b].next, struct packet, link);
		if (p->at_ms > w->now_ms)
			return;
		list_remove(&p->link);
		packet_take(&w->node[b], NODE_ID + a, p);
	}
}

static void wire_lose(struct nodes *w, unsigned a, unsigned b)
{
	struct list *at;
	while ((at = list_pop(&w->wires[a][b])) != NULL) {
		struct packet *p = LIST_ENTRY(at, struct packet, link);
		blob_unref(p->blob);
		mem_free(p);
	}
}

static void tell(struct test_node *n, unsigned other, bool up)
{
	if (!n->alive)
		return;
	if (up) {
		groups_link_up(n->groups, NODE_ID + other, 1);
		queue_clients_link_up(n->clients, NODE_ID + other);
	} else {
		groups_link_down(n->groups, NODE_ID + other);
		queue_clients_link_down(n->clients, NODE_ID + other);
	}
}

void nodes_link(struct nodes *w, unsigned a, unsigned b, bool up)
{
	if (w->linked[a][b] == up || !w->node[a].alive || !w->node[b].alive)
		return;
	w->linked[a][b] = w->linked[b][a] = up;
	wire_lose(w, a, b);
	wire_lose(w, b, a);
	tell(&w->node[a], b, up);
	tell(&w->node[b], a, up);
}

void nodes_kill(struct nodes *w, unsigned i)
{
	for (unsigned k = 0; k < NODES; k++)
		if (k != i)
			nodes_link(w, i, k, false);
	w->node[i].alive = false;
}

/* ---- what raft sends ---- */

static void net_send(void *arg, uint64_t node, struct net_message *m)
{
	struct test_node *n = arg;
	struct blob *blob = blob_new(m->n);
	size_t at = m->head.n;
	memcpy(blob->data, m->head.p, m->head.n);
	for (unsigned i = 0; i < m->n_parts; i++) {
		memcpy(blob->data + at, m->parts[i].p, m->parts[i].n);
		at += m->parts[i].n;
	}
	post(n, node, TO_GROUP, blob, m->n);
	list_push_back(&n->letters, &m->link);
}

static void letters_done(struct test_node *n)
{
	struct list *at;
	while ((at = list_pop(&n->letters)) != NULL) {
		struct net_message *m = LIST_ENTRY(at, struct net_message, link);
		m->done(m, false);
	}
}

/* ---- borders ---- */

static void border_submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct test_node *from = arg;
	if (node == NODE_ID + from->i) {
		queue_hosts_submit(from->hosts, group, blob, n);
		return;
	}
	struct blob *copy = blob_new(n);
	memcpy(copy->data + COMMAND_ENTRY_HEADER, blob->data + COMMAND_ENTRY_HEADER,
		n - COMMAND_ENTRY_HEADER);
	blob_unref(blob);
	post(from, node, TO_HOST, copy, n);
}

static bool border_resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct test_node *from = arg;
	if (node != NODE_ID + from->i) {
		post(from, node, TO_RESUME, blob, n);
		return from->all->linked[from->i][node - NODE_ID];
	}
	assert_true(queue_hosts_resume(from->hosts, group, slice_make(blob->data, n)));
	blob_unref(blob);
	return true;
}

static uint64_t border_route(void *arg, uint64_t group, unsigned attempt)
{
	struct test_node *n = arg;
	(void)group;
	for (unsigned k = 0; k < NODES; k++) {
		unsigned i = (n->i + attempt + k) % NODES;
		if (i == n->i || n->all->linked[n->i][i])
			return NODE_ID + i;
	}
	return 0;
}

static struct queue_clients *clients_of(void *arg, uint64_t client, struct worker **ret)
{
	struct test_node *n = arg;
	if (client != queue_clients_id(n->clients))
		return NULL;
	*ret = &n->worker;
	return n->clients;
}

static bool is_gone(void *arg, uint64_t client)
{
	struct test_node *n = arg;
	return n->all->node[client_id_node(client) - 1].declared_down;
}

static uint64_t node_of(void *arg, uint64_t client)
{
	struct test_node *n = arg;
	unsigned i = client_id_node(client) - 1u;
	return i != n->i && n->all->linked[n->i][i] ? NODE_ID + i : 0;
}

static void send_events(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n)
{
	assert_int_equal(worker, 0);
	post(arg, node, TO_CLIENTS, blob, n);
}

static bool is_defined(void *arg, uint64_t group)
{
	(void)group;
	return ((struct test_node *)arg)->all->defined;
}

static bool is_alone(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
	return false;
}

static void on_group(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
}

static void on_dead(void *arg, uint64_t group, const struct queue_config *config,
	const struct machine_dead *d, const struct message *m)
{
	(void)config;
	(void)m;
	queue_hosts_dead_done(((struct test_node *)arg)->hosts, group, d->seq);
}

static void on_wake(void *arg)
{
	(void)arg;
}

static uint64_t now_ms(void *arg)
{
	return ((struct test_node *)arg)->all->now_ms;
}

static uint32_t any(void *arg)
{
	return nodes_random(((struct test_node *)arg)->all);
}

/* ---- life ---- */

static void node_open(struct test_node *n)
{
	static struct group_net nets[NODES];
	nets[n->i] = (struct group_net){.send = net_send, .arg = n};
	n->alive = true;
	list_init(&n->letters);
	worker_init(&n->worker, 0);
	store_port_init(&n->port, NULL, on_wake, NULL);
	n->groups = groups_new(&(struct groups_config){.port = &n->port,
		.now_ms = now_ms,
		.random = any,
		.arg = n,
		.cache_bytes = 1 << 20,
		.net = &nets[n->i]});
	n->clients = queue_clients_new(client_id_make((uint16_t)(n->i + 1), 1, 0), NODE_ID + n->i,
		&(struct queue_border){.submit = border_submit,
			.resume = border_resume,
			.route = border_route,
			.arg = n});
	n->hosts = queue_hosts_new(&(struct queue_hosts_config){.worker = &n->worker,
		.state_max = UINT64_MAX,
		.groups = n->groups,
		.port = &n->port,
		.clients = n->clients,
		.clients_of = clients_of,
		.node_of = node_of,
		.send = send_events,
		.defined = is_defined,
		.alone = is_alone,
		.gone = is_gone,
		.wanted = on_group,
		.begin = on_group,
		.ended = on_group,
		.dead = on_dead,
		.arg = n,
		.self = NODE_ID + n->i,
		.n_workers = 1,
		.node = (uint16_t)(n->i + 1),
		.incarnation = 1});
}

static void node_host(struct test_node *n)
{
	struct group_member first[NODES];
	struct queue_config config = {
		.message_ttl_ms = CONFIG_NONE,
		.expires_ms = CONFIG_NONE,
		.max_length = CONFIG_NONE,
		.max_bytes = CONFIG_NONE,
		.delivery_limit = CONFIG_NONE,
	};
	for (unsigned i = 0; i < NODES; i++)
		first[i] = (struct group_member){.id = i + 1, .node = NODE_ID + i, .voter = true};
	assert_int_equal(queue_hosts_open(n->hosts, &(struct queue_hosting){.group = GROUP,
							    .self = n->i + 1,
							    .memory = true,
							    .begun = true,
							    .config = &config,
							    .members = first,
							    .n_members = NODES,
							    .preferred = 1}),
		0);
}

void nodes_open(struct nodes *w, uint64_t seed)
{
	static bool once;
	if (!once)
		groups_global_init();
	once = true;
	*w = (struct nodes){.random = seed, .now_ms = 1000, .defined = true};
	for (unsigned a = 0; a < NODES; a++)
		for (unsigned b = 0; b < NODES; b++)
			list_init(&w->wires[a][b]);
	for (unsigned i = 0; i < NODES; i++) {
		w->node[i].all = w;
		w->node[i].i = i;
		node_open(&w->node[i]);
	}
	for (unsigned a = 0; a < NODES; a++)
		for (unsigned b = a + 1; b < NODES; b++)
			nodes_link(w, a, b, true);
	for (unsigned i = 0; i < NODES; i++)
		node_host(&w->node[i]);
}

static void node_turn(struct test_node *n)
{
	bool again = true;
	n->worker.now_ms = n->all->now_ms;
	n->worker.wall_ms = n->all->now_ms;
	for (unsigned round = 0; again && round < 64; round++) {
		again = store_port_poll(&n->port) > 0;
		again |= queue_clients_flush(n->clients);
		again |= groups_flush(n->groups);
		store_port_flush(&n->port);
		again |= queue_hosts_flush(n->hosts);
		again |= worker_deliver(&n->worker);
		again |= store_port_ready(&n->port);
	}
	letters_done(n);
}

static void on_closed(void *arg)
{
	((struct nodes *)arg)->closed++;
}

void nodes_close(struct nodes *w)
{
	for (unsigned i = 0; i < NODES; i++)
		queue_hosts_close_all(w->node[i].hosts, on_closed, w);
	for (unsigned round = 0; round < 100 && w->closed < NODES; round++)
		for (unsigned i = 0; i < NODES; i++)
			node_turn(&w->node[i]);
	assert_int_equal(w->closed, NODES);
	for (unsigned a = 0; a < NODES; a++)
		for (unsigned b = 0; b < NODES; b++)
			wire_lose(w, a, b);
	for (unsigned i = 0; i < NODES; i++) {
		struct test_node *n = &w->node[i];
		node_turn(n);
		queue_hosts_free(n->hosts);
		queue_clients_free(n->clients);
		groups_free(n->groups);
		letters_done(n);
		store_port_done(&n->port);
		worker_stop(&n->worker);
		worker_run(&n->worker);
		worker_done(&n->worker);
	}
}

void nodes_run(struct nodes *w, unsigned ms)
{
	while (ms-- > 0) {
		w->now_ms++;
		for (unsigned a = 0; a < NODES; a++)
			for (unsigned b = 0; b < NODES; b++)
				wire_deliver(w, a, b);
		for (unsigned i = 0; i < NODES; i++) {
			struct test_node *n = &w->node[i];
			if (!n->alive)
				continue;
			if ((w->now_ms + i * 7) % TICK == 0) {
				groups_tick(n->groups);
				queue_clients_tick(n->clients);
			}
			node_turn(n);
		}
	}
}

void nodes_until(struct nodes *w, bool (*holds)(struct nodes *w), unsigned ms)
{
	while (ms-- > 0 && !holds(w))
		nodes_run(w, 1);
	assert_true(holds(w));
}

struct test_node *nodes_leader(struct nodes *w)
{
	for (unsigned i = 0; i < NODES; i++)
		if (w->node[i].alive && queue_hosts_leads(w->node[i].hosts, GROUP))
			return &w->node[i];
	return NULL;
}

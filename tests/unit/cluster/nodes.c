/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/nodes.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"

const char *nodes_cookie = "ABCDEFGHIJKLMNOPQRST";
struct link_limits nodes_limits;
caller_fn *nodes_control;
struct ssl_ctx_st *nodes_tls;

/* ---- waiting ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t wait_end(void)
{
	return now_ms() + WAIT_S * 1000;
}

void wait_a_little(uint64_t end, const char *what, const char *file, int line)
{
	if (now_ms() > end) {
		print_error("after %d s still not: %s\n", WAIT_S, what);
		_fail(file, line);
	}
	usleep(1000);
}

/* ---- a worker ---- */

static struct desk *desk_of(struct turn_hook *h)
{
	return LIST_ENTRY(h, struct desk, hook);
}

static bool desk_turn(struct turn_hook *h)
{
	struct desk *d = desk_of(h);
	bool did = link_port_flush(d->port);
	if (d->no == 0)
		did |= links_flush(d->node->links);
	return did;
}

static void on_up(void *arg, uint64_t node, uint64_t incarnation)
{
	struct desk *d = arg;
	struct seen *s = &d->seen[node];
	s->wrong += s->up || incarnation < s->incarnation;
	s->up = true;
	s->incarnation = incarnation;
	s->ups++;
}

static void on_down(void *arg, uint64_t node, uint64_t incarnation, enum link_end why)
{
	struct desk *d = arg;
	struct seen *s = &d->seen[node];
	s->wrong += !s->up || incarnation != s->incarnation;
	s->up = false;
	s->why = why;
	s->downs++;
}

static unsigned right_worker(const struct envelope *e)
{
	if (e->kind == ENVELOPE_SECTION)
		return (unsigned)(e->group % NODE_WORKERS);
	return e->kind == ENVELOPE_EVENTS || e->kind == ENVELOPE_REPLY ? e->worker : 0;
}

static bool on_message(
	void *arg, uint64_t node, const struct envelope *e, struct blob *blob, size_t n)
{
	struct desk *d = arg;
	struct seen *s = &d->seen[node];
	bool good = true;
	s->wrong += !s->up || right_worker(e) != d->no;
	if (d->on_message != NULL)
		good = d->on_message(
			d, node, e, slice_make(blob->data + ENVELOPE_SIZE, n - ENVELOPE_SIZE));
	s->octets += n - ENVELOPE_SIZE;
	s->messages++;
	blob_unref(blob);
	return good;
}

static const struct link_port_owner port_owner = {on_up, on_down, on_message};

/* ---- running something there ---- */

struct run {
	struct mail mail;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_deliver(struct mail *m, struct worker *w)
{
	struct run *r = LIST_ENTRY(m, struct run, mail);
	(void)w;
	r->fn(r->arg);
	sem_post(&r->done);
}

void node_run(struct node *n, unsigned worker, void (*fn)(void *arg), void *arg)
{
	struct run r = {.mail.deliver = run_deliver, .fn = fn, .arg = arg};
	sem_init(&r.done, 0, 0);
	worker_post(&n->desks[worker].worker, &r.mail);
	while (sem_wait(&r.done) != 0)
		;
	sem_destroy(&r.done);
}

/* ---- life ---- */

static void begin(struct worker *w)
{
	(void)w;
}

struct node *node_start(uint64_t id, uint64_t incarnation)
{
	char err[256];
	int code;
	struct node *n = MEM_NEW(struct node);
	n->id = id;
	snprintf(n->name, sizeof n->name, "warren@n%lu", (unsigned long)id);
	sem_init(&n->closed, 0, 0);
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		assert_int_equal(worker_init(&n->desks[i].worker, i), 0);
	n->links = links_new(&(struct links_config){.worker = &n->desks[0].worker,
		.node_id = id,
		.incarnation = incarnation,
		.cluster_id = 7,
		.name = n->name,
		.product = "0.0",
		.cookie = slice_str(nodes_cookie),
		.tls = nodes_tls,
		.limits = nodes_limits,
		.n_workers = NODE_WORKERS,
		.call = nodes_control,
		.arg = n});
	for (unsigned i = 0; i < NODE_WORKERS; i++) {
		struct desk *d = &n->desks[i];
		d->node = n;
		d->no = i;
		d->port = link_port_new(n->links, &d->worker, i, &port_owner, d);
		worker_hook(&d->worker, &d->hook, desk_turn);
	}
	struct listener *l = listener_bind("127.0.0.1", 0, err, sizeof err, &code);
	if (l == NULL || links_listen(n->links, l, 256, err, sizeof err) != 0)
		fail_msg("%s", err);
	n->port = links_listen_port(n->links);
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		assert_int_equal(worker_start(&n->desks[i].worker, begin), 0);
	return n;
}

static void on_closed(void *arg)
{
	struct node *n = arg;
	sem_post(&n->closed);
}

static void close_links(void *arg)
{
	struct node *n = arg;
	links_close(n->links, on_closed, n);
}

static void stop_worker(void *arg)
{
	worker_stop(arg);
}

void node_stop(struct node *n)
{
	node_run(n, 0, close_links, n);
	while (sem_wait(&n->closed) != 0)
		;
	for (unsigned i = 0; i < NODE_WORKERS; i++) {
		node_run(n, i, stop_worker, &n->desks[i].worker);
		worker_join(&n->desks[i].worker);
	}
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		worker_done(&n->desks[i].worker);
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		link_port_free(n->desks[i].port);
	links_free(n->links);
	sem_destroy(&n->closed);
	mem_free(n);
}

/* ---- peers ---- */

struct peer_call {
	struct node *node;
	uint64_t id;
	unsigned port;
	struct peer_view view;
};

static void call_set_peer(void *arg)
{
	struct peer_call *c = arg;
	char name[32], address[64];
	snprintf(name, sizeof name, "warren@n%lu", (unsigned long)c->id);
	snprintf(address, sizeof address, "127.0.0.1:%u", c->port);
	links_set_peer(c->node->links, c->id, name, address);
}

void node_set_peer(struct node *n, uint64_t id, unsigned port)
{
	node_run(n, 0, call_set_peer, &(struct peer_call){n, id, port, {0}});
}

static void call_forget_peer(void *arg)
{
	struct peer_call *c = arg;
	links_forget_peer(c->node->links, c->id);
}

void node_forget_peer(struct node *n, uint64_t id)
{
	node_run(n, 0, call_forget_peer, &(struct peer_call){n, id, 0, {0}});
}

void nodes_join(struct node *a, struct node *b)
{
	node_set_peer(a, b->id, b->port);
	node_set_peer(b, a->id, a->port);
}

static void view_peer(void *arg, const struct links_peer *p)
{
	struct peer_call *c = arg;
	if (p->id != c->id)
		return;
	c->view = (struct peer_view){true, p->up, p->received, p->sent, p->waiting, ""};
	snprintf(c->view.error, sizeof c->view.error, "%s", p->error);
}

static void call_view(void *arg)
{
	struct peer_call *c = arg;
	links_each_peer(c->node->links, view_peer, c);
}

struct peer_view node_peer(struct node *n, uint64_t id)
{
	struct peer_call c = {n, id, 0, {0}};
	node_run(n, 0, call_view, &c);
	return c.view;
}

struct seen *node_seen(struct node *n, unsigned worker, uint64_t id)
{
	return &n->desks[worker].seen[id];
}

bool node_linked(struct node *n, uint64_t id)
{
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		if (!n->desks[i].seen[id].up)
			return false;
	return true;
}

/* ---- sending ---- */

struct send_call {
	struct desk *desk;
	uint64_t to;
	struct envelope e;
	size_t octets;
	unsigned count;
	bool urgent;
};

static void call_send(void *arg)
{
	struct send_call *c = arg;
	struct blob *blob = blob_new(c->octets);
	for (size_t i = 0; i < c->octets; i++)
		blob->data[i] = (uint8_t)(i * 7);
	link_port_send(c->desk->port, c->to, &c->e, blob, 0, c->octets);
}

void node_send(struct node *n, unsigned worker, uint64_t to, enum envelope_kind kind,
	uint16_t to_worker, uint64_t group, size_t octets)
{
	struct send_call c = {&n->desks[worker], to,
		{.kind = (uint8_t)kind, .worker = to_worker, .group = group}, octets, 1, false};
	node_run(n, worker, call_send, &c);
}

struct raft_message {
	struct net_message m;
	struct net_part part;
	struct desk *desk;
	pthread_t thread;
	uint8_t head[40]; /* as of raft/wire.h: the group is at 8 */
};

static void raft_done(struct net_message *m, bool lost)
{
	struct raft_message *r = LIST_ENTRY(m, struct raft_message, m);
	assert(pthread_equal(pthread_self(), r->thread));
	r->desk->done++;
	r->desk->lost += lost;
	blob_unref(r->part.blob);
	mem_free(r);
}

static void call_raft(void *arg)
{
	struct send_call *c = arg;
	const struct group_net *net = link_port_net(c->desk->port);
	struct blob *blob = blob_new(c->octets);
	memset(blob->data, 1, c->octets);
	for (unsigned i = 0; i < c->count; i++) {
		struct raft_message *r = MEM_NEW(struct raft_message);
		r->desk = c->desk;
		r->thread = pthread_self();
		r->part = (struct net_part){blob_ref(blob), blob->data, c->octets};
		r->m = (struct net_message){.head = slice_make(r->head, sizeof r->head),
			.parts = &r->part,
			.n_parts = 1,
			.n = sizeof r->head + c->octets,
			.done = raft_done};
		r->m.urgent = c->urgent;
		store_u64le(r->head + 8, c->e.group);
		list_init(&r->m.link);
		net->send(net->arg, c->to, &r->m);
	}
	blob_unref(blob);
}

void node_raft(struct node *n, unsigned worker, uint64_t to, unsigned count, size_t octets)
{
	struct send_call c = {&n->desks[worker], to, {0}, octets, count, false};
	node_run(n, worker, call_raft, &c);
}

void node_raft_of(struct node *n, unsigned worker, uint64_t to, uint64_t group, bool urgent, size_t octets)
{
	struct send_call c = {&n->desks[worker], to, {.group = group}, octets, 1, urgent};
	node_run(n, worker, call_raft, &c);
}

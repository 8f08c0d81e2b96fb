/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_links.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "src/base/mem.h"
#include "src/cluster/link_port.h"
#include "src/loop/timer.h"

enum {
	PORTS_MAX = 8,
	REDIAL_MIN_MS = 50,
	REDIAL_MAX_MS = 1000,
	YIELD_MS = 100,
	RESENT_US = 200000,
	STUCK_PERCENT = 50,
	KERNEL_BYTES = 256 * 1024, /* of a lane: written, and not there yet */
};

/* One end of a connection. */
struct end {
	unsigned host;
	uint64_t birth; /* of the links there */
	bool up;
	uint64_t serial;
	struct list stuck[LANES]; /* struct parcel: the kernel takes no more */
	/* what the end sends */
	uint64_t free_us;        /* until then TCP sends something again */
	uint64_t last_us[LANES]; /* arrival of the lane's last message */
	size_t written[LANES];   /* bytes of packets that are under way or held */
	struct list held;        /* struct packet by `no`, while nothing gets through */
	struct list way[LANES];  /* struct packet.order: those that have not been received */
	uint64_t torn[LANES];    /* this one was lost with the end, so no later one is received; 0: none was */
	uint64_t packets;        /* sent */
	uint64_t quiet;          /* how often it fell quiet: see on_silence() */
	bool silent;             /* nothing of what it sends arrives now */
};

struct wire {
	struct list link;
	struct sim_net *net;
	struct end e[2]; /* [0] has dialled */
	uint64_t incarnation; /* of who has dialled, when it did: an app that went down and up meanwhile is another one */
};

struct packet {
	struct list link;
	struct list order; /* in end.way */
	struct wire *wire;
	unsigned from; /* end */
	enum lane lane;
	uint64_t no;
	bool here; /* and waits for those before it */
	struct blob *blob;
	size_t n;
};

struct peer {
	uint64_t id;
	struct links *links;
	char *name, *address;
	struct wire *wire; /* the link, or NULL */
	unsigned end;      /* ours */
	struct wire *dialled;
	struct timer *redial;
	unsigned delay_ms;
	uint64_t incarnation, since_ms;
	bool refused, stranger;
	UT_hash_handle hh;
};

struct links {
	struct sim_net *net;
	unsigned host;
	uint64_t birth;
	struct worker *worker;
	char *name;
	uint64_t node_id, incarnation, cluster_id;
	struct link_port *ports[PORTS_MAX];
	unsigned n_ports;
	struct peer *peers;
	uint64_t serial;
	struct list written; /* struct parcel that the kernel has, until the turn ends */
	bool away, dead;
	void (*left)(void *arg);
	void *left_arg;
};

static struct sim_net *the_net;
static unsigned place;

static void peer_dial(void *arg);
static void links_wake(struct links *ls);

/* ---- who is where ---- */

static struct peer *peer_find(const struct links *ls, uint64_t id)
{
	struct peer *p;
	HASH_FIND(hh, ls->peers, &id, sizeof id, p);
	return p;
}

/* The process that the end is of, if it is still the same. */
static struct links *end_links(const struct wire *w, unsigned e)
{
	struct links *ls = w->net->hosts[w->e[e].host].links;
	return ls != NULL && ls->birth == w->e[e].birth ? ls : NULL;
}

static struct peer *end_peer(const struct wire *w, unsigned e)
{
	struct links *ls = end_links(w, e);
	if (ls == NULL)
		return NULL;
	for (struct peer *p = ls->peers; p != NULL; p = p->hh.next)
		if (p->wire == w)
			return p;
	return NULL;
}

static uint64_t delay(struct sim_net *net)
{
	return sim_between(net->sim, net->o.delay_min_us, net->o.delay_max_us);
}

static bool reaches(const struct sim_net *net, unsigned from, unsigned to)
{
	return !net->cut[from][to] && !net->hosts[from].dark && !net->hosts[to].dark;
}

/* ---- down ---- */

static void packet_free(struct packet *k)
{
	list_remove(&k->link);
	list_remove(&k->order);
	blob_unref(k->blob);
	mem_free(k);
}

static void lose(struct packet *k)
{
	uint64_t *torn = &k->wire->e[k->from].torn[k->lane];
	if (*torn == 0 || k->no < *torn)
		*torn = k->no;
	packet_free(k);
}

static void lose_held(struct end *e)
{
	struct list *node;
	while ((node = list_pop(&e->held)) != NULL)
		lose(LIST_ENTRY(node, struct packet, link));
}

static void lose_stuck(struct end *e)
{
	struct list *node;
	for (unsigned lane = 0; lane < LANES; lane++)
		while ((node = list_pop(&e->stuck[lane])) != NULL) {
			struct parcel *p = LIST_ENTRY(node, struct parcel, link);
			p->done(p, true);
		}
}

static void peer_redial(struct peer *p, unsigned delay_ms)
{
	if (!p->links->away && !p->links->dead)
		timer_set(p->redial, delay_ms + sim_random(p->links->net->sim) % (delay_ms / 4 + 1));
}

static void look_at_silence(struct wire *w, unsigned e);

/* That process sees the link no more. */
static void end_down(struct wire *w, unsigned e, enum link_end why, bool refused)
{
	struct peer *p = w->e[e].up ? end_peer(w, e) : NULL;
	if (!w->e[e].up)
		return;
	w->e[e].up = false;
	lose_stuck(&w->e[e]);
	lose_held(&w->e[e]);
	look_at_silence(w, e);
	struct links *ls = end_links(w, e);
	if (ls == NULL || p == NULL)
		return;
	p->wire = NULL;
	p->since_ms = ls->worker->now_ms;
	p->refused = refused;
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_down(ls->ports[i], p->id, p->incarnation, why);
	peer_redial(p, ls->node_id < p->id ? 0 : YIELD_MS);
	links_wake(ls);
}

static void on_closed_by_peer(void *arg, uint64_t e)
{
	struct wire *w = arg;
	if (reaches(w->net, w->e[!(e & 1)].host, w->e[e & 1].host))
		end_down(w, e & 1, LINK_CLOSED, e >> 1);
}

/* What one end does to the connection reaches the other if anything does. */
static void tell_other(struct wire *w, unsigned e, bool refused)
{
	sim_after(w->net->sim, delay(w->net), on_closed_by_peer, w,
		(uint64_t)!e | (refused ? 2 : 0));
}

/* Nothing of what the end `number & 1` sends has arrived for the whole time. */
static void on_silence(void *arg, uint64_t number)
{
	struct wire *w = arg;
	unsigned e = number & 1;
	if (!w->e[e].silent || w->e[e].quiet != number >> 1 || !w->e[!e].up)
		return;
	end_down(w, !e, LINK_SILENT, false);
	tell_other(w, !e, false);
}

/* A process that has ended, or given the link up, says nothing more either. */
static void look_at_silence(struct wire *w, unsigned e)
{
	bool silent = !reaches(w->net, w->e[e].host, w->e[!e].host) || !w->e[e].up ||
		      end_links(w, e) == NULL;
	if (silent == w->e[e].silent)
		return;
	w->e[e].silent = silent;
	w->e[e].quiet++;
	uint64_t us = w->net->o.silence_ms * 1000;
	if (silent)
		sim_after(w->net->sim, us + sim_random(w->net->sim) % (us / 8 + 1), on_silence, w,
			w->e[e].quiet << 1 | e);
}

/* ---- messages ---- */

static int worker_of(const struct links *ls, const struct envelope *e)
{
	switch (e->kind) {
	case ENVELOPE_RAFT:
	case ENVELOPE_SECTION:
		return (int)(e->group % ls->n_ports);
	case ENVELOPE_EVENTS:
	case ENVELOPE_REPLY:
		return e->worker < ls->n_ports ? e->worker : -1;
	case ENVELOPE_CATALOG:
	case ENVELOPE_CALL:
		return 0;
	default:
		return -1;
	}
}

static void arrive(struct packet *k)
{
	struct wire *w = k->wire;
	unsigned to = !k->from;
	struct links *ls = end_links(w, to);
	struct peer *p = w->e[to].up ? end_peer(w, to) : NULL;
	struct envelope e;
	int no = ls != NULL && p != NULL && envelope_get(&e, k->blob->data, k->n)
			 ? worker_of(ls, &e)
			 : -1;
	if (no >= 0) {
		w->net->delivered++;
		link_port_put_message(ls->ports[no], p->id, w->e[to].serial, k->blob, k->n);
		links_wake(ls);
		k->blob = NULL;
	}
	packet_free(k);
}

/* In the order of sending, whatever held up which of them; after one that is lost none. */
static void receive(struct wire *w, unsigned from, enum lane lane)
{
	struct end *e = &w->e[from];
	while (!list_empty(&e->way[lane])) {
		struct packet *k = LIST_ENTRY(e->way[lane].next, struct packet, order);
		if (!k->here)
			return;
		if (e->torn[lane] != 0 && k->no > e->torn[lane])
			packet_free(k);
		else
			arrive(k);
	}
}

/* One that was under way already goes before those that were sent since. */
static void hold(struct packet *k)
{
	struct list *held = &k->wire->e[k->from].held, *at = held;
	while (at->prev != held && LIST_ENTRY(at->prev, struct packet, link)->no > k->no)
		at = at->prev;
	list_push_back(at, &k->link);
}

static void send_stuck(struct wire *w, unsigned e, enum lane lane);

static void on_arrive(void *arg, uint64_t number)
{
	struct packet *k = arg;
	struct wire *w = k->wire;
	(void)number;
	if (reaches(w->net, w->e[k->from].host, w->e[!k->from].host)) {
		unsigned from = k->from;
		enum lane lane = k->lane;
		w->e[from].written[lane] -= k->n;
		k->here = true;
		receive(w, from, lane);
		send_stuck(w, from, lane);
	} else if (w->e[k->from].up) {
		hold(k);
	} else {
		unsigned from = k->from;
		enum lane lane = k->lane;
		lose(k);
		receive(w, from, lane);
	}
}

static void dispatch(struct packet *k)
{
	struct sim_net *net = k->wire->net;
	struct end *e = &k->wire->e[k->from];
	const struct sim_way *way = &net->way[e->host][k->wire->e[!k->from].host];
	uint64_t at = net->sim->now_us + delay(net) + way->delay_us;
	if (sim_random(net->sim) % 1000 < net->o.loss_permille + way->loss_permille)
		e->free_us = at + RESENT_US;
	if (at < e->free_us)
		at = e->free_us;
	if (at < e->last_us[k->lane])
		at = e->last_us[k->lane];
	if (net->o.bytes_per_ms > 0)
		at += k->n * 1000 / net->o.bytes_per_ms;
	e->last_us[k->lane] = at;
	sim_after(net->sim, at - net->sim->now_us, on_arrive, k, 0);
}

static struct packet *packet_of(struct wire *w, unsigned from, const struct parcel *p)
{
	const struct net_message *m = p->m;
	struct packet *k = MEM_NEW(struct packet);
	*k = (struct packet){
		.wire = w, .from = from, .lane = p->lane, .no = ++w->e[from].packets};
	list_init(&k->link);
	list_init(&k->order);
	list_push_back(&w->e[from].way[p->lane], &k->order);
	k->blob = blob_new(parcel_size(p));
	memcpy(k->blob->data, p->envelope, ENVELOPE_SIZE);
	k->n = ENVELOPE_SIZE;
	if (m->head.n > 0)
		memcpy(k->blob->data + k->n, m->head.p, m->head.n);
	k->n += m->head.n;
	for (unsigned i = 0; i < m->n_parts; i++) {
		if (m->parts[i].n > 0)
			memcpy(k->blob->data + k->n, m->parts[i].p, m->parts[i].n);
		k->n += m->parts[i].n;
	}
	assert(k->n == parcel_size(p));
	w->e[from].written[p->lane] += k->n;
	return k;
}

static void send_parcel(struct links *ls, struct wire *w, unsigned e, struct parcel *p)
{
	struct sim_net *net = w->net;
	bool through = reaches(net, w->e[e].host, w->e[!e].host);
	bool full = !list_empty(&w->e[e].stuck[p->lane]) || w->e[e].written[p->lane] >= KERNEL_BYTES;
	if (full || (!through && sim_chance(net->sim, STUCK_PERCENT))) {
		list_push_back(&w->e[e].stuck[p->lane], &p->link);
		return;
	}
	list_push_back(&ls->written, &p->link);
	if (p->lane == LANE_RAFT && sim_random(net->sim) % 1000 < net->o.raft_permille)
		return;
	struct packet *k = packet_of(w, e, p);
	if (through && list_empty(&w->e[e].held))
		dispatch(k);
	else
		hold(k);
}

/* There may be room again. */
static void send_stuck(struct wire *w, unsigned e, enum lane lane)
{
	struct list stuck, *node;
	struct links *ls = end_links(w, e);
	if (list_empty(&w->e[e].stuck[lane]))
		return;
	list_init(&stuck);
	list_move_all(&stuck, &w->e[e].stuck[lane]);
	while ((node = list_pop(&stuck)) != NULL)
		send_parcel(ls, w, e, LIST_ENTRY(node, struct parcel, link));
	if (ls != NULL)
		links_wake(ls);
}

/* Things get through again. */
static void release(struct wire *w, unsigned e)
{
	struct list *node;
	while ((node = list_pop(&w->e[e].held)) != NULL)
		dispatch(LIST_ENTRY(node, struct packet, link));
	for (unsigned lane = 0; lane < LANES; lane++)
		send_stuck(w, e, lane);
}

/* ---- connecting ---- */

static bool is_preferred(const struct wire *w, const struct links *from, const struct links *to)
{
	return (from->node_id < to->node_id) == (end_links(w, 0) == from);
}

static void peer_failed(struct peer *p, bool refused)
{
	p->dialled = NULL;
	p->refused = refused;
	p->stranger = false;
	p->delay_ms = p->delay_ms == 0 ? REDIAL_MIN_MS : p->delay_ms * 2;
	if (p->delay_ms > REDIAL_MAX_MS)
		p->delay_ms = REDIAL_MAX_MS;
	peer_redial(p, p->delay_ms);
}

static void end_up(struct wire *w, unsigned e)
{
	struct links *ls = end_links(w, e), *other = end_links(w, !e);
	struct peer *p = ls != NULL && other != NULL ? peer_find(ls, other->node_id) : NULL;
	if (p == NULL || ls->away) {
		tell_other(w, e, true);
		return;
	}
	if (p->wire != NULL) {
		tell_other(p->wire, p->end, false);
		end_down(p->wire, p->end, LINK_CLOSED, false);
	}
	w->e[e].up = true;
	w->e[e].serial = ++ls->serial;
	p->wire = w;
	p->end = e;
	p->dialled = NULL;
	p->incarnation = other->incarnation;
	p->since_ms = ls->worker->now_ms;
	p->delay_ms = 0;
	p->refused = p->stranger = false;
	timer_stop(p->redial);
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_up(ls->ports[i], p->id, p->incarnation, w->e[e].serial);
	unsigned here = w->e[e].host, there = w->e[!e].host;
	uint64_t ways_us = ls->net->way[here][there].delay_us + ls->net->way[there][here].delay_us;
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_round_trip(ls->ports[i], p->id, (unsigned)((2 * ls->net->o.delay_min_us + ways_us) / 1000));
	look_at_silence(w, 0);
	look_at_silence(w, 1);
	links_wake(ls);
}

/* The dialler learns that its proof was taken. */
static void on_dialler_up(void *arg, uint64_t number)
{
	struct wire *w = arg;
	(void)number;
	const struct links *from = end_links(w, 0);
	if (w->e[1].up && from != NULL && from->incarnation == w->incarnation && reaches(w->net, w->e[1].host, w->e[0].host)) {
		end_up(w, 0);
		if (w->e[0].up && !reaches(w->net, w->e[0].host, w->e[1].host))
			look_at_silence(w, 0);
	} else {
		struct links *ls = end_links(w, 0);
		for (struct peer *p = ls != NULL ? ls->peers : NULL; p != NULL; p = p->hh.next)
			if (p->dialled == w)
				peer_failed(p, false);
		end_down(w, 1, LINK_CLOSED, false);
	}
}

static bool admits(const struct wire *w, const struct links *ls, const struct links *from)
{
	const struct peer *p = peer_find(ls, from->node_id);
	bool clusters = ls->cluster_id == 0 || from->cluster_id == 0 ||
			ls->cluster_id == from->cluster_id;
	if (p == NULL || !clusters)
		return false;
	if (p->wire == NULL || from->incarnation > p->incarnation)
		return true;
	return from->incarnation == p->incarnation &&
	       (is_preferred(w, from, ls) || !is_preferred(p->wire, from, ls));
}

/* The dialler's greeting and proof are there. */
static void on_accepted(void *arg, uint64_t id)
{
	struct wire *w = arg;
	struct links *from = end_links(w, 0), *to = w->net->hosts[w->e[1].host].links;
	struct peer *p = from != NULL ? peer_find(from, id) : NULL;
	if (p == NULL || p->dialled != w)
		return;
	if (p->wire != NULL || from->away) {
		p->dialled = NULL;
	} else if (from->incarnation != w->incarnation) {
		peer_failed(p, false);
	} else if (to == NULL) {
		peer_failed(p, true);
	} else if (!reaches(w->net, w->e[0].host, w->e[1].host) ||
		   !reaches(w->net, w->e[1].host, w->e[0].host)) {
		peer_failed(p, false);
	} else if (to->away || to->node_id != p->id || !admits(w, to, from)) {
		peer_failed(p, to->away);
		p->stranger = !to->away && to->node_id == p->id && peer_find(to, from->node_id) == NULL;
	} else {
		w->e[1].birth = to->birth;
		end_up(w, 1);
		sim_after(w->net->sim, delay(w->net), on_dialler_up, w, 0);
	}
}

static unsigned host_of(const char *address)
{
	unsigned host = (unsigned)strtoul(address, NULL, 10);
	assert(host < SIM_HOSTS);
	return host;
}

static void end_init(struct end *e, unsigned host, uint64_t birth)
{
	*e = (struct end){.host = host, .birth = birth};
	for (unsigned lane = 0; lane < LANES; lane++) {
		list_init(&e->stuck[lane]);
		list_init(&e->way[lane]);
	}
	list_init(&e->held);
}

static void peer_dial(void *arg)
{
	struct peer *p = arg;
	struct links *ls = p->links;
	struct sim_net *net = ls->net;
	if (p->wire != NULL || p->dialled != NULL || ls->away || ls->dead)
		return;
	struct wire *w = MEM_NEW(struct wire);
	w->net = net;
	w->incarnation = ls->incarnation;
	end_init(&w->e[0], ls->host, ls->birth);
	end_init(&w->e[1], host_of(p->address), 0);
	list_push_back(&net->wires, &w->link);
	p->dialled = w;
	sim_after(net->sim, delay(net) + delay(net) + delay(net), on_accepted, w, p->id);
}

/* ---- src/cluster/links.h ---- */

struct links *links_new(const struct links_config *config)
{
	struct links *ls = MEM_NEW(struct links);
	ls->net = the_net;
	ls->host = place;
	ls->birth = ++the_net->births;
	ls->worker = config->worker;
	ls->name = mem_strdup(config->name);
	ls->n_ports = config->n_workers;
	assert(ls->n_ports <= PORTS_MAX);
	links_set_identity(ls, config->node_id, config->incarnation, config->cluster_id);
	list_init(&ls->written);
	the_net->hosts[place].links = ls;
	return ls;
}

static void peer_free(struct peer *p)
{
	HASH_DEL(p->links->peers, p);
	timer_free(p->redial);
	mem_free(p->name);
	mem_free(p->address);
	mem_free(p);
}

void links_free(struct links *ls)
{
	while (ls->peers != NULL)
		peer_free(ls->peers);
	if (ls->net->hosts[ls->host].links == ls)
		ls->net->hosts[ls->host].links = NULL;
	mem_free(ls->name);
	mem_free(ls);
}

static void links_wake(struct links *ls)
{
	worker_wake(ls->worker);
}

void links_add_port(struct links *ls, struct link_port *p, unsigned no)
{
	ls->ports[no] = p;
}

struct worker *links_worker(const struct links *ls)
{
	return ls->worker;
}

void links_set_identity(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id)
{
	ls->node_id = node_id;
	ls->incarnation = incarnation;
	ls->cluster_id = cluster_id;
}

void links_set_self(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id)
{
	links_set_identity(ls, node_id, incarnation, cluster_id);
	ls->away = false;
}

void links_set_cluster(struct links *ls, uint64_t cluster_id)
{
	ls->cluster_id = cluster_id;
}

void links_set_peer(struct links *ls, uint64_t id, const char *name, const char *address)
{
	struct peer *p = peer_find(ls, id);
	if (id == ls->node_id || ls->away || ls->dead)
		return;
	bool known = p != NULL && strcmp(p->address, address) == 0;
	if (p == NULL) {
		p = MEM_NEW(struct peer);
		p->links = ls;
		p->id = id;
		p->redial = timer_new(ls->worker, peer_dial, p);
		HASH_ADD(hh, ls->peers, id, sizeof p->id, p);
	}
	mem_free(p->name);
	mem_free(p->address);
	p->name = mem_strdup(name);
	p->address = mem_strdup(address);
	if (known || p->wire != NULL)
		return;
	p->dialled = NULL;
	p->delay_ms = 0;
	peer_redial(p, ls->node_id < id ? 0 : YIELD_MS);
}

/* The process gives the link up. */
static void peer_close(struct peer *p, enum link_end why, bool refused)
{
	struct wire *w = p->wire;
	unsigned e = p->end;
	if (w == NULL)
		return;
	/* What was written before arrives before the goodbye. */
	tell_other(w, e, refused);
	end_down(w, e, why, false);
}

void links_forget_peer(struct links *ls, uint64_t id)
{
	struct peer *p = peer_find(ls, id);
	if (p == NULL)
		return;
	peer_close(p, LINK_REFUSED, false);
	peer_free(p);
}

bool links_linked(const struct links *ls, uint64_t id)
{
	const struct peer *p = peer_find(ls, id);
	return p != NULL && p->wire != NULL;
}

void links_each_peer(
	const struct links *ls, void (*each)(void *arg, const struct links_peer *p), void *arg)
{
	for (const struct peer *p = ls->peers; p != NULL; p = p->hh.next)
		each(arg, &(struct links_peer){.id = p->id,
				  .name = p->name,
				  .address = p->address,
				  .up = p->wire != NULL,
				  .incarnation = p->incarnation,
				  .since_ms = p->since_ms,
				  .refused = p->refused,
				  .stranger = p->stranger,
				  .error = ""});
}

void links_send(struct links *ls, uint64_t node, uint64_t serial, struct parcel *parcel)
{
	struct peer *p = peer_find(ls, node);
	if (ls->dead || p == NULL || p->wire == NULL || p->wire->e[p->end].serial != serial)
		parcel->done(parcel, true);
	else
		send_parcel(ls, p->wire, p->end, parcel);
}

void links_seen(struct links *ls, unsigned no, size_t octets, uint64_t bad)
{
	(void)no;
	(void)octets;
	if (bad != 0)
		ls->net->garbage(ls->net->arg, ls->host);
}

bool links_flush(struct links *ls)
{
	struct list *node;
	bool did = false;
	while ((node = list_pop(&ls->written)) != NULL) {
		struct parcel *p = LIST_ENTRY(node, struct parcel, link);
		p->done(p, false);
	}
	for (unsigned i = 0; i < ls->n_ports; i++)
		did |= link_port_post(ls->ports[i], true);
	return did;
}

struct farewell {
	struct mail mail;
	struct links *links;
};

static void links_on_left(struct mail *m, struct worker *w)
{
	struct farewell *f = LIST_ENTRY(m, struct farewell, mail);
	struct links *ls = f->links;
	(void)w;
	mem_free(f);
	ls->left(ls->left_arg);
}

void links_leave(struct links *ls, void (*left)(void *arg), void *arg)
{
	struct farewell *f = MEM_NEW(struct farewell);
	ls->away = true;
	while (ls->peers != NULL) {
		peer_close(ls->peers, LINK_CLOSED, true);
		peer_free(ls->peers);
	}
	ls->left = left;
	ls->left_arg = arg;
	*f = (struct farewell){{NULL, links_on_left}, ls};
	worker_post(ls->worker, &f->mail);
}

/* ---- the network ---- */

void sim_net_init(struct sim_net *net, struct sim *sim, const struct sim_net_options *o)
{
	*net = (struct sim_net){.sim = sim, .o = *o};
	list_init(&net->wires);
	the_net = net;
}

static void lose_all(struct end *e)
{
	for (unsigned lane = 0; lane < LANES; lane++)
		while (!list_empty(&e->way[lane]))
			packet_free(LIST_ENTRY(e->way[lane].next, struct packet, order));
}

void sim_net_done(struct sim_net *net)
{
	struct list *node;
	for (size_t i = 0; i < net->sim->n; i++)
		if (net->sim->heap[i].run == on_arrive)
			packet_free(net->sim->heap[i].arg);
	while ((node = list_pop(&net->wires)) != NULL) {
		struct wire *w = LIST_ENTRY(node, struct wire, link);
		lose_all(&w->e[0]);
		lose_all(&w->e[1]);
		mem_free(w);
	}
}

void sim_net_place(struct sim_net *net, unsigned host)
{
	place = host;
	net->hosts[host].dark = false;
}

static void look_at_all(struct sim_net *net)
{
	LIST_EACH(node, &net->wires)
	{
		struct wire *w = LIST_ENTRY(node, struct wire, link);
		if (!w->e[0].up && !w->e[1].up)
			continue;
		for (unsigned e = 0; e < 2; e++) {
			look_at_silence(w, e);
			if (w->e[e].up && !w->e[e].silent)
				release(w, e);
		}
	}
}

void sim_net_cut(struct sim_net *net, unsigned from, unsigned to, bool cut)
{
	net->cut[from][to] = cut;
	look_at_all(net);
}

void sim_net_break(struct sim_net *net, unsigned a, unsigned b)
{
	LIST_EACH(node, &net->wires)
	{
		struct wire *w = LIST_ENTRY(node, struct wire, link);
		if ((w->e[0].host != a || w->e[1].host != b) && (w->e[0].host != b || w->e[1].host != a))
			continue;
		end_down(w, 0, LINK_CLOSED, false);
		end_down(w, 1, LINK_CLOSED, false);
	}
}

void sim_net_kill(struct sim_net *net, unsigned host, bool dark)
{
	struct links *ls = net->hosts[host].links;
	if (ls == NULL)
		return;
	/* To the process itself it looks as if nobody were there any more. */
	for (struct peer *p = ls->peers, *next; p != NULL; p = next) {
		struct wire *w = p->wire;
		unsigned e = p->end;
		next = p->hh.next;
		timer_stop(p->redial);
		if (w == NULL)
			continue;
		end_down(w, e, LINK_CLOSED, false);
		if (!dark)
			tell_other(w, e, false);
	}
	ls->dead = true;
	net->hosts[host].links = NULL;
	net->hosts[host].dark = dark;
	look_at_all(net);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "raft/wire.h"
#include "src/base/mem.h"

#define LIVE_MS 50

/* ---- saying --------------------------------------------------------------------------------- */

void cluster_fail(struct cluster *c, const char *fmt, ...)
{
	if (c->failed)
		return;
	c->failed = true;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->why, sizeof c->why, fmt, ap);
	va_end(ap);
	if (c->o.trace != NULL)
		printf("%10" PRIu64 " FAILED %s\n", c->sim.now_us, c->why);
}

void cluster_trace(struct cluster *c, const char *fmt, ...)
{
	if (c->o.trace == NULL)
		return;
	va_list ap;
	printf("%10" PRIu64 " ", c->sim.now_us);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

/* ---- the checker ---------------------------------------------------------------------------- */

/* No life has as many; somebody has lied: fuzz_wire.c. */
enum { TERMS_MAX = 1 << 20, INDEXES_MAX = 1 << 24 };

static struct known *known_at(struct cluster *c, uint64_t index)
{
	if (index >= c->n_known) {
		size_t n = 2 * index + 256;
		c->known = mem_realloc(c->known, n * sizeof *c->known);
		memset(c->known + c->n_known, 0, (n - c->n_known) * sizeof *c->known);
		c->n_known = n;
	}
	return &c->known[index];
}

static void check_applied(struct cell *cell, uint64_t index, uint64_t hash)
{
	struct cluster *c = cell->node->cluster;
	if (index >= INDEXES_MAX)
		return;
	struct known *k = known_at(c, index);
	if (k->hash == 0) {
		k->hash = hash;
		k->chain = cell->chain;
		if (index > c->max_index)
			c->max_index = index;
		return;
	}
	if (k->hash != hash)
		cluster_fail(c, "node %u applies another command at index %" PRIu64, cell->node->i,
			index);
	else if (k->chain != cell->chain)
		cluster_fail(
			c, "node %u has another state at index %" PRIu64, cell->node->i, index);
}

/* A snapshot's index may be that of an entry that is no command. */
static void check_state(struct cell *cell)
{
	struct cluster *c = cell->node->cluster;
	if (cell->last == 0 || cell->last >= INDEXES_MAX)
		return;
	const struct known *k = known_at(c, cell->last);
	if (k->hash == 0 || k->chain != cell->chain)
		cluster_fail(c, "node %u restored another state at index %" PRIu64, cell->node->i,
			cell->last);
}

static void check_leader(struct cell *cell, uint64_t term)
{
	struct cluster *c = cell->node->cluster;
	if (term >= TERMS_MAX)
		return;
	if (term >= c->n_leaders) {
		size_t n = 2 * term + 64;
		c->leaders = mem_realloc(c->leaders, n * sizeof *c->leaders);
		memset(c->leaders + c->n_leaders, 0, (n - c->n_leaders) * sizeof *c->leaders);
		c->n_leaders = n;
	}
	uint64_t id = cell->node->raft_id << 16 | (cell->node->incarnation & 0xffff);
	if (c->leaders[term] != 0 && c->leaders[term] != id)
		cluster_fail(c, "two leaders act in term %" PRIu64, term);
	c->leaders[term] = id;
}

static void confirm(struct cluster *c, uint64_t number)
{
	if (number >= c->n_confirmed_cap) {
		size_t n = 2 * number + 256;
		c->confirmed = mem_realloc(c->confirmed, n);
		memset(c->confirmed + c->n_confirmed_cap, 0, n - c->n_confirmed_cap);
		c->n_confirmed_cap = n;
	}
	c->n_confirmed += !c->confirmed[number];
	c->confirmed[number] = 1;
}

/* ---- the state machine ---------------------------------------------------------------------- */

static void cell_seal(void *arg, uint8_t *header)
{
	struct cell *cell = arg;
	store_u64le(header, sim_random(&cell->node->cluster->sim));
	store_u64le(header + 8, cell->term);
}

static void need(struct cell *cell, const struct needed *e)
{
	if (cell->n_needed == cell->cap_needed) {
		cell->cap_needed = cell->cap_needed > 0 ? 2 * cell->cap_needed : 16;
		cell->needed = mem_realloc(cell->needed, cell->cap_needed * sizeof *cell->needed);
	}
	cell->needed[cell->n_needed++] = *e;
}

static void expire(struct cell *cell, uint64_t index)
{
	size_t n = 0;
	for (size_t i = 0; i < cell->n_needed; i++) {
		if (cell->needed[i].until > index)
			cell->needed[n++] = cell->needed[i];
		else
			group_release(cell->group, cell->needed[i].index);
	}
	cell->n_needed = n;
}

static void cell_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct cell *cell = arg;
	(void)blob;
	if (cell->dead)
		return;
	struct cluster *c = cell->node->cluster;
	uint64_t hash = XXH3_64bits(p, n) | 1;
	if (index <= cell->last)
		cluster_fail(c, "node %u applies index %" PRIu64 " again", cell->node->i, index);
	cell->chain = (cell->chain ^ hash) * 0x100000001b3u + index;
	cell->last = index;
	cell->applies++;
	check_applied(cell, index, hash);
	for (size_t at = 16; at + 12 <= n;) {
		uint64_t number = load_u64le(p + at);
		cell->sum += number;
		if (cell->leading)
			confirm(c, number);
		at += 12 + load_u32le(p + at + 8);
	}
	/* Most are needed for a while, some for long. */
	if (hash % 8 != 0)
		need(cell, &(struct needed){.index = index,
				   .until = index + 1 +
					    (hash >> 8) % ((hash >> 4) % 16 == 0 ? 400 : 20),
				   .hash = hash});
	expire(cell, index);
}

static void put_live(const struct cell *cell, uint64_t previous, struct buf *live)
{
	for (size_t i = 0; i < cell->n_needed; i++) {
		struct store_range r = {.from = cell->needed[i].index, .to = cell->needed[i].index};
		while (i + 1 < cell->n_needed && cell->needed[i + 1].index == r.to + 1) {
			r.to++;
			i++;
		}
		if (r.to <= previous)
			continue;
		if (r.from <= previous)
			r.from = previous + 1;
		buf_put_bytes(live, &r, sizeof r);
	}
}

static void cell_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct cell *cell = arg;
	(void)rows;
	buf_put_u64le(data, cell->last);
	buf_put_u64le(data, cell->chain);
	buf_put_u64le(data, cell->sum);
	buf_put_u64le(data, cell->n_needed);
	for (size_t i = 0; i < cell->n_needed; i++) {
		buf_put_u64le(data, cell->needed[i].index);
		buf_put_u64le(data, cell->needed[i].until);
		buf_put_u64le(data, cell->needed[i].hash);
	}
	put_live(cell, previous, live);
	cell->snapshots++;
}

static void cell_snapshot_done(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

static bool cell_accepts(void *arg, struct slice data)
{
	struct reader r = reader_of(data);
	(void)arg;
	get_bytes(&r, 3 * sizeof(uint64_t));
	uint64_t n = get_u64le(&r);
	return !r.bad && reader_left(&r) % (3 * sizeof(uint64_t)) == 0 &&
	       reader_left(&r) / (3 * sizeof(uint64_t)) == n;
}

static int cell_restore(void *arg, uint64_t index, struct slice data)
{
	struct cell *cell = arg;
	struct reader r = reader_of(data);
	cell->last = get_u64le(&r);
	cell->chain = get_u64le(&r);
	cell->sum = get_u64le(&r);
	cell->n_needed = 0;
	uint64_t n = get_u64le(&r);
	for (uint64_t i = 0; i < n && !r.bad; i++) {
		struct needed e = {.index = get_u64le(&r)};
		e.until = get_u64le(&r);
		e.hash = get_u64le(&r);
		need(cell, &e);
	}
	cell->restores++;
	if (cell->dead)
		return r.bad ? -1 : 0;
	if (cell->group != NULL)
		cell->node->cluster->installs++;
	if (r.bad || reader_left(&r) > 0 || cell->last > index)
		cluster_fail(
			cell->node->cluster, "node %u gets a state that is none", cell->node->i);
	check_state(cell);
	return 0;
}

static void cell_live(void *arg, struct buf *live)
{
	put_live(arg, 0, live);
}

static void cell_leading(void *arg, bool yes, uint64_t term)
{
	struct cell *cell = arg;
	if (cell->dead)
		return;
	cell->leading = yes;
	cell->term = term;
	cluster_trace(cell->node->cluster, "node %u %s in term %" PRIu64, cell->node->i,
		yes ? "leads" : "leads no more", term);
	if (yes)
		check_leader(cell, term);
}

static void cell_removed(void *arg)
{
	struct cell *cell = arg;
	cell->removed = true;
	cluster_trace(cell->node->cluster, "node %u is removed", cell->node->i);
}

static void cell_closed(void *arg)
{
	struct cell *cell = arg;
	cell->closed = true;
	cell->group = NULL;
}

static const struct group_app cell_app = {
	.seal = cell_seal,
	.apply = cell_apply,
	.snapshot = cell_snapshot,
	.snapshot_done = cell_snapshot_done,
	.restore = cell_restore,
	.accepts = cell_accepts,
	.live = cell_live,
	.leading = cell_leading,
	.closed = cell_closed,
	.removed = cell_removed,
};

static void cell_free(struct cell *cell)
{
	mem_free(cell->needed);
	mem_free(cell);
}

void cluster_forge(struct node *from, struct node *to, const struct wire *w, struct slice list,
	struct slice bytes)
{
	uint8_t head[WIRE_FIXED_MAX];
	size_t n = wire_encode(head, w, list.n + bytes.n);
	struct blob *b = blob_new(n + list.n + bytes.n);
	memcpy(b->data, head, n);
	if (list.n > 0)
		memcpy(b->data + n, list.p, list.n);
	if (bytes.n > 0)
		memcpy(b->data + n + list.n, bytes.p, bytes.n);
	groups_receive(to->groups, from->id, b, b->data, n + list.n + bytes.n);
	blob_unref(b);
	node_turn(to);
}

void cluster_check_entries(struct cluster *c, unsigned each)
{
	for (unsigned i = 0; i < c->o.nodes; i++) {
		struct cell *cell = c->nodes[i].up ? c->nodes[i].cell : NULL;
		if (cell == NULL || cell->group == NULL || cell->dead)
			continue;
		/* An entry may be gone that was released, here or by the leader that sent the
		 * state, by a command that this member has not applied (again). */
		if (cell->last < c->max_index)
			continue;
		for (unsigned k = 0; k < each && cell->n_needed > 0; k++) {
			const struct needed *e =
				&cell->needed[sim_random(&c->sim) % cell->n_needed];
			struct blob *blob;
			const uint8_t *p;
			size_t n;
			int rv = group_fetch(cell->group, e->index, &blob, &p, &n);
			if (rv != 0) {
				cluster_fail(c,
					"node %u has lost entry %" PRIu64 ", which it needs", i,
					e->index);
				return;
			}
			if ((XXH3_64bits(p, n) | 1) != e->hash)
				cluster_fail(c, "node %u has another entry %" PRIu64, i, e->index);
			blob_unref(blob);
		}
	}
}

/* ---- links ---------------------------------------------------------------------------------- */

struct packet {
	struct cluster *cluster;
	unsigned from, to;
	uint64_t epoch;
	struct blob *blob;
	size_t n;
};

static void deliver(void *arg, uint64_t number)
{
	struct packet *k = arg;
	struct cluster *c = k->cluster;
	struct node *n = &c->nodes[k->to];
	(void)number;
	if (k->epoch == c->epoch[k->from][k->to] && !c->cut[k->from][k->to] && n->up) {
		n->received++;
		if (c->spoil != NULL)
			c->spoil(c, n, k->blob->data, k->n);
		if (groups_receive(n->groups, c->nodes[k->from].id, k->blob, k->blob->data, k->n) !=
			0)
			cluster_fail(c, "node %u does not understand a message", k->to);
		node_turn(n);
	}
	blob_unref(k->blob);
	mem_free(k);
}

static void lose(struct list *list)
{
	struct list *node;
	while ((node = list_pop(list)) != NULL) {
		struct net_message *m = LIST_ENTRY(node, struct net_message, link);
		m->done(m, true);
	}
}

static void on_handed(void *arg, uint64_t incarnation)
{
	struct node *n = arg;
	struct list due, refused;
	struct list *node;
	if (incarnation != n->incarnation || !n->up)
		return;
	list_init(&due);
	list_init(&refused);
	list_move_all(&due, &n->handed);
	list_move_all(&refused, &n->refused);
	while ((node = list_pop(&due)) != NULL) {
		struct net_message *m = LIST_ENTRY(node, struct net_message, link);
		m->done(m, false);
	}
	lose(&refused);
	node_turn(n);
}

/* The kind and the fixed part of a message are in its head. */
static bool watched(struct cluster *c, struct node *from, struct node *to, struct net_message *m)
{
	struct wire w;
	if (c->watch == NULL)
		return false;
	uint8_t *all = mem_alloc(m->n);
	size_t n = m->head.n;
	memcpy(all, m->head.p, n);
	for (unsigned i = 0; i < m->n_parts; i++) {
		memcpy(all + n, m->parts[i].p, m->parts[i].n);
		n += m->parts[i].n;
	}
	if (wire_decode(&w, slice_make(all, n)) != 0)
		cluster_fail(c, "node %u sends what is no message", from->i);
	bool lost = !c->failed && c->watch(c, from, to, &w, n);
	mem_free(all);
	return lost;
}

static void link_take(struct node *n, unsigned t, struct net_message *m);

/* A thin link is done with one message: the next one. */
static void on_thin(void *arg, uint64_t pair)
{
	struct cluster *c = arg;
	unsigned from = pair / NODES_MAX, to = pair % NODES_MAX;
	struct list *node = list_pop(&c->nodes[from].stuck[to]);
	if (node != NULL)
		link_take(&c->nodes[from], to, LIST_ENTRY(node, struct net_message, link));
	node_turn(&c->nodes[from]);
}

/* Whether a thin link is busy; if not, it is with this message from now on. */
static bool takes_time(struct cluster *c, unsigned from, unsigned to, size_t n)
{
	uint64_t now = c->sim.now_us, *free = &c->free_us[from][to];
	if (c->thin[from][to] == 0)
		return false;
	if (now < *free)
		return true;
	*free = now + n * 1000 / c->thin[from][to] + 1;
	sim_after(&c->sim, *free - now, on_thin, c, from * NODES_MAX + to);
	return false;
}

static void hand_soon(struct node *n)
{
	if (list_empty(&n->handed) && list_empty(&n->refused))
		sim_after(&n->cluster->sim, 50, on_handed, n, n->incarnation);
}

static void node_send(void *arg, uint64_t to, struct net_message *m)
{
	struct node *n = arg;
	struct cluster *c = n->cluster;
	unsigned t = (unsigned)to - 1, refuses = m->urgent ? 0 : c->refuse_permille[n->i][t];
	if (!n->up || refuses == 0 || sim_random(&c->sim) % 1000 >= refuses) {
		link_take(n, t, m);
		return;
	}
	hand_soon(n);
	list_push_back(&n->refused, &m->link);
}

static void link_take(struct node *n, unsigned t, struct net_message *m)
{
	struct cluster *c = n->cluster;
	n->sent++;
	if (n->up && c->full[n->i][t]) {
		list_push_back(&n->stuck[t], &m->link);
		return;
	}
	if (n->up && (c->cut[n->i][t] || !c->nodes[t].up) && sim_chance(&c->sim, 50)) {
		list_push_back(&n->stuck[t], &m->link); /* until the link is given up */
		return;
	}
	if (n->up && takes_time(c, n->i, t, m->n)) {
		list_push_back(&n->stuck[t], &m->link);
		return;
	}
	c->octets[n->i][t] += m->n;
	hand_soon(n);
	list_push_back(&n->handed, &m->link);
	if (!n->up || c->cut[n->i][t] || sim_random(&c->sim) % 1000 < c->o.loss_permille)
		return;
	if (watched(c, n, &c->nodes[t], m))
		return;
	struct packet *k = mem_alloc(sizeof *k);
	*k = (struct packet){.cluster = c, .from = n->i, .to = t, .epoch = c->epoch[n->i][t]};
	k->blob = blob_new(m->n);
	memcpy(k->blob->data, m->head.p, m->head.n);
	k->n = m->head.n;
	for (unsigned i = 0; i < m->n_parts; i++) {
		memcpy(k->blob->data + k->n, m->parts[i].p, m->parts[i].n);
		k->n += m->parts[i].n;
	}
	uint64_t at = c->sim.now_us + sim_between(&c->sim, c->o.delay_min_us, c->o.delay_max_us) +
		      c->far_us[n->i][t];
	if (c->thin[n->i][t] != 0)
		at += c->free_us[n->i][t] - c->sim.now_us;
	if (!c->o.unordered && at < c->last_at[n->i][t])
		at = c->last_at[n->i][t];
	c->last_at[n->i][t] = at;
	sim_after(&c->sim, at - c->sim.now_us, deliver, k, 0);
}

static void on_link_up(void *arg, uint64_t pair)
{
	struct cluster *c = arg;
	unsigned a = pair / NODES_MAX, b = pair % NODES_MAX;
	if (!c->nodes[a].up || !c->nodes[b].up || c->cut[a][b] || c->cut[b][a] ||
		(c->linked[a][b] && c->linked[b][a]))
		return;
	/* Whoever still believes in a former link is told by the new one: groups_link_up(). */
	lose(&c->nodes[a].stuck[b]);
	lose(&c->nodes[b].stuck[a]);
	c->linked[a][b] = c->linked[b][a] = true;
	c->epoch[a][b]++;
	c->epoch[b][a]++;
	groups_link_up(c->nodes[a].groups, c->nodes[b].id, c->nodes[b].incarnation);
	groups_link_up(c->nodes[b].groups, c->nodes[a].id, c->nodes[a].incarnation);
	unsigned round_trip_ms = (unsigned)((2 * c->o.delay_min_us + c->far_us[a][b] + c->far_us[b][a]) / 1000);
	groups_link_round_trip(c->nodes[a].groups, c->nodes[b].id, round_trip_ms);
	groups_link_round_trip(c->nodes[b].groups, c->nodes[a].id, round_trip_ms);
	node_turn(&c->nodes[a]);
	node_turn(&c->nodes[b]);
}

static void connect_soon(struct cluster *c, unsigned a, unsigned b)
{
	if (a != b)
		sim_after(&c->sim, sim_between(&c->sim, 5000, 50000) + 4 * c->far_us[a][b], on_link_up, c,
			a * NODES_MAX + b);
}

/* What node a knows. */
static void link_down(struct cluster *c, unsigned a, unsigned b)
{
	if (!c->linked[a][b])
		return;
	c->linked[a][b] = false;
	c->epoch[a][b]++;
	if (!c->nodes[a].up)
		return;
	lose(&c->nodes[a].stuck[b]);
	groups_link_down(c->nodes[a].groups, c->nodes[b].id);
	node_turn(&c->nodes[a]);
}

void cluster_full_link(struct cluster *c, unsigned from, unsigned to, bool full)
{
	struct list waits, *node;
	c->full[from][to] = full;
	if (full)
		return;
	list_init(&waits);
	list_move_all(&waits, &c->nodes[from].stuck[to]);
	while ((node = list_pop(&waits)) != NULL)
		link_take(&c->nodes[from], to, LIST_ENTRY(node, struct net_message, link));
}

void cluster_break_link(struct cluster *c, unsigned a, unsigned b)
{
	link_down(c, a, b);
	link_down(c, b, a);
	connect_soon(c, a, b);
}

/* A link without signs of life is given up. */
static void on_silence(void *arg, uint64_t pair)
{
	struct cluster *c = arg;
	unsigned a = pair / NODES_MAX, b = pair % NODES_MAX;
	if (c->cut[a][b] || c->cut[b][a] || !c->nodes[a].up || !c->nodes[b].up) {
		link_down(c, a, b);
		link_down(c, b, a);
	} else if (!list_empty(&c->nodes[a].stuck[b]) || !list_empty(&c->nodes[b].stuck[a])) {
		link_down(c, a, b); /* what was stuck is lost, and that breaks a link */
		link_down(c, b, a);
	}
	connect_soon(c, a, b);
}

static void silence(struct cluster *c, unsigned a, unsigned b, uint64_t min_us, uint64_t max_us)
{
	sim_after(&c->sim, sim_between(&c->sim, min_us, max_us), on_silence, c, a * NODES_MAX + b);
}

void cluster_cut(struct cluster *c, unsigned from, unsigned to, bool cut)
{
	c->cut[from][to] = cut;
	if (!cut && c->linked[from][to])
		silence(c, from, to, 1000, 200000); /* or the link recovers: connect_soon() */
	if (cut)
		silence(c, from, to, 500000, 3000000);
	else
		connect_soon(c, from, to);
}

void cluster_isolate(struct cluster *c, unsigned i, bool cut)
{
	for (unsigned k = 0; k < c->o.nodes; k++)
		if (k != i) {
			cluster_cut(c, i, k, cut);
			cluster_cut(c, k, i, cut);
		}
}

void cluster_heal(struct cluster *c)
{
	for (unsigned a = 0; a < c->o.nodes; a++)
		for (unsigned b = 0; b < c->o.nodes; b++)
			if (a != b)
				cluster_cut(c, a, b, false);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static uint64_t node_now(void *arg)
{
	return sim_now_ms(&((struct node *)arg)->cluster->sim);
}

static uint32_t node_random(void *arg)
{
	return (uint32_t)sim_random(&((struct node *)arg)->cluster->sim);
}

void node_turn(struct node *n)
{
	bool any;
	if (n->groups == NULL)
		return;
	do {
		any = store_port_poll(&n->port) > 0;
		any |= groups_flush(n->groups);
	} while (any);
	sim_disk_flush(&n->disk);
}

static void on_ready(void *arg)
{
	node_turn(arg);
}

static void on_tick(void *arg, uint64_t incarnation)
{
	struct node *n = arg;
	if (!n->up || incarnation != n->incarnation)
		return;
	groups_tick(n->groups);
	node_turn(n);
	sim_after(&n->cluster->sim, LIVE_MS * 1000, on_tick, n, incarnation);
}

static uint64_t raft_id_of(const struct node *n)
{
	return n->generation > 0 ? n->id | n->generation << 16 : n->id;
}

/* Opens the member over what the disk holds; bootstraps it if it is one of the first. */
static void open_member(struct node *n)
{
	struct cluster *c = n->cluster;
	struct group_member first[NODES_MAX];
	for (unsigned i = 0; i < c->o.voters; i++)
		first[i] = (struct group_member){.id = i + 1, .node = i + 1, .voter = true};
	unsigned n_first = n->generation == 0 && n->i < c->o.voters ? c->o.voters : 0;
	n->raft_id = raft_id_of(n);
	if (n->alone) {
		first[0] = (struct group_member){.id = n->raft_id, .node = n->id, .voter = true};
		n_first = 1;
	}
	n->cell = MEM_NEW(struct cell);
	n->cell->node = n;
	struct group_spec spec = {
		.id = THE_GROUP,
		.self = n->raft_id,
		.members = first,
		.n_members = n_first,
		.alone = n->alone,
		.apart = n->apart,
		.preferred = c->o.preferred,
		.prompt = c->o.prompt,
		.log = sim_disk_open(&n->disk, &n->port, THE_GROUP),
		.app = &cell_app,
		.arg = n->cell,
	};
	if (group_open(&n->cell->group, n->groups, &spec) == 0)
		return;
	cluster_fail(c, "node %u finds a log that is none", n->i);
	cell_free(n->cell);
	n->cell = NULL;
}

void node_start(struct node *n)
{
	struct cluster *c = n->cluster;
	if (n->up)
		return;
	n->incarnation++;
	n->up = true;
	sim_disk_restart(&n->disk);
	store_port_init(&n->port, NULL, NULL, NULL);
	static const struct group_net no_net = {0};
	struct group_net *net = MEM_NEW(struct group_net);
	*net = no_net;
	net->send = node_send;
	net->arg = n;
	n->groups = groups_new(&(struct groups_config){
		.port = &n->port,
		.now_ms = node_now,
		.random = node_random,
		.arg = n,
		.cache_bytes = 64 * 1024,
		.net = net,
		.heartbeat_ms = c->o.heartbeat_ms,
		.election_ms = c->o.election_ms,
		.freeze_after_ms = c->o.freeze_after_ms,
		.snapshot_entries =
			n->snapshot_entries != 0 ? n->snapshot_entries : c->o.snapshot_entries,
		.trailing_entries = c->o.trailing_entries,
		.laggard_bytes = c->o.laggard_bytes,
		.state_max = c->o.state_max,
		.rules_off = c->o.off,
	});
	cluster_trace(c, "node %u starts", n->i);
	if (sim_disk_has(&n->disk, THE_GROUP) || n->i < c->o.voters || n->generation > 0)
		open_member(n);
	sim_after(&c->sim, sim_between(&c->sim, 0, LIVE_MS * 1000), on_tick, n, n->incarnation);
	for (unsigned k = 0; k < c->o.nodes; k++)
		connect_soon(c, n->i, k);
	node_turn(n);
}

static void lose_handed(struct node *n)
{
	lose(&n->handed);
	lose(&n->refused);
	for (unsigned k = 0; k < NODES_MAX; k++)
		lose(&n->stuck[k]);
}

static void free_config(struct node *n, const struct group_net *net)
{
	groups_free(n->groups);
	mem_free((void *)net);
	n->groups = NULL;
	store_port_done(&n->port);
}

static void close_all(struct node *n)
{
	const struct group_net *net = groups_net(n->groups);
	if (n->cell != NULL)
		group_close(n->cell->group, false);
	while (groups_count(n->groups) > 0) {
		node_turn(n);
		lose_handed(n);
	}
	lose_handed(n);
	free_config(n, net);
	if (n->cell != NULL)
		cell_free(n->cell);
	n->cell = NULL;
}

void node_crash(struct node *n, bool part)
{
	struct cluster *c = n->cluster;
	if (!n->up)
		return;
	cluster_trace(c, "node %u crashes", n->i);
	n->up = false;
	sim_disk_crash(&n->disk, part && c->o.half_commits);
	if (n->cell != NULL)
		n->cell->dead = true;
	close_all(n);
	/* The process died, not the machine. */
	bool quick = sim_chance(&c->sim, 60) || c->o.only_processes_die;
	for (unsigned k = 0; k < c->o.nodes; k++) {
		if (k == n->i)
			continue;
		c->linked[n->i][k] = false;
		c->epoch[n->i][k]++;
		uint64_t way = c->far_us[n->i][k];
		silence(c, k, n->i, way + (quick ? 100 : 500000), way + (quick ? 20000 : 3000000));
	}
}

void node_wipe(struct node *n)
{
	node_crash(n, false);
	cluster_trace(n->cluster, "node %u loses its disk", n->i);
	sim_disk_wipe(&n->disk);
	n->generation++;
}

void node_inherit(struct node *n)
{
	n->generation++;
}

void node_drop_member(struct node *n)
{
	struct cell *cell = n->cell;
	if (cell == NULL)
		return;
	n->cell = NULL;
	cell->dead = true;
	group_close(cell->group, true);
	/* Let it end on this disk without waiting for its time. */
	struct sim_disk *d = &n->disk;
	d->dead = true;
	while (!cell->closed) {
		node_turn(n);
		lose_handed(n);
		struct list *node;
		while ((node = list_pop(&d->writing)) != NULL)
			list_push_back(&d->queued, node);
	}
	d->dead = false;
	d->busy = false;
	d->life++;
	sim_disk_wipe(d);
	n->generation++;
	cell_free(cell);
}

void node_new_member(struct node *n)
{
	if (n->generation == 0)
		n->generation = 1;
	if (n->cell == NULL && n->up)
		open_member(n);
	node_turn(n);
}

uint64_t node_put(struct node *n, size_t padding)
{
	struct group *g = n->cell->group;
	uint64_t number = ++n->cluster->numbers;
	group_roll(g, 12 + padding);
	uint8_t *p = batch_put(group_batch(g), 12 + padding);
	store_u64le(p, number);
	store_u32le(p + 8, (uint32_t)padding);
	memset(p + 12, (int)number, padding);
	group_dirty(g);
	node_turn(n);
	return number;
}

/* ---- the whole ------------------------------------------------------------------------------ */

void cluster_init(struct cluster *c, const struct cluster_options *o)
{
	static bool installed;
	if (!installed)
		groups_global_init();
	installed = true;
	*c = (struct cluster){.o = *o};
	sim_init(&c->sim, o->seed);
	for (unsigned i = 0; i < o->nodes; i++) {
		struct node *n = &c->nodes[i];
		n->cluster = c;
		n->i = i;
		n->id = i + 1;
		list_init(&n->handed);
		list_init(&n->refused);
		for (unsigned k = 0; k < NODES_MAX; k++)
			list_init(&n->stuck[k]);
		sim_disk_init(&n->disk, &c->sim, on_ready, n);
		if (o->disk_max_us > 0) {
			n->disk.min_us = o->disk_min_us;
			n->disk.max_us = o->disk_max_us;
		}
	}
	for (unsigned i = 0; i < o->nodes; i++)
		node_start(&c->nodes[i]);
}

void cluster_done(struct cluster *c)
{
	c->o.trace = NULL;
	for (unsigned i = 0; i < c->o.nodes; i++) {
		node_crash(&c->nodes[i], false);
		sim_disk_done(&c->nodes[i].disk);
	}
	for (size_t i = 0; i < c->sim.n; i++) {
		if (c->sim.heap[i].run != deliver)
			continue;
		struct packet *k = c->sim.heap[i].arg;
		blob_unref(k->blob);
		mem_free(k);
	}
	sim_done(&c->sim);
	mem_free(c->known);
	mem_free(c->leaders);
	mem_free(c->confirmed);
}

void cluster_run(struct cluster *c, uint64_t ms)
{
	sim_until(&c->sim, c->sim.now_us + ms * 1000);
}

bool cluster_until(struct cluster *c, bool (*until)(struct cluster *c), uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 5) {
		if (until(c) || c->failed)
			return !c->failed;
		cluster_run(c, 5);
	}
	return until(c);
}

struct node *cluster_leader(struct cluster *c)
{
	struct node *best = NULL;
	for (unsigned i = 0; i < c->o.nodes; i++) {
		struct node *n = &c->nodes[i];
		if (!n->up || n->cell == NULL || !n->cell->leading)
			continue;
		if (best == NULL || n->cell->term > best->cell->term)
			best = n;
	}
	return best;
}

static struct node *node_of_member(struct cluster *c, const struct group_member_state *m)
{
	struct node *n = &c->nodes[m->node - 1];
	return n->up && n->cell != NULL && n->raft_id == m->id ? n : NULL;
}

bool cluster_converged(struct cluster *c)
{
	struct node *leader = cluster_leader(c);
	struct group_member_state m[NODES_MAX * 2];
	if (leader == NULL || leader->cell->last != c->max_index)
		return false;
	unsigned n = group_members(leader->cell->group, m, NODES_MAX * 2);
	for (unsigned i = 0; i < n; i++) {
		const struct node *x = node_of_member(c, &m[i]);
		if (x == NULL || x->cell->last != leader->cell->last ||
			x->cell->chain != leader->cell->chain)
			return false;
	}
	return true;
}

void cluster_describe(struct cluster *c, char *buf, size_t size)
{
	size_t at = 0;
	at += (size_t)snprintf(buf, size, "max %" PRIu64 ";", c->max_index);
	for (unsigned i = 0; i < c->o.nodes && at < size; i++) {
		const struct node *n = &c->nodes[i];
		if (!n->up)
			at += (size_t)snprintf(buf + at, size - at, " [%u down]", i);
		else if (n->cell == NULL)
			at += (size_t)snprintf(buf + at, size - at, " [%u -]", i);
		else
			at += (size_t)snprintf(buf + at, size - at,
				" [%u id %" PRIx64 "%s term %" PRIu64 " last %" PRIu64 "%s]", i,
				n->raft_id, n->cell->leading ? " leads" : "",
				group_term(n->cell->group), n->cell->last,
				group_frozen(n->cell->group) ? " frozen" : "");
	}
	const struct node *leader = cluster_leader(c);
	struct group_member_state m[NODES_MAX];
	unsigned n = leader != NULL ? group_members(leader->cell->group, m, NODES_MAX) : 0;
	for (unsigned i = 0; i < n && i < NODES_MAX && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at,
			" {%" PRIx64 "@%" PRIu64 "%s match %" PRIu64 "%s}", m[i].id, m[i].node,
			m[i].voter ? " voter" : "", m[i].match,
			m[i].installing ? " installing" : "");
}

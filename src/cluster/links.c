/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/links_priv.h"

#include <assert.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cluster/inquiry.h"
#include "src/cluster/link_port.h"
#include "src/loop/timer.h"

enum {
	TICKS_PER_HEARTBEAT = 2,
};

/* ---- messages ------------------------------------------------------------------------------- */

void links_send(struct links *ls, uint64_t node, uint64_t serial, struct parcel *parcel)
{
	struct peer *p = peer_find(ls, node);
	if (p != NULL && p->link != NULL && p->link->serial == serial) {
		link_send(p->link->link, parcel);
		contact_mark_dirty(p->link);
		return;
	}
	parcel->done(parcel, true);
	if (!ls->closed)
		return;
	for (unsigned i = 0; i < ls->n_ports; i++) /* no turn comes that would do it */
		link_port_post(ls->ports[i].port, false);
}

static void links_pause(struct links *ls, bool yes)
{
	if (yes == ls->paused)
		return;
	ls->paused = yes;
	for (struct peer *p = ls->peers; p != NULL; p = p->hh.next) {
		if (p->link != NULL && yes)
			link_pause(p->link->link);
		else if (p->link != NULL)
			link_resume(p->link->link);
	}
}

static bool some_unread_above(const struct links *ls, size_t octets)
{
	for (unsigned i = 0; i < ls->n_ports; i++)
		if (ls->ports[i].unread > octets)
			return true;
	return false;
}

static void end_bad_link(struct links *ls, uint64_t serial)
{
	for (struct peer *p = ls->peers; p != NULL; p = p->hh.next) {
		if (p->link == NULL || p->link->serial != serial)
			continue;
		log_error("cluster", "link to %s: a message that makes no sense", p->name);
		contact_close(
			p->link, LINK_REFUSED, HANDSHAKE_GARBAGE, "a message that makes no sense");
		peer_redial(p, p->delay_ms = LINKS_REDIAL_MAX_MS);
		return;
	}
}

void links_seen(struct links *ls, unsigned no, size_t octets, uint64_t bad)
{
	struct port *port = &ls->ports[no];
	port->unread -= octets;
	port->letters--;
	if (bad != 0)
		end_bad_link(ls, bad);
	if (ls->paused && !some_unread_above(ls, LINKS_UNREAD_MAX / 2))
		links_pause(ls, false);
	links_check_closed(ls);
}

static bool flush_contacts(struct links *ls)
{
	struct list now, *node;
	list_init(&now);
	list_move_all(&now, &ls->dirty);
	bool did = !list_empty(&now);
	while ((node = list_pop(&now)) != NULL) {
		struct contact *c = LIST_ENTRY(node, struct contact, dirty);
		if (link_flush(c->link))
			contact_mark_dirty(c);
	}
	return did;
}

static bool flush_ports(struct links *ls)
{
	bool did = false;
	for (unsigned i = 0; i < ls->n_ports; i++) {
		struct port *port = &ls->ports[i];
		size_t octets = link_port_incoming(port->port);
		if (!link_port_post(port->port, !ls->closed))
			continue;
		did = true;
		if (ls->closed)
			continue;
		port->unread += octets;
		port->letters++;
	}
	if (did && some_unread_above(ls, LINKS_UNREAD_MAX))
		links_pause(ls, true);
	return did;
}

bool links_flush(struct links *ls)
{
	bool did = flush_contacts(ls);
	return flush_ports(ls) || did;
}

/* ---- time ----------------------------------------------------------------------------------- */

void links_tick_soon(struct links *ls)
{
	ls->ticking = true;
	timer_set(ls->tick, ls->limits.heartbeat_ms / TICKS_PER_HEARTBEAT + 1);
}

static void links_on_tick(void *arg)
{
	struct links *ls = arg;
	uint64_t every = ls->limits.heartbeat_ms / TICKS_PER_HEARTBEAT + 1;
	worker_deliver(ls->worker); /* looks at the clock, too */
	uint64_t passed = ls->worker->now_ms - ls->ticked_ms;
	/* A turn that took so long, or a process that was stopped, has heard nobody. */
	uint64_t held = passed > 2 * every ? passed - every : 0;
	ls->ticked_ms = ls->worker->now_ms;
	ls->ticking = false;
	LIST_EACH_SAFE(node, &ls->contacts)
	{
		struct contact *c = LIST_ENTRY(node, struct contact, all);
		link_tick(c->link, held);
		contact_tell_round_trip(c);
		if (link_waiting(c->link) > 0)
			contact_mark_dirty(c);
	}
	if (!list_empty(&ls->contacts))
		links_tick_soon(ls);
}

/* ---- who we are, and asking others ---------------------------------------------------------- */

void links_inquire(struct links *ls, uint64_t node, const char *address, const char *name, struct slice request,
	unsigned timeout_ms, void (*done)(void *arg, struct slice reply, const char *why), void *arg)
{
	inquiry_new(&(struct inquiry_config){.worker = ls->worker,
			    .self = &ls->self,
			    .key = &ls->key,
			    .limits = &ls->limits,
			    .tls = &ls->tls,
			    .address = address,
			    .name = name,
			    .node = node,
			    .request = request,
			    .timeout_ms = timeout_ms,
			    .done = done,
			    .arg = arg},
		&ls->inquiries);
}

void links_set_tls(struct links *ls, struct ssl_ctx_st *tls)
{
	ls->tls = tls;
}

void links_set_identity(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id)
{
	ls->self.node_id = node_id;
	ls->self.incarnation = incarnation;
	ls->self.cluster_id = cluster_id;
}

void links_set_self(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id)
{
	links_set_identity(ls, node_id, incarnation, cluster_id);
	ls->away = false;
}

void links_set_cluster(struct links *ls, uint64_t cluster_id)
{
	ls->self.cluster_id = cluster_id;
}

/* ---- accepting ------------------------------------------------------------------------------ */

static void links_on_accepted(void *arg, int fd)
{
	struct links *ls = arg;
	if (ls->n_unproved >= LINKS_UNPROVED_MAX)
		contact_drop_oldest_unproved(ls);
	if (contact_new(ls, fd, HANDSHAKE_ACCEPTOR) != NULL)
		ls->n_unproved++;
}

int links_listen(struct links *ls, struct listener *bound, int backlog, char *err, size_t err_n)
{
	ls->listener = bound;
	return listener_start(bound, ls->worker, backlog, links_on_accepted, ls, err, err_n);
}

unsigned links_listen_port(const struct links *ls)
{
	return ls->listener != NULL ? listener_port(ls->listener) : 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct links *links_new(const struct links_config *config)
{
	struct links *ls = MEM_NEW(struct links);
	ls->worker = config->worker;
	ls->self = (struct handshake_identity){.version_min = HANDSHAKE_VERSION,
		.version_max = HANDSHAKE_VERSION,
		.node_id = config->node_id,
		.incarnation = config->incarnation,
		.cluster_id = config->cluster_id};
	snprintf(ls->self.name, sizeof ls->self.name, "%s", config->name);
	snprintf(ls->self.product, sizeof ls->self.product, "%s", config->product);
	handshake_key_make(&ls->key, config->cookie);
	ls->limits = config->limits;
	ls->tls = config->tls;
	ls->call = config->call;
	ls->arg = config->arg;
	ls->n_ports = config->n_workers;
	ls->ports = mem_zalloc(config->n_workers * sizeof *ls->ports);
	ls->tick = timer_new(ls->worker, links_on_tick, ls);
	list_init(&ls->contacts);
	list_init(&ls->dirty);
	list_init(&ls->inquiries);
	return ls;
}

void links_add_port(struct links *ls, struct link_port *p, unsigned no)
{
	assert(no < ls->n_ports && ls->ports[no].port == NULL);
	ls->ports[no].port = p;
}

struct worker *links_worker(const struct links *ls)
{
	return ls->worker;
}

void links_check_closed(struct links *ls)
{
	if (!ls->closing || ls->closed || !list_empty(&ls->contacts))
		return;
	for (unsigned i = 0; i < ls->n_ports; i++)
		if (ls->ports[i].letters > 0 || link_port_has_incoming(ls->ports[i].port))
			return; /* links_flush() posts it, and links_seen() comes back */
	ls->closed = true;
	timer_free(ls->tick);
	peers_free(ls);
	ls->closed_fn(ls->closed_arg);
}

static bool some_links_left(const struct links *ls)
{
	LIST_EACH(node, &ls->contacts)
	{
		const struct contact *c = LIST_ENTRY(node, struct contact, all);
		if (c->serial != 0 || link_role(c->link) == HANDSHAKE_DIALLER)
			return true;
	}
	return false;
}

void links_check_left(struct links *ls)
{
	void (*left)(void *arg) = ls->left_fn;
	if (left == NULL || some_links_left(ls))
		return;
	ls->left_fn = NULL;
	left(ls->left_arg);
}

struct farewell {
	struct mail mail;
	struct links *links;
};

/* Not from inside links_close() or links_leave(). */
static void links_on_farewell(struct mail *m, struct worker *w)
{
	struct farewell *f = LIST_ENTRY(m, struct farewell, mail);
	(void)w;
	links_check_closed(f->links);
	links_check_left(f->links);
	mem_free(f);
}

static void links_post_farewell(struct links *ls)
{
	struct farewell *f = MEM_NEW(struct farewell);
	*f = (struct farewell){{NULL, links_on_farewell}, ls};
	worker_post(ls->worker, &f->mail);
}

void links_leave(struct links *ls, void (*left)(void *arg), void *arg)
{
	struct peer *p, *next;
	char text[HANDSHAKE_TEXT_MAX + 1];
	ls->away = true;
	ls->left_fn = left;
	ls->left_arg = arg;
	snprintf(text, sizeof text, "the app of %.200s stops", ls->self.name);
	HASH_ITER(hh, ls->peers, p, next)
	{
		peer_stop_dialling(p, NULL);
		if (p->link != NULL)
			contact_close(p->link, LINK_CLOSED, HANDSHAKE_BUSY, text);
		HASH_DEL(ls->peers, p);
		peer_free(p);
	}
	links_post_farewell(ls);
}

void links_close(struct links *ls, void (*closed)(void *arg), void *arg)
{
	char text[HANDSHAKE_TEXT_MAX + 1];
	ls->closing = true;
	ls->closed_fn = closed;
	ls->closed_arg = arg;
	snprintf(text, sizeof text, "%.200s stops", ls->self.name);
	if (ls->listener != NULL)
		listener_close(ls->listener);
	ls->listener = NULL;
	inquiries_end(&ls->inquiries, "this node stops");
	for (struct peer *p = ls->peers; p != NULL; p = p->hh.next)
		peer_stop_dialling(p, NULL);
	LIST_EACH_SAFE(node, &ls->contacts)
	{
		contact_close(
			LIST_ENTRY(node, struct contact, all), LINK_CLOSED, HANDSHAKE_BUSY, text);
	}
	links_post_farewell(ls);
}

void links_free(struct links *ls)
{
	handshake_key_wipe(&ls->key);
	mem_free(ls->ports);
	mem_free(ls);
}

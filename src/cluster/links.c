/* SPDX-License-Identifier: Apache-2.0
 *
 * A contact is a connection, whatever comes of it; a peer is a member of the cluster, whether there
 * is a connection or not.
 *
 *   listener --> contact (accepted) --+                      +--> peer.link: up
 *                                     +-- greeting, judge() --+--> caller
 *   peer.dialer --> peer.dialled -----+                      +--> refused
 */
#include "src/cluster/links.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <uthash.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cluster/inquiry.h"
#include "src/cluster/link_port.h"
#include "src/loop/timer.h"
#include "src/net/dialer.h"

enum {
	TEXT_MAX = 512,
	TICKS_PER_HEARTBEAT = 2,
	YIELD_MS = 150,        /* so much later the node with the larger id dials */
	REPEAT_MS = 60 * 1000, /* the same refusal is not logged again before that */
};

struct peer {
	UT_hash_handle hh;
	struct links *links;
	uint64_t id;
	char *name;
	char *address;
	struct contact *link;    /* up, or NULL */
	struct contact *dialled; /* our own connection, not up yet, or NULL */
	struct dialer *dialer;   /* looks for it, or NULL */
	struct timer *redial;
	unsigned delay_ms;
	uint64_t incarnation;
	uint64_t since_ms;
	bool refused, stranger;
	char error[TEXT_MAX];
};

struct contact {
	struct list all;   /* in links.contacts, oldest first */
	struct list dirty; /* in links.dirty: link_flush() is due */
	struct links *links;
	struct link *link;
	struct peer *peer;     /* whose dialled or link it is, or NULL */
	struct caller *caller; /* or NULL */
	uint64_t serial;       /* of a link that is up, or was */
};

struct port {
	struct link_port *port;
	size_t unread;    /* octets posted and not looked at */
	unsigned letters; /* mails likewise */
};

struct links {
	struct worker *worker;
	struct handshake_identity self;
	struct handshake_key key;
	struct link_limits limits;
	struct ssl_ctx_st *tls;
	caller_fn *call;
	void *arg;
	struct port *ports;
	unsigned n_ports;
	struct listener *listener;
	struct peer *peers;
	struct list contacts, dirty;
	struct list inquiries;
	unsigned n_unproved, n_control;
	uint64_t serial; /* of the newest link */
	struct timer *tick;
	uint64_t ticked_ms;
	bool ticking;
	bool paused; /* links are not read: workers have enough to look at */
	bool closing, closed;
	bool away; /* no links are wanted */
	void (*closed_fn)(void *arg), (*left_fn)(void *arg);
	void *closed_arg, *left_arg;
	char refusal[TEXT_MAX]; /* the last one that was logged */
	uint64_t refusal_ms;
};

static void peer_redial(struct peer *p, unsigned delay_ms);
static void links_check_closed(struct links *ls);
static void links_check_left(struct links *ls);

/* ---- contacts ------------------------------------------------------------------------------- */

static const struct link_owner contact_owner;

static void links_on_tick(void *arg);

static void links_tick_soon(struct links *ls)
{
	ls->ticking = true;
	timer_set(ls->tick, ls->limits.heartbeat_ms / TICKS_PER_HEARTBEAT + 1);
}

/* NULL if the system refuses it. */
static struct contact *contact_new(struct links *ls, int fd, enum handshake_role role)
{
	struct handshake_identity self = ls->self;
	self.kind = HANDSHAKE_LINK;
	struct contact *c = MEM_NEW(struct contact);
	c->links = ls;
	c->link = link_new(ls->worker, fd, role, &self, &ls->key, &ls->limits, ls->tls,
		&contact_owner, c);
	if (c->link == NULL) {
		mem_free(c);
		return NULL;
	}
	list_push_back(&ls->contacts, &c->all);
	list_init(&c->dirty);
	if (!ls->ticking) {
		ls->ticked_ms = ls->worker->now_ms;
		links_tick_soon(ls);
	}
	return c;
}

static bool is_unproved(const struct contact *c)
{
	return link_role(c->link) == HANDSHAKE_ACCEPTOR && c->serial == 0 && c->caller == NULL;
}

static void contact_mark_dirty(struct contact *c)
{
	list_remove(&c->dirty);
	list_push_back(&c->links->dirty, &c->dirty);
}

static void contact_on_writable(void *arg, struct link *l)
{
	(void)l;
	contact_mark_dirty(arg);
}

static void tell_down(struct peer *p, enum link_end why)
{
	struct links *ls = p->links;
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_down(ls->ports[i].port, p->id, p->incarnation, why);
}

/* The contact is none of the peer's any more. */
static void contact_leave(struct contact *c, enum link_end why)
{
	struct links *ls = c->links;
	struct peer *p = c->peer;
	if (c->caller != NULL) {
		caller_free(c->caller);
		c->caller = NULL;
		ls->n_control--;
	}
	c->peer = NULL;
	if (p == NULL)
		return;
	if (p->dialled == c)
		p->dialled = NULL;
	if (p->link == c) {
		p->link = NULL;
		p->since_ms = ls->worker->now_ms;
		tell_down(p, why);
	}
}

/* We end it. */
static void contact_close(
	struct contact *c, enum link_end why, enum handshake_code code, const char *sentence)
{
	contact_leave(c, why);
	link_close(c->link, code, sentence);
}

static void contact_on_gone(void *arg, struct link *l)
{
	struct contact *c = arg;
	struct links *ls = c->links;
	(void)l;
	contact_leave(c, LINK_CLOSED);
	list_remove(&c->all);
	list_remove(&c->dirty);
	mem_free(c);
	links_check_closed(ls);
	links_check_left(ls);
}

/* ---- who is welcome ------------------------------------------------------------------------- */

static struct peer *peer_find(const struct links *ls, uint64_t id)
{
	struct peer *p;
	HASH_FIND(hh, ls->peers, &id, sizeof id, p);
	return p;
}

static enum handshake_code refuse(char *text, size_t n, enum handshake_code code, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

static enum handshake_code refuse(
	char *text, size_t n, enum handshake_code code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, n, fmt, ap);
	va_end(ap);
	return code;
}

/* Did the node with the smaller id dial it? */
static bool is_preferred(const struct contact *c)
{
	bool smaller = c->links->self.node_id < link_peer(c->link)->node_id;
	return smaller == (link_role(c->link) == HANDSHAKE_DIALLER);
}

/* Both nodes come to the same answer, whichever of the two connections they look at. */
static enum handshake_code judge_duplicate(
	const struct contact *c, const struct peer *p, char *text, size_t n)
{
	const struct handshake_identity *peer = link_peer(c->link);
	const char *self = c->links->self.name;
	const struct contact *link = p->link, *own = p->dialled;
	if (link != NULL && link != c && peer->incarnation < p->incarnation)
		return refuse(text, n, HANDSHAKE_OUTDATED, "%.100s has been started again since",
			peer->name);
	if (link != NULL && link != c && peer->incarnation == p->incarnation &&
		is_preferred(link) && !is_preferred(c))
		return refuse(text, n, HANDSHAKE_DUPLICATE, "%.100s and %.100s are linked already",
			self, peer->name);
	/* Ours wins, if it gets as far: the peer has answered it. */
	if (own != NULL && own != c && link_peer(own->link)->node_id == p->id &&
		link_peer(own->link)->incarnation == peer->incarnation && !is_preferred(c))
		return refuse(text, n, HANDSHAKE_DUPLICATE,
			"%.100s and %.100s are being linked already", self, peer->name);
	return HANDSHAKE_OK;
}

static enum handshake_code judge_link(const struct contact *c, char *text, size_t n)
{
	const struct links *ls = c->links;
	const struct handshake_identity *peer = link_peer(c->link), *self = &ls->self;
	bool dialled = link_role(c->link) == HANDSHAKE_DIALLER;
	if (ls->away)
		return refuse(text, n, HANDSHAKE_BUSY, "the app of %.100s is stopped", self->name);
	/* Meanwhile the app went down and up: the peer would take us for our former life. */
	if (link_self(c->link)->node_id != self->node_id ||
		link_self(c->link)->incarnation != self->incarnation)
		return refuse(text, n, HANDSHAKE_OUTDATED, "%.100s has been started again since",
			self->name);
	if (peer->node_id == self->node_id)
		return refuse(text, n, HANDSHAKE_SELF, "%.100s has reached itself", self->name);
	if (peer->cluster_id != 0 && self->cluster_id != 0 && peer->cluster_id != self->cluster_id)
		return refuse(text, n, HANDSHAKE_CLUSTER,
			"%.100s and %.100s belong to different clusters", self->name, peer->name);
	if (dialled && c->peer == NULL)
		return refuse(text, n, HANDSHAKE_STRANGER,
			"%.100s is no member of the cluster any more", peer->name);
	if (dialled && c->peer->id != peer->node_id)
		return refuse(text, n, HANDSHAKE_NAME,
			"%.60s dialled %.60s at %.60s, but reached %.60s%s", self->name,
			c->peer->name, c->peer->address, peer->name,
			strcmp(peer->name, c->peer->name) == 0 ? " with another identity" : "");
	const struct peer *p = peer_find(ls, peer->node_id);
	if (p == NULL)
		return refuse(text, n, HANDSHAKE_STRANGER,
			"%.100s is not a member of the cluster of %.100s", peer->name, self->name);
	return judge_duplicate(c, p, text, n);
}

static enum handshake_code judge(const struct contact *c, char *text, size_t n)
{
	const struct links *ls = c->links;
	if (ls->closing)
		return refuse(text, n, HANDSHAKE_BUSY, "%.100s is stopping", ls->self.name);
	if (link_peer(c->link)->kind == HANDSHAKE_LINK)
		return judge_link(c, text, n);
	if (ls->call == NULL || ls->n_control >= LINKS_CONTROL_MAX)
		return refuse(text, n, HANDSHAKE_BUSY, "%.100s takes no control connections now",
			ls->self.name);
	return HANDSHAKE_OK;
}

static enum handshake_code contact_admit(void *arg, struct link *l, char *text, size_t n)
{
	(void)l;
	return judge(arg, text, n);
}

/* ---- up ------------------------------------------------------------------------------------- */

static void contact_count_proved(struct contact *c)
{
	if (link_role(c->link) == HANDSHAKE_ACCEPTOR)
		c->links->n_unproved--;
}

static void peer_stop_dialling(struct peer *p, const struct contact *except)
{
	timer_stop(p->redial);
	if (p->dialer != NULL)
		dialer_cancel(p->dialer);
	p->dialer = NULL;
	if (p->dialled != NULL && p->dialled != except)
		contact_close(p->dialled, LINK_CLOSED, HANDSHAKE_DUPLICATE,
			"another connection of the two nodes stays");
}

static void contact_join(struct contact *c, struct peer *p)
{
	struct links *ls = c->links;
	const struct handshake_identity *id = link_peer(c->link);
	peer_stop_dialling(p, c);
	if (p->link != NULL)
		contact_close(p->link, LINK_CLOSED, HANDSHAKE_DUPLICATE,
			"another connection of the two nodes stays");
	p->dialled = NULL;
	p->link = c;
	c->peer = p;
	c->serial = ++ls->serial;
	p->incarnation = id->incarnation;
	p->since_ms = ls->worker->now_ms;
	p->delay_ms = 0;
	p->refused = p->stranger = false;
	p->error[0] = '\0';
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_up(ls->ports[i].port, p->id, p->incarnation, c->serial);
	if (ls->paused)
		link_pause(c->link);
	log_info("cluster", "linked with %s (Warren %s, %s)", id->name, id->product,
		link_name(c->link));
}

static void contact_on_up(void *arg, struct link *l)
{
	struct contact *c = arg;
	struct links *ls = c->links;
	char text[HANDSHAKE_TEXT_MAX + 1];
	contact_count_proved(c);
	if (link_peer(l)->kind == HANDSHAKE_CONTROL) {
		ls->n_control++;
		c->caller = caller_new(l, ls->call, ls->arg);
		return;
	}
	/* While the dialler's proof was under way, things may have changed. */
	enum handshake_code code = judge(c, text, sizeof text);
	if (code != HANDSHAKE_OK)
		contact_close(c, LINK_CLOSED, code, text);
	else
		contact_join(c, peer_find(ls, link_peer(l)->node_id));
}

static size_t contact_on_octets(void *arg, struct link *l, const uint8_t *p, size_t n)
{
	struct contact *c = arg;
	(void)l;
	return c->caller != NULL ? caller_octets(c->caller, p, n) : n;
}

/* ---- ended ---------------------------------------------------------------------------------- */

/* An accepted connection that came to nothing: one line, not one per attempt. */
static void log_refusal(struct links *ls, const char *from, const char *text)
{
	uint64_t now = ls->worker->now_ms;
	bool again = strcmp(ls->refusal, text) == 0 && now - ls->refusal_ms < REPEAT_MS;
	if (!again) {
		snprintf(ls->refusal, sizeof ls->refusal, "%s", text);
		ls->refusal_ms = now;
	}
	log_line(again ? LOG_DEBUG : LOG_WARNING, "cluster", "connection %s: %s", from, text);
}

/* An attempt of our own came to nothing. */
static void peer_failed(struct peer *p, enum handshake_code code, const char *text)
{
	bool known = strcmp(p->error, text) == 0 || code == HANDSHAKE_DUPLICATE;
	snprintf(p->error, sizeof p->error, "%s", text);
	log_line(known ? LOG_DEBUG : LOG_WARNING, "cluster", "no link to %s at %s: %s", p->name,
		p->address, text);
	p->delay_ms = p->delay_ms == 0 ? LINKS_REDIAL_MIN_MS : p->delay_ms * 2;
	if (p->delay_ms > LINKS_REDIAL_MAX_MS)
		p->delay_ms = LINKS_REDIAL_MAX_MS;
	peer_redial(p, p->delay_ms);
}

/* Whatever it was asked. */
static void end_inquiries_of(struct links *ls, uint64_t node, enum link_end why, const char *text)
{
	char sentence[TEXT_MAX + 64];
	snprintf(sentence, sizeof sentence, "the link to it was lost (%s): %s", link_end_name(why), text);
	inquiries_end_of(&ls->inquiries, node, sentence);
}

/* The node with the smaller id dials first, so that the two do not meet halfway. */
static void peer_dial_soon(struct peer *p)
{
	peer_redial(p, p->links->self.node_id < p->id ? 0 : YIELD_MS);
}

static void contact_on_ended(void *arg, struct link *l, enum link_end why, const char *text)
{
	struct contact *c = arg;
	struct peer *p = c->peer;
	bool was_link = p != NULL && p->link == c;
	if (is_unproved(c)) {
		contact_count_proved(c);
		if (link_code(l) != HANDSHAKE_DUPLICATE)
			log_refusal(c->links, link_name(l), text);
	}
	contact_leave(c, why);
	if (p == NULL)
		return;
	/* Its app is stopped, or the whole node is about to be. */
	p->refused = link_code(l) == HANDSHAKE_BUSY && link_refused_by_peer(l);
	p->stranger = link_code(l) == HANDSHAKE_STRANGER && link_refused_by_peer(l);
	if (was_link) {
		log_warning(
			"cluster", "link to %s lost (%s): %s", p->name, link_end_name(why), text);
		snprintf(p->error, sizeof p->error, "%s", text);
		if (why == LINK_REFUSED)
			peer_redial(p, p->delay_ms = LINKS_REDIAL_MAX_MS);
		else
			peer_dial_soon(p);
		end_inquiries_of(c->links, p->id, why, text);
	} else if (p->link == NULL) {
		peer_failed(p, link_code(l), text);
	}
}

/* ---- messages ------------------------------------------------------------------------------- */

/* Worker numbers of this node, or -1: nobody. */
static int worker_of(const struct links *ls, const struct envelope *e)
{
	switch (e->kind) {
	case ENVELOPE_RAFT:
	case ENVELOPE_SECTION:
		return (int)(e->group % ls->n_ports);
	case ENVELOPE_EVENTS:
	case ENVELOPE_REPLY:
		/* Of an earlier start it may have had more. */
		return e->worker < ls->n_ports ? e->worker : -1;
	case ENVELOPE_CATALOG:
	case ENVELOPE_CATALOG_ECHO:
	case ENVELOPE_CALL:
	case ENVELOPE_ALARMS:
		return 0;
	default:
		return -1; /* from a newer node */
	}
}

static bool contact_on_message(
	void *arg, struct link *l, enum lane lane, struct blob *blob, size_t n)
{
	struct contact *c = arg;
	struct links *ls = c->links;
	struct envelope e;
	(void)l;
	(void)lane;
	bool good = envelope_get(&e, blob->data, n);
	int no = good ? worker_of(ls, &e) : -1;
	if (no < 0 || c->peer == NULL)
		blob_unref(blob);
	else
		link_port_put_message(ls->ports[no].port, c->peer->id, c->serial, blob, n);
	return good;
}

static const struct link_owner contact_owner = {
	.admit = contact_admit,
	.up = contact_on_up,
	.message = contact_on_message,
	.octets = contact_on_octets,
	.writable = contact_on_writable,
	.ended = contact_on_ended,
	.gone = contact_on_gone,
};

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
		if (link_waiting(c->link) > 0)
			contact_mark_dirty(c);
	}
	if (!list_empty(&ls->contacts))
		links_tick_soon(ls);
}

/* ---- dialling ------------------------------------------------------------------------------- */

static void peer_on_dialled(void *arg, int fd, const char *why)
{
	struct peer *p = arg;
	p->dialer = NULL;
	p->refused = fd == -ECONNREFUSED;
	p->stranger = false;
	if (fd < 0) {
		peer_failed(p, HANDSHAKE_OK, why);
		return;
	}
	p->dialled = contact_new(p->links, fd, HANDSHAKE_DIALLER);
	if (p->dialled == NULL)
		peer_failed(p, HANDSHAKE_OK, "the system refuses another connection");
	else
		p->dialled->peer = p;
}

static void peer_dial(void *arg)
{
	struct peer *p = arg;
	struct links *ls = p->links;
	if (p->link == NULL && p->dialled == NULL && p->dialer == NULL && !ls->closing)
		p->dialer = dialer_new(ls->worker, p->address, LINKS_DIAL_MS, peer_on_dialled, p);
}

static unsigned some_of(unsigned n)
{
	uint32_t r;
	return n > 0 && getrandom(&r, sizeof r, 0) == sizeof r ? r % n : 0;
}

static void peer_redial(struct peer *p, unsigned delay_ms)
{
	if (!p->links->closing)
		timer_set(p->redial, delay_ms - some_of(delay_ms / 4));
}

static void peer_set(struct peer *p, const char *name, const char *address)
{
	mem_free(p->name);
	mem_free(p->address);
	p->name = mem_strdup(name);
	p->address = mem_strdup(address);
}

static void peer_free(struct peer *p)
{
	mem_free(p->name);
	mem_free(p->address);
	timer_free(p->redial);
	mem_free(p);
}

void links_set_peer(struct links *ls, uint64_t id, const char *name, const char *address)
{
	struct peer *p = peer_find(ls, id);
	if (id == ls->self.node_id || ls->closing || ls->away)
		return;
	bool known = p != NULL && strcmp(p->address, address) == 0;
	if (p == NULL) {
		p = MEM_NEW(struct peer);
		p->links = ls;
		p->id = id;
		p->since_ms = ls->worker->now_ms;
		p->redial = timer_new(ls->worker, peer_dial, p);
		HASH_ADD(hh, ls->peers, id, sizeof p->id, p);
	}
	peer_set(p, name, address);
	if (known || p->link != NULL)
		return;
	peer_stop_dialling(p, NULL);
	p->delay_ms = 0;
	peer_dial_soon(p);
}

void links_forget_peer(struct links *ls, uint64_t id)
{
	struct peer *p = peer_find(ls, id);
	if (p == NULL)
		return;
	peer_stop_dialling(p, NULL);
	if (p->link != NULL)
		contact_close(p->link, LINK_REFUSED, HANDSHAKE_STRANGER,
			"no member of the cluster any more");
	HASH_DEL(ls->peers, p);
	peer_free(p);
}

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

bool links_linked(const struct links *ls, uint64_t id)
{
	const struct peer *p = peer_find(ls, id);
	return p != NULL && p->link != NULL;
}

void links_each_peer(
	const struct links *ls, void (*each)(void *arg, const struct links_peer *p), void *arg)
{
	for (const struct peer *p = ls->peers; p != NULL; p = p->hh.next) {
		const struct link *l = p->link != NULL ? p->link->link : NULL;
		struct links_peer lp = {.id = p->id,
			.name = p->name,
			.address = p->address,
			.up = l != NULL,
			.incarnation = p->incarnation,
			.since_ms = p->since_ms,
			.refused = p->refused,
			.stranger = p->stranger,
			.error = p->error};
		if (l != NULL) {
			lp.received = link_received(l);
			lp.sent = link_sent(l);
			lp.waiting = link_waiting(l);
		}
		each(arg, &lp);
	}
}

/* ---- accepting ------------------------------------------------------------------------------ */

/* Whoever connects and says nothing must not keep others out. */
static void drop_oldest_unproved(struct links *ls)
{
	LIST_EACH(node, &ls->contacts)
	{
		struct contact *c = LIST_ENTRY(node, struct contact, all);
		if (!is_unproved(c) || link_is_ended(c->link))
			continue;
		ls->n_unproved--;
		log_refusal(ls, link_name(c->link), "too many connections wait for a greeting");
		contact_close(c, LINK_CLOSED, HANDSHAKE_OK, "");
		return;
	}
}

static void links_on_accepted(void *arg, int fd)
{
	struct links *ls = arg;
	if (ls->n_unproved >= LINKS_UNPROVED_MAX)
		drop_oldest_unproved(ls);
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

static void peers_free(struct links *ls)
{
	struct peer *p, *next;
	HASH_ITER(hh, ls->peers, p, next)
	{
		HASH_DEL(ls->peers, p);
		peer_free(p);
	}
}

static void links_check_closed(struct links *ls)
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

static void links_check_left(struct links *ls)
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/links_priv.h"

#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cluster/inquiry.h"
#include "src/cluster/link_port.h"
#include "src/net/round_trip.h"

enum {
	REPEAT_MS = 60 * 1000, /* the same refusal is not logged again before that */
};

static const struct link_owner contact_owner;

/* NULL if the system refuses it. */
struct contact *contact_new(struct links *ls, int fd, enum handshake_role role)
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

void contact_mark_dirty(struct contact *c)
{
	list_remove(&c->dirty);
	list_push_back(&c->links->dirty, &c->dirty);
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

void contact_close(
	struct contact *c, enum link_end why, enum handshake_code code, const char *sentence)
{
	contact_leave(c, why);
	link_close(c->link, code, sentence);
}

/* ---- up ------------------------------------------------------------------------------------- */

static enum handshake_code contact_admit(void *arg, struct link *l, char *text, size_t n)
{
	(void)l;
	return contact_judge(arg, text, n);
}

static void contact_count_proved(struct contact *c)
{
	if (link_role(c->link) == HANDSHAKE_ACCEPTOR)
		c->links->n_unproved--;
}

void contact_tell_round_trip(const struct contact *c)
{
	struct links *ls = c->links;
	struct peer *p = c->peer;
	if (p == NULL || p->link != c)
		return;
	unsigned us = link_round_trip_us(c->link);
	if (!round_trip_is_news(p->round_trip_us, us))
		return;
	p->round_trip_us = us;
	for (unsigned i = 0; i < ls->n_ports; i++)
		link_port_put_round_trip(ls->ports[i].port, p->id, us / 1000);
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
	p->round_trip_us = 0;
	contact_tell_round_trip(c);
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
	enum handshake_code code = contact_judge(c, text, sizeof text);
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

/* Whatever it was asked. */
static void end_inquiries_of(struct links *ls, uint64_t node, enum link_end why, const char *text)
{
	char sentence[LINKS_TEXT_MAX + 64];
	snprintf(sentence, sizeof sentence, "the link to it was lost (%s): %s", link_end_name(why), text);
	inquiries_end_of(&ls->inquiries, node, sentence);
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

void contact_drop_oldest_unproved(struct links *ls)
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

/* ---- messages ------------------------------------------------------------------------------- */

static void contact_on_writable(void *arg, struct link *l)
{
	(void)l;
	contact_mark_dirty(arg);
}

/* Worker numbers of this node, or -1: nobody. */
static int worker_of(const struct links *ls, const struct envelope *e)
{
	switch (e->kind) {
	case ENVELOPE_RAFT:
	case ENVELOPE_SECTION:
		return (int)(e->group % ls->n_ports);
	case ENVELOPE_REQUESTER:
		/* A question is answered by somebody. */
		return e->worker < ls->n_ports ? e->worker : 0;
	case ENVELOPE_EVENTS:
	case ENVELOPE_REPLY:
	case ENVELOPE_DIRECT_REPLY:
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

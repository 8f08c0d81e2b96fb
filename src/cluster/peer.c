/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/links_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "src/net/dialer.h"

enum {
	YIELD_MS = 150, /* so much later the node with the larger id dials */
};

struct peer *peer_find(const struct links *ls, uint64_t id)
{
	struct peer *p;
	HASH_FIND(hh, ls->peers, &id, sizeof id, p);
	return p;
}

/* ---- dialling ------------------------------------------------------------------------------- */

void peer_stop_dialling(struct peer *p, const struct contact *except)
{
	timer_stop(p->redial);
	if (p->dialer != NULL)
		dialer_cancel(p->dialer);
	p->dialer = NULL;
	if (p->dialled != NULL && p->dialled != except)
		contact_close(p->dialled, LINK_CLOSED, HANDSHAKE_DUPLICATE,
			"another connection of the two nodes stays");
}

static unsigned some_of(unsigned n)
{
	uint32_t r;
	return n > 0 && getrandom(&r, sizeof r, 0) == sizeof r ? r % n : 0;
}

void peer_redial(struct peer *p, unsigned delay_ms)
{
	if (!p->links->closing)
		timer_set(p->redial, delay_ms - some_of(delay_ms / 4));
}

void peer_dial_soon(struct peer *p)
{
	peer_redial(p, p->links->self.node_id < p->id ? 0 : YIELD_MS);
}

void peer_failed(struct peer *p, enum handshake_code code, const char *text)
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

/* ---- the members ---------------------------------------------------------------------------- */

static void peer_set(struct peer *p, const char *name, const char *address)
{
	mem_free(p->name);
	mem_free(p->address);
	p->name = mem_strdup(name);
	p->address = mem_strdup(address);
}

void peer_free(struct peer *p)
{
	mem_free(p->name);
	mem_free(p->address);
	timer_free(p->redial);
	mem_free(p);
}

void peers_free(struct links *ls)
{
	struct peer *p, *next;
	HASH_ITER(hh, ls->peers, p, next)
	{
		HASH_DEL(ls->peers, p);
		peer_free(p);
	}
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

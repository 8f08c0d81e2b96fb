/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/links_priv.h"

#include <stdarg.h>
#include <stdio.h>

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

enum handshake_code contact_judge(const struct contact *c, char *text, size_t n)
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

/* SPDX-License-Identifier: Apache-2.0
 *
 * A port has two halves, one per thread, and what goes between them is mail:
 *
 *   worker: link_port_send() -> outgoing --letters_out--> worker 0: links_send()
 *   worker: owner, groups, done() <--letters_in-- incoming <- link_port_put_*() worker 0
 *
 * A letters_in goes back when the worker has looked at it: worker 0 counts what is not looked at.
 */
#include "src/cluster/link_port.h"

#include <assert.h>

#include "raft/wire.h"
#include "src/base/mem.h"

/* A node with a link, as the worker sees it. */
struct linked {
	uint64_t node, incarnation, serial;
	bool bad; /* its messages make no sense: no more of them */
};

struct letters_in;

struct link_port {
	struct links *links;
	struct worker *worker;
	unsigned no;
	const struct link_port_owner *owner;
	void *arg;
	struct group_net net;
	struct groups *groups;
	/* the worker's */
	struct linked *linked;
	unsigned n_linked;
	struct list outgoing; /* struct shipment */
	struct list unsent;   /* likewise: there is no link */
	/* worker 0's */
	struct worker *home;
	struct letters_in *incoming; /* NULL: nothing yet */
};

/* ---- out ------------------------------------------------------------------------------------ */

/* A message on its way; `message` is raft's or its own. */
struct shipment {
	struct parcel parcel;
	struct link_port *port;
	uint64_t node, serial;
	bool lost;
	struct net_message *message; /* raft's, to be called back, or NULL: then the rest counts */
	struct net_message own;
	struct net_part part;
};

struct letters_out {
	struct mail mail;
	struct links *links;
	struct list shipments;
};

static void incoming_put_back(struct shipment *s);

/* On worker 0. */
static void shipment_done(struct parcel *p, bool lost)
{
	struct shipment *s = LIST_ENTRY(p, struct shipment, parcel);
	if (s->message != NULL) {
		s->lost = lost;
		incoming_put_back(s);
		return;
	}
	blob_unref(s->part.blob);
	mem_free(s);
}

static void letters_out_deliver(struct mail *m, struct worker *w)
{
	struct letters_out *out = LIST_ENTRY(m, struct letters_out, mail);
	struct list *node;
	(void)w;
	while ((node = list_pop(&out->shipments)) != NULL) {
		struct shipment *s = LIST_ENTRY(node, struct shipment, parcel.link);
		links_send(out->links, s->node, s->serial, &s->parcel);
	}
	mem_free(out);
}

static struct linked *linked_find(const struct link_port *p, uint64_t node)
{
	for (unsigned i = 0; i < p->n_linked; i++)
		if (p->linked[i].node == node)
			return &p->linked[i];
	return NULL;
}

static enum lane lane_of(const struct envelope *e)
{
	switch (e->kind) {
	case ENVELOPE_RAFT:
		return LANE_RAFT;
	case ENVELOPE_SECTION:
	case ENVELOPE_EVENTS:
	case ENVELOPE_DIRECT_REPLY:
		return LANE_QUEUE;
	default:
		return LANE_URGENT;
	}
}

static struct shipment *shipment_new(
	struct link_port *p, const struct linked *to, const struct envelope *e)
{
	struct shipment *s = mem_alloc(sizeof *s);
	*s = (struct shipment){.port = p,
		.node = to != NULL ? to->node : 0,
		.serial = to != NULL ? to->serial : 0,
		.parcel = {.lane = lane_of(e), .done = shipment_done}};
	list_init(&s->parcel.link);
	envelope_put(s->parcel.envelope, e);
	return s;
}

/* struct group_net.send */
static void port_send(void *arg, uint64_t node, struct net_message *m)
{
	struct link_port *p = arg;
	const struct linked *to = linked_find(p, node);
	struct envelope e = {.kind = ENVELOPE_RAFT, .group = wire_peek_group(m->head.p)};
	struct shipment *s = shipment_new(p, to, &e);
	if (wire_peek_bulk(m->head.p))
		s->parcel.lane = LANE_BULK;
	else if (m->urgent || e.group == 0) /* that of the metadata */
		s->parcel.lane = LANE_URGENT;
	s->message = m;
	s->parcel.m = m;
	s->parcel.droppable = !m->urgent;
	s->lost = to == NULL;
	list_push_back(to != NULL ? &p->outgoing : &p->unsent, &s->parcel.link);
}

void link_port_send(struct link_port *p, uint64_t node, const struct envelope *e, struct blob *blob,
	size_t from, size_t to)
{
	const struct linked *link = linked_find(p, node);
	if (link == NULL) {
		blob_unref(blob);
		return;
	}
	struct shipment *s = shipment_new(p, link, e);
	s->part = (struct net_part){blob, blob->data + from, to - from};
	s->own = (struct net_message){.parts = &s->part, .n_parts = 1, .n = to - from};
	s->parcel.m = &s->own;
	s->parcel.droppable = e->kind == ENVELOPE_DIRECT_REPLY;
	list_push_back(&p->outgoing, &s->parcel.link);
}

void link_port_send_copy(
	struct link_port *p, uint64_t node, const struct envelope *e, struct slice octets)
{
	if (linked_find(p, node) == NULL)
		return;
	struct blob *blob = blob_new(octets.n);
	if (octets.n > 0)
		memcpy(blob->data, octets.p, octets.n);
	link_port_send(p, node, e, blob, 0, octets.n);
}

/* On the worker. */
static void shipments_end(struct list *shipments)
{
	struct list *node;
	while ((node = list_pop(shipments)) != NULL) {
		struct shipment *s = LIST_ENTRY(node, struct shipment, parcel.link);
		struct net_message *m = s->message;
		bool lost = s->lost;
		mem_free(s);
		m->done(m, lost);
	}
}

bool link_port_flush(struct link_port *p)
{
	struct list unsent;
	bool did = !list_empty(&p->unsent) || !list_empty(&p->outgoing);
	list_init(&unsent);
	list_move_all(&unsent, &p->unsent);
	shipments_end(&unsent); /* may send */
	if (list_empty(&p->outgoing))
		return did;
	struct letters_out *out = MEM_NEW(struct letters_out);
	out->mail.deliver = letters_out_deliver;
	out->links = p->links;
	list_init(&out->shipments);
	list_move_all(&out->shipments, &p->outgoing);
	worker_post(p->home, &out->mail);
	return did;
}

/* ---- in ------------------------------------------------------------------------------------- */

/* What a worker is told, in order. */
struct item {
	enum { ITEM_UP, ITEM_ROUND_TRIP, ITEM_DOWN, ITEM_MESSAGE } what;
	enum link_end why; /* DOWN */
	unsigned ms;       /* ROUND_TRIP */
	uint64_t node;
	uint64_t incarnation; /* UP, DOWN */
	uint64_t serial;      /* UP, MESSAGE */
	struct blob *blob;    /* MESSAGE */
	size_t n;
};

struct letters_in {
	struct mail mail;
	struct link_port *port;
	struct list back; /* struct shipment: sent, or lost */
	struct buf items; /* struct item[] */
	size_t octets;    /* of messages */
	uint64_t bad;     /* on its way back: links_seen() */
	bool answers;
};

static void linked_add(struct link_port *p, const struct item *it)
{
	assert(linked_find(p, it->node) == NULL);
	p->linked = mem_realloc(p->linked, (p->n_linked + 1) * sizeof *p->linked);
	p->linked[p->n_linked++] = (struct linked){it->node, it->incarnation, it->serial, false};
}

static void linked_remove(struct link_port *p, uint64_t node)
{
	struct linked *l = linked_find(p, node);
	if (l != NULL)
		*l = p->linked[--p->n_linked];
}

static void take_up(struct link_port *p, const struct item *it)
{
	linked_add(p, it);
	if (p->groups != NULL)
		groups_link_up(p->groups, it->node, it->incarnation);
	p->owner->up(p->arg, it->node, it->incarnation);
}

static void take_down(struct link_port *p, const struct item *it)
{
	linked_remove(p, it->node);
	if (p->groups != NULL)
		groups_link_down(p->groups, it->node);
	p->owner->down(p->arg, it->node, it->incarnation, it->why);
}

/* Whether it was understood. */
static bool take_message(struct link_port *p, const struct item *it)
{
	struct envelope e;
	if (!envelope_get(&e, it->blob->data, it->n)) {
		blob_unref(it->blob);
		return false;
	}
	if (e.kind != ENVELOPE_RAFT)
		return p->owner->message(p->arg, it->node, &e, it->blob, it->n);
	bool good = p->groups == NULL ||
		    groups_receive(p->groups, it->node, it->blob, it->blob->data + ENVELOPE_SIZE,
			    it->n - ENVELOPE_SIZE) == 0;
	blob_unref(it->blob);
	return good;
}

static void take_item(struct link_port *p, const struct item *it, uint64_t *ret_bad)
{
	if (it->what == ITEM_UP) {
		take_up(p, it);
	} else if (it->what == ITEM_ROUND_TRIP) {
		if (p->groups != NULL)
			groups_link_round_trip(p->groups, it->node, it->ms);
	} else if (it->what == ITEM_DOWN) {
		take_down(p, it);
	} else {
		const struct linked *l = linked_find(p, it->node);
		if (l == NULL || l->bad) {
			blob_unref(it->blob);
		} else if (!take_message(p, it)) {
			struct linked *bad = linked_find(p, it->node);
			bad->bad = true;
			*ret_bad = it->serial;
		}
	}
}

static void letters_in_free(struct letters_in *in)
{
	buf_done(&in->items);
	mem_free(in);
}

/* Back on worker 0. */
static void letters_in_return(struct mail *m, struct worker *w)
{
	struct letters_in *in = LIST_ENTRY(m, struct letters_in, mail);
	(void)w;
	links_seen(in->port->links, in->port->no, in->octets, in->bad);
	letters_in_free(in);
}

static void letters_in_deliver(struct mail *m, struct worker *w)
{
	struct letters_in *in = LIST_ENTRY(m, struct letters_in, mail);
	struct link_port *p = in->port;
	const struct item *items = (const struct item *)(const void *)in->items.p;
	(void)w;
	shipments_end(&in->back);
	for (size_t i = 0; i < in->items.n / sizeof *items; i++)
		take_item(p, &items[i], &in->bad);
	if (!in->answers) {
		letters_in_free(in);
		return;
	}
	in->mail.deliver = letters_in_return;
	worker_post(p->home, &in->mail);
}

/* ---- worker 0's half ------------------------------------------------------------------------ */

static struct letters_in *incoming(struct link_port *p)
{
	if (p->incoming == NULL) {
		p->incoming = MEM_NEW(struct letters_in);
		p->incoming->port = p;
		p->incoming->mail.deliver = letters_in_deliver;
		list_init(&p->incoming->back);
	}
	return p->incoming;
}

static void incoming_put(struct link_port *p, const struct item *it)
{
	buf_put_bytes(&incoming(p)->items, it, sizeof *it);
}

static void incoming_put_back(struct shipment *s)
{
	list_push_back(&incoming(s->port)->back, &s->parcel.link);
}

void link_port_put_up(struct link_port *p, uint64_t node, uint64_t incarnation, uint64_t serial)
{
	incoming_put(p, &(struct item){.what = ITEM_UP,
				.node = node,
				.incarnation = incarnation,
				.serial = serial});
}

void link_port_put_round_trip(struct link_port *p, uint64_t node, unsigned ms)
{
	incoming_put(p, &(struct item){.what = ITEM_ROUND_TRIP, .node = node, .ms = ms});
}

void link_port_put_down(struct link_port *p, uint64_t node, uint64_t incarnation, enum link_end why)
{
	incoming_put(p,
		&(struct item){
			.what = ITEM_DOWN, .why = why, .node = node, .incarnation = incarnation});
}

void link_port_put_message(
	struct link_port *p, uint64_t node, uint64_t serial, struct blob *blob, size_t n)
{
	incoming_put(p, &(struct item){.what = ITEM_MESSAGE,
				.node = node,
				.serial = serial,
				.blob = blob,
				.n = n});
	p->incoming->octets += n;
}

bool link_port_has_incoming(const struct link_port *p)
{
	return p->incoming != NULL;
}

size_t link_port_incoming(const struct link_port *p)
{
	return p->incoming != NULL ? p->incoming->octets : 0;
}

bool link_port_post(struct link_port *p, bool answers)
{
	struct letters_in *in = p->incoming;
	if (in == NULL)
		return false;
	p->incoming = NULL;
	in->answers = answers;
	worker_post(p->worker, &in->mail);
	return true;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct link_port *link_port_new(struct links *ls, struct worker *w, unsigned no,
	const struct link_port_owner *owner, void *arg)
{
	struct link_port *p = MEM_NEW(struct link_port);
	*p = (struct link_port){.links = ls,
		.worker = w,
		.no = no,
		.owner = owner,
		.arg = arg,
		.net = {.send = port_send, .arg = p},
		.home = links_worker(ls)};
	list_init(&p->outgoing);
	list_init(&p->unsent);
	links_add_port(ls, p, no);
	return p;
}

void link_port_free(struct link_port *p)
{
	assert(list_empty(&p->outgoing) && list_empty(&p->unsent) && p->incoming == NULL);
	mem_free(p->linked);
	mem_free(p);
}

const struct group_net *link_port_net(struct link_port *p)
{
	return &p->net;
}

void link_port_set_groups(struct link_port *p, struct groups *gs)
{
	p->groups = gs;
}

bool link_port_linked(const struct link_port *p, uint64_t node)
{
	return linked_find(p, node) != NULL;
}

uint64_t link_port_incarnation(const struct link_port *p, uint64_t node)
{
	const struct linked *l = linked_find(p, node);
	return l != NULL ? l->incarnation : 0;
}

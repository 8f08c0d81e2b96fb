/* SPDX-License-Identifier: Apache-2.0
 *
 *   raft -> group_net_send() -> letter -> [held: hard-state barrier] -> net->send() -> letter_done()
 *   appends: outgoing -> cut into letters, one after another, as the link takes them
 *
 * Hard-state barrier: set_term and set_vote return before they are durable. While one is queued,
 * all messages of the group wait for it, whatever they say and to whom: nobody may learn of a term
 * or a vote that a crash could take back.
 */
#include "raft/group_net.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "raft/freeze.h"
#include "raft/group_inbox.h"
#include "raft/group_priv.h"
#include "raft/install.h"
#include "raft/membership.h"

enum {
	APPEND_BYTES = 256 * 1024, /* of entries in one message; a larger entry goes alone */
	APPEND_ENTRIES = 1024,
	APPENDS_IN_LINK = 2,           /* messages of one group that a link has for one member */
	GAIN_MS = 3000, /* a member that lags has to gain on us */
	KEEP_UP_MS = 5000, /* behind us by so much, or lost for so long, it keeps up with us */
	NEAR = 16,         /* entries; who lacks no more is in step, however long they take */
	WAITING_OVERHEAD = 256, /* of an entry besides its bytes */
	WAITING_LEAST = 1024 * 1024, /* bytes of entries that may wait for a member all the same ... */
	WAITING_FACTOR = 2,          /* ... until the sum is so many times what may */
	RESEND_MS = 500, /* entries are sent again so long after the link took them, without an answer */
	HEAD_MAX = WIRE_FIXED_MAX,
};

/* ---- addresses ------------------------------------------------------------------------------ */

void member_address(char ret[MEMBER_ADDRESS], uint64_t id, uint64_t node)
{
	if (node == 0 || node == id)
		snprintf(ret, MEMBER_ADDRESS, "%" PRIx64, id);
	else
		snprintf(ret, MEMBER_ADDRESS, "%" PRIx64 ":%" PRIx64, node, id);
}

uint64_t member_node(uint64_t id, const char *address)
{
	char *end;
	uint64_t node = strtoull(address, &end, 16);
	return end != address && (*end == '\0' || *end == ':') ? node : id;
}

/* ---- peers ---------------------------------------------------------------------------------- */

struct peer *group_net_peer(struct group *g, uint64_t id)
{
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		if (p->id == id)
			return p;
	}
	return NULL;
}

struct peer *group_net_peer_get(struct group *g, uint64_t id, uint64_t node)
{
	struct peer *p = group_net_peer(g, id);
	if (p == NULL) {
		p = MEM_NEW(struct peer);
		p->id = id;
		list_init(&p->appends);
		list_push_back(&g->net.peers, &p->link);
	}
	p->node = node;
	return p;
}

bool group_net_alive(struct group *g, uint64_t id)
{
	const struct peer *p = group_net_peer(g, id);
	return p != NULL && p->heard_ms != 0 && groups_linked(g->groups, p->node) &&
	       freeze_clock(g) - p->heard_ms < 2 * (uint64_t)groups_election_ms(g->groups);
}

void group_net_lead(struct group *g)
{
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		p->match = 0;
		p->told = 0;
		p->heard_ms = 0;
		p->sent = 0;
		p->frozen = false;
		p->lag = (struct lag){0};
		p->delay = (struct delay){0};
	}
}

static uint64_t lacks(const struct group *g, const struct peer *p)
{
	return g->io.terms.last > p->match ? g->io.terms.last - p->match : 0;
}

static bool keeps_up(const struct group *g, const struct peer *p, uint64_t ms)
{
	return p->install == NULL && delay_within(&p->delay, ms, groups_now(g->groups));
}

bool group_net_in_step(struct group *g, const struct peer *p)
{
	return p->install == NULL && p->match > 0 &&
	       (lacks(g, p) <= NEAR || keeps_up(g, p, groups_election_ms(g->groups)));
}

uint64_t group_net_under_way(struct group *g, uint64_t room)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	uint64_t most = 0;
	for (unsigned i = 0; g->leading_raft && c != NULL && i < c->conf.n; i++) {
		const struct peer *p = group_net_peer(g, c->conf.servers[i].id);
		bool counts = p != NULL && c->conf.servers[i].role != RAFT_SPARE && keeps_up(g, p, KEEP_UP_MS);
		uint64_t n = counts ? lacks(g, p) : 0;
		if (n > most && n <= room)
			most = n;
	}
	return most;
}

static bool gains(struct lag *lag, uint64_t n, uint64_t now)
{
	if (lag->ms != 0 && now - lag->ms < GAIN_MS)
		return true;
	bool less = lag->ms == 0 || n < lag->n;
	lag->n = n;
	lag->ms = now;
	return less;
}

static bool is_waited_for(struct group *g, struct peer *p, uint64_t near, size_t room)
{
	struct lag *lag = &p->lag;
	uint64_t n = lacks(g, p);
	if (n <= near || p->install != NULL || !groups_linked(g->groups, p->node)) {
		*lag = (struct lag){0};
		return false;
	}
	lag->given_up |= !gains(lag, n, groups_now(g->groups));
	return !lag->given_up && g->fsm.log_bytes <= (lag->room > room ? lag->room : room);
}

bool group_net_is_followed(struct group *g, uint64_t near, size_t room)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	bool any = false;
	for (unsigned i = 0; g->leading_raft && c != NULL && i < c->conf.n; i++) {
		struct peer *p = group_net_peer(g, c->conf.servers[i].id);
		if (p != NULL && c->conf.servers[i].role != RAFT_SPARE)
			any |= is_waited_for(g, p, near, room);
	}
	return any;
}

void group_net_brought(struct peer *p, size_t room)
{
	p->lag = (struct lag){.room = room};
}

uint64_t group_net_leader_node(const struct group *g)
{
	uint64_t id = group_leader(g);
	const struct raft_server *s = id != 0 && id != g->self ? confs_find(&g->io.confs, id) : NULL;
	return s != NULL ? member_node(id, s->address) : 0;
}

bool group_net_leader_lost(const struct group *g)
{
	uint64_t node = group_net_leader_node(g);
	return node != 0 && !groups_linked(g->groups, node);
}

/* ---- letters -------------------------------------------------------------------------------- */

/* An AppendEntries that raft wants sent. Its entries stay where they are until raft is called back.
 */
struct outgoing {
	struct list link; /* in peer.appends until its last letter is made */
	struct peer *peer;
	struct raft_io_send *req;
	raft_io_send_cb cb;
	uint64_t term;
	uint64_t prev_index;
	uint64_t prev_term;
	uint64_t commit;
	const struct raft_entry *entries;
	unsigned n;
	unsigned next;    /* entries in letters */
	unsigned in_link; /* letters that are not done */
	bool begun;
	bool lost;
};

/* A message on its way out. */
struct letter {
	struct net_message m;
	struct list link; /* in group_net.letters */
	struct list held; /* in group_net.held */
	struct group *g;  /* NULL: the group is gone */
	uint64_t node;
	uint64_t behind; /* the write of hard state it waits for */
	struct raft_io_send *req;
	raft_io_send_cb cb;
	struct outgoing *out; /* of which it is a part */
	struct peer *streams; /* it is a part of a snapshot for that one */
	uint8_t bytes[];      /* parts, then head */
};

static void append_pump(struct group *g, struct peer *p);
static void append_part_done(struct group *g, struct letter *l, bool lost);

static void letter_free(struct letter *l)
{
	for (unsigned i = 0; i < l->m.n_parts; i++)
		blob_unref(l->m.parts[i].blob);
	mem_free(l);
}

static void part_done(struct group *g, struct peer *p)
{
	p->parts_in_link--;
	p->part_ms = groups_now(g->groups);
}

static void letter_done(struct net_message *m, bool lost)
{
	struct letter *l = LIST_ENTRY(m, struct letter, m);
	struct group *g = l->g;
	if (g != NULL) {
		list_remove(&l->link);
		if (l->streams != NULL)
			part_done(g, l->streams);
		if (l->out != NULL)
			append_part_done(g, l, lost);
		else if (l->req != NULL)
			l->cb(l->req, lost ? RAFT_NOCONNECTION : 0);
		group_settle(g);
	}
	letter_free(l);
}

/* Room for a head of HEAD_MAX and `list_n` more bytes. */
static struct letter *letter_new(struct group *g, uint64_t node, const struct net_part *parts,
	unsigned n_parts, size_t list_n)
{
	size_t parts_n = n_parts * sizeof *parts;
	struct letter *l = mem_alloc(sizeof *l + parts_n + HEAD_MAX + list_n);
	*l = (struct letter){.g = g, .node = node};
	l->m.parts = (struct net_part *)(void *)l->bytes;
	l->m.n_parts = n_parts;
	l->m.done = letter_done;
	if (n_parts > 0)
		memcpy(l->bytes, parts, parts_n);
	l->m.head.p = l->bytes + parts_n;
	list_init(&l->m.link);
	list_init(&l->held);
	list_push_back(&g->net.letters, &l->link);
	return l;
}

static uint8_t *letter_head(struct letter *l)
{
	return (uint8_t *)l->m.head.p;
}

static void letter_go(struct letter *l)
{
	struct groups *gs = l->g->groups;
	bool silent = l->out != NULL && l->g->stall.silent;
	if (groups_linked(gs, l->node) && !silent)
		gs->config.net->send(gs->config.net->arg, l->node, &l->m);
	else
		list_push_back(&gs->undeliverable, &l->m.link);
}

static void letter_post(struct letter *l, size_t head_n)
{
	struct group *g = l->g;
	l->m.head.n = head_n;
	l->m.n = head_n;
	for (unsigned i = 0; i < l->m.n_parts; i++)
		l->m.n += l->m.parts[i].n;
	bool hard = g->io.hard_done < g->io.hard && RULE(g, hard_barrier);
	if (!hard && list_empty(&g->net.held)) {
		letter_go(l);
		return;
	}
	l->behind = g->io.hard;
	list_push_back(&g->net.held, &l->held);
}

void group_net_hard_done(struct group *g, uint64_t number)
{
	g->io.hard_done = number;
	while (!list_empty(&g->net.held)) {
		struct letter *l = LIST_ENTRY(g->net.held.next, struct letter, held);
		if (l->behind > number)
			return;
		list_remove(&l->held);
		letter_go(l);
	}
}

struct wire group_net_wire_to(struct group *g, enum wire_kind kind, uint64_t to)
{
	return (struct wire){.kind = kind, .group = g->id, .from = g->self, .to = to};
}

static void post_simple(struct group *g, const struct raft_message *message, const struct wire *w,
	struct raft_io_send *req, raft_io_send_cb cb)
{
	uint64_t node = member_node(message->server_id, message->server_address);
	struct letter *l = letter_new(g, node, NULL, 0, 0);
	l->req = req;
	l->cb = cb;
	l->m.urgent = w->kind != WIRE_TIMEOUT_NOW; /* which is for who has all that was sent before */
	letter_post(l, wire_encode(letter_head(l), w, 0));
}

static struct letter *letter_of(struct group *g, uint64_t node, const struct wire *w, struct slice list,
	const struct net_part *parts, unsigned n_parts)
{
	struct letter *l = letter_new(g, node, parts, n_parts, list.n);
	size_t parts_n = 0;
	for (unsigned i = 0; i < n_parts; i++)
		parts_n += parts[i].n;
	size_t n = wire_encode(letter_head(l), w, list.n + parts_n);
	if (list.n > 0)
		memcpy(letter_head(l) + n, list.p, list.n);
	l->m.head.n = n + list.n;
	return l;
}

void group_net_post(struct group *g, uint64_t node, const struct wire *w, struct slice list,
	const struct net_part *parts, unsigned n_parts)
{
	struct letter *l = letter_of(g, node, w, list, parts, n_parts);
	l->m.urgent = true;
	letter_post(l, l->m.head.n);
}

void group_net_stream(struct group *g, struct peer *p, const struct wire *w, struct slice list,
	const struct net_part *parts, unsigned n_parts)
{
	struct letter *l = letter_of(g, p->node, w, list, parts, n_parts);
	l->streams = p;
	p->parts_in_link++;
	letter_post(l, l->m.head.n);
}

/* ---- appends -------------------------------------------------------------------------------- */

static size_t bytes_waiting(const struct outgoing *o)
{
	size_t n = (size_t)(o->n - o->next) * WAITING_OVERHEAD;
	for (unsigned i = o->next; i < o->n; i++)
		n += o->entries[i].buf.len;
	return n;
}

static void waits_more(struct group *g, struct peer *p, size_t n)
{
	p->waits += n;
	g->groups->waiting += n;
}

static void waits_less(struct group *g, struct peer *p, size_t n)
{
	p->waits -= n;
	g->groups->waiting -= n;
	assert(!list_empty(&p->appends) || p->waits == 0);
}

/* No more of its entries will be sent. */
static void outgoing_cut(struct group *g, struct outgoing *o)
{
	size_t n = bytes_waiting(o);
	list_remove(&o->link);
	o->begun = true;
	o->n = o->next;
	waits_less(g, o->peer, n);
}

static void outgoing_end(struct group *g, struct outgoing *o, int status)
{
	struct raft_io_send *req = o->req;
	raft_io_send_cb cb = o->cb;
	outgoing_cut(g, o);
	mem_free(o);
	cb(req, status);
}

static void outgoing_end_if_over(struct group *g, struct outgoing *o)
{
	bool made = o->begun && o->next == o->n;
	if (o->in_link > 0 || (!made && !o->lost))
		return;
	/* While a snapshot streams, a failed heartbeat would end libraft's snapshot state. */
	bool failed = o->lost && o->peer->install == NULL;
	outgoing_end(g, o, failed ? RAFT_NOCONNECTION : 0);
}

void group_net_drop_appends(struct group *g, struct peer *p, bool lost)
{
	struct list dropped, *node;
	list_init(&dropped);
	while (!list_empty(&p->appends)) {
		struct outgoing *o = LIST_ENTRY(p->appends.next, struct outgoing, link);
		outgoing_cut(g, o);
		o->lost = o->lost || lost;
		list_push_back(&dropped, &o->link);
	}
	while ((node = list_pop(&dropped)) != NULL)
		outgoing_end_if_over(g, LIST_ENTRY(node, struct outgoing, link));
}

static void append_part_done(struct group *g, struct letter *l, bool lost)
{
	struct outgoing *o = l->out;
	struct peer *p = o->peer;
	o->in_link--;
	p->in_link--;
	p->laden -= l->m.n_parts > 0;
	if (l->m.n_parts > 0)
		p->sent_ms = groups_now(g->groups);
	if (lost) {
		o->lost = true;
		p->sent = 0;
	}
	outgoing_end_if_over(g, o);
	append_pump(g, p);
}

static struct net_part entry_part(const struct raft_entry *e)
{
	struct blob *blob = blob_of(e->batch != NULL ? e->batch : e->buf.base);
	return (struct net_part){.blob = blob_ref(blob), .p = e->buf.base, .n = e->buf.len};
}

/* How many of the entries that are left go into the next message. */
static unsigned next_part(struct group *g, const struct outgoing *o)
{
	size_t bytes = 0;
	unsigned n = 0;
	if (!RULE(g, split))
		return o->n - o->next;
	while (o->next + n < o->n && n < APPEND_ENTRIES) {
		bytes += o->entries[o->next + n].buf.len;
		if (n > 0 && bytes > APPEND_BYTES)
			break;
		n++;
	}
	return n;
}

/* A message of its own that any follower may get alone: it is anchored at the entry before its
 * first, and calls committed only what it covers. A follower commits up to its own last entry,
 * which may be a stale one behind what was cut off here. */
static void append_part(struct group *g, struct outgoing *o)
{
	unsigned n = next_part(g, o);
	const struct raft_entry *e = o->entries + o->next;
	struct wire w = group_net_wire_to(g, WIRE_APPEND, o->peer->id);
	w.term = o->term;
	w.prev_index = o->prev_index + o->next;
	w.prev_term = o->next > 0 ? o->entries[o->next - 1].term : o->prev_term;
	w.n = n;
	w.commit = o->commit;
	if (RULE(g, split_commit) && w.commit > w.prev_index + n)
		w.commit = w.prev_index + n;

	struct net_part few[8] = {{0}};
	struct net_part *parts = n <= 8 ? few : mem_alloc(n * sizeof *parts);
	size_t bytes = 0;
	for (unsigned i = 0; i < n; i++) {
		parts[i] = entry_part(&e[i]);
		bytes += parts[i].n;
	}
	size_t list_n = (size_t)n * WIRE_ENTRY;
	struct letter *l = letter_new(g, o->peer->node, parts, n, list_n);
	size_t at = wire_encode(letter_head(l), &w, list_n + bytes);
	for (unsigned i = 0; i < n; i++)
		wire_encode_entry(letter_head(l) + at + (size_t)i * WIRE_ENTRY,
			&(struct wire_entry){.number = e[i].term,
				.n = (uint32_t)e[i].buf.len,
				.type = (uint8_t)e[i].type});
	if (parts != few)
		mem_free(parts);
	l->out = o;
	l->m.urgent = n == 0 && o->peer->laden == 0;
	o->begun = true;
	o->next += n;
	o->in_link++;
	o->peer->in_link++;
	o->peer->laden += n > 0;
	if (o->next == o->n)
		list_remove(&o->link);
	waits_less(g, o->peer, bytes + n * WAITING_OVERHEAD);
	letter_post(l, at + list_n);
}

static void append_pump(struct group *g, struct peer *p)
{
	while (p->in_link < APPENDS_IN_LINK && !list_empty(&p->appends))
		append_part(g, LIST_ENTRY(p->appends.next, struct outgoing, link));
}

/* The link has entries for the member, or they wait for it. */
static bool is_laden(const struct peer *p)
{
	LIST_EACH(node, &p->appends)
	if (LIST_ENTRY(node, struct outgoing, link)->n > 0)
		return true;
	return p->laden > 0;
}

/* libraft repeats in every heartbeat all that is not answered. Entries that are on their way and
 * were not refused are left out; on a slow link they may be waiting for the link itself, which would
 * only get slower. */
static void leave_out_repeats(struct group *g, struct peer *p, struct outgoing *o)
{
	uint64_t now = groups_now(g->groups);
	bool on_way = is_laden(p) || now - p->sent_ms < RESEND_MS;
	if (p->sent > o->prev_index && on_way && RULE(g, split)) {
		uint64_t sent = p->sent - o->prev_index;
		if (sent >= o->n) {
			o->n = 0;
		} else {
			o->prev_index += sent;
			o->prev_term = o->entries[sent - 1].term;
			o->entries += sent;
			o->n -= (unsigned)sent;
		}
	}
	if (o->n > 0) {
		p->sent = o->prev_index + o->n;
		p->sent_ms = now;
	}
}

/* A heartbeat that waits for the link says nothing that the next message does not. */
static void leave_out_heartbeat(struct group *g, struct peer *p)
{
	if (list_empty(&p->appends))
		return;
	struct outgoing *last = LIST_ENTRY(p->appends.prev, struct outgoing, link);
	if (last->n == 0 && RULE(g, split))
		outgoing_end(g, last, 0);
}

/* R2: entries of older terms would be committed by counting if an answer to them arrived before an
 *     entry of this term is durable here; libraft 0.15 tests the quorum at its own last stored
 *     entry. So until then nothing is sent, nor anything that does not lead up to an entry of this
 *     term. The later line counts for entries of its own term only. */
static bool withheld(struct group *g, const struct raft_append_entries *a)
{
	if (LIBRAFT_LAYERED || !RULE(g, r2_withhold))
		return false;
	uint64_t last_term =
		a->n_entries > 0 ? a->entries[a->n_entries - 1].term : a->prev_log_term;
	return g->io.durable_term != a->term || last_term != a->term;
}

static int send_append(struct group *g, struct raft_io_send *req,
	const struct raft_message *message, raft_io_send_cb cb)
{
	const struct raft_append_entries *a = &message->append_entries;
	uint64_t node = member_node(message->server_id, message->server_address);
	bool linked = groups_linked(g->groups, node) && !g->stall.silent;
	struct peer *p = group_net_peer_get(g, message->server_id, node);
	if (a->n_entries > 0)
		delay_send(&p->delay, a->prev_log_index + a->n_entries, groups_now(g->groups));
	/* R7: the one kind that may be refused, and only by libraft 0.15. */
	if (!LIBRAFT_LAYERED && (withheld(g, a) || !linked))
		return RAFT_NOCONNECTION;
	struct outgoing *o = MEM_NEW(struct outgoing);
	*o = (struct outgoing){
		.peer = p,
		.req = req,
		.cb = cb,
		.term = a->term,
		.prev_index = a->prev_log_index,
		.prev_term = a->prev_log_term,
		.commit = a->leader_commit,
		.entries = a->entries,
		.n = linked ? a->n_entries : 0, /* what will be lost need not be complete */
	};
	leave_out_repeats(g, p, o);
	leave_out_heartbeat(g, p);
	list_push_back(&p->appends, &o->link);
	waits_more(g, p, bytes_waiting(o));
	append_pump(g, p);
	return 0;
}

/* A link takes less than comes, and the log has let go what waits for it: it is all that keeps it in memory. */
static bool waits_too_long(const struct group *g, const struct peer *p)
{
	size_t all = g->groups->waiting, room = group_fsm_room_for_waiting(g);
	size_t least = all > WAITING_FACTOR * room ? 0 : WAITING_LEAST;
	if (list_empty(&p->appends) || all <= room || p->waits <= least || !RULE(g, waiting_bounded))
		return false;
	const struct outgoing *first = LIST_ENTRY(p->appends.next, struct outgoing, link);
	return first->prev_index + first->next + 1 < g->io.log_start;
}

void group_net_tick(struct group *g)
{
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		if (!waits_too_long(g, p))
			continue;
		p->sent = 0;
		group_net_drop_appends(g, p, true);
		group_settle(g);
	}
}

void group_net_tell_commit(struct group *g)
{
	uint64_t commit = libraft_commit(&g->raft);
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		struct wire w = group_net_wire_to(g, WIRE_APPEND, p->id);
		w.term = g->term_raft;
		w.prev_index = p->match;
		w.prev_term = terms_of(&g->io.terms, p->match);
		w.commit = commit < p->match ? commit : p->match;
		/* What it lacks is on its way, and brings the rest. */
		if (p->install != NULL || w.prev_term == 0 || w.commit <= p->told ||
			!groups_linked(g->groups, p->node) || g->stall.silent)
			continue;
		p->told = w.commit;
		group_net_post(g, p->node, &w, slice_make(NULL, 0), NULL, 0);
	}
}

/* ---- what raft sends ------------------------------------------------------------------------ */

static int send_appended(struct group *g, struct raft_io_send *req,
	const struct raft_message *message, raft_io_send_cb cb)
{
	const struct raft_append_entries_result *r = &message->append_entries_result;
	struct wire w = group_net_wire_to(g, WIRE_APPENDED, message->server_id);
	w.term = r->term;
	w.rejected = r->rejected;
	w.last = r->last_log_index;
	/* R1: libraft answers with its last stored entry, which may be a stale one beyond what the
	 *     request covered, and the leader would count that as a match. */
	if (r->rejected == 0 && w.last > g->net.covered && RULE(g, r1_clamp))
		w.last = g->net.covered;
	if (!RULE(g, r7_never_refuses))
		return RAFT_NOCONNECTION;
	post_simple(g, message, &w, req, cb);
	return 0;
}

static void send_vote(struct group *g, struct raft_io_send *req, const struct raft_message *message,
	raft_io_send_cb cb)
{
	const struct raft_request_vote *v = &message->request_vote;
	struct wire w = group_net_wire_to(g, WIRE_VOTE, message->server_id);
	w.term = v->term;
	w.last = v->last_log_index;
	w.last_term = v->last_log_term;
	w.flags = (v->disrupt_leader ? WIRE_DISRUPT : 0) | (v->pre_vote ? WIRE_PRE_VOTE : 0);
	post_simple(g, message, &w, req, cb);
}

static void send_voted(struct group *g, struct raft_io_send *req,
	const struct raft_message *message, raft_io_send_cb cb)
{
	const struct raft_request_vote_result *r = &message->request_vote_result;
	struct wire w = group_net_wire_to(g, WIRE_VOTED, message->server_id);
	w.term = r->term;
	w.flags = r->vote_granted ? WIRE_GRANTED : 0;
	/* R12: libraft's answer to a pre-vote repeats the term that was asked about. If ours is
	 *      higher the other has to learn of it: it may be the one with the longest log, whom we
	 *      refuse for its term for ever, as it refuses us for our log. */
	uint64_t ours = libraft_term(&g->raft);
	if (r->pre_vote == LIBRAFT_PRE_VOTE_YES && !r->vote_granted && ours > r->term &&
		RULE(g, r12_term))
		w.term = ours;
	if (r->pre_vote == LIBRAFT_PRE_VOTE_YES)
		w.flags |= WIRE_PRE_VOTE;
	else if (r->pre_vote == LIBRAFT_PRE_VOTE_NO)
		w.flags |= WIRE_REAL_VOTE;
	post_simple(g, message, &w, req, cb);
}

/* R9: in 0.15 the request is embedded in the transfer's, has no callback, and may be gone before the
 *     link is done with the message: copied here, it is never touched again. In the later line it is
 *     like any other. */
static void send_timeout_now(struct group *g, struct raft_io_send *req,
	const struct raft_message *message, raft_io_send_cb cb)
{
	const struct raft_timeout_now *t = &message->timeout_now;
	struct wire w = group_net_wire_to(g, WIRE_TIMEOUT_NOW, message->server_id);
	w.term = t->term;
	w.last = t->last_log_index;
	w.last_term = t->last_log_term;
	bool copy = !LIBRAFT_LAYERED && RULE(g, r9_copy);
	post_simple(g, message, &w, copy ? NULL : req, cb);
}

/* The address in the message is the configuration's of when raft asked for the snapshot's descriptor,
 * which may be gone by now. */
static struct peer *install_peer(struct group *g, uint64_t id)
{
	const struct raft_server *s = confs_find(&g->io.confs, id);
	struct peer *p = group_net_peer(g, id);
	if (s == NULL)
		return p; /* removed meanwhile */
	return group_net_peer_get(g, id, member_node(id, s->address));
}

int group_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
	raft_io_send_cb cb)
{
	struct group *g = io->impl;
	if (g->groups->config.net == NULL)
		group_broken(g, "other members, and no way to them");
	/* R7: results are never refused: libraft 0.15 would free the request's entries twice. What
	 * is lost is said later. Snapshots before they stream may be refused, and 0.15's appends. */
	switch (message->type) {
	case RAFT_IO_APPEND_ENTRIES:
		return send_append(g, req, message, cb);
	case RAFT_IO_APPEND_ENTRIES_RESULT:
		return send_appended(g, req, message, cb);
	case RAFT_IO_REQUEST_VOTE:
		send_vote(g, req, message, cb);
		return 0;
	case RAFT_IO_REQUEST_VOTE_RESULT:
		send_voted(g, req, message, cb);
		return 0;
	case RAFT_IO_TIMEOUT_NOW:
		send_timeout_now(g, req, message, cb);
		return 0;
	case RAFT_IO_INSTALL_SNAPSHOT:
		return install_send(g, install_peer(g, message->server_id), req,
			&message->install_snapshot, cb);
	}
	group_broken(g, "raft sends a message of an unknown type");
}

/* ---- life ----------------------------------------------------------------------------------- */

void group_net_link_down(struct group *g, uint64_t node)
{
	LIST_EACH(at, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(at, struct peer, link);
		if (p->node != node)
			continue;
		p->sent = 0;
		group_net_drop_appends(g, p, true); /* what the link has comes back by itself */
		install_link_down(g, p);
	}
	g->net.lost_ms = freeze_clock(g);
	membership_link_down(g, node);
	group_settle(g);
}

void group_net_init(struct group *g)
{
	list_init(&g->net.peers);
	list_init(&g->net.letters);
	list_init(&g->net.held);
	list_init(&g->net.inbox);
	g->net.covered = COVERS_ALL;
}

void group_net_cancel(struct group *g)
{
	install_cancel(g);
	/* Letters that a link has are its own from now on. */
	while (!list_empty(&g->net.letters)) {
		struct letter *l = LIST_ENTRY(g->net.letters.next, struct letter, link);
		list_remove(&l->link);
		l->g = NULL;
		if (l->out != NULL) {
			l->out->lost = true;
			l->out->in_link--;
			l->out->peer->in_link--;
			l->out->peer->laden -= l->m.n_parts > 0;
			outgoing_end_if_over(g, l->out);
		} else if (l->req != NULL) {
			l->cb(l->req, RAFT_CANCELED);
		}
		if (!list_empty(&l->held)) {
			list_remove(&l->held);
			letter_free(l);
		}
	}
	LIST_EACH(node, &g->net.peers)
	{
		struct peer *p = LIST_ENTRY(node, struct peer, link);
		while (!list_empty(&p->appends))
			outgoing_end(g, LIST_ENTRY(p->appends.next, struct outgoing, link),
				RAFT_CANCELED);
	}
	group_inbox_clear(g);
}

void group_net_done(struct group *g)
{
	LIST_EACH_SAFE(node, &g->net.peers)
	mem_free(LIST_ENTRY(node, struct peer, link));
}

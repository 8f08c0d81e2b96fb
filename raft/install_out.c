/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/group_inbox.h"
#include "raft/install.h"

#include <inttypes.h>

#include "raft/group_priv.h"
#include "src/base/log.h"

enum {
	STALL_MS = 3000, /* without an answer: given up, raft starts over */
};

struct install_get {
	struct list link;
	struct raft_io_snapshot_get *req;
	raft_io_snapshot_get_cb cb;
};

/* A snapshot on its way to a member. */
struct install_out {
	struct list link; /* in installs.out, once raft has sent it */
	struct group *g;
	struct peer *peer;
	struct raft_io_send *req;
	raft_io_send_cb cb;
	uint64_t stream;
	uint64_t term; /* in which we lead */
	bool early;    /* begun before our barrier was committed */
	bool accepted; /* the other knows of the stream: parts may follow */
	bool taken;    /* the other has it all; raft is yet to hear of it */
	uint64_t index;
	struct buf data;
	size_t data_sent;
	struct buf live; /* struct store_range */
	size_t range;    /* in `live`, the one that is sent */
	uint64_t from;   /* next entry in it */
	uint64_t parts;  /* sent */
	uint64_t acked;
	struct pace pace;
	size_t bytes_ahead; /* of the burst under way */
	size_t bytes;       /* of entries and state that have gone */
	size_t log_bytes;   /* that the log had gathered when the stream began */
	uint64_t resume_ms; /* the next one's; 0: no pause */
	uint64_t heard_ms;
};

static unsigned n_ranges(const struct buf *live)
{
	return (unsigned)(live->n / sizeof(struct store_range));
}

static struct store_range range_at(const struct buf *live, size_t i)
{
	struct store_range r;
	memcpy(&r, live->p + i * sizeof r, sizeof r);
	return r;
}

static uint64_t n_entries(const struct buf *live)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < n_ranges(live); i++) {
		struct store_range r = range_at(live, i);
		n += r.to - r.from + 1;
	}
	return n;
}

bool install_streams(const struct group *g)
{
	return !list_empty(&g->installs.out);
}

/* The stream will still read the entry. */
static bool needs(const struct install_out *o, uint64_t index)
{
	if (index > o->index || o->range == n_ranges(&o->live))
		return false;
	return index >= range_at(&o->live, o->range).from && index >= o->from;
}

static void defer(struct buf *deferred, uint64_t index)
{
	struct store_range r = {.from = index, .to = index};
	if (deferred->n > 0) {
		struct store_range last = range_at(deferred, n_ranges(deferred) - 1);
		if (last.to + 1 == index) {
			r.from = last.from;
			deferred->n -= sizeof r;
		}
	}
	buf_put_bytes(deferred, &r, sizeof r);
}

bool install_defers(struct group *g, uint64_t index)
{
	LIST_EACH(node, &g->installs.out)
	{
		if (!needs(LIST_ENTRY(node, struct install_out, link), index))
			continue;
		defer(&g->installs.deferred, index);
		return true;
	}
	return false;
}

static void release_deferred(struct group *g)
{
	struct buf deferred = g->installs.deferred;
	g->installs.deferred = BUF_EMPTY;
	for (unsigned i = 0; i < n_ranges(&deferred); i++) {
		struct store_range r = range_at(&deferred, i);
		for (uint64_t index = r.from; index <= r.to; index++)
			group_release(g, index);
	}
	buf_done(&deferred);
}

static void out_free(struct install_out *o)
{
	buf_done(&o->data);
	buf_done(&o->live);
	mem_free(o);
}

static void out_end(struct install_out *o, int status)
{
	struct group *g = o->g;
	struct raft_io_send *req = o->req;
	raft_io_send_cb cb = o->cb;
	list_remove(&o->link);
	o->peer->install = NULL;
	out_free(o);
	cb(req, status);
	if (!install_streams(g))
		release_deferred(g);
}

/* What it has sent is less than what waits behind it: it will not come to an end before that is more than
 * the log may have. */
static bool is_too_slow(const struct install_out *o)
{
	size_t log = o->g->fsm.log_bytes;
	return !o->taken && log > group_fsm_room_for_stream(o->g) && log > o->bytes;
}

bool install_needs_log(struct group *g)
{
	LIST_EACH_SAFE(node, &g->installs.out)
	{
		struct install_out *o = LIST_ENTRY(node, struct install_out, link);
		if (is_too_slow(o))
			out_end(o, RAFT_NOCONNECTION);
	}
	return install_streams(g);
}

int install_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
	struct group *g = io->impl;
	struct install_get *get = MEM_NEW(struct install_get);
	get->req = req;
	get->cb = cb;
	list_push_back(&g->installs.gets, &get->link);
	group_todo(g);
	return 0;
}

/* The state as of now, whatever the last stored snapshot is: raft wants that one or a newer one. */
static struct install_out *out_new(struct group *g, uint64_t index)
{
	if (index != raft_last_applied(&g->raft))
		group_broken(g, "raft sends a snapshot that it was not given");
	struct install_out *o = MEM_NEW(struct install_out);
	o->g = g;
	o->index = index;
	o->early = !g->leading;
	pace_init(&o->pace);
	o->log_bytes = g->fsm.log_bytes;
	if (g->app->whole != NULL) {
		g->app->whole(g->arg, &o->data, &o->live);
	} else {
		struct buf rows = BUF_EMPTY;
		g->app->snapshot(g->arg, 0, &o->data, &o->live, &rows);
		buf_done(&rows);
	}
	list_init(&o->link);
	return o;
}

static struct raft_snapshot *descriptor(struct group *g, uint64_t index)
{
	const struct conf_at *c = confs_at(&g->io.confs, index);
	if (c == NULL)
		c = confs_newest(&g->io.confs); /* not leading any more: it will not be sent */
	struct raft_snapshot *s = raft_malloc(sizeof *s);
	*s = (struct raft_snapshot){
		.index = index,
		.term = terms_of(&g->io.terms, index),
		.configuration_index = c->index,
		.bufs = raft_malloc(sizeof *s->bufs),
		.n_bufs = 1,
	};
	conf_copy(&s->configuration, &c->conf);
	s->bufs[0] = (struct raft_buffer){.base = raft_malloc(1), .len = 1};
	return s;
}

/* The state itself follows when raft sends it: install_send(). */
static bool may_send(struct group *g, uint64_t term)
{
	return g->leading_raft && g->phase == GROUP_RUNNING && term == libraft_term(&g->raft);
}

static void get_answer(struct group *g, struct list *node)
{
	struct install_get get = *LIST_ENTRY(node, struct install_get, link);
	mem_free(LIST_ENTRY(node, struct install_get, link));
	/* The later line frees what it was not given, if it is given nothing. It always gets a
	 * descriptor, and install_send() refuses. */
	if (LIBRAFT_LAYERED || may_send(g, libraft_term(&g->raft)))
		get.cb(get.req, descriptor(g, raft_last_applied(&g->raft)), 0);
	else
		get.cb(get.req, NULL, RAFT_CANCELED);
}

void install_do(struct group *g)
{
	struct list *node;
	while ((node = list_pop(&g->installs.gets)) != NULL) {
		get_answer(g, node);
		group_settle(g);
	}
}

/* Returns the bytes sent. */
static size_t send_state(struct install_out *o, struct wire *w)
{
	size_t left = o->data.n - o->data_sent;
	size_t n = left < INSTALL_PART_BYTES ? left : INSTALL_PART_BYTES;
	struct blob *b = blob_new(n);
	memcpy(b->data, o->data.p + o->data_sent, n);
	struct net_part part = {.blob = b, .p = b->data, .n = n};
	w->kind = WIRE_INSTALL_STATE;
	group_net_stream(o->g, o->peer, w, slice_make(NULL, 0), &part, 1);
	o->data_sent += n;
	if (o->data_sent == o->data.n)
		buf_done(&o->data), o->data_sent = 0;
	return n;
}

/* As group_fetch(), but what streams by once is no reason to forget recent entries. */
static int read_entry(struct group *g, uint64_t index, struct net_part *ret)
{
	struct entry_bytes e;
	if (!entry_cache_get(&g->groups->cache, &g->cached, index, &e))
		return store_log_fetch(g->log, index, &ret->blob, &ret->p, &ret->n);
	*ret = (struct net_part){.blob = blob_ref(e.blob), .p = e.p, .n = e.n};
	return 0;
}

/* A member that has just begun to lead may have released entries in a former life, by commands that
 * it applies again only when its barrier is committed. Whoever gets its state will release them by
 * the same commands: it is told that they are gone. */
static int fetch(struct install_out *o, uint64_t index, struct net_part *part, bool *ret_gone)
{
	int rv = read_entry(o->g, index, part);
	*ret_gone = rv == STORE_NOTFOUND && o->early;
	if (!*ret_gone)
		return rv;
	*part = (struct net_part){.blob = blob_new(0)};
	part->p = part->blob->data;
	return 0;
}

/* 0, or -1 if an entry cannot be read. *ret_n: the bytes sent. */
static int send_entries(struct install_out *o, struct wire *w, size_t *ret_n)
{
	struct net_part parts[INSTALL_PART_ENTRIES];
	uint8_t list[INSTALL_PART_ENTRIES * WIRE_ENTRY];
	unsigned n = 0;
	size_t bytes = 0;
	int rv = 0;
	while (n < INSTALL_PART_ENTRIES && bytes < INSTALL_PART_BYTES && o->range < n_ranges(&o->live)) {
		struct store_range r = range_at(&o->live, o->range);
		uint64_t index = o->from > r.from ? o->from : r.from;
		bool gone;
		rv = fetch(o, index, &parts[n], &gone);
		if (rv != 0)
			break;
		wire_encode_entry(
			list + (size_t)n * WIRE_ENTRY, &(struct wire_entry){.number = index,
							       .n = (uint32_t)parts[n].n,
							       .type = gone ? WIRE_GONE : 0});
		bytes += parts[n].n;
		n++;
		o->from = index + 1;
		if (index == r.to)
			o->range++;
	}
	if (rv != 0) {
		log_error("raft", "group %" PRIu64 ": entry %" PRIu64 " cannot be sent: %s",
			o->g->id, o->from, store_strerror(rv));
		for (unsigned i = 0; i < n; i++)
			blob_unref(parts[i].blob);
		return -1;
	}
	w->kind = WIRE_INSTALL_ENTRIES;
	w->n = n;
	group_net_stream(o->g, o->peer, w, slice_make(list, (size_t)n * WIRE_ENTRY), parts, n);
	*ret_n = bytes;
	return 0;
}

/* The other holds in memory what it has not acked, and so does the link. */
static bool may_read_ahead(const struct install_out *o)
{
	return o->parts - o->acked < INSTALL_PARTS_AHEAD && o->bytes_ahead < o->pace.burst;
}

static void out_send_burst(struct install_out *o)
{
	struct wire w = {
		.group = o->g->id,
		.from = o->g->self,
		.to = o->peer->id,
		.term = o->term,
		.stream = o->stream,
	};
	while (may_read_ahead(o)) {
		size_t n;
		w.part = o->parts;
		if (o->data.n > 0) {
			n = send_state(o, &w);
		} else if (o->range == n_ranges(&o->live)) {
			return;
		} else if (send_entries(o, &w, &n) != 0) {
			out_end(o, RAFT_IOERR);
			return;
		}
		o->parts++;
		o->bytes_ahead += n;
		o->bytes += n;
	}
}

static void out_begin_burst(struct install_out *o)
{
	o->resume_ms = 0;
	o->bytes_ahead = 0;
	pace_begin(&o->pace, groups_now(o->g->groups));
	out_send_burst(o);
}

/* The ms until the next burst. A leader whose first entry waits for this member serves nobody yet. */
static unsigned out_spares(struct install_out *o, uint64_t now)
{
	size_t log = o->g->fsm.log_bytes;
	if (o->g->leading)
		return pace_end(&o->pace, now, o->bytes, log > o->log_bytes ? log - o->log_bytes : 0);
	pace_hurry(&o->pace);
	return 0;
}

static void out_pause(struct install_out *o)
{
	uint64_t now = groups_now(o->g->groups);
	unsigned pause = out_spares(o, now);
	if (pause == 0) {
		out_begin_burst(o);
		return;
	}
	o->resume_ms = now + pause;
	groups_pace(o->g);
}

static void out_acked(struct install_out *o, uint64_t parts)
{
	bool first = !o->accepted;
	o->acked = parts;
	o->accepted = true;
	if (first)
		out_begin_burst(o);
	else if (o->acked == o->parts && o->resume_ms == 0)
		out_pause(o);
}

unsigned install_resume(struct group *g)
{
	uint64_t now = groups_now(g->groups), next = UINT64_MAX;
	LIST_EACH_SAFE(node, &g->installs.out)
	{
		struct install_out *o = LIST_ENTRY(node, struct install_out, link);
		if (o->resume_ms == 0)
			continue;
		if (now >= o->resume_ms)
			out_begin_burst(o);
		else if (o->resume_ms < next)
			next = o->resume_ms;
	}
	return next == UINT64_MAX ? 0 : (unsigned)(next - now);
}

/* The later line asks again: after a while, and whenever the member was not heard for a heartbeat. */
static void out_goes_on(struct install_out *o, struct raft_io_send *req, raft_io_send_cb cb)
{
	struct raft_io_send *former = o->req;
	raft_io_send_cb former_cb = o->cb;
	o->req = req;
	o->cb = cb;
	former_cb(former, 0);
}

int install_send(struct group *g, struct peer *p, struct raft_io_send *req,
	const struct raft_install_snapshot *args, raft_io_send_cb cb)
{
	if (p == NULL || !may_send(g, args->term) || !groups_linked(g->groups, p->node))
		return RAFT_NOCONNECTION;
	if (LIBRAFT_LAYERED && p->install != NULL && p->install->term == args->term) {
		out_goes_on(p->install, req, cb);
		return 0;
	}
	if (p->install != NULL)
		out_end(p->install, RAFT_CANCELED);
	struct install_out *o = out_new(g, args->last_index);
	const struct groups_config *c = &g->groups->config;
	o->peer = p;
	o->req = req;
	o->cb = cb;
	o->term = args->term;
	o->stream = (uint64_t)c->random(c->arg) << 32 | ++g->installs.streams;
	o->heard_ms = groups_now(g->groups);
	p->install = o;
	list_push_back(&g->installs.out, &o->link);

	struct raft_buffer conf;
	if (raft_configuration_encode(&args->conf, &conf) != 0)
		group_broken(g, "a configuration cannot be encoded");
	struct wire w = {
		.kind = WIRE_INSTALL,
		.group = g->id,
		.from = g->self,
		.to = p->id,
		.term = o->term,
		.stream = o->stream,
		.index = o->index,
		.index_term = terms_of(&g->io.terms, o->index),
		.conf_index = args->conf_index,
		.data_n = o->data.n,
		.entries_n = n_entries(&o->live),
	};
	struct net_part part = {.blob = blob_of(conf.base), .p = conf.base, .n = conf.len};
	group_net_post(g, p->node, &w, slice_make(NULL, 0), &part, 1);
	return 0;
}

/* raft's own answer may be lost, and it would wait for that until its timeout. A leader that has
 * fallen silent hears no answers: if it goes on leading it is told then (install_out_tick()). */
static void out_taken(struct install_out *o)
{
	struct group *g = o->g;
	struct peer *p = o->peer;
	o->taken = true;
	if (g->stall.silent)
		return;
	size_t room = group_fsm_room_for_brought(g);
	group_net_brought(p, room);
	group_inbox_answer(g, p, o->index);
	if (LIBRAFT_LAYERED) /* which asks for a snapshot meanwhile: who has a stream is not waited for */
		group_net_brought(p, room);
	if (p->install == o)
		out_end(o, 0);
}

void install_acked(struct group *g, uint64_t node, const struct wire *w)
{
	struct peer *p = group_net_peer(g, w->from);
	struct install_out *o = p != NULL ? p->install : NULL;
	(void)node;
	if (o == NULL || o->stream != w->stream || !g->leading_raft ||
		o->term != libraft_term(&g->raft))
		return;
	o->heard_ms = groups_now(g->groups);
	p->heard_ms = freeze_clock(g);
	if (w->flags & WIRE_REFUSED) {
		out_end(o, RAFT_NOCONNECTION);
	} else if (w->flags & WIRE_DONE) {
		out_taken(o);
	} else if (w->part <= o->parts && (w->part > o->acked || !o->accepted)) {
		out_acked(o, w->part);
	}
	group_settle(g);
}

void install_link_down(struct group *g, struct peer *p)
{
	(void)g;
	if (p->install != NULL)
		out_end(p->install, RAFT_NOCONNECTION);
}

void install_gone(struct group *g, uint64_t id)
{
	struct peer *p = group_net_peer(g, id);
	if (p != NULL && p->install != NULL)
		out_end(p->install, RAFT_CANCELED);
	if (p != NULL)
		p->match = p->sent = 0; /* if it comes back it has to say anew what it has */
}

void install_not_leading(struct group *g)
{
	while (install_streams(g))
		out_end(LIST_ENTRY(g->installs.out.next, struct install_out, link), RAFT_CANCELED);
}

/* One a turn: raft may do anything with the answer. */
static void end_taken(struct group *g)
{
	LIST_EACH(node, &g->installs.out)
	{
		struct install_out *o = LIST_ENTRY(node, struct install_out, link);
		if (o->taken && !g->stall.silent) {
			out_taken(o);
			return;
		}
	}
}

/* What waits for a link that is busy with others is not the member's silence. To begin again would put
 * more there, and nobody would come to an end. */
static bool is_stalled(const struct install_out *o, uint64_t now)
{
	const struct peer *p = o->peer;
	uint64_t since = p->part_ms > o->heard_ms ? p->part_ms : o->heard_ms;
	if (p->parts_in_link > 0 && RULE(o->g, streams_wait))
		return false;
	return now - since >= STALL_MS;
}

void install_out_tick(struct group *g)
{
	uint64_t now = groups_now(g->groups);
	end_taken(g);
	LIST_EACH_SAFE(node, &g->installs.out)
	{
		struct install_out *o = LIST_ENTRY(node, struct install_out, link);
		if (!o->taken && is_stalled(o, now))
			out_end(o, RAFT_NOCONNECTION);
	}
}

void install_init(struct group *g)
{
	list_init(&g->installs.out);
	list_init(&g->installs.gets);
}

void install_cancel(struct group *g)
{
	struct list *node;
	install_not_leading(g);
	while ((node = list_pop(&g->installs.gets)) != NULL)
		get_answer(g, node);
}

void install_done(struct group *g)
{
	buf_done(&g->installs.deferred);
}

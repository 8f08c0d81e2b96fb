/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/group_inbox.h"
#include "raft/install.h"

#include <inttypes.h>

#include "raft/configuration.h"
#include "raft/group_priv.h"
#include "raft/pace.h"
#include "src/base/log.h"

enum {
	PART_ENTRIES = 256,
	STALL_MS = 3000,     /* without an answer: given up, raft starts over */
	FORSAKEN_MS = 60000, /* without a part: what is staged is dropped */
	COMPLAIN_MS = 60000, /* between complaints: the leader tries again and again */
};

/* ---- leader --------------------------------------------------------------------------------- */

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
	struct net_part parts[PART_ENTRIES];
	uint8_t list[PART_ENTRIES * WIRE_ENTRY];
	unsigned n = 0;
	size_t bytes = 0;
	int rv = 0;
	while (n < PART_ENTRIES && bytes < INSTALL_PART_BYTES && o->range < n_ranges(&o->live)) {
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
 * fallen silent hears no answers: if it goes on leading it is told then (install_tick()). */
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

/* ---- lagging member ------------------------------------------------------------------------- */

/* A part that came before the one that is expected. */
struct early_part {
	struct wire w; /* slices into the blob */
	struct blob *blob;
};

/* A snapshot that arrives. Ends when its last write has. */
struct install_in {
	struct group *g;
	struct store_log *log; /* staged: the entries; with the switch it is the group's */
	uint64_t stream;
	uint64_t from; /* raft id of the leader */
	uint64_t node;
	uint64_t term; /* of the leader */
	uint64_t index;
	uint64_t index_term;
	uint64_t conf_index;
	uint64_t data_n; /* what will come */
	uint64_t entries_n;
	struct buf conf;
	struct buf data;
	uint64_t last;    /* index of the last entry that came */
	uint64_t arrived; /* entries, gone ones included */
	uint64_t parts;   /* taken */
	uint64_t durable; /* of these, as far as nothing before them is being written */
	struct early_part early[INSTALL_PARTS_AHEAD]; /* part k in [k % ...] */
	uint64_t heard_ms;
	bool given; /* to raft */
	bool over;  /* given up: what was staged is being dropped */
	unsigned writes;
	struct raft_io_snapshot_put *put;
	struct store_log *former; /* switching: the log that goes */
};

/* A write of what was staged. */
struct in_write {
	struct store_req req;
	struct install_in *in;
	uint64_t parts; /* are durable with it */
};

static void on_in_write(struct store_req *req);

static struct in_write *in_write_new(struct install_in *in)
{
	struct in_write *w = MEM_NEW(struct in_write);
	w->in = in;
	w->parts = in->parts;
	w->req.done = on_in_write;
	group_io_write_begins(in->g);
	in->writes++;
	return w;
}

static void in_free(struct install_in *in)
{
	for (unsigned i = 0; i < INSTALL_PARTS_AHEAD; i++)
		blob_unref(in->early[i].blob);
	buf_done(&in->conf);
	buf_done(&in->data);
	mem_free(in);
}

/* What is under way of it is finished first, the store sees to that. */
static void in_give_up(struct group *g)
{
	struct install_in *in = g->installs.in;
	if (in == NULL)
		return;
	g->installs.in = NULL;
	in->over = true;
	store_log_drop(in->log, &in_write_new(in)->req);
}

static void ack(struct group *g, uint64_t node, uint64_t to, uint64_t stream, uint64_t part,
	uint64_t index, unsigned flags)
{
	struct wire w = {
		.kind = WIRE_INSTALL_ACK,
		.flags = flags,
		.group = g->id,
		.from = g->self,
		.to = to,
		.term = libraft_term(&g->raft),
		.stream = stream,
		.part = part,
		.index = index,
	};
	group_net_post(g, node, &w, slice_make(NULL, 0), NULL, 0);
}

static void ack_in(struct group *g, unsigned flags)
{
	const struct install_in *in = g->installs.in;
	ack(g, in->node, in->from, in->stream, in->durable, in->index, flags);
}

/* Why a snapshot is not wanted, for whoever has to find out what is wrong with the other. */
static void complain(struct group *g, uint64_t node, uint64_t from, const char *why)
{
	uint64_t now = groups_now(g->groups);
	if (g->installs.complained && now - g->installs.complained_ms < COMPLAIN_MS)
		return;
	g->installs.complained = true;
	g->installs.complained_ms = now;
	log_error("raft",
		"group %" PRIu64 ": the snapshot that member %" PRIu64 " on node %016" PRIx64
		" sends is refused: %s",
		g->id, from, node, why);
}

static void in_refuse(struct group *g, const char *why)
{
	const struct install_in *in = g->installs.in;
	complain(g, in->node, in->from, why);
	ack_in(g, WIRE_REFUSED);
	in_give_up(g);
}

static bool is_complete(const struct install_in *in)
{
	return in->data.n == in->data_n && in->arrived == in->entries_n && in->writes == 0;
}

/* What libraft takes for granted: numbers that fit each other, nothing other than what is committed
 * here, no other leader in the term in which we lead. */
static bool in_is_sound(struct group *g, const struct install_in *in)
{
	uint64_t ours = terms_of(&g->io.terms, in->index);
	if (in->index == 0 || in->index_term == 0 || in->index_term > in->term)
		return false;
	if (in->conf_index == 0 || in->conf_index > in->index)
		return false;
	if (in->index <= libraft_commit(&g->raft) && ours != 0 && ours != in->index_term)
		return false;
	return !g->leading_raft || in->term != g->term_raft;
}

/* NULL, with the configuration, or what is wrong. */
static const char *in_fault(struct group *g, const struct install_in *in,
	struct raft_configuration *ret_conf)
{
	if (!in_is_sound(g, in))
		return "its numbers fit neither each other nor what is committed here";
	if (g->app->accepts != NULL && !g->app->accepts(g->arg, buf_slice(&in->data)))
		return "its state cannot be understood";
	if (configuration_decode(ret_conf, buf_slice(&in->conf)) != 0)
		return "its members cannot be understood";
	return NULL;
}

static void give(struct group *g)
{
	struct install_in *in = g->installs.in;
	char address[MEMBER_ADDRESS];
	struct raft_message message = {
		.type = RAFT_IO_INSTALL_SNAPSHOT,
		.server_id = in->from,
		.server_address = address,
		.install_snapshot =
			{
				.term = in->term,
				.last_index = in->index,
				.last_term = in->index_term,
				.conf_index = in->conf_index,
			},
	};
	member_address(address, in->from, in->node);
	const char *fault = in_fault(g, in, &message.install_snapshot.conf);
	if (fault != NULL) {
		in_refuse(g, fault);
		return;
	}
	message.install_snapshot.data = (struct raft_buffer){.base = raft_malloc(1), .len = 1};
	in->given = true;
	g->io.recv(&g->io.raft, &message);
	if (in->put == NULL) {
		/* raft has no use for it, and said so. */
		ack_in(g, WIRE_REFUSED);
		in_give_up(g);
	}
	group_settle(g);
}

void install_unblock(struct group *g)
{
	struct install_in *in = g->installs.in;
	if (in != NULL && !in->given && is_complete(in) && g->io.snapshots == 0 &&
		g->io.appends == 0 && g->phase == GROUP_RUNNING)
		give(g);
}

/* What will come has room, and can be: each entry has an index of its own. */
static bool is_bearable(const struct group *g, const struct wire *w)
{
	uint64_t most = g->groups->config.state_max;
	return (most == 0 || w->data_n <= most) && w->entries_n <= w->index;
}

static void in_begin(struct group *g, uint64_t node, const struct wire *w)
{
	in_give_up(g);
	struct install_in *in = MEM_NEW(struct install_in);
	in->g = g;
	in->log = store_log_stage(g->log);
	in->stream = w->stream;
	in->from = w->from;
	in->node = node;
	in->term = w->term;
	in->index = w->index;
	in->index_term = w->index_term;
	in->conf_index = w->conf_index;
	in->data_n = w->data_n;
	in->entries_n = w->entries_n;
	buf_put_slice(&in->conf, w->bytes);
	g->installs.in = in;
}

/* Entries without a gap between them. Their true terms are not known, nor asked for. */
static void stage(struct install_in *in, uint64_t first, const struct store_entry *e, unsigned n)
{
	if (n > 0)
		store_log_append(in->log, &in_write_new(in)->req, first, e, n);
}

static bool in_take_entries(struct install_in *in, const struct wire *w, struct blob *blob)
{
	struct store_entry run[PART_ENTRIES];
	uint64_t first = 0;
	unsigned n = 0;
	const uint8_t *p = w->bytes.p;
	if (w->n > PART_ENTRIES || in->arrived + w->n > in->entries_n)
		return false;
	for (unsigned i = 0; i < w->n; i++) {
		struct wire_entry e = wire_entry_of(w, i);
		if (e.number <= in->last || e.number == 1 || e.number > in->index)
			return false;
		in->last = e.number;
		in->arrived++;
		if (e.type == WIRE_GONE)
			continue;
		if (first + n != e.number) {
			stage(in, first, run, n);
			first = e.number;
			n = 0;
		}
		run[n++] = (struct store_entry){
			.term = in->index_term,
			.type = RAFT_COMMAND,
			.blob = blob,
			.p = p,
			.n = e.n,
		};
		p += e.n;
	}
	stage(in, first, run, n);
	return true;
}

/* False if it is not what was announced. */
static bool in_take(struct install_in *in, const struct wire *w, struct blob *blob)
{
	bool ok;
	if (w->kind == WIRE_INSTALL_STATE) {
		buf_put_slice(&in->data, w->bytes);
		ok = in->data.n <= in->data_n;
	} else {
		ok = in_take_entries(in, w, blob);
	}
	in->parts++;
	if (in->writes == 0)
		in->durable = in->parts;
	return ok;
}

/* Takes the part and what had come before it. */
static bool in_take_all(struct install_in *in, const struct wire *w, struct blob *blob)
{
	bool ok = in_take(in, w, blob);
	for (;;) {
		struct early_part *e = &in->early[in->parts % INSTALL_PARTS_AHEAD];
		if (!ok || e->blob == NULL || e->w.part != in->parts)
			return ok;
		ok = in_take(in, &e->w, e->blob);
		blob_unref(e->blob);
		e->blob = NULL;
	}
}

static void in_keep_early(struct install_in *in, const struct wire *w, struct blob *blob)
{
	struct early_part *e = &in->early[w->part % INSTALL_PARTS_AHEAD];
	if (w->part <= in->parts || w->part >= in->parts + INSTALL_PARTS_AHEAD || e->blob != NULL)
		return;
	*e = (struct early_part){.w = *w, .blob = blob_ref(blob)};
}

void install_receive(struct group *g, uint64_t node, const struct wire *w, struct blob *blob)
{
	struct install_in *in = g->installs.in;
	bool ours = in != NULL && in->stream == w->stream && in->from == w->from;
	if (w->term < libraft_term(&g->raft) && !ours) {
		ack(g, node, w->from, w->stream, 0, 0, WIRE_REFUSED);
		return;
	}
	if (in != NULL && in->given) {
		if (!ours)
			return; /* it is repeated until we are done with this one */
		ack_in(g, 0);
		return;
	}
	if (w->kind == WIRE_INSTALL && !ours && !is_bearable(g, w)) {
		complain(g, node, w->from, "it is larger than can be");
		ack(g, node, w->from, w->stream, 0, 0, WIRE_REFUSED);
		return;
	}
	if (w->kind == WIRE_INSTALL && !ours) {
		in_begin(g, node, w);
		ours = true;
		in = g->installs.in;
	} else if (!ours) {
		ack(g, node, w->from, w->stream, 0, 0, WIRE_REFUSED);
		return;
	}
	in->heard_ms = groups_now(g->groups);
	if (w->kind != WIRE_INSTALL && w->part == in->parts) {
		if (!in_take_all(in, w, blob)) {
			in_refuse(g, "it is not what was announced");
			return;
		}
	} else if (w->kind != WIRE_INSTALL) {
		in_keep_early(in, w, blob);
	}
	ack_in(g, 0);
	install_unblock(g);
}

/* ---- the switch ----------------------------------------------------------------------------- */

static void switched(struct group *g)
{
	struct install_in *in = g->installs.in;
	struct raft_io_snapshot_put *put = in->put;
	store_log_close(in->former);
	g->io.snapshots--;
	put->cb(put, 0);                  /* restores the application, answers the leader */
	libraft_clear_changing(&g->raft); /* R10 */
	g->io.installing = false;
	ack_in(g, WIRE_DONE);
	g->installs.in = NULL;
	in_free(in);
	group_io_unblock(g);
}

static void on_in_write(struct store_req *req)
{
	struct in_write *w = LIST_ENTRY(req, struct in_write, req);
	struct install_in *in = w->in;
	struct group *g = in->g;
	in->durable = --in->writes == 0 ? in->parts : w->parts;
	mem_free(w);
	if (in->over && in->writes == 0) {
		store_log_close(in->log);
		in_free(in);
	} else if (!in->over && in->put != NULL) {
		switched(g);
	} else if (!in->over) {
		ack_in(g, 0);
		install_unblock(g);
	}
	group_io_write_ended(g);
}

/* All entries are durable in the staged log. It takes the place of the group's in one transaction,
 * and what is written from now on goes there, behind that. */
void install_put(struct group *g, struct raft_io_snapshot_put *req,
	const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct install_in *in = g->installs.in;
	if (in == NULL || !in->given || snapshot->index != in->index)
		group_broken(g, "raft installs a snapshot that did not arrive");
	in->put = req;
	req->cb = cb;
	g->io.snapshots++;
	g->io.installing = true;
	struct in_write *w = in_write_new(in);
	w->req.u.snapshot.index = in->index;
	w->req.u.snapshot.term = in->index_term;
	w->req.u.snapshot.conf_index = in->conf_index;
	w->req.u.snapshot.conf = buf_slice(&in->conf);
	w->req.u.snapshot.data = buf_slice(&in->data);
	store_log_switch(in->log, &w->req);
	in->former = g->log;
	g->log = in->log;
	g->io.next = in->index + 1;
	g->io.log_start = in->index + 1;
	g->io.kept_index = in->index;
	g->io.durable_term = in->index_term;
	terms_reset(&g->io.terms, in->index, in->index_term);
	confs_reset(&g->io.confs, in->conf_index, &snapshot->configuration);
}

struct slice install_state(const struct group *g)
{
	return buf_slice(&g->installs.in->data);
}

/* ---- turns ---------------------------------------------------------------------------------- */

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

void install_tick(struct group *g)
{
	uint64_t now = groups_now(g->groups);
	end_taken(g);
	LIST_EACH_SAFE(node, &g->installs.out)
	{
		struct install_out *o = LIST_ENTRY(node, struct install_out, link);
		if (!o->taken && is_stalled(o, now))
			out_end(o, RAFT_NOCONNECTION);
	}
	struct install_in *in = g->installs.in;
	if (in == NULL)
		return;
	if (in->writes > 0)
		ack_in(g, 0); /* a slow disk is not silence */
	else if (now - in->heard_ms >= FORSAKEN_MS)
		in_give_up(g);
}

void install_give_up(struct group *g)
{
	if (g->installs.in != NULL && !g->installs.in->given)
		in_give_up(g);
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/install.h"

#include <inttypes.h>

#include "raft/configuration.h"
#include "raft/group_priv.h"
#include "src/base/log.h"

enum {
	FORSAKEN_MS = 60000, /* without a part: what is staged is dropped */
	COMPLAIN_MS = 60000, /* between complaints: the leader tries again and again */
};

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
	struct store_entry run[INSTALL_PART_ENTRIES];
	uint64_t first = 0;
	unsigned n = 0;
	const uint8_t *p = w->bytes.p;
	if (w->n > INSTALL_PART_ENTRIES || in->arrived + w->n > in->entries_n)
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

void install_in_tick(struct group *g)
{
	struct install_in *in = g->installs.in;
	if (in == NULL)
		return;
	if (in->writes > 0)
		ack_in(g, 0); /* a slow disk is not silence */
	else if (groups_now(g->groups) - in->heard_ms >= FORSAKEN_MS)
		in_give_up(g);
}

void install_give_up(struct group *g)
{
	if (g->installs.in != NULL && !g->installs.in->given)
		in_give_up(g);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * What raft writes becomes store requests. The store carries out one log's requests in the order
 * submitted and completes them in that order from store_port_poll(), so three parts of libraft's
 * contract hold without further doing:
 *
 *   - append completions come strictly in order (raft counts last_stored relatively);
 *   - truncations, which have no callback, and hard state take their place among the appends: no
 *     entry of a term is durable before the term;
 *   - no completion runs inside the call that queued it.
 *
 * What is written is taken note of on the way (terms, configurations, where raft's log begins), so
 * that nobody has to look into raft's log.
 *
 * R4: an append never fails. The store retries until it can or aborts the process; every completion
 *     passes 0. (libraft's leader, told of a failure, reuses the index in the same term although
 *     others may hold the first version.)
 *
 * Start of a member, all of it before raft_start():
 *
 *   load -> check -> app->restore, app->live
 *     -> first configuration, or a new term (R5), or the others given up, durable -> raft_start()
 */
#include "raft/group_inbox.h"
#include "raft/group_io.h"

#include <inttypes.h>
#include <stdlib.h>

#include "raft/configuration.h"
#include "raft/group_priv.h"
#include "raft/install.h"
#include "src/base/log.h"

/* ---- writing -------------------------------------------------------------------------------- */

void group_io_write_begins(struct group *g)
{
	if (g->io.writes++ == 0)
		stall_moves(g);
}

void group_io_write_ended(struct group *g)
{
	g->io.writes--;
	stall_moves(g);
	group_settle(g);
}

void group_io_unblock(struct group *g)
{
	if (g->phase != GROUP_RUNNING)
		return;
	group_inbox_unblock(g);
	install_unblock(g);
}

/* A write nobody waits for. */
struct io_write {
	struct store_req req;
	struct group *g;
};

static void io_write_done(struct store_req *req)
{
	struct io_write *w = LIST_ENTRY(req, struct io_write, req);
	struct group *g = w->g;
	mem_free(w);
	group_io_write_ended(g);
}

static struct io_write *io_write_new(struct group *g)
{
	struct io_write *w = MEM_NEW(struct io_write);
	w->g = g;
	w->req.done = io_write_done;
	group_io_write_begins(g);
	return w;
}

struct io_hard {
	struct store_req req;
	struct group *g;
	uint64_t number;
};

static void io_hard_done(struct store_req *req)
{
	struct io_hard *h = LIST_ENTRY(req, struct io_hard, req);
	struct group *g = h->g;
	uint64_t number = h->number;
	mem_free(h);
	group_net_hard_done(g, number);
	group_io_write_ended(g);
}

/* Term and vote may return before they are durable: the FIFO keeps later entries behind them, and
 * messages wait for them (hard-state barrier, group_net.c). */
static int submit_hard_state(struct group *g)
{
	struct io_hard *h = MEM_NEW(struct io_hard);
	h->g = g;
	h->number = ++g->io.hard;
	h->req.done = io_hard_done;
	group_io_write_begins(g);
	store_log_hard(g->log, &h->req, g->io.term, g->io.vote);
	return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
	struct group *g = io->impl;
	g->io.term = term;
	g->io.vote = 0;
	return submit_hard_state(g);
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
	struct group *g = io->impl;
	g->io.vote = id;
	return submit_hard_state(g);
}

static struct store_entry stored_entry(const struct raft_entry *e)
{
	/* In a batch the block starts at the batch, not at the entry. */
	struct blob *blob = blob_of(e->batch != NULL ? e->batch : e->buf.base);
	return (struct store_entry){
		.term = e->term,
		.type = (uint16_t)e->type,
		.blob = blob,
		.p = e->buf.base,
		.n = e->buf.len,
	};
}

struct io_append {
	struct store_req req;
	struct list link; /* in io.appending */
	struct group *g;
	struct raft_io_append *raft;
	uint64_t first; /* index */
	unsigned n;
	size_t bytes; /* of all */
	struct store_entry *entries; /* raft holds their blocks until it is called back */
	struct store_entry one;
};

static struct io_append *io_append_new(struct group *g, const struct raft_entry entries[], unsigned n)
{
	struct io_append *a = MEM_NEW(struct io_append);
	a->g = g;
	a->first = g->io.next;
	a->n = n;
	a->entries = n == 1 ? &a->one : mem_alloc(n * sizeof *a->entries);
	for (unsigned i = 0; i < n; i++) {
		a->entries[i] = stored_entry(&entries[i]);
		a->bytes += entries[i].buf.len;
	}
	g->io.append_bytes += a->bytes;
	list_init(&a->link);
	list_push_back(&g->io.appending, &a->link);
	g->io.appends++;
	return a;
}

static void io_append_free(struct io_append *a)
{
	list_remove(&a->link);
	a->g->io.appends--;
	a->g->io.append_bytes -= a->bytes;
	if (a->entries != &a->one)
		mem_free(a->entries);
	mem_free(a);
}

bool group_io_fetch(struct group *g, uint64_t index, struct blob **ret_blob, const uint8_t **ret_p,
	size_t *ret_n)
{
	bool found = false;
	LIST_EACH(node, &g->io.appending)
	{
		const struct io_append *a = LIST_ENTRY(node, struct io_append, link);
		if (index < a->first || index - a->first >= a->n)
			continue;
		const struct store_entry *e = &a->entries[index - a->first];
		if (found)
			blob_unref(*ret_blob);
		*ret_blob = blob_ref(e->blob); /* a later one replaces an earlier one */
		*ret_p = e->p;
		*ret_n = e->n;
		found = true;
	}
	return found;
}

/* R4: 0. A test may have one fail. */
static int append_status(struct group *g, uint64_t last, bool command)
{
	if (RULE(g, r4_never_fails) || g->io.failed_once || !command || !g->leading)
		return 0;
	g->io.failed_once = true;
	g->io.next = last;
	g->proposed_index = 0;
	return RAFT_IOERR;
}

static void io_append_done(struct store_req *req)
{
	struct io_append *a = LIST_ENTRY(req, struct io_append, req);
	struct group *g = a->g;
	struct raft_io_append *raft = a->raft;
	uint64_t last = a->first + a->n - 1; /* index of the last entry */
	uint64_t term = a->entries[a->n - 1].term;
	bool command = a->entries[a->n - 1].type == RAFT_COMMAND;
	io_append_free(a);
	bool first_of_term =
		g->leading_raft && term == g->term_raft && g->io.durable_term != term;
	g->io.durable_term = term;
	g->net.covered = last; /* R1: a follower's late answer covers this append */
	raft->cb(raft, append_status(g, last, command)); /* may apply */
	g->net.covered = UINT64_MAX;
	group_settle(g);
	/* R2: what was withheld goes out now, not with the next heartbeat. */
	if (first_of_term && !LIBRAFT_LAYERED && g->leading_raft && g->phase == GROUP_RUNNING)
		g->io.tick(&g->io.raft);
	group_io_unblock(g);
	group_io_write_ended(g);
}

static void note_entries(struct group *g, const struct raft_entry entries[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct raft_entry *e = &entries[i];
		terms_push(&g->io.terms, e->term);
		if (e->type == RAFT_CHANGE && confs_push(&g->io.confs, g->io.next + i,
						      slice_make(e->buf.base, e->buf.len)) != 0)
			group_broken(g, "a configuration cannot be understood");
	}
}

static int io_append(struct raft_io *io, struct raft_io_append *raft,
	const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
	struct group *g = io->impl;
	struct io_append *a = io_append_new(g, entries, n);
	raft->cb = cb;
	a->raft = raft;
	a->req.done = io_append_done;
	group_io_write_begins(g);
	note_entries(g, entries, n);
	store_log_append(g->log, &a->req, a->first, a->entries, n);
	g->io.next += n;
	return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
	struct group *g = io->impl;
	if (index >= g->io.next)
		return 0; /* the later line says so before each append */
	struct io_write *w = io_write_new(g);
	store_log_truncate(g->log, &w->req, index);
	g->io.next = index;
	terms_truncate(&g->io.terms, index);
	confs_truncate(&g->io.confs, index);
	return 0;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

struct io_snapshot {
	struct store_req req;
	struct group *g;
	struct raft_io_snapshot_put *raft;
	struct raft_buffer conf;
};

/* As libraft does it: `trailing` entries stay, if there are more. */
static void note_trimmed(struct group *g, uint64_t index)
{
	struct group_io *io = &g->io;
	io->kept_index = index;
	if (index > io->trailing && index - io->trailing >= io->log_start)
		io->log_start = index - io->trailing + 1;
	terms_trim(&io->terms, io->log_start < index ? io->log_start : index);
	confs_trim(&io->confs, index);
}

static void io_snapshot_done(struct store_req *req)
{
	struct io_snapshot *s = LIST_ENTRY(req, struct io_snapshot, req);
	struct group *g = s->g;
	struct raft_io_snapshot_put *raft = s->raft;
	uint64_t index = req->u.snapshot.index;
	raft_free(s->conf.base);
	mem_free(s);
	g->io.snapshots--;
	g->app->snapshot_done(g->arg, index);
	raft->cb(raft, 0); /* trims the log, and finalizes: the state goes */
	note_trimmed(g, index);
	group_io_unblock(g);
	group_io_write_ended(g);
}

/* raft's buffer is a descriptor; the state is where group_fsm has put it. */
static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *raft,
	const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct group *g = io->impl;
	/* What raft means by 0: the state came from a leader and replaces the whole log. For a
	 * snapshot of our own group_fsm keeps it above 0. */
	if (trailing == 0) {
		install_put(g, raft, snapshot, cb);
		return 0;
	}
	const struct fsm_snapshot *state = g->fsm.taken;
	struct io_snapshot *s = MEM_NEW(struct io_snapshot);
	s->g = g;
	s->raft = raft;
	raft->cb = cb;
	if (raft_configuration_encode(&snapshot->configuration, &s->conf) != 0)
		group_broken(g, "a configuration cannot be encoded");
	s->req.done = io_snapshot_done;
	s->req.u.snapshot.index = snapshot->index;
	s->req.u.snapshot.term = snapshot->term;
	s->req.u.snapshot.conf_index = snapshot->configuration_index;
	s->req.u.snapshot.conf = slice_make(s->conf.base, s->conf.len);
	s->req.u.snapshot.data = buf_slice(&state->data);
	s->req.u.snapshot.live = (struct store_range *)(void *)state->live.p;
	s->req.u.snapshot.n_live = (unsigned)(state->live.n / sizeof(struct store_range));
	s->req.u.snapshot.rows = (struct store_row *)(void *)state->rows.p;
	s->req.u.snapshot.n_rows = (unsigned)(state->rows.n / sizeof(struct store_row));
	g->io.trailing = trailing;
	g->io.snapshots++;
	group_io_write_begins(g);
	store_log_snapshot(g->log, &s->req);
	g->fsm.snapshot_index = snapshot->index;
	return 0;
}

/* ---- time and chance ------------------------------------------------------------------------ */

static raft_time io_time(struct raft_io *io)
{
	return freeze_clock(io->impl);
}

static int io_random(struct raft_io *io, int min, int max)
{
	return haste_draw(io->impl, min, max);
}

/* ---- starting ------------------------------------------------------------------------------- */

struct io_start {
	struct group *g;
	unsigned writes; /* that raft_start() waits for */
	struct store_req hard;
	struct store_req append;
	uint64_t term;
	uint64_t vote;
	struct raft_snapshot *snapshot; /* libraft's memory, as are the next two; or NULL */
	uint64_t first;
	struct raft_entry *entries;
	size_t n_entries;
};

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
	(void)io;
	(void)id;
	(void)address;
	return 0;
}

/* Inside raft_start(): hands over what group_io_open() has prepared. */
static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
	struct raft_snapshot **snapshot, raft_index *first, struct raft_entry *entries[],
	size_t *n_entries)
{
	struct group *g = io->impl;
	struct io_start *s = g->io.start;
	*term = s->term;
	*vote = s->vote;
	*snapshot = s->snapshot;
	*first = s->first;
	*entries = s->entries;
	*n_entries = s->n_entries;
	g->io.start = NULL;
	mem_free(s);
	return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
	struct group *g = io->impl;
	(void)msecs; /* groups_tick() comes as often as it likes */
	g->io.tick = tick;
	g->io.recv = recv;
	return 0;
}

/* Called back from group_finish(), which is called only when no write is under way. */
static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
	struct group *g = io->impl;
	g->io.close_cb = cb;
}

static void start_write_done(struct io_start *s)
{
	struct group *g = s->g;
	if (--s->writes == 0)
		group_start(g);
	group_io_write_ended(g);
}

static void start_hard_done(struct store_req *req)
{
	start_write_done(LIST_ENTRY(req, struct io_start, hard));
}

static void start_append_done(struct store_req *req)
{
	start_write_done(LIST_ENTRY(req, struct io_start, append));
}

static void start_hard(struct io_start *s, uint64_t term, uint64_t vote)
{
	s->term = s->g->io.term = term;
	s->vote = s->g->io.vote = vote;
	s->hard.done = start_hard_done;
	s->writes++;
	group_io_write_begins(s->g);
	store_log_hard(s->g->log, &s->hard, term, vote);
}

/* The first configuration as entry 1 of term 1: the same bytes on all its voters. */
static void start_first_entry(struct io_start *s, uint64_t term, struct raft_buffer conf)
{
	s->first = 1;
	s->entries = raft_malloc(sizeof *s->entries);
	s->n_entries = 1;
	s->entries[0] = (struct raft_entry){.term = term, .type = RAFT_CHANGE, .buf = conf};
	struct store_entry e = stored_entry(&s->entries[0]);
	s->append.done = start_append_done;
	s->writes++;
	group_io_write_begins(s->g);
	store_log_append(s->g->log, &s->append, 1, &e, 1);
}

static void note_loaded(struct group *g, const struct io_start *s)
{
	struct group_io *io = &g->io;
	uint64_t index = 0, term = 0;
	if (s->snapshot != NULL) {
		index = s->snapshot->index;
		term = s->snapshot->term;
		confs_reset(
			&io->confs, s->snapshot->configuration_index, &s->snapshot->configuration);
	}
	terms_reset(&io->terms, index, term);
	io->kept_index = index;
	io->log_start = index + 1;
	io->next = index + 1;
	note_entries(g, s->entries, (unsigned)s->n_entries);
	io->next += s->n_entries;
	io->durable_term = s->n_entries > 0 ? s->entries[s->n_entries - 1].term : term;
}

static struct raft_buffer encode_members(struct group *g, const struct group_spec *spec)
{
	struct raft_configuration conf;
	struct raft_buffer bytes;
	raft_configuration_init(&conf);
	for (unsigned i = 0; i < spec->n_members; i++) {
		const struct group_member *m = &spec->members[i];
		char address[MEMBER_ADDRESS];
		member_address(address, m->id, m->node);
		if (raft_configuration_add(
			    &conf, m->id, address, m->voter ? RAFT_VOTER : RAFT_STANDBY) != 0)
			group_broken(g, "the first configuration names a member twice");
	}
	if (raft_configuration_encode(&conf, &bytes) != 0)
		group_broken(g, "a configuration cannot be encoded");
	raft_configuration_close(&conf);
	return bytes;
}

/* One block for each entry, and no batch: trimming entries that share a batch is quadratic. */
static struct raft_entry raft_entry_of(const struct store_entry *e)
{
	struct blob *blob;
	if (e->blob != NULL && e->p == e->blob->data) {
		blob = blob_ref(e->blob);
	} else {
		blob = blob_new(e->n);
		if (e->n > 0)
			memcpy(blob->data, e->p, e->n);
	}
	return (struct raft_entry){
		.term = e->term,
		.type = e->type,
		.buf = {.base = blob->data, .len = e->n},
	};
}

static void start_take_entries(struct io_start *s, const struct store_load *load)
{
	s->first = load->has_snapshot ? load->snapshot_index + 1 : 1;
	s->n_entries = load->n_entries;
	s->entries = raft_malloc((load->n_entries + 1) * sizeof *s->entries); /* start_alone() */
	for (size_t i = 0; i < load->n_entries; i++)
		s->entries[i] = raft_entry_of(&load->entries[i]);
}

static void start_take_snapshot(struct io_start *s, const struct store_load *load)
{
	if (!load->has_snapshot)
		return;
	struct raft_snapshot *snapshot = raft_malloc(sizeof *snapshot);
	*snapshot = (struct raft_snapshot){
		.index = load->snapshot_index,
		.term = load->snapshot_term,
		.configuration_index = load->snapshot_conf_index,
		.bufs = raft_malloc(sizeof *snapshot->bufs),
		.n_bufs = 1,
	};
	snapshot->bufs[0] = (struct raft_buffer){.base = raft_malloc(1), .len = 1};
	if (configuration_decode(&snapshot->configuration, buf_slice(&load->snapshot_conf)) != 0)
		group_broken(
			s->g, "a configuration that was good is bad"); /* newest_configuration() */
	s->snapshot = snapshot;
}

/* What libraft takes for granted, its asserts being compiled out. */
static bool load_is_sound(const struct store_load *load)
{
	uint64_t first = load->has_snapshot ? load->snapshot_index + 1 : 1;
	uint64_t term = load->has_snapshot ? load->snapshot_term : 1;
	if (load->has_snapshot && (load->snapshot_index == 0 || load->snapshot_term == 0))
		return false;
	if (load->n_entries > 0 && load->first != first)
		return false;
	if (load->n_entries > 0 && !load->has_snapshot && load->entries[0].type != RAFT_CHANGE)
		return false;
	for (size_t i = 0; i < load->n_entries; i++) {
		if (load->entries[i].term < term)
			return false;
		term = load->entries[i].term;
	}
	return term <= load->term;
}

/* The configuration raft_start() will arrive at. -1 if one cannot be understood. */
static int newest_configuration(struct raft_configuration *ret_conf, const struct store_load *load)
{
	struct raft_configuration conf;
	raft_configuration_init(&conf);
	if (load->has_snapshot && configuration_decode(&conf, buf_slice(&load->snapshot_conf)) != 0)
		return -1;
	for (size_t i = 0; i < load->n_entries; i++) {
		const struct store_entry *e = &load->entries[i];
		struct raft_configuration next;
		if (e->type != RAFT_CHANGE)
			continue;
		if (configuration_decode(&next, slice_make(e->p, e->n)) != 0) {
			raft_configuration_close(&conf);
			return -1;
		}
		raft_configuration_close(&conf);
		conf = next;
	}
	*ret_conf = conf;
	return 0;
}

static int check(struct group *g, const struct group_spec *spec, const struct store_load *load,
	bool *ret_sole)
{
	struct raft_configuration conf;
	if (!load_is_sound(load) || newest_configuration(&conf, load) != 0) {
		log_error("raft",
			"group %" PRIu64 ": the stored log is not one that raft can have written",
			g->id);
		return STORE_DAMAGED;
	}
	*ret_sole = configuration_sole_voter(&conf, spec->self);
	raft_configuration_close(&conf);
	return 0;
}

static int restore(struct group *g, const struct store_load *load)
{
	if (!load->has_snapshot)
		return 0;
	if (group_fsm_restore(g, load->snapshot_index, buf_slice(&load->snapshot_data)) == 0)
		return 0;
	log_error("raft",
		"group %" PRIu64 ": the snapshot of entry %" PRIu64 " cannot be understood", g->id,
		load->snapshot_index);
	return STORE_DAMAGED;
}

static struct io_start *io_start_new(struct group *g)
{
	struct io_start *s = MEM_NEW(struct io_start);
	s->g = g;
	g->io.start = s;
	return s;
}

/* More than there are elections while a group goes on that was given up. */
#define APART_TERMS ((uint64_t)1 << 20)

static void open_first(
	struct group *g, const struct group_spec *spec, const struct store_load *load)
{
	struct io_start *s = io_start_new(g);
	g->haste.born = spec->n_members > 1;
	if (spec->apart)
		start_hard(s, load->term + APART_TERMS, 0);
	else /* hard state without an entry: the process ended between the two */
		start_hard(s, load->term != 0 ? load->term : 1, load->vote);
	start_first_entry(s, spec->apart ? s->term : 1, encode_members(g, spec));
	note_loaded(g, s);
}

/* A member that joins starts with nothing, and is silent until a leader reaches it. */
static void open_joining(struct group *g, const struct store_load *load)
{
	struct io_start *s = io_start_new(g);
	s->first = 1;
	s->term = g->io.term = load->term;
	s->vote = g->io.vote = load->vote;
	note_loaded(g, s);
	group_todo(g); /* starts it */
}

/* A configuration of this member alone follows what is here, in a term that this member has not seen.
 * It commits the former entries as any new leader does: none of them is lost, also of those that the
 * others may have replaced. */
static void start_alone(struct io_start *s, const struct group_spec *spec, const struct store_load *load)
{
	uint64_t index = s->first + s->n_entries;
	struct raft_entry *e = &s->entries[s->n_entries++];
	start_hard(s, load->term + (spec->apart ? APART_TERMS : 1), 0);
	*e = (struct raft_entry){
		.term = s->term, .type = RAFT_CHANGE, .buf = encode_members(s->g, spec)};
	struct store_entry stored = stored_entry(e);
	s->append.done = start_append_done;
	s->writes++;
	group_io_write_begins(s->g);
	store_log_append(s->g->log, &s->append, index, &stored, 1);
	log_warning("raft",
		"group %" PRIu64 ": the other members are given up; what this one has, up to entry "
		"%" PRIu64 ", counts",
		s->g->id, index - 1);
}

static int open_again(struct group *g, const struct group_spec *spec, const struct store_load *load)
{
	bool sole;
	int rv = check(g, spec, load, &sole);
	if (rv == 0)
		rv = restore(g, load);
	if (rv != 0)
		return rv;
	struct io_start *s = io_start_new(g);
	start_take_snapshot(s, load);
	start_take_entries(s, load);
	if (spec->alone && !sole) {
		start_alone(s, spec, load);
		note_loaded(g, s);
		return 0;
	}
	note_loaded(g, s);
	/* R5: a sole voter becomes leader again without an election, hence in its old term. What
	 * the crash took from its tail it would write anew under the same index and term, though a
	 * standby may hold the first version. A new term, durable before raft_start(), tells them
	 * apart. */
	if (sole && RULE(g, r5_new_term)) {
		start_hard(s, load->term + 1, 0);
		return 0;
	}
	s->term = g->io.term = load->term;
	s->vote = g->io.vote = load->vote;
	group_todo(g); /* starts it */
	return 0;
}

static int open_lost(const struct group *g)
{
	log_error("raft", "group %" PRIu64 ": its log was here and is lost", g->id);
	return STORE_DAMAGED;
}

static void io_start_free(struct io_start *s)
{
	for (size_t i = 0; i < s->n_entries; i++)
		raft_free(s->entries[i].buf.base);
	raft_free(s->entries);
	if (s->snapshot != NULL) {
		raft_configuration_close(&s->snapshot->configuration);
		raft_free(s->snapshot->bufs[0].base);
		raft_free(s->snapshot->bufs);
		raft_free(s->snapshot);
	}
	mem_free(s);
}

int group_io_open(struct group *g, const struct group_spec *spec)
{
	struct store_load load = {0};
	list_init(&g->io.appending);
	g->io.raft = (struct raft_io){
		.version = 1,
		LIBRAFT_ROOM
		.impl = g,
		.init = io_init,
		.close = io_close,
		.load = io_load,
		.start = io_start,
		/* bootstrap and recover are synchronous; start_first_entry() is not. */
		.set_term = io_set_term,
		.set_vote = io_set_vote,
		.send = group_net_send,
		.append = io_append,
		.truncate = io_truncate,
		.snapshot_put = io_snapshot_put,
		.snapshot_get = install_get,
		.time = io_time,
		.random = io_random,
	};
	int rv = store_log_load(g->log, &load);
	if (rv != 0)
		return rv;
	if (load.has_snapshot || load.n_entries > 0)
		rv = open_again(g, spec, &load);
	else if (spec->begun)
		rv = open_lost(g);
	else if (spec->n_members > 0)
		open_first(g, spec, &load);
	else
		open_joining(g, &load);
	store_load_done(&load);
	return rv;
}

void group_io_done(struct group *g)
{
	if (g->io.start != NULL)
		io_start_free(g->io.start);
	g->io.start = NULL;
	terms_done(&g->io.terms);
	confs_done(&g->io.confs);
}

bool group_io_alone(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	return c != NULL && c->conf.n == 1 && c->conf.servers[0].id == g->self;
}

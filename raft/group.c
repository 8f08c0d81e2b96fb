/* SPDX-License-Identifier: Apache-2.0
 *
 * A group's turn:
 *
 *   store_port_poll()   the entry under way is durable -> raft commits it -> app->apply(), and
 *                       group_settle() sees that it is applied
 *   sessions            append commands to the open batch, group_dirty()
 *   groups_flush()      the oldest batch becomes the next entry -> raft_apply() ->
 * store_log_append()
 *
 * R3: one entry is under way, what comes meanwhile gathers in the batch. That gives libraft 0.15's
 *     leader the pauses in which it commits, and batches the size that the load asks for.
 * One buffer for each raft_apply(), always.
 *
 * raft calls nobody back for a request: libraft 0.22 keeps its callbacks for its own backend, 0.15
 * passes no index. What became of an entry is read off the index that is applied.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "raft/group_priv.h"
#include "src/base/log.h"

/* A batch that group_roll() closed. */
struct full_batch {
	struct list link;
	struct batch batch;
};

/* When raft gives up a snapshot under way. 0.15 never: install.c gives up streams, and says so. The
 * later line does not listen, so it asks again and again; a stream that is alive goes on. */
enum { INSTALL_MS = LIBRAFT_LAYERED ? 5000 : 24 * 3600 * 1000 };

void group_broken(const struct group *g, const char *what)
{
	log_error("raft", "group %" PRIu64 ": %s, aborting", g->id, what);
	abort();
}

/* ---- batches -------------------------------------------------------------------------------- */

struct batch *group_batch(struct group *g)
{
	return &g->open;
}

void group_roll(struct group *g, size_t more)
{
	if (g->open.n == 0 || g->open.n + more <= GROUP_BATCH_MAX)
		return;
	struct full_batch *f = MEM_NEW(struct full_batch);
	f->batch = g->open;
	g->open = (struct batch){0};
	list_push_back(&g->full, &f->link);
	g->full_bytes += f->batch.n;
}

static bool has_batch(const struct group *g)
{
	return g->open.n > 0 || !list_empty(&g->full);
}

bool group_has_work(const struct group *g)
{
	return !list_empty(&g->full) || (g->open.blob != NULL && !g->waits) || g->barrier;
}

/* The oldest batch; its blob's reference is the caller's. */
static struct batch take_batch(struct group *g)
{
	struct batch b = g->open;
	struct list *node = list_pop(&g->full);
	if (node == NULL) {
		g->open = (struct batch){0};
		return b;
	}
	struct full_batch *f = LIST_ENTRY(node, struct full_batch, link);
	b = f->batch;
	g->full_bytes -= b.n;
	mem_free(f);
	return b;
}

static void drop_batches(struct group *g)
{
	while (has_batch(g))
		blob_unref(take_batch(g).blob);
}

void group_wait(struct group *g)
{
	g->waits = true;
}

void group_dirty(struct group *g)
{
	g->waits = false;
	if (g->freeze.frozen)
		freeze_thaw(g);
	if (g->phase <= GROUP_RUNNING && list_empty(&g->dirty))
		list_push_back(&g->groups->dirty, &g->dirty);
}

size_t group_backlog(const struct group *g)
{
	return g->open.n + g->full_bytes + g->proposed_bytes;
}

/* ---- proposing ------------------------------------------------------------------------------ */

static void proposal_ended(struct group *g)
{
	g->proposed = false;
	g->proposed_bytes = 0;
	if (group_has_work(g))
		group_dirty(g);
}

/* An entry's request, beside the one under way: without R3, which a test may ask for. */
struct further {
	struct list link;
	uint64_t index;
	struct raft_apply req;
};

static void look_at_further(struct group *g, bool leads_on)
{
	LIST_EACH_SAFE(node, &g->further)
	{
		struct further *f = LIST_ENTRY(node, struct further, link);
		if (leads_on && g->fsm.applied < f->index)
			continue;
		list_remove(&f->link);
		mem_free(f);
		if (group_has_work(g))
			group_dirty(g);
	}
}

/* An entry under way ends when it is applied, or with our leadership: its fate is unknown then, and
 * the application finds out by what it applies later. raft has forgotten the request by that time.
 */
static void look_at_proposals(struct group *g, bool leads_on)
{
	if (g->proposed && (!leads_on || g->fsm.applied >= g->proposed_index))
		proposal_ended(g);
	look_at_further(g, leads_on);
}

/* What a block has beyond n bytes would be wasted as long as the entry is needed. A copy that fits,
 * not a block cut short: the next batch begins in the block given back here, while beside a short
 * one there would be a hole too small for it, and the heap would grow by a whole block per entry.
 */
static struct blob *fitted(struct blob *b, size_t n)
{
	if (b->cap - n <= n / 8 + 64)
		return b;
	struct blob *fit = blob_new(n);
	memcpy(fit->data, b->data, n);
	blob_unref(b);
	return fit;
}

static int propose_further(struct group *g, const struct raft_buffer *buf)
{
	struct further *f = MEM_NEW(struct further);
	list_push_back(&g->further, &f->link);
	int rv = raft_apply(&g->raft, &f->req, buf, 1, NULL);
	f->index = g->io.next - 1;
	return rv;
}

static int propose_batch(struct group *g)
{
	struct batch b = take_batch(g);
	g->app->seal(g->arg, b.blob->data);
	if (!LIBRAFT_LAYERED) /* which copies the entry into a block that fits */
		b.blob = fitted(b.blob, b.n);
	/* The block's reference goes to raft. */
	struct raft_buffer buf = {.base = b.blob->data, .len = b.n};
	if (g->proposed)
		return propose_further(g, &buf);
	g->proposed_bytes = b.n;
	int rv = raft_apply(&g->raft, &g->request.apply, &buf, 1, NULL);
	g->proposed_index = g->io.next - 1;
	return rv;
}

static int propose_barrier(struct group *g)
{
	int rv = raft_barrier(&g->raft, &g->request.barrier, NULL);
	g->proposed_index = g->io.next - 1;
	return rv;
}

/* R3. Changes of membership and transfers come alone. */
static bool may_propose(const struct group *g)
{
	if (!RULE(g, r3_one) && !g->barrier && has_batch(g))
		return true;
	return !g->proposed && !g->change.in_raft && !g->transfer.in_raft;
}

bool group_propose(struct group *g)
{
	if (g->phase != GROUP_RUNNING || !g->leading || !may_propose(g))
		return false; /* made dirty again when that changes */
	if (!group_has_work(g))
		return false;
	int rv = has_batch(g) ? propose_batch(g) : propose_barrier(g);
	/* The one error that remains (R4, no failing allocation) is not being leader; `leading`
	 * says that we are. */
	if (rv != 0)
		group_broken(g, raft_strerror(rv));
	g->proposed = true;
	g->barrier = false;
	group_settle(g);
	return true;
}

void group_want_barrier(struct group *g)
{
	g->barrier = true;
	group_dirty(g);
}

/* ---- leading -------------------------------------------------------------------------------- */

/* R2: libraft commits entries of older terms by counting, and a new leader does not know which of
 *     them are committed. So it commits an entry of its own term first, and leads from then on. A
 *     member that is alone needs none: whatever is in its log when it starts is durable on a
 *     majority, itself, so libraft commits and applies all of it inside raft_start(). */
static bool leads(const struct group *g)
{
	if (!g->leading_raft)
		return false;
	return g->ready_term == g->term_raft || !RULE(g, r2_barrier);
}

static void begin_to_lead(struct group *g)
{
	group_net_lead(g);
	g->led_ms = freeze_clock(g);
	libraft_forget_transfer(&g->raft);
	if (group_io_alone(g) && raft_last_applied(&g->raft) == raft_last_index(&g->raft)) {
		g->ready_term = g->term_raft;
		return;
	}
	/* The later line appends one itself if anything may be uncommitted. */
	if (!RULE(g, r2_barrier) || 
		terms_of(&g->io.terms, g->io.terms.last) == g->term_raft)
		return;
	if (propose_barrier(g) != 0)
		group_broken(g, "a new leader may not propose");
	g->proposed = true;
}

/* libraft 0.15 tells nobody of changes of its state, so they are looked for after every call. */
static void look_at_raft(struct group *g)
{
	bool leading = raft_state(&g->raft) == RAFT_LEADER;
	uint64_t term = libraft_term(&g->raft);
	bool same = leading == g->leading_raft && term == g->term_raft;
	g->leading_raft = leading;
	g->term_raft = term;
	look_at_proposals(g, leading && same);
	if (!leading && !same)
		install_not_leading(g);
	if (leading && !same)
		begin_to_lead(g);
	/* R2: an entry of this term is applied, so everything before is, too. */
	if (leading && terms_of(&g->io.terms, g->fsm.applied) == term)
		g->ready_term = term;
}

/* If another entry goes out, it says so. */
static void tell_commit(struct group *g)
{
	if (g->prompt && g->leading && !g->proposed)
		group_net_tell_commit(g);
}

static void tell_leading(struct group *g)
{
	bool leading = leads(g);
	if (leading == g->leading && (g->term_raft == g->term || !leading))
		return;
	if (!leading)
		drop_batches(g); /* their clients send them to the next leader */
	g->leading = leading;
	g->term = g->term_raft;
	if (group_has_work(g))
		group_dirty(g);
	g->app->leading(g->arg, leading, g->term);
}

void group_settle(struct group *g)
{
	if (g->started) {
		/* How an error inside libraft shows, besides not at all. */
		if (raft_state(&g->raft) == RAFT_UNAVAILABLE)
			group_broken(g, "raft has become unavailable");
		g->fsm.applied = raft_last_applied(&g->raft); /* barriers, too */
	}
	if (g->phase == GROUP_RUNNING) {
		look_at_raft(g);
		g->fsm.applied = raft_last_applied(&g->raft);
		tell_leading(g);
		tell_commit(g);
		membership_settle(g);
		group_tick_begins(g);
	}
	if (g->started && g->phase <= GROUP_CLOSING)
		group_fsm_settle(g);
	if (g->phase == GROUP_CLOSING && g->io.writes == 0 && list_empty(&g->closable))
		list_push_back(&g->groups->closable, &g->closable);
}

/* ---- clock ---------------------------------------------------------------------------------- */

/* Who leads alone has nobody to hear from and nobody to beat for. */
static bool has_clock(const struct group *g)
{
	return g->phase == GROUP_RUNNING && !(group_io_alone(g) && g->leading_raft);
}

void group_tick_begins(struct group *g)
{
	if (has_clock(g) && list_empty(&g->ticking) && !g->freeze.frozen)
		list_push_back(&g->groups->ticking, &g->ticking);
}

/* R8: a follower that becomes candidate while it writes mishandles what it is writing. Nor may it
 *     while appends wait for a snapshot to be written: it hears from its leader. */
bool group_may_tick(const struct group *g)
{
	if (g->removed != NOT_REMOVED)
		return false;
	if (raft_state((struct raft *)&g->raft) != RAFT_FOLLOWER || !RULE(g, r8_no_tick))
		return true;
	return g->io.appends == 0 && !g->io.installing && list_empty(&g->net.inbox);
}

/* R5: the only voter may have to follow: a member that is being removed, or has been, may bring a newer term.
 * libraft would have it lead in that one. Told by a leader whom nobody knows it leads in the next. */
static void tick_sole_voter(struct group *g)
{
	char address[] = "0";
	struct raft_message lead = {
		.type = RAFT_IO_TIMEOUT_NOW,
		.server_id = group_leader(g),
		.server_address = address,
		.timeout_now =
			{
				.term = libraft_term(&g->raft) + 1,
				.last_log_index = g->io.terms.last,
				.last_log_term = terms_of(&g->io.terms, g->io.terms.last),
			},
	};
	g->io.recv(&g->io.raft, &lead);
}

/* Leading, since when somebody must have been heard to count as there: an election timeout, or since a link was
 * lost. raft is not told of messages that got lost with it, nor that a snapshot could not be sent. */
static uint64_t look_back(const struct group *g)
{
	uint64_t now = freeze_clock(g), term = groups_election_ms(g->groups);
	uint64_t since = now > term ? now - term : 0;
	if (since < g->led_ms)
		since = g->led_ms;
	if (since <= g->net.lost_ms)
		since = g->net.lost_ms + 1;
	return since < now ? since : now;
}

static void tick_raft(struct group *g)
{
	if (g->leading_raft)
		libraft_look_back(&g->raft, look_back(g));
	else
		haste_be_patient(g);
	g->io.tick(&g->io.raft);
}

void group_tick(struct group *g)
{
	if (!has_clock(g)) {
		list_remove(&g->ticking);
		return;
	}
	install_out_tick(g);
	install_in_tick(g);
	group_net_tick(g);
	stall_tick(g);
	group_fsm_tick(g);
	if (freeze_tick(g) && group_may_tick(g)) {
		if (!g->leading_raft && membership_sole_voter(g))
			tick_sole_voter(g);
		else
			tick_raft(g);
	}
	group_settle(g);
}

/* ---- work that may not be done where it came up --------------------------------------------- */

void group_todo(struct group *g)
{
	if (g->phase <= GROUP_RUNNING && list_empty(&g->todo))
		list_push_back(&g->groups->todo, &g->todo);
}

void group_do(struct group *g)
{
	if (g->phase == GROUP_STARTING && g->io.writes == 0) {
		group_start(g);
		group_settle(g);
		return;
	}
	if (g->phase != GROUP_RUNNING)
		return;
	install_do(g);
	membership_do(g);
	if (g->phase == GROUP_RUNNING)
		haste_do(g);
}

/* ---- life ----------------------------------------------------------------------------------- */

int group_open(struct group **ret, struct groups *groups, const struct group_spec *spec)
{
	assert(groups_find(groups, spec->id) == NULL);
	struct group *g = MEM_NEW(struct group);
	g->id = spec->id;
	g->self = spec->self;
	g->groups = groups;
	g->app = spec->app;
	g->arg = spec->arg;
	g->prompt = spec->prompt;
	g->log = spec->log;
	g->phase = GROUP_STARTING;
	list_init(&g->closable);
	list_init(&g->cached);
	list_init(&g->dirty);
	list_init(&g->full);
	list_init(&g->further);
	list_init(&g->ticking);
	list_init(&g->thaw);
	list_init(&g->paced);
	list_init(&g->todo);
	group_net_init(g);
	install_init(g);
	haste_init(g, spec);
	group_fsm_init(g);
	int rv = group_io_open(g, spec);
	if (rv != 0) {
		store_log_close(g->log);
		list_remove(&g->todo);
		group_io_done(g);
		mem_free(g);
		return rv;
	}
	HASH_ADD(hh, groups->by_id, id, sizeof g->id, g);
	*ret = g;
	return 0;
}

void group_start(struct group *g)
{
	if (g->phase != GROUP_STARTING)
		return; /* closed meanwhile */
	char address[24];
	snprintf(address, sizeof address, "%" PRIu64, g->self); /* raft wants one; nobody asks it */
	int rv = raft_init(&g->raft, &g->io.raft, &g->fsm.raft, g->self, address);
	if (rv != 0)
		group_broken(g, raft_strerror(rv));
	g->raft.data = g;
	raft_set_pre_vote(&g->raft, true);
	raft_set_heartbeat_timeout(&g->raft, groups_heartbeat_ms(g->groups));
	raft_set_election_timeout(&g->raft, groups_election_ms(g->groups));
	raft_set_install_snapshot_timeout(&g->raft, INSTALL_MS);
	libraft_configure(&g->raft);
	group_fsm_configure(g);
	rv = raft_start(&g->raft); /* applies what the log holds */
	if (rv != 0)
		group_broken(g, raft_strerror(rv));
	g->started = true;
	g->phase = GROUP_RUNNING;
	g->freeze.quiet_ms = groups_now(g->groups);
	haste_started(g);
}

void group_close(struct group *g, bool drop)
{
	g->drop = g->drop || drop;
	if (g->phase >= GROUP_CLOSING)
		return;
	g->phase = GROUP_CLOSING;
	install_give_up(g);
	drop_batches(g);
	list_remove(&g->dirty);
	list_remove(&g->ticking);
	list_remove(&g->thaw);
	list_remove(&g->paced);
	list_remove(&g->haste.link);
	list_remove(&g->todo);
	if (g->io.writes == 0)
		list_push_back(&g->groups->closable, &g->closable);
}

static void group_gone(struct group *g)
{
	const struct group_app *app = g->app;
	void *arg = g->arg;
	if (app->log_left != NULL && !g->drop)
		app->log_left(arg, g->log);
	else
		store_log_close(g->log);
	entry_cache_drop_owner(&g->groups->cache, &g->cached);
	HASH_DEL(g->groups->by_id, g);
	drop_batches(g);
	look_at_further(g, false);
	group_fsm_done(g);
	group_io_done(g);
	group_net_done(g);
	install_done(g);
	mem_free(g);
	app->closed(arg);
}

struct drop_request {
	struct store_req req;
	struct group *g;
};

static void on_dropped(struct store_req *req)
{
	struct drop_request *d = LIST_ENTRY(req, struct drop_request, req);
	struct group *g = d->g;
	mem_free(d);
	group_gone(g);
}

static void on_raft_closed(struct raft *r)
{
	struct group *g = r->data;
	g->started = false;
}

static void close_raft(struct group *g)
{
	membership_close(g);
	if (!g->started)
		return;
	group_net_cancel(g);
	raft_close(&g->raft, on_raft_closed);
	g->io.close_cb(&g->io.raft);
	if (g->started)
		group_broken(g, "raft does not close");
}

void group_finish(struct group *g)
{
	if (g->io.writes > 0)
		return; /* comes back */
	close_raft(g);
	if (!g->drop) {
		group_gone(g);
		return;
	}
	g->phase = GROUP_DROPPING;
	struct drop_request *d = MEM_NEW(struct drop_request);
	d->g = g;
	d->req.done = on_dropped;
	store_log_drop(g->log, &d->req);
}

/* ---- asking --------------------------------------------------------------------------------- */

uint64_t group_id(const struct group *g)
{
	return g->id;
}

bool group_leading(const struct group *g)
{
	return g->leading;
}

uint64_t group_term(const struct group *g)
{
	return g->started ? libraft_term(&g->raft) : g->io.term;
}

uint64_t group_applied(const struct group *g)
{
	return g->fsm.applied;
}

struct group_indexes group_indexes(const struct group *g)
{
	struct group_indexes ret = {.last = g->fsm.applied,
		.commit = g->fsm.applied,
		.snapshot = g->fsm.snapshot_index};
	if (g->started) {
		ret.last = libraft_stored(&g->raft);
		ret.commit = libraft_commit(&g->raft);
	}
	return ret;
}

bool group_frozen(const struct group *g)
{
	return g->freeze.frozen;
}

/* ---- entries -------------------------------------------------------------------------------- */

void group_release(struct group *g, uint64_t index)
{
	entry_cache_drop(&g->groups->cache, &g->cached, index);
	if (install_defers(g, index))
		return;
	/* Above the newest snapshot the entry belongs to raft's log; the next snapshot will not
	 * name it among the live ones. */
	if (index <= g->fsm.snapshot_index && g->phase != GROUP_DROPPING)
		store_log_release(g->log, index);
}

int group_fetch(struct group *g, uint64_t index, struct blob **ret_blob, const uint8_t **ret_p,
	size_t *ret_n)
{
	struct entry_cache *cache = &g->groups->cache;
	struct entry_bytes e;
	if (entry_cache_get(cache, &g->cached, index, &e)) {
		blob_ref(e.blob);
	} else if (!group_io_fetch(g, index, &e.blob, &e.p, &e.n)) {
		int rv = store_log_fetch(g->log, index, &e.blob, &e.p, &e.n);
		if (rv != 0)
			return rv;
		g->reads++;
		/* Its other messages are likely to be asked for next. */
		entry_cache_put(cache, &g->cached, index, &e);
	}
	*ret_blob = e.blob;
	*ret_p = e.p;
	*ret_n = e.n;
	return 0;
}

uint64_t group_reads(const struct group *g)
{
	return g->reads;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "storage/commit.h"
#include "storage/lmdb_log.h"
#include "storage/note.h"
#include "storage/plan.h"
#include "storage/port.h"

enum {
	WRITER_ROUND_BYTES = 8 << 20,   /* of requests; LMDB is as fast from 1 MiB on */
	WRITER_TIGHT_BYTES = 1 << 20,   /* the same while space is short: what fits goes through */
	WRITER_LOW = 16 << 20,          /* bytes free on the disk; publishers are held below this, so
	                                 * that the reserve is left for what makes room */
	WRITER_LOW_MARGIN = 2 << 20,    /* so many more when they are released */
	WRITER_MUCH_DEAD = 1 << 20,     /* bytes worth a commit of their own soon */
	WRITER_QUICK_NS = 200 * 1000,   /* a worker may stand still as long as that */
	WRITER_IDLE_SOON_MS = 20,
	WRITER_IDLE_MS = 1000,
	WRITER_RETRY_MS = 100,          /* with a full disk */
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- commit, as often as it takes ----------------------------------------------------------- */

/* LMDB reports a write that came out short, which is how a disk gets full, as EIO. A real EIO on a
 * disk that happens to be full is taken for the same: trying again writes every page of the
 * transaction again, so nothing is believed to be there that is not. */
static uint64_t disk_free(const struct writer *w)
{
	struct statvfs fs;
	if (statvfs(w->env->path, &fs) != 0)
		return UINT64_MAX;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static bool disk_has_room(const struct writer *w)
{
	return disk_free(w) > 4 * (uint64_t)w->round.bytes + (1 << 20);
}

static bool is_full(struct writer *w, int rc)
{
	return rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL ||
		(rc == EIO && !disk_has_room(w));
}

static _Noreturn void writer_fatal(struct writer *w, int rc)
{
	if (env_error(rc) == STORE_DAMAGED)
		env_broken(w->env, mdb_strerror(rc));
	log_error("storage", "store %s cannot be written: %s; ending the process", w->env->path,
		mdb_strerror(rc)); /* knows errno, too */
	abort();
}

static bool writer_is_blocked(const struct writer *w)
{
	return atomic_load_explicit(&w->blocked, memory_order_relaxed);
}

/* Told at once: what publishers send until they are held has to fit, too. */
static void writer_tell_watch(struct writer *w)
{
	pthread_mutex_lock(&w->watch_lock);
	if (w->watch != NULL)
		w->watch(w->watch_arg);
	pthread_mutex_unlock(&w->watch_lock);
}

static void writer_block(struct writer *w, const char *why)
{
	if (atomic_exchange(&w->blocked, true))
		return;
	log_warning("storage", "store %s: %s; blocked until there is space", w->env->path, why);
	writer_tell_watch(w);
}

static void writer_unblock(struct writer *w)
{
	if (!atomic_exchange(&w->blocked, false))
		return;
	log_info("storage", "store %s: there is space again", w->env->path);
	writer_tell_watch(w);
}

/* No space: what is held back for this case is spent at once, after that there is only waiting, and
 * giving back what the file has free in pieces that are too small for LMDB. */
static void writer_wait_for_space(struct writer *w, int rc)
{
	writer_block(w, mdb_strerror(rc));
	if (reserve_spend(&w->env->reserve))
		return;
	reclaim_step(&w->reclaim, w->records->footprint, true, now_ns());
	const struct timespec t = {.tv_nsec = WRITER_RETRY_MS * 1000000L};
	nanosleep(&t, NULL);
}

/* At the start, after each commit, and now and then while blocked. */
static void writer_look_for_space(struct writer *w)
{
	uint64_t low = WRITER_LOW + (writer_is_blocked(w) ? WRITER_LOW_MARGIN : 0);
	if (!reserve_fill(&w->env->reserve) || disk_free(w) < low)
		writer_block(w, "little space is left on the disk");
	else
		writer_unblock(w);
}

static void writer_count(struct writer *w, uint64_t took_ns)
{
	pthread_mutex_lock(&w->stats_lock);
	w->stats.commits++;
	w->stats.commit_ns += took_ns;
	pthread_mutex_unlock(&w->stats_lock);
}

static void writer_commit(struct writer *w)
{
	struct env *env = w->env;
	uint64_t generation = env->generation + (env->journal.used ? 1 : 0);
	uint64_t begun = now_ns();
	for (int rc; (rc = commit_round(env, &w->round, generation, &w->scratch)) != 0;
		begun = now_ns()) {
		if (!is_full(w, rc))
			writer_fatal(w, rc);
		writer_wait_for_space(w, rc);
	}
	journal_restart(&env->journal, generation);
	writer_look_for_space(w);
	reclaim_committed(&w->reclaim);
	writer_count(w, now_ns() - begun);
}

/* False if they have to be committed. */
static bool writer_journal(struct writer *w, const struct list *requests)
{
	struct journal *j = &w->env->journal;
	if (!journal_takes(j, requests))
		return false;
	uint64_t begun = now_ns();
	int rc = journal_write(j, requests);
	if (rc != 0 && rc != ENOSPC && rc != EDQUOT)
		writer_fatal(w, rc);
	if (rc != 0)
		return false;
	uint64_t took_ns = now_ns() - begun;
	w->quick = took_ns < WRITER_QUICK_NS;
	writer_count(w, took_ns);
	return true;
}

/* ---- requests going back -------------------------------------------------------------------- */

static void finish_note(struct writer *w, struct note *note)
{
	if (note->kind == NOTE_CLOSE)
		store_groups_close(w->groups, note->group);
	note_free(note);
}

static void forget_operands(struct store_req *req)
{
	if (req->op != STORE_OP_APPEND)
		return;
	for (unsigned i = 0; i < req->u.append.n; i++)
		blob_unref(req->u.append.entries[i].blob);
	mem_free(req->u.append.entries);
	req->u.append.entries = NULL;
}

/* Moves the requests of the first one's port out of `done` and into its outbox. */
static void send_back(struct list *done)
{
	struct list back;
	list_init(&back);
	struct store_port *port = LIST_ENTRY(done->next, struct store_req, link)->log->port;
	LIST_EACH_SAFE(node, done) {
		if (LIST_ENTRY(node, struct store_req, link)->log->port != port)
			continue;
		list_remove(node);
		list_push_back(&back, node);
	}
	outbox_put(port_outbox(port), &back, port->wake, port->arg);
}

/* Moves what somebody waits for behind `done`. */
static void writer_finish_requests(struct writer *w, struct list *done)
{
	for (struct list *node; (node = list_pop(&w->round.requests)) != NULL;) {
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		if (req->op == STORE_OP_RELEASE) {
			finish_note(w, note_of(req));
			continue;
		}
		forget_operands(req);
		list_push_back(done, node);
	}
}

static void writer_complete(struct writer *w)
{
	struct list done;
	list_init(&done);
	writer_finish_requests(w, &done);
	while (!list_empty(&done))
		send_back(&done);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static struct group_state *request_group(struct store_req *req)
{
	return req->op == STORE_OP_RELEASE ? note_of(req)->group : lmdb_log_group(req->log);
}

/* True if somebody waits for what was planned: notes cost no commit of their own. */
static bool writer_plan(struct writer *w)
{
	struct round *r = &w->round;
	size_t most = writer_is_blocked(w) ? WRITER_TIGHT_BYTES : WRITER_ROUND_BYTES;
	bool awaited = !list_empty(&r->requests); /* a worker could not write it */
	while (r->bytes < most && !list_empty(&w->pending)) {
		struct list *node = list_pop(&w->pending);
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		list_push_back(&r->requests, node);
		plan_request(r, request_group(req), req);
		awaited |= req->op != STORE_OP_RELEASE;
	}
	return awaited;
}

/* Something to give back that is worth a commit of its own. */
static bool writer_has_chores(const struct writer *w)
{
	return !list_empty(&w->round.doomed) || cleaner_wanted(w->records) ||
		w->reclaim.wants_commit;
}

static void writer_publish(struct writer *w)
{
	pthread_mutex_lock(&w->stats_lock);
	w->stats.groups = w->groups->existing;
	w->stats.records = w->records->n;
	w->stats.entries = w->records->live;
	w->stats.live_bytes = w->records->live_bytes;
	w->stats.record_bytes = w->records->footprint;
	w->stats.cleaned_bytes = w->cleaner.cleaned_bytes;
	pthread_mutex_unlock(&w->stats_lock);
}

static void writer_end_round(struct writer *w)
{
	struct round *r = &w->round;
	cleaner_plan(&w->cleaner, r);
	round_cut(r);
	round_delete(r);
	if (r->n_changes == 0)
		round_change(r, CHANGE_NOTHING, 0);
	writer_commit(w);
	round_finish(r);
}

/* Something that only a commit does, and that should not wait for the round's end. */
static bool writer_must_commit(const struct writer *w)
{
	return w->records->dead_footprint > WRITER_MUCH_DEAD || cleaner_wanted(w->records) ||
		writer_is_blocked(w);
}

/* One step of a round, which may be its last. `idle`: nothing was asked for in a while. */
static void writer_step(struct writer *w, bool idle)
{
	struct round *r = &w->round;
	round_doom(r);
	bool awaited = writer_plan(w);
	bool due = idle && (round_pending(r) || writer_has_chores(w));
	if (due || (awaited && (writer_must_commit(w) || !writer_journal(w, &r->requests))))
		writer_end_round(w);
	else
		round_spare(r);
	writer_publish(w);
	writer_complete(w);
}

/* How long to wait for requests before looking after oneself; negative: for ever. */
static int writer_patience_ms(const struct writer *w)
{
	if (!list_empty(&w->pending))
		return 0;
	if (w->records->dead_footprint > WRITER_MUCH_DEAD || cleaner_wanted(w->records))
		return WRITER_IDLE_SOON_MS;
	if (writer_is_blocked(w))
		return WRITER_RETRY_MS;
	if (!list_empty(&w->records->dead) || round_pending(&w->round))
		return WRITER_IDLE_MS;
	return reclaim_patience_ms(&w->reclaim, now_ns());
}

static void writer_give_back(struct writer *w)
{
	bool blocked = writer_is_blocked(w);
	reclaim_step(&w->reclaim, w->records->footprint, blocked, now_ns());
	if (blocked)
		writer_look_for_space(w);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	for (;;) {
		uint64_t lone = w->lone;
		w->patience_ms = writer_patience_ms(w);
		bool more = inbox_take(w->inbox, &w->pending, w->patience_ms);
		bool asked = !list_empty(&w->pending) || !list_empty(&w->round.requests);
		bool idle = !asked && w->lone == lone;
		if (idle && !more && !round_pending(&w->round))
			return NULL;
		if (asked || idle)
			writer_step(w, idle);
		if (list_empty(&w->pending))
			writer_give_back(w);
	}
}

/* ---- on a worker's thread ------------------------------------------------------------------- */

/* One request that is soon planned, and what nobody waits for. */
static bool is_lone(const struct list *requests)
{
	unsigned n = 0;
	LIST_EACH(node, requests)
	{
		enum store_op op = LIST_ENTRY(node, struct store_req, link)->op;
		n += op != STORE_OP_RELEASE;
		if (op != STORE_OP_RELEASE && op != STORE_OP_APPEND && op != STORE_OP_HARD)
			return false;
	}
	return n == 1;
}

static bool writer_may_stay_asleep(const struct writer *w, const struct list *requests)
{
	return w->quick && w->round.bytes < WRITER_ROUND_BYTES && !writer_must_commit(w) &&
		journal_takes(&w->env->journal, requests);
}

static bool writer_oversleeps(const struct writer *w)
{
	int patience = writer_patience_ms(w);
	return patience >= 0 && (w->patience_ms < 0 || patience < w->patience_ms);
}

bool writer_write_lone(struct writer *w, struct store_port *port)
{
	struct list *requests = &w->round.requests;
	struct list done;
	bool nudge = false;
	list_init(&done);
	if (!is_lone(&port->submitted) || !inbox_enter(w->inbox))
		return false;
	bool stays = writer_may_stay_asleep(w, &port->submitted);
	if (stays) {
		w->lone++;
		list_move_all(&w->pending, &port->submitted);
		writer_plan(w);
		if (writer_journal(w, requests))
			writer_finish_requests(w, &done);
		writer_publish(w);
		nudge = !list_empty(requests) || writer_oversleeps(w);
	}
	/* Behind what came back before, and ahead of what the writer finishes once it is let in. */
	if (!list_empty(&done))
		outbox_put(port_outbox(port), &done, NULL, NULL);
	inbox_leave(w->inbox, nudge);
	return stays;
}

/* ---- life ----------------------------------------------------------------------------------- */

void writer_init(struct writer *w, struct inbox *inbox, struct env *env, struct records *records,
	struct groups *groups)
{
	*w = (struct writer){.inbox = inbox, .env = env, .records = records, .groups = groups};
	pthread_mutex_init(&w->watch_lock, NULL);
	pthread_mutex_init(&w->stats_lock, NULL);
	list_init(&w->pending);
	round_init(&w->round, records, groups);
	cleaner_init(&w->cleaner, env);
	reclaim_init(&w->reclaim, env);
}

static bool fits(const struct group_state *g, const struct store_req *req)
{
	uint64_t last = index_last(&g->index);
	if (last < g->snapshot_index)
		last = g->snapshot_index;
	switch (req->op) {
	case STORE_OP_APPEND:
		return req->u.append.first > g->snapshot_index && req->u.append.first <= last + 1;
	case STORE_OP_TRUNCATE:
		return req->u.truncate.index > g->snapshot_index;
	default:
		return true;
	}
}

static int replay_request(void *arg, uint64_t log, struct store_req *req)
{
	struct writer *w = arg;
	struct group_state *g = store_groups_open_log(w->groups, log);
	bool ok = fits(g, req);
	if (ok)
		plan_request(&w->round, g, req);
	store_groups_close(w->groups, g);
	return ok ? STORE_OK : STORE_DAMAGED;
}

int writer_replay(struct writer *w, struct env_text err)
{
	const char *why;
	int rc = journal_read(&w->env->journal, w->env->generation, replay_request, w, &why);
	return rc == 0 ? STORE_OK : env_fail(err, rc, "store %s: %s", w->env->path, why);
}

int writer_start(struct writer *w)
{
	writer_publish(w);
	writer_look_for_space(w);
	return pthread_create(&w->thread, NULL, writer_main, w);
}

void writer_stop(struct writer *w)
{
	inbox_stop(w->inbox);
	pthread_join(w->thread, NULL);
}

void writer_done(struct writer *w)
{
	reclaim_done(&w->reclaim);
	cleaner_done(&w->cleaner);
	round_finish(&w->round); /* of a start that failed */
	round_done(&w->round);
	buf_done(&w->scratch);
	pthread_mutex_destroy(&w->watch_lock);
	pthread_mutex_destroy(&w->stats_lock);
}

void writer_watch(struct writer *w, void (*changed)(void *arg), void *arg)
{
	pthread_mutex_lock(&w->watch_lock);
	w->watch = changed;
	w->watch_arg = arg;
	pthread_mutex_unlock(&w->watch_lock);
}

void writer_stats(struct writer *w, struct store_stats *ret)
{
	pthread_mutex_lock(&w->stats_lock);
	*ret = w->stats;
	pthread_mutex_unlock(&w->stats_lock);
}

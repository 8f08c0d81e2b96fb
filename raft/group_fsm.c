/* SPDX-License-Identifier: Apache-2.0
 *
 * When to take a snapshot. libraft asks after every round of applies whether `threshold` entries
 * have gathered; we count bytes and set the threshold to 1 when it is time, otherwise out of reach.
 *
 * libraft's log keeps entries in memory until a snapshot covers them, so a snapshot is due when
 *   - it costs little: the log has gathered four times the bytes of the last one, and
 *   - it is worth it: 1 MiB has gathered, or about as many entries as libraft's table of references
 *     begins with. That table and the array of entries grow with the log and never shrink; with
 * this bound a group that was once busy with tiny entries rests in what a new one needs.
 *
 * What is on its way to members that keep up trails, so that none of it has to come as a state if a link
 * breaks: on a long one that is more than what trails anyway. So does what a member lacks that was lost a
 * moment ago.
 *
 * A snapshot is put off while it would take from the log what another member lacks, which would need a whole
 * state then. So much may gather for that:
 *   - LAGGARD_BYTES for members that lag and gain on us;
 *   - while a state streams, BROUGHT_FACTOR times that, or as much as the stream has sent; one that is
 *     slower than what gathers is given up;
 *   - for a member that has got a state, BROUGHT_FACTOR times what had gathered by then, or LAGGARD_BYTES;
 *   - when the worker's groups have too much together (raft/log_budget.h): nothing for those that lag, and
 *     what has been sent for streams.
 */
#include "raft/group_fsm.h"

#include <limits.h>

#include "raft/group_priv.h"

enum {
	SNAPSHOT_BYTES = 1024 * 1024,
	SNAPSHOT_ENTRIES = 240, /* of 256 slots; the rest for entries applied while it is stored */
	SNAPSHOT_FACTOR = 4,
	ENTRY_OVERHEAD = 128, /* of an entry in libraft's log besides its bytes */
	/* Never 0, which would make io->snapshot_put() believe in an install. */
	TRAILING_ALONE = 1,
	/* With other members: what they may lack without needing a whole snapshot, at least as much
	 * as may be under way to them. */
	TRAILING_BYTES = 2 * 1024 * 1024,
	TRAILING_MIN = 16,
	TRAILING_MAX = 192,
	LAGGARD_BYTES = 64 * 1024 * 1024,
	BROUGHT_FACTOR = 4,
};

static bool snapshot_is_due(const struct group *g)
{
	const struct group_fsm *f = &g->fsm;
	unsigned entries = g->groups->config.snapshot_entries;
	if (entries != 0)
		return f->log_entries >= entries;
	return f->log_bytes >= SNAPSHOT_FACTOR * f->snapshot_bytes &&
	       (f->log_bytes >= SNAPSHOT_BYTES || f->log_entries >= SNAPSHOT_ENTRIES);
}

void group_fsm_want_snapshot(struct group *g)
{
	raft_set_snapshot_threshold(&g->raft, 1);
	g->fsm.wanted = true;
}

void group_fsm_press(struct group *g)
{
	g->fsm.pressed = true;
	group_fsm_want_snapshot(g);
	group_want_barrier(g);
}

static void count_entry(struct group *g, size_t n)
{
	struct group_fsm *f = &g->fsm;
	f->last_bytes = n + ENTRY_OVERHEAD;
	f->log_bytes += f->last_bytes;
	f->log_entries++;
	log_budget_add(&g->groups->log_budget, &f->share, f->last_bytes);
	if (snapshot_is_due(g))
		group_fsm_want_snapshot(g);
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	struct group *g = fsm->data;
	/* All of *buf is read before anything is called: it may move. */
	const uint8_t *p = buf->base;
	size_t n = buf->len;
	struct blob *blob = blob_of(p); /* entries of ours and loaded ones have a block each */
	uint64_t index = raft_last_applied(&g->raft) + 1; /* raised only after this returns */
	g->fsm.applied = g->fsm.command = index;
	entry_cache_put(&g->groups->cache, &g->cached, index,
		&(struct entry_bytes){.blob = blob, .p = p, .n = n});
	count_entry(g, n);
	g->app->apply(g->arg, index, blob, p, n);
	*result = NULL;
	return 0; /* always: raft would apply the entry again, for ever */
}

/* Of an entry in the log. */
static size_t mean_bytes(const struct group *g)
{
	size_t each = g->fsm.log_entries > 0 ? g->fsm.log_bytes / g->fsm.log_entries : 0;
	return each > 0 ? each : 1;
}

static size_t laggard_bytes(const struct group *g)
{
	size_t n = g->groups->config.laggard_bytes;
	return n != 0 ? n : LAGGARD_BYTES;
}

/* Entries that trail in any case. */
static unsigned trailing_least(const struct group *g)
{
	size_t n = TRAILING_BYTES / mean_bytes(g);
	unsigned max = g->groups->config.trailing_entries;
	if (max != 0 && n > max)
		return max;
	return n < TRAILING_MIN ? TRAILING_MIN : n > TRAILING_MAX ? TRAILING_MAX : (unsigned)n;
}

/* Entries that those members lack who keep up: on long links many are under way. They trail. */
static unsigned under_way(struct group *g)
{
	size_t room = g->fsm.pressed ? TRAILING_BYTES : laggard_bytes(g);
	if (g->groups->config.trailing_entries != 0 || !RULE(g, under_way_stays))
		return 0;
	return (unsigned)group_net_under_way(g, room / mean_bytes(g));
}

static unsigned trailing(struct group *g)
{
	unsigned least = trailing_least(g), n;
	if (group_io_alone(g))
		return TRAILING_ALONE;
	n = under_way(g) + 1; /* what is before the first is named with it */
	return n > least ? n : least;
}

/* R10: a snapshot would store a configuration that may yet be rolled back. After a restart only we
 *     know that it may. */
static bool configuration_may_go(const struct group *g)
{
	const struct conf_at *c = confs_newest(&g->io.confs);
	return (libraft_changing(&g->raft) ||
		       (c != NULL && c->index > raft_last_applied((struct raft *)&g->raft))) &&
	       RULE(g, r10_busy);
}

/* Of a member that lags a snapshot would take what it lacks, and then it would need a whole state. */
static bool strands(struct group *g)
{
	size_t room = g->fsm.pressed ? 0 : laggard_bytes(g);
	unsigned near = (trailing_least(g) + 1) / 2, trails = under_way(g);
	return group_net_is_followed(g, trails > near ? trails : near, room) && RULE(g, laggards_stay);
}

size_t group_fsm_room_for_waiting(const struct group *g)
{
	return laggard_bytes(g);
}

size_t group_fsm_room_for_stream(const struct group *g)
{
	return g->fsm.pressed ? 0 : BROUGHT_FACTOR * laggard_bytes(g);
}

/* Whoever got a whole state would never get on under load if the log was cut before it has what gathered
 * meanwhile, however much that is. While it takes that, three times as much may follow: it is to be
 * quicker than what comes by a third. */
size_t group_fsm_room_for_brought(const struct group *g)
{
	size_t tail = g->fsm.log_bytes, least = laggard_bytes(g);
	return BROUGHT_FACTOR * (tail > least ? tail : least);
}

/* The later line asks before it applies, not after: a leader that comes to rest would keep its log.
 * So it is put off until the entry under way is applied, and then asked again. And it applies what its
 * disk has not taken yet: of what waits for one snapshot to be written only as much as makes the next one
 * due would be taken, and the rest wait for that. */
static bool is_early(const struct group *g)
{
	bool under_way =
		g->proposed && raft_last_applied((struct raft *)&g->raft) < g->proposed_index;
	return LIBRAFT_LAYERED && (under_way || g->barrier || !list_empty(&g->net.inbox));
}

/* While a snapshot streams to another member, one of our own would make that too old by its end, and take
 * entries that it needs. raft asks again with the next entry. */
static bool is_put_off(struct group *g)
{
	return is_early(g) || configuration_may_go(g) || strands(g) || install_needs_log(g);
}

/* Nothing may come any more, and the log would stay. */
void group_fsm_tick(struct group *g)
{
	bool rests = g->leading && !g->proposed && !group_has_work(g);
	if (!LIBRAFT_LAYERED && g->fsm.wanted && g->fsm.taken == NULL && rests && !is_put_off(g))
		group_want_barrier(g);
}

/* An answer from a term long gone is an occasion for raft to ask, and nothing else. */
void group_fsm_settle(struct group *g)
{
	if (!LIBRAFT_LAYERED || !g->fsm.wanted || g->fsm.taken != NULL || g->io.installing ||
		is_put_off(g))
		return;
	char address[] = "0";
	struct raft_message nothing = {
		.type = RAFT_IO_APPEND_ENTRIES_RESULT,
		.server_id = g->self,
		.server_address = address,
	};
	g->io.recv(&g->io.raft, &nothing);
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
	struct group *g = fsm->data;
	struct group_fsm *f = &g->fsm;
	if (is_put_off(g))
		return RAFT_BUSY;
	bool at_command = f->command == raft_last_applied(&g->raft);
	unsigned trails = trailing(g);
	size_t far_bytes = trails > trailing_least(g) ? trails * mean_bytes(g) : 0;
	f->applied = raft_last_applied(&g->raft);
	struct fsm_snapshot *state = MEM_NEW(struct fsm_snapshot);
	g->app->snapshot(g->arg, f->snapshot_index, &state->data, &state->live, &state->rows);
	raft_set_snapshot_threshold(&g->raft, UINT_MAX);
	f->wanted = f->pressed = false;
	raft_set_snapshot_trailing(&g->raft, trails);
	f->taken = state;
	f->snapshot_bytes = state->data.n + state->live.n + state->rows.n;
	f->log_bytes = 0;
	f->log_entries = 0;
	log_budget_clear(&g->groups->log_budget, &f->share);
	if (at_command) /* it trails */
		log_budget_add(&g->groups->log_budget, &f->share, f->last_bytes);
	log_budget_add(&g->groups->log_budget, &f->share, far_bytes);
	static uint8_t descriptor; /* nobody reads it */
	f->buf = (struct raft_buffer){.base = &descriptor, .len = sizeof descriptor};
	*bufs = &f->buf;
	*n_bufs = 1;
	return 0;
}

/* That this is given means: raft frees none of the above. */
static int fsm_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
	struct group *g = fsm->data;
	struct fsm_snapshot *state = g->fsm.taken;
	g->fsm.taken = NULL;
	buf_done(&state->data);
	buf_done(&state->live);
	buf_done(&state->rows);
	mem_free(state);
	*bufs = NULL;
	*n_bufs = 0;
	return 0;
}

/* The buffer is a descriptor. From raft_start(): the application has been restored by
 * group_fsm_restore() already, when failing was still possible. Or after an install. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	struct group *g = fsm->data;
	struct group_fsm *f = &g->fsm;
	raft_free(buf->base);
	if (!g->io.installing)
		return 0;
	struct slice state = install_state(g);
	f->applied = f->snapshot_index = g->io.kept_index;
	f->snapshot_bytes = state.n;
	f->log_bytes = 0;
	f->log_entries = 0;
	log_budget_clear(&g->groups->log_budget, &f->share);
	if (g->app->restore(g->arg, f->applied, state) != 0)
		group_broken(g, "a state that was accepted cannot be restored");
	return 0;
}

int group_fsm_restore(struct group *g, uint64_t index, struct slice data)
{
	if (g->app->restore(g->arg, index, data) != 0)
		return -1;
	struct buf live = BUF_EMPTY;
	g->app->live(g->arg, &live);
	store_log_retain(g->log, (const struct store_range *)(const void *)live.p,
		(unsigned)(live.n / sizeof(struct store_range)));
	g->fsm.applied = index;
	g->fsm.snapshot_index = index;
	g->fsm.snapshot_bytes = data.n + live.n;
	buf_done(&live);
	return 0;
}

void group_fsm_init(struct group *g)
{
	g->fsm.raft = (struct raft_fsm){
		.version = 2,
		.data = g,
		.apply = fsm_apply,
		.snapshot = fsm_snapshot,
		.restore = fsm_restore,
		.snapshot_finalize = fsm_snapshot_finalize,
	};
	log_share_init(&g->fsm.share);
}

void group_fsm_configure(struct group *g)
{
	raft_set_snapshot_threshold(&g->raft, UINT_MAX);
	raft_set_snapshot_trailing(&g->raft, TRAILING_ALONE);
}

void group_fsm_done(struct group *g)
{
	log_budget_clear(&g->groups->log_budget, &g->fsm.share);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * <raft.h> and what we need from its structs besides functions. Later releases move or hide fields;
 * only the ones read here may be read, and only here. Never r->log or the progress of members: what
 * we need of them, the shim keeps itself.
 *
 * Two lines of the library are known, 0.15 and 0.22. The later one is another program: a core that
 * is stepped from event to event, and a layer above it that serves raft_io and the calls that we
 * make. LIBRAFT_LAYERED says which one this is; what differs and matters:
 *
 *   - the layer calls requests back only from its own backend (group.c, membership.c: never asked);
 *   - a send() that refuses loses whatever else the step brought, commits included (group_net.c);
 *   - snapshot_get() may not fail, and a snapshot's progress is not told of a failed send
 *     (install.c);
 *   - entries are applied when a majority has them, this member's disk or not (group_io.c);
 *   - at each tick it begins again with whoever was not heard since the last one (group.c);
 *   - entries are copied, on the leader and on followers.
 */
#ifndef WARREN_RAFT_LIBRAFT_H
#define WARREN_RAFT_LIBRAFT_H

#include <limits.h>
#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef LIBRAFT_PLAIN_MESSAGE_NAMES
#define RAFT_IO_APPEND_ENTRIES RAFT_APPEND_ENTRIES
#define RAFT_IO_APPEND_ENTRIES_RESULT RAFT_APPEND_ENTRIES_RESULT
#define RAFT_IO_REQUEST_VOTE RAFT_REQUEST_VOTE
#define RAFT_IO_REQUEST_VOTE_RESULT RAFT_REQUEST_VOTE_RESULT
#define RAFT_IO_INSTALL_SNAPSHOT RAFT_INSTALL_SNAPSHOT
#define RAFT_IO_TIMEOUT_NOW RAFT_TIMEOUT_NOW
/* That line counts disk space in messages and in raft_io; ours is watched elsewhere (R4). And it
 * believes what a pre-vote's answer says of itself only from this version on. */
#define LIBRAFT_ROOM .capacity = USHRT_MAX,
#define LIBRAFT_RESULT .version = 2, LIBRAFT_ROOM
#else
#define LIBRAFT_ROOM
#define LIBRAFT_RESULT
#endif

#ifdef LIBRAFT_HAS_STEP
enum { LIBRAFT_LAYERED = true };
#else
enum { LIBRAFT_LAYERED = false };
#endif

/* Whether a vote's answer is about a pre-vote: a boolean in later lines. */
#ifdef LIBRAFT_BOOL_PRE_VOTE
typedef bool libraft_pre_vote;
#define LIBRAFT_PRE_VOTE_YES true
#define LIBRAFT_PRE_VOTE_NO false
#else
typedef raft_tribool libraft_pre_vote;
#define LIBRAFT_PRE_VOTE_YES raft_tribool_true
#define LIBRAFT_PRE_VOTE_NO raft_tribool_false
#endif

static inline uint64_t libraft_term(const struct raft *r)
{
	return r->current_term;
}

static inline uint64_t libraft_commit(const struct raft *r)
{
	return r->commit_index;
}

static inline uint64_t libraft_stored(const struct raft *r)
{
	return r->last_stored;
}

/* A transfer of leadership is under way: raft_apply() would refuse. */
static inline bool libraft_transferring(const struct raft *r)
{
	return r->transfer != NULL;
}

/* It leads anew. What it was handing over in a former leadership is kept until an election timeout is over, and
 * the barrier would be refused. Nobody is called back. */
static inline void libraft_forget_transfer(struct raft *r)
{
	r->transfer = NULL;
}

/* Leading, before a tick: who was heard since then is there. The later line counts from its last tick, and
 * goes back to probing whoever has not been heard since: one whose answers take longer than a heartbeat
 * would get everything again and again. */
static inline void libraft_look_back(struct raft *r, uint64_t since)
{
#ifdef LIBRAFT_HAS_STEP
	r->election_timer_start = since;
#else
	(void)r, (void)since;
#endif
}

/* Following: the leader's silence is borne so many ms. libraft draws that when it begins to follow. */
static inline void libraft_set_patience(struct raft *r, unsigned ms)
{
	if (raft_state(r) == RAFT_FOLLOWER)
		r->follower_state.randomized_election_timeout = ms;
}

/* Leading: a standby catches up before the entry that makes it a voter. */
static inline bool libraft_promoting(struct raft *r)
{
	return raft_state(r) == RAFT_LEADER && r->leader_state.promotee_id != 0;
}

/* Between raft_init() and raft_start(). The later line would have a member that lags get 32 entries
 * for each answer; group_net.c cuts by bytes. */
static inline void libraft_configure(struct raft *r)
{
#ifdef LIBRAFT_HAS_STEP
	raft_set_max_inflight_entries(r, 1024);
#else
	(void)r;
#endif
}

/* A configuration entry is in the log that is not committed yet. */
static inline bool libraft_changing(const struct raft *r)
{
	return r->configuration_uncommitted_index != 0;
}

/* The newest configuration is not an uncommitted one: after an install (R10). */
static inline void libraft_clear_changing(struct raft *r)
{
	r->configuration_uncommitted_index = 0;
}

/* What libraft's own roll-back does, with the configuration from us instead of from a log that may
 * not have it any more (R10). Takes `conf` over. Not while leading. */
static inline void libraft_set_configuration(
	struct raft *r, const struct raft_configuration *conf, uint64_t uncommitted_index)
{
	raft_configuration_close(&r->configuration);
	r->configuration = *conf;
	r->configuration_uncommitted_index = uncommitted_index;
}

/* Calls this member what it is told and returns what it was; -1 if it knows nothing of itself. For
 * the length of one call into libraft (R11). */
static inline int libraft_set_role(struct raft *r, int role)
{
	for (unsigned i = 0; i < r->configuration.n; i++) {
		struct raft_server *s = &r->configuration.servers[i];
		if (s->id != r->id)
			continue;
		int was = s->role;
		s->role = role;
		return was;
	}
	return -1;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * <raft.h> and what we need from its structs besides functions. Later releases (to 0.18) move or
 * hide fields; only the ones read here may be read, and only here. Never r->log, the progress of
 * members or the state's union: what we need of them, the shim keeps itself.
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
/* That line counts disk space in messages and in raft_io; ours is watched elsewhere (R4). */
#define LIBRAFT_ROOM .capacity = USHRT_MAX,
#else
#define LIBRAFT_ROOM
#endif

/* Whether a vote's answer is about a pre-vote: a boolean in later lines, which knows no "unknown". */
#ifdef LIBRAFT_BOOL_PRE_VOTE
typedef bool libraft_pre_vote;
#define LIBRAFT_PRE_VOTE_UNKNOWN false
#define LIBRAFT_PRE_VOTE_YES true
#define LIBRAFT_PRE_VOTE_NO false
#else
typedef raft_tribool libraft_pre_vote;
#define LIBRAFT_PRE_VOTE_UNKNOWN raft_tribool_unknown
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

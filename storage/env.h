/* SPDX-License-Identifier: Apache-2.0
 *
 * The LMDB environment of a store: its directory, its lock, its tables and its format.
 *
 *   DIR/lock      held by the process that alone uses the directory (storage/claim.h)
 *   DIR/data.mdb  everything
 *   DIR/lock.mdb  LMDB's reader table
 *   DIR/journal   small requests, durable before they are in data.mdb (storage/journal.h)
 *   DIR/reserve   bytes held back for a full disk (storage/reserve.h)
 *
 * Flags: the default ones plus MDB_NOTLS, so that every commit is synced before it returns, and no
 * stray pointer of ours can reach the file (it is mapped read only).
 */
#ifndef WARREN_STORAGE_ENV_H
#define WARREN_STORAGE_ENV_H

#include <lmdb.h>
#include <stdatomic.h>

#include "src/base/bytes.h"
#include "storage/claim.h"
#include "storage/journal.h"
#include "storage/reserve.h"
#include "storage/store.h"

enum env_mode {
	ENV_WRITE, /* creates what is missing, counts the incarnation up */
	ENV_CHECK, /* changes nothing */
};

/* A line of text for the caller. */
struct env_text {
	char *p;
	size_t n;
};

enum { ENV_WINDOWS = 16 };

struct env {
	MDB_env *mdb;
	MDB_dbi meta; /* see storage/format.h and storage/directory.h for what is in the tables */
	MDB_dbi log;
	MDB_dbi dir;
	MDB_dbi hard;
	MDB_dbi snap;
	MDB_dbi row;
	char *path;
	struct claim claim;
	bool claim_lent; /* it is the caller's */
	off_t cut_bytes; /* length of a data.mdb that a check has made longer; 0: none */
	uintptr_t map_from, map_to; /* addresses of data.mdb in this process; 0 if not found */
	/* What of it was looked at since all was let go: a guess in bytes, and windows counted. */
	_Atomic size_t looked_at;
	_Atomic uintptr_t windows[ENV_WINDOWS];
	struct reserve reserve;
	struct journal journal;
	uint64_t generation; /* of the journal, as of the last commit */
	struct store_identity identity;
};

/* 0 or a STORE_ error with its text in *err; nothing is open then. `claim`: NULL, or the directory's,
 * which stays the caller's. */
int env_open(struct env *env, const char *path, const struct claim *claim, enum env_mode mode,
	struct env_text err);
/* No transaction may be open. */
void env_close(struct env *env);
/* Writes the store's identity and a generation. Changes something even if they are as before: LMDB
 * skips transactions that change nothing. */
int env_put_meta(struct env *env, MDB_txn *txn, uint64_t generation);
/* The n bytes at p in the map were looked at (elsewhere: nothing happens). The kernel maps what is
 * around them, too, and counts it as memory of this process, so now and then all is let go: it stays
 * in the kernel's cache. Any thread. */
void env_looked_at(struct env *env, const void *p, size_t n);
/* A commit looked at pages of the trees. */
void env_looked_at_trees(struct env *env);
/* The pages of data.mdb do not fit together, `how` says in what: for store_on_broken(), then the process
 * ends. Any thread. */
_Noreturn void env_broken(const struct env *env, const char *how);
/* The STORE_ error for what LMDB returned. */
int env_error(int mdb_rc);
/* Writes a message; returns rc. */
int env_fail(struct env_text err, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static inline MDB_val env_key(const uint64_t *key)
{
	return (MDB_val){sizeof *key, (void *)(uintptr_t)key};
}

static inline MDB_val env_val(struct slice s)
{
	return (MDB_val){s.n, (void *)(uintptr_t)s.p};
}

static inline struct slice env_slice(MDB_val v)
{
	return slice_make(v.mv_data, v.mv_size);
}

/* A key of an MDB_INTEGERKEY table; 0 if it has another size (*ret_ok false). */
static inline uint64_t env_number(MDB_val key, bool *ret_ok)
{
	uint64_t n = 0;
	*ret_ok = key.mv_size == sizeof n;
	if (*ret_ok)
		memcpy(&n, key.mv_data, sizeof n);
	return n;
}

#endif

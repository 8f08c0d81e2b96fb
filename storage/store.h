/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's store: where groups keep their logs, hard state and snapshots, and where the metadata
 * tables live. One LMDB environment and one writer thread per node (storage/lmdb_*.c), and a backend
 * with the same interface that keeps a log in memory (storage/memory_log.c).
 *
 * A `store_log` is one group's log. Its owner (a worker thread) submits requests; they are carried
 * out strictly in the order submitted *per log*, many logs' requests in one transaction with one
 * durable commit. A completed request comes back on the owner's thread, from store_port_poll(), never
 * from inside the call that submitted it, and in submission order per log.
 *
 *   worker                         writer thread
 *   store_log_append(...)  ->      (queued in the port)
 *   store_port_flush()     ->      takes all ports' requests: one commit, or record of the journal
 *   store_port_poll()      <-      req->done(req) for each
 *
 * With store_port_write() a worker may do the writer's work for a request of its own while the writer
 * sleeps; in everything else that is the same.
 *
 * Life of an entry: appended at an index above the newest snapshot S; while above S it is part of the
 * raft log and stays. Once a snapshot covers it, it stays only as long as the state machine still
 * needs its bytes (live messages): store_log_snapshot() says which entries between the previous
 * snapshot and S are still needed, store_log_release() ends the need of one at or below S.
 * An entry's bytes are therefore written once, and disk use follows the live messages.
 *
 * A log that comes from elsewhere (a member is brought up by a snapshot) is staged beside the group's
 * own: written bit by bit, by ordinary requests, while the group goes on with the log it has; then one
 * request, in one transaction, puts it in that one's place. A crash leaves the one or the other, and
 * what was staged and not switched to is gone when the store is opened again.
 *
 * Failures: a request never fails. Disk nearly full: store_blocked() says so, while there is still
 * some space for what is under way. Full: a reserve is spent, so that requests go on for a while; then
 * they stay pending and are retried until there is space. EIO, a failed sync, or no space for writing
 * over one of LMDB's two first pages (a file system that copies on write): the process is aborted,
 * nothing is guessed; what had completed is there when the store is opened again.
 */
#ifndef WARREN_STORAGE_STORE_H
#define WARREN_STORAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/blob.h"
#include "src/base/buf.h"
#include "src/base/bytes.h"
#include "src/base/list.h"

/* Errors of opening, checking and reading; store_strerror() has a text for each. */
enum store_err {
	STORE_OK = 0,
	STORE_LOCKED = -1,   /* another process has this store open */
	STORE_DENIED = -2,   /* directory cannot be created, read or written */
	STORE_NEWER = -3,    /* written by a newer format than this program knows */
	STORE_DAMAGED = -4,  /* a checksum or a structure does not hold */
	STORE_IO = -5,       /* the disk said no */
	STORE_NOTFOUND = -6, /* no such entry or row */
};
const char *store_strerror(int err);

/* ---- ports: one per worker ------------------------------------------------------------------ */

struct store;
struct store_req;

/* A worker's side of the store. Embedded by the worker; all fields belong to the store. */
struct store_port {
	struct list submitted; /* struct store_req, not yet handed to the writer (owner thread) */
	struct list completed; /* memory logs' */
	struct store *store;   /* NULL: memory logs only */
	void *shared;          /* what crosses the threads (LMDB backend) */
	void (*wake)(void *arg);
	void *arg;
};

/* `wake(arg)` is called from the writer thread whenever completions wait for store_port_poll(), once
 * per commit; it must be thread-safe and cheap (worker_wake), and may not call the store. Memory
 * logs do not call it. `store` may be NULL for memory logs only. */
void store_port_init(struct store_port *port, struct store *store, void (*wake)(void *arg), void *arg);
/* All logs of the port must be closed and no request outstanding. */
void store_port_done(struct store_port *port);
/* Hands everything submitted since the last call to the writer. Owner thread, end of a turn. */
void store_port_flush(struct store_port *port);
/* The same, but a small request that is alone and finds the writer asleep is made durable here and now,
 * which saves waking two threads, if the disk was quick the last time (a fraction of a millisecond).
 * For a thread that has nothing better to do. */
void store_port_write(struct store_port *port);
/* Runs `done` of requests that had completed before the call. Returns how many ran. Owner thread;
 * `done` may submit, and close its log if nothing else of it is outstanding. */
unsigned store_port_poll(struct store_port *port);
/* True while completed requests wait (memory logs complete at once). */
bool store_port_ready(const struct store_port *port);

/* ---- requests ------------------------------------------------------------------------------- */

/* One entry as raft sees it. */
struct store_entry {
	uint64_t term;
	uint16_t type;     /* raft's entry type, opaque here */
	struct blob *blob; /* holds the bytes, never NULL; the store takes a reference while it needs them */
	const uint8_t *p;  /* first byte, inside blob->data */
	size_t n;          /* less than 4 GiB */
};

struct store_range {
	uint64_t from; /* first index */
	uint64_t to;   /* last index, inclusive */
};

/* A row of a metadata table that changes together with a snapshot; value.p == NULL deletes it. */
struct store_row {
	struct slice key; /* 1 to 500 bytes */
	struct slice value;
};

enum store_op {
	STORE_OP_HARD,
	STORE_OP_APPEND,
	STORE_OP_TRUNCATE,
	STORE_OP_SNAPSHOT,
	STORE_OP_RELEASE,
	STORE_OP_DROP,
	STORE_OP_SWITCH,
};

/* Embedded by the caller, who keeps it (and what its slices point to) until `done`. */
struct store_req {
	struct list link;
	struct store_log *log;
	void (*done)(struct store_req *req); /* owner thread; the request is the caller's again */
	enum store_op op;
	union {
		struct {
			uint64_t term;
			uint64_t vote;
		} hard;
		struct {
			/* Above the snapshot, at most one above the last entry; of a staged log
			 * any above the last entry. */
			uint64_t first;
			struct store_entry *entries; /* copied on submit: caller may free the array */
			unsigned n;
		} append;
		struct {
			uint64_t index;
		} truncate;
		struct {
			uint64_t index;
			uint64_t term;
			uint64_t conf_index;
			struct slice conf;       /* encoded configuration, opaque */
			struct slice data;       /* state, opaque */
			/* Sorted, not overlapping, within (previous, index]; not for a switch. */
			struct store_range *live;
			unsigned n_live;
			struct store_row *rows; /* metadata table changes, or none */
			unsigned n_rows;
		} snapshot; /* and switch */
		struct {
			uint64_t index;
		} release;
	} u;
};

/* ---- one group's log ------------------------------------------------------------------------ */

struct store_log_ops;

/* Base of both backends' logs. */
struct store_log {
	const struct store_log_ops *ops;
	struct store_port *port;
	uint64_t group;
};

/* What a log holds at start. Owned by the caller: store_load_done(). */
struct store_load {
	bool exists; /* false: never written (no hard state, no entry) */
	uint64_t term;
	uint64_t vote;
	bool has_snapshot;
	uint64_t snapshot_index;
	uint64_t snapshot_term;
	uint64_t snapshot_conf_index;
	struct buf snapshot_conf;
	struct buf snapshot_data;
	uint64_t first; /* index of entries[0]; snapshot_index + 1, or 1 */
	struct store_entry *entries; /* consecutive; each blob referenced once by this struct */
	size_t n_entries;
};
void store_load_done(struct store_load *load);

/* Group numbers are below this. */
#define STORE_GROUP_END (UINT64_C(1) << 63)

/* Opens a group's log in the store of `port`; creates nothing on disk. A group has one open log at a
 * time; it may be opened again, also by another port, as soon as store_log_close() has returned. The
 * first hard state, append, or snapshot makes the group exist; so does one after a drop. */
struct store_log *store_log_open(struct store_port *port, uint64_t group);
/* A log that lives in memory as long as it is open; completions arrive by store_port_poll() too. */
struct store_log *memory_log_open(struct store_port *port, uint64_t group);

/* The functions below work on both kinds; owner thread. None fails; see the top of the file. */

/* Reads what is stored; before any request is submitted, or when all have completed and it has another user. 0,
 * STORE_DAMAGED or STORE_IO. */
int store_log_load(struct store_log *log, struct store_load *ret_load);
/* After a restart, once the snapshot is restored: of the entries at or below the snapshot only those
 * in `live` (sorted; copied) are still needed. Until then all that were found on disk count as
 * needed. Takes effect in order with the requests, like a release. */
void store_log_retain(struct store_log *log, const struct store_range *live, unsigned n);
void store_log_hard(struct store_log *log, struct store_req *req, uint64_t term, uint64_t vote);
void store_log_append(struct store_log *log, struct store_req *req, uint64_t first,
	const struct store_entry *entries, unsigned n);
/* Removes the entries at `index` and above. An append over existing entries does so by itself. */
void store_log_truncate(struct store_log *log, struct store_req *req, uint64_t index);
/* req->u.snapshot is filled in by the caller. */
void store_log_snapshot(struct store_log *log, struct store_req *req);
/* Entry `index`, at or below the newest submitted snapshot, is needed no more. Fire and forget:
 * takes effect with a later commit, costs no commit of its own. */
void store_log_release(struct store_log *log, uint64_t index);
/* Forgets the group for good; the log must be closed afterwards. */
void store_log_drop(struct store_log *log, struct store_req *req);

/* ---- staging: storage/staging.h ------------------------------------------------------------- */

/* A log beside `log`, which has no other; nothing is in it, and nothing on disk before the first
 * append. What may be asked of it until it is switched to: appends with gaps between them (the
 * entries that the state still needs), fetches, a drop, a close. Bounded memory is up to the caller:
 * an entry's bytes are the store's until its append completes, and on disk from then on. */
struct store_log *store_log_stage(struct store_log *log);
/* In one transaction: the staged log becomes the group's, with the snapshot in req->u.snapshot (filled
 * in by the caller; all its entries are at or below the index), the term and the vote of the former
 * one; all that this held is gone. Nothing may be asked of the former log afterwards, but to close it
 * once the switch and what was asked before have completed. */
void store_log_switch(struct store_log *staged, struct store_req *req);

/* No request outstanding; releases are finished later. Memory logs lose their content. What was staged,
 * not switched to and not dropped stays on disk until the store is opened again. */
void store_log_close(struct store_log *log);

/* The bytes of an entry whose append has completed and that is still needed: a blob with a reference
 * for the caller and the number of bytes. STORE_NOTFOUND, STORE_DAMAGED (checksum) or STORE_IO.
 * LMDB: copies out in a short read transaction. Memory: shares the block. */
int store_log_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n);

/* ---- the store of a node (LMDB) ------------------------------------------------------------- */

struct store_stats {
	uint64_t groups, records, entries;    /* stored now */
	uint64_t live_bytes;                  /* bytes of entries that are needed */
	uint64_t record_bytes;                /* bytes of records on disk */
	uint64_t file_bytes;                  /* blocks that data.mdb really occupies */
	uint64_t commits, commit_ns;          /* since open: number and total time of durable commits */
	uint64_t cleaned_bytes;               /* copied forward by log cleaning */
};

/* Identity of a node, made when the store is. */
struct store_identity {
	uint64_t node_id;     /* random, never 0 */
	uint64_t incarnation; /* number of opens for writing, 1 at first */
};

/* That this process alone uses the directory (made, mode 0750, if missing), until store_unclaim(),
 * whether or not a store in it is open. Errors as store_open(). */
struct claim;
int store_claim(struct claim **ret, const char *dir, char *err, size_t err_n);
void store_unclaim(struct claim *c); /* NULL: nothing */

/* Who is told, with a line that says what is wrong, that the pages of a data file do not fit together:
 * LMDB gives up in the middle of a walk or a write then, and cannot go on. On any thread, even within
 * store_open(). If it returns, or is NULL as at first, the process aborts. Set before any store is open. */
void store_on_broken(void (*told)(const char *what));

/* Opens (creating directory and files, mode 0750/0640, if missing), scans, starts the writer thread.
 * `claim` is the directory's, and stays the caller's; NULL: it is claimed as long as the store is open.
 * `err` gets one line that names the object and the cause. */
int store_open(struct store **ret, const char *dir, const struct claim *claim, char *err, size_t err_n);
/* Finishes what is queued, joins the writer. All ports done. */
void store_close(struct store *s);
const struct store_identity *store_identity(const struct store *s);
void store_stats(struct store *s, struct store_stats *ret); /* any thread */
/* True while the disk is full or nearly (less than 16 MiB free, or the reserve not held): publishers
 * should be held back. What is submitted all the same is carried out as long as the reserve lasts, and
 * waits after that. Any thread. */
bool store_blocked(struct store *s);
/* `changed(arg)` is called from the writer thread when store_blocked() has another answer, as cheap
 * and thread-safe as a port's wake. NULL: nobody; not called any more once this returns. Any thread,
 * but not from `changed`. */
void store_watch(struct store *s, void (*changed)(void *arg), void *arg);
/* Every group with hard state. Before any log is opened; `each` may open them. */
void store_each_group(struct store *s, void (*each)(void *arg, uint64_t group), void *arg);
/* Rows of the metadata table in key order, before the first snapshot with rows of this run. The
 * slices are valid inside the callback. 0, STORE_DAMAGED or STORE_IO. */
int store_each_row(struct store *s, void (*each)(void *arg, struct slice key, struct slice value),
	void *arg);

/* Deletes a store that nobody has open, of another identity the next time it is opened; other files in
 * the directory stay. A crash leaves the old one or none. STORE_OK, STORE_LOCKED, STORE_IO; `claim` and
 * `err` as above. */
int store_wipe(const char *dir, const struct claim *claim, char *err, size_t err_n);

/* Verifies a store that no process has open: every record's structure and checksums, directories
 * against records, hard states, snapshots, tables. Prints what it holds, and each damaged value, to
 * stdout. 0 or the first error found, `err` as above; STORE_NOTFOUND if there is no store. */
int store_check(const char *dir, char *err, size_t err_n);
/* For who runs a check in a process of its own, as LMDB may end that: octets of the data file (-1: there is
 * none), and giving it that length back after such an end. A check makes a file that is cut off long
 * enough for the map, and short again when it ends by itself. */
int64_t store_length(const char *dir);
void store_cut(const char *dir, int64_t bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim: libraft's raft_io over a store_log. Every message, write, clock read and random number
 * of a group goes through it, which is where libraft's defects are neutralised; the rules R1 to R10
 * (raft/README.md) are named where they are obeyed.
 */
#ifndef WARREN_RAFT_GROUP_IO_H
#define WARREN_RAFT_GROUP_IO_H

#include "raft/confs.h"
#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/terms.h"

struct io_start;

struct group_io {
	struct raft_io raft;
	struct io_start *start; /* what raft_start() will load; NULL once it has */
	uint64_t next;          /* index of the next entry appended: append() does not say */
	uint64_t term;          /* hard state as last submitted: both are written together */
	uint64_t vote;
	unsigned writes; /* store requests under way */
	raft_io_tick_cb tick;
	raft_io_recv_cb recv;
	raft_io_close_cb close_cb;
	/* What is under way, by kind. */
	uint64_t hard;      /* writes of term or vote submitted */
	uint64_t hard_done; /* and durable */
	unsigned appends;
	struct list appending; /* struct io_append */
	size_t append_bytes; /* of entries in them */
	unsigned snapshots; /* of our own and installed ones */
	bool installing; /* one of them is installed: raft has neither log nor state until then */
	/* What we know of raft's log, without looking into it. */
	struct terms terms;
	struct confs confs;
	uint64_t log_start;    /* first entry that raft has in memory */
	uint64_t kept_index;   /* of its newest snapshot */
	unsigned trailing;     /* entries that it keeps behind the snapshot under way */
	uint64_t durable_term; /* of the newest entry that is durable here */
	bool failed_once;      /* a test has an append fail */
};

/* Loads the log, restores the application's snapshot, and submits what must be durable before
 * raft_start(); group_start() is called when it is. 0 or an error of store_log_load(). */
int group_io_open(struct group *g, const struct group_spec *spec);
/* A store request is submitted / has completed; the latter is the last act of its completion: the
 * group may be closable now. */
void group_io_write_begins(struct group *g);
void group_io_write_ended(struct group *g);
/* A write has ended: gives raft what waited for that. */
void group_io_unblock(struct group *g);
/* The bytes of an entry that is being written: what others have stored may be applied before that.
 * Returns whether it is one; *ret_blob gets a reference. */
bool group_io_fetch(struct group *g, uint64_t index, struct blob **ret_blob, const uint8_t **ret_p,
	size_t *ret_n);
/* This member is the only one that the newest configuration knows. */
bool group_io_alone(const struct group *g);
/* raft is closed or was never started. */
void group_io_done(struct group *g);

#endif

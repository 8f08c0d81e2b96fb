/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim: libraft's raft_io over a store_log. Every message, write, clock read and random number
 * of a group goes through it, which is where libraft's defects are neutralised; the rules R1 to R10
 * (raft/README.md) are named where they are obeyed.
 */
#ifndef WARREN_RAFT_GROUP_IO_H
#define WARREN_RAFT_GROUP_IO_H

#include "raft/group.h"
#include "raft/libraft.h"

struct io_start;

struct group_io {
	struct raft_io raft;
	struct io_start *start; /* what raft_start() will load; NULL once it has */
	uint64_t next;          /* index of the next entry appended: append() does not say */
	uint64_t term;          /* hard state as last submitted: both are written together */
	uint64_t vote;
	unsigned writes; /* store requests under way */
	raft_io_close_cb close_cb;
};

/* Loads the log, restores the application's snapshot, and submits what must be durable before
 * raft_start(); group_start() is called when it is. 0 or an error of store_log_load(). */
int group_io_open(struct group *g, const struct group_spec *spec);
/* raft is closed or was never started. */
void group_io_done(struct group *g);

#endif

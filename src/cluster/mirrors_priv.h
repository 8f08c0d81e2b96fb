/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of mirrors know of each other: mirrors.c (all queues of a worker: which are looked at, and
 * when), mirror_step.c (one queue: what is to be done).
 */
#ifndef WARREN_CLUSTER_MIRRORS_PRIV_H
#define WARREN_CLUSTER_MIRRORS_PRIV_H

#include <uthash.h>

#include "src/cluster/mirrors.h"

/* A queue that has, or may have, a step to take. */
struct mirror {
	uint64_t group;
	struct list link; /* in mirrors.due or mirrors.waiting, unless busy */
	uint64_t at_ms;   /* waiting: until then */
	uint64_t home_ms; /* not handed back before */
	uint64_t first;   /* the first member that home_ms is about; 0: not looked yet */
	uint64_t leaderless_ms; /* not led here: since when nobody leads it, as far as was seen; 0: somebody does */
	bool busy;        /* its group has been asked for a step */
	bool again;       /* look when that is over, whatever comes of it */
	enum { AS_CONFIGURED, SYNC, CANCEL } wish; /* an operator's: mirrors_sync() */
	struct mirrors *all;
	UT_hash_handle hh;
};

struct mirrors {
	struct mirrors_config config;
	struct mirror *by_group;
	struct list due;     /* struct mirror.link */
	struct list waiting; /* likewise */
	struct timer *timer; /* for `waiting` and home_scan_ms */
	uint64_t timer_ms;   /* set for; 0: not set */
	uint64_t home_scan_ms; /* when leaders that belong elsewhere are looked for; 0: not */
	bool drained;          /* a node's maintenance has changed: all that is led here is looked at */
	unsigned busy;
	void (*left)(void *arg); /* leaving: who is told */
	void *left_arg;
	uint64_t leaving_until_ms;
	uint64_t counted_ms; /* leaving: not looked again before */
	bool leaving;
};

/* The queue, its group and its members, while it is looked at. */
struct view {
	const struct broker_queue *q;
	struct group *group;
	uint64_t self; /* this node's member */
	struct group_member_state raft[BROKER_MEMBERS_MAX];
	unsigned n;
};

/* What comes of looking at a queue. */
enum outcome { SETTLED, BUSY, WAIT };

struct step {
	enum outcome outcome;
	unsigned wait_ms;
};

/* ---- mirrors.c ---- */

/* What a group has been asked for on behalf of a struct mirror, `arg`, is over: it is looked at again. */
void mirror_on_done(void *arg, int status);

/* ---- mirror_step.c ---- */

/* False if the queue, or this node's member of it, is not there. Otherwise *v is true until one of the two changes. */
bool view_look(struct mirrors *ms, uint64_t group, struct view *v);
/* Takes the next step and says what it is waited for. */
struct step mirror_next(struct mirror *m, const struct view *v);
/* Is there a wish of an operator to be remembered? */
bool mirror_keeps_wish(const struct mirror *m, const struct view *v);
/* A queue of two voters could not go on without this node, which is about to leave; the other one has not seen to that
 * yet. */
bool view_counts_on_us(const struct mirrors *ms, const struct view *v);

#endif

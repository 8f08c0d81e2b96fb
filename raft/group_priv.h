/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this folder know of a group and of the registry.
 *
 *                 durable               group_close()           writes == 0
 *   STARTING ---------------> RUNNING -----------------> CLOSING ----------> (closed)
 *       \___________________________________________________^  \               ^
 *                             group_close()                     `-> DROPPING --'
 *
 * A group's memory goes only in group_gone(), which groups_flush() or the drop's completion calls,
 * never below a function that still uses the group.
 */
#ifndef WARREN_RAFT_GROUP_PRIV_H
#define WARREN_RAFT_GROUP_PRIV_H

#include "raft/entry_cache.h"
#include "raft/freeze.h"
#include "raft/group_fsm.h"
#include "raft/group_io.h"
#include "raft/group_net.h"
#include "raft/groups.h"
#include "raft/haste.h"
#include "raft/install.h"
#include "raft/membership.h"
#include "raft/rules.h"
#include "raft/stall.h"
#include "src/base/mem.h"

#define uthash_malloc(n) mem_alloc(n)
#define uthash_free(p, n) mem_free(p)
#include <uthash.h>

enum group_phase {
	GROUP_STARTING, /* raft_start() waits until what it relies on is durable */
	GROUP_RUNNING,
	GROUP_CLOSING,  /* proposes no more; what is under way finishes and is applied */
	GROUP_DROPPING, /* raft is closed, the store forgets the log */
};

struct group {
	uint64_t id;
	uint64_t self; /* raft's id of this member */
	struct groups *groups;
	UT_hash_handle hh; /* in groups.by_id */
	const struct group_app *app;
	void *arg;
	struct store_log *log;
	enum group_phase phase;
	bool started;         /* raft_start() was called, raft_close() will have to be */
	bool drop;            /* forget the log once closed */
	struct list closable; /* in groups.closable */
	struct list cached;   /* its entries in groups.cache */
	uint64_t reads;       /* group_reads() */

	/* Proposing (group.c). */
	struct list dirty;     /* in groups.dirty */
	struct batch open;     /* filled now */
	bool waits;            /* the open batch is not work yet: group_wait() */
	struct list full;      /* struct full_batch, closed behind one another, oldest first */
	size_t full_bytes;     /* in them */
	size_t proposed_bytes; /* of the entry under way */
	bool proposed;         /* an entry is under way; at most one is (R3) */
	uint64_t proposed_index;
	struct list further;   /* struct further: entries under way beside that, without R3 */
	bool barrier;          /* an entry must be proposed even if there is no batch */
	bool leading;          /* as last said to app->leading() */
	uint64_t term;         /* the same */
	bool leading_raft;     /* raft leads, as of the last group_settle() */
	uint64_t term_raft;    /* in this term */
	uint64_t led_ms;       /* since when, by the group's clock */
	uint64_t ready_term;   /* the barrier of this term is committed (R2) */
	union {
		struct raft_apply apply;
		struct raft_barrier barrier;
	} request; /* in raft's hands while `proposed` */

	/* Other members. */
	struct list ticking; /* in groups.ticking: needs a clock */
	struct list paced;   /* in groups.paced */
	struct list thaw;    /* in groups.thawing */
	struct list todo;    /* in groups.todo */
	struct freeze freeze;
	struct change change;
	struct transfer transfer;
	struct installs installs;
	struct stall stall;
	struct haste haste;
	bool prompt;       /* struct group_spec */
	bool was_member;    /* a configuration that is applied has this member */
	uint64_t looked_at; /* index of the last one looked at */
	enum { NOT_REMOVED, REMOVED_UNTOLD, REMOVED_TOLD } removed;
	uint64_t removed_at; /* index of the configuration without it */

	struct raft raft;
	struct group_io io;
	struct group_net_state net;
	struct group_fsm fsm;
};

/* Whether a rule is obeyed; only tests have tables. */
#define RULE(g, rule) \
	((g)->groups->config.rules_off == NULL || !(g)->groups->config.rules_off->rule)

/* What must be durable is: starts raft, unless the group is closing. */
void group_start(struct group *g);
/* After every call into raft: tells changes of leadership, lets closing go on. */
void group_settle(struct group *g);
/* Proposes the oldest batch if it may; returns whether it did. */
bool group_propose(struct group *g);
/* Brings about an entry, so that a snapshot can be taken. */
void group_want_barrier(struct group *g);
/* A batch or a barrier waits. */
bool group_has_work(const struct group *g);
/* groups_flush() will call group_do(). */
void group_todo(struct group *g);
void group_do(struct group *g);
/* The group needs a clock, if it has other members. */
void group_tick_begins(struct group *g);
void group_tick(struct group *g);
/* A follower's clock may bring about an election now (R8). */
bool group_may_tick(const struct group *g);
/* A closing group without writes under way: closes raft, and then the log. */
void group_finish(struct group *g);

struct groups {
	struct groups_config config;
	struct group *by_id;
	struct list dirty;    /* groups that may have something to propose */
	struct list closable; /* closing groups without writes under way */
	struct entry_cache cache;
	struct log_budget log_budget;
	struct list ticking; /* groups that need a clock */
	struct list thawing; /* frozen groups that will */
	struct list hasty;   /* groups that will campaign: raft/haste.h */
	struct list paced;    /* groups that stream, with a pause now and then */
	struct list todo;    /* groups with something to do that may not be done where it came up */
	struct list undeliverable; /* struct net_message for nodes without a link */
	struct node_link *links;   /* by node */
	size_t waiting;            /* bytes of entries that wait for links */
	uint64_t stall_said_ms;    /* when a stalled disk was last spoken of */
};

/* Milliseconds of groups_config.now, and the times of groups_config. */
uint64_t groups_now(const struct groups *gs);
unsigned groups_election_ms(const struct groups *gs);
unsigned groups_heartbeat_ms(const struct groups *gs);
unsigned groups_stall_ms(const struct groups *gs);
/* A stream of the group pauses: install_resume() is to be called. */
void groups_pace(struct group *g);
bool groups_linked(const struct groups *gs, uint64_t node);
unsigned groups_round_trip_ms(const struct groups *gs, uint64_t node);

/* Says what broke and aborts: libraft did what our shim cannot lead to. */
_Noreturn void group_broken(const struct group *g, const char *what);

#endif

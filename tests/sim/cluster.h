/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes with a member each of one group, in one process and thread and in virtual time: links,
 * disks, a state machine, and a checker that looks at every step:
 *
 *   - an index holds the same command on whoever applies it, whenever;
 *   - at most one member acts as leader in a term;
 *   - the state after an index is the same on all (also when it came as a snapshot), and the
 * entries that it still needs can be read and are the right ones;
 *   - what was confirmed is there in the end, on all.
 */
#ifndef WARREN_TESTS_SIM_CLUSTER_H
#define WARREN_TESTS_SIM_CLUSTER_H

#include "raft/groups.h"
#include "raft/rules.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_disk.h"

enum { NODES_MAX = 8, THE_GROUP = 7 };

struct node;
struct cluster;

/* An entry that the state machine still needs. */
struct needed {
	uint64_t index;
	uint64_t until; /* applied */
	uint64_t hash;
};

/* The state machine above a member. Its entries are u64 numbers and padding. */
struct cell {
	struct node *node;
	struct group *group;
	bool dead; /* crashed: what it still says does not count */
	bool closed;
	bool leading;
	bool removed;
	uint64_t term;
	uint64_t last;  /* index of the last command applied */
	uint64_t chain; /* hash over all commands in order */
	uint64_t sum;   /* of their numbers */
	struct needed *needed;
	size_t n_needed, cap_needed;
	unsigned restores, snapshots, applies;
};

struct node {
	struct cluster *cluster;
	unsigned i;
	uint64_t id;          /* of the node: i + 1 */
	uint64_t raft_id;     /* of its member */
	uint64_t generation;  /* members it has had */
	uint64_t incarnation; /* lives */
	bool up;
	bool alone; /* from the next start on: the other members are given up */
	bool apart; /* likewise, and they have gone on */
	struct store_port port;
	struct groups *groups;
	struct sim_disk disk;
	struct cell *cell;            /* NULL: no member here */
	struct list handed;           /* struct net_message whose bytes are on their way */
	struct list refused;          /* that a link does not take */
	struct list stuck[NODES_MAX]; /* that wait in the link to a node that takes nothing */
	unsigned snapshot_entries; /* if not 0: instead of the cluster's, from the next start on */
	uint64_t sent, received;   /* messages */
};

struct cluster_options {
	uint64_t seed;
	unsigned nodes; /* all of them exist; the first `voters` are members at first */
	unsigned voters;
	bool prompt; /* struct group_spec */
	uint64_t preferred; /* member that leads first; 0: whoever */
	uint64_t delay_min_us, delay_max_us; /* of messages */
	unsigned loss_permille;
	bool unordered; /* also within a link */
	uint64_t disk_min_us, disk_max_us;
	unsigned heartbeat_ms, election_ms, freeze_after_ms;
	unsigned snapshot_entries; /* 0: as the product */
	unsigned trailing_entries;
	size_t laggard_bytes;
	uint64_t state_max; /* as in raft/groups.h */
	bool only_processes_die; /* never machines: whoever crashes is missed at once */
	bool half_commits; /* a crash may cut a commit in two */
	const struct rules_off *off;
	const char *trace; /* anything: say what happens */
};

/* What the checker knows of an index. */
struct known {
	uint64_t hash; /* of the command; 0: not applied anywhere */
	uint64_t chain;
};

struct wire;

struct cluster {
	struct sim sim;
	/* A test sees every message; true: it is lost. */
	bool (*watch)(struct cluster *c, struct node *from, struct node *to, const struct wire *w,
		size_t n);
	/* The same when it arrives, and may change its octets. */
	void (*spoil)(struct cluster *c, struct node *to, uint8_t *p, size_t n);
	void *watch_arg; /* of both */
	struct cluster_options o;
	struct node nodes[NODES_MAX];
	bool cut[NODES_MAX][NODES_MAX];
	bool full[NODES_MAX][NODES_MAX]; /* the link takes nothing for now, and loses nothing */
	bool linked[NODES_MAX][NODES_MAX]; /* as node [a] knows of [b] */
	uint64_t epoch[NODES_MAX][NODES_MAX];
	uint64_t last_at[NODES_MAX][NODES_MAX];
	uint64_t far_us[NODES_MAX][NODES_MAX]; /* more delay of a way */
	uint64_t thin[NODES_MAX][NODES_MAX];   /* octets that it takes in a ms; 0: any number */
	unsigned refuse_permille[NODES_MAX][NODES_MAX]; /* of messages that are not urgent: those alone are lost */
	uint64_t free_us[NODES_MAX][NODES_MAX]; /* a thin one has sent what it took */
	uint64_t octets[NODES_MAX][NODES_MAX]; /* that were sent */
	/* the checker */
	struct known *known;
	size_t n_known;
	uint64_t max_index;
	uint64_t *leaders; /* raft id by term */
	size_t n_leaders;
	uint64_t numbers;   /* handed out */
	uint8_t *confirmed; /* by number */
	size_t n_confirmed_cap;
	uint64_t n_confirmed;
	uint64_t installs;
	bool failed;
	char why[1024];
};

void cluster_init(struct cluster *c, const struct cluster_options *o);
void cluster_done(struct cluster *c);
void cluster_run(struct cluster *c, uint64_t ms);
/* Runs until *until is true, at most `ms`; whether it is. */
bool cluster_until(struct cluster *c, bool (*until)(struct cluster *c), uint64_t ms);
void cluster_fail(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cluster_trace(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A message of the tester's own arrives at once, as if `from` had sent it. */
void cluster_forge(struct node *from, struct node *to, const struct wire *w, struct slice list,
	struct slice bytes);

/* The node whose member leads and acts in the highest term; NULL without. */
struct node *cluster_leader(struct cluster *c);
/* All members of the newest configuration that are up are equal and have all that was ever applied.
 */
bool cluster_converged(struct cluster *c);
/* Why not, for the report. */
void cluster_describe(struct cluster *c, char *buf, size_t n);
/* Reads a few needed entries back on every node. */
void cluster_check_entries(struct cluster *c, unsigned each);

void node_start(struct node *n);
/* `part`: what its disk was writing may be half written. */
void node_crash(struct node *n, bool part);
/* A crash, and the disk is gone: the next member here has a new id. */
void node_wipe(struct node *n);
/* From the next start on the node's member has a new id, and the log of the former one. */
void node_inherit(struct node *n);
/* Closes and forgets the member; the node goes on without. */
void node_drop_member(struct node *n);
/* A new member on a node without one: it waits for being added. */
void node_new_member(struct node *n);
/* A number and so many bytes of padding are proposed here; returns the number. */
uint64_t node_put(struct node *n, size_t padding);
/* One turn, as after any event. */
void node_turn(struct node *n);

void cluster_cut(struct cluster *c, unsigned from, unsigned to, bool cut);
void cluster_isolate(struct cluster *c, unsigned i, bool cut);
void cluster_heal(struct cluster *c);
/* The links notice at once. */
/* The link takes nothing until it is called empty again; then it sends what has waited. */
void cluster_full_link(struct cluster *c, unsigned from, unsigned to, bool full);
void cluster_break_link(struct cluster *c, unsigned a, unsigned b);

#endif

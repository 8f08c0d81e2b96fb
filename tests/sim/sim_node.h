/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole nodes in one process and thread and in virtual time: the app of src/daemon with all that is
 * below it, over simulated workers, links and disks. What src/daemon/node.c is for a process, this is
 * for a simulated one; it may be killed at any moment.
 */
#ifndef WARREN_TESTS_SIM_NODE_H
#define WARREN_TESTS_SIM_NODE_H

#include "src/daemon/node.h"
#include "tests/sim/promises.h"
#include "tests/sim/sim_links.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_store.h"

enum { SIM_NODES = 5, SIM_WORKERS = 3 };

struct sim_world;

/* A machine, and the process on it. */
struct sim_node {
	struct sim_world *world;
	unsigned i;
	char name[32], dir[16], address[24];
	struct sim_box box;           /* its disk */
	struct membership membership; /* on the disk, too; likewise the next */
	struct change change;
	unsigned die_at;              /* changes of these and of its identity, each once before and once after it, until it is killed; 0: never */
	int64_t skew_ms;              /* of its wall clock */
	unsigned workers;
	/* the process */
	struct node node;
	bool up;       /* there is one */
	bool ghost;    /* it is killed, and is only let go of: what it does means nothing */
	bool stopping; /* it ends when its app is down */
	uint64_t life; /* starts of the app so far */
};

struct sim_world_options {
	uint64_t seed;
	unsigned nodes, workers;
	struct sim_net_options net;
	uint64_t disk_min_us, disk_max_us;
	uint64_t skew_ms; /* most of a wall clock */
	bool discovers; /* nodes know where the others are, and find their cluster by themselves */
	uint64_t down_ms, replace_ms; /* as cluster.node_down_ms and cluster.replace_after_ms; 0: the default */
	bool trace;
};

struct sim_world {
	struct sim sim;
	struct sim_net net;
	struct sim_world_options o;
	struct config config;
	struct sim_node nodes[SIM_NODES];
	struct promises promises;
	uint64_t cluster_id; /* of the one that there is */
};

/* All machines are there, and nothing runs. */
void world_begin(struct sim_world *w, const struct sim_world_options *o);
/* Kills what runs. */
void world_end(struct sim_world *w);
void world_run(struct sim_world *w, uint64_t ms);
/* Until `holds`, at most `ms`; whether it came to that. */
bool world_until(struct sim_world *w, bool (*holds)(struct sim_world *w, void *arg), void *arg,
	uint64_t ms);
void world_trace(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void sim_node_start(struct sim_node *n);
/* kill -9; `dark`: the machine has lost its power, and is on again with the next start. */
void sim_node_kill(struct sim_node *n, bool dark);
/* SIGTERM; the process ends some time later. */
void sim_node_stop(struct sim_node *n);
/* Not running: as a new machine of the same name. */
void sim_node_wipe(struct sim_node *n);
/* Not running: an operator says that no other node of its cluster will come back. */
void sim_node_give_up_others(struct sim_node *n);
/* Clients are served. */
bool sim_node_serves(const struct sim_node *n);
/* The node's life is not over. */
bool sim_node_lives(const struct sim_node *n, uint64_t life);
/* Makes a node that does not run a member of the cluster, through one that serves: proposes that it
 * joins, and gives it the membership when that is applied. */
void sim_node_join(struct sim_node *n, struct sim_node *via, enum broker_node_type type);
/* The first node starts alone, the others join one after another; all serve. False: not in time. */
bool world_form(struct sim_world *w, unsigned n_ram);

/* The nodes find each other, while some are killed and cut off from others. False: not in time. */
bool world_discover(struct sim_world *w);

/* The node that runs these groups; NULL: none. */
struct sim_node *world_node_of(struct sim_world *w, const struct groups *gs);
struct broker *sim_node_broker(struct sim_node *n);
/* The shard that a client of the node is on. */
struct shard *sim_node_shard(struct sim_node *n, unsigned no);
/* Proposes a command, and forgets it. */
void sim_node_propose(struct sim_node *n, struct buf *command);

#endif

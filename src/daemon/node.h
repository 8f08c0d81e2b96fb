/* SPDX-License-Identifier: Apache-2.0
 *
 * A node: the store, the workers' shards, the home of the metadata, the listeners; and the order in
 * which they start and stop.
 *
 *   start: ports taken -> store -> metadata (group 0) led -> this incarnation announced -> all shards
 *          have opened their queues -> listeners accept
 *   stop:  listeners -> connections (320) -> queues -> metadata -> workers -> store
 */
#ifndef WARREN_DAEMON_NODE_H
#define WARREN_DAEMON_NODE_H

#include "src/cluster/cookie.h"
#include "src/cluster/links.h"
#include "src/daemon/alarms.h"
#include "src/daemon/config.h"
#include "src/daemon/shard.h"
#include "src/manage/control.h"
#include "src/net/listener.h"

/* This node's number within its cluster, as client ids have it. */
enum { NODE_NUMBER = 1 };

/* How the program ends; each has a meaning of its own for scripts. */
enum node_exit {
	NODE_EXIT_OK = 0,
	NODE_EXIT_FAILURE = 1,
	NODE_EXIT_PORT_IN_USE = 3,
	NODE_EXIT_DIRECTORY = 4,
	NODE_EXIT_NEWER_FORMAT = 5,
	NODE_EXIT_DAMAGED = 6,
	NODE_EXIT_LOCKED = 7,
	NODE_EXIT_DISK = 8,
	NODE_EXIT_USAGE = 64,
	NODE_EXIT_CONFIG = 78,
};

struct node {
	const struct config *config;
	const char *name; /* "warren@host" */
	const char *data_dir;
	struct store *store;
	struct store_identity identity;
	struct buf stored_groups; /* u64, sorted: what the store held when it was opened */
	struct session_limits limits;
	struct shard *shards;
	struct catalog **catalogs; /* of the shards, in their order; likewise envs */
	struct session_env **envs;
	unsigned n_shards;
	struct catalog_home *home;
	struct cookie cookie; /* until the links have it */
	struct links *links;
	struct listener *cluster_listener; /* bound; NULL: the links have it */
	struct alarms alarms;
	struct api *api;
	struct api_shard *api_shards;
	struct control *control; /* NULL: there is none */
	struct listener *listeners[CONFIG_LISTENERS_MAX];
	unsigned n_listeners;
	unsigned next_shard;                /* for the next connection */
	unsigned serving, drained, stopped; /* shards that are */
	uv_signal_t signals[2];
	bool listening;
	bool stopping;
	enum node_exit exit;
};

/* Runs a node until it is told to stop by SIGTERM or SIGINT; returns the exit status. */
enum node_exit node_run(struct node *n);
/* Exit status and a line for a failed store. */
enum node_exit node_store_exit(int store_err);

/* ---- from the shards ---- */

/* Makes n->links, which the ports of all shards belong to; worker 0 is there. */
void node_open_links(struct node *n);

void node_shard_serving(struct node *n, struct shard *s);
void node_shard_drained(struct node *n, struct shard *s);
void node_shard_stopped(struct node *n, struct shard *s);
/* The store held a log of this group when it was opened. */
bool node_has_log(const struct node *n, uint64_t group);

#endif

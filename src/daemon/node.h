/* SPDX-License-Identifier: Apache-2.0
 *
 * A node: the process with its workers, the links' listener and the operators' API; and the app
 * (src/daemon/app.h), which serves clients and may go down and up meanwhile.
 *
 *   start: ports taken, store opened -> cookie -> workers, API -> the app -> other nodes may connect
 *   stop:  the app -> links -> API -> workers
 */
#ifndef WARREN_DAEMON_NODE_H
#define WARREN_DAEMON_NODE_H

#include "src/cluster/change.h"
#include "src/cluster/cookie.h"
#include "src/cluster/links.h"
#include "src/cluster/membership.h"
#include "src/daemon/app.h"
#include "src/daemon/config.h"
#include "src/daemon/shard.h"
#include "src/manage/control.h"
#include "src/net/listener.h"

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
	struct claim *claim; /* of data_dir, as long as the process lives */
	struct app app;
	struct store *store; /* NULL while the app is down; the next two are its */
	struct store_identity identity;
	struct buf stored_groups; /* u64, sorted: what the store held when it was opened */
	struct session_limits limits;
	struct tally *tally;
	struct shard *shards;
	struct catalog **catalogs; /* of the shards, in their order; likewise envs */
	struct session_env **envs;
	unsigned n_shards;
	char *address;        /* "host:port" for other nodes */
	struct membership membership; /* of the cluster that this node is in with others; its file is in step */
	struct change change; /* of its membership, that has begun and is not over; likewise */
	struct timer *taking_back; /* one was taken back, and is in its file still; NULL: none */
	bool blank; /* it is in no cluster, not even one of its own, and has no data */
	struct cookie cookie; /* until the links have it */
	struct ssl_ctx_st *tls; /* of the links; NULL: none */
	struct links *links;
	struct listener *cluster_listener; /* bound; NULL: the links have it */
	struct api *api;
	struct api_shard *api_shards;
	struct control *control; /* NULL: there is none */
	int signal_fd; /* SIGTERM, SIGINT, SIGHUP arrive here */
	uv_poll_t signals;
	bool served; /* the app was up at least once */
	bool stopping;
	enum node_exit exit;
};

/* Runs a node until it is told to stop by SIGTERM or SIGINT; returns the exit status. */
enum node_exit node_run(struct node *n);
/* Exit statuses for a failed store and for a listener's errno. */
enum node_exit node_store_exit(int store_err);
enum node_exit node_listener_exit(int code);

/* ---- from the app ---- */

void node_on_app_down(struct node *n);
void node_on_app_failed(struct node *n, enum node_exit why);
/* The metadata may have another table of nodes now: the membership follows it. */
void node_on_table(struct node *n, const struct broker *b);
/* A member that an operator has given up is there all the same. */
void node_on_found(struct node *n, uint64_t member);

/* ---- what it remembers of its cluster: node_cluster.c ---- */

/* Each of these: 0, or -1 with one line in `err`. */

/* Reads the files, and changes nothing: the data directory may be another process's. */
int node_remember(struct node *n, char *err, size_t err_n);
/* The directory is claimed. One that has joined, and died before it said so in the file, has done so. */
int node_settle_change(struct node *n, char *err, size_t err_n);
/* This node belongs to that cluster from now on (taken over): if it was to join one, that is over. */
int node_take_membership(struct node *n, struct membership *membership, char *err, size_t err_n);
/* The members have forgotten this node, which wanted to leave (CHANGE_LEAVE): when its store is opened the next time,
 * it is wiped. */
int node_has_left(struct node *n, char *err, size_t err_n);
/* The store is not open, and claimed, and the change has come to that (CHANGE_WIPE): everything is deleted. */
int node_wipe_data(struct node *n, char *err, size_t err_n);

/* As api_node has them. */
int node_begin_change(void *arg, const struct change *change, char *err, size_t err_n);
void node_take_back(void *arg);
/* The process ends: what has not been written by now is not. */
void node_end_taking_back(struct node *n);
int node_reset(void *arg, char *err, size_t err_n);
int node_join(void *arg, struct membership *membership, char *err, size_t err_n);
int node_give_up(void *arg, uint64_t member, char *err, size_t err_n);

/* ---- from the shards ---- */

/* Makes n->links, which the ports of all shards belong to; worker 0 is there. */
void node_open_links(struct node *n);

/* The store held a log of this group when it was opened. */
bool node_has_log(const struct node *n, uint64_t group);

#endif

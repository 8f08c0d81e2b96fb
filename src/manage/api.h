/* SPDX-License-Identifier: Apache-2.0
 *
 * The operators' API: named verbs with JSON arguments and JSON results. Whatever brings a request
 * here (the control socket, another node) has checked that its sender may do everything.
 *
 * All of it on worker 0. A verb answers once, by api_ok() or api_fail(), at once or later.
 */
#ifndef WARREN_MANAGE_API_H
#define WARREN_MANAGE_API_H

#include <jansson.h>

#include "src/cluster/catalog.h"
#include "src/cluster/change.h"
#include "src/cluster/links.h"
#include "src/cluster/mirrors.h"
#include "src/cluster/membership.h"
#include "src/queue/host.h"
#include "src/session/env.h"

struct api;
struct api_call;

/* What a worker has, for verbs that ask all workers. */
struct api_shard {
	struct worker *worker;
	struct session_env *env;   /* env->broker is NULL while the app is stopped */
	struct queue_hosts *hosts; /* likewise; the worker's thread */
	struct mirrors *mirrors;   /* as hosts */
};

struct api_listener {
	const char *protocol, *purpose, *host;
	unsigned port;
};

/* What an alarm is raised at: bytes, or a share of the machine's memory. */
struct api_limit {
	bool relative;
	double share;   /* if so */
	uint64_t bytes; /* that it is, or comes to */
};

/* What serves clients; the API runs without it, too. */
enum api_app { API_APP_STOPPED, API_APP_STARTING, API_APP_RUNNING, API_APP_STOPPING };

/* How starting or stopping it has ended: NULL, or a sentence that says why not. */
typedef void api_app_done(void *arg, const char *why);

/* What the API needs of the node; filled in by the daemon. */
struct api_node {
	const char *name; /* "warren@host" */
	const char *data_dir;
	uint64_t started_ms;             /* wall clock */
	const struct api_shard *shards;  /* of all workers, by number */
	unsigned n_shards;
	enum api_app (*app)(void *arg);
	/* What the app waits for while it starts, or why it is not to be started again as things are (`final`): one
	 * line, to be freed with mem_free(), or NULL. */
	char *(*trouble)(void *arg, bool *final);
	/* Of a stopped app, and of one that is not; at once or later. */
	void (*start_app)(void *arg, api_app_done *done, void *done_arg);
	void (*stop_app)(void *arg, api_app_done *done, void *done_arg);
	struct links *links;
	const char *address;           /* "host:port" for other nodes */
	uint64_t (*id)(void *arg);     /* of this node; another one after reset() */
	uint64_t (*incarnation)(void *arg); /* the last one in which its app ran, or runs */
	const struct membership *(*membership)(void *arg);
	const struct change *(*change)(void *arg); /* of it, that has begun; or one that is none */
	/* It is in no cluster, and has no data; and what it would be in one. */
	bool (*blank)(void *arg);
	enum broker_node_type first_type;
	/* While the app is stopped; 0, or -1 with one line in `err`. A change of membership begins with this step
	 * (copied), in place of one that was not over: it is gone on with, or taken back, whatever happens to the
	 * process from now on. */
	int (*begin)(void *arg, const struct change *change, char *err, size_t err_n);
	/* Nobody has forgotten the node, which wanted to leave: it is a member as before. */
	void (*take_back)(void *arg);
	/* As begin(), of one that has left (CHANGE_LEAVE), or wants no leave (CHANGE_WIPE); there is no other way to
	 * it: everything is deleted, and the node gets a new id / the node belongs to this cluster from now on (taken
	 * over, also if it fails); then the change is over. */
	int (*reset)(void *arg, char *err, size_t err_n);
	int (*join)(void *arg, struct membership *membership, char *err, size_t err_n);
	/* While the app is stopped: a member that will not come back, 0 for all others, is given up. As
	 * above. */
	int (*give_up)(void *arg, uint64_t node, char *err, size_t err_n);
	uint64_t (*memory)(void); /* bytes that the process takes, as the memory alarm counts */
	/* While the app runs: new clients are let in, or not. As above. */
	int (*accept)(void *arg, bool yes, char *err, size_t err_n);
	/* Certificates and keys are read again; those that cannot be used change nothing. As above. */
	int (*renew_tls)(void *arg, char *err, size_t err_n);
	void (*stop)(void *arg);         /* the process is to end */
	/* Resource alarms, of this node (0) or of those that it is linked with (from 1): false behind the last. */
	bool (*alarms)(void *arg, size_t i, uint64_t *ret_node, enum session_alarm *ret);
	/* While the app runs: where the memory or the disk alarm is raised. */
	void (*limit)(void *arg, enum session_alarm which, struct api_limit *ret);
	/* Likewise: another limit, until the app starts again; the alarm follows at once. */
	void (*set_limit)(void *arg, enum session_alarm which, const struct api_limit *to);
	uint64_t (*disk_free)(const char *path); /* bytes on the file system of `path` */
	/* The i-th open listener; false behind the last. */
	bool (*listener)(void *arg, unsigned i, struct api_listener *ret);
	/* A call per key of the configuration; the texts are valid inside it. */
	void (*settings)(void *arg, void (*each)(void *to, const char *key, const char *value), void *to);
	void *arg;
};

struct api *api_new(const struct api_node *node);
/* No call is under way. */
void api_free(struct api *a);
/* Runs a request; `done` gets the reply, which it has to free with json_decref(), inside the call
 * or later. `request` is only borrowed. Anything may be in it. */
void api_request(
	struct api *a, json_t *request, void (*done)(void *arg, json_t *reply), void *arg);
/* The app is stopped: no call that waits for the metadata or a queue will hear from them; they fail. */
void api_abandon(struct api *a);

/* ---- for the verbs ---- */

/* In replies; never reused. warrenctl makes exit statuses of them. */
enum api_error {
	API_BAD_REQUEST,  /* "bad_request": arguments are missing or wrong */
	API_UNKNOWN_VERB, /* "unknown_verb" */
	API_NOT_FOUND,    /* "not_found" */
	API_EXISTS,       /* "exists" */
	API_REFUSED,      /* "refused": understood, and not done; the message says why */
	API_UNAVAILABLE,  /* "unavailable": somebody who is needed does not answer */
	API_NOT_READY,    /* "not_ready": the node does not serve clients now */
	API_RUNNING,      /* "running": the app is to be stopped before */
	API_STARTING,     /* "starting": the app is being started already */
};

struct api_call {
	struct api *api;
	struct list waiting; /* in api.waiting, or by itself */
	json_t *args;        /* an object; owned */
	void (*done)(void *arg, json_t *reply);
	void *arg;
	/* For verbs that propose: the answer of the metadata. */
	struct catalog_request catalog;
	void (*applied)(struct api_call *c, const struct broker_result *result);
	bool begun; /* something has been done already, and stays */
	json_t *missing;       /* nodes that should have a say in the result, and do not; or NULL */
	bool unsure;           /* it fails, and may be done all the same: the reply says so, "unsure": true */
	/* For verbs that try again. */
	struct timer *timer;
	void (*again)(struct api_call *c);
	uint64_t until_ms;
	/* For verbs that ask a queue. */
	struct queue_request queue;
	void (*answered)(struct api_call *c, const struct machine_answer *a);
};

struct api_verb {
	const char *name;
	void (*run)(struct api_call *c);
	bool always; /* also while the node does not serve clients */
};

/* Ends the call; `result` is taken over, NULL means true. */
void api_ok(struct api_call *c, json_t *result);
void api_fail(struct api_call *c, enum api_error code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Ends the call with what another node has answered, "ok": false; its message comes behind `who`. */
void api_pass(struct api_call *c, const char *who, const json_t *reply);
/* Only the last command that changes the membership goes on, as nobody may wait for the one before any more: `verb`
 * (static) is the last one from now on, and has this number, never 0. */
uint64_t api_supersede(struct api_call *c, const char *verb);
/* The verb that has superseded that one, or NULL. */
const char *api_superseded(const struct api_call *c, uint64_t number);
/* What the node knows will be missing in the result, which says so: the sentence is about it. */
void api_note_missing(struct api_call *c, const char *node, const char *why);
/* Runs again(), after a moment, unless the app stops and ends the call. */
void api_again(struct api_call *c, void (*again)(struct api_call *c));
/* Reads the arguments as json_unpack() does; ends the call and returns false if they do not fit. */
bool api_args(struct api_call *c, const char *format, ...);
const struct api_node *api_node(const struct api_call *c);
/* Clients are served. */
bool api_ready(const struct api_call *c);
/* Worker 0's copy of the metadata; NULL while the app is stopped. */
struct broker *api_broker(const struct api_call *c);
/* The vhost called args.vhost ("/" if absent); ends the call and returns NULL if there is none. */
struct broker_vhost *api_vhost(struct api_call *c);
/* The queue args.name of that vhost; likewise. */
struct broker_queue *api_queue(struct api_call *c);
/* There is a type of queues called so, or it is empty; else ends the call and returns false. */
bool api_queue_type(struct api_call *c, struct slice name);
/* Proposes a command of the metadata and frees the buffer. `applied` ends the call; NULL: OK ends it
 * well and everything else by a general sentence. Without a majority the call ends by a sentence that says so,
 * at once or after a few seconds. */
void api_propose(struct api_call *c, struct buf *command,
	void (*applied)(struct api_call *c, const struct broker_result *result));
/* Ends the call and returns true if the metadata cannot be changed from here: most nodes are away. */
bool api_fails_in_minority(struct api_call *c);
/* So many of the nodes whose members of the queue vote are out of reach that nobody can serve it. */
bool api_lacks_majority(const struct api_call *c, const struct broker_queue *q);
/* Ends the call: how many of them are reached, and what follows from that ("nothing was done"). */
void api_fail_without_majority(struct api_call *c, const struct broker_queue *q, const char *consequence);
/* A request of a queue client, whose answer goes to `answered`, unless the call ends before. */
struct queue_request *api_queue_request(
	struct api_call *c, void (*answered)(struct api_call *c, const struct machine_answer *a));

extern const struct api_verb api_access_verbs[], api_policy_verbs[], api_settings_verbs[],
	api_topology_verbs[], api_queue_verbs[], api_traffic_verbs[], api_node_verbs[], api_cluster_verbs[],
	api_member_verbs[], api_replica_verbs[], api_memory_verbs[], api_tune_verbs[]; /* each ends with a NULL name */

#endif

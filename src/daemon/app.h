/* SPDX-License-Identifier: Apache-2.0
 *
 * The app: what serves clients. The node is the process, its workers, the links' listener and the
 * operators' API, and stays; the app goes down and up again, as often as it is told to.
 *
 *   up:    ports taken, store opened (app_prepare) -> of a node that was to become a member, that done
 *          (src/manage/joining.h) -> of another one without data, the cluster found (if any
 *          is to be looked for: src/manage/formation.h) -> shards opened -> metadata (group 0) led, or
 *          heard of -> this incarnation announced -> all shards have opened their queues -> listeners
 *          accept
 *   down:  listeners -> connections (320) -> the table of nodes is told -> queues -> metadata -> links
 *          to other nodes -> rounds until no worker has anything under way -> shards closed -> store
 *          closed
 *
 * While it is down, the store is closed, though no other process can open it: it may be wiped. Each time it comes up is a new incarnation.
 * Worker 0's thread, but for app_shard_reached().
 */
#ifndef WARREN_DAEMON_APP_H
#define WARREN_DAEMON_APP_H

#include "src/cluster/roster.h"
#include "src/daemon/alarms.h"
#include "src/manage/formation.h"
#include "src/manage/joining.h"
#include "src/manage/vigil.h"
#include "src/net/listener.h"

struct node;
struct shard;

enum app_state { APP_DOWN, APP_STARTING, APP_UP, APP_STOPPING };

/* How far a shard has come; the app goes on when all have. */
enum app_step {
	APP_STEP_OPENED,  /* shard_open() */
	APP_STEP_SERVING, /* its queues are open */
	APP_STEP_DRAINED, /* connections are gone, and what they sent is done */
	APP_STEP_STOPPED, /* its queues are closed */
	APP_STEP_LEFT,    /* a round of leave-taking: what was in its mailbox is looked at, and has had its turn */
	APP_STEP_CLOSED,  /* shard_close() */
	APP_STEPS
};

/* Tells how a start or a stop has ended; `why` is NULL if well, else a sentence. */
typedef void app_done(void *arg, const char *why);

struct app {
	enum app_state state;
	struct catalog_home *home;
	struct roster *roster;
	struct joining *joining;     /* wants to become a member, or NULL */
	struct formation *formation; /* looks for the cluster, or NULL */
	struct vigil *vigil;         /* waits for it, and looks whether it has forgotten this node; or NULL */
	char *forgotten;             /* it has, so the app was stopped: a sentence; or NULL */
	struct formation_config forming;
	bool declared_down; /* others took us for dead: down and up again */
	bool again;         /* it comes up again when it is down */
	struct alarms alarms;
	struct listener *listeners[CONFIG_LISTENERS_MAX];
	unsigned n_listeners;
	unsigned next_shard; /* for the next connection */
	unsigned reached[APP_STEPS];
	unsigned rounds;  /* of leave-taking */
	unsigned quiet;   /* so many of the last ones */
	bool worked;      /* a shard did something in the present one */
	bool opening;     /* the shards are, or all of them have been */
	bool opened;      /* all shards are */
	bool stop_wanted; /* before they were */
	app_done *started, *stopped; /* who waits, or NULL */
	char *unstarted;             /* why it goes down before it was up; or NULL */
	void *started_arg, *stopped_arg;
};

/* Takes the listeners' ports and opens the store; before the first app_start() also without the
 * workers' threads. NODE_EXIT_OK, or after a line in the log and in `err` why not, with nothing
 * left behind. */
int app_prepare(struct node *n, char *err, size_t err_n);
/* Prepared and not started: gives it all back. */
void app_unprepare(struct node *n);
/* Prepared, goes up. `done` (may be NULL) is called when clients are served, or when it is down instead. */
void app_start(struct node *n, app_done *done, void *arg);
/* How the start has ended, to whoever waits for it: `why` as above. */
void app_tell_started(struct app *a, const char *why);
/* As api_node.trouble. */
char *app_trouble(const struct node *n, bool *final);
/* The node's data or membership are others now: what its cluster said is past. */
void app_forget_trouble(struct app *a);
/* Goes down, from whatever state but APP_DOWN. `done` (may be NULL) follows; so does
 * node_on_app_down(). */
void app_stop(struct node *n, app_done *done, void *arg);

/* ---- from shard 0: the metadata, other nodes ---- */

/* This node is in maintenance from now on: closes listeners and connections; or not any more. */
void app_on_drained(struct node *n, bool drained);

/* New clients are let in, or not any more; those that are there stay. Of an app that is up. 0, or -1 with one line in
 * `err`. */
int app_accept(struct node *n, bool yes, char *err, size_t err_n);

void app_on_link_up(struct node *n, uint64_t node, uint64_t incarnation);
void app_on_link_down(struct node *n, uint64_t node, enum link_end why);
/* The node's resource alarms are these, as it says. */
void app_on_alarms(struct node *n, uint64_t node, uint32_t raised);
/* A section for group 0. False: it cannot be understood. */
bool app_on_section(struct node *n, struct slice octets);
/* ENVELOPE_CATALOG_ECHO of another node. False: it is malformed. */
bool app_on_echo(struct node *n, uint64_t node, struct slice octets);

/* A shard's thread. `worked`: of APP_STEP_LEFT, it has done something since the last round. */
void app_shard_reached(struct node *n, struct shard *s, enum app_step step, bool worked);

#endif

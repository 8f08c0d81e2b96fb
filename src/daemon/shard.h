/* SPDX-License-Identifier: Apache-2.0
 *
 * A shard: everything of a node that belongs to one worker. Wires the folders together; no rules of
 * its own. Queue q's group lives on shard q.group % n.
 */
#ifndef WARREN_DAEMON_SHARD_H
#define WARREN_DAEMON_SHARD_H

#include "raft/groups.h"
#include "src/cluster/catalog.h"
#include "src/cluster/link_port.h"
#include "src/cluster/mirrors.h"
#include "src/daemon/lives.h"
#include "src/loop/timer.h"
#include "src/queue/client.h"
#include "src/queue/host.h"
#include "src/session/dead_letter.h"
#include "src/session/env.h"

struct node;

struct shard {
	struct worker worker; /* worker.data is the shard */
	struct node *node;
	struct store_port port;
	struct groups *groups;
	struct queue_clients *clients;
	struct queue_hosts *hosts;
	struct mirrors *mirrors;
	struct catalog *catalog;
	struct dead_letters *dead_letters;
	struct link_port *links;
	struct session_env env;
	struct timer *tick;
	struct timer *seek; /* set while queues without a known leader are looked for */
	bool seeking;
	struct timer *clock; /* set while groups need one */
	bool clock_runs;
	struct timer *pace; /* set while a snapshot that streams pauses */
	bool pausing;
	uint16_t number; /* of the node, as client ids have it; 0: not known yet */
	struct lives lives;
	struct turn_hook hook;
	uint64_t random_state;
	bool open;     /* shard_open() to shard_close(): the pointers above, but for links */
	bool begun;    /* the metadata's rows are loaded: other nodes' messages are taken */
	bool worked;   /* its turns have done something since the last round of leave-taking */
	bool leaving;  /* it takes leave: nothing begins by itself any more */
	bool asked;    /* for the present round of that */
	bool serving;  /* its queues are open */
	bool stopping; /* no queue is opened any more, but for what clients have sent */
	bool closing;  /* nor for that */
	bool hosts_closed;
	unsigned orphans; /* logs being dropped */
	bool emptying;    /* stopping: waits until what its clients sent is applied */
	bool life_over;   /* stopping: and no queue takes that any more */
	uint64_t emptying_until_ms;
};

/* Before the threads start. */
void shard_init(struct shard *s, struct node *node, unsigned no);
/* The loop has ended. */
void shard_done(struct shard *s);

/* ---- on the shard's thread; each with an app_step tells when it is done ---- */

void shard_start_clock(struct shard *s);
/* Makes all that the app needs: APP_STEP_OPENED. The copy of the metadata is empty. */
void shard_open(struct shard *s);
/* The rows of the metadata are loaded. APP_STEP_SERVING follows when this start of the node is known
 * to the metadata. */
void shard_begin(struct shard *s);
/* Closes connections and lets finish what they have sent: APP_STEP_DRAINED. */
void shard_stop(struct shard *s, bool life_over);
/* When all shards are drained, closes the queues: APP_STEP_STOPPED. */
void shard_close_queues(struct shard *s);
/* When the metadata is closed: APP_STEP_LEFT, again and again until nothing is on its way. Takes
 * nothing from other nodes any more. */
void shard_leave(struct shard *s);
/* Ends what shard_open() made: APP_STEP_CLOSED. */
void shard_close(struct shard *s);

/* What this start's commands are known by from now on. Otherwise found in the metadata. */
void shard_set_number(struct shard *s, uint16_t number);
/* The metadata's rows are loaded, or an entry was applied. */
void shard_check_number(struct shard *s);

/* It may wait for the disk itself. Who has other things to do leaves that to the writer; so does one that others
 * have to hear from while the disk stands still: worker 0 has the links, and groups with members elsewhere send
 * heartbeats and give up leadership (raft/stall.h). */
bool shard_has_time(const struct shard *s);

uint32_t shard_random(void *arg);

#endif

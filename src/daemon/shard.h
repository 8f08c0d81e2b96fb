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
	struct catalog *catalog;
	struct dead_letters *dead_letters;
	struct link_port *links;
	struct session_env env;
	struct timer *tick;
	struct timer *seek; /* set while queues without a known leader are looked for */
	bool seeking;
	struct turn_hook hook;
	uint64_t random_state;
	bool serving;  /* its queues are open */
	bool stopping; /* no queue is opened any more */
	bool hosts_closed;
	unsigned orphans; /* logs being dropped */
	bool emptying;    /* stopping: waits until what its clients sent is applied */
	uint64_t emptying_until_ms;
};

/* Before the threads start; other shards' pointers are used later only. */
void shard_init(struct shard *s, struct node *node, unsigned no);
/* All of it closed and the loop ended. */
void shard_done(struct shard *s);
/* On the shard's thread: starts the clock. */
void shard_begin(struct shard *s);
/* On the shard's thread: closes connections and lets finish what they have sent;
 * node_shard_drained() follows. */
void shard_stop(struct shard *s);
/* On the shard's thread, when all shards are drained: closes the queues; node_shard_stopped()
 * follows. */
void shard_close_queues(struct shard *s);
uint32_t shard_random(void *arg);

#endif

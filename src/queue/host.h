/* SPDX-License-Identifier: Apache-2.0
 *
 * The host of a queue: a member of its group on this node. It feeds committed entries to the queue
 * machine, and while it leads, sends the machine's effects to the clients they are for: to those of
 * this worker directly, to others by mail. It also does what only the leader does: time, dead
 * letters, and clearing away clients of earlier incarnations of the node.
 *
 * All of a worker's hosts live in a registry and on the worker's thread.
 */
#ifndef WARREN_QUEUE_HOST_H
#define WARREN_QUEUE_HOST_H

#include "raft/groups.h"
#include "src/loop/worker.h"
#include "src/queue/client.h"

struct queue_host;
struct queue_hosts;

/* What the hosts of a worker need from around them; filled in by the daemon. */
struct queue_hosts_config {
	struct worker *worker;
	struct groups *groups;
	struct store_port *port;
	struct queue_clients *clients; /* this worker's */
	/* The worker whose clients have this id (client_id_worker), and their registry: its pointer
	 * is only used on that worker's thread. NULL: no such client on this node. */
	struct queue_clients *(*clients_of)(void *arg, uint64_t client, struct worker **ret_worker);
	/* The queue is defined, whether or not it is hosted here. */
	bool (*defined)(void *arg, uint64_t group);
	/* Somebody uses a queue that is not hosted here: queue_hosts_open() from inside, if it is
	 * defined and was not to be opened before it is used. */
	void (*wanted)(void *arg, uint64_t group);
	/* A durable queue's first log is there: has that written down where it outlives the log,
	 * and then calls queue_hosts_begun(). Until that the queue takes no command. */
	void (*begin)(void *arg, uint64_t group);
	/* The queue has ended by itself (x-expires, auto-delete), or was deleted and the deletion
	 * is to be completed: removes its definition. May be called repeatedly. */
	void (*ended)(void *arg, uint64_t group);
	/* A needed entry of a queue cannot be read: a STORE_* error. This is the only copy, so from
	 * now on the queue is not served: its clients are told that it is unavailable. */
	void (*failed)(void *arg, uint64_t group, uint64_t entry, int error);
	/* Publishes a dead letter: calls queue_hosts_dead_done() when all its targets have it or it
	 * has none. Slices are valid inside the call. */
	void (*dead)(void *arg, uint64_t group, const struct queue_config *config,
		const struct machine_dead *d, const struct message *m);
	void *arg;
	/* Bytes that the state of one queue may take when it is restored; beyond, it is refused. */
	uint64_t state_max;
	uint16_t node;        /* of this node's client ids */
	uint32_t incarnation; /* likewise */
};

struct queue_hosts *queue_hosts_new(const struct queue_hosts_config *config);
/* All hosts closed. */
void queue_hosts_free(struct queue_hosts *hs);
/* Posts the mail that the turn's events have filled; returns whether there was any. */
bool queue_hosts_flush(struct queue_hosts *hs);
unsigned queue_hosts_count(const struct queue_hosts *hs);

/* Opens this node's member of a queue's group: durable on disk, else in memory. `config` is
 * proposed if the group is new or has another one. `begun`: config.begin() was heeded once, so a
 * durable queue must have a log. 0 or a STORE_* error (the queue cannot be served). */
int queue_hosts_open(struct queue_hosts *hs, uint64_t group, uint64_t self, bool durable,
	bool begun, const struct queue_config *config);
void queue_hosts_begun(struct queue_hosts *hs, uint64_t group);
/* The queue's properties are others now: its leader proposes them. False if it is not hosted here. */
bool queue_hosts_configure(
	struct queue_hosts *hs, uint64_t group, const struct queue_config *config);
/* Closes it, answering its clients that it is gone if `drop`, which also deletes its log. */
void queue_hosts_close(struct queue_hosts *hs, uint64_t group, bool drop);
/* Closes all (shutdown); `closed` is called when the last is. */
void queue_hosts_close_all(struct queue_hosts *hs, void (*closed)(void *arg), void *arg);

/* Takes over a section (see queue_border) of a client. Of a group not hosted here, or one that has
 * failed, the client is told that it is gone, or if it is defined, unavailable. */
void queue_hosts_submit(
	struct queue_hosts *hs, uint64_t group, uint64_t client, struct blob *blob, size_t n);
void queue_hosts_dead_done(struct queue_hosts *hs, uint64_t group, uint64_t seq);

/* False also of one that could not be opened. */
bool queue_hosts_has(struct queue_hosts *hs, uint64_t group);
/* Figures of a hosted queue; false if it is not hosted here. */
bool queue_hosts_counts(struct queue_hosts *hs, uint64_t group, struct machine_counts *ret);

#endif

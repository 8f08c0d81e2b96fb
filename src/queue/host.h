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
	/* The queue's only member is on this node, or it is not defined. */
	bool (*alone)(void *arg, uint64_t group);
	/* The client is of a life of a node that is over: the metadata says so, though the node may not
	 * know it yet. */
	bool (*gone)(void *arg, uint64_t client);
	/* The other node that the client is of, if there is a link to that life of it; 0: none. NULL:
	 * there are no other nodes. */
	uint64_t (*node_of)(void *arg, uint64_t client);
	/* n octets for event_receive() on a worker of another node; takes the block over. */
	void (*send)(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n);
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
	/* This node leads the queue, and serves it, from now on / not any more. May be NULL. */
	void (*leads)(void *arg, uint64_t group, bool yes);
	/* A queue is closed: it could be opened again, and only inside this call the same member in memory with what
	 * it had. May be NULL. */
	void (*closed)(void *arg, uint64_t group);
	/* Publishes a dead letter: calls queue_hosts_dead_done() when all its targets have it or it
	 * has none, or queue_hosts_dead_again() later if there is no room for it now. Slices are valid inside the call. */
	void (*dead)(void *arg, uint64_t group, const struct queue_config *config,
		const struct machine_dead *d, const struct message *m);
	void *arg;
	/* Bytes that the state of one queue may take when it is restored; beyond, it is refused. */
	uint64_t state_max;
	uint64_t self;        /* id of this node */
	unsigned n_workers;   /* of this node */
	uint16_t node;        /* of this node's client ids; 0: see queue_hosts_set_node() */
	uint32_t incarnation; /* likewise */
};

struct queue_hosts *queue_hosts_new(const struct queue_hosts_config *config);
/* All hosts closed. */
void queue_hosts_free(struct queue_hosts *hs);
/* Once, before a queue is opened. */
void queue_hosts_set_node(struct queue_hosts *hs, uint16_t node);
/* Posts the mail that the turn's events have filled; returns whether there was any. */
bool queue_hosts_flush(struct queue_hosts *hs);
unsigned queue_hosts_count(const struct queue_hosts *hs);

/* A member of a queue's group that this node is to be. */
struct queue_hosting {
	uint64_t group;
	uint64_t self; /* raft id of the member */
	bool memory;   /* its log: empty, unless the member is opened again inside config.closed() */
	/* A queue with one member: config.begin() was heeded once, so its log must be there. */
	bool begun;
	bool unwritten; /* its log may never have been begun all the same */
	const struct queue_config *config; /* proposed by the leader if it is another one */
	/* The group's first configuration, see struct group_spec; none: the member joins. */
	const struct group_member *members;
	unsigned n_members;
	uint64_t preferred; /* of these, who is to lead first; 0: whoever */
	bool alone; /* of these, the one: the other members are given up */
	bool apart; /* likewise, and they went on without it: see struct group_spec */
};

/* Opens it. 0 or a STORE_* error (the queue cannot be served). A queue with several first members,
 * or one that is joined, has begun before it is opened. */
int queue_hosts_open(struct queue_hosts *hs, const struct queue_hosting *q);
void queue_hosts_begun(struct queue_hosts *hs, uint64_t group);
/* The queue's properties are others now: its leader proposes them. False if it is not hosted here. */
bool queue_hosts_configure(
	struct queue_hosts *hs, uint64_t group, const struct queue_config *config);
/* Closes it, answering its clients that it is gone if `drop`, which also deletes its log; also of one that is closing
 * already, if that is not too late. */
void queue_hosts_close(struct queue_hosts *hs, uint64_t group, bool drop);
/* Closes all (shutdown); `closed` is called when the last is. */
void queue_hosts_close_all(struct queue_hosts *hs, void (*closed)(void *arg), void *arg);

/* Takes over a section (see queue_border) of a client, whose id is in it. Who comes to the wrong
 * place is told so: the queue is gone, unavailable, or its leader is elsewhere; unavailable it is, too,
 * for one whose life is over. */
void queue_hosts_submit(struct queue_hosts *hs, uint64_t group, struct blob *blob, size_t n);
/* A client resumes (src/queue/resume.h). False: the octets cannot be understood. */
bool queue_hosts_resume(struct queue_hosts *hs, uint64_t group, struct slice bytes);
/* The node's clients up to that incarnation are gone: what they hold returns. */
void queue_hosts_node_gone(struct queue_hosts *hs, uint16_t node, uint32_t incarnation);
void queue_hosts_dead_done(struct queue_hosts *hs, uint64_t group, uint64_t seq);
/* There was no room for a dead letter, and now there is: calls config.dead() for it again, if it is still to be sent
 * from here. */
void queue_hosts_dead_again(struct queue_hosts *hs, uint64_t group, uint64_t seq);

/* NULL if it is not hosted here. */
struct group *queue_hosts_group(struct queue_hosts *hs, uint64_t group);
bool queue_hosts_leads(struct queue_hosts *hs, uint64_t group);
void queue_hosts_each(
	struct queue_hosts *hs, void (*each)(void *arg, uint64_t group, bool leads), void *arg);
/* Raft id of the member that is hosted here; 0: none. */
uint64_t queue_hosts_member(struct queue_hosts *hs, uint64_t group);
/* It was closed and is not gone yet: it cannot be opened until config.closed(). */
bool queue_hosts_closing(struct queue_hosts *hs, uint64_t group);
/* False also of one that could not be opened. */
bool queue_hosts_has(struct queue_hosts *hs, uint64_t group);
/* Figures of a hosted queue; false if it is not hosted here. */
bool queue_hosts_counts(struct queue_hosts *hs, uint64_t group, struct machine_counts *ret);
/* Octets of entries that are kept for consumers, of all queues. */
size_t queue_hosts_cached(const struct queue_hosts *hs);
/* Its state, to look at inside the turn; NULL if it is not hosted here. */
const struct machine *queue_hosts_machine(struct queue_hosts *hs, uint64_t group);
/* The message that is delivered next; its slices point into *ret_blob, a reference. False: none is ready, or
 * it cannot be read. */
bool queue_hosts_head(
	struct queue_hosts *hs, uint64_t group, struct message *ret, struct blob **ret_blob);

#endif

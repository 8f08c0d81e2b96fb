/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue client: a session's side of a queue, wherever its leader is. One per worker and queue,
 * shared by all channels of the worker. It numbers the commands, collects a turn's into one
 * section, and hands that to its border (`queue_border`), which takes it to the leader's host on
 * this worker, on another one, or on another node. Events come back through queue_clients_*().
 *
 * A section is kept until it is applied. When the leader changes, the client resumes with the next
 * one: it says which deliveries it has, and sends again what is not applied; the machine does
 * nothing twice and answers repeats as it answered the first time. So a change of leader neither
 * loses nor doubles anything, and nobody above notices.
 *
 *   FOLLOWING --MOVED, LED, its node's link is down--> RESUMING <--try--> SEEKING
 *       ^---------------------RESUMED--------------------'
 *
 * Nodes are named by their ids; a client's own node is `self`.
 *
 * All of a worker's clients live in a registry and on the worker's thread. Nothing calls back from
 * inside the call that caused it.
 */
#ifndef WARREN_QUEUE_CLIENT_H
#define WARREN_QUEUE_CLIENT_H

#include "src/base/blob.h"
#include "src/base/list.h"
#include "src/queue/machine.h"

struct queue_client;
struct queue_clients;

/* Unapplied bytes of one client, and of all clients of a worker, above which publishers pause. */
enum {
	QUEUE_CLIENT_WINDOW = 2 << 20,
	QUEUE_CLIENTS_WINDOW = 64 << 20,
};

enum {
	QUEUE_SEEK_MS = 50,         /* between two tries to find the leader */
	QUEUE_RESUME_MS = 1000,     /* for the answer to one */
	QUEUE_PATIENCE_MS = 10000,  /* without a leader: then the queue counts as unavailable */
};

/* What queue_border.route() says of a queue that nobody can serve now. */
#define QUEUE_NOWHERE UINT64_MAX

/* A message that reaches a session. Slices point into `blob`; who keeps them takes a reference. */
struct queue_delivery {
	uint64_t number;
	uint32_t returns;
	struct blob *blob;
	struct message message;
};

/* Learns the fate of publishes: embedded by a channel's confirm state. */
struct queue_publisher {
	void (*settled)(struct queue_publisher *p, uint64_t tag, bool refused);
};

/* A command that is answered; embedded by the session's operation, which stays until `done`. Whoever takes it out of
 * its list before hears nothing more; the command may take effect all the same. */
struct queue_request {
	struct list link;
	uint64_t seq;
	bool no_ack; /* a get: the queue keeps what it brings until it hears that it has come */
	/* a->status MACHINE_GONE if the queue went away first, MACHINE_UNAVAILABLE if nobody serves
	 * it; `d` is a get's message or NULL. */
	void (*done)(struct queue_request *r, const struct machine_answer *a,
		const struct queue_delivery *d);
};

/* A consumer (or the getter of a channel); embedded by the session. */
struct queue_consumer {
	struct queue_client *client; /* NULL while not attached */
	uint32_t no;                 /* unique within the worker's registry */
	void (*deliver)(struct queue_consumer *c, const struct queue_delivery *d);
	bool ends_at_failover; /* cancelled when another node begins to lead the queue */
	/* The queue is gone or not served. The consumer is detached already. */
	void (*cancelled)(struct queue_consumer *c);
	/* Settles collected since the last command: one range of one outcome. */
	struct list settling;
	uint64_t settle_from, settle_to; /* settle_to == 0: none */
	enum settle_outcome settle_outcome;
};

/* Somebody who waits until a client's backlog has shrunk. */
struct queue_waiter {
	struct list link; /* self-linked while not waiting */
	struct queue_client *client;
	void (*ready)(struct queue_waiter *w);
};

/* The way out. Nothing calls back from inside. */
struct queue_border {
	/* To the host on a node: takes over the blob, of COMMAND_ENTRY_HEADER unused octets, then
	 * one section up to n. Of these octets none may be changed but the unused ones. */
	void (*submit)(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n);
	/* Likewise a resume, n octets as in src/queue/resume.h; the client's sections follow. False: it
	 * can never arrive, there is no link to the node. */
	bool (*resume)(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n);
	/* The node where the leader may be; `attempt` counts up until it is found. 0: nobody is to
	 * be asked at this moment; QUEUE_NOWHERE: nobody can be until a node comes back. */
	uint64_t (*route)(void *arg, uint64_t group, unsigned attempt);
	void *arg;
};

/* `self`: id of the own node, not 0. The client id may be 0 until queue_clients_set_id(). */
struct queue_clients *queue_clients_new(
	uint64_t client_id, uint64_t self, const struct queue_border *border);
void queue_clients_free(struct queue_clients *qs);
/* Once, before anything is sent. */
void queue_clients_set_id(struct queue_clients *qs, uint64_t client_id);
uint64_t queue_clients_id(const struct queue_clients *qs);
/* Sends what the turn has collected; returns whether there was anything. */
bool queue_clients_flush(struct queue_clients *qs);
/* The client of a queue's group; made at first use. Valid until the queue is gone: do not keep it
 * beyond a turn without checking the broker's version, or being attached to it. */
struct queue_client *queue_clients_get(struct queue_clients *qs, uint64_t group);
/* Somebody of this worker has used the queue, or is about to. */
bool queue_clients_has(struct queue_clients *qs, uint64_t group);
/* A number for a consumer. */
uint32_t queue_clients_number(struct queue_clients *qs);
/* Unapplied bytes of all clients. */
size_t queue_clients_backlog(const struct queue_clients *qs);

/* ---- commands ---- */

/* Copies the message into the turn's section. With `pub` its fate is reported with `tag`. */
void queue_publish(struct queue_client *qc, const struct message *m, struct queue_publisher *pub,
	uint64_t tag);
/* True if publishers should pause before more; see queue_wait(). */
bool queue_full(const struct queue_client *qc);
void queue_wait(struct queue_client *qc, struct queue_waiter *w);
void queue_unwait(struct queue_waiter *w);
/* True if all clients together have more than their window; and waiting for that to end. */
bool queue_clients_full(const struct queue_clients *qs);
void queue_clients_wait(struct queue_clients *qs, struct queue_waiter *w);

/* `attach->consumer` must be c->no. On an answer other than MACHINE_OK the consumer is detached. */
void queue_attach(struct queue_client *qc, struct queue_consumer *c,
	const struct command_attach *attach, struct queue_request *r);
/* Settles deliveries [from, to] of a consumer; its queue may be gone. Adjacent ranges are merged.
 */
void queue_settle(
	struct queue_consumer *c, uint64_t from, uint64_t to, enum settle_outcome outcome);
/* `pub` is told when what was settled for this consumer so far is applied; false if its queue is
 * gone, then it is not. */
bool queue_settle_notify(struct queue_consumer *c, struct queue_publisher *pub);
void queue_credit(struct queue_consumer *c, uint64_t credit_bytes);
/* Most unsettled deliveries from now on; 0: no limit. */
void queue_prefetch(struct queue_consumer *c, uint32_t prefetch);
/* requeue: forgets the consumer and returns what it holds; it is detached when this returns and
 * nothing more is called for it. Otherwise it stays attached so that it can be settled. r may be
 * NULL. */
void queue_cancel(struct queue_consumer *c, bool requeue, struct queue_request *r);
void queue_get(struct queue_consumer *c, bool no_ack, struct queue_request *r);
void queue_purge(struct queue_client *qc, struct queue_request *r);
void queue_delete(struct queue_client *qc, bool if_unused, bool if_empty, struct queue_request *r);
void queue_status(struct queue_client *qc, bool touch, struct queue_request *r);

/* Is there a queue without a known leader, or one that has yet to hear what has come? Then queue_clients_tick() is
 * due every QUEUE_SEEK_MS. */
bool queue_clients_seek(const struct queue_clients *qs);
/* Tries to find them, and tells what the next section would tell if there was one; returns whether it is to be called
 * again. */
bool queue_clients_tick(struct queue_clients *qs);
/* There is a link to the node from now on / not any more. */
void queue_clients_link_up(struct queue_clients *qs, uint64_t node);
void queue_clients_link_down(struct queue_clients *qs, uint64_t node);

/* ---- events, from the border; `from` is the node of the host ---- */

void queue_clients_deliver(struct queue_clients *qs, uint64_t from, uint64_t group,
	uint32_t consumer, const struct queue_delivery *d);
void queue_clients_answer(struct queue_clients *qs, uint64_t from, uint64_t group,
	const struct machine_answer *a, const struct queue_delivery *d);
void queue_clients_refused(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t seq);
void queue_clients_applied(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t seq);
void queue_clients_cancelled(
	struct queue_clients *qs, uint64_t from, uint64_t group, uint32_t consumer);
/* The host does not lead, or misses something: `to` leads as far as it knows (0: unknown; itself:
 * resume there). */
void queue_clients_moved(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t to);
/* The host leads, since that term. */
void queue_clients_led(struct queue_clients *qs, uint64_t from, uint64_t group, uint64_t term);
/* The answer of a host that leads to resume number `attempt`; what follows is new. It has applied everything up to
 * sequence `last`: if that is less than what was heard of, the queue was given up where that is known, and all that is
 * outstanding is answered as by queue_clients_unavailable(). */
void queue_clients_resumed(struct queue_clients *qs, uint64_t from, uint64_t group,
	uint32_t attempt, uint64_t term, uint64_t last);
/* The queue does not exist any more: everything outstanding is answered, consumers are cancelled.
 * From the own node only. */
void queue_clients_gone(struct queue_clients *qs, uint64_t group);
/* The queue exists but nobody serves it: publishes are refused, requests fail. */
void queue_clients_unavailable(struct queue_clients *qs, uint64_t from, uint64_t group);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalog: the metadata that all nodes and workers share. Group 0 decides the order of
 * commands; each worker of a node applies them to a broker of its own, so that routing needs no
 * lock.
 *
 *   session -> catalog_propose() -> (worker 0) home: group 0 -> committed entry
 *           -> every worker's catalog applies it -> the proposer's request is answered
 *
 * A request is answered when its effect is in the proposer's own copy. The other workers of the
 * node have the entry in their mailbox by then, ahead of anything a client could send them next; and
 * so have other nodes, if it asks for that.
 *
 * Group 0 has a member on every node: disc nodes vote, RAM nodes follow with a log in memory. A home
 * that does not lead sends what its workers propose to the leader's node, and again, until it is
 * applied here. Commands are numbered and, like a queue's, have effect once and are answered again when
 * they are sent again (src/broker/proposer.h).
 *
 *   entry := header section*, as in src/queue/command.h with kind 'M'
 *   a section's commands are { bytes u32, src/broker/command.h }*
 */
#ifndef WARREN_CLUSTER_CATALOG_H
#define WARREN_CLUSTER_CATALOG_H

#include "raft/groups.h"
#include "src/cluster/link_port.h"
#include "src/broker/broker.h"
#include "src/loop/worker.h"

/* Without a leader for so long whoever waits is told; a hasty one already after the shorter time, if most
 * voters cannot be reached. */
enum { CATALOG_PATIENCE_MS = 10000, CATALOG_HASTE_MS = 2000 };

struct catalog;
struct catalog_home;

/* A proposal's answer; embedded by whoever waits, and kept until `done`. */
struct catalog_request {
	struct list link;
	uint64_t seq;
	/* `result` and its pointers are valid inside the call. */
	void (*done)(struct catalog_request *r, const struct broker_result *result);
	/* Optional: nobody leads, as when most nodes cannot be reached (catalog_reachable()); may be
	 * called again. `done` comes whenever there is a leader again, for the command may take effect
	 * yet; if there is none before the end, with BROKER_UNAVAILABLE. Who does not want to hear of it
	 * any more removes `link` from its list. */
	void (*unavailable)(struct catalog_request *r);
	bool hasty; /* somebody is looking at it */
	/* Answered when all nodes that are linked have its effect, too, and do not let wait for it
	 * (src/cluster/echoes.h): whoever is told may look for it there. */
	bool everywhere;
};

struct catalog_config {
	struct worker *worker;
	uint64_t client_id; /* of this worker, as for queue clients; 0: see catalog_set_client() */
	const struct broker_watch *watch;
	/* An entry has been applied to this worker's copy. */
	void (*applied)(void *arg);
	void *arg;
};

/* A worker's catalog with an empty broker. */
struct catalog *catalog_new(const struct catalog_config *config);
void catalog_free(struct catalog *c);
struct broker *catalog_broker(struct catalog *c);
/* Once, when the node's number is known; what is proposed before waits for it. */
void catalog_set_client(struct catalog *c, uint64_t client_id);
/* When the last request was told that nobody leads: so many of so many nodes could be reached. */
void catalog_reachable(const struct catalog *c, unsigned *ret, unsigned *ret_nodes);
/* All catalogs of the node, in the order of workers, and the worker of the home. Before use. */
void catalog_connect(struct catalog *c, struct catalog *const *all, unsigned n);
/* The node whose member of group 0 leads; 0: nobody, as far as is known here. Worker 0's catalog. */
uint64_t catalog_leader(const struct catalog *c);
/* What a hasty request would be told: nobody leads, and most voters cannot be reached. Worker 0's catalog. */
bool catalog_in_minority(const struct catalog *c);
/* Proposes one broker command; copied. `r` may be NULL. */
void catalog_propose(struct catalog *c, struct slice command, struct catalog_request *r);
/* Sends what the turn has collected to the home; returns whether there was anything. */
bool catalog_flush(struct catalog *c);

struct catalog_home_config {
	struct groups *groups;
	struct store_log *log;           /* of group 0; taken over */
	uint64_t self;                   /* raft id of this node's member */
	uint64_t node;                   /* id of this node */
	bool joins; /* with an empty log: the group exists, and its leader is waited for. Else this
		     * node founds it */
	bool alone; /* the other nodes are given up: this one goes on with what it has */
	struct link_port *links;         /* of worker 0 */
	struct catalog *const *catalogs; /* of all workers; [0] is the home's own */
	unsigned n_catalogs;
	/* Group 0 is led by this node and everything before is applied / no more. */
	void (*leading)(void *arg, bool yes);
	void (*closed)(void *arg);
	void *arg;
};

/* Opens group 0 on worker 0. The catalogs' brokers must hold the stored rows. 0 or STORE_*. */
int catalog_home_open(struct catalog_home **ret, const struct catalog_home_config *config);
/* ENVELOPE_CATALOG: a section of another node. False: it cannot be understood. */
bool catalog_home_receive(struct catalog_home *h, const uint8_t *p, size_t n);
void catalog_home_link_up(struct catalog_home *h, uint64_t node);
void catalog_home_link_down(struct catalog_home *h, uint64_t node);
/* The same, ENVELOPE_CATALOG_ECHO: what another node has applied of a worker's commands here. */
bool catalog_home_echo(struct catalog_home *h, uint64_t node, const uint8_t *p, size_t n);
/* For src/cluster/roster.c. */
struct group *catalog_home_group(struct catalog_home *h);
/* Lets another node lead group 0, if this one does and there is one that can. */
void catalog_home_yield(struct catalog_home *h);
/* closed() follows. */
void catalog_home_close(struct catalog_home *h);

#endif

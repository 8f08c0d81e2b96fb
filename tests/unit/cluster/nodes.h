/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes that are nothing but their links, in one process, with workers as in the product; and a
 * proxy between them that can be told to misbehave.
 */
#ifndef WARREN_TESTS_CLUSTER_NODES_H
#define WARREN_TESTS_CLUSTER_NODES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <semaphore.h>

#include "src/cluster/link_port.h"

enum { NODE_WORKERS = 2, PEERS_MAX = 8, WAIT_S = 120 };

/* What a worker of a node has seen of one other node. */
struct seen {
	_Atomic unsigned ups, downs;
	_Atomic uint64_t incarnation; /* of the last up */
	_Atomic int why;              /* of the last down */
	_Atomic bool up;
	_Atomic uint64_t messages, octets;
	_Atomic uint64_t wrong; /* messages out of turn: not up, or at the wrong worker */
};

struct desk {
	struct node *node;
	struct worker worker;
	struct link_port *port;
	struct turn_hook hook;
	unsigned no;
	struct seen seen[PEERS_MAX]; /* by node id */
	_Atomic uint64_t done, lost; /* of net_messages sent by nodes_raft() */
	/* What to do with a message beside counting it; the octets are the callee's to look at. */
	bool (*on_message)(
		struct desk *d, uint64_t node, const struct envelope *e, struct slice octets);
};

struct node {
	uint64_t id;
	char name[32];
	struct links *links;
	struct desk desks[NODE_WORKERS];
	unsigned port;
	sem_t closed;
	void *data;
};

extern const char *nodes_cookie;        /* of the nodes started next */
extern struct link_limits nodes_limits; /* likewise */
extern caller_fn *nodes_control;        /* likewise; arg is the node */
extern struct ssl_ctx_st *nodes_tls;     /* likewise; NULL: none */

/* Starts node `id` (below PEERS_MAX), warren@nID, listening on a port of the kernel's choice. */
struct node *node_start(uint64_t id, uint64_t incarnation);
/* Orderly: goodbye, closed, threads joined. */
void node_stop(struct node *n);

/* Runs fn(arg) on the worker's thread and waits for it. */
void node_run(struct node *n, unsigned worker, void (*fn)(void *arg), void *arg);

void node_set_peer(struct node *n, uint64_t id, unsigned port);
void node_forget_peer(struct node *n, uint64_t id);
/* Both know each other. */
void nodes_join(struct node *a, struct node *b);

/* What links_each_peer() says of a peer; strings are copied. */
struct peer_view {
	bool known, up;
	uint64_t received, sent, waiting;
	char error[512];
};
struct peer_view node_peer(struct node *n, uint64_t id);

/* Sends a message of n octets (behind the envelope) from a worker. */
void node_send(struct node *n, unsigned worker, uint64_t to, enum envelope_kind kind,
	uint16_t to_worker, uint64_t group, size_t octets);
/* `count` messages of raft of n octets each, of one block. */
void node_raft(struct node *n, unsigned worker, uint64_t to, unsigned count, size_t octets);
/* One of that group. */
void node_raft_of(struct node *n, unsigned worker, uint64_t to, uint64_t group, bool urgent, size_t octets);

/* Ends the test if the condition does not come true. */
#define WAIT(condition)                                                      \
	do {                                                                 \
		uint64_t end_ = wait_end();                                  \
		while (!(condition))                                         \
			wait_a_little(end_, #condition, __FILE__, __LINE__); \
	} while (0)
uint64_t wait_end(void);
void wait_a_little(uint64_t end, const char *what, const char *file, int line);

bool node_linked(struct node *n, uint64_t id); /* all workers know */
struct seen *node_seen(struct node *n, unsigned worker, uint64_t id);

/* ---- proxy ---- */

struct proxy;
struct proxy *proxy_new(unsigned to_port);
unsigned proxy_port(const struct proxy *p);
void proxy_cut(struct proxy *p);            /* resets all connections there are */
void proxy_hold(struct proxy *p, bool yes); /* takes nothing from anybody, says nothing */
void proxy_slow(struct proxy *p, size_t bytes_per_ms); /* 0: as fast as it goes */
void proxy_free(struct proxy *p);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * All links of a node. They live on worker 0: it listens where other nodes connect, dials those
 * that it is told about, keeps one link per node, and hands messages to and from the workers, each
 * of which has a border of its own (src/cluster/link_port.h).
 *
 *   worker's link_port --mail: parcels--> links: link -> lanes -> one write --> other node
 *   worker's link_port <--mail: up, messages, down, done()-- links <-- lanes <--
 *
 * Either node of a pair dials, again and again while there is no link: after 50 ms, then up to 1 s
 * apart; at once (the node with the smaller id) after a loss. Of two links of one pair the one
 * stays that the node with the smaller id has dialled.
 *
 * Functions without another word: worker 0's thread.
 */
#ifndef WARREN_CLUSTER_LINKS_H
#define WARREN_CLUSTER_LINKS_H

#include "src/cluster/caller.h"
#include "src/net/listener.h"

struct link_port;
struct links;

enum {
	LINKS_REDIAL_MIN_MS = 50,
	LINKS_REDIAL_MAX_MS = 1000,
	LINKS_DIAL_MS = 3000,     /* to find and connect to all of a peer's addresses */
	LINKS_UNPROVED_MAX = 128, /* accepted and not through the handshake; then the oldest goes */
	LINKS_CONTROL_MAX = 64,   /* control connections */
	/* Octets of messages that a worker was handed and has not looked at; above, no link is
	 * read until it has. */
	LINKS_UNREAD_MAX = 64 * 1024 * 1024,
};

struct links_config {
	struct worker *worker; /* worker 0 */
	uint64_t node_id;
	uint64_t incarnation;
	uint64_t cluster_id; /* 0: none yet */
	const char *name;    /* name@host; copied */
	const char *product; /* version of the program; copied */
	struct slice cookie; /* not kept */
	struct ssl_ctx_st *tls; /* NULL: none; kept, the owner's */
	struct link_limits limits;
	unsigned n_workers;
	caller_fn *call; /* requests over CONTROL connections; NULL: none are taken */
	void *arg;       /* its */
};

/* Before the workers' threads start. */
struct links *links_new(const struct links_config *config);
/* After links_close() has called back and the workers have ended; the ports first. */
void links_free(struct links *ls);

/* Starts a bound listener and takes it over, also on failure: as listener_start(). Once. */
int links_listen(struct links *ls, struct listener *bound, int backlog, char *err, size_t err_n);
unsigned links_listen_port(const struct links *ls); /* 0: does not listen */

/* Connections from now on are of this context, if they were of one before: those that are there stay. The
 * former one is not used any more. */
void links_set_tls(struct links *ls, struct ssl_ctx_st *tls);
/* Another member of the cluster, from the metadata; strings are copied. `address` "host:port" or
 * "[v6]:port", tried from now on. A known id gets the new name and address: a link that is up
 * stays. Our own id is ignored. */
void links_set_peer(struct links *ls, uint64_t id, const char *name, const char *address);
/* It is no member any more: its link ends. */
void links_forget_peer(struct links *ls, uint64_t id);
/* Asks a node over a control connection, as inquiry_new(). It ends when the link to `node` is lost, if that is a
 * peer: whoever has fallen silent does not answer either. */
void links_inquire(struct links *ls, uint64_t node, const char *address, const char *name, struct slice request,
	unsigned timeout_ms, void (*done)(void *arg, struct slice reply, const char *why), void *arg);

/* Who we are from now on. While links are refused: */
void links_set_identity(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id);
/* The same, and links are wanted again; to be told before the first peer after links_leave(). */
void links_set_self(
	struct links *ls, uint64_t node_id, uint64_t incarnation, uint64_t cluster_id);
/* Says goodbye to all peers and forgets them; links are refused from now on, and control connections
 * are taken on. left() is called when that is over and every parcel is back on its way, once; never
 * from inside. */
void links_leave(struct links *ls, void (*left)(void *arg), void *arg);
/* After joining: the cluster that this node belongs to. */
void links_set_cluster(struct links *ls, uint64_t cluster_id);

/* A peer as an operator sees it. */
struct links_peer {
	uint64_t id;
	const char *name;
	const char *address;
	bool up;
	uint64_t incarnation;             /* of the link, or of the last one; 0: never */
	uint64_t since_ms;                /* worker's now_ms of the last change */
	bool refused;                     /* not up: nobody listens at its address any more */
	bool stranger;                    /* not up: it says that this node is no member, as far as it knows */
	const char *error;                /* not up: what the last attempt came to; or "" */
	uint64_t received, sent, waiting; /* octets of the present link */
};
/* `each` must not change the set. */
void links_each_peer(
	const struct links *ls, void (*each)(void *arg, const struct links_peer *p), void *arg);
/* There is a link to the node. */
bool links_linked(const struct links *ls, uint64_t id);

/* End of the turn on worker 0, after its link_port_flush(): writes, and posts the workers' mail.
 * Returns whether anything was done. */
bool links_flush(struct links *ls);

/* Says goodbye to all, stops listening and dialling; every parcel comes back. closed() is called
 * when that is over, once. */
void links_close(struct links *ls, void (*closed)(void *arg), void *arg);

/* ---- from the ports ---- */

struct worker *links_worker(const struct links *ls); /* worker 0; any thread */
void links_add_port(struct links *ls, struct link_port *p, unsigned no);
/* A parcel of a worker for the link `serial` to `node`. */
void links_send(struct links *ls, uint64_t node, uint64_t serial, struct parcel *p);
/* Worker `no` has looked at a mail with so many octets of messages. `bad`: the serial of a link
 * whose messages make no sense to it, or 0. */
void links_seen(struct links *ls, unsigned no, size_t octets, uint64_t bad);

#endif

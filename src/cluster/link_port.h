/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's border to the other nodes: its groups' messages (struct group_net), and all other
 * kinds. What a turn has collected goes to worker 0 as one mail, what comes is one mail per turn.
 *
 * Of each link a worker sees, in this order: up, messages, down; and nothing of it after its down.
 * What it sends between the two arrives whole, once, in its lane's order, or the link goes down;
 * what it sends for a link that has gone down meanwhile is lost, never sent over the next one.
 * (Messages of raft and direct replies may be lost alone, when too much waits for a slow peer.)
 *
 * All on the worker's thread, but for the last part.
 */
#ifndef WARREN_CLUSTER_LINK_PORT_H
#define WARREN_CLUSTER_LINK_PORT_H

#include "raft/groups.h"
#include "src/cluster/links.h"

struct link_port;

struct link_port_owner {
	/* A link stands from now on. The groups know already, and may be without a leader. */
	void (*up)(void *arg, uint64_t node, uint64_t incarnation);
	void (*down)(void *arg, uint64_t node, uint64_t incarnation, enum link_end why);
	/* A message of any kind but RAFT: octets [ENVELOPE_SIZE, n) of the blob, whose one
	 * reference is handed over; the ENVELOPE_SIZE octets before them are free for use. Returns
	 * false if it cannot be understood: the link is ended. Unknown kinds are to be ignored. */
	bool (*message)(
		void *arg, uint64_t node, const struct envelope *e, struct blob *blob, size_t n);
};

/* Worker number `no` of the node. Before the threads start. */
struct link_port *link_port_new(struct links *ls, struct worker *w, unsigned no,
	const struct link_port_owner *owner, void *arg);
/* After the workers have ended and their mail is delivered; before links_free(). */
void link_port_free(struct link_port *p);

/* For struct groups_config; and then whose messages arrive here. Without groups RAFT is ignored. */
const struct group_net *link_port_net(struct link_port *p);
void link_port_set_groups(struct link_port *p, struct groups *gs);

/* Is there a link, as far as this worker knows? */
bool link_port_linked(const struct link_port *p, uint64_t node);
/* The incarnation of the node that it is to; 0: there is none. */
uint64_t link_port_incarnation(const struct link_port *p, uint64_t node);

/* Sends octets [from, to) of the blob behind the envelope, from where they are; takes the reference
 * over. Lane by kind. Without a link they are dropped: the owner was told, by down(). At most
 * LANES_MESSAGE_MAX. */
void link_port_send(struct link_port *p, uint64_t node, const struct envelope *e, struct blob *blob,
	size_t from, size_t to);
/* The same of a copy. */
void link_port_send_copy(
	struct link_port *p, uint64_t node, const struct envelope *e, struct slice octets);

/* End of the turn, after groups_flush() and whoever else sends. Returns whether anything was
 * sent. */
bool link_port_flush(struct link_port *p);

/* ---- for src/cluster/links.c, on worker 0's thread ---- */

/* Each appends to the mail that link_port_post() sends. `serial` numbers the node's links. */
void link_port_put_up(struct link_port *p, uint64_t node, uint64_t incarnation, uint64_t serial);
/* As groups_link_round_trip(). */
void link_port_put_round_trip(struct link_port *p, uint64_t node, unsigned ms);
void link_port_put_down(
	struct link_port *p, uint64_t node, uint64_t incarnation, enum link_end why);
/* Takes the reference over. */
void link_port_put_message(
	struct link_port *p, uint64_t node, uint64_t serial, struct blob *blob, size_t n);
bool link_port_has_incoming(const struct link_port *p);
size_t link_port_incoming(const struct link_port *p); /* octets of messages in that mail */
/* False: there was nothing to post. `answers`: links_seen() follows. */
bool link_port_post(struct link_port *p, bool answers);

#endif

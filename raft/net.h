/* SPDX-License-Identifier: Apache-2.0
 *
 * The border to other nodes: what a worker's groups need of the links, as a struct of functions
 * that the owner of the links fills in (and the simulator, with links of its own).
 *
 *   out   net->send(arg, node, message) ... message->done(message, lost)
 *   in    groups_receive(gs, node, ...)             link state   groups_link_up/down(gs, node)
 *
 * A message is bytes: a head that we encode (raft/wire.h), and behind it the bytes of entries, by
 * reference, so that a link can write them from where they are (writev) and nothing is copied for
 * each member. On the wire they follow one another without anything between; the head says how long
 * the whole is.
 *
 * What is asked of a link: it delivers whole messages or none, each at most once, unchanged. Order
 * between messages is welcome but nothing relies on it, nor on their arrival.
 */
#ifndef WARREN_RAFT_NET_H
#define WARREN_RAFT_NET_H

#include "src/base/blob.h"
#include "src/base/bytes.h"
#include "src/base/list.h"

/* Bytes inside a block of which the message holds a reference. */
struct net_part {
	struct blob *blob;
	const uint8_t *p;
	size_t n;
};

/* One message. It belongs to raft/; a link has it from send() until it calls done(), which frees it
 * or uses it again. */
struct net_message {
	struct list link; /* the link's, while it has the message */
	struct slice head;
	const struct net_part *parts;
	unsigned n_parts;
	size_t n; /* bytes of head and parts */
	bool urgent; /* small, and a sign of life or an answer: it may overtake others */
	/* The link needs the message no more: its bytes were handed to the kernel (lost == false),
	 * or the link broke before that. On the worker's thread, never from inside send(). May
	 * send. */
	void (*done)(struct net_message *m, bool lost);
};

struct group_net {
	/* Takes the message for `node`. Without a link to it: done(m, true), but later. */
	void (*send)(void *arg, uint64_t node, struct net_message *m);
	void *arg;
};

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node without any data does at its first start, given what the nodes that it is to find say:
 * whether it joins them, founds the cluster, or waits. Pure.
 *
 * There is never a second cluster, for
 *
 *   1. whoever hears of a node that is in a cluster joins that one, and founds none
 *   2. a cluster is founded only by a node that has heard in one round of all nodes of its list, and of as
 *      many as are expected, that they are in none
 *   3. of the nodes without a cluster only one founds: the disc node with the least name
 *
 * A founder that was wiped is a node like the others: as long as one of the list is a member, it either
 * hears of that (1), or waits for its answer (2). Two nodes with the same list cannot found at the same
 * time, for each has heard of the other, and one of them is not the least (3). Where lists may be parts of
 * the whole (DNS) as many as there are nodes must be expected: a list that has all is the same one.
 */
#ifndef WARREN_CLUSTER_DISCOVERY_H
#define WARREN_CLUSTER_DISCOVERY_H

#include <stddef.h>

#include "src/broker/node.h"

/* What is known of one node of the list; the strings are the owner's. */
struct discovery_peer {
	const char *address; /* "host:port" */
	const char *why;     /* NULL: it has answered; else why not, a sentence */
	/* As it has answered: */
	const char *name;
	uint64_t id;
	uint64_t cluster_id; /* 0: not known yet, or in none */
	bool blank;          /* it is in no cluster, and has no data */
	bool ready;          /* it serves clients, and can let others in */
	enum broker_node_type type; /* of a blank one: what it is to be */
};

enum discovery_verdict { DISCOVERY_WAIT, DISCOVERY_FOUND, DISCOVERY_JOIN };

enum { DISCOVERY_TEXT_MAX = 512 };

struct discovery {
	enum discovery_verdict verdict;
	size_t member;                 /* JOIN: which of the peers is to be asked */
	char text[DISCOVERY_TEXT_MAX]; /* WAIT: what for; one sentence */
};

/* `self` is blank; the list may or may not contain it. `expected` nodes, this one included, must be there
 * before one founds. Of several members that may be asked `turn` takes another one each time. */
void discovery_decide(struct discovery *ret, const struct discovery_peer *self,
	const struct discovery_peer *peers, size_t n, unsigned expected, unsigned turn);

/* "host:port" of "name@host", "name@host:port", with `port` if there is none; the host may be an IPv6
 * address in brackets. Owned by the caller; NULL if the text is none of these. */
char *discovery_address(const char *peer, unsigned port);

#endif

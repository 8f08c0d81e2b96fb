/* SPDX-License-Identifier: Apache-2.0
 *
 * The roster: makes what the metadata's table of nodes says true. On every node the links' peers follow
 * the table, and the node tells it that it is up. The node that leads group 0 also
 *
 *   - gives each node of the table a member of group 0, and takes away those of others: added as a
 *     standby, promoted when it is up and has caught up (disc nodes), one change at a time
 *   - demotes the other of two voters when it takes leave: down by its own word, and still linked
 *   - tells who is down: at once when a link broke and nobody listens at the node's address any more,
 *     else after down_ms without a link; with that, who else is not linked, and again when that is over
 *   - forgets, first of all, the other nodes if all of them are lost (`alone`)
 *   - has the members of queues replaced that are on a node which has been down for replace_ms
 *
 * All on worker 0.
 */
#ifndef WARREN_CLUSTER_ROSTER_H
#define WARREN_CLUSTER_ROSTER_H

#include "src/cluster/catalog.h"
#include "src/cluster/links.h"

struct roster;

struct roster_config {
	struct worker *worker;
	struct links *links;
	struct catalog *catalog;        /* of worker 0; connected */
	uint64_t node, incarnation;     /* this node's */
	const char *name, *address;     /* likewise; copied */
	uint64_t down_ms, replace_ms;
	/* The metadata calls this node down (of this incarnation, or a later one of the same store),
	 * and it is not. Once. */
	void (*declared_down)(void *arg);
	/* An operator has given all other nodes up: none is heard or linked, and this one forgets them
	 * before it is up. */
	bool alone;
	/* Likewise a single node: it is forgotten when it is down / a link to it stands. */
	bool (*lost)(void *arg, uint64_t node);
	void (*found)(void *arg, uint64_t node);
	void *arg;
};

struct roster *roster_new(const struct roster_config *config);
/* Group 0 is closed. */
void roster_free(struct roster *m);

/* A node that is said to belong to the cluster, before there is a table; strings are copied. */
void roster_remember(
	struct roster *m, uint64_t node, const char *name, const char *address);

/* Group 0 is open; NULL: it will be closed. */
void roster_set_home(struct roster *m, struct catalog_home *home);
/* An entry of group 0 has been applied to worker 0's copy. */
void roster_applied(struct roster *m);
/* This node leads group 0 / does no more. */
void roster_leading(struct roster *m, bool yes);
/* The app stops, its clients have gone: the table is told that this node is down, so that it may be
 * forgotten as soon as it has stopped. Then done(), from the timer; also if that takes too long. */
void roster_leave(struct roster *m, void (*done)(void *arg), void *arg);
/* Group 0 will be closed: another node is to lead it, and one that would be half of a majority is to go
 * on alone. done() as above. */
void roster_hand_over(struct roster *m, void (*done)(void *arg), void *arg);
void roster_link_up(struct roster *m, uint64_t node, uint64_t incarnation);
void roster_link_down(struct roster *m, uint64_t node, enum link_end why);

/* The id of a node's member in group 0. A disc node's is the node's: it lasts as long as its store. A
 * RAM node loses its log with each start, so its member is another one. Not 0. */
uint64_t roster_member_id(uint64_t node, uint64_t incarnation, bool ram);

#endif

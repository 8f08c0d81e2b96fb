/* SPDX-License-Identifier: Apache-2.0
 *
 * Definitions of queues: what the cluster knows of a queue without asking its group.
 */
#ifndef WARREN_BROKER_QUEUE_H
#define WARREN_BROKER_QUEUE_H

#include <uthash.h>

#include "src/base/bytes.h"
#include "src/broker/member.h"
#include "src/broker/row.h"

struct broker;
struct broker_vhost;
struct broker_effective;

/* In rows; never reused. */
enum broker_queue_type {
	BROKER_QUEUE_CLASSIC = 0,
	BROKER_QUEUE_QUORUM = 1,
	BROKER_QUEUE_STREAM = 2,
};

/* A connection, for ever: node, that node's incarnation, the connection's number in it. */
struct broker_connection_id {
	uint64_t node;
	uint64_t incarnation;
	uint64_t serial;
};

/* What a declaration says, beyond the name. `arguments` is the table without its length. */
struct broker_queue_spec {
	bool durable;
	bool exclusive;
	bool auto_delete;
	struct broker_connection_id owner; /* exclusive: who; all zero otherwise */
	enum broker_locator locator;       /* of the declaring node's configuration */
	uint64_t home_node;                /* where it was declared */
	uint64_t home_incarnation;
	uint64_t created_ms; /* wall clock of the declaring node, since 1970 */
	struct slice arguments;
};

/* Read only for everyone outside src/broker, but for `data`. Stable while the queue exists. */
struct broker_queue {
	struct broker_vhost *vhost;
	struct slice name;             /* owned */
	uint64_t group;                /* the Raft group; from 1, never used again */
	struct broker_queue_spec spec; /* arguments owned */
	enum broker_queue_type type;   /* of x-queue-type */
	/* Somebody has used it: its group's log is on disk. Set before the group takes its first
	 * command, so a begun queue without a log has lost it, while one that has not begun has
	 * nothing to lose. Of durable queues with one first member; one with several has begun when
	 * it is declared, and their logs may be empty. */
	bool begun;
	bool reshaped; /* its members are others than when it began: the first ones are history */
	bool by_hand;  /* operators have chosen its members: they stay as they are */
	uint8_t n_members;
	struct broker_member *members;      /* owned; see member.h */
	struct broker_effective *effective; /* its policies; NULL: none applies */

	struct list destinations; /* bindings to here, without the implicit one from "" */
	size_t n_destinations;

	void *data; /* the watch's own, NULL at first; src/broker never looks */

	uint64_t mark; /* route.c: last route that has it */
	struct broker_row row;
	UT_hash_handle hh; /* in vhost.queues */
	UT_hash_handle hh_group;
};

static inline bool broker_connection_id_eq(
	struct broker_connection_id a, struct broker_connection_id b)
{
	return a.node == b.node && a.incarnation == b.incarnation && a.serial == b.serial;
}

/* A durable queue that nobody has used: it is empty, and no group is needed to say so. */
static inline bool broker_queue_is_fresh(const struct broker_queue *q)
{
	return q->spec.durable && !q->spec.exclusive && !q->begun;
}

/* "classic", "quorum", "stream"; static. */
const char *broker_queue_type_name(enum broker_queue_type type);
/* False if there is no such type. */
bool broker_queue_type_of(struct slice name, enum broker_queue_type *ret);

/* The queue with this name, or NULL. */
struct broker_queue *broker_queue_find(const struct broker_vhost *v, struct slice name);
/* The queue of this group, or NULL. */
struct broker_queue *broker_queue_by_group(const struct broker *b, uint64_t group);

struct broker_queue *broker_queue_first(const struct broker_vhost *v);
struct broker_queue *broker_queue_next(const struct broker_queue *q);

/* ---- for apply.c and rows.c only ---- */

/* Name and group must be free. Everything is copied. It has its policy, but no members yet, and the
 * watch is not told before broker_queue_enter(). */
struct broker_queue *broker_queue_new(struct broker_vhost *v, uint64_t group, struct slice name,
	const struct broker_queue_spec *spec);
void broker_queue_enter(struct broker_queue *q);
/* It has begun. Tells the watch. */
void broker_queue_begin(struct broker_queue *q);
/* Removes it and its bindings; exchanges that lose their last one wait in broker.doomed. */
void broker_queue_delete(struct broker_queue *q);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster's metadata as a state machine: nodes, vhosts, users, permissions, policies, exchanges,
 * bindings and the definitions of queues with their members. Group 0 applies the same commands in the same order on every node, and
 * every worker thread of a node has a struct broker of its own to route by, so nothing here is
 * shared and nothing is locked.
 *
 * Commands are made by src/broker/command.h; lookups are in vhost.h, exchange.h, queue.h,
 * binding.h, user.h, policy.h, parameter.h, node.h, member.h; routing is in route.h; storage in
 * rows.h.
 *
 * Pointers to entities stay valid until the entity is deleted. All of it is one thread's.
 */
#ifndef WARREN_BROKER_BROKER_H
#define WARREN_BROKER_BROKER_H

#include "src/base/bytes.h"
#include "src/base/list.h"
#include "src/broker/binding.h"
#include "src/broker/effective.h"
#include "src/broker/exchange.h"
#include "src/broker/node.h"
#include "src/broker/parameter.h"
#include "src/broker/policy.h"
#include "src/broker/queue.h"
#include "src/broker/row.h"
#include "src/broker/topic_permission.h"
#include "src/broker/user.h"
#include "src/broker/vhost.h"

struct broker;
struct broker_proposer;

/* Names of vhosts, users, exchanges, queues, and routing keys are short strings. */
#define BROKER_NAME_MAX 255

/* Told of changes while a command is applied (and while rows are loaded: then only additions).
 * Each function may be NULL. They may look at the broker, and set broker_queue.data; they may not
 * apply commands. In *_deleted the entity is already out of every table but its own fields are
 * still valid until the function returns. A vhost's queues and exchanges go before it. */
struct broker_watch {
	void *arg;
	void (*queue_added)(void *arg, struct broker_queue *q);
	void (*queue_deleted)(void *arg, struct broker_queue *q);
	void (*exchange_added)(void *arg, struct broker_exchange *x);
	void (*exchange_deleted)(void *arg, struct broker_exchange *x);
	void (*vhost_added)(void *arg, struct broker_vhost *v);
	void (*vhost_deleted)(void *arg, struct broker_vhost *v);
	void (*user_deleted)(void *arg, struct broker_user *u);
	void (*queue_begun)(void *arg, struct broker_queue *q); /* broker_queue.begun is set */
	/* Its effective policy, or its members, or both are others now. */
	void (*queue_changed)(void *arg, struct broker_queue *q);
	void (*node_drained)(void *arg, struct broker_node *n); /* broker_node.drained is another */
};

struct broker {
	/* Grows with each change that can affect routing: a cached route with another version is
	 * void. Not part of the state: not the same on every node. */
	uint64_t version;
	/* Grows with each change of users and permissions, and with each deletion of a vhost. */
	uint64_t auth_version;
	/* Grows when a queue is not parted, and would have been with nobody absent (member.h). Not part of the state. */
	uint64_t unparted;

	struct slice cluster_name;   /* owned; empty until set */
	uint64_t cluster_id;         /* made of the first node's NODE_UP; 0: there was none yet */
	uint64_t next_group;         /* group of the next queue; from 1 */
	uint64_t next_number;        /* of the next row of the other kinds; from 1 */
	uint64_t next_member;        /* of the next member of a queue; from 1 */
	uint16_t next_node;          /* number of the next node; from 1; 0: none is left */
	struct broker_node **nodes;  /* by number, which is the order of joining */
	size_t n_nodes;
	struct broker_vhost *vhosts; /* uthash by name */
	struct broker_user *users;   /* uthash by name */

	struct broker_proposer **proposers; /* sorted by id; see proposer.h */
	size_t n_proposers;

	struct broker_vhost *vhosts_by_number;
	struct broker_exchange *exchanges_by_number;
	struct broker_queue *queues_by_group;
	struct broker_user *users_by_number;
	struct list parameters; /* the global ones: struct broker_parameter.link */
	size_t n_vhosts, n_users, n_exchanges, n_queues, n_bindings;

	bool loading; /* rows are being loaded: what they say holds */
	struct broker_watch watch;
	struct list doomed;         /* auto-delete exchanges to go: struct broker_exchange.doomed */
	uint64_t route_mark;        /* route.c: the last mark given out */
	void *match_data;           /* of PCRE2 */
	void *match_context;        /* of PCRE2: bounds the time of a match */
	struct list rows_dirty;     /* rows.c: struct broker_row.dirty */
	struct broker_row row;      /* the global row */
	uint8_t (*rows_deleted)[9]; /* rows.c: keys of stored rows that are gone */
	size_t n_rows_deleted, rows_deleted_cap;
};

/* An empty broker, without even a vhost: see broker_seed() in command.h. `watch` is copied and may
 * be NULL. The caller frees it with broker_free(). */
struct broker *broker_new(const struct broker_watch *watch);

/* Frees it with everything in it; the watch is not told. NULL is fine. */
void broker_free(struct broker *b);

/* What a command did. Sent between nodes; never reused. */
enum broker_code {
	BROKER_OK = 0,
	BROKER_EXISTS =
		1, /* a declaration found one, which is untouched; compare with equivalent.h */
	BROKER_NOT_FOUND = 2, /* `resource` says what; the first missing one */
	BROKER_IN_USE = 3,    /* DELETE_EXCHANGE if_unused: it has bindings as a source */
	BROKER_REFUSED = 4,   /* default exchange in a binding, deletion of a system exchange; JOIN_NODE:
			       * there is no node yet; MEMBER_GONE: it is not leaving; others: command.h */
	BROKER_BAD_NAME =
		5, /* a name or key is longer than BROKER_NAME_MAX, or empty where it may not */
	BROKER_STALE = 6,     /* DECLARE_QUEUE for an incarnation of a node that is over; see proposer.h */
	BROKER_MALFORMED = 7, /* not a command; nothing changed */
	BROKER_UNKNOWN = 8, /* a number or version of command from a newer node; nothing changed */
	BROKER_LIMIT = 9,   /* DECLARE_QUEUE: `limit` queues are in the vhost, and no more may be */
	BROKER_RUNNING = 10, /* FORGET_NODE, SET_NODE_TYPE, REPLACE_MEMBERS: the node is up */
	BROKER_LAST_DISC = 11,  /* there would be no disc node any more */
	BROKER_UNCHANGED = 12,  /* SET_NODE_TYPE: it is one already */
	BROKER_NAME_TAKEN = 13, /* JOIN_NODE, NODE_UP: another node has the name */
	BROKER_FULL = 14,       /* JOIN_NODE: all numbers of nodes have been given out */
	BROKER_UNAVAILABLE = 15, /* never from here: nobody leads group 0 (src/cluster/catalog.h) */
	BROKER_LAST_MEMBER = 16, /* DELETE_MEMBERS: no other member of the queue votes */
	BROKER_CODES
};

/* Sent between nodes; never reused. */
enum broker_resource {
	BROKER_NOTHING = 0,
	BROKER_VHOST = 1,
	BROKER_USER = 2,
	BROKER_EXCHANGE = 3, /* of a binding: the source */
	BROKER_QUEUE = 4,
	BROKER_DESTINATION = 5, /* of an exchange binding: the destination exchange */
	BROKER_POLICY = 6,
	BROKER_PARAMETER = 7,
	BROKER_NODE = 8,
	BROKER_MEMBER = 9,
	BROKER_RESOURCES
};

struct broker_result {
	enum broker_code code;
	enum broker_resource resource; /* NOT_FOUND, REFUSED: of what */
	uint64_t group;                /* DECLARE_QUEUE: the queue's, new or found; else 0 */
	uint64_t limit;                /* LIMIT */
	/* This broker's own pointers, valid until the next command; NULL where it does not apply.
	 */
	struct broker_queue *queue;       /* DECLARE_QUEUE with OK or EXISTS */
	struct broker_exchange *exchange; /* DECLARE_EXCHANGE with OK or EXISTS */
	struct broker_node *node;         /* JOIN_NODE, NODE_UP with OK or EXISTS */
};

/* Applies one command. The bytes may be anything: what is not a command is answered with
 * BROKER_MALFORMED or BROKER_UNKNOWN and changes nothing. Calls the watch before it returns.
 * `ret` is always written. */
void broker_apply(struct broker *b, struct slice command, struct broker_result *ret);

/* "ok", "exists", "not found", ...; static. For logs, not for clients. */
const char *broker_code_text(enum broker_code code);

/* ---- for src/broker only ---- */

/* The number of a new row. */
uint64_t broker_next_number(struct broker *b);
void broker_set_cluster_name(struct broker *b, struct slice name);
/* Never 0. A node that was reset founds another cluster when it starts again. */
uint64_t broker_cluster_id(uint64_t founder, uint64_t incarnation);
/* Tells the watch. */
void broker_queue_changed(struct broker_queue *q);

#endif

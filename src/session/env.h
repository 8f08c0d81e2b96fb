/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sessions of a worker share: its broker copy and queue clients, limits, and who is to be
 * flushed at the turn's end. Filled in by the daemon; one per worker, used on its thread only.
 */
#ifndef WARREN_SESSION_ENV_H
#define WARREN_SESSION_ENV_H

#include "src/broker/broker.h"
#include "src/broker/route.h"
#include "src/loop/worker.h"
#include "src/queue/client.h"
#include "src/cluster/catalog.h"

/* Limits and names from the configuration; the same for all workers. */
struct session_limits {
	uint32_t frame_max;         /* 0: no limit */
	uint32_t initial_frame_max; /* before tuning */
	uint16_t channel_max;       /* 0: no limit */
	uint16_t heartbeat_s;       /* proposed */
	uint64_t handshake_timeout_ms;
	uint64_t max_message_size; /* bytes of a body */
	/* Where new queues' leaders shall be, if nothing else says so. */
	enum broker_locator master_locator;
	enum broker_locator leader_locator; /* of quorum queues */
	const char *node_name;     /* "warren@host" */
	const char *product_version;
	/* Users that may only log in from loopback; ends in NULL. */
	const char *const *loopback_users;
};

enum { SESSION_REPLY_ADDRESS_MAX = 80 };

/* What sessions of different nodes tell each other, see src/session/reply_to.h; numbers go over links. */
enum session_word {
	SESSION_REPLY = 0,    /* to a requester; may get lost where too much waits */
	SESSION_QUESTION = 1, /* whether a requester lives */
	SESSION_ANSWER = 2,
};

/* Resource alarms of the node; bits. */
enum session_alarm {
	SESSION_ALARM_NONE = 0,
	SESSION_ALARM_MEMORY = 1,
	SESSION_ALARM_DISK = 2,
	SESSION_ALARM_BOTH = 3,
};

struct tally;

struct session_env {
	struct worker *worker;
	struct catalog *catalog;
	struct broker *broker; /* of the catalog */
	struct queue_clients *clients;
	const struct session_limits *limits;
	struct tally *tally; /* of the node: shared by all workers */
	uint64_t node_id;
	uint64_t incarnation;
	uint32_t (*random)(void *arg);
	/* Octets for reply_to_receive() on a worker of another node; takes the block over. False: there is
	 * no link to it. NULL: there are no other nodes. */
	bool (*tell)(void *arg, uint64_t node, uint16_t worker, enum session_word word, struct blob *blob,
		size_t n);
	void *arg; /* of random, tell and drained */

	struct list connections; /* struct connection.link */
	unsigned n_connections;
	struct list dirty;    /* struct connection.dirty: have output */
	struct list due;      /* struct room.due: there is room for more */
	uint64_t next_serial; /* of connections; workers count in steps */
	uint64_t serial_step;
	struct session_env *const *peers; /* of all workers, by number: to post mail to */
	unsigned n_peers;
	struct list requesters; /* struct channel.requester: have a direct reply-to consumer */
	uint32_t next_requester;
	struct list questions; /* struct reply_question: under way to other nodes */
	uint32_t next_question;
	struct broker_route route; /* scratch */
	struct buf keys;           /* scratch: struct slice, routing keys of a publish */
	struct buf scratch;        /* scratch: properties without BCC */
	char reply_address[SESSION_REPLY_ADDRESS_MAX]; /* scratch: of a request */
	struct buf request_props; /* scratch: properties of a request with direct reply-to */
	enum session_alarm alarm; /* publishers are held while there is one */
	bool in_maintenance; /* no new connections */
	bool stopping;
	void (*drained)(void *arg); /* stopping, and the last connection is gone */
};

/* Flushes the output of the turn; returns whether there was any. */
bool session_env_flush(struct session_env *env);
/* Once a second: heartbeats, handshake timeouts. */
void session_env_tick(struct session_env *env);
/* Alarms have been raised or cleared: holds or releases publishers, and tells them. */
void session_env_alarm(struct session_env *env, enum session_alarm alarm);
/* The node is in maintenance from now on: closes all connections with 320 and refuses new ones; or not
 * any more. Returns how many were open. */
unsigned session_env_maintenance(struct session_env *env, bool yes);
/* Closes all connections with 320 and refuses new ones; drained() follows. */
void session_env_stop(struct session_env *env);
void session_env_done(struct session_env *env);

#endif

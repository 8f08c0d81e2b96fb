/* SPDX-License-Identifier: Apache-2.0
 *
 * What the client's files know of each other: client.c (the registry; sections of commands),
 * client_leader.c (who gets them), client_fate.c (what becomes of them).
 */
#ifndef WARREN_QUEUE_CLIENT_PRIV_H
#define WARREN_QUEUE_CLIENT_PRIV_H

#include <uthash.h>

#include "src/queue/client.h"
#include "src/queue/ring.h"

/* What is left free in front of a section's commands. */
enum { OUT_FRONT = COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER };

/* Who wants to know when `seq` is applied. */
struct wait {
	uint64_t seq;
	struct queue_publisher *pub;
	uint64_t tag;
	bool refused;
};

/* A section that is not applied yet: to be sent again to the next leader. */
struct sent {
	uint64_t last_seq;
	size_t bytes;
	struct blob *blob;
};

/* A consumer that its session has forgotten: `seq` is of its cancelling, which is not applied yet. */
struct parting {
	uint64_t seq;
	uint32_t no;
};

RING_OF(wait)
RING_OF(sent)
RING_OF(parting)

struct attached {
	uint32_t no;
	bool pushed;   /* no getter: its deliveries come by themselves */
	uint64_t last; /* number of the last delivery */
	uint64_t seq;  /* of the command that attached it */
	struct queue_consumer *consumer;
	UT_hash_handle hh;
};

enum client_state {
	CLIENT_SEEKING,   /* nobody known; sections are only kept */
	CLIENT_RESUMING,  /* `leader` was sent all again and has not answered */
	CLIENT_FOLLOWING, /* `leader` gets sections as they come */
};

struct queue_client {
	uint64_t group;
	struct queue_clients *all;
	UT_hash_handle hh;
	enum client_state state;
	bool fresh;       /* has sent nothing to nobody: there is nothing to resume */
	bool asked;       /* seeking, and has tried in this turn or before */
	unsigned tries;   /* since the leader was lost */
	unsigned ticks;   /* likewise */
	unsigned waiting; /* ticks since the last try */
	unsigned moves;   /* hints that were followed since the last tick, or since one led to the leader */
	uint64_t leader;  /* node; 0: unknown */
	uint64_t served;  /* node that has applied the last section; 0: none yet */
	uint64_t term;    /* of the newest leader heard of */
	uint32_t attempt; /* number of the last resume */
	uint64_t resent;  /* `heard` when the leader wanted to have all again, and 1; 0: it did not */
	struct list seeking; /* in queue_clients.seeking unless following */
	struct list untold;  /* in queue_clients.untold while the leader keeps for it what it has got ... */
	uint64_t untold_seq; /* ... as far as this */
	/* Commands [skip_from, skip_to] were given up and never come; 0: none. */
	uint64_t skip_from, skip_to;
	/* Consumers that were given up with them, u32 each, and the sequence by which their
	 * cancelling is applied; 0: it waits for a leader. */
	struct buf orphans;
	uint64_t orphans_seq;
	uint64_t rewound; /* the sequence by which all consumers before it are cancelled; 0: it is applied */
	uint64_t next_seq;
	uint64_t heard; /* everything up to here is known to be applied */
	/* The section being collected. */
	struct blob *out;
	size_t out_n;
	size_t out_hint; /* size of the last one: the next begins with that capacity */
	uint32_t out_count;
	struct list dirty;
	struct list settling; /* consumers with a range not yet written */
	struct ring waits;    /* struct wait, by seq */
	struct ring sents;    /* struct sent, by seq */
	struct ring partings; /* struct parting, by seq */
	size_t backlog;
	struct list requests; /* struct queue_request, by seq */
	struct attached *consumers;
	struct attached *last; /* of the last delivery */
	struct list waiters;
};

struct queue_clients {
	uint64_t id;
	uint64_t self; /* own node */
	struct list seeking; /* struct queue_client.seeking */
	struct list untold;
	struct queue_border border;
	struct queue_client *by_group;
	struct queue_client *last; /* last found */
	struct list dirty;
	size_t backlog;
	struct list waiters; /* for the window of all clients */
	uint32_t next_no;
};

/* ---- client.c ---- */

/* The client of a group, or NULL. */
static inline struct queue_client *clients_find(struct queue_clients *qs, uint64_t group)
{
	if (qs->last != NULL && qs->last->group == group)
		return qs->last;
	struct queue_client *qc;
	HASH_FIND(hh, qs->by_group, &group, sizeof group, qc);
	if (qc != NULL)
		qs->last = qc;
	return qc;
}

/* A consumer by its number, or NULL. */
static inline struct attached *client_attached(struct queue_client *qc, uint32_t no)
{
	if (qc->last != NULL && qc->last->no == no)
		return qc->last;
	struct attached *a;
	HASH_FIND(hh, qc->consumers, &no, sizeof no, a);
	if (a != NULL)
		qc->last = a;
	return a;
}

/* Its consumer is attached to nothing any more; frees `a`. */
void client_detach(struct queue_client *qc, struct attached *a);
void client_forget_sents(struct queue_client *qc);
/* Out of the registry, too. Nobody is told. */
void client_free(struct queue_client *qc);
/* Appends a command built in `b`, which it empties, behind the settles that came before it. `r`, unless NULL, is
 * answered. */
void client_command(struct queue_client *qc, struct buf *b, struct queue_request *r);

/* ---- client_leader.c ---- */

/* Nobody is known to lead: a leader is sought from now on. */
void client_lose(struct queue_client *qc);
/* The first time there is nothing to resume: whoever is most likely gets the sections at once. */
void client_begin(struct queue_client *qc);
/* End of a turn: those that have lost their leader in it, or found none, try to find one. */
void clients_ask(struct queue_clients *qs);

/* ---- client_fate.c ---- */

/* Nobody serves the queue: whoever waits is told so, and what is under way is given up. */
void client_unavailable(struct queue_client *qc);
/* What was applied is not: an operator has given up who had it. The queue goes on from `last`, and what it knows of
 * this client's consumers is not theirs: some may have ended long ago, and would hold messages for nobody. */
void client_rewind(struct queue_client *qc, uint64_t last);
/* Cancels the consumers that may have been attached by what was given up. */
void client_cancel_orphans(struct queue_client *qc);

#endif

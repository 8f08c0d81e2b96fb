/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue state machine: pure and deterministic. All members of a queue's group apply the same
 * entries and hold the same state; the leader's effects leave, the others' are dropped by the sink.
 *
 * Messages are named by a queue-wide sequence and found by (entry index, offset); the machine holds
 * no message bytes. Ready messages are runs over entries, so a backlog of millions is megabytes.
 *
 * Deliveries are not commands: after each entry (and before a command whose answer depends on it)
 * ready messages go to consumers with credit, and every member computes the same.
 */
#ifndef WARREN_QUEUE_MACHINE_H
#define WARREN_QUEUE_MACHINE_H

#include "src/queue/command.h"

struct machine;

/* A message that goes to a consumer. */
struct machine_delivery {
	uint64_t client;
	uint32_t consumer;
	uint64_t number; /* 1, 2, ... per consumer: what settle names */
	uint64_t index;  /* entry and offset of its enqueue command */
	uint32_t offset;
	uint32_t body_n;
	uint32_t returns; /* how often it came back; > 0: redelivered (and x-delivery-count) */
};

enum death { DEATH_EXPIRED, DEATH_REJECTED, DEATH_MAXLEN, DEATH_DELIVERY_LIMIT };

/* A message that died while a dead letter exchange is set. It stays in the state, its entry needed,
 * until COMMAND_DEAD_DONE names its sequence. */
struct machine_dead {
	uint64_t seq;
	uint64_t index;
	uint32_t offset;
	enum death reason;
	uint64_t stamp_ms; /* time of death */
};

enum machine_status {
	MACHINE_OK = 0,
	MACHINE_EXCLUSIVE = 1, /* attach: an exclusive consumer has it, or exclusive wanted and others are there */
	MACHINE_IN_USE = 2,    /* delete if_unused */
	MACHINE_NOT_EMPTY = 3, /* delete if_empty */
	MACHINE_EMPTY = 4,     /* get */
	MACHINE_SINGLE_ACTIVE = 5, /* get on a queue with a single active consumer */
	MACHINE_GONE = 6,          /* the queue is deleted; cancel: with it, its last consumer left */
	MACHINE_UNAVAILABLE = 7,   /* never from a machine: nobody serves the queue now */
};

/* Answer to attach, cancel, get, purge, delete and status; the same again to a repeat, until the
 * client's sections say that it has heard of it. */
struct machine_answer {
	uint64_t client;
	uint64_t seq;
	enum command_type type;
	enum machine_status status;
	uint64_t messages;  /* ready: purged, deleted, status, or left behind a get */
	uint32_t consumers; /* status, delete */
	const struct machine_delivery *delivery; /* get: the message; else NULL */
};

/* Effects, called in order from machine_apply(). May not call into the machine but for reading. */
struct machine_sink {
	void (*deliver)(void *arg, const struct machine_delivery *d);
	void (*answer)(void *arg, const struct machine_answer *a);
	/* An enqueue was refused (overflow reject-publish); likewise. */
	void (*refused)(void *arg, uint64_t client, uint64_t seq);
	/* Everything the client sent up to `seq` is applied; after its deliveries and answers of this
	 * entry. Also called for repeats. */
	void (*applied)(void *arg, uint64_t client, uint64_t seq);
	/* The consumer is gone although its client did not ask: the queue was deleted. */
	void (*cancelled)(void *arg, uint64_t client, uint32_t consumer);
	void (*dead)(void *arg, const struct machine_dead *d);
	/* No live message is left in that entry. */
	void (*release)(void *arg, uint64_t index);
	/* The queue should be deleted: x-expires ran out, or its last consumer left (auto-delete). The
	 * state is already MACHINE_GONE for further commands. */
	void (*ended)(void *arg, bool expired);
};

struct machine_counts {
	uint64_t ready, unacked, dead;      /* messages */
	uint64_t ready_bytes, unacked_bytes; /* bodies */
	uint32_t consumers;                 /* not counting ATTACH_GET ones */
	uint32_t waiting;                   /* consumers that would be sent a message at once */
	uint64_t published, delivered, acked, redelivered, dropped; /* since the queue began */
};

/* The consumer that has the queue for itself. */
struct machine_holder {
	uint64_t client;
	uint32_t consumer;
	bool exclusive;   /* it has asked for that; else it is the single active one */
	struct slice tag; /* valid until the machine changes */
};

struct machine *machine_new(void);
void machine_free(struct machine *m);

/* Applies the entry `index` (increasing). 0, or -1: what is malformed of it, a section's end or the entry's, is left
 * out. */
int machine_apply(struct machine *m, uint64_t index, const uint8_t *p, size_t n,
	const struct machine_sink *sink, void *arg);

/* Emits `dead` again for the dead letters that are out (a new leader took over). */
void machine_resume(struct machine *m, const struct machine_sink *sink, void *arg);
/* Emits `dead` again for one of them, if it is still out. */
void machine_dead_again(
	struct machine *m, uint64_t seq, const struct machine_sink *sink, void *arg);
/* Emits `deliver` again for a consumer's unsettled deliveries numbered > after. */
void machine_redeliver(struct machine *m, uint64_t client, uint32_t consumer, uint64_t after,
	const struct machine_sink *sink, void *arg);

/* Stamp at which COMMAND_TIME would change something (expiry of a head message or of the queue);
 * UINT64_MAX: never. */
uint64_t machine_deadline(const struct machine *m);
/* Largest stamp applied. */
uint64_t machine_stamp(const struct machine *m);
void machine_counts(const struct machine *m, struct machine_counts *ret);
/* False: there is none. */
bool machine_holder(const struct machine *m, struct machine_holder *ret);
/* Entry and offset of the message that is delivered next; false: none is ready. */
bool machine_head(const struct machine *m, uint64_t *ret_index, uint32_t *ret_offset);
/* Octets that the state takes in memory, about; no bodies are among them. */
size_t machine_memory(const struct machine *m);
const struct queue_config *machine_config(const struct machine *m);
bool machine_gone(const struct machine *m);
/* The last sequence of a client that is applied; 0: none is known. */
uint64_t machine_last_seq(const struct machine *m, uint64_t client);
/* Calls each(arg, client) for every client with consumers or a remembered sequence. */
void machine_each_client(const struct machine *m, void (*each)(void *arg, uint64_t client), void *arg);

/* Appends the versioned encoding of the whole state. Equal states give equal bytes. */
void machine_snapshot(const struct machine *m, struct buf *out);
/* Replaces a new machine's state. 0, or -1 if malformed or if the state would take more than about
 * memory_max bytes, which may be far more than the snapshot does. The machine is of no use then but
 * for machine_free(). */
int machine_restore(struct machine *m, struct slice data, uint64_t memory_max);
/* Appends {from, to} pairs (struct of two u64, native) of the entries in (after, UINT64_MAX] that hold
 * live messages, sorted. */
void machine_live(const struct machine *m, uint64_t after, struct buf *out);
/* Hash of the snapshot's bytes. */
uint64_t machine_digest(const struct machine *m);

#endif

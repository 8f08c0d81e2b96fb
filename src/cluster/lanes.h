/* SPDX-License-Identifier: Apache-2.0
 *
 * A link's octets: messages in, fragments out, and back. Pure.
 *
 *   frame := n u32 | lane u8 | flags u8 | 0 u16 | n octets                   little endian
 *
 * A message is cut into fragments of at most LANES_FRAGMENT_MAX; the first one's octets begin with
 * the message's length, u32. The fragments of a lane come in order, those of different lanes as
 * they like: what is urgent overtakes what is big. A frame without flags on lane 0 is a heartbeat,
 * one with GOODBYE the end, with a sentence.
 *
 * What is urgent goes first; only after LANES_PATIENCE octets of it, while others waited, one fragment of
 * those goes in between, so that nobody starves. The others share what is left, by the weights of those that
 * wait: entries and client traffic alike, at least a third each also beside a snapshot. Who did not wait saves
 * nothing up, and does not wait for what others had meanwhile.
 *
 * Sending copies nothing: lanes_gather() gives slices of the messages themselves.
 */
#ifndef WARREN_CLUSTER_LANES_H
#define WARREN_CLUSTER_LANES_H

#include "raft/net.h"
#include "src/base/buf.h"
#include "src/cluster/envelope.h"

enum lane {
	LANE_URGENT, /* heartbeats, raft's answers and votes, calls, all of the metadata */
	LANE_RAFT,   /* entries of queues */
	LANE_QUEUE, /* sections, events */
	LANE_BULK,  /* snapshots on their way to a member */
	LANES,
};

/* An entry with the largest message that the configuration allows, 512 MiB, is not the end. */
#define LANES_MESSAGE_MAX ((size_t)1024 * 1024 * 1024)

enum {
	LANES_FRAME_HEAD = 8,
	LANES_FRAGMENT_MAX = 64 * 1024, /* octets of the message in one frame */
	LANES_PATIENCE = 1024 * 1024,
	LANES_WEIGHT_RAFT = 3,
	LANES_WEIGHT_QUEUE = 3,
	LANES_WEIGHT_BULK = 1,
	LANES_WRITE_MAX = 256 * 1024, /* about what one write takes; of QUEUE and BULK one fragment more than of RAFT */
	LANES_SLICES_MAX = 512, /* of one write */
	LANES_FRAMES_MAX = 128, /* likewise; each has two slices or more */
	LANES_GOODBYE_MAX = 255,
};

/* A message on its way out: the envelope, then what `m` says. Whoever sends it embeds this, and has
 * it back by done(). */
struct parcel {
	struct list link;
	const struct net_message *m;
	enum lane lane;
	bool droppable; /* where too much waits it may be lost: whoever sent it sends again */
	uint8_t envelope[ENVELOPE_SIZE];
	/* Written (lost == false), or the link broke before that. */
	void (*done)(struct parcel *p, bool lost);
};

static inline size_t parcel_size(const struct parcel *p)
{
	return ENVELOPE_SIZE + p->m->n;
}

/* ---- out ---- */

/* How far a lane's first message is sent. */
struct lane_out {
	struct list parcels;
	size_t sent;     /* octets of the first one that were gathered */
	unsigned piece;  /* 0: envelope, 1: head, 2..: parts */
	size_t in_piece; /* octets of that piece */
	uint64_t due; /* its turn comes at this time of the lanes' clock: octets by weight */
};

struct lanes_out {
	struct lane_out lane[LANES];
	struct list gathered; /* complete with the write under way */
	size_t waiting;       /* octets of messages not gathered */
	uint64_t clock;       /* when the turn was whose it was last, urgent ones aside */
	size_t urgent;        /* octets that went past others since */
	uint8_t heads[LANES_FRAMES_MAX][LANES_FRAME_HEAD + 4];
};

void lanes_out_init(struct lanes_out *out);
/* At most LANES_MESSAGE_MAX. */
void lanes_put(struct lanes_out *out, struct parcel *p);
/* What to write next, into slices[LANES_SLICES_MAX]; returns how many, 0: nothing. They are valid
 * until lanes_written(), which is due before the next call. */
unsigned lanes_gather(struct lanes_out *out, struct slice *slices);
/* The gathered slices are written: messages that were complete are done(). */
void lanes_written(struct lanes_out *out);
/* All messages there are done(), as lost. */
void lanes_lose(struct lanes_out *out);

/* Frames of their own, to be written between two writes of slices. */
void lanes_put_heartbeat(struct buf *b);
/* The last frame; the sentence is cut to LANES_GOODBYE_MAX. */
void lanes_put_goodbye(struct buf *b, const char *sentence);

/* ---- in ---- */

struct lane_in {
	struct blob *blob; /* a message that has begun, or NULL */
	size_t n;          /* octets it has */
	size_t total;
};

struct lanes_in {
	struct lane_in lane[LANES];
	size_t left; /* octets of the present fragment still to come */
	uint8_t at;  /* its lane */
	bool last;   /* it ends its message */
	bool over;   /* the peer said goodbye */
	char goodbye[LANES_GOODBYE_MAX + 1];
	const char *fault; /* what is wrong with the octets, or NULL */
};

/* A whole message of n octets in a block of its own, whose one reference is handed over: the
 * envelope's ENVELOPE_SIZE octets in front may be overwritten. Returns false to stop taking. */
typedef bool lanes_message(void *arg, enum lane lane, struct blob *blob, size_t n);

void lanes_in_init(struct lanes_in *in);
void lanes_in_done(struct lanes_in *in);
/* Takes octets as they arrive, however they are cut; returns how many were consumed. Look at
 * `fault` and `over` behind. Only while neither is set. */
size_t lanes_take(
	struct lanes_in *in, const uint8_t *p, size_t n, lanes_message *message, void *arg);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What every message between nodes begins with: what it is and who it is for.
 *
 *   kind u8 | version u8 | worker u16 | tag u32 | group u64           16 octets, little endian
 *
 * The receiver picks the worker: RAFT and SECTION go to the shard of `group` (each node has its own
 * number of them), EVENTS, REPLY and what concerns direct reply-to to `worker`, CATALOG and its echo,
 * CALL and ALARMS to worker 0.
 */
#ifndef WARREN_CLUSTER_ENVELOPE_H
#define WARREN_CLUSTER_ENVELOPE_H

#include "src/base/bytes.h"

enum { ENVELOPE_SIZE = 16, ENVELOPE_VERSION = 1 };

enum envelope_kind {          /* numbers are never used again */
	ENVELOPE_RAFT = 1,    /* raft/wire.h */
	ENVELOPE_SECTION = 2, /* of a queue client, to the queue's host */
	ENVELOPE_EVENTS = 3,  /* of a queue's host, to the queue clients of a worker */
	ENVELOPE_CATALOG = 4, /* a section for the leader of group 0 */
	ENVELOPE_CALL = 5,    /* control API, JSON */
	ENVELOPE_REPLY = 6,
	ENVELOPE_ALARMS = 7, /* `tag`: the sender's resource alarms; src/daemon/alarms.h */
	ENVELOPE_CATALOG_ECHO = 8, /* { client u64, seq u64 }: the client's commands up to it are applied */
	ENVELOPE_DIRECT_REPLY = 9, /* for a requester; lost where too much waits. src/session/reply_to.h, as the next */
	ENVELOPE_REQUESTER = 10,   /* `tag`: whether it lives, and the answer */
};

struct envelope {
	uint8_t kind;
	uint16_t worker;
	uint32_t tag; /* the kind's own: finds the call that a reply is for */
	uint64_t group;
};

/* Writes ENVELOPE_SIZE octets. */
static inline void envelope_put(uint8_t *p, const struct envelope *e)
{
	p[0] = e->kind;
	p[1] = ENVELOPE_VERSION;
	store_u16le(p + 2, e->worker);
	store_u32le(p + 4, e->tag);
	store_u64le(p + 8, e->group);
}

/* Of a message of n octets; false: it is malformed or of another version. Unknown kinds are fine.
 */
static inline bool envelope_get(struct envelope *ret, const uint8_t *p, size_t n)
{
	if (n < ENVELOPE_SIZE || p[1] != ENVELOPE_VERSION)
		return false;
	*ret = (struct envelope){p[0], load_u16le(p + 2), load_u32le(p + 4), load_u64le(p + 8)};
	return true;
}

#endif

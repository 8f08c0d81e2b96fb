/* SPDX-License-Identifier: Apache-2.0
 *
 * What a queue client tells a host that it takes for the leader, before it sends again what is not
 * applied: how far it has got each consumer's deliveries. Bytes, for links as for mail. Pure.
 *
 *   resume := version u8 | 0 u8 | 0 u16 | attempt u32 | client u64 | n u32 | { consumer u32, last u64 }*
 *
 * All little endian.
 */
#ifndef WARREN_QUEUE_RESUME_H
#define WARREN_QUEUE_RESUME_H

#include "src/base/buf.h"

enum { RESUME_VERSION = 1 };

struct resume {
	uint32_t attempt;
	uint64_t client;
	uint32_t n; /* consumers */
	struct reader consumers;
};

static inline void resume_put(struct buf *b, uint32_t attempt, uint64_t client, uint32_t n)
{
	buf_put_u32le(b, RESUME_VERSION);
	buf_put_u32le(b, attempt);
	buf_put_u64le(b, client);
	buf_put_u32le(b, n);
}

static inline void resume_put_consumer(struct buf *b, uint32_t consumer, uint64_t last)
{
	buf_put_u32le(b, consumer);
	buf_put_u64le(b, last);
}

/* False: malformed, or of another version. */
static inline bool resume_get(struct resume *ret, struct slice bytes)
{
	struct reader r = reader_of(bytes);
	uint32_t version = get_u32le(&r);
	ret->attempt = get_u32le(&r);
	ret->client = get_u64le(&r);
	ret->n = get_u32le(&r);
	ret->consumers = r;
	return !r.bad && version == RESUME_VERSION && reader_left(&r) == (size_t)ret->n * 12;
}

/* The next consumer; call n times. */
static inline uint32_t resume_next(struct resume *r, uint64_t *ret_last)
{
	uint32_t consumer = get_u32le(&r->consumers);
	*ret_last = get_u64le(&r->consumers);
	return consumer;
}

#endif

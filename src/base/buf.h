/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable byte buffer with typed appends. Owned by whoever embeds it; one thread at a time.
 */
#ifndef WARREN_BASE_BUF_H
#define WARREN_BASE_BUF_H

#include "src/base/bytes.h"

struct buf {
	uint8_t *p; /* NULL while cap == 0 */
	size_t n;   /* bytes used */
	size_t cap;
};

#define BUF_EMPTY    \
	(struct buf) \
	{            \
		0    \
	}

/* Frees the memory; the buffer may be used again. */
void buf_done(struct buf *b);

/* Makes room for `more` further bytes without changing n. */
void buf_reserve_slow(struct buf *b, size_t more);

static inline void buf_reserve(struct buf *b, size_t more)
{
	if (__builtin_expect(b->cap - b->n < more, 0))
		buf_reserve_slow(b, more);
}

static inline void buf_clear(struct buf *b)
{
	b->n = 0;
}

/* Drops the first n bytes and moves the rest to the front. */
void buf_consume(struct buf *b, size_t n);

/* n bytes to be filled in by the caller, valid until the next append. */
static inline uint8_t *buf_put(struct buf *b, size_t n)
{
	buf_reserve(b, n);
	uint8_t *p = b->p + b->n;
	b->n += n;
	return p;
}

static inline void buf_put_bytes(struct buf *b, const void *p, size_t n)
{
	if (n > 0)
		memcpy(buf_put(b, n), p, n);
}

static inline void buf_put_slice(struct buf *b, struct slice s)
{
	buf_put_bytes(b, s.p, s.n);
}

static inline void buf_put_u8(struct buf *b, uint8_t v)
{
	*buf_put(b, 1) = v;
}

#define BUF_PUTTER(bits, order)                                                    \
	static inline void buf_put_u##bits##order(struct buf *b, uint##bits##_t v) \
	{                                                                          \
		store_u##bits##order(buf_put(b, (bits) / 8), v);                   \
	}
BUF_PUTTER(16, be)
BUF_PUTTER(32, be)
BUF_PUTTER(64, be)
BUF_PUTTER(16, le)
BUF_PUTTER(32, le)
BUF_PUTTER(64, le)
#undef BUF_PUTTER

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_make(b->p, b->n);
}

#endif

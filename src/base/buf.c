/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/buf.h"

#include "src/base/mem.h"

enum { BUF_FIRST = 256 };

void buf_done(struct buf *b)
{
	mem_free(b->p);
	*b = BUF_EMPTY;
}

void buf_reserve_slow(struct buf *b, size_t more)
{
	size_t need = b->n + more;
	size_t cap = b->cap ? b->cap * 2 : BUF_FIRST;
	if (cap < need)
		cap = need;
	b->p = mem_realloc(b->p, cap);
	b->cap = cap;
}

void buf_consume(struct buf *b, size_t n)
{
	b->n -= n;
	if (b->n > 0)
		memmove(b->p, b->p + n, b->n);
}

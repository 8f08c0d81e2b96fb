/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/confirm.h"

#include "src/amqp/frame.h"
#include "src/base/mem.h"

/* Of a number's state. */
#define CONFIRM_REFUSED (1u << 31)          /* some queue has refused it */
#define CONFIRM_COUNT (CONFIRM_REFUSED - 1) /* answers still missing */

struct confirm {
	struct queue_publisher publisher;
	void (*dirty)(void *arg);
	void *arg; /* NULL once the channel is gone */
	bool is_dirty;
	uint32_t *left; /* ring of `cap` counts, of the numbers from `base` on */
	size_t cap;
	uint64_t base;      /* lowest number not complete */
	uint64_t next;      /* number of the next publish */
	uint64_t good;      /* highest number below base that was not refused */
	uint64_t told;      /* every number up to here has been acked or nacked */
	size_t answers;     /* outstanding over all publishes */
	struct buf beyond;  /* u64 numbers: completed this turn above base */
	struct buf refused; /* u64 numbers: completed this turn with a refusal */
};

static uint32_t *confirm_left(struct confirm *c, uint64_t number)
{
	return &c->left[number & (c->cap - 1)];
}

static void confirm_mark(struct confirm *c)
{
	if (c->is_dirty || c->arg == NULL)
		return;
	c->is_dirty = true;
	c->dirty(c->arg);
}

static void confirm_destroy(struct confirm *c)
{
	mem_free(c->left);
	buf_done(&c->beyond);
	buf_done(&c->refused);
	mem_free(c);
}

static void confirm_complete(struct confirm *c, uint64_t number)
{
	if (*confirm_left(c, number) & CONFIRM_REFUSED)
		buf_put_bytes(&c->refused, &number, sizeof number);
	else if (number != c->base)
		buf_put_bytes(&c->beyond, &number, sizeof number);
	while (c->base < c->next && (*confirm_left(c, c->base) & CONFIRM_COUNT) == 0) {
		if ((*confirm_left(c, c->base) & CONFIRM_REFUSED) == 0)
			c->good = c->base;
		c->base++;
	}
	confirm_mark(c);
}

static void confirm_settled(struct queue_publisher *p, uint64_t number, bool refused)
{
	struct confirm *c = (struct confirm *)p;
	c->answers--;
	if (c->arg == NULL) {
		if (c->answers == 0)
			confirm_destroy(c);
		return;
	}
	uint32_t *left = confirm_left(c, number);
	if (refused)
		*left |= CONFIRM_REFUSED;
	if ((--*left & CONFIRM_COUNT) == 0)
		confirm_complete(c, number);
}

struct confirm *confirm_new(void (*dirty)(void *arg), void *arg)
{
	struct confirm *c = MEM_NEW(struct confirm);
	c->publisher.settled = confirm_settled;
	c->dirty = dirty;
	c->arg = arg;
	c->base = c->next = 1;
	return c;
}

void confirm_free(struct confirm *c)
{
	if (c == NULL)
		return;
	c->arg = NULL;
	if (c->answers == 0)
		confirm_destroy(c);
}

static void confirm_grow(struct confirm *c)
{
	size_t cap = c->cap ? c->cap * 2 : 64;
	uint32_t *left = mem_alloc(cap * sizeof *left);
	for (uint64_t i = c->base; i < c->next; i++)
		left[i & (cap - 1)] = *confirm_left(c, i);
	mem_free(c->left);
	c->left = left;
	c->cap = cap;
}

uint64_t confirm_begin(struct confirm *c, unsigned queues)
{
	if (c->next - c->base == c->cap)
		confirm_grow(c);
	uint64_t number = c->next++;
	*confirm_left(c, number) = queues;
	c->answers += queues;
	if (queues == 0)
		confirm_complete(c, number);
	return number;
}

struct queue_publisher *confirm_publisher(struct confirm *c)
{
	return &c->publisher;
}

uint64_t confirm_outstanding(const struct confirm *c)
{
	return c->next - c->base;
}

static uint64_t confirm_number_at(const struct buf *b, size_t at)
{
	uint64_t number;
	memcpy(&number, b->p + at, sizeof number);
	return number;
}

void confirm_flush(struct confirm *c, struct buf *out, uint16_t channel)
{
	c->is_dirty = false;
	for (size_t at = 0; at < c->refused.n; at += sizeof(uint64_t))
		amqp_put_basic_nack(out, channel, confirm_number_at(&c->refused, at), false, false);
	buf_clear(&c->refused);
	/* The nacks have gone before: an ack with multiple no longer means those. */
	if (c->good > c->told)
		amqp_put_basic_ack(out, channel, c->good, c->good > c->told + 1);
	c->told = c->base - 1;
	for (size_t at = 0; at < c->beyond.n; at += sizeof(uint64_t)) {
		uint64_t number = confirm_number_at(&c->beyond, at);
		if (number > c->told)
			amqp_put_basic_ack(out, channel, number, false);
	}
	buf_clear(&c->beyond);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/loop/timer.h"

#include "src/base/mem.h"

struct timer {
	uv_timer_t uv;
	void (*fire)(void *arg);
	void *arg;
};

static void timer_fired(uv_timer_t *uv)
{
	struct timer *t = uv->data;
	t->fire(t->arg);
}

struct timer *timer_new(struct worker *w, void (*fire)(void *arg), void *arg)
{
	struct timer *t = MEM_NEW(struct timer);
	uv_timer_init(&w->loop, &t->uv);
	t->uv.data = t;
	t->fire = fire;
	t->arg = arg;
	return t;
}

void timer_set(struct timer *t, uint64_t delay_ms)
{
	uv_timer_start(&t->uv, timer_fired, delay_ms, 0);
}

void timer_stop(struct timer *t)
{
	uv_timer_stop(&t->uv);
}

static void timer_closed(uv_handle_t *uv)
{
	mem_free(uv->data);
}

void timer_free(struct timer *t)
{
	if (t != NULL)
		uv_close((uv_handle_t *)&t->uv, timer_closed);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fake_loop.h"

#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "tests/fuzz/fuzz.h"

enum { START_MS = 1000 };
#define START_WALL_MS UINT64_C(1700000000000)

/* ---- workers ---- */

int worker_init(struct worker *w, unsigned no)
{
	*w = (struct worker){.no = no, .now_ms = START_MS, .wall_ms = START_WALL_MS};
	w->due_end = &w->due;
	list_init(&w->hooks);
	w->read_buf = mem_alloc(WORKER_READ_SIZE);
	return 0;
}

void worker_done(struct worker *w)
{
	while (worker_deliver(w))
		;
	while (w->spares > 0)
		buf_done(&w->spare[--w->spares]);
	mem_free(w->read_buf);
}

void worker_post(struct worker *to, struct mail *m)
{
	m->next = NULL;
	*to->due_end = m;
	to->due_end = &m->next;
}

bool worker_deliver(struct worker *w)
{
	bool any = w->due != NULL;
	while (w->due != NULL) {
		struct mail *m = w->due;
		w->due = m->next;
		if (w->due == NULL)
			w->due_end = &w->due;
		m->deliver(m, w);
	}
	return any;
}

void worker_wake(struct worker *w)
{
	(void)w;
}

void worker_hook(struct worker *w, struct turn_hook *h, bool (*run)(struct turn_hook *h))
{
	h->run = run;
	list_push_back(&w->hooks, &h->link);
}

/* ---- timers ---- */

struct timer {
	struct timer *next;
	struct worker *worker;
	void (*fire)(void *arg);
	void *arg;
	uint64_t due_ms;
	uint64_t round; /* of fake_time(), in which it fired last */
	bool set;
};

static struct timer *timers;
static uint64_t this_round;

struct timer *timer_new(struct worker *w, void (*fire)(void *arg), void *arg)
{
	struct timer *t = MEM_NEW(struct timer);
	*t = (struct timer){.next = timers, .worker = w, .fire = fire, .arg = arg};
	timers = t;
	return t;
}

void timer_set(struct timer *t, uint64_t delay_ms)
{
	t->set = true;
	t->due_ms = t->worker->now_ms + delay_ms;
}

void timer_stop(struct timer *t)
{
	t->set = false;
}

void timer_free(struct timer *t)
{
	if (t == NULL)
		return;
	struct timer **at = &timers;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	mem_free(t);
}

static struct timer *timer_due(const struct worker *w)
{
	struct timer *first = NULL;
	for (struct timer *t = timers; t != NULL; t = t->next)
		if (t->set && t->due_ms <= w->now_ms && t->round != this_round &&
			(first == NULL || t->due_ms < first->due_ms))
			first = t;
	return first;
}

void fake_time(struct worker *w, uint64_t ms)
{
	struct timer *t;
	w->now_ms += ms;
	w->wall_ms += ms;
	this_round++;
	while ((t = timer_due(w)) != NULL) {
		t->set = false;
		t->round = this_round;
		t->fire(t->arg);
	}
}

unsigned fake_timers(void)
{
	unsigned n = 0;
	for (const struct timer *t = timers; t != NULL; t = t->next)
		n++;
	return n;
}

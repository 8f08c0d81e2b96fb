/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_loop.h"

#include "src/base/mem.h"
#include "src/loop/timer.h"

enum { TURN_ROUNDS_MAX = 64, WAKE_MAX_US = 30 };
#define WALL_BEGIN_MS UINT64_C(1700000000000)

struct sim_loop {
	struct list link; /* in loops */
	struct worker *worker; /* NULL: done */
	struct list timers; /* struct timer that are set */
	uint64_t turn_us;   /* the next turn is due then; UINT64_MAX: none */
	uint64_t stalled_us;
	int64_t skew_ms;
	bool detached;
	uint64_t own_us; /* its time, detached */
};

struct timer {
	struct list link; /* self-linked while not set */
	struct sim_loop *loop;
	uint64_t at_us;
	uint64_t turn; /* in which it is to fire at the earliest */
	void (*fire)(void *arg);
	void *arg;
};

static struct sim *sim;
static struct list loops;
static uint64_t turns;

void sim_loops_begin(struct sim *s)
{
	sim = s;
	turns = 0;
	list_init(&loops);
}

void sim_loops_end(void)
{
	struct list *node;
	while ((node = list_pop(&loops)) != NULL)
		mem_free(LIST_ENTRY(node, struct sim_loop, link));
	sim = NULL;
}

static struct sim_loop *loop_of(const struct worker *w)
{
	return w->loop.data;
}

static uint64_t now_us(const struct sim_loop *l)
{
	return l->detached ? l->own_us : sim->now_us;
}

static void clock_read(struct sim_loop *l)
{
	l->worker->now_ms = now_us(l) / 1000;
	l->worker->wall_ms = WALL_BEGIN_MS + (uint64_t)((int64_t)l->worker->now_ms + l->skew_ms);
}

/* ---- turns ---- */

static void on_turn(void *arg, uint64_t at_us);

/* An event that has an earlier one before it finds nothing to do. */
static void turn_at(struct sim_loop *l, uint64_t us)
{
	if (l->turn_us <= us)
		return;
	l->turn_us = us;
	if (!l->detached)
		sim_after(sim, us > sim->now_us ? us - sim->now_us : 0, on_turn, l, us);
}

static struct timer *timer_due(const struct sim_loop *l, uint64_t turn)
{
	struct timer *first = NULL;
	LIST_EACH(node, &l->timers)
	{
		struct timer *t = LIST_ENTRY(node, struct timer, link);
		if (t->at_us <= now_us(l) && t->turn <= turn &&
			(first == NULL || t->at_us < first->at_us))
			first = t;
	}
	return first;
}

static bool turn_round(struct worker *w)
{
	bool did = worker_deliver(w);
	LIST_EACH_SAFE(node, &w->hooks)
	{
		struct turn_hook *h = LIST_ENTRY(node, struct turn_hook, link);
		did |= h->run(h);
	}
	return did || w->due != NULL;
}

static void turn(struct sim_loop *l)
{
	struct timer *t;
	uint64_t this_turn = ++turns;
	clock_read(l);
	while ((t = timer_due(l, this_turn)) != NULL) {
		list_remove(&t->link);
		t->fire(t->arg);
	}
	unsigned rounds = 0;
	while (turn_round(l->worker) && ++rounds < TURN_ROUNDS_MAX)
		;
	if (rounds == TURN_ROUNDS_MAX)
		turn_at(l, now_us(l) + 1);
	LIST_EACH(node, &l->timers)
	turn_at(l, LIST_ENTRY(node, struct timer, link)->at_us);
}

static void on_turn(void *arg, uint64_t at_us)
{
	struct sim_loop *l = arg;
	if (l->worker == NULL || l->detached || l->turn_us != at_us)
		return;
	l->turn_us = UINT64_MAX;
	if (sim->now_us < l->stalled_us)
		turn_at(l, l->stalled_us);
	else
		turn(l);
}

void sim_loop_skew(struct worker *w, int64_t ms)
{
	loop_of(w)->skew_ms = ms;
	clock_read(loop_of(w));
}

void sim_loop_stall(struct worker *w, uint64_t until_us)
{
	loop_of(w)->stalled_us = until_us;
}

void sim_loop_detach(struct worker *w)
{
	struct sim_loop *l = loop_of(w);
	l->detached = true;
	l->own_us = l->turn_us = sim->now_us;
}

bool sim_loops_live(struct worker *const *ws, unsigned n, bool (*over)(void *arg), void *arg,
	uint64_t ms)
{
	uint64_t end_us = loop_of(ws[0])->own_us + ms * 1000;
	while (!over(arg)) {
		struct sim_loop *next = loop_of(ws[0]);
		for (unsigned i = 1; i < n; i++)
			if (loop_of(ws[i])->turn_us < next->turn_us)
				next = loop_of(ws[i]);
		uint64_t at = next->turn_us;
		if (at > end_us)
			return false;
		for (unsigned i = 0; i < n; i++)
			if (loop_of(ws[i])->own_us < at)
				loop_of(ws[i])->own_us = at;
		next->turn_us = UINT64_MAX;
		turn(next);
	}
	return true;
}

/* ---- src/loop/worker.h ---- */

int worker_init(struct worker *w, unsigned no)
{
	struct sim_loop *l = MEM_NEW(struct sim_loop);
	*w = (struct worker){.no = no};
	w->due_end = &w->due;
	list_init(&w->hooks);
	w->read_buf = mem_alloc(WORKER_READ_SIZE);
	w->loop.data = l;
	l->worker = w;
	l->turn_us = UINT64_MAX;
	list_init(&l->timers);
	list_push_back(&loops, &l->link);
	clock_read(l);
	return 0;
}

void worker_stop(struct worker *w)
{
	w->stopping = true;
}

void worker_done(struct worker *w)
{
	while (worker_deliver(w))
		;
	while (w->spares > 0)
		buf_done(&w->spare[--w->spares]);
	mem_free(w->read_buf);
	loop_of(w)->worker = NULL;
}

void worker_hook(struct worker *w, struct turn_hook *h, bool (*run)(struct turn_hook *h))
{
	h->run = run;
	list_push_back(&w->hooks, &h->link);
}

void worker_wake(struct worker *w)
{
	struct sim_loop *l = loop_of(w);
	if (l->worker != NULL)
		turn_at(l, now_us(l) + (l->detached ? 0 : sim_random(sim) % WAKE_MAX_US));
}

void worker_post(struct worker *to, struct mail *m)
{
	m->next = NULL;
	*to->due_end = m;
	to->due_end = &m->next;
	worker_wake(to);
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

/* Turns take no time here. */
uint64_t worker_turn_ns(const struct worker *w)
{
	(void)w;
	return 0;
}

/* ---- src/loop/timer.h ---- */

struct timer *timer_new(struct worker *w, void (*fire)(void *arg), void *arg)
{
	struct timer *t = MEM_NEW(struct timer);
	*t = (struct timer){.loop = loop_of(w), .fire = fire, .arg = arg};
	list_init(&t->link);
	return t;
}

void timer_set(struct timer *t, uint64_t delay_ms)
{
	struct sim_loop *l = t->loop;
	list_remove(&t->link);
	t->at_us = now_us(l) + delay_ms * 1000;
	t->turn = turns + 1;
	list_push_back(&l->timers, &t->link);
	turn_at(l, t->at_us);
}

void timer_stop(struct timer *t)
{
	list_remove(&t->link);
}

void timer_free(struct timer *t)
{
	if (t == NULL)
		return;
	list_remove(&t->link);
	mem_free(t);
}

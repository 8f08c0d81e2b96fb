/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/pacer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { NS_PER_S = 1000000000 };

/* --- the heap --- */

static void put(struct pacer *p, size_t place, struct pacer_slot *s)
{
	p->heap[place - 1] = s;
	s->place = place;
}

static void sift_up(struct pacer *p, struct pacer_slot *s)
{
	size_t i = s->place;
	for (; i > 1 && p->heap[i / 2 - 1]->due_ns > s->due_ns; i /= 2)
		put(p, i, p->heap[i / 2 - 1]);
	put(p, i, s);
}

static void sift_down(struct pacer *p, struct pacer_slot *s)
{
	size_t i = s->place;
	for (;;) {
		size_t child = 2 * i;
		if (child > p->n)
			break;
		if (child < p->n && p->heap[child]->due_ns < p->heap[child - 1]->due_ns)
			child++;
		if (p->heap[child - 1]->due_ns >= s->due_ns)
			break;
		put(p, i, p->heap[child - 1]);
		i = child;
	}
	put(p, i, s);
}

static void heap_remove(struct pacer *p, struct pacer_slot *s)
{
	struct pacer_slot *last = p->heap[--p->n];
	if (last != s) {
		put(p, s->place, last);
		sift_up(p, last);
		sift_down(p, last);
	}
	s->place = 0;
}

static void heap_add(struct pacer *p, struct pacer_slot *s)
{
	if (p->n == p->cap) {
		p->cap = p->cap > 0 ? p->cap * 2 : 16;
		p->heap = mem_realloc(p->heap, p->cap * sizeof p->heap[0]);
	}
	put(p, ++p->n, s);
	sift_up(p, s);
}

/* --- the timer --- */

/* One system call per turn, however often the earliest due time has changed in it. */
static void on_arm(struct turn_job *job)
{
	struct pacer *p = LIST_ENTRY(job, struct pacer, arm);
	uint64_t next = p->n > 0 ? p->heap[0]->due_ns : UINT64_MAX;
	if (next == p->armed_ns || next == UINT64_MAX)
		return;
	p->armed_ns = next;
	struct itimerspec at = {.it_value = {(time_t)(next / NS_PER_S), (long)(next % NS_PER_S)}};
	timerfd_settime(p->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_timer(uv_poll_t *poll, int status, int events)
{
	(void)events;
	struct pacer *p = poll->data;
	uint64_t expirations;
	if (status != 0 || read(p->fd, &expirations, sizeof expirations) < 0)
		return;
	p->armed_ns = UINT64_MAX;
	uint64_t now = uv_hrtime();
	while (p->n > 0 && p->heap[0]->due_ns <= now) {
		struct pacer_slot *s = p->heap[0];
		heap_remove(p, s);
		s->due(s);
	}
	turn_flush_later(p->turn, &p->arm);
}

int pacer_init(struct pacer *p, struct turn *t)
{
	*p = (struct pacer){.turn = t, .armed_ns = UINT64_MAX};
	turn_job_init(&p->arm, on_arm);
	p->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->fd < 0)
		return uv_translate_sys_error(errno);
	uv_poll_init(&t->loop, &p->poll, p->fd);
	p->poll.data = p;
	return uv_poll_start(&p->poll, UV_READABLE, on_timer);
}

void pacer_done(struct pacer *p)
{
	turn_forget(&p->arm);
	uv_close((uv_handle_t *)&p->poll, NULL);
	close(p->fd);
	mem_free(p->heap);
}

void pacer_set(struct pacer *p, struct pacer_slot *s, uint64_t due_ns)
{
	pacer_clear(p, s);
	s->due_ns = due_ns;
	heap_add(p, s);
	turn_flush_later(p->turn, &p->arm);
}

void pacer_clear(struct pacer *p, struct pacer_slot *s)
{
	if (s->place != 0)
		heap_remove(p, s);
}

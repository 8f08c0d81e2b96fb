/* SPDX-License-Identifier: Apache-2.0
 *
 * Wakes whoever has something due, to the microsecond (libuv's timers only know milliseconds): a
 * heap of due times and one timerfd.
 */
#ifndef WARREN_PERF_PACER_H
#define WARREN_PERF_PACER_H

#include "src/perf/turn.h"

/* Embedded in whoever waits. */
struct pacer_slot {
	uint64_t due_ns;
	size_t place; /* in the heap, from 1; 0: not waiting */
	void (*due)(struct pacer_slot *s);
};

struct pacer {
	struct turn *turn;
	int fd;
	uv_poll_t poll;
	struct turn_job arm;
	uint64_t armed_ns; /* what the timer is set to; UINT64_MAX: nothing */
	struct pacer_slot **heap;
	size_t n;
	size_t cap;
};

/* 0 or a libuv error. */
int pacer_init(struct pacer *p, struct turn *t);
void pacer_done(struct pacer *p);

/* Calls s->due(s) once, at due_ns (uv_hrtime()) or soon after. */
void pacer_set(struct pacer *p, struct pacer_slot *s, uint64_t due_ns);
void pacer_clear(struct pacer *p, struct pacer_slot *s);

#endif

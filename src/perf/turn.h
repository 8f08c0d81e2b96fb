/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop, in turns: libuv runs what is ready; then, before it waits for more, the jobs of this
 * turn (producers that can go on) run once each, and after them everything that was written is
 * flushed: one write per socket and turn. While a job is waiting for the next turn, the loop does
 * not sleep.
 */
#ifndef WARREN_PERF_TURN_H
#define WARREN_PERF_TURN_H

#include <uv.h>

#include "src/base/list.h"

enum { TURN_READ_SIZE = 256 * 1024 };

/* Embedded in whoever has something to do. */
struct turn_job {
	struct list link;
	void (*run)(struct turn_job *j);
};

struct turn {
	uv_loop_t loop;
	uv_prepare_t prepare;
	uv_idle_t idle;
	struct list jobs;
	struct list flushes;
	uint8_t *read_buf; /* TURN_READ_SIZE octets for all sockets, valid within one callback */
	unsigned coalesce_us;
};

/* 0 or a libuv error. With coalesce_us the loop sleeps so long before it waits: fewer, larger
 * turns. */
int turn_init(struct turn *t, unsigned coalesce_us);
/* Closes the loop; every handle of others must have been closed (its callbacks run in here). */
void turn_done(struct turn *t);

static inline void turn_job_init(struct turn_job *j, void (*run)(struct turn_job *j))
{
	list_init(&j->link);
	j->run = run;
}

/* Runs it once, at the end of this turn or, called by a job, of the next one. Again: no effect. */
static inline void turn_schedule(struct turn *t, struct turn_job *j)
{
	if (list_empty(&j->link))
		list_push_back(&t->jobs, &j->link);
}

/* Runs it once, after this turn's jobs. */
static inline void turn_flush_later(struct turn *t, struct turn_job *j)
{
	if (list_empty(&j->link))
		list_push_back(&t->flushes, &j->link);
}

/* Neither of the two any more. */
static inline void turn_forget(struct turn_job *j)
{
	list_remove(&j->link);
}

#endif

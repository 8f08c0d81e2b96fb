/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/turn.h"

#include <unistd.h>

#include "src/base/mem.h"

static void run_jobs(struct turn *t)
{
	struct list now;
	list_init(&now);
	list_move_all(&now, &t->jobs);
	struct list *l;
	while ((l = list_pop(&now)) != NULL) {
		struct turn_job *j = LIST_ENTRY(l, struct turn_job, link);
		j->run(j);
	}
}

static void run_flushes(struct turn *t)
{
	struct list *l;
	while ((l = list_pop(&t->flushes)) != NULL) {
		struct turn_job *j = LIST_ENTRY(l, struct turn_job, link);
		j->run(j);
	}
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct turn *t = prepare->data;
	run_jobs(t);
	run_flushes(t);
	if (!list_empty(&t->jobs)) {
		uv_idle_start(&t->idle, on_idle);
		return;
	}
	uv_idle_stop(&t->idle);
	if (t->coalesce_us > 0)
		usleep(t->coalesce_us);
}

int turn_init(struct turn *t, unsigned coalesce_us)
{
	*t = (struct turn){.coalesce_us = coalesce_us};
	list_init(&t->jobs);
	list_init(&t->flushes);
	int rc = uv_loop_init(&t->loop);
	if (rc != 0)
		return rc;
	t->read_buf = mem_alloc(TURN_READ_SIZE);
	uv_idle_init(&t->loop, &t->idle);
	uv_prepare_init(&t->loop, &t->prepare);
	t->prepare.data = t;
	uv_prepare_start(&t->prepare, on_prepare);
	return 0;
}

void turn_done(struct turn *t)
{
	uv_close((uv_handle_t *)&t->idle, NULL);
	uv_close((uv_handle_t *)&t->prepare, NULL);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	uv_loop_close(&t->loop);
	mem_free(t->read_buf);
}

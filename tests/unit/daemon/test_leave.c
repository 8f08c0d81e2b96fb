/* SPDX-License-Identifier: Apache-2.0
 *
 * How the workers of an app that goes down take leave of each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/daemon/config.h"
#include "src/daemon/node.h"
#include "src/daemon/shard.h"

/* A node of several workers without threads. */
enum { WORKERS = 3 };

struct leaving {
	struct node node;
	struct config config;
	struct shard shards[WORKERS];
	bool closed;
};

static void leaving_init(struct leaving *l)
{
	*l = (struct leaving){.config = {.cluster_heartbeat_ms = 1000, .cluster_timeout_ms = 20000}};
	l->node = (struct node){
		.config = &l->config, .name = "warren@test", .shards = l->shards, .n_shards = WORKERS};
	for (unsigned i = 0; i < WORKERS; i++) {
		shard_init(&l->shards[i], &l->node, i);
		shard_start_clock(&l->shards[i]);
	}
}

static void leaving_turn(struct shard *s)
{
	uv_run(&s->worker.loop, UV_RUN_NOWAIT);
}

static void on_links_closed(void *arg)
{
	((struct leaving *)arg)->closed = true;
}

static void leaving_done(struct leaving *l)
{
	links_close(l->node.links, on_links_closed, l);
	while (!l->closed)
		uv_run(&l->shards[0].worker.loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct shard *s = &l->shards[i];
		timer_free(s->tick);
		timer_free(s->seek);
		timer_free(s->clock);
		timer_free(s->pace);
		worker_stop(&s->worker);
		worker_done(&s->worker);
		link_port_free(s->links);
	}
	links_free(l->node.links);
}

static bool has_mail(struct shard *s)
{
	return atomic_load(&s->worker.mailbox) != NULL;
}

/* What was delivered before may have something to post at the end of the turn. */
static void who_takes_leave_says_so_after_its_turn(void **state)
{
	(void)state;
	struct leaving l;
	leaving_init(&l);
	shard_leave(&l.shards[1]);
	assert_false(has_mail(&l.shards[0]));
	leaving_turn(&l.shards[1]);
	assert_true(has_mail(&l.shards[0]));
	leaving_done(&l);
}

static void who_takes_leave_looks_for_no_leaders(void **state)
{
	(void)state;
	struct leaving l;
	leaving_init(&l);
	timer_set(l.shards[1].seek, 1); /* would find that nothing is open */
	shard_leave(&l.shards[1]);
	uint64_t begin = uv_hrtime();
	while (uv_hrtime() - begin < 20 * 1000000)
		leaving_turn(&l.shards[1]);
	leaving_done(&l);
}

/* All have looked at their mail; one of them had something to do. Another round begins. */
static void assert_goes_on(struct leaving *l, bool worked)
{
	unsigned before = l->node.app.rounds;
	for (unsigned i = 0; i < WORKERS; i++)
		app_shard_reached(&l->node, &l->shards[i], APP_STEP_LEFT, worked && i == 1);
	worker_deliver(&l->shards[0].worker);
	assert_int_equal(l->node.app.rounds, before + 1);
}

/* What was posted in a round may be answered in the next one, and that in the one behind it. */
static void leave_is_taken_when_nobody_has_done_anything_for_some_rounds(void **state)
{
	(void)state;
	struct leaving l;
	leaving_init(&l);
	assert_goes_on(&l, false);
	assert_goes_on(&l, false);
	assert_goes_on(&l, true);
	assert_goes_on(&l, false);
	assert_goes_on(&l, false);
	leaving_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_takes_leave_says_so_after_its_turn),
		cmocka_unit_test(who_takes_leave_looks_for_no_leaders),
		cmocka_unit_test(leave_is_taken_when_nobody_has_done_anything_for_some_rounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

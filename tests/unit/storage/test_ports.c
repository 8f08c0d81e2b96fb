/* SPDX-License-Identifier: Apache-2.0
 *
 * Several workers at once, each with its port and its groups; run it under the thread sanitizer.
 */
#include "tests/unit/storage/rig.h"

#include <stdatomic.h>

#include "src/base/mem.h"

enum { WORKERS = 3, GROUPS = 8, TURNS = 200, PER_APPEND = 3, BYTES = 700 };

/* A rig whose port belongs to a thread of its own, on the store of another. */
struct worker {
	struct rig rig;
	unsigned no;
	pthread_t thread;
	unsigned wakes;
};

static uint64_t group_of(const struct worker *w, unsigned g)
{
	return w->no * 1000 + g;
}

static void wake(void *arg)
{
	struct worker *w = arg;
	pthread_mutex_lock(&w->rig.lock);
	w->wakes++;
	pthread_cond_signal(&w->rig.woken);
	pthread_mutex_unlock(&w->rig.lock);
}

/* One turn: all groups append, some take snapshots and let go of what they kept. */
static void turn(struct worker *w, struct store_log **logs, unsigned t)
{
	struct rig_req q[GROUPS];
	for (unsigned g = 0; g < GROUPS; g++)
		append_submit(logs[g], &q[g], 1 + t * PER_APPEND, PER_APPEND, 1, BYTES);
	for (unsigned g = 0; g < GROUPS; g++)
		rig_wait(&w->rig, &q[g]);
	unsigned g = t % GROUPS;
	uint64_t last = (t + 1) * PER_APPEND;
	const struct store_range live = {last, last};
	do_snapshot(&w->rig, logs[g], last, 1, &live, 1);
	assert_true(has_entry(logs[g], last, 1, BYTES));
	store_log_release(logs[g], last);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct store_log *logs[GROUPS];
	store_port_init(&w->rig.port, w->rig.store, wake, w);
	for (unsigned g = 0; g < GROUPS; g++)
		logs[g] = store_log_open(&w->rig.port, group_of(w, g));
	for (unsigned t = 0; t < TURNS; t++) {
		turn(w, logs, t);
		if (t % 50 != 49)
			continue;
		store_log_close(logs[t / 50]); /* and open again: nothing is lost in between */
		logs[t / 50] = store_log_open(&w->rig.port, group_of(w, t / 50));
	}
	for (unsigned g = 0; g < GROUPS; g++)
		store_log_close(logs[g]);
	store_port_done(&w->rig.port);
	return NULL;
}

static void check_worker(struct rig *r, const struct worker *w)
{
	for (unsigned g = 0; g < GROUPS; g++) {
		struct store_log *log = rig_log(r, group_of(w, g));
		struct store_load load;
		assert_int_equal(store_log_load(log, &load), 0);
		assert_int_equal(load.snapshot_index + load.n_entries, TURNS * PER_APPEND);
		for (size_t i = 0; i < load.n_entries; i++)
			assert_true(entry_is(load.entries[i].p, BYTES, log->group, load.first + i, 1));
		store_load_done(&load);
		store_log_close(log);
	}
}

static void workers_share_a_store(void **state)
{
	(void)state;
	struct rig r;
	struct worker workers[WORKERS];
	struct store_stats stats;
	rig_init_disk(&r);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];
		rig_init_memory(&w->rig);
		store_port_done(&w->rig.port);
		w->rig.store = r.store;
		w->no = i;
		w->wakes = 0;
		pthread_create(&w->thread, NULL, work, w);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		store_stats(r.store, &stats);
		pthread_join(workers[i].thread, NULL);
		/* a wake-up is per commit and port, not per request */
		assert_true(workers[i].wakes <= TURNS * (GROUPS + 1));
	}
	store_stats(r.store, &stats);
	assert_int_equal(stats.groups, WORKERS * GROUPS);
	rig_reopen(&r);
	for (unsigned i = 0; i < WORKERS; i++)
		check_worker(&r, &workers[i]);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_cond_destroy(&workers[i].rig.woken);
		pthread_mutex_destroy(&workers[i].rig.lock);
	}
	rig_done(&r);
}

static void memory_and_disk_logs_share_a_port(void **state)
{
	(void)state;
	struct rig r;
	struct rig_req a, b;
	rig_init_disk(&r);
	struct store_log *disk = rig_log(&r, 1), *memory = memory_log_open(&r.port, 2);
	append_submit(disk, &a, 1, 2, 1, 100);
	append_submit(memory, &b, 1, 2, 1, 100);
	assert_true(store_port_ready(&r.port));
	assert_int_equal(store_port_poll(&r.port), 1);
	assert_true(b.done && !a.done);
	rig_wait(&r, &a);
	assert_true(has_entry(disk, 2, 1, 100) && has_entry(memory, 2, 1, 100));
	store_log_close(disk);
	store_log_close(memory);
	rig_done(&r);
}

/* Whether an append was carried out by this thread. */
static bool is_written_here(struct rig *r, struct store_log *log, uint64_t index)
{
	struct rig_req q;
	unsigned wakes = r->wakes;
	append_submit(log, &q, index, 1, 1, 100);
	store_port_write(&r->port);
	bool here = store_port_ready(&r->port);
	rig_wait(r, &q);
	pthread_mutex_lock(&r->lock);
	here &= r->wakes == wakes;
	pthread_mutex_unlock(&r->lock);
	return here;
}

struct lone {
	struct rig *rig;
	struct store_log *log;
	uint64_t last;
};

static bool is_written_here_at_last(void *arg)
{
	struct lone *l = arg;
	return is_written_here(l->rig, l->log, ++l->last);
}

/* The disk has to be quick for that, and the writer asleep, so not each is. */
static void a_lone_request_wakes_nobody(void **state)
{
	(void)state;
	struct rig r;
	rig_in_memory();
	rig_init_disk(&r);
	struct lone l = {&r, rig_log(&r, 1), 0};
	wait_until(is_written_here_at_last, &l);
	check_load(l.log, 0, 0, 0, l.last, 100);
	store_log_close(l.log);
	rig_reopen(&r);
	l.log = rig_log(&r, 1);
	check_load(l.log, 0, 0, 0, l.last, 100);
	store_log_close(l.log);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

static bool is_committed(void *arg)
{
	struct lone *l = arg;
	struct store_stats stats;
	store_stats(l->rig->store, &stats);
	return stats.commits > l->last;
}

/* The writer sleeps for ever when nothing was asked; then it has a round to end all the same. */
static void the_writer_ends_a_round_that_others_filled(void **state)
{
	(void)state;
	struct rig r;
	struct store_stats stats;
	rig_in_memory();
	rig_init_disk(&r);
	struct lone l = {&r, rig_log(&r, 1), 0};
	wait_until(is_written_here_at_last, &l);
	store_stats(r.store, &stats);
	l.last = stats.commits;
	wait_until(is_committed, &l);
	store_log_close(l.log);
	rig_done(&r);
}

static void many_requests_are_handed_over(void **state)
{
	(void)state;
	struct rig r;
	struct rig_req a, b;
	rig_in_memory();
	rig_init_disk(&r);
	struct store_log *one = rig_log(&r, 1), *two = rig_log(&r, 2);
	struct lone l = {&r, one, 0};
	wait_until(is_written_here_at_last, &l);
	unsigned wakes = r.wakes;
	append_submit(one, &a, l.last + 1, 1, 1, 100);
	append_submit(two, &b, 1, 1, 1, 100);
	store_port_write(&r.port);
	rig_wait(&r, &a);
	rig_wait(&r, &b);
	pthread_mutex_lock(&r.lock);
	assert_true(r.wakes > wakes);
	pthread_mutex_unlock(&r.lock);
	store_log_close(one);
	store_log_close(two);
	rig_done(&r);
}

enum { IN_ORDER = 2 };

struct in_order {
	struct store_req req;
	unsigned *n; /* done so far */
	unsigned no;
};

static void finished_in_order(struct store_req *req)
{
	struct in_order *q = LIST_ENTRY(req, struct in_order, req);
	assert_int_equal((*q->n)++, q->no);
}

static void append_in_order(struct store_log *log, struct in_order *q, unsigned no, unsigned *n, uint64_t index)
{
	struct blob *blob = blob_new(100);
	struct store_entry e = {.term = 1, .type = (uint16_t)index, .blob = blob, .p = blob->data, .n = 100};
	entry_fill(blob->data, 100, log->group, index, 1);
	*q = (struct in_order){.n = n, .no = no, .req.done = finished_in_order};
	store_log_append(log, &q->req, index, &e, 1);
	blob_unref(blob);
}

/* A log that is closed hands over what the port has: nobody has asked yet what this thread has written. */
static void what_is_written_here_comes_back_first(void **state)
{
	(void)state;
	struct rig r;
	struct in_order q[IN_ORDER];
	unsigned n = 0;
	rig_in_memory();
	rig_init_disk(&r);
	struct lone l = {&r, rig_log(&r, 1), 0};
	wait_until(is_written_here_at_last, &l);
	pthread_mutex_lock(&r.lock);
	unsigned wakes = r.wakes;
	pthread_mutex_unlock(&r.lock);
	append_in_order(l.log, &q[0], 0, &n, l.last + 1);
	store_port_write(&r.port);
	append_in_order(l.log, &q[1], 1, &n, l.last + 2);
	store_log_close(rig_log(&r, 2));
	pthread_mutex_lock(&r.lock);
	while (r.wakes == wakes)
		pthread_cond_wait(&r.woken, &r.lock);
	pthread_mutex_unlock(&r.lock);
	while (n < IN_ORDER)
		rig_poll(&r);
	store_log_close(l.log);
	rig_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workers_share_a_store),
		cmocka_unit_test(memory_and_disk_logs_share_a_port),
		cmocka_unit_test(a_lone_request_wakes_nobody),
		cmocka_unit_test(the_writer_ends_a_round_that_others_filled),
		cmocka_unit_test(many_requests_are_handed_over),
		cmocka_unit_test(what_is_written_here_comes_back_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

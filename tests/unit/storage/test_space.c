/* SPDX-License-Identifier: Apache-2.0
 *
 * Disk use follows what lives: deletion, cleaning, giving free pages back.
 */
#include "tests/unit/storage/rig.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "storage/env.h"
#include "storage/reclaim.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static int set_up(void **state)
{
	struct rig *r = MEM_NEW(struct rig);
	rig_init_disk(r);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	if (r->store != NULL)
		rig_close(r);
	assert_int_equal(rig_check(r), 0);
	rig_done(r);
	mem_free(r);
	return 0;
}

static struct store_stats stats_of(struct rig *r)
{
	struct store_stats s;
	store_stats(r->store, &s);
	return s;
}

static bool no_record_left(void *arg)
{
	return stats_of(arg).records == 0;
}

static void a_record_goes_when_its_last_entry_is_released(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	const struct store_range live[] = {{1, 10}};
	do_append(r, log, 1, 10, 1, 100);
	do_snapshot(r, log, 10, 1, live, 1);
	for (uint64_t i = 1; i <= 10; i++) {
		assert_int_equal(stats_of(r).records, 1);
		store_log_release(log, i);
		store_port_flush(&r->port);
	}
	wait_until(no_record_left, r); /* nothing else is going on: it is deleted after a moment */
	assert_int_equal(stats_of(r).live_bytes, 0);
	assert_int_equal(stats_of(r).record_bytes, 0);
	store_log_close(log);
}

static void a_release_costs_no_commit_of_its_own(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	const struct store_range live[] = {{1, 100}};
	do_append(r, log, 1, 100, 1, 10);
	do_snapshot(r, log, 100, 1, live, 1);
	uint64_t before = stats_of(r).commits;
	for (uint64_t i = 1; i < 100; i++) {
		store_log_release(log, i);
		store_port_flush(&r->port);
	}
	do_hard(r, log, 1, 1);
	assert_int_equal(stats_of(r).commits, before + 1);
	assert_int_equal(stats_of(r).entries, 1);
	store_log_close(log);
}

static bool is_clean(void *arg)
{
	struct store_stats s = stats_of(arg);
	return s.record_bytes <= 2 * s.live_bytes + 17 * MIB;
}

/* In each record of 63 entries two are needed: together more than one portion of cleaning. */
static void sparse_ranges(struct store_range *live, unsigned records)
{
	for (unsigned i = 0; i < records; i++) {
		uint64_t first = 1 + (uint64_t)i * 63;
		live[2 * i] = (struct store_range){first + 5, first + 5};
		live[2 * i + 1] = (struct store_range){first + 40, first + 40};
	}
}

static void fill_sparsely(struct rig *r, struct store_log *log, unsigned records)
{
	struct store_range *live = mem_alloc(2 * records * sizeof *live);
	sparse_ranges(live, records);
	for (unsigned i = 0; i < records; i++)
		do_append(r, log, 1 + (uint64_t)i * 63, 63, 1, KIB);
	do_snapshot(r, log, (uint64_t)records * 63, 1, live, 2 * records);
	mem_free(live);
}

static void check_sparse(struct store_log *log, unsigned records)
{
	for (unsigned i = 0; i < records; i++) {
		assert_true(has_entry(log, 1 + (uint64_t)i * 63 + 5, 1, KIB));
		assert_false(has_entry(log, 1 + (uint64_t)i * 63 + 6, 1, KIB));
		assert_true(has_entry(log, 1 + (uint64_t)i * 63 + 40, 1, KIB));
	}
}

static void cleaning_brings_scattered_entries_together(void **state)
{
	struct rig *r = *state;
	enum { RECORDS = 800 };
	struct store_log *log = rig_log(r, 1);
	fill_sparsely(r, log, RECORDS);
	/* So that copies of old entries lie behind newer entries. */
	do_append(r, log, RECORDS * 63 + 1, 10, 1, KIB);
	wait_until(is_clean, r);
	assert_true(stats_of(r).cleaned_bytes > 0);
	check_sparse(log, RECORDS);
	store_log_close(log);
	rig_reopen(r);
	log = rig_log(r, 1);
	check_load(log, 0, 0, RECORDS * 63, RECORDS * 63 + 10, KIB);
	struct store_range live[2 * RECORDS];
	sparse_ranges(live, RECORDS);
	store_log_retain(log, live, 2 * RECORDS);
	do_hard(r, log, 2, 0);
	assert_int_equal(stats_of(r).entries, 2 * RECORDS + 10);
	check_sparse(log, RECORDS);
	store_log_close(log);
}

struct fetcher {
	struct rig *rig;
	_Atomic bool stop;
	unsigned records;
	unsigned rounds;
};

static void fetcher_wake(void *arg)
{
	(void)arg;
}

/* Its own port and log: the group's only open log while it runs. */
static void *fetcher_main(void *arg)
{
	struct fetcher *f = arg;
	struct store_port port;
	store_port_init(&port, f->rig->store, fetcher_wake, NULL);
	struct store_log *log = store_log_open(&port, 1);
	do {
		check_sparse(log, f->records);
		f->rounds++;
	} while (!atomic_load(&f->stop));
	store_log_close(log);
	store_port_done(&port);
	return NULL;
}

static void entries_are_found_while_they_are_moved(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	struct fetcher f = {.rig = r, .records = 1500};
	pthread_t thread;
	fill_sparsely(r, log, f.records);
	store_log_close(log);
	pthread_create(&thread, NULL, fetcher_main, &f);
	/* Other groups' commits go on, and the cleaner with them. */
	log = rig_log(r, 2);
	for (uint64_t i = 1; !is_clean(r) || i < 200; i++)
		do_append(r, log, i, 1, 1, KIB);
	atomic_store(&f.stop, true);
	pthread_join(thread, NULL);
	assert_true(stats_of(r).cleaned_bytes > 0);
	assert_true(f.rounds > 0);
	store_log_close(log);
}

static bool has_shrunk(void *arg)
{
	return stats_of(arg).file_bytes < 20 * MIB;
}

static void fill(struct rig *r, struct store_log *log, uint64_t first, unsigned mib, size_t bytes)
{
	unsigned per_append = MIB / (unsigned)bytes;
	for (unsigned i = 0; i < mib; i++)
		do_append(r, log, first + (uint64_t)i * per_append, per_append, 1, bytes);
}

static void free_pages_go_back_to_the_file_system(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	struct store_log *other = rig_log(r, 2);
	uint64_t n = 200 * (MIB / (16 * KIB));
	fill(r, log, 1, 200, 16 * KIB);
	do_append(r, other, 1, 10, 1, 5000);
	assert_true(stats_of(r).file_bytes > 200 * MIB);
	const struct store_range all = {1, n};
	do_snapshot(r, log, n, 1, &all, 1);
	for (uint64_t i = 1; i <= n; i++)
		store_log_release(log, i);
	store_port_flush(&r->port);
	wait_until(has_shrunk, r);
	check_load(other, 0, 0, 0, 10, 5000);
	/* The store works on in the holes. */
	fill(r, log, n + 1, 100, 16 * KIB);
	do_append(r, other, 11, 10, 1, 5000);
	store_log_close(log);
	store_log_close(other);
	rig_close(r);
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
	other = rig_log(r, 2);
	check_load(other, 0, 0, 0, 20, 5000);
	log = rig_log(r, 1);
	check_load(log, 0, 0, n, n + 100 * (MIB / (16 * KIB)), 16 * KIB);
	do_snapshot(r, log, n + 100 * (MIB / (16 * KIB)), 1, NULL, 0);
	wait_until(has_shrunk, r);
	store_log_close(log);
	store_log_close(other);
}

static void small_records_give_their_pages_back_too(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	/* One commit each, so that records lie in leaf pages, several to a page. */
	for (uint64_t i = 1; i <= 3000; i++)
		do_append(r, log, i, 1, 1, 1000);
	fill(r, log, 3001, 100, KIB);
	do_snapshot(r, log, 3000 + 100 * 1024, 1, NULL, 0);
	wait_until(has_shrunk, r);
	store_log_close(log);
}

/* ---- the pace at which pages are given back, in steps of a made up clock ---- */

enum { FREED_MIB = 160, PAUSE_MS = 100, PRESSED_MS = 20 };

static void commit_values(struct env *env, bool put)
{
	MDB_txn *txn;
	assert_int_equal(mdb_txn_begin(env->mdb, NULL, 0, &txn), 0);
	for (uint64_t i = 1; i <= FREED_MIB; i++) {
		MDB_val key = env_key(&i);
		MDB_val val = {.mv_size = MIB};
		if (put)
			assert_int_equal(mdb_put(txn, env->log, &key, &val, MDB_RESERVE | MDB_APPEND), 0);
		else
			assert_int_equal(mdb_del(txn, env->log, &key, NULL), 0);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void commit_nothing(struct env *env)
{
	MDB_txn *txn;
	assert_int_equal(mdb_txn_begin(env->mdb, NULL, 0, &txn), 0);
	assert_int_equal(env_put_meta(env, txn, env->generation), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static uint64_t given_back_by(struct reclaim *r, bool pressed, uint64_t now_ms)
{
	struct stat before, after;
	assert_int_equal(fstat(r->fd, &before), 0);
	reclaim_step(r, 0, pressed, now_ms * 1000000);
	assert_int_equal(fstat(r->fd, &after), 0);
	return (uint64_t)(before.st_blocks - after.st_blocks) * 512;
}

static void free_pages_go_back_little_by_little(void **state)
{
	struct rig *rig = *state;
	struct env env;
	struct reclaim r;
	char text[256];
	rig_close(rig);
	struct env_text err = {.p = text, .n = sizeof text};
	assert_int_equal(env_open(&env, rig->dir, NULL, ENV_WRITE, err), 0);
	commit_values(&env, true);
	commit_values(&env, false);
	commit_nothing(&env);
	commit_nothing(&env);
	reclaim_init(&r, &env);
	uint64_t now = 1000, all = 0;
	reclaim_step(&r, 0, false, now * 1000000); /* opens the file, too */
	while (r.active) {
		assert_int_equal(given_back_by(&r, false, now + PAUSE_MS - 1), 0);
		now += PAUSE_MS;
		uint64_t n = given_back_by(&r, false, now);
		assert_true(n <= 17 * MIB);
		all += n;
	}
	assert_true(all >= (FREED_MIB - 32) * MIB);
	commit_values(&env, true);
	commit_values(&env, false);
	commit_nothing(&env);
	commit_nothing(&env);
	given_back_by(&r, true, now + 1000);
	assert_int_equal(r.next_ns, (now + 1000 + PRESSED_MS) * 1000000);
	reclaim_done(&r);
	env_close(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_record_goes_when_its_last_entry_is_released, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_release_costs_no_commit_of_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cleaning_brings_scattered_entries_together, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(entries_are_found_while_they_are_moved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(free_pages_go_back_to_the_file_system, set_up, tear_down),
		cmocka_unit_test_setup_teardown(small_records_give_their_pages_back_too, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(free_pages_go_back_little_by_little, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

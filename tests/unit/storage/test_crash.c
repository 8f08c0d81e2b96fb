/* SPDX-License-Identifier: Apache-2.0
 *
 * Crashes at every moment: the files as they would be on the disk just before each write and sync of
 * LMDB's and the journal's (and each of our holes) are opened. They must hold exactly what a prefix
 * of the requests left, at least all that was reported done, and pass the check.
 */
#include "tests/unit/storage/fake_disk.h"
#include "tests/unit/storage/rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { GROUPS = 3, STEPS = 120, ENTRIES_MAX = 400 };

/* What loading a group must give. */
struct image {
	uint64_t term, snapshot, last;
	uint64_t terms[ENTRIES_MAX]; /* by index; above the snapshot */
	bool exists;
};

struct moment {
	struct image groups[GROUPS];
};

static struct moment moments[STEPS + 1]; /* after each request */
static _Atomic uint64_t acknowledged;    /* requests done */

/* Several commits, of which only the last one shows. */
static struct store_log *do_staged(struct rig *r, struct store_log *log, uint64_t index,
	unsigned step)
{
	struct store_log *staged = store_log_stage(log);
	do_append(r, staged, 1, 1, 1, 5000);
	do_append(r, staged, index - 1, 1, 1, 70000);
	if (step % 2 == 0) { /* given up, and begun again */
		do_drop(r, staged);
		do_append(r, staged, 2, 1, 1, 3000);
	}
	do_switch(r, log, staged, index, 1);
	return staged;
}

/* The same each time, but with everything in it. */
static void request(struct rig *r, struct store_log **of_group, struct image *m, unsigned step)
{
	struct store_log *log = *of_group;
	uint64_t term = step + 1;
	m->exists = true;
	if (step % 11 == 7 && m->last > m->snapshot) {
		m->last = m->snapshot + (m->last - m->snapshot) / 2;
		do_truncate(r, log, m->last + 1);
	} else if (step % 13 == 9) {
		m->snapshot = m->snapshot + (m->last - m->snapshot) * 2 / 3;
		do_snapshot(r, log, m->snapshot, 1, NULL, 0);
	} else if (step % 29 == 20) {
		m->snapshot = m->last = m->last + 3;
		*of_group = do_staged(r, log, m->snapshot, step);
	} else if (step % 7 == 3) {
		m->term = term;
		do_hard(r, log, term, 0);
	} else if (step % 37 == 30) {
		do_drop(r, log);
		memset(m, 0, sizeof *m);
	} else {
		unsigned n = 1 + step % 5;
		uint64_t first = m->last + 1;
		if (step % 9 == 5 && m->last > m->snapshot)
			first = m->last; /* over the last one */
		for (unsigned i = 0; i < n; i++)
			m->terms[first + i] = term;
		m->last = first + n - 1;
		do_append(r, log, first, n, term, 300 + step * 97 % 9000);
	}
}

static void work(struct rig *r)
{
	struct store_log *logs[GROUPS];
	memset(moments, 0, sizeof moments);
	for (unsigned g = 0; g < GROUPS; g++)
		logs[g] = rig_log(r, g);
	for (unsigned i = 0; i < STEPS; i++) {
		moments[i + 1] = moments[i];
		request(r, &logs[i % GROUPS], &moments[i + 1].groups[i % GROUPS], i);
		atomic_store(&acknowledged, i + 1);
	}
	for (unsigned g = 0; g < GROUPS; g++)
		store_log_close(logs[g]);
}

static bool group_is(struct rig *r, uint64_t group, const struct image *want)
{
	struct store_log *log = rig_log(r, group);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	bool same = load.exists == want->exists && load.term == want->term &&
		load.snapshot_index == want->snapshot && load.n_entries == want->last - want->snapshot;
	for (size_t i = 0; same && i < load.n_entries; i++)
		same = load.entries[i].term == want->terms[load.first + i];
	store_load_done(&load);
	store_log_close(log);
	return same;
}

static bool store_is(struct rig *r, const struct moment *want)
{
	for (unsigned g = 0; g < GROUPS; g++)
		if (!group_is(r, g, &want->groups[g]))
			return false;
	return true;
}

/* A rig whose store is closed, for files that crashes left. */
static void rig_init_empty(struct rig *r)
{
	rig_init_disk(r);
	rig_close(r);
}

static bool is_prefix(struct rig *r, uint64_t done)
{
	return store_is(r, &moments[done]) || (done < STEPS && store_is(r, &moments[done + 1]));
}

static void crash_before(struct rig *after, size_t at, uint64_t random)
{
	uint64_t done = fake_disk_mark(at);
	fake_disk_crash(at, after->dir, random);
	assert_int_equal(rig_check(after), 0);
	rig_open(after);
	if (!is_prefix(after, done))
		fail_msg("crash before event %zu, %u requests done", at, (unsigned)done);
	rig_close(after);
	if (random == 0)
		return;
	/* What the start took from the journal is now where it belongs. */
	assert_int_equal(rig_check(after), 0);
	rig_open(after);
	if (!is_prefix(after, done))
		fail_msg("end after crash before event %zu, %u requests done", at, (unsigned)done);
	rig_close(after);
}

static void every_crash_leaves_a_prefix(void **state)
{
	(void)state;
	struct rig r, after;
	rig_init_disk(&r);
	rig_init_empty(&after);
	atomic_store(&acknowledged, 0);
	fake_disk_record(r.dir, &acknowledged);
	work(&r);
	rig_close(&r);
	size_t n = fake_disk_stop();
	/* Both ways of becoming durable are well trodden. */
	assert_true(fake_disk_journal_writes() > STEPS / 2);
	assert_true(n > 2 * fake_disk_journal_writes() + STEPS / 2);
	for (size_t at = 0; at < n; at++) {
		if (!fake_disk_is_synced(at))
			crash_before(&after, at, 0);
		crash_before(&after, at, at * 977 + 1);
	}
	fake_disk_forget();
	rig_done(&after);
	rig_done(&r);
}

static bool is_small(void *arg)
{
	struct rig *r = arg;
	struct store_stats s;
	store_stats(r->store, &s);
	return s.file_bytes < 24 << 20;
}

/* Fills, empties, and goes on with small requests while free pages are punched. */
static uint64_t work_with_holes(struct rig *r)
{
	enum { BIG = 64 << 10, BIG_N = 90 << 4 };
	struct store_log *big = rig_log(r, 1), *small = rig_log(r, 2);
	uint64_t i = 0;
	for (uint64_t first = 1; first < BIG_N; first += 16)
		do_append(r, big, first, 16, 1, BIG);
	do_snapshot(r, big, BIG_N, 1, NULL, 0);
	while (!is_small(r) || i < 50) {
		do_append(r, small, i + 1, 1, 1, 2000);
		atomic_store(&acknowledged, ++i);
		if (i > 200)
			usleep(10000);
	}
	store_log_close(big);
	store_log_close(small);
	return i;
}

static void check_after_hole(struct rig *after, uint64_t done)
{
	assert_int_equal(rig_check(after), 0);
	rig_open(after);
	struct store_log *log = rig_log(after, 2);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_true(load.n_entries == done || load.n_entries == done + 1);
	store_load_done(&load);
	/* And it can be written again. */
	do_append(after, log, 1, 100, 9, 5000);
	check_load(log, 0, 0, 0, 100, 5000);
	store_log_close(log);
	rig_close(after);
	assert_int_equal(rig_check(after), 0);
}

static void crashes_around_holes_lose_nothing(void **state)
{
	(void)state;
	struct rig r, after;
	unsigned holes = 0;
	rig_init_disk(&r);
	rig_init_empty(&after);
	atomic_store(&acknowledged, 0);
	fake_disk_record(r.dir, &acknowledged);
	work_with_holes(&r);
	rig_close(&r);
	size_t n = fake_disk_stop(), first = 0;
	while (first < n && !fake_disk_is_hole(first))
		first++;
	for (size_t at = first; at < n; at++)
		holes += fake_disk_is_hole(at);
	assert_true(holes > 0);
	for (unsigned i = 0; i < 12; i++) {
		size_t at = first + (n - first) * i / 12;
		fake_disk_crash(at, after.dir, at);
		check_after_hole(&after, fake_disk_mark(at));
	}
	fake_disk_forget();
	rig_done(&after);
	rig_done(&r);
}

int main(void)
{
	rig_in_memory();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_crash_leaves_a_prefix),
		cmocka_unit_test(crashes_around_holes_lose_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

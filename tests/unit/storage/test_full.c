/* SPDX-License-Identifier: Apache-2.0
 *
 * Disks that take no more, and disks that fail.
 */
#include "tests/unit/storage/fake_disk.h"
#include "tests/unit/storage/rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/log.h"

static bool is_blocked(void *arg)
{
	return store_blocked(((struct rig *)arg)->store);
}

static bool failed_twice(void *arg)
{
	return fake_disk_failed() >= *(unsigned *)arg + 2;
}

static void requests_wait_until_there_is_space(enum disk_fault fault)
{
	struct rig r;
	struct rig_req a, b;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1), *other = rig_log(&r, 2);
	do_append(&r, log, 1, 10, 1, 1000);
	fake_disk_set(fault);
	unsigned failed = fake_disk_failed();
	append_submit(log, &a, 11, 10, 1, 20000);
	store_port_flush(&r.port);
	wait_until(is_blocked, &r);
	append_submit(other, &b, 1, 10, 1, 1000); /* waits behind it */
	store_port_flush(&r.port);
	wait_until(failed_twice, &failed);
	assert_false(store_port_ready(&r.port));
	assert_true(has_entry(log, 10, 1, 1000)); /* reading goes on */
	fake_disk_set(DISK_WORKS);
	rig_wait(&r, &a);
	rig_wait(&r, &b);
	assert_false(store_blocked(r.store));
	assert_true(has_entry(log, 11, 1, 20000));
	check_load(other, 0, 0, 0, 10, 1000);
	store_log_close(log);
	store_log_close(other);
	rig_reopen(&r);
	other = rig_log(&r, 2);
	check_load(other, 0, 0, 0, 10, 1000);
	store_log_close(other);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

static void a_full_disk_is_waited_out(void **state)
{
	(void)state;
	requests_wait_until_there_is_space(DISK_FULL);
}

static void a_write_that_comes_out_short_is_a_full_disk(void **state)
{
	(void)state;
	requests_wait_until_there_is_space(DISK_NEARLY);
}

static bool is_not_blocked(void *arg)
{
	return !is_blocked(arg);
}

static void the_reserve_lets_requests_through_while_blocked(void **state)
{
	(void)state;
	struct rig r;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	do_append(&r, log, 1, 10, 1, 1000);
	assert_false(store_blocked(r.store));
	fake_disk_set(DISK_TIGHT);
	do_append(&r, log, 11, 100, 1, 1000); /* more than the journal takes at a time */
	assert_true(store_blocked(r.store));
	do_append(&r, log, 111, 10, 1, 1000);
	assert_true(store_blocked(r.store));
	fake_disk_set(DISK_WORKS);
	wait_until(is_not_blocked, &r); /* by itself */
	check_load(log, 0, 0, 0, 120, 1000);
	store_log_close(log);
	rig_done(&r);
}

static void on_store_news(void *arg)
{
	atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

static bool holds_reserve(const struct rig *r)
{
	struct stat st;
	char path[128];
	snprintf(path, sizeof path, "%s/reserve", r->dir);
	return stat(path, &st) == 0 && st.st_blocks * 512LL >= 16 << 20;
}

/* Messages of 64 KiB, 1 MiB at a time and 4 MiB at once, and little ones that the journal takes
 * between them, until the store says that the disk is nearly full; then what was under way. Returns
 * the last index. */
static uint64_t publish_until_blocked(struct rig *r, struct store_log *log, uint64_t last,
	struct store_log *other, uint64_t *other_last)
{
	bool more;
	do {
		struct rig_req q[4];
		more = !store_blocked(r->store);
		for (unsigned i = 0; i < 4; i++, last += 16)
			append_submit(log, &q[i], last + 1, 16, 1, 65536);
		for (unsigned i = 0; i < 4; i++)
			rig_wait(r, &q[i]);
		do_append(r, other, ++*other_last, 1, 1, 1000);
	} while (more);
	return last;
}

/* A node whose publishers are held when the store says so never stands still: what they had sent by
 * then fits, and so does what makes room. */
static void held_in_time_publishers_leave_room_for_acknowledgements(void **state)
{
	(void)state;
	struct rig r;
	_Atomic unsigned told = 0;
	uint64_t last = 0, other_last = 0;
	rig_init_disk(&r);
	fake_disk_capacity(96 << 20);
	fake_disk_set(DISK_SMALL);
	struct store_log *log = rig_log(&r, 1), *other = rig_log(&r, 2);
	store_watch(r.store, on_store_news, (void *)&told);
	unsigned failed = fake_disk_failed();
	for (unsigned turn = 0; turn < 4; turn++) {
		unsigned before = told;
		last = publish_until_blocked(&r, log, last, other, &other_last);
		assert_true(told > before);
		assert_true(holds_reserve(&r)); /* it is for what follows */
		for (unsigned i = 0; i < 8; i++) /* acknowledgements are appended, too */
			do_append(&r, log, ++last, 1, 1, 1000);
		do_snapshot(&r, log, last, 1, NULL, 0);
		wait_until(is_not_blocked, &r);
	}
	assert_int_equal(told % 2, 0); /* of each change */
	assert_int_equal(fake_disk_failed(), failed); /* never was it full */
	store_watch(r.store, NULL, NULL);
	check_load(other, 0, 0, 0, other_last, 1000);
	fake_disk_set(DISK_WORKS);
	store_log_close(log);
	store_log_close(other);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

/* Somebody else has taken all there was; what waits goes through when it is given back. */
static void a_reserve_that_is_used_up_is_no_end(void **state)
{
	(void)state;
	struct rig r;
	struct rig_req q, a;
	uint64_t other_last = 0;
	rig_init_disk(&r);
	fake_disk_capacity(96 << 20);
	fake_disk_set(DISK_SMALL);
	struct store_log *log = rig_log(&r, 1), *other = rig_log(&r, 2);
	uint64_t last = publish_until_blocked(&r, log, 0, other, &other_last);
	unsigned failed = fake_disk_failed();
	append_submit(log, &q, last + 1, 16 * 48, 1, 65536); /* more than there is, reserve and all */
	append_submit(other, &a, other_last + 1, 1, 1, 1000);
	store_port_flush(&r.port);
	wait_until(failed_twice, &failed);
	assert_true(store_blocked(r.store));
	assert_false(holds_reserve(&r));
	fake_disk_capacity(160 << 20);
	rig_wait(&r, &q);
	rig_wait(&r, &a);
	wait_until(is_not_blocked, &r);
	assert_true(holds_reserve(&r));
	fake_disk_set(DISK_WORKS);
	store_log_close(log);
	store_log_close(other);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

static void small_requests_need_no_space_until_they_are_committed(void **state)
{
	(void)state;
	struct rig r;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	do_append(&r, log, 1, 100, 1, 1000);
	fake_disk_set(DISK_FULL);
	do_append(&r, log, 101, 1, 1, 1000); /* into the journal */
	wait_until(is_blocked, &r);          /* at rest it was to be committed */
	assert_true(has_entry(log, 101, 1, 1000));
	fake_disk_set(DISK_WORKS);
	wait_until(is_not_blocked, &r);
	do_append(&r, log, 102, 1, 1, 1000);
	store_log_close(log);
	rig_reopen(&r);
	log = rig_log(&r, 1);
	check_load(log, 0, 0, 0, 102, 1000);
	store_log_close(log);
	rig_done(&r);
}

/* A file system that copies on write may need space to write over what is there. */
static void a_journal_that_cannot_be_written_is_done_without(void **state)
{
	(void)state;
	struct rig r;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	do_append(&r, log, 1, 1, 1, 1000);
	fake_disk_set(DISK_NO_OVERWRITE);
	unsigned failed = fake_disk_failed();
	do_append(&r, log, 2, 1, 1, 1000);
	assert_true(fake_disk_failed() > failed);
	fake_disk_set(DISK_WORKS);
	do_append(&r, log, 3, 1, 1, 1000);
	store_log_close(log);
	rig_reopen(&r);
	log = rig_log(&r, 1);
	check_load(log, 0, 0, 0, 3, 1000);
	store_log_close(log);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

static void a_store_opens_on_a_full_disk(void **state)
{
	(void)state;
	struct rig r;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	do_append(&r, log, 1, 10, 1, 1000);
	store_log_close(log);
	rig_close(&r);
	fake_disk_set(DISK_TIGHT);
	rig_open(&r);
	assert_true(store_blocked(r.store));
	log = rig_log(&r, 1);
	check_load(log, 0, 0, 0, 10, 1000);
	fake_disk_set(DISK_WORKS);
	store_log_close(log);
	rig_done(&r);
}

static void closing_finishes_what_nobody_waits_for(void **state)
{
	(void)state;
	struct rig r;
	struct store_stats stats;
	const struct store_range live = {1, 10};
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	do_append(&r, log, 1, 10, 1, 1000);
	do_snapshot(&r, log, 10, 1, &live, 1);
	for (uint64_t i = 1; i <= 10; i++)
		store_log_release(log, i);
	store_log_close(log);
	log = rig_log(&r, 1); /* the releases count for the next one to open the group */
	do_hard(&r, log, 1, 1);
	store_stats(r.store, &stats);
	assert_int_equal(stats.entries, 0);
	store_log_release(log, 5);
	store_log_close(log);
	rig_close(&r);
	assert_int_equal(rig_check(&r), 0);
	rig_done(&r);
}

/* An append of so many entries of 1000 bytes. */
static void sync_fails(unsigned n)
{
	struct rig r;
	struct rig_req q;
	rig_init_disk(&r);
	struct store_log *log = rig_log(&r, 1);
	fake_disk_set(DISK_FAILS_SYNC);
	append_submit(log, &q, 1, n, 1, 1000);
	rig_wait(&r, &q);
}

static void check_that_it_ends_the_process(unsigned n)
{
	pid_t pid = fork();
	if (pid == 0) {
		log_set_level(LOG_NONE);
		signal(SIGABRT, SIG_DFL);
		sync_fails(n);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void a_failed_sync_ends_the_process(void **state)
{
	(void)state;
	check_that_it_ends_the_process(100);
}

static void a_failed_sync_of_the_journal_ends_the_process(void **state)
{
	(void)state;
	check_that_it_ends_the_process(1);
}

int main(void)
{
	log_set_level(LOG_ERROR);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_sync_ends_the_process),
		cmocka_unit_test(a_failed_sync_of_the_journal_ends_the_process),
		cmocka_unit_test(a_full_disk_is_waited_out),
		cmocka_unit_test(a_write_that_comes_out_short_is_a_full_disk),
		cmocka_unit_test(the_reserve_lets_requests_through_while_blocked),
		cmocka_unit_test(held_in_time_publishers_leave_room_for_acknowledgements),
		cmocka_unit_test(a_reserve_that_is_used_up_is_no_end),
		cmocka_unit_test(small_requests_need_no_space_until_they_are_committed),
		cmocka_unit_test(a_journal_that_cannot_be_written_is_done_without),
		cmocka_unit_test(a_store_opens_on_a_full_disk),
		cmocka_unit_test(closing_finishes_what_nobody_waits_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

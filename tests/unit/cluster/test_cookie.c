/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cluster/cookie.h"

struct fixture {
	char directory[64];
	char path[128];
	char err[256];
	struct cookie c;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.directory = "/tmp/warren-cookie-XXXXXX"};
	assert_non_null(mkdtemp(f.directory));
	snprintf(f.path, sizeof f.path, "%s/%s", f.directory, COOKIE_NAME);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unlink(f->path);
	rmdir(f->path);
	return rmdir(f->directory); /* nothing else is left there */
}

static void put(struct fixture *f, const char *text, size_t n, mode_t mode)
{
	unlink(f->path);
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), (long)n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void refused(struct fixture *f, const char *why)
{
	assert_int_equal(cookie_read(&f->c, f->path, f->err, sizeof f->err), -1);
	assert_non_null(strstr(f->err, why));
	assert_non_null(strstr(f->err, f->path));
	assert_null(strstr(f->err, "SECRET"));
	/* Where there is a file, bad as it may be, none is made. */
	assert_int_equal(cookie_read_or_make(&f->c, f->directory, f->err, sizeof f->err), -1);
}

static void test_the_first_start_makes_one_and_the_second_reads_it(void **state)
{
	struct fixture *f = *state;
	struct cookie again;
	struct stat st;
	assert_int_equal(cookie_read_or_make(&f->c, f->directory, f->err, sizeof f->err), 0);
	assert_true(f->c.n >= 20);
	assert_int_equal(strspn(f->c.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), f->c.n);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(cookie_read_or_make(&again, f->directory, f->err, sizeof f->err), 0);
	assert_string_equal(again.text, f->c.text);
	cookie_wipe(&again);
	assert_int_equal(again.n, 0);
	assert_int_equal(again.text[0], 0);
}

static void test_two_directories_have_different_ones(void **state)
{
	struct fixture *f = *state;
	struct cookie other;
	assert_int_equal(cookie_read_or_make(&f->c, f->directory, f->err, sizeof f->err), 0);
	unlink(f->path);
	assert_int_equal(cookie_read_or_make(&other, f->directory, f->err, sizeof f->err), 0);
	assert_string_not_equal(other.text, f->c.text);
}

static void test_half_of_one_is_no_hindrance(void **state)
{
	struct fixture *f = *state;
	char fresh[160];
	snprintf(fresh, sizeof fresh, "%s.new", f->path);
	close(open(fresh, O_WRONLY | O_CREAT, 0400));
	assert_int_equal(cookie_read_or_make(&f->c, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(access(fresh, F_OK), -1);
}

static void test_what_erlang_wrote_is_read(void **state)
{
	struct fixture *f = *state;
	put(f, "MNCDUMZPHSJHRQRHSHOQ", 20, 0400);
	assert_int_equal(cookie_read(&f->c, f->path, f->err, sizeof f->err), 0);
	assert_string_equal(f->c.text, "MNCDUMZPHSJHRQRHSHOQ");
	put(f, "a b~\r\n\n", 7, 0600);
	assert_int_equal(cookie_read(&f->c, f->path, f->err, sizeof f->err), 0);
	assert_string_equal(f->c.text, "a b~");
	assert_int_equal(f->c.n, 4);
}

static void test_bad_contents_are_refused(void **state)
{
	struct fixture *f = *state;
	char text[COOKIE_MAX + 2];
	memset(text, 'x', sizeof text);
	put(f, "", 0, 0400);
	refused(f, "is empty");
	put(f, "\r\n\n", 3, 0400);
	refused(f, "is empty");
	put(f, "SECRET\nSECRET", 13, 0400);
	refused(f, "not printable");
	put(f, "SECRET\0", 7, 0400);
	refused(f, "not printable");
	put(f, text, COOKIE_MAX + 1, 0400);
	refused(f, "longer than 255");
	put(f, text, COOKIE_MAX, 0400);
	assert_int_equal(cookie_read(&f->c, f->path, f->err, sizeof f->err), 0);
	assert_int_equal(f->c.n, COOKIE_MAX);
}

static void test_others_must_not_have_access(void **state)
{
	struct fixture *f = *state;
	static const mode_t bad[] = {0440, 0404, 0644, 0700, 0420, 0401, 04400};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		put(f, "SECRET", 6, bad[i]);
		refused(f, "must be 400 or 600");
	}
}

static void test_it_must_be_a_file_of_the_user(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mkdir(f->path, 0700), 0);
	refused(f, "not a regular file");
	rmdir(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	refused(f, "not a regular file");
	unlink(f->path);
	if (geteuid() != 0)
		return; /* only root can give files away */
	put(f, "SECRET", 6, 0400);
	assert_int_equal(chown(f->path, 65534, 65534), 0);
	refused(f, "belongs to user 65534");
}

static void test_a_missing_one_is_named(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(cookie_read(&f->c, f->path, f->err, sizeof f->err), -1);
	assert_non_null(strstr(f->err, "No such file"));
	assert_int_equal(
		cookie_read_or_make(&f->c, "/nonexistent/warren", f->err, sizeof f->err), -1);
	assert_non_null(strstr(f->err, "cannot make cookie /nonexistent/warren/.cookie"));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_the_first_start_makes_one_and_the_second_reads_it),
		TEST(test_two_directories_have_different_ones),
		TEST(test_half_of_one_is_no_hindrance),
		TEST(test_what_erlang_wrote_is_read),
		TEST(test_bad_contents_are_refused),
		TEST(test_others_must_not_have_access),
		TEST(test_it_must_be_a_file_of_the_user),
		TEST(test_a_missing_one_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cluster/change.h"

/* The file byte for byte: what one version has begun, later ones go on with. */
static const char golden[] = "warren change 1\n"
			     "step leave\n"
			     "as ram\n"
			     "via w1@host host:25672\n"
			     "via w2@host [::1]:5000\n";
static const char golden_reset[] = "warren change 1\n"
				   "step wipe\n"
				   "as none\n";
static const char golden_join[] = "warren change 1\n"
				  "step join\n"
				  "as disc\n"
				  "via w1@host host:25672\n";

struct fixture {
	char directory[64];
	char path[128];
	char err[256];
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.directory = "/tmp/warren-change-XXXXXX"};
	assert_non_null(mkdtemp(f.directory));
	snprintf(f.path, sizeof f.path, "%s/%s", f.directory, CHANGE_NAME);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unlink(f->path);
	return rmdir(f->directory); /* nothing else is left there */
}

static void put(const struct fixture *f, const char *text)
{
	FILE *file = fopen(f->path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void expect_written(struct fixture *f, const struct change *c, const char *expected)
{
	char text[512] = "";
	assert_int_equal(change_write(c, f->directory, f->err, sizeof f->err), 0);
	FILE *file = fopen(f->path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, expected);
}

static void test_written(void **state)
{
	struct fixture *f = *state;
	struct change c = {.step = CHANGE_LEAVE, .type = BROKER_NODE_RAM}, none = {0};
	change_add_via(&c, "w1@host", "host:25672");
	change_add_via(&c, "w2@host", "[::1]:5000");
	expect_written(f, &c, golden);
	change_done(&c);
	expect_written(f, &(struct change){.step = CHANGE_WIPE}, golden_reset);
	/* None takes the file away. */
	assert_int_equal(change_write(&none, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(change_write(&none, f->directory, f->err, sizeof f->err), 0);
	/* What cannot be written has not been. */
	char *in_the_way = malloc(sizeof f->path + 8);
	sprintf(in_the_way, "%s.next", f->path);
	assert_int_equal(mkdir(in_the_way, 0700), 0);
	assert_int_equal(change_write(&(struct change){.step = CHANGE_WIPE}, f->directory, f->err, sizeof f->err), -1);
	assert_non_null(strstr(f->err, "cannot be written"));
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(rmdir(in_the_way), 0);
	free(in_the_way);
}

static void test_read(void **state)
{
	struct fixture *f = *state;
	struct change c, copy;
	assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(c.step, CHANGE_NONE);
	put(f, golden);
	assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), 0);
	copy = change_copy(&c);
	change_done(&c);
	assert_int_equal(c.step, CHANGE_NONE);
	assert_int_equal(copy.step, CHANGE_LEAVE);
	assert_int_equal(copy.type, BROKER_NODE_RAM);
	assert_true(change_joins(&copy));
	assert_int_equal(copy.n_vias, 2);
	assert_string_equal(copy.vias[1].name, "w2@host");
	assert_string_equal(copy.vias[1].address, "[::1]:5000");
	change_done(&copy);
	put(f, golden_reset);
	assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(c.step, CHANGE_WIPE);
	assert_false(change_joins(&c));
	put(f, golden_join);
	assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(c.step, CHANGE_JOIN);
	assert_int_equal(c.type, BROKER_NODE_DISC);
	change_done(&c);
}

static void test_not_understood(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "is not complete"},
		{"warren change 1\nstep wipe\n", "is not complete"},
		{"warren change 1\nstep wipe\nas disc\n", "is not complete"},
		{"warren change 1\nstep join\nas none\n", "is not complete"},
		{"warren change 2\n", ":1 is not understood"},
		{"warren change 1\nstep \n", ":2 is not understood"},
		{"warren change 1\nstep stay\n", ":2 is not understood"},
		{"warren change 1\nstep wipe\nas tape\n", ":3 is not understood"},
		{"warren change 1\nstep wipe\nas none\nvia a@b c:1\n", ":4 is not understood"},
		{"warren change 1\nstep wipe\nas ram\nvia a@b\n", ":4 is not understood"},
	};
	struct fixture *f = *state;
	struct change c;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		put(f, bad[i].text);
		assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), -1);
		assert_non_null(strstr(f->err, bad[i].why));
		assert_non_null(strstr(f->err, f->path));
		assert_int_equal(c.step, CHANGE_NONE);
		assert_int_equal(c.n_vias, 0);
	}
}

/* It is as before, the reason is the one of the write that failed, and nothing is left (teardown()). */
static void expect_not_written(struct fixture *f, const char *why)
{
	struct change c = {.step = CHANGE_LEAVE, .type = BROKER_NODE_DISC};
	change_add_via(&c, "w1@host", "host:25672");
	errno = 0;
	assert_int_equal(change_write(&c, f->directory, f->err, sizeof f->err), -1);
	assert_non_null(strstr(f->err, why));
	change_done(&c);
}

static void test_no_space(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;
	struct change c;
	put(f, golden_reset);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, before.rlim_max}), 0);
	expect_not_written(f, strerror(EFBIG));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(change_read(&c, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(c.step, CHANGE_WIPE);
	change_done(&c);
}

static void test_in_the_way(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mkdir(f->path, 0700), 0);
	expect_not_written(f, strerror(EISDIR));
	assert_int_equal(rmdir(f->path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_understood, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_the_way, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

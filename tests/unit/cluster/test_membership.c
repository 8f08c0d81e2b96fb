/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/broker/broker.h"
#include "src/cluster/membership.h"

/* The file byte for byte: nodes of every version must find their cluster again. */
static const char golden[] = "warren cluster 1\n"
			     "id 0123456789abcdef\n"
			     "type ram\n"
			     "node 0000000000000001 disc w1@host host:25672\n"
			     "node ffffffffffffffff ram w2@host [::1]:5000\n";

struct fixture {
	char directory[64];
	char path[128];
	char err[256];
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.directory = "/tmp/warren-membership-XXXXXX"};
	assert_non_null(mkdtemp(f.directory));
	snprintf(f.path, sizeof f.path, "%s/%s", f.directory, MEMBERSHIP_NAME);
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

static struct membership two_nodes(void)
{
	struct membership r = {.cluster_id = 0x0123456789abcdef, .type = BROKER_NODE_RAM};
	membership_add(&r, 1, BROKER_NODE_DISC, slice_str("w1@host"), slice_str("host:25672"));
	membership_add(&r, UINT64_MAX, BROKER_NODE_RAM, slice_str("w2@host"), slice_str("[::1]:5000"));
	return r;
}

static void test_written(void **state)
{
	struct fixture *f = *state;
	char text[512] = "";
	struct membership r = two_nodes();
	assert_int_equal(membership_write(&r, f->directory, f->err, sizeof f->err), 0);
	FILE *file = fopen(f->path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, golden);
	membership_done(&r);
	/* None takes the file away. */
	assert_int_equal(membership_write(&r, f->directory, f->err, sizeof f->err), 0);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(membership_write(&r, f->directory, f->err, sizeof f->err), 0);
}

static void test_read(void **state)
{
	struct fixture *f = *state;
	struct membership r, same = two_nodes();
	assert_int_equal(membership_read(&r, f->directory, f->err, sizeof f->err), 0);
	assert_true(r.cluster_id == 0 && r.n_nodes == 0);
	put(f, golden);
	assert_int_equal(membership_read(&r, f->directory, f->err, sizeof f->err), 0);
	assert_true(membership_equal(&r, &same));
	assert_ptr_equal(membership_find(&r, 1), &r.nodes[0]);
	assert_ptr_equal(membership_named(&r, "w2@host"), &r.nodes[1]);
	assert_null(membership_named(&r, "w3@host"));
	r.nodes[1].address[1] = '1';
	assert_false(membership_equal(&r, &same));
	membership_done(&r);
	membership_done(&same);
}

static void test_who_is_lost(void **state)
{
	static const char lost[] = "warren cluster 1\n"
				   "id 0123456789abcdef\n"
				   "type ram\n"
				   "node 0000000000000001 disc w1@host host:25672\n"
				   "node ffffffffffffffff ram w2@host [::1]:5000 lost\n";
	struct fixture *f = *state;
	char text[512] = "";
	struct membership r = two_nodes(), again;
	assert_false(membership_alone(&r, 1));
	r.nodes[1].lost = true;
	assert_true(membership_alone(&r, 1));
	assert_false(membership_alone(&r, UINT64_MAX));
	assert_int_equal(membership_write(&r, f->directory, f->err, sizeof f->err), 0);
	FILE *file = fopen(f->path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, lost);
	assert_int_equal(membership_read(&again, f->directory, f->err, sizeof f->err), 0);
	assert_false(again.nodes[0].lost);
	assert_true(again.nodes[1].lost);
	assert_true(membership_equal(&r, &again));
	membership_done(&r);
	assert_false(membership_alone(&r, 1)); /* nobody else ever was */
	membership_done(&again);
}

static void test_not_understood(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "is not complete"},
		{"warren cluster 1\nid 1\n", "is not complete"},
		{"warren cluster 2\n", ":1 is not understood"},
		{"warren cluster 1\nid 0\n", ":2 is not understood"},
		{"warren cluster 1\nid 1\ntype tape\n", ":3 is not understood"},
		{"warren cluster 1\nid 1\ntype disc\nnode 1 disc a@b\n", ":4 is not understood"},
		{"warren cluster 1\nid 1\ntype disc\nnode 0 disc a@b c:1\n", ":4 is not understood"},
		{"warren cluster 1\nid 1\ntype disc\nnode 1 disc a@b c:1 los\n", ":4 is not understood"},
	};
	struct fixture *f = *state;
	struct membership r;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		put(f, bad[i].text);
		assert_int_equal(membership_read(&r, f->directory, f->err, sizeof f->err), -1);
		assert_non_null(strstr(f->err, bad[i].why));
		assert_non_null(strstr(f->err, f->path));
		assert_int_equal(r.n_nodes, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_understood, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

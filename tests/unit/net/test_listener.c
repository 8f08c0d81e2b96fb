/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/net/listener.h"
#include "tests/lib/tcp.h"

enum { CLIENTS = 200 };

struct fixture {
	struct worker w;
	struct listener *l;
	const char *host;
	unsigned wanted; /* stops after so many */
	unsigned accepted;
	int accepted_fd[CLIENTS];
	int client_fd[CLIENTS];
	uv_timer_t timer;
	int hoard[1024];
	unsigned hoarded;
};

static void finish(struct fixture *f)
{
	listener_close(f->l);
	worker_stop(&f->w);
}

static void on_accepted(void *arg, int fd)
{
	struct fixture *f = arg;
	f->accepted_fd[f->accepted++] = fd;
	if (f->accepted == f->wanted)
		finish(f);
}

static struct listener *open_listener(struct fixture *f, const char *address)
{
	char err[200] = "";
	int rc = 0;
	*f = (struct fixture){0};
	worker_init(&f->w, 0);
	f->l = listener_bind(address, 0, err, sizeof err, &rc);
	if (f->l != NULL)
		assert_int_equal(listener_start(f->l, &f->w, 128, on_accepted, f, err, sizeof err), 0);
	return f->l;
}

static void *connect_all(void *arg)
{
	struct fixture *f = arg;
	for (unsigned i = 0; i < f->wanted; i++)
		f->client_fd[i] = tcp_connect(f->host, listener_port(f->l));
	return NULL;
}

static void run(struct fixture *f, const char *host, unsigned wanted)
{
	pthread_t thread;
	f->host = host;
	f->wanted = wanted;
	unsigned port = listener_port(f->l);
	assert_true(port > 0);
	pthread_create(&thread, NULL, connect_all, f);
	pthread_join(thread, NULL);
	worker_run(&f->w);
	worker_done(&f->w);
	assert_int_equal(f->accepted, wanted);
	for (unsigned i = 0; i < wanted; i++) {
		close(f->accepted_fd[i]);
		close(f->client_fd[i]);
	}
}

static void test_every_connection_is_handed_out(void **state)
{
	(void)state;
	struct fixture f;
	assert_non_null(open_listener(&f, "127.0.0.1"));
	run(&f, "127.0.0.1", 100);
	assert_true(fcntl(f.accepted_fd[0], F_GETFD) == -1); /* ours to close, and closed above */
}

static bool have_ipv6(void)
{
	struct fixture f;
	bool have = open_listener(&f, "[::1]") != NULL;
	if (have)
		finish(&f);
	worker_run(&f.w);
	worker_done(&f.w);
	return have;
}

static void test_ipv6_in_brackets(void **state)
{
	(void)state;
	struct fixture f;
	if (!have_ipv6())
		skip();
	assert_non_null(open_listener(&f, "[::1]"));
	run(&f, "::1", 3);
}

static void test_no_address_is_all_of_them(void **state)
{
	(void)state;
	struct fixture f;
	assert_non_null(open_listener(&f, NULL));
	run(&f, "127.0.0.1", 3);
	if (!have_ipv6())
		return;
	assert_non_null(open_listener(&f, NULL));
	run(&f, "::1", 3);
}

static void test_a_port_in_use_is_named(void **state)
{
	(void)state;
	struct fixture f;
	char err[200] = "", expected[200];
	int rc = 0;
	assert_non_null(open_listener(&f, "127.0.0.1"));
	unsigned port = listener_port(f.l);
	assert_null(listener_bind("127.0.0.1", port, err, sizeof err, &rc));
	assert_int_equal(rc, EADDRINUSE);
	snprintf(expected, sizeof expected, "listener 127.0.0.1:%u: address already in use", port);
	assert_string_equal(err, expected);
	finish(&f);
	worker_run(&f.w);
	worker_done(&f.w);
}

static void test_what_is_no_address_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "localhost", "[::1", "[127.0.0.1", "1.2.3.4.5", "[]",
		"0123456789012345678901234567890123456789012345678901234567890"};
	struct fixture f;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_null(open_listener(&f, bad[i]));
		worker_stop(&f.w);
		worker_done(&f.w);
	}
}

/* ---- out of descriptors ---- */

static void hoard_descriptors(struct fixture *f)
{
	int fd;
	while (f->hoarded < 1024 && (fd = open("/dev/null", O_RDONLY)) >= 0)
		f->hoard[f->hoarded++] = fd;
}

static void give_back(uv_timer_t *t)
{
	struct fixture *f = t->data;
	assert_int_equal(f->accepted, 0);
	while (f->hoarded > 0)
		close(f->hoard[--f->hoarded]);
	uv_close((uv_handle_t *)t, NULL);
}

static void test_accepting_resumes_when_descriptors_are_free_again(void **state)
{
	(void)state;
	struct fixture f;
	struct rlimit old, low;
	log_set_level(LOG_NONE);
	assert_non_null(open_listener(&f, "127.0.0.1"));
	uv_timer_init(&f.w.loop, &f.timer);
	f.timer.data = &f;
	uv_timer_start(&f.timer, give_back, 30, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 512;
	setrlimit(RLIMIT_NOFILE, &low);
	f.client_fd[0] = tcp_connect("127.0.0.1", listener_port(f.l));
	hoard_descriptors(&f);
	f.wanted = 1;
	worker_run(&f.w);
	worker_done(&f.w);
	setrlimit(RLIMIT_NOFILE, &old);
	log_set_level(LOG_INFO);
	assert_int_equal(f.accepted, 1);
	close(f.accepted_fd[0]);
	close(f.client_fd[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_connection_is_handed_out),
		cmocka_unit_test(test_ipv6_in_brackets),
		cmocka_unit_test(test_no_address_is_all_of_them),
		cmocka_unit_test(test_a_port_in_use_is_named),
		cmocka_unit_test(test_what_is_no_address_is_refused),
		cmocka_unit_test(test_accepting_resumes_when_descriptors_are_free_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

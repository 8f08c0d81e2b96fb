/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/net/dialer.h"
#include "src/net/listener.h"
#include "tests/lib/tcp.h"

struct fixture {
	struct worker w;
	unsigned calls, accepted;
	int fd;
	char why[128];
	struct listener *listener;
	struct dialer *dialer;
	struct turn_hook hook;
};

static void on_done(void *arg, int fd, const char *why)
{
	struct fixture *f = arg;
	f->calls++;
	f->fd = fd;
	snprintf(f->why, sizeof f->why, "%s", why != NULL ? why : "");
	if (f->listener != NULL)
		listener_close(f->listener);
	worker_stop(&f->w);
}

static void on_accepted(void *arg, int fd)
{
	struct fixture *f = arg;
	f->accepted++;
	close(fd);
}

static void setup(struct fixture *f)
{
	*f = (struct fixture){.fd = -1};
	assert_int_equal(worker_init(&f->w, 0), 0);
}

static void dial(struct fixture *f, const char *address, unsigned limit_ms)
{
	f->dialer = dialer_new(&f->w, address, limit_ms, on_done, f);
	assert_int_equal(f->calls, 0); /* never from inside */
	worker_run(&f->w);
	worker_done(&f->w); /* asserts that no handle is left */
	assert_int_equal(f->calls, 1);
}

/* Which family the connection is of, 0: none. */
static int dial_here(const char *listen, const char *host)
{
	struct fixture f;
	char address[64], err[128];
	int code;
	struct sockaddr_storage ss = {0};
	socklen_t n = sizeof ss;
	setup(&f);
	f.listener = listener_bind(listen, 0, err, sizeof err, &code);
	if (f.listener == NULL) { /* a machine without IPv6 */
		worker_stop(&f.w);
		worker_done(&f.w);
		return 0;
	}
	assert_int_equal(listener_start(f.listener, &f.w, 8, on_accepted, &f, err, sizeof err), 0);
	snprintf(address, sizeof address, "%s:%u", host, listener_port(f.listener));
	dial(&f, address, 20000);
	if (f.fd < 0)
		fail_msg("%s: %s", address, f.why);
	getpeername(f.fd, (struct sockaddr *)&ss, &n);
	close(f.fd);
	return ss.ss_family;
}

static void test_numbers_and_names_are_found(void **state)
{
	(void)state;
	assert_int_equal(dial_here("127.0.0.1", "127.0.0.1"), AF_INET);
	int v6 = dial_here("::1", "[::1]");
	assert_true(v6 == 0 || v6 == AF_INET6);
}

/* "localhost" may be ::1 first, where nobody listens. */
static void test_all_addresses_are_tried(void **state)
{
	(void)state;
	assert_int_equal(dial_here("127.0.0.1", "localhost"), AF_INET);
}

static int assert_fails(const char *address, const char *why)
{
	struct fixture f;
	setup(&f);
	dial(&f, address, 20000);
	assert_true(f.fd < 0);
	if (why != NULL)
		assert_string_equal(f.why, why);
	else
		assert_true(f.why[0] != '\0');
	return f.fd;
}

static void test_what_fails_is_told(void **state)
{
	(void)state;
	assert_int_equal(assert_fails("127.0.0.1:1", "connection refused"), -ECONNREFUSED);
	assert_int_equal(assert_fails("no-such-host.invalid:1", NULL), -1);
	static const char *const bad[] = {
		"", "host", ":1", "host:", "host:x", "host:123456", "[]:1", "host:-1"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_fails(bad[i], "not an address host:port");
}

/* A listener whose backlog is full takes no more. */
static int full_listener(unsigned *ret_port, int fillers[4])
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t n = sizeof in;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&in, &n);
	*ret_port = ntohs(in.sin_port);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fillers[i], (struct sockaddr *)&in, sizeof in);
	}
	return fd;
}

static void test_time_is_limited(void **state)
{
	(void)state;
	struct fixture f;
	unsigned port;
	int fillers[4];
	int fd = full_listener(&port, fillers);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	setup(&f);
	dial(&f, address, 50);
	assert_int_equal(f.fd, -1);
	assert_string_equal(f.why, "connecting takes too long");
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(fd);
}

static bool cancel_then_stop(struct turn_hook *h)
{
	struct fixture *f = LIST_ENTRY(h, struct fixture, hook);
	if (f->dialer == NULL)
		return false;
	if (f->calls > 0) { /* so many turns later, which do not come by themselves */
		f->calls--;
		worker_wake(&f->w);
		return false;
	}
	dialer_cancel(f->dialer);
	f->dialer = NULL;
	worker_stop(&f->w);
	return false;
}

static void test_a_cancelled_one_is_never_heard_of(void **state)
{
	(void)state;
	unsigned port;
	int fillers[4];
	int fd = full_listener(&port, fillers);
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	for (unsigned turns = 0; turns < 6; turns++) {
		struct fixture f;
		setup(&f);
		worker_hook(&f.w, &f.hook, cancel_then_stop);
		f.calls = turns;
		f.dialer = dialer_new(&f.w, address, 20000, on_done, &f);
		worker_run(&f.w);
		worker_done(&f.w);
		assert_int_equal(f.calls, 0);
		assert_int_equal(f.fd, -1);
	}
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_and_names_are_found),
		cmocka_unit_test(test_all_addresses_are_tried),
		cmocka_unit_test(test_what_fails_is_told),
		cmocka_unit_test(test_time_is_limited),
		cmocka_unit_test(test_a_cancelled_one_is_never_heard_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

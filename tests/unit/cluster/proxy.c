/* SPDX-License-Identifier: Apache-2.0
 *
 * One thread, poll(), two directions per connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "tests/unit/cluster/nodes.h"

enum { PAIRS_MAX = 64, PIPE_MAX = 64 * 1024, STEP_MS = 1 };

struct pipe {
	int from, to;
	size_t n, at;
	uint8_t octets[PIPE_MAX];
};

struct pair {
	struct pipe there, back;
};

struct proxy {
	pthread_t thread;
	int listener;
	unsigned port, to_port;
	_Atomic bool stop, cut, hold;
	_Atomic size_t slow;
	struct pair *pairs[PAIRS_MAX];
	unsigned n;
};

static int connect_to(unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&in, sizeof in) == 0)
		return fd;
	close(fd);
	return -1;
}

static void accept_pair(struct proxy *p)
{
	int from = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (from < 0)
		return;
	int to = p->n < PAIRS_MAX ? connect_to(p->to_port) : -1;
	if (to < 0) {
		close(from);
		return;
	}
	fcntl(to, F_SETFL, O_NONBLOCK);
	struct pair *pair = MEM_NEW(struct pair);
	pair->there.from = pair->back.to = from;
	pair->there.to = pair->back.from = to;
	p->pairs[p->n++] = pair;
}

static void pair_end(struct proxy *p, unsigned i, bool hard)
{
	struct pair *pair = p->pairs[i];
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	if (hard) {
		setsockopt(pair->there.from, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		setsockopt(pair->there.to, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	}
	close(pair->there.from);
	close(pair->there.to);
	mem_free(pair);
	p->pairs[i] = p->pairs[--p->n];
}

/* False: it has ended. */
static bool pump(struct pipe *pipe, size_t most)
{
	if (pipe->n == 0) {
		ssize_t n = recv(pipe->from, pipe->octets, most < PIPE_MAX ? most : PIPE_MAX, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		pipe->n = n > 0 ? (size_t)n : 0;
		pipe->at = 0;
	}
	if (pipe->n == 0)
		return true;
	ssize_t n = send(pipe->to, pipe->octets + pipe->at, pipe->n, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		return false;
	pipe->at += n > 0 ? (size_t)n : 0;
	pipe->n -= n > 0 ? (size_t)n : 0;
	return true;
}

static void pump_all(struct proxy *p)
{
	size_t most = p->slow > 0 ? p->slow : PIPE_MAX;
	for (unsigned i = p->n; i-- > 0;) {
		struct pair *pair = p->pairs[i];
		if (!pump(&pair->there, most) || !pump(&pair->back, most))
			pair_end(p, i, false);
	}
}

static void wait_for_something(struct proxy *p)
{
	struct pollfd fds[1 + 2 * PAIRS_MAX] = {{.fd = p->listener, .events = POLLIN}};
	unsigned n = 1;
	if (p->hold || p->slow > 0) {
		usleep(STEP_MS * 1000);
		return;
	}
	for (unsigned i = 0; i < p->n; i++) {
		struct pair *pair = p->pairs[i];
		fds[n++] = (struct pollfd){.fd = pair->there.from,
			.events = (short)((pair->there.n == 0 ? POLLIN : 0) |
					  (pair->back.n > 0 ? POLLOUT : 0))};
		fds[n++] = (struct pollfd){.fd = pair->there.to,
			.events = (short)((pair->back.n == 0 ? POLLIN : 0) |
					  (pair->there.n > 0 ? POLLOUT : 0))};
	}
	poll(fds, n, 10);
}

static void *proxy_main(void *arg)
{
	struct proxy *p = arg;
	while (!p->stop) {
		wait_for_something(p);
		if (p->cut) {
			while (p->n > 0)
				pair_end(p, 0, true);
			p->cut = false;
		}
		if (p->hold)
			continue;
		accept_pair(p);
		pump_all(p);
	}
	while (p->n > 0)
		pair_end(p, 0, false);
	return NULL;
}

struct proxy *proxy_new(unsigned to_port)
{
	struct proxy *p = MEM_NEW(struct proxy);
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t n = sizeof in;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->to_port = to_port;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(listen(p->listener, 16), 0);
	getsockname(p->listener, (struct sockaddr *)&in, &n);
	p->port = ntohs(in.sin_port);
	pthread_create(&p->thread, NULL, proxy_main, p);
	return p;
}

unsigned proxy_port(const struct proxy *p)
{
	return p->port;
}

void proxy_cut(struct proxy *p)
{
	p->cut = true;
	while (p->cut)
		usleep(100);
}

void proxy_hold(struct proxy *p, bool yes)
{
	p->hold = yes;
}

void proxy_slow(struct proxy *p, size_t bytes_per_ms)
{
	p->slow = bytes_per_ms;
}

void proxy_free(struct proxy *p)
{
	p->stop = true;
	pthread_join(p->thread, NULL);
	close(p->listener);
	mem_free(p);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * A plain socket under a poll handle instead of a uv_tcp_t: libuv would bind every accepted
 * connection to the listener's own loop.
 */
#include "src/net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

enum {
	ACCEPTS_PER_TURN = 64, /* so that a storm of connects does not starve the connected */
	PAUSE_MS = 100,        /* after running out of descriptors or memory */
};

struct listener {
	struct worker *worker; /* NULL: not started */
	int fd;
	char *address; /* NULL: all interfaces */
	unsigned port;
	uv_poll_t poll;
	uv_timer_t pause;
	unsigned handles; /* still to be closed */
	bool closing;
	bool short_of; /* descriptors or memory ran out; logged once until an accept succeeds */
	void (*accepted)(void *arg, int fd);
	void *arg;
};

static void on_readable(uv_poll_t *h, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
	struct listener *l = timer->data;
	uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

/* The connections that wait stay in the kernel's backlog meanwhile. */
static void pause_accepting(struct listener *l, int err)
{
	if (!l->short_of)
		log_warning("listener", "port %u: cannot accept connections: %s, retrying", l->port,
			uv_strerror(-err));
	l->short_of = true;
	uv_poll_stop(&l->poll);
	uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
}

static bool is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

/* Returns whether another one may follow at once. */
static bool accept_one(struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		l->short_of = false;
		l->accepted(l->arg, fd);
		return !l->closing;
	}
	if (is_shortage(errno)) {
		pause_accepting(l, errno);
		return false;
	}
	/* Other errors belong to the connection that was to be accepted: accept(2). */
	return errno != EAGAIN && errno != EBADF && errno != EINVAL;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	(void)events;
	struct listener *l = h->data;
	worker_deliver(l->worker);
	if (status < 0 || l->closing)
		return;
	for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(l); i++)
		;
}

/* ---- opening ---- */

/* Numeric "ADDR" or "[ADDR6]"; NULL is "[::]" for IPv4 as well. */
static bool address_parse(const char *text, unsigned port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	char ip[INET6_ADDRSTRLEN + 2] = "::";
	if (text != NULL) {
		size_t n = strlen(text);
		bool brackets = n > 2 && text[0] == '[' && text[n - 1] == ']';
		if (snprintf(ip, sizeof ip, "%s", text + brackets) >= (int)sizeof ip)
			return false;
		if (brackets)
			ip[n - 2] = '\0';
	}
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		return true;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)port);
	return inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1;
}

static socklen_t address_size(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* A bound descriptor or a negative errno. */
static int socket_open(const struct sockaddr_storage *ss, bool both)
{
	const int on = 1, off = 0;
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (both)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, (const struct sockaddr *)ss, address_size(ss)) == 0)
		return fd;
	int err = errno;
	close(fd);
	return -err;
}

/* All interfaces: one socket for both families, or IPv4 alone on a machine without IPv6. */
static int bind_to(const char *address, unsigned port)
{
	struct sockaddr_storage ss;
	if (port > 65535 || !address_parse(address, port, &ss))
		return -EINVAL;
	int fd = socket_open(&ss, address == NULL);
	if (address == NULL && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) {
		address_parse("0.0.0.0", port, &ss);
		fd = socket_open(&ss, false);
	}
	return fd;
}

static unsigned bound_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	if (getsockname(fd, (struct sockaddr *)&ss, &n) != 0)
		return 0;
	if (ss.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
}

static void fail(const char *address, unsigned port, int err, char *text, size_t n)
{
	bool bare6 = address != NULL && address[0] != '[' && strchr(address, ':') != NULL;
	snprintf(text, n, bare6 ? "listener [%s]:%u: %s" : "listener %s:%u: %s",
		address != NULL ? address : "[::]", port, uv_strerror(-err));
}

struct listener *listener_bind(
	const char *address, unsigned port, char *err, size_t err_n, int *ret_errno)
{
	int fd = bind_to(address, port);
	if (fd < 0) {
		fail(address, port, -fd, err, err_n);
		*ret_errno = -fd;
		return NULL;
	}
	struct listener *l = MEM_NEW(struct listener);
	*l = (struct listener){.fd = fd,
		.port = bound_port(fd),
		.address = address != NULL ? mem_strdup(address) : NULL};
	return l;
}

/* 0 or a positive errno. */
static int watch(struct listener *l, struct worker *w, int backlog)
{
	if (listen(l->fd, backlog) != 0)
		return errno;
	int rc = uv_poll_init(&w->loop, &l->poll, l->fd);
	if (rc != 0)
		return -rc;
	uv_timer_init(&w->loop, &l->pause);
	l->worker = w;
	l->handles = 2;
	l->poll.data = l->pause.data = l;
	uv_poll_start(&l->poll, UV_READABLE, on_readable);
	return 0;
}

int listener_start(struct listener *l, struct worker *w, int backlog,
	void (*accepted)(void *arg, int fd), void *arg, char *err, size_t err_n)
{
	l->accepted = accepted;
	l->arg = arg;
	int rc = watch(l, w, backlog);
	if (rc != 0)
		fail(l->address, l->port, rc, err, err_n);
	return rc;
}

unsigned listener_port(const struct listener *l)
{
	return l->port;
}

/* ---- closing ---- */

static void listener_free(struct listener *l)
{
	mem_free(l->address);
	mem_free(l);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct listener *l = h->data;
	if (--l->handles == 0)
		listener_free(l);
}

void listener_close(struct listener *l)
{
	if (l->closing)
		return;
	l->closing = true;
	if (l->worker == NULL) {
		close(l->fd);
		listener_free(l);
		return;
	}
	uv_close((uv_handle_t *)&l->poll, on_handle_closed);
	uv_close((uv_handle_t *)&l->pause, on_handle_closed);
	/* Out of the poll set by now; the port is free when this returns. */
	close(l->fd);
}

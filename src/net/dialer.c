/* SPDX-License-Identifier: Apache-2.0
 *
 * A lookup, then one socket after the other under a poll handle, all under one timer. The pieces
 * libuv owns (the request, the handles) end at times of their own; the dialer's memory goes with
 * the last of them.
 *
 *   looking up -> connecting to an address -> the next one ... -> told -> pieces end -> freed
 */
#include "src/net/dialer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { HOST_MAX = 255, PORT_MAX = 5 };

struct dialer {
	struct worker *worker;
	uv_getaddrinfo_t lookup;
	uv_timer_t timer;
	struct attempt *attempt;
	struct addrinfo *found;      /* all */
	const struct addrinfo *next; /* to be tried after the present one */
	uint64_t end_ms;             /* loop's time */
	unsigned pieces;             /* that libuv still has */
	bool looking;                /* `lookup` is under way */
	bool over;                   /* told, or cancelled */
	char why[128];               /* the last attempt failed */
	int err;                     /* likewise: an errno, or 1 */
	char host[HOST_MAX + 1], port[PORT_MAX + 1];
	void (*done)(void *arg, int fd, const char *why);
	void *arg;
};

/* A connect under way. */
struct attempt {
	struct dialer *d; /* NULL: over */
	int fd;
	uv_poll_t poll;
};

static void try_next(struct dialer *d);

/* ---- the end ---- */

static void piece_ended(struct dialer *d)
{
	if (--d->pieces > 0)
		return;
	if (d->found != NULL)
		uv_freeaddrinfo(d->found);
	mem_free(d);
}

static void on_timer_closed(uv_handle_t *h)
{
	piece_ended(h->data);
}

static void on_attempt_closed(uv_handle_t *h)
{
	mem_free(h->data);
}

/* Returns the socket, out of the loop's hands. */
static int attempt_end(struct dialer *d)
{
	struct attempt *a = d->attempt;
	int fd = a->fd;
	d->attempt = NULL;
	a->d = NULL;
	uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
	return fd;
}

static void end(struct dialer *d)
{
	d->over = true;
	if (d->attempt != NULL)
		close(attempt_end(d));
	if (d->looking)
		uv_cancel((uv_req_t *)&d->lookup);
	uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void tell(struct dialer *d, int fd)
{
	void (*done)(void *arg, int fd, const char *why) = d->done;
	d->pieces++; /* `why` lives until done() has seen it */
	end(d);
	done(d->arg, fd, fd < 0 ? d->why : NULL);
	piece_ended(d);
}

static void failed(struct dialer *d, const char *why)
{
	d->err = 1;
	snprintf(d->why, sizeof d->why, "%s", why);
}

static void failed_by(struct dialer *d, int err)
{
	failed(d, uv_strerror(-err));
	d->err = err;
}

/* ---- connecting ---- */

static int socket_error(int fd)
{
	int err = 0;
	socklen_t n = sizeof err;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0)
		err = errno;
	return err;
}

static void on_writable(uv_poll_t *h, int status, int events)
{
	(void)events;
	struct attempt *a = h->data;
	struct dialer *d = a->d;
	if (d == NULL)
		return;
	worker_deliver(d->worker);
	if (a->d == NULL)
		return;                /* the mail has cancelled it */
	int err = socket_error(a->fd); /* libuv's status says only that there is one */
	if (err == 0 && status < 0)
		err = -status;
	int fd = attempt_end(d);
	if (err == 0) {
		tell(d, fd);
		return;
	}
	close(fd);
	failed_by(d, err);
	try_next(d);
}

/* What is left is shared by the addresses that are left. */
static void set_timer(struct dialer *d);

static void on_time_over(uv_timer_t *t)
{
	struct dialer *d = t->data;
	if (d->attempt == NULL) {
		failed(d, "looking up the host takes too long");
		tell(d, -1);
		return;
	}
	close(attempt_end(d));
	failed(d, "connecting takes too long");
	try_next(d);
}

static void set_timer(struct dialer *d)
{
	uint64_t now = uv_now(&d->worker->loop), shares = 1;
	for (const struct addrinfo *a = d->next; a != NULL; a = a->ai_next)
		shares++;
	uint64_t left = d->end_ms > now ? d->end_ms - now : 0;
	uv_timer_start(&d->timer, on_time_over, left / shares + 1, 0);
}

/* 0, or an errno. */
static int attempt_begin(struct dialer *d, const struct addrinfo *to)
{
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	struct attempt *a = MEM_NEW(struct attempt);
	*a = (struct attempt){.d = d, .fd = fd};
	int err = 0;
	if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS)
		err = errno;
	else
		err = -uv_poll_init(&d->worker->loop, &a->poll, fd);
	if (err != 0) {
		close(fd);
		mem_free(a);
		return err;
	}
	a->poll.data = a;
	d->attempt = a;
	uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
	return 0;
}

static void try_next(struct dialer *d)
{
	while (d->next != NULL) {
		const struct addrinfo *to = d->next;
		d->next = to->ai_next;
		int err = attempt_begin(d, to);
		if (err == 0) {
			set_timer(d);
			return;
		}
		failed_by(d, err);
	}
	tell(d, -d->err);
}

/* ---- looking up ---- */

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
	struct dialer *d = req->data;
	d->found = found;
	d->looking = false;
	if (!d->over)
		worker_deliver(d->worker);
	if (d->over) {
		piece_ended(d);
		return;
	}
	d->next = status == 0 ? found : NULL;
	failed(d, status == 0 ? "the host has no address" : uv_strerror(status));
	try_next(d);
	piece_ended(d);
}

/* "host:port", "[v6]:port". */
static bool parse(struct dialer *d, const char *address)
{
	const char *colon = strrchr(address, ':');
	if (colon == NULL)
		return false;
	size_t n = (size_t)(colon - address);
	bool brackets = n > 2 && address[0] == '[' && colon[-1] == ']';
	if (brackets) {
		address++;
		n -= 2;
	}
	size_t port_n = strlen(colon + 1);
	if (n == 0 || n > HOST_MAX || *address == '[' || port_n == 0 || port_n > PORT_MAX ||
		strspn(colon + 1, "0123456789") != port_n)
		return false;
	snprintf(d->host, sizeof d->host, "%.*s", (int)n, address);
	snprintf(d->port, sizeof d->port, "%s", colon + 1);
	return true;
}

static void on_refused(uv_timer_t *t)
{
	tell(t->data, -1);
}

struct dialer *dialer_new(struct worker *w, const char *address, unsigned limit_ms,
	void (*done)(void *arg, int fd, const char *why), void *arg)
{
	static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct dialer *d = MEM_NEW(struct dialer);
	*d = (struct dialer){.worker = w, .done = done, .arg = arg, .pieces = 1};
	d->lookup.data = d->timer.data = d;
	uv_timer_init(&w->loop, &d->timer);
	d->end_ms = uv_now(&w->loop) + limit_ms;
	int rc = UV_EINVAL;
	if (!parse(d, address))
		failed(d, "not an address host:port");
	else if ((rc = uv_getaddrinfo(&w->loop, &d->lookup, on_found, d->host, d->port, &hints)) !=
		 0)
		failed(d, uv_strerror(rc));
	if (rc == 0) {
		d->looking = true;
		d->pieces++;
		set_timer(d);
	} else {
		uv_timer_start(&d->timer, on_refused, 0, 0);
	}
	return d;
}

void dialer_cancel(struct dialer *d)
{
	if (!d->over)
		end(d);
}

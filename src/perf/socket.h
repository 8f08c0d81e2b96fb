/* SPDX-License-Identifier: Apache-2.0
 *
 * An outgoing TCP connection: bytes in, bytes out, an end. One object per attempt; it frees itself
 * some time after socket_close().
 */
#ifndef WARREN_PERF_SOCKET_H
#define WARREN_PERF_SOCKET_H

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/perf/turn.h"

enum {
	SOCKET_HIGH = 256 * 1024, /* pending octets at which there is no room */
	SOCKET_LOW = 64 * 1024,   /* and at which there is again */
};

struct socket_owner {
	void (*connected)(void *arg);
	/* Bytes arrived at `now`; returns how many were consumed, the rest is offered again with
	 * more behind it. Valid within the call. May call socket_close(). */
	size_t (*read)(void *arg, struct slice in, uint64_t now_ns);
	/* There is room again, after socket_room() said no. */
	void (*drained)(void *arg);
	/* It could not be opened, or is over; the owner calls socket_close() in turn. */
	void (*ended)(void *arg, const char *why);
};

struct socket {
	struct turn *turn;
	const struct socket_owner *owner; /* NULL once closed */
	void *arg;
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_write_t write;
	struct turn_job flush;
	struct buf out;     /* to be written */
	struct buf writing; /* with the kernel; not empty: a uv_write is under way */
	struct buf in;      /* what the owner has left */
	uint64_t sent;      /* octets */
	uint64_t received;
	bool connected;
	bool wanted;     /* somebody waits for room */
	unsigned buffer; /* octets for the kernel's buffers */
	int refused;     /* what uv_tcp_connect() said */
};

/* Looks a host up, once and blocking. 0 or a libuv error. */
int socket_resolve(
	struct turn *t, const char *host, const char *port, struct sockaddr_storage *ret);

/* Begins to connect; `buffer` octets for the kernel's buffers, 0 for its own choice. The owner is
 * told of everything later, also of failure. */
struct socket *socket_open(struct turn *t, const struct sockaddr_storage *to, unsigned buffer,
	const struct socket_owner *owner, void *arg);

/* Where to append output; it is flushed at the turn's end. */
static inline struct buf *socket_out(struct socket *s)
{
	turn_flush_later(s->turn, &s->flush);
	return &s->out;
}

static inline size_t socket_pending(const struct socket *s)
{
	return s->out.n + s->writing.n;
}

/* May more be appended? If not, drained() will tell. */
static inline bool socket_room(struct socket *s)
{
	s->wanted = socket_pending(s) >= SOCKET_HIGH;
	return !s->wanted;
}

/* Tries once to write what is pending, and never calls the owner again. */
void socket_close(struct socket *s);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A connected byte stream with one buffer per direction. One vtable for TCP and TLS.
 *
 * Reading: the worker's read buffer is shared by all its streams; what the owner does not consume
 * is kept per stream and offered again, with more behind it, at the next read. An idle stream holds
 * no buffer. Writing: the owner appends to stream_out() during the turn; stream_flush() at its end
 * makes one write of it. Bytes that are elsewhere already are written from there by
 * stream_write_parts(). All on the worker's thread.
 */
#ifndef WARREN_NET_STREAM_H
#define WARREN_NET_STREAM_H

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/loop/worker.h"

struct stream;

struct stream_owner {
	/* Bytes arrived; returns how many were consumed. The bytes are valid inside the call. May
	 * call stream_close(). */
	size_t (*on_read)(void *arg, const uint8_t *p, size_t n);
	/* Output that was pending has fallen to or below the low mark (STREAM_LOW). */
	void (*on_drained)(void *arg);
	/* The peer closed or an error happened (`why`: a short text, or NULL for a clean end). Not
	 * called after stream_close(). The owner calls stream_close() in turn. */
	void (*on_end)(void *arg, const char *why);
	/* After stream_close(): the stream is gone when this returns. */
	void (*on_closed)(void *arg);
	/* What stream_write_parts() left under way is written. Not called after stream_close().
	 * NULL if the owner never calls that. */
	void (*on_written)(void *arg);
};

enum {
	STREAM_LOW = 256 * 1024,
	STREAM_KEEP_MAX = 64 * 1024, /* unconsumed bytes beyond a frame the owner waits for */
	STREAM_PARTS_MAX = 512,
};

/* An accepted socket; `fd` is taken over, also on failure. NULL if libuv refuses it. */
struct stream *stream_tcp_new(
	struct worker *w, int fd, const struct stream_owner *owner, void *arg);

struct ssl_ctx_st;

/* The same with TLS over it: `context` as tls_context_new() makes it; `dials`: this end has dialled. Output
 * waits for the handshake, and on_read() is called for what comes behind it; how long it may take is the
 * owner's to say, by stream_close(). on_end() tells why it has failed. */
struct stream *stream_tls_new(struct worker *w, int fd, struct ssl_ctx_st *context, bool dials,
	const struct stream_owner *owner, void *arg);

/* Octets (32) that both ends of this connection know, and no other connection has: 0 octets where there is no TLS
 * or its handshake is not done. */
size_t stream_binding(const struct stream *s, uint8_t *ret, size_t n);

/* Where to append output; flushed with stream_flush(). */
struct buf *stream_out(struct stream *s);
/* Starts writing what was appended. */
void stream_flush(struct stream *s);
/* Writes up to STREAM_PARTS_MAX pieces from where they are, in one go; only while stream_pending()
 * is 0. 1: all of them are written. 0: the rest is under way: the bytes (not the array) must stay
 * until on_written(), or else until on_closed(). -1: it failed, and on_end() follows. What is
 * appended to stream_out() meanwhile is written behind them. */
int stream_write_parts(struct stream *s, const struct slice *parts, unsigned n);
/* Bytes appended or being written and not yet taken by the kernel. */
size_t stream_pending(const struct stream *s);
/* Stops and resumes reading (back pressure). What was kept is offered again soon after the resume,
 * also if nothing more arrives. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
/* Bytes since the start. */
uint64_t stream_received(const struct stream *s);
uint64_t stream_sent(const struct stream *s);
/* Reads that have brought some, and writes that were begun. */
uint64_t stream_reads(const struct stream *s);
uint64_t stream_writes(const struct stream *s);
/* As round_trip_us(); 0 also behind stream_close(). */
unsigned stream_round_trip_us(const struct stream *s);
/* "127.0.0.1:50432 -> 127.0.0.1:5672", as log lines and listings name a connection. */
const char *stream_name(const struct stream *s);
/* The peer is a loopback address. */
bool stream_loopback(const struct stream *s);
/* Tries to write what is pending for at most `linger_ms`, then closes; on_closed() follows later.
 * With a linger the end of output is sent first, and what the peer still sends is dropped until it
 * closes or the time is over: closing at once would make the kernel reset the connection and could
 * take the last frames from the peer. */
void stream_close(struct stream *s, unsigned linger_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What a stream is inside: the part that all kinds share, and the functions that make the
 * difference. Only for src/net/stream*.c.
 *
 *            stream_room() stream_arrived()              owner->on_read()
 *   socket ---------------------------------> read buffer ----------------> owner
 *     ^             ops->flush()              keep (what the owner left)      |
 *     +-------------------------- out <---------------------------------------+
 */
#ifndef WARREN_NET_STREAM_IMPL_H
#define WARREN_NET_STREAM_IMPL_H

#include "src/net/stream.h"

struct stream_ops {
	/* Writes `out`, or remembers to do so when the write under way has ended. */
	void (*flush)(struct stream *s);
	/* As stream_write_parts(); on_written() is the kind's to call. */
	int (*write_parts)(struct stream *s, const struct slice *parts, unsigned n);
	/* Bytes taken from `out`, or parts, and not yet by the kernel. */
	size_t (*in_flight)(const struct stream *s);
	void (*read_start)(struct stream *s);
	void (*read_stop)(struct stream *s);
	/* Reading has stopped; writes the rest for at most linger_ms, then stream_gone(). */
	void (*close)(struct stream *s, unsigned linger_ms);
	/* As stream_binding(); NULL: never anything. */
	size_t (*binding)(const struct stream *s, uint8_t *ret, size_t n);
	/* Frees the stream's memory. */
	void (*release)(struct stream *s);
};

/* Embedded first in each kind of stream. */
struct stream {
	const struct stream_ops *ops;
	const struct stream_owner *owner;
	void *arg;
	struct worker *worker;
	int fd;           /* from stream_identify() on, for questions only */
	struct buf out;   /* appended, not yet flushed */
	struct buf keep;  /* arrived, not yet consumed; in front of what arrives next */
	size_t room_at;   /* where stream_room() pointed in the shared buffer; 0: behind `keep` */
	struct mail news; /* to itself: what the owner is told outside of its own calls */
	const char *end_why; /* with news_end */
	uint64_t received, reads;
	uint64_t sent, writes;
	bool paused : 1;
	bool above_low : 1; /* pending output was above STREAM_LOW: on_drained() is due later */
	bool ended : 1;     /* on_end() was called or is in the news */
	bool closing : 1;
	bool offering : 1; /* on_read() is running */
	bool gone : 1;     /* only the news keep it from being freed */
	bool loopback : 1;
	bool posted : 1; /* `news` is in the mailbox */
	bool news_offer : 1;
	bool news_drained : 1;
	bool news_end : 1;
	char name[112]; /* two times "[IPv6]:port" and an arrow */
};

void stream_init(struct stream *s, const struct stream_ops *ops, struct worker *w,
	const struct stream_owner *owner, void *arg);
/* Fills in the name, `loopback` and `fd` from the socket. */
void stream_identify(struct stream *s, int fd);

/* Where the next bytes are to be put; valid within the same callback. */
uint8_t *stream_room(struct stream *s, size_t *ret_n);
/* n bytes were put there: offers them to the owner. */
void stream_arrived(struct stream *s, size_t n);
/* Something will be appended to `keep`. */
void stream_keep_begin(struct stream *s);
/* n bytes were appended to `keep`: offers it to the owner. */
void stream_kept(struct stream *s, size_t n);
/* Output was taken by the kernel. `inside`: within a call of the owner, so tell it later. */
void stream_written(struct stream *s, bool inside);
/* The stream has come to its end by itself; reports it once. */
void stream_end(struct stream *s, const char *why, bool inside);
/* The kind has closed its handles: on_closed(), release(). */
void stream_gone(struct stream *s);

/* Gives an emptied buffer to the worker's spares. */
void stream_spare(struct worker *w, struct buf *b);

#endif

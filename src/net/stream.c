/* SPDX-License-Identifier: Apache-2.0
 *
 * What all kinds of streams share: the read buffer, kept bytes, the owner's callbacks, names.
 *
 * Bytes are read into the worker's shared buffer, a little way in, so that what the owner left last
 * time is copied in front and both are offered as one piece. When an owner waits for a big frame
 * (more than STREAM_KEEP_MAX kept) the stream reads behind `keep` itself instead: nothing is copied
 * twice, and what is held is at most that frame and STREAM_KEEP_MAX more.
 *
 * Owner's calls never call the owner back: what they cause is told by mail to oneself, within the
 * same turn of the loop.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "src/net/round_trip.h"
#include "src/net/stream_impl.h"

void stream_spare(struct worker *w, struct buf *b)
{
	if (b->cap > 0 && b->cap <= WORKER_SPARE_MAX && w->spares < WORKER_SPARES) {
		buf_clear(b);
		w->spare[w->spares++] = *b;
		*b = BUF_EMPTY;
	} else {
		buf_done(b);
	}
}

static size_t offer(struct stream *s, const uint8_t *p, size_t n)
{
	s->offering = true;
	size_t used = s->owner->on_read(s->arg, p, n);
	s->offering = false;
	assert(used <= n);
	return used;
}

static void offer_kept(struct stream *s)
{
	if (s->closing || s->paused || s->offering || s->keep.n == 0)
		return;
	size_t used = offer(s, s->keep.p, s->keep.n);
	if (s->closing)
		return;
	buf_consume(&s->keep, used);
	if (s->keep.n == 0)
		stream_spare(s->worker, &s->keep);
}

static void news_deliver(struct mail *m, struct worker *w)
{
	(void)w;
	struct stream *s = (struct stream *)((char *)m - offsetof(struct stream, news));
	s->posted = false;
	if (s->gone) {
		stream_gone(s);
		return;
	}
	if (s->news_offer) {
		s->news_offer = false;
		offer_kept(s);
	}
	if (s->news_drained) {
		s->news_drained = false;
		if (!s->closing && !s->ended)
			s->owner->on_drained(s->arg);
	}
	if (s->news_end && !s->closing) {
		s->news_end = false;
		s->owner->on_end(s->arg, s->end_why);
	}
}

static void news_post(struct stream *s)
{
	if (s->posted)
		return;
	s->posted = true;
	s->news.deliver = news_deliver;
	worker_post(s->worker, &s->news);
}

uint8_t *stream_room(struct stream *s, size_t *ret_n)
{
	if (s->keep.n > STREAM_KEEP_MAX) {
		s->room_at = 0;
		buf_reserve(&s->keep, STREAM_KEEP_MAX);
		*ret_n = STREAM_KEEP_MAX;
		return s->keep.p + s->keep.n;
	}
	s->room_at = STREAM_KEEP_MAX;
	*ret_n = WORKER_READ_SIZE - STREAM_KEEP_MAX;
	return s->worker->read_buf + s->room_at;
}

/* The mail that is delivered before the bytes may pause or close this stream, or make it consume
 * what was kept. */
static void arrived_shared(struct stream *s, size_t n)
{
	uint8_t *p = s->worker->read_buf + s->room_at;
	worker_deliver(s->worker);
	if (s->closing)
		return;
	if (s->paused || s->keep.n > s->room_at) {
		buf_put_bytes(&s->keep, p, n);
		return;
	}
	size_t kept = s->keep.n;
	if (kept > 0) {
		p -= kept;
		n += kept;
		memcpy(p, s->keep.p, kept);
		buf_clear(&s->keep);
	}
	size_t used = offer(s, p, n);
	if (used < n && !s->closing)
		buf_put_bytes(&s->keep, p + used, n - used);
	else
		buf_done(&s->keep);
}

void stream_arrived(struct stream *s, size_t n)
{
	s->received += n;
	s->reads++;
	if (s->room_at > 0) {
		arrived_shared(s, n);
		return;
	}
	s->keep.n += n;
	worker_deliver(s->worker);
	offer_kept(s);
}

/* An emptied buffer of the worker, if there is one. */
static void spare_take(struct worker *w, struct buf *b)
{
	if (b->cap == 0 && w->spares > 0)
		*b = w->spare[--w->spares];
}

void stream_keep_begin(struct stream *s)
{
	spare_take(s->worker, &s->keep);
}

void stream_kept(struct stream *s, size_t n)
{
	s->received += n;
	s->reads++;
	if (n > 0)
		offer_kept(s);
	if (s->keep.n == 0)
		stream_spare(s->worker, &s->keep);
}

void stream_written(struct stream *s, bool inside)
{
	if (!s->above_low || stream_pending(s) > STREAM_LOW)
		return;
	s->above_low = false;
	if (s->closing || s->ended)
		return;
	if (inside) {
		s->news_drained = true;
		news_post(s);
	} else {
		s->owner->on_drained(s->arg);
	}
}

void stream_end(struct stream *s, const char *why, bool inside)
{
	if (s->ended || s->closing)
		return;
	s->ended = true;
	s->ops->read_stop(s);
	if (inside) {
		s->news_end = true;
		s->end_why = why;
		news_post(s);
	} else {
		s->owner->on_end(s->arg, why);
	}
}

void stream_gone(struct stream *s)
{
	s->gone = true;
	if (s->posted)
		return; /* the mail is on its way and comes back here */
	s->owner->on_closed(s->arg);
	buf_done(&s->out);
	buf_done(&s->keep);
	s->ops->release(s);
}

struct buf *stream_out(struct stream *s)
{
	spare_take(s->worker, &s->out);
	return &s->out;
}

void stream_flush(struct stream *s)
{
	if (s->out.n == 0 || s->closing)
		return;
	if (stream_pending(s) > STREAM_LOW)
		s->above_low = true;
	s->writes++;
	s->ops->flush(s);
}

int stream_write_parts(struct stream *s, const struct slice *parts, unsigned n)
{
	assert(n <= STREAM_PARTS_MAX && stream_pending(s) == 0);
	s->writes++;
	return s->closing || s->ended ? -1 : s->ops->write_parts(s, parts, n);
}

size_t stream_pending(const struct stream *s)
{
	return s->out.n + s->ops->in_flight(s);
}

void stream_pause(struct stream *s)
{
	if (s->paused || s->closing)
		return;
	s->paused = true;
	if (!s->ended)
		s->ops->read_stop(s);
}

void stream_resume(struct stream *s)
{
	if (!s->paused || s->closing)
		return;
	s->paused = false;
	if (!s->ended)
		s->ops->read_start(s);
	s->news_offer = true;
	news_post(s);
}

void stream_close(struct stream *s, unsigned linger_ms)
{
	if (s->closing)
		return;
	s->closing = true;
	s->ops->read_stop(s);
	s->ops->close(s, linger_ms);
}

size_t stream_binding(const struct stream *s, uint8_t *ret, size_t n)
{
	return s->ops->binding != NULL ? s->ops->binding(s, ret, n) : 0;
}

uint64_t stream_received(const struct stream *s)
{
	return s->received;
}

uint64_t stream_sent(const struct stream *s)
{
	return s->sent;
}

uint64_t stream_reads(const struct stream *s)
{
	return s->reads;
}

uint64_t stream_writes(const struct stream *s)
{
	return s->writes;
}

unsigned stream_round_trip_us(const struct stream *s)
{
	return s->closing ? 0 : round_trip_us(s->fd);
}

const char *stream_name(const struct stream *s)
{
	return s->name;
}

bool stream_loopback(const struct stream *s)
{
	return s->loopback;
}

/* An IPv4 peer of an IPv6 listener is an IPv4 peer. */
static void unmap(struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	if (ss->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = in6->sin6_port};
	memcpy(&in.sin_addr, in6->sin6_addr.s6_addr + 12, 4);
	memcpy(ss, &in, sizeof in);
}

static void address_text(const struct sockaddr_storage *ss, char *text, size_t n)
{
	char ip[INET6_ADDRSTRLEN];
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
		snprintf(text, n, "%s:%u", ip, ntohs(in->sin_port));
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
		snprintf(text, n, "[%s]:%u", ip, ntohs(in6->sin6_port));
	} else {
		snprintf(text, n, "%s", ss->ss_family == AF_UNIX ? "local" : "unknown");
	}
}

static bool address_loopback(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	}
	return ss->ss_family == AF_UNIX;
}

void stream_identify(struct stream *s, int fd)
{
	struct sockaddr_storage peer = {0}, here = {0};
	socklen_t n = sizeof peer;
	if (getpeername(fd, (struct sockaddr *)&peer, &n) != 0)
		peer.ss_family = AF_UNSPEC;
	n = sizeof here;
	if (getsockname(fd, (struct sockaddr *)&here, &n) != 0)
		here.ss_family = AF_UNSPEC;
	unmap(&peer);
	unmap(&here);
	s->fd = fd;
	s->loopback = address_loopback(&peer);
	char from[INET6_ADDRSTRLEN + 8], to[INET6_ADDRSTRLEN + 8];
	address_text(&peer, from, sizeof from);
	address_text(&here, to, sizeof to);
	snprintf(s->name, sizeof s->name, "%s -> %s", from, to);
}

void stream_init(struct stream *s, const struct stream_ops *ops, struct worker *w,
	const struct stream_owner *owner, void *arg)
{
	s->ops = ops;
	s->worker = w;
	s->owner = owner;
	s->arg = arg;
}

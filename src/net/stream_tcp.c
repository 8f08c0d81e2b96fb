/* SPDX-License-Identifier: Apache-2.0
 *
 * The plain TCP stream.
 *
 * A flush tries to write at once, which nearly always takes everything. What the kernel does not
 * take becomes the write under way: `out` and `writing` change places, so nothing is copied, and
 * later flushes collect in `out` until that write has ended. Parts that lie elsewhere are tried the
 * same way, and what is left of them is written from there.
 *
 * Closing:  write the rest -> shut down output -> drop input until the peer's end -> closed,
 * each step skipped where there is nothing to do, and all of them cut short by the linger timer.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/net/stream_impl.h"

struct stream_tcp {
	struct stream base;
	uv_tcp_t tcp;
	uv_timer_t linger;
	uv_write_t req;
	struct buf writing; /* lent to libuv with the write under way */
	size_t rest;        /* bytes of the write under way, which the first try did not take; or 0 */
	bool parts;         /* it is one of parts, not of `writing` */
	bool flush_due;     /* a flush came while a write was under way */
	unsigned handles;   /* still to be closed */
};

static struct stream_tcp *of(struct stream *s)
{
	return (struct stream_tcp *)s;
}

static uv_stream_t *handle(struct stream_tcp *t)
{
	return (uv_stream_t *)&t->tcp;
}

/* ---- closing ---- */

static void on_handle_closed(uv_handle_t *h)
{
	struct stream_tcp *t = h->data;
	if (--t->handles > 0)
		return;
	buf_done(&t->writing);
	stream_gone(&t->base);
}

static void close_now(struct stream_tcp *t)
{
	if (uv_is_closing((uv_handle_t *)&t->tcp))
		return;
	uv_close((uv_handle_t *)&t->tcp, on_handle_closed);
	uv_close((uv_handle_t *)&t->linger, on_handle_closed);
}

static void on_linger_over(uv_timer_t *timer)
{
	close_now(timer->data);
}

static void on_drop_room(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	(void)hint;
	struct stream_tcp *t = h->data;
	*buf = uv_buf_init((char *)t->base.worker->read_buf, WORKER_READ_SIZE);
}

static void on_drop(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
	(void)buf;
	if (n < 0)
		close_now(h->data);
}

/* All is written. */
static void close_output(struct stream_tcp *t)
{
	uv_os_fd_t fd;
	if (!uv_is_active((uv_handle_t *)&t->linger) || t->base.ended ||
		uv_fileno((uv_handle_t *)&t->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0 ||
		uv_read_start(handle(t), on_drop_room, on_drop) != 0)
		close_now(t);
}

/* ---- writing ---- */

static void write_more(struct stream_tcp *t, bool inside);

static void on_write(uv_write_t *req, int status)
{
	struct stream_tcp *t = req->handle->data;
	struct stream *s = &t->base;
	bool parts = t->parts;
	if (status == 0)
		s->sent += t->rest;
	t->rest = 0;
	t->parts = false;
	buf_clear(&t->writing);
	stream_spare(s->worker, &t->writing);
	if (uv_is_closing((uv_handle_t *)&t->tcp))
		return;
	if (parts && status == 0 && !s->closing)
		s->owner->on_written(s->arg);
	worker_deliver(s->worker);
	/* That may have closed the stream, or begun a write of its own. */
	if (t->rest > 0 || uv_is_closing((uv_handle_t *)&t->tcp))
		return;
	if (status != 0 && s->closing)
		close_now(t);
	else if (status != 0)
		stream_end(s, uv_strerror(status), false);
	else if (t->flush_due || s->closing)
		write_more(t, false);
	else
		stream_written(s, false);
}

/* Hands what the kernel did not take to libuv. Returns an errno of libuv or 0. */
static int write_rest(struct stream_tcp *t, size_t taken)
{
	struct stream *s = &t->base;
	struct buf empty = t->writing;
	t->writing = s->out;
	s->out = empty;
	t->rest = t->writing.n - taken;
	uv_buf_t rest = uv_buf_init((char *)t->writing.p + taken, (unsigned)t->rest);
	return uv_write(&t->req, handle(t), &rest, 1, on_write);
}

static void write_failed(struct stream_tcp *t, int rc, bool inside)
{
	struct stream *s = &t->base;
	buf_done(&s->out);
	if (s->closing)
		close_now(t);
	else
		stream_end(s, uv_strerror(rc), inside);
}

static void write_more(struct stream_tcp *t, bool inside)
{
	struct stream *s = &t->base;
	t->flush_due = false;
	int taken = 0;
	if (s->out.n > 0) {
		uv_buf_t all = uv_buf_init((char *)s->out.p, (unsigned)s->out.n);
		taken = uv_try_write(handle(t), &all, 1);
		if (taken == UV_EAGAIN)
			taken = 0;
	}
	if (taken < 0) {
		write_failed(t, taken, inside);
		return;
	}
	s->sent += (size_t)taken;
	if ((size_t)taken < s->out.n) {
		int rc = write_rest(t, (size_t)taken);
		if (rc != 0)
			write_failed(t, rc, inside);
		return;
	}
	buf_clear(&s->out);
	stream_spare(s->worker, &s->out);
	if (s->closing)
		close_output(t);
	else
		stream_written(s, inside);
}

static void tcp_flush(struct stream *s)
{
	struct stream_tcp *t = of(s);
	if (t->rest > 0)
		t->flush_due = true;
	else
		write_more(t, true);
}

/* Moves past the first `taken` bytes; returns how many pieces are behind them. */
static unsigned parts_skip(uv_buf_t **parts, unsigned n, size_t taken)
{
	while (n > 0 && taken >= (*parts)->len) {
		taken -= (*parts)->len;
		(*parts)++;
		n--;
	}
	if (n > 0)
		**parts = uv_buf_init((*parts)->base + taken, (unsigned)((*parts)->len - taken));
	return n;
}

static int tcp_write_parts(struct stream *s, const struct slice *parts, unsigned n)
{
	struct stream_tcp *t = of(s);
	uv_buf_t bufs[STREAM_PARTS_MAX], *rest = bufs;
	size_t all = 0;
	for (unsigned i = 0; i < n; i++) {
		bufs[i] = uv_buf_init((char *)parts[i].p, (unsigned)parts[i].n);
		all += parts[i].n;
	}
	int taken = uv_try_write(handle(t), bufs, n);
	int rc = taken < 0 && taken != UV_EAGAIN ? taken : 0;
	if (rc == 0) {
		size_t done = taken > 0 ? (size_t)taken : 0;
		s->sent += done;
		n = parts_skip(&rest, n, done);
		if (n == 0)
			return 1;
		t->rest = all - done;
		t->parts = true;
		rc = uv_write(&t->req, handle(t), rest, n, on_write);
	}
	if (rc == 0)
		return 0;
	t->rest = 0;
	t->parts = false;
	write_failed(t, rc, true);
	return -1;
}

static size_t tcp_in_flight(const struct stream *s)
{
	const struct stream_tcp *t = (const struct stream_tcp *)s;
	if (t->rest == 0)
		return 0;
	/* The kernel may have taken all of it just now: until on_write() has been told, the request is in use. */
	size_t queued = uv_stream_get_write_queue_size((const uv_stream_t *)&t->tcp);
	return queued > 0 ? queued : 1;
}

/* ---- reading ---- */

static void on_room(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	(void)hint;
	struct stream_tcp *t = h->data;
	size_t n;
	uint8_t *p = stream_room(&t->base, &n);
	*buf = uv_buf_init((char *)p, (unsigned)n);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
	(void)buf;
	struct stream_tcp *t = h->data;
	if (n > 0) {
		stream_arrived(&t->base, (size_t)n);
	} else if (n < 0) {
		worker_deliver(t->base.worker);
		stream_end(&t->base, n == UV_EOF ? NULL : uv_strerror((int)n), false);
	}
}

static void tcp_read_start(struct stream *s)
{
	int rc = uv_read_start(handle(of(s)), on_room, on_read);
	if (rc != 0 && rc != UV_EALREADY)
		stream_end(s, uv_strerror(rc), true);
}

static void tcp_read_stop(struct stream *s)
{
	uv_read_stop(handle(of(s)));
}

static void tcp_close(struct stream *s, unsigned linger_ms)
{
	struct stream_tcp *t = of(s);
	if (linger_ms > 0)
		uv_timer_start(&t->linger, on_linger_over, linger_ms, 0);
	if (t->rest == 0)
		write_more(t, true);
	if (linger_ms == 0)
		close_now(t);
}

static void tcp_release(struct stream *s)
{
	mem_free(of(s));
}

static const struct stream_ops tcp_ops = {
	.flush = tcp_flush,
	.write_parts = tcp_write_parts,
	.in_flight = tcp_in_flight,
	.read_start = tcp_read_start,
	.read_stop = tcp_read_stop,
	.close = tcp_close,
	.release = tcp_release,
};

static void on_refused(uv_handle_t *h)
{
	struct stream_tcp *t = h->data;
	if (--t->handles == 0)
		mem_free(t);
}

struct stream *stream_tcp_new(struct worker *w, int fd, const struct stream_owner *owner, void *arg)
{
	struct stream_tcp *t = MEM_NEW(struct stream_tcp);
	stream_init(&t->base, &tcp_ops, w, owner, arg);
	uv_tcp_init(&w->loop, &t->tcp);
	uv_timer_init(&w->loop, &t->linger);
	t->tcp.data = t->linger.data = t;
	t->handles = 2;
	stream_identify(&t->base, fd);
	bool opened = uv_tcp_open(&t->tcp, fd) == 0;
	if (!opened || uv_read_start(handle(t), on_room, on_read) != 0) {
		if (!opened)
			close(fd);
		uv_close((uv_handle_t *)&t->tcp, on_refused);
		uv_close((uv_handle_t *)&t->linger, on_refused);
		return NULL;
	}
	uv_tcp_nodelay(&t->tcp, 1); /* a flush is a whole turn's output: waiting gains nothing */
	return &t->base;
}

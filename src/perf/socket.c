/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/socket.h"

#include "src/base/mem.h"

int socket_resolve(struct turn *t, const char *host, const char *port, struct sockaddr_storage *ret)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	uv_getaddrinfo_t req;
	int rc = uv_getaddrinfo(&t->loop, &req, NULL, host, port, &hints);
	if (rc != 0)
		return rc;
	memcpy(ret, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
	uv_freeaddrinfo(req.addrinfo);
	return 0;
}

static const char *reason(int rc)
{
	switch (rc) {
	case UV_EOF:
		return "closed by the broker";
	case UV_EMFILE:
		return "too many open files; allow this process more of them (ulimit -n)";
	default:
		return uv_strerror(rc);
	}
}

static void end(struct socket *s, int rc)
{
	if (s->owner != NULL)
		s->owner->ended(s->arg, reason(rc));
}

/* --- writing --- */

static void tell_room(struct socket *s)
{
	if (!s->wanted || s->owner == NULL || socket_pending(s) > SOCKET_LOW)
		return;
	s->wanted = false;
	s->owner->drained(s->arg);
}

static void on_written(uv_write_t *write, int status)
{
	struct socket *s = write->data;
	s->sent += s->writing.n;
	buf_clear(&s->writing);
	if (s->owner == NULL)
		return;
	if (status != 0) {
		end(s, status);
		return;
	}
	if (s->out.n > 0)
		turn_flush_later(s->turn, &s->flush);
	tell_room(s);
}

/* The rest of `out` behind its first n octets goes to libuv, which waits for the kernel. */
static int write_rest(struct socket *s, size_t n)
{
	struct buf empty = s->writing;
	s->writing = s->out;
	s->out = empty;
	uv_buf_t b = uv_buf_init((char *)s->writing.p + n, (unsigned)(s->writing.n - n));
	return uv_write(&s->write, (uv_stream_t *)&s->tcp, &b, 1, on_written);
}

static void on_flush(struct turn_job *job)
{
	struct socket *s = LIST_ENTRY(job, struct socket, flush);
	if (!s->connected || s->writing.n > 0 || s->out.n == 0)
		return;
	uv_buf_t b = uv_buf_init((char *)s->out.p, (unsigned)s->out.n);
	int n = uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
	if (n == UV_EAGAIN)
		n = 0;
	if (n >= 0 && (size_t)n == s->out.n) {
		s->sent += s->out.n;
		buf_clear(&s->out);
		tell_room(s);
		return;
	}
	int rc = n >= 0 ? write_rest(s, (size_t)n) : n;
	if (rc != 0)
		end(s, rc);
}

/* --- reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)suggested;
	struct socket *s = handle->data;
	*buf = uv_buf_init((char *)s->turn->read_buf, TURN_READ_SIZE);
}

/* First the bytes that were left over, with the new ones behind them. */
static void take_in(struct socket *s, const uint8_t *p, size_t n)
{
	bool fresh = s->in.n == 0;
	if (!fresh)
		buf_put_bytes(&s->in, p, n);
	struct slice all = fresh ? slice_make(p, n) : buf_slice(&s->in);
	size_t used = s->owner->read(s->arg, all, uv_hrtime());
	if (s->owner == NULL)
		return;
	if (fresh)
		buf_put_bytes(&s->in, p + used, n - used);
	else
		buf_consume(&s->in, used);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct socket *s = stream->data;
	if (s->owner == NULL || n == 0)
		return;
	if (n < 0) {
		end(s, (int)n);
		return;
	}
	s->received += (uint64_t)n;
	take_in(s, (const uint8_t *)buf->base, (size_t)n);
}

/* --- opening and closing --- */

static void set_buffers(struct socket *s)
{
	int n = (int)s->buffer;
	if (n == 0)
		return;
	/* What the system does not grant is no reason to stop. */
	uv_send_buffer_size((uv_handle_t *)&s->tcp, &n);
	uv_recv_buffer_size((uv_handle_t *)&s->tcp, &n);
}

static void on_connect(uv_connect_t *connect, int status)
{
	struct socket *s = connect->data;
	if (s->owner == NULL)
		return;
	if (status == 0)
		status = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
	if (status != 0) {
		end(s, status);
		return;
	}
	uv_tcp_nodelay(&s->tcp, 1);
	set_buffers(s);
	s->connected = true;
	s->owner->connected(s->arg);
}

/* What uv_tcp_connect() refused at once; told like any other failure. */
static void on_refused(struct turn_job *job)
{
	struct socket *s = LIST_ENTRY(job, struct socket, flush);
	end(s, s->refused);
}

struct socket *socket_open(struct turn *t, const struct sockaddr_storage *to, unsigned buffer,
	const struct socket_owner *owner, void *arg)
{
	struct socket *s = MEM_NEW(struct socket);
	s->turn = t;
	s->owner = owner;
	s->arg = arg;
	turn_job_init(&s->flush, on_flush);
	uv_tcp_init(&t->loop, &s->tcp);
	s->tcp.data = s;
	s->connect.data = s;
	s->write.data = s;
	s->buffer = buffer;
	s->refused = uv_tcp_connect(&s->connect, &s->tcp, (const struct sockaddr *)to, on_connect);
	if (s->refused != 0) {
		s->flush.run = on_refused;
		turn_flush_later(t, &s->flush);
	}
	return s;
}

static void on_closed(uv_handle_t *handle)
{
	struct socket *s = handle->data;
	buf_done(&s->out);
	buf_done(&s->writing);
	buf_done(&s->in);
	mem_free(s);
}

void socket_close(struct socket *s)
{
	turn_forget(&s->flush);
	s->owner = NULL;
	if (s->connected && s->writing.n == 0 && s->out.n > 0) {
		uv_buf_t b = uv_buf_init((char *)s->out.p, (unsigned)s->out.n);
		uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
	}
	uv_close((uv_handle_t *)&s->tcp, on_closed);
}

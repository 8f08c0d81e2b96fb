/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/manage/control_path.h"

enum { LENGTH_SIZE = 4, BACKLOG = 16, READ_FIRST = 4096 };

struct control {
	uv_pipe_t pipe;
	struct api *api;
	struct list connections; /* struct peer.link */
	unsigned n_connections;
	unsigned handles; /* not closed yet */
	bool closing;
	char path[CONTROL_PATH_MAX];
};

/* A connection; freed when its handle is closed and its call is over. */
struct peer {
	uv_pipe_t pipe;
	uv_write_t write;
	struct list link;
	struct control *control; /* NULL: closed */
	struct buf in;
	char *out;
	uint8_t head[LENGTH_SIZE];
	bool calling, closed;
};

static void peer_release(struct peer *p)
{
	if (!p->closed || p->calling)
		return;
	buf_done(&p->in);
	free(p->out);
	mem_free(p);
}

static void control_release(struct control *c)
{
	if (--c->handles == 0)
		mem_free(c);
}

static void peer_on_closed(uv_handle_t *h)
{
	struct peer *p = h->data;
	struct control *c = p->control;
	p->closed = true;
	p->control = NULL;
	peer_release(p);
	control_release(c);
}

static void peer_close(struct peer *p)
{
	if (uv_is_closing((uv_handle_t *)&p->pipe))
		return;
	list_remove(&p->link);
	p->control->n_connections--;
	uv_close((uv_handle_t *)&p->pipe, peer_on_closed);
}

static void peer_next(struct peer *p);

static void peer_on_written(uv_write_t *w, int status)
{
	struct peer *p = w->data;
	free(p->out);
	p->out = NULL;
	if (status < 0)
		peer_close(p);
	else
		peer_next(p);
}

static void peer_on_reply(void *arg, json_t *reply)
{
	struct peer *p = arg;
	p->calling = false;
	if (p->closed || uv_is_closing((uv_handle_t *)&p->pipe)) {
		json_decref(reply);
		peer_release(p);
		return;
	}
	p->out = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	size_t n = strlen(p->out);
	store_u32be(p->head, (uint32_t)n);
	uv_buf_t bufs[] = {uv_buf_init((char *)p->head, sizeof p->head),
		uv_buf_init(p->out, (unsigned)n)};
	p->write.data = p;
	uv_write(&p->write, (uv_stream_t *)&p->pipe, bufs, 2, peer_on_written);
}

/* Runs the next whole request, unless one is under way. */
static void peer_next(struct peer *p)
{
	if (p->calling || p->out != NULL || p->in.n < LENGTH_SIZE)
		return;
	size_t n = load_u32be(p->in.p);
	if (n > CONTROL_REQUEST_MAX) {
		peer_close(p);
		return;
	}
	if (p->in.n < LENGTH_SIZE + n)
		return;
	json_t *request = json_loadb((const char *)p->in.p + LENGTH_SIZE, n, 0, NULL);
	buf_consume(&p->in, LENGTH_SIZE + n);
	p->calling = true;
	api_request(p->control->api, request, peer_on_reply, p);
	json_decref(request);
}

static void peer_on_room(uv_handle_t *h, size_t hint, uv_buf_t *ret)
{
	struct peer *p = h->data;
	(void)hint;
	buf_reserve(&p->in, READ_FIRST);
	*ret = uv_buf_init((char *)p->in.p + p->in.n, (unsigned)(p->in.cap - p->in.n));
}

static void peer_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct peer *p = s->data;
	(void)buf;
	if (n < 0) {
		peer_close(p);
		return;
	}
	p->in.n += (size_t)n;
	if (p->in.n > LENGTH_SIZE + (size_t)CONTROL_REQUEST_MAX)
		peer_close(p);
	else
		peer_next(p);
}

static void control_on_connection(uv_stream_t *s, int status)
{
	struct control *c = s->data;
	if (status < 0 || c->closing)
		return;
	struct peer *p = MEM_NEW(struct peer);
	p->control = c;
	c->handles++;
	c->n_connections++;
	list_push_back(&c->connections, &p->link);
	uv_pipe_init(s->loop, &p->pipe, 0);
	p->pipe.data = p;
	if (uv_accept(s, (uv_stream_t *)&p->pipe) != 0 ||
		c->n_connections > CONTROL_CONNECTIONS_MAX ||
		uv_read_start((uv_stream_t *)&p->pipe, peer_on_room, peer_on_read) != 0)
		peer_close(p);
}

/* ---- opening ---- */

static int make_directory(const char *path)
{
	char dir[CONTROL_PATH_MAX];
	snprintf(dir, sizeof dir, "%s", path);
	*strrchr(dir, '/') = '\0';
	return mkdir(dir, 0750) == 0 || errno == EEXIST ? 0 : -errno;
}

/* The store's lock says that no other node of this name and directory runs; a socket that is left is
 * of one that has ended, or of one with the same name and other data. */
static int remove_stale(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	memcpy(to.sun_path, path, strlen(path) + 1);
	int rc = connect(fd, (struct sockaddr *)&to, sizeof to);
	int err = errno;
	close(fd);
	if (rc == 0 || err == EAGAIN)
		return -EADDRINUSE;
	if (err == ECONNREFUSED)
		unlink(path);
	return 0;
}

static int control_open(struct control *c, struct worker *w, const char *node_name)
{
	if (!control_path(c->path, node_name))
		return -ENAMETOOLONG;
	int rc = make_directory(c->path);
	if (rc == 0)
		rc = remove_stale(c->path);
	if (rc != 0)
		return rc;
	uv_pipe_init(&w->loop, &c->pipe, 0);
	c->handles = 1;
	c->pipe.data = c;
	mode_t mask = umask(0117);
	rc = uv_pipe_bind(&c->pipe, c->path);
	umask(mask);
	return rc != 0 ? rc : uv_listen((uv_stream_t *)&c->pipe, BACKLOG, control_on_connection);
}

static void control_on_closed(uv_handle_t *h)
{
	control_release(h->data);
}

struct control *control_new(
	struct worker *w, struct api *api, const char *node_name, char *err, size_t err_n)
{
	struct control *c = MEM_NEW(struct control);
	c->api = api;
	list_init(&c->connections);
	int rc = control_open(c, w, node_name);
	if (rc == 0)
		return c;
	snprintf(err, err_n, "control socket %s: %s", c->path, uv_strerror(rc));
	if (c->handles > 0)
		uv_close((uv_handle_t *)&c->pipe, control_on_closed);
	else
		mem_free(c);
	return NULL;
}

void control_close(struct control *c)
{
	c->closing = true;
	while (!list_empty(&c->connections))
		peer_close(LIST_ENTRY(c->connections.next, struct peer, link));
	uv_close((uv_handle_t *)&c->pipe, control_on_closed); /* removes the file */
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/call.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/bytes.h"
#include "src/base/mem.h"
#include "src/manage/control_path.h"

enum { LENGTH_SIZE = 4, REPLY_MAX = 1 << 30 };

static int fail(struct call *c, const char *error, const char *fmt, const char *text)
{
	snprintf(c->error, sizeof c->error, "%s", error);
	snprintf(c->message, sizeof c->message, fmt, c->node, text);
	return -1;
}

static int unreachable(struct call *c, const char *why)
{
	return fail(c, "unreachable", "unable to perform an operation on node '%s': %s", why);
}

static int timed_out(struct call *c)
{
	char value[32];
	snprintf(value, sizeof value, "%g", c->timeout_s);
	return fail(c, "timeout", "operation on node '%s' timed out. Timeout value used: %s s", value);
}

static int lost(struct call *c)
{
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return timed_out(c);
	return unreachable(c, errno != 0 ? strerror(errno) : "it has closed the connection");
}

static void set_timeouts(int fd, double s)
{
	struct timeval tv = {(time_t)s, (suseconds_t)((s - (double)(time_t)s) * 1e6)};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

/* A node of this name on this machine. -1 with errno if there is none. */
static int connect_here(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	memcpy(to.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	int err = errno;
	close(fd);
	errno = err;
	return -1;
}

static int call_connect(struct call *c, struct remote *ret)
{
	struct remote_node node;
	char path[CONTROL_PATH_MAX], remote[512], why[CONTROL_PATH_MAX + 1024];
	if (remote_parse(&node, c->node) != 0)
		return unreachable(c, "a node is called NAME@HOST or NAME@HOST:PORT");
	if (!control_path(path, node.name))
		return unreachable(c, "the path of its control socket is too long");
	*ret = (struct remote){.fd = connect_here(path)};
	if (ret->fd >= 0) {
		if (c->timeout_s > 0)
			set_timeouts(ret->fd, c->timeout_s);
		return 0;
	}
	bool absent = errno == ENOENT || errno == ECONNREFUSED;
	const char *here = absent ? "it is not running here" : strerror(errno);
	c->elsewhere = absent && remote_connect(ret, &node, &c->proof, c->timeout_s, remote, sizeof remote) == 0;
	if (c->elsewhere)
		return 0;
	snprintf(why, sizeof why,
		"%s\ncontrol socket: %s\n%s%s%sIs the node started, and WARREN_RUN_DIR the same for both?",
		here, path, absent ? "nor can it be reached elsewhere: " : "", absent ? remote : "",
		absent ? "\n" : "");
	return unreachable(c, why);
}

static int send_all(struct remote *r, const void *p, size_t n)
{
	const char *at = p;
	while (n > 0) {
		ssize_t k = remote_send(r, at, n);
		if (k < 0 && errno != EINTR)
			return -1;
		at += k > 0 ? k : 0;
		n -= k > 0 ? (size_t)k : 0;
	}
	return 0;
}

static int receive_all(struct remote *r, void *p, size_t n)
{
	char *at = p;
	while (n > 0) {
		errno = 0;
		ssize_t k = remote_receive(r, at, n);
		if (k == 0 || (k < 0 && errno != EINTR))
			return -1;
		at += k > 0 ? k : 0;
		n -= k > 0 ? (size_t)k : 0;
	}
	return 0;
}

static int call_send(struct call *c, struct remote *r, json_t *request)
{
	uint8_t head[LENGTH_SIZE];
	char *text = json_dumps(request, JSON_COMPACT);
	store_u32be(head, (uint32_t)strlen(text));
	int rc = send_all(r, head, sizeof head) == 0 && send_all(r, text, strlen(text)) == 0
			 ? 0
			 : lost(c);
	free(text);
	return rc;
}

static json_t *call_receive(struct call *c, struct remote *r)
{
	uint8_t head[LENGTH_SIZE];
	if (receive_all(r, head, sizeof head) != 0) {
		lost(c);
		return NULL;
	}
	size_t n = load_u32be(head);
	if (n > REPLY_MAX) {
		unreachable(c, "its reply is too long");
		return NULL;
	}
	char *text = mem_alloc(n);
	json_t *reply = NULL;
	if (receive_all(r, text, n) != 0)
		lost(c);
	else if ((reply = json_loadb(text, n, JSON_ALLOW_NUL, NULL)) == NULL)
		unreachable(c, "its reply cannot be understood");
	mem_free(text);
	return reply;
}

static void take_missing(struct call *c, json_t *rows)
{
	size_t i, n = 0;
	json_t *row;
	json_array_foreach(rows, i, row)
	{
		const char *node = "", *why = "";
		json_unpack(row, "{s?ss?s}", "node", &node, "why", &why);
		if (n < sizeof c->missing)
			n += (size_t)snprintf(c->missing + n, sizeof c->missing - n,
				"Warning: what node %s knows is missing: %s\n", node, why);
	}
}

static int call_take(struct call *c, json_t *reply)
{
	const char *error = "bad_reply", *message = "";
	if (json_is_true(json_object_get(reply, "ok"))) {
		c->result = json_incref(json_object_get(reply, "result"));
		take_missing(c, json_object_get(reply, "missing"));
		return 0;
	}
	json_unpack(reply, "{s?ss?s}", "error", &error, "message", &message);
	snprintf(c->error, sizeof c->error, "%s", error);
	snprintf(c->message, sizeof c->message, "%s", message);
	return -1;
}

int call(struct call *c, const char *verb, json_t *args)
{
	json_t *request =
		json_pack("{ssso}", "verb", verb, "args", args != NULL ? args : json_object());
	c->result = NULL;
	int rc = -1;
	struct remote r;
	if (c->no_time) {
		timed_out(c);
	} else if (call_connect(c, &r) == 0) {
		json_t *reply = NULL;
		if (call_send(c, &r, request) == 0)
			reply = call_receive(c, &r);
		if (reply != NULL)
			rc = call_take(c, reply);
		json_decref(reply);
		remote_close(&r);
	}
	json_decref(request);
	return rc;
}

enum ctl_exit call_exit(const struct call *c)
{
	static const struct {
		const char *error;
		enum ctl_exit status;
	} statuses[] = {
		{"bad_request", CTL_UNAVAILABLE},
		{"unknown_verb", CTL_USAGE},
		{"running", CTL_USAGE},
		{"not_ready", CTL_USAGE},
		{"not_found", CTL_UNAVAILABLE},
		{"exists", CTL_SOFTWARE},
		{"refused", CTL_UNAVAILABLE},
		{"unavailable", CTL_UNAVAILABLE},
		{"starting", CTL_UNAVAILABLE},
		{"unreachable", CTL_UNAVAILABLE},
		{"timeout", CTL_TIMEOUT},
	};
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		if (strcmp(c->error, statuses[i].error) == 0)
			return statuses[i].status;
	return CTL_SOFTWARE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/remote.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/cluster/cookie.h"
#include "src/cluster/handshake.h"

enum { READ_MAX = 2048, PATH_MAX_OCTETS = 4096 };

static const double GREETING_S = 5;

int remote_parse(struct remote_node *ret, const char *node)
{
	const char *at = strchr(node, '@');
	const char *colon = at != NULL ? strrchr(at, ':') : NULL;
	size_t n = colon != NULL ? (size_t)(colon - node) : strlen(node);
	if (at == NULL || n >= sizeof ret->name || (colon != NULL && strlen(colon + 1) > 5))
		return -1;
	snprintf(ret->name, sizeof ret->name, "%.*s", (int)n, node);
	snprintf(ret->host, sizeof ret->host, "%s", ret->name + (at + 1 - node));
	if (colon != NULL)
		snprintf(ret->port, sizeof ret->port, "%s", colon + 1);
	else
		snprintf(ret->port, sizeof ret->port, "%d", REMOTE_PORT);
	return ret->host[0] != '\0' ? 0 : -1;
}

static int read_cookie(struct cookie *c, const char *file, char *err, size_t err_n)
{
	char path[PATH_MAX_OCTETS];
	const char *home = getenv("HOME");
	snprintf(path, sizeof path, "%s/.warren.cookie", home != NULL ? home : "");
	return cookie_read(c, file != NULL ? file : path, err, err_n);
}

static void set_timeout(int fd, double s)
{
	struct timeval tv = {(time_t)s, (suseconds_t)((s - (double)(time_t)s) * 1e6)};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static int dial(const struct remote_node *node, double timeout_s, char *err, size_t err_n)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *a;
	int fd = -1, rc = getaddrinfo(node->host, node->port, &hints, &all);
	if (rc != 0) {
		snprintf(err, err_n, "%s: %s", node->host, gai_strerror(rc));
		return -1;
	}
	for (a = all; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0)
			continue;
		set_timeout(fd, timeout_s > 0 ? timeout_s : GREETING_S);
		if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		snprintf(err, err_n, "%s:%s: %s", node->host, node->port, strerror(errno));
		close(fd);
		fd = -1;
	}
	freeaddrinfo(all);
	return fd;
}

/* ---- the greeting ---- */

static int say(int fd, struct buf *out)
{
	for (size_t at = 0; at < out->n;) {
		ssize_t k = send(fd, out->p + at, out->n - at, MSG_NOSIGNAL);
		if (k < 0 && errno != EINTR)
			return -1;
		at += k > 0 ? (size_t)k : 0;
	}
	buf_clear(out);
	return 0;
}

/* Octets that are there, one at a time where it matters: what follows the greeting is not for us. */
static int hear(int fd, struct handshake *h, struct buf *in, struct buf *out)
{
	uint8_t octets[READ_MAX];
	ssize_t k = recv(fd, octets, sizeof octets, 0);
	if (k <= 0)
		return k < 0 && errno == EINTR ? 0 : -1;
	buf_put_bytes(in, octets, (size_t)k);
	while (h->state == HANDSHAKE_MORE || h->state == HANDSHAKE_ASKS) {
		if (h->state == HANDSHAKE_ASKS) {
			handshake_admit(h, out);
			continue;
		}
		size_t used = handshake_take(h, in->p, in->n, out);
		buf_consume(in, used);
		if (used == 0)
			break;
	}
	return 0;
}

static int greet(int fd, const struct handshake_key *key, const char *name, char *err, size_t err_n)
{
	struct handshake_identity self = {.version_min = HANDSHAKE_VERSION,
		.version_max = HANDSHAKE_VERSION,
		.kind = HANDSHAKE_CONTROL};
	struct handshake h;
	struct buf in = BUF_EMPTY, out = BUF_EMPTY;
	uint8_t nonce[HANDSHAKE_NONCE];
	int rc = getrandom(nonce, sizeof nonce, 0) == sizeof nonce ? 0 : -1;
	snprintf(self.name, sizeof self.name, "warrenctl");
	snprintf(self.product, sizeof self.product, "%s", PACKAGE_VERSION);
	handshake_begin(&h, HANDSHAKE_DIALLER, &self, key, nonce, &out);
	while (rc == 0 && (h.state == HANDSHAKE_MORE || out.n > 0)) {
		rc = say(fd, &out);
		if (rc == 0 && h.state == HANDSHAKE_MORE)
			rc = hear(fd, &h, &in, &out);
	}
	if (h.state == HANDSHAKE_FAILED)
		snprintf(err, err_n, "%s", h.text);
	else if (rc != 0)
		snprintf(err, err_n, "no greeting from it");
	else if (strcmp(h.peer.name, name) != 0)
		snprintf(err, err_n, "there is another node: %s", h.peer.name);
	else
		err[0] = '\0';
	handshake_done(&h);
	buf_done(&in);
	buf_done(&out);
	return err[0] == '\0' ? 0 : -1;
}

int remote_connect(const struct remote_node *node, const char *cookie_file, double timeout_s,
	char *err, size_t err_n)
{
	struct cookie cookie;
	struct handshake_key key;
	if (read_cookie(&cookie, cookie_file, err, err_n) != 0)
		return -1;
	handshake_key_make(&key, slice_make(cookie.text, cookie.n));
	cookie_wipe(&cookie);
	int fd = dial(node, timeout_s, err, err_n);
	if (fd >= 0 && greet(fd, &key, node->name, err, err_n) != 0) {
		close(fd);
		fd = -1;
	}
	handshake_key_wipe(&key);
	if (fd >= 0)
		set_timeout(fd, timeout_s > 0 ? timeout_s : 0);
	return fd;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/remote.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "src/cluster/cookie.h"
#include "src/cluster/handshake.h"
#include "src/net/tls.h"

enum { READ_MAX = 2048, PATH_MAX_OCTETS = 4096, TLS_DEPTH = 3, ONCE_MAX = 1 << 20 };

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

/* ---- TLS ---- */

static SSL_CTX *context(const struct remote_proof *proof, char *err, size_t err_n)
{
	if (proof->certfile != NULL && proof->keyfile != NULL)
		return tls_context_new(&(struct tls_config){.cacertfile = proof->cacertfile,
					       .certfile = proof->certfile,
					       .keyfile = proof->keyfile,
					       .verify = proof->cacertfile != NULL,
					       .depth = TLS_DEPTH},
			err, err_n);
	snprintf(err, err_n, "TLS needs --certfile and --keyfile");
	return NULL;
}

static bool wants_tls(const struct remote_proof *proof)
{
	return proof->cacertfile != NULL || proof->certfile != NULL || proof->keyfile != NULL;
}

static int begin_tls(struct remote *r, const struct remote_proof *proof, char *err, size_t err_n)
{
	char text[TLS_TEXT_MAX];
	SSL_CTX *c = context(proof, err, err_n);
	if (c == NULL)
		return -1;
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes as it likes */
	r->ssl = SSL_new(c);
	tls_context_free(c);
	if (r->ssl == NULL || SSL_set_fd(r->ssl, r->fd) != 1) {
		snprintf(err, err_n, "TLS cannot be used");
		return -1;
	}
	if (SSL_connect(r->ssl) == 1)
		return 0;
	snprintf(err, err_n, "%s", tls_error(r->ssl, text));
	return -1;
}

/* A length for OpenSSL. */
static int once(size_t n)
{
	return n < ONCE_MAX ? (int)n : ONCE_MAX;
}

ssize_t remote_send(struct remote *r, const void *p, size_t n)
{
	if (r->ssl == NULL)
		return send(r->fd, p, n, MSG_NOSIGNAL);
	int k = SSL_write(r->ssl, p, once(n));
	return k > 0 ? k : -1;
}

ssize_t remote_receive(struct remote *r, void *p, size_t n)
{
	if (r->ssl == NULL)
		return recv(r->fd, p, n, 0);
	int k = SSL_read(r->ssl, p, once(n));
	return k > 0 ? k : SSL_get_error(r->ssl, k) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

void remote_close(struct remote *r)
{
	SSL_free(r->ssl);
	r->ssl = NULL;
	close(r->fd);
}

/* ---- the greeting ---- */

static int say(struct remote *r, struct buf *out)
{
	for (size_t at = 0; at < out->n;) {
		ssize_t k = remote_send(r, out->p + at, out->n - at);
		if (k < 0 && errno != EINTR)
			return -1;
		at += k > 0 ? (size_t)k : 0;
	}
	buf_clear(out);
	return 0;
}

/* Octets that are there, one at a time where it matters: what follows the greeting is not for us. */
static int hear(struct remote *r, struct handshake *h, struct buf *in, struct buf *out)
{
	uint8_t octets[READ_MAX];
	ssize_t k = remote_receive(r, octets, sizeof octets);
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

static int greet(struct remote *r, const struct handshake_key *key, const char *name, char *err,
	size_t err_n)
{
	struct handshake_identity self = {.version_min = HANDSHAKE_VERSION,
		.version_max = HANDSHAKE_VERSION,
		.kind = HANDSHAKE_CONTROL};
	struct handshake h;
	struct buf in = BUF_EMPTY, out = BUF_EMPTY;
	uint8_t nonce[HANDSHAKE_NONCE], binding[TLS_BINDING];
	int rc = getrandom(nonce, sizeof nonce, 0) == sizeof nonce ? 0 : -1;
	snprintf(self.name, sizeof self.name, "warrenctl");
	snprintf(self.product, sizeof self.product, "%s", PACKAGE_VERSION);
	handshake_begin(&h, HANDSHAKE_DIALLER, &self, key, nonce, &out);
	if (r->ssl != NULL && tls_binding(r->ssl, binding))
		handshake_bind(&h, slice_make(binding, sizeof binding));
	while (rc == 0 && (h.state == HANDSHAKE_MORE || out.n > 0)) {
		rc = say(r, &out);
		if (rc == 0 && h.state == HANDSHAKE_MORE)
			rc = hear(r, &h, &in, &out);
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

int remote_connect(struct remote *ret, const struct remote_node *node, const struct remote_proof *proof,
	double timeout_s, char *err, size_t err_n)
{
	struct cookie cookie;
	struct handshake_key key;
	if (read_cookie(&cookie, proof->cookie_file, err, err_n) != 0)
		return -1;
	handshake_key_make(&key, slice_make(cookie.text, cookie.n));
	cookie_wipe(&cookie);
	*ret = (struct remote){.fd = dial(node, timeout_s, err, err_n)};
	int rc = ret->fd >= 0 ? 0 : -1;
	if (rc == 0 && wants_tls(proof))
		rc = begin_tls(ret, proof, err, err_n);
	if (rc == 0)
		rc = greet(ret, &key, node->name, err, err_n);
	handshake_key_wipe(&key);
	if (rc == 0)
		set_timeout(ret->fd, timeout_s > 0 ? timeout_s : 0);
	else if (ret->fd >= 0)
		remote_close(ret);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * A context of TLS: certificate, key, and whose certificates are trusted. Connections are made of it by
 * stream_tls_new() (src/net/stream.h), or by whoever may block. TLS 1.2 or newer; no renegotiation, no
 * resumption.
 */
#ifndef WARREN_NET_TLS_H
#define WARREN_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct ssl_ctx_st; /* OpenSSL's SSL_CTX */
struct ssl_st;     /* and SSL */

struct tls_config {
	const char *cacertfile; /* PEM: the certificates that are trusted; needed with `verify` */
	const char *certfile;   /* PEM: our own, and the ones between it and the trusted one */
	const char *keyfile;    /* PEM: its private key */
	bool verify;            /* the other end, whichever it is, must have a certificate of theirs */
	unsigned depth;         /* certificates between the two at most */
};

enum {
	TLS_BINDING = 32,
	TLS_TEXT_MAX = 256,
};

/* Reads the files; blocks. NULL with one line in `err`: a file that is missing or not understood, a key that
 * does not fit the certificate, or that others could read (its mode). */
struct ssl_ctx_st *tls_context_new(const struct tls_config *config, char *err, size_t err_n);

/* Its connections may live on. NULL is fine. */
void tls_context_free(struct ssl_ctx_st *context);

/* Why an operation of this connection has failed, a sentence without an end; takes the errors of this thread
 * with it. Returns `text`. */
const char *tls_error(struct ssl_st *ssl, char text[TLS_TEXT_MAX]);

/* Octets that both ends of a connection know and nobody between them can choose (RFC 9266's tls-exporter):
 * what is proved with them holds for this connection only. After the handshake. */
bool tls_binding(struct ssl_st *ssl, unsigned char ret[TLS_BINDING]);

/* The first octet of what should be TLS: false if it cannot be a record of a handshake. */
bool tls_is_record(unsigned char first);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of TLS over a stream of TCP, which it owns. OpenSSL sees memory only: a BIO that reads the octets
 * that have just arrived and writes to where `to` points.
 *
 *   socket -> tcp -> `in` -> SSL_read() -> keep -> owner
 *   socket <- tcp <- its out, or `cipher` (parts) <- SSL_write() <- out, parts <- owner
 *
 * What arrives is deciphered at once, all of it, so a paused stream holds one read at most. Output waits in
 * `out` until the handshake is done. Time is the owner's: it closes a stream whose handshake takes too long.
 */
#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/net/stream_impl.h"
#include "src/net/tls.h"

enum { RECORD_MAX = 16 * 1024 };

struct stream_tls {
	struct stream base;
	struct stream *tcp; /* NULL: gone */
	SSL *ssl;
	struct slice in;    /* arrived, for the BIO to read; within on_cipher() */
	struct buf *to;     /* where the BIO writes */
	struct buf cipher;  /* of parts: stays as it is while they are being written */
	bool looked;        /* at the first octet */
	bool ready;         /* the handshake is done */
	bool failed;
	bool parts;         /* `cipher` is being written */
	char why[TLS_TEXT_MAX];
};

static struct stream_tls *of(struct stream *s)
{
	return (struct stream_tls *)s;
}

/* ---- the BIO ---- */

static int bio_read(BIO *b, char *to, int n)
{
	struct stream_tls *t = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (t->in.n == 0) {
		BIO_set_retry_read(b);
		return -1;
	}
	size_t k = t->in.n < (size_t)n ? t->in.n : (size_t)n;
	memcpy(to, t->in.p, k);
	t->in = slice_make(t->in.p + k, t->in.n - k);
	return (int)k;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct stream_tls *t = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	buf_put_bytes(t->to, p, (size_t)n);
	return n;
}

static long bio_ctrl(BIO *b, int what, long n, void *p)
{
	(void)b;
	(void)n;
	(void)p;
	return what == BIO_CTRL_FLUSH;
}

/* Made once, and never freed. */
static BIO_METHOD *bio_method(void)
{
	static _Atomic(BIO_METHOD *) method;
	BIO_METHOD *m = method, *none = NULL;
	if (m != NULL)
		return m;
	m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "Warren stream");
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	if (__atomic_compare_exchange_n((BIO_METHOD **)&method, &none, m, false, __ATOMIC_SEQ_CST,
		    __ATOMIC_SEQ_CST))
		return m;
	BIO_meth_free(m);
	return none;
}

/* ---- failing ---- */

static void fail(struct stream_tls *t, const char *why, bool inside)
{
	if (t->failed)
		return;
	t->failed = true;
	if (why != t->why)
		snprintf(t->why, sizeof t->why, "%s", why);
	if (t->tcp != NULL)
		stream_flush(t->tcp); /* the alert, that the other end knows why */
	stream_end(&t->base, t->why, inside);
}

static void fail_by_tls(struct stream_tls *t, bool inside)
{
	fail(t, tls_error(t->ssl, t->why), inside);
}

/* ---- writing ---- */

/* Ciphers n octets to `to`. */
static bool encrypt(struct stream_tls *t, struct buf *to, const uint8_t *p, size_t n)
{
	size_t done = 0;
	if (n == 0)
		return true;
	ERR_clear_error();
	t->to = to;
	int rc = SSL_write_ex(t->ssl, p, n, &done);
	t->to = stream_out(t->tcp);
	t->base.sent += done;
	return rc == 1 && done == n;
}

static void encrypt_out(struct stream_tls *t, bool inside)
{
	struct stream *s = &t->base;
	if (!t->ready || t->failed || t->tcp == NULL || s->out.n == 0)
		return;
	bool good = encrypt(t, stream_out(t->tcp), s->out.p, s->out.n);
	buf_clear(&s->out);
	stream_spare(s->worker, &s->out);
	if (!good)
		fail_by_tls(t, inside);
}

static void tls_flush(struct stream *s)
{
	struct stream_tls *t = of(s);
	encrypt_out(t, true);
	if (!t->ready || t->failed || t->tcp == NULL)
		return;
	stream_flush(t->tcp);
	stream_written(s, true);
}

/* A record costs as much as some hundred octets of it: small parts share one. */
static bool encrypt_parts(struct stream_tls *t, const struct slice *parts, unsigned n)
{
	uint8_t record[RECORD_MAX];
	size_t filled = 0;
	bool good = true;
	for (unsigned i = 0; good && i < n; i++) {
		struct slice part = parts[i];
		if (filled + part.n > RECORD_MAX) {
			good = encrypt(t, &t->cipher, record, filled);
			filled = 0;
		}
		if (part.n >= RECORD_MAX) {
			good = good && encrypt(t, &t->cipher, part.p, part.n);
		} else if (part.n > 0) {
			memcpy(record + filled, part.p, part.n);
			filled += part.n;
		}
	}
	return good && encrypt(t, &t->cipher, record, filled);
}

static int tls_write_parts(struct stream *s, const struct slice *parts, unsigned n)
{
	struct stream_tls *t = of(s);
	assert(t->ready);
	buf_clear(&t->cipher);
	if (!encrypt_parts(t, parts, n)) {
		fail_by_tls(t, true);
		return -1;
	}
	struct slice all = buf_slice(&t->cipher);
	int rc = stream_write_parts(t->tcp, &all, 1);
	t->parts = rc == 0;
	return rc;
}

static size_t tls_in_flight(const struct stream *s)
{
	const struct stream_tls *t = (const struct stream_tls *)s;
	return t->tcp != NULL ? stream_pending(t->tcp) : 0;
}

/* ---- reading ---- */

/* False: it has failed, or there is not enough yet. */
static bool shake_hands(struct stream_tls *t, bool inside)
{
	ERR_clear_error();
	int rc = SSL_do_handshake(t->ssl);
	bool more = rc != 1 && SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ;
	t->ready = rc == 1;
	if (!t->ready && !more)
		fail_by_tls(t, inside);
	else
		encrypt_out(t, inside);
	if (t->tcp != NULL)
		stream_flush(t->tcp);
	return t->ready && !t->failed;
}

/* Behind what is kept; returns how much. */
static size_t decrypt(struct stream_tls *t)
{
	struct buf *keep = &t->base.keep;
	size_t before = keep->n, n;
	stream_keep_begin(&t->base);
	buf_reserve(keep, t->in.n + RECORD_MAX); /* with what TLS had of an unfinished record */
	ERR_clear_error();
	while (SSL_read_ex(t->ssl, keep->p + keep->n, keep->cap - keep->n, &n) == 1)
		keep->n += n;
	return keep->n - before;
}

/* Whoever does not speak TLS at all is told in a way that a node understands (src/cluster/handshake.c). */
static bool look_at_first(struct stream_tls *t, uint8_t first)
{
	static const uint8_t alert[] = {0x15, 3, 1, 0, 2, 2, 10}; /* fatal: unexpected message */
	t->looked = true;
	if (tls_is_record(first))
		return true;
	buf_put_bytes(stream_out(t->tcp), alert, sizeof alert);
	fail(t, "the other end does not use TLS, and this one does", false);
	return false;
}

static size_t on_cipher(void *arg, const uint8_t *p, size_t n)
{
	struct stream_tls *t = arg;
	struct stream *s = &t->base;
	if (t->failed || s->closing || s->ended)
		return n;
	if (!t->looked && !look_at_first(t, p[0]))
		return n;
	t->in = slice_make(p, n);
	if (!t->ready && !shake_hands(t, false))
		return n;
	size_t got = decrypt(t);
	int why = SSL_get_error(t->ssl, 0);
	bool over = why == SSL_ERROR_ZERO_RETURN, bad = !over && why != SSL_ERROR_WANT_READ;
	if (bad)
		tls_error(t->ssl, t->why);
	t->in = slice_make(NULL, 0);
	stream_flush(t->tcp); /* TLS may have an answer of its own */
	stream_kept(s, got);
	if (s->closing || t->tcp == NULL)
		return n;
	if (over)
		stream_end(s, NULL, false);
	else if (bad)
		fail(t, t->why, false);
	return n;
}

static void on_tcp_drained(void *arg)
{
	struct stream_tls *t = arg;
	stream_written(&t->base, false);
}

static void on_tcp_written(void *arg)
{
	struct stream_tls *t = arg;
	t->parts = false;
	if (!t->base.closing)
		t->base.owner->on_written(t->base.arg);
}

static void on_tcp_end(void *arg, const char *why)
{
	struct stream_tls *t = arg;
	if (!t->ready && why == NULL)
		why = "the other end closed the connection during the handshake of TLS";
	t->failed = true;
	stream_end(&t->base, why, false);
}

static void on_tcp_closed(void *arg)
{
	struct stream_tls *t = arg;
	t->tcp = NULL;
	stream_gone(&t->base);
}

static const struct stream_owner tcp_owner = {
	.on_read = on_cipher,
	.on_drained = on_tcp_drained,
	.on_end = on_tcp_end,
	.on_closed = on_tcp_closed,
	.on_written = on_tcp_written,
};

static void tls_read_start(struct stream *s)
{
	if (of(s)->tcp != NULL)
		stream_resume(of(s)->tcp);
}

static void tls_read_stop(struct stream *s)
{
	if (of(s)->tcp != NULL)
		stream_pause(of(s)->tcp);
}

/* ---- life ---- */

static void tls_close(struct stream *s, unsigned linger_ms)
{
	struct stream_tls *t = of(s);
	encrypt_out(t, true);
	if (t->ready && !t->failed) {
		ERR_clear_error();
		SSL_shutdown(t->ssl);
		stream_flush(t->tcp);
	}
	stream_close(t->tcp, linger_ms);
}

static void tls_release(struct stream *s)
{
	struct stream_tls *t = of(s);
	SSL_free(t->ssl);
	buf_done(&t->cipher);
	mem_free(t);
}

static size_t tls_bound_to(const struct stream *s, uint8_t *ret, size_t n)
{
	const struct stream_tls *t = (const struct stream_tls *)s;
	assert(n >= TLS_BINDING);
	return t->ready && tls_binding(t->ssl, ret) ? TLS_BINDING : 0;
}

static const struct stream_ops tls_ops = {
	.flush = tls_flush,
	.write_parts = tls_write_parts,
	.in_flight = tls_in_flight,
	.read_start = tls_read_start,
	.read_stop = tls_read_stop,
	.close = tls_close,
	.release = tls_release,
	.binding = tls_bound_to,
};

static void make_ssl(struct stream_tls *t, struct ssl_ctx_st *context, bool dials)
{
	BIO *bio = BIO_new(bio_method());
	t->ssl = SSL_new(context);
	if (bio == NULL || t->ssl == NULL)
		abort(); /* no memory */
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	if (dials)
		SSL_set_connect_state(t->ssl);
	else
		SSL_set_accept_state(t->ssl);
}

struct stream *stream_tls_new(struct worker *w, int fd, struct ssl_ctx_st *context, bool dials,
	const struct stream_owner *owner, void *arg)
{
	struct stream_tls *t = MEM_NEW(struct stream_tls);
	stream_init(&t->base, &tls_ops, w, owner, arg);
	stream_identify(&t->base, fd);
	t->tcp = stream_tcp_new(w, fd, &tcp_owner, t);
	if (t->tcp == NULL) {
		mem_free(t);
		return NULL;
	}
	make_ssl(t, context, dials);
	t->to = stream_out(t->tcp);
	if (dials)
		shake_hands(t, true);
	return &t->base;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TLS_ALERT = 0x15, TLS_HANDSHAKE = 0x16 }; /* first octets of TLS */

enum { HEAD = 8, TYPE_HELLO = 1, TYPE_PROOF = 2, TYPE_REFUSED = 3 };

static const char magic[4] = {'W', 'R', 'N', 'L'};

/* ---- secrets ---- */

static void hmac(uint8_t out[HANDSHAKE_PROOF], struct slice key, struct slice data)
{
	unsigned n = HANDSHAKE_PROOF;
	if (HMAC(EVP_sha256(), key.p, (int)key.n, data.p, data.n, out, &n) == NULL)
		abort(); /* a libcrypto without SHA-256 */
}

void handshake_key_make(struct handshake_key *ret, struct slice cookie)
{
	hmac(ret->octets, cookie, slice_str("Warren link, version 1"));
}

void handshake_key_wipe(struct handshake_key *k)
{
	OPENSSL_cleanse(k, sizeof *k);
}

/* Lengths keep two hellos from being taken apart in another place. */
static void proof_of(const struct handshake *h, enum handshake_role role, uint8_t *out)
{
	struct buf b = BUF_EMPTY;
	buf_put_slice(&b, slice_str(role == HANDSHAKE_DIALLER ? "dialler" : "acceptor"));
	for (int i = 0; i < 2; i++) {
		buf_put_u32le(&b, (uint32_t)h->hellos[i].n);
		buf_put_slice(&b, buf_slice(&h->hellos[i]));
	}
	buf_put_bytes(&b, h->binding, h->n_binding);
	hmac(out, slice_make(h->key->octets, sizeof h->key->octets), buf_slice(&b));
	buf_done(&b);
}

/* ---- frames out ---- */

static void put_frame(struct buf *out, uint8_t type, struct slice body)
{
	buf_put_bytes(out, magic, sizeof magic);
	buf_put_u8(out, type);
	buf_put_u8(out, 0);
	buf_put_u16le(out, (uint16_t)body.n);
	buf_put_slice(out, body);
}

static void put_text(struct buf *b, const char *s)
{
	size_t n = strnlen(s, UINT8_MAX);
	buf_put_u8(b, (uint8_t)n);
	buf_put_bytes(b, s, n);
}

static void put_hello(struct handshake *h, struct buf *out)
{
	struct buf *b = &h->hellos[h->role];
	const struct handshake_identity *id = &h->self;
	buf_put_u16le(b, id->version_min);
	buf_put_u16le(b, id->version_max);
	put_text(b, id->name);
	put_text(b, id->product);
	buf_put_u8(b, (uint8_t)id->kind);
	buf_put_u64le(b, id->node_id);
	buf_put_u64le(b, id->incarnation);
	buf_put_u64le(b, id->cluster_id);
	buf_put_bytes(b, h->nonce, sizeof h->nonce);
	put_frame(out, TYPE_HELLO, buf_slice(b));
}

static void put_proof(const struct handshake *h, struct buf *out)
{
	uint8_t proof[HANDSHAKE_PROOF];
	proof_of(h, h->role, proof);
	put_frame(out, TYPE_PROOF, slice_make(proof, sizeof proof));
}

/* ---- failing ---- */

__attribute__((format(printf, 4, 5))) static void fail(
	struct handshake *h, enum handshake_code code, struct buf *out, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(h->text, sizeof h->text, fmt, ap);
	va_end(ap);
	h->state = HANDSHAKE_FAILED;
	h->code = code;
	if (code == HANDSHAKE_GARBAGE)
		return;
	struct buf b = BUF_EMPTY;
	buf_put_u8(&b, (uint8_t)code);
	put_text(&b, h->text);
	put_frame(out, TYPE_REFUSED, buf_slice(&b));
	buf_done(&b);
}

static void garbage(struct handshake *h, const char *what)
{
	fail(h, HANDSHAKE_GARBAGE, NULL, "%s", what);
}

void handshake_refuse(
	struct handshake *h, enum handshake_code code, const char *text, struct buf *out)
{
	fail(h, code, out, "%s", text);
}

/* ---- frames in ---- */

static void get_text(struct reader *r, char *to, size_t max)
{
	struct slice s = get_slice(r, get_u8(r));
	if (s.n > max)
		reader_fail(r);
	else if (s.n > 0)
		memcpy(to, s.p, s.n);
	to[s.n > max ? 0 : s.n] = '\0';
	for (char *c = to; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?'; /* it goes to a log, from whoever connects */
}

static const char *range_text(char *to, size_t n, const struct handshake_identity *id)
{
	if (id->version_min == id->version_max)
		snprintf(to, n, "version %u", id->version_min);
	else
		snprintf(to, n, "versions %u to %u", id->version_min, id->version_max);
	return to;
}

/* A and b agree on nothing. */
static void fail_versions(struct handshake *h, struct buf *out)
{
	const struct handshake_identity *us = &h->self, *them = &h->peer;
	char ours[32], theirs[32];
	fail(h, HANDSHAKE_VERSION_UNKNOWN, out,
		"%.60s (Warren %.20s) speaks %s of the link protocol, %.60s (Warren %.20s) %s",
		us->name, us->product, range_text(ours, sizeof ours, us), them->name, them->product,
		range_text(theirs, sizeof theirs, them));
}

static bool versions_meet(const struct handshake_identity *a, const struct handshake_identity *b)
{
	return a->version_min <= b->version_max && b->version_min <= a->version_max;
}

/* The part of the hello that version 1 defines. */
static bool get_rest_of_hello(struct handshake *h, struct reader *r, const uint8_t **ret_nonce)
{
	unsigned kind = get_u8(r);
	h->peer.kind = (enum handshake_kind)kind;
	h->peer.node_id = get_u64le(r);
	h->peer.incarnation = get_u64le(r);
	h->peer.cluster_id = get_u64le(r);
	*ret_nonce = get_bytes(r, HANDSHAKE_NONCE);
	return !r->bad && (kind == HANDSHAKE_LINK || kind == HANDSHAKE_CONTROL);
}

static void take_hello(struct handshake *h, struct slice body, struct buf *out)
{
	struct reader r = reader_of(body);
	const uint8_t *nonce;
	h->peer.version_min = get_u16le(&r);
	h->peer.version_max = get_u16le(&r);
	get_text(&r, h->peer.name, HANDSHAKE_NAME_MAX);
	get_text(&r, h->peer.product, HANDSHAKE_PRODUCT_MAX);
	if (r.bad) {
		garbage(h, "a greeting that makes no sense");
		return;
	}
	if (!versions_meet(&h->self, &h->peer)) {
		fail_versions(h, out);
		return;
	}
	if (!get_rest_of_hello(h, &r, &nonce)) {
		garbage(h, "a greeting that makes no sense");
		return;
	}
	if (memcmp(nonce, h->nonce, HANDSHAKE_NONCE) == 0) {
		garbage(h, "our own greeting came back");
		return;
	}
	h->got_hello = true;
	buf_put_slice(&h->hellos[!h->role], body);
	if (h->role == HANDSHAKE_DIALLER) {
		if (h->peer.kind != h->self.kind)
			garbage(h, "an answer to another greeting");
		else
			h->state = HANDSHAKE_ASKS;
		return;
	}
	h->self.kind = h->peer.kind;
	put_hello(h, out);
}

static void take_proof(struct handshake *h, struct slice body, struct buf *out)
{
	uint8_t expected[HANDSHAKE_PROOF];
	if (body.n != HANDSHAKE_PROOF) {
		garbage(h, "a proof of the wrong length");
		return;
	}
	proof_of(
		h, h->role == HANDSHAKE_DIALLER ? HANDSHAKE_ACCEPTOR : HANDSHAKE_DIALLER, expected);
	if (CRYPTO_memcmp(expected, body.p, HANDSHAKE_PROOF) != 0)
		fail(h, HANDSHAKE_COOKIE, out, "the cookies of %.100s and %.100s differ",
			h->self.name, h->peer.name);
	else
		h->state = h->role == HANDSHAKE_DIALLER ? HANDSHAKE_DONE : HANDSHAKE_ASKS;
}

static void take_refused(struct handshake *h, struct slice body)
{
	struct reader r = reader_of(body);
	h->code = (enum handshake_code)get_u8(&r);
	get_text(&r, h->text, HANDSHAKE_TEXT_MAX);
	if (r.bad || h->code == HANDSHAKE_OK || h->code == HANDSHAKE_GARBAGE) {
		garbage(h, "a refusal that makes no sense");
		return;
	}
	h->state = HANDSHAKE_FAILED;
	h->by_peer = true;
}

static void take_frame(struct handshake *h, uint8_t type, struct slice body, struct buf *out)
{
	bool proof_due = h->got_hello && (h->role == HANDSHAKE_ACCEPTOR || h->admitted);
	if (type == TYPE_REFUSED)
		take_refused(h, body);
	else if (type == TYPE_HELLO && !h->got_hello)
		take_hello(h, body, out);
	else if (type == TYPE_PROOF && proof_due)
		take_proof(h, body, out);
	else
		garbage(h, "a part of the greeting at the wrong time");
}

/* Bytes of the frame at p, 0 if that is not known yet; fails what can be no frame as early as
 * possible, for whoever speaks another protocol may wait for our answer. */
static size_t frame_size(struct handshake *h, const uint8_t *p, size_t n, struct buf *out)
{
	if (!h->got_hello && (p[0] == TLS_ALERT || p[0] == TLS_HANDSHAKE)) {
		fail(h, HANDSHAKE_TLS, out, "%.100s does not use TLS, and the other end does", h->self.name);
		return 0;
	}
	if (memcmp(p, magic, n < sizeof magic ? n : sizeof magic) != 0) {
		garbage(h, "not a greeting of a Warren node");
		return 0;
	}
	if (n < HEAD)
		return 0;
	size_t size = HEAD + (size_t)load_u16le(p + 6);
	if (p[5] != 0 || size > HANDSHAKE_FRAME_MAX) {
		garbage(h, "not a greeting of a Warren node");
		return 0;
	}
	return size;
}

size_t handshake_take(struct handshake *h, const uint8_t *p, size_t n, struct buf *out)
{
	size_t used = 0;
	while (h->state == HANDSHAKE_MORE && used < n) {
		size_t size = frame_size(h, p + used, n - used, out);
		if (size == 0 || size > n - used)
			break;
		take_frame(h, p[used + 4], slice_make(p + used + HEAD, size - HEAD), out);
		used += size;
	}
	return used;
}

/* ---- life ---- */

void handshake_begin(struct handshake *h, enum handshake_role role,
	const struct handshake_identity *self, const struct handshake_key *key,
	const uint8_t nonce[HANDSHAKE_NONCE], struct buf *out)
{
	*h = (struct handshake){.role = role, .self = *self, .key = key};
	memcpy(h->nonce, nonce, HANDSHAKE_NONCE);
	if (role == HANDSHAKE_DIALLER)
		put_hello(h, out);
}

void handshake_bind(struct handshake *h, struct slice binding)
{
	if (binding.n > 0)
		memcpy(h->binding, binding.p, binding.n);
	h->n_binding = binding.n;
}

void handshake_done(struct handshake *h)
{
	buf_done(&h->hellos[0]);
	buf_done(&h->hellos[1]);
}

void handshake_admit(struct handshake *h, struct buf *out)
{
	h->admitted = true;
	put_proof(h, out);
	h->state = h->role == HANDSHAKE_DIALLER ? HANDSHAKE_MORE : HANDSHAKE_DONE;
}

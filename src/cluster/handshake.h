/* SPDX-License-Identifier: Apache-2.0
 *
 * How two ends of a connection find out whether they share the cookie, speak the same protocol, and
 * want each other. Pure: bytes in, bytes out.
 *
 *   dialler                          acceptor
 *   hello  ------------------------>           who is there, nonce
 *          <------------------------  hello
 *   proof  ------------------------>           HMAC-SHA256(key, "dialler", both hellos, binding)
 *          <------------------------  proof    HMAC-SHA256(key, "acceptor", both hellos, binding)
 *
 * The cookie is never sent; key = HMAC-SHA256(cookie, a constant). A proof covers every octet of
 * both hellos and its sender's role, so it is worth nothing on another connection (the nonces) and
 * not to its own sender (the role). The dialler proves first: nobody who merely connects gets
 * anything to guess cookies with.
 *
 * Where the connection has TLS below, its binding (src/net/stream.h) is part of the proof: whoever sits between with
 * a certificate of his own has two connections, with two bindings.
 *
 * Either end may answer with "refused", a code and a sentence, instead. Such sentences name who is
 * meant ("a@x dialled b@y, ..."), so that both ends can log the same line.
 *
 *   frame   := "WRNL" | type u8 | 0 u8 | n u16 | n octets                    little endian
 *   hello   := version_min u16 | version_max u16 | n u8, name | n u8, product | kind u8 |
 *              node id u64 | incarnation u64 | cluster id u64 | nonce 32 | what later versions add
 *   proof   := 32 octets
 *   refused := code u8 | n u8, sentence
 *
 * The hello's octets up to `product` stay as they are in all versions: whoever cannot talk can say
 * why. Nothing an end sends before it is trusted takes more than HANDSHAKE_FRAME_MAX.
 */
#ifndef WARREN_CLUSTER_HANDSHAKE_H
#define WARREN_CLUSTER_HANDSHAKE_H

#include "src/base/buf.h"

enum {
	HANDSHAKE_VERSION = 3, /* the newest that this program speaks, and the oldest */
	HANDSHAKE_NAME_MAX = 255,
	HANDSHAKE_PRODUCT_MAX = 63,
	HANDSHAKE_TEXT_MAX = 255,
	HANDSHAKE_NONCE = 32,
	HANDSHAKE_PROOF = 32,
	HANDSHAKE_BINDING = 32,
	HANDSHAKE_FRAME_MAX = 1024, /* with its head of 8 */
};

enum handshake_kind {
	HANDSHAKE_LINK = 1,    /* one per pair of nodes; src/cluster/lanes.h follows */
	HANDSHAKE_CONTROL = 2, /* calls of a tool, or of a node that is no member; caller.h */
};

enum handshake_role { HANDSHAKE_DIALLER, HANDSHAKE_ACCEPTOR };

enum handshake_code { /* on the wire; numbers are never used again */
	HANDSHAKE_OK = 0,
	HANDSHAKE_GARBAGE = 1, /* not this protocol at all; nothing is answered */
	HANDSHAKE_VERSION_UNKNOWN = 2,
	HANDSHAKE_COOKIE = 3,    /* the proof is wrong */
	HANDSHAKE_NAME = 4,      /* the dialler wanted somebody else */
	HANDSHAKE_STRANGER = 5,  /* not a member */
	HANDSHAKE_CLUSTER = 6,   /* member of another cluster */
	HANDSHAKE_DUPLICATE = 7, /* another connection of the two stays: no error */
	HANDSHAKE_SELF = 8,
	HANDSHAKE_OUTDATED = 9, /* from an earlier start of a node that has come back since */
	HANDSHAKE_BUSY = 10,    /* too many connections, or the node stops */
	HANDSHAKE_TLS = 11,     /* the other end speaks TLS, this one does not */
};

/* What an end says of itself. */
struct handshake_identity {
	uint16_t version_min, version_max;
	enum handshake_kind kind; /* of the acceptor: as the dialler asked */
	uint64_t node_id;         /* 0: a tool */
	uint64_t incarnation;
	uint64_t cluster_id; /* 0: none yet */
	char name[HANDSHAKE_NAME_MAX + 1];
	char product[HANDSHAKE_PRODUCT_MAX + 1]; /* version of the program */
};

/* Made of the cookie, once. */
struct handshake_key {
	uint8_t octets[32];
};

enum handshake_state {
	HANDSHAKE_MORE, /* waits for octets */
	/* `peer` is known (to the dialler: as claimed, before it proves anything; to the acceptor:
	 * as proved). handshake_admit() or handshake_refuse() is due. */
	HANDSHAKE_ASKS,
	HANDSHAKE_DONE,   /* both have proved it; what follows is the connection's */
	HANDSHAKE_FAILED, /* `code`, `text`; `by_peer` says who refused */
};

struct handshake {
	enum handshake_state state;
	enum handshake_role role;
	const struct handshake_key *key; /* the owner's, as long as the handshake lasts */
	struct handshake_identity self, peer;
	bool got_hello, admitted;
	uint8_t nonce[HANDSHAKE_NONCE];
	uint8_t binding[HANDSHAKE_BINDING]; /* the first n_binding octets */
	size_t n_binding;
	struct buf hellos[2]; /* by role, as sent */
	enum handshake_code code;
	bool by_peer;
	char text[HANDSHAKE_TEXT_MAX + 1];
};

void handshake_key_make(struct handshake_key *ret, struct slice cookie);
void handshake_key_wipe(struct handshake_key *k);

/* Begins; `nonce` must be random and new. The dialler's hello is appended to `out`. The name and
 * kind of the acceptor's `self` count, its kind becomes the dialler's. */
void handshake_begin(struct handshake *h, enum handshake_role role,
	const struct handshake_identity *self, const struct handshake_key *key,
	const uint8_t nonce[HANDSHAKE_NONCE], struct buf *out);
void handshake_done(struct handshake *h);
/* What is below is this connection and no other; before the first octets are taken. At most HANDSHAKE_BINDING. */
void handshake_bind(struct handshake *h, struct slice binding);

/* Takes octets that have arrived, appends to `out` what is to be sent (also with FAILED), and
 * returns how many it consumed: it stops at each change of `state`. Only in state MORE. */
size_t handshake_take(struct handshake *h, const uint8_t *p, size_t n, struct buf *out);

/* In state ASKS. */
void handshake_admit(struct handshake *h, struct buf *out);
/* Also before; the state becomes FAILED. */
void handshake_refuse(
	struct handshake *h, enum handshake_code code, const char *text, struct buf *out);

#endif

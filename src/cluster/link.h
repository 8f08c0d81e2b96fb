/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection to another node or tool: a stream, a handshake, and then lanes of messages
 * (HANDSHAKE_LINK) or the plain octets of src/cluster/caller.h (HANDSHAKE_CONTROL). Worker 0.
 *
 * A link ends by itself: by octets that make no sense, a refusal, the peer's silence, or its end.
 * ended() tells that once; then the link lets its parcels go as lost and frees itself.
 */
#ifndef WARREN_CLUSTER_LINK_H
#define WARREN_CLUSTER_LINK_H

#include "src/cluster/handshake.h"
#include "src/cluster/lanes.h"
#include "src/net/stream.h"

struct link;

enum link_end {
	LINK_CLOSED,  /* the connection broke, or either end closed it in good order */
	LINK_REFUSED, /* what arrived was not understood or not welcome, or we are not */
	LINK_SILENT,  /* nothing was heard for the time limit */
};
const char *link_end_name(enum link_end why); /* "closed", "refused", "silent" */

struct link_limits {
	unsigned heartbeat_ms; /* an idle link says something that often */
	unsigned timeout_ms;   /* a peer that is not heard for so long is down */
	unsigned greeting_ms;  /* from connected to up, at most */
};

enum {
	LINK_GREETING_MS = 5000, /* link_limits.greeting_ms, as a rule */
	LINK_WRITES_PER_TURN = 16,
	LINK_GOODBYE_MS = 1000, /* for the last words */
	/* What may wait for a peer that reads slowly. Messages of raft beyond the first are lost,
	 * which raft mends; with more than the second the link is of no use, and ends. */
	LINK_WAITING_RAFT_MAX = 64 * 1024 * 1024,
	LINK_WAITING_MAX = 256 * 1024 * 1024,
};

struct link_owner {
	/* The peer is known, see HANDSHAKE_ASKS. HANDSHAKE_OK, or why not, with a sentence. */
	enum handshake_code (*admit)(void *arg, struct link *l, char *text, size_t n);
	/* The handshake is done. */
	void (*up)(void *arg, struct link *l);
	/* HANDSHAKE_LINK: a message; as lanes_message. False: it is not understood. */
	bool (*message)(void *arg, struct link *l, enum lane lane, struct blob *blob, size_t n);
	/* HANDSHAKE_CONTROL: octets; returns how many were consumed. */
	size_t (*octets)(void *arg, struct link *l, const uint8_t *p, size_t n);
	/* link_flush() is worth calling at the end of the turn. */
	void (*writable)(void *arg, struct link *l);
	/* It has ended by itself (not by link_close()); `text` says why, for the log. */
	void (*ended)(void *arg, struct link *l, enum link_end why, const char *text);
	/* The last call: the memory goes. All parcels are done. */
	void (*gone)(void *arg, struct link *l);
};

struct ssl_ctx_st;

/* Takes a connected socket over; with a context (the owner's) TLS comes first. NULL, with the socket closed, if the system refuses it. */
struct link *link_new(struct worker *w, int fd, enum handshake_role role,
	const struct handshake_identity *self, const struct handshake_key *key,
	const struct link_limits *limits, struct ssl_ctx_st *tls, const struct link_owner *owner,
	void *arg);

/* ---- what it is ---- */

enum handshake_role link_role(const struct link *l);
/* What we said of ourselves when the connection was made. */
const struct handshake_identity *link_self(const struct link *l);
/* From admit() on. */
const struct handshake_identity *link_peer(const struct link *l);
/* Why the handshake failed (HANDSHAKE_OK: it did not). */
enum handshake_code link_code(const struct link *l);
bool link_refused_by_peer(const struct link *l); /* it was the peer who refused */
const char *link_name(const struct link *l);     /* as stream_name() */
bool link_is_up(const struct link *l);
bool link_is_ended(const struct link *l);  /* by itself or by link_close() */
size_t link_waiting(const struct link *l); /* octets of messages that wait to be written */
uint64_t link_received(const struct link *l);
uint64_t link_sent(const struct link *l);
unsigned link_round_trip_us(const struct link *l); /* as stream_round_trip_us() */

/* ---- what it does ---- */

/* Sends, when up. done() comes later, never inside. */
void link_send(struct link *l, struct parcel *p);
/* HANDSHAKE_CONTROL: where to append output, and its writing. */
struct buf *link_out(struct link *l);
void link_write(struct link *l);
/* HANDSHAKE_LINK, end of the turn: writes what was sent. True: there is more to write at once. */
bool link_flush(struct link *l);
/* Several times per heartbeat: sends one that is due, and notices silence. `held_ms`: so much of
 * the time since the last tick nobody could have heard anything, for we were not looking. */
void link_tick(struct link *l, uint64_t held_ms);
/* Stops and resumes reading; a link that is not read is not silent. */
void link_pause(struct link *l);
void link_resume(struct link *l);
/* Says goodbye with this sentence (copied; before it is up: refuses with the code), and ends
 * without ended(); gone() follows. */
void link_close(struct link *l, enum handshake_code code, const char *sentence);

#endif

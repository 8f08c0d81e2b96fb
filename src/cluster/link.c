/* SPDX-License-Identifier: Apache-2.0
 *
 *   greeting -> up -> ended -> gone
 *       \______________/
 *
 * Greeting, heartbeats and goodbyes are appended to the stream's output, messages are written from
 * where they lie. Both end at whole frames, so they may follow one another in any order.
 */
#include "src/cluster/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "src/base/mem.h"

enum {
	/* What the kernel may hold that it has not sent: it cannot be overtaken any more. */
	UNSENT_MAX = 2 * LANES_FRAGMENT_MAX,
	TEXT_MAX = 512,
};

struct link {
	struct worker *worker;
	struct stream *stream;
	const struct link_owner *owner;
	void *arg;
	struct link_limits limits;
	struct handshake greeting;
	struct lanes_out out;
	struct lanes_in in;
	struct list refused; /* struct parcel: lost before they were queued */
	uint64_t began_ms, heard_ms, said_ms;
	bool tls;
	bool greeted; /* octets have arrived, behind the handshake of TLS */
	bool up;
	bool ended;   /* ended() was told, or link_close() called */
	bool writing; /* slices of `out` are under way */
	bool broken;  /* a write failed; the stream's end is in the mail */
	bool paused;
	bool overrun; /* more waits than is good */
};

const char *link_end_name(enum link_end why)
{
	static const char *const names[] = {"closed", "refused", "silent"};
	return names[why];
}

/* ---- the end ---- */

static void put_refusal(struct link *l, enum handshake_code code, const char *text)
{
	struct handshake *g = &l->greeting;
	if (l->up && g->self.kind == HANDSHAKE_LINK)
		lanes_put_goodbye(stream_out(l->stream), text);
	else if (!l->up && g->state != HANDSHAKE_FAILED && code != HANDSHAKE_OK)
		handshake_refuse(g, code, text, stream_out(l->stream));
}

static void link_shut(struct link *l, unsigned linger_ms)
{
	l->ended = true;
	stream_flush(l->stream);
	stream_close(l->stream, linger_ms);
}

/* By itself. A peer that can hear it is told. */
static void link_fail(struct link *l, enum link_end why, const char *text)
{
	if (l->ended)
		return;
	if (why == LINK_REFUSED)
		put_refusal(l, HANDSHAKE_OK, text);
	l->ended = true;
	l->owner->ended(l->arg, l, why, text);
	link_shut(l, why == LINK_REFUSED ? LINK_GOODBYE_MS : 0);
}

void link_close(struct link *l, enum handshake_code code, const char *sentence)
{
	if (l->ended)
		return;
	put_refusal(l, code, sentence);
	link_shut(l, LINK_GOODBYE_MS);
}

static void lose_refused(struct link *l)
{
	struct list *node;
	while ((node = list_pop(&l->refused)) != NULL) {
		struct parcel *p = LIST_ENTRY(node, struct parcel, link);
		p->done(p, true);
	}
}

static void link_on_closed(void *arg)
{
	struct link *l = arg;
	lose_refused(l);
	lanes_lose(&l->out);
	lanes_in_done(&l->in);
	handshake_done(&l->greeting);
	l->owner->gone(l->arg, l);
	mem_free(l);
}

static void link_on_end(void *arg, const char *why)
{
	struct link *l = arg;
	char text[TEXT_MAX];
	const char *when = l->up ? "" : " during the greeting";
	if (l->tls && !l->greeted && why != NULL) {
		link_fail(l, LINK_REFUSED, why);
		return;
	}
	if (why != NULL)
		snprintf(text, sizeof text, "the connection broke%s: %s", when, why);
	else
		snprintf(text, sizeof text, "the other end closed the connection%s", when);
	link_fail(l, LINK_CLOSED, text);
}

/* ---- greeting ---- */

static void greet_ask(struct link *l)
{
	char text[HANDSHAKE_TEXT_MAX + 1] = "";
	struct buf *out = stream_out(l->stream);
	enum handshake_code code = l->owner->admit(l->arg, l, text, sizeof text);
	if (l->ended)
		return;
	if (code == HANDSHAKE_OK)
		handshake_admit(&l->greeting, out);
	else
		handshake_refuse(&l->greeting, code, text, out);
}

static size_t greet(struct link *l, const uint8_t *p, size_t n)
{
	struct handshake *g = &l->greeting;
	uint8_t binding[HANDSHAKE_BINDING];
	size_t used = 0;
	if (!l->greeted)
		handshake_bind(g, slice_make(binding, stream_binding(l->stream, binding, sizeof binding)));
	l->greeted = true;
	do {
		used += handshake_take(g, p + used, n - used, stream_out(l->stream));
		if (g->state == HANDSHAKE_ASKS)
			greet_ask(l);
		else if (g->state == HANDSHAKE_MORE)
			break;
	} while (!l->ended && g->state == HANDSHAKE_MORE);
	if (l->ended)
		return used;
	stream_flush(l->stream);
	l->said_ms = l->worker->now_ms;
	if (g->state == HANDSHAKE_FAILED) {
		link_fail(l, LINK_REFUSED, g->text);
	} else if (g->state == HANDSHAKE_DONE) {
		l->up = true;
		l->owner->up(l->arg, l);
	}
	return used;
}

/* ---- messages in ---- */

static bool link_on_message(void *arg, enum lane lane, struct blob *blob, size_t n)
{
	struct link *l = arg;
	if (!l->owner->message(l->arg, l, lane, blob, n))
		link_fail(l, LINK_REFUSED, "a message that makes no sense");
	return !l->ended;
}

static size_t take_frames(struct link *l, const uint8_t *p, size_t n)
{
	char text[TEXT_MAX];
	size_t used = lanes_take(&l->in, p, n, link_on_message, l);
	if (l->ended)
		return used;
	if (l->in.fault != NULL) {
		link_fail(l, LINK_REFUSED, l->in.fault);
	} else if (l->in.over) {
		snprintf(text, sizeof text, "goodbye: %s", l->in.goodbye);
		link_fail(l, LINK_CLOSED, text);
	}
	return used;
}

static size_t link_on_read(void *arg, const uint8_t *p, size_t n)
{
	struct link *l = arg;
	size_t used = 0;
	l->heard_ms = l->worker->now_ms;
	if (!l->up && !l->ended)
		used = greet(l, p, n);
	if (l->up && !l->ended && used < n) {
		if (l->greeting.self.kind == HANDSHAKE_LINK)
			used += take_frames(l, p + used, n - used);
		else
			used += l->owner->octets(l->arg, l, p + used, n - used);
	}
	return l->ended ? n : used;
}

/* ---- messages out ---- */

static void link_on_drained(void *arg)
{
	struct link *l = arg;
	if (l->up && !l->ended)
		l->owner->writable(l->arg, l);
}

static void link_on_written(void *arg)
{
	struct link *l = arg;
	l->writing = false;
	lanes_written(&l->out);
	link_on_drained(l);
}

static const struct stream_owner stream_owner = {
	.on_read = link_on_read,
	.on_drained = link_on_drained,
	.on_end = link_on_end,
	.on_closed = link_on_closed,
	.on_written = link_on_written,
};

void link_send(struct link *l, struct parcel *p)
{
	if (parcel_size(p) > LANES_MESSAGE_MAX ||
		(p->droppable && l->out.waiting > LINK_WAITING_RAFT_MAX)) {
		list_push_back(&l->refused, &p->link);
		return;
	}
	if (l->out.waiting > LINK_WAITING_MAX)
		l->overrun = true;
	lanes_put(&l->out, p);
}

struct buf *link_out(struct link *l)
{
	return stream_out(l->stream);
}

void link_write(struct link *l)
{
	stream_flush(l->stream);
}

/* False: the kernel has enough. */
static bool write_some(struct link *l, bool *ret_more)
{
	struct slice slices[LANES_SLICES_MAX];
	unsigned n = lanes_gather(&l->out, slices);
	*ret_more = n > 0;
	if (n == 0)
		return false;
	l->said_ms = l->worker->now_ms;
	int rc = stream_write_parts(l->stream, slices, n);
	if (rc > 0)
		lanes_written(&l->out);
	l->writing = rc == 0;
	l->broken = rc < 0;
	return rc > 0;
}

bool link_flush(struct link *l)
{
	bool more = true;
	lose_refused(l);
	if (l->overrun && !l->ended)
		link_fail(l, LINK_REFUSED, "too much waits to be sent: the other end is too slow");
	if (!l->up || l->ended || l->writing || l->broken)
		return false;
	if (stream_pending(l->stream) > 0)
		return false; /* a heartbeat or the greeting: the next tick comes back */
	for (int i = 0; i < LINK_WRITES_PER_TURN; i++)
		if (!write_some(l, &more))
			return false;
	return more;
}

/* ---- time ---- */

static void say_something(struct link *l)
{
	if (l->writing || l->out.waiting > 0 || stream_pending(l->stream) > 0)
		return; /* there is plenty to hear already */
	lanes_put_heartbeat(stream_out(l->stream));
	stream_flush(l->stream);
	l->said_ms = l->worker->now_ms;
}

void link_tick(struct link *l, uint64_t held_ms)
{
	uint64_t now = l->worker->now_ms;
	char text[TEXT_MAX];
	l->heard_ms += held_ms;
	l->began_ms += held_ms;
	if (l->heard_ms > now || l->paused)
		l->heard_ms = now;
	if (l->ended)
		return;
	if (!l->up) {
		if (now > l->began_ms + l->limits.greeting_ms) {
			snprintf(text, sizeof text, "no greeting for %u ms",
				l->limits.greeting_ms);
			link_fail(l, LINK_SILENT, text);
		}
		return;
	}
	if (l->greeting.self.kind != HANDSHAKE_LINK)
		return;
	if (now - l->heard_ms > l->limits.timeout_ms) {
		snprintf(text, sizeof text, "nothing heard for %lu ms",
			(unsigned long)(now - l->heard_ms));
		link_fail(l, LINK_SILENT, text);
	} else if (now - l->said_ms >= l->limits.heartbeat_ms) {
		say_something(l);
	}
}

void link_pause(struct link *l)
{
	l->paused = true;
	if (!l->ended)
		stream_pause(l->stream);
}

void link_resume(struct link *l)
{
	l->paused = false;
	l->heard_ms = l->worker->now_ms;
	if (!l->ended)
		stream_resume(l->stream);
}

/* ---- life ---- */

static void make_nonce(uint8_t nonce[HANDSHAKE_NONCE])
{
	if (getrandom(nonce, HANDSHAKE_NONCE, 0) != HANDSHAKE_NONCE)
		abort(); /* cannot happen for so few, once the kernel has any */
}

struct link *link_new(struct worker *w, int fd, enum handshake_role role,
	const struct handshake_identity *self, const struct handshake_key *key,
	const struct link_limits *limits, struct ssl_ctx_st *tls, const struct link_owner *owner,
	void *arg)
{
	uint8_t nonce[HANDSHAKE_NONCE];
	int unsent = UNSENT_MAX;
	struct link *l = MEM_NEW(struct link);
	*l = (struct link){
		.worker = w, .owner = owner, .arg = arg, .limits = *limits, .tls = tls != NULL};
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	if (tls != NULL)
		l->stream = stream_tls_new(w, fd, tls, role == HANDSHAKE_DIALLER, &stream_owner, l);
	else
		l->stream = stream_tcp_new(w, fd, &stream_owner, l);
	if (l->stream == NULL) {
		mem_free(l);
		return NULL;
	}
	l->began_ms = l->heard_ms = l->said_ms = w->now_ms;
	list_init(&l->refused);
	lanes_out_init(&l->out);
	lanes_in_init(&l->in);
	make_nonce(nonce);
	handshake_begin(&l->greeting, role, self, key, nonce, stream_out(l->stream));
	stream_flush(l->stream);
	return l;
}

enum handshake_role link_role(const struct link *l)
{
	return l->greeting.role;
}

const struct handshake_identity *link_self(const struct link *l)
{
	return &l->greeting.self;
}

const struct handshake_identity *link_peer(const struct link *l)
{
	return &l->greeting.peer;
}

enum handshake_code link_code(const struct link *l)
{
	return l->greeting.code;
}

bool link_refused_by_peer(const struct link *l)
{
	return l->greeting.by_peer;
}

const char *link_name(const struct link *l)
{
	return stream_name(l->stream);
}

bool link_is_up(const struct link *l)
{
	return l->up && !l->ended;
}

bool link_is_ended(const struct link *l)
{
	return l->ended;
}

size_t link_waiting(const struct link *l)
{
	return l->out.waiting;
}

uint64_t link_received(const struct link *l)
{
	return stream_received(l->stream);
}

uint64_t link_sent(const struct link *l)
{
	return stream_sent(l->stream);
}

unsigned link_round_trip_us(const struct link *l)
{
	return stream_round_trip_us(l->stream);
}

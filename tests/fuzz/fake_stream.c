/* SPDX-License-Identifier: Apache-2.0
 *
 * What is sent must be what AMQP allows a server to say: whole frames within the limit negotiated,
 * methods that decode, contents whole and in one piece per channel, nothing behind close-ok.
 */
#include "tests/fuzz/fake_stream.h"

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/props.h"
#include "src/base/mem.h"
#include "src/net/stream_impl.h"
#include "tests/fuzz/fuzz.h"

#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { STREAMS_MAX = 8 };

/* A content on its way to the peer. */
struct content {
	struct list link;
	uint16_t channel;
	bool header_due;
	uint64_t left;
};

struct peer {
	struct buf in; /* what is no whole frame yet */
	struct list contents;
	uint32_t frame_max; /* 0: not known */
	bool greeted;       /* the first octets were seen */
	bool refused;       /* with a protocol header */
	bool over;          /* close-ok was sent */
};

struct fake {
	struct stream base;
	int fd;
	struct peer peer;
	struct buf writing;
	bool stalled, reading, closing;
	uint64_t gone_at_ms;
};

static struct fake *all[STREAMS_MAX];
static size_t pending_most;
static unsigned contents;
static uint8_t reply_to[UINT8_MAX];
static size_t reply_to_n;

static struct fake *of(struct stream *s)
{
	return (struct fake *)s;
}

/* ---- the peer ---- */

static struct content *peer_content(struct peer *p, uint16_t channel)
{
	LIST_EACH(node, &p->contents)
	{
		struct content *c = LIST_ENTRY(node, struct content, link);
		if (c->channel == channel)
			return c;
	}
	return NULL;
}

static void content_done(struct content *c)
{
	list_remove(&c->link);
	mem_free(c);
	contents++;
}

static bool server_says(uint32_t id)
{
	switch (id) {
	case AMQP_CONNECTION_START_OK:
	case AMQP_CONNECTION_SECURE_OK:
	case AMQP_CONNECTION_TUNE_OK:
	case AMQP_CONNECTION_OPEN:
	case AMQP_CHANNEL_OPEN:
	case AMQP_EXCHANGE_DECLARE:
	case AMQP_EXCHANGE_DELETE:
	case AMQP_QUEUE_DECLARE:
	case AMQP_QUEUE_DELETE:
	case AMQP_BASIC_PUBLISH:
	case AMQP_BASIC_CONSUME:
	case AMQP_BASIC_GET:
	case AMQP_BASIC_QOS:
	case AMQP_TX_SELECT:
		return false;
	default:
		return true;
	}
}

static void peer_method(struct peer *p, const struct amqp_frame *f)
{
	struct amqp_method m;
	CHECK(amqp_method_decode(f->payload, &m) == 0);
	CHECK(server_says(m.id));
	CHECK((amqp_method_class(m.id) == AMQP_CLASS_CONNECTION) == (f->channel == 0));
	/* A channel's content is in one piece, but for a connection that closes. */
	CHECK(peer_content(p, f->channel) == NULL);
	if (amqp_method_has_content(m.id)) {
		struct content *c = MEM_NEW(struct content);
		c->channel = f->channel;
		c->header_due = true;
		list_push_back(&p->contents, &c->link);
	}
	p->over = m.id == AMQP_CONNECTION_CLOSE_OK;
}

static void peer_header(struct peer *p, const struct amqp_frame *f)
{
	struct content *c = peer_content(p, f->channel);
	struct amqp_header h;
	CHECK(c != NULL && c->header_due);
	CHECK(amqp_header_decode(f->payload, &h) == 0 && h.class_id == AMQP_CLASS_BASIC);
	CHECK(amqp_props_check(h.props, NULL) == 0);
	struct slice to = amqp_props_reply_to(h.props);
	if (to.n > 0) {
		memcpy(reply_to, to.p, to.n);
		reply_to_n = to.n;
	}
	c->header_due = false;
	c->left = h.body_size;
	if (c->left == 0)
		content_done(c);
}

static void peer_body(struct peer *p, const struct amqp_frame *f)
{
	struct content *c = peer_content(p, f->channel);
	CHECK(c != NULL && !c->header_due);
	CHECK(f->payload.n > 0 && f->payload.n <= c->left);
	CHECK(p->frame_max == 0 || f->size <= p->frame_max);
	c->left -= f->payload.n;
	if (c->left == 0)
		content_done(c);
}

static void peer_frame(struct peer *p, const struct amqp_frame *f)
{
	CHECK(!p->over);
	if (f->type == AMQP_FRAME_METHOD)
		peer_method(p, f);
	else if (f->type == AMQP_FRAME_HEADER)
		peer_header(p, f);
	else if (f->type == AMQP_FRAME_BODY)
		peer_body(p, f);
	else
		CHECK(f->type == AMQP_FRAME_HEARTBEAT && f->channel == 0 && f->payload.n == 0);
}

/* The refusal of another protocol comes alone. */
static bool peer_greeting(struct peer *p)
{
	if (!p->greeted && p->in.n > 0) {
		p->greeted = true;
		p->refused = p->in.p[0] == 'A';
	}
	if (!p->refused)
		return false;
	CHECK(p->in.n <= AMQP_GREETING_SIZE && memcmp(p->in.p, AMQP_GREETING, p->in.n) == 0);
	return true;
}

static void peer_take(struct peer *p, struct slice s)
{
	buf_put_slice(&p->in, s);
	if (peer_greeting(p))
		return;
	size_t at = 0;
	struct amqp_frame f;
	for (;;) {
		enum amqp_frame_result r =
			amqp_frame_parse(slice_make(p->in.p + at, p->in.n - at), 0, &f);
		CHECK(r != AMQP_FRAME_BAD);
		if (r == AMQP_FRAME_MORE)
			break;
		peer_frame(p, &f);
		at += f.size;
	}
	/* Every flush ends at a frame's end. */
	CHECK(at == p->in.n);
	buf_clear(&p->in);
}

static void peer_done(struct peer *p)
{
	struct list *node;
	while ((node = list_pop(&p->contents)) != NULL)
		mem_free(LIST_ENTRY(node, struct content, link));
	buf_done(&p->in);
}

/* Looks for the client's tune-ok in what it sends in one piece; a later one is an error and changes
 * nothing. */
static void peer_tuned(struct peer *p, struct slice sent)
{
	struct amqp_frame f;
	struct amqp_method m;
	size_t at = amqp_greeting_parse(sent) == AMQP_GREETING_OK ? AMQP_GREETING_SIZE : 0;
	while (p->frame_max == 0 &&
		amqp_frame_parse(slice_make(sent.p + at, sent.n - at), 0, &f) == AMQP_FRAME_READY) {
		at += f.size;
		if (f.type == AMQP_FRAME_METHOD && amqp_method_decode(f.payload, &m) == 0 &&
			m.id == AMQP_CONNECTION_TUNE_OK)
			p->frame_max = m.u.connection_tune_ok.frame_max;
	}
}

/* ---- the stream ---- */

static void fake_write(struct fake *f)
{
	struct stream *s = &f->base;
	if (f->stalled) {
		buf_put_slice(&f->writing, buf_slice(&s->out));
		buf_clear(&s->out);
		return;
	}
	peer_take(&f->peer, buf_slice(&f->writing));
	s->sent += f->writing.n;
	buf_done(&f->writing);
	peer_take(&f->peer, buf_slice(&s->out));
	s->sent += s->out.n;
	buf_clear(&s->out);
	stream_spare(s->worker, &s->out);
}

static void fake_flush(struct stream *s)
{
	if (stream_pending(s) > pending_most)
		pending_most = stream_pending(s);
	fake_write(of(s));
	stream_written(s, true);
}

static size_t fake_in_flight(const struct stream *s)
{
	return ((const struct fake *)s)->writing.n;
}

static void fake_read_start(struct stream *s)
{
	of(s)->reading = true;
}

static void fake_read_stop(struct stream *s)
{
	of(s)->reading = false;
}

static void fake_close(struct stream *s, unsigned linger_ms)
{
	struct fake *f = of(s);
	fake_write(f);
	f->closing = true;
	f->gone_at_ms = f->stalled ? s->worker->now_ms + linger_ms : 0;
}

static void fake_release(struct stream *s)
{
	struct fake *f = of(s);
	peer_done(&f->peer);
	buf_done(&f->writing);
	all[f->fd] = NULL;
	mem_free(f);
}

static const struct stream_ops fake_ops = {
	.flush = fake_flush,
	.in_flight = fake_in_flight,
	.read_start = fake_read_start,
	.read_stop = fake_read_stop,
	.close = fake_close,
	.release = fake_release,
};

struct stream *stream_tcp_new(struct worker *w, int fd, const struct stream_owner *owner, void *arg)
{
	CHECK(fd >= 0 && fd < STREAMS_MAX && all[fd] == NULL);
	POISON(w->read_buf, WORKER_READ_SIZE);
	struct fake *f = MEM_NEW(struct fake);
	stream_init(&f->base, &fake_ops, w, owner, arg);
	snprintf(f->base.name, sizeof f->base.name, "127.0.0.1:%d -> 127.0.0.1:5672", fd);
	f->base.loopback = true;
	f->reading = true;
	f->fd = fd;
	list_init(&f->peer.contents);
	all[fd] = f;
	return &f->base;
}

/* ---- the test's side ---- */

struct stream *fake_stream(int fd)
{
	return all[fd] != NULL ? &all[fd]->base : NULL;
}

/* What is not part of the octets offered is poisoned, and these afterwards, too. */
size_t fake_arrive(int fd, struct slice bytes)
{
	struct fake *f = all[fd];
	if (f == NULL || !f->reading || f->closing || bytes.n == 0)
		return 0;
	struct worker *w = f->base.worker;
	size_t room;
	uint8_t *p = stream_room(&f->base, &room);
	size_t n = bytes.n < room ? bytes.n : room;
	peer_tuned(&f->peer, bytes);
	bool shared = p >= w->read_buf && p < w->read_buf + WORKER_READ_SIZE;
	/* What the stream has kept goes in front. */
	uint8_t *from = shared ? p - f->base.keep.n : p;
	size_t used = (size_t)(p - from) + n;
	UNPOISON(from, used);
	memcpy(p, bytes.p, n);
	stream_arrived(&f->base, n);
	if (shared)
		POISON(from, used);
	return n;
}

void fake_stall(int fd, bool stall)
{
	struct fake *f = all[fd];
	if (f == NULL || f->stalled == stall)
		return;
	f->stalled = stall;
	if (stall)
		return;
	if (f->closing) {
		f->gone_at_ms = 0;
		fake_write(f);
		return;
	}
	fake_write(f);
	stream_written(&f->base, false);
}

void fake_end(int fd, const char *why)
{
	struct fake *f = all[fd];
	if (f == NULL)
		return;
	f->gone_at_ms = 0; /* nobody lingers for who is gone */
	stream_end(&f->base, why, false);
}

bool fake_streams_turn(void)
{
	bool any = false;
	for (int i = 0; i < STREAMS_MAX; i++) {
		struct fake *f = all[i];
		if (f == NULL || !f->closing || f->base.gone ||
			f->gone_at_ms > f->base.worker->now_ms)
			continue;
		any = true;
		stream_gone(&f->base);
	}
	return any;
}

unsigned fake_streams(void)
{
	unsigned n = 0;
	for (int i = 0; i < STREAMS_MAX; i++)
		n += all[i] != NULL;
	return n;
}

size_t fake_pending_most(void)
{
	return pending_most;
}

unsigned fake_contents(void)
{
	return contents;
}

struct slice fake_reply_to(void)
{
	return slice_make(reply_to, reply_to_n);
}

void fake_streams_reset(void)
{
	reply_to_n = 0;
	pending_most = 0;
	contents = 0;
}

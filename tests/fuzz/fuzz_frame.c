/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/amqp/frame.c, taking a stream of octets apart into frames.
 *
 *   input := frame_max choice u8 | cutting seed u8 | stream
 *
 * Invariants:
 *  - the same frames and the same fault at the same place, however the stream is cut into pieces;
 *  - "more" names a size above what is there, and a frame that is ready lies within the input;
 *  - a frame that was read and is written again is the same octets;
 *  - explanations and descriptions end in a NUL within their array, whatever its size;
 *  - a greeting is decided by its octets alone, however they come.
 */
#include "src/amqp/frame.h"
#include "tests/fuzz/fuzz.h"

enum { FRAMES_MAX = 4096, STREAM_MAX = 16 * 1024 };

struct found {
	size_t at, size;
	uint32_t payload_size;
	uint16_t channel;
	uint8_t type, fault;
};

struct parse {
	struct found found[FRAMES_MAX];
	size_t n;
	size_t at; /* of the next frame */
	bool bad;
};

static struct parse whole, cut;

static void check_texts(const struct amqp_frame *f)
{
	static const size_t caps[] = {1, 2, 17, 40, 256};
	for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
		char *text = malloc(caps[i]);
		CHECK(text != NULL);
		memset(text, 'x', caps[i]);
		amqp_frame_describe(text, caps[i], f);
		CHECK(memchr(text, 0, caps[i]) != NULL);
		if (f->fault != AMQP_FRAME_OK) {
			memset(text, 'x', caps[i]);
			amqp_frame_explain(text, caps[i], f);
			CHECK(memchr(text, 0, caps[i]) != NULL);
		}
		free(text);
	}
}

static void check_written_again(struct slice octets, const struct amqp_frame *f)
{
	struct buf b = BUF_EMPTY;
	size_t mark = amqp_frame_begin(&b, f->type, f->channel);
	buf_put_slice(&b, f->payload);
	amqp_frame_end(&b, mark);
	CHECK(slice_eq(buf_slice(&b), octets));
	buf_done(&b);
}

/* Takes the frames that are complete in stream[0..n). */
static void parse_on(struct parse *p, struct slice stream, size_t n, uint32_t frame_max)
{
	while (!p->bad && p->n < FRAMES_MAX) {
		struct slice in = fuzz_exact(slice_make(stream.p + p->at, n - p->at));
		struct amqp_frame f;
		enum amqp_frame_result result = amqp_frame_parse(in, frame_max, &f);
		if (result == AMQP_FRAME_MORE) {
			CHECK(f.size > in.n);
			fuzz_free(in);
			return;
		}
		p->found[p->n++] =
			(struct found){p->at, f.size, f.payload_size, f.channel, f.type, f.fault};
		check_texts(&f);
		if (result == AMQP_FRAME_READY) {
			CHECK(f.fault == AMQP_FRAME_OK && f.size <= in.n);
			CHECK(f.payload.n == f.size - AMQP_FRAME_OVERHEAD);
			CHECK(frame_max == 0 || f.size <= (size_t)frame_max + AMQP_FRAME_FUDGE);
			check_written_again(slice_make(in.p, f.size), &f);
			p->at += f.size;
		} else {
			CHECK(result == AMQP_FRAME_BAD && f.fault != AMQP_FRAME_OK);
			p->bad = true;
		}
		fuzz_free(in);
	}
}

static void check_same(void)
{
	CHECK(whole.n == cut.n && whole.at == cut.at && whole.bad == cut.bad);
	for (size_t i = 0; i < whole.n; i++) {
		const struct found *a = &whole.found[i], *b = &cut.found[i];
		CHECK(a->at == b->at && a->size == b->size && a->channel == b->channel);
		CHECK(a->type == b->type && a->fault == b->fault);
		CHECK(a->payload_size == b->payload_size);
	}
}

static void check_greeting(struct slice stream)
{
	enum amqp_greeting all = amqp_greeting_parse(stream);
	CHECK((all == AMQP_GREETING_MORE) <= (stream.n < AMQP_GREETING_SIZE));
	for (size_t n = 0; n <= stream.n && n <= AMQP_GREETING_SIZE; n++) {
		struct slice some = fuzz_exact(slice_make(stream.p, n));
		enum amqp_greeting g = amqp_greeting_parse(some);
		CHECK(g == AMQP_GREETING_MORE || g == all);
		CHECK(g != AMQP_GREETING_OK || n == AMQP_GREETING_SIZE);
		fuzz_free(some);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t limits[] = {0, 8, 16, 64, 4096, 131072, UINT32_MAX};
	if (size < 2)
		return 0;
	uint32_t frame_max = limits[data[0] % (sizeof limits / sizeof *limits)];
	uint32_t seed = data[1];
	size_t n = size - 2 < STREAM_MAX ? size - 2 : STREAM_MAX;
	struct slice stream = slice_make(data + 2, n);
	check_greeting(stream);
	whole.n = whole.at = cut.n = cut.at = 0;
	whole.bad = cut.bad = false;
	parse_on(&whole, stream, n, frame_max);
	uint32_t most = 1u << (seed & 7);
	for (size_t there = 0; there < n;) {
		seed = seed * 1664525 + 1013904223;
		there += 1 + (seed >> 16) % most;
		parse_on(&cut, stream, there < n ? there : n, frame_max);
	}
	check_same();
	return 0;
}

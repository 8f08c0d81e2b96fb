/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/varint.h"

void put_varint(struct buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_put_u8(b, (uint8_t)(v | 0x80));
	buf_put_u8(b, (uint8_t)v);
}

uint64_t get_varint(struct reader *r)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t c = get_u8(r);
		v |= (uint64_t)(c & 0x7f) << shift;
		if ((c & 0x80) != 0)
			continue;
		bool too_long = c == 0 && shift > 0;
		bool too_large = shift == 63 && c > 1;
		if (too_long || too_large)
			break;
		return v;
	}
	reader_fail(r);
	return 0;
}

void step_begin(struct step_writer *w, uint64_t last)
{
	buf_clear(&w->out);
	w->last = last;
	w->n = 0;
}

void step_write_pending(struct step_writer *w)
{
	put_varint(&w->out, w->step << 1 | (w->n > 1));
	if (w->n > 1)
		put_varint(&w->out, w->n - 2);
}

void step_end(struct step_writer *w)
{
	if (w->n > 0)
		step_write_pending(w);
	w->n = 0;
}

uint64_t step_next(struct step_reader *s, struct reader *r)
{
	if (s->n == 0) {
		uint64_t pair = get_varint(r);
		s->step = pair >> 1;
		s->n = 1;
		if ((pair & 1) != 0) {
			uint64_t more = get_varint(r);
			if (more > UINT64_MAX - 2)
				reader_fail(r);
			s->n = more + 2;
		}
	}
	s->n--;
	s->last += (uint64_t)unzigzag(s->step);
	return s->last;
}

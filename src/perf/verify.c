/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/verify.h"

#include "src/base/mem.h"
#include "src/perf/mix.h"

void verify_init(struct verify *v, uint32_t run, unsigned copies, unsigned priorities)
{
	*v = (struct verify){.run = run, .copies = copies, .priorities = priorities};
}

void verify_done(struct verify *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		struct ledger *l = &v->ledgers[i];
		bits_done(&l->confirmed);
		bits_done(&l->again);
		bits_done(&l->returned);
		for (unsigned c = 0; c < v->copies; c++)
			bits_done(&l->received[c]);
		mem_free(l->received);
	}
	mem_free(v->ledgers);
	*v = (struct verify){0};
}

void verify_track_done(struct verify_track *t)
{
	mem_free(t->last);
	*t = (struct verify_track){0};
}

static struct ledger *ledger(struct verify *v, uint32_t producer)
{
	if (producer >= v->n) {
		v->ledgers = mem_realloc(v->ledgers, (producer + 1) * sizeof v->ledgers[0]);
		for (; v->n <= producer; v->n++)
			v->ledgers[v->n] = (struct ledger){
				.received = mem_zalloc(v->copies * sizeof(struct bits))};
	}
	return &v->ledgers[producer];
}

void verify_published(struct verify *v, uint32_t producer, uint64_t sequence, bool again)
{
	struct ledger *l = ledger(v, producer);
	if (sequence > l->published)
		l->published = sequence;
	if (again)
		bits_add(&l->again, sequence);
}

void verify_confirmed(struct verify *v, uint32_t producer, uint64_t sequence)
{
	bits_add(&ledger(v, producer)->confirmed, sequence);
}

void verify_returned(struct verify *v, struct slice body)
{
	struct stamp s;
	if (stamp_read(body, true, &s) == STAMP_WHOLE && s.run == v->run &&
		s.producer < VERIFY_PRODUCERS_MAX)
		bits_add(&ledger(v, s.producer)->returned, s.sequence);
}

static uint64_t *last_of(const struct verify *v, struct verify_track *t, const struct stamp *s)
{
	uint64_t random = mix_message(s->producer, s->sequence, MIX_PRIORITY);
	size_t at = (size_t)s->producer * v->priorities + random % v->priorities;
	if (at >= t->n) {
		t->last = mem_realloc(t->last, (at + 1) * sizeof t->last[0]);
		while (t->n <= at)
			t->last[t->n++] = 0;
	}
	return &t->last[at];
}

static void check_order(
	struct verify *v, struct verify_track *t, const struct stamp *s, bool exempt)
{
	uint64_t *last = last_of(v, t, s);
	if (exempt)
		return;
	if (s->sequence < *last)
		v->out_of_order++;
	else
		*last = s->sequence;
}

bool verify_received(struct verify *v, struct verify_track *t, unsigned copy, enum stamp_kind kind,
	const struct stamp *s, bool redelivered)
{
	if (kind == STAMP_CORRUPT)
		v->corrupt++;
	if (kind != STAMP_WHOLE || s->producer >= VERIFY_PRODUCERS_MAX)
		return false;
	if (v->run == 0)
		v->run = s->run;
	if (s->run != v->run)
		return false;
	struct ledger *l = ledger(v, s->producer);
	bool again = (s->flags & STAMP_AGAIN) != 0 || bits_has(&l->again, s->sequence);
	bool seen = bits_add(&l->received[copy], s->sequence);
	v->again += (s->flags & STAMP_AGAIN) != 0;
	v->unique += !seen;
	v->duplicates += seen;
	v->unexplained += seen && !again && !redelivered && !v->lost;
	if (s->sequence > l->highest)
		l->highest = s->sequence;
	check_order(v, t, s, again || redelivered || seen);
	return true;
}

void verify_interrupted(struct verify *v, struct verify_track *t)
{
	v->lost = true;
	verify_track_done(t);
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void verify_conclude(const struct verify *v, struct verify_result *ret)
{
	*ret = (struct verify_result){0};
	for (unsigned i = 0; i < v->n; i++) {
		const struct ledger *l = &v->ledgers[i];
		for (unsigned c = 0; c < v->copies; c++) {
			const struct bits *r = &l->received[c];
			ret->missing_confirmed += bits_missing(&l->confirmed, r, &l->returned);
			ret->missing_published += less(l->published, r->count + l->returned.count);
			ret->holes += less(l->highest, r->count);
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/proposer.h"

#include "src/base/mem.h"
#include "src/broker/codec.h"

enum { ANSWER_SIZE = 11 }; /* of a row's value, each */

/* ---- the table: sorted by id, as there are dozens ---- */

static size_t rank(const struct broker *b, uint64_t id)
{
	size_t low = 0;
	size_t high = b->n_proposers;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (b->proposers[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct broker_proposer *broker_proposer_find(const struct broker *b, uint64_t id)
{
	size_t i = rank(b, id);
	return i < b->n_proposers && b->proposers[i]->id == id ? b->proposers[i] : NULL;
}

struct broker_proposer *broker_proposer_new(struct broker *b, uint64_t id)
{
	size_t i = rank(b, id);
	struct broker_proposer *p = MEM_NEW(struct broker_proposer);
	p->id = id;
	b->proposers = mem_realloc(b->proposers, (b->n_proposers + 1) * sizeof(void *));
	memmove(b->proposers + i + 1, b->proposers + i, (b->n_proposers - i) * sizeof(void *));
	b->proposers[i] = p;
	b->n_proposers++;
	broker_row_init(b, &p->row, BROKER_ROW_PROPOSER, id);
	return p;
}

static void proposer_free(struct broker_proposer *p)
{
	mem_free(p->answers);
	mem_free(p);
}

void broker_proposer_delete(struct broker *b, struct broker_proposer *p)
{
	size_t i = rank(b, p->id);
	broker_row_gone(b, &p->row);
	b->n_proposers--;
	memmove(b->proposers + i, b->proposers + i + 1, (b->n_proposers - i) * sizeof(void *));
	proposer_free(p);
}

void broker_proposer_copy(
	struct broker *b, struct broker_proposer *p, const struct broker_proposer *from)
{
	size_t n = from->n_answers * sizeof *from->answers;
	mem_free(p->answers);
	p->answers = n > 0 ? mem_dup(from->answers, n) : NULL;
	p->n_answers = p->answers_cap = from->n_answers;
	p->last_seq = from->last_seq;
	broker_row_touch(b, &p->row);
}

void broker_proposers_free(struct broker *b)
{
	for (size_t i = 0; i < b->n_proposers; i++) {
		broker_row_gone(b, &b->proposers[i]->row);
		proposer_free(b->proposers[i]);
	}
	mem_free(b->proposers);
	b->proposers = NULL;
	b->n_proposers = 0;
}

/* ---- incarnations ---- */

static uint64_t node_and_incarnation(uint64_t id)
{
	return id >> 16;
}

static uint64_t node_first(uint64_t id)
{
	return id >> 48 << 48;
}

/* A newer incarnation of its node has proposed. */
static bool is_past(const struct broker *b, uint64_t id)
{
	size_t next = rank(b, (id | 0xffff) + 1);
	return (id | 0xffff) != UINT64_MAX && next < b->n_proposers &&
	       node_first(b->proposers[next]->id) == node_first(id);
}

static void forget_older(struct broker *b, uint64_t id)
{
	size_t from = rank(b, node_first(id));
	size_t to = from;
	for (; node_and_incarnation(b->proposers[to]->id) < node_and_incarnation(id); to++) {
		broker_row_gone(b, &b->proposers[to]->row);
		proposer_free(b->proposers[to]);
	}
	memmove(b->proposers + from, b->proposers + to, (b->n_proposers - to) * sizeof(void *));
	b->n_proposers -= to - from;
}

/* ---- answers ---- */

static struct broker_answer answer_of(const struct broker_result *r)
{
	struct broker_answer a = {(uint8_t)r->code, (uint8_t)r->resource, BROKER_NOTHING, 0};
	if (r->queue != NULL) {
		a.of = BROKER_QUEUE;
		a.number = r->group;
	} else if (r->exchange != NULL) {
		a.of = BROKER_EXCHANGE;
		a.number = r->exchange->row.number;
	} else if (r->node != NULL) {
		a.of = BROKER_NODE;
		a.number = r->node->id;
	} else {
		a.number = r->limit;
	}
	return a;
}

static struct broker_result result_of(const struct broker *b, const struct broker_answer *a)
{
	struct broker_result r = {.code = a->code, .resource = a->resource};
	if (a->of == BROKER_QUEUE) {
		r.group = a->number;
		r.queue = broker_queue_by_group(b, a->number);
	} else if (a->of == BROKER_EXCHANGE) {
		r.exchange = broker_exchange_by_number(b, a->number);
	} else if (a->of == BROKER_NODE) {
		r.node = broker_node_find(b, a->number);
	} else {
		r.limit = a->number;
	}
	return r;
}

static void forget_answers(struct broker_proposer *p, uint32_t n)
{
	if (n == 0)
		return;
	p->n_answers -= n;
	memmove(p->answers, p->answers + n, p->n_answers * sizeof *p->answers);
	if (p->n_answers == 0) {
		mem_free(p->answers);
		p->answers = NULL;
		p->answers_cap = 0;
	}
}

static void remember(struct broker_proposer *p, uint64_t seq, const struct broker_answer *a)
{
	if (seq != p->last_seq + 1) /* what was between is not known */
		forget_answers(p, p->n_answers);
	else if (p->n_answers == BROKER_ANSWERS_MAX)
		forget_answers(p, 1);
	if (p->n_answers == p->answers_cap) {
		p->answers_cap = p->answers_cap ? p->answers_cap * 2 : 4;
		p->answers = mem_realloc(p->answers, p->answers_cap * sizeof *p->answers);
	}
	p->answers[p->n_answers++] = *a;
	p->last_seq = seq;
}

/* Of a sequence at most the last; NULL if it is not remembered. */
static const struct broker_answer *recall(const struct broker_proposer *p, uint64_t seq)
{
	uint64_t back = p->last_seq - seq;
	return back < p->n_answers ? &p->answers[p->n_answers - 1 - back] : NULL;
}

uint64_t broker_proposer_last(const struct broker *b, uint64_t proposer)
{
	const struct broker_proposer *p = broker_proposer_find(b, proposer);
	return p != NULL ? p->last_seq : 0;
}

void broker_heard(struct broker *b, uint64_t proposer, uint64_t seq)
{
	struct broker_proposer *p = broker_proposer_find(b, proposer);
	if (p == NULL || p->n_answers == 0)
		return;
	uint64_t first = p->last_seq - p->n_answers + 1;
	if (seq < first)
		return;
	uint64_t n = seq - first + 1;
	forget_answers(p, n < p->n_answers ? (uint32_t)n : p->n_answers);
	broker_row_touch(b, &p->row);
}

void broker_apply_once(struct broker *b, uint64_t proposer, uint64_t seq, struct slice command,
	struct broker_result *ret)
{
	struct broker_proposer *p = broker_proposer_find(b, proposer);
	*ret = (struct broker_result){.code = BROKER_STALE};
	if (p == NULL) {
		if (is_past(b, proposer))
			return;
		p = broker_proposer_new(b, proposer);
		forget_older(b, proposer);
	}
	if (seq <= p->last_seq) {
		const struct broker_answer *a = recall(p, seq);
		if (a != NULL)
			*ret = result_of(b, a);
		return;
	}
	broker_apply(b, command, ret);
	struct broker_answer a = answer_of(ret);
	remember(p, seq, &a);
	broker_row_touch(b, &p->row);
}

/* ---- the row ---- */

void broker_put_proposer(struct buf *out, const struct broker_proposer *p)
{
	buf_put_u64le(out, p->last_seq);
	buf_put_u32le(out, p->n_answers);
	for (uint32_t i = 0; i < p->n_answers; i++) {
		const struct broker_answer *a = &p->answers[i];
		buf_put_u8(out, a->code);
		buf_put_u8(out, a->resource);
		buf_put_u8(out, a->of);
		buf_put_u64le(out, a->number);
	}
}

bool broker_load_proposer(struct broker *b, uint64_t id, struct reader *r)
{
	uint64_t last_seq = get_u64le(r);
	uint32_t n = get_u32le(r);
	if (r->bad || n > BROKER_ANSWERS_MAX || n > last_seq || reader_left(r) != n * ANSWER_SIZE ||
		broker_proposer_find(b, id) != NULL)
		return false;
	struct broker_proposer *p = broker_proposer_new(b, id);
	p->last_seq = last_seq - n;
	for (uint32_t i = 0; i < n; i++) {
		struct broker_answer a = {.code = broker_get_enum(r, BROKER_CODES)};
		a.resource = broker_get_enum(r, BROKER_RESOURCES);
		a.of = broker_get_enum(r, BROKER_RESOURCES);
		a.number = get_u64le(r);
		remember(p, p->last_seq + 1, &a);
	}
	p->last_seq = last_seq;
	return reader_finished(r);
}

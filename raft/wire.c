/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/wire.h"

/* ---- writing -------------------------------------------------------------------------------- */

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	store_u32le(p, v);
	return p + 4;
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	store_u64le(p, v);
	return p + 8;
}

static uint8_t *put_by_kind(uint8_t *p, const struct wire *w, size_t more)
{
	switch (w->kind) {
	case WIRE_APPEND:
		p = put64(put64(put64(p, w->prev_index), w->prev_term), w->commit);
		return put32(put32(p, w->n), 0);
	case WIRE_APPENDED:
		return put64(put64(p, w->rejected), w->last);
	case WIRE_VOTE:
	case WIRE_TIMEOUT_NOW:
	case WIRE_FREEZE:
		return put64(put64(p, w->last), w->last_term);
	case WIRE_FROZEN:
		return put64(p, w->last);
	case WIRE_VOTED:
	case WIRE_HERE:
		return p;
	case WIRE_REMOVED:
		return put64(p, w->index);
	case WIRE_INSTALL:
		p = put64(put64(put64(p, w->stream), w->index), w->index_term);
		p = put64(put64(put64(p, w->conf_index), w->data_n), w->entries_n);
		return put32(put32(p, (uint32_t)more), 0);
	case WIRE_INSTALL_STATE:
		return put64(put64(p, w->stream), w->part);
	case WIRE_INSTALL_ENTRIES:
		return put32(put32(put64(put64(p, w->stream), w->part), w->n), 0);
	case WIRE_INSTALL_ACK:
		return put64(put64(put64(p, w->stream), w->part), w->index);
	}
	return p;
}

size_t wire_encode(uint8_t *p, const struct wire *w, size_t more)
{
	uint8_t *end = put_by_kind(p + WIRE_HEAD, w, more);
	size_t n = (size_t)(end - p);
	p[0] = WIRE_VERSION;
	p[1] = (uint8_t)w->kind;
	store_u16le(p + 2, (uint16_t)w->flags);
	store_u32le(p + 4, (uint32_t)(n + more));
	store_u64le(p + 8, w->group);
	store_u64le(p + 16, w->from);
	store_u64le(p + 24, w->to);
	store_u64le(p + 32, w->term);
	return n;
}

void wire_encode_entry(uint8_t *p, const struct wire_entry *e)
{
	memset(p, 0, WIRE_ENTRY);
	store_u64le(p, e->number);
	store_u32le(p + 8, e->n);
	p[12] = e->type;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct wire_entry wire_entry_of(const struct wire *w, unsigned i)
{
	const uint8_t *p = w->list.p + (size_t)i * WIRE_ENTRY;
	return (struct wire_entry){.number = load_u64le(p), .n = load_u32le(p + 8), .type = p[12]};
}

static void get_list(struct reader *r, struct wire *w)
{
	w->n = get_u32le(r);
	get_u32le(r);
	if (w->n > WIRE_ENTRIES_MAX) {
		reader_fail(r);
		return;
	}
	w->list = get_slice(r, (size_t)w->n * WIRE_ENTRY);
	if (r->bad)
		return;
	uint64_t sum = 0;
	for (unsigned i = 0; i < w->n; i++)
		sum += wire_entry_of(w, i).n;
	if (sum != reader_left(r))
		reader_fail(r);
}

static int get_by_kind(struct reader *r, struct wire *w)
{
	switch (w->kind) {
	case WIRE_APPEND:
		w->prev_index = get_u64le(r);
		w->prev_term = get_u64le(r);
		w->commit = get_u64le(r);
		get_list(r, w);
		return WIRE_OK;
	case WIRE_APPENDED:
		w->rejected = get_u64le(r);
		w->last = get_u64le(r);
		return WIRE_OK;
	case WIRE_VOTE:
	case WIRE_TIMEOUT_NOW:
	case WIRE_FREEZE:
		w->last = get_u64le(r);
		w->last_term = get_u64le(r);
		return WIRE_OK;
	case WIRE_FROZEN:
		w->last = get_u64le(r);
		return WIRE_OK;
	case WIRE_VOTED:
	case WIRE_HERE:
		return WIRE_OK;
	case WIRE_REMOVED:
		w->index = get_u64le(r);
		return WIRE_OK;
	case WIRE_INSTALL: {
		w->stream = get_u64le(r);
		w->index = get_u64le(r);
		w->index_term = get_u64le(r);
		w->conf_index = get_u64le(r);
		w->data_n = get_u64le(r);
		w->entries_n = get_u64le(r);
		uint32_t conf_n = get_u32le(r);
		get_u32le(r);
		if (conf_n != reader_left(r))
			reader_fail(r);
		return WIRE_OK;
	}
	case WIRE_INSTALL_STATE:
		w->stream = get_u64le(r);
		w->part = get_u64le(r);
		return WIRE_OK;
	case WIRE_INSTALL_ENTRIES:
		w->stream = get_u64le(r);
		w->part = get_u64le(r);
		get_list(r, w);
		return WIRE_OK;
	case WIRE_INSTALL_ACK:
		w->stream = get_u64le(r);
		w->part = get_u64le(r);
		w->index = get_u64le(r);
		return WIRE_OK;
	}
	return WIRE_UNKNOWN_KIND;
}

static bool has_bytes(enum wire_kind kind)
{
	return kind == WIRE_APPEND || kind == WIRE_INSTALL || kind == WIRE_INSTALL_STATE ||
	       kind == WIRE_INSTALL_ENTRIES;
}

int wire_decode(struct wire *ret_w, struct slice bytes)
{
	struct reader r = reader_of(bytes);
	struct wire w = {0};
	int version = get_u8(&r);
	if (!r.bad && version != WIRE_VERSION)
		return WIRE_UNKNOWN_VERSION;
	w.kind = get_u8(&r);
	w.flags = get_u16le(&r);
	uint32_t n = get_u32le(&r);
	w.group = get_u64le(&r);
	w.from = get_u64le(&r);
	w.to = get_u64le(&r);
	w.term = get_u64le(&r);
	if (r.bad || n != bytes.n)
		return WIRE_MALFORMED;
	int rv = get_by_kind(&r, &w);
	if (rv != WIRE_OK)
		return rv;
	if (r.bad || (!has_bytes(w.kind) && reader_left(&r) > 0))
		return WIRE_MALFORMED;
	w.bytes = slice_make(r.p, reader_left(&r));
	*ret_w = w;
	return WIRE_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/envelope.h"

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/props.h"
#include "src/base/mem.h"
#include "src/perf/pattern.h"

enum {
	CHANNEL_AT = 1,                  /* in a frame */
	SIZE_AT = AMQP_FRAME_PREFIX + 4, /* in a content header's frame, behind class and weight */
};

static void put_props(struct buf *b, const struct options *o, uint32_t priority)
{
	struct amqp_props p = {0};
	if (o->persistent) {
		p.flags |= AMQP_PROP_DELIVERY_MODE;
		p.delivery_mode = AMQP_DELIVERY_PERSISTENT;
	}
	if (o->has_priority) {
		p.flags |= AMQP_PROP_PRIORITY;
		p.priority = (uint8_t)priority;
	}
	if (o->expiration != NULL) {
		p.flags |= AMQP_PROP_EXPIRATION;
		p.expiration = slice_str(o->expiration);
	}
	if (o->headers.n > 0) {
		p.flags |= AMQP_PROP_HEADERS;
		p.headers = buf_slice(&o->headers);
	}
	amqp_props_encode(b, &p);
}

static void make(struct envelope *e, const struct options *o, const char *key, uint32_t priority)
{
	struct buf props = BUF_EMPTY;
	put_props(&props, o, priority);
	struct amqp_method m = {.id = AMQP_BASIC_PUBLISH};
	m.u.basic_publish.exchange = slice_str(o->exchange);
	m.u.basic_publish.routing_key = slice_str(key);
	m.u.basic_publish.mandatory = o->mandatory;
	amqp_method_encode(&e->bytes, 0, &m);
	e->header_at = e->bytes.n;
	amqp_put_header(&e->bytes, 0, AMQP_CLASS_BASIC, 0, buf_slice(&props));
	buf_done(&props);
}

void envelopes_init(struct envelopes *e, const struct options *o)
{
	e->keys = o->queues;
	e->priorities = o->priority_max - o->priority_min + 1;
	e->priority_min = o->priority_min;
	e->v = mem_zalloc((size_t)e->keys * e->priorities * sizeof e->v[0]);
	for (unsigned k = 0; k < e->keys; k++) {
		char *key = pattern_expand(o->routing_key, k);
		for (unsigned p = 0; p < e->priorities; p++)
			make(&e->v[k * e->priorities + p], o, key, e->priority_min + p);
		mem_free(key);
	}
}

void envelopes_done(struct envelopes *e)
{
	for (size_t i = 0; e->v != NULL && i < (size_t)e->keys * e->priorities; i++)
		buf_done(&e->v[i].bytes);
	mem_free(e->v);
	*e = (struct envelopes){0};
}

void envelope_put(const struct envelope *e, struct buf *out, uint16_t channel, uint64_t size)
{
	uint8_t *p = buf_put(out, e->bytes.n);
	memcpy(p, e->bytes.p, e->bytes.n);
	store_u16be(p + CHANNEL_AT, channel);
	store_u16be(p + e->header_at + CHANNEL_AT, channel);
	store_u64be(p + e->header_at + SIZE_AT, size);
}

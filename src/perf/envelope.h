/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything of a published message in front of its body, made once: the basic.publish and the
 * content header, into which only channel and size remain to be written. There is one per routing
 * key and priority. Pure; read-only once made.
 */
#ifndef WARREN_PERF_ENVELOPE_H
#define WARREN_PERF_ENVELOPE_H

#include "src/perf/options.h"

struct envelope {
	struct buf bytes;
	size_t header_at; /* where the content header's frame begins */
};

struct envelopes {
	struct envelope *v; /* [keys][priorities] */
	unsigned keys;      /* queues */
	unsigned priorities;
	uint32_t priority_min;
};

void envelopes_init(struct envelopes *e, const struct options *o);
void envelopes_done(struct envelopes *e);

/* The one for routing key `key` < keys and a priority that follows from `random`. */
static inline const struct envelope *envelopes_pick(
	const struct envelopes *e, unsigned key, uint64_t random)
{
	return &e->v[key * e->priorities + (e->priorities > 1 ? random % e->priorities : 0)];
}

/* Appends it for a body of `size` octets on this channel; the body frames follow. */
void envelope_put(const struct envelope *e, struct buf *out, uint16_t channel, uint64_t size);

#endif

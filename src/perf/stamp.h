/* SPDX-License-Identifier: Apache-2.0
 *
 * What warren-perf writes into its messages' bodies (little endian):
 *
 *   0 magic:4 "WPRF" or "WPRV"   4 run:4   8 due:8        monotonic clock, ns
 *   16 producer:4   20 flags:4   24 sequence:8   32 checksum:8   40 filler...     only in WPRV
 *
 * Bodies of fewer than STAMP_SHORT octets have no stamp. WPRV is the form for --verify: the
 * checksum covers all other octets, and the filler differs from message to message. Pure.
 */
#ifndef WARREN_PERF_STAMP_H
#define WARREN_PERF_STAMP_H

#include "src/base/bytes.h"

enum {
	STAMP_SHORT = 16,
	STAMP_LONG = 40,
	STAMP_AGAIN = 1, /* flag: published before, on a connection that was lost */
};

enum stamp_kind {
	STAMP_NONE,    /* not ours, or too short */
	STAMP_TIMED,   /* run and due are there */
	STAMP_WHOLE,   /* everything is, and the checksum is right */
	STAMP_CORRUPT, /* everything should be, but is damaged */
};

struct stamp {
	uint64_t due_ns;
	uint64_t sequence; /* from 1, per producer */
	uint32_t run;
	uint32_t producer;
	uint32_t flags;
};

/* Writes the short form at the front of body[n], n >= STAMP_SHORT; the rest is left alone. */
static inline void stamp_put_short(uint8_t *body, uint32_t run, uint64_t due_ns)
{
	memcpy(body, "WPRF", 4);
	store_u32le(body + 4, run);
	store_u64le(body + 8, due_ns);
}

/* Writes all of body[n], n >= STAMP_LONG. */
void stamp_put_long(uint8_t *body, size_t n, const struct stamp *s);

/* Reads a body; with `check` the long form is read and its checksum computed. */
enum stamp_kind stamp_read(struct slice body, bool check, struct stamp *ret);

#endif

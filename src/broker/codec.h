/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields that commands and rows have in common. Little endian.
 *
 *   name: length:16 bytes      long: length:32 bytes      flags: 8 bits
 */
#ifndef WARREN_BROKER_CODEC_H
#define WARREN_BROKER_CODEC_H

#include "src/base/buf.h"
#include "src/broker/broker.h"

static inline void broker_put_name(struct buf *out, struct slice s)
{
	size_t n = s.n > UINT16_MAX ? UINT16_MAX : s.n;
	buf_put_u16le(out, (uint16_t)n);
	buf_put_bytes(out, s.p, n);
}

static inline void broker_put_long(struct buf *out, struct slice s)
{
	size_t n = s.n > UINT32_MAX ? UINT32_MAX : s.n;
	buf_put_u32le(out, (uint32_t)n);
	buf_put_bytes(out, s.p, n);
}

static inline struct slice broker_get_name(struct reader *r)
{
	return get_slice(r, get_u16le(r));
}

static inline struct slice broker_get_long(struct reader *r)
{
	return get_slice(r, get_u32le(r));
}

/* An enum of `n` values from 0. */
static inline uint8_t broker_get_enum(struct reader *r, uint8_t n)
{
	uint8_t v = get_u8(r);
	if (v >= n) {
		reader_fail(r);
		return 0;
	}
	return v;
}

/* A field table, which must be well formed all through. */
struct slice broker_get_table(struct reader *r);

/* All has been read, and nothing is left. */
static inline bool reader_finished(const struct reader *r)
{
	return !r->bad && reader_left(r) == 0;
}

/* The specs of definitions. Getters fail the reader if a field is malformed; slices point into its bytes. */
void broker_put_exchange_spec(struct buf *out, const struct broker_exchange_spec *spec);
void broker_get_exchange_spec(struct reader *r, struct broker_exchange_spec *ret);
void broker_put_queue_spec(struct buf *out, const struct broker_queue_spec *spec);
void broker_get_queue_spec(struct reader *r, struct broker_queue_spec *ret);
void broker_put_policy_spec(struct buf *out, const struct broker_policy_spec *spec);
void broker_get_policy_spec(struct reader *r, struct broker_policy_spec *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices, and a checked cursor over bytes that somebody else wrote.
 *
 * A reader never reads past its end: a get past it sets `bad`, moves to the end and returns zero,
 * so a decoder may read a whole structure and test `bad` once. AMQP is big endian (get_u16be, ...);
 * Warren's own formats are little endian (get_u16le, ...).
 */
#ifndef WARREN_BASE_BYTES_H
#define WARREN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes: valid as long as their owner says. */
struct slice {
	const uint8_t *p;
	size_t n;
};

static inline struct slice slice_make(const void *p, size_t n)
{
	return (struct slice){(const uint8_t *)p, n};
}

static inline struct slice slice_str(const char *s)
{
	return slice_make(s, strlen(s));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

/* For "%.*s". */
#define SLICE_FMT(s) (int)(s).n, (const char *)(s).p

struct reader {
	const uint8_t *p;
	const uint8_t *end;
	bool bad; /* something was read past the end, or reader_fail() was called */
};

static inline struct reader reader_make(const void *p, size_t n)
{
	/* Adding even 0 to NULL is undefined. */
	const uint8_t *start = p != NULL ? p : (const uint8_t *)"";
	return (struct reader){start, start + n, false};
}

static inline struct reader reader_of(struct slice s)
{
	return reader_make(s.p, s.n);
}

static inline size_t reader_left(const struct reader *r)
{
	return (size_t)(r->end - r->p);
}

static inline void reader_fail(struct reader *r)
{
	r->bad = true;
	r->p = r->end;
}

/* The next n bytes, or NULL with `bad` set. */
static inline const uint8_t *get_bytes(struct reader *r, size_t n)
{
	if (n > reader_left(r)) {
		reader_fail(r);
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += n;
	return p;
}

static inline struct slice get_slice(struct reader *r, size_t n)
{
	const uint8_t *p = get_bytes(r, n);
	return p != NULL ? slice_make(p, n) : slice_make(NULL, 0);
}

static inline uint8_t get_u8(struct reader *r)
{
	const uint8_t *p = get_bytes(r, 1);
	return p != NULL ? *p : 0;
}

static inline uint16_t load_u16be(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap16(v);
}

static inline uint32_t load_u32be(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap32(v);
}

static inline uint64_t load_u64be(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap64(v);
}

static inline uint16_t load_u16le(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load_u32le(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t load_u64le(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline void store_u16be(uint8_t *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof v);
}

static inline void store_u32be(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

static inline void store_u64be(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof v);
}

static inline void store_u16le(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void store_u32le(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void store_u64le(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

#define BYTES_GETTER(bits, order)                                         \
	static inline uint##bits##_t get_u##bits##order(struct reader *r) \
	{                                                                 \
		const uint8_t *p = get_bytes(r, (bits) / 8);              \
		return p != NULL ? load_u##bits##order(p) : 0;            \
	}
BYTES_GETTER(16, be)
BYTES_GETTER(32, be)
BYTES_GETTER(64, be)
BYTES_GETTER(16, le)
BYTES_GETTER(32, le)
BYTES_GETTER(64, le)
#undef BYTES_GETTER

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "load_*le and store_*le need byte swaps on this machine"
#endif

#endif

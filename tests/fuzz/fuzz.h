/* SPDX-License-Identifier: Apache-2.0
 *
 * What all fuzz targets share. A target is one LLVMFuzzerTestOneInput(): libFuzzer calls it in
 * builds with --enable-fuzzers, replay.c does in all others.
 */
#ifndef WARREN_TESTS_FUZZ_FUZZ_H
#define WARREN_TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/bytes.h"

/* Defined in builds with AddressSanitizer, by either compiler. */
#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant; not assert(), which NDEBUG takes away. */
#define CHECK(condition)                                                                        \
	((condition) ? (void)0                                                                  \
		     : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), \
			       abort()))

/* The bytes in a block of just their size, so that a sanitizer sees each read beside them. free()
 * the pointer. */
static inline struct slice fuzz_exact(struct slice s)
{
	uint8_t *p = malloc(s.n);
	CHECK(p != NULL);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return slice_make(p, s.n);
}

static inline void fuzz_free(struct slice s)
{
	free((void *)s.p);
}

/* Up to n bytes off the front. */
static inline struct slice fuzz_take(struct reader *r, size_t n)
{
	return get_slice(r, n < reader_left(r) ? n : reader_left(r));
}

#endif

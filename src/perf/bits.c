/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/bits.h"

#include <string.h>

#include "src/base/mem.h"

enum { WORDS_FIRST = 64 };

void bits_done(struct bits *b)
{
	mem_free(b->words);
	*b = (struct bits){0};
}

static void grow(struct bits *b, size_t need)
{
	size_t cap = b->cap > 0 ? b->cap * 2 : WORDS_FIRST;
	if (cap < need)
		cap = need;
	b->words = mem_realloc(b->words, cap * sizeof b->words[0]);
	memset(b->words + b->cap, 0, (cap - b->cap) * sizeof b->words[0]);
	b->cap = cap;
}

bool bits_add(struct bits *b, uint64_t member)
{
	if (bits_has(b, member))
		return true;
	if (member / 64 >= b->cap)
		grow(b, member / 64 + 1);
	b->words[member / 64] |= (uint64_t)1 << member % 64;
	b->count++;
	return false;
}

bool bits_has(const struct bits *b, uint64_t member)
{
	return member / 64 < b->cap && (b->words[member / 64] >> member % 64 & 1) != 0;
}

static uint64_t word(const struct bits *b, size_t i)
{
	return i < b->cap ? b->words[i] : 0;
}

uint64_t bits_missing(const struct bits *all, const struct bits *seen, const struct bits *excused)
{
	uint64_t n = 0;
	for (size_t i = 0; i < all->cap; i++)
		n += (uint64_t)__builtin_popcountll(
			all->words[i] & ~word(seen, i) & ~word(excused, i));
	return n;
}

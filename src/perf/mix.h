/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers that look random and are the same in every run: what a message is like (its size, its
 * priority, its filler) follows from who sends it and its sequence number, so that a message can be
 * made again after a reconnect. Pure.
 */
#ifndef WARREN_PERF_MIX_H
#define WARREN_PERF_MIX_H

#include <stdint.h>

/* A bijection of 64 bits in which every bit of x concerns every bit of the result. */
static inline uint64_t mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* What a message's number is wanted for. */
enum mix_purpose { MIX_SIZE = 1, MIX_PRIORITY, MIX_FILLER };

/* One number per message and purpose. */
static inline uint64_t mix_message(uint32_t producer, uint64_t sequence, enum mix_purpose purpose)
{
	return mix64(mix64((uint64_t)purpose << 32 | producer) ^ sequence);
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A channel's deliveries that the client has yet to settle, by delivery tag. Open addressing with
 * the tag itself as hash: consecutive tags lie next to each other, and the usual channel, whose
 * tags come and go in order, uses the table as a ring. Memory follows the number outstanding,
 * however far apart the tags are.
 */
#ifndef WARREN_SESSION_UNACKED_H
#define WARREN_SESSION_UNACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct consumer;

struct unacked_item {
	uint64_t tag; /* 0: free */
	struct consumer *consumer;
	uint64_t number; /* of the delivery to the consumer */
};

struct unacked {
	struct unacked_item *items;
	size_t cap; /* power of two or 0 */
	size_t n;
	size_t displaced; /* items that are not where their tag says */
	uint64_t lowest;  /* no tag below is outstanding */
};

void unacked_done(struct unacked *u);
/* Tags ascend from call to call. */
void unacked_add(struct unacked *u, uint64_t tag, struct consumer *consumer, uint64_t number);
/* Puts one back that was taken out. */
void unacked_restore(struct unacked *u, const struct unacked_item *item);
/* Whether it is outstanding. */
bool unacked_has(const struct unacked *u, uint64_t tag);
/* Takes one out; false if it is not outstanding. */
bool unacked_take(struct unacked *u, uint64_t tag, struct unacked_item *ret);
/* Takes out the lowest one at or below `upto`; false if there is none. */
bool unacked_take_lowest(struct unacked *u, uint64_t upto, struct unacked_item *ret);

#endif

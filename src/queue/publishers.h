/* SPDX-License-Identifier: Apache-2.0
 *
 * The last sequence applied of each client, sorted by client: what makes a repeated section do
 * nothing. Clients are workers of nodes, so there are dozens.
 */
#ifndef WARREN_QUEUE_PUBLISHERS_H
#define WARREN_QUEUE_PUBLISHERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct publisher {
	uint64_t client;
	uint64_t last_seq;
	uint64_t told_index; /* entry at whose end it was told last; not part of the state */
};

struct publishers {
	struct publisher *a;
	size_t n;
	size_t cap;
};

void publishers_done(struct publishers *p);
/* Or NULL. */
struct publisher *publishers_find(const struct publishers *p, uint64_t client);
/* Everything up to seq is applied; never goes back. */
void publishers_raise(struct publishers *p, uint64_t client, uint64_t seq);
/* Forgets those in [from, to]. */
void publishers_forget(struct publishers *p, uint64_t from, uint64_t to);

#endif

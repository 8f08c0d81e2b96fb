/* SPDX-License-Identifier: Apache-2.0
 *
 * What a leading host expects of each client next. A section that begins later than that has
 * overtaken one that was lost with an earlier leadership: the client has to resume.
 */
#ifndef WARREN_QUEUE_EXPECTED_H
#define WARREN_QUEUE_EXPECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expected_client {
	uint64_t client;
	uint64_t next; /* sequence */
};

/* All zero is the empty table. Clients are dozens. */
struct expected {
	struct expected_client *a;
	uint32_t n, cap;
};

void expected_done(struct expected *e);
/* Takes a section of `count` commands from `first` on; false if it begins too late. Of a client not
 * seen before, `last` is the last sequence that the machine has of it. */
bool expected_take(
	struct expected *e, uint64_t client, uint64_t first, uint32_t count, uint64_t last);
/* Has the client sent anything? */
bool expected_has(const struct expected *e, uint64_t client);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits of vhosts and users. As in RabbitMQ, a negative number is no limit, but is listed.
 */
#ifndef WARREN_BROKER_LIMIT_H
#define WARREN_BROKER_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* Not set. */
#define BROKER_LIMIT_NONE INT64_MIN
/* In a command: stays as it is. */
#define BROKER_LIMIT_KEEP (INT64_MIN + 1)

struct broker_vhost_limits {
	int64_t max_connections;
	int64_t max_queues;
};

struct broker_user_limits {
	int64_t max_connections;
	int64_t max_channels;
};

/* Is there room for one more than `n`? */
static inline bool broker_limit_allows(int64_t limit, uint64_t n)
{
	return limit < 0 || n < (uint64_t)limit;
}

/* A limit after a command that says `set`. */
static inline int64_t broker_limit_after(int64_t limit, int64_t set)
{
	return set == BROKER_LIMIT_KEEP ? limit : set;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What all groups of a worker together hold in libraft's logs, in bytes, and whose turn it is to
 * take a snapshot when that is too much. Each group bounds its own log while it works; this bounds
 * what thousands of groups keep that worked once and rest now.
 */
#ifndef WARREN_RAFT_LOG_BUDGET_H
#define WARREN_RAFT_LOG_BUDGET_H

#include <stddef.h>

#include "src/base/list.h"

enum {
	LOG_BUDGET_MAX = 64 * 1024 * 1024, /* per worker */
	LOG_BUDGET_HEAVY = 4 * 1024,       /* below this a snapshot is not worth its write */
};

struct log_budget {
	size_t bytes;      /* of all shares */
	struct list heavy; /* struct log_share, the one that grew heavy first is first */
};

/* A group's part, embedded in the group. */
struct log_share {
	size_t bytes; /* entries since the last snapshot was taken or asked for */
	struct list link;
};

void log_budget_init(struct log_budget *b);
void log_share_init(struct log_share *s);
void log_budget_add(struct log_budget *b, struct log_share *s, size_t n);
/* A snapshot is under way that lets the share's entries go, or its group is closed. */
void log_budget_clear(struct log_budget *b, struct log_share *s);
/* While there is too much: a share whose group must take a snapshot. It counts as cleared. */
struct log_share *log_budget_excess(struct log_budget *b);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The configurations in a member's log: the one that held at its start and every later one, so that
 * the shim knows at any index who the members are, and can return to the one before (R10).
 */
#ifndef WARREN_RAFT_CONFS_H
#define WARREN_RAFT_CONFS_H

#include "raft/libraft.h"
#include "src/base/bytes.h"

struct conf_at {
	uint64_t index; /* of its entry */
	struct raft_configuration conf;
};

/* Zeroes: none known. */
struct confs {
	struct conf_at *at; /* index rising */
	unsigned n;
};

void confs_done(struct confs *c);
/* Forgets all and begins with this one, which is copied. */
void confs_reset(struct confs *c, uint64_t index, const struct raft_configuration *conf);
/* A further one, from its entry. 0, or -1 if the bytes cannot be understood. */
int confs_push(struct confs *c, uint64_t index, struct slice bytes);
/* Forgets those at and above `index`. */
void confs_truncate(struct confs *c, uint64_t index);
/* Forgets those that no index at or above `index` needs. */
void confs_trim(struct confs *c, uint64_t index);
/* The newest; NULL without any. */
const struct conf_at *confs_newest(const struct confs *c);
/* The one that holds at `index`. */
const struct conf_at *confs_at(const struct confs *c, uint64_t index);
/* A member of the newest one; NULL if it is none of it, or there is none. */
const struct raft_server *confs_find(const struct confs *c, uint64_t id);

const struct raft_server *conf_find(const struct raft_configuration *conf, uint64_t id);
void conf_copy(struct raft_configuration *ret, const struct raft_configuration *from);

#endif

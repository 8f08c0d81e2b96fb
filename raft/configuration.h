/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations as bytes. libraft writes them (raft_configuration_encode(), in entries of type
 * RAFT_CHANGE) but keeps its reader to itself; this is the reader.
 *
 *   u8   format, 1
 *   u64  number of servers
 *   per server: u64 id, address with its NUL, u8 role          (little endian; padding may follow)
 */
#ifndef WARREN_RAFT_CONFIGURATION_H
#define WARREN_RAFT_CONFIGURATION_H

#include "raft/libraft.h"
#include "src/base/bytes.h"

/* Initialises *ret_conf; close it with raft_configuration_close(). 0, or -1 with nothing to close.
 */
int configuration_decode(struct raft_configuration *ret_conf, struct slice bytes);

/* `id` is a voter and the only one. */
bool configuration_sole_voter(const struct raft_configuration *conf, uint64_t id);

#endif

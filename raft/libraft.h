/* SPDX-License-Identifier: Apache-2.0
 *
 * <raft.h> and what we need from its structs besides functions. Later releases (to 0.18) move or
 * hide fields; only the ones read here may be read, and only here. Never r->log, r->configuration
 * or the state's union: what we need of them, the shim keeps itself.
 */
#ifndef WARREN_RAFT_LIBRAFT_H
#define WARREN_RAFT_LIBRAFT_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

static inline uint64_t libraft_term(const struct raft *r)
{
	return r->current_term;
}

/* A configuration entry is in the log that is not committed yet. */
static inline bool libraft_changing(const struct raft *r)
{
	return r->configuration_uncommitted_index != 0;
}

#endif

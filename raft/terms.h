/* SPDX-License-Identifier: Apache-2.0
 *
 * The terms of a log's entries, as runs: what the shim knows of libraft's log without looking into
 * it. As entries of one term follow one another this is a handful of pairs.
 */
#ifndef WARREN_RAFT_TERMS_H
#define WARREN_RAFT_TERMS_H

#include <stdint.h>

struct term_run {
	uint64_t from; /* first index of the run, which ends before the next one */
	uint64_t term;
};

/* Zeroes are an empty log that begins at 1. */
struct terms {
	struct term_run *run;
	unsigned n;
	unsigned cap;
	uint64_t last; /* index of the last entry, or of what the log begins behind */
};

void terms_done(struct terms *t);
/* The log is empty and begins behind `index`, whose term is remembered. */
void terms_reset(struct terms *t, uint64_t index, uint64_t term);
/* Entry last + 1. */
void terms_push(struct terms *t, uint64_t term);
/* Forgets the entries at and above `index`. */
void terms_truncate(struct terms *t, uint64_t index);
/* The entries below `index` will not be asked for. */
void terms_trim(struct terms *t, uint64_t index);
/* 0: no such entry, or trimmed. */
uint64_t terms_of(const struct terms *t, uint64_t index);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * One worker without a loop: a port, a registry and a clock, driven turn by turn by the test; and a
 * small state machine to put above groups, `toy`.
 */
#ifndef WARREN_TESTS_RAFT_WORLD_H
#define WARREN_TESTS_RAFT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "raft/groups.h"
#include "src/base/mem.h"
#include "tests/unit/raft/disk.h"

struct world {
	struct store_port port;
	struct groups *groups;
	struct store *store; /* real one, or NULL */
	struct disk *disk;   /* pretended one, or NULL; without either: memory logs */
	bool hold;           /* the disk commits nothing */
	uint64_t now_ms;
	int wake; /* an eventfd that the store's writer thread writes */
};

/* The state machine: counts, and a hash over everything in order. A section of a batch is u32 size
 * and bytes. Entries stay needed until toy_release(). */
struct toy {
	struct world *world;
	struct group *group; /* NULL once closed */
	uint64_t id;
	/* state */
	uint64_t entries, sections, hash;
	/* what is needed, beside the state */
	uint8_t *needed; /* by index */
	uint64_t needed_cap;
	uint64_t snapshot_index;
	/* what happened */
	uint64_t last_index;
	size_t last_n;
	uint64_t seals, first_stamp_bad;
	unsigned leads, snapshots, snapshots_done, restores;
	bool leading, closed, busy; /* busy: inside a call into the group */
	uint64_t term;
	size_t state_pad; /* extra bytes in a snapshot */
	bool keeps;       /* entries stay needed; otherwise not from the start */
	bool refuses;     /* restore() fails */
	size_t backlog;   /* for the test's own use */
	void (*on_leading)(struct toy *t);
	void (*on_snapshot_done)(struct toy *t);
};

void world_init(struct world *w, struct disk *disk, struct store *store, size_t cache_bytes);
void world_done(struct world *w);
/* One round of a turn; whether anything was done. */
bool world_round(struct world *w);
/* Rounds until nothing is done (for a real store: until *until is true). */
void world_turn(struct world *w);
void world_until(struct world *w, bool (*until)(void *arg), void *arg);

/* Opens group `id` as sole voter, server 1, with a zeroed toy above it. */
void toy_open(struct toy *t, struct world *w, uint64_t id);
int toy_try_open(struct toy *t, struct world *w, uint64_t id);
/* Appends a section to the open batch. */
void toy_put(struct toy *t, const void *p, size_t n);
void toy_put_number(struct toy *t, uint64_t number, size_t n);
void toy_release(struct toy *t, uint64_t index);
void toy_close(struct toy *t, bool drop);
/* Closes, waits, frees. */
void toy_end(struct toy *t);
void toy_free(struct toy *t);

/* Bytes the process has allocated. */
size_t heap_in_use(void);

#endif

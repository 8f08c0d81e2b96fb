/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives disk blocks back: LMDB never shrinks its file, so the free pages in it are punched out
 * (fallocate). The file keeps its length; what it occupies follows what lives.
 *
 * Why a page may be punched. After commit L returned, and as long as the writer thread begins no
 * transaction, somebody may still read a page of
 *   (a) the tree of L, which the newer meta page points to;
 *   (b) the tree of L - 1, which the older meta page points to (should the newer one be lost);
 *   (c) the tree of a reader's transaction R <= L.
 * A page listed in L's free list under key K left the tree with transaction K at the latest, unless
 * it was put back: then a later transaction W <= L had taken it out of the list to use it, had some
 * left, and returned these under some key. It takes only pages that left the tree by W - 2, and none
 * that a reader then active could see; later readers see later trees. So in both cases the page is
 * in no tree from min(K, L - 2) on. Pages in the list of L are not in (a); with K <= L - 1 not in
 * (b); with K <= every active R not in (c). A reader that begins meanwhile reads tree L.
 * LMDB itself writes over pages on the same grounds; what it takes from the list it writes without
 * reading (no MDB_WRITEMAP), so the zeros in a punched page are never looked at.
 *
 * When. Only if much is free, in portions between rounds. Whether a page is punched already is asked
 * of the file system (SEEK_DATA): a note of our own would be wrong once LMDB used the page again.
 * Some free pages stay, for the next burst and as room for deletions on a full disk.
 */
#ifndef WARREN_STORAGE_RECLAIM_H
#define WARREN_STORAGE_RECLAIM_H

#include "storage/env.h"
#include "storage/view.h"

struct reclaim {
	struct env *env;
	struct view view;
	int fd;             /* data.mdb; -1 until first needed */
	bool unable;        /* the file system has no holes */
	bool active;        /* a pass over the file is under way */
	bool wants_commit;  /* much is free, but by the last transaction: one more makes it old */
	uint64_t next_page; /* where the pass goes on */
	uint64_t next_ns;   /* when */
	uint64_t left;      /* bytes that the last pass could not give back, by estimate */
	uint64_t pass_bytes; /* punched in this pass */
};

void reclaim_init(struct reclaim *r, struct env *env);
void reclaim_done(struct reclaim *r);
/* Milliseconds until reclaim_step() has something to do; negative: not before the next commit. */
int reclaim_patience_ms(const struct reclaim *r, uint64_t now_ns);
/* Writer thread, no transaction open. `stored` is what records measure. `pressed`: the disk is full,
 * do not wait until much is free. */
void reclaim_step(struct reclaim *r, uint64_t stored, bool pressed, uint64_t now_ns);
/* A commit happened. */
void reclaim_committed(struct reclaim *r);

#endif

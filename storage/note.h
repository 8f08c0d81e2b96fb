/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's own functions tell the writer, in order with the requests of the same log: a
 * request (op STORE_OP_RELEASE) that nobody waits for. Made by the owner, freed by the writer.
 */
#ifndef WARREN_STORAGE_NOTE_H
#define WARREN_STORAGE_NOTE_H

#include "storage/groups.h"
#include "storage/store.h"

enum note_kind {
	NOTE_RELEASE, /* the entries in `ranges` are needed no more */
	NOTE_RETAIN,  /* of those at or below the snapshot only the ones in `ranges` are */
	NOTE_CLOSE,   /* the log is closed */
};

struct note {
	struct store_req req; /* op STORE_OP_RELEASE; log is not set, it may be gone */
	enum note_kind kind;
	struct group_state *group;
	struct store_range *ranges;
	unsigned n;
	unsigned cap;
};

static inline struct note *note_of(struct store_req *req)
{
	return LIST_ENTRY(req, struct note, req);
}

struct note *note_new(enum note_kind kind, struct group_state *group);
void note_free(struct note *note);
void note_add(struct note *note, struct store_range range);
/* Adds an index, joining it with the last range if it comes next. */
void note_add_index(struct note *note, uint64_t index);

#endif

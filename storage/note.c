/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/note.h"

#include "src/base/mem.h"

struct note *note_new(enum note_kind kind, struct group_state *group)
{
	struct note *note = MEM_NEW(struct note);
	list_init(&note->req.link);
	note->req.op = STORE_OP_RELEASE;
	note->kind = kind;
	note->group = group;
	return note;
}

void note_free(struct note *note)
{
	mem_free(note->ranges);
	mem_free(note);
}

void note_add(struct note *note, struct store_range range)
{
	if (note->n == note->cap) {
		note->cap = note->cap == 0 ? 4 : note->cap * 2;
		note->ranges = mem_realloc(note->ranges, note->cap * sizeof *note->ranges);
	}
	note->ranges[note->n++] = range;
}

void note_add_index(struct note *note, uint64_t index)
{
	if (note->n > 0 && note->ranges[note->n - 1].to + 1 == index)
		note->ranges[note->n - 1].to = index;
	else
		note_add(note, (struct store_range){index, index});
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/round.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/directory.h"

enum {
	ROUND_DELETES_MAX = 512, /* bounds what a purge of millions costs one commit: 32 MiB */
};

void round_init(struct round *r, struct records *records, struct groups *groups)
{
	*r = (struct round){.records = records, .groups = groups};
	list_init(&r->requests);
	list_init(&r->packed);
	list_init(&r->doomed);
}

void round_done(struct round *r)
{
	assert(list_empty(&r->requests) && list_empty(&r->packed) && list_empty(&r->doomed));
	mem_free(r->changes);
}

struct change *round_change(struct round *r, enum change_kind kind, uint64_t key)
{
	if (r->n_changes == r->cap_changes) {
		r->cap_changes = r->cap_changes == 0 ? 64 : r->cap_changes * 2;
		r->changes = mem_realloc(r->changes, r->cap_changes * sizeof *r->changes);
	}
	struct change *c = &r->changes[r->n_changes++];
	*c = (struct change){.kind = kind, .key = key};
	return c;
}

uint64_t round_number(const struct round *r)
{
	return r->open != NULL ? r->open->record->number : r->records->next;
}

static struct packed *round_open(struct round *r)
{
	struct packed *p = MEM_NEW(struct packed);
	p->record = records_add(r->records, r->records->next++);
	p->record->packed = p;
	list_push_back(&r->packed, &p->link);
	round_change(r, CHANGE_RECORD, p->record->number)->u.packed = p;
	r->open = p;
	return p;
}

void round_cut(struct round *r)
{
	struct packed *p = r->open;
	if (p == NULL)
		return;
	records_size(r->records, p->record, p->n, record_footprint(p->n, p->bytes));
	r->open = NULL;
}

static void packed_add(struct round *r, struct packed *p, const struct packed_entry *e)
{
	pthread_mutex_lock(&r->records->packed_lock);
	if (p->n == p->cap) {
		p->cap = p->cap == 0 ? 16 : p->cap * 2;
		p->entries = mem_realloc(p->entries, p->cap * sizeof *p->entries);
	}
	p->entries[p->n++] = *e;
	pthread_mutex_unlock(&r->records->packed_lock);
	blob_ref(e->blob);
	p->bytes += e->length;
}

void round_pack(struct round *r, const struct packed_entry *e, struct index_entry *ret_place)
{
	if (r->open != NULL && (r->open->bytes + e->length > ROUND_RECORD_BYTES ||
				       r->open->n == ROUND_RECORD_ENTRIES))
		round_cut(r);
	struct packed *p = r->open != NULL ? r->open : round_open(r);
	*ret_place = (struct index_entry){
		.index = e->index,
		.term = e->term,
		.checksum = e->checksum,
		.at = p->record,
		.offset = (uint32_t)(RECORD_HEADER + p->bytes),
		.length = e->length,
		.slot = p->n,
		.type = e->type,
	};
	packed_add(r, p, e);
	r->bytes += e->length + DIRECTORY_SLOT;
}

bool round_pending(const struct round *r)
{
	return r->n_changes > 0;
}

/* A moved entry counts at its new place only after the commit. */
bool packed_is_needed(const struct packed *p)
{
	return p->record->live > 0 || p->entries[0].from != NULL;
}

void round_doom(struct round *r)
{
	for (unsigned n = 0; n < ROUND_DELETES_MAX; n++) {
		struct list *node = list_pop(&r->records->dead);
		if (node == NULL)
			return;
		struct record *dead = LIST_ENTRY(node, struct record, dead_link);
		list_push_back(&r->doomed, &dead->dead_link);
	}
}

void round_delete(struct round *r)
{
	LIST_EACH(node, &r->doomed)
		round_change(r, CHANGE_DELETE, LIST_ENTRY(node, struct record, dead_link)->number);
}

void round_spare(struct round *r)
{
	for (struct list *node; (node = list_pop(&r->doomed)) != NULL;)
		list_push_back(&r->records->dead, node);
}

/* The offsets are those of round_pack(). */
static void packed_move(struct round *r, struct packed *p)
{
	uint32_t offset = RECORD_HEADER;
	for (uint32_t i = 0; i < p->n; offset += p->entries[i++].length) {
		struct packed_entry *moved = &p->entries[i];
		if (moved->from == NULL)
			continue;
		struct group_state *g = moved->mover;
		pthread_mutex_lock(&g->lock);
		struct index_entry *e = index_find(&g->index, moved->index);
		assert(e != NULL && e->at == moved->from);
		e->at = p->record;
		e->offset = offset;
		e->slot = i;
		pthread_mutex_unlock(&g->lock);
		records_entry_lives(r->records, p->record, moved->length);
		records_entry_dies(r->records, moved->from, moved->length);
	}
}

static void packed_finish(struct round *r, struct packed *p)
{
	bool written = packed_is_needed(p);
	packed_move(r, p);
	pthread_mutex_lock(&r->records->packed_lock);
	p->record->packed = NULL;
	pthread_mutex_unlock(&r->records->packed_lock);
	if (!written)
		records_remove(r->records, p->record);
	else if (p->record->live == 0)
		records_bury(r->records, p->record);
	for (uint32_t i = 0; i < p->n; i++)
		blob_unref(p->entries[i].blob);
	mem_free(p->entries);
	mem_free(p);
}

void round_finish(struct round *r)
{
	for (struct list *node; (node = list_pop(&r->doomed)) != NULL;) {
		struct record *dead = LIST_ENTRY(node, struct record, dead_link);
		/* Back in a list: records_remove() counts it out of the dead ones. */
		list_push_back(&r->records->dead, &dead->dead_link);
		records_remove(r->records, dead);
	}
	for (struct list *node; (node = list_pop(&r->packed)) != NULL;)
		packed_finish(r, LIST_ENTRY(node, struct packed, link));
	r->open = NULL;
	r->n_changes = 0;
	r->bytes = 0;
	r->moved_bytes = 0;
}

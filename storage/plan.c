/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/plan.h"

#include <assert.h>

#include "storage/directory.h"
#include "storage/note.h"

/* ---- entries that die ----------------------------------------------------------------------- */

/* Covered or released: found again after a restart, but below the snapshot, where only what the
 * state machine asks for is kept. Nothing to write. */
static void entry_is_covered(void *arg, const struct index_entry *e)
{
	struct round *r = arg;
	records_entry_dies(r->records, e->at, e->length);
}

/* Removed from the log's end: must not be found again. */
static void entry_is_truncated(void *arg, const struct index_entry *e)
{
	struct round *r = arg;
	struct record *record = e->at;
	if (record->packed != NULL)
		record->packed->entries[e->slot].flags |= DIRECTORY_TRUNCATED;
	else
		round_change(r, CHANGE_TRUNCATED, record->number)->u.slot = e->slot;
	records_entry_dies(r->records, record, e->length);
}

/* ---- groups --------------------------------------------------------------------------------- */

static void put_hard(struct round *r, struct group_state *g, struct hard_row hard)
{
	pthread_mutex_lock(&g->lock);
	g->exists = true;
	g->hard = hard;
	pthread_mutex_unlock(&g->lock);
	hard.staged = g->staged;
	round_change(r, CHANGE_HARD, g->id)->u.hard = hard;
}

/* Whatever is written of a group, its hard row is there: without it the entries are orphans. */
static void make_group(struct round *r, struct group_state *g)
{
	if (g->exists)
		return;
	struct hard_row hard = g->hard;
	if (hard.since == 0)
		hard.since = round_number(r);
	r->groups->existing += !g->staged;
	put_hard(r, g, hard);
}

/* All entries so far are dead, for ever. They are not marked one by one, there may be millions.
 * Returns the new `since`. */
static uint64_t end_all_entries(struct round *r, struct group_state *g)
{
	pthread_mutex_lock(&g->lock);
	index_truncate(&g->index, 0, entry_is_covered, r);
	pthread_mutex_unlock(&g->lock);
	round_cut(r);
	return round_number(r);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void truncate_from(struct round *r, struct group_state *g, uint64_t index)
{
	pthread_mutex_lock(&g->lock);
	index_truncate(&g->index, index, entry_is_truncated, r);
	pthread_mutex_unlock(&g->lock);
}

static void pack_entry(struct round *r, struct group_state *g, uint64_t index,
	const struct store_entry *from)
{
	assert(from->n <= UINT32_MAX - RECORD_HEADER);
	struct packed_entry e = {
		.group = g->id,
		.index = index,
		.term = from->term,
		.checksum = entry_checksum(g->id, index, from->term, from->p, from->n),
		.blob = from->blob,
		.p = from->p,
		.length = (uint32_t)from->n,
		.type = from->type,
	};
	struct index_entry place;
	round_pack(r, &e, &place);
	records_entry_lives(r->records, place.at, place.length);
	pthread_mutex_lock(&g->lock);
	index_push(&g->index, &place);
	pthread_mutex_unlock(&g->lock);
}

static void plan_append(struct round *r, struct group_state *g, const struct store_req *req)
{
	uint64_t first = req->u.append.first;
	uint64_t last = index_last(&g->index);
	if (last < g->snapshot_index)
		last = g->snapshot_index;
	assert(first > g->snapshot_index && (first <= last + 1 || g->staged));
	make_group(r, g);
	if (first <= last)
		truncate_from(r, g, first);
	for (unsigned i = 0; i < req->u.append.n; i++)
		pack_entry(r, g, first + i, &req->u.append.entries[i]);
}

static void put_snapshot(struct round *r, struct group_state *g, const struct store_req *req)
{
	pthread_mutex_lock(&g->lock);
	g->snapshot_index = req->u.snapshot.index;
	pthread_mutex_unlock(&g->lock);
	round_change(r, CHANGE_SNAPSHOT, g->id)->u.snapshot = req;
	r->bytes += plan_request_bytes(req);
}

static void plan_snapshot(struct round *r, struct group_state *g, const struct store_req *req)
{
	uint64_t index = req->u.snapshot.index;
	make_group(r, g);
	assert(index >= g->snapshot_index);
	pthread_mutex_lock(&g->lock);
	index_keep(&g->index, g->snapshot_index + 1, index, req->u.snapshot.live,
		req->u.snapshot.n_live, entry_is_covered, r);
	pthread_mutex_unlock(&g->lock);
	put_snapshot(r, g, req);
}

static void plan_hard(struct round *r, struct group_state *g, const struct store_req *req)
{
	make_group(r, g);
	put_hard(r, g,
		(struct hard_row){
			.term = req->u.hard.term,
			.vote = req->u.hard.vote,
			.since = g->hard.since,
		});
}

static void plan_drop(struct round *r, struct group_state *g)
{
	bool existed = g->exists;
	uint64_t since = end_all_entries(r, g);
	pthread_mutex_lock(&g->lock);
	g->exists = false;
	g->hard = (struct hard_row){.since = since};
	g->snapshot_index = 0;
	pthread_mutex_unlock(&g->lock);
	if (!existed)
		return;
	r->groups->existing -= !g->staged;
	round_change(r, CHANGE_GONE, g->id);
}

/* A few rows, however much was staged (storage/staging.h). */
static void plan_switch(struct round *r, struct group_state *g, const struct store_req *req)
{
	assert(g->staged && index_last(&g->index) <= req->u.snapshot.index);
	make_group(r, g);
	struct group_state *former = store_groups_switch(r->groups, g);
	r->groups->existing += !former->exists;
	put_hard(r, g,
		(struct hard_row){
			.term = former->hard.term,
			.vote = former->hard.vote,
			.since = g->hard.since,
		});
	put_snapshot(r, g, req);
	plan_drop(r, former);
}

static void plan_note(struct round *r, const struct note *note)
{
	struct group_state *g = note->group;
	pthread_mutex_lock(&g->lock);
	if (note->kind == NOTE_RETAIN)
		index_keep(&g->index, 0, g->snapshot_index, note->ranges, note->n,
			entry_is_covered, r);
	if (note->kind == NOTE_RELEASE)
		for (unsigned i = 0; i < note->n; i++)
			index_keep(&g->index, note->ranges[i].from, note->ranges[i].to, NULL, 0,
				entry_is_covered, r);
	pthread_mutex_unlock(&g->lock);
}

void plan_request(struct round *r, struct group_state *g, struct store_req *req)
{
	switch (req->op) {
	case STORE_OP_HARD:
		plan_hard(r, g, req);
		break;
	case STORE_OP_APPEND:
		plan_append(r, g, req);
		break;
	case STORE_OP_TRUNCATE:
		assert(req->u.truncate.index > g->snapshot_index);
		truncate_from(r, g, req->u.truncate.index);
		break;
	case STORE_OP_SNAPSHOT:
		plan_snapshot(r, g, req);
		break;
	case STORE_OP_RELEASE:
		plan_note(r, note_of(req));
		break;
	case STORE_OP_DROP:
		plan_drop(r, g);
		break;
	case STORE_OP_SWITCH:
		plan_switch(r, g, req);
		break;
	}
}

size_t plan_request_bytes(const struct store_req *req)
{
	size_t n = 0;
	if (req->op == STORE_OP_APPEND)
		for (unsigned i = 0; i < req->u.append.n; i++)
			n += req->u.append.entries[i].n + DIRECTORY_SLOT;
	if (req->op != STORE_OP_SNAPSHOT && req->op != STORE_OP_SWITCH)
		return n;
	n = SNAP_HEADER + req->u.snapshot.conf.n + req->u.snapshot.data.n;
	for (unsigned i = 0; i < req->u.snapshot.n_rows; i++)
		n += ROW_HEADER + req->u.snapshot.rows[i].key.n + req->u.snapshot.rows[i].value.n;
	return n;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/cleaner.h"

#include "storage/directory.h"

enum {
	CLEANER_MARGIN = 16 << 20,   /* bytes of dead entries that are never worth copying */
	CLEANER_PORTION = 1 << 20,   /* bytes copied per commit, plus half of what it writes anyway */
	CLEANER_LOOKS_MAX = 4096,    /* records looked at per commit */
};

void cleaner_init(struct cleaner *c, struct env *env)
{
	*c = (struct cleaner){.env = env};
}

void cleaner_done(struct cleaner *c)
{
	view_done(&c->view);
}

bool cleaner_wanted(const struct records *rs)
{
	uint64_t kept = rs->footprint - rs->dead_footprint;
	return kept > 2 * records_live_footprint(rs) + CLEANER_MARGIN;
}

/* Half dead or more: each byte copied gives at least one back. If all records occupy twice what
 * lives, there is such a record. */
static bool worth_cleaning(const struct record *r)
{
	return r->packed == NULL && r->live > 0 && 2 * record_live_footprint(r) <= r->footprint;
}

static void move_entry(struct round *r, struct group_state *g, const struct index_entry *e,
	struct blob *copy, const uint8_t *p)
{
	struct packed_entry moved = {
		.group = g->id,
		.index = e->index,
		.term = e->term,
		.checksum = e->checksum, /* as it was: a damaged entry is still noticed */
		.blob = copy,
		.p = p,
		.mover = g,
		.from = e->at,
		.length = e->length,
		.type = e->type,
		.flags = DIRECTORY_MOVED,
	};
	struct index_entry place;
	round_pack(r, &moved, &place);
	r->moved_bytes += moved.length;
}

/* Plans copies of the record's live entries, whose bytes go through `copy`. */
static void move_survivors(struct round *r, struct record *record, struct directory *d,
	struct slice body, struct blob *copy)
{
	struct slot s;
	size_t used = 0;
	while (directory_next(d, &s)) {
		struct group_state *g = store_groups_find(r->groups, s.group);
		const struct index_entry *e = g != NULL ? index_find(&g->index, s.index) : NULL;
		if (e == NULL || e->at != record || e->offset != s.offset)
			continue;
		if (s.length > 0)
			memcpy(copy->data + used, body.p + s.offset, s.length);
		move_entry(r, g, e, copy, copy->data + used);
		used += s.length;
	}
}

static bool record_read(struct cleaner *c, MDB_txn *txn, const struct record *record,
	struct directory *ret_d, struct slice *ret_body)
{
	MDB_val key = env_key(&record->number);
	MDB_val dir, body;
	if (mdb_get(txn, c->env->dir, &key, &dir) != 0 || mdb_get(txn, c->env->log, &key, &body) != 0)
		return false;
	*ret_body = env_slice(body);
	return directory_open(ret_d, env_slice(dir), record->number) == 0 &&
		ret_d->record_bytes == body.mv_size;
}

/* A record that cannot be read stays as it is: whoever needs its entries will notice. */
static void clean_record(struct cleaner *c, struct round *r, MDB_txn *txn, struct record *record)
{
	struct directory d;
	struct slice body;
	if (!record_read(c, txn, record, &d, &body))
		return;
	struct blob *copy = blob_new(record->live_bytes);
	move_survivors(r, record, &d, body, copy);
	blob_unref(copy);
}

static struct record *cleaner_next(struct records *rs)
{
	if (rs->cursor == &rs->all)
		rs->cursor = rs->all.next;
	if (rs->cursor == &rs->all)
		return NULL;
	struct record *r = LIST_ENTRY(rs->cursor, struct record, link);
	rs->cursor = rs->cursor->next;
	return r;
}

void cleaner_plan(struct cleaner *c, struct round *r)
{
	MDB_txn *txn;
	if (!cleaner_wanted(r->records) || view_begin(&c->view, c->env->mdb, &txn) != 0)
		return;
	/* Moved entries share no record with new ones: they will live longer. */
	round_cut(r);
	uint64_t portion = CLEANER_PORTION + r->bytes / 2;
	uint64_t looks = r->records->n < CLEANER_LOOKS_MAX ? r->records->n : CLEANER_LOOKS_MAX;
	for (uint64_t i = 0; i < looks && r->moved_bytes < portion; i++) {
		struct record *record = cleaner_next(r->records);
		if (worth_cleaning(record))
			clean_record(c, r, txn, record);
	}
	view_end(&c->view);
	c->cleaned_bytes += r->moved_bytes;
}

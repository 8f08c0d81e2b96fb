/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/scan.h"

#include "storage/directory.h"

struct scan {
	struct env *env;
	struct groups *groups;
	struct records *records;
	struct env_text err;
	MDB_txn *txn;
};

/* Called for each value of a table; 0 or a STORE_ error. */
typedef int (*scan_each)(struct scan *s, uint64_t key, struct slice value);

static int scan_fail(struct scan *s, int rc, const char *table, uint64_t key)
{
	return env_fail(s->err, rc, "store %s: table %s, key %llu: %s", s->env->path, table,
		(unsigned long long)key, store_strerror(rc));
}

static int scan_value(struct scan *s, const char *table, MDB_val key, MDB_val val, scan_each each)
{
	bool ok;
	uint64_t number = env_number(key, &ok);
	int rc = ok ? each(s, number, env_slice(val)) : STORE_DAMAGED;
	return rc == 0 ? STORE_OK : scan_fail(s, rc, table, number);
}

static int scan_table(struct scan *s, const char *table, MDB_dbi dbi, scan_each each)
{
	MDB_cursor *cursor;
	MDB_val key, val;
	int rc = mdb_cursor_open(s->txn, dbi, &cursor);
	if (rc != 0)
		return scan_fail(s, env_error(rc), table, 0);
	int found = 0;
	while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
		found = scan_value(s, table, key, val, each);
		if (found != 0)
			break;
	}
	mdb_cursor_close(cursor);
	if (found != 0 || rc == MDB_NOTFOUND)
		return found;
	return scan_fail(s, env_error(rc), table, 0);
}

static int scan_hard(struct scan *s, uint64_t id, struct slice value)
{
	struct hard_row row;
	int rc = hard_decode(value, id, &row);
	if (rc != 0 || row.staged) /* a check meets leftovers; a start has deleted them */
		return rc;
	struct group_state *g = store_groups_find_or_add(s->groups, id);
	g->exists = true;
	g->hard = row;
	s->groups->existing++;
	/* Were a number used again that is below, entries in it would be taken for dead ones. */
	if (s->records->next < row.since)
		s->records->next = row.since;
	return STORE_OK;
}

static int scan_snap(struct scan *s, uint64_t id, struct slice value)
{
	struct snap_row row;
	int rc = snap_decode_header(value, id, &row);
	if (rc != 0)
		return rc;
	struct group_state *g = store_groups_find(s->groups, id);
	if (g == NULL)
		return STORE_DAMAGED;
	g->snapshot_index = row.index;
	return STORE_OK;
}

static void scan_slot(struct scan *s, struct record *r, struct group_state *g,
	const struct slot *slot, uint32_t position)
{
	const struct index_entry e = {
		.index = slot->index,
		.term = slot->term,
		.checksum = slot->checksum,
		.at = r,
		.offset = slot->offset,
		.length = slot->length,
		.slot = position,
		.type = slot->type,
	};
	index_push_unsorted(&g->index, &e);
	records_entry_lives(s->records, r, slot->length);
}

static int scan_dir(struct scan *s, uint64_t number, struct slice value)
{
	struct directory d;
	struct slot slot;
	struct group_state *g = NULL;
	int rc = directory_open(&d, value, number);
	if (rc != 0)
		return rc;
	struct record *r = records_add(s->records, number);
	records_size(s->records, r, d.n, d.record_bytes + value.n);
	if (s->records->next <= number)
		s->records->next = number + 1;
	for (uint32_t i = 0; directory_next(&d, &slot); i++) {
		if (g == NULL || g->id != slot.group)
			g = store_groups_find(s->groups, slot.group);
		bool stale = g == NULL || number < g->hard.since;
		if (!stale && (slot.flags & DIRECTORY_TRUNCATED) == 0)
			scan_slot(s, r, g, &slot, i);
	}
	return STORE_OK;
}

static void older_copy_dies(void *arg, const struct index_entry *e)
{
	struct scan *s = arg;
	struct record *r = e->at;
	/* Not records_entry_dies(): all records without live entries are buried at the end. */
	r->live--;
	r->live_bytes -= e->length;
	s->records->live--;
	s->records->live_bytes -= e->length;
}

static void scan_finish(struct scan *s)
{
	for (struct group_state *g = s->groups->table; g != NULL; g = g->hh.next)
		index_sort(&g->index, older_copy_dies, s);
	LIST_EACH(node, &s->records->all) {
		struct record *r = LIST_ENTRY(node, struct record, link);
		if (r->live == 0)
			records_bury(s->records, r);
	}
}

static int scan_tables(struct scan *s)
{
	int rc = scan_table(s, "hard", s->env->hard, scan_hard);
	if (rc == 0)
		rc = scan_table(s, "snap", s->env->snap, scan_snap);
	if (rc == 0)
		rc = scan_table(s, "dir", s->env->dir, scan_dir);
	return rc;
}

int scan_store(struct env *env, struct groups *gs, struct records *rs, struct env_text err)
{
	struct scan s = {.env = env, .groups = gs, .records = rs, .err = err};
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &s.txn);
	if (rc != 0)
		return env_fail(err, env_error(rc), "store %s: %s", env->path, mdb_strerror(rc));
	rc = scan_tables(&s);
	mdb_txn_abort(s.txn);
	if (rc == 0)
		scan_finish(&s);
	return rc;
}

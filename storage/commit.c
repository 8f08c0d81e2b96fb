/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/commit.h"

#include <assert.h>

#include "storage/directory.h"

struct commit {
	struct env *env;
	MDB_txn *txn;
	struct buf *scratch;
};

/* Puts n bytes that the caller then fills in, where LMDB will write them from. */
static int put_reserved(struct commit *c, MDB_dbi dbi, MDB_val key, size_t n, unsigned flags,
	uint8_t **ret_p)
{
	MDB_val val = {n, NULL};
	int rc = mdb_put(c->txn, dbi, &key, &val, MDB_RESERVE | flags);
	if (rc == 0)
		*ret_p = val.mv_data;
	return rc;
}

static int delete_if_there(struct commit *c, MDB_dbi dbi, MDB_val key)
{
	int rc = mdb_del(c->txn, dbi, &key, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- records -------------------------------------------------------------------------------- */

static void packed_directory(const struct packed *p, struct buf *b)
{
	buf_clear(b);
	directory_begin(b, p->n, RECORD_HEADER + p->bytes);
	for (uint32_t i = 0; i < p->n; i++) {
		const struct packed_entry *e = &p->entries[i];
		struct slot s = {
			.group = e->group,
			.index = e->index,
			.term = e->term,
			.checksum = e->checksum,
			.length = e->length,
			.type = e->type,
			.flags = e->flags,
		};
		directory_add(b, &s);
	}
	directory_seal(b, p->record->number);
}

static int put_bodies(struct commit *c, const struct packed *p)
{
	uint8_t *out;
	int rc = put_reserved(c, c->env->log, env_key(&p->record->number), RECORD_HEADER + p->bytes,
		MDB_APPEND, &out);
	if (rc != 0)
		return rc;
	record_encode_header(out, p->n);
	out += RECORD_HEADER;
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->entries[i].length > 0)
			memcpy(out, p->entries[i].p, p->entries[i].length);
		out += p->entries[i].length;
	}
	return 0;
}

static int put_record(struct commit *c, const struct packed *p)
{
	if (!packed_is_needed(p))
		return 0;
	int rc = put_bodies(c, p);
	if (rc != 0)
		return rc;
	packed_directory(p, c->scratch);
	MDB_val key = env_key(&p->record->number);
	MDB_val val = env_val(buf_slice(c->scratch));
	return mdb_put(c->txn, c->env->dir, &key, &val, MDB_APPEND);
}

static int delete_record(struct commit *c, uint64_t number)
{
	MDB_val key = env_key(&number);
	MDB_val val = {0};
	mdb_get(c->txn, c->env->log, &key, &val);
	int rc = delete_if_there(c, c->env->log, key);
	if (rc == 0)
		rc = delete_if_there(c, c->env->dir, key);
	if (val.mv_size > 0) /* its first page says how many there are */
		env_looked_at(c->env, val.mv_data, 1);
	return rc;
}

/* All marks of one record that follow each other. *ret_n: how many. */
static int mark_truncated(struct commit *c, const struct change *first, size_t left, size_t *ret_n)
{
	MDB_val key = env_key(&first->key);
	MDB_val val;
	int rc = mdb_get(c->txn, c->env->dir, &key, &val);
	if (rc != 0)
		return rc;
	size_t n = 0;
	buf_clear(c->scratch);
	buf_put_slice(c->scratch, env_slice(val));
	directory_unseal(c->scratch);
	for (; n < left && first[n].kind == CHANGE_TRUNCATED && first[n].key == first->key; n++)
		directory_mark(c->scratch, first[n].u.slot, DIRECTORY_TRUNCATED);
	directory_seal(c->scratch, first->key);
	val = env_val(buf_slice(c->scratch));
	*ret_n = n;
	return mdb_put(c->txn, c->env->dir, &key, &val, 0);
}

/* ---- groups and rows ------------------------------------------------------------------------ */

static int put_hard_row(struct commit *c, uint64_t group, const struct hard_row *row)
{
	uint8_t bytes[HARD_BYTES];
	MDB_val key = env_key(&group);
	MDB_val val = {sizeof bytes, bytes};
	hard_encode(bytes, group, row);
	return mdb_put(c->txn, c->env->hard, &key, &val, 0);
}

static int delete_group(struct commit *c, uint64_t group)
{
	int rc = delete_if_there(c, c->env->hard, env_key(&group));
	return rc != 0 ? rc : delete_if_there(c, c->env->snap, env_key(&group));
}

static int put_row(struct commit *c, const struct store_row *row)
{
	uint8_t *out;
	assert(row->key.n > 0 && row->key.n <= 500);
	if (row->value.p == NULL)
		return delete_if_there(c, c->env->row, env_val(row->key));
	int rc = put_reserved(c, c->env->row, env_val(row->key), ROW_HEADER + row->value.n, 0, &out);
	if (rc == 0)
		row_encode(out, row->key, row->value);
	return rc;
}

static int put_snapshot(struct commit *c, uint64_t group, const struct store_req *req)
{
	const struct snap_row row = {
		.index = req->u.snapshot.index,
		.term = req->u.snapshot.term,
		.conf_index = req->u.snapshot.conf_index,
		.conf = req->u.snapshot.conf,
		.data = req->u.snapshot.data,
	};
	uint8_t *out;
	int rc = put_reserved(c, c->env->snap, env_key(&group), snap_bytes(&row), 0, &out);
	if (rc == 0)
		snap_encode(out, group, &row);
	for (unsigned i = 0; rc == 0 && i < req->u.snapshot.n_rows; i++)
		rc = put_row(c, &req->u.snapshot.rows[i]);
	return rc;
}

/* ---- all ------------------------------------------------------------------------------------ */

/* Carries out the change, or several alike. *ret_n: how many. */
static int commit_change(struct commit *c, const struct change *change, size_t left, size_t *ret_n)
{
	*ret_n = 1;
	switch (change->kind) {
	case CHANGE_HARD:
		return put_hard_row(c, change->key, &change->u.hard);
	case CHANGE_GONE:
		return delete_group(c, change->key);
	case CHANGE_SNAPSHOT:
		return put_snapshot(c, change->key, change->u.snapshot);
	case CHANGE_RECORD:
		return put_record(c, change->u.packed);
	case CHANGE_TRUNCATED:
		return mark_truncated(c, change, left, ret_n);
	case CHANGE_DELETE:
		return delete_record(c, change->key);
	case CHANGE_NOTHING:
		return env_put_meta(c->env, c->txn, c->env->generation);
	}
	return 0;
}

static int commit_changes(struct commit *c, const struct round *r)
{
	size_t n;
	for (size_t i = 0; i < r->n_changes; i += n) {
		int rc = commit_change(c, &r->changes[i], r->n_changes - i, &n);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int commit_round(struct env *env, const struct round *r, uint64_t generation, struct buf *scratch)
{
	struct commit c = {.env = env, .scratch = scratch};
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &c.txn);
	if (rc != 0)
		return rc;
	rc = commit_changes(&c, r);
	if (rc == 0 && generation != env->generation)
		rc = env_put_meta(env, c.txn, generation);
	if (rc != 0) {
		mdb_txn_abort(c.txn); /* an error poisons the transaction */
		return rc;
	}
	env_looked_at_trees(env);
	rc = mdb_txn_commit(c.txn);
	if (rc == 0)
		env->generation = generation;
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The owner's side of a log in LMDB: queues requests, reads entries.
 *
 * An entry that LMDB does not have yet is read where the request had it: the block is shared.
 *
 * Any other read looks up the place under the group's lock, then opens its transaction. In between the
 * cleaner may have moved the entry and deleted the record, but only in two commits: first the copy,
 * after which the index points to it, then the deletion. So a record that is not there means that
 * looking up again gives another place.
 */
#include "storage/lmdb_log.h"

#include <assert.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "storage/directory.h"
#include "storage/lmdb_store.h"
#include "storage/log_ops.h"
#include "storage/port.h"

static struct lmdb_log *lmdb_log_of(struct store_log *log)
{
	return (struct lmdb_log *)((char *)log - offsetof(struct lmdb_log, base));
}

struct group_state *lmdb_log_group(struct store_log *log)
{
	return lmdb_log_of(log)->group;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct place {
	uint64_t record;
	struct index_entry entry; /* `at` may be gone by now */
	struct blob *blob;        /* NULL: in LMDB; else with a reference for the caller, ... */
	const uint8_t *p;         /* ... and the first byte */
};

/* If the entry is not in LMDB yet. */
static void lookup_packed(struct records *rs, const struct index_entry *e, struct place *place)
{
	const struct record *record = e->at;
	place->blob = NULL;
	pthread_mutex_lock(&rs->packed_lock);
	if (record->packed != NULL) {
		const struct packed_entry *packed = &record->packed->entries[e->slot];
		place->blob = blob_ref(packed->blob);
		place->p = packed->p;
	}
	pthread_mutex_unlock(&rs->packed_lock);
}

static bool log_lookup(struct store_log *log, uint64_t index, struct place *ret_place)
{
	struct group_state *g = lmdb_log_group(log);
	pthread_mutex_lock(&g->lock);
	const struct index_entry *e = index_find(&g->index, index);
	if (e != NULL) {
		ret_place->entry = *e;
		ret_place->record = ((const struct record *)e->at)->number;
		lookup_packed(&log->port->store->records, e, ret_place);
	}
	pthread_mutex_unlock(&g->lock);
	return e != NULL;
}

static void port_view_done(void *view)
{
	view_done(view);
	mem_free(view);
}

static struct view *port_view(struct store_port *port)
{
	struct outbox *out = port_outbox(port);
	if (out->view == NULL) {
		out->view = MEM_NEW(struct view);
		out->view_done = port_view_done;
	}
	return out->view;
}

/* Copies the bytes out. 0, STORE_NOTFOUND if the record is not there, STORE_DAMAGED, STORE_IO. */
static int place_copy(struct env *env, MDB_txn *txn, const struct place *place,
	struct blob **ret_blob)
{
	MDB_val key = env_key(&place->record);
	MDB_val val;
	int rc = mdb_get(txn, env->log, &key, &val);
	if (rc != 0)
		return env_error(rc);
	if (val.mv_size < place->entry.offset ||
		val.mv_size - place->entry.offset < place->entry.length)
		return STORE_DAMAGED;
	*ret_blob = blob_new(place->entry.length);
	const uint8_t *bytes = (const uint8_t *)val.mv_data + place->entry.offset;
	if (place->entry.length > 0)
		memcpy((*ret_blob)->data, bytes, place->entry.length);
	env_looked_at(env, bytes, place->entry.length);
	return STORE_OK;
}

static int place_read(struct store_log *log, struct place *place)
{
	struct view *view = port_view(log->port);
	struct env *env = &log->port->store->env;
	MDB_txn *txn;
	struct blob *blob = NULL;
	int rc = view_begin(view, env->mdb, &txn);
	if (rc != 0)
		return STORE_IO;
	rc = place_copy(env, txn, place, &blob);
	view_end(view);
	if (rc != 0)
		return rc;
	const struct index_entry *e = &place->entry;
	if (entry_checksum(lmdb_log_group(log)->id, e->index, e->term, blob->data, e->length) != e->checksum) {
		blob_unref(blob);
		return STORE_DAMAGED;
	}
	place->blob = blob;
	place->p = blob->data;
	return STORE_OK;
}

/* Finds and reads, also while the entry is being moved. On success place.blob and .p are set. */
static int log_read(struct store_log *log, uint64_t index, struct place *ret_place)
{
	uint64_t not_there = 0; /* record numbers start at 1 */
	for (;;) {
		if (!log_lookup(log, index, ret_place))
			return STORE_NOTFOUND;
		if (ret_place->blob != NULL)
			return STORE_OK;
		if (ret_place->record == not_there)
			return STORE_DAMAGED;
		int rc = place_read(log, ret_place);
		if (rc != STORE_NOTFOUND)
			return rc;
		not_there = ret_place->record;
	}
}

static int lmdb_log_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n)
{
	struct place place;
	int rc = log_read(log, index, &place);
	if (rc != 0)
		return rc;
	*ret_blob = place.blob;
	*ret_p = place.p;
	*ret_n = place.entry.length;
	return STORE_OK;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* From memory: LMDB may not have it yet. */
static void load_hard(struct group_state *g, struct store_load *load)
{
	pthread_mutex_lock(&g->lock);
	load->exists = g->exists;
	load->term = g->exists ? g->hard.term : 0;
	load->vote = g->exists ? g->hard.vote : 0;
	load->has_snapshot = g->exists && g->snapshot_index > 0;
	pthread_mutex_unlock(&g->lock);
}

/* A snapshot is in LMDB when its request is done; but what drops it may be not. */
static int load_snapshot(const struct env *env, MDB_txn *txn, uint64_t log,
	struct store_load *load)
{
	struct snap_row row;
	MDB_val key = env_key(&log);
	MDB_val val;
	int rc = mdb_get(txn, env->snap, &key, &val);
	if (rc == MDB_NOTFOUND)
		return STORE_DAMAGED;
	rc = rc != 0 ? env_error(rc) : snap_decode(env_slice(val), log, &row);
	if (rc != 0)
		return rc;
	load->snapshot_index = row.index;
	load->snapshot_term = row.term;
	load->snapshot_conf_index = row.conf_index;
	buf_put_slice(&load->snapshot_conf, row.conf);
	buf_put_slice(&load->snapshot_data, row.data);
	return STORE_OK;
}

static int load_rows(struct store_log *log, struct store_load *load)
{
	struct view *view = port_view(log->port);
	const struct env *env = &log->port->store->env;
	MDB_txn *txn;
	load_hard(lmdb_log_group(log), load);
	if (!load->has_snapshot)
		return STORE_OK;
	if (view_begin(view, env->mdb, &txn) != 0)
		return STORE_IO;
	int rc = load_snapshot(env, txn, lmdb_log_group(log)->id, load);
	view_end(view);
	return rc;
}

static size_t log_count_above(struct group_state *g, uint64_t index)
{
	pthread_mutex_lock(&g->lock);
	uint64_t last = index_last(&g->index);
	pthread_mutex_unlock(&g->lock);
	return last > index ? last - index : 0;
}

/* How much of a log is damaged, for whoever has to decide what to do about it. */
static void log_tell_damage(struct store_log *log, uint64_t first, size_t n)
{
	uint64_t bad = 0, bad_first = 0;
	for (uint64_t index = first; index < first + n; index++) {
		struct place place = {0};
		if (log_read(log, index, &place) != 0 && bad++ == 0)
			bad_first = index;
		blob_unref(place.blob);
	}
	log_error("storage", "group %llu: entry %llu and %llu others of entries %llu to %llu cannot be read",
		(unsigned long long)log->group, (unsigned long long)bad_first,
		(unsigned long long)(bad > 0 ? bad - 1 : 0), (unsigned long long)first,
		(unsigned long long)(first + n - 1));
}

static int load_entries(struct store_log *log, struct store_load *load)
{
	load->first = load->snapshot_index + 1;
	size_t n = log_count_above(lmdb_log_group(log), load->snapshot_index);
	load->entries = mem_alloc(n * sizeof *load->entries);
	for (size_t i = 0; i < n; i++) {
		struct place place;
		int rc = log_read(log, load->first + i, &place);
		if (rc != 0) { /* above the snapshot there are no gaps */
			log_tell_damage(log, load->first, n);
			return rc == STORE_NOTFOUND ? STORE_DAMAGED : rc;
		}
		load->entries[load->n_entries++] = (struct store_entry){
			.term = place.entry.term,
			.type = place.entry.type,
			.blob = place.blob,
			.p = place.p,
			.n = place.entry.length,
		};
	}
	return STORE_OK;
}

static int lmdb_log_load(struct store_log *log, struct store_load *ret_load)
{
	struct store_load load = {0};
	int rc = load_rows(log, &load);
	if (rc == 0)
		rc = load_entries(log, &load);
	if (rc == 0)
		*ret_load = load;
	else
		store_load_done(&load);
	return rc;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void lmdb_log_submit(struct store_log *log, struct store_req *req)
{
	struct lmdb_log *l = lmdb_log_of(log);
	l->releases = NULL; /* later releases come after this request */
	list_push_back(&log->port->submitted, &req->link);
}

static void lmdb_log_retain(struct store_log *log, const struct store_range *live, unsigned n)
{
	struct lmdb_log *l = lmdb_log_of(log);
	struct note *note = note_new(NOTE_RETAIN, l->group);
	for (unsigned i = 0; i < n; i++)
		note_add(note, live[i]);
	lmdb_log_submit(log, &note->req);
}

static void lmdb_log_release(struct store_log *log, uint64_t index)
{
	struct lmdb_log *l = lmdb_log_of(log);
	uint64_t flushes = port_outbox(log->port)->flushes;
	if (l->releases == NULL || l->releases_flush != flushes) {
		struct note *note = note_new(NOTE_RELEASE, l->group);
		lmdb_log_submit(log, &note->req);
		l->releases = note;
		l->releases_flush = flushes;
	}
	note_add_index(l->releases, index);
}

/* The writer closes the group when everything before is done; the handle is not needed for that. */
static void lmdb_log_close(struct store_log *log)
{
	struct lmdb_log *l = lmdb_log_of(log);
	lmdb_log_submit(log, &note_new(NOTE_CLOSE, l->group)->req);
	store_port_flush(log->port);
	mem_free(l);
}

static struct store_log *lmdb_log_stage(struct store_log *log);

static const struct store_log_ops lmdb_log_ops = {
	.load = lmdb_log_load,
	.submit = lmdb_log_submit,
	.retain = lmdb_log_retain,
	.release = lmdb_log_release,
	.fetch = lmdb_log_fetch,
	.stage = lmdb_log_stage,
	.close = lmdb_log_close,
};

static struct store_log *lmdb_log_new(struct store_port *port, uint64_t group, struct group_state *g)
{
	struct lmdb_log *l = MEM_NEW(struct lmdb_log);
	l->base.ops = &lmdb_log_ops;
	l->base.port = port;
	l->base.group = group;
	l->group = g;
	return &l->base;
}

static struct store_log *lmdb_log_stage(struct store_log *log)
{
	struct groups *gs = &log->port->store->groups;
	return lmdb_log_new(log->port, log->group, store_groups_stage(gs, lmdb_log_group(log)));
}

struct store_log *store_log_open(struct store_port *port, uint64_t group)
{
	assert(port->store != NULL && group < STORE_GROUP_END);
	return lmdb_log_new(port, group, store_groups_open(&port->store->groups, group));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb_store.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/mem.h"
#include "storage/scan.h"
#include "storage/staging.h"

static void store_free(struct store *s)
{
	writer_done(&s->writer);
	store_groups_done(&s->groups);
	records_done(&s->records);
	inbox_done(&s->inbox);
	env_close(&s->env);
	mem_free(s);
}

static int store_begin(struct store *s, struct env_text err)
{
	int rc = scan_store(&s->env, &s->groups, &s->records, err);
	if (rc == 0)
		rc = writer_replay(&s->writer, err);
	if (rc != 0)
		return rc;
	rc = writer_start(&s->writer);
	if (rc == 0)
		return STORE_OK;
	return env_fail(err, STORE_IO, "store %s: no thread: %s", s->env.path, strerror(rc));
}

int store_open(struct store **ret, const char *dir, const struct claim *claim, char *err, size_t err_n)
{
	struct env_text text = {err, err_n};
	struct store *s = MEM_NEW(struct store);
	int rc = env_open(&s->env, dir, claim, ENV_WRITE, text);
	if (rc != 0) {
		mem_free(s);
		return rc;
	}
	inbox_init(&s->inbox);
	store_groups_init(&s->groups);
	records_init(&s->records);
	writer_init(&s->writer, &s->inbox, &s->env, &s->records, &s->groups);
	rc = store_begin(s, text);
	if (rc != 0) {
		store_free(s);
		return rc;
	}
	*ret = s;
	return STORE_OK;
}

void store_close(struct store *s)
{
	writer_stop(&s->writer);
	store_free(s);
}

const struct store_identity *store_identity(const struct store *s)
{
	return &s->env.identity;
}

void store_stats(struct store *s, struct store_stats *ret)
{
	int fd;
	struct stat st;
	writer_stats(&s->writer, ret);
	mdb_env_get_fd(s->env.mdb, &fd);
	ret->file_bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

bool store_blocked(struct store *s)
{
	return atomic_load_explicit(&s->writer.blocked, memory_order_relaxed);
}

void store_watch(struct store *s, void (*changed)(void *arg), void *arg)
{
	writer_watch(&s->writer, changed, arg);
}

void store_each_group(struct store *s, void (*each)(void *arg, uint64_t group), void *arg)
{
	/* Before any log is open the writer has nothing to do with groups; and `each` may open one, so
	 * the lock is not held. */
	for (struct group_state *g = s->groups.table, *next; g != NULL; g = next) {
		next = g->hh.next;
		if (g->exists)
			each(arg, staging_group(g->id));
	}
}

static int each_row(MDB_cursor *cursor,
	void (*each)(void *arg, struct slice key, struct slice value), void *arg)
{
	MDB_val key, val;
	int rc;
	while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
		struct slice value;
		rc = row_decode(env_slice(val), env_slice(key), &value);
		if (rc != 0)
			return STORE_DAMAGED;
		each(arg, env_slice(key), value);
	}
	return rc == MDB_NOTFOUND ? STORE_OK : env_error(rc);
}

int store_each_row(struct store *s, void (*each)(void *arg, struct slice key, struct slice value),
	void *arg)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	if (mdb_txn_begin(s->env.mdb, NULL, MDB_RDONLY, &txn) != 0)
		return STORE_IO;
	int rc = mdb_cursor_open(txn, s->env.row, &cursor);
	if (rc == 0) {
		rc = each_row(cursor, each, arg);
		mdb_cursor_close(cursor);
	} else {
		rc = STORE_IO;
	}
	mdb_txn_abort(txn);
	return rc;
}

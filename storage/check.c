/* SPDX-License-Identifier: Apache-2.0
 *
 * store_check(): reads everything there is and verifies every checksum. Damage is printed where it
 * is found and the check goes on, so that one run shows all of it.
 */
#include "storage/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "storage/directory.h"
#include "storage/env.h"
#include "storage/format.h"
#include "storage/groups.h"
#include "storage/records.h"
#include "storage/scan.h"
#include "storage/staging.h"

struct check {
	struct env env;
	struct groups groups;
	struct records records;
	struct env_text err;
	MDB_txn *txn;
	int worst; /* first error found; `err` describes it */
};

static void check_fail(struct check *c, int rc, const char *table, const char *key)
{
	printf("damaged: table %s, key %s: %s\n", table, key, store_strerror(rc));
	if (c->worst == 0)
		c->worst = env_fail(c->err, rc, "store %s: table %s, key %s: %s", c->env.path, table,
			key, store_strerror(rc));
}

static void check_fail_number(struct check *c, int rc, const char *table, uint64_t key)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRIu64, key);
	check_fail(c, rc, table, text);
}

/* ---- one value of each table ---------------------------------------------------------------- */

typedef void (*check_each)(struct check *c, MDB_val key, MDB_val val);

static void check_table(struct check *c, const char *table, MDB_dbi dbi, check_each each)
{
	MDB_cursor *cursor;
	MDB_val key, val;
	int rc = mdb_cursor_open(c->txn, dbi, &cursor);
	if (rc == 0) {
		while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0)
			each(c, key, val);
		mdb_cursor_close(cursor);
	}
	if (rc != MDB_NOTFOUND)
		check_fail(c, env_error(rc), table, "?");
}

static bool check_key(struct check *c, const char *table, MDB_val key, uint64_t *ret_number)
{
	bool ok;
	*ret_number = env_number(key, &ok);
	if (!ok)
		check_fail(c, STORE_DAMAGED, table, "of another size");
	return ok;
}

static void check_hard(struct check *c, MDB_val key, MDB_val val)
{
	uint64_t group;
	struct hard_row row;
	if (!check_key(c, "hard", key, &group))
		return;
	int rc = hard_decode(env_slice(val), group, &row);
	if (rc != 0)
		check_fail_number(c, rc, "hard", group);
}

static void check_snap(struct check *c, MDB_val key, MDB_val val)
{
	uint64_t group;
	struct snap_row row;
	if (!check_key(c, "snap", key, &group))
		return;
	int rc = snap_decode(env_slice(val), group, &row);
	MDB_val hard;
	if (rc == 0)
		rc = env_error(mdb_get(c->txn, c->env.hard, &key, &hard));
	if (rc != 0)
		check_fail_number(c, rc == STORE_NOTFOUND ? STORE_DAMAGED : rc, "snap", group);
}

static void check_row(struct check *c, MDB_val key, MDB_val val)
{
	struct slice value;
	char name[64];
	int rc = row_decode(env_slice(val), env_slice(key), &value);
	if (rc == 0)
		return;
	snprintf(name, sizeof name, "%.*s", SLICE_FMT(env_slice(key)));
	check_fail(c, rc, "row", name);
}

/* ---- records -------------------------------------------------------------------------------- */

/* Every entry's bytes, also of entries that nobody needs any more: it is the disk we look at. */
static int check_bodies(struct directory *d, struct slice body)
{
	struct slot s;
	int rc = record_check_header(body, d->n);
	if (rc != 0 || d->record_bytes != body.n)
		return rc != 0 ? rc : STORE_DAMAGED;
	while (directory_next(d, &s)) {
		if (entry_checksum(s.group, s.index, s.term, body.p + s.offset, s.length) == s.checksum)
			continue;
		printf("damaged: group %" PRIu64 ", entry %" PRIu64 "\n", s.group, s.index);
		rc = STORE_DAMAGED;
	}
	return rc;
}

static void check_dir(struct check *c, MDB_val key, MDB_val val)
{
	uint64_t number;
	struct directory d;
	MDB_val body;
	if (!check_key(c, "dir", key, &number))
		return;
	int rc = directory_open(&d, env_slice(val), number);
	if (rc != 0) {
		check_fail_number(c, rc, "dir", number);
		return;
	}
	rc = mdb_get(c->txn, c->env.log, &key, &body);
	rc = rc != 0 ? env_error(rc) : check_bodies(&d, env_slice(body));
	if (rc != 0)
		check_fail_number(c, rc, "log", number);
}

static void check_log(struct check *c, MDB_val key, MDB_val val)
{
	uint64_t number;
	MDB_val dir;
	(void)val;
	if (!check_key(c, "log", key, &number))
		return;
	if (mdb_get(c->txn, c->env.dir, &key, &dir) != 0)
		check_fail_number(c, STORE_DAMAGED, "log", number);
}

/* ---- groups --------------------------------------------------------------------------------- */

/* Above the snapshot there are no gaps. */
static void check_group(struct check *c, struct group_state *g)
{
	const struct index *ix = &g->index;
	size_t from = index_from(ix, g->snapshot_index + 1);
	size_t n = ix->n - from;
	printf("group %" PRIu64 ": term %" PRIu64 ", vote %" PRIu64 ", snapshot %" PRIu64,
		staging_group(g->id),
		g->hard.term, g->hard.vote, g->snapshot_index);
	if (n > 0)
		printf(", entries %" PRIu64 "-%" PRIu64, ix->e[from].index, index_last(ix));
	printf(", %zu at or below the snapshot\n", from - ix->head);
	if (n == 0)
		return;
	if (ix->e[from].index != g->snapshot_index + 1 || index_last(ix) != g->snapshot_index + n)
		check_fail_number(c, STORE_DAMAGED, "dir (entries missing), group", g->id);
}

static void check_groups(struct check *c)
{
	int rc = scan_store(&c->env, &c->groups, &c->records, c->worst == 0 ? c->err : (struct env_text){0});
	if (rc != 0 && c->worst == 0)
		c->worst = rc;
	if (rc != 0)
		return;
	for (struct group_state *g = c->groups.table; g != NULL; g = g->hh.next)
		check_group(c, g);
	const struct records *rs = &c->records;
	printf("entries: %" PRIu64 " that may be needed, %" PRIu64 " bytes\n", rs->live,
		rs->live_bytes);
	printf("records: %" PRIu64 ", %" PRIu64 " bytes, %" PRIu64 " of them dead\n", rs->n,
		rs->footprint, rs->footprint - records_live_footprint(rs));
}

/* ---- the journal ---------------------------------------------------------------------------- */

static int count_request(void *arg, uint64_t log, struct store_req *req)
{
	(void)log;
	(void)req;
	++*(uint64_t *)arg;
	return 0;
}

static void check_journal(struct check *c)
{
	const char *why;
	uint64_t requests = 0;
	if (c->env.journal.fd < 0)
		return; /* format 1 */
	int rc = journal_read(&c->env.journal, c->env.generation, count_request, &requests, &why);
	printf("journal: %" PRIu64 " requests that are not in data.mdb yet\n", requests);
	if (rc == 0)
		return;
	printf("damaged: journal: %s\n", why);
	if (c->worst == 0)
		c->worst = env_fail(c->err, rc, "store %s: %s", c->env.path, why);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void check_count(struct check *c, const char *table, MDB_dbi dbi)
{
	MDB_stat stat;
	if (mdb_stat(c->txn, dbi, &stat) == 0)
		printf("table %s: %zu values\n", table, stat.ms_entries);
}

static void check_tables(struct check *c)
{
	const struct {
		const char *name;
		MDB_dbi dbi;
		check_each each;
	} tables[] = {
		{"hard", c->env.hard, check_hard},
		{"snap", c->env.snap, check_snap},
		{"row", c->env.row, check_row},
		{"dir", c->env.dir, check_dir},
		{"log", c->env.log, check_log},
	};
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		check_count(c, tables[i].name, tables[i].dbi);
		check_table(c, tables[i].name, tables[i].dbi, tables[i].each);
	}
}

static void check_open_store(struct check *c)
{
	int rc = mdb_txn_begin(c->env.mdb, NULL, MDB_RDONLY, &c->txn);
	if (rc != 0) {
		c->worst = env_fail(c->err, env_error(rc), "store %s: %s", c->env.path,
			mdb_strerror(rc));
		return;
	}
	printf("store %s: node %016" PRIx64 ", incarnation %" PRIu64 "\n", c->env.path,
		c->env.identity.node_id, c->env.identity.incarnation);
	check_tables(c);
	mdb_txn_abort(c->txn);
	check_groups(c);
	check_journal(c);
}

/* Reads the whole file once: a page that the disk does not give would kill the process if it were
 * first read through the map. Holes are skipped. */
static int check_disk(struct check *c)
{
	enum { PIECE = 1 << 20 };
	uint8_t *piece = mem_alloc(PIECE);
	ssize_t n = 1;
	off_t at = 0;
	int fd, e = 0;
	mdb_env_get_fd(c->env.mdb, &fd);
	while (n > 0) {
		off_t data = lseek(fd, at, SEEK_DATA);
		at = data > at ? data : at;
		n = pread(fd, piece, PIECE, at);
		e = n < 0 ? errno : 0;
		at += n > 0 ? n : 0;
	}
	mem_free(piece);
	return e == 0 ? STORE_OK
		      : env_fail(c->err, STORE_IO, "store %s: data.mdb cannot be read at octet %lld: %s",
				c->env.path, (long long)at, strerror(e));
}

int store_check(const char *dir, char *err, size_t err_n)
{
	struct check c = {.err = {err, err_n}};
	int rc = env_open(&c.env, dir, NULL, ENV_CHECK, c.err);
	if (rc != 0)
		return rc;
	rc = check_disk(&c);
	if (rc != 0) {
		env_close(&c.env);
		return rc;
	}
	store_groups_init(&c.groups);
	records_init(&c.records);
	check_open_store(&c);
	records_done(&c.records);
	store_groups_done(&c.groups);
	env_close(&c.env);
	return c.worst;
}

int64_t store_length(const char *dir)
{
	struct stat st;
	char *name = mem_printf("%s/data.mdb", dir);
	int rc = stat(name, &st);
	mem_free(name);
	return rc == 0 ? st.st_size : -1;
}

void store_cut(const char *dir, int64_t bytes)
{
	char *name = mem_printf("%s/data.mdb", dir);
	if (bytes >= 0 && store_length(dir) > bytes && truncate(name, bytes) != 0)
		log_warning("storage", "%s cannot be cut to %lld octets again: %s", name, (long long)bytes,
			strerror(errno));
	mem_free(name);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening: identity, groups, rows, every way to fail, and damage that is noticed.
 */
#include "tests/unit/storage/rig.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "src/base/mem.h"
#include "storage/format.h"
#include "storage/lmdb_store.h"

static int set_up(void **state)
{
	struct rig *r = MEM_NEW(struct rig);
	rig_init_disk(r);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	rig_done(r);
	mem_free(r);
	return 0;
}

/* ---- what is there ---- */

static void identity_stays_and_incarnation_rises(void **state)
{
	struct rig *r = *state;
	struct store_identity first = *store_identity(r->store);
	assert_int_not_equal(first.node_id, 0);
	assert_int_equal(first.incarnation, 1);
	rig_reopen(r);
	assert_int_equal(store_identity(r->store)->node_id, first.node_id);
	assert_int_equal(store_identity(r->store)->incarnation, 2);
	struct rig other;
	rig_init_disk(&other);
	assert_int_not_equal(store_identity(other.store)->node_id, first.node_id);
	rig_done(&other);
}

static void a_claimed_directory_is_one_s_own_without_a_store(void **state)
{
	struct rig *r = *state;
	char err[256];
	struct claim *claim, *other;
	struct store *s;
	assert_int_equal(store_claim(&claim, r->dir, err, sizeof err), STORE_LOCKED);
	rig_close(r);
	assert_int_equal(store_claim(&claim, r->dir, err, sizeof err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_claim(&other, r->dir, err, sizeof err), STORE_LOCKED);
		assert_int_equal(store_open(&s, r->dir, NULL, err, sizeof err), STORE_LOCKED);
		assert_int_equal(store_check(r->dir, err, sizeof err), STORE_LOCKED);
		assert_int_equal(store_wipe(r->dir, NULL, err, sizeof err), STORE_LOCKED);
		assert_int_equal(store_open(&s, r->dir, claim, err, sizeof err), 0);
		store_close(s);
	}
	assert_int_equal(store_wipe(r->dir, claim, err, sizeof err), 0);
	assert_int_equal(store_claim(&other, r->dir, err, sizeof err), STORE_LOCKED);
	store_unclaim(claim);
	store_unclaim(NULL);
	rig_open(r);
}

static void a_wiped_store_is_another_one(void **state)
{
	struct rig *r = *state;
	char err[256], path[128];
	struct store_identity first = *store_identity(r->store);
	assert_int_equal(store_wipe(r->dir, NULL, err, sizeof err), STORE_LOCKED);
	struct store_log *log = rig_log(r, 7);
	do_append(r, log, 1, 3, 1, 100);
	store_log_close(log);
	rig_close(r);
	snprintf(path, sizeof path, "%s/other", r->dir);
	FILE *other = fopen(path, "w");
	assert_non_null(other);
	fclose(other);
	assert_int_equal(store_wipe(r->dir, NULL, err, sizeof err), 0);
	assert_int_equal(store_wipe(r->dir, NULL, err, sizeof err), 0); /* again, as after a crash */
	assert_int_equal(unlink(path), 0);
	rig_open(r);
	assert_int_not_equal(store_identity(r->store)->node_id, first.node_id);
	assert_int_equal(store_identity(r->store)->incarnation, 1);
	struct store_load load;
	log = rig_log(r, 7);
	assert_int_equal(store_log_load(log, &load), 0);
	assert_false(load.exists);
	store_load_done(&load);
	store_log_close(log);
}

static void remove_from(const struct rig *r, const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", r->dir, name);
	assert_int_equal(unlink(path), 0);
}

/* A crash right before data.mdb goes leaves the whole store; right after it, none. */
static void a_wipe_may_be_cut_short(void **state)
{
	struct rig *r = *state;
	char lock[128];
	struct store_identity first = *store_identity(r->store);
	snprintf(lock, sizeof lock, "%s/lock", r->dir);
	rig_close(r);
	remove_from(r, "reserve");
	assert_int_equal(truncate(lock, 0), 0);
	rig_open(r);
	assert_int_equal(store_identity(r->store)->node_id, first.node_id);
	rig_close(r);
	remove_from(r, "reserve");
	assert_int_equal(truncate(lock, 0), 0);
	remove_from(r, "data.mdb");
	rig_open(r);
	assert_int_not_equal(store_identity(r->store)->node_id, first.node_id);
}

static void files_are_not_for_everybody(void **state)
{
	struct rig *r = *state;
	char path[128];
	struct stat st;
	snprintf(path, sizeof path, "%s/new", r->dir);
	struct store *s;
	char err[256];
	umask(0);
	assert_int_equal(store_open(&s, path, NULL, err, sizeof err), 0);
	store_close(s);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	snprintf(path, sizeof path, "%s/new/data.mdb", r->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

struct groups_seen {
	unsigned n;
	uint64_t sum;
};

static void see_group(void *arg, uint64_t group)
{
	struct groups_seen *seen = arg;
	seen->n++;
	seen->sum += group;
}

static void groups_with_hard_state_are_listed(void **state)
{
	struct rig *r = *state;
	struct store_log *logs[5];
	for (unsigned g = 0; g < 5; g++) {
		logs[g] = rig_log(r, g * 10);
		if (g > 0)
			do_append(r, logs[g], 1, 1, 1, 10);
	}
	do_drop(r, logs[2]);
	for (unsigned g = 0; g < 5; g++)
		store_log_close(logs[g]);
	rig_reopen(r);
	struct groups_seen seen = {0};
	store_each_group(r->store, see_group, &seen);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.sum, 10 + 30 + 40);
	struct store_stats stats;
	store_stats(r->store, &stats);
	assert_int_equal(stats.groups, 3);
}

static void collect_row(void *arg, struct slice key, struct slice value)
{
	struct buf *b = arg;
	buf_put_slice(b, key);
	buf_put_u8(b, '=');
	buf_put_slice(b, value);
	buf_put_u8(b, ';');
}

static void check_rows(struct rig *r, const char *want)
{
	struct buf b = BUF_EMPTY;
	assert_int_equal(store_each_row(r->store, collect_row, &b), 0);
	assert_true(slice_is(buf_slice(&b), want));
	buf_done(&b);
}

static void rows_change_with_their_snapshot(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 0);
	struct store_row first[] = {{slice_str("b"), slice_str("two")},
		{slice_str("a"), slice_str("one")}, {slice_str("c"), slice_str("")}};
	struct store_row second[] = {{slice_str("a"), {NULL, 0}}, {slice_str("zz"), {NULL, 0}},
		{slice_str("b"), slice_str("2")}};
	do_append(r, log, 1, 5, 1, 10);
	do_rows(r, log, 2, first, 3);
	store_log_close(log);
	rig_reopen(r);
	check_rows(r, "a=one;b=two;c=;");
	log = rig_log(r, 0);
	do_rows(r, log, 4, second, 3);
	store_log_close(log);
	rig_reopen(r);
	check_rows(r, "b=2;c=;");
}

static void count_group(void *arg, uint64_t group)
{
	assert_int_equal(group, 1);
	++*(unsigned *)arg;
}

static bool nothing_is_left(void *arg)
{
	struct rig *r = arg;
	struct store_stats stats;
	store_stats(r->store, &stats);
	return stats.records == 0;
}

static void what_was_staged_is_gone_after_a_restart(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	do_hard(r, log, 3, 2);
	struct store_log *staged = store_log_stage(log);
	for (unsigned i = 0; i < 40; i++)
		do_append(r, staged, 1 + i * 5, 3, 1, 20000);
	struct store_stats stats;
	store_stats(r->store, &stats);
	assert_int_equal(stats.groups, 1);
	assert_int_equal(stats.entries, 120);
	store_log_close(log);
	store_log_close(staged);
	rig_close(r);
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
	store_stats(r->store, &stats);
	assert_int_equal(stats.groups, 1);
	assert_int_equal(stats.entries, 0);
	wait_until(nothing_is_left, r);
	log = rig_log(r, 1);
	check_load(log, 3, 2, 0, 0, 0);
	/* Nor does it come back with the next one. */
	staged = store_log_stage(log);
	do_append(r, staged, 2, 1, 1, 100);
	do_switch(r, log, staged, 300, 1);
	store_log_close(staged);
	rig_reopen(r);
	unsigned groups = 0;
	store_each_group(r->store, count_group, &groups);
	assert_int_equal(groups, 1);
	log = rig_log(r, 1);
	check_load(log, 3, 2, 300, 300, 0);
	for (uint64_t i = 1; i <= 300; i++)
		assert_int_equal(has_entry(log, i, 1, 100), i == 2);
	store_log_close(log);
	rig_close(r);
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
}

static void record_numbers_are_not_used_twice(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 1);
	/* A snapshot from elsewhere leaves the number of the next record in the hard row. All
	 * records are deleted then. Were the next one number 1 again, it would be taken for old. */
	for (unsigned i = 1; i <= 20; i++)
		do_append(r, log, i, 1, 1, 100);
	log = do_install(r, log, 100, 1);
	do_hard(r, log, 1, 1);
	do_hard(r, log, 2, 1);
	store_log_close(log);
	rig_reopen(r);
	struct store_stats stats;
	store_stats(r->store, &stats);
	assert_int_equal(stats.records, 0);
	log = rig_log(r, 1);
	do_append(r, log, 101, 3, 2, 100);
	store_log_close(log);
	rig_reopen(r);
	log = rig_log(r, 1);
	check_load(log, 2, 1, 100, 103, 100);
	store_log_close(log);
}

static void entries_survive_with_their_terms_and_types(void **state)
{
	struct rig *r = *state;
	struct store_log *log = rig_log(r, 3);
	do_hard(r, log, 7, 9);
	do_append(r, log, 1, 5, 6, 100);
	do_append(r, log, 6, 5, 7, 100);
	store_log_close(log);
	rig_reopen(r);
	log = rig_log(r, 3);
	check_load(log, 7, 9, 0, 10, 100);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(load.entries[i].term, i < 5 ? 6 : 7);
	store_load_done(&load);
	store_log_close(log);
}

/* ---- failures ---- */

static void expect_open(const char *dir, int want, const char *text)
{
	struct store *s;
	char err[256] = "";
	int rc = store_open(&s, dir, NULL, err, sizeof err);
	if (rc == 0)
		store_close(s);
	assert_int_equal(rc, want);
	if (strstr(err, text) == NULL || strchr(err, '\n') != NULL)
		fail_msg("'%s' is not in '%s'", text, err);
}

static void a_store_is_open_once(void **state)
{
	struct rig *r = *state;
	char err[256];
	expect_open(r->dir, STORE_LOCKED, "in use");
	assert_int_equal(store_check(r->dir, err, sizeof err), STORE_LOCKED);
}

static void unlink_in(const char *dir, const char *name)
{
	char path[160];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(unlink(path), 0);
}

static void a_store_is_open_once_also_without_its_lock_files(void **state)
{
	struct rig *r = *state;
	char err[256];
	unlink_in(r->dir, "lock");
	unlink_in(r->dir, "lock.mdb");
	expect_open(r->dir, STORE_LOCKED, "in use");
	assert_int_equal(store_check(r->dir, err, sizeof err), STORE_LOCKED);
	unlink_in(r->dir, "data.mdb");
	expect_open(r->dir, STORE_LOCKED, "in use");
}

static void a_directory_that_cannot_be_is_denied(void **state)
{
	struct rig *r = *state;
	char path[128];
	snprintf(path, sizeof path, "%s/lock/below", r->dir);
	expect_open(path, STORE_DENIED, path);
	snprintf(path, sizeof path, "%s/lock", r->dir);
	expect_open(path, STORE_DENIED, path);
	expect_open("/proc/warren", STORE_DENIED, "/proc/warren");
	if (geteuid() == 0)
		return; /* nothing is forbidden to root */
	snprintf(path, sizeof path, "%s/closed", r->dir);
	assert_int_equal(mkdir(path, 0500), 0);
	expect_open(path, STORE_DENIED, "Permission denied");
}

static void checking_nothing_finds_nothing(void **state)
{
	struct rig *r = *state;
	char path[128], err[256];
	snprintf(path, sizeof path, "%s/nothing", r->dir);
	assert_int_equal(store_check(path, err, sizeof err), STORE_NOTFOUND);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* ---- changing a closed store ---- */

/* `n`: what is kept of the value. */
static void edit_value(struct rig *r, const char *table, MDB_val key,
	void (*change)(uint8_t *p, size_t n, size_t at), size_t at, size_t n)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val val;
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 8);
	mdb_env_set_mapsize(env, 1 << 28);
	assert_int_equal(mdb_env_open(env, r->dir, 0, 0640), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &val), 0);
	uint8_t *copy = mem_dup(val.mv_data, val.mv_size);
	change(copy, val.mv_size, at);
	val.mv_data = copy;
	if (val.mv_size > n)
		val.mv_size = n;
	assert_int_equal(mdb_put(txn, dbi, &key, &val, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	mem_free(copy);
}

static void edit(struct rig *r, const char *table, MDB_val key,
	void (*change)(uint8_t *p, size_t n, size_t at), size_t at)
{
	edit_value(r, table, key, change, at, SIZE_MAX);
}

static void flip_bit(uint8_t *p, size_t n, size_t at)
{
	p[(at / 8) % n] ^= (uint8_t)(1u << (at % 8));
}

static MDB_val number_key(const uint64_t *n)
{
	return (MDB_val){sizeof *n, (void *)(uintptr_t)n};
}

static MDB_val text_key(const char *s)
{
	return (MDB_val){strlen(s), (void *)(uintptr_t)s};
}

static void raise_format(uint8_t *p, size_t n, size_t at)
{
	(void)n;
	store_u16le(p + 6, (uint16_t)at);
}

static void a_newer_format_is_refused_with_both_numbers(void **state)
{
	struct rig *r = *state;
	char err[256];
	rig_close(r);
	edit(r, "meta", text_key("store"), raise_format, 37);
	expect_open(r->dir, STORE_NEWER, "has format 37, this program knows formats up to 2");
	assert_int_equal(rig_check(r), STORE_NEWER);
	assert_int_equal(store_check(r->dir, err, sizeof err), STORE_NEWER);
}

/* A store with a group 5 in two records, a snapshot, a row; closed. */
static void make_content(struct rig *r)
{
	struct store_log *log = rig_log(r, 5);
	struct store_row row = {slice_str("row-key"), slice_str("row value")};
	do_append(r, log, 1, 3, 1, 1000);
	store_log_close(log);
	rig_reopen(r); /* which ends the record */
	log = rig_log(r, 5);
	do_append(r, log, 4, 3, 1, 1000);
	do_rows(r, log, 1, &row, 1);
	store_log_close(log);
	rig_close(r);
}

static void damage_at_start_names_table_and_key(void **state)
{
	struct rig *r = *state;
	uint64_t group = 5, record = 2;
	make_content(r);
	for (unsigned at = 0; at < 8 * HARD_BYTES; at += 37) {
		if (at / 8 == 1)
			continue; /* the version, which may be newer */
		edit(r, "hard", number_key(&group), flip_bit, at);
		expect_open(r->dir, STORE_DAMAGED, "table hard, key 5");
		assert_int_equal(rig_check(r), STORE_DAMAGED);
		edit(r, "hard", number_key(&group), flip_bit, at);
	}
	edit(r, "dir", number_key(&record), flip_bit, 8 * 30);
	expect_open(r->dir, STORE_DAMAGED, "table dir, key 2");
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	edit(r, "dir", number_key(&record), flip_bit, 8 * 30);
	edit(r, "snap", number_key(&group), flip_bit, 8 * 10);
	expect_open(r->dir, STORE_DAMAGED, "table snap, key 5");
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	edit(r, "snap", number_key(&group), flip_bit, 8 * 10);
	edit(r, "meta", text_key("store"), flip_bit, 8 * 10);
	expect_open(r->dir, STORE_DAMAGED, "table meta, key store");
	edit(r, "meta", text_key("store"), flip_bit, 8 * 10);
	assert_int_equal(rig_check(r), 0);
}

static void a_flipped_bit_in_an_entry_is_noticed(void **state)
{
	struct rig *r = *state;
	uint64_t record = 2;
	make_content(r);
	edit(r, "log", number_key(&record), flip_bit, 8 * 1500);
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	rig_open(r); /* bodies are not read at start */
	struct store_log *log = rig_log(r, 5);
	struct store_load load;
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	assert_true(has_entry(log, 4, 1, 1000));
	assert_int_equal(store_log_fetch(log, 5, &blob, &p, &n), STORE_DAMAGED);
	assert_true(has_entry(log, 6, 1, 1000));
	assert_int_equal(store_log_load(log, &load), STORE_DAMAGED);
	store_log_close(log);
}

static void damage_of_a_snapshot_or_row_is_noticed(void **state)
{
	struct rig *r = *state;
	uint64_t group = 5;
	struct buf b = BUF_EMPTY;
	make_content(r);
	edit(r, "snap", number_key(&group), flip_bit, 8 * (SNAP_HEADER + 5));
	edit(r, "row", text_key("row-key"), flip_bit, 8 * (ROW_HEADER + 1));
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	rig_open(r);
	struct store_log *log = rig_log(r, 5);
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), STORE_DAMAGED);
	assert_int_equal(store_each_row(r->store, collect_row, &b), STORE_DAMAGED);
	buf_done(&b);
	store_log_close(log);
}

static void make_text(uint8_t *p, size_t n, size_t at)
{
	(void)at;
	memset(p, 'x', n);
}

static void rubbish_is_not_a_store(void **state)
{
	struct rig *r = *state;
	char path[128];
	make_content(r);
	edit(r, "meta", text_key("store"), make_text, 0);
	expect_open(r->dir, STORE_DAMAGED, "table meta");
	snprintf(path, sizeof path, "%s/data.mdb", r->dir);
	int fd = open(path, O_WRONLY | O_TRUNC);
	uint8_t rubbish[20000];
	entry_fill(rubbish, sizeof rubbish, 1, 2, 3);
	assert_int_equal(write(fd, rubbish, sizeof rubbish), sizeof rubbish);
	close(fd);
	expect_open(r->dir, STORE_DAMAGED, "data.mdb");
}

static void a_file_cut_off_is_damage_and_not_a_crash(void **state)
{
	struct rig *r = *state;
	char path[128], err[256];
	struct stat st;
	make_content(r);
	snprintf(path, sizeof path, "%s/data.mdb", r->dir);
	assert_int_equal(stat(path, &st), 0);
	for (off_t n = st.st_size - 4096; n >= 3 * 4096; n -= 4096) {
		struct store *s;
		assert_int_equal(truncate(path, n), 0);
		int rc = store_open(&s, r->dir, NULL, err, sizeof err);
		if (rc == 0)
			store_close(s); /* what was cut off was not needed at start */
		else
			assert_int_equal(rc, STORE_DAMAGED);
	}
	assert_int_not_equal(rig_check(r), 0);
}

/* ---- a data file that is not there any more, or not yet ---- */

static void put_data(const char *dir, size_t n, uint8_t byte)
{
	char path[160];
	uint8_t bytes[16384];
	assert_true(n <= sizeof bytes);
	memset(bytes, byte, n);
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

/* As LMDB leaves it before its first transaction. */
static void put_bare_environment(const char *dir)
{
	MDB_env *env;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, dir, 0, 0640), 0);
	mdb_env_close(env);
}

static void expect_lost(struct rig *r, const char *text)
{
	expect_open(r->dir, STORE_DAMAGED, text);
	expect_open(r->dir, STORE_DAMAGED, "there was a store here");
	assert_int_equal(rig_check(r), STORE_DAMAGED);
}

static void a_lost_data_file_is_not_made_anew(void **state)
{
	struct rig *r = *state;
	make_content(r);
	put_data(r->dir, 0, 0);
	expect_lost(r, "data.mdb is empty");
	unlink_in(r->dir, "data.mdb");
	expect_lost(r, "data.mdb is missing");
	put_bare_environment(r->dir);
	expect_lost(r, "data.mdb holds nothing");
	unlink_in(r->dir, "data.mdb");
	unlink_in(r->dir, "lock"); /* the reserve knows it, too */
	expect_lost(r, "data.mdb is missing");
	unlink_in(r->dir, "lock");
	unlink_in(r->dir, "reserve");
	rig_open(r);
	assert_int_equal(store_identity(r->store)->incarnation, 1);
}

static void a_creation_cut_short_is_finished(void **state)
{
	struct rig *r = *state;
	static const size_t sizes[] = {0, 1, 100, 4096, 8192, 16384};
	char path[128], err[256];
	snprintf(path, sizeof path, "%s/young", r->dir);
	for (size_t i = 0; i <= sizeof sizes / sizeof sizes[0]; i++) {
		assert_int_equal(mkdir(path, 0750), 0);
		if (i < sizeof sizes / sizeof sizes[0])
			put_data(path, sizes[i], 0);
		else
			put_bare_environment(path);
		assert_int_equal(store_check(path, err, sizeof err), STORE_NOTFOUND);
		assert_non_null(strstr(err, "cut short"));
		expect_open(path, 0, "");
		assert_int_equal(store_check(path, err, sizeof err), 0);
		expect_open(path, 0, "");
		for (size_t k = 0; k < 5; k++)
			unlink_in(path, (const char *[]){"data.mdb", "journal", "lock", "lock.mdb",
						"reserve"}[k]);
		assert_int_equal(rmdir(path), 0);
	}
}

static void a_check_changes_no_file_cut_off(void **state)
{
	struct rig *r = *state;
	char path[128];
	struct stat before, after;
	make_content(r);
	snprintf(path, sizeof path, "%s/data.mdb", r->dir);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(truncate(path, before.st_size - 3 * 4096), 0);
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size - 3 * 4096);
}

/* ---- the journal ---- */

static void file_name(const struct rig *r, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", r->dir, name);
}

static struct buf file_read(const struct rig *r, const char *name)
{
	char path[128];
	struct stat st;
	struct buf b = BUF_EMPTY;
	file_name(r, name, path);
	int fd = open(path, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(read(fd, buf_put(&b, (size_t)st.st_size), (size_t)st.st_size), st.st_size);
	close(fd);
	return b;
}

static void file_write(const struct rig *r, const char *name, struct slice bytes)
{
	char path[128];
	file_name(r, name, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
	close(fd);
}

static void flip_in_journal(const struct rig *r, size_t at)
{
	struct buf b = file_read(r, "journal");
	b.p[at] ^= 1;
	file_write(r, "journal", buf_slice(&b));
	buf_done(&b);
}

/* Both files of the store as they are at one moment. */
struct files {
	struct buf data, journal;
};

static void files_done(struct files *f)
{
	buf_done(&f->data);
	buf_done(&f->journal);
}

/* As a crash at that moment would have left them. */
static void files_put(const struct rig *r, const struct files *f)
{
	file_write(r, "data.mdb", buf_slice(&f->data));
	file_write(r, "journal", buf_slice(&f->journal));
}

static uint64_t commits(struct rig *r)
{
	struct store_stats stats;
	store_stats(r->store, &stats);
	return stats.commits;
}

/* Appends to group 5 and takes the files with the entries in the journal alone, a record each. False
 * if it took so long that the store was at rest meanwhile and committed them. */
static bool append_and_take(struct rig *r, uint64_t first, unsigned n, struct files *ret_files)
{
	uint64_t before = commits(r);
	struct store_log *log = rig_log(r, 5);
	for (unsigned i = 0; i < n; i++)
		do_append(r, log, first + i, 1, 1, 1000);
	store_log_close(log);
	*ret_files = (struct files){file_read(r, "data.mdb"), file_read(r, "journal")};
	if (commits(r) == before + n)
		return true;
	files_done(ret_files);
	return false;
}

static void start_anew(struct rig *r)
{
	rig_done(r);
	rig_init_disk(r);
}

/* Closed as by a crash, with the first n entries of group 5, entry i in the journal at 4096 times i. */
static void make_journal(struct rig *r, unsigned n)
{
	struct files files;
	while (!append_and_take(r, 1, n, &files))
		start_anew(r);
	rig_close(r);
	files_put(r, &files);
	files_done(&files);
}

static void check_entries(struct rig *r, uint64_t last)
{
	struct store_log *log = rig_log(r, 5);
	check_load(log, 0, 0, 0, last, 1000);
	store_log_close(log);
}

static void what_only_the_journal_has_is_there_after_a_crash(void **state)
{
	struct rig *r = *state;
	struct files files;
	make_journal(r, 5);
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
	check_entries(r, 5);
	bool taken = append_and_take(r, 6, 1, &files); /* behind them */
	rig_close(r);
	if (taken) {
		files_put(r, &files);
		files_done(&files);
	}
	rig_open(r);
	check_entries(r, 6);
	rig_reopen(r);
	check_entries(r, 6);
}

static void a_last_record_cut_short_was_never_confirmed(void **state)
{
	struct rig *r = *state;
	make_journal(r, 5);
	flip_in_journal(r, 5 * 4096 + 600);
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
	check_entries(r, 4);
}

static void damage_in_the_middle_of_the_journal_is_reported(void **state)
{
	struct rig *r = *state;
	make_journal(r, 5);
	for (unsigned at = 0; at < 1000; at += 111) {
		flip_in_journal(r, 2 * 4096 + at);
		assert_int_equal(rig_check(r), STORE_DAMAGED);
		expect_open(r->dir, STORE_DAMAGED, "the journal is damaged before its end");
		flip_in_journal(r, 2 * 4096 + at);
	}
	flip_in_journal(r, 20); /* the header */
	expect_open(r->dir, STORE_DAMAGED, "its journal is damaged");
	flip_in_journal(r, 20);
	rig_open(r);
	check_entries(r, 5);
}

static void a_store_without_its_journal_is_refused(void **state)
{
	struct rig *r = *state;
	char path[128];
	make_journal(r, 5);
	file_name(r, "journal", path);
	struct buf b = file_read(r, "journal");
	assert_int_equal(unlink(path), 0);
	expect_open(r->dir, STORE_DAMAGED, "its journal is missing");
	assert_int_equal(rig_check(r), STORE_DAMAGED);
	file_write(r, "journal", slice_make(b.p, b.n - 4096));
	expect_open(r->dir, STORE_DAMAGED, "its journal is damaged");
	buf_done(&b);
}

/* Two pairs of files, with a commit between them; the store is closed. */
static bool take_twice(struct rig *r, struct files *older, struct files *newer)
{
	if (!append_and_take(r, 1, 1, older))
		return false;
	rig_reopen(r);
	if (!append_and_take(r, 2, 1, newer)) {
		files_done(older);
		return false;
	}
	rig_close(r);
	return true;
}

static void files_of_different_moments_are_refused_or_a_prefix(void **state)
{
	struct rig *r = *state;
	struct files older, newer;
	while (!take_twice(r, &older, &newer))
		start_anew(r);

	file_write(r, "data.mdb", buf_slice(&older.data));
	file_write(r, "journal", buf_slice(&newer.journal));
	expect_open(r->dir, STORE_DAMAGED, "data.mdb is older than the journal");
	assert_int_equal(rig_check(r), STORE_DAMAGED);

	/* The journal was copied first: what it has is in data.mdb. */
	file_write(r, "data.mdb", buf_slice(&newer.data));
	file_write(r, "journal", buf_slice(&older.journal));
	assert_int_equal(rig_check(r), 0);
	rig_open(r);
	check_entries(r, 1);
	rig_close(r);

	files_put(r, &newer);
	rig_open(r);
	check_entries(r, 2);
	files_done(&older);
	files_done(&newer);
}

static void the_journal_of_another_store_is_refused(void **state)
{
	struct rig *r = *state;
	struct rig other;
	rig_init_disk(&other);
	struct buf b = file_read(&other, "journal");
	rig_done(&other);
	make_content(r);
	file_write(r, "journal", buf_slice(&b));
	buf_done(&b);
	expect_open(r->dir, STORE_DAMAGED, "of another store");
}

static void make_format_1(uint8_t *p, size_t n, size_t at)
{
	(void)at;
	assert_int_equal(n, META_BYTES);
	store_u16le(p + 6, 1);
	store_u64le(p + 24, XXH3_64bits(p, 24));
}

/* Format 1 had no journal, and a shorter value in meta. */
static void a_store_of_format_1_gets_a_journal(void **state)
{
	struct rig *r = *state;
	char path[128];
	make_content(r);
	edit_value(r, "meta", text_key("store"), make_format_1, 0, META_BYTES - 8);
	file_name(r, "journal", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rig_check(r), 0); /* changes nothing */
	assert_int_not_equal(access(path, F_OK), 0);
	rig_open(r);
	assert_int_equal(access(path, F_OK), 0);
	struct store_log *log = rig_log(r, 5);
	check_load(log, 0, 0, 1, 6, 1000);
	do_append(r, log, 7, 1, 1, 1000);
	store_log_close(log);
	rig_reopen(r);
	log = rig_log(r, 5);
	check_load(log, 0, 0, 1, 7, 1000);
	store_log_close(log);
}

/* ---- the first pages ---- */

static void zero(const char *path, off_t from, size_t n)
{
	uint8_t zeros[8192] = {0};
	int fd = open(path, O_WRONLY);
	assert_true(n <= sizeof zeros);
	assert_int_equal(pwrite(fd, zeros, n, from), n);
	close(fd);
}

/* LMDB divides by what it reads there. */
static void first_pages_that_are_partly_zero_are_damage(void **state)
{
	struct rig *r = *state;
	enum { PAGE = 4096, META = 16 };
	char path[128];
	make_content(r);
	snprintf(path, sizeof path, "%s/data.mdb", r->dir);
	struct buf whole = file_read(r, "data.mdb");
	for (off_t from = META; from <= META + 24; from += 8) {
		for (off_t page = 0; page < 2 * PAGE; page += PAGE) {
			file_write(r, "data.mdb", buf_slice(&whole));
			zero(path, page + from, PAGE - (size_t)from);
			expect_open(r->dir, STORE_DAMAGED, "data.mdb");
			assert_int_equal(rig_check(r), STORE_DAMAGED);
		}
	}
	buf_done(&whole);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity_stays_and_incarnation_rises),
		TEST(a_claimed_directory_is_one_s_own_without_a_store),
		TEST(a_wiped_store_is_another_one),
		TEST(a_wipe_may_be_cut_short),
		TEST(files_are_not_for_everybody),
		TEST(groups_with_hard_state_are_listed),
		TEST(rows_change_with_their_snapshot),
		TEST(record_numbers_are_not_used_twice),
		TEST(entries_survive_with_their_terms_and_types),
		TEST(a_store_is_open_once),
		TEST(a_store_is_open_once_also_without_its_lock_files),
		TEST(a_directory_that_cannot_be_is_denied),
		TEST(checking_nothing_finds_nothing),
		TEST(what_was_staged_is_gone_after_a_restart),
		TEST(a_newer_format_is_refused_with_both_numbers),
		TEST(damage_at_start_names_table_and_key),
		TEST(a_flipped_bit_in_an_entry_is_noticed),
		TEST(damage_of_a_snapshot_or_row_is_noticed),
		TEST(rubbish_is_not_a_store),
		TEST(a_file_cut_off_is_damage_and_not_a_crash),
		TEST(a_lost_data_file_is_not_made_anew),
		TEST(a_creation_cut_short_is_finished),
		TEST(a_check_changes_no_file_cut_off),
		TEST(what_only_the_journal_has_is_there_after_a_crash),
		TEST(a_last_record_cut_short_was_never_confirmed),
		TEST(damage_in_the_middle_of_the_journal_is_reported),
		TEST(a_store_without_its_journal_is_refused),
		TEST(files_of_different_moments_are_refused_or_a_prefix),
		TEST(the_journal_of_another_store_is_refused),
		TEST(a_store_of_format_1_gets_a_journal),
		TEST(first_pages_that_are_partly_zero_are_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

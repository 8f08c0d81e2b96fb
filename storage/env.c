/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/env.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "storage/format.h"
#include "storage/staging.h"

/* Address space costs nothing, growing a map in use is not possible. */
static const size_t ENV_MAP_BYTES = (size_t)16 << 40;
/* What is tried at least where address space is limited. */
static const size_t ENV_MAP_LEAST = (size_t)1 << 30;

enum {
	ENV_TABLES_MAX = 8,
	ENV_READERS_MAX = 1022, /* one per port, plus tools */
	ENV_LOCK_TABLE_BYTES = 128 * 1024, /* more than LMDB's table for that many */
	ENV_DIR_MODE = 0750,
	ENV_FILE_MODE = 0640,
};

static_assert(sizeof(size_t) == sizeof(uint64_t), "MDB_INTEGERKEY keys are u64 here");

static const char META_KEY[] = "store";

int env_fail(struct env_text err, int rc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err.p, err.n, fmt, ap);
	va_end(ap);
	return rc;
}

int env_error(int mdb_rc)
{
	switch (mdb_rc) {
	case 0:
		return STORE_OK;
	case EACCES:
	case EPERM:
	case EROFS:
		return STORE_DENIED;
	case MDB_NOTFOUND:
		return STORE_NOTFOUND;
	case MDB_PAGE_NOTFOUND:
	case MDB_CORRUPTED:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
	case MDB_BAD_VALSIZE:
	case MDB_CURSOR_FULL: /* a tree that deep does not exist */
	case MDB_PAGE_FULL:
		return STORE_DAMAGED;
	default:
		return STORE_IO;
	}
}

static int env_fail_mdb(struct env *env, struct env_text err, int rc, const char *what)
{
	int store_rc = env_error(rc);
	return env_fail(err, store_rc, "store %s%s: %s: %s", env->path,
		store_rc == STORE_DAMAGED ? " is damaged" : "", what, mdb_strerror(rc));
}

static void (*broken_told)(const char *what);

void store_on_broken(void (*told)(const char *what))
{
	broken_told = told;
}

/* LMDB checks no sums, so a page that something else wrote over is noticed by what it says. */
_Noreturn void env_broken(const struct env *env, const char *how)
{
	char what[512];
	snprintf(what, sizeof what, "store %s is damaged: its tree of pages cannot be followed (%s)",
		env->path, how);
	if (broken_told != NULL)
		broken_told(what);
	else
		log_error("storage", "%s", what);
	abort();
}

static void env_on_assert(MDB_env *mdb, const char *assertion)
{
	env_broken(mdb_env_get_userctx(mdb), assertion);
}

/* ---- directory and lock --------------------------------------------------------------------- */

/* A file or directory made just now must still be there after a power cut. */
static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* not ours to read; then it is not ours to sync */
	int rc = fsync(fd) == 0 || errno == EINVAL ? 0 : errno; /* EINVAL: nothing to sync there */
	close(fd);
	return rc;
}

static int sync_parent(const char *path)
{
	char *parent = mem_printf("%s/..", path);
	int rc = sync_directory(parent);
	mem_free(parent);
	return rc;
}

static int env_make_directory(struct env *env, struct env_text err)
{
	int e = mkdir(env->path, ENV_DIR_MODE) == 0 ? sync_parent(env->path) : errno;
	if (e == 0 || e == EEXIST)
		return STORE_OK;
	return env_fail(err, e == ENOENT || e == ENOTDIR ? STORE_DENIED : env_error(e),
		"store directory %s cannot be created: %s", env->path, strerror(e));
}

static int env_lock(struct env *env, struct env_text err)
{
	if (env->claim_lent)
		return STORE_OK;
	int e = claim_take(&env->claim, env->path);
	if (e == 0)
		return STORE_OK;
	if (e == EWOULDBLOCK)
		return env_fail(err, STORE_LOCKED, "store %s is in use by another process",
			env->path);
	return env_fail(err, e == ENOTDIR ? STORE_DENIED : env_error(e),
		"store directory %s is not usable: %s", env->path, strerror(e));
}

int store_claim(struct claim **ret, const char *dir, char *err, size_t err_n)
{
	struct env_text text = {err, err_n};
	struct env env = {.path = mem_strdup(dir), .claim = CLAIM_NONE};
	int rc = env_make_directory(&env, text);
	if (rc == 0)
		rc = env_lock(&env, text);
	if (rc == 0)
		*ret = mem_dup(&env.claim, sizeof env.claim);
	mem_free(env.path);
	return rc;
}

void store_unclaim(struct claim *c)
{
	if (c != NULL)
		claim_release(c);
	mem_free(c);
}

/* ---- is there a store? ---------------------------------------------------------------------- */

/* Nothing of LMDB's reached the disk but its length: its first pages are written before anything is
 * stored, and synced before anything refers to them. */
static bool env_is_unmade(int fd, off_t bytes)
{
	enum { FIRST_PAGES = 2, MADE_BYTES = 128 * 1024 };
	size_t n = FIRST_PAGES * (size_t)sysconf(_SC_PAGESIZE);
	bool zero = bytes <= MADE_BYTES;
	if (bytes < (off_t)n)
		return true;
	uint8_t *p = mem_zalloc(n);
	zero = zero && pread(fd, p, n, 0) == (ssize_t)n;
	for (size_t i = 0; zero && i < n; i++)
		zero = p[i] == 0;
	mem_free(p);
	return zero;
}

/* Everything that was ever confirmed would be gone without a word. */
static int env_fail_lost(struct env *env, struct env_text err, const char *what)
{
	return env_fail(err, STORE_DAMAGED,
		"store %s: data.mdb %s, but there was a store here: put the whole directory back from a "
		"backup, or empty it to begin anew",
		env->path, what);
}

static int env_fail_no_store(struct env *env, struct env_text err)
{
	return env_fail(err, STORE_NOTFOUND, "there is no store in %s", env->path);
}

static int env_fail_unfinished(struct env *env, struct env_text err)
{
	return env_fail(err, STORE_NOTFOUND,
		"there is no store in %s yet: its creation was cut short before anything was stored; "
		"the next start finishes it",
		env->path);
}

/* What one of LMDB's two first pages says: struct MDB_page, then MDB_meta. 0: the file ends before it. An error of
 * the disk is left for LMDB to meet and to name. */
static bool env_page_size(int fd, off_t page, uint32_t *ret_bytes)
{
	enum { PAGE_HEADER = 16, META_PAGE_SIZE = 24 };
	ssize_t n = pread(fd, ret_bytes, sizeof *ret_bytes, page + PAGE_HEADER + META_PAGE_SIZE);
	if (n >= 0 && n < (ssize_t)sizeof *ret_bytes)
		*ret_bytes = 0;
	return n >= 0;
}

/* LMDB believes the size that they name, and divides by it. */
static int env_examine_first_pages(struct env *env, int fd, struct env_text err)
{
	enum { LEAST = 512, MOST = 64 * 1024 };
	uint32_t first, second;
	if (!env_page_size(fd, 0, &first))
		return STORE_OK;
	bool ok = first >= LEAST && first <= MOST && (first & (first - 1)) == 0;
	if (ok && !env_page_size(fd, first, &second))
		return STORE_OK;
	return ok && second == first ? STORE_OK : env_fail(err, STORE_DAMAGED,
			"store %s is damaged: data.mdb: its first pages do not say how large a page is",
			env->path);
}

/* What is there of data.mdb, before LMDB looks at it. */
static int env_examine(struct env *env, enum env_mode mode, int fd, struct env_text err)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return env_fail(err, env_error(errno), "store %s: data.mdb: %s", env->path, strerror(errno));
	bool settled = claim_settled(env->path);
	if (st.st_size == 0 && settled)
		return env_fail_lost(env, err, "is empty");
	if (settled || !env_is_unmade(fd, st.st_size))
		return env_examine_first_pages(env, fd, err);
	if (mode == ENV_CHECK)
		return env_fail_unfinished(env, err);
	if (ftruncate(fd, 0) != 0)
		return env_fail(err, env_error(errno), "store %s: data.mdb: %s", env->path, strerror(errno));
	return STORE_OK;
}

/* A check must not leave lock files where no store is. */
static int env_look_for_store(struct env *env, enum env_mode mode, struct env_text err)
{
	char *name = mem_printf("%s/data.mdb", env->path);
	int fd = open(name, (mode == ENV_CHECK ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	int e = errno;
	mem_free(name);
	if (fd >= 0) {
		int rc = env_examine(env, mode, fd, err);
		close(fd);
		return rc;
	}
	if (e != ENOENT && e != ENOTDIR)
		return env_fail(err, env_error(e), "store %s: data.mdb: %s", env->path, strerror(e));
	if (claim_settled(env->path))
		return env_fail_lost(env, err, "is missing");
	return mode == ENV_CHECK ? env_fail_no_store(env, err) : STORE_OK;
}

/* ---- environment ---------------------------------------------------------------------------- */

static int env_set_length(const struct env *env, off_t bytes)
{
	char *name = mem_printf("%s/data.mdb", env->path);
	int rc = truncate(name, bytes) == 0 ? 0 : errno;
	mem_free(name);
	return rc;
}

/* Pages beyond the end of the file would kill the process with SIGBUS when touched. A file cut off
 * by accident is made long again: the zeros are noticed as damage. (LMDB itself may leave the file
 * a few unused pages short.) */
static int env_cover_map(struct env *env, enum env_mode mode, struct env_text err)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat st;
	int fd;
	mdb_env_info(env->mdb, &info);
	mdb_env_stat(env->mdb, &stat);
	mdb_env_get_fd(env->mdb, &fd);
	if (fstat(fd, &st) != 0)
		return env_fail_mdb(env, err, errno, "data.mdb");
	off_t need = (off_t)(info.me_last_pgno + 1) * stat.ms_psize;
	if (st.st_size >= need)
		return STORE_OK;
	if (mode == ENV_CHECK)
		env->cut_bytes = st.st_size;
	int rc = env_set_length(env, need);
	return rc == 0 ? STORE_OK : env_fail_mdb(env, err, rc, "data.mdb is cut off");
}

/* LMDB maps its reader table as a sparse file and writes to the map: without space for it that would
 * be a SIGBUS. So the space is there before. */
static int env_fill_lock_table(const struct env *env)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/lock.mdb", env->path);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, ENV_FILE_MODE);
	if (fd < 0)
		return errno;
	int rc = posix_fallocate(fd, 0, ENV_LOCK_TABLE_BYTES);
	close(fd);
	return rc;
}

static int env_open_mapped(struct env *env, enum env_mode mode, size_t map_bytes)
{
	int rc = mdb_env_create(&env->mdb);
	if (rc != 0)
		return rc;
	mdb_env_set_userctx(env->mdb, env);
	mdb_env_set_assert(env->mdb, env_on_assert);
	mdb_env_set_mapsize(env->mdb, map_bytes);
	mdb_env_set_maxdbs(env->mdb, ENV_TABLES_MAX);
	mdb_env_set_maxreaders(env->mdb, ENV_READERS_MAX);
	rc = env_fill_lock_table(env);
	if (rc != 0)
		return rc;
	unsigned flags = MDB_NOTLS | (mode == ENV_CHECK ? MDB_RDONLY : 0);
	rc = mdb_env_open(env->mdb, env->path, flags, ENV_FILE_MODE);
	if (rc == 0)
		return 0;
	mdb_env_close(env->mdb); /* also after a failed open, says lmdb.h */
	env->mdb = NULL;
	return rc;
}

/* LMDB does not tell where its map lies; the kernel does, by the file's inode. */
static void env_find_map(struct env *env)
{
	char line[PATH_MAX + 128];
	struct stat st;
	int fd;
	env->map_from = env->map_to = 0;
	if (mdb_env_get_fd(env->mdb, &fd) != 0 || fstat(fd, &st) != 0)
		return;
	FILE *maps = fopen("/proc/self/maps", "r");
	if (maps == NULL)
		return;
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to, inode;
		unsigned major_no, minor_no;
		if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu", &from, &to, &major_no, &minor_no,
			    &inode) == 5 &&
			inode == st.st_ino && makedev(major_no, minor_no) == st.st_dev) {
			env->map_from = from;
			env->map_to = to;
		}
	}
	fclose(maps);
}

static int env_open_mdb(struct env *env, enum env_mode mode, struct env_text err)
{
	int rc = ENOMEM;
	/* A sanitizer or a limit may leave less room in the address space. */
	for (size_t map = ENV_MAP_BYTES; rc == ENOMEM && map >= ENV_MAP_LEAST; map /= 2)
		rc = env_open_mapped(env, mode, map);
	if (rc != 0)
		return env_fail_mdb(env, err, rc, "data.mdb");
	int dead;
	mdb_reader_check(env->mdb, &dead);
	env_find_map(env);
	return env_cover_map(env, mode, err);
}

enum {
	WINDOW_BYTES = 2 << 20,  /* the most that the kernel maps at one look: a large folio */
	TREES_BYTES = 64 << 10,  /* a guess: most pages of the trees were mapped before */
	LET_GO_BYTES = 8 << 20,
};

static void env_let_go(struct env *env)
{
	atomic_store_explicit(&env->looked_at, 0, memory_order_relaxed);
	for (unsigned i = 0; i < ENV_WINDOWS; i++)
		atomic_store_explicit(&env->windows[i], 0, memory_order_relaxed);
	/* The whole map: what is not there costs nothing. Only advice: may fail. */
	madvise((void *)env->map_from, env->map_to - env->map_from, MADV_DONTNEED);
}

static void env_count(struct env *env, size_t n)
{
	size_t before = atomic_fetch_add_explicit(&env->looked_at, n, memory_order_relaxed);
	if (before + n >= LET_GO_BYTES && env->map_from < env->map_to)
		env_let_go(env);
}

void env_looked_at(struct env *env, const void *p, size_t n)
{
	uintptr_t from = (uintptr_t)p, to = from + n;
	if (from < env->map_from || to > env->map_to)
		return;
	for (uintptr_t window = from / WINDOW_BYTES; window <= to / WINDOW_BYTES; window++) {
		_Atomic uintptr_t *seen = &env->windows[window % ENV_WINDOWS];
		if (atomic_exchange_explicit(seen, window, memory_order_relaxed) != window)
			env_count(env, WINDOW_BYTES);
	}
}

void env_looked_at_trees(struct env *env)
{
	env_count(env, TREES_BYTES);
}

/* ---- tables and format ---------------------------------------------------------------------- */

static int env_open_table(struct env *env, MDB_txn *txn, const char *name, unsigned flags,
	MDB_dbi *ret_dbi, struct env_text err)
{
	int rc = mdb_dbi_open(txn, name, flags, ret_dbi);
	if (rc == 0)
		return STORE_OK;
	if (rc == MDB_NOTFOUND)
		return env_fail(err, STORE_DAMAGED, "store %s: table %s is missing", env->path, name);
	return env_fail(err, env_error(rc), "store %s: table %s: %s", env->path, name,
		mdb_strerror(rc));
}

static int env_open_tables(struct env *env, MDB_txn *txn, unsigned create, struct env_text err)
{
	const struct {
		const char *name;
		unsigned flags;
		MDB_dbi *dbi;
	} tables[] = {
		{"meta", 0, &env->meta},
		{"log", MDB_INTEGERKEY, &env->log},
		{"dir", MDB_INTEGERKEY, &env->dir},
		{"hard", MDB_INTEGERKEY, &env->hard},
		{"snap", MDB_INTEGERKEY, &env->snap},
		{"row", 0, &env->row},
	};
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		int rc = env_open_table(env, txn, tables[i].name, tables[i].flags | create,
			tables[i].dbi, err);
		if (rc != 0)
			return rc;
	}
	return STORE_OK;
}

/* True if nothing was ever stored. */
static bool env_is_new(MDB_txn *txn)
{
	MDB_dbi main_table;
	MDB_stat stat;
	return mdb_dbi_open(txn, NULL, 0, &main_table) == 0 &&
		mdb_stat(txn, main_table, &stat) == 0 && stat.ms_entries == 0;
}

static int env_read_meta(struct env *env, MDB_txn *txn, struct env_text err, unsigned *ret_format)
{
	unsigned format = 0;
	MDB_val key = {sizeof META_KEY - 1, (void *)(uintptr_t)META_KEY};
	MDB_val val;
	int rc = mdb_dbi_open(txn, "meta", 0, &env->meta);
	if (rc == 0)
		rc = mdb_get(txn, env->meta, &key, &val);
	if (rc == MDB_NOTFOUND)
		return env_fail(err, STORE_DAMAGED, "%s/data.mdb is not a Warren store: "
			"table meta, key %s is missing", env->path, META_KEY);
	if (rc != 0)
		return env_fail_mdb(env, err, rc, "table meta");
	rc = meta_decode(env_slice(val), &env->identity, &env->generation, &format);
	if (rc == STORE_NEWER)
		return env_fail(err, rc, "store %s has format %u, this program knows formats up to %u",
			env->path, format, (unsigned)FORMAT_NEWEST);
	if (rc != 0)
		return env_fail(err, rc, "store %s is damaged: table meta, key %s", env->path, META_KEY);
	*ret_format = format;
	return STORE_OK;
}

int env_put_meta(struct env *env, MDB_txn *txn, uint64_t generation)
{
	uint8_t bytes[META_BYTES];
	MDB_val key = {sizeof META_KEY - 1, (void *)(uintptr_t)META_KEY};
	MDB_val val = {sizeof bytes, bytes};
	meta_encode(bytes, &env->identity, generation);
	return mdb_put(txn, env->meta, &key, &val, 0);
}

static int env_write_meta(struct env *env, MDB_txn *txn, struct env_text err)
{
	env->identity.incarnation++;
	int rc = env_put_meta(env, txn, env->generation);
	return rc == 0 ? STORE_OK : env_fail_mdb(env, err, rc, "table meta");
}

static void env_invent_identity(struct env *env)
{
	env->identity = (struct store_identity){0};
	while (env->identity.node_id == 0)
		if (getrandom(&env->identity.node_id, sizeof env->identity.node_id, 0) < 0)
			abort();
}

static int env_open_journal(struct env *env, enum env_mode mode, struct env_text err)
{
	int rc = journal_open(&env->journal, env->path, env->identity.node_id, mode == ENV_WRITE);
	switch (rc) {
	case STORE_OK:
		return rc;
	case STORE_NOTFOUND:
		return env_fail(err, STORE_DAMAGED,
			"store %s: its journal is missing; what was stored last may be in it",
			env->path);
	case STORE_DAMAGED:
		return env_fail(err, rc, "store %s: its journal is damaged, or of another store",
			env->path);
	default:
		return env_fail(err, rc, "store %s: journal: %s", env->path, store_strerror(rc));
	}
}

/* Before the store says that it has one. */
static int env_create_journal(struct env *env, struct env_text err, bool *ret_full)
{
	journal_close(&env->journal); /* of an attempt before */
	int rc = journal_create(&env->journal, env->path, env->identity.node_id);
	*ret_full = rc == ENOSPC || rc == EDQUOT;
	return rc == 0 ? STORE_OK :
			 env_fail(err, env_error(rc), "store %s: journal cannot be made: %s",
				 env->path, strerror(rc));
}

static int env_begin_writing(struct env *env, MDB_txn *txn, struct env_text err, bool *ret_full)
{
	int rc = STORE_OK;
	unsigned format = 0;
	bool new = env_is_new(txn);
	if (new && claim_settled(env->path))
		return env_fail_lost(env, err, "holds nothing");
	if (new)
		env_invent_identity(env);
	else
		rc = env_read_meta(env, txn, err, &format);
	if (rc == 0 && format < FORMAT_JOURNAL)
		rc = env_create_journal(env, err, ret_full);
	else if (rc == 0 && env->journal.fd < 0)
		rc = env_open_journal(env, ENV_WRITE, err);
	if (rc == 0)
		rc = env_open_tables(env, txn, MDB_CREATE, err);
	int forget = rc == 0 ? staging_forget(txn, env->hard) : 0;
	if (forget != 0)
		rc = env_fail_mdb(env, err, forget, "data.mdb");
	if (rc == 0)
		rc = env_write_meta(env, txn, err);
	return rc;
}

static int env_begin_checking(struct env *env, MDB_txn *txn, struct env_text err)
{
	unsigned format;
	if (env_is_new(txn))
		return claim_settled(env->path) ? env_fail_lost(env, err, "holds nothing")
						: env_fail_unfinished(env, err);
	int rc = env_read_meta(env, txn, err, &format);
	if (rc == 0 && format >= FORMAT_JOURNAL)
		rc = env_open_journal(env, ENV_CHECK, err);
	return rc != 0 ? rc : env_open_tables(env, txn, 0, err);
}

/* LMDB reports a write that came out short, which is how a disk gets full, as EIO. With room on the
 * disk it is a real one, after which nothing is tried again. */
static bool env_has_room(const struct env *env)
{
	enum { LITTLE = 1 << 20 };
	struct statvfs fs;
	return statvfs(env->path, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize > LITTLE;
}

static int env_try_format(struct env *env, enum env_mode mode, struct env_text err, bool *ret_full)
{
	MDB_txn *txn;
	*ret_full = false;
	int rc = mdb_txn_begin(env->mdb, NULL, mode == ENV_CHECK ? MDB_RDONLY : 0, &txn);
	if (rc != 0)
		return env_fail_mdb(env, err, rc, "data.mdb");
	rc = mode == ENV_CHECK ? env_begin_checking(env, txn, err) :
				 env_begin_writing(env, txn, err, ret_full);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	rc = mdb_txn_commit(txn);
	*ret_full = rc == ENOSPC || rc == EDQUOT || (rc == EIO && !env_has_room(env));
	if (rc == 0 && mode == ENV_WRITE && env->identity.incarnation == 1)
		rc = sync_directory(env->path);
	return rc == 0 ? STORE_OK : env_fail_mdb(env, err, rc, "data.mdb cannot be written");
}

/* A node must come up on a full disk, too: only then can its messages be consumed. */
static int env_open_format(struct env *env, enum env_mode mode, struct env_text err)
{
	bool full;
	int rc = env_try_format(env, mode, err, &full);
	if (full && reserve_spend(&env->reserve))
		rc = env_try_format(env, mode, err, &full);
	return rc;
}

int env_open(struct env *env, const char *path, const struct claim *claim, enum env_mode mode,
	struct env_text err)
{
	*env = (struct env){.path = mem_strdup(path),
		.claim = claim != NULL ? *claim : (struct claim)CLAIM_NONE,
		.claim_lent = claim != NULL,
		.reserve.fd = -1,
		.journal.fd = -1};
	int rc = mode == ENV_WRITE ? env_make_directory(env, err) : env_look_for_store(env, mode, err);
	if (rc == 0)
		rc = env_lock(env, err);
	if (rc == 0 && mode == ENV_WRITE)
		rc = env_look_for_store(env, mode, err);
	if (rc == 0 && mode == ENV_WRITE)
		reserve_open(&env->reserve, path);
	if (rc == 0)
		rc = env_open_mdb(env, mode, err);
	if (rc == 0)
		rc = env_open_format(env, mode, err);
	if (rc == 0 && mode == ENV_WRITE)
		claim_settle(&env->claim, env->identity.node_id);
	if (rc != 0)
		env_close(env);
	return rc;
}

void env_close(struct env *env)
{
	if (env->mdb != NULL)
		mdb_env_close(env->mdb);
	if (env->cut_bytes > 0)
		env_set_length(env, env->cut_bytes);
	journal_close(&env->journal);
	reserve_close(&env->reserve);
	if (!env->claim_lent)
		claim_release(&env->claim);
	mem_free(env->path);
	*env = (struct env){.claim = CLAIM_NONE, .reserve.fd = -1, .journal.fd = -1};
}

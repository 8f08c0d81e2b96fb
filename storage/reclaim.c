/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

enum {
	RECLAIM_BEGIN = 64 << 20,   /* bytes that must be free for a pass to begin */
	RECLAIM_KEEP = 8 << 20,     /* bytes of free pages that stay */
	RECLAIM_PORTION = 16 << 20, /* bytes punched between two rounds ... */
	RECLAIM_SHARE = 64,         /* ... or this part of what is free: each portion reads the list */
	RECLAIM_PAUSE_MS = 100,     /* between portions: a disk that is told what it may forget is slow meanwhile */
	RECLAIM_PRESSED_MS = 20,    /* ... when the disk is full */
	RECLAIM_PORTION_MS = 10,    /* a portion ends after so long: commits wait for it */
	RECLAIM_AGAIN = 4 << 20,    /* bytes left over by a pass that are worth another ... */
	RECLAIM_AGAIN_MS = 500,     /* ... after so long ... */
	RECLAIM_LITTLE = 1 << 20,   /* ... if this one achieved more than this */
	RECLAIM_RUN = 4,            /* pages in a row worth a hole of their own */
};

/* What the free list says, as of one transaction. */
struct free_pages {
	size_t page_bytes;
	uint64_t n;         /* pages of the file */
	uint64_t free;      /* of them in the free list */
	uint64_t young;     /* of those, ones that must not be punched yet */
	uint64_t *punchable; /* a bit per page */
};

void reclaim_init(struct reclaim *r, struct env *env)
{
	*r = (struct reclaim){.env = env, .fd = -1};
}

void reclaim_done(struct reclaim *r)
{
	view_done(&r->view);
	if (r->fd >= 0)
		close(r->fd);
}

static bool reclaim_open(struct reclaim *r)
{
	if (r->fd >= 0)
		return true;
	char *name = mem_printf("%s/data.mdb", r->env->path);
	r->fd = open(name, O_RDWR | O_CLOEXEC);
	mem_free(name);
	r->unable = r->fd < 0;
	return !r->unable;
}

static uint64_t occupied_bytes(const struct reclaim *r)
{
	struct stat st;
	return fstat(r->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- reading the free list ------------------------------------------------------------------ */

/* A line of mdb_reader_list(): "pid thread txnid", with "-" for a reader between transactions. */
static int oldest_of_line(const char *line, void *arg)
{
	uint64_t *oldest = arg;
	int pid;
	unsigned long long thread, txnid;
	if (sscanf(line, "%d %llx %llu", &pid, &thread, &txnid) == 3 && txnid < *oldest)
		*oldest = txnid;
	return 0;
}

/* The newest key in the free list whose pages nobody can read; 0: none. See reclaim.h. */
static uint64_t newest_safe_key(const struct reclaim *r, MDB_txn *txn)
{
	uint64_t last = mdb_txn_id(txn);
	uint64_t oldest = last;
	if (mdb_reader_list(r->env->mdb, oldest_of_line, &oldest) < 0)
		return 0;
	uint64_t settled = last - 1;
	return oldest < settled ? oldest : settled;
}

static void add_free_pages(struct free_pages *f, uint64_t key, MDB_val val, uint64_t safe)
{
	const size_t *list = val.mv_data; /* a count, then page numbers */
	size_t n = list[0];
	if (val.mv_size / sizeof *list < n + 1)
		return;
	f->free += n;
	if (key > safe) {
		f->young += n;
		return;
	}
	for (size_t i = 1; i <= n; i++)
		if (list[i] < f->n)
			f->punchable[list[i] / 64] |= (uint64_t)1 << (list[i] % 64);
}

/* The free list is LMDB's table number 0, as mdb_stat reads it. */
static bool read_free_list(struct reclaim *r, MDB_txn *txn, struct free_pages *f)
{
	MDB_cursor *cursor;
	MDB_val key, val;
	uint64_t safe = newest_safe_key(r, txn);
	if (mdb_cursor_open(txn, 0, &cursor) != 0)
		return false;
	while (mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
		bool ok;
		uint64_t number = env_number(key, &ok);
		if (ok && val.mv_size >= sizeof(size_t))
			add_free_pages(f, number, val, safe);
		env_looked_at(r->env, val.mv_data, val.mv_size);
	}
	mdb_cursor_close(cursor);
	return true;
}

static bool free_pages_init(struct reclaim *r, struct free_pages *f)
{
	MDB_txn *txn;
	MDB_envinfo info;
	MDB_stat stat;
	if (view_begin(&r->view, r->env->mdb, &txn) != 0)
		return false;
	mdb_env_info(r->env->mdb, &info);
	mdb_env_stat(r->env->mdb, &stat);
	*f = (struct free_pages){.page_bytes = stat.ms_psize, .n = info.me_last_pgno + 1};
	f->punchable = mem_zalloc((f->n / 64 + 1) * sizeof *f->punchable);
	bool ok = read_free_list(r, txn, f);
	view_end(&r->view);
	return ok;
}

static bool is_punchable(const struct free_pages *f, uint64_t page)
{
	return page < f->n && (f->punchable[page / 64] >> (page % 64) & 1) != 0;
}

/* The next run of punchable pages at or behind `page`; false if there is none. */
static bool next_run(const struct free_pages *f, uint64_t page, uint64_t *ret_from, uint64_t *ret_to)
{
	while (page < f->n && !is_punchable(f, page))
		page += f->punchable[page / 64] >> (page % 64) == 0 ? 64 - page % 64 : 1;
	if (page >= f->n)
		return false;
	*ret_from = page;
	while (is_punchable(f, page))
		page++;
	*ret_to = page;
	return true;
}

/* ---- punching ------------------------------------------------------------------------------- */

/* False if the run is a hole already. A file system that cannot tell says it is not. */
static bool has_blocks(const struct reclaim *r, off_t from, off_t to)
{
	off_t data = lseek(r->fd, from, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO;
	return data < to;
}

/* Bytes given back. */
static uint64_t punch_run(struct reclaim *r, const struct free_pages *f, uint64_t from, uint64_t to)
{
	off_t begin = (off_t)(from * f->page_bytes);
	off_t end = (off_t)(to * f->page_bytes);
	if (to - from < RECLAIM_RUN || !has_blocks(r, begin, end))
		return 0;
	if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, end - begin) == 0)
		return (uint64_t)(end - begin);
	if (errno != EINTR) {
		log_info("storage", "store %s: free space in data.mdb cannot be given back: %s",
			r->env->path, strerror(errno));
		r->unable = true;
	}
	return 0;
}

static uint64_t clock_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Punches up to `portion` bytes, or as long as RECLAIM_PORTION_MS: many small holes take the file
 * system longer than one large. True if the pass is through. */
static bool punch_portion(struct reclaim *r, const struct free_pages *f, uint64_t portion)
{
	uint64_t punched = 0, from, to;
	uint64_t until_ms = clock_ms() + RECLAIM_PORTION_MS;
	while (!r->unable && next_run(f, r->next_page, &from, &to)) {
		if (punched >= portion)
			break;
		if (clock_ms() >= until_ms) {
			r->pass_bytes += punched;
			return false;
		}
		uint64_t most = from + (portion - punched) / f->page_bytes + RECLAIM_RUN;
		if (to > most)
			to = most;
		punched += punch_run(r, f, from, to);
		r->next_page = to;
	}
	r->pass_bytes += punched;
	return punched < portion;
}

/* ---- passes --------------------------------------------------------------------------------- */

static void pass_begin(struct reclaim *r)
{
	r->active = true;
	r->next_page = 0;
	r->pass_bytes = 0;
}

/* Pages that became free behind the pass, or too late for it, are worth another one; not at once,
 * so that under load pages are not given back only to be taken again. */
static void pass_end(struct reclaim *r, const struct free_pages *f, uint64_t excess, uint64_t stored,
	uint64_t now_ns)
{
	bool much = excess > RECLAIM_AGAIN + stored / 4;
	uint64_t occupied = occupied_bytes(r);
	r->active = false;
	r->left = occupied > stored ? occupied - stored : 0;
	r->wants_commit = much && f->young * f->page_bytes > RECLAIM_LITTLE;
	if (much && !r->wants_commit && r->pass_bytes > RECLAIM_LITTLE)
		pass_begin(r);
	r->next_ns = now_ns + RECLAIM_AGAIN_MS * 1000000ull;
}

/* What was too young for the last pass is not any more. */
void reclaim_committed(struct reclaim *r)
{
	if (r->wants_commit)
		pass_begin(r);
	r->wants_commit = false;
}

static void pass_go_on(struct reclaim *r, uint64_t stored, bool pressed, uint64_t now_ns)
{
	struct free_pages f = {0};
	if (!free_pages_init(r, &f)) {
		mem_free(f.punchable);
		r->active = false;
		return;
	}
	uint64_t used = (f.n - f.free) * f.page_bytes + RECLAIM_KEEP;
	uint64_t occupied = occupied_bytes(r);
	uint64_t excess = occupied > used ? occupied - used : 0;
	uint64_t portion = f.free * f.page_bytes / RECLAIM_SHARE;
	if (portion < RECLAIM_PORTION)
		portion = RECLAIM_PORTION;
	if (portion > excess)
		portion = excess;
	r->next_ns = now_ns + (pressed ? RECLAIM_PRESSED_MS : RECLAIM_PAUSE_MS) * 1000000ull;
	if (portion == 0 || punch_portion(r, &f, portion))
		pass_end(r, &f, excess, stored, now_ns);
	mem_free(f.punchable);
}

/* While the disk is full each pass may help, but not one after the other. */
static bool pass_is_urgent(const struct reclaim *r, uint64_t stored, uint64_t now_ns)
{
	return occupied_bytes(r) > stored + 2 * RECLAIM_KEEP && now_ns >= r->next_ns;
}

/* By estimate, since reading the free list costs something. */
static bool pass_is_due(const struct reclaim *r, uint64_t stored)
{
	uint64_t occupied = occupied_bytes(r);
	uint64_t excess = occupied > stored ? occupied - stored : 0;
	return excess > RECLAIM_BEGIN && excess > stored / 2 && excess > r->left + RECLAIM_BEGIN / 2;
}

int reclaim_patience_ms(const struct reclaim *r, uint64_t now_ns)
{
	if (r->unable)
		return -1;
	if (r->wants_commit)
		return RECLAIM_PAUSE_MS;
	if (!r->active || r->unable)
		return -1;
	return r->next_ns > now_ns ? (int)((r->next_ns - now_ns) / 1000000) + 1 : 1;
}

void reclaim_step(struct reclaim *r, uint64_t stored, bool pressed, uint64_t now_ns)
{
	if (r->unable || !reclaim_open(r))
		return;
	bool due = pass_is_due(r, stored) || (pressed && pass_is_urgent(r, stored, now_ns));
	if (due && !r->active && !r->wants_commit)
		pass_begin(r);
	if (r->active && now_ns >= r->next_ns)
		pass_go_on(r, stored, pressed, now_ns);
}

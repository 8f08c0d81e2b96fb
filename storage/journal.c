/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "src/base/mem.h"
#include "storage/lmdb_log.h"

static const char JOURNAL_MAGIC[8] = "WarrenJ";

enum {
	OPERATION_HEADER = 16,
	ENTRY_HEADER = 16,
};

static uint64_t blocks_up(uint64_t n)
{
	return (n + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* 0 or an errno. */
static int write_all(int fd, const uint8_t *p, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t wrote = pwrite(fd, p, n, (off_t)at);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? errno : EIO;
		p += wrote;
		n -= (size_t)wrote;
		at += (uint64_t)wrote;
	}
	return 0;
}

/* False if the file is shorter, or cannot be read. */
static bool read_all(int fd, uint8_t *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = pread(fd, p + at, n - at, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

void journal_header_encode(uint8_t *out, const struct journal *j, uint64_t node_id)
{
	memcpy(out, JOURNAL_MAGIC, sizeof JOURNAL_MAGIC);
	store_u16le(out + 8, JOURNAL_VERSION);
	store_u16le(out + 10, 0);
	store_u32le(out + 12, j->bytes);
	store_u64le(out + 16, node_id);
	store_u64le(out + 24, j->salt);
	store_u64le(out + 32, XXH3_64bits(out, 32));
}

static int header_decode(const uint8_t *p, uint64_t node_id, struct journal *j)
{
	if (memcmp(p, JOURNAL_MAGIC, sizeof JOURNAL_MAGIC) != 0)
		return STORE_DAMAGED;
	if (load_u16le(p + 8) > JOURNAL_VERSION)
		return STORE_NEWER;
	if (load_u64le(p + 32) != XXH3_64bits(p, 32) || load_u64le(p + 16) != node_id)
		return STORE_DAMAGED;
	j->bytes = load_u32le(p + 12);
	j->salt = load_u64le(p + 24);
	return j->bytes % JOURNAL_BLOCK == 0 && j->bytes > JOURNAL_BLOCK ? STORE_OK : STORE_DAMAGED;
}

static int sync_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int rc = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return rc;
}

static int fill(struct journal *j, uint64_t node_id)
{
	uint8_t *all = mem_zalloc(j->bytes);
	journal_header_encode(all, j, node_id);
	int rc = write_all(j->fd, all, j->bytes, 0);
	mem_free(all);
	if (rc == 0 && fsync(j->fd) != 0)
		rc = errno;
	return rc;
}

int journal_create(struct journal *j, const char *dir, uint64_t node_id)
{
	*j = (struct journal){.fd = -1, .bytes = JOURNAL_BYTES, .at = JOURNAL_BLOCK};
	if (getrandom(&j->salt, sizeof j->salt, 0) < 0)
		return errno;
	char *name = mem_printf("%s/journal", dir);
	j->fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	int rc = j->fd < 0 ? errno : fill(j, node_id);
	mem_free(name);
	if (rc == 0)
		rc = sync_directory(dir);
	if (rc != 0)
		journal_close(j);
	return rc;
}

static int open_header(struct journal *j, uint64_t node_id)
{
	uint8_t header[JOURNAL_HEADER];
	struct stat st;
	if (fstat(j->fd, &st) != 0)
		return STORE_IO;
	if (st.st_size < JOURNAL_HEADER)
		return STORE_DAMAGED;
	if (!read_all(j->fd, header, sizeof header))
		return STORE_IO;
	int rc = header_decode(header, node_id, j);
	return rc == 0 && st.st_size != (off_t)j->bytes ? STORE_DAMAGED : rc;
}

int journal_open(struct journal *j, const char *dir, uint64_t node_id, bool writable)
{
	*j = (struct journal){.fd = -1, .at = JOURNAL_BLOCK};
	char *name = mem_printf("%s/journal", dir);
	j->fd = open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	int e = errno;
	mem_free(name);
	if (j->fd < 0)
		return e == ENOENT ? STORE_NOTFOUND : STORE_IO;
	int rc = open_header(j, node_id);
	if (rc != 0)
		journal_close(j);
	return rc;
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
	buf_done(&j->record);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_operation(struct buf *b, char kind, uint32_t n, uint64_t log)
{
	buf_put_u8(b, (uint8_t)kind);
	buf_put_u8(b, 0);
	buf_put_u16le(b, 0);
	buf_put_u32le(b, n);
	buf_put_u64le(b, log);
}

static void put_append(struct buf *b, const struct store_req *req)
{
	put_operation(b, 'A', req->u.append.n, lmdb_log_group(req->log)->id);
	buf_put_u64le(b, req->u.append.first);
	for (unsigned i = 0; i < req->u.append.n; i++) {
		const struct store_entry *e = &req->u.append.entries[i];
		buf_put_u64le(b, e->term);
		buf_put_u32le(b, (uint32_t)e->n);
		buf_put_u16le(b, e->type);
		buf_put_u16le(b, 0);
		buf_put_bytes(b, e->p, e->n);
	}
}

static void put_request(struct buf *b, const struct store_req *req)
{
	switch (req->op) {
	case STORE_OP_HARD:
		put_operation(b, 'H', 0, lmdb_log_group(req->log)->id);
		buf_put_u64le(b, req->u.hard.term);
		buf_put_u64le(b, req->u.hard.vote);
		break;
	case STORE_OP_APPEND:
		put_append(b, req);
		break;
	case STORE_OP_TRUNCATE:
		put_operation(b, 'T', 0, lmdb_log_group(req->log)->id);
		buf_put_u64le(b, req->u.truncate.index);
		break;
	case STORE_OP_DROP:
		put_operation(b, 'D', 0, lmdb_log_group(req->log)->id);
		break;
	case STORE_OP_RELEASE: /* not durable by itself, as ever */
		break;
	case STORE_OP_SNAPSHOT:
	case STORE_OP_SWITCH:
		assert(false); /* journal_takes() */
	}
}

/* At most so many bytes of operations. */
static size_t request_bytes(const struct store_req *req)
{
	size_t n = OPERATION_HEADER + 16;
	if (req->op == STORE_OP_APPEND)
		for (unsigned i = 0; i < req->u.append.n; i++)
			n += ENTRY_HEADER + req->u.append.entries[i].n;
	return n;
}

bool journal_takes(const struct journal *j, const struct list *requests)
{
	size_t n = JOURNAL_RECORD;
	LIST_EACH(node, requests) {
		const struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		if (req->op == STORE_OP_RELEASE)
			continue;
		if (req->op == STORE_OP_SNAPSHOT || req->op == STORE_OP_SWITCH ||
			lmdb_log_group(req->log)->staged)
			return false;
		n += request_bytes(req);
		if (n > JOURNAL_SMALL)
			return false;
	}
	return j->at + blocks_up(n) <= j->bytes;
}

static uint64_t record_checksum(const struct journal *j, const uint8_t *p, size_t operations)
{
	return XXH3_64bits_withSeed(p + JOURNAL_RECORD, operations,
		XXH3_64bits_withSeed(p, 24, j->salt));
}

/* Room for the largest record, once: what goes past the page cache has to be aligned. */
static void record_begin(struct buf *b)
{
	if (b->p == NULL) {
		b->p = aligned_alloc(JOURNAL_BLOCK, JOURNAL_SMALL);
		if (b->p == NULL)
			abort(); /* as mem_alloc() */
		b->cap = JOURNAL_SMALL;
	}
	buf_clear(b);
}

static void record_make(struct journal *j, const struct list *requests)
{
	struct buf *b = &j->record;
	record_begin(b);
	buf_put(b, JOURNAL_RECORD);
	LIST_EACH(node, requests)
		put_request(b, LIST_ENTRY(node, struct store_req, link));
	size_t operations = b->n - JOURNAL_RECORD;
	/* Whole blocks: the kernel need not read what is there to write a part of it. */
	size_t rest = blocks_up(b->n) - b->n;
	if (rest > 0)
		memset(buf_put(b, rest), 0, rest);
	b->p[0] = 'J';
	b->p[1] = JOURNAL_VERSION;
	store_u16le(b->p + 2, 0);
	store_u32le(b->p + 4, (uint32_t)operations);
	store_u64le(b->p + 8, j->generation);
	store_u64le(b->p + 16, j->number);
	store_u64le(b->p + 24, record_checksum(j, b->p, operations));
}

static void set_direct(struct journal *j, bool direct)
{
	int flags = fcntl(j->fd, F_GETFL);
	j->direct = direct && flags >= 0 && fcntl(j->fd, F_SETFL, flags | O_DIRECT) == 0;
	if (!direct && flags >= 0)
		fcntl(j->fd, F_SETFL, flags & ~O_DIRECT);
}

/* Past the page cache the way to the disk is shorter by a sixth. Not every file system can do that,
 * and some say so only at the first write. */
static int write_record(struct journal *j)
{
	if (!j->direct_tried)
		set_direct(j, true);
	int rc = write_all(j->fd, j->record.p, j->record.n, j->at);
	if (rc == EINVAL && j->direct && !j->direct_tried) {
		set_direct(j, false);
		rc = write_all(j->fd, j->record.p, j->record.n, j->at);
	}
	j->direct_tried = true;
	return rc;
}

int journal_write(struct journal *j, const struct list *requests)
{
	record_make(j, requests);
	j->used = true;
	int rc = write_record(j);
	if (rc != 0)
		return rc;
	if (fdatasync(j->fd) != 0)
		return errno == ENOSPC || errno == EDQUOT ? EIO : errno; /* what it wrote is not known */
	j->at += j->record.n;
	j->number++;
	return 0;
}

void journal_restart(struct journal *j, uint64_t generation)
{
	j->generation = generation;
	j->number = 0;
	j->at = JOURNAL_BLOCK;
	j->used = false;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct found {
	uint64_t generation;
	uint64_t number;
	struct slice operations;
};

/* The record at `at` of the whole file; false if there is none that is whole. */
static bool record_at(const struct journal *j, const uint8_t *file, uint64_t at, struct found *ret)
{
	const uint8_t *p = file + at;
	if (at + JOURNAL_RECORD > j->bytes || p[0] != 'J' || p[1] != JOURNAL_VERSION)
		return false;
	uint32_t n = load_u32le(p + 4);
	if (load_u16le(p + 2) != 0 || n > j->bytes - at - JOURNAL_RECORD ||
		load_u64le(p + 24) != record_checksum(j, p, n))
		return false;
	ret->generation = load_u64le(p + 8);
	ret->number = load_u64le(p + 16);
	ret->operations = slice_make(p + JOURNAL_RECORD, n);
	return true;
}

static struct store_entry get_entry(struct reader *r)
{
	struct store_entry e = {.term = get_u64le(r)};
	uint32_t length = get_u32le(r);
	e.type = get_u16le(r);
	get_u16le(r);
	struct slice bytes = get_slice(r, length);
	e.n = bytes.n;
	e.blob = blob_new(bytes.n);
	e.p = e.blob->data;
	if (bytes.n > 0)
		memcpy(e.blob->data, bytes.p, bytes.n);
	return e;
}

static int each_append(struct reader *r, uint32_t n, uint64_t log, journal_each each, void *arg)
{
	struct store_req req = {.op = STORE_OP_APPEND};
	req.u.append.first = get_u64le(r);
	if (n == 0 || n > reader_left(r) / ENTRY_HEADER)
		return STORE_DAMAGED;
	struct store_entry *entries = mem_alloc(n * sizeof *entries);
	for (uint32_t i = 0; i < n; i++)
		entries[i] = get_entry(r);
	req.u.append.entries = entries;
	req.u.append.n = n;
	int rc = r->bad ? STORE_DAMAGED : each(arg, log, &req);
	for (uint32_t i = 0; i < n; i++)
		blob_unref(entries[i].blob);
	mem_free(entries);
	return rc;
}

static int each_operation(struct reader *r, journal_each each, void *arg)
{
	struct store_req req = {0};
	uint8_t kind = get_u8(r);
	get_bytes(r, 3);
	uint32_t n = get_u32le(r);
	uint64_t log = get_u64le(r);
	switch (kind) {
	case 'A':
		return each_append(r, n, log, each, arg);
	case 'H':
		req.op = STORE_OP_HARD;
		req.u.hard.term = get_u64le(r);
		req.u.hard.vote = get_u64le(r);
		break;
	case 'T':
		req.op = STORE_OP_TRUNCATE;
		req.u.truncate.index = get_u64le(r);
		break;
	case 'D':
		req.op = STORE_OP_DROP;
		break;
	default:
		return STORE_DAMAGED;
	}
	return r->bad ? STORE_DAMAGED : each(arg, log, &req);
}

static int each_of_record(const struct found *f, journal_each each, void *arg)
{
	struct reader r = reader_of(f->operations);
	int rc = 0;
	while (rc == 0 && reader_left(&r) > 0)
		rc = each_operation(&r, each, arg);
	return rc;
}

/* Nothing that was durable may lie behind the end. */
static int check_rest(const struct journal *j, const uint8_t *file, const char **ret_why)
{
	struct found f;
	for (uint64_t at = j->at; at < j->bytes; at += JOURNAL_BLOCK) {
		if (!record_at(j, file, at, &f) || f.generation < j->generation)
			continue;
		*ret_why = f.generation > j->generation ?
			"data.mdb is older than the journal" :
			"the journal is damaged before its end";
		return STORE_DAMAGED;
	}
	return STORE_OK;
}

static int read_records(struct journal *j, const uint8_t *file, journal_each each, void *arg,
	const char **ret_why)
{
	struct found f;
	while (j->at < j->bytes && record_at(j, file, j->at, &f) && f.generation == j->generation &&
		f.number == j->number) {
		int rc = each_of_record(&f, each, arg);
		if (rc != 0) {
			*ret_why = "a record of the journal does not fit what data.mdb holds";
			return rc;
		}
		j->at += blocks_up(JOURNAL_RECORD + f.operations.n);
		j->number++;
	}
	return check_rest(j, file, ret_why);
}

int journal_read(struct journal *j, uint64_t generation, journal_each each, void *arg,
	const char **ret_why)
{
	journal_restart(j, generation);
	j->used = true; /* perhaps by a write that a crash cut short */
	uint8_t *file = mem_alloc(j->bytes);
	*ret_why = "the journal cannot be read";
	int rc = read_all(j->fd, file, j->bytes) ? read_records(j, file, each, arg, ret_why) : STORE_IO;
	mem_free(file);
	return rc;
}

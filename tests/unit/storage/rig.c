/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/storage/rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { RIG_MEMORY = 512 << 20 };

static void rig_wake(void *arg)
{
	struct rig *r = arg;
	pthread_mutex_lock(&r->lock);
	r->wakes++;
	pthread_cond_signal(&r->woken);
	pthread_mutex_unlock(&r->lock);
}

static void rig_init(struct rig *r)
{
	*r = (struct rig){0};
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->woken, NULL);
}

static const char *rig_base = "/tmp";

void rig_in_memory(void)
{
	struct statfs fs; /* not statvfs(), which fake_disk.c answers */
	if (statfs("/dev/shm", &fs) == 0 && access("/dev/shm", W_OK) == 0 &&
		fs.f_bavail * (uint64_t)fs.f_bsize > RIG_MEMORY)
		rig_base = "/dev/shm";
}

void rig_init_memory(struct rig *r)
{
	rig_init(r);
	store_port_init(&r->port, NULL, rig_wake, r);
}

void rig_open(struct rig *r)
{
	char err[256] = "";
	int rc = store_open(&r->store, r->dir, NULL, err, sizeof err);
	if (rc != 0)
		fail_msg("store_open: %s: %s", store_strerror(rc), err);
	store_port_init(&r->port, r->store, rig_wake, r);
}

void rig_init_disk(struct rig *r)
{
	rig_init(r);
	const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : rig_base;
	snprintf(r->dir, sizeof r->dir, "%s/warren-store-XXXXXX", base);
	assert_non_null(mkdtemp(r->dir));
	rig_open(r);
}

void rig_close(struct rig *r)
{
	store_port_done(&r->port);
	if (r->store != NULL)
		store_close(r->store);
	r->store = NULL;
}

void rig_reopen(struct rig *r)
{
	rig_close(r);
	rig_open(r);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void rig_done(struct rig *r)
{
	if (r->store != NULL || r->dir[0] == 0)
		rig_close(r);
	if (r->dir[0] != 0)
		nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	pthread_cond_destroy(&r->woken);
	pthread_mutex_destroy(&r->lock);
}

int rig_check(struct rig *r)
{
	char err[256] = "";
	fflush(stdout);
	int out = dup(STDOUT_FILENO);
	int null = open("/dev/null", O_WRONLY);
	dup2(null, STDOUT_FILENO);
	int rc = store_check(r->dir, err, sizeof err);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(null);
	close(out);
	if (rc != 0)
		printf("store_check: %s: %s\n", store_strerror(rc), err);
	return rc;
}

struct store_log *rig_log(struct rig *r, uint64_t group)
{
	return r->store != NULL ? store_log_open(&r->port, group) : memory_log_open(&r->port, group);
}

void rig_poll(struct rig *r)
{
	if (r->polls++ % 2 == 0)
		store_port_write(&r->port);
	else
		store_port_flush(&r->port);
	pthread_mutex_lock(&r->lock);
	while (!store_port_ready(&r->port))
		pthread_cond_wait(&r->woken, &r->lock);
	pthread_mutex_unlock(&r->lock);
	assert_true(store_port_poll(&r->port) > 0);
}

static void rig_req_finished(struct store_req *req)
{
	LIST_ENTRY(req, struct rig_req, req)->done = true;
}

void rig_req_init(struct rig_req *q)
{
	memset(q, 0, sizeof *q);
	q->req.done = rig_req_finished;
}

void rig_wait(struct rig *r, struct rig_req *q)
{
	while (!q->done)
		rig_poll(r);
}

void entry_fill(uint8_t *p, size_t n, uint64_t group, uint64_t index, uint64_t term)
{
	uint64_t x = group * 1000003 + index * 7919 + term * 104729 + n + 1;
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		memcpy(p + i, &x, 8);
	}
	for (; i < n; i++)
		p[i] = (uint8_t)(x >> (i % 8));
}

bool entry_is(const uint8_t *p, size_t n, uint64_t group, uint64_t index, uint64_t term)
{
	uint8_t *want = mem_alloc(n);
	entry_fill(want, n, group, index, term);
	bool same = memcmp(p, want, n) == 0;
	mem_free(want);
	return same;
}

void append_submit(struct store_log *log, struct rig_req *q, uint64_t first, unsigned n,
	uint64_t term, size_t bytes)
{
	struct store_entry *entries = mem_alloc(n * sizeof *entries);
	struct blob *blob = blob_new(n * bytes); /* all in one block, as a batch from a link is */
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = blob->data + i * bytes;
		entry_fill(p, bytes, log->group, first + i, term);
		entries[i] = (struct store_entry){
			.term = term, .type = (uint16_t)(first + i), .blob = blob, .p = p, .n = bytes};
	}
	rig_req_init(q);
	store_log_append(log, &q->req, first, entries, n);
	blob_unref(blob);
	mem_free(entries);
}

void do_hard(struct rig *r, struct store_log *log, uint64_t term, uint64_t vote)
{
	struct rig_req q;
	rig_req_init(&q);
	store_log_hard(log, &q.req, term, vote);
	rig_wait(r, &q);
}

void do_append(struct rig *r, struct store_log *log, uint64_t first, unsigned n, uint64_t term,
	size_t bytes)
{
	struct rig_req q;
	append_submit(log, &q, first, n, term, bytes);
	rig_wait(r, &q);
}

void do_truncate(struct rig *r, struct store_log *log, uint64_t index)
{
	struct rig_req q;
	rig_req_init(&q);
	store_log_truncate(log, &q.req, index);
	rig_wait(r, &q);
}

static void fill_snapshot(struct rig_req *q, uint64_t index, uint64_t term)
{
	q->req.u.snapshot.index = index;
	q->req.u.snapshot.term = term;
	q->req.u.snapshot.conf_index = 1;
	q->req.u.snapshot.conf = slice_str("conf");
	q->req.u.snapshot.data = slice_str("state");
}

static void submit_snapshot(struct store_log *log, struct rig_req *q, uint64_t index, uint64_t term)
{
	fill_snapshot(q, index, term);
	store_log_snapshot(log, &q->req);
}

void do_snapshot(struct rig *r, struct store_log *log, uint64_t index, uint64_t term,
	const struct store_range *live, unsigned n_live)
{
	struct rig_req q;
	rig_req_init(&q);
	q.req.u.snapshot.live = (struct store_range *)(uintptr_t)live;
	q.req.u.snapshot.n_live = n_live;
	submit_snapshot(log, &q, index, term);
	rig_wait(r, &q);
}

void do_switch(struct rig *r, struct store_log *log, struct store_log *staged, uint64_t index,
	uint64_t term)
{
	struct rig_req q;
	rig_req_init(&q);
	fill_snapshot(&q, index, term);
	store_log_switch(staged, &q.req);
	rig_wait(r, &q);
	store_log_close(log);
}

struct store_log *do_install(struct rig *r, struct store_log *log, uint64_t index, uint64_t term)
{
	struct store_log *staged = store_log_stage(log);
	do_switch(r, log, staged, index, term);
	return staged;
}

void do_rows(struct rig *r, struct store_log *log, uint64_t index, struct store_row *rows,
	unsigned n_rows)
{
	struct rig_req q;
	rig_req_init(&q);
	q.req.u.snapshot.rows = rows;
	q.req.u.snapshot.n_rows = n_rows;
	submit_snapshot(log, &q, index, 1);
	rig_wait(r, &q);
}

void do_drop(struct rig *r, struct store_log *log)
{
	struct rig_req q;
	rig_req_init(&q);
	store_log_drop(log, &q.req);
	rig_wait(r, &q);
}

bool has_entry(struct store_log *log, uint64_t index, uint64_t term, size_t bytes)
{
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	int rc = store_log_fetch(log, index, &blob, &p, &n);
	if (rc == STORE_NOTFOUND)
		return false;
	assert_int_equal(rc, 0);
	assert_int_equal(n, bytes);
	assert_true(entry_is(p, n, log->group, index, term));
	blob_unref(blob);
	return true;
}

void check_load(struct store_log *log, uint64_t term, uint64_t vote, uint64_t snapshot,
	uint64_t last, size_t bytes)
{
	struct store_load load;
	assert_int_equal(store_log_load(log, &load), 0);
	assert_true(load.exists);
	assert_int_equal(load.term, term);
	assert_int_equal(load.vote, vote);
	assert_int_equal(load.has_snapshot, snapshot > 0);
	assert_int_equal(load.snapshot_index, snapshot);
	assert_int_equal(load.first, snapshot + 1);
	assert_int_equal(load.first + load.n_entries - 1, last);
	for (size_t i = 0; i < load.n_entries; i++) {
		const struct store_entry *e = &load.entries[i];
		assert_int_equal(e->n, bytes);
		assert_int_equal(e->type, (uint16_t)(load.first + i));
		assert_true(entry_is(e->p, e->n, log->group, load.first + i, e->term));
	}
	store_load_done(&load);
}

void wait_until(bool (*holds)(void *arg), void *arg)
{
	const struct timespec t = {.tv_nsec = 5 * 1000000};
	for (int i = 0; i < 4000; i++) {
		if (holds(arg))
			return;
		nanosleep(&t, NULL);
	}
	fail_msg("waited too long");
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_disk.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/log_ops.h"

/* What is durable of a group is held by a memory log, which outlives the open ones. */
struct sim_media {
	struct list link;
	uint64_t group;
	bool exists;
	bool staged; /* beside the group's own, or one that was switched from */
	struct store_log *log;
};

struct sim_log {
	struct store_log base;
	struct sim_disk *disk;
	struct sim_media *media;
};

static struct sim_log *sim_log_of(struct store_log *log)
{
	return (struct sim_log *)((char *)log - offsetof(struct sim_log, base));
}

/* ---- media ---------------------------------------------------------------------------------- */

static struct sim_media *find(struct sim_disk *d, uint64_t group)
{
	LIST_EACH(node, &d->media)
	{
		struct sim_media *m = LIST_ENTRY(node, struct sim_media, link);
		if (m->group == group && !m->staged)
			return m;
	}
	return NULL;
}

static struct sim_media *media_get(struct sim_disk *d, uint64_t group)
{
	struct sim_media *m = find(d, group);
	if (m != NULL)
		return m;
	m = MEM_NEW(struct sim_media);
	m->group = group;
	m->log = memory_log_open(&d->own, group);
	list_push_back(&d->media, &m->link);
	return m;
}

static void media_free(struct sim_media *m)
{
	list_remove(&m->link);
	store_log_close(m->log);
	mem_free(m);
}

/* ---- rows ----------------------------------------------------------------------------------- */

struct sim_row {
	struct list link;
	struct buf key, value;
};

static void row_free(struct sim_row *r)
{
	list_remove(&r->link);
	buf_done(&r->key);
	buf_done(&r->value);
	mem_free(r);
}

static int compare(struct slice a, struct slice b)
{
	int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* Value NULL deletes it. */
static void row_put(struct sim_disk *d, const struct store_row *row)
{
	struct list *at = d->rows.next;
	int order = 1;
	while (at != &d->rows && (order = compare(buf_slice(&LIST_ENTRY(at, struct sim_row, link)->key),
					  row->key)) < 0)
		at = at->next;
	if (at != &d->rows && order == 0) {
		at = at->next;
		row_free(LIST_ENTRY(at->prev, struct sim_row, link));
	}
	if (row->value.p == NULL)
		return;
	struct sim_row *r = MEM_NEW(struct sim_row);
	buf_put_slice(&r->key, row->key);
	buf_put_slice(&r->value, row->value);
	list_push_back(at, &r->link); /* in front of it */
}

void sim_disk_each_row(struct sim_disk *d,
	void (*each)(void *arg, struct slice key, struct slice value), void *arg)
{
	LIST_EACH(node, &d->rows)
	{
		const struct sim_row *r = LIST_ENTRY(node, struct sim_row, link);
		each(arg, buf_slice(&r->key), buf_slice(&r->value));
	}
}

/* ---- writing -------------------------------------------------------------------------------- */

static void nothing(struct store_req *req)
{
	(void)req;
}

static void switch_to(struct sim_disk *d, struct sim_media *m, struct store_req *copy)
{
	find(d, m->group)->staged = true;
	m->staged = false;
	store_log_switch(m->log, copy);
}

static void write_out(struct store_req *req)
{
	struct sim_media *m = sim_log_of(req->log)->media;
	struct store_req copy = {.done = nothing};
	m->exists = true;
	switch (req->op) {
	case STORE_OP_HARD:
		store_log_hard(m->log, &copy, req->u.hard.term, req->u.hard.vote);
		break;
	case STORE_OP_APPEND:
		store_log_append(
			m->log, &copy, req->u.append.first, req->u.append.entries, req->u.append.n);
		break;
	case STORE_OP_TRUNCATE:
		store_log_truncate(m->log, &copy, req->u.truncate.index);
		break;
	case STORE_OP_SNAPSHOT:
		copy.u.snapshot = req->u.snapshot;
		store_log_snapshot(m->log, &copy);
		for (unsigned i = 0; i < req->u.snapshot.n_rows; i++)
			row_put(sim_log_of(req->log)->disk, &req->u.snapshot.rows[i]);
		break;
	case STORE_OP_RELEASE:
		store_log_release(m->log, req->u.release.index);
		return;
	case STORE_OP_DROP:
		store_log_drop(m->log, &copy);
		m->exists = false;
		break;
	case STORE_OP_SWITCH:
		copy.u.snapshot = req->u.snapshot;
		switch_to(sim_log_of(req->log)->disk, m, &copy);
		break;
	}
	store_port_poll(&sim_log_of(req->log)->disk->own);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void finish(struct store_req *req)
{
	if (req->op == STORE_OP_RELEASE) {
		mem_free(req);
		return;
	}
	if (req->op == STORE_OP_APPEND) {
		for (unsigned i = 0; i < req->u.append.n; i++)
			blob_unref(req->u.append.entries[i].blob);
		mem_free(req->u.append.entries);
		req->u.append.entries = NULL;
	}
	list_push_back(&req->log->port->completed, &req->link);
}

static void finish_all(struct list *list, bool effect)
{
	struct list *node;
	while ((node = list_pop(list)) != NULL) {
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		if (effect)
			write_out(req);
		finish(req);
	}
}

static void on_commit(void *arg, uint64_t life)
{
	struct sim_disk *d = arg;
	if (life != d->life)
		return;
	if (d->held || d->sim->now_us < d->stalled_us) {
		uint64_t wait = d->held ? 10000 : d->stalled_us - d->sim->now_us;
		sim_after(d->sim, wait, on_commit, d, life);
		return;
	}
	finish_all(&d->writing, true);
	d->busy = false;
	d->commits++;
	d->ready(d->arg);
}

void sim_disk_flush(struct sim_disk *d)
{
	if (d->dead) {
		finish_all(&d->queued, false);
		return;
	}
	if (d->busy || list_empty(&d->queued))
		return;
	d->busy = true;
	list_move_all(&d->writing, &d->queued);
	sim_after(d->sim, sim_between(d->sim, d->min_us, d->max_us), on_commit, d, d->life);
}

void sim_disk_crash(struct sim_disk *d, bool part)
{
	d->dead = true;
	d->life++;
	d->busy = false;
	if (!d->held && sim_chance(d->sim, 50)) {
		size_t n = SIZE_MAX;
		if (part)
			n = sim_between(d->sim, 0, 12);
		struct list *node;
		while (n-- > 0 && (node = list_pop(&d->writing)) != NULL) {
			struct store_req *req = LIST_ENTRY(node, struct store_req, link);
			write_out(req);
			finish(req);
		}
	}
	finish_all(&d->writing, false);
	finish_all(&d->queued, false);
}

void sim_disk_restart(struct sim_disk *d)
{
	d->dead = false;
	d->held = false;
	d->stalled_us = 0;
	LIST_EACH_SAFE(node, &d->media)
	{
		struct sim_media *m = LIST_ENTRY(node, struct sim_media, link);
		if (m->staged)
			media_free(m);
	}
}

/* ---- the backend ---------------------------------------------------------------------------- */

static int op_load(struct store_log *log, struct store_load *ret_load)
{
	return store_log_load(sim_log_of(log)->media->log, ret_load);
}

static void op_submit(struct store_log *log, struct store_req *req)
{
	list_push_back(&sim_log_of(log)->disk->queued, &req->link);
}

static void op_retain(struct store_log *log, const struct store_range *live, unsigned n)
{
	store_log_retain(sim_log_of(log)->media->log, live, n);
}

static void op_release(struct store_log *log, uint64_t index)
{
	struct store_req *req = MEM_NEW(struct store_req);
	req->op = STORE_OP_RELEASE;
	req->log = log;
	req->u.release.index = index;
	list_push_back(&sim_log_of(log)->disk->queued, &req->link);
}

static int op_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n)
{
	return store_log_fetch(sim_log_of(log)->media->log, index, ret_blob, ret_p, ret_n);
}

/* Releases may be under way; they end with the log here. */
static void drop_releases(struct list *list, const struct store_log *log)
{
	LIST_EACH_SAFE(node, list)
	{
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		if (req->log != log)
			continue;
		assert(req->op == STORE_OP_RELEASE);
		list_remove(&req->link);
		mem_free(req);
	}
}

static void op_close(struct store_log *log)
{
	struct sim_log *l = sim_log_of(log);
	drop_releases(&l->disk->queued, log);
	drop_releases(&l->disk->writing, log);
	mem_free(l);
}

static struct store_log *op_stage(struct store_log *log);

static const struct store_log_ops ops = {
	.load = op_load,
	.submit = op_submit,
	.retain = op_retain,
	.release = op_release,
	.fetch = op_fetch,
	.stage = op_stage,
	.close = op_close,
};

static struct store_log *log_new(
	struct sim_disk *d, struct store_port *port, struct sim_media *media)
{
	struct sim_log *l = MEM_NEW(struct sim_log);
	l->base = (struct store_log){.ops = &ops, .port = port, .group = media->group};
	l->disk = d;
	l->media = media;
	return &l->base;
}

static struct store_log *op_stage(struct store_log *log)
{
	struct sim_log *own = sim_log_of(log);
	struct sim_media *m = MEM_NEW(struct sim_media);
	m->group = log->group;
	m->staged = true;
	m->log = store_log_stage(own->media->log);
	list_push_back(&own->disk->media, &m->link);
	return log_new(own->disk, log->port, m);
}

struct store_log *sim_disk_open(struct sim_disk *d, struct store_port *port, uint64_t group)
{
	return log_new(d, port, media_get(d, group));
}

bool sim_disk_has(struct sim_disk *d, uint64_t group)
{
	const struct sim_media *m = find(d, group);
	return m != NULL && m->exists;
}

void sim_disk_each(struct sim_disk *d, void (*each)(void *arg, uint64_t group), void *arg)
{
	LIST_EACH(node, &d->media)
	{
		const struct sim_media *m = LIST_ENTRY(node, struct sim_media, link);
		if (m->exists && !m->staged)
			each(arg, m->group);
	}
}

/* ---- life ----------------------------------------------------------------------------------- */

void sim_disk_init(struct sim_disk *d, struct sim *sim, void (*ready)(void *arg), void *arg)
{
	*d = (struct sim_disk){
		.sim = sim, .ready = ready, .arg = arg, .min_us = 1000, .max_us = 20000};
	list_init(&d->rows);
	list_init(&d->media);
	list_init(&d->queued);
	list_init(&d->writing);
	store_port_init(&d->own, NULL, NULL, NULL);
}

void sim_disk_wipe(struct sim_disk *d)
{
	LIST_EACH_SAFE(node, &d->media)
	{
		media_free(LIST_ENTRY(node, struct sim_media, link));
	}
	LIST_EACH_SAFE(node, &d->rows)
	{
		row_free(LIST_ENTRY(node, struct sim_row, link));
	}
}

void sim_disk_done(struct sim_disk *d)
{
	assert(list_empty(&d->queued) && list_empty(&d->writing));
	sim_disk_wipe(d);
	store_port_done(&d->own);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/raft/disk.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/log_ops.h"

struct open_log {
	struct store_log base;
	struct disk_log *on;
	uint64_t submitted_snapshot;
};

static struct open_log *open_log_of(struct store_log *log)
{
	return (struct open_log *)((char *)log - offsetof(struct open_log, base));
}

void disk_init(struct disk *d)
{
	*d = (struct disk){0};
	list_init(&d->logs);
	list_init(&d->queued);
}

static void cut(struct disk_log *l, size_t n)
{
	while (l->n > n)
		mem_free(l->entries[--l->n].p);
}

static void wipe(struct disk_log *l)
{
	cut(l, 0);
	mem_free(l->entries);
	buf_done(&l->conf);
	buf_done(&l->data);
	list_remove(&l->link);
	mem_free(l);
}

void disk_done(struct disk *d)
{
	assert(list_empty(&d->queued));
	LIST_EACH_SAFE(node, &d->logs)
	wipe(LIST_ENTRY(node, struct disk_log, link));
}

struct disk_log *disk_find(struct disk *d, uint64_t group)
{
	LIST_EACH(node, &d->logs)
	{
		struct disk_log *l = LIST_ENTRY(node, struct disk_log, link);
		if (l->group == group)
			return l;
	}
	return NULL;
}

static struct disk_log *disk_log_new(struct disk *d, uint64_t group)
{
	struct disk_log *l = MEM_NEW(struct disk_log);
	l->disk = d;
	l->group = group;
	list_push_back(&d->logs, &l->link);
	return l;
}

static void push(struct disk_log *l, const struct disk_entry *e)
{
	if ((l->n & (l->n - 1)) == 0)
		l->entries =
			mem_realloc(l->entries, (l->n > 0 ? 2 * l->n : 1) * sizeof *l->entries);
	l->entries[l->n] = *e;
	l->entries[l->n++].p = e->p != NULL ? mem_dup(e->p, e->n) : NULL;
}

void disk_clone(struct disk *ret, const struct disk *d)
{
	disk_init(ret);
	LIST_EACH(node, &d->logs)
	{
		const struct disk_log *from = LIST_ENTRY(node, struct disk_log, link);
		struct disk_log *l = disk_log_new(ret, from->group);
		struct list link = l->link;
		*l = *from;
		l->link = link;
		l->disk = ret;
		l->conf = l->data = BUF_EMPTY;
		buf_put_slice(&l->conf, buf_slice(&from->conf));
		buf_put_slice(&l->data, buf_slice(&from->data));
		l->entries = NULL;
		l->n = 0;
		for (size_t i = 0; i < from->n; i++)
			push(l, &from->entries[i]);
	}
}

static bool in_ranges(uint64_t index, const struct store_range *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (index >= r[i].from && index <= r[i].to)
			return true;
	return false;
}

static void forget_dead(struct disk_log *l, uint64_t from, uint64_t to,
	const struct store_range *live, unsigned n_live)
{
	for (uint64_t i = from; i <= to; i++) {
		struct disk_entry *e = &l->entries[i - 1];
		if (in_ranges(i, live, n_live))
			continue; /* dead already if released after the snapshot that calls it live
				   */
		mem_free(e->p);
		e->p = NULL;
	}
}

static void append(struct disk_log *l, struct store_req *req)
{
	assert(req->u.append.first == l->n + 1);
	for (unsigned i = 0; i < req->u.append.n; i++) {
		const struct store_entry *e = &req->u.append.entries[i];
		assert(e->term > 0 && e->term <= l->term);
		assert(e->p >= e->blob->data && e->p + e->n <= e->blob->data + e->blob->cap);
		push(l, &(struct disk_entry){
				.term = e->term, .type = e->type, .p = (uint8_t *)e->p, .n = e->n});
		blob_unref(e->blob);
	}
	mem_free(req->u.append.entries);
}

static void snapshot(struct disk_log *l, const struct store_req *req)
{
	assert(req->u.snapshot.index > l->snapshot_index && req->u.snapshot.index <= l->n);
	assert(l->entries[req->u.snapshot.index - 1].term == req->u.snapshot.term);
	forget_dead(l, l->snapshot_index + 1, req->u.snapshot.index, req->u.snapshot.live,
		req->u.snapshot.n_live);
	l->has_snapshot = true;
	l->snapshots++;
	l->snapshot_index = req->u.snapshot.index;
	l->snapshot_term = req->u.snapshot.term;
	l->snapshot_conf_index = req->u.snapshot.conf_index;
	buf_clear(&l->conf);
	buf_put_slice(&l->conf, req->u.snapshot.conf);
	buf_clear(&l->data);
	buf_put_slice(&l->data, req->u.snapshot.data);
}

static void carry_out(struct store_req *req)
{
	struct open_log *o = open_log_of(req->log);
	struct disk_log *l = o->on;
	l->exists = true;
	switch (req->op) {
	case STORE_OP_HARD:
		assert(req->u.hard.term >= l->term);
		l->term = req->u.hard.term;
		l->vote = req->u.hard.vote;
		break;
	case STORE_OP_APPEND:
		append(l, req);
		break;
	case STORE_OP_TRUNCATE:
		cut(l, req->u.truncate.index - 1);
		break;
	case STORE_OP_SNAPSHOT:
		snapshot(l, req);
		break;
	case STORE_OP_DROP:
		wipe(l);
		o->on = NULL;
		break;
	case STORE_OP_SWITCH: /* for members alone nothing is staged */
	case STORE_OP_RELEASE:
		assert(!"not a request");
	}
	list_push_back(&req->log->port->completed, &req->link);
}

unsigned disk_commit(struct disk *d, unsigned max)
{
	unsigned n = 0;
	struct list *node;
	while (n < max && (node = list_pop(&d->queued)) != NULL) {
		carry_out(LIST_ENTRY(node, struct store_req, link));
		n++;
	}
	return n;
}

static void op_submit(struct store_log *log, struct store_req *req)
{
	struct open_log *o = open_log_of(log);
	if (req->op == STORE_OP_SNAPSHOT)
		o->submitted_snapshot = req->u.snapshot.index;
	list_push_back(&o->on->disk->queued, &req->link);
}

static int op_load(struct store_log *log, struct store_load *ret_load)
{
	const struct disk_log *l = open_log_of(log)->on;
	struct store_load load = {
		.exists = l->exists,
		.term = l->term,
		.vote = l->vote,
		.has_snapshot = l->has_snapshot,
		.snapshot_index = l->snapshot_index,
		.snapshot_term = l->snapshot_term,
		.snapshot_conf_index = l->snapshot_conf_index,
		.first = l->snapshot_index + 1,
		.n_entries = l->n - l->snapshot_index,
	};
	buf_put_slice(&load.snapshot_conf, buf_slice(&l->conf));
	buf_put_slice(&load.snapshot_data, buf_slice(&l->data));
	load.entries = mem_alloc(load.n_entries * sizeof *load.entries);
	for (size_t i = 0; i < load.n_entries; i++) {
		const struct disk_entry *e = &l->entries[l->snapshot_index + i];
		/* Every other entry not at the start of its block. */
		size_t at = i & 1;
		struct blob *b = blob_new(e->n + at);
		memcpy(b->data + at, e->p, e->n);
		load.entries[i] = (struct store_entry){
			.term = e->term, .type = e->type, .blob = b, .p = b->data + at, .n = e->n};
	}
	*ret_load = load;
	return 0;
}

static void op_retain(struct store_log *log, const struct store_range *live, unsigned n)
{
	struct disk_log *l = open_log_of(log)->on;
	l->disk->retained += n;
	forget_dead(l, 1, l->snapshot_index, live, n);
}

static void op_release(struct store_log *log, uint64_t index)
{
	struct open_log *o = open_log_of(log);
	struct disk_log *l = o->on;
	l->disk->released++;
	assert(index <= l->snapshot_index || index <= o->submitted_snapshot);
	struct disk_entry *e = &l->entries[index - 1];
	if (index > l->snapshot_index)
		return; /* the snapshot under way was told that it is live; that is good enough here
			 */
	mem_free(e->p);
	e->p = NULL;
}

static int op_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n)
{
	struct disk_log *l = open_log_of(log)->on;
	if (index == 0 || index > l->n || l->entries[index - 1].p == NULL)
		return STORE_NOTFOUND;
	const struct disk_entry *e = &l->entries[index - 1];
	l->disk->fetched++;
	*ret_blob = blob_new(e->n);
	memcpy((*ret_blob)->data, e->p, e->n);
	*ret_p = (*ret_blob)->data;
	*ret_n = e->n;
	return 0;
}

static void op_close(struct store_log *log)
{
	mem_free(open_log_of(log));
}

static const struct store_log_ops disk_ops = {
	.load = op_load,
	.submit = op_submit,
	.retain = op_retain,
	.release = op_release,
	.fetch = op_fetch,
	.close = op_close,
};

struct store_log *disk_log_open(struct disk *d, struct store_port *port, uint64_t group)
{
	struct open_log *o = MEM_NEW(struct open_log);
	o->base = (struct store_log){.ops = &disk_ops, .port = port, .group = group};
	o->on = disk_find(d, group);
	if (o->on == NULL)
		o->on = disk_log_new(d, group);
	o->submitted_snapshot = o->on->snapshot_index;
	return &o->base;
}

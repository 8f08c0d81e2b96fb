/* SPDX-License-Identifier: Apache-2.0
 *
 * A log in memory: RAM nodes, non-durable queues, tests. A request is carried out when it is
 * submitted and completes with the next store_port_poll(); entries share the submitter's blobs.
 * Rows of the metadata table are not kept: nothing reads them back from a log that forgets.
 */
#include <assert.h>

#include "src/base/mem.h"
#include "storage/index.h"
#include "storage/log_ops.h"

struct memory_log {
	struct store_log base;
	struct index index; /* `at` is a struct blob, referenced */
	struct memory_log *replaces; /* staged: the log it is staged beside; else NULL */
	bool exists;
	uint64_t term;
	uint64_t vote;
	bool has_snapshot;
	uint64_t snapshot_index; /* 0 without one */
	uint64_t snapshot_term;
	uint64_t snapshot_conf_index;
	struct buf snapshot_conf;
	struct buf snapshot_data;
};

static struct memory_log *memory_log_of(struct store_log *log)
{
	return (struct memory_log *)((char *)log - offsetof(struct memory_log, base));
}

static void memory_entry_dies(void *arg, const struct index_entry *e)
{
	(void)arg;
	blob_unref(e->at);
}

static void memory_append(struct memory_log *m, struct store_req *req)
{
	uint64_t first = req->u.append.first;
	uint64_t last = index_last(&m->index);
	if (last < m->snapshot_index)
		last = m->snapshot_index;
	assert(first > m->snapshot_index && (first <= last + 1 || m->replaces != NULL));
	index_truncate(&m->index, first, memory_entry_dies, NULL);
	for (unsigned i = 0; i < req->u.append.n; i++) {
		const struct store_entry *from = &req->u.append.entries[i];
		struct index_entry e = {
			.index = first + i,
			.term = from->term,
			.type = from->type,
			.at = from->blob, /* the reference taken by store_log_append() */
			.offset = (uint32_t)(from->p - from->blob->data),
			.length = (uint32_t)from->n,
		};
		index_push(&m->index, &e);
	}
	mem_free(req->u.append.entries);
	req->u.append.entries = NULL;
}

static void memory_put_snapshot(struct memory_log *m, const struct store_req *req)
{
	m->has_snapshot = true;
	m->snapshot_index = req->u.snapshot.index;
	m->snapshot_term = req->u.snapshot.term;
	m->snapshot_conf_index = req->u.snapshot.conf_index;
	buf_clear(&m->snapshot_conf);
	buf_put_slice(&m->snapshot_conf, req->u.snapshot.conf);
	buf_clear(&m->snapshot_data);
	buf_put_slice(&m->snapshot_data, req->u.snapshot.data);
}

static void memory_snapshot(struct memory_log *m, const struct store_req *req)
{
	assert(req->u.snapshot.index >= m->snapshot_index);
	index_keep(&m->index, m->snapshot_index + 1, req->u.snapshot.index, req->u.snapshot.live,
		req->u.snapshot.n_live, memory_entry_dies, NULL);
	memory_put_snapshot(m, req);
}

static void memory_drop(struct memory_log *m)
{
	index_truncate(&m->index, 0, memory_entry_dies, NULL);
	index_done(&m->index);
	buf_done(&m->snapshot_conf);
	buf_done(&m->snapshot_data);
	*m = (struct memory_log){.base = m->base, .replaces = m->replaces};
}

static void memory_switch(struct memory_log *m, const struct store_req *req)
{
	assert(m->replaces != NULL && index_last(&m->index) <= req->u.snapshot.index);
	m->term = m->replaces->term;
	m->vote = m->replaces->vote;
	memory_drop(m->replaces);
	m->replaces = NULL;
	memory_put_snapshot(m, req);
}

static void memory_submit(struct store_log *log, struct store_req *req)
{
	struct memory_log *m = memory_log_of(log);
	m->exists = true;
	switch (req->op) {
	case STORE_OP_HARD:
		m->term = req->u.hard.term;
		m->vote = req->u.hard.vote;
		break;
	case STORE_OP_APPEND:
		memory_append(m, req);
		break;
	case STORE_OP_TRUNCATE:
		assert(req->u.truncate.index > m->snapshot_index);
		index_truncate(&m->index, req->u.truncate.index, memory_entry_dies, NULL);
		break;
	case STORE_OP_SNAPSHOT:
		memory_snapshot(m, req);
		break;
	case STORE_OP_RELEASE: /* not a request here */
		break;
	case STORE_OP_DROP:
		memory_drop(m);
		break;
	case STORE_OP_SWITCH:
		memory_switch(m, req);
		break;
	}
	list_push_back(&log->port->completed, &req->link);
}

static void memory_retain(struct store_log *log, const struct store_range *live, unsigned n)
{
	struct memory_log *m = memory_log_of(log);
	index_keep(&m->index, 0, m->snapshot_index, live, n, memory_entry_dies, NULL);
}

static void memory_release(struct store_log *log, uint64_t index)
{
	struct memory_log *m = memory_log_of(log);
	assert(index <= m->snapshot_index);
	index_drop(&m->index, index, memory_entry_dies, NULL);
}

static void memory_load_entries(const struct memory_log *m, struct store_load *load)
{
	size_t from = index_from(&m->index, m->snapshot_index + 1);
	size_t n = m->index.n - from;
	load->first = m->snapshot_index + 1;
	load->entries = n > 0 ? mem_alloc(n * sizeof *load->entries) : NULL;
	load->n_entries = n;
	for (size_t i = 0; i < n; i++) {
		const struct index_entry *e = &m->index.e[from + i];
		struct blob *blob = blob_ref(e->at);
		load->entries[i] = (struct store_entry){
			.term = e->term,
			.type = e->type,
			.blob = blob,
			.p = blob->data + e->offset,
			.n = e->length,
		};
	}
}

static int memory_load(struct store_log *log, struct store_load *ret_load)
{
	struct memory_log *m = memory_log_of(log);
	struct store_load load = {
		.exists = m->exists,
		.term = m->term,
		.vote = m->vote,
		.has_snapshot = m->has_snapshot,
		.snapshot_index = m->snapshot_index,
		.snapshot_term = m->snapshot_term,
		.snapshot_conf_index = m->snapshot_conf_index,
	};
	buf_put_slice(&load.snapshot_conf, buf_slice(&m->snapshot_conf));
	buf_put_slice(&load.snapshot_data, buf_slice(&m->snapshot_data));
	memory_load_entries(m, &load);
	*ret_load = load;
	return STORE_OK;
}

static int memory_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n)
{
	struct memory_log *m = memory_log_of(log);
	const struct index_entry *e = index_find(&m->index, index);
	if (e == NULL)
		return STORE_NOTFOUND;
	*ret_blob = blob_ref(e->at);
	*ret_p = (*ret_blob)->data + e->offset;
	*ret_n = e->length;
	return STORE_OK;
}

static void memory_close(struct store_log *log)
{
	struct memory_log *m = memory_log_of(log);
	memory_drop(m);
	mem_free(m);
}

static struct store_log *memory_stage(struct store_log *log)
{
	struct store_log *staged = memory_log_open(log->port, log->group);
	memory_log_of(staged)->replaces = memory_log_of(log);
	return staged;
}

static const struct store_log_ops memory_log_ops = {
	.load = memory_load,
	.submit = memory_submit,
	.retain = memory_retain,
	.release = memory_release,
	.fetch = memory_fetch,
	.stage = memory_stage,
	.close = memory_close,
};

struct store_log *memory_log_open(struct store_port *port, uint64_t group)
{
	struct memory_log *m = MEM_NEW(struct memory_log);
	m->base.ops = &memory_log_ops;
	m->base.port = port;
	m->base.group = group;
	return &m->base;
}

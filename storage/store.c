/* SPDX-License-Identifier: Apache-2.0
 *
 * The front of both backends: fills in a request and passes it on.
 */
#include "storage/store.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/log_ops.h"

const char *store_strerror(int err)
{
	switch ((enum store_err)err) {
	case STORE_OK:
		return "no error";
	case STORE_LOCKED:
		return "the store is in use by another process";
	case STORE_DENIED:
		return "permission denied";
	case STORE_NEWER:
		return "the store was written by a newer version";
	case STORE_DAMAGED:
		return "the store is damaged";
	case STORE_IO:
		return "input/output error";
	case STORE_NOTFOUND:
		return "not found";
	}
	return "unknown error";
}

void store_load_done(struct store_load *load)
{
	for (size_t i = 0; i < load->n_entries; i++)
		blob_unref(load->entries[i].blob);
	mem_free(load->entries);
	buf_done(&load->snapshot_conf);
	buf_done(&load->snapshot_data);
	*load = (struct store_load){0};
}

int store_log_load(struct store_log *log, struct store_load *ret_load)
{
	return log->ops->load(log, ret_load);
}

void store_log_retain(struct store_log *log, const struct store_range *live, unsigned n)
{
	log->ops->retain(log, live, n);
}

static void log_submit(struct store_log *log, struct store_req *req, enum store_op op)
{
	req->log = log;
	req->op = op;
	list_init(&req->link);
	log->ops->submit(log, req);
}

void store_log_hard(struct store_log *log, struct store_req *req, uint64_t term, uint64_t vote)
{
	req->u.hard.term = term;
	req->u.hard.vote = vote;
	log_submit(log, req, STORE_OP_HARD);
}

void store_log_append(struct store_log *log, struct store_req *req, uint64_t first,
	const struct store_entry *entries, unsigned n)
{
	assert(first > 0 && n > 0);
	req->u.append.first = first;
	req->u.append.entries = mem_dup(entries, n * sizeof *entries);
	req->u.append.n = n;
	for (unsigned i = 0; i < n; i++)
		blob_ref(entries[i].blob);
	log_submit(log, req, STORE_OP_APPEND);
}

void store_log_truncate(struct store_log *log, struct store_req *req, uint64_t index)
{
	assert(index > 0);
	req->u.truncate.index = index;
	log_submit(log, req, STORE_OP_TRUNCATE);
}

void store_log_snapshot(struct store_log *log, struct store_req *req)
{
	log_submit(log, req, STORE_OP_SNAPSHOT);
}

void store_log_release(struct store_log *log, uint64_t index)
{
	log->ops->release(log, index);
}

void store_log_drop(struct store_log *log, struct store_req *req)
{
	log_submit(log, req, STORE_OP_DROP);
}

struct store_log *store_log_stage(struct store_log *log)
{
	return log->ops->stage(log);
}

void store_log_switch(struct store_log *staged, struct store_req *req)
{
	log_submit(staged, req, STORE_OP_SWITCH);
}

void store_log_close(struct store_log *log)
{
	log->ops->close(log);
}

int store_log_fetch(struct store_log *log, uint64_t index, struct blob **ret_blob,
	const uint8_t **ret_p, size_t *ret_n)
{
	return log->ops->fetch(log, index, ret_blob, ret_p, ret_n);
}

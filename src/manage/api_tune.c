/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator changes in a node that runs, until it starts again: limits of the alarms, the log, memory.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/manage/api.h"

static const json_int_t BYTES_MAX = (json_int_t)1 << 62;

/* args.share of the machine's memory, or args.bytes. */
static void set_limit(struct api_call *c, enum session_alarm which, double share_max)
{
	const struct api_node *node = api_node(c);
	double share = -1;
	json_int_t bytes = -1;
	if (!api_args(c, "{s?Fs?I}", "share", &share, "bytes", &bytes))
		return;
	bool relative = share >= 0;
	if (relative ? share > share_max : bytes < 0 || bytes > BYTES_MAX) {
		api_fail(c, API_BAD_REQUEST, "a limit is a share of 0 to %g, or a number of bytes", share_max);
		return;
	}
	node->set_limit(node->arg, which,
		&(struct api_limit){relative, share, relative ? 0 : (uint64_t)bytes});
	api_ok(c, NULL);
}

static void set_memory_limit(struct api_call *c)
{
	set_limit(c, SESSION_ALARM_MEMORY, 1);
}

static void set_disk_limit(struct api_call *c)
{
	set_limit(c, SESSION_ALARM_DISK, 100);
}

static void set_log_level(struct api_call *c)
{
	const char *name;
	if (!api_args(c, "{ss}", "level", &name))
		return;
	int level = log_level_of(name);
	if (level < 0) {
		api_fail(c, API_BAD_REQUEST, "level %s is not supported. Try one of debug, info, warning, error, "
					     "critical, none", name);
		return;
	}
	log_info("node", "an operator sets the log level to %s", name);
	log_set_level((enum log_level)level);
	api_ok(c, NULL);
}

/* The log's file, or null. */
static void rotate_logs(struct api_call *c)
{
	const char *file = log_file();
	if (log_reopen() == 0)
		api_ok(c, json_pack("{ss?}", "file", file));
	else
		api_fail(c, API_REFUSED, "%s cannot be opened anew: %s; the log goes where it went", file,
			strerror(errno));
}

/* A thread of its own: a GB takes a tenth of a second, and clients wait for this one. */
struct release {
	uv_work_t work;
	struct api_call *call;
};

static void release(uv_work_t *work)
{
	(void)work;
	mem_release();
}

static void on_released(uv_work_t *work, int status)
{
	struct release *r = work->data;
	struct api_call *c = r->call;
	(void)status;
	worker_deliver(api_node(c)->shards[0].worker);
	mem_free(r);
	api_ok(c, NULL);
}

static void force_gc(struct api_call *c)
{
	struct release *r = MEM_NEW(struct release);
	r->call = c;
	r->work.data = r;
	int rc = uv_queue_work(&api_node(c)->shards[0].worker->loop, &r->work, release, on_released);
	assert(rc == 0); /* it knows no other result where there is something to do */
}

const struct api_verb api_tune_verbs[] = {
	{"set_memory_limit", set_memory_limit, false},
	{"set_disk_limit", set_disk_limit, false},
	{"set_log_level", set_log_level, true},
	{"rotate_logs", rotate_logs, true},
	{"force_gc", force_gc, true},
	{NULL, NULL, false},
};

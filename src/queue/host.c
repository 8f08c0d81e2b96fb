/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host_priv.h"

#include <assert.h>

#include "src/base/mem.h"
#include "src/loop/timer.h"

/* ---- all hosts ---- */

struct queue_hosts *queue_hosts_new(const struct queue_hosts_config *config)
{
	static_assert((int)GROUP_ENTRY_HEADER == (int)COMMAND_ENTRY_HEADER,
		"a section's blob leaves room for the entry's header");
	struct queue_hosts *hs = MEM_NEW(struct queue_hosts);
	hs->config = *config;
	hs->dispatch = dispatch_new(&(struct dispatch_config){.self = config->self,
		.clients = config->clients,
		.clients_of = config->clients_of,
		.node_of = config->node_of,
		.send = config->send,
		.arg = config->arg});
	list_init(&hs->failing);
	list_init(&hs->lazy);
	list_init(&hs->closing);
	hs->lazy_timer = timer_new(config->worker, hosts_on_lazy_timer, hs);
	return hs;
}

void queue_hosts_set_node(struct queue_hosts *hs, uint16_t node)
{
	hs->config.node = node;
}

void queue_hosts_free(struct queue_hosts *hs)
{
	assert(hs->open == 0);
	view_drop(&hs->fetched);
	dispatch_free(hs->dispatch);
	mem_free(hs);
}

unsigned queue_hosts_count(const struct queue_hosts *hs)
{
	return HASH_COUNT(hs->by_id);
}

/* ---- opening and closing ---- */

void host_log_left(void *arg, struct store_log *log)
{
	struct queue_host *h = arg;
	if (h->durable)
		store_log_close(log);
	else
		h->left = log;
}

/* The log of the member that is to be opened. */
static struct store_log *log_of(struct queue_hosts *hs, const struct queue_hosting *q)
{
	struct left_log *left = &hs->left;
	struct store_log *log = left->log;
	if (!q->memory)
		return store_log_open(hs->config.port, q->group);
	if (log == NULL || left->group != q->group || left->member != q->self)
		return memory_log_open(hs->config.port, q->group);
	left->log = NULL;
	return log;
}

static void tell_closed(struct queue_hosts *hs, const struct left_log *left)
{
	hs->left = *left;
	hs->config.closed(hs->config.arg, left->group);
	if (hs->left.log != NULL)
		store_log_close(hs->left.log);
	hs->left = (struct left_log){0};
}

void host_closed(void *arg)
{
	struct queue_host *h = arg;
	struct queue_hosts *hs = h->all;
	struct left_log left = {h->id, h->self, h->left};
	machine_free(h->machine);
	buf_done(&h->config);
	host_drop_early(h);
	expected_done(&h->expected);
	buf_done(&h->turned_away);
	list_remove(&h->closing);
	bool tell = h->group != NULL && hs->config.closed != NULL, last = --hs->open == 0 && hs->closed != NULL;
	mem_free(h);
	if (tell && !last)
		tell_closed(hs, &left);
	else if (left.log != NULL)
		store_log_close(left.log);
	if (last)
		hs->closed(hs->closed_arg);
}

static void host_remove(struct queue_host *h)
{
	HASH_DEL(h->all->by_id, h);
	list_remove(&h->lazy);
	list_remove(&h->failing);
	timer_free(h->timer);
	h->timer = NULL;
}

int queue_hosts_open(struct queue_hosts *hs, const struct queue_hosting *q)
{
	struct queue_host *h = MEM_NEW(struct queue_host);
	h->id = q->group;
	h->self = q->self;
	h->all = hs;
	h->durable = !q->memory;
	h->founds = q->n_members == 1;
	h->begun = q->begun || q->memory || q->n_members != 1;
	list_init(&h->lazy);
	list_init(&h->failing);
	list_init(&h->closing);
	h->machine = machine_new();
	h->timer = timer_new(hs->config.worker, host_on_timer, h);
	command_put_config(&h->config, q->config);
	HASH_ADD(hh, hs->by_id, id, sizeof h->id, h);
	hs->open++;
	struct group_spec spec = {
		.id = q->group,
		.self = q->self,
		.members = q->members,
		.n_members = q->n_members,
		.preferred = q->preferred,
		.alone = q->alone,
		.apart = q->apart,
		.begun = !q->memory && q->begun && q->n_members == 1 && !q->unwritten,
		.log = log_of(hs, q),
		.app = &host_app,
		.arg = h,
	};
	int rc = group_open(&h->group, hs->config.groups, &spec);
	if (rc != 0) {
		host_remove(h);
		host_closed(h);
	}
	return rc;
}

static struct queue_host *hosts_closing(struct queue_hosts *hs, uint64_t group)
{
	LIST_EACH(node, &hs->closing)
	if (LIST_ENTRY(node, struct queue_host, closing)->id == group)
		return LIST_ENTRY(node, struct queue_host, closing);
	return NULL;
}

void queue_hosts_close(struct queue_hosts *hs, uint64_t group, bool drop)
{
	struct queue_host *h = hosts_find(hs, group);
	struct queue_host *closing = hosts_closing(hs, group);
	if (closing != NULL)
		group_close(closing->group, drop);
	if (h == NULL)
		return;
	host_remove(h);
	if (h->leading && !drop)
		host_send_away(h); /* it may lead again, and knows nothing of what is under way then */
	list_push_back(&hs->closing, &h->closing);
	h->elected = h->leading = false;
	if (hs->fetched.group == group)
		view_drop(&hs->fetched);
	group_close(h->group, drop);
}

void queue_hosts_close_all(struct queue_hosts *hs, void (*closed)(void *arg), void *arg)
{
	hs->closed = closed;
	hs->closed_arg = arg;
	timer_free(hs->lazy_timer);
	hs->lazy_timer = NULL;
	if (hs->open == 0) {
		closed(arg);
		return;
	}
	while (hs->by_id != NULL)
		queue_hosts_close(hs, hs->by_id->id, false);
}

bool queue_hosts_closing(struct queue_hosts *hs, uint64_t group)
{
	return hosts_closing(hs, group) != NULL;
}

/* ---- what is known of them ---- */

uint64_t queue_hosts_member(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->self : 0;
}

bool queue_hosts_has(struct queue_hosts *hs, uint64_t group)
{
	return hosts_find(hs, group) != NULL;
}

struct group *queue_hosts_group(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->group : NULL;
}

bool queue_hosts_leads(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL && h->leading;
}

void queue_hosts_each(
	struct queue_hosts *hs, void (*each)(void *arg, uint64_t group, bool leads), void *arg)
{
	struct queue_host *h, *next;
	HASH_ITER(hh, hs->by_id, h, next)
	each(arg, h->id, h->leading);
}

bool queue_hosts_counts(struct queue_hosts *hs, uint64_t group, struct machine_counts *ret)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return false;
	machine_counts(h->machine, ret);
	return true;
}

const struct machine *queue_hosts_machine(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->machine : NULL;
}

bool queue_hosts_head(
	struct queue_hosts *hs, uint64_t group, struct message *ret, struct blob **ret_blob)
{
	struct queue_host *h = hosts_find(hs, group);
	uint64_t index;
	uint32_t offset;
	const uint8_t *p;
	size_t n;
	if (h == NULL || h->failed || !machine_head(h->machine, &index, &offset) ||
		group_fetch(h->group, index, ret_blob, &p, &n) != 0)
		return false;
	if (command_message_at(p, n, offset, ret) == 0)
		return true;
	blob_unref(*ret_blob);
	return false;
}

size_t queue_hosts_cached(const struct queue_hosts *hs)
{
	return groups_cached(hs->config.groups);
}

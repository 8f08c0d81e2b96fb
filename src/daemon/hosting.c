/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/hosting.h"

#include <stdlib.h>

#include "src/base/log.h"
#include "src/daemon/node.h"
#include "src/session/arguments.h"

bool hosting_is_of(const struct shard *s, uint64_t group)
{
	return &s->node->shards[group % s->node->n_shards] == s;
}

static const struct broker_node *own_node(const struct shard *s, const struct broker_queue *q)
{
	return broker_node_find(q->vhost->broker, s->node->identity.node_id);
}

/* The oldest that has not left: its log is here, and one that was given to this node since begins when
 * that is dropped. But not one that an earlier life of the node had in memory, nor one that is lost: its
 * log is its heir's. */
const struct broker_member *hosting_member(const struct shard *s, const struct broker_queue *q)
{
	const struct broker_node *n = own_node(s, q);
	const struct broker_member *oldest = NULL;
	for (unsigned i = 0; n != NULL && i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		if (m->node == n->number && !m->lost &&
			(m->state != BROKER_MEMBER_LEAVING || !m->memory) &&
			(oldest == NULL || m->id < oldest->id))
			oldest = m;
	}
	return oldest;
}

static int compare_members(const void *a, const void *b)
{
	uint64_t x = ((const struct group_member *)a)->id, y = ((const struct group_member *)b)->id;
	return x < y ? -1 : x > y;
}

/* The group's first configuration, the same on all that open it with one, also when another member is
 * preferred meanwhile; returns how many. */
static unsigned first_members(const struct broker_queue *q, const struct broker_member *own,
	struct group_member ret[BROKER_MEMBERS_MAX])
{
	unsigned n = 0;
	if (own->state != BROKER_MEMBER_INITIAL || q->reshaped)
		return 0;
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *node =
			broker_node_by_number(q->vhost->broker, m->node);
		if (m->state == BROKER_MEMBER_INITIAL && node != NULL)
			ret[n++] = (struct group_member){m->id, node->id, true};
	}
	qsort(ret, n, sizeof *ret, compare_members);
	return n;
}

/* Of the first configuration: the queue's first member, if it is in it. */
static uint64_t preferred(
	const struct broker_queue *q, const struct group_member *first, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (first[i].id == q->members[0].id)
			return first[i].id;
	return n > 0 ? first[0].id : 0;
}

/* Nobody else is in the cluster, by its table or by an operator's word. */
static bool is_last_node(const struct broker_queue *q)
{
	return q->vhost->broker->n_nodes == 1;
}

/* It goes on without others, which may have gone on without it. */
static bool is_apart(const struct broker_queue *q, const struct broker_member *m)
{
	return (is_last_node(q) && q->reshaped) || broker_member_inherits(q, m);
}

static void open_queue(struct shard *s, struct broker_queue *q)
{
	struct queue_config config;
	struct group_member first[BROKER_MEMBERS_MAX];
	const struct broker_member *m = hosting_member(s, q);
	if (m == NULL || s->closing || queue_hosts_has(s->hosts, q->group) ||
		queue_hosts_closing(s->hosts, q->group))
		return;
	arguments_queue_config(q, &config);
	unsigned n = first_members(q, m, first);
	bool alone = broker_member_survives(q, m) || is_last_node(q);
	if (alone) {
		first[0] = (struct group_member){m->id, s->node->identity.node_id, true};
		n = 1;
	}
	int rc = queue_hosts_open(s->hosts, &(struct queue_hosting){.group = q->group,
						    .self = m->id,
						    .memory = m->memory,
						    .begun = q->begun,
						    .unwritten = alone && m->unproven,
						    .config = &config,
						    .members = first,
						    .n_members = n,
						    .alone = alone,
						    .apart = is_apart(q, m),
						    .preferred = preferred(q, first, n)});
	if (rc != 0)
		log_error("queue", "queue '%.*s' in vhost '%.*s' (group %lu) cannot be opened: %s",
			SLICE_FMT(q->name), SLICE_FMT(q->vhost->name), (unsigned long)q->group,
			store_strerror(rc));
}

/* It gets its group before anybody uses it: its time runs, or other members are there to get it. */
static bool opens_unused(const struct broker_queue *q)
{
	struct queue_config config;
	arguments_queue_config(q, &config);
	return config.expires_ms != CONFIG_NONE || q->n_members > 1;
}

/* It has a log, or must have one. */
static bool opens_at_start(const struct shard *s, const struct broker_queue *q)
{
	return q->begun || opens_unused(q) || node_has_log(s->node, q->group);
}

void hosting_open_all(struct shard *s)
{
	struct broker *b = catalog_broker(s->catalog);
	for (struct broker_vhost *v = broker_vhost_first(b); v != NULL; v = broker_vhost_next(v))
		for (struct broker_queue *q = broker_queue_first(v); q != NULL;
			q = broker_queue_next(q))
			if (hosting_is_of(s, q->group) && opens_at_start(s, q))
				open_queue(s, q);
}

static bool concerns(const struct shard *s, uint64_t group)
{
	return s->serving && !s->stopping && hosting_is_of(s, group);
}

void hosting_on_added(struct shard *s, struct broker_queue *q)
{
	if (concerns(s, q->group) && opens_unused(q))
		open_queue(s, q);
}

void hosting_on_changed(struct shard *s, struct broker_queue *q)
{
	struct queue_config config;
	if (!concerns(s, q->group))
		return;
	uint64_t open = queue_hosts_member(s->hosts, q->group);
	if (open != 0 && broker_member_find(q, open) == NULL) {
		const struct broker_member *next = hosting_member(s, q);
		queue_hosts_close(s->hosts, q->group, next == NULL || !next->heir);
		return; /* hosting_on_closed() follows */
	}
	arguments_queue_config(q, &config);
	if (!queue_hosts_configure(s->hosts, q->group, &config) && opens_unused(q))
		open_queue(s, q);
	mirrors_look(s->mirrors, q->group);
}

void hosting_reopen(struct shard *s, uint64_t group)
{
	if (concerns(s, group))
		queue_hosts_close(s->hosts, group, false); /* hosting_on_closed() follows */
}

void hosting_on_begun(struct shard *s, struct broker_queue *q)
{
	if (hosting_is_of(s, q->group))
		queue_hosts_begun(s->hosts, q->group);
}

/* One that has begun and is not hosted could not be opened, and is not tried again. */
void hosting_on_wanted(struct shard *s, uint64_t group)
{
	struct broker_queue *q = broker_queue_by_group(catalog_broker(s->catalog), group);
	if (q != NULL && !q->begun && s->serving)
		open_queue(s, q);
}

void hosting_on_closed(struct shard *s, uint64_t group)
{
	struct broker_queue *q = broker_queue_by_group(catalog_broker(s->catalog), group);
	if (q != NULL && concerns(s, group) && (q->begun || opens_unused(q)))
		open_queue(s, q);
}

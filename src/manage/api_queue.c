/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of queues. Each is told of by the worker that leads it; those that nobody leads by what the metadata
 * say. Who has a queue for itself is known in two halves: which consumer it is to the leader, and whose that is
 * to the worker of its connection.
 */
#include <stdlib.h>

#include "src/amqp/props.h"
#include "src/base/mem.h"
#include "src/broker/definition.h"
#include "src/manage/channels.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"
#include "src/manage/spread.h"
#include "src/manage/warnings.h"
#include "src/session/arguments.h"

/* ---- figures ---- */

static void put_count(json_t *row, const char *key, uint64_t n)
{
	json_object_set_new(row, key, json_integer((json_int_t)n));
}

/* Each message of a durable queue is on disk, whatever its delivery mode, and read from there when it is due;
 * those of others are in memory. */
static void put_places(json_t *row, const struct broker_queue *q, const struct machine_counts *n)
{
	bool in_memory = broker_queue_in_memory(q);
	uint64_t all = n->ready + n->unacked, bytes = n->ready_bytes + n->unacked_bytes;
	put_count(row, "messages_persistent", in_memory ? 0 : all);
	put_count(row, "message_bytes_persistent", in_memory ? 0 : bytes);
	put_count(row, "disk_writes", in_memory ? 0 : n->published);
	put_count(row, "messages_ram", in_memory ? all : 0);
	put_count(row, "messages_ready_ram", in_memory ? n->ready : 0);
	put_count(row, "messages_unacknowledged_ram", in_memory ? n->unacked : 0);
	put_count(row, "message_bytes_ram", in_memory ? bytes : 0);
}

/* Whether a message would go out at once, as of now; RabbitMQ's is the part of the time in which that was so. */
static void put_capacity(json_t *row, const struct machine_counts *n)
{
	json_t *capacity = n->consumers > 0 ? json_real(n->waiting > 0 ? 1 : 0) : json_integer(0);
	json_object_set(row, "consumer_capacity", capacity);
	json_object_set_new(row, "consumer_utilisation", capacity);
}

static void put_counts(json_t *row, const struct broker_queue *q, const struct machine_counts *n)
{
	put_places(row, q, n);
	put_capacity(row, n);
	put_count(row, "messages_ready", n->ready);
	put_count(row, "messages_unacknowledged", n->unacked);
	put_count(row, "messages", n->ready + n->unacked);
	put_count(row, "message_bytes_ready", n->ready_bytes);
	put_count(row, "message_bytes_unacknowledged", n->unacked_bytes);
	put_count(row, "message_bytes", n->ready_bytes + n->unacked_bytes);
	put_count(row, "consumers", n->consumers);
}

/* ---- members ---- */

enum { MEMBERS_MAX = BROKER_MEMBERS_MAX };

static json_t *member_pid(const struct broker_queue *q, const struct broker_node *n)
{
	char *name = mem_printf("%.*s", SLICE_FMT(n->name));
	json_t *pid = json_of_pid(name, n->incarnation, q->group, 0);
	mem_free(name);
	return pid;
}

/* It has what the leader has, and counts as far as all know: with two members, it survives the other one. */
static bool is_in_step(const struct broker_queue *q, const struct broker_member *m,
	const struct group_member_state *states, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (states[i].id == m->id)
			return ((states[i].voter && broker_member_votes(q, m)) ||
				       !broker_member_may_vote(q, m)) &&
			       !states[i].spare && states[i].in_step;
	return false;
}

/* The node that the member's queue is on; NULL if it is leaving. */
static const struct broker_node *node_of(
	const struct broker_queue *q, const struct broker_member *m)
{
	return m->state != BROKER_MEMBER_LEAVING
		       ? broker_node_by_number(q->vhost->broker, m->node)
		       : NULL;
}

/* Of a queue that this worker leads (`group`), or that nobody is known to lead. */
static void put_members(json_t *row, const struct broker_queue *q, struct group *group,
	const struct broker_node *leader)
{
	struct group_member_state states[MEMBERS_MAX];
	unsigned n = group != NULL ? group_members(group, states, MEMBERS_MAX) : 0;
	json_t *members = json_array(), *online = json_array(), *mirrors = json_array(),
	       *in_step = json_array();
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *at = node_of(q, m);
		if (at == NULL)
			continue;
		json_array_append_new(members, json_of_slice(at->name));
		if (at->up)
			json_array_append_new(online, json_of_slice(at->name));
		if (at == leader || !at->up)
			continue;
		json_array_append_new(mirrors, member_pid(q, at));
		if (is_in_step(q, m, states, n < MEMBERS_MAX ? n : MEMBERS_MAX))
			json_array_append_new(in_step, member_pid(q, at));
	}
	json_object_set_new(row, "members", members);
	json_object_set_new(row, "online", online);
	if (broker_effective_mirrors(q->effective)) {
		json_object_set(row, "slave_pids", mirrors);
		json_object_set(row, "mirror_pids", mirrors);
		json_object_set(row, "synchronised_slave_pids", in_step);
		json_object_set(row, "synchronised_mirror_pids", in_step);
	}
	json_decref(mirrors);
	json_decref(in_step);
}

static void drop_from(json_t *row, const char *list, const json_t *value)
{
	json_t *a = json_object_get(row, list);
	for (size_t i = json_array_size(a); i > 0; i--)
		if (json_equal(json_array_get(a, i - 1), value))
			json_array_remove(a, i - 1);
}

/* The workers believe the table about who is up. Worker 0 knows who can be reached. */
static void drop_unreached(const struct api_call *c, json_t *row, const struct broker_queue *q)
{
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_node *at = node_of(q, &q->members[i]);
		if (at == NULL || !at->up || warnings_runs(c, at))
			continue;
		json_t *name = json_of_slice(at->name), *pid = member_pid(q, at);
		drop_from(row, "online", name);
		drop_from(row, "mirror_pids", pid);
		drop_from(row, "slave_pids", pid);
		drop_from(row, "synchronised_mirror_pids", pid);
		drop_from(row, "synchronised_slave_pids", pid);
		json_decref(name);
		json_decref(pid);
	}
}

/* ---- rows ---- */

static void put_effective(json_t *row, const struct broker_effective *e)
{
	if (e == NULL)
		return;
	if (e->operator_policy != NULL)
		json_object_set_new(
			row, "operator_policy", json_of_slice(e->operator_policy->name));
	json_object_set_new(
		row, "effective_policy_definition", definition_of_table(e->definition));
}

/* What the definition says. */
static json_t *queue_row(const struct broker_queue *q)
{
	json_t *row = json_pack("{sIsosbsbsososb}", "group", (json_int_t)q->group, "name",
		json_of_slice(q->name), "durable", q->spec.durable, "auto_delete",
		q->spec.auto_delete, "arguments", json_of_table(q->spec.arguments), "policy",
		json_of_policy(q->effective), "exclusive", q->spec.exclusive);
	put_effective(row, q->effective);
	json_object_set_new(row, "type", json_string(broker_queue_type_name(q->type)));
	const struct broker_node *owner =
		broker_node_find(q->vhost->broker, q->spec.owner.node);
	if (q->spec.exclusive && owner != NULL) {
		char *name = mem_printf("%.*s", SLICE_FMT(owner->name));
		json_object_set_new(row, "owner_pid",
			json_of_pid(name, q->spec.owner.incarnation, q->spec.owner.serial, 0));
		mem_free(name);
	}
	return row;
}

static void put_leader(json_t *row, const struct broker_queue *q, const struct broker_node *n)
{
	if (n == NULL)
		return;
	json_object_set_new(row, "leader", json_of_slice(n->name));
	json_object_set_new(row, "pid", member_pid(q, n));
}

/* In the place of its channel, json_of_consumer(): on_all_queues() knows whose that is. */
static void put_holder(json_t *row, const struct machine *m)
{
	struct machine_holder h;
	if (!machine_holder(m, &h))
		return;
	json_object_set_new(row, h.exclusive ? "exclusive_consumer_pid" : "single_active_consumer_pid",
		json_of_consumer(h.client, h.consumer));
	json_object_set_new(row, h.exclusive ? "exclusive_consumer_tag" : "single_active_consumer_tag",
		json_of_slice(h.tag));
}

/* In seconds, as the first message has it. */
static void put_head(json_t *row, const struct api_shard *s, const struct broker_queue *q)
{
	struct message m;
	struct blob *blob;
	struct amqp_props props;
	if (!queue_hosts_head(s->hosts, q->group, &m, &blob))
		return;
	if (amqp_props_decode(m.props, &props) == 0 && (props.flags & AMQP_PROP_TIMESTAMP) != 0)
		put_count(row, "head_message_timestamp", props.timestamp);
	blob_unref(blob);
}

/* Of a queue that is led on this worker. */
static json_t *led_row(const struct api_shard *s, const struct api_node *node,
	const json_t *args, const struct broker_queue *q)
{
	struct machine_counts counts;
	json_t *row = queue_row(q);
	struct group *g = queue_hosts_group(s->hosts, q->group);
	const struct machine *m = queue_hosts_machine(s->hosts, q->group);
	const struct broker_node *self =
		broker_node_find(q->vhost->broker, node->id(node->arg));
	bool in_memory = broker_queue_in_memory(q);
	put_leader(row, q, self);
	put_members(row, q, g, self);
	put_count(row, "term", group_term(g));
	json_object_set_new(row, "state", json_string("running"));
	machine_counts(m, &counts);
	put_counts(row, q, &counts);
	put_count(row, "disk_reads", in_memory ? 0 : group_reads(g));
	put_count(row, "memory", machine_memory(m) +
		(in_memory ? counts.ready_bytes + counts.unacked_bytes : 0));
	put_holder(row, m);
	if (json_is_true(json_object_get(args, "head")))
		put_head(row, s, q);
	return row;
}

/* Of one that nobody leads: it has not been used yet and nothing is in it, or it is down, if only for a moment. */
static json_t *other_row(const struct api_call *c, const struct broker_queue *q)
{
	json_t *row = queue_row(q);
	const struct broker_node *first =
		q->n_members > 0 ? node_of(q, &q->members[0]) : NULL;
	bool unused = !q->begun && (first == NULL || warnings_runs(c, first));
	/* Of several members any may be the next to lead. */
	const struct broker_node *leader = unused || q->n_members == 1 ? first : NULL;
	put_leader(row, q, leader);
	put_members(row, q, NULL, leader);
	drop_unreached(c, row, q);
	json_object_set_new(row, "state", json_string(unused ? "running" : "down"));
	if (unused) {
		put_counts(row, q, &(struct machine_counts){0});
		put_count(row, "disk_reads", 0);
		put_count(row, "memory", 0);
	}
	return row;
}

/* Of consumers that may have a queue for themselves: whose they are. */
static void put_consumers(const struct api_node *node, struct connection *c, struct channel *ch,
	const json_t *args, json_t *rows)
{
	struct consumer *co, *next;
	if (!channels_in_vhost(c, args))
		return;
	HASH_ITER(hh, ch->consumers, co, next)
	{
		const struct broker_queue *q = broker_queue_by_group(c->env->broker, co->group);
		if (co->exclusive || (q != NULL && arguments_single_active(q)))
			json_array_append_new(rows, json_pack("{soso}", "consumer",
				channels_consumer(c, co), "pid", channels_pid(node, c, ch->number)));
	}
}

static void collect_queues(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	struct broker_vhost *v = gather_vhost(s->env->broker, args);
	unsigned no = (unsigned)(s - node->shards);
	if (v == NULL)
		return;
	for (struct broker_queue *q = broker_queue_first(v); q != NULL; q = broker_queue_next(q))
		if (q->group % node->n_shards == no && queue_hosts_leads(s->hosts, q->group))
			json_array_append_new(rows, led_row(s, node, args, q));
	channels_each(s, node, args, rows, put_consumers);
}

struct led {
	json_int_t group, term;
	json_t *row;
};

static int compare_groups(const void *a, const void *b)
{
	json_int_t x = ((const struct led *)a)->group, y = ((const struct led *)b)->group;
	return x < y ? -1 : x > y;
}

/* By group, the newest leader first. */
static int compare_led(const void *a, const void *b)
{
	json_int_t x = ((const struct led *)a)->term, y = ((const struct led *)b)->term;
	int by_group = compare_groups(a, b);
	return by_group != 0 ? by_group : x > y ? -1 : x < y;
}

/* list_queues --online, --offline, --local. */
static bool is_asked_for(const json_t *row, const struct api_call *c)
{
	const char *state = json_string_value(json_object_get(row, "state"));
	bool down = state != NULL && strcmp(state, "down") == 0;
	bool online = json_is_true(json_object_get(c->args, "online"));
	bool offline = json_is_true(json_object_get(c->args, "offline"));
	const char *leader = json_string_value(json_object_get(row, "leader"));
	if (json_is_true(json_object_get(c->args, "led_here")) &&
		(leader == NULL || strcmp(leader, api_node(c)->name) != 0))
		return false;
	return online == offline || (down ? offline : online);
}

/* The channels of put_consumers(), by json_of_consumer(). */
static json_t *channels_of(const json_t *rows)
{
	size_t i;
	json_t *row, *channels = json_object();
	json_array_foreach((json_t *)rows, i, row)
	{
		const char *consumer = json_string_value(json_object_get(row, "consumer"));
		if (consumer != NULL)
			json_object_set(channels, consumer, json_object_get(row, "pid"));
	}
	return channels;
}

static void resolve(json_t *row, const char *key, const json_t *channels)
{
	const char *consumer = json_string_value(json_object_get(row, key));
	json_t *pid = consumer != NULL ? json_object_get(channels, consumer) : NULL;
	if (pid != NULL)
		json_object_set(row, key, pid);
	else
		json_object_del(row, key);
}

static void resolve_holder(json_t *row, const json_t *channels)
{
	resolve(row, "exclusive_consumer_pid", channels);
	resolve(row, "single_active_consumer_pid", channels);
}

/* Of two that say that they lead a queue, the one of the newer term does. */
static size_t drop_former(struct led *led, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || led[kept - 1].group != led[i].group)
			led[kept++] = led[i];
	return kept;
}

/* The rows of queues that are led, by group; returns how many. */
static size_t led_of(const json_t *rows, struct led *led)
{
	size_t i, n = 0;
	json_t *row;
	json_array_foreach((json_t *)rows, i, row)
	{
		const json_t *group = json_object_get(row, "group");
		const json_t *term = json_object_get(row, "term");
		if (group != NULL)
			led[n++] = (struct led){json_integer_value(group), json_integer_value(term), row};
	}
	qsort(led, n, sizeof *led, compare_led);
	return drop_former(led, n);
}

/* All queues in the order of the metadata. */
static void on_all_queues(struct api_call *c, json_t *rows)
{
	struct led *led = mem_zalloc((json_array_size(rows) + 1) * sizeof *led);
	size_t n = led_of(rows, led);
	json_t *all = json_array(), *channels = channels_of(rows);
	struct broker *b = api_broker(c);
	struct broker_vhost *v = b != NULL ? gather_vhost(b, c->args) : NULL;
	for (struct broker_queue *q = v != NULL ? broker_queue_first(v) : NULL; q != NULL;
		q = broker_queue_next(q)) {
		struct led key = {.group = (json_int_t)q->group};
		const struct led *found = bsearch(&key, led, n, sizeof *led, compare_groups);
		json_t *row = found != NULL ? json_incref(found->row) : other_row(c, q);
		resolve_holder(row, channels);
		if (is_asked_for(row, c))
			json_array_append(all, row);
		json_decref(row);
	}
	mem_free(led);
	json_decref(channels);
	json_decref(rows);
	api_ok(c, all);
}

static void on_own_queues(struct api_call *c, json_t *rows)
{
	size_t i;
	json_t *row;
	struct broker *b = api_broker(c);
	json_array_foreach(rows, i, row)
	{
		const json_t *group = json_object_get(row, "group");
		const struct broker_queue *q =
			b != NULL && group != NULL ? broker_queue_by_group(b, (uint64_t)json_integer_value(group)) : NULL;
		if (q != NULL)
			drop_unreached(c, row, q);
	}
	spread(c, "list_queues", rows, on_all_queues);
}

static void list_queues(struct api_call *c)
{
	gather(c, collect_queues, on_own_queues);
}

const struct api_verb api_queue_verbs[] = {
	{"list_queues", list_queues, false},
	{NULL, NULL, false},
};

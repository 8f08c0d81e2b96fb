/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the memory of the node is, as far as that is counted, under RabbitMQ's names.
 */
#include "src/broker/member.h"
#include "src/manage/api.h"
#include "src/manage/gather.h"
#include "src/session/connection.h"

static const char *const kinds[] = {"queue_procs", "quorum_queue_procs", "binary", "connection_writers"};

enum kind { QUEUES, QUORUM_QUEUES, BODIES, OUTPUT, KINDS = sizeof kinds / sizeof *kinds };

struct sums {
	const struct api_shard *shard;
	uint64_t of[KINDS];
};

static void add_queue(void *arg, uint64_t group, bool leads)
{
	struct sums *s = arg;
	struct machine_counts n;
	const struct machine *m = queue_hosts_machine(s->shard->hosts, group);
	const struct broker_queue *q = broker_queue_by_group(s->shard->env->broker, group);
	(void)leads;
	if (q == NULL)
		return;
	s->of[q->type == BROKER_QUEUE_QUORUM ? QUORUM_QUEUES : QUEUES] += machine_memory(m);
	machine_counts(m, &n);
	if (broker_queue_in_memory(q))
		s->of[BODIES] += n.ready_bytes + n.unacked_bytes;
}

/* One row: what the worker counts, in the order of the kinds. */
static void collect(const struct api_shard *shard, const struct api_node *node, const json_t *args,
	json_t *rows)
{
	struct sums s = {.shard = shard};
	json_t *row = json_array();
	(void)node;
	(void)args;
	queue_hosts_each(shard->hosts, add_queue, &s);
	s.of[BODIES] += queue_hosts_cached(shard->hosts);
	LIST_EACH(link, &shard->env->connections)
	s.of[OUTPUT] += stream_pending(LIST_ENTRY(link, struct connection, link)->stream);
	for (unsigned i = 0; i < KINDS; i++)
		json_array_append_new(row, json_integer((json_int_t)s.of[i]));
	json_array_append_new(rows, row);
}

static json_t *share(uint64_t bytes, uint64_t total)
{
	return json_pack("{sIsf}", "bytes", (json_int_t)bytes, "percentage",
		total > 0 ? (double)(bytes * 10000 / total) / 100 : 0.0);
}

static void on_collected(struct api_call *c, json_t *rows)
{
	uint64_t total = api_node(c)->memory(), counted = 0;
	json_t *all = json_object(), *row;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		uint64_t sum = 0;
		size_t i;
		json_array_foreach(rows, i, row)
			sum += (uint64_t)json_integer_value(json_array_get(row, kind));
		json_object_set_new(all, kinds[kind], share(sum, total));
		counted += sum;
	}
	json_object_set_new(all, "other_proc", share(total > counted ? total - counted : 0, total));
	json_decref(rows);
	api_ok(c, all);
}

static void memory_breakdown(struct api_call *c)
{
	gather(c, collect, on_collected);
}

const struct api_verb api_memory_verbs[] = {
	{"memory_breakdown", memory_breakdown, false},
	{NULL, NULL, false},
};

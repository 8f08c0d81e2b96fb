/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/gather.h"

#include "src/base/mem.h"

struct gather {
	struct api_call *call;
	gather_rows *collect;
	void (*finish)(struct api_call *c, json_t *rows);
	unsigned waiting;
	json_t *rows[]; /* by shard */
};

/* Goes to a shard and back. */
struct visit {
	struct mail mail;
	struct gather *gather;
	const struct api_shard *shard;
	json_t *rows;
};

static void gather_end(struct gather *g)
{
	unsigned n = api_node(g->call)->n_shards;
	json_t *all = json_array();
	for (unsigned i = 0; i < n; i++) {
		json_array_extend(all, g->rows[i]);
		json_decref(g->rows[i]);
	}
	struct api_call *c = g->call;
	void (*finish)(struct api_call *c, json_t *rows) = g->finish;
	mem_free(g);
	if (finish != NULL)
		finish(c, all);
	else
		api_ok(c, all);
}

static void gather_on_back(struct mail *m, struct worker *w)
{
	struct visit *v = (struct visit *)m;
	struct gather *g = v->gather;
	(void)w;
	g->rows[v->shard - api_node(g->call)->shards] = v->rows;
	mem_free(v);
	if (--g->waiting == 0)
		gather_end(g);
}

static void gather_on_visit(struct mail *m, struct worker *w)
{
	struct visit *v = (struct visit *)m;
	const struct api_node *node = api_node(v->gather->call);
	(void)w;
	v->rows = json_array();
	if (v->shard->hosts != NULL) /* the app runs */
		v->gather->collect(v->shard, node, v->gather->call->args, v->rows);
	v->mail.deliver = gather_on_back;
	worker_post(node->shards[0].worker, &v->mail);
}

void gather(struct api_call *c, gather_rows *collect,
	void (*finish)(struct api_call *c, json_t *rows))
{
	const struct api_node *node = api_node(c);
	struct gather *g = mem_zalloc(sizeof *g + node->n_shards * sizeof g->rows[0]);
	g->call = c;
	g->collect = collect;
	g->finish = finish;
	g->waiting = node->n_shards;
	for (unsigned i = 0; i < node->n_shards; i++) {
		struct visit *v = MEM_NEW(struct visit);
		*v = (struct visit){{NULL, gather_on_visit}, g, &node->shards[i], NULL};
		worker_post(node->shards[i].worker, &v->mail);
	}
}

static struct slice text_of(const json_t *args, const char *key, const char *otherwise)
{
	const json_t *v = json_object_get(args, key);
	return json_is_string(v) ? slice_make(json_string_value(v), json_string_length(v))
				 : slice_str(otherwise);
}

struct broker_vhost *gather_vhost(struct broker *b, const json_t *args)
{
	return broker_vhost_find(b, text_of(args, "vhost", "/"));
}

struct broker_queue *gather_queue(struct broker *b, const json_t *args)
{
	struct broker_vhost *v = gather_vhost(b, args);
	return v != NULL ? broker_queue_find(v, text_of(args, "name", "")) : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/spread.h"

#include "src/base/mem.h"
#include "src/manage/remote.h"

struct spread {
	struct api_call *call;
	json_t *rows;
	void (*finish)(struct api_call *c, json_t *rows);
	unsigned waiting; /* for nodes, and for all of them being asked */
};

static void answered(struct spread *s)
{
	if (--s->waiting > 0)
		return;
	struct spread done = *s;
	mem_free(s);
	if (done.finish != NULL)
		done.finish(done.call, done.rows);
	else
		api_ok(done.call, done.rows);
}

struct question {
	struct spread *spread;
	char *name;
};

/* Its app may have stopped or be starting; what it says else is about the rows. */
static const char *why_not(const json_t *reply)
{
	const char *error = "", *message = "";
	json_unpack((json_t *)reply, "{s?ss?s}", "error", &error, "message", &message);
	return strcmp(error, "not_ready") == 0 || strcmp(error, "unavailable") == 0 ? message : NULL;
}

static void on_rows(void *arg, json_t *reply, const char *why)
{
	struct question *q = arg;
	struct spread *s = q->spread;
	const json_t *rows = json_object_get(reply, "result");
	if (reply != NULL)
		why = why_not(reply);
	if (json_is_array(rows))
		json_array_extend(s->rows, (json_t *)rows);
	else if (why != NULL)
		api_note_missing(s->call, q->name, why);
	mem_free(q->name);
	mem_free(q);
	answered(s);
}

static void ask(struct spread *s, const struct broker_node *n, const char *verb)
{
	json_t *args = json_copy(s->call->args);
	struct question *q = MEM_NEW(struct question);
	*q = (struct question){s, mem_printf("%.*s", SLICE_FMT(n->name))};
	char *address = mem_printf("%.*s", SLICE_FMT(n->address));
	json_object_set_new(args, "local", json_true());
	s->waiting++;
	remote_view(api_node(s->call)->links, n->id, address, q->name, verb, args, on_rows, q);
	mem_free(address);
}

void spread(struct api_call *c, const char *verb, json_t *rows,
	void (*finish)(struct api_call *c, json_t *rows))
{
	const struct api_node *node = api_node(c);
	const struct broker *b = api_broker(c);
	if (b == NULL || json_is_true(json_object_get(c->args, "local"))) {
		api_ok(c, rows);
		return;
	}
	struct spread *s = MEM_NEW(struct spread);
	*s = (struct spread){.call = c, .rows = rows, .finish = finish, .waiting = 1};
	for (size_t i = 0; i < b->n_nodes; i++)
		if (b->nodes[i]->up && b->nodes[i]->id != node->id(node->arg))
			ask(s, b->nodes[i], verb);
	answered(s);
}

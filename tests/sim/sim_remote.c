/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_remote.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/manage/remote.h"

enum { REMOTE_MS = 20000 };

struct call {
	struct list link; /* in `calls` */
	struct sim_node *from, *to;
	uint64_t to_life;
	json_t *request, *reply;
	remote_done *done;
	void *arg;
	bool over;
};

static struct sim_world *world;
static struct list calls; /* as long as the world, for something may always come back to one */

static void call_end(struct call *c, json_t *reply, const char *why)
{
	if (c->over)
		return;
	c->over = true;
	c->done(c->arg, reply, why);
	if (!c->from->ghost)
		worker_wake(&c->from->node.shards[0].worker);
}

static void later(struct call *c, uint64_t us, void (*run)(void *arg, uint64_t number))
{
	sim_after(&world->sim, us, run, c, 0);
}

static uint64_t way_us(void)
{
	return sim_between(&world->sim, world->o.net.delay_min_us, world->o.net.delay_max_us);
}

static bool reaches(const struct call *c)
{
	const struct sim_net *net = &world->net;
	unsigned a = c->from->i, b = c->to->i;
	return !net->cut[a][b] && !net->cut[b][a] && !net->hosts[a].dark && !net->hosts[b].dark;
}

static void on_timeout(void *arg, uint64_t number)
{
	(void)number;
	call_end(arg, NULL, "it does not answer in time");
}

static void on_reply_there(void *arg, uint64_t number)
{
	struct call *c = arg;
	(void)number;
	if (reaches(c))
		call_end(c, c->reply, NULL);
}

/* What a killed process says is heard by nobody. */
static void on_reply(void *arg, json_t *reply)
{
	struct call *c = arg;
	c->reply = reply;
	if (sim_node_lives(c->to, c->to_life))
		later(c, way_us(), on_reply_there);
}

static void on_request_there(void *arg, uint64_t number)
{
	struct call *c = arg;
	(void)number;
	if (reaches(c) && !c->to->up) {
		call_end(c, NULL, "connection refused");
	} else if (reaches(c) && !c->over) {
		c->to_life = c->to->life;
		api_request(c->to->node.api, c->request, on_reply, c);
		worker_wake(&c->to->node.shards[0].worker);
	}
}

static struct sim_node *node_of(const struct links *ls)
{
	for (unsigned i = 0; i < world->o.nodes; i++)
		if (world->nodes[i].up && world->nodes[i].node.links == ls)
			return &world->nodes[i];
	abort();
}

static void call_begin(struct links *ls, const char *address, const char *verb, json_t *args,
	unsigned timeout_ms, remote_done *done, void *arg)
{
	struct call *c = MEM_NEW(struct call);
	*c = (struct call){.from = node_of(ls),
		.to = &world->nodes[strtoul(address, NULL, 10)],
		.request = json_pack("{ssso}", "verb", verb, "args", args),
		.done = done,
		.arg = arg};
	list_push_back(&calls, &c->link);
	later(c, way_us(), on_request_there);
	later(c, (uint64_t)timeout_ms * 1000, on_timeout);
}

/* ---- src/manage/remote.h ---- */

void remote_call(struct links *ls, const char *address, const char *name, const char *verb, json_t *args,
	remote_done *done, void *arg)
{
	(void)name;
	call_begin(ls, address, verb, args, REMOTE_MS, done, arg);
}

void remote_view(struct links *ls, uint64_t node, const char *address, const char *name, const char *verb,
	json_t *args, remote_done *done, void *arg)
{
	(void)node;
	remote_call(ls, address, name, verb, args, done, arg);
}

void remote_look(struct links *ls, const struct broker_node *n, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg)
{
	char *address = mem_printf("%.*s", SLICE_FMT(n->address));
	call_begin(ls, address, verb, json_object(), timeout_ms, done, arg);
	mem_free(address);
}

void remote_ask(struct links *ls, const char *address, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg)
{
	call_begin(ls, address, verb, json_object(), timeout_ms, done, arg);
}

/* ---- life ---- */

void sim_remote_begin(struct sim_world *w)
{
	world = w;
	list_init(&calls);
}

void sim_remote_end(struct sim_node *n)
{
	LIST_EACH(node, &calls)
	{
		struct call *c = LIST_ENTRY(node, struct call, link);
		if (c->from == n)
			call_end(c, NULL, "the process is gone");
	}
}

void sim_remote_done(void)
{
	struct list *node;
	while ((node = list_pop(&calls)) != NULL) {
		struct call *c = LIST_ENTRY(node, struct call, link);
		json_decref(c->request);
		json_decref(c->reply);
		mem_free(c);
	}
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Fanout: all bindings match.
 */
#include "src/base/mem.h"
#include "src/broker/match.h"

struct fanout {
	struct broker_matcher base;
	struct broker_binding_set set;
};

static struct broker_matcher *fanout_create(void)
{
	return &MEM_NEW(struct fanout)->base;
}

static void fanout_destroy(struct broker_matcher *m)
{
	mem_free(m);
}

static void fanout_add(struct broker_matcher *m, struct broker_binding *bi)
{
	broker_binding_set_add(&((struct fanout *)m)->set, bi);
}

static void fanout_remove(struct broker_matcher *m, struct broker_binding *bi)
{
	(void)m;
	broker_binding_set_remove(bi);
}

static bool fanout_route(
	struct broker_matcher *m, struct slice key, struct slice headers, struct broker_route *r)
{
	(void)key;
	(void)headers;
	const struct fanout *f = (struct fanout *)m;
	broker_route_hit_all(r, &f->set);
	return f->set.n > 0;
}

const struct broker_match_ops broker_match_fanout = {
	.keyless = true,
	.create = fanout_create,
	.destroy = fanout_destroy,
	.add = fanout_add,
	.remove = fanout_remove,
	.route = fanout_route,
};

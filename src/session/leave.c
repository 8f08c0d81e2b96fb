/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/leave.h"

#include <assert.h>

#include "src/base/mem.h"
#include "src/broker/command.h"

struct leave {
	struct connection *conn; /* NULL once that does not wait any more */
	struct session_env *env;
	unsigned left;       /* answers outstanding, and who is still asking */
	struct buf farewell; /* frames */
	bool shut;
};

/* One answer that is waited for: the queue's, then if it is gone the catalog's. */
struct leave_ask {
	struct queue_request queue;
	struct catalog_request catalog;
	struct leave *leave;
	uint64_t group;
};

static void leave_done(struct leave *l)
{
	struct connection *c = l->conn;
	bool shut = l->shut;
	if (c != NULL) {
		c->leave = NULL;
		buf_put_slice(connection_out(c), buf_slice(&l->farewell));
	}
	buf_done(&l->farewell);
	mem_free(l);
	if (c == NULL)
		return;
	if (shut)
		connection_shut(c);
	else
		connection_check_input(c);
}

static void leave_less(struct leave *l)
{
	if (--l->left == 0)
		leave_done(l);
}

static void leave_undefined(struct catalog_request *r, const struct broker_result *result)
{
	struct leave_ask *ask =
		(struct leave_ask *)((char *)r - offsetof(struct leave_ask, catalog));
	(void)result; /* not found: somebody else was first, which is fine */
	leave_less(ask->leave);
	mem_free(ask);
}

/* The connection waits no longer. */
static void leave_unavailable(struct catalog_request *r)
{
	struct leave_ask *ask =
		(struct leave_ask *)((char *)r - offsetof(struct leave_ask, catalog));
	struct leave *l = ask->leave;
	struct connection *c = l->conn;
	if (c == NULL)
		return;
	buf_put_slice(connection_out(c), buf_slice(&l->farewell));
	buf_clear(&l->farewell);
	l->conn = NULL;
	c->leave = NULL;
	if (l->shut)
		connection_shut(c);
	else
		connection_check_input(c);
}

static void ask_undefine(struct leave_ask *ask)
{
	struct buf b = BUF_EMPTY;
	ask->catalog.done = leave_undefined;
	ask->catalog.unavailable = leave_unavailable;
	ask->catalog.hasty = true;
	ask->catalog.everywhere = true; /* the name may be wanted through another node next */
	broker_put_delete_queue(&b, ask->group);
	catalog_propose(ask->leave->env->catalog, buf_slice(&b), &ask->catalog);
	buf_done(&b);
}

static void leave_cancelled(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct leave_ask *ask = (struct leave_ask *)r;
	(void)d;
	if (a->status == MACHINE_GONE) {
		ask_undefine(ask); /* also one that is undefined here: the others may not know yet */
		return;
	}
	leave_less(ask->leave);
	mem_free(ask);
}

static struct leave_ask *ask_new(struct connection *c, uint64_t group)
{
	struct leave_ask *ask = MEM_NEW(struct leave_ask);
	ask->leave = c->leave;
	ask->leave->left++;
	ask->group = group;
	return ask;
}

void leave_begin(struct connection *c)
{
	if (c->leave == NULL) {
		c->leave = MEM_NEW(struct leave);
		c->leave->conn = c;
		c->leave->env = c->env;
	}
	c->leave->left++;
}

void leave_say(struct connection *c, uint16_t channel, const struct amqp_method *m)
{
	amqp_method_encode(&c->leave->farewell, channel, m);
}

void leave_shut(struct connection *c)
{
	c->leave->shut = true;
}

void leave_end(struct connection *c)
{
	struct leave *l = c->leave;
	leave_less(l);
}

struct queue_request *leave_cancel(struct connection *c, uint64_t group)
{
	static_assert(offsetof(struct leave_ask, queue) == 0, "leave_cancelled casts");
	struct leave_ask *ask = ask_new(c, group);
	ask->queue.done = leave_cancelled;
	return &ask->queue;
}

void leave_delete(struct connection *c, uint64_t group)
{
	ask_undefine(ask_new(c, group));
}

void leave_hurry(struct connection *c)
{
	struct leave *l = c->leave;
	if (l == NULL)
		return;
	buf_put_slice(stream_out(c->stream), buf_slice(&l->farewell));
	buf_clear(&l->farewell);
	l->conn = NULL;
	c->leave = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/room.h"

#include "src/base/mem.h"

/* Room may be told of in the middle of a queue's end: nothing can be sent there and then. */
static void room_ready(struct queue_waiter *w)
{
	struct room *r = (struct room *)w;
	list_push_back(&r->env->due, &r->due);
	worker_wake(r->env->worker);
}

void room_init(struct room *r, struct session_env *env, void (*go_on)(struct room *r))
{
	list_init(&r->waiter.link);
	list_init(&r->due);
	r->waiter.ready = room_ready;
	r->env = env;
	r->go_on = go_on;
}

void room_wait(struct room *r)
{
	queue_clients_wait(r->env->clients, &r->waiter);
}

void room_leave(struct room *r)
{
	queue_unwait(&r->waiter);
	list_remove(&r->due);
}

bool room_flush(struct session_env *env)
{
	if (list_empty(&env->due))
		return false;
	struct list due;
	struct list *node;
	list_init(&due);
	list_move_all(&due, &env->due);
	while ((node = list_pop(&due)) != NULL) {
		struct room *r = LIST_ENTRY(node, struct room, due);
		r->go_on(r);
	}
	return true;
}

/* ---- spread ---- */

struct spread {
	struct room room;
	struct connection *conn;
	struct message message; /* in `bytes` */
	uint8_t *bytes;
	uint64_t *groups;
	unsigned n, at;
	struct queue_publisher *pub;
	uint64_t tag;
};

static void spread_free(struct spread *s)
{
	room_leave(&s->room);
	mem_free(s->bytes);
	mem_free(s->groups);
	mem_free(s);
}

static void spread_go_on(struct room *r)
{
	struct spread *s = (struct spread *)r;
	struct connection *c = s->conn;
	struct queue_clients *qs = c->env->clients;
	for (; s->at < s->n && !queue_clients_full(qs); s->at++)
		queue_publish(queue_clients_get(qs, s->groups[s->at]), &s->message, s->pub, s->tag);
	if (s->at < s->n) {
		room_wait(r);
		return;
	}
	c->spread = NULL;
	spread_free(s);
	connection_check_input(c);
}

static struct slice kept(uint8_t **at, struct slice s)
{
	uint8_t *p = *at;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	*at += s.n;
	return slice_make(p, s.n);
}

static void spread_keep(struct connection *c, const uint64_t *groups, unsigned n,
	const struct message *m, struct queue_publisher *pub, uint64_t tag)
{
	struct spread *s = MEM_NEW(struct spread);
	s->conn = c;
	s->message = *m;
	s->bytes = mem_alloc(m->envelope.n + m->props.n + m->body.n);
	uint8_t *at = s->bytes;
	s->message.envelope = kept(&at, m->envelope);
	s->message.props = kept(&at, m->props);
	s->message.body = kept(&at, m->body);
	s->groups = mem_dup(groups, n * sizeof *groups);
	s->n = n;
	s->pub = pub;
	s->tag = tag;
	room_init(&s->room, c->env, spread_go_on);
	c->spread = s;
	room_wait(&s->room);
	connection_check_input(c);
}

void spread_publish(struct connection *c, const uint64_t *groups, unsigned n,
	const struct message *m, struct queue_publisher *pub, uint64_t tag)
{
	struct queue_clients *qs = c->env->clients;
	for (unsigned i = 0; i < n; i++) {
		/* The first copy takes no more than keeping the message would. */
		if (i > 0 && queue_clients_full(qs)) {
			spread_keep(c, groups + i, n - i, m, pub, tag);
			return;
		}
		struct queue_client *qc = queue_clients_get(qs, groups[i]);
		queue_publish(qc, m, pub, tag);
		if (queue_full(qc))
			connection_wait(c, qc);
	}
}

void spread_drop(struct connection *c)
{
	struct spread *s = c->spread;
	if (s == NULL)
		return;
	c->spread = NULL;
	for (; s->at < s->n && s->pub != NULL; s->at++)
		s->pub->settled(s->pub, s->tag, false);
	spread_free(s);
}

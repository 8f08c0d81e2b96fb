/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/dead_letter.h"

#include <uthash.h>

#include "src/amqp/frame.h"
#include "src/amqp/table.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/session/room.h"

struct letter_key {
	uint64_t group, seq;
};

/* A dead letter on its way, or one that waits for room. */
struct dead_letter {
	struct queue_publisher publisher;
	UT_hash_handle hh;
	struct list link; /* in dead_letters.waiting, or by itself */
	struct dead_letters *all;
	struct letter_key key;
	unsigned answers; /* still missing, one for ourselves while it is being sent */
};

struct dead_letters {
	struct session_env *env;
	void (*done)(void *arg, uint64_t group, uint64_t seq);
	void (*again)(void *arg, uint64_t group, uint64_t seq);
	void *arg;
	struct dead_letter *letters; /* by key */
	struct list waiting;         /* for room, in the order of death */
	struct room room;
	bool going_on; /* those that waited are being sent */
};

static const char *const death_names[] = {"expired", "rejected", "maxlen", "delivery_limit"};

static void letters_go_on(struct room *r);

struct dead_letters *dead_letters_new(struct session_env *env,
	void (*done)(void *arg, uint64_t group, uint64_t seq),
	void (*again)(void *arg, uint64_t group, uint64_t seq), void *arg)
{
	struct dead_letters *dl = MEM_NEW(struct dead_letters);
	dl->env = env;
	dl->done = done;
	dl->again = again;
	dl->arg = arg;
	list_init(&dl->waiting);
	room_init(&dl->room, env, letters_go_on);
	return dl;
}

static void letter_free(struct dead_letter *l)
{
	HASH_DEL(l->all->letters, l);
	list_remove(&l->link);
	mem_free(l);
}

void dead_letters_free(struct dead_letters *dl)
{
	struct dead_letter *l, *next;
	room_leave(&dl->room);
	HASH_ITER(hh, dl->letters, l, next)
	letter_free(l);
	mem_free(dl);
}

/* ---- headers ---- */

static bool get_text(struct slice table, const char *key, struct slice *ret)
{
	struct amqp_value v;
	if (!amqp_table_get(table, key, &v) || v.type != 'S')
		return false;
	*ret = v.u.s;
	return true;
}

static bool death_is(struct slice death, struct slice queue, struct slice reason)
{
	struct slice q, r;
	return get_text(death, "queue", &q) && get_text(death, "reason", &r) &&
	       slice_eq(q, queue) && slice_eq(r, reason);
}

static struct slice get_deaths(struct slice headers)
{
	struct amqp_value v;
	return amqp_table_get(headers, "x-death", &v) && v.type == 'A' ? v.u.s
								       : slice_make(NULL, 0);
}

static void put_routing_keys(struct buf *out, const struct death_event *e, struct slice headers)
{
	struct amqp_value cc, item;
	size_t mark = amqp_table_begin_array(out, "routing-keys");
	amqp_array_put_string(out, e->key);
	if (amqp_table_get(headers, "CC", &cc) && cc.type == 'A') {
		struct reader r = reader_of(cc.u.s);
		while (amqp_array_next(&r, &item))
			if (item.type == 'S')
				amqp_array_put_string(out, item.u.s);
	}
	amqp_table_end(out, mark);
}

/* A first death from this queue for this reason. */
static void put_new_death(struct buf *out, const struct amqp_props *p, const struct death_event *e)
{
	size_t mark = amqp_array_begin_table(out);
	amqp_table_put_long(out, "count", 1);
	amqp_table_put_string(out, "reason", e->reason);
	amqp_table_put_string(out, "queue", e->queue);
	amqp_table_put_timestamp(out, "time", e->time_s);
	amqp_table_put_string(out, "exchange", e->exchange);
	put_routing_keys(out, e, p->headers);
	if (p->flags & AMQP_PROP_EXPIRATION)
		amqp_table_put_string(out, "original-expiration", p->expiration);
	amqp_table_end(out, mark);
}

/* The same pair again: counted up, everything else as it was the first time. */
static void put_counted_death(struct buf *out, struct slice death)
{
	size_t mark = amqp_array_begin_table(out);
	struct reader r = reader_of(death);
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v)) {
		if (slice_is(key, "count") && amqp_value_is_int(&v))
			v.u.i++;
		amqp_table_put_value(out, key, &v);
	}
	amqp_table_end(out, mark);
}

static void put_deaths(struct buf *out, const struct amqp_props *p, const struct death_event *e)
{
	struct slice deaths = get_deaths(p->headers);
	struct amqp_value v;
	bool again = false;
	size_t mark = amqp_table_begin_array(out, "x-death");
	struct reader r = reader_of(deaths);
	while (!again && amqp_array_next(&r, &v))
		if (v.type == 'F' && death_is(v.u.s, e->queue, e->reason)) {
			put_counted_death(out, v.u.s);
			again = true;
		}
	if (!again)
		put_new_death(out, p, e);
	r = reader_of(deaths);
	while (amqp_array_next(&r, &v))
		if (v.type != 'F' || !death_is(v.u.s, e->queue, e->reason))
			amqp_array_put_value(out, &v);
	amqp_table_end(out, mark);
}

static bool is_story(struct slice key)
{
	return slice_is(key, "x-death") || slice_is(key, "x-last-death-queue") ||
	       slice_is(key, "x-last-death-reason") || slice_is(key, "x-last-death-exchange");
}

static void put_headers(struct buf *out, const struct amqp_props *p, const struct death_event *e)
{
	struct slice key;
	struct amqp_value v;
	put_deaths(out, p, e);
	if (!amqp_table_get(p->headers, "x-first-death-reason", &v)) {
		amqp_table_put_string(out, "x-first-death-reason", e->reason);
		amqp_table_put_string(out, "x-first-death-queue", e->queue);
		amqp_table_put_string(out, "x-first-death-exchange", e->exchange);
	}
	amqp_table_put_string(out, "x-last-death-reason", e->reason);
	amqp_table_put_string(out, "x-last-death-queue", e->queue);
	amqp_table_put_string(out, "x-last-death-exchange", e->exchange);
	struct reader r = reader_of(p->headers);
	while (amqp_table_next(&r, &key, &v)) {
		bool drop = is_story(key) || slice_is(key, "BCC") ||
			    (slice_is(key, "CC") && !e->keep_cc);
		if (!drop)
			amqp_table_put_value(out, key, &v);
	}
}

void dead_letter_props(struct buf *out, const struct amqp_props *p, const struct death_event *e)
{
	struct buf headers = BUF_EMPTY;
	struct amqp_props q = *p;
	put_headers(&headers, p, e);
	q.headers = buf_slice(&headers);
	q.flags = (uint16_t)((p->flags | AMQP_PROP_HEADERS) & ~AMQP_PROP_EXPIRATION);
	amqp_props_encode(out, &q);
	buf_done(&headers);
}

bool dead_letter_cycles(struct slice headers, struct slice queue)
{
	struct amqp_value v;
	struct slice text;
	struct reader r = reader_of(get_deaths(headers));
	/* Newest first: whatever lies in front of the queue's own death happened since. */
	while (amqp_array_next(&r, &v)) {
		if (v.type != 'F')
			continue;
		if (get_text(v.u.s, "reason", &text) && slice_is(text, "rejected"))
			return false;
		if (get_text(v.u.s, "queue", &text) && slice_eq(text, queue))
			return true;
	}
	return false;
}

/* ---- on its way ---- */

static void letter_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct dead_letter *l = (struct dead_letter *)p;
	struct dead_letters *dl = l->all;
	(void)tag;
	(void)refused; /* a full target that rejects: dropped, as RabbitMQ does */
	if (--l->answers > 0)
		return;
	struct letter_key key = l->key;
	letter_free(l); /* done() may send the next one */
	dl->done(dl->arg, key.group, key.seq);
}

/* NULL: it is on its way already. */
static struct dead_letter *letter_new(struct dead_letters *dl, uint64_t group, uint64_t seq)
{
	struct letter_key key = {group, seq};
	struct dead_letter *l;
	HASH_FIND(hh, dl->letters, &key, sizeof key, l);
	if (l != NULL)
		return NULL;
	l = MEM_NEW(struct dead_letter);
	l->publisher.settled = letter_settled;
	l->all = dl;
	l->key = key;
	l->answers = 1;
	list_init(&l->link);
	HASH_ADD(hh, dl->letters, key, sizeof l->key, l);
	return l;
}

/* The routing key, then CC's if the message keeps its own keys: struct slice each. */
static void letter_keys(struct buf *keys, struct slice key, struct slice headers, bool with_cc)
{
	struct amqp_value cc, item;
	buf_clear(keys);
	buf_put_bytes(keys, &key, sizeof key);
	if (!with_cc || !amqp_table_get(headers, "CC", &cc) || cc.type != 'A')
		return;
	struct reader r = reader_of(cc.u.s);
	while (amqp_array_next(&r, &item))
		if (item.type == 'S')
			buf_put_bytes(keys, &item.u.s, sizeof item.u.s);
}

static void letter_send(struct dead_letters *dl, struct dead_letter *l, const struct message *m,
	struct slice headers)
{
	struct session_env *env = dl->env;
	for (size_t i = 0; i < env->route.n; i++) {
		struct broker_queue *q = env->route.queues[i];
		if (dead_letter_cycles(headers, q->name)) {
			log_warning("queue",
				"message dropped: dead-letter cycle would bring it back to queue "
				"'%.*s' in vhost '%.*s'",
				SLICE_FMT(q->name), SLICE_FMT(q->vhost->name));
			continue;
		}
		l->answers++;
		queue_publish(queue_clients_get(env->clients, q->group), m, &l->publisher, 0);
	}
}

static void letter_publish(struct dead_letters *dl, struct dead_letter *l,
	struct broker_queue *from, const struct queue_config *config, const struct machine_dead *d,
	const struct message *m)
{
	struct session_env *env = dl->env;
	struct broker_exchange *x = broker_exchange_find(from->vhost, config->dlx);
	struct amqp_props props;
	if (x == NULL || amqp_props_decode(m->props, &props) != 0)
		return;
	struct death_event e = {
		.queue = from->name,
		.reason = slice_str(death_names[d->reason]),
		.time_s = d->stamp_ms / 1000,
		.keep_cc = !config->dead_letter_key,
	};
	message_names(m, &e.exchange, &e.key);
	struct buf raw = BUF_EMPTY, envelope = BUF_EMPTY;
	dead_letter_props(&raw, &props, &e);
	struct slice headers = amqp_props_headers(buf_slice(&raw));
	struct slice key = config->dead_letter_key ? config->dlx_key : e.key;
	amqp_put_shortstr(&envelope, config->dlx);
	amqp_put_shortstr(&envelope, key);
	struct buf *keys = &env->keys;
	letter_keys(keys, key, headers, e.keep_cc);
	broker_route_begin(env->broker, &env->route);
	broker_route_keys(env->broker, x, (const struct slice *)keys->p,
		keys->n / sizeof(struct slice), headers, &env->route);
	struct message letter = {
		.flags = m->flags,
		.level = m->level,
		.expiration_ms = ENQUEUE_NO_EXPIRATION,
		.envelope = buf_slice(&envelope),
		.props = buf_slice(&raw),
		.body = m->body,
	};
	letter_send(dl, l, &letter, headers);
	buf_done(&raw);
	buf_done(&envelope);
}

static void letter_wait(struct dead_letters *dl, struct dead_letter *l)
{
	if (list_empty(&dl->waiting) && !dl->going_on)
		room_wait(&dl->room);
	list_push_back(&dl->waiting, &l->link);
}

static void letters_go_on(struct room *r)
{
	struct dead_letters *dl = (struct dead_letters *)((char *)r - offsetof(struct dead_letters, room));
	dl->going_on = true;
	while (!list_empty(&dl->waiting) && !queue_clients_full(dl->env->clients)) {
		struct dead_letter *l = LIST_ENTRY(dl->waiting.next, struct dead_letter, link);
		struct letter_key key = l->key;
		letter_free(l);
		dl->again(dl->arg, key.group, key.seq);
	}
	dl->going_on = false;
	if (!list_empty(&dl->waiting))
		room_wait(&dl->room);
}

void dead_letters_publish(struct dead_letters *dl, uint64_t group,
	const struct queue_config *config, const struct machine_dead *d, const struct message *m)
{
	struct broker_queue *from = broker_queue_by_group(dl->env->broker, group);
	struct dead_letter *l = letter_new(dl, group, d->seq);
	if (l == NULL)
		return;
	bool behind = !dl->going_on && !list_empty(&dl->waiting);
	if (behind || queue_clients_full(dl->env->clients)) {
		letter_wait(dl, l);
		return;
	}
	if (from != NULL)
		letter_publish(dl, l, from, config, d, m);
	letter_settled(&l->publisher, 0, false);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * A broker and short ways to give it commands.
 */
#ifndef WARREN_TEST_BROKER_FIXTURE_H
#define WARREN_TEST_BROKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/broker.h"
#include "src/broker/command.h"
#include "src/broker/route.h"
#include "src/broker/rows.h"

#define S(text) slice_make(text, sizeof(text) - 1)
#define NONE slice_make("", 0)

static inline struct broker_result apply(struct broker *b, struct buf *command)
{
	struct broker_result ret;
	broker_apply(b, buf_slice(command), &ret);
	buf_done(command);
	return ret;
}

static inline enum broker_code add_vhost(struct broker *b, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_add_vhost(&c, slice_str(name), NONE, NONE, NONE);
	return apply(b, &c).code;
}

static inline struct broker_result declare_exchange_spec(
	struct broker *b, const char *name, struct broker_exchange_spec spec)
{
	struct buf c = BUF_EMPTY;
	broker_put_declare_exchange(&c, S("/"), slice_str(name), &spec);
	return apply(b, &c);
}

static inline struct broker_exchange *declare_exchange(
	struct broker *b, const char *name, enum broker_exchange_type type)
{
	return declare_exchange_spec(
		b, name, (struct broker_exchange_spec){.type = type, .durable = true})
		.exchange;
}

static inline struct broker_exchange *declare_auto_delete(struct broker *b, const char *name)
{
	return declare_exchange_spec(b, name,
		(struct broker_exchange_spec){.type = BROKER_EXCHANGE_FANOUT, .auto_delete = true})
		.exchange;
}

static inline struct broker_result declare_queue_spec(
	struct broker *b, const char *name, struct broker_queue_spec spec)
{
	struct buf c = BUF_EMPTY;
	broker_put_declare_queue(&c, S("/"), slice_str(name), &spec);
	return apply(b, &c);
}

static inline struct broker_queue *declare_queue(struct broker *b, const char *name)
{
	return declare_queue_spec(b, name, (struct broker_queue_spec){.durable = true}).queue;
}

static inline struct broker_result delete_queue(struct broker *b, uint64_t group)
{
	struct buf c = BUF_EMPTY;
	broker_put_delete_queue(&c, group);
	return apply(b, &c);
}

static inline struct broker_result delete_exchange(
	struct broker *b, const char *name, bool if_unused)
{
	struct buf c = BUF_EMPTY;
	broker_put_delete_exchange(&c, S("/"), slice_str(name), if_unused);
	return apply(b, &c);
}

static inline struct broker_binding_spec binding_spec(
	const char *source, enum broker_destination kind, const char *destination, const char *key)
{
	return (struct broker_binding_spec){.vhost = S("/"),
		.source = slice_str(source),
		.kind = kind,
		.destination = slice_str(destination),
		.key = slice_str(key)};
}

static inline struct broker_result bind_spec(struct broker *b, struct broker_binding_spec spec)
{
	struct buf c = BUF_EMPTY;
	broker_put_bind(&c, &spec);
	return apply(b, &c);
}

static inline struct broker_result unbind_spec(struct broker *b, struct broker_binding_spec spec)
{
	struct buf c = BUF_EMPTY;
	broker_put_unbind(&c, &spec);
	return apply(b, &c);
}

static inline enum broker_code bind_queue(
	struct broker *b, const char *source, const char *queue, const char *key)
{
	return bind_spec(b, binding_spec(source, BROKER_TO_QUEUE, queue, key)).code;
}

static inline enum broker_code bind_exchange(
	struct broker *b, const char *source, const char *destination, const char *key)
{
	return bind_spec(b, binding_spec(source, BROKER_TO_EXCHANGE, destination, key)).code;
}

static inline enum broker_code unbind_queue(
	struct broker *b, const char *source, const char *queue, const char *key)
{
	return unbind_spec(b, binding_spec(source, BROKER_TO_QUEUE, queue, key)).code;
}

/* "n1@host", ... */
static inline struct slice node_name(uint64_t node)
{
	static const char *const names[] = {"n0@host", "n1@host", "n2@host", "n3@host", "n4@host",
		"n5@host", "n6@host", "n7@host", "n8@host", "n9@host"};
	return slice_str(names[node % 10]);
}

static inline struct broker_result join_node(
	struct broker *b, uint64_t node, enum broker_node_type type)
{
	struct buf c = BUF_EMPTY;
	broker_put_join_node(&c, node, node_name(node), S("host:25672"), type);
	return apply(b, &c);
}

/* Of a node that need not have joined before. */
static inline struct broker_result node_up(struct broker *b, uint64_t node, uint64_t incarnation)
{
	struct buf c = BUF_EMPTY;
	if (b->n_nodes > 0 && broker_node_find(b, node) == NULL)
		join_node(b, node, BROKER_NODE_DISC);
	broker_put_node_up(&c, node, incarnation, node_name(node), S("host:25672"));
	return apply(b, &c);
}

static inline struct broker_result node_down(struct broker *b, uint64_t node)
{
	struct buf c = BUF_EMPTY;
	broker_put_node_down(&c, node, broker_node_incarnation(b, node), NULL, 0);
	return apply(b, &c);
}

static inline struct broker_result forget_node(struct broker *b, uint64_t node)
{
	struct buf c = BUF_EMPTY;
	broker_put_forget_node(&c, node);
	return apply(b, &c);
}

static inline struct broker_result set_node_type(
	struct broker *b, uint64_t node, enum broker_node_type type)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_node_type(&c, node, type);
	return apply(b, &c);
}

static inline struct broker_result replace_members(struct broker *b, uint64_t node)
{
	struct buf c = BUF_EMPTY;
	broker_put_replace_members(&c, node);
	return apply(b, &c);
}

static inline struct broker_result member_promoted(
	struct broker *b, const struct broker_queue *q, const struct broker_member *m)
{
	struct buf c = BUF_EMPTY;
	broker_put_member_promoted(&c, q->group, m->id);
	return apply(b, &c);
}

/* Says its first member. */
static inline struct broker_result member_gone(
	struct broker *b, const struct broker_queue *q, const struct broker_member *m)
{
	struct buf c = BUF_EMPTY;
	broker_put_member_gone(&c, q->group, m->id, UINT64_MAX, q->members[0].id);
	return apply(b, &c);
}

static inline struct broker_result member_chosen(struct broker *b, const struct broker_queue *q,
	const struct broker_member *m, uint64_t term)
{
	struct buf c = BUF_EMPTY;
	broker_put_member_chosen(&c, q->group, m->id, term);
	return apply(b, &c);
}

static inline struct broker_result set_policy(struct broker *b, enum broker_policy_kind kind,
	const char *name, const struct broker_policy_spec *spec)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_policy(&c, S("/"), slice_str(name), kind, spec);
	return apply(b, &c);
}

static inline struct broker_result clear_policy(
	struct broker *b, enum broker_policy_kind kind, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_clear_policy(&c, S("/"), slice_str(name), kind);
	return apply(b, &c);
}

static inline struct broker_vhost *root(struct broker *b)
{
	return broker_vhost_find(b, S("/"));
}

static inline struct broker_exchange *exchange(struct broker *b, const char *name)
{
	return broker_exchange_find(root(b), slice_str(name));
}

static inline struct broker_queue *queue(struct broker *b, const char *name)
{
	return broker_queue_find(root(b), slice_str(name));
}

/* For cmocka: a broker with the vhost "/". */
static inline int setup(void **state)
{
	struct broker *b = broker_new(NULL);
	assert_int_equal(add_vhost(b, "/"), BROKER_OK);
	*state = b;
	return 0;
}

static inline int teardown(void **state)
{
	broker_free(*state);
	return 0;
}

/* A repeatable sequence of numbers (xorshift). */
struct dice {
	uint64_t s;
};

/* The seed is WARREN_TEST_SEED or drawn, and printed. */
static inline struct dice dice_new(const char *what)
{
	const char *given = getenv("WARREN_TEST_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 0;
	if (given == NULL) {
		FILE *f = fopen("/dev/urandom", "rb");
		if (f == NULL || fread(&seed, sizeof seed, 1, f) != 1)
			seed = 42;
		if (f != NULL)
			fclose(f);
	}
	printf("%s: WARREN_TEST_SEED=%llu\n", what, (unsigned long long)seed);
	return (struct dice){seed * 2 + 1};
}

static inline uint32_t roll(struct dice *d, uint32_t n)
{
	d->s ^= d->s << 13;
	d->s ^= d->s >> 7;
	d->s ^= d->s << 17;
	return (uint32_t)((d->s >> 16) % n);
}

#endif

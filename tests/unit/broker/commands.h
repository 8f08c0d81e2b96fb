/* SPDX-License-Identifier: Apache-2.0
 *
 * Random commands over a few names, so that they meet.
 */
#ifndef WARREN_TEST_BROKER_COMMANDS_H
#define WARREN_TEST_BROKER_COMMANDS_H

#include "tests/unit/broker/fixture.h"

static inline struct slice pick(struct dice *d, const char *const *names, uint32_t n)
{
	return slice_str(names[roll(d, n)]);
}

#define PICK(d, ...)                                \
	pick(d, (const char *const[]){__VA_ARGS__}, \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static inline struct slice some_vhost(struct dice *d)
{
	return PICK(d, "/", "/", "/", "a", "b");
}

static inline struct slice some_user(struct dice *d)
{
	return PICK(d, "guest", "alice", "bob");
}

static inline struct slice some_exchange(struct dice *d)
{
	return PICK(d, "", "amq.direct", "amq.topic", "amq.fanout", "amq.match", "x1", "x2", "x3",
		"x4", "x5", "x6");
}

static inline struct slice some_queue(struct dice *d)
{
	return PICK(d, "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8");
}

static inline struct slice some_key(struct dice *d)
{
	return PICK(d, "", "a", "b", "a.b", "a.*", "a.#", "#", "*.b", "#.b.#", "a.b.c");
}

static inline struct slice some_pattern(struct dice *d)
{
	return PICK(d, "", ".*", "^q", "^(x|q)1$", "[", "(((");
}

/* The arguments of something; appended to `args`, which the caller frees. */
static inline struct slice some_arguments(struct dice *d, struct buf *args)
{
	buf_clear(args);
	if (roll(d, 3) == 0)
		amqp_table_put_string(args, "alternate-exchange", some_exchange(d));
	if (roll(d, 3) == 0)
		amqp_table_put_string(args, "x-match", PICK(d, "all", "any", "any-with-x"));
	if (roll(d, 3) == 0)
		amqp_table_put_int(args, "n", (int32_t)roll(d, 3));
	if (roll(d, 4) == 0)
		amqp_table_put_string(args, "x-queue-type", PICK(d, "classic", "quorum"));
	return buf_slice(args);
}

static inline void put_some_exchange(struct dice *d, struct buf *out, struct slice args)
{
	const struct broker_exchange_spec spec = {
		.type = (enum broker_exchange_type)roll(d, BROKER_EXCHANGE_TYPES),
		.durable = roll(d, 2),
		.auto_delete = roll(d, 2),
		.internal = roll(d, 2),
		.arguments = args};
	broker_put_declare_exchange(out, some_vhost(d), some_exchange(d), &spec);
}

static inline void put_some_queue(struct dice *d, struct buf *out, struct slice args)
{
	const struct broker_queue_spec spec = {.durable = roll(d, 2),
		.exclusive = roll(d, 3) == 0,
		.auto_delete = roll(d, 2),
		.owner = {1 + roll(d, 3), roll(d, 6), roll(d, 4)},
		.home_node = 1 + roll(d, 3),
		.home_incarnation = roll(d, 6),
		.created_ms = roll(d, 1000),
		.arguments = args};
	broker_put_declare_queue(out, some_vhost(d), some_queue(d), &spec);
}

static inline struct broker_binding_spec some_binding(struct dice *d, struct slice args)
{
	enum broker_destination kind = roll(d, 2) ? BROKER_TO_QUEUE : BROKER_TO_EXCHANGE;
	return (struct broker_binding_spec){.vhost = some_vhost(d),
		.source = some_exchange(d),
		.kind = kind,
		.destination = kind == BROKER_TO_QUEUE ? some_queue(d) : some_exchange(d),
		.key = some_key(d),
		.arguments = args};
}

/* Appends one command. */
static inline void put_some_command(struct dice *d, const struct broker *b, struct buf *out)
{
	struct buf memory = BUF_EMPTY;
	struct slice args = some_arguments(d, &memory);
	struct broker_binding_spec bi = some_binding(d, args);
	uint32_t what = roll(d, 60);
	if (what < 12)
		put_some_exchange(d, out, args);
	else if (what < 26)
		put_some_queue(d, out, args);
	else if (what < 42)
		broker_put_bind(out, &bi);
	else if (what < 45)
		broker_put_unbind(out, &bi);
	else if (what < 47)
		broker_put_delete_exchange(out, some_vhost(d), some_exchange(d), roll(d, 2));
	else if (what < 49)
		broker_put_delete_queue(out, roll(d, (uint32_t)b->next_group + 1));
	else if (what == 49)
		broker_put_begin_queue(out, roll(d, (uint32_t)b->next_group + 1));
	else if (what == 50)
		broker_put_add_vhost(out, some_vhost(d), S("text"), S("t1,t2"), S("quorum"));
	else if (what == 51 && roll(d, 4) == 0)
		broker_put_delete_vhost(out, some_vhost(d));
	else if (what < 53)
		broker_put_add_user(out, some_user(d), S("hash"), roll(d, 3), S("management"));
	else if (what == 53)
		broker_put_delete_user(out, some_user(d));
	else if (what == 54)
		broker_put_change_password(out, some_user(d), S("other"), roll(d, 3));
	else if (what == 55)
		broker_put_set_tags(out, some_user(d), PICK(d, "", "administrator"));
	else if (what < 58)
		broker_put_set_permissions(out, some_user(d), some_vhost(d), some_pattern(d),
			some_pattern(d), some_pattern(d));
	else if (what == 58)
		broker_put_clear_permissions(out, some_user(d), some_vhost(d));
	else if (roll(d, 2))
		broker_put_node_up(out, 1 + roll(d, 3), roll(d, 6));
	else
		broker_put_set_cluster_name(out, PICK(d, "", "rabbits", "hares"));
	buf_done(&memory);
}

#endif

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

static inline uint64_t some_node(struct dice *d)
{
	return 1 + roll(d, 4);
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
		.owner = {some_node(d), roll(d, 6), roll(d, 4)},
		.locator = roll(d, BROKER_LOCATORS),
		.home_node = some_node(d),
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

static inline void put_some_ha(struct dice *d, struct buf *definition)
{
	uint32_t mode = roll(d, 4);
	if (mode == 0) {
		amqp_table_put_string(definition, "ha-mode", S("all"));
	} else if (mode == 1) {
		amqp_table_put_string(definition, "ha-mode", S("exactly"));
		amqp_table_put_long(definition, "ha-params", roll(d, 5));
	} else if (mode == 2) {
		amqp_table_put_string(definition, "ha-mode", S("nodes"));
		size_t mark = amqp_table_begin_array(definition, "ha-params");
		for (uint32_t n = roll(d, 3); n > 0; n--)
			amqp_array_put_string(definition, node_name(roll(d, 6)));
		amqp_table_end(definition, mark);
	}
}

static inline void put_some_definition(struct dice *d, struct buf *definition)
{
	if (roll(d, 2) == 0)
		put_some_ha(d, definition);
	if (roll(d, 3) == 0)
		amqp_table_put_long(definition, "message-ttl", roll(d, 1000));
	if (roll(d, 3) == 0)
		amqp_table_put_string(definition, "alternate-exchange", some_exchange(d));
	if (roll(d, 4) == 0)
		amqp_table_put_string(definition, "queue-master-locator",
			PICK(d, "min-masters", "client-local", "random"));
}

static inline void put_some_policy(struct dice *d, struct buf *out)
{
	struct slice name = PICK(d, "p1", "p2", "p3", "p4");
	enum broker_policy_kind kind = roll(d, BROKER_POLICY_KINDS);
	struct buf definition = BUF_EMPTY;
	put_some_definition(d, &definition);
	const struct broker_policy_spec spec = {.pattern = PICK(d, "", ".*", "^q", "1$", "("),
		.apply_to = roll(d, BROKER_APPLY_TO_VALUES),
		.priority = roll(d, 3),
		.definition = buf_slice(&definition)};
	if (roll(d, 3) > 0)
		broker_put_set_policy(out, some_vhost(d), name, kind, &spec);
	else
		broker_put_clear_policy(out, some_vhost(d), name, kind);
	buf_done(&definition);
}

static inline void put_some_parameter(struct dice *d, struct buf *out)
{
	bool global = roll(d, 3) == 0;
	struct slice vhost = global ? NONE : some_vhost(d);
	struct slice component = global ? NONE : PICK(d, "shovel", "federation-upstream");
	struct slice name = PICK(d, "one", "two", "");
	if (roll(d, 3) > 0)
		broker_put_set_parameter(out, vhost, component, name, PICK(d, "1", "{}"));
	else
		broker_put_clear_parameter(out, vhost, component, name);
}

static inline int64_t some_limit(struct dice *d)
{
	const int64_t limits[] = {BROKER_LIMIT_NONE, BROKER_LIMIT_KEEP, -1, 3, 1000};
	return limits[roll(d, 5)];
}

static inline void put_some_limits(struct dice *d, struct buf *out)
{
	if (roll(d, 2))
		broker_put_set_vhost_limits(out, some_vhost(d),
			&(struct broker_vhost_limits){some_limit(d), some_limit(d)});
	else
		broker_put_set_user_limits(out, some_user(d),
			&(struct broker_user_limits){some_limit(d), some_limit(d)});
}

static inline void put_some_topic_permissions(struct dice *d, struct buf *out)
{
	struct slice user = some_user(d), vhost = some_vhost(d), exchange = some_exchange(d);
	if (roll(d, 3) > 0)
		broker_put_set_topic_permissions(
			out, user, vhost, exchange, some_pattern(d), some_pattern(d));
	else
		broker_put_clear_topic_permissions(out, user, vhost, exchange);
}

/* Of a queue that is there, if there is any. */
static inline void put_some_member(struct dice *d, const struct broker *b, struct buf *out)
{
	struct broker_queue *q = broker_queue_by_group(b, roll(d, (uint32_t)b->next_group));
	uint64_t group = q != NULL ? q->group : 1;
	uint64_t member = q != NULL && q->n_members > 0 ? q->members[roll(d, q->n_members)].id
							: roll(d, 9);
	switch (roll(d, 3)) {
	case 0:
		broker_put_member_promoted(out, group, member);
		break;
	case 1:
		broker_put_member_chosen(out, group, member, roll(d, 4));
		break;
	default:
		broker_put_member_gone(out, group, member, roll(d, 9), roll(d, 12));
	}
}

/* What an operator chooses of the members of some queues. */
static inline void put_some_choice(
	struct dice *d, const struct broker *b, struct buf *out, uint64_t node)
{
	struct broker_preference p[4];
	uint64_t groups[4];
	size_t n = roll(d, 4);
	for (size_t i = 0; i < n; i++) {
		const struct broker_queue *q =
			broker_queue_by_group(b, roll(d, (uint32_t)b->next_group));
		groups[i] = p[i].group = q != NULL ? q->group : 1;
		p[i].member = q != NULL && q->n_members > 0
				      ? q->members[roll(d, q->n_members)].id
				      : 1;
	}
	uint32_t what = roll(d, 3);
	if (what == 0)
		broker_put_prefer_leaders(out, p, n);
	else if (what == 1)
		broker_put_add_members(out, node, groups, n);
	else
		broker_put_delete_members(out, node, groups, n);
}

static inline void put_some_node(struct dice *d, const struct broker *b, struct buf *out)
{
	uint64_t node = some_node(d);
	uint64_t incarnation = broker_node_incarnation(b, node);
	struct slice name = node_name(roll(d, 20) == 0 ? 1 : node), address = S("host:25672");
	switch (roll(d, 15)) {
	case 0:
	case 1:
	case 2:
		broker_put_node_up(out, node, incarnation + roll(d, 2), name, address);
		break;
	case 3:
	case 4: {
		uint64_t absent = some_node(d);
		broker_put_node_down(out, node, incarnation, &absent, (uint16_t)roll(d, 2));
		break;
	}
	case 5:
	case 6:
		broker_put_join_node(out, node, name, address, roll(d, BROKER_NODE_TYPES));
		break;
	case 7:
		broker_put_forget_node(out, node);
		break;
	case 8:
		broker_put_set_node_type(out, node, roll(d, BROKER_NODE_TYPES));
		break;
	case 9:
		broker_put_replace_members(out, node);
		break;
	case 10:
		broker_put_set_drained(out, node, roll(d, 2));
		break;
	case 11:
		put_some_choice(d, b, out, node);
		break;
	default:
		put_some_member(d, b, out);
	}
}

/* Appends one command of those that do not concern the queues' and exchanges' own definitions. */
static inline void put_some_setting(struct dice *d, const struct broker *b, struct buf *out)
{
	uint32_t what = roll(d, 20);
	if (what < 5)
		put_some_policy(d, out);
	else if (what == 5)
		put_some_parameter(d, out);
	else if (what == 6)
		put_some_limits(d, out);
	else if (what == 7)
		put_some_topic_permissions(d, out);
	else if (what == 8)
		broker_put_set_vhost_metadata(out, some_vhost(d), PICK(d, "", "text"),
			PICK(d, "", "a,b"), PICK(d, "", "quorum"));
	else
		put_some_node(d, b, out);
}

/* Appends one command. */
static inline void put_some_command(struct dice *d, const struct broker *b, struct buf *out)
{
	if (roll(d, 3) == 0) {
		put_some_setting(d, b, out);
		return;
	}
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
	else
		broker_put_set_cluster_name(out, PICK(d, "", "rabbits", "hares"));
	buf_done(&memory);
}

#endif

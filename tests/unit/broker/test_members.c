/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/balance.h"
#include "tests/unit/broker/commands.h"

/* ---- what is asked for ---- */

static void set_ha(struct broker *b, const char *mode, int64_t count)
{
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, "ha-mode", slice_str(mode));
	if (count > 0)
		amqp_table_put_long(&d, "ha-params", count);
	assert_int_equal(set_policy(b, BROKER_POLICY_USER, "ha",
				 &(struct broker_policy_spec){.definition = buf_slice(&d)})
				 .code,
		BROKER_OK);
	buf_done(&d);
}

static void set_ha_nodes(struct broker *b, const uint64_t *nodes, size_t n)
{
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, "ha-mode", S("nodes"));
	size_t mark = amqp_table_begin_array(&d, "ha-params");
	for (size_t i = 0; i < n; i++)
		amqp_array_put_string(&d, node_name(nodes[i]));
	amqp_table_end(&d, mark);
	assert_int_equal(set_policy(b, BROKER_POLICY_USER, "ha",
				 &(struct broker_policy_spec){.definition = buf_slice(&d)})
				 .code,
		BROKER_OK);
	buf_done(&d);
}

static struct broker_queue *declare_on(
	struct broker *b, const char *name, bool durable, uint64_t home)
{
	return declare_queue_spec(b, name,
		(struct broker_queue_spec){.durable = durable,
			.home_node = home,
			.home_incarnation = broker_node_incarnation(b, home)})
		.queue;
}

static struct broker_queue *declare_argument(struct broker *b, const char *name, uint64_t home,
	const char *key, const char *value)
{
	struct buf a = BUF_EMPTY;
	amqp_table_put_string(&a, key, slice_str(value));
	struct broker_queue *q = declare_queue_spec(b, name,
		(struct broker_queue_spec){.durable = true,
			.home_node = home,
			.home_incarnation = broker_node_incarnation(b, home),
			.arguments = buf_slice(&a)})
					 .queue;
	buf_done(&a);
	return q;
}

/* ---- what comes of it: "1i 2j 3l*" is node and state, a star for one in memory ---- */

static const char *members(const struct broker *b, const struct broker_queue *q)
{
	static char text[256];
	char *p = text;
	*p = '\0';
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *n = broker_node_by_number(b, m->node);
		p += sprintf(p, "%s%d%c%s", i > 0 ? " " : "", n != NULL ? (int)n->id : 0,
			broker_member_state_name(m->state)[0], m->memory ? "*" : "");
	}
	return text;
}

#define assert_members(b, q, text) assert_string_equal(members(b, q), text)

static struct broker_member *on(const struct broker *b, const struct broker_queue *q, uint64_t node)
{
	struct broker_member *m = broker_member_on(q, broker_node_find(b, node)->number);
	assert_non_null(m);
	return m;
}

static void promote(struct broker *b, const struct broker_queue *q, uint64_t node)
{
	assert_int_equal(member_promoted(b, q, on(b, q, node)).code, BROKER_OK);
}

/* All that are leaving have left. */
static void let_leave(struct broker *b, struct broker_queue *q)
{
	for (size_t i = q->n_members; i-- > 0;)
		if (q->members[i].state == BROKER_MEMBER_LEAVING)
			assert_int_equal(member_gone(b, q, &q->members[i]).code, BROKER_OK);
}

static void start_nodes(struct broker *b, uint64_t n)
{
	for (uint64_t id = 1; id <= n; id++)
		assert_int_equal(node_up(b, id, 1).code, BROKER_OK);
}

/* ---- where ---- */

static void a_queue_is_on_the_node_that_declared_it(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	struct broker_queue *q = declare_on(b, "q", true, 2), *t = declare_on(b, "t", false, 3);
	assert_members(b, q, "2i");
	assert_members(b, t, "3i*");
	assert_true(q->members[0].id != t->members[0].id);
	assert_int_equal(broker_node_find(b, 2)->n_members, 1);
	assert_int_equal(broker_node_find(b, 2)->n_leaders, 1);
	delete_queue(b, q->group);
	assert_int_equal(broker_node_find(b, 2)->n_members, 0);
}

static void a_queue_from_before_the_first_node_gets_its_member_then(void **state)
{
	struct broker *b = *state;
	struct broker_queue *q = declare_queue(b, "q");
	assert_int_equal(q->n_members, 0);
	node_up(b, 1, 1);
	assert_members(b, q, "1i");
}

static void the_locator_chooses_the_first_node(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	declare_on(b, "a", true, 1);
	declare_on(b, "b", true, 2);
	assert_members(
		b, declare_argument(b, "c", 1, "x-queue-master-locator", "min-masters"), "3i");
	assert_members(b, declare_argument(b, "d", 2, "x-queue-leader-locator", "balanced"), "1i");
	assert_members(
		b, declare_argument(b, "e", 2, "x-queue-master-locator", "client-local"), "2i");
	unsigned seen[4] = {0};
	for (int i = 0; i < 60; i++) {
		char name[8];
		snprintf(name, sizeof name, "r%d", i);
		struct broker_queue *q =
			declare_argument(b, name, 1, "x-queue-master-locator", "random");
		seen[broker_node_by_number(b, q->members[0].node)->id]++;
	}
	for (int i = 1; i <= 3; i++)
		assert_in_range(seen[i], 8, 40);
}

static void the_policy_comes_before_the_configuration(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	declare_on(b, "a", true, 1);
	const struct broker_queue_spec s = {.durable = true,
		.locator = BROKER_LOCATOR_MIN_MASTERS,
		.home_node = 1,
		.home_incarnation = 1};
	assert_members(b, declare_queue_spec(b, "b", s).queue, "2i");
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, "queue-master-locator", S("client-local"));
	set_policy(b, BROKER_POLICY_USER, "p",
		&(struct broker_policy_spec){.definition = buf_slice(&d)});
	buf_done(&d);
	declare_on(b, "c", true, 1);
	assert_members(b, declare_queue_spec(b, "d", s).queue, "1i");
}

static void exclusive_queues_are_not_mirrored(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	const struct broker_queue_spec s = {.durable = true,
		.exclusive = true,
		.owner = {2, 1, 7},
		.home_node = 2,
		.home_incarnation = 1};
	assert_members(b, declare_queue_spec(b, "q", s).queue, "2i*");
}

/* ---- how many ---- */

static void all_is_every_node_and_those_that_join(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 2), *t = declare_on(b, "t", false, 1);
	assert_members(b, q, "2i 1i");
	assert_members(b, t, "1i* 2i*");
	join_node(b, 3, BROKER_NODE_DISC);
	assert_members(b, q, "2i 1i 3j");
	/* One in memory only when the node is there. */
	assert_members(b, t, "1i* 2i*");
	node_up(b, 3, 1);
	assert_members(b, t, "1i* 2i* 3j*");
	promote(b, q, 3);
	assert_members(b, q, "2i 1i 3v");
	assert_int_equal(clear_policy(b, BROKER_POLICY_USER, "ha").code, BROKER_OK);
	assert_members(b, q, "2i 1l 3l");
	let_leave(b, q);
	assert_members(b, q, "2i");
}

static void nodes_that_are_down_do_not_belong_to_the_first_members(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	node_down(b, 2);
	set_ha(b, "all", 0);
	assert_members(b, declare_on(b, "q", true, 1), "1i 2j 3i");
	assert_members(b, declare_on(b, "t", false, 1), "1i* 3i*");
}

static void exactly_is_a_number_or_as_many_as_there_are(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 1);
	set_ha(b, "exactly", 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	assert_members(b, q, "1i");
	node_up(b, 2, 1);
	assert_members(b, q, "1i 2j");
	node_up(b, 3, 1);
	assert_members(b, q, "1i 2j");
	struct broker_queue *r = declare_on(b, "r", true, 1);
	assert_members(b, r, "1i 3i");
	set_ha(b, "exactly", 3);
	assert_members(b, r, "1i 3i 2j");
	/* Members that are there are kept, those that vote before others. */
	set_ha(b, "exactly", 2);
	assert_members(b, r, "1i 3i 2l");
	set_ha(b, "exactly", 1);
	assert_members(b, r, "1i 3l 2l");
}

static void new_members_go_where_there_are_fewest(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 4);
	set_ha(b, "exactly", 2);
	for (int i = 0; i < 40; i++) {
		char name[8];
		snprintf(name, sizeof name, "q%d", i);
		declare_on(b, name, true, 1 + (uint64_t)i % 4);
	}
	for (uint64_t id = 1; id <= 4; id++) {
		assert_in_range(broker_node_find(b, id)->n_members, 18, 22);
		assert_int_equal(broker_node_find(b, id)->n_leaders, 10);
	}
}

static void a_quorum_queue_has_three_or_what_it_asks_for(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 4);
	join_node(b, 5, BROKER_NODE_RAM);
	node_up(b, 5, 1);
	struct broker_queue *q = declare_argument(b, "q", 2, "x-queue-type", "quorum");
	assert_int_equal(q->n_members, 3);
	assert_int_equal(broker_node_by_number(b, q->members[0].node)->id, 2);
	struct buf a = BUF_EMPTY;
	amqp_table_put_string(&a, "x-queue-type", S("quorum"));
	amqp_table_put_int(&a, "x-quorum-initial-group-size", 5);
	q = declare_queue_spec(b, "r",
		(struct broker_queue_spec){
			.durable = true, .home_node = 1, .arguments = buf_slice(&a)})
		    .queue;
	/* RAM nodes have no part in it. */
	assert_int_equal(q->n_members, 4);
	assert_null(broker_member_on(q, broker_node_find(b, 5)->number));
	buf_done(&a);
}

static void named_nodes_are_those_that_exist(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha_nodes(b, (const uint64_t[]){3, 2, 9}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	assert_int_equal(q->n_members, 2);
	assert_null(broker_member_on(q, 1));
	struct broker_queue *r = declare_on(b, "r", true, 3);
	assert_members(b, r, "3i 2i");
	set_ha_nodes(b, (const uint64_t[]){8, 9}, 2);
	assert_members(b, r, "3i 2l");
	assert_members(b, declare_on(b, "s", true, 1), "1i");
}

static void the_old_members_stay_until_a_new_one_votes(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	set_ha_nodes(b, (const uint64_t[]){2, 3}, 2);
	assert_members(b, q, "1i 2j 3j");
	promote(b, q, 3);
	assert_members(b, q, "3v 1l 2j");
	promote(b, q, 2);
	let_leave(b, q);
	assert_members(b, q, "3v 2v");
}

/* ---- nodes that come and go ---- */

static void members_in_memory_end_with_the_nodes_incarnation(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	struct broker_queue *t = declare_on(b, "t", false, 1), *q = declare_on(b, "q", true, 1);
	uint64_t old = on(b, t, 1)->id;
	node_down(b, 1);
	assert_members(b, t, "2i* 1l* 3i*");
	assert_members(b, q, "1i 2i 3i");
	node_up(b, 1, 2);
	assert_members(b, t, "2i* 1l* 3i* 1j*");
	assert_true(on(b, t, 1)->id > old);
	let_leave(b, t);
	assert_members(b, t, "2i* 3i* 1j*");
	/* It was not noticed that it had gone. */
	promote(b, t, 1);
	node_up(b, 1, 3);
	assert_members(b, t, "2i* 3i* 1l* 1j*");
}

static void a_queue_in_memory_goes_with_its_last_voter(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	declare_on(b, "alone", false, 1);
	node_down(b, 1);
	assert_null(queue(b, "alone"));
	set_ha(b, "all", 0);
	declare_on(b, "t", false, 2);
	node_up(b, 1, 2);
	assert_members(b, queue(b, "t"), "2i* 1j*");
	/* What is joining has nothing yet. */
	node_down(b, 2);
	assert_null(queue(b, "t"));
}

static void exactly_gets_another_member_in_memory_at_once(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "exactly", 2);
	struct broker_queue *t = declare_on(b, "t", false, 1);
	uint64_t second = broker_node_by_number(b, t->members[1].node)->id;
	node_down(b, second);
	assert_int_equal(t->n_members, 3);
	assert_int_equal(t->members[1].state, BROKER_MEMBER_LEAVING);
	assert_int_equal(t->members[2].state, BROKER_MEMBER_JOINING);
}

static void exclusive_queues_end_with_their_owners_node(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	const struct broker_queue_spec s = {.durable = true,
		.exclusive = true,
		.owner = {2, 1, 7},
		.home_node = 2,
		.home_incarnation = 1};
	declare_queue_spec(b, "q", s);
	node_down(b, 2);
	assert_null(queue(b, "q"));
	assert_int_equal(declare_queue_spec(b, "q", s).code, BROKER_STALE);
}

static void an_old_nodes_end_is_no_news(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 1);
	node_up(b, 1, 5);
	struct buf c = BUF_EMPTY;
	broker_put_node_down(&c, 1, 4, NULL, 0);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_true(broker_node_find(b, 1)->up);
}

static void members_on_a_lost_node_are_replaced_on_request(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 4);
	set_ha(b, "exactly", 3);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	struct broker_queue *alone = declare_argument(b, "one", 1, "x-queue-type", "quorum");
	uint64_t lost = broker_node_by_number(b, q->members[2].node)->id;
	assert_int_equal(replace_members(b, lost).code, BROKER_RUNNING);
	node_down(b, lost);
	assert_int_equal(q->n_members, 3);
	assert_int_equal(replace_members(b, lost).code, BROKER_OK);
	assert_int_equal(q->n_members, 4);
	assert_int_equal(q->members[2].state, BROKER_MEMBER_LEAVING);
	assert_int_equal(q->members[3].state, BROKER_MEMBER_JOINING);
	assert_int_equal(alone->n_members, 3);
	let_leave(b, q);
	promote(b, q, broker_node_by_number(b, q->members[2].node)->id);
	/* Nobody is left to take its place. */
	uint64_t next = broker_node_by_number(b, q->members[1].node)->id;
	node_down(b, next);
	replace_members(b, next);
	assert_int_equal(q->n_members, 3);
}

static void a_forgotten_node_takes_its_members_along(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 2);
	clear_policy(b, BROKER_POLICY_USER, "ha");
	set_ha(b, "exactly", 2);
	declare_argument(b, "alone", 2, "x-queue-type", "classic");
	clear_policy(b, BROKER_POLICY_USER, "ha");
	assert_int_equal(forget_node(b, 2).code, BROKER_RUNNING);
	node_down(b, 2);
	set_ha(b, "exactly", 2);
	(void)q;
	assert_int_equal(forget_node(b, 2).code, BROKER_OK);
	assert_int_equal(forget_node(b, 2).code, BROKER_NOT_FOUND);
	assert_null(broker_node_by_number(b, 2));
	/* Its number is not given to the next one. */
	struct broker_result r = join_node(b, 2, BROKER_NODE_DISC);
	assert_int_equal(r.node->number, 4);
}

static void a_queue_that_was_only_there_is_gone(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	declare_on(b, "there", true, 2);
	struct broker_queue *here = declare_on(b, "here", true, 1);
	set_ha(b, "all", 0);
	struct broker_queue *both = declare_on(b, "both", true, 2);
	node_down(b, 2);
	forget_node(b, 2);
	assert_null(queue(b, "there"));
	assert_members(b, here, "1i 0l");
	assert_members(b, both, "1i 0l 0l");
	let_leave(b, both);
	assert_members(b, both, "1i");
}

/* ---- one of two ---- */

static void of_two_the_one_that_is_up_survives(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "exactly", 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	uint64_t mirror = q->members[1].node, other = 5 - mirror;
	assert_false(broker_member_survives(q, on(b, q, 1)));
	node_down(b, 1);
	assert_int_equal(q->n_members, 3);
	const struct broker_member *m = &q->members[0];
	assert_int_equal(m->node, mirror);
	assert_true(broker_member_survives(q, m) && q->reshaped);
	assert_true(q->members[1].lost && !q->members[1].heir);
	assert_true(q->members[2].heir && q->members[2].id > q->members[1].id);
	assert_int_equal(q->members[2].state, BROKER_MEMBER_JOINING);
	/* Repeats, and the other one after it: nobody is left to go on. */
	node_down(b, 1);
	node_down(b, mirror);
	assert_int_equal(q->n_members, 3);
	assert_true(broker_member_survives(q, &q->members[0]));
	node_up(b, mirror, 2);
	node_up(b, 1, 2);
	assert_true(broker_member_survives(q, &q->members[0]));
	assert_int_equal(member_promoted(b, q, &q->members[1]).code, BROKER_OK);
	assert_int_equal(q->members[1].state, BROKER_MEMBER_LEAVING);
	let_leave(b, q);
	assert_false(broker_queue_has_lost(q));
	/* The heir counts when it has everything, and may survive then. */
	node_down(b, mirror);
	assert_int_equal(q->n_members, 2);
	node_up(b, mirror, 3);
	promote(b, q, 1);
	assert_int_equal(q->members[0].node, 1); /* as before */
	node_down(b, mirror);
	assert_true(broker_member_survives(q, on(b, q, 1)));
	assert_false(broker_member_inherits(q, on(b, q, 1)));
	/* One that stays away is replaced, and its log has no heir then. */
	assert_int_equal(replace_members(b, mirror).code, BROKER_OK);
	assert_null(broker_member_on(q, broker_node_find(b, mirror)->number));
	assert_false(on(b, q, other)->heir);
	let_leave(b, q);
	assert_int_equal(q->n_members, 2);
}

/* The other one has in memory all that there is, whoever goes for the third time. */
static void of_two_in_memory_the_other_survives(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "exactly", 2);
	struct broker_queue *t = declare_on(b, "t", false, 1);
	uint64_t mirror = broker_node_by_number(b, t->members[1].node)->id;
	node_down(b, 1);
	assert_true(broker_member_survives(t, on(b, t, mirror)));
	assert_false(broker_member_inherits(t, on(b, t, mirror)));
	assert_true(broker_queue_has_lost(t) && t->members[0].node == mirror);
	for (size_t i = 0; i < t->n_members; i++)
		assert_false(t->members[i].heir || t->members[i].first);
	/* Who comes in its place has nothing until it is promoted. */
	node_up(b, 1, 2);
	assert_int_equal(t->n_members, 3);
	assert_true(broker_member_survives(t, on(b, t, mirror)));
	let_leave(b, t);
	node_down(b, mirror);
	assert_null(queue(b, "t"));
}

/* It has started anew before anybody called it down: nothing of what it had is left. */
static void one_in_memory_that_is_back_has_nothing(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 1), *t = declare_on(b, "t", false, 1);
	node_up(b, 1, 2);
	assert_members(b, t, "2i* 1l* 1j*");
	assert_true(broker_member_survives(t, on(b, t, 2)));
	assert_members(b, q, "1i 2i");
	/* All lose their power: there is nobody to go on. */
	node_up(b, 2, 2);
	assert_null(queue(b, "t"));
	assert_false(broker_queue_has_lost(q));
}

static struct broker_result node_down_without(struct broker *b, uint64_t node, uint64_t absent)
{
	struct buf c = BUF_EMPTY;
	broker_put_node_down(&c, node, broker_node_incarnation(b, node), &absent, 1);
	return apply(b, &c);
}

/* Both members' nodes go at a time: whichever is back first goes on. */
static void of_two_that_are_down_the_one_that_comes_back_survives(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 5);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1), *t = declare_on(b, "t", false, 1);
	node_down_without(b, 1, 2);
	assert_false(broker_queue_has_lost(q));
	assert_true(broker_queue_has_lost(t));
	node_down(b, 2);
	assert_members(b, q, "1i 2i");
	assert_null(queue(b, "t"));
	node_up(b, 5, 2);
	assert_false(broker_queue_has_lost(q));
	node_up(b, 1, 2);
	assert_members(b, q, "1i 2l 2j");
	assert_true(broker_member_survives(q, on(b, q, 1)) && on(b, q, 2)->heir);
	node_up(b, 2, 2);
	assert_true(broker_member_survives(q, on(b, q, 1)));
}

/* Who was only not linked goes on when that is known, by news that is old otherwise. */
static void who_was_absent_survives_when_it_is_there(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 5);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	node_down_without(b, 1, 2);
	node_down_without(b, 1, 2);
	assert_false(broker_queue_has_lost(q));
	struct buf c = BUF_EMPTY;
	broker_put_node_down(&c, 1, 0, NULL, BROKER_ALL_ABSENT);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_false(broker_queue_has_lost(q));
	node_up(b, 4, 2); /* which says nothing about it */
	assert_false(broker_queue_has_lost(q));
	node_down_without(b, 1, 3);
	assert_true(broker_member_survives(q, on(b, q, 2)));
}

/* The end of an older life is no news of what the present one has. */
static void an_older_lifes_end_parts_nobody_from_the_present_one(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	start_nodes(b, 2);
	node_up(b, 1, 5);
	set_ha(b, "all", 0);
	struct broker_queue *t = declare_on(b, "t", false, 1), *q = declare_on(b, "q", true, 1);
	broker_put_node_down(&c, 1, 4, NULL, 0);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_members(b, t, "1i* 2i*");
	assert_members(b, q, "1i 2i");
}

/* One that was to go votes as long as nobody has removed it. */
static void one_of_two_that_was_to_go_is_lost_with_its_node(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 1), *both = declare_on(b, "both", true, 1);
	clear_policy(b, BROKER_POLICY_USER, "ha");
	assert_members(b, q, "1i 2l");
	node_down(b, 2);
	assert_true(broker_member_survives(q, on(b, q, 1)) && q->n_members == 2);
	assert_true(broker_member_survives(both, on(b, both, 1)));
	let_leave(b, q);
	assert_members(b, q, "1i");
}

/* A third one that voted was going when the node went: when that is out of the group the two are parted. */
static void two_are_parted_when_a_third_has_gone(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 1), *t = declare_on(b, "t", false, 1);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	assert_members(b, q, "1i 2i 3l");
	node_down(b, 2);
	assert_false(broker_queue_has_lost(q) || broker_queue_has_lost(t));
	assert_int_equal(member_gone(b, q, &q->members[2]).code, BROKER_OK);
	assert_true(broker_member_survives(q, on(b, q, 1)));
	assert_members(b, t, "1i* 2l* 3l*");
	assert_int_equal(member_gone(b, t, &t->members[2]).code, BROKER_OK);
	assert_true(broker_member_survives(t, on(b, t, 1)));
}

static uint64_t leaving_on(const struct broker *b, const struct broker_queue *q, uint64_t node)
{
	for (size_t i = 0; i < q->n_members; i++)
		if (q->members[i].state == BROKER_MEMBER_LEAVING &&
			q->members[i].node == broker_node_find(b, node)->number)
			return q->members[i].id;
	fail();
	return 0;
}

/* The one that is down has said so before, or only just: nothing is known of the other one, until it is told. */
static void two_are_not_parted_by_who_is_down(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	start_nodes(b, 4);
	set_ha_nodes(b, (const uint64_t[]){1, 2, 3}, 3);
	struct broker_queue *q = declare_on(b, "q", true, 1), *t = declare_on(b, "t", false, 1);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	node_down(b, 1);
	const struct broker_parting all = {0}, none = {.all_absent = true};
	assert_false(broker_members_would_part(b, &all));
	uint64_t unparted = b->unparted;
	broker_put_member_gone(&c, q->group, leaving_on(b, q, 3), 1, on(b, q, 1)->id);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_members(b, q, "1i 2i");
	assert_true(b->unparted > unparted);
	assert_true(broker_members_would_part(b, &all));
	assert_false(broker_members_would_part(b, &none));
	/* What was in memory there is over. */
	broker_put_member_gone(&c, t->group, leaving_on(b, t, 3), 1, 0);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_true(broker_member_survives(t, on(b, t, 2)));
	/* As the leader of the metadata says it: with nothing ended. */
	broker_put_node_down(&c, 4, 0, NULL, 0);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_true(broker_member_survives(q, on(b, q, 2)) && broker_node_find(b, 4)->up);
	assert_false(broker_members_would_part(b, &all));
}

/* Who was called down is forgotten before the other one is linked again. */
static void who_was_absent_survives_one_that_is_forgotten(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	start_nodes(b, 5);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	node_down_without(b, 1, 2);
	assert_int_equal(forget_node(b, 1).code, BROKER_OK);
	assert_members(b, q, "2i 0l");
	assert_true(broker_members_would_part(b, &(struct broker_parting){0}));
	broker_put_node_down(&c, 3, 0, NULL, 0);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_true(broker_member_survives(q, on(b, q, 2)));
}

/* Its node is forgotten while the other one's is down. */
static void who_comes_back_survives_one_that_is_forgotten(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 5);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	node_down_without(b, 1, 2);
	node_down(b, 2);
	assert_int_equal(forget_node(b, 2).code, BROKER_OK);
	assert_members(b, q, "1i 0l");
	node_up(b, 1, 2);
	assert_true(broker_member_survives(q, on(b, q, 1)));
}

/* Whose log may not be there, though the queue has begun. */
static void only_the_first_of_several_are_unproven(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	struct broker_queue *alone = declare_on(b, "alone", true, 1);
	assert_false(alone->members[0].unproven);
	set_ha_nodes(b, (const uint64_t[]){1, 2}, 2);
	assert_false(on(b, alone, 1)->unproven || on(b, alone, 2)->unproven);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	assert_true(on(b, q, 1)->unproven && on(b, q, 2)->unproven);
	node_down(b, 1);
	assert_true(on(b, q, 1)->heir && on(b, q, 1)->unproven);
	let_leave(b, q);
	promote(b, q, 1);
	assert_false(on(b, q, 1)->unproven);
	node_down(b, 1);
	assert_false(on(b, q, 1)->unproven);
}

static void others_than_two_are_not_parted(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	struct broker_queue *three = declare_on(b, "q", true, 1);
	node_down(b, 2);
	assert_members(b, three, "1i 2i 3i");
	node_down(b, 3);
	assert_members(b, three, "1i 2i 3i");
}

/* What the lost one had is better than nothing. */
static void a_survivor_that_is_forgotten_leaves_its_queue_to_the_heir(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	node_down(b, 1);
	node_down(b, 2);
	assert_int_equal(forget_node(b, 2).code, BROKER_OK);
	q = queue(b, "q");
	assert_non_null(q);
	assert_members(b, q, "1v 0l 1l");
	assert_true(broker_member_survives(q, &q->members[0]));
	assert_true(broker_member_inherits(q, &q->members[0]));
	assert_true(q->members[0].unproven);
	let_leave(b, q);
	assert_members(b, q, "1v");
}

/* A queue on node 1 and one other of so many, *ret_mirror. */
static struct broker_queue *declare_on_two(struct broker *b, unsigned nodes, uint64_t *ret_mirror)
{
	start_nodes(b, nodes);
	set_ha(b, "exactly", 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	*ret_mirror = broker_node_by_number(b, q->members[1].node)->id;
	return q;
}

/* Also when another one was to take its place, and has not got everything. */
static void an_heir_that_is_replaced_inherits_before_it_has_gone(void **state)
{
	struct broker *b = *state;
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 3, &mirror);
	uint64_t other = 5 - mirror;
	node_down(b, 1);
	assert_int_equal(replace_members(b, 1).code, BROKER_OK);
	assert_null(broker_member_on(q, broker_node_find(b, 1)->number));
	assert_int_equal(on(b, q, other)->state, BROKER_MEMBER_JOINING);
	node_up(b, 1, 2);
	node_down(b, mirror);
	assert_int_equal(forget_node(b, mirror).code, BROKER_OK);
	q = queue(b, "q");
	assert_non_null(q);
	assert_true(broker_member_survives(q, on(b, q, 1)));
	let_leave(b, q);
	assert_false(broker_queue_has_lost(q));
	assert_int_equal(on(b, q, 1)->state, BROKER_MEMBER_VOTER);
	assert_int_equal(on(b, q, other)->state, BROKER_MEMBER_JOINING);
}

/* Nor has one that was to go: it voted as long as the other one was there. */
static void one_that_is_replaced_inherits_before_it_has_gone(void **state)
{
	struct broker *b = *state;
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 5, &mirror);
	node_down_without(b, 1, mirror);
	assert_int_equal(replace_members(b, 1).code, BROKER_OK);
	assert_null(broker_member_on(q, broker_node_find(b, 1)->number));
	node_down(b, mirror);
	assert_int_equal(forget_node(b, mirror).code, BROKER_OK);
	q = queue(b, "q");
	assert_non_null(q);
	assert_true(broker_member_inherits(q, on(b, q, 1)));
	node_up(b, 1, 2);
	let_leave(b, q);
	assert_false(broker_queue_has_lost(q));
}

/* Nobody takes the place of one that votes while the others that do are down. */
static void who_is_replaced_waits_for_another_that_can_vote(void **state)
{
	struct broker *b = *state;
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 5, &mirror);
	node_down_without(b, 1, mirror);
	node_down(b, mirror);
	assert_int_equal(replace_members(b, 1).code, BROKER_OK);
	assert_int_equal(on(b, q, 1)->state, BROKER_MEMBER_INITIAL);
	node_up(b, 1, 2);
	assert_true(broker_member_survives(q, on(b, q, 1)));
}

/* Who has been chosen, or leaves, may have a vote. */
static void two_with_others_that_may_vote_are_not_parted(void **state)
{
	struct broker *b = *state;
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 3, &mirror);
	uint64_t other = 5 - mirror;
	set_ha(b, "all", 0);
	assert_int_equal(on(b, q, other)->state, BROKER_MEMBER_JOINING);
	assert_int_equal(member_chosen(b, q, on(b, q, other), 3).code, BROKER_OK);
	node_down(b, mirror);
	assert_false(broker_queue_has_lost(q));
	node_up(b, mirror, 2);
	promote(b, q, other);
	set_ha(b, "exactly", 2);
	assert_int_equal(q->n_members, 3);
	node_down(b, 1);
	assert_false(broker_queue_has_lost(q));
}

static void two_with_another_that_has_no_vote_are_parted(void **state)
{
	struct broker *b = *state;
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 3, &mirror);
	uint64_t other = 5 - mirror;
	set_ha(b, "all", 0);
	node_down(b, mirror);
	assert_members(b, q, "1i 3l 2j 3j");
	assert_true(broker_member_survives(q, &q->members[0]));
	/* It gets none while the lost one might use it. */
	assert_int_equal(member_chosen(b, q, on(b, q, other), 3).code, BROKER_REFUSED);
	let_leave(b, q);
	assert_int_equal(member_chosen(b, q, on(b, q, other), 3).code, BROKER_OK);
	/* The heir is not wanted any more, and never had a vote. */
	set_ha(b, "exactly", 2);
	promote(b, q, other);
	assert_int_equal(on(b, q, other)->chosen, 3);
	node_down(b, other);
	assert_true(broker_member_survives(q, on(b, q, 1)));
}

/* The leader of a term may promote whom it was allowed to: what an older one says about that member is not true
 * any more. */
static void who_was_chosen_does_not_go_by_an_older_leaders_word(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	start_nodes(b, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	set_ha(b, "all", 0);
	struct broker_member *m = on(b, q, 2);
	assert_int_equal(m->chosen, 0);
	assert_int_equal(member_chosen(b, q, m, 5).code, BROKER_OK);
	assert_int_equal(member_chosen(b, q, m, 4).code, BROKER_REFUSED);
	assert_int_equal(member_chosen(b, q, m, 5).code, BROKER_OK);
	clear_policy(b, BROKER_POLICY_USER, "ha");
	assert_members(b, q, "1i 2l");
	assert_int_equal(member_chosen(b, q, &q->members[1], 6).code, BROKER_REFUSED);
	broker_put_member_gone(&c, q->group, q->members[1].id, 4, q->members[0].id);
	assert_int_equal(apply(b, &c).code, BROKER_REFUSED);
	broker_put_member_gone(&c, q->group, q->members[1].id, 5, q->members[0].id);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_members(b, q, "1i");
}

/* ---- the table ---- */

static void nodes_join_once_and_with_a_name_of_their_own(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	assert_int_equal(join_node(b, 1, BROKER_NODE_DISC).code, BROKER_REFUSED);
	start_nodes(b, 1);
	assert_int_equal(broker_node_find(b, 1)->number, 1);
	assert_int_equal(join_node(b, 2, BROKER_NODE_DISC).code, BROKER_OK);
	struct broker_result r = join_node(b, 2, BROKER_NODE_DISC);
	assert_int_equal(r.code, BROKER_EXISTS);
	assert_int_equal(r.node->number, 2);
	assert_false(r.node->up);
	broker_put_join_node(&c, 3, node_name(2), NONE, BROKER_NODE_DISC);
	assert_int_equal(apply(b, &c).code, BROKER_NAME_TAKEN);
	broker_put_join_node(&c, 3, NONE, NONE, BROKER_NODE_DISC);
	assert_int_equal(apply(b, &c).code, BROKER_BAD_NAME);
	broker_put_node_up(&c, 3, 1, node_name(3), NONE);
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
	broker_put_node_up(&c, 2, 1, node_name(1), NONE);
	assert_int_equal(apply(b, &c).code, BROKER_NAME_TAKEN);
	assert_ptr_equal(broker_node_by_name(b, node_name(2)), broker_node_find(b, 2));
	assert_int_equal(broker_nodes_up(b), 1);
}

static void the_last_disc_node_stays(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 1);
	join_node(b, 2, BROKER_NODE_RAM);
	node_down(b, 1);
	assert_int_equal(forget_node(b, 1).code, BROKER_LAST_DISC);
	assert_int_equal(set_node_type(b, 1, BROKER_NODE_RAM).code, BROKER_LAST_DISC);
	assert_int_equal(set_node_type(b, 1, BROKER_NODE_DISC).code, BROKER_UNCHANGED);
	assert_int_equal(set_node_type(b, 2, BROKER_NODE_DISC).code, BROKER_OK);
	assert_int_equal(forget_node(b, 1).code, BROKER_OK);
	assert_int_equal(broker_nodes_of_type(b, BROKER_NODE_DISC), 1);
	node_up(b, 2, 1);
	assert_int_equal(set_node_type(b, 2, BROKER_NODE_RAM).code, BROKER_RUNNING);
}

static void ram_nodes_stand_by(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 1);
	join_node(b, 2, BROKER_NODE_RAM);
	node_up(b, 2, 1);
	/* Durable queues are not theirs, whoever declares them. */
	assert_members(b, declare_on(b, "durable", true, 2), "1i");
	assert_members(b, declare_on(b, "transient", false, 2), "2i*");
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 2);
	assert_members(b, q, "1i 2j*");
	assert_false(broker_member_may_vote(q, on(b, q, 2)));
	/* Never promoted. */
	assert_int_equal(member_promoted(b, q, on(b, q, 2)).code, BROKER_OK);
	assert_members(b, q, "1i 2j*");
	node_down(b, 2);
	assert_members(b, q, "1i 2l*");
	let_leave(b, q);
	node_up(b, 2, 2);
	assert_members(b, q, "1i 2j*");
	/* A disc node is better than one in memory. */
	set_ha(b, "exactly", 2);
	assert_members(b, q, "1i 2j*");
	node_up(b, 3, 1);
	assert_members(b, q, "1i 2l* 3j");
}

static void a_node_that_changes_its_type_changes_its_members(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	struct broker_queue *alone = declare_on(b, "alone", true, 2);
	set_ha(b, "all", 0);
	struct broker_queue *q = declare_on(b, "q", true, 2);
	assert_members(b, alone, "2i 1j");
	node_down(b, 2);
	assert_int_equal(set_node_type(b, 2, BROKER_NODE_RAM).code, BROKER_OK);
	assert_members(b, q, "1i 2l 2l");
	/* It has the only copy: that stays until there is another. */
	assert_members(b, alone, "2i 1j");
	node_up(b, 2, 2);
	assert_members(b, q, "1i 2l 2l 2j*");
	promote(b, alone, 1);
	assert_members(b, alone, "1v 2l 2j*");
	let_leave(b, q);
	node_down(b, 2);
	set_node_type(b, 2, BROKER_NODE_DISC);
	node_up(b, 2, 3);
	let_leave(b, q);
	assert_members(b, q, "1i 2j");
}

static void only_those_that_leave_can_be_gone(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 1);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	struct buf c = BUF_EMPTY;
	struct broker_result r = member_gone(b, q, &q->members[0]);
	assert_int_equal(r.code, BROKER_REFUSED);
	assert_int_equal(r.resource, BROKER_MEMBER);
	broker_put_member_gone(&c, q->group, 99, 1, q->members[0].id);
	r = apply(b, &c);
	assert_int_equal(r.code, BROKER_NOT_FOUND);
	assert_int_equal(r.resource, BROKER_MEMBER);
	broker_put_member_promoted(&c, 99, 1);
	r = apply(b, &c);
	assert_int_equal(r.code, BROKER_NOT_FOUND);
	assert_int_equal(r.resource, BROKER_QUEUE);
}

static void transient_exchanges_live_while_a_node_does(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	declare_auto_delete(b, "x");
	node_up(b, 1, 2);
	assert_non_null(exchange(b, "x"));
	node_down(b, 2);
	assert_non_null(exchange(b, "x"));
	node_up(b, 1, 3);
	assert_null(exchange(b, "x"));
}

/* ---- whatever comes ---- */

struct tally {
	size_t members, leaders;
};

static void check_queue(const struct broker *b, const struct broker_queue *q, struct tally *tally)
{
	bool on_disk = false, votes = false;
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *n = broker_node_by_number(b, m->node);
		assert_true(m->id > 0 && m->id < b->next_member);
		assert_ptr_equal(broker_member_find(q, m->id), m);
		if (broker_queue_in_memory(q))
			assert_true(m->memory);
		assert_true(!m->lost || m->state == BROKER_MEMBER_LEAVING);
		assert_false(m->memory && (m->heir || (m->lost && !broker_queue_in_memory(q))));
		if (n != NULL && i == 0)
			tally[n->id].leaders++;
		if (m->state == BROKER_MEMBER_LEAVING)
			continue;
		/* The only one there that is not leaving, and in memory only if the node is up. */
		assert_non_null(n);
		assert_ptr_equal(broker_member_on(q, m->node), m);
		assert_true(n->up || !m->memory);
		on_disk |= !m->memory;
		votes |= m->state != BROKER_MEMBER_JOINING && broker_member_may_vote(q, m);
		tally[n->id].members++;
	}
	assert_int_equal(q->n_members == 0, b->n_nodes == 0);
	if (b->n_nodes == 0)
		return;
	assert_true(votes);
	assert_true(on_disk || broker_queue_in_memory(q));
	if (q->spec.exclusive)
		assert_int_equal(q->n_members, 1);
}

enum { IDS = 8 };

static void check_all(const struct broker *b)
{
	struct tally tally[IDS] = {0};
	for (struct broker_vhost *v = broker_vhost_first(b); v != NULL; v = broker_vhost_next(v))
		for (struct broker_queue *q = broker_queue_first(v); q != NULL;
			q = broker_queue_next(q))
			check_queue(b, q, tally);
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		assert_true(i == 0 || b->nodes[i - 1]->number < n->number);
		assert_int_equal(n->n_members, tally[n->id].members);
		assert_int_equal(n->n_leaders, tally[n->id].leaders);
	}
	assert_true(b->n_nodes == 0 || broker_nodes_of_type(b, BROKER_NODE_DISC) > 0);
}

/* No member's id is seen with another queue or node. */
struct owner {
	uint64_t group;
	uint16_t node;
};

enum { MEMBERS_SEEN = 1 << 16 };

static void check_ids(const struct broker *b, struct owner *owners)
{
	for (struct broker_vhost *v = broker_vhost_first(b); v != NULL; v = broker_vhost_next(v))
		for (struct broker_queue *q = broker_queue_first(v); q != NULL;
			q = broker_queue_next(q))
			for (size_t i = 0; i < q->n_members; i++) {
				assert_true(q->members[i].id < MEMBERS_SEEN);
				struct owner *o = &owners[q->members[i].id];
				if (o->group == 0)
					*o = (struct owner){q->group, q->members[i].node};
				assert_true(o->group == q->group);
				assert_int_equal(o->node, q->members[i].node);
			}
}

static void load_row(void *arg, struct slice key, struct slice value)
{
	assert_true(broker_load_row(arg, key, value));
}

/* As an earlier program has written it. */
static void load_row_of_5(void *arg, struct slice key, struct slice value)
{
	struct buf old = BUF_EMPTY;
	buf_put_slice(&old, value);
	old.p[0] = 5;
	load_row(arg, key, buf_slice(&old));
	buf_done(&old);
}

/* Leaders did not ask before they promoted. */
static void who_joined_before_that_was_written_may_have_a_vote(void **state)
{
	struct broker *b = *state, *later = broker_new(NULL);
	uint64_t mirror;
	struct broker_queue *q = declare_on_two(b, 3, &mirror);
	uint64_t other = 5 - mirror;
	set_ha(b, "all", 0);
	assert_int_equal(on(b, q, other)->chosen, 0);
	broker_all_rows(b, load_row_of_5, later);
	q = queue(later, "q");
	assert_int_equal(on(later, q, other)->chosen, 1);
	node_down(later, mirror);
	assert_false(broker_queue_has_lost(q));
	broker_free(later);
}

static void random_clusters_keep_their_promises(void **state)
{
	(void)state;
	struct dice d = dice_new("random_clusters_keep_their_promises");
	struct owner *owners = mem_alloc(MEMBERS_SEEN * sizeof *owners);
	for (int round = 0; round < 30; round++) {
		struct broker *b = broker_new(NULL), *twin = broker_new(NULL);
		memset(owners, 0, MEMBERS_SEEN * sizeof *owners);
		add_vhost(b, "/");
		add_vhost(twin, "/");
		for (int i = 0; i < 400; i++) {
			struct broker_result one, two;
			struct buf c = BUF_EMPTY;
			if (roll(&d, 3) == 0)
				put_some_setting(&d, b, &c);
			else
				put_some_command(&d, b, &c);
			broker_apply(b, buf_slice(&c), &one);
			broker_apply(twin, buf_slice(&c), &two);
			assert_int_equal(one.code, two.code);
			buf_done(&c);
			check_all(b);
			check_ids(b, owners);
			if (roll(&d, 50) > 0)
				continue;
			/* One that was loaded goes on as the one that lived. */
			assert_true(broker_digest(b) == broker_digest(twin));
			broker_free(twin);
			twin = broker_new(NULL);
			broker_all_rows(b, load_row, twin);
			check_all(twin);
		}
		assert_true(broker_digest(b) == broker_digest(twin));
		broker_free(b);
		broker_free(twin);
	}
	mem_free(owners);
}

/* ---- by hand ---- */

static struct broker_result set_drained(struct broker *b, uint64_t node, bool drained)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_drained(&c, node, drained);
	return apply(b, &c);
}

static struct broker_result change_members(
	struct broker *b, uint64_t node, bool add, const struct broker_queue *q)
{
	struct buf c = BUF_EMPTY;
	if (add)
		broker_put_add_members(&c, node, &q->group, 1);
	else
		broker_put_delete_members(&c, node, &q->group, 1);
	return apply(b, &c);
}

static struct broker_result prefer(struct broker *b, const struct broker_queue *q, uint64_t node)
{
	struct buf c = BUF_EMPTY;
	broker_put_prefer_leaders(
		&c, &(struct broker_preference){q->group, on(b, q, node)->id}, 1);
	return apply(b, &c);
}

static struct broker_queue *declare_quorum(struct broker *b, const char *name, uint64_t home)
{
	return declare_argument(b, name, home, "x-queue-type", "quorum");
}

static void the_preferred_member_comes_first(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	struct broker_queue *q = declare_quorum(b, "q", 1);
	uint64_t first = q->members[0].id;
	assert_int_equal(broker_node_find(b, 1)->n_leaders, 1);
	assert_int_equal(prefer(b, q, 3).code, BROKER_OK);
	assert_int_equal(broker_node_by_number(b, q->members[0].node)->id, 3);
	assert_int_equal(broker_node_find(b, 1)->n_leaders, 0);
	assert_int_equal(broker_node_find(b, 3)->n_leaders, 1);
	/* Who the members are is the same: their first configuration still counts. */
	assert_false(q->reshaped);
	/* It stays so whatever else is said about the queue. */
	set_ha(b, "all", 0);
	node_down(b, 1);
	node_up(b, 1, 2);
	assert_int_equal(broker_node_by_number(b, q->members[0].node)->id, 3);
	assert_non_null(broker_member_find(q, first));
	struct buf c = BUF_EMPTY;
	broker_put_prefer_leaders(&c, &(struct broker_preference){q->group, 999}, 1);
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
}

static void who_does_not_vote_is_not_preferred(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	struct broker_queue *q = declare_on(b, "q", true, 1);
	set_ha(b, "all", 0);
	assert_members(b, q, "1i 2j");
	assert_int_equal(prefer(b, q, 2).code, BROKER_REFUSED);
	promote(b, q, 2);
	assert_int_equal(prefer(b, q, 2).code, BROKER_OK);
	assert_members(b, q, "2v 1i");
}

static void members_are_added_and_deleted_by_hand(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 3);
	struct buf a = BUF_EMPTY;
	amqp_table_put_string(&a, "x-queue-type", S("quorum"));
	amqp_table_put_int(&a, "x-quorum-initial-group-size", 1);
	struct broker_queue *q = declare_queue_spec(b, "q",
		(struct broker_queue_spec){.durable = true,
			.home_node = 1,
			.home_incarnation = 1,
			.arguments = buf_slice(&a)})
					 .queue;
	buf_done(&a);
	assert_members(b, q, "1i");
	assert_int_equal(change_members(b, 3, true, q).code, BROKER_OK);
	assert_int_equal(change_members(b, 3, true, q).code, BROKER_OK);
	assert_members(b, q, "1i 3j");
	/* One that does not vote yet is no reason to let the other go. */
	assert_int_equal(change_members(b, 1, false, q).code, BROKER_LAST_MEMBER);
	promote(b, q, 3);
	assert_members(b, q, "1i 3v");
	assert_int_equal(change_members(b, 1, false, q).code, BROKER_OK);
	let_leave(b, q);
	assert_members(b, q, "3v");
	assert_int_equal(change_members(b, 1, false, q).code, BROKER_OK);
	assert_int_equal(change_members(b, 3, false, q).code, BROKER_LAST_MEMBER);
	assert_int_equal(change_members(b, 9, true, q).code, BROKER_NOT_FOUND);
	struct broker_queue *classic = declare_on(b, "c", true, 1);
	assert_int_equal(change_members(b, 2, true, classic).code, BROKER_REFUSED);
	assert_int_equal(change_members(b, 1, false, classic).code, BROKER_REFUSED);
}

static void chosen_members_stay_as_they_are(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 4);
	struct broker_queue *q = declare_quorum(b, "q", 1);
	assert_int_equal(q->n_members, 3);
	uint64_t other = 0;
	for (uint64_t id = 2; other == 0; id++)
		if (broker_member_on(q, broker_node_find(b, id)->number) != NULL)
			other = id;
	change_members(b, other, false, q);
	let_leave(b, q);
	assert_int_equal(q->n_members, 2);
	/* Nobody comes instead, when nodes come and go. */
	join_node(b, 5, BROKER_NODE_DISC);
	node_up(b, 5, 1);
	node_down(b, other);
	replace_members(b, other);
	assert_int_equal(q->n_members, 2);
	forget_node(b, other);
	assert_int_equal(q->n_members, 2);
}

static void a_node_in_maintenance_leads_nothing_new(void **state)
{
	struct broker *b = *state;
	start_nodes(b, 2);
	declare_on(b, "a", true, 2);
	assert_int_equal(set_drained(b, 1, true).code, BROKER_OK);
	assert_true(broker_node_find(b, 1)->drained);
	assert_members(b, declare_argument(b, "b", 1, "x-queue-master-locator", "min-masters"), "2i");
	assert_members(b, declare_argument(b, "c", 1, "x-queue-master-locator", "random"), "2i");
	assert_members(b, declare_on(b, "d", true, 1), "2i");
	/* Copies are there all the same. */
	set_ha(b, "all", 0);
	assert_members(b, declare_on(b, "e", true, 2), "2i 1i");
	set_drained(b, 1, false);
	assert_members(b, declare_on(b, "f", true, 1), "1i 2i");
	set_drained(b, 1, true);
	node_up(b, 1, 2); /* a start ends it */
	assert_false(broker_node_find(b, 1)->drained);
	assert_int_equal(set_drained(b, 9, true).code, BROKER_NOT_FOUND);
}

/* ---- balance ---- */

static size_t apply_moves(struct broker *b, const struct broker_choice *choice)
{
	struct broker_moves moves = broker_balance(b, choice);
	struct buf c = BUF_EMPTY;
	broker_put_prefer_leaders(&c, moves.p, moves.n);
	size_t n = moves.n;
	mem_free(moves.p);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	return n;
}

static void assert_leaders(const struct broker *b, size_t one, size_t two, size_t three)
{
	assert_int_equal(broker_node_find(b, 1)->n_leaders, one);
	assert_int_equal(broker_node_find(b, 2)->n_leaders, two);
	assert_int_equal(broker_node_find(b, 3)->n_leaders, three);
}

static void leaders_are_spread(void **state)
{
	struct broker *b = *state;
	char name[8];
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "m%d", i);
		declare_on(b, name, true, 1);
		snprintf(name, sizeof name, "q%d", i);
		declare_quorum(b, name, 1);
	}
	assert_leaders(b, 8, 0, 0);
	const struct broker_choice two = {.classic = true, .queue_pattern = S("^m[01]$")};
	assert_int_equal(apply_moves(b, &two), 1);
	assert_int_equal(broker_node_find(b, 1)->n_leaders, 7);
	const struct broker_choice all = {.classic = true, .quorum = true};
	apply_moves(b, &all);
	assert_leaders(b, 3, 3, 2);
	assert_int_equal(apply_moves(b, &all), 0);
	const struct broker_choice other = {
		.classic = true, .quorum = true, .vhost_pattern = S("^other$")};
	assert_int_equal(apply_moves(b, &other), 0);
	const struct broker_choice wrong = {.classic = true, .quorum = true, .queue_pattern = S("(")};
	assert_int_equal(apply_moves(b, &wrong), 0);
}

static void only_who_serves_gets_leaders(void **state)
{
	struct broker *b = *state;
	char name[8];
	start_nodes(b, 3);
	set_ha(b, "all", 0);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof name, "m%d", i);
		declare_on(b, name, true, 1 + (uint64_t)i % 3);
	}
	declare_queue_spec(b, "mine",
		(struct broker_queue_spec){.exclusive = true,
			.owner = {1, 1, 1},
			.home_node = 1,
			.home_incarnation = 1});
	const struct broker_choice all = {.classic = true, .quorum = true};
	set_drained(b, 1, true);
	node_down(b, 2);
	assert_int_equal(apply_moves(b, &all), 4);
	assert_leaders(b, 1, 0, 6);
	set_drained(b, 1, false);
	apply_moves(b, &all);
	assert_leaders(b, 1 + 3, 0, 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_queue_is_on_the_node_that_declared_it),
		TEST(a_queue_from_before_the_first_node_gets_its_member_then),
		TEST(the_locator_chooses_the_first_node),
		TEST(the_policy_comes_before_the_configuration),
		TEST(exclusive_queues_are_not_mirrored),
		TEST(all_is_every_node_and_those_that_join),
		TEST(nodes_that_are_down_do_not_belong_to_the_first_members),
		TEST(exactly_is_a_number_or_as_many_as_there_are),
		TEST(new_members_go_where_there_are_fewest),
		TEST(a_quorum_queue_has_three_or_what_it_asks_for),
		TEST(named_nodes_are_those_that_exist),
		TEST(the_old_members_stay_until_a_new_one_votes),
		TEST(members_in_memory_end_with_the_nodes_incarnation),
		TEST(a_queue_in_memory_goes_with_its_last_voter),
		TEST(exactly_gets_another_member_in_memory_at_once),
		TEST(exclusive_queues_end_with_their_owners_node),
		TEST(an_old_nodes_end_is_no_news),
		TEST(members_on_a_lost_node_are_replaced_on_request),
		TEST(the_preferred_member_comes_first),
		TEST(who_does_not_vote_is_not_preferred),
		TEST(members_are_added_and_deleted_by_hand),
		TEST(chosen_members_stay_as_they_are),
		TEST(a_node_in_maintenance_leads_nothing_new),
		TEST(leaders_are_spread),
		TEST(only_who_serves_gets_leaders),
		TEST(a_forgotten_node_takes_its_members_along),
		TEST(a_queue_that_was_only_there_is_gone),
		TEST(of_two_the_one_that_is_up_survives),
		TEST(of_two_in_memory_the_other_survives),
		TEST(one_in_memory_that_is_back_has_nothing),
		TEST(of_two_that_are_down_the_one_that_comes_back_survives),
		TEST(who_was_absent_survives_when_it_is_there),
		TEST(an_older_lifes_end_parts_nobody_from_the_present_one),
		TEST(one_of_two_that_was_to_go_is_lost_with_its_node),
		TEST(who_comes_back_survives_one_that_is_forgotten),
		TEST(only_the_first_of_several_are_unproven),
		TEST(one_that_is_replaced_inherits_before_it_has_gone),
		TEST(who_is_replaced_waits_for_another_that_can_vote),
		TEST(two_are_parted_when_a_third_has_gone),
		TEST(two_are_not_parted_by_who_is_down),
		TEST(who_was_absent_survives_one_that_is_forgotten),
		TEST(others_than_two_are_not_parted),
		TEST(two_with_others_that_may_vote_are_not_parted),
		TEST(two_with_another_that_has_no_vote_are_parted),
		TEST(who_was_chosen_does_not_go_by_an_older_leaders_word),
		TEST(who_joined_before_that_was_written_may_have_a_vote),
		TEST(a_survivor_that_is_forgotten_leaves_its_queue_to_the_heir),
		TEST(an_heir_that_is_replaced_inherits_before_it_has_gone),
		TEST(nodes_join_once_and_with_a_name_of_their_own),
		TEST(the_last_disc_node_stays),
		TEST(ram_nodes_stand_by),
		TEST(a_node_that_changes_its_type_changes_its_members),
		TEST(only_those_that_leave_can_be_gone),
		TEST(transient_exchanges_live_while_a_node_does),
		cmocka_unit_test(random_clusters_keep_their_promises),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

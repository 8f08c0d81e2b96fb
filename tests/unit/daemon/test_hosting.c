/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of a queue's members a node hosts, by the metadata's rows.
 */
#include "src/daemon/hosting.h"

#include "src/daemon/node.h"
#include "tests/unit/broker/fixture.h"

enum { SELF = 2 };

static struct node node = {.identity = {.node_id = SELF}};
static struct shard shard = {.node = &node};

static int set_up(void **state)
{
	struct broker *b = broker_new(NULL);
	for (uint64_t id = 1; id <= 3; id++)
		assert_int_equal(node_up(b, id, 1).code, BROKER_OK);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	broker_free(*state);
	return 0;
}

/* The id of the member that node SELF hosts if the queue has these; 0: none. */
static uint64_t hosted(struct broker *b, struct broker_member *m, unsigned n)
{
	struct broker_vhost vhost = {.broker = b};
	struct broker_queue q = {.vhost = &vhost, .members = m, .n_members = (uint8_t)n};
	const struct broker_member *h = hosting_member(&shard, &q);
	return h != NULL ? h->id : 0;
}

static uint16_t number(struct broker *b, uint64_t id)
{
	return broker_node_find(b, id)->number;
}

static void a_member_on_another_node_is_not_hosted(void **state)
{
	struct broker *b = *state;
	struct broker_member m[] = {{.id = 10, .node = number(b, 1)}, {.id = 11, .node = number(b, 3)}};
	assert_int_equal(hosted(b, m, 2), 0);
}

/* Taken away and given again: the log that is here is the former one's. */
static void of_two_members_here_the_oldest_is_hosted_until_it_has_left(void **state)
{
	struct broker *b = *state;
	struct broker_member m[] = {
		{.id = 10, .node = number(b, 1)},
		{.id = 20, .node = number(b, SELF), .state = BROKER_MEMBER_JOINING},
		{.id = 11, .node = number(b, SELF), .state = BROKER_MEMBER_LEAVING},
	};
	assert_int_equal(hosted(b, m, 3), 11);
	assert_int_equal(hosted(b, m, 2), 20);
}

/* An earlier life of the node had it. */
static void one_that_leaves_is_not_hosted_if_it_was_in_memory(void **state)
{
	struct broker *b = *state;
	struct broker_member m[] = {
		{.id = 11, .node = number(b, SELF), .state = BROKER_MEMBER_LEAVING, .memory = true},
		{.id = 20, .node = number(b, SELF), .state = BROKER_MEMBER_JOINING, .memory = true},
	};
	assert_int_equal(hosted(b, m, 2), 20);
	assert_int_equal(hosted(b, m, 1), 0);
}

/* It never answers again: its heir begins with its log. */
static void one_that_is_lost_gives_way_to_its_heir(void **state)
{
	struct broker *b = *state;
	struct broker_member m[] = {
		{.id = 10, .node = number(b, 1)},
		{.id = 11, .node = number(b, SELF), .state = BROKER_MEMBER_LEAVING, .lost = true},
		{.id = 20, .node = number(b, SELF), .state = BROKER_MEMBER_JOINING, .heir = true},
	};
	assert_int_equal(hosted(b, m, 3), 20);
	assert_int_equal(hosted(b, m, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_member_on_another_node_is_not_hosted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			of_two_members_here_the_oldest_is_hosted_until_it_has_left, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_leaves_is_not_hosted_if_it_was_in_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_is_lost_gives_way_to_its_heir, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

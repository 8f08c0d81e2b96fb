/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked of the members of queues, for a queue on three nodes.
 */
#include "src/cluster/mirrors.h"

#include "tests/unit/broker/fixture.h"
#include "tests/unit/queue/nodes.h"

static struct nodes w;
static struct broker *broker;
static struct broker_queue *mirrored;
static struct mirrors *mirrors[NODES];

static bool is_led(struct nodes *nodes)
{
	return nodes_leader(nodes) != NULL;
}

static uint64_t linked(void *arg, uint64_t node)
{
	struct test_node *n = arg;
	return w.linked[n->i][node - NODE_ID] ? 1 : 0;
}

static void propose(void *arg, struct slice command)
{
	(void)arg;
	(void)command;
}

/* Member i + 1 is on node i; the order is the one that operators see. */
static void set_members(unsigned first)
{
	mirrored->n_members = NODES;
	mirrored->members = mem_realloc(mirrored->members, NODES * sizeof *mirrored->members);
	for (unsigned k = 0; k < NODES; k++) {
		unsigned i = (first + k) % NODES;
		mirrored->members[k] = (struct broker_member){.id = i + 1,
			.node = broker_node_find(broker, NODE_ID + i)->number,
			.state = BROKER_MEMBER_INITIAL,
			.memory = true};
	}
}

static int set_up(void **state)
{
	setup(state);
	broker = *state;
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(node_up(broker, NODE_ID + i, 1).code, BROKER_OK);
	for (unsigned k = 0; (mirrored = broker_queue_by_group(broker, GROUP)) == NULL; k++) {
		char name[8];
		snprintf(name, sizeof name, "q%u", k);
		declare_queue_spec(broker, name,
			(struct broker_queue_spec){.home_node = NODE_ID, .home_incarnation = 1});
	}
	nodes_open(&w, 1);
	nodes_until(&w, is_led, 2000);
	for (unsigned i = 0; i < NODES; i++)
		mirrors[i] = mirrors_new(&(struct mirrors_config){.worker = &w.node[i].worker,
			.hosts = w.node[i].hosts,
			.broker = broker,
			.self = NODE_ID + i,
			.linked = linked,
			.propose = propose,
			.arg = &w.node[i]});
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < NODES; i++)
		mirrors_free(mirrors[i]);
	nodes_close(&w);
	return teardown(state);
}

static void only_who_leads_is_misplaced(void **state)
{
	(void)state;
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	set_members(other);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(mirrors_misplaced(mirrors[i], GROUP), i == leader);
}

static void who_leads_at_home_is_not_misplaced(void **state)
{
	(void)state;
	set_members(nodes_leader(&w)->i);
	for (unsigned i = 0; i < NODES; i++)
		assert_false(mirrors_misplaced(mirrors[i], GROUP));
}

static void who_leads_is_not_misplaced_while_the_first_is_out_of_reach(void **state)
{
	(void)state;
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	set_members(other);
	nodes_link(&w, leader, other, false);
	assert_false(mirrors_misplaced(mirrors[leader], GROUP));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_who_leads_is_misplaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			who_leads_at_home_is_not_misplaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			who_leads_is_not_misplaced_while_the_first_is_out_of_reach, set_up,
			tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

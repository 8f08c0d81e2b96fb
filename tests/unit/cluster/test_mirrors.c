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

/* The last one. */
static struct buf proposed;

static void propose(void *arg, struct slice command)
{
	(void)arg;
	buf_clear(&proposed);
	buf_put_slice(&proposed, command);
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
	buf_done(&proposed);
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

static unsigned members_of(unsigned leader, struct group_member_state ret[NODES])
{
	return group_members(queue_hosts_group(w.node[leader].hosts, GROUP), ret, NODES);
}

static bool two_are_left(struct nodes *nodes)
{
	struct group_member_state m[NODES];
	struct test_node *leader = nodes_leader(nodes);
	return leader != NULL && members_of(leader->i, m) == 2;
}

/* One node has dropped its member, which has no row any more, and another one has a new member beside one that
 * leaves: without the latter the group would be left with a vote that nobody gives. */
static void who_does_not_answer_is_removed_first(void **state)
{
	(void)state;
	unsigned leader = nodes_leader(&w)->i, leaving = leader == 0, dropped = 3 - leader - leaving;
	struct group_member_state m[NODES];
	set_members(leader);
	uint16_t node = broker_node_find(broker, NODE_ID + leaving)->number;
	mirrored->members[1] = (struct broker_member){
		.id = leaving + 1, .node = node, .state = BROKER_MEMBER_LEAVING, .memory = true};
	mirrored->members[2] = (struct broker_member){
		.id = 10, .node = node, .state = BROKER_MEMBER_JOINING, .memory = true};
	broker->next_member = 11;
	mirrors_look(mirrors[leader], GROUP);
	assert_true(mirrors_flush(mirrors[leader]));
	nodes_until(&w, two_are_left, 2000);
	nodes_run(&w, 100); /* the step is over */
	assert_int_equal(members_of(leader, m), 2);
	assert_true(m[0].id != dropped + 1 && m[1].id != dropped + 1);
}

/* ---- who gets a vote ---- */

static bool votes(unsigned leader, uint64_t id)
{
	struct group_member_state m[NODES];
	unsigned n = members_of(leader, m);
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return m[i].voter;
	return false;
}

static void look(unsigned i)
{
	mirrors_look(mirrors[i], GROUP);
	for (unsigned t = 0; t < 40; t++) {
		mirrors_flush(mirrors[i]);
		nodes_run(&w, 5);
	}
}

/* The leader asks the metadata, and goes on when they say so, about its own term. */
static void nobody_is_promoted_before_the_metadata_allow_it(void **state)
{
	(void)state;
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	struct group *g = queue_hosts_group(w.node[leader].hosts, GROUP);
	struct buf expected = BUF_EMPTY;
	set_members(leader);
	mirrored->members[1].state = BROKER_MEMBER_JOINING;
	mirrored->members[1].chosen = group_term(g) - 1;
	assert_int_equal(group_demote(g, other + 1, NULL, NULL), 0);
	nodes_run(&w, 200);
	assert_false(votes(leader, other + 1));
	look(leader);
	broker_put_member_chosen(&expected, GROUP, other + 1, group_term(g));
	assert_true(slice_eq(buf_slice(&proposed), buf_slice(&expected)));
	assert_false(votes(leader, other + 1));
	mirrored->members[1].chosen = group_term(g);
	look(leader);
	assert_true(votes(leader, other + 1));
	buf_done(&expected);
}

static void count_timer(uv_handle_t *handle, void *arg)
{
	*(unsigned *)arg += handle->type == UV_TIMER && uv_is_active(handle);
}

static unsigned timers_of(unsigned i)
{
	unsigned n = 0;
	uv_walk(&w.node[i].worker.loop, count_timer, &n);
	return n;
}

/* Its row will change when it has something to do. */
static void only_the_survivor_looks_again_and_again(void **state)
{
	(void)state;
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES, third = 3 - leader - other;
	set_members(other);
	for (unsigned k = 1; k < NODES; k++)
		mirrored->members[k].state = BROKER_MEMBER_LEAVING;
	broker_member_find(mirrored, leader + 1)->lost = true;
	assert_true(broker_member_survives(mirrored, &mirrored->members[0]));
	look(third);
	assert_int_equal(timers_of(third), 0);
	look(other);
	assert_int_equal(timers_of(other), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			nobody_is_promoted_before_the_metadata_allow_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			only_the_survivor_looks_again_and_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_who_leads_is_misplaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			who_leads_at_home_is_not_misplaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			who_leads_is_not_misplaced_while_the_first_is_out_of_reach, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			who_does_not_answer_is_removed_first, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

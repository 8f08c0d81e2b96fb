/* SPDX-License-Identifier: Apache-2.0
 *
 * Which worker may stand still for the disk.
 */
#include "src/daemon/shard.h"

#include "tests/unit/raft/scene.h"

enum { REST_MS = 1000 };

static struct cluster C;

/* A worker without links, in a short turn, with what node 0 has of a group of so many members. */
static struct shard begin(unsigned members)
{
	struct cluster_options o = scene_options(members, members, NULL);
	o.freeze_after_ms = REST_MS;
	cluster_init(&C, &o);
	assert_true(scene_lead(&C, 0));
	return (struct shard){.worker = {.no = 1}, .groups = C.nodes[0].groups};
}

static void one_that_others_hear_from_leaves_the_disk_to_the_writer(void **state)
{
	(void)state;
	struct shard s = begin(3);
	assert_false(shard_has_time(&s));
	assert_true(cluster_until(&C, scene_is_frozen, 20 * REST_MS));
	assert_true(shard_has_time(&s));
	node_put(&C.nodes[0], 10);
	node_turn(&C.nodes[0]);
	assert_false(shard_has_time(&s));
	cluster_done(&C);
}

static void one_that_nobody_hears_from_has_time(void **state)
{
	(void)state;
	struct shard s = begin(1);
	assert_true(shard_has_time(&s));
	node_put(&C.nodes[0], 10);
	node_turn(&C.nodes[0]);
	assert_true(shard_has_time(&s));
	cluster_done(&C);
}

static void one_whose_turn_is_long_has_none(void **state)
{
	(void)state;
	struct shard s = begin(1);
	s.worker.began_ns = 1;
	assert_false(shard_has_time(&s));
	cluster_done(&C);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_others_hear_from_leaves_the_disk_to_the_writer),
		cmocka_unit_test(one_that_nobody_hears_from_has_time),
		cmocka_unit_test(one_whose_turn_is_long_has_none),
	};
	groups_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

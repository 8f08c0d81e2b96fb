/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/raft/scene.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raft/libraft.h"
#include "src/base/log.h"

bool scene_holds(scenario s, const struct rules_off *off)
{
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL); /* cmocka's handlers would run the other tests here */
		signal(SIGABRT, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		if (getenv("SCENE_VERBOSE") == NULL) {
			int null = open("/dev/null", O_WRONLY);
			dup2(null, STDERR_FILENO);
		}
		_exit(s(off) ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void scene_needs(scenario s, struct rules_off off)
{
	assert_true(scene_holds(s, NULL));
	assert_false(scene_holds(s, &off));
}

void scene_needs_with_015(scenario s, struct rules_off off)
{
	assert_true(scene_holds(s, NULL));
	assert_int_equal(scene_holds(s, &off), LIBRAFT_LAYERED);
}

struct cluster_options scene_options(unsigned nodes, unsigned voters, const struct rules_off *off)
{
	return (struct cluster_options){
		.seed = 1,
		.nodes = nodes,
		.voters = voters,
		.delay_min_us = 1000,
		.delay_max_us = 1000,
		.disk_min_us = 1000,
		.disk_max_us = 1000,
		.snapshot_entries = 1000000,
		.only_processes_die = true,
		.off = off,
		.trace = getenv("SCENE_TRACE"),
	};
}

void scene_begin(struct cluster *c, unsigned nodes, unsigned voters, const struct rules_off *off)
{
	struct cluster_options o = scene_options(nodes, voters, off);
	cluster_init(c, &o);
}

bool scene_end(struct cluster *c, bool held)
{
	held = held && !c->failed;
	if (c->failed && getenv("SCENE_VERBOSE") != NULL)
		fprintf(stderr, "%s\n", c->why);
	cluster_done(c);
	return held;
}

bool scene_is_equal(struct cluster *c)
{
	return cluster_converged(c);
}

bool scene_has_leader(struct cluster *c)
{
	return cluster_leader(c) != NULL;
}

bool scene_lead(struct cluster *c, unsigned i)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		if (!cluster_until(c, scene_has_leader, 20000))
			return false;
		struct node *leader = cluster_leader(c);
		if (leader == &c->nodes[i])
			return true;
		group_transfer(leader->cell->group, c->nodes[i].raft_id, NULL, NULL);
		node_turn(leader);
		cluster_run(c, 500);
	}
	return false;
}

bool scene_put(struct cluster *c, unsigned i, size_t padding)
{
	uint64_t before = c->n_confirmed;
	if (c->nodes[i].cell == NULL || !c->nodes[i].cell->leading)
		return false;
	node_put(&c->nodes[i], padding);
	for (unsigned t = 0; t < 5000 && c->n_confirmed == before && !c->failed; t++)
		cluster_run(c, 1);
	return c->n_confirmed > before;
}

bool scene_is_frozen(struct cluster *c)
{
	for (unsigned i = 0; i < c->o.nodes; i++) {
		const struct node *n = &c->nodes[i];
		if (n->up && n->cell != NULL && !group_frozen(n->cell->group))
			return false;
	}
	return true;
}

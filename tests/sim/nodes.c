/* SPDX-License-Identifier: Apache-2.0
 *
 * Lives of clusters of whole nodes, each the outcome of one number: what seeds decide is how many nodes
 * and workers there are, how fast links and disks are, what clients do, and which nodes are killed,
 * stopped, cut off or slowed down when. Then everything is repaired, and all must be well.
 *
 *   nodes --seed N [--trace]       one life, again
 *   nodes --seeds A..B             many
 *   nodes --known FILE             those that failed once: a number in each line, # begins a remark
 *         --seconds S              of trouble in each (default 20)
 *         --scene NAME             a fault of nodes_scenes.c instead of random trouble; "all": each
 *
 * Without arguments: what `make check` runs, the known ones of $srcdir, 1..60, and each scene with a few
 * seeds. Exit status 0 only if every promise was kept in every life.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/mem.h"
#include "tests/sim/nodes_scenes.h"

enum { SECONDS = 20, CHECK_FROM = 1, CHECK_TO = 60, CHECK_SCENES = 3 };

struct trouble {
	struct nodes_life life;
	/* in percent, of every moment in which something may happen */
	unsigned kills, stops, powers, cuts, stalls, policies, churn;
	bool calm;
};

static struct sim *sim_of(struct trouble *t)
{
	return &t->life.world.sim;
}

static struct sim_node *any_node(struct trouble *t)
{
	return &t->life.world.nodes[sim_random(sim_of(t)) % t->life.world.o.nodes];
}

/* ---- what goes wrong ---- */

static void on_start(void *arg, uint64_t i)
{
	struct trouble *t = arg;
	struct sim_node *n = &t->life.world.nodes[i];
	if (n->up && n->stopping)
		sim_after(sim_of(t), 100000, on_start, t, i);
	else if (!n->up && !t->calm)
		sim_node_start(n);
}

static void start_later(struct trouble *t, struct sim_node *n)
{
	struct sim *s = sim_of(t);
	uint64_t ms = sim_chance(s, 30) ? sim_between(s, 0, 200) : sim_between(s, 200, 8000);
	sim_after(s, ms * 1000, on_start, t, n->i);
}

static void kill_one(struct trouble *t)
{
	struct sim_node *n = any_node(t);
	if (!n->up)
		return;
	sim_node_kill(n, sim_chance(sim_of(t), 20));
	start_later(t, n);
}

static void stop_one(struct trouble *t)
{
	struct sim_node *n = any_node(t);
	if (!sim_node_serves(n))
		return;
	sim_node_stop(n);
	start_later(t, n);
}

static void power_loss(struct trouble *t)
{
	struct sim_world *w = &t->life.world;
	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (!w->nodes[i].up)
			continue;
		sim_node_kill(&w->nodes[i], true);
		start_later(t, &w->nodes[i]);
	}
}

static void on_mended(void *arg, uint64_t pair)
{
	struct trouble *t = arg;
	if (!t->calm)
		sim_net_cut(&t->life.world.net, (unsigned)pair / SIM_NODES, (unsigned)pair % SIM_NODES,
			false);
}

static void cut(struct trouble *t, unsigned a, unsigned b, uint64_t ms)
{
	world_trace(&t->life.world, "nothing gets from n%u to n%u for %lu ms", a, b, (unsigned long)ms);
	sim_net_cut(&t->life.world.net, a, b, true);
	sim_after(sim_of(t), ms * 1000, on_mended, t, a * SIM_NODES + b);
}

static void cut_some(struct trouble *t)
{
	struct sim *s = sim_of(t);
	unsigned n = t->life.world.o.nodes, a = any_node(t)->i, b = any_node(t)->i;
	uint64_t ms = sim_between(s, 100, 8000);
	unsigned kind = sim_random(s) % 4;
	if (kind == 0 && a != b) {
		cut(t, a, b, ms);
	} else if (kind == 1 && a != b) {
		cut(t, a, b, ms);
		cut(t, b, a, ms);
	} else if (kind == 2) {
		for (unsigned k = 0; k < n; k++)
			if (k != a) {
				cut(t, a, k, ms);
				cut(t, k, a, ms);
			}
	} else if (a != b) {
		sim_net_break(&t->life.world.net, a, b);
	}
}

static void stall_one(struct trouble *t)
{
	struct sim *s = sim_of(t);
	struct sim_node *n = any_node(t);
	uint64_t us = sim_between(s, 100000, 4000000);
	if (!n->up)
		return;
	if (sim_chance(s, 50)) {
		world_trace(&t->life.world, "the disk of %s stands still", n->name);
		n->box.disk.stalled_us = s->now_us + us;
	} else {
		world_trace(&t->life.world, "a worker of %s stands still", n->name);
		sim_loop_stall(&sim_node_shard(n, (unsigned)sim_random(s))->worker, s->now_us + us / 4);
	}
}

static void set_policy(struct trouble *t)
{
	static const char *const modes[] = {"all", "exactly", "exactly", NULL};
	struct sim *s = sim_of(t);
	struct sim_node *n = life_some(&t->life);
	if (n != NULL)
		life_mirror(&t->life, n, (unsigned)sim_random(s) % QUEUE_QUORUM, modes[sim_random(s) % 4],
			(unsigned)sim_between(s, 1, t->life.world.o.nodes), sim_chance(s, 70));
}

static void churn(struct trouble *t)
{
	struct sim *s = sim_of(t);
	struct sim_node *n = life_some(&t->life);
	unsigned queue = QUEUES_KEPT + (unsigned)sim_random(s) % (QUEUES - QUEUES_KEPT);
	if (n == NULL)
		return;
	if (sim_chance(s, 30))
		life_delete(&t->life, n, queue);
	else if (sim_queue_find(n, queue) == NULL)
		life_declare(&t->life, n, queue);
	else if (sim_chance(s, 50))
		sim_publisher_new(&t->life.clients, n, queue, 5);
	else
		sim_consumer_new(&t->life.clients, n, queue, 5);
}

static void on_moment(void *arg, uint64_t number)
{
	struct trouble *t = arg;
	struct sim *s = sim_of(t);
	const struct {
		unsigned percent;
		void (*what)(struct trouble *t);
	} all[] = {{t->kills, kill_one}, {t->stops, stop_one}, {t->powers, power_loss},
		{t->cuts, cut_some}, {t->stalls, stall_one}, {t->policies, set_policy},
		{t->churn, churn}};
	(void)number;
	for (size_t i = 0; i < sizeof all / sizeof *all && !t->calm; i++)
		if (sim_chance(s, all[i].percent))
			all[i].what(t);
	if (!t->calm)
		sim_after(s, sim_between(s, 100000, 900000), on_moment, t, 0);
}

/* ---- one life ---- */

static struct sim_world_options options_of(uint64_t seed, bool trace)
{
	struct sim s;
	sim_init(&s, seed);
	bool slow = sim_chance(&s, 20);
	struct sim_world_options o = {.seed = seed,
		.nodes = sim_chance(&s, 80) ? 3 : sim_chance(&s, 50) ? 5 : 2,
		.workers = (unsigned)sim_between(&s, 1, SIM_WORKERS),
		.net = {.delay_min_us = 50,
			.delay_max_us = sim_chance(&s, 50) ? 1000 : sim_between(&s, 1000, 30000),
			.loss_permille = sim_chance(&s, 30) ? (unsigned)sim_between(&s, 1, 20) : 0,
			.raft_permille = sim_chance(&s, 30) ? (unsigned)sim_between(&s, 1, 50) : 0,
			.bytes_per_ms = sim_chance(&s, 20) ? 1000 : 100000,
			.silence_ms = sim_chance(&s, 50) ? 2000 : sim_between(&s, 600, 3000)},
		.disk_min_us = 100,
		.disk_max_us = slow ? 40000 : 3000,
		.skew_ms = sim_chance(&s, 50) ? 5000 : 0,
		.down_ms = sim_chance(&s, 50) ? 0 : sim_between(&s, 1000, 5000),
		.replace_ms = sim_chance(&s, 70) ? 0 : sim_between(&s, 2000, 10000),
		.trace = trace};
	sim_done(&s);
	return o;
}

static void choose(struct trouble *t)
{
	struct sim *s = sim_of(t);
	t->kills = sim_chance(s, 70) ? (unsigned)sim_between(s, 2, 25) : 0;
	t->stops = sim_chance(s, 40) ? (unsigned)sim_between(s, 2, 15) : 0;
	t->powers = sim_chance(s, 25) ? (unsigned)sim_between(s, 1, 6) : 0;
	t->cuts = sim_chance(s, 60) ? (unsigned)sim_between(s, 5, 40) : 0;
	t->stalls = sim_chance(s, 40) ? (unsigned)sim_between(s, 2, 20) : 0;
	t->policies = sim_chance(s, 40) ? (unsigned)sim_between(s, 5, 30) : 0;
	t->churn = sim_chance(s, 40) ? (unsigned)sim_between(s, 5, 40) : 0;
	t->life.publishers = (unsigned)sim_between(s, 20, 70);
	t->life.consumers = (unsigned)sim_between(s, 20, 70);
	t->life.clients.pause_us = sim_chance(s, 20) ? 10000 : sim_between(s, 30000, 300000);
	t->life.clients.body_max = sim_chance(s, 10) ? 20000 : 200;
}

static void play(struct trouble *t, const struct scene *scene, unsigned seconds)
{
	const struct promises *p = &t->life.world.promises;
	if (scene != NULL) {
		t->life.clients.pause_us = sim_between(sim_of(t), 10000, 60000);
		life_tend(&t->life);
		scene->play(&t->life);
	} else {
		choose(t);
		life_tend(&t->life);
		on_moment(t, 0);
		for (unsigned i = 0; i < seconds * 10 && !p->failed; i++)
			world_run(&t->life.world, 100);
	}
	t->calm = true;
	life_heal(&t->life);
	life_check_well(&t->life);
}

static bool live(uint64_t seed, const struct scene *scene, unsigned seconds, bool trace)
{
	static struct trouble t;
	struct sim_world_options o = options_of(seed, trace);
	const struct promises *p = &t.life.world.promises;
	t = (struct trouble){0};
	if (scene != NULL) {
		o.nodes = scene->nodes;
		o.discovers = scene->discovers;
		o.workers = scene->workers > 0 ? scene->workers : o.workers;
		o.replace_ms = o.replace_ms > 0 ? o.replace_ms : 5000;
	}
	if (life_begin(&t.life, &o,
		    scene != NULL ? scene->n_ram : o.nodes > 2 && seed % 5 == 0))
		play(&t, scene, seconds);
	bool failed = p->failed;
	if (failed)
		printf("seed %" PRIu64 "%s%s FAILED at %" PRIu64 " ms: %s\n", seed,
			scene != NULL ? " of " : "", scene != NULL ? scene->name : "",
			t.life.world.sim.now_us / 1000, p->why);
	if (trace || failed)
		printf("seed %" PRIu64 ": %" PRIu64 " published, %" PRIu64 " confirmed, %" PRIu64
		       " came, %" PRIu64 " redelivered; %" PRIu64 " applied, %" PRIu64
		       " compared, %" PRIu64 " states compared, %" PRIu64 " restored; %" PRIu64
		       " messages\n",
			seed, p->published, p->confirmed, p->came, p->redelivered, p->applied,
			p->compared, p->compared_digests, p->restored, t.life.world.net.delivered);
	fflush(stdout);
	life_end(&t.life);
	return !failed;
}

/* ---- many ---- */

static unsigned live_known(const char *path, unsigned seconds)
{
	char line[256];
	unsigned failed = 0;
	FILE *f = fopen(path, "r");
	if (f == NULL) {
		fprintf(stderr, "nodes: %s cannot be read\n", path);
		return 1;
	}
	while (fgets(line, sizeof line, f) != NULL) {
		char *end;
		uint64_t seed = strtoull(line, &end, 10);
		if (end != line)
			failed += !live(seed, NULL, seconds, false);
	}
	fclose(f);
	return failed;
}

static unsigned live_scenes(
	const char *name, uint64_t from, uint64_t to, unsigned seconds, bool trace)
{
	unsigned failed = 0, found = 0;
	for (unsigned i = 0; i < n_nodes_scenes; i++) {
		if (strcmp(name, "all") != 0 && strcmp(name, nodes_scenes[i].name) != 0)
			continue;
		found++;
		for (uint64_t seed = from; seed <= to; seed++)
			failed += !live(seed, &nodes_scenes[i], seconds, trace);
	}
	if (found == 0)
		fprintf(stderr, "nodes: there is no scene %s\n", name);
	return found > 0 ? failed : 1;
}

/* What `make check` runs. */
static unsigned check(unsigned seconds)
{
	unsigned failed = 0;
	const char *srcdir = getenv("srcdir");
	if (srcdir != NULL) {
		char *path = mem_printf("%s/tests/sim/nodes_seeds.txt", srcdir);
		failed = live_known(path, seconds);
		mem_free(path);
	}
	for (uint64_t seed = CHECK_FROM; seed <= CHECK_TO; seed++)
		failed += !live(seed, NULL, seconds, false);
	return failed + live_scenes("all", CHECK_FROM, CHECK_SCENES, seconds, false);
}

int main(int argc, char **argv)
{
	uint64_t from = CHECK_FROM, to = CHECK_TO;
	unsigned seconds = SECONDS, failed = 0;
	const char *known = NULL, *scene = NULL;
	bool trace = false;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "--trace") == 0) {
			trace = true;
			continue;
		}
		if (strcmp(argv[i], "--seed") == 0)
			from = to = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--seeds") == 0)
			sscanf(value, "%" SCNu64 "..%" SCNu64, &from, &to);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--known") == 0)
			known = value;
		else if (strcmp(argv[i], "--scene") == 0)
			scene = value;
		else
			return fprintf(stderr, "usage: nodes [--seed N | --seeds A..B | --known FILE] "
					       "[--scene NAME] [--seconds S] [--trace]\n"), 2;
		i++;
	}
	if (argc == 1)
		failed = check(seconds);
	else if (known != NULL)
		failed = live_known(known, seconds);
	else if (scene != NULL)
		failed = live_scenes(scene, from, to, seconds, trace);
	else
		for (uint64_t seed = from; seed <= to; seed++)
			failed += !live(seed, NULL, seconds, trace);
	if (failed > 0)
		printf("%u lives FAILED\n", failed);
	return failed > 0;
}

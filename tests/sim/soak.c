/* SPDX-License-Identifier: Apache-2.0
 *
 * The soak: clusters that live through crashes, partitions, slow disks, wiped disks and changes of
 * members, each the outcome of one number.
 *
 *   soak --seed N [--trace]        one life, again
 *   soak --seeds A..B              many
 *   soak --known FILE              those that failed once: a number in each line, # begins a remark
 *        --seconds S               of virtual time each (default 60)
 *        --off RULE                without this rule (raft/rules.h): lives must fail
 *        --refuse PERMILLE         of what is not urgent the links refuse so much
 *
 * Without arguments: what `make check` runs, the known ones of $srcdir and 1..200, and 1..100 with a
 * tenth refused. Exit status 0 only if every promise held in every life.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/sim/cluster.h"

/* What the cluster is meant to be like; the operator works towards it. */
enum want { WANT_NONE, WANT_STANDBY, WANT_VOTER };

struct life {
	struct cluster c;
	enum want want[NODES_MAX];
	uint64_t seconds;
	/* What happens in this life: some of it is switched off, the rest weighs differently. */
	unsigned crashes, cuts, stalls, wipes, changes, transfers, bulk; /* percent */
	uint64_t pause_us; /* most between two commands in a busy time */
	bool calm;         /* no faults any more */
	bool idle;         /* no commands now */
	bool asked;        /* a change is under way */
	uint64_t asked_us;
	uint64_t ops, done;
	uint64_t rests; /* seconds at the end of which a member was found frozen */
};

static struct sim *sim_of(struct life *l)
{
	return &l->c.sim;
}

/* ---- clients -------------------------------------------------------------------------------- */

static size_t padding(struct life *l)
{
	struct sim *s = sim_of(l);
	if (l->bulk > 0 && sim_random(s) % 1000 < l->bulk)
		return sim_between(s, 100 * 1024, 400 * 1024);
	return sim_chance(s, 10) ? sim_between(s, 0, 4000) : sim_between(s, 0, 60);
}

static void client(void *arg, uint64_t number)
{
	struct life *l = arg;
	struct sim *s = sim_of(l);
	struct node *n = cluster_leader(&l->c);
	(void)number;
	if (!l->idle && sim_chance(s, 5))
		n = &l->c.nodes[sim_random(s) % l->c.o.nodes]; /* an old leader, perhaps */
	if (!l->idle && n != NULL && n->up && n->cell != NULL && n->cell->leading)
		node_put(n, padding(l));
	sim_after(s, sim_between(s, 500, l->pause_us), client, l, 0);
}

static void mood(void *arg, uint64_t number)
{
	struct life *l = arg;
	struct sim *s = sim_of(l);
	(void)number;
	l->idle = !l->calm && sim_chance(s, 30);
	l->pause_us = sim_chance(s, 30) ? 4000 : sim_between(s, 10000, 60000);
	sim_after(s, sim_between(s, 1000000, 6000000), mood, l, 0);
}

/* ---- the operator --------------------------------------------------------------------------- */

static void on_changed(void *arg, int status)
{
	struct life *l = arg;
	l->asked = false;
	l->done += status == 0;
	cluster_trace(&l->c, "change ends with %d", status);
}

static const struct group_member_state *find_member(
	const struct group_member_state *m, unsigned n, uint64_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (m[i].id == id)
			return &m[i];
	return NULL;
}

static bool ask(struct life *l, int rv, const char *what, uint64_t id)
{
	if (rv != 0)
		return false;
	cluster_trace(&l->c, "change: %s %" PRIx64, what, id);
	l->asked = true;
	l->asked_us = l->c.sim.now_us;
	l->ops++;
	return true;
}

/* Every member of the configuration lives. A voter is not given up voluntarily while another one
 * may be lost for good: two voters of whom one has lost its log never agree on anything again. */
static bool is_complete(struct life *l, const struct group_member_state *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct node *x = &l->c.nodes[m[i].node - 1];
		if (!x->up || x->cell == NULL || x->raft_id != m[i].id)
			return false;
	}
	return true;
}

/* Members that should be no more: removed ones, and former members of nodes that lost theirs. */
static bool remove_one(
	struct life *l, struct node *leader, const struct group_member_state *m, unsigned n)
{
	struct group *g = leader->cell->group;
	for (unsigned i = 0; i < n; i++) {
		struct node *x = &l->c.nodes[m[i].node - 1];
		bool former = x->up && (x->cell == NULL || x->raft_id != m[i].id);
		if (!former &&
			(l->want[x->i] != WANT_NONE || (m[i].voter && !is_complete(l, m, n))))
			continue;
		if (m[i].id == leader->raft_id)
			return ask(
				l, group_transfer(g, 0, on_changed, l), "transfer from", m[i].id);
		return ask(l, group_remove(g, m[i].id, on_changed, l), "remove", m[i].id);
	}
	return false;
}

static bool add_one(
	struct life *l, struct node *leader, const struct group_member_state *m, unsigned n)
{
	struct group *g = leader->cell->group;
	for (unsigned i = 0; i < l->c.o.nodes; i++) {
		struct node *x = &l->c.nodes[i];
		if (!x->up || l->want[i] == WANT_NONE)
			continue;
		if (x->cell == NULL)
			node_new_member(x);
		const struct group_member_state *s = find_member(m, n, x->raft_id);
		if (x->cell->removed && s == NULL) {
			node_drop_member(x);
			node_new_member(x);
		}
		if (s == NULL || s->spare)
			return ask(l,
				group_add_standby(g,
					&(struct group_member){.id = x->raft_id, .node = x->id},
					on_changed, l),
				"add", x->raft_id);
		if (!s->voter && l->want[i] == WANT_VOTER)
			return ask(l, group_promote(g, x->raft_id, on_changed, l), "promote",
				x->raft_id);
		if (s->voter && l->want[i] == WANT_STANDBY && x != leader && is_complete(l, m, n))
			return ask(l, group_demote(g, x->raft_id, on_changed, l), "demote",
				x->raft_id);
	}
	return false;
}

static unsigned count(struct life *l, enum want want)
{
	unsigned n = 0;
	for (unsigned i = 0; i < l->c.o.nodes; i++)
		n += l->want[i] == want;
	return n;
}

static void change_wishes(struct life *l)
{
	struct sim *s = sim_of(l);
	unsigned i = (unsigned)(sim_random(s) % l->c.o.nodes);
	enum want want = sim_random(s) % 3;
	if (l->want[i] == WANT_VOTER && count(l, WANT_VOTER) <= (l->c.o.voters < 3 ? 1 : 3))
		return;
	if (want == WANT_VOTER && count(l, WANT_VOTER) >= 5)
		return;
	l->want[i] = want;
}

static void operator_turn(void *arg, uint64_t number)
{
	struct life *l = arg;
	struct sim *s = sim_of(l);
	struct node *leader = cluster_leader(&l->c);
	struct group_member_state m[2 * NODES_MAX];
	(void)number;
	sim_after(s, sim_between(s, 200000, 1500000), operator_turn, l, 0);
	for (unsigned i = 0; i < l->c.o.nodes; i++) {
		struct node *x = &l->c.nodes[i];
		if (x->up && x->cell != NULL && x->cell->removed)
			node_drop_member(x);
	}
	if (leader == NULL || l->asked)
		return;
	unsigned n = group_members(leader->cell->group, m, 2 * NODES_MAX);
	if (sim_chance(s, 50) ? remove_one(l, leader, m, n) || add_one(l, leader, m, n)
			      : add_one(l, leader, m, n) || remove_one(l, leader, m, n))
		return;
	if (l->calm)
		return;
	if (sim_chance(s, l->transfers))
		ask(l, group_transfer(leader->cell->group, 0, on_changed, l), "transfer from",
			leader->raft_id);
	else if (sim_chance(s, l->changes))
		change_wishes(l);
}

/* ---- faults --------------------------------------------------------------------------------- */

static void restart(void *arg, uint64_t i)
{
	struct life *l = arg;
	node_start(&l->c.nodes[i]);
}

static void heal(void *arg, uint64_t number)
{
	struct life *l = arg;
	(void)number;
	cluster_heal(&l->c);
}

/* Everybody is up, and whoever should vote does: another loss is a minority's. */
static bool is_whole(struct life *l)
{
	struct group_member_state m[2 * NODES_MAX];
	struct node *leader = cluster_leader(&l->c);
	unsigned voters = 0;
	if (leader == NULL || l->asked)
		return false;
	unsigned n = group_members(leader->cell->group, m, 2 * NODES_MAX);
	for (unsigned i = 0; i < n; i++) {
		const struct node *x = &l->c.nodes[m[i].node - 1];
		if (!x->up || x->cell == NULL || x->raft_id != m[i].id || m[i].lag > 50)
			return false;
		voters += m[i].voter;
	}
	return voters >= 3;
}

static void crash(struct life *l)
{
	struct sim *s = sim_of(l);
	unsigned n = sim_chance(s, 85) ? 1 : (unsigned)sim_between(s, 1, l->c.o.nodes);
	bool whole = is_whole(l);
	for (; n > 0; n--) {
		struct node *x = &l->c.nodes[sim_random(s) % l->c.o.nodes];
		if (!x->up)
			continue;
		uint64_t down = sim_chance(s, 50) ? sim_between(s, 10000, 300000)
						  : sim_between(s, 300000, 8000000);
		if (whole && sim_chance(s, l->wipes))
			node_wipe(x);
		else
			node_crash(x, true);
		sim_after(s, down, restart, l, x->i);
		whole = false;
	}
}

static void cut(struct life *l)
{
	struct sim *s = sim_of(l);
	unsigned a = (unsigned)(sim_random(s) % l->c.o.nodes);
	unsigned b = (unsigned)(sim_random(s) % l->c.o.nodes);
	if (sim_chance(s, 50)) {
		cluster_isolate(&l->c, a, true);
	} else if (a != b) {
		cluster_cut(&l->c, a, b, true);
		if (sim_chance(s, 50))
			cluster_cut(&l->c, b, a, true);
	}
	cluster_trace(&l->c, "cut %u %u", a, b);
	sim_after(s, sim_between(s, 50000, 6000000), heal, l, 0);
}

static void fault(void *arg, uint64_t number)
{
	struct life *l = arg;
	struct sim *s = sim_of(l);
	(void)number;
	if (l->calm)
		return;
	if (sim_chance(s, l->crashes))
		crash(l);
	if (sim_chance(s, l->cuts))
		cut(l);
	if (sim_chance(s, l->stalls)) {
		struct sim_disk *d = &l->c.nodes[sim_random(s) % l->c.o.nodes].disk;
		/* Hiccups, and disks that are full for a while. */
		uint64_t most = sim_chance(s, 20) ? 15000000 : 3000000;
		d->stalled_us = s->now_us + sim_between(s, 50000, most);
	}
	if (sim_chance(s, 10))
		cluster_break_link(&l->c, 0, (unsigned)sim_between(s, 0, l->c.o.nodes - 1));
	sim_after(s, sim_between(s, 100000, 3000000), fault, l, 0);
}

/* ---- a life --------------------------------------------------------------------------------- */

static void choose(struct life *l, struct cluster_options *o, uint64_t seed)
{
	struct sim s;
	sim_init(&s, seed ^ 0x5eed);
	static const unsigned voters[] = {1, 3, 3, 3, 3, 5};
	*o = (struct cluster_options){.seed = seed};
	o->voters = voters[sim_random(&s) % 6];
	o->nodes = o->voters + (unsigned)sim_between(&s, 0, o->voters == 5 ? 2 : 3);
	if (o->voters == 1 && o->nodes == 1)
		o->nodes = 2;
	o->delay_min_us = sim_between(&s, 100, 2000);
	o->delay_max_us = sim_chance(&s, 50) ? 30000 : sim_between(&s, 2000, 10000);
	o->loss_permille = sim_chance(&s, 50) ? 0 : (unsigned)sim_between(&s, 1, 30);
	o->unordered = sim_chance(&s, 20);
	o->disk_min_us = sim_between(&s, 200, 1000);
	o->disk_max_us = sim_chance(&s, 50) ? 20000 : sim_between(&s, 1000, 5000);
	o->freeze_after_ms = sim_chance(&s, 50) ? 0 : (unsigned)sim_between(&s, 200, 1500);
	o->snapshot_entries = (unsigned)sim_between(&s, 5, 80);
	o->trailing_entries = (unsigned)sim_between(&s, 1, 40);
	o->half_commits = sim_chance(&s, 50);
	l->crashes = sim_chance(&s, 20) ? 0 : (unsigned)sim_between(&s, 10, 60);
	l->cuts = sim_chance(&s, 20) ? 0 : (unsigned)sim_between(&s, 10, 60);
	l->stalls = sim_chance(&s, 50) ? 0 : (unsigned)sim_between(&s, 5, 40);
	l->wipes = sim_chance(&s, 50) ? 0 : (unsigned)sim_between(&s, 5, 50);
	l->changes = sim_chance(&s, 30) ? 0 : (unsigned)sim_between(&s, 10, 60);
	l->transfers = sim_chance(&s, 30) ? 0 : (unsigned)sim_between(&s, 5, 30);
	l->bulk = sim_chance(&s, 80) ? 0 : (unsigned)sim_between(&s, 1, 10);
	o->prompt = sim_chance(&s, 50);
	if (sim_chance(&s, 30))
		o->trailing_entries = 0; /* as the product */
	l->pause_us = 20000;
	sim_done(&s);
	for (unsigned i = 0; i < o->nodes; i++)
		l->want[i] = i < o->voters ? WANT_VOTER : WANT_NONE;
}

static bool has_settled(struct life *l)
{
	struct group_member_state m[2 * NODES_MAX];
	struct node *leader = cluster_leader(&l->c);
	if (leader == NULL || l->asked || !cluster_converged(&l->c))
		return false;
	unsigned n = group_members(leader->cell->group, m, 2 * NODES_MAX);
	unsigned wanted = count(l, WANT_VOTER) + count(l, WANT_STANDBY);
	return n == wanted;
}

/* Everything works again: soon all are equal, and commands are confirmed. */
static void come_to_rest(struct life *l)
{
	struct cluster *c = &l->c;
	l->calm = true;
	l->idle = false;
	c->o.loss_permille = 0;
	memset(c->refuse_permille, 0, sizeof c->refuse_permille);
	cluster_heal(c);
	for (unsigned i = 0; i < c->o.nodes; i++) {
		c->nodes[i].disk.stalled_us = 0;
		node_start(&c->nodes[i]);
	}
	cluster_run(c, 3000);
	uint64_t before = c->n_confirmed;
	for (unsigned i = 0; i < 120 && !c->failed; i++) {
		cluster_run(c, 500);
		l->idle = i % 4 >= 2;
		if (l->idle && c->n_confirmed > before && has_settled(l))
			return;
	}
	char state[900];
	cluster_describe(c, state, sizeof state);
	if (!c->failed)
		cluster_fail(c, "no rest: %s%s", l->asked ? "a change never ends; " : "", state);
}

#define RULE_NAME(name)                                 \
	{                                               \
#name, offsetof(struct rules_off, name) \
	}
static const struct {
	const char *name;
	size_t at;
} rule_names[] = {
	RULE_NAME(r1_clamp),
	RULE_NAME(r2_barrier),
	RULE_NAME(r2_withhold),
	RULE_NAME(r4_never_fails),
	RULE_NAME(r5_new_term),
	RULE_NAME(r6_anchor),
	RULE_NAME(r7_never_refuses),
	RULE_NAME(r8_no_tick),
	RULE_NAME(r9_copy),
	RULE_NAME(r10_busy),
	RULE_NAME(r10_rollback),
	RULE_NAME(r11_votes),
	RULE_NAME(r12_term),
	RULE_NAME(r13_gives_up),
	RULE_NAME(r14_vouches),
	RULE_NAME(hard_barrier),
	RULE_NAME(split),
	RULE_NAME(split_commit),
	RULE_NAME(mask_rejected),
	RULE_NAME(laggards_stay),
	RULE_NAME(thaw_on_link),
	RULE_NAME(freeze_asks),
};

static struct rules_off rules_off;
static unsigned refuse_permille; /* of all links */

static bool switch_off(const char *name)
{
	for (size_t i = 0; i < sizeof rule_names / sizeof rule_names[0]; i++) {
		if (strcmp(rule_names[i].name, name) != 0)
			continue;
		*(bool *)((char *)&rules_off + rule_names[i].at) = true;
		return true;
	}
	return false;
}

static bool somebody_rests(const struct life *l)
{
	for (unsigned i = 0; i < l->c.o.nodes; i++) {
		const struct node *n = &l->c.nodes[i];
		if (n->up && n->cell != NULL && group_frozen(n->cell->group))
			return true;
	}
	return false;
}

struct result {
	bool ok;
	uint64_t confirmed, installs, ops, rests;
	char why[1024];
};

static struct result live(uint64_t seed, uint64_t seconds, bool trace)
{
	struct life *l = MEM_NEW(struct life);
	struct cluster_options o;
	choose(l, &o, seed);
	o.trace = trace ? "" : NULL;
	o.off = &rules_off;
	cluster_init(&l->c, &o);
	for (unsigned i = 0; i < NODES_MAX * NODES_MAX; i++)
		l->c.refuse_permille[i / NODES_MAX][i % NODES_MAX] = refuse_permille;
	client(l, 0);
	mood(l, 0);
	fault(l, 0);
	operator_turn(l, 0);
	for (uint64_t t = 0; t < seconds && !l->c.failed; t++) {
		cluster_run(&l->c, 1000);
		cluster_check_entries(&l->c, 3);
		l->rests += somebody_rests(l);
	}
	if (!l->c.failed)
		come_to_rest(l);
	struct result r = {
		.ok = !l->c.failed,
		.confirmed = l->c.n_confirmed,
		.installs = l->c.installs,
		.ops = l->done,
		.rests = l->rests,
	};
	memcpy(r.why, l->c.why, sizeof r.why);
	cluster_done(&l->c);
	mem_free(l);
	return r;
}

static struct {
	uint64_t lives, failed, confirmed, installs, ops, rests;
} total;

static void run(uint64_t seed, uint64_t seconds, bool trace)
{
	struct result r = live(seed, seconds, trace);
	total.lives++;
	total.confirmed += r.confirmed;
	total.installs += r.installs;
	total.ops += r.ops;
	total.rests += r.rests;
	if (r.ok)
		return;
	total.failed++;
	printf("seed %" PRIu64 " failed: %s\n  again: soak --seed %" PRIu64 " --seconds %" PRIu64
	       " --refuse %u --trace\n",
		seed, r.why, seed, seconds, refuse_permille);
	fflush(stdout);
}

static void run_known(const char *path, uint64_t seconds)
{
	char line[256];
	FILE *f = fopen(path, "r");
	if (f == NULL) {
		fprintf(stderr, "soak: %s cannot be read\n", path);
		exit(2);
	}
	while (fgets(line, sizeof line, f) != NULL) {
		char *end;
		uint64_t seed = strtoull(line, &end, 10);
		if (end != line)
			run(seed, seconds, false);
	}
	fclose(f);
}

int main(int argc, char **argv)
{
	uint64_t from = 1, to = argc > 1 ? 0 : 200, seconds = 60;
	const char *known = NULL;
	char *known_here = NULL;
	bool trace = false;
	if (argc == 1) {
		const char *srcdir = getenv("srcdir");
		known = known_here =
			mem_printf("%s/tests/sim/seeds.txt", srcdir != NULL ? srcdir : ".");
	}
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		char *end;
		if (strcmp(argv[i], "--trace") == 0) {
			trace = true;
			continue;
		}
		if (strcmp(argv[i], "--seed") == 0) {
			from = to = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--seeds") == 0) {
			from = strtoull(value, &end, 10);
			to = strtoull(end + (*end == '.' ? 2 : 0), NULL, 10);
		} else if (strcmp(argv[i], "--seconds") == 0) {
			seconds = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--refuse") == 0) {
			refuse_permille = (unsigned)strtoul(value, NULL, 10);
		} else if (strcmp(argv[i], "--off") == 0 && switch_off(value)) {
			/* done */
		} else if (strcmp(argv[i], "--known") == 0) {
			known = value;
		} else {
			fprintf(stderr, "soak: what is '%s'?\n", argv[i]);
			return 2;
		}
		i++;
	}
	log_set_level(trace ? LOG_INFO : LOG_NONE);
	clock_t begin = clock();
	if (known != NULL)
		run_known(known, seconds);
	for (uint64_t seed = from; seed <= to; seed++)
		run(seed, seconds, trace);
	refuse_permille = argc == 1 ? 100 : refuse_permille;
	for (uint64_t seed = 1; argc == 1 && seed <= 100; seed++)
		run(seed, seconds, trace);
	mem_free(known_here);
	double cpu = (double)(clock() - begin) / CLOCKS_PER_SEC;
	printf("%" PRIu64 " lives of %" PRIu64 " s, %" PRIu64 " failed; %" PRIu64
	       " commands confirmed, %" PRIu64 " snapshots installed, %" PRIu64 " changes, %" PRIu64
	       " s at rest; %.3f s CPU each\n",
		total.lives, seconds, total.failed, total.confirmed, total.installs, total.ops,
		total.rests, total.lives > 0 ? cpu / (double)total.lives : 0);
	return total.failed > 0 ? 1 : 0;
}

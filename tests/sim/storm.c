/* SPDX-License-Identifier: Apache-2.0
 *
 * A storm: three nodes with a member each of very many groups, at rest, of which one dies. How long
 * until all groups are led again, how much of that is work, and does it come all at once? Then the
 * node returns; and at last nothing rests any more.
 *
 *   storm [--groups N]
 *
 * Virtual time and one thread: the times are those of the clocks, links and disks of the simulator
 * (messages take 0.5 ms, commits 2 to 6 ms, one for all groups of a node), the CPU is real and that of
 * all nodes together. Without arguments, in `make check`, 500 groups; what is promised is checked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raft/groups.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_disk.h"

enum { HOSTS = 3, TICK_MS = 50, LINK_US = 500, SLOT_MS = 100, SLOTS = 600 };

struct storm;

struct member {
	struct host *host;
	struct group *group;
	uint64_t id;
	bool leading;
	bool closed;
};

struct host {
	struct storm *storm;
	unsigned i;
	bool up;
	uint64_t life;
	struct store_port port;
	struct group_net net;
	struct groups *groups;
	struct sim_disk disk;
	struct member *members;
	struct list handed; /* struct net_message that the link is done with */
	uint64_t sent;
};

struct storm {
	struct sim sim;
	struct host hosts[HOSTS];
	unsigned n;
	unsigned freeze_ms;
	unsigned led;         /* groups with a leader */
	unsigned begun[SLOTS]; /* leaderships that began, by time since `epoch_us` */
	uint64_t epoch_us;
	double cpu;
	bool failed;
};

static struct storm S;

/* ---- the application: none ------------------------------------------------------------------ */

static void seal(void *arg, uint8_t *header)
{
	(void)arg;
	memset(header, 0, GROUP_ENTRY_HEADER);
}

static void apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	(void)arg, (void)index, (void)blob, (void)p, (void)n;
}

static void snapshot(void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	(void)arg, (void)previous, (void)live, (void)rows;
	buf_put_u64le(data, 1);
}

static void snapshot_done(void *arg, uint64_t index)
{
	(void)arg, (void)index;
}

static int restore(void *arg, uint64_t index, struct slice data)
{
	(void)arg, (void)index, (void)data;
	return 0;
}

static void live(void *arg, struct buf *ranges)
{
	(void)arg, (void)ranges;
}

static void leading(void *arg, bool yes, uint64_t term)
{
	struct member *m = arg;
	(void)term;
	if (m->leading != yes)
		S.led += yes ? 1 : -1u;
	m->leading = yes;
	uint64_t slot = (S.sim.now_us - S.epoch_us) / 1000 / SLOT_MS;
	if (yes)
		S.begun[slot < SLOTS ? slot : SLOTS - 1]++;
}

static void closed(void *arg)
{
	struct member *m = arg;
	m->group = NULL;
	m->closed = true;
}

static const struct group_app app = {
	.seal = seal,
	.apply = apply,
	.snapshot = snapshot,
	.snapshot_done = snapshot_done,
	.restore = restore,
	.live = live,
	.leading = leading,
	.closed = closed,
};

/* ---- links ---------------------------------------------------------------------------------- */

static void turn(struct host *h)
{
	bool any;
	do {
		any = store_port_poll(&h->port) > 0;
		any |= groups_flush(h->groups);
	} while (any);
	sim_disk_flush(&h->disk);
}

struct packet {
	struct host *from, *to;
	uint64_t from_life, to_life;
	struct blob *blob;
	size_t n;
};

static void packet_free(struct packet *k)
{
	blob_unref(k->blob);
	mem_free(k);
}

static void deliver(void *arg, uint64_t number)
{
	struct packet *k = arg;
	(void)number;
	if (k->to->up && k->to->life == k->to_life && k->from->life == k->from_life) {
		if (groups_receive(k->to->groups, k->from->i + 1, k->blob, k->blob->data, k->n) != 0)
			S.failed = true;
		turn(k->to);
	}
	packet_free(k);
}

static void let_go(struct host *h)
{
	struct list *node;
	while ((node = list_pop(&h->handed)) != NULL) {
		struct net_message *m = LIST_ENTRY(node, struct net_message, link);
		m->done(m, false);
	}
}

static void on_handed(void *arg, uint64_t life)
{
	struct host *h = arg;
	if (!h->up || h->life != life)
		return;
	let_go(h);
	turn(h);
}

static void send(void *arg, uint64_t node, struct net_message *m)
{
	struct host *h = arg, *to = &S.hosts[node - 1];
	if (list_empty(&h->handed))
		sim_after(&S.sim, 50, on_handed, h, h->life);
	list_push_back(&h->handed, &m->link);
	h->sent++;
	if (!h->up || !to->up)
		return;
	struct packet *k = mem_alloc(sizeof *k);
	*k = (struct packet){.from = h, .to = to, .from_life = h->life, .to_life = to->life};
	k->blob = blob_new(m->n);
	memcpy(k->blob->data, m->head.p, m->head.n);
	k->n = m->head.n;
	for (unsigned i = 0; i < m->n_parts; i++) {
		memcpy(k->blob->data + k->n, m->parts[i].p, m->parts[i].n);
		k->n += m->parts[i].n;
	}
	sim_after(&S.sim, LINK_US, deliver, k, 0);
}

static void link_all(struct host *h)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *o = &S.hosts[i];
		if (o == h || !o->up)
			continue;
		groups_link_up(h->groups, o->i + 1, o->life);
		groups_link_up(o->groups, h->i + 1, h->life);
		turn(o);
	}
	turn(h);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static uint64_t now_ms(void *arg)
{
	(void)arg;
	return sim_now_ms(&S.sim) + 1;
}

static uint32_t chance(void *arg)
{
	(void)arg;
	return (uint32_t)sim_random(&S.sim);
}

static void tick(void *arg, uint64_t life)
{
	struct host *h = arg;
	if (!h->up || h->life != life)
		return;
	groups_tick(h->groups);
	turn(h);
	sim_after(&S.sim, TICK_MS * 1000, tick, h, life);
}

static void open_member(struct host *h, unsigned g)
{
	static const struct group_member first[HOSTS] = {
		{.id = 1, .node = 1, .voter = true},
		{.id = 2, .node = 2, .voter = true},
		{.id = 3, .node = 3, .voter = true},
	};
	struct member *m = &h->members[g];
	*m = (struct member){.host = h, .id = g + 1};
	struct group_spec spec = {
		.id = m->id,
		.self = h->i + 1,
		.members = first,
		.n_members = HOSTS,
		.log = sim_disk_open(&h->disk, &h->port, m->id),
		.app = &app,
		.arg = m,
	};
	if (group_open(&m->group, h->groups, &spec) != 0)
		abort();
}

static void start(struct host *h)
{
	h->up = true;
	h->life++;
	sim_disk_restart(&h->disk);
	store_port_init(&h->port, NULL, NULL, NULL);
	h->groups = groups_new(&(struct groups_config){
		.port = &h->port,
		.now_ms = now_ms,
		.random = chance,
		.net = &h->net,
		.freeze_after_ms = S.freeze_ms,
	});
	for (unsigned g = 0; g < S.n; g++)
		open_member(h, g);
	sim_after(&S.sim, sim_between(&S.sim, 0, TICK_MS * 1000), tick, h, h->life);
	link_all(h);
}

static void stop(struct host *h)
{
	h->up = false;
	sim_disk_crash(&h->disk, false);
	for (unsigned g = 0; g < S.n; g++)
		group_close(h->members[g].group, false);
	while (groups_count(h->groups) > 0) {
		turn(h);
		let_go(h);
	}
	let_go(h);
	for (unsigned g = 0; g < S.n; g++) {
		S.led -= h->members[g].leading;
		h->members[g].leading = false;
	}
	groups_free(h->groups);
	store_port_done(&h->port);
}

static void die(struct host *h)
{
	stop(h);
	for (unsigned i = 0; i < HOSTS; i++) {
		if (!S.hosts[i].up)
			continue;
		groups_link_down(S.hosts[i].groups, h->i + 1);
		turn(&S.hosts[i]);
	}
}

static void ready(void *arg)
{
	turn(arg);
}

/* ---- measuring ------------------------------------------------------------------------------ */

static struct {
	uint64_t us, sent, commits;
	clock_t cpu;
} mark;

static uint64_t all_sent(void)
{
	return S.hosts[0].sent + S.hosts[1].sent + S.hosts[2].sent;
}

static uint64_t all_commits(void)
{
	return S.hosts[0].disk.commits + S.hosts[1].disk.commits + S.hosts[2].disk.commits;
}

static void begin(void)
{
	mark.us = S.epoch_us = S.sim.now_us;
	mark.sent = all_sent();
	mark.commits = all_commits();
	mark.cpu = clock();
	memset(S.begun, 0, sizeof S.begun);
}

static bool all_led(void)
{
	return S.led == S.n;
}

static bool all_rest(void)
{
	for (unsigned i = 0; i < HOSTS; i++)
		for (unsigned g = 0; S.hosts[i].up && g < S.n; g++)
			if (!group_frozen(S.hosts[i].members[g].group))
				return false;
	return S.led == S.n;
}

static bool never(void)
{
	return false;
}

/* Virtual ms; says what it took. */
static uint64_t measure(const char *what, bool (*until)(void), uint64_t most_ms)
{
	begin();
	while (!until() && S.sim.now_us - mark.us < most_ms * 1000)
		sim_until(&S.sim, S.sim.now_us + 10000);
	uint64_t ms = (S.sim.now_us - mark.us) / 1000;
	S.cpu = (double)(clock() - mark.cpu) / CLOCKS_PER_SEC;
	printf("%-32s %6" PRIu64 " ms, %7.3f s CPU, %8" PRIu64 " messages, %6" PRIu64 " commits\n",
		what, ms, S.cpu, all_sent() - mark.sent, all_commits() - mark.commits);
	if (until != never && !until()) {
		printf("  not reached: %u of %u led\n", S.led, S.n);
		S.failed = true;
	}
	return ms;
}

static void promise(bool held, const char *what)
{
	if (held)
		return;
	printf("NOT HELD: %s\n", what);
	S.failed = true;
}

/* How leaderships that begin are spread over time. */
static unsigned show_spread(unsigned *ret_sum)
{
	unsigned most = 0, sum = 0;
	printf("  begun per %u ms:", SLOT_MS);
	for (unsigned i = 0, last = 0; i < SLOTS; i++) {
		if (S.begun[i] == 0)
			continue;
		for (; last < i && i - last < 10; last++)
			printf(" %u", S.begun[last]);
		printf(" %u", S.begun[i]);
		last = i + 1;
		sum += S.begun[i];
		most = S.begun[i] > most ? S.begun[i] : most;
	}
	printf("\n");
	*ret_sum = sum;
	return most;
}

static void put_everywhere(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *h = &S.hosts[i];
		for (unsigned g = 0; h->up && g < S.n; g++) {
			struct group *group = h->members[g].group;
			if (!h->members[g].leading)
				continue;
			memset(batch_put(group_batch(group), 40), 1, 40);
			group_dirty(group);
		}
		if (h->up)
			turn(h);
	}
}

static unsigned led_by(const struct host *h)
{
	unsigned n = 0;
	for (unsigned g = 0; g < S.n; g++)
		n += h->members[g].leading;
	return n;
}

/* Elections in a slot if they are spread evenly over the time that raft/haste.c says: the first of the
 * members that are left have a half of 200 ms, and of 1 ms for every other group. */
static unsigned per_slot(unsigned orphans)
{
	unsigned ms = (200 + orphans / 2) / (HOSTS - 1);
	return orphans * SLOT_MS / ms;
}

/* ---- the story ------------------------------------------------------------------------------ */

static void storm(void)
{
	unsigned sum;
	for (unsigned i = 0; i < HOSTS; i++)
		start(&S.hosts[i]);
	measure("all start, until all are led", all_led, 60000);
	show_spread(&sum);
	put_everywhere();
	measure("an entry each, until all rest", all_rest, 60000);
	measure("nothing happens", never, 10000);
	uint64_t idle = all_sent() - mark.sent;
	promise(idle == 0 && S.cpu < 0.1, "groups at rest cost nothing");

	struct host *dead = &S.hosts[0];
	unsigned orphans = led_by(dead);
	printf("node 1 dies; it led %u groups\n", orphans);
	uint64_t commits = all_commits();
	die(dead);
	uint64_t ms = measure("until all are led", all_led, 60000);
	commits = all_commits() - commits;
	unsigned most = show_spread(&sum);
	promise(ms < 6000, "a lost node's groups are led again within three long election timeouts");
	promise(sum < orphans + orphans / 10 + 5, "hardly an election in vain");
	promise(most <= per_slot(orphans) * 5 / 4 + 10, "elections are spread");
	/* A commit takes 2 ms at least, and there are two disks. */
	promise(commits <= ms, "commits are shared");
	measure("until all rest", all_rest, 60000);

	start(dead);
	measure("it returns, until all rest", all_rest, 60000);
	show_spread(&sum);
	promise(sum == 0, "nobody loses leadership by a return");
}

static void awake(void)
{
	S.freeze_ms = 0;
	for (unsigned i = 0; i < HOSTS; i++)
		stop(&S.hosts[i]);
	for (unsigned i = 0; i < HOSTS; i++)
		start(&S.hosts[i]);
	measure("nothing rests: until all are led", all_led, 60000);
	measure("ten seconds of that", never, 10000);
	printf("  %.2f us CPU per group, member and second\n",
		S.cpu * 1e6 / 10 / HOSTS / S.n);
}

static void finish(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		stop(&S.hosts[i]);
		sim_disk_done(&S.hosts[i].disk);
		mem_free(S.hosts[i].members);
	}
	for (size_t i = 0; i < S.sim.n; i++)
		if (S.sim.heap[i].run == deliver)
			packet_free(S.sim.heap[i].arg);
	sim_done(&S.sim);
}

int main(int argc, char **argv)
{
	S.n = argc > 2 && strcmp(argv[1], "--groups") == 0 ? (unsigned)atoi(argv[2]) : 500;
	S.freeze_ms = 1000;
	log_set_level(LOG_NONE);
	groups_global_init();
	sim_init(&S.sim, 1);
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *h = &S.hosts[i];
		*h = (struct host){.storm = &S, .i = i, .net = {.send = send, .arg = h}};
		h->members = mem_alloc(S.n * sizeof *h->members);
		list_init(&h->handed);
		sim_disk_init(&h->disk, &S.sim, ready, h);
		h->disk.min_us = 2000;
		h->disk.max_us = 6000;
	}
	storm();
	awake();
	finish();
	return S.failed ? 1 : 0;
}

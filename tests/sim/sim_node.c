/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_remote.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/session/tally.h"

enum { GHOST_MS = 120000, DIR_MAX = 16, ERR_MAX = 256 };

static struct sim_world *the_world;

/* ---- what the product finds in place of the machine's ---- */

void log_line(enum log_level level, const char *category, const char *fmt, ...)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	va_list ap;
	if (the_world == NULL || !the_world->o.trace || level < LOG_INFO)
		return;
	printf("%10.3f   [%s] <%s> ", (double)the_world->sim.now_us / 1000, names[level], category);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

int log_level_of(const char *name)
{
	(void)name;
	return LOG_INFO;
}

void log_set_level(enum log_level level)
{
	(void)level;
}

const char *log_file(void)
{
	return NULL;
}

int log_reopen(void)
{
	return 0;
}

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	uint8_t *to = p;
	(void)flags;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)sim_random(&the_world->sim);
	return (ssize_t)n;
}

void alarms_start(struct alarms *a, struct worker *w, const struct config *config)
{
	(void)a;
	(void)w;
	(void)config;
}

void alarms_stop(struct alarms *a)
{
	(void)a;
}

bool alarms_of_other(struct alarms *a, uint64_t node, enum session_alarm raised)
{
	(void)a;
	(void)node;
	(void)raised;
	return false;
}

enum session_alarm alarms_everywhere(const struct alarms *a)
{
	(void)a;
	return SESSION_ALARM_NONE;
}

uint64_t alarms_machine_memory(void)
{
	return UINT64_C(1) << 30;
}

/* ---- the process: what src/daemon/node.c is ---- */

static struct sim_node *sim_node_of(struct node *n)
{
	return LIST_ENTRY(n, struct sim_node, node);
}

enum node_exit node_store_exit(int store_err)
{
	(void)store_err;
	return NODE_EXIT_FAILURE;
}

enum node_exit node_listener_exit(int code)
{
	(void)code;
	return NODE_EXIT_FAILURE;
}

void node_open_links(struct node *n)
{
	struct sim_node *sn = sim_node_of(n);
	sim_net_place(&sn->world->net, sn->i);
	n->links = links_new(&(struct links_config){.worker = &n->shards[0].worker,
		.node_id = n->identity.node_id,
		.incarnation = n->identity.incarnation,
		.name = n->name,
		.product = "0",
		.n_workers = n->n_shards});
}

static void on_process_over(void *arg, uint64_t life);

void node_on_app_down(struct node *n)
{
	struct sim_node *sn = sim_node_of(n);
	char err[128];
	if (sn->ghost || sn->stopping) {
		if (!sn->ghost)
			sim_after(&sn->world->sim, 0, on_process_over, sn, sn->life);
	} else if (n->app.again) {
		world_trace(sn->world, "%s starts anew", sn->name);
		sn->life++;
		if (app_prepare(n, err, sizeof err) != NODE_EXIT_OK)
			abort();
		app_start(n, n->app.started, n->app.started_arg);
	}
}

void node_on_app_failed(struct node *n, enum node_exit why)
{
	struct sim_node *sn = sim_node_of(n);
	(void)why;
	if (!sn->ghost)
		promise_broken(&sn->world->promises, "%s cannot start", sn->name);
	sn->stopping = true;
	app_stop(n, NULL, NULL);
}

/* ---- what a node remembers: src/daemon/node_cluster.c, on a simulated disk ---- */

int __wrap_membership_read(struct membership *ret, const char *dir, char *err, size_t err_n);
int __wrap_membership_write(const struct membership *r, const char *dir, char *err, size_t err_n);
int __wrap_change_read(struct change *ret, const char *dir, char *err, size_t err_n);
int __wrap_change_write(const struct change *c, const char *dir, char *err, size_t err_n);
void __wrap_node_on_table(struct node *n, const struct broker *b);
void __real_node_on_table(struct node *n, const struct broker *b);
void __wrap_node_on_found(struct node *n, uint64_t member);

static struct sim_node *machine_of(const char *dir)
{
	for (unsigned i = 0; i < the_world->o.nodes; i++)
		if (strcmp(the_world->nodes[i].dir, dir) == 0)
			return &the_world->nodes[i];
	abort();
}

static void die(struct sim_node *sn, bool dark)
{
	world_trace(sn->world, "%s %s", sn->name, dark ? "loses its power" : "is killed");
	sn->ghost = true;
	sim_disk_crash(&sn->box.disk, false);
	sim_net_kill(&sn->world->net, sn->i, dark);
}

static void let_go(struct sim_node *sn);

static void on_dead(void *arg, uint64_t life)
{
	struct sim_node *sn = arg;
	if (sn->up && sn->ghost && sn->life == life)
		let_go(sn);
}

/* Before and after each change of what is remembered. */
static bool is_dead(struct sim_node *sn)
{
	if (!sn->ghost && sn->die_at > 0 && --sn->die_at == 0) {
		die(sn, sim_chance(&sn->world->sim, 50));
		sim_after(&sn->world->sim, 0, on_dead, sn, sn->life);
	}
	return sn->ghost;
}

static void copy_membership(struct membership *to, const struct membership *from)
{
	*to = (struct membership){.cluster_id = from->cluster_id, .type = from->type};
	for (size_t i = 0; i < from->n_nodes; i++) {
		membership_add(to, from->nodes[i].id, from->nodes[i].type,
			slice_str(from->nodes[i].name), slice_str(from->nodes[i].address));
		to->nodes[i].lost = from->nodes[i].lost;
	}
}

int __wrap_membership_read(struct membership *ret, const char *dir, char *err, size_t err_n)
{
	(void)err;
	(void)err_n;
	copy_membership(ret, &machine_of(dir)->membership);
	return 0;
}

int __wrap_membership_write(const struct membership *r, const char *dir, char *err, size_t err_n)
{
	struct sim_node *sn = machine_of(dir);
	(void)err;
	(void)err_n;
	if (!is_dead(sn)) {
		membership_done(&sn->membership);
		copy_membership(&sn->membership, r);
		is_dead(sn);
	}
	return 0;
}

int __wrap_change_read(struct change *ret, const char *dir, char *err, size_t err_n)
{
	(void)err;
	(void)err_n;
	*ret = change_copy(&machine_of(dir)->change);
	return 0;
}

int __wrap_change_write(const struct change *c, const char *dir, char *err, size_t err_n)
{
	static const char *const steps[] = {"no change", "to leave", "to be wiped", "to join"};
	struct sim_node *sn = machine_of(dir);
	(void)err;
	(void)err_n;
	if (!is_dead(sn)) {
		world_trace(sn->world, "%s remembers: %s", sn->name, steps[c->step]);
		change_done(&sn->change);
		sn->change = change_copy(c);
		is_dead(sn);
	}
	return 0;
}

int store_wipe(const char *dir, const struct claim *claim, char *err, size_t err_n)
{
	struct sim_node *sn = machine_of(dir);
	(void)claim;
	(void)err;
	(void)err_n;
	if (!is_dead(sn)) {
		sim_box_wipe(&sn->box);
		is_dead(sn);
	}
	return STORE_OK;
}

void __wrap_node_on_found(struct node *n, uint64_t member)
{
	struct sim_node *sn = sim_node_of(n);
	const struct membership_node *m = membership_find(&n->membership, member);
	if (m != NULL && m->lost)
		promise_broken(&sn->world->promises, "%s meets one that was given up", sn->name);
}

static void expect_one_cluster(struct sim_world *w, uint64_t id)
{
	if (w->cluster_id == 0)
		w->cluster_id = id;
	if (id != w->cluster_id)
		promise_broken(&w->promises, "there are two clusters");
}

void __wrap_node_on_table(struct node *n, const struct broker *b)
{
	if (broker_node_incarnation(b, n->identity.node_id) >= n->identity.incarnation)
		expect_one_cluster(sim_node_of(n)->world, b->cluster_id);
	__real_node_on_table(n, b);
}

static void init_shards(struct sim_node *sn)
{
	struct node *n = &sn->node;
	n->n_shards = sn->workers;
	n->shards = mem_zalloc(n->n_shards * sizeof *n->shards);
	n->catalogs = mem_zalloc(n->n_shards * sizeof(*n->catalogs));
	n->envs = mem_zalloc(n->n_shards * sizeof(*n->envs));
	n->api_shards = mem_zalloc(n->n_shards * sizeof *n->api_shards);
	for (unsigned i = 0; i < n->n_shards; i++) {
		shard_init(&n->shards[i], n, i);
		sim_loop_skew(&n->shards[i].worker, sn->skew_ms);
		n->envs[i] = &n->shards[i].env;
	}
	for (unsigned i = 0; i < n->n_shards; i++)
		shard_start_clock(&n->shards[i]);
}

/* ---- the operators' API, as far as nodes use it among themselves ---- */

static enum api_app node_app(void *arg)
{
	static const enum api_app states[] = {
		[APP_DOWN] = API_APP_STOPPED,
		[APP_STARTING] = API_APP_STARTING,
		[APP_UP] = API_APP_RUNNING,
		[APP_STOPPING] = API_APP_STOPPING,
	};
	const struct node *n = arg;
	return states[n->app.state];
}

static uint64_t node_incarnation(void *arg)
{
	const struct node *n = arg;
	return n->identity.incarnation;
}

static uint64_t node_id(void *arg)
{
	const struct node *n = arg;
	return n->identity.node_id;
}

static const struct membership *node_membership(void *arg)
{
	const struct node *n = arg;
	return &n->membership;
}

static bool node_blank(void *arg)
{
	const struct node *n = arg;
	return n->blank;
}

static const struct change *node_change(void *arg)
{
	const struct node *n = arg;
	return &n->change;
}

static char *node_trouble(void *arg, bool *final)
{
	return app_trouble(arg, final);
}

static void node_start_app(void *arg, api_app_done *done, void *done_arg)
{
	char err[ERR_MAX];
	struct sim_node *sn = sim_node_of(arg);
	sn->life++;
	if (app_prepare(arg, err, sizeof err) != NODE_EXIT_OK)
		abort();
	app_start(arg, done, done_arg);
}

static void node_stop_app(void *arg, api_app_done *done, void *done_arg)
{
	app_stop(arg, done, done_arg);
}

static void open_api(struct node *n)
{
	for (unsigned i = 0; i < n->n_shards; i++)
		n->api_shards[i] =
			(struct api_shard){.worker = &n->shards[i].worker, .env = &n->shards[i].env};
	n->api = api_new(&(struct api_node){.name = n->name,
		.shards = n->api_shards,
		.n_shards = n->n_shards,
		.app = node_app,
		.links = n->links,
		.address = n->address,
		.id = node_id,
		.incarnation = node_incarnation,
		.membership = node_membership,
		.change = node_change,
		.blank = node_blank,
		.trouble = node_trouble,
		.start_app = node_start_app,
		.stop_app = node_stop_app,
		.begin = node_begin_change,
		.take_back = node_take_back,
		.reset = node_reset,
		.join = node_join,
		.give_up = node_give_up,
		.arg = n});
}

void sim_node_start(struct sim_node *sn)
{
	static const char *const nobody[] = {NULL};
	struct node *n = &sn->node;
	char err[256];
	*n = (struct node){.config = &sn->world->config, .name = sn->name, .data_dir = sn->dir};
	sn->up = true;
	sn->ghost = sn->stopping = false;
	sn->life++;
	world_trace(sn->world, "%s starts", sn->name);
	if (node_remember(n, err, sizeof err) != 0)
		abort();
	n->address = mem_strdup(sn->address);
	n->limits.node_name = n->name;
	n->limits.product_version = "0";
	n->limits.loopback_users = nobody;
	if (app_prepare(n, err, sizeof err) != NODE_EXIT_OK)
		abort();
	n->tally = tally_new();
	init_shards(sn);
	open_api(n);
	app_start(n, NULL, NULL);
}

static void process_end(struct sim_node *sn)
{
	struct node *n = &sn->node;
	sim_remote_end(sn);
	for (unsigned i = 0; i < n->n_shards; i++) {
		timer_free(n->shards[i].tick);
		timer_free(n->shards[i].seek);
		timer_free(n->shards[i].clock);
		timer_free(n->shards[i].pace);
	}
	/* A worker's last mail may be for another one. */
	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < n->n_shards; i++)
			worker_deliver(&n->shards[i].worker);
	for (unsigned i = 0; i < n->n_shards; i++)
		shard_done(&n->shards[i]);
	for (unsigned i = 0; i < n->n_shards; i++)
		link_port_free(n->shards[i].links);
	links_free(n->links);
	api_free(n->api);
	mem_free(n->api_shards);
	mem_free(n->shards);
	mem_free(n->catalogs);
	mem_free(n->envs);
	mem_free(n->address);
	membership_done(&n->membership);
	change_done(&n->change);
	app_forget_trouble(&n->app);
	tally_free(n->tally);
	sn->up = false;
}

static void on_process_over(void *arg, uint64_t life)
{
	struct sim_node *sn = arg;
	if (!sn->up || sn->life != life || sn->ghost)
		return;
	world_trace(sn->world, "%s has stopped", sn->name);
	sim_net_kill(&sn->world->net, sn->i, false);
	process_end(sn);
}

static bool is_down(void *arg)
{
	struct sim_node *sn = arg;
	return sn->node.app.state == APP_DOWN;
}

/* What is left of the process lets go of its memory, outside of the world. */
static void let_go(struct sim_node *sn)
{
	struct node *n = &sn->node;
	struct worker *ws[SIM_WORKERS];
	for (unsigned i = 0; i < n->n_shards; i++) {
		ws[i] = &n->shards[i].worker;
		sim_loop_detach(ws[i]);
	}
	if (n->app.state != APP_DOWN)
		app_stop(n, NULL, NULL);
	if (!sim_loops_live(ws, n->n_shards, is_down, sn, GHOST_MS)) {
		promise_broken(&sn->world->promises, "%s does not come to an end", sn->name);
		abort();
	}
	process_end(sn);
}

void sim_node_kill(struct sim_node *sn, bool dark)
{
	if (!sn->up)
		return;
	if (!sn->ghost)
		die(sn, dark);
	let_go(sn);
}

void sim_node_stop(struct sim_node *sn)
{
	if (!sn->up || sn->stopping)
		return;
	world_trace(sn->world, "%s is to stop", sn->name);
	sn->stopping = true;
	if (sn->node.app.state == APP_DOWN)
		node_on_app_down(&sn->node);
	else
		app_stop(&sn->node, NULL, NULL);
}

void sim_node_wipe(struct sim_node *sn)
{
	world_trace(sn->world, "%s loses its disk", sn->name);
	sim_box_wipe(&sn->box);
	membership_done(&sn->membership);
	change_done(&sn->change);
}

void sim_node_give_up_others(struct sim_node *sn)
{
	struct membership *m = &sn->membership;
	world_trace(sn->world, "%s gives all others up", sn->name);
	for (size_t i = 0; i < m->n_nodes; i++)
		m->nodes[i].lost = m->nodes[i].id != sn->box.identity.node_id;
}

bool sim_node_serves(const struct sim_node *sn)
{
	return sn->up && !sn->stopping && sn->node.app.state == APP_UP;
}

bool sim_node_lives(const struct sim_node *sn, uint64_t life)
{
	return sn->up && !sn->ghost && sn->life == life;
}

struct broker *sim_node_broker(struct sim_node *sn)
{
	return catalog_broker(sn->node.catalogs[0]);
}

struct shard *sim_node_shard(struct sim_node *sn, unsigned no)
{
	return &sn->node.shards[no % sn->node.n_shards];
}

void sim_node_propose(struct sim_node *sn, struct buf *command)
{
	catalog_propose(sn->node.catalogs[0], buf_slice(command), NULL);
	buf_done(command);
}

/* ---- joining ---- */

static bool is_in_table(struct sim_world *w, void *arg)
{
	struct sim_node *via = &w->nodes[0], *sn = arg;
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (sim_node_serves(&w->nodes[i]))
			via = &w->nodes[i];
	return sim_node_serves(via) &&
	       broker_node_find(sim_node_broker(via), sn->box.identity.node_id) != NULL;
}

void sim_node_join(struct sim_node *sn, struct sim_node *via, enum broker_node_type type)
{
	struct sim_world *w = sn->world;
	struct buf b = BUF_EMPTY;
	if (sn->box.identity.node_id == 0)
		sn->box.identity.node_id = sim_random(&w->sim) | 1;
	broker_put_join_node(&b, sn->box.identity.node_id, slice_str(sn->name),
		slice_str(sn->address), type);
	sim_node_propose(via, &b);
	if (!world_until(w, is_in_table, sn, 20000)) {
		promise_broken(&w->promises, "%s cannot join", sn->name);
		return;
	}
	membership_done(&sn->membership);
	for (unsigned i = 0; i < w->o.nodes; i++) {
		struct sim_node *other = &w->nodes[i];
		if (!sim_node_serves(other) || broker_node_find(sim_node_broker(other),
						       sn->box.identity.node_id) == NULL)
			continue;
		membership_of(&sn->membership, sim_node_broker(other), sn->box.identity.node_id);
		return;
	}
}

static bool all_serve(struct sim_world *w, void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (w->nodes[i].up && !sim_node_serves(&w->nodes[i]))
			return false;
	return true;
}

bool world_form(struct sim_world *w, unsigned n_ram)
{
	for (unsigned i = 0; i < w->o.nodes; i++) {
		bool ram = i >= w->o.nodes - n_ram;
		if (i > 0)
			sim_node_join(&w->nodes[i], &w->nodes[0],
				ram ? BROKER_NODE_RAM : BROKER_NODE_DISC);
		sim_node_start(&w->nodes[i]);
		if (!world_until(w, all_serve, NULL, 30000))
			return false;
	}
	return true;
}

static bool have_discovered(struct sim_world *w, void *arg)
{
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (!sim_node_serves(&w->nodes[i]) ||
			sim_node_broker(&w->nodes[i])->n_nodes != w->o.nodes)
			return false;
	return all_serve(w, arg);
}

bool world_discover(struct sim_world *w)
{
	for (unsigned k = 0; k < 8; k++) {
		struct sim_node *n = &w->nodes[sim_random(&w->sim) % w->o.nodes];
		unsigned a = (unsigned)sim_random(&w->sim) % w->o.nodes;
		if (!n->up)
			sim_node_start(n);
		else if (sim_chance(&w->sim, 50))
			sim_node_kill(n, sim_chance(&w->sim, 50));
		if (a != n->i)
			sim_net_cut(&w->net, a, n->i, !w->net.cut[a][n->i]);
		world_run(w, sim_between(&w->sim, 1, 2000));
	}
	for (unsigned a = 0; a < w->o.nodes; a++)
		for (unsigned b = 0; b < w->o.nodes; b++)
			if (w->net.cut[a][b])
				sim_net_cut(&w->net, a, b, false);
	for (unsigned i = 0; i < w->o.nodes; i++)
		if (!w->nodes[i].up)
			sim_node_start(&w->nodes[i]);
	return world_until(w, have_discovered, NULL, 60000);
}

/* ---- the world ---- */

static void on_disk_ready(void *arg)
{
	struct sim_node *sn = arg;
	for (unsigned i = 0; sn->up && i < sn->node.n_shards; i++)
		worker_wake(&sn->node.shards[i].worker);
}

static void on_garbage(void *arg, unsigned to)
{
	struct sim_world *w = arg;
	promise_broken(&w->promises, "%s does not understand a message", w->nodes[to].name);
}

static void init_config(struct sim_world *w)
{
	struct config *c = &w->config;
	config_init(c, NULL, NULL);
	char pair[80];
	for (unsigned i = 0; w->o.discovers && i < w->o.nodes; i++) {
		snprintf(pair, sizeof pair, "cluster_formation.classic_config.nodes.%u=n%u@%u", i, i, i);
		config_set_pair(c, pair);
	}
	snprintf(pair, sizeof pair, "cluster_formation.target_cluster_size_hint=%u", w->o.nodes);
	if (w->o.discovers && w->o.seed % 2 == 0)
		config_set_pair(c, pair);
	config_set_pair(c, "listeners.tcp=none"); /* nobody connects from outside */
	config_finish(c);
	c->cluster_timeout_ms = w->o.net.silence_ms;
	if (w->o.down_ms > 0)
		c->cluster_down_ms = w->o.down_ms;
	if (w->o.replace_ms > 0)
		c->cluster_replace_ms = w->o.replace_ms;
}

void world_begin(struct sim_world *w, const struct sim_world_options *o)
{
	static bool installed;
	if (!installed)
		groups_global_init();
	installed = true;
	*w = (struct sim_world){.o = *o};
	the_world = w;
	sim_init(&w->sim, o->seed);
	sim_loops_begin(&w->sim);
	sim_store_begin();
	sim_remote_begin(w);
	sim_net_init(&w->net, &w->sim, &o->net);
	w->net.garbage = on_garbage;
	w->net.arg = w;
	promises_begin(&w->promises, w);
	init_config(w);
	for (unsigned i = 0; i < o->nodes; i++) {
		struct sim_node *n = &w->nodes[i];
		n->world = w;
		n->i = i;
		n->workers = o->workers;
		snprintf(n->name, sizeof n->name, "n%u@sim", i);
		snprintf(n->dir, sizeof n->dir, "n%u", i);
		snprintf(n->address, sizeof n->address, "%u:25672", i);
		n->skew_ms = (int64_t)(o->skew_ms > 0 ? sim_between(&w->sim, 0, 2 * o->skew_ms) : 0) -
			     (int64_t)o->skew_ms;
		sim_box_init(&n->box, &w->sim, n->dir, on_disk_ready, n);
		n->box.disk.min_us = o->disk_min_us;
		n->box.disk.max_us = o->disk_max_us;
	}
}

void world_end(struct sim_world *w)
{
	w->o.trace = false;
	for (unsigned i = 0; i < w->o.nodes; i++)
		sim_node_kill(&w->nodes[i], false);
	for (unsigned i = 0; i < w->o.nodes; i++) {
		sim_box_done(&w->nodes[i].box);
		membership_done(&w->nodes[i].membership);
		change_done(&w->nodes[i].change);
	}
	promises_end(&w->promises);
	sim_remote_done();
	sim_net_done(&w->net);
	sim_loops_end();
	sim_done(&w->sim);
	config_done(&w->config);
	the_world = NULL;
}

void world_run(struct sim_world *w, uint64_t ms)
{
	sim_until(&w->sim, w->sim.now_us + ms * 1000);
}

bool world_until(struct sim_world *w, bool (*holds)(struct sim_world *w, void *arg), void *arg,
	uint64_t ms)
{
	for (uint64_t t = 0; t < ms && !w->promises.failed; t += 10) {
		if (holds(w, arg))
			return true;
		world_run(w, 10);
	}
	return !w->promises.failed && holds(w, arg);
}

void world_trace(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;
	if (!w->o.trace)
		return;
	printf("%10.3f ", (double)w->sim.now_us / 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

struct sim_node *world_node_of(struct sim_world *w, const struct groups *gs)
{
	for (unsigned i = 0; i < w->o.nodes; i++)
		for (unsigned k = 0; w->nodes[i].up && k < w->nodes[i].node.n_shards; k++)
			if (w->nodes[i].node.shards[k].groups == gs)
				return &w->nodes[i];
	return NULL;
}

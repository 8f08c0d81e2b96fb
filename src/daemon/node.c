/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/node.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/manage/remote.h"
#include "src/net/tls.h"
#include "src/session/tally.h"

enum { ERR_MAX = 512, NODE_WORKERS_MAX = 256 };

enum node_exit node_store_exit(int store_err)
{
	switch (store_err) {
	case STORE_LOCKED:
		return NODE_EXIT_LOCKED;
	case STORE_DENIED:
		return NODE_EXIT_DIRECTORY;
	case STORE_NEWER:
		return NODE_EXIT_NEWER_FORMAT;
	case STORE_DAMAGED:
		return NODE_EXIT_DAMAGED;
	case STORE_IO:
		return NODE_EXIT_DISK;
	default:
		return NODE_EXIT_FAILURE;
	}
}

enum node_exit node_listener_exit(int code)
{
	return code == EADDRINUSE ? NODE_EXIT_PORT_IN_USE : NODE_EXIT_FAILURE;
}

/* Where other nodes find this one: as configured, else the listener's address, or if that is all of
 * them, the host in the node's name. */
static char *node_address(const struct node *n)
{
	const struct config_address *a = &n->config->cluster_listener;
	if (n->config->cluster_address[0] != '\0')
		return mem_strdup(n->config->cluster_address);
	const char *at = strchr(n->name, '@');
	const char *host = a->host != NULL ? a->host : at != NULL ? at + 1 : n->name;
	return mem_printf("%s:%u", host, a->port);
}

/* ---- stopping ---- */

/* A task for a shard's thread. */
struct task {
	struct mail mail;
	struct shard *shard;
};

static void node_end_worker(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	timer_free(t->shard->tick);
	timer_free(t->shard->seek);
	timer_free(t->shard->clock);
	timer_free(t->shard->pace);
	mem_free(t);
	worker_stop(w);
}

static void node_on_links_closed(void *arg)
{
	struct node *n = arg;
	node_end_taking_back(n);
	if (n->control != NULL)
		control_close(n->control);
	uv_close((uv_handle_t *)&n->signals, NULL);
	for (unsigned i = 0; i < n->n_shards; i++) {
		struct task *t = MEM_NEW(struct task);
		*t = (struct task){{NULL, node_end_worker}, &n->shards[i]};
		worker_post(&n->shards[i].worker, &t->mail);
	}
}

static void node_stop(struct node *n, enum node_exit why);

void node_on_app_down(struct node *n)
{
	char err[ERR_MAX];
	if (n->stopping) {
		links_close(n->links, node_on_links_closed, n);
	} else if (n->app.again) {
		enum node_exit wrong = app_prepare(n, err, sizeof err);
		if (wrong == NODE_EXIT_OK) {
			app_start(n, n->app.started, n->app.started_arg);
		} else {
			app_tell_started(&n->app, err);
			node_stop(n, wrong);
		}
	}
}

static void node_stop(struct node *n, enum node_exit why)
{
	if (n->stopping)
		return;
	n->stopping = true;
	n->exit = why;
	n->app.again = false;
	if (n->app.state == APP_DOWN)
		node_on_app_down(n);
	else
		app_stop(n, NULL, NULL);
}

/* At first the process has nothing else to do; later an operator may mend what is wrong. */
void node_on_app_failed(struct node *n, enum node_exit why)
{
	if (n->served)
		app_stop(n, NULL, NULL);
	else
		node_stop(n, why);
}

/* Reads the files. */
static struct ssl_ctx_st *node_new_tls(const struct config *c, char *err, size_t err_n)
{
	return tls_context_new(&(struct tls_config){.cacertfile = c->tls_cacertfile,
				       .certfile = c->tls_certfile,
				       .keyfile = c->tls_keyfile,
				       .verify = !c->tls_no_verify,
				       .depth = (unsigned)c->tls_depth},
		err, err_n);
}

/* Certificates on disk are others now. */
static int node_renew_tls(void *arg, char *err, size_t err_n)
{
	struct node *n = arg;
	struct ssl_ctx_st *had = n->tls;
	if (had == NULL) {
		log_info("node", "there are no certificates to be read again");
		return 0;
	}
	n->tls = node_new_tls(n->config, err, err_n);
	if (n->tls == NULL) {
		n->tls = had;
		log_error("node", "cluster.ssl_options: %s; the certificates that were read before are used on", err);
		return -1;
	}
	links_set_tls(n->links, n->tls);
	tls_context_free(had);
	log_info("node", "the certificates have been read again: new connections between nodes use them");
	return 0;
}

static void node_on_signal(struct node *n, unsigned signum)
{
	char err[ERR_MAX];
	if (n->stopping)
		return; /* it takes as long as it takes: impatience must not lose anything */
	if (signum == SIGHUP) {
		node_renew_tls(n, err, sizeof err);
		return;
	}
	log_info("node", "%s received, stopping", signum == SIGTERM ? "SIGTERM" : "SIGINT");
	node_stop(n, NODE_EXIT_OK);
}

static void node_on_signals(uv_poll_t *handle, int status, int events)
{
	struct node *n = handle->data;
	struct signalfd_siginfo s;
	(void)status;
	(void)events;
	if (read(n->signal_fd, &s, sizeof s) == sizeof s)
		node_on_signal(n, s.ssi_signo);
}

/* ---- the operators' API ---- */

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

static void node_on_start_app(void *arg, api_app_done *done, void *done_arg)
{
	struct node *n = arg;
	char err[ERR_MAX];
	log_info("node", "an operator starts the app");
	if (n->stopping)
		done(done_arg, "it is being stopped");
	else if (app_prepare(n, err, sizeof err) != NODE_EXIT_OK)
		done(done_arg, err);
	else
		app_start(n, done, done_arg);
}

static void node_on_stop_app(void *arg, api_app_done *done, void *done_arg)
{
	struct node *n = arg;
	if (n->app.stopped != NULL) {
		done(done_arg, "its app is being stopped already");
		return;
	}
	log_info("node", "an operator stops the app");
	app_stop(n, done, done_arg);
}

static uint64_t node_id(void *arg)
{
	const struct node *n = arg;
	return n->identity.node_id;
}

static uint64_t node_incarnation(void *arg)
{
	const struct node *n = arg;
	return n->identity.incarnation;
}

static const struct membership *node_membership(void *arg)
{
	const struct node *n = arg;
	return &n->membership;
}

static const struct change *node_change(void *arg)
{
	const struct node *n = arg;
	return &n->change;
}

static bool node_blank(void *arg)
{
	const struct node *n = arg;
	return n->blank;
}

static char *node_trouble(void *arg, bool *final)
{
	const struct node *n = arg;
	return app_trouble(n, final);
}

static void node_on_stop_wanted(void *arg)
{
	struct node *n = arg;
	log_info("node", "an operator wants the node to stop");
	node_stop(n, NODE_EXIT_OK);
}

static bool node_alarms_at(void *arg, size_t i, uint64_t *ret_node, enum session_alarm *ret)
{
	const struct node *n = arg;
	const struct alarms *a = &n->app.alarms;
	bool own = i == 0, runs = n->app.state == APP_UP || n->app.state == APP_STARTING;
	if (!runs || i > a->n_others)
		return false;
	*ret_node = own ? n->identity.node_id : a->others[i - 1].node;
	*ret = own ? a->raised : a->others[i - 1].raised;
	return true;
}

static void node_limit(void *arg, enum session_alarm which, struct api_limit *ret)
{
	const struct node *n = arg;
	const struct alarms *a = &n->app.alarms;
	bool memory = which == SESSION_ALARM_MEMORY;
	const struct config_amount *amount = memory ? &a->memory_limit : &a->disk_limit;
	*ret = (struct api_limit){amount->relative, amount->share,
		memory ? a->memory_bytes : a->disk_free_bytes};
}

static void node_set_limit(void *arg, enum session_alarm which, const struct api_limit *to)
{
	struct node *n = arg;
	alarms_limit(&n->app.alarms, which,
		&(struct config_amount){to->relative, to->share, to->bytes});
}

static bool node_listener_at(void *arg, unsigned i, struct api_listener *ret)
{
	struct node *n = arg;
	unsigned own = links_listen_port(n->links) != 0;
	if (i < own) {
		*ret = (struct api_listener){.protocol = "clustering",
			.purpose = "inter-node and CLI tool communication",
			.host = n->config->cluster_listener.host,
			.port = links_listen_port(n->links)};
		return true;
	}
	i -= own;
	if (i >= n->app.n_listeners || n->app.state != APP_UP)
		return false;
	*ret = (struct api_listener){.protocol = "amqp",
		.purpose = "AMQP 0-9-1",
		.host = n->config->listeners.p[i].address.host,
		.port = listener_port(n->app.listeners[i])};
	return true;
}

static void node_settings(
	void *arg, void (*each)(void *to, const char *key, const char *value), void *to)
{
	const struct node *n = arg;
	config_each(n->config, each, to);
}

static int node_accept(void *arg, bool yes, char *err, size_t err_n)
{
	return app_accept(arg, yes, err, err_n);
}

/* Without a control socket the node serves its clients all the same. */
static void node_open_api(struct node *n)
{
	char err[ERR_MAX];
	n->api_shards = mem_zalloc(n->n_shards * sizeof *n->api_shards);
	for (unsigned i = 0; i < n->n_shards; i++)
		n->api_shards[i] =
			(struct api_shard){.worker = &n->shards[i].worker, .env = &n->shards[i].env};
	n->api = api_new(&(struct api_node){.name = n->name,
		.data_dir = n->data_dir,
		.started_ms = n->shards[0].worker.wall_ms,
		.shards = n->api_shards,
		.n_shards = n->n_shards,
		.app = node_app,
		.trouble = node_trouble,
		.start_app = node_on_start_app,
		.stop_app = node_on_stop_app,
		.links = n->links,
		.address = n->address,
		.id = node_id,
		.incarnation = node_incarnation,
		.membership = node_membership,
		.change = node_change,
		.blank = node_blank,
		.first_type = n->config->first_ram ? BROKER_NODE_RAM : BROKER_NODE_DISC,
		.begin = node_begin_change,
		.take_back = node_take_back,
		.reset = node_reset,
		.join = node_join,
		.give_up = node_give_up,
		.renew_tls = node_renew_tls,
		.accept = node_accept,
		.memory = alarms_memory_used,
		.stop = node_on_stop_wanted,
		.alarms = node_alarms_at,
		.limit = node_limit,
		.set_limit = node_set_limit,
		.disk_free = alarms_disk_free,
		.listener = node_listener_at,
		.settings = node_settings,
		.arg = n});
	n->control = control_new(&n->shards[0].worker, n->api, n->name, err, sizeof err);
	if (n->control == NULL)
		log_warning("node", "%s: warrenctl cannot reach this node", err);
}

/* ---- other nodes ---- */

static enum node_exit node_read_cookie(struct node *n)
{
	char err[ERR_MAX];
	const char *file = n->config->cookie_file;
	bool own = file[0] == '\0';
	if ((own ? cookie_read_or_make(&n->cookie, n->data_dir, err, sizeof err)
		 : cookie_read(&n->cookie, file, err, sizeof err)) == 0)
		return NODE_EXIT_OK;
	log_error("node", "%s", err);
	return own ? NODE_EXIT_DIRECTORY : NODE_EXIT_CONFIG;
}

static enum node_exit node_read_tls(struct node *n)
{
	char err[ERR_MAX];
	if (n->config->tls_certfile[0] == '\0')
		return NODE_EXIT_OK;
	n->tls = node_new_tls(n->config, err, sizeof err);
	if (n->tls != NULL)
		return NODE_EXIT_OK;
	log_error("node", "cluster.ssl_options: %s", err);
	return NODE_EXIT_CONFIG;
}

void node_open_links(struct node *n)
{
	n->links = links_new(&(struct links_config){.worker = &n->shards[0].worker,
		.node_id = n->identity.node_id,
		.incarnation = n->identity.incarnation,
		.name = n->name,
		.product = PACKAGE_VERSION,
		.cookie = slice_make(n->cookie.text, n->cookie.n),
		.tls = n->tls,
		.limits = {.heartbeat_ms = (unsigned)n->config->cluster_heartbeat_ms,
			.timeout_ms = (unsigned)n->config->cluster_timeout_ms,
			.greeting_ms = LINK_GREETING_MS},
		.n_workers = n->n_shards,
		.call = remote_on_request,
		.arg = &n->api});
	cookie_wipe(&n->cookie);
}

/* Signals and LMDB know no context. */
static _Atomic bool ever_served;

static void node_on_served(void *arg, const char *why)
{
	struct node *n = arg;
	n->served = why == NULL;
	if (n->served)
		atomic_store(&ever_served, true);
}

static void node_listen_for_nodes(struct node *n)
{
	const char *host = n->config->cluster_listener.host;
	struct listener *l = n->cluster_listener;
	char err[ERR_MAX];
	n->cluster_listener = NULL;
	int rc = links_listen(n->links, l, (int)n->config->tcp_backlog, err, sizeof err);
	if (rc == 0) {
		log_info("node", "other nodes may connect to %s:%u%s", host != NULL ? host : "[::]",
			links_listen_port(n->links), n->tls != NULL ? " (TLS)" : "");
		return;
	}
	log_error("node", "cluster.%s", err);
	node_stop(n, node_listener_exit(rc));
}

/* ---- starting ---- */

/* Blocked in all threads for good, and read from a descriptor: one that comes when nobody reads them any more
 * ends nothing. -1 with errno. */
static int node_open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* It comes in the middle of a read of the map, so what is called here finds nothing half done. A node
 * that has not served yet refuses its store; one that has leaves a picture of what it was at. */
static _Noreturn void node_on_broken_store(const char *what)
{
	log_error("node", "%s; ending the process", what);
	if (!atomic_load(&ever_served))
		_exit(NODE_EXIT_DAMAGED);
	abort();
}

/* A page of data.mdb that the disk does not give, or that is not there any more. */
static void node_on_bus_error(int signum)
{
	(void)signum;
	node_on_broken_store("data.mdb cannot be read: the disk has failed, or the file was cut off");
}

static void node_catch_signals(struct node *n)
{
	uv_poll_init(&n->shards[0].worker.loop, &n->signals, n->signal_fd);
	n->signals.data = n;
	uv_poll_start(&n->signals, UV_READABLE, node_on_signals);
}

static void node_begin_worker(struct worker *w)
{
	shard_start_clock(w->data);
}

static void node_init_limits(struct node *n)
{
	const struct config *c = n->config;
	n->limits.frame_max = (uint32_t)c->frame_max;
	n->limits.initial_frame_max = (uint32_t)c->initial_frame_max;
	n->limits.channel_max = (uint16_t)c->channel_max;
	n->limits.heartbeat_s = (uint16_t)c->heartbeat_s;
	n->limits.handshake_timeout_ms = c->handshake_timeout_ms;
	n->limits.max_message_size = c->message_bytes_max;
	broker_locator_of(slice_str(c->queue_master_locator), &n->limits.master_locator);
	broker_locator_of(slice_str(c->queue_leader_locator), &n->limits.leader_locator);
	n->limits.node_name = n->name;
	n->limits.product_version = PACKAGE_VERSION;
	char **loopback = mem_zalloc((c->loopback_users.n + 1) * sizeof *loopback);
	for (size_t i = 0; i < c->loopback_users.n; i++)
		loopback[i] = c->loopback_users.p[i];
	n->limits.loopback_users = (const char *const *)loopback;
}

static unsigned node_worker_count(const struct config *c)
{
	if (c->worker_threads > 0)
		return (unsigned)c->worker_threads;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores < 1 ? 1 : cores > NODE_WORKERS_MAX ? NODE_WORKERS_MAX : (unsigned)cores;
}

static void node_init_shards(struct node *n)
{
	n->n_shards = node_worker_count(n->config);
	n->shards = mem_zalloc(n->n_shards * sizeof *n->shards);
	n->catalogs = mem_zalloc(n->n_shards * sizeof(*n->catalogs));
	n->envs = mem_zalloc(n->n_shards * sizeof(*n->envs));
	for (unsigned i = 0; i < n->n_shards; i++) {
		shard_init(&n->shards[i], n, i);
		n->envs[i] = &n->shards[i].env;
	}
}

static void node_run_workers(struct node *n)
{
	node_catch_signals(n);
	for (unsigned i = 1; i < n->n_shards; i++)
		worker_start(&n->shards[i].worker, node_begin_worker);
	shard_start_clock(&n->shards[0]);
	node_open_api(n);
	app_start(n, node_on_served, n);
	node_listen_for_nodes(n);
	worker_run(&n->shards[0].worker);
	for (unsigned i = 1; i < n->n_shards; i++)
		worker_join(&n->shards[i].worker);
}

static enum node_exit node_bind(struct node *n)
{
	const struct config_address *a = &n->config->cluster_listener;
	char err[ERR_MAX];
	int code;
	n->cluster_listener = listener_bind(a->host, a->port, err, sizeof err, &code);
	if (n->cluster_listener != NULL)
		return NODE_EXIT_OK;
	log_error("node", "cluster.%s", err);
	return node_listener_exit(code);
}

/* All that can fail, before there are threads. The ports come first: nothing else is touched if one
 * is in use. */
static enum node_exit node_prepare(struct node *n)
{
	char err[ERR_MAX];
	enum node_exit wrong = node_bind(n);
	if (wrong != NODE_EXIT_OK)
		return wrong;
	if (node_remember(n, err, sizeof err) != 0) {
		log_error("node", "%s", err);
		wrong = NODE_EXIT_DAMAGED;
	}
	if (wrong == NODE_EXIT_OK)
		wrong = app_prepare(n, err, sizeof err);
	if (wrong == NODE_EXIT_OK && ((wrong = node_read_cookie(n)) != NODE_EXIT_OK ||
					     (wrong = node_read_tls(n)) != NODE_EXIT_OK))
		app_unprepare(n);
	if (wrong != NODE_EXIT_OK) {
		store_unclaim(n->claim);
		listener_close(n->cluster_listener);
		membership_done(&n->membership);
		change_done(&n->change);
	}
	return wrong;
}

enum node_exit node_run(struct node *n)
{
	n->signal_fd = node_open_signals();
	if (n->signal_fd < 0) {
		log_error("node", "signals cannot be waited for: %s", strerror(errno));
		return NODE_EXIT_FAILURE;
	}
	signal(SIGBUS, node_on_bus_error);
	store_on_broken(node_on_broken_store);
	enum node_exit wrong = node_prepare(n);
	if (wrong != NODE_EXIT_OK) {
		close(n->signal_fd);
		return wrong;
	}
	signal(SIGPIPE, SIG_IGN);
	groups_global_init();
	n->address = node_address(n);
	node_init_limits(n);
	n->tally = tally_new();
	node_init_shards(n);
	node_run_workers(n);
	for (unsigned i = 0; i < n->n_shards; i++)
		shard_done(&n->shards[i]);
	for (unsigned i = 0; i < n->n_shards; i++)
		link_port_free(n->shards[i].links);
	links_free(n->links);
	tls_context_free(n->tls);
	api_free(n->api);
	mem_free(n->api_shards);
	mem_free(n->shards);
	mem_free(n->catalogs);
	mem_free(n->envs);
	mem_free((void *)n->limits.loopback_users);
	mem_free(n->address);
	membership_done(&n->membership);
	change_done(&n->change);
	app_forget_trouble(&n->app);
	store_unclaim(n->claim);
	close(n->signal_fd);
	tally_free(n->tally);
	log_info("node", "%s has stopped", n->name);
	return n->exit;
}

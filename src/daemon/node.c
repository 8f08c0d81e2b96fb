/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/password.h"
#include "src/broker/rows.h"
#include "src/session/connection.h"

enum { ERR_MAX = 512, NODE_WORKERS_MAX = 256 };

static void node_stop(struct node *n, enum node_exit why);

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

/* A task for another shard's thread. */
struct task {
	struct mail mail;
	struct node *node;
	struct shard *shard;
	int value; /* a descriptor, or alarms */
};

static void node_post(
	struct node *n, struct shard *to, int value, void (*run)(struct mail *m, struct worker *w))
{
	struct task *t = MEM_NEW(struct task);
	*t = (struct task){{NULL, run}, n, to, value};
	worker_post(&to->worker, &t->mail);
}

/* ---- listening ---- */

static enum node_exit node_listener_exit(int code)
{
	return code == EADDRINUSE ? NODE_EXIT_PORT_IN_USE : NODE_EXIT_FAILURE;
}

static void node_on_connection(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct shard *s = w->data;
	connection_new(&s->env, t->value);
	mem_free(t);
}

static void node_on_accepted(void *arg, int fd)
{
	struct node *n = arg;
	struct shard *to = &n->shards[n->next_shard++ % n->n_shards];
	node_post(n, to, fd, node_on_connection);
}

/* Before anything else is touched, so that a port in use is told at once. */
static enum node_exit node_bind(struct node *n)
{
	const struct config_listeners *ls = &n->config->listeners;
	char err[ERR_MAX];
	for (size_t i = 0; i < ls->n; i++) {
		const struct config_address *a = &ls->p[i].address;
		int code;
		struct listener *l = listener_bind(a->host, a->port, err, sizeof err, &code);
		if (l == NULL) {
			log_error("node", "%s", err);
			return node_listener_exit(code);
		}
		n->listeners[n->n_listeners++] = l;
	}
	const struct config_address *a = &n->config->cluster_listener;
	int code;
	n->cluster_listener = listener_bind(a->host, a->port, err, sizeof err, &code);
	if (n->cluster_listener != NULL)
		return NODE_EXIT_OK;
	log_error("node", "cluster.%s", err);
	return node_listener_exit(code);
}

static void node_close_listeners(struct node *n)
{
	for (unsigned i = 0; i < n->n_listeners; i++)
		listener_close(n->listeners[i]);
	n->n_listeners = 0;
	if (n->cluster_listener != NULL)
		listener_close(n->cluster_listener);
	n->cluster_listener = NULL;
}

static bool node_listen(struct node *n)
{
	char err[ERR_MAX];
	for (unsigned i = 0; i < n->n_listeners; i++) {
		struct listener *l = n->listeners[i];
		const char *host = n->config->listeners.p[i].address.host;
		int rc = listener_start(l, &n->shards[0].worker, (int)n->config->tcp_backlog,
			node_on_accepted, n, err, sizeof err);
		if (rc != 0) {
			log_error("node", "%s", err);
			node_stop(n, node_listener_exit(rc));
			return false;
		}
		log_info("node", "started TCP listener on %s:%u", host != NULL ? host : "[::]",
			listener_port(l));
	}
	return true;
}

static void node_on_alarm(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	session_env_alarm(&t->shard->env, (enum session_alarm)t->value);
	mem_free(t);
}

static void node_on_alarms_changed(void *arg, enum session_alarm raised)
{
	struct node *n = arg;
	for (unsigned i = 0; i < n->n_shards; i++)
		node_post(n, &n->shards[i], (int)raised, node_on_alarm);
}

static void node_on_serving(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct node *n = t->node;
	(void)w;
	mem_free(t);
	if (++n->serving < n->n_shards || n->stopping)
		return;
	n->listening = node_listen(n);
	if (n->listening)
		log_info("node", "%s is ready", n->name);
}

void node_shard_serving(struct node *n, struct shard *s)
{
	(void)s;
	node_post(n, &n->shards[0], -1, node_on_serving);
}

/* ---- first boot ---- */

static void node_propose(struct node *n, struct buf *b)
{
	catalog_propose(n->catalogs[0], buf_slice(b), NULL);
	buf_clear(b);
}

static void node_join_names(struct buf *b, const struct config_names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		if (i > 0)
			buf_put_u8(b, ',');
		buf_put_slice(b, slice_str(names->p[i]));
	}
}

/* The default vhost and user, only into an empty store. */
static void node_seed(struct node *n)
{
	const struct config *c = n->config;
	struct buf b = BUF_EMPTY, tags = BUF_EMPTY;
	char hash[BROKER_PASSWORD_HASH_MAX];
	uint8_t salt[BROKER_SALT_SIZE] = {0};
	struct slice none = slice_make(NULL, 0);
	struct slice user = slice_str(c->default_user), vhost = slice_str(c->default_vhost);
	ssize_t ignored = getrandom(salt, sizeof salt, 0);
	(void)ignored;
	size_t hash_n = broker_password_hash(
		hash, BROKER_PASSWORD_SHA256, salt, slice_str(c->default_pass));
	node_join_names(&tags, &c->default_user_tags);
	broker_put_add_vhost(&b, vhost, slice_str("Default virtual host"), none, none);
	node_propose(n, &b);
	broker_put_add_user(
		&b, user, slice_make(hash, hash_n), BROKER_PASSWORD_SHA256, buf_slice(&tags));
	node_propose(n, &b);
	broker_put_set_permissions(&b, user, vhost, slice_str(c->default_configure),
		slice_str(c->default_write), slice_str(c->default_read));
	node_propose(n, &b);
	if (c->cluster_name[0] != '\0') {
		broker_put_set_cluster_name(&b, slice_str(c->cluster_name));
		node_propose(n, &b);
	}
	buf_done(&b);
	buf_done(&tags);
}

/* Where other nodes find this one: the listener's address, or if that is all of them, the host in
 * the node's name. For mem_free(). */
static char *node_address(const struct node *n)
{
	const struct config_address *a = &n->config->cluster_listener;
	const char *at = strchr(n->name, '@');
	const char *host = a->host != NULL ? a->host : at != NULL ? at + 1 : n->name;
	return mem_printf("%s:%u", host, a->port);
}

static void node_on_leading(void *arg, bool yes)
{
	struct node *n = arg;
	struct broker *broker = catalog_broker(n->catalogs[0]);
	if (!yes)
		return;
	if (broker->n_vhosts == 0 && broker->n_users == 0)
		node_seed(n);
	struct buf b = BUF_EMPTY;
	char *address = node_address(n);
	broker_put_node_up(&b, n->identity.node_id, n->identity.incarnation, slice_str(n->name),
		slice_str(address));
	node_propose(n, &b);
	buf_done(&b);
	mem_free(address);
}

/* ---- stopping ---- */

static void node_end_worker(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	timer_free(t->shard->tick);
	timer_free(t->shard->seek);
	mem_free(t);
	worker_stop(w);
}

static void node_on_links_closed(void *arg)
{
	struct node *n = arg;
	alarms_stop(&n->alarms);
	if (n->control != NULL)
		control_close(n->control);
	for (size_t i = 0; i < sizeof n->signals / sizeof *n->signals; i++)
		uv_close((uv_handle_t *)&n->signals[i], NULL);
	for (unsigned i = 0; i < n->n_shards; i++)
		node_post(n, &n->shards[i], -1, node_end_worker);
}

static void node_on_home_closed(void *arg)
{
	struct node *n = arg;
	links_close(n->links, node_on_links_closed, n);
}

static void node_on_stopped(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct node *n = t->node;
	(void)w;
	mem_free(t);
	if (++n->stopped < n->n_shards)
		return;
	if (n->home != NULL)
		catalog_home_close(n->home);
	else
		node_on_home_closed(n);
}

void node_shard_stopped(struct node *n, struct shard *s)
{
	(void)s;
	node_post(n, &n->shards[0], -1, node_on_stopped);
}

static void node_on_close_queues(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_close_queues(t->shard);
	mem_free(t);
}

/* Queues stay until nobody on any worker has anything under way to them. */
static void node_on_drained(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct node *n = t->node;
	(void)w;
	mem_free(t);
	if (++n->drained < n->n_shards)
		return;
	for (unsigned i = 0; i < n->n_shards; i++)
		node_post(n, &n->shards[i], -1, node_on_close_queues);
}

void node_shard_drained(struct node *n, struct shard *s)
{
	(void)s;
	node_post(n, &n->shards[0], -1, node_on_drained);
}

static void node_on_stop_shard(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_stop(t->shard);
	mem_free(t);
}

static void node_stop(struct node *n, enum node_exit why)
{
	if (n->stopping)
		return;
	n->stopping = true;
	n->exit = why;
	node_close_listeners(n);
	for (unsigned i = 0; i < n->n_shards; i++)
		node_post(n, &n->shards[i], -1, node_on_stop_shard);
}

static void node_on_signal(uv_signal_t *handle, int signum)
{
	struct node *n = handle->data;
	if (n->stopping)
		return; /* it takes as long as it takes: impatience must not lose anything */
	log_info("node", "%s received, stopping", signum == SIGTERM ? "SIGTERM" : "SIGINT");
	node_stop(n, NODE_EXIT_OK);
}

/* ---- the operators' API ---- */

static bool node_ready(void *arg)
{
	struct node *n = arg;
	return n->listening && !n->stopping;
}

static void node_on_stop_wanted(void *arg)
{
	struct node *n = arg;
	log_info("node", "an operator wants the node to stop");
	node_stop(n, NODE_EXIT_OK);
}

static bool node_listener_at(void *arg, unsigned i, struct api_listener *ret)
{
	struct node *n = arg;
	if (i >= n->n_listeners || n->stopping)
		return false;
	*ret = (struct api_listener){.protocol = "amqp",
		.host = n->config->listeners.p[i].address.host,
		.port = listener_port(n->listeners[i])};
	return true;
}

/* Without a control socket the node serves its clients all the same. */
static void node_open_api(struct node *n)
{
	char err[ERR_MAX];
	n->api_shards = mem_zalloc(n->n_shards * sizeof *n->api_shards);
	for (unsigned i = 0; i < n->n_shards; i++)
		n->api_shards[i] = (struct api_shard){
			&n->shards[i].worker, &n->shards[i].env, n->shards[i].hosts};
	n->api = api_new(&(struct api_node){.name = n->name,
		.data_dir = n->data_dir,
		.started_ms = n->shards[0].worker.wall_ms,
		.shards = n->api_shards,
		.n_shards = n->n_shards,
		.ready = node_ready,
		.stop = node_on_stop_wanted,
		.listener = node_listener_at,
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

void node_open_links(struct node *n)
{
	n->links = links_new(&(struct links_config){.worker = &n->shards[0].worker,
		.node_id = n->identity.node_id,
		.incarnation = n->identity.incarnation,
		.name = n->name,
		.product = PACKAGE_VERSION,
		.cookie = slice_make(n->cookie.text, n->cookie.n),
		.limits = {.heartbeat_ms = (unsigned)n->config->cluster_heartbeat_ms,
			.timeout_ms = (unsigned)n->config->cluster_timeout_ms,
			.greeting_ms = LINK_GREETING_MS},
		.n_workers = n->n_shards});
	cookie_wipe(&n->cookie);
}

static void node_listen_for_nodes(struct node *n)
{
	const char *host = n->config->cluster_listener.host;
	struct listener *l = n->cluster_listener;
	char err[ERR_MAX];
	n->cluster_listener = NULL;
	int rc = links_listen(n->links, l, (int)n->config->tcp_backlog, err, sizeof err);
	if (rc == 0) {
		log_info("node", "other nodes may connect to %s:%u", host != NULL ? host : "[::]",
			links_listen_port(n->links));
		return;
	}
	log_error("node", "cluster.%s", err);
	node_stop(n, node_listener_exit(rc));
}

/* ---- starting ---- */

struct row_load {
	struct node *node;
	bool failed;
};

static void node_load_row(void *arg, struct slice key, struct slice value)
{
	struct row_load *l = arg;
	for (unsigned i = 0; i < l->node->n_shards && !l->failed; i++)
		l->failed = !broker_load_row(catalog_broker(l->node->catalogs[i]), key, value);
}

static int node_load_rows(struct node *n)
{
	struct row_load l = {n, false};
	int rc = store_each_row(n->store, node_load_row, &l);
	return rc == 0 && l.failed ? STORE_DAMAGED : rc;
}

static int node_open_home(struct node *n)
{
	return catalog_home_open(&n->home, &(struct catalog_home_config){
						   .groups = n->shards[0].groups,
						   .log = store_log_open(&n->shards[0].port, 0),
						   .self = n->identity.node_id,
						   .catalogs = n->catalogs,
						   .n_catalogs = n->n_shards,
						   .leading = node_on_leading,
						   .closed = node_on_home_closed,
						   .arg = n,
					   });
}

static const int stop_signals[] = {SIGTERM, SIGINT};

enum { STOP_SIGNALS = sizeof stop_signals / sizeof *stop_signals };

/* `how`: SIG_BLOCK until there is a loop that can be told, then SIG_UNBLOCK. */
static void node_mask_signals(int how)
{
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		sigaddset(&set, stop_signals[i]);
	pthread_sigmask(how, &set, NULL);
}

/* A page of data.mdb that the disk does not give, or that is not there any more. It comes in the
 * middle of a read of the map, so what is called here finds nothing half done. */
static void node_on_bus_error(int signum)
{
	(void)signum;
	log_error("node", "data.mdb cannot be read: the disk has failed, or the file was cut off; "
			  "ending the process");
	abort();
}

static void node_catch_signals(struct node *n)
{
	for (size_t i = 0; i < STOP_SIGNALS; i++) {
		uv_signal_init(&n->shards[0].worker.loop, &n->signals[i]);
		n->signals[i].data = n;
		uv_signal_start(&n->signals[i], node_on_signal, stop_signals[i]);
	}
	node_mask_signals(SIG_UNBLOCK);
}

static void node_begin_worker(struct worker *w)
{
	shard_begin(w->data);
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
		n->catalogs[i] = n->shards[i].catalog;
		n->envs[i] = &n->shards[i].env;
	}
	for (unsigned i = 0; i < n->n_shards; i++)
		catalog_connect(n->catalogs[i], n->catalogs, n->n_shards);
}

static void node_run_workers(struct node *n)
{
	node_catch_signals(n);
	for (unsigned i = 1; i < n->n_shards; i++)
		worker_start(&n->shards[i].worker, node_begin_worker);
	shard_begin(&n->shards[0]);
	n->alarms = (struct alarms){.store = n->store,
		.data_dir = n->data_dir,
		.changed = node_on_alarms_changed,
		.arg = n};
	alarms_start(&n->alarms, &n->shards[0].worker, n->config);
	node_open_api(n);
	node_listen_for_nodes(n);
	int rc = node_load_rows(n);
	if (rc == 0)
		rc = node_open_home(n);
	if (rc != 0) {
		log_error("node", "the metadata cannot be read: %s", store_strerror(rc));
		node_stop(n, node_store_exit(rc));
	}
	worker_run(&n->shards[0].worker);
	for (unsigned i = 1; i < n->n_shards; i++)
		worker_join(&n->shards[i].worker);
}

static void node_on_stored_group(void *arg, uint64_t group)
{
	struct node *n = arg;
	buf_put_bytes(&n->stored_groups, &group, sizeof group);
}

static int compare_groups(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x < y ? -1 : x > y;
}

static void node_list_stored_groups(struct node *n)
{
	struct buf *stored = &n->stored_groups;
	store_each_group(n->store, node_on_stored_group, n);
	if (stored->n > 0)
		qsort(stored->p, stored->n / sizeof(uint64_t), sizeof(uint64_t), compare_groups);
}

bool node_has_log(const struct node *n, uint64_t group)
{
	const struct buf *stored = &n->stored_groups;
	return stored->n > 0 && bsearch(&group, stored->p, stored->n / sizeof group, sizeof group,
					compare_groups) != NULL;
}

static enum node_exit node_open_store(struct node *n)
{
	char err[ERR_MAX];
	int rc = store_open(&n->store, n->data_dir, err, sizeof err);
	if (rc != 0) {
		log_error("node", "%s", err);
		return node_store_exit(rc);
	}
	n->identity = *store_identity(n->store);
	node_list_stored_groups(n);
	log_info("node", "%s (Warren %s), data in %s, start number %lu", n->name, PACKAGE_VERSION,
		n->data_dir, (unsigned long)n->identity.incarnation);
	return NODE_EXIT_OK;
}

enum node_exit node_run(struct node *n)
{
	node_mask_signals(SIG_BLOCK);
	signal(SIGBUS, node_on_bus_error);
	enum node_exit wrong = node_bind(n);
	if (wrong == NODE_EXIT_OK)
		wrong = node_open_store(n);
	if (wrong == NODE_EXIT_OK)
		wrong = node_read_cookie(n);
	if (wrong != NODE_EXIT_OK) {
		node_close_listeners(n);
		if (n->store != NULL)
			store_close(n->store);
		buf_done(&n->stored_groups);
		return wrong;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	groups_global_init();
	node_init_limits(n);
	node_init_shards(n);
	node_run_workers(n);
	for (unsigned i = 0; i < n->n_shards; i++)
		shard_done(&n->shards[i]);
	for (unsigned i = 0; i < n->n_shards; i++)
		link_port_free(n->shards[i].links);
	links_free(n->links);
	store_close(n->store);
	api_free(n->api);
	mem_free(n->api_shards);
	buf_done(&n->stored_groups);
	mem_free(n->shards);
	mem_free(n->catalogs);
	mem_free(n->envs);
	mem_free((void *)n->limits.loopback_users);
	log_info("node", "%s has stopped", n->name);
	return n->exit;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/password.h"
#include "src/broker/rows.h"
#include "src/daemon/node.h"
#include "src/session/connection.h"

enum {
	ERR_MAX = 512,
	/* A mail that is answered by mail, which is answered: so many rounds in a row in which no turn has done
	 * anything, until nobody hears of anybody any more. Some mail is posted where another one is delivered,
	 * which no turn counts. */
	ROUNDS_QUIET = 3,
	ROUNDS_MOST = 1000,
};

/* A task for a shard's thread. */
struct task {
	struct mail mail;
	struct node *node;
	struct shard *shard;
	int value; /* a descriptor, alarms, or a step */
	bool worked;
};

static void app_post(
	struct node *n, struct shard *to, int value, void (*run)(struct mail *m, struct worker *w))
{
	struct task *t = MEM_NEW(struct task);
	*t = (struct task){{NULL, run}, n, to, value, false};
	worker_post(&to->worker, &t->mail);
}

static void app_post_all(struct node *n, int value, void (*run)(struct mail *m, struct worker *w))
{
	for (unsigned i = 0; i < n->n_shards; i++)
		app_post(n, &n->shards[i], value, run);
}

/* ---- listening ---- */

static void app_on_connection(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct shard *s = w->data;
	connection_new(&s->env, t->value);
	mem_free(t);
}

static void app_on_accepted(void *arg, int fd)
{
	struct node *n = arg;
	struct shard *to = &n->shards[n->app.next_shard++ % n->n_shards];
	app_post(n, to, fd, app_on_connection);
}

static void app_close_listeners(struct app *a)
{
	for (unsigned i = 0; i < a->n_listeners; i++)
		listener_close(a->listeners[i]);
	a->n_listeners = 0;
}

static enum node_exit app_bind(struct node *n, char *err, size_t err_n)
{
	const struct config_listeners *ls = &n->config->listeners;
	struct app *a = &n->app;
	for (size_t i = 0; i < ls->n; i++) {
		const struct config_address *at = &ls->p[i].address;
		int code;
		struct listener *l = listener_bind(at->host, at->port, err, err_n, &code);
		if (l == NULL) {
			log_error("node", "%s", err);
			app_close_listeners(a);
			return node_listener_exit(code);
		}
		a->listeners[a->n_listeners++] = l;
	}
	return NODE_EXIT_OK;
}

static enum node_exit app_listen(struct node *n, char *err, size_t err_n)
{
	struct app *a = &n->app;
	for (unsigned i = 0; i < a->n_listeners; i++) {
		struct listener *l = a->listeners[i];
		const char *host = n->config->listeners.p[i].address.host;
		int rc = listener_start(l, &n->shards[0].worker, (int)n->config->tcp_backlog,
			app_on_accepted, n, err, err_n);
		if (rc != 0) {
			log_error("node", "%s", err);
			return node_listener_exit(rc);
		}
		log_info("node", "started TCP listener on %s:%u", host != NULL ? host : "[::]",
			listener_port(l));
	}
	return NODE_EXIT_OK;
}

static void app_on_alarm(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	session_env_alarm(&t->shard->env, (enum session_alarm)t->value);
	mem_free(t);
}

static void app_tell_alarms(struct node *n, uint64_t to)
{
	link_port_send_copy(n->shards[0].links, to,
		&(struct envelope){.kind = ENVELOPE_ALARMS, .tag = n->app.alarms.raised},
		slice_make(NULL, 0));
}

static void app_tell_alarms_to(void *arg, const struct links_peer *p)
{
	if (p->up)
		app_tell_alarms(arg, p->id);
}

static void app_hold_publishers(struct node *n)
{
	app_post_all(n, (int)alarms_everywhere(&n->app.alarms), app_on_alarm);
}

static void app_on_alarms_changed(void *arg)
{
	struct node *n = arg;
	app_hold_publishers(n);
	links_each_peer(n->links, app_tell_alarms_to, n);
}

/* ---- the store ---- */

static void app_on_stored_group(void *arg, uint64_t group)
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

static void app_list_stored_groups(struct node *n)
{
	struct buf *stored = &n->stored_groups;
	store_each_group(n->store, app_on_stored_group, n);
	if (stored->n > 0)
		qsort(stored->p, stored->n / sizeof(uint64_t), sizeof(uint64_t), compare_groups);
}

bool node_has_log(const struct node *n, uint64_t group)
{
	const struct buf *stored = &n->stored_groups;
	return stored->n > 0 && bsearch(&group, stored->p, stored->n / sizeof group, sizeof group,
					compare_groups) != NULL;
}

static enum node_exit app_open_store(struct node *n, char *err, size_t err_n)
{
	int rc = n->claim == NULL ? store_claim(&n->claim, n->data_dir, err, err_n) : STORE_OK;
	if (rc == 0 && n->change.step == CHANGE_WIPE && node_wipe_data(n, err, err_n) != 0)
		rc = STORE_IO;
	if (rc == 0 && node_settle_change(n, err, err_n) != 0)
		rc = STORE_IO;
	if (rc == 0)
		rc = store_open(&n->store, n->data_dir, n->claim, err, err_n);
	if (rc != 0) {
		log_error("node", "%s", err);
		n->store = NULL;
		return node_store_exit(rc);
	}
	n->identity = *store_identity(n->store);
	app_list_stored_groups(n);
	n->blank = n->membership.cluster_id == 0 && !node_has_log(n, 0);
	log_info("node", "%s (Warren %s), data in %s, start number %lu", n->name, PACKAGE_VERSION,
		n->data_dir, (unsigned long)n->identity.incarnation);
	return NODE_EXIT_OK;
}

static void app_close_store(struct node *n)
{
	store_close(n->store);
	n->store = NULL;
	buf_done(&n->stored_groups);
}

/* The ports come first: nothing else is touched if one is in use. */
int app_prepare(struct node *n, char *err, size_t err_n)
{
	enum node_exit wrong = app_bind(n, err, err_n);
	if (wrong != NODE_EXIT_OK)
		return wrong;
	wrong = app_open_store(n, err, err_n);
	if (wrong != NODE_EXIT_OK)
		app_close_listeners(&n->app);
	return wrong;
}

void app_unprepare(struct node *n)
{
	app_close_listeners(&n->app);
	app_close_store(n);
}

/* ---- first boot ---- */

static void app_propose(struct node *n, struct buf *b)
{
	catalog_propose(n->catalogs[0], buf_slice(b), NULL);
	buf_clear(b);
}

static void app_join_names(struct buf *b, const struct config_names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		if (i > 0)
			buf_put_u8(b, ',');
		buf_put_slice(b, slice_str(names->p[i]));
	}
}

/* The default vhost and user, only into an empty store. */
static void app_seed(struct node *n)
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
	app_join_names(&tags, &c->default_user_tags);
	broker_put_add_vhost(&b, vhost, slice_str("Default virtual host"), none, none);
	app_propose(n, &b);
	broker_put_add_user(
		&b, user, slice_make(hash, hash_n), BROKER_PASSWORD_SHA256, buf_slice(&tags));
	app_propose(n, &b);
	broker_put_set_permissions(&b, user, vhost, slice_str(c->default_configure),
		slice_str(c->default_write), slice_str(c->default_read));
	app_propose(n, &b);
	if (c->cluster_name[0] != '\0') {
		broker_put_set_cluster_name(&b, slice_str(c->cluster_name));
		app_propose(n, &b);
	}
	buf_done(&b);
	buf_done(&tags);
}

/* A cluster's first node is number 1. */
static void app_on_leading(void *arg, bool yes)
{
	struct node *n = arg;
	struct broker *broker = catalog_broker(n->catalogs[0]);
	if (yes && broker->n_nodes == 0)
		shard_set_number(&n->shards[0], 1);
	if (yes && broker->n_vhosts == 0 && broker->n_users == 0)
		app_seed(n);
	roster_leading(n->app.roster, yes);
}

/* ---- other nodes ---- */

void app_on_link_up(struct node *n, uint64_t node, uint64_t incarnation)
{
	roster_link_up(n->app.roster, node, incarnation);
	if (n->app.home != NULL)
		catalog_home_link_up(n->app.home, node);
	if (n->app.alarms.raised != SESSION_ALARM_NONE)
		app_tell_alarms(n, node);
}

void app_on_link_down(struct node *n, uint64_t node, enum link_end why)
{
	roster_link_down(n->app.roster, node, why);
	if (n->app.home != NULL)
		catalog_home_link_down(n->app.home, node);
	if (alarms_of_other(&n->app.alarms, node, SESSION_ALARM_NONE))
		app_hold_publishers(n);
}

void app_on_alarms(struct node *n, uint64_t node, uint32_t raised)
{
	static const char *const names[] = {"no", "memory", "disk", "memory and disk"};
	const struct broker_node *of = broker_node_find(catalog_broker(n->catalogs[0]), node);
	enum session_alarm some = raised & SESSION_ALARM_BOTH;
	if (!alarms_of_other(&n->app.alarms, node, some))
		return;
	app_hold_publishers(n);
	log_warning("alarm", "%s resource limit alarm on node %.*s%s", names[some],
		SLICE_FMT(of != NULL ? of->name : slice_str("")),
		some != SESSION_ALARM_NONE ? ": publishers are blocked" : " any more");
}

bool app_on_section(struct node *n, struct slice octets)
{
	return n->app.home == NULL || catalog_home_receive(n->app.home, octets.p, octets.n);
}

bool app_on_echo(struct node *n, uint64_t node, struct slice octets)
{
	return n->app.home == NULL || catalog_home_echo(n->app.home, node, octets.p, octets.n);
}

/* Who is going down already does not come up again by this: an operator may wait for it to be down. */
static void app_on_declared_down(void *arg)
{
	struct node *n = arg;
	if (n->app.state == APP_STOPPING)
		return;
	log_warning("node",
		"the other nodes have taken %s for down: its clients' connections end, and it starts anew",
		n->name);
	n->app.declared_down = n->app.again = true;
	app_stop(n, NULL, NULL);
}

/* ---- maintenance ---- */

static void app_on_maintenance(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	unsigned closed = t->shard->open ? session_env_maintenance(&t->shard->env, t->value) : 0;
	if (closed > 0)
		log_warning("node", "maintenance: closed %u client connections", closed);
	mem_free(t);
}

static void app_revive(struct node *n)
{
	char why[ERR_MAX];
	if (app_bind(n, why, sizeof why) != NODE_EXIT_OK ||
		app_listen(n, why, sizeof why) != NODE_EXIT_OK)
		log_error("node", "clients are not served again: %s", why);
	else
		log_info("node", "%s is back from maintenance", n->name);
}

/* Before the app is up it is looked at when it is; a life that begins is not in maintenance. */
void app_on_drained(struct node *n, bool drained)
{
	struct app *a = &n->app;
	if (a->state != APP_UP)
		return;
	app_post_all(n, drained, app_on_maintenance);
	if (!drained) {
		app_revive(n);
		return;
	}
	log_warning("node", "%s is put into maintenance: it serves no clients until it is revived",
		n->name);
	app_close_listeners(a);
	if (a->home != NULL)
		catalog_home_yield(a->home);
}

static bool app_is_drained(const struct node *n)
{
	const struct broker_node *own =
		broker_node_find(catalog_broker(n->catalogs[0]), n->identity.node_id);
	return own != NULL && own->drained;
}

int app_accept(struct node *n, bool yes, char *err, size_t err_n)
{
	struct app *a = &n->app;
	if (!yes) {
		if (a->n_listeners > 0)
			log_warning("node", "an operator suspends the listeners: no new clients are let in");
		app_close_listeners(a);
		return 0;
	}
	if (a->n_listeners > 0)
		return 0;
	if (app_is_drained(n)) {
		snprintf(err, err_n, "the node is in maintenance: 'revive' ends that");
		return -1;
	}
	if (app_bind(n, err, err_n) == NODE_EXIT_OK && app_listen(n, err, err_n) == NODE_EXIT_OK)
		return 0;
	app_close_listeners(a);
	return -1;
}

/* ---- up ---- */

struct row_load {
	struct node *node;
	bool failed;
};

static void app_load_row(void *arg, struct slice key, struct slice value)
{
	struct row_load *l = arg;
	for (unsigned i = 0; i < l->node->n_shards && !l->failed; i++)
		l->failed = !broker_load_row(catalog_broker(l->node->catalogs[i]), key, value);
}

static int app_load_rows(struct node *n)
{
	struct row_load l = {n, false};
	int rc = store_each_row(n->store, app_load_row, &l);
	return rc == 0 && l.failed ? STORE_DAMAGED : rc;
}

static void app_on_home_closed(void *arg);

/* A node with a membership has joined others: with an empty log it waits for them. A RAM node's log is
 * empty at each start. */
static int app_open_home(struct node *n)
{
	struct store_port *port = &n->shards[0].port;
	bool ram = n->membership.type == BROKER_NODE_RAM;
	return catalog_home_open(
		&n->app.home, &(struct catalog_home_config){
				      .groups = n->shards[0].groups,
				      .log = ram ? memory_log_open(port, 0) : store_log_open(port, 0),
				      .self = roster_member_id(n->identity.node_id,
					      n->identity.incarnation, ram),
				      .joins = n->membership.cluster_id != 0,
				      .alone = membership_alone(&n->membership, n->identity.node_id),
				      .node = n->identity.node_id,
				      .links = n->shards[0].links,
				      .catalogs = n->catalogs,
				      .n_catalogs = n->n_shards,
				      .leading = app_on_leading,
				      .closed = app_on_home_closed,
				      .arg = n,
			      });
}

static bool app_is_lost(void *arg, uint64_t node)
{
	const struct node *n = arg;
	const struct membership_node *m = membership_find(&n->membership, node);
	return m != NULL && m->lost;
}

static void app_on_found(void *arg, uint64_t node)
{
	node_on_found(arg, node);
}

static void app_open_roster(struct node *n)
{
	n->app.roster = roster_new(&(struct roster_config){
		.worker = &n->shards[0].worker,
		.links = n->links,
		.catalog = n->catalogs[0],
		.node = n->identity.node_id,
		.incarnation = n->identity.incarnation,
		.name = n->name,
		.address = n->address,
		.down_ms = (unsigned)n->config->cluster_down_ms,
		.replace_ms = n->config->cluster_replace_ms,
		.declared_down = app_on_declared_down,
		.alone = membership_alone(&n->membership, n->identity.node_id),
		.lost = app_is_lost,
		.found = app_on_found,
		.arg = n});
}

static void app_remember_others(struct node *n)
{
	if (membership_alone(&n->membership, n->identity.node_id))
		return;
	for (size_t i = 0; i < n->membership.n_nodes; i++) {
		const struct membership_node *r = &n->membership.nodes[i];
		roster_remember(n->app.roster, r->id, r->name, r->address);
	}
}

/* ---- waiting for the cluster ---- */

static void app_give_up_start(struct app *a, const char *why);

/* It wanted to be forgotten when it died, and that is done: it goes on with what comes next. */
static bool app_goes_on_with_change(struct node *n)
{
	char err[ERR_MAX];
	if (n->change.step != CHANGE_LEAVE)
		return false;
	if (node_has_left(n, err, sizeof err) != 0) {
		log_error("node", "%s", err);
		return false;
	}
	log_warning("node", "%s has left its cluster, as it had begun to: it goes on with that", n->name);
	n->app.again = true;
	app_stop(n, NULL, NULL);
	return true;
}

/* Else nothing but an operator can help: the app stops, so that the node may be reset. */
static void app_on_forgotten(void *arg, const char *why)
{
	struct node *n = arg;
	struct app *a = &n->app;
	if ((a->state != APP_STARTING && a->state != APP_UP) || app_goes_on_with_change(n))
		return;
	log_error("node", "%s", why);
	a->forgotten = mem_strdup(why);
	app_give_up_start(a, why);
	app_stop(n, NULL, NULL);
}

static void app_begin_vigil(struct node *n, uint64_t cluster_id)
{
	n->app.vigil = vigil_new(&(struct vigil_config){.worker = &n->shards[0].worker,
		.links = n->links,
		.catalog = n->catalogs[0],
		.starts = n->app.state == APP_STARTING,
		.id = n->identity.node_id,
		.cluster_id = cluster_id,
		.name = n->name,
		.forgotten = app_on_forgotten,
		.arg = n});
}

static void app_end_vigil(struct app *a)
{
	vigil_cancel(a->vigil);
	a->vigil = NULL;
}

static void app_wait_for_others(struct node *n)
{
	const struct membership *m = &n->membership;
	if (m->n_nodes >= 2 && !membership_alone(m, n->identity.node_id))
		app_begin_vigil(n, m->cluster_id);
}

char *app_trouble(const struct node *n, bool *final)
{
	const struct app *a = &n->app;
	*final = a->forgotten != NULL && a->state == APP_DOWN;
	if (a->forgotten != NULL)
		return mem_strdup(a->forgotten);
	if (a->joining != NULL)
		return joining_text(a->joining);
	if (a->formation != NULL)
		return mem_printf("%s looks for its cluster: %s", n->name, formation_text(a->formation));
	if (a->state == APP_DOWN && n->change.step != CHANGE_NONE)
		return mem_printf("%s has not finished what changes its membership: start_app goes on with that, reset "
				  "ends it", n->name);
	return a->state == APP_STARTING && a->vigil != NULL ? vigil_text(a->vigil) : NULL;
}

void app_forget_trouble(struct app *a)
{
	mem_free(a->forgotten);
	a->forgotten = NULL;
}

void app_tell_started(struct app *a, const char *why)
{
	app_done *done = a->started;
	a->started = NULL;
	if (done != NULL)
		done(a->started_arg, why);
}

/* Who waits for the start is told when the app is down: he may go on with what that is needed for. */
static void app_give_up_start(struct app *a, const char *why)
{
	if (a->started != NULL && a->unstarted == NULL)
		a->unstarted = mem_strdup(why);
}

static void app_tell_unstarted(struct app *a)
{
	char *why = a->unstarted;
	a->unstarted = NULL;
	app_tell_started(a, why);
	mem_free(why);
}

static void app_fail(struct node *n, enum node_exit exit, const char *why)
{
	app_give_up_start(&n->app, why);
	node_on_app_failed(n, exit);
}

static void app_on_begin(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_begin(t->shard);
	mem_free(t);
}

static void app_on_all_opened(struct node *n)
{
	struct app *a = &n->app;
	char why[ERR_MAX];
	a->opened = true;
	app_open_roster(n);
	if (a->stop_wanted) {
		a->state = APP_STARTING;
		app_stop(n, NULL, NULL);
		return;
	}
	int rc = app_load_rows(n);
	if (rc == 0) {
		shard_check_number(&n->shards[0]);
		app_post_all(n, 0, app_on_begin);
		rc = app_open_home(n);
	}
	if (rc == 0) {
		roster_set_home(a->roster, a->home);
		app_remember_others(n);
		app_wait_for_others(n);
		return;
	}
	snprintf(why, sizeof why, "the metadata cannot be read: %s", store_strerror(rc));
	log_error("node", "%s", why);
	app_fail(n, node_store_exit(rc), why);
}

static void app_on_all_serving(struct node *n)
{
	struct app *a = &n->app;
	char why[ERR_MAX];
	if (a->state != APP_STARTING)
		return;
	enum node_exit wrong = app_listen(n, why, sizeof why);
	if (wrong != NODE_EXIT_OK) {
		app_fail(n, wrong, why);
		return;
	}
	a->state = APP_UP;
	if (n->change.step == CHANGE_LEAVE) {
		log_warning("node", "%s had begun to leave its cluster, and is a member still: that is taken back",
			n->name);
		node_take_back(n);
	}
	app_end_vigil(a);
	app_begin_vigil(n, catalog_broker(n->catalogs[0])->cluster_id); /* others may have joined, or may still */
	log_info("node", "%s is ready", n->name);
	app_tell_started(a, NULL);
	if (app_is_drained(n))
		app_on_drained(n, true);
}

static void app_on_open(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_open(t->shard);
	mem_free(t);
}

static void app_open(struct node *n)
{
	struct app *a = &n->app;
	a->opening = true;
	n->blank &= a->stop_wanted; /* it founds a cluster, if only its own */
	links_set_self(n->links, n->identity.node_id, n->identity.incarnation,
		n->membership.cluster_id);
	app_post_all(n, 0, app_on_open);
	a->alarms = (struct alarms){.store = n->store,
		.data_dir = n->data_dir,
		.changed = app_on_alarms_changed,
		.arg = n};
	alarms_start(&a->alarms, &n->shards[0].worker, n->config);
}

/* ---- looking for the cluster ---- */

static void app_end_formation(struct app *a)
{
	formation_cancel(a->formation);
	a->formation = NULL;
	mem_free((void *)(uintptr_t)a->forming.peers);
	a->forming.peers = NULL;
}

static void app_on_formed(void *arg, enum formation_end how, struct membership *members, const char *why)
{
	struct node *n = arg;
	char err[ERR_MAX];
	n->app.formation = NULL;
	app_end_formation(&n->app);
	if (how == FORMATION_FAIL) {
		log_error("node", "no cluster was found: %s", why);
		app_fail(n, NODE_EXIT_FAILURE, why);
	} else if (how == FORMATION_JOIN && node_take_membership(n, members, err, sizeof err) != 0) {
		app_fail(n, NODE_EXIT_DIRECTORY, err);
	} else {
		if (how == FORMATION_FOUND)
			log_info("node", "%s founds the cluster", n->name);
		app_open(n);
	}
}

/* Only a node without any data looks for others: who has some has a cluster, if only of its own. */
static bool app_is_to_form(const struct node *n)
{
	return n->blank && (n->config->peers_by_dns || n->config->peers.n > 0);
}

static void app_form(struct node *n)
{
	const struct config *c = n->config;
	struct app *a = &n->app;
	const char **peers = mem_zalloc((c->peers.n + 1) * sizeof *peers);
	for (size_t i = 0; i < c->peers.n; i++)
		peers[i] = c->peers.p[i].node;
	a->forming = (struct formation_config){.worker = &n->shards[0].worker,
		.links = n->links,
		.id = n->identity.node_id,
		.name = n->name,
		.address = n->address,
		.type = c->first_ram ? BROKER_NODE_RAM : BROKER_NODE_DISC,
		.port = c->cluster_listener.port,
		.peers = peers,
		.n_peers = c->peers.n,
		.host = c->peers_by_dns ? c->peers_host : NULL,
		.expected = (unsigned)c->peers_expected,
		.interval_ms = (unsigned)c->peers_interval_ms,
		.rounds = (unsigned)c->peers_rounds,
		.done = app_on_formed,
		.arg = n};
	a->formation = formation_new(&a->forming);
}

/* ---- becoming a member ---- */

static void app_on_joined(void *arg, struct membership *members)
{
	struct node *n = arg;
	char err[ERR_MAX];
	n->app.joining = NULL;
	if (node_take_membership(n, members, err, sizeof err) != 0)
		app_fail(n, NODE_EXIT_DIRECTORY, err);
	else
		app_open(n);
}

/* It was told to join, and has given up what it had: it becomes a member, and nothing else. */
static void app_join(struct node *n)
{
	links_set_identity(n->links, n->identity.node_id, n->identity.incarnation, 0);
	n->app.joining = joining_new(&(struct joining_config){.worker = &n->shards[0].worker,
		.links = n->links,
		.id = n->identity.node_id,
		.name = n->name,
		.address = n->address,
		.change = &n->change,
		.done = app_on_joined,
		.arg = n});
}

static void app_end_joining(struct app *a)
{
	joining_cancel(a->joining);
	a->joining = NULL;
}

void app_start(struct node *n, app_done *done, void *arg)
{
	struct app *a = &n->app;
	a->state = APP_STARTING;
	a->started = done;
	a->started_arg = arg;
	a->opening = a->opened = a->stop_wanted = a->declared_down = a->again = false;
	app_forget_trouble(a);
	memset(a->reached, 0, sizeof a->reached);
	if (n->change.step == CHANGE_JOIN)
		app_join(n);
	else if (app_is_to_form(n))
		app_form(n);
	else
		app_open(n);
}

/* ---- down ---- */

static void app_on_close(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_close(t->shard);
	mem_free(t);
}

static void app_on_leave(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_leave(t->shard);
	mem_free(t);
}

static void app_begin_round(struct node *n)
{
	n->app.rounds++;
	n->app.worked = false;
	app_post_all(n, 0, app_on_leave);
}

static void app_on_round_over(struct node *n)
{
	struct app *a = &n->app;
	a->quiet = a->worked ? 0 : a->quiet + 1;
	if (a->quiet < ROUNDS_QUIET && a->rounds < ROUNDS_MOST) {
		app_begin_round(n);
		return;
	}
	api_abandon(n->api);
	app_post_all(n, 0, app_on_close);
}

static void app_on_links_left(void *arg)
{
	struct node *n = arg;
	n->app.rounds = n->app.quiet = 0;
	app_begin_round(n);
}

static void app_on_home_closed(void *arg)
{
	struct node *n = arg;
	n->app.home = NULL;
	links_leave(n->links, app_on_links_left, n);
}

static void app_on_handed_over(void *arg)
{
	struct node *n = arg;
	roster_set_home(n->app.roster, NULL);
	if (n->app.home != NULL)
		catalog_home_close(n->app.home);
	else
		app_on_home_closed(n);
}

static void app_on_all_stopped(struct node *n)
{
	roster_hand_over(n->app.roster, app_on_handed_over, n);
}

static void app_on_close_queues(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_close_queues(t->shard);
	mem_free(t);
}

/* Queues stay until nobody on any worker has anything under way to them. */
static void app_on_left(void *arg)
{
	app_post_all(arg, 0, app_on_close_queues);
}

static void app_on_all_drained(struct node *n)
{
	roster_leave(n->app.roster, app_on_left, n);
}

static void app_on_stop_shard(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	(void)w;
	shard_stop(t->shard, t->value != 0);
	mem_free(t);
}

static void app_on_all_closed(struct node *n)
{
	struct app *a = &n->app;
	app_done *done = a->stopped;
	roster_free(a->roster);
	a->roster = NULL;
	app_close_store(n);
	a->state = APP_DOWN;
	a->stopped = NULL;
	log_info("node", "%s does not serve clients any more", n->name);
	if (!a->again)
		app_tell_unstarted(a);
	if (done != NULL)
		done(a->stopped_arg, NULL);
	node_on_app_down(n);
}

void app_stop(struct node *n, app_done *done, void *arg)
{
	struct app *a = &n->app;
	if (done != NULL) {
		a->declared_down = a->again = false; /* it is to stay down */
		a->stopped = done;
		a->stopped_arg = arg;
	}
	if (!a->again)
		app_give_up_start(a, "it is being stopped");
	if (a->state == APP_STOPPING)
		return;
	a->state = APP_STOPPING;
	a->stop_wanted = true;
	app_close_listeners(a);
	app_end_joining(a);
	app_end_formation(a);
	app_end_vigil(a);
	if (!a->opening)
		app_open(n);
	if (!a->opened)
		return; /* app_on_all_opened() comes back */
	alarms_stop(&a->alarms);
	app_post_all(n, a->declared_down, app_on_stop_shard);
}

/* ---- the shards' steps ---- */

static void (*const on_all_reached[APP_STEPS])(struct node *n) = {
	[APP_STEP_OPENED] = app_on_all_opened,
	[APP_STEP_SERVING] = app_on_all_serving,
	[APP_STEP_DRAINED] = app_on_all_drained,
	[APP_STEP_STOPPED] = app_on_all_stopped,
	[APP_STEP_LEFT] = app_on_round_over,
	[APP_STEP_CLOSED] = app_on_all_closed,
};

static void app_on_reached(struct mail *m, struct worker *w)
{
	struct task *t = (struct task *)m;
	struct node *n = t->node;
	struct app *a = &n->app;
	int step = t->value;
	(void)w;
	a->worked |= t->worked;
	mem_free(t);
	if (++a->reached[step] < n->n_shards)
		return;
	a->reached[step] = 0;
	on_all_reached[step](n);
}

void app_shard_reached(struct node *n, struct shard *s, enum app_step step, bool worked)
{
	struct task *t = MEM_NEW(struct task);
	*t = (struct task){{NULL, app_on_reached}, n, s, (int)step, worked};
	worker_post(&n->shards[0].worker, &t->mail);
}

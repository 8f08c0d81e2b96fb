/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/session_world.h"

#include "raft/groups.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/password.h"
#include "src/queue/host.h"
#include "src/session/arguments.h"
#include "src/session/dead_letter.h"
#include "src/session/tally.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/fuzz/fake_stream.h"
#include "tests/fuzz/fuzz.h"

enum {
	NODE = WORLD_NODE,
	INCARNATION = 1,
	TICK_MS = 1000,
	CACHE_BYTES = 1 << 20,
	/* A turn that does not come to rest would keep a worker busy for ever. */
	ROUNDS_MAX = 10000,
};

struct world {
	struct worker worker;
	struct store_port port;
	struct groups *groups;
	struct queue_clients *clients;
	struct queue_hosts *hosts;
	struct catalog *catalog;
	struct catalog *catalogs[1];
	struct catalog_home *home;
	struct dead_letters *dead_letters;
	struct session_env env;
	struct session_env *envs[1];
	struct session_limits limits;
	struct tally *tally;
	uint64_t random_state, tick_ms;
	bool serving, drained, hosts_closed, home_closed;
};

static const char *const nobody[] = {NULL};

static uint32_t world_random(void *arg)
{
	struct world *w = arg;
	w->random_state = w->random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->random_state >> 32);
}

static bool world_tell(void *arg, uint64_t node, uint16_t worker, enum session_word word, struct blob *blob,
	size_t n)
{
	(void)arg;
	(void)worker;
	(void)word;
	(void)n;
	blob_unref(blob);
	return node == NODE + 1;
}

static uint64_t world_now(void *arg)
{
	return ((struct world *)arg)->worker.now_ms;
}

static void world_wake(void *arg)
{
	(void)arg;
}

/* ---- queues ---- */

static void open_queue(struct world *w, const struct broker_queue *q)
{
	struct queue_config config;
	arguments_queue_config(q, &config);
	struct group_member first = {.id = NODE, .node = NODE, .voter = true};
	CHECK(queue_hosts_open(w->hosts, &(struct queue_hosting){.group = q->group,
						 .self = NODE,
						 .memory = true,
						 .config = &config,
						 .members = &first,
						 .n_members = 1}) == 0);
}

static void on_queue_added(void *arg, struct broker_queue *q)
{
	struct queue_config config;
	arguments_queue_config(q, &config);
	if (config.expires_ms != CONFIG_NONE)
		open_queue(arg, q);
}

static bool is_defined(void *arg, uint64_t group)
{
	struct world *w = arg;
	return broker_queue_by_group(catalog_broker(w->catalog), group) != NULL;
}

static void on_queue_wanted(void *arg, uint64_t group)
{
	struct world *w = arg;
	const struct broker_queue *q = broker_queue_by_group(catalog_broker(w->catalog), group);
	if (q != NULL)
		open_queue(w, q);
}

static void on_queue_deleted(void *arg, struct broker_queue *q)
{
	struct world *w = arg;
	queue_hosts_close(w->hosts, q->group, true);
	queue_clients_gone(w->clients, q->group);
}

static void on_queue_ended(void *arg, uint64_t group)
{
	struct world *w = arg;
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, group);
	catalog_propose(w->catalog, buf_slice(&b), NULL);
	buf_done(&b);
}

static void on_dead(void *arg, uint64_t group, const struct queue_config *config,
	const struct machine_dead *d, const struct message *m)
{
	dead_letters_publish(((struct world *)arg)->dead_letters, group, config, d, m);
}

static void on_dead_done(void *arg, uint64_t group, uint64_t seq)
{
	queue_hosts_dead_done(((struct world *)arg)->hosts, group, seq);
}

static void on_dead_again(void *arg, uint64_t group, uint64_t seq)
{
	queue_hosts_dead_again(((struct world *)arg)->hosts, group, seq);
}

static void submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct world *w = arg;
	CHECK(node == NODE);
	queue_hosts_submit(w->hosts, group, blob, n);
}

static bool resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct world *w = arg;
	CHECK(node == NODE);
	CHECK(queue_hosts_resume(w->hosts, group, slice_make(blob->data, n)));
	blob_unref(blob);
	return true;
}

static uint64_t route(void *arg, uint64_t group, unsigned attempt)
{
	(void)arg;
	(void)group;
	(void)attempt;
	return NODE;
}

static bool is_alone(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
	return true;
}

static bool is_gone(void *arg, uint64_t client)
{
	(void)arg;
	(void)client;
	return false;
}

static struct queue_clients *clients_of(void *arg, uint64_t client, struct worker **ret)
{
	struct world *w = arg;
	*ret = &w->worker;
	return client == queue_clients_id(w->clients) ? w->clients : NULL;
}

/* ---- metadata ---- */

static void propose(void *arg, struct slice command)
{
	catalog_propose(((struct world *)arg)->catalog, command, NULL);
}

static void on_leading(void *arg, bool yes)
{
	struct world *w = arg;
	if (!yes)
		return;
	static const uint8_t salt[BROKER_SALT_SIZE] = {1, 2, 3, 4};
	char hash[BROKER_PASSWORD_HASH_MAX];
	size_t n = broker_password_hash(hash, BROKER_PASSWORD_SHA256, salt, slice_str("guest"));
	struct buf b = BUF_EMPTY;
	broker_seed(slice_make(hash, n), propose, w);
	broker_put_node_up(
		&b, NODE, INCARNATION, slice_str("warren@fuzz"), slice_str("fuzz:25672"));
	propose(w, buf_slice(&b));
	buf_done(&b);
}

static void on_applied(void *arg)
{
	struct world *w = arg;
	w->serving = broker_node_incarnation(catalog_broker(w->catalog), NODE) == INCARNATION;
}

/* ---- life ---- */

static void on_drained(void *arg)
{
	((struct world *)arg)->drained = true;
}

static void on_hosts_closed(void *arg)
{
	((struct world *)arg)->hosts_closed = true;
}

static void on_home_closed(void *arg)
{
	((struct world *)arg)->home_closed = true;
}

static bool world_round(struct world *w)
{
	bool any = worker_deliver(&w->worker);
	any |= fake_streams_turn();
	any |= store_port_poll(&w->port) > 0;
	any |= catalog_flush(w->catalog);
	any |= queue_clients_flush(w->clients);
	any |= groups_flush(w->groups);
	store_port_flush(&w->port);
	any |= queue_hosts_flush(w->hosts);
	any |= session_env_flush(&w->env);
	return any || store_port_ready(&w->port) || w->worker.due != NULL;
}

void world_turn(struct world *w)
{
	unsigned rounds = 0;
	while (world_round(w))
		CHECK(++rounds < ROUNDS_MAX);
}

void world_time(struct world *w, uint64_t ms)
{
	while (ms > 0) {
		uint64_t step = w->tick_ms - w->worker.now_ms;
		step = step < ms ? step : ms;
		fake_time(&w->worker, step);
		ms -= step;
		if (w->worker.now_ms >= w->tick_ms) {
			session_env_tick(&w->env);
			w->tick_ms += TICK_MS;
		}
		world_turn(w);
	}
}

struct session_env *world_env(struct world *w)
{
	return &w->env;
}

static void world_init_env(struct world *w)
{
	w->limits = (struct session_limits){.frame_max = 8192,
		.initial_frame_max = 4096,
		.channel_max = 16,
		.heartbeat_s = 60,
		.handshake_timeout_ms = 10000,
		.max_message_size = 64 * 1024,
		.node_name = "warren@fuzz",
		.product_version = "0",
		.loopback_users = nobody};
	w->envs[0] = &w->env;
	w->tally = tally_new();
	w->env = (struct session_env){.worker = &w->worker,
		.catalog = w->catalog,
		.broker = catalog_broker(w->catalog),
		.clients = w->clients,
		.limits = &w->limits,
		.tally = w->tally,
		.node_id = NODE,
		.incarnation = INCARNATION,
		.random = world_random,
		.tell = world_tell,
		.drained = on_drained,
		.arg = w,
		.next_serial = 1,
		.serial_step = 1,
		.peers = w->envs,
		.n_peers = 1};
	list_init(&w->env.connections);
	list_init(&w->env.dirty);
	list_init(&w->env.due);
	list_init(&w->env.requesters);
	list_init(&w->env.questions);
}

static void world_open_home(struct world *w)
{
	w->catalogs[0] = w->catalog;
	catalog_connect(w->catalog, w->catalogs, 1);
	struct catalog_home_config config = {.groups = w->groups,
		.log = memory_log_open(&w->port, 0),
		.self = NODE,
		.node = NODE,
		.catalogs = w->catalogs,
		.n_catalogs = 1,
		.leading = on_leading,
		.closed = on_home_closed,
		.arg = w};
	CHECK(catalog_home_open(&w->home, &config) == 0);
}

struct world *world_new(void)
{
	static bool once;
	if (!once)
		groups_global_init();
	once = true;
	struct world *w = MEM_NEW(struct world);
	uint64_t client = client_id_make(NODE, INCARNATION, 0);
	worker_init(&w->worker, 0);
	w->tick_ms = w->worker.now_ms + TICK_MS;
	store_port_init(&w->port, NULL, world_wake, w);
	w->groups = groups_new(&(struct groups_config){.port = &w->port,
		.now_ms = world_now,
		.random = world_random,
		.arg = w,
		.cache_bytes = CACHE_BYTES});
	w->clients = queue_clients_new(client, NODE,
		&(struct queue_border){
			.submit = submit, .resume = resume, .route = route, .arg = w});
	struct broker_watch watch = {
		.arg = w, .queue_added = on_queue_added, .queue_deleted = on_queue_deleted};
	w->catalog = catalog_new(&(struct catalog_config){.worker = &w->worker,
		.client_id = client,
		.watch = &watch,
		.applied = on_applied,
		.arg = w});
	w->hosts = queue_hosts_new(&(struct queue_hosts_config){.worker = &w->worker,
		.state_max = UINT64_MAX,
		.groups = w->groups,
		.port = &w->port,
		.clients = w->clients,
		.clients_of = clients_of,
		.defined = is_defined,
		.alone = is_alone,
		.gone = is_gone,
		.self = NODE,
		.n_workers = 1,
		.wanted = on_queue_wanted,
		.ended = on_queue_ended,
		.dead = on_dead,
		.arg = w,
		.node = NODE,
		.incarnation = INCARNATION});
	world_init_env(w);
	w->dead_letters = dead_letters_new(&w->env, on_dead_done, on_dead_again, w);
	world_open_home(w);
	world_turn(w);
	CHECK(w->serving);
	return w;
}

void world_end(struct world *w)
{
	enum { CLOSING_MS = 5000 }; /* clients that do not answer, streams that linger */
	session_env_stop(&w->env);
	world_turn(w);
	world_time(w, CLOSING_MS);
	world_time(w, CLOSING_MS);
	CHECK(w->drained && w->env.n_connections == 0 && fake_streams() == 0);
	CHECK(queue_clients_backlog(w->clients) == 0);
	queue_hosts_close_all(w->hosts, on_hosts_closed, w);
	world_turn(w);
	CHECK(w->hosts_closed);
	catalog_home_close(w->home);
	world_turn(w);
	CHECK(w->home_closed && groups_count(w->groups) == 0 && fake_timers() == 0);
	dead_letters_free(w->dead_letters);
	session_env_done(&w->env);
	tally_free(w->tally);
	queue_hosts_free(w->hosts);
	queue_clients_free(w->clients);
	catalog_free(w->catalog);
	groups_free(w->groups);
	store_port_done(&w->port);
	worker_done(&w->worker);
	mem_free(w);
}

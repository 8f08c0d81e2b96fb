/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/shard.h"

#include <sys/random.h>
#include <time.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/daemon/alarms.h"
#include "src/daemon/node.h"
#include "src/daemon/hosting.h"
#include "src/daemon/queue_border.h"
#include "src/session/arguments.h"
#include "src/session/reply_to.h"

enum {
	TICK_MS = 1000,
	RAFT_HEARTBEAT_MS = 100,
	RAFT_ELECTION_MS = 1000,
	RAFT_REST_MS = 3000, /* a group in which nothing happens stops its clock */
	CACHE_BYTES = 8 << 20,   /* entries kept for consumers close behind, per worker */
	SHORT_TURN_NS = 100 * 1000, /* so long a turn had little to do */
	EMPTYING_MAX_MS = 10000, /* a queue that cannot commit does not hold up the end for ever */
};

uint32_t shard_random(void *arg)
{
	struct shard *s = arg;
	/* splitmix64 */
	uint64_t z = (s->random_state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static uint64_t shard_now(void *arg)
{
	struct shard *s = arg;
	return s->worker.now_ms;
}

static void shard_wake(void *arg)
{
	struct shard *s = arg;
	worker_wake(&s->worker);
}

/* ---- the turn ---- */

static void shard_check_empty(struct shard *s)
{
	if (!s->emptying)
		return;
	if (queue_clients_backlog(s->clients) > 0 && s->worker.now_ms < s->emptying_until_ms)
		return;
	s->emptying = false;
	app_shard_reached(s->node, s, APP_STEP_DRAINED, false);
}

static void shard_on_seek(void *arg)
{
	struct shard *s = arg;
	s->seeking = queue_clients_tick(s->clients);
	if (s->seeking)
		timer_set(s->seek, QUEUE_SEEK_MS);
}

/* A queue has lost its leader. */
static void shard_check_seek(struct shard *s)
{
	if (s->seeking || s->leaving || !queue_clients_seek(s->clients))
		return;
	s->seeking = true;
	timer_set(s->seek, QUEUE_SEEK_MS);
}

static void shard_on_clock(void *arg)
{
	struct shard *s = arg;
	s->clock_runs = s->open && groups_tick(s->groups) > 0;
	if (s->clock_runs)
		timer_set(s->clock, RAFT_HEARTBEAT_MS / 2);
}

static void shard_check_clock(struct shard *s)
{
	if (s->clock_runs || !groups_need_clock(s->groups))
		return;
	s->clock_runs = true;
	timer_set(s->clock, RAFT_HEARTBEAT_MS / 2);
}

static void shard_on_pace(void *arg)
{
	struct shard *s = arg;
	s->pausing = false; /* the turn that follows looks */
}

static void shard_check_pace(struct shard *s)
{
	unsigned ms = groups_resume(s->groups);
	if (ms == 0 || s->pausing)
		return;
	s->pausing = true;
	timer_set(s->pace, ms);
}

bool shard_has_time(const struct shard *s)
{
	bool links = s->worker.no == 0 && catalog_broker(s->catalog)->n_nodes > 1;
	bool heard = links || groups_need_clock(s->groups);
	return !heard && worker_turn_ns(&s->worker) < SHORT_TURN_NS;
}

/* In the order of a message's way, so that one round takes everything one step on. */
static bool shard_turn_of_app(struct shard *s)
{
	bool worked = store_port_poll(&s->port) > 0;
	worked |= catalog_flush(s->catalog);
	worked |= queue_clients_flush(s->clients);
	worked |= mirrors_flush(s->mirrors);
	worked |= groups_flush(s->groups);
	if (!shard_has_time(s))
		store_port_flush(&s->port);
	worked |= queue_hosts_flush(s->hosts);
	worked |= session_env_flush(&s->env);
	shard_check_empty(s);
	shard_check_seek(s);
	shard_check_clock(s);
	shard_check_pace(s);
	s->worked |= worked;
	return worked;
}

/* Behind everything that leaves the worker: it may stand still for as long as the disk writes. */
static bool shard_store(struct shard *s)
{
	store_port_write(&s->port);
	bool ready = store_port_ready(&s->port);
	s->worked |= ready;
	return ready;
}

/* What was delivered before the round was asked for has had its turn, too. */
static void shard_check_round(struct shard *s)
{
	if (!s->asked)
		return;
	bool worked = s->worked;
	s->asked = s->worked = false;
	app_shard_reached(s->node, s, APP_STEP_LEFT, worked);
}

static bool shard_turn(struct turn_hook *h)
{
	struct shard *s = (struct shard *)((char *)h - offsetof(struct shard, hook));
	bool worked = s->open && shard_turn_of_app(s);
	worked |= link_port_flush(s->links);
	if (s->worker.no == 0)
		worked |= links_flush(s->node->links);
	if (s->open)
		worked |= shard_store(s);
	shard_check_round(s);
	return worked;
}

static void shard_on_tick(void *arg)
{
	struct shard *s = arg;
	if (s->open)
		session_env_tick(&s->env);
	timer_set(s->tick, TICK_MS);
}

/* ---- queues ---- */

static void shard_on_queue_added(void *arg, struct broker_queue *q)
{
	hosting_on_added(arg, q);
}

static void shard_on_queue_changed(void *arg, struct broker_queue *q)
{
	hosting_on_changed(arg, q);
}

static void shard_on_queue_begun(void *arg, struct broker_queue *q)
{
	hosting_on_begun(arg, q);
}

static void shard_on_node_drained(void *arg, struct broker_node *n)
{
	struct shard *s = arg;
	mirrors_drained(s->mirrors);
	if (s->worker.no == 0 && n->id == s->node->identity.node_id)
		app_on_drained(s->node, n->drained);
}

static void shard_on_queue_wanted(void *arg, uint64_t group)
{
	hosting_on_wanted(arg, group);
}

static void shard_on_queue_closed(void *arg, uint64_t group)
{
	hosting_on_closed(arg, group);
}

static void shard_on_queue_leads(void *arg, uint64_t group, bool yes)
{
	struct shard *s = arg;
	if (yes)
		mirrors_led(s->mirrors, group);
}

static void shard_begin_queue(void *arg, uint64_t group)
{
	struct shard *s = arg;
	struct buf b = BUF_EMPTY;
	broker_put_begin_queue(&b, group);
	catalog_propose(s->catalog, buf_slice(&b), NULL);
	buf_done(&b);
}

static void shard_drop_orphan(struct shard *s, uint64_t group);

static void shard_on_queue_deleted(void *arg, struct broker_queue *q)
{
	struct shard *s = arg;
	if (!s->serving)
		return;
	if (hosting_is_of(s, q->group)) {
		/* It could not be opened. (While the app goes down it has been closed: its log waits for the next
		 * start, see shard_drop_orphans().) */
		if (!s->closing && !queue_hosts_has(s->hosts, q->group) &&
			!queue_hosts_closing(s->hosts, q->group) && node_has_log(s->node, q->group))
			shard_drop_orphan(s, q->group);
		queue_hosts_close(s->hosts, q->group, true);
	}
	queue_clients_gone(s->clients, q->group);
}

struct orphan {
	struct store_req req;
	struct shard *shard;
	struct store_log *log;
};

/* Nothing of the shard is under way in the store any more. */
static void shard_check_stopped(struct shard *s)
{
	if (s->hosts_closed && s->orphans == 0)
		app_shard_reached(s->node, s, APP_STEP_STOPPED, false);
}

static void shard_on_orphan_dropped(struct store_req *req)
{
	struct orphan *o = (struct orphan *)req;
	struct shard *s = o->shard;
	store_log_close(o->log);
	mem_free(o);
	s->orphans--;
	shard_check_stopped(s);
}

static void shard_drop_orphan(struct shard *s, uint64_t group)
{
	struct orphan *o = MEM_NEW(struct orphan);
	o->log = store_log_open(&s->port, group);
	o->req.done = shard_on_orphan_dropped;
	o->shard = s;
	s->orphans++;
	store_log_drop(o->log, &o->req);
}

/* Logs of queues that were deleted, or left this node, before the present start. A number that the metadata has not
 * given out yet is another matter: then it is the metadata that is older, and nothing is deleted.
 */
static void shard_drop_orphans(struct shard *s)
{
	const struct buf *stored = &s->node->stored_groups;
	const struct broker *b = catalog_broker(s->catalog);
	for (size_t at = 0; at < stored->n; at += sizeof(uint64_t)) {
		uint64_t group;
		memcpy(&group, stored->p + at, sizeof group);
		const struct broker_queue *q = broker_queue_by_group(b, group);
		if (group == 0 || !hosting_is_of(s, group) ||
			(q != NULL && hosting_member(s, q) != NULL))
			continue;
		if (group < b->next_group)
			shard_drop_orphan(s, group);
		else
			log_warning("queue",
				"the store holds queue group %lu that the metadata does not know: "
				"kept",
				(unsigned long)group);
	}
}

void shard_set_number(struct shard *s, uint16_t number)
{
	uint32_t incarnation = (uint32_t)s->node->identity.incarnation;
	uint64_t client = client_id_make(number, incarnation, (uint16_t)s->worker.no);
	s->number = number;
	catalog_set_client(s->catalog, client);
	queue_clients_set_id(s->clients, client);
	queue_hosts_set_node(s->hosts, number);
}

void shard_check_number(struct shard *s)
{
	const struct broker_node *n =
		broker_node_find(catalog_broker(s->catalog), s->node->identity.node_id);
	if (s->number == 0 && n != NULL)
		shard_set_number(s, n->number);
}

static void shard_on_life_ended(void *arg, uint16_t node, uint32_t incarnation)
{
	struct shard *s = arg;
	queue_hosts_node_gone(s->hosts, node, incarnation);
	mirrors_node_down(s->mirrors);
}

/* The metadata has come to the point where this start of the node is known: what it says about
 * queues from here on is the present. */
static void shard_on_applied(void *arg)
{
	struct shard *s = arg;
	const struct store_identity *id = &s->node->identity;
	struct broker *b = catalog_broker(s->catalog);
	shard_check_number(s);
	lives_look(&s->lives, b, shard_on_life_ended, s);
	if (s->worker.no == 0) {
		roster_applied(s->node->app.roster);
		node_on_table(s->node, b);
	}
	if (s->serving || s->stopping || broker_node_incarnation(b, id->node_id) != id->incarnation)
		return;
	s->serving = true;
	hosting_open_all(s);
	shard_drop_orphans(s);
	app_shard_reached(s->node, s, APP_STEP_SERVING, false);
}

/* ---- borders ---- */

static bool shard_queue_alone(void *arg, uint64_t group)
{
	struct shard *s = arg;
	const struct broker_queue *q = broker_queue_by_group(catalog_broker(s->catalog), group);
	return q != NULL && q->n_members <= 1 && hosting_member(s, q) != NULL;
}

static bool shard_queue_defined(void *arg, uint64_t group)
{
	struct shard *s = arg;
	return broker_queue_by_group(catalog_broker(s->catalog), group) != NULL;
}

static void shard_on_queue_failed(void *arg, uint64_t group, uint64_t entry, int error)
{
	struct shard *s = arg;
	struct broker_queue *q = broker_queue_by_group(catalog_broker(s->catalog), group);
	struct machine_counts n = {0};
	queue_hosts_counts(s->hosts, group, &n);
	struct slice name = q != NULL ? q->name : slice_str("?");
	struct slice vhost = q != NULL ? q->vhost->name : slice_str("?");
	log_error("queue",
		"queue '%.*s' in vhost '%.*s' (group %lu): entry %lu cannot be read: %s; the messages "
		"in it are lost, and the queue, with %lu messages ready and %lu unacknowledged, is not "
		"served any more",
		SLICE_FMT(name), SLICE_FMT(vhost), (unsigned long)group, (unsigned long)entry,
		store_strerror(error), (unsigned long)n.ready, (unsigned long)n.unacked);
}

static void shard_on_queue_ended(void *arg, uint64_t group)
{
	struct shard *s = arg;
	struct buf b = BUF_EMPTY;
	broker_put_delete_queue(&b, group);
	catalog_propose(s->catalog, buf_slice(&b), NULL);
	buf_done(&b);
}

static void shard_on_dead(void *arg, uint64_t group, const struct queue_config *config,
	const struct machine_dead *d, const struct message *m)
{
	struct shard *s = arg;
	dead_letters_publish(s->dead_letters, group, config, d, m);
}

static void shard_dead_done(void *arg, uint64_t group, uint64_t seq)
{
	struct shard *s = arg;
	queue_hosts_dead_done(s->hosts, group, seq);
}

static void shard_dead_again(void *arg, uint64_t group, uint64_t seq)
{
	struct shard *s = arg;
	queue_hosts_dead_again(s->hosts, group, seq);
}

/* ---- other nodes ---- */

static void shard_on_link_up(void *arg, uint64_t node, uint64_t incarnation)
{
	struct shard *s = arg;
	if (!s->open)
		return;
	if (s->worker.no == 0)
		app_on_link_up(s->node, node, incarnation);
	queue_clients_link_up(s->clients, node);
	mirrors_link_up(s->mirrors);
}

static void shard_on_link_down(
	void *arg, uint64_t node, uint64_t incarnation, enum link_end why)
{
	struct shard *s = arg;
	(void)incarnation;
	if (!s->open)
		return;
	if (s->worker.no == 0)
		app_on_link_down(s->node, node, why);
	queue_clients_link_down(s->clients, node);
	reply_to_link_down(&s->env, node);
}

static bool is_of_session(const struct envelope *e)
{
	return e->kind == ENVELOPE_DIRECT_REPLY || e->kind == ENVELOPE_REQUESTER;
}

static bool shard_on_link_message(
	void *arg, uint64_t node, const struct envelope *e, struct blob *blob, size_t n)
{
	struct shard *s = arg;
	if (e->kind == ENVELOPE_ALARMS && s->open) {
		app_on_alarms(s->node, node, e->tag);
		blob_unref(blob);
		return true;
	}
	struct slice octets = slice_make(blob->data + ENVELOPE_SIZE, n - ENVELOPE_SIZE);
	bool section = e->kind == ENVELOPE_CATALOG, echo = e->kind == ENVELOPE_CATALOG_ECHO;
	if ((section || echo) && s->begun) {
		bool fine = section ? app_on_section(s->node, octets) : app_on_echo(s->node, node, octets);
		blob_unref(blob);
		return fine;
	}
	if (s->open && is_of_session(e)) {
		bool fine = reply_to_receive(&s->env, node, e->tag, octets);
		blob_unref(blob);
		return fine;
	}
	if (s->open)
		return queue_border_receive(s, node, e, blob, n);
	blob_unref(blob);
	return true;
}

static const struct link_port_owner shard_link_owner = {
	.up = shard_on_link_up,
	.down = shard_on_link_down,
	.message = shard_on_link_message,
};

/* ---- life ---- */

static void shard_on_drained(void *arg);

/* struct session_env.tell */
static bool shard_tell_session(void *arg, uint64_t node, uint16_t worker, enum session_word word,
	struct blob *blob, size_t n)
{
	struct shard *s = arg;
	bool linked = link_port_linked(s->links, node);
	link_port_send(s->links, node,
		&(struct envelope){.kind = word == SESSION_REPLY ? ENVELOPE_DIRECT_REPLY : ENVELOPE_REQUESTER,
			.worker = worker,
			.tag = word},
		blob, 0, n);
	return linked;
}

static void shard_init_env(struct shard *s)
{
	struct node *node = s->node;
	s->env = (struct session_env){
		.worker = &s->worker,
		.catalog = s->catalog,
		.broker = catalog_broker(s->catalog),
		.clients = s->clients,
		.limits = &node->limits,
		.tally = node->tally,
		.node_id = node->identity.node_id,
		.incarnation = node->identity.incarnation,
		.random = shard_random,
		.tell = shard_tell_session,
		.drained = shard_on_drained,
		.arg = s,
		.next_serial = s->worker.no + 1,
		.serial_step = node->n_shards,
		.peers = node->envs,
		.n_peers = node->n_shards,
	};
	list_init(&s->env.connections);
	list_init(&s->env.dirty);
	list_init(&s->env.due);
	list_init(&s->env.requesters);
	list_init(&s->env.questions);
}

void shard_init(struct shard *s, struct node *node, unsigned no)
{
	s->node = node;
	if (getrandom(&s->random_state, sizeof s->random_state, 0) < 0)
		s->random_state = (uint64_t)time(NULL) ^ no;
	worker_init(&s->worker, no);
	s->worker.data = s;
	if (no == 0)
		node_open_links(node);
	s->links = link_port_new(node->links, &s->worker, no, &shard_link_owner, s);
	worker_hook(&s->worker, &s->hook, shard_turn);
}

void shard_start_clock(struct shard *s)
{
	s->tick = timer_new(&s->worker, shard_on_tick, s);
	timer_set(s->tick, TICK_MS);
	s->seek = timer_new(&s->worker, shard_on_seek, s);
	s->clock = timer_new(&s->worker, shard_on_clock, s);
	s->pace = timer_new(&s->worker, shard_on_pace, s);
}

static void shard_open_catalog(struct shard *s)
{
	struct broker_watch watch = {.arg = s,
		.queue_added = shard_on_queue_added,
		.queue_deleted = shard_on_queue_deleted,
		.queue_begun = shard_on_queue_begun,
		.queue_changed = shard_on_queue_changed,
		.node_drained = shard_on_node_drained};
	s->catalog = catalog_new(&(struct catalog_config){.worker = &s->worker,
		.watch = &watch,
		.applied = shard_on_applied,
		.arg = s});
	s->node->catalogs[s->worker.no] = s->catalog;
	catalog_connect(s->catalog, s->node->catalogs, s->node->n_shards);
}

static uint64_t shard_linked(void *arg, uint64_t node)
{
	const struct shard *s = arg;
	return link_port_incarnation(s->links, node);
}

static void shard_propose(void *arg, struct slice command)
{
	struct shard *s = arg;
	catalog_propose(s->catalog, command, NULL);
}

static void shard_reopen(void *arg, uint64_t group)
{
	hosting_reopen(arg, group);
}

static void shard_open_mirrors(struct shard *s)
{
	s->mirrors = mirrors_new(&(struct mirrors_config){.worker = &s->worker,
		.hosts = s->hosts,
		.broker = catalog_broker(s->catalog),
		.self = s->node->identity.node_id,
		.linked = shard_linked,
		.propose = shard_propose,
		.reopen = shard_reopen,
		.arg = s});
}

static void shard_open_hosts(struct shard *s)
{
	s->hosts = queue_hosts_new(&(struct queue_hosts_config){.worker = &s->worker,
		.groups = s->groups,
		.port = &s->port,
		.clients = s->clients,
		.clients_of = queue_border_clients,
		.node_of = queue_border_node,
		.gone = queue_border_gone,
		.send = queue_border_send,
		.defined = shard_queue_defined,
		.alone = shard_queue_alone,
		.wanted = shard_on_queue_wanted,
		.begin = shard_begin_queue,
		.leads = shard_on_queue_leads,
		.closed = shard_on_queue_closed,
		.ended = shard_on_queue_ended,
		.failed = shard_on_queue_failed,
		.dead = shard_on_dead,
		.arg = s,
		.self = s->node->identity.node_id,
		.n_workers = s->node->n_shards,
		.state_max = alarms_machine_memory(),
		.incarnation = (uint32_t)s->node->identity.incarnation});
}

void shard_open(struct shard *s)
{
	struct node *node = s->node;
	store_port_init(&s->port, node->store, shard_wake, s);
	s->groups = groups_new(&(struct groups_config){.port = &s->port,
		.now_ms = shard_now,
		.random = shard_random,
		.arg = s,
		.cache_bytes = CACHE_BYTES,
		.net = link_port_net(s->links),
		.heartbeat_ms = RAFT_HEARTBEAT_MS,
		.election_ms = RAFT_ELECTION_MS,
		.freeze_after_ms = RAFT_REST_MS,
		.state_max = alarms_machine_memory()});
	link_port_set_groups(s->links, s->groups);
	struct queue_border border = queue_border_of(s);
	s->clients = queue_clients_new(0, node->identity.node_id, &border);
	shard_open_catalog(s);
	shard_open_hosts(s);
	shard_open_mirrors(s);
	shard_init_env(s);
	s->dead_letters = dead_letters_new(&s->env, shard_dead_done, shard_dead_again, s);
	s->node->api_shards[s->worker.no].hosts = s->hosts;
	s->node->api_shards[s->worker.no].mirrors = s->mirrors;
	s->serving = s->stopping = s->closing = s->hosts_closed = s->emptying = s->leaving = false;
	s->open = true;
	app_shard_reached(node, s, APP_STEP_OPENED, false);
}

void shard_begin(struct shard *s)
{
	s->begun = true;
}

static void shard_on_hosts_closed(void *arg)
{
	struct shard *s = arg;
	s->hosts_closed = true;
	shard_check_stopped(s);
}

static void shard_on_drained(void *arg)
{
	struct shard *s = arg;
	s->emptying = true;
	/* What a life that is called over has under way is taken by no queue any more. */
	s->emptying_until_ms = s->worker.now_ms + (s->life_over ? 0 : EMPTYING_MAX_MS);
	worker_wake(&s->worker);
}

static void shard_on_handed_over(void *arg)
{
	struct shard *s = arg;
	s->closing = true;
	queue_hosts_close_all(s->hosts, shard_on_hosts_closed, s);
}

void shard_close_queues(struct shard *s)
{
	mirrors_leave(s->mirrors, shard_on_handed_over, s);
}

void shard_stop(struct shard *s, bool life_over)
{
	s->stopping = true;
	s->life_over = life_over;
	session_env_stop(&s->env);
}

void shard_leave(struct shard *s)
{
	s->begun = false;
	s->leaving = s->asked = true;
	timer_stop(s->seek); /* nobody leads any more, and who asks is answered */
	s->seeking = false;
}

void shard_close(struct shard *s)
{
	s->open = false;
	s->node->api_shards[s->worker.no].hosts = NULL;
	s->node->api_shards[s->worker.no].mirrors = NULL;
	timer_stop(s->seek);
	timer_stop(s->clock);
	timer_stop(s->pace);
	s->seeking = s->clock_runs = s->pausing = false;
	s->number = 0;
	lives_done(&s->lives);
	link_port_set_groups(s->links, NULL);
	dead_letters_free(s->dead_letters);
	session_env_done(&s->env);
	mirrors_free(s->mirrors);
	queue_hosts_free(s->hosts);
	queue_clients_free(s->clients);
	catalog_free(s->catalog);
	groups_free(s->groups);
	store_port_done(&s->port);
	s->env = (struct session_env){0};
	app_shard_reached(s->node, s, APP_STEP_CLOSED, false);
}

void shard_done(struct shard *s)
{
	while (worker_deliver(&s->worker))
		; /* what is left finds everybody still there */
	worker_done(&s->worker);
}

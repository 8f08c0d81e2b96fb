/* SPDX-License-Identifier: Apache-2.0
 *
 * Queue clients and hosts together, over memory logs or a store: two workers without threads or
 * sockets, whose turns the test runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "raft/groups.h"
#include "src/base/mem.h"
#include "src/queue/client.h"
#include "src/queue/host.h"

enum { GROUP = 5, WORKERS = 2, NODE = 77 };

/* The hosts are on worker 0; each worker has clients. */
struct world {
	struct worker workers[WORKERS];
	struct queue_clients *clients[WORKERS];
	struct store_port port;
	struct groups *groups;
	struct queue_hosts *hosts;
	bool ended, closed;
	unsigned begins; /* calls of config.begin() */
	struct store *store; /* or NULL */
	char dir[64];
};

static void on_wake(void *arg)
{
	(void)arg;
}

static uint64_t now_ms(void *arg)
{
	struct world *w = arg;
	return w->workers[0].now_ms;
}

static uint32_t any_number(void *arg)
{
	(void)arg;
	return 4;
}

struct section_mail {
	struct world *world;
	uint64_t client;
};

/* Both workers are in this thread, so a section may go straight to the host. */
static void submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct section_mail *from = arg;
	assert_int_equal(node, NODE);
	queue_hosts_submit(from->world->hosts, group, blob, n);
}

static bool resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct section_mail *from = arg;
	assert_int_equal(node, NODE);
	assert_true(queue_hosts_resume(from->world->hosts, group, slice_make(blob->data, n)));
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
	return client_id_node(client) == 1 && client_id_incarnation(client) < 1;
}

static struct queue_clients *clients_of(void *arg, uint64_t client, struct worker **ret)
{
	struct world *w = arg;
	unsigned no = client_id_worker(client);
	if (no >= WORKERS || queue_clients_id(w->clients[no]) != client)
		return NULL;
	*ret = &w->workers[no];
	return w->clients[no];
}

static bool defined;

static bool is_defined(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
	return defined;
}

/* What config.wanted() does; NULL: nothing. */
static void (*wanted)(struct world *w);

static void on_wanted(void *arg, uint64_t group)
{
	if (group == GROUP && wanted != NULL)
		wanted(arg);
}

static void on_begin(void *arg, uint64_t group)
{
	assert_int_equal(group, GROUP);
	((struct world *)arg)->begins++;
}

static void on_ended(void *arg, uint64_t group)
{
	struct world *w = arg;
	assert_int_equal(group, GROUP);
	w->ended = true;
}

static void on_dead(void *arg, uint64_t group, const struct queue_config *config,
	const struct machine_dead *d, const struct message *m)
{
	(void)config;
	(void)m;
	queue_hosts_dead_done(((struct world *)arg)->hosts, group, d->seq);
}

static void turn(struct world *w)
{
	for (unsigned round = 0; round < 20; round++) {
		store_port_poll(&w->port);
		for (unsigned i = 0; i < WORKERS; i++)
			queue_clients_flush(w->clients[i]);
		groups_flush(w->groups);
		store_port_flush(&w->port);
		queue_hosts_flush(w->hosts);
		for (unsigned i = 0; i < WORKERS; i++)
			worker_deliver(&w->workers[i]);
	}
}

/* The queue's only member, whose raft id is 1. */
static int open_member(
	struct world *w, bool memory, bool begun, const struct queue_config *config)
{
	struct group_member first = {.id = 1, .node = NODE, .voter = true};
	return queue_hosts_open(w->hosts, &(struct queue_hosting){.group = GROUP,
						  .self = 1,
						  .memory = memory,
						  .begun = begun,
						  .config = config,
						  .members = &first,
						  .n_members = 1});
}

static void open_queue(struct world *w, const struct queue_config *config)
{
	assert_int_equal(open_member(w, true, false, config), 0);
}

static struct queue_config plain_config(void)
{
	return (struct queue_config){
		.message_ttl_ms = CONFIG_NONE,
		.expires_ms = CONFIG_NONE,
		.max_length = CONFIG_NONE,
		.max_bytes = CONFIG_NONE,
		.delivery_limit = CONFIG_NONE,
	};
}

static struct section_mail borders[WORKERS];

static void world_open(struct world *w)
{
	static bool once;
	if (!once)
		groups_global_init();
	once = true;
	store_port_init(&w->port, w->store, on_wake, NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_init(&w->workers[i], i);
		uint64_t id = client_id_make(1, 1, (uint16_t)i);
		borders[i] = (struct section_mail){w, id};
		w->clients[i] = queue_clients_new(id, NODE,
			&(struct queue_border){.submit = submit,
				.resume = resume,
				.route = route,
				.arg = &borders[i]});
	}
	w->groups = groups_new(&(struct groups_config){.port = &w->port,
		.now_ms = now_ms,
		.random = any_number,
		.arg = w,
		.cache_bytes = 1 << 20});
	w->hosts = queue_hosts_new(&(struct queue_hosts_config){.worker = &w->workers[0],
		.state_max = UINT64_MAX,
		.groups = w->groups,
		.port = &w->port,
		.clients = w->clients[0],
		.clients_of = clients_of,
		.defined = is_defined,
		.alone = is_alone,
		.gone = is_gone,
		.self = NODE,
		.n_workers = WORKERS,
		.wanted = on_wanted,
		.begin = on_begin,
		.ended = on_ended,
		.dead = on_dead,
		.arg = w,
		.node = 1,
		.incarnation = 1});
}

static int set_up(void **state)
{
	*state = MEM_NEW(struct world);
	world_open(*state);
	return 0;
}

static void world_open_store(struct world *w)
{
	char err[256] = "";
	if (store_open(&w->store, w->dir, NULL, err, sizeof err) != 0)
		fail_msg("%s", err);
	world_open(w);
}

static int set_up_store(void **state)
{
	struct world *w = MEM_NEW(struct world);
	strcpy(w->dir, "/tmp/warren-test-host-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	world_open_store(w);
	*state = w;
	return 0;
}

static void on_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

/* Turns until it is so, while the store's thread works. */
static void turn_until(struct world *w, const bool *so)
{
	for (unsigned ms = 0; ms < 20000 && !*so; ms++) {
		turn(w);
		usleep(1000);
	}
	assert_true(*so);
}

static void world_close(struct world *w)
{
	w->closed = false;
	queue_hosts_close_all(w->hosts, on_closed, w);
	turn_until(w, &w->closed);
	queue_hosts_free(w->hosts);
	for (unsigned i = 0; i < WORKERS; i++)
		queue_clients_free(w->clients[i]);
	groups_free(w->groups);
	store_port_done(&w->port);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_stop(&w->workers[i]);
		worker_run(&w->workers[i]);
		worker_done(&w->workers[i]);
	}
	if (w->store != NULL)
		store_close(w->store);
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[96];
	world_close(w);
	snprintf(command, sizeof command, "rm -rf %s", w->dir);
	assert_true(w->store == NULL || system(command) == 0);
	wanted = NULL;
	defined = false;
	mem_free(w);
	return 0;
}

/* ---- what happens to publishes, consumers and requests ---- */

struct publisher {
	struct queue_publisher base;
	unsigned confirmed, refused;
};

static void on_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct publisher *pub = (struct publisher *)p;
	(void)tag;
	if (refused)
		pub->refused++;
	else
		pub->confirmed++;
}

static struct publisher new_publisher(void)
{
	return (struct publisher){.base.settled = on_settled};
}

static void publish(struct queue_client *qc, const char *body, struct publisher *pub)
{
	struct message m = {
		.expiration_ms = ENQUEUE_NO_EXPIRATION,
		.envelope = slice_make("\0\1q", 3),
		.props = slice_make("\0\0", 2),
		.body = slice_str(body),
	};
	queue_publish(qc, &m, pub != NULL ? &pub->base : NULL, 0);
}

struct consumer {
	struct queue_consumer base;
	char got[256]; /* bodies, separated by spaces; a redelivered one in brackets */
	uint64_t last;
	bool cancelled;
};

static void on_deliver(struct queue_consumer *q, const struct queue_delivery *d)
{
	struct consumer *c = (struct consumer *)q;
	size_t n = strlen(c->got);
	assert_int_equal(d->number, c->last + 1);
	c->last = d->number;
	snprintf(c->got + n, sizeof c->got - n, d->returns > 0 ? "[%.*s] " : "%.*s ",
		SLICE_FMT(d->message.body));
}

static void on_cancelled(struct queue_consumer *q)
{
	((struct consumer *)q)->cancelled = true;
}

static struct consumer new_consumer(struct world *w, unsigned worker)
{
	struct consumer c = {.base = {.deliver = on_deliver, .cancelled = on_cancelled}};
	c.base.no = queue_clients_number(w->clients[worker]);
	return c;
}

struct request {
	struct queue_request base;
	bool done;
	struct machine_answer answer;
	char body[64];
};

static void on_done(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct request *req = (struct request *)r;
	assert_false(req->done);
	req->done = true;
	req->answer = *a;
	if (d != NULL)
		snprintf(req->body, sizeof req->body, "%.*s", SLICE_FMT(d->message.body));
}

static struct request new_request(void)
{
	return (struct request){.base.done = on_done};
}

static void attach(
	struct queue_client *qc, struct consumer *c, uint32_t prefetch, struct request *r)
{
	queue_attach(qc, &c->base,
		&(struct command_attach){.consumer = c->base.no,
			.prefetch = prefetch,
			.credit_bytes = 1 << 20,
			.tag = slice_str("t")},
		r != NULL ? &r->base : NULL);
}

/* ---- tests ---- */

static void a_publish_is_confirmed_when_it_is_applied(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	struct publisher pub = new_publisher();
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	publish(qc, "a", &pub);
	publish(qc, "b", &pub);
	assert_int_equal(pub.confirmed, 0);
	turn(w);
	assert_int_equal(pub.confirmed, 2);
	assert_int_equal(queue_clients_backlog(w->clients[0]), 0);
	struct machine_counts counts;
	assert_true(queue_hosts_counts(w->hosts, GROUP, &counts));
	assert_int_equal(counts.ready, 2);
}

static void consumers_of_both_workers_get_messages_in_order_and_settle_them(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct queue_client *qc = queue_clients_get(w->clients[i], GROUP);
		struct consumer c = new_consumer(w, i);
		struct request attached = new_request(), cancelled = new_request();
		attach(qc, &c, 2, &attached);
		turn(w);
		assert_int_equal(attached.answer.status, MACHINE_OK);
		publish(qc, "a", NULL);
		publish(qc, "b", NULL);
		publish(qc, "c", NULL);
		turn(w);
		assert_string_equal(c.got, "a b ");
		queue_settle(&c.base, 1, 1, SETTLE_ACK);
		queue_settle(&c.base, 2, 2, SETTLE_ACK);
		turn(w);
		assert_string_equal(c.got, "a b c ");
		queue_settle(&c.base, 3, 3, SETTLE_ACK);
		queue_cancel(&c.base, false, &cancelled.base);
		turn(w);
		assert_true(cancelled.done);
		queue_cancel(&c.base, true, NULL);
		turn(w);
		struct machine_counts counts;
		assert_true(queue_hosts_counts(w->hosts, GROUP, &counts));
		assert_int_equal(counts.ready + counts.unacked, 0);
		assert_int_equal(counts.consumers, 0);
	}
}

static void a_lost_consumers_messages_return_with_the_redelivered_mark(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	struct consumer one = new_consumer(w, 0), two = new_consumer(w, 1);
	attach(qc, &one, 0, NULL);
	publish(qc, "a", NULL);
	publish(qc, "b", NULL);
	turn(w);
	queue_cancel(&one.base, true, NULL);
	attach(queue_clients_get(w->clients[1], GROUP), &two, 0, NULL);
	turn(w);
	assert_string_equal(two.got, "[a] [b] ");
	queue_cancel(&two.base, true, NULL);
}

/* Messages that come in the very turn that opens the queue meet its limits. */
static void the_properties_come_before_the_first_message(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	struct publisher pub = new_publisher();
	config.max_length = 1;
	config.overflow = OVERFLOW_REJECT;
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	publish(qc, "a", &pub);
	publish(qc, "b", &pub);
	turn(w);
	assert_int_equal(pub.confirmed, 1);
	assert_int_equal(pub.refused, 1);
}

static void get_answers_with_the_message_or_that_there_is_none(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct queue_client *qc = queue_clients_get(w->clients[i], GROUP);
		struct consumer c = new_consumer(w, i);
		struct request none = new_request(), some = new_request();
		queue_attach(qc, &c.base,
			&(struct command_attach){.consumer = c.base.no, .flags = ATTACH_GET}, NULL);
		queue_get(&c.base, true, &none.base);
		publish(qc, "x", NULL);
		publish(qc, "y", NULL);
		queue_get(&c.base, true, &some.base);
		turn(w);
		assert_int_equal(none.answer.status, MACHINE_EMPTY);
		assert_int_equal(some.answer.status, MACHINE_OK);
		assert_int_equal(some.answer.messages, 1);
		assert_string_equal(some.body, "x");
		struct request purged = new_request();
		queue_purge(qc, &purged.base);
		turn(w);
		assert_int_equal(purged.answer.messages, 1);
		queue_cancel(&c.base, true, NULL);
	}
}

/* Nobody uses the queue after it, whose section would say that the message has come. */
static void what_a_get_has_brought_is_settled_soon(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct queue_client *qc = queue_clients_get(w->clients[i], GROUP);
		struct consumer c = new_consumer(w, i);
		struct request got = new_request();
		struct machine_counts counts;
		queue_attach(qc, &c.base,
			&(struct command_attach){.consumer = c.base.no, .flags = ATTACH_GET}, NULL);
		publish(qc, "x", NULL);
		queue_get(&c.base, true, &got.base);
		turn(w);
		assert_string_equal(got.body, "x");
		queue_hosts_counts(w->hosts, GROUP, &counts);
		assert_int_equal(counts.unacked, 1);
		assert_true(queue_clients_seek(w->clients[i]));
		assert_false(queue_clients_tick(w->clients[i]));
		turn(w);
		queue_hosts_counts(w->hosts, GROUP, &counts);
		assert_int_equal(counts.ready + counts.unacked, 0);
		assert_false(queue_clients_seek(w->clients[i]));
		queue_cancel(&c.base, true, NULL);
	}
}

static void everything_outstanding_is_answered_when_the_queue_is_not_there(void **state)
{
	struct world *w = *state;
	for (unsigned i = 0; i < WORKERS; i++) {
		struct queue_client *qc = queue_clients_get(w->clients[i], GROUP);
		struct publisher pub = new_publisher();
		struct consumer c = new_consumer(w, i);
		struct request attached = new_request(), status = new_request();
		publish(qc, "a", &pub);
		attach(qc, &c, 0, &attached);
		queue_status(qc, false, &status.base);
		turn(w);
		assert_int_equal(attached.answer.status, MACHINE_GONE);
		assert_int_equal(status.answer.status, MACHINE_GONE);
		assert_int_equal(pub.confirmed, 1);
		assert_true(c.cancelled);
		assert_null(c.base.client);
		assert_int_equal(queue_clients_backlog(w->clients[i]), 0);
	}
}

/* Defined but not hosted, because its log is damaged or its node is down. */
static void nothing_is_confirmed_when_nobody_serves_the_queue(void **state)
{
	struct world *w = *state;
	defined = true;
	for (unsigned i = 0; i < WORKERS; i++) {
		struct queue_client *qc = queue_clients_get(w->clients[i], GROUP);
		struct publisher pub = new_publisher();
		struct consumer c = new_consumer(w, i);
		struct request attached = new_request();
		publish(qc, "a", &pub);
		attach(qc, &c, 0, &attached);
		turn(w);
		assert_int_equal(pub.confirmed, 0);
		assert_int_equal(pub.refused, 1);
		assert_int_equal(attached.answer.status, MACHINE_UNAVAILABLE);
		assert_true(c.cancelled);
	}
	defined = false;
}

static void deleting_cancels_consumers_and_answers_with_the_count(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	struct consumer c = new_consumer(w, 1);
	attach(queue_clients_get(w->clients[1], GROUP), &c, 1, NULL);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	publish(qc, "a", NULL);
	publish(qc, "b", NULL);
	turn(w);
	struct request in_use = new_request(), gone = new_request();
	queue_delete(qc, true, false, &in_use.base);
	queue_delete(qc, false, false, &gone.base);
	turn(w);
	assert_int_equal(in_use.answer.status, MACHINE_IN_USE);
	assert_int_equal(gone.answer.status, MACHINE_OK);
	assert_int_equal(gone.answer.messages, 1);
	assert_true(c.cancelled);
}

/* Until then the definition is the deleter's to take away: its answer is not overtaken. */
static void a_deletion_that_nobody_completes_is_completed_later(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	struct request gone = new_request();
	queue_delete(qc, false, false, &gone.base);
	turn(w);
	assert_int_equal(gone.answer.status, MACHINE_OK);
	assert_false(w->ended);
	for (unsigned i = 0; i < 1000 && !w->ended; i++)
		uv_run(&w->workers[0].loop, UV_RUN_ONCE); /* sleeps until a timer is due */
	assert_true(w->ended);
}

struct waiter {
	struct queue_waiter base;
	bool ready;
};

static void on_ready(struct queue_waiter *q)
{
	((struct waiter *)q)->ready = true;
}

static void publishers_pause_above_the_window_and_go_on_below_it(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	static char body[100001];
	memset(body, 'x', sizeof body - 1);
	unsigned n = 0;
	while (!queue_full(qc) && n < 1000) {
		publish(qc, body, NULL);
		n++;
	}
	assert_in_range(
		n, QUEUE_CLIENT_WINDOW / sizeof body, QUEUE_CLIENT_WINDOW / sizeof body + 2);
	struct waiter waiter = {.base.ready = on_ready};
	list_init(&waiter.base.link);
	queue_wait(qc, &waiter.base);
	assert_false(waiter.ready);
	turn(w);
	turn(w);
	assert_true(waiter.ready);
	assert_false(queue_full(qc));
}

/* Each queue is below its own window, all together are above theirs. */
static void waiters_for_the_window_of_all_are_woken_by_any_queue(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	struct waiter waiter = {.base.ready = on_ready};
	static char body[1000001];
	memset(body, 'x', sizeof body - 1);
	list_init(&waiter.base.link);
	open_queue(w, &config);
	struct queue_client *small = queue_clients_get(w->clients[0], GROUP);
	publish(small, "a", NULL);
	uint64_t group = GROUP;
	while (queue_clients_backlog(w->clients[0]) <= QUEUE_CLIENTS_WINDOW)
		publish(queue_clients_get(w->clients[0], ++group), body, NULL);
	assert_true(queue_full(small));
	queue_wait(small, &waiter.base);
	turn(w); /* the other queues do not exist: that ends what was under way to them */
	assert_true(waiter.ready);
	assert_false(queue_full(small));
}

static void an_auto_delete_queue_ends_with_its_last_consumer(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	config.auto_delete = true;
	open_queue(w, &config);
	struct consumer c = new_consumer(w, 0);
	attach(queue_clients_get(w->clients[0], GROUP), &c, 0, NULL);
	turn(w);
	assert_false(w->ended);
	queue_cancel(&c.base, true, NULL);
	turn(w);
	assert_true(w->ended);
}

static void a_dead_letter_is_held_until_it_is_dealt_with(void **state)
{
	struct world *w = *state;
	struct queue_config config = plain_config();
	struct machine_counts counts;
	config.dead_letter = true;
	config.dlx = slice_str("dlx");
	open_queue(w, &config);
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	struct consumer c = new_consumer(w, 0);
	attach(qc, &c, 0, NULL);
	publish(qc, "a", NULL);
	turn(w);
	queue_settle(&c.base, 1, 1, SETTLE_REJECT);
	turn(w);
	assert_true(queue_hosts_counts(w->hosts, GROUP, &counts));
	assert_int_equal(counts.dead, 0);
	assert_int_equal(counts.unacked, 0);
	queue_cancel(&c.base, true, NULL);
}

/* ---- queues that get their group when they are used ---- */

static void open_when_used(struct world *w)
{
	struct queue_config config = plain_config();
	open_queue(w, &config);
}

static void the_first_use_opens_a_queue(void **state)
{
	struct world *w = *state;
	wanted = open_when_used;
	assert_int_equal(queue_hosts_count(w->hosts), 0);
	struct publisher pub = new_publisher();
	publish(queue_clients_get(w->clients[1], GROUP), "a", &pub);
	turn(w);
	assert_int_equal(queue_hosts_count(w->hosts), 1);
	assert_int_equal(pub.confirmed, 1);
}

static bool dropped;

static void on_dropped(struct store_req *req)
{
	(void)req;
	dropped = true;
}

static int open_durable(struct world *w, bool begun)
{
	struct queue_config config = plain_config();
	return open_member(w, false, begun, &config);
}

static bool is_confirmed(struct publisher *pub, struct world *w)
{
	for (unsigned ms = 0; ms < 20000 && pub->confirmed == 0; ms++) {
		turn(w);
		usleep(1000);
	}
	return pub->confirmed == 1;
}

static void drop_log(struct world *w)
{
	struct store_req req = {.done = on_dropped};
	struct store_log *log = store_log_open(&w->port, GROUP);
	dropped = false;
	store_log_drop(log, &req);
	store_port_flush(&w->port);
	turn_until(w, &dropped);
	store_log_close(log);
	store_port_flush(&w->port);
}

/* A log that is gone must not look like one that never was: so a durable queue takes its first
 * command only when it is written down elsewhere that it has one. */
static void a_lost_log_is_not_taken_for_a_new_queue(void **state)
{
	struct world *w = *state;
	struct machine_counts counts;
	struct publisher pub = new_publisher();
	assert_int_equal(open_durable(w, false), 0);
	publish(queue_clients_get(w->clients[0], GROUP), "a", &pub);
	for (unsigned ms = 0; ms < 20000 && w->begins == 0; ms++) {
		turn(w);
		usleep(1000);
	}
	assert_int_equal(w->begins, 1);
	turn(w);
	assert_true(queue_clients_backlog(w->clients[0]) > 0);
	assert_int_equal(pub.confirmed, 0);
	queue_hosts_begun(w->hosts, GROUP);
	assert_true(is_confirmed(&pub, w));

	world_close(w);
	world_open_store(w);
	assert_int_equal(open_durable(w, true), 0);
	struct publisher more = new_publisher();
	publish(queue_clients_get(w->clients[1], GROUP), "b", &more);
	assert_true(is_confirmed(&more, w));
	assert_int_equal(w->begins, 1);
	assert_true(queue_hosts_counts(w->hosts, GROUP, &counts));
	assert_int_equal(counts.ready, 2);

	world_close(w);
	world_open_store(w);
	drop_log(w);
	assert_int_equal(open_durable(w, true), STORE_DAMAGED);
	assert_int_equal(queue_hosts_count(w->hosts), 0);
	assert_int_equal(open_durable(w, false), 0);
}

/* ---- acknowledgements that wait for company; the timer that ends it never does here ---- */

/* A durable queue with a consumer that has got one message, and another message that is an entry under
 * way. */
static void begin_with_one_under_way(
	struct world *w, struct consumer *c, uint32_t prefetch, struct publisher *second)
{
	struct queue_client *qc = queue_clients_get(w->clients[0], GROUP);
	struct publisher first = new_publisher();
	assert_int_equal(open_durable(w, false), 0);
	attach(qc, c, prefetch, NULL);
	publish(qc, "a", &first);
	for (unsigned ms = 0; ms < 20000 && w->begins == 0; ms++) {
		turn(w);
		usleep(1000);
	}
	queue_hosts_begun(w->hosts, GROUP);
	assert_true(is_confirmed(&first, w));
	assert_string_equal(c->got, "a ");
	publish(qc, "b", second);
	queue_clients_flush(w->clients[0]);
	groups_flush(w->groups);
	queue_settle(&c->base, 1, 1, SETTLE_ACK);
	queue_clients_flush(w->clients[0]);
}

static uint64_t unacked(struct world *w)
{
	struct machine_counts counts;
	assert_true(queue_hosts_counts(w->hosts, GROUP, &counts));
	return counts.unacked;
}

static void settles_alone_go_with_the_next_publish(void **state)
{
	struct world *w = *state;
	struct consumer c = new_consumer(w, 0);
	struct publisher second = new_publisher(), third = new_publisher();
	begin_with_one_under_way(w, &c, 0, &second);
	assert_true(is_confirmed(&second, w));
	assert_string_equal(c.got, "a b ");
	queue_settle(&c.base, 2, 2, SETTLE_ACK);
	turn(w);
	assert_int_equal(unacked(w), 2); /* not an entry of their own when that one ends */
	publish(queue_clients_get(w->clients[1], GROUP), "c", &third);
	assert_true(is_confirmed(&third, w));
	assert_string_equal(c.got, "a b c ");
	assert_int_equal(unacked(w), 1);
	queue_cancel(&c.base, true, NULL);
}

static void settles_alone_do_not_wait_when_a_message_does(void **state)
{
	struct world *w = *state;
	struct consumer c = new_consumer(w, 0);
	struct publisher second = new_publisher();
	begin_with_one_under_way(w, &c, 1, &second);
	for (unsigned ms = 0; ms < 20000 && c.last < 2; ms++) {
		turn(w);
		usleep(1000);
	}
	assert_string_equal(c.got, "a b ");
	assert_int_equal(unacked(w), 1);
	queue_cancel(&c.base, true, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_publish_is_confirmed_when_it_is_applied),
		TEST(consumers_of_both_workers_get_messages_in_order_and_settle_them),
		TEST(a_lost_consumers_messages_return_with_the_redelivered_mark),
		TEST(the_properties_come_before_the_first_message),
		TEST(get_answers_with_the_message_or_that_there_is_none),
		TEST(what_a_get_has_brought_is_settled_soon),
		TEST(everything_outstanding_is_answered_when_the_queue_is_not_there),
		TEST(nothing_is_confirmed_when_nobody_serves_the_queue),
		TEST(deleting_cancels_consumers_and_answers_with_the_count),
		TEST(waiters_for_the_window_of_all_are_woken_by_any_queue),
		TEST(publishers_pause_above_the_window_and_go_on_below_it),
		TEST(a_deletion_that_nobody_completes_is_completed_later),
		TEST(an_auto_delete_queue_ends_with_its_last_consumer),
		TEST(a_dead_letter_is_held_until_it_is_dealt_with),
		TEST(the_first_use_opens_a_queue),
		cmocka_unit_test_setup_teardown(
			settles_alone_go_with_the_next_publish, set_up_store, tear_down),
		cmocka_unit_test_setup_teardown(
			settles_alone_do_not_wait_when_a_message_does, set_up_store, tear_down),
		cmocka_unit_test_setup_teardown(
			a_lost_log_is_not_taken_for_a_new_queue, set_up_store, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

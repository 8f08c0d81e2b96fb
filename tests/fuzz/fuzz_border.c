/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: what reaches queue clients and hosts from another node: events (src/queue/event.c),
 * sections (src/queue/command.h) and resumes (src/queue/resume.h), and who believes them.
 *
 *   input := step*        step := what u8 | its choices
 *
 * Node 1 has the host of a queue and nothing else. Node 2 has the clients, honest ones, whose sections,
 * resumes and events travel as octets. Node 3 lies: it sends events to node 2, in its own name or, as if
 * the leader itself were mad, in node 1's; and sections and resumes to node 1.
 *
 * Invariants:
 *  - no octets, and no order of them, do any harm; what is not understood is refused;
 *  - what an honest host says is understood;
 *  - every request is answered once, every publish settled once, at the latest when the queue is gone;
 *    nothing comes for a consumer that is not attached; its deliveries are numbered upwards, and their
 *    messages lie in the octets that arrived;
 *  - nothing stays behind (LeakSanitizer), and no backlog.
 */
#include "raft/groups.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/queue/event.h"
#include "src/queue/host.h"
#include "src/queue/resume.h"
#include "tests/fuzz/fake_loop.h"
#include "tests/fuzz/fuzz.h"

enum {
	HOST = 1, /* nodes; of their client ids, too */
	HONEST = 2,
	LIAR = 3,
	GROUP = 5,
	OTHER_GROUP = 6, /* nobody hosts it */
	CONSUMERS = 4,   /* the last one gets */
	REQUESTS_MAX = 64,
	STEPS_MAX = 200,
	ROUNDS_MAX = 1000,
	STATE_MAX = 1 << 20,
};

struct consumer {
	struct queue_consumer base;
	uint64_t last;
	bool attached;
};

struct request {
	struct queue_request base;
	bool done;
	struct consumer *attaches; /* or NULL */
};

struct world {
	struct reader in;
	struct worker worker;
	struct store_port port;
	struct groups *groups;
	struct queue_hosts *hosts;
	struct queue_clients *nobody, *clients; /* of the host's node, of the honest one */
	struct consumer consumers[CONSUMERS];
	struct request requests[REQUESTS_MAX];
	unsigned n_requests;
	struct queue_publisher publisher;
	uint64_t published, settled, last_tag; /* tag 0: a wait for settles */
	struct slice arrived; /* the events that are being read */
	bool closed;
};

static struct world *W;

/* ---- around the host ---- */

static void on_wake(void *arg)
{
	(void)arg;
}

static uint64_t now_ms(void *arg)
{
	return ((struct world *)arg)->worker.now_ms;
}

static uint32_t any_number(void *arg)
{
	(void)arg;
	return 4;
}

static struct queue_clients *clients_of(void *arg, uint64_t client, struct worker **ret)
{
	(void)arg;
	(void)client;
	(void)ret;
	return NULL;
}

static bool is_defined(void *arg, uint64_t group)
{
	(void)arg;
	return group == GROUP;
}

static bool is_alone(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
	return false;
}

static bool is_gone(void *arg, uint64_t client)
{
	(void)arg;
	return client_id_incarnation(client) != 1;
}

static uint64_t node_of(void *arg, uint64_t client)
{
	uint16_t node = client_id_node(client);
	(void)arg;
	return node == HONEST || node == LIAR ? node : 0;
}

static void on_group(void *arg, uint64_t group)
{
	(void)arg;
	(void)group;
}

static void on_failed(void *arg, uint64_t group, uint64_t entry, int error)
{
	(void)arg;
	(void)group;
	(void)entry;
	(void)error;
	CHECK(!"an entry cannot be read");
}

static void on_dead(void *arg, uint64_t group, const struct queue_config *config,
	const struct machine_dead *d, const struct message *m)
{
	struct slice exchange, key;
	(void)config;
	message_names(m, &exchange, &key);
	CHECK(exchange.n + key.n + 2 == m->envelope.n);
	queue_hosts_dead_done(((struct world *)arg)->hosts, group, d->seq);
}

/* ---- events on their way ---- */

static bool hear(struct world *w, uint64_t from, struct slice events)
{
	struct blob *blob = blob_new(events.n);
	memcpy(blob->data, events.p, events.n);
	w->arrived = slice_make(blob->data, events.n);
	bool fine = event_receive(w->clients, from, blob, blob->data, events.n);
	w->arrived = slice_make(NULL, 0);
	blob_unref(blob);
	return fine;
}

static void on_send(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n)
{
	(void)worker;
	if (node == HONEST)
		CHECK(hear(arg, HOST, slice_make(blob->data, n)));
	blob_unref(blob);
}

/* ---- around the clients ---- */

/* What is for the liar is lost. */
static void submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct world *w = arg;
	struct slice octets = slice_make(blob->data + COMMAND_ENTRY_HEADER, n - COMMAND_ENTRY_HEADER);
	CHECK(command_section_fits(octets));
	if (node == HOST) {
		struct blob *copy = blob_new(n);
		memcpy(copy->data, blob->data, n);
		queue_hosts_submit(w->hosts, group, copy, n);
	}
	blob_unref(blob);
}

static bool resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct world *w = arg;
	if (node == HOST)
		CHECK(queue_hosts_resume(w->hosts, group, slice_make(blob->data, n)));
	blob_unref(blob);
	return node == HOST || node == LIAR;
}

static uint64_t route(void *arg, uint64_t group, unsigned attempt)
{
	(void)arg;
	(void)attempt;
	return group == GROUP ? HOST : LIAR;
}

static void on_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	(void)p;
	(void)refused;
	CHECK(++W->settled <= W->published);
	CHECK(tag == 0 || tag > W->last_tag); /* in the order of the publishes: there is one queue */
	W->last_tag = tag > W->last_tag ? tag : W->last_tag;
}

static void check_delivery(const struct queue_delivery *d)
{
	struct slice exchange, key, all = W->arrived;
	message_names(&d->message, &exchange, &key);
	CHECK(exchange.n + key.n + 2 == d->message.envelope.n);
	CHECK(d->message.envelope.p >= all.p);
	CHECK(d->message.body.p + d->message.body.n <= all.p + all.n);
	CHECK(d->message.props.p + d->message.props.n <= d->message.body.p);
}

static void on_deliver(struct queue_consumer *q, const struct queue_delivery *d)
{
	struct consumer *c = (struct consumer *)q;
	CHECK(c->attached && d->number > c->last);
	c->last = d->number;
	check_delivery(d);
}

static void on_cancelled(struct queue_consumer *q)
{
	struct consumer *c = (struct consumer *)q;
	CHECK(c->attached && q->client == NULL);
	c->attached = false;
}

static void on_done(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	struct request *req = (struct request *)r;
	CHECK(!req->done);
	req->done = true;
	if (d != NULL)
		check_delivery(d);
	struct consumer *c = req->attaches;
	if (c == NULL || a->status == MACHINE_OK || c->base.client == NULL)
		return;
	c->attached = false; /* as a session does */
	queue_cancel(&c->base, true, NULL);
}

static struct queue_request *new_request(struct world *w)
{
	struct request *r = &w->requests[w->n_requests++];
	r->base.done = on_done;
	return &r->base;
}

/* ---- what the honest do ---- */

static void publish(struct world *w, struct queue_client *qc)
{
	uint8_t what = get_u8(&w->in);
	struct message m = {.flags = what & 1,
		.level = what & 2,
		.expiration_ms = what & 4 ? 50 : ENQUEUE_NO_EXPIRATION,
		.envelope = slice_make("\0\1k", 3),
		.props = slice_make("\0\0", 2),
		.body = fuzz_take(&w->in, what >> 4)};
	queue_publish(qc, &m, &w->publisher, ++w->published);
}

static void attach(struct world *w, struct queue_client *qc, struct consumer *c)
{
	if (c->attached)
		return;
	*c = (struct consumer){.attached = true};
	c->base = (struct queue_consumer){.no = queue_clients_number(w->clients),
		.deliver = on_deliver,
		.ends_at_failover = c->base.no & 1,
		.cancelled = on_cancelled};
	struct queue_request *r = new_request(w);
	((struct request *)r)->attaches = c;
	queue_attach(qc, &c->base,
		&(struct command_attach){.consumer = c->base.no,
			.flags = c == &w->consumers[CONSUMERS - 1] ? ATTACH_GET : 0,
			.prefetch = get_u8(&w->in) % 4,
			.credit_bytes = 4096,
			.tag = slice_str("t")},
		r);
}

static void cancel(struct world *w, struct consumer *c, bool requeue)
{
	queue_cancel(&c->base, requeue, new_request(w));
	c->attached = c->base.client != NULL;
}

static void act(struct world *w)
{
	uint8_t what = get_u8(&w->in);
	struct queue_client *qc = queue_clients_get(w->clients, GROUP);
	struct consumer *c = &w->consumers[what / 16 % CONSUMERS];
	struct consumer *getter = &w->consumers[CONSUMERS - 1];
	if (w->n_requests == REQUESTS_MAX)
		return;
	switch (what % 16) {
	case 0:
		attach(w, qc, c);
		break;
	case 1:
		if (c->attached)
			cancel(w, c, what & 64);
		break;
	case 2:
		if (getter->attached)
			queue_get(&getter->base, what & 64, new_request(w));
		break;
	case 3:
		queue_purge(qc, new_request(w));
		break;
	case 4:
		queue_status(qc, what & 64, new_request(w));
		break;
	case 5:
		if (what > 240)
			queue_delete(qc, false, false, new_request(w));
		break;
	case 6:
		queue_credit(&c->base, c->last * 1024 + 4096);
		break;
	case 7:
		queue_prefetch(&c->base, what / 64);
		break;
	case 8:
	case 9:
		if (c->last > 0)
			queue_settle(&c->base, what & 64 ? 1 : c->last, c->last, what / 64 % 3);
		break;
	case 10:
		if (queue_settle_notify(&c->base, &w->publisher))
			w->published++;
		break;
	default:
		publish(w, qc);
	}
}

static bool turn_once(struct world *w)
{
	bool any = store_port_poll(&w->port) > 0;
	any |= queue_clients_flush(w->clients);
	any |= groups_flush(w->groups);
	store_port_flush(&w->port);
	any |= queue_hosts_flush(w->hosts);
	any |= worker_deliver(&w->worker);
	return any || store_port_ready(&w->port);
}

static void turn(struct world *w)
{
	unsigned rounds = 0;
	while (turn_once(w))
		CHECK(++rounds < ROUNDS_MAX);
}

static void pass(struct world *w, unsigned ms)
{
	for (unsigned at = 0; at < ms; at += QUEUE_SEEK_MS) {
		fake_time(&w->worker, QUEUE_SEEK_MS);
		queue_clients_tick(w->clients);
		turn(w);
	}
}

/* ---- what the liar says ---- */

static uint64_t number(struct reader *in, uint64_t near)
{
	unsigned v = get_u8(in);
	return v == 255 ? get_u64le(in) : near + v > 8 ? near + v - 8 : 0;
}

static uint64_t some_group(uint8_t what)
{
	return what & 128 ? OTHER_GROUP : GROUP;
}

static void raw_events(struct world *w, uint64_t from)
{
	size_t n = get_u16le(&w->in) % 1024;
	struct slice exact = fuzz_exact(fuzz_take(&w->in, n));
	hear(w, from, exact);
	fuzz_free(exact);
}

static void put_message(struct world *w, struct buf *b)
{
	struct slice envelope = slice_make("\0\1k", 3);
	uint8_t what = get_u8(&w->in);
	if (what & 8)
		envelope = fuzz_take(&w->in, what & 7);
	struct message m = {.envelope = envelope, .body = fuzz_take(&w->in, what >> 4)};
	command_put_enqueue(buf_put(b, command_enqueue_size(&m)), &m);
}

/* What a host would say, but not now. */
static void put_event(struct world *w, struct event_mail *mail)
{
	uint8_t what = get_u8(&w->in);
	uint64_t group = some_group(what);
	struct buf message = BUF_EMPTY;
	put_message(w, &message);
	struct event_message at = {NULL, message.p, message.n, 0};
	const struct consumer *c = &w->consumers[what / 16 % CONSUMERS];
	struct machine_delivery d = {.consumer = c->base.no, .number = number(&w->in, c->last + 1)};
	uint64_t seq = number(&w->in, w->published + w->n_requests);
	struct machine_answer a = {.seq = seq,
		.type = what / 16,
		.status = get_u8(&w->in) % 16,
		.delivery = what & 64 ? &d : NULL};
	switch (what % 16) {
	case 0:
	case 1:
		event_put_deliver(mail, group, &d, &at);
		break;
	case 2:
	case 3:
		event_put_answer(mail, group, &a, &at);
		break;
	case 4:
		event_put_refused(mail, group, seq);
		break;
	case 5:
	case 6:
		event_put_applied(mail, group, seq);
		break;
	case 7:
		event_put_cancelled(mail, group, c->base.no);
		break;
	case 8:
		event_put_moved(mail, group, what / 16 % 4);
		break;
	case 9:
		event_put_unavailable(mail, group);
		break;
	case 10:
	case 11:
		event_put_resumed(mail, group, (uint32_t)number(&w->in, 8), seq, number(&w->in, 8));
		break;
	default:
		event_put_led(mail, group, number(&w->in, 8));
	}
	buf_done(&message);
}

static void made_events(struct world *w, uint64_t from)
{
	struct event_mail *mail = event_mail_new_octets();
	unsigned n = 1 + get_u8(&w->in) % 4;
	size_t octets;
	for (unsigned i = 0; i < n; i++)
		put_event(w, mail);
	struct blob *blob = event_mail_octets(mail, &octets);
	struct slice exact = fuzz_exact(slice_make(blob->data, octets));
	blob_unref(blob);
	hear(w, from, exact);
	fuzz_free(exact);
}

static uint64_t some_client(uint8_t what)
{
	return client_id_make(what & 3, what & 4 ? 2 : 1, what & 8 ? 1 : 0);
}

static void put_command(struct world *w, struct buf *b)
{
	uint8_t what = get_u8(&w->in);
	switch (what % 8) {
	case 0:
		command_put_attach(b,
			&(struct command_attach){.consumer = what / 8 % 4,
				.flags = what / 32,
				.credit_bytes = UINT64_MAX,
				.tag = slice_str("x")});
		break;
	case 1:
		command_put_settle(b,
			&(struct command_settle){.consumer = what / 8 % 4,
				.outcome = what / 64,
				.to = UINT64_MAX});
		break;
	case 2:
		command_put_get(b, &(struct command_get){what / 8 % 4, what & 64});
		break;
	case 3:
		command_put_cancel(b, &(struct command_cancel){what / 8 % 4, what & 64});
		break;
	case 4: {
		struct slice payload = fuzz_take(&w->in, get_u8(&w->in) % 64);
		buf_put_u8(b, what / 8);
		buf_put_u8(b, get_u8(&w->in));
		buf_put_u16le(b, 0);
		buf_put_u32le(b, (uint32_t)payload.n);
		buf_put_slice(b, payload);
		break;
	}
	default:
		put_message(w, b);
	}
}

/* As queue_border_receive() does (src/daemon/queue_border.c). */
static void arrive(struct world *w, uint64_t group, struct slice section)
{
	if (!command_section_fits(section))
		return;
	size_t n = COMMAND_ENTRY_HEADER + section.n;
	struct blob *blob = blob_new(n);
	memcpy(blob->data + COMMAND_ENTRY_HEADER, section.p, section.n);
	queue_hosts_submit(w->hosts, group, blob, n);
}

static void lying_section(struct world *w)
{
	struct buf b = BUF_EMPTY;
	uint8_t who = get_u8(&w->in), count = get_u8(&w->in);
	uint64_t first = number(&w->in, 8);
	buf_put(&b, COMMAND_SECTION_HEADER);
	for (unsigned i = 0; i < count % 4u; i++)
		put_command(w, &b);
	if (count & 128)
		buf_put_slice(&b, fuzz_take(&w->in, count / 4 % 16));
	command_put_section_header(b.p, some_client(who), first, number(&w->in, 8),
		count & 64 ? get_u32le(&w->in) : count % 4u,
		(uint32_t)(b.n - COMMAND_SECTION_HEADER));
	struct slice exact = fuzz_exact(buf_slice(&b));
	arrive(w, some_group(who), exact);
	fuzz_free(exact);
	buf_done(&b);
}

static void lying_resume(struct world *w)
{
	struct buf b = BUF_EMPTY;
	uint8_t who = get_u8(&w->in), n = get_u8(&w->in);
	resume_put(&b, get_u8(&w->in), some_client(who), n & 64 ? get_u32le(&w->in) : n % 4u);
	for (unsigned i = 0; i < n % 4u; i++)
		resume_put_consumer(&b, get_u8(&w->in) % 4, number(&w->in, 8));
	if (n & 128)
		buf_put_slice(&b, fuzz_take(&w->in, n / 4 % 16));
	struct slice exact = fuzz_exact(buf_slice(&b));
	queue_hosts_resume(w->hosts, some_group(who), exact);
	fuzz_free(exact);
	buf_done(&b);
}

static void raw_to_host(struct world *w, bool resumes)
{
	size_t n = get_u16le(&w->in) % 1024;
	struct slice exact = fuzz_exact(fuzz_take(&w->in, n));
	if (resumes)
		queue_hosts_resume(w->hosts, GROUP, exact);
	else
		arrive(w, GROUP, exact);
	fuzz_free(exact);
}

/* ---- life ---- */

static void open_queue(struct world *w)
{
	struct group_member first = {.id = 1, .node = HOST, .voter = true};
	struct queue_config config = {.message_ttl_ms = CONFIG_NONE,
		.expires_ms = CONFIG_NONE,
		.max_length = 8,
		.max_bytes = CONFIG_NONE,
		.delivery_limit = 3,
		.dead_letter = true,
		.dlx = slice_str("x")};
	CHECK(queue_hosts_open(w->hosts, &(struct queue_hosting){.group = GROUP,
						 .self = 1,
						 .memory = true,
						 .config = &config,
						 .members = &first,
						 .n_members = 1}) == 0);
	turn(w);
	CHECK(queue_hosts_leads(w->hosts, GROUP));
}

static void begin(struct world *w)
{
	struct queue_border border = {submit, resume, route, w};
	static bool once;
	if (!once)
		groups_global_init();
	once = true;
	log_set_level(LOG_NONE);
	w->publisher.settled = on_settled;
	worker_init(&w->worker, 0);
	store_port_init(&w->port, NULL, on_wake, w);
	w->nobody = queue_clients_new(client_id_make(HOST, 1, 0), HOST, &border);
	w->clients = queue_clients_new(client_id_make(HONEST, 1, 0), HONEST, &border);
	w->groups = groups_new(&(struct groups_config){.port = &w->port,
		.now_ms = now_ms,
		.random = any_number,
		.arg = w,
		.cache_bytes = 1 << 20});
	w->hosts = queue_hosts_new(&(struct queue_hosts_config){.worker = &w->worker,
		.groups = w->groups,
		.port = &w->port,
		.clients = w->nobody,
		.clients_of = clients_of,
		.defined = is_defined,
		.alone = is_alone,
		.gone = is_gone,
		.node_of = node_of,
		.send = on_send,
		.wanted = on_group,
		.ended = on_group,
		.begin = on_group,
		.failed = on_failed,
		.dead = on_dead,
		.arg = w,
		.state_max = STATE_MAX,
		.self = HOST,
		.n_workers = 1,
		.node = HOST,
		.incarnation = 1});
	open_queue(w);
}

static void on_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

static void end(struct world *w)
{
	turn(w);
	queue_clients_gone(w->clients, GROUP);
	CHECK(w->settled == w->published && queue_clients_backlog(w->clients) == 0);
	for (unsigned i = 0; i < w->n_requests; i++)
		CHECK(w->requests[i].done);
	for (unsigned i = 0; i < CONSUMERS; i++)
		CHECK(!w->consumers[i].attached);
	queue_hosts_close_all(w->hosts, on_closed, w);
	turn(w);
	CHECK(w->closed);
	queue_hosts_free(w->hosts);
	queue_clients_free(w->clients);
	queue_clients_free(w->nobody);
	groups_free(w->groups);
	store_port_done(&w->port);
	worker_done(&w->worker);
	CHECK(fake_timers() == 0);
}

static void step(struct world *w)
{
	uint8_t what = get_u8(&w->in);
	uint64_t from = what & 128 ? HOST : LIAR;
	switch (what % 16) {
	case 0:
		raw_events(w, from);
		break;
	case 1:
	case 2:
	case 3:
		made_events(w, from);
		break;
	case 4:
		lying_section(w);
		break;
	case 5:
		lying_resume(w);
		break;
	case 6:
		raw_to_host(w, what & 64);
		break;
	case 7:
		pass(w, (what >> 4) * 64u);
		break;
	case 8:
		if (what & 64)
			queue_clients_link_down(w->clients, from);
		else
			queue_clients_link_up(w->clients, from);
		break;
	case 9:
		queue_hosts_node_gone(w->hosts, LIAR, what >> 4);
		break;
	case 10:
		queue_clients_flush(w->clients);
		break;
	default:
		act(w);
	}
	if ((what & 64) == 0)
		turn(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = W = MEM_NEW(struct world);
	w->in = reader_make(data, size);
	begin(w);
	for (unsigned i = 0; i < STEPS_MAX && reader_left(&w->in) > 0; i++)
		step(w);
	end(w);
	mem_free(w);
	return 0;
}

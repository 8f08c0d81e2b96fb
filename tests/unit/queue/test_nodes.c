/* SPDX-License-Identifier: Apache-2.0
 *
 * A mirrored queue's clients and hosts on several nodes: leaders die and links break, and nobody
 * notices. Every publish is confirmed once, every message comes once and in its publisher's order.
 */
#include "tests/unit/queue/nodes.h"

enum { PER_TURN_MAX = 4, WINDOW = 20 };

/* Publishes numbers, of which some are under way. */
struct publisher {
	struct queue_publisher base;
	struct test_node *node;
	uint32_t sent, confirmed, refused, wanted;
	uint64_t last_tag;
};

/* One consumer, which acknowledges everything a while later. */
struct consumer {
	struct queue_consumer base;
	uint32_t last[NODES]; /* number from each publisher */
	uint32_t got;
	uint64_t number, acked;
	bool cancelled, attached;
	struct queue_request attach;
};

static struct nodes w;
static struct publisher pubs[NODES];
static struct consumer cons;

static void on_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct publisher *pub = (struct publisher *)p;
	assert_int_equal(tag, pub->last_tag + 1);
	pub->last_tag = tag;
	if (refused)
		pub->refused++;
	else
		pub->confirmed++;
}

static void publish(struct publisher *pub)
{
	uint32_t body[2] = {pub->node->i, ++pub->sent};
	struct message m = {
		.expiration_ms = ENQUEUE_NO_EXPIRATION,
		.envelope = slice_make("\0\1q", 3),
		.props = slice_make("\0\0", 2),
		.body = slice_make(body, sizeof body),
	};
	queue_publish(queue_clients_get(pub->node->clients, GROUP), &m, &pub->base, pub->sent);
}

static void on_deliver(struct queue_consumer *q, const struct queue_delivery *d)
{
	struct consumer *c = (struct consumer *)q;
	uint32_t body[2];
	assert_int_equal(d->message.body.n, sizeof body);
	memcpy(body, d->message.body.p, sizeof body);
	assert_int_equal(d->number, c->number + 1);
	assert_int_equal(d->returns, 0);
	c->number = d->number;
	/* In order; a gap only where a publish was given up. */
	assert_true(body[1] > c->last[body[0]]);
	if (pubs[body[0]].refused == 0)
		assert_int_equal(body[1], c->last[body[0]] + 1);
	c->last[body[0]] = body[1];
	c->got++;
}

static void on_cancelled(struct queue_consumer *q)
{
	((struct consumer *)q)->cancelled = true;
}

static void on_attached(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	(void)r;
	(void)d;
	assert_int_equal(a->status, MACHINE_OK);
	assert_false(cons.attached);
	cons.attached = true;
}

static void on_not_attached(
	struct queue_request *r, const struct machine_answer *a, const struct queue_delivery *d)
{
	(void)r;
	(void)d;
	assert_int_equal(a->status, MACHINE_UNAVAILABLE);
}

static void begin(uint64_t seed)
{
	nodes_open(&w, seed);
	for (unsigned i = 0; i < NODES; i++)
		pubs[i] = (struct publisher){.base.settled = on_settled, .node = &w.node[i]};
	cons = (struct consumer){
		.base = {.deliver = on_deliver, .cancelled = on_cancelled}};
	cons.attach.done = on_attached;
}

static void consume_at(unsigned i)
{
	cons.base.no = queue_clients_number(w.node[i].clients);
	queue_attach(queue_clients_get(w.node[i].clients, GROUP), &cons.base,
		&(struct command_attach){.consumer = cons.base.no,
			.prefetch = 50,
			.credit_bytes = 1 << 30,
			.tag = slice_str("t")},
		&cons.attach);
}

/* A millisecond in which everybody who wants to publishes a little and something is acknowledged. */
static void work(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct publisher *p = &pubs[i];
		unsigned n = nodes_random(&w) % PER_TURN_MAX;
		while (w.node[i].alive && n-- > 0 && p->sent < p->wanted &&
			p->sent - p->confirmed - p->refused < WINDOW)
			publish(p);
	}
	if (cons.number > cons.acked && nodes_random(&w) % 3 == 0) {
		uint64_t to = cons.acked + 1 + nodes_random(&w) % (cons.number - cons.acked);
		queue_settle(&cons.base, cons.acked + 1, to, SETTLE_ACK);
		cons.acked = to;
	}
	nodes_run(&w, 1);
}

static bool all_is_done(void)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < NODES; i++) {
		if (!w.node[i].alive)
			continue;
		if (pubs[i].confirmed + pubs[i].refused < pubs[i].wanted)
			return false;
		sum += pubs[i].confirmed;
	}
	return cons.got >= sum && cons.acked == cons.number;
}

static void work_until_done(unsigned ms)
{
	while (ms-- > 0 && !all_is_done())
		work();
	if (!all_is_done())
		for (unsigned i = 0; i < NODES; i++)
			fprintf(stderr, "node %u %s%s: sent %u confirmed %u refused %u got from it %u\n",
				i, w.node[i].alive ? "alive" : "dead",
				&w.node[i] == nodes_leader(&w) ? " leads" : "", pubs[i].sent,
				pubs[i].confirmed, pubs[i].refused, cons.last[i]);
	assert_true(all_is_done());
}

static bool is_led(struct nodes *nodes)
{
	return nodes_leader(nodes) != NULL;
}

static bool is_empty_everywhere(struct nodes *nodes)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct machine_counts n;
		if (!nodes->node[i].alive)
			continue;
		assert_true(queue_hosts_counts(nodes->node[i].hosts, GROUP, &n));
		if (n.ready + n.unacked > 0)
			return false;
	}
	return true;
}

static void want(uint32_t n)
{
	for (unsigned i = 0; i < NODES; i++)
		pubs[i].wanted = n;
}

static void end(void)
{
	/* What a publisher sent that died before it was confirmed may come still. */
	for (unsigned ms = 0; ms < 3000 && !is_empty_everywhere(&w); ms++)
		work();
	assert_true(is_empty_everywhere(&w));
	if (cons.base.client != NULL)
		queue_cancel(&cons.base, true, NULL);
	nodes_run(&w, 50);
	nodes_close(&w);
}

static void nothing_refused(void)
{
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(pubs[i].refused, 0);
	assert_false(cons.cancelled);
}

/* ---- tests ---- */

static void a_new_queue_is_led_and_takes_commands_within_milliseconds(void **state)
{
	(void)state;
	begin(1);
	pubs[0].wanted = 1;
	publish(&pubs[0]);
	for (unsigned ms = 0; ms < 40 && pubs[0].confirmed == 0; ms++)
		nodes_run(&w, 1);
	assert_int_equal(pubs[0].confirmed, 1);
	consume_at(1);
	work_until_done(500);
	end();
}

static void all_nodes_publish_and_one_consumes(void **state)
{
	(void)state;
	begin(2);
	consume_at(2);
	want(500);
	work_until_done(5000);
	assert_int_equal(cons.got, 3 * 500);
	nothing_refused();
	end();
}

static void when_the_leaders_node_dies_nothing_is_lost_or_doubled(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		begin(seed);
		nodes_until(&w, is_led, 2000);
		unsigned leader = nodes_leader(&w)->i;
		consume_at((leader + 1) % NODES);
		want(400);
		for (unsigned ms = 30 + nodes_random(&w) % 100; ms > 0; ms--)
			work();
		nodes_kill(&w, leader);
		for (unsigned ms = 0; ms < 450 && !is_led(&w); ms++)
			work();
		assert_true(is_led(&w));
		w.node[leader].declared_down = true;
		for (unsigned i = 0; i < NODES; i++)
			if (w.node[i].alive)
				queue_hosts_node_gone(w.node[i].hosts, (uint16_t)(leader + 1), 1);
		work_until_done(10000);
		nothing_refused();
		end();
	}
}

/* The members still believe in the leader that has just died: who comes now waits for the next one, not
 * for an answer of that one. */
static void who_comes_when_the_leader_has_died_waits_for_the_next_one_only(void **state)
{
	(void)state;
	for (uint64_t seed = 50; seed < 80; seed++) {
		begin(seed);
		nodes_until(&w, is_led, 2000);
		unsigned leader = nodes_leader(&w)->i, comer = (leader + 1 + (unsigned)seed % 2) % NODES;
		nodes_run(&w, 200);
		nodes_kill(&w, leader);
		nodes_run(&w, 1);
		pubs[comer].wanted = 1;
		publish(&pubs[comer]);
		for (unsigned ms = 0; ms < 600 && pubs[comer].confirmed == 0; ms++)
			nodes_run(&w, 1);
		assert_int_equal(pubs[comer].confirmed, 1);
		consume_at(comer);
		work_until_done(1000);
		end();
	}
}

/* Leadership moves although everybody lives. */
static void when_leadership_is_handed_over_nothing_is_lost_or_doubled(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 120; seed++) {
		begin(seed);
		nodes_until(&w, is_led, 2000);
		consume_at(0);
		want(600);
		for (unsigned n = 0; n < 6; n++) {
			for (unsigned ms = 10 + nodes_random(&w) % 40; ms > 0; ms--)
				work();
			struct test_node *l = nodes_leader(&w);
			if (l != NULL)
				group_transfer(queue_hosts_group(l->hosts, GROUP), 0, NULL, NULL);
		}
		work_until_done(10000);
		nothing_refused();
		end();
	}
}

static void whatever_links_break_nothing_is_lost_or_doubled(void **state)
{
	(void)state;
	for (uint64_t seed = 200; seed < 300; seed++) {
		begin(seed);
		consume_at((unsigned)seed % NODES);
		want(400);
		for (unsigned n = 0; n < 12; n++) {
			unsigned a = nodes_random(&w) % NODES;
			unsigned b = (a + 1 + nodes_random(&w) % (NODES - 1)) % NODES;
			bool up = nodes_random(&w) % 2;
			nodes_link(&w, a, b, up);
			for (unsigned ms = 1 + nodes_random(&w) % 400; ms > 0; ms--)
				work();
		}
		for (unsigned a = 0; a < NODES; a++)
			for (unsigned b = a + 1; b < NODES; b++)
				nodes_link(&w, a, b, true);
		work_until_done(20000);
		nothing_refused();
		end();
	}
}

/* Without a majority for longer than clients are patient: what is under way is given up, what comes
 * later goes on. */
static void what_nobody_serves_is_given_up_and_comes_back(void **state)
{
	(void)state;
	for (uint64_t seed = 400; seed < 410; seed++) {
		begin(seed);
		nodes_until(&w, is_led, 2000);
		consume_at(0);
		want(100);
		for (unsigned ms = 0; ms < 40; ms++)
			work();
		for (unsigned k = 1; k < NODES; k++)
			nodes_link(&w, 0, k, false);
		nodes_link(&w, 1, 2, false);
		for (unsigned ms = 0; ms < QUEUE_PATIENCE_MS + 4000; ms++)
			work();
		assert_true(cons.cancelled);
		for (unsigned a = 0; a < NODES; a++)
			for (unsigned b = a + 1; b < NODES; b++)
				nodes_link(&w, a, b, true);
		nodes_until(&w, is_led, 5000);
		/* A new consumer gets whatever is left; some of it was with the former one. */
		want(200);
		for (unsigned ms = 0; ms < 5000; ms++) {
			cons.acked = cons.number;
			work();
		}
		for (unsigned i = 0; i < NODES; i++)
			assert_int_equal(pubs[i].confirmed + pubs[i].refused, 200);
		nodes_close(&w);
	}
}

static void what_a_dead_nodes_client_held_returns(void **state)
{
	(void)state;
	struct machine_counts n;
	begin(500);
	nodes_until(&w, is_led, 2000);
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	consume_at(other);
	pubs[leader].wanted = 30;
	for (unsigned ms = 0; ms < 100; ms++) {
		if (pubs[leader].sent < 30)
			publish(&pubs[leader]);
		nodes_run(&w, 1);
	}
	assert_true(queue_hosts_counts(w.node[leader].hosts, GROUP, &n));
	assert_int_equal(n.unacked, 30);
	nodes_kill(&w, other);
	w.node[other].declared_down = true;
	for (unsigned i = 0; i < NODES; i++)
		if (w.node[i].alive)
			queue_hosts_node_gone(w.node[i].hosts, (uint16_t)(other + 1), 1);
	nodes_run(&w, 100);
	assert_true(queue_hosts_counts(w.node[leader].hosts, GROUP, &n));
	assert_int_equal(n.unacked, 0);
	assert_int_equal(n.ready, 30);
	nodes_close(&w);
}

/* A node is called down, but lives: a link was broken for a while. What its clients send again when it is back must
 * not count twice, and what they attach must not hold messages for nobody. */
static void who_was_called_down_sends_nothing_any_more(void **state)
{
	(void)state;
	struct machine_counts n;
	for (uint64_t seed = 700; seed < 720; seed++) {
		begin(seed);
		nodes_until(&w, is_led, 2000);
		unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
		/* Its first publish arrives; its answer does not. */
		pubs[other].wanted = 1;
		publish(&pubs[other]);
		for (unsigned ms = 0; ms < 100; ms++) {
			nodes_run(&w, 1);
			if (queue_hosts_counts(w.node[leader].hosts, GROUP, &n) && n.ready == 1)
				break;
		}
		assert_int_equal(n.ready, 1);
		bool told = pubs[other].confirmed == 1;
		for (unsigned k = 0; k < NODES; k++)
			if (k != other)
				nodes_link(&w, other, k, false);
		nodes_run(&w, 100);
		cons.attach.done = on_not_attached;
		consume_at(other);
		nodes_run(&w, 50);
		w.node[other].declared_down = true;
		for (unsigned i = 0; i < NODES; i++)
			queue_hosts_node_gone(w.node[i].hosts, (uint16_t)(other + 1), 1);
		nodes_run(&w, 100);
		for (unsigned k = 0; k < NODES; k++)
			if (k != other)
				nodes_link(&w, other, k, true);
		nodes_run(&w, 2000);
		assert_true(told || pubs[other].refused == 1);
		assert_true(cons.cancelled);
		assert_true(queue_hosts_counts(nodes_leader(&w)->hosts, GROUP, &n));
		assert_int_equal(n.ready, 1);
		assert_int_equal(n.unacked, 0);
		assert_int_equal(n.consumers, 0);
		nodes_close(&w);
	}
}

/* It was on its way when its node was called down. */
static void what_arrives_behind_the_end_of_a_life_ends_with_it(void **state)
{
	(void)state;
	struct machine_counts n;
	begin(750);
	nodes_until(&w, is_led, 2000);
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	consume_at(other);
	while (group_backlog(queue_hosts_group(w.node[leader].hosts, GROUP)) == 0)
		nodes_run(&w, 1);
	assert_true(queue_hosts_counts(w.node[leader].hosts, GROUP, &n));
	assert_int_equal(n.consumers, 0);
	w.node[other].declared_down = true;
	for (unsigned i = 0; i < NODES; i++)
		queue_hosts_node_gone(w.node[i].hosts, (uint16_t)(other + 1), 1);
	nodes_run(&w, 200);
	assert_true(queue_hosts_counts(w.node[leader].hosts, GROUP, &n));
	assert_int_equal(n.consumers, 0);
	nodes_close(&w);
}

/* It was cancelled while its node reached nobody, for longer than anybody waits: nobody consumes any more, but the
 * leader does not know. */
static void what_a_consumer_held_returns_though_its_cancelling_was_given_up(void **state)
{
	(void)state;
	struct machine_counts n;
	begin(650);
	nodes_until(&w, is_led, 2000);
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	consume_at(other);
	nodes_run(&w, 50);
	for (unsigned i = 0; i < 5; i++)
		publish(&pubs[leader]);
	nodes_run(&w, 50);
	assert_int_equal(cons.number, 5);
	for (unsigned k = 0; k < NODES; k++)
		if (k != other)
			nodes_link(&w, other, k, false);
	nodes_run(&w, 2000);
	queue_cancel(&cons.base, true, NULL);
	nodes_run(&w, QUEUE_PATIENCE_MS + 4000);
	assert_true(queue_hosts_counts(nodes_leader(&w)->hosts, GROUP, &n));
	assert_int_equal(n.unacked, 5);
	for (unsigned k = 0; k < NODES; k++)
		if (k != other)
			nodes_link(&w, other, k, true);
	nodes_run(&w, 2000);
	publish(&pubs[other]); /* the client is used again */
	nodes_run(&w, 500);
	assert_int_equal(pubs[other].confirmed, 1);
	assert_true(queue_hosts_counts(nodes_leader(&w)->hosts, GROUP, &n));
	assert_int_equal(n.consumers, 0);
	assert_int_equal(n.unacked, 0);
	assert_int_equal(n.ready, 6);
	nodes_close(&w);
}

/* x-cancel-on-ha-failover */
static void a_consumer_that_wants_it_ends_when_another_node_leads(void **state)
{
	(void)state;
	struct machine_counts n;
	begin(600);
	nodes_until(&w, is_led, 2000);
	unsigned leader = nodes_leader(&w)->i, other = (leader + 1) % NODES;
	cons.base.ends_at_failover = true;
	consume_at(other);
	nodes_run(&w, 50);
	assert_true(cons.attached);
	pubs[other].wanted = 5;
	for (unsigned i = 0; i < 5; i++)
		publish(&pubs[other]);
	nodes_run(&w, 50);
	assert_int_equal(cons.number, 5);
	nodes_kill(&w, leader);
	nodes_run(&w, 500);
	assert_true(cons.cancelled);
	assert_null(cons.base.client);
	nodes_run(&w, 200);
	assert_true(queue_hosts_counts(nodes_leader(&w)->hosts, GROUP, &n));
	assert_int_equal(n.consumers, 0);
	assert_int_equal(n.ready, 5);
	nodes_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_queue_is_led_and_takes_commands_within_milliseconds),
		cmocka_unit_test(all_nodes_publish_and_one_consumes),
		cmocka_unit_test(when_the_leaders_node_dies_nothing_is_lost_or_doubled),
		cmocka_unit_test(who_comes_when_the_leader_has_died_waits_for_the_next_one_only),
		cmocka_unit_test(when_leadership_is_handed_over_nothing_is_lost_or_doubled),
		cmocka_unit_test(whatever_links_break_nothing_is_lost_or_doubled),
		cmocka_unit_test(what_nobody_serves_is_given_up_and_comes_back),
		cmocka_unit_test(what_a_dead_nodes_client_held_returns),
		cmocka_unit_test(who_was_called_down_sends_nothing_any_more),
		cmocka_unit_test(what_arrives_behind_the_end_of_a_life_ends_with_it),
		cmocka_unit_test(what_a_consumer_held_returns_though_its_cancelling_was_given_up),
		cmocka_unit_test(a_consumer_that_wants_it_ends_when_another_node_leads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

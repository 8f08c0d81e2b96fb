/* SPDX-License-Identifier: Apache-2.0
 *
 * Two or three nodes over loopback.
 */
#include "tests/unit/cluster/nodes.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raft/groups.h"
#include "src/base/mem.h"
#include "src/cluster/caller.h"
#include "tests/lib/certificate.h"
#include "tests/lib/tcp.h"

enum { MB = 1024 * 1024 };

static int log_fd; /* what goes to stderr */

/* Times with which a busy machine takes nobody for dead. */
static const struct link_limits patient = {50, 300000, 60000};
/* With which tests of silence do not take long; and those of who does not greet. */
static const struct link_limits attentive = {50, 1500, 60000}, hasty = {20, 300000, 300};

static int setup(void **state)
{
	(void)state;
	nodes_limits = patient;
	nodes_cookie = "ABCDEFGHIJKLMNOPQRST";
	nodes_control = NULL;
	nodes_tls = NULL;
	return 0;
}

static int setup_tls(void **state)
{
	setup(state);
	nodes_tls = certificate_context();
	return nodes_tls != NULL ? 0 : -1;
}

/* How often the log has this line's part since the last call of log_forget(). */
static off_t log_from;

static void log_forget(void)
{
	log_from = lseek(log_fd, 0, SEEK_END);
}

static unsigned log_count(const char *text)
{
	off_t n = lseek(log_fd, 0, SEEK_END) - log_from;
	char *all = mem_zalloc((size_t)n + 1);
	unsigned count = 0;
	assert_int_equal(pread(log_fd, all, (size_t)n, log_from), n);
	for (const char *at = all; (at = strstr(at, text)) != NULL; at++)
		count++;
	mem_free(all);
	return count;
}

static bool nothing_wrong(struct node *n)
{
	for (unsigned i = 0; i < NODE_WORKERS; i++)
		for (unsigned k = 0; k < PEERS_MAX; k++)
			if (n->desks[i].seen[k].wrong > 0)
				return false;
	return true;
}

static uint64_t messages(struct node *n, unsigned worker, uint64_t from)
{
	return node_seen(n, worker, from)->messages;
}

/* ---- good days ---- */

static void test_messages_of_each_kind_reach_their_worker(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 5);
	nodes_join(a, b);
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	assert_int_equal(node_seen(a, 1, 2)->incarnation, 5);
	for (unsigned w = 0; w < NODE_WORKERS; w++) {
		node_send(a, w, 2, ENVELOPE_SECTION, 0, 10, 100);
		node_send(a, w, 2, ENVELOPE_SECTION, 0, 11, 100);
		node_send(a, w, 2, ENVELOPE_EVENTS, 1, 10, 0);
		node_send(b, w, 1, ENVELOPE_EVENTS, 0, 11, MB);
		node_send(b, w, 1, ENVELOPE_REPLY, 1, 0, 3);
		node_send(b, w, 1, ENVELOPE_CATALOG, 1, 0, 3);
		node_send(b, w, 1, ENVELOPE_CALL, 1, 0, 3);
		node_send(b, w, 1, ENVELOPE_EVENTS, 77, 0, 3); /* of a start with more workers */
		node_send(b, w, 1, (enum envelope_kind)99, 0, 0, 3);
	}
	WAIT(messages(b, 0, 1) == 2 && messages(b, 1, 1) == 4);
	WAIT(messages(a, 0, 2) == 6 && messages(a, 1, 2) == 2);
	assert_true(nothing_wrong(a) && nothing_wrong(b));
	node_stop(a);
	node_stop(b);
}

static void test_a_message_of_raft_comes_back_when_it_is_written(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	node_raft(a, 1, 2, 5, 100); /* no link yet */
	WAIT(a->desks[1].done == 5);
	assert_int_equal(a->desks[1].lost, 5);
	nodes_join(a, b);
	WAIT(node_linked(a, 2));
	for (unsigned w = 0; w < NODE_WORKERS; w++) {
		uint64_t done = a->desks[w].done, lost = a->desks[w].lost;
		node_raft(a, w, 2, 1000, 3000);
		WAIT(a->desks[w].done == done + 1000);
		assert_int_equal(a->desks[w].lost, lost);
	}
	node_stop(a);
	node_stop(b);
}

static void test_three_nodes_have_a_link_each(void **state)
{
	(void)state;
	struct node *n[3];
	for (unsigned i = 0; i < 3; i++)
		n[i] = node_start(i + 1, 1);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < i; k++)
			nodes_join(n[i], n[k]);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			if (i != k)
				WAIT(node_linked(n[i], k + 1));
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			if (i != k)
				node_send(n[i], 1, k + 1, ENVELOPE_CATALOG, 0, 0, 10 * i + k);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			if (i != k)
				WAIT(node_seen(n[k], 0, i + 1)->octets == 10 * i + k);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(nothing_wrong(n[i]));
		node_stop(n[i]);
	}
}

/* Both dial at the same moment, again and again: in the end one link stays, and it works. */
static void test_of_two_connections_one_stays(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	nodes_join(a, b);
	for (unsigned i = 1; i <= 30; i++) {
		WAIT(node_linked(a, 2) && node_linked(b, 1));
		node_send(a, 0, 2, ENVELOPE_CATALOG, 0, 0, 1);
		node_forget_peer(a, 2);
		node_forget_peer(b, 1);
		nodes_join(a, b);
	}
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	/* It has settled when a message has gone there and back. */
	uint64_t before = messages(b, 0, 1);
	WAIT((node_send(a, 0, 2, ENVELOPE_CATALOG, 0, 0, 1), messages(b, 0, 1) > before));
	before = messages(a, 0, 2);
	WAIT((node_send(b, 0, 1, ENVELOPE_CATALOG, 0, 0, 1), messages(a, 0, 2) > before));
	assert_true(node_peer(a, 2).up && node_peer(b, 1).up);
	assert_true(nothing_wrong(a) && nothing_wrong(b));
	node_stop(a);
	node_stop(b);
}

/* A slow link. */
struct busy {
	struct node *a, *b;
	struct proxy *p;
};

static struct busy busy_open(void)
{
	struct busy l = {node_start(1, 1), node_start(2, 1), NULL};
	l.p = proxy_new(l.b->port);
	node_set_peer(l.a, 2, proxy_port(l.p));
	node_set_peer(l.b, 1, 1);
	WAIT(node_linked(l.a, 2) && node_linked(l.b, 1));
	proxy_slow(l.p, 32 * 1024);
	return l;
}

static void busy_close(struct busy *l)
{
	node_stop(l->a);
	node_stop(l->b);
	proxy_free(l->p);
}

static void test_urgent_messages_overtake_a_big_one(void **state)
{
	(void)state;
	struct busy l = busy_open();
	node_send(l.a, 1, 2, ENVELOPE_EVENTS, 1, 0, 64 * MB);
	WAIT(node_peer(l.a, 2).sent > 4 * MB); /* it is on its way */
	node_send(l.a, 1, 2, ENVELOPE_CATALOG, 0, 0, 10);
	WAIT(messages(l.b, 0, 1) == 1);
	assert_int_equal(messages(l.b, 1, 1), 0);
	proxy_slow(l.p, 0);
	WAIT(messages(l.b, 1, 1) == 1);
	busy_close(&l);
}

static void test_signs_of_life_and_the_metadata_overtake_entries(void **state)
{
	(void)state;
	struct busy l = busy_open();
	_Atomic uint64_t *entries = &l.a->desks[1].done, *others = &l.a->desks[0].done;
	node_raft_of(l.a, 1, 2, 1, false, 32 * MB);
	WAIT(node_peer(l.a, 2).sent > 4 * MB);
	node_raft_of(l.a, 0, 2, 0, false, 100);
	node_raft_of(l.a, 0, 2, 1, true, 100);
	WAIT(*others == 2);
	assert_int_equal(*entries, 0);
	proxy_slow(l.p, 0);
	WAIT(*entries == 1);
	busy_close(&l);
}

/* ---- losses ---- */

/* A's connections to B go through the proxy, and B cannot reach A. */
struct way {
	struct node *a, *b;
	struct proxy *p;
};

static struct way way_open(void)
{
	struct way w = {node_start(1, 1), node_start(2, 1), NULL};
	w.p = proxy_new(w.b->port);
	node_set_peer(w.b, 1, 1);
	node_set_peer(w.a, 2, proxy_port(w.p));
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	return w;
}

static void way_close(struct way *w)
{
	assert_true(nothing_wrong(w->a) && nothing_wrong(w->b));
	node_stop(w->a);
	node_stop(w->b);
	proxy_free(w->p);
}

static void test_a_cut_connection_is_down_at_once_and_comes_back(void **state)
{
	(void)state;
	struct way w = way_open();
	for (unsigned i = 1; i <= 10; i++) {
		node_raft(w.a, 0, 2, 10, 1000);
		proxy_cut(w.p);
		for (unsigned k = 0; k < NODE_WORKERS; k++)
			WAIT(node_seen(w.a, k, 2)->ups == i + 1 &&
				node_seen(w.b, k, 1)->ups == i + 1);
		assert_int_equal(node_seen(w.a, 0, 2)->why, LINK_CLOSED);
	}
	node_send(w.a, 1, 2, ENVELOPE_CATALOG, 0, 0, 10);
	WAIT(messages(w.b, 0, 1) == 1);
	WAIT(w.a->desks[0].done == 100);
	way_close(&w);
}

static void test_a_silent_peer_is_down(void **state)
{
	(void)state;
	nodes_limits = attentive;
	struct way w = way_open();
	proxy_hold(w.p, true);
	WAIT(node_seen(w.a, 1, 2)->downs > 0 && node_seen(w.b, 1, 1)->downs > 0);
	assert_int_equal(node_seen(w.a, 1, 2)->why, LINK_SILENT);
	assert_int_equal(node_seen(w.b, 1, 1)->why, LINK_SILENT);
	proxy_hold(w.p, false);
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	way_close(&w);
}

static void test_an_idle_link_stays(void **state)
{
	(void)state;
	nodes_limits = (struct link_limits){20, 3000, 3000};
	struct way w = way_open();
	usleep(500 * 1000);
	uint64_t heard = node_peer(w.a, 2).received;
	WAIT(node_peer(w.a, 2).received > heard + 100); /* heartbeats */
	assert_int_equal(node_seen(w.a, 0, 2)->downs, 0);
	way_close(&w);
}

static void test_a_node_that_stops_says_goodbye(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	log_forget();
	nodes_join(a, b);
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	node_stop(b);
	WAIT(node_seen(a, 0, 2)->downs == 1 && node_seen(a, 1, 2)->downs == 1);
	assert_int_equal(node_seen(a, 0, 2)->why, LINK_CLOSED);
	assert_int_equal(log_count("link to warren@n2 lost (closed): goodbye: warren@n2 stops"), 1);
	node_stop(a);
}

static void test_a_restarted_node_is_another_incarnation(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1);
	for (uint64_t i = 1; i <= 3; i++) {
		struct node *b = node_start(2, i);
		nodes_join(a, b);
		WAIT(node_linked(a, 2) && node_linked(b, 1));
		assert_int_equal(node_seen(a, 1, 2)->incarnation, i);
		node_stop(b);
		WAIT(node_seen(a, 0, 2)->downs == i && node_seen(a, 1, 2)->downs == i);
	}
	assert_true(nothing_wrong(a));
	node_stop(a);
}

static void test_a_forgotten_peer_loses_its_link(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	nodes_join(a, b);
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	node_forget_peer(a, 2);
	WAIT(node_seen(a, 0, 2)->downs == 1 && node_seen(a, 1, 2)->downs == 1);
	assert_int_equal(node_seen(a, 0, 2)->why, LINK_REFUSED);
	WAIT(strstr(node_peer(b, 1).error, "is not a member of the cluster of warren@n1") != NULL);
	node_stop(a);
	node_stop(b);
}

/* What is sent for a link that is gone must not go over the next one: who sends does not know yet
 * that there was a loss in between. */
struct stall {
	sem_t inside, go;
	struct desk *desk;
};

static void stall_then_send(void *arg)
{
	struct stall *s = arg;
	sem_post(&s->inside);
	while (sem_wait(&s->go) != 0)
		;
	link_port_send_copy(
		s->desk->port, 2, &(struct envelope){.kind = ENVELOPE_CATALOG}, slice_str("late"));
	link_port_flush(s->desk->port);
}

static void *stall_thread(void *arg)
{
	struct stall *s = arg;
	node_run(s->desk->node, 1, stall_then_send, s);
	return NULL;
}

static void test_what_was_meant_for_a_lost_link_is_lost(void **state)
{
	(void)state;
	struct way w = way_open();
	struct stall s = {.desk = &w.a->desks[1]};
	pthread_t t;
	sem_init(&s.inside, 0, 0);
	sem_init(&s.go, 0, 0);
	pthread_create(&t, NULL, stall_thread, &s);
	sem_wait(&s.inside);
	proxy_cut(w.p);
	WAIT(node_seen(w.a, 0, 2)->ups == 2 && node_seen(w.b, 0, 1)->ups == 2);
	assert_int_equal(node_seen(w.a, 1, 2)->ups, 1); /* it has not heard */
	sem_post(&s.go);
	pthread_join(t, NULL);
	WAIT(node_seen(w.a, 1, 2)->ups == 2);
	node_send(w.a, 1, 2, ENVELOPE_CATALOG, 0, 0, 1000);
	WAIT(messages(w.b, 0, 1) == 1);
	assert_int_equal(node_seen(w.b, 0, 1)->octets, 1000);
	way_close(&w);
}

/* ---- slow ones ---- */

static void test_a_slow_reader_costs_bounded_memory(void **state)
{
	(void)state;
	struct way w = way_open();
	proxy_hold(w.p, true);
	uint64_t most = 0;
	for (unsigned i = 0; i < 200; i++) {
		node_raft(w.a, 1, 2, 4, MB);
		uint64_t waiting = node_peer(w.a, 2).waiting;
		most = waiting > most ? waiting : most;
	}
	WAIT(w.a->desks[1].lost > 600);
	assert_true(most <= LINK_WAITING_RAFT_MAX + 2 * MB);
	assert_true(node_linked(w.a, 2)); /* raft mends that */
	/* The others rely on it: then the link is of no use. */
	for (unsigned i = 0; i < 300 && node_seen(w.a, 1, 2)->downs == 0; i++)
		node_send(w.a, 1, 2, ENVELOPE_SECTION, 0, 0, MB);
	WAIT(node_seen(w.a, 1, 2)->downs == 1);
	assert_int_equal(node_seen(w.a, 1, 2)->why, LINK_REFUSED);
	WAIT(w.a->desks[1].done == 800);
	proxy_hold(w.p, false);
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	way_close(&w);
}

struct block {
	sem_t inside, go;
	struct node *node;
};

static void block_here(void *arg)
{
	struct block *b = arg;
	sem_post(&b->inside);
	while (sem_wait(&b->go) != 0)
		;
}

static void *block_thread(void *arg)
{
	struct block *b = arg;
	node_run(b->node, 1, block_here, b);
	return NULL;
}

static void test_a_worker_that_does_not_look_stops_the_reading(void **state)
{
	(void)state;
	struct way w = way_open();
	struct block b = {.node = w.b};
	pthread_t t;
	sem_init(&b.inside, 0, 0);
	sem_init(&b.go, 0, 0);
	pthread_create(&t, NULL, block_thread, &b);
	sem_wait(&b.inside);
	for (unsigned i = 0; i < 200; i++)
		node_send(w.a, 0, 2, ENVELOPE_EVENTS, 1, 0, MB);
	uint64_t before, now = 0;
	WAIT(node_peer(w.b, 1).received > LINKS_UNREAD_MAX);
	do { /* until no more comes */
		before = now;
		usleep(300 * 1000);
		now = node_peer(w.b, 1).received;
	} while (now != before);
	assert_true(now < LINKS_UNREAD_MAX + 16 * MB);
	sem_post(&b.go);
	pthread_join(t, NULL);
	WAIT(messages(w.b, 1, 1) == 200);
	assert_int_equal(node_seen(w.b, 1, 1)->downs, 0);
	way_close(&w);
}

/* ---- who is not welcome ---- */

static void test_another_cookie_is_refused_with_a_line_on_both_ends(void **state)
{
	(void)state;
	log_forget();
	struct node *a = node_start(1, 1);
	nodes_cookie = "another";
	struct node *b = node_start(2, 1);
	node_set_peer(a, 2, b->port);
	WAIT(strcmp(node_peer(a, 2).error, "the cookies of warren@n2 and warren@n1 differ") == 0);
	WAIT(log_count("the cookies of warren@n2 and warren@n1 differ") >= 2);
	usleep(500 * 1000); /* it is tried again, but not told again */
	assert_int_equal(log_count("no link to warren@n2"), 1);
	assert_int_equal(log_count(": the cookies of warren@n2 and warren@n1 differ"), 2);
	assert_false(node_linked(a, 2) || node_linked(b, 1));
	node_stop(a);
	node_stop(b);
}

static void test_who_is_somebody_else_is_refused(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *c = node_start(3, 1);
	log_forget();
	node_set_peer(c, 1, 1);
	node_set_peer(a, 2, c->port);
	WAIT(strstr(node_peer(a, 2).error, "warren@n1 dialled warren@n2 at 127.0.0.1:") != NULL);
	assert_non_null(strstr(node_peer(a, 2).error, ", but reached warren@n3"));
	WAIT(log_count(", but reached warren@n3") == 2);
	assert_int_equal(node_seen(c, 0, 1)->ups, 0);
	node_stop(a);
	node_stop(c);
}

static void test_who_is_no_member_is_refused(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	log_forget();
	node_set_peer(a, 2, b->port);
	WAIT(strcmp(node_peer(a, 2).error,
		     "warren@n1 is not a member of the cluster of warren@n2") == 0);
	WAIT(log_count("warren@n1 is not a member of the cluster of warren@n2") == 2);
	node_set_peer(b, 1, 1); /* now it is */
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	node_stop(a);
	node_stop(b);
}

static void set_cluster(void *arg)
{
	links_set_cluster(((struct node *)arg)->links, 8);
}

static void test_another_cluster_is_refused(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	node_run(b, 0, set_cluster, b);
	nodes_join(a, b);
	WAIT(strstr(node_peer(a, 2).error, "belong to different clusters") != NULL);
	assert_false(node_linked(a, 2));
	node_stop(a);
	node_stop(b);
}

static void test_a_node_does_not_link_with_itself(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1);
	log_forget();
	node_set_peer(a, 2, a->port);
	WAIT(strcmp(node_peer(a, 2).error, "warren@n1 has reached itself") == 0);
	node_set_peer(a, 1, a->port);
	assert_false(node_peer(a, 1).known);
	node_stop(a);
}

static void test_nobody_there_is_told_once(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1);
	log_forget();
	node_set_peer(a, 2, 1);
	WAIT(strcmp(node_peer(a, 2).error, "connection refused") == 0);
	usleep(500 * 1000);
	assert_int_equal(log_count("no link to warren@n2 at 127.0.0.1:1: connection refused"), 1);
	node_stop(a);
}

/* Accepts and says nothing. */
static void test_a_socket_that_never_answers_is_given_up(void **state)
{
	(void)state;
	nodes_limits = hasty;
	struct node *a = node_start(1, 1);
	struct proxy *deaf = proxy_new(1);
	proxy_hold(deaf, true);
	node_set_peer(a, 2, proxy_port(deaf));
	WAIT(strcmp(node_peer(a, 2).error, "no greeting for 300 ms") == 0);
	node_stop(a);
	proxy_free(deaf);
}

static long read_to_end(int fd, void *p, size_t n)
{
	long got = tcp_recv(fd, p, n);
	char more;
	if (got == (long)n)
		return tcp_recv(fd, &more, 1) > 0 ? -2 : got;
	return got;
}

static void test_garbage_and_silence_on_the_port_are_closed(void **state)
{
	(void)state;
	static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "AMQP\0\0\x09\x01",
		"WRNL\x02\0\0\0\0"};
	char answer[64];
	nodes_limits = hasty;
	struct node *a = node_start(1, 1);
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
		int fd = tcp_connect("127.0.0.1", a->port);
		tcp_send(fd, garbage[i], 9);
		assert_int_equal(read_to_end(fd, answer, sizeof answer), 0);
		close(fd);
	}
	int silent = tcp_connect("127.0.0.1", a->port);
	assert_int_equal(read_to_end(silent, answer, sizeof answer), 0);
	close(silent);
	/* Many of them do not keep others out. */
	nodes_limits = patient;
	struct node *b = node_start(2, 1);
	int fds[LINKS_UNPROVED_MAX + 20];
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		fds[i] = tcp_connect("127.0.0.1", b->port);
	node_set_peer(b, 1, 1);
	node_set_peer(a, 2, b->port);
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		close(fds[i]);
	node_stop(a);
	node_stop(b);
}

/* ---- a peer played by the test ---- */

struct player {
	int fd;
	struct handshake h;
	struct handshake_key key;
	struct buf in;
};

static void player_begin(struct player *pl, unsigned port, struct handshake_identity id)
{
	uint8_t nonce[HANDSHAKE_NONCE] = "a nonce of the player";
	struct buf out = BUF_EMPTY;
	*pl = (struct player){.fd = tcp_connect("127.0.0.1", port)};
	handshake_key_make(&pl->key, slice_str(nodes_cookie));
	handshake_begin(&pl->h, HANDSHAKE_DIALLER, &id, &pl->key, nonce, &out);
	tcp_send(pl->fd, out.p, out.n);
	buf_done(&out);
}

static bool player_read(struct player *pl)
{
	char octets[4096];
	ssize_t n = recv(pl->fd, octets, sizeof octets, 0);
	if (n <= 0)
		return false;
	buf_put_bytes(&pl->in, octets, (size_t)n);
	return true;
}

static void player_greet(struct player *pl)
{
	struct buf out = BUF_EMPTY;
	while (pl->h.state == HANDSHAKE_MORE) {
		size_t used = handshake_take(&pl->h, pl->in.p, pl->in.n, &out);
		buf_consume(&pl->in, used);
		if (pl->h.state == HANDSHAKE_ASKS)
			handshake_admit(&pl->h, &out);
		if (out.n > 0)
			tcp_send(pl->fd, out.p, out.n);
		buf_clear(&out);
		if (pl->h.state == HANDSHAKE_MORE)
			assert_true(player_read(pl));
	}
	buf_done(&out);
}

static void player_end(struct player *pl)
{
	close(pl->fd);
	handshake_done(&pl->h);
	buf_done(&pl->in);
}

static struct handshake_identity player_identity(enum handshake_kind kind)
{
	return (struct handshake_identity){.version_min = HANDSHAKE_VERSION,
		.version_max = HANDSHAKE_VERSION,
		.kind = kind,
		.node_id = 2,
		.incarnation = 1,
		.name = "warren@n2",
		.product = "9.9"};
}

static void test_another_version_is_refused_and_both_are_named(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1);
	struct player pl;
	struct handshake_identity id = player_identity(HANDSHAKE_LINK);
	id.version_min = HANDSHAKE_VERSION + 1;
	id.version_max = HANDSHAKE_VERSION + 2;
	log_forget();
	player_begin(&pl, a->port, id);
	player_greet(&pl);
	assert_int_equal(pl.h.state, HANDSHAKE_FAILED);
	assert_int_equal(pl.h.code, HANDSHAKE_VERSION_UNKNOWN);
	const char text[] = "warren@n1 (Warren 0.0) speaks version 3 of the link protocol, "
			    "warren@n2 (Warren 9.9) versions 4 to 5";
	assert_string_equal(pl.h.text, text);
	WAIT(log_count(text) == 1);
	player_end(&pl);
	node_stop(a);
}

static void on_left(void *arg)
{
	(void)arg;
}

static void start_again(void *arg)
{
	struct node *n = arg;
	links_leave(n->links, on_left, NULL);
	links_set_self(n->links, n->id, 2, 0);
}

/* The node's app goes down and up while somebody is greeting it: who has heard of the former life is sent away. */
static void test_a_greeting_of_a_former_life_comes_to_nothing(void **state)
{
	(void)state;
	struct node *a = node_start(1, 1);
	struct player pl;
	struct buf out = BUF_EMPTY;
	node_set_peer(a, 2, 1);
	player_begin(&pl, a->port, player_identity(HANDSHAKE_LINK));
	while (pl.h.state == HANDSHAKE_MORE) {
		assert_true(player_read(&pl));
		buf_consume(&pl.in, handshake_take(&pl.h, pl.in.p, pl.in.n, &out));
	}
	assert_int_equal(pl.h.state, HANDSHAKE_ASKS);
	assert_int_equal(pl.h.peer.incarnation, 1);
	node_run(a, 0, start_again, a);
	node_set_peer(a, 2, 1);
	handshake_admit(&pl.h, &out);
	tcp_send(pl.fd, out.p, out.n);
	do
		assert_int_equal(node_seen(a, 0, 2)->ups, 0);
	while (player_read(&pl));
	player_end(&pl);
	player_begin(&pl, a->port, player_identity(HANDSHAKE_LINK));
	player_greet(&pl);
	assert_int_equal(pl.h.state, HANDSHAKE_DONE);
	assert_int_equal(pl.h.peer.incarnation, 2);
	player_end(&pl);
	buf_done(&out);
	node_stop(a);
}

/* Frames that make no sense, from a member with the right cookie. */
static void test_nonsense_ends_the_link(void **state)
{
	(void)state;
	static const uint8_t frame[] = {1, 0, 0, 0, 9, 9, 9, 9, 0};
	static const uint8_t message[] = {20, 0, 0, 0, 1, 3, 0, 0, 16, 0, 0, 0, /* envelope: */ 1,
		99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const struct slice nonsense[] = {{frame, sizeof frame}, {message, sizeof message}};
	struct node *a = node_start(1, 1);
	node_set_peer(a, 2, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct player pl;
		char rest[512];
		player_begin(&pl, a->port, player_identity(HANDSHAKE_LINK));
		player_greet(&pl);
		assert_int_equal(pl.h.state, HANDSHAKE_DONE);
		tcp_send(pl.fd, nonsense[i].p, nonsense[i].n);
		WAIT(node_seen(a, 1, 2)->downs == i + 1);
		assert_int_equal(node_seen(a, 1, 2)->why, LINK_REFUSED);
		assert_true(tcp_recv(pl.fd, rest, sizeof rest) > 8); /* a goodbye, and the end */
		player_end(&pl);
	}
	node_stop(a);
}

static bool refuse_message(
	struct desk *d, uint64_t node, const struct envelope *e, struct slice octets)
{
	(void)d;
	(void)node;
	(void)e;
	return octets.n != 13;
}

static void refuse_messages(void *arg)
{
	((struct desk *)arg)->on_message = refuse_message;
}

static void test_a_worker_that_understands_nothing_ends_the_link(void **state)
{
	(void)state;
	struct way w = way_open();
	node_run(w.b, 1, refuse_messages, &w.b->desks[1]);
	node_send(w.a, 0, 2, ENVELOPE_EVENTS, 1, 0, 12);
	WAIT(messages(w.b, 1, 1) == 1);
	node_send(w.a, 0, 2, ENVELOPE_EVENTS, 1, 0, 13);
	WAIT(node_seen(w.b, 1, 1)->downs == 1 && node_seen(w.a, 0, 2)->downs == 1);
	assert_int_equal(node_seen(w.b, 1, 1)->why, LINK_REFUSED);
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	way_close(&w);
}

static uint64_t groups_now(void *arg)
{
	(void)arg;
	return 1;
}

static uint32_t groups_random(void *arg)
{
	(void)arg;
	return 4;
}

struct late_groups {
	struct link_port *port;
	struct groups *gs;
};

static void set_groups(void *arg)
{
	struct late_groups *l = arg;
	link_port_set_groups(l->port, l->gs);
}

static void test_messages_of_raft_go_to_the_groups(void **state)
{
	(void)state;
	struct way w = way_open();
	struct store_port port;
	store_port_init(&port, NULL, NULL, NULL);
	groups_global_init();
	struct groups *gs = groups_new(&(struct groups_config){
		.port = &port, .now_ms = groups_now, .random = groups_random});
	node_run(w.b, 0, set_groups, &(struct late_groups){w.b->desks[0].port, gs});
	node_raft(w.a, 1, 2, 1, 100); /* zeros: no version */
	WAIT(node_seen(w.b, 0, 1)->downs == 1);
	assert_int_equal(node_seen(w.b, 0, 1)->why, LINK_REFUSED);
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	way_close(&w);
	groups_free(gs);
	store_port_done(&port);
}

/* ---- control connections ---- */

static struct caller_request *_Atomic kept;

/* Says it twice; keeps what begins with "keep". */
static void answer(void *arg, struct caller_request *call)
{
	(void)arg;
	if (call->octets.n >= 4 && memcmp(call->octets.p, "keep", 4) == 0) {
		kept = call;
		return;
	}
	struct buf b = BUF_EMPTY;
	buf_put_slice(&b, call->octets);
	buf_put_slice(&b, call->octets);
	caller_reply(call, buf_slice(&b));
	buf_done(&b);
}

static void put_request(struct buf *b, struct slice s)
{
	buf_put_u32be(b, (uint32_t)s.n);
	buf_put_slice(b, s);
}

static void assert_reply(struct player *pl, size_t n, uint8_t first)
{
	while (pl->in.n < 4 || pl->in.n < 4 + load_u32be(pl->in.p))
		assert_true(player_read(pl));
	assert_int_equal(load_u32be(pl->in.p), n);
	if (n > 0)
		assert_int_equal(pl->in.p[4], first);
	buf_consume(&pl->in, 4 + n);
}

static struct player control_open(struct node *n)
{
	struct player pl;
	struct handshake_identity tool = player_identity(HANDSHAKE_CONTROL);
	tool.node_id = 0;
	player_begin(&pl, n->port, tool);
	player_greet(&pl);
	assert_int_equal(pl.h.state, HANDSHAKE_DONE);
	return pl;
}

static void reply_kept(void *arg)
{
	caller_reply(kept, slice_str(arg));
	kept = NULL;
}

static void test_control_connections_carry_calls(void **state)
{
	(void)state;
	nodes_control = answer;
	struct node *a = node_start(1, 1);
	struct player pl = control_open(a);
	struct buf b = BUF_EMPTY;
	uint8_t *big = mem_zalloc(3 * MB);
	put_request(&b, slice_str("ab"));
	put_request(&b, slice_str(""));
	put_request(&b, slice_make(big, 3 * MB));
	put_request(&b, slice_str("keep"));
	put_request(&b, slice_str("xyz"));
	tcp_send(pl.fd, b.p, b.n);
	assert_reply(&pl, 4, 'a');
	assert_reply(&pl, 0, 0);
	assert_reply(&pl, 6 * MB, 0);
	WAIT(kept != NULL);
	node_run(a, 0, reply_kept, (void *)(uintptr_t) "late");
	assert_reply(&pl, 4, 'l');
	assert_reply(&pl, 6, 'x');
	/* Gone before the reply. */
	buf_clear(&b);
	put_request(&b, slice_str("keep"));
	tcp_send(pl.fd, b.p, b.n);
	WAIT(kept != NULL);
	player_end(&pl);
	node_run(a, 0, reply_kept, (void *)(uintptr_t) "too late");
	/* Too long. */
	pl = control_open(a);
	tcp_send(pl.fd, "\x7f\xff\xff\xff", 4);
	assert_false(player_read(&pl));
	player_end(&pl);
	/* One is open at the end. */
	pl = control_open(a);
	node_stop(a);
	player_end(&pl);
	buf_done(&b);
	mem_free(big);
}

struct asking {
	struct way *way;
	char why[256];
	_Atomic bool over;
};

static void on_asked(void *arg, struct slice reply, const char *why)
{
	struct asking *a = arg;
	assert_int_equal(reply.n, 0);
	snprintf(a->why, sizeof a->why, "%s", why);
	a->over = true;
}

static void ask(void *arg)
{
	struct asking *a = arg;
	char address[32];
	snprintf(address, sizeof address, "127.0.0.1:%u", proxy_port(a->way->p));
	links_inquire(a->way->a->links, 2, address, "warren@n2", slice_str("keep"), 1000 * 1000, on_asked, a);
}

/* Who asks on a connection of its own hears nothing there, and need not wait for that. */
static void test_what_a_node_was_asked_ends_with_its_link(void **state)
{
	(void)state;
	nodes_control = answer;
	nodes_limits = attentive;
	struct way w = way_open();
	struct asking a = {.way = &w};
	kept = NULL;
	node_run(w.a, 0, ask, &a);
	WAIT(kept != NULL);
	assert_false(a.over);
	proxy_hold(w.p, true);
	WAIT(a.over);
	assert_non_null(strstr(a.why, "the link to it was lost (silent): nothing heard for "));
	proxy_hold(w.p, false);
	node_run(w.b, 0, reply_kept, (void *)(uintptr_t) "too late");
	WAIT(node_linked(w.a, 2) && node_linked(w.b, 1));
	way_close(&w);
}

static void test_control_connections_need_the_cookie(void **state)
{
	(void)state;
	nodes_control = answer;
	struct node *a = node_start(1, 1);
	nodes_cookie = "guessed";
	struct player pl;
	player_begin(&pl, a->port, player_identity(HANDSHAKE_CONTROL));
	player_greet(&pl);
	assert_int_equal(pl.h.state, HANDSHAKE_FAILED);
	assert_int_equal(pl.h.code, HANDSHAKE_COOKIE);
	player_end(&pl);
	node_stop(a);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup(t, setup)
#define OVER_TLS(t) {#t " over TLS", t, setup_tls, NULL, NULL}
	const struct CMUnitTest tests[] = {
		TEST(test_messages_of_each_kind_reach_their_worker),
		TEST(test_a_message_of_raft_comes_back_when_it_is_written),
		TEST(test_three_nodes_have_a_link_each),
		TEST(test_of_two_connections_one_stays),
		TEST(test_urgent_messages_overtake_a_big_one),
		TEST(test_signs_of_life_and_the_metadata_overtake_entries),
		TEST(test_a_cut_connection_is_down_at_once_and_comes_back),
		TEST(test_a_silent_peer_is_down),
		TEST(test_an_idle_link_stays),
		TEST(test_a_node_that_stops_says_goodbye),
		TEST(test_a_restarted_node_is_another_incarnation),
		TEST(test_a_forgotten_peer_loses_its_link),
		TEST(test_what_was_meant_for_a_lost_link_is_lost),
		TEST(test_a_slow_reader_costs_bounded_memory),
		TEST(test_a_worker_that_does_not_look_stops_the_reading),
		TEST(test_another_cookie_is_refused_with_a_line_on_both_ends),
		TEST(test_who_is_somebody_else_is_refused),
		TEST(test_who_is_no_member_is_refused),
		TEST(test_another_cluster_is_refused),
		TEST(test_a_node_does_not_link_with_itself),
		TEST(test_nobody_there_is_told_once),
		TEST(test_a_socket_that_never_answers_is_given_up),
		TEST(test_garbage_and_silence_on_the_port_are_closed),
		TEST(test_another_version_is_refused_and_both_are_named),
		TEST(test_a_greeting_of_a_former_life_comes_to_nothing),
		TEST(test_nonsense_ends_the_link),
		TEST(test_a_worker_that_understands_nothing_ends_the_link),
		TEST(test_messages_of_raft_go_to_the_groups),
		TEST(test_control_connections_carry_calls),
		TEST(test_what_a_node_was_asked_ends_with_its_link),
		TEST(test_control_connections_need_the_cookie),
		OVER_TLS(test_messages_of_each_kind_reach_their_worker),
		OVER_TLS(test_a_message_of_raft_comes_back_when_it_is_written),
		OVER_TLS(test_three_nodes_have_a_link_each),
		OVER_TLS(test_of_two_connections_one_stays),
		OVER_TLS(test_urgent_messages_overtake_a_big_one),
		OVER_TLS(test_a_cut_connection_is_down_at_once_and_comes_back),
		OVER_TLS(test_a_silent_peer_is_down),
		OVER_TLS(test_an_idle_link_stays),
		OVER_TLS(test_a_node_that_stops_says_goodbye),
		OVER_TLS(test_a_restarted_node_is_another_incarnation),
		OVER_TLS(test_a_forgotten_peer_loses_its_link),
		OVER_TLS(test_what_was_meant_for_a_lost_link_is_lost),
		OVER_TLS(test_a_slow_reader_costs_bounded_memory),
		OVER_TLS(test_a_worker_that_does_not_look_stops_the_reading),
		OVER_TLS(test_another_cookie_is_refused_with_a_line_on_both_ends),
		OVER_TLS(test_who_is_somebody_else_is_refused),
		OVER_TLS(test_a_socket_that_never_answers_is_given_up),
		OVER_TLS(test_a_worker_that_understands_nothing_ends_the_link),
		OVER_TLS(test_messages_of_raft_go_to_the_groups),
	};
	/* The log is a part of what is tested; it is shown where something failed. */
	int terminal = dup(STDERR_FILENO);
	FILE *log = tmpfile();
	log_fd = fileno(log);
	fcntl(log_fd, F_SETFL, O_APPEND);
	dup2(log_fd, STDERR_FILENO);
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	if (rc != 0) {
		char piece[4096];
		ssize_t n;
		for (off_t at = 0; (n = pread(log_fd, piece, sizeof piece, at)) > 0; at += n)
			if (write(terminal, piece, (size_t)n) != n)
				break;
	}
	return rc;
}

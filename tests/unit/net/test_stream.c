/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream on a worker's loop against a blocking socket: the test's own thread runs the loop, a
 * second one plays the client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/net/round_trip.h"
#include "src/net/stream.h"
#include "tests/lib/tcp.h"

enum { MB = 1024 * 1024 };

struct fixture {
	struct worker w;
	struct stream *s;
	int client;
	pthread_t thread;

	struct buf got;   /* what the owner consumed */
	size_t chunk;     /* it consumes multiples of this (0: everything) */
	bool echo;        /* and sends them back */
	size_t stop_at;   /* closes after so many bytes (0: never) */
	unsigned linger;  /* with that */
	bool pause_first; /* pauses once, without consuming anything */
	unsigned resume_ms;
	uv_timer_t timer;

	unsigned reads, drained, ends, closed, written;
	char why[64];
	_Atomic bool slow; /* the client does not read yet */
	_Atomic unsigned letters;
	bool letter_missing;
	struct buf received; /* by the client */
	long last;           /* the client's last tcp_recv() */
};

static void on_resume_time(uv_timer_t *t)
{
	struct fixture *f = t->data;
	uv_close((uv_handle_t *)t, NULL);
	stream_resume(f->s);
}

static void pause_now(struct fixture *f)
{
	f->pause_first = false;
	stream_pause(f->s);
	uv_timer_init(&f->w.loop, &f->timer);
	f->timer.data = f;
	uv_timer_start(&f->timer, on_resume_time, f->resume_ms, 0);
}

static size_t on_read(void *arg, const uint8_t *p, size_t n)
{
	struct fixture *f = arg;
	f->reads++;
	if (f->pause_first) {
		pause_now(f);
		return 0;
	}
	size_t used = f->chunk > 0 ? n - n % f->chunk : n;
	buf_put_bytes(&f->got, p, used);
	if (f->echo) {
		buf_put_bytes(stream_out(f->s), p, used);
		stream_flush(f->s);
	}
	if (f->stop_at > 0 && f->got.n >= f->stop_at)
		stream_close(f->s, f->linger);
	return used;
}

static void on_drained(void *arg)
{
	((struct fixture *)arg)->drained++;
}

static void on_end(void *arg, const char *why)
{
	struct fixture *f = arg;
	f->ends++;
	strncpy(f->why, why != NULL ? why : "clean", sizeof f->why - 1);
	stream_close(f->s, 1000);
}

static void on_closed(void *arg)
{
	struct fixture *f = arg;
	f->closed++;
	worker_stop(&f->w);
}

static void on_written(void *arg)
{
	((struct fixture *)arg)->written++;
}

static const struct stream_owner owner = {on_read, on_drained, on_end, on_closed, on_written};

static void setup(struct fixture *f)
{
	int fd[2];
	*f = (struct fixture){0};
	assert_int_equal(worker_init(&f->w, 0), 0);
	tcp_pair(fd);
	f->client = fd[1];
	f->s = stream_tcp_new(&f->w, fd[0], &owner, f);
	assert_non_null(f->s);
}

/* Runs until the stream is closed. Tear-down is a check, too: worker_done() asserts that no handle
 * is left. */
static void run(struct fixture *f, void *(*client)(void *arg))
{
	pthread_create(&f->thread, NULL, client, f);
	worker_run(&f->w);
	pthread_join(f->thread, NULL);
	worker_done(&f->w);
	close(f->client);
	assert_int_equal(f->closed, 1);
}

static void teardown(struct fixture *f)
{
	buf_done(&f->got);
	buf_done(&f->received);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + i / 251);
}

static void put_pattern(struct buf *b, size_t n)
{
	size_t at = b->n;
	uint8_t *p = buf_put(b, n);
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(at + i);
}

static bool is_pattern(const struct buf *b, size_t n)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->p[i] != pattern(i))
			return false;
	}
	return b->n == n;
}

static void send_pattern(struct fixture *f, size_t n)
{
	struct buf b = BUF_EMPTY;
	put_pattern(&b, n);
	tcp_send(f->client, b.p, b.n);
	buf_done(&b);
}

static void receive_all(struct fixture *f)
{
	do {
		buf_reserve(&f->received, 64 * 1024);
		f->last = tcp_recv(f->client, f->received.p + f->received.n, 64 * 1024);
		if (f->last > 0)
			f->received.n += (size_t)f->last;
	} while (f->last > 0);
	shutdown(f->client, SHUT_WR);
}

/* ---- echo ---- */

static void *send_in_background(void *arg)
{
	struct fixture *f = arg;
	send_pattern(f, 4 * MB);
	shutdown(f->client, SHUT_WR);
	return NULL;
}

static void *client_echo(void *arg)
{
	struct fixture *f = arg;
	pthread_t sender;
	pthread_create(&sender, NULL, send_in_background, f);
	receive_all(f);
	pthread_join(sender, NULL);
	return NULL;
}

static void check_echo(size_t chunk)
{
	struct fixture f;
	setup(&f);
	f.chunk = chunk;
	f.echo = true;
	run(&f, client_echo);
	size_t whole = chunk > 0 ? 4 * MB - 4 * MB % chunk : 4 * MB;
	assert_true(is_pattern(&f.got, whole));
	assert_true(is_pattern(&f.received, whole));
	assert_string_equal(f.why, "clean");
	assert_int_equal(f.ends, 1);
	teardown(&f);
}

static void test_bytes_come_back_as_they_were_sent(void **state)
{
	(void)state;
	check_echo(0);
}

static void test_what_is_not_consumed_is_offered_again_with_more(void **state)
{
	(void)state;
	check_echo(1000);
	check_echo(STREAM_KEEP_MAX + 1);
}

static void test_a_frame_larger_than_the_shared_buffer_arrives_in_one_piece(void **state)
{
	(void)state;
	check_echo(MB + 17);
}

/* ---- back pressure ---- */

static void *client_slow(void *arg)
{
	struct fixture *f = arg;
	while (f->slow)
		usleep(1000);
	receive_all(f);
	return NULL;
}

struct burst {
	struct turn_hook hook;
	struct fixture *f;
	unsigned left;
	size_t most_pending;
};

static bool run_burst(struct turn_hook *h)
{
	struct burst *b = LIST_ENTRY(h, struct burst, hook);
	struct fixture *f = b->f;
	if (b->left == 0) {
		f->slow = false;
		if (f->drained > 0 && f->closed == 0 && stream_pending(f->s) == 0)
			stream_close(f->s, 5000);
		return false;
	}
	struct buf *out = stream_out(f->s);
	struct buf all = BUF_EMPTY;
	size_t at = (size_t)(16 - b->left) * MB;
	put_pattern(&all, at + MB);
	buf_put_bytes(out, all.p + at, MB);
	buf_done(&all);
	stream_flush(f->s);
	b->left--;
	if (stream_pending(f->s) > b->most_pending)
		b->most_pending = stream_pending(f->s);
	return true;
}

static void test_flushes_collect_behind_a_slow_reader_who_gets_everything(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	f.slow = true;
	struct burst b = {.f = &f, .left = 16};
	worker_hook(&f.w, &b.hook, run_burst);
	run(&f, client_slow);
	list_remove(&b.hook.link);
	assert_true(is_pattern(&f.received, 16 * MB));
	assert_true(b.most_pending > STREAM_LOW);
	assert_true(f.drained > 0);
	assert_int_equal(f.last, 0);
	teardown(&f);
}

/* The kernel takes all at once, but the owner may have looked before the flush. */
static void test_drained_is_told_also_when_the_flush_wrote_everything(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	int big = 4 * MB;
	setsockopt(f.client, SOL_SOCKET, SO_RCVBUF, &big, sizeof big);
	put_pattern(stream_out(f.s), STREAM_LOW + 1);
	stream_flush(f.s);
	assert_int_equal(f.drained, 0); /* not from within the owner's call */
	struct burst b = {.f = &f};
	worker_hook(&f.w, &b.hook, run_burst);
	run(&f, client_slow);
	assert_int_equal(f.drained, 1);
	assert_true(is_pattern(&f.received, STREAM_LOW + 1));
	teardown(&f);
}

static void *client_sends_once(void *arg)
{
	struct fixture *f = arg;
	send_pattern(f, 5000);
	receive_all(f);
	return NULL;
}

static void test_a_paused_owner_gets_the_kept_bytes_after_the_resume(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	f.pause_first = true;
	f.resume_ms = 20;
	f.stop_at = 5000;
	f.linger = 1000;
	run(&f, client_sends_once);
	assert_true(is_pattern(&f.got, 5000));
	teardown(&f);
}

/* ---- parts ---- */

/* Cuts n bytes into parts of uneven lengths, one of them empty. */
static unsigned cut(struct slice *parts, const uint8_t *p, size_t n)
{
	unsigned i = 0;
	size_t at = 0;
	while (i < STREAM_PARTS_MAX - 1 && at < n) {
		size_t size = i == 3 ? 0 : i * 997 % 5000 + 1;
		if (size > n - at)
			size = n - at;
		parts[i++] = slice_make(p + at, size);
		at += size;
	}
	if (at < n)
		parts[i++] = slice_make(p + at, n - at);
	return i;
}

struct parts_burst {
	struct turn_hook hook;
	struct fixture *f;
	struct buf all; /* stays where it is, as the contract wants */
	size_t size;
	size_t at;
	bool mixed; /* output is appended behind each write of parts */
	unsigned waits;
};

static void parts_write(struct parts_burst *b)
{
	struct fixture *f = b->f;
	struct slice parts[STREAM_PARTS_MAX];
	int rc = stream_write_parts(f->s, parts, cut(parts, b->all.p + b->at, b->size));
	assert_true(rc >= 0);
	b->at += b->size;
	b->waits += rc == 0;
	if (!b->mixed)
		return;
	buf_put_bytes(stream_out(f->s), b->all.p + b->at, 10);
	stream_flush(f->s);
	b->at += 10;
}

static bool run_parts_burst(struct turn_hook *h)
{
	struct parts_burst *b = LIST_ENTRY(h, struct parts_burst, hook);
	struct fixture *f = b->f;
	if (f->closed > 0 || stream_pending(f->s) > 0) {
		f->slow = false;
		return false;
	}
	if (b->at + b->size + 10 > b->all.n) {
		stream_close(f->s, 5000);
		return false;
	}
	parts_write(b);
	return true;
}

static void check_parts(size_t size, bool mixed)
{
	struct fixture f;
	setup(&f);
	f.slow = true;
	struct parts_burst b = {.f = &f, .size = size, .mixed = mixed};
	put_pattern(&b.all, 16 * MB);
	worker_hook(&f.w, &b.hook, run_parts_burst);
	run(&f, client_slow);
	list_remove(&b.hook.link);
	assert_true(is_pattern(&f.received, b.at));
	assert_int_equal(f.written, b.waits);
	assert_true(b.waits > 0);
	assert_int_equal(f.last, 0);
	buf_done(&b.all);
	teardown(&f);
}

static void test_parts_are_written_from_where_they_are(void **state)
{
	(void)state;
	check_parts(MB, false);
	check_parts(3 * MB + 1, false);
}

static void test_output_and_parts_keep_their_order(void **state)
{
	(void)state;
	check_parts(MB, true);
}

static void test_a_close_writes_the_parts_under_way(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	struct buf all = BUF_EMPTY;
	struct slice parts[STREAM_PARTS_MAX];
	put_pattern(&all, 8 * MB);
	assert_int_equal(stream_write_parts(f.s, parts, cut(parts, all.p, all.n)), 0);
	stream_close(f.s, 5000);
	run(&f, client_slow);
	assert_true(is_pattern(&f.received, 8 * MB));
	assert_int_equal(f.written, 0);
	buf_done(&all);
	teardown(&f);
}

static void *client_resets(void *arg);

static void test_parts_that_cannot_be_written_are_an_end(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	stream_pause(f.s);
	client_resets(&f);
	struct slice part = slice_str("x");
	while (stream_write_parts(f.s, &part, 1) >= 0)
		usleep(1000);
	assert_int_equal(f.ends, 0);
	worker_run(&f.w);
	worker_done(&f.w);
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.written, 0);
	teardown(&f);
}

/* ---- closing ---- */

static void test_close_writes_what_is_pending(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	put_pattern(stream_out(f.s), 8 * MB);
	stream_close(f.s, 5000);
	run(&f, client_slow);
	assert_true(is_pattern(&f.received, 8 * MB));
	assert_int_equal(f.last, 0);
	assert_int_equal(f.ends, 0);
	teardown(&f);
}

static void *client_keeps_sending(void *arg)
{
	struct fixture *f = arg;
	char bytes[4096] = {0};
	for (int i = 0; i < 200; i++)
		if (send(f->client, bytes, sizeof bytes, MSG_NOSIGNAL) < 0)
			break;
	receive_all(f);
	return NULL;
}

/* Without the drain, closing with unread input resets the connection. */
static void test_last_words_reach_a_client_that_is_still_sending(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	f.echo = true;
	f.stop_at = 1;
	f.linger = 5000;
	run(&f, client_keeps_sending);
	assert_int_equal(f.last, 0);
	assert_int_equal(f.received.n, f.got.n);
	teardown(&f);
}

static void *client_never_reads(void *arg)
{
	struct fixture *f = arg;
	while (f->closed == 0 && recv(f->client, &(char){0}, 1, MSG_PEEK) > 0)
		usleep(1000);
	return NULL;
}

static void test_linger_ends_with_its_time(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	put_pattern(stream_out(f.s), 32 * MB);
	uv_update_time(&f.w.loop); /* filling the buffer took a while */
	uint64_t start = uv_hrtime();
	stream_close(f.s, 50);
	worker_run(&f.w);
	worker_done(&f.w);
	assert_int_equal(f.closed, 1);
	assert_true(uv_hrtime() - start >= 45 * 1000000ull);
	client_never_reads(&f);
	close(f.client);
	teardown(&f);
}

static void test_close_without_linger_drops_what_the_kernel_does_not_take(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	put_pattern(stream_out(f.s), 32 * MB);
	stream_flush(f.s);
	assert_true(stream_pending(f.s) > 0);
	stream_close(f.s, 0);
	run(&f, client_slow);
	assert_true(f.received.n < 32 * MB);
	teardown(&f);
}

static void *client_resets(void *arg)
{
	struct fixture *f = arg;
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	setsockopt(f->client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(f->client);
	f->client = -1;
	return NULL;
}

static void test_a_reset_is_an_end_with_a_reason(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	run(&f, client_resets);
	assert_int_equal(f.ends, 1);
	assert_string_equal(f.why, "connection reset by peer");
	teardown(&f);
}

/* The end is told by mail, for the flush is the owner's call, and told once. */
static void test_a_failed_write_is_an_end_once(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	stream_pause(f.s); /* so that only the write can see it */
	client_resets(&f);
	for (int i = 0; i < 3; i++) {
		buf_put_u8(stream_out(f.s), 1);
		stream_flush(f.s);
	}
	assert_int_equal(f.ends, 0);
	worker_run(&f.w);
	worker_done(&f.w);
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.closed, 1);
	teardown(&f);
}

/* ---- mail ---- */

struct letter {
	struct mail mail;
	struct fixture *f;
};

static void deliver_letter(struct mail *m, struct worker *w)
{
	(void)w;
	struct letter *l = (struct letter *)m;
	l->f->letters++;
	mem_free(l);
}

static void *client_posts_then_sends(void *arg)
{
	struct fixture *f = arg;
	for (int i = 0; i < 20000; i++) {
		struct letter *l = MEM_NEW(struct letter);
		*l = (struct letter){.mail.deliver = deliver_letter, .f = f};
		worker_post(&f->w, &l->mail);
		tcp_send(f->client, "x", 1);
	}
	shutdown(f->client, SHUT_WR);
	return NULL;
}

static size_t on_read_counts(void *arg, const uint8_t *p, size_t n)
{
	struct fixture *f = arg;
	buf_put_bytes(&f->got, p, n);
	if (f->letters < f->got.n)
		f->letter_missing = true;
	return n;
}

static void test_mail_comes_before_the_bytes_that_were_sent_after_it(void **state)
{
	(void)state;
	static const struct stream_owner counting = {
		on_read_counts, on_drained, on_end, on_closed, on_written};
	struct fixture f = {0};
	int fd[2];
	worker_init(&f.w, 0);
	tcp_pair(fd);
	f.client = fd[1];
	f.s = stream_tcp_new(&f.w, fd[0], &counting, &f);
	run(&f, client_posts_then_sends);
	assert_int_equal(f.got.n, 20000);
	assert_int_equal(f.letters, 20000);
	assert_false(f.letter_missing);
	teardown(&f);
}

/* ---- what a stream knows ---- */

static void test_a_stream_knows_its_ends_and_counts(void **state)
{
	(void)state;
	struct fixture f;
	setup(&f);
	assert_true(stream_loopback(f.s));
	assert_memory_equal(stream_name(f.s), "127.0.0.1:", 10);
	assert_non_null(strstr(stream_name(f.s), " -> 127.0.0.1:"));
	put_pattern(stream_out(f.s), 100);
	assert_int_equal(stream_pending(f.s), 100);
	stream_flush(f.s);
	assert_int_equal(stream_pending(f.s), 0);
	assert_int_equal(stream_sent(f.s), 100);
	assert_int_equal(stream_received(f.s), 0);
	assert_in_range(stream_round_trip_us(f.s), 1, 60000000);
	stream_close(f.s, 1000);
	assert_int_equal(stream_round_trip_us(f.s), 0);
	run(&f, client_slow);
	teardown(&f);
}

static void test_a_round_trip_is_news_when_it_is_another_one(void **state)
{
	(void)state;
	assert_false(round_trip_is_news(0, 0));
	assert_false(round_trip_is_news(0, 999));
	assert_true(round_trip_is_news(0, 1000));
	assert_true(round_trip_is_news(1000, 0));
	assert_false(round_trip_is_news(1990, 2010));
	assert_false(round_trip_is_news(2010, 1990));
	assert_false(round_trip_is_news(20000, 22000));
	assert_true(round_trip_is_news(20000, 22001));
	assert_true(round_trip_is_news(20000, 17999));
	assert_false(round_trip_is_news(2000, 2999));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_come_back_as_they_were_sent),
		cmocka_unit_test(test_what_is_not_consumed_is_offered_again_with_more),
		cmocka_unit_test(test_a_frame_larger_than_the_shared_buffer_arrives_in_one_piece),
		cmocka_unit_test(test_flushes_collect_behind_a_slow_reader_who_gets_everything),
		cmocka_unit_test(test_drained_is_told_also_when_the_flush_wrote_everything),
		cmocka_unit_test(test_a_paused_owner_gets_the_kept_bytes_after_the_resume),
		cmocka_unit_test(test_parts_are_written_from_where_they_are),
		cmocka_unit_test(test_output_and_parts_keep_their_order),
		cmocka_unit_test(test_a_close_writes_the_parts_under_way),
		cmocka_unit_test(test_parts_that_cannot_be_written_are_an_end),
		cmocka_unit_test(test_close_writes_what_is_pending),
		cmocka_unit_test(test_last_words_reach_a_client_that_is_still_sending),
		cmocka_unit_test(test_linger_ends_with_its_time),
		cmocka_unit_test(test_close_without_linger_drops_what_the_kernel_does_not_take),
		cmocka_unit_test(test_a_reset_is_an_end_with_a_reason),
		cmocka_unit_test(test_a_failed_write_is_an_end_once),
		cmocka_unit_test(test_mail_comes_before_the_bytes_that_were_sent_after_it),
		cmocka_unit_test(test_a_stream_knows_its_ends_and_counts),
		cmocka_unit_test(test_a_round_trip_is_news_when_it_is_another_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

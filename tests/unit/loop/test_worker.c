/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/loop/worker.h"

enum { SENDERS = 3, LETTERS = 20000 };

struct letter {
	struct mail mail;
	unsigned from;
	unsigned no;
	struct worker *next; /* forward it there */
	void *arg;
};

static struct letter *letter_new(
	unsigned from, unsigned no, void *arg, void (*deliver)(struct mail *m, struct worker *w))
{
	struct letter *l = MEM_NEW(struct letter);
	*l = (struct letter){.mail.deliver = deliver, .from = from, .no = no, .arg = arg};
	return l;
}

static void deliver_stop(struct mail *m, struct worker *w)
{
	mem_free(m);
	worker_stop(w);
}

static void post_stop(struct worker *w)
{
	worker_post(w, &letter_new(0, 0, NULL, deliver_stop)->mail);
}

/* ---- order ---- */

struct counts {
	unsigned next[SENDERS];
	unsigned total;
	bool in_order;
};

static void deliver_count(struct mail *m, struct worker *w)
{
	struct letter *l = (struct letter *)m;
	struct counts *counts = l->arg;
	if (l->no != counts->next[l->from])
		counts->in_order = false;
	counts->next[l->from]++;
	if (++counts->total == SENDERS * LETTERS)
		worker_stop(w);
	mem_free(l);
}

struct sender {
	pthread_t thread;
	struct worker *to;
	unsigned no;
	struct counts *counts;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	for (unsigned i = 0; i < LETTERS; i++)
		worker_post(s->to, &letter_new(s->no, i, s->counts, deliver_count)->mail);
	return NULL;
}

static void test_mail_of_each_sender_keeps_its_order(void **state)
{
	(void)state;
	struct worker w;
	struct counts counts = {.in_order = true};
	struct sender senders[SENDERS];
	assert_int_equal(worker_init(&w, 0), 0);
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.to = &w, .no = i, .counts = &counts};
		pthread_create(&senders[i].thread, NULL, send_all, &senders[i]);
	}
	worker_run(&w);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	worker_done(&w);
	assert_int_equal(counts.total, SENDERS * LETTERS);
	assert_true(counts.in_order);
}

/* A posts 2n to C, then 2n + 1 to B, which forwards it to C: C must see 2n before 2n + 1. */
struct relay {
	struct worker a, b, c;
	unsigned sent;
	unsigned next[2]; /* even, odd */
	bool in_order;
};

enum { RELAYS = 5000 };

static void deliver_seen(struct mail *m, struct worker *w)
{
	struct letter *l = (struct letter *)m;
	struct relay *r = l->arg;
	unsigned odd = l->no % 2, n = l->no / 2;
	if (n != r->next[odd]++ || (odd && n >= r->next[0]))
		r->in_order = false;
	if (l->no == 2 * RELAYS - 1)
		worker_stop(w);
	mem_free(l);
}

static void deliver_forward(struct mail *m, struct worker *w)
{
	struct letter *l = (struct letter *)m;
	struct relay *r = l->arg;
	if (l->no == 2 * RELAYS - 1)
		worker_stop(w);
	l->mail.deliver = deliver_seen;
	worker_post(&r->c, &l->mail);
}

static void deliver_pair(struct mail *m, struct worker *w)
{
	struct letter *l = (struct letter *)m;
	struct relay *r = l->arg;
	worker_post(&r->c, &letter_new(0, 2 * r->sent, r, deliver_seen)->mail);
	worker_post(&r->b, &letter_new(0, 2 * r->sent + 1, r, deliver_forward)->mail);
	if (++r->sent < RELAYS) {
		worker_post(w, m);
		return;
	}
	mem_free(m);
	worker_stop(w);
}

static void begin_nothing(struct worker *w)
{
	(void)w;
}

static void test_mail_keeps_the_order_of_cause_and_effect(void **state)
{
	(void)state;
	struct relay r = {.in_order = true};
	struct worker *all[] = {&r.a, &r.b, &r.c};
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(worker_init(all[i], i), 0);
	worker_start(&r.a, begin_nothing);
	worker_start(&r.b, begin_nothing);
	worker_post(&r.a, &letter_new(0, 0, &r, deliver_pair)->mail);
	worker_run(&r.c);
	worker_join(&r.a);
	worker_join(&r.b);
	for (unsigned i = 0; i < 3; i++)
		worker_done(all[i]);
	assert_int_equal(r.next[0], RELAYS);
	assert_int_equal(r.next[1], RELAYS);
	assert_true(r.in_order);
}

/* ---- turns ---- */

struct counter_hook {
	struct turn_hook hook;
	unsigned runs;
	unsigned busy; /* so many runs say that they did something */
	struct worker *post_to;
	unsigned delivered;
};

static bool run_counter(struct turn_hook *h)
{
	struct counter_hook *c = LIST_ENTRY(h, struct counter_hook, hook);
	c->runs++;
	if (c->busy == 0)
		return false;
	c->busy--;
	return true;
}

static void test_hooks_run_until_none_does_anything(void **state)
{
	(void)state;
	struct worker w;
	struct counter_hook first = {.busy = 3}, second = {.busy = 5};
	worker_init(&w, 0);
	worker_hook(&w, &first.hook, run_counter);
	worker_hook(&w, &second.hook, run_counter);
	post_stop(&w);
	worker_run(&w);
	worker_done(&w);
	assert_int_equal(first.busy, 0);
	assert_int_equal(second.busy, 0);
	assert_int_equal(first.runs, second.runs);
	assert_true(first.runs > 5);
}

static void deliver_counted(struct mail *m, struct worker *w)
{
	(void)w;
	struct letter *l = (struct letter *)m;
	((struct counter_hook *)l->arg)->delivered++;
	mem_free(l);
}

static bool run_posts_to_itself(struct turn_hook *h)
{
	struct counter_hook *c = LIST_ENTRY(h, struct counter_hook, hook);
	if (c->busy == 0) {
		if (c->delivered == c->runs)
			worker_stop(c->post_to);
		return false;
	}
	c->busy--;
	c->runs++;
	worker_post(c->post_to, &letter_new(0, 0, c, deliver_counted)->mail);
	return false; /* so that only the mail can keep the turn going */
}

static void test_mail_to_oneself_needs_no_wake_up(void **state)
{
	(void)state;
	struct worker w;
	struct counter_hook c = {.busy = 1000, .post_to = &w};
	worker_init(&w, 0);
	worker_hook(&w, &c.hook, run_posts_to_itself);
	worker_run(&w);
	worker_done(&w);
	assert_int_equal(c.delivered, 1000);
}

static bool run_always_busy(struct turn_hook *h)
{
	struct counter_hook *c = LIST_ENTRY(h, struct counter_hook, hook);
	c->runs++;
	return true;
}

static void on_timer(uv_timer_t *t)
{
	uv_close((uv_handle_t *)t, NULL);
	worker_stop(t->data);
}

static void test_a_busy_hook_does_not_starve_timers(void **state)
{
	(void)state;
	struct worker w;
	uv_timer_t timer;
	struct counter_hook c = {0};
	worker_init(&w, 0);
	worker_hook(&w, &c.hook, run_always_busy);
	uv_timer_init(&w.loop, &timer);
	timer.data = &w;
	uv_timer_start(&timer, on_timer, 5, 0);
	worker_run(&w);
	list_remove(&c.hook.link);
	worker_done(&w);
	assert_true(c.runs > 64);
}

/* What a timer brings must not wait for the next socket: the loop would sleep on it. */
static void on_timer_work(uv_timer_t *t)
{
	((struct counter_hook *)t->data)->busy = 1;
	uv_close((uv_handle_t *)t, NULL);
}

static bool run_stop_when_busy(struct turn_hook *h)
{
	struct counter_hook *c = LIST_ENTRY(h, struct counter_hook, hook);
	if (c->busy == 0)
		return false;
	c->busy = 0;
	worker_stop(c->post_to);
	return true;
}

static void test_hooks_run_after_a_timer_before_the_loop_sleeps(void **state)
{
	(void)state;
	struct worker w;
	uv_timer_t timer;
	struct counter_hook c = {.post_to = &w};
	worker_init(&w, 0);
	worker_hook(&w, &c.hook, run_stop_when_busy);
	uv_timer_init(&w.loop, &timer);
	timer.data = &c;
	uv_timer_start(&timer, on_timer_work, 2, 0);
	worker_run(&w); /* for ever, if the hook did not run */
	worker_done(&w);
	assert_int_equal(c.busy, 0);
}

static void on_clock_timer(uv_timer_t *t)
{
	struct worker *w = t->data;
	worker_deliver(w);
	assert_true(w->wall_ms > 1000000000000ull);
	uv_close((uv_handle_t *)t, NULL);
	worker_stop(w);
}

static void test_the_clock_moves_with_the_turns(void **state)
{
	(void)state;
	struct worker w;
	uv_timer_t timer;
	worker_init(&w, 0);
	uint64_t before = w.now_ms;
	uv_timer_init(&w.loop, &timer);
	timer.data = &w;
	uv_timer_start(&timer, on_clock_timer, 20, 0);
	worker_run(&w);
	assert_true(w.now_ms >= before + 20);
	worker_done(&w);
}

static void test_mail_after_the_end_is_delivered_by_done(void **state)
{
	(void)state;
	struct worker w;
	struct counter_hook c = {0};
	worker_init(&w, 0);
	post_stop(&w);
	worker_run(&w);
	worker_post(&w, &letter_new(0, 0, &c, deliver_counted)->mail);
	worker_done(&w);
	assert_int_equal(c.delivered, 1);
}

static void test_a_wake_up_after_the_end_writes_to_nobody(void **state)
{
	(void)state;
	struct worker w;
	eventfd_t n;
	worker_init(&w, 0);
	int fd = w.wake_fd;
	post_stop(&w);
	worker_run(&w);
	worker_done(&w);
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (other != fd) {
		assert_int_equal(dup2(other, fd), fd);
		close(other);
	}
	worker_wake(&w);
	assert_int_equal(eventfd_read(fd, &n), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mail_of_each_sender_keeps_its_order),
		cmocka_unit_test(test_mail_keeps_the_order_of_cause_and_effect),
		cmocka_unit_test(test_hooks_run_until_none_does_anything),
		cmocka_unit_test(test_mail_to_oneself_needs_no_wake_up),
		cmocka_unit_test(test_a_busy_hook_does_not_starve_timers),
		cmocka_unit_test(test_hooks_run_after_a_timer_before_the_loop_sleeps),
		cmocka_unit_test(test_the_clock_moves_with_the_turns),
		cmocka_unit_test(test_mail_after_the_end_is_delivered_by_done),
		cmocka_unit_test(test_a_wake_up_after_the_end_writes_to_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

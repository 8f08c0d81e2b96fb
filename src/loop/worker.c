/* SPDX-License-Identifier: Apache-2.0
 *
 * libuv's order within one turn is: timers, prepare, poll (sockets, wake-up), check, close
 * callbacks. The hooks run at check, for what sockets and mail have brought, and at prepare, for
 * what timers and close callbacks have: nothing waits for its hook while the loop sleeps.
 *
 * Waking: a post pushes first and sets `awake` second; the wake-up clears `awake` first and takes
 * the mailbox second. Whichever way the two interleave, the mail is either taken or its sender
 * finds `awake` clear and sends another wake-up. A worker's mail to itself needs none, for prepare
 * comes before every sleep.
 *
 * The wake-up is an eventfd of our own, not a uv_async_t: libuv up to 1.44 lets the woken loop wait
 * busily until the sender is out of uv_async_send(). On a machine without an idle core the loop has
 * taken the sender's place in the middle of that, and spins away the rest of its time.
 */
#include "src/loop/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"

/* A turn that is still busy after so many rounds lets the sockets and timers have their say. */
enum { TURN_ROUNDS_MAX = 64 };

/* The worker whose loop this thread runs. */
static _Thread_local struct worker *current;

static void clock_read(struct worker *w)
{
	if (w->began_ns == 0)
		w->began_ns = uv_hrtime();
	uint64_t now = uv_now(&w->loop);
	if (now == w->now_ms)
		return;
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	w->now_ms = now;
	w->wall_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void mailbox_push(struct worker *to, struct mail *m)
{
	struct mail *first = atomic_load_explicit(&to->mailbox, memory_order_relaxed);
	do
		m->next = first;
	while (!atomic_compare_exchange_weak_explicit(
		&to->mailbox, &first, m, memory_order_acq_rel, memory_order_relaxed));
}

/* Moves the mailbox behind what is due, turning it oldest first. */
static void mailbox_take(struct worker *w)
{
	if (atomic_load_explicit(&w->mailbox, memory_order_relaxed) == NULL)
		return;
	struct mail *m = atomic_exchange_explicit(&w->mailbox, NULL, memory_order_acq_rel);
	struct mail *newest = m;
	struct mail *oldest = NULL;
	while (m != NULL) {
		struct mail *older = m->next;
		m->next = oldest;
		oldest = m;
		m = older;
	}
	*w->due_end = oldest;
	w->due_end = &newest->next;
}

/* A delivery may come back here; the oldest mail goes first all the same. */
bool worker_deliver(struct worker *w)
{
	clock_read(w);
	mailbox_take(w);
	if (w->due == NULL)
		return false;
	while (w->due != NULL) {
		struct mail *m = w->due;
		w->due = m->next;
		if (w->due == NULL)
			w->due_end = &w->due;
		m->deliver(m, w);
	}
	return true;
}

uint64_t worker_turn_ns(const struct worker *w)
{
	return w->began_ns != 0 ? uv_hrtime() - w->began_ns : 0;
}

void worker_wake(struct worker *w)
{
	if (!atomic_exchange_explicit(&w->awake, true, memory_order_acq_rel))
		eventfd_write(w->wake_fd, 1);
}

void worker_post(struct worker *to, struct mail *m)
{
	mailbox_push(to, m);
	if (current != to)
		worker_wake(to);
}

static bool turn_round(struct worker *w)
{
	bool did = worker_deliver(w);
	LIST_EACH_SAFE(node, &w->hooks)
	{
		struct turn_hook *h = LIST_ENTRY(node, struct turn_hook, link);
		if (h->run(h))
			did = true;
	}
	/* A hook may have posted to this worker, which wakes nobody. */
	return did || atomic_load_explicit(&w->mailbox, memory_order_relaxed) != NULL;
}

static void turn(struct worker *w)
{
	int i = 0;
	while (i < TURN_ROUNDS_MAX && turn_round(w))
		i++;
	if (i == TURN_ROUNDS_MAX)
		worker_wake(w);
	w->began_ns = 0;
}

static void on_wake(uv_poll_t *h, int status, int events)
{
	struct worker *w = h->data;
	eventfd_t n;
	(void)status;
	(void)events;
	eventfd_read(w->wake_fd, &n);
	atomic_exchange_explicit(&w->awake, false, memory_order_acq_rel);
	worker_deliver(w);
}

static void on_check(uv_check_t *h)
{
	turn(h->data);
}

static void on_prepare(uv_prepare_t *h)
{
	turn(h->data);
}

static int wake_init(struct worker *w)
{
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		return -errno;
	int rc = uv_poll_init(&w->loop, &w->wake, w->wake_fd);
	if (rc == 0)
		rc = uv_poll_start(&w->wake, UV_READABLE, on_wake);
	if (rc != 0)
		close(w->wake_fd);
	return rc;
}

static void handles_init(struct worker *w)
{
	uv_check_init(&w->loop, &w->check);
	uv_prepare_init(&w->loop, &w->prepare);
	w->wake.data = w->check.data = w->prepare.data = w;
	uv_check_start(&w->check, on_check);
	uv_prepare_start(&w->prepare, on_prepare);
	/* What keeps the loop going is the wake-up handle, until worker_stop(). */
	uv_unref((uv_handle_t *)&w->check);
	uv_unref((uv_handle_t *)&w->prepare);
}

int worker_init(struct worker *w, unsigned no)
{
	*w = (struct worker){.no = no};
	w->due_end = &w->due;
	list_init(&w->hooks);
	int rc = uv_loop_init(&w->loop);
	if (rc != 0)
		return rc;
	rc = wake_init(w);
	if (rc != 0) {
		uv_loop_close(&w->loop);
		return rc;
	}
	handles_init(w);
	w->read_buf = mem_alloc(WORKER_READ_SIZE);
	clock_read(w);
	return 0;
}

/* libuv writes to sockets without MSG_NOSIGNAL. */
static void block_sigpipe(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void worker_run(struct worker *w)
{
	block_sigpipe();
	current = w;
	do {
		uv_run(&w->loop, UV_RUN_DEFAULT);
		/* The last close callbacks may have posted mail, and that may open handles. */
		turn(w);
	} while (uv_loop_alive(&w->loop));
	current = NULL;
}

struct thread_start {
	struct worker *w;
	void (*begin)(struct worker *w);
};

static void *thread_main(void *arg)
{
	struct thread_start start = *(struct thread_start *)arg;
	mem_free(arg);
	block_sigpipe();
	current = start.w;
	start.begin(start.w);
	worker_run(start.w);
	return NULL;
}

int worker_start(struct worker *w, void (*begin)(struct worker *w))
{
	struct thread_start *start = MEM_NEW(struct thread_start);
	*start = (struct thread_start){w, begin};
	int rc = pthread_create(&w->thread, NULL, thread_main, start);
	if (rc != 0)
		mem_free(start);
	return -rc;
}

void worker_stop(struct worker *w)
{
	if (w->stopping)
		return;
	w->stopping = true;
	uv_unref((uv_handle_t *)&w->wake);
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void worker_done(struct worker *w)
{
	/* Mail that came after the loop's end is delivered, too: somebody has to free it. */
	current = w;
	while (worker_deliver(w))
		;
	uv_close((uv_handle_t *)&w->wake, NULL);
	uv_close((uv_handle_t *)&w->check, NULL);
	uv_close((uv_handle_t *)&w->prepare, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	current = NULL;
	/* Another thread may wake a worker that it has just sent back to its end: nobody writes to a
	 * descriptor that is somebody else's by then. */
	atomic_store_explicit(&w->awake, true, memory_order_release);
	close(w->wake_fd);
	int rc = uv_loop_close(&w->loop);
	assert(rc == 0); /* else somebody's handle is still open */
	while (w->spares > 0)
		buf_done(&w->spare[--w->spares]);
	mem_free(w->read_buf);
}

void worker_hook(struct worker *w, struct turn_hook *h, bool (*run)(struct turn_hook *h))
{
	h->run = run;
	list_push_back(&w->hooks, &h->link);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/handover.h"

#include <assert.h>
#include <time.h>

#include "src/base/mem.h"

void inbox_init(struct inbox *in)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&in->lock, NULL);
	pthread_cond_init(&in->filled, &attr);
	pthread_condattr_destroy(&attr);
	list_init(&in->requests);
	in->busy = true; /* until the writer has come here once */
	in->due = in->stop = false;
}

void inbox_done(struct inbox *in)
{
	assert(list_empty(&in->requests));
	pthread_cond_destroy(&in->filled);
	pthread_mutex_destroy(&in->lock);
}

void inbox_put(struct inbox *in, struct list *from)
{
	if (list_empty(from))
		return;
	pthread_mutex_lock(&in->lock);
	list_move_all(&in->requests, from);
	in->due = true;
	bool wake = !in->busy;
	pthread_mutex_unlock(&in->lock);
	if (wake)
		pthread_cond_signal(&in->filled);
}

static struct timespec time_in(int ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (ms % 1000) * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

static void inbox_wait(struct inbox *in, int timeout_ms)
{
	struct timespec until = time_in(timeout_ms > 0 ? timeout_ms : 0);
	while (!in->due && timeout_ms != 0) {
		if (timeout_ms < 0)
			pthread_cond_wait(&in->filled, &in->lock);
		else if (pthread_cond_timedwait(&in->filled, &in->lock, &until) != 0)
			break;
	}
	in->due = true;
	while (in->busy)
		pthread_cond_wait(&in->filled, &in->lock);
}

bool inbox_take(struct inbox *in, struct list *to, int timeout_ms)
{
	pthread_mutex_lock(&in->lock);
	in->busy = false;
	inbox_wait(in, timeout_ms);
	in->busy = true;
	in->due = in->stop;
	bool more = !list_empty(&in->requests) || !in->stop;
	list_move_all(to, &in->requests);
	pthread_mutex_unlock(&in->lock);
	return more;
}

bool inbox_enter(struct inbox *in)
{
	pthread_mutex_lock(&in->lock);
	bool free = !in->busy && !in->due;
	if (free)
		in->busy = true;
	pthread_mutex_unlock(&in->lock);
	return free;
}

void inbox_leave(struct inbox *in, bool nudge)
{
	pthread_mutex_lock(&in->lock);
	in->busy = false;
	in->due |= nudge;
	bool wake = in->due;
	pthread_mutex_unlock(&in->lock);
	if (wake)
		pthread_cond_signal(&in->filled);
}

void inbox_stop(struct inbox *in)
{
	pthread_mutex_lock(&in->lock);
	in->stop = in->due = true;
	pthread_cond_signal(&in->filled);
	pthread_mutex_unlock(&in->lock);
}

struct outbox *outbox_new(struct inbox *in)
{
	struct outbox *out = MEM_NEW(struct outbox);
	pthread_mutex_init(&out->lock, NULL);
	list_init(&out->requests);
	out->inbox = in;
	return out;
}

void outbox_free(struct outbox *out)
{
	if (out == NULL)
		return;
	/* The writer may still be on its way out of outbox_put(). */
	pthread_mutex_lock(&out->lock);
	assert(list_empty(&out->requests));
	pthread_mutex_unlock(&out->lock);
	if (out->view != NULL)
		out->view_done(out->view);
	pthread_mutex_destroy(&out->lock);
	mem_free(out);
}

/* wake() runs under the lock: afterwards the owner may have polled and freed the port already. */
void outbox_put(struct outbox *out, struct list *from, void (*wake)(void *arg), void *arg)
{
	pthread_mutex_lock(&out->lock);
	list_move_all(&out->requests, from);
	atomic_store_explicit(&out->ready, true, memory_order_relaxed);
	if (wake != NULL)
		wake(arg);
	pthread_mutex_unlock(&out->lock);
}

void outbox_take(struct outbox *out, struct list *to)
{
	if (!atomic_load_explicit(&out->ready, memory_order_relaxed))
		return;
	pthread_mutex_lock(&out->lock);
	list_move_all(to, &out->requests);
	atomic_store_explicit(&out->ready, false, memory_order_relaxed);
	pthread_mutex_unlock(&out->lock);
}

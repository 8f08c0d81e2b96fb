/* SPDX-License-Identifier: Apache-2.0
 *
 * What crosses the threads between workers and the writer, and nothing else of either.
 *
 *   port A --flush--> \                                    / --outbox A--> poll, port A
 *   port B --flush-->  inbox (one list) --writer, commit-- --outbox B--> poll, port B
 *
 * Both directions move whole lists under a mutex: once per turn of a worker, once per commit and
 * port, never per request. Order: lists of one port are appended in the order of its flushes.
 *
 * One thread at a time carries requests out. That is the writer, but for its sleep: then a worker may
 * enter, and leaves when its own request is done (writer_write_lone()). What comes meanwhile gathers.
 */
#ifndef WARREN_STORAGE_HANDOVER_H
#define WARREN_STORAGE_HANDOVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/list.h"

/* Requests on their way to the writer. One per store. */
struct inbox {
	pthread_mutex_t lock;
	pthread_cond_t filled; /* monotonic clock */
	struct list requests;
	bool busy; /* somebody carries requests out, or the writer has not begun */
	bool due;  /* the writer has a reason to: nobody else is let in any more */
	bool stop; /* the writer shall end when it has done everything */
};

/* Requests on their way back. One per port, at store_port.shared. */
struct outbox {
	pthread_mutex_t lock;
	struct list requests;
	_Atomic bool ready;    /* requests is not empty */
	struct inbox *inbox;
	uint64_t flushes;      /* owner thread: how often the port was flushed */
	void *view;            /* owner thread: the reused read transaction (storage/view.h), or NULL */
	void (*view_done)(void *view);
};

void inbox_init(struct inbox *in);
void inbox_done(struct inbox *in);
/* Moves `from` into the inbox and wakes the writer. */
void inbox_put(struct inbox *in, struct list *from);
/* The writer's, which is done with what it took before. Waits until there is something, it is nudged,
 * stop was called, or timeout_ms have passed (0: do not wait; negative: for ever). Moves all there is
 * behind `to`. Returns false if nothing came and stop was called. */
bool inbox_take(struct inbox *in, struct list *to, int timeout_ms);
/* A worker: false if somebody carries requests out, or is about to. Otherwise nobody does until
 * inbox_leave(). */
bool inbox_enter(struct inbox *in);
/* `nudge`: the writer is to wake up. */
void inbox_leave(struct inbox *in, bool nudge);
void inbox_stop(struct inbox *in);

struct outbox *outbox_new(struct inbox *in);
void outbox_free(struct outbox *out);
/* Who carries requests out: moves `from` into the outbox and calls wake(arg). wake: NULL if that is the
 * owner itself. */
void outbox_put(struct outbox *out, struct list *from, void (*wake)(void *arg), void *arg);
/* Owner: moves all there is behind `to`. */
void outbox_take(struct outbox *out, struct list *to);

#endif

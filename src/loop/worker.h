/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: one thread, one libuv loop, and a share of the connections and groups. Workers share
 * nothing; they send each other mail.
 *
 * A turn: libuv runs what is ready (sockets, timers, the wake-up), then the turn's hooks run in the
 * order registered, again and again until none has done anything. That is where a turn's commands
 * become batches, batches entries, effects frames, and frames one write per connection.
 *
 * Mail is delivered in the order in which it was posted, also between different senders (if A's
 * post happened before B's, A's mail is delivered first): the mailbox is one atomic list. It is
 * read before every socket callback, too, so that what another worker has answered a client about
 * is known here before that client's next bytes are.
 */
#ifndef WARREN_LOOP_WORKER_H
#define WARREN_LOOP_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "src/base/buf.h"
#include "src/base/list.h"

struct worker;

enum {
	WORKER_READ_SIZE = 256 * 1024, /* the read buffer that all sockets of a worker share */
	WORKER_SPARES = 16, /* empty output buffers kept for the next stream that writes */
	WORKER_SPARE_MAX = 1024 * 1024, /* larger ones are freed instead */
};

/* Embedded in what is sent; belongs to the receiver once posted. */
struct mail {
	struct mail *next;
	void (*deliver)(
		struct mail *m, struct worker *w); /* receiver's thread; frees or keeps it */
};

/* A hook of the turn, embedded by its owner. */
struct turn_hook {
	struct list link;
	bool (*run)(struct turn_hook *h); /* true: did something, run all once more */
};

struct worker {
	uv_loop_t loop;
	unsigned no;
	_Atomic(struct mail *) mailbox; /* newest first */
	struct mail *due;               /* taken from the mailbox, oldest first */
	struct mail **due_end;
	_Atomic bool awake; /* a wake-up is already under way */
	uv_poll_t wake;
	int wake_fd; /* an eventfd */
	uv_check_t check;
	uv_prepare_t prepare;
	struct list hooks; /* struct turn_hook */
	uint64_t now_ms;   /* monotonic, read once per turn */
	uint64_t wall_ms;  /* since 1970, read once per turn */
	uint64_t began_ns; /* monotonic: when the turn did; 0: nothing has happened in it */
	pthread_t thread;
	bool stopping;
	uint8_t *read_buf; /* WORKER_READ_SIZE bytes, valid within one socket callback */
	struct buf spare[WORKER_SPARES]; /* emptied output buffers */
	unsigned spares;
	void *data; /* the daemon's */
};

int worker_init(struct worker *w, unsigned no);
/* Starts the thread; `begin(w)` runs first on it. */
int worker_start(struct worker *w, void (*begin)(struct worker *w));
/* Runs the loop on the calling thread until worker_stop(). */
void worker_run(struct worker *w);
/* Ends the loop when its handles are closed. Worker's own thread. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
/* Loop closed, mailbox empty. */
void worker_done(struct worker *w);

void worker_hook(struct worker *w, struct turn_hook *h, bool (*run)(struct turn_hook *h));
/* Sends mail; any thread, also to itself (delivered later in this turn or the next). */
void worker_post(struct worker *to, struct mail *m);
/* Delivers what is in the mailbox. Own thread. Returns whether there was any. */
bool worker_deliver(struct worker *w);
/* For how long the present turn has been running. Own thread. */
uint64_t worker_turn_ns(const struct worker *w);
/* Makes the loop take a turn soon; any thread. */
void worker_wake(struct worker *w);

#endif

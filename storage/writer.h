/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer thread: takes what all ports have submitted, makes rounds of it (storage/round.h), and
 * sends the requests back when their round is durable.
 *
 * Group commit: while one commit is under way requests gather in the inbox; the next round takes all
 * of them. So at low load a request waits for its own commit only, at high load a commit is shared
 * by thousands. A round is bounded, so that one worker's flood does not make the others wait long.
 *
 * Small requests are made durable by the journal (storage/journal.h) and sent back, and the round
 * goes on. It is committed when requests are many or large or a snapshot is among them, when the
 * journal is full, or when nothing has come for a while.
 *
 * While it sleeps, a worker may carry out a lone small request itself, by the journal: waking the
 * writer and being woken by it takes longer than that. The worker has the writer's rights meanwhile
 * (inbox_enter()), and leaves it everything else: whatever may take long.
 *
 * With nothing to do it sleeps. With nothing to do but something to give back (dead records, log
 * cleaning, free pages) it waits a moment for company and then commits for that alone.
 *
 * Failures: no space is waited out, everything else ends the process. See storage/store.h.
 */
#ifndef WARREN_STORAGE_WRITER_H
#define WARREN_STORAGE_WRITER_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/cleaner.h"
#include "storage/handover.h"
#include "storage/reclaim.h"
#include "storage/round.h"

struct writer {
	pthread_t thread;
	struct inbox *inbox;
	struct env *env;
	struct records *records;
	struct groups *groups;
	struct cleaner cleaner;
	struct reclaim reclaim;
	struct round round;
	struct list pending; /* taken from the inbox, for the next rounds */
	int patience_ms;     /* of the present sleep */
	uint64_t lone;       /* how often a worker has been here */
	bool quick;          /* the last write of the journal was */
	struct buf scratch;
	_Atomic bool blocked; /* the disk is full, or nearly */
	pthread_mutex_t watch_lock;
	void (*watch)(void *arg); /* told when that changes */
	void *watch_arg;
	pthread_mutex_t stats_lock;
	struct store_stats stats; /* as of the last round; file_bytes is not set */
};

void writer_init(struct writer *w, struct inbox *inbox, struct env *env, struct records *records,
	struct groups *groups);
/* Plans what the journal has and LMDB has not: after that all is as it was when the store was open
 * last. After the scan, before the start. 0 or a STORE_ error. */
int writer_replay(struct writer *w, struct env_text err);
/* 0 or an errno. */
int writer_start(struct writer *w);
struct store_port;
/* The port's thread: carries out what it has submitted, if that is one small request and nobody is at
 * the store: it waits for store_port_poll(). False: it has to be handed over. */
bool writer_write_lone(struct writer *w, struct store_port *port);
/* Finishes everything that was handed over, then ends the thread. */
void writer_stop(struct writer *w);
void writer_done(struct writer *w);
/* store_watch(). */
void writer_watch(struct writer *w, void (*changed)(void *arg), void *arg);
/* Any thread. */
void writer_stats(struct writer *w, struct store_stats *ret);

#endif

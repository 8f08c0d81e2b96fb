/* SPDX-License-Identifier: Apache-2.0
 *
 * A one-shot timer on a worker's loop, allocated by itself so that its owner may go at any time.
 */
#ifndef WARREN_LOOP_TIMER_H
#define WARREN_LOOP_TIMER_H

#include "src/loop/worker.h"

struct timer;

/* Calls fire(arg) on the worker's thread when set and due. */
struct timer *timer_new(struct worker *w, void (*fire)(void *arg), void *arg);
/* (Re)sets it to fire once in delay_ms. */
void timer_set(struct timer *t, uint64_t delay_ms);
void timer_stop(struct timer *t);
/* Never fires again; its memory goes when the loop has let go of it. NULL is fine. */
void timer_free(struct timer *t);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What has been counted: totals of the whole run, the measured window, and latencies.
 *
 * The window is from the end of the warm-up to the end of --seconds or, where --messages ends the
 * run, to the end of the drain; then each rate is over the time to the last event of its kind.
 * Latencies are those of messages that were due within the window, whenever they are answered.
 */
#ifndef WARREN_PERF_TALLY_H
#define WARREN_PERF_TALLY_H

#include <stdbool.h>

#include "src/perf/histogram.h"

struct counts {
	uint64_t published; /* with those published again after a reconnect */
	uint64_t published_octets;
	uint64_t confirmed;
	uint64_t nacked;
	uint64_t returned;
	uint64_t received;
	uint64_t received_octets;
	uint64_t redelivered; /* of the received */
	uint64_t foreign;     /* of the received: of another run, or of another program */
};

enum tally_event { TALLY_PUBLISH, TALLY_CONFIRM, TALLY_RECEIVE, TALLY_EVENTS };

struct latency {
	struct histogram all;
	struct histogram interval; /* since the last progress line; not yet in `all` */
};

struct tally {
	struct counts now;
	struct counts begin;            /* at the window's start */
	struct counts end;              /* at its end */
	uint64_t begin_ns;              /* UINT64_MAX: not begun */
	uint64_t end_ns;                /* UINT64_MAX: not ended */
	uint64_t last_ns[TALLY_EVENTS]; /* last event within the window */
	uint64_t gap_ns[TALLY_EVENTS];  /* the longest time without one, over all connections */
	struct latency confirm;
	struct latency delivery;
	uint64_t due_unsent; /* messages that were due and could not be published */
};

void tally_init(struct tally *t);

/* The warm-up is over. */
void tally_begin(struct tally *t, uint64_t now_ns);
/* The window is over; with `idle_counts` the silence up to now counts as a gap. */
void tally_end(struct tally *t, uint64_t now_ns, bool idle_counts);

static inline void tally_event(struct tally *t, enum tally_event e, uint64_t now_ns)
{
	if (now_ns == t->last_ns[e] || now_ns < t->begin_ns || now_ns >= t->end_ns)
		return;
	if (now_ns - t->last_ns[e] > t->gap_ns[e])
		t->gap_ns[e] = now_ns - t->last_ns[e];
	t->last_ns[e] = now_ns;
}

static inline void tally_latency(
	const struct tally *t, struct latency *l, uint64_t due_ns, uint64_t now_ns)
{
	if (due_ns >= t->begin_ns && due_ns < t->end_ns)
		histogram_record(&l->interval, now_ns > due_ns ? now_ns - due_ns : 0);
}

static inline void tally_published(struct tally *t, uint32_t octets, uint64_t now_ns)
{
	t->now.published++;
	t->now.published_octets += octets;
	tally_event(t, TALLY_PUBLISH, now_ns);
}

static inline void tally_confirmed(struct tally *t, uint64_t due_ns, uint64_t now_ns)
{
	t->now.confirmed++;
	tally_event(t, TALLY_CONFIRM, now_ns);
	tally_latency(t, &t->confirm, due_ns, now_ns);
}

static inline void tally_received(
	struct tally *t, uint64_t octets, bool redelivered, uint64_t now_ns)
{
	t->now.received++;
	t->now.received_octets += octets;
	t->now.redelivered += redelivered;
	tally_event(t, TALLY_RECEIVE, now_ns);
}

/* Moves the intervals' latencies into the whole. */
void tally_next_interval(struct tally *t);

/* Everything that moves when the run does: for finding out that nothing does. */
uint64_t tally_progress(const struct tally *t);

/* Seconds of the window for a kind of event; `by_last` if --messages ended the run. 0: no window.
 */
double tally_seconds(const struct tally *t, enum tally_event e, bool by_last);

#endif

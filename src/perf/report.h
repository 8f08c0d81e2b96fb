/* SPDX-License-Identifier: Apache-2.0
 *
 * What the user sees: a line per second, and the summary as text or JSON. Reads only.
 */
#ifndef WARREN_PERF_REPORT_H
#define WARREN_PERF_REPORT_H

#include <stdio.h>

#include "src/perf/journal.h"
#include "src/perf/options.h"
#include "src/perf/tally.h"
#include "src/perf/verify.h"

/* The exit statuses. */
enum report_result {
	RESULT_OK = 0,
	RESULT_SETUP = 1,      /* could not connect, log in, or declare */
	RESULT_BROKEN = 2,     /* lost a connection, or the broker closed something */
	RESULT_UNVERIFIED = 3, /* --verify found a fault */
	RESULT_STALLED = 4,    /* nothing moved any more */
};

struct progress {
	double seconds;     /* since the load began */
	double interval_s;  /* since the last line */
	const char *phase;  /* "", "warm-up", "draining" */
	struct counts last; /* at the last line */
	uint64_t unconfirmed;
	unsigned blocked; /* connections */
	unsigned down;
};

struct summary {
	const struct options *options;
	const struct tally *tally;
	const struct journal *journal;
	const struct verify *verify; /* NULL without --verify */
	struct verify_result verified;
	enum report_result result;
	uint64_t unconfirmed; /* at the end */
	unsigned connections; /* that were opened */
	double connect_s;     /* how long opening all of them took */
	double barrier_s; /* from the load's start until the broker had answered every goodbye */
	double cpu_s;     /* of this process */
	bool drained;     /* everything was confirmed and received */
	bool interrupted;
};

/* One line; the latencies are those of the tally's interval. */
void report_progress(FILE *to, const struct progress *p, const struct tally *t);

void report_text(FILE *to, const struct summary *s);
void report_json(FILE *to, const struct summary *s);

/* "ok", "verification failed", ... Static. */
const char *report_result_name(enum report_result r);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * What producers and consumers share, lent by the load. One thread.
 */
#ifndef WARREN_PERF_ENV_H
#define WARREN_PERF_ENV_H

#include "src/perf/envelope.h"
#include "src/perf/journal.h"
#include "src/perf/options.h"
#include "src/perf/pacer.h"
#include "src/perf/tally.h"
#include "src/perf/turn.h"
#include "src/perf/verify.h"

struct env {
	const struct options *options;
	struct turn *turn;
	struct pacer *pacer;
	struct journal *journal;
	struct tally *tally;
	struct verify *verify; /* NULL without --verify */
	struct envelopes envelopes;
	uint8_t *filler; /* octets for the largest body, for messages without the long stamp */
	uint32_t run;    /* in our messages; 0: consume those of any run */
};

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * A run from its options to its result: opens everything, lets it run, waits until what is under
 * way has arrived, closes everything.
 *
 *   DECLARE -> CONNECT -> RUN -> DRAIN -> LEAVE -> CLEAN -> FAREWELL -> DONE
 *      '----------'--------'-------'-- something broke --^
 */
#ifndef WARREN_PERF_LOAD_H
#define WARREN_PERF_LOAD_H

#include "src/perf/options.h"
#include "src/perf/report.h"

/* Runs it, prints the summary on stdout, and returns the result. */
enum report_result load_run(const struct options *o);

#endif

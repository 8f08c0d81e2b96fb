/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker without libuv or threads, in place of src/loop: the test runs its turns and moves its
 * clock. Everything happens in the same order each time.
 */
#ifndef WARREN_TESTS_FUZZ_FAKE_LOOP_H
#define WARREN_TESTS_FUZZ_FAKE_LOOP_H

#include "src/loop/worker.h"

/* Moves the clocks on and fires what is due, each timer once. */
void fake_time(struct worker *w, uint64_t ms);
/* Timers that exist. */
unsigned fake_timers(void);

#endif

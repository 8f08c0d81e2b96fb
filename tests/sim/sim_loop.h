/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers and timers in virtual time, in place of src/loop: a program that links this file runs the
 * product's folders above it without threads, libuv or a clock. Each worker takes its turns as events
 * of one simulation; mail takes a moment, so that the workers of a node see things in any order that
 * threads would.
 *
 * A worker may be detached: its process was killed. It goes on outside the simulation, with time of
 * its own, only to let go of what it has.
 */
#ifndef WARREN_TESTS_SIM_LOOP_H
#define WARREN_TESTS_SIM_LOOP_H

#include "src/loop/worker.h"
#include "tests/sim/sim.h"

/* Before the first worker; all workers made from now on live in it. */
void sim_loops_begin(struct sim *s);
/* All workers are done. */
void sim_loops_end(void);

/* Its wall clock is ahead of the simulation's by that much. */
void sim_loop_skew(struct worker *w, int64_t ms);
/* It takes no turns until then: the process is stopped, or its machine is busy. */
void sim_loop_stall(struct worker *w, uint64_t until_us);
/* Outside the simulation from now on. */
void sim_loop_detach(struct worker *w);
/* Detached workers live until `over(arg)`, at most `ms`; whether it came to that. */
bool sim_loops_live(struct worker *const *ws, unsigned n, bool (*over)(void *arg), void *arg,
	uint64_t ms);

#endif

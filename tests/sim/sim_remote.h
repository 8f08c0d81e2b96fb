/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of verbs of other nodes' API, in place of src/manage/remote.c and the control connections below it:
 * a request and its reply take as long as messages do, and who cannot be reached does not answer.
 */
#ifndef WARREN_TESTS_SIM_REMOTE_H
#define WARREN_TESTS_SIM_REMOTE_H

#include "tests/sim/sim_node.h"

void sim_remote_begin(struct sim_world *w);
/* The process is gone: none of its calls is answered any more. */
void sim_remote_end(struct sim_node *n);
/* All nodes have ended. */
void sim_remote_done(void);

#endif

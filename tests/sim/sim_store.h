/* SPDX-License-Identifier: Apache-2.0
 *
 * A node's store on a simulated disk, in place of storage/lmdb_store.c, lmdb_log.c and port.c: a
 * program that links this file opens stores by the names under which disks were put in.
 */
#ifndef WARREN_TESTS_SIM_STORE_H
#define WARREN_TESTS_SIM_STORE_H

#include "tests/sim/sim_disk.h"

/* What a machine has in its data directory. */
struct sim_box {
	struct list link;
	const char *dir; /* what store_open() calls it */
	struct sim_disk disk;
	struct store_identity identity; /* node_id 0: there is no store yet */
};

void sim_store_begin(void);
/* `ready(arg)`: store_port_poll() of the node's ports is due. */
void sim_box_init(struct sim_box *b, struct sim *sim, const char *dir, void (*ready)(void *arg),
	void *arg);
void sim_box_done(struct sim_box *b);
/* Nobody has it open: it is empty, and the next store in it has another identity. */
void sim_box_wipe(struct sim_box *b);

#endif

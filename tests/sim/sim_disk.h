/* SPDX-License-Identifier: Apache-2.0
 *
 * A node's disk: a store backend whose requests become durable some time later, all that is queued
 * at a time in one commit, as the LMDB writer does it. A crash loses what was not committed; the
 * commit that is under way may or may not have happened. What was staged and not switched to is gone
 * after a crash. The metadata's rows change with the snapshots that bring them.
 */
#ifndef WARREN_TESTS_SIM_DISK_H
#define WARREN_TESTS_SIM_DISK_H

#include "storage/store.h"
#include "tests/sim/sim.h"

struct sim_disk {
	struct sim *sim;
	struct list rows;      /* struct sim_row, by key: what is durable of the metadata's table */
	struct list media;     /* struct sim_media: what is durable, by group */
	struct store_port own; /* of the logs that hold it */
	struct list queued;    /* struct store_req, not in a commit yet */
	struct list writing;   /* in the commit under way */
	bool busy;             /* a commit is under way */
	bool held;             /* commits nothing: a stall without an end */
	bool dead;             /* crashed: requests complete without effect */
	uint64_t life;         /* crashes so far: events of a former life are void */
	uint64_t min_us;       /* latency of a commit */
	uint64_t max_us;
	uint64_t stalled_us; /* until then nothing completes */
	uint64_t commits;
	void (*ready)(void *arg); /* requests have completed: store_port_poll() */
	void *arg;
};

void sim_disk_init(struct sim_disk *d, struct sim *sim, void (*ready)(void *arg), void *arg);
void sim_disk_done(struct sim_disk *d);
struct store_log *sim_disk_open(struct sim_disk *d, struct store_port *port, uint64_t group);
/* Whether anything is durable for the group. */
bool sim_disk_has(struct sim_disk *d, uint64_t group);
/* From now on requests complete at once and change nothing, until sim_disk_restart(). With `part`,
 * the commit under way may be cut short within (the store does not do that, unless a group's
 * requests are spread over several commits). */
void sim_disk_crash(struct sim_disk *d, bool part);
void sim_disk_restart(struct sim_disk *d);
/* A new disk. */
void sim_disk_wipe(struct sim_disk *d);
/* Every group that has something durable. */
void sim_disk_each(struct sim_disk *d, void (*each)(void *arg, uint64_t group), void *arg);
void sim_disk_each_row(struct sim_disk *d,
	void (*each)(void *arg, struct slice key, struct slice value), void *arg);
/* Begins a commit if there is something to commit. End of a turn. */
void sim_disk_flush(struct sim_disk *d);

#endif

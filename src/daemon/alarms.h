/* SPDX-License-Identifier: Apache-2.0
 *
 * Resource alarms: memory above its watermark, and a disk without space. While one is raised on any node of the
 * cluster, publishers of all nodes are held (connection.blocked) and consumers go on: what is published here may
 * have to be kept there. Checked on worker 0, now and then and whenever the store has something to say of the disk;
 * told to all shards, and to the nodes that this one is linked with. Another node's alarms last as long as the link.
 */
#ifndef WARREN_DAEMON_ALARMS_H
#define WARREN_DAEMON_ALARMS_H

#include "src/daemon/config.h"
#include "src/loop/timer.h"
#include "src/session/env.h"
#include "storage/store.h"

/* Another node's that has some. */
struct alarms_other {
	uint64_t node;
	enum session_alarm raised;
};

struct alarms {
	struct timer *timer;   /* NULL: stopped */
	struct worker *worker; /* that they are checked on */
	struct store *store;
	const char *data_dir;
	struct config_amount memory_limit, disk_limit; /* as they were set */
	uint64_t memory_bytes;    /* watermark; 0: the alarm is always raised */
	uint64_t disk_free_bytes; /* limit; 0: none */
	enum session_alarm raised; /* this node's */
	struct alarms_other *others;
	size_t n_others;
	void (*changed)(void *arg);
	void *arg;
};

/* Checks now and from now on; `changed` is called on the worker's thread whenever this node's alarms are others. */
void alarms_start(struct alarms *a, struct worker *w, const struct config *config);
void alarms_stop(struct alarms *a);
/* Another limit for one of the alarms, which is raised or cleared at once; until alarms_start(). */
void alarms_limit(struct alarms *a, enum session_alarm which, const struct config_amount *limit);
/* Another node says that it has these; NONE also when its link is down. Whether that is news. */
bool alarms_of_other(struct alarms *a, uint64_t node, enum session_alarm raised);
/* Of all nodes together. */
enum session_alarm alarms_everywhere(const struct alarms *a);

/* ---- pure, for tests ---- */

/* The alarms to be raised for these figures, given those that are: an alarm is cleared only when
 * there is a little more room than it was raised for. */
enum session_alarm alarms_judge(
	const struct alarms *a, uint64_t memory_used, uint64_t disk_free, bool store_blocked);
/* Bytes that an amount means, given what it may be a share of. */
uint64_t alarms_amount(const struct config_amount *amount, uint64_t whole);

/* Bytes that the alarm compares: this process's, without pages of files. */
uint64_t alarms_memory_used(void);

/* Bytes that are free on the file system of `path`; UINT64_MAX: unknown. */
uint64_t alarms_disk_free(const char *path);

/* Bytes of memory of the machine, or of the container if that has less. */
uint64_t alarms_machine_memory(void);

#endif

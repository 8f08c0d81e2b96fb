/* SPDX-License-Identifier: Apache-2.0
 *
 * The exchange, the queues and their bindings: declared before the load and deleted after it, on a
 * channel of their own.
 */
#ifndef WARREN_PERF_TOPOLOGY_H
#define WARREN_PERF_TOPOLOGY_H

#include "src/perf/channel.h"
#include "src/perf/options.h"

enum topology_phase { TOPOLOGY_DECLARING, TOPOLOGY_DECLARED, TOPOLOGY_DELETING, TOPOLOGY_DELETED };

struct topology {
	const struct options *options;
	struct channel channel;
	enum topology_phase phase;
	unsigned replies;  /* that are to come */
	uint64_t messages; /* that the queues held when they were declared */
};

void topology_init(struct topology *t, const struct options *o);
void topology_done(struct topology *t);

/* The name of queue i; freed with mem_free(). */
char *topology_queue_name(const struct topology *t, unsigned i);

/* Declares and binds queue i on somebody's channel; returns how many replies will come. None with
 * --no-declare or while only consuming. */
unsigned topology_put_queue(const struct topology *t, struct channel *ch, unsigned i);

/* Deletes what was declared, unless it is to be kept; the phase tells when it is done. */
void topology_delete(struct topology *t);

#endif

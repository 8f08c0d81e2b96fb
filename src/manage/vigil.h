/* SPDX-License-Identifier: Apache-2.0
 *
 * A node that starts waits for its cluster. The vigil knows for whom and why in vain, and says so in the log if it takes
 * long. While the node starts, and while it runs, the vigil finds out whether the cluster has forgotten it: in a
 * minority, a node that refuses the link, for this one is no member, is asked to make sure of that. Worker 0.
 */
#ifndef WARREN_MANAGE_VIGIL_H
#define WARREN_MANAGE_VIGIL_H

#include "src/cluster/catalog.h"
#include "src/cluster/links.h"

struct vigil;

struct vigil_config {
	struct worker *worker;
	struct links *links;
	const struct catalog *catalog; /* worker 0's */
	bool starts; /* the node does: that it waits is said in the log */
	uint64_t id;         /* this node's; likewise the next two. Strings are the owner's until the end */
	uint64_t cluster_id;
	const char *name;
	/* The cluster has forgotten this node; a sentence that says who says so, and what to do. Once, never from
	 * inside vigil_new(); the vigil goes on until it is cancelled. */
	void (*forgotten)(void *arg, const char *why);
	void *arg;
};

/* From when on the links' peers are the members of the cluster. */
struct vigil *vigil_new(const struct vigil_config *config);
/* forgotten() will not be called; NULL is fine. */
void vigil_cancel(struct vigil *v);
/* Who is waited for, each with what the last attempt to link with it came to: one line. To be freed with
 * mem_free(). */
char *vigil_text(const struct vigil *v);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Becoming a member: a node that was told to join a cluster, and died before it had, asks those that are to let it in
 * one after the other, again and again, until one does. Worker 0.
 */
#ifndef WARREN_MANAGE_JOINING_H
#define WARREN_MANAGE_JOINING_H

#include "src/cluster/change.h"
#include "src/cluster/links.h"
#include "src/cluster/membership.h"

struct joining;

struct joining_config {
	struct worker *worker;
	struct links *links;
	uint64_t id; /* this node's; likewise the next two. Strings are the owner's until the end */
	const char *name, *address;
	const struct change *change; /* CHANGE_JOIN; copied */
	/* It is a member: `members`, which the callee takes over. Once, never from inside joining_new(); the joining is
	 * gone. */
	void (*done)(void *arg, struct membership *members);
	void *arg;
};

struct joining *joining_new(const struct joining_config *config);
/* done() will not be called; NULL is fine. */
void joining_cancel(struct joining *j);
/* For whom it waits, and what each has said: one line. To be freed with mem_free(). */
char *joining_text(const struct joining *j);

#endif

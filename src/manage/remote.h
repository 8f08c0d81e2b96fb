/* SPDX-License-Identifier: Apache-2.0
 *
 * The API over CONTROL connections of other nodes and of tools elsewhere (src/cluster/caller.h), and
 * this node's own calls to other nodes. Worker 0.
 */
#ifndef WARREN_MANAGE_REMOTE_H
#define WARREN_MANAGE_REMOTE_H

#include "src/cluster/links.h"
#include "src/manage/api.h"

/* For links_config.call; the argument is a struct api **, looked at when a request comes. */
void remote_on_request(void *arg, struct caller_request *r);

/* A call of a verb of another node's API: the reply, which `done` may keep a reference of, or NULL and
 * `why`. */
typedef void remote_done(void *arg, json_t *reply, const char *why);
/* `name` may be NULL: whoever listens at "host:port". `args` is taken over. */
void remote_call(struct links *ls, const char *address, const char *name, const char *verb,
	json_t *args, remote_done *done, void *arg);

/* The same of a node of the cluster, for a list of what all of them have: nobody waits long for one without a
 * link, which is most likely dead or cut off, nor for one whose link is lost meanwhile. */
void remote_view(struct links *ls, uint64_t node, const char *address, const char *name,
	const char *verb, json_t *args, remote_done *done, void *arg);

/* The same of a node that a link stands to, with nothing to say, for whoever wants to know now whether it answers: NULL
 * after timeout_ms at the latest, or when the link is lost. */
void remote_look(struct links *ls, const struct broker_node *n, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg);

/* The same with nothing to say, to whoever listens at the address; all of it takes timeout_ms at most. */
void remote_ask(struct links *ls, const char *address, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg);

#endif

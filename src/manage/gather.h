/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks every worker of the node for rows, and joins them in the order of the workers.
 */
#ifndef WARREN_MANAGE_GATHER_H
#define WARREN_MANAGE_GATHER_H

#include "src/manage/api.h"

/* On the shard's thread: appends to `rows`, an array. `args` is the call's, to read only. */
typedef void gather_rows(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows);

/* Ends the call with the rows, or with what `finish` makes of them (it takes the array over and
 * ends the call). */
void gather(struct api_call *c, gather_rows *collect,
	void (*finish)(struct api_call *c, json_t *rows));

/* Of a worker's copy of the metadata: the vhost called args.vhost ("/" if absent), and its queue args.name. NULL:
 * there is none. */
struct broker_vhost *gather_vhost(struct broker *b, const json_t *args);
struct broker_queue *gather_queue(struct broker *b, const json_t *args);

#endif

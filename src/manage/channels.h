/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's channels and what they are called, for lists. The worker's thread.
 */
#ifndef WARREN_MANAGE_CHANNELS_H
#define WARREN_MANAGE_CHANNELS_H

#include "src/manage/api.h"
#include "src/session/channel.h"
#include "src/session/consumer.h"

typedef void channels_fn(const struct api_node *node, struct connection *c, struct channel *ch,
	const json_t *args, json_t *rows);

/* fn() for every channel of the worker's open connections. */
void channels_each(const struct api_shard *s, const struct api_node *node, const json_t *args,
	json_t *rows, channels_fn *fn);
/* What RabbitMQ shows as the process of a channel, or of the connection (0): a new reference. */
json_t *channels_pid(const struct api_node *node, const struct connection *c, unsigned channel);
/* The vhost of the connection is the one that args name. */
bool channels_in_vhost(const struct connection *c, const json_t *args);
/* json_of_consumer() of a consumer. */
json_t *channels_consumer(const struct connection *c, const struct consumer *co);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Between a shard's queue clients and hosts and those of other workers and nodes: what a client
 * sends goes to the shard of the queue's group, here or on another node, and events come back.
 */
#ifndef WARREN_DAEMON_QUEUE_BORDER_H
#define WARREN_DAEMON_QUEUE_BORDER_H

#include "src/cluster/link_port.h"
#include "src/queue/client.h"

struct shard;

/* For queue_clients_new(), with the shard as argument. */
struct queue_border queue_border_of(struct shard *s);

/* For queue_hosts_new(); `arg` is the shard. */
struct queue_clients *queue_border_clients(
	void *arg, uint64_t client, struct worker **ret_worker);
uint64_t queue_border_node(void *arg, uint64_t client);
bool queue_border_gone(void *arg, uint64_t client);
void queue_border_send(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n);

/* A message of another node, as link_port_owner.message(). */
bool queue_border_receive(struct shard *s, uint64_t node, const struct envelope *e,
	struct blob *blob, size_t n);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Which queues a shard hosts, and as which member, by the metadata's rows: those of which a member
 * is on this node.
 *
 *   a queue with several first members     opened when it is declared, all of these as voters
 *   a member that joined later             opened when its row is there, without a configuration
 *   a queue with one member                opened when it is first used, or its time runs
 *   at start                               what has begun, or has a log
 *   a member that is in no row any more    closed, its log dropped; then another one may be opened
 */
#ifndef WARREN_DAEMON_HOSTING_H
#define WARREN_DAEMON_HOSTING_H

#include "src/daemon/shard.h"

/* This node's member that is hosted or is to be, or NULL. */
const struct broker_member *hosting_member(const struct shard *s, const struct broker_queue *q);
/* Its group is one of this shard's. */
bool hosting_is_of(const struct shard *s, uint64_t group);

/* The shard begins to serve: opens what is to be open. */
void hosting_open_all(struct shard *s);
/* A queue is there, or its row is another one. */
void hosting_on_added(struct shard *s, struct broker_queue *q);
void hosting_on_changed(struct shard *s, struct broker_queue *q);
/* Closes it, keeps its log, and opens it again as its row says now. */
void hosting_reopen(struct shard *s, uint64_t group);
void hosting_on_begun(struct shard *s, struct broker_queue *q);
/* Somebody uses a queue that is not hosted here. */
void hosting_on_wanted(struct shard *s, uint64_t group);
/* A queue that was hosted here has been closed. */
void hosting_on_closed(struct shard *s, uint64_t group);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients of simulated nodes, through the queue clients of their shards: publishers that send numbered
 * messages and hear of their confirms, consumers that acknowledge, return and cancel. What they see
 * goes to the checker.
 */
#ifndef WARREN_TESTS_SIM_CLIENTS_H
#define WARREN_TESTS_SIM_CLIENTS_H

#include "tests/sim/sim_node.h"

struct sim_client;

/* What a queue is called, by its number. */
void sim_queue_name(char *buf, size_t n, unsigned queue);
/* Its definition as a node has it, or NULL. */
struct broker_queue *sim_queue_find(struct sim_node *n, unsigned queue);

struct sim_clients {
	struct sim_world *world;
	struct list all; /* struct sim_client */
	bool no_more;    /* nothing is published any more */
	bool gentle;     /* everything is acknowledged, nothing returned or cancelled */
	uint64_t pause_us; /* most between two messages of a publisher */
	unsigned body_max;
};

void sim_clients_begin(struct sim_clients *c, struct sim_world *w);
/* All nodes have ended. */
void sim_clients_end(struct sim_clients *c);
/* Publishes of clients that live, and have no answer; `why` names one if there are any. */
unsigned sim_clients_unanswered(const struct sim_clients *c, char *why, size_t why_n);
/* Each lives as long as the node's process, and goes on by itself. */
void sim_publisher_new(struct sim_clients *c, struct sim_node *n, unsigned queue, unsigned window);
void sim_consumer_new(struct sim_clients *c, struct sim_node *n, unsigned queue, unsigned prefetch);

#endif

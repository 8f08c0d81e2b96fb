/* SPDX-License-Identifier: Apache-2.0
 *
 * Several nodes in one thread and virtual time, each with a host and a client of one queue: raft over
 * logs in memory, and links that take a while, break, and lose what is on its way then.
 */
#ifndef WARREN_TESTS_QUEUE_NODES_H
#define WARREN_TESTS_QUEUE_NODES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "raft/groups.h"
#include "src/base/mem.h"
#include "src/queue/client.h"
#include "src/queue/event.h"
#include "src/queue/host.h"

enum { NODES = 3, GROUP = 5, NODE_ID = 100, TICK = 50 };

struct nodes;

struct test_node {
	struct nodes *all;
	unsigned i;
	bool alive;
	bool declared_down; /* the metadata says so */
	struct worker worker;
	struct store_port port;
	struct groups *groups;
	struct queue_clients *clients;
	struct queue_hosts *hosts;
	struct list letters; /* struct net_message that were sent in this turn */
};

struct nodes {
	struct test_node node[NODES];
	uint64_t now_ms;
	uint64_t random;
	bool linked[NODES][NODES];
	struct list wires[NODES][NODES]; /* struct packet */
	unsigned closed;
	bool defined;
};

void nodes_open(struct nodes *w, uint64_t seed);
void nodes_close(struct nodes *w);
/* Milliseconds pass. */
void nodes_run(struct nodes *w, unsigned ms);
/* Until it holds; fails after `ms`. */
void nodes_until(struct nodes *w, bool (*holds)(struct nodes *w), unsigned ms);
uint32_t nodes_random(struct nodes *w);
/* The node whose host leads, or NULL. */
struct test_node *nodes_leader(struct nodes *w);
void nodes_link(struct nodes *w, unsigned a, unsigned b, bool up);
/* It stops, for ever. */
void nodes_kill(struct nodes *w, unsigned i);

#endif

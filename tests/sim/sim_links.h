/* SPDX-License-Identifier: Apache-2.0
 *
 * The links between nodes, in place of src/cluster/links.c: what its header promises, over a network
 * that delays, stalls, cuts one way or both, and machines that lose their power. What a link carries
 * arrives whole and in its lane's order, or the link goes down, as with the one TCP connection that a
 * link is; only messages of raft get lost alone.
 */
#ifndef WARREN_TESTS_SIM_LINKS_H
#define WARREN_TESTS_SIM_LINKS_H

#include "src/cluster/links.h"
#include "tests/sim/sim.h"

enum { SIM_HOSTS = 8 };

struct sim_net_options {
	uint64_t delay_min_us, delay_max_us;
	unsigned loss_permille;   /* a packet that TCP sends again after 200 ms holds up what follows */
	unsigned raft_permille;   /* of messages of raft that get lost alone */
	uint64_t bytes_per_ms;    /* of a link; 0: no limit */
	uint64_t silence_ms;      /* cluster.net_timeout_ms */
};

/* The way from one machine to another, on top of what all have. */
struct sim_way {
	unsigned loss_permille;
	uint64_t delay_us;
};

/* A machine on the network. */
struct sim_host {
	struct links *links; /* of the process that runs there, or NULL */
	bool dark;           /* the machine has no power: nobody answers for it */
};

struct sim_net {
	struct sim *sim;
	struct sim_net_options o;
	struct sim_host hosts[SIM_HOSTS];
	bool cut[SIM_HOSTS][SIM_HOSTS]; /* nothing gets from [a] to [b] */
	struct sim_way way[SIM_HOSTS][SIM_HOSTS];
	struct list wires;              /* struct wire: connections, also those that have ended */
	uint64_t births;                /* of struct links */
	uint64_t delivered;
	/* A node sent what another one does not understand. */
	void (*garbage)(void *arg, unsigned to);
	void *arg;
};

/* All links made from now on are of this network; an address is the host's number and a colon. */
void sim_net_init(struct sim_net *net, struct sim *sim, const struct sim_net_options *o);
/* Every process has ended. */
void sim_net_done(struct sim_net *net);
void sim_net_cut(struct sim_net *net, unsigned from, unsigned to, bool cut);
/* The next links_new() is of the process on this host. */
void sim_net_place(struct sim_net *net, unsigned host);
/* The process is killed; with `dark` its machine has lost its power, and nobody says so to others. */
void sim_net_kill(struct sim_net *net, unsigned host, bool dark);
/* Every connection of the two breaks, and may be made anew. */
void sim_net_break(struct sim_net *net, unsigned a, unsigned b);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the shim between libraft and the other members: what raft sends becomes messages for
 * the links. Rules R1, R2 (withholding), R7, R9, the hard-state barrier and the cutting of large
 * appends live here; for what arrives see raft/group_inbox.h.
 */
#ifndef WARREN_RAFT_GROUP_NET_H
#define WARREN_RAFT_GROUP_NET_H

#include "raft/delay.h"
#include "raft/group.h"
#include "raft/libraft.h"
#include "raft/net.h"
#include "raft/wire.h"

/* A member is behind. All 0: it was near, as of the last look. */
struct lag {
	size_t room;   /* bytes of log; not 0: it was brought up, and lacks what came meanwhile */
	uint64_t n;    /* entries that it lacked ... */
	uint64_t ms;   /* ... then */
	bool given_up; /* it did not gain on us */
};

#define COVERS_ALL UINT64_MAX

/* Another member, as this one sees it. Lives as long as the group is open. */
struct peer {
	struct list link; /* in group_net.peers */
	uint64_t id;
	uint64_t node;
	uint64_t match;      /* leading: what it is known to have stored, in this term */
	uint64_t told;       /* the commit index that it was told by group_net_tell_commit() */
	struct list appends; /* struct outgoing with something left to send, in order */
	unsigned in_link;    /* messages of them that a link has */
	unsigned laden;      /* likewise, those with entries */
	uint64_t sent;       /* highest entry sent and neither answered nor known to be lost */
	uint64_t sent_ms;    /* when that was sent, or when an answer last got further */
	uint64_t heard_ms;   /* leading: when it last answered, by the group's clock */
	bool frozen;         /* it stopped its clock at our asking */
	struct install_out *install; /* a snapshot is on its way to it */
	struct lag lag;
	struct delay delay;  /* leading: how long it takes to have what we have */
	size_t waits;        /* bytes of entries in `appends` */
	unsigned parts_in_link; /* messages of streams that the link has */
	uint64_t part_ms;       /* when it took the last one */
};

struct group_net_state {
	struct list peers;
	struct list letters; /* struct letter that a link or the barrier has */
	struct list held;    /* struct letter that wait for term or vote to become durable */
	struct list inbox;   /* struct arrived, that wait for a write */
	size_t inbox_n;      /* bytes in there */
	uint64_t covered;    /* R1: the most that a success answer may claim now */
	uint64_t lost_ms;    /* when a link was last lost, by the group's clock */
	uint64_t leader_ms;  /* when a leader was last heard, by the group's clock (R11) */
	bool complained;     /* of entries that cannot be ... */
	uint64_t complained_ms; /* ... then */
};

void group_net_init(struct group *g);
/* Calls back all of raft's outstanding send requests and forgets them. Before raft_close(). */
void group_net_cancel(struct group *g);
void group_net_done(struct group *g);

/* raft_io.send */
int group_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
	raft_io_send_cb cb);

/* The head of a message from this member, the rest 0. */
struct wire group_net_wire_to(struct group *g, enum wire_kind kind, uint64_t to);

/* A message of another kind than raft's; `list` and `parts` as in wire.h. Takes over the parts'
 * references. */
void group_net_post(struct group *g, uint64_t node, const struct wire *w, struct slice list,
	const struct net_part *parts, unsigned n_parts);

/* The same, a part of a snapshot for that member: a large one, in no hurry. */
void group_net_stream(struct group *g, struct peer *p, const struct wire *w, struct slice list,
	const struct net_part *parts, unsigned n_parts);

/* The node of the leader that this member follows; 0: it knows none, or leads. */
uint64_t group_net_leader_node(const struct group *g);
/* There is one, and no link to it. */
bool group_net_leader_lost(const struct group *g);
/* Leading: tells the members that have it what is committed. */
void group_net_tell_commit(struct group *g);
/* Writes of hard state up to this one are durable. */
void group_net_hard_done(struct group *g, uint64_t number);
/* Every tick: what a member's link does not take for too long is given up, and it is brought up instead. */
void group_net_tick(struct group *g);
/* The link to `node` is gone. */
void group_net_link_down(struct group *g, uint64_t node);

struct peer *group_net_peer(struct group *g, uint64_t id); /* NULL if there is none yet */
/* The same, made if need be. It is on that node. */
struct peer *group_net_peer_get(struct group *g, uint64_t id, uint64_t node);
/* What waits for the member's link is not sent any more; its letters that the link has are its end. `lost`:
 * nor can it be. Else it arrives some other way, or not at all: raft is told nothing. */
void group_net_drop_appends(struct group *g, struct peer *p, bool lost);
/* Leading: this member answers. */
bool group_net_alive(struct group *g, uint64_t id);
/* Leading: it has what we have as soon as that can be: it lacks next to nothing, or only what is
 * under way to it and was sent less than an election timeout ago. */
bool group_net_in_step(struct group *g, const struct peer *p);
/* Leading: how many entries lacks who lacks most of those that keep up, or did until a moment ago, and
 * lack no more than `room` entries. */
uint64_t group_net_under_way(struct group *g, uint64_t room);
/* Leading: a member lacks more than `near` entries and gets closer, so what it lacks is to stay in the
 * log, as long as that has no more than `room` bytes, or what the member was given by
 * group_net_brought(). */
bool group_net_is_followed(struct group *g, uint64_t near, size_t room);
/* It was brought up by a snapshot, and is waited for as long as the log has no more than `room` bytes. */
void group_net_brought(struct peer *p, size_t room);
/* This member began to lead: nothing is known of the others. */
void group_net_lead(struct group *g);

/* "node" or "node:id" in hexadecimal: raft wants addresses that differ. */
enum { MEMBER_ADDRESS = 40 };
void member_address(char ret[MEMBER_ADDRESS], uint64_t id, uint64_t node);
uint64_t member_node(uint64_t id, const char *address);

#endif

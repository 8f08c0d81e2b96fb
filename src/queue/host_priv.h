/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host's files know of each other: host.c (the registry; opening and closing), host_commands.c (what
 * clients send), host_group.c (what the group asks for and tells: its state machine - entries, snapshots -, time,
 * clients that are dead, leading), host_events.c (what the machine says, to clients).
 */
#ifndef WARREN_QUEUE_HOST_PRIV_H
#define WARREN_QUEUE_HOST_PRIV_H

#include <uthash.h>

#include "src/queue/dispatch.h"
#include "src/queue/expected.h"
#include "src/queue/host.h"

struct timer;

/* An entry's bytes at hand: the one being applied, or the last one fetched. */
struct entry_view {
	uint64_t group;
	uint64_t index; /* 0: none */
	struct blob *blob;
	const uint8_t *p;
	size_t n;
};

/* A section that waits for the host to lead: the queue's properties come first. */
struct early_section {
	struct blob *blob;
	size_t n;
};

struct queue_host {
	uint64_t id;
	uint64_t self; /* raft id of the member */
	UT_hash_handle hh;
	struct queue_hosts *all;
	struct group *group;
	struct machine *machine;
	struct buf config; /* the effective properties as a command */
	struct buf early;  /* struct early_section: came before this member led */
	struct buf turned_away; /* clients, u64 each, that were sent to nobody: told who leads */
	struct expected expected; /* while leading */
	uint64_t term;            /* of this member's last leadership */
	struct entry_view applying;
	struct timer *timer;
	uint64_t armed; /* stamp the timer is set for; 0: not set */
	struct list lazy; /* in queue_hosts.lazy: the open batch waits for company */
	bool durable;
	bool founds;  /* it was opened as its group's only member */
	bool begun;   /* the loss of its log would be noticed: commands may be taken */
	bool elected; /* the group leads */
	bool leading; /* and so does the machine: its effects leave */
	bool ended;      /* told so once */
	bool completing; /* deleted: told so when the timer is up */
	bool failed; /* an entry that it needs cannot be read: not served any more */
	struct list failing; /* in queue_hosts.failing: its clients are to be told so */
	struct list closing; /* in queue_hosts.closing */
	struct store_log *left; /* closed: its log in memory, or NULL */
};

/* What a member in memory has left, for it to be opened again. */
struct left_log {
	uint64_t group, member;
	struct store_log *log; /* NULL: nothing */
};

struct queue_hosts {
	struct queue_hosts_config config;
	struct queue_host *by_id;
	struct entry_view fetched;
	struct dispatch *dispatch;
	struct list failing;      /* struct queue_host.failing */
	struct list lazy;         /* struct queue_host.lazy */
	struct timer *lazy_timer; /* set while `lazy` is not empty */
	struct list closing;      /* struct queue_host.closing: a few */
	struct left_log left;     /* inside config.closed() */
	unsigned open; /* hosts not yet closed, those closing included */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* ---- host.c ---- */

/* The host of a group, or NULL. */
static inline struct queue_host *hosts_find(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h;
	HASH_FIND(hh, hs->by_id, &group, sizeof group, h);
	return h;
}

/* The life of the client's node in which it began has ended. */
static inline bool host_is_over(const struct queue_host *h, uint64_t client)
{
	const struct queue_hosts_config *c = &h->all->config;
	return c->gone(c->arg, client);
}

/* group_app.closed and log_left. */
void host_closed(void *arg);
void host_log_left(void *arg, struct store_log *log);

/* ---- host_commands.c ---- */

/* The leader's own command: client 0, never skipped as a repeat. `command` stays the caller's. */
void host_propose(struct queue_host *h, const struct buf *command);
/* The open batch waits for company no longer. */
void host_hurry(struct queue_host *h);
void hosts_on_lazy_timer(void *arg);
bool host_has_ready(const struct queue_host *h);
/* Sections that came before this member led: they are commands now / they are dropped. */
void host_take_early(struct queue_host *h);
void host_drop_early(struct queue_host *h);
/* To those who were sent away when nobody led. */
void host_call_back(struct queue_host *h);

/* ---- host_group.c ---- */

extern const struct group_app host_app;
void host_on_timer(void *arg);
/* The clients of a node up to an incarnation are gone: what they held returns. */
void host_drop_clients(struct queue_host *h, uint16_t node, uint32_t incarnation);
/* Those who sent what is lost with the leadership, and those who wait for what the next leader says,
 * look for that one: its own word may not reach them. */
void host_send_away(struct queue_host *h);

/* ---- host_events.c ---- */

extern const struct machine_sink host_sink;
void view_drop(struct entry_view *v);
/* The queue is deleted, as its machine says: told once. */
void host_tell_ended(struct queue_host *h);

#endif

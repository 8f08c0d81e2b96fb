/* SPDX-License-Identifier: Apache-2.0
 *
 * One Raft group: libraft's state for one member, driven over a store_log and the members' links.
 * The only folder that includes <raft.h>; everybody else sees this header.
 *
 * A group belongs to one worker thread. Nothing here blocks, and nothing calls back from inside the
 * call that caused it, except where it says so.
 *
 *   group_batch()        where commands are appended during a turn
 *   group_flush()        end of turn: if nothing is outstanding, the open batch becomes one entry
 *   app->apply()         the committed entry, on every member, in index order
 *   app->leading()       from now on (or no more) this member's effects count
 */
#ifndef WARREN_RAFT_GROUP_H
#define WARREN_RAFT_GROUP_H

#include "storage/store.h"

struct group;
struct groups; /* the registry of a worker: raft/groups.h */

enum {
	GROUP_ENTRY_HEADER = 16, /* bytes at the start of every entry that belong to seal() */
	GROUP_BATCH_MAX =
		512 * 1024, /* group_roll() keeps batches of several sections below this */
};

/* A batch under construction: entry bytes in a blob. */
struct batch {
	struct blob *blob; /* NULL while empty */
	size_t n;          /* bytes used, GROUP_ENTRY_HEADER included */
};

/* The state machine above a group. All calls on the group's thread. */
struct group_app {
	/* Fills in the entry's first GROUP_ENTRY_HEADER bytes just before it is proposed. */
	void (*seal)(void *arg, uint8_t *header);
	/* Applies a committed entry. `blob` holds the bytes; take a reference to keep them. May not
	 * fail, and may not call into the group except group_batch(), group_roll(), group_dirty()
	 * and group_release(). */
	void (*apply)(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n);
	/* Appends the whole state as of the last applied entry to `data`, and to `live` (an array
	 * of struct store_range) the entries in (previous, index] whose bytes are still needed; for
	 * the metadata group also changed rows, which stay valid until snapshot_done(). */
	void (*snapshot)(
		void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows);
	/* The snapshot above is durable. */
	void (*snapshot_done)(void *arg, uint64_t index);
	/* Replaces the state; at start from inside group_open(). 0, or -1 if `data` cannot be
	 * understood (the group does not start). */
	int (*restore)(void *arg, uint64_t index, struct slice data);
	/* Whether restore() would understand `data`; changes nothing. Asked about what another
	 * member sends before that takes the place of what is here. Without it all is believed. */
	bool (*accepts)(void *arg, struct slice data);
	/* Called after restore at start: the entries <= index that are still needed, as in
	 * snapshot. */
	void (*live)(void *arg, struct buf *live);
	/* This member leads and everything committed before is applied / it leads no more (closed()
	 * implies that). Batches that were not proposed by then are dropped before this is called:
	 * their clients send again, to whoever leads next. */
	void (*leading)(void *arg, bool yes, uint64_t term);
	/* The group is closed; its memory is gone after this returns. */
	void (*closed)(void *arg);
	/* Optional: right before that, if the log is not dropped, its log, which is the application's from now on:
	 * to be closed, or given to a group_open() of the same member. Without it the log is closed. */
	void (*log_left)(void *arg, struct store_log *log);
	/* Optional: for another member, the whole state as of the last applied entry, such as
	 * restore() takes it, and all entries that are needed, as live() says them. Without it
	 * snapshot() with `previous` 0 is asked. */
	void (*whole)(void *arg, struct buf *data, struct buf *live);
	/* Optional: this member was removed from the group; group_close(drop) is what remains. May
	 * call into the group. */
	void (*removed)(void *arg);
};

struct group_member {
	uint64_t id;   /* raft server id, never 0 and never used again once its log is lost */
	uint64_t node; /* where it lives; 0: `id` names the node, too */
	bool voter;
};

struct group_spec {
	uint64_t id;   /* group id: 0 metadata, then never reused */
	uint64_t self; /* raft id of this member */
	/* The first configuration, the same on all its voters; used only if the log is empty. None:
	 * this member joins a group that exists, and waits until the leader reaches it. */
	const struct group_member *members;
	unsigned n_members;
	/* Of a first configuration: the member that is to lead first, the same on all. It does not
	 * wait for an election timeout. 0: whoever comes to it. */
	uint64_t preferred;
	/* Somebody waits for entries to be applied on other members: they are told at once what is
	 * committed, not with the next entry or heartbeat. */
	bool prompt;
	/* All other members are given up: whatever the log says of them, this one, which `members`
	 * names alone, is the only voter from now on. What they had and this one has not is lost. */
	bool alone;
	/* Likewise, and they may have gone on without it: its terms begin far above all of theirs, so that who has
	 * entries of theirs finds that they are other ones. */
	bool apart;
	/* This member has had a log: one that is empty now is lost, not new. */
	bool begun;
	struct store_log *log; /* taken over: closed with the group */
	const struct group_app *app;
	void *arg;
};

/* Opens a member: loads the log and restores the snapshot (app->restore, app->live) before it
 * returns. Then something must become durable first: with an empty log the first configuration, for
 * a sole voter a new term (rule R5). The group starts when it is; apply() of the entries after the
 * snapshot and leading() come then. Batches may be filled at once, they wait. 0, STORE_DAMAGED
 * (also if the log that `begun` speaks of is not there)
 * or STORE_IO (log closed, nothing created). */
int group_open(struct group **ret, struct groups *groups, const struct group_spec *spec);
/* Asynchronous: finishes writes (what they complete is still applied), then app->closed(), from
 * groups_flush() or store_port_poll(). Batches that were not proposed yet are dropped. `drop` also
 * forgets the log for good. Not from inside apply(); a second call may only add `drop`. */
void group_close(struct group *g, bool drop);

uint64_t group_id(const struct group *g);
/* As app->leading() said last. The newest term that the member knows, whoever leads in it, and the last entry that the app has
 * applied: 0 if there is none. */
bool group_leading(const struct group *g);
uint64_t group_term(const struct group *g);
uint64_t group_applied(const struct group *g);

/* ---- members -------------------------------------------------------------------------------- */

enum group_err {
	GROUP_NOT_LEADER = -1, /* not done: ask group_leader() */
	GROUP_BUSY = -2,       /* not done: another change or transfer is under way */
	GROUP_NO_MEMBER = -3,  /* not done */
	GROUP_SELF = -4,       /* not done: a leader hands over before it goes */
	GROUP_TIMEOUT = -5,    /* not done: the other did not keep up or did not answer */
	GROUP_UNKNOWN = -6,    /* leadership was lost meanwhile: look again later */
	GROUP_NO_QUORUM = -7,  /* not done: the voters left that answer would be no majority */
};
typedef void (*group_done)(void *arg, int status);

/* Changes, by the leader, one at a time. 0: `done` will be called, from groups_flush() (or when the
 * group closes); otherwise it will not. Asking for what is so already succeeds. */
int group_add_standby(
	struct group *g, const struct group_member *member, group_done done, void *arg);
/* Waits as long as it takes until the standby has caught up, provided that it answers: GROUP_TIMEOUT. */
int group_promote(struct group *g, uint64_t id, group_done done, void *arg);
int group_demote(struct group *g, uint64_t id, group_done done, void *arg);
int group_remove(struct group *g, uint64_t id, group_done done, void *arg);
/* To a voter; id 0: to the one that has most, of those who answer. Proposes nothing until it is
 * over: at most an election timeout. Batches wait, and are dropped if it succeeds. */
int group_transfer(struct group *g, uint64_t id, group_done done, void *arg);

struct group_member_state {
	uint64_t id;
	uint64_t node;
	bool voter;
	bool spare;      /* its addition was cut short and it gets nothing: add it again */
	bool installing; /* a snapshot is on its way to it */
	uint64_t match; /* on the leader: what it is known to have; elsewhere only of this member */
	uint64_t lag;   /* entries that it lacks of the leader's */
	bool in_step;   /* on the leader: it lacks next to nothing, or what is under way to it */
};
/* The members by the newest configuration, at most `max` of them; returns how many there are. */
unsigned group_members(const struct group *g, struct group_member_state *ret, unsigned max);
/* This member's log, as far as it is known to be on disk here. */
struct group_indexes {
	uint64_t last, commit;
	uint64_t snapshot; /* 0: there is none */
};
struct group_indexes group_indexes(const struct group *g);
uint64_t group_leader(const struct group *g); /* raft id; 0: not known */
/* Somebody leads: this member, or one that is at rest with it or was heard within an election timeout. A standby knows
 * its leader for ever. */
bool group_led(const struct group *g);
bool group_frozen(const struct group *g);     /* at rest: raft/freeze.h */

/* ---- batches -------------------------------------------------------------------------------- */

/* The open batch; append bytes with batch_put(). Whoever appends calls group_dirty() once. */
struct batch *group_batch(struct group *g);
/* n bytes at the batch's end, to be filled in before the turn ends; valid until the next call.
 * The first call makes room for the header. */
uint8_t *batch_put(struct batch *b, size_t n);
/* Closes the open batch and begins a new one behind it if `more` bytes would make it exceed
 * GROUP_BATCH_MAX. Call before appending a section, so that a section is never cut; one that is
 * larger by itself is alone in its batch. */
void group_roll(struct group *g, size_t more);
/* Puts the group on its worker's list of groups with something to propose. */
void group_dirty(struct group *g);
/* The open batch may wait for company: it is not proposed before group_dirty(), whatever ends meanwhile. */
void group_wait(struct group *g);
/* Bytes that wait in batches or are under way and not yet applied: for back pressure. */
size_t group_backlog(const struct group *g);

/* Entry `index` (at or below group_applied) holds nothing the app needs. Cheap, any number. */
void group_release(struct group *g, uint64_t index);
/* Bytes of an applied entry that is still needed: from memory if recent, else from the store.
 * Returns a referenced blob; 0 or an error of store_log_fetch(). */
int group_fetch(struct group *g, uint64_t index, struct blob **ret_blob, const uint8_t **ret_p,
	size_t *ret_n);
/* How often that has read from the store, since the group was opened. */
uint64_t group_reads(const struct group *g);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 *   groups_receive() -> group_inbox_receive() -> [inbox: a write is under way] -> put right -> raft
 */
#include "raft/group_inbox.h"

#include <inttypes.h>

#include "raft/configuration.h"
#include "raft/freeze.h"
#include "raft/group_priv.h"
#include "raft/install.h"
#include "raft/membership.h"
#include "src/base/log.h"

enum {
	COMPLAIN_MS = 60000, /* between two complaints of a group */
	INBOX_BYTES = 4 * 1024 * 1024, /* beyond, messages are dropped: the leader repeats */
	WRITING_BYTES = 4 * 1024 * 1024, /* the same, of entries that a follower's disk has yet to take */
};

/* A message that waits for a write to end. */
struct arrived {
	struct list link;
	uint64_t node;
	struct wire w; /* slices into the blob */
	struct blob *blob;
};

static void give_to_raft(
	struct group *g, uint64_t node, const struct wire *w, struct raft_message *message)
{
	char address[MEMBER_ADDRESS];
	member_address(address, w->from, node);
	message->server_id = w->from;
	message->server_address = address;
	g->io.recv(&g->io.raft, message);
	group_settle(g);
}

/* ---- appends that arrive -------------------------------------------------------------------- */

static size_t entries_size(const struct wire *w, unsigned n)
{
	size_t size = 0;
	for (unsigned i = 0; i < n; i++)
		size += wire_entry_of(w, i).n;
	return size;
}

static void skip_entries(struct wire *w, unsigned n)
{
	size_t size = entries_size(w, n);
	if (n == 0)
		return;
	w->prev_index += n;
	w->prev_term = wire_entry_of(w, n - 1).number;
	w->n -= n;
	w->list = slice_make(w->list.p + (size_t)n * WIRE_ENTRY, w->list.n - (size_t)n * WIRE_ENTRY);
	w->bytes = slice_make(w->bytes.p + size, w->bytes.n - size);
}

static struct wire first_entries(const struct wire *w, unsigned n)
{
	struct wire first = *w;
	first.n = n;
	first.list.n = (size_t)n * WIRE_ENTRY;
	first.bytes.n = entries_size(w, n);
	if (first.commit > w->prev_index + n)
		first.commit = w->prev_index + n;
	return first;
}

/* R6: libraft rejects what is before its log's start; the leader walks down to the beginning, sends
 *     a snapshot that is older than ours, and never gets on. What we have applied is committed, so
 *     it is the leader's as well: the request is anchored there, without the entries up to it. */
static void anchor(struct group *g, struct wire *w)
{
	uint64_t commit = libraft_commit(&g->raft);
	if (!RULE(g, r6_anchor) || g->io.snapshots > 0 || w->term < libraft_term(&g->raft))
		return;
	if (w->prev_index >= g->io.log_start || w->prev_index == g->io.kept_index ||
		w->prev_index >= commit || raft_last_applied(&g->raft) != commit)
		return;
	uint64_t skip = commit - w->prev_index;
	skip_entries(w, skip < w->n ? (unsigned)skip : w->n);
	w->prev_index = commit;
	w->prev_term = terms_of(&g->io.terms, commit);
	if (w->commit > commit + w->n)
		w->commit = commit + w->n;
}

/* The first entry of an append that is another than ours; 0: none. */
static uint64_t first_conflict(struct group *g, const struct wire *w)
{
	const struct terms *t = &g->io.terms;
	if (w->term < libraft_term(&g->raft))
		return 0;
	if (w->prev_index > 0 && terms_of(t, w->prev_index) != w->prev_term)
		return 0;
	for (unsigned i = 0; i < w->n; i++) {
		uint64_t index = w->prev_index + 1 + i;
		uint64_t ours = index >= g->io.log_start ? terms_of(t, index) : 0;
		if (ours != 0 && ours != wire_entry_of(w, i).number)
			return index;
	}
	return 0;
}

/* R10: when libraft truncates an uncommitted configuration it returns to the last committed one,
 *     which it looks for in its log; if a snapshot has taken that entry, it dereferences NULL. And
 *     after a restart it takes the newest configuration for committed, and does not return at all.
 *     So we return to it before libraft sees the append. */
static void roll_back(struct group *g, const struct wire *w)
{
	uint64_t index = first_conflict(g, w);
	const struct conf_at *newest = confs_newest(&g->io.confs);
	if (index == 0 || newest == NULL || newest->index < index || !RULE(g, r10_rollback))
		return;
	const struct conf_at *before = confs_at(&g->io.confs, index - 1);
	if (before == NULL)
		group_broken(g, "the configuration before the last one is not known");
	struct raft_configuration conf;
	conf_copy(&conf, &before->conf);
	libraft_set_configuration(
		&g->raft, &conf, before->index > libraft_commit(&g->raft) ? before->index : 0);
}

/* What libraft takes for granted, its asserts being compiled out: terms that rise up to the
 * leader's, types it knows, configurations that can be read. */
static bool is_sound(const struct wire *w)
{
	uint64_t term = w->prev_term;
	const uint8_t *p = w->bytes.p;
	if ((w->prev_index == 0) != (w->prev_term == 0) || w->prev_term > w->term)
		return false;
	for (unsigned i = 0; i < w->n; i++) {
		struct wire_entry e = wire_entry_of(w, i);
		struct raft_configuration conf;
		if (e.number == 0 || e.number < term || e.number > w->term)
			return false;
		term = e.number;
		if (e.type == RAFT_CHANGE) {
			if (configuration_decode(&conf, slice_make(p, e.n)) != 0)
				return false;
			raft_configuration_close(&conf);
		} else if (e.type != RAFT_COMMAND && e.type != RAFT_BARRIER) {
			return false;
		}
		p += e.n;
	}
	return true;
}

/* Another leader in the term in which we lead, or entries other than committed ones: somebody has
 * broken his word, and libraft would break with him. */
static bool contradicts(struct group *g, const struct wire *w)
{
	uint64_t commit = libraft_commit(&g->raft);
	uint64_t conflict = first_conflict(g, w);
	uint64_t prev = terms_of(&g->io.terms, w->prev_index);
	if (w->term < libraft_term(&g->raft))
		return false;
	return (g->leading_raft && w->term == g->term_raft) ||
	       (conflict != 0 && conflict <= commit) ||
	       (w->prev_index <= commit && prev != 0 && prev != w->prev_term);
}

static void give_append(struct group *g, uint64_t node, struct wire w, struct blob *blob)
{
	anchor(g, &w);
	roll_back(g, &w);
	struct raft_entry *entries = NULL;
	if (w.n > 0) {
		/* One batch for the payloads: the message itself. libraft copies what it keeps. */
		entries = raft_malloc(w.n * sizeof *entries);
		blob_ref(blob);
	}
	const uint8_t *p = w.bytes.p;
	for (unsigned i = 0; i < w.n; i++) {
		struct wire_entry e = wire_entry_of(&w, i);
		entries[i] = (struct raft_entry){
			.term = e.number,
			.type = e.type,
			.buf = {.base = (void *)p, .len = e.n},
			.batch = blob->data,
		};
		p += e.n;
	}
	struct raft_message message = {
		.type = RAFT_IO_APPEND_ENTRIES,
		.append_entries =
			{
				.term = w.term,
				.prev_log_index = w.prev_index,
				.prev_log_term = w.prev_term,
				.leader_commit = w.commit,
				.entries = entries,
				.n_entries = w.n,
			},
	};
	g->net.covered = w.prev_index + w.n; /* R1 */
	if (w.term >= libraft_term(&g->raft))
		g->net.leader_ms = freeze_clock(g);
	give_to_raft(g, node, &w, &message);
	g->net.covered = COVERS_ALL;
}

/* The later line believes that a change of members is the first entry of its message: the index of
 * another would never be taken for committed. */
static unsigned up_to_change(const struct wire *w)
{
	unsigned n = w->n > 0;
	while (n < w->n && (!LIBRAFT_LAYERED || wire_entry_of(w, n).type != RAFT_CHANGE))
		n++;
	return n;
}

/* A leader sends them again and again. */
static void complain(struct group *g, uint64_t from)
{
	uint64_t now = groups_now(g->groups);
	if (g->net.complained && now - g->net.complained_ms < COMPLAIN_MS)
		return;
	g->net.complained = true;
	g->net.complained_ms = now;
	log_error("raft", "group %" PRIu64 ": entries that cannot be, from member %" PRIu64 ", ignored", g->id,
		from);
}

static void receive_append(struct group *g, uint64_t node, struct wire w, struct blob *blob)
{
	if (!is_sound(&w) || contradicts(g, &w)) {
		complain(g, w.from);
		return;
	}
	unsigned n;
	while ((n = up_to_change(&w)) < w.n) {
		give_append(g, node, first_entries(&w, n), blob);
		skip_entries(&w, n);
	}
	give_append(g, node, w, blob);
}

static void note_match(struct group *g, struct peer *p, uint64_t last)
{
	if (last <= p->match)
		return;
	p->match = last;
	p->sent_ms = groups_now(g->groups);
	delay_answer(&p->delay, last, p->sent_ms);
	if (p->sent <= last)
		p->sent = 0;
	membership_caught_up(g);
}

/* Whatever was sent is not wanted like that, and raft begins again with what is. What has yet to be sent of
 * it would be refused as well, each time for another beginning: on a slow link without an end. */
static void note_refusal(struct group *g, struct peer *p)
{
	p->sent = 0;
	if (RULE(g, split))
		group_net_drop_appends(g, p, false);
}

static void receive_appended(struct group *g, uint64_t node, const struct wire *w)
{
	struct peer *p = group_net_peer_get(g, w->from, node);
	uint64_t rejected = w->rejected;
	if (g->stall.silent)
		return;
	if (g->leading_raft && w->term == libraft_term(&g->raft)) {
		p->heard_ms = freeze_clock(g);
		if (rejected == 0)
			note_match(g, p, w->last <= g->io.terms.last ? w->last : g->io.terms.last);
		else if (rejected > p->match || !RULE(g, split))
			note_refusal(g, p);
		/* In an idle group the snapshot's index is the last one, and the refusal of a
		 * heartbeat reads as the refusal of the snapshot that streams. Any other number
		 * counts as contact and nothing else. */
		if (rejected != 0 && p->install != NULL && RULE(g, mask_rejected))
			rejected = UINT64_MAX;
	}
	struct raft_message message = {
		.type = RAFT_IO_APPEND_ENTRIES_RESULT,
		.append_entries_result =
			{
				.term = w->term,
				.rejected = rejected,
				.last_log_index = w->last,
				LIBRAFT_RESULT
			},
	};
	give_to_raft(g, node, w, &message);
}

void group_inbox_answer(struct group *g, const struct peer *from, uint64_t last)
{
	struct wire w = {.from = from->id, .term = libraft_term(&g->raft), .last = last};
	receive_appended(g, from->node, &w);
}

/* R11: libraft does not vote unless its own configuration calls it a voter. But whoever is asked is
 * a voter to the one who asks, whose configuration may be newer; if the entry that made it a voter
 *     reached only the others and one of those is gone, nobody could be elected any more. Votes are
 *     given without consulting one's own configuration (dissertation, 4.1). And libraft refuses as
 *     long as it knows a leader, which only its own election timeout ends, and a standby has none.
 *     What counts is the minimum election timeout without a sign of the leader (4.2.3). */
static bool leader_is_silent(const struct group *g)
{
	return raft_state((struct raft *)&g->raft) == RAFT_FOLLOWER &&
	       (freeze_clock(g) - g->net.leader_ms >= groups_election_ms(g->groups) ||
		       group_net_leader_lost(g));
}

bool group_led(const struct group *g)
{
	return g->leading || (group_leader(g) != 0 && !leader_is_silent(g));
}

/* A member that rested was asked for its vote and follows a leader whom it can reach: that one rests,
 * too, and says nothing. It is to hear that somebody does not, before an election timeout has
 * passed here. */
static void wake_leader(struct group *g)
{
	uint64_t node = group_net_leader_node(g);
	struct wire w = group_net_wire_to(g, WIRE_APPENDED, group_leader(g));
	w.term = libraft_term(&g->raft);
	w.last = g->fsm.applied;
	if (node != 0 && groups_linked(g->groups, node))
		group_net_post(g, node, &w, slice_make(NULL, 0), NULL, 0);
}

/* R14: What a member got while it was no voter was never counted: leaders count by the newest
 *      configuration in their log, and have committed all before they change it. So it vouches for
 *      what it had until the configuration came that calls it none, and for what it knows to be
 *      committed. The rest must not keep a voter from being elected: it may well be longer than any
 *      voter's log, as the entry that demotes it is if the leader's crash took that from its own
 *      disk, and a standby does not campaign itself. */
static uint64_t vouched(const struct group *g)
{
	const struct confs *c = &g->io.confs;
	uint64_t commit = libraft_commit(&g->raft);
	uint64_t index = g->io.terms.last;
	for (unsigned i = c->n; i > 0; i--) {
		const struct raft_server *s = conf_find(&c->at[i - 1].conf, g->self);
		if (s != NULL && s->role == RAFT_VOTER)
			break;
		index = c->at[i - 1].index - 1;
	}
	return index > commit ? index : commit;
}

/* A candidate that has all we vouch for is made to look as if it had all we have. */
static void vouch(const struct group *g, struct raft_request_vote *v)
{
	const struct terms *t = &g->io.terms;
	uint64_t index = vouched(g);
	uint64_t term = terms_of(t, index);
	bool has = v->last_log_term > term ||
		   (v->last_log_term == term && v->last_log_index >= index);
	if (!has || index == t->last || v->last_log_term > terms_of(t, t->last))
		return;
	v->last_log_term = terms_of(t, t->last);
	if (v->last_log_index < t->last)
		v->last_log_index = t->last;
}

static void vote(struct group *g, uint64_t node, const struct wire *w, struct raft_message *message)
{
	int was = -1;
	if (RULE(g, r14_vouches))
		vouch(g, &message->request_vote);
	if (RULE(g, r11_votes)) {
		was = libraft_set_role(&g->raft, RAFT_VOTER);
		if (leader_is_silent(g))
			message->request_vote.disrupt_leader = true;
	}
	char address[MEMBER_ADDRESS];
	member_address(address, w->from, node);
	message->server_id = w->from;
	message->server_address = address;
	g->io.recv(&g->io.raft, message);
	if (was != -1)
		libraft_set_role(&g->raft, was);
	group_settle(g);
}

static void receive_vote(struct group *g, uint64_t node, const struct wire *w)
{
	/* R8: libraft would answer with a log that is about to go. */
	if (g->io.installing && RULE(g, r8_no_tick))
		return;
	if (membership_refuses(g, node, w))
		return;
	struct raft_message message = {
		.type = RAFT_IO_REQUEST_VOTE,
		.request_vote =
			{
				.term = w->term,
				.candidate_id = w->from,
				.last_log_index = w->last,
				.last_log_term = w->last_term,
				.disrupt_leader = (w->flags & WIRE_DISRUPT) != 0,
				.pre_vote = (w->flags & WIRE_PRE_VOTE) != 0,
			},
	};
	vote(g, node, w, &message);
}

static void receive_voted(struct group *g, uint64_t node, const struct wire *w)
{
	if ((w->flags & (WIRE_PRE_VOTE | WIRE_REAL_VOTE)) == 0)
		return; /* not to be counted as the other kind */
	libraft_pre_vote pre_vote =
		w->flags & WIRE_PRE_VOTE ? LIBRAFT_PRE_VOTE_YES : LIBRAFT_PRE_VOTE_NO;
	struct raft_message message = {
		.type = RAFT_IO_REQUEST_VOTE_RESULT,
		.request_vote_result =
			{
				.term = w->term,
				.vote_granted = (w->flags & WIRE_GRANTED) != 0,
				.pre_vote = pre_vote,
				LIBRAFT_RESULT
			},
	};
	give_to_raft(g, node, w, &message);
}

static void receive_timeout_now(struct group *g, uint64_t node, const struct wire *w)
{
	struct raft_message message = {
		.type = RAFT_IO_TIMEOUT_NOW,
		.timeout_now =
			{
				.term = w->term,
				.last_log_index = w->last,
				.last_log_term = w->last_term,
			},
	};
	give_to_raft(g, node, w, &message);
}

static void handle(struct group *g, uint64_t node, const struct wire *w, struct blob *blob)
{
	switch (w->kind) {
	case WIRE_APPEND:
		receive_append(g, node, *w, blob);
		break;
	case WIRE_APPENDED:
		receive_appended(g, node, w);
		break;
	case WIRE_VOTE:
		receive_vote(g, node, w);
		break;
	case WIRE_VOTED:
		receive_voted(g, node, w);
		break;
	case WIRE_TIMEOUT_NOW:
		receive_timeout_now(g, node, w);
		break;
	case WIRE_FREEZE:
	case WIRE_FROZEN:
		freeze_receive(g, node, w);
		break;
	case WIRE_REMOVED:
		membership_removed(g, w);
		break;
	case WIRE_HERE:
		haste_receive(g);
		break;
	case WIRE_INSTALL:
	case WIRE_INSTALL_STATE:
	case WIRE_INSTALL_ENTRIES:
		install_receive(g, node, w, blob);
		break;
	case WIRE_INSTALL_ACK:
		install_acked(g, node, w);
		break;
	}
}

/* libraft drops what arrives while a snapshot is written, and answers nothing: it waits here
 * instead, and so does what would overtake it. R8: TimeoutNow waits for appends as well. */
static bool must_wait(const struct group *g, const struct wire *w)
{
	if (w->kind == WIRE_TIMEOUT_NOW)
		return (g->io.snapshots > 0 || g->io.appends > 0 || !list_empty(&g->net.inbox)) &&
		       RULE(g, r8_no_tick);
	if (w->kind == WIRE_APPEND)
		return g->io.snapshots > 0 || !list_empty(&g->net.inbox);
	return false;
}

/* A disk that stands still while the others commit: the leader sends without end. */
static bool too_much_to_write(const struct group *g, const struct wire *w)
{
	return w->kind == WIRE_APPEND && w->n > 0 && g->io.append_bytes >= WRITING_BYTES;
}

void group_inbox_receive(struct group *g, uint64_t node, const struct wire *w, struct blob *blob)
{
	bool rested = g->freeze.frozen;
	if (w->kind != WIRE_FREEZE && w->kind != WIRE_FROZEN)
		freeze_thaw(g);
	if (too_much_to_write(g, w))
		return;
	if (!must_wait(g, w)) {
		handle(g, node, w, blob);
		if (rested && w->kind == WIRE_VOTE)
			wake_leader(g);
		return;
	}
	if (g->net.inbox_n + blob->cap > INBOX_BYTES)
		return;
	struct arrived *a = mem_alloc(sizeof *a);
	*a = (struct arrived){.node = node, .w = *w, .blob = blob_ref(blob)};
	g->net.inbox_n += blob->cap;
	list_push_back(&g->net.inbox, &a->link);
}

static void arrived_free(struct group *g, struct arrived *a)
{
	list_remove(&a->link);
	g->net.inbox_n -= a->blob->cap;
	blob_unref(a->blob);
	mem_free(a);
}

void group_inbox_unblock(struct group *g)
{
	struct list due;
	list_init(&due);
	if (list_empty(&g->net.inbox) || g->phase != GROUP_RUNNING)
		return;
	while (!list_empty(&g->net.inbox)) {
		struct arrived *a = LIST_ENTRY(g->net.inbox.next, struct arrived, link);
		bool waits =
			g->io.snapshots > 0 || (a->w.kind == WIRE_TIMEOUT_NOW && g->io.appends > 0);
		if (waits)
			return;
		struct arrived now = *a;
		blob_ref(now.blob);
		arrived_free(g, a);
		handle(g, now.node, &now.w, now.blob);
		blob_unref(now.blob);
	}
}

void group_inbox_clear(struct group *g)
{
	LIST_EACH_SAFE(node, &g->net.inbox)
	arrived_free(g, LIST_ENTRY(node, struct arrived, link));
}

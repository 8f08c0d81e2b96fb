/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host.h"

#include <assert.h>
#include <uthash.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "src/queue/expected.h"
#include "src/queue/dispatch.h"
#include "src/queue/resume.h"

enum {
	LAZY_MS = 2, /* longest that settles alone wait for company */
	LAZY_SECTION_MAX = 4096, /* bytes of a section that is looked through for being lazy */
	MEMBERS_MAX = 255,
	TURNED_AWAY_MAX = 64, /* the others ask again by themselves */
	COMPLETE_MS = 1000, /* for whoever deleted a queue to take its definition away */
	TIMER_MAX_MS = 3600 * 1000, /* longer waits are cut: the wall clock may be set meanwhile */
};

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

static const struct group_app host_app;

/* ---- messages ---- */

static void view_drop(struct entry_view *v)
{
	blob_unref(v->blob);
	*v = (struct entry_view){0};
}

/* What the machine says from here on reaches nobody: a message that it has given out and nobody got
 * must not look as if it were with a consumer. The clients are told when the turn ends. */
static void host_fail(struct queue_host *h, uint64_t index, int error)
{
	if (h->failed)
		return;
	h->failed = true;
	h->leading = false;
	list_push_back(&h->all->failing, &h->failing);
	h->all->config.failed(h->all->config.arg, h->id, index, error);
}

/* Points `at` to a message's entry: usually the one being applied, else one read back. If that cannot
 * be, the queue has failed. */
static bool host_locate(
	struct queue_host *h, uint64_t index, uint32_t offset, struct event_message *at)
{
	struct entry_view *v = &h->applying;
	if (v->index != index) {
		v = &h->all->fetched;
		if (v->group != h->id || v->index != index) {
			view_drop(v);
			int rc = group_fetch(h->group, index, &v->blob, &v->p, &v->n);
			if (rc != 0) {
				*v = (struct entry_view){0};
				host_fail(h, index, rc);
				return false;
			}
			v->group = h->id;
			v->index = index;
		}
	}
	*at = (struct event_message){v->blob, v->p, v->n, offset};
	return true;
}

/* ---- events ---- */

/* All clients of the node: those whose commands are still under way are not known to the machine. */
static void host_tell_unavailable(struct queue_host *h)
{
	const struct queue_hosts_config *c = &h->all->config;
	for (uint16_t no = 0; no < c->n_workers; no++)
		dispatch_unavailable(
			h->all->dispatch, client_id_make(c->node, c->incarnation, no), h->id);
}

static bool hosts_tell_failed(struct queue_hosts *hs)
{
	bool any = !list_empty(&hs->failing);
	struct list *node;
	while ((node = list_pop(&hs->failing)) != NULL)
		host_tell_unavailable(LIST_ENTRY(node, struct queue_host, failing));
	return any;
}

bool queue_hosts_flush(struct queue_hosts *hs)
{
	bool told = hosts_tell_failed(hs);
	view_drop(&hs->fetched);
	return dispatch_flush(hs->dispatch) || told;
}

static void host_on_deliver(void *arg, const struct machine_delivery *d)
{
	struct queue_host *h = arg;
	struct event_message at;
	if (h->leading && dispatch_reaches(h->all->dispatch, d->client) &&
		host_locate(h, d->index, d->offset, &at))
		dispatch_deliver(h->all->dispatch, h->id, d, &at);
}

static void host_on_answer(void *arg, const struct machine_answer *a)
{
	struct queue_host *h = arg;
	struct event_message at;
	if (!h->leading || !dispatch_reaches(h->all->dispatch, a->client))
		return;
	bool found =
		a->delivery != NULL && host_locate(h, a->delivery->index, a->delivery->offset, &at);
	if (!h->failed)
		dispatch_answer(h->all->dispatch, h->id, a, found ? &at : NULL);
}

static void host_on_refused(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	if (h->leading)
		dispatch_refused(h->all->dispatch, client, h->id, seq);
}

static bool host_is_over(const struct queue_host *h, uint64_t client)
{
	const struct queue_hosts_config *c = &h->all->config;
	return c->gone(c->arg, client);
}

static void host_drop_clients(struct queue_host *h, uint16_t node, uint32_t incarnation);

/* What a client has sent may be applied behind the end of its life: it ends once more. */
static void host_on_applied(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	if (!h->leading)
		return;
	dispatch_applied(h->all->dispatch, client, h->id, seq);
	if (host_is_over(h, client))
		host_drop_clients(h, client_id_node(client), client_id_incarnation(client));
}

static void host_on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	struct queue_host *h = arg;
	if (h->leading)
		dispatch_cancelled(h->all->dispatch, client, h->id, consumer);
}

static void host_on_dead(void *arg, const struct machine_dead *d)
{
	struct queue_host *h = arg;
	struct event_message at;
	struct message m;
	if (!h->leading)
		return;
	if (host_locate(h, d->index, d->offset, &at) &&
		command_message_at(at.p, at.n, at.offset, &m) == 0)
		h->all->config.dead(h->all->config.arg, h->id, machine_config(h->machine), d, &m);
}

static void host_on_release(void *arg, uint64_t index)
{
	struct queue_host *h = arg;
	group_release(h->group, index);
}

static void host_tell_ended(struct queue_host *h)
{
	if (h->ended)
		return;
	h->ended = true;
	h->all->config.ended(h->all->config.arg, h->id);
}

static void host_on_ended(void *arg, bool expired)
{
	struct queue_host *h = arg;
	(void)expired;
	if (h->leading)
		host_tell_ended(h);
}

/* Who deleted it takes the definition away when the answer is there. Were that done from here as well, it
 * could overtake the answer, which goes another way: the queue would be gone for its own deleter. But whoever
 * deleted it may be gone before its definition is. */
static void host_complete(struct queue_host *h)
{
	if (h->ended || h->completing)
		return;
	h->completing = true;
	timer_set(h->timer, COMPLETE_MS);
}

static const struct machine_sink host_sink = {
	.deliver = host_on_deliver,
	.answer = host_on_answer,
	.refused = host_on_refused,
	.applied = host_on_applied,
	.cancelled = host_on_cancelled,
	.dead = host_on_dead,
	.release = host_on_release,
	.ended = host_on_ended,
};

/* ---- commands ---- */

static void host_append(struct queue_host *h, const uint8_t *section, size_t n)
{
	group_roll(h->group, n);
	memcpy(batch_put(group_batch(h->group), n), section, n);
}

static void host_hurry(struct queue_host *h)
{
	list_remove(&h->lazy);
	group_dirty(h->group);
}

/* The leader's own command: client 0, never skipped as a repeat. */
static void host_propose(struct queue_host *h, const struct buf *command)
{
	struct buf b = BUF_EMPTY;
	command_put_section_header(
		buf_put(&b, COMMAND_SECTION_HEADER), 0, 0, 0, 1, (uint32_t)command->n);
	buf_put_slice(&b, buf_slice(command));
	host_append(h, b.p, b.n);
	host_hurry(h);
	buf_done(&b);
}

/* Nothing but settles and credit: nobody is told when they are applied. */
static bool section_is_silent(const uint8_t *p, size_t n)
{
	if (n > LAZY_SECTION_MAX)
		return false;
	for (size_t at = COMMAND_SECTION_HEADER; at + COMMAND_HEADER <= n;
		at += COMMAND_HEADER + load_u32le(p + at + 4))
		if (p[at] != COMMAND_SETTLE && p[at] != COMMAND_CREDIT)
			return false;
	return true;
}

static bool host_has_ready(const struct queue_host *h)
{
	struct machine_counts counts;
	machine_counts(h->machine, &counts);
	return counts.ready > 0;
}

/* A durable commit for acknowledgements alone is a commit during which the next publish waits. While
 * the queue has nothing ready, nobody else waits for them either: they may wait for company. */
static bool host_may_wait(const struct queue_host *h, const uint8_t *section, size_t n)
{
	bool waits = group_batch(h->group)->blob == NULL || !list_empty(&h->lazy);
	return h->durable && waits && section_is_silent(section, n) && !host_has_ready(h);
}

static void host_wait(struct queue_host *h)
{
	struct queue_hosts *hs = h->all;
	if (!list_empty(&h->lazy))
		return;
	if (list_empty(&hs->lazy))
		timer_set(hs->lazy_timer, LAZY_MS);
	list_push_back(&hs->lazy, &h->lazy);
	group_wait(h->group);
}

static void hosts_on_lazy_timer(void *arg)
{
	struct queue_hosts *hs = arg;
	while (!list_empty(&hs->lazy))
		host_hurry(LIST_ENTRY(hs->lazy.next, struct queue_host, lazy));
}

/* A section alone in its turn becomes the batch as it is; others are copied behind one another. */
static void host_take(struct queue_host *h, struct blob *blob, size_t n)
{
	struct batch *batch = group_batch(h->group);
	bool wait = host_may_wait(
		h, blob->data + COMMAND_ENTRY_HEADER, n - COMMAND_ENTRY_HEADER);
	if (batch->blob == NULL) {
		batch->blob = blob;
		batch->n = n;
	} else {
		host_append(h, blob->data + COMMAND_ENTRY_HEADER, n - COMMAND_ENTRY_HEADER);
		blob_unref(blob);
	}
	if (wait)
		host_wait(h);
	else
		host_hurry(h);
}

static struct queue_host *hosts_find(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h;
	HASH_FIND(hh, hs->by_id, &group, sizeof group, h);
	return h;
}

static struct queue_host *hosts_wanted(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h != NULL)
		return h;
	hs->config.wanted(hs->config.arg, group);
	return hosts_find(hs, group);
}

/* The node of the member that leads as far as this one knows; 0: none. */
static uint64_t host_leader(const struct queue_host *h)
{
	struct group_member_state m[MEMBERS_MAX];
	uint64_t leader = group_leader(h->group);
	unsigned n = group_members(h->group, m, MEMBERS_MAX);
	for (unsigned i = 0; leader != 0 && i < n && i < MEMBERS_MAX; i++)
		if (m[i].id == leader)
			return m[i].node != h->all->config.self ? m[i].node : 0;
	return 0;
}

/* Its only member: sooner or later it leads. One that joins knows no members until the leader reaches
 * it. */
static bool host_is_alone(const struct queue_host *h)
{
	struct group_member_state m;
	unsigned n = group_members(h->group, &m, 1);
	return n == 0 ? h->founds : n == 1 && m.id == h->self;
}

static bool holds(const struct buf *clients, uint64_t client)
{
	for (size_t at = 0; at < clients->n; at += sizeof client)
		if (memcmp(clients->p + at, &client, sizeof client) == 0)
			return true;
	return false;
}

/* To the leader's node, or to nobody for now. */
static void host_turn_away(struct queue_host *h, uint64_t client)
{
	uint64_t to = host_leader(h);
	if (to == 0 && h->turned_away.n < TURNED_AWAY_MAX * sizeof client &&
		!holds(&h->turned_away, client))
		buf_put_bytes(&h->turned_away, &client, sizeof client);
	dispatch_moved(h->all->dispatch, client, h->id, to);
}

/* A client asks for a queue that is not served here. */
static void hosts_turn_away(
	struct queue_hosts *hs, struct queue_host *h, uint64_t group, uint64_t client)
{
	const struct queue_hosts_config *c = &hs->config;
	if (h != NULL && !h->failed)
		host_turn_away(h, client);
	else if (!c->defined(c->arg, group) && client_id_node(client) == c->node)
		dispatch_gone(hs->dispatch, client, group);
	else if (c->alone(c->arg, group))
		dispatch_unavailable(hs->dispatch, client, group);
	else
		dispatch_moved(hs->dispatch, client, group, 0);
}

static bool host_expects(struct queue_host *h, const uint8_t *section)
{
	uint64_t client = load_u64le(section);
	return expected_take(&h->expected, client, load_u64le(section + 8),
		load_u32le(section + 24), machine_last_seq(h->machine, client));
}

/* A node that lives, but was called down, still sends what it has under way. The machine has forgotten
 * its clients by then: it would take their repeats for new, and consumers that nobody ever cancels. */
static bool host_refuses(struct queue_host *h, uint64_t client)
{
	if (h == NULL || !h->leading || !host_is_over(h, client))
		return false;
	dispatch_unavailable(h->all->dispatch, client, h->id);
	return true;
}

void queue_hosts_submit(struct queue_hosts *hs, uint64_t group, struct blob *blob, size_t n)
{
	struct queue_host *h = hosts_wanted(hs, group);
	const uint8_t *section = blob->data + COMMAND_ENTRY_HEADER;
	if (host_refuses(h, load_u64le(section))) {
		blob_unref(blob);
		return;
	}
	if (h != NULL && h->leading && host_expects(h, section)) {
		host_take(h, blob, n);
		return;
	}
	if (h != NULL && !h->leading && !h->failed && host_is_alone(h)) {
		buf_put_bytes(
			&h->early, &(struct early_section){blob, n}, sizeof(struct early_section));
		return;
	}
	uint64_t client = load_u64le(section);
	blob_unref(blob);
	if (h != NULL && h->leading)
		dispatch_moved(hs->dispatch, client, group, hs->config.self);
	else
		hosts_turn_away(hs, h, group, client);
}

static void host_resume(struct queue_host *h, struct resume *r)
{
	dispatch_resumed(h->all->dispatch, r->client, h->id, r->attempt, h->term,
		machine_last_seq(h->machine, r->client));
	for (uint32_t i = 0; i < r->n; i++) {
		uint64_t last;
		uint32_t consumer = resume_next(r, &last);
		machine_redeliver(h->machine, r->client, consumer, last, &host_sink, h);
	}
}

bool queue_hosts_resume(struct queue_hosts *hs, uint64_t group, struct slice bytes)
{
	struct resume r;
	if (!resume_get(&r, bytes))
		return false;
	struct queue_host *h = hosts_wanted(hs, group);
	if (host_refuses(h, r.client))
		return true;
	if (h != NULL && h->leading)
		host_resume(h, &r);
	else if (h == NULL || h->failed || !host_is_alone(h))
		hosts_turn_away(hs, h, group, r.client);
	return true;
}

void queue_hosts_dead_done(struct queue_hosts *hs, uint64_t group, uint64_t seq)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL || !h->leading)
		return;
	struct buf b = BUF_EMPTY;
	command_put_dead_done(&b, seq);
	host_propose(h, &b);
	buf_done(&b);
}

void queue_hosts_dead_again(struct queue_hosts *hs, uint64_t group, uint64_t seq)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h != NULL && h->leading && !h->failed)
		machine_dead_again(h->machine, seq, &host_sink, h);
}

/* ---- time ---- */

static void host_arm(struct queue_host *h)
{
	uint64_t at = h->leading ? machine_deadline(h->machine) : UINT64_MAX;
	if (at == UINT64_MAX || (h->armed != 0 && h->armed <= at))
		return;
	uint64_t now = h->all->config.worker->wall_ms;
	uint64_t delay = at > now ? at - now : 0;
	if (delay > TIMER_MAX_MS)
		delay = TIMER_MAX_MS;
	h->armed = now + delay > 0 ? now + delay : 1;
	timer_set(h->timer, delay);
}

static void host_on_timer(void *arg)
{
	struct queue_host *h = arg;
	h->armed = 0;
	if (!h->leading)
		return;
	if (h->completing) {
		host_tell_ended(h);
		return;
	}
	if (machine_deadline(h->machine) <= h->all->config.worker->wall_ms) {
		struct buf b = BUF_EMPTY;
		command_put_time(&b);
		host_propose(h, &b);
		buf_done(&b);
		/* Armed again when it is applied. */
		return;
	}
	host_arm(h);
}

/* ---- the group's state machine ---- */

static void host_seal(void *arg, uint8_t *header)
{
	struct queue_host *h = arg;
	uint64_t now = h->all->config.worker->wall_ms;
	uint64_t last = machine_stamp(h->machine);
	command_put_entry_header(header, now > last ? now : last);
}

static void host_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct queue_host *h = arg;
	h->applying = (struct entry_view){h->id, index, blob, p, n};
	if (machine_apply(h->machine, index, p, n, &host_sink, h) != 0)
		log_error("queue", "group %lu: entry %lu is malformed", (unsigned long)h->id,
			(unsigned long)index);
	h->applying = (struct entry_view){0};
	if (h->leading && machine_gone(h->machine))
		host_complete(h);
	if (!list_empty(&h->lazy) && host_has_ready(h))
		host_hurry(h); /* a consumer may wait for what its acknowledgements make room for */
	host_arm(h);
}

static void host_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct queue_host *h = arg;
	(void)rows;
	machine_snapshot(h->machine, data);
	machine_live(h->machine, previous, live);
}

static void host_snapshot_done(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

static int host_restore(void *arg, uint64_t index, struct slice data)
{
	struct queue_host *h = arg;
	(void)index;
	machine_free(h->machine);
	h->machine = machine_new();
	return machine_restore(h->machine, data, h->all->config.state_max);
}

/* Tried out beside the state that is there. */
static bool host_accepts(void *arg, struct slice data)
{
	struct queue_host *h = arg;
	struct machine *m = machine_new();
	bool ok = machine_restore(m, data, h->all->config.state_max) == 0;
	machine_free(m);
	return ok;
}

static void host_live(void *arg, struct buf *live)
{
	struct queue_host *h = arg;
	machine_live(h->machine, 0, live);
}

/* The clients of a node up to an incarnation are gone: what they held returns. */
static void host_drop_clients(struct queue_host *h, uint16_t node, uint32_t incarnation)
{
	struct buf b = BUF_EMPTY;
	command_put_client_down(&b, &(struct command_client_down){
					    .client = client_id_make(node, incarnation, 0),
					    .node = true});
	host_propose(h, &b);
	buf_done(&b);
}

static void host_greet(void *arg, uint64_t client)
{
	struct queue_host *h = arg;
	if (host_is_over(h, client))
		host_drop_clients(h, client_id_node(client), client_id_incarnation(client));
	else
		dispatch_led(h->all->dispatch, client, h->id, h->term);
}

struct search {
	uint16_t node;
	uint32_t incarnation;
	bool found;
};

static void client_is_of(void *arg, uint64_t client)
{
	struct search *s = arg;
	if (client_id_node(client) == s->node && client_id_incarnation(client) <= s->incarnation)
		s->found = true;
}

void queue_hosts_node_gone(struct queue_hosts *hs, uint16_t node, uint32_t incarnation)
{
	struct queue_host *h, *next;
	HASH_ITER(hh, hs->by_id, h, next)
	{
		struct search s = {node, incarnation, false};
		if (h->leading)
			machine_each_client(h->machine, client_is_of, &s);
		if (s.found)
			host_drop_clients(h, node, incarnation);
	}
}

/* The lease of an unused queue starts anew with its leader: while none was there, nobody could use
 * it. */
static void host_renew_lease(struct queue_host *h)
{
	if (machine_config(h->machine)->expires_ms == CONFIG_NONE)
		return;
	struct buf b = BUF_EMPTY;
	command_put_status(&b, &(struct command_status){.touch = true});
	host_propose(h, &b);
	buf_done(&b);
}

static void host_set_config(struct queue_host *h)
{
	struct buf now = BUF_EMPTY;
	command_put_config(&now, machine_config(h->machine));
	if (!slice_eq(buf_slice(&now), buf_slice(&h->config)))
		host_propose(h, &h->config);
	buf_done(&now);
}

static void host_take_early(struct queue_host *h)
{
	struct early_section s;
	for (size_t at = 0; at < h->early.n; at += sizeof s) {
		memcpy(&s, h->early.p + at, sizeof s);
		const uint8_t *section = s.blob->data + COMMAND_ENTRY_HEADER;
		if (host_expects(h, section)) {
			host_take(h, s.blob, s.n);
			continue;
		}
		dispatch_moved(h->all->dispatch, load_u64le(section), h->id, h->all->config.self);
		blob_unref(s.blob);
	}
	buf_done(&h->early);
}

/* To those who were sent away when nobody led. */
static void host_call_back(struct queue_host *h)
{
	for (size_t at = 0; at < h->turned_away.n; at += sizeof(uint64_t)) {
		uint64_t client;
		memcpy(&client, h->turned_away.p + at, sizeof client);
		dispatch_led(h->all->dispatch, client, h->id, h->term);
	}
	buf_done(&h->turned_away);
}

static void host_send_known_away(void *arg, uint64_t client)
{
	struct queue_host *h = arg;
	if (!expected_has(&h->expected, client))
		dispatch_moved(h->all->dispatch, client, h->id, 0);
}

/* Those who sent what is lost with the leadership, and those who wait for what the next leader says,
 * look for that one: its own word may not reach them. */
static void host_send_away(struct queue_host *h)
{
	for (uint32_t i = 0; i < h->expected.n; i++)
		dispatch_moved(h->all->dispatch, h->expected.a[i].client, h->id, 0);
	machine_each_client(h->machine, host_send_known_away, h);
	expected_done(&h->expected);
}

static void host_drop_early(struct queue_host *h)
{
	struct early_section s;
	for (size_t at = 0; at < h->early.n; at += sizeof s) {
		memcpy(&s, h->early.p + at, sizeof s);
		blob_unref(s.blob);
	}
	buf_done(&h->early);
}

static void host_lead(struct queue_host *h)
{
	if (h->failed)
		return;
	h->leading = true;
	if (machine_gone(h->machine))
		host_complete(h);
	else
		host_set_config(h);
	machine_each_client(h->machine, host_greet, h);
	host_call_back(h);
	host_renew_lease(h);
	host_take_early(h);
	machine_resume(h->machine, &host_sink, h);
	host_arm(h);
	if (h->all->config.leads != NULL)
		h->all->config.leads(h->all->config.arg, h->id, true);
}

static void host_stop_leading(struct queue_host *h)
{
	bool led = h->leading;
	h->leading = false;
	h->completing = false;
	host_send_away(h);
	if (led && h->all->config.leads != NULL)
		h->all->config.leads(h->all->config.arg, h->id, false);
}

static void host_leading(void *arg, bool yes, uint64_t term)
{
	struct queue_host *h = arg;
	h->elected = yes;
	h->term = yes ? term : h->term;
	if (!yes) {
		host_stop_leading(h);
	} else if (h->begun)
		host_lead(h);
	else
		h->all->config.begin(h->all->config.arg, h->id);
}

void queue_hosts_begun(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL || h->begun)
		return;
	h->begun = true;
	if (h->elected)
		host_lead(h);
}

bool queue_hosts_configure(
	struct queue_hosts *hs, uint64_t group, const struct queue_config *config)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return false;
	struct buf had = h->config;
	h->config = BUF_EMPTY;
	command_put_config(&h->config, config);
	/* Compared with what was last proposed, not with the machine: that may be on its way. */
	if (h->leading && !slice_eq(buf_slice(&had), buf_slice(&h->config)))
		host_propose(h, &h->config);
	buf_done(&had);
	return true;
}

static void host_log_left(void *arg, struct store_log *log)
{
	struct queue_host *h = arg;
	if (h->durable)
		store_log_close(log);
	else
		h->left = log;
}

/* The log of the member that is to be opened. */
static struct store_log *log_of(struct queue_hosts *hs, const struct queue_hosting *q)
{
	struct left_log *left = &hs->left;
	struct store_log *log = left->log;
	if (!q->memory)
		return store_log_open(hs->config.port, q->group);
	if (log == NULL || left->group != q->group || left->member != q->self)
		return memory_log_open(hs->config.port, q->group);
	left->log = NULL;
	return log;
}

static void tell_closed(struct queue_hosts *hs, const struct left_log *left)
{
	hs->left = *left;
	hs->config.closed(hs->config.arg, left->group);
	if (hs->left.log != NULL)
		store_log_close(hs->left.log);
	hs->left = (struct left_log){0};
}

static void host_closed(void *arg)
{
	struct queue_host *h = arg;
	struct queue_hosts *hs = h->all;
	struct left_log left = {h->id, h->self, h->left};
	machine_free(h->machine);
	buf_done(&h->config);
	host_drop_early(h);
	expected_done(&h->expected);
	buf_done(&h->turned_away);
	list_remove(&h->closing);
	bool tell = h->group != NULL && hs->config.closed != NULL, last = --hs->open == 0 && hs->closed != NULL;
	mem_free(h);
	if (tell && !last)
		tell_closed(hs, &left);
	else if (left.log != NULL)
		store_log_close(left.log);
	if (last)
		hs->closed(hs->closed_arg);
}

static const struct group_app host_app = {
	.seal = host_seal,
	.apply = host_apply,
	.snapshot = host_snapshot,
	.snapshot_done = host_snapshot_done,
	.restore = host_restore,
	.accepts = host_accepts,
	.live = host_live,
	.leading = host_leading,
	.closed = host_closed,
	.log_left = host_log_left,
};

/* ---- registry ---- */

struct queue_hosts *queue_hosts_new(const struct queue_hosts_config *config)
{
	static_assert((int)GROUP_ENTRY_HEADER == (int)COMMAND_ENTRY_HEADER,
		"a section's blob leaves room for the entry's header");
	struct queue_hosts *hs = MEM_NEW(struct queue_hosts);
	hs->config = *config;
	hs->dispatch = dispatch_new(&(struct dispatch_config){.self = config->self,
		.clients = config->clients,
		.clients_of = config->clients_of,
		.node_of = config->node_of,
		.send = config->send,
		.arg = config->arg});
	list_init(&hs->failing);
	list_init(&hs->lazy);
	list_init(&hs->closing);
	hs->lazy_timer = timer_new(config->worker, hosts_on_lazy_timer, hs);
	return hs;
}

void queue_hosts_set_node(struct queue_hosts *hs, uint16_t node)
{
	hs->config.node = node;
}

void queue_hosts_free(struct queue_hosts *hs)
{
	assert(hs->open == 0);
	view_drop(&hs->fetched);
	dispatch_free(hs->dispatch);
	mem_free(hs);
}

unsigned queue_hosts_count(const struct queue_hosts *hs)
{
	return HASH_COUNT(hs->by_id);
}

static void host_remove(struct queue_host *h)
{
	HASH_DEL(h->all->by_id, h);
	list_remove(&h->lazy);
	list_remove(&h->failing);
	timer_free(h->timer);
	h->timer = NULL;
}

int queue_hosts_open(struct queue_hosts *hs, const struct queue_hosting *q)
{
	struct queue_host *h = MEM_NEW(struct queue_host);
	h->id = q->group;
	h->self = q->self;
	h->all = hs;
	h->durable = !q->memory;
	h->founds = q->n_members == 1;
	h->begun = q->begun || q->memory || q->n_members != 1;
	list_init(&h->lazy);
	list_init(&h->failing);
	list_init(&h->closing);
	h->machine = machine_new();
	h->timer = timer_new(hs->config.worker, host_on_timer, h);
	command_put_config(&h->config, q->config);
	HASH_ADD(hh, hs->by_id, id, sizeof h->id, h);
	hs->open++;
	struct group_spec spec = {
		.id = q->group,
		.self = q->self,
		.members = q->members,
		.n_members = q->n_members,
		.preferred = q->preferred,
		.alone = q->alone,
		.apart = q->apart,
		.begun = !q->memory && q->begun && q->n_members == 1 && !q->unwritten,
		.log = log_of(hs, q),
		.app = &host_app,
		.arg = h,
	};
	int rc = group_open(&h->group, hs->config.groups, &spec);
	if (rc != 0) {
		host_remove(h);
		host_closed(h);
	}
	return rc;
}

static struct queue_host *hosts_closing(struct queue_hosts *hs, uint64_t group)
{
	LIST_EACH(node, &hs->closing)
	if (LIST_ENTRY(node, struct queue_host, closing)->id == group)
		return LIST_ENTRY(node, struct queue_host, closing);
	return NULL;
}

void queue_hosts_close(struct queue_hosts *hs, uint64_t group, bool drop)
{
	struct queue_host *h = hosts_find(hs, group);
	struct queue_host *closing = hosts_closing(hs, group);
	if (closing != NULL)
		group_close(closing->group, drop);
	if (h == NULL)
		return;
	host_remove(h);
	if (h->leading && !drop)
		host_send_away(h); /* it may lead again, and knows nothing of what is under way then */
	list_push_back(&hs->closing, &h->closing);
	h->elected = h->leading = false;
	if (hs->fetched.group == group)
		view_drop(&hs->fetched);
	group_close(h->group, drop);
}

void queue_hosts_close_all(struct queue_hosts *hs, void (*closed)(void *arg), void *arg)
{
	hs->closed = closed;
	hs->closed_arg = arg;
	timer_free(hs->lazy_timer);
	hs->lazy_timer = NULL;
	if (hs->open == 0) {
		closed(arg);
		return;
	}
	while (hs->by_id != NULL)
		queue_hosts_close(hs, hs->by_id->id, false);
}

bool queue_hosts_closing(struct queue_hosts *hs, uint64_t group)
{
	return hosts_closing(hs, group) != NULL;
}

uint64_t queue_hosts_member(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->self : 0;
}

bool queue_hosts_has(struct queue_hosts *hs, uint64_t group)
{
	return hosts_find(hs, group) != NULL;
}

struct group *queue_hosts_group(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->group : NULL;
}

bool queue_hosts_leads(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL && h->leading;
}

void queue_hosts_each(
	struct queue_hosts *hs, void (*each)(void *arg, uint64_t group, bool leads), void *arg)
{
	struct queue_host *h, *next;
	HASH_ITER(hh, hs->by_id, h, next)
	each(arg, h->id, h->leading);
}

bool queue_hosts_counts(struct queue_hosts *hs, uint64_t group, struct machine_counts *ret)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return false;
	machine_counts(h->machine, ret);
	return true;
}

const struct machine *queue_hosts_machine(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	return h != NULL ? h->machine : NULL;
}

bool queue_hosts_head(
	struct queue_hosts *hs, uint64_t group, struct message *ret, struct blob **ret_blob)
{
	struct queue_host *h = hosts_find(hs, group);
	uint64_t index;
	uint32_t offset;
	const uint8_t *p;
	size_t n;
	if (h == NULL || h->failed || !machine_head(h->machine, &index, &offset) ||
		group_fetch(h->group, index, ret_blob, &p, &n) != 0)
		return false;
	if (command_message_at(p, n, offset, ret) == 0)
		return true;
	blob_unref(*ret_blob);
	return false;
}

size_t queue_hosts_cached(const struct queue_hosts *hs)
{
	return groups_cached(hs->config.groups);
}

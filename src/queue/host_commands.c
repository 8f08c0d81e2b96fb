/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host_priv.h"

#include "src/loop/timer.h"
#include "src/queue/resume.h"

enum {
	LAZY_MS = 2, /* longest that settles alone wait for company */
	LAZY_SECTION_MAX = 4096, /* bytes of a section that is looked through for being lazy */
	MEMBERS_MAX = 255,
	TURNED_AWAY_MAX = 64, /* the others ask again by themselves */
};

/* ---- the open batch ---- */

static void host_append(struct queue_host *h, const uint8_t *section, size_t n)
{
	group_roll(h->group, n);
	memcpy(batch_put(group_batch(h->group), n), section, n);
}

void host_hurry(struct queue_host *h)
{
	list_remove(&h->lazy);
	group_dirty(h->group);
}

void host_propose(struct queue_host *h, const struct buf *command)
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

bool host_has_ready(const struct queue_host *h)
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

void hosts_on_lazy_timer(void *arg)
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

/* ---- clients that are not served here ---- */

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

void host_call_back(struct queue_host *h)
{
	for (size_t at = 0; at < h->turned_away.n; at += sizeof(uint64_t)) {
		uint64_t client;
		memcpy(&client, h->turned_away.p + at, sizeof client);
		dispatch_led(h->all->dispatch, client, h->id, h->term);
	}
	buf_done(&h->turned_away);
}

/* ---- sections ---- */

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

void host_take_early(struct queue_host *h)
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

void host_drop_early(struct queue_host *h)
{
	struct early_section s;
	for (size_t at = 0; at < h->early.n; at += sizeof s) {
		memcpy(&s, h->early.p + at, sizeof s);
		blob_unref(s.blob);
	}
	buf_done(&h->early);
}

/* ---- resumes and dead letters ---- */

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

/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host.h"

#include <assert.h>
#include <uthash.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "src/queue/event.h"

enum {
	LAZY_MS = 2, /* longest that settles alone wait for company */
	LAZY_SECTION_MAX = 4096, /* bytes of a section that is looked through for being lazy */
	WORKERS_MAX = 256,
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
	UT_hash_handle hh;
	struct queue_hosts *all;
	struct group *group;
	struct machine *machine;
	struct buf config; /* the effective properties as a command */
	struct buf early;  /* struct early_section: came before this member led */
	struct entry_view applying;
	struct timer *timer;
	uint64_t armed; /* stamp the timer is set for; 0: not set */
	struct list lazy; /* in queue_hosts.lazy: the open batch waits for company */
	bool durable;
	bool begun;   /* the loss of its log would be noticed: commands may be taken */
	bool elected; /* the group leads */
	bool leading; /* and so does the machine: its effects leave */
	bool ended; /* told so once */
	bool failed; /* an entry that it needs cannot be read: not served any more */
	struct list failing; /* in queue_hosts.failing: its clients are to be told so */
};

struct queue_hosts {
	struct queue_hosts_config config;
	struct queue_host *by_id;
	struct entry_view fetched;
	/* This turn's mail per worker. */
	struct event_mail *mail[WORKERS_MAX];
	struct worker *mail_to[WORKERS_MAX];
	bool has_mail;
	struct list failing;      /* struct queue_host.failing */
	struct list lazy;         /* struct queue_host.lazy */
	struct timer *lazy_timer; /* set while `lazy` is not empty */
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

/* The registry of the client's worker: ours (then *ret_mail is NULL), or mail to another's. NULL if
 * the client is of no living worker. */
static struct queue_clients *host_clients(
	struct queue_hosts *hs, uint64_t client, struct event_mail **ret_mail)
{
	struct worker *w;
	struct queue_clients *to = hs->config.clients_of(hs->config.arg, client, &w);
	*ret_mail = NULL;
	if (to == NULL || to == hs->config.clients)
		return to;
	if (hs->mail[w->no] == NULL) {
		hs->mail[w->no] = event_mail_new(to);
		hs->mail_to[w->no] = w;
		hs->has_mail = true;
	}
	*ret_mail = hs->mail[w->no];
	return to;
}

/* All clients of the node: those whose commands are still under way are not known to the machine. */
static void host_tell_unavailable(struct queue_host *h)
{
	const struct queue_hosts_config *c = &h->all->config;
	for (uint16_t no = 0; no < WORKERS_MAX; no++) {
		struct event_mail *mail;
		struct queue_clients *to = host_clients(
			h->all, client_id_make(c->node, c->incarnation, no), &mail);
		if (mail != NULL)
			event_put_unavailable(mail, h->id);
		else if (to != NULL)
			queue_clients_unavailable(to, h->id);
	}
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
	if (!hs->has_mail)
		return told;
	hs->has_mail = false;
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		if (hs->mail[i] == NULL)
			continue;
		event_mail_post(hs->mail[i], hs->mail_to[i]);
		hs->mail[i] = NULL;
	}
	return true;
}

static void host_on_deliver(void *arg, const struct machine_delivery *d)
{
	struct queue_host *h = arg;
	struct event_mail *mail;
	struct event_message at;
	if (!h->leading)
		return;
	struct queue_clients *to = host_clients(h->all, d->client, &mail);
	if (to == NULL || !host_locate(h, d->index, d->offset, &at))
		return;
	if (mail != NULL) {
		event_put_deliver(mail, h->id, d, &at);
		return;
	}
	struct queue_delivery qd;
	if (event_delivery(&qd, d, &at))
		queue_clients_deliver(to, h->id, d->consumer, &qd);
}

static void host_on_answer(void *arg, const struct machine_answer *a)
{
	struct queue_host *h = arg;
	struct event_mail *mail;
	struct event_message at;
	if (!h->leading)
		return;
	struct queue_clients *to = host_clients(h->all, a->client, &mail);
	if (to == NULL)
		return;
	bool found =
		a->delivery != NULL && host_locate(h, a->delivery->index, a->delivery->offset, &at);
	if (h->failed)
		return;
	if (mail != NULL) {
		event_put_answer(mail, h->id, a, found ? &at : NULL);
		return;
	}
	struct queue_delivery qd;
	found = found && event_delivery(&qd, a->delivery, &at);
	queue_clients_answer(to, h->id, a, found ? &qd : NULL);
}

static void host_on_refused(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	struct event_mail *mail;
	if (!h->leading)
		return;
	struct queue_clients *to = host_clients(h->all, client, &mail);
	if (mail != NULL)
		event_put_refused(mail, h->id, seq);
	else if (to != NULL)
		queue_clients_refused(to, h->id, seq);
}

static void host_on_applied(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	struct event_mail *mail;
	if (!h->leading)
		return;
	struct queue_clients *to = host_clients(h->all, client, &mail);
	if (mail != NULL)
		event_put_applied(mail, h->id, seq);
	else if (to != NULL)
		queue_clients_applied(to, h->id, seq);
}

static void host_on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	struct queue_host *h = arg;
	struct event_mail *mail;
	if (!h->leading)
		return;
	struct queue_clients *to = host_clients(h->all, client, &mail);
	if (mail != NULL)
		event_put_cancelled(mail, h->id, consumer);
	else if (to != NULL)
		queue_clients_cancelled(to, h->id, consumer);
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

/* A durable commit for acknowledgements alone is a commit during which the next publish waits. While
 * the queue has nothing ready, nobody else waits for them either: they may wait for company. */
static bool host_may_wait(struct queue_host *h, const uint8_t *section, size_t n)
{
	struct machine_counts counts;
	if (!h->durable || group_batch(h->group)->blob != NULL || !section_is_silent(section, n))
		return false;
	machine_counts(h->machine, &counts);
	return counts.ready == 0;
}

static void host_wait(struct queue_host *h)
{
	struct queue_hosts *hs = h->all;
	if (list_empty(&hs->lazy))
		timer_set(hs->lazy_timer, LAZY_MS);
	list_push_back(&hs->lazy, &h->lazy);
}

static void hosts_on_lazy_timer(void *arg)
{
	struct queue_hosts *hs = arg;
	struct list *node;
	while ((node = list_pop(&hs->lazy)) != NULL)
		group_dirty(LIST_ENTRY(node, struct queue_host, lazy)->group);
}

/* A section alone in its turn becomes the batch as it is; others are copied behind one another. */
static void host_take(struct queue_host *h, struct blob *blob, size_t n)
{
	struct batch *batch = group_batch(h->group);
	bool wait = host_may_wait(
		h, blob->data + COMMAND_ENTRY_HEADER, n - COMMAND_ENTRY_HEADER);
	list_remove(&h->lazy);
	if (batch->blob == NULL) {
		batch->blob = blob;
		batch->n = n;
		if (wait)
			host_wait(h);
		else
			group_dirty(h->group);
		return;
	}
	host_append(h, blob->data + COMMAND_ENTRY_HEADER, n - COMMAND_ENTRY_HEADER);
	blob_unref(blob);
}

static struct queue_host *hosts_find(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h;
	HASH_FIND(hh, hs->by_id, &group, sizeof group, h);
	return h;
}

void queue_hosts_submit(
	struct queue_hosts *hs, uint64_t group, uint64_t client, struct blob *blob, size_t n)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL) {
		hs->config.wanted(hs->config.arg, group);
		h = hosts_find(hs, group);
	}
	if (h != NULL && h->leading) {
		host_take(h, blob, n);
		return;
	}
	if (h != NULL && !h->failed) {
		buf_put_bytes(
			&h->early, &(struct early_section){blob, n}, sizeof(struct early_section));
		return;
	}
	blob_unref(blob);
	/* Always by mail: the client is in the middle of sending. */
	struct worker *w;
	struct queue_clients *to = hs->config.clients_of(hs->config.arg, client, &w);
	if (to == NULL)
		return;
	struct event_mail *em = event_mail_new(to);
	if (hs->config.defined(hs->config.arg, group))
		event_put_unavailable(em, group);
	else
		event_put_gone(em, group);
	event_mail_post(em, w);
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
	/* Whoever deleted it may be gone before its definition is. */
	if (h->leading && machine_gone(h->machine))
		host_tell_ended(h);
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

static void host_live(void *arg, struct buf *live)
{
	struct queue_host *h = arg;
	machine_live(h->machine, 0, live);
}

struct stale {
	struct queue_host *host;
	bool found;
};

static void host_is_stale(void *arg, uint64_t client)
{
	struct stale *s = arg;
	const struct queue_hosts_config *c = &s->host->all->config;
	if (client_id_node(client) == c->node && client_id_incarnation(client) < c->incarnation)
		s->found = true;
}

/* Clients of this node's earlier lives are gone: what they held returns. */
static void host_clear_stale(struct queue_host *h)
{
	struct stale s = {h, false};
	machine_each_client(h->machine, host_is_stale, &s);
	if (!s.found)
		return;
	const struct queue_hosts_config *c = &h->all->config;
	struct buf b = BUF_EMPTY;
	command_put_client_down(&b,
		&(struct command_client_down){
			.client = client_id_make(c->node, c->incarnation - 1, 0), .node = true});
	host_propose(h, &b);
	buf_done(&b);
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
		host_take(h, s.blob, s.n);
	}
	buf_done(&h->early);
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
	if (machine_gone(h->machine)) {
		host_tell_ended(h);
		return;
	}
	host_set_config(h);
	host_clear_stale(h);
	host_renew_lease(h);
	host_take_early(h);
	machine_resume(h->machine, &host_sink, h);
	host_arm(h);
}

static void host_leading(void *arg, bool yes, uint64_t term)
{
	struct queue_host *h = arg;
	(void)term;
	h->elected = yes;
	if (!yes)
		h->leading = false;
	else if (h->begun)
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

static void host_closed(void *arg)
{
	struct queue_host *h = arg;
	struct queue_hosts *hs = h->all;
	machine_free(h->machine);
	buf_done(&h->config);
	host_drop_early(h);
	mem_free(h);
	if (--hs->open == 0 && hs->closed != NULL)
		hs->closed(hs->closed_arg);
}

static const struct group_app host_app = {
	.seal = host_seal,
	.apply = host_apply,
	.snapshot = host_snapshot,
	.snapshot_done = host_snapshot_done,
	.restore = host_restore,
	.live = host_live,
	.leading = host_leading,
	.closed = host_closed,
};

/* ---- registry ---- */

struct queue_hosts *queue_hosts_new(const struct queue_hosts_config *config)
{
	static_assert((int)GROUP_ENTRY_HEADER == (int)COMMAND_ENTRY_HEADER,
		"a section's blob leaves room for the entry's header");
	struct queue_hosts *hs = MEM_NEW(struct queue_hosts);
	hs->config = *config;
	list_init(&hs->failing);
	list_init(&hs->lazy);
	hs->lazy_timer = timer_new(config->worker, hosts_on_lazy_timer, hs);
	return hs;
}

void queue_hosts_free(struct queue_hosts *hs)
{
	assert(hs->open == 0);
	queue_hosts_flush(hs);
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

int queue_hosts_open(struct queue_hosts *hs, uint64_t group, uint64_t self, bool durable,
	bool begun, const struct queue_config *config)
{
	struct queue_host *h = MEM_NEW(struct queue_host);
	h->id = group;
	h->all = hs;
	h->durable = durable;
	h->begun = begun || !durable;
	list_init(&h->lazy);
	list_init(&h->failing);
	h->machine = machine_new();
	h->timer = timer_new(hs->config.worker, host_on_timer, h);
	command_put_config(&h->config, config);
	HASH_ADD(hh, hs->by_id, id, sizeof h->id, h);
	hs->open++;
	struct group_member member = {.id = self, .voter = true};
	struct group_spec spec = {
		.id = group,
		.self = self,
		.members = &member,
		.n_members = 1,
		.begun = durable && begun,
		.log = durable ? store_log_open(hs->config.port, group)
			       : memory_log_open(hs->config.port, group),
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

void queue_hosts_close(struct queue_hosts *hs, uint64_t group, bool drop)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return;
	host_remove(h);
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

bool queue_hosts_has(struct queue_hosts *hs, uint64_t group)
{
	return hosts_find(hs, group) != NULL;
}

bool queue_hosts_counts(struct queue_hosts *hs, uint64_t group, struct machine_counts *ret)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return false;
	machine_counts(h->machine, ret);
	return true;
}

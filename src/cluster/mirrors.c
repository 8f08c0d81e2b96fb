/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/mirrors_priv.h"

#include "src/base/mem.h"
#include "src/loop/timer.h"

enum {
	FAILED_MS = 300,   /* after a step that did not succeed */
	LEAVING_MS = 5000, /* then nothing more is handed over */
	COUNTED_MS = 20,   /* leaving: until it is looked again whether others go on without this node */
};

/* ---- the lists ---- */

static void mirror_free(struct mirror *m)
{
	HASH_DEL(m->all->by_group, m);
	list_remove(&m->link);
	mem_free(m);
}

static void set_timer(struct mirrors *ms, uint64_t at_ms)
{
	uint64_t now = ms->config.worker->now_ms;
	if (ms->timer_ms != 0 && ms->timer_ms <= at_ms)
		return;
	ms->timer_ms = at_ms;
	timer_set(ms->timer, at_ms > now ? at_ms - now : 0);
}

static struct mirror *mirror_of(struct mirrors *ms, uint64_t group)
{
	struct mirror *m;
	HASH_FIND(hh, ms->by_group, &group, sizeof group, m);
	if (m != NULL)
		return m;
	m = MEM_NEW(struct mirror);
	m->group = group;
	m->all = ms;
	list_init(&m->link);
	HASH_ADD(hh, ms->by_group, group, sizeof m->group, m);
	return m;
}

static void make_due(struct mirror *m)
{
	m->again = true;
	if (m->busy)
		return;
	list_remove(&m->link);
	list_push_back(&m->all->due, &m->link);
	worker_wake(m->all->config.worker);
}

static void wait_for(struct mirror *m, unsigned ms)
{
	m->at_ms = m->all->config.worker->now_ms + ms;
	list_remove(&m->link);
	list_push_back(&m->all->waiting, &m->link);
	set_timer(m->all, m->at_ms);
}

void mirror_on_done(void *arg, int status)
{
	struct mirror *m = arg;
	m->busy = false;
	m->all->busy--;
	if (status == 0 || m->again)
		make_due(m);
	else
		wait_for(m, FAILED_MS);
}

/* ---- steps ---- */

static void mirror_step(struct mirror *m)
{
	struct view v;
	m->again = false;
	if (!view_look(m->all, m->group, &v)) {
		mirror_free(m);
		return;
	}
	struct step s = mirror_next(m, &v);
	if (s.outcome == WAIT)
		wait_for(m, s.wait_ms);
	else if (s.outcome == SETTLED && !mirror_keeps_wish(m, &v))
		mirror_free(m);
}

struct counted {
	struct mirrors *all;
	bool any;
};

static void look_if_counted(void *arg, uint64_t group, bool leads)
{
	struct counted *c = arg;
	struct view v;
	if (!c->any && !leads && view_look(c->all, group, &v))
		c->any = view_counts_on_us(c->all, &v);
}

/* Looks now and then. */
static bool is_counted_on(struct mirrors *ms)
{
	const struct broker_node *own = broker_node_find(ms->config.broker, ms->config.self);
	uint64_t now = ms->config.worker->now_ms;
	struct counted c = {ms, false};
	if (own == NULL || own->up || now > ms->leaving_until_ms)
		return false;
	if (now < ms->counted_ms)
		return true;
	queue_hosts_each(ms->config.hosts, look_if_counted, &c);
	ms->counted_ms = now + COUNTED_MS;
	if (c.any)
		set_timer(ms, ms->counted_ms);
	return c.any;
}

static void tell_left(struct mirrors *ms)
{
	void (*left)(void *arg) = ms->left;
	struct list *node;
	if (ms->leaving && ms->config.worker->now_ms > ms->leaving_until_ms)
		while ((node = list_pop(&ms->due)) != NULL)
			mirror_free(LIST_ENTRY(node, struct mirror, link));
	if (left == NULL || ms->busy > 0 || !list_empty(&ms->due) || is_counted_on(ms))
		return;
	ms->left = NULL;
	left(ms->left_arg);
}

static void look_if_led(void *arg, uint64_t group, bool leads);

bool mirrors_flush(struct mirrors *ms)
{
	bool any = false;
	struct list *node;
	if (ms->drained && !ms->leaving)
		queue_hosts_each(ms->config.hosts, look_if_led, ms);
	ms->drained = false;
	while (ms->busy < MIRRORS_BUSY_MAX && (node = list_pop(&ms->due)) != NULL) {
		mirror_step(LIST_ENTRY(node, struct mirror, link));
		any = true;
	}
	tell_left(ms);
	return any;
}

/* ---- what happens ---- */

static bool has_wish(struct mirrors *ms, uint64_t group)
{
	struct mirror *m;
	HASH_FIND(hh, ms->by_group, &group, sizeof group, m);
	return m != NULL && m->wish != AS_CONFIGURED;
}

void mirrors_look(struct mirrors *ms, uint64_t group)
{
	const struct broker_queue *q = broker_queue_by_group(ms->config.broker, group);
	bool leads = queue_hosts_leads(ms->config.hosts, group);
	if (!ms->leaving && q != NULL &&
		(leads || broker_queue_in_memory(q) || broker_queue_has_lost(q) ||
			has_wish(ms, group)))
		make_due(mirror_of(ms, group));
}

void mirrors_led(struct mirrors *ms, uint64_t group)
{
	const struct broker_queue *q = broker_queue_by_group(ms->config.broker, group);
	if (ms->leaving || q == NULL || (q->n_members == 1 && !q->reshaped))
		return;
	struct mirror *m = mirror_of(ms, group);
	m->home_ms = ms->config.worker->now_ms + MIRRORS_HOME_MS;
	m->first = 0;
	make_due(m);
}

static void look_if_led(void *arg, uint64_t group, bool leads)
{
	struct mirrors *ms = arg;
	const struct broker_queue *q = broker_queue_by_group(ms->config.broker, group);
	if (leads && q != NULL && q->n_members > 1)
		make_due(mirror_of(ms, group));
}

void mirrors_link_up(struct mirrors *ms)
{
	if (ms->leaving)
		return;
	queue_hosts_each(ms->config.hosts, look_if_led, ms);
	ms->home_scan_ms = ms->config.worker->now_ms + MIRRORS_HOME_MS;
	set_timer(ms, ms->home_scan_ms);
}

void mirrors_node_down(struct mirrors *ms)
{
	if (!ms->leaving)
		queue_hosts_each(ms->config.hosts, look_if_led, ms);
}

void mirrors_drained(struct mirrors *ms)
{
	ms->drained = true;
	worker_wake(ms->config.worker);
}

static void on_timer(void *arg)
{
	struct mirrors *ms = arg;
	uint64_t now = ms->config.worker->now_ms, next = UINT64_MAX;
	ms->timer_ms = 0;
	LIST_EACH_SAFE(node, &ms->waiting)
	{
		struct mirror *m = LIST_ENTRY(node, struct mirror, link);
		if (m->at_ms <= now)
			make_due(m);
		else if (m->at_ms < next)
			next = m->at_ms;
	}
	if (ms->home_scan_ms != 0 && ms->home_scan_ms <= now) {
		ms->home_scan_ms = 0;
		queue_hosts_each(ms->config.hosts, look_if_led, ms);
	} else if (ms->home_scan_ms != 0 && ms->home_scan_ms < next) {
		next = ms->home_scan_ms;
	}
	if (next != UINT64_MAX)
		set_timer(ms, next);
}

void mirrors_sync(struct mirrors *ms, uint64_t group, bool wanted)
{
	if (ms->leaving || !queue_hosts_has(ms->config.hosts, group))
		return;
	struct mirror *m = mirror_of(ms, group);
	m->wish = wanted ? SYNC : CANCEL;
	make_due(m);
}

void mirrors_leave(struct mirrors *ms, void (*done)(void *arg), void *arg)
{
	ms->leaving = true;
	ms->left = done;
	ms->left_arg = arg;
	ms->leaving_until_ms = ms->config.worker->now_ms + LEAVING_MS;
	struct mirror *m, *next;
	HASH_ITER(hh, ms->by_group, m, next)
	if (!m->busy)
		mirror_free(m);
	queue_hosts_each(ms->config.hosts, look_if_led, ms);
	worker_wake(ms->config.worker);
}

/* ---- life ---- */

struct mirrors *mirrors_new(const struct mirrors_config *config)
{
	struct mirrors *ms = MEM_NEW(struct mirrors);
	ms->config = *config;
	list_init(&ms->due);
	list_init(&ms->waiting);
	ms->timer = timer_new(config->worker, on_timer, ms);
	return ms;
}

void mirrors_free(struct mirrors *ms)
{
	struct mirror *m, *next;
	HASH_ITER(hh, ms->by_group, m, next)
	mirror_free(m);
	timer_free(ms->timer);
	mem_free(ms);
}

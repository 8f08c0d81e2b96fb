/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/promises.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "src/base/mem.h"
#include "src/broker/whole.h"
#include "tests/sim/sim_node.h"

enum {
	DIGEST_EVERY = 8,         /* entries, by chance of their bytes */
	LARGE = 8192,             /* of a state so large: */
	DIGEST_LARGE_EVERY = 256,
	INDEXES_MAX = 1 << 22,
};

static struct promises *the_promises;

void promise_broken(struct promises *p, const char *fmt, ...)
{
	if (p->failed)
		return;
	p->failed = true;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof p->why, fmt, ap);
	va_end(ap);
	world_trace(p->world, "BROKEN %s", p->why);
}

/* ---- groups ---- */

/* A member of a group, and the state machine that is really its. */
struct watched {
	struct group_app app; /* ours, with what the other one has */
	const struct group_app *real;
	void *arg;
	struct sim_node *node;
	uint64_t life;
	struct promised_group *group;
	uint64_t last; /* index that it has applied, or its state is of */
	size_t size;   /* of the state, when it was looked at last */
};

static struct promised_group *group_of(struct promises *p, uint64_t id)
{
	LIST_EACH(node, &p->groups)
	if (LIST_ENTRY(node, struct promised_group, link)->id == id)
		return LIST_ENTRY(node, struct promised_group, link);
	struct promised_group *g = MEM_NEW(struct promised_group);
	g->id = id;
	list_push_back(&p->groups, &g->link);
	return g;
}

static struct promised_entry *entry_at(struct promised_group *g, uint64_t index)
{
	if (index >= g->n_entries) {
		size_t n = 2 * index + 64;
		g->entries = mem_realloc(g->entries, n * sizeof *g->entries);
		memset(g->entries + g->n_entries, 0, (n - g->n_entries) * sizeof *g->entries);
		g->n_entries = n;
	}
	return &g->entries[index];
}

static uint64_t digest(struct watched *w)
{
	struct buf data = BUF_EMPTY, live = BUF_EMPTY;
	if (w->group->id == 0)
		broker_whole(sim_node_broker(w->node), &data);
	else
		w->real->snapshot(w->arg, 0, &data, &live, NULL);
	uint64_t hash = XXH3_64bits(data.p, data.n) | 1;
	w->size = data.n;
	buf_done(&data);
	buf_done(&live);
	return hash;
}

static void compare_state(struct watched *w, uint64_t index, bool sample)
{
	struct promises *p = the_promises;
	struct promised_entry *e = entry_at(w->group, index);
	if (e->digest == 0 && !sample)
		return;
	uint64_t now = digest(w);
	p->digests++;
	if (e->digest == 0) {
		e->digest = now;
		return;
	}
	p->compared_digests++;
	if (e->digest != now)
		promise_broken(p, "%s has another state of group %" PRIu64 " at index %" PRIu64,
			w->node->name, w->group->id, index);
}

static void compare_entry(struct watched *w, uint64_t index, const uint8_t *b, size_t n)
{
	struct promises *p = the_promises;
	struct promised_entry *e = entry_at(w->group, index);
	uint64_t hash = XXH3_64bits(b, n) | 1;
	p->applied++;
	if (index > w->group->last)
		w->group->last = index;
	if (e->entry == 0) {
		e->entry = hash;
		return;
	}
	p->compared++;
	if (e->entry != hash)
		promise_broken(p, "%s applies another entry of group %" PRIu64 " at index %" PRIu64,
			w->node->name, w->group->id, index);
}

static bool counts(const struct watched *w)
{
	return !w->node->ghost && w->node->life == w->life && !the_promises->failed;
}

static void on_seal(void *arg, uint8_t *header)
{
	struct watched *w = arg;
	w->real->seal(w->arg, header);
}

static void on_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct watched *w = arg;
	bool look = counts(w) && index < INDEXES_MAX;
	uint64_t hash = XXH3_64bits(p, n);
	if (look)
		compare_entry(w, index, p, n);
	w->real->apply(w->arg, index, blob, p, n);
	w->last = index;
	if (look)
		compare_state(w, index,
			hash % (w->size > LARGE ? DIGEST_LARGE_EVERY : DIGEST_EVERY) == 0);
}

static void on_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct watched *w = arg;
	if (counts(w) && w->last < INDEXES_MAX)
		compare_state(w, w->last, true); /* others will be restored from it */
	w->real->snapshot(w->arg, previous, data, live, rows);
}

static void on_snapshot_done(void *arg, uint64_t index)
{
	struct watched *w = arg;
	w->real->snapshot_done(w->arg, index);
}

static int on_restore(void *arg, uint64_t index, struct slice data)
{
	struct watched *w = arg;
	int rc = w->real->restore(w->arg, index, data);
	if (rc != 0 && counts(w))
		promise_broken(the_promises, "%s does not understand a state of group %" PRIu64,
			w->node->name, w->group->id);
	if (rc != 0 || !counts(w) || index >= INDEXES_MAX)
		return rc;
	/* What comes behind the last entry of the state machine's is none of it. */
	while (index > 0 && entry_at(w->group, index)->entry == 0)
		index--;
	the_promises->restored++;
	compare_state(w, index, false);
	w->last = index;
	return rc;
}

static bool on_accepts(void *arg, struct slice data)
{
	struct watched *w = arg;
	return w->real->accepts(w->arg, data);
}

static void on_live(void *arg, struct buf *live)
{
	struct watched *w = arg;
	w->real->live(w->arg, live);
}

/* Terms are many where a group was given up (start_alone()). */
static void check_leader(struct watched *w, uint64_t term)
{
	struct promised_group *g = w->group;
	uint64_t who = (uint64_t)(w->node->i + 1) << 48 | w->life;
	for (size_t i = g->n_leaders; i-- > 0;) {
		if (g->leaders[i].term != term)
			continue;
		if (g->leaders[i].who != who)
			promise_broken(the_promises, "two leaders of group %" PRIu64 " act in term %" PRIu64,
				g->id, term);
		return;
	}
	g->leaders = mem_realloc(g->leaders, (g->n_leaders + 1) * sizeof *g->leaders);
	g->leaders[g->n_leaders++] = (struct promised_leader){term, who};
}

static void on_leading(void *arg, bool yes, uint64_t term)
{
	struct watched *w = arg;
	if (counts(w)) {
		world_trace(the_promises->world, "%s %s group %" PRIu64 " in term %" PRIu64,
			w->node->name, yes ? "leads" : "leads no more", w->group->id, term);
		if (yes)
			check_leader(w, term);
	}
	w->real->leading(w->arg, yes, term);
}

static void on_closed(void *arg)
{
	struct watched *w = arg;
	w->real->closed(w->arg);
	mem_free(w);
}

static void on_log_left(void *arg, struct store_log *log)
{
	struct watched *w = arg;
	w->real->log_left(w->arg, log);
}

static void on_whole(void *arg, struct buf *data, struct buf *live)
{
	struct watched *w = arg;
	w->real->whole(w->arg, data, live);
}

static void on_removed(void *arg)
{
	struct watched *w = arg;
	w->real->removed(w->arg);
}

static struct group_app app_like(const struct group_app *real)
{
	return (struct group_app){.seal = on_seal,
		.apply = on_apply,
		.snapshot = on_snapshot,
		.snapshot_done = on_snapshot_done,
		.restore = on_restore,
		.accepts = real->accepts != NULL ? on_accepts : NULL,
		.live = on_live,
		.leading = on_leading,
		.closed = on_closed,
		.log_left = real->log_left != NULL ? on_log_left : NULL,
		.whole = real->whole != NULL ? on_whole : NULL,
		.removed = real->removed != NULL ? on_removed : NULL};
}

/* The linker gives us every call of group_open() that the product makes (--wrap). */
int __real_group_open(struct group **ret, struct groups *groups, const struct group_spec *spec);
int __wrap_group_open(struct group **ret, struct groups *groups, const struct group_spec *spec);

int __wrap_group_open(struct group **ret, struct groups *groups, const struct group_spec *spec)
{
	struct promises *p = the_promises;
	struct sim_node *n = world_node_of(p->world, groups);
	struct watched *w = MEM_NEW(struct watched);
	struct group_spec ours = *spec;
	*w = (struct watched){.app = app_like(spec->app),
		.real = spec->app,
		.arg = spec->arg,
		.node = n,
		.life = n->life,
		.group = group_of(p, spec->id)};
	ours.app = &w->app;
	ours.arg = w;
	int rc = __real_group_open(ret, groups, &ours);
	if (rc == 0)
		return 0;
	mem_free(w);
	if (!n->ghost)
		promise_broken(p, "%s cannot open group %" PRIu64 ": %s", n->name, spec->id,
			store_strerror(rc));
	return rc;
}

/* ---- messages ---- */

static struct promised_message *message(struct promises *p, uint32_t publisher, uint32_t number)
{
	struct promised_publisher *pub = publisher < p->n_publishers ? &p->publishers[publisher] : NULL;
	if (pub == NULL || number == 0 || number > pub->n) {
		promise_broken(p, "message %" PRIu32 " of publisher %" PRIu32 " was never sent", number,
			publisher);
		return NULL;
	}
	return &pub->messages[number - 1];
}

uint32_t promise_publisher(struct promises *p, uint32_t queue)
{
	p->publishers = mem_realloc(p->publishers, (p->n_publishers + 1) * sizeof *p->publishers);
	p->publishers[p->n_publishers] = (struct promised_publisher){.queue = queue};
	return p->n_publishers++;
}

uint32_t promise_message(struct promises *p, uint32_t publisher)
{
	struct promised_publisher *pub = &p->publishers[publisher];
	if (pub->n == pub->cap) {
		pub->cap = 2 * pub->cap + 16;
		pub->messages = mem_realloc(pub->messages, pub->cap * sizeof *pub->messages);
	}
	pub->messages[pub->n] = (struct promised_message){0};
	p->published++;
	return ++pub->n;
}

void promise_answered(struct promises *p, uint32_t publisher, uint32_t number, bool refused)
{
	struct promised_message *m = message(p, publisher, number);
	if (m == NULL || promise_given_up(p, publisher, number))
		return;
	if (m->confirmed || m->refused)
		promise_broken(p, "message %" PRIu32 " of publisher %" PRIu32 " is answered twice",
			number, publisher);
	m->confirmed = !refused;
	m->refused = refused;
	p->confirmed += m->confirmed;
}

void promise_came(struct promises *p, uint32_t publisher, uint32_t number, uint32_t returns)
{
	struct promised_message *m = message(p, publisher, number);
	if (m == NULL)
		return;
	p->came++;
	p->redelivered += returns > 0;
	if (promise_given_up(p, publisher, number))
		return;
	if (m->settled)
		promise_broken(p, "message %" PRIu32 " of publisher %" PRIu32
				  " comes though it is acknowledged", number, publisher);
	if (returns == 0 && m->fresh)
		promise_broken(p, "message %" PRIu32 " of publisher %" PRIu32 " comes twice", number,
			publisher);
	m->came = true;
	m->fresh |= returns == 0;
}

void promise_taken(struct promises *p, uint32_t publisher, uint32_t number)
{
	struct promised_message *m = message(p, publisher, number);
	if (m != NULL)
		m->taken = true;
}

void promise_settled(struct promises *p, uint32_t publisher, uint32_t number)
{
	struct promised_message *m = message(p, publisher, number);
	if (m != NULL)
		m->settled = true;
}

void promises_forget_group(struct promises *p, uint64_t group)
{
	struct promised_group *g = group_of(p, group);
	if (g->n_entries > 0)
		memset(g->entries, 0, g->n_entries * sizeof *g->entries);
	g->last = 0;
}

void promises_give_up(struct promises *p, uint32_t queue, uint64_t group)
{
	promises_forget_group(p, group);
	for (uint32_t i = 0; i < p->n_publishers; i++)
		if (p->publishers[i].queue == queue)
			p->publishers[i].given_up = p->publishers[i].n;
	world_trace(p->world, "q%" PRIu32 " is given up", queue);
}

bool promise_given_up(const struct promises *p, uint32_t publisher, uint32_t number)
{
	return publisher < p->n_publishers && number <= p->publishers[publisher].given_up;
}

uint64_t promises_open(const struct promises *p, uint32_t queue, uint64_t *ret_which)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < p->n_publishers; i++) {
		const struct promised_publisher *pub = &p->publishers[i];
		for (uint32_t k = pub->given_up; pub->queue == queue && k < pub->n; k++) {
			if (!pub->messages[k].confirmed || pub->messages[k].taken)
				continue;
			*ret_which = (uint64_t)i << 32 | (k + 1);
			n++;
		}
	}
	return n;
}

/* ---- life ---- */

void promises_begin(struct promises *p, struct sim_world *w)
{
	*p = (struct promises){.world = w};
	list_init(&p->groups);
	the_promises = p;
}

void promises_end(struct promises *p)
{
	struct list *node;
	while ((node = list_pop(&p->groups)) != NULL) {
		struct promised_group *g = LIST_ENTRY(node, struct promised_group, link);
		mem_free(g->entries);
		mem_free(g->leaders);
		mem_free(g);
	}
	for (uint32_t i = 0; i < p->n_publishers; i++)
		mem_free(p->publishers[i].messages);
	mem_free(p->publishers);
}

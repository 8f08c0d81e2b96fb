/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/consumer.h"

#include "src/base/mem.h"

void consumers_init(struct consumers *cs)
{
	memset(cs, 0, sizeof *cs);
	list_init(&cs->all);
}

static void consumer_free(struct consumer *c)
{
	checkout_done(&c->checkout);
	mem_free(c->tag);
	mem_free(c);
}

void consumers_done(struct consumers *cs)
{
	HASH_CLEAR(hh, cs->by_key);
	LIST_EACH_SAFE(node, &cs->all)
	consumer_free(LIST_ENTRY(node, struct consumer, all));
	for (size_t i = 0; i < cs->levels_n; i++)
		mem_free(cs->levels[i]);
	mem_free(cs->levels);
	consumers_init(cs);
}

struct consumer *consumers_find(struct consumers *cs, uint64_t client, uint32_t consumer)
{
	struct consumer_key key = {client, consumer};
	struct consumer *c = cs->last;
	if (c != NULL && c->key.client == client && c->key.consumer == consumer)
		return c;
	HASH_FIND(hh, cs->by_key, &key, sizeof key, c);
	if (c != NULL)
		cs->last = c;
	return c;
}

/* ---- levels ---- */

/* Number of levels of a higher priority. */
static size_t level_rank(const struct consumers *cs, int32_t priority)
{
	size_t low = 0;
	size_t high = cs->levels_n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (cs->levels[mid]->priority > priority)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void level_join(struct consumers *cs, int32_t priority)
{
	size_t i = level_rank(cs, priority);
	if (i == cs->levels_n || cs->levels[i]->priority != priority) {
		cs->levels = mem_realloc(cs->levels, (cs->levels_n + 1) * sizeof *cs->levels);
		memmove(cs->levels + i + 1, cs->levels + i,
			(cs->levels_n - i) * sizeof *cs->levels);
		cs->levels_n++;
		cs->levels[i] = MEM_NEW(struct consumer_level);
		cs->levels[i]->priority = priority;
		list_init(&cs->levels[i]->waiting);
		cs->top = 0;
	}
	cs->levels[i]->n++;
}

static void level_leave(struct consumers *cs, int32_t priority)
{
	size_t i = level_rank(cs, priority);
	if (--cs->levels[i]->n > 0)
		return;
	mem_free(cs->levels[i]);
	cs->levels_n--;
	memmove(cs->levels + i, cs->levels + i + 1, (cs->levels_n - i) * sizeof *cs->levels);
	cs->top = 0;
}

/* ---- waiting ---- */

bool consumers_could_wait(const struct consumers *cs, const struct consumer *c)
{
	if (c->cancelled || !consumer_is_pushed(c) || c->delivered_bytes >= c->credit_bytes)
		return false;
	if (c->prefetch != 0 && checkout_n(&c->checkout) >= c->prefetch)
		return false;
	return !cs->single_active || cs->active == c;
}

static void wait_begin(struct consumers *cs, struct consumer *c)
{
	size_t i = level_rank(cs, c->priority);
	list_push_back(&cs->levels[i]->waiting, &c->turn);
	if (i < cs->top)
		cs->top = i;
	c->waits = true;
	cs->waiting++;
}

static void wait_end(struct consumers *cs, struct consumer *c)
{
	list_remove(&c->turn);
	c->waits = false;
	cs->waiting--;
}

void consumers_refresh(struct consumers *cs, struct consumer *c)
{
	bool waits = consumers_could_wait(cs, c);
	if (waits && !c->waits)
		wait_begin(cs, c);
	else if (!waits && c->waits)
		wait_end(cs, c);
}

struct consumer *consumers_next(struct consumers *cs)
{
	if (cs->waiting == 0)
		return NULL;
	while (list_empty(&cs->levels[cs->top]->waiting))
		cs->top++;
	return LIST_ENTRY(cs->levels[cs->top]->waiting.next, struct consumer, turn);
}

void consumers_turn(struct consumers *cs, struct consumer *c)
{
	if (!consumers_could_wait(cs, c)) {
		wait_end(cs, c);
		return;
	}
	struct list *waiting = &cs->levels[cs->top]->waiting;
	if (c->turn.next == waiting)
		return; /* alone, or last already */
	list_remove(&c->turn);
	list_push_back(waiting, &c->turn);
}

/* ---- coming and going ---- */

/* The first of the highest priority, or NULL. */
static struct consumer *successor(const struct consumers *cs)
{
	struct consumer *best = NULL;
	LIST_EACH(node, &cs->all)
	{
		struct consumer *c = LIST_ENTRY(node, struct consumer, all);
		if (c->cancelled || !consumer_is_pushed(c))
			continue;
		if (best == NULL || c->priority > best->priority)
			best = c;
	}
	return best;
}

/* It is the only one, then. */
static const struct consumer *exclusive_one(const struct consumers *cs)
{
	const struct consumer *only = cs->attached == 1 ? successor(cs) : NULL;
	return only != NULL && (only->flags & ATTACH_EXCLUSIVE) != 0 ? only : NULL;
}

const struct consumer *consumers_holder(const struct consumers *cs)
{
	return cs->single_active ? cs->active : exclusive_one(cs);
}

bool consumers_exclude(const struct consumers *cs, uint8_t flags)
{
	if ((flags & ATTACH_GET) != 0)
		return false;
	if ((flags & ATTACH_EXCLUSIVE) != 0)
		return cs->single_active || cs->attached > 0;
	return exclusive_one(cs) != NULL;
}

struct consumer *consumers_attach(
	struct consumers *cs, uint64_t client, const struct command_attach *a)
{
	struct consumer *c = MEM_NEW(struct consumer);
	c->key = (struct consumer_key){client, a->consumer};
	c->flags = a->flags;
	c->priority = a->priority;
	c->prefetch = a->prefetch;
	c->credit_bytes = a->credit_bytes;
	c->tag = a->tag.n > 0 ? mem_dup(a->tag.p, a->tag.n) : NULL;
	c->tag_n = a->tag.n;
	list_init(&c->turn);
	list_push_back(&cs->all, &c->all);
	HASH_ADD(hh, cs->by_key, key, sizeof c->key, c);
	if (!consumer_is_pushed(c))
		return c;
	cs->attached++;
	level_join(cs, c->priority);
	if (cs->single_active && cs->active == NULL)
		cs->active = c;
	consumers_refresh(cs, c);
	return c;
}

void consumers_cancel(struct consumers *cs, struct consumer *c)
{
	if (c->cancelled)
		return;
	c->cancelled = true;
	if (!consumer_is_pushed(c))
		return;
	consumers_refresh(cs, c);
	cs->attached--;
	level_leave(cs, c->priority);
	if (cs->active != c)
		return;
	cs->active = successor(cs);
	if (cs->active != NULL)
		consumers_refresh(cs, cs->active);
}

void consumers_forget(struct consumers *cs, struct consumer *c)
{
	if (cs->last == c)
		cs->last = NULL;
	list_remove(&c->all);
	HASH_DELETE(hh, cs->by_key, c);
	consumer_free(c);
}

void consumers_set_single_active(struct consumers *cs, bool single_active)
{
	if (cs->single_active == single_active)
		return;
	cs->single_active = single_active;
	cs->active = single_active ? successor(cs) : NULL;
	LIST_EACH(node, &cs->all)
	consumers_refresh(cs, LIST_ENTRY(node, struct consumer, all));
}

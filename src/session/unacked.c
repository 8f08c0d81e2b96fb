/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/unacked.h"

#include "src/base/mem.h"

enum { UNACKED_FIRST = 16 };

void unacked_done(struct unacked *u)
{
	mem_free(u->items);
	*u = (struct unacked){0};
}

static void unacked_put(struct unacked *u, const struct unacked_item *item)
{
	size_t home = item->tag & (u->cap - 1);
	size_t i = home;
	while (u->items[i].tag != 0)
		i = (i + 1) & (u->cap - 1);
	u->items[i] = *item;
	u->displaced += i != home;
}

static void unacked_grow(struct unacked *u)
{
	struct unacked old = *u;
	u->cap = old.cap ? old.cap * 2 : UNACKED_FIRST;
	u->displaced = 0;
	u->items = mem_zalloc(u->cap * sizeof *u->items);
	for (size_t i = 0; i < old.cap; i++)
		if (old.items[i].tag != 0)
			unacked_put(u, &old.items[i]);
	mem_free(old.items);
}

void unacked_add(struct unacked *u, uint64_t tag, struct consumer *consumer, uint64_t number)
{
	if (u->n * 2 >= u->cap)
		unacked_grow(u);
	if (u->n == 0)
		u->lowest = tag;
	unacked_put(u, &(struct unacked_item){tag, consumer, number});
	u->n++;
}

void unacked_restore(struct unacked *u, const struct unacked_item *item)
{
	if (u->n * 2 >= u->cap)
		unacked_grow(u);
	if (u->n == 0 || item->tag < u->lowest)
		u->lowest = item->tag;
	unacked_put(u, item);
	u->n++;
}

/* Closes the gap at i by moving back items that probed past it. While no item is displaced, as on
 * the usual channel, there are none, and nothing is searched. */
static void unacked_remove_at(struct unacked *u, size_t i)
{
	size_t mask = u->cap - 1;
	size_t j = i;
	u->displaced -= (u->items[i].tag & mask) != i;
	while (u->displaced > 0) {
		j = (j + 1) & mask;
		if (u->items[j].tag == 0)
			break;
		size_t home = u->items[j].tag & mask;
		if (((j - home) & mask) < ((j - i) & mask))
			continue;
		u->items[i] = u->items[j];
		u->displaced -= home == i;
		i = j;
	}
	u->items[i].tag = 0;
	u->n--;
}

/* Its place, or u->cap. */
static size_t unacked_find(const struct unacked *u, uint64_t tag)
{
	if (u->n == 0 || tag == 0)
		return u->cap;
	size_t i = tag & (u->cap - 1);
	while (u->items[i].tag != tag) {
		if (u->items[i].tag == 0 || u->displaced == 0)
			return u->cap;
		i = (i + 1) & (u->cap - 1);
	}
	return i;
}

bool unacked_has(const struct unacked *u, uint64_t tag)
{
	return unacked_find(u, tag) != u->cap;
}

bool unacked_take(struct unacked *u, uint64_t tag, struct unacked_item *ret)
{
	size_t i = unacked_find(u, tag);
	if (i == u->cap)
		return false;
	*ret = u->items[i];
	unacked_remove_at(u, i);
	if (tag == u->lowest)
		u->lowest = tag + 1;
	return true;
}

/* When the outstanding tags are far apart, looking at the table beats counting up. */
static uint64_t unacked_find_lowest(const struct unacked *u)
{
	uint64_t lowest = UINT64_MAX;
	for (size_t i = 0; i < u->cap; i++)
		if (u->items[i].tag != 0 && u->items[i].tag < lowest)
			lowest = u->items[i].tag;
	return lowest;
}

bool unacked_take_lowest(struct unacked *u, uint64_t upto, struct unacked_item *ret)
{
	for (size_t tries = 0; u->n > 0 && u->lowest <= upto; tries++) {
		if (tries == u->cap)
			u->lowest = unacked_find_lowest(u);
		else if (unacked_take(u, u->lowest, ret))
			return true;
		else
			u->lowest++;
	}
	return false;
}

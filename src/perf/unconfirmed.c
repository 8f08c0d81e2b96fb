/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/unconfirmed.h"

#include "src/base/mem.h"

enum { CAP_FIRST = 64 };

void unconfirmed_init(struct unconfirmed *u)
{
	*u = (struct unconfirmed){.first = 1, .next = 1};
}

void unconfirmed_done(struct unconfirmed *u)
{
	mem_free(u->ring);
	unconfirmed_init(u);
}

static struct unconfirmed_entry *entry(const struct unconfirmed *u, uint64_t number)
{
	return &u->ring[number & (u->cap - 1)];
}

static void grow(struct unconfirmed *u)
{
	struct unconfirmed old = *u;
	u->cap = old.cap > 0 ? old.cap * 2 : CAP_FIRST;
	u->ring = mem_alloc(u->cap * sizeof u->ring[0]);
	for (uint64_t i = old.first; i < old.next; i++)
		*entry(u, i) = *entry(&old, i);
	mem_free(old.ring);
}

void unconfirmed_push(struct unconfirmed *u, uint64_t sequence, uint64_t due_ns)
{
	if (u->next - u->first == u->cap)
		grow(u);
	*entry(u, u->next++) = (struct unconfirmed_entry){sequence, due_ns};
	u->open++;
}

static void settle_one(struct unconfirmed *u, uint64_t number,
	void (*settled)(void *arg, const struct unconfirmed_entry *e), void *arg)
{
	struct unconfirmed_entry *e = entry(u, number);
	if (e->sequence == 0)
		return;
	settled(arg, e);
	e->sequence = 0;
	u->open--;
}

void unconfirmed_settle(struct unconfirmed *u, uint64_t number, bool multiple,
	void (*settled)(void *arg, const struct unconfirmed_entry *e), void *arg)
{
	if (multiple && (number == 0 || number >= u->next))
		number = u->next - 1;
	if (number < u->first || number >= u->next)
		return;
	for (uint64_t i = multiple ? u->first : number; i <= number; i++)
		settle_one(u, i, settled, arg);
	while (u->first < u->next && entry(u, u->first)->sequence == 0)
		u->first++;
}

void unconfirmed_restart(struct unconfirmed *u,
	void (*settled)(void *arg, const struct unconfirmed_entry *e), void *arg)
{
	unconfirmed_settle(u, 0, true, settled, arg);
	u->first = u->next = 1;
}

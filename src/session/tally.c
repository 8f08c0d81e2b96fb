/* SPDX-License-Identifier: Apache-2.0
 *
 * A list onto which entries are pushed and from which none is ever taken, so it is walked without a
 * lock. It has as many entries as there are virtual hosts and users with connections, and is walked
 * once per connection.
 */
#include "src/session/tally.h"

#include "src/base/mem.h"

struct entry {
	struct tally_count count;
	struct entry *next;
	enum tally_kind kind;
	size_t n;
	uint8_t name[];
};

struct tally {
	struct entry *_Atomic first;
};

struct tally *tally_new(void)
{
	return MEM_NEW(struct tally);
}

void tally_free(struct tally *t)
{
	for (struct entry *e = atomic_load(&t->first), *next; e != NULL; e = next) {
		next = e->next;
		mem_free(e);
	}
	mem_free(t);
}

/* Among those from `e` on, but not from `end` on. */
static struct entry *find(
	struct entry *e, const struct entry *end, enum tally_kind kind, struct slice name)
{
	while (e != end && !(e->kind == kind && slice_eq(slice_make(e->name, e->n), name)))
		e = e->next;
	return e != end ? e : NULL;
}

struct tally_count *tally_of(struct tally *t, enum tally_kind kind, struct slice name)
{
	struct entry *first = atomic_load(&t->first);
	struct entry *found = find(first, NULL, kind, name), *fresh = NULL;
	while (found == NULL) {
		if (fresh == NULL) {
			fresh = mem_zalloc(sizeof *fresh + name.n);
			fresh->kind = kind;
			fresh->n = name.n;
			memcpy(fresh->name, name.p, name.n);
		}
		struct entry *seen = fresh->next = first;
		if (atomic_compare_exchange_weak(&t->first, &first, fresh))
			return &fresh->count;
		/* Only what has come in between can be it. */
		found = find(first, seen, kind, name);
	}
	mem_free(fresh);
	return &found->count;
}

bool tally_take(_Atomic unsigned *count, int64_t limit)
{
	unsigned had = atomic_fetch_add(count, 1);
	if (limit < 0 || had < (uint64_t)limit)
		return true;
	tally_give(count);
	return false;
}

void tally_give(_Atomic unsigned *count)
{
	atomic_fetch_sub(count, 1);
}

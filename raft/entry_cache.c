/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/entry_cache.h"

#include "src/base/mem.h"

#define uthash_malloc(n) mem_alloc(n)
#define uthash_free(p, n) mem_free(p)
#include <uthash.h>

struct key {
	struct list *owner;
	uint64_t index;
};

struct cached_entry {
	struct key key;
	struct entry_bytes bytes;
	size_t cost;          /* what it adds to entry_cache.bytes */
	bool asked;           /* since it was last at the end of `order` */
	struct list order;    /* in entry_cache.order */
	struct list of_owner; /* in key.owner */
	UT_hash_handle hh;
};

void entry_cache_init(struct entry_cache *c, size_t bytes_max)
{
	*c = (struct entry_cache){.bytes_max = bytes_max};
	list_init(&c->order);
}

static struct cached_entry *find(struct entry_cache *c, struct list *owner, uint64_t index)
{
	struct key key = {.owner = owner, .index = index};
	struct cached_entry *e;
	HASH_FIND(hh, c->by_key, &key, sizeof key, e);
	return e;
}

static void drop(struct entry_cache *c, struct cached_entry *e)
{
	HASH_DEL(c->by_key, e);
	list_remove(&e->order);
	list_remove(&e->of_owner);
	c->bytes -= e->cost;
	blob_unref(e->bytes.blob);
	mem_free(e);
}

/* Ends: each pass over an entry either drops it or takes its second chance. */
static void make_room(struct entry_cache *c, size_t cost)
{
	while (c->bytes_max - c->bytes < cost) {
		struct cached_entry *e = LIST_ENTRY(c->order.next, struct cached_entry, order);
		if (e->asked) {
			e->asked = false;
			list_remove(&e->order);
			list_push_back(&c->order, &e->order);
		} else {
			drop(c, e);
		}
	}
}

void entry_cache_done(struct entry_cache *c)
{
	LIST_EACH_SAFE(node, &c->order)
	drop(c, LIST_ENTRY(node, struct cached_entry, order));
}

void entry_cache_put(
	struct entry_cache *c, struct list *owner, uint64_t index, const struct entry_bytes *bytes)
{
	size_t cost = bytes->n + sizeof(struct cached_entry);
	struct blob *blob = blob_ref(bytes->blob); /* also if it is only here by now */
	entry_cache_drop(c, owner, index);
	if (cost > c->bytes_max) {
		blob_unref(blob);
		return;
	}
	make_room(c, cost);
	struct cached_entry *e = MEM_NEW(struct cached_entry);
	e->key = (struct key){.owner = owner, .index = index};
	e->bytes = (struct entry_bytes){.blob = blob, .p = bytes->p, .n = bytes->n};
	e->cost = cost;
	HASH_ADD(hh, c->by_key, key, sizeof e->key, e);
	list_push_back(&c->order, &e->order);
	list_push_back(owner, &e->of_owner);
	c->bytes += cost;
}

bool entry_cache_get(
	struct entry_cache *c, struct list *owner, uint64_t index, struct entry_bytes *ret_e)
{
	struct cached_entry *e = find(c, owner, index);
	if (e == NULL)
		return false;
	e->asked = true;
	*ret_e = e->bytes;
	return true;
}

void entry_cache_drop(struct entry_cache *c, struct list *owner, uint64_t index)
{
	struct cached_entry *e = find(c, owner, index);
	if (e != NULL)
		drop(c, e);
}

void entry_cache_drop_owner(struct entry_cache *c, struct list *owner)
{
	LIST_EACH_SAFE(node, owner)
	drop(c, LIST_ENTRY(node, struct cached_entry, of_owner));
}

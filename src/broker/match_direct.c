/* SPDX-License-Identifier: Apache-2.0
 *
 * Direct: a hash table of keys, each with its bindings.
 */
#include "src/broker/hash.h"
#include "src/broker/match.h"

struct direct_key {
	struct broker_binding_set set; /* never empty; first, so that a set leads to its key */
	struct slice key;              /* owned */
	UT_hash_handle hh;
};

struct direct {
	struct broker_matcher base;
	struct direct_key *keys;
};

static struct broker_matcher *direct_create(void)
{
	return &MEM_NEW(struct direct)->base;
}

static void direct_destroy(struct broker_matcher *m)
{
	mem_free(m);
}

static struct direct_key *key_find(const struct direct *d, struct slice key)
{
	struct direct_key *k;
	HASH_FIND(hh, d->keys, key.p, (unsigned)key.n, k);
	return k;
}

static struct direct_key *key_new(struct direct *d, struct slice key)
{
	struct direct_key *k = MEM_NEW(struct direct_key);
	k->key = broker_own(key);
	HASH_ADD_KEYPTR(hh, d->keys, k->key.p, (unsigned)k->key.n, k);
	return k;
}

static void key_delete(struct direct *d, struct direct_key *k)
{
	HASH_DEL(d->keys, k);
	broker_disown(&k->key);
	mem_free(k);
}

static void direct_add(struct broker_matcher *m, struct broker_binding *bi)
{
	struct direct *d = (struct direct *)m;
	struct direct_key *k = key_find(d, bi->key);
	if (k == NULL)
		k = key_new(d, bi->key);
	broker_binding_set_add(&k->set, bi);
}

static void direct_remove(struct broker_matcher *m, struct broker_binding *bi)
{
	struct direct_key *k = (struct direct_key *)bi->set;
	broker_binding_set_remove(bi);
	if (k->set.n == 0)
		key_delete((struct direct *)m, k);
}

static bool direct_route(
	struct broker_matcher *m, struct slice key, struct slice headers, struct broker_route *r)
{
	(void)headers;
	const struct direct_key *k = key_find((struct direct *)m, key);
	if (k == NULL)
		return false;
	broker_route_hit_all(r, &k->set);
	return true;
}

const struct broker_match_ops broker_match_direct = {
	.create = direct_create,
	.destroy = direct_destroy,
	.add = direct_add,
	.remove = direct_remove,
	.route = direct_route,
};

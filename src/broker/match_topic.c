/* SPDX-License-Identifier: Apache-2.0
 *
 * Topic: a trie of words. A pattern is a path from the root; its last node has the bindings.
 *
 * A key walks the trie as a set of nodes, one step per word, each node at most once per step. That
 * bounds the work by words x nodes reached. Trying the ways that each '#' may match one after the
 * other, as one would recursively, is exponential: "#.a.#.a.#.a ..." against "a.a.a.a ..." takes
 * longer than a peer should be able to ask for.
 *
 *   '#' matches zero words: reaching a node also reaches its '#' child.
 *   '#' matches any number: a '#' node stays reached by every word.
 *
 * The empty key has no words at all; otherwise words are what is between the dots, empty ones too.
 * Edges by word are in one hash table per exchange, so a node costs little.
 */
#include "src/broker/hash.h"
#include "src/broker/match.h"

struct broker_topic_node {
	struct broker_binding_set set; /* first, so that a set leads to its node */
	struct broker_topic_node *parent;
	struct broker_topic_node *star; /* child "*" */
	struct broker_topic_node *any;  /* child "#" */
	struct broker_topic_node *next; /* in its bucket, if it is a word */
	uint64_t step;                  /* reached in this step */
	uint32_t hash;                  /* of word and parent */
	uint32_t n_words;               /* children that are words */
	uint8_t n;                      /* of word */
	uint8_t word[];
};

struct topic {
	struct broker_matcher base;
	struct broker_topic_node *root;
	uint64_t step; /* the last one; only grows */
	struct broker_topic_node **buckets;
	size_t n_buckets; /* 0 or a power of two */
	size_t n_words;   /* nodes in them */
};

/* Keys are short strings, so no word is longer than a node can count. */
static struct broker_topic_node *node_new(struct broker_topic_node *parent, struct slice word)
{
	struct broker_topic_node *n = mem_zalloc(sizeof *n + word.n);
	n->parent = parent;
	n->n = (uint8_t)word.n;
	if (word.n > 0)
		memcpy(n->word, word.p, word.n);
	return n;
}

static struct broker_matcher *topic_create(void)
{
	struct topic *t = MEM_NEW(struct topic);
	t->root = node_new(NULL, slice_make("", 0));
	return &t->base;
}

static void topic_destroy(struct broker_matcher *m)
{
	struct topic *t = (struct topic *)m;
	mem_free(t->root);
	mem_free(t->buckets);
	mem_free(t);
}

/* The next word of what is left of a key; false after the last. `rest` has p == NULL at the end. */
static bool next_word(struct slice *rest, struct slice *word)
{
	if (rest->p == NULL)
		return false;
	const uint8_t *dot = memchr(rest->p, '.', rest->n);
	if (dot == NULL) {
		*word = *rest;
		rest->p = NULL;
		return true;
	}
	*word = slice_make(rest->p, (size_t)(dot - rest->p));
	*rest = slice_make(dot + 1, rest->n - word->n - 1);
	return true;
}

static struct slice words_of(struct slice key)
{
	return key.n == 0 ? slice_make(NULL, 0) : key;
}

static uint64_t hash_word(struct slice word)
{
	return XXH3_64bits(word.p, word.n);
}

static uint32_t hash_edge(const struct broker_topic_node *parent, uint64_t word_hash)
{
	uint64_t h = (word_hash ^ (uint64_t)(uintptr_t)parent) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32);
}

static struct broker_topic_node *child_find(const struct topic *t,
	const struct broker_topic_node *parent, struct slice word, uint64_t word_hash)
{
	if (parent->n_words == 0)
		return NULL;
	uint32_t h = hash_edge(parent, word_hash);
	struct broker_topic_node *n = t->buckets[h & (t->n_buckets - 1)];
	while (n != NULL && (n->hash != h || n->parent != parent || n->n != word.n ||
				    memcmp(n->word, word.p, word.n) != 0))
		n = n->next;
	return n;
}

static void bucket_push(struct topic *t, struct broker_topic_node *n)
{
	struct broker_topic_node **head = &t->buckets[n->hash & (t->n_buckets - 1)];
	n->next = *head;
	*head = n;
}

static void rehash(struct topic *t, size_t n_buckets)
{
	struct broker_topic_node **old = t->buckets;
	size_t n_old = t->n_buckets;
	t->buckets = mem_zalloc(n_buckets * sizeof *t->buckets);
	t->n_buckets = n_buckets;
	for (size_t i = 0; i < n_old; i++) {
		for (struct broker_topic_node *n = old[i], *next; n != NULL; n = next) {
			next = n->next;
			bucket_push(t, n);
		}
	}
	mem_free(old);
}

static struct broker_topic_node *word_child(
	struct topic *t, struct broker_topic_node *parent, struct slice word)
{
	uint64_t word_hash = hash_word(word);
	struct broker_topic_node *n = child_find(t, parent, word, word_hash);
	if (n != NULL)
		return n;
	if (t->n_words == t->n_buckets)
		rehash(t, t->n_buckets == 0 ? 4 : 2 * t->n_buckets);
	n = node_new(parent, word);
	n->hash = hash_edge(parent, word_hash);
	bucket_push(t, n);
	parent->n_words++;
	t->n_words++;
	return n;
}

static struct broker_topic_node *child_of(
	struct topic *t, struct broker_topic_node *parent, struct slice word)
{
	struct broker_topic_node **wild = slice_is(word, "*")   ? &parent->star
					  : slice_is(word, "#") ? &parent->any
								: NULL;
	if (wild == NULL)
		return word_child(t, parent, word);
	if (*wild == NULL)
		*wild = node_new(parent, word);
	return *wild;
}

static void topic_add(struct broker_matcher *m, struct broker_binding *bi)
{
	struct topic *t = (struct topic *)m;
	struct broker_topic_node *n = t->root;
	struct slice rest = words_of(bi->key), word;
	while (next_word(&rest, &word))
		n = child_of(t, n, word);
	broker_binding_set_add(&n->set, bi);
}

static void bucket_remove(struct topic *t, struct broker_topic_node *n)
{
	struct broker_topic_node **at = &t->buckets[n->hash & (t->n_buckets - 1)];
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->parent->n_words--;
	t->n_words--;
}

static void node_delete(struct topic *t, struct broker_topic_node *n)
{
	if (n->parent->star == n)
		n->parent->star = NULL;
	else if (n->parent->any == n)
		n->parent->any = NULL;
	else
		bucket_remove(t, n);
	mem_free(n);
}

static bool node_is_needed(const struct broker_topic_node *n)
{
	return n->parent == NULL || n->set.n > 0 || n->n_words > 0 || n->star != NULL ||
	       n->any != NULL;
}

static void topic_remove(struct broker_matcher *m, struct broker_binding *bi)
{
	struct topic *t = (struct topic *)m;
	struct broker_topic_node *n = (struct broker_topic_node *)bi->set;
	broker_binding_set_remove(bi);
	while (!node_is_needed(n)) {
		struct broker_topic_node *parent = n->parent;
		node_delete(t, n);
		n = parent;
	}
	if (t->n_buckets > 64 && t->n_words < t->n_buckets / 8)
		rehash(t, t->n_buckets / 4);
}

/* The nodes reached in the current step. */
struct reached {
	struct broker_route *r;
	int side; /* of r->nodes */
	size_t n;
	uint64_t step;
};

static void reach(struct reached *to, struct broker_topic_node *n)
{
	for (; n != NULL && n->step != to->step; n = n->any) {
		n->step = to->step;
		if (to->n == to->r->nodes_cap[to->side])
			broker_route_grow_nodes(to->r, to->side);
		to->r->nodes[to->side][to->n++] = n;
	}
}

static bool is_any(const struct broker_topic_node *n)
{
	return n->parent != NULL && n->parent->any == n;
}

static void step_word(
	const struct topic *t, const struct reached *from, struct reached *to, struct slice word)
{
	uint64_t word_hash = hash_word(word);
	for (size_t i = 0; i < from->n; i++) {
		struct broker_topic_node *n = from->r->nodes[from->side][i];
		if (is_any(n))
			reach(to, n);
		reach(to, child_find(t, n, word, word_hash));
		reach(to, n->star);
	}
}

static bool topic_route(
	struct broker_matcher *m, struct slice key, struct slice headers, struct broker_route *r)
{
	(void)headers;
	struct topic *t = (struct topic *)m;
	struct reached at = {r, 0, 0, ++t->step};
	reach(&at, t->root);
	struct slice rest = words_of(key), word;
	while (at.n > 0 && next_word(&rest, &word)) {
		struct reached to = {r, !at.side, 0, ++t->step};
		step_word(t, &at, &to, word);
		at = to;
	}
	bool hit = false;
	for (size_t i = 0; i < at.n; i++) {
		const struct broker_topic_node *n = r->nodes[at.side][i];
		hit |= n->set.n > 0;
		broker_route_hit_all(r, &n->set);
	}
	return hit;
}

const struct broker_match_ops broker_match_topic = {
	.create = topic_create,
	.destroy = topic_destroy,
	.add = topic_add,
	.remove = topic_remove,
	.route = topic_route,
};

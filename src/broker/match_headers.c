/* SPDX-License-Identifier: Apache-2.0
 *
 * Headers: every binding's arguments are compared with the message's headers.
 *
 * x-match says how: all (default) or any of the pairs, without those whose key starts with "x-";
 * all-with-x and any-with-x compare these, too, but for x-match itself. A pair of type void asks
 * only for presence. No pairs at all: "all" matches everything, "any" nothing.
 *
 * Values are compared as arguments are elsewhere: integers by value whatever their width.
 *
 * A message's headers are decoded and sorted once per call; a binding with m pairs then costs
 * m log n, so that huge tables on both sides do not multiply.
 */
#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/match.h"

struct broker_header {
	struct slice key;
	struct amqp_value value;
};

/* A binding's arguments, decoded. The slices are inside the binding. */
struct broker_headers_pattern {
	bool any;
	size_t n;
	struct broker_header pairs[];
};

struct headers {
	struct broker_matcher base;
	struct broker_binding_set set;
};

struct x_match {
	bool any;
	bool with_x;
};

static const struct {
	const char *name;
	struct x_match mode;
} x_matches[] = {
	{"all", {false, false}},
	{"any", {true, false}},
	{"all-with-x", {false, true}},
	{"any-with-x", {true, true}},
};

/* False if it is none of them; then the mode is "all". */
static bool x_match_of(struct slice arguments, struct x_match *mode)
{
	struct amqp_value v;
	*mode = x_matches[0].mode;
	if (!amqp_table_get(arguments, "x-match", &v))
		return true;
	for (size_t i = 0; i < sizeof x_matches / sizeof *x_matches; i++) {
		if (!amqp_value_is_string(&v, x_matches[i].name))
			continue;
		*mode = x_matches[i].mode;
		return true;
	}
	return false;
}

bool broker_binding_check_headers(struct slice arguments)
{
	struct x_match mode;
	return x_match_of(arguments, &mode);
}

static bool is_compared(struct slice key, struct x_match mode)
{
	if (key.n < 2 || memcmp(key.p, "x-", 2) != 0)
		return true;
	return mode.with_x && !slice_is(key, "x-match");
}

static struct broker_headers_pattern *pattern_new(struct slice arguments)
{
	struct x_match mode;
	x_match_of(arguments, &mode);
	size_t max = amqp_table_count(arguments);
	struct broker_headers_pattern *p = mem_zalloc(sizeof *p + max * sizeof p->pairs[0]);
	p->any = mode.any;
	struct reader r = reader_of(arguments);
	struct broker_header h;
	while (p->n < max && amqp_table_next(&r, &h.key, &h.value)) {
		if (is_compared(h.key, mode))
			p->pairs[p->n++] = h;
	}
	return p;
}

static struct broker_matcher *headers_create(void)
{
	return &MEM_NEW(struct headers)->base;
}

static void headers_destroy(struct broker_matcher *m)
{
	mem_free(m);
}

static void headers_add(struct broker_matcher *m, struct broker_binding *bi)
{
	bi->pattern = pattern_new(bi->arguments);
	broker_binding_set_add(&((struct headers *)m)->set, bi);
}

static void headers_remove(struct broker_matcher *m, struct broker_binding *bi)
{
	(void)m;
	broker_binding_set_remove(bi);
	mem_free(bi->pattern);
	bi->pattern = NULL;
}

static int compare_keys(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return a.n < b.n ? -1 : 1;
	return a.n == 0 ? 0 : memcmp(a.p, b.p, a.n);
}

/* Of a key that is there twice the first counts: it comes first in the table. */
static bool is_before(const struct broker_header *a, const struct broker_header *b)
{
	int c = compare_keys(a->key, b->key);
	return c != 0 ? c < 0 : a->key.p < b->key.p;
}

static void sift_down(struct broker_header *h, size_t at, size_t n)
{
	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && is_before(&h[child], &h[child + 1]))
			child++;
		if (!is_before(&h[at], &h[child]))
			return;
		struct broker_header t = h[at];
		h[at] = h[child];
		h[child] = t;
	}
}

/* Heap sort: in place and n log n for any input; qsort() may allocate. */
static void sort_headers(struct broker_header *h, size_t n)
{
	for (size_t i = n / 2; i > 0; i--)
		sift_down(h, i - 1, n);
	for (size_t i = n; i > 1; i--) {
		struct broker_header t = h[0];
		h[0] = h[i - 1];
		h[i - 1] = t;
		sift_down(h, 0, i - 1);
	}
}

static void push_header(struct broker_route *r, struct broker_header h)
{
	if (r->n_headers == r->headers_cap) {
		r->headers_cap = r->headers_cap == 0 ? 16 : 2 * r->headers_cap;
		r->headers = mem_realloc(r->headers, r->headers_cap * sizeof *r->headers);
	}
	r->headers[r->n_headers++] = h;
}

static void decode_headers(struct broker_route *r, struct slice table)
{
	if (r->headers_decoded)
		return;
	r->headers_decoded = true;
	r->n_headers = 0;
	struct reader rd = reader_of(table);
	struct broker_header h;
	while (amqp_table_next(&rd, &h.key, &h.value))
		push_header(r, h);
	sort_headers(r->headers, r->n_headers);
}

static const struct broker_header *find_header(const struct broker_route *r, struct slice key)
{
	size_t from = 0, to = r->n_headers;
	while (from < to) {
		size_t mid = from + (to - from) / 2;
		if (compare_keys(r->headers[mid].key, key) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	bool found = from < r->n_headers && slice_eq(r->headers[from].key, key);
	return found ? &r->headers[from] : NULL;
}

static bool pair_matches(const struct broker_route *r, const struct broker_header *pair)
{
	const struct broker_header *h = find_header(r, pair->key);
	return h != NULL && (pair->value.type == 'V' || amqp_value_equal(&pair->value, &h->value));
}

static bool pattern_matches(
	const struct broker_route *r, const struct broker_headers_pattern *pattern)
{
	for (size_t i = 0; i < pattern->n; i++) {
		if (pair_matches(r, &pattern->pairs[i]) == pattern->any)
			return pattern->any;
	}
	return !pattern->any;
}

static bool headers_route(
	struct broker_matcher *m, struct slice key, struct slice headers, struct broker_route *r)
{
	(void)key;
	const struct broker_binding_set *set = &((struct headers *)m)->set;
	bool hit = false;
	decode_headers(r, headers);
	for (size_t i = 0; i < set->n; i++) {
		if (!pattern_matches(r, set->hops[i].binding->pattern))
			continue;
		hit = true;
		broker_route_hit(r, &set->hops[i]);
	}
	return hit;
}

const struct broker_match_ops broker_match_headers = {
	.keyless = true,
	.create = headers_create,
	.destroy = headers_destroy,
	.add = headers_add,
	.remove = headers_remove,
	.route = headers_route,
};

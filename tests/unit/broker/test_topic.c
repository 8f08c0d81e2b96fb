/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "tests/unit/broker/fixture.h"

/* The reference: words in arrays, patterns tried one after the other by recursion. */
struct words {
	struct slice word[256];
	size_t n;
};

static struct words split(const char *key)
{
	struct words w = {.n = 0};
	if (*key == '\0')
		return w;
	for (;;) {
		size_t n = strcspn(key, ".");
		w.word[w.n++] = slice_make(key, n);
		if (key[n] == '\0')
			return w;
		key += n + 1;
	}
}

static bool matches(const struct words *p, size_t i, const struct words *k, size_t j)
{
	if (i == p->n)
		return j == k->n;
	if (slice_is(p->word[i], "#"))
		return matches(p, i + 1, k, j) || (j < k->n && matches(p, i, k, j + 1));
	if (j == k->n)
		return false;
	return (slice_is(p->word[i], "*") || slice_eq(p->word[i], k->word[j])) &&
	       matches(p, i + 1, k, j + 1);
}

static bool naive(const char *pattern, const char *key)
{
	struct words p = split(pattern), k = split(key);
	return matches(&p, 0, &k, 0);
}

static bool routes(struct broker *b, const char *key, const char *name)
{
	struct broker_route r = {0};
	bool found = false;
	broker_route_begin(b, &r);
	broker_route(b, exchange(b, "amq.topic"), slice_str(key), NONE, &r);
	for (size_t i = 0; i < r.n; i++)
		found |= slice_is(r.queues[i]->name, name);
	broker_route_done(&r);
	return found;
}

static void words_and_wildcards(void **state)
{
	struct broker *b = *state;
	static const struct {
		const char *pattern, *key;
		bool match;
	} cases[] = {
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a.b", "a.b.c", false},
		{"*", "a", true},
		{"*", "", false},
		{"*", "a.b", false},
		{"#", "", true},
		{"#", "a", true},
		{"#", "a.b.c", true},
		{"", "", true},
		{"", "a", false},
		{"a.#", "a", true},
		{"a.#", "a.b.c", true},
		{"a.#", "b", false},
		{"#.c", "c", true},
		{"#.c", "a.b.c", true},
		{"#.c", "a.c.b", false},
		{"#.*", "", false},
		{"#.*", "a", true},
		{"*.#", "a.b", true},
		{"#.#", "", true},
		{"a.#.b", "a.b", true},
		{"a.#.b", "a.x.y.b", true},
		{"a.#.b", "a.x.y", false},
		{"a.*.b", "a..b", true},
		{"a.*.b", "a.b", false},
		{".", ".", true},
		{"*.*", ".", true},
		{"*.*.*", "..", true},
		{"a.", "a", false},
		{"a.*", "a.", true},
		{"a*", "ab", false},
		{"a#", "ab", false},
		{"#a", "a", false},
		{"a.b", "A.b", false},
	};
	declare_queue(b, "q");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(naive(cases[i].pattern, cases[i].key), cases[i].match);
		assert_int_equal(bind_queue(b, "amq.topic", "q", cases[i].pattern), BROKER_OK);
		if (routes(b, cases[i].key, "q") != cases[i].match)
			fail_msg("pattern '%s', key '%s'", cases[i].pattern, cases[i].key);
		assert_int_equal(unbind_queue(b, "amq.topic", "q", cases[i].pattern), BROKER_OK);
	}
}

static void random_text(struct dice *d, const char *const *words, uint32_t n_words, char *out)
{
	uint32_t n = roll(d, 7);
	*out = '\0';
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			strcat(out, ".");
		strcat(out, words[roll(d, n_words)]);
	}
}

static void random_pattern(struct dice *d, char *out)
{
	static const char *const words[] = {"a", "b", "c", "", "long-word", "*", "*", "#", "#"};
	random_text(d, words, 9, out);
}

static void random_key(struct dice *d, char *out)
{
	static const char *const words[] = {"a", "b", "c", "", "long-word", "d"};
	random_text(d, words, 6, out);
}

#define QUEUES 20
#define PER_QUEUE 4

struct model {
	char pattern[QUEUES][PER_QUEUE][128]; /* "-": none */
};

/* Names are not C strings. */
static int number_of(const struct broker_queue *q)
{
	int n = 0;
	for (size_t i = 0; i < q->name.n; i++)
		n = 10 * n + (q->name.p[i] - '0');
	return n;
}

static void check_key(struct broker *b, const struct model *m, const char *key)
{
	struct broker_route r = {0};
	bool want[QUEUES] = {false};
	size_t n = 0;
	for (int q = 0; q < QUEUES; q++) {
		for (int i = 0; i < PER_QUEUE; i++)
			want[q] |=
				strcmp(m->pattern[q][i], "-") != 0 && naive(m->pattern[q][i], key);
		n += want[q];
	}
	broker_route_begin(b, &r);
	broker_route(b, exchange(b, "amq.topic"), slice_str(key), NONE, &r);
	assert_int_equal(r.n, n);
	for (size_t i = 0; i < r.n; i++)
		assert_true(want[number_of(r.queues[i])]);
	broker_route_done(&r);
}

static bool in_use(const struct model *m, int q, const char *pattern)
{
	for (int i = 0; i < PER_QUEUE; i++) {
		if (strcmp(m->pattern[q][i], pattern) == 0)
			return true;
	}
	return false;
}

static void replace_pattern(struct dice *d, struct broker *b, struct model *m)
{
	char name[16], pattern[128];
	int q = (int)roll(d, QUEUES), i = (int)roll(d, PER_QUEUE);
	char *old = m->pattern[q][i];
	snprintf(name, sizeof name, "%d", q);
	random_pattern(d, pattern);
	if (strcmp(old, "-") != 0)
		assert_int_equal(unbind_queue(b, "amq.topic", name, old), BROKER_OK);
	strcpy(old, "-");
	if (in_use(m, q, pattern) || roll(d, 4) == 0)
		return;
	assert_int_equal(bind_queue(b, "amq.topic", name, pattern), BROKER_OK);
	strcpy(old, pattern);
}

static void random_patterns_match_as_the_reference(void **state)
{
	struct broker *b = *state;
	struct dice d = dice_new(__func__);
	static struct model m;
	char key[128];
	for (int q = 0; q < QUEUES; q++) {
		snprintf(key, sizeof key, "%d", q);
		declare_queue_spec(b, key, (struct broker_queue_spec){.durable = true});
		for (int i = 0; i < PER_QUEUE; i++)
			strcpy(m.pattern[q][i], "-");
	}
	for (int round = 0; round < 20000; round++) {
		replace_pattern(&d, b, &m);
		random_key(&d, key);
		check_key(b, &m, key);
	}
	for (int q = 0; q < QUEUES; q++) {
		snprintf(key, sizeof key, "%d", q);
		assert_int_equal(delete_queue(b, queue(b, key)->group).code, BROKER_OK);
	}
	assert_int_equal(b->n_bindings, 0);
}

/* C(128, 64) ways to match, were they tried one by one. */
static void many_hashes_cost_no_more_than_words_times_nodes(void **state)
{
	struct broker *b = *state;
	char pattern[256] = "", key[256] = "";
	struct timespec from, to;
	declare_queue(b, "q");
	for (int i = 0; i < 63; i++)
		strcat(pattern, i == 0 ? "#.a" : ".#.a");
	for (int i = 0; i < 127; i++)
		strcat(key, i == 0 ? "a" : ".a");
	assert_int_equal(bind_queue(b, "amq.topic", "q", pattern), BROKER_OK);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	assert_true(routes(b, key, "q"));
	strcat(key, ".b");
	assert_false(routes(b, key, "q"));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	assert_true(to.tv_sec - from.tv_sec < 2);
}

static void a_key_of_dots_is_routed(void **state)
{
	struct broker *b = *state;
	char key[256];
	memset(key, '.', 255);
	key[255] = '\0';
	declare_queue(b, "q");
	assert_int_equal(bind_queue(b, "amq.topic", "q", key), BROKER_OK);
	assert_true(routes(b, key, "q"));
	key[254] = '\0';
	assert_false(routes(b, key, "q"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(words_and_wildcards, setup, teardown),
		cmocka_unit_test_setup_teardown(
			random_patterns_match_as_the_reference, setup, teardown),
		cmocka_unit_test_setup_teardown(
			many_hashes_cost_no_more_than_words_times_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_of_dots_is_routed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/broker/commands.h"
#include "tests/unit/broker/store.h"

static void apply_some(struct dice *d, struct broker *b, struct broker *twin)
{
	struct buf c = BUF_EMPTY;
	struct broker_result one, two;
	put_some_command(d, b, &c);
	broker_apply(b, buf_slice(&c), &one);
	broker_apply(twin, buf_slice(&c), &two);
	assert_int_equal(one.code, two.code);
	assert_int_equal(one.resource, two.resource);
	assert_int_equal(one.group, two.group);
	buf_done(&c);
}

static size_t routed(struct broker *b, struct dice d, uint64_t *groups)
{
	struct broker_route r = {0};
	struct buf headers = BUF_EMPTY;
	*groups = 0;
	size_t n = 0;
	for (int i = 0; i < 20 && root(b) != NULL; i++) {
		struct broker_exchange *x = broker_exchange_find(root(b), some_exchange(&d));
		struct slice table = some_arguments(&d, &headers), key = some_key(&d);
		broker_route_begin(b, &r);
		if (x != NULL)
			broker_route(b, x, key, table, &r);
		for (size_t k = 0; k < r.n; k++)
			*groups += r.queues[k]->group * (uint64_t)(i + 1);
		n += r.n;
	}
	buf_done(&headers);
	broker_route_done(&r);
	return n;
}

static void assert_same(struct broker *a, struct broker *b, struct dice d)
{
	uint64_t groups_a, groups_b;
	assert_true(broker_digest(a) == broker_digest(b));
	assert_int_equal(routed(a, d, &groups_a), routed(b, d, &groups_b));
	assert_true(groups_a == groups_b);
	assert_int_equal(a->n_bindings, b->n_bindings);
	assert_int_equal(a->n_queues, b->n_queues);
	assert_int_equal(a->n_exchanges, b->n_exchanges);
}

/* The twin is now and then replaced by what the store has: a node that restarts. */
static void random_commands_survive_the_store(void **state)
{
	(void)state;
	struct dice d = dice_new(__func__);
	static struct store store;
	size_t most = 0;
	for (int round = 0; round < 30; round++) {
		struct broker *b = broker_new(NULL), *twin = broker_new(NULL);
		for (int i = 0; i < 1500; i++) {
			apply_some(&d, b, twin);
			most = b->n_bindings > most ? b->n_bindings : most;
			if (roll(&d, 20) != 0)
				continue;
			store_save(&store, b);
			assert_same(b, twin, d);
			if (roll(&d, 3) != 0)
				continue;
			broker_free(twin);
			twin = store_load(&store);
			assert_same(b, twin, d);
		}
		store_clear(&store);
		broker_free(b);
		broker_free(twin);
	}
	assert_true(most > 5); /* of all rounds: one alone may have no luck */
}

static void count_row(void *arg, struct slice key, struct slice value)
{
	(void)key;
	int *n = arg;
	n[value.p == NULL]++;
}

static void only_changed_rows_are_dirty(void **state)
{
	struct broker *b = *state;
	broker_rows_clean(b);
	int n[2] = {0};
	broker_dirty_rows(b, count_row, n);
	assert_int_equal(n[0] + n[1], 0);

	uint64_t group = declare_queue(b, "q")->group;
	broker_dirty_rows(b, count_row, n);
	broker_dirty_rows(b, count_row, n);
	assert_int_equal(n[0], 2 * 2); /* twice: the queue and the counters */
	broker_rows_clean(b);

	delete_queue(b, group);
	n[0] = n[1] = 0;
	broker_dirty_rows(b, count_row, n);
	assert_int_equal(n[0], 0);
	assert_int_equal(n[1], 1);
	broker_rows_clean(b);

	/* What the store never had needs no deletion. */
	delete_queue(b, declare_queue(b, "q")->group);
	n[0] = n[1] = 0;
	broker_dirty_rows(b, count_row, n);
	assert_int_equal(n[0], 1);
	assert_int_equal(n[1], 0);
}

static void an_empty_broker_is_an_empty_store(void **state)
{
	(void)state;
	struct broker *a = broker_new(NULL), *b = broker_new(NULL);
	assert_true(broker_digest(a) == broker_digest(b));
	add_vhost(b, "/");
	assert_false(broker_digest(a) == broker_digest(b));
	broker_free(a);
	broker_free(b);
}

static void save_all(struct store *s, struct broker *b)
{
	broker_all_rows(b, store_put, s);
	for (size_t i = 1; i < s->n; i++)
		assert_true(compare_rows(&s->rows[i - 1], &s->rows[i]) < 0);
}

static void all_rows_make_the_same_broker(void **state)
{
	(void)state;
	struct dice d = dice_new(__func__);
	static struct store store;
	struct broker *b = broker_new(NULL), *twin = broker_new(NULL);
	for (int i = 0; i < 3000; i++)
		apply_some(&d, b, twin);
	save_all(&store, b);
	struct broker *loaded = store_load(&store);
	assert_same(b, loaded, d);
	/* They go on in the same way: numbers come from the state. */
	for (int i = 0; i < 1000; i++)
		apply_some(&d, b, loaded);
	assert_same(b, loaded, d);
	store_clear(&store);
	broker_free(b);
	broker_free(twin);
	broker_free(loaded);
}

static void mutate(struct dice *d, struct buf *b)
{
	switch (roll(d, 4)) {
	case 0:
		b->n = roll(d, (uint32_t)b->n + 1);
		break;
	case 1:
		buf_put_u8(b, (uint8_t)roll(d, 256));
		break;
	default:
		for (uint32_t i = 1 + roll(d, 3); i > 0 && b->n > 0; i--)
			b->p[roll(d, (uint32_t)b->n)] = (uint8_t)roll(d, roll(d, 2) ? 256 : 4);
	}
}

/* A copy of its own size, so that the address sanitizer sees one octet too far. */
static struct slice exact(const struct buf *b)
{
	return slice_make(mem_dup(b->p, b->n), b->n);
}

static void exact_free(struct slice s)
{
	mem_free((void *)(uintptr_t)s.p);
}

static void mutated_rows_are_refused_or_loaded(void **state)
{
	(void)state;
	struct dice d = dice_new(__func__);
	static struct store store;
	int refused = 0;
	struct broker *b = broker_new(NULL), *twin = broker_new(NULL);
	for (int i = 0; i < 500; i++)
		apply_some(&d, b, twin);
	save_all(&store, b);
	for (int round = 0; round < 1500; round++) {
		struct broker *victim = broker_new(NULL);
		size_t bad = roll(&d, (uint32_t)store.n);
		for (size_t i = 0; i < store.n; i++) {
			struct buf value = BUF_EMPTY;
			uint8_t key[BROKER_ROW_KEY_SIZE];
			memcpy(key, store.rows[i].key, sizeof key);
			buf_put_slice(&value, buf_slice(&store.rows[i].value));
			if (i == bad && roll(&d, 5) == 0)
				key[roll(&d, sizeof key)] = (uint8_t)roll(&d, 10);
			else if (i == bad)
				mutate(&d, &value);
			struct slice s = exact(&value);
			refused += !broker_load_row(victim, slice_make(key, sizeof key), s);
			exact_free(s);
			buf_done(&value);
		}
		broker_digest(victim);
		broker_free(victim);
	}
	assert_true(refused > 100);
	store_clear(&store);
	broker_free(b);
	broker_free(twin);
}

static void mutated_commands_change_all_or_nothing(void **state)
{
	(void)state;
	struct dice d = dice_new(__func__);
	struct broker *b = broker_new(NULL);
	add_vhost(b, "/");
	int refused = 0;
	for (int i = 0; i < 100000; i++) {
		struct buf c = BUF_EMPTY;
		struct broker_result ret;
		put_some_command(&d, b, &c);
		if (roll(&d, 3) != 0)
			mutate(&d, &c);
		struct slice s = exact(&c);
		/* Comparing digests at every step would take minutes. */
		bool look = i % 50 == 0;
		uint64_t before = look ? broker_digest(b) : 0;
		broker_apply(b, s, &ret);
		assert_true(ret.code < BROKER_CODES);
		refused += ret.code == BROKER_MALFORMED || ret.code == BROKER_UNKNOWN;
		if (look && ret.code != BROKER_OK)
			assert_true(broker_digest(b) == before);
		exact_free(s);
		buf_done(&c);
	}
	assert_true(refused > 1000);
	broker_free(b);
}

static void every_truncation_is_malformed(void **state)
{
	struct broker *b = *state;
	struct dice d = dice_new(__func__);
	for (int i = 0; i < 2000; i++) {
		struct buf c = BUF_EMPTY;
		put_some_command(&d, b, &c);
		size_t full = c.n;
		for (c.n = 0; c.n < full; c.n++) {
			struct broker_result ret;
			struct slice s = exact(&c);
			broker_apply(b, s, &ret);
			assert_int_equal(ret.code, BROKER_MALFORMED);
			exact_free(s);
		}
		buf_done(&c);
	}
}

/* The bytes of a row live on disks for years. */
static void the_bytes_of_a_row(void **state)
{
	struct broker *b = *state;
	static struct store store;
	const struct broker_queue_spec spec = {.durable = true,
		.exclusive = true,
		.owner = {1, 2, 3},
		.home_node = 4,
		.home_incarnation = 5,
		.created_ms = 6,
		.arguments = S("\1nV")};
	declare_queue_spec(b, "q", spec);
	bind_queue(b, "amq.direct", "q", "k");
	broker_all_rows(b, store_put, &store);
	struct row *r = store_find(&store, S("\5\0\0\0\0\0\0\0\1"));
	assert_true(
		slice_eq(buf_slice(&r->value), S("\7\1\0\0\0\0\0\0\0"
						 "\1\0q\5"
						 "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
						 "\4\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0"
						 "\3\0\0\0\1nV\0\0")));
	/* The vhost is 1, its exchanges 2 to 7, the binding 8. */
	r = store_find(&store, S("\6\0\0\0\0\0\0\0\10"));
	assert_true(slice_eq(
		buf_slice(&r->value), S("\7\2\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0k\0\0\0\0")));
	r = store_find(&store, S("\1\0\0\0\0\0\0\0\0"));
	assert_true(slice_eq(buf_slice(&r->value), S("\7\0\0\0\0\0\0\0\0"
						 "\2\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0"
						     "\1\0\0\0\0\0\0\0\1\0\0\0")));
	store_clear(&store);
}

static void assert_row(struct store *s, struct slice key, struct slice value)
{
	const struct row *r = store_find(s, key);
	assert_non_null(r);
	assert_true(slice_eq(buf_slice(&r->value), value));
}

static void the_bytes_of_nodes_members_and_settings(void **state)
{
	struct broker *b = *state;
	static struct store store;
	struct buf c = BUF_EMPTY;
	node_up(b, 5, 3);
	const struct broker_queue_spec spec = {.durable = true, .locator = BROKER_LOCATOR_RANDOM};
	declare_queue_spec(b, "q", spec);
	set_policy(b, BROKER_POLICY_OPERATOR, "p",
		&(struct broker_policy_spec){.pattern = S("^q"),
			.apply_to = BROKER_APPLY_TO_QUEUES,
			.priority = -2,
			.definition = S("\1nV")});
	broker_put_set_parameter(&c, NONE, NONE, S("g"), S("1"));
	apply(b, &c);
	broker_put_set_parameter(&c, S("/"), S("c"), S("n"), S("{}"));
	apply(b, &c);
	broker_put_add_user(&c, S("u"), S("h"), BROKER_PASSWORD_SHA512, S("t"));
	apply(b, &c);
	broker_put_set_user_limits(&c, S("u"), &(struct broker_user_limits){5, BROKER_LIMIT_KEEP});
	apply(b, &c);
	broker_put_set_vhost_limits(&c, S("/"), &(struct broker_vhost_limits){-1, 9});
	apply(b, &c);
	broker_put_set_topic_permissions(&c, S("u"), S("/"), S("x"), S("w"), S("r"));
	apply(b, &c);
	broker_all_rows(b, store_put, &store);
	assert_row(&store, S("\2\0\0\0\0\0\0\0\5"),
		S("\7\1\0\0\1\3\0\0\0\0\0\0\0\7\0n5@host\12\0host:25672"));
	assert_row(&store, S("\3\0\0\0\0\0\0\0\1"),
		S("\7\1\0/\0\0\0\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377"
		  "\11\0\0\0\0\0\0\0"));
	assert_row(&store, S("\5\0\0\0\0\0\0\0\1"),
		S("\7\1\0\0\0\0\0\0\0\1\0q\21"
		  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		  "\0\0\0\0\0\1\1\0\0\0\0\0\0\0\1\0\0\0"));
	struct broker_queue *q = broker_queue_by_group(b, 1);
	q->members[0] = (struct broker_member){.id = 1, .node = 1, .state = BROKER_MEMBER_JOINING,
		.chosen = 0x102, .heir = true, .first = true};
	broker_all_rows(b, store_put, &store);
	assert_row(&store, S("\5\0\0\0\0\0\0\0\1"),
		S("\7\1\0\0\0\0\0\0\0\1\0q\21"
		  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		  "\0\0\0\0\0\1\1\0\0\0\0\0\0\0\1\0\1\34\2\1\0\0\0\0\0\0"));
	/* The policy is 8. */
	assert_row(&store, S("\11\0\0\0\0\0\0\0\10"),
		S("\7\1\0\0\0\0\0\0\0\1\1\0p\2\0\0\0^q\1"
		  "\376\377\377\377\377\377\377\377\3\0\0\0\1nV"));
	assert_row(&store, S("\12\0\0\0\0\0\0\0\11"),
		S("\7\0\0\0\0\0\0\0\0\0\0\1\0g\1\0\0\0""1"));
	assert_row(&store, S("\12\0\0\0\0\0\0\0\12"),
		S("\7\1\0\0\0\0\0\0\0\1\0c\1\0n\2\0\0\0{}"));
	assert_row(&store, S("\7\0\0\0\0\0\0\0\13"),
		S("\7\1\0u\1\0\0\0h\1\1\0\0\0t\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\200"));
	assert_row(&store, S("\13\0\0\0\0\0\0\0\14"),
		S("\7\13\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0x\1\0\0\0w\1\0\0\0r"));
	store_clear(&store);
}

static void a_row_whose_parent_is_missing_is_refused(void **state)
{
	struct broker *b = *state;
	static struct store store;
	declare_queue(b, "q");
	bind_queue(b, "amq.direct", "q", "k");
	broker_all_rows(b, store_put, &store);
	qsort(store.rows, store.n, sizeof store.rows[0], compare_rows);
	/* Only what somebody refers to is missed: not the queue's binding. */
	for (size_t skip = 0; skip < store.n; skip++) {
		struct broker *victim = broker_new(NULL);
		bool ok = true;
		for (size_t i = 0; i < store.n; i++) {
			struct slice key = slice_make(store.rows[i].key, BROKER_ROW_KEY_SIZE);
			ok &= i == skip ||
			      broker_load_row(victim, key, buf_slice(&store.rows[i].value));
		}
		uint8_t kind = store.rows[skip].key[0];
		if (kind == BROKER_ROW_GLOBAL || kind == BROKER_ROW_VHOST ||
			kind == BROKER_ROW_QUEUE)
			assert_false(ok);
		if (kind == BROKER_ROW_BINDING)
			assert_true(ok);
		broker_free(victim);
	}
	store_clear(&store);
}

static void a_binding_never_leaves_its_vhost(void **state)
{
	struct broker *b = *state;
	static struct store store;
	struct buf c = BUF_EMPTY;
	const struct broker_queue_spec spec = {.durable = true};
	declare_queue(b, "q");
	bind_queue(b, "amq.direct", "q", "k");
	add_vhost(b, "v");
	broker_put_declare_queue(&c, S("v"), S("q"), &spec);
	assert_int_equal(apply(b, &c).group, 2);
	broker_all_rows(b, store_put, &store);
	struct row *last = &store.rows[store.n - 1];
	assert_int_equal(last->key[0], BROKER_ROW_BINDING);
	struct broker *copy = broker_new(NULL);
	for (size_t i = 0; i + 1 < store.n; i++)
		assert_true(
			broker_load_row(copy, slice_make(store.rows[i].key, BROKER_ROW_KEY_SIZE),
				buf_slice(&store.rows[i].value)));
	struct slice key = slice_make(last->key, BROKER_ROW_KEY_SIZE);
	assert_int_equal(last->value.p[10], 1); /* the destination's number */
	last->value.p[10] = 2;
	assert_false(broker_load_row(copy, key, buf_slice(&last->value)));
	/* To an exchange: the first one of v, then one of "/". */
	last->value.p[9] = BROKER_TO_EXCHANGE;
	last->value.p[10] = 10;
	assert_non_null(broker_exchange_by_number(copy, 10));
	assert_false(broker_load_row(copy, key, buf_slice(&last->value)));
	last->value.p[10] = 3;
	assert_true(broker_load_row(copy, key, buf_slice(&last->value)));
	last->value.p[9] = BROKER_TO_QUEUE;
	last->value.p[10] = 1;
	assert_true(broker_load_row(copy, key, buf_slice(&last->value)));
	broker_free(copy);
	store_clear(&store);
}

static void a_row_is_loaded_once_and_in_a_known_version(void **state)
{
	struct broker *b = *state;
	static struct store store;
	declare_queue(b, "q");
	bind_queue(b, "amq.direct", "q", "k");
	broker_all_rows(b, store_put, &store);
	struct broker *copy = store_load(&store);
	uint64_t digest = broker_digest(copy);
	for (size_t i = 0; i < store.n; i++) {
		struct slice key = slice_make(store.rows[i].key, BROKER_ROW_KEY_SIZE);
		assert_false(broker_load_row(copy, key, buf_slice(&store.rows[i].value)));
		static const uint8_t unknown[] = {0, 1, 2, 3, 7, 8};
		for (size_t k = 0; k < sizeof unknown; k++) {
			store.rows[i].value.p[0] = unknown[k];
			assert_false(broker_load_row(copy, key, buf_slice(&store.rows[i].value)));
		}
	}
	assert_true(broker_digest(copy) == digest);
	broker_free(copy);
	store_clear(&store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_commands_survive_the_store),
		cmocka_unit_test_setup_teardown(only_changed_rows_are_dirty, setup, teardown),
		cmocka_unit_test(an_empty_broker_is_an_empty_store),
		cmocka_unit_test(all_rows_make_the_same_broker),
		cmocka_unit_test_setup_teardown(the_bytes_of_a_row, setup, teardown),
		cmocka_unit_test_setup_teardown(the_bytes_of_nodes_members_and_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_row_whose_parent_is_missing_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_binding_never_leaves_its_vhost, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_row_is_loaded_once_and_in_a_known_version, setup, teardown),
		cmocka_unit_test(mutated_rows_are_refused_or_loaded),
		cmocka_unit_test(mutated_commands_change_all_or_nothing),
		cmocka_unit_test_setup_teardown(every_truncation_is_malformed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

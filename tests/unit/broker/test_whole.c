/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/whole.h"
#include "tests/unit/broker/commands.h"
#include "tests/unit/broker/store.h"

/* What a watch has seen of queues: group by group, how often it came more than it went. */
enum { GROUPS = 4096 };

struct seen {
	int here[GROUPS];
	unsigned changed;
};

static void on_queue_added(void *arg, struct broker_queue *q)
{
	struct seen *s = arg;
	assert_true(q->group < GROUPS);
	s->here[q->group]++;
}

static void on_queue_deleted(void *arg, struct broker_queue *q)
{
	struct seen *s = arg;
	s->here[q->group]--;
}

static void on_queue_changed(void *arg, struct broker_queue *q)
{
	struct seen *s = arg;
	assert_int_equal(s->here[q->group], 1);
	s->changed++;
}

static struct broker_watch watch_of(struct seen *s)
{
	return (struct broker_watch){.arg = s,
		.queue_added = on_queue_added,
		.queue_deleted = on_queue_deleted,
		.queue_changed = on_queue_changed};
}

static void assert_seen(const struct seen *s, const struct broker *b)
{
	for (uint64_t group = 0; group < GROUPS; group++)
		assert_int_equal(s->here[group], broker_queue_by_group(b, group) != NULL);
}

static void apply_some(struct dice *d, struct broker *b, struct broker *other)
{
	struct broker_result one, two;
	struct buf c = BUF_EMPTY;
	put_some_command(d, b, &c);
	broker_apply(b, buf_slice(&c), &one);
	if (other != NULL) {
		broker_apply(other, buf_slice(&c), &two);
		assert_int_equal(one.code, two.code);
		assert_int_equal(one.group, two.group);
	}
	buf_done(&c);
}

static void become(struct broker *b, struct broker *other)
{
	struct buf whole = BUF_EMPTY;
	broker_whole(other, &whole);
	assert_true(broker_become(b, buf_slice(&whole)));
	buf_done(&whole);
	assert_true(broker_digest(b) == broker_digest(other));
	for (size_t i = 0; i < b->n_nodes; i++) {
		assert_int_equal(b->nodes[i]->n_members, other->nodes[i]->n_members);
		assert_int_equal(b->nodes[i]->n_leaders, other->nodes[i]->n_leaders);
	}
}

static void assert_stored(struct store *s, struct broker *b)
{
	store_save(s, b);
	struct broker *loaded = store_load(s);
	assert_true(broker_digest(loaded) == broker_digest(b));
	broker_free(loaded);
}

static void one_that_lagged_catches_up(void **state)
{
	(void)state;
	struct dice d = dice_new("one_that_lagged_catches_up");
	for (int round = 0; round < 40; round++) {
		struct seen seen = {0};
		const struct broker_watch watch = watch_of(&seen);
		struct broker *ahead = broker_new(NULL), *behind = broker_new(&watch);
		struct store store = {0};
		add_vhost(ahead, "/");
		add_vhost(behind, "/");
		for (uint32_t i = roll(&d, 200); i > 0; i--)
			apply_some(&d, ahead, behind);
		if (roll(&d, 2))
			store_save(&store, behind);
		for (int lag = 0; lag < 4; lag++) {
			for (uint32_t i = roll(&d, 150); i > 0; i--)
				apply_some(&d, ahead, NULL);
			become(behind, ahead);
			assert_seen(&seen, behind);
			assert_stored(&store, behind);
			for (uint32_t i = roll(&d, 50); i > 0; i--)
				apply_some(&d, ahead, behind);
			assert_true(broker_digest(behind) == broker_digest(ahead));
			assert_seen(&seen, behind);
		}
		store_clear(&store);
		broker_free(ahead);
		broker_free(behind);
	}
}

static void a_stranger_loses_everything(void **state)
{
	(void)state;
	struct dice d = dice_new("a_stranger_loses_everything");
	for (int round = 0; round < 20; round++) {
		struct seen seen = {0};
		const struct broker_watch watch = watch_of(&seen);
		struct broker *one = broker_new(NULL), *other = broker_new(&watch);
		struct store store = {0};
		add_vhost(one, "/");
		add_vhost(other, "/");
		for (uint32_t i = roll(&d, 200); i > 0; i--)
			apply_some(&d, one, NULL);
		for (uint32_t i = roll(&d, 200); i > 0; i--)
			apply_some(&d, other, NULL);
		store_save(&store, other);
		become(other, one);
		assert_seen(&seen, other);
		assert_stored(&store, other);
		store_clear(&store);
		broker_free(one);
		broker_free(other);
	}
}

static void what_stays_is_where_it_was(void **state)
{
	(void)state;
	struct seen seen = {0};
	const struct broker_watch watch = watch_of(&seen);
	struct broker *ahead = broker_new(NULL), *behind = broker_new(&watch);
	add_vhost(ahead, "/");
	become(behind, ahead);
	node_up(ahead, 1, 1);
	declare_queue(ahead, "q");
	declare_queue(ahead, "r");
	become(behind, ahead);
	struct broker_queue *q = queue(behind, "q");
	struct broker_vhost *v = root(behind);
	int mine;
	q->data = &mine;
	assert_int_equal(q->n_members, 1);
	node_up(ahead, 2, 1);
	struct buf d = BUF_EMPTY;
	amqp_table_put_string(&d, "ha-mode", S("all"));
	set_policy(ahead, BROKER_POLICY_USER, "ha",
		&(struct broker_policy_spec){.definition = buf_slice(&d)});
	buf_done(&d);
	delete_queue(ahead, 2);
	seen.changed = 0;
	become(behind, ahead);
	assert_ptr_equal(queue(behind, "q"), q);
	assert_ptr_equal(q->data, &mine);
	assert_ptr_equal(root(behind), v);
	assert_null(queue(behind, "r"));
	assert_int_equal(q->n_members, 2);
	assert_int_equal(q->effective->ha_mode, BROKER_HA_ALL);
	assert_int_equal(seen.changed, 1);
	broker_free(ahead);
	broker_free(behind);
}

static void nothing_changes_where_nothing_differs(void **state)
{
	struct broker *b = *state;
	struct buf whole = BUF_EMPTY;
	struct dice d = dice_new("nothing_changes_where_nothing_differs");
	for (int i = 0; i < 200; i++)
		apply_some(&d, b, NULL);
	broker_rows_clean(b);
	broker_whole(b, &whole);
	assert_true(broker_become(b, buf_slice(&whole)));
	assert_true(list_empty(&b->rows_dirty));
	assert_int_equal(b->n_rows_deleted, 0);
	buf_done(&whole);
}

/* From exact copies, so that a sanitizer sees what is read behind the end. */
static bool takes(struct broker *b, const struct buf *whole, size_t n)
{
	uint8_t *exact = mem_dup(whole->p, n);
	bool ok = broker_become(b, slice_make(exact, n));
	mem_free(exact);
	return ok;
}

static void malformed_bytes_change_nothing(void **state)
{
	struct broker *b = *state;
	struct dice d = dice_new("malformed_bytes_change_nothing");
	struct broker *other = broker_new(NULL);
	struct buf whole = BUF_EMPTY;
	add_vhost(other, "/");
	for (int i = 0; i < 60; i++)
		apply_some(&d, other, NULL);
	broker_whole(other, &whole);
	uint64_t digest = broker_digest(b);
	assert_false(takes(b, &whole, 0));
	assert_false(takes(b, &whole, 8));
	for (int i = 0; i < 500; i++) {
		size_t at = roll(&d, (uint32_t)whole.n);
		uint8_t was = whole.p[at];
		whole.p[at] ^= (uint8_t)(1 + roll(&d, 255));
		if (takes(b, &whole, whole.n))
			digest = broker_digest(b);
		assert_true(broker_digest(b) == digest);
		whole.p[at] = was;
		/* Cut between two rows it is a smaller state, anywhere else it is nothing. */
		if (takes(b, &whole, roll(&d, (uint32_t)whole.n)))
			digest = broker_digest(b);
		assert_true(broker_digest(b) == digest);
	}
	buf_done(&whole);
	broker_free(other);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_lagged_catches_up),
		cmocka_unit_test(a_stranger_loses_everything),
		cmocka_unit_test(what_stays_is_where_it_was),
		TEST(nothing_changes_where_nothing_differs),
		TEST(malformed_bytes_change_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

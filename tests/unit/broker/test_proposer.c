/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/proposer.h"
#include "tests/unit/broker/fixture.h"

/* Worker `worker` of node 1 in an incarnation. */
static uint64_t proposer(uint64_t incarnation, uint64_t worker)
{
	return UINT64_C(1) << 48 | incarnation << 16 | worker;
}

static struct broker_result once(
	struct broker *b, uint64_t who, uint64_t seq, struct buf *command)
{
	struct broker_result ret;
	broker_apply_once(b, who, seq, buf_slice(command), &ret);
	buf_done(command);
	return ret;
}

static struct broker_result declare_once(
	struct broker *b, uint64_t who, uint64_t seq, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_declare_queue(
		&c, S("/"), slice_str(name), &(struct broker_queue_spec){.durable = true});
	return once(b, who, seq, &c);
}

static struct broker_result delete_once(
	struct broker *b, uint64_t who, uint64_t seq, uint64_t group)
{
	struct buf c = BUF_EMPTY;
	broker_put_delete_queue(&c, group);
	return once(b, who, seq, &c);
}

static struct broker_result exchange_once(
	struct broker *b, uint64_t who, uint64_t seq, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_declare_exchange(&c, S("/"), slice_str(name),
		&(struct broker_exchange_spec){.type = BROKER_EXCHANGE_FANOUT, .durable = true});
	return once(b, who, seq, &c);
}

static int set_up(void **state)
{
	struct broker *b = broker_new(NULL);
	add_vhost(b, "/");
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	broker_free(*state);
	return 0;
}

static void a_repeat_has_no_effect_and_its_old_answer(void **state)
{
	struct broker *b = *state;
	uint64_t who = proposer(1, 0);
	struct broker_result first = declare_once(b, who, 1, "q");
	assert_int_equal(first.code, BROKER_OK);
	assert_int_equal(delete_once(b, who, 2, first.group + 9).code, BROKER_NOT_FOUND);
	assert_int_equal(exchange_once(b, who, 3, "x").code, BROKER_OK);
	uint64_t before = broker_digest(b);
	struct broker_result again = declare_once(b, who, 1, "q");
	assert_int_equal(again.code, BROKER_OK); /* not EXISTS */
	assert_int_equal(again.group, first.group);
	assert_ptr_equal(again.queue, first.queue);
	again = delete_once(b, who, 2, first.group + 9);
	assert_int_equal(again.code, BROKER_NOT_FOUND);
	assert_int_equal(again.resource, BROKER_QUEUE);
	again = exchange_once(b, who, 3, "x");
	assert_int_equal(again.code, BROKER_OK);
	assert_non_null(again.exchange);
	assert_int_equal(broker_digest(b), before);
	/* Another one's is no repeat. */
	assert_int_equal(declare_once(b, proposer(1, 1), 1, "q").code, BROKER_EXISTS);
}

static void a_repeat_does_not_undo_what_came_later(void **state)
{
	struct broker *b = *state;
	uint64_t who = proposer(1, 0);
	struct broker_result first = declare_once(b, who, 1, "q");
	delete_queue(b, first.group);
	delete_exchange(b, "x", false);
	struct broker_result again = declare_once(b, who, 1, "q");
	assert_int_equal(again.code, BROKER_OK);
	assert_int_equal(again.group, first.group);
	assert_null(again.queue);
	assert_int_equal(b->n_queues, 0);
	assert_int_equal(delete_once(b, who, 2, first.group).code, BROKER_NOT_FOUND);
	uint64_t group = declare_once(b, who, 3, "q").group;
	assert_int_equal(delete_once(b, who, 4, group).code, BROKER_OK);
	assert_int_equal(delete_once(b, who, 4, group).code, BROKER_OK); /* not NOT_FOUND */
}

static void what_was_heard_is_forgotten(void **state)
{
	struct broker *b = *state;
	uint64_t who = proposer(1, 0);
	declare_once(b, who, 1, "a");
	declare_once(b, who, 2, "b");
	declare_once(b, who, 3, "c");
	broker_heard(b, who, 2);
	assert_int_equal(broker_proposer_find(b, who)->n_answers, 1);
	assert_int_equal(declare_once(b, who, 2, "b").code, BROKER_STALE);
	assert_int_equal(declare_once(b, who, 3, "c").code, BROKER_OK);
	broker_heard(b, who, 1); /* old news */
	broker_heard(b, who, 99);
	assert_int_equal(broker_proposer_find(b, who)->n_answers, 0);
	broker_heard(b, proposer(1, 7), 5); /* nobody */
	assert_int_equal(declare_once(b, who, 4, "d").code, BROKER_OK);
	assert_int_equal(b->n_queues, 4);
}

static void answers_are_bounded(void **state)
{
	struct broker *b = *state;
	uint64_t who = proposer(1, 0);
	declare_once(b, who, 1, "first");
	for (uint64_t seq = 2; seq <= BROKER_ANSWERS_MAX + 1; seq++)
		delete_once(b, who, seq, 12345);
	assert_int_equal(broker_proposer_find(b, who)->n_answers, BROKER_ANSWERS_MAX);
	assert_int_equal(declare_once(b, who, 1, "first").code, BROKER_STALE);
	assert_int_equal(delete_once(b, who, 2, 12345).code, BROKER_NOT_FOUND);
	/* A gap: what is behind it cannot be told by its place. */
	declare_once(b, who, BROKER_ANSWERS_MAX + 10, "second");
	assert_int_equal(delete_once(b, who, BROKER_ANSWERS_MAX + 1, 12345).code, BROKER_STALE);
	assert_int_equal(
		declare_once(b, who, BROKER_ANSWERS_MAX + 10, "second").code, BROKER_OK);
}

static void a_newer_incarnation_ends_the_older_ones(void **state)
{
	struct broker *b = *state;
	uint64_t other = UINT64_C(2) << 48 | 1 << 16;
	declare_once(b, proposer(1, 0), 1, "a");
	declare_once(b, proposer(1, 5), 1, "b");
	declare_once(b, proposer(2, 3), 1, "c");
	declare_once(b, other, 1, "d");
	assert_null(broker_proposer_find(b, proposer(1, 0)));
	assert_null(broker_proposer_find(b, proposer(1, 5)));
	assert_non_null(broker_proposer_find(b, other));
	uint64_t before = broker_digest(b);
	assert_int_equal(declare_once(b, proposer(1, 0), 2, "late").code, BROKER_STALE);
	assert_int_equal(declare_once(b, proposer(1, 9), 1, "late").code, BROKER_STALE);
	assert_int_equal(broker_digest(b), before);
	assert_int_equal(declare_once(b, proposer(2, 0), 1, "e").code, BROKER_OK);
}

/* ---- rows ---- */

static void load_into(void *arg, struct slice key, struct slice value)
{
	assert_true(broker_load_row(arg, key, value));
}

static struct broker *reloaded(struct broker *b)
{
	struct broker *copy = broker_new(NULL);
	broker_all_rows(b, load_into, copy);
	assert_int_equal(broker_digest(copy), broker_digest(b));
	return copy;
}

static void repeats_are_known_after_a_restart(void **state)
{
	uint64_t who = proposer(1, 0);
	struct broker_result first = declare_once(*state, who, 1, "q");
	struct broker *b = reloaded(*state);
	struct broker_result again = declare_once(b, who, 1, "q");
	assert_int_equal(again.code, BROKER_OK);
	assert_int_equal(again.group, first.group);
	assert_non_null(again.queue);
	broker_free(b);
}

struct found {
	unsigned changed, deleted;
	struct buf value;
};

static void find_proposer(void *arg, struct slice key, struct slice value)
{
	struct found *f = arg;
	if (key.p[0] != BROKER_ROW_PROPOSER)
		return;
	if (value.p == NULL) {
		f->deleted++;
		return;
	}
	f->changed++;
	buf_clear(&f->value);
	buf_put_slice(&f->value, value);
}

static void the_bytes_of_a_proposer(void **state)
{
	struct broker *b = *state;
	struct found f = {0};
	declare_once(b, proposer(1, 0), 300, "q");
	delete_once(b, proposer(1, 0), 301, 77);
	broker_dirty_rows(b, find_proposer, &f);
	broker_rows_clean(b);
	assert_int_equal(f.changed, 1);
	assert_true(slice_eq(buf_slice(&f.value), S("\7\55\1\0\0\0\0\0\0\2\0\0\0"
						    "\0\0\4\1\0\0\0\0\0\0\0"
						    "\2\4\0\0\0\0\0\0\0\0\0")));
	f.changed = 0;
	declare_once(b, proposer(2, 0), 1, "r");
	broker_dirty_rows(b, find_proposer, &f);
	assert_int_equal(f.changed, 1);
	assert_int_equal(f.deleted, 1);
	buf_done(&f.value);
}

static void rows_that_claim_too_much_are_refused(void **state)
{
	(void)state;
	static const uint8_t key[BROKER_ROW_KEY_SIZE] = {BROKER_ROW_PROPOSER, 0, 1};
	const struct slice bad[] = {
		S("\4\1\0\0\0\0\0\0\0\377\377\377\377"),       /* answers that are not there */
		S("\4\1\0\0\0\0\0\0\0\2\0\0\0"
		  "\0\0\0\0\0\0\0\0\0\0\0"
		  "\0\0\0\0\0\0\0\0\0\0\0"),                   /* more than sequences */
		S("\4\1\0\0\0\0\0\0\0\1\0\0\0\177\0\0\0\0\0\0\0\0\0\0"), /* no code */
		S("\4\1\0\0\0"),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct broker *victim = broker_new(NULL);
		assert_false(broker_load_row(victim, slice_make(key, sizeof key), bad[i]));
		broker_free(victim);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_repeat_has_no_effect_and_its_old_answer),
		TEST(a_repeat_does_not_undo_what_came_later),
		TEST(what_was_heard_is_forgotten),
		TEST(answers_are_bounded),
		TEST(a_newer_incarnation_ends_the_older_ones),
		TEST(repeats_are_known_after_a_restart),
		TEST(the_bytes_of_a_proposer),
		TEST(rows_that_claim_too_much_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

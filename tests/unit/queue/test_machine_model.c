/* SPDX-License-Identifier: Apache-2.0
 *
 * Random entries, to the model and to two machines, one of which is replaced now and then by a copy
 * restored from a snapshot. All effects, counts and deadlines must be equal to the model's, and the
 * machines' digests to each other. Each seed switches features on and off and weighs the commands.
 *
 *   test_machine_model [seeds [first seed]]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/queue/model.h"

enum { SEEDS = 150, ENTRIES = 100, CLIENTS = 6, TYPES = 15 };

static unsigned seeds = SEEDS;
static unsigned first_seed = 1;

struct world {
	uint64_t random;
	struct model *model;
	struct machine *a;
	struct machine *b;
	struct buf entry;
	struct buf effects;
	uint64_t index;
	uint64_t stamp_ms;
	uint64_t clients[CLIENTS];
	uint64_t seq[CLIENTS];
	struct buf last[CLIENTS]; /* section sent last */
	unsigned weights[TYPES];
	unsigned weights_sum;
	uint32_t batch_max;
	bool has_ttl, has_limits, has_dlx, has_expiration, has_expires, has_auto_delete, mixed_bodies;
	bool hoards; /* unlimited prefetch and acks of single deliveries, anywhere */
	uint32_t consumers_max;
};

static uint64_t rnd(struct world *w, uint64_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random * 0x9e3779b97f4a7c15 >> 20) % n;
}

static bool chance(struct world *w, unsigned percent)
{
	return rnd(w, 100) < percent;
}

/* ---- commands ---- */

static void put_enqueue(struct world *w, struct buf *b)
{
	static const uint8_t body[64];
	struct message m = {.level = (uint8_t)rnd(w, 7), .expiration_ms = ENQUEUE_NO_EXPIRATION};
	if (w->has_expiration && chance(w, 30))
		m.expiration_ms = (uint32_t)rnd(w, 60);
	m.envelope = slice_make("\0\1k", 3);
	m.props = slice_make(body, chance(w, 10) ? 5 : 2);
	m.body = slice_make(body, w->mixed_bodies ? rnd(w, 40) : 10);
	command_put_enqueue(buf_put(b, command_enqueue_size(&m)), &m);
}

static struct queue_config some_config(struct world *w)
{
	struct queue_config c = *machine_config(w->a);
	if (w->has_ttl)
		c.message_ttl_ms = chance(w, 30) ? CONFIG_NONE : rnd(w, 100);
	if (w->has_limits) {
		c.max_length = chance(w, 30) ? CONFIG_NONE : rnd(w, 20);
		c.max_bytes = chance(w, 60) ? CONFIG_NONE : rnd(w, 300);
		c.overflow = (uint8_t)rnd(w, 3);
		c.delivery_limit = chance(w, 50) ? CONFIG_NONE : rnd(w, 4);
	}
	if (w->has_dlx && chance(w, 80)) {
		c.dead_letter = true;
		c.dlx = slice_make("dlx", 3);
		c.dlx_key = slice_make("key", rnd(w, 4));
	} else {
		c.dead_letter = false;
	}
	if (w->has_expires)
		c.expires_ms = chance(w, 30) ? CONFIG_NONE : 10 + rnd(w, 60);
	c.max_priority = chance(w, 50) ? 0 : (uint8_t)rnd(w, 6);
	c.single_active = chance(w, 20);
	c.auto_delete = w->has_auto_delete && chance(w, 50);
	return c;
}

static void put_attach(struct world *w, struct buf *b)
{
	struct command_attach a = {.consumer = (uint32_t)rnd(w, w->consumers_max)};
	if (chance(w, 25))
		a.flags |= ATTACH_NO_ACK;
	if (chance(w, 4))
		a.flags |= ATTACH_EXCLUSIVE;
	if (chance(w, 20))
		a.flags |= ATTACH_GET;
	if (chance(w, 30))
		a.priority = (int32_t)rnd(w, 3) - 1;
	a.prefetch = w->hoards ? 0 : (uint32_t)rnd(w, 12);
	a.credit_bytes = chance(w, 70) ? UINT64_MAX : rnd(w, 1000);
	a.tag = slice_make("tag", rnd(w, 4));
	command_put_attach(b, &a);
}

static void put_settle(struct world *w, struct buf *b, size_t client)
{
	uint32_t consumer = (uint32_t)rnd(w, w->consumers_max);
	long i = model_find(w->model, w->clients[client], consumer);
	uint64_t last = i >= 0 ? w->model->consumers[i].last_number : 5;
	uint64_t from = last > 20 ? last - rnd(w, 20) : rnd(w, last + 2);
	uint64_t to = chance(w, 50) ? from : from + rnd(w, 10);
	if (w->hoards)
		from = to = rnd(w, last + 1);
	else if (chance(w, 10))
		from = 0;
	enum settle_outcome outcome = SETTLE_ACK;
	if (chance(w, 40))
		outcome = chance(w, 60) ? SETTLE_REQUEUE : SETTLE_REJECT;
	command_put_settle(b, &(struct command_settle){consumer, (uint8_t)outcome, from, to});
}

static void put_client_down(struct world *w, struct buf *b)
{
	struct command_client_down c = {w->clients[rnd(w, CLIENTS)], chance(w, 30)};
	if (c.node)
		c.client = client_id_make(client_id_node(c.client), (uint32_t)rnd(w, 4), 0);
	command_put_client_down(b, &c);
}

static void put_dead_done(struct world *w, struct buf *b)
{
	uint64_t seq = rnd(w, w->model->messages_n + 2);
	if (w->model->deaths_n > 0 && chance(w, 90))
		seq = w->model->deaths[chance(w, 70) ? 0 : rnd(w, w->model->deaths_n)].seq;
	command_put_dead_done(b, seq);
}

/* Returns how many. */
static uint32_t put_command(struct world *w, struct buf *b, size_t client)
{
	uint64_t pick = rnd(w, w->weights_sum);
	unsigned type = 1;
	for (; pick >= w->weights[type]; type++)
		pick -= w->weights[type];
	uint32_t consumer = (uint32_t)rnd(w, w->consumers_max);
	uint32_t n = 1;
	struct queue_config config;
	switch ((enum command_type)type) {
	case COMMAND_ENQUEUE:
		n = 1 + (uint32_t)rnd(w, w->batch_max);
		for (uint32_t i = 0; i < n; i++)
			put_enqueue(w, b);
		break;
	case COMMAND_ATTACH:
		put_attach(w, b);
		break;
	case COMMAND_CANCEL:
		command_put_cancel(b, &(struct command_cancel){consumer, chance(w, 50)});
		break;
	case COMMAND_CREDIT:
		command_put_credit(b, &(struct command_credit){consumer, rnd(w, 10000)});
		break;
	case COMMAND_PREFETCH:
		command_put_prefetch(b,
			&(struct command_prefetch){
				consumer, w->hoards ? 0 : (uint32_t)rnd(w, 12)});
		break;
	case COMMAND_SETTLE:
		put_settle(w, b, client);
		break;
	case COMMAND_GET:
		command_put_get(b, &(struct command_get){consumer, chance(w, 50)});
		break;
	case COMMAND_PURGE:
		command_put_purge(b);
		break;
	case COMMAND_DELETE:
		command_put_delete(b, &(struct command_delete){chance(w, 80), chance(w, 80)});
		break;
	case COMMAND_STATUS:
		command_put_status(b, &(struct command_status){chance(w, 50)});
		break;
	case COMMAND_CONFIG:
		config = some_config(w);
		command_put_config(b, &config);
		break;
	case COMMAND_TIME:
		command_put_time(b);
		break;
	case COMMAND_CLIENT_DOWN:
		put_client_down(w, b);
		break;
	case COMMAND_DEAD_DONE:
		n = 1 + (uint32_t)rnd(w, 4);
		for (uint32_t i = 0; i < n; i++)
			put_dead_done(w, b);
		break;
	}
	return n;
}

/* ---- entries ---- */

static void put_section(struct world *w)
{
	size_t i = (size_t)rnd(w, CLIENTS);
	struct buf *last = &w->last[i];
	if (last->n > 0 && chance(w, 5)) { /* sent again */
		buf_put_slice(&w->entry, buf_slice(last));
		return;
	}
	struct buf commands = BUF_EMPTY;
	uint32_t n = 0;
	for (uint64_t k = 1 + rnd(w, w->hoards ? 12 : 4); k > 0; k--)
		n += put_command(w, &commands, i);
	uint64_t first = w->seq[i] + 1;
	if (chance(w, 3) && w->seq[i] > 0)
		first--; /* its first command is a repeat */
	else if (chance(w, 3))
		first += 5; /* a gap: not applied */
	bool given_up = chance(w, 2);
	if (given_up)
		buf_clear(&commands);
	if (i != 0)
		w->seq[i] = first + n - 1;
	buf_clear(last);
	uint64_t heard = first > 3 && chance(w, 60) ? first - 1 - rnd(w, 3) : 0;
	command_put_section_header(buf_put(last, COMMAND_SECTION_HEADER), w->clients[i], first,
		heard, n, (uint32_t)commands.n);
	buf_put_slice(last, buf_slice(&commands));
	buf_put_slice(&w->entry, buf_slice(last));
	buf_done(&commands);
}

static void make_entry(struct world *w)
{
	buf_clear(&w->entry);
	for (size_t i = 0; i < CLIENTS; i++) {
		if (w->clients[i] == 0)
			continue;
		size_t place = model_client_place(w->model, w->clients[i]);
		w->seq[i] = w->model->clients[place].known ? w->model->clients[place].last : 0;
	}
	w->index += chance(w, 80) ? 1 : 1 + rnd(w, 3);
	w->stamp_ms += chance(w, 60) ? rnd(w, 20) : 0;
	uint64_t stamp_ms = chance(w, 95) ? w->stamp_ms : w->stamp_ms - rnd(w, 10);
	command_put_entry_header(buf_put(&w->entry, COMMAND_ENTRY_HEADER), stamp_ms);
	for (uint64_t n = 1 + rnd(w, 3); n > 0; n--)
		put_section(w);
	if (chance(w, 1))
		buf_put_bytes(&w->entry, "tail", 4); /* malformed at its end */
}

/* ---- comparing ---- */

static int apply_to(struct world *w, struct machine *m)
{
	buf_clear(&w->effects);
	return machine_apply(m, w->index, w->entry.p, w->entry.n, &text_sink, &w->effects);
}

static void check_effects(struct world *w, unsigned seed, const char *who)
{
	struct buf *want = &w->model->effects;
	if (slice_eq(buf_slice(want), buf_slice(&w->effects)))
		return;
	fail_msg("seed %u, entry %lu, machine %s:\n--- model\n%.*s--- machine\n%.*s", seed,
		LU(w->index), who, SLICE_FMT(buf_slice(want)), SLICE_FMT(buf_slice(&w->effects)));
}

static void check_counts(struct world *w, struct machine *m, unsigned seed)
{
	struct machine_counts got;
	struct machine_counts want = model_counts(w->model);
	machine_counts(m, &got);
	uint64_t pairs[][2] = {{got.ready, want.ready}, {got.unacked, want.unacked},
		{got.dead, want.dead}, {got.ready_bytes, want.ready_bytes},
		{got.unacked_bytes, want.unacked_bytes}, {got.consumers, want.consumers},
		{got.published, want.published}, {got.delivered, want.delivered},
		{got.acked, want.acked}, {got.redelivered, want.redelivered},
		{got.dropped, want.dropped}, {machine_deadline(m), model_deadline(w->model)},
		{machine_gone(m), w->model->gone}};
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		if (pairs[i][0] != pairs[i][1])
			fail_msg("seed %u, entry %lu: count %zu is %lu, not %lu", seed,
				LU(w->index), i, LU(pairs[i][0]), LU(pairs[i][1]));
	}
}

static void check_live(struct world *w, unsigned seed)
{
	struct buf live = BUF_EMPTY;
	machine_live(w->a, 0, &live);
	const uint64_t(*ranges)[2] = (const void *)live.p;
	size_t n = live.n / sizeof *ranges;
	for (size_t i = 1; i < n; i++)
		assert_true(ranges[i][0] > ranges[i - 1][1] + 1);
	uint64_t entries = 0;
	uint64_t last = 0;
	MODEL_EACH(w->model, seq)
	{
		struct model_message *x = model_at(w->model, seq);
		if (!model_alive(x) || x->index == last)
			continue;
		last = x->index;
		entries++;
		bool found = false;
		for (size_t i = 0; i < n; i++)
			found = found || (ranges[i][0] <= last && last <= ranges[i][1]);
		if (!found)
			fail_msg("seed %u, entry %lu: %lu is not live", seed, LU(w->index),
				LU(last));
	}
	for (size_t i = 0; i < n; i++)
		entries -= ranges[i][1] - ranges[i][0] + 1;
	assert_int_equal(entries, 0);
	buf_done(&live);
}

static void restore_b(struct world *w, unsigned seed)
{
	struct buf snapshot = BUF_EMPTY;
	machine_snapshot(w->a, &snapshot);
	machine_free(w->b);
	w->b = machine_new();
	if (machine_restore(w->b, buf_slice(&snapshot), UINT64_MAX) != 0)
		fail_msg("seed %u, entry %lu: snapshot is refused", seed, LU(w->index));
	buf_done(&snapshot);
	/* What a new leader does. */
	struct buf again = BUF_EMPTY;
	machine_resume(w->a, &text_sink, &again);
	buf_clear(&w->effects);
	machine_resume(w->b, &text_sink, &w->effects);
	for (size_t i = 0; i < w->model->consumers_n; i++) {
		struct model_consumer *c = &w->model->consumers[i];
		machine_redeliver(w->a, c->client, c->a.consumer, 3, &text_sink, &again);
		machine_redeliver(w->b, c->client, c->a.consumer, 3, &text_sink, &w->effects);
	}
	assert_true(slice_eq(buf_slice(&again), buf_slice(&w->effects)));
	buf_done(&again);
}

static void step(struct world *w, unsigned seed)
{
	make_entry(w);
	buf_clear(&w->model->effects);
	int want = model_apply(w->model, w->index, w->entry.p, w->entry.n);
	assert_int_equal(apply_to(w, w->a), want);
	check_effects(w, seed, "a");
	assert_int_equal(apply_to(w, w->b), want);
	check_effects(w, seed, "b");
	if (machine_digest(w->a) != machine_digest(w->b))
		fail_msg("seed %u, entry %lu: digests differ", seed, LU(w->index));
	check_counts(w, w->a, seed);
	check_counts(w, w->b, seed);
	if (chance(w, 20))
		check_live(w, seed);
	if (chance(w, 10))
		restore_b(w, seed);
}

/* ---- worlds ---- */

static void weigh(struct world *w)
{
	static const unsigned usual[TYPES] = {0, 30, 8, 3, 4, 25, 8, 1, 0, 3, 2, 6, 1, 12, 3};
	w->weights_sum = 0;
	for (unsigned type = 1; type < TYPES; type++) {
		w->weights[type] = chance(w, 20) ? 0 : usual[type] * (1 + (unsigned)rnd(w, 4));
		w->weights_sum += w->weights[type];
	}
	w->weights[COMMAND_ENQUEUE] += 10;
	w->weights_sum += 10;
	if (chance(w, 10)) {
		w->weights[COMMAND_DELETE]++;
		w->weights_sum++;
	}
}

static void world_open(struct world *w, unsigned seed)
{
	memset(w, 0, sizeof *w);
	w->random = seed * 0x9e3779b97f4a7c15 + 1;
	w->model = model_new();
	w->a = machine_new();
	w->b = machine_new();
	w->stamp_ms = 1000;
	for (unsigned i = 1; i < CLIENTS; i++)
		w->clients[i] = client_id_make((uint16_t)(1 + i % 2), i, (uint16_t)i);
	w->batch_max = chance(w, 4) ? 300 : 1 + (uint32_t)rnd(w, 8);
	w->consumers_max = 1 + (uint32_t)rnd(w, 4);
	w->has_ttl = chance(w, 40);
	w->has_limits = chance(w, 40);
	w->has_dlx = chance(w, 50);
	w->has_expiration = chance(w, 40);
	w->has_expires = chance(w, 8);
	w->has_auto_delete = chance(w, 8);
	w->hoards = chance(w, 10);
	w->mixed_bodies = chance(w, 60);
	weigh(w);
	if (w->hoards) {
		w->batch_max = 20;
		w->weights[COMMAND_SETTLE] += 200;
		w->weights_sum += 200;
	}
}

static void world_close(struct world *w)
{
	model_free(w->model);
	machine_free(w->a);
	machine_free(w->b);
	buf_done(&w->entry);
	buf_done(&w->effects);
	for (unsigned i = 0; i < CLIENTS; i++)
		buf_done(&w->last[i]);
}

static void the_machine_does_what_the_model_does(void **state)
{
	(void)state;
	struct world w;
	for (unsigned seed = first_seed; seed < first_seed + seeds; seed++) {
		world_open(&w, seed);
		for (unsigned i = 0; i < ENTRIES && w.model->messages_n < MODEL_MESSAGES - 4000;
			i++)
			step(&w, seed);
		world_close(&w);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1)
		seeds = (unsigned)atoi(argv[1]);
	if (argc > 2)
		first_seed = (unsigned)atoi(argv[2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_machine_does_what_the_model_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Random requests on a few groups, compared with a model, with restarts in between. The seed is
 * printed; give it in WARREN_SEED to run the same again.
 */
#include "tests/unit/storage/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/mem.h"

enum { GROUPS = 6, INDEXES = 4096, STEPS = 1500, IN_FLIGHT = 64 };

/* One group as it should be. */
struct model {
	bool exists;
	uint64_t term, vote, snapshot;
	uint64_t last;             /* of the log; >= snapshot */
	uint64_t terms[INDEXES];   /* of the entries that are there; 0: not there */
	struct store_log *log;
};

struct world {
	struct rig rig;
	bool disk;
	struct model models[GROUPS];
	struct rig_req reqs[IN_FLIGHT];
	struct store_range ranges[IN_FLIGHT][64];
	unsigned n_reqs;
	uint64_t random;
	uint64_t next_term;
};

static uint64_t draw(struct world *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random >> 11) % below;
}

static size_t size_of(uint64_t index, uint64_t term)
{
	uint64_t x = index * 31 + term * 17;
	return x % 97 == 0 ? 70000 : x % 13 == 0 ? 9000 : x % 700;
}

static void wait_all(struct world *w)
{
	for (unsigned i = 0; i < w->n_reqs; i++)
		rig_wait(&w->rig, &w->reqs[i]);
	w->n_reqs = 0;
}

static struct rig_req *new_req(struct world *w)
{
	if (w->n_reqs == IN_FLIGHT)
		wait_all(w);
	struct rig_req *q = &w->reqs[w->n_reqs++];
	rig_req_init(q);
	return q;
}

static void forget_from(struct model *m, uint64_t index)
{
	for (uint64_t i = index; i < INDEXES; i++)
		m->terms[i] = 0;
}

static void append(struct world *w, struct model *m)
{
	uint64_t first = m->last + 1;
	if (draw(w, 8) == 0 && m->last > m->snapshot) /* over what is there */
		first = m->snapshot + 1 + draw(w, m->last - m->snapshot);
	unsigned n = 1 + (unsigned)draw(w, draw(w, 10) == 0 ? 60 : 5);
	if (first + n > INDEXES)
		return;
	struct rig_req *q = new_req(w);
	struct store_entry entries[64];
	uint64_t term = ++w->next_term;
	forget_from(m, first);
	for (unsigned i = 0; i < n; i++) {
		size_t bytes = size_of(first + i, term);
		struct blob *blob = blob_new(bytes);
		entry_fill(blob->data, bytes, m->log->group, first + i, term);
		entries[i] = (struct store_entry){.term = term, .blob = blob, .p = blob->data, .n = bytes};
		m->terms[first + i] = term;
	}
	store_log_append(m->log, &q->req, first, entries, n);
	for (unsigned i = 0; i < n; i++)
		blob_unref(entries[i].blob);
	m->last = first + n - 1;
	m->exists = true;
}

static void truncate_log(struct world *w, struct model *m)
{
	if (m->last == m->snapshot)
		return;
	uint64_t index = m->snapshot + 1 + draw(w, m->last - m->snapshot);
	store_log_truncate(m->log, &new_req(w)->req, index);
	forget_from(m, index);
	m->last = index - 1;
}

static void hard(struct world *w, struct model *m)
{
	m->term += draw(w, 3);
	m->vote = draw(w, 5);
	m->exists = true;
	store_log_hard(m->log, &new_req(w)->req, m->term, m->vote);
}

/* Random ranges in (m->snapshot, index]; the model forgets the rest. */
static unsigned choose_live(struct world *w, struct model *m, uint64_t index,
	struct store_range *ranges)
{
	unsigned n = 0;
	uint64_t i = m->snapshot + 1;
	while (i <= index) {
		uint64_t gone = draw(w, 20);
		for (; gone > 0 && i <= index; gone--)
			m->terms[i++] = 0;
		if (i > index || n == 64)
			continue;
		uint64_t to = i + draw(w, 10);
		to = to > index ? index : to;
		ranges[n++] = (struct store_range){i, to};
		i = to + 1;
	}
	return n;
}

static uint64_t snapshot_request(struct model *m, struct rig_req *q, uint64_t index)
{
	if (index >= INDEXES)
		index = m->last;
	q->req.u.snapshot.index = index;
	q->req.u.snapshot.term = index * 3;
	q->req.u.snapshot.conf = slice_str("c");
	q->req.u.snapshot.data = slice_str("some state");
	return index;
}

static void snapshot(struct world *w, struct model *m)
{
	struct rig_req *q = new_req(w);
	struct store_range *ranges = w->ranges[q - w->reqs];
	uint64_t index =
		snapshot_request(m, q, m->snapshot + draw(w, m->last - m->snapshot + 1));
	q->req.u.snapshot.n_live = choose_live(w, m, index, ranges);
	q->req.u.snapshot.live = ranges;
	store_log_snapshot(m->log, &q->req);
	m->snapshot = index;
	m->exists = true;
}

/* Entries at random, while the group goes on; sometimes it ends with that. */
static void stage(struct world *w, struct model *m)
{
	struct store_log *staged = store_log_stage(m->log);
	uint64_t terms[INDEXES] = {0};
	uint64_t index = 0;
	for (unsigned i = (unsigned)draw(w, 60); i > 0 && index + 20 < INDEXES; i--) {
		index += 1 + draw(w, draw(w, 8) == 0 ? 10 : 2);
		uint64_t term = terms[index] = ++w->next_term;
		size_t bytes = size_of(index, term);
		struct blob *blob = blob_new(bytes);
		entry_fill(blob->data, bytes, m->log->group, index, term);
		struct store_entry e = {.term = term, .blob = blob, .p = blob->data, .n = bytes};
		store_log_append(staged, &new_req(w)->req, index, &e, 1);
		blob_unref(blob);
		if (draw(w, 6) == 0)
			append(w, m);
	}
	struct rig_req *q = new_req(w);
	struct store_log *over = staged;
	if (draw(w, 4) == 0) {
		store_log_drop(staged, &q->req);
	} else {
		over = m->log;
		m->snapshot = m->last = snapshot_request(
			m, q, index > m->last ? index + draw(w, 5) : m->last + draw(w, 5));
		store_log_switch(staged, &q->req);
		memcpy(m->terms, terms, sizeof terms);
		m->log = staged;
		m->exists = true;
	}
	wait_all(w);
	store_log_close(over);
}

static void release(struct world *w, struct model *m)
{
	for (unsigned i = 0; i < 30 && m->snapshot > 0; i++) {
		uint64_t index = 1 + draw(w, m->snapshot);
		store_log_release(m->log, index);
		m->terms[index] = 0;
	}
}

static void drop(struct world *w, struct model *m)
{
	struct store_log *log = m->log;
	store_log_drop(log, &new_req(w)->req);
	wait_all(w);
	store_log_close(log);
	memset(m, 0, sizeof *m);
	m->log = rig_log(&w->rig, log == NULL ? 0 : (uint64_t)(m - w->models));
}

/* Nobody hears of a release or retain being carried out; of a request behind it one does. */
static void settle(struct world *w, struct model *m)
{
	if (m->exists)
		store_log_hard(m->log, &new_req(w)->req, m->term, m->vote);
	wait_all(w);
}

static void check_model(struct world *w, struct model *m)
{
	settle(w, m);
	struct store_load load;
	assert_int_equal(store_log_load(m->log, &load), 0);
	assert_int_equal(load.exists, m->exists);
	assert_int_equal(load.term, m->term);
	assert_int_equal(load.vote, m->vote);
	assert_int_equal(load.snapshot_index, m->snapshot);
	assert_int_equal(load.n_entries, m->last - m->snapshot);
	for (size_t i = 0; i < load.n_entries; i++)
		assert_int_equal(load.entries[i].term, m->terms[load.first + i]);
	store_load_done(&load);
	for (uint64_t i = 1; i < INDEXES; i++) {
		bool there = has_entry(m->log, i, m->terms[i], size_of(i, m->terms[i]));
		assert_int_equal(there, m->terms[i] != 0);
	}
}

/* What a state machine would name after a restart. */
static void retain(struct model *m)
{
	struct store_range *ranges = mem_alloc(INDEXES * sizeof *ranges);
	unsigned n = 0;
	for (uint64_t i = 1; i <= m->snapshot; i++)
		if (m->terms[i] != 0)
			ranges[n++] = (struct store_range){i, i};
	store_log_retain(m->log, ranges, n);
	mem_free(ranges);
}

static void restart(struct world *w)
{
	for (unsigned g = 0; g < GROUPS; g++)
		store_log_close(w->models[g].log);
	rig_close(&w->rig);
	assert_int_equal(rig_check(&w->rig), 0);
	rig_open(&w->rig);
	for (unsigned g = 0; g < GROUPS; g++) {
		struct model *m = &w->models[g];
		m->log = rig_log(&w->rig, g);
		retain(m);
	}
	for (unsigned g = 0; g < GROUPS; g++)
		check_model(w, &w->models[g]);
}

static void step(struct world *w)
{
	struct model *m = &w->models[draw(w, GROUPS)];
	switch (draw(w, 40)) {
	case 0:
		stage(w, m);
		break;
	case 1:
		drop(w, m);
		break;
	case 2:
	case 3:
		truncate_log(w, m);
		break;
	case 4:
	case 5:
	case 6:
		snapshot(w, m);
		break;
	case 7:
	case 8:
		hard(w, m);
		break;
	case 9:
	case 10:
	case 11:
		release(w, m);
		break;
	case 12:
		check_model(w, m);
		break;
	case 13:
		store_port_flush(&w->rig.port);
		break;
	default:
		append(w, m);
		break;
	}
}

static void run(bool disk, uint64_t seed)
{
	struct world *w = MEM_NEW(struct world);
	w->disk = disk;
	w->random = seed * 2654435769u + 88172645463325252u;
	if (disk)
		rig_init_disk(&w->rig);
	else
		rig_init_memory(&w->rig);
	for (unsigned g = 0; g < GROUPS; g++)
		w->models[g].log = rig_log(&w->rig, g);
	for (unsigned i = 0; i < STEPS; i++) {
		step(w);
		if (disk && draw(w, 150) == 0) {
			wait_all(w);
			restart(w);
		}
	}
	wait_all(w);
	for (unsigned g = 0; g < GROUPS; g++) {
		check_model(w, &w->models[g]);
		store_log_close(w->models[g].log);
	}
	rig_done(&w->rig);
	mem_free(w);
}

static uint64_t seed_of_run(void)
{
	const char *given = getenv("WARREN_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	printf("WARREN_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static void a_log_on_disk_does_what_the_model_does(void **state)
{
	(void)state;
	uint64_t seed = seed_of_run();
	for (unsigned i = 0; i < 4; i++)
		run(true, seed + i);
}

static void a_log_in_memory_does_what_the_model_does(void **state)
{
	(void)state;
	uint64_t seed = seed_of_run();
	for (unsigned i = 0; i < 4; i++)
		run(false, seed + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_log_on_disk_does_what_the_model_does),
		cmocka_unit_test(a_log_in_memory_does_what_the_model_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

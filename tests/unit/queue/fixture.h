/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells a queue's story in tests. Commands are put into an entry, apply() applies it, and the
 * effects are read as text. A message is named by its body.
 *
 *   struct fixture f;
 *   attach(&f, 1, 1, 0, 10);
 *   enqueue(&f, 2, "a");
 *   apply(&f);
 *   assert_effects(&f, "1/1 attached; 1/1 gets a #1");
 *
 * Each entry is applied twice: to the machine, and to one that was just restored from its snapshot.
 * Their effects and digests must be equal, so every test tests snapshots, too.
 */
#ifndef WARREN_TESTS_UNIT_QUEUE_FIXTURE_H
#define WARREN_TESTS_UNIT_QUEUE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/queue/machine.h"

enum { FIXTURE_CLIENTS = 16, FIXTURE_ENTRIES = 2048, UNLIMITED = 0 };

struct fixture {
	struct machine *m;
	struct queue_config config;
	uint64_t index;
	uint64_t stamp_ms;
	uint64_t seq[FIXTURE_CLIENTS]; /* last used, per client */
	struct buf entry;              /* open */
	struct buf entries[FIXTURE_ENTRIES];
	struct buf effects; /* of the last apply() */
	struct buf notes;   /* its `applied` and `release` */
	bool deaf;          /* the clients' next sections say that they have heard of nothing */
	uint32_t flags;     /* of the next enqueues */
	uint8_t level;
	uint32_t expiration_ms;
	int status; /* of the last machine_apply() */
};

__attribute__((format(printf, 2, 3))) static inline void say(struct buf *b, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (b->n > 0)
		buf_put_bytes(b, "; ", 2);
	buf_put_bytes(b, text, (size_t)n);
}

/* ---- effects as text ---- */

static inline struct slice body_of(struct fixture *f, uint64_t index, uint32_t offset)
{
	struct message m;
	assert_in_range(index, 1, f->index);
	assert_int_equal(
		command_message_at(f->entries[index].p, f->entries[index].n, offset, &m), 0);
	return m.body;
}

static inline void say_delivery(
	struct fixture *f, const struct machine_delivery *d, const char *verb)
{
	struct slice body = body_of(f, d->index, d->offset);
	assert_int_equal(body.n, d->body_n);
	char again[32] = "";
	if (d->returns > 0)
		snprintf(again, sizeof again, " again %u", d->returns);
	say(&f->effects, "%lu/%u %s %.*s #%lu%s", (unsigned long)d->client, d->consumer, verb,
		SLICE_FMT(body), (unsigned long)d->number, again);
}

static inline void fixture_on_deliver(void *arg, const struct machine_delivery *d)
{
	say_delivery(arg, d, "gets");
}

static inline const char *status_text(enum machine_status status)
{
	static const char *const texts[] = {
		"ok", "exclusive", "in use", "not empty", "empty", "single active", "gone"};
	return texts[status];
}

static inline void fixture_on_answer(void *arg, const struct machine_answer *a)
{
	struct fixture *f = arg;
	static const char *const verbs[] = {[COMMAND_ATTACH] = "attach",
		[COMMAND_CANCEL] = "cancel",
		[COMMAND_GET] = "get",
		[COMMAND_PURGE] = "purge",
		[COMMAND_DELETE] = "delete",
		[COMMAND_STATUS] = "status"};
	unsigned long client = (unsigned long)a->client;
	if (a->delivery != NULL)
		say_delivery(f, a->delivery, "got");
	say(&f->effects, "%s %s to %lu", verbs[a->type], status_text(a->status), client);
	if (a->type != COMMAND_ATTACH && a->type != COMMAND_CANCEL)
		say(&f->effects, "%lu left", (unsigned long)a->messages);
	if (a->type == COMMAND_STATUS || a->type == COMMAND_DELETE)
		say(&f->effects, "%u consumers", a->consumers);
}

static inline void fixture_on_refused(void *arg, uint64_t client, uint64_t seq)
{
	struct fixture *f = arg;
	say(&f->effects, "refused %lu:%lu", (unsigned long)client, (unsigned long)seq);
}

static inline void fixture_on_applied(void *arg, uint64_t client, uint64_t seq)
{
	struct fixture *f = arg;
	say(&f->notes, "applied %lu:%lu", (unsigned long)client, (unsigned long)seq);
}

static inline void fixture_on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	struct fixture *f = arg;
	say(&f->effects, "cancelled %lu/%u", (unsigned long)client, consumer);
}

static inline void fixture_on_dead(void *arg, const struct machine_dead *d)
{
	struct fixture *f = arg;
	static const char *const reasons[] = {"expired", "rejected", "maxlen", "delivery limit"};
	struct slice body = body_of(f, d->index, d->offset);
	say(&f->effects, "dead %.*s (%lu) %s at %lu", SLICE_FMT(body), (unsigned long)d->seq,
		reasons[d->reason], (unsigned long)d->stamp_ms);
}

static inline void fixture_on_release(void *arg, uint64_t index)
{
	struct fixture *f = arg;
	say(&f->notes, "release %lu", (unsigned long)index);
}

static inline void fixture_on_ended(void *arg, bool expired)
{
	struct fixture *f = arg;
	say(&f->effects, expired ? "ended, expired" : "ended");
}

static const struct machine_sink fixture_sink = {fixture_on_deliver, fixture_on_answer,
	fixture_on_refused, fixture_on_applied, fixture_on_cancelled, fixture_on_dead,
	fixture_on_release, fixture_on_ended};

static inline void assert_text(const struct buf *b, const char *text)
{
	char *got = mem_printf("%.*s", (int)b->n, b->n > 0 ? (const char *)b->p : "");
	assert_string_equal(got, text);
	mem_free(got);
}

static inline void assert_effects(struct fixture *f, const char *text)
{
	assert_text(&f->effects, text);
}

static inline void assert_notes(struct fixture *f, const char *text)
{
	assert_text(&f->notes, text);
}

/* ---- entries ---- */

static inline void fixture_open(struct fixture *f)
{
	buf_clear(&f->entry);
	buf_put(&f->entry, COMMAND_ENTRY_HEADER);
	command_put_entry_header(f->entry.p, f->stamp_ms);
}

/* Applies bytes as entry f->index to a machine. */
static inline void fixture_apply_to(struct fixture *f, struct machine *m)
{
	const struct buf *e = &f->entries[f->index];
	buf_clear(&f->effects);
	buf_clear(&f->notes);
	f->status = machine_apply(m, f->index, e->p, e->n, &fixture_sink, f);
}

static inline struct machine *restored(const struct machine *m)
{
	struct buf snapshot = BUF_EMPTY;
	machine_snapshot(m, &snapshot);
	struct machine *copy = machine_new();
	assert_int_equal(machine_restore(copy, buf_slice(&snapshot), UINT64_MAX), 0);
	assert_int_equal(machine_digest(copy), machine_digest(m));
	buf_done(&snapshot);
	return copy;
}

static inline void assert_same_counts(const struct machine *a, const struct machine *b)
{
	struct machine_counts x, y;
	machine_counts(a, &x);
	machine_counts(b, &y);
	assert_int_equal(x.ready, y.ready);
	assert_int_equal(x.unacked, y.unacked);
	assert_int_equal(x.dead, y.dead);
	assert_int_equal(x.ready_bytes, y.ready_bytes);
	assert_int_equal(x.unacked_bytes, y.unacked_bytes);
	assert_int_equal(x.consumers, y.consumers);
	assert_int_equal(machine_deadline(a), machine_deadline(b));
}

/* Applies the open entry, which must be well-formed, and opens the next. */
static inline void apply(struct fixture *f)
{
	struct machine *copy = restored(f->m);
	f->index++;
	assert_true(f->index < FIXTURE_ENTRIES);
	buf_put_slice(&f->entries[f->index], buf_slice(&f->entry));
	fixture_apply_to(f, copy);
	struct buf effects = f->effects;
	struct buf notes = f->notes;
	f->effects = f->notes = BUF_EMPTY;
	fixture_apply_to(f, f->m);
	assert_int_equal(f->status, 0);
	assert_true(slice_eq(buf_slice(&effects), buf_slice(&f->effects)));
	assert_true(slice_eq(buf_slice(&notes), buf_slice(&f->notes)));
	assert_int_equal(machine_digest(copy), machine_digest(f->m));
	assert_same_counts(copy, f->m);
	buf_done(&effects);
	buf_done(&notes);
	machine_free(copy);
	fixture_open(f);
}

/* Ends a section that begins at `begin` and holds one command. */
static inline void fixture_close_section(struct fixture *f, size_t begin, uint64_t client)
{
	uint64_t seq = client < FIXTURE_CLIENTS ? ++f->seq[client] : 1;
	command_put_section_header(f->entry.p + begin, client, seq, f->deaf ? 0 : seq - 1, 1,
		(uint32_t)(f->entry.n - begin - COMMAND_SECTION_HEADER));
}

static inline size_t fixture_section(struct fixture *f)
{
	size_t begin = f->entry.n;
	buf_put(&f->entry, COMMAND_SECTION_HEADER);
	return begin;
}

/* ---- commands, each in a section of its own ---- */

static inline void enqueue(struct fixture *f, uint64_t client, const char *body)
{
	size_t begin = fixture_section(f);
	struct message m = {.flags = ENQUEUE_PERSISTENT,
		.level = f->level,
		.expiration_ms = f->expiration_ms,
		.envelope = slice_make("\0\1k", 3),
		.props = slice_str(""),
		.body = slice_str(body)};
	command_put_enqueue(buf_put(&f->entry, command_enqueue_size(&m)), &m);
	fixture_close_section(f, begin, client);
}

static inline void attach_as(struct fixture *f, uint64_t client, const struct command_attach *a)
{
	size_t begin = fixture_section(f);
	command_put_attach(&f->entry, a);
	fixture_close_section(f, begin, client);
}

static inline void attach(
	struct fixture *f, uint64_t client, uint32_t consumer, uint8_t flags, uint32_t prefetch)
{
	attach_as(f, client,
		&(struct command_attach){.consumer = consumer,
			.flags = flags,
			.prefetch = prefetch,
			.credit_bytes = UINT64_MAX,
			.tag = slice_str("tag")});
}

static inline void cancel(struct fixture *f, uint64_t client, uint32_t consumer, bool requeue)
{
	size_t begin = fixture_section(f);
	command_put_cancel(&f->entry, &(struct command_cancel){consumer, requeue});
	fixture_close_section(f, begin, client);
}

static inline void prefetch(struct fixture *f, uint64_t client, uint32_t consumer, uint32_t n)
{
	size_t begin = fixture_section(f);
	command_put_prefetch(&f->entry, &(struct command_prefetch){consumer, n});
	fixture_close_section(f, begin, client);
}

static inline void credit(struct fixture *f, uint64_t client, uint32_t consumer, uint64_t bytes)
{
	size_t begin = fixture_section(f);
	command_put_credit(&f->entry, &(struct command_credit){consumer, bytes});
	fixture_close_section(f, begin, client);
}

static inline void settle(struct fixture *f, uint64_t client, uint32_t consumer,
	enum settle_outcome outcome, uint64_t from, uint64_t to)
{
	size_t begin = fixture_section(f);
	command_put_settle(
		&f->entry, &(struct command_settle){consumer, (uint8_t)outcome, from, to});
	fixture_close_section(f, begin, client);
}

static inline void get(struct fixture *f, uint64_t client, uint32_t consumer, bool no_ack)
{
	size_t begin = fixture_section(f);
	command_put_get(&f->entry, &(struct command_get){consumer, no_ack});
	fixture_close_section(f, begin, client);
}

static inline void purge(struct fixture *f, uint64_t client)
{
	size_t begin = fixture_section(f);
	command_put_purge(&f->entry);
	fixture_close_section(f, begin, client);
}

static inline void delete_queue(struct fixture *f, uint64_t client, bool if_unused, bool if_empty)
{
	size_t begin = fixture_section(f);
	command_put_delete(&f->entry, &(struct command_delete){if_unused, if_empty});
	fixture_close_section(f, begin, client);
}

static inline void status(struct fixture *f, uint64_t client, bool touch)
{
	size_t begin = fixture_section(f);
	command_put_status(&f->entry, &(struct command_status){touch});
	fixture_close_section(f, begin, client);
}

static inline void client_down(struct fixture *f, uint64_t client, bool node)
{
	size_t begin = fixture_section(f);
	command_put_client_down(&f->entry, &(struct command_client_down){client, node});
	fixture_close_section(f, begin, 0);
}

static inline void dead_is_done(struct fixture *f, uint64_t seq)
{
	size_t begin = fixture_section(f);
	command_put_dead_done(&f->entry, seq);
	fixture_close_section(f, begin, 0);
}

/* Applies an entry with the fixture's config, as it is now. */
static inline void configure(struct fixture *f)
{
	size_t begin = fixture_section(f);
	command_put_config(&f->entry, &f->config);
	fixture_close_section(f, begin, 0);
	apply(f);
}

/* Applies what is in the open entry, or nothing, at a time. */
static inline void apply_at(struct fixture *f, uint64_t stamp_ms)
{
	f->stamp_ms = stamp_ms;
	command_put_entry_header(f->entry.p, stamp_ms);
	apply(f);
}

static inline void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof *f);
	f->m = machine_new();
	f->stamp_ms = 1000;
	f->expiration_ms = ENQUEUE_NO_EXPIRATION;
	f->config = *machine_config(f->m);
	fixture_open(f);
}

static inline void fixture_done(struct fixture *f)
{
	machine_free(f->m);
	buf_done(&f->entry);
	for (size_t i = 0; i < FIXTURE_ENTRIES; i++)
		buf_done(&f->entries[i]);
	buf_done(&f->effects);
	buf_done(&f->notes);
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = malloc(sizeof *f);
	fixture_init(f);
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	fixture_done(*state);
	free(*state);
	return 0;
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static inline struct machine_counts counts(const struct fixture *f)
{
	struct machine_counts c;
	machine_counts(f->m, &c);
	return c;
}

#endif

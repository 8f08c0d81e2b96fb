/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/catalog.h"

#include <sched.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/proposer.h"
#include "src/broker/rows.h"
#include "src/queue/command.h"

enum { CATALOG_KIND = 'M', CATALOG_ENTRY_VERSION = 2, METADATA_GROUP = 0 };

struct catalog {
	struct catalog_config config;
	struct broker *broker;
	struct catalog *const *all;
	unsigned n_all;
	struct catalog_home *home; /* of the catalog on the home's worker; else NULL */
	struct buf out;            /* commands not yet sent, behind room for a section's header */
	uint32_t out_count;
	uint64_t next_seq;
	uint64_t heard; /* the last command that is answered */
	struct list requests; /* by seq */
};

struct catalog_home {
	struct catalog_home_config config;
	struct group *group;
	struct buf row_bytes; /* of the snapshot under way */
};

/* ---- a worker's copy ---- */

struct catalog *catalog_new(const struct catalog_config *config)
{
	struct catalog *c = MEM_NEW(struct catalog);
	c->config = *config;
	c->broker = broker_new(config->watch);
	c->next_seq = 1;
	list_init(&c->requests);
	return c;
}

void catalog_free(struct catalog *c)
{
	broker_free(c->broker);
	buf_done(&c->out);
	mem_free(c);
}

struct broker *catalog_broker(struct catalog *c)
{
	return c->broker;
}

void catalog_connect(struct catalog *c, struct catalog *const *all, unsigned n)
{
	c->all = all;
	c->n_all = n;
}

void catalog_propose(struct catalog *c, struct slice command, struct catalog_request *r)
{
	if (c->out.n == 0)
		buf_put(&c->out, COMMAND_SECTION_HEADER);
	buf_put_u32le(&c->out, (uint32_t)command.n);
	buf_put_slice(&c->out, command);
	c->out_count++;
	uint64_t seq = c->next_seq++;
	if (r != NULL) {
		r->seq = seq;
		list_push_back(&c->requests, &r->link);
	}
	worker_wake(c->config.worker);
}

static void catalog_answer(struct catalog *c, uint64_t seq, const struct broker_result *result)
{
	if (list_empty(&c->requests))
		return;
	struct catalog_request *r = LIST_ENTRY(c->requests.next, struct catalog_request, link);
	if (r->seq != seq)
		return;
	list_remove(&r->link);
	r->done(r, result);
}

static void catalog_apply_section(struct catalog *c, struct section *s)
{
	broker_heard(c->broker, s->client, s->heard);
	for (uint32_t i = 0; i < s->count; i++) {
		struct slice command = get_slice(&s->commands, get_u32le(&s->commands));
		if (s->commands.bad)
			return;
		struct broker_result result;
		uint64_t seq = s->first_seq + i;
		broker_apply_once(c->broker, s->client, seq, command, &result);
		if (s->client != c->config.client_id || seq <= c->heard)
			continue;
		c->heard = seq;
		catalog_answer(c, seq, &result);
	}
}

static void catalog_apply(struct catalog *c, const uint8_t *p, size_t n)
{
	struct reader r = reader_make(p, n);
	struct slice header = get_slice(&r, GROUP_ENTRY_HEADER);
	if (r.bad || header.p[0] != CATALOG_ENTRY_VERSION || header.p[1] != CATALOG_KIND) {
		log_error("metadata", "an entry of the metadata log cannot be understood");
		return;
	}
	struct section s;
	while (command_section_next(&r, &s))
		catalog_apply_section(c, &s);
	c->config.applied(c->config.arg);
}

/* ---- mail between workers ---- */

/* Closed until an entry is in the mailbox of every worker. The first of them must not act on it
 * before: it might answer a client, and that client's next bytes might reach a worker to which the
 * entry is still to be posted. */
struct catalog_gate {
	_Atomic bool open;
	_Atomic unsigned refs;
};

/* A section on its way to the home, or an entry on its way to a copy. */
struct catalog_mail {
	struct mail mail;
	struct catalog *to;
	struct catalog_gate *gate; /* of an entry */
	struct blob *blob;
	const uint8_t *p;
	size_t n;
};

static struct catalog_gate *gate_new(unsigned refs)
{
	struct catalog_gate *g = MEM_NEW(struct catalog_gate);
	atomic_init(&g->refs, refs);
	return g;
}

static void gate_unref(struct catalog_gate *g)
{
	if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
		mem_free(g);
}

/* As long as it takes the home to post a few more mails. */
static void gate_pass(struct catalog_gate *g)
{
	while (!atomic_load_explicit(&g->open, memory_order_acquire))
		sched_yield();
	gate_unref(g);
}

static void catalog_post(struct catalog *to, struct catalog_gate *gate, struct blob *blob,
	const uint8_t *p, size_t n, void (*deliver)(struct mail *m, struct worker *w))
{
	struct catalog_mail *m = MEM_NEW(struct catalog_mail);
	*m = (struct catalog_mail){{NULL, deliver}, to, gate, blob, p, n};
	worker_post(to->config.worker, &m->mail);
}

static void home_take(struct catalog_home *h, const uint8_t *p, size_t n)
{
	group_roll(h->group, n);
	memcpy(batch_put(group_batch(h->group), n), p, n);
	group_dirty(h->group);
}

static void catalog_on_section(struct mail *mail, struct worker *w)
{
	struct catalog_mail *m = (struct catalog_mail *)mail;
	(void)w;
	if (m->to->home != NULL)
		home_take(m->to->home, m->p, m->n);
	blob_unref(m->blob);
	mem_free(m);
}

static void catalog_on_entry(struct mail *mail, struct worker *w)
{
	struct catalog_mail *m = (struct catalog_mail *)mail;
	(void)w;
	gate_pass(m->gate);
	catalog_apply(m->to, m->p, m->n);
	broker_rows_clean(m->to->broker); /* only the home's copy writes rows */
	blob_unref(m->blob);
	mem_free(m);
}

/* How many of the commands may be sent: their answers must be remembered until they are heard. */
static uint32_t catalog_room(const struct catalog *c)
{
	uint64_t under_way = c->next_seq - 1 - c->out_count - c->heard;
	uint64_t room = under_way < BROKER_ANSWERS_MAX ? BROKER_ANSWERS_MAX - under_way : 0;
	return room < c->out_count ? (uint32_t)room : c->out_count;
}

/* Bytes of a section with the first `count` commands. */
static size_t catalog_section_size(const struct catalog *c, uint32_t count)
{
	size_t n = COMMAND_SECTION_HEADER;
	for (; count > 0; count--)
		n += 4 + load_u32le(c->out.p + n);
	return n;
}

/* What is left moves to the front. */
static void catalog_drop_sent(struct catalog *c, uint32_t count, size_t n)
{
	size_t left = c->out.n - n;
	c->out_count -= count;
	if (c->out_count == 0) {
		buf_clear(&c->out);
		return;
	}
	memmove(c->out.p + COMMAND_SECTION_HEADER, c->out.p + n, left);
	c->out.n = COMMAND_SECTION_HEADER + left;
}

bool catalog_flush(struct catalog *c)
{
	uint32_t count = catalog_room(c);
	if (count == 0)
		return false;
	size_t n = catalog_section_size(c, count);
	command_put_section_header(c->out.p, c->config.client_id, c->next_seq - c->out_count,
		c->heard, count, (uint32_t)(n - COMMAND_SECTION_HEADER));
	if (c->home != NULL) {
		home_take(c->home, c->out.p, n);
	} else {
		struct blob *blob = blob_new(n);
		memcpy(blob->data, c->out.p, n);
		catalog_post(c->all[0], NULL, blob, blob->data, n, catalog_on_section);
	}
	catalog_drop_sent(c, count, n);
	return true;
}

/* ---- group 0 ---- */

static void home_seal(void *arg, uint8_t *header)
{
	struct catalog_home *h = arg;
	memset(header, 0, GROUP_ENTRY_HEADER);
	header[0] = CATALOG_ENTRY_VERSION;
	header[1] = CATALOG_KIND;
	store_u64le(header + 8, h->config.catalogs[0]->config.worker->wall_ms);
}

static void home_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct catalog_home *h = arg;
	(void)index;
	struct catalog_gate *gate = gate_new(h->config.n_catalogs);
	for (unsigned i = 1; i < h->config.n_catalogs; i++)
		catalog_post(h->config.catalogs[i], gate, blob_ref(blob), p, n, catalog_on_entry);
	atomic_store_explicit(&gate->open, true, memory_order_release);
	gate_unref(gate);
	catalog_apply(h->config.catalogs[0], p, n);
}

struct row_sink {
	struct catalog_home *home;
	struct buf *rows; /* struct store_row with offsets in place of pointers */
};

static void home_add_row(void *arg, struct slice key, struct slice value)
{
	struct row_sink *s = arg;
	struct buf *bytes = &s->home->row_bytes;
	struct store_row row = {
		.key = {(const uint8_t *)bytes->n, key.n},
		.value = {value.p != NULL ? (const uint8_t *)(bytes->n + key.n) : NULL, value.n},
	};
	buf_put_slice(bytes, key);
	buf_put_slice(bytes, value);
	buf_put_bytes(s->rows, &row, sizeof row);
}

/* Offsets become pointers once the buffer has stopped moving. */
static void home_fix_rows(struct catalog_home *h, struct buf *rows)
{
	for (size_t at = 0; at < rows->n; at += sizeof(struct store_row)) {
		struct store_row row;
		memcpy(&row, rows->p + at, sizeof row);
		row.key.p = h->row_bytes.p + (size_t)row.key.p;
		if (row.value.p != NULL)
			row.value.p = h->row_bytes.p + (size_t)row.value.p;
		memcpy(rows->p + at, &row, sizeof row);
	}
}

/* The state is in the rows, which change in one transaction with the snapshot's index. */
static void home_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct catalog_home *h = arg;
	(void)previous;
	(void)live;
	buf_put_u8(data, CATALOG_ENTRY_VERSION);
	buf_put_u8(data, CATALOG_KIND);
	buf_clear(&h->row_bytes);
	struct broker *b = h->config.catalogs[0]->broker;
	broker_dirty_rows(b, home_add_row, &(struct row_sink){h, rows});
	broker_rows_clean(b);
	home_fix_rows(h, rows);
}

static void home_snapshot_done(void *arg, uint64_t index)
{
	struct catalog_home *h = arg;
	(void)index;
	buf_done(&h->row_bytes);
}

static int home_restore(void *arg, uint64_t index, struct slice data)
{
	(void)arg;
	(void)index;
	return data.n == 2 && data.p[0] == CATALOG_ENTRY_VERSION && data.p[1] == CATALOG_KIND ? 0
											      : -1;
}

static void home_live(void *arg, struct buf *live)
{
	(void)arg;
	(void)live;
}

static void home_leading(void *arg, bool yes, uint64_t term)
{
	struct catalog_home *h = arg;
	(void)term;
	h->config.leading(h->config.arg, yes);
}

static void home_closed(void *arg)
{
	struct catalog_home *h = arg;
	void (*closed)(void *arg) = h->config.closed;
	void *closed_arg = h->config.arg;
	buf_done(&h->row_bytes);
	mem_free(h);
	closed(closed_arg);
}

static const struct group_app home_app = {
	.seal = home_seal,
	.apply = home_apply,
	.snapshot = home_snapshot,
	.snapshot_done = home_snapshot_done,
	.restore = home_restore,
	.live = home_live,
	.leading = home_leading,
	.closed = home_closed,
};

int catalog_home_open(struct catalog_home **ret, const struct catalog_home_config *config)
{
	struct catalog_home *h = MEM_NEW(struct catalog_home);
	h->config = *config;
	config->catalogs[0]->home = h;
	struct group_member member = {.id = config->self, .voter = true};
	struct group_spec spec = {
		.id = METADATA_GROUP,
		.self = config->self,
		.members = &member,
		.n_members = 1,
		.log = config->log,
		.app = &home_app,
		.arg = h,
	};
	int rc = group_open(&h->group, config->groups, &spec);
	if (rc != 0) {
		config->catalogs[0]->home = NULL;
		mem_free(h);
		return rc;
	}
	*ret = h;
	return 0;
}

void catalog_home_close(struct catalog_home *h)
{
	h->config.catalogs[0]->home = NULL;
	group_close(h->group, false);
}

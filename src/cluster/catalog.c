/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/catalog_priv.h"

#include <sched.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/proposer.h"
#include "src/broker/rows.h"
#include "src/broker/whole.h"
#include "src/cluster/catalog_entry.h"
#include "src/queue/command.h"

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
	const struct broker_result none = {.code = BROKER_UNAVAILABLE};
	struct list *node;
	while ((node = list_pop(&c->requests)) != NULL) {
		struct catalog_request *r = LIST_ENTRY(node, struct catalog_request, link);
		r->done(r, &none);
	}
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

void catalog_set_client(struct catalog *c, uint64_t client_id)
{
	c->config.client_id = client_id;
	worker_wake(c->config.worker);
}

void catalog_reachable(const struct catalog *c, unsigned *ret, unsigned *ret_nodes)
{
	*ret = c->reachable;
	*ret_nodes = c->nodes;
}

uint64_t catalog_leader(const struct catalog *c)
{
	return c->home != NULL ? home_leader(c->home) : 0;
}

bool catalog_in_minority(const struct catalog *c)
{
	return c->home != NULL && home_in_minority(c->home);
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
	LIST_EACH_SAFE(node, &c->requests)
	{
		struct catalog_request *r = LIST_ENTRY(node, struct catalog_request, link);
		if (r->seq > seq)
			return;
		if (r->seq < seq)
			continue; /* held */
		if (c->holds && r->everywhere)
			return;
		list_remove(&r->link);
		r->done(r, result);
		return;
	}
}

/* Answers that are held have to be remembered. */
static void catalog_look_at_heard(struct catalog *c)
{
	c->heard = c->applied;
	if (list_empty(&c->requests))
		return;
	const struct catalog_request *r = LIST_ENTRY(c->requests.next, struct catalog_request, link);
	if (r->seq <= c->applied)
		c->heard = r->seq - 1;
}

static void catalog_apply_section(struct catalog *c, struct section *s)
{
	broker_heard(c->broker, s->client, s->heard);
	if (s->first_seq > broker_proposer_last(c->broker, s->client) + 1)
		return; /* one before it was lost on the way, and both are sent again */
	for (uint32_t i = 0; i < s->count; i++) {
		struct slice command = get_slice(&s->commands, get_u32le(&s->commands));
		if (s->commands.bad)
			return;
		struct broker_result result;
		uint64_t seq = s->first_seq + i;
		broker_apply_once(c->broker, s->client, seq, command, &result);
		if (s->client != c->config.client_id || seq <= c->applied)
			continue;
		c->applied = seq;
		catalog_answer(c, seq, &result);
	}
	catalog_look_at_heard(c);
}

void catalog_apply(struct catalog *c, const uint8_t *p, size_t n)
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

/* Its answer is remembered until we say that we have heard it. */
static void catalog_answer_held(struct catalog *c, uint64_t seq)
{
	while (!list_empty(&c->requests)) {
		struct catalog_request *r = LIST_ENTRY(c->requests.next, struct catalog_request, link);
		struct broker_result result;
		if (r->seq > seq || r->seq > c->applied)
			break;
		list_remove(&r->link);
		broker_apply_once(c->broker, c->config.client_id, r->seq, slice_make(NULL, 0), &result);
		r->done(r, &result);
	}
	catalog_look_at_heard(c);
}

void catalog_apply_held(struct catalog *c, const uint8_t *p, size_t n)
{
	c->holds = true;
	catalog_apply(c, p, n);
	c->holds = false;
}

/* What was applied on the way to this state is answered from what it remembers. */
static void catalog_answer_from_state(struct catalog *c)
{
	uint64_t id = c->config.client_id, last = broker_proposer_last(c->broker, id);
	if (id == 0)
		return;
	c->applied = last;
	catalog_answer_held(c, last);
}

void catalog_restore(struct catalog *c, const uint8_t *p, size_t n)
{
	if (!broker_become(c->broker, slice_make(p, n)))
		abort();
	catalog_answer_from_state(c);
	c->config.applied(c->config.arg);
}

/* Each is told again and again until somebody leads; it stays in the list, as its command does. */
static void catalog_unavailable(struct catalog *c, unsigned reachable, unsigned nodes, bool hasty)
{
	c->reachable = reachable;
	c->nodes = nodes;
	LIST_EACH_SAFE(node, &c->requests)
	{
		struct catalog_request *r = LIST_ENTRY(node, struct catalog_request, link);
		if (r->unavailable != NULL && (r->hasty || !hasty))
			r->unavailable(r);
	}
}

/* ---- mail between workers ---- */

/* Closed until an entry is in the mailbox of every worker. The first of them must not act on it
 * before: it might answer a client, and that client's next bytes might reach a worker to which the
 * entry is still to be posted. */
struct catalog_gate {
	_Atomic bool open;
	_Atomic unsigned refs;
};

/* A section on its way to the home, or what the home tells a copy. */
struct catalog_mail {
	struct mail mail;
	struct catalog *to;
	struct catalog_gate *gate; /* NULL: of a section */
	struct blob *blob;
	const uint8_t *p;
	size_t n;
	catalog_take_fn *take;
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

static void catalog_on_section(struct mail *mail, struct worker *w)
{
	struct catalog_mail *m = (struct catalog_mail *)mail;
	(void)w;
	if (m->to->home != NULL)
		home_take_own(m->to->home, m->p, m->n);
	blob_unref(m->blob);
	mem_free(m);
}

static void catalog_on_told(struct mail *mail, struct worker *w)
{
	struct catalog_mail *m = (struct catalog_mail *)mail;
	(void)w;
	gate_pass(m->gate);
	m->take(m->to, m->p, m->n);
	broker_rows_clean(m->to->broker); /* only the home's copy writes rows */
	blob_unref(m->blob);
	mem_free(m);
}

void catalog_tell(struct catalog *const *all, unsigned n_all, struct blob *blob, const uint8_t *p,
	size_t n, catalog_take_fn *take)
{
	struct catalog_gate *gate = gate_new(n_all);
	for (unsigned i = 1; i < n_all; i++) {
		struct catalog_mail *m = MEM_NEW(struct catalog_mail);
		*m = (struct catalog_mail){
			{NULL, catalog_on_told}, all[i], gate, blob_ref(blob), p, n, take};
		worker_post(all[i]->config.worker, &m->mail);
	}
	atomic_store_explicit(&gate->open, true, memory_order_release);
	gate_unref(gate);
}

struct settled_mail {
	struct mail mail;
	struct catalog *to;
	uint64_t seq;
};

static void catalog_on_settled(struct mail *mail, struct worker *w)
{
	struct settled_mail *m = (struct settled_mail *)mail;
	(void)w;
	catalog_answer_held(m->to, m->seq);
	mem_free(m);
}

void catalog_tell_settled(struct catalog *c, uint64_t seq)
{
	if (c->home != NULL) {
		catalog_answer_held(c, seq);
		return;
	}
	struct settled_mail *m = MEM_NEW(struct settled_mail);
	*m = (struct settled_mail){{NULL, catalog_on_settled}, c, seq};
	worker_post(c->config.worker, &m->mail);
}

struct unavailable_mail {
	struct mail mail;
	struct catalog *to;
	unsigned reachable, nodes;
	bool hasty;
};

static void catalog_on_unavailable(struct mail *mail, struct worker *w)
{
	struct unavailable_mail *m = (struct unavailable_mail *)mail;
	(void)w;
	catalog_unavailable(m->to, m->reachable, m->nodes, m->hasty);
	mem_free(m);
}

void catalog_tell_unavailable(struct catalog *const *all, unsigned n_all, unsigned reachable, unsigned nodes,
	bool hasty)
{
	for (unsigned i = 0; i < n_all; i++) {
		struct unavailable_mail *m = MEM_NEW(struct unavailable_mail);
		*m = (struct unavailable_mail){
			{NULL, catalog_on_unavailable}, all[i], reachable, nodes, hasty};
		worker_post(all[i]->config.worker, &m->mail);
	}
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

/* Nothing leaves before the node has its number: the id is what its commands are known by. */
static bool catalog_send(struct catalog *c)
{
	uint32_t count = c->config.client_id != 0 ? catalog_room(c) : 0;
	if (count == 0)
		return false;
	size_t n = catalog_section_size(c, count);
	command_put_section_header(c->out.p, c->config.client_id, c->next_seq - c->out_count,
		c->heard, count, (uint32_t)(n - COMMAND_SECTION_HEADER));
	if (c->home != NULL) {
		home_take_own(c->home, c->out.p, n);
	} else {
		struct catalog_mail *m = MEM_NEW(struct catalog_mail);
		struct blob *blob = blob_new(n);
		memcpy(blob->data, c->out.p, n);
		*m = (struct catalog_mail){{NULL, catalog_on_section}, c->all[0], NULL, blob,
			blob->data, n, NULL};
		worker_post(c->all[0]->config.worker, &m->mail);
	}
	catalog_drop_sent(c, count, n);
	return true;
}

bool catalog_flush(struct catalog *c)
{
	if (c->home != NULL)
		home_look(c->home);
	return catalog_send(c);
}

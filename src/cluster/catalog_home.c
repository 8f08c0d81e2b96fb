/* SPDX-License-Identifier: Apache-2.0
 *
 * Group 0 on this node, and how sections of this node's workers get into its log.
 *
 *   worker's section --> unapplied --> (this node leads) the batch
 *                                  --> (another one)     link --> its batch
 *                    <-- it is applied here
 *
 * A section stays in `unapplied` until its effect is in this node's state. When another node leads, or
 * the same one anew, or its link has been down, all of them are sent again, in order; what the state has
 * already it takes for a repeat, and what would leave a gap it leaves out.
 */
#include <stdlib.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/proposer.h"
#include "src/broker/rows.h"
#include "src/broker/whole.h"
#include "src/cluster/catalog_entry.h"
#include "src/cluster/catalog_priv.h"
#include "src/cluster/echoes.h"
#include "src/loop/timer.h"
#include "src/queue/command.h"

enum {
	METADATA_GROUP = 0,
	RETRY_MS = 500,
	MEMBERS_MAX = 256,
};

/* A section that is not applied here yet. */
struct unapplied {
	struct list link;
	uint64_t client, last_seq;
	size_t n;
	uint8_t bytes[];
};

struct catalog_home {
	struct catalog_home_config config;
	struct group *group;
	struct buf row_bytes; /* of the snapshot under way */
	struct list unapplied;
	/* Who leads, as far as the member here knows: its raft id and node, 0: nobody. */
	uint64_t leader, leader_node, term;
	uint64_t leaderless_ms; /* since */
	uint64_t sent_ms;       /* all of them were sent, or a first one */
	struct timer *timer;    /* set while there is something unapplied */
	bool timing;
	struct echoes echoes;
	uint64_t *settled; /* by worker: that it was told of */
	struct timer *echo_timer;
};

static struct catalog *own_catalog(const struct catalog_home *h)
{
	return h->config.catalogs[0];
}

static uint64_t now_ms(const struct catalog_home *h)
{
	return own_catalog(h)->config.worker->now_ms;
}

/* ---- sections to the leader ---- */

static void put_into_batch(struct catalog_home *h, const uint8_t *p, size_t n)
{
	group_roll(h->group, n);
	memcpy(batch_put(group_batch(h->group), n), p, n);
	group_dirty(h->group);
}

static bool leads_here(const struct catalog_home *h)
{
	return h->leader == h->config.self;
}

static void send_one(struct catalog_home *h, const struct unapplied *u)
{
	if (h->leader == 0)
		return;
	if (leads_here(h))
		put_into_batch(h, u->bytes, u->n);
	else
		link_port_send_copy(h->config.links, h->leader_node,
			&(struct envelope){.kind = ENVELOPE_CATALOG}, slice_make(u->bytes, u->n));
}

static void send_all(struct catalog_home *h)
{
	h->sent_ms = now_ms(h);
	LIST_EACH(node, &h->unapplied)
	send_one(h, LIST_ENTRY(node, struct unapplied, link));
}

static void drop_applied(struct catalog_home *h)
{
	const struct broker *b = own_catalog(h)->broker;
	LIST_EACH_SAFE(node, &h->unapplied)
	{
		struct unapplied *u = LIST_ENTRY(node, struct unapplied, link);
		if (u->last_seq > broker_proposer_last(b, u->client))
			continue;
		list_remove(&u->link);
		mem_free(u);
		h->sent_ms = now_ms(h); /* it goes on */
	}
}

static void set_timer(struct catalog_home *h)
{
	if (h->timing || list_empty(&h->unapplied))
		return;
	h->timing = true;
	timer_set(h->timer, RETRY_MS);
}

void home_take_own(struct catalog_home *h, const uint8_t *p, size_t n)
{
	struct reader r = reader_make(p, n);
	struct section s;
	if (!command_section_next(&r, &s))
		abort(); /* our own */
	struct unapplied *u = mem_alloc(sizeof *u + n);
	u->client = s.client;
	u->last_seq = s.first_seq + s.count - 1;
	u->n = n;
	memcpy(u->bytes, p, n);
	if (list_empty(&h->unapplied))
		h->sent_ms = now_ms(h);
	list_push_back(&h->unapplied, &u->link);
	send_one(h, u);
	set_timer(h);
}

bool catalog_home_receive(struct catalog_home *h, const uint8_t *p, size_t n)
{
	struct reader r = reader_make(p, n);
	struct section s;
	if (!command_section_next(&r, &s) || reader_left(&r) > 0 || s.client == 0)
		return false;
	if (leads_here(h))
		put_into_batch(h, p, n);
	return true; /* else whoever sent it learns who leads, and sends it there */
}

/* ---- who leads ---- */

static uint64_t node_of(const struct catalog_home *h, uint64_t member)
{
	struct group_member_state ms[MEMBERS_MAX];
	unsigned n = group_members(h->group, ms, MEMBERS_MAX);
	for (unsigned i = 0; i < n && i < MEMBERS_MAX; i++)
		if (ms[i].id == member)
			return ms[i].node;
	return 0;
}

static bool reaches(const struct catalog_home *h, uint64_t node)
{
	return node == h->config.node || (node != 0 && link_port_linked(h->config.links, node));
}

/* A leader that no link reaches is none. A member without a vote, which waits for no election, would believe in
 * it for ever. */
void home_look(struct catalog_home *h)
{
	uint64_t leader = group_leader(h->group), term = group_term(h->group);
	uint64_t node = leader == 0 ? 0 : leader == h->leader ? h->leader_node : node_of(h, leader);
	if (!reaches(h, node))
		leader = node = 0;
	if (leader == h->leader && term == h->term)
		return;
	if (leader == 0 && h->leader != 0)
		h->leaderless_ms = now_ms(h);
	h->leader = leader;
	h->leader_node = node;
	h->term = term;
	send_all(h);
}

void catalog_home_link_up(struct catalog_home *h, uint64_t node)
{
	if (node == h->leader_node)
		send_all(h);
}

static bool most_voters_are_away(const struct catalog_home *h)
{
	struct group_member_state ms[MEMBERS_MAX];
	unsigned n = group_members(h->group, ms, MEMBERS_MAX), voters = 0, reached = 0;
	for (unsigned i = 0; i < n && i < MEMBERS_MAX; i++) {
		voters += ms[i].voter;
		reached += ms[i].voter && reaches(h, ms[i].node);
	}
	return 2 * reached <= voters;
}

bool home_in_minority(const struct catalog_home *h)
{
	return h->leader == 0 && now_ms(h) - h->leaderless_ms >= CATALOG_HASTE_MS && most_voters_are_away(h);
}

static void tell_unavailable(struct catalog_home *h, bool hasty)
{
	const struct broker *b = own_catalog(h)->broker;
	unsigned reachable = 0;
	for (size_t i = 0; i < b->n_nodes; i++)
		reachable += reaches(h, b->nodes[i]->id);
	catalog_tell_unavailable(
		h->config.catalogs, h->config.n_catalogs, reachable, (unsigned)b->n_nodes, hasty);
}

static void home_on_timer(void *arg)
{
	struct catalog_home *h = arg;
	h->timing = false;
	home_look(h);
	if (h->leader == 0 && !list_empty(&h->unapplied) &&
		now_ms(h) - h->leaderless_ms >= CATALOG_PATIENCE_MS)
		tell_unavailable(h, false);
	else if (!list_empty(&h->unapplied) && home_in_minority(h))
		tell_unavailable(h, true);
	if (h->leader != 0 && !leads_here(h) && now_ms(h) - h->sent_ms >= RETRY_MS)
		send_all(h);
	set_timer(h);
}

/* ---- echoes ---- */

/* Who is linked is waited for from now on, who is not is not. */
static void look_at_links(struct catalog_home *h)
{
	const struct broker *b = own_catalog(h)->broker;
	for (size_t i = 0; i < b->n_nodes; i++) {
		uint64_t node = b->nodes[i]->id;
		if (node == h->config.node)
			continue;
		if (link_port_linked(h->config.links, node))
			echoes_link_up(&h->echoes, node);
		else
			echoes_link_down(&h->echoes, node);
	}
}

static void settle(struct catalog_home *h)
{
	for (unsigned w = 0; w < h->config.n_catalogs; w++) {
		uint64_t seq = echoes_settled(&h->echoes, w);
		if (seq <= h->settled[w])
			continue;
		h->settled[w] = seq;
		catalog_tell_settled(h->config.catalogs[w], seq);
	}
	int patience = echoes_patience_ms(&h->echoes, now_ms(h));
	if (patience < 0)
		timer_stop(h->echo_timer);
	else
		timer_set(h->echo_timer, (uint64_t)patience + 1);
}

static void home_on_echo_timer(void *arg)
{
	struct catalog_home *h = arg;
	echoes_expire(&h->echoes, now_ms(h));
	settle(h);
}

/* The clients of a node's workers differ in the worker's number. */
static bool is_own(const struct catalog_home *h, uint64_t client)
{
	uint64_t own = own_catalog(h)->config.client_id;
	return own != 0 && client_id_node(client) == client_id_node(own) &&
	       client_id_incarnation(client) == client_id_incarnation(own) &&
	       client_id_worker(client) < h->config.n_catalogs;
}

static void send_echo(struct catalog_home *h, uint64_t client, uint64_t seq)
{
	const struct broker_node *n = broker_node_by_number(own_catalog(h)->broker, client_id_node(client));
	uint8_t octets[16];
	if (n == NULL || n->id == h->config.node || !link_port_linked(h->config.links, n->id))
		return;
	store_u64le(octets, client);
	store_u64le(octets + 8, seq);
	link_port_send_copy(h->config.links, n->id, &(struct envelope){.kind = ENVELOPE_CATALOG_ECHO},
		slice_make(octets, sizeof octets));
}

/* Every worker here has the entry in its mailbox. */
static void echo_entry(struct catalog_home *h, const uint8_t *p, size_t n, bool held)
{
	struct reader r = reader_make(p, n);
	get_slice(&r, GROUP_ENTRY_HEADER);
	struct section s;
	bool own = false;
	while (!r.bad && command_section_next(&r, &s)) {
		uint64_t seq = broker_proposer_last(own_catalog(h)->broker, s.client);
		if (!is_own(h, s.client)) {
			send_echo(h, s.client, seq);
			continue;
		}
		echoes_apply(&h->echoes, client_id_worker(s.client), seq, now_ms(h));
		if (!held)
			h->settled[client_id_worker(s.client)] = seq;
		own = true;
	}
	if (own && held)
		settle(h);
}

bool catalog_home_echo(struct catalog_home *h, uint64_t node, const uint8_t *p, size_t n)
{
	if (n != 16)
		return false;
	uint64_t client = load_u64le(p);
	if (is_own(h, client)) {
		echoes_hear(&h->echoes, node, client_id_worker(client), load_u64le(p + 8), now_ms(h));
		settle(h);
	}
	return true; /* else it is of a former life */
}

void catalog_home_link_down(struct catalog_home *h, uint64_t node)
{
	echoes_link_down(&h->echoes, node);
	settle(h);
}

/* ---- group 0 ---- */

static void home_seal(void *arg, uint8_t *header)
{
	struct catalog_home *h = arg;
	memset(header, 0, GROUP_ENTRY_HEADER);
	header[0] = CATALOG_ENTRY_VERSION;
	header[1] = CATALOG_KIND;
	store_u64le(header + 8, own_catalog(h)->config.worker->wall_ms);
}

static void home_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct catalog_home *h = arg;
	(void)index;
	look_at_links(h);
	bool held = echoes_wanted(&h->echoes);
	if (!held)
		settle(h); /* what was held until now */
	catalog_take_fn *take = held ? catalog_apply_held : catalog_apply;
	catalog_tell(h->config.catalogs, h->config.n_catalogs, blob, p, n, take);
	take(own_catalog(h), p, n);
	drop_applied(h);
	echo_entry(h, p, n, held);
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

static void put_state_header(struct buf *data)
{
	buf_put_u8(data, CATALOG_ENTRY_VERSION);
	buf_put_u8(data, CATALOG_KIND);
}

/* The state is in the rows, which change in one transaction with the snapshot's index. */
static void home_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct catalog_home *h = arg;
	(void)previous;
	(void)live;
	put_state_header(data);
	buf_clear(&h->row_bytes);
	struct broker *b = own_catalog(h)->broker;
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

/* For another member: all rows behind the header. */
static void home_whole(void *arg, struct buf *data, struct buf *live)
{
	struct catalog_home *h = arg;
	(void)live;
	put_state_header(data);
	broker_whole(own_catalog(h)->broker, data);
}

static bool is_state(struct slice data)
{
	return data.n >= 2 && data.p[0] == CATALOG_ENTRY_VERSION && data.p[1] == CATALOG_KIND;
}

static bool is_whole(struct slice whole)
{
	struct broker *trial = broker_new(NULL);
	bool good = broker_become(trial, whole);
	broker_free(trial);
	return good;
}

static bool home_accepts(void *arg, struct slice data)
{
	(void)arg;
	return is_state(data) && is_whole(slice_make(data.p + 2, data.n - 2));
}

/* Of a snapshot that a leader sent. The rows of the store are older: they are written with the next
 * snapshot of our own. */
static int restore_whole(struct catalog_home *h, struct slice whole)
{
	if (!is_whole(whole))
		return -1;
	struct blob *blob = blob_new(whole.n);
	memcpy(blob->data, whole.p, whole.n);
	catalog_tell(h->config.catalogs, h->config.n_catalogs, blob, blob->data, whole.n,
		catalog_restore);
	catalog_restore(own_catalog(h), blob->data, whole.n);
	blob_unref(blob);
	drop_applied(h);
	log_info("metadata", "the state has come as a whole, %zu KiB", whole.n / 1024);
	return 0;
}

static int home_restore(void *arg, uint64_t index, struct slice data)
{
	(void)index;
	if (!is_state(data))
		return -1;
	if (data.n == 2)
		return 0; /* our own, at start: the rows have been loaded */
	return restore_whole(arg, slice_make(data.p + 2, data.n - 2));
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
	struct list *node;
	while ((node = list_pop(&h->unapplied)) != NULL)
		mem_free(LIST_ENTRY(node, struct unapplied, link));
	timer_free(h->timer);
	timer_free(h->echo_timer);
	echoes_done(&h->echoes);
	mem_free(h->settled);
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
	.accepts = home_accepts,
	.live = home_live,
	.leading = home_leading,
	.closed = home_closed,
	.whole = home_whole,
};

int catalog_home_open(struct catalog_home **ret, const struct catalog_home_config *config)
{
	struct catalog_home *h = MEM_NEW(struct catalog_home);
	h->config = *config;
	list_init(&h->unapplied);
	struct group_member member = {.id = config->self, .node = config->node, .voter = true};
	struct group_spec spec = {
		.id = METADATA_GROUP,
		.self = config->self,
		.members = &member,
		.n_members = config->joins && !config->alone ? 0 : 1,
		.alone = config->alone,
		.prompt = true,
		.log = config->log,
		.app = &home_app,
		.arg = h,
	};
	h->timer = timer_new(own_catalog(h)->config.worker, home_on_timer, h);
	h->echo_timer = timer_new(own_catalog(h)->config.worker, home_on_echo_timer, h);
	echoes_init(&h->echoes, config->n_catalogs);
	h->settled = mem_zalloc(config->n_catalogs * sizeof *h->settled);
	h->leaderless_ms = now_ms(h);
	int rc = group_open(&h->group, config->groups, &spec);
	if (rc != 0) {
		timer_free(h->timer);
	timer_free(h->echo_timer);
	echoes_done(&h->echoes);
	mem_free(h->settled);
		mem_free(h);
		return rc;
	}
	own_catalog(h)->home = h;
	*ret = h;
	return 0;
}

struct group *catalog_home_group(struct catalog_home *h)
{
	return h->group;
}

uint64_t home_leader(const struct catalog_home *h)
{
	return h->leader_node;
}

static void home_on_yielded(void *arg, int status)
{
	(void)arg;
	(void)status; /* then it goes on here */
}

void catalog_home_yield(struct catalog_home *h)
{
	if (group_leading(h->group))
		group_transfer(h->group, 0, home_on_yielded, h);
}

void catalog_home_close(struct catalog_home *h)
{
	own_catalog(h)->home = NULL;
	timer_stop(h->timer);
	group_close(h->group, false);
}

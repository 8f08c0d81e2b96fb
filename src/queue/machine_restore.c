/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads what machine_snapshot.c writes. Bytes may come from a disk or a peer: beyond the hash,
 * every number that the machine relies on is checked, above all that each live message before a
 * lane's cursor is claimed exactly once, by a checkout, a dead letter, or as returned. What is out
 * of bounds fails the reader, so that each loop ends at the first bad place.
 *
 * A count may stand for far more than its bytes, so what is built is charged to a limit of memory,
 * before it is built.
 */
#include "src/queue/machine.h"

#include <stdlib.h>
#include <xxhash.h>

#include "src/base/mem.h"
#include "src/queue/machine_priv.h"
#include "src/queue/machine_snapshot.h"
#include "src/queue/varint.h"

/* Far from where counting up would wrap. */
#define NUMBER_MAX (UINT64_C(1) << 62)

/* From the end of one body to the next enqueue command's beginning, as the machine counts them. */
enum { DISTANCE_MIN = COMMAND_HEADER + COMMAND_ENQUEUE_FIXED };

/* Which messages of a lane were claimed; bits by run, runs from position 0. */
struct claims {
	uint64_t *taken;
	uint64_t left; /* live messages before the cursor, not claimed */
};

struct restore {
	struct reader r;
	struct machine *m;
	struct claims *claims; /* by level; the last is of `refused` */
	uint64_t memory_left;
};

static void check(struct restore *x, bool ok)
{
	if (!ok)
		reader_fail(&x->r);
}

/* n elements of a table are going to be made. Tables double when they grow. */
static void charge(struct restore *x, uint64_t n, size_t size)
{
	check(x, n <= x->memory_left / (2 * size));
	if (!x->r.bad)
		x->memory_left -= n * 2 * size;
}

/* A number that is at most max. */
static uint64_t get_up_to(struct restore *x, uint64_t max)
{
	uint64_t v = get_varint(&x->r);
	check(x, v <= max);
	return x->r.bad ? 0 : v;
}

/* ---- messages ---- */

struct group_reader {
	uint64_t seq; /* of the block */
	uint64_t index;
	uint64_t n;
	uint32_t offset;
	uint32_t distance;
	uint32_t expiration_ms;
	uint64_t blocks;
	uint64_t seq_step;
	uint64_t index_step;
	uint64_t last_index; /* of the message before; 0: none */
	uint64_t last_end;   /* of its body */
	uint64_t last_stamp_ms;
};

static void add_checked(struct restore *x, uint64_t *v, uint64_t more)
{
	check(x, more <= UINT64_MAX - *v);
	*v += more;
}

static void read_group_head(struct restore *x, struct group_reader *g)
{
	struct reader *r = &x->r;
	add_checked(x, &g->seq, get_varint(r));
	add_checked(x, &g->index, get_varint(r));
	g->n = get_up_to(x, UINT64_MAX - 1) + 1;
	g->offset = (uint32_t)get_up_to(x, UINT32_MAX);
	g->distance = (uint32_t)get_up_to(x, UINT32_MAX);
	uint64_t expiration = get_up_to(x, UINT32_MAX);
	g->expiration_ms = expiration == 0 ? ENQUEUE_NO_EXPIRATION : (uint32_t)expiration - 1;
	g->blocks = get_up_to(x, UINT64_MAX - 1) + 1;
	g->seq_step = g->blocks > 1 ? get_varint(r) : 0;
	g->index_step = g->blocks > 1 ? get_varint(r) : 0;
}

/* Skips over the stamps to the bodies: they interleave in time but not in the bytes. */
static struct step_reader skip_stamps(struct restore *x, uint64_t n, uint64_t last)
{
	struct step_reader s = {.last = last};
	while (n > 0 && !x->r.bad) {
		step_next(&s, &x->r);
		n--;
		uint64_t same = s.n < n ? s.n : n;
		s.last += same * (uint64_t)unzigzag(s.step);
		s.n -= same;
		n -= same;
	}
	check(x, s.n == 0);
	return s;
}

static void read_block(struct restore *x, struct lane *l, struct group_reader *g,
	uint64_t stamp_ms, struct step_reader *bodies)
{
	const struct machine *m = x->m;
	struct run_item item = {.offset = g->offset, .expiration_ms = g->expiration_ms};
	bool mixed = false;
	/* Messages of one entry lie behind one another in it, and came at its time. */
	check(x, g->index != g->last_index || (g->offset >= g->last_end + DISTANCE_MIN &&
						      stamp_ms == g->last_stamp_ms));
	check(x, g->index > 0 && g->index <= m->index && stamp_ms <= m->stamp_ms);
	check(x, g->seq < m->next_seq && g->n <= m->next_seq - g->seq);
	g->last_stamp_ms = stamp_ms;
	charge(x, g->n / RUN_MAX + 1, sizeof(struct run) + sizeof(uint64_t)); /* and its claims */
	charge(x, 1, sizeof(struct entry) + sizeof(uint64_t)); /* and in restore_entries() */
	for (uint64_t i = 0; i < g->n && !x->r.bad; i++) {
		uint64_t body_n = step_next(bodies, &x->r);
		check(x, body_n <= UINT32_MAX);
		if (i > 0 && body_n != item.body_n && !mixed) {
			charge(x, g->n, sizeof(struct run_item));
			mixed = true;
		}
		if (x->r.bad)
			return;
		item.body_n = (uint32_t)body_n;
		lane_append(l, g->seq + i, g->index, stamp_ms, &item);
		g->last_index = g->index;
		g->last_end = (uint64_t)item.offset + item.body_n;
		uint64_t offset = g->last_end + g->distance;
		check(x, offset <= UINT32_MAX || i + 1 == g->n);
		item.offset = (uint32_t)offset;
	}
}

/* Reads a group of at most `left` messages. Returns how many. */
static uint64_t read_group(struct restore *x, struct lane *l, struct group_reader *g, uint64_t left,
	uint64_t *last_stamp_ms)
{
	uint64_t end = ring_n(&l->runs) > 0 ? g->seq : 0; /* last block's first sequence */
	uint64_t end_n = g->n;
	read_group_head(x, g);
	check(x, end == 0 ? g->seq > 0 : g->seq - end >= end_n);
	check(x, g->n <= left && g->blocks <= left / g->n);
	/* Blocks of one shape begin at one offset, so they are of different entries. */
	check(x, g->blocks == 1 || (g->seq_step >= g->n && g->index_step > 0));
	check(x, g->n == 1 ? g->distance == 0 : g->distance >= DISTANCE_MIN);
	struct reader stamps_at = x->r;
	struct step_reader stamps = {.last = *last_stamp_ms};
	*last_stamp_ms = skip_stamps(x, g->blocks, *last_stamp_ms).last;
	struct step_reader bodies = {0};
	for (uint64_t b = 0; b < g->blocks && !x->r.bad; b++) {
		if (b > 0) {
			add_checked(x, &g->seq, g->seq_step);
			add_checked(x, &g->index, g->index_step);
		}
		read_block(x, l, g, step_next(&stamps, &stamps_at), &bodies);
	}
	check(x, bodies.n == 0);
	return g->n * g->blocks;
}

static void read_messages(struct restore *x, struct lane *l, uint64_t live)
{
	struct group_reader g = {0};
	uint64_t stamp_ms = 0;
	for (uint64_t left = live; left > 0 && !x->r.bad;)
		left -= read_group(x, l, &g, left, &stamp_ms);
}

/* ---- lanes ---- */

/* Puts the cursor where `fresh` live messages follow. */
static void place_cursor(struct lane *l, uint64_t fresh)
{
	l->fresh = fresh;
	l->cursor = l->runs.end;
	l->cursor_i = 0;
	while (fresh > 0) {
		const struct run *r = run_ring_at(&l->runs, --l->cursor);
		uint64_t n = (uint64_t)__builtin_popcountll(r->live);
		if (n <= fresh) {
			fresh -= n;
			continue;
		}
		uint64_t rest = r->live;
		for (; n > fresh; n--)
			rest &= rest - 1;
		l->cursor_i = (uint32_t)__builtin_ctzll(rest);
		fresh = 0;
	}
}

static struct claims *claims_of(struct restore *x, unsigned level)
{
	return &x->claims[level == LEVEL_REFUSED ? x->m->lanes_n : level];
}

/* Claims a live message before its lane's cursor. */
static bool claim(struct restore *x, unsigned level, uint64_t seq, struct lane_place *ret)
{
	struct lane *l = machine_lane(x->m, level);
	struct claims *c = claims_of(x, level);
	bool ok = !x->r.bad && lane_find(l, seq, ret);
	ok = ok && (ret->pos < l->cursor || (ret->pos == l->cursor && ret->i < l->cursor_i));
	ok = ok && (c->taken[ret->pos] >> ret->i & 1) == 0;
	check(x, ok);
	if (!ok)
		return false;
	c->taken[ret->pos] |= UINT64_C(1) << ret->i;
	c->left--;
	return true;
}

static void read_returned(struct restore *x, unsigned level)
{
	uint64_t n = get_varint(&x->r);
	uint64_t seq = 0;
	for (; n > 0 && !x->r.bad; n--) {
		struct lane_place p;
		add_checked(x, &seq, get_varint(&x->r));
		uint32_t returns = (uint32_t)get_up_to(x, UINT32_MAX);
		check(x, returns > 0);
		charge(x, 1, sizeof(struct lane_returned));
		if (claim(x, level, seq, &p))
			lane_return(machine_lane(x->m, level), seq, returns);
	}
}

static void read_lane(struct restore *x, unsigned level)
{
	struct lane *l = machine_lane(x->m, level);
	uint64_t live = get_up_to(x, x->m->next_seq);
	uint64_t fresh = get_up_to(x, level == LEVEL_REFUSED ? 0 : live);
	check(x, live > 0);
	read_messages(x, l, live);
	if (x->r.bad)
		return;
	place_cursor(l, fresh);
	struct claims *c = claims_of(x, level);
	c->left = live - fresh;
	c->taken = mem_zalloc(ring_n(&l->runs) * sizeof *c->taken);
	read_returned(x, level);
}

static void read_lanes(struct restore *x)
{
	uint64_t lanes_n = get_up_to(x, LEVELS_MAX);
	check(x, lanes_n > x->m->config.max_priority);
	if (x->r.bad)
		return;
	machine_reserve_lanes(x->m, (unsigned)lanes_n - 1);
	x->claims = mem_zalloc((lanes_n + 1) * sizeof *x->claims);
	uint64_t next = 1;
	for (;;) {
		uint64_t tag = get_up_to(x, LEVEL_REFUSED + 1);
		if (tag == 0)
			return;
		check(x, tag >= next && (tag <= lanes_n || tag == LEVEL_REFUSED + 1));
		if (x->r.bad)
			return;
		read_lane(x, (unsigned)tag - 1);
		next = tag + 1;
	}
}

/* ---- consumers ---- */

static void read_row(struct restore *x, struct consumer *c, struct unsettled *u, uint64_t *left)
{
	add_checked(x, &u->number, get_varint(&x->r));
	u->seq += (uint64_t)unzigzag(get_varint(&x->r));
	uint64_t level = get_up_to(x, x->m->lanes_n - 1);
	u->level = (uint16_t)level;
	u->returns = (uint32_t)get_up_to(x, UINT32_MAX);
	uint64_t n = get_up_to(x, *left - 1) + 1;
	uint64_t step = n > 1 ? (uint64_t)unzigzag(get_varint(&x->r)) : 0;
	check(x, checkout_n(&c->checkout) == 0 ||
			 u->number > unsettled_ring_at(&c->checkout.ring, c->checkout.ring.end - 1)
					     ->number);
	check(x, u->number > 0 && u->number <= c->last_number &&
			 n - 1 <= c->last_number - u->number);
	*left -= n;
	charge(x, n, sizeof(struct unsettled));
	for (;;) {
		struct lane_place p;
		if (!claim(x, u->level, u->seq, &p))
			return;
		x->m->counts.unacked++;
		x->m->counts.unacked_bytes += run_body_n(p.run, p.i);
		checkout_add(&c->checkout, u);
		if (--n == 0)
			return;
		u->number++;
		u->seq += step;
	}
}

static void read_checkout(struct restore *x, struct consumer *c)
{
	uint64_t left = get_varint(&x->r);
	struct unsettled u = {0};
	while (left > 0 && !x->r.bad)
		read_row(x, c, &u, &left);
}

/* As consumers_attach() would have it, but for what waiting means: nobody waits yet. */
static struct consumer *read_consumer_head(struct restore *x)
{
	struct reader *r = &x->r;
	struct consumers *cs = &x->m->consumers;
	uint64_t client = get_u64le(r);
	struct command_attach a = {.consumer = get_u32le(r)};
	a.flags = get_u8(r);
	uint8_t cancelled = get_u8(r);
	a.priority = (int32_t)get_u32le(r);
	a.prefetch = (uint32_t)get_up_to(x, UINT32_MAX);
	uint64_t credit_bytes = get_varint(r);
	uint64_t delivered_bytes = get_varint(r);
	uint64_t last_number = get_up_to(x, NUMBER_MAX);
	a.tag = get_slice(r, get_up_to(x, UINT8_MAX));
	check(x, a.flags <= (ATTACH_NO_ACK | ATTACH_EXCLUSIVE | ATTACH_GET) && cancelled <= 1);
	charge(x, 1, sizeof(struct consumer) + sizeof(struct consumer_level));
	if (r->bad || consumers_find(cs, client, a.consumer) != NULL) {
		reader_fail(r);
		return NULL;
	}
	struct consumer *c = consumers_attach(cs, client, &a); /* without credit it does not wait */
	if (cancelled)
		consumers_cancel(cs, c);
	c->credit_bytes = credit_bytes;
	c->delivered_bytes = delivered_bytes;
	c->last_number = last_number;
	return c;
}

static void read_consumer(struct restore *x)
{
	struct consumer *c = read_consumer_head(x);
	if (c == NULL)
		return;
	read_checkout(x, c);
	check(x, !c->cancelled || checkout_n(&c->checkout) > 0);
}

static void read_active(struct restore *x, struct consumer **all, uint64_t n)
{
	struct consumers *cs = &x->m->consumers;
	uint64_t active = get_up_to(x, n);
	struct consumer *c = active > 0 ? all[active - 1] : NULL;
	check(x, c == NULL || (!c->cancelled && consumer_is_pushed(c)));
	check(x, (c != NULL) == (x->m->config.single_active && cs->attached > 0));
	cs->single_active = x->m->config.single_active && !x->m->gone;
	cs->active = c;
}

static void read_waiting(struct restore *x, struct consumer **all, uint64_t n)
{
	struct consumers *cs = &x->m->consumers;
	uint64_t waiting = get_up_to(x, n);
	const struct consumer *last = NULL;
	for (; waiting > 0 && !x->r.bad; waiting--) {
		uint64_t i = get_varint(&x->r);
		struct consumer *c = i < n ? all[i] : NULL;
		check(x, c != NULL && !c->waits && consumers_could_wait(cs, c));
		check(x, last == NULL || last->priority >= c->priority);
		if (x->r.bad)
			return;
		consumers_refresh(cs, c);
		last = c;
	}
	for (uint64_t i = 0; i < n; i++)
		check(x, all[i]->waits == consumers_could_wait(cs, all[i]));
}

static void read_consumers(struct restore *x)
{
	struct consumers *cs = &x->m->consumers;
	uint64_t n = get_up_to(x, reader_left(&x->r));
	struct buf all = BUF_EMPTY; /* pointers by ordinal */
	cs->single_active = false;  /* nobody is active until read_active() */
	for (uint64_t i = 0; i < n && !x->r.bad; i++)
		read_consumer(x);
	LIST_EACH(node, &cs->all)
	{
		struct consumer *c = LIST_ENTRY(node, struct consumer, all);
		buf_put_bytes(&all, &c, sizeof c);
	}
	if (!x->r.bad)
		read_active(x, (struct consumer **)all.p, n);
	if (!x->r.bad)
		read_waiting(x, (struct consumer **)all.p, n);
	buf_done(&all);
}

/* ---- dead letters ---- */

static struct dead_range read_dead(struct restore *x, uint64_t last)
{
	struct dead_range d = {.n = 1};
	d.seq = last + (uint64_t)unzigzag(get_varint(&x->r));
	d.stamp_ms = x->m->stamp_ms - get_up_to(x, x->m->stamp_ms);
	uint64_t level = get_up_to(x, LEVEL_REFUSED);
	check(x, level < x->m->lanes_n || level == LEVEL_REFUSED);
	d.level = x->r.bad ? 0 : (uint16_t)level;
	d.reason = (uint8_t)get_up_to(x, DEATH_DELIVERY_LIMIT);
	return d;
}

/* Claims the range's messages and appends them. Returns the last sequence. */
static uint64_t add_dead(struct restore *x, struct dead_range *d)
{
	struct lane_place p;
	for (uint64_t i = 0; i < d->n; i++) {
		if (!claim(x, d->level, d->seq + i, &p))
			return 0;
	}
	x->m->counts.dead += d->n;
	charge(x, 1, sizeof *d);
	dead_push(&x->m->dead, d);
	return d->seq + d->n - 1;
}

static void read_dead_letters(struct restore *x)
{
	uint64_t last = 0;
	uint64_t out_n = get_up_to(x, DEAD_WINDOW);
	for (uint64_t n = out_n; n > 0 && !x->r.bad; n--) {
		struct dead_range d = read_dead(x, last);
		last = add_dead(x, &d);
		dead_send(&x->m->dead);
	}
	uint64_t waiting_n = get_varint(&x->r);
	check(x, waiting_n == 0 || out_n == DEAD_WINDOW);
	for (uint64_t n = waiting_n; n > 0 && !x->r.bad; n--) {
		struct dead_range d = read_dead(x, last);
		d.n = get_up_to(x, UINT64_MAX - 1) + 1;
		last = add_dead(x, &d);
	}
}

/* ---- the rest ---- */

static bool is_answered(uint8_t type)
{
	return type == COMMAND_ATTACH || type == COMMAND_CANCEL || type == COMMAND_GET ||
	       type == COMMAND_PURGE || type == COMMAND_DELETE || type == COMMAND_STATUS;
}

static void read_outcomes(struct restore *x, struct publisher *p)
{
	struct outcome o = {0};
	uint64_t end = 0; /* of the one before */
	uint64_t n = get_up_to(x, OUTCOMES_MAX);
	for (; n > 0 && !x->r.bad; n--) {
		add_checked(x, &o.seq, get_varint(&x->r));
		o.type = get_u8(&x->r);
		o.status = get_u8(&x->r);
		uint8_t no_ack = get_u8(&x->r);
		o.no_ack = no_ack;
		o.messages = get_varint(&x->r);
		o.number = get_varint(&x->r);
		o.consumer = (uint32_t)get_up_to(x, UINT32_MAX);
		o.consumers = (uint32_t)get_up_to(x, UINT32_MAX);
		bool refused = o.type == COMMAND_ENQUEUE;
		uint64_t more = refused ? o.messages - 1 : 0;
		check(x, refused || (is_answered(o.type) && o.status <= MACHINE_GONE));
		check(x, no_ack <= 1 && o.seq > end && o.seq <= p->last_seq &&
				 more <= p->last_seq - o.seq);
		end = o.seq + more;
		charge(x, 1, sizeof o);
		if (!x->r.bad)
			publisher_keep(p, &o);
	}
}

static void read_publishers(struct restore *x)
{
	uint64_t n = get_varint(&x->r);
	uint64_t last = 0; /* never a publisher */
	for (; n > 0 && !x->r.bad; n--) {
		uint64_t client = get_u64le(&x->r);
		uint64_t seq = get_varint(&x->r);
		check(x, client > last);
		last = client;
		charge(x, 1, sizeof(struct publisher));
		if (x->r.bad)
			return;
		publishers_raise(&x->m->publishers, client, seq);
		read_outcomes(x, publishers_find(&x->m->publishers, client));
	}
}

static void read_config(struct restore *x)
{
	const uint8_t *p = x->r.p;
	const uint8_t *h = get_bytes(&x->r, COMMAND_HEADER);
	if (h == NULL || get_bytes(&x->r, load_u32le(h + 4)) == NULL)
		return;
	struct section s = {.count = 1, .commands = reader_make(p, (size_t)(x->r.p - p))};
	struct command c;
	if (command_next(&s, p, &c) && c.type == COMMAND_CONFIG)
		machine_configure(x->m, &c.u.config);
	else
		reader_fail(&x->r);
}

static void read_head(struct restore *x)
{
	struct machine *m = x->m;
	const uint8_t *magic = get_bytes(&x->r, 4);
	check(x, magic != NULL && memcmp(magic, MACHINE_SNAPSHOT_MAGIC, 4) == 0);
	check(x, get_u8(&x->r) == MACHINE_SNAPSHOT_VERSION);
	uint8_t gone = get_u8(&x->r);
	check(x, gone <= 1);
	m->index = get_varint(&x->r);
	m->stamp_ms = get_up_to(x, STAMP_END - 1);
	m->next_seq = get_up_to(x, NUMBER_MAX);
	uint64_t used_ms = get_varint(&x->r);
	m->counts.published = get_varint(&x->r);
	m->counts.delivered = get_varint(&x->r);
	m->counts.acked = get_varint(&x->r);
	m->counts.redelivered = get_varint(&x->r);
	m->counts.dropped = get_varint(&x->r);
	check(x, m->next_seq > 0);
	read_config(x);
	m->used_ms = used_ms; /* a new config is a use */
	m->gone = gone;
}

static void count_ready(struct machine *m)
{
	uint64_t bytes = 0;
	for (unsigned level = 0; level < m->lanes_n; level++) {
		const struct lane *l = &m->lanes[level];
		m->counts.ready += lane_ready(l);
		if (lane_ready(l) > 0)
			m->top = level;
		for (uint64_t pos = l->runs.first; pos < l->runs.end; pos++) {
			const struct run *r = run_ring_at(&l->runs, pos);
			bytes += run_bytes(r, r->live);
		}
	}
	m->counts.ready_bytes = bytes - m->counts.unacked_bytes;
}

/* Dead letters in the lanes are not ready either. */
static void uncount_dead(struct machine *m, const struct dead_range *d)
{
	if (d->level == LEVEL_REFUSED)
		return;
	struct lane_place p;
	for (uint64_t i = 0; i < d->n; i++) {
		if (lane_find(&m->lanes[d->level], d->seq + i, &p))
			m->counts.ready_bytes -= run_body_n(p.run, p.i);
	}
}

static void restore_counts(struct machine *m)
{
	count_ready(m);
	for (unsigned i = 0; i < m->dead.out_n; i++)
		uncount_dead(m, &m->dead.out[i]);
	const struct ring *waiting = &m->dead.waiting;
	for (uint64_t pos = waiting->first; pos < waiting->end; pos++)
		uncount_dead(m, dead_range_ring_at(waiting, pos));
}

static int compare_index(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static bool is_sorted(const uint64_t *a, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (a[i] < a[i - 1])
			return false;
	}
	return true;
}

static void put_indexes(const struct lane *l, struct buf *out)
{
	for (uint64_t pos = l->runs.first; pos < l->runs.end; pos++)
		buf_put_u64le(out, run_ring_at(&l->runs, pos)->index);
}

/* The entries, from the runs of all lanes. */
static void restore_entries(struct machine *m)
{
	struct buf all = BUF_EMPTY;
	for (unsigned level = 0; level < m->lanes_n; level++)
		put_indexes(&m->lanes[level], &all);
	put_indexes(&m->refused, &all);
	uint64_t *a = (uint64_t *)all.p;
	size_t n = all.n / sizeof *a;
	if (!is_sorted(a, n)) /* they are if there is one lane */
		qsort(a, n, sizeof *a, compare_index);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && a[i] == a[i - 1])
			entries_add(&m->entries);
		else
			entries_begin(&m->entries, a[i]);
	}
	buf_done(&all);
}

static void check_claims(struct restore *x)
{
	for (unsigned i = 0; i <= x->m->lanes_n; i++)
		check(x, x->claims[i].left == 0);
}

static void claims_free(struct restore *x)
{
	if (x->claims == NULL)
		return;
	for (unsigned i = 0; i <= x->m->lanes_n; i++)
		mem_free(x->claims[i].taken);
	mem_free(x->claims);
}

static void check_gone(struct restore *x)
{
	const struct machine *m = x->m;
	bool empty = ring_n(&m->refused.runs) == 0 && list_empty(&m->consumers.all);
	for (unsigned level = 0; level < m->lanes_n; level++)
		empty = empty && ring_n(&m->lanes[level].runs) == 0;
	check(x, empty || !m->gone);
}

static void read_all(struct restore *x)
{
	void (*const parts[])(struct restore *) = {read_head, read_publishers, read_lanes,
		read_consumers, read_dead_letters, check_claims, check_gone};
	for (size_t i = 0; i < sizeof parts / sizeof *parts && !x->r.bad; i++)
		parts[i](x);
	check(x, reader_left(&x->r) == 0);
}

int machine_restore(struct machine *m, struct slice data, uint64_t memory_max)
{
	if (data.n < MACHINE_SNAPSHOT_HASH)
		return -1;
	size_t n = data.n - MACHINE_SNAPSHOT_HASH;
	if (load_u64le(data.p + n) != XXH3_64bits(data.p, n))
		return -1;
	struct restore x = {.r = reader_make(data.p, n), .m = m, .memory_left = memory_max};
	read_all(&x);
	claims_free(&x);
	if (x.r.bad)
		return -1;
	restore_counts(m);
	restore_entries(m);
	return 0;
}

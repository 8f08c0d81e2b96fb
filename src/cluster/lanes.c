/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/lanes.h"

#include <assert.h>

enum {
	FIRST = 1,
	LAST = 2,
	GOODBYE = 4,
	TOTAL = 4, /* octets of the message's length */
	BLOCK_FIRST = 256 * 1024,
};

static const unsigned weights[LANES] = {
	[LANE_RAFT] = LANES_WEIGHT_RAFT,
	[LANE_QUEUE] = LANES_WEIGHT_QUEUE,
	[LANE_BULK] = LANES_WEIGHT_BULK,
};

static void put_head(uint8_t *p, size_t n, enum lane lane, unsigned flags)
{
	store_u32le(p, (uint32_t)n);
	p[4] = (uint8_t)lane;
	p[5] = (uint8_t)flags;
	store_u16le(p + 6, 0);
}

/* ---- out ---- */

void lanes_out_init(struct lanes_out *out)
{
	*out = (struct lanes_out){0};
	list_init(&out->gathered);
	for (int i = 0; i < LANES; i++)
		list_init(&out->lane[i].parcels);
}

void lanes_put(struct lanes_out *out, struct parcel *p)
{
	assert(parcel_size(p) <= LANES_MESSAGE_MAX);
	list_push_back(&out->lane[p->lane].parcels, &p->link);
	out->waiting += parcel_size(p);
}

/* A write that is being put together. */
struct gathering {
	struct lanes_out *out;
	struct slice *slices;
	unsigned n; /* slices */
	unsigned frames;
	size_t octets;
	size_t raft, low; /* of them, of RAFT; of QUEUE and BULK */
};

static bool waits(const struct lanes_out *out, enum lane lane)
{
	return !list_empty(&out->lane[lane].parcels);
}

static bool others_wait(const struct lanes_out *out)
{
	return waits(out, LANE_RAFT) || waits(out, LANE_QUEUE) || waits(out, LANE_BULK);
}

/* When its turn is. Who has not waited joins in now. */
static uint64_t turn_of(const struct lanes_out *out, enum lane lane)
{
	uint64_t due = out->lane[lane].due;
	return due > out->clock ? due : out->clock;
}

static void count(struct gathering *g, enum lane lane, size_t n)
{
	struct lanes_out *out = g->out;
	g->octets += n;
	if (lane == LANE_URGENT) {
		out->urgent = others_wait(out) ? out->urgent + n : 0;
		return;
	}
	g->raft += lane == LANE_RAFT ? n : 0;
	g->low += lane >= LANE_QUEUE ? n : 0;
	out->urgent = 0;
	out->clock = turn_of(out, lane);
	out->lane[lane].due = out->clock + n * (LANES_WEIGHT_RAFT * LANES_WEIGHT_QUEUE * LANES_WEIGHT_BULK) / weights[lane];
}

/* What has been written cannot be overtaken: of what may be big a write takes no more than a fragment beyond what
 * it has of entries. */
static size_t room_for(const struct gathering *g, enum lane lane)
{
	if (lane < LANE_QUEUE || g->low <= g->raft)
		return LANES_FRAGMENT_MAX;
	size_t beyond = g->low - g->raft;
	return beyond < LANES_FRAGMENT_MAX ? LANES_FRAGMENT_MAX - beyond : 0;
}

/* The envelope is piece 0, the head piece 1, then the parts. */
static struct slice piece_of(const struct parcel *p, unsigned i)
{
	if (i == 0)
		return slice_make(p->envelope, ENVELOPE_SIZE);
	if (i == 1)
		return p->m->head;
	return slice_make(p->m->parts[i - 2].p, p->m->parts[i - 2].n);
}

/* Appends up to `most` octets of the lane's first message; returns how many. */
static size_t gather_octets(
	struct gathering *g, struct lane_out *l, const struct parcel *p, size_t most)
{
	size_t n = 0;
	if (most > parcel_size(p) - l->sent)
		most = parcel_size(p) - l->sent;
	while (n < most && g->n < LANES_SLICES_MAX) {
		struct slice s = piece_of(p, l->piece);
		s = slice_make(s.p + l->in_piece, s.n - l->in_piece);
		if (s.n > most - n) {
			s.n = most - n;
			l->in_piece += s.n;
		} else {
			l->piece++;
			l->in_piece = 0;
		}
		if (s.n > 0)
			g->slices[g->n++] = s;
		n += s.n;
	}
	return n;
}

static void gather_fragment(struct gathering *g, enum lane lane)
{
	struct lane_out *l = &g->out->lane[lane];
	struct parcel *p = LIST_ENTRY(l->parcels.next, struct parcel, link);
	uint8_t *head = g->out->heads[g->frames++];
	size_t total_n = l->sent == 0 ? TOTAL : 0;
	unsigned flags = l->sent == 0 ? FIRST : 0;
	g->slices[g->n++] = slice_make(head, LANES_FRAME_HEAD + total_n);
	size_t n = gather_octets(g, l, p, room_for(g, lane));
	l->sent += n;
	if (l->sent == parcel_size(p)) {
		flags |= LAST;
		list_remove(&p->link);
		list_push_back(&g->out->gathered, &p->link);
	}
	put_head(head, n + total_n, lane, flags);
	if (flags & FIRST)
		store_u32le(head + LANES_FRAME_HEAD, (uint32_t)parcel_size(p));
	if (flags & LAST)
		l->sent = l->piece = l->in_piece = 0;
	g->out->waiting -= n;
	count(g, lane, n);
}

/* The lane whose turn it is. LANES: nothing waits, or it is for the next write. */
static enum lane pick(const struct gathering *g)
{
	const struct lanes_out *out = g->out;
	enum lane turn = LANES;
	for (enum lane i = LANE_RAFT; i < LANES; i++)
		if (waits(out, i) && (turn == LANES || turn_of(out, i) < turn_of(out, turn)))
			turn = i;
	if (waits(out, LANE_URGENT) && (turn == LANES || out->urgent < LANES_PATIENCE))
		return LANE_URGENT;
	return turn != LANES && room_for(g, turn) > 0 ? turn : LANES;
}

unsigned lanes_gather(struct lanes_out *out, struct slice *slices)
{
	struct gathering g = {.out = out, .slices = slices};
	assert(list_empty(&out->gathered));
	while (g.octets < LANES_WRITE_MAX && g.frames < LANES_FRAMES_MAX &&
		g.n + 2 <= LANES_SLICES_MAX) {
		enum lane lane = pick(&g);
		if (lane == LANES)
			break;
		gather_fragment(&g, lane);
	}
	return g.n;
}

static void all_done(struct list *parcels, bool lost)
{
	struct list *node;
	while ((node = list_pop(parcels)) != NULL) {
		struct parcel *p = LIST_ENTRY(node, struct parcel, link);
		p->done(p, lost);
	}
}

void lanes_written(struct lanes_out *out)
{
	all_done(&out->gathered, false);
}

void lanes_lose(struct lanes_out *out)
{
	all_done(&out->gathered, true);
	for (int i = 0; i < LANES; i++)
		all_done(&out->lane[i].parcels, true);
	lanes_out_init(out);
}

void lanes_put_heartbeat(struct buf *b)
{
	put_head(buf_put(b, LANES_FRAME_HEAD), 0, LANE_URGENT, 0);
}

void lanes_put_goodbye(struct buf *b, const char *sentence)
{
	size_t n = strnlen(sentence, LANES_GOODBYE_MAX);
	put_head(buf_put(b, LANES_FRAME_HEAD), n, LANE_URGENT, GOODBYE);
	buf_put_bytes(b, sentence, n);
}

/* ---- in ---- */

void lanes_in_init(struct lanes_in *in)
{
	*in = (struct lanes_in){0};
}

void lanes_in_done(struct lanes_in *in)
{
	for (int i = 0; i < LANES; i++)
		blob_unref(in->lane[i].blob);
	lanes_in_init(in);
}

static size_t fault(struct lanes_in *in, const char *what)
{
	in->fault = what;
	return 0;
}

static size_t take_goodbye(struct lanes_in *in, const uint8_t *p, size_t n, size_t body)
{
	if (body > LANES_GOODBYE_MAX)
		return fault(in, "a goodbye that is too long");
	if (n < LANES_FRAME_HEAD + body)
		return 0;
	memcpy(in->goodbye, p + LANES_FRAME_HEAD, body);
	in->goodbye[body] = '\0';
	in->over = true;
	return LANES_FRAME_HEAD + body;
}

static size_t take_first(struct lanes_in *in, struct lane_in *l, const uint8_t *p, size_t body)
{
	size_t total = load_u32le(p + LANES_FRAME_HEAD);
	if (l->blob != NULL)
		return fault(in, "a message begins inside another one");
	if (body <= TOTAL || body - TOTAL > LANES_FRAGMENT_MAX)
		return fault(in, "a frame of a size that is not allowed");
	if (total < ENVELOPE_SIZE || total > LANES_MESSAGE_MAX)
		return fault(in, "a message of a size that is not allowed");
	l->blob = blob_new(total < BLOCK_FIRST ? total : BLOCK_FIRST);
	l->total = total;
	l->n = 0;
	in->left = body - TOTAL;
	return LANES_FRAME_HEAD + TOTAL;
}

static size_t take_next(struct lanes_in *in, const struct lane_in *l, size_t body)
{
	if (l->blob == NULL)
		return fault(in, "a message without a beginning");
	if (body == 0 || body > LANES_FRAGMENT_MAX)
		return fault(in, "a frame of a size that is not allowed");
	in->left = body;
	return LANES_FRAME_HEAD;
}

/* A frame's head; returns how many octets it takes, 0 for more that have to come or a fault. */
static size_t take_head(struct lanes_in *in, const uint8_t *p, size_t n)
{
	if (n < LANES_FRAME_HEAD)
		return 0;
	size_t body = load_u32le(p);
	unsigned lane = p[4], flags = p[5];
	if (lane >= LANES || flags > GOODBYE || load_u16le(p + 6) != 0)
		return fault(in, "a frame that makes no sense");
	if (flags == GOODBYE)
		return take_goodbye(in, p, n, body);
	if (flags == 0 && body == 0 && lane == LANE_URGENT)
		return LANES_FRAME_HEAD;
	if ((flags & FIRST) && n < LANES_FRAME_HEAD + TOTAL)
		return 0;
	struct lane_in *l = &in->lane[lane];
	in->at = (uint8_t)lane;
	in->last = flags & LAST;
	size_t used = (flags & FIRST) ? take_first(in, l, p, body) : take_next(in, l, body);
	if (used == 0)
		return 0;
	size_t missing = l->total - l->n;
	if (in->left > missing || (in->left == missing) != in->last)
		return fault(in, "a message whose fragments do not add up");
	return used;
}

/* The block grows with what has come, not with what was announced. */
static void make_room(struct lane_in *l, size_t n)
{
	size_t cap = l->blob->cap;
	if (l->n + n <= cap)
		return;
	while (cap < l->n + n)
		cap *= 2;
	l->blob = blob_grow(l->blob, cap < l->total ? cap : l->total);
}

/* Octets of the present fragment. */
static size_t take_octets(struct lanes_in *in, const uint8_t *p, size_t n)
{
	struct lane_in *l = &in->lane[in->at];
	if (n > in->left)
		n = in->left;
	make_room(l, n);
	memcpy(l->blob->data + l->n, p, n);
	l->n += n;
	in->left -= n;
	return n;
}

size_t lanes_take(
	struct lanes_in *in, const uint8_t *p, size_t n, lanes_message *message, void *arg)
{
	size_t used = 0;
	while (used < n && in->fault == NULL && !in->over) {
		if (in->left == 0) {
			size_t head = take_head(in, p + used, n - used);
			if (head == 0)
				break;
			used += head;
			continue;
		}
		used += take_octets(in, p + used, n - used);
		struct lane_in *l = &in->lane[in->at];
		if (in->left > 0 || !in->last)
			continue;
		struct blob *blob = l->blob;
		l->blob = NULL;
		if (!message(arg, (enum lane)in->at, blob, l->total))
			break;
	}
	return used;
}

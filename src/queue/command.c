/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding and decoding of entries. Layouts of the payloads, little endian (an enqueue's is in the
 * header):
 *
 *   attach       flags = ATTACH_*         consumer u32 | priority i32 | prefetch u32 |
 *                                         credit_bytes u64 | tag
 *   cancel       flags = requeue          consumer u32
 *   credit                                consumer u32 | credit_bytes u64
 *   prefetch                              consumer u32 | prefetch u32
 *   settle       flags = settle_outcome   consumer u32 | from u64 | to u64
 *   get          flags = no_ack           consumer u32
 *   purge, time                           nothing
 *   delete       flags = DELETE_*         nothing
 *   status       flags = touch            nothing
 *   config       flags = CONFIG_*         message_ttl_ms u64 | expires_ms u64 | max_length u64 |
 *                                         max_bytes u64 | delivery_limit u64 | overflow u8 |
 *                                         max_priority u8 | dlx_n u32 | dlx | dlx_key
 *   client_down  flags = node             client u64
 *   dead_done                             seq u64
 *
 * A decoder takes exactly these: a payload with bytes to spare or an unknown flag is malformed, for
 * a member that ignored what another one obeyed would hold another state.
 */
#include "src/queue/command.h"

enum { DELETE_IF_UNUSED = 1, DELETE_IF_EMPTY = 2 };
enum {
	CONFIG_SINGLE_ACTIVE = 1,
	CONFIG_AUTO_DELETE = 2,
	CONFIG_DEAD_LETTER = 4,
	CONFIG_DEAD_LETTER_KEY = 8,
	CONFIG_FLAGS = 15
};
enum { TAG_MAX = 255 }; /* an AMQP short string */

/* ---- encoding ---- */

static void put_header(struct buf *b, enum command_type type, unsigned flags, size_t n)
{
	uint8_t *p = buf_put(b, COMMAND_HEADER);
	p[0] = (uint8_t)type;
	p[1] = (uint8_t)flags;
	p[2] = 0;
	p[3] = 0;
	store_u32le(p + 4, (uint32_t)n);
}

void command_put_attach(struct buf *b, const struct command_attach *c)
{
	put_header(b, COMMAND_ATTACH, c->flags, 20 + c->tag.n);
	buf_put_u32le(b, c->consumer);
	buf_put_u32le(b, (uint32_t)c->priority);
	buf_put_u32le(b, c->prefetch);
	buf_put_u64le(b, c->credit_bytes);
	buf_put_slice(b, c->tag);
}

void command_put_cancel(struct buf *b, const struct command_cancel *c)
{
	put_header(b, COMMAND_CANCEL, c->requeue, 4);
	buf_put_u32le(b, c->consumer);
}

void command_put_credit(struct buf *b, const struct command_credit *c)
{
	put_header(b, COMMAND_CREDIT, 0, 12);
	buf_put_u32le(b, c->consumer);
	buf_put_u64le(b, c->credit_bytes);
}

void command_put_prefetch(struct buf *b, const struct command_prefetch *c)
{
	put_header(b, COMMAND_PREFETCH, 0, 8);
	buf_put_u32le(b, c->consumer);
	buf_put_u32le(b, c->prefetch);
}

void command_put_settle(struct buf *b, const struct command_settle *c)
{
	put_header(b, COMMAND_SETTLE, c->outcome, 20);
	buf_put_u32le(b, c->consumer);
	buf_put_u64le(b, c->from);
	buf_put_u64le(b, c->to);
}

void command_put_get(struct buf *b, const struct command_get *c)
{
	put_header(b, COMMAND_GET, c->no_ack, 4);
	buf_put_u32le(b, c->consumer);
}

void command_put_purge(struct buf *b)
{
	put_header(b, COMMAND_PURGE, 0, 0);
}

void command_put_delete(struct buf *b, const struct command_delete *c)
{
	unsigned flags = 0;
	if (c->if_unused)
		flags |= DELETE_IF_UNUSED;
	if (c->if_empty)
		flags |= DELETE_IF_EMPTY;
	put_header(b, COMMAND_DELETE, flags, 0);
}

void command_put_status(struct buf *b, const struct command_status *c)
{
	put_header(b, COMMAND_STATUS, c->touch, 0);
}

static unsigned config_flags(const struct queue_config *c)
{
	unsigned flags = 0;
	if (c->single_active)
		flags |= CONFIG_SINGLE_ACTIVE;
	if (c->auto_delete)
		flags |= CONFIG_AUTO_DELETE;
	if (c->dead_letter)
		flags |= CONFIG_DEAD_LETTER;
	if (c->dead_letter_key)
		flags |= CONFIG_DEAD_LETTER_KEY;
	return flags;
}

void command_put_config(struct buf *b, const struct queue_config *c)
{
	put_header(b, COMMAND_CONFIG, config_flags(c), 46 + c->dlx.n + c->dlx_key.n);
	buf_put_u64le(b, c->message_ttl_ms);
	buf_put_u64le(b, c->expires_ms);
	buf_put_u64le(b, c->max_length);
	buf_put_u64le(b, c->max_bytes);
	buf_put_u64le(b, c->delivery_limit);
	buf_put_u8(b, c->overflow);
	buf_put_u8(b, c->max_priority);
	buf_put_u32le(b, (uint32_t)c->dlx.n);
	buf_put_slice(b, c->dlx);
	buf_put_slice(b, c->dlx_key);
}

void command_put_time(struct buf *b)
{
	put_header(b, COMMAND_TIME, 0, 0);
}

void command_put_client_down(struct buf *b, const struct command_client_down *c)
{
	put_header(b, COMMAND_CLIENT_DOWN, c->node, 8);
	buf_put_u64le(b, c->client);
}

void command_put_dead_done(struct buf *b, uint64_t seq)
{
	put_header(b, COMMAND_DEAD_DONE, 0, 8);
	buf_put_u64le(b, seq);
}

/* ---- decoding ---- */

/* Two short strings and nothing more: whoever reads them later does not ask again. */
static bool envelope_fits(const uint8_t *p, size_t n)
{
	size_t exchange_n = n > 0 ? 1u + p[0] : n;
	return exchange_n < n && exchange_n + 1 + p[exchange_n] == n;
}

/* The enqueue whose header is at h and whose payload is (p, n). */
static bool decode_message(const uint8_t *h, const uint8_t *p, size_t n, struct message *ret)
{
	if (n < COMMAND_ENQUEUE_FIXED)
		return false;
	size_t props_n = load_u32le(p + 4);
	size_t envelope_n = load_u16le(p + 8);
	if (props_n + envelope_n > n - COMMAND_ENQUEUE_FIXED)
		return false;
	ret->flags = h[1];
	ret->level = h[2];
	ret->expiration_ms = load_u32le(p);
	p += COMMAND_ENQUEUE_FIXED;
	if (!envelope_fits(p, envelope_n))
		return false;
	ret->envelope = slice_make(p, envelope_n);
	ret->props = slice_make(p + envelope_n, props_n);
	ret->body = slice_make(
		p + envelope_n + props_n, n - COMMAND_ENQUEUE_FIXED - envelope_n - props_n);
	return true;
}

int command_message_at(const uint8_t *p, size_t n, uint32_t offset, struct message *ret)
{
	if (n < COMMAND_HEADER || offset > n - COMMAND_HEADER)
		return -1;
	const uint8_t *h = p + offset;
	size_t payload_n = load_u32le(h + 4);
	if (h[0] != COMMAND_ENQUEUE || payload_n > n - offset - COMMAND_HEADER)
		return -1;
	struct message m;
	if (!decode_message(h, h + COMMAND_HEADER, payload_n, &m))
		return -1;
	*ret = m;
	return 0;
}

static bool decode_attach(uint8_t flags, struct reader *r, struct command_attach *ret)
{
	ret->flags = flags;
	ret->consumer = get_u32le(r);
	ret->priority = (int32_t)get_u32le(r);
	ret->prefetch = get_u32le(r);
	ret->credit_bytes = get_u64le(r);
	ret->tag = get_slice(r, reader_left(r));
	return flags <= (ATTACH_NO_ACK | ATTACH_EXCLUSIVE | ATTACH_GET) && ret->tag.n <= TAG_MAX;
}

static bool decode_settle(uint8_t flags, struct reader *r, struct command_settle *ret)
{
	ret->outcome = flags;
	ret->consumer = get_u32le(r);
	ret->from = get_u64le(r);
	ret->to = get_u64le(r);
	return flags <= SETTLE_REJECT;
}

static bool decode_delete(uint8_t flags, struct command_delete *ret)
{
	ret->if_unused = flags & DELETE_IF_UNUSED;
	ret->if_empty = flags & DELETE_IF_EMPTY;
	return flags <= (DELETE_IF_UNUSED | DELETE_IF_EMPTY);
}

static bool decode_config(uint8_t flags, struct reader *r, struct queue_config *ret)
{
	ret->message_ttl_ms = get_u64le(r);
	ret->expires_ms = get_u64le(r);
	ret->max_length = get_u64le(r);
	ret->max_bytes = get_u64le(r);
	ret->delivery_limit = get_u64le(r);
	ret->overflow = get_u8(r);
	ret->max_priority = get_u8(r);
	ret->single_active = flags & CONFIG_SINGLE_ACTIVE;
	ret->auto_delete = flags & CONFIG_AUTO_DELETE;
	ret->dead_letter = flags & CONFIG_DEAD_LETTER;
	ret->dead_letter_key = flags & CONFIG_DEAD_LETTER_KEY;
	uint32_t dlx_n = get_u32le(r);
	ret->dlx = get_slice(r, dlx_n);
	ret->dlx_key = get_slice(r, reader_left(r));
	return flags <= CONFIG_FLAGS && ret->overflow <= OVERFLOW_REJECT_DLX;
}

static bool decode_flag(uint8_t flags, bool *ret)
{
	*ret = flags;
	return flags <= 1;
}

/* Everything but an enqueue. False: not a command with these flags; r->bad: too short. */
static bool decode_other(uint8_t flags, struct reader *r, struct command *ret)
{
	switch (ret->type) {
	case COMMAND_ATTACH:
		return decode_attach(flags, r, &ret->u.attach);
	case COMMAND_CANCEL:
		ret->u.cancel.consumer = get_u32le(r);
		return decode_flag(flags, &ret->u.cancel.requeue);
	case COMMAND_CREDIT:
		ret->u.credit.consumer = get_u32le(r);
		ret->u.credit.credit_bytes = get_u64le(r);
		return flags == 0;
	case COMMAND_PREFETCH:
		ret->u.prefetch.consumer = get_u32le(r);
		ret->u.prefetch.prefetch = get_u32le(r);
		return flags == 0;
	case COMMAND_SETTLE:
		return decode_settle(flags, r, &ret->u.settle);
	case COMMAND_GET:
		ret->u.get.consumer = get_u32le(r);
		return decode_flag(flags, &ret->u.get.no_ack);
	case COMMAND_PURGE:
	case COMMAND_TIME:
		return flags == 0;
	case COMMAND_DELETE:
		return decode_delete(flags, &ret->u.del);
	case COMMAND_STATUS:
		return decode_flag(flags, &ret->u.status.touch);
	case COMMAND_CONFIG:
		return decode_config(flags, r, &ret->u.config);
	case COMMAND_CLIENT_DOWN:
		ret->u.client_down.client = get_u64le(r);
		return decode_flag(flags, &ret->u.client_down.node);
	case COMMAND_DEAD_DONE:
		ret->u.dead_done = get_u64le(r);
		return flags == 0;
	default:
		return false;
	}
}

int command_entry_begin(struct reader *r, uint64_t *ret_stamp_ms)
{
	const uint8_t *p = get_bytes(r, COMMAND_ENTRY_HEADER);
	if (p == NULL || p[0] != COMMAND_ENTRY_VERSION || p[1] != COMMAND_ENTRY_KIND)
		return -1;
	*ret_stamp_ms = load_u64le(p + 8);
	return 0;
}

bool command_section_next(struct reader *r, struct section *ret)
{
	if (reader_left(r) == 0)
		return false;
	const uint8_t *p = get_bytes(r, COMMAND_SECTION_HEADER);
	if (p == NULL)
		return false;
	uint32_t bytes = load_u32le(p + 28);
	if (bytes > reader_left(r)) {
		reader_fail(r);
		return false;
	}
	ret->client = load_u64le(p);
	ret->first_seq = load_u64le(p + 8);
	ret->heard = load_u64le(p + 16);
	ret->count = load_u32le(p + 24);
	ret->commands = reader_make(r->p, bytes);
	r->p += bytes;
	return true;
}

bool command_next(struct section *s, const uint8_t *entry, struct command *ret)
{
	struct reader *r = &s->commands;
	if (reader_left(r) == 0)
		return false;
	const uint8_t *h = get_bytes(r, COMMAND_HEADER);
	if (h == NULL)
		return false;
	uint32_t n = load_u32le(h + 4);
	const uint8_t *p = get_bytes(r, n);
	if (p == NULL)
		return false;
	ret->type = h[0];
	ret->offset = (uint32_t)(h - entry);
	bool ok;
	if (__builtin_expect(h[0] == COMMAND_ENQUEUE, 1)) {
		ok = decode_message(h, p, n, &ret->u.enqueue);
	} else {
		struct reader payload = reader_make(p, n);
		ok = decode_other(h[1], &payload, ret) && !payload.bad &&
		     reader_left(&payload) == 0;
	}
	if (!ok)
		reader_fail(r);
	return ok;
}

bool command_section_fits(struct slice s)
{
	struct reader r = reader_of(s);
	struct section section;
	struct command c;
	uint32_t n = 0;
	if (!command_section_next(&r, &section) || reader_left(&r) > 0 || section.client == 0 ||
		section.first_seq > UINT64_MAX - section.count)
		return false;
	if (reader_left(&section.commands) == 0)
		return true;
	while (command_next(&section, s.p, &c))
		n++;
	return !section.commands.bad && n == section.count;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/session and what is below it on a node (catalog, clients, hosts, groups over
 * memory logs), from the octets of one to three clients to those they are sent; src/net/stream.c
 * with a kind of stream that needs no socket.
 *
 *   input := stage u8 | cut u8 | step*            step := what u8 | its choices
 *
 * `stage` is how far a valid client has come before: the fuzzer need not find the handshake. The
 * steps are whole frames around payloads from the input, octets as they are, contents, and things
 * that happen to a connection: time passes, the client stops reading, goes away, another one comes,
 * an alarm is raised, another node tells something. `cut` is how what a client sends is cut into reads.
 *
 * Invariants:
 *  - no octets, and no order of them, do any harm; each turn comes to rest;
 *  - what is sent is what AMQP lets a server say (fake_stream.c);
 *  - a connection that sent nothing wrong yet has reached its stage;
 *  - output that a client does not take stays below PENDING_MAX, memory below MEMORY_MAX;
 *  - a node that is told to stop does, within its time, and nothing is left open, outstanding or
 *    allocated (LeakSanitizer).
 */
#include <malloc.h>

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/table.h"
#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/session/connection.h"
#include "src/session/reply_to.h"
#include "tests/fuzz/fake_stream.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/session_world.h"

#ifdef FUZZ_ASAN
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc has no header with it */
#endif

enum {
	CLIENTS = 3,
	STEPS_MAX = 300,
	CHANNELS = 4,
	PIECES_MAX = 200, /* then the rest at once, for the sake of speed */
	PENDING_MAX =
		20 << 20, /* the session takes no input above 16 MiB; one read may still add */
	MEMORY_MAX = 64 << 20,
	FRAME_MAX = 4096,
};

enum stage {
	STAGE_NOTHING,
	STAGE_GREETED,
	STAGE_STARTED,
	STAGE_TUNED,
	STAGE_OPENED,
	STAGE_CHANNEL,
	STAGE_DECLARED,
	STAGE_CONSUMING,
	STAGE_UNACKED,
	STAGE_CONFIRM,
	STAGE_TX,
	STAGE_REPLY_TO,
	STAGE_DEAD_LETTERS,
	STAGES
};

struct run {
	struct reader in;
	struct world *world;
	struct buf out[CLIENTS]; /* what the client has yet to send */
	unsigned me;             /* the client whose turn it is */
	size_t piece;            /* the most that arrives at once */
	size_t allocated;        /* at the start */
	unsigned flooded;        /* messages of put_flood() */
};

/* ---- a valid client ---- */

static void put_method(struct run *r, uint16_t channel, const struct amqp_method *m)
{
	amqp_method_encode(&r->out[r->me], channel, m);
}

#define METHOD(r, channel, ID, ...) \
	put_method(r, channel, &(struct amqp_method){.id = AMQP_##ID, __VA_ARGS__})

static void put_start_ok(struct run *r)
{
	struct buf t = BUF_EMPTY;
	size_t mark = amqp_table_begin_table(&t, "capabilities");
	amqp_table_put_bool(&t, "consumer_cancel_notify", true);
	amqp_table_put_bool(&t, "authentication_failure_close", true);
	amqp_table_put_bool(&t, "connection.blocked", true);
	amqp_table_end(&t, mark);
	METHOD(r, 0, CONNECTION_START_OK,
		.u.connection_start_ok = {.client_properties = buf_slice(&t),
			.mechanism = slice_str("PLAIN"),
			.response = slice_make("\0guest\0guest", 12),
			.locale = slice_str("en_US")});
	buf_done(&t);
}

static void put_queue(struct run *r, const char *name, bool dead_letters)
{
	struct buf t = BUF_EMPTY;
	if (dead_letters) {
		amqp_table_put_string(&t, "x-dead-letter-exchange", slice_str(""));
		amqp_table_put_string(&t, "x-dead-letter-routing-key", slice_str("q"));
		amqp_table_put_int(&t, "x-max-length", 2);
		amqp_table_put_int(&t, "x-message-ttl", 3000);
	}
	METHOD(r, 1, QUEUE_DECLARE,
		.u.queue_declare = {.queue = slice_str(name), .arguments = buf_slice(&t)});
	METHOD(r, 1, QUEUE_BIND,
		.u.queue_bind = {.queue = slice_str(name),
			.exchange = slice_str("amq.topic"),
			.routing_key = slice_str("a.#")});
	buf_done(&t);
}

static void put_publish(struct run *r, uint16_t channel, const char *exchange, struct slice key,
	struct slice props, struct slice body, unsigned bits)
{
	METHOD(r, channel, BASIC_PUBLISH,
		.u.basic_publish = {.exchange = slice_str(exchange),
			.routing_key = key,
			.mandatory = bits & 1,
			.immediate = bits & 2});
	amqp_put_content(&r->out[r->me], channel, FRAME_MAX, AMQP_CLASS_BASIC, props, body);
}

static void put_plain(struct run *r, const char *queue, const char *body)
{
	put_publish(r, 1, "", slice_str(queue), slice_make("\0\0", 2), slice_str(body), 0);
}

static void put_consume(struct run *r, const char *queue, bool no_ack)
{
	METHOD(r, 1, BASIC_CONSUME,
		.u.basic_consume = {.queue = slice_str(queue),
			.consumer_tag = slice_str("t"),
			.no_ack = no_ack});
}

static void put_handshake(struct run *r, enum stage to)
{
	if (to >= STAGE_GREETED)
		buf_put_bytes(&r->out[r->me], AMQP_GREETING, AMQP_GREETING_SIZE);
	if (to >= STAGE_STARTED)
		put_start_ok(r);
	if (to >= STAGE_TUNED)
		METHOD(r, 0, CONNECTION_TUNE_OK,
			.u.connection_tune_ok = {
				.channel_max = CHANNELS, .frame_max = FRAME_MAX, .heartbeat = 10});
	if (to >= STAGE_OPENED)
		METHOD(r, 0, CONNECTION_OPEN, .u.connection_open.virtual_host = slice_str("/"));
	if (to >= STAGE_CHANNEL)
		METHOD(r, 1, CHANNEL_OPEN, .u = {{0}});
	if (to >= STAGE_DECLARED)
		put_queue(r, "q", false);
}

static void put_stage(struct run *r, enum stage to)
{
	put_handshake(r, to);
	switch (to) {
	case STAGE_CONSUMING:
		put_consume(r, "q", false);
		break;
	case STAGE_UNACKED:
		METHOD(r, 1, BASIC_QOS, .u.basic_qos.prefetch_count = 2);
		put_consume(r, "q", false);
		put_plain(r, "q", "one");
		put_plain(r, "q", "two");
		put_plain(r, "q", "three");
		break;
	case STAGE_CONFIRM:
		METHOD(r, 1, CONFIRM_SELECT, .u = {{0}});
		put_plain(r, "q", "one");
		break;
	case STAGE_TX:
		METHOD(r, 1, TX_SELECT, .u = {{0}});
		put_plain(r, "q", "one");
		break;
	case STAGE_REPLY_TO:
		put_consume(r, "amq.rabbitmq.reply-to", true);
		break;
	case STAGE_DEAD_LETTERS:
		put_queue(r, "d", true);
		put_plain(r, "d", "one");
		put_plain(r, "d", "two");
		put_plain(r, "d", "three");
		break;
	default:
		break;
	}
}

/* ---- sending ---- */

static size_t allocated(void)
{
#ifdef FUZZ_ASAN
	return __sanitizer_get_current_allocated_bytes();
#else
	return mallinfo2().uordblks;
#endif
}

static void check_bounds(const struct run *r)
{
	CHECK(fake_pending_most() <= PENDING_MAX);
	CHECK(allocated() - r->allocated <= MEMORY_MAX || allocated() < r->allocated);
}

/* As much of what the client has to send as is taken. */
static void send_on(struct run *r, unsigned client)
{
	struct buf *b = &r->out[client];
	size_t at = 0;
	for (unsigned i = 0; at < b->n; i++) {
		size_t most = i < PIECES_MAX ? r->piece : SIZE_MAX;
		size_t n = b->n - at < most ? b->n - at : most;
		struct slice piece = fuzz_exact(slice_make(b->p + at, n));
		size_t taken = fake_arrive((int)client, piece);
		fuzz_free(piece);
		world_turn(r->world);
		if (taken == 0)
			break;
		at += taken;
	}
	if (fake_stream((int)client) == NULL)
		at = b->n;
	buf_consume(b, at);
	check_bounds(r);
}

static void send_all(struct run *r)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		send_on(r, i);
}

static void come(struct run *r, unsigned client, enum stage stage)
{
	if (fake_stream((int)client) != NULL)
		return;
	r->me = client;
	buf_clear(&r->out[client]);
	connection_new(world_env(r->world), (int)client);
	put_stage(r, stage);
	send_on(r, client);
}

/* ---- steps ---- */

static struct slice some_payload(struct run *r)
{
	uint8_t n = get_u8(&r->in);
	return fuzz_take(&r->in, n);
}

static void put_frame(struct run *r, uint8_t type)
{
	struct buf *b = &r->out[r->me];
	uint8_t channel = get_u8(&r->in);
	size_t mark = amqp_frame_begin(b, type, channel < 240 ? channel % CHANNELS : channel);
	buf_put_slice(b, some_payload(r));
	amqp_frame_end(b, mark);
}

static void put_content(struct run *r)
{
	static const char *const exchanges[] = {"", "amq.topic", "amq.headers", "x"};
	static const char *const keys[] = {"q", "d", "a.b", ""};
	static const char cc[] = "\x20\0\0\0\0\x10\2CCA\0\0\0\x08S\0\0\0\3a.b";
	static const char *const props[] = {"\0\0", "\x10\0\2", "\x08\0\5",
		"\x01\0\x03"
		"100",
		"\x02\0\x15"
		"amq.rabbitmq.reply-to",
		cc};
	static const size_t props_n[] = {2, 3, 3, 6, 24, sizeof cc - 1};
	uint8_t what = get_u8(&r->in);
	uint8_t p = get_u8(&r->in) % 8;
	struct slice raw = p < 6 ? slice_make(props[p], props_n[p]) : some_payload(r);
	struct slice body = some_payload(r);
	struct buf big = BUF_EMPTY;
	if (what & 64) { /* more than a frame */
		memset(buf_put(&big, 5000), 'b', 5000);
		body = buf_slice(&big);
	}
	put_publish(r, 1 + (what >> 7), exchanges[what & 3], slice_str(keys[what >> 2 & 3]), raw,
		body, what >> 4 & 3);
	buf_done(&big);
}

static void put_settle(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	uint64_t tag = what >> 4;
	uint16_t channel = 1;
	switch (what & 3) {
	case 0:
		METHOD(r, channel, BASIC_ACK,
			.u.basic_ack = {.delivery_tag = tag, .multiple = what & 4});
		break;
	case 1:
		METHOD(r, channel, BASIC_NACK,
			.u.basic_nack = {
				.delivery_tag = tag, .multiple = what & 4, .requeue = what & 8});
		break;
	case 2:
		METHOD(r, channel, BASIC_REJECT,
			.u.basic_reject = {.delivery_tag = tag, .requeue = what & 8});
		break;
	default:
		METHOD(r, channel, BASIC_RECOVER, .u.basic_recover.requeue = what & 8);
	}
}

/* A queue with some of the arguments that mean something. */
static void put_declare(struct run *r)
{
	static const char *const overflows[] = {
		"drop-head", "reject-publish", "reject-publish-dlx", "?"};
	static const char *const types[] = {"classic", "quorum", "stream", "?"};
	uint16_t what = get_u16le(&r->in);
	struct buf t = BUF_EMPTY;
	if (what & 1)
		amqp_table_put_int(&t, "x-expires", get_u8(&r->in) * 16);
	if (what & 2)
		amqp_table_put_int(&t, "x-max-length", get_u8(&r->in) % 4);
	if (what & 4)
		amqp_table_put_string(&t, "x-overflow", slice_str(overflows[what >> 12 & 3]));
	if (what & 8)
		amqp_table_put_int(&t, "x-max-priority", get_u8(&r->in));
	if (what & 16)
		amqp_table_put_bool(&t, "x-single-active-consumer", what & 4096);
	if (what & 32)
		amqp_table_put_string(&t, "x-queue-type", slice_str(types[what >> 12 & 3]));
	if (what & 64)
		amqp_table_put_int(&t, "x-delivery-limit", get_u8(&r->in) % 4);
	if (what & 128)
		amqp_table_put_string(&t, "x-queue-mode", slice_str(what & 4096 ? "lazy" : "?"));
	if (what & 256)
		amqp_table_put_string(&t, "x-dead-letter-exchange", slice_str("amq.topic"));
	if (what & 512)
		amqp_table_put_string(&t, "x-dead-letter-strategy", slice_str("at-most-once"));
	METHOD(r, 1, QUEUE_DECLARE,
		.u.queue_declare = {.queue = slice_str(what & 1024 ? "f" : "g"),
			.durable = what & 32,
			.auto_delete = what & 2048,
			.nowait = what & 8192,
			.arguments = buf_slice(&t)});
	/* So that what is published with "a..." comes there, too. */
	METHOD(r, 1, QUEUE_BIND,
		.u.queue_bind = {.queue = slice_str(what & 1024 ? "f" : "g"),
			.exchange = slice_str("amq.topic"),
			.routing_key = slice_str("a.*")});
	buf_done(&t);
}

/* An answer to the request that was delivered last. */
static void put_reply(struct run *r)
{
	struct slice to = fake_reply_to();
	if (get_u8(&r->in) & 1)
		METHOD(r, 1, QUEUE_DECLARE, .u.queue_declare = {.queue = to, .passive = true});
	else
		put_publish(r, 1, "", to, slice_make("\0\0", 2), slice_str("reply"), 1);
}

/* More than the buffers between a queue and a client that does not read. */
static void put_flood(struct run *r)
{
	enum { FLOOD_BODY = 60000, FLOOD_MAX = 40 }; /* messages, in all */
	static uint8_t body[FLOOD_BODY];
	unsigned n = get_u8(&r->in) % 32;
	if (r->flooded + n > FLOOD_MAX)
		return;
	r->flooded += n;
	for (unsigned i = 0; i < n; i++)
		put_publish(r, 1, "", slice_str("q"), slice_make("\0\0", 2),
			slice_make(body, sizeof body), 0);
}

/* Methods without much to choose, for the order of things. */
static void put_short(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	uint16_t channel = 1 + (what >> 6 & 1);
	struct slice q = slice_str(what & 128 ? "d" : "q");
	bool bit = what & 32;
	switch (what % 23) {
	case 0:
		METHOD(r, channel, CHANNEL_OPEN, .u = {{0}});
		break;
	case 1:
		METHOD(r, channel, CHANNEL_CLOSE, .u = {{0}});
		break;
	case 2:
		METHOD(r, channel, CHANNEL_CLOSE_OK, .u = {{0}});
		break;
	case 3:
		METHOD(r, channel, CHANNEL_FLOW, .u.channel_flow.active = bit);
		break;
	case 4:
		METHOD(r, channel, TX_SELECT, .u = {{0}});
		break;
	case 5:
		METHOD(r, channel, TX_COMMIT, .u = {{0}});
		break;
	case 6:
		METHOD(r, channel, TX_ROLLBACK, .u = {{0}});
		break;
	case 7:
		METHOD(r, channel, CONFIRM_SELECT, .u.confirm_select.nowait = bit);
		break;
	case 8:
		METHOD(r, channel, BASIC_GET, .u.basic_get = {.queue = q, .no_ack = bit});
		break;
	case 9:
		METHOD(r, channel, BASIC_CANCEL,
			.u.basic_cancel = {.consumer_tag = slice_str("t"), .nowait = bit});
		break;
	case 10:
		METHOD(r, channel, QUEUE_PURGE, .u.queue_purge = {.queue = q, .nowait = bit});
		break;
	case 11:
		METHOD(r, channel, QUEUE_DELETE, .u.queue_delete = {.queue = q, .if_unused = bit});
		break;
	case 12:
		METHOD(r, channel, BASIC_CONSUME,
			.u.basic_consume = {.queue = q,
				.consumer_tag = slice_str(bit ? "t" : ""),
				.exclusive = what & 16});
		break;
	case 13:
		METHOD(r, channel, BASIC_QOS,
			.u.basic_qos = {.prefetch_count = what >> 4 & 3, .global = bit});
		break;
	case 14:
		METHOD(r, channel, EXCHANGE_DECLARE,
			.u.exchange_declare = {.exchange = slice_str("x"),
				.type = slice_str(bit ? "fanout" : "headers"),
				.auto_delete = what & 16});
		break;
	case 15:
		METHOD(r, channel, QUEUE_BIND,
			.u.queue_bind = {
				.queue = q, .exchange = slice_str(bit ? "x" : "amq.headers")});
		break;
	case 16:
		METHOD(r, channel, QUEUE_DECLARE,
			.u.queue_declare = {.queue = slice_str(bit ? "e" : ""),
				.exclusive = true,
				.auto_delete = what & 16});
		break;
	case 17:
		METHOD(r, channel, EXCHANGE_DELETE,
			.u.exchange_delete = {.exchange = slice_str("x"), .if_unused = bit});
		break;
	case 19:
		put_declare(r);
		break;
	case 20:
		put_reply(r);
		break;
	case 21:
		put_flood(r);
		break;
	case 18:
		METHOD(r, 0, CONNECTION_CLOSE, .u = {{0}});
		break;
	default:
		METHOD(r, channel, QUEUE_UNBIND,
			.u.queue_unbind = {.queue = q,
				.exchange = slice_str("amq.topic"),
				.routing_key = slice_str("a.#")});
	}
}

/* What another node says of direct reply-to, perhaps of a requester that there is; or its link goes down. */
static void hear(struct run *r)
{
	struct session_env *env = world_env(r->world);
	uint8_t choice = get_u8(&r->in);
	uint64_t node = WORLD_NODE + 1 + choice % 2;
	if (choice >= 0xf0) {
		reply_to_link_down(env, node);
		return;
	}
	struct buf b = BUF_EMPTY;
	if ((choice & 2) && !list_empty(&env->requesters))
		buf_put_u64le(&b, LIST_ENTRY(env->requesters.next, struct channel, requester)->reply_id);
	buf_put_slice(&b, some_payload(r));
	reply_to_receive(env, node, (choice >> 2) % 4, buf_slice(&b));
	buf_done(&b);
}

static void happen(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	unsigned client = (what >> 4) % CLIENTS;
	switch (what % 8) {
	case 0:
		fake_stall((int)client, true);
		break;
	case 1:
		fake_stall((int)client, false);
		break;
	case 2:
		fake_end((int)client, what & 128 ? "connection reset by peer" : NULL);
		break;
	case 3:
		come(r, client, get_u8(&r->in) % STAGES);
		break;
	case 4:
		session_env_alarm(world_env(r->world), what >> 6);
		break;
	case 5:
		world_time(r->world, 1 + (what >> 3));
		break;
	case 6:
		world_time(r->world, 1000u * (what >> 3));
		break;
	default:
		if (what & 8)
			hear(r);
		else
			r->me = client;
	}
	world_turn(r->world);
	check_bounds(r);
}

static void step(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	switch (what % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		put_frame(r, AMQP_FRAME_METHOD);
		break;
	case 4:
		put_frame(r, AMQP_FRAME_HEADER);
		break;
	case 5:
		put_frame(r, AMQP_FRAME_BODY);
		break;
	case 6:
		put_frame(r, get_u8(&r->in));
		break;
	case 7:
		buf_put_slice(&r->out[r->me], some_payload(r));
		break;
	case 8:
	case 9:
		put_content(r);
		break;
	case 10:
		put_settle(r);
		break;
	case 11:
	case 12:
		put_short(r);
		break;
	default:
		happen(r);
	}
	if (what < 192) /* else more comes in the same turn */
		send_all(r);
}

static const struct connection *first_connection(struct run *r)
{
	const struct list *all = &world_env(r->world)->connections;
	return list_empty(all) ? NULL : LIST_ENTRY(all->next, struct connection, link);
}

static void check_stage(struct run *r, enum stage stage)
{
	static const enum connection_state states[] = {
		CONNECTION_GREETING, CONNECTION_START, CONNECTION_TUNE, CONNECTION_OPENING};
	const struct connection *c = first_connection(r);
	CHECK(c != NULL);
	CHECK(c->state == (stage < STAGE_OPENED ? states[stage] : CONNECTION_OPEN));
	CHECK(c->n_channels == (stage >= STAGE_CHANNEL) && c->busy == 0);
	CHECK(stage != STAGE_UNACKED || fake_contents() == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	log_set_level(LOG_NONE);
	fake_streams_reset();
	struct run r = {.in = reader_make(data, size), .allocated = allocated()};
	r.world = world_new();
	enum stage stage = get_u8(&r.in) % STAGES;
	uint8_t cut = get_u8(&r.in);
	r.piece = SIZE_MAX;
	come(&r, 0, stage);
	check_stage(&r, stage);
	r.piece = cut < 128 ? SIZE_MAX : 1u << (cut & 15);
	for (unsigned i = 0; i < STEPS_MAX && reader_left(&r.in) > 0; i++)
		step(&r);
	send_all(&r);
	/* Half of the runs end without the clients having gone away. */
	for (int i = 0; i < CLIENTS && !(cut & 64); i++)
		fake_end(i, NULL);
	world_turn(r.world);
	world_end(r.world);
	for (unsigned i = 0; i < CLIENTS; i++)
		buf_done(&r.out[i]);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Methods: round trips, every truncation, the wire bytes, and the table against the protocol's
 * JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "src/amqp/frame.h"
#include "src/amqp/method.h"
#include "src/amqp/reply.h"
#include "src/amqp/table.h"
#include "src/base/mem.h"

/* ---- the facts of amqp-rabbitmq-0.9.1.json ---- */

struct fact {
	int class_id;
	int method_id;
	const char *name;
	bool content;
	const char *fields;
};

/* Generated from the JSON, with '-' turned into '_'. */
/* clang-format off */
static const struct fact golden[] = {
	{60, 10, "basic.qos", false, "long:prefetch_size short:prefetch_count bit:global "},
	{60, 11, "basic.qos_ok", false, ""},
	{60, 20, "basic.consume", false,
		"short:ticket shortstr:queue shortstr:consumer_tag bit:no_local "
		"bit:no_ack bit:exclusive bit:nowait table:arguments "},
	{60, 21, "basic.consume_ok", false, "shortstr:consumer_tag "},
	{60, 30, "basic.cancel", false, "shortstr:consumer_tag bit:nowait "},
	{60, 31, "basic.cancel_ok", false, "shortstr:consumer_tag "},
	{60, 40, "basic.publish", true,
		"short:ticket shortstr:exchange shortstr:routing_key bit:mandatory "
		"bit:immediate "},
	{60, 50, "basic.return", true,
		"short:reply_code shortstr:reply_text shortstr:exchange "
		"shortstr:routing_key "},
	{60, 60, "basic.deliver", true,
		"shortstr:consumer_tag longlong:delivery_tag bit:redelivered "
		"shortstr:exchange shortstr:routing_key "},
	{60, 70, "basic.get", false, "short:ticket shortstr:queue bit:no_ack "},
	{60, 71, "basic.get_ok", true,
		"longlong:delivery_tag bit:redelivered shortstr:exchange "
		"shortstr:routing_key long:message_count "},
	{60, 72, "basic.get_empty", false, "shortstr:cluster_id "},
	{60, 80, "basic.ack", false, "longlong:delivery_tag bit:multiple "},
	{60, 90, "basic.reject", false, "longlong:delivery_tag bit:requeue "},
	{60, 100, "basic.recover_async", false, "bit:requeue "},
	{60, 110, "basic.recover", false, "bit:requeue "},
	{60, 111, "basic.recover_ok", false, ""},
	{60, 120, "basic.nack", false, "longlong:delivery_tag bit:multiple bit:requeue "},
	{10, 10, "connection.start", false,
		"octet:version_major octet:version_minor table:server_properties "
		"longstr:mechanisms longstr:locales "},
	{10, 11, "connection.start_ok", false,
		"table:client_properties shortstr:mechanism longstr:response "
		"shortstr:locale "},
	{10, 20, "connection.secure", false, "longstr:challenge "},
	{10, 21, "connection.secure_ok", false, "longstr:response "},
	{10, 30, "connection.tune", false, "short:channel_max long:frame_max short:heartbeat "},
	{10, 31, "connection.tune_ok", false, "short:channel_max long:frame_max short:heartbeat "},
	{10, 40, "connection.open", false, "shortstr:virtual_host shortstr:capabilities bit:insist "},
	{10, 41, "connection.open_ok", false, "shortstr:known_hosts "},
	{10, 50, "connection.close", false,
		"short:reply_code shortstr:reply_text short:class_id short:method_id "},
	{10, 51, "connection.close_ok", false, ""},
	{10, 60, "connection.blocked", false, "shortstr:reason "},
	{10, 61, "connection.unblocked", false, ""},
	{10, 70, "connection.update_secret", false, "longstr:new_secret shortstr:reason "},
	{10, 71, "connection.update_secret_ok", false, ""},
	{20, 10, "channel.open", false, "shortstr:out_of_band "},
	{20, 11, "channel.open_ok", false, "longstr:channel_id "},
	{20, 20, "channel.flow", false, "bit:active "},
	{20, 21, "channel.flow_ok", false, "bit:active "},
	{20, 40, "channel.close", false,
		"short:reply_code shortstr:reply_text short:class_id short:method_id "},
	{20, 41, "channel.close_ok", false, ""},
	{30, 10, "access.request", false,
		"shortstr:realm bit:exclusive bit:passive bit:active bit:write bit:read "},
	{30, 11, "access.request_ok", false, "short:ticket "},
	{40, 10, "exchange.declare", false,
		"short:ticket shortstr:exchange shortstr:type bit:passive bit:durable "
		"bit:auto_delete bit:internal bit:nowait table:arguments "},
	{40, 11, "exchange.declare_ok", false, ""},
	{40, 20, "exchange.delete", false, "short:ticket shortstr:exchange bit:if_unused bit:nowait "},
	{40, 21, "exchange.delete_ok", false, ""},
	{40, 30, "exchange.bind", false,
		"short:ticket shortstr:destination shortstr:source shortstr:routing_key "
		"bit:nowait table:arguments "},
	{40, 31, "exchange.bind_ok", false, ""},
	{40, 40, "exchange.unbind", false,
		"short:ticket shortstr:destination shortstr:source shortstr:routing_key "
		"bit:nowait table:arguments "},
	{40, 51, "exchange.unbind_ok", false, ""},
	{50, 10, "queue.declare", false,
		"short:ticket shortstr:queue bit:passive bit:durable bit:exclusive "
		"bit:auto_delete bit:nowait table:arguments "},
	{50, 11, "queue.declare_ok", false, "shortstr:queue long:message_count long:consumer_count "},
	{50, 20, "queue.bind", false,
		"short:ticket shortstr:queue shortstr:exchange shortstr:routing_key "
		"bit:nowait table:arguments "},
	{50, 21, "queue.bind_ok", false, ""},
	{50, 30, "queue.purge", false, "short:ticket shortstr:queue bit:nowait "},
	{50, 31, "queue.purge_ok", false, "long:message_count "},
	{50, 40, "queue.delete", false,
		"short:ticket shortstr:queue bit:if_unused bit:if_empty bit:nowait "},
	{50, 41, "queue.delete_ok", false, "long:message_count "},
	{50, 50, "queue.unbind", false,
		"short:ticket shortstr:queue shortstr:exchange shortstr:routing_key "
		"table:arguments "},
	{50, 51, "queue.unbind_ok", false, ""},
	{90, 10, "tx.select", false, ""},
	{90, 11, "tx.select_ok", false, ""},
	{90, 20, "tx.commit", false, ""},
	{90, 21, "tx.commit_ok", false, ""},
	{90, 30, "tx.rollback", false, ""},
	{90, 31, "tx.rollback_ok", false, ""},
	{85, 10, "confirm.select", false, "bit:nowait "},
	{85, 11, "confirm.select_ok", false, ""},
};

/* The same from method.def. */
static const struct fact ours[] = {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields)                      \
	{class_id, method_id, dotted, content, "" fields},
#define AMQP_OCTET(f) "octet:" #f " "
#define AMQP_SHORT(f) "short:" #f " "
#define AMQP_LONG(f) "long:" #f " "
#define AMQP_LONGLONG(f) "longlong:" #f " "
#define AMQP_BIT(f) "bit:" #f " "
#define AMQP_SHORTSTR(f) "shortstr:" #f " "
#define AMQP_LONGSTR(f) "longstr:" #f " "
#define AMQP_TABLE(f) "table:" #f " "
#include "src/amqp/method.def"
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct fact *find_ours(const struct fact *g)
{
	for (size_t i = 0; i < COUNT(ours); i++)
		if (ours[i].class_id == g->class_id && ours[i].method_id == g->method_id)
			return &ours[i];
	return NULL;
}

static void the_table_agrees_with_the_protocol_json(void **state)
{
	(void)state;
	assert_int_equal(COUNT(ours), COUNT(golden));
	for (size_t i = 0; i < COUNT(golden); i++) {
		const struct fact *g = &golden[i];
		const struct fact *o = find_ours(g);
		uint32_t id = AMQP_METHOD_ID(g->class_id, g->method_id);
		assert_non_null(o);
		assert_string_equal(o->name, g->name);
		assert_string_equal(o->fields, g->fields);
		assert_int_equal(o->content, g->content);
		assert_string_equal(amqp_method_name(id), g->name);
		assert_int_equal(amqp_method_has_content(id), g->content);
	}
}

static void ids_are_class_and_method(void **state)
{
	(void)state;
	assert_int_equal(AMQP_BASIC_PUBLISH, 60 << 16 | 40);
	assert_int_equal(amqp_method_class(AMQP_EXCHANGE_UNBIND_OK), AMQP_CLASS_EXCHANGE);
	assert_int_equal(amqp_method_number(AMQP_EXCHANGE_UNBIND_OK), 51);
	assert_string_equal(amqp_method_name(0), "unknown");
	assert_false(amqp_method_has_content(0));
}

/* ---- random methods ---- */

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint8_t letters[256];
static struct buf table_bytes;

static struct slice random_string(size_t max)
{
	return slice_make(letters, rnd() % (max + 1));
}

static struct slice random_table(void)
{
	return slice_make(table_bytes.p, rnd() % 4 == 0 ? 0 : table_bytes.n);
}

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof letters; i++)
		letters[i] = (uint8_t)('a' + i % 26);
	amqp_table_put_string(&table_bytes, "x-queue-type", slice_str("quorum"));
	amqp_table_put_int(&table_bytes, "x-max-length", 10);
	amqp_table_end(&table_bytes, amqp_table_begin_table(&table_bytes, "nothing"));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buf_done(&table_bytes);
	return 0;
}

#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	static void fill_##name(struct amqp_##name *m)                        \
	{                                                                     \
		(void)m;                                                      \
		fields                                                        \
	}
#define AMQP_OCTET(f) m->f = (uint8_t)rnd();
#define AMQP_SHORT(f) m->f = (uint16_t)rnd();
#define AMQP_LONG(f) m->f = (uint32_t)rnd();
#define AMQP_LONGLONG(f) m->f = rnd();
#define AMQP_BIT(f) m->f = rnd() & 1;
#define AMQP_SHORTSTR(f) m->f = random_string(255);
#define AMQP_LONGSTR(f) m->f = random_string(256);
#define AMQP_TABLE(f) m->f = random_table();
#include "src/amqp/method.def"

#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields)               \
	static void assert_##name(const struct amqp_##name *m, const struct amqp_##name *o) \
	{                                                                                   \
		(void)m;                                                                    \
		(void)o;                                                                    \
		fields                                                                      \
	}
#define AMQP_OCTET(f) assert_int_equal(m->f, o->f);
#define AMQP_SHORT(f) assert_int_equal(m->f, o->f);
#define AMQP_LONG(f) assert_int_equal(m->f, o->f);
#define AMQP_LONGLONG(f) assert_true(m->f == o->f);
#define AMQP_BIT(f) assert_int_equal(m->f, o->f);
#define AMQP_SHORTSTR(f) assert_true(slice_eq(m->f, o->f));
#define AMQP_LONGSTR(f) assert_true(slice_eq(m->f, o->f));
#define AMQP_TABLE(f) assert_true(slice_eq(m->f, o->f));
#include "src/amqp/method.def"

static void fill(struct amqp_method *m, uint32_t id)
{
	m->id = id;
	switch (id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		fill_##name(&m->u.name);                                      \
		break;
#include "src/amqp/method.def"
	}
}

static void assert_method(const struct amqp_method *m, const struct amqp_method *o)
{
	assert_int_equal(m->id, o->id);
	switch (m->id) {
#define AMQP_METHOD(NAME, name, class_id, method_id, dotted, content, fields) \
	case AMQP_##NAME:                                                     \
		assert_##name(&m->u.name, &o->u.name);                        \
		break;
#include "src/amqp/method.def"
	}
}

static uint32_t id_of(const struct fact *f)
{
	return AMQP_METHOD_ID(f->class_id, f->method_id);
}

/* The payload of the one frame in b. */
static struct slice payload_of(const struct buf *b, uint16_t channel)
{
	struct amqp_frame f;
	assert_int_equal(amqp_frame_parse(buf_slice(b), 0, &f), AMQP_FRAME_READY);
	assert_int_equal(f.type, AMQP_FRAME_METHOD);
	assert_int_equal(f.channel, channel);
	assert_int_equal(f.size, b->n);
	return f.payload;
}

/* Decodes a copy of exactly n octets, so that the sanitizer sees every octet read too many. */
static int decode_copy(struct slice s, struct amqp_method *m)
{
	uint8_t *copy = mem_dup(s.p, s.n);
	int e = amqp_method_decode(slice_make(copy, s.n), m);
	mem_free(copy);
	return e;
}

static void every_method_survives_the_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ours) * 50; i++) {
		struct buf b = BUF_EMPTY;
		struct amqp_method in = {0}, out = {0};
		uint16_t channel = (uint16_t)rnd();
		fill(&in, id_of(&ours[i % COUNT(ours)]));
		amqp_method_encode(&b, channel, &in);
		assert_int_equal(amqp_method_decode(payload_of(&b, channel), &out), 0);
		assert_method(&in, &out);
		buf_done(&b);
	}
}

static void every_truncation_is_an_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ours) * 3; i++) {
		struct buf b = BUF_EMPTY;
		struct amqp_method m = {0};
		uint32_t id = id_of(&ours[i % COUNT(ours)]);
		fill(&m, id);
		amqp_method_encode(&b, 1, &m);
		struct slice whole = payload_of(&b, 1);
		for (size_t n = 0; n < whole.n; n++) {
			int e = decode_copy(slice_make(whole.p, n), &m);
			assert_int_equal(e, AMQP_REPLY_FRAME_ERROR);
			assert_int_equal(m.id, n < 4 ? 0 : id);
		}
		buf_done(&b);
	}
}

static void octets_left_over_are_an_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ours); i++) {
		struct buf b = BUF_EMPTY;
		struct amqp_method m = {0};
		fill(&m, id_of(&ours[i]));
		amqp_method_encode(&b, 1, &m);
		struct slice s = payload_of(&b, 1);
		/* The end octet makes it one too many. */
		int e = amqp_method_decode(slice_make(s.p, s.n + 1), &m);
		assert_int_equal(e, AMQP_REPLY_FRAME_ERROR);
		buf_done(&b);
	}
}

static void flipped_octets_do_no_harm(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ours) * 200; i++) {
		struct buf b = BUF_EMPTY;
		struct amqp_method m = {0};
		fill(&m, id_of(&ours[i % COUNT(ours)]));
		amqp_method_encode(&b, 1, &m);
		struct slice s = payload_of(&b, 1);
		for (int flips = 0; flips < 3; flips++)
			b.p[AMQP_FRAME_PREFIX + rnd() % s.n] = (uint8_t)rnd();
		int e = decode_copy(s, &m);
		assert_true(e == 0 || (e >= 501 && e <= 503));
		buf_done(&b);
	}
}

/* ---- errors ---- */

static int decode_bytes(const void *p, size_t n)
{
	struct amqp_method m;
	return decode_copy(slice_make(p, n), &m);
}

static void unknown_methods_are_invalid_commands(void **state)
{
	(void)state;
	assert_int_equal(decode_bytes("\0\x3C\0\x29", 4), AMQP_REPLY_COMMAND_INVALID);
	assert_int_equal(decode_bytes("\0\x6E\0\x0A", 4), AMQP_REPLY_COMMAND_INVALID);
	assert_int_equal(decode_bytes("\xFF\xFF\xFF\xFF", 4), AMQP_REPLY_COMMAND_INVALID);
}

static int decode_consume_with(struct slice queue, struct slice arguments)
{
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_BASIC_CONSUME};
	m.u.basic_consume.queue = queue;
	m.u.basic_consume.arguments = arguments;
	amqp_method_encode(&b, 1, &m);
	int e = decode_copy(payload_of(&b, 1), &m);
	buf_done(&b);
	return e;
}

static void a_malformed_table_is_a_syntax_error(void **state)
{
	(void)state;
	struct slice none = slice_make(NULL, 0);
	assert_int_equal(decode_consume_with(none, none), 0);
	assert_int_equal(decode_consume_with(none, slice_str("\1aV")), 0);
	assert_int_equal(decode_consume_with(none, slice_str("\1aZ")), AMQP_REPLY_SYNTAX_ERROR);
	assert_int_equal(decode_consume_with(none, slice_str("\1aI")), AMQP_REPLY_SYNTAX_ERROR);
}

static void short_strings_must_be_utf8(void **state)
{
	(void)state;
	struct slice none = slice_make(NULL, 0);
	assert_int_equal(decode_consume_with(slice_str("gr\xC3\xBC\xC3\x9F"
						       "e"),
				 none),
		0);
	assert_int_equal(decode_consume_with(slice_str("gr\xFC\xDF"
						       "e"),
				 none),
		501);
}

/* As in RabbitMQ, for speed. */
static void names_of_publish_may_be_any_octets(void **state)
{
	(void)state;
	assert_int_equal(decode_bytes("\0\x3C\0\x28\0\0\1\xFF\1\xFE\0", 11), 0);
}

static void long_short_strings_are_cut(void **state)
{
	(void)state;
	uint8_t many[300];
	memset(many, 'k', sizeof many);
	struct buf b = BUF_EMPTY;
	struct amqp_method m = {.id = AMQP_CHANNEL_CLOSE}, out;
	m.u.channel_close.reply_text = slice_make(many, sizeof many);
	amqp_method_encode(&b, 1, &m);
	assert_int_equal(amqp_method_decode(payload_of(&b, 1), &out), 0);
	assert_int_equal(out.u.channel_close.reply_text.n, 255);
	buf_done(&b);
}

/* ---- bytes ---- */

static void assert_encodes(const struct amqp_method *m, const char *bytes, size_t n)
{
	struct buf b = BUF_EMPTY;
	amqp_method_encode(&b, 1, m);
	assert_int_equal(b.n, n);
	assert_memory_equal(b.p, bytes, n);
	buf_done(&b);
}

static void queue_declare_has_its_bytes(void **state)
{
	(void)state;
	static const char bytes[] = "\x01\0\x01\0\0\0\x1A"
				    "\0\x32\0\x0A\0\0\4work\x0A"
				    "\0\0\0\x0A"
				    "\4x-mlI\0\0\0\x05"
				    "\xCE";
	struct amqp_method m = {.id = AMQP_QUEUE_DECLARE};
	m.u.queue_declare.queue = slice_str("work");
	m.u.queue_declare.durable = true;
	m.u.queue_declare.auto_delete = true;
	m.u.queue_declare.arguments = slice_make(bytes + 23, 10);
	assert_encodes(&m, bytes, sizeof bytes - 1);
}

static void basic_deliver_has_its_bytes(void **state)
{
	(void)state;
	static const char bytes[] = "\x01\0\x01\0\0\0\x18"
				    "\0\x3C\0\x3C\3tag\0\0\0\0\0\0\x01\x02\1\2ex\3key"
				    "\xCE";
	struct amqp_method m = {.id = AMQP_BASIC_DELIVER};
	m.u.basic_deliver.consumer_tag = slice_str("tag");
	m.u.basic_deliver.delivery_tag = 0x102;
	m.u.basic_deliver.redelivered = true;
	m.u.basic_deliver.exchange = slice_str("ex");
	m.u.basic_deliver.routing_key = slice_str("key");
	assert_encodes(&m, bytes, sizeof bytes - 1);
}

static void connection_tune_has_its_bytes(void **state)
{
	(void)state;
	static const char bytes[] = "\x01\0\x01\0\0\0\x0C\0\x0A\0\x1E\x07\xFF\0\2\0\0\0\x3C\xCE";
	struct amqp_method m = {.id = AMQP_CONNECTION_TUNE};
	m.u.connection_tune.channel_max = 2047;
	m.u.connection_tune.frame_max = 131072;
	m.u.connection_tune.heartbeat = 60;
	assert_encodes(&m, bytes, sizeof bytes - 1);
}

static void publish_lends_its_names_as_they_came(void **state)
{
	(void)state;
	static const char bytes[] = "\0\x3C\0\x28\0\0\2ex\3key\1";
	struct amqp_method m;
	assert_int_equal(amqp_method_decode(slice_make(bytes, sizeof bytes - 1), &m), 0);
	assert_true(m.u.basic_publish.mandatory);
	assert_false(m.u.basic_publish.immediate);
	assert_true(slice_is(amqp_publish_names(&m.u.basic_publish), "\2ex\3key"));
}

static void publish_lends_empty_names_too(void **state)
{
	(void)state;
	struct amqp_method m;
	assert_int_equal(amqp_method_decode(slice_make("\0\x3C\0\x28\0\0\0\0\2", 9), &m), 0);
	assert_true(m.u.basic_publish.immediate);
	struct slice names = amqp_publish_names(&m.u.basic_publish);
	assert_int_equal(names.n, 2);
	assert_memory_equal(names.p, "\0\0", 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_agrees_with_the_protocol_json),
		cmocka_unit_test(ids_are_class_and_method),
		cmocka_unit_test(every_method_survives_the_round_trip),
		cmocka_unit_test(every_truncation_is_an_error),
		cmocka_unit_test(octets_left_over_are_an_error),
		cmocka_unit_test(flipped_octets_do_no_harm),
		cmocka_unit_test(unknown_methods_are_invalid_commands),
		cmocka_unit_test(a_malformed_table_is_a_syntax_error),
		cmocka_unit_test(short_strings_must_be_utf8),
		cmocka_unit_test(names_of_publish_may_be_any_octets),
		cmocka_unit_test(long_short_strings_are_cut),
		cmocka_unit_test(queue_declare_has_its_bytes),
		cmocka_unit_test(basic_deliver_has_its_bytes),
		cmocka_unit_test(connection_tune_has_its_bytes),
		cmocka_unit_test(publish_lends_its_names_as_they_came),
		cmocka_unit_test(publish_lends_empty_names_too),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

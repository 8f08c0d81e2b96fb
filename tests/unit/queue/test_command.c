/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/queue/fixture.h"

static struct command decoded(struct buf *b)
{
	struct section s = {.count = 1, .commands = reader_make(b->p, b->n)};
	struct command c;
	assert_true(command_next(&s, b->p, &c));
	assert_int_equal(reader_left(&s.commands), 0);
	return c;
}

static bool decodes(const uint8_t *p, size_t n)
{
	struct section s = {.count = 1, .commands = reader_make(p, n)};
	struct command c;
	bool ok = command_next(&s, p, &c);
	if (!ok && n > 0)
		assert_true(s.commands.bad);
	return ok && reader_left(&s.commands) == 0;
}

static void every_command_is_read_as_it_was_written(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct command c;

	command_put_attach(&b, &(struct command_attach){7, ATTACH_NO_ACK | ATTACH_GET, -5, 10,
				       1 << 20, slice_str("ctag")});
	c = decoded(&b);
	assert_int_equal(c.type, COMMAND_ATTACH);
	assert_int_equal(c.u.attach.consumer, 7);
	assert_int_equal(c.u.attach.flags, ATTACH_NO_ACK | ATTACH_GET);
	assert_int_equal(c.u.attach.priority, -5);
	assert_int_equal(c.u.attach.prefetch, 10);
	assert_int_equal(c.u.attach.credit_bytes, 1 << 20);
	assert_true(slice_is(c.u.attach.tag, "ctag"));

	buf_clear(&b);
	command_put_cancel(&b, &(struct command_cancel){8, true});
	c = decoded(&b);
	assert_int_equal(c.u.cancel.consumer, 8);
	assert_true(c.u.cancel.requeue);

	buf_clear(&b);
	command_put_credit(&b, &(struct command_credit){9, UINT64_MAX - 1});
	c = decoded(&b);
	assert_int_equal(c.u.credit.consumer, 9);
	assert_int_equal(c.u.credit.credit_bytes, UINT64_MAX - 1);

	buf_clear(&b);
	command_put_prefetch(&b, &(struct command_prefetch){9, 300});
	c = decoded(&b);
	assert_int_equal(c.u.prefetch.consumer, 9);
	assert_int_equal(c.u.prefetch.prefetch, 300);

	buf_clear(&b);
	command_put_settle(&b, &(struct command_settle){10, SETTLE_REJECT, 3, 9});
	c = decoded(&b);
	assert_int_equal(c.u.settle.consumer, 10);
	assert_int_equal(c.u.settle.outcome, SETTLE_REJECT);
	assert_int_equal(c.u.settle.from, 3);
	assert_int_equal(c.u.settle.to, 9);

	buf_clear(&b);
	command_put_get(&b, &(struct command_get){11, true});
	c = decoded(&b);
	assert_int_equal(c.u.get.consumer, 11);
	assert_true(c.u.get.no_ack);

	buf_clear(&b);
	command_put_delete(&b, &(struct command_delete){false, true});
	c = decoded(&b);
	assert_false(c.u.del.if_unused);
	assert_true(c.u.del.if_empty);

	buf_clear(&b);
	command_put_status(&b, &(struct command_status){true});
	assert_true(decoded(&b).u.status.touch);

	buf_clear(&b);
	command_put_client_down(
		&b, &(struct command_client_down){client_id_make(2, 70000, 3), true});
	c = decoded(&b);
	assert_true(c.u.client_down.node);
	assert_int_equal(client_id_node(c.u.client_down.client), 2);
	assert_int_equal(client_id_incarnation(c.u.client_down.client), 70000);
	assert_int_equal(client_id_worker(c.u.client_down.client), 3);

	buf_clear(&b);
	command_put_dead_done(&b, 1234567890123);
	assert_int_equal(decoded(&b).u.dead_done, 1234567890123);

	buf_clear(&b);
	command_put_purge(&b);
	assert_int_equal(decoded(&b).type, COMMAND_PURGE);
	buf_clear(&b);
	command_put_time(&b);
	assert_int_equal(decoded(&b).type, COMMAND_TIME);
	buf_done(&b);
}

static const struct queue_config some_config = {
	.message_ttl_ms = 1,
	.expires_ms = 2,
	.max_length = 3,
	.max_bytes = 4,
	.delivery_limit = 5,
	.overflow = OVERFLOW_REJECT_DLX,
	.max_priority = 10,
	.single_active = true,
	.dead_letter = true,
	.dlx = {(const uint8_t *)"dlx", 3},
	.dlx_key = {(const uint8_t *)"a.key", 5},
};

static void a_config_is_read_as_it_was_written(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	command_put_config(&b, &some_config);
	struct command c = decoded(&b);
	assert_int_equal(c.u.config.message_ttl_ms, 1);
	assert_int_equal(c.u.config.expires_ms, 2);
	assert_int_equal(c.u.config.max_length, 3);
	assert_int_equal(c.u.config.max_bytes, 4);
	assert_int_equal(c.u.config.delivery_limit, 5);
	assert_int_equal(c.u.config.overflow, OVERFLOW_REJECT_DLX);
	assert_int_equal(c.u.config.max_priority, 10);
	assert_true(c.u.config.single_active);
	assert_false(c.u.config.auto_delete);
	assert_true(c.u.config.dead_letter);
	assert_false(c.u.config.dead_letter_key);
	assert_true(slice_is(c.u.config.dlx, "dlx"));
	assert_true(slice_is(c.u.config.dlx_key, "a.key"));
	buf_done(&b);
}

static struct buf some_enqueue(void)
{
	struct buf b = BUF_EMPTY;
	struct message m = {ENQUEUE_PERSISTENT, 3, 5000, slice_str("\2ex\3key"),
		slice_str("properties"), slice_str("the body")};
	command_put_enqueue(buf_put(&b, command_enqueue_size(&m)), &m);
	return b;
}

static void a_message_is_found_by_its_offset(void **state)
{
	(void)state;
	struct buf e = some_enqueue();
	struct buf b = BUF_EMPTY;
	buf_put_bytes(&b, "padding", 7);
	buf_put_slice(&b, buf_slice(&e));
	struct message m;
	assert_int_equal(command_message_at(b.p, b.n, 7, &m), 0);
	assert_int_equal(m.level, 3);
	assert_int_equal(m.flags, ENQUEUE_PERSISTENT);
	assert_int_equal(m.expiration_ms, 5000);
	assert_true(slice_is(m.envelope, "\2ex\3key"));
	assert_true(slice_is(m.props, "properties"));
	assert_true(slice_is(m.body, "the body"));
	for (uint32_t offset = 0; offset < b.n + 9; offset++) {
		if (offset != 7)
			(void)command_message_at(b.p, b.n, offset, &m);
	}
	assert_int_equal(command_message_at(b.p, b.n, UINT32_MAX, &m), -1);
	assert_int_equal(command_message_at(b.p, b.n - 1, 7, &m), -1);
	assert_int_equal(command_message_at(b.p, 0, 0, &m), -1);
	buf_done(&e);
	buf_done(&b);
}

static void an_enqueue_is_laid_out_as_documented(void **state)
{
	(void)state;
	struct buf b = some_enqueue();
	static const uint8_t golden[] = "\1\1\3\0"
					"\45\0\0\0"
					"\210\23\0\0"
					"\12\0\0\0"
					"\7\0\0\0"
					"\2ex\3keypropertiesthe body";
	assert_int_equal(b.n, sizeof golden - 1);
	assert_memory_equal(b.p, golden, b.n);
	buf_done(&b);
}

static void one_byte_less_or_more_is_malformed(void **state)
{
	(void)state;
	struct buf all[6] = {BUF_EMPTY};
	all[0] = some_enqueue();
	command_put_attach(&all[1], &(struct command_attach){.consumer = 1});
	command_put_settle(&all[2], &(struct command_settle){1, SETTLE_ACK, 1, 1});
	command_put_config(&all[3], &some_config);
	command_put_client_down(&all[4], &(struct command_client_down){1, false});
	command_put_get(&all[5], &(struct command_get){1, false});
	for (size_t i = 0; i < 6; i++) {
		struct buf *b = &all[i];
		assert_true(decodes(b->p, b->n));
		for (size_t n = 1; n < b->n; n++) {
			uint8_t *cut = mem_dup(b->p, n); /* so that a sanitizer sees its end */
			assert_false(decodes(cut, n));
			mem_free(cut);
		}
		buf_done(b);
	}
}

static void a_payload_with_bytes_to_spare_is_malformed(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	command_put_cancel(&b, &(struct command_cancel){1, false});
	store_u32le(b.p + 4, 5);
	buf_put_u8(&b, 0);
	assert_false(decodes(b.p, b.n));
	buf_done(&b);
}

static void unknown_types_and_flags_are_malformed(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	command_put_time(&b);
	for (unsigned type = 0; type < 256; type++) {
		b.p[0] = (uint8_t)type;
		bool empty_payload = type == COMMAND_PURGE || type == COMMAND_DELETE ||
				     type == COMMAND_STATUS || type == COMMAND_TIME;
		assert_int_equal(decodes(b.p, b.n), empty_payload);
	}
	b.p[0] = COMMAND_DELETE;
	b.p[1] = 4;
	assert_false(decodes(b.p, b.n));
	b.p[0] = COMMAND_STATUS;
	b.p[1] = 2;
	assert_false(decodes(b.p, b.n));
	buf_clear(&b);
	command_put_settle(&b, &(struct command_settle){1, 3, 1, 1});
	assert_false(decodes(b.p, b.n));
	buf_done(&b);
}

static void lengths_that_overflow_are_malformed(void **state)
{
	(void)state;
	struct buf b = some_enqueue();
	store_u32le(b.p + 12, UINT32_MAX); /* props_n */
	assert_false(decodes(b.p, b.n));
	store_u32le(b.p + 12, 10);
	store_u16le(b.p + 16, UINT16_MAX); /* envelope_n */
	assert_false(decodes(b.p, b.n));
	store_u16le(b.p + 16, 7);
	assert_true(decodes(b.p, b.n));
	store_u32le(b.p + 4, UINT32_MAX); /* bytes */
	assert_false(decodes(b.p, b.n));
	buf_done(&b);
}

/* Who reads the exchange and the key later takes their lengths as they are. */
static void an_envelope_is_two_short_strings_and_nothing_more(void **state)
{
	(void)state;
	static const struct {
		const char *octets;
		size_t n;
		bool good;
	} cases[] = {{"", 0, false}, {"\0", 1, false}, {"\0\0", 2, true}, {"\0\0\0", 3, false},
		{"\1", 1, false}, {"\1x", 2, false}, {"\1x\0", 3, true}, {"\1x\1", 3, false},
		{"\2x\0", 3, false}, {"\377x\0", 3, false}, {"\0\1", 2, false}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct message m = {.envelope = slice_make(cases[i].octets, cases[i].n), .body = slice_str("xyz")};
		struct buf b = BUF_EMPTY;
		command_put_enqueue(buf_put(&b, command_enqueue_size(&m)), &m);
		assert_int_equal(decodes(b.p, b.n), cases[i].good);
		assert_int_equal(command_message_at(b.p, b.n, 0, &m), cases[i].good ? 0 : -1);
		buf_done(&b);
	}
}

static void a_section_from_elsewhere_has_a_client_and_its_length(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	command_put_section_header(buf_put(&b, COMMAND_SECTION_HEADER), 1, 1, 0, 1, COMMAND_HEADER);
	command_put_purge(&b);
	assert_true(command_section_fits(buf_slice(&b)));
	assert_false(command_section_fits(slice_make(b.p, b.n - 1)));
	assert_false(command_section_fits(slice_make(b.p, COMMAND_SECTION_HEADER - 1)));
	assert_false(command_section_fits(slice_make(b.p, 0)));
	store_u64le(b.p, 0);
	assert_false(command_section_fits(buf_slice(&b)));
	buf_done(&b);
}

static void a_section_from_elsewhere_has_the_commands_that_it_counts(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	command_put_section_header(
		buf_put(&b, COMMAND_SECTION_HEADER), 1, 1, 0, 2, 2 * COMMAND_HEADER);
	command_put_purge(&b);
	command_put_purge(&b);
	assert_true(command_section_fits(buf_slice(&b)));
	store_u32le(b.p + 24, 1);
	assert_false(command_section_fits(buf_slice(&b)));
	store_u32le(b.p + 24, 3);
	assert_false(command_section_fits(buf_slice(&b)));
	store_u32le(b.p + 24, 2);
	store_u64le(b.p + 8, UINT64_MAX - 1); /* first_seq */
	assert_false(command_section_fits(buf_slice(&b)));
	store_u64le(b.p + 8, 1);
	b.p[COMMAND_SECTION_HEADER + COMMAND_HEADER] = 200; /* the second one's type */
	assert_false(command_section_fits(buf_slice(&b)));
	/* Those that it counts will never come. */
	store_u32le(b.p + 28, 0);
	assert_true(command_section_fits(slice_make(b.p, COMMAND_SECTION_HEADER)));
	buf_done(&b);
}

static void what_one_section_does_not_cover_the_next_ones_do(void **state)
{
	const uint64_t lasts[] = {7, 8, UINT32_MAX + UINT64_C(6), UINT32_MAX + UINT64_C(7), UINT64_C(1) << 34};
	(void)state;
	for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++) {
		uint64_t at = 7;
		unsigned sections = 0;
		for (; at <= lasts[i]; sections++)
			at += command_section_covers(at, lasts[i]);
		assert_int_equal(at, lasts[i] + 1);
		assert_int_equal(sections, (lasts[i] - 7) / UINT32_MAX + 1);
	}
}

static void sections_follow_one_another(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	buf_put(&b, COMMAND_ENTRY_HEADER);
	command_put_entry_header(b.p, 77);
	for (uint64_t client = 1; client <= 3; client++) {
		command_put_section_header(buf_put(&b, COMMAND_SECTION_HEADER), client, 5, 3, 2, 16);
		command_put_time(&b);
		command_put_purge(&b);
	}
	struct reader r = reader_make(b.p, b.n);
	uint64_t stamp_ms;
	assert_int_equal(command_entry_begin(&r, &stamp_ms), 0);
	assert_int_equal(stamp_ms, 77);
	struct section s;
	struct command c;
	for (uint64_t client = 1; client <= 3; client++) {
		assert_true(command_section_next(&r, &s));
		assert_int_equal(s.client, client);
		assert_int_equal(s.first_seq, 5);
		assert_int_equal(s.count, 2);
		assert_true(command_next(&s, b.p, &c));
		assert_int_equal(b.p[c.offset], COMMAND_TIME);
		assert_true(command_next(&s, b.p, &c));
		assert_int_equal(b.p[c.offset], COMMAND_PURGE);
		assert_false(command_next(&s, b.p, &c));
		assert_false(s.commands.bad);
	}
	assert_false(command_section_next(&r, &s));
	assert_false(r.bad);
	buf_done(&b);
}

static void a_section_longer_than_its_entry_is_malformed(void **state)
{
	(void)state;
	uint8_t p[COMMAND_SECTION_HEADER];
	command_put_section_header(p, 1, 1, 0, 1, 1);
	struct reader r = reader_make(p, sizeof p);
	struct section s;
	assert_false(command_section_next(&r, &s));
	assert_true(r.bad);
	r = reader_make(p, sizeof p - 1);
	assert_false(command_section_next(&r, &s));
	assert_true(r.bad);
}

static void an_entry_of_another_version_is_not_known(void **state)
{
	(void)state;
	uint8_t p[COMMAND_ENTRY_HEADER];
	uint64_t stamp_ms;
	command_put_entry_header(p, 1);
	p[0] = 1;
	struct reader r = reader_make(p, sizeof p);
	assert_int_equal(command_entry_begin(&r, &stamp_ms), -1);
	command_put_entry_header(p, 1);
	p[1] = 'M';
	r = reader_make(p, sizeof p);
	assert_int_equal(command_entry_begin(&r, &stamp_ms), -1);
	r = reader_make(p, sizeof p - 1);
	assert_int_equal(command_entry_begin(&r, &stamp_ms), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_is_read_as_it_was_written),
		cmocka_unit_test(a_config_is_read_as_it_was_written),
		cmocka_unit_test(a_message_is_found_by_its_offset),
		cmocka_unit_test(an_enqueue_is_laid_out_as_documented),
		cmocka_unit_test(one_byte_less_or_more_is_malformed),
		cmocka_unit_test(a_payload_with_bytes_to_spare_is_malformed),
		cmocka_unit_test(unknown_types_and_flags_are_malformed),
		cmocka_unit_test(lengths_that_overflow_are_malformed),
		cmocka_unit_test(an_envelope_is_two_short_strings_and_nothing_more),
		cmocka_unit_test(a_section_from_elsewhere_has_a_client_and_its_length),
		cmocka_unit_test(a_section_from_elsewhere_has_the_commands_that_it_counts),
		cmocka_unit_test(what_one_section_does_not_cover_the_next_ones_do),
		cmocka_unit_test(sections_follow_one_another),
		cmocka_unit_test(a_section_longer_than_its_entry_is_malformed),
		cmocka_unit_test(an_entry_of_another_version_is_not_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

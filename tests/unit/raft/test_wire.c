/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes between members: golden ones for each kind, and broken ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "raft/confs.h"
#include "raft/group_net.h"
#include "raft/heap.h"
#include "raft/terms.h"
#include "raft/wire.h"

struct golden {
	struct wire w;
	const char *list; /* and bytes behind it, in hexadecimal */
	const char *hex;
};

static const struct golden golden[] = {
	{{.kind = WIRE_APPEND,
		 .group = 7,
		 .from = 1,
		 .to = 2,
		 .term = 3,
		 .prev_index = 4,
		 .prev_term = 2,
		 .commit = 5,
		 .n = 2},
		"03000000000000000200000001000000"
		"03000000000000000100000002000000"
		"616263",
		"010100006b000000070000000000000001000000000000000200000000000000"
		"0300000000000000"
		"0400000000000000020000000000000005000000000000000200000000000000"},
	{{.kind = WIRE_APPENDED,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .rejected = 9,
		 .last = 8},
		"",
		"0102000038000000070000000000000002000000000000000100000000000000"
		"030000000000000009000000000000000800000000000000"},
	{{.kind = WIRE_VOTE,
		 .flags = WIRE_DISRUPT | WIRE_PRE_VOTE,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .last = 9,
		 .last_term = 2},
		"",
		"0103030038000000070000000000000002000000000000000100000000000000"
		"030000000000000009000000000000000200000000000000"},
	{{.kind = WIRE_VOTED,
		 .flags = WIRE_GRANTED | WIRE_REAL_VOTE,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3},
		"",
		"01040c0028000000070000000000000002000000000000000100000000000000"
		"0300000000000000"},
	{{.kind = WIRE_TIMEOUT_NOW,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .last = 9,
		 .last_term = 2},
		"",
		"0105000038000000070000000000000002000000000000000100000000000000"
		"030000000000000009000000000000000200000000000000"},
	{{.kind = WIRE_FREEZE,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .last = 9,
		 .last_term = 2},
		"",
		"0106000038000000070000000000000002000000000000000100000000000000"
		"030000000000000009000000000000000200000000000000"},
	{{.kind = WIRE_FROZEN, .group = 7, .from = 2, .to = 1, .term = 3, .last = 9}, "",
		"0107000030000000070000000000000002000000000000000100000000000000"
		"03000000000000000900000000000000"},
	{{.kind = WIRE_REMOVED, .group = 7, .from = 2, .to = 1, .term = 3, .index = 9}, "",
		"0108000030000000070000000000000002000000000000000100000000000000"
		"03000000000000000900000000000000"},
	{{.kind = WIRE_HERE, .group = 7, .from = 2, .to = 1, .term = 3}, "",
		"010d000028000000070000000000000002000000000000000100000000000000"
		"0300000000000000"},
	{{.kind = WIRE_INSTALL,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .stream = 17,
		 .index = 9,
		 .index_term = 2,
		 .conf_index = 1,
		 .data_n = 100,
		 .entries_n = 4},
		"636f6e66",
		"0109000064000000070000000000000002000000000000000100000000000000"
		"0300000000000000"
		"1100000000000000090000000000000002000000000000000100000000000000"
		"640000000000000004000000000000000400000000000000"},
	{{.kind = WIRE_INSTALL_STATE,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .stream = 17,
		 .part = 1},
		"7374617465",
		"010a00003d000000070000000000000002000000000000000100000000000000"
		"030000000000000011000000000000000100000000000000"},
	{{.kind = WIRE_INSTALL_ENTRIES,
		 .group = 7,
		 .from = 2,
		 .to = 1,
		 .term = 3,
		 .stream = 17,
		 .part = 2,
		 .n = 1},
		"05000000000000000100000000000000"
		"78",
		"010b000051000000070000000000000002000000000000000100000000000000"
		"0300000000000000110000000000000002000000000000000100000000000000"},
	{{.kind = WIRE_INSTALL_ACK,
		 .flags = WIRE_DONE,
		 .group = 7,
		 .from = 1,
		 .to = 2,
		 .term = 3,
		 .stream = 17,
		 .part = 3,
		 .index = 9},
		"",
		"010c100040000000070000000000000001000000000000000200000000000000"
		"0300000000000000"
		"110000000000000003000000000000000900000000000000"},
};

static size_t unhex(uint8_t *p, const char *hex)
{
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		p[i] = (uint8_t)v;
	}
	return n;
}

/* A whole message as it has to be. */
static size_t whole(uint8_t *p, const struct golden *g)
{
	size_t n = unhex(p, g->hex);
	return n + unhex(p + n, g->list);
}

static void test_every_kind_has_the_bytes_it_always_had(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
		uint8_t right[256], is[256];
		size_t n = whole(right, &golden[i]);
		size_t more = strlen(golden[i].list) / 2;
		assert_int_equal(wire_encode(is, &golden[i].w, more), n - more);
		assert_true(n - more <= WIRE_FIXED_MAX);
		assert_memory_equal(is, right, n - more);
	}
}

static void test_what_is_written_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
		uint8_t p[256];
		struct wire w;
		const struct wire *x = &golden[i].w;
		size_t n = whole(p, &golden[i]);
		assert_int_equal(wire_decode(&w, slice_make(p, n)), 0);
		assert_int_equal(w.kind, x->kind);
		assert_int_equal(w.flags, x->flags);
		assert_int_equal(w.group, 7);
		assert_int_equal(w.from, x->from);
		assert_int_equal(w.to, x->to);
		assert_int_equal(w.term, 3);
		assert_int_equal(w.prev_index, x->prev_index);
		assert_int_equal(w.prev_term, x->prev_term);
		assert_int_equal(w.commit, x->commit);
		assert_int_equal(w.rejected, x->rejected);
		assert_int_equal(w.last, x->last);
		assert_int_equal(w.last_term, x->last_term);
		assert_int_equal(w.index, x->index);
		assert_int_equal(w.index_term, x->index_term);
		assert_int_equal(w.conf_index, x->conf_index);
		assert_int_equal(w.stream, x->stream);
		assert_int_equal(w.part, x->part);
		assert_int_equal(w.data_n, x->data_n);
		assert_int_equal(w.entries_n, x->entries_n);
		assert_int_equal(w.n, x->n);
		assert_int_equal(w.list.n + w.bytes.n, strlen(golden[i].list) / 2);
	}
	uint8_t p[256];
	struct wire w;
	size_t n = whole(p, &golden[0]);
	assert_int_equal(wire_decode(&w, slice_make(p, n)), 0);
	struct wire_entry e = wire_entry_of(&w, 1);
	assert_int_equal(e.number, 3);
	assert_int_equal(e.n, 1);
	assert_int_equal(e.type, 2);
	assert_memory_equal(w.bytes.p, "abc", 3);
	uint8_t again[WIRE_ENTRY];
	wire_encode_entry(again, &e);
	assert_memory_equal(again, w.list.p + WIRE_ENTRY, WIRE_ENTRY);
}

static void test_a_byte_less_or_more_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
		uint8_t p[256] = {0};
		struct wire w;
		size_t n = whole(p, &golden[i]);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(wire_decode(&w, slice_make(p, k)), WIRE_MALFORMED);
		assert_int_equal(wire_decode(&w, slice_make(p, n + 1)), WIRE_MALFORMED);
		/* The length agrees, what it says does not; a state may have any length. */
		store_u32le(p + 4, (uint32_t)n + 1);
		int rv = wire_decode(&w, slice_make(p, n + 1));
		assert_int_equal(
			rv, golden[i].w.kind == WIRE_INSTALL_STATE ? WIRE_OK : WIRE_MALFORMED);
	}
}

static void test_unknown_versions_kinds_and_lengths_are_refused(void **state)
{
	(void)state;
	uint8_t p[256];
	struct wire w;
	size_t n = whole(p, &golden[0]);
	p[0] = 2;
	assert_int_equal(wire_decode(&w, slice_make(p, n)), WIRE_UNKNOWN_VERSION);
	p[0] = 1;
	p[1] = 99;
	assert_int_equal(wire_decode(&w, slice_make(p, n)), WIRE_UNKNOWN_KIND);
	p[1] = WIRE_APPEND;
	store_u32le(p + 64, UINT32_MAX); /* entries */
	assert_int_equal(wire_decode(&w, slice_make(p, n)), WIRE_MALFORMED);
	store_u32le(p + 64, 2);
	store_u32le(p + 72 + 8, UINT32_MAX); /* bytes of an entry */
	assert_int_equal(wire_decode(&w, slice_make(p, n)), WIRE_MALFORMED);
	assert_int_equal(wire_decode(&w, slice_make(NULL, 0)), WIRE_MALFORMED);
}

static void test_an_address_names_the_node(void **state)
{
	(void)state;
	char a[MEMBER_ADDRESS], b[MEMBER_ADDRESS];
	member_address(a, 3, 0);
	assert_int_equal(member_node(3, a), 3);
	member_address(b, 0xfffffffffffffffeu, 0xffffffffffffffffu);
	assert_true(member_node(0xfffffffffffffffeu, b) == 0xffffffffffffffffu);
	/* As stored before addresses meant something. */
	assert_int_equal(member_node(5, ""), 5);
	member_address(a, 0x10003, 3);
	member_address(b, 0x20003, 3);
	assert_string_not_equal(a, b);
	assert_int_equal(member_node(0x10003, a), 3);
}

static void test_terms_of_a_log(void **state)
{
	(void)state;
	struct terms t = {0};
	assert_int_equal(terms_of(&t, 1), 0);
	for (int i = 0; i < 3; i++)
		terms_push(&t, 1);
	terms_push(&t, 4);
	terms_push(&t, 4);
	assert_int_equal(t.last, 5);
	assert_int_equal(terms_of(&t, 3), 1);
	assert_int_equal(terms_of(&t, 4), 4);
	assert_int_equal(terms_of(&t, 6), 0);
	terms_truncate(&t, 4);
	assert_int_equal(t.last, 3);
	assert_int_equal(terms_of(&t, 4), 0);
	terms_push(&t, 5);
	terms_trim(&t, 3);
	assert_int_equal(terms_of(&t, 2), 0);
	assert_int_equal(terms_of(&t, 3), 1);
	assert_int_equal(terms_of(&t, 4), 5);
	terms_reset(&t, 9, 6);
	assert_int_equal(terms_of(&t, 9), 6);
	assert_int_equal(terms_of(&t, 4), 0);
	terms_push(&t, 7);
	assert_int_equal(terms_of(&t, 10), 7);
	terms_done(&t);
}

static void push_conf(struct confs *c, uint64_t index, unsigned n)
{
	struct raft_configuration conf;
	struct raft_buffer bytes;
	raft_configuration_init(&conf);
	for (unsigned i = 1; i <= n; i++) {
		char address[MEMBER_ADDRESS];
		member_address(address, i, i);
		assert_int_equal(raft_configuration_add(&conf, i, address, RAFT_VOTER), 0);
	}
	assert_int_equal(raft_configuration_encode(&conf, &bytes), 0);
	assert_int_equal(confs_push(c, index, slice_make(bytes.base, bytes.len)), 0);
	raft_configuration_close(&conf);
	raft_free(bytes.base);
}

static void test_configurations_of_a_log(void **state)
{
	(void)state;
	struct confs c = {0};
	assert_null(confs_newest(&c));
	assert_null(confs_find(&c, 3));
	push_conf(&c, 1, 1);
	push_conf(&c, 10, 2);
	push_conf(&c, 20, 3);
	assert_int_equal(confs_newest(&c)->conf.n, 3);
	assert_int_equal(confs_at(&c, 19)->conf.n, 2);
	assert_int_equal(confs_at(&c, 20)->conf.n, 3);
	assert_null(confs_at(&c, 0));
	assert_non_null(conf_find(&confs_newest(&c)->conf, 3));
	assert_null(conf_find(&confs_newest(&c)->conf, 4));
	assert_ptr_equal(confs_find(&c, 3), conf_find(&confs_newest(&c)->conf, 3));
	assert_null(confs_find(&c, 4));
	confs_truncate(&c, 20);
	assert_int_equal(confs_newest(&c)->index, 10);
	confs_trim(&c, 15);
	assert_int_equal(c.n, 1);
	assert_int_equal(confs_at(&c, 15)->conf.n, 2);
	assert_int_equal(confs_push(&c, 30, slice_str("no configuration")), -1);
	confs_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_has_the_bytes_it_always_had),
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_a_byte_less_or_more_is_refused),
		cmocka_unit_test(test_unknown_versions_kinds_and_lengths_are_refused),
		cmocka_unit_test(test_an_address_names_the_node),
		cmocka_unit_test(test_terms_of_a_log),
		cmocka_unit_test(test_configurations_of_a_log),
	};
	heap_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

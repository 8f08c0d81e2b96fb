/* SPDX-License-Identifier: Apache-2.0
 *
 * Field tables: reading, checking, comparing, printing and building.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "src/amqp/table.h"
#include "src/base/mem.h"

#define LITERAL(s) slice_make(s, sizeof(s) - 1)

/* One pair of every type; the key of each is its type. */
static const char every[] = "\1tt\1"
			    "\1bb\xFF"
			    "\1BB\xFF"
			    "\1ss\xFF\xFE"
			    "\1uu\xFF\xFE"
			    "\1II\xFF\xFF\xFF\xFD"
			    "\1ii\xFF\xFF\xFF\xFD"
			    "\1ll\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFC"
			    "\1LL\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFC"
			    "\1ff\x3F\xC0\0\0"
			    "\1dd\x40\x24\0\0\0\0\0\0"
			    "\1DD\2\0\0\1\x3A"
			    "\1SS\0\0\0\3str"
			    "\1xx\0\0\0\2\0\1"
			    "\1AA\0\0\0\x0ES\0\0\0\1aI\0\0\0\1t\0V"
			    "\1TT\0\0\0\0\x5E\x0B\xE1\0"
			    "\1FF\0\0\0\4\1kt\1"
			    "\1VV";

static struct amqp_value get(struct slice table, const char *key)
{
	struct amqp_value v;
	assert_true(amqp_table_get(table, key, &v));
	return v;
}

/* ---- reading ---- */

static void every_type_is_read(void **state)
{
	(void)state;
	struct slice t = LITERAL(every);
	assert_true(amqp_table_check(t));
	assert_int_equal(amqp_table_count(t), 18);
	assert_true(get(t, "t").u.b);
	assert_int_equal(get(t, "b").u.i, -1);
	assert_int_equal(get(t, "B").u.i, 255);
	assert_int_equal(get(t, "s").u.i, -2);
	assert_int_equal(get(t, "u").u.i, 65534);
	assert_int_equal(get(t, "I").u.i, -3);
	assert_true(get(t, "i").u.i == 4294967293);
	assert_int_equal(get(t, "l").u.i, -4);
	assert_int_equal(get(t, "L").u.i, -4);
	assert_true(get(t, "f").u.f == 1.5f);
	assert_true(get(t, "d").u.d == 10.0);
	assert_int_equal(get(t, "D").u.dec.scale, 2);
	assert_int_equal(get(t, "D").u.dec.value, 314);
	assert_true(slice_is(get(t, "S").u.s, "str"));
	assert_true(slice_eq(get(t, "x").u.s, LITERAL("\0\1")));
	assert_int_equal(get(t, "T").u.t, 1577836800);
	assert_true(slice_eq(get(t, "F").u.s, LITERAL("\1kt\1")));
	assert_int_equal(get(t, "V").type, 'V');
}

static void an_array_is_read_in_order(void **state)
{
	(void)state;
	struct reader r = reader_of(get(LITERAL(every), "A").u.s);
	struct amqp_value v;
	assert_true(amqp_array_next(&r, &v));
	assert_true(amqp_value_is_string(&v, "a"));
	assert_true(amqp_array_next(&r, &v));
	assert_true(amqp_value_is_int(&v) && v.u.i == 1);
	assert_true(amqp_array_next(&r, &v));
	assert_true(v.type == 't' && !v.u.b);
	assert_true(amqp_array_next(&r, &v));
	assert_int_equal(v.type, 'V');
	assert_false(amqp_array_next(&r, &v));
	assert_false(r.bad);
}

static void the_first_of_equal_keys_wins(void **state)
{
	(void)state;
	struct slice t = LITERAL("\1aI\0\0\0\1\1aI\0\0\0\2");
	assert_int_equal(get(t, "a").u.i, 1);
}

static void an_absent_key_is_not_found(void **state)
{
	(void)state;
	struct amqp_value v;
	assert_false(amqp_table_get(LITERAL(every), "nope", &v));
	assert_false(amqp_table_get(slice_make(NULL, 0), "nope", &v));
	assert_false(amqp_table_get(LITERAL("\4no"), "nope", &v));
}

/* ---- checking ---- */

static void an_empty_table_is_well_formed(void **state)
{
	(void)state;
	assert_true(amqp_table_check(slice_make(NULL, 0)));
	assert_true(amqp_array_check(slice_make(NULL, 0)));
	assert_int_equal(amqp_table_count(slice_make(NULL, 0)), 0);
}

/* True if the first n octets, in memory of just that size, are a table. */
static bool check_copy(const void *p, size_t n)
{
	uint8_t *copy = mem_dup(p, n);
	bool good = amqp_table_check(slice_make(copy, n));
	mem_free(copy);
	return good;
}

static void a_table_is_well_formed_only_where_a_pair_ends(void **state)
{
	(void)state;
	struct reader r = reader_of(LITERAL(every));
	struct slice key;
	struct amqp_value v;
	bool ends[sizeof every] = {[0] = true};
	while (amqp_table_next(&r, &key, &v))
		ends[r.p - (const uint8_t *)every] = true;
	for (size_t n = 0; n < sizeof every; n++)
		assert_int_equal(check_copy(every, n), ends[n]);
}

static void unknown_types_are_malformed(void **state)
{
	(void)state;
	for (int type = 0; type < 256; type++) {
		char pair[24] = {1, 'k', (char)type};
		bool known = type != 0 && strchr("tbBsuIilLfdDSxATFV", type) != NULL;
		bool some = false;
		for (size_t n = 3; n <= sizeof pair; n++)
			some = some || check_copy(pair, n);
		assert_int_equal(some, known);
	}
}

static void lengths_beyond_the_end_are_malformed(void **state)
{
	(void)state;
	assert_false(check_copy("\1kS\xFF\xFF\xFF\xFFx", 8));
	assert_false(check_copy("\1kF\0\0\0\2\1k", 9));
	assert_false(check_copy("\1kA\0\0\0\1S", 8));
	assert_false(check_copy("\xFF", 1));
	assert_true(check_copy("\0V", 2));
}

/* Tables nested `depth` deep, the outermost one included. */
static void nest(struct buf *b, int depth)
{
	size_t marks[AMQP_TABLE_DEPTH_MAX + 1];
	int n = 0;
	while (n < depth - 1)
		marks[n++] = amqp_table_begin_table(b, "k");
	while (n > 0)
		amqp_table_end(b, marks[--n]);
}

static void nesting_has_a_limit(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	nest(&b, AMQP_TABLE_DEPTH_MAX);
	assert_true(amqp_table_check(buf_slice(&b)));
	buf_clear(&b);
	nest(&b, AMQP_TABLE_DEPTH_MAX + 1);
	assert_false(amqp_table_check(buf_slice(&b)));
	buf_done(&b);
}

static void random_octets_do_no_harm(void **state)
{
	(void)state;
	uint32_t x = 1;
	char text[100];
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[sizeof every];
		memcpy(bytes, every, sizeof every);
		for (int flips = 0; flips < 1 + i % 4; flips++) {
			x = x * 1664525 + 1013904223;
			bytes[(x >> 8) % (sizeof bytes - 1)] = (uint8_t)(x >> 24);
		}
		struct amqp_value v = {.type = 'F', .u.s = slice_make(bytes, sizeof bytes - 1)};
		check_copy(bytes, sizeof bytes - 1);
		amqp_value_print(text, sizeof text, &v);
		amqp_value_equal(&v, &v);
	}
}

/* ---- comparing ---- */

static bool equal(const char *key_a, const char *key_b, struct slice t)
{
	struct amqp_value a = get(t, key_a), b = get(t, key_b);
	return amqp_value_equal(&a, &b);
}

static void integers_of_any_width_are_equal(void **state)
{
	(void)state;
	struct slice t = LITERAL("\1bb\x0A\1BB\x0A\1ss\0\x0A\1uu\0\x0A\1II\0\0\0\x0A\1ii\0\0\0\x0A"
				 "\1ll\0\0\0\0\0\0\0\x0A\1LL\0\0\0\0\0\0\0\x0A\1zI\0\0\0\x0B");
	const char *const keys[] = {"b", "B", "s", "u", "I", "i", "l", "L"};
	for (size_t i = 0; i < 8; i++) {
		for (size_t j = 0; j < 8; j++)
			assert_true(equal(keys[i], keys[j], t));
		assert_false(equal(keys[i], "z", t));
	}
}

static void floats_are_a_class_of_their_own(void **state)
{
	(void)state;
	struct slice t = LITERAL("\1ff\x41\x20\0\0\1dd\x40\x24\0\0\0\0\0\0\1II\0\0\0\x0A");
	assert_true(equal("f", "d", t));
	assert_false(equal("f", "I", t));
	assert_false(equal("d", "I", t));
}

static void other_types_equal_only_themselves(void **state)
{
	(void)state;
	struct slice t = LITERAL(every);
	const char *const keys[] = {"t", "I", "d", "D", "S", "x", "A", "T", "F", "V"};
	for (size_t i = 0; i < 10; i++)
		for (size_t j = 0; j < 10; j++)
			assert_int_equal(equal(keys[i], keys[j], t), i == j);
	assert_false(equal("a", "b", LITERAL("\1aS\0\0\0\1a\1bx\0\0\0\1a")));
}

static void nested_values_compare_with_their_types(void **state)
{
	(void)state;
	assert_true(equal("a", "b", LITERAL("\1aA\0\0\0\2b\1\1bA\0\0\0\2b\1")));
	assert_false(equal("a", "b", LITERAL("\1aA\0\0\0\2b\1\1bA\0\0\0\2B\1")));
	assert_false(equal("a", "b", LITERAL("\1aA\0\0\0\2b\1\1bA\0\0\0\2b\2")));
	assert_false(equal("a", "b", LITERAL("\1aA\0\0\0\2b\1\1bA\0\0\0\0")));
	assert_false(equal("a", "b", LITERAL("\1aF\0\0\0\3\1kV\1bF\0\0\0\3\1lV")));
	struct slice longs =
		LITERAL("\1aA\0\0\0\x09l\0\0\0\0\0\0\0\1\1bA\0\0\0\x09L\0\0\0\0\0\0\0\1");
	assert_true(equal("a", "b", longs));
	assert_true(equal("b", "a", longs));
}

static void absence_equals_absence(void **state)
{
	(void)state;
	struct amqp_value v = get(LITERAL(every), "V");
	assert_true(amqp_value_equal(NULL, NULL));
	assert_false(amqp_value_equal(&v, NULL));
	assert_false(amqp_value_equal(NULL, &v));
}

/* ---- printing ---- */

static void assert_printed(const char *key, const char *type, const char *expected)
{
	char text[100];
	struct amqp_value v = get(LITERAL(every), key);
	assert_int_equal(amqp_value_print(text, sizeof text, &v), strlen(expected));
	assert_string_equal(text, expected);
	assert_string_equal(amqp_value_type_name(v.type), type);
}

static void values_print_as_in_rabbitmq(void **state)
{
	(void)state;
	assert_printed("t", "bool", "true");
	assert_printed("b", "byte", "-1");
	assert_printed("B", "unsignedbyte", "255");
	assert_printed("s", "short", "-2");
	assert_printed("u", "unsignedshort", "65534");
	assert_printed("I", "signedint", "-3");
	assert_printed("i", "unsignedint", "4294967293");
	assert_printed("l", "long", "-4");
	assert_printed("L", "long", "-4");
	assert_printed("f", "float", "1.5");
	assert_printed("d", "double", "10.0");
	assert_printed("D", "decimal", "{2,314}");
	assert_printed("S", "longstr", "str");
	assert_printed("x", "binary", "?\1");
	assert_printed(
		"A", "array", "[{longstr,<<\"a\">>},{signedint,1},{bool,false},{void,undefined}]");
	assert_printed("T", "timestamp", "1577836800");
	assert_printed("F", "table", "[{<<\"k\">>,bool,true}]");
	assert_printed("V", "void", "undefined");
	assert_string_equal(amqp_value_type_name('?'), "unknown");
}

static void assert_double(double d, const char *expected)
{
	char text[64];
	struct amqp_value v = {.type = 'd', .u.d = d};
	amqp_value_print(text, sizeof text, &v);
	assert_string_equal(text, expected);
}

static void doubles_print_in_their_shortest_form(void **state)
{
	(void)state;
	assert_double(0.1, "0.1");
	assert_double(-2.5, "-2.5");
	assert_double(100.0, "100.0");
	assert_double(1e23, "1.0e23");
	assert_double(1.5e-9, "1.5e-9");
	assert_double(1.0 / 3, "0.3333333333333333");
	assert_double((double)INFINITY, "infinity");
	assert_double((double)NAN, "nan");
}

static void a_print_is_cut_at_its_room(void **state)
{
	(void)state;
	char text[8];
	struct amqp_value v = {.type = 'S', .u.s = slice_str("0123456789")};
	assert_int_equal(amqp_value_print(text, sizeof text, &v), 7);
	assert_string_equal(text, "0123456");
	v = get(LITERAL(every), "A");
	assert_int_equal(amqp_value_print(text, 1, &v), 0);
	assert_string_equal(text, "");
}

static void assert_described(
	const struct amqp_value *v, const struct amqp_value *other, const char *expected)
{
	char text[100];
	amqp_value_describe(text, sizeof text, v, other);
	assert_string_equal(text, expected);
}

static void inequivalence_is_described_as_in_rabbitmq(void **state)
{
	(void)state;
	struct amqp_value ten = {.type = 'I', .u.i = 10};
	struct amqp_value classic = {.type = 'S', .u.s = slice_str("classic")};
	assert_described(&ten, NULL, "the value '10' of type 'signedint'");
	assert_described(NULL, &ten, "none");
	assert_described(&ten, &classic, "'10'");
	assert_described(&classic, &ten, "'classic'");
}

/* ---- building ---- */

static void every_value_is_written_as_it_was_read(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct reader r = reader_of(LITERAL(every));
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v))
		amqp_table_put_value(&b, key, &v);
	assert_int_equal(b.n, sizeof every - 1);
	/* RabbitMQ, too, turns L into l. */
	uint8_t *l = memmem(b.p, b.n, "\1Ll", 3);
	assert_non_null(l);
	l[2] = 'L';
	assert_memory_equal(b.p, every, b.n);
	buf_done(&b);
}

static void a_table_is_built_with_its_bytes(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	size_t table = amqp_table_begin(&b);
	amqp_table_put_bool(&b, "t", true);
	amqp_table_put_int(&b, "I", -1);
	amqp_table_put_long(&b, "l", 2);
	amqp_table_put_double(&b, "d", 10.0);
	amqp_table_put_timestamp(&b, "T", 3);
	amqp_table_put_string(&b, "S", slice_str("str"));
	amqp_table_put_void(&b, "V");
	size_t nested = amqp_table_begin_table(&b, "F");
	amqp_table_put_void(&b, "k");
	amqp_table_end(&b, nested);
	amqp_table_end(&b, table);
	struct slice expected = LITERAL("\0\0\0\x43"
					"\1tt\1\1II\xFF\xFF\xFF\xFF\1ll\0\0\0\0\0\0\0\2"
					"\1dd\x40\x24\0\0\0\0\0\0\1TT\0\0\0\0\0\0\0\3"
					"\1SS\0\0\0\3str\1VV\1FF\0\0\0\3\1kV");
	assert_int_equal(b.n, expected.n);
	assert_memory_equal(b.p, expected.p, b.n);
	buf_done(&b);
}

static void an_array_is_built_with_its_bytes(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	struct amqp_value yes = {.type = 't', .u.b = true};
	size_t array = amqp_table_begin_array(&b, "A");
	amqp_array_put_string(&b, slice_str("s"));
	amqp_array_put_long(&b, 5);
	amqp_array_put_value(&b, &yes);
	amqp_table_end(&b, amqp_array_begin_table(&b));
	amqp_table_end(&b, amqp_array_begin_array(&b));
	amqp_table_end(&b, array);
	struct slice expected = LITERAL("\1AA\0\0\0\x1BS\0\0\0\1sl\0\0\0\0\0\0\0\5t\1"
					"F\0\0\0\0A\0\0\0\0");
	assert_int_equal(b.n, expected.n);
	assert_memory_equal(b.p, expected.p, b.n);
	assert_true(amqp_table_check(buf_slice(&b)));
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_read),
		cmocka_unit_test(an_array_is_read_in_order),
		cmocka_unit_test(the_first_of_equal_keys_wins),
		cmocka_unit_test(an_absent_key_is_not_found),
		cmocka_unit_test(an_empty_table_is_well_formed),
		cmocka_unit_test(a_table_is_well_formed_only_where_a_pair_ends),
		cmocka_unit_test(unknown_types_are_malformed),
		cmocka_unit_test(lengths_beyond_the_end_are_malformed),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(random_octets_do_no_harm),
		cmocka_unit_test(integers_of_any_width_are_equal),
		cmocka_unit_test(floats_are_a_class_of_their_own),
		cmocka_unit_test(other_types_equal_only_themselves),
		cmocka_unit_test(nested_values_compare_with_their_types),
		cmocka_unit_test(absence_equals_absence),
		cmocka_unit_test(values_print_as_in_rabbitmq),
		cmocka_unit_test(doubles_print_in_their_shortest_form),
		cmocka_unit_test(a_print_is_cut_at_its_room),
		cmocka_unit_test(inequivalence_is_described_as_in_rabbitmq),
		cmocka_unit_test(every_value_is_written_as_it_was_read),
		cmocka_unit_test(a_table_is_built_with_its_bytes),
		cmocka_unit_test(an_array_is_built_with_its_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

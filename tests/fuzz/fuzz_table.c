/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/amqp/table.c, field tables and arrays that peers send.
 *
 *   input := split u8 | table | table, the first of split/256 of the octets
 *
 * Invariants:
 *  - amqp_table_check() says yes exactly if walking all of it meets nothing malformed and nothing
 *    nested deeper than AMQP_TABLE_DEPTH_MAX;
 *  - values of a checked table print within their array and say how long the text is;
 *  - equality is symmetric, and reflexive where there is no NaN;
 *  - a checked table written again with the builders is checked, has as many pairs, and is a fixed
 *    point of being written again.
 */
#include "src/amqp/table.h"
#include "tests/fuzz/fuzz.h"

struct walk {
	bool bad;
	bool nan;
	int deepest;
};

static void walk(struct walk *w, struct slice inside, bool is_table, int depth)
{
	struct reader r = reader_of(inside);
	struct slice key;
	struct amqp_value v;
	if (depth > w->deepest)
		w->deepest = depth;
	while (is_table ? amqp_table_next(&r, &key, &v) : amqp_array_next(&r, &v)) {
		CHECK(strchr("tbBsuIilLfdDSxATFV", v.type) != NULL && v.type != 0);
		CHECK(strcmp(amqp_value_type_name(v.type), "unknown") != 0);
		w->nan |= (v.type == 'f' && v.u.f != v.u.f) || (v.type == 'd' && v.u.d != v.u.d);
		if (v.type == 'F' || v.type == 'A')
			walk(w, v.u.s, v.type == 'F', depth + 1);
	}
	w->bad |= r.bad;
}

static bool check_checked(struct slice t, struct walk *w)
{
	walk(w, t, true, 1);
	bool ok = amqp_table_check(t);
	CHECK(ok == (!w->bad && w->deepest <= AMQP_TABLE_DEPTH_MAX));
	*w = (struct walk){0};
	walk(w, t, false, 1);
	CHECK(amqp_array_check(t) == (!w->bad && w->deepest <= AMQP_TABLE_DEPTH_MAX));
	return ok;
}

static void check_print(const struct amqp_value *v, const struct amqp_value *other)
{
	static const size_t caps[] = {1, 3, 60, 256};
	for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
		char *text = malloc(caps[i]);
		CHECK(text != NULL);
		memset(text, 'x', caps[i]);
		size_t n = amqp_value_print(text, caps[i], v);
		CHECK(n < caps[i] && text[n] == 0);
		memset(text, 'x', caps[i]);
		n = amqp_value_describe(text, caps[i], v, other);
		CHECK(n < caps[i] && text[n] == 0);
		free(text);
	}
}

static void write_again(struct buf *out, struct slice t)
{
	struct reader r = reader_of(t);
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v))
		amqp_table_put_value(out, key, &v);
}

static void check_builders(struct slice t)
{
	struct buf first = BUF_EMPTY, second = BUF_EMPTY;
	write_again(&first, t);
	CHECK(amqp_table_check(buf_slice(&first)));
	CHECK(amqp_table_count(buf_slice(&first)) == amqp_table_count(t));
	write_again(&second, buf_slice(&first));
	CHECK(slice_eq(buf_slice(&first), buf_slice(&second)));
	buf_done(&first);
	buf_done(&second);
}

static void check_pairs(struct slice a, struct slice b, bool nan)
{
	struct reader ra = reader_of(a), rb = reader_of(b);
	struct slice key;
	struct amqp_value va, vb;
	while (amqp_table_next(&ra, &key, &va)) {
		CHECK(nan || amqp_value_equal(&va, &va));
		CHECK(!amqp_value_equal(&va, NULL) && !amqp_value_equal(NULL, &va));
		bool both = amqp_table_next(&rb, &key, &vb);
		check_print(&va, both ? &vb : NULL);
		if (both)
			CHECK(amqp_value_equal(&va, &vb) == amqp_value_equal(&vb, &va));
	}
	struct amqp_value ta = {.type = 'F', .u.s = a}, tb = {.type = 'F', .u.s = b};
	CHECK(amqp_value_equal(&ta, &tb) == amqp_value_equal(&tb, &ta));
	CHECK(nan || amqp_value_equal(&ta, &ta));
	check_print(&ta, &tb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t n = (size - 1) * data[0] / 255;
	struct slice a = fuzz_exact(slice_make(data + 1, n));
	struct slice b = fuzz_exact(slice_make(data + 1 + n, size - 1 - n));
	struct walk wa = {0}, wb = {0};
	struct amqp_value v;
	bool ok_a = check_checked(a, &wa), ok_b = check_checked(b, &wb);
	amqp_table_get(a, "x-match", &v);
	CHECK(amqp_table_count(a) <= a.n);
	if (ok_a && ok_b) {
		wa = wb = (struct walk){0};
		walk(&wa, a, true, 1);
		walk(&wb, b, true, 1);
		check_pairs(a, b, wa.nan);
		check_pairs(b, a, wb.nan);
		check_builders(a);
	}
	fuzz_free(a);
	fuzz_free(b);
	return 0;
}

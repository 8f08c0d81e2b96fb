/* SPDX-License-Identifier: Apache-2.0 */
#include "src/amqp/table.h"

#include "src/amqp/frame.h"
#include "src/amqp/text.h"

/* ---- reading ---- */

static float as_float(uint32_t bits)
{
	float v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static double as_double(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static void read_decimal(struct reader *r, struct amqp_value *v)
{
	v->u.dec.scale = get_u8(r);
	v->u.dec.value = get_u32be(r);
}

/* Absent tables are slices without a pointer, from which not even zero octets may be counted. */
static struct reader over(struct slice inside)
{
	return inside.n > 0 ? reader_of(inside) : reader_make("", 0);
}

/* The value behind a type octet; true if the type is known and the value is all there. */
static bool read_value(struct reader *r, struct amqp_value *v)
{
	v->type = (char)get_u8(r);
	switch (v->type) {
	case 'S':
	case 'x':
	case 'F':
	case 'A':
		v->u.s = get_slice(r, get_u32be(r));
		break;
	case 't':
		v->u.b = get_u8(r) != 0;
		break;
	case 'b':
		v->u.i = (int8_t)get_u8(r);
		break;
	case 'B':
		v->u.i = get_u8(r);
		break;
	case 's':
		v->u.i = (int16_t)get_u16be(r);
		break;
	case 'u':
		v->u.i = get_u16be(r);
		break;
	case 'I':
		v->u.i = (int32_t)get_u32be(r);
		break;
	case 'i':
		v->u.i = get_u32be(r);
		break;
	case 'l':
	case 'L':
		v->u.i = (int64_t)get_u64be(r);
		break;
	case 'T':
		v->u.t = get_u64be(r);
		break;
	case 'f':
		v->u.f = as_float(get_u32be(r));
		break;
	case 'd':
		v->u.d = as_double(get_u64be(r));
		break;
	case 'D':
		read_decimal(r, v);
		break;
	case 'V':
		break;
	default:
		reader_fail(r);
	}
	return !r->bad;
}

bool amqp_array_next(struct reader *r, struct amqp_value *value)
{
	return reader_left(r) > 0 && read_value(r, value);
}

bool amqp_table_next(struct reader *r, struct slice *key, struct amqp_value *value)
{
	if (reader_left(r) == 0)
		return false;
	*key = get_slice(r, get_u8(r));
	return read_value(r, value);
}

bool amqp_table_get(struct slice table, const char *key, struct amqp_value *value)
{
	struct slice wanted = slice_str(key);
	struct reader r = over(table);
	struct slice k;
	while (amqp_table_next(&r, &k, value))
		if (slice_eq(k, wanted))
			return true;
	return false;
}

size_t amqp_table_count(struct slice table)
{
	struct reader r = over(table);
	struct slice key;
	struct amqp_value v;
	size_t n = 0;
	while (amqp_table_next(&r, &key, &v))
		n++;
	return n;
}

/* ---- checking ---- */

static bool is_nested(char type)
{
	return type == 'F' || type == 'A';
}

/* `depth` counts the tables and arrays around and including this one. */
static bool check(struct slice inside, bool is_table, int depth)
{
	struct reader r = over(inside);
	struct slice key;
	struct amqp_value v;
	if (depth > AMQP_TABLE_DEPTH_MAX)
		return false;
	while (is_table ? amqp_table_next(&r, &key, &v) : amqp_array_next(&r, &v))
		if (is_nested(v.type) && !check(v.u.s, v.type == 'F', depth + 1))
			return false;
	return !r.bad;
}

bool amqp_table_check(struct slice table)
{
	return check(table, true, 1);
}

bool amqp_array_check(struct slice array)
{
	return check(array, false, 1);
}

/* ---- comparing ---- */

/* RabbitMQ's classes of types that compare by value. */
static char type_class(char type)
{
	if (memchr("bBsuIilL", type, 8) != NULL)
		return 'I';
	return type == 'f' ? 'd' : type;
}

static bool inside_equal(struct slice a, struct slice b, bool is_table, int depth);

static double float_of(const struct amqp_value *v)
{
	return v->type == 'f' ? (double)v->u.f : v->u.d;
}

/* Compares the values of two of the same class. */
static bool content_equal(const struct amqp_value *a, const struct amqp_value *b, int depth)
{
	switch (type_class(a->type)) {
	case 'I':
		return a->u.i == b->u.i;
	case 'd':
		return float_of(a) == float_of(b);
	case 't':
		return a->u.b == b->u.b;
	case 'T':
		return a->u.t == b->u.t;
	case 'D':
		return a->u.dec.scale == b->u.dec.scale && a->u.dec.value == b->u.dec.value;
	case 'S':
	case 'x':
		return slice_eq(a->u.s, b->u.s);
	case 'F':
	case 'A':
		return inside_equal(a->u.s, b->u.s, a->type == 'F', depth + 1);
	default:
		return true; /* V */
	}
}

/* Within tables and arrays the types have to be the same; `L` is read as `l`. */
static bool nested_equal(const struct amqp_value *a, const struct amqp_value *b, int depth)
{
	char ta = a->type == 'L' ? 'l' : a->type;
	char tb = b->type == 'L' ? 'l' : b->type;
	return ta == tb && content_equal(a, b, depth);
}

static bool inside_equal(struct slice a, struct slice b, bool is_table, int depth)
{
	struct reader ra = over(a), rb = over(b);
	struct slice ka = {0}, kb = {0};
	struct amqp_value va, vb;
	if (depth > AMQP_TABLE_DEPTH_MAX)
		return false;
	for (;;) {
		bool more_a = is_table ? amqp_table_next(&ra, &ka, &va) : amqp_array_next(&ra, &va);
		bool more_b = is_table ? amqp_table_next(&rb, &kb, &vb) : amqp_array_next(&rb, &vb);
		if (!more_a || !more_b)
			return more_a == more_b && !ra.bad && !rb.bad;
		if (!slice_eq(ka, kb) || !nested_equal(&va, &vb, depth))
			return false;
	}
}

bool amqp_value_equal(const struct amqp_value *a, const struct amqp_value *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return type_class(a->type) == type_class(b->type) && content_equal(a, b, 0);
}

/* ---- printing ---- */

const char *amqp_value_type_name(char type)
{
	switch (type) {
	case 't':
		return "bool";
	case 'b':
		return "byte";
	case 'B':
		return "unsignedbyte";
	case 's':
		return "short";
	case 'u':
		return "unsignedshort";
	case 'I':
		return "signedint";
	case 'i':
		return "unsignedint";
	case 'l':
	case 'L':
		return "long";
	case 'f':
		return "float";
	case 'd':
		return "double";
	case 'D':
		return "decimal";
	case 'S':
		return "longstr";
	case 'x':
		return "binary";
	case 'A':
		return "array";
	case 'T':
		return "timestamp";
	case 'F':
		return "table";
	case 'V':
		return "void";
	default:
		return "unknown";
	}
}

static void print_inside(struct amqp_text *t, struct slice inside, bool is_table, int depth);

static void print_nested(struct amqp_text *t, const struct amqp_value *v, int depth)
{
	switch (type_class(v->type)) {
	case 'I':
		amqp_text_printf(t, "%lld", (long long)v->u.i);
		break;
	case 'd':
		amqp_text_add_double(t, float_of(v));
		break;
	case 't':
		amqp_text_printf(t, "%s", v->u.b ? "true" : "false");
		break;
	case 'T':
		amqp_text_printf(t, "%llu", (unsigned long long)v->u.t);
		break;
	case 'D':
		amqp_text_printf(t, "{%u,%u}", v->u.dec.scale, v->u.dec.value);
		break;
	case 'S':
	case 'x':
		amqp_text_add_binary(t, v->u.s);
		break;
	case 'F':
	case 'A':
		print_inside(t, v->u.s, v->type == 'F', depth + 1);
		break;
	default:
		amqp_text_printf(t, "undefined");
	}
}

/* [{<<"key">>,longstr,<<"value">>},...] or [{longstr,<<"value">>},...] */
static void print_inside(struct amqp_text *t, struct slice inside, bool is_table, int depth)
{
	struct reader r = over(inside);
	struct slice key = {0};
	struct amqp_value v;
	const char *comma = "";
	amqp_text_printf(t, "[");
	while (depth <= AMQP_TABLE_DEPTH_MAX && t->n + 1 < t->cap) {
		if (!(is_table ? amqp_table_next(&r, &key, &v) : amqp_array_next(&r, &v)))
			break;
		amqp_text_printf(t, "%s{", comma);
		if (is_table) {
			amqp_text_add_binary(t, key);
			amqp_text_printf(t, ",");
		}
		amqp_text_printf(t, "%s,", amqp_value_type_name(v.type));
		print_nested(t, &v, depth);
		amqp_text_printf(t, "}");
		comma = ",";
	}
	amqp_text_printf(t, "]");
}

static void print_bare(struct amqp_text *t, const struct amqp_value *v)
{
	if (v->type == 'S' || v->type == 'x')
		amqp_text_add_string(t, v->u.s);
	else
		print_nested(t, v, 0);
}

size_t amqp_value_print(char *out, size_t cap, const struct amqp_value *v)
{
	struct amqp_text t = amqp_text_make(out, cap);
	print_bare(&t, v);
	return t.n;
}

size_t amqp_value_describe(
	char *out, size_t cap, const struct amqp_value *v, const struct amqp_value *other)
{
	struct amqp_text t = amqp_text_make(out, cap);
	if (v == NULL) {
		amqp_text_printf(&t, "none");
		return t.n;
	}
	amqp_text_printf(&t, other == NULL ? "the value '" : "'");
	print_bare(&t, v);
	amqp_text_printf(&t, "'");
	if (other == NULL)
		amqp_text_printf(&t, " of type '%s'", amqp_value_type_name(v->type));
	return t.n;
}

/* ---- building ---- */

size_t amqp_table_begin(struct buf *b)
{
	buf_put_u32be(b, 0);
	return b->n;
}

void amqp_table_end(struct buf *b, size_t mark)
{
	store_u32be(b->p + mark - 4, (uint32_t)(b->n - mark));
}

static void write_f64(struct buf *b, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	buf_put_u64be(b, bits);
}

static void write_f32(struct buf *b, float v)
{
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	buf_put_u32be(b, bits);
}

static void write_decimal(struct buf *b, const struct amqp_value *v)
{
	buf_put_u8(b, v->u.dec.scale);
	buf_put_u32be(b, v->u.dec.value);
}

void amqp_array_put_value(struct buf *b, const struct amqp_value *v)
{
	buf_put_u8(b, (uint8_t)(v->type == 'L' ? 'l' : v->type));
	switch (v->type) {
	case 'S':
	case 'x':
	case 'F':
	case 'A':
		amqp_put_longstr(b, v->u.s);
		break;
	case 't':
		buf_put_u8(b, v->u.b);
		break;
	case 'b':
	case 'B':
		buf_put_u8(b, (uint8_t)v->u.i);
		break;
	case 's':
	case 'u':
		buf_put_u16be(b, (uint16_t)v->u.i);
		break;
	case 'I':
	case 'i':
		buf_put_u32be(b, (uint32_t)v->u.i);
		break;
	case 'l':
	case 'L':
		buf_put_u64be(b, (uint64_t)v->u.i);
		break;
	case 'T':
		buf_put_u64be(b, v->u.t);
		break;
	case 'f':
		write_f32(b, v->u.f);
		break;
	case 'd':
		write_f64(b, v->u.d);
		break;
	case 'D':
		write_decimal(b, v);
		break;
	}
}

void amqp_table_put_value(struct buf *b, struct slice key, const struct amqp_value *v)
{
	amqp_put_shortstr(b, key);
	amqp_array_put_value(b, v);
}

static void put_key(struct buf *b, const char *key, char type)
{
	amqp_put_shortstr(b, slice_str(key));
	buf_put_u8(b, (uint8_t)type);
}

void amqp_table_put_bool(struct buf *b, const char *key, bool v)
{
	put_key(b, key, 't');
	buf_put_u8(b, v);
}

void amqp_table_put_int(struct buf *b, const char *key, int32_t v)
{
	put_key(b, key, 'I');
	buf_put_u32be(b, (uint32_t)v);
}

void amqp_table_put_long(struct buf *b, const char *key, int64_t v)
{
	put_key(b, key, 'l');
	buf_put_u64be(b, (uint64_t)v);
}

void amqp_table_put_double(struct buf *b, const char *key, double v)
{
	put_key(b, key, 'd');
	write_f64(b, v);
}

void amqp_table_put_timestamp(struct buf *b, const char *key, uint64_t v)
{
	put_key(b, key, 'T');
	buf_put_u64be(b, v);
}

void amqp_table_put_string(struct buf *b, const char *key, struct slice v)
{
	put_key(b, key, 'S');
	amqp_put_longstr(b, v);
}

void amqp_table_put_void(struct buf *b, const char *key)
{
	put_key(b, key, 'V');
}

size_t amqp_table_begin_table(struct buf *b, const char *key)
{
	put_key(b, key, 'F');
	return amqp_table_begin(b);
}

size_t amqp_table_begin_array(struct buf *b, const char *key)
{
	put_key(b, key, 'A');
	return amqp_table_begin(b);
}

void amqp_array_put_string(struct buf *b, struct slice v)
{
	buf_put_u8(b, 'S');
	amqp_put_longstr(b, v);
}

void amqp_array_put_long(struct buf *b, int64_t v)
{
	buf_put_u8(b, 'l');
	buf_put_u64be(b, (uint64_t)v);
}

size_t amqp_array_begin_table(struct buf *b)
{
	buf_put_u8(b, 'F');
	return amqp_table_begin(b);
}

size_t amqp_array_begin_array(struct buf *b)
{
	buf_put_u8(b, 'A');
	return amqp_table_begin(b);
}

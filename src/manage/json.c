/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/json.h"

#include "src/amqp/table.h"
#include "src/base/buf.h"
#include "src/broker/policy.h"

json_t *json_of_slice(struct slice s)
{
	json_t *text = json_stringn(s.n > 0 ? (const char *)s.p : "", s.n);
	if (text != NULL)
		return text;
	struct buf b = BUF_EMPTY;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= 0x80)
			buf_put_u8(&b, (uint8_t)(0xc0 | s.p[i] >> 6));
		buf_put_u8(&b, s.p[i] < 0x80 ? s.p[i] : (uint8_t)(0x80 | (s.p[i] & 0x3f)));
	}
	text = json_stringn((const char *)b.p, b.n);
	buf_done(&b);
	return text;
}

static json_t *json_of_value(const struct amqp_value *v);

static json_t *json_of_array(struct slice array)
{
	json_t *list = json_array();
	struct reader r = reader_of(array);
	struct amqp_value v;
	while (amqp_array_next(&r, &v))
		json_array_append_new(
			list, json_pack("[so]", amqp_value_type_name(v.type), json_of_value(&v)));
	return list;
}

static json_t *json_of_value(const struct amqp_value *v)
{
	switch (v->type) {
	case 't':
		return json_boolean(v->u.b);
	case 'T':
		return json_integer((json_int_t)v->u.t);
	case 'f':
		return json_real(v->u.f);
	case 'd':
		return json_real(v->u.d);
	case 'D':
		return json_pack("{sisi}", "scale", v->u.dec.scale, "value", (int)v->u.dec.value);
	case 'S':
	case 'x':
		return json_of_slice(v->u.s);
	case 'F':
		return json_of_table(v->u.s);
	case 'A':
		return json_of_array(v->u.s);
	case 'V':
		return json_null();
	default:
		return json_integer((json_int_t)v->u.i);
	}
}

json_t *json_of_table(struct slice table)
{
	json_t *list = json_array();
	struct reader r = reader_of(table);
	struct slice key;
	struct amqp_value v;
	while (amqp_table_next(&r, &key, &v)) {
		json_t *pair = json_array();
		json_array_append_new(pair, json_of_slice(key));
		json_array_append_new(pair, json_string(amqp_value_type_name(v.type)));
		json_array_append_new(pair, json_of_value(&v));
		json_array_append_new(list, pair);
	}
	return list;
}

json_t *json_of_tags(struct slice tags)
{
	json_t *list = json_array();
	while (tags.n > 0) {
		const uint8_t *comma = memchr(tags.p, ',', tags.n);
		size_t n = comma != NULL ? (size_t)(comma - tags.p) : tags.n;
		if (n > 0)
			json_array_append_new(list, json_of_slice(slice_make(tags.p, n)));
		tags = comma != NULL ? slice_make(comma + 1, tags.n - n - 1) : slice_make(NULL, 0);
	}
	return list;
}

json_t *json_of_pid(const char *node, uint64_t incarnation, uint64_t serial, unsigned channel)
{
	return json_sprintf("<%s.%lu.%lu.%u>", node, (unsigned long)incarnation,
		(unsigned long)serial, channel);
}

json_t *json_of_policy(const struct broker_effective *e)
{
	return e != NULL && e->policy != NULL ? json_of_slice(e->policy->name) : json_string("");
}

json_t *json_of_consumer(uint64_t client, uint32_t consumer)
{
	return json_sprintf("%lx.%x", (unsigned long)client, (unsigned)consumer);
}

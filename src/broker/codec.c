/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/codec.h"

#include "src/amqp/table.h"

enum {
	FLAG_DURABLE = 1,
	FLAG_AUTO_DELETE = 2,
	FLAG_INTERNAL = 4,  /* exchanges */
	FLAG_EXCLUSIVE = 4, /* queues */
	FLAGS_ALL = 7,
	LOCATOR_SHIFT = 3, /* queues: two bits */
};

/* Of a policy. RabbitMQ knows some thirty keys; merging two definitions compares all with all. */
enum { KEYS_MAX = 100 };

static uint8_t flag(bool on, uint8_t bit)
{
	return on ? bit : 0;
}

static uint8_t check_flags(struct reader *r, uint8_t flags)
{
	if ((flags & ~FLAGS_ALL) != 0)
		reader_fail(r);
	return flags;
}

static enum broker_locator check_locator(struct reader *r, uint8_t bits)
{
	if (bits < BROKER_LOCATORS)
		return bits;
	reader_fail(r);
	return 0;
}

struct slice broker_get_table(struct reader *r)
{
	struct slice table = broker_get_long(r);
	if (!r->bad && !amqp_table_check(table))
		reader_fail(r);
	return table;
}

void broker_put_exchange_spec(struct buf *out, const struct broker_exchange_spec *spec)
{
	buf_put_u8(out, (uint8_t)spec->type);
	buf_put_u8(out, flag(spec->durable, FLAG_DURABLE) |
				flag(spec->auto_delete, FLAG_AUTO_DELETE) |
				flag(spec->internal, FLAG_INTERNAL));
	broker_put_long(out, spec->arguments);
}

void broker_get_exchange_spec(struct reader *r, struct broker_exchange_spec *ret)
{
	ret->type = broker_get_enum(r, BROKER_EXCHANGE_TYPES);
	uint8_t flags = check_flags(r, get_u8(r));
	ret->durable = (flags & FLAG_DURABLE) != 0;
	ret->auto_delete = (flags & FLAG_AUTO_DELETE) != 0;
	ret->internal = (flags & FLAG_INTERNAL) != 0;
	ret->arguments = broker_get_table(r);
}

void broker_put_queue_spec(struct buf *out, const struct broker_queue_spec *spec)
{
	buf_put_u8(out, flag(spec->durable, FLAG_DURABLE) |
				flag(spec->auto_delete, FLAG_AUTO_DELETE) |
				flag(spec->exclusive, FLAG_EXCLUSIVE) |
				(uint8_t)(spec->locator << LOCATOR_SHIFT));
	buf_put_u64le(out, spec->owner.node);
	buf_put_u64le(out, spec->owner.incarnation);
	buf_put_u64le(out, spec->owner.serial);
	buf_put_u64le(out, spec->home_node);
	buf_put_u64le(out, spec->home_incarnation);
	buf_put_u64le(out, spec->created_ms);
	broker_put_long(out, spec->arguments);
}

void broker_get_queue_spec(struct reader *r, struct broker_queue_spec *ret)
{
	uint8_t bits = get_u8(r), flags = bits & FLAGS_ALL;
	ret->locator = check_locator(r, bits >> LOCATOR_SHIFT);
	ret->durable = (flags & FLAG_DURABLE) != 0;
	ret->auto_delete = (flags & FLAG_AUTO_DELETE) != 0;
	ret->exclusive = (flags & FLAG_EXCLUSIVE) != 0;
	ret->owner.node = get_u64le(r);
	ret->owner.incarnation = get_u64le(r);
	ret->owner.serial = get_u64le(r);
	ret->home_node = get_u64le(r);
	ret->home_incarnation = get_u64le(r);
	ret->created_ms = get_u64le(r);
	ret->arguments = broker_get_table(r);
	if (!ret->exclusive)
		ret->owner = (struct broker_connection_id){0};
}

void broker_put_policy_spec(struct buf *out, const struct broker_policy_spec *spec)
{
	broker_put_long(out, spec->pattern);
	buf_put_u8(out, (uint8_t)spec->apply_to);
	buf_put_u64le(out, (uint64_t)spec->priority);
	broker_put_long(out, spec->definition);
}

void broker_get_policy_spec(struct reader *r, struct broker_policy_spec *ret)
{
	ret->pattern = broker_get_long(r);
	ret->apply_to = broker_get_enum(r, BROKER_APPLY_TO_VALUES);
	ret->priority = (int64_t)get_u64le(r);
	ret->definition = broker_get_table(r);
	if (!r->bad && amqp_table_count(ret->definition) > KEYS_MAX)
		reader_fail(r);
}

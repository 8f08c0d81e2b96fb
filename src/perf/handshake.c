/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/handshake.h"

#include <limits.h>

#include "src/amqp/frame.h"
#include "src/amqp/table.h"

static const char *const capabilities[] = {
	"authentication_failure_close",
	"basic.nack",
	"connection.blocked",
	"consumer_cancel_notify",
	"publisher_confirms",
};

void handshake_greet(struct buf *out)
{
	buf_put_bytes(out, AMQP_GREETING, AMQP_GREETING_SIZE);
}

static void put_properties(struct buf *b, const char *name)
{
	amqp_table_put_string(b, "product", slice_str("warren-perf"));
	amqp_table_put_string(b, "version", slice_str(PACKAGE_VERSION));
	amqp_table_put_string(b, "connection_name", slice_str(name));
	size_t mark = amqp_table_begin_table(b, "capabilities");
	for (unsigned i = 0; i < sizeof capabilities / sizeof capabilities[0]; i++)
		amqp_table_put_bool(b, capabilities[i], true);
	amqp_table_end(b, mark);
}

/* RFC 4616: NUL user NUL password. */
static void put_plain(struct buf *b, const struct uri *u)
{
	buf_put_u8(b, 0);
	buf_put_slice(b, slice_str(u->user));
	buf_put_u8(b, 0);
	buf_put_slice(b, slice_str(u->password));
}

void handshake_login(struct buf *out, const struct uri *u, const char *name)
{
	struct buf properties = BUF_EMPTY, response = BUF_EMPTY;
	put_properties(&properties, name);
	put_plain(&response, u);
	struct amqp_method m = {.id = AMQP_CONNECTION_START_OK};
	m.u.connection_start_ok.client_properties = buf_slice(&properties);
	m.u.connection_start_ok.mechanism = slice_str("PLAIN");
	m.u.connection_start_ok.response = buf_slice(&response);
	m.u.connection_start_ok.locale = slice_str("en_US");
	amqp_method_encode(out, 0, &m);
	buf_done(&properties);
	buf_done(&response);
}

/* The smaller of two limits, of which 0 is none. */
static uint32_t lower(uint32_t a, uint32_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

bool handshake_tune(struct buf *out, const struct uri *u, const struct amqp_connection_tune *m,
	struct handshake_terms *wanted)
{
	if (m->channel_max != 0 && m->channel_max < wanted->channel_max)
		return false;
	wanted->channel_max = m->channel_max;
	wanted->frame_max = lower(wanted->frame_max, m->frame_max);
	if (wanted->heartbeat_s == UINT_MAX)
		wanted->heartbeat_s = m->heartbeat;
	struct amqp_method ok = {.id = AMQP_CONNECTION_TUNE_OK};
	ok.u.connection_tune_ok.channel_max = m->channel_max;
	ok.u.connection_tune_ok.frame_max = wanted->frame_max;
	ok.u.connection_tune_ok.heartbeat = (uint16_t)wanted->heartbeat_s;
	amqp_method_encode(out, 0, &ok);
	struct amqp_method open = {.id = AMQP_CONNECTION_OPEN};
	open.u.connection_open.virtual_host = slice_str(u->vhost);
	amqp_method_encode(out, 0, &open);
	return true;
}

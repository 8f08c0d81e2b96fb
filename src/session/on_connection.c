/* SPDX-License-Identifier: Apache-2.0
 *
 * Class connection (AMQP 0-9-1 section 1.4): start, tune, open, close.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/amqp/table.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/session/auth.h"
#include "src/session/channel.h"
#include "src/session/connection.h"
#include "src/session/leave.h"

static const char *const capabilities[] = {
	"publisher_confirms",
	"exchange_exchange_bindings",
	"basic.nack",
	"consumer_cancel_notify",
	"connection.blocked",
	"consumer_priorities",
	"authentication_failure_close",
	"per_consumer_qos",
	"direct_reply_to",
};

static void put_text(struct buf *b, const char *key, const char *text)
{
	amqp_table_put_string(b, key, slice_str(text));
}

static void put_server_properties(struct connection *c, struct buf *b)
{
	size_t mark = amqp_table_begin_table(b, "capabilities");
	for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
		amqp_table_put_bool(b, capabilities[i], true);
	amqp_table_end(b, mark);
	struct slice name = c->env->broker->cluster_name;
	if (name.n == 0)
		name = slice_str(c->env->limits->node_name);
	amqp_table_put_string(b, "cluster_name", name);
	put_text(b, "copyright", "Licensed under the Apache License 2.0");
	put_text(b, "information", "https://www.apache.org/licenses/LICENSE-2.0");
	put_text(b, "platform", "C");
	put_text(b, "product", "Warren");
	put_text(b, "version", c->env->limits->product_version);
}

void connection_start(struct connection *c)
{
	struct buf properties = BUF_EMPTY;
	put_server_properties(c, &properties);
	struct amqp_method m = {.id = AMQP_CONNECTION_START};
	m.u.connection_start.version_major = 0;
	m.u.connection_start.version_minor = 9;
	m.u.connection_start.server_properties = buf_slice(&properties);
	m.u.connection_start.mechanisms = slice_str(AUTH_MECHANISMS);
	m.u.connection_start.locales = slice_str("en_US");
	connection_send(c, 0, &m);
	buf_done(&properties);
	connection_enter(c, CONNECTION_START);
}

static bool has_capability(struct slice properties, const char *name)
{
	struct amqp_value v, flag;
	return amqp_table_get(properties, "capabilities", &v) && v.type == 'F' &&
	       amqp_table_get(v.u.s, name, &flag) && flag.type == 't' && flag.u.b;
}

static void read_client_properties(struct connection *c, struct slice properties)
{
	struct amqp_value v;
	c->client_properties =
		slice_make(mem_dup(properties.p, properties.n), properties.n);
	c->can_cancel_notify = has_capability(properties, "consumer_cancel_notify");
	c->can_auth_failure_close = has_capability(properties, "authentication_failure_close");
	c->can_blocked = has_capability(properties, "connection.blocked");
	if (amqp_table_get(properties, "connection_name", &v) && v.type == 'S')
		snprintf(c->name, sizeof c->name, "%.*s", SLICE_FMT(v.u.s));
}

/* Without the capability the socket is just closed, as old clients expect. */
static void refuse_login(struct connection *c, struct slice mechanism, const char *why)
{
	log_error("connection", "AMQP connection (%s): login refused: %s", stream_name(c->stream),
		why);
	if (c->can_auth_failure_close) {
		connection_error(c, 403, 0,
			"Login was refused using authentication mechanism %.*s. For details see "
			"the "
			"broker logfile.",
			SLICE_FMT(mechanism));
		return;
	}
	connection_release(c);
	connection_shut(c);
}

static void send_tune(struct connection *c)
{
	const struct session_limits *l = c->env->limits;
	struct amqp_method m = {.id = AMQP_CONNECTION_TUNE};
	m.u.connection_tune.channel_max = l->channel_max;
	m.u.connection_tune.frame_max = l->frame_max;
	m.u.connection_tune.heartbeat = l->heartbeat_s;
	connection_send(c, 0, &m);
	connection_enter(c, CONNECTION_TUNE);
}

static void on_start_ok(struct connection *c, const struct amqp_connection_start_ok *m)
{
	read_client_properties(c, m->client_properties);
	if (!auth_knows(m->mechanism)) {
		connection_error(c, 503, AMQP_CONNECTION_START_OK,
			"unknown authentication mechanism '%.*s'", SLICE_FMT(m->mechanism));
		return;
	}
	struct auth_login login;
	const char *why =
		auth_check(c->env, stream_loopback(c->stream), m->mechanism, m->response, &login);
	if (why != NULL) {
		refuse_login(c, m->mechanism, why);
		return;
	}
	c->mechanism = auth_name(m->mechanism);
	c->user = slice_make(mem_dup(login.user.p, login.user.n), login.user.n);
	send_tune(c);
}

/* The client may lower a limit, and lift one only where we have none. */
static bool tune_ok(struct connection *c, const char *what, uint32_t asked, uint32_t most)
{
	if (most == 0 || (asked != 0 && asked <= most))
		return true;
	char text[16];
	snprintf(text, sizeof text, "%u", asked);
	connection_error(c, 530, AMQP_CONNECTION_TUNE_OK,
		"negotiated %s = %s is higher than the maximum allowed value (%u)", what,
		asked != 0 ? text : "no limit", most);
	return false;
}

static void on_tune_ok(struct connection *c, const struct amqp_connection_tune_ok *m)
{
	const struct session_limits *l = c->env->limits;
	if (!tune_ok(c, "channel_max", m->channel_max, l->channel_max) ||
		!tune_ok(c, "frame_max", m->frame_max, l->frame_max))
		return;
	if (m->frame_max != 0 && m->frame_max < AMQP_FRAME_MIN) {
		connection_error(c, 530, AMQP_CONNECTION_TUNE_OK,
			"negotiated frame_max = %u is lower than the minimum allowed value (%u)",
			m->frame_max, AMQP_FRAME_MIN);
		return;
	}
	c->channel_max = m->channel_max;
	c->frame_max = m->frame_max;
	c->heartbeat_s = m->heartbeat;
	connection_enter(c, CONNECTION_OPENING);
}

static void on_open(struct connection *c, const struct amqp_connection_open *m)
{
	struct broker_vhost *v = broker_vhost_find(c->env->broker, m->virtual_host);
	struct broker_user *u = connection_user(c);
	if (v == NULL) {
		connection_error(c, 530, AMQP_CONNECTION_OPEN, "vhost %.*s not found",
			SLICE_FMT(m->virtual_host));
		return;
	}
	if (u == NULL || broker_permission_find(u, v) == NULL) {
		connection_error(c, 530, AMQP_CONNECTION_OPEN,
			"access to vhost '%.*s' refused for user '%.*s'", SLICE_FMT(v->name),
			SLICE_FMT(c->user));
		return;
	}
	if (!connection_count(c, v, u))
		return;
	c->vhost = slice_make(mem_dup(v->name.p, v->name.n), v->name.n);
	connection_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_OPEN_OK});
	connection_enter(c, CONNECTION_OPEN);
	log_info("connection",
		"connection (%s%s%s): user '%.*s' authenticated and granted access to vhost '%.*s'",
		stream_name(c->stream), c->name[0] != '\0' ? " - " : "", c->name,
		SLICE_FMT(c->user), SLICE_FMT(c->vhost));
}

static void on_close(struct connection *c)
{
	if (c->state == CONNECTION_OPEN)
		log_info("connection", "closing AMQP connection (%s, vhost: '%.*s', user: '%.*s')",
			stream_name(c->stream), SLICE_FMT(c->vhost), SLICE_FMT(c->user));
	connection_enter(c, CONNECTION_CLOSING);
	/* A client that comes back at once may declare its exclusive queues again. */
	leave_begin(c);
	connection_release(c);
	leave_say(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE_OK});
	leave_shut(c);
	leave_end(c);
}

static void on_update_secret(struct connection *c)
{
	connection_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_UPDATE_SECRET_OK});
}

static bool expected(const struct connection *c, uint32_t id)
{
	switch (id) {
	case AMQP_CONNECTION_START_OK:
		return c->state == CONNECTION_START;
	case AMQP_CONNECTION_TUNE_OK:
		return c->state == CONNECTION_TUNE;
	case AMQP_CONNECTION_OPEN:
		return c->state == CONNECTION_OPENING;
	case AMQP_CONNECTION_CLOSE:
		return true;
	case AMQP_CONNECTION_CLOSE_OK:
		return c->state == CONNECTION_CLOSING;
	case AMQP_CONNECTION_UPDATE_SECRET:
		return c->state == CONNECTION_OPEN;
	default:
		return false;
	}
}

void connection_on_method(struct connection *c, const struct amqp_method *m)
{
	if (!expected(c, m->id)) {
		connection_error(c, amqp_method_class(m->id) == AMQP_CLASS_CONNECTION ? 503 : 504,
			m->id, "unexpected method '%s' on channel 0 in this state",
			amqp_method_name(m->id));
		return;
	}
	switch (m->id) {
	case AMQP_CONNECTION_START_OK:
		on_start_ok(c, &m->u.connection_start_ok);
		break;
	case AMQP_CONNECTION_TUNE_OK:
		on_tune_ok(c, &m->u.connection_tune_ok);
		break;
	case AMQP_CONNECTION_OPEN:
		on_open(c, &m->u.connection_open);
		break;
	case AMQP_CONNECTION_CLOSE:
		on_close(c);
		break;
	case AMQP_CONNECTION_CLOSE_OK:
		connection_shut(c);
		break;
	case AMQP_CONNECTION_UPDATE_SECRET:
		on_update_secret(c);
		break;
	}
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections, channels and consumers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/manage/channels.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"
#include "src/manage/spread.h"
#include "src/session/arguments.h"
#include "src/session/confirm.h"
#include "src/session/tx.h"

enum { PID_MAX = 512, REASON_MAX = 200, ADDRESS_MAX = 64 };

static const char *const state_names[] = {
	[CONNECTION_GREETING] = "starting",
	[CONNECTION_START] = "starting",
	[CONNECTION_TUNE] = "tuning",
	[CONNECTION_OPENING] = "opening",
	[CONNECTION_OPEN] = "running",
	[CONNECTION_CLOSING] = "closing",
	[CONNECTION_DEAD] = "closed",
};

/* ---- connections ---- */

/* One end of "127.0.0.1:50432 -> 127.0.0.1:5672". */
static void put_address(json_t *row, const char *host_key, const char *port_key, struct slice end)
{
	size_t at = end.n;
	while (at > 0 && end.p[at - 1] != ':')
		at--;
	if (at == 0)
		return;
	struct slice host = slice_make(end.p, at - 1);
	char port[ADDRESS_MAX];
	snprintf(port, sizeof port, "%.*s", (int)(end.n - at), (const char *)end.p + at);
	if (host.n > 2 && host.p[0] == '[')
		host = slice_make(host.p + 1, host.n - 2);
	json_object_set_new(row, host_key, json_of_slice(host));
	json_object_set_new(row, port_key, json_integer(atoi(port)));
}

static void put_addresses(json_t *row, const char *name)
{
	static const char arrow[] = " -> ";
	const char *at = strstr(name, arrow);
	if (at == NULL)
		return;
	put_address(row, "peer_host", "peer_port", slice_make(name, (size_t)(at - name)));
	put_address(row, "host", "port", slice_str(at + strlen(arrow)));
}

static json_t *connection_row(const struct api_node *node, const struct connection *c)
{
	json_t *row = json_pack("{sosssosososssb}", "pid", channels_pid(node, c, 0), "name",
		stream_name(c->stream), "user", json_of_slice(c->user), "vhost",
		json_of_slice(c->vhost), "user_provided_name",
		json_of_slice(slice_str(c->name)), "state",
		c->told_blocked ? "blocked" : state_names[c->state], "ssl", 0);
	put_addresses(row, stream_name(c->stream));
	json_object_set_new(row, "node", json_string(node->name));
	json_object_set_new(row, "protocol", json_string("{0,9,1}"));
	json_object_set_new(row, "auth_mechanism",
		json_string(c->mechanism != NULL ? c->mechanism : ""));
	json_object_set_new(row, "client_properties", json_of_table(c->client_properties));
	json_object_set_new(row, "connected_at", json_integer((json_int_t)c->connected_ms));
	json_object_set_new(row, "channels", json_integer(c->n_channels));
	json_object_set_new(row, "timeout", json_integer(c->heartbeat_s));
	json_object_set_new(row, "frame_max", json_integer(c->frame_max));
	json_object_set_new(row, "channel_max", json_integer(c->channel_max));
	json_object_set_new(
		row, "recv_oct", json_integer((json_int_t)stream_received(c->stream)));
	json_object_set_new(
		row, "recv_cnt", json_integer((json_int_t)stream_reads(c->stream)));
	json_object_set_new(
		row, "send_cnt", json_integer((json_int_t)stream_writes(c->stream)));
	json_object_set_new(row, "send_oct", json_integer((json_int_t)stream_sent(c->stream)));
	json_object_set_new(
		row, "send_pend", json_integer((json_int_t)stream_pending(c->stream)));
	return row;
}

static void collect_connections(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	(void)args;
	LIST_EACH(link, &s->env->connections)
	{
		struct connection *c = LIST_ENTRY(link, struct connection, link);
		if (c->state != CONNECTION_DEAD)
			json_array_append_new(rows, connection_row(node, c));
	}
}

static void on_own_connections(struct api_call *c, json_t *rows)
{
	spread(c, "list_connections", rows, NULL);
}

static void list_connections(struct api_call *c)
{
	gather(c, collect_connections, on_own_connections);
}

/* ---- channels ---- */

static unsigned channel_consumers(const struct channel *ch)
{
	return HASH_COUNT(ch->consumers);
}

static json_t *channel_row(
	const struct api_node *node, const struct connection *c, const struct channel *ch)
{
	uint64_t unconfirmed = ch->confirm != NULL ? confirm_outstanding(ch->confirm) : 0;
	json_t *row = json_pack("{sososisoso}", "pid", channels_pid(node, c, ch->number),
		"connection", channels_pid(node, c, 0), "number", (int)ch->number, "user",
		json_of_slice(c->user), "vhost", json_of_slice(c->vhost));
	json_object_set_new(
		row, "name", json_sprintf("%s (%u)", stream_name(c->stream), ch->number));
	json_object_set_new(row, "node", json_string(node->name));
	json_object_set_new(row, "transactional", json_boolean(ch->mode == CHANNEL_TX));
	json_object_set_new(row, "confirm", json_boolean(ch->mode == CHANNEL_CONFIRM));
	json_object_set_new(row, "consumer_count", json_integer(channel_consumers(ch)));
	json_object_set_new(
		row, "messages_unacknowledged", json_integer((json_int_t)ch->unacked.n));
	json_object_set_new(
		row, "messages_unconfirmed", json_integer((json_int_t)unconfirmed));
	json_object_set_new(row, "messages_uncommitted",
		json_integer(ch->tx != NULL ? (json_int_t)tx_publishes(ch->tx) : 0));
	json_object_set_new(row, "acks_uncommitted",
		json_integer(ch->tx != NULL ? (json_int_t)tx_settles(ch->tx) : 0));
	json_object_set_new(row, "prefetch_count", json_integer(ch->prefetch));
	json_object_set_new(row, "global_prefetch_count", json_integer(ch->global_prefetch));
	return row;
}

static void put_channel(const struct api_node *node, struct connection *c, struct channel *ch,
	const json_t *args, json_t *rows)
{
	(void)args;
	json_array_append_new(rows, channel_row(node, c, ch));
}

static void collect_channels(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	channels_each(s, node, args, rows, put_channel);
}

static void on_own_channels(struct api_call *c, json_t *rows)
{
	spread(c, "list_channels", rows, NULL);
}

static void list_channels(struct api_call *c)
{
	gather(c, collect_channels, on_own_channels);
}

/* ---- consumers ---- */

/* Whether one of several is the active one, on_all_consumers() knows. */
static json_t *consumer_row(const struct api_node *node, const struct connection *c,
	const struct channel *ch, const struct consumer *co, const struct broker_queue *q)
{
	json_t *row = json_pack("{sososososbsiso}", "queue_name", json_of_slice(q->name),
		"channel_pid", channels_pid(node, c, ch->number), "consumer_tag",
		json_of_slice(co->tag), "arguments", json_of_table(co->arguments), "ack_required",
		!co->no_ack, "prefetch_count", (int)co->prefetch, "active", json_true());
	json_object_set_new(row, "activity_status", json_string("up"));
	if (arguments_single_active(q))
		json_object_set_new(row, "consumer", channels_consumer(c, co));
	return row;
}

static void put_consumers(const struct api_node *node, struct connection *c, struct channel *ch,
	const json_t *args, json_t *rows)
{
	struct consumer *co, *next;
	if (!channels_in_vhost(c, args))
		return;
	HASH_ITER(hh, ch->consumers, co, next)
	{
		struct broker_queue *q = broker_queue_by_group(c->env->broker, co->group);
		if (q != NULL)
			json_array_append_new(rows, consumer_row(node, c, ch, co, q));
	}
}

/* Of a queue that this worker leads: who its single active consumer is. */
static void put_active(const struct api_shard *s, const struct broker_queue *q, json_t *rows)
{
	struct machine_holder h;
	if (arguments_single_active(q) && queue_hosts_leads(s->hosts, q->group) &&
		machine_holder(queue_hosts_machine(s->hosts, q->group), &h))
		json_array_append_new(
			rows, json_pack("{so}", "active", json_of_consumer(h.client, h.consumer)));
}

static void collect_consumers(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	struct broker_vhost *v = gather_vhost(s->env->broker, args);
	channels_each(s, node, args, rows, put_consumers);
	for (struct broker_queue *q = v != NULL ? broker_queue_first(v) : NULL; q != NULL;
		q = broker_queue_next(q))
		put_active(s, q, rows);
}

/* The single active ones, as keys. */
static json_t *active_of(const json_t *rows)
{
	size_t i;
	json_t *row, *active = json_object();
	json_array_foreach((json_t *)rows, i, row)
	{
		const char *consumer = json_string_value(json_object_get(row, "active"));
		if (consumer != NULL)
			json_object_set_new(active, consumer, json_true());
	}
	return active;
}

static void resolve_active(json_t *row, const json_t *active)
{
	const char *consumer = json_string_value(json_object_get(row, "consumer"));
	if (consumer == NULL)
		return;
	bool is = json_object_get(active, consumer) != NULL;
	json_object_set_new(row, "active", json_boolean(is));
	json_object_set_new(row, "activity_status", json_string(is ? "single_active" : "waiting"));
	json_object_del(row, "consumer");
}

static void on_all_consumers(struct api_call *c, json_t *rows)
{
	size_t i;
	json_t *row, *active = active_of(rows), *all = json_array();
	json_array_foreach(rows, i, row)
	{
		if (json_object_get(row, "queue_name") == NULL)
			continue;
		resolve_active(row, active);
		json_array_append(all, row);
	}
	json_decref(active);
	json_decref(rows);
	api_ok(c, all);
}

static void on_own_consumers(struct api_call *c, json_t *rows)
{
	spread(c, "list_consumers", rows, on_all_consumers);
}

static void list_consumers(struct api_call *c)
{
	gather(c, collect_consumers, on_own_consumers);
}

/* ---- closing connections ---- */

static bool wanted(const struct api_node *node, const struct connection *c, const json_t *args)
{
	const char *pid = json_string_value(json_object_get(args, "pid"));
	const char *vhost = json_string_value(json_object_get(args, "vhost"));
	const char *user = json_string_value(json_object_get(args, "user"));
	if (pid != NULL) {
		char own[PID_MAX];
		snprintf(own, sizeof own, "<%s.%lu.%lu.0>", node->name,
			(unsigned long)c->env->incarnation, (unsigned long)c->serial);
		if (strcmp(pid, own) != 0 && strcmp(pid, stream_name(c->stream)) != 0)
			return false;
	}
	return (vhost == NULL || slice_is(c->vhost, vhost)) &&
	       (user == NULL || slice_is(c->user, user));
}

static void collect_closed(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	const char *reason = json_string_value(json_object_get(args, "reason"));
	json_int_t limit = json_integer_value(json_object_get(args, "limit"));
	LIST_EACH_SAFE(link, &s->env->connections)
	{
		struct connection *c = LIST_ENTRY(link, struct connection, link);
		if (c->state != CONNECTION_OPEN || !wanted(node, c, args) ||
			(limit > 0 && (json_int_t)json_array_size(rows) >= limit))
			continue;
		json_array_append_new(rows, channels_pid(node, c, 0));
		connection_error(c, 320, 0, "%.*s", REASON_MAX,
			reason != NULL ? reason : "");
	}
}

static void on_one_closed(struct api_call *c, json_t *rows)
{
	if (json_array_size(rows) > 0) {
		api_ok(c, rows);
		return;
	}
	json_decref(rows);
	api_fail(c, API_NOT_FOUND, "there is no connection %s",
		json_string_value(json_object_get(c->args, "pid")));
}

static void on_own_one_closed(struct api_call *c, json_t *rows)
{
	if (json_array_size(rows) > 0)
		api_ok(c, rows);
	else
		spread(c, "close_connection", rows, on_one_closed);
}

static void close_connection(struct api_call *c)
{
	const char *pid;
	if (api_args(c, "{ss}", "pid", &pid))
		gather(c, collect_closed, on_own_one_closed);
}

static void on_own_all_closed(struct api_call *c, json_t *rows)
{
	spread(c, "close_all_connections", rows, NULL);
}

static void close_all_connections(struct api_call *c)
{
	gather(c, collect_closed, on_own_all_closed);
}

const struct api_verb api_traffic_verbs[] = {
	{"list_connections", list_connections, false},
	{"list_channels", list_channels, false},
	{"list_consumers", list_consumers, false},
	{"close_connection", close_connection, false},
	{"close_all_connections", close_all_connections, false},
	{NULL, NULL, false},
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is split into key and value (config_text.c); the key finds a row of the table; the row's type
 * parses the value into its field of struct config. Defaults are text in the table and take the same
 * way, so they obey the same limits.
 */
#include "src/daemon/config_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/size.h"
#include "src/cluster/discovery.h"

/* ---- the keys ---- */

struct row;

/* Parses `value` into `field`; `name` is what stands for the pattern's "*". Returns NULL, or what
 * was expected. */
typedef const char *parse_fn(const struct row *r, void *field, const char *name, const char *value);

struct row {
	const char *key; /* a final "*" stands for one name */
	parse_fn *parse;
	size_t field;
	const char *initial; /* NULL: set by another row or by config_finish() */
	uint64_t min;
	uint64_t max;
	const char *doc;
};

static parse_fn parse_integer, parse_ceiling, parse_bool, parse_duration_ms, parse_size,
	parse_string, parse_level, parse_address, parse_listener, parse_no_listeners, parse_name,
	parse_no_names, parse_share, parse_bytes, parse_locator, parse_backend, parse_peer,
	parse_node_type, parse_verify;

#define FIELD(f) offsetof(struct config, f)

enum {
	DAY_MS = 24 * 60 * 60 * 1000,
	FRAME_MIN = 4096, /* AMQP 0-9-1, 4.2.3: peers must accept frames of up to frame-min-size */
	FRAME_LIMIT = 16 * 1024 * 1024,
	MESSAGE_LIMIT = 512 * 1024 * 1024,
};

#define MAX_BYTES ((uint64_t)1 << 62)

static const struct row rows[] = {
	{"listeners.tcp", parse_no_listeners, FIELD(listeners), NULL, 0, 0,
		"\"none\": no plain TCP listener"},
	{"listeners.tcp.*", parse_listener, FIELD(listeners), NULL, 0, 65535,
		"port or address:port of an AMQP listener (default: 5672 on all interfaces)"},
	{"cluster.listener", parse_address, FIELD(cluster_listener), "25672", 0, 65535,
		"port or address:port where other nodes connect"},
	{"cluster.advertised_address", parse_string, FIELD(cluster_address), "", 0, 255,
		"HOST:PORT at which other nodes find this one (default: the listener's, or of all "
		"interfaces the host in the node's name)"},
	{"cluster.cookie_file", parse_string, FIELD(cookie_file), "", 0, 4096,
		"file with the secret that nodes share (default: .cookie in the data directory)"},
	{"cluster.ssl_options.cacertfile", parse_string, FIELD(tls_cacertfile), "", 0, 4096,
		"TLS between nodes: certificates that are trusted (PEM)"},
	{"cluster.ssl_options.certfile", parse_string, FIELD(tls_certfile), "", 0, 4096,
		"TLS between nodes: this node's certificate (PEM); without it there is no TLS"},
	{"cluster.ssl_options.keyfile", parse_string, FIELD(tls_keyfile), "", 0, 4096,
		"TLS between nodes: its private key (PEM)"},
	{"cluster.ssl_options.verify", parse_verify, FIELD(tls_no_verify), "verify_peer", 0, 0,
		"verify_peer: other nodes must have a certificate that is trusted; or verify_none"},
	{"cluster.ssl_options.depth", parse_integer, FIELD(tls_depth), "3", 0, 100,
		"certificates between a node's and a trusted one at most"},
	{"cluster.heartbeat_interval_ms", parse_integer, FIELD(cluster_heartbeat_ms), "250", 10,
		60 * 1000, "an idle link between nodes says something that often (ms)"},
	{"cluster.net_timeout_ms", parse_integer, FIELD(cluster_timeout_ms), "2000", 100,
		60 * 60 * 1000, "a node that is not heard for so long is down (ms)"},
	{"cluster.node_down_ms", parse_integer, FIELD(cluster_down_ms), "5000", 100,
		60 * 60 * 1000, "a node without a link for so long is called down (ms)"},
	{"cluster.replace_after_ms", parse_integer, FIELD(cluster_replace_ms), "60000", 1000,
		(uint64_t)30 * 24 * 60 * 60 * 1000,
		"queues get other members for those on a node that is down for so long (ms)"},
	{"cluster_formation.peer_discovery_backend", parse_backend, FIELD(peers_by_dns),
		"classic_config", 0, 0,
		"how a new node finds its cluster: classic_config or dns, also as rabbit_peer_discovery_..."},
	{"cluster_formation.classic_config.nodes.*", parse_peer, FIELD(peers), NULL, 0, 0,
		"NAME@HOST or NAME@HOST:PORT: a new node joins the cluster of this node, or founds it "
		"with it"},
	{"cluster_formation.dns.hostname", parse_string, FIELD(peers_host), "", 0, 255,
		"with the backend dns: the host name whose addresses the nodes have"},
	{"cluster_formation.node_type", parse_node_type, FIELD(first_ram), "disc", 0, 0,
		"disc or ram: what a node becomes that finds its cluster by itself"},
	{"cluster_formation.target_cluster_size_hint", parse_integer, FIELD(peers_expected), "0", 0,
		256, "nodes that must be there before one of them founds the cluster (0: all of the list)"},
	{"cluster_formation.discovery_retry_limit", parse_integer, FIELD(peers_rounds), "0", 0,
		1000000, "a new node that has not found its cluster in so many rounds ends (0: never)"},
	{"cluster_formation.discovery_retry_interval", parse_duration_ms, FIELD(peers_interval_ms),
		"500", 1, DAY_MS, "time between two rounds (ms)"},
	{"tcp_listen_options.backlog", parse_integer, FIELD(tcp_backlog), "128", 1, 65535,
		"connections that may wait to be accepted"},
	{"tcp_listen_options.nodelay", parse_bool, FIELD(tcp_nodelay), "true", 0, 0,
		"send small segments at once"},

	{"handshake_timeout", parse_duration_ms, FIELD(handshake_timeout_ms), "10000", 1, DAY_MS,
		"time from connect to connection.open-ok (ms)"},
	{"heartbeat", parse_integer, FIELD(heartbeat_s), "60", 0, 65535,
		"heartbeat proposed to clients (s), 0 for none"},
	{"frame_max", parse_ceiling, FIELD(frame_max), "131072", FRAME_MIN, FRAME_LIMIT,
		"largest frame proposed to clients (bytes), 0 for the highest value"},
	{"initial_frame_max", parse_integer, FIELD(initial_frame_max), "4096", FRAME_MIN,
		FRAME_LIMIT, "largest frame before the client has tuned the connection (bytes)"},
	{"channel_max", parse_ceiling, FIELD(channel_max), "2047", 1, 65535,
		"channels per connection proposed to clients, 0 for the highest value"},
	{"max_message_size", parse_size, FIELD(message_bytes_max), "134217728", 1, MESSAGE_LIMIT,
		"largest message body"},
	{"consumer_timeout", parse_duration_ms, FIELD(consumer_timeout_ms), "1800000", 0,
		(uint64_t)DAY_MS * 365, "time a consumer may take to acknowledge (ms), 0 for any"},

	{"default_user", parse_string, FIELD(default_user), "guest", 1, 255,
		"user created on a new cluster's first start"},
	{"default_pass", parse_string, FIELD(default_pass), "guest", 0, 255, "its password"},
	{"default_vhost", parse_string, FIELD(default_vhost), "/", 1, 255,
		"virtual host created on a new cluster's first start"},
	{"default_permissions.configure", parse_string, FIELD(default_configure), ".*", 0, 4096,
		"what the default user may configure"},
	{"default_permissions.read", parse_string, FIELD(default_read), ".*", 0, 4096,
		"what the default user may read"},
	{"default_permissions.write", parse_string, FIELD(default_write), ".*", 0, 4096,
		"what the default user may write"},
	{"default_user_tags.*", parse_name, FIELD(default_user_tags), NULL, 1, 255,
		"true: the default user has this tag (default: administrator)"},
	{"loopback_users", parse_no_names, FIELD(loopback_users), NULL, 0, 0,
		"\"none\": every user may connect from anywhere"},
	{"loopback_users.*", parse_name, FIELD(loopback_users), NULL, 1, 255,
		"true: this user may only connect from this machine (default: guest)"},

	{"cluster_name", parse_string, FIELD(cluster_name), "", 0, 255,
		"name of the cluster (default: after its first node)"},
	{"queue_master_locator", parse_locator, FIELD(queue_master_locator), "client-local", 0, 0,
		"where a new queue's leader is: client-local, min-masters or random"},
	{"queue_leader_locator", parse_locator, FIELD(queue_leader_locator), "client-local", 0, 0,
		"the same for quorum queues: client-local, balanced or random"},
	{"log.console.level", parse_level, FIELD(log_level), "info", 0, 0,
		"debug, info, warning, error or none"},
	{"worker_threads", parse_integer, FIELD(worker_threads), "0", 0, 256,
		"threads that serve connections and queues, 0 for one per core"},
	{"vm_memory_high_watermark.relative", parse_share, FIELD(memory_limit), "0.4", 0, 1,
		"publishers are blocked above this share of the machine's memory"},
	{"vm_memory_high_watermark.absolute", parse_bytes, FIELD(memory_limit), NULL, 0, MAX_BYTES,
		"the same as a size"},
	{"disk_free_limit.relative", parse_share, FIELD(disk_free_limit), NULL, 0, 100,
		"publishers are blocked when less than this share of the memory's size is free on "
		"disk"},
	{"disk_free_limit.absolute", parse_bytes, FIELD(disk_free_limit), "50MB", 0, MAX_BYTES,
		"the same as a size"},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

/* RabbitMQ's, without effect here: a configuration taken over says so, once per line, and works. A
 * final "*" stands for anything. */
static const char *const idle_keys[] = {
	"advanced.*",
	"auth_backends.*",
	"auth_http.*",
	"auth_ldap.*",
	"auth_mechanisms.*",
	"background_gc_*",
	"channel_max_per_node",
	"channel_operation_timeout",
	"channel_tick_interval",
	"cluster_exchange_limit",
	"cluster_formation.*",
	"cluster_keepalive_interval",
	"cluster_partition_handling*",
	"cluster_queue_limit",
	"cluster_tags.*",
	"collect_statistics*",
	"connection_max",
	"consumer_max_per_channel",
	"credential_validator.*",
	"default_limits.*",
	"default_policies.*",
	"default_queue_type",
	"default_users.*",
	"definitions.*",
	"delegate_count",
	"distribution.*",
	"erlang.*",
	"halt_on_upgrade_failure",
	"hipe_compile",
	"lazy_queue_explicit_gc_run_operation_threshold",
	"listeners.ssl*",
	"load_definitions",
	"log.*",
	"management.*",
	"management_agent.*",
	"memory_monitor_interval",
	"message_store_*",
	"metadata_store.*",
	"mirroring_*",
	"mnesia_table_loading_retry_*",
	"motd_file",
	"mqtt.*",
	"msg_store_*",
	"net_ticktime",
	"node_tags.*",
	"num_acceptors.*",
	"password_hashing_module",
	"prometheus.*",
	"proxy_protocol",
	"queue_index_*",
	"quorum_*",
	"raft.*",
	"reverse_dns_lookups",
	"server_exit_timeout",
	"shovel.*",
	"shutdown_wait_timeout",
	"socket_writer.*",
	"ssl_allow_poodle_attack",
	"ssl_cert_login_from",
	"ssl_handshake_timeout",
	"ssl_options.*",
	"stomp.*",
	"stream.*",
	"sysmon_handler.*",
	"tcp_listen_options.*",
	"total_memory_available_override_value",
	"trace_vhosts",
	"track_auth_attempt_source",
	"vhost_max",
	"vhost_restart_strategy",
	"vm_memory_calculation_strategy",
	"vm_memory_high_watermark_paging_ratio",
	"web_mqtt.*",
	"web_stomp.*",
};

/* ---- numbers ---- */

/* Digits at the start of *text, which moves behind them. */
static bool take_number(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t v = 0;
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	}
	*text = p;
	*ret = v;
	return true;
}

static const struct {
	const char *name;
	uint64_t ms;
} time_units[] = {
	{"", 1},
	{"ms", 1},
	{"s", 1000},
	{"m", 60 * 1000},
	{"h", 60 * 60 * 1000},
	{"d", DAY_MS},
};

static bool parse_duration(const char *value, uint64_t *ret)
{
	uint64_t v;
	if (!take_number(&value, &v))
		return false;
	for (size_t i = 0; i < sizeof time_units / sizeof *time_units; i++)
		if (strcasecmp(value, time_units[i].name) == 0)
			return !__builtin_mul_overflow(v, time_units[i].ms, ret);
	return false;
}

static bool in_range(const struct row *r, uint64_t v)
{
	return v >= r->min && v <= r->max;
}

/* ---- types ---- */

static const char *parse_integer(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	uint64_t v;
	if (!take_number(&value, &v) || *value != '\0')
		return "an integer";
	if (!in_range(r, v))
		return "an integer in range";
	*(uint64_t *)field = v;
	return NULL;
}

/* 0 asks for no limit, but everything a peer can make grow has one. */
static const char *parse_ceiling(
	const struct row *r, void *field, const char *name, const char *value)
{
	if (strcmp(value, "0") == 0) {
		*(uint64_t *)field = r->max;
		return NULL;
	}
	return parse_integer(r, field, name, value);
}

static const char *parse_duration_ms(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	uint64_t v;
	if (!parse_duration(value, &v))
		return "a time in milliseconds, or with a unit (ms, s, m, h, d)";
	if (!in_range(r, v))
		return "a time in range (milliseconds)";
	*(uint64_t *)field = v;
	return NULL;
}

static const char *parse_size(const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	uint64_t v;
	if (!size_parse(value, &v))
		return "a size in bytes, or with a unit (KB, KiB, MB, MiB, GB, GiB, TB, TiB)";
	if (!in_range(r, v))
		return "a size in range (bytes)";
	*(uint64_t *)field = v;
	return NULL;
}

static const char *parse_bytes(
	const struct row *r, void *field, const char *name, const char *value)
{
	struct config_amount *amount = field;
	uint64_t v;
	const char *expected = parse_size(r, &v, name, value);
	if (expected == NULL)
		*amount = (struct config_amount){.bytes = v};
	return expected;
}

/* Written out because strtod() follows the locale and takes "inf" and "0x1p3". */
static bool parse_decimal(const char *p, double *ret)
{
	uint64_t whole = 0;
	bool digits = take_number(&p, &whole);
	double v = (double)whole;
	if (*p == '.') {
		p++;
		for (double scale = 0.1; isdigit((unsigned char)*p); p++, scale /= 10) {
			v += (*p - '0') * scale;
			digits = true;
		}
	}
	*ret = v;
	return digits && *p == '\0';
}

static const char *parse_share(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	struct config_amount *amount = field;
	double v;
	if (!parse_decimal(value, &v))
		return "a decimal number";
	if (v < (double)r->min || v > (double)r->max)
		return "a decimal number in range";
	*amount = (struct config_amount){.relative = true, .share = v};
	return NULL;
}

static const char *parse_bool(const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	bool yes = strcmp(value, "true") == 0;
	if (!yes && strcmp(value, "false") != 0)
		return "true or false";
	*(bool *)field = yes;
	return NULL;
}

static const char *parse_string(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	char **s = field;
	if (!in_range(r, strlen(value)))
		return "a text whose length is in range";
	mem_free(*s);
	*s = mem_strdup(value);
	return NULL;
}

static const char *parse_locator(
	const struct row *r, void *field, const char *name, const char *value)
{
	static const char *const words[] = {
		"client-local", "min-masters", "balanced", "least-leaders", "random"};
	char **s = field;
	(void)r;
	(void)name;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (strcmp(value, words[i]) != 0)
			continue;
		mem_free(*s);
		*s = mem_strdup(value);
		return NULL;
	}
	return "client-local, min-masters, balanced or random";
}

/* Others are no reason to go on: a node that ignored them would found a cluster of its own. */
static const char *parse_backend(
	const struct row *r, void *field, const char *name, const char *value)
{
	static const char prefix[] = "rabbit_peer_discovery_";
	(void)r;
	(void)name;
	if (strncmp(value, prefix, sizeof prefix - 1) == 0)
		value += sizeof prefix - 1;
	bool dns = strcmp(value, "dns") == 0;
	if (!dns && strcmp(value, "classic_config") != 0)
		return "classic_config or dns";
	*(bool *)field = dns;
	return NULL;
}

static const char *parse_verify(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	bool none = strcmp(value, "verify_none") == 0;
	if (!none && strcmp(value, "verify_peer") != 0)
		return "verify_peer or verify_none";
	*(bool *)field = none;
	return NULL;
}

static const char *parse_node_type(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	bool ram = strcmp(value, "ram") == 0;
	if (!ram && strcmp(value, "disc") != 0 && strcmp(value, "disk") != 0)
		return "disc or ram";
	*(bool *)field = ram;
	return NULL;
}

/* RabbitMQ has two levels that we have not. */
static const char *parse_level(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	int level = log_level_of(value);
	if (level < 0)
		return "debug, info, warning, error or none";
	*(enum log_level *)field = (enum log_level)level;
	return NULL;
}

static const char address_expected[] = "a port, an address:port or an [IPv6 address]:port";

/* The part in front of the last colon, as listener_bind() takes it, or NULL. */
static char *host_parse(const char *host, size_t n)
{
	uint8_t binary[sizeof(struct in6_addr)];
	bool brackets = n > 2 && host[0] == '[' && host[n - 1] == ']';
	char *bare = mem_printf("%.*s", (int)n - 2 * brackets, host + brackets);
	char *ret = NULL;
	if (!brackets && inet_pton(AF_INET, bare, binary) == 1)
		ret = mem_strdup(bare);
	else if (inet_pton(AF_INET6, bare, binary) == 1)
		ret = mem_printf("[%s]", bare);
	mem_free(bare);
	return ret;
}

static const char *parse_address(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)name;
	struct config_address *address = field;
	const char *colon = strrchr(value, ':');
	const char *port = colon != NULL ? colon + 1 : value;
	uint64_t v;
	if (!take_number(&port, &v) || *port != '\0')
		return address_expected;
	if (!in_range(r, v))
		return "a port up to 65535";
	char *host = NULL;
	if (colon != NULL) {
		host = host_parse(value, (size_t)(colon - value));
		if (host == NULL)
			return address_expected;
	}
	mem_free(address->host);
	*address = (struct config_address){host, (unsigned)v};
	return NULL;
}

/* ---- lists ---- */

static void listeners_clear(struct config_listeners *list)
{
	for (size_t i = 0; i < list->n; i++) {
		mem_free(list->p[i].name);
		mem_free(list->p[i].address.host);
	}
	mem_free(list->p);
	*list = (struct config_listeners){0};
}

/* The one of this name, or a new one. */
static struct config_listener *listeners_get(struct config_listeners *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->p[i].name, name) == 0)
			return &list->p[i];
	}
	list->p = mem_realloc(list->p, (list->n + 1) * sizeof list->p[0]);
	struct config_listener *l = &list->p[list->n++];
	*l = (struct config_listener){.name = mem_strdup(name)};
	return l;
}

static const char *parse_listener(
	const struct row *r, void *field, const char *name, const char *value)
{
	struct config_listeners *list = field;
	struct config_address address = {0};
	const char *expected = parse_address(r, &address, name, value);
	if (expected != NULL)
		return expected;
	struct config_listener *l = listeners_get(list, name);
	mem_free(l->address.host);
	l->address = address;
	list->given = true;
	return NULL;
}

static const char *parse_no_listeners(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	struct config_listeners *list = field;
	if (strcmp(value, "none") != 0)
		return "\"none\" (a listener is listeners.tcp.NAME)";
	listeners_clear(list);
	list->given = true;
	return NULL;
}

static void names_clear(struct config_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		mem_free(names->p[i]);
	mem_free(names->p);
	*names = (struct config_names){0};
}

static void names_remove(struct config_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->p[i], name) == 0) {
			mem_free(names->p[i]);
			names->p[i] = names->p[--names->n];
			return;
		}
	}
}

static void names_add(struct config_names *names, const char *name)
{
	names_remove(names, name);
	names->p = mem_realloc(names->p, (names->n + 1) * sizeof names->p[0]);
	names->p[names->n++] = mem_strdup(name);
}

static const char *parse_name(const struct row *r, void *field, const char *name, const char *value)
{
	struct config_names *names = field;
	bool on;
	const char *expected = parse_bool(r, &on, name, value);
	if (expected != NULL)
		return expected;
	if (!in_range(r, strlen(name)))
		return "a name whose length is in range";
	if (on)
		names_add(names, name);
	else
		names_remove(names, name);
	names->given = true;
	return NULL;
}

static void peers_clear(struct config_peers *list)
{
	for (size_t i = 0; i < list->n; i++) {
		mem_free(list->p[i].key);
		mem_free(list->p[i].node);
	}
	mem_free(list->p);
	*list = (struct config_peers){0};
}

static struct config_peer *peers_get(struct config_peers *list, const char *key)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->p[i].key, key) == 0)
			return &list->p[i];
	}
	list->p = mem_realloc(list->p, (list->n + 1) * sizeof list->p[0]);
	struct config_peer *peer = &list->p[list->n++];
	*peer = (struct config_peer){.key = mem_strdup(key)};
	return peer;
}

static const char *parse_peer(const struct row *r, void *field, const char *name, const char *value)
{
	char *address = discovery_address(value, 1);
	(void)r;
	if (address == NULL)
		return "NAME@HOST or NAME@HOST:PORT";
	mem_free(address);
	struct config_peer *peer = peers_get(field, name);
	mem_free(peer->node);
	peer->node = mem_strdup(value);
	return NULL;
}

static const char *parse_no_names(
	const struct row *r, void *field, const char *name, const char *value)
{
	(void)r;
	(void)name;
	struct config_names *names = field;
	if (strcmp(value, "none") != 0)
		return "\"none\" (a user is loopback_users.NAME)";
	names_clear(names);
	names->given = true;
	return NULL;
}

/* ---- a key and its value ---- */

void config_say(struct config *c, enum log_level level, const char *fmt, ...)
{
	if (c->note == NULL)
		return;
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->note(c->note_arg, level, text);
}

/* "a.*" matches "a.b", "a*" also "a"; returns what the star stands for ("" if none) or NULL. */
static const char *key_match(const char *pattern, const char *key)
{
	size_t n = strlen(pattern) - 1;
	if (pattern[n] != '*')
		return strcmp(pattern, key) == 0 ? "" : NULL;
	if (strncmp(pattern, key, n) != 0 || (pattern[n - 1] == '.' && key[n] == '\0'))
		return NULL;
	return key + n;
}

/* "a\.b" in a key is the name "a.b". */
static char *name_unescape(const char *name)
{
	char *copy = mem_strdup(name);
	char *to = copy;
	for (const char *from = copy; *from != '\0'; from++) {
		if (from[0] == '\\' && from[1] == '.')
			continue;
		*to++ = *from;
	}
	*to = '\0';
	return copy;
}

static const struct row *row_find(const char *key, const char **ret_name)
{
	for (size_t i = 0; i < ROWS; i++) {
		const char *name = key_match(rows[i].key, key);
		if (name != NULL) {
			*ret_name = name;
			return &rows[i];
		}
	}
	return NULL;
}

static bool key_is_idle(const char *key)
{
	for (size_t i = 0; i < sizeof idle_keys / sizeof idle_keys[0]; i++) {
		if (key_match(idle_keys[i], key) != NULL)
			return true;
	}
	return false;
}

int config_set(struct config *c, const char *where, const char *key, const char *value)
{
	const char *name;
	const struct row *r = row_find(key, &name);
	if (r == NULL) {
		if (key_is_idle(key))
			config_say(c, LOG_INFO, "%s: %s has no effect in Warren", where, key);
		else
			config_say(c, LOG_WARNING, "%s: unknown key %s, ignored", where, key);
		return 0;
	}
	char *plain = name_unescape(name);
	const char *expected = r->parse(r, (char *)c + r->field, plain, value);
	mem_free(plain);
	if (expected == NULL)
		return 0;
	/* A text may be a password. */
	const char *shown = r->parse == parse_string ? "..." : value;
	if (r->max > 0)
		config_say(c, LOG_ERROR, "%s: %s = %s: must be %s (%llu to %llu)", where, key, shown,
			expected, (unsigned long long)r->min, (unsigned long long)r->max);
	else
		config_say(c, LOG_ERROR, "%s: %s = %s: must be %s", where, key, shown, expected);
	return -1;
}

/* ---- life ---- */

void config_init(struct config *c, config_note *note_fn, void *arg)
{
	*c = (struct config){.note = note_fn, .note_arg = arg};
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].initial != NULL)
			config_set(c, "default", rows[i].key, rows[i].initial);
	}
}

static void set_list_defaults(struct config *c)
{
	if (!c->listeners.given)
		listeners_get(&c->listeners, "default")->address.port = 5672;
	if (!c->default_user_tags.given)
		names_add(&c->default_user_tags, "administrator");
	if (!c->loopback_users.given)
		names_add(&c->loopback_users, "guest");
}

static bool lists_fit(struct config *c)
{
	bool ok = true;
	if (c->listeners.n > CONFIG_LISTENERS_MAX) {
		config_say(c, LOG_ERROR, "%zu listeners are configured, the limit is %d", c->listeners.n,
			CONFIG_LISTENERS_MAX);
		ok = false;
	}
	if (c->loopback_users.n > CONFIG_NAMES_MAX || c->default_user_tags.n > CONFIG_NAMES_MAX) {
		config_say(c, LOG_ERROR, "too many loopback_users or default_user_tags, the limit is %d",
			CONFIG_NAMES_MAX);
		ok = false;
	}
	if (c->peers.n > CONFIG_PEERS_MAX) {
		config_say(c, LOG_ERROR, "%zu nodes are in cluster_formation.classic_config.nodes, the limit is %d",
			c->peers.n, CONFIG_PEERS_MAX);
		ok = false;
	}
	return ok;
}

static bool links_make_sense(struct config *c)
{
	bool ok = true;
	if (c->cluster_timeout_ms < 2 * c->cluster_heartbeat_ms) {
		config_say(c, LOG_ERROR,
			"cluster.net_timeout_ms (%llu) is below two times "
			"cluster.heartbeat_interval_ms (%llu)",
			(unsigned long long)c->cluster_timeout_ms,
			(unsigned long long)c->cluster_heartbeat_ms);
		ok = false;
	}
	bool tls = c->tls_certfile[0] != '\0', trusts = c->tls_cacertfile[0] != '\0';
	if (tls != (c->tls_keyfile[0] != '\0') || (tls ? !trusts && !c->tls_no_verify : trusts)) {
		config_say(c, LOG_ERROR,
			"cluster.ssl_options needs certfile, keyfile and, unless verify is verify_none, "
			"cacertfile");
		ok = false;
	}
	return ok;
}

/* What DNS knows at a moment may be a part: nobody could say that a cluster is nowhere. */
static bool discovery_makes_sense(struct config *c)
{
	if (!c->peers_by_dns || (c->peers_host[0] != '\0' && c->peers_expected != 0))
		return true;
	config_say(c, LOG_ERROR,
		"cluster_formation.peer_discovery_backend = dns needs cluster_formation.dns.hostname and "
		"cluster_formation.target_cluster_size_hint");
	return false;
}

static bool frames_make_sense(struct config *c)
{
	if (c->initial_frame_max <= c->frame_max)
		return true;
	config_say(c, LOG_ERROR, "initial_frame_max (%llu) is above frame_max (%llu)",
		(unsigned long long)c->initial_frame_max, (unsigned long long)c->frame_max);
	return false;
}

int config_finish(struct config *c)
{
	set_list_defaults(c);
	bool lists = lists_fit(c), links = links_make_sense(c), discovery = discovery_makes_sense(c);
	return frames_make_sense(c) && lists && links && discovery ? 0 : -1;
}

void config_done(struct config *c)
{
	listeners_clear(&c->listeners);
	names_clear(&c->default_user_tags);
	names_clear(&c->loopback_users);
	peers_clear(&c->peers);
	mem_free(c->cluster_listener.host);
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].parse == parse_string || rows[i].parse == parse_locator)
			mem_free(*(char **)((char *)c + rows[i].field));
	}
	*c = (struct config){0};
}

void config_describe(FILE *to)
{
	for (size_t i = 0; i < ROWS; i++)
		fprintf(to, "%s\t%s\t%s\n", rows[i].key,
			rows[i].initial != NULL ? rows[i].initial : "", rows[i].doc);
}

/* ---- what is in effect ---- */

enum { TEXT_MAX = 512 };

typedef void config_told(void *arg, const char *key, const char *value);

static void put_address(char text[TEXT_MAX], const struct config_address *a)
{
	snprintf(text, TEXT_MAX, "%s:%u", a->host != NULL ? a->host : "[::]", a->port);
}

/* The key of a row whose last part is a name. */
static void put_key(char text[TEXT_MAX], const struct row *r, const char *name)
{
	snprintf(text, TEXT_MAX, "%.*s%s", (int)(strlen(r->key) - 1), r->key, name);
}

static void each_listener(
	const struct row *r, const struct config_listeners *ls, config_told *each, void *arg)
{
	char key[TEXT_MAX], value[TEXT_MAX];
	for (size_t i = 0; i < ls->n; i++) {
		put_key(key, r, ls->p[i].name);
		put_address(value, &ls->p[i].address);
		each(arg, key, value);
	}
}

static void each_name(
	const struct row *r, const struct config_names *names, config_told *each, void *arg)
{
	char key[TEXT_MAX];
	for (size_t i = 0; i < names->n; i++) {
		put_key(key, r, names->p[i]);
		each(arg, key, "true");
	}
}

static void each_peer(
	const struct row *r, const struct config_peers *peers, config_told *each, void *arg)
{
	char key[TEXT_MAX];
	for (size_t i = 0; i < peers->n; i++) {
		put_key(key, r, peers->p[i].key);
		each(arg, key, peers->p[i].node);
	}
}

/* False if another row has the value, or nobody is to see it. */
static bool put_value(char text[TEXT_MAX], const struct row *r, const void *field)
{
	const struct config_amount *a = field;
	static const char *const levels[] = {"debug", "info", "warning", "error", "none"};
	if (r->parse == parse_integer || r->parse == parse_ceiling ||
		r->parse == parse_duration_ms || r->parse == parse_size)
		snprintf(text, TEXT_MAX, "%llu", (unsigned long long)*(const uint64_t *)field);
	else if (r->parse == parse_bool)
		snprintf(text, TEXT_MAX, "%s", *(const bool *)field ? "true" : "false");
	else if (r->parse == parse_string || r->parse == parse_locator)
		snprintf(text, TEXT_MAX, "%s", *(char *const *)field);
	else if (r->parse == parse_backend)
		snprintf(text, TEXT_MAX, "%s", *(const bool *)field ? "dns" : "classic_config");
	else if (r->parse == parse_node_type)
		snprintf(text, TEXT_MAX, "%s", *(const bool *)field ? "ram" : "disc");
	else if (r->parse == parse_level)
		snprintf(text, TEXT_MAX, "%s", levels[*(const enum log_level *)field]);
	else if (r->parse == parse_address)
		put_address(text, field);
	else if (r->parse == parse_share && a->relative)
		snprintf(text, TEXT_MAX, "%g", a->share);
	else if (r->parse == parse_bytes && !a->relative)
		snprintf(text, TEXT_MAX, "%llu", (unsigned long long)a->bytes);
	else
		return false;
	return strcmp(r->key, "default_pass") != 0;
}

void config_each(const struct config *c, config_told *each, void *arg)
{
	char value[TEXT_MAX];
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		const void *field = (const char *)c + r->field;
		if (r->parse == parse_listener)
			each_listener(r, field, each, arg);
		else if (r->parse == parse_peer)
			each_peer(r, field, each, arg);
		else if (r->parse == parse_name)
			each_name(r, field, each, arg);
		else if (put_value(value, r, field))
			each(arg, r->key, value);
	}
}

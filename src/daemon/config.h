/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's configuration: rabbitmq.conf's format and keys, plus a few of our own.
 *
 *   # comment
 *   listeners.tcp.local = 127.0.0.1:5672
 *   default_pass = 'with # in it'
 *
 * The order is config_init(), then config_read() per file and config_set_pair() per -s, later ones
 * winning, then config_finish(). The keys, their types, defaults and limits are the table in
 * config.c.
 */
#ifndef WARREN_DAEMON_CONFIG_H
#define WARREN_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/bytes.h"
#include "src/base/log.h"

enum {
	CONFIG_LINE_MAX = 64 * 1024,
	CONFIG_FILE_MAX = 16 * 1024 * 1024,
	CONFIG_LISTENERS_MAX = 64,
	CONFIG_NAMES_MAX = 1024,
	CONFIG_PEERS_MAX = 256,
};

/* As listener_bind() takes it. */
struct config_address {
	char *host; /* "127.0.0.1" or "[::1]"; NULL: all interfaces */
	unsigned port;
};

struct config_listener {
	char *name; /* the key's last part: "default", "1", "local" */
	struct config_address address;
};

struct config_listeners {
	struct config_listener *p;
	size_t n;
	bool given; /* the file said something, so the default does not apply */
};

/* A set of names: "KEY.NAME = true". */
struct config_names {
	char **p;
	size_t n;
	bool given;
};

/* The nodes of cluster_formation.classic_config.nodes.N, in the order of the keys' first appearance. */
struct config_peer {
	char *key;  /* N */
	char *node; /* "name@host", "name@host:port" */
};

struct config_peers {
	struct config_peer *p;
	size_t n;
};

/* Bytes, or a share of the machine's memory. */
struct config_amount {
	bool relative;
	double share;
	uint64_t bytes;
};

/* One line that is wrong (LOG_ERROR), unknown (LOG_WARNING) or without effect here (LOG_INFO);
 * `text` starts with "FILE:LINE: ". */
typedef void config_note(void *arg, enum log_level level, const char *text);

struct config {
	struct config_listeners listeners;
	struct config_address cluster_listener;
	char *cluster_address; /* "": from the listener */
	char *cookie_file; /* "": the data directory's */
	char *tls_cacertfile; /* of links between nodes; all three "": no TLS */
	char *tls_certfile, *tls_keyfile;
	bool tls_no_verify;
	uint64_t tls_depth;
	uint64_t cluster_heartbeat_ms;
	uint64_t cluster_timeout_ms;
	uint64_t cluster_down_ms;
	uint64_t cluster_replace_ms;
	bool peers_by_dns;         /* else by list */
	struct config_peers peers; /* empty: no peer discovery by list */
	char *peers_host;          /* by DNS: the name whose addresses they have */
	bool first_ram;            /* a node that joins by itself is a RAM node */
	uint64_t peers_expected;   /* 0: as the list says */
	uint64_t peers_rounds;     /* 0: as many as it takes */
	uint64_t peers_interval_ms;
	uint64_t tcp_backlog;
	bool tcp_nodelay;

	uint64_t handshake_timeout_ms;
	uint64_t heartbeat_s; /* 0: none */
	uint64_t frame_max;
	uint64_t initial_frame_max;
	uint64_t channel_max;
	uint64_t message_bytes_max;
	uint64_t consumer_timeout_ms; /* 0: none */

	char *default_user;
	char *default_pass;
	char *default_vhost;
	char *default_configure;
	char *default_read;
	char *default_write;
	struct config_names default_user_tags;
	struct config_names loopback_users;

	char *queue_master_locator; /* a word of src/broker/member.h */
	char *queue_leader_locator; /* likewise, of quorum queues */

	char *cluster_name; /* "": named after the first node */
	enum log_level log_level;
	uint64_t worker_threads; /* 0: one per core */
	struct config_amount memory_limit;
	struct config_amount disk_free_limit;

	config_note *note;
	void *note_arg;
};

/* The defaults. `note` is called by all of the functions below; NULL drops what it would say. */
void config_init(struct config *c, config_note *note, void *arg);
void config_done(struct config *c);

/* Each returns 0, or -1 if anything was wrong, after having noted everything that is. */

/* A file, or a directory's *.conf in the order of their names. */
int config_read(struct config *c, const char *path);
/* The same from memory; `name` stands for the file's in notes. */
int config_parse(struct config *c, const char *name, struct slice text);
/* "KEY=VALUE", as -s gives it. */
int config_set_pair(struct config *c, const char *pair);
/* It has that form, whatever key and value are. */
bool config_pair_valid(const char *pair);
/* Defaults of lists, and checks between keys. */
int config_finish(struct config *c);

/* What is in effect, without passwords: a call per key, the texts valid inside it. After
 * config_finish(). */
void config_each(const struct config *c,
	void (*each)(void *arg, const char *key, const char *value), void *arg);
/* One line per key: name, default, meaning. */
void config_describe(FILE *to);

#endif

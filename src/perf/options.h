/* SPDX-License-Identifier: Apache-2.0
 *
 * warren-perf's command line: one table of options with their limits, and what follows from them.
 * Texts are lent by argv.
 */
#ifndef WARREN_PERF_OPTIONS_H
#define WARREN_PERF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/buf.h"
#include "src/perf/sizes.h"
#include "src/perf/uri.h"

enum { OPTIONS_URIS_MAX = 64 };

enum options_action { OPTIONS_RUN, OPTIONS_VERSION, OPTIONS_HELP };

enum options_mode { MODE_BOTH, MODE_PUBLISH, MODE_CONSUME, MODE_IDLE };

struct options {
	enum options_action action;
	enum options_mode mode;

	/* connections */
	struct uri uri[OPTIONS_URIS_MAX]; /* at least one after parsing */
	unsigned uris;
	uint32_t connections;      /* per side; 0: as many as `channels` asks for */
	uint32_t channels;         /* producers or consumers per connection */
	uint32_t idle_connections; /* that do nothing */
	uint32_t connect_parallel;
	uint32_t heartbeat_s; /* UINT32_MAX: the broker's */
	uint32_t frame_max;
	uint32_t socket_buffer; /* octets; 0: the system's */
	bool reconnect;
	uint32_t reconnect_ms;

	/* queues and exchange */
	uint32_t queues;
	const char *queue; /* a pattern that varies if there is more than one queue */
	bool transient;
	bool auto_delete;
	struct buf queue_arguments; /* tables as src/amqp/table.h has them */
	struct buf binding_arguments;
	struct buf consumer_arguments;
	const char *exchange;      /* "": the default exchange */
	const char *exchange_type; /* NULL: the exchange is there already */
	const char *routing_key;   /* a pattern */
	const char *binding_key;   /* a pattern */
	bool copies_all;           /* each message reaches every queue, not just one of them */
	bool no_declare;
	bool keep;
	bool purge;

	/* messages */
	struct sizes sizes;
	bool persistent;
	bool mandatory;
	bool has_priority;
	uint32_t priority_min;
	uint32_t priority_max;
	const char *expiration; /* NULL: none */
	struct buf headers;

	/* load */
	uint32_t producers;
	uint32_t consumers;
	bool spread;
	uint32_t confirm; /* window; 0: no confirms */
	uint32_t prefetch;
	uint32_t ack_every; /* 0: automatic */
	double rate;        /* messages per second and producer; 0: as fast as possible */
	uint32_t tick_us;
	uint32_t coalesce_us;

	/* how long */
	uint64_t messages; /* in all; 0: no limit */
	double seconds;    /* 0: no limit */
	double warmup_s;
	double drain_idle_s;
	double drain_max_s;
	double stall_s;

	/* results */
	bool verify;
	uint32_t run; /* the run's number in every stamp; 0: consume whatever comes */
	bool json;
	bool quiet;

	char *made[2]; /* what this file had to allocate for the texts above */
};

/* 0, or -1 with one line in `err`. options_done() in either case. */
int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n);
void options_done(struct options *o);

/* "both", "publish", ... Static. */
const char *options_mode_name(enum options_mode mode);

void options_print_help(FILE *to);
void options_print_version(FILE *to);

#endif

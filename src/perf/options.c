/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/perf/arguments.h"
#include "src/perf/pattern.h"
#include "src/perf/stamp.h"

enum {
	HELP_COLUMN = 30,
	WINDOW_MAX = 1 << 24,
	MANY = 1000000,
	DAYS_S = 100 * 86400,
	FRAME_MAX_DEFAULT = 131072,
};

struct mistake {
	char *text;
	size_t n;
};

enum kind { KIND_FLAG, KIND_NUMBER, KIND_LARGE, KIND_REAL, KIND_TEXT, KIND_TAKEN, KIND_HEADLINE };

struct row {
	const char *name; /* or the headline */
	const char *arg;
	const char *help;
	enum kind kind;
	size_t at; /* of the field in struct options */
	double min, max;
	/* KIND_TAKEN: 0, or -1 with or without a line in m */
	int (*take)(struct options *o, size_t at, const char *arg, struct mistake *m);
};

/* --- options with a form of their own --- */

static int take_uri(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	(void)at;
	while (*arg != '\0') {
		size_t n = strcspn(arg, ",");
		if (o->uris == OPTIONS_URIS_MAX) {
			snprintf(m->text, m->n, "--uri: more than %d", OPTIONS_URIS_MAX);
			return -1;
		}
		char *one = mem_dup(arg, n + 1);
		one[n] = '\0';
		int rc = uri_parse(&o->uri[o->uris++], one, m->text, m->n);
		mem_free(one);
		if (rc != 0)
			return rc;
		arg += n + (arg[n] == ',');
	}
	return 0;
}

static const char *const mode_names[] = {"both", "publish", "consume", "idle"};

static int take_mode(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	(void)at, (void)m;
	for (unsigned i = MODE_BOTH; i < MODE_IDLE; i++) {
		if (strcmp(arg, mode_names[i]) == 0) {
			o->mode = (enum options_mode)i;
			return 0;
		}
	}
	return -1;
}

static int take_sizes(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	(void)at, (void)m;
	return sizes_parse(&o->sizes, arg);
}

static int take_arguments(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	return arguments_parse((struct buf *)((char *)o + at), arg, m->text, m->n);
}

/* N or N-M */
static int take_priority(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	(void)at, (void)m;
	char *end;
	if (!isdigit((unsigned char)*arg))
		return -1;
	unsigned long low = strtoul(arg, &end, 10), high = low;
	if (*end == '-' && isdigit((unsigned char)end[1]))
		high = strtoul(end + 1, &end, 10);
	if (*end != '\0' || low > high || high > 255)
		return -1;
	o->has_priority = true;
	o->priority_min = (uint32_t)low;
	o->priority_max = (uint32_t)high;
	return 0;
}

static int take_action(struct options *o, size_t at, const char *arg, struct mistake *m)
{
	(void)arg, (void)m;
	o->action = (enum options_action)at;
	return 0;
}

/* --- the table --- */

#define AT(field) offsetof(struct options, field)
#define HEADLINE(text)                                         \
	{                                                      \
		text, NULL, NULL, KIND_HEADLINE, 0, 0, 0, NULL \
	}
#define FLAG(name, field, help)                                    \
	{                                                          \
		name, NULL, help, KIND_FLAG, AT(field), 0, 0, NULL \
	}
#define NUMBER(name, arg, field, min, max, help)                        \
	{                                                               \
		name, arg, help, KIND_NUMBER, AT(field), min, max, NULL \
	}
#define REAL(name, arg, field, min, max, help)                        \
	{                                                             \
		name, arg, help, KIND_REAL, AT(field), min, max, NULL \
	}
#define TEXT(name, arg, field, help)                              \
	{                                                         \
		name, arg, help, KIND_TEXT, AT(field), 0, 0, NULL \
	}
#define TAKEN(name, arg, at, take, help)                    \
	{                                                   \
		name, arg, help, KIND_TAKEN, at, 0, 0, take \
	}

static const struct row rows[] = {
	HEADLINE("What to do"),
	TAKEN("mode", "MODE", 0, take_mode, "both, publish or consume (both)"),
	NUMBER("producers", "N", producers, 0, 65535, "publishers, each on its own channel (1)"),
	NUMBER("consumers", "N", consumers, 0, 65535, "consumers, each on its own channel (1)"),
	{"messages", "N", "end after N messages in all", KIND_LARGE, AT(messages), 1, 1e15, NULL},
	REAL("seconds", "S", seconds, 0.001, DAYS_S, "end after S seconds (10)"),
	REAL("warmup", "S", warmup_s, 0, DAYS_S, "run S seconds before measuring (0)"),
	REAL("rate", "R", rate, 0, 1e8, "messages per second and producer; 0: no limit (0)"),

	HEADLINE("Connections"),
	TAKEN("uri", "URI[,URI]", 0, take_uri, "amqp://user:password@host:port/vhost; repeatable"),
	NUMBER("connections", "N", connections, 1, MANY, "connections for either side"),
	NUMBER("channels", "N", channels, 1, 65535, "channels per connection (1)"),
	NUMBER("idle-connections", "N", idle_connections, 0, MANY, "further ones that do nothing"),
	NUMBER("connect-parallel", "N", connect_parallel, 1, 65535, "open so many at a time (64)"),
	NUMBER("heartbeat", "S", heartbeat_s, 0, 65535, "0: none (what the broker asks for)"),
	NUMBER("frame-max", "OCTETS", frame_max, 4096, 1e9, "largest frame (131072)"),
	NUMBER("socket-buffer", "OCTETS", socket_buffer, 0, 1 << 30, "0: the system's choice (0)"),
	FLAG("reconnect", reconnect, "go on after a loss, at the next URI"),
	NUMBER("reconnect-delay", "MS", reconnect_ms, 1, 600000, "between attempts (100)"),

	HEADLINE("Queues and exchange"),
	NUMBER("queues", "N", queues, 1, MANY, "queues (1)"),
	TEXT("queue", "PATTERN", queue, "their name; %i is the number (perf, or perf-%i)"),
	FLAG("transient", transient, "queues and exchange are not durable"),
	FLAG("auto-delete", auto_delete, "queues go with their last consumer"),
	TAKEN("queue-arguments", "LIST", AT(queue_arguments), take_arguments, "KEY=VALUE,..."),
	TEXT("exchange", "NAME", exchange, "publish there, and bind the queues to it"),
	TEXT("exchange-type", "TYPE", exchange_type, "declare it, and delete it at the end"),
	TEXT("routing-key", "PATTERN", routing_key, "(the queue's name)"),
	TEXT("binding-key", "PATTERN", binding_key, "(the routing key)"),
	TAKEN("binding-arguments", "LIST", AT(binding_arguments), take_arguments, "KEY=VALUE,..."),
	FLAG("all-queues", copies_all, "every message reaches every queue (as in a fanout)"),
	FLAG("no-declare", no_declare, "use what is there; delete nothing"),
	FLAG("keep", keep, "do not delete queues and exchange at the end"),
	FLAG("purge", purge, "empty the queues first"),

	HEADLINE("Messages"),
	TAKEN("size", "SIZES", 0, take_sizes, "16, 100-2k, or 16:90,1k-4k:10 with weights (16)"),
	FLAG("persistent", persistent, "delivery mode 2"),
	FLAG("mandatory", mandatory, "return what reaches no queue"),
	TAKEN("priority", "N[-M]", 0, take_priority, "priority, or a range of them"),
	TEXT("expiration", "MS", expiration, "time to live"),
	TAKEN("headers", "LIST", AT(headers), take_arguments, "KEY=VALUE,..."),

	HEADLINE("Publishing and consuming"),
	FLAG("spread", spread, "each producer publishes to all queues in turn"),
	NUMBER("confirm", "WINDOW", confirm, 0, WINDOW_MAX, "unconfirmed per producer; 0: off (0)"),
	NUMBER("prefetch", "N", prefetch, 0, 65535,
		"unacknowledged per consumer; 0: no limit (1000)"),
	NUMBER("ack-every", "N", ack_every, 0, 65535, "acknowledge every N-th; 0: automatic (1)"),
	TAKEN("consumer-arguments", "LIST", AT(consumer_arguments), take_arguments,
		"KEY=VALUE,..."),
	NUMBER("tick-us", "N", tick_us, 1, 1000000, "grid of the due times of --rate (200)"),
	NUMBER("coalesce-us", "N", coalesce_us, 0, 100000, "sleep before each poll (0)"),

	HEADLINE("Ending"),
	REAL("drain-idle", "S", drain_idle_s, 0.01, DAYS_S, "give up when nothing came for S (5)"),
	REAL("drain-max", "S", drain_max_s, 0.01, DAYS_S, "give up after S in any case (60)"),
	REAL("stall", "S", stall_s, 1, DAYS_S, "fail when nothing moved for S (60)"),

	HEADLINE("Results"),
	FLAG("verify", verify, "check contents, order, losses and duplicates"),
	NUMBER("run", "N", run, 1, UINT32_MAX, "the run's number in the messages (random)"),
	FLAG("json", json, "print the summary as one JSON object"),
	FLAG("quiet", quiet, "no line per second on stderr"),
	TAKEN("version", NULL, OPTIONS_VERSION, take_action, "print the version and exit"),
	TAKEN("help", NULL, OPTIONS_HELP, take_action, "print this text and exit"),
};

enum { ROWS = sizeof rows / sizeof rows[0] };

/* --- parsing --- */

static bool store_number(struct options *o, const struct row *r, const char *arg)
{
	char *end;
	double v = strtod(arg, &end);
	if (end == arg || *end != '\0' || !(v >= r->min) || !(v <= r->max))
		return false;
	void *field = (char *)o + r->at;
	if (r->kind == KIND_REAL) {
		*(double *)field = v;
		return true;
	}
	if (r->kind == KIND_LARGE)
		*(uint64_t *)field = (uint64_t)v;
	else
		*(uint32_t *)field = (uint32_t)v;
	return v == (double)(uint64_t)v;
}

static int apply(struct options *o, const struct row *r, const char *arg, struct mistake *m)
{
	m->text[0] = '\0';
	bool ok = true;
	switch (r->kind) {
	case KIND_FLAG:
		*(bool *)((char *)o + r->at) = true;
		break;
	case KIND_TEXT:
		*(const char **)((char *)o + r->at) = arg;
		break;
	case KIND_TAKEN:
		ok = r->take(o, r->at, arg, m) == 0;
		break;
	default:
		ok = store_number(o, r, arg);
	}
	if (!ok && m->text[0] == '\0')
		snprintf(m->text, m->n, "--%s: '%s' is not a value for it (see --help)", r->name,
			arg);
	return ok ? 0 : -1;
}

static const struct row *find(const char *name, size_t n)
{
	for (unsigned i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		if (r->kind != KIND_HEADLINE && strlen(r->name) == n && !memcmp(r->name, name, n))
			return r;
	}
	return NULL;
}

static int fail(struct mistake *m, const char *what, const char *arg)
{
	snprintf(m->text, m->n, "%s: %s (see --help)", arg, what);
	return -1;
}

/* One option at argv[*at], with its argument behind '=' or in the next word. */
static int parse_one(struct options *o, int *at, int argc, char **argv, struct mistake *m)
{
	const char *word = argv[*at];
	if (strncmp(word, "--", 2) != 0)
		return fail(m, "unexpected argument", word);
	size_t n = strcspn(word + 2, "=");
	const struct row *r = find(word + 2, n);
	if (r == NULL)
		return fail(m, "unknown option", word);
	const char *arg = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;
	if (r->arg == NULL)
		return arg == NULL ? apply(o, r, "", m) : fail(m, "takes no argument", word);
	if (arg == NULL) {
		if (*at + 1 >= argc)
			return fail(m, "needs an argument", word);
		arg = argv[++*at];
	}
	return apply(o, r, arg, m);
}

/* --- what follows from the options --- */

static const char *whats_wrong(const struct options *o)
{
	if (!pattern_valid(o->queue))
		return "--queue: not a name, or too long";
	if (o->queues > 1 && !pattern_varies(o->queue))
		return "--queue: needs a %i when there are several queues";
	if (!pattern_valid(o->routing_key) || !pattern_valid(o->binding_key))
		return "--routing-key, --binding-key: not a key, or too long";
	if (strlen(o->exchange) > 255)
		return "--exchange: too long";
	if (o->exchange_type != NULL && *o->exchange == '\0')
		return "--exchange-type: needs --exchange";
	if (o->expiration != NULL && strlen(o->expiration) > 255)
		return "--expiration: too long";
	if (o->prefetch > 0 && o->ack_every > o->prefetch)
		return "--ack-every: above --prefetch nothing would ever be acknowledged";
	if (o->verify && o->mode != MODE_CONSUME && o->sizes.min < STAMP_LONG)
		return "--verify: needs --size 40 or more";
	if (o->mode == MODE_BOTH && (o->producers == 0) != (o->consumers == 0))
		return "--producers, --consumers: 0 of one; --mode says that";
	return NULL;
}

static void default_names(struct options *o)
{
	bool many = o->queues > 1;
	if (o->queue == NULL) {
		o->queue = many ? "perf-%i" : "perf";
	} else if (many && pattern_valid(o->queue) && !pattern_varies(o->queue)) {
		o->made[0] = mem_printf("%s-%%i", o->queue);
		o->queue = o->made[0];
	}
	const char *type = o->exchange_type != NULL ? o->exchange_type : "";
	bool fanout = strcmp(type, "fanout") == 0 || strcmp(o->exchange, "amq.fanout") == 0;
	if (many && fanout)
		o->copies_all = true;
	if (o->routing_key == NULL)
		o->routing_key = o->queue;
	else if (many && !pattern_varies(o->routing_key) && *o->exchange != '\0' &&
		 strcmp(type, "x-consistent-hash") != 0 && o->binding_key == NULL)
		o->copies_all = true;
	if (o->binding_key == NULL)
		o->binding_key = o->routing_key;
}

static void default_mode(struct options *o)
{
	if (o->mode == MODE_PUBLISH)
		o->consumers = 0;
	if (o->mode == MODE_CONSUME)
		o->producers = 0;
	if (o->producers == 0 && o->consumers == 0)
		o->mode = MODE_IDLE;
	if (o->mode != MODE_CONSUME && o->messages == 0 && o->seconds == 0)
		o->seconds = 10;
}

static int conclude(struct options *o, struct mistake *m)
{
	if (o->uris == 0 && take_uri(o, 0, "amqp://", m) != 0)
		return -1;
	default_mode(o);
	default_names(o);
	const char *wrong = whats_wrong(o);
	if (wrong != NULL)
		snprintf(m->text, m->n, "%s", wrong);
	return wrong != NULL ? -1 : 0;
}

int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_n)
{
	*o = (struct options){
		.channels = 1,
		.connect_parallel = 64,
		.heartbeat_s = UINT32_MAX,
		.frame_max = FRAME_MAX_DEFAULT,
		.reconnect_ms = 100,
		.queues = 1,
		.exchange = "",
		.producers = 1,
		.consumers = 1,
		.prefetch = 1000,
		.ack_every = 1,
		.tick_us = 200,
		.drain_idle_s = 5,
		.drain_max_s = 60,
		.stall_s = 60,
	};
	sizes_parse(&o->sizes, "16");
	struct mistake m = {err, err_n};
	for (int i = 1; i < argc; i++) {
		if (parse_one(o, &i, argc, argv, &m) != 0)
			return -1;
		if (o->action != OPTIONS_RUN)
			return 0;
	}
	return conclude(o, &m);
}

void options_done(struct options *o)
{
	for (unsigned i = 0; i < o->uris; i++)
		uri_done(&o->uri[i]);
	buf_done(&o->queue_arguments);
	buf_done(&o->binding_arguments);
	buf_done(&o->consumer_arguments);
	buf_done(&o->headers);
	for (unsigned i = 0; i < sizeof o->made / sizeof o->made[0]; i++)
		mem_free(o->made[i]);
	*o = (struct options){0};
}

const char *options_mode_name(enum options_mode mode)
{
	return mode_names[mode];
}

static void print_row(FILE *to, const struct row *r)
{
	if (r->kind == KIND_HEADLINE) {
		fprintf(to, "\n%s:\n", r->name);
		return;
	}
	int n = fprintf(
		to, "  --%s%s%s", r->name, r->arg != NULL ? " " : "", r->arg != NULL ? r->arg : "");
	fprintf(to, "%*s%s\n", n < HELP_COLUMN ? HELP_COLUMN - n : 1, "", r->help);
}

void options_print_help(FILE *to)
{
	fputs("Usage: warren-perf [OPTION]...\nPut an AMQP 0-9-1 broker under load and measure "
	      "it.\n",
		to);
	for (unsigned i = 0; i < ROWS; i++)
		print_row(to, &rows[i]);
	fputs("\nDefaults are in parentheses. What the numbers mean and the exit statuses:\n"
	      "man 1 warren-perf.\n",
		to);
}

void options_print_version(FILE *to)
{
	fputs("warren-perf " PACKAGE_VERSION "\n", to);
}

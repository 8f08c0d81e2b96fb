/* SPDX-License-Identifier: Apache-2.0
 *
 * What one routing costs. Not a test: prints nanoseconds per call.
 */
#include <time.h>

#include "tests/unit/broker/fixture.h"

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define KEYS 4096

struct keys {
	char text[KEYS][64];
};

static void measure(struct broker *b, const char *what, const char *source, const struct keys *keys)
{
	struct broker_route r = {0};
	struct broker_exchange *x = exchange(b, source);
	size_t calls = 0, hits = 0;
	double from = seconds(), to;
	do {
		for (int i = 0; i < KEYS; i++, calls++) {
			broker_route_begin(b, &r);
			broker_route(b, x, slice_str(keys->text[i]), NONE, &r);
			hits += r.n;
		}
		to = seconds();
	} while (to - from < 0.5);
	printf("%-52s %8.1f ns per call, %7.1f queues\n", what, (to - from) / (double)calls * 1e9,
		(double)hits / (double)calls);
	broker_route_done(&r);
}

static struct keys keys;

static void set_keys(struct dice *d, const char *fmt, uint32_t n)
{
	for (int i = 0; i < KEYS; i++)
		snprintf(keys.text[i], sizeof keys.text[i], fmt, roll(d, n), roll(d, n));
}

static void direct_and_default(struct broker *b, struct dice *d)
{
	char name[64];
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof name, "key%d", i);
		declare_queue(b, name);
		bind_queue(b, "amq.direct", name, name);
	}
	set_keys(d, "key%u", 10000);
	measure(b, "default exchange, 10000 queues", "", &keys);
	measure(b, "direct, 10000 keys", "amq.direct", &keys);
	set_keys(d, "key%u", 100);
	measure(b, "direct, 10000 keys, 100 of them used", "amq.direct", &keys);
}

static void fanouts(struct broker *b, struct dice *d)
{
	char name[64];
	set_keys(d, "key%u", 10);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "key%d", i);
		bind_queue(b, "amq.fanout", name, "");
		if (i == 9)
			measure(b, "fanout to 10", "amq.fanout", &keys);
	}
	measure(b, "fanout to 1000", "amq.fanout", &keys);
}

static void topics(struct broker *b, struct dice *d)
{
	char name[64], pattern[64];
	for (int i = 0; i < 1000; i++) {
		static const char *const forms[] = {
			"site%d.temperature.*", "site%d.#", "site%d.*.high", "site%d.pressure.low"};
		snprintf(name, sizeof name, "key%d", i);
		snprintf(pattern, sizeof pattern, forms[i % 4], i);
		bind_queue(b, "amq.topic", name, pattern);
	}
	set_keys(d, "site%u.temperature.high", 1000);
	measure(b, "topic, 1000 patterns, 3 words", "amq.topic", &keys);
	bind_queue(b, "amq.topic", "key1", "#.error.#");
	bind_queue(b, "amq.topic", "key2", "*.temperature.*");
	measure(b, "topic, with #.error.# and *.temperature.*", "amq.topic", &keys);
}

static void permissions(struct broker *b)
{
	struct buf c = BUF_EMPTY;
	broker_put_add_user(&c, S("u"), NONE, BROKER_PASSWORD_SHA256, NONE);
	apply(b, &c);
	broker_put_set_permissions(&c, S("u"), S("/"), S("^app-.*"), S(".*"), S(".*"));
	apply(b, &c);
	struct broker_user *u = broker_user_find(b, S("u"));
	size_t n = 0;
	double from = seconds();
	for (int i = 0; i < 1000000; i++)
		n += broker_may(b, u, root(b), BROKER_CONFIGURE, S("app-queue-1"));
	printf("%-52s %8.1f ns per call\n", "permission ^app-.*",
		(seconds() - from) / (double)n * 1e9);
}

static void commands(struct broker *b)
{
	char name[64];
	double from = seconds();
	for (int i = 0; i < 200000; i++) {
		snprintf(name, sizeof name, "more%d", i);
		declare_queue(b, name);
		bind_queue(b, "amq.direct", name, name);
	}
	printf("%-52s %8.1f ns\n", "declare and bind a queue", (seconds() - from) / 200000 * 1e9);
	from = seconds();
	broker_digest(b);
	printf("%-52s %8.1f ms\n", "digest of 210000 queues, 212000 bindings",
		(seconds() - from) * 1e3);
}

int main(void)
{
	struct dice d = {12345};
	struct broker *b = broker_new(NULL);
	add_vhost(b, "/");
	direct_and_default(b, &d);
	fanouts(b, &d);
	topics(b, &d);
	permissions(b);
	commands(b);
	broker_free(b);
	return 0;
}

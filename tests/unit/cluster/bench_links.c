/* SPDX-License-Identifier: Apache-2.0
 *
 * What a link carries: two nodes in one process over loopback, one direction, and what that takes of
 * the processors at both ends together.
 */
#include "tests/unit/cluster/nodes.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "tests/lib/certificate.h"

/* What is sent at once and not arrived yet. */
enum { WINDOW_OCTETS = 16 * 1024 * 1024, WINDOW_MESSAGES = 16384, SECONDS = 3, POLL_MS = 1 };

struct flood {
	struct desk *desk;
	struct seen *arrived;
	struct turn_hook hook;
	struct timer *timer;
	struct blob *blob;
	size_t octets; /* of a message, as its receiver counts them */
	uint64_t sent;
	_Atomic bool stop;
};

static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of all threads. */
static double processor_seconds(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool flood_turn(struct turn_hook *h)
{
	struct flood *f = LIST_ENTRY(h, struct flood, hook);
	uint64_t most = WINDOW_OCTETS / f->octets;
	most = most > WINDOW_MESSAGES ? WINDOW_MESSAGES : most < 2 ? 2 : most;
	struct envelope e = {.kind = ENVELOPE_EVENTS, .worker = 1};
	uint64_t before = f->sent;
	while (!f->stop && f->sent - f->arrived->messages < most) {
		link_port_send(f->desk->port, 2, &e, blob_ref(f->blob), 0, f->octets);
		f->sent++;
	}
	if (!f->stop && f->sent == before)
		timer_set(f->timer, POLL_MS); /* looks for arrivals: both are in one process */
	return f->sent > before;
}

/* The turn does the rest. */
static void flood_on_timer(void *arg)
{
	(void)arg;
}

static void flood_begin(void *arg)
{
	struct flood *f = arg;
	f->timer = timer_new(&f->desk->worker, flood_on_timer, NULL);
	worker_hook(&f->desk->worker, &f->hook, flood_turn);
	list_remove(&f->hook.link); /* before the port's */
	list_push_front(&f->desk->worker.hooks, &f->hook.link);
}

static void flood_end(void *arg)
{
	struct flood *f = arg;
	list_remove(&f->hook.link);
	timer_free(f->timer);
}

static void measure(struct node *a, struct node *b, size_t octets)
{
	struct flood f = {.desk = &a->desks[1],
		.arrived = node_seen(b, 1, 1),
		.blob = blob_new(octets),
		.octets = octets};
	memset(f.blob->data, 1, octets);
	f.sent = f.arrived->messages;
	node_run(a, 1, flood_begin, &f);
	usleep(200 * 1000);
	double from = seconds(), work = processor_seconds();
	uint64_t n = f.arrived->messages;
	usleep(SECONDS * 1000 * 1000);
	double took = seconds() - from;
	work = processor_seconds() - work;
	n = f.arrived->messages - n;
	f.stop = true;
	node_run(a, 1, flood_end, &f);
	WAIT(f.arrived->messages == f.sent);
	blob_unref(f.blob);
	printf("%8zu octets: %9.0f messages/s %8.1f MB/s, %8.2f us of a processor each\n", octets,
		(double)n / took, (double)n * (double)octets / took / 1e6, work / (double)n * 1e6);
}

/* There and back, one at a time. */
static bool answer(struct desk *d, uint64_t node, const struct envelope *e, struct slice octets)
{
	(void)e;
	link_port_send_copy(
		d->port, node, &(struct envelope){.kind = ENVELOPE_REPLY, .worker = 1}, octets);
	return true;
}

struct ping {
	struct desk *desk;
	uint64_t left;
};

static struct ping ping;

static void ping_send(void *arg)
{
	(void)arg;
	link_port_send_copy(
		ping.desk->port, 2, &(struct envelope){.kind = ENVELOPE_CALL}, slice_str("ping"));
}

static bool ping_again(struct desk *d, uint64_t node, const struct envelope *e, struct slice octets)
{
	(void)d;
	(void)node;
	(void)e;
	(void)octets;
	if (--ping.left > 0)
		ping_send(NULL);
	return true;
}

static void measure_round_trip(struct node *a, struct node *b)
{
	enum { TRIPS = 20000 };
	b->desks[0].on_message = answer;
	a->desks[1].on_message = ping_again;
	ping = (struct ping){&a->desks[1], TRIPS};
	struct seen *back = node_seen(a, 1, 2);
	double from = seconds();
	node_run(a, 1, ping_send, NULL);
	WAIT(back->messages == TRIPS);
	printf("round trip worker 1 -> worker 0 -> worker 1: %.1f us\n",
		(seconds() - from) / TRIPS * 1e6);
}

/* With an argument: over TLS. */
int main(int argc, char **argv)
{
	(void)argv;
	nodes_tls = argc > 1 ? certificate_context() : NULL;
	static const size_t sizes[] = {
		16, 100, 1000, 10000, 100 * 1000, 1000 * 1000, 10 * 1000 * 1000};
	nodes_limits = (struct link_limits){250, 20000, 20000};
	struct node *a = node_start(1, 1), *b = node_start(2, 1);
	nodes_join(a, b);
	WAIT(node_linked(a, 2) && node_linked(b, 1));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		measure(a, b, sizes[i]);
	measure_round_trip(a, b);
	node_stop(a);
	node_stop(b);
	return 0;
}

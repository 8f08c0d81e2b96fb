/* SPDX-License-Identifier: Apache-2.0
 *
 * Not a test: prints nanoseconds per message for the machine's common ways of life. Only
 * machine_apply() is timed, less what reading the clock costs; the best of three.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/queue/machine.h"

enum { MESSAGES = 4000000, BODY = 100, CLIENT = 7 };

struct seen {
	uint64_t delivered, released;
	uint64_t last_number;
};

static void on_deliver(void *arg, const struct machine_delivery *d)
{
	struct seen *s = arg;
	s->delivered++;
	s->last_number = d->number;
}

static void on_answer(void *arg, const struct machine_answer *a)
{
	(void)arg, (void)a;
}

static void on_client_seq(void *arg, uint64_t client, uint64_t seq)
{
	(void)arg, (void)client, (void)seq;
}

static void on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	(void)arg, (void)client, (void)consumer;
}

static void on_dead(void *arg, const struct machine_dead *d)
{
	(void)arg, (void)d;
}

static void on_release(void *arg, uint64_t index)
{
	((struct seen *)arg)->released++;
	(void)index;
}

static void on_ended(void *arg, bool expired)
{
	(void)arg, (void)expired;
}

static const struct machine_sink sink = {on_deliver, on_answer, on_client_seq, on_client_seq,
	on_cancelled, on_dead, on_release, on_ended};

struct bench {
	struct machine *m;
	struct seen seen;
	struct buf entry;
	uint64_t index;
	uint64_t seq;
	uint32_t commands;
	double ns; /* spent in machine_apply() */
};

enum { ROUNDS = 3 };
static double clock_ns; /* reading the clock */

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void begin(struct bench *b)
{
	buf_clear(&b->entry);
	buf_put(&b->entry, COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER);
	b->commands = 0;
}

static void end(struct bench *b)
{
	size_t head = COMMAND_ENTRY_HEADER + COMMAND_SECTION_HEADER;
	command_put_entry_header(b->entry.p, 1000 + b->index);
	command_put_section_header(b->entry.p + COMMAND_ENTRY_HEADER, CLIENT, b->seq + 1,
		b->seq, b->commands, (uint32_t)(b->entry.n - head));
	b->seq += b->commands;
	double at = now_ns();
	if (machine_apply(b->m, ++b->index, b->entry.p, b->entry.n, &sink, &b->seen) != 0)
		abort();
	b->ns += now_ns() - at - clock_ns;
}

static void put_messages(struct bench *b, unsigned n, bool mixed)
{
	static uint8_t body[4 * BODY];
	for (unsigned i = 0; i < n; i++) {
		struct message m = {.expiration_ms = ENQUEUE_NO_EXPIRATION,
			.envelope = slice_str("\0\3key"),
			.props = slice_str("props"),
			.body = slice_make(body, mixed ? (i * 37) % (4 * BODY) : BODY)};
		command_put_enqueue(buf_put(&b->entry, command_enqueue_size(&m)), &m);
		b->commands++;
	}
}

static void put_settle(struct bench *b, uint64_t from, uint64_t to)
{
	command_put_settle(&b->entry, &(struct command_settle){1, SETTLE_ACK, from, to});
	b->commands++;
}

static void put_attach(struct bench *b, uint8_t flags, uint32_t prefetch)
{
	command_put_attach(&b->entry, &(struct command_attach){.consumer = 1,
					      .flags = flags,
					      .prefetch = prefetch,
					      .credit_bytes = UINT64_MAX});
	b->commands++;
}

static void start(struct bench *b)
{
	*b = (struct bench){.m = machine_new()};
}

static double stop(struct bench *b)
{
	machine_free(b->m);
	buf_done(&b->entry);
	return b->ns / MESSAGES;
}

/* Enqueue, deliver, ack `multiple` at a time. */
static double bench_ack(unsigned batch, unsigned multiple, bool mixed)
{
	struct bench b;
	start(&b);
	begin(&b);
	put_attach(&b, 0, 1000);
	end(&b);
	uint64_t acked = 0;
	for (unsigned done = 0; done < MESSAGES; done += batch) {
		begin(&b);
		put_messages(&b, batch, mixed);
		while (b.seen.last_number - acked >= multiple) {
			put_settle(&b, acked + 1, acked + multiple);
			acked += multiple;
		}
		end(&b);
	}
	return stop(&b);
}

static double ack_100(unsigned batch)
{
	return bench_ack(batch, 100, false);
}

static double ack_100_mixed(unsigned batch)
{
	return bench_ack(batch, 100, true);
}

static double ack_1(unsigned batch)
{
	return bench_ack(batch, 1, false);
}

static double auto_ack(unsigned batch)
{
	struct bench b;
	start(&b);
	begin(&b);
	put_attach(&b, ATTACH_NO_ACK, 0);
	end(&b);
	for (unsigned done = 0; done < MESSAGES; done += batch) {
		begin(&b);
		put_messages(&b, batch, false);
		end(&b);
	}
	return stop(&b);
}

static void fill(struct bench *b, unsigned batch, bool mixed)
{
	start(b);
	for (unsigned done = 0; done < MESSAGES; done += batch) {
		begin(b);
		put_messages(b, batch, mixed);
		end(b);
	}
}

static double backlog_fill(unsigned batch)
{
	struct bench b;
	fill(&b, batch, false);
	return stop(&b);
}

static double backlog_drain(unsigned batch)
{
	struct bench b;
	fill(&b, batch, false);
	b.ns = 0;
	begin(&b);
	put_attach(&b, 0, 1000);
	end(&b);
	for (uint64_t acked = 0; acked < MESSAGES; acked += 100) {
		begin(&b);
		put_settle(&b, acked + 1, acked + 100);
		end(&b);
	}
	return stop(&b);
}

static void snapshot(unsigned batch, bool mixed)
{
	struct bench b;
	fill(&b, batch, mixed);
	struct buf bytes = BUF_EMPTY;
	double at = now_ns();
	machine_snapshot(b.m, &bytes);
	double written = now_ns();
	struct machine *copy = machine_new();
	if (machine_restore(copy, buf_slice(&bytes), UINT64_MAX) != 0)
		abort();
	double restored = now_ns();
	printf("snapshot of %u%s, batch %u: %zu bytes, written in %.1f ms, restored in %.1f ms\n",
		MESSAGES, mixed ? " of mixed sizes" : "", batch, bytes.n, (written - at) / 1e6,
		(restored - written) / 1e6);
	machine_free(copy);
	buf_done(&bytes);
	stop(&b);
}

static void run(const char *what, double (*bench)(unsigned batch))
{
	printf("%-40s", what);
	for (unsigned batch = 1; batch <= 1000; batch *= 10) {
		double best = bench(batch);
		for (unsigned i = 1; i < ROUNDS; i++) {
			double ns = bench(batch);
			best = ns < best ? ns : best;
		}
		printf(" %8.1f", best);
		fflush(stdout);
	}
	printf("\n");
}

static void measure_clock(void)
{
	double at = now_ns();
	for (unsigned i = 0; i < 1000000; i++)
		(void)now_ns();
	clock_ns = (now_ns() - at) / 1000000;
}

int main(void)
{
	measure_clock();
	printf("%-40s %8u %8u %8u %8u\n", "ns per message; messages per entry:", 1, 10, 100, 1000);
	run("enqueue, deliver, ack 100", ack_100);
	run("enqueue, deliver, ack 100, mixed sizes", ack_100_mixed);
	run("enqueue, deliver, ack 1", ack_1);
	run("auto-ack", auto_ack);
	run("backlog fill", backlog_fill);
	run("backlog drain, ack 100", backlog_drain);
	for (unsigned batch = 1; batch <= 100; batch *= 10) {
		snapshot(batch, false);
		snapshot(batch, true);
	}
	return 0;
}

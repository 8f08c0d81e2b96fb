/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/load.h"

#include <signal.h>

#include "src/base/mem.h"
#include "src/perf/connection.h"
#include "src/perf/consumer.h"
#include "src/perf/env.h"
#include "src/perf/mix.h"
#include "src/perf/producer.h"
#include "src/perf/topology.h"

#define NS_PER_S 1e9

enum {
	WATCH_MS = 10,
	SECOND_MS = 1000,
	LEAVE_S = 10,   /* for the broker to answer our goodbyes */
	CLEAN_S = 60,   /* to delete the queues */
	SETTLE_MS = 200 /* of silence after the last expected message: none too many? */
};

enum load_phase {
	LOAD_DECLARE,
	LOAD_CONNECT,
	LOAD_RUN,
	LOAD_DRAIN,
	LOAD_LEAVE,
	LOAD_CLEAN,
	LOAD_FAREWELL,
	LOAD_DONE,
};

struct load {
	const struct options *o;
	struct turn turn;
	struct pacer pacer;
	struct journal journal;
	struct tally tally;
	struct verify verify;
	struct env env;
	struct connection_env connection_env;
	struct sockaddr_storage address[OPTIONS_URIS_MAX];
	struct connection control; /* the topology's */
	struct topology topology;
	struct connection *connections;
	unsigned connections_n;
	unsigned started; /* of them */
	unsigned ready;   /* of those */
	struct producer *producers;
	struct consumer *consumers;
	enum load_phase phase;
	uint64_t phase_ns; /* when it began */
	uint64_t run_ns;   /* when the load began */
	uint64_t progress; /* what there was at progress_ns, the last time that there was more */
	uint64_t progress_ns;
	double connect_s;
	double barrier_s;
	uv_timer_t watch;
	uv_timer_t second;
	uv_signal_t interrupt;
	uv_signal_t terminate;
	struct counts line; /* at the last progress line */
	uint64_t line_ns;
	unsigned signals;
	bool broken;
	bool drained;
	enum report_result result;
};

static double seconds_since(uint64_t then_ns)
{
	return (double)(uv_hrtime() - then_ns) / NS_PER_S;
}

static void enter(struct load *l, enum load_phase phase)
{
	l->phase = phase;
	l->phase_ns = l->progress_ns = uv_hrtime();
}

/* --- making and unmaking --- */

static uint32_t run_number(const struct options *o)
{
	if (o->run != 0 || o->mode == MODE_CONSUME)
		return o->run;
	return (uint32_t)(mix64(uv_hrtime() ^ (uint64_t)uv_os_getpid() << 40) >> 32) | 1;
}

static void make_env(struct load *l)
{
	const struct options *o = l->o;
	uint32_t run = run_number(o);
	verify_init(&l->verify, run, o->copies_all ? o->queues : 1,
		o->priority_max - o->priority_min + 1);
	tally_init(&l->tally);
	l->env = (struct env){
		.options = o,
		.turn = &l->turn,
		.pacer = &l->pacer,
		.journal = &l->journal,
		.tally = &l->tally,
		.verify = o->verify ? &l->verify : NULL,
		.filler = mem_zalloc(o->sizes.max),
		.run = run,
	};
	envelopes_init(&l->env.envelopes, o);
}

/* How many channels of one side share a connection. */
static unsigned channels_per_connection(const struct options *o, unsigned users)
{
	unsigned n =
		o->connections > 0 ? (users + o->connections - 1) / o->connections : o->channels;
	return n > 0 ? n : 1;
}

static unsigned connections_for(const struct options *o, unsigned users)
{
	unsigned per = channels_per_connection(o, users);
	return (users + per - 1) / per;
}

static void make_connections(struct load *l)
{
	const struct options *o = l->o;
	unsigned out = connections_for(o, o->producers), in = connections_for(o, o->consumers);
	l->connections_n = out + in + o->idle_connections;
	l->connections = mem_zalloc(l->connections_n * sizeof l->connections[0]);
	connection_init(&l->control, &l->connection_env, 0);
	connection_add(&l->control, &l->topology.channel);
	for (unsigned i = 0; i < l->connections_n; i++)
		connection_init(&l->connections[i], &l->connection_env, i + 1);
	for (unsigned i = 0; i < o->producers && out > 0; i++)
		connection_add(&l->connections[i % out], &l->producers[i].channel);
	for (unsigned i = 0; i < o->consumers && in > 0; i++)
		connection_add(&l->connections[out + i % in], &l->consumers[i].channel);
}

static void make_users(struct load *l)
{
	const struct options *o = l->o;
	topology_init(&l->topology, o);
	l->producers = mem_zalloc(o->producers * sizeof l->producers[0]);
	for (unsigned i = 0; i < o->producers; i++)
		producer_init(&l->producers[i], &l->env, i);
	l->consumers = mem_zalloc(o->consumers * sizeof l->consumers[0]);
	for (unsigned i = 0; i < o->consumers; i++)
		consumer_init(&l->consumers[i], &l->env, &l->topology, i);
}

static void unmake(struct load *l)
{
	connection_done(&l->control);
	for (unsigned i = 0; i < l->connections_n; i++)
		connection_done(&l->connections[i]);
	for (unsigned i = 0; i < l->o->producers; i++)
		producer_done(&l->producers[i]);
	for (unsigned i = 0; i < l->o->consumers; i++)
		consumer_done(&l->consumers[i]);
	topology_done(&l->topology);
	pacer_done(&l->pacer);
	turn_done(&l->turn);
	envelopes_done(&l->env.envelopes);
	verify_done(&l->verify);
	journal_done(&l->journal);
	mem_free(l->env.filler);
	mem_free(l->connections);
	mem_free(l->producers);
	mem_free(l->consumers);
}

/* --- opening --- */

static void start_connections(struct load *l)
{
	while (l->started < l->connections_n && l->started - l->ready < l->o->connect_parallel)
		connection_start(&l->connections[l->started++]);
}

static void on_ready(void *arg, struct connection *c)
{
	struct load *l = arg;
	l->progress_ns = uv_hrtime();
	if (c == &l->control)
		return;
	l->ready++;
	if (l->phase == LOAD_CONNECT)
		start_connections(l);
}

/* What follows is done by the watch: here somebody may be in the middle of something. */
static void on_broken(void *arg, struct connection *c)
{
	(void)c;
	struct load *l = arg;
	l->broken = true;
}

/* --- running --- */

static void start_load(struct load *l)
{
	const struct options *o = l->o;
	l->connect_s = seconds_since(l->phase_ns);
	enter(l, LOAD_RUN);
	l->run_ns = l->line_ns = l->phase_ns;
	for (unsigned i = 0; i < o->producers; i++) {
		uint64_t share = o->messages / o->producers + (i < o->messages % o->producers);
		producer_start(&l->producers[i], o->messages > 0 ? share : UINT64_MAX, l->run_ns);
	}
	if (o->warmup_s == 0)
		tally_begin(&l->tally, l->run_ns);
}

static bool all_published(const struct load *l)
{
	for (unsigned i = 0; i < l->o->producers; i++) {
		if (!producer_finished(&l->producers[i]))
			return false;
	}
	return l->o->producers > 0;
}

static bool note_progress(struct load *l)
{
	uint64_t now = tally_progress(&l->tally);
	if (now == l->progress)
		return false;
	l->progress = now;
	l->progress_ns = uv_hrtime();
	return true;
}

/* Alone, consumers read what the queues held, or until nothing more comes. */
static bool all_consumed(const struct load *l)
{
	const struct options *o = l->o;
	uint64_t received = l->tally.now.received;
	if (o->mode != MODE_CONSUME)
		return false;
	if (o->messages > 0)
		return received >= o->messages;
	if (o->seconds > 0)
		return false;
	double silent_s = seconds_since(l->progress_ns);
	bool had_them = l->topology.messages > 0 && received >= l->topology.messages;
	return silent_s > (had_them ? SETTLE_MS / 1000.0 : o->drain_idle_s);
}

static bool time_is_up(const struct load *l)
{
	return l->o->seconds > 0 && seconds_since(l->run_ns) >= l->o->warmup_s + l->o->seconds;
}

/* Too slow a rate leaves pauses by itself, and consumers alone may have nothing to read. */
static bool stalled(const struct load *l)
{
	const struct options *o = l->o;
	if (o->producers == 0 || (o->rate > 0 && o->rate * o->producers * o->stall_s < 2))
		return false;
	return seconds_since(l->progress_ns) > o->stall_s;
}

static void fail(struct load *l, enum report_result result, const char *why)
{
	if (why != NULL)
		journal_note(&l->journal, JOURNAL_FAILED, "%s", why);
	if (l->result == RESULT_OK)
		l->result = result;
}

static void leave(struct load *l)
{
	uint64_t now = uv_hrtime();
	tally_end(&l->tally, now, false);
	for (unsigned i = 0; i < l->o->producers; i++) {
		if (l->phase == LOAD_RUN)
			producer_stop(&l->producers[i], now);
		producer_abandon(&l->producers[i]);
	}
	for (unsigned i = 0; i < l->o->consumers; i++)
		consumer_stop(&l->consumers[i]);
	for (unsigned i = 0; i < l->started; i++)
		connection_close(&l->connections[i]);
	for (unsigned i = l->started; i < l->connections_n; i++)
		connection_abort(&l->connections[i]);
	enter(l, LOAD_LEAVE);
}

static void drain(struct load *l)
{
	uint64_t now = uv_hrtime();
	/* Where messages were counted, the window lasts until the last one is there. */
	if (l->o->messages == 0 || !(all_published(l) || all_consumed(l)))
		tally_end(&l->tally, now, l->o->mode != MODE_IDLE);
	for (unsigned i = 0; i < l->o->producers; i++)
		producer_stop(&l->producers[i], now);
	enter(l, LOAD_DRAIN);
}

/* --- draining --- */

static bool producers_settled(const struct load *l)
{
	for (unsigned i = 0; i < l->o->producers; i++) {
		const struct producer *p = &l->producers[i];
		const struct socket *s = p->channel.connection->socket;
		if (!producer_settled(p) || (s != NULL && socket_pending(s) > 0))
			return false;
	}
	return true;
}

static bool consumers_settled(const struct load *l)
{
	const struct counts *n = &l->tally.now;
	if (l->o->mode != MODE_BOTH)
		return true;
	uint64_t expected = 0;
	for (unsigned i = 0; i < l->o->producers; i++)
		expected += l->producers[i].published;
	uint64_t none = n->returned + n->nacked;
	expected = expected > none ? expected - none : 0;
	uint64_t got = l->o->verify ? l->verify.unique : n->received - n->foreign;
	return got >= expected * l->verify.copies;
}

static void watch_drain(struct load *l)
{
	const struct options *o = l->o;
	note_progress(l);
	double silent_s = seconds_since(l->progress_ns);
	bool out = producers_settled(l), all = out && consumers_settled(l);
	if (all && (!o->verify || o->mode != MODE_BOTH || silent_s > SETTLE_MS / 1000.0)) {
		l->drained = true;
		leave(l);
	} else if (silent_s > o->drain_idle_s || seconds_since(l->phase_ns) > o->drain_max_s) {
		l->drained = all;
		if (!out)
			fail(l, RESULT_STALLED,
				"what was due is still not published or not confirmed");
		leave(l);
	}
}

/* --- watching --- */

static void watch_opening(struct load *l)
{
	if (l->phase == LOAD_DECLARE && l->topology.phase == TOPOLOGY_DECLARED) {
		enter(l, LOAD_CONNECT);
		start_connections(l);
	} else if (l->phase == LOAD_CONNECT && l->ready == l->connections_n) {
		start_load(l);
	} else if (seconds_since(l->progress_ns) > l->o->stall_s) {
		fail(l, RESULT_SETUP, "the broker does not answer");
		leave(l);
	}
}

static void watch_run(struct load *l)
{
	note_progress(l);
	if (l->tally.begin_ns == UINT64_MAX && seconds_since(l->run_ns) >= l->o->warmup_s)
		tally_begin(&l->tally, uv_hrtime());
	if (time_is_up(l) || all_published(l) || all_consumed(l)) {
		drain(l);
	} else if (stalled(l)) {
		fail(l, RESULT_STALLED, "nothing has moved for the time given with --stall");
		leave(l);
	}
}

static void farewell(struct load *l)
{
	enter(l, LOAD_FAREWELL);
	connection_close(&l->control);
}

/* Without --reconnect a channel that is gone does not come back. */
static void clean(struct load *l)
{
	if (l->topology.channel.state != CHANNEL_READY && !l->o->reconnect) {
		farewell(l);
		return;
	}
	enter(l, LOAD_CLEAN);
	topology_delete(&l->topology);
}

static void watch_leave(struct load *l)
{
	bool late = seconds_since(l->phase_ns) > LEAVE_S;
	for (unsigned i = 0; i < l->connections_n; i++) {
		if (late)
			connection_abort(&l->connections[i]);
		else if (l->connections[i].state != CONNECTION_GONE)
			return;
	}
	if (l->run_ns != 0)
		l->barrier_s = seconds_since(l->run_ns);
	clean(l);
}

static void watch_clean(struct load *l)
{
	bool gone = l->control.state == CONNECTION_GONE;
	if (l->topology.phase != TOPOLOGY_DELETED && !gone && seconds_since(l->phase_ns) < CLEAN_S)
		return;
	farewell(l);
}

static void stop(struct load *l)
{
	enter(l, LOAD_DONE);
	uv_close((uv_handle_t *)&l->watch, NULL);
	uv_close((uv_handle_t *)&l->second, NULL);
	uv_close((uv_handle_t *)&l->interrupt, NULL);
	uv_close((uv_handle_t *)&l->terminate, NULL);
	uv_stop(&l->turn.loop);
}

static void watch_farewell(struct load *l)
{
	if (l->control.state == CONNECTION_GONE || seconds_since(l->phase_ns) > LEAVE_S)
		stop(l);
}

static void heed_broken(struct load *l)
{
	if (!l->broken || l->phase >= LOAD_LEAVE)
		return;
	fail(l, l->phase < LOAD_RUN ? RESULT_SETUP : RESULT_BROKEN, NULL);
	leave(l);
}

static void heed_signals(struct load *l)
{
	if (l->signals == 0)
		return;
	if (l->phase == LOAD_RUN)
		drain(l);
	else if (l->phase < LOAD_RUN || (l->phase == LOAD_DRAIN && l->signals > 1))
		leave(l);
	else if (l->phase == LOAD_CLEAN && l->signals > 2)
		farewell(l);
}

static void on_watch(uv_timer_t *timer)
{
	struct load *l = timer->data;
	heed_broken(l);
	heed_signals(l);
	switch (l->phase) {
	case LOAD_DECLARE:
	case LOAD_CONNECT:
		watch_opening(l);
		break;
	case LOAD_RUN:
		watch_run(l);
		break;
	case LOAD_DRAIN:
		watch_drain(l);
		break;
	case LOAD_LEAVE:
		watch_leave(l);
		break;
	case LOAD_CLEAN:
		watch_clean(l);
		break;
	case LOAD_FAREWELL:
		watch_farewell(l);
		break;
	case LOAD_DONE:
		break;
	}
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	struct load *l = signal->data;
	l->signals++;
}

/* --- once a second --- */

static uint64_t unconfirmed(const struct load *l)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < l->o->producers; i++) {
		const struct producer *p = &l->producers[i];
		n += p->unconfirmed.open + (p->again_n - p->again_at);
	}
	return n;
}

static void print_line(struct load *l)
{
	if (l->phase != LOAD_RUN && l->phase != LOAD_DRAIN)
		return;
	uint64_t now = uv_hrtime();
	bool warm = l->phase == LOAD_RUN && l->tally.begin_ns == UINT64_MAX;
	struct progress p = {
		.seconds = (double)(now - l->run_ns) / NS_PER_S,
		.interval_s = (double)(now - l->line_ns) / NS_PER_S,
		.phase = warm                     ? "warm-up"
			 : l->phase == LOAD_DRAIN ? "draining"
						  : "",
		.last = l->line,
		.unconfirmed = unconfirmed(l),
		.blocked = l->connection_env.blocked,
		.down = l->connection_env.down,
	};
	if (!l->o->quiet)
		report_progress(stderr, &p, &l->tally);
	l->line = l->tally.now;
	l->line_ns = now;
}

static void on_second(uv_timer_t *timer)
{
	struct load *l = timer->data;
	print_line(l);
	tally_next_interval(&l->tally);
	connection_tick(&l->control);
	for (unsigned i = 0; i < l->started; i++)
		connection_tick(&l->connections[i]);
}

/* --- the end --- */

static bool verified(const struct load *l, const struct verify_result *r)
{
	const struct options *o = l->o;
	const struct verify *v = &l->verify;
	if (v->corrupt > 0 || v->unexplained > 0 || v->out_of_order > 0)
		return false;
	if (o->mode != MODE_BOTH || l->result == RESULT_SETUP)
		return true;
	/* Without confirms nothing is promised once a connection is lost; but else all must arrive.
	 */
	bool promised = o->confirm == 0 && l->journal.count[JOURNAL_LOST] == 0;
	return r->missing_confirmed == 0 && (!promised || r->missing_published == 0);
}

static double cpu_seconds(void)
{
	uv_rusage_t u;
	if (uv_getrusage(&u) != 0)
		return 0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void summarize(struct load *l)
{
	struct summary s = {
		.options = l->o,
		.tally = &l->tally,
		.journal = &l->journal,
		.verify = l->env.verify,
		.unconfirmed = unconfirmed(l),
		.connections = l->ready,
		.connect_s = l->connect_s,
		.barrier_s = l->barrier_s,
		.cpu_s = cpu_seconds(),
		.drained = l->drained,
		.interrupted = l->signals > 0,
	};
	tally_next_interval(&l->tally);
	if (l->o->verify) {
		verify_conclude(&l->verify, &s.verified);
		if (!verified(l, &s.verified))
			l->result = RESULT_UNVERIFIED;
	}
	s.result = l->result;
	if (l->o->json)
		report_json(stdout, &s);
	else
		report_text(stdout, &s);
}

/* --- the beginning --- */

static int resolve(struct load *l)
{
	for (unsigned i = 0; i < l->o->uris; i++) {
		const struct uri *u = &l->o->uri[i];
		int rc = socket_resolve(&l->turn, u->host, u->port, &l->address[i]);
		if (rc != 0) {
			fprintf(stderr, "warren-perf: %s: %s\n", u->host, uv_strerror(rc));
			return -1;
		}
	}
	return 0;
}

static void start_timer(struct load *l, uv_timer_t *t, uv_timer_cb fire, unsigned ms)
{
	uv_timer_init(&l->turn.loop, t);
	t->data = l;
	uv_timer_start(t, fire, ms, ms);
}

static void catch_signal(struct load *l, uv_signal_t *s, int number)
{
	uv_signal_init(&l->turn.loop, s);
	s->data = l;
	uv_signal_start(s, on_signal, number);
}

static void run(struct load *l)
{
	make_env(l);
	make_users(l);
	make_connections(l);
	start_timer(l, &l->watch, on_watch, WATCH_MS);
	start_timer(l, &l->second, on_second, SECOND_MS);
	catch_signal(l, &l->interrupt, SIGINT);
	catch_signal(l, &l->terminate, SIGTERM);
	enter(l, LOAD_DECLARE);
	connection_start(&l->control);
	uv_run(&l->turn.loop, UV_RUN_DEFAULT);
	summarize(l);
	unmake(l);
}

enum report_result load_run(const struct options *o)
{
	struct load *l = MEM_NEW(struct load);
	l->o = o;
	l->connection_env = (struct connection_env){
		.turn = &l->turn,
		.options = o,
		.address = l->address,
		.journal = &l->journal,
		.ready = on_ready,
		.broken = on_broken,
		.arg = l,
	};
	enum report_result result = RESULT_SETUP;
	if (turn_init(&l->turn, o->coalesce_us) == 0) {
		if (resolve(l) == 0 && pacer_init(&l->pacer, &l->turn) == 0) {
			run(l);
			result = l->result;
		} else {
			turn_done(&l->turn);
		}
	}
	mem_free(l);
	return result;
}

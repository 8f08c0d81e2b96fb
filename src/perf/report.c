/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/report.h"

#include <inttypes.h>

#include "src/perf/json.h"

#define NS_PER_US 1000.0
#define MIB (1024.0 * 1024.0)

static const struct {
	const char *text; /* "p50" */
	const char *key;
	double percent;
} percentiles[] = {
	{"p50", "p50", 50},
	{"p90", "p90", 90},
	{"p99", "p99", 99},
	{"p99.9", "p99_9", 99.9},
	{"p99.99", "p99_99", 99.99},
};

enum { PERCENTILES = sizeof percentiles / sizeof percentiles[0] };

const char *report_result_name(enum report_result r)
{
	static const char *const names[] = {
		"ok", "set-up failed", "broken off", "verification failed", "stalled"};
	return names[r];
}

/* --- the line per second --- */

static void print_latency(FILE *to, const char *what, const struct histogram *h)
{
	if (h->count > 0)
		fprintf(to, "  %s p50 %.0f p99 %.0f us", what,
			(double)histogram_percentile(h, 50) / NS_PER_US,
			(double)histogram_percentile(h, 99) / NS_PER_US);
}

void report_progress(FILE *to, const struct progress *p, const struct tally *t)
{
	double s = p->interval_s > 0 ? p->interval_s : 1;
	fprintf(to, "%6.1f s", p->seconds);
	if (t->now.published > 0)
		fprintf(to, "  out %.0f/s", (double)(t->now.published - p->last.published) / s);
	if (t->now.confirmed > 0 || p->unconfirmed > 0)
		fprintf(to, "  confirmed %.0f/s  open %" PRIu64,
			(double)(t->now.confirmed - p->last.confirmed) / s, p->unconfirmed);
	if (t->now.received > 0)
		fprintf(to, "  in %.0f/s", (double)(t->now.received - p->last.received) / s);
	print_latency(to, "confirm", &t->confirm.interval);
	print_latency(to, "end-to-end", &t->delivery.interval);
	if (p->blocked > 0)
		fprintf(to, "  %u BLOCKED", p->blocked);
	if (p->down > 0)
		fprintf(to, "  %u down", p->down);
	fprintf(to, "%s%s\n", *p->phase != '\0' ? "  " : "", p->phase);
}

/* --- what both summaries say --- */

struct flow {
	const char *name;
	uint64_t total;
	uint64_t window;
	uint64_t octets; /* in the window; 0: not counted */
	double seconds;
	uint64_t gap_ns;
};

static struct flow flow_of(const struct summary *s, enum tally_event e)
{
	const struct tally *t = s->tally;
	const struct counts *b = &t->begin, *f = &t->end, *n = &t->now;
	struct flow flow = {
		.seconds = tally_seconds(t, e, s->options->messages > 0),
		.gap_ns = t->gap_ns[e],
	};
	switch (e) {
	case TALLY_PUBLISH:
		flow.name = "published";
		flow.total = n->published;
		flow.window = f->published - b->published;
		flow.octets = f->published_octets - b->published_octets;
		break;
	case TALLY_CONFIRM:
		flow.name = "confirmed";
		flow.total = n->confirmed;
		flow.window = f->confirmed - b->confirmed;
		break;
	default:
		flow.name = "received";
		flow.total = n->received;
		flow.window = f->received - b->received;
		flow.octets = f->received_octets - b->received_octets;
	}
	return flow;
}

static double per_second(double n, double seconds)
{
	return seconds > 0 ? n / seconds : 0;
}

static double cpu_us_per_message(const struct summary *s)
{
	uint64_t n = s->tally->now.published + s->tally->now.received;
	return n > 0 ? s->cpu_s * 1e6 / (double)n : 0;
}

/* --- as text --- */

static void text_flow(FILE *to, const struct summary *s, enum tally_event e)
{
	struct flow f = flow_of(s, e);
	if (f.total == 0)
		return;
	fprintf(to, "%-11s %12" PRIu64 "  %12.0f/s", f.name, f.total,
		per_second((double)f.window, f.seconds));
	if (f.octets > 0)
		fprintf(to, "  %8.1f MiB/s", per_second((double)f.octets, f.seconds) / MIB);
	fputc('\n', to);
}

static void text_latency(FILE *to, const char *name, const struct histogram *h)
{
	if (h->count == 0)
		return;
	fprintf(to, "%-11s", name);
	for (unsigned i = 0; i < PERCENTILES; i++)
		fprintf(to, " %s %.0f ", percentiles[i].text,
			(double)histogram_percentile(h, percentiles[i].percent) / NS_PER_US);
	fprintf(to, " max %.0f us\n", (double)h->max / NS_PER_US);
}

static void text_counts(FILE *to, const struct summary *s)
{
	const struct counts *n = &s->tally->now;
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{"nacked", n->nacked},
		{"unconfirmed", s->unconfirmed},
		{"returned", n->returned},
		{"redelivered", n->redelivered},
		{"foreign", n->foreign},
		{"due and not published", s->tally->due_unsent},
		{"connections lost", s->journal->count[JOURNAL_LOST]},
		{"reconnects", s->journal->count[JOURNAL_RECONNECTED]},
		{"blocked", s->journal->count[JOURNAL_BLOCKED]},
	};
	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (rows[i].n > 0)
			fprintf(to, "%-22s %" PRIu64 "\n", rows[i].name, rows[i].n);
	}
}

static void text_verify(FILE *to, const struct summary *s)
{
	const struct verify *v = s->verify;
	const struct verify_result *r = &s->verified;
	if (v == NULL || s->result == RESULT_SETUP)
		return;
	fprintf(to, "verification %s: ", s->result == RESULT_UNVERIFIED ? "FAILED" : "passed");
	if (s->options->mode == MODE_BOTH)
		fprintf(to, "%" PRIu64 " confirmed missing, %" PRIu64 " published missing, ",
			r->missing_confirmed, r->missing_published);
	else
		fprintf(to, "%" PRIu64 " holes, ", r->holes);
	fprintf(to,
		"%" PRIu64 " corrupt, %" PRIu64 " out of order, %" PRIu64 " duplicates (%" PRIu64
		" unexplained)\n",
		v->corrupt, v->out_of_order, v->duplicates, v->unexplained);
}

void report_text(FILE *to, const struct summary *s)
{
	const struct options *o = s->options;
	fprintf(to, "%s: %u producers, %u consumers, %u queues, %u connections opened in %.3f s\n",
		options_mode_name(o->mode), o->producers, o->consumers, o->queues, s->connections,
		s->connect_s);
	for (unsigned e = 0; e < TALLY_EVENTS; e++)
		text_flow(to, s, (enum tally_event)e);
	text_latency(to, "confirm", &s->tally->confirm.all);
	text_latency(to, "end-to-end", &s->tally->delivery.all);
	if (s->options->confirm == 0 && s->tally->now.published > 0)
		fprintf(to, "taken by the broker within %.3f s\n", s->barrier_s);
	text_counts(to, s);
	text_verify(to, s);
	fprintf(to, "own CPU     %.2f s, %.3f us per message\n", s->cpu_s, cpu_us_per_message(s));
	if (!s->drained && s->result != RESULT_SETUP)
		fputs("not everything that was published was confirmed and received\n", to);
	if (s->result != RESULT_OK)
		fprintf(to, "result: %s\n", report_result_name(s->result));
}

/* --- as JSON --- */

static void json_flow(struct json *j, const struct summary *s, enum tally_event e)
{
	struct flow f = flow_of(s, e);
	json_open(j, f.name, '{');
	json_count(j, "total", f.total);
	json_count(j, "window", f.window);
	json_real(j, "window_s", f.seconds);
	json_real(j, "per_second", per_second((double)f.window, f.seconds));
	if (e != TALLY_CONFIRM)
		json_real(j, "octets_per_second", per_second((double)f.octets, f.seconds));
	json_real(j, "longest_gap_ms", (double)f.gap_ns / 1e6);
	json_close(j, '}');
}

static void json_latency(struct json *j, const char *key, const struct histogram *h)
{
	if (h->count == 0) {
		json_null(j, key);
		return;
	}
	json_open(j, key, '{');
	json_count(j, "count", h->count);
	json_real(j, "min", (double)histogram_min(h) / NS_PER_US);
	json_real(j, "mean", histogram_mean(h) / NS_PER_US);
	for (unsigned i = 0; i < PERCENTILES; i++)
		json_real(j, percentiles[i].key,
			(double)histogram_percentile(h, percentiles[i].percent) / NS_PER_US);
	json_real(j, "max", (double)h->max / NS_PER_US);
	json_close(j, '}');
}

static void json_counts(struct json *j, const struct summary *s)
{
	const struct counts *n = &s->tally->now;
	json_count(j, "nacked", n->nacked);
	json_count(j, "unconfirmed", s->unconfirmed);
	json_count(j, "returned", n->returned);
	json_count(j, "redelivered", n->redelivered);
	json_count(j, "foreign", n->foreign);
	json_count(j, "due_unsent", s->tally->due_unsent);
}

static void json_verify(struct json *j, const struct summary *s)
{
	const struct verify *v = s->verify;
	if (v == NULL) {
		json_null(j, "verify");
		return;
	}
	json_open(j, "verify", '{');
	json_bool(j, "passed", s->result != RESULT_UNVERIFIED && s->result != RESULT_SETUP);
	if (s->options->mode == MODE_BOTH) {
		json_count(j, "missing_confirmed", s->verified.missing_confirmed);
		json_count(j, "missing_published", s->verified.missing_published);
	} else {
		json_null(j, "missing_confirmed");
		json_null(j, "missing_published");
	}
	json_count(j, "unique", v->unique);
	json_count(j, "duplicates", v->duplicates);
	json_count(j, "duplicates_unexplained", v->unexplained);
	json_count(j, "published_again", v->again);
	json_count(j, "out_of_order", v->out_of_order);
	json_count(j, "corrupt", v->corrupt);
	json_count(j, "holes", s->verified.holes);
	json_close(j, '}');
}

static void json_connections(struct json *j, const struct summary *s)
{
	const uint64_t *n = s->journal->count;
	json_open(j, "connections", '{');
	json_count(j, "opened", s->connections);
	json_real(j, "open_s", s->connect_s);
	json_count(j, "lost", n[JOURNAL_LOST]);
	json_count(j, "reconnected", n[JOURNAL_RECONNECTED]);
	json_count(j, "blocked", n[JOURNAL_BLOCKED]);
	json_count(j, "channels_closed", n[JOURNAL_CHANNEL]);
	json_count(j, "consumers_cancelled", n[JOURNAL_CANCEL]);
	json_close(j, '}');
}

void report_json(FILE *to, const struct summary *s)
{
	struct json j = {.to = to};
	json_open(&j, NULL, '{');
	json_text(&j, "version", PACKAGE_VERSION);
	json_text(&j, "mode", options_mode_name(s->options->mode));
	json_text(&j, "result", report_result_name(s->result));
	json_count(&j, "status", s->result);
	json_bool(&j, "drained", s->drained);
	json_bool(&j, "interrupted", s->interrupted);
	json_count(&j, "producers", s->options->producers);
	json_count(&j, "consumers", s->options->consumers);
	json_count(&j, "queues", s->options->queues);
	for (unsigned e = 0; e < TALLY_EVENTS; e++)
		json_flow(&j, s, (enum tally_event)e);
	json_counts(&j, s);
	json_open(&j, "latency_us", '{');
	json_latency(&j, "confirm", &s->tally->confirm.all);
	json_latency(&j, "end_to_end", &s->tally->delivery.all);
	json_close(&j, '}');
	json_verify(&j, s);
	json_connections(&j, s);
	json_real(&j, "barrier_s", s->barrier_s);
	json_real(&j, "cpu_s", s->cpu_s);
	json_real(&j, "cpu_us_per_message", cpu_us_per_message(s));
	json_open(&j, "errors", '[');
	for (unsigned i = 0; i < s->journal->kept_n; i++)
		json_text(&j, NULL, s->journal->kept[i]);
	json_close(&j, ']');
	json_close(&j, '}');
}

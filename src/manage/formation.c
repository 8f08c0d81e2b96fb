/* SPDX-License-Identifier: Apache-2.0
 *
 *   lookup (of a host's addresses) -> a question to each -> answers -> decide -> join -+-> done
 *      ^                                                       |                      |
 *      +------------------- after interval_ms -----------------+----------------------+
 */
#include "src/manage/formation.h"

#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/cluster/discovery.h"
#include "src/loop/timer.h"
#include "src/manage/members.h"
#include "src/manage/remote.h"
#include "src/net/lookup.h"

enum { ASK_MS = 3000, AGAIN_MS = 60 * 1000 }; /* the same line is not logged again before that */

struct seen {
	char *address, *name, *why; /* owned; name or why is NULL */
	struct discovery_peer peer;
};

/* A question under way. */
struct question {
	struct formation *formation;
	size_t at; /* in the formation's list */
};

struct formation {
	const struct formation_config *config;
	struct timer *timer;
	struct lookup *lookup; /* under way, or NULL */
	struct seen *seen;
	size_t n;
	unsigned waiting; /* questions, and a join, that are under way */
	unsigned round;
	bool over;        /* done or cancelled; goes with the last of what is under way */
	char told[DISCOVERY_TEXT_MAX];
	uint64_t told_ms;
};

/* ---- the end ---- */

static void forget_seen(struct formation *f)
{
	for (size_t i = 0; i < f->n; i++) {
		mem_free(f->seen[i].address);
		mem_free(f->seen[i].name);
		mem_free(f->seen[i].why);
	}
	f->n = 0;
}

static void release(struct formation *f)
{
	if (!f->over || f->waiting > 0)
		return;
	forget_seen(f);
	mem_free(f->seen);
	mem_free(f);
}

void formation_cancel(struct formation *f)
{
	if (f == NULL)
		return;
	f->over = true;
	timer_free(f->timer);
	if (f->lookup != NULL)
		lookup_cancel(f->lookup);
	release(f);
}

const char *formation_text(const struct formation *f)
{
	return f->told;
}

static void end(struct formation *f, enum formation_end how, struct membership *members, const char *why)
{
	const struct formation_config config = *f->config;
	char text[DISCOVERY_TEXT_MAX];
	snprintf(text, sizeof text, "%s", why);
	formation_cancel(f);
	config.done(config.arg, how, members, text);
}

/* ---- rounds ---- */

static void wait_because(struct formation *f, const char *text)
{
	uint64_t now = f->config->worker->now_ms;
	bool again = strcmp(f->told, text) == 0 && now - f->told_ms < AGAIN_MS;
	if (!again) {
		snprintf(f->told, sizeof f->told, "%s", text);
		f->told_ms = now;
	}
	log_line(again ? LOG_DEBUG : LOG_INFO, "cluster", "looking for the cluster: %s", text);
	if (++f->round == f->config->rounds)
		end(f, FORMATION_FAIL, NULL, text);
	else
		timer_set(f->timer, f->config->interval_ms);
}

/* -- joining -- */

static void on_join_answer(void *arg, json_t *reply, const char *why)
{
	struct question *q = arg;
	struct formation *f = q->formation;
	const char *message = json_string_value(json_object_get(reply, "message"));
	const struct seen *to = &f->seen[q->at];
	struct membership members;
	char text[DISCOVERY_TEXT_MAX];
	mem_free(q);
	f->waiting--;
	if (f->over) {
		release(f);
	} else if (json_is_true(json_object_get(reply, "ok")) &&
		   members_get(json_object_get(reply, "result"), f->config->type, &members)) {
		end(f, FORMATION_JOIN, &members, "");
	} else {
		snprintf(text, sizeof text, "%.100s does not let this node in: %.300s", to->name,
			message != NULL ? message
			: why != NULL   ? why
					: "its answer is not understood");
		wait_because(f, text);
	}
}

static struct question *question_new(struct formation *f, size_t at)
{
	struct question *q = MEM_NEW(struct question);
	*q = (struct question){f, at};
	f->waiting++;
	return q;
}

static void join(struct formation *f, size_t at)
{
	const struct formation_config *c = f->config;
	json_t *args = members_join_args(c->id, c->name, c->address, c->type, false);
	json_object_set_new(args, "replace", json_true());
	log_info("cluster", "%s joins the cluster of %s", c->name, f->seen[at].name);
	remote_call(c->links, f->seen[at].address, f->seen[at].name, "cluster_join", args,
		on_join_answer, question_new(f, at));
}

/* -- deciding -- */

static void decide(struct formation *f)
{
	const struct formation_config *c = f->config;
	struct discovery d;
	struct discovery_peer self = {
		.address = c->address, .name = c->name, .id = c->id, .blank = true, .type = c->type};
	struct discovery_peer *peers = mem_zalloc((f->n + 1) * sizeof *peers);
	for (size_t i = 0; i < f->n; i++) {
		peers[i] = f->seen[i].peer;
		peers[i].address = f->seen[i].address;
		peers[i].name = f->seen[i].name;
		peers[i].why = f->seen[i].why;
	}
	discovery_decide(&d, &self, peers, f->n, c->expected, f->round);
	mem_free(peers);
	if (d.verdict == DISCOVERY_WAIT)
		wait_because(f, d.text);
	else if (d.verdict == DISCOVERY_JOIN)
		join(f, d.member);
	else
		end(f, FORMATION_FOUND, NULL, "");
}

/* -- asking -- */

static bool answer_get(struct seen *s, const json_t *reply)
{
	const char *id, *name, *type, *cluster;
	int blank, ready;
	if (json_unpack((json_t *)reply, "{s{sssssssssbsb}}", "result", "id", &id, "name", &name, "type",
		    &type, "cluster_id", &cluster, "blank", &blank, "ready", &ready) != 0 ||
		!member_id_get(id, &s->peer.id))
		return false;
	if (!member_id_get(cluster, &s->peer.cluster_id))
		s->peer.cluster_id = 0;
	s->peer.blank = blank;
	s->peer.ready = ready;
	s->peer.type = strcmp(type, "ram") == 0 ? BROKER_NODE_RAM : BROKER_NODE_DISC;
	s->name = mem_strdup(name);
	return true;
}

static void on_answer(void *arg, json_t *reply, const char *why)
{
	struct question *q = arg;
	struct formation *f = q->formation;
	struct seen *s = &f->seen[q->at];
	mem_free(q);
	f->waiting--;
	if (f->over) {
		release(f);
		return;
	}
	if (why == NULL && !answer_get(s, reply))
		why = "its answer is not understood";
	if (why != NULL)
		s->why = mem_strdup(why);
	if (f->waiting == 0)
		decide(f);
}

static void see(struct formation *f, char *address)
{
	f->seen = mem_realloc(f->seen, (f->n + 1) * sizeof *f->seen);
	f->seen[f->n++] = (struct seen){.address = address};
}

static void ask_all(struct formation *f)
{
	if (f->n == 0) {
		decide(f);
		return;
	}
	for (size_t i = 0; i < f->n; i++)
		remote_ask(f->config->links, f->seen[i].address, "cluster_peer", ASK_MS, on_answer,
			question_new(f, i));
}

static void on_addresses(void *arg, const char *const *addresses, size_t n, const char *why)
{
	struct formation *f = arg;
	char text[DISCOVERY_TEXT_MAX];
	f->lookup = NULL;
	if (why != NULL) {
		snprintf(text, sizeof text, "%.200s: %.200s", f->config->host, why);
		wait_because(f, text);
		return;
	}
	for (size_t i = 0; i < n; i++)
		see(f, mem_printf("%s:%u", addresses[i], f->config->port));
	ask_all(f);
}

/* What the list says of this node itself needs no answer, and a node may not be able to reach itself. */
static bool is_self(const struct formation_config *c, const char *peer, const char *address)
{
	size_t n = strlen(c->name);
	bool named = strncmp(peer, c->name, n) == 0 && peer[n] == '\0';
	return named || strcmp(address, c->address) == 0;
}

static void see_list(struct formation *f)
{
	const struct formation_config *c = f->config;
	for (size_t i = 0; i < c->n_peers; i++) {
		char *address = discovery_address(c->peers[i], c->port);
		if (address == NULL || is_self(c, c->peers[i], address))
			mem_free(address);
		else
			see(f, address);
	}
}

static void begin_round(void *arg)
{
	struct formation *f = arg;
	forget_seen(f);
	if (f->config->host != NULL) {
		f->lookup = lookup_new(f->config->worker, f->config->host, on_addresses, f);
	} else {
		see_list(f);
		ask_all(f);
	}
}

struct formation *formation_new(const struct formation_config *config)
{
	struct formation *f = MEM_NEW(struct formation);
	f->config = config;
	f->timer = timer_new(config->worker, begin_round, f);
	timer_set(f->timer, 0);
	return f;
}

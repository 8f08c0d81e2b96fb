/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/joining.h"

#include <string.h>

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "src/manage/members.h"
#include "src/manage/remote.h"

enum {
	ROUND_MS = 1000,
	AGAIN_MS = 60 * 1000, /* the same line is not logged again before that */
};

struct joining {
	struct joining_config config;
	struct change change;
	struct timer *timer;
	size_t next;    /* to be asked */
	struct buf why; /* of those that were asked in this round */
	char *told;     /* of the last round, or NULL */
	uint64_t told_ms;
	bool waiting; /* for an answer */
	bool over;    /* done or cancelled; goes with the answer */
};

static void release(struct joining *j)
{
	if (!j->over || j->waiting)
		return;
	change_done(&j->change);
	buf_done(&j->why);
	mem_free(j->told);
	mem_free(j);
}

void joining_cancel(struct joining *j)
{
	if (j == NULL)
		return;
	j->over = true;
	timer_free(j->timer);
	release(j);
}

static void note(struct joining *j, const struct change_via *v, const char *why)
{
	char *text = mem_printf("%s%s at %s: %s", j->why.n > 0 ? "; " : "", v->name, v->address, why);
	buf_put_slice(&j->why, slice_str(text));
	mem_free(text);
}

char *joining_text(const struct joining *j)
{
	return mem_printf("%s waits to become a member of the cluster that it was told to join: %s", j->config.name,
		j->told != NULL ? j->told : "nobody has answered yet");
}

static void tell(struct joining *j)
{
	uint64_t now = j->config.worker->now_ms;
	char *text = mem_printf("%.*s", SLICE_FMT(buf_slice(&j->why)));
	bool again = j->told != NULL && strcmp(j->told, text) == 0;
	mem_free(j->told);
	j->told = text;
	if (again && now - j->told_ms < AGAIN_MS)
		return;
	j->told_ms = now;
	text = joining_text(j);
	log_warning("cluster", "%s", text);
	mem_free(text);
}

static void end_round(struct joining *j)
{
	tell(j);
	buf_clear(&j->why);
	j->next = 0;
	timer_set(j->timer, ROUND_MS);
}

static void end(struct joining *j, struct membership *members)
{
	const struct joining_config config = j->config;
	joining_cancel(j);
	config.done(config.arg, members);
}

static void ask_next(struct joining *j);

static void on_answer(void *arg, json_t *reply, const char *why)
{
	struct joining *j = arg;
	const struct change *c = &j->change;
	const char *message = json_string_value(json_object_get(reply, "message"));
	struct membership members;
	j->waiting = false;
	if (j->over) {
		release(j);
	} else if (json_is_true(json_object_get(reply, "ok")) &&
		   members_get(json_object_get(reply, "result"), c->type, &members)) {
		end(j, &members);
	} else {
		note(j, &c->vias[j->next - 1],
			message != NULL ? message
			: why != NULL   ? why
					: "its answer is not understood");
		ask_next(j);
	}
}

static void ask_next(struct joining *j)
{
	const struct joining_config *c = &j->config;
	if (j->next == j->change.n_vias) {
		end_round(j);
		return;
	}
	const struct change_via *v = &j->change.vias[j->next++];
	j->waiting = true;
	remote_call(c->links, v->address, v->name, "cluster_join",
		members_join_args(c->id, c->name, c->address, j->change.type, false), on_answer, j);
}

static void begin(void *arg)
{
	ask_next(arg);
}

struct joining *joining_new(const struct joining_config *config)
{
	struct joining *j = MEM_NEW(struct joining);
	j->config = *config;
	j->change = change_copy(config->change);
	j->timer = timer_new(config->worker, begin, j);
	timer_set(j->timer, 0);
	return j;
}

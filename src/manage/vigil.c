/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/vigil.h"

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/loop/timer.h"
#include "src/manage/members.h"
#include "src/manage/remote.h"

enum {
	LOOK_MS = 500,
	PATIENCE_MS = 10 * 1000, /* then it is said in the log */
	AGAIN_MS = 60 * 1000,    /* what has changed since is not said before that */
};

struct vigil {
	struct vigil_config config;
	struct timer *timer;
	unsigned waiting; /* for the answer to a question: 0 or 1 */
	bool over;        /* cancelled; goes with the answer */
	bool in_vain;     /* forgotten() was called */
	char *told;       /* what was said in the log, or NULL */
	uint64_t tell_ms; /* not before */
};

/* ---- who is waited for ---- */

static void put(struct buf *b, const char *text)
{
	buf_put_slice(b, slice_str(text));
}

static void put_peer(void *arg, const struct links_peer *p)
{
	struct buf *b = arg;
	put(b, b->n > 0 ? "; " : "");
	put(b, p->name);
	put(b, " at ");
	put(b, p->address);
	put(b, p->up ? " (linked)" : p->error[0] != '\0' ? ": " : ": not reached yet");
	put(b, p->up ? "" : p->error);
}

char *vigil_text(const struct vigil *v)
{
	struct buf b = BUF_EMPTY;
	links_each_peer(v->config.links, put_peer, &b);
	char *text = mem_printf("%s waits for its cluster: %.*s", v->config.name,
		SLICE_FMT(b.n > 0 ? buf_slice(&b) : slice_str("its members are not known yet")));
	buf_done(&b);
	return text;
}

static void tell(struct vigil *v)
{
	uint64_t now = v->config.worker->now_ms;
	if (now < v->tell_ms)
		return;
	char *text = vigil_text(v);
	if (v->told == NULL || strcmp(v->told, text) != 0) {
		log_warning("cluster", "%s", text);
		v->tell_ms = now + AGAIN_MS;
	}
	mem_free(v->told);
	v->told = text;
}

/* ---- in vain ---- */

/* A node that refuses this one. */
struct denier {
	struct vigil *vigil;
	char *name;
};

static void release(struct vigil *v)
{
	if (!v->over || v->waiting > 0)
		return;
	mem_free(v->told);
	mem_free(v);
}

static bool denies(const struct vigil *v, const json_t *reply)
{
	const char *cluster = "";
	uint64_t id;
	int known = true;
	return json_unpack((json_t *)reply, "{s{sssb}}", "result", "cluster_id", &cluster, "known", &known) == 0 &&
	       member_id_get(cluster, &id) && id == v->config.cluster_id && !known;
}

/* Who is with most of the voters is a member, whatever a node says that an operator made go on without them. */
static bool is_alone(const struct vigil *v)
{
	return catalog_in_minority(v->config.catalog);
}

static void on_answer(void *arg, json_t *reply, const char *why)
{
	struct denier *d = arg;
	struct vigil *v = d->vigil;
	(void)why; /* it could not be asked */
	if (!v->over && is_alone(v) && denies(v, reply)) {
		v->in_vain = true;
		char *text = mem_printf(
			"inconsistent_cluster: %s is not a member of the cluster of %s any more: it was removed "
			"while it was down or cut off. Delete what it has with 'warrenctl reset', then use 'warrenctl "
			"join_cluster' to make it a member again",
			v->config.name, d->name);
		v->config.forgotten(v->config.arg, text);
		mem_free(text);
	}
	v->waiting--;
	release(v);
	mem_free(d->name);
	mem_free(d);
}

/* The refusal alone proves nothing: that node may not know yet that this one has joined. */
static void ask_denier(void *arg, const struct links_peer *p)
{
	struct vigil *v = arg;
	char id[MEMBER_ID_MAX];
	if (!p->stranger || v->waiting > 0)
		return;
	struct denier *d = MEM_NEW(struct denier);
	*d = (struct denier){v, mem_strdup(p->name)};
	v->waiting++;
	remote_call(v->config.links, p->address, p->name, "cluster_knows",
		json_pack("{ss}", "id", member_id_put(id, v->config.id)), on_answer, d);
}

/* ---- life ---- */

static void look(void *arg)
{
	struct vigil *v = arg;
	if (v->in_vain)
		return;
	if (is_alone(v))
		links_each_peer(v->config.links, ask_denier, v);
	if (v->config.starts)
		tell(v);
	timer_set(v->timer, LOOK_MS);
}

struct vigil *vigil_new(const struct vigil_config *config)
{
	struct vigil *v = MEM_NEW(struct vigil);
	v->config = *config;
	v->tell_ms = config->worker->now_ms + PATIENCE_MS;
	v->timer = timer_new(config->worker, look, v);
	timer_set(v->timer, LOOK_MS);
	return v;
}

void vigil_cancel(struct vigil *v)
{
	if (v == NULL)
		return;
	v->over = true;
	timer_free(v->timer);
	v->timer = NULL;
	release(v);
}

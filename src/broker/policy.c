/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching costs a regular expression per object and policy, so it is done when an object is
 * declared (all policies, in their order) and when a policy changes (that policy, all objects of the
 * vhost). The outcome is kept with the object.
 */
#include "src/broker/policy.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"
#include "src/broker/pattern.h"

static const char *const apply_to_names[BROKER_APPLY_TO_VALUES] = {
	[BROKER_APPLY_TO_ALL] = "all",
	[BROKER_APPLY_TO_QUEUES] = "queues",
	[BROKER_APPLY_TO_EXCHANGES] = "exchanges",
	[BROKER_APPLY_TO_CLASSIC_QUEUES] = "classic_queues",
	[BROKER_APPLY_TO_QUORUM_QUEUES] = "quorum_queues",
	[BROKER_APPLY_TO_STREAMS] = "streams",
};

const char *broker_apply_to_name(enum broker_apply_to a)
{
	return (unsigned)a < BROKER_APPLY_TO_VALUES ? apply_to_names[a] : "unknown";
}

bool broker_apply_to_of(struct slice name, enum broker_apply_to *ret)
{
	for (unsigned i = 0; i < BROKER_APPLY_TO_VALUES; i++) {
		if (!slice_is(name, apply_to_names[i]))
			continue;
		*ret = (enum broker_apply_to)i;
		return true;
	}
	return false;
}

/* ---- lookup ---- */

struct broker_policy *broker_policy_find(
	const struct broker_vhost *v, enum broker_policy_kind kind, struct slice name)
{
	for (size_t i = 0; i < v->n_policies[kind]; i++)
		if (slice_eq(v->policies[kind][i]->name, name))
			return v->policies[kind][i];
	return NULL;
}

struct broker_policy *broker_policy_at(
	const struct broker_vhost *v, enum broker_policy_kind kind, size_t i)
{
	return i < v->n_policies[kind] ? v->policies[kind][i] : NULL;
}

/* ---- matching ---- */

enum {
	CLASSIC = 1 << BROKER_QUEUE_CLASSIC,
	QUORUM = 1 << BROKER_QUEUE_QUORUM,
	STREAM = 1 << BROKER_QUEUE_STREAM,
};

/* The keys that not all types of queues have, and those that have not. */
static const struct {
	const char *key;
	uint8_t unfit;
} special_keys[] = {
	{"ha-mode", QUORUM | STREAM},
	{"ha-params", QUORUM | STREAM},
	{"ha-sync-mode", QUORUM | STREAM},
	{"ha-promote-on-shutdown", QUORUM | STREAM},
	{"ha-promote-on-failure", QUORUM | STREAM},
	{"queue-mode", QUORUM | STREAM},
	{"queue-master-locator", QUORUM | STREAM},
	{"max-age", CLASSIC | QUORUM},
	{"stream-max-segment-size-bytes", CLASSIC | QUORUM},
	{"initial-cluster-size", CLASSIC | QUORUM},
};

static uint8_t unfit_for(struct slice definition)
{
	struct amqp_value v;
	uint8_t unfit = 0;
	for (size_t i = 0; i < sizeof special_keys / sizeof *special_keys; i++)
		if (amqp_table_get(definition, special_keys[i].key, &v))
			unfit |= special_keys[i].unfit;
	return unfit;
}

static uint8_t types_of(enum broker_apply_to a)
{
	switch (a) {
	case BROKER_APPLY_TO_ALL:
	case BROKER_APPLY_TO_QUEUES:
		return CLASSIC | QUORUM | STREAM;
	case BROKER_APPLY_TO_CLASSIC_QUEUES:
		return CLASSIC;
	case BROKER_APPLY_TO_QUORUM_QUEUES:
		return QUORUM;
	case BROKER_APPLY_TO_STREAMS:
		return STREAM;
	default:
		return 0;
	}
}

static bool matches(const struct broker_policy *p, struct slice name)
{
	return broker_pattern_matches(p->vhost->broker, p->code, name);
}

bool broker_policy_fits_queue(const struct broker_policy *p, const struct broker_queue *q)
{
	uint8_t types = types_of(p->spec.apply_to) & (uint8_t)~p->unfit;
	return (types & 1 << q->type) != 0 && matches(p, q->name);
}

bool broker_policy_fits_exchange(const struct broker_policy *p, const struct broker_exchange *x)
{
	return (p->spec.apply_to == BROKER_APPLY_TO_ALL ||
		       p->spec.apply_to == BROKER_APPLY_TO_EXCHANGES) &&
	       matches(p, x->name);
}

/* One or the other: whose policies are looked for. */
struct object {
	const struct broker_queue *queue;
	const struct broker_exchange *exchange;
};

static bool fits(const struct broker_policy *p, struct object o)
{
	return o.queue != NULL ? broker_policy_fits_queue(p, o.queue)
			       : broker_policy_fits_exchange(p, o.exchange);
}

static const struct broker_policy *first_fit(
	const struct broker_vhost *v, enum broker_policy_kind kind, struct object o)
{
	for (size_t i = 0; i < v->n_policies[kind]; i++)
		if (fits(v->policies[kind][i], o))
			return v->policies[kind][i];
	return NULL;
}

static struct broker_effective *effective_for(struct broker_vhost *v, struct object o)
{
	return broker_effective_of(v, first_fit(v, BROKER_POLICY_USER, o),
		first_fit(v, BROKER_POLICY_OPERATOR, o));
}

void broker_policy_enter_queue(struct broker_queue *q)
{
	q->effective = effective_for(q->vhost, (struct object){.queue = q});
}

void broker_policy_enter_exchange(struct broker_exchange *x)
{
	broker_exchange_set_effective(
		x, effective_for(x->vhost, (struct object){.exchange = x}));
}

/* ---- changes ---- */

/* Does `a` come before `b`? */
static bool precedes(const struct broker_policy *a, const struct broker_policy *b)
{
	if (a->spec.priority != b->spec.priority)
		return a->spec.priority > b->spec.priority;
	size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
	int order = memcmp(a->name.p, b->name.p, n);
	return order != 0 ? order < 0 : a->name.n < b->name.n;
}

static void enter_order(struct broker_policy *p)
{
	struct broker_vhost *v = p->vhost;
	size_t at = v->n_policies[p->kind]++;
	struct broker_policy **all = mem_realloc(
		v->policies[p->kind], v->n_policies[p->kind] * sizeof(*all));
	for (; at > 0 && precedes(p, all[at - 1]); at--)
		all[at] = all[at - 1];
	all[at] = p;
	v->policies[p->kind] = all;
}

static void leave_order(struct broker_policy *p)
{
	struct broker_vhost *v = p->vhost;
	struct broker_policy **all = v->policies[p->kind];
	size_t at = 0;
	while (all[at] != p)
		at++;
	v->n_policies[p->kind]--;
	for (; at < v->n_policies[p->kind]; at++)
		all[at] = all[at + 1];
}

/* What goes by it goes by it no longer. */
static void make_stale(const struct broker_policy *p)
{
	LIST_EACH(node, &p->vhost->effectives)
	{
		struct broker_effective *e = LIST_ENTRY(node, struct broker_effective, link);
		e->stale |= e->policy == p || e->operator_policy == p;
	}
}

/* A policy that has come, or says something else now, or is to go and is out of the order. */
struct change {
	struct broker_policy *policy;
	bool gone;
};

/* The object's policy of the kind that has changed, given the one that it had. */
static const struct broker_policy *policy_after(
	const struct change *c, struct object o, const struct broker_policy *had)
{
	const struct broker_policy *p = c->policy;
	if (had == p)
		return first_fit(p->vhost, p->kind, o);
	if (!c->gone && (had == NULL || precedes(p, had)) && fits(p, o))
		return p;
	return had;
}

/* With a reference. */
static struct broker_effective *effective_after(
	const struct change *c, struct object o, const struct broker_effective *had)
{
	const struct broker_policy *policy = had != NULL ? had->policy : NULL;
	const struct broker_policy *operator_policy = had != NULL ? had->operator_policy : NULL;
	if (c->policy->kind == BROKER_POLICY_USER)
		policy = policy_after(c, o, policy);
	else
		operator_policy = policy_after(c, o, operator_policy);
	return broker_effective_of(c->policy->vhost, policy, operator_policy);
}

static void change_queue(const struct change *c, struct broker_queue *q)
{
	struct broker_effective *had = q->effective;
	q->effective = effective_after(c, (struct object){.queue = q}, had);
	bool changed = q->effective != had;
	broker_effective_unref(had);
	if (!changed)
		return;
	broker_members_place(q, NULL);
	broker_queue_changed(q);
}

static void change_exchange(const struct change *c, struct broker_exchange *x)
{
	broker_exchange_set_effective(
		x, effective_after(c, (struct object){.exchange = x}, x->effective));
}

static void change(const struct change *c)
{
	struct broker_vhost *v = c->policy->vhost;
	for (struct broker_exchange *x = v->exchanges; x != NULL; x = x->hh.next)
		change_exchange(c, x);
	for (struct broker_queue *q = v->queues; q != NULL; q = q->hh.next)
		change_queue(c, q);
}

static void say(struct broker_policy *p, const struct broker_policy_spec *spec)
{
	p->spec = *spec;
	p->spec.pattern = broker_own(spec->pattern);
	p->spec.definition = broker_own(spec->definition);
	p->code = broker_pattern_compile(p->spec.pattern);
	p->unfit = unfit_for(p->spec.definition);
}

static void unsay(struct broker_policy *p)
{
	broker_disown(&p->spec.pattern);
	broker_disown(&p->spec.definition);
	broker_pattern_free(p->code);
	p->code = NULL;
}

static bool same(const struct broker_policy_spec *a, const struct broker_policy_spec *b)
{
	return a->apply_to == b->apply_to && a->priority == b->priority &&
	       slice_eq(a->pattern, b->pattern) && slice_eq(a->definition, b->definition);
}

struct broker_policy *broker_policy_new(struct broker_vhost *v, uint64_t number,
	enum broker_policy_kind kind, struct slice name, const struct broker_policy_spec *spec)
{
	struct broker_policy *p = MEM_NEW(struct broker_policy);
	p->vhost = v;
	p->kind = kind;
	p->name = broker_own(name);
	say(p, spec);
	broker_row_init(v->broker, &p->row, BROKER_ROW_POLICY, number);
	enter_order(p);
	change(&(struct change){p, false});
	return p;
}

void broker_policy_set(struct broker_policy *p, const struct broker_policy_spec *spec)
{
	if (same(&p->spec, spec))
		return;
	make_stale(p);
	leave_order(p);
	unsay(p);
	say(p, spec);
	enter_order(p);
	broker_row_touch(p->vhost->broker, &p->row);
	change(&(struct change){p, false});
}

void broker_policy_delete(struct broker_policy *p)
{
	make_stale(p);
	leave_order(p);
	change(&(struct change){p, true});
	broker_row_gone(p->vhost->broker, &p->row);
	broker_disown(&p->name);
	unsay(p);
	mem_free(p);
}

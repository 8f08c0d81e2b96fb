/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/exchange.h"

#include "src/amqp/table.h"
#include "src/broker/broker.h"
#include "src/broker/hash.h"
#include "src/broker/match.h"

static const char *const type_names[BROKER_EXCHANGE_TYPES] = {
	[BROKER_EXCHANGE_DIRECT] = "direct",
	[BROKER_EXCHANGE_FANOUT] = "fanout",
	[BROKER_EXCHANGE_TOPIC] = "topic",
	[BROKER_EXCHANGE_HEADERS] = "headers",
};

const char *broker_exchange_type_name(enum broker_exchange_type type)
{
	return (unsigned)type < BROKER_EXCHANGE_TYPES ? type_names[type] : "unknown";
}

bool broker_exchange_type_of(struct slice name, enum broker_exchange_type *ret)
{
	for (unsigned i = 0; i < BROKER_EXCHANGE_TYPES; i++) {
		if (!slice_is(name, type_names[i]))
			continue;
		*ret = (enum broker_exchange_type)i;
		return true;
	}
	return false;
}

struct broker_exchange *broker_exchange_find(const struct broker_vhost *v, struct slice name)
{
	struct broker_exchange *x;
	HASH_FIND(hh, v->exchanges, name.p, (unsigned)name.n, x);
	return x;
}

struct broker_exchange *broker_exchange_by_number(const struct broker *b, uint64_t number)
{
	struct broker_exchange *x;
	HASH_FIND(hh_number, b->exchanges_by_number, &number, sizeof number, x);
	return x;
}

bool broker_exchange_is_system(const struct broker_exchange *x)
{
	return x->name.n == 0 || (x->name.n >= 4 && memcmp(x->name.p, "amq.", 4) == 0);
}

struct broker_exchange *broker_exchange_first(const struct broker_vhost *v)
{
	return v->exchanges;
}

struct broker_exchange *broker_exchange_next(const struct broker_exchange *x)
{
	return x->hh.next;
}

/* The argument holds, if there is one. */
static struct slice alternate_of(const struct broker_exchange *x)
{
	struct amqp_value v;
	bool found = amqp_table_get(x->spec.arguments, "alternate-exchange", &v) ||
		     broker_effective_get(x->effective, "alternate-exchange", &v);
	return found && v.type == 'S' ? v.u.s : slice_make("", 0);
}

/* It comes with its vhost, so it has no row and no number of its own. */
static bool is_default(const struct broker_exchange *x)
{
	return x->name.n == 0;
}

static void enter(struct broker *b, struct broker_exchange *x)
{
	HASH_ADD_KEYPTR(hh, x->vhost->exchanges, x->name.p, (unsigned)x->name.n, x);
	if (!is_default(x))
		HASH_ADD(hh_number, b->exchanges_by_number, row.number, sizeof x->row.number, x);
	x->vhost->n_exchanges++;
	b->n_exchanges++;
	b->version++;
}

static void leave(struct broker *b, struct broker_exchange *x)
{
	HASH_DELETE(hh, x->vhost->exchanges, x);
	if (!is_default(x))
		HASH_DELETE(hh_number, b->exchanges_by_number, x);
	x->vhost->n_exchanges--;
	b->n_exchanges--;
	b->version++;
}

static struct broker_matcher *create_matcher(enum broker_exchange_type type)
{
	const struct broker_match_ops *ops = broker_match_ops_of(type);
	struct broker_matcher *m = ops->create();
	m->ops = ops;
	return m;
}

struct broker_exchange *broker_exchange_new(struct broker_vhost *v, uint64_t number,
	struct slice name, const struct broker_exchange_spec *spec)
{
	struct broker *b = v->broker;
	struct broker_exchange *x = MEM_NEW(struct broker_exchange);
	x->vhost = v;
	x->name = broker_own(name);
	x->spec = *spec;
	x->spec.arguments = broker_own(spec->arguments);
	x->matcher = create_matcher(spec->type);
	list_init(&x->destinations);
	list_init(&x->doomed);
	broker_row_init(b, &x->row, BROKER_ROW_EXCHANGE, number);
	if (is_default(x))
		list_remove(&x->row.dirty);
	enter(b, x);
	broker_policy_enter_exchange(x);
	if (b->watch.exchange_added != NULL)
		b->watch.exchange_added(b->watch.arg, x);
	return x;
}

void broker_exchange_set_effective(struct broker_exchange *x, struct broker_effective *e)
{
	struct slice had = x->alternate;
	struct broker_effective *old = x->effective;
	x->effective = e;
	x->alternate = alternate_of(x);
	if (!slice_eq(had, x->alternate))
		x->vhost->broker->version++;
	broker_effective_unref(old);
}

static void delete_bindings(struct broker_exchange *x)
{
	while (!list_empty(&x->destinations))
		broker_binding_delete(
			LIST_ENTRY(x->destinations.next, struct broker_binding, by_destination));
	while (x->bindings != NULL)
		broker_binding_delete(x->bindings);
	/* Losing its own bindings is no reason to delete it once more. */
	list_remove(&x->doomed);
}

void broker_exchange_delete(struct broker_exchange *x)
{
	struct broker *b = x->vhost->broker;
	delete_bindings(x);
	leave(b, x);
	broker_row_gone(b, &x->row);
	if (b->watch.exchange_deleted != NULL)
		b->watch.exchange_deleted(b->watch.arg, x);
	x->matcher->ops->destroy(x->matcher);
	broker_effective_unref(x->effective);
	broker_disown(&x->name);
	broker_disown(&x->spec.arguments);
	mem_free(x);
}

/* A loop instead of a recursion: a chain of bindings between exchanges may be very long. */
void broker_exchange_reap(struct broker *b)
{
	while (!list_empty(&b->doomed))
		broker_exchange_delete(LIST_ENTRY(b->doomed.next, struct broker_exchange, doomed));
}

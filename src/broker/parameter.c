/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/parameter.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"

static const struct list *list_of(const struct broker_parameter *p)
{
	return p->vhost != NULL ? &p->vhost->parameters : &p->broker->parameters;
}

static struct broker_parameter *at(const struct list *head, struct list *node)
{
	return node == head ? NULL : LIST_ENTRY(node, struct broker_parameter, link);
}

struct broker_parameter *broker_parameter_first(const struct broker_vhost *v)
{
	return at(&v->parameters, v->parameters.next);
}

struct broker_parameter *broker_parameter_first_global(const struct broker *b)
{
	return at(&b->parameters, b->parameters.next);
}

struct broker_parameter *broker_parameter_next(const struct broker_parameter *p)
{
	return at(list_of(p), p->link.next);
}

static struct broker_parameter *find(
	struct broker_parameter *p, struct slice component, struct slice name)
{
	while (p != NULL && !(slice_eq(p->component, component) && slice_eq(p->name, name)))
		p = broker_parameter_next(p);
	return p;
}

struct broker_parameter *broker_parameter_find(
	const struct broker_vhost *v, struct slice component, struct slice name)
{
	return find(broker_parameter_first(v), component, name);
}

struct broker_parameter *broker_parameter_find_global(const struct broker *b, struct slice name)
{
	return find(broker_parameter_first_global(b), slice_make("", 0), name);
}

struct broker_parameter *broker_parameter_new(struct broker *b, struct broker_vhost *v,
	uint64_t number, struct slice component, struct slice name, struct slice value)
{
	struct broker_parameter *p = MEM_NEW(struct broker_parameter);
	p->broker = b;
	p->vhost = v;
	p->component = broker_own(component);
	p->name = broker_own(name);
	p->value = broker_own(value);
	list_push_back(v != NULL ? &v->parameters : &b->parameters, &p->link);
	broker_row_init(b, &p->row, BROKER_ROW_PARAMETER, number);
	return p;
}

void broker_parameter_set(struct broker_parameter *p, struct slice value)
{
	broker_disown(&p->value);
	p->value = broker_own(value);
	broker_row_touch(p->broker, &p->row);
}

void broker_parameter_delete(struct broker_parameter *p)
{
	list_remove(&p->link);
	broker_row_gone(p->broker, &p->row);
	broker_disown(&p->component);
	broker_disown(&p->name);
	broker_disown(&p->value);
	mem_free(p);
}

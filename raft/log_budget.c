/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/log_budget.h"

void log_budget_init(struct log_budget *b)
{
	b->bytes = 0;
	list_init(&b->heavy);
}

void log_share_init(struct log_share *s)
{
	s->bytes = 0;
	list_init(&s->link);
}

void log_budget_add(struct log_budget *b, struct log_share *s, size_t n)
{
	b->bytes += n;
	s->bytes += n;
	if (s->bytes >= LOG_BUDGET_HEAVY && list_empty(&s->link))
		list_push_back(&b->heavy, &s->link);
}

void log_budget_clear(struct log_budget *b, struct log_share *s)
{
	b->bytes -= s->bytes;
	s->bytes = 0;
	list_remove(&s->link);
}

struct log_share *log_budget_excess(struct log_budget *b)
{
	if (b->bytes <= LOG_BUDGET_MAX || list_empty(&b->heavy))
		return NULL;
	struct log_share *s = LIST_ENTRY(b->heavy.next, struct log_share, link);
	log_budget_clear(b, s);
	return s;
}

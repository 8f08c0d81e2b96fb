/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/expected.h"

#include "src/base/mem.h"

void expected_done(struct expected *e)
{
	mem_free(e->a);
	*e = (struct expected){0};
}

static struct expected_client *find(const struct expected *e, uint64_t client)
{
	for (uint32_t i = 0; i < e->n; i++)
		if (e->a[i].client == client)
			return &e->a[i];
	return NULL;
}

bool expected_has(const struct expected *e, uint64_t client)
{
	return find(e, client) != NULL;
}

static struct expected_client *add(struct expected *e, uint64_t client, uint64_t next)
{
	if (e->n == e->cap) {
		e->cap = e->cap > 0 ? e->cap * 2 : 2;
		e->a = mem_realloc(e->a, e->cap * sizeof *e->a);
	}
	e->a[e->n] = (struct expected_client){client, next};
	return &e->a[e->n++];
}

bool expected_take(
	struct expected *e, uint64_t client, uint64_t first, uint32_t count, uint64_t last)
{
	struct expected_client *c = find(e, client);
	if (c == NULL)
		c = add(e, client, last + 1);
	if (first > c->next)
		return false;
	if (c->next < first + count)
		c->next = first + count;
	return true;
}

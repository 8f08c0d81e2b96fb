/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/records.h"

#include <assert.h>

#include "src/base/mem.h"
#include "storage/directory.h"

void records_init(struct records *rs)
{
	*rs = (struct records){.next = 1};
	pthread_mutex_init(&rs->packed_lock, NULL);
	list_init(&rs->all);
	list_init(&rs->dead);
	rs->cursor = &rs->all;
}

void records_done(struct records *rs)
{
	for (struct list *node; (node = list_pop(&rs->all)) != NULL;)
		mem_free(LIST_ENTRY(node, struct record, link));
	pthread_mutex_destroy(&rs->packed_lock);
}

struct record *records_add(struct records *rs, uint64_t number)
{
	struct record *r = MEM_NEW(struct record);
	r->number = number;
	list_init(&r->dead_link);
	list_push_back(&rs->all, &r->link);
	rs->n++;
	return r;
}

void records_size(struct records *rs, struct record *r, uint32_t count, uint64_t footprint)
{
	rs->footprint += footprint - r->footprint;
	if (!list_empty(&r->dead_link))
		rs->dead_footprint += footprint - r->footprint;
	r->footprint = footprint;
	r->count = count;
}

void records_entry_lives(struct records *rs, struct record *r, uint32_t length)
{
	r->live++;
	r->live_bytes += length;
	rs->live++;
	rs->live_bytes += length;
}

void records_bury(struct records *rs, struct record *r)
{
	assert(r->live == 0 && list_empty(&r->dead_link));
	list_push_back(&rs->dead, &r->dead_link);
	rs->dead_footprint += r->footprint;
}

void records_entry_dies(struct records *rs, struct record *r, uint32_t length)
{
	assert(r->live > 0);
	r->live--;
	r->live_bytes -= length;
	rs->live--;
	rs->live_bytes -= length;
	if (r->live == 0 && r->packed == NULL)
		records_bury(rs, r);
}

void records_remove(struct records *rs, struct record *r)
{
	assert(r->live == 0);
	if (rs->cursor == &r->link)
		rs->cursor = r->link.next;
	if (!list_empty(&r->dead_link))
		rs->dead_footprint -= r->footprint;
	list_remove(&r->dead_link);
	list_remove(&r->link);
	rs->footprint -= r->footprint;
	rs->n--;
	mem_free(r);
}

uint64_t record_live_footprint(const struct record *r)
{
	return r->live_bytes + (uint64_t)r->live * DIRECTORY_SLOT;
}

uint64_t records_live_footprint(const struct records *rs)
{
	return rs->live_bytes + rs->live * DIRECTORY_SLOT;
}

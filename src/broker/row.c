/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/row.h"

#include "src/base/mem.h"
#include "src/broker/broker.h"
#include "src/broker/rows.h"

void broker_row_init(
	struct broker *b, struct broker_row *r, enum broker_row_kind kind, uint64_t number)
{
	r->kind = (uint8_t)kind;
	r->number = number;
	r->stored = false;
	list_init(&r->dirty);
	broker_row_touch(b, r);
}

void broker_row_touch(struct broker *b, struct broker_row *r)
{
	if (list_empty(&r->dirty))
		list_push_back(&b->rows_dirty, &r->dirty);
}

static void remember_deletion(struct broker *b, const struct broker_row *r)
{
	if (b->n_rows_deleted == b->rows_deleted_cap) {
		b->rows_deleted_cap = b->rows_deleted_cap == 0 ? 16 : 2 * b->rows_deleted_cap;
		b->rows_deleted =
			mem_realloc(b->rows_deleted, b->rows_deleted_cap * BROKER_ROW_KEY_SIZE);
	}
	uint8_t *key = b->rows_deleted[b->n_rows_deleted++];
	key[0] = r->kind;
	store_u64be(key + 1, r->number);
}

/* A row that the store never had needs no deletion: a copy that is not stored (all but one worker's
 * are not) remembers only those it was loaded from. */
void broker_row_gone(struct broker *b, struct broker_row *r)
{
	list_remove(&r->dirty);
	if (r->stored)
		remember_deletion(b, r);
}
